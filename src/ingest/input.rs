//! One input: its files, its encoder, its open chunks, and one slice read from one file.
//!
//! In:  a file whose turn it is
//! Out: its lines as events in open chunks; whether it has more, is at its end, or got no memory

mod joined;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

pub use self::joined::Joining;
use super::encode::{Encoder, Origin, time_of_reading};
use super::shortage::Shortage;
use super::{InputFigures, Pace};
use crate::buffer::{OpenChunks, Reservation, SlotId};
use crate::filter::Filter;
use crate::model::{Counters, EventTime, FileId, SpanId};
use crate::tail::lines::{self, Line};
use crate::tail::{Charset, FollowedFile, LongLines, ReadBuffer, Reading, Tail};

/// The most that is read at once, in bytes, unless one line is longer.
const LARGEST_SLICE: usize = 128 << 10;

/// The least, so that a tiny limit still makes progress a few lines at a time.
const SMALLEST_SLICE: usize = 512;

/// What a tag leads to.
#[derive(Debug)]
pub struct Route {
    /// The input that makes events of this tag.
    pub input: usize,
    /// Its open chunk.
    pub slot: SlotId,
    /// The filters that take it, in order.
    pub filters: Vec<usize>,
    /// Whether any output takes it. If none does, its lines make no events.
    pub has_output: bool,
}

/// How a file's turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// There is more to read.
    More,
    /// It was read to its end.
    AtEnd,
    /// There is more to read, and no memory for it.
    NoRoom,
}

/// What ingest lends to the input whose turn it is.
pub struct Lent<'a> {
    /// The one read buffer.
    pub buffer: &'a mut ReadBuffer,
    /// All filters.
    pub filters: &'a mut [Filter],
    /// For replays.
    pub pace: Option<&'a mut Pace>,
    /// How long what is read now may have been there: so much older are the chunks it opens.
    pub waited: Duration,
}

/// The lines of one slice, and what has become of them so far.
struct Slice<'a> {
    file: FileId,
    path: Arc<Path>,
    charset: Charset,
    /// The span that its events belong to.
    span: SpanId,
    route: &'a Route,
    /// Memory for the worst case, asked for before anything was read.
    allowance: Reservation,
    now: Instant,
    /// When the first of its lines came, at the earliest.
    came: Instant,
    /// Chunks that took their first event of this span.
    shares: u32,
}

impl<'a> Slice<'a> {
    fn of(file: &FollowedFile, route: &'a Route, allowance: Reservation, waited: Duration) -> Self {
        let now = Instant::now();
        Self {
            file: file.id,
            path: Arc::clone(&file.path),
            charset: file.charset(),
            span: file.next_span(),
            route,
            allowance,
            now,
            came: now.checked_sub(waited).unwrap_or(now),
            shares: 0,
        }
    }

    fn origin(&self, offset: u64, read_at: EventTime) -> Origin<'_> {
        let filters = &self.route.filters;
        Origin {
            file: self.file,
            path: &self.path,
            offset,
            charset: self.charset,
            read_at,
            filters,
        }
    }
}

/// See the head of this file.
pub struct Input {
    /// Its files.
    pub tail: Tail,
    /// Its open chunks.
    pub chunks: OpenChunks,
    encoder: Encoder,
    /// `None`: every line is an event of its own.
    joining: Option<Joining>,
    counters: Arc<Counters>,
    slice: usize,
    /// Events that went to the filters, and the bytes of files they were.
    records: u64,
    bytes: u64,
    shortage: Shortage,
}

impl Input {
    /// Puts it together.
    pub fn new(tail: Tail, chunks: OpenChunks, encoder: Encoder, counters: Arc<Counters>) -> Self {
        let slice = (chunks.budget().limit() / 8).clamp(SMALLEST_SLICE, LARGEST_SLICE);
        Self {
            tail,
            chunks,
            encoder,
            joining: None,
            counters,
            slice,
            records: 0,
            bytes: 0,
            shortage: Shortage::default(),
        }
    }

    /// Joins its lines.
    pub fn joining(self, joining: Option<Joining>) -> Self {
        Self { joining, ..self }
    }

    /// Reads one slice of a file. Memory for the worst case is asked for before it is read.
    pub fn take_slice(&mut self, id: FileId, route: &Route, lent: Lent<'_>) -> Turn {
        self.tail.ensure_open(id);
        let line_limit = self.tail.settings().line_limit;
        let Some(file) = self.tail.file(id) else {
            return Turn::AtEnd;
        };
        let worst_case = self.encoder.worst_case(file.next_length(self.slice), &file.path);
        let Some(allowance) = self.chunks.budget().clone().try_reserve(worst_case) else {
            return Turn::NoRoom;
        };
        let lost = |bytes| count_truncation(&self.counters, bytes);
        let reading = match file.read(lent.buffer, self.slice, line_limit, lost) {
            Ok(reading) => reading,
            Err(error) => {
                error!(file = %file.path.display(), %error, "cannot read; trying again when it changes");
                return Turn::AtEnd;
            }
        };
        let generation = file.generation();
        let is_long = matches!(reading, Reading::LongLine { .. });
        if !self.end_what_is_cut_off(id, generation, is_long, route, lent.filters) {
            return Turn::NoRoom;
        }
        let Some(file) = self.tail.file(id) else {
            return Turn::AtEnd;
        };
        let slice = Slice::of(file, route, allowance, lent.waited);
        match reading {
            Reading::AtEnd => Turn::AtEnd,
            Reading::Longer => Turn::More,
            Reading::Compressed => {
                self.tail.refuse_compressed(id);
                Turn::AtEnd
            }
            Reading::Skipped { bytes } => {
                self.counters.lost_long_line_bytes.add(bytes);
                Turn::More
            }
            Reading::LongLine { offset } => self.take_long_line(slice, offset, lent),
            Reading::Lines { offset, end } if self.joining.is_some() => {
                self.join_lines(slice, offset, end, lent)
            }
            Reading::Lines { offset, end } => self.take_lines(slice, offset, end, lent),
        }
    }

    fn take_lines(&mut self, mut slice: Slice<'_>, offset: u64, end: u64, lent: Lent<'_>) -> Turn {
        let Lent { buffer, filters, mut pace, .. } = lent;
        let length = usize::try_from(end - offset).expect("it is in the read buffer");
        let bytes = &buffer.from(offset)[..length];
        // Checked once a slice: the lines of text that is UTF-8 are UTF-8.
        let text = slice.charset.as_text(bytes);
        let read_at = time_of_reading();
        let (mut taken, mut count, mut turn) = (0, 0, Turn::AtEnd);
        while let Some(line) = lines::first_line(&bytes[taken..], slice.charset) {
            if pace.as_mut().is_some_and(|pace| !pace.may_go(slice.now)) {
                turn = Turn::More;
                break;
            }
            if self.wants(&line, &slice) {
                let text = text.map(|text| &text[taken..taken + line.content.len()]);
                let at = offset + taken as u64;
                if !self.take_line(&mut slice, line, text, at, read_at, filters) {
                    turn = Turn::NoRoom;
                    break;
                }
            }
            taken += line.taken;
            count += 1;
            if let Some(pace) = pace.as_mut() {
                pace.spend();
            }
        }
        self.counters.lines.add(count);
        self.counters.bytes_read.add(taken as u64);
        if turn == Turn::AtEnd && !buffer.reached_end() {
            turn = Turn::More;
        }
        if let Some(file) = self.tail.file(slice.file) {
            file.take(buffer, offset + taken as u64, slice.shares, slice.now);
        }
        turn
    }

    /// Makes an event of a complete line. `text` is the line, if it needs no conversion. False: no
    /// memory.
    fn take_line(
        &mut self,
        slice: &mut Slice<'_>,
        line: Line<'_>,
        text: Option<&str>,
        offset: u64,
        read_at: EventTime,
        filters: &mut [Filter],
    ) -> bool {
        let limit = self.tail.settings().line_limit;
        let need = self.encoder.worst_case(line.content.len(), &slice.path);
        let Some(chunk) =
            self.chunks.room(slice.route.slot, need, &mut slice.allowance, slice.came)
        else {
            return false;
        };
        let origin = slice.origin(offset, read_at);
        let out = chunk.bytes_mut();
        let mut bytes = line.taken as u64;
        let kept = if line.content.len() > limit {
            let cut = slice.charset.cut(line.content, limit);
            let lost = (line.content.len() - cut.len()) as u64;
            bytes -= lost;
            self.counters.lines_cut.add(1);
            self.counters.lost_long_line_bytes.add(lost);
            self.encoder.encode_cut(cut, origin, filters, out)
        } else if let Some(text) = text {
            self.encoder.encode(text, origin, filters, out)
        } else {
            self.encoder.encode_bytes(line.content, origin, filters, out)
        };
        self.records += 1;
        self.bytes += bytes;
        if kept.is_none() {
            self.counters.bytes_filtered.add(bytes);
        } else if chunk.add(slice.file, slice.span, offset, bytes) {
            slice.shares += 1;
        }
        true
    }

    /// Whether a complete line makes an event.
    fn wants(&self, line: &Line<'_>, slice: &Slice<'_>) -> bool {
        let settings = self.tail.settings();
        let bytes = line.taken as u64;
        if !slice.route.has_output {
            self.counters.unmatched_events.add(1);
            self.counters.bytes_filtered.add(bytes);
            return false;
        }
        if settings.skip_empty_lines && lines::is_empty(line.content, slice.charset) {
            self.counters.bytes_filtered.add(bytes);
            return false;
        }
        if line.content.len() > settings.line_limit && settings.long_lines == LongLines::Skip {
            self.counters.lost_long_line_bytes.add(bytes);
            return false;
        }
        true
    }

    /// A line that is above the limit although its newline is not in sight: its beginning goes
    /// out, or nothing of it, and the rest is left out.
    fn take_long_line(&mut self, mut slice: Slice<'_>, offset: u64, lent: Lent<'_>) -> Turn {
        let limit = self.tail.settings().line_limit;
        let is_cut = self.tail.settings().long_lines == LongLines::Cut && slice.route.has_output;
        let bytes = lent.buffer.from(offset);
        let mut sent = 0;
        if is_cut {
            let cut = slice.charset.cut(bytes, limit);
            let need = self.encoder.worst_case(cut.len(), &slice.path);
            let Some(chunk) =
                self.chunks.room(slice.route.slot, need, &mut slice.allowance, slice.came)
            else {
                return Turn::NoRoom;
            };
            let origin = slice.origin(offset, time_of_reading());
            let kept = self.encoder.encode_cut(cut, origin, lent.filters, chunk.bytes_mut());
            self.records += 1;
            self.bytes += cut.len() as u64;
            if kept.is_none() {
                self.counters.bytes_filtered.add(cut.len() as u64);
            } else if chunk.add(slice.file, slice.span, offset, cut.len() as u64) {
                slice.shares += 1;
            }
            sent = cut.len();
            self.counters.lines_cut.add(1);
        }
        warn!(file = %slice.path.display(), offset, limit, "a line is longer than the limit; {}",
            if is_cut { "its beginning is delivered" } else { "it is left out" });
        self.counters.lines.add(1);
        self.counters.bytes_read.add(bytes.len() as u64);
        self.counters.lost_long_line_bytes.add((bytes.len() - sent) as u64);
        if let Some(file) = self.tail.file(slice.file) {
            file.begin_skip(lent.buffer, slice.shares, slice.now);
        }
        Turn::More
    }

    /// Sends the unterminated last line of a file. [`Turn::More`]: it is complete by now.
    pub fn take_partial(&mut self, id: FileId, route: &Route, lent: Lent<'_>) -> Turn {
        if !self.end_messages(id, route, lent.filters) {
            return Turn::NoRoom;
        }
        let line_limit = self.tail.settings().line_limit;
        self.tail.ensure_open(id);
        let Some(file) = self.tail.file(id).filter(|file| file.owes_partial()) else {
            return Turn::AtEnd;
        };
        let lost = |bytes| count_truncation(&self.counters, bytes);
        match file.read(lent.buffer, self.slice.max(line_limit + 2), line_limit, lost) {
            Ok(Reading::AtEnd) => {}
            Ok(Reading::Compressed) => {
                self.tail.refuse_compressed(id);
                return Turn::AtEnd;
            }
            Ok(_) => return Turn::More,
            // What cannot be read now was said when it was first tried.
            Err(_) => return Turn::AtEnd,
        }
        let Some(line) = file.partial(lent.buffer) else {
            return Turn::AtEnd;
        };
        if !route.has_output {
            self.counters.bytes_filtered.add(line.taken as u64);
            file.take_partial(lent.buffer, 0);
            return Turn::AtEnd;
        }
        let need = self.encoder.worst_case(line.content.len(), &file.path);
        let Some(allowance) = self.chunks.budget().clone().try_reserve(need) else {
            return Turn::NoRoom;
        };
        let offset = file.next_offset();
        let mut slice = Slice::of(file, route, allowance, lent.waited);
        let is_taken = if self.joining.is_some() {
            self.take_alone(&mut slice, line, lent.buffer.mark(offset), lent.filters)
        } else {
            self.take_line(&mut slice, line, None, offset, time_of_reading(), lent.filters)
        };
        if !is_taken {
            return Turn::NoRoom;
        }
        self.counters.lines.add(1);
        self.counters.partial.add(1);
        self.counters.bytes_read.add(line.taken as u64);
        if let Some(file) = self.tail.file(id) {
            file.take_partial(lent.buffer, slice.shares);
        }
        Turn::AtEnd
    }

    /// A file was read to its end: if its chunk is the last of a burst, it leaves now; and all
    /// chunks do if it was the last file of one.
    pub fn end_burst(&mut self, slot: SlotId) {
        let (tail, now) = (&self.tail, Instant::now());
        self.chunks.seal_end_of_burst(slot, now, |file| tail.is_at_end(file));
        if !self.tail.is_busy() {
            self.chunks.seal_end_of_all(now);
        }
    }

    /// `Exit_On_Eof`: everything found at the start was read to its end.
    pub fn has_read_all_it_wants(&mut self) -> bool {
        self.tail.settings().exit_on_eof && !self.tail.is_busy()
    }

    /// Its numbers at this moment.
    pub fn figures(&self) -> InputFigures {
        InputFigures {
            name: self.tail.settings().name.clone(),
            records: self.records,
            bytes: self.bytes,
            is_paused: self.shortage.is_mentioned(),
            memory: self.chunks.budget().used(),
            memory_limit: self.chunks.budget().limit(),
        }
    }

    /// There was no memory.
    pub fn note_short_of_memory(&mut self, now: Instant) {
        let (name, budget) = (&self.tail.settings().name, self.chunks.budget());
        let meanwhile = "nothing is lost, reading goes on when they are";
        self.shortage.note(name, budget, meanwhile, now);
    }

    /// There was memory.
    pub fn note_room(&mut self) {
        self.shortage.end(&self.tail.settings().name, self.chunks.budget());
    }
}

/// A file has begun another generation, with so many bytes of the old one unread.
fn count_truncation(counters: &Counters, unread: u64) {
    counters.truncations.add(1);
    counters.lost_truncated_bytes.add(unread);
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::*;
    use crate::buffer::Budget;
    use crate::checkpoint::Remembered;
    use crate::tail::Settings;

    const FLUSH: Duration = Duration::from_secs(1);

    /// An input whose only file, at its turn, holds `text`.
    struct OneFile {
        directory: tempfile::TempDir,
        counters: Arc<Counters>,
        input: Input,
        id: FileId,
        route: Route,
        buffer: ReadBuffer,
    }

    impl OneFile {
        fn holding(text: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join("app.log"), text).unwrap();
            let pattern = directory.path().join("*.log").display().to_string();
            let settings = Settings::new("tail.0", vec![pattern]);
            let counters = Arc::<Counters>::default();
            let encoder = Encoder::new(&settings, None, 0, Arc::clone(&counters));
            let tail =
                Tail::new(0, settings, PathBuf::new(), Remembered::default(), Arc::default());
            let budget = Budget::new(1_000_000, Arc::new(|| ()));
            let chunks = OpenChunks::new(budget, FLUSH, Box::new(|| [0; 16]));
            let mut input = Input::new(tail.unwrap(), chunks, encoder, Arc::clone(&counters));
            input.tail.scan(Instant::now(), |_| true);
            let id = input.tail.next_file().unwrap();
            let tag = input.tail.file(id).unwrap().tag.clone();
            let slot = input.chunks.slot(&tag);
            let route = Route { input: 0, slot, filters: Vec::new(), has_output: true };
            Self { directory, counters, input, id, route, buffer: ReadBuffer::default() }
        }

        fn take(
            &mut self,
            waited: Duration,
            take: fn(&mut Input, FileId, &Route, Lent<'_>) -> Turn,
        ) -> Turn {
            let lent = Lent { buffer: &mut self.buffer, filters: &mut [], pace: None, waited };
            take(&mut self.input, self.id, &self.route, lent)
        }
    }

    #[test]
    fn what_a_truncation_took_is_counted_also_when_it_is_met_at_the_end_of_a_files_life() {
        let mut file = OneFile::holding("{\"partial");
        assert_eq!(file.take(Duration::ZERO, Input::take_slice), Turn::AtEnd);
        fs::write(file.directory.path().join("app.log"), "x\n").unwrap();
        assert_eq!(file.take(Duration::ZERO, Input::take_partial), Turn::More);
        assert_eq!(file.counters.lost_truncated_bytes.get(), 9);
        assert_eq!(file.counters.truncations.get(), 1);
    }

    #[test]
    fn the_time_a_line_has_waited_to_be_read_is_part_of_flush() {
        let waited = Duration::from_millis(50);
        let mut file = OneFile::holding("line\n");
        let before = Instant::now();
        assert_eq!(file.take(waited, Input::take_slice), Turn::AtEnd);
        let due = file.input.chunks.next_due().unwrap();
        assert!((before + FLUSH..=Instant::now() + FLUSH).contains(&(due + waited)));
    }
}

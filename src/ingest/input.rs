//! One input: its files, its encoder, its open chunks, and one slice read from one file.
//!
//! In:  a file whose turn it is
//! Out: its lines as events in open chunks; whether it has more, is at its end, or got no memory

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};

use super::Pace;
use super::encode::{Encoder, Origin, time_of_reading};
use crate::buffer::{OpenChunks, Reservation, SlotId};
use crate::filter::Filter;
use crate::model::{Counters, FileId};
use crate::tail::lines::{self, Line};
use crate::tail::{LongLines, ReadBuffer, Reading, Tail};

/// The most that is read at once, in bytes, unless one line is longer.
const LARGEST_SLICE: usize = 128 << 10;

/// How long memory must have been short before the log mentions it.
const MENTION_AFTER: Duration = Duration::from_secs(1);

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

/// See the head of this file.
pub struct Input {
    /// Its files.
    pub tail: Tail,
    /// Its open chunks.
    pub chunks: OpenChunks,
    encoder: Encoder,
    counters: Arc<Counters>,
    slice: usize,
    short_since: Option<Instant>,
    has_mentioned_shortage: bool,
}

impl Input {
    /// Puts it together.
    pub fn new(tail: Tail, chunks: OpenChunks, encoder: Encoder, counters: Arc<Counters>) -> Self {
        let slice = LARGEST_SLICE.min(chunks.budget().limit() / 8).max(512);
        Self {
            tail,
            chunks,
            encoder,
            counters,
            slice,
            short_since: None,
            has_mentioned_shortage: false,
        }
    }

    /// Reads one slice of a file. Memory for the worst case is asked for before it is read.
    pub fn take_slice(
        &mut self,
        id: FileId,
        route: &Route,
        buffer: &mut ReadBuffer,
        filters: &mut [Filter],
        pace: Option<&mut Pace>,
    ) -> Turn {
        self.tail.ensure_open(id);
        let (line_limit, slice) = (self.tail.settings().line_limit, self.slice);
        let counters = Arc::clone(&self.counters);
        let Some(file) = self.tail.file(id) else {
            return Turn::AtEnd;
        };
        let worst_case = self.encoder.worst_case(file.next_length(slice), &file.path);
        let Some(allowance) = self.chunks.budget().clone().try_reserve(worst_case) else {
            return Turn::NoRoom;
        };
        let lost = |bytes| {
            counters.truncations.add(1);
            counters.lost_truncated_bytes.add(bytes);
        };
        let reading = match file.read(buffer, slice, line_limit, lost) {
            Ok(reading) => reading,
            Err(error) => {
                error!(file = %file.path.display(), %error, "cannot read; trying again when it changes");
                return Turn::AtEnd;
            }
        };
        match reading {
            Reading::AtEnd => Turn::AtEnd,
            Reading::Longer => Turn::More,
            Reading::Skipped { bytes } => {
                counters.lost_long_line_bytes.add(bytes);
                Turn::More
            }
            Reading::LongLine { offset } => {
                self.take_long_line(id, route, offset, buffer, filters, allowance)
            }
            Reading::Lines { offset, end } => {
                self.take_lines(id, route, offset..end, buffer, filters, allowance, pace)
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "each is one thing that ingest lends")]
    fn take_lines(
        &mut self,
        id: FileId,
        route: &Route,
        range: std::ops::Range<u64>,
        buffer: &ReadBuffer,
        filters: &mut [Filter],
        mut allowance: Reservation,
        mut pace: Option<&mut Pace>,
    ) -> Turn {
        let now = Instant::now();
        let length = usize::try_from(range.end - range.start).expect("it is in the read buffer");
        let bytes = &buffer.from(range.start)[..length];
        // Checked once a slice: the lines of text that is UTF-8 are UTF-8.
        let text = simdutf8::basic::from_utf8(bytes).ok();
        let Some(file) = self.tail.file(id) else {
            return Turn::AtEnd;
        };
        let (mut taken, mut shares, mut count, mut is_out_of_room) = (0, 0, 0, false);
        let span = file.next_span();
        let read_at = time_of_reading();
        let path = std::mem::take(&mut file.path);
        while let Some(line) = lines::first_line(&bytes[taken..]) {
            if pace.as_mut().is_some_and(|pace| !pace.may_go(now)) {
                break;
            }
            let origin = Origin {
                file: id,
                path: &path,
                offset: range.start + taken as u64,
                read_at,
                filters: &route.filters,
            };
            if self.wants(&line, route) {
                let need = self.encoder.worst_case(line.content.len(), &path);
                let Some(chunk) = self.chunks.room(route.slot, need, &mut allowance, now) else {
                    is_out_of_room = true;
                    break;
                };
                let out = chunk.bytes_mut();
                let kept = if line.content.len() > self.tail.settings().line_limit {
                    self.counters.lines_cut.add(1);
                    let cut =
                        lines::cut_at_character(line.content, self.tail.settings().line_limit);
                    self.counters.lost_long_line_bytes.add((line.content.len() - cut.len()) as u64);
                    self.encoder.encode_cut(cut, origin, filters, out)
                } else if let Some(text) = text {
                    let line = &text[taken..taken + line.content.len()];
                    self.encoder.encode(line, origin, filters, out)
                } else {
                    self.encoder.encode_bytes(line.content, origin, filters, out)
                };
                if kept.is_some() && chunk.add(id, span, line.taken as u64) {
                    shares += 1;
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
        let Some(file) = self.tail.file(id) else {
            return Turn::AtEnd;
        };
        file.path = path;
        file.take(buffer, range.start + taken as u64, shares, now);
        if is_out_of_room {
            return Turn::NoRoom;
        }
        if taken < length || !buffer.reached_end() { Turn::More } else { Turn::AtEnd }
    }

    /// Whether a complete line makes an event.
    fn wants(&self, line: &Line<'_>, route: &Route) -> bool {
        let settings = self.tail.settings();
        if !route.has_output {
            self.counters.unmatched_events.add(1);
            return false;
        }
        if settings.skip_empty_lines && lines::is_empty(line.content) {
            return false;
        }
        if line.content.len() > settings.line_limit && settings.long_lines == LongLines::Skip {
            self.counters.lost_long_line_bytes.add(line.content.len() as u64);
            return false;
        }
        true
    }

    /// A line that is above the limit although its newline is not in sight.
    fn take_long_line(
        &mut self,
        id: FileId,
        route: &Route,
        offset: u64,
        buffer: &ReadBuffer,
        filters: &mut [Filter],
        mut allowance: Reservation,
    ) -> Turn {
        let now = Instant::now();
        let limit = self.tail.settings().line_limit;
        let cuts = self.tail.settings().long_lines == LongLines::Cut && route.has_output;
        let bytes = buffer.from(offset);
        let Some(file) = self.tail.file(id) else {
            return Turn::AtEnd;
        };
        let mut shares = 0;
        let mut sent = 0;
        if cuts {
            let cut = lines::cut_at_character(bytes, limit);
            let need = self.encoder.worst_case(cut.len(), &file.path);
            let Some(chunk) = self.chunks.room(route.slot, need, &mut allowance, now) else {
                return Turn::NoRoom;
            };
            let origin = Origin {
                file: id,
                path: &file.path,
                offset,
                read_at: time_of_reading(),
                filters: &route.filters,
            };
            let kept = self.encoder.encode_cut(cut, origin, filters, chunk.bytes_mut());
            shares = u32::from(kept.is_some() && chunk.add(id, file.next_span(), cut.len() as u64));
            sent = cut.len();
            self.counters.lines_cut.add(1);
        }
        warn!(file = %file.path.display(), offset, limit, "a line is longer than the limit; {}",
            if cuts { "its beginning is delivered" } else { "it is left out" });
        self.counters.lines.add(1);
        self.counters.bytes_read.add(bytes.len() as u64);
        self.counters.lost_long_line_bytes.add((bytes.len() - sent) as u64);
        file.begin_skip(buffer, shares, now);
        Turn::More
    }

    /// Sends the unterminated last line of a file. [`Turn::More`]: it is complete by now.
    pub fn take_partial(
        &mut self,
        id: FileId,
        route: &Route,
        buffer: &mut ReadBuffer,
        filters: &mut [Filter],
    ) -> Turn {
        let line_limit = self.tail.settings().line_limit;
        self.tail.ensure_open(id);
        let Some(file) = self.tail.file(id).filter(|file| file.owes_partial()) else {
            return Turn::AtEnd;
        };
        match file.read(buffer, self.slice.max(line_limit + 2), line_limit, |_| ()) {
            Ok(Reading::AtEnd) => {}
            Ok(_) => return Turn::More,
            // What cannot be read now was said when it was first tried.
            Err(_) => return Turn::AtEnd,
        }
        let Some(line) = file.partial(buffer) else {
            return Turn::AtEnd;
        };
        if !route.has_output {
            file.take_partial(buffer, 0);
            return Turn::AtEnd;
        }
        let need = self.encoder.worst_case(line.content.len(), &file.path);
        let Some(mut allowance) = self.chunks.budget().clone().try_reserve(need) else {
            return Turn::NoRoom;
        };
        let Some(chunk) = self.chunks.room(route.slot, need, &mut allowance, Instant::now()) else {
            return Turn::NoRoom;
        };
        let offset = file.next_offset();
        let origin = Origin {
            file: id,
            path: &file.path,
            offset,
            read_at: time_of_reading(),
            filters: &route.filters,
        };
        let kept = self.encoder.encode_bytes(line.content, origin, filters, chunk.bytes_mut());
        let shares =
            u32::from(kept.is_some() && chunk.add(id, file.next_span(), line.taken as u64));
        self.counters.lines.add(1);
        self.counters.partial.add(1);
        self.counters.bytes_read.add(line.taken as u64);
        file.take_partial(buffer, shares);
        Turn::AtEnd
    }

    /// The file was read to its end: if its chunk is the last of a burst, it leaves now.
    pub fn end_burst(&mut self, slot: SlotId) {
        let tail = &self.tail;
        self.chunks.seal_end_of_burst(slot, Instant::now(), |file| tail.is_at_end(file));
    }

    /// `Exit_On_Eof`: everything found at the start was read to its end.
    pub fn has_read_all_it_wants(&mut self) -> bool {
        self.tail.settings().exit_on_eof && !self.tail.is_busy()
    }

    /// Memory is short. Said only when it stays so: at full speed it is short many times a second.
    pub fn note_short_of_memory(&mut self, now: Instant) {
        let since = *self.short_since.get_or_insert(now);
        if self.has_mentioned_shortage || now.duration_since(since) < MENTION_AFTER {
            return;
        }
        self.has_mentioned_shortage = true;
        let budget = self.chunks.budget();
        warn!(
            "[input] {} paused (mem buf overlimit - {}B of {}B are not acknowledged yet); \
             nothing is lost, reading goes on when they are",
            self.tail.settings().name,
            budget.used(),
            budget.limit(),
        );
    }

    /// Memory was found.
    pub fn note_room(&mut self) {
        self.short_since = None;
        if std::mem::take(&mut self.has_mentioned_shortage) {
            let budget = self.chunks.budget();
            info!(
                "[input] {} resume (mem buf overlimit - buf size {}B now below limit {}B)",
                self.tail.settings().name,
                budget.used(),
                budget.limit(),
            );
        }
    }
}

//! One followed file: known by inode, generation and content, not by its name.
//!
//! In:  an open file, and where to begin
//! Out: complete lines with their offsets; what was settled comes back in
//!
//! Nothing here looks at a directory. A partial line takes no memory: it stays in the file, and
//! is read again from its beginning when more has come.

use std::fs::{File, Metadata};
use std::io;
use std::ops::AddAssign;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use super::encoding::{Charset, Encoding};
use super::lines::{self, Line};
use super::open;
use super::read::{Found, ReadBuffer, begins_with};
use crate::checkpoint::mark::{MARKER_REACH, mark_of_file};
use crate::checkpoint::{Ledger, Mark, Position};
use crate::model::{FileId, Share, SpanId, Tag};

/// What tells one file from another for as long as it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Inode {
    /// The file system.
    pub device: u64,
    /// The number in it.
    pub number: u64,
}

impl Inode {
    /// The inode of an open file.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), number: metadata.ino() }
    }
}

/// What one read of a file gave. Offsets are where in the file the bytes begin.
#[derive(Debug, PartialEq, Eq)]
pub enum Reading {
    /// There is at least one complete line from `offset`, and the lines end before `end`.
    Lines {
        /// Where the first line begins.
        offset: u64,
        /// Just past the last newline.
        end: u64,
    },
    /// A line begins at `offset` that is longer than the limit.
    LongLine {
        /// Where it begins.
        offset: u64,
    },
    /// Bytes of a long line were left out. There may be more to read.
    Skipped {
        /// How many.
        bytes: u64,
    },
    /// No complete line, and the line is longer than the slice: read again, with more room.
    Longer,
    /// It was empty when it was found, and something compressed is being written to it.
    Compressed,
    /// Nothing to take: the file ends here, perhaps with a partial line.
    AtEnd,
}

/// Bytes of a file, over all its generations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The highest size of each generation, less where its reading began.
    pub written: u64,
    /// Holes and byte order marks that were left out.
    pub holes: u64,
    /// Taken although they had been sent before, as a partial line.
    pub sent_again: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.holes += other.holes;
        self.sent_again += other.sent_again;
    }
}

/// See the head of this file.
#[derive(Debug)]
pub struct FollowedFile {
    /// For the life of the process.
    pub id: FileId,
    /// The file system's name for it.
    pub inode: Inode,
    /// The path under which it was found. It stays the same when the file is renamed.
    pub path: Arc<Path>,
    /// The tag of its events.
    pub tag: Tag,
    /// Where it lies now. `None`: deleted, or moved where we do not look.
    pub place: Option<PathBuf>,
    /// It is read only after this older file of the same path, so that a stream stays in order.
    pub after: Option<FileId>,
    /// When it last gave bytes, or was last told to.
    pub changed: Instant,
    /// Its writer was seen to close it after its last change.
    pub closed_by_writer: bool,
    /// The last listing that found it.
    pub met_in: u64,
    /// It waits in the queue of files to read.
    pub is_queued: bool,
    /// No name is left for it anywhere: what it holds of the volume is free once we close it.
    pub is_deleted: bool,
    /// Notices do not reach it: a symbolic link's target, or a file moved away.
    pub is_unwatched: bool,
    /// What the input says its files are written in.
    pub encoding: Encoding,
    charset: Charset,
    file: Option<File>,
    generation: u32,
    ledger: Ledger,
    /// Where the next read begins: the first byte that is not part of a line taken so far.
    next: Mark,
    /// The first up to 64 bytes of this generation, as they were read.
    head: Vec<u8>,
    /// The highest size seen in this generation.
    size: u64,
    seen: Seen,
    /// Size and time of change at the last look.
    looked_at: Option<(u64, i64, i64)>,
    /// How many bytes the next read must bring at least, because the line is longer than a slice.
    wanted: usize,
    /// After a truncation, until something else than NUL bytes was read.
    may_be_in_hole: bool,
    /// In the middle of a line above the limit, which is left out up to its newline.
    is_skipping: bool,
    /// The end of its unterminated last line that was sent as if it were complete.
    partial_sent: Option<u64>,
    /// Where the oldest message begins whose lines were taken and that was not sent yet. The
    /// newest span begins there, and one share of it is the message's.
    held: Option<Mark>,
}

impl FollowedFile {
    /// Follows `file` from its start.
    pub fn new(id: FileId, path: PathBuf, tag: Tag, file: File, now: Instant) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            id,
            inode: Inode::of(&metadata),
            path: Arc::from(path.as_path()),
            place: Some(path),
            tag,
            after: None,
            changed: now,
            closed_by_writer: false,
            met_in: 0,
            is_queued: false,
            is_deleted: false,
            is_unwatched: false,
            encoding: Encoding::default(),
            charset: Charset::default(),
            file: Some(file),
            generation: 0,
            ledger: Ledger::default(),
            next: Mark::default(),
            head: Vec::new(),
            size: metadata.len(),
            seen: Seen { written: metadata.len(), ..Seen::default() },
            looked_at: None,
            wanted: 0,
            may_be_in_hole: false,
            is_skipping: false,
            partial_sent: None,
            held: None,
        })
    }

    /// Continues at a stored position, whose generation and beginning are known.
    pub fn start_at(&mut self, position: Mark, generation: u32, head: Vec<u8>) {
        self.generation = generation;
        self.ledger = Ledger::starting_at(position);
        self.next = position;
        self.head = head;
        self.seen.written = self.size.saturating_sub(position.offset);
    }

    /// Whether it still holds the bytes before a mark.
    pub fn holds(&self, mark: Mark) -> io::Result<bool> {
        let file = self.file.as_ref();
        Ok(file.map(|file| mark_of_file(file, mark.offset)).transpose()?.flatten() == Some(mark))
    }

    /// Starts behind what the file holds up to `offset`.
    pub fn start_behind(&mut self, offset: u64) -> io::Result<()> {
        let Some(file) = &self.file else {
            return Ok(());
        };
        let mut head = ReadBuffer::default();
        head.read(file, Mark::default(), MARKER_REACH)?;
        let head = head.from(0).to_vec();
        let charset = self.encoding.of_file(&head).unwrap_or_default();
        // A code unit of which only a part is there does not count as held.
        let whole_units = offset - charset.beyond_unit(offset) as u64;
        if let Some(start) = mark_of_file(file, whole_units)? {
            self.start_at(start, 0, head);
        }
        Ok(())
    }

    /// Reads from where the last line ended.
    ///
    /// A file that holds something else than before begins a new generation; `lost` is called
    /// with the number of bytes that were unread in the old one, as far as we know.
    pub fn read(
        &mut self,
        buffer: &mut ReadBuffer,
        slice: usize,
        line_limit: usize,
        mut lost: impl FnMut(u64),
    ) -> io::Result<Reading> {
        let Some(file) = &self.file else {
            return Ok(Reading::AtEnd);
        };
        let length = self.next_length(slice);
        let mut found = if self.is_overwritten(file, buffer)? {
            Found::SomethingElse
        } else {
            buffer.read(file, self.next, length)?
        };
        if found == Found::SomethingElse {
            lost(self.unread());
            self.begin_generation();
            let file = self.file.as_ref().expect("it was open a moment ago");
            found = buffer.read(file, self.next, length)?;
        }
        let Found::Next { at_end } = found else {
            return Ok(Reading::AtEnd);
        };
        self.remember_head(buffer);
        self.leave_out_hole(buffer);
        self.leave_out_mark(buffer);
        let end = self.next.offset + buffer.from(self.next.offset).len() as u64;
        self.see_size(end);
        if at_end && end < self.size {
            lost(self.see_end(end));
        }
        Ok(self.judge(buffer, at_end, line_limit))
    }

    fn see_size(&mut self, size: u64) {
        self.seen.written += size.saturating_sub(self.size);
        self.size = self.size.max(size);
    }

    /// The bytes before an offset alone do not tell lines apart that end alike and are of one
    /// length; lines begin with what differs, most often a time. And before the first line is
    /// complete there are none.
    fn is_overwritten(&self, file: &File, buffer: &ReadBuffer) -> io::Result<bool> {
        let reach = MARKER_REACH as u64;
        let marker_covers_head =
            self.next.offset <= reach && self.head.len() as u64 <= self.next.offset;
        Ok(!marker_covers_head && !buffer.finds_head(file, &self.head)?)
    }

    /// A file that ends before where it was seen to end, and behind what was taken of it, has lost
    /// a part of its partial line. Says how much of it was not sent.
    fn see_end(&mut self, end: u64) -> u64 {
        let unread = self.unread();
        self.size = self.size.min(end);
        unread - self.unread()
    }

    fn judge(&mut self, buffer: &ReadBuffer, at_end: bool, line_limit: usize) -> Reading {
        let offset = self.next.offset;
        let bytes = buffer.from(offset);
        if self.generation == 0 && offset == 0 && open::begins_compressed(bytes) {
            return Reading::Compressed;
        }
        if self.is_skipping {
            return self.skip(buffer);
        }
        if let Some(end) = lines::end_of_last_newline(bytes, self.charset) {
            self.wanted = 0;
            return Reading::Lines { offset, end: offset + end as u64 };
        }
        // More than the limit: the line may end with a carriage return and a newline.
        let longest = line_limit + 2 * self.charset.unit();
        if bytes.len() >= longest {
            return Reading::LongLine { offset };
        }
        if at_end {
            return Reading::AtEnd;
        }
        self.wanted = (bytes.len() * 2).min(longest);
        Reading::Longer
    }

    /// A run of NUL bytes at the start of a truncated file is a hole that a writer left who went
    /// on at its old offset; it is no part of a line.
    fn leave_out_hole(&mut self, buffer: &ReadBuffer) {
        let bytes = buffer.from(self.next.offset);
        if !self.may_be_in_hole || bytes.is_empty() {
            return;
        }
        let hole = bytes.iter().take_while(|&&byte| byte == 0).count();
        self.may_be_in_hole = hole == bytes.len();
        // The high byte of a character of ASCII is zero as well, and no part of the hole.
        let beyond = self.charset.beyond_unit(self.next.offset + hole as u64).min(hole);
        self.leave_out(buffer, hole - beyond);
    }

    /// A byte order mark is no part of the first line, and half a code unit is none of the next: a
    /// position can lie inside of one when the file was taken for something else before.
    fn leave_out_mark(&mut self, buffer: &ReadBuffer) {
        let (offset, bytes) = (self.next.offset, buffer.from(self.next.offset));
        if offset == 0 {
            self.leave_out(buffer, self.charset.mark_length(bytes));
        } else if !self.is_skipping {
            self.leave_out(buffer, self.charset.beyond_unit(offset).min(bytes.len()));
        }
    }

    fn leave_out(&mut self, buffer: &ReadBuffer, bytes: usize) {
        if bytes > 0 {
            self.seen.holes += bytes as u64;
            self.next = buffer.mark(self.next.offset + bytes as u64);
            self.ledger.enter(self.next, 0);
        }
    }

    /// What the file is written in shows at its beginning. A hole there tells nothing: what the
    /// generation before it was written in holds on.
    fn remember_head(&mut self, buffer: &ReadBuffer) {
        if self.head.len() < MARKER_REACH
            && let Some(beginning) = buffer.beginning()
        {
            self.head = beginning.to_vec();
        }
        self.charset = self.encoding.of_file(&self.head).unwrap_or(self.charset);
    }

    /// What it is written in, as far as it was read.
    pub fn charset(&self) -> Charset {
        self.charset
    }

    fn begin_generation(&mut self) {
        self.generation += 1;
        self.ledger = Ledger::default();
        self.next = Mark::default();
        self.head.clear();
        self.size = 0;
        self.wanted = 0;
        self.may_be_in_hole = true;
        self.is_skipping = false;
        self.partial_sent = None;
        self.held = None;
    }

    /// How many bytes the next read asks for.
    pub fn next_length(&self, slice: usize) -> usize {
        self.wanted.max(slice)
    }

    /// Where the next read begins.
    pub fn next_offset(&self) -> u64 {
        self.next.offset
    }

    /// The same, as it can be recognised.
    pub fn next_mark(&self) -> Mark {
        self.next
    }

    /// The span that the next [`FollowedFile::take`] will enter, or that
    /// [`FollowedFile::take_joined`] will add to.
    pub fn next_span(&self) -> SpanId {
        let number = self.ledger.next_number() - u64::from(self.held.is_some());
        SpanId { generation: self.generation, number }
    }

    /// The lines up to `end` were taken; `shares` chunks took events from them.
    pub fn take(&mut self, buffer: &ReadBuffer, end: u64, shares: u32, now: Instant) {
        if end == self.next.offset {
            return;
        }
        self.count_sent_again(end);
        self.next = buffer.mark(end);
        self.ledger.enter(self.next, shares);
        self.wanted = 0;
        self.changed = now;
    }

    /// The lines up to `end` were taken, or none more; what is left of them in memory begins at
    /// `held`. `shares` chunks took events from the span that [`FollowedFile::next_span`] named.
    ///
    /// The position stays before the oldest message that is held, so that a restart reads it from
    /// its first line. What was sent of the lines behind it is sent again then.
    pub fn take_joined(&mut self, end: Mark, held: Option<Mark>, shares: u32, now: Instant) {
        if end != self.next {
            self.count_sent_again(end.offset);
            self.wanted = 0;
            self.changed = now;
        }
        let sent_to = held.unwrap_or(end);
        if self.held.is_some() {
            self.ledger.share_more(shares);
            self.ledger.extend(if held == self.held { end } else { sent_to });
        } else if sent_to != self.next || shares > 0 {
            self.ledger.enter(sent_to, shares);
        }
        self.next = end;
        if held == self.held {
            return;
        }
        if self.held.is_some() {
            self.ledger.settle(self.ledger.next_number() - 1);
        }
        if held.is_some() {
            self.ledger.enter(end, 1);
        }
        self.held = held;
    }

    /// The line that begins here is above the limit: what was read of it is done with, and what
    /// follows up to its newline is left out. The position stays before the line until then, so
    /// that a restart meets the line at its beginning. `shares` chunks took its cut beginning.
    pub fn begin_skip(&mut self, buffer: &ReadBuffer, shares: u32, now: Instant) {
        let end = self.next.offset + buffer.from(self.next.offset).len() as u64;
        self.count_sent_again(end);
        self.next = buffer.mark(end);
        // One share more: the skipping itself holds the span open.
        self.ledger.enter(self.next, shares + 1);
        self.is_skipping = true;
        self.wanted = 0;
        self.changed = now;
    }

    fn count_sent_again(&mut self, end: u64) {
        if let Some(sent) = self.partial_sent.take() {
            self.seen.sent_again += sent.min(end).saturating_sub(self.next.offset);
        }
    }

    fn skip(&mut self, buffer: &ReadBuffer) -> Reading {
        let bytes = buffer.from(self.next.offset);
        if bytes.is_empty() {
            return Reading::AtEnd;
        }
        let half = self.charset.beyond_unit(self.next.offset).min(bytes.len());
        let newline = lines::end_of_first_newline(&bytes[half..], self.charset);
        let skipped = newline.map_or(bytes.len(), |end| half + end) as u64;
        self.next = buffer.mark(self.next.offset + skipped);
        self.ledger.extend(self.next);
        if newline.is_some() {
            self.ledger.settle(self.ledger.next_number() - 1);
            self.is_skipping = false;
        }
        Reading::Skipped { bytes: skipped }
    }

    /// The unterminated last line, which [`FollowedFile::read`] has just left in `buffer`.
    /// `None`: the file ends with a newline, the rest of it is left out, or it was sent already.
    pub fn partial<'a>(&self, buffer: &'a ReadBuffer) -> Option<Line<'a>> {
        let bytes = buffer.from(self.next.offset);
        let end = self.next.offset + bytes.len() as u64;
        if bytes.is_empty() || self.is_skipping || self.partial_sent == Some(end) {
            return None;
        }
        Some(Line::unterminated(bytes, self.charset))
    }

    /// The unterminated last line was sent. The position stays before it: completed later, it is
    /// sent again, whole.
    pub fn take_partial(&mut self, buffer: &ReadBuffer, shares: u32) {
        let end = self.next.offset + buffer.from(self.next.offset).len() as u64;
        self.count_sent_again(end);
        self.partial_sent = Some(end);
        self.ledger.enter(self.next, shares);
    }

    /// Gives back a chunk's share of a span.
    pub fn settle(&mut self, share: &Share) {
        if share.span.generation == self.generation {
            self.ledger.settle(share.span.number);
        }
    }

    /// The end of the settled prefix.
    pub fn position(&self) -> Mark {
        self.ledger.position()
    }

    /// Whether everything taken so far is settled: no chunk holds a share of it.
    pub fn is_settled(&self) -> bool {
        // The share left while a line is left out is the skipping's own.
        self.ledger.is_settled() || (self.is_skipping && self.ledger.holds_only_its_last())
    }

    /// Which generation this is: 0 until the first truncation.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// The first up to 64 bytes of this generation.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// The highest size seen in this generation.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes seen and not yet taken. A partial line counts until it was sent.
    pub fn unread(&self) -> u64 {
        self.size.saturating_sub(self.next.offset.max(self.partial_sent.unwrap_or(0)))
    }

    /// What was seen of it, over all generations.
    pub fn seen(&self) -> Seen {
        self.seen
    }

    /// Whether it ends in a partial line that was not sent.
    pub fn owes_partial(&self) -> bool {
        self.unread() > 0 && !self.is_skipping
    }

    /// What the position store keeps of it.
    pub fn stored_position(&self) -> Position {
        Position {
            device: self.inode.device,
            inode: self.inode.number,
            path: self.path.to_path_buf(),
            generation: self.generation,
            mark: self.position(),
            head: self.head.clone(),
            size: self.size,
        }
    }

    /// Bytes seen and not yet settled. What was sent as a partial line is settled with its
    /// chunk, and what is left out of a long line is settled as soon as it is read, although the
    /// position stays before both.
    pub fn unsettled(&self) -> u64 {
        let end = if self.is_skipping { Some(self.next.offset) } else { self.partial_sent };
        let is_done = end == Some(self.size) && self.is_settled();
        if is_done { 0 } else { self.size.saturating_sub(self.position().offset) }
    }

    /// Looks at the file's size, time and links, without reading.
    pub fn look(&mut self) -> io::Result<Look> {
        let metadata = match (&self.file, &self.place) {
            (Some(file), _) => file.metadata()?,
            (None, Some(place)) => std::fs::metadata(place)?,
            (None, None) => {
                return Ok(Look { has_changed: false, has_grown: false, is_deleted: true });
            }
        };
        let now = Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec()));
        let look = Look {
            has_changed: now != self.looked_at || metadata.len() != self.size,
            has_grown: metadata.len() > self.size,
            is_deleted: metadata.nlink() == 0,
        };
        self.looked_at = now;
        if look.has_grown && self.may_be_the_same()? {
            self.see_size(metadata.len());
        }
        Ok(look)
    }

    /// Whether what was read of it is still there. If not, its size says nothing about what is
    /// unread of this generation; the next read begins another.
    fn may_be_the_same(&self) -> io::Result<bool> {
        let Some(file) = &self.file else {
            return Ok(true);
        };
        Ok(begins_with(file, &self.head)?
            && mark_of_file(file, self.next.offset)? == Some(self.next))
    }

    /// How many names it has. `None`: it is closed.
    pub fn links(&self) -> Option<u64> {
        self.file.as_ref()?.metadata().ok().map(|metadata| metadata.nlink())
    }

    /// The next look will find it changed.
    pub fn look_again(&mut self) {
        self.looked_at = None;
    }

    /// Half of its volume, if that is memory.
    pub fn half_of_tmpfs(&self) -> Option<u64> {
        self.file.as_ref().and_then(open::half_of_tmpfs)
    }

    /// Whether it is open.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Opens it again where it lies, if it still is the same file.
    pub fn reopen(&mut self, open: impl Fn(&Path) -> io::Result<File>) -> io::Result<bool> {
        let Some(place) = &self.place else {
            return Ok(false);
        };
        let file = open(place)?;
        if Inode::of(&file.metadata()?) != self.inode {
            return Ok(false);
        }
        self.file = Some(file);
        Ok(true)
    }

    /// Closes it. It keeps its position, and can be opened again where it lies.
    pub fn close(&mut self) {
        self.file = None;
    }
}

/// What a look at a file showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// Its size or time is not what it was at the last look, so there may be something to read.
    pub has_changed: bool,
    /// It is longer than it was ever seen.
    pub has_grown: bool,
    /// No name is left for it.
    pub is_deleted: bool,
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;

    use proptest::prelude::*;
    use proptest::sample::Index;

    use super::*;

    const LIMIT: usize = 100;

    struct Case {
        _directory: tempfile::TempDir,
        path: PathBuf,
        file: FollowedFile,
        buffer: ReadBuffer,
        lost: u64,
    }

    impl Case {
        fn new(content: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("app.log");
            fs::write(&path, content).unwrap();
            let opened = File::open(&path).unwrap();
            let now = Instant::now();
            let file = FollowedFile::new(FileId(1), path.clone(), Tag::new("a"), opened, now);
            Self {
                _directory: directory,
                path,
                file: file.unwrap(),
                buffer: ReadBuffer::default(),
                lost: 0,
            }
        }

        fn append(&self, text: &str) {
            let mut file = fs::OpenOptions::new().append(true).open(&self.path).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn read(&mut self) -> Reading {
            let lost = &mut self.lost;
            self.file.read(&mut self.buffer, 64, LIMIT, |bytes| *lost += bytes).unwrap()
        }

        /// Reads, takes the lines with one share, and gives them as text.
        fn take(&mut self) -> String {
            let Reading::Lines { offset, end } = self.read() else {
                return String::new();
            };
            let length = usize::try_from(end - offset).unwrap();
            let text = String::from_utf8(self.buffer.from(offset)[..length].to_vec()).unwrap();
            self.file.take(&self.buffer, end, 1, Instant::now());
            text
        }

        fn settle(&mut self, generation: u32, number: u64) {
            let span = SpanId { generation, number };
            self.file.settle(&Share { file: FileId(1), span, offset: 0, bytes: 0, events: 1 });
        }
    }

    #[test]
    fn a_partial_line_stays_in_the_file_until_it_is_complete() {
        let mut case = Case::new("one\ntw");
        assert_eq!(case.take(), "one\n");
        assert_eq!(case.read(), Reading::AtEnd);
        assert_eq!(case.file.unread(), 2);
        case.append("o\nthr");
        assert_eq!(case.take(), "two\n");
    }

    #[test]
    fn the_position_moves_when_shares_come_back_and_not_before() {
        let mut case = Case::new("one\n");
        case.take();
        case.append("two\n");
        case.take();
        case.settle(0, 1);
        assert_eq!((case.file.position().offset, case.file.unsettled()), (0, 8));
        case.settle(0, 0);
        assert_eq!((case.file.position().offset, case.file.unsettled()), (8, 0));
    }

    #[test]
    fn the_position_stays_before_the_oldest_message_that_is_held() {
        let mut case = Case::new("one\ntwo\nthree\nfour\n");
        case.read();
        let now = Instant::now();
        let at = |case: &Case, offset| case.buffer.mark(offset);
        let position = |case: &Case| case.file.position().offset;
        let (second, third, fourth) = (at(&case, 4), at(&case, 8), at(&case, 14));
        // The first line is sent, the second is held.
        assert_eq!(case.file.next_span().number, 0);
        case.file.take_joined(third, Some(second), 1, now);
        case.settle(0, 0);
        assert_eq!(position(&case), 4);
        // A line behind it is sent, and settled before it.
        assert_eq!(case.file.next_span().number, 1);
        case.file.take_joined(fourth, Some(second), 1, now);
        case.settle(0, 1);
        assert_eq!(position(&case), 4);
        // It is sent, and the last line is held.
        case.file.take_joined(at(&case, 19), Some(fourth), 1, now);
        assert_eq!(position(&case), 4, "not settled yet");
        case.settle(0, 1);
        assert_eq!(position(&case), 14);
        // That one is sent without more being read.
        let end = case.file.next_mark();
        case.file.take_joined(end, None, 1, now);
        assert!(!case.file.is_settled());
        case.settle(0, 2);
        assert_eq!((position(&case), case.file.unsettled()), (19, 0));
        assert_eq!(case.file.next_span().number, 3);
    }

    proptest! {
        /// Lines of ten bytes in two streams, each the last one of its message or not.
        #[test]
        fn the_position_never_passes_the_first_line_of_a_message_that_is_not_settled(
            slices in prop::collection::vec(
                (prop::collection::vec((0..2_usize, any::<bool>()), 0..8), prop::collection::vec(any::<Index>(), 0..4)),
                1..30,
            ),
        ) {
            let (mut case, now) = (Case::new(""), Instant::now());
            let at = |line: usize| Mark { offset: line as u64 * 10, marker: 0 };
            let (mut line, mut pending, mut sent) = (0, [None, None], Vec::new());
            for (lines, settled) in slices {
                let (span, before) = (case.file.next_span().number, sent.len());
                for (stream, is_last) in lines {
                    let first = pending[stream].take().unwrap_or(line);
                    line += 1;
                    match is_last {
                        true => sent.push((first, span)),
                        false => pending[stream] = Some(first),
                    }
                }
                let held = pending.iter().flatten().min().map(|&first| at(first));
                let shares = u32::try_from(sent.len() - before).unwrap();
                case.file.take_joined(at(line), held, shares, now);
                for index in settled {
                    if !sent.is_empty() {
                        case.settle(0, sent.swap_remove(index.index(sent.len())).1);
                    }
                }
                let firsts = sent.iter().map(|(first, _)| first).chain(pending.iter().flatten());
                let oldest = firsts.min().copied().unwrap_or(line);
                prop_assert!(case.file.position().offset <= at(oldest).offset);
            }
            let span = case.file.next_span().number;
            let last: Vec<usize> = pending.into_iter().flatten().collect();
            case.file.take_joined(at(line), None, u32::try_from(last.len()).unwrap(), now);
            sent.extend(last.iter().map(|&first| (first, span)));
            sent.iter().for_each(|(_, span)| case.settle(0, *span));
            prop_assert_eq!(case.file.position(), at(line));
            prop_assert!(case.file.is_settled());
        }
    }

    #[test]
    fn a_truncated_file_begins_a_generation_that_old_shares_do_not_settle() {
        let mut case = Case::new("one\ntwo\n");
        case.take();
        case.append("unread");
        case.file.look().unwrap();
        fs::write(&case.path, "three\n").unwrap();
        assert_eq!(case.take(), "three\n");
        assert_eq!((case.file.generation(), case.lost), (1, 6));
        case.settle(0, 0);
        assert_eq!(case.file.position().offset, 0);
        case.settle(1, 0);
        assert_eq!(case.file.position().offset, 6);
    }

    #[test]
    fn a_file_that_regrew_past_the_position_is_known_by_its_content() {
        let mut case = Case::new("one\ntwo\n");
        case.take();
        fs::write(&case.path, "another line, much longer than before\n").unwrap();
        assert_eq!(case.take(), "another line, much longer than before\n");
        assert_eq!(case.file.generation(), 1);
    }

    #[test]
    fn a_first_line_that_was_overwritten_before_it_was_complete_begins_a_generation() {
        for other in ["x\n", "something else, and longer\n"] {
            let mut case = Case::new("partial");
            assert_eq!(case.read(), Reading::AtEnd);
            fs::write(&case.path, other).unwrap();
            assert_eq!(case.take(), other);
            assert_eq!((case.file.generation(), case.lost, case.file.unread()), (1, 7, 0));
        }
    }

    #[test]
    fn a_file_cut_off_within_a_partial_line_loses_what_is_gone_and_repeats_nothing() {
        let mut case = Case::new("one\npartial line");
        case.take();
        assert_eq!(case.read(), Reading::AtEnd);
        fs::OpenOptions::new().write(true).open(&case.path).unwrap().set_len(8).unwrap();
        assert_eq!(case.read(), Reading::AtEnd);
        assert_eq!((case.file.generation(), case.lost, case.file.unread()), (0, 8, 4));
        case.append(" and more\n");
        assert_eq!(case.take(), "part and more\n");
        assert_eq!((case.file.generation(), case.lost, case.file.unread()), (0, 8, 0));
        assert_eq!(case.file.seen().written, 16 + 10);
    }

    #[test]
    fn the_hole_of_a_truncation_is_left_out_and_nul_bytes_elsewhere_are_not() {
        let mut case = Case::new("a\0\0b\n");
        assert_eq!(case.take(), "a\0\0b\n");
        fs::write(&case.path, "\0".repeat(150) + "after\n").unwrap();
        let texts: Vec<String> = (0..4).map(|_| case.take()).collect();
        assert_eq!(texts.concat(), "after\n");
    }

    #[test]
    fn a_line_longer_than_a_slice_is_read_with_more_room() {
        let mut case = Case::new(&("x".repeat(90) + "\n"));
        assert_eq!(case.read(), Reading::Longer);
        assert_eq!(case.take(), "x".repeat(90) + "\n");
    }

    #[test]
    fn what_is_above_the_limit_is_skipped_and_the_position_stays_before_it_until_its_end() {
        let mut case = Case::new(&("one\n".to_owned() + &"x".repeat(500)));
        case.take();
        case.settle(0, 0);
        assert_eq!(case.read(), Reading::Longer);
        assert_eq!(case.read(), Reading::LongLine { offset: 4 });
        case.file.begin_skip(&case.buffer, 0, Instant::now());
        while case.read() != Reading::AtEnd {}
        assert_eq!((case.file.position().offset, case.file.unsettled()), (4, 0));
        case.append("end\ntwo\n");
        assert_eq!(case.read(), Reading::Skipped { bytes: 4 });
        assert_eq!(case.file.position().offset, 508);
        assert_eq!(case.take(), "two\n");
    }

    #[test]
    fn a_partial_line_that_was_sent_is_owed_no_more_and_the_position_stays_before_it() {
        let mut case = Case::new("one\ntwo");
        case.take();
        case.settle(0, 0);
        assert_eq!(case.read(), Reading::AtEnd);
        assert!(case.file.owes_partial());
        assert_eq!(case.file.partial(&case.buffer).unwrap().content, b"two");
        case.file.take_partial(&case.buffer, 1);
        assert!(!case.file.owes_partial());
        assert_eq!((case.file.position().offset, case.file.unsettled()), (4, 3));
        case.settle(0, 1);
        assert_eq!((case.file.position().offset, case.file.unsettled()), (4, 0));
        case.append(" and more\n");
        assert_eq!(case.take(), "two and more\n");
    }

    #[test]
    fn a_file_can_be_closed_and_opened_again_where_it_was() {
        let mut case = Case::new("one\n");
        case.take();
        case.file.close();
        case.append("two\n");
        assert!(case.file.look().unwrap().has_grown);
        assert!(case.file.reopen(|path| File::open(path)).unwrap());
        assert_eq!(case.take(), "two\n");
        case.file.close();
        fs::remove_file(&case.path).unwrap();
        fs::write(&case.path, "three\n").unwrap();
        let is_same = case.file.reopen(|path| File::open(path)).unwrap();
        assert!(!is_same || Inode::of(&fs::metadata(&case.path).unwrap()) == case.file.inode);
    }
}

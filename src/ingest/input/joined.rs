//! Lines that are joined on their way into chunks (`multiline.parser`, `Docker_Mode`, `Multiline`).
//!
//! In:  the lines of a slice, time
//! Out: messages in open chunks; where the oldest begins that is still held, for the ledger
//!
//! A message stays in memory until it is in a chunk. Its bytes are in a span that it holds a share
//! of, so the position stays before its first line: see `docs/decisions/0006-multiline.md`.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::{Input, Lent, Route, Slice, Turn};
use crate::checkpoint::Mark;
use crate::filter::Filter;
use crate::ingest::encode::time_of_reading;
use crate::model::{EventTime, FileId, SpanId, Tag};
use crate::parse::multiline::{Fed, Group, Joiner, Message};
use crate::tail::lines::{self, Line};
use crate::tail::{Charset, FollowedFile};

/// Everything of one input that waits to be joined or sent.
#[derive(Debug)]
pub struct Joining {
    group: Group,
    files: HashMap<FileId, Held>,
    /// Room for the record of a line.
    record: Vec<u8>,
    /// Bytes of memory that all messages take.
    held: usize,
    /// The most they may take.
    most: usize,
}

/// What is held of one file. It may outlive the file.
#[derive(Debug)]
struct Held {
    joiner: Joiner<Mark>,
    /// The generation of the file that it is from.
    generation: u32,
    tag: Tag,
    path: Arc<Path>,
    /// Bytes of memory, as counted last.
    size: usize,
}

impl Joining {
    /// Holds at most `most` bytes, or one message.
    pub fn new(group: Group, most: usize) -> Self {
        Self { group, files: HashMap::new(), record: Vec::new(), held: 0, most }
    }

    /// The most bytes it holds.
    pub fn most(&self) -> usize {
        self.most
    }

    fn follow(&mut self, file: &FollowedFile) {
        self.files.entry(file.id).or_insert_with(|| Held {
            joiner: Joiner::default(),
            generation: file.generation(),
            tag: file.tag.clone(),
            path: Arc::clone(&file.path),
            size: 0,
        });
    }

    /// Does something with what is held of a file, and counts its memory again.
    fn change<T>(
        &mut self,
        id: FileId,
        change: impl FnOnce(&mut Joiner<Mark>, &Group) -> T,
    ) -> Option<T> {
        let held = self.files.get_mut(&id)?;
        let result = change(&mut held.joiner, &self.group);
        let size = held.joiner.held().map(Message::memory).sum();
        self.held = self.held - held.size + size;
        held.size = size;
        Some(result)
    }

    fn first_ready(&self, id: FileId) -> Option<&Message<Mark>> {
        self.files.get(&id)?.joiner.first_ready()
    }

    /// Where the oldest message begins that is held of a file.
    fn oldest(&self, id: FileId) -> Option<Mark> {
        let held = self.files.get(&id)?.joiner.held();
        held.map(|message| message.place).min_by_key(|place| place.offset)
    }

    /// Takes a line of a file that was found.
    fn feed(&mut self, id: FileId, line: &str, fed: Fed<Mark>) {
        let mut record = std::mem::take(&mut self.record);
        self.change(id, |joiner, group| joiner.feed(group, line, fed, &mut record));
        self.record = record;
    }

    /// Whether there is room for what `worst_case` bytes may become.
    fn has_room(&self, worst_case: usize) -> bool {
        self.held == 0 || self.held + worst_case <= self.most
    }

    /// Divides the message that waited for longest. `None`: all there are wait to be sent.
    fn divide_oldest(&mut self) -> Option<FileId> {
        let pending = |(id, held): (&FileId, &Held)| Some((held.joiner.oldest_due()?, *id));
        let (_, id) = self.files.iter().filter_map(pending).min()?;
        self.change(id, |joiner, group| joiner.divide_oldest(group));
        Some(id)
    }

    /// The files with a message whose last line came too long ago.
    fn due(&self, now: Instant) -> Vec<FileId> {
        let is_due = |held: &Held| held.joiner.next_due().is_some_and(|due| due <= now);
        self.files.iter().filter(|(_, held)| is_due(held)).map(|(id, _)| *id).collect()
    }
}

impl Input {
    // === From lines to messages

    /// Takes the lines of a slice, as `take_lines` does, into messages.
    pub(super) fn join_lines(
        &mut self,
        mut slice: Slice<'_>,
        offset: u64,
        end: u64,
        lent: Lent<'_>,
    ) -> Turn {
        let Lent { buffer, filters, mut pace, .. } = lent;
        let length = usize::try_from(end - offset).expect("it is in the read buffer");
        let bytes = &buffer.from(offset)[..length];
        let read_at = time_of_reading();
        let (mut taken, mut count, mut turn) = (0, 0, Turn::AtEnd);
        while let Some(line) = lines::first_line(&bytes[taken..], slice.charset) {
            if pace.as_mut().is_some_and(|pace| !pace.may_go(slice.now)) {
                turn = Turn::More;
                break;
            }
            if self.wants(&line, &slice) {
                let place = buffer.mark(offset + taken as u64);
                if let Some(early) = self.join_line(&mut slice, line, place, read_at, filters) {
                    turn = early;
                    break;
                }
            } else if line.content.len() > self.tail.settings().line_limit {
                // As where its newline is not in sight: what follows goes on with nothing.
                self.end_pending(slice.file);
            }
            taken += line.taken;
            count += 1;
            if let Some(pace) = pace.as_mut() {
                pace.spend();
            }
        }
        if turn != Turn::NoRoom && !self.send_ready(&mut slice, filters) {
            turn = Turn::NoRoom;
        }
        self.counters.lines.add(count);
        self.counters.bytes_read.add(taken as u64);
        if turn == Turn::AtEnd && !buffer.reached_end() {
            turn = Turn::More;
        }
        let held = self.joining.as_ref().and_then(|joining| joining.oldest(slice.file));
        if let Some(file) = self.tail.file(slice.file) {
            let end = buffer.mark(offset + taken as u64);
            file.take_joined(end, held, slice.shares, slice.now);
        }
        turn
    }

    /// Takes one line. `Some`: it could not, and the slice ends before it.
    fn join_line(
        &mut self,
        slice: &mut Slice<'_>,
        line: Line<'_>,
        place: Mark,
        read_at: EventTime,
        filters: &mut [Filter],
    ) -> Option<Turn> {
        // Before the line: once it is fed it is taken, whatever memory there is.
        if !self.send_ready(slice, filters) {
            return Some(Turn::NoRoom);
        }
        let joining = self.joining.as_mut()?;
        if line.content.len() > self.tail.settings().line_limit {
            // It is cut and goes alone: no parser would know the rest of it.
            self.end_pending(slice.file);
            let is_taken = self.send_ready(slice, filters)
                && self.take_line(slice, line, None, place.offset, read_at, filters);
            return (!is_taken).then_some(Turn::NoRoom);
        }
        if joining.has_room(self.encoder.worst_case(line.content.len(), &slice.path)) {
            self.feed(slice, line, place, read_at);
            return None;
        }
        let oldest = joining.divide_oldest();
        self.counters.multiline_hurried.add(u64::from(oldest.is_some()));
        if oldest == Some(slice.file) {
            return self.join_line(slice, line, place, read_at, filters);
        }
        // Another file's message is sent before the next slice is read.
        Some(Turn::More)
    }

    fn feed(&mut self, slice: &Slice<'_>, line: Line<'_>, place: Mark, read_at: EventTime) {
        let (Some(joining), Some(file)) = (&mut self.joining, self.tail.file(slice.file)) else {
            return;
        };
        joining.follow(file);
        let origin = slice.origin(place.offset, read_at);
        let text = self.encoder.repair(line.content, origin);
        let fed = Fed { place, bytes: line.taken as u64, read_at, now: slice.now };
        joining.feed(slice.file, &text, fed);
    }

    fn end_pending(&mut self, id: FileId) {
        if let Some(joining) = &mut self.joining {
            joining.change(id, |joiner, group| joiner.flush_all(group));
        }
    }

    // === From messages to chunks

    /// Puts the complete messages of the slice's file into the open chunk. False: no memory.
    fn send_ready(&mut self, slice: &mut Slice<'_>, filters: &mut [Filter]) -> bool {
        while let Some(joining) = &mut self.joining
            && let Some(message) = joining.first_ready(slice.file)
        {
            let need = self.encoder.need_of(message, &slice.path);
            let room = self.chunks.room(slice.route.slot, need, &mut slice.allowance, slice.came);
            let Some(chunk) = room else {
                return false;
            };
            let taken = joining.change(slice.file, |joiner, _| joiner.take_ready());
            let message = taken.flatten().expect("it was there a moment ago");
            let origin = slice.origin(message.place.offset, message.read_at);
            let kept = self.encoder.encode_message(&message, origin, filters, chunk.bytes_mut());
            self.records += 1;
            self.bytes += message.bytes;
            if kept.is_none() {
                self.counters.bytes_filtered.add(message.bytes);
            } else if chunk.add(slice.file, slice.span, message.place.offset, message.bytes) {
                slice.shares += 1;
            }
        }
        true
    }

    /// Sends the complete messages of a file. False: no memory for some of them.
    pub fn send_messages(&mut self, id: FileId, route: &Route, filters: &mut [Filter]) -> bool {
        while let Some(joining) = &self.joining
            && let Some(message) = joining.first_ready(id)
        {
            let held = &joining.files[&id];
            let (generation, path) = (held.generation, Arc::clone(&held.path));
            let need = self.encoder.need_of(message, &path);
            let Some(allowance) = self.chunks.budget().clone().try_reserve(need) else {
                return false;
            };
            // What is left of an earlier generation, or of a file that is gone, settles nothing.
            let file = self.tail.file(id).filter(|file| file.generation() == generation);
            let span = file.map_or(SpanId { generation, number: 0 }, |file| file.next_span());
            let now = Instant::now();
            // What is joined was converted before.
            let charset = Charset::Utf8;
            let mut slice = Slice {
                file: id,
                path,
                charset,
                span,
                route,
                allowance,
                now,
                came: now,
                shares: 0,
            };
            let has_sent = self.send_ready(&mut slice, filters);
            let shares = slice.shares;
            let held = self.joining.as_ref().and_then(|joining| joining.oldest(id));
            if let Some(file) = self.tail.file(id).filter(|file| file.generation() == generation) {
                file.take_joined(file.next_mark(), held, shares, now);
            }
            if !has_sent {
                return false;
            }
        }
        true
    }

    /// Completes and sends what is pending of a file. False: no memory for some of it.
    pub(super) fn end_messages(
        &mut self,
        id: FileId,
        route: &Route,
        filters: &mut [Filter],
    ) -> bool {
        self.end_pending(id);
        self.send_messages(id, route, filters)
    }

    /// Ends the messages that what was just read cannot go on with: the file has begun another
    /// generation, or a line follows that is left out. False: no memory for some of them.
    pub(super) fn end_what_is_cut_off(
        &mut self,
        id: FileId,
        generation: u32,
        is_long: bool,
        route: &Route,
        filters: &mut [Filter],
    ) -> bool {
        let Some(held) = self.joining.as_ref().and_then(|joining| joining.files.get(&id)) else {
            return true;
        };
        if held.generation == generation && !is_long {
            return true;
        }
        if !self.end_messages(id, route, filters) {
            return false;
        }
        if let Some(joining) = &mut self.joining {
            joining.files.remove(&id);
        }
        true
    }

    /// Makes an event of an unterminated last line. Nothing else is held of its file. False: no
    /// memory.
    pub(super) fn take_alone(
        &mut self,
        slice: &mut Slice<'_>,
        line: Line<'_>,
        place: Mark,
        filters: &mut [Filter],
    ) -> bool {
        self.feed(slice, line, place, time_of_reading());
        self.end_pending(slice.file);
        let has_sent = self.send_ready(slice, filters);
        if let Some(joining) = &mut self.joining {
            // It is still in the file, from where it is read again.
            joining.change(slice.file, |joiner, _| while joiner.take_ready().is_some() {});
        }
        has_sent
    }

    // === For the loop

    /// Completes the messages whose last line came too long ago, where nothing follows: the next
    /// line of a message may be in the file for long, unread for want of memory or of time.
    pub fn complete_due_messages(&mut self, now: Instant) {
        let Some(joining) = self.joining.as_mut().filter(|joining| joining.held > 0) else {
            return;
        };
        for id in joining.due(now) {
            self.tail.look(id, now);
            if self.tail.is_at_end(id) {
                joining.change(id, |joiner, group| joiner.flush_due(group, now));
            }
        }
    }

    /// Completes every message: there will be no more lines.
    pub fn complete_all_messages(&mut self) {
        if let Some(joining) = &mut self.joining {
            let ids: Vec<FileId> = joining.files.keys().copied().collect();
            for id in ids {
                joining.change(id, |joiner, group| joiner.flush_all(group));
            }
        }
    }

    /// The files with complete messages that are not sent yet, and their tags.
    pub fn files_with_messages(&self) -> Vec<(FileId, Tag)> {
        let Some(joining) = self.joining.as_ref().filter(|joining| joining.held > 0) else {
            return Vec::new();
        };
        let ready = joining.files.iter().filter(|(_, held)| held.joiner.first_ready().is_some());
        ready.map(|(id, held)| (*id, held.tag.clone())).collect()
    }

    /// When the next message is due. One that is complete is due at once, unless it waits for
    /// memory; one whose file has more to read is not.
    pub fn next_message(&self, is_short_of_memory: bool) -> Option<Instant> {
        let joining = self.joining.as_ref().filter(|joining| joining.held > 0)?;
        let due = |(id, held): (&FileId, &Held)| match held.joiner.first_ready() {
            Some(_) => Some(Instant::now()).filter(|_| !is_short_of_memory),
            None => held.joiner.next_due().filter(|_| self.tail.is_at_end(*id)),
        };
        joining.files.iter().filter_map(due).min()
    }

    /// Bytes of files that are in open chunks or in messages.
    pub fn bytes_in_memory(&self) -> u64 {
        let held = self.joining.iter().flat_map(|joining| joining.files.values());
        let messages = held.flat_map(|held| held.joiner.held()).map(|message| message.bytes);
        self.chunks.file_bytes() + messages.sum::<u64>()
    }

    /// Forgets the state of files that are no longer followed.
    pub fn forget_joined_files(&mut self) {
        let Some(joining) = &mut self.joining else {
            return;
        };
        let tail = &mut self.tail;
        joining.files.retain(|id, held| held.size > 0 || tail.file(*id).is_some());
    }
}

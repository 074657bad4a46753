//! Consecutive events of one tag: open while events are added, then sealed.

use std::ops::Range;
use std::time::Instant;

use super::budget::Reservation;
use super::delivery::Loss;
use crate::model::{Codec, FileId, Share, SpanId, Tag};

/// Events of one tag that are still being added to. Owns its part of the memory limit.
#[derive(Debug)]
pub struct OpenChunk {
    bytes: Vec<u8>,
    events: u32,
    shares: Vec<Share>,
    memory: Reservation,
    opened: Instant,
}

impl OpenChunk {
    /// Starts with an empty buffer, whose capacity is what `memory` pays for.
    pub fn new(bytes: Vec<u8>, memory: Reservation, opened: Instant) -> Self {
        debug_assert!(bytes.is_empty() && memory.size() >= bytes.capacity());
        Self { bytes, events: 0, shares: Vec::new(), memory, opened }
    }

    /// The encoded events. Whoever adds one must have asked for the room first
    /// ([`super::OpenChunks::room`]), so that the buffer never grows by itself.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How many more bytes fit.
    pub fn spare(&self) -> usize {
        self.bytes.capacity() - self.bytes.len()
    }

    /// How many bytes it can hold.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many bytes its events take.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no event was added yet.
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// When it was opened, which is when its oldest event came.
    pub fn opened(&self) -> Instant {
        self.opened
    }

    /// Counts the event that was just written, made of `bytes` at `offset` of a file. True: this
    /// is the chunk's first event of that span, so the chunk now holds a share of it.
    pub fn add(&mut self, file: FileId, span: SpanId, offset: u64, bytes: u64) -> bool {
        self.events += 1;
        if let Some(last) = self.shares.last_mut()
            && last.file == file
            && last.span == span
        {
            last.bytes += bytes;
            last.events += 1;
            return false;
        }
        self.shares.push(Share { file, span, offset, bytes, events: 1 });
        true
    }

    /// The files that feed it.
    pub fn files(&self) -> impl Iterator<Item = FileId> {
        self.shares.iter().map(|share| share.file)
    }

    /// Bytes of files its events were.
    pub fn file_bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.bytes).sum()
    }

    /// Moves to a larger buffer that `more` pays for. The old buffer comes back, empty.
    pub fn move_to(&mut self, mut larger: Vec<u8>, more: Reservation) -> Vec<u8> {
        larger.extend_from_slice(&self.bytes);
        self.memory.absorb(more);
        let mut old = std::mem::replace(&mut self.bytes, larger);
        old.clear();
        old
    }

    /// Ends the adding. `id` is what the receiver acknowledges; 16 random bytes.
    pub fn seal(mut self, id: [u8; 16], tag: Tag, sealed_max: usize) -> Chunk {
        // A chunk of one long record was given room for the worst case, three times the line.
        if self.bytes.capacity() > sealed_max && self.bytes.capacity() > self.bytes.len() {
            self.bytes.shrink_to(self.bytes.len().max(sealed_max));
            self.memory.shrink_to(self.bytes.capacity());
        }
        Chunk {
            id,
            tag,
            entries: self.bytes,
            codec: None,
            packed: Vec::new(),
            events: self.events,
            shares: self.shares,
            opened: self.opened,
            losses: Vec::new(),
            memory: self.memory,
        }
    }
}

/// Encoded events of one tag, ready to send. Holds its part of the memory limit until dropped.
#[derive(Debug)]
pub struct Chunk {
    /// What the receiver acknowledges: the same over every resend.
    pub id: [u8; 16],
    /// The tag of its events.
    pub tag: Tag,
    /// The events, `[time, record]` each, one after another; compressed if `codec` says so.
    pub entries: Vec<u8>,
    /// How `entries` are compressed: when all outputs that take the chunk want them so.
    pub codec: Option<Codec>,
    /// Further forms, when they do not.
    packed: Vec<Packed>,
    /// How many.
    pub events: u32,
    /// Which bytes of which files they came from.
    pub shares: Vec<Share>,
    /// When its oldest event came.
    pub opened: Instant,
    /// What outputs gave up of it; known when it has come home.
    pub losses: Vec<Loss>,
    memory: Reservation,
}

/// The entries of a chunk in another form.
#[derive(Debug)]
struct Packed {
    codec: Codec,
    bytes: Vec<u8>,
    /// Holds what it takes of the memory limit.
    _memory: Reservation,
}

impl Chunk {
    /// The entries for an output that compresses so, and how they are compressed: not at all, if
    /// that would not make them smaller or there was no memory for two forms.
    pub fn entries_for(&self, wanted: Option<Codec>) -> (&[u8], Option<Codec>) {
        match self.packed.iter().find(|packed| Some(packed.codec) == wanted) {
            Some(packed) => (&packed.bytes, wanted),
            None => (&self.entries, self.codec),
        }
    }

    /// Has the entries in this form instead. Gives the old buffer back, empty.
    pub fn replace(&mut self, codec: Codec, bytes: Vec<u8>) -> Vec<u8> {
        let mut old = std::mem::replace(&mut self.entries, bytes);
        self.codec = Some(codec);
        self.memory.shrink_to(self.entries.capacity());
        old.clear();
        old
    }

    /// Has the entries in this form too, if the memory limit has room for it. Nobody waits.
    pub fn add_form(&mut self, codec: Codec, bytes: &[u8]) {
        if let Some(memory) = self.memory.try_more(bytes.len()) {
            self.packed.push(Packed { codec, bytes: bytes.to_vec(), _memory: memory });
        }
    }

    /// Takes it apart: its buffer, to be used again, and its shares. The memory is free again.
    pub fn into_parts(self) -> (Vec<u8>, Vec<Share>) {
        (self.entries, self.shares)
    }

    /// Bytes of files its events were.
    pub fn file_bytes(&self) -> u64 {
        self.shares.iter().map(|share| share.bytes).sum()
    }

    /// The share that event number `event` (from 0) is of.
    pub fn share_of(&self, event: u32) -> Option<&Share> {
        let mut before = 0;
        self.shares.iter().find(|share| {
            before += share.events;
            event < before
        })
    }

    /// Bytes of files that these events were. Exact for all events of a share; where only some of
    /// a share are meant, it counts each event of it alike, because nobody keeps the length of
    /// every line.
    pub fn file_bytes_of(&self, events: &Range<u32>) -> u64 {
        let mut from = 0;
        let mut bytes = 0;
        for share in &self.shares {
            let to = from + share.events;
            let meant = to.min(events.end).saturating_sub(from.max(events.start));
            bytes += share.bytes * u64::from(meant) / u64::from(share.events.max(1));
            from = to;
        }
        bytes
    }

    /// What it takes of the memory limit.
    pub fn memory(&self) -> usize {
        self.memory.size()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::buffer::Budget;

    #[test]
    fn the_file_bytes_of_some_events_are_those_of_their_shares() {
        let memory = Budget::new(100, Arc::new(|| ())).try_reserve(0).unwrap();
        let mut open = OpenChunk::new(Vec::new(), memory, Instant::now());
        for (number, bytes) in [(0, 10), (0, 11), (1, 7)] {
            open.add(FileId(1), SpanId { generation: 0, number }, 0, bytes);
        }
        let chunk = open.seal([7; 16], Tag::new("a"), 100);
        for (events, expected) in [(0..3, 28), (0..2, 21), (0..1, 10), (2..3, 7), (1..3, 17)] {
            assert_eq!(chunk.file_bytes_of(&events), expected, "{events:?}");
        }
        assert_eq!(chunk.share_of(2).unwrap().span.number, 1);
        assert_eq!(chunk.share_of(3), None);
    }
}

//! The open chunks of one input, one a tag, and the rules by which they are sealed.
//!
//! In:  requests for room in the chunk of a tag; the time; what the files are doing
//! Out: sealed chunks
//!
//! A chunk is sealed
//!  (a) when it is full,
//!  (b) when its oldest event is `Flush` old,
//!  (c) with all others, when memory is short,
//!  (d) when a burst ends: the chunk before it of the same tag left full (or for want of memory)
//!      less than `Flush` ago, and every file that feeds it is at its end; or a chunk of any tag
//!      left so, and every file of the input is at its end,
//!  (e) at once while stopping,
//!  (f) as soon as its source has nothing more at hand, when a client waits for its
//!      acknowledgement.
//! So a trickle is one frame a `Flush`, and at the end of a backlog nothing waits.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use super::{Budget, Chunk, OpenChunk, Reservation, pool::Pool};
use crate::model::{Codec, FileId, Tag};

/// The least a chunk's buffer takes, in bytes.
const SMALLEST_CHUNK: usize = 4 << 10;
/// The most a chunk is filled to, in bytes, unless one record alone is larger.
pub(super) const LARGEST_CHUNK: usize = 1 << 20;
/// The least that counts as a full chunk, in bytes.
const SMALLEST_FULL_CHUNK: usize = 16 << 10;

/// One tag of an input, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SlotId(usize);

/// Why chunks are sealed before they are full or old.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// Rule (c).
    MemoryShort,
    /// Rule (e).
    Stopping,
}

struct Slot {
    tag: Tag,
    open: Option<OpenChunk>,
    /// What the last chunk of this tag needed, in bytes.
    needed: usize,
    /// When a chunk of this tag last left although more was to come: full, or memory was short.
    pressed: Option<Instant>,
}

/// See the head of this file.
pub struct OpenChunks {
    budget: Budget,
    pool: Pool,
    flush: Duration,
    full: usize,
    slots: Vec<Slot>,
    by_tag: HashMap<Tag, SlotId>,
    /// Slots by the time their chunk was opened. An entry whose chunk has left since is stale.
    by_age: VecDeque<(Instant, SlotId)>,
    new_id: Box<dyn FnMut() -> [u8; 16] + Send>,
    sealed: Vec<Chunk>,
    /// Chunks that were sealed and have not come home.
    away: usize,
    /// When a chunk of any tag last left although more was to come.
    pressed: Option<Instant>,
}

impl OpenChunks {
    /// `new_id` gives 16 random bytes for each chunk.
    pub fn new(
        budget: Budget,
        flush: Duration,
        new_id: Box<dyn FnMut() -> [u8; 16] + Send>,
    ) -> Self {
        let full = full_chunk(budget.limit());
        Self {
            budget,
            pool: Pool::default(),
            flush,
            full,
            slots: Vec::new(),
            by_tag: HashMap::new(),
            by_age: VecDeque::new(),
            new_id,
            sealed: Vec::new(),
            away: 0,
            pressed: None,
        }
    }

    /// The slot of a tag, new if need be.
    pub fn slot(&mut self, tag: &Tag) -> SlotId {
        if let Some(&slot) = self.by_tag.get(tag) {
            return slot;
        }
        let slot = SlotId(self.slots.len());
        self.slots.push(Slot {
            tag: tag.clone(),
            open: None,
            needed: SMALLEST_CHUNK,
            pressed: None,
        });
        self.by_tag.insert(tag.clone(), slot);
        slot
    }

    /// The open chunk of `slot`, with at least `need` bytes to spare. A full one is sealed first
    /// (rule a). What it grows by is paid from `allowance`, then from the budget. If it is a new
    /// one, its oldest event came at `now`.
    ///
    /// `None`: no memory. The caller seals everything and comes again when some was freed.
    pub fn room(
        &mut self,
        slot: SlotId,
        need: usize,
        allowance: &mut Reservation,
        now: Instant,
    ) -> Option<&mut OpenChunk> {
        let full = self.full;
        let open = self.slots[slot.0].open.as_ref();
        let filled = open.map_or(0, OpenChunk::len);
        if open.is_some_and(|open| open.spare() >= need) {
            return self.slots[slot.0].open.as_mut();
        }
        if filled > 0 && filled + need > full {
            self.slots[slot.0].pressed = Some(now);
            self.pressed = Some(now);
            self.seal(slot);
            return self.open(slot, need, allowance, now);
        }
        if open.is_none() {
            return self.open(slot, need, allowance, now);
        }
        self.grow(slot, filled + need, allowance)
    }

    fn open(
        &mut self,
        slot: SlotId,
        need: usize,
        allowance: &mut Reservation,
        now: Instant,
    ) -> Option<&mut OpenChunk> {
        let least = need.max(SMALLEST_CHUNK);
        let wished = self.slots[slot.0].needed.max(least);
        let (memory, capacity) = match self.pay(wished, allowance) {
            Some(memory) => (memory, wished),
            // Room for what is wished comes home.
            None if self.away > 0 => return None,
            None => (self.pay(least, allowance)?, least),
        };
        let (bytes, memory) = self.buffer(capacity, memory);
        self.by_age.push_back((now, slot));
        Some(self.slots[slot.0].open.insert(OpenChunk::new(bytes, memory, now)))
    }

    fn grow(
        &mut self,
        slot: SlotId,
        least: usize,
        allowance: &mut Reservation,
    ) -> Option<&mut OpenChunk> {
        let had = self.slots[slot.0].open.as_ref()?.capacity();
        let capacity = (had * 2).min(self.full).max(least);
        let more = self.pay(capacity - had, allowance)?;
        let (larger, more) = self.buffer(capacity, more);
        let open = self.slots[slot.0].open.as_mut()?;
        let old = open.move_to(larger, more);
        self.pool.give(old, self.room_to_spare());
        self.slots[slot.0].open.as_mut()
    }

    fn pay(&self, size: usize, allowance: &mut Reservation) -> Option<Reservation> {
        if let Some(paid) = allowance.split(size) {
            return Some(paid);
        }
        let mut paid = self.budget.try_reserve(size - allowance.size())?;
        paid.absorb(allowance.split(allowance.size())?);
        Some(paid)
    }

    /// A buffer from the pool may be larger than what was asked for; it is cut to what is paid.
    fn buffer(&mut self, capacity: usize, memory: Reservation) -> (Vec<u8>, Reservation) {
        let mut bytes = self.pool.take(capacity, self.room_to_spare());
        if bytes.capacity() > capacity {
            bytes.shrink_to(capacity);
        }
        (bytes, memory)
    }

    /// Seals the chunks whose oldest event is `Flush` old (rule b).
    pub fn seal_due(&mut self, now: Instant) {
        while let Some(due) = self.next_due()
            && due <= now
        {
            let slot = self.by_age[0].1;
            self.seal(slot);
        }
    }

    /// When the next chunk is due by its age.
    pub fn next_due(&mut self) -> Option<Instant> {
        while let Some(&(opened, slot)) = self.by_age.front() {
            let open = self.slots[slot.0].open.as_ref();
            if open.is_some_and(|open| open.opened() == opened) {
                return Some(opened + self.flush);
            }
            self.by_age.pop_front();
        }
        None
    }

    /// Seals every open chunk (rules c and e).
    pub fn seal_all(&mut self, why: Sealing, now: Instant) {
        while let Some((_, slot)) = self.by_age.pop_front() {
            let needed = self.slots[slot.0].needed;
            if why == Sealing::MemoryShort && self.slots[slot.0].open.is_some() {
                self.slots[slot.0].pressed = Some(now);
                self.pressed = Some(now);
            }
            self.seal(slot);
            if why == Sealing::MemoryShort {
                // What it came to by then says nothing of what it would have needed.
                let slot = &mut self.slots[slot.0];
                slot.needed = slot.needed.max(needed);
            }
        }
    }

    /// Seals the chunk of `slot` if it is the last of a burst (rule d). `is_at_end` tells it of
    /// the files that feed the chunk.
    pub fn seal_end_of_burst(
        &mut self,
        slot: SlotId,
        now: Instant,
        is_at_end: impl Fn(FileId) -> bool,
    ) {
        let Slot { open: Some(open), pressed: Some(pressed), .. } = &self.slots[slot.0] else {
            return;
        };
        if now.duration_since(*pressed) < self.flush && open.files().all(is_at_end) {
            self.slots[slot.0].pressed = None;
            self.seal(slot);
        }
    }

    /// Every file of the input is at its end: if that ends a burst, every open chunk leaves (rule
    /// d). What comes from now on is a trickle again, until the next chunk leaves under pressure.
    pub fn seal_end_of_all(&mut self, now: Instant) {
        let Some(pressed) = self.pressed.take() else {
            return;
        };
        if now.duration_since(pressed) < self.flush {
            while let Some((_, slot)) = self.by_age.pop_front() {
                self.slots[slot.0].pressed = None;
                self.seal(slot);
            }
        }
    }

    /// Seals the chunk of `slot` because a client waits for its acknowledgement and its source
    /// has nothing more at hand (rule f).
    pub fn seal_awaited(&mut self, slot: SlotId) {
        self.seal(slot);
    }

    fn seal(&mut self, slot: SlotId) {
        let Slot { tag, open, needed, .. } = &mut self.slots[slot.0];
        let Some(open) = open.take() else {
            return;
        };
        if open.is_empty() {
            let (bytes, _) = open.seal([0; 16], tag.clone(), self.full).into_parts();
            self.pool.give(bytes, self.room_to_spare());
            return;
        }
        *needed = open.len().next_power_of_two().clamp(SMALLEST_CHUNK, self.full);
        self.away += 1;
        self.sealed.push(open.seal((self.new_id)(), tag.clone(), self.full));
    }

    /// How many tags it knows.
    pub fn tags(&self) -> usize {
        self.slots.len()
    }

    /// Seals every open chunk and forgets all tags: clients may write ever new ones. Slots that
    /// were given out are void.
    pub fn forget_tags(&mut self, now: Instant) {
        self.seal_all(Sealing::MemoryShort, now);
        self.slots.clear();
        self.by_tag.clear();
        self.by_age.clear();
    }

    /// The chunks sealed since the last call, oldest first.
    pub fn take_sealed(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.sealed)
    }

    /// Takes back the buffer of a chunk that has come home.
    pub fn recycle(&mut self, buffer: Vec<u8>) {
        self.away -= 1;
        self.pool.give(buffer, self.room_to_spare());
    }

    /// Puts the compressed entries of a chunk in the place of those it has. They lie in a buffer of
    /// ours as well, so that a busy agent allocates nothing.
    pub fn replace(&mut self, chunk: &mut Chunk, codec: Codec, packed: &[u8]) {
        let size = rounded(packed.len()).min(chunk.memory());
        let mut bytes = self.pool.take(size, self.room_to_spare().saturating_sub(size));
        if bytes.capacity() > chunk.memory() {
            bytes.shrink_to(size);
        }
        bytes.extend_from_slice(packed);
        let old = chunk.replace(codec, bytes);
        self.pool.give(old, self.room_to_spare());
    }

    /// What the budget has free.
    fn room_to_spare(&self) -> usize {
        self.budget.limit().saturating_sub(self.budget.used())
    }

    /// Gives unused buffers back to the system: nothing has moved for a while.
    pub fn release_unused(&mut self) {
        self.pool.shrink_to(0);
    }

    /// Bytes of unused buffers.
    pub fn unused(&self) -> usize {
        self.pool.held()
    }

    /// Bytes of files whose events are in open chunks.
    pub fn file_bytes(&self) -> u64 {
        self.slots.iter().filter_map(|slot| slot.open.as_ref()).map(OpenChunk::file_bytes).sum()
    }

    /// How old an event becomes before its chunk leaves.
    pub fn flush(&self) -> Duration {
        self.flush
    }

    /// The budget its chunks are paid from.
    pub fn budget(&self) -> &Budget {
        &self.budget
    }
}

/// A little more than `size`, so that buffers of nearly the same size are of the same, and the
/// place of one in memory suits the next.
fn rounded(size: usize) -> usize {
    size.next_multiple_of((size.next_power_of_two() / 8).max(1))
}

/// What counts as a full chunk: an eighth of the limit, at least 16 KiB, at most 1 MiB.
fn full_chunk(limit: usize) -> usize {
    (limit / 8).clamp(SMALLEST_FULL_CHUNK, LARGEST_CHUNK)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::SpanId;

    const FLUSH: Duration = Duration::from_secs(5);
    const SPAN: SpanId = SpanId { generation: 0, number: 0 };

    fn chunks(limit: usize) -> OpenChunks {
        let budget = Budget::new(limit, Arc::new(|| ()));
        let mut next = 0_u128;
        let new_id = Box::new(move || {
            next += 1;
            next.to_be_bytes()
        });
        OpenChunks::new(budget, FLUSH, new_id)
    }

    /// Adds one event of `size` bytes, as ingest does; false: there was no room.
    fn add(chunks: &mut OpenChunks, slot: SlotId, size: usize, now: Instant) -> bool {
        let Some(mut allowance) = chunks.budget.clone().try_reserve(size) else {
            return false;
        };
        let Some(open) = chunks.room(slot, size, &mut allowance, now) else {
            return false;
        };
        let filled = open.len() + size;
        open.bytes_mut().resize(filled, 0xc0);
        open.add(FileId(1), SPAN, 0, size as u64);
        true
    }

    fn sealed_sizes(chunks: &mut OpenChunks) -> Vec<usize> {
        chunks.take_sealed().iter().map(|chunk| chunk.entries.len()).collect()
    }

    #[test]
    fn a_full_chunk_is_an_eighth_of_the_limit_within_bounds() {
        for (limit, full) in
            [(50_000, 16_384), (512_000, 64_000), (5_000_000, 625_000), (100_000_000, 1 << 20)]
        {
            assert_eq!(full_chunk(limit), full);
        }
    }

    #[test]
    fn a_chunk_is_sealed_when_it_is_full() {
        let mut chunks = chunks(512_000);
        let slot = chunks.slot(&Tag::new("a"));
        let now = Instant::now();
        for _ in 0..65 {
            assert!(add(&mut chunks, slot, 1000, now));
        }
        assert_eq!(sealed_sizes(&mut chunks), [64_000]);
    }

    #[test]
    fn compressed_entries_lie_in_buffers_that_go_round() {
        let mut chunks = chunks(512_000);
        let slot = chunks.slot(&Tag::new("a"));
        let mut unused = Vec::new();
        for packed in [30_000, 25_000, 29_000] {
            for _ in 0..60 {
                assert!(add(&mut chunks, slot, 1000, Instant::now()));
            }
            chunks.seal_all(Sealing::Stopping, Instant::now());
            let mut chunk = chunks.take_sealed().remove(0);
            chunks.replace(&mut chunk, Codec::Gzip, &vec![7; packed]);
            assert_eq!(chunk.entries, vec![7; packed]);
            assert_eq!(chunk.memory(), chunk.entries.capacity());
            assert!(chunk.memory() <= 64_000, "{}", chunk.memory());
            chunks.recycle(chunk.into_parts().0);
            unused.push(chunks.unused());
        }
        assert_eq!(unused, [unused[0]; 3]);
        assert_eq!(chunks.budget().used(), 0);
    }

    #[test]
    fn a_chunk_is_sealed_when_its_oldest_event_is_flush_old() {
        let mut chunks = chunks(512_000);
        let (a, b) = (chunks.slot(&Tag::new("a")), chunks.slot(&Tag::new("b")));
        let start = Instant::now();
        assert!(add(&mut chunks, a, 10, start));
        assert!(add(&mut chunks, b, 20, start + FLUSH / 2));
        assert!(add(&mut chunks, a, 10, start + FLUSH / 2));
        assert_eq!(chunks.next_due(), Some(start + FLUSH));
        chunks.seal_due(start + FLUSH - Duration::from_millis(1));
        assert!(sealed_sizes(&mut chunks).is_empty());
        chunks.seal_due(start + FLUSH);
        assert_eq!(sealed_sizes(&mut chunks), [20]);
        assert_eq!(chunks.next_due(), Some(start + FLUSH + FLUSH / 2));
    }

    #[test]
    fn all_chunks_are_sealed_when_memory_is_short_and_when_stopping() {
        for why in [Sealing::MemoryShort, Sealing::Stopping] {
            let mut chunks = chunks(512_000);
            let (a, b) = (chunks.slot(&Tag::new("a")), chunks.slot(&Tag::new("b")));
            let now = Instant::now();
            assert!(add(&mut chunks, a, 10, now) && add(&mut chunks, b, 20, now));
            chunks.seal_all(why, now);
            assert_eq!(sealed_sizes(&mut chunks), [10, 20]);
            assert_eq!(chunks.next_due(), None);
        }
    }

    #[test]
    fn the_last_chunk_of_a_burst_does_not_wait_for_flush() {
        let mut chunks = chunks(512_000);
        let slot = chunks.slot(&Tag::new("a"));
        let now = Instant::now();
        assert!(add(&mut chunks, slot, 10, now));
        chunks.seal_end_of_burst(slot, now, |_| true);
        assert!(sealed_sizes(&mut chunks).is_empty(), "a trickle is no burst");
        for _ in 0..65 {
            assert!(add(&mut chunks, slot, 1000, now));
        }
        assert_eq!(sealed_sizes(&mut chunks).len(), 1);
        chunks.seal_end_of_burst(slot, now, |_| false);
        assert!(sealed_sizes(&mut chunks).is_empty(), "its file has more");
        chunks.seal_end_of_burst(slot, now, |_| true);
        assert_eq!(sealed_sizes(&mut chunks).len(), 1);
        assert!(add(&mut chunks, slot, 10, now + FLUSH));
        chunks.seal_end_of_burst(slot, now + FLUSH, |_| true);
        assert!(sealed_sizes(&mut chunks).is_empty(), "the burst was over long ago");
    }

    #[test]
    fn a_burst_that_was_short_of_memory_ends_without_waiting_too() {
        let mut chunks = chunks(512_000);
        let slot = chunks.slot(&Tag::new("a"));
        let now = Instant::now();
        assert!(add(&mut chunks, slot, 10, now));
        chunks.seal_all(Sealing::MemoryShort, now);
        assert!(add(&mut chunks, slot, 20, now));
        chunks.seal_end_of_burst(slot, now, |_| true);
        assert_eq!(sealed_sizes(&mut chunks), [10, 20]);
    }

    #[test]
    fn when_all_files_of_an_input_are_at_their_end_no_tag_of_the_burst_waits() {
        let mut chunks = chunks(512_000);
        let (a, b) = (chunks.slot(&Tag::new("a")), chunks.slot(&Tag::new("b")));
        let now = Instant::now();
        assert!(add(&mut chunks, a, 10, now));
        chunks.seal_end_of_all(now);
        assert!(sealed_sizes(&mut chunks).is_empty(), "a trickle is no burst");
        chunks.seal_all(Sealing::MemoryShort, now);
        assert!(add(&mut chunks, a, 20, now) && add(&mut chunks, b, 30, now));
        chunks.seal_end_of_all(now);
        assert_eq!(sealed_sizes(&mut chunks), [10, 20, 30]);
        assert!(add(&mut chunks, b, 40, now));
        chunks.seal_end_of_all(now);
        chunks.seal_end_of_burst(b, now, |_| true);
        assert!(sealed_sizes(&mut chunks).is_empty(), "after the burst it is a trickle again");
    }

    #[test]
    fn a_chunk_a_client_waits_for_leaves_as_soon_as_its_source_has_nothing_more() {
        let mut chunks = chunks(512_000);
        let slot = chunks.slot(&Tag::new("a"));
        assert!(add(&mut chunks, slot, 10, Instant::now()));
        chunks.seal_awaited(slot);
        assert_eq!(sealed_sizes(&mut chunks), [10]);
    }

    #[test]
    fn tags_that_are_forgotten_leave_no_chunk_behind() {
        let mut chunks = chunks(512_000);
        let now = Instant::now();
        for number in 0..5 {
            let slot = chunks.slot(&Tag::new(&format!("tag {number}")));
            assert!(add(&mut chunks, slot, 10, now));
        }
        chunks.forget_tags(now);
        assert_eq!(sealed_sizes(&mut chunks), [10; 5]);
        assert_eq!((chunks.tags(), chunks.next_due()), (0, None));
        let slot = chunks.slot(&Tag::new("tag 4"));
        assert!(add(&mut chunks, slot, 10, now));
        assert_eq!(chunks.tags(), 1);
    }

    #[test]
    fn there_is_no_room_beyond_the_limit_until_a_chunk_comes_home() {
        let mut chunks = chunks(50_000);
        let slot = chunks.slot(&Tag::new("a"));
        let now = Instant::now();
        let added = (0..100).take_while(|_| add(&mut chunks, slot, 1000, now)).count();
        assert!((32..=49).contains(&added), "{added} events of 1,000 bytes fit into 50,000");
        assert!(chunks.budget.used() <= 50_000);
        chunks.seal_all(Sealing::MemoryShort, now);
        assert!(!add(&mut chunks, slot, 20_000, now), "sealing alone frees nothing");
        drop(chunks.take_sealed());
        assert!(add(&mut chunks, slot, 20_000, now));
    }

    #[test]
    fn a_busy_tag_waits_for_a_buffer_of_the_size_it_needs_and_takes_no_small_one_meanwhile() {
        let mut chunks = chunks(512_000);
        let slot = chunks.slot(&Tag::new("a"));
        let now = Instant::now();
        while add(&mut chunks, slot, 1000, now) {}
        chunks.seal_all(Sealing::MemoryShort, now);
        let sealed = chunks.take_sealed();
        let capacities: Vec<_> = sealed.iter().map(|chunk| chunk.entries.capacity()).collect();
        assert_eq!(capacities, [64_000; 8]);
        let mut full = sealed.into_iter();
        let (buffer, _) = full.next().unwrap().into_parts();
        let allocated = buffer.as_ptr();
        chunks.recycle(buffer);
        assert!(add(&mut chunks, slot, 1000, now));
        let open = chunks.slots[slot.0].open.as_mut().unwrap();
        assert_eq!((open.capacity(), open.bytes_mut().as_ptr()), (64_000, allocated));
        chunks.seal_all(Sealing::MemoryShort, now);
        assert_eq!(chunks.slots[slot.0].needed, 64_000, "it was sealed before it was full");
    }

    #[test]
    fn one_record_larger_than_the_limit_passes_alone() {
        let mut chunks = chunks(50_000);
        let slot = chunks.slot(&Tag::new("a"));
        let now = Instant::now();
        assert!(add(&mut chunks, slot, 300_000, now));
        assert!(!add(&mut chunks, slot, 10, now));
        chunks.seal_all(Sealing::MemoryShort, now);
        assert_eq!(sealed_sizes(&mut chunks), [300_000]);
        assert_eq!(chunks.budget.used(), 0);
    }

    #[test]
    fn what_the_pool_holds_and_what_is_used_stay_within_the_limit() {
        let mut chunks = chunks(200_000);
        let slots: Vec<_> =
            (0..20).map(|number| chunks.slot(&Tag::new(&format!("tag {number}")))).collect();
        let now = Instant::now();
        for round in 0..50 {
            for &slot in &slots {
                if !add(&mut chunks, slot, 700 + round * 13, now) {
                    chunks.seal_all(Sealing::MemoryShort, now);
                    for chunk in chunks.take_sealed() {
                        let (buffer, _) = chunk.into_parts();
                        chunks.recycle(buffer);
                    }
                }
                let held = chunks.budget.used() + chunks.pool.held();
                assert!(held <= 200_000, "{held} in round {round}");
            }
        }
    }
}

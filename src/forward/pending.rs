//! A chunk, or a part of one, that is not confirmed yet, with what happened to it so far.
//!
//! In:  deliveries; what went wrong with them
//! Out: frames' contents; the end of each delivery

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{RetryLimit, Settings, TagTemplate};
use crate::buffer::{Chunk, Delivery, Loss, LossReason, unpack};
use crate::model::cursor::Reader;
use crate::model::{Codec, Tag};
use crate::protocol::frame::ChunkId;
use crate::protocol::json;

/// After so many refusals a chunk is halved, if the receiver took others meanwhile.
const REFUSALS: u32 = 5;
/// How much of a refused event is shown.
const SHOWN: usize = 200;

/// A delivery, or a part of one, and its failures. The id stays the same however often it is sent.
pub(super) struct Pending {
    /// What the receiver confirms.
    pub(super) id: ChunkId,
    delivery: Delivery,
    /// Its place among all: in order of arrival, parts of a chunk in their order.
    place: (u64, usize),
    /// How its output compresses.
    compress: Option<Codec>,
    /// What a part of a compressed chunk is a part of: the entries as they were before.
    unpacked: Option<Arc<Vec<u8>>>,
    bytes: Range<usize>,
    events: Range<u32>,
    failures: u32,
    first_failed: Option<Instant>,
    suspicion: Option<Suspicion>,
    /// All its events go under one tag, by this template.
    run_of: Option<TagTemplate>,
}

/// A connection ended while this was the first on it without an acknowledgement: it may be at
/// fault. What else was acknowledged tells whether it is.
#[derive(Clone, Copy, Debug)]
struct Suspicion {
    refusals: u32,
    /// Acknowledgements of anything, before its first refusal.
    acks_at_first: u64,
    /// The same, before its last one.
    acks_at_last: u64,
}

/// What becomes of a chunk that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It goes again.
    Again,
    /// It is at fault: find out which part of it.
    Halve,
    /// It is a single event, and at fault.
    Lose,
}

impl Pending {
    /// Not tried yet. `number` counts the deliveries in the order of their arrival.
    pub(super) fn new(delivery: Delivery, number: u64, compress: Option<Codec>) -> Self {
        let chunk = delivery.chunk();
        let (id, bytes) = (ChunkId::new(chunk.id), 0..chunk.entries_for(compress).0.len());
        let events = 0..chunk.events;
        Self {
            id,
            delivery,
            place: (number, 0),
            compress,
            unpacked: None,
            bytes,
            events,
            failures: 0,
            first_failed: None,
            suspicion: None,
            run_of: None,
        }
    }

    /// Its tag.
    pub(super) fn tag(&self) -> &Tag {
        &self.chunk().tag
    }

    /// The events to send, compressed if [`Pending::codec`] says so.
    pub(super) fn entries(&self) -> &[u8] {
        let whole = match &self.unpacked {
            Some(unpacked) => unpacked,
            None => self.chunk().entries_for(self.compress).0,
        };
        &whole[self.bytes.clone()]
    }

    /// How they are compressed.
    pub(super) fn codec(&self) -> Option<Codec> {
        match self.unpacked {
            Some(_) => None,
            None => self.chunk().entries_for(self.compress).1,
        }
    }

    /// The events as they were encoded.
    fn plain_entries(&self) -> Cow<'_, [u8]> {
        match self.codec() {
            Some(codec) => unpack(codec, self.entries()).into(),
            None => self.entries().into(),
        }
    }

    /// How many they are.
    pub(super) fn events(&self) -> u32 {
        self.events.end - self.events.start
    }

    /// What must have gone before it has a lower place.
    pub(super) fn place(&self) -> (u64, usize) {
        self.place
    }

    /// Bytes of files its events were.
    pub(super) fn file_bytes(&self) -> u64 {
        self.chunk().file_bytes_of(&self.events)
    }

    fn chunk(&self) -> &Chunk {
        self.delivery.chunk()
    }

    /// The receiver has confirmed it.
    pub(super) fn acknowledged(self) {
        if let Some(counters) = self.delivery.counters() {
            counters.proc_records.add(u64::from(self.events()));
            counters.proc_bytes.add(self.entries().len() as u64);
        }
        self.delivery.acknowledged();
    }

    /// It is given up.
    pub(super) fn lost(self, reason: LossReason) {
        if let Some(counters) = self.delivery.counters() {
            counters.retries_failed.add(1);
            counters.dropped_records.add(u64::from(self.events()));
        }
        let beginning = match reason {
            LossReason::Refused => beginning_of(&self.plain_entries()),
            LossReason::RetryLimit | LossReason::MaxAge => String::new(),
        };
        self.delivery.lost(Loss { reason, events: self.events, beginning });
    }

    /// It was on its way, or at the head of its queue, when something went wrong.
    pub(super) fn fail(&mut self, now: Instant) {
        self.failures += 1;
        if let Some(counters) = self.delivery.counters() {
            counters.retries.add(1);
            counters.retried_records.add(u64::from(self.events()));
        }
        self.first_failed.get_or_insert(now);
    }

    /// Whether `Retry_Limit` gives it up: it failed once more than the limit, and Fluent Bit
    /// would not have been done with it any sooner (each of its waits takes at least
    /// `scheduler.base` and one second).
    pub(super) fn is_beyond(&self, settings: &Settings, now: Instant) -> bool {
        let RetryLimit::Times(limit) = settings.retry_limit else {
            return false;
        };
        let shortest = (settings.scheduler_base + Duration::from_secs(1)) * limit;
        self.failures > limit
            && self.first_failed.is_some_and(|first| now.duration_since(first) >= shortest)
    }

    /// Whether `Retry_Max_Age` gives it up.
    pub(super) fn is_too_old(&self, settings: &Settings, now: Instant) -> bool {
        let age = now.duration_since(self.chunk().opened);
        settings.retry_max_age.is_some_and(|most| age > most)
    }

    /// The receiver ended a connection on which this was the first without an acknowledgement.
    /// `acks` counts the acknowledgements of anything so far.
    pub(super) fn refuse(&mut self, acks: u64) -> Verdict {
        let begin = Suspicion { refusals: 0, acks_at_first: acks, acks_at_last: acks };
        let suspicion = self.suspicion.get_or_insert(begin);
        suspicion.refusals += 1;
        suspicion.acks_at_last = acks;
        match suspicion.refusals >= REFUSALS && acks > suspicion.acks_at_first {
            false => Verdict::Again,
            true if self.events() > 1 => Verdict::Halve,
            true => Verdict::Lose,
        }
    }

    /// It may be what a receiver refuses, so it goes alone.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspicion.is_some()
    }

    /// Something was acknowledged since it was last refused: its turn.
    pub(super) fn may_try_again(&self, acks: u64) -> bool {
        self.suspicion.is_none_or(|suspicion| acks > suspicion.acks_at_last)
    }

    /// Nothing was acknowledged since it was first refused, so that nobody knows whether the
    /// receiver refuses everything; `other` should tell. The only case in which the order is not
    /// kept: otherwise one bad event would hold up its tag for ever.
    pub(super) fn wants_as_witness(&self, other: &Self, acks: u64) -> bool {
        let refusals = |pending: &Self| pending.suspicion.map_or(0, |s| s.refusals);
        self.suspicion.is_some_and(|suspicion| acks == suspicion.acks_at_first)
            && refusals(other) < refusals(self) / REFUSALS
    }

    /// Two parts of it, each with an id of its own. `None`: it cannot be parted. Parts of a
    /// compressed chunk go as they are: they are few, and on their way to be one event.
    pub(super) fn halve(&self, acks: u64) -> Option<[Self; 2]> {
        let half = self.events() / 2;
        let plain = self.plain_entries();
        let mut reader = Reader::new(&plain);
        for _ in 0..half {
            reader.skip().ok()?;
        }
        let from = if self.codec().is_some() { 0 } else { self.bytes.start };
        let (middle, to) = (from + reader.at(), from + plain.len());
        let event = self.events.start + half;
        let unpacked = match plain {
            Cow::Owned(plain) => Some(Arc::new(plain)),
            Cow::Borrowed(_) => self.unpacked.clone(),
        };
        let suspicion = Some(Suspicion { refusals: 0, acks_at_first: acks, acks_at_last: acks });
        (half > 0).then(|| {
            [
                (unpacked.clone(), from..middle, self.events.start..event),
                (unpacked, middle..to, event..self.events.end),
            ]
            .map(|(unpacked, bytes, events)| Self {
                suspicion,
                ..self.part(unpacked, bytes, events)
            })
        })
    }

    /// Keeps of its events the first that go under one tag by this template, and returns the
    /// others. `None`: all of them do. What is kept is what it was at every later try, so it need
    /// not be looked at again; and nobody has refused it yet.
    pub(super) fn keep_one_tag(&mut self, template: &TagTemplate) -> Option<Self> {
        if self.run_of.as_ref() == Some(template) {
            return None;
        }
        let change = template.first_change(self.tag(), self.entries());
        let others = change.map(|(events, bytes)| {
            let (event, middle) = (self.events.start + events, self.bytes.start + bytes);
            let others = (middle..self.bytes.end, event..self.events.end);
            (self.bytes.end, self.events.end, self.suspicion) = (middle, event, None);
            self.id = self.id_of(&self.bytes);
            Self { run_of: None, ..self.part(self.unpacked.clone(), others.0, others.1) }
        });
        self.run_of = Some(template.clone());
        others
    }

    /// The id of a part that has these bytes: told apart by where it lies, which no two parts of
    /// a chunk have in common.
    fn id_of(&self, bytes: &Range<usize>) -> ChunkId {
        let own = (bytes.start as u128) << 32 | bytes.end as u128;
        ChunkId::new((u128::from_be_bytes(self.chunk().id) ^ own).to_be_bytes())
    }

    /// A part that nobody has refused yet.
    fn part(
        &self,
        unpacked: Option<Arc<Vec<u8>>>,
        bytes: Range<usize>,
        events: Range<u32>,
    ) -> Self {
        Self {
            id: self.id_of(&bytes),
            delivery: self.delivery.split(),
            place: (self.place.0, bytes.start),
            compress: self.compress,
            unpacked,
            bytes,
            events,
            failures: self.failures,
            first_failed: self.first_failed,
            suspicion: None,
            run_of: self.run_of.clone(),
        }
    }

    /// Both parts have taken its place.
    pub(super) fn parted(self) {
        self.delivery.acknowledged();
    }
}

/// The first bytes of an event as text.
fn beginning_of(event: &[u8]) -> String {
    let mut text = Vec::new();
    // What was written before an error is shown all the same.
    json::write_json(event, &mut text).ok();
    String::from_utf8_lossy(&text[..text.len().min(SHOWN)]).into_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::buffer::{Budget, Fate, Home, OpenChunk};
    use crate::model::{Counter, FileId, OutputCounters, SpanId};

    /// A chunk of `tag` with one nil of one byte for each event, as big as that many bytes.
    pub(in crate::forward) fn pending_of(
        tag: &str,
        number: u64,
        events: usize,
    ) -> (Pending, Arc<Home>) {
        let memory = Budget::new(usize::MAX, Arc::new(|| ())).try_reserve(events);
        let memory = memory.expect("nothing else is taken");
        let mut open = OpenChunk::new(Vec::with_capacity(events), memory, Instant::now());
        for _ in 0..events {
            open.bytes_mut().push(0xc0);
            open.add(FileId(1), SpanId { generation: 0, number: 0 }, 0, 1);
        }
        let mut id = [7; 16];
        id[8..].copy_from_slice(&number.to_be_bytes());
        let chunk = open.seal(id, Tag::new(tag), usize::MAX);
        let home = Home::new(Box::new(|| ()));
        (Pending::new(Delivery::of(chunk, 1, &home).remove(0), number, None), home)
    }

    fn settings(retry_limit: RetryLimit) -> Settings {
        Settings { retry_limit, ..Settings::new("forward.0", "127.0.0.1", 1) }
    }

    #[test]
    fn a_retry_limit_of_n_gives_up_after_n_and_one_failures_and_the_time_fluent_bit_would_take() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let settings = settings(RetryLimit::Times(2));
        let mut pending = pending_of("a", 0, 1).0;
        assert!(!pending.is_beyond(&settings, after(1_000)), "it only waited");
        for second in 0..3 {
            pending.fail(after(second));
        }
        // Two waits of at least 5 and 1 seconds.
        assert!(!pending.is_beyond(&settings, after(11)));
        assert!(pending.is_beyond(&settings, after(12)));
        let mut twice = pending_of("a", 0, 1).0;
        twice.fail(start);
        twice.fail(start);
        assert!(!twice.is_beyond(&settings, after(1_000)), "two failures are within the limit");
    }

    #[test]
    fn no_retries_gives_up_at_the_first_failure_and_no_limits_never() {
        let now = Instant::now();
        let mut pending = pending_of("a", 0, 1).0;
        pending.fail(now);
        assert!(pending.is_beyond(&settings(RetryLimit::Times(0)), now));
        assert!(!pending.is_beyond(&settings(RetryLimit::NoLimits), now));
    }

    #[test]
    fn a_chunk_is_at_fault_when_it_was_refused_five_times_and_others_were_taken_meanwhile() {
        let mut pending = pending_of("a", 0, 2).0;
        for _ in 0..20 {
            assert_eq!(pending.refuse(3), Verdict::Again, "nothing else was acknowledged");
        }
        assert_eq!(pending.refuse(4), Verdict::Halve);
        let mut pending = pending_of("a", 0, 1).0;
        for acks in 3..7 {
            assert_eq!(pending.refuse(acks), Verdict::Again);
        }
        assert_eq!(pending.refuse(7), Verdict::Lose);
    }

    #[test]
    fn halves_of_a_compressed_chunk_are_its_events_as_they_were() {
        let codec = Codec::Gzip;
        let memory = Budget::new(usize::MAX, Arc::new(|| ())).try_reserve(100).unwrap();
        let mut open = OpenChunk::new(Vec::with_capacity(100), memory, Instant::now());
        for _ in 0..100 {
            open.bytes_mut().push(0xc0);
            open.add(FileId(1), SpanId { generation: 0, number: 0 }, 0, 1);
        }
        let mut chunk = open.seal([7; 16], Tag::new("a"), usize::MAX);
        let packed = crate::buffer::Packer::new(codec).pack(&chunk.entries).unwrap().to_vec();
        chunk.replace(codec, packed.clone());
        let home = Home::new(Box::new(|| ()));
        let pending = Pending::new(Delivery::of(chunk, 1, &home).remove(0), 0, Some(codec));
        assert_eq!((pending.entries(), pending.codec()), (&packed[..], Some(codec)));
        let [left, right] = pending.halve(0).unwrap();
        let [first, second] = right.halve(0).unwrap();
        for (part, events) in [(&left, 50), (&first, 25), (&second, 25)] {
            assert_eq!((part.events(), part.codec()), (events, None));
            assert_eq!(part.entries(), vec![0xc0; events as usize]);
        }
    }

    #[test]
    fn what_becomes_of_a_chunk_or_of_a_part_counts_for_its_output_alone() {
        let outputs = [Arc::new(OutputCounters::default()), Arc::default()];
        let chunk = pending_of("a", 0, 5).0.delivery;
        let of =
            |output: usize| Pending::new(chunk.split().counted_into(&outputs[output]), 0, None);
        let mut first = of(0);
        first.fail(Instant::now());
        let [left, right] = first.halve(0).unwrap();
        first.parted();
        left.lost(LossReason::Refused);
        right.acknowledged();
        of(1).acknowledged();
        let counted = outputs.map(|counters| {
            let OutputCounters { retries, retried_records, .. } = &*counters;
            let OutputCounters { retries_failed, dropped_records, .. } = &*counters;
            let OutputCounters { proc_records, proc_bytes, .. } = &*counters;
            [retries, retried_records, retries_failed, dropped_records, proc_records, proc_bytes]
                .map(Counter::get)
        });
        assert_eq!(counted, [[1, 5, 1, 2, 3, 3], [0, 0, 0, 0, 5, 5]]);
    }

    #[test]
    fn what_is_kept_under_one_tag_keeps_its_tries_and_starts_beyond_suspicion() {
        let mut pending = pending_of("a", 0, 3).0;
        // Of what are no events, none has anything that could change.
        assert!(pending.keep_one_tag(&TagTemplate::parse("$v").unwrap()).is_none());
        let counters = Arc::new(OutputCounters::default());
        let mut entries = Vec::new();
        for value in [1, 1, 2] {
            entries.extend_from_slice(&[0x92, 0x00, 0x81, 0xa1, b'v', value]);
        }
        let memory = Budget::new(usize::MAX, Arc::new(|| ())).try_reserve(entries.len()).unwrap();
        let mut open = OpenChunk::new(Vec::with_capacity(entries.len()), memory, Instant::now());
        open.bytes_mut().extend_from_slice(&entries);
        for _ in 0..3 {
            open.add(FileId(1), SpanId { generation: 0, number: 0 }, 0, 1);
        }
        let home = Home::new(Box::new(|| ()));
        let chunk = open.seal([7; 16], Tag::new("a"), usize::MAX);
        let delivery = Delivery::of(chunk, 1, &home).remove(0).counted_into(&counters);
        let mut pending = Pending::new(delivery, 0, None);
        pending.fail(Instant::now());
        pending.refuse(0);
        let template = TagTemplate::parse("$v").unwrap();
        let others = pending.keep_one_tag(&template).unwrap();
        assert_eq!((pending.events.clone(), others.events.clone()), (0..2, 2..3));
        assert_eq!((pending.failures, others.failures), (1, 1));
        assert!(!pending.is_suspect() && !others.is_suspect());
        let id = pending.id;
        assert!(pending.keep_one_tag(&template).is_none(), "nothing more");
        assert_eq!(pending.id, id);
        let [left, right] = pending.halve(0).unwrap();
        pending.parted();
        left.acknowledged();
        right.lost(LossReason::Refused);
        others.acknowledged();
        assert_eq!((counters.proc_records.get(), counters.proc_bytes.get()), (2, 12));
        assert_eq!((counters.dropped_records.get(), counters.retried_records.get()), (1, 3));
        let mut arrived = Vec::new();
        home.empty_into(&mut arrived);
        assert_eq!(arrived[0].0.losses[0].events, 1..2);
    }

    #[test]
    fn halves_are_in_order_have_ids_of_their_own_and_end_together() {
        let (pending, home) = pending_of("a", 9, 5);
        let [left, right] = pending.halve(0).unwrap();
        assert_eq!((left.events(), right.events()), (2, 3));
        assert_eq!((left.entries().len(), right.entries().len()), (2, 3));
        let [first, second] = right.halve(0).unwrap();
        let ids = [pending.id, left.id, right.id, first.id, second.id];
        let distinct: std::collections::HashSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 5);
        assert!(left.place() < first.place() && first.place() < second.place());
        pending.parted();
        right.parted();
        left.acknowledged();
        first.acknowledged();
        second.lost(LossReason::Refused);
        let mut arrived = Vec::new();
        home.empty_into(&mut arrived);
        let (chunk, fate) = arrived.pop().unwrap();
        assert_eq!(fate, Fate::Lost);
        assert_eq!(chunk.losses[0].events, 3..5);
        assert_eq!(chunk.losses[0].beginning, "null");
        assert!(pending_of("a", 0, 1).0.halve(0).is_none());
    }
}

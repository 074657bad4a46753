//! Which frames are on their way, and which were delivered a moment ago.
//!
//! In:  frames with a chunk id, and who waits for their acknowledgement; what became of them
//! Out: whether a frame is new; acknowledgements to all who wait for one
//!
//! A client that got no acknowledgement in time sends its frame again. That one joins the frame on
//! its way, or is acknowledged at once if that has been delivered: so a slow upstream makes no
//! duplicates. A frame is known by its tag, its chunk id and its entries: ids alone are not enough,
//! because clients choose them, and some count.

use std::collections::{HashMap, HashSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::Xxh3;

use super::handover::Outcome;
use super::outbox::Outbox;

/// How long a delivered frame is remembered.
const REMEMBERED_FOR: Duration = Duration::from_secs(300);
/// How many are, at most.
const REMEMBERED: usize = 4096;

/// Names a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FrameKey(u128);

impl FrameKey {
    pub(super) fn of(tag: &str, id: &[u8], entries: &[u8]) -> Self {
        let mut hash = Xxh3::new();
        for part in [tag.as_bytes(), id, entries] {
            hash.update(&part.len().to_le_bytes());
            hash.update(part);
        }
        Self(hash.digest128())
    }
}

/// What is known of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Nothing: it is on its way from now on.
    New,
    /// It is on its way, and whoever asked is told with the others.
    Joined,
    /// It was delivered, and whoever asked was told.
    Delivered,
}

/// Somebody who waits for an acknowledgement.
struct Waiter {
    outbox: Rc<Outbox>,
    ack: Vec<u8>,
}

/// See the head of this file.
#[derive(Default)]
pub(super) struct Deliveries {
    on_the_way: HashMap<FrameKey, Vec<Waiter>>,
    delivered: HashSet<FrameKey>,
    by_age: VecDeque<(Instant, FrameKey)>,
}

impl Deliveries {
    /// Asks for a frame, and for its acknowledgement: `ack`, into `outbox`.
    pub(super) fn ask(
        &mut self,
        frame: FrameKey,
        outbox: &Rc<Outbox>,
        ack: Vec<u8>,
        now: Instant,
    ) -> Standing {
        self.forget_old(now);
        if self.delivered.contains(&frame) {
            outbox.put(ack);
            return Standing::Delivered;
        }
        let standing =
            if self.on_the_way.contains_key(&frame) { Standing::Joined } else { Standing::New };
        let waiters = self.on_the_way.entry(frame).or_default();
        waiters.retain(|waiter| !waiter.outbox.is_closed());
        // One acknowledgement answers a frame however often one connection repeats it.
        if !waiters.iter().any(|waiter| Rc::ptr_eq(&waiter.outbox, outbox)) {
            outbox.await_one();
            waiters.push(Waiter { outbox: Rc::clone(outbox), ack });
        }
        standing
    }

    /// What became of a frame. `None`: nobody knows, and nobody will.
    pub(super) fn settle(&mut self, frame: FrameKey, outcome: Option<Outcome>, now: Instant) {
        for Waiter { outbox, ack } in self.on_the_way.remove(&frame).unwrap_or_default() {
            outbox.settle_one(match outcome {
                Some(Outcome::Delivered) => Some(ack),
                Some(Outcome::GivenUp) | None => None,
            });
        }
        if outcome == Some(Outcome::Delivered) && self.delivered.insert(frame) {
            self.by_age.push_back((now, frame));
            self.forget_old(now);
        }
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |since: Instant| now.duration_since(since) > REMEMBERED_FOR;
        while let Some(&(since, frame)) = self.by_age.front()
            && (is_old(since) || self.by_age.len() > REMEMBERED)
        {
            self.by_age.pop_front();
            self.delivered.remove(&frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> FrameKey {
        FrameKey::of("tag", &number.to_be_bytes(), b"entries")
    }

    #[test]
    fn a_frame_is_known_by_tag_id_and_entries_and_by_nothing_less() {
        let all = [
            FrameKey::of("a", b"b", b"c"),
            FrameKey::of("x", b"b", b"c"),
            FrameKey::of("a", b"x", b"c"),
            FrameKey::of("a", b"b", b"x"),
            FrameKey::of("ab", b"", b"c"),
        ];
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len());
    }

    #[test]
    fn a_repeat_joins_the_one_on_its_way_and_all_are_told() {
        let mut deliveries = Deliveries::default();
        let (first, second) = (Rc::new(Outbox::default()), Rc::new(Outbox::default()));
        let now = Instant::now();
        assert_eq!(deliveries.ask(key(1), &first, b"one".to_vec(), now), Standing::New);
        assert_eq!(deliveries.ask(key(1), &first, b"one".to_vec(), now), Standing::Joined);
        assert_eq!(deliveries.ask(key(1), &second, b"ONE".to_vec(), now), Standing::Joined);
        assert_eq!(first.awaited(), 1, "one answer for both");
        deliveries.settle(key(1), Some(Outcome::Delivered), now);
        assert_eq!(first.take(), Some(b"one".to_vec()));
        assert_eq!(first.take(), None);
        assert_eq!(second.take(), Some(b"ONE".to_vec()));
        assert_eq!((first.awaited(), second.awaited()), (0, 0));
    }

    #[test]
    fn what_was_delivered_is_acknowledged_again_for_some_minutes() {
        let mut deliveries = Deliveries::default();
        let outbox = Rc::new(Outbox::default());
        let now = Instant::now();
        deliveries.ask(key(1), &outbox, b"one".to_vec(), now);
        deliveries.settle(key(1), Some(Outcome::Delivered), now);
        outbox.take();
        let soon = now + REMEMBERED_FOR;
        assert_eq!(deliveries.ask(key(1), &outbox, b"one".to_vec(), soon), Standing::Delivered);
        assert_eq!(outbox.take(), Some(b"one".to_vec()));
        let late = soon + Duration::from_millis(1);
        assert_eq!(deliveries.ask(key(1), &outbox, b"one".to_vec(), late), Standing::New);
    }

    #[test]
    fn what_was_given_up_is_not_acknowledged_and_is_new_when_it_comes_again() {
        for outcome in [Some(Outcome::GivenUp), None] {
            let mut deliveries = Deliveries::default();
            let outbox = Rc::new(Outbox::default());
            let now = Instant::now();
            deliveries.ask(key(1), &outbox, b"one".to_vec(), now);
            deliveries.settle(key(1), outcome, now);
            assert_eq!(outbox.take(), None);
            assert!(outbox.is_broken(), "its client learns it at once");
            assert_eq!(deliveries.ask(key(1), &outbox, b"one".to_vec(), now), Standing::New);
        }
    }

    #[test]
    fn it_remembers_no_more_than_its_bound_and_no_connection_that_has_gone() {
        let mut deliveries = Deliveries::default();
        let now = Instant::now();
        for number in 0..10_000 {
            let outbox = Rc::new(Outbox::default());
            deliveries.ask(key(number), &outbox, Vec::new(), now);
            deliveries.settle(key(number), Some(Outcome::Delivered), now);
        }
        assert_eq!((deliveries.delivered.len(), deliveries.by_age.len()), (REMEMBERED, REMEMBERED));
        for _ in 0..100 {
            let outbox = Rc::new(Outbox::default());
            deliveries.ask(key(0), &outbox, Vec::new(), now);
            outbox.close();
        }
        assert_eq!(deliveries.on_the_way[&key(0)].len(), 1);
    }
}

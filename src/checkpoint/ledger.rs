//! Which bytes of one generation of a file are settled.
//!
//! In:  spans as they are read, shares as they are given back
//! Out: the position: the end of the settled prefix
//!
//! A span is one read. It holds as many shares as chunks took events from it; bytes that make no
//! event never had one. It is settled when no share is left.

use std::collections::VecDeque;

use super::Mark;

/// See the head of this file.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The end of the settled prefix.
    settled: Mark,
    /// Spans after it, in order. The first one has a share left.
    open: VecDeque<OpenSpan>,
    /// The number of `open[0]`.
    first: u64,
}

#[derive(Debug)]
struct OpenSpan {
    end: Mark,
    shares: u32,
}

impl Ledger {
    /// A ledger that begins at a position: the start of the file, or what a stored one says.
    pub fn starting_at(position: Mark) -> Self {
        Self { settled: position, ..Self::default() }
    }

    /// The number that the next span will have.
    pub fn next_number(&self) -> u64 {
        self.first + self.open.len() as u64
    }

    /// Enters the next span. It ends at `end`, and `shares` chunks took events from it.
    pub fn enter(&mut self, end: Mark, shares: u32) {
        self.open.push_back(OpenSpan { end, shares });
        self.settle_prefix();
    }

    /// Moves the end of the newest span: its last line turned out to be longer.
    pub fn extend(&mut self, end: Mark) {
        if let Some(last) = self.open.back_mut() {
            last.end = end;
        }
    }

    /// Adds `shares` to the newest span, which has one left: more chunks took events from it.
    pub fn share_more(&mut self, shares: u32) {
        if let Some(last) = self.open.back_mut() {
            last.shares += shares;
        }
    }

    /// Gives one share back. A number that is settled already is ignored.
    pub fn settle(&mut self, number: u64) {
        let Some(index) = number.checked_sub(self.first) else {
            return;
        };
        let Some(span) = usize::try_from(index).ok().and_then(|index| self.open.get_mut(index))
        else {
            return;
        };
        span.shares = span.shares.saturating_sub(1);
        self.settle_prefix();
    }

    fn settle_prefix(&mut self) {
        while let Some(span) = self.open.pop_front_if(|span| span.shares == 0) {
            self.settled = span.end;
            self.first += 1;
        }
    }

    /// The end of the settled prefix: what may be stored.
    pub fn position(&self) -> Mark {
        self.settled
    }

    /// Whether one share is left, and it is in the newest span.
    pub fn holds_only_its_last(&self) -> bool {
        self.open.len() == 1 && self.open[0].shares == 1
    }

    /// Whether every span entered so far is settled.
    pub fn is_settled(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark(offset: u64) -> Mark {
        Mark { offset, marker: offset * 7 }
    }

    #[test]
    fn a_span_without_an_event_is_settled_as_it_is_entered() {
        let mut ledger = Ledger::default();
        ledger.enter(mark(10), 0);
        assert_eq!(ledger.position(), mark(10));
        assert!(ledger.is_settled());
    }

    #[test]
    fn the_position_waits_for_the_oldest_share() {
        let mut ledger = Ledger::starting_at(mark(100));
        ledger.enter(mark(110), 1);
        ledger.enter(mark(120), 2);
        ledger.enter(mark(130), 0);
        ledger.settle(1);
        ledger.settle(1);
        assert_eq!(ledger.position(), mark(100));
        ledger.settle(0);
        assert_eq!(ledger.position(), mark(130));
        ledger.settle(0);
        ledger.settle(77);
        assert_eq!(ledger.next_number(), 3);
    }

    #[test]
    fn a_span_that_more_chunks_share_waits_for_all_of_them() {
        let mut ledger = Ledger::default();
        ledger.enter(mark(10), 1);
        ledger.share_more(1);
        ledger.settle(0);
        assert_eq!(ledger.position(), mark(0));
        ledger.settle(0);
        assert_eq!(ledger.position(), mark(10));
    }

    #[test]
    fn a_span_that_grows_is_settled_up_to_its_new_end() {
        let mut ledger = Ledger::default();
        ledger.enter(mark(10), 1);
        ledger.extend(mark(90));
        ledger.settle(0);
        assert_eq!(ledger.position(), mark(90));
    }

    proptest! {
        #[test]
        fn a_position_never_passes_a_span_with_a_share_left(
            shares in prop::collection::vec(0_u32..4, 1..40),
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..160),
        ) {
            let mut ledger = Ledger::default();
            let mut left = shares.clone();
            for (number, &count) in shares.iter().enumerate() {
                ledger.enter(mark(number as u64 + 1), count);
            }
            for index in order {
                let number = index.index(left.len());
                if left[number] > 0 {
                    left[number] -= 1;
                    ledger.settle(number as u64);
                }
                let settled = left.iter().take_while(|&&count| count == 0).count();
                prop_assert_eq!(ledger.position().offset, settled as u64);
            }
        }
    }
}

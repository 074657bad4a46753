//! Whether a lane may connect: closed, open, half-open.
//!
//! In:  what happened on it, and when
//! Out: whether to try now, or when
//!
//! ```text
//!  Closed ── a failure ──▶ Open ── its wait is over ──▶ HalfOpen ── an acknowledgement ──▶ Closed
//!                            ▲                             │
//!                            └────────── a failure ────────┘
//! ```
//!
//! Half-open is one probe: one connection, and on it one frame. Connecting alone proves nothing: a
//! Fluent Bit whose memory is full accepts connections and reads none of them.

use std::time::{Duration, Instant};

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: State,
    /// Failures since something was acknowledged.
    tries: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Closed,
    Open {
        until: Instant,
    },
    HalfOpen,
}

impl Breaker {
    /// Nothing speaks against it.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// A probe is under way.
    pub(super) fn is_half_open(&self) -> bool {
        self.state == State::HalfOpen
    }

    /// Failures since something was acknowledged: how far its waits have doubled.
    pub(super) fn tries(&self) -> u32 {
        self.tries
    }

    /// Begins a try if one is due. Otherwise: when one will be.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), Instant> {
        match self.state {
            State::Open { until } if now < until => return Err(until),
            State::Open { .. } => self.state = State::HalfOpen,
            State::Closed | State::HalfOpen => {}
        }
        Ok(())
    }

    /// Something was acknowledged. True: it was not closed before.
    pub(super) fn close(&mut self) -> bool {
        self.tries = 0;
        std::mem::take(&mut self.state) != State::Closed
    }

    /// Something went wrong: nothing is tried for `wait`.
    pub(super) fn open(&mut self, now: Instant, wait: Duration) {
        self.tries = self.tries.saturating_add(1);
        self.state = State::Open { until: now + wait };
    }

    /// It is needed: its wait ends at `latest`. True: that is sooner than it was.
    pub(super) fn hurry(&mut self, latest: Instant) -> bool {
        match &mut self.state {
            State::Open { until } if *until > latest => {
                *until = latest;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_secs(3);

    #[test]
    fn an_open_breaker_lets_nothing_through_until_its_wait_is_over_and_then_one_probe() {
        let (start, mut breaker) = (Instant::now(), Breaker::default());
        assert_eq!(breaker.begin(start), Ok(()));
        assert!(breaker.is_closed(), "a first try is no probe");
        breaker.open(start, WAIT);
        assert_eq!(breaker.begin(start + WAIT / 2), Err(start + WAIT));
        assert_eq!(breaker.begin(start + WAIT), Ok(()));
        assert!(breaker.is_half_open());
    }

    #[test]
    fn a_wait_is_shortened_when_it_is_needed_and_never_made_longer() {
        let (start, mut breaker) = (Instant::now(), Breaker::default());
        assert!(!breaker.hurry(start));
        breaker.open(start, WAIT);
        assert!(!breaker.hurry(start + WAIT * 2));
        assert!(breaker.hurry(start + WAIT / 2));
        assert_eq!(breaker.begin(start), Err(start + WAIT / 2));
    }

    #[test]
    fn an_acknowledgement_closes_it_and_a_failure_of_the_probe_opens_it_again() {
        let (start, mut breaker) = (Instant::now(), Breaker::default());
        breaker.open(start, WAIT);
        breaker.begin(start + WAIT).unwrap();
        breaker.open(start + WAIT, WAIT);
        assert_eq!((breaker.tries(), breaker.is_closed()), (2, false));
        breaker.begin(start + WAIT * 2).unwrap();
        assert!(breaker.close());
        assert_eq!((breaker.tries(), breaker.is_closed()), (0, true));
        assert!(!breaker.close(), "it was closed already");
    }
}

//! How much a number has grown lately.
//!
//! In:  the number, now and then; the time is an argument
//! Out: its growth within the period that ends now

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How many looks a period has: what is remembered is bounded, however long it is.
const LOOKS: u32 = 60;

/// A sliding window over a number that only grows.
#[derive(Debug)]
pub(super) struct Window {
    period: Duration,
    last: u64,
    /// When growth was seen, and how much.
    grown: VecDeque<(Instant, u64)>,
}

impl Window {
    /// Over a number that is 0 now.
    pub(super) fn new(period: Duration) -> Self {
        Self { period, last: 0, grown: VecDeque::new() }
    }

    /// How often to call [`Window::see`]: every second, or less often in a long period.
    pub(super) fn interval(period: Duration) -> Duration {
        (period / LOOKS).max(Duration::from_secs(1))
    }

    /// What the number is now. Gives its growth within the period.
    pub(super) fn see(&mut self, number: u64, now: Instant) -> u64 {
        let growth = number.saturating_sub(self.last);
        self.last = number;
        let is_over = |seen: Instant| now.duration_since(seen) >= self.period;
        while self.grown.front().is_some_and(|(seen, _)| is_over(*seen)) {
            self.grown.pop_front();
        }
        let interval = Self::interval(self.period);
        match self.grown.back_mut() {
            _ if growth == 0 => {}
            // Whoever asks more often than that does not make it remember more.
            Some((seen, sum)) if now.duration_since(*seen) < interval => *sum += growth,
            _ => self.grown.push_back((now, growth)),
        }
        self.grown.iter().map(|(_, growth)| growth).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn growth_counts_until_the_period_is_over() {
        let start = Instant::now();
        let mut window = Window::new(SECOND * 60);
        assert_eq!(window.see(0, start), 0);
        assert_eq!(window.see(3, start + SECOND * 10), 3);
        assert_eq!(window.see(5, start + SECOND * 40), 5);
        assert_eq!(window.see(5, start + SECOND * 69), 5);
        assert_eq!(window.see(5, start + SECOND * 70), 2, "the first three are a period ago");
        assert_eq!(window.see(5, start + SECOND * 100), 0);
    }

    #[test]
    fn what_is_remembered_is_bounded_however_long_the_period_and_however_often_it_is_asked() {
        let start = Instant::now();
        for period in [1, 60, 86_400] {
            let mut window = Window::new(SECOND * period);
            for tick in 0..200_000u32 {
                window.see(u64::from(tick), start + SECOND / 4 * tick);
            }
            assert!(window.grown.len() <= 61, "{} of {period} s", window.grown.len());
        }
    }
}

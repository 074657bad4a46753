//! Holds a replay to so many lines a second.

use std::time::{Duration, Instant};

/// Lines a second, let go in portions of a fiftieth of a second; at less than 50 lines a second
/// one by one.
#[derive(Debug)]
pub struct Pace {
    portion: u64,
    every: Duration,
    left: u64,
    next: Instant,
}

impl Pace {
    /// `per_second` lines (at least one) from `now` on.
    pub fn new(per_second: u32, now: Instant) -> Self {
        let per_second = per_second.max(1);
        let portion = (per_second / 50).max(1);
        let every = Duration::from_secs(1) * portion / per_second;
        Self { portion: u64::from(portion), every, left: 0, next: now }
    }

    /// Whether a line may go now.
    pub fn may_go(&mut self, now: Instant) -> bool {
        if self.left == 0 && now >= self.next {
            self.left = self.portion;
            self.next += self.every;
        }
        self.left > 0
    }

    /// A line went.
    pub fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }

    /// When the next line may go. `None`: now.
    pub fn resumes(&self) -> Option<Instant> {
        (self.left == 0).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_go_in_a_second_and_no_more() {
        for per_second in [1, 7, 50, 1000, 12_345] {
            let start = Instant::now();
            let mut pace = Pace::new(per_second, start);
            let mut gone = 0;
            for millisecond in 0..10_000 {
                while pace.may_go(start + Duration::from_millis(millisecond)) {
                    pace.spend();
                    gone += 1;
                }
            }
            let wanted = u64::from(per_second) * 10;
            assert!(
                gone >= wanted * 99 / 100 && gone <= wanted * 101 / 100 + 1,
                "{gone} of {wanted}"
            );
        }
    }
}

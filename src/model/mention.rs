//! How often a thing is said in the log: at once, then at most once a minute with a count.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// The shortest time between two log lines about the same thing.
const PAUSE: Duration = Duration::from_secs(60);

/// The most things it remembers; beyond it the oldest half is forgotten (and said again).
const REMEMBERED: usize = 1024;

/// Remembers when each thing was last said.
#[derive(Debug)]
pub struct Mentions<K> {
    said: HashMap<K, (Instant, u64)>,
}

impl<K: Hash + Eq> Default for Mentions<K> {
    fn default() -> Self {
        Self { said: HashMap::new() }
    }
}

impl<K: Hash + Eq> Mentions<K> {
    /// `Some(count)`: say it now; it happened `count` times since it was last said, this time
    /// included. `None`: it was said less than a minute ago; this time is counted.
    pub fn due(&mut self, thing: K, now: Instant) -> Option<u64> {
        if self.said.len() >= REMEMBERED {
            self.forget_older_half();
        }
        let (said, silent) = match self.said.get_mut(&thing) {
            None => {
                self.said.insert(thing, (now, 0));
                return Some(1);
            }
            Some(entry) => (&mut entry.0, &mut entry.1),
        };
        *silent += 1;
        if now.duration_since(*said) < PAUSE {
            return None;
        }
        *said = now;
        Some(std::mem::take(silent))
    }

    fn forget_older_half(&mut self) {
        let mut times: Vec<Instant> = self.said.values().map(|(said, _)| *said).collect();
        times.sort_unstable();
        let middle = times[times.len() / 2];
        self.said.retain(|_, (said, _)| *said > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_is_said_at_once_and_then_once_a_minute_with_a_count() {
        let mut mentions = Mentions::default();
        let start = Instant::now();
        assert_eq!(mentions.due("a", start), Some(1));
        assert_eq!(mentions.due("a", start + PAUSE / 2), None);
        assert_eq!(mentions.due("b", start + PAUSE / 2), Some(1));
        assert_eq!(mentions.due("a", start + PAUSE), Some(2));
    }

    #[test]
    fn it_never_remembers_more_than_its_bound() {
        let mut mentions = Mentions::default();
        let start = Instant::now();
        for thing in 0..10_000_u32 {
            mentions.due(thing, start + Duration::from_millis(u64::from(thing)));
            assert!(mentions.said.len() <= REMEMBERED);
        }
    }
}

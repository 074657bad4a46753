//! Memory that is short, as people are told of it.
//!
//! In:  that there was none, that there was some
//! Out: Fluent Bit's two lines in the log, which alerts look for
//!
//! At full speed memory is short many times a second, so it is said only when it stays so.

use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::buffer::Budget;

/// How long memory must have been short before the log mentions it.
const MENTION_AFTER: Duration = Duration::from_secs(1);

/// See the head of this file.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    since: Option<Instant>,
    is_mentioned: bool,
}

impl Shortage {
    /// The input `name` found no memory. `meanwhile` says what that means for whoever writes to it.
    pub(super) fn note(&mut self, name: &str, budget: &Budget, meanwhile: &str, now: Instant) {
        let since = *self.since.get_or_insert(now);
        if self.is_mentioned || now.duration_since(since) < MENTION_AFTER {
            return;
        }
        self.is_mentioned = true;
        warn!(
            "[input] {name} paused (mem buf overlimit - {}B of {}B are not acknowledged yet); \
             {meanwhile}",
            budget.used(),
            budget.limit(),
        );
    }

    /// The input `name` found memory.
    pub(super) fn end(&mut self, name: &str, budget: &Budget) {
        self.since = None;
        if std::mem::take(&mut self.is_mentioned) {
            info!(
                "[input] {name} resume (mem buf overlimit - buf size {}B now below limit {}B)",
                budget.used(),
                budget.limit(),
            );
        }
    }

    /// Since the last time that memory was asked for there was none.
    pub(super) fn is_now(&self) -> bool {
        self.since.is_some()
    }

    /// It has lasted, and was said.
    pub(super) fn is_mentioned(&self) -> bool {
        self.is_mentioned
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_shortage_is_mentioned_when_it_has_lasted_a_second_and_not_before() {
        let (start, budget) = (Instant::now(), Budget::new(100, Arc::new(|| ())));
        let mut shortage = Shortage::default();
        let note = |shortage: &mut Shortage, after| {
            shortage.note("tail.0", &budget, "nothing is lost", start + after);
            (shortage.is_now(), shortage.is_mentioned())
        };
        let nearly = MENTION_AFTER - Duration::from_millis(1);
        assert_eq!(note(&mut shortage, Duration::ZERO), (true, false));
        assert_eq!(note(&mut shortage, nearly), (true, false));
        assert_eq!(note(&mut shortage, MENTION_AFTER), (true, true));
        shortage.end("tail.0", &budget);
        assert_eq!((shortage.is_now(), shortage.is_mentioned()), (false, false));
        assert_eq!(note(&mut shortage, MENTION_AFTER * 2), (true, false), "a new one");
    }
}

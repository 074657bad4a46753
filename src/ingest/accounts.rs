//! Every byte of every file, accounted for.
//!
//! ```text
//! written + sent again = acknowledged + filtered + held unread + held in memory + lost
//! ```
//!
//! Each term is counted where it happens, and none is worked out from the others, so that a line
//! that goes missing shows as a difference.

use std::fmt;

use crate::model::{Counted, Counters};
use crate::tail::Seen;

/// The terms, in bytes of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Accounts {
    /// The highest size seen of each generation, less where its reading began.
    pub written: u64,
    /// Partial lines that were sent at the end of a file's life and then completed after all.
    pub sent_again: u64,
    /// Acknowledged by every output.
    pub acknowledged: u64,
    /// Made no event, on purpose: filtered out, empty, without an output, holes.
    pub filtered: u64,
    /// In the files, not yet taken.
    pub held_unread: u64,
    /// In chunks, open or with an output.
    pub held_in_memory: u64,
    /// Gone, for a reason that is counted by itself.
    pub lost: u64,
}

impl Accounts {
    /// The terms that are counters, and what was seen of the files. What is held is added by
    /// whoever holds it.
    pub fn of(counters: &Counters, seen: Seen) -> Self {
        let lost = [
            &counters.lost_truncated_bytes,
            &counters.lost_long_line_bytes,
            &counters.lost_retry_limit_bytes,
            &counters.lost_max_age_bytes,
            &counters.lost_refused_bytes,
            &counters.lost_held_bytes,
        ];
        Self {
            acknowledged: counters.bytes_acknowledged.get(),
            filtered: counters.bytes_filtered.get() + seen.holes,
            written: seen.written,
            sent_again: seen.sent_again,
            lost: lost.iter().map(|counter| counter.get()).sum(),
            ..Self::default()
        }
    }

    /// How much more came in than is accounted for: 0, or there is a fault of ours.
    pub fn unaccounted(&self) -> i128 {
        let read = self.acknowledged + self.filtered + self.lost;
        let accounted = read + self.held_unread + self.held_in_memory;
        i128::from(self.written + self.sent_again) - i128::from(accounted)
    }

    /// Whether both sides are equal.
    pub fn is_balanced(&self) -> bool {
        self.unaccounted() == 0
    }
}

impl fmt::Display for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.is_balanced() { "=" } else { "≠" };
        write!(
            f,
            "{} written + {} sent again {sign} {} acknowledged + {} filtered + {} unread + {} in memory + {} lost",
            self.written,
            self.sent_again,
            self.acknowledged,
            self.filtered,
            self.held_unread,
            self.held_in_memory,
            self.lost
        )
    }
}

/// What ingest has at one moment, for whoever asks: see [`super::Controls::ask`].
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Every counter, at the same moment as the rest.
    pub counters: Vec<Counted>,
    /// Where every byte is.
    pub accounts: Accounts,
    /// What was seen of the files.
    pub seen: Seen,
    /// Files that are followed.
    pub followed_files: usize,
    /// Those of them that are open.
    pub open_files: usize,
    /// Bytes of the volume that deleted files hold because they are open.
    pub held_deleted: u64,
    /// Each input, in the order of the configuration.
    pub inputs: Vec<InputFigures>,
}

/// One input's part of [`Figures`].
#[derive(Clone, Debug, Default)]
pub struct InputFigures {
    /// `Alias`, or `tail.<n>`.
    pub name: String,
    /// Events that went to the filters.
    pub records: u64,
    /// The bytes of files they were.
    pub bytes: u64,
    /// Reading waits for memory, for longer than a second.
    pub is_paused: bool,
    /// Bytes of `Mem_Buf_Limit` that are taken.
    pub memory: usize,
    /// `Mem_Buf_Limit`.
    pub memory_limit: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_that_is_missing_in_any_term_is_noticed() {
        let whole = Accounts {
            written: 100,
            sent_again: 5,
            acknowledged: 60,
            filtered: 10,
            held_unread: 15,
            held_in_memory: 8,
            lost: 12,
        };
        assert!(whole.is_balanced());
        assert!(whole.to_string().contains(" = "));
        for broken in [
            Accounts { written: 99, ..whole },
            Accounts { sent_again: 4, ..whole },
            Accounts { acknowledged: 61, ..whole },
            Accounts { filtered: 9, ..whole },
            Accounts { held_unread: 14, ..whole },
            Accounts { held_in_memory: 9, ..whole },
            Accounts { lost: 13, ..whole },
        ] {
            assert!(!broken.is_balanced(), "{broken}");
            assert!(broken.to_string().contains(" ≠ "));
        }
    }
}

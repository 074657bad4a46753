//! What ingest knows at one moment.
//!
//! In:  somebody who asks
//! Out: [`Figures`] that balance, because they are taken between two rounds

use super::{Accounts, Figures, Ingest, Input};
use crate::tail::{FollowedFile, Seen};

impl Ingest {
    /// Answers whoever asked. What each chunk is part of is settled between two rounds, so that
    /// the accounts balance.
    pub(super) fn answer(&self) {
        let asking = self.parts.controls.take_asking();
        if asking.is_empty() || self.is_abandoned {
            return;
        }
        let figures = self.figures();
        asking.into_iter().for_each(|answer| answer(figures.clone()));
    }

    fn figures(&self) -> Figures {
        let (inputs, seen) = (&self.parts.inputs, self.seen());
        let files = || inputs.iter().flat_map(|input| input.tail.files());
        let deleted = files().filter(|file| file.is_deleted && file.is_open());
        Figures {
            counters: self.parts.counters.each().collect(),
            accounts: self.accounts(seen),
            seen,
            followed_files: files().count(),
            open_files: files().filter(|file| file.is_open()).count(),
            held_deleted: deleted.map(FollowedFile::size).sum(),
            inputs: inputs.iter().map(Input::figures).collect(),
        }
    }

    pub(super) fn accounts(&self, seen: Seen) -> Accounts {
        let inputs = &self.parts.inputs;
        Accounts {
            held_unread: inputs.iter().map(|input| input.tail.unread()).sum(),
            held_in_memory: self.away_bytes
                + inputs.iter().map(Input::bytes_in_memory).sum::<u64>(),
            ..Accounts::of(&self.parts.counters, seen)
        }
    }

    pub(super) fn seen(&self) -> Seen {
        let mut seen = Seen::default();
        self.parts.inputs.iter().for_each(|input| seen += input.tail.seen());
        seen
    }
}

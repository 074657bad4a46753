//! The end: of files that were rotated away or deleted, and of the process.
//!
//! In:  the time, a stop that was asked for
//! Out: unterminated last lines sent, done files closed; whether the process may end; its last words

use std::path::PathBuf;
use std::time::{Duration, Instant};

use tracing::{error, info};

use super::input::{Lent, Turn};
use super::{Frames, Ingest, Input};
use crate::buffer::Sealing;
use crate::model::FileId;

/// How often rotated files are looked through for those that are done.
const RETIRE_EVERY: Duration = Duration::from_millis(500);

impl Ingest {
    pub(super) fn retire(&mut self, now: Instant) {
        if now < self.next_retire || self.intake_ended {
            return;
        }
        self.next_retire = now + RETIRE_EVERY;
        for number in 0..self.parts.inputs.len() {
            for id in self.parts.inputs[number].tail.ending(now) {
                self.send_partial(number, id);
            }
            self.parts.inputs[number].tail.retire(now);
            self.parts.inputs[number].tail.let_go_of_surplus(now);
            self.parts.inputs[number].forget_joined_files();
        }
    }

    /// Sends the unterminated last line of a file whose life, or ours, is at its end. False: there
    /// was no memory for it, or the line is complete by now.
    fn send_partial(&mut self, number: usize, id: FileId) -> bool {
        let input = &mut self.parts.inputs[number];
        let Some(tag) = input.tail.file(id).map(|file| file.tag.clone()) else {
            return true;
        };
        let route = self.route(number, &tag);
        let input = &mut self.parts.inputs[number];
        let lent = Lent {
            buffer: &mut self.parts.buffer,
            filters: &mut self.parts.filters,
            pace: None,
            waited: Duration::ZERO,
        };
        match input.take_partial(id, &route, lent) {
            Turn::AtEnd => true,
            Turn::More => {
                input.tail.has_more(id);
                false
            }
            Turn::NoRoom => {
                input.chunks.seal_all(Sealing::MemoryShort, Instant::now());
                false
            }
        }
    }

    // === Stopping

    /// Whether the process may end: everything taken in is settled. Ends the intake on the way.
    pub(super) fn is_finished(&mut self, now: Instant) -> bool {
        if self.is_abandoned {
            return true;
        }
        let has_marker = self.parts.exit_when.as_ref().is_some_and(|marker| marker.exists());
        if has_marker || self.parts.inputs.iter_mut().any(Input::has_read_all_it_wants) {
            self.parts.controls.stop();
        }
        if !self.parts.controls.is_stopping() {
            return false;
        }
        let drain = self.parts.drain.started(now);
        self.parts.controls.report_left(|| self.left());
        if !self.intake_ended && (drain.must_end_intake(now) || self.is_quiet(now)) {
            let has_sent_all = self.send_all_partials();
            self.intake_ended = has_sent_all || drain.must_end_intake(now);
        }
        if !self.intake_ended {
            return false;
        }
        self.parts.clients.iter().for_each(Frames::end_intake);
        self.parts.clients.iter_mut().for_each(|clients| clients.look(now));
        self.away == 0 && self.parts.clients.iter().all(Frames::is_done)
    }

    fn is_quiet(&mut self, now: Instant) -> bool {
        let quiet = self.parts.drain.quiet(now);
        let is_quiet = |input: &Input| input.tail.is_quiet(now, &quiet);
        let have_said_all = self.parts.clients.iter().all(|clients| clients.is_quiet(now, &quiet));
        if !have_said_all || !self.parts.inputs.iter().all(is_quiet) {
            return false;
        }
        // Once more with our own eyes: a notice may be on its way.
        self.hear_names();
        for input in &mut self.parts.inputs {
            input.tail.look_at_unwatched(now, true);
        }
        self.parts.inputs.iter().all(is_quiet)
    }

    fn send_all_partials(&mut self) -> bool {
        let mut has_sent_all = true;
        for number in 0..self.parts.inputs.len() {
            self.parts.inputs[number].complete_all_messages();
            has_sent_all &= self.send_messages(number);
            for id in self.parts.inputs[number].tail.ids() {
                has_sent_all &= self.send_partial(number, id);
            }
            self.parts.inputs[number].chunks.seal_all(Sealing::Stopping, Instant::now());
        }
        self.hand_over();
        has_sent_all
    }

    /// What is not acknowledged yet, file by file.
    fn left(&self) -> Vec<(PathBuf, u64)> {
        let files = self.parts.inputs.iter().flat_map(|input| input.tail.files());
        let files = files.map(|file| (file.path.to_path_buf(), file.unsettled()));
        let frames = self.parts.clients.iter().flat_map(Frames::left);
        let frames = frames.map(|(whose, bytes)| (PathBuf::from(whose), bytes));
        files.chain(frames).filter(|(_, bytes)| *bytes > 0).collect()
    }

    pub(super) fn finish(mut self) {
        self.positions_changed = true;
        self.next_save = Instant::now();
        self.save_positions(Instant::now());
        self.parts.controls.report_left(|| self.left());
        if !self.is_abandoned {
            self.balance();
        }
        self.parts.clients.iter_mut().for_each(Frames::finish);
        self.say_what_became_of_frames();
        for (store, _) in std::mem::take(&mut self.parts.stores) {
            store.finish();
        }
    }

    /// Says where every byte went. A difference is a fault of ours.
    fn balance(&self) {
        let accounts = self.accounts(self.seen());
        if accounts.is_balanced() {
            info!("bytes: {accounts}");
        } else {
            error!("bytes are unaccounted for, please report it: {accounts}");
        }
    }

    fn say_what_became_of_frames(&self) {
        if self.parts.clients.is_empty() {
            return;
        }
        let counters = &self.parts.counters;
        info!(
            "frames: {} taken, {} of them delivered; {} came again; {} refused; {} events came \
             without `chunk`, {} of them are lost",
            counters.frames.get(),
            counters.frames_delivered.get(),
            counters.frames_repeated.get(),
            counters.frames_refused.get(),
            counters.unconfirmed.get(),
            counters.lost_stop.get(),
        );
    }
}

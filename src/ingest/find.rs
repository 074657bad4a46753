//! When directories are listed, files looked at and notices read.
//!
//! In:  the time, the kernel's notices
//! Out: the tails told; when to look again

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tracing::warn;

use super::{DATA_EVERY_LEAST, DATA_EVERY_MOST, Ingest, Input, LOOK_EVERY};
use crate::tail::{self, Notice, Watch, watch};

/// How often directories are listed where there are no notices at all.
const LIST_EVERY: Duration = Duration::from_secs(1);

impl Ingest {
    pub(super) fn scan(&mut self, now: Instant) {
        let is_wanted = self.parts.inputs.iter().any(|input| input.tail.wants_scan());
        if self.intake_ended || (now < self.next_scan && !is_wanted) {
            return;
        }
        let files_known = SystemTime::now();
        self.cover_directories();
        let watch = &self.watch;
        let is_watched =
            |directory: &Path| watch.as_ref().is_some_and(|watch| watch.covers(directory));
        for input in &mut self.parts.inputs {
            input.tail.scan(now, is_watched);
        }
        self.files_known = files_known;
        self.positions_changed = true;
        self.next_scan = now + self.scan_interval();
    }

    fn scan_interval(&self) -> Duration {
        let refresh = |input: &Input| input.tail.settings().refresh_interval;
        let wanted = self.parts.inputs.iter().map(refresh).min().unwrap_or(LIST_EVERY);
        if self.watch.is_some() { wanted } else { wanted.min(LIST_EVERY) }
    }

    /// Watches before listing, so that nothing can appear between the two unnoticed.
    fn cover_directories(&mut self) {
        self.covers_all = false;
        let Some(watch) = &mut self.watch else {
            return;
        };
        let inputs = &self.parts.inputs;
        let directories = || inputs.iter().flat_map(|input| input.tail.directories()).collect();
        let Err(error) = watch.cover_all(directories) else {
            self.covers_all = true;
            return;
        };
        if watch::is_limit(&error) {
            warn!(%error, "no more watches; looking at files four times a second instead");
            self.watch = None;
        } else {
            let due = self.mentions.due(error.kind(), Instant::now());
            if let Some(times) = due {
                warn!(%error, times, "cannot watch a directory; its files are looked at now and then");
            }
        }
    }

    /// Looks at the files that notices do not reach.
    pub(super) fn look(&mut self, now: Instant) {
        if now < self.next_look || self.intake_ended {
            return;
        }
        let all = self.watch.is_none();
        for input in &mut self.parts.inputs {
            let unwatched = all || !input.tail.settings().inotify_watcher;
            input.tail.look_at_unwatched(now, unwatched);
        }
        let interval = |input: &Input| input.tail.settings().progress_check_interval;
        let wanted = self.parts.inputs.iter().map(interval).min().unwrap_or(LOOK_EVERY);
        if self.watch.as_ref().is_some_and(Watch::has_lost_one) {
            self.next_scan = now;
        }
        let is_hurried = all || self.parts.controls.is_stopping();
        self.next_look = now + if is_hurried { wanted.min(LOOK_EVERY) } else { wanted };
    }

    pub(super) fn hear_names(&mut self) {
        let Some(watch) = &mut self.watch else {
            return;
        };
        let files_known = SystemTime::now();
        let inputs = &mut self.parts.inputs;
        let open = |notices: &[Notice]| {
            inputs.iter().map(|input| input.tail.open_new(notices)).collect::<Vec<_>>()
        };
        let (notices, opened) = tail::open_what_notices_mean(|| watch.take_names(), open);
        let mut opened = opened.unwrap_or_default().into_iter();
        let now = Instant::now();
        for input in inputs {
            input.tail.hear_names(&notices, opened.next().unwrap_or_default(), now);
        }
        if self.covers_all && !self.parts.inputs.iter().any(|input| input.tail.wants_scan()) {
            self.files_known = files_known;
        }
    }

    pub(super) fn hear_data(&mut self, now: Instant) {
        let every = data_every(self.flush, self.parts.counters.truncations.get() > 0);
        self.waited = if self.next_data.take().is_some() { every } else { Duration::ZERO };
        let Some(watch) = &mut self.watch else {
            return;
        };
        let notices = watch.take_data();
        for input in &mut self.parts.inputs {
            input.tail.hear_data(&notices, now);
        }
        let is_quiet = notices.is_empty() && !self.parts.inputs.iter().any(|i| i.tail.is_busy());
        self.next_data = (!is_quiet).then_some(now + every);
    }
}

/// Four times a `Flush`, within bounds: each wake-up costs more than the lines it finds. But what was
/// written since the last reading is lost when a file is truncated in place, and where that is done,
/// it is read as often as we may.
fn data_every(flush: Duration, has_truncated: bool) -> Duration {
    match has_truncated {
        true => DATA_EVERY_LEAST,
        false => (flush / 4).clamp(DATA_EVERY_LEAST, DATA_EVERY_MOST),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notices_are_read_four_times_a_flush_within_bounds_and_more_often_after_a_truncation() {
        let milliseconds = Duration::from_millis;
        for (flush, has_truncated, every) in
            [(5, false, 20), (120, false, 30), (5_000, false, 50), (5_000, true, 20)]
        {
            assert_eq!(data_every(milliseconds(flush), has_truncated), milliseconds(every));
        }
    }
}

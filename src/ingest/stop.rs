//! What others ask of ingest: its figures, and a stop: when the intake ends, and what is left.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::accounts::Figures;
use super::wait::Waker;
use crate::tail::Quiet;

/// Takes the figures. One that cannot be called is dropped.
pub type Answer = Box<dyn FnOnce(Figures) + Send>;

/// How many wait for an answer at most: no more are kept while ingest does not answer.
const MOST_ASKING: usize = 64;

/// Shared between ingest, whoever asks for its figures, and whoever ends the process.
pub struct Controls {
    asking: Mutex<Vec<Answer>>,
    is_stopping: AtomicBool,
    left: Mutex<Vec<(PathBuf, u64)>>,
    waker: Waker,
    on_stop: Box<dyn Fn() + Send + Sync>,
}

impl Controls {
    /// `on_stop` is called when a stop is asked for, by whoever it is.
    pub fn new(waker: Waker, on_stop: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            asking: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            left: Mutex::default(),
            waker,
            on_stop,
        }
    }

    /// Asks for the figures. Ingest answers at the end of its round, on its own thread.
    pub fn ask(&self, answer: Answer) {
        let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if asking.len() < MOST_ASKING {
            asking.push(answer);
        }
        drop(asking);
        self.waker.wake();
    }

    /// Whoever asked since the last call.
    pub(super) fn take_asking(&self) -> Vec<Answer> {
        std::mem::take(&mut *self.asking.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks for a stop. Asking again changes nothing.
    pub fn stop(&self) {
        if !self.is_stopping.swap(true, Ordering::SeqCst) {
            (self.on_stop)();
            self.waker.wake();
        }
    }

    /// Whether a stop was asked for.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::SeqCst)
    }

    /// The bytes of each file that were not acknowledged when ingest last looked.
    pub fn left(&self) -> Vec<(PathBuf, u64)> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn report_left(&self, left: impl FnOnce() -> Vec<(PathBuf, u64)>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left();
    }
}

/// When the intake of a stop ends: when every file was quiet for `quiet` since it began, or when
/// four fifths of the grace have passed. The last fifth belongs to sending and acknowledgements.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// `Drain_Quiet`.
    pub quiet: Duration,
    /// `Grace`. `None`: as long as it needs.
    pub grace: Option<Duration>,
    since: Option<Instant>,
}

impl Drain {
    /// How long a file must have been quiet at most, when its writer was seen to close it.
    const QUIET_IF_CLOSED: Duration = Duration::from_millis(200);

    /// A stop that has not begun.
    pub fn new(quiet: Duration, grace: Option<Duration>) -> Self {
        Self { quiet, grace, since: None }
    }

    /// Begins, if it has not yet.
    pub fn started(&mut self, now: Instant) -> Self {
        self.since.get_or_insert(now);
        *self
    }

    /// Whether four fifths of the grace have passed.
    pub fn must_end_intake(&self, now: Instant) -> bool {
        let (Some(grace), Some(since)) = (self.grace, self.since) else {
            return false;
        };
        now.duration_since(since) >= grace * 4 / 5
    }

    /// When files count as quiet. Before the stop began: from now on.
    pub fn quiet(&self, now: Instant) -> Quiet {
        Quiet {
            since: self.since.unwrap_or(now),
            wait: self.quiet,
            wait_if_closed: self.quiet.min(Self::QUIET_IF_CLOSED),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intake_ends_after_four_fifths_of_the_grace() {
        let start = Instant::now();
        let seconds = Duration::from_secs;
        let mut drain = Drain::new(seconds(2), Some(seconds(25)));
        assert!(!drain.must_end_intake(start + seconds(100)), "it has not begun");
        let drain = drain.started(start);
        assert!(!drain.must_end_intake(start + seconds(19)));
        assert!(drain.must_end_intake(start + seconds(20)));
        let endless = Drain::new(seconds(2), None).started(start);
        assert!(!endless.must_end_intake(start + seconds(10_000)));
    }
}

//! Between the runtime, which reads frames, and ingest, which makes chunks of them.
//!
//! In:  frames that were read whole and found good
//! Out: the same, for ingest; its word on each, for whoever waits for an acknowledgement
//!
//! Bounded by the memory that every frame was admitted to.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{oneshot, watch};

use super::intake::Admitted;
use crate::model::Tag;
use crate::protocol::EventReader;

/// A frame for ingest.
pub struct Received {
    /// The tag its events get.
    pub tag: Tag,
    /// Its events, every one of which is known to be good.
    pub events: EventReader,
    /// How many they are.
    pub count: u64,
    /// Its bytes, as it came.
    pub bytes: u64,
    /// Whom to tell what became of it. `None`: it came without `chunk`, so nobody waits.
    pub answer: Option<Answer>,
    /// What it has of the memory limit.
    pub memory: Admitted,
}

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every event of it is delivered, or was taken out by a filter.
    Delivered,
    /// At least one event was given up. Its client still has it.
    GivenUp,
}

/// Ingest's word to whoever waits for an acknowledgement. Dropped without a word: the frame is not
/// delivered, and its client still has it.
#[derive(Debug)]
pub struct Answer(pub(super) oneshot::Sender<Outcome>);

impl Answer {
    /// Says what became of the frame.
    pub fn give(self, outcome: Outcome) {
        // Nobody listens when the listener has gone.
        self.0.send(outcome).ok();
    }
}

/// See the head of this file. Cheap to clone: both sides hold one.
#[derive(Clone)]
pub struct Handover(Arc<Shared>);

struct Shared {
    arrived: Mutex<VecDeque<Received>>,
    on_arrival: Box<dyn Fn() + Send + Sync>,
    talking: AtomicUsize,
    intake_ended: watch::Sender<bool>,
}

impl Handover {
    /// `on_arrival` is called when a frame comes to an empty desk.
    pub fn new(on_arrival: Box<dyn Fn() + Send + Sync>) -> Self {
        Self(Arc::new(Shared {
            arrived: Mutex::default(),
            on_arrival,
            talking: AtomicUsize::new(0),
            intake_ended: watch::Sender::new(false),
        }))
    }

    /// Moves what has arrived into `into`, in order. For ingest.
    pub fn empty_into(&self, into: &mut VecDeque<Received>) {
        into.append(&mut self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// How many clients are connected and may send more.
    pub fn talking(&self) -> usize {
        self.0.talking.load(Ordering::SeqCst)
    }

    /// Nothing more is read from clients from now on. For ingest.
    pub fn end_intake(&self) {
        self.0.intake_ended.send_replace(true);
    }

    pub(super) fn offer(&self, frame: Received) {
        let mut arrived = self.0.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = arrived.is_empty();
        arrived.push_back(frame);
        drop(arrived);
        if was_empty {
            (self.0.on_arrival)();
        }
    }

    /// Returns once nothing more may be read.
    pub(super) async fn intake_ended(&self) {
        let ended = self.0.intake_ended.subscribe().wait_for(|ended| *ended).await.map(|_| ());
        ended.expect("the sender is in `self`");
    }

    /// Counts a client as one that may send, until the answer is dropped.
    pub(super) fn talks(&self) -> Talking {
        self.0.talking.fetch_add(1, Ordering::SeqCst);
        Talking(self.clone())
    }
}

/// A client that may send.
pub(super) struct Talking(Handover);

impl Drop for Talking {
    fn drop(&mut self) {
        let shared = &self.0.0;
        if shared.talking.fetch_sub(1, Ordering::SeqCst) == 1 && *shared.intake_ended.borrow() {
            // The last word has been said, and ingest waits for it.
            (shared.on_arrival)();
        }
    }
}

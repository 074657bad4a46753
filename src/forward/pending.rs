//! A chunk that is not confirmed yet, with what happened to it so far.

use std::time::{Duration, Instant};

use super::{RetryLimit, Settings};
use crate::buffer::{Chunk, Delivery};
use crate::model::Codec;
use crate::protocol::frame::ChunkId;

/// A delivery and its failures. The id stays the same however often it is sent.
pub(super) struct Pending {
    /// What the receiver confirms.
    pub(super) id: ChunkId,
    delivery: Delivery,
    failures: u32,
    first_failed: Option<Instant>,
}

impl Pending {
    /// Not tried yet.
    pub(super) fn new(delivery: Delivery) -> Self {
        let id = ChunkId::new(delivery.chunk().id);
        Self { id, delivery, failures: 0, first_failed: None }
    }

    /// The chunk.
    pub(super) fn chunk(&self) -> &Chunk {
        self.delivery.chunk()
    }

    /// Its entries for an output that compresses so, and how they are compressed.
    pub(super) fn entries(&self, compress: Option<Codec>) -> (&[u8], Option<Codec>) {
        self.chunk().entries_for(compress)
    }

    /// How often it failed.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The receiver has confirmed it.
    pub(super) fn acknowledged(self) {
        self.delivery.acknowledged();
    }

    /// It is given up.
    pub(super) fn lost(self) {
        self.delivery.lost();
    }

    /// It was on its way, or at the head of the queue, when something went wrong.
    pub(super) fn fail(&mut self, now: Instant) {
        self.failures += 1;
        self.first_failed.get_or_insert(now);
    }

    /// Whether `Retry_Limit` gives it up: it failed once more than the limit, and Fluent Bit
    /// would not have been done with it any sooner (each of its waits takes at least
    /// `scheduler.base` and one second).
    pub(super) fn is_beyond(&self, settings: &Settings, now: Instant) -> bool {
        let RetryLimit::Times(limit) = settings.retry_limit else {
            return false;
        };
        let shortest = (settings.scheduler_base + Duration::from_secs(1)) * limit;
        self.failures > limit
            && self.first_failed.is_some_and(|first| now.duration_since(first) >= shortest)
    }
}

//! Where ingest puts chunks and the output takes them.
//!
//! Bounded by the budget that every chunk owns a part of, and by nothing else: a second bound
//! would only hide where the memory is.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::buffer::Delivery;

/// A queue from the ingest thread to one output. Cheap to clone.
#[derive(Clone, Default)]
pub struct Inlet(Arc<Shared>);

#[derive(Default)]
struct Shared {
    waiting: Mutex<VecDeque<Delivery>>,
    arrived: Notify,
}

impl Inlet {
    /// Puts a delivery at the end. From any thread.
    pub fn push(&self, delivery: Delivery) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back(delivery);
        self.0.arrived.notify_one();
    }

    /// Takes the first delivery, if there is one.
    pub fn take(&self) -> Option<Delivery> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    /// Waits until something was put in since this last returned. May return without.
    pub async fn arrived(&self) {
        self.0.arrived.notified().await;
    }
}

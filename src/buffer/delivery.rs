//! A sealed chunk on its way out and home again.
//!
//! In:  a chunk, and how many outputs take it
//! Out: one [`Delivery`] an output; when the last of them has said what became of it, the chunk
//!      goes home with its [`Fate`]
//!
//! A delivery that is merely dropped (the process ends) frees memory and settles nothing: its
//! lines are read again at the next start.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Chunk;
use crate::model::OutputCounters;

/// What became of a chunk, over all outputs that took it. The worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Every output has its acknowledgement.
    Acknowledged,
    /// At least one output gave it up: its `Retry_Limit` was reached.
    Lost,
    /// At least one delivery was dropped without a word.
    Abandoned,
}

impl Fate {
    const ALL: [Self; 3] = [Self::Acknowledged, Self::Lost, Self::Abandoned];
}

/// Where chunks come home to. Ingest empties it and settles the shares.
pub struct Home {
    arrived: Mutex<Vec<(Chunk, Fate)>>,
    on_arrival: Box<dyn Fn() + Send + Sync>,
}

impl Home {
    /// `on_arrival` is called when a chunk comes home to an empty house.
    pub fn new(on_arrival: Box<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { arrived: Mutex::new(Vec::new()), on_arrival })
    }

    /// Moves what has come home into `into`.
    pub fn empty_into(&self, into: &mut Vec<(Chunk, Fate)>) {
        into.append(&mut self.arrived.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn welcome(&self, chunk: Chunk, fate: Fate) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = arrived.is_empty();
        arrived.push((chunk, fate));
        drop(arrived);
        if was_empty {
            (self.on_arrival)();
        }
    }
}

struct Travelling {
    chunk: Chunk,
    worst: AtomicU8,
    home: Arc<Home>,
}

/// One output's hold on a chunk.
pub struct Delivery {
    travelling: Option<Arc<Travelling>>,
    /// The output's own numbers.
    counters: Option<Arc<OutputCounters>>,
}

impl Delivery {
    /// One delivery for each of `outputs` outputs.
    pub fn of(chunk: Chunk, outputs: usize, home: &Arc<Home>) -> Vec<Self> {
        let travelling =
            Arc::new(Travelling { chunk, worst: AtomicU8::new(0), home: Arc::clone(home) });
        let delivery = |_| Self { travelling: Some(Arc::clone(&travelling)), counters: None };
        (0..outputs).map(delivery).collect()
    }

    /// What becomes of it is counted into the numbers of its output.
    #[must_use]
    pub fn counted_into(mut self, counters: &Arc<OutputCounters>) -> Self {
        self.counters = Some(Arc::clone(counters));
        self
    }

    /// The chunk to deliver.
    pub fn chunk(&self) -> &Chunk {
        let travelling = self.travelling.as_ref();
        &travelling.expect("only `end` takes it, and that consumes the delivery").chunk
    }

    /// The receiver has confirmed it.
    pub fn acknowledged(mut self) {
        self.count(|counters, chunk| {
            counters.proc_records.add(u64::from(chunk.events));
            counters.proc_bytes.add(chunk.entries.len() as u64);
        });
        self.end(Fate::Acknowledged);
    }

    /// It failed, and goes again.
    pub fn failed(&self) {
        self.count(|counters, chunk| {
            counters.retries.add(1);
            counters.retried_records.add(u64::from(chunk.events));
        });
    }

    /// It is given up.
    pub fn lost(mut self) {
        self.count(|counters, chunk| {
            counters.retries_failed.add(1);
            counters.dropped_records.add(u64::from(chunk.events));
        });
        self.end(Fate::Lost);
    }

    fn count(&self, add: impl FnOnce(&OutputCounters, &Chunk)) {
        if let Some(counters) = &self.counters {
            add(counters, self.chunk());
        }
    }

    fn end(&mut self, fate: Fate) {
        let Some(travelling) = self.travelling.take() else {
            return;
        };
        travelling.worst.fetch_max(fate as u8, Ordering::SeqCst);
        if let Some(Travelling { chunk, worst, home }) = Arc::into_inner(travelling) {
            home.welcome(chunk, Fate::ALL[usize::from(worst.into_inner())]);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.end(Fate::Abandoned);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::buffer::{Budget, OpenChunk};
    use crate::model::{Counter, Tag};

    fn deliveries(outputs: usize) -> (Vec<Delivery>, Arc<Home>) {
        let budget = Budget::new(100, Arc::new(|| ()));
        let memory = budget.try_reserve(10).unwrap();
        let mut open = OpenChunk::new(Vec::with_capacity(2), memory, Instant::now());
        open.bytes_mut().extend_from_slice(b"\x92\x01");
        let chunk = open.seal([7; 16], Tag::new("a"), 100);
        let home = Home::new(Box::new(|| ()));
        (Delivery::of(chunk, outputs, &home), home)
    }

    fn fate(home: &Home) -> Option<Fate> {
        let mut arrived = Vec::new();
        home.empty_into(&mut arrived);
        arrived.pop().map(|(_, fate)| fate)
    }

    #[test]
    fn a_chunk_comes_home_when_every_output_has_confirmed_it() {
        let (mut deliveries, home) = deliveries(2);
        deliveries.pop().unwrap().acknowledged();
        assert_eq!(fate(&home), None);
        deliveries.pop().unwrap().acknowledged();
        assert_eq!(fate(&home), Some(Fate::Acknowledged));
    }

    #[test]
    fn what_becomes_of_a_delivery_counts_for_its_output_alone() {
        let (mut pair, _home) = deliveries(2);
        let outputs = [Arc::new(OutputCounters::default()), Arc::default()];
        let first = pair.pop().unwrap().counted_into(&outputs[0]);
        let second = pair.pop().unwrap().counted_into(&outputs[1]);
        first.failed();
        first.lost();
        second.acknowledged();
        let [first, second] = outputs.map(|counters| {
            [&counters.retries, &counters.retries_failed, &counters.proc_bytes].map(Counter::get)
        });
        assert_eq!(first, [1, 1, 0]);
        assert_eq!(second, [0, 0, 2]);
    }

    #[test]
    fn the_worst_of_its_deliveries_decides_what_became_of_a_chunk() {
        let (mut pair, home) = deliveries(2);
        pair.pop().unwrap().lost();
        pair.pop().unwrap().acknowledged();
        assert_eq!(fate(&home), Some(Fate::Lost));

        let (mut pair, home) = deliveries(2);
        drop(pair.pop());
        pair.pop().unwrap().acknowledged();
        assert_eq!(fate(&home), Some(Fate::Abandoned));
    }
}

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
pub struct Delivery(Option<Arc<Travelling>>);

impl Delivery {
    /// One delivery for each of `outputs` outputs.
    pub fn of(chunk: Chunk, outputs: usize, home: &Arc<Home>) -> Vec<Self> {
        let travelling =
            Arc::new(Travelling { chunk, worst: AtomicU8::new(0), home: Arc::clone(home) });
        (0..outputs).map(|_| Self(Some(Arc::clone(&travelling)))).collect()
    }

    /// The chunk to deliver.
    pub fn chunk(&self) -> &Chunk {
        &self.0.as_ref().expect("only `end` takes it, and that consumes the delivery").chunk
    }

    /// The receiver has confirmed it.
    pub fn acknowledged(mut self) {
        self.end(Fate::Acknowledged);
    }

    /// It is given up.
    pub fn lost(mut self) {
        self.end(Fate::Lost);
    }

    fn end(&mut self, fate: Fate) {
        let Some(travelling) = self.0.take() else {
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
    use crate::model::Tag;

    fn deliveries(outputs: usize) -> (Vec<Delivery>, Arc<Home>) {
        let budget = Budget::new(100, Arc::new(|| ()));
        let memory = budget.try_reserve(10).unwrap();
        let chunk =
            OpenChunk::new(Vec::new(), memory, Instant::now()).seal([7; 16], Tag::new("a"), 100);
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

//! A sealed chunk on its way out and home again.
//!
//! In:  a chunk, and how many outputs take it
//! Out: one [`Delivery`] an output; when the last of them has said what became of it, the chunk
//!      goes home with its [`Fate`] and its [`Loss`]es
//!
//! A delivery that is merely dropped (the process ends) frees memory and settles nothing: its
//! lines are read again at the next start.

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Chunk;
use crate::model::OutputCounters;

/// What became of a chunk, over all outputs that took it. The worst counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// Every output has its acknowledgement.
    Acknowledged,
    /// At least one output gave some of it up: its losses say what and why.
    Lost,
    /// At least one delivery was dropped without a word.
    Abandoned,
}

/// Events of a chunk that an output gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why.
    pub reason: LossReason,
    /// Which, counted from 0.
    pub events: Range<u32>,
    /// How the first of them begins, as text, where people should see it.
    pub beginning: String,
}

/// Why an output gave events up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossReason {
    /// `Retry_Limit` was reached.
    RetryLimit,
    /// They were older than `Retry_Max_Age`.
    MaxAge,
    /// The receiver refused them always, while it took others.
    Refused,
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
    ending: Mutex<(Fate, Vec<Loss>)>,
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
        let ending = Mutex::new((Fate::Acknowledged, Vec::new()));
        let travelling = Arc::new(Travelling { chunk, ending, home: Arc::clone(home) });
        let delivery = |_| Self { travelling: Some(Arc::clone(&travelling)), counters: None };
        (0..outputs).map(delivery).collect()
    }

    /// What becomes of it is counted into the numbers of its output.
    #[must_use]
    pub fn counted_into(mut self, counters: &Arc<OutputCounters>) -> Self {
        self.counters = Some(Arc::clone(counters));
        self
    }

    /// Where its output counts what becomes of it.
    pub fn counters(&self) -> Option<&OutputCounters> {
        self.counters.as_deref()
    }

    /// The chunk to deliver.
    pub fn chunk(&self) -> &Chunk {
        let travelling = self.travelling.as_ref();
        &travelling.expect("only `end` takes it, and that consumes the delivery").chunk
    }

    /// A second hold on the same chunk, for an output that sends it in parts. Both must end.
    pub fn split(&self) -> Self {
        Self { travelling: self.travelling.clone(), counters: self.counters.clone() }
    }

    /// The receiver has confirmed it.
    pub fn acknowledged(mut self) {
        self.end(Fate::Acknowledged, None);
    }

    /// It, or what is named of it, is given up.
    pub fn lost(mut self, loss: Loss) {
        self.end(Fate::Lost, Some(loss));
    }

    fn end(&mut self, fate: Fate, loss: Option<Loss>) {
        let Some(travelling) = self.travelling.take() else {
            return;
        };
        let mut ending = travelling.ending.lock().unwrap_or_else(PoisonError::into_inner);
        ending.0 = ending.0.max(fate);
        ending.1.extend(loss);
        drop(ending);
        if let Some(Travelling { mut chunk, ending, home }) = Arc::into_inner(travelling) {
            let (fate, losses) = ending.into_inner().unwrap_or_else(PoisonError::into_inner);
            chunk.losses = losses;
            home.welcome(chunk, fate);
        }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.end(Fate::Abandoned, None);
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

    fn loss(events: Range<u32>) -> Loss {
        Loss { reason: LossReason::Refused, events, beginning: String::new() }
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
        pair.pop().unwrap().lost(loss(0..1));
        pair.pop().unwrap().acknowledged();
        assert_eq!(fate(&home), Some(Fate::Lost));

        let (mut pair, home) = deliveries(2);
        drop(pair.pop());
        pair.pop().unwrap().acknowledged();
        assert_eq!(fate(&home), Some(Fate::Abandoned));
    }

    #[test]
    fn a_delivery_in_parts_ends_with_its_last_part_and_brings_the_losses_home() {
        let (mut deliveries, home) = deliveries(1);
        let whole = deliveries.pop().unwrap();
        let part = whole.split();
        whole.acknowledged();
        assert_eq!(fate(&home), None);
        part.lost(loss(3..4));
        let mut arrived = Vec::new();
        home.empty_into(&mut arrived);
        let (chunk, fate) = arrived.pop().unwrap();
        assert_eq!((fate, chunk.losses), (Fate::Lost, vec![loss(3..4)]));
    }
}

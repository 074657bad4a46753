//! Keeps one output going: finds its nodes, runs a lane for each of their addresses, and hands the
//! chunks that come to [`Dispatch`](super::dispatch::Dispatch).
//!
//! In:  the inlet
//! Out: nothing but confirmed chunks; what fails goes again, same bytes, same id, same order

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connect;
use super::dispatch::{LaneId, NodeTraits};
use super::lane::{Common, Lane};
use super::node::{LookUp, Node};
use super::settings::Node as NodeSettings;
use super::{Inlet, Settings};
use crate::model::Counters;

/// Lanes that have begun and are not started yet, at most; whoever has more waits.
const BEGUN: usize = 64;

/// See the head of this file.
pub struct Upstream {
    common: Common,
    inlet: Inlet,
    nodes: Vec<Arc<Node>>,
    begun: mpsc::Receiver<(usize, LaneId)>,
}

impl Upstream {
    /// An output that takes from `inlet`. `dice` gives numbers in `0.0..1.0`.
    pub fn new(
        settings: Settings,
        inlet: Inlet,
        counters: Arc<Counters>,
        dice: Box<dyn FnMut() -> f64 + Send>,
    ) -> Self {
        let look_up: LookUp = Arc::new(|host, port| Box::pin(connect::look_up(host, port)));
        Self::with_look_up(settings, inlet, counters, dice, look_up)
    }

    pub(super) fn with_look_up(
        settings: Settings,
        inlet: Inlet,
        counters: Arc<Counters>,
        dice: Box<dyn FnMut() -> f64 + Send>,
        look_up: LookUp,
    ) -> Self {
        let settings = Arc::new(settings);
        let common = Common::new(Arc::clone(&settings), counters, dice);
        let (begin, begun) = mpsc::channel(BEGUN);
        let nodes = nodes_of(&settings);
        let count = nodes.len();
        let node = |(number, node): (usize, NodeSettings)| {
            let NodeSettings { weight, standby, settings, .. } = node;
            let traits = NodeTraits { number, weight, standby };
            let (common, look_up, begin) = (common.clone(), Arc::clone(&look_up), begin.clone());
            Arc::new(Node::new(Arc::new(settings), traits, count, common, look_up, begin))
        };
        let nodes = nodes.into_iter().enumerate().map(node).collect();
        Self { common, inlet, nodes, begun }
    }

    /// Runs until it is dropped. Connects at once, so that a wrong address is heard of early.
    pub async fn run(mut self) {
        // Dropped with this future, and all that runs in it.
        let mut running = JoinSet::new();
        for node in &self.nodes {
            running.spawn(Arc::clone(node).keep_resolved());
        }
        loop {
            tokio::select! {
                // Losing is harmless: what is not taken stays in the channel.
                Some((node, lane)) = self.begun.recv() => self.start(node, lane, &mut running),
                // Losing is harmless: chunks stay in the inlet, and it is looked into each time.
                () = self.inlet.arrived() => {}
                // Losing is harmless: what has ended can be joined later.
                Some(_) = running.join_next() => {}
            }
            self.take_in();
        }
    }

    fn take_in(&self) {
        let Some(first) = self.inlet.take() else {
            return;
        };
        let now = Instant::now();
        let mut dispatch = self.common.dispatch();
        dispatch.arrive(first, now);
        while let Some(delivery) = self.inlet.take() {
            dispatch.arrive(delivery, now);
        }
    }

    fn start(&self, node: usize, lane: LaneId, running: &mut JoinSet<()>) {
        let Some(node) = self.nodes.get(node) else {
            return;
        };
        let settings = Arc::clone(&node.settings);
        if let Some(lane) = Lane::new(&self.common, lane, settings, Arc::clone(node) as _) {
            running.spawn(lane.run());
        }
    }
}

/// The nodes of the `Upstream` file, or the one that `Host` and `Port` are.
fn nodes_of(settings: &Settings) -> Vec<NodeSettings> {
    if settings.nodes.is_empty() {
        return vec![NodeSettings {
            name: settings.host.clone(),
            weight: NodeSettings::DEFAULT_WEIGHT,
            standby: false,
            settings: settings.clone(),
        }];
    }
    settings.nodes.clone()
}

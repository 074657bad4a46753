//! Keeps one output going: finds its nodes, runs a lane for each of their addresses, and hands the
//! chunks that come to [`Dispatch`](super::dispatch::Dispatch).
//!
//! In:  the inlet
//! Out: nothing but confirmed chunks; what fails goes again, same bytes, same id, same order

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::connect::{self, Connector, StartError};
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
    /// An output that takes from `inlet`. `dice` gives numbers in `0.0..1.0`. The error names a
    /// file that is of no use.
    pub fn new(
        settings: Settings,
        inlet: Inlet,
        counters: Arc<Counters>,
        dice: Box<dyn FnMut() -> f64 + Send>,
    ) -> Result<Self, StartError> {
        let look_up: LookUp = Arc::new(|host, port| Box::pin(connect::look_up(host, port)));
        Self::with_look_up(settings, inlet, counters, dice, look_up)
    }

    pub(super) fn with_look_up(
        settings: Settings,
        inlet: Inlet,
        counters: Arc<Counters>,
        dice: Box<dyn FnMut() -> f64 + Send>,
        look_up: LookUp,
    ) -> Result<Self, StartError> {
        let settings = Arc::new(settings);
        let common = Common::new(Arc::clone(&settings), counters, dice);
        let (begin, begun) = mpsc::channel(BEGUN);
        let nodes = nodes_of(&settings);
        let count = nodes.len();
        let node = |(number, node): (usize, NodeSettings)| {
            let NodeSettings { weight, standby, settings, .. } = node;
            let connector = Arc::new(Connector::new(&settings, count)?);
            let traits = NodeTraits { number, weight, standby };
            let (common, look_up, begin) = (common.clone(), Arc::clone(&look_up), begin.clone());
            let settings = Arc::new(settings);
            let node = Node::new(settings, connector, traits, count, common, look_up, begin);
            Ok::<_, StartError>(Arc::new(node))
        };
        let nodes = nodes.into_iter().enumerate().map(node).collect::<Result<_, _>>()?;
        Ok(Self { common, inlet, nodes, begun })
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
        let (settings, connector) = (Arc::clone(&node.settings), Arc::clone(&node.connector));
        let lane = Lane::new(&self.common, lane, settings, connector, Arc::clone(node) as _);
        if let Some(lane) = lane {
            running.spawn(lane.run());
        }
    }
}

/// Reads every file that an output names, as its start would.
pub fn try_files(settings: &Settings) -> Result<(), StartError> {
    nodes_of(settings).iter().try_for_each(|node| Connector::new(&node.settings, 1).map(|_| ()))
}

/// The nodes of the `Upstream` file, or the one that `Host` and `Port` are.
pub(super) fn nodes_of(settings: &Settings) -> Vec<NodeSettings> {
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::buffer::{Budget, Delivery, Home, OpenChunk};
    use crate::forward::Failure;
    use crate::model::cursor::Scanner;
    use crate::model::{FileId, SpanId, Tag};
    use crate::protocol::ack;
    use crate::protocol::frame::{Frame, Limits};

    /// Acknowledges every frame, and counts them.
    async fn receive(listener: TcpListener, frames: Arc<AtomicU64>) {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(acknowledge(stream, Arc::clone(&frames)));
        }
    }

    async fn acknowledge(mut stream: TcpStream, frames: Arc<AtomicU64>) {
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await.is_ok_and(|count| count > 0) {
            while let Some(length) = Scanner::new().scan(&bytes).unwrap() {
                let frame: Vec<u8> = bytes.drain(..length).collect();
                let frame = Frame::decode(&frame, &Limits::default()).unwrap();
                let mut answer = Vec::new();
                ack::encode(frame.option.chunk.unwrap(), &mut answer);
                // A connection that is drained closes as soon as it has its answer.
                stream.write_all(&answer).await.ok();
                frames.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn receiver() -> (SocketAddr, Arc<AtomicU64>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let (address, frames) = (listener.local_addr().unwrap(), Arc::default());
        tokio::spawn(receive(listener, Arc::clone(&frames)));
        (address, frames)
    }

    /// A chunk of one event.
    fn delivery(number: u64, home: &Arc<Home>) -> Delivery {
        let event = b"\x92\xd7\0\0\0\0\x01\0\0\0\0\x80";
        let memory = Budget::new(usize::MAX, Arc::new(|| ())).try_reserve(event.len()).unwrap();
        let mut open =
            OpenChunk::new(Vec::with_capacity(event.len()), memory, std::time::Instant::now());
        open.bytes_mut().extend_from_slice(event);
        open.add(FileId(1), SpanId { generation: 0, number: 0 }, 0, 1);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let chunk = open.seal(id, Tag::new("app"), usize::MAX);
        Delivery::of(chunk, 1, home).remove(0)
    }

    /// Dice that never show the same twice in a row, and differ by `seed`.
    fn dice(seed: u64) -> Box<dyn FnMut() -> f64 + Send> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        Box::new(move || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            f64::from((state >> 40) as u32) / f64::from(1 << 24)
        })
    }

    #[tokio::test]
    async fn agents_spread_over_an_aggregator_that_grows_from_four_to_eight_behind_one_name() {
        let mut receivers = Vec::new();
        for _ in 0..8 {
            receivers.push(receiver().await);
        }
        let addresses: Vec<SocketAddr> = receivers.iter().map(|(address, _)| *address).collect();
        let named = Arc::new(Mutex::new(addresses[..4].to_vec()));
        let answers = Arc::clone(&named);
        let look_up: LookUp = Arc::new(move |host, _| {
            assert_eq!(host, "aggregator");
            let answer = answers.lock().unwrap().clone();
            Box::pin(async move { Ok::<_, Failure>(answer) })
        });
        let max_connection_age = Some(Duration::from_millis(30));
        let settings =
            Settings { max_connection_age, ..Settings::new("forward.0", "aggregator", 24224) };
        let home = Home::new(Box::new(|| ()));
        let agents: Vec<Inlet> = (0..16).map(|_| Inlet::default()).collect();
        let mut running = JoinSet::new();
        for (seed, inlet) in agents.iter().enumerate() {
            let upstream = Upstream::with_look_up(
                settings.clone(),
                inlet.clone(),
                Arc::default(),
                dice(seed as u64 + 1),
                Arc::clone(&look_up),
            );
            running.spawn(upstream.unwrap().run());
        }
        let mut sent = 0;
        let frames = |number: usize| receivers[number].1.load(Ordering::Relaxed);
        let mut send_until = async |holds: &dyn Fn() -> bool| {
            let deadline = Instant::now() + Duration::from_secs(30);
            while !holds() {
                assert!(Instant::now() < deadline, "{:?}", (0..8).map(frames).collect::<Vec<_>>());
                for inlet in &agents {
                    inlet.push(delivery(sent, &home));
                    sent += 1;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        send_until(&|| (0..4).all(|number| frames(number) > 10)).await;
        assert!((4..8).all(|number| frames(number) == 0), "nobody names them yet");
        named.lock().unwrap().extend_from_slice(&addresses[4..]);
        send_until(&|| (0..8).all(|number| frames(number) > 50)).await;
        let mut arrived = Vec::new();
        let mut acknowledged = 0;
        while acknowledged < sent {
            tokio::time::sleep(Duration::from_millis(1)).await;
            home.empty_into(&mut arrived);
            acknowledged += arrived.drain(..).count() as u64;
        }
        assert_eq!((0..8).map(frames).sum::<u64>(), sent, "each of them once");
    }
}

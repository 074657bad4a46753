//! Runs one lane: connects to its address when there is a reason to, and again after a failure.
//!
//! In:  what [`Dispatch`] decides
//! Out: what became of each connection, told to [`Dispatch`] and, now and then, to people

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::{sleep, sleep_until};
use tracing::{error, info, warn};

use super::connect::Connector;
use super::connection::{Connection, Ended};
use super::dispatch::{Dispatch, LaneId, Setback, Step};
use super::pending::Pending;
use super::{Failure, Settings, TagTemplate};
use crate::buffer::LossReason;
use crate::model::{Counters, Mentions};
use crate::protocol::frame::ChunkId;

/// What all lanes of an output have in common.
#[derive(Clone)]
pub(super) struct Common {
    /// What the output is told; a node's own settings are in its lanes.
    pub(super) settings: Arc<Settings>,
    dispatch: Arc<Mutex<Dispatch>>,
    counters: Arc<Counters>,
    mentions: Arc<Mutex<Mentions<Mention>>>,
}

/// What is said at most once a minute.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Mention {
    Connected(String),
    /// What went wrong, where, and whether a chunk was in the way of it.
    Failed(String, String, bool),
    Lost(LossReason),
    Halved,
    AckedTwice(String),
    EmptyTag,
}

/// What a connection takes its chunks from.
pub(super) struct Queue {
    common: Common,
    id: LaneId,
    changed: Arc<Notify>,
    peer: String,
}

/// See the head of this file.
pub(super) struct Lane {
    /// The settings of its node.
    settings: Arc<Settings>,
    queue: Queue,
    address: std::net::SocketAddr,
    connector: Arc<Connector>,
    /// Looks the node's name up again.
    refresh: Arc<dyn Refresh>,
    said_broken: bool,
}

/// Looks the addresses of a node up again and tells [`Dispatch`] of them.
pub(super) trait Refresh: Send + Sync {
    /// Done when that is done. What goes wrong does not matter: an address is known.
    fn refresh(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

impl Common {
    pub(super) fn new(
        settings: Arc<Settings>,
        counters: Arc<Counters>,
        dice: Box<dyn FnMut() -> f64 + Send>,
    ) -> Self {
        let dispatch = Arc::new(Mutex::new(Dispatch::new(Arc::clone(&settings), dice)));
        Self { settings, dispatch, counters, mentions: Arc::default() }
    }

    /// The decisions. Never held over a wait.
    pub(super) fn dispatch(&self) -> MutexGuard<'_, Dispatch> {
        self.dispatch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn count(&self, failure: &Failure) {
        failure.count(&self.counters);
    }

    fn due(&self, thing: Mention) -> Option<u64> {
        let mut mentions = self.mentions.lock().unwrap_or_else(PoisonError::into_inner);
        mentions.due(thing, Instant::now())
    }

    /// Says what was given up and what was halved.
    pub(super) fn tell_of_losses(&self) {
        let mut dispatch = self.dispatch();
        let (lost, halved) = (dispatch.take_lost(), dispatch.take_halved());
        drop(dispatch);
        let name = &self.settings.name;
        for (id, events) in halved {
            if let Some(times) = self.due(Mention::Halved) {
                warn!(
                    times,
                    events,
                    "[output:forward:{name}] chunk '{id}' is refused always, and others are not; it is halved to find out why"
                );
            }
        }
        for (pending, reason) in lost {
            if let Some(times) = self.due(Mention::Lost(reason)) {
                let why = match reason {
                    LossReason::RetryLimit => "Retry_Limit is reached",
                    LossReason::MaxAge => "it is older than Retry_Max_Age",
                    LossReason::Refused => "the receiver refuses it always, and takes others",
                };
                error!(
                    events = pending.events(),
                    bytes = pending.file_bytes(),
                    tag = %pending.tag(),
                    times,
                    "[output:forward:{name}] chunk '{}' cannot be retried: {why}; it is given up",
                    pending.id
                );
            }
            pending.lost(reason);
        }
    }

    /// Says what went wrong, at once and then once a minute. True: it was said.
    pub(super) fn tell_of(
        &self,
        failure: &Failure,
        peer: &str,
        settings: &Settings,
        setback: &Setback,
    ) -> bool {
        let Setback { wait, waiting, first, elsewhere, is_silent } = setback;
        let mention = Mention::Failed(peer.to_owned(), failure.to_string(), *waiting > 0);
        let Some(times) = self.due(mention) else {
            return false;
        };
        let name = &self.settings.name;
        let advice = match is_silent {
            true => advice_on_silence(failure, peer),
            false => String::new(),
        };
        let then = match elsewhere {
            true => "go to another node".to_owned(),
            false => format!("retry in {:.1} seconds", wait.as_secs_f64()),
        };
        match first {
            Some(id) => warn!(
                host = settings.host(),
                port = settings.port(),
                peer,
                times,
                waiting,
                "[output:forward:{name}] failed to flush chunk '{id}', {then}: {failure}{advice}"
            ),
            None => warn!(
                host = settings.host(),
                port = settings.port(),
                peer,
                times,
                "[output:forward:{name}] no connection, retry in {:.1} seconds: {failure}{advice}",
                wait.as_secs_f64()
            ),
        }
        true
    }
}

impl Queue {
    /// The next chunk to send, or what of it goes under one tag by `template`. `None`: nothing may
    /// go now; [`Queue::changed`] tells when to ask again.
    pub(super) fn take(&self, template: Option<&TagTemplate>) -> Option<Pending> {
        let taken = self.common.dispatch().take(self.id, template, Instant::now());
        if self.common.settings.retry_max_age.is_some() {
            self.common.tell_of_losses();
        }
        taken
    }

    /// It was acknowledged.
    pub(super) fn confirm(&self, pending: Pending) {
        self.common.dispatch().confirm(self.id, pending);
    }

    /// Waits until there may be something new. May return without.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Whether the connection is to end: nothing is in flight, and nothing more comes.
    pub(super) fn is_left(&self) -> bool {
        self.common.dispatch().is_left(self.id)
    }

    /// `Tag` made an empty tag.
    pub(super) fn note_empty_tag(&self) {
        if let Some(times) = self.common.due(Mention::EmptyTag) {
            warn!(
                times,
                "[output:forward:{}] events have nothing of what `Tag` asks for and are sent under an empty tag; in Fluentd only '**' takes it. Write text beside it, as in 'app.$level'",
                self.common.settings.name
            );
        }
    }

    /// An acknowledgement came a second time.
    pub(super) fn note_twice(&self) {
        if let Some(times) = self.common.due(Mention::AckedTwice(self.peer.clone())) {
            warn!(peer = %self.peer, times,
                "[output:forward:{}] the receiver acknowledges chunks twice; that changes nothing",
                self.common.settings.name);
        }
    }
}

impl Lane {
    /// A lane that [`Dispatch`] has begun. `None`: it is gone again.
    pub(super) fn new(
        common: &Common,
        id: LaneId,
        settings: Arc<Settings>,
        connector: Arc<Connector>,
        refresh: Arc<dyn Refresh>,
    ) -> Option<Self> {
        let (address, changed) = common.dispatch().address(id)?;
        let queue = Queue { common: common.clone(), id, changed, peer: settings.peer(address) };
        Some(Self { settings, queue, address, connector, refresh, said_broken: false })
    }

    /// Runs until its address is gone, or it is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let step = self.queue.common.dispatch().step(self.queue.id, Instant::now());
            match step {
                Step::End => return,
                Step::Wait => self.queue.changed().await,
                Step::WaitUntil(due) => self.wait_until(due).await,
                Step::Connect => self.connect_and_send().await,
            }
        }
    }

    async fn wait_until(&self, due: Instant) {
        tokio::select! {
            // Losing is harmless: the time is asked for anew.
            () = sleep_until(due.into()) => {}
            // Losing is harmless: what changed is looked at each time.
            () = self.queue.changed() => {}
        }
    }

    async fn connect_and_send(&mut self) {
        self.refresh.refresh().await;
        if self.queue.common.dispatch().is_over(self.queue.id) {
            return;
        }
        let ended = match self.connector.open(self.address).await {
            Ok(link) => {
                self.say_connected();
                self.queue.common.dispatch().connected(self.queue.id);
                let connection = Connection::new(link, &self.settings);
                self.until_it_ends(connection).await
            }
            Err(failure) => Ended { failure, unconfirmed: VecDeque::new() },
        };
        self.take_stock(ended);
    }

    /// Runs a connection, and drains it when it is old and tags could go elsewhere.
    async fn until_it_ends(&self, connection: Connection<'_>) -> Ended {
        let run = connection.run(&self.queue);
        tokio::pin!(run);
        loop {
            let Some(age) = self.age() else {
                return run.await;
            };
            tokio::select! {
                ended = &mut run => return ended,
                // Losing is harmless: the connection has ended.
                () = sleep(age) => {}
            }
            if self.queue.common.dispatch().drain(self.queue.id) {
                return run.await;
            }
        }
    }

    /// How long a connection may be used, give or take a fifth, so that not all agents leave at
    /// once.
    fn age(&self) -> Option<Duration> {
        let age = self.queue.common.settings.max_connection_age?;
        Some(age.mul_f64(0.8 + 0.4 * self.queue.common.dispatch().throw_dice()))
    }

    /// Said again when a failure was said; a receiver may close the connection after each frame.
    fn say_connected(&mut self) {
        let common = &self.queue.common;
        let is_due = common.due(Mention::Connected(self.queue.peer.clone())).is_some();
        if std::mem::take(&mut self.said_broken) || is_due {
            info!(
                host = self.settings.host(), port = self.settings.port(), peer = %self.queue.peer,
                "[output:forward:{}] connected", common.settings.name
            );
        }
    }

    fn take_stock(&mut self, Ended { failure, unconfirmed, .. }: Ended) {
        let common = &self.queue.common;
        common.counters.chunks_resent.add(unconfirmed.len() as u64);
        common.count(&failure);
        let setback = common.dispatch().end(self.queue.id, &failure, unconfirmed, Instant::now());
        common.tell_of_losses();
        if let Some(setback) = setback {
            self.said_broken |=
                common.tell_of(&failure, &self.queue.peer, &self.settings, &setback);
        }
    }
}

/// What may be the reason when a receiver has never acknowledged anything.
fn advice_on_silence(failure: &Failure, peer: &str) -> String {
    match failure {
        Failure::NoAck { .. } => format!(
            "; {peer} reads and has never acknowledged anything: if it never does, write `Require_ack_response Off`"
        ),
        failure if failure.is_refusal() => format!(
            "; {peer} has never acknowledged anything: it may not speak the forward protocol, or not know `Compress`, or want TLS ('tls on')"
        ),
        _ => String::new(),
    }
}

/// How a failure that concerns no lane is told.
pub(super) fn setback(wait: Duration, waiting: usize, first: Option<ChunkId>) -> Setback {
    Setback { wait, waiting, first, elsewhere: false, is_silent: false }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::buffer::Delivery;
    use crate::forward::dispatch::NodeTraits;

    /// A queue with these chunks, of a lane to this address.
    pub(in crate::forward) fn queue_of(
        settings: &Settings,
        address: SocketAddr,
        chunks: Vec<Delivery>,
    ) -> Queue {
        let common = Common::new(Arc::new(settings.clone()), Arc::default(), Box::new(|| 0.5));
        let node = NodeTraits { number: 0, weight: 60, standby: false };
        let mut dispatch = common.dispatch();
        let id = dispatch.set_addresses(node, &[address]).remove(0);
        chunks.into_iter().for_each(|chunk| dispatch.arrive(chunk, Instant::now()));
        let (_, changed) = dispatch.address(id).unwrap();
        drop(dispatch);
        Queue { common, id, changed, peer: address.to_string() }
    }
}

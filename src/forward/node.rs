//! Knows the addresses of one node.
//!
//! In:  its name
//! Out: its addresses, told to [`Dispatch`](super::dispatch::Dispatch) whenever they are looked up
//!
//! A name is looked up on every connect, and every half minute while there is something to send:
//! each address is a node of its own, so that a Service without a head spreads its load, and a
//! new Pod behind it is found.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::connect::{Connector, UNIX_STAND_IN};
use super::dispatch::{LaneId, NodeTraits};
use super::lane::{Common, Refresh, setback};
use super::{Failure, Settings};

/// How often a name is looked up again while chunks come.
const LOOK_UP_EVERY: Duration = Duration::from_secs(30);

/// How long a connect waits for a look-up when an address is known.
const REFRESH_LIMIT: Duration = Duration::from_secs(2);

/// An answer of a resolver.
pub(super) type Answer<'a> =
    Pin<Box<dyn Future<Output = Result<Vec<SocketAddr>, Failure>> + Send + 'a>>;

/// Looks a name up. The system does; tests put their own in its place.
pub(super) type LookUp = Arc<dyn for<'a> Fn(&'a str, u16) -> Answer<'a> + Send + Sync>;

/// See the head of this file.
pub(super) struct Node {
    /// Its own settings.
    pub(super) settings: Arc<Settings>,
    /// Makes its connections.
    pub(super) connector: Arc<Connector>,
    traits: NodeTraits,
    /// How many nodes the output has.
    nodes: usize,
    common: Common,
    look_up: LookUp,
    /// Told of lanes that begin, with the node's number.
    begun: mpsc::Sender<(usize, LaneId)>,
}

impl Node {
    pub(super) fn new(
        settings: Arc<Settings>,
        connector: Arc<Connector>,
        traits: NodeTraits,
        nodes: usize,
        common: Common,
        look_up: LookUp,
        begun: mpsc::Sender<(usize, LaneId)>,
    ) -> Self {
        Self { settings, connector, traits, nodes, common, look_up, begun }
    }

    /// Looks the name up at once and then now and then. Runs until it is dropped.
    pub(super) async fn keep_resolved(self: Arc<Self>) {
        let mut tries = 0;
        loop {
            let resolved = self.resolve().await;
            if tries == 0 {
                self.common.dispatch().reported(self.nodes);
            }
            let Err(failure) = resolved else {
                break;
            };
            let wait = self.set_back(&failure, tries);
            tries += 1;
            sleep(wait).await;
        }
        if self.is_literal() {
            return;
        }
        let mut seen = self.common.dispatch().arrivals();
        loop {
            sleep(LOOK_UP_EVERY).await;
            let arrivals = self.common.dispatch().arrivals();
            if std::mem::replace(&mut seen, arrivals) != arrivals {
                // Known addresses stay as they are; a connect tells what is wrong with them.
                self.resolve().await.ok();
            }
        }
    }

    /// No address is known. How long to wait before the next try.
    fn set_back(&self, failure: &Failure, tries: u32) -> Duration {
        self.common.count(failure);
        let mut dispatch = self.common.dispatch();
        let (waiting, first) = dispatch.fail_strays(Instant::now());
        let wait = self.settings.backoff.wait(tries, dispatch.throw_dice());
        drop(dispatch);
        self.common.tell_of_losses();
        let setback = setback(wait, waiting, first);
        self.common.tell_of(failure, &self.settings.host, &self.settings, &setback);
        wait
    }

    /// There is nothing to look up.
    fn is_literal(&self) -> bool {
        self.settings.unix_path.is_some() || self.settings.host.parse::<IpAddr>().is_ok()
    }

    async fn resolve(&self) -> Result<(), Failure> {
        let Settings { host, port, unix_path, .. } = &*self.settings;
        let addresses = match unix_path {
            Some(_) => vec![UNIX_STAND_IN],
            None => (self.look_up)(host, *port).await?,
        };
        let begun = self.common.dispatch().set_addresses(self.traits, &addresses);
        for lane in begun {
            // Nobody takes them any more when the output ends.
            self.begun.send((self.traits.number, lane)).await.ok();
        }
        Ok(())
    }
}

impl Refresh for Node {
    fn refresh(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            if !self.is_literal() {
                // An address is known: it is tried even if nobody can say whether it still holds.
                timeout(REFRESH_LIMIT, self.resolve()).await.ok();
            }
        })
    }
}

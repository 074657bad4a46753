//! Keeps one output going: connects, sends, and tries again.
//!
//! In:  the inlet
//! Out: nothing but confirmed chunks; what fails goes again, same bytes, same id, same order

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::time::sleep;
use tracing::{error, info, warn};

use super::connect::Connector;
use super::connection::Connection;
use super::pending::Pending;
use super::{Failure, Inlet, Settings};
use crate::model::{Counters, Mentions};

/// What is mentioned besides failures.
const CONNECTED: &str = "connected";

/// See the head of this file.
pub struct Upstream {
    settings: Settings,
    connector: Connector,
    inlet: Inlet,
    counters: Arc<Counters>,
    /// Gives numbers in `0.0..1.0`.
    dice: Box<dyn FnMut() -> f64 + Send>,
    waiting: VecDeque<Pending>,
    /// By what went wrong, and whether a chunk was in the way of it.
    mentions: Mentions<(String, bool)>,
    /// Failures since a chunk was last confirmed.
    tries: u32,
    said_broken: bool,
}

impl Upstream {
    /// An output that takes from `inlet`.
    pub fn new(
        settings: Settings,
        connector: Connector,
        inlet: Inlet,
        counters: Arc<Counters>,
        dice: Box<dyn FnMut() -> f64 + Send>,
    ) -> Self {
        Self {
            settings,
            connector,
            inlet,
            counters,
            dice,
            waiting: VecDeque::new(),
            mentions: Mentions::default(),
            tries: 0,
            said_broken: false,
        }
    }

    /// Runs until it is dropped. Connects at once, so that a wrong address is heard of early.
    pub async fn run(mut self) {
        loop {
            let failure = self.connect_and_send().await;
            self.take_stock(failure).await;
        }
    }

    async fn connect_and_send(&mut self) -> Failure {
        let link = match self.connector.open().await {
            Ok(link) => link,
            Err(failure) => {
                self.fail_first();
                return failure;
            }
        };
        // Said again when a failure was said; a receiver may close the connection after each frame.
        if self.said_broken
            || self.mentions.due((CONNECTED.to_owned(), false), Instant::now()).is_some()
        {
            info!(host = %self.settings.host, port = self.settings.port, "[output:forward:{}] connected", self.settings.name);
            self.said_broken = false;
        }
        let connection = Connection::new(link, &self.settings);
        let mut ended = connection.run(&mut self.waiting, &self.inlet).await;
        if ended.confirmed > 0 {
            self.tries = 0;
        }
        let now = Instant::now();
        self.counters.chunks_resent.add(ended.unconfirmed.len() as u64);
        for pending in &mut ended.unconfirmed {
            pending.fail(now);
        }
        ended.unconfirmed.append(&mut self.waiting);
        self.waiting = ended.unconfirmed;
        ended.failure
    }

    /// Only the first chunk was tried; those behind it merely waited.
    fn fail_first(&mut self) {
        if self.waiting.is_empty() {
            self.waiting.extend(self.inlet.take().map(Pending::new));
        }
        if let Some(first) = self.waiting.front_mut() {
            first.fail(Instant::now());
        }
    }

    /// Says what went wrong, gives up what is beyond `Retry_Limit`, and waits.
    async fn take_stock(&mut self, failure: Failure) {
        if self.waiting.is_empty() && matches!(failure, Failure::Closed | Failure::Served) {
            // A receiver may close what is idle. The next connection waits for the next chunk.
            self.wait_for_chunk().await;
            return;
        }
        if failure.is_none() {
            return;
        }
        self.give_up();
        let wait = self.settings.backoff.wait(self.tries, (self.dice)());
        self.tries = self.tries.saturating_add(1);
        let name = &self.settings.name;
        let thing = (failure.to_string(), !self.waiting.is_empty());
        if let Some(times) = self.mentions.due(thing, Instant::now()) {
            self.said_broken = true;
            let waiting = self.waiting.len();
            let first = self.waiting.front().map(|pending| pending.id.to_string());
            match first {
                Some(id) => warn!(
                    host = %self.settings.host, port = self.settings.port, times, waiting,
                    "[output:forward:{name}] failed to flush chunk '{id}', retry in {:.1} seconds: {failure}",
                    wait.as_secs_f64()
                ),
                None => warn!(
                    host = %self.settings.host, port = self.settings.port, times,
                    "[output:forward:{name}] no connection, retry in {:.1} seconds: {failure}",
                    wait.as_secs_f64()
                ),
            }
        }
        sleep(wait).await;
    }

    async fn wait_for_chunk(&mut self) {
        while self.waiting.is_empty() {
            match self.inlet.take() {
                Some(delivery) => self.waiting.push_back(Pending::new(delivery)),
                None => self.inlet.arrived().await,
            }
        }
    }

    fn give_up(&mut self) {
        let now = Instant::now();
        let waiting = std::mem::take(&mut self.waiting);
        for pending in waiting {
            if !pending.is_beyond(&self.settings, now) {
                self.waiting.push_back(pending);
                continue;
            }
            error!(
                events = pending.chunk().events,
                tries = pending.failures(),
                "[output:forward:{}] chunk '{}' cannot be retried: Retry_Limit is reached",
                self.settings.name,
                pending.id
            );
            pending.lost();
        }
    }
}

//! Where one lane stands: what waits for it, what is in flight on it, whether it may be tried.
//!
//! In:  chunks; what happened
//! Out: which chunk goes next

use std::collections::{HashMap, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::{Home, LaneId, NodeTraits};
use crate::forward::breaker::Breaker;
use crate::forward::pending::Pending;
use crate::model::Tag;

/// The most bytes that are unacknowledged on the wire, unless one frame alone is larger.
const WINDOW: usize = 4_000_000;
/// The most frames that are: each is remembered until it is acknowledged, however small it is.
const FRAMES: usize = 1000;

/// See the head of this file.
pub(super) struct Lane {
    pub(super) node: usize,
    pub(super) address: SocketAddr,
    pub(super) weight: u32,
    pub(super) standby: bool,
    pub(super) breaker: Breaker,
    /// It connects once although there is nothing to send.
    pub(super) is_to_greet: bool,
    pub(super) is_connected: bool,
    /// Frames acknowledged on this connection.
    pub(super) confirmed: u64,
    /// In order of place.
    pub(super) queue: VecDeque<Pending>,
    pub(super) queued_bytes: usize,
    pub(super) frames_in_flight: usize,
    pub(super) bytes_in_flight: usize,
    /// The frame in flight is a suspect: nothing goes beside it.
    pub(super) is_alone: bool,
    pub(super) one_frame_until: Option<Instant>,
    pub(super) leaving: Option<Leaving>,
    /// Its address is no longer one of the node's.
    pub(super) is_gone: bool,
    /// It has never acknowledged anything.
    pub(super) is_silent: bool,
    pub(super) changed: Arc<Notify>,
}

/// Why a connection takes no more frames and ends when the last was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaving {
    /// It is old: its tags choose again.
    Drained,
    /// A suspect wants a fresh one.
    Renewed,
}

impl Lane {
    /// A lane on which nothing has happened yet.
    pub(super) fn new(node: NodeTraits, address: SocketAddr) -> Self {
        Self {
            node: node.number,
            address,
            weight: node.weight,
            standby: node.standby,
            breaker: Breaker::default(),
            is_to_greet: false,
            is_connected: false,
            confirmed: 0,
            queue: VecDeque::new(),
            queued_bytes: 0,
            frames_in_flight: 0,
            bytes_in_flight: 0,
            is_alone: false,
            one_frame_until: None,
            leaving: None,
            is_gone: false,
            is_silent: true,
            changed: Arc::default(),
        }
    }

    fn held(&self) -> usize {
        self.queued_bytes + self.bytes_in_flight
    }

    /// Its address is gone, and its chunks have gone elsewhere.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone && self.queue.is_empty()
    }

    /// It has more to do than fits its window.
    pub(super) fn is_full(&self) -> bool {
        self.held() > WINDOW
    }

    /// A tag that moves here will not have to move again soon.
    pub(super) fn is_roomy(&self) -> bool {
        self.held() < WINDOW / 2
    }

    /// Whether a frame of so many bytes may go beside those in flight.
    pub(super) fn has_room(&self, length: usize, now: Instant) -> bool {
        let one_at_a_time =
            self.breaker.is_half_open() || self.one_frame_until.is_some_and(|until| now < until);
        let fits = self.bytes_in_flight + length <= WINDOW && self.frames_in_flight < FRAMES;
        self.frames_in_flight == 0 || (fits && !one_at_a_time && !self.is_alone)
    }

    /// Tags may choose it: nothing speaks against it, or its probe is connected and has nothing
    /// to send yet.
    pub(super) fn is_up(&self) -> bool {
        let is_idle_probe = self.breaker.is_half_open()
            && self.is_connected
            && self.queue.is_empty()
            && self.frames_in_flight == 0;
        !self.is_gone && (self.breaker.is_closed() || is_idle_probe)
    }

    /// Puts a chunk in its place. New ones belong to the end, those that come back to the front.
    pub(super) fn enqueue(&mut self, pending: Pending) {
        self.queued_bytes += pending.entries().len();
        let at = match self.queue.back() {
            Some(last) if last.place() > pending.place() => {
                self.queue.partition_point(|other| other.place() < pending.place())
            }
            _ => self.queue.len(),
        };
        self.queue.insert(at, pending);
        self.changed.notify_one();
    }

    pub(super) fn take_out(&mut self, tag: &Tag) -> Vec<Pending> {
        let (out, kept): (Vec<_>, Vec<_>) =
            mem::take(&mut self.queue).into_iter().partition(|pending| pending.tag() == tag);
        self.queue = kept.into();
        self.queued_bytes -= out.iter().map(|pending| pending.entries().len()).sum::<usize>();
        out
    }

    /// Which chunk goes next, and whether it is a suspect: the oldest whose tag has nothing in
    /// flight elsewhere. A suspect comes when something was acknowledged since it was refused, or
    /// when there is nothing else.
    pub(super) fn next(
        &self,
        id: LaneId,
        homes: &HashMap<Tag, Home>,
        acks: u64,
    ) -> Option<(usize, bool)> {
        let mut held_back: Vec<&Tag> = Vec::new();
        let (mut suspect, mut witness) = (None, None);
        for (at, pending) in self.queue.iter().enumerate() {
            if held_back.contains(&pending.tag()) {
                let first = suspect.map(|first: usize| &self.queue[first]);
                let is_witness = first.is_some_and(|first| {
                    first.tag() == pending.tag() && first.wants_as_witness(pending, acks)
                });
                if witness.is_none() && is_witness {
                    witness = Some(at);
                }
                continue;
            }
            let home = homes.get(pending.tag());
            if home.is_some_and(|home| home.in_flight > 0 && home.flying_on != id) {
                held_back.push(pending.tag());
            } else if !pending.is_suspect() {
                return Some((at, false));
            } else if pending.may_try_again(acks) {
                return Some((at, true));
            } else {
                suspect.get_or_insert(at);
                held_back.push(pending.tag());
            }
        }
        witness.or(suspect).map(|at| (at, true))
    }
}

//! Decides which chunk goes where, and when.
//!
//! In:  deliveries; what became of each connection; the time, and dice
//! Out: for each lane, whether to connect and what to send
//!
//! A lane is one connection to one address, or the wish for one. A tag keeps to one lane, chosen
//! by weight, and moves only when that lane fails, is drained, or holds more than its window. The
//! order of a tag is kept over every move: its next chunk leaves on the new lane when all that is
//! in flight on the old one was acknowledged or taken back. One exception, see
//! [`Pending::wants_as_witness`].
//!
//! Nothing here waits or knows a socket.

mod lane;

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use self::lane::{Lane, Leaving};
use super::balance::{self, Candidate};
use super::pending::{Pending, Verdict};
use super::settings::IpVersion;
use super::{Failure, Settings, TagTemplate};
use crate::buffer::{Delivery, LossReason};
use crate::model::Tag;
use crate::protocol::frame::ChunkId;

/// How long a tag that was moved because its lane was full stays where it is at least: each move
/// waits for what is in flight.
const REST: Duration = Duration::from_secs(10);
/// How long frames go one at a time after one was not acknowledged on an open connection: a
/// Fluentd with `chunk_size_limit` charges the first frame of a burst for all of it, and drops it.
const ONE_FRAME_FOR: Duration = Duration::from_secs(3600);
/// The longest wait before the next probe of a lane nobody waits for, in ordinary waits.
const UNHURRIED: u32 = 6;
/// Tags with nothing on the way that are remembered with their lane.
const REMEMBERED_TAGS: usize = 10_000;

/// See the head of this file.
pub(super) struct Dispatch {
    settings: Arc<Settings>,
    lanes: BTreeMap<LaneId, Lane>,
    homes: HashMap<Tag, Home>,
    /// Chunks that came before any lane was known.
    strays: VecDeque<Pending>,
    /// Nodes that have looked their addresses up.
    reported: usize,
    next_lane: u32,
    next_number: u64,
    /// Acknowledgements so far, of anything on any lane.
    acks: u64,
    /// The lane that connected before there was anything to send, so that a wrong address is heard
    /// of early. The first tag takes it.
    first: Option<LaneId>,
    /// How many tags are remembered before idle ones are forgotten.
    forget_at: usize,
    lost: Vec<(Pending, LossReason)>,
    halved: Vec<(ChunkId, u32)>,
    /// Gives numbers in `0.0..1.0`.
    dice: Box<dyn FnMut() -> f64 + Send>,
}

/// A lane, by number. Numbers are not used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(u32);

/// Where the addresses of one node stand.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeTraits {
    /// Its number in the configuration.
    pub(super) number: usize,
    /// `Weight`.
    pub(super) weight: u32,
    /// `Standby`.
    pub(super) standby: bool,
}

/// Where a tag's chunks go.
struct Home {
    lane: LaneId,
    /// Chunks sent and not acknowledged, all on one lane.
    in_flight: usize,
    flying_on: LaneId,
    /// When it was last moved because a lane was full.
    moved: Option<Instant>,
}

/// What a lane is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Connect now.
    Connect,
    /// Come again then, or when told of a change.
    WaitUntil(Instant),
    /// Come again when told of a change.
    Wait,
    /// Its address is gone, and so is it.
    End,
}

/// How the end of a connection is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setback {
    /// How long the lane rests.
    pub(super) wait: Duration,
    /// Chunks that wait for this lane, or did.
    pub(super) waiting: usize,
    /// The first of them.
    pub(super) first: Option<ChunkId>,
    /// They go to other lanes.
    pub(super) elsewhere: bool,
    /// The lane has never acknowledged anything.
    pub(super) is_silent: bool,
}

impl Dispatch {
    pub(super) fn new(settings: Arc<Settings>, dice: Box<dyn FnMut() -> f64 + Send>) -> Self {
        Self {
            settings,
            lanes: BTreeMap::new(),
            homes: HashMap::new(),
            strays: VecDeque::new(),
            reported: 0,
            next_lane: 0,
            next_number: 0,
            acks: 0,
            first: None,
            forget_at: REMEMBERED_TAGS,
            lost: Vec::new(),
            halved: Vec::new(),
            dice,
        }
    }

    // === Addresses

    /// The addresses a node has now, in the resolver's order. New lanes are returned, to be
    /// started; those of addresses that are no longer there are emptied.
    pub(super) fn set_addresses(
        &mut self,
        node: NodeTraits,
        addresses: &[SocketAddr],
    ) -> Vec<LaneId> {
        let first = addresses.first().map(|address| IpVersion::of(address.ip()));
        let wished = self.settings.preferred.filter(|wished| {
            addresses.iter().any(|address| IpVersion::of(address.ip()) == *wished)
        });
        let family = wished.or(first);
        let mut begun = Vec::new();
        for &address in addresses {
            let standby = node.standby || Some(IpVersion::of(address.ip())) != family;
            let known =
                self.lanes.values_mut().filter(|l| l.node == node.number && l.address == address);
            let mut is_known = false;
            for lane in known {
                (lane.is_gone, lane.standby, is_known) = (false, standby, true);
            }
            if !is_known {
                let traits = NodeTraits { standby, ..node };
                begun.extend((0..self.settings.workers).map(|_| self.add_lane(traits, address)));
            }
        }
        let gone = |lane: &Lane| lane.node == node.number && !addresses.contains(&lane.address);
        let gone: Vec<_> = self.lanes.iter().filter(|(_, l)| gone(l)).map(|(id, _)| *id).collect();
        for id in gone {
            if let Some(lane) = self.lanes.get_mut(&id) {
                lane.is_gone = true;
                lane.leaving = Some(Leaving::Drained);
                lane.changed.notify_one();
            }
            self.move_tags_of(id);
        }
        self.place_strays();
        begun
    }

    fn add_lane(&mut self, node: NodeTraits, address: SocketAddr) -> LaneId {
        let id = LaneId(self.next_lane);
        self.next_lane += 1;
        self.lanes.insert(id, Lane::new(node, address));
        id
    }

    /// A node has looked its addresses up for the first time, and found some or none. The last to
    /// do so has the lane chosen that connects although there is nothing to send yet.
    pub(super) fn reported(&mut self, nodes: usize) {
        self.reported += 1;
        if self.reported == nodes && self.next_number == 0 {
            self.first = self.choose_any(None);
            if let Some(lane) = self.first.and_then(|id| self.lanes.get_mut(&id)) {
                lane.is_to_greet = true;
                lane.changed.notify_one();
            }
        }
    }

    /// The address of a lane, and what tells of changes.
    pub(super) fn address(&self, id: LaneId) -> Option<(SocketAddr, Arc<Notify>)> {
        let lane = self.lanes.get(&id)?;
        Some((lane.address, Arc::clone(&lane.changed)))
    }

    /// A number in `0.0..1.0`.
    pub(super) fn throw_dice(&mut self) -> f64 {
        (self.dice)()
    }

    /// Whether tags could go elsewhere than to `id`.
    fn has_choice(&self, id: LaneId) -> bool {
        self.choosable(Some(id)).iter().any(|other| other.is_up && other.weight > 0)
    }

    /// Chunks that came so far.
    pub(super) fn arrivals(&self) -> u64 {
        self.next_number
    }

    // === Chunks that come

    /// Takes a delivery in.
    pub(super) fn arrive(&mut self, delivery: Delivery, now: Instant) {
        let pending = Pending::new(delivery, self.next_number, self.settings.compress);
        self.next_number += 1;
        let Some(id) = self.home_of(pending.tag(), now) else {
            self.strays.push_back(pending);
            return;
        };
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.enqueue(pending);
        }
    }

    /// The lane of a tag, chosen if it has none yet, and chosen anew if it is full.
    fn home_of(&mut self, tag: &Tag, now: Instant) -> Option<LaneId> {
        let Some(home) = self.homes.get(tag) else {
            let first = self.first.filter(|id| self.lanes.get(id).is_some_and(Lane::is_up));
            self.first = None;
            let lane = first.or_else(|| self.choose_any(None))?;
            self.forget_idle_tags();
            let home = Home { lane, in_flight: 0, flying_on: lane, moved: None };
            self.homes.insert(tag.clone(), home);
            return Some(lane);
        };
        let id = home.lane;
        let is_full = self.lanes.get(&id).is_some_and(Lane::is_full);
        let is_rested = home.moved.is_none_or(|moved| now.duration_since(moved) >= REST);
        if !is_full || !is_rested || self.lanes.len() == 1 {
            return Some(id);
        }
        let roomy =
            |c: &Candidate<LaneId>| self.lanes.get(&c.id).is_some_and(|lane| lane.is_roomy());
        let others: Vec<_> = self.choosable(Some(id)).into_iter().filter(roomy).collect();
        let dice = self.throw_dice();
        let Some(other) = balance::choose(&others, dice) else {
            return Some(id);
        };
        if let Some(home) = self.homes.get_mut(tag) {
            home.moved = Some(now);
        }
        self.move_tag(tag, other);
        Some(other)
    }

    fn forget_idle_tags(&mut self) {
        if self.homes.len() < self.forget_at {
            return;
        }
        let waiting: HashSet<&Tag> =
            self.lanes.values().flat_map(|lane| &lane.queue).map(Pending::tag).collect();
        self.homes.retain(|tag, home| home.in_flight > 0 || waiting.contains(tag));
        self.forget_at = REMEMBERED_TAGS.max(self.homes.len() * 2);
    }

    fn choosable(&self, but: Option<LaneId>) -> Vec<Candidate<LaneId>> {
        let candidate = |(id, lane): (&LaneId, &Lane)| Candidate {
            id: *id,
            weight: lane.weight,
            standby: lane.standby,
            is_up: lane.is_up() && but != Some(*id),
            is_full: lane.is_full(),
        };
        self.lanes.iter().filter(|(_, lane)| !lane.is_gone).map(candidate).collect()
    }

    /// A lane that is up.
    fn choose_up(&mut self, but: Option<LaneId>) -> Option<LaneId> {
        let dice = self.throw_dice();
        balance::choose(&self.choosable(but), dice)
    }

    /// A lane that is up; if none is, any that has weight.
    fn choose_any(&mut self, but: Option<LaneId>) -> Option<LaneId> {
        self.choose_up(but).or_else(|| {
            let up = |c: Candidate<LaneId>| Candidate { is_up: but != Some(c.id), ..c };
            let all: Vec<_> = self.choosable(but).into_iter().map(up).collect();
            let dice = self.throw_dice();
            balance::choose(&all, dice)
        })
    }

    fn place_strays(&mut self) {
        let now = Instant::now();
        for pending in mem::take(&mut self.strays) {
            match self.home_of(pending.tag(), now).and_then(|id| self.lanes.get_mut(&id)) {
                Some(lane) => lane.enqueue(pending),
                None => self.strays.push_back(pending),
            }
        }
    }

    // === Moving tags

    /// Has the chunks of a tag that wait go to another lane. What is in flight ends where it is.
    fn move_tag(&mut self, tag: &Tag, to: LaneId) {
        let Some(home) = self.homes.get_mut(tag) else {
            return;
        };
        let from = mem::replace(&mut home.lane, to);
        if from == to {
            return;
        }
        let moved = self.lanes.get_mut(&from).map(|lane| lane.take_out(tag)).unwrap_or_default();
        if let Some(lane) = self.lanes.get_mut(&to) {
            moved.into_iter().for_each(|pending| lane.enqueue(pending));
        }
    }

    /// Has every tag of a lane choose again. Those for which there is no other stay.
    fn move_tags_of(&mut self, id: LaneId) {
        let is_gone = self.lanes.get(&id).is_some_and(|lane| lane.is_gone);
        if !is_gone && !self.has_choice(id) {
            return;
        }
        for tag in self.tags_of(id) {
            let to = if is_gone { self.choose_any(Some(id)) } else { self.choose_up(Some(id)) };
            if let Some(to) = to {
                self.move_tag(&tag, to);
            }
        }
    }

    /// The tags of a lane; those whose chunks have waited longest come first.
    fn tags_of(&self, id: LaneId) -> Vec<Tag> {
        let Some(lane) = self.lanes.get(&id) else {
            return Vec::new();
        };
        let here = self.homes.iter().filter(|(_, home)| home.lane == id).map(|(tag, _)| tag);
        let mut seen = HashSet::new();
        let all = lane.queue.iter().map(Pending::tag).chain(here);
        all.filter(|tag| seen.insert(*tag)).cloned().collect()
    }

    /// Something came up again: takes over tags from lanes that are not in service. All of them,
    /// or (a probe) the one whose chunk has waited longest.
    fn take_over(&mut self, all: bool) {
        let candidates = self.choosable(None);
        let serving: Vec<_> = balance::in_service(&candidates).iter().map(|c| c.id).collect();
        let stranded = |(id, lane): (&LaneId, &Lane)| {
            (!serving.contains(id)).then(|| (lane.queue.front().map(Pending::place), *id))
        };
        let mut stranded: Vec<_> = self.lanes.iter().filter_map(stranded).collect();
        // Lanes without a chunk come last.
        stranded.sort_by_key(|(place, _)| (place.is_none(), *place));
        for (_, id) in stranded {
            for tag in self.tags_of(id) {
                let Some(to) = self.choose_up(Some(id)) else {
                    return;
                };
                self.move_tag(&tag, to);
                if !all {
                    return;
                }
            }
        }
    }

    // === What a lane does

    /// What a lane that is not connected is to do.
    pub(super) fn step(&mut self, id: LaneId, now: Instant) -> Step {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return Step::End;
        };
        if lane.is_over() {
            self.lanes.remove(&id);
            return Step::End;
        }
        // A lane that failed is tried again although nothing waits for it: so it is known to be
        // up when it is needed.
        let is_wanted = !lane.queue.is_empty() || lane.is_to_greet || !lane.breaker.is_closed();
        if !is_wanted || lane.weight == 0 {
            return Step::Wait;
        }
        match lane.breaker.begin(now) {
            Ok(()) => {
                lane.is_to_greet = false;
                Step::Connect
            }
            Err(due) => Step::WaitUntil(due),
        }
    }

    /// The address of a lane is gone, and its chunks have gone elsewhere.
    pub(super) fn is_over(&self, id: LaneId) -> bool {
        self.lanes.get(&id).is_none_or(Lane::is_over)
    }

    /// A lane is connected.
    pub(super) fn connected(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        (lane.is_connected, lane.confirmed) = (true, 0);
        if !lane.is_over() {
            lane.leaving = None;
        }
        if !lane.breaker.is_closed() && lane.queue.is_empty() {
            self.take_over(false);
        }
    }

    /// The next chunk to send on a lane. `None`: nothing may go now. By a `template` that asks for
    /// records it is only so much of the chunk as goes under one tag: the rest keeps its place. So
    /// there are as many parts as are on the way, however many tags the events have.
    pub(super) fn take(
        &mut self,
        id: LaneId,
        template: Option<&TagTemplate>,
        now: Instant,
    ) -> Option<Pending> {
        self.drop_aged(id, now);
        let lane = self.lanes.get_mut(&id)?;
        if lane.leaving.is_some() {
            return None;
        }
        let (at, is_suspect) = lane.next(id, &self.homes, self.acks)?;
        if is_suspect && lane.confirmed > 0 {
            lane.leaving = Some(Leaving::Renewed);
            return None;
        }
        if let Some(others) = template.and_then(|template| lane.queue[at].keep_one_tag(template)) {
            lane.queue.insert(at + 1, others);
        }
        let length = lane.queue[at].entries().len();
        if !lane.has_room(length, now) || (is_suspect && lane.frames_in_flight > 0) {
            return None;
        }
        let pending = lane.queue.remove(at)?;
        lane.queued_bytes -= length;
        lane.bytes_in_flight += length;
        lane.frames_in_flight += 1;
        lane.is_alone = is_suspect;
        if let Some(home) = self.homes.get_mut(pending.tag()) {
            home.in_flight += 1;
            home.flying_on = id;
        }
        Some(pending)
    }

    /// A chunk was acknowledged on a lane.
    pub(super) fn confirm(&mut self, id: LaneId, pending: Pending) {
        self.acks += 1;
        self.land(&pending);
        let Some(lane) = self.lanes.get_mut(&id) else {
            return pending.acknowledged();
        };
        lane.confirmed += 1;
        lane.is_silent = false;
        lane.frames_in_flight -= 1;
        lane.bytes_in_flight -= pending.entries().len();
        lane.is_alone = false;
        let is_up_again = lane.breaker.close();
        pending.acknowledged();
        if is_up_again {
            self.take_over(true);
        }
    }

    /// A chunk is no longer in flight. When it was the last of its tag there, the tag may go on
    /// where it has moved to.
    fn land(&mut self, pending: &Pending) {
        let Some(home) = self.homes.get_mut(pending.tag()) else {
            return;
        };
        home.in_flight -= 1;
        if home.in_flight == 0
            && home.flying_on != home.lane
            && let Some(lane) = self.lanes.get(&home.lane)
        {
            lane.changed.notify_one();
        }
    }

    /// A connection is old enough: if its tags could go elsewhere (true), it takes no more frames
    /// and ends when it is empty.
    pub(super) fn drain(&mut self, id: LaneId) -> bool {
        let has_choice = self.has_choice(id);
        if let Some(lane) = self.lanes.get_mut(&id).filter(|_| has_choice) {
            lane.leaving = Some(Leaving::Drained);
            lane.changed.notify_one();
        }
        has_choice
    }

    /// Whether the connection is to end now: it takes no more frames, and none is in flight.
    pub(super) fn is_left(&self, id: LaneId) -> bool {
        self.lanes.get(&id).is_none_or(|lane| lane.leaving.is_some() && lane.frames_in_flight == 0)
    }

    /// A connection has ended, or could not be made. `None`: nothing is wrong.
    pub(super) fn end(
        &mut self,
        id: LaneId,
        failure: &Failure,
        mut unconfirmed: VecDeque<Pending>,
        now: Instant,
    ) -> Option<Setback> {
        unconfirmed.iter().for_each(|pending| self.land(pending));
        let lane = self.lanes.get_mut(&id)?;
        lane.is_connected = false;
        (lane.frames_in_flight, lane.bytes_in_flight, lane.is_alone) = (0, 0, false);
        let (leaving, confirmed) = (lane.leaving.take(), mem::take(&mut lane.confirmed));
        let is_quiet = match failure {
            Failure::Served => true,
            // A receiver may close what is idle, or after each frame.
            Failure::Closed => {
                let is_idle = lane.queue.is_empty() && lane.breaker.is_closed();
                unconfirmed.is_empty() && (confirmed > 0 || is_idle)
            }
            _ => false,
        };
        if is_quiet {
            if lane.breaker.is_half_open() {
                lane.breaker.close();
            }
            if leaving == Some(Leaving::Drained) {
                self.choose_again(id);
            }
            return None;
        }
        if matches!(failure, Failure::NoAck { .. }) {
            lane.one_frame_until = Some(now + ONE_FRAME_FOR);
        }
        let is_refusal = !unconfirmed.is_empty() && failure.is_refusal();
        let tried = unconfirmed.pop_front().or_else(|| {
            let head = lane.queue.pop_front()?;
            lane.queued_bytes -= head.entries().len();
            Some(head)
        });
        let first = tried.as_ref().map(|pending| pending.id);
        let mut back = tried.map_or_else(Vec::new, |tried| self.judge(tried, is_refusal, now));
        back.extend(unconfirmed);
        self.set_back(id, back, first, failure, now)
    }

    /// Counts the failure of the chunk that was tried, and decides what is left of it.
    fn judge(&mut self, mut tried: Pending, is_refusal: bool, now: Instant) -> Vec<Pending> {
        tried.fail(now);
        let verdict = if is_refusal { tried.refuse(self.acks) } else { Verdict::Again };
        if verdict == Verdict::Halve
            && let Some(halves) = tried.halve(self.acks)
        {
            self.halved.push((tried.id, tried.events()));
            tried.parted();
            return halves.into();
        }
        if verdict != Verdict::Again {
            self.lost.push((tried, LossReason::Refused));
        } else if tried.is_beyond(&self.settings, now) {
            self.lost.push((tried, LossReason::RetryLimit));
        } else {
            return vec![tried];
        }
        Vec::new()
    }

    fn set_back(
        &mut self,
        id: LaneId,
        back: Vec<Pending>,
        first: Option<ChunkId>,
        failure: &Failure,
        now: Instant,
    ) -> Option<Setback> {
        let has_choice = self.has_choice(id);
        let dice = self.throw_dice();
        let lane = self.lanes.get_mut(&id)?;
        let is_silent = lane.is_silent;
        let waiting = lane.queue.len() + back.len();
        let mut wait = self.settings.backoff.wait(lane.breaker.tries(), dice);
        if has_choice {
            // Others serve meanwhile. A node that keeps chunks waiting for long is not given
            // more of them soon.
            let waited = match failure {
                Failure::NoAck { limit } | Failure::Stalled { limit } => *limit,
                _ => Duration::ZERO,
            };
            wait = (wait * UNHURRIED).max(waited);
        }
        lane.breaker.open(now, wait);
        if !has_choice {
            self.hurry(now);
        }
        for pending in back {
            // Its tag may have moved away while it was in flight.
            let home = self.homes.get(pending.tag()).map_or(id, |home| home.lane);
            if let Some(lane) = self.lanes.get_mut(&home) {
                lane.enqueue(pending);
            }
        }
        self.drop_aged(id, now);
        self.move_tags_of(id);
        Some(Setback { wait, waiting, first, elsewhere: has_choice, is_silent })
    }

    /// Nothing is in service: those that rested because others were are needed now.
    fn hurry(&mut self, now: Instant) {
        for lane in self.lanes.values_mut() {
            if lane.breaker.hurry(now + self.settings.backoff.longest) {
                lane.changed.notify_one();
            }
        }
    }

    /// The tags of a lane that was drained choose among all, this one included.
    fn choose_again(&mut self, id: LaneId) {
        if self.lanes.get(&id).is_some_and(|lane| lane.is_gone) {
            return self.move_tags_of(id);
        }
        for tag in self.tags_of(id) {
            if let Some(to) = self.choose_up(None) {
                self.move_tag(&tag, to);
            }
        }
    }

    /// No address is known: the first chunk that waits for one has failed.
    pub(super) fn fail_strays(&mut self, now: Instant) -> (usize, Option<ChunkId>) {
        let waiting = self.strays.len();
        let first = self.strays.front().map(|pending| pending.id);
        if let Some(tried) = self.strays.pop_front() {
            for pending in self.judge(tried, false, now).into_iter().rev() {
                self.strays.push_front(pending);
            }
        }
        while let Some(old) = self.strays.pop_front_if(|p| p.is_too_old(&self.settings, now)) {
            self.lost.push((old, LossReason::MaxAge));
        }
        (waiting, first)
    }

    /// The oldest come first, or nearly so.
    fn drop_aged(&mut self, id: LaneId, now: Instant) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        while let Some(old) = lane.queue.pop_front_if(|p| p.is_too_old(&self.settings, now)) {
            lane.queued_bytes -= old.entries().len();
            self.lost.push((old, LossReason::MaxAge));
        }
    }

    /// What was given up since this was last asked, to be counted and told.
    pub(super) fn take_lost(&mut self) -> Vec<(Pending, LossReason)> {
        mem::take(&mut self.lost)
    }

    /// What was halved since this was last asked: its id, and how many events it had.
    pub(super) fn take_halved(&mut self) -> Vec<(ChunkId, u32)> {
        mem::take(&mut self.halved)
    }
}

#[cfg(test)]
mod tests;

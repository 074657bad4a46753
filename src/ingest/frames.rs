//! One `forward` input: the frames of its clients, from their arrival to their settlement.
//!
//! In:  frames that were read whole and found good; chunks that came home
//! Out: their events in open chunks; a word on each frame whose client waits for one
//!
//! A frame is a source like a file. It has one span, its bytes are the client's and not ours to
//! account for, and it is settled when no chunk has a share of it any more. One frame is taken at a
//! time, a slice a turn, so that files have theirs.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use tracing::error;

use super::encode::{BEFORE_RECORD, complete};
use super::input::{Route, Turn};
use super::shortage::Shortage;
use crate::buffer::{Fate, OpenChunks, Sealing, SlotId};
use crate::filter::Filter;
use crate::listen::{Admitted, Answer, Handover, Outcome, Received};
use crate::model::{Counters, FileId, Share, SpanId, Tag};
use crate::protocol::{EventReader, FrameError};
use crate::tail::Quiet;

/// The most bytes of events that are taken in a turn.
const SLICE: usize = 128 << 10;
/// The one span of a frame.
const SPAN: SpanId = SpanId { generation: 0, number: 0 };
/// How many tags are known at a time. Files have few; clients write what they like.
const TAGS: usize = 1024;

/// See the head of this file.
pub struct Frames {
    name: String,
    /// Its place among all inputs, which is part of the id of every frame.
    number: u16,
    handover: Handover,
    /// Its open chunks.
    pub chunks: OpenChunks,
    added_by_filters: usize,
    counters: Arc<Counters>,
    arrived: VecDeque<Received>,
    /// The frame whose turn it is.
    current: Option<Current>,
    /// Frames that are taken in whole or in part, by number.
    unsettled: HashMap<FileId, Unsettled>,
    next: u64,
    /// Open chunks with events that a client waits for.
    awaited: Vec<SlotId>,
    last_arrival: Option<Instant>,
    shortage: Shortage,
}

/// A frame whose events are being taken.
struct Current {
    id: FileId,
    tag: Tag,
    events: EventReader,
}

/// A frame with events in chunks.
struct Unsettled {
    /// Chunks that took an event of it and have not come home.
    shares: u32,
    /// All its events were taken.
    is_whole: bool,
    worst: Fate,
    count: u64,
    bytes: u64,
    answer: Option<Answer>,
    memory: Admitted,
}

impl Frames {
    /// `number` is its place among all inputs; `added_by_filters` the most bytes that all filters
    /// together add to a record.
    pub fn new(
        name: &str,
        number: u16,
        handover: Handover,
        chunks: OpenChunks,
        added_by_filters: usize,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            name: name.to_owned(),
            number,
            handover,
            chunks,
            added_by_filters,
            counters,
            arrived: VecDeque::new(),
            current: None,
            unsettled: HashMap::new(),
            next: 0,
            awaited: Vec::new(),
            last_arrival: None,
            shortage: Shortage::default(),
        }
    }

    /// Looks for frames that have arrived.
    pub fn look(&mut self, now: Instant) {
        let had = self.arrived.len();
        self.handover.empty_into(&mut self.arrived);
        if self.arrived.len() > had {
            self.last_arrival = Some(now);
        }
    }

    /// The tag of the frame whose turn it is. `None`: there is none.
    pub fn next_tag(&mut self) -> Option<Tag> {
        if self.current.is_none() {
            let received = self.arrived.pop_front()?;
            self.begin(received);
        }
        self.current.as_ref().map(|frame| frame.tag.clone())
    }

    fn begin(&mut self, received: Received) {
        let Received { tag, events, count, bytes, answer, memory } = received;
        let id = FileId(u64::from(self.number) << 48 | self.next);
        self.next += 1;
        let worst = Fate::Acknowledged;
        let frame = Unsettled { shares: 0, is_whole: false, worst, count, bytes, answer, memory };
        self.unsettled.insert(id, frame);
        self.current = Some(Current { id, tag, events });
    }

    /// Takes some events of the frame whose turn it is.
    pub fn take_slice(&mut self, route: &Route, filters: &mut [Filter]) -> Turn {
        let Some(mut frame) = self.current.take() else {
            return Turn::AtEnd;
        };
        match self.append(&mut frame, route, filters) {
            Turn::AtEnd => self.end(frame, route),
            turn => {
                self.current = Some(frame);
                return turn;
            }
        }
        if self.arrived.is_empty() { Turn::AtEnd } else { Turn::More }
    }

    fn append(&mut self, frame: &mut Current, route: &Route, filters: &mut [Filter]) -> Turn {
        match self.append_events(frame, route, filters) {
            Ok(turn) => turn,
            Err(error) => {
                // It was read to its end before, so only a fault of ours comes here.
                error!(tag = %frame.tag, %error, "a frame cannot be read again, please report it");
                if let Some(unsettled) = self.unsettled.get_mut(&frame.id) {
                    unsettled.worst = Fate::Lost;
                }
                Turn::AtEnd
            }
        }
    }

    fn append_events(
        &mut self,
        frame: &mut Current,
        route: &Route,
        filters: &mut [Filter],
    ) -> Result<Turn, FrameError> {
        let Some(unsettled) = self.unsettled.get_mut(&frame.id) else {
            return Ok(Turn::AtEnd);
        };
        let now = Instant::now();
        let mut allowance = self.chunks.budget().nothing();
        let mut slice = 0;
        while let Some(length) = frame.events.next_length()? {
            if slice >= SLICE {
                return Ok(Turn::More);
            }
            slice += length;
            if !route.has_output {
                self.counters.unmatched_events.add(frame.events.skip()?.is_some().into());
                continue;
            }
            let need = BEFORE_RECORD + length + self.added_by_filters;
            let Some(chunk) = self.chunks.room(route.slot, need, &mut allowance, now) else {
                return Ok(Turn::NoRoom);
            };
            let out = chunk.bytes_mut();
            let start = out.len();
            out.resize(start + BEFORE_RECORD, 0);
            let taken = frame.events.take(out);
            if !matches!(taken, Ok(Some(_))) {
                out.truncate(start);
            }
            let Some(time) = taken? else {
                continue;
            };
            let kept = complete(out, start, time, &route.filters, filters, &self.counters);
            if kept.is_some() && chunk.add(frame.id, SPAN, 0, 0) {
                unsettled.shares += 1;
            }
        }
        Ok(Turn::AtEnd)
    }

    /// All events of a frame were taken: its bytes are no longer needed.
    fn end(&mut self, frame: Current, route: &Route) {
        let id = frame.id;
        // Before another may take its room: freeing a large one takes as long as reading begins.
        drop(frame);
        let Some(unsettled) = self.unsettled.get_mut(&id) else {
            return;
        };
        unsettled.is_whole = true;
        unsettled.memory.give_back_bytes();
        if unsettled.answer.is_some() && unsettled.shares > 0 && !self.awaited.contains(&route.slot)
        {
            self.awaited.push(route.slot);
        }
        self.settle_if_done(id);
    }

    /// Nothing more is at hand: what clients wait for leaves now (sealing rule f).
    pub fn seal_awaited(&mut self) {
        for slot in self.awaited.drain(..) {
            self.chunks.seal_awaited(slot);
        }
    }

    /// A chunk with events of a frame has come home.
    pub fn settle(&mut self, share: &Share, fate: Fate) {
        if let Some(frame) = self.unsettled.get_mut(&share.file) {
            frame.shares = frame.shares.saturating_sub(1);
            frame.worst = frame.worst.max(fate);
            self.settle_if_done(share.file);
        }
    }

    fn settle_if_done(&mut self, id: FileId) {
        let is_done = |frame: &Unsettled| frame.is_whole && frame.shares == 0;
        if !self.unsettled.get(&id).is_some_and(is_done) {
            return;
        }
        let Some(frame) = self.unsettled.remove(&id) else {
            return;
        };
        self.counters.frames_delivered.add(u64::from(frame.worst == Fate::Acknowledged));
        if let Some(answer) = frame.answer {
            answer.give(match frame.worst {
                Fate::Acknowledged => Outcome::Delivered,
                Fate::Lost | Fate::Abandoned => Outcome::GivenUp,
            });
        }
    }

    /// Whether a frame waits for its turn.
    pub fn has_more(&self) -> bool {
        self.current.is_some() || !self.arrived.is_empty()
    }

    /// Whether the last turn ended for want of memory.
    pub fn is_short_of_memory(&self) -> bool {
        self.shortage.is_now()
    }

    /// Whether its clients write ever new tags. Then they, and all slots, are forgotten.
    pub fn forgets_tags(&mut self, now: Instant) -> bool {
        if self.chunks.tags() < TAGS {
            return false;
        }
        self.awaited.clear();
        self.chunks.forget_tags(now);
        true
    }

    /// Whether clients have nothing more to say in a stop: one that is connected may still be
    /// writing its last words.
    pub fn is_quiet(&self, now: Instant, quiet: &Quiet) -> bool {
        let wait = if self.handover.talking() == 0 { quiet.wait_if_closed } else { quiet.wait };
        let last = self.last_arrival.map_or(quiet.since, |last| last.max(quiet.since));
        !self.has_more() && now.duration_since(last) >= wait
    }

    /// Nothing more is read from clients. What they were not told is delivered they send again.
    pub fn end_intake(&self) {
        self.handover.end_intake();
    }

    /// Whether everything that was taken in has been appended, and nothing more can come.
    pub fn is_done(&self) -> bool {
        self.handover.talking() == 0 && !self.has_more()
    }

    /// There was no memory: all its chunks leave.
    pub fn note_short_of_memory(&mut self, now: Instant) {
        self.awaited.clear();
        self.chunks.seal_all(Sealing::MemoryShort, now);
        let meanwhile = "clients wait until they are";
        self.shortage.note(&self.name, self.chunks.budget(), meanwhile, now);
    }

    /// There was memory.
    pub fn note_room(&mut self) {
        self.shortage.end(&self.name, self.chunks.budget());
    }

    /// The bytes of frames that are not delivered, and whose they are.
    pub fn left(&self) -> [(String, u64); 2] {
        let waiting = self.arrived.iter().map(|frame| (frame.answer.is_some(), frame.bytes));
        let taken = self.unsettled.values().map(|frame| (frame.answer.is_some(), frame.bytes));
        let (mut kept, mut lost) = (0, 0);
        for (is_awaited, bytes) in waiting.chain(taken) {
            *(if is_awaited { &mut kept } else { &mut lost }) += bytes;
        }
        [
            (format!("{}, whose clients send them again", self.name), kept),
            (format!("{}, lost because their clients ask for no acknowledgement", self.name), lost),
        ]
    }

    /// The end: counts what is lost. Who waits for an acknowledgement gets none.
    pub fn finish(&mut self) {
        let waiting = self.arrived.drain(..).map(|frame| (frame.answer, frame.count));
        let taken = self.unsettled.drain().map(|(_, frame)| (frame.answer, frame.count));
        let lost = waiting.chain(taken).filter(|(answer, _)| answer.is_none());
        self.counters.lost_stop.add(lost.map(|(_, count)| count).sum());
    }
}

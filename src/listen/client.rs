//! One client of a `forward` input.
//!
//! In:  its frames
//! Out: the same to ingest, once they are known to be good; its acknowledgements
//!
//! ```text
//! incoming ─▶ check ─▶ new? ─▶ handover ─▶ ingest … upstream … ─▶ deliveries ─▶ outbox ─▶ client
//!                       └─ repeated: joins the one on its way, or is acknowledged at once
//! ```
//!
//! Reading goes on while acknowledgements are awaited; what bounds it is memory.

use std::cell::RefCell;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, split};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::deliveries::{Deliveries, FrameKey, Standing};
use super::door::Admitted;
use super::end::End;
use super::handover::{Answer, Handover, Received, Talking};
use super::incoming::{Incoming, Value};
use super::intake::Intake;
use super::outbox::Outbox;
use super::settings::TagRule;
use crate::model::Counters;
use crate::protocol::frame::{Body, Outline};
use crate::protocol::{Entries, Limits, ack};

/// How long a client that has closed its side is still sent acknowledgements. Most have gone
/// altogether, and nobody can see that.
const LINGER: Duration = Duration::from_secs(5);

/// What all clients of one input share.
pub(super) struct Desk {
    pub(super) limits: Limits,
    pub(super) room: usize,
    pub(super) tag: TagRule,
    pub(super) intake: Rc<Intake>,
    pub(super) deliveries: Rc<RefCell<Deliveries>>,
    pub(super) handover: Handover,
    pub(super) counters: Arc<Counters>,
}

/// Serves a client until it goes, sends something that is not taken, or the intake has ended and it
/// has all its acknowledgements.
pub(super) async fn serve(
    Admitted { stream, rest }: Admitted,
    talking: Talking,
    desk: &Desk,
) -> Result<(), End> {
    let outbox = Rc::new(Outbox::default());
    let _closes = Closes(&outbox);
    let (reader, mut writer) = split(stream);
    let mut incoming = Incoming::new(reader, desk.limits, desk.room, Some(Rc::clone(&desk.intake)))
        .beginning_with(rest);
    let mut writing = pin!(outbox.write_to(&mut writer));
    let patience = tokio::select! {
        // Losing is harmless: what was not read whole stays with the client.
        taken = desk.take_frames(&mut incoming, &outbox) => {
            taken?;
            LINGER
        }
        // It only returns when it fails: nobody has called `end` yet.
        written = &mut writing => return Err(written.err().map_or(End::GivenUp, End::Io)),
        // Losing is harmless: it stays ended.
        () = desk.handover.intake_ended() => Duration::MAX,
    };
    drop(talking);
    outbox.end();
    match timeout(patience, writing).await {
        Ok(written) => Ok(written?),
        // It has gone.
        Err(_) => Ok(()),
    }
}

/// Tells those who would put acknowledgements into it that nobody takes them any more.
struct Closes<'a>(&'a Outbox);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Desk {
    /// Takes frames until the client closes between two of them.
    async fn take_frames(
        &self,
        incoming: &mut Incoming<impl AsyncRead + Unpin>,
        outbox: &Rc<Outbox>,
    ) -> Result<(), End> {
        loop {
            outbox.has_room().await;
            let Some(value) = incoming.next().await? else {
                return Ok(());
            };
            self.take(value, outbox)?;
        }
    }

    fn take(&self, value: Value, outbox: &Rc<Outbox>) -> Result<(), End> {
        let Value { bytes, offset, memory } = value;
        let refused = |error| End::refused(offset, error);
        let length = bytes.len() as u64;
        let outline = Outline::read(&bytes, &self.limits).map_err(refused)?;
        let tag = self.tag.apply(outline.tag);
        let asks = outline.option.chunk.map(|id| {
            let mut answer = Vec::new();
            ack::encode(id, &mut answer);
            (FrameKey::of(outline.tag, id.bytes, body_of(&bytes, &outline.body)), answer)
        });
        if outline.body == Body::Ignored {
            self.counters.frames_ignored.add(1);
            tracing::debug!(tag = outline.tag, "left out a frame of metrics or traces");
        }
        let body = outline.body;
        let entries = Entries::of(bytes, body);
        let count = entries.check(self.limits.inflated).map_err(refused)?;
        let events = entries.read(self.limits.inflated);
        let answer = match asks {
            None => {
                self.counters.unconfirmed.add(count);
                None
            }
            Some((_, answer)) if count == 0 => {
                outbox.put(answer);
                None
            }
            Some((frame, answer)) => {
                match self.deliveries.borrow_mut().ask(frame, outbox, answer, Instant::now()) {
                    Standing::New => Some(self.watch(frame)),
                    Standing::Joined | Standing::Delivered => {
                        self.counters.frames_repeated.add(1);
                        return Ok(());
                    }
                }
            }
        };
        self.counters.frames.add(1);
        self.counters.frame_bytes.add(length);
        self.counters.frame_events.add(count);
        if count == 0 {
            self.counters.frames_delivered.add(1);
        } else {
            self.handover.offer(Received { tag, events, count, bytes: length, answer, memory });
        }
        Ok(())
    }

    /// Tells all who wait for a frame what becomes of it.
    fn watch(&self, frame: FrameKey) -> Answer {
        let (tell, told) = oneshot::channel();
        let deliveries = Rc::clone(&self.deliveries);
        spawn_local(async move {
            let outcome = told.await.ok();
            deliveries.borrow_mut().settle(frame, outcome, Instant::now());
        });
        Answer(tell)
    }
}

fn body_of<'a>(frame: &'a [u8], body: &Body) -> &'a [u8] {
    match body {
        Body::One(range) | Body::Entries(range, _) => &frame[range.clone()],
        Body::Ignored => &[],
    }
}

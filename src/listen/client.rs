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
use tracing::warn;

use super::deliveries::{Deliveries, FrameKey, Standing};
use super::door::Admitted;
use super::end::End;
use super::handover::{Answer, Handover, Received, Talking};
use super::incoming::{Incoming, Value};
use super::intake::Intake;
use super::outbox::Outbox;
use super::settings::Settings;
use crate::model::{Codec, Counters, Mentions};
use crate::protocol::entries::Contents;
use crate::protocol::frame::{Body, Outline};
use crate::protocol::{Entries, Limits, ack};

/// How long a client that has closed its side is still sent acknowledgements. Most have gone
/// altogether, and nobody can see that.
const LINGER: Duration = Duration::from_secs(5);

/// What may be inflated without the window that all share, in bytes: frames that wait for ingest
/// would keep it from others.
const LITTLE: usize = 128 << 10;

/// What all clients of one input share.
pub(super) struct Desk {
    pub(super) settings: Settings,
    pub(super) limits: Limits,
    pub(super) room: usize,
    pub(super) intake: Rc<Intake>,
    pub(super) deliveries: Rc<RefCell<Deliveries>>,
    pub(super) handover: Handover,
    pub(super) counters: Arc<Counters>,
    /// What was said of whom.
    pub(super) mentions: RefCell<Mentions<(String, String)>>,
}

/// Serves a client until it goes, sends something that is not taken, or the intake has ended and it
/// has all its acknowledgements.
pub(super) async fn serve(
    Admitted { stream, rest }: Admitted,
    peer: &str,
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
        taken = desk.take_frames(&mut incoming, peer, &outbox) => {
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
        peer: &str,
        outbox: &Rc<Outbox>,
    ) -> Result<(), End> {
        loop {
            outbox.has_room().await;
            let Some(value) = incoming.next().await? else {
                return Ok(());
            };
            self.take(value, peer, outbox).await?;
        }
    }

    async fn take(&self, value: Value, peer: &str, outbox: &Rc<Outbox>) -> Result<(), End> {
        let Value { bytes, offset, mut memory } = value;
        let refused = |error| End::refused(offset, error);
        let length = bytes.len() as u64;
        let outline = Outline::read(&bytes, &self.limits).map_err(refused)?;
        let tag = self.settings.tag.apply(outline.tag);
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
        let entries = Entries::of(bytes, body).inflated_with(self.intake.decoders());
        if entries.codec() == Some(Codec::Zstd) {
            self.intake.lend_window(&mut memory).await;
        }
        let (limit, on_bad_entry) = (self.limits.inflated, self.settings.on_bad_entry);
        let contents = entries.check(limit, on_bad_entry).map_err(refused)?;
        if contents.inflated <= LITTLE {
            memory.give_back_window();
        }
        self.note_skipped(&contents, offset, peer);
        let count = contents.events;
        let events = entries.read(limit, on_bad_entry, contents.largest);
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

    /// Says what was passed over, at most once a minute for each peer.
    fn note_skipped(&self, contents: &Contents, offset: u64, peer: &str) {
        let Some(first) = &contents.first_skipped else {
            return;
        };
        self.counters.entries_skipped.add(contents.skipped);
        let about = (peer.to_owned(), "skipped".to_owned());
        if let Some(times) = self.mentions.borrow_mut().due(about, Instant::now()) {
            let (name, skipped) = (&self.settings.name, contents.skipped);
            warn!(
                peer, offset, times, reason = %first,
                "[input:forward:{name}] left out {skipped} of a frame's entries (On_Bad_Entry skip)"
            );
        }
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

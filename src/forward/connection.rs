//! One connection, from the first frame to the failure that ends it.
//!
//! In:  the chunks its lane hands out, which knows the window
//! Out: frames on the wire; chunks whose acknowledgement came; at the end, those still unconfirmed
//!
//! Whatever is unexpected destroys the connection: an acknowledgement read late must never answer
//! another chunk. Only a second acknowledgement of a chunk that was confirmed on this connection
//! is let pass: ids are matched one by one, so it can answer nothing else, and what is on its way
//! would arrive twice.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::connect::Link;
use super::lane::Queue;
use super::pending::Pending;
use super::wire::Wire;
use super::{Failure, Settings, broken, vitals};
use crate::model::Tag;
use crate::protocol::ack::AckDecoder;
use crate::protocol::frame::{self, ChunkId, Tail};
use crate::protocol::seconds::with_whole_seconds;

/// How many confirmed chunks are remembered, for acknowledgements that come twice.
const REMEMBERED: usize = 64;
/// How long an acknowledgement is waited for that a later one has overtaken.
const OVERTAKEN_LIMIT: Duration = Duration::from_secs(2);
/// How long nothing may happen before a connection is closed and made again with the next chunk.
const IDLE_LIMIT: Duration = Duration::from_secs(3600);

/// See the head of this file.
pub(super) struct Connection<'a> {
    settings: &'a Settings,
    wire: Wire,
    acks: AckDecoder,
    outgoing: Option<Outgoing>,
    unconfirmed: VecDeque<Sent>,
    /// Confirmed a moment ago.
    recent: VecDeque<ChunkId>,
    /// How many more frames may be sent on it. `None`: any number.
    frames_left: Option<u64>,
    /// When it last had something to do.
    busy: Instant,
    /// When something last came back, was first waited for, or it was looked at why nothing does.
    heard: Instant,
    /// Entries in another form than the chunk has, while they are sent.
    reshaped: Vec<u8>,
}

/// A frame that is being written.
struct Outgoing {
    pending: Pending,
    head: Vec<u8>,
    tail: Vec<u8>,
    /// The entries are in [`Connection::reshaped`].
    is_reshaped: bool,
    written: usize,
    progress: Instant,
}

/// A frame that was written.
struct Sent {
    pending: Pending,
    since: Instant,
    overtaken: Option<Instant>,
}

/// How a connection ended.
pub(super) struct Ended {
    /// Why.
    pub(super) failure: Failure,
    /// What has to go again, in order.
    pub(super) unconfirmed: VecDeque<Pending>,
}

impl<'a> Connection<'a> {
    /// Takes over a connection that is ready for frames.
    pub(super) fn new(link: Link, settings: &'a Settings) -> Self {
        Self {
            settings,
            wire: link.wire,
            acks: AckDecoder::new(),
            outgoing: None,
            unconfirmed: VecDeque::new(),
            recent: VecDeque::new(),
            frames_left: if link.keepalive { settings.keepalive.frames } else { Some(1) },
            busy: Instant::now(),
            heard: Instant::now(),
            reshaped: Vec::new(),
        }
    }

    /// Sends what the queue hands out and takes acknowledgements, until something goes wrong or
    /// the queue wants the connection to end.
    pub(super) async fn run(mut self, queue: &Queue) -> Ended {
        let failure = loop {
            self.begin_frame(queue);
            if queue.is_left() || self.has_served() {
                break Failure::Served;
            }
            if let Err(failure) = self.step(queue).await {
                break failure;
            }
        };
        let mut unconfirmed: VecDeque<Pending> =
            self.unconfirmed.into_iter().map(|sent| sent.pending).collect();
        unconfirmed.extend(self.outgoing.map(|outgoing| outgoing.pending));
        Ended { failure, unconfirmed }
    }

    fn has_served(&self) -> bool {
        self.frames_left == Some(0) && self.is_idle()
    }

    fn is_idle(&self) -> bool {
        self.outgoing.is_none() && self.unconfirmed.is_empty()
    }

    fn may_begin(&self) -> bool {
        self.outgoing.is_none() && self.frames_left != Some(0)
    }

    /// Takes the next chunk, if one may go.
    fn begin_frame(&mut self, queue: &Queue) {
        if !self.may_begin() {
            return;
        }
        let Some(pending) = queue.take(self.settings.tag.as_ref()) else {
            return;
        };
        if self.is_idle() {
            self.heard = Instant::now();
        }
        self.outgoing = Some(self.frame(pending, queue));
        self.frames_left = self.frames_left.map(|frames| frames - 1);
        self.busy = Instant::now();
    }

    fn frame(&mut self, pending: Pending, queue: &Queue) -> Outgoing {
        let settings = self.settings;
        let (entries, codec) = (pending.entries(), pending.codec());
        let is_reshaped = settings.whole_seconds && codec.is_none();
        let mut length = entries.len();
        if is_reshaped {
            self.reshaped.clear();
            with_whole_seconds(entries, &mut self.reshaped).expect("the entries are our own");
            length = self.reshaped.len();
        }
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        let made = settings.tag.as_ref().map(|template| template.apply(pending.tag(), entries));
        if made.as_ref().is_some_and(Tag::is_empty) {
            queue.note_empty_tag();
        }
        frame::head(made.as_ref().unwrap_or_else(|| pending.tag()), length, &mut head);
        Tail {
            events: pending.events(),
            id: settings.require_ack.then_some(&pending.id),
            compressed: codec.map(|codec| codec.name()),
            added: &settings.added_options,
        }
        .encode(&mut tail);
        Outgoing { pending, head, tail, is_reshaped, written: 0, progress: Instant::now() }
    }

    async fn step(&mut self, queue: &Queue) -> Result<(), Failure> {
        let (deadline, missed) = self.next_deadline();
        let (may_begin, is_waiting) = (self.may_begin(), !self.is_idle());
        let review = self.heard + vitals::REVIEW_AFTER;
        tokio::select! {
            // Losing is harmless: what was written is counted, and what was read is with `acks`.
            progress = poll_fn(|cx| self.poll_progress(cx, queue)) => progress?,
            // Losing is harmless: chunks stay in the queue, and it is looked into each time.
            () = queue.changed(), if may_begin => {}
            // Losing is harmless: the deadline is worked out anew.
            () = sleep_until(deadline) => return Err(missed),
            // Losing is harmless: so is this one.
            () = sleep_until(review), if is_waiting => self.review(),
        }
        Ok(())
    }

    /// Nothing comes back: is the receiver there?
    fn review(&mut self) {
        self.heard = Instant::now();
        if let Some(stream) = self.wire.tcp() {
            vitals::review(stream);
        }
    }

    /// Writes and reads what can be.
    fn poll_progress(&mut self, cx: &mut Context<'_>, queue: &Queue) -> Poll<Result<(), Failure>> {
        let wrote = self.poll_write(cx, queue)?;
        let read = self.poll_read(cx, queue)?;
        if wrote.is_ready() || read.is_ready() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, queue: &Queue) -> Poll<Result<(), Failure>> {
        let Some(outgoing) = &mut self.outgoing else {
            return Poll::Pending;
        };
        if !ready!(outgoing.poll_write(cx, &mut self.wire, &self.reshaped)).map_err(broken)? {
            return Poll::Ready(Ok(()));
        }
        // A frame that TLS still holds back is not on its way.
        ready!(self.wire.poll_flush(cx)).map_err(broken)?;
        self.finish_frame(queue);
        Poll::Ready(Ok(()))
    }

    fn finish_frame(&mut self, queue: &Queue) {
        let Some(outgoing) = self.outgoing.take() else {
            return;
        };
        if self.settings.require_ack {
            let since = Instant::now();
            self.unconfirmed.push_back(Sent { pending: outgoing.pending, since, overtaken: None });
        } else {
            self.confirm(outgoing.pending, queue);
        }
    }

    fn confirm(&mut self, pending: Pending, queue: &Queue) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(pending.id);
        self.busy = Instant::now();
        queue.confirm(pending);
    }

    /// Reads all that is there.
    fn poll_read(&mut self, cx: &mut Context<'_>, queue: &Queue) -> Poll<Result<(), Failure>> {
        let mut bytes = [0; 4096];
        let mut has_read = false;
        loop {
            match self.wire.poll_read(cx, &mut bytes) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(Failure::Closed)),
                Poll::Ready(Ok(count)) => self.acks.feed(&bytes[..count]),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(broken(error))),
                Poll::Pending => {
                    return if has_read { Poll::Ready(Ok(())) } else { Poll::Pending };
                }
            }
            has_read = true;
            self.heard = Instant::now();
            self.wire.confirm_at_once();
            // Before the next read: what came before a close still counts.
            self.take_acks(queue)?;
        }
    }

    fn take_acks(&mut self, queue: &Queue) -> Result<(), Failure> {
        while let Some(id) = self.acks.next_id()? {
            let Some(at) = self.unconfirmed.iter().position(|sent| sent.pending.id.is(id)) else {
                if self.recent.iter().any(|recent| recent.is(id)) {
                    queue.note_twice();
                    continue;
                }
                return Err(Failure::ForeignAck { id: String::from_utf8_lossy(id).into_owned() });
            };
            for earlier in self.unconfirmed.range_mut(..at) {
                earlier.overtaken.get_or_insert_with(Instant::now);
            }
            if let Some(sent) = self.unconfirmed.remove(at) {
                self.confirm(sent.pending, queue);
            }
        }
        Ok(())
    }

    /// When patience ends, and what to say then.
    fn next_deadline(&self) -> (Instant, Failure) {
        let ack = |sent: &Sent| {
            let usual = sent.since + self.settings.ack_timeout;
            let overtaken = sent.overtaken.map(|since| since + OVERTAKEN_LIMIT);
            overtaken.map_or(usual, |overtaken| overtaken.min(usual))
        };
        let limit = self.settings.ack_timeout;
        // What overtakes a frame overtakes all before it, so none is due before the first.
        let acks = self.unconfirmed.front().map(|first| (ack(first), Failure::NoAck { limit }));
        let limit = self.settings.io_timeout;
        let write = self.outgoing.iter().map(|o| (o.progress + limit, Failure::Stalled { limit }));
        let idle_limit = self.settings.keepalive.idle_timeout.unwrap_or(IDLE_LIMIT);
        let idle = (self.busy + idle_limit, Failure::Served);
        acks.into_iter().chain(write).min_by_key(|(at, _)| *at).unwrap_or(idle)
    }
}

impl Outgoing {
    /// Writes some of it, as much as the socket takes. True: all of it is written.
    fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        wire: &mut Wire,
        reshaped: &[u8],
    ) -> Poll<io::Result<bool>> {
        let entries = match self.is_reshaped {
            true => reshaped,
            false => self.pending.entries(),
        };
        let parts = [&self.head[..], entries, &self.tail[..]];
        let total: usize = parts.iter().map(|part| part.len()).sum();
        if self.written == total {
            return Poll::Ready(Ok(true));
        }
        let mut skip = self.written;
        let rest = parts.map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            IoSlice::new(&part[skipped..])
        });
        self.written += match ready!(wire.poll_write(cx, &rest))? {
            0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
            count => count,
        };
        self.progress = Instant::now();
        Poll::Ready(Ok(self.written == total))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::{TcpListener, TcpSocket, TcpStream};

    use super::super::connect::Connector;
    use super::super::wire::Socket;
    use super::*;
    use crate::buffer::{Budget, Delivery, Home, OpenChunk};
    use crate::forward::lane::tests::queue_of;
    use crate::model::{FileId, SpanId, Tag};

    /// A chunk of one event of `size` bytes.
    fn delivery(number: u8, size: usize) -> Delivery {
        let memory = Budget::new(usize::MAX, Arc::new(|| ())).try_reserve(size);
        let mut open = OpenChunk::new(
            Vec::with_capacity(size),
            memory.expect("nothing else is taken"),
            std::time::Instant::now(),
        );
        open.bytes_mut().resize(size, 0xc0);
        open.add(FileId(1), SpanId { generation: 0, number: 0 }, 0, 1);
        let chunk = open.seal([number; 16], Tag::new("a"), size);
        let home = Home::new(Box::new(|| ()));
        Delivery::of(chunk, 1, &home).remove(0)
    }

    /// Runs one connection to a receiver that accepts and then does nothing.
    async fn run_against_silence(settings: &Settings, chunks: Vec<Delivery>) -> Ended {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        let (silent, _) = listener.accept().await.unwrap();
        let queue = queue_of(settings, address, chunks);
        let link = Link { wire: Wire::Plain(Socket::Tcp(stream)), keepalive: true };
        let ended = Connection::new(link, settings).run(&queue).await;
        drop(silent);
        ended
    }

    fn settings() -> Settings {
        Settings::new("forward.0", "127.0.0.1", 1)
    }

    /// The kernel would give up after 8 s, though the other side's answers every probe.
    #[tokio::test]
    async fn a_receiver_that_has_no_room_is_waited_for_as_long_as_the_limits_say() {
        let limit = Duration::from_secs(11);
        let settings = Settings { io_timeout: limit, ack_timeout: limit, ..settings() };
        let run = async |size| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let link = Connector::new(&settings, 1).unwrap().open(address).await.unwrap();
            let queue = queue_of(&settings, address, vec![delivery(1, size)]);
            let silent = listener.accept().await.unwrap();
            let ended = Connection::new(link, &settings).run(&queue).await;
            drop(silent);
            ended.failure
        };
        let (stalled, unread) = tokio::join!(run(30_000_000), run(30_000));
        assert!(matches!(stalled, Failure::Stalled { .. }), "{stalled}");
        assert!(matches!(unread, Failure::NoAck { .. }), "{unread}");
    }

    #[tokio::test]
    async fn a_receiver_that_takes_no_byte_is_left_after_the_io_timeout() {
        let io_timeout = Duration::from_millis(100);
        let settings = Settings { io_timeout, ..settings() };
        let ended = run_against_silence(&settings, vec![delivery(1, 30_000_000)]).await;
        assert!(matches!(ended.failure, Failure::Stalled { .. }), "{}", ended.failure);
    }

    #[tokio::test]
    async fn a_receiver_that_never_acknowledges_is_left_after_the_ack_timeout() {
        let ack_timeout = Duration::from_millis(100);
        let settings = Settings { ack_timeout, ..settings() };
        let chunks = vec![delivery(1, 10), delivery(2, 20)];
        let ended = run_against_silence(&settings, chunks).await;
        assert!(matches!(ended.failure, Failure::NoAck { .. }), "{}", ended.failure);
        let sizes: Vec<_> = ended.unconfirmed.iter().map(|p| p.entries().len()).collect();
        assert_eq!(sizes, [10, 20], "in the same order");
    }

    #[tokio::test]
    async fn no_more_than_the_window_is_on_the_wire() {
        let ack_timeout = Duration::from_millis(100);
        let settings = Settings { ack_timeout, ..settings() };
        let chunks = (0..50).map(|number| delivery(number, 100_000)).collect();
        let ended = run_against_silence(&settings, chunks).await;
        assert_eq!(ended.unconfirmed.len(), 40, "4 MB");
    }
}

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
use std::io::{self, IoSlice};
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::lane::Queue;
use super::pending::Pending;
use super::{Failure, Settings};
use crate::protocol::ack::AckDecoder;
use crate::protocol::frame::{self, ChunkId};

/// How many confirmed chunks are remembered, for acknowledgements that come twice.
const REMEMBERED: usize = 64;
/// How long an acknowledgement is waited for that a later one has overtaken.
const OVERTAKEN_LIMIT: Duration = Duration::from_secs(2);

/// See the head of this file.
pub(super) struct Connection<'a> {
    settings: &'a Settings,
    stream: TcpStream,
    acks: AckDecoder,
    outgoing: Option<Outgoing>,
    unconfirmed: VecDeque<Sent>,
    /// Confirmed a moment ago.
    recent: VecDeque<ChunkId>,
}

/// A frame that is being written.
struct Outgoing {
    pending: Pending,
    head: Vec<u8>,
    tail: Vec<u8>,
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
    /// Takes over a connected socket.
    pub(super) fn new(stream: TcpStream, settings: &'a Settings) -> Self {
        Self {
            settings,
            stream,
            acks: AckDecoder::new(),
            outgoing: None,
            unconfirmed: VecDeque::new(),
            recent: VecDeque::new(),
        }
    }

    /// Sends what the queue hands out and takes acknowledgements, until something goes wrong or
    /// the queue wants the connection to end.
    pub(super) async fn run(mut self, queue: &Queue) -> Ended {
        let failure = loop {
            self.begin_frame(queue);
            if queue.is_left() {
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

    /// Takes the next chunk, if one may go.
    fn begin_frame(&mut self, queue: &Queue) {
        if self.outgoing.is_some() {
            return;
        }
        let Some(pending) = queue.take() else {
            return;
        };
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        let id = self.settings.require_ack.then_some(&pending.id);
        frame::head(pending.tag(), pending.entries().len(), &mut head);
        frame::tail(pending.events(), id, &mut tail);
        self.outgoing =
            Some(Outgoing { pending, head, tail, written: 0, progress: Instant::now() });
    }

    async fn step(&mut self, queue: &Queue) -> Result<(), Failure> {
        let interest = match self.outgoing {
            Some(_) => Interest::READABLE | Interest::WRITABLE,
            None => Interest::READABLE,
        };
        let (deadline, missed) = self.next_deadline();
        tokio::select! {
            // Losing is harmless: readiness stays until it is used.
            ready = self.stream.ready(interest) => {
                let ready = ready?;
                if ready.is_writable() {
                    self.write(queue)?;
                }
                if ready.is_readable() {
                    self.read(queue)?;
                }
            }
            // Losing is harmless: chunks stay in the queue, and it is looked into each time.
            () = queue.changed(), if self.outgoing.is_none() => {}
            // Losing is harmless: the deadline is worked out anew.
            () = sleep_until(deadline) => return Err(missed),
        }
        Ok(())
    }

    fn write(&mut self, queue: &Queue) -> Result<(), Failure> {
        let Some(outgoing) = &mut self.outgoing else {
            return Ok(());
        };
        match outgoing.write(&self.stream) {
            Ok(false) => {}
            Ok(true) => self.finish_frame(queue),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
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
        queue.confirm(pending);
    }

    fn read(&mut self, queue: &Queue) -> Result<(), Failure> {
        let mut bytes = [0; 4096];
        confirm_at_once(&self.stream);
        loop {
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return Err(Failure::Closed),
                Ok(count) => self.acks.feed(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
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
        let acks = self.unconfirmed.iter().map(|s| (ack(s), Failure::NoAck { limit }));
        let limit = self.settings.io_timeout;
        let write = self.outgoing.iter().map(|o| (o.progress + limit, Failure::Stalled { limit }));
        let never = Instant::now() + Duration::from_secs(3600);
        acks.chain(write).min_by_key(|(at, _)| *at).unwrap_or((never, Failure::Served))
    }
}

/// Has our kernel confirm what came without waiting for something to send along. A receiver that
/// has not switched Nagle's algorithm off sends its next acknowledgement only then: with a small
/// `Mem_Buf_Limit` each of them would cost the 40 ms that kernels wait. Linux takes this back by
/// itself, so it is asked for at every read.
fn confirm_at_once(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_quickack(true) {
        tracing::debug!(%error, "cannot switch delayed confirmations off");
    }
}

impl Outgoing {
    /// Writes as much as the socket takes. True: that was all of it.
    fn write(&mut self, stream: &TcpStream) -> io::Result<bool> {
        let parts = [&self.head[..], self.pending.entries(), &self.tail[..]];
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let mut skip = self.written;
        let rest = parts.map(|part| {
            let skipped = skip.min(part.len());
            skip -= skipped;
            IoSlice::new(&part[skipped..])
        });
        self.written += stream.try_write_vectored(&rest)?;
        self.progress = Instant::now();
        Ok(self.written == total)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpListener;

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
        let ended = Connection::new(stream, settings).run(&queue).await;
        drop(silent);
        ended
    }

    fn settings() -> Settings {
        Settings::new("forward.0", "127.0.0.1", 1)
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

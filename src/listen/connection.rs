//! Serves one connection.
//!
//! In:  the bytes of one sender, in any pieces
//! Out: its frames to the sink, its acks to the socket
//!
//! The buffer grows with the bytes that came, never with a length that a frame only claims, and
//! is given back after a large frame.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::SinkClosed;
use crate::model::cursor::Scanner;
use crate::protocol::frame::{Place, Root};
use crate::protocol::{Frame, FrameError, Limits, ack};

/// The room for one read.
const READ_SIZE: usize = 64 << 10;

/// What a connection keeps between frames.
const KEPT: usize = 1 << 20;

/// One sender's connection.
pub(super) struct Connection<T> {
    stream: T,
    limits: Limits,
    /// What was read: from `start` on not yet handled.
    buffer: Vec<u8>,
    start: usize,
    /// Where `start` lies in all that the sender has sent.
    offset: u64,
    scanner: Scanner,
    answer: Vec<u8>,
}

/// Why a connection ended before its sender closed it.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The sender sent something that is not taken.
    #[error("{error}")]
    Refused {
        /// What is wrong.
        error: FrameError,
        /// Where in all that the sender has sent.
        offset: u64,
    },
    /// The sender went in the middle of a frame.
    #[error("the connection ended {pending} bytes into a frame")]
    CutOff {
        /// Bytes of the unfinished frame.
        pending: usize,
        /// Where in all that the sender has sent.
        offset: u64,
    },
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nobody takes events any more.
    #[error(transparent)]
    SinkClosed(#[from] SinkClosed),
}

impl End {
    /// One line for what somebody must look at. A reset is how Fluentd closes every
    /// connection, and a closed sink is known to whoever closed it.
    pub(super) fn log(&self, peer: SocketAddr) {
        match self {
            Self::Refused { offset, .. } | Self::CutOff { offset, .. } => {
                tracing::warn!(%peer, offset, reason = %self, "refused what a sender sent and closed its connection");
            }
            Self::Io(_) | Self::SinkClosed(_) => {
                tracing::debug!(%peer, reason = %self, "a connection ended");
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection<T> {
    pub(super) fn new(stream: T, limits: Limits) -> Self {
        Self {
            stream,
            limits,
            buffer: Vec::new(),
            start: 0,
            offset: 0,
            scanner: Scanner::new(),
            answer: Vec::new(),
        }
    }

    /// Serves until the sender closes the connection between two frames.
    pub(super) async fn serve<S>(mut self, sink: &S) -> Result<(), End>
    where
        S: AsyncFn(&Frame<'_>) -> Result<(), SinkClosed>,
    {
        loop {
            while let Some(length) = self.next_value()? {
                self.handle(length, sink).await?;
            }
            self.make_room();
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return self.end();
            }
        }
    }

    /// The length of the value that begins at `start`, when it is all there.
    fn next_value(&mut self) -> Result<Option<usize>, End> {
        let value = &self.buffer[self.start..];
        let Some(&first) = value.first() else {
            return Ok(None);
        };
        Root::of(first).map_err(|error| self.refused(error))?;
        let length = self.scanner.scan(value).map_err(|error| self.refused(error.into()))?;
        if self.scanner.least_length().max(length.unwrap_or(value.len())) > self.limits.frame {
            return Err(self.refused(FrameError::too_large(&self.limits)));
        }
        Ok(length)
    }

    async fn handle<S>(&mut self, length: usize, sink: &S) -> Result<(), End>
    where
        S: AsyncFn(&Frame<'_>) -> Result<(), SinkClosed>,
    {
        let value = &self.buffer[self.start..self.start + length];
        self.answer.clear();
        // Another value than nil is a frame: `next_value` has looked.
        if value != [0xc0] {
            let frame = Frame::decode(value, &self.limits).map_err(|error| self.refused(error))?;
            if frame.is_ignored() {
                tracing::debug!(tag = frame.tag, "left out a frame of metrics or traces");
            }
            sink(&frame).await?;
            if let Some(id) = frame.option.chunk {
                ack::encode(id, &mut self.answer);
            }
        }
        self.start += length;
        self.offset += length as u64;
        self.scanner = Scanner::new();
        if !self.answer.is_empty() {
            // One write: Fluentd and Fluent Bit fail on an ack that arrives in two pieces.
            self.stream.write_all(&self.answer).await?;
        }
        Ok(())
    }

    /// Moves an unfinished value to the front, at most once a read, and makes room for more.
    fn make_room(&mut self) {
        self.buffer.drain(..self.start);
        self.start = 0;
        if self.buffer.len() < KEPT {
            self.buffer.shrink_to(KEPT);
        }
        self.buffer.reserve(READ_SIZE);
    }

    /// The sender has closed. Between two frames that is how connections end, and one without
    /// any bytes is a heartbeat of Fluentd.
    fn end(&self) -> Result<(), End> {
        match self.buffer.len() {
            0 => Ok(()),
            pending => Err(End::CutOff { pending, offset: self.offset }),
        }
    }

    fn refused(&self, error: FrameError) -> End {
        let inside = match error.place {
            Place::Frame => error.at as u64,
            Place::Inflated => 0,
        };
        End::Refused { offset: self.offset + inside, error }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::io::duplex;

    use super::*;
    use crate::protocol::frame::Reason;

    const ONE: &[u8] = b"\x94\xa1t\x01\x80\x81\xa5chunk\xa3one";
    const TWO: &[u8] = b"\x93\xa1t\xc4\x03\x92\x02\x80\x81\xa5chunk\xa3two";

    /// What a sender that sends `bytes` and closes gets: acks, seconds of the events taken, the
    /// end. `pieces` is the most bytes that arrive at once.
    fn served(bytes: &[u8], pieces: usize, limits: Limits) -> (Vec<u8>, Vec<u32>, Result<(), End>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut sender, receiver) = duplex(pieces);
            let taken = RefCell::new(Vec::new());
            let sink = async |frame: &Frame<'_>| {
                taken.borrow_mut().extend(frame.events().map(|event| event.time.seconds));
                Ok(())
            };
            let mut acks = Vec::new();
            let talk = async {
                let (mut from, mut to) = tokio::io::split(&mut sender);
                let send = async {
                    // A refused sender finds its connection closed.
                    to.write_all(bytes).await.ok();
                    to.shutdown().await.ok();
                };
                let (_, read) = tokio::join!(send, from.read_to_end(&mut acks));
                read.unwrap();
            };
            let (end, ()) = tokio::join!(Connection::new(receiver, limits).serve(&sink), talk);
            (acks, taken.take(), end)
        })
    }

    #[test]
    fn frames_arrive_whole_whatever_the_pieces() {
        let bytes = [&b"\xc0"[..], ONE, TWO, b"\xc0\xc0", ONE].concat();
        for pieces in 1..=bytes.len() {
            let (acks, taken, end) = served(&bytes, pieces, Limits::default());
            assert_eq!(acks, b"\x81\xa3ack\xa3one\x81\xa3ack\xa3two\x81\xa3ack\xa3one", "{pieces}");
            assert_eq!(taken, [1, 2, 1], "{pieces}");
            assert!(end.is_ok(), "{pieces}: {end:?}");
        }
    }

    #[test]
    fn a_broken_frame_ends_the_connection_and_is_named_by_its_place_in_all_that_was_sent() {
        let bytes = [ONE, b"\x93\xa1t\xff\x80\x80", TWO].concat();
        let (acks, taken, end) = served(&bytes, 7, Limits::default());
        assert_eq!((acks.as_slice(), taken), (&b"\x81\xa3ack\xa3one"[..], vec![1]));
        let Err(End::Refused { error, offset }) = end else { panic!("{end:?}") };
        assert_eq!(offset, ONE.len() as u64 + 3);
        assert_eq!(error.reason, Reason::TimeOutOfRange);
    }

    #[test]
    fn a_frame_above_the_limit_is_refused_as_soon_as_it_says_so() {
        let limits = Limits { frame: 1000, ..Limits::default() };
        for bytes in [&b"\x93\xa1t\xc6\0\0\x03\xe8"[..], b"\x93\xa1t\xdb\xff\xff\xff\xff"] {
            let (_, _, end) = served(bytes, 64, limits);
            let Err(End::Refused { error, .. }) = end else { panic!("{end:?}") };
            assert_eq!(error.reason, Reason::FrameTooLarge(1000), "{bytes:02x?}");
        }
        let endless = [&b"\x93\xa1t\xdd\xff\xff\xff\xff"[..], &[0; 2000]].concat();
        let (_, _, end) = served(&endless, 64, limits);
        assert!(matches!(end, Err(End::Refused { .. })), "{end:?}");
    }

    #[test]
    fn an_end_between_frames_is_normal_and_inside_a_frame_it_is_not() {
        assert!(served(b"", 10, Limits::default()).2.is_ok(), "a heartbeat of Fluentd");
        let (_, _, end) = served(&[ONE, &TWO[..5]].concat(), 10, Limits::default());
        let Err(End::CutOff { pending, offset }) = end else { panic!("{end:?}") };
        assert_eq!((pending, offset), (5, ONE.len() as u64));
    }

    #[test]
    fn while_the_sink_takes_nothing_nothing_is_read() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut sender, receiver) = duplex(ONE.len());
            let calls = Cell::new(0);
            let sink = async |_: &Frame<'_>| {
                calls.set(calls.get() + 1);
                std::future::pending().await
            };
            let sent = Cell::new(0);
            let send = async {
                loop {
                    sender.write_all(ONE).await.unwrap();
                    sent.set(sent.get() + 1);
                }
            };
            tokio::select! {
                biased;
                end = Connection::new(receiver, Limits::default()).serve(&sink) => {
                    panic!("{end:?}")
                }
                () = send => {}
                // Both others have gone as far as they can once this has been polled so often.
                () = async { for _ in 0..1000 { tokio::task::yield_now().await } } => {}
            }
            assert_eq!(calls.get(), 1);
            assert_eq!(sent.get(), 2, "one is with the sink, one fills the pipe");
        });
    }
}

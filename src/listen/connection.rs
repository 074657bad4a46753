//! Serves one connection.
//!
//! In:  the bytes of one sender, in any pieces
//! Out: its frames to the sink, its acks to the socket
//!
//! The buffer grows with the bytes that came, never with a length that a frame only claims, and
//! is given back after a large frame.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::SinkClosed;
use crate::protocol::frame::{Place, Root};
use crate::protocol::{Frame, FrameError, Limits, Scanner, ack};

/// The room for one read.
const READ_SIZE: usize = 64 << 10;

/// What a connection keeps between frames.
const KEPT: usize = 1 << 20;

/// One sender's connection.
pub(super) struct Connection {
    stream: TcpStream,
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

impl Connection {
    pub(super) fn new(stream: TcpStream, limits: Limits) -> Self {
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
        self.stream.set_nodelay(true)?;
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

//! Cuts what a sender sends into whole values.
//!
//! In:  the bytes of one sender, in any pieces
//! Out: one [`Value`] at a time, or why the connection must end
//!
//! ```text
//! socket ─▶ head: the buffer of the connection ─▶ whole? ─ yes ─▶ value
//!                                                   └─ no: admitted ─▶ body ─▶ value
//! ```
//!
//! A frame that fits into the buffer is read there. For a larger one, room is asked for before any
//! more of it is read: for all of it, if it has said how long it is, else for the largest that may
//! come. The bytes held grow with the bytes that came, never with a length that is only claimed.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout};

use super::end::End;
use super::intake::{Admitted, Intake};
use crate::model::cursor::Scanner;
use crate::protocol::frame::Root;
use crate::protocol::{FrameError, Limits};

/// How long the beginning of a frame may take, and how long its body may stand still.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a body may take however slow it is, when others wait for its memory.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);
/// How fast it must be after that, in bytes a second.
const LEAST_PACE: u64 = 256 << 10;
/// How often a body that is arriving is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// What may stand behind the entries of a frame, in bytes: its option.
const OPTION_ROOM: usize = 8 << 10;

/// The values of one sender.
pub(super) struct Incoming<R> {
    stream: R,
    limits: Limits,
    /// Whom to ask before a frame is read. `None`: the limits are all there is.
    intake: Option<Rc<Intake>>,
    /// What was read: from `start` on not yet handed out.
    buffer: Vec<u8>,
    start: usize,
    /// The most that `buffer` holds.
    room: usize,
    /// Where `start` lies in all that the sender has sent.
    offset: u64,
}

/// A whole value that is no heartbeat.
pub(super) struct Value {
    pub(super) bytes: Vec<u8>,
    /// Where it lies in all that the sender has sent.
    pub(super) offset: u64,
    pub(super) memory: Admitted,
}

enum Head {
    /// The whole value, of this length, is in the buffer.
    Whole(usize),
    /// The buffer is full, and the value goes on.
    Begun,
}

impl<R: AsyncRead + Unpin> Incoming<R> {
    /// `room` is how many bytes are read at a time.
    pub(super) fn new(stream: R, limits: Limits, room: usize, intake: Option<Rc<Intake>>) -> Self {
        Self { stream, limits, intake, buffer: Vec::new(), start: 0, room, offset: 0 }
    }

    /// Begins with what has come already.
    pub(super) fn beginning_with(self, bytes: Vec<u8>) -> Self {
        Self { buffer: bytes, ..self }
    }

    /// The next value. `None`: the sender has closed between two of them.
    pub(super) async fn next(&mut self) -> Result<Option<Value>, End> {
        loop {
            // Between two frames a sender may take its time.
            if self.pending().is_empty() && self.fill().await? == 0 {
                return Ok(None);
            }
            if !self.skip_heartbeats() {
                return self.next_value().await.map(Some);
            }
        }
    }

    /// True: nothing else has come.
    fn skip_heartbeats(&mut self) -> bool {
        let beats = self.pending().iter().take_while(|&&byte| byte == 0xc0).count();
        self.advance(beats);
        self.pending().is_empty()
    }

    async fn next_value(&mut self) -> Result<Value, End> {
        let mut scanner = Scanner::new();
        let begun = Instant::now();
        let head = match timeout(PATIENCE, self.read_head(&mut scanner)).await {
            Ok(head) => head?,
            Err(_) => return Err(self.late(self.pending().len(), begun)),
        };
        let offset = self.offset;
        let Head::Whole(length) = head else {
            return self.read_body(scanner).await;
        };
        let memory = match &self.intake {
            Some(intake) => intake.admit_small(length).await,
            None => Admitted::free(),
        };
        let bytes = self.pending()[..length].to_vec();
        self.advance(length);
        Ok(Value { bytes, offset, memory })
    }

    async fn read_head(&mut self, scanner: &mut Scanner) -> Result<Head, End> {
        loop {
            let value = self.pending();
            Root::of(value[0]).map_err(|error| self.refused(error))?;
            let length = scanner.scan(value).map_err(|error| self.refused(error.into()))?;
            self.check_length(scanner.least_length().max(length.unwrap_or(value.len())))?;
            if let Some(length) = length {
                return Ok(Head::Whole(length));
            }
            if value.len() >= self.room {
                return Ok(Head::Begun);
            }
            if self.fill().await? == 0 {
                return Err(self.cut_off(self.pending().len()));
            }
        }
    }

    async fn read_body(&mut self, mut scanner: Scanner) -> Result<Value, End> {
        let offset = self.offset;
        let most = self.most(&scanner);
        let mut memory = match &self.intake {
            Some(intake) => intake.admit_body(most).await,
            None => Admitted::free(),
        };
        let mut bytes = self.buffer.split_off(self.start);
        self.buffer.clear();
        self.start = 0;
        let begun = Instant::now();
        loop {
            if let Some(length) =
                scanner.scan(&bytes).map_err(|error| End::refused(offset, error.into()))?
            {
                self.buffer.extend_from_slice(&bytes[length..]);
                bytes.truncate(length);
                bytes.shrink_to_fit();
                memory.shrink_to(length);
                self.offset = offset + length as u64;
                return Ok(Value { bytes, offset, memory });
            }
            let least = scanner.least_length().max(bytes.len() + 1);
            if least > most {
                return Err(End::refused(offset, FrameError::too_large(&self.limits)));
            }
            if !self.read_more(&mut bytes, least, most, begun).await? {
                return Err(self.cut_off(bytes.len()));
            }
        }
    }

    /// Reads towards `least` bytes. False: the sender has closed.
    async fn read_more(
        &mut self,
        bytes: &mut Vec<u8>,
        least: usize,
        most: usize,
        begun: Instant,
    ) -> Result<bool, End> {
        let due = least - bytes.len();
        let since = Instant::now();
        // Beyond what is due may lie the next frame, which is not paid for: as little of it is read
        // as the buffer holds.
        let is_direct = due >= self.room;
        let wanted = if is_direct { due } else { self.room };
        if bytes.capacity() - bytes.len() < wanted.min(self.room) {
            let double = bytes.len().min(most.saturating_sub(bytes.len()));
            bytes.reserve_exact(wanted.min(double.max(self.room)));
        }
        let count = loop {
            let read = async {
                if is_direct {
                    (&mut self.stream).take(due as u64).read_buf(bytes).await
                } else {
                    self.fill().await
                }
            };
            // Losing a read is harmless: it has taken nothing.
            match timeout(LOOK_EVERY, read).await {
                Ok(count) => break count?,
                Err(_) if self.is_too_slow(bytes.len(), begun, since) => {
                    return Err(self.late(bytes.len(), begun));
                }
                Err(_) => {}
            }
        };
        if !is_direct {
            bytes.append(&mut self.buffer);
        }
        Ok(count > 0)
    }

    /// One that nobody waits for may stand still for a while; one that others wait for must hurry.
    fn is_too_slow(&self, came: usize, begun: Instant, since: Instant) -> bool {
        let took = begun.elapsed();
        let is_waited_for = self.intake.as_ref().is_some_and(|intake| intake.is_waited_for());
        let is_slow = (came as u64) < took.as_secs() * LEAST_PACE;
        since.elapsed() >= PATIENCE || (is_waited_for && took >= SHORT_PATIENCE && is_slow)
    }

    /// The most bytes the value can have, by what was seen of it.
    fn most(&self, scanner: &Scanner) -> usize {
        if scanner.is_before_last() {
            (scanner.least_length() + OPTION_ROOM).min(self.limits.frame)
        } else {
            self.limits.frame
        }
    }

    /// Reads once, as much as the buffer holds.
    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let room = self.room.saturating_sub(self.buffer.len()).max(1);
        self.buffer.reserve_exact(room);
        (&mut self.stream).take(room as u64).read_buf(&mut self.buffer).await
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.start..]
    }

    fn advance(&mut self, length: usize) {
        self.start += length;
        self.offset += length as u64;
    }

    fn check_length(&self, least: usize) -> Result<(), End> {
        if least > self.limits.frame {
            return Err(self.refused(FrameError::too_large(&self.limits)));
        }
        Ok(())
    }

    fn refused(&self, error: FrameError) -> End {
        End::refused(self.offset, error)
    }

    fn cut_off(&self, pending: usize) -> End {
        End::CutOff { pending, offset: self.offset }
    }

    fn late(&self, pending: usize, begun: Instant) -> End {
        End::Late { pending, seconds: begun.elapsed().as_secs(), offset: self.offset }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;
    use crate::listen::intake::Portions;

    /// `[tag, bin]` or `[tag, [entry, …]]` with a body of about `length` bytes.
    fn frame(length: usize, is_array: bool) -> Vec<u8> {
        let mut frame = b"\x92\xa1t".to_vec();
        if is_array {
            let entries = u16::try_from(length / 3).unwrap();
            frame.push(0xdc);
            frame.extend_from_slice(&entries.to_be_bytes());
            frame.extend_from_slice(&b"\x92\x01\x80".repeat(entries.into()));
        } else {
            frame.push(0xc6);
            frame.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
            frame.resize(frame.len() + length, 7);
        }
        frame
    }

    /// All values that `bytes` hold, when at most `pieces` of them come at once.
    fn values(bytes: &[u8], pieces: usize, limit: usize) -> Vec<Vec<u8>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut sender, receiver) = duplex(pieces);
            let portions = Portions::of(limit);
            let limits = Limits { frame: limit / 2, ..Limits::default() };
            let intake = Some(Rc::new(Intake::new(portions)));
            let mut incoming = Incoming::new(receiver, limits, portions.buffer, intake);
            let send = async {
                sender.write_all(bytes).await.unwrap();
                drop(sender);
            };
            let receive = async {
                let mut values = Vec::new();
                while let Some(value) = incoming.next().await.unwrap() {
                    let at = usize::try_from(value.offset).unwrap();
                    assert_eq!(bytes[at..at + value.bytes.len()], value.bytes);
                    assert!(value.bytes.capacity() <= 2 * value.bytes.len() + portions.buffer);
                    values.push(value.bytes);
                }
                values
            };
            tokio::join!(send, receive).1
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn values_come_whole_whatever_the_pieces_and_however_large_the_buffer(
            frames in prop::collection::vec((0_usize..5000, any::<bool>(), 0_usize..3), 0..12),
            pieces in 1_usize..3000,
            limit in 12_000_usize..2_000_000,
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (length, is_array, heartbeats) in frames {
                expected.push(frame(length, is_array));
                bytes.extend_from_slice(expected.last().unwrap());
                bytes.resize(bytes.len() + heartbeats, 0xc0);
            }
            prop_assert_eq!(values(&bytes, pieces, limit), expected);
        }
    }

    /// A reader that begins anew with every piece would take minutes.
    #[tokio::test]
    async fn a_large_frame_in_small_pieces_is_read_in_time_that_grows_with_its_size_only() {
        let entries = 600_000_u32;
        let mut frame = b"\x93\xa1t\xdd".to_vec();
        frame.extend(entries.to_be_bytes());
        (0..entries).for_each(|_| frame.extend(b"\x92\x01\x81\xa1k\xa5value"));
        frame.push(0x80);
        let expected = frame.len();
        let (receiver, mut sender) = duplex(64);
        let send = async move { sender.write_all(&frame).await.unwrap() };
        let mut incoming = Incoming::new(receiver, Limits::default(), 4096, None);
        let both = async { tokio::join!(incoming.next(), send).0 };
        let read = timeout(Duration::from_secs(20), both).await;
        let value = read.expect("it is read in time").unwrap().unwrap();
        assert_eq!(value.bytes.len(), expected);
    }
}

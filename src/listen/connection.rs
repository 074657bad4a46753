//! Serves one connection of a plain receiver.
//!
//! In:  the frames of one sender
//! Out: the same to the sink, an ack to the socket for each that the sink took
//!
//! One thing at a time: while the sink has not taken a frame, nothing more is read from its sender,
//! and TCP makes it wait.

use std::io;

use tokio::io::{AsyncWrite, AsyncWriteExt, split};
use tokio::time::sleep;

use super::door::Admitted;
use super::end::End;
use super::fault::Fault;
use super::incoming::{Incoming, Value};
use super::{Mode, SinkClosed};
use crate::protocol::frame::WireId;
use crate::protocol::json::write_json;
use crate::protocol::{Frame, Limits, ack};

/// The room for one read.
const READ_SIZE: usize = 64 << 10;

/// Serves until the sender closes the connection between two frames. `peer` is what the log calls
/// the sender.
pub(super) async fn serve<S>(
    Admitted { stream, rest }: Admitted,
    peer: &str,
    limits: Limits,
    fault: Option<Fault>,
    sink: &S,
) -> Result<(), End>
where
    S: AsyncFn(&Frame<'_>) -> Result<(), SinkClosed>,
{
    let (reader, mut writer) = split(stream);
    let mut incoming = Incoming::new(reader, limits, READ_SIZE, None).beginning_with(rest);
    let mut served = 0;
    while let Some(Value { bytes, offset, .. }) = incoming.next().await? {
        let frame = Frame::decode(&bytes, &limits).map_err(|error| End::refused(offset, error))?;
        describe(&frame, bytes.len(), peer);
        if fault == Some(Fault::CloseAfter(served)) {
            tracing::debug!(peer, served, "closed the connection: it is the fault asked for");
            return Ok(());
        }
        if frame.is_ignored() {
            tracing::debug!(tag = frame.tag, "left out a frame of metrics or traces");
        }
        sink(&frame).await?;
        if let Some(id) = frame.option.chunk {
            acknowledge(id, fault, &mut writer).await?;
        }
        served += 1;
    }
    Ok(())
}

/// The line that `receive --verbose` shows for each frame.
fn describe(frame: &Frame<'_>, bytes: usize, peer: &str) {
    let Frame { tag, option, .. } = frame;
    let mode = match frame.mode {
        Mode::Message => "Message",
        Mode::Forward => "Forward",
        Mode::PackedForward => "PackedForward",
        Mode::CompressedPackedForward => "CompressedPackedForward",
    };
    tracing::debug!(
        peer,
        tag,
        mode,
        bytes,
        inflated = frame.entries_size(),
        events = frame.event_count(),
        id = option.chunk.map(|id| String::from_utf8_lossy(id.bytes).into_owned()),
        options = option.written.map(json_of).map(tracing::field::display),
        "a frame"
    );
}

fn json_of(map: &[u8]) -> String {
    let mut json = Vec::new();
    write_json(map, &mut json).expect("a frame's option has been read before");
    String::from_utf8(json).expect("JSON is UTF-8")
}

async fn acknowledge(
    id: WireId<'_>,
    fault: Option<Fault>,
    writer: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut answer = Vec::new();
    ack::encode(id, &mut answer);
    match fault {
        None | Some(Fault::CloseAfter(_) | Fault::RefuseHandshake) => {}
        Some(Fault::NoAck) => return Ok(()),
        Some(Fault::LateAck(by)) => sleep(by).await,
        Some(Fault::WrongId) => {
            answer.clear();
            ack::encode(Fault::WRONG_ID, &mut answer);
        }
        Some(Fault::SplitAck) => {
            let rest = answer.split_off(answer.len() / 2);
            writer.write_all(&answer).await?;
            writer.flush().await?;
            sleep(Fault::SPLIT_PAUSE).await;
            answer = rest;
        }
    }
    // One write: Fluentd and Fluent Bit fail on an ack that arrives in two pieces.
    writer.write_all(&answer).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use tokio::io::{AsyncReadExt, duplex};

    use super::*;
    use crate::protocol::frame::Reason;

    const ONE: &[u8] = b"\x94\xa1t\x01\x80\x81\xa5chunk\xa3one";
    const TWO: &[u8] = b"\x93\xa1t\xc4\x03\x92\x02\x80\x81\xa5chunk\xa3two";

    /// What a sender that sends `bytes` and closes gets: acks, seconds of the events taken, the
    /// end. `pieces` is the most bytes that arrive at once.
    fn served(bytes: &[u8], pieces: usize, limits: Limits) -> (Vec<u8>, Vec<u32>, Result<(), End>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
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
            let admitted = Admitted { stream: Box::new(receiver), rest: Vec::new() };
            let (end, ()) = tokio::join!(serve(admitted, "sender", limits, None, &sink), talk);
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (mut sender, receiver) = duplex(ONE.len());
            let calls = Cell::new(0);
            let sink = async |_: &Frame<'_>| {
                calls.set(calls.get() + 1);
                std::future::pending().await
            };
            let admitted = Admitted { stream: Box::new(receiver), rest: Vec::new() };
            let sent = Cell::new(0);
            let send = async {
                loop {
                    sender.write_all(ONE).await.unwrap();
                    sent.set(sent.get() + 1);
                }
            };
            tokio::select! {
                biased;
                end = serve(admitted, "sender", Limits::default(), None, &sink) => {
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

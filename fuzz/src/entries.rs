//! `protocol::entries`: the events of a frame that somebody keeps, one at a time, and
//! `protocol::seconds`, which rewrites them.

use log_ambassador::model::{Codec, EventTime};
use log_ambassador::protocol::entries::Entries;
use log_ambassador::protocol::frame::{Body, Event, FrameError, Place, Reason};
use log_ambassador::protocol::inflate::{InflateError, PIECE};
use log_ambassador::protocol::seconds::with_whole_seconds;

use super::inflate::{STATE, compressed};
use super::memory::within;
use super::{pieces, reference};

/// Seconds, nanoseconds and the bytes of the record.
pub type Kept = (u32, u32, Vec<u8>);

/// - Events and errors do not depend on how the entries travelled: plain, in gzip, in zstd, in
///   several members, across the pieces that are inflated at a time.
/// - The events are those that another reader finds.
/// - No more is held than the entries and a piece; of plain entries nothing at all, and nothing of
///   any as long as nobody has asked for an event.
/// - The limit of what may come out is one.
/// - With times of whole seconds the entries are the same events.
pub fn check(bytes: &[u8]) {
    let plain = events_of(&plain(bytes), usize::MAX, 1024);
    if let (events, None) = &plain {
        let events = events
            .iter()
            .map(|(seconds, nanos, record)| (*seconds, *nanos, reference::map(record)));
        assert_eq!(events.collect::<Vec<_>>(), reference::entries(bytes));
        check_whole_seconds(&plain.0);
    }
    for codec in [Codec::Gzip, Codec::Zstd] {
        let packed = packed(bytes, codec);
        let most = STATE + 2 * (PIECE + bytes.len()) + 3 * bytes.len() + 1024;
        assert_eq!(events_of(&packed, bytes.len(), most), plain, "{codec:?}");
        if let (None, Some(limit)) = (&plain.1, bytes.len().checked_sub(1)) {
            let reason = Reason::Inflate(InflateError::TooLarge { limit });
            assert_eq!(packed.check(limit).map_err(|error| error.reason), Err(reason));
        }
    }
    let either = [Codec::Gzip, Codec::Zstd][pieces::dice(bytes)(2)];
    check_across_pieces(bytes, either, &plain);
    let mut out = Vec::new();
    // Any answer will do.
    let _ = within(3 * bytes.len() + 2048, || with_whole_seconds(bytes, &mut out).is_ok());
}

/// Whatever the entries are, they lie across the end of what is inflated first.
fn check_across_pieces(bytes: &[u8], codec: Codec, plain: &(Vec<Kept>, Option<FrameError>)) {
    let before = padding(PIECE - pieces::dice(bytes)(bytes.len().max(1)));
    let packed = packed(&[&before, bytes].concat(), codec);
    let (events, error) = events_of(&packed, PIECE + bytes.len(), STATE + 8 * PIECE);
    assert_eq!(events[1..], plain.0, "behind a large one");
    let moved = error.map(|error| FrameError { at: error.at - before.len(), ..error });
    assert_eq!(moved, plain.1, "behind a large one");
}

/// An entry of so many bytes.
fn padding(length: usize) -> Vec<u8> {
    let mut entry = b"\x92\x01\x81\xa1p\xda".to_vec();
    let text = length - entry.len() - 2;
    entry.extend_from_slice(&u16::try_from(text).expect("less than a piece").to_be_bytes());
    entry.resize(length, b'x');
    entry
}

fn plain(bytes: &[u8]) -> Entries {
    Entries::of(bytes.to_vec(), Body::Entries(0..bytes.len(), None))
}

/// In two members, cut anywhere, with something around them.
fn packed(bytes: &[u8], codec: Codec) -> Entries {
    let (left, right) = bytes.split_at(pieces::dice(bytes)(bytes.len() + 1));
    let mut frame = b"before".to_vec();
    frame.extend(compressed(left, codec));
    frame.extend(compressed(right, codec));
    let range = "before".len()..frame.len();
    frame.extend_from_slice(b"behind");
    Entries::of(frame, Body::Entries(range, Some(codec)))
}

/// All events, and what ended them. Places count from the first entry.
fn events_of(entries: &Entries, limit: usize, most: usize) -> (Vec<Kept>, Option<FrameError>) {
    let counted = within(most, || entries.check(limit));
    let mut events = Vec::new();
    let mut reader = within(0, || entries.read(limit));
    let error = loop {
        match reader.event() {
            Ok(Some(event)) => {
                let kept = kept(&event);
                assert_eq!(
                    reader.event().map(|event| event.map(|event| self::kept(&event))),
                    Ok(Some(kept.clone()))
                );
                events.push(kept);
            }
            Ok(None) => break None,
            Err(error) => break Some(FrameError { place: Place::Frame, ..error }),
        }
        reader.step();
    };
    match (&counted, &error) {
        (Ok(count), None) => assert_eq!(*count, events.len() as u64),
        (Err(counted), Some(error)) => {
            assert_eq!((counted.at, &counted.reason), (error.at, &error.reason))
        }
        _ => panic!("{counted:?} and {error:?}"),
    }
    (events, error)
}

/// What there is to compare of an event.
pub fn kept(event: &Event<'_>) -> Kept {
    (event.time.seconds, event.time.nanos, event.record.to_vec())
}

/// The entries as we encode events.
pub fn encoded(events: &[Kept]) -> Vec<u8> {
    let mut entries = Vec::new();
    for (seconds, nanos, record) in events {
        let time = EventTime::new((*seconds).into(), *nanos).expect("it was read as one");
        entries.push(0x92);
        entries.extend_from_slice(&time.encode());
        entries.extend_from_slice(record);
    }
    entries
}

fn check_whole_seconds(events: &[Kept]) {
    let mut out = Vec::new();
    with_whole_seconds(&encoded(events), &mut out).expect("the entries are our own");
    let cut = events.iter().map(|(seconds, _, record)| (*seconds, 0, record.clone()));
    assert_eq!(events_of(&plain(&out), usize::MAX, 1024), (cut.collect(), None));
}

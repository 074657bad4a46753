//! `protocol::entries`: the events of a frame that somebody keeps, one at a time, and
//! `protocol::seconds`, which rewrites them.

use log_ambassador::model::{Codec, EventTime};
use log_ambassador::protocol::entries::{Entries, EventReader, OnBadEntry};
use log_ambassador::protocol::frame::{Body, Event, FrameError, Place, Reason};
use log_ambassador::protocol::inflate::{InflateError, PIECE};
use log_ambassador::protocol::seconds::with_whole_seconds;

use super::inflate::{STATE, compressed};
use super::memory::within;
use super::{pieces, reference};

/// Seconds, nanoseconds and the bytes of the record.
pub type Kept = (u32, u32, Vec<u8>);

/// - Events and errors do not depend on how the entries travelled: plain, in gzip, in zstd, in
///   several members, across the pieces that are inflated at a time, in an entry longer than those;
///   nor does what is left out where that is wished.
/// - The events are those that another reader finds.
/// - Of compressed entries no more is held than some pieces, and nothing as long as nobody has asked
///   for an event; of plain entries nothing at all.
/// - The limit of what may come out is one.
/// - With times of whole seconds the entries are the same events.
pub fn check(bytes: &[u8]) {
    let plain = check_ways(bytes, &[Codec::Gzip, Codec::Zstd]);
    if let (events, None) = &plain {
        let events = events
            .iter()
            .map(|(seconds, nanos, record)| (*seconds, *nanos, reference::map(record)));
        assert_eq!(events.collect::<Vec<_>>(), reference::entries(bytes));
        check_whole_seconds(&plain.0);
        for codec in [Codec::Gzip, Codec::Zstd] {
            if let Some(limit) = bytes.len().checked_sub(1) {
                let reason = Reason::Inflate(InflateError::TooLarge { limit });
                let checked = packed(bytes, codec).check(limit, OnBadEntry::Reject);
                assert_eq!(checked.map_err(|error| error.reason), Err(reason));
            }
        }
    }
    let either = [Codec::Gzip, Codec::Zstd][pieces::dice(bytes)(2)];
    // Whoever begins and does not go on has taken nothing.
    drop(packed(bytes, either).read(usize::MAX, OnBadEntry::Reject, usize::MAX));
    check_across_pieces(bytes, either, &plain);
    check_ways(&inside_of_a_large_one(bytes), &[either]);
    let mut out = Vec::new();
    // Any answer will do.
    let _ = within(3 * bytes.len() + 2048, || with_whole_seconds(bytes, &mut out).is_ok());
}

/// The events of entries, and what ended them, if bad ones are refused.
fn check_ways(bytes: &[u8], codecs: &[Codec]) -> (Vec<Kept>, Option<FrameError>) {
    let plain = plain(bytes);
    let [rejecting, skipping] = [OnBadEntry::Reject, OnBadEntry::Skip]
        .map(|on_bad_entry| events_of(&plain, usize::MAX, on_bad_entry, 1024));
    assert!(skipping.0.starts_with(&rejecting.0), "what is good stays");
    for &codec in codecs {
        let packed = packed(bytes, codec);
        let most = STATE + 5 * PIECE + 3 * packed.length() + 1024;
        assert_eq!(
            events_of(&packed, bytes.len(), OnBadEntry::Reject, most),
            rejecting,
            "{codec:?}"
        );
        assert_eq!(events_of(&packed, bytes.len(), OnBadEntry::Skip, most), skipping, "{codec:?}");
    }
    rejecting
}

/// Whatever the entries are, they lie across the end of what is inflated first.
fn check_across_pieces(bytes: &[u8], codec: Codec, plain: &(Vec<Kept>, Option<FrameError>)) {
    let before = padding(PIECE - pieces::dice(bytes)(bytes.len().max(1)));
    let packed = packed(&[&before, bytes].concat(), codec);
    let most = STATE + 8 * PIECE;
    let (events, error) = events_of(&packed, PIECE + bytes.len(), OnBadEntry::Reject, most);
    assert_eq!(events[1..], plain.0, "behind a large one");
    let moved = error.map(|error| FrameError { at: error.at - before.len(), ..error });
    assert_eq!(moved, plain.1, "behind a large one");
}

/// The beginning of an entry longer than a piece, with metadata that go on with `bytes`.
fn inside_of_a_large_one(bytes: &[u8]) -> Vec<u8> {
    let mut entry = b"\x92\x92\x01\x82\xa1p\xdb".to_vec();
    entry.extend_from_slice(&u32::try_from(PIECE).expect("not much").to_be_bytes());
    entry.resize(entry.len() + PIECE, b'x');
    entry.extend_from_slice(b"\xa1q");
    entry.extend_from_slice(bytes);
    entry
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

/// All events, and what ended them, or was left out first. Places count from the first entry.
fn events_of(
    entries: &Entries,
    limit: usize,
    on_bad_entry: OnBadEntry,
    most: usize,
) -> (Vec<Kept>, Option<FrameError>) {
    let checked = within(most, || entries.check(limit, on_bad_entry));
    let largest = checked.as_ref().map_or(limit, |contents| contents.largest);
    let mut reader = within(0, || entries.read(limit, on_bad_entry, largest));
    let mut events = Vec::new();
    let error = loop {
        match within(most, || reader.next_length()) {
            Ok(Some(length)) => match take(&mut reader, length, most) {
                Ok(event) => events.extend(event),
                Err(error) => break Some(error),
            },
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let first = match (checked, error) {
        (Ok(contents), None) => {
            assert_eq!(contents.events, events.len() as u64);
            assert_eq!(contents.skipped > 0, contents.first_skipped.is_some());
            let longest = events.iter().map(|(_, _, record)| record.len()).max();
            assert_eq!(contents.largest, longest.unwrap_or(0));
            contents.first_skipped
        }
        (Err(checked), Some(error)) => {
            assert_eq!(checked, error);
            Some(error)
        }
        (checked, error) => panic!("{checked:?} and {error:?}"),
    };
    (events, first.map(|error| FrameError { place: Place::Frame, ..error }))
}

/// The next event, whose record has at most `length` bytes.
fn take(reader: &mut EventReader, length: usize, most: usize) -> Result<Option<Kept>, FrameError> {
    assert_eq!(reader.next_length(), Ok(Some(length)), "it stays");
    let mut record = Vec::new();
    let time = within(most + 3 * length, || reader.take(&mut record))?;
    assert!(record.len() <= length);
    assert_eq!(time.is_none(), record.is_empty());
    Ok(time.map(|time| (time.seconds, time.nanos, record)))
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
    assert_eq!(
        events_of(&plain(&out), usize::MAX, OnBadEntry::Reject, 1024),
        (cut.collect(), None)
    );
}

//! `protocol::frame`: a frame, whatever its carrier mode.

use log_ambassador::model::Tag;
use log_ambassador::model::cursor::Reader;
use log_ambassador::protocol::entries::{Entries, OnBadEntry};
use log_ambassador::protocol::frame::{self, FrameOption, Mode, Outline, Place, Root, Tail};
use log_ambassador::protocol::inflate::PIECE;
use log_ambassador::protocol::{AckDecoder, ChunkId, Frame, FrameError, Limits, ack};

use super::entries::{Kept, encoded, kept};
use super::inflate::STATE;
use super::memory::within;
use super::reference;

/// Small, so that inputs reach them.
const LIMITS: Limits = Limits { frame: 4096, inflated: 16 << 10, tag: 64, chunk_id: 32 };

/// What it takes to tell what is wrong, and a scanner.
const WORDS: usize = 2048;

/// - A frame is taken or refused as a whole, and the same frame event for event; the events are
///   those that another reader finds.
/// - No limit is passed by what is taken, nor by the memory held meanwhile.
/// - What is refused says where, inside of the bytes.
/// - An ack of its id names its id.
/// - Its events in a frame of ours are the same again.
pub fn check(bytes: &[u8]) {
    let most = WORDS + STATE + 3 * bytes.len() + 2 * (LIMITS.inflated + PIECE);
    let one_by_one = check_one_by_one(bytes);
    let decoded = within(most, || Frame::decode(bytes, &LIMITS));
    check_root(bytes, decoded.is_ok());
    match decoded {
        Ok(frame) => {
            let events: Vec<_> = frame.events().map(|event| kept(&event)).collect();
            check_taken(bytes, &frame, &events);
            assert_eq!(one_by_one.as_ref(), Ok(&events), "one by one");
            check_ours(&frame, &events);
        }
        Err(error) => {
            let length = match error.place {
                Place::Frame => bytes.len(),
                Place::Inflated => LIMITS.inflated,
            };
            assert!(error.at <= length, "{} is outside", error.at);
            assert!(error.to_string().len() < 512, "what is said of it");
            one_by_one.expect_err("one by one it is taken");
        }
    }
}

/// The first byte alone is enough to refuse what is no frame.
fn check_root(bytes: &[u8], is_taken: bool) {
    let Some(&first) = bytes.first() else { return };
    match Root::of(first) {
        Ok(Root::Frame) => {}
        Ok(Root::Heartbeat) => assert!(first == 0xc0 && !is_taken),
        Err(error) => assert!(error.to_string().len() < 512 && !is_taken),
    }
}

/// The events as a receiver reads them that keeps the frame.
fn check_one_by_one(bytes: &[u8]) -> Result<Vec<Kept>, FrameError> {
    let body = within(WORDS, || Outline::read(bytes, &LIMITS))?.body;
    let entries = Entries::of(bytes.to_vec(), body);
    let most = WORDS + STATE + 3 * bytes.len() + 5 * PIECE;
    let contents = within(most, || entries.check(LIMITS.inflated, OnBadEntry::Reject))?;
    let mut reader = entries.read(LIMITS.inflated, OnBadEntry::Reject, contents.largest);
    let mut events = Vec::new();
    while reader.next_length()?.is_some() {
        let mut record = Vec::new();
        if let Some(time) = reader.take(&mut record)? {
            events.push((time.seconds, time.nanos, record));
        }
    }
    assert_eq!(contents.events, events.len() as u64);
    Ok(events)
}

fn check_taken(bytes: &[u8], frame: &Frame<'_>, events: &[Kept]) {
    assert!(bytes.len() <= LIMITS.frame && frame.tag.len() <= LIMITS.tag);
    assert_eq!(frame.event_count(), events.len() as u64);
    assert!(!frame.is_ignored() || events.is_empty());
    let is_inflated = frame.mode == Mode::CompressedPackedForward;
    let most = if is_inflated { LIMITS.inflated } else { bytes.len() };
    assert!(frame.entries_size() <= most, "{} bytes of entries", frame.entries_size());
    assert_eq!(Reader::new(bytes).skip(), Ok(bytes), "nothing is left over");
    for event in frame.events() {
        for map in [Some(event.record), event.metadata].into_iter().flatten() {
            reference::map(map);
        }
    }
    let events =
        events.iter().map(|(seconds, nanos, record)| (*seconds, *nanos, reference::map(record)));
    let expected = (frame.tag.as_bytes().to_vec(), events.collect::<Vec<_>>());
    assert_eq!(reference::read_frame(bytes), expected, "another reader");
    check_option(&frame.option);
}

fn check_option(option: &FrameOption<'_>) {
    for map in [option.written, option.metadata].into_iter().flatten() {
        reference::map(map);
    }
    let Some(id) = option.chunk else { return };
    assert!(id.bytes.len() <= LIMITS.chunk_id);
    let mut answer = Vec::new();
    ack::encode(id, &mut answer);
    let mut decoder = AckDecoder::new();
    decoder.feed(&answer);
    assert_eq!(decoder.next_id(), Ok(Some(id.bytes)));
}

fn check_ours(theirs: &Frame<'_>, events: &[Kept]) {
    let tag = Tag::new(theirs.tag);
    let entries = encoded(events);
    let id = ChunkId::new([7; 16]);
    let count = u32::try_from(events.len()).expect("a frame is small");
    let mut bytes = Vec::new();
    frame::head(&tag, entries.len(), &mut bytes);
    bytes.extend_from_slice(&entries);
    let added = [("one".to_owned(), "more".to_owned())];
    let tail = match events.len() % 2 {
        0 => Tail { events: count, ..Tail::default() },
        // What is text is not compressed.
        _ => Tail { events: count, id: Some(&id), compressed: Some("text"), added: &added },
    };
    tail.encode(&mut bytes);
    let ours = Frame::decode(&bytes, &Limits::default()).expect("our own");
    assert_eq!((ours.tag, ours.mode), (theirs.tag, Mode::PackedForward));
    assert_eq!(ours.option.size, Some(count.into()));
    assert_eq!(ours.option.chunk.is_some(), tail.id.is_some());
    assert!(ours.option.chunk.is_none_or(|written| id.is(written.bytes)));
    assert_eq!(ours.events().map(|event| kept(&event)).collect::<Vec<_>>(), events);
}

//! The entries of a frame that somebody keeps, read one event at a time.
//!
//! In:  the bytes of a whole frame, and where its entries are
//! Out: its events, one after the other, as often as wanted
//!
//! Compressed entries are inflated as they are read: what is held of them is the event at hand and
//! a piece behind it, however much they inflate to.

use std::io::{self, Cursor, Read};
use std::ops::Range;
use std::sync::Arc;

use super::frame::{Body, Event, FrameError, Place, Reason, read_entry};
use super::inflate::{InflateError, error_of, inflater, read_piece};
use crate::model::Codec;
use crate::model::cursor::{Fault, Reader, Scanner};

/// The entries of one frame. Cheap to clone: the bytes are shared.
#[derive(Clone, Debug)]
pub struct Entries {
    bytes: Arc<Vec<u8>>,
    range: Range<usize>,
    /// How they are compressed, if they are.
    codec: Option<Codec>,
}

impl Entries {
    /// Takes over the bytes of a frame whose outline says where its entries are.
    pub fn of(mut frame: Vec<u8>, body: Body) -> Self {
        let (range, codec) = match body {
            Body::Entries(range, codec) => (range, codec),
            Body::One(range) => {
                // Time and record are an entry but for the header of the pair. It goes where the
                // tag ends, which has been read by now.
                let start = range.start.saturating_sub(1);
                frame[start] = 0x92;
                (start..range.end, None)
            }
            Body::Ignored => (0..0, None),
        };
        Self { bytes: Arc::new(frame), range, codec }
    }

    /// Reads all of them: how many events there are, or what is wrong with one. Compressed ones may
    /// inflate to at most `limit` bytes.
    pub fn check(&self, limit: usize) -> Result<u64, FrameError> {
        let mut reader = self.read(limit);
        let mut events = 0;
        while reader.event()?.is_some() {
            events += 1;
            reader.step();
        }
        Ok(events)
    }

    /// Begins at the first event. Holds no memory until it is asked for that.
    pub fn read(&self, limit: usize) -> EventReader {
        let part = Part { bytes: Arc::clone(&self.bytes), range: self.range.clone() };
        let source = match self.codec {
            None => Source::Plain(part),
            Some(codec) => Source::Inflated(Inflated::new(part, codec, limit)),
        };
        EventReader { source, at: 0, next: 0 }
    }
}

/// Stands before one of the events of a frame, or behind the last.
pub struct EventReader {
    source: Source,
    /// Where the event begins, in the bytes at hand.
    at: usize,
    /// Where the one behind it begins, once it was looked at.
    next: usize,
}

enum Source {
    Plain(Part),
    Inflated(Inflated),
}

impl EventReader {
    /// The event it stands before; the same until [`EventReader::step`]. `None`: there are no more.
    /// Fluent Bit's group markers are passed over.
    pub fn event(&mut self) -> Result<Option<Event<'_>>, FrameError> {
        loop {
            let Some(length) = self.entry_length()? else {
                return Ok(None);
            };
            self.next = self.at + length;
            let entry = self.source.bytes().get(self.at..self.next).unwrap_or_default();
            let place = self.source.place(self.at);
            let is_event = read_entry(&mut Reader::new(entry), 0)
                .map_err(|error| FrameError { at: place.1 + error.at, place: place.0, ..error })?
                .is_some();
            if is_event {
                break;
            }
            self.step();
        }
        let entry = &self.source.bytes()[self.at..self.next];
        read_entry(&mut Reader::new(entry), 0)
    }

    /// Goes behind the event that was last looked at.
    pub fn step(&mut self) {
        self.at = self.next;
    }

    /// The length of the entry at hand, which is then there in one piece. `None`: the end.
    fn entry_length(&mut self) -> Result<Option<usize>, FrameError> {
        let mut scanner = Scanner::new();
        loop {
            let rest = self.source.bytes().get(self.at..).unwrap_or_default();
            let (place, at) = self.source.place(self.at);
            if !rest.is_empty()
                && let Some(length) = scanner.scan(rest).map_err(|error| FrameError {
                    at: at + error.at,
                    place,
                    reason: error.fault.into(),
                })?
            {
                return Ok(Some(length));
            }
            let is_between = rest.is_empty();
            let has_more = match &mut self.source {
                Source::Plain(_) => false,
                Source::Inflated(inflated) => {
                    inflated.forget(self.at);
                    self.at = 0;
                    self.next = 0;
                    inflated.read_more()?
                }
            };
            if !has_more {
                let cut = FrameError { at, place, reason: Reason::Value(Fault::Incomplete) };
                return if is_between { Ok(None) } else { Err(cut) };
            }
        }
    }
}

impl Source {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Plain(part) => part.as_ref(),
            Self::Inflated(inflated) => &inflated.held,
        }
    }

    /// Where the byte at `at` stands in what.
    fn place(&self, at: usize) -> (Place, usize) {
        match self {
            Self::Plain(part) => (Place::Frame, part.range.start + at),
            Self::Inflated(inflated) => (Place::Inflated, inflated.forgotten + at),
        }
    }
}

/// Part of shared bytes.
#[derive(Clone)]
struct Part {
    bytes: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.range.clone()]
    }
}

/// Compressed entries, inflated as far as needed.
struct Inflated {
    part: Part,
    codec: Codec,
    /// Made when the first event is wanted: it holds far more than a small frame does, and many
    /// frames may wait.
    inflater: Option<Box<dyn Read + Send>>,
    limit: usize,
    /// What was inflated and is still needed.
    held: Vec<u8>,
    /// How much was inflated before that.
    forgotten: usize,
}

impl Inflated {
    fn new(part: Part, codec: Codec, limit: usize) -> Self {
        Self { part, codec, inflater: None, limit, held: Vec::new(), forgotten: 0 }
    }

    fn forget(&mut self, count: usize) {
        self.held.drain(..count);
        self.forgotten += count;
    }

    /// Inflates a piece more. False: that was all, and its checksum is right.
    fn read_more(&mut self) -> Result<bool, FrameError> {
        let count = self.inflate().map_err(|error| self.refused(error_of(&error, self.codec)))?;
        if self.forgotten + self.held.len() > self.limit {
            return Err(self.refused(InflateError::TooLarge { limit: self.limit }));
        }
        Ok(count > 0)
    }

    fn inflate(&mut self) -> io::Result<usize> {
        let inflater = match &mut self.inflater {
            Some(inflater) => inflater,
            none => none.insert(inflater(Cursor::new(self.part.clone()), self.codec)?),
        };
        read_piece(inflater, &mut self.held, self.limit.saturating_sub(self.forgotten))
    }

    fn refused(&self, reason: InflateError) -> FrameError {
        FrameError::new(self.part.range.start, reason.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::model::EventTime;
    use crate::protocol::Frame;
    use crate::protocol::frame::{Limits, Outline};
    use crate::protocol::inflate::PIECE;

    fn entries_of(bytes: &[u8]) -> Entries {
        let body = Outline::read(bytes, &Limits::default()).unwrap().body;
        Entries::of(bytes.to_vec(), body)
    }

    /// The seconds and records of all events, read one at a time.
    fn events_of(entries: &Entries) -> Vec<(u32, Vec<u8>)> {
        let mut reader = entries.read(usize::MAX);
        let mut events = Vec::new();
        while let Some(event) = reader.event().unwrap() {
            events.push((event.time.seconds, event.record.to_vec()));
            reader.step();
        }
        events
    }

    fn compressed(entries: &[u8], codec: Option<Codec>) -> Vec<u8> {
        match codec {
            None => entries.to_vec(),
            Some(Codec::Zstd) => zstd::encode_all(entries, 0).unwrap(),
            Some(Codec::Gzip) => {
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::default());
                encoder.write_all(entries).unwrap();
                encoder.finish().unwrap()
            }
        }
    }

    fn entry(second: u32, length: usize) -> Vec<u8> {
        let mut entry = vec![0x92];
        entry.extend_from_slice(&EventTime::new(second.into(), 0).unwrap().encode());
        entry.extend_from_slice(b"\x81\xa1k\xdb");
        entry.extend_from_slice(&u32::try_from(length).unwrap().to_be_bytes());
        entry.resize(entry.len() + length, b'x');
        entry
    }

    #[test]
    fn a_message_is_an_entry_like_any_other() {
        for bytes in [&b"\x93\xa1t\x07\x81\xa1k\x01"[..], b"\x94\xa0\x07\x81\xa1k\x01\x80"] {
            let entries = entries_of(bytes);
            assert_eq!(entries.check(0).unwrap(), 1);
            assert_eq!(events_of(&entries), [(7, b"\x81\xa1k\x01".to_vec())]);
        }
    }

    #[test]
    fn an_event_stays_until_it_is_stepped_over() {
        let entries = entries_of(b"\x92\xa1t\x92\x92\x01\x80\x92\x02\x80");
        let mut reader = entries.read(0);
        for seconds in [1, 1, 1] {
            assert_eq!(reader.event().unwrap().unwrap().time.seconds, seconds);
        }
        reader.step();
        assert_eq!(reader.event().unwrap().unwrap().time.seconds, 2);
        reader.step();
        assert!(reader.event().unwrap().is_none());
        assert!(reader.event().unwrap().is_none());
    }

    #[test]
    fn what_is_held_of_compressed_entries_is_one_event_and_a_piece() {
        let stream: Vec<u8> = (0..2000).flat_map(|second| entry(second, 1000)).collect();
        for codec in [Some(Codec::Gzip), Some(Codec::Zstd)] {
            let bytes = compressed(&stream, codec);
            let range = 0..bytes.len();
            let entries = Entries { bytes: Arc::new(bytes), range, codec };
            let mut reader = entries.read(stream.len());
            let mut events = 0;
            while let Some(event) = reader.event().unwrap() {
                assert_eq!(event.time.seconds, events);
                events += 1;
                reader.step();
                assert!(reader.source.bytes().len() <= 2 * PIECE);
            }
            assert_eq!(events, 2000, "{codec:?}");
            let refused = entries.check(stream.len() - 1).unwrap_err();
            let reason = InflateError::TooLarge { limit: stream.len() - 1 };
            assert_eq!(refused.reason, Reason::Inflate(reason), "{codec:?}");
        }
    }

    #[test]
    fn a_large_event_is_held_in_no_more_room_than_the_limit_and_a_piece() {
        let large = entry(0, 3_000_000);
        let bytes = compressed(&large, Some(Codec::Gzip));
        let range = 0..bytes.len();
        let entries = Entries { bytes: Arc::new(bytes), range, codec: Some(Codec::Gzip) };
        let mut reader = entries.read(large.len());
        assert!(reader.event().unwrap().is_some());
        let Source::Inflated(inflated) = &reader.source else { panic!("it is compressed") };
        let room = inflated.held.capacity();
        assert!(room <= large.len() + PIECE, "{room} for {}", large.len());
    }

    #[test]
    fn the_entries_are_refused_as_a_whole_where_a_frame_would_be() {
        for bytes in [
            &b"\x92\xa1t\xc4\x03\x92\x01\x05"[..],
            b"\x92\xa1t\xc4\x02\x92\x01",
            b"\x92\xa1t\x91\x93\x01\x80\x80",
            b"\x92\xa1t\xc4\x04\x92\x01\x80\xc1",
        ] {
            let theirs = Frame::decode(bytes, &Limits::default()).unwrap_err();
            let ours = entries_of(bytes).check(1000).unwrap_err();
            assert_eq!(ours.reason, theirs.reason, "{bytes:02x?}");
        }
    }

    proptest! {
        #[test]
        fn all_at_once_and_one_by_one_are_the_same(
            lengths in prop::collection::vec(0_usize..50_000, 0..12),
            codec in prop::sample::select(
                vec![None, Some(Codec::Gzip), Some(Codec::Zstd)]
            ),
            members in 1_usize..3,
        ) {
            let entries: Vec<Vec<u8>> =
                (0..).zip(&lengths).map(|(second, &length)| entry(second, length)).collect();
            let packed: Vec<u8> = entries
                .chunks(entries.len().div_ceil(members).max(1))
                .flat_map(|member| compressed(&member.concat(), codec))
                .collect();
            let mut bytes = b"\x93\xa1t\xc6".to_vec();
            bytes.extend_from_slice(&u32::try_from(packed.len()).unwrap().to_be_bytes());
            bytes.extend_from_slice(&packed);
            bytes.extend_from_slice(b"\x81\xaacompressed\xa4");
            bytes.extend_from_slice(codec.map_or("text", Codec::name).as_bytes());
            // Nothing compressed is no gzip and no zstd.
            prop_assume!(!entries.is_empty() || codec.is_none());
            let frame = Frame::decode(&bytes, &Limits::default()).unwrap();
            let at_once: Vec<_> =
                frame.events().map(|event| (event.time.seconds, event.record.to_vec())).collect();
            let kept = entries_of(&bytes);
            prop_assert_eq!(kept.check(1 << 30).unwrap(), frame.event_count());
            prop_assert_eq!(events_of(&kept), at_once);
        }
    }
}

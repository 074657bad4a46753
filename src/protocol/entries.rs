//! The entries of a frame that somebody keeps, read one event at a time.
//!
//! In:  the bytes of a whole frame, and where its entries are
//! Out: its events, one after the other, as often as wanted
//!
//! Compressed entries are inflated as they are read. What is held of them are two pieces at most,
//! however much they inflate to, and however large an event is: one that is longer than a piece
//! goes straight to where it is wanted.

use std::io::{self, Cursor, Read};
use std::mem;
use std::ops::Range;
use std::sync::Arc;

use super::frame::{
    Body, FrameError, Place, Reason, Time, expect_record, read_beginning, read_entry,
};
use super::inflate::{Decoders, InflateError, PIECE, error_of, inflater, read_piece};
use crate::model::cursor::{Fault, LONGEST_HEADER, ReadError, Reader, Scanner};
use crate::model::{Codec, EventTime};

/// The entries of one frame. Cheap to clone: the bytes are shared.
#[derive(Clone)]
pub struct Entries {
    bytes: Arc<Vec<u8>>,
    range: Range<usize>,
    /// How they are compressed, if they are.
    codec: Option<Codec>,
    decoders: Decoders,
    /// Message mode: exactly one event, which is no group marker.
    is_one: bool,
}

/// What becomes of an entry that is no event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnBadEntry {
    /// The whole frame is refused.
    #[default]
    Reject,
    /// It is passed over, and so is an entry that is cut off at the end of all. Fluentd does that.
    Skip,
}

/// What all entries of a frame come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// How many events there are.
    pub events: u64,
    /// The longest of their records, in bytes.
    pub largest: usize,
    /// How many bytes compressed entries have inflated to.
    pub inflated: usize,
    /// How many entries were passed over because they are no events.
    pub skipped: u64,
    /// What is wrong with the first of those.
    pub first_skipped: Option<FrameError>,
}

impl Entries {
    /// Takes over the bytes of a frame whose outline says where its entries are.
    pub fn of(mut frame: Vec<u8>, body: Body) -> Self {
        let is_one = matches!(body, Body::One(_));
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
        Self { bytes: Arc::new(frame), range, codec, decoders: Decoders::default(), is_one }
    }

    /// They are inflated with one of these.
    #[must_use]
    pub fn inflated_with(self, decoders: &Decoders) -> Self {
        Self { decoders: decoders.clone(), ..self }
    }

    /// How many bytes they have, as they came.
    pub fn length(&self) -> usize {
        self.range.len()
    }

    /// How they are compressed.
    pub fn codec(&self) -> Option<Codec> {
        self.codec
    }

    /// Reads all of them: what they come to, or what is wrong with one. Compressed ones may inflate
    /// to at most `limit` bytes.
    pub fn check(&self, limit: usize, on_bad_entry: OnBadEntry) -> Result<Contents, FrameError> {
        let mut reader = self.read(limit, on_bad_entry, limit);
        let (mut events, mut largest) = (0, 0);
        while reader.next_length()?.is_some() {
            if let Some(length) = reader.skip()? {
                events += 1;
                largest = largest.max(length);
            }
        }
        let EventReader { source, skipped, first_skipped, .. } = reader;
        let inflated = match source {
            Source::Plain(_) => 0,
            Source::Inflated(inflated) => inflated.forgotten + inflated.held.len(),
        };
        Ok(Contents { events, largest, inflated, skipped, first_skipped })
    }

    /// Begins at the first event. `largest` is what [`Entries::check`] has found; the limit will do,
    /// too. Holds no memory until it is asked for an event.
    pub fn read(&self, limit: usize, on_bad_entry: OnBadEntry, largest: usize) -> EventReader {
        let part = Part { bytes: Arc::clone(&self.bytes), range: self.range.clone() };
        let source = match self.codec {
            None => Source::Plain(part),
            Some(codec) => {
                Source::Inflated(Inflated::new(part, codec, self.decoders.clone(), limit))
            }
        };
        EventReader {
            source,
            at: 0,
            at_hand: None,
            on_bad_entry,
            is_one: self.is_one,
            largest,
            skipped: 0,
            first_skipped: None,
        }
    }
}

/// Stands before one of the events of a frame, or behind the last.
pub struct EventReader {
    source: Source,
    /// Where the entry begins, in the bytes at hand.
    at: usize,
    /// What was found there.
    at_hand: Option<AtHand>,
    on_bad_entry: OnBadEntry,
    is_one: bool,
    largest: usize,
    skipped: u64,
    first_skipped: Option<FrameError>,
}

/// The event that a reader stands before.
#[derive(Clone, Debug)]
enum AtHand {
    /// It is there in one piece: its record, and where the next entry begins.
    Whole(EventTime, Range<usize>, usize),
    /// It is longer than a piece, if it is an event at all.
    Large,
}

/// An entry, as far as it was cut off.
enum Cut {
    /// It has so many bytes, all of which are there.
    Whole(usize),
    /// It is longer than a piece.
    Large,
}

impl EventReader {
    /// The most bytes that the record of the next event has: exactly so many, unless it is larger
    /// than a piece. `None`: there are no more. Fluent Bit's group markers are passed over.
    pub fn next_length(&mut self) -> Result<Option<usize>, FrameError> {
        while self.at_hand.is_none() {
            let Some(cut) = self.cut()? else {
                return Ok(None);
            };
            self.at_hand = match cut {
                Cut::Large => Some(AtHand::Large),
                Cut::Whole(length) => self.look_at(length)?,
            };
        }
        Ok(self.at_hand.as_ref().map(|at_hand| match at_hand {
            AtHand::Whole(_, record, _) => record.len(),
            AtHand::Large => self.largest,
        }))
    }

    /// Appends the record of the next event to `out`, and goes behind it. `None`: there was none,
    /// and `out` is as before; the next may be one.
    pub fn take(&mut self, out: &mut Vec<u8>) -> Result<Option<EventTime>, FrameError> {
        let start = out.len();
        let taken = self.pass(Some(out))?;
        if taken.is_none() {
            out.truncate(start);
        }
        Ok(taken.map(|(time, _)| time))
    }

    /// Goes behind the next event: the length of its record in bytes. `None`: there was none; the
    /// next may be one.
    pub fn skip(&mut self) -> Result<Option<usize>, FrameError> {
        Ok(self.pass(None)?.map(|(_, length)| length))
    }

    fn pass(
        &mut self,
        out: Option<&mut Vec<u8>>,
    ) -> Result<Option<(EventTime, usize)>, FrameError> {
        self.next_length()?;
        match self.at_hand.take() {
            Some(AtHand::Whole(time, record, next)) => {
                let length = record.len();
                if let Some(out) = out {
                    out.extend_from_slice(&self.source.bytes()[record]);
                }
                self.at = next;
                Ok(Some((time, length)))
            }
            Some(AtHand::Large) => self.pass_large(out),
            None => Ok(None),
        }
    }

    /// The entry at hand, which has `length` bytes. `None`: it is no event, and was passed over.
    fn look_at(&mut self, length: usize) -> Result<Option<AtHand>, FrameError> {
        let next = self.at + length;
        let entry = &self.source.bytes()[self.at..next];
        let place = self.source.place(self.at);
        let found = read_entry(&mut Reader::new(entry), 0).map_err(|error| error.within(place));
        let whole = match found {
            Ok(Some(event)) => {
                // The record is the last part of an entry.
                Some(AtHand::Whole(event.time, next - event.record.len()..next, next))
            }
            Ok(None) if self.is_one => {
                let (place, at) = place;
                // Behind the header of the pair.
                self.pass_over(FrameError { at: at + 1, place, reason: Reason::TimeOutOfRange })?;
                None
            }
            Ok(None) => None,
            Err(error) => {
                self.pass_over(error)?;
                None
            }
        };
        if whole.is_none() {
            self.at = next;
        }
        Ok(whole)
    }

    /// An entry is no event: that ends everything, or it is counted.
    fn pass_over(&mut self, error: FrameError) -> Result<(), FrameError> {
        if self.on_bad_entry == OnBadEntry::Reject {
            return Err(error);
        }
        self.skipped += 1;
        self.first_skipped.get_or_insert(error);
        Ok(())
    }

    /// Looks for the end of the entry at hand. `None`: there are no more.
    fn cut(&mut self) -> Result<Option<Cut>, FrameError> {
        let mut scanner = Scanner::new();
        loop {
            let rest = self.source.bytes().get(self.at..).unwrap_or_default();
            let place = self.source.place(self.at);
            let is_between = rest.is_empty();
            if !is_between
                && let Some(length) =
                    scanner.scan(rest).map_err(|error| FrameError::from(error).within(place))?
            {
                return Ok(Some(Cut::Whole(length)));
            }
            let is_large = rest.len() >= PIECE;
            let has_more = match &mut self.source {
                Source::Plain(_) => false,
                Source::Inflated(_) if is_large => return Ok(Some(Cut::Large)),
                Source::Inflated(inflated) => {
                    inflated.forget(self.at);
                    self.at = 0;
                    inflated.read_more()?
                }
            };
            if !has_more {
                if !is_between {
                    self.end_early(place)?;
                }
                return Ok(None);
            }
        }
    }

    /// The entries end inside of the one that begins at `place`.
    fn end_early(&mut self, (place, at): (Place, usize)) -> Result<(), FrameError> {
        self.at = self.source.bytes().len();
        self.pass_over(FrameError { at, place, reason: Reason::Value(Fault::Incomplete) })
    }

    /// Goes behind the large entry at hand, of which never more than two pieces are held; its record
    /// goes to `out`. What is wrong with it is told as if all of it had been there.
    fn pass_large(
        &mut self,
        out: Option<&mut Vec<u8>>,
    ) -> Result<Option<(EventTime, usize)>, FrameError> {
        let start = self.source.place(self.at);
        let Source::Inflated(inflated) = &mut self.source else {
            return Ok(None);
        };
        inflated.forget(self.at);
        self.at = 0;
        let mut scanner = Scanner::new();
        let time = inflated.pass_beginning(&mut scanner)?;
        let out = out.filter(|_| time.is_ok());
        let Some(length) = inflated.pass(&mut scanner, Scanner::scan, out)? else {
            self.end_early(start)?;
            return Ok(None);
        };
        match time {
            Ok(Time::At(time)) => Ok(Some((time, length))),
            Ok(Time::GroupMarker) => Ok(None),
            Err(error) => self.pass_over(error).map(|()| None),
        }
    }
}

enum Source {
    Plain(Part),
    Inflated(Inflated),
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
    decoders: Decoders,
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
    fn new(part: Part, codec: Codec, decoders: Decoders, limit: usize) -> Self {
        Self { part, codec, decoders, inflater: None, limit, held: Vec::new(), forgotten: 0 }
    }

    fn forget(&mut self, count: usize) {
        self.held.drain(..count);
        self.forgotten += count;
    }

    /// Goes before the record of the entry at hand, if it is an entry; its time, or why it is none.
    fn pass_beginning(
        &mut self,
        scanner: &mut Scanner,
    ) -> Result<Result<Time, FrameError>, FrameError> {
        let read = read_beginning(&mut Reader::new(&self.held));
        let time = match read.map_err(|error| error.within(self.place())) {
            Ok((time, _)) => time,
            Err(error) => return Ok(Err(error)),
        };
        self.pass(scanner, Scanner::scan_to_last, None)?;
        while self.held.len() < LONGEST_HEADER && self.read_more()? {}
        let record = expect_record(&Reader::new(&self.held));
        Ok(record.map(|()| time).map_err(|error| error.within(self.place())))
    }

    /// Goes to where `scan` says; what lies before it goes to `out`. `None`: the entries end before.
    fn pass(
        &mut self,
        scanner: &mut Scanner,
        scan: impl Fn(&mut Scanner, &[u8]) -> Result<Option<usize>, ReadError>,
        mut out: Option<&mut Vec<u8>>,
    ) -> Result<Option<usize>, FrameError> {
        let mut passed = 0;
        loop {
            let end = scan(scanner, &self.held)
                .map_err(|error| FrameError::from(error).within(self.place()))?;
            let count = scanner.forget(self.held.len());
            if let Some(out) = &mut out {
                out.extend_from_slice(&self.held[..count]);
            }
            self.forget(count);
            passed += count;
            if end.is_some() {
                return Ok(Some(passed));
            }
            if !self.read_more()? {
                return Ok(None);
            }
        }
    }

    /// Where what is held begins.
    fn place(&self) -> (Place, usize) {
        (Place::Inflated, self.forgotten)
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
            none => {
                self.held = self.decoders.lend_room();
                none.insert(inflater(Cursor::new(self.part.clone()), self.codec, &self.decoders)?)
            }
        };
        // No more room than for this piece: what is held is forgotten before it gets longer.
        read_piece(inflater, &mut self.held, 0)
    }

    fn refused(&self, reason: InflateError) -> FrameError {
        FrameError::new(self.part.range.start, reason.into())
    }
}

impl Drop for Inflated {
    fn drop(&mut self) {
        if self.inflater.is_some() {
            self.decoders.take_room(mem::take(&mut self.held));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::write::GzEncoder;
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::Frame;
    use crate::protocol::frame::{Limits, Outline};

    fn entries_of(bytes: &[u8]) -> Entries {
        let body = Outline::read(bytes, &Limits::default()).unwrap().body;
        Entries::of(bytes.to_vec(), body)
    }

    /// The seconds and records of all events, read one at a time.
    fn events_of(entries: &Entries) -> Vec<(u32, Vec<u8>)> {
        taken_from(&mut entries.read(usize::MAX, OnBadEntry::Reject, usize::MAX))
    }

    fn taken_from(reader: &mut EventReader) -> Vec<(u32, Vec<u8>)> {
        let mut events = Vec::new();
        while reader.next_length().unwrap().is_some() {
            let mut record = Vec::new();
            if let Some(time) = reader.take(&mut record).unwrap() {
                events.push((time.seconds, record));
            }
        }
        events
    }

    fn check(entries: &Entries, limit: usize) -> Result<Contents, FrameError> {
        entries.check(limit, OnBadEntry::Reject)
    }

    fn packed(stream: &[u8], codec: Option<Codec>) -> Entries {
        let bytes = compressed(stream, codec);
        let range = 0..bytes.len();
        Entries::of(bytes, Body::Entries(range, codec))
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
            assert_eq!(check(&entries, 0).unwrap().events, 1);
            assert_eq!(events_of(&entries), [(7, b"\x81\xa1k\x01".to_vec())]);
        }
    }

    #[test]
    fn an_event_stays_until_it_is_taken_or_skipped() {
        let entries = entries_of(b"\x92\xa1t\x92\x92\x01\x80\x92\x02\x80");
        let mut reader = entries.read(0, OnBadEntry::Reject, 0);
        for _ in 0..3 {
            assert_eq!(reader.next_length(), Ok(Some(1)));
        }
        assert_eq!(reader.take(&mut Vec::new()).unwrap().map(|time| time.seconds), Some(1));
        assert_eq!(reader.next_length(), Ok(Some(1)));
        assert_eq!(reader.skip(), Ok(Some(1)));
        assert_eq!(reader.next_length(), Ok(None));
        assert_eq!(reader.next_length(), Ok(None));
    }

    #[test]
    fn what_is_held_of_compressed_entries_is_two_pieces_however_large_an_event_is() {
        let lengths = [1000, 3_000_000, 10, 2 * PIECE, 5, PIECE - 20, 70_000, 1];
        let stream: Vec<u8> =
            (0..).zip(lengths).flat_map(|(second, length)| entry(second, length)).collect();
        for codec in [Some(Codec::Gzip), Some(Codec::Zstd)] {
            let entries = packed(&stream, codec);
            let contents = check(&entries, stream.len()).unwrap();
            let longest = 3_000_000 + b"\x81\xa1k\xdb1234".len();
            assert_eq!((contents.events, contents.largest), (8, longest), "{codec:?}");
            let mut reader = entries.read(stream.len(), OnBadEntry::Reject, contents.largest);
            let mut room = Vec::with_capacity(longest);
            for (second, length) in (0..).zip(lengths) {
                let most = reader.next_length().unwrap().unwrap();
                assert!((length..=longest).contains(&most), "{most} for {length}");
                room.clear();
                let time = reader.take(&mut room).unwrap().unwrap();
                assert_eq!(time.seconds, second);
                assert_eq!(room, entry(second, length)[11..]);
                assert_eq!(room.capacity(), longest, "it grew");
                let Source::Inflated(inflated) = &reader.source else { panic!("compressed") };
                assert!(inflated.held.capacity() <= 2 * PIECE, "{}", inflated.held.capacity());
            }
            assert_eq!(reader.next_length(), Ok(None));
            let refused = check(&entries, stream.len() - 1).unwrap_err();
            let reason = InflateError::TooLarge { limit: stream.len() - 1 };
            assert_eq!(refused.reason, Reason::Inflate(reason), "{codec:?}");
        }
    }

    /// Entries that are no events, or none that counts, of this many bytes and more.
    fn bad(length: usize) -> [Vec<u8>; 6] {
        let text = entry(0, length)[11 + 3..].to_vec();
        let long = |before: &[u8], behind: &[u8]| [before, &text, behind].concat();
        [
            long(b"", b""),
            long(b"\x92\x01", b""),
            long(b"\x92", b"\x80"),
            long(b"\x93\x01\x80", b""),
            long(b"\x92\x92\x01", b"\x80"),
            long(b"\x92\x93\x01", b"\x80\x80"),
        ]
    }

    #[test]
    fn what_is_wrong_with_an_entry_is_the_same_however_long_it_is() {
        let reasons = |length: usize, codec: Option<Codec>| {
            bad(length).map(|entry| {
                let stream = [&b"\x92\x01\x80"[..], &entry].concat();
                let error = check(&packed(&stream, codec), stream.len()).unwrap_err();
                (error.at, error.reason)
            })
        };
        let short = reasons(1, None);
        for codec in [None, Some(Codec::Gzip), Some(Codec::Zstd)] {
            assert_eq!(reasons(1, codec), short, "{codec:?}");
            assert_eq!(reasons(4 * PIECE, codec), short, "{codec:?}");
        }
    }

    #[test]
    fn entries_that_are_no_events_are_passed_over_where_that_is_wished() {
        for (length, codec) in
            [(1, None), (1, Some(Codec::Gzip)), (4 * PIECE, None), (4 * PIECE, Some(Codec::Zstd))]
        {
            let mut stream = entry(1, 100);
            for (second, bad) in (2..).zip(bad(length)) {
                stream.extend(bad);
                stream.extend(entry(second, 3 * length));
            }
            // Cut off.
            stream.extend(&entry(9, length)[..length + 10]);
            let entries = packed(&stream, codec);
            assert!(check(&entries, stream.len()).is_err());
            let contents = entries.check(stream.len(), OnBadEntry::Skip).unwrap();
            assert_eq!((contents.events, contents.skipped), (7, 7), "{length} {codec:?}");
            assert_eq!(contents.first_skipped.unwrap().at, entry(1, 100).len());
            let mut reader = entries.read(stream.len(), OnBadEntry::Skip, contents.largest);
            let seconds =
                taken_from(&mut reader).iter().map(|(second, _)| *second).collect::<Vec<_>>();
            assert_eq!(seconds, [1, 2, 3, 4, 5, 6, 7]);
            // Where the next one begins nobody can tell.
            let unreadable = packed(&[&stream[..entry(1, 100).len()], b"\xc1"].concat(), codec);
            assert!(unreadable.check(1000, OnBadEntry::Skip).is_err());
        }
    }

    #[test]
    fn a_message_that_is_no_event_is_refused_or_passed_over() {
        for bytes in [
            &b"\x93\xa1t\x07\x05"[..],
            b"\x93\xa1t\xd7\x00\xff\xff\xff\xff\x00\x00\x00\x00\x80",
            b"\x94\xa1t\xff\x80\x80",
        ] {
            let entries = entries_of(bytes);
            let ours = check(&entries, 0).unwrap_err();
            assert_eq!(ours, Frame::decode(bytes, &Limits::default()).unwrap_err());
            let contents = entries.check(0, OnBadEntry::Skip).unwrap();
            assert_eq!((contents.events, contents.skipped), (0, 1));
        }
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
            let ours = check(&entries_of(bytes), 1000).unwrap_err();
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
            prop_assert_eq!(check(&kept, 1 << 30).unwrap().events, frame.event_count());
            prop_assert_eq!(events_of(&kept), at_once);
        }
    }
}

//! A frame: a chunk as the forward protocol sends it.
//!
//! In:  for the sender, a tag, the size of the entries, their number and a chunk id;
//!      for the receiver, the bytes of one whole value
//! Out: the bytes before and behind the entries; a [`Frame`] whose events are all known to be
//!      good, or where and why the frame is refused
//!
//! We send one form: `[tag, bin(entries), {"size", "chunk"}]`, the one every receiver takes. We
//! read all four. A receiver here is strict where data would be lost in silence (left-over
//! bytes, a bad entry, an unknown compression refuse the whole frame) and lenient where it costs
//! nothing (any width of integers, str or bin, a missing, nil or empty option).

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::inflate::{self, InflateError};
use crate::model::cursor::{Fault, ReadError, Reader, Token};
use crate::model::record::{write_map_header, write_str};
use crate::model::{Codec, EventTime, Tag};

/// What a receiver accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of a frame, as it arrives.
    pub frame: usize,
    /// The most bytes its entries may have once inflated.
    pub inflated: usize,
    /// The most bytes of a tag.
    pub tag: usize,
    /// The most bytes of a chunk id. Fluent Bit reads no ack above 511 bytes.
    pub chunk_id: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { frame: 16 << 20, inflated: 64 << 20, tag: 1 << 10, chunk_id: 256 }
    }
}

/// Names a chunk towards the receiver: 24 characters, the base64 of 16 bytes. It stays the same
/// however often the chunk is sent, so that a receiver can tell a repeat.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkId([u8; Self::LENGTH]);

impl ChunkId {
    /// Its length in bytes on the wire, without the header of the str.
    pub const LENGTH: usize = 24;

    /// The id made of 16 bytes, which should be random.
    pub fn new(bytes: [u8; 16]) -> Self {
        let mut text = [0; Self::LENGTH];
        STANDARD.encode_slice(bytes, &mut text).expect("16 bytes are 24 characters of base64");
        Self(text)
    }

    /// As it goes on the wire.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("base64 is ASCII")
    }

    /// Whether an ack of `id` is for this chunk.
    pub fn is(&self, id: &[u8]) -> bool {
        self.0 == id
    }
}

impl fmt::Display for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ChunkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ChunkId({self})")
    }
}

/// Appends what stands before `entries` bytes of entries: the array of three, the tag, the
/// header of the bin.
pub fn head(tag: &Tag, entries: usize, out: &mut Vec<u8>) {
    out.push(0x93);
    write_str(out, tag.as_str());
    write_bin_header(out, entries);
}

/// What stands behind the entries: the option.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tail<'a> {
    /// The number of events.
    pub events: u32,
    /// The chunk's id, when an ack is wanted.
    pub id: Option<&'a ChunkId>,
    /// How the entries are compressed, if they are.
    pub compressed: Option<&'a str>,
    /// `Add_Option`: further keys and values. Receivers pass over what they do not know.
    pub added: &'a [(String, String)],
}

impl Tail<'_> {
    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let own = 1 + usize::from(self.id.is_some()) + usize::from(self.compressed.is_some());
        write_map_header(out, own + self.added.len());
        write_str(out, "size");
        write_unsigned(out, self.events);
        if let Some(id) = self.id {
            write_str(out, "chunk");
            write_str(out, id.as_str());
        }
        if let Some(name) = self.compressed {
            write_str(out, "compressed");
            write_str(out, name);
        }
        for (key, value) in self.added {
            write_str(out, key);
            write_str(out, value);
        }
    }
}

fn write_bin_header(out: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("a chunk is far below 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    match length {
        0..=0xff => out.extend_from_slice(&[0xc4, d]),
        0x100..=0xffff => out.extend_from_slice(&[0xc5, c, d]),
        _ => out.extend_from_slice(&[0xc6, a, b, c, d]),
    }
}

fn write_unsigned(out: &mut Vec<u8>, value: u32) {
    let [a, b, c, d] = value.to_be_bytes();
    match value {
        0..=0x7f => out.push(d),
        0x80..=0xff => out.extend_from_slice(&[0xcc, d]),
        0x100..=0xffff => out.extend_from_slice(&[0xcd, c, d]),
        _ => out.extend_from_slice(&[0xce, a, b, c, d]),
    }
}

/// What the first byte of a value on the wire announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// Nil: some client says that it is still there. No answer is due.
    Heartbeat,
    /// A frame, so far.
    Frame,
}

impl Root {
    /// Looks at the first byte of a value, so that text on the port is noticed at once.
    pub fn of(first: u8) -> Result<Self, FrameError> {
        match first {
            0xc0 => Ok(Self::Heartbeat),
            0x90..=0x9f | 0xdc | 0xdd => Ok(Self::Frame),
            _ => Err(FrameError::new(0, Reason::NotAFrame(first))),
        }
    }
}

/// How the entries travelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `[tag, time, record, option?]`
    Message,
    /// `[tag, [entry, …], option?]`
    Forward,
    /// `[tag, entries, option?]`
    PackedForward,
    /// `[tag, gzip or zstd of entries, option]`
    CompressedPackedForward,
}

/// What a frame tells about itself beside its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FrameOption<'a> {
    /// `chunk`: an ack with this id is wanted.
    pub chunk: Option<WireId<'a>>,
    /// `size`: how many events the sender says there are. A hint that nobody checks; `None`
    /// also when it is no count at all.
    pub size: Option<u64>,
    /// `compressed`, as written.
    pub compressed: Option<&'a [u8]>,
    /// `fluent_signal` (Fluent Bit): 0 logs, 1 metrics, 2 traces.
    pub signal: Option<u64>,
    /// `metadata` (Fluent Bit, Message mode): the bytes of a map.
    pub metadata: Option<&'a [u8]>,
    /// All of it as written, also what nobody reads: the bytes of a map.
    pub written: Option<&'a [u8]>,
}

/// A chunk id as a sender wrote it. An ack must repeat it byte for byte: Fluentd's ends with a
/// newline, and without it Fluentd sends the chunk again for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireId<'a> {
    /// The whole value, header included: what an ack repeats.
    pub encoded: &'a [u8],
    /// The characters alone.
    pub bytes: &'a [u8],
}

/// One event of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// When it happened. Whole seconds when the sender wrote an integer.
    pub time: EventTime,
    /// The bytes of a MessagePack map, when the sender wrote metadata (Fluent Bit).
    pub metadata: Option<&'a [u8]>,
    /// The bytes of a MessagePack map.
    pub record: &'a [u8],
}

/// A frame that was read to its end and found good, whatever the carrier mode.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The tag of all its events.
    pub tag: &'a str,
    /// How it came.
    pub mode: Mode,
    /// What else it says.
    pub option: FrameOption<'a>,
    entries: Entries<'a>,
    entries_size: usize,
    events: u64,
}

#[derive(Clone, Debug)]
enum Entries<'a> {
    One(Event<'a>),
    Stream(Cow<'a, [u8]>),
    /// Metrics or traces: acknowledged, so that they are not sent for ever, and not read.
    Ignored,
}

/// Why a frame is refused, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the {place}: {reason}")]
pub struct FrameError {
    /// Bytes before the part that is wrong.
    pub at: usize,
    /// What `at` counts.
    pub place: Place,
    /// What is wrong.
    pub reason: Reason,
}

/// Bytes of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The frame as it came.
    Frame,
    /// Its entries, once inflated.
    Inflated,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Frame => "frame",
            Self::Inflated => "inflated entries",
        })
    }
}

/// What is wrong with a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The first byte is no frame's.
    #[error("{}", not_a_frame(*.0))]
    NotAFrame(u8),
    /// It is no MessagePack, or another type is due.
    #[error(transparent)]
    Value(#[from] Fault),
    /// Larger than the limit.
    #[error("the frame is larger than {0} bytes; send smaller chunks")]
    FrameTooLarge(usize),
    /// Too few elements.
    #[error("a frame has a tag, entries and perhaps an option; this one has {0} elements")]
    Elements(u32),
    /// The tag is too long.
    #[error("the tag has {length} bytes; at most {limit} are taken")]
    TagTooLong {
        /// What came.
        length: usize,
        /// What may come.
        limit: usize,
    },
    /// The tag is no text.
    #[error("the tag is not UTF-8")]
    TagNotText,
    /// The chunk id is too long.
    #[error("the chunk id has {length} bytes; at most {limit} are taken")]
    ChunkIdTooLong {
        /// What came.
        length: usize,
        /// What may come.
        limit: usize,
    },
    /// An extension that is no time.
    #[error("a time is extension type 0 of 8 bytes; this is type {kind} of {length}")]
    NotATime {
        /// The extension's type.
        kind: i8,
        /// Its bytes.
        length: usize,
    },
    /// A time no event can have.
    #[error("a time lies between 1970 and 2106 and has less than 1e9 nanoseconds")]
    TimeOutOfRange,
    /// An entry that is no pair.
    #[error("an entry is [time, record]; this one has {0} elements")]
    EntryElements(u32),
    /// A time with metadata that is no pair.
    #[error("a time with metadata is [time, metadata]; this one has {0} elements")]
    TimeElements(u32),
    /// Something behind the last element.
    #[error("{0} bytes are left over")]
    LeftOver(usize),
    /// No compression we know.
    #[error("compression '{0}' is unknown; set the sender to gzip, zstd or none")]
    Compression(String),
    /// The compressed entries cannot be inflated.
    #[error(transparent)]
    Inflate(#[from] InflateError),
}

fn not_a_frame(first: u8) -> String {
    match first {
        0x16 => "a TLS hello, but this port speaks plain TCP".to_owned(),
        0x20..=0x7e => format!(
            "text instead of a frame (it begins with '{}'): is this a probe, or JSON?",
            char::from(first)
        ),
        _ => format!("a frame is an array; 0x{first:02x} begins none"),
    }
}

impl FrameError {
    pub(super) fn new(at: usize, reason: Reason) -> Self {
        Self { at, place: Place::Frame, reason }
    }

    /// The same error of what begins at `at` of `place`.
    pub(super) fn within(self, (place, at): (Place, usize)) -> Self {
        Self { at: at + self.at, place, reason: self.reason }
    }

    /// The error for a frame above the limit.
    pub fn too_large(limits: &Limits) -> Self {
        Self::new(0, Reason::FrameTooLarge(limits.frame))
    }
}

impl From<ReadError> for FrameError {
    fn from(error: ReadError) -> Self {
        Self::new(error.at, error.fault.into())
    }
}

/// The parts of a frame, by their places in its bytes. Its entries have not been looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Outline<'a> {
    /// The tag of all its events.
    pub tag: &'a str,
    /// How it came.
    pub mode: Mode,
    /// What else it says.
    pub option: FrameOption<'a>,
    /// Where its entries are.
    pub body: Body,
}

/// Where the entries of a frame are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Message mode: the time and the record, one after the other.
    One(Range<usize>),
    /// Entries, one after the other, perhaps compressed.
    Entries(Range<usize>, Option<Codec>),
    /// Metrics or traces: acknowledged, so that they are not sent for ever, and not read.
    Ignored,
}

impl<'a> Outline<'a> {
    /// Reads `bytes`, one whole value, without looking into its entries.
    pub fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
        if bytes.len() > limits.frame {
            return Err(FrameError::too_large(limits));
        }
        let mut reader = Reader::new(bytes);
        let elements = reader.array("a frame, which is an array")?;
        if elements < 2 {
            return Err(FrameError::new(0, Reason::Elements(elements)));
        }
        let tag = read_tag(&mut reader, limits)?;
        // The type of the second element alone tells the modes apart.
        let outline = match reader.peek()? {
            Token::Array(_) => Self::forward(tag, &mut reader, elements, limits),
            Token::Str(entries) | Token::Bin(entries) => {
                reader.token()?;
                let range = reader.at() - entries.len()..reader.at();
                Self::packed(tag, range, &mut reader, elements, limits)
            }
            Token::Unsigned(_) | Token::Negative(_) | Token::Ext(..) => {
                Self::message(tag, &mut reader, elements, limits)
            }
            other => Err(reader.unexpected("a time or entries", other).into()),
        }?;
        if !reader.is_at_end() {
            return Err(FrameError::new(reader.at(), Reason::LeftOver(reader.rest().len())));
        }
        Ok(outline)
    }

    fn message(
        tag: &'a str,
        reader: &mut Reader<'a>,
        elements: u32,
        limits: &Limits,
    ) -> Result<Self, FrameError> {
        if elements < 3 {
            return Err(FrameError::new(0, Reason::Elements(elements)));
        }
        let from = reader.at();
        reader.skip_inside(1)?;
        reader.skip_inside(1)?;
        let body = Body::One(from..reader.at());
        let option = read_option(reader, elements - 3, limits)?;
        Ok(Self::new(tag, Mode::Message, option, body))
    }

    fn forward(
        tag: &'a str,
        reader: &mut Reader<'a>,
        elements: u32,
        limits: &Limits,
    ) -> Result<Self, FrameError> {
        let mut inside = *reader;
        inside.array("entries")?;
        reader.skip_inside(1)?;
        // Without its header, the array is the same stream of entries that PackedForward has.
        let body = Body::Entries(inside.at()..reader.at(), None);
        let option = read_option(reader, elements - 2, limits)?;
        Ok(Self::new(tag, Mode::Forward, option, body))
    }

    fn packed(
        tag: &'a str,
        entries: Range<usize>,
        reader: &mut Reader<'a>,
        elements: u32,
        limits: &Limits,
    ) -> Result<Self, FrameError> {
        let option = read_option(reader, elements - 2, limits)?;
        let codec = codec_of(&option, entries.start)?;
        let mode = match codec {
            None => Mode::PackedForward,
            Some(_) => Mode::CompressedPackedForward,
        };
        Ok(Self::new(tag, mode, option, Body::Entries(entries, codec)))
    }

    fn new(tag: &'a str, mode: Mode, option: FrameOption<'a>, body: Body) -> Self {
        let body = if is_no_log(&option) { Body::Ignored } else { body };
        Self { tag, mode, option, body }
    }
}

impl<'a> Frame<'a> {
    /// Reads `bytes`, one whole value, to the end of its last entry. After that its events can
    /// be had without errors. Holds memory only for entries that had to be inflated.
    pub fn decode(bytes: &'a [u8], limits: &Limits) -> Result<Self, FrameError> {
        let Outline { tag, mode, option, body } = Outline::read(bytes, limits)?;
        let (entries, entries_size, events) = match body {
            Body::Ignored => (Entries::Ignored, 0, 0),
            Body::One(at) => {
                let event = read_one(&bytes[at.clone()], option.metadata)
                    .map_err(|error| error.within((Place::Frame, at.start)))?;
                (Entries::One(event), at.len(), 1)
            }
            Body::Entries(range, None) => {
                let stream = &bytes[range.clone()];
                let events = count_events(stream)
                    .map_err(|error| error.within((Place::Frame, range.start)))?;
                (Entries::Stream(stream.into()), stream.len(), events)
            }
            Body::Entries(range, Some(codec)) => {
                let at = range.start;
                let inflated = inflate::inflate(&bytes[range], codec, limits.inflated)
                    .map_err(|error| FrameError::new(at, error.into()))?;
                let events =
                    count_events(&inflated).map_err(|error| error.within((Place::Inflated, 0)))?;
                let size = inflated.len();
                (Entries::Stream(inflated.into()), size, events)
            }
        };
        Ok(Self { tag, mode, option, entries, entries_size, events })
    }

    /// How many events it has.
    pub fn event_count(&self) -> u64 {
        self.events
    }

    /// How many bytes its entries have, once inflated.
    pub fn entries_size(&self) -> usize {
        self.entries_size
    }

    /// Whether it carries metrics or traces, which are acknowledged and not read.
    pub fn is_ignored(&self) -> bool {
        matches!(self.entries, Entries::Ignored)
    }

    /// Its events, in order. Fluent Bit's group markers are not among them.
    pub fn events(&self) -> impl Iterator<Item = Event<'_>> {
        let (one, stream) = match &self.entries {
            Entries::One(event) => (Some(*event), &[][..]),
            Entries::Stream(stream) => (None, stream.as_ref()),
            Entries::Ignored => (None, &[][..]),
        };
        one.into_iter().chain(EventsOf(Reader::new(stream)))
    }
}

/// The events of entries that were read before without an error.
struct EventsOf<'a>(Reader<'a>);

impl<'a> Iterator for EventsOf<'a> {
    type Item = Event<'a>;

    fn next(&mut self) -> Option<Event<'a>> {
        while !self.0.is_at_end() {
            if let Some(event) = read_entry(&mut self.0, 0).expect("the entries were read before") {
                return Some(event);
            }
        }
        None
    }
}

fn read_one<'a>(body: &'a [u8], metadata: Option<&'a [u8]>) -> Result<Event<'a>, FrameError> {
    let mut reader = Reader::new(body);
    let time = read_time(&mut reader)?;
    expect_record(&reader)?;
    match time {
        Time::At(time) => Ok(Event { time, metadata, record: reader.rest() }),
        Time::GroupMarker => Err(FrameError::new(0, Reason::TimeOutOfRange)),
    }
}

fn count_events(entries: &[u8]) -> Result<u64, FrameError> {
    let mut reader = Reader::new(entries);
    let mut events = 0;
    while !reader.is_at_end() {
        events += u64::from(read_entry(&mut reader, 0)?.is_some());
    }
    Ok(events)
}

fn read_tag<'a>(reader: &mut Reader<'a>, limits: &Limits) -> Result<&'a str, FrameError> {
    let at = reader.at();
    let tag = reader.text("a tag, which is a str")?;
    if tag.len() > limits.tag {
        let reason = Reason::TagTooLong { length: tag.len(), limit: limits.tag };
        return Err(FrameError::new(at, reason));
    }
    std::str::from_utf8(tag).map_err(|_| FrameError::new(at, Reason::TagNotText))
}

/// Reads `[time, record]` or `[[time, metadata], record]`. `None` is a group marker.
pub(super) fn read_entry<'a>(
    reader: &mut Reader<'a>,
    outer: usize,
) -> Result<Option<Event<'a>>, FrameError> {
    let (time, has_metadata) = read_beginning(reader)?;
    let metadata = has_metadata.then(|| reader.skip_inside(outer + 2)).transpose()?;
    expect_record(reader)?;
    let record = reader.skip_inside(outer + 1)?;
    Ok(match time {
        Time::At(time) => Some(Event { time, metadata, record }),
        Time::GroupMarker => None,
    })
}

/// Reads an entry as far as its metadata, if it has some, which is the second answer; else as far as
/// its record.
pub(super) fn read_beginning(reader: &mut Reader<'_>) -> Result<(Time, bool), FrameError> {
    let at = reader.at();
    match reader.array("an entry, which is [time, record]")? {
        2 => {}
        elements => return Err(FrameError::new(at, Reason::EntryElements(elements))),
    }
    match reader.look()? {
        Token::Array(2) => {
            reader.token()?;
            let time = read_time(reader)?;
            expect_map(reader, "metadata, which are a map")?;
            Ok((time, true))
        }
        Token::Array(elements) => Err(FrameError::new(reader.at(), Reason::TimeElements(elements))),
        _ => Ok((read_time(reader)?, false)),
    }
}

/// Whether a record begins here.
pub(super) fn expect_record(reader: &Reader<'_>) -> Result<(), FrameError> {
    expect_map(reader, "a record, which is a map")
}

fn expect_map(reader: &Reader<'_>, expected: &'static str) -> Result<(), FrameError> {
    match reader.look()? {
        Token::Map(_) => Ok(()),
        other => Err(reader.unexpected(expected, other).into()),
    }
}

/// A time slot as read.
pub(super) enum Time {
    At(EventTime),
    /// Fluent Bit marks where a group begins (`ffffffff 00000000`) and ends (`fffffffe
    /// 00000000`) with an entry in the stream. It is no log line and no date.
    GroupMarker,
}

fn read_time(reader: &mut Reader<'_>) -> Result<Time, FrameError> {
    let at = reader.at();
    let out_of_range = || FrameError::new(at, Reason::TimeOutOfRange);
    let at_seconds =
        |seconds, nanos| EventTime::new(seconds, nanos).map(Time::At).ok_or_else(out_of_range);
    let time = match reader.look()? {
        Token::Ext(0, &[255, 255, 255, 254 | 255, 0, 0, 0, 0]) => Time::GroupMarker,
        Token::Ext(0, &[a, b, c, d, e, f, g, h]) => {
            let seconds = u32::from_be_bytes([a, b, c, d]).into();
            at_seconds(seconds, u32::from_be_bytes([e, f, g, h]))?
        }
        Token::Ext(kind, bytes) => {
            return Err(FrameError::new(at, Reason::NotATime { kind, length: bytes.len() }));
        }
        Token::Unsigned(seconds) => {
            at_seconds(i64::try_from(seconds).map_err(|_| out_of_range())?, 0)?
        }
        Token::Negative(seconds) => at_seconds(seconds, 0)?,
        other => return Err(reader.unexpected("a time", other).into()),
    };
    reader.token()?;
    Ok(time)
}

/// Reads the option, if there is one, and passes over `elements - 1` further elements, which
/// Fluentd and Fluent Bit ignore too.
fn read_option<'a>(
    reader: &mut Reader<'a>,
    elements: u32,
    limits: &Limits,
) -> Result<FrameOption<'a>, FrameError> {
    if elements == 0 {
        return Ok(FrameOption::default());
    }
    let option = match reader.peek()? {
        // Old Docker daemons write nil where they mean none.
        Token::Nil => {
            reader.token()?;
            FrameOption::default()
        }
        Token::Map(_) => read_pairs(reader, limits)?,
        other => {
            return Err(reader.unexpected("an option, which is a map or nil", other).into());
        }
    };
    for _ in 1..elements {
        reader.skip_inside(1)?;
    }
    Ok(option)
}

fn read_pairs<'a>(reader: &mut Reader<'a>, limits: &Limits) -> Result<FrameOption<'a>, FrameError> {
    let mut option = FrameOption::default();
    let from = reader.at();
    for _ in 0..reader.map("an option")? {
        let key = match reader.peek()? {
            Token::Str(key) | Token::Bin(key) => key,
            _ => b"",
        };
        reader.skip_inside(2)?;
        match key {
            b"chunk" => option.chunk = Some(read_chunk_id(reader, limits)?),
            b"size" => option.size = read_count(reader)?,
            b"compressed" => option.compressed = Some(reader.text("a compression's name")?),
            b"fluent_signal" => option.signal = read_count(reader)?,
            b"metadata" => {
                let is_map = matches!(reader.peek()?, Token::Map(_));
                option.metadata = Some(reader.skip_inside(2)?).filter(|_| is_map);
            }
            _ => {
                reader.skip_inside(2)?;
            }
        }
    }
    option.written = Some(reader.between(from, reader.at()));
    Ok(option)
}

fn read_chunk_id<'a>(reader: &mut Reader<'a>, limits: &Limits) -> Result<WireId<'a>, FrameError> {
    let from = reader.at();
    let bytes = reader.text("a chunk id, which is a str")?;
    if bytes.len() > limits.chunk_id {
        let reason = Reason::ChunkIdTooLong { length: bytes.len(), limit: limits.chunk_id };
        return Err(FrameError::new(from, reason));
    }
    Ok(WireId { encoded: reader.between(from, reader.at()), bytes })
}

/// Reads a number of something; `None` when something else stands there.
fn read_count(reader: &mut Reader<'_>) -> Result<Option<u64>, FrameError> {
    let count = match reader.peek()? {
        Token::Unsigned(count) => Some(count),
        _ => None,
    };
    reader.skip_inside(2)?;
    Ok(count)
}

/// Metrics and traces of Fluent Bit. Any other number is read as logs: if it is something else,
/// its entries do not read as entries.
fn is_no_log(option: &FrameOption<'_>) -> bool {
    matches!(option.signal, Some(1 | 2))
}

fn codec_of(option: &FrameOption<'_>, at: usize) -> Result<Option<Codec>, FrameError> {
    match option.compressed {
        None | Some(b"text") => Ok(None),
        Some(b"gzip") => Ok(Some(Codec::Gzip)),
        Some(b"zstd") => Ok(Some(Codec::Zstd)),
        Some(other) => {
            let shown = other.get(..32).unwrap_or(other).escape_ascii().to_string();
            Err(FrameError::new(at, Reason::Compression(shown)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ChunkId = ChunkId(*b"EBESExQVFhcYGRobHB0eHw==");

    fn frame_of(tag: &str, entries: &[u8], events: u32, id: Option<&ChunkId>) -> Vec<u8> {
        let mut out = Vec::new();
        head(&Tag::new(tag), entries.len(), &mut out);
        out.extend_from_slice(entries);
        Tail { events, id, ..Tail::default() }.encode(&mut out);
        out
    }

    #[test]
    fn a_chunk_id_is_the_base64_of_its_bytes() {
        let bytes: [u8; 16] = std::array::from_fn(|at| 0x10 + u8::try_from(at).unwrap());
        assert_eq!(ChunkId::new(bytes), ID);
        assert_eq!(ID.to_string(), "EBESExQVFhcYGRobHB0eHw==");
        assert!(ID.is(b"EBESExQVFhcYGRobHB0eHw=="));
        assert!(!ID.is(b"EBESExQVFhcYGRobHB0eHw==\n"));
    }

    #[test]
    fn headers_are_in_the_shortest_form() {
        for (entries, header) in [
            (0, vec![0xc4, 0]),
            (255, vec![0xc4, 255]),
            (256, vec![0xc5, 1, 0]),
            (65_535, vec![0xc5, 255, 255]),
            (65_536, vec![0xc6, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            head(&Tag::new("t"), entries, &mut out);
            assert_eq!(out, [&[0x93, 0xa1, b't'][..], &header].concat(), "{entries}");
        }
        for (events, number) in [
            (0, vec![0]),
            (127, vec![0x7f]),
            (128, vec![0xcc, 128]),
            (256, vec![0xcd, 1, 0]),
            (65_536, vec![0xce, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            Tail { events, ..Tail::default() }.encode(&mut out);
            assert_eq!(out, [&[0x81, 0xa4][..], b"size", &number].concat(), "{events}");
        }
    }

    #[test]
    fn what_we_write_we_read() {
        let entry =
            [&[0x92][..], &EventTime::new(5, 6).unwrap().encode(), b"\x81\xa1k\x07"].concat();
        let bytes = frame_of("app.logs", &entry.repeat(3), 3, Some(&ID));
        let frame = Frame::decode(&bytes, &Limits::default()).unwrap();
        assert_eq!((frame.tag, frame.mode), ("app.logs", Mode::PackedForward));
        assert_eq!(frame.option.size, Some(3));
        assert!(ID.is(frame.option.chunk.unwrap().bytes));
        let event = Event {
            time: EventTime { seconds: 5, nanos: 6 },
            metadata: None,
            record: b"\x81\xa1k\x07",
        };
        assert_eq!(frame.events().collect::<Vec<_>>(), [event; 3]);
        assert_eq!(frame.event_count(), 3);
    }

    #[test]
    fn an_error_names_the_byte_and_what_would_be_right() {
        for (bytes, message) in [
            (
                &b"\x91\xa1t"[..],
                "byte 0 of the frame: a frame has a tag, entries and perhaps an option; this one has 1 elements",
            ),
            (
                b"\x93\x05\x01\x80",
                "byte 1 of the frame: expected a tag, which is a str, found an integer",
            ),
            (
                b"\x93\xa1t\xc2\x80",
                "byte 3 of the frame: expected a time or entries, found a boolean",
            ),
            (
                b"\x93\xa1t\x01\xc0",
                "byte 4 of the frame: expected a record, which is a map, found nil",
            ),
            (
                b"\x92\xa1t\xc4\x03\x92\x01\x05",
                "byte 7 of the frame: expected a record, which is a map, found an integer",
            ),
            (
                b"\x92\xa1t\x91\x93\x01\x80\x80",
                "byte 4 of the frame: an entry is [time, record]; this one has 3 elements",
            ),
            (b"\x92\xa1t\xc4\x02\x92\x01", "byte 7 of the frame: the bytes end inside a value"),
            (b"\x92\xa1t\x90\x05", "byte 4 of the frame: 1 bytes are left over"),
            (
                b"\x93\xa1t\xc4\x00\x81\xaacompressed\xa3lz4",
                "byte 5 of the frame: compression 'lz4' is unknown; set the sender to gzip, zstd or none",
            ),
            (b"\x93\xa2\xff\xfe\x01\x80", "byte 1 of the frame: the tag is not UTF-8"),
        ] {
            let error = Frame::decode(bytes, &Limits::default()).unwrap_err();
            assert_eq!(error.to_string(), message, "{bytes:02x?}");
        }
    }

    #[test]
    fn each_limit_holds_to_the_byte() {
        let limits = Limits { frame: 100, inflated: 100, tag: 4, chunk_id: 24 };
        let decode =
            |bytes: &[u8]| Frame::decode(bytes, &limits).map(|_| ()).map_err(|error| error.reason);
        assert_eq!(decode(&frame_of("abcd", &[], 0, Some(&ID))), Ok(()));
        assert_eq!(
            decode(&frame_of("abcde", &[], 0, Some(&ID))),
            Err(Reason::TagTooLong { length: 5, limit: 4 })
        );
        let short = Limits { chunk_id: 23, ..limits };
        assert_eq!(
            Frame::decode(&frame_of("abcd", &[], 0, Some(&ID)), &short).unwrap_err().reason,
            Reason::ChunkIdTooLong { length: 24, limit: 23 }
        );
        let entry = b"\x92\x01\x80";
        let bytes = frame_of("abcd", &entry.repeat(28), 28, None);
        assert_eq!(bytes.len(), 99);
        assert_eq!(decode(&bytes), Ok(()));
        let bytes = frame_of("abcd", &entry.repeat(29), 29, None);
        assert_eq!(decode(&bytes), Err(Reason::FrameTooLarge(100)));
    }

    #[test]
    fn metrics_and_traces_are_taken_and_hold_no_events() {
        for (signal, ignored) in [(0, false), (1, true), (2, true)] {
            let mut bytes = b"\x93\xa1t\xc4\x03\x92\x01\x80\x81\xadfluent_signal".to_vec();
            bytes.push(signal);
            let frame = Frame::decode(&bytes, &Limits::default()).unwrap();
            assert_eq!(frame.is_ignored(), ignored, "{signal}");
            assert_eq!(frame.events().count(), usize::from(!ignored), "{signal}");
        }
    }

    #[test]
    fn the_first_byte_tells_frames_from_everything_else() {
        assert_eq!(Root::of(0xc0), Ok(Root::Heartbeat));
        for first in [0x92, 0x9f, 0xdc, 0xdd] {
            assert_eq!(Root::of(first), Ok(Root::Frame), "{first:02x}");
        }
        for (first, part) in [(b'G', "'G'"), (b'{', "JSON"), (0x16, "TLS"), (0x81, "0x81")] {
            let message = Root::of(first).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
    }
}

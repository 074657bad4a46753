//! A line becomes an event: parsed, stamped, filtered, in the chunk's own buffer.
//!
//! In:  a line, and where it came from
//! Out: `[time, record]` appended to the buffer, or nothing if a filter took it out
//!
//! A line that does not fit the parser goes out as text: it is data, not an error.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tracing::warn;

use crate::filter::{Filter, Verdict};
use crate::model::record::{append_pairs, write_map_header, write_str, write_uint};
use crate::model::{Counters, EventTime, FileId, Mentions};
use crate::parse::multiline::Message;
use crate::parse::{Parser, TimeFound};
use crate::tail::{Charset, Settings};

/// The bytes of an event before its record: an array of two, and the time.
pub(super) const BEFORE_RECORD: usize = 1 + EventTime::ENCODED;

/// What an event may take beyond what its line grows by and what is added to it: what stands
/// before the record, headers, the key of a text, the mark of a cut line.
const OVERHEAD: usize = 96;

/// Turns the lines of one input into events.
pub struct Encoder {
    parser: Option<Parser>,
    text_key: String,
    path_key: Option<String>,
    offset_key: Option<String>,
    added_by_filters: usize,
    /// The most bytes for each byte of a line.
    growth: usize,
    mentions: Mentions<(FileId, Complaint)>,
    counters: Arc<Counters>,
}

/// Where a line comes from.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// Its file.
    pub file: FileId,
    /// The path of its file.
    pub path: &'a Path,
    /// The offset of its first byte.
    pub offset: u64,
    /// What its file is written in.
    pub charset: Charset,
    /// When it was read.
    pub read_at: EventTime,
    /// The filters that take its tag, by number.
    pub filters: &'a [usize],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Complaint {
    Unparsed,
    BadText,
    BadTime,
    TimeOutOfRange,
    Divided,
}

impl Complaint {
    fn text(self) -> &'static str {
        match self {
            Self::Unparsed => "lines do not fit the parser and are delivered as text",
            Self::BadText => {
                "lines hold bytes that are not UTF-8 (or what `Unicode.Encoding` or \
                 `Generic.Encoding` says); they are replaced by U+FFFD"
            }
            Self::BadTime => "times do not fit `Time_Format`; the time of reading is used",
            Self::TimeOutOfRange => {
                "times lie outside of 1970 to 2106; the time of reading is used"
            }
            Self::Divided => {
                "messages of several lines are too long for multiline_buffer_limit, or for the \
                 memory that all that wait may take; they are divided"
            }
        }
    }
}

impl Encoder {
    /// `parser` is the one that `settings` names, `added_by_filters` the most bytes that all
    /// filters together add to a record.
    pub fn new(
        settings: &Settings,
        parser: Option<Parser>,
        added_by_filters: usize,
        counters: Arc<Counters>,
    ) -> Self {
        Self {
            growth: parser.as_ref().map_or(3, Parser::growth) + settings.encoding.growth(),
            parser,
            text_key: settings.key.clone(),
            path_key: settings.path_key.clone(),
            offset_key: settings.offset_key.clone(),
            added_by_filters,
            mentions: Mentions::default(),
            counters,
        }
    }

    /// The most bytes that the events of `length` bytes of one line can take.
    pub fn worst_case(&self, length: usize, path: &Path) -> usize {
        let parser = self.parser.as_ref().map_or(0, Parser::added_bytes);
        self.growth * length + parser + self.added_bytes(path)
    }

    /// The most bytes that the event of joined lines can take.
    pub fn need_of<P>(&self, message: &Message<P>, path: &Path) -> usize {
        match message.is_line {
            true => self.worst_case(message.size(), path),
            false => message.size() + self.added_bytes(path),
        }
    }

    /// What is in an event whatever its line is.
    fn added_bytes(&self, path: &Path) -> usize {
        let path = if self.path_key.is_some() { path.as_os_str().len() * 3 } else { 0 };
        let keys = [Some(&self.text_key), self.path_key.as_ref(), self.offset_key.as_ref()];
        let keys: usize = keys.into_iter().flatten().map(|key| key.len() + 5).sum();
        OVERHEAD + keys + path + self.added_by_filters
    }

    /// Appends the event of a line that is UTF-8. `None`: a filter took it out.
    pub fn encode(
        &mut self,
        line: &str,
        origin: Origin<'_>,
        filters: &mut [Filter],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let start = out.len();
        out.resize(start + BEFORE_RECORD, 0);
        let time = self.write_record(line, origin, out);
        self.finish(start, time, origin, filters, out)
    }

    /// The same for a line that must be converted: every bad sequence becomes U+FFFD.
    pub fn encode_bytes(
        &mut self,
        line: &[u8],
        origin: Origin<'_>,
        filters: &mut [Filter],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let text = self.repair(line, origin);
        self.encode(&text, origin, filters, out)
    }

    /// Appends the event of the beginning of a line above the limit: text, and a mark.
    pub fn encode_cut(
        &mut self,
        beginning: &[u8],
        origin: Origin<'_>,
        filters: &mut [Filter],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let text = self.repair(beginning, origin);
        let start = out.len();
        out.resize(start + BEFORE_RECORD, 0);
        self.write_text(&text, origin, out);
        let mut mark = Vec::with_capacity(16);
        write_str(&mut mark, "truncated");
        mark.push(0xc3);
        append_pairs(out, start + BEFORE_RECORD, 1, &mark);
        self.finish(start, None, origin, filters, out)
    }

    /// Appends the event of joined lines: those that became one line again, as any line. The time
    /// of others, if they carry none, is that of reading the first one.
    pub fn encode_message<P>(
        &mut self,
        message: &Message<P>,
        origin: Origin<'_>,
        filters: &mut [Filter],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        if message.is_divided {
            self.counters.multiline_truncated.add(1);
            self.complain(Complaint::Divided, origin);
        }
        if message.is_line {
            // It was converted before it was joined.
            let origin = Origin { charset: Charset::Utf8, ..origin };
            return self.encode_bytes(&message.line(), origin, filters, out);
        }
        if message.is_unparsed {
            self.counters.unparsed.add(1);
            self.complain(Complaint::Unparsed, origin);
        }
        let start = out.len();
        out.resize(start + BEFORE_RECORD, 0);
        message.write(out);
        self.append_origin(start + BEFORE_RECORD, origin, out);
        let time = self.judge_time(message.time, origin).unwrap_or(message.read_at);
        self.finish(start, Some(time), origin, filters, out)
    }

    /// The line as text: every sequence that fits no character becomes U+FFFD.
    pub fn repair<'a>(&mut self, line: &'a [u8], origin: Origin<'_>) -> Cow<'a, str> {
        let (text, is_bad) = origin.charset.decode(line);
        if is_bad {
            self.counters.bad_text.add(1);
            self.complain(Complaint::BadText, origin);
        }
        text
    }

    fn write_record(
        &mut self,
        line: &str,
        origin: Origin<'_>,
        out: &mut Vec<u8>,
    ) -> Option<EventTime> {
        let Some(parser) = &self.parser else {
            self.write_text(line, origin, out);
            return None;
        };
        let start = out.len();
        let Ok(parsed) = parser.parse(line, origin.read_at, out) else {
            self.counters.unparsed.add(1);
            self.complain(Complaint::Unparsed, origin);
            self.write_text(line, origin, out);
            return None;
        };
        self.append_origin(start, origin, out);
        self.judge_time(parsed.time, origin)
    }

    fn append_origin(&self, start: usize, origin: Origin<'_>, out: &mut Vec<u8>) {
        if self.path_key.is_some() || self.offset_key.is_some() {
            let mut encoded = Vec::new();
            let pairs = self.write_origin(origin, &mut encoded);
            append_pairs(out, start, pairs, &encoded);
        }
    }

    fn judge_time(&mut self, found: TimeFound, origin: Origin<'_>) -> Option<EventTime> {
        match found {
            TimeFound::At(time) => return Some(time),
            TimeFound::None => {}
            TimeFound::Unreadable => {
                self.counters.bad_time.add(1);
                self.complain(Complaint::BadTime, origin);
            }
            TimeFound::OutOfRange => {
                self.counters.time_out_of_range.add(1);
                self.complain(Complaint::TimeOutOfRange, origin);
            }
        }
        None
    }

    fn write_text(&self, line: &str, origin: Origin<'_>, out: &mut Vec<u8>) {
        let own = usize::from(self.path_key.is_some()) + usize::from(self.offset_key.is_some());
        write_map_header(out, own + 1);
        self.write_origin(origin, out);
        write_str(out, &self.text_key);
        write_str(out, line);
    }

    fn write_origin(&self, origin: Origin<'_>, out: &mut Vec<u8>) -> usize {
        let mut pairs = 0;
        if let Some(key) = &self.path_key {
            write_str(out, key);
            write_str(out, &origin.path.to_string_lossy());
            pairs += 1;
        }
        if let Some(key) = &self.offset_key {
            write_str(out, key);
            write_uint(out, origin.offset);
            pairs += 1;
        }
        pairs
    }

    fn finish(
        &mut self,
        start: usize,
        time: Option<EventTime>,
        origin: Origin<'_>,
        filters: &mut [Filter],
        out: &mut Vec<u8>,
    ) -> Option<()> {
        let time = time.unwrap_or_else(time_of_reading);
        complete(out, start, time, origin.filters, filters, &self.counters)
    }

    fn complain(&mut self, complaint: Complaint, origin: Origin<'_>) {
        if let Some(times) = self.mentions.due((origin.file, complaint), Instant::now()) {
            warn!(file = %origin.path.display(), offset = origin.offset, times, "{}", complaint.text());
        }
    }
}

/// Makes an event of the record that stands [`BEFORE_RECORD`] bytes behind `start`, at the end of
/// `out`. `None`: a filter took it out, and nothing is left of it.
pub(super) fn complete(
    out: &mut Vec<u8>,
    start: usize,
    time: EventTime,
    numbers: &[usize],
    filters: &mut [Filter],
    counters: &Counters,
) -> Option<()> {
    for &number in numbers {
        if filters[number].apply(out, start + BEFORE_RECORD) == Verdict::Drop {
            out.truncate(start);
            counters.filtered_events.add(1);
            return None;
        }
    }
    out[start] = 0x92;
    out[start + 1..start + BEFORE_RECORD].copy_from_slice(&time.encode());
    Some(())
}

/// What the clock says now.
pub fn time_of_reading() -> EventTime {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| EventTime::new(seconds, now.subsec_nanos()))
        .unwrap_or_default()
}

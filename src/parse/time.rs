//! Reads the time a line carries.
//!
//! In:  the text of the time key, or its number; when the line was read
//! Out: the time, or why there is none
//!
//! With `Time_Format` the text is read as Fluent Bit's own `strptime` reads it; the fixed ISO
//! shapes have a fast path that answers only where it agrees with the slow one. With `Time_Key`
//! alone every common form of RFC 3339 is read, and epochs in seconds, milli-, micro- or
//! nanoseconds.

mod civil;
mod format;
mod plain;

pub use format::FormatProblem;

use self::format::Format;
use super::Definition;
use crate::model::EventTime;

/// What a line said about its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFound {
    /// This.
    At(EventTime),
    /// Nothing: no time key, or none that is looked for.
    None,
    /// Something that cannot be read.
    Unreadable,
    /// A time before 1970 or after 2106, which the protocol cannot carry.
    OutOfRange,
}

/// The value of a time key, as its reader found it.
#[derive(Clone, Copy, Debug)]
pub(super) enum TimeValue<'a> {
    /// A string, without quotes and escapes.
    Text(&'a [u8]),
    /// A number, as written.
    Number(&'a [u8]),
    /// Anything else.
    Other,
}

/// `Time_Key` and what belongs to it, compiled.
#[derive(Debug)]
pub(super) struct TimeField {
    key: String,
    shape: Shape,
    keep: bool,
    strict: bool,
}

#[derive(Debug)]
enum Shape {
    Format(Format),
    Plain,
}

impl TimeField {
    /// `None`: neither `Time_Key` nor `Time_Format` is written, and the time of reading is used.
    pub(super) fn compile(definition: &Definition) -> Option<Self> {
        if definition.time_key.is_none() && definition.time_format.is_none() {
            return None;
        }
        let offset = definition.time_offset.unwrap_or(0);
        let shape = match &definition.time_format {
            Some(format) => Shape::Format(Format::compile(format, offset)),
            None => Shape::Plain,
        };
        // A format says that the key is only a time. Without one, Fluent Bit would have left the
        // key in the record, so it stays there unless it is said otherwise.
        let keeps_by_default = matches!(shape, Shape::Plain);
        Some(Self {
            key: definition.time_key.clone().unwrap_or_else(|| "time".to_owned()),
            shape,
            keep: definition.time_keep.unwrap_or(keeps_by_default),
            strict: definition.time_strict,
        })
    }

    /// What is wrong with the format, if no line can fit it.
    pub(super) fn problem(&self) -> Option<FormatProblem> {
        match &self.shape {
            Shape::Format(format) => format.problem(),
            Shape::Plain => None,
        }
    }

    /// Whether this is the key.
    pub(super) fn is(&self, key: &[u8]) -> bool {
        self.key.as_bytes() == key
    }

    /// Reads a value. `read_at` stands in for a date that the format does not have.
    pub(super) fn read(&self, value: TimeValue<'_>, read_at: EventTime) -> TimeFound {
        match (&self.shape, value) {
            (Shape::Format(format), TimeValue::Text(text)) => format.read(text, read_at),
            (Shape::Plain, TimeValue::Text(text)) => plain::read(text),
            (Shape::Plain, TimeValue::Number(number)) => plain::read_epoch(number),
            (Shape::Plain, TimeValue::Other) => TimeFound::Unreadable,
            // Fluent Bit looks for a time in strings only; to it there is none.
            (Shape::Format(_), TimeValue::Number(_) | TimeValue::Other) => TimeFound::None,
        }
    }

    /// Whether the key stays in the record. A time that could not be used is never taken out,
    /// unless `Time_Strict Off` asks for it.
    pub(super) fn keeps(&self, found: TimeFound) -> bool {
        match found {
            TimeFound::At(_) => self.keep,
            TimeFound::Unreadable => self.strict || self.keep,
            TimeFound::None | TimeFound::OutOfRange => true,
        }
    }
}

/// The time at so many seconds since 1970.
fn at(seconds: i64, nanos: u32) -> TimeFound {
    EventTime::new(seconds, nanos).map_or(TimeFound::OutOfRange, TimeFound::At)
}

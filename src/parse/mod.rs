//! Turns a line into a record.
//!
//! In:  a line of valid UTF-8, and the time at which it was read
//! Out: the record, appended to a buffer as one MessagePack map, and the time the line carries
//!
//! Nothing here asks a clock or counts anything: what a line turned out to be is in the answer.

pub mod definition;

mod fields;
mod json;
mod logfmt;
mod ltsv;
#[cfg(test)]
mod oracle;
mod regex;
mod time;

pub use definition::{Definition, Format, Type};
pub use time::{FormatProblem, TimeFound};

use self::fields::Fields;
use self::regex::RegexReader;
use self::time::TimeField;
use crate::model::EventTime;

/// A compiled `[PARSER]`. Using it never fails for a reason that lies in the configuration.
#[derive(Debug)]
pub struct Parser {
    reader: Reader,
    time: Option<TimeField>,
    fields: Fields,
}

#[derive(Debug)]
enum Reader {
    Json,
    Regex(RegexReader),
    Logfmt { no_bare_keys: bool },
    Ltsv,
}

/// Why a parser cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DefinitionError {
    /// `Regex` is none.
    #[error("'{pattern}' is not a regular expression: {reason}")]
    Regex {
        /// As written.
        pattern: String,
        /// What the compiler says.
        reason: Box<fancy_regex::Error>,
    },
    /// `Regex` can give no key.
    #[error("'{pattern}' has no named group; write for example '(?<message>.*)'")]
    NoGroup {
        /// As written.
        pattern: String,
    },
}

/// What a line gave besides the bytes of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// How many pairs the map has.
    pub pairs: usize,
    /// The time the line carries.
    pub time: TimeFound,
}

/// Why a line made no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unparsed {
    /// The line is empty, blank, or begins with something other than `{`.
    #[error("the line is not a JSON object")]
    NotAnObject,
    /// The object is not well-formed.
    #[error("not JSON at byte {at}")]
    NotJson {
        /// Where in the line, counted from 0.
        at: usize,
    },
    /// Something other than blanks stands behind the object.
    #[error("more text behind the JSON object, at byte {at}")]
    MoreText {
        /// Where in the line, counted from 0.
        at: usize,
    },
    /// MessagePack readers (Fluent Bit's among them) stop at this depth.
    #[error("more than {} levels of objects and arrays", json::DEEPEST)]
    TooDeep,
    /// The line does not fit the regular expression, or matching it takes too many steps.
    #[error("the line does not fit the regular expression")]
    NoMatch,
    /// There is no key and value in the line.
    #[error("the line has no key and value")]
    NoPair,
}

impl Parser {
    /// Compiles a definition.
    pub fn compile(definition: &Definition) -> Result<Self, DefinitionError> {
        let reader = match &definition.format {
            Format::Json => Reader::Json,
            Format::Regex { pattern, skip_empty_values } => {
                Reader::Regex(RegexReader::compile(pattern, *skip_empty_values)?)
            }
            Format::Logfmt { no_bare_keys } => Reader::Logfmt { no_bare_keys: *no_bare_keys },
            Format::Ltsv => Reader::Ltsv,
        };
        let time = TimeField::compile(definition);
        Ok(Self { reader, time, fields: Fields::new(&definition.types) })
    }

    /// What is wrong with its `Time_Format`, if no time can fit it.
    pub fn time_problem(&self) -> Option<FormatProblem> {
        self.time.as_ref().and_then(TimeField::problem)
    }

    /// What a record may take beyond three times its line, in bytes: the names of a regex's groups
    /// are not in the line.
    pub fn added_bytes(&self) -> usize {
        match &self.reader {
            Reader::Regex(regex) => regex.added_bytes(),
            Reader::Json | Reader::Logfmt { .. } | Reader::Ltsv => 16,
        }
    }

    /// Appends the record of `line` to `out`: at most three times the length of the line and
    /// [`Parser::added_bytes`], unless groups of a regex overlap. On an error `out` is as it was.
    /// `read_at` stands in for a date that a time format lacks.
    pub fn parse(
        &self,
        line: &str,
        read_at: EventTime,
        out: &mut Vec<u8>,
    ) -> Result<Parsed, Unparsed> {
        let time = self.time.as_ref();
        match &self.reader {
            Reader::Json => json::transcode(line, time, read_at, out),
            Reader::Regex(regex) => {
                self.fields.write(out, time, read_at, |record| regex.read(line, record))
            }
            Reader::Logfmt { no_bare_keys } => self
                .fields
                .write(out, time, read_at, |record| logfmt::read(line, *no_bare_keys, record)),
            Reader::Ltsv => {
                self.fields.write(out, time, read_at, |record| ltsv::read(line, record))
            }
        }
    }
}

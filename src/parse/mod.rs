//! Turns a line into a record.
//!
//! In:  a line of valid UTF-8, and the time at which it was read
//! Out: the record, appended to a buffer as one MessagePack map, and the time the line carries
//!
//! Nothing here asks a clock or counts anything: what a line turned out to be is in the answer.

pub mod definition;

mod json;

mod time;

pub use definition::{Definition, Format, Type};
pub use time::TimeFound;

use time::TimeField;

use crate::model::{EventTime, record};

/// A compiled `[PARSER]`. Using it never fails for a reason that lies in the configuration.
#[derive(Debug)]
pub struct Parser {
    reader: Reader,
    time: Option<TimeField>,
    warnings: Vec<String>,
}

#[derive(Debug)]
enum Reader {
    Json,
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
}

impl Parser {
    /// x
    pub fn compile(_d: &Definition)->Result<Self,std::fmt::Error> { Ok(Self { reader: Reader::Json, time: Some(TimeField{key:"time".into()}), warnings: vec![] }) }
    /// x
    pub fn parse(&self, line: &str, read_at: EventTime, out: &mut Vec<u8>) -> Result<Parsed, Unparsed> {
        match &self.reader { Reader::Json => json::transcode(line, self.time.as_ref(), read_at, out) }
    }
}

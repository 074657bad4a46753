//! Turns a line into a record.
//!
//! In:  a line of valid UTF-8, and the time at which it was read
//! Out: the record, appended to a buffer as one MessagePack map, and the time the line carries
//!
//! Nothing here asks a clock or counts anything: what a line turned out to be is in the answer.

pub mod definition;
pub mod multiline;

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

    /// The most bytes that a record may take for each byte of its line. A key of logfmt that stands
    /// alone has no text, and `Types` can make a float of it all the same.
    pub fn growth(&self) -> usize {
        match self.reader {
            Reader::Logfmt { no_bare_keys: false } if self.fields.has_floats() => 6,
            _ => 3,
        }
    }

    /// What a record may take beyond that, in bytes: the names of a regex's groups are not in the
    /// line.
    pub fn added_bytes(&self) -> usize {
        match &self.reader {
            Reader::Regex(regex) => regex.added_bytes(),
            Reader::Json | Reader::Logfmt { .. } | Reader::Ltsv => 16,
        }
    }

    /// Appends the record of `line` to `out`: at most [`Parser::growth`] times the length of the
    /// line and [`Parser::added_bytes`], unless groups of a regex overlap. On an error `out` is as it was.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::oracle::{READ_AT, message_pack};
    use super::*;
    use crate::model::record;

    const ISO: &str = "%Y-%m-%dT%H:%M:%S.%L%z";

    /// 2026-11-24T08:26:12.5Z.
    const AT: TimeFound = TimeFound::At(EventTime { seconds: 1_795_508_772, nanos: 500_000_000 });

    /// A parser and what its `Time_…` keys are, as far as they are written.
    #[derive(Clone, Copy, Default)]
    struct Times<'a> {
        key: Option<&'a str>,
        format: Option<&'a str>,
        keep: Option<bool>,
        lenient: bool,
    }

    impl Times<'_> {
        fn parser(self, format: Format) -> Parser {
            let mut definition = Definition::new("test", format);
            definition.time_key = self.key.map(str::to_owned);
            definition.time_format = self.format.map(str::to_owned);
            definition.time_keep = self.keep;
            definition.time_strict = !self.lenient;
            Parser::compile(&definition).unwrap()
        }
    }

    fn assert_gives(parser: &Parser, line: &str, record: &str, time: TimeFound) {
        let mut out = Vec::new();
        let parsed = parser.parse(line, READ_AT, &mut out).unwrap();
        assert_eq!(out, message_pack(record).unwrap(), "{line}: {out:x?}");
        let (pairs, _) = record::read_map_header(&out).unwrap();
        assert_eq!(parsed, Parsed { pairs, time }, "{line}");
    }

    #[test]
    fn a_format_reads_the_time_key_and_takes_it_out_of_the_record() {
        let json = Times { key: Some("ts"), format: Some(ISO), ..Times::default() };
        let json = json.parser(Format::Json);
        for (line, record, time) in [
            (r#"{"ts":"2026-11-24T08:26:12.5Z","a":1}"#, r#"{"a":1}"#, AT),
            (r#"{"a":1,"ts":"2026-11-24T08:26:12.5Z"}"#, r#"{"a":1}"#, AT),
            (r#"{"ts":"2026-11-24T09:26:12.5\u002b01:00"}"#, "{}", AT),
            (r#"{"\u0074s":"2026-11-24T08:26:12.5Z"}"#, "{}", AT),
            (r#"{"ts":"2026-11-24T08:26:12.5Z","ts":"x","ts":"y"}"#, r#"{"ts":"x","ts":"y"}"#, AT),
            (
                r#"{"ts":"x","ts":"2026-11-24T08:26:12.5Z"}"#,
                r#"{"ts":"x","ts":"2026-11-24T08:26:12.5Z"}"#,
                TimeFound::Unreadable,
            ),
            (r#"{"ts":1795508772}"#, r#"{"ts":1795508772}"#, TimeFound::None),
            (r#"{"ts":null}"#, r#"{"ts":null}"#, TimeFound::None),
            (r#"{"ts":{"ts":[1]}}"#, r#"{"ts":{"ts":[1]}}"#, TimeFound::None),
            (
                r#"{"in":{"ts":"2026-11-24T08:26:12.5Z"}}"#,
                r#"{"in":{"ts":"2026-11-24T08:26:12.5Z"}}"#,
                TimeFound::None,
            ),
            (
                r#"{"ts":"1969-12-31T23:59:59.5Z"}"#,
                r#"{"ts":"1969-12-31T23:59:59.5Z"}"#,
                TimeFound::OutOfRange,
            ),
            (r#"{"TS":"x"}"#, r#"{"TS":"x"}"#, TimeFound::None),
        ] {
            assert_gives(&json, line, record, time);
        }
    }

    #[test]
    fn each_way_to_write_the_time_keys_has_its_meaning() {
        let iso = r#"{"time":"2026-11-24T08:26:12.5Z"}"#;
        let number = r#"{"time":1795508772.5}"#;
        let bad = r#"{"time":"soon"}"#;
        let neither = Times::default();
        let only_key = Times { key: Some("time"), ..neither };
        let only_format = Times { format: Some(ISO), ..neither };
        let keeping = |times: Times<'static>, keep| Times { keep: Some(keep), ..times };
        let lenient = Times { lenient: true, ..only_format };
        for (times, line, record, time) in [
            (neither, iso, iso, TimeFound::None),
            (only_key, iso, iso, AT),
            (only_key, number, number, AT),
            (only_key, r#"{"time":"1795508772500"}"#, r#"{"time":"1795508772500"}"#, AT),
            (only_key, r#"{"time":[1]}"#, r#"{"time":[1]}"#, TimeFound::Unreadable),
            (only_key, bad, bad, TimeFound::Unreadable),
            (only_key, r#"{"time":-5}"#, r#"{"time":-5}"#, TimeFound::OutOfRange),
            (keeping(only_key, false), number, "{}", AT),
            (keeping(only_key, false), bad, bad, TimeFound::Unreadable),
            (only_format, iso, "{}", AT),
            (keeping(only_format, true), iso, iso, AT),
            (only_format, bad, bad, TimeFound::Unreadable),
            (lenient, bad, "{}", TimeFound::Unreadable),
            (keeping(lenient, true), bad, bad, TimeFound::Unreadable),
            (lenient, iso, "{}", AT),
        ] {
            assert_gives(&times.parser(Format::Json), line, record, time);
        }
    }

    #[test]
    fn a_map_is_as_long_as_it_says_when_the_time_was_the_sixteenth_pair() {
        let pairs: Vec<_> = (0..15).map(|number| format!(r#""k{number}":{number}"#)).collect();
        let pairs = pairs.join(",");
        let json = Times { format: Some(ISO), ..Times::default() }.parser(Format::Json);
        let line = format!(r#"{{{pairs},"time":"2026-11-24T08:26:12.5Z"}}"#);
        assert_gives(&json, &line, &format!("{{{pairs}}}"), AT);
    }

    #[test]
    fn other_formats_treat_the_time_alike_and_never_lose_the_record() {
        let times = Times { format: Some(ISO), ..Times::default() };
        let pattern = "^time=(?<time>[^ ]+) a=(?<a>.*)$".to_owned();
        let regex = Format::Regex { pattern, skip_empty_values: true };
        let logfmt = Format::Logfmt { no_bare_keys: false };
        for (format, line) in
            [(regex, "time=TIME a=x"), (logfmt, "time=TIME a=x"), (Format::Ltsv, "time:TIME\ta:x")]
        {
            let good = line.replace("TIME", "2026-11-24T08:26:12.5Z");
            let bad = line.replace("TIME", "soon");
            let kept = r#"{"time":"soon","a":"x"}"#;
            let strict = times.parser(format.clone());
            assert_gives(&strict, &good, r#"{"a":"x"}"#, AT);
            assert_gives(&strict, &bad, kept, TimeFound::Unreadable);
            let lenient = Times { lenient: true, ..times }.parser(format);
            assert_gives(&lenient, &bad, r#"{"a":"x"}"#, TimeFound::Unreadable);
        }
    }

    #[test]
    fn keys_without_a_text_that_become_floats_stay_within_what_is_announced() {
        let logfmt = Format::Logfmt { no_bare_keys: false };
        let types = vec![("n".to_owned(), Type::Float)];
        let definition = Definition { types, ..Definition::new("test", logfmt) };
        let parser = Parser::compile(&definition).unwrap();
        let line = "n ".repeat(100);
        let mut out = Vec::new();
        parser.parse(&line, READ_AT, &mut out).unwrap();
        let announced = parser.growth() * line.len() + parser.added_bytes();
        assert!(out.len() <= announced, "{} > {announced}", out.len());
    }

    fn parsers() -> Vec<Parser> {
        let pattern = "(?<half>.*?)(?<n>[a-z]*) ?$";
        let formats = [
            Format::Json,
            Format::Regex { pattern: pattern.to_owned(), skip_empty_values: false },
            Format::Logfmt { no_bare_keys: false },
            Format::Ltsv,
        ];
        let types = [("n", Type::Float), ("half", Type::Integer)];
        let types: Vec<_> = types.iter().map(|(key, kind)| ((*key).to_owned(), *kind)).collect();
        let all = formats.iter().flat_map(|format| {
            [vec![], types.clone()].map(|types| {
                let definition = Definition { types, ..Definition::new("test", format.clone()) };
                Parser::compile(&definition).unwrap()
            })
        });
        all.collect()
    }

    proptest! {
        #[test]
        fn a_record_is_never_larger_than_announced_and_a_failing_line_leaves_nothing(
            line in r#"((n|a)[= :\t]|"\\u00e9"|[a-z ]{0,50}|\PC|\t){0,60}"#,
        ) {
            for parser in parsers() {
                let mut out = Vec::with_capacity(
                    1 + parser.growth() * line.len() + parser.added_bytes(),
                );
                out.push(7);
                let capacity = out.capacity();
                if parser.parse(&line, READ_AT, &mut out).is_err() {
                    prop_assert_eq!(&out, &[7]);
                }
                prop_assert_eq!(out.capacity(), capacity, "{:?} of {:?}", parser.reader, line);
            }
        }
    }
}

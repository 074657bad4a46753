//! Lines that belong together: which ones, and how they are joined.
//!
//! In:  the lines of one file, one after the other, and a [`Group`] of multiline parsers
//! Out: messages, each a record of its own
//!
//! A [`Group`] is compiled once an input; a [`Joiner`] holds what is not complete of one file.
//! Nothing here asks a clock: whoever feeds a line says when.

mod builtin;
mod definition;
mod joiner;
mod rules;

use std::sync::Arc;
use std::time::Duration;

pub use self::builtin::{NAMES as BUILT_IN, builtin};
pub use self::definition::{Definition, Kind, Match, Rule};
pub use self::joiner::{Fed, Joiner, Message};
use self::rules::Rules;
use super::{DefinitionError, Parser, TimeFound};
use crate::model::EventTime;
use crate::model::cursor::{Reader, Token};

/// The key of a joined text, whatever `Key` says, as in Fluent Bit.
const TEXT_KEY: &str = "log";

/// The parsers of one `multiline.parser`, compiled: tried in order, the last successful one first.
#[derive(Debug)]
pub struct Group {
    parsers: Vec<Compiled>,
    /// `multiline_buffer_limit`.
    limit: usize,
}

/// Why a multiline parser cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MultilineError {
    /// Type `regex` lives of its rules.
    #[error("has no Rule; the first one must begin with \"start_state\"")]
    NoRule,
    /// The first rule says where messages begin.
    #[error("the first Rule begins with \"{0}\"; it must begin with \"start_state\"")]
    NoStart(String),
    /// No rule begins with the state that another one leads to.
    #[error("no Rule begins with \"{0}\", which another one leads to")]
    NoSuchState(String),
    /// A pattern is none, or the parser of its lines cannot be compiled.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
}

/// One multiline parser.
#[derive(Debug)]
struct Compiled {
    rules: Rules,
    flush_after: Duration,
    /// Makes a record of each line. `None`: lines are text.
    parser: Option<Parser>,
    /// Where a joined text goes.
    key: Arc<str>,
    /// What is joined, of a parsed line.
    key_content: Option<String>,
    /// What the rules look at, if not at what is joined.
    key_pattern: Option<String>,
    /// What tells the streams of one file apart.
    key_group: Option<String>,
    /// Lines are joined with a newline between them.
    joins_with_newline: bool,
    /// A newline stands at the end of every message.
    ends_with_newline: bool,
}

/// A line as one multiline parser sees it.
struct Look<'a> {
    content: &'a str,
    pattern: &'a str,
    stream: &'a str,
    /// The pairs of a parsed line around its content.
    around: Option<Around<'a>>,
    time: TimeFound,
}

/// A record without one of its pairs.
struct Around<'a> {
    /// With that one.
    pairs: usize,
    before: &'a [u8],
    after: &'a [u8],
}

impl Group {
    /// Compiles `definitions`. No message becomes longer than `limit` bytes (unless one line is).
    pub fn compile(definitions: &[Definition], limit: usize) -> Result<Self, MultilineError> {
        let parsers = definitions.iter().map(Compiled::new).collect::<Result<_, _>>()?;
        Ok(Self { parsers, limit })
    }
}

impl Compiled {
    fn new(definition: &Definition) -> Result<Self, MultilineError> {
        let parser = definition.parser.as_ref().map(Parser::compile).transpose()?;
        let is_text = definition.key_content.is_none();
        let content = definition.key_content.as_deref();
        Ok(Self {
            rules: Rules::compile(&definition.kind)?,
            flush_after: definition.flush_after,
            key: Arc::from(content.unwrap_or(TEXT_KEY)),
            // A parsed line without `Key_Content` would leave nothing to join.
            key_content: parser.as_ref().map(|_| content.unwrap_or(TEXT_KEY).to_owned()),
            key_pattern: definition.key_pattern.clone(),
            key_group: definition.key_group.clone(),
            joins_with_newline: is_text || matches!(definition.kind, Kind::States(_)),
            ends_with_newline: is_text,
            parser,
        })
    }

    /// `None`: the line does not fit its parser, or has nothing to join.
    fn look<'a>(
        &self,
        line: &'a str,
        read_at: EventTime,
        record: &'a mut Vec<u8>,
    ) -> Option<Look<'a>> {
        let Some(parser) = &self.parser else {
            let time = TimeFound::None;
            return Some(Look { content: line, pattern: line, stream: "", around: None, time });
        };
        record.clear();
        let time = parser.parse(line, read_at, record).ok()?.time;
        let (content, around) = split_at_key(record, self.key_content.as_deref()?)?;
        let value = |key: &Option<String>| {
            key.as_deref().map(|key| split_at_key(record, key).map_or("", |(value, _)| value))
        };
        Some(Look {
            content,
            pattern: value(&self.key_pattern).unwrap_or(content),
            stream: value(&self.key_group).unwrap_or(""),
            around: Some(around),
            time,
        })
    }
}

/// The text of a key of a record, and what stands around the pair.
fn split_at_key<'a>(record: &'a [u8], key: &str) -> Option<(&'a str, Around<'a>)> {
    let mut reader = Reader::new(record);
    let pairs = reader.map("a record").ok()?;
    let first = reader.at();
    for _ in 0..pairs {
        let start = reader.at();
        let is_it = matches!(reader.token(), Ok(Token::Str(name)) if name == key.as_bytes());
        let value = reader.peek().ok()?;
        reader.skip().ok()?;
        if let (true, Token::Str(text)) = (is_it, value) {
            let around = Around {
                pairs: usize::try_from(pairs).ok()?,
                before: &record[first..start],
                after: reader.rest(),
            };
            return Some((std::str::from_utf8(text).ok()?, around));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// A record of texts and booleans as JSON.
    pub(super) fn to_json(record: &[u8], out: &mut Vec<u8>) {
        let mut reader = Reader::new(record);
        let pairs = reader.map("a record").unwrap();
        let mut map = serde_json::Map::new();
        for _ in 0..pairs {
            let key = String::from_utf8(reader.text("a key").unwrap().to_vec()).unwrap();
            let value = match reader.token().unwrap() {
                Token::Str(text) => String::from_utf8(text.to_vec()).unwrap().into(),
                Token::Bool(value) => value.into(),
                other => panic!("{} in {record:?}", other.name()),
            };
            map.insert(key, value);
        }
        assert!(reader.is_at_end());
        serde_json::to_writer(out, &map).unwrap();
    }

    const AT: Duration = Duration::from_secs(4);

    fn group(limit: usize) -> Group {
        let rules = vec![
            Rule::new("start_state", "/^>/", Some("more")),
            Rule::new("more", "/^ /", Some("more")),
        ];
        let entries = Definition::new("entries", Kind::States(rules));
        Group::compile(&[entries, builtin("java").unwrap()], limit).unwrap()
    }

    struct Case {
        group: Group,
        joiner: Joiner<usize>,
        now: Instant,
    }

    impl Case {
        fn new(limit: usize) -> Self {
            Self { group: group(limit), joiner: Joiner::default(), now: Instant::now() }
        }

        fn feed(&mut self, lines: &[&str]) {
            for line in lines {
                let fed = Fed { place: 0, bytes: 1, read_at: EventTime::default(), now: self.now };
                self.joiner.feed(&self.group, line, fed);
            }
        }

        fn ready(&mut self) -> Vec<String> {
            let messages = std::iter::from_fn(|| self.joiner.take_ready());
            messages
                .map(|message| {
                    let mut out = Vec::new();
                    message.write(&mut out);
                    let mut json = Vec::new();
                    to_json(&out, &mut json);
                    String::from_utf8(json).unwrap()
                })
                .collect()
        }
    }

    #[test]
    fn the_time_out_counts_from_the_last_line_of_a_message() {
        let mut case = Case::new(1000);
        case.feed(&[">a"]);
        let begun = case.now;
        case.now += Duration::from_secs(3);
        case.feed(&[" b"]);
        assert_eq!(case.joiner.next_due(), Some(case.now + AT));
        case.joiner.flush_due(&case.group, begun + AT);
        assert_eq!(case.ready(), [""; 0], "a line came since");
        case.joiner.flush_due(&case.group, case.now + AT);
        assert_eq!(case.ready(), [r#"{"log":">a\n b\n"}"#]);
        assert_eq!(case.joiner.next_due(), None);
    }

    #[test]
    fn a_line_that_another_parser_takes_ends_what_is_pending() {
        let mut case = Case::new(1000);
        case.feed(&[">a", "x.Error: b", "\tat c", ">d", "e"]);
        assert_eq!(
            case.ready(),
            [
                r#"{"log":">a\n"}"#,
                r#"{"log":"x.Error: b\n\tat c\n"}"#,
                r#"{"log":">d\n"}"#,
                r#"{"log":"e\n"}"#
            ]
        );
        assert_eq!(case.joiner.held().count(), 0);
    }

    #[test]
    fn a_message_above_the_limit_is_divided_and_loses_nothing() {
        let mut case = Case::new(10);
        case.feed(&[">12345", " 6789", " 0", ">a"]);
        case.joiner.flush_all(&case.group);
        assert_eq!(
            case.ready(),
            [
                r#"{"log":">12345\n","multiline_truncated":true}"#,
                r#"{"log":" 6789\n 0\n"}"#,
                r#"{"log":">a\n"}"#,
            ]
        );
    }

    #[test]
    fn what_is_held_counts_until_it_is_taken_away() {
        let mut case = Case::new(1000);
        case.feed(&[">a", ">b"]);
        assert_eq!(case.joiner.held().count(), 2);
        assert!(case.joiner.first_ready().is_some());
        case.joiner.take_ready();
        assert_eq!(case.joiner.held().map(Message::size).sum::<usize>(), 40 + 3 + 2);
        assert!(case.joiner.flush_oldest(&case.group));
        assert!(!case.joiner.flush_oldest(&case.group));
    }

    #[test]
    fn a_seventh_stream_of_a_file_ends_the_oldest() {
        let wanted = Match { text: ";".to_owned(), negate: false };
        let definition = Definition {
            key_content: Some("log".to_owned()),
            key_group: Some("s".to_owned()),
            parser: Some(super::super::Definition::new("j", super::super::Format::Json)),
            ..Definition::new("custom", Kind::EndsWith(wanted))
        };
        let mut case = Case::new(1000);
        case.group = Group::compile(&[definition], 1000).unwrap();
        for number in 0..7 {
            case.feed(&[&format!("{{\"s\":\"{number}\",\"log\":\"a\"}}")]);
        }
        assert_eq!(case.ready(), [r#"{"log":"a","s":"0"}"#]);
        case.feed(&[r#"{"s":"6","log":"b;"}"#]);
        assert_eq!(case.ready(), [r#"{"log":"ab;","s":"6"}"#]);
    }
}

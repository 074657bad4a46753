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
mod old;
mod rules;

use std::sync::Arc;
use std::time::Duration;

pub use self::builtin::{NAMES as BUILT_IN, builtin};
pub use self::definition::{Definition, Kind, Match, Rule};
pub use self::joiner::{Fed, Joiner, Message};
use self::old::{FirstLines, Pieces};
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
    #[error("is missing; write 'Rule \"start_state\" \"/pattern/\" \"next state\"' first")]
    NoRule,
    /// A rule cannot be used.
    #[error("{wrong}")]
    Rule {
        /// Which one, counted from 0.
        number: usize,
        /// Why.
        wrong: WrongRule,
    },
    /// The parser of its lines cannot be compiled.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
}

/// Why a rule cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum WrongRule {
    /// The first rule says where messages begin.
    #[error("the first rule is tried in \"{0}\"; it must be tried in \"start_state\"")]
    NoStart(String),
    /// No rule is tried in the state that this one leads to.
    #[error(
        "no rule is tried in \"{0}\", to which this one leads; add one, or take the state out: the \
         message ends with this line then"
    )]
    NoSuchState(String),
    /// Its pattern is none.
    #[error(transparent)]
    Pattern(#[from] DefinitionError),
}

/// One multiline parser.
#[derive(Debug)]
struct Compiled {
    rules: Rules,
    flush_after: Duration,
    lines: Lines,
    /// Where a joined text goes.
    key: Arc<str>,
    /// Lines are joined with a newline between them.
    joins_with_newline: bool,
    /// A newline stands at the end of every message.
    ends_with_newline: bool,
}

/// What lines are to a multiline parser.
#[derive(Debug)]
enum Lines {
    /// The text that is joined.
    Text,
    /// Records, of which one value is joined.
    Parsed(Parsed),
    /// `Docker_Mode`.
    Pieces(Pieces),
    /// `Multiline On`.
    FirstLines(FirstLines),
}

/// Makes a record of each line.
#[derive(Debug)]
struct Parsed {
    parser: Parser,
    /// What is joined.
    key_content: String,
    /// What the rules look at, if not at what is joined.
    key_pattern: Option<String>,
    /// What tells the streams of one file apart.
    key_group: Option<String>,
}

/// A line as one multiline parser sees it.
struct Look<'a> {
    content: &'a str,
    pattern: &'a str,
    stream: &'a str,
    /// What stands around the content: pairs of a record, or JSON text.
    around: Option<Around<'a>>,
    time: TimeFound,
    /// It begins a message, where a parser of first lines says so.
    is_first: bool,
    /// It is not the piece of a line that goes on, where lines come in pieces.
    is_whole: bool,
}

/// A record without one of its pairs.
struct Around<'a> {
    /// The key of that pair, if it is not the multiline parser's.
    key: Option<&'a str>,
    /// How many pairs there are, with that one.
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
        let is_text = definition.key_content.is_none();
        let content = definition.key_content.as_deref().unwrap_or(TEXT_KEY);
        let lines = match &definition.parser {
            None => Lines::Text,
            Some(parser) => Lines::Parsed(Parsed {
                parser: Parser::compile(parser)?,
                key_content: content.to_owned(),
                key_pattern: definition.key_pattern.clone(),
                key_group: definition.key_group.clone(),
            }),
        };
        Ok(Self {
            rules: Rules::compile(&definition.kind)?,
            flush_after: definition.flush_after,
            lines,
            key: Arc::from(content),
            joins_with_newline: is_text || matches!(definition.kind, Kind::States(_)),
            ends_with_newline: is_text,
        })
    }

    /// `None`: the line does not fit its parser, or has nothing to join.
    fn look<'a>(
        &self,
        line: &'a str,
        read_at: EventTime,
        record: &'a mut Vec<u8>,
    ) -> Option<Look<'a>> {
        match &self.lines {
            Lines::Text => Some(Look::of_text(line)),
            Lines::Parsed(parsed) => parsed.look(line, read_at, record),
            Lines::Pieces(pieces) => pieces.look(line, read_at, record),
            Lines::FirstLines(first) => Some(first.look(line, read_at, record)),
        }
    }
}

impl Parsed {
    fn look<'a>(
        &self,
        line: &str,
        read_at: EventTime,
        record: &'a mut Vec<u8>,
    ) -> Option<Look<'a>> {
        record.clear();
        let time = self.parser.parse(line, read_at, record).ok()?.time;
        let record = record.as_slice();
        let (content, around) = split_at_text(record, Some(&self.key_content))?;
        let value = |key: &Option<String>| {
            key.as_deref().map(|key| split_at_text(record, Some(key)).map_or("", |(text, _)| text))
        };
        Some(Look {
            pattern: value(&self.key_pattern).unwrap_or(content),
            stream: value(&self.key_group).unwrap_or(""),
            around: Some(Around { key: None, ..around }),
            time,
            ..Look::of_text(content)
        })
    }
}

impl<'a> Look<'a> {
    fn of_text(text: &'a str) -> Self {
        Self {
            content: text,
            pattern: text,
            stream: "",
            around: None,
            time: TimeFound::None,
            is_first: false,
            is_whole: true,
        }
    }
}

/// The text of a record's pair `key` (or of the last pair with a text), and what stands around the
/// pair.
fn split_at_text<'a>(record: &'a [u8], key: Option<&str>) -> Option<(&'a str, Around<'a>)> {
    let mut reader = Reader::new(record);
    let pairs = reader.map("a record").ok()?;
    let first = reader.at();
    let mut found = None;
    for _ in 0..pairs {
        let start = reader.at();
        let name = reader.text("a key").ok()?;
        let value = reader.peek().ok()?;
        reader.skip().ok()?;
        let is_it = key.is_none_or(|key| name == key.as_bytes());
        if let (true, Token::Str(text)) = (is_it, value) {
            let around = Around {
                key: Some(std::str::from_utf8(name).ok()?),
                pairs: usize::try_from(pairs).ok()?,
                before: &record[first..start],
                after: reader.rest(),
            };
            found = Some((std::str::from_utf8(text).ok()?, around));
            if key.is_some() {
                break;
            }
        }
    }
    found
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
                self.joiner.feed(&self.group, line, fed, &mut Vec::new());
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
        assert!(case.joiner.divide_oldest(&case.group));
        assert!(!case.joiner.divide_oldest(&case.group));
        assert_eq!(case.joiner.held().count(), 1);
    }

    #[test]
    fn what_goes_on_with_a_divided_message_is_one_of_its_own() {
        let mut case = Case::new(1000);
        case.feed(&[">a", " b"]);
        assert!(case.joiner.divide_oldest(&case.group));
        case.feed(&[" c", " d", ">e"]);
        assert!(case.joiner.divide_oldest(&case.group));
        case.feed(&[">f", "g"]);
        assert_eq!(
            case.ready(),
            [
                r#"{"log":">a\n b\n","multiline_truncated":true}"#,
                r#"{"log":" c\n d\n"}"#,
                r#"{"log":">e\n","multiline_truncated":true}"#,
                r#"{"log":">f\n"}"#,
                r#"{"log":"g\n"}"#,
            ]
        );
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

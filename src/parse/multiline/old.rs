//! The two older ways to join lines: `Docker_Mode`, and `Multiline On` with its parsers.
//!
//! In:  a line
//! Out: whether it is a first one, and what of it is joined

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;

use super::rules::{Rules, Step};
use super::{Around, Compiled, Group, Lines, Look, split_at_text};
use crate::model::EventTime;
use crate::parse::{Definition, DefinitionError, Parser};

/// Lines of Docker, which cuts what is longer than 16 KB: JSON texts, each with a piece in `log`.
/// The last piece ends with a newline.
#[derive(Debug)]
pub(super) struct Pieces {
    first: Option<Parser>,
}

/// Messages that begin with a line that `first` reads. The keys that one of `others` reads in a
/// later line are added to the record; a line that none of them reads, to its last text.
#[derive(Debug)]
pub(super) struct FirstLines {
    first: Parser,
    others: Vec<Parser>,
}

impl Group {
    /// `Docker_Mode`: the pieces of a line become that line again. With `first`
    /// (`Docker_Mode_Parser`), so do the lines that follow one that it reads.
    pub fn docker_mode(
        first: Option<&Definition>,
        flush_after: Duration,
        limit: usize,
    ) -> Result<Self, DefinitionError> {
        let first = first.map(Parser::compile).transpose()?;
        let rules = Rules::Pieces { by_first_line: first.is_some() };
        Ok(Self::of(rules, Lines::Pieces(Pieces { first }), "log", flush_after, limit))
    }

    /// `Multiline On`: `Parser_Firstline` and every `Parser_N`. A line before the first message
    /// goes out as text under `key`.
    pub fn first_lines(
        first: &Definition,
        others: &[&Definition],
        key: &str,
        flush_after: Duration,
        limit: usize,
    ) -> Result<Self, DefinitionError> {
        let others = others.iter().copied().map(Parser::compile).collect::<Result<_, _>>()?;
        let lines = FirstLines { first: Parser::compile(first)?, others };
        Ok(Self::of(Rules::FirstLines, Lines::FirstLines(lines), key, flush_after, limit))
    }

    fn of(rules: Rules, lines: Lines, key: &str, flush_after: Duration, limit: usize) -> Self {
        // The newline that ends a piece stands in its JSON text.
        let joins_with_newline = matches!(lines, Lines::FirstLines(_));
        let parser = Compiled {
            rules,
            flush_after,
            lines,
            key: Arc::from(key),
            joins_with_newline,
            ends_with_newline: false,
        };
        Self { parsers: vec![parser], limit }
    }
}

impl Pieces {
    /// `None`: the line is no object with a text in `log`.
    pub(super) fn look<'a>(
        &self,
        line: &'a str,
        read_at: EventTime,
        record: &mut Vec<u8>,
    ) -> Option<Look<'a>> {
        let pairs: HashMap<String, &'a RawValue> = serde_json::from_str(line).ok()?;
        let log = pairs.get("log")?.get();
        let is_whole = serde_json::from_str::<String>(log).ok()?.ends_with('\n');
        let at = log.as_ptr() as usize - line.as_ptr() as usize;
        let (start, end) = (at + 1, at + log.len() - 1);
        record.clear();
        let reads = |first: &Parser| first.parse(line, read_at, record).is_ok();
        Some(Look {
            stream: pairs.get("stream").map_or("", |stream| stream.get()),
            around: Some(Around {
                key: None,
                pairs: 0,
                before: &line.as_bytes()[..start],
                after: &line.as_bytes()[end..],
            }),
            is_first: self.first.as_ref().is_some_and(reads),
            is_whole,
            ..Look::of_text(&line[start..end])
        })
    }
}

/// Where a piece stands. The rule of a message is what became of it so far.
pub(super) fn step(by_first_line: bool, line: &Look<'_>, before: Option<usize>) -> Step {
    /// The last piece was the last one of its line.
    const IS_WHOLE: usize = 1;
    /// Its first line is one that the parser of first lines reads: others may follow.
    const HAS_FIRST_LINE: usize = 2;
    let is = |flag: usize| before.is_some_and(|rule| rule & flag > 0);
    let begins = before.is_none() || (is(IS_WHOLE) && line.is_first);
    let has_first_line = by_first_line && if begins { line.is_first } else { is(HAS_FIRST_LINE) };
    Step {
        begins,
        ends: line.is_whole && !has_first_line,
        rule: if line.is_whole { IS_WHOLE } else { 0 }
            | if has_first_line { HAS_FIRST_LINE } else { 0 },
    }
}

impl FirstLines {
    pub(super) fn look<'a>(
        &self,
        line: &'a str,
        read_at: EventTime,
        record: &'a mut Vec<u8>,
    ) -> Look<'a> {
        let readers = std::iter::once(&self.first).chain(&self.others);
        let mut read = readers.enumerate().filter_map(|(number, reader)| {
            record.clear();
            Some((number, reader.parse(line, read_at, record).ok()?.time))
        });
        let Some((number, time)) = read.next() else {
            return Look::of_text(line);
        };
        // A record without a text has nothing that a later line could be added to.
        let Some((content, around)) = split_at_text(record, None) else {
            return Look::of_text(line);
        };
        let is_first = number == 0;
        Look { around: Some(around), time, is_first, ..Look::of_text(content) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::tests::to_json;
    use super::super::{Fed, Joiner, Message};
    use super::*;
    use crate::parse::{Format, TimeFound};

    const FLUSH: Duration = Duration::from_secs(4);

    fn joined(group: &Group, lines: &[&str]) -> Vec<Message<usize>> {
        let mut joiner = Joiner::default();
        let (read_at, now) = (EventTime::default(), Instant::now());
        for (place, line) in lines.iter().enumerate() {
            joiner.feed(group, line, Fed { place, bytes: 1, read_at, now }, &mut Vec::new());
        }
        joiner.flush_all(group);
        std::iter::from_fn(|| joiner.take_ready()).collect()
    }

    fn lines(group: &Group, lines: &[&str]) -> Vec<String> {
        let messages = joined(group, lines);
        assert!(messages.iter().all(|message| message.is_line));
        messages.iter().map(|message| String::from_utf8(message.line()).unwrap()).collect()
    }

    fn records(group: &Group, lines: &[&str]) -> Vec<String> {
        let record = |message: &Message<usize>| {
            let (mut out, mut json) = (Vec::new(), Vec::new());
            message.write(&mut out);
            assert!(out.len() <= message.size());
            to_json(&out, &mut json);
            String::from_utf8(json).unwrap()
        };
        joined(group, lines).iter().map(record).collect()
    }

    fn regex(pattern: &str) -> Definition {
        let format = Format::Regex { pattern: pattern.to_owned(), skip_empty_values: false };
        Definition::new("p", format)
    }

    #[test]
    fn the_pieces_of_a_docker_line_become_the_line_again() {
        let group = Group::docker_mode(None, FLUSH, 1000).unwrap();
        assert_eq!(
            lines(
                &group,
                &[
                    r#"{"log":"a\\n","stream":"stdout","time":"1"}"#,
                    r#"{"log":"oh\n","stream":"stderr","time":"2"}"#,
                    r#"{ "stream": "stdout", "log": "\u00e9\n", "time": "3" }"#,
                    r#"{"log":"not the last"}"#,
                    "no JSON",
                    r#"{"log":1}"#,
                ]
            ),
            [
                r#"{"log":"oh\n","stream":"stderr","time":"2"}"#,
                r#"{"log":"a\\n\u00e9\n","stream":"stdout","time":"1"}"#,
                r#"{"log":"not the last"}"#,
                "no JSON",
                r#"{"log":1}"#,
            ]
        );
    }

    #[test]
    fn with_a_parser_of_first_lines_whole_lines_are_joined_up_to_the_next_first_one() {
        let first = regex(r#"^\{"log":"(?<day>\d{4})"#);
        let group = Group::docker_mode(Some(&first), FLUSH, 1000).unwrap();
        assert_eq!(
            lines(
                &group,
                &[
                    r#"{"log":"before\n"}"#,
                    r#"{"log":"2026 a "}"#,
                    r#"{"log":"2027 b\n"}"#,
                    r#"{"log":"\tat c\n"}"#,
                    r#"{"log":"2028 d\n"}"#,
                ]
            ),
            [
                r#"{"log":"before\n"}"#,
                r#"{"log":"2026 a 2027 b\n\tat c\n"}"#,
                r#"{"log":"2028 d\n"}"#,
            ]
        );
    }

    #[test]
    fn keys_of_later_lines_are_added_and_other_lines_go_to_the_last_text() {
        let others = [regex(r"^user (?<user>\S+) from (?<host>\S+)$"), regex(r"^(?<id>\d+)$")];
        let others: Vec<&Definition> = others.iter().collect();
        let first = regex(r"^> (?<level>\S+) (?<message>.*)$");
        let group = Group::first_lines(&first, &others, "text", FLUSH, 1000).unwrap();
        assert_eq!(
            records(
                &group,
                &["before", "> info a", "  b", "user x from y", "c", "7", "> warn d", "> warn e"]
            ),
            [
                r#"{"text":"before"}"#,
                r#"{"host":"y\nc","id":"7","level":"info","message":"a\n  b","user":"x"}"#,
                r#"{"level":"warn","message":"d"}"#,
                r#"{"level":"warn","message":"e"}"#,
            ]
        );
    }

    #[test]
    fn a_message_has_the_time_of_its_first_line_and_lines_before_it_are_unparsed() {
        let mut first = Definition::new("p", Format::Json);
        first.time_key = Some("t".to_owned());
        first.time_format = Some("%s".to_owned());
        let group = Group::first_lines(&first, &[], "log", FLUSH, 1000).unwrap();
        let messages = joined(&group, &["before", r#"{"t":"5","m":"a"}"#, "b"]);
        assert_eq!(messages.len(), 2);
        assert!(messages[0].is_unparsed && !messages[1].is_unparsed);
        assert_eq!(messages[1].time, TimeFound::At(EventTime::new(5, 0).unwrap()));
    }
}

//! The multiline parsers that every configuration has.
//!
//! The text ones see raw lines: in a file of JSON lines they see the JSON text.

use super::definition::Match;
use super::{Definition, Kind, Rule};
use crate::parse;

/// What they are called.
pub const NAMES: [&str; 6] = ["docker", "cri", "java", "go", "python", "ruby"];

/// The one called `name`, in any case.
pub fn builtin(name: &str) -> Option<Definition> {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "docker" => Some(docker()),
        "cri" => Some(cri()),
        "java" => Some(text(&name, &JAVA)),
        "go" => Some(text(&name, &GO)),
        "python" => Some(text(&name, &PYTHON)),
        "ruby" => Some(text(&name, &RUBY)),
        _ => None,
    }
}

/// A JSON object a line; one whose `log` ends with a newline completes the message.
fn docker() -> Definition {
    let wanted = Match { text: "\n".to_owned(), negate: false };
    let parser = timed("docker", parse::Format::Json, "%Y-%m-%dT%H:%M:%S.%L");
    Definition { parser: Some(parser), ..of_container("docker", Kind::EndsWith(wanted)) }
}

/// Time, stream, `F` or `P`, text: `F` completes the message.
fn cri() -> Definition {
    let wanted = Match { text: "F".to_owned(), negate: false };
    let format = parse::Format::Regex {
        pattern: r"^(?<time>\S+) (?<stream>stdout|stderr) (?<_p>[FP]) (?<log>.*)$".to_owned(),
        skip_empty_values: false,
    };
    let parser = timed("cri", format, "%Y-%m-%dT%H:%M:%S.%L%z");
    Definition {
        parser: Some(parser),
        key_pattern: Some("_p".to_owned()),
        ..of_container("cri", Kind::Equal(wanted))
    }
}

fn of_container(name: &str, kind: Kind) -> Definition {
    Definition {
        key_content: Some("log".to_owned()),
        key_group: Some("stream".to_owned()),
        ..Definition::new(name, kind)
    }
}

/// A parser that reads the key `time` and keeps it.
fn timed(name: &str, format: parse::Format, time_format: &str) -> parse::Definition {
    parse::Definition {
        time_key: Some("time".to_owned()),
        time_format: Some(time_format.to_owned()),
        time_keep: Some(true),
        ..parse::Definition::new(name, format)
    }
}

fn text(name: &str, rules: &[Row]) -> Definition {
    let rule =
        |(from, pattern, to): &Row| Rule::new(from, pattern, Some(*to).filter(|to| !to.is_empty()));
    Definition::new(name, Kind::States(rules.iter().map(rule).collect()))
}

/// The states a rule is tried in, its pattern, the state after it (empty: the message ends).
type Row = (&'static str, &'static str, &'static str);

/// The line of a Java or JavaScript exception. The end of a line is as good as a colon.
const EXCEPTION: &str = r".(?:Exception|Error|Throwable|V8 errors stack trace)(?:[:\r\n]|$)";

const JAVA: [Row; 9] = [
    ("start_state", EXCEPTION, "header"),
    ("nested", EXCEPTION, "header"),
    ("header", r"^[\t ]*nested exception is:[\t ]*", "nested"),
    ("header", r"^\r*$", "header"),
    ("header, nested, frames", r"^[\t ]+(?:eval )?at ", "frames"),
    ("header, frames", r"^[\t ]+--- End of inner exception stack trace ---$", "frames"),
    (
        "header, frames",
        r"^--- End of stack trace from previous location where exception was thrown ---$",
        "frames",
    ),
    ("header, frames", r"^[\t ]*(?:Caused by|Suppressed):", "header"),
    ("header, frames", r"^[\t ]*.{3} \d+ (?:more|common frames omitted)", "frames"),
];

const GO: [Row; 7] = [
    ("start_state", r"\bpanic: ", "panic"),
    ("start_state", r"http: panic serving", "goroutine"),
    ("panic", r"^\[signal ", "signal"),
    ("panic, signal, frame", r"^$", "goroutine"),
    ("goroutine", r"^goroutine \d+ \[[^\]]+\]:$", "frame"),
    ("frame", r"^(?:created by |[^\s(]+\()", "place"),
    ("place", r"^\s", "frame"),
];

const PYTHON: [Row; 5] = [
    ("start_state", r"^Traceback \(most recent call last\):$", "frames"),
    // The line of code is missing where Python cannot find it.
    ("frames, code", r"^[\t ]+File ", "code"),
    ("frames, code", r"^(?:[^\s.():]+\.)*[^\s.():]+:", ""),
    // Since 3.11 the place in the line is marked below it.
    ("frames", r"^[\t ]+(?:[~^]+[~^ ]*$|\[Previous line repeated )", "frames"),
    ("code", r"[^\t ]", "frames"),
];

const RUBY: [Row; 2] = [
    ("start_state", r"^.+:\d+:in .+", "frames"),
    ("frames", r"^[\t ]+from .+:\d+:in .+", "frames"),
];

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::Value;

    use super::*;
    use crate::model::EventTime;
    use crate::parse::TimeFound;
    use crate::parse::multiline::{Fed, Group, Joiner, Message};

    fn record(message: &Message<usize>) -> Value {
        let mut out = Vec::new();
        message.write(&mut out);
        assert!(out.len() <= message.size());
        let mut json = Vec::new();
        crate::parse::multiline::tests::to_json(&out, &mut json);
        serde_json::from_slice(&json).unwrap()
    }

    /// The messages that the parsers `names` make of `lines`.
    fn joined<'a>(names: &[&str], lines: impl IntoIterator<Item = &'a str>) -> Vec<Message<usize>> {
        let definitions: Vec<_> = names.iter().map(|name| builtin(name).unwrap()).collect();
        let group = Group::compile(&definitions, Definition::DEFAULT_LIMIT).unwrap();
        let mut joiner = Joiner::default();
        let (read_at, now) = (EventTime::default(), Instant::now());
        for (place, line) in lines.into_iter().enumerate() {
            let fed = Fed { place, bytes: line.len() as u64 + 1, read_at, now };
            joiner.feed(&group, line, fed, &mut Vec::new());
        }
        joiner.flush_all(&group);
        std::iter::from_fn(|| joiner.take_ready()).collect()
    }

    #[test]
    fn every_one_makes_of_its_log_the_records_beside_it() {
        for name in NAMES {
            let read = |extension: &str| {
                let path = format!("fixtures/multiline/{name}.{extension}");
                std::fs::read_to_string(path).unwrap()
            };
            let (log, expected) = (read("log"), read("json"));
            let messages = joined(&[name], log.lines());
            let records: Vec<Value> = messages.iter().map(record).collect();
            let expected = expected.lines().map(|line| serde_json::from_str(line).unwrap());
            assert_eq!(records, expected.collect::<Vec<Value>>(), "{name}");
            let bytes: u64 = messages.iter().map(|message| message.bytes).sum();
            assert_eq!(bytes, log.len() as u64, "{name}");
        }
    }

    #[test]
    fn joined_container_lines_have_place_and_time_of_the_first_and_others_are_unparsed() {
        let lines = [
            "2026-01-02T03:04:05.000000001Z stdout P {\"a\":",
            "2026-01-02T03:04:06.000000002Z stderr F oh",
            "2026-01-02T03:04:07.000000003Z stdout F 1}",
            "not from a container",
        ];
        let messages = joined(&["docker", "cri"], lines);
        let time = EventTime::new(1_767_323_045, 1).unwrap();
        assert_eq!((messages[1].place, messages[1].time), (0, TimeFound::At(time)));
        let unparsed: Vec<bool> = messages.iter().map(|message| message.is_unparsed).collect();
        assert_eq!(unparsed, [false, false, true]);
    }

    #[test]
    fn the_names_are_those_that_can_be_looked_up_in_any_case() {
        for name in NAMES {
            let definition = builtin(&name.to_ascii_uppercase()).unwrap();
            assert_eq!(definition.name, name);
        }
        assert_eq!(builtin("perl"), None);
    }
}

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

    use serde_json::{Value, json};

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
            joiner.feed(&group, line, Fed { place, bytes: line.len() as u64 + 1, read_at, now });
        }
        joiner.flush_all(&group);
        std::iter::from_fn(|| joiner.take_ready()).collect()
    }

    /// Traces between lines of `--`; each must come out as it is, and as one message.
    fn holds(name: &str, text: &str) {
        let expected: Vec<Value> =
            text.split("--\n").map(|message| json!({"log": message})).collect();
        let lines = text.split_terminator('\n').filter(|line| *line != "--");
        let messages = joined(&[name], lines);
        assert_eq!(messages.iter().map(record).collect::<Vec<_>>(), expected, "{name}");
    }

    #[test]
    fn java_traces_with_causes_are_one_message() {
        holds(
            "java",
            "\
INFO started
--
Exception in thread \"main\" java.lang.IllegalStateException: cannot take the order
\tat com.shop.Orders.take(Orders.java:41)
\tat com.shop.Main.main(Main.java:12)
Caused by: java.io.IOException: disk full
\tat com.shop.Store.put(Store.java:7)
\t... 2 more
\tSuppressed: java.lang.Exception: while closing
\t\tat com.shop.Store.close(Store.java:9)
\t\t... 3 common frames omitted
--
INFO going on
--
java.lang.NullPointerException
    at com.shop.Cart.total(Cart.java:3)
--
com.shop.BadRequestException: no id
    nested exception is:
java.lang.NumberFormatException: For input string: \"\"
\tat java.lang.Long.parseLong(Long.java:1)
--
ReferenceError: x is not defined
    at eval (repl:1:1)
    at Object.<anonymous> (/app/index.js:3:9)
--
INFO done
--
  at the end of no trace
",
        );
    }

    #[test]
    fn go_panics_are_one_message_with_all_their_goroutines() {
        holds(
            "go",
            "\
2026/01/02 03:04:05 listening
--
panic: runtime error: invalid memory address or nil pointer dereference
[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x4a]

goroutine 1 [running]:
main.(*Cart).Total(...)
\t/src/cart.go:10
main.main()
\t/src/main.go:5 +0x1d

goroutine 7 [chan receive, 2 minutes]:
net/http.(*Server).Serve(0xc0000b0000)
\t/usr/lib/go/server.go:3 +0x2
created by main.start in goroutine 1
\t/src/main.go:9 +0x99
--
exit status 2
--
http: panic serving 10.0.0.1:4711: boom
goroutine 19 [running]:
net/http.(*conn).serve.func1(0xc00009)
\t/usr/lib/go/server.go:1801 +0x147
",
        );
    }

    #[test]
    fn python_tracebacks_end_with_the_name_of_the_error() {
        holds(
            "python",
            "\
starting
--
Traceback (most recent call last):
  File \"/app/main.py\", line 9, in <module>
    total(cart)
    ~~~~~^^^^^^
  File \"/app/cart.py\", line 3, in total
    return 1 / len(cart)
  [Previous line repeated 995 more times]
  File \"<string>\", line 1, in <module>
shop.errors.EmptyCart: nothing to pay for
--
Traceback (most recent call last):
  File \"a.py\", line 1, in <module>
    raise ValueError
ValueError: x
--
going on
",
        );
    }

    #[test]
    fn ruby_backtraces_are_one_message() {
        holds(
            "ruby",
            "\
ready
--
/app/cart.rb:3:in `/': divided by 0 (ZeroDivisionError)
\tfrom /app/cart.rb:3:in `total'
\tfrom /app/main.rb:9:in `<main>'
--
done
",
        );
    }

    #[test]
    fn the_parts_of_cri_lines_are_joined_for_each_stream_apart() {
        let lines = [
            "2026-01-02T03:04:05.000000001Z stdout P {\"a\":",
            "2026-01-02T03:04:06.000000002Z stderr P oh ",
            "2026-01-02T03:04:07.000000003Z stdout F 1}",
            "2026-01-02T03:04:08.000000004+01:00 stderr F no",
            "2026-01-02T03:04:09Z stdout F ",
            "not from a container",
        ];
        let messages = joined(&["docker", "cri"], lines);
        let records: Vec<Value> = messages.iter().map(record).collect();
        let of = |time: &str, stream: &str, tag: &str, log: &str| json!({"time": time, "stream": stream, "_p": tag, "log": log});
        assert_eq!(
            records,
            [
                of("2026-01-02T03:04:05.000000001Z", "stdout", "P", "{\"a\":1}"),
                of("2026-01-02T03:04:06.000000002Z", "stderr", "P", "oh no"),
                of("2026-01-02T03:04:09Z", "stdout", "F", ""),
                json!({"log": "not from a container"}),
            ]
        );
        let time = EventTime::new(1_767_323_045, 1).unwrap();
        assert_eq!(messages[0].time, TimeFound::At(time), "the time of the first line");
        assert_eq!((messages[1].place, messages[1].is_unparsed), (1, false));
        assert!(messages[3].is_unparsed);
        let bytes: u64 = messages.iter().map(|message| message.bytes).sum();
        assert_eq!(bytes, lines.iter().map(|line| line.len() as u64 + 1).sum::<u64>());
    }

    #[test]
    fn the_parts_of_docker_lines_are_joined_until_a_newline() {
        let line = |log: &str, stream: &str| {
            json!({"log": log, "stream": stream, "time": "2026-01-02T03:04:05.5Z"}).to_string()
        };
        let lines = [
            line("a", "stdout"),
            line("x\n", "stderr"),
            line("b\n", "stdout"),
            line("c", "stdout"),
        ];
        let messages = joined(&["docker"], lines.iter().map(String::as_str));
        let logs: Vec<_> = messages.iter().map(|message| record(message)["log"].clone()).collect();
        assert_eq!(logs, ["x\n", "ab\n", "c"]);
        assert_eq!(record(&messages[0])["time"], "2026-01-02T03:04:05.5Z");
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

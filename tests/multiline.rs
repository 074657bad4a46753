//! Lines that belong together arrive as one event, and the position stays before what is not sent.

mod support;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use support::{FakeFluentd, LogDir, SOON, TestAgent, Told, wait_until};

/// Entries that begin with `>` and go on with blanks.
fn entries(flush_millis: u32) -> String {
    format!(
        "[MULTILINE_PARSER]\n    Name entries\n    Type regex\n    Flush_Timeout {flush_millis}\n    \
         Rule \"start_state\" \"/^>/\" \"more\"\n    Rule \"more\" \"/^ /\" \"more\"\n"
    )
}

/// A time-out that no test waits for.
const NEVER: u32 = 3_600_000;

fn told(logs: &LogDir, fluentd: &FakeFluentd, flush_millis: u32) -> Told {
    let told = Told::to_follow(logs, fluentd).parsers(&entries(flush_millis));
    told.input("multiline.parser entries")
}

fn texts(fluentd: &FakeFluentd) -> Vec<Value> {
    fluentd.events().iter().map(|event| event.record["log"].clone()).collect()
}

/// An agent that has found its file.
fn started(told: &Told) -> TestAgent {
    let agent = told.start();
    agent.wait_for_log("following");
    agent
}

/// Ends it; every byte is accounted for.
fn stop(agent: TestAgent) {
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0, "{log}");
    assert!(log.contains("bytes: ") && !log.contains("unaccounted"), "{log}");
}

/// The offset that is stored for the one file there is, once there is one.
fn stored_offset(db: &Path) -> Option<u64> {
    let text = fs::read_to_string(db).unwrap_or_default();
    let (_, record) = text.lines().nth(1)?.split_once(' ')?;
    serde_json::from_str::<Value>(record).ok()?["offset"].as_u64()
}

#[test]
fn a_trace_that_is_written_bit_by_bit_is_one_event_with_what_was_added() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd)
        .input("multiline.parser go, java")
        .input("Offset_Key at")
        .start();
    logs.append("app.log", "started\na.b.Error: no\n");
    fluentd.wait_for_records(1, SOON);
    logs.append("app.log", "\tat c(D.ja");
    logs.append("app.log", "va:1)\n");
    logs.append("app.log", "\tat e(F.java:2)\ngoing on\n");
    let events = fluentd.wait_for_records(3, SOON);
    assert_eq!(
        events[1].record,
        json!({
            "log": "a.b.Error: no\n\tat c(D.java:1)\n\tat e(F.java:2)\n",
            "at": 8, "hostname": "pod-1", "namespace": "shop",
        })
    );
    assert_eq!(texts(&fluentd)[2], "going on\n");
    stop(agent);
}

#[test]
fn the_last_message_leaves_when_its_time_is_over() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = told(&logs, &fluentd, 300).start();
    logs.append("app.log", ">a\n b\n");
    fluentd.wait_for_records(1, SOON);
    assert_eq!(texts(&fluentd), [">a\n b\n"]);
    stop(agent);
}

#[test]
fn the_last_message_leaves_at_a_stop_and_so_does_a_partial_line() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = state.file("positions");
    let told = told(&logs, &fluentd, NEVER).input(&format!("DB {}", db.display()));
    logs.append("app.log", ">a\n b\n c");
    stop(started(&told));
    assert_eq!(texts(&fluentd), [">a\n b\n", " c\n"]);
    assert_eq!(stored_offset(&db), Some(6), "before the partial line");
    logs.append("app.log", "d\n>e\n");
    stop(started(&told));
    assert_eq!(texts(&fluentd)[2..], [" cd\n", ">e\n"]);
}

#[test]
fn a_kill_in_the_middle_of_a_message_repeats_it_from_its_first_line_and_nothing_else() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = state.file("positions");
    let told = told(&logs, &fluentd, NEVER).input(&format!("DB {}", db.display()));
    logs.append("app.log", ">first\n>second\n more\n");
    let agent = told.start();
    fluentd.wait_for_records(1, SOON);
    wait_until("the position is before the second", || stored_offset(&db) == Some(7));
    logs.append("app.log", " and more\n");
    agent.kill();
    logs.append("app.log", " still\n>third\n");
    let agent = told.start();
    fluentd.wait_for_records(2, SOON);
    stop(agent);
    let second = ">second\n more\n and more\n still\n";
    assert_eq!(texts(&fluentd), [">first\n", second, ">third\n"]);
    let size = fs::metadata(logs.file("app.log")).unwrap().len();
    assert_eq!(stored_offset(&db), Some(size), "everything is settled");
}

#[test]
fn a_file_truncated_while_a_message_waits_loses_none_of_it() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = told(&logs, &fluentd, NEVER).start();
    logs.append("app.log", "alone\n>a\n b\n");
    fluentd.wait_for_records(1, SOON);
    logs.copy_and_truncate("app.log", "app.1");
    logs.append("app.log", ">c\n");
    fluentd.wait_for_records(2, SOON);
    stop(agent);
    assert_eq!(texts(&fluentd), ["alone\n", ">a\n b\n", ">c\n"]);
}

#[test]
fn the_streams_of_a_container_are_joined_apart_with_their_own_times() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("multiline.parser docker, cri").start();
    logs.append(
        "app.log",
        "2026-01-02T03:04:05.000000001Z stdout P one \n\
         2026-01-02T03:04:06Z stderr F oh\n\
         2026-01-02T03:04:07Z stdout F two\n",
    );
    let events = fluentd.wait_for_records(2, SOON);
    assert_eq!(events[0].record["log"], "oh");
    assert_eq!(events[1].record["log"], "one two");
    assert_eq!(events[1].record["stream"], "stdout");
    assert_eq!((events[1].seconds, events[1].nanos), (1_767_323_045, 1));
    stop(agent);
}

#[test]
fn a_line_above_the_limit_ends_the_message_before_it() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let limits = ["Buffer_Chunk_Size 1k", "Buffer_Max_Size 1k"];
    let told = limits.iter().fold(told(&logs, &fluentd, NEVER), |told, limit| told.input(limit));
    let long = "x".repeat(300_000);
    logs.append("app.log", format!(">a\n b\n{long}\n>c\n {}\n>d\n", &long[..2000]));
    let agent = told.start();
    fluentd.wait_for_records(4, SOON);
    stop(agent);
    let texts = texts(&fluentd);
    assert_eq!(texts[0], ">a\n b\n");
    assert_eq!((texts[2].as_str(), texts[4].as_str()), (Some(">c\n"), Some(">d\n")));
    for cut in [1, 3] {
        assert_eq!(fluentd.events()[cut].record["truncated"], true);
    }
}

#[test]
fn a_message_above_its_limit_is_divided_and_loses_nothing() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = told(&logs, &fluentd, NEVER).service("multiline_buffer_limit 1k").start();
    let lines: Vec<String> = (0..100).map(|number| format!(" line {number} of many\n")).collect();
    logs.append("app.log", format!(">a\n{}>b\n", lines.concat()));
    fluentd.wait_for_records(2, SOON);
    stop(agent);
    let events = fluentd.events();
    let (last, parts) = events.split_last().unwrap();
    assert_eq!(last.record["log"], ">b\n");
    let joined: String = parts.iter().map(|part| part.record["log"].as_str().unwrap()).collect();
    assert_eq!(joined, format!(">a\n{}", lines.concat()));
    let marked = parts.iter().filter(|part| part.record["multiline_truncated"] == true).count();
    assert_eq!(marked, parts.len() - 1);
}

#[test]
fn more_waiting_messages_than_memory_holds_lose_no_line_and_repeat_none() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let mut expected = Vec::new();
    for file in 0..40 {
        let mut text = String::new();
        for number in 0..20 {
            let mut message = format!(">file {file} message {number}\n");
            for line in 0..number * 3 {
                writeln!(message, " line {line} {}", "y".repeat(40)).unwrap();
            }
            text.push_str(&message);
            expected.push(message);
        }
        logs.append(&format!("{file}.log"), text);
    }
    let agent = told(&logs, &fluentd, NEVER).input("Mem_Buf_Limit 64K").start();
    fluentd.wait_for_records(40 * 19, SOON);
    stop(agent);
    // A message that is sent early goes on as lines of their own.
    let arrived = texts(&fluentd);
    let arrived = arrived.iter().flat_map(|text| text.as_str().unwrap().split_inclusive('\n'));
    let written = expected.iter().flat_map(|text| text.split_inclusive('\n'));
    let (mut arrived, mut written): (Vec<_>, Vec<_>) = (arrived.collect(), written.collect());
    arrived.sort_unstable();
    written.sort_unstable();
    assert!(arrived == written, "{} of {} lines", arrived.len(), written.len());
}

#[test]
fn killed_under_load_with_rotations_no_message_is_lost() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = format!("DB {}", state.file("positions").display());
    let told = told(&logs, &fluentd, NEVER).input(&db).service("Flush 0.02");
    let mut expected = Vec::new();
    for round in 0..8 {
        let agent = told.start();
        let before = fluentd.record_count();
        for _ in 0..10 {
            for _ in 0..50 {
                let number = expected.len();
                let message = format!(">message {number}\n with\n {} more lines\n", number % 7);
                let (begin, end) = message.split_at(message.len() / 2);
                logs.append("app.log", begin);
                logs.append("app.log", end);
                expected.push(message);
            }
        }
        fluentd.wait_for_records(before + 1, SOON);
        agent.kill();
        if round % 2 == 1 {
            logs.rename("app.log", &format!("app.log.{round}"));
        }
    }
    stop(started(&told));
    let texts = texts(&fluentd);
    let arrived: BTreeSet<&str> = texts.iter().filter_map(Value::as_str).collect();
    let expected: BTreeSet<&str> = expected.iter().map(String::as_str).collect();
    // What is repeated is repeated whole.
    assert_eq!(arrived, expected);
}

#[test]
fn a_receiver_that_is_away_for_longer_than_the_time_out_splits_no_message() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    // So many lines that a slice ends in the middle of a message.
    let lines: String = (0..50).map(|line| format!(" line {line}\n")).collect();
    let expected: Vec<String> = (0..400).map(|number| format!(">{number}\n{lines}")).collect();
    logs.append("app.log", expected.concat());
    let agent = told(&logs, &fluentd, 300).input("Mem_Buf_Limit 64K").start();
    // It says so after a second without memory.
    agent.wait_for_log("paused (mem buf overlimit");
    fluentd.restart();
    fluentd.wait_for_records(400, SOON);
    stop(agent);
    assert!(texts(&fluentd) == expected, "some were split");
}

#[test]
fn a_file_rotated_while_a_message_waits_goes_on_with_it() {
    for is_killed in [false, true] {
        let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
        let db = format!("DB {}", state.file("positions").display());
        let told = told(&logs, &fluentd, NEVER).input(&db);
        logs.append("app.log", ">a\n>b\n more\n");
        let mut agent = told.start();
        fluentd.wait_for_records(1, SOON);
        logs.rename("app.log", "app.log.1");
        logs.append("app.log", ">c\n");
        if is_killed {
            wait_until("the position is stored", || {
                fs::read_to_string(state.file("positions")).is_ok_and(|text| text.contains("app"))
            });
            agent.kill();
            agent = told.start();
        }
        logs.append("app.log.1", " of the old writer\n>d\n");
        fluentd.wait_for_records(2, SOON);
        stop(agent);
        let mut texts = texts(&fluentd);
        texts.sort_by_key(ToString::to_string);
        texts.dedup();
        assert_eq!(texts, [">a\n", ">b\n more\n of the old writer\n", ">c\n", ">d\n"]);
    }
}

#[test]
fn a_file_deleted_while_a_message_waits_loses_none_of_it() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = told(&logs, &fluentd, NEVER).start();
    logs.append("app.log", "alone\n>a\n b\n");
    fluentd.wait_for_records(1, SOON);
    logs.remove("app.log");
    logs.append("app.log", ">c\n d\n>e\n");
    fluentd.wait_for_records(2, SOON);
    stop(agent);
    let mut texts = texts(&fluentd);
    texts.sort_by_key(ToString::to_string);
    assert_eq!(texts, [">a\n b\n", ">c\n d\n", ">e\n", "alone\n"]);
}

#[test]
fn a_kill_while_one_stream_waits_repeats_the_other_and_loses_neither() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = state.file("positions");
    let told = Told::to_follow(&logs, &fluentd)
        .input("multiline.parser cri")
        .input(&format!("DB {}", db.display()));
    logs.append(
        "app.log",
        "2026-01-02T03:04:05.1Z stderr F before\n\
         2026-01-02T03:04:05.2Z stdout P one \n\
         2026-01-02T03:04:05.3Z stderr F oh\n",
    );
    let agent = told.start();
    fluentd.wait_for_records(2, SOON);
    wait_until("the position is before the one", || stored_offset(&db) == Some(39));
    agent.kill();
    logs.append("app.log", "2026-01-02T03:04:05.4Z stdout F two\n");
    let agent = told.start();
    fluentd.wait_for_records(4, SOON);
    stop(agent);
    assert_eq!(texts(&fluentd), ["before", "oh", "oh", "one two"]);
    assert_eq!(stored_offset(&db), Some(fs::metadata(logs.file("app.log")).unwrap().len()));
}

#[test]
fn a_message_may_be_longer_than_a_slice_and_is_divided_at_a_quarter_of_the_memory() {
    for (limit, is_whole) in [("5MB", true), ("256K", false)] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let line = |number| format!(" line {number} {}\n", "y".repeat(90));
        let message = format!(">a\n{}", (0..3000).map(line).collect::<String>());
        logs.append("app.log", format!("{message}>b\n"));
        let told = told(&logs, &fluentd, NEVER).input(&format!("Mem_Buf_Limit {limit}"));
        let agent = started(&told);
        fluentd.wait_for_records(1, SOON);
        stop(agent);
        let events = fluentd.events();
        let (last, parts) = events.split_last().unwrap();
        assert_eq!(last.record["log"], ">b\n");
        let joined: Vec<&str> =
            parts.iter().map(|part| part.record["log"].as_str().unwrap()).collect();
        assert!(joined.concat() == message, "{limit}");
        assert_eq!(parts.len() == 1, is_whole, "{limit}");
        let marked = parts.iter().filter(|part| part.record["multiline_truncated"] == true).count();
        assert_eq!(marked, parts.len() - 1);
    }
}

#[test]
fn a_long_line_that_is_left_out_ends_the_message_before_it() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let limits = ["Buffer_Chunk_Size 1k", "Buffer_Max_Size 1k", "Skip_Long_Lines On"];
    let told = limits.iter().fold(told(&logs, &fluentd, NEVER), |told, limit| told.input(limit));
    let (in_sight, out_of_sight) = ("x".repeat(2000), "x".repeat(300_000));
    logs.append("app.log", format!(">a\n{in_sight}\n b\n>c\n{out_of_sight}\n d\n"));
    stop(started(&told));
    assert_eq!(texts(&fluentd), [">a\n", " b\n", ">c\n", " d\n"]);
}

#[test]
fn the_pieces_of_a_docker_line_are_parsed_as_the_line_they_were() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd)
        .parsers(
            "[PARSER]\n    Name docker\n    Format json\n    Time_Key time\n    \
             Time_Format %Y-%m-%dT%H:%M:%S.%L\n",
        )
        .input("Parser docker")
        .input("Docker_Mode On")
        .input("Docker_Mode_Flush 1")
        .input("Offset_Key at")
        .start();
    let piece = |log: &str, number: u32| {
        let time = format!("2026-01-02T03:04:0{number}.5Z");
        json!({"log": log, "stream": "stdout", "time": time}).to_string() + "\n"
    };
    logs.append("app.log", piece("short\n", 1) + &piece("a \"long\" ", 2) + &piece("line\n", 3));
    logs.append("app.log", piece("without an end", 4));
    let events = fluentd.wait_for_records(3, SOON);
    stop(agent);
    let of = |log: &str, at: usize| json!({"log": log, "stream": "stdout", "at": at, "hostname": "pod-1", "namespace": "shop"});
    let ends: Vec<usize> = [piece("short\n", 1), piece("a \"long\" ", 2), piece("line\n", 3)]
        .iter()
        .scan(0, |end, piece| {
            *end += piece.len();
            Some(*end)
        })
        .collect();
    assert_eq!(events[0].record, of("short\n", 0));
    assert_eq!(events[1].record, of("a \"long\" line\n", ends[0]));
    assert_eq!(events[2].record, of("without an end", ends[2]));
    assert_eq!((events[1].seconds, events[1].nanos), (1_767_323_042, 500_000_000));
}

#[test]
fn what_follows_a_first_line_is_added_to_its_record_the_old_way() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = state.file("positions");
    let told = Told::to_follow(&logs, &fluentd)
        .parsers(
            "[PARSER]\n    Name first\n    Format regex\n    Time_Key time\n    Time_Format %s\n    \
             Regex ^(?<time>\\d+) (?<message>.*)$\n\
             [PARSER]\n    Name user\n    Format regex\n    Regex ^user=(?<user>.*)$\n",
        )
        .input("Multiline On")
        .input("Multiline_Flush 3600")
        .input("Parser_Firstline first")
        .input("Parser_1 user")
        .input("Key text")
        .input(&format!("DB {}", db.display()));
    logs.append("app.log", "before\n1767323045 a\n  b\n");
    let agent = told.start();
    fluentd.wait_for_records(1, SOON);
    wait_until("the position is behind the first", || stored_offset(&db) == Some(7));
    agent.kill();
    logs.append("app.log", "user=x\n  c\n1767323046 d\n");
    stop(started(&told));
    let events = fluentd.events();
    let with = |record: Value| {
        let mut record = record;
        record["hostname"] = "pod-1".into();
        record["namespace"] = "shop".into();
        record
    };
    assert_eq!(events[0].record, with(json!({"text": "before"})));
    assert_eq!(events[1].record, with(json!({"message": "a\n  b", "user": "x\n  c"})));
    assert_eq!(events[1].seconds, 1_767_323_045);
    assert_eq!(events[2].record, with(json!({"message": "d"})));
    assert_eq!(events.len(), 3);
}

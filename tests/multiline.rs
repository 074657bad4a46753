//! Lines that belong together arrive as one event, and the position stays before what is not sent.

mod support;

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
    let arrived = texts(&fluentd);
    for message in &expected {
        let is_there = arrived.iter().any(|text| text == message);
        assert!(is_there, "{message:?} is lost");
    }
}

//! `replay` ships fixture logs through the very same pipeline; its stdout is events and nothing
//! else.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::process::{Command, Output};

use serde_json::{Value, json};
use support::{FakeFluentd, LogDir, SOON, sequence};

fn replay(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_log-ambassador"))
        .arg("replay")
        .args(arguments)
        .env_clear()
        .env("HOSTNAME", "pod-1")
        .output()
        .unwrap()
}

fn events(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_arrives_is_printed_one_json_object_a_line_and_the_summary_goes_to_stderr() {
    let logs = LogDir::new();
    logs.append("a.log", "{\"timestamp\":\"2026-01-02T03:04:05.678\",\"n\":1}\nplain");
    let output = replay(&[logs.file("a.log").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    let events = events(&output);
    assert_eq!(
        events[0],
        json!({"tag": "app.logs", "time": "2026-01-02T03:04:05.678000000Z",
               "record": {"n": 1, "hostname": "pod-1", "namespace": "default"}})
    );
    assert_eq!(events[1]["record"]["log"], "plain");
    assert_eq!(events.len(), 2);
    let summary = String::from_utf8(output.stderr).unwrap();
    assert!(summary.contains("POD_NAMESPACE is not set: using 'default'"), "{summary}");
    assert!(summary.contains("2 lines, 51 bytes in "), "{summary}");
    assert!(summary.contains("lost 0"), "{summary}");
}

#[test]
fn with_to_the_events_go_there_and_nothing_is_printed() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("a.log", 0..5000);
    logs.append_sequence("b.log", 5000..5010);
    let to = format!("127.0.0.1:{}", fluentd.port());
    let (a, b) = (logs.file("a.log"), logs.file("b.log"));
    let output = replay(&["--to", &to, a.to_str().unwrap(), b.to_str().unwrap()]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0));
    assert_eq!(fluentd.record_count(), 5010);
}

#[test]
fn a_configuration_of_ones_own_is_used_with_its_paths_and_outputs_replaced() {
    let logs = LogDir::new();
    logs.append_sequence("a.log", 0..1);
    logs.append(
        "fluent-bit.conf",
        "[INPUT]\n    Name tail\n    Path /nowhere/*.log\n    Tag mine\n\
         [OUTPUT]\n    Name forward\n    Match *\n    Host does.not.exist\n",
    );
    let config = logs.file("fluent-bit.conf");
    let output =
        replay(&["--config", config.to_str().unwrap(), logs.file("a.log").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let events = events(&output);
    assert_eq!(
        (&events[0]["tag"], &events[0]["record"]["log"]),
        (&json!("mine"), &json!("{\"seq\":0}"))
    );
}

#[test]
fn a_rate_is_kept() {
    let logs = LogDir::new();
    logs.append("a.log", sequence(0..300));
    let start = std::time::Instant::now();
    let output = replay(&["--rate", "200/s", logs.file("a.log").to_str().unwrap()]);
    assert_eq!((output.status.code(), events(&output).len()), (Some(0), 300));
    let took = start.elapsed();
    assert!(took.as_secs_f64() > 1.3 && took < SOON, "{took:?}");
}

#[test]
fn a_file_that_does_not_exist_is_refused_by_name() {
    let output = replay(&["/no/such/file.log"]);
    assert_eq!(output.status.code(), Some(70));
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("/no/such/file.log: No such file"), "{text}");
}

#[test]
fn a_file_name_with_glob_characters_is_taken_as_it_is() {
    let logs = LogDir::new();
    logs.append_sequence("a[1]*.log", 0..2);
    logs.append_sequence("a1.log", 2..9);
    let output = replay(&[logs.file("a[1]*.log").to_str().unwrap()]);
    assert_eq!(events(&output).len(), 2);
}

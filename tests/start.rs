//! A start needs nothing but the configuration such Pods have, and says exactly what is wrong with
//! one that cannot be used.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;
use support::{FakeFluentd, LogDir, ReservedPort, SOON, TestAgent, Told};

fn agent(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_log-ambassador"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .output()
        .unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The two files of the reference configuration in a directory, with path and port replaced.
fn reference(directory: &LogDir, logs: &LogDir, fluentd: &FakeFluentd) -> String {
    let path = |name| Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
    let text = std::fs::read_to_string(path("fluent-bit.conf")).unwrap();
    let text = text
        .replace("/var/log/app", logs.path().to_str().unwrap())
        .replace("fluentd-aggregator.logging.svc.cluster.local", "127.0.0.1")
        .replace("24224", &fluentd.port().to_string())
        .replace("Flush         5", "Flush         0.1");
    directory.append("fluent-bit.conf", text);
    std::fs::copy(path("parsers.conf"), directory.file("parsers.conf")).unwrap();
    directory.file("fluent-bit.conf").display().to_string()
}

#[test]
fn the_reference_configuration_works_as_it_is() {
    let (config, logs, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    logs.append("a.log", "{\"timestamp\":\"2026-01-02T03:04:05.678\",\"message\":\"hi\"}\n");
    let path = reference(&config, &logs, &fluentd);
    let mut command = Command::new(env!("CARGO_BIN_EXE_log-ambassador"));
    command
        .args(["/fluent-bit/bin/fluent-bit", "-c", &path])
        .env_clear()
        .env("HOSTNAME", "pod-1")
        .env("POD_NAMESPACE", "shop");
    let agent = TestAgent::spawn(command, tempfile::tempdir().unwrap());
    let event = fluentd.wait_for_records(1, SOON).remove(0);
    assert_eq!(event.tag, "app.logs");
    assert_eq!((event.seconds, event.nanos), (1_767_323_045, 678_000_000));
    assert_eq!(event.record, json!({"message": "hi", "hostname": "pod-1", "namespace": "shop"}));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn an_unset_namespace_stops_the_start_with_the_lines_to_add() {
    let (config, logs, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let path = reference(&config, &logs, &fluentd);
    let output = agent(&["-c", &path], &[("HOSTNAME", "pod-1")]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in ["fluent-bit.conf:20: Record: ", "POD_NAMESPACE", "fieldPath: metadata.namespace"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
}

#[test]
fn every_problem_of_a_file_is_named_with_its_line_at_once() {
    let directory = LogDir::new();
    directory.append(
        "a.conf",
        "[INPUT]\n    Name tail\n    Paht /var/log/*.log\n    Mem_Buf_Limit 5 MB\n\
         [OUTPUT]\n    Name kafka\n    Match *\n",
    );
    let path = directory.file("a.conf").display().to_string();
    for arguments in [vec!["-c", &path], vec!["check", "-c", &path], vec!["-c", &path, "--dry-run"]]
    {
        let output = agent(&arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let text = stderr(&output);
        for part in [
            "a.conf:3: Paht",
            "did you mean 'Path'?",
            "a.conf:4: Mem_Buf_Limit: '5 MB'",
            "a.conf:6: Name",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
    }
}

#[test]
fn what_a_start_warns_of_is_a_failure_of_check() {
    let (config, logs, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let path = reference(&config, &logs, &fluentd);
    let variables = [("HOSTNAME", "pod-1"), ("POD_NAMESPACE", "shop")];
    let output = agent(&["check", "-c", &path], &variables);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    config.append("fluent-bit.conf", "\n[SERVCE]\n    Flush 1\n");
    let output = agent(&["check", "-c", &path], &variables);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("there is no section [SERVCE]"), "{}", stderr(&output));
    let output = agent(&["--dry-run", "-c", &path], &variables);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("configuration test is successful"));
}

#[test]
fn a_file_that_is_not_there_and_no_file_at_all_are_refused() {
    let output = agent(&["-c", "/no/such/fluent-bit.conf"], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("/no/such/fluent-bit.conf"), "{}", stderr(&output));
    let output = agent(&[], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("-c FILE"), "{}", stderr(&output));
}

#[test]
fn version_and_help_go_to_stdout_and_end_well() {
    for flag in ["-V", "--version", "-h", "--help"] {
        let output = agent(&[flag], &[]);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{flag}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("log-ambassador"), "{text}");
    }
}

#[test]
fn quiet_says_nothing_and_verbose_says_more() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("a.log", 0..1);
    for (runs, level, expected) in [(1, "off", false), (2, "info", true)] {
        let told = Told::to_follow(&logs, &fluentd).service(&format!("Log_Level {level}"));
        let agent = told.start();
        fluentd.wait_for_records(runs, SOON);
        let (status, log) = agent.stop_and_log();
        assert_eq!(status, 0);
        assert_eq!(log.contains("following"), expected, "{level}: {log}");
    }
}

/// The rows of the smoke test in the Fluent Bit reference, but for what our table of differences
/// says: lines there at the start are read, an unterminated last line is sent, and a line of
/// 40,000 bytes is no matter.
#[test]
fn the_smoke_test_of_the_field_gives_what_fluent_bit_gives_but_for_our_differences() {
    let (config, logs, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    // Not the usual port: another test run may have it.
    let port = ReservedPort::new(0);
    let parsers = Path::new(env!("CARGO_MANIFEST_DIR")).join("parsers/parsers.conf");
    std::fs::copy(parsers, config.file("parsers.conf")).unwrap();
    config.append(
        "fluent-bit.conf",
        format!(
            "[SERVICE]\n    Flush           1\n    Log_Level       info\n    \
             Parsers_File    parsers.conf\n    HTTP_Server     On\n    \
             HTTP_Port       {}\n\
             [INPUT]\n    Name            tail\n    Path            {}/*.log\n    \
             Tag             app.*\n    Parser          json\n    Mem_Buf_Limit   5MB\n    \
             Refresh_Interval 10\n\
             [FILTER]\n    Name            record_modifier\n    Match           *\n    \
             Record          pod ${{HOSTNAME}}\n\
             [OUTPUT]\n    Name            forward\n    Match           *\n    \
             Host            127.0.0.1\n    Port            {}\n",
            port.address().port(),
            logs.path().display(),
            fluentd.port()
        ),
    );
    let long = "x".repeat(40_000);
    logs.append(
        "a.log",
        format!(
            "{{\"msg\":\"hi\",\"n\":1}}\n{{\"time\":\"2024-01-02T03:04:05.678Z\",\"msg\":\"x\"}}\n\
             not json\n[1,2]\n\n{{\"pod\":\"mine\"}}\n{{\"text\":\"{long}\"}}\n{{\"a\":"
        ),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_log-ambassador"));
    command.arg("-c").arg(config.file("fluent-bit.conf")).env_clear().env("HOSTNAME", "h1");
    let agent = TestAgent::spawn(command, tempfile::tempdir().unwrap());
    fluentd.wait_for_records(7, SOON);
    logs.append("a.log", "1}\n{\"a\":2}");
    fluentd.wait_for_records(8, SOON);
    let log = agent.log();
    assert_eq!(agent.stop(), 0);
    let events = fluentd.events();
    let records: Vec<_> = events.iter().map(|event| event.record.clone()).collect();
    assert_eq!(
        records,
        [
            json!({"msg": "hi", "n": 1, "pod": "h1"}),
            json!({"time": "2024-01-02T03:04:05.678Z", "msg": "x", "pod": "h1"}),
            json!({"log": "not json", "pod": "h1"}),
            json!({"log": "[1,2]", "pod": "h1"}),
            json!({"log": "", "pod": "h1"}),
            // A reader that keeps the last of two keys sees ours.
            json!({"pod": "h1"}),
            json!({"text": long, "pod": "h1"}),
            json!({"a": 1, "pod": "h1"}),
            json!({"a": 2, "pod": "h1"}),
        ]
    );
    let dotted = logs.path().display().to_string().replace('/', ".").replace("..", ".");
    assert!(events.iter().all(|event| event.tag == format!("app{dotted}.a.log")));
    // The stock parser's format does not fit ISO times: the time of reading.
    assert!(events.iter().all(|event| event.seconds > 1_760_000_000));
    assert!(log.contains("[http_server] listening on 0.0.0.0:"), "{log}");
}

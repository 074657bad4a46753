//! `check --connect` tells of each address of each node what works and what to change.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::process::Command;

use serde_json::json;
use support::{FakeFluentd, LogDir, ReservedPort, SOON, TestCa};

/// The exit status and the lines on stdout, for an output with these keys.
fn check(keys: &[&str]) -> (Option<i32>, Vec<String>) {
    let directory = LogDir::new();
    let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
    directory.append(
        "a.conf",
        format!(
            "[INPUT]\n    Name tail\n    Path /var/log/app/*.log\n\
             [OUTPUT]\n    Name forward\n    Match *\n{keys}"
        ),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_log-ambassador"))
        .args(["check", "--connect", "-c"])
        .arg(directory.file("a.conf"))
        .env_clear()
        .output()
        .unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("nothing is wrong with it"), "{told}");
    let said = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), said.lines().map(str::to_owned).collect())
}

/// The same for a receiver on this port of the loopback.
fn check_port(port: u16, keys: &[&str]) -> (Option<i32>, String) {
    let port = format!("Port {port}");
    let keys = [&["Host 127.0.0.1", &port][..], keys].concat();
    let (status, mut lines) = check(&keys);
    assert_eq!(lines.len(), 1, "{lines:?}");
    (status, lines.remove(0))
}

#[track_caller]
fn assert_works(fluentd: &FakeFluentd, keys: &[&str], expected: &str) {
    let (status, line) = check_port(fluentd.port(), keys);
    let beginning = format!("forward.0 127.0.0.1:{}: {expected}", fluentd.port());
    assert!(line.starts_with(&beginning), "{line}");
    assert_eq!(status, Some(0), "{line}");
}

#[track_caller]
fn assert_fails(fluentd: &FakeFluentd, keys: &[&str], parts: &[&str]) {
    let (status, line) = check_port(fluentd.port(), keys);
    assert!(line.contains("FAILED: "), "{line}");
    for part in parts {
        assert!(line.contains(part), "no {part:?} in {line}");
    }
    assert_eq!(status, Some(1), "{line}");
}

#[test]
fn a_receiver_that_works_gets_one_event_that_says_what_it_is() {
    let fluentd = FakeFluentd::start();
    // `Tag` is for logs.
    assert_works(&fluentd, &["Tag other", "Add_Option a b"], "connected, acknowledged in ");
    let event = fluentd.wait_for_records(1, SOON).remove(0);
    assert_eq!(event.tag, "log-ambassador.check");
    assert!(event.seconds > 1_700_000_000);
    assert_eq!(event.record, json!({"message": "log-ambassador check", "output": "forward.0"}));
    assert_eq!(fluentd.options()[0]["a"], "b");
    assert_works(&fluentd, &["Time_as_Integer on"], "connected, acknowledged in ");
    assert_eq!((fluentd.record_count(), fluentd.events()[1].nanos), (2, 0));
}

#[test]
fn what_was_agreed_on_is_told_and_no_secret() {
    let ca = TestCa::new();
    let fluentd = FakeFluentd::start()
        .speaks_tls(ca.server("fluentd.example"))
        .demands_key("s3cret-key")
        .demands_user("alice", "pa55-word");
    let ca_file = format!("tls.ca_file {}", ca.file("ca.crt").display());
    let keys = ["tls on", &ca_file, "Username alice", "Password pa55-word"];
    let right = [&keys[..], &["Shared_Key s3cret-key"]].concat();
    let strict = ["tls.verify_hostname on", "tls.vhost fluentd.example"];
    let agreed = "connected, TLS 1.3 as 'fluentd.example', key accepted, acknowledged in ";
    assert_works(&fluentd, &[&right[..], &strict].concat(), agreed);
    let agreed = "connected, TLS 1.3 under any name (tls.verify_hostname is off), key accepted";
    assert_works(&fluentd, &right, agreed);
    let other_name = [&right[..], &["tls.verify_hostname on"]].concat();
    assert_fails(&fluentd, &other_name, &["it is for another name", "as tls.vhost"]);

    let wrong = [&keys[..], &["Shared_Key wr0ng-key"]].concat();
    assert_fails(&fluentd, &wrong, &["shared_key mismatch", "as Shared_Key"]);
    let (_, line) = check_port(fluentd.port(), &wrong);
    assert!(!line.contains("wr0ng-key") && !line.contains("pa55"), "{line}");
    assert_eq!(fluentd.record_count(), 2);
}

#[test]
fn a_key_that_is_required_and_one_that_is_not_are_told_apart() {
    let secure = FakeFluentd::start().demands_key("k3y");
    assert_works(&secure, &["Shared_Key k3y"], "connected, key accepted, acknowledged in ");
    let parts = ["connected, then", "the server requires a shared key", "set Shared_Key"];
    for keys in [&[][..], &["Require_ack_response off"]] {
        assert_fails(&secure, keys, &parts);
        // The frame came where a PING was due.
        secure.faults_of_those_who_left(SOON);
    }
    let plain = FakeFluentd::start();
    assert_fails(&plain, &["Shared_Key k3y"], &["it wants no shared key", "Take Shared_Key out"]);
}

#[test]
fn a_receiver_that_speaks_tls_where_we_do_not_is_told() {
    let ca = TestCa::new();
    let fluentd = FakeFluentd::start().speaks_tls(ca.server("fluentd.example"));
    assert_fails(&fluentd, &[], &["connected, then", "'tls on'"]);
}

#[test]
fn a_receiver_that_never_acknowledges_is_told_with_the_key_to_set() {
    let fluentd = FakeFluentd::start().never_acknowledges();
    let told = ["no acknowledgement within 1s", "reads and does not", "`Require_ack_response Off`"];
    assert_fails(&fluentd, &["net.io_timeout 1"], &told);
    let works = "connected, sent without asking for an acknowledgement";
    assert_works(&fluentd, &["Require_ack_response off"], works);
}

#[test]
fn a_receiver_that_refuses_compressed_frames_only_is_told() {
    for codec in ["gzip", "zstd"] {
        let compress = format!("Compress {codec}");
        let fluentd = FakeFluentd::start();
        assert_works(&fluentd, &[&compress], "connected, acknowledged in ");
        assert_eq!(fluentd.options()[0]["compressed"], codec);
        // Only what is compressed is padded.
        let fluentd = fluentd.refuses_chunks_with("....");
        let advice = format!("it refuses compressed frames, and takes others: take `{compress}`");
        assert_fails(&fluentd, &[&compress], &[&advice]);
        let fluentd = fluentd.refuses_chunks_with("log-ambassador check");
        let (_, line) = check_port(fluentd.port(), &[&compress]);
        assert!(!line.contains("compressed"), "{line}");
    }
}

#[test]
fn each_node_is_told_of_and_one_that_is_down_is_enough_to_fail() {
    let (up, down, directory) = (FakeFluentd::start(), ReservedPort::new(0), LogDir::new());
    let down = down.address();
    let nodes = format!(
        "[UPSTREAM]\n    Name nodes\n\
         [NODE]\n    Name one\n    Host 127.0.0.1\n    Port {}\n\
         [NODE]\n    Name two\n    Host {}\n    Port {}\n\
         [NODE]\n    Name three\n    Host no-such-host.invalid\n    Port 24224\n",
        up.port(),
        down.ip(),
        down.port()
    );
    directory.append("upstream.conf", nodes);
    let upstream = format!("Upstream {}", directory.file("upstream.conf").display());
    let (status, lines) = check(&[&upstream]);
    assert_eq!((status, lines.len()), (Some(1), 3), "{lines:?}");
    let one = format!("forward.0 one 127.0.0.1:{}: connected, acknowledged in ", up.port());
    assert!(lines[0].starts_with(&one), "{lines:?}");
    let two = format!("forward.0 two {down}: FAILED: ");
    assert!(lines[1].starts_with(&two), "{lines:?}");
    assert!(lines[1].contains("nobody listens there; check the address"), "{lines:?}");
    let three = "forward.0 three: FAILED: cannot resolve 'no-such-host.invalid'";
    assert!(lines[2].starts_with(three) && lines[2].contains("check `Host`"), "{lines:?}");
}

#[test]
fn a_unix_socket_is_told_by_its_path() {
    let directory = LogDir::new();
    let path = directory.file("fluentd.sock");
    let key = format!("Unix_Path {}", path.display());
    let (status, lines) = check(&[&key]);
    assert!(lines[0].contains("there is no such socket; check `Unix_Path`"), "{lines:?}");
    assert_eq!(status, Some(1));
    let fluentd = FakeFluentd::start().listens_at(&path);
    let (status, lines) = check(&[&key]);
    let expected = format!("forward.0 {}: connected, acknowledged in ", path.display());
    assert!(lines[0].starts_with(&expected), "{lines:?}");
    assert_eq!((status, fluentd.record_count()), (Some(0), 1));
}

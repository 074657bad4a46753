//! What stands between the agent and a receiver: handshakes, TLS, compression, and how long
//! connections live.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use log_ambassador::model::cursor::Scanner;
use serde_json::{Value as Json, json};
use support::{FakeFluentd, LogDir, ReservedPort, SOON, TestCa, Told, wait_until};

/// Two hundred lines, each with a time of its own, in one file.
fn logs_with_lines() -> LogDir {
    let logs = LogDir::new();
    logs.append("app.log", lines(0..200));
    logs
}

fn lines(numbers: std::ops::Range<u32>) -> String {
    let line = |n| format!("{{\"timestamp\":\"2026-01-02T03:04:05.{n:06}\",\"n\":{n}}}\n");
    numbers.map(line).collect()
}

fn numbers(fluentd: &FakeFluentd) -> Vec<u64> {
    fluentd.events().iter().filter_map(|event| event.record["n"].as_u64()).collect()
}

/// What the agent says when it cannot deliver, waited for.
fn complaint(told: &Told, part: &str) -> String {
    let agent = told.start();
    agent.wait_for_log(part);
    agent.log()
}

// ---- Handshakes

#[test]
fn a_receiver_that_wants_a_key_and_a_user_is_shown_both() {
    let fluentd =
        FakeFluentd::start().demands_key("k3y").demands_user("bob", "b").demands_user("alice", "a");
    let logs = logs_with_lines();
    let told = Told::to_follow(&logs, &fluentd).output("Shared_Key k3y").output("Username alice");
    let agent = told.clone().output("Password a").start();
    fluentd.wait_for_records(200, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(fluentd.guests(), [("pod-1.client".to_owned(), "alice".to_owned())]);

    let agent = told.output("Password a").output("Self_Hostname me").start();
    fluentd.wait_for_records(400, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(fluentd.guests()[1].0, "me");
}

#[test]
fn a_wrong_key_is_told_once_with_the_remedy_and_tried_ever_more_rarely_until_its_file_is_right() {
    let fluentd = FakeFluentd::start().demands_key("right").demands_user("alice", "pa55");
    let logs = logs_with_lines();
    let secrets = tempfile::tempdir().unwrap();
    let [key, password] = ["key", "password"].map(|name| secrets.path().join(name));
    std::fs::write(&key, "wr0ng-key\n").unwrap();
    std::fs::write(&password, "wr0ng-pw\n").unwrap();
    let agent = Told::to_follow(&logs, &fluentd)
        .output(&format!("Shared_Key_File {}", key.display()))
        .output("Username alice")
        .output(&format!("Password_File {}", password.display()))
        .start();
    agent.wait_for_log("as Shared_Key");
    fluentd.wait_for_connections(5, SOON);
    let log = agent.log();
    // Once before there was a chunk to send, and once since.
    let told = log.lines().filter(|line| line.contains("as Shared_Key")).collect::<Vec<_>>();
    assert!(told.len() <= 2, "{log}");
    assert!(told[0].contains("the server refuses us, saying \"shared_key mismatch\""), "{log}");
    assert!(told[0].contains("retry in"), "{log}");

    // As Kubernetes replaces a Secret.
    std::fs::write(secrets.path().join("new"), "right\n").unwrap();
    std::fs::rename(secrets.path().join("new"), &key).unwrap();
    agent.wait_for_log("as Username and Password");
    std::fs::write(&password, "pa55").unwrap();
    fluentd.wait_for_records(200, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(numbers(&fluentd), (0..200).collect::<Vec<_>>());
}

#[test]
fn nothing_is_sent_to_a_receiver_that_does_not_prove_that_it_knows_the_key() {
    for (fluentd, part) in [
        (FakeFluentd::start().does_not_know_the_key(), "does not know our shared key"),
        (FakeFluentd::start().closes_instead_of_pong(), "instead of answering our PING"),
        (FakeFluentd::start().never_answers_ping(), "did not answer our PING within 1s"),
        (FakeFluentd::start().calls_itself("pod-1.client"), "another Self_Hostname"),
    ] {
        let fluentd = fluentd.demands_key("k3y");
        let logs = logs_with_lines();
        let told = Told::to_follow(&logs, &fluentd).output("net.connect_timeout 1");
        let agent = told.output("Shared_Key k3y").start();
        agent.wait_for_log(part);
        // A connection that failed is not used again: Fluent Bit sends on it, in clear.
        fluentd.wait_for_connections(4, SOON);
        assert_eq!(fluentd.record_count(), 0, "{part}");
    }
}

/// Fluent Bit's server reads a PING at once, and throws away what came with it.
#[test]
fn a_ping_comes_in_one_piece_and_nothing_before_the_pong() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (logs, elsewhere) = (logs_with_lines(), FakeFluentd::start());
    let told = Told::to_follow(&logs, &elsewhere).port(listener.local_addr().unwrap().port());
    let agent = told.output("Shared_Key k3y").output("net.connect_timeout 1").start();
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"\x92\xa4HELO\x81\xa5nonce\xa41234").unwrap();
        stream.peek(&mut [0]).unwrap();
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        let ping = Scanner::new().scan(&bytes[..count]).unwrap();
        assert_eq!(ping, Some(count), "{:?}", bytes[..count].escape_ascii().to_string());
        assert!(count <= 512, "Fluentd reads no more at once");
        let rest = stream.read(&mut bytes).unwrap();
        assert_eq!(rest, 0, "it waits, and leaves");
    }
    agent.kill();
}

#[test]
fn keys_where_none_are_wanted_and_none_where_they_are_wanted_are_told_with_the_remedy() {
    let plain = FakeFluentd::start();
    let told = Told::to_follow(&logs_with_lines(), &plain).output("Empty_Shared_Key on");
    complaint(&told, "Take Shared_Key out, or give it a <security> section");
    let secure = FakeFluentd::start().demands_key("k3y");
    complaint(&Told::to_follow(&logs_with_lines(), &secure), "set Shared_Key in this output");
    // The frame came where a PING was due.
    secure.faults_of_those_who_left(SOON);
    assert_eq!((plain.record_count(), secure.record_count()), (0, 0));
}

#[test]
fn an_empty_key_is_a_key() {
    let fluentd = FakeFluentd::start().demands_key("");
    let logs = logs_with_lines();
    let told = Told::to_follow(&logs, &fluentd).output("Shared_Key x");
    let agent = told.output("Empty_Shared_Key on").start();
    fluentd.wait_for_records(200, SOON);
    assert_eq!(agent.stop(), 0);
}

// ---- TLS

fn with_tls(told: Told, ca: &TestCa) -> Told {
    told.output("tls on").output(&format!("tls.ca_file {}", ca.file("ca.crt").display()))
}

#[test]
fn tls_with_key_user_and_compression_delivers_what_was_written_and_ends_with_a_word() {
    let ca = TestCa::new();
    let fluentd = FakeFluentd::start()
        .speaks_tls(ca.server("127.0.0.1"))
        .demands_key("k3y")
        .demands_user("alice", "a");
    let logs = logs_with_lines();
    let agent = with_tls(Told::to_follow(&logs, &fluentd), &ca)
        .output("tls.verify_hostname on")
        .output("Shared_Key k3y")
        .output("Username alice")
        .output("Password a")
        .output("Compress gzip")
        .start();
    fluentd.wait_for_records(200, SOON);
    assert_eq!(numbers(&fluentd), (0..200).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
    wait_until("the connection has ended", || fluentd.open_connections() == 0);
    assert_eq!((fluentd.connections(), fluentd.closed_well()), (1, 1));
}

#[test]
fn a_backlog_passes_through_tls_in_order_and_so_it_does_when_the_receiver_closes_what_it_served() {
    let ca = TestCa::new();
    let fluentd = FakeFluentd::start().speaks_tls(ca.server("x")).keeps_only_sequence("n");
    let logs = LogDir::new();
    logs.append("app.log", lines(0..100_000));
    let agent = with_tls(Told::to_follow(&logs, &fluentd), &ca).start();
    fluentd.wait_for_records(100_000, Duration::from_secs(60));
    let fluentd = fluentd.hangs_up_after(1);
    for round in 0..5 {
        logs.append("app.log", lines(100_000 + round..100_001 + round));
        fluentd.wait_for_records(u64::from(100_001 + round), SOON);
    }
    assert_eq!(agent.stop(), 0);
    let sequences = fluentd.sequences();
    assert!(sequences["app.logs"].iter().copied().eq(0..100_005));
}

#[test]
fn a_receiver_that_wants_a_certificate_is_shown_one_and_a_new_one_when_its_files_change() {
    let (ca, old) = (TestCa::new(), TestCa::new());
    let fluentd = FakeFluentd::start().speaks_tls(ca.mutual_server("x"));
    old.write("us", "us.example");
    let logs = logs_with_lines();
    let told = with_tls(Told::to_follow(&logs, &fluentd), &ca);
    complaint(&told, "write one that it trusts as tls.crt_file");
    let agent = told
        .output(&format!("tls.crt_file {}", old.file("us.crt").display()))
        .output(&format!("tls.key_file {}", old.file("us.key").display()))
        .start();
    agent.wait_for_log("write one that it trusts as tls.crt_file");
    assert_eq!(fluentd.record_count(), 0);
    let (certificate, key) = ca.sign("us.example");
    std::fs::write(old.file("us.crt"), certificate).unwrap();
    agent.wait_for_log("what was there before is used on");
    std::fs::write(old.file("us.key"), key).unwrap();
    fluentd.wait_for_records(200, SOON);
    agent.wait_for_log("certificates and keys have changed");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn what_is_wrong_with_tls_is_told_with_the_key_to_write() {
    let (ca, other) = (TestCa::new(), TestCa::new());
    let secure = FakeFluentd::start().speaks_tls(ca.server("fluentd.example"));
    let (plain, silent) = (FakeFluentd::start().greets_with_helo(), FakeFluentd::start());
    let logs = logs_with_lines();
    let to = |fluentd: &FakeFluentd| Told::to_follow(&logs, fluentd);
    let strict = with_tls(to(&secure), &ca).output("tls.verify_hostname on");
    for (told, part) in [
        (with_tls(to(&secure), &other), "write the certificate of its CA as tls.ca_file"),
        (to(&secure).output("tls on"), "write the certificate of its CA as tls.ca_file"),
        (strict.clone(), "write the name it is for as tls.vhost"),
        (with_tls(to(&plain), &ca), "write 'tls off'"),
        (with_tls(to(&silent), &ca), "closed the connection instead of speaking TLS"),
        (to(&secure), "set 'tls on'"),
    ] {
        complaint(&told, part);
    }
    for fluentd in [&plain, &silent] {
        // A TLS hello is no frame.
        fluentd.faults_of_those_who_left(SOON);
    }
    assert_eq!((secure.record_count(), plain.record_count()), (0, 0));
    let agent = strict.output("tls.vhost fluentd.example").start();
    secure.wait_for_records(200, SOON);
    assert_eq!(agent.stop(), 0);
    let agent = to(&secure).output("tls on").output("tls.verify off").start();
    secure.wait_for_records(400, SOON);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_receiver_that_does_not_go_on_with_tls_is_given_up_in_time() {
    let (fluentd, ca) = (FakeFluentd::start().stalls_reading(), TestCa::new());
    let told = with_tls(Told::to_follow(&logs_with_lines(), &fluentd), &ca);
    let start = Instant::now();
    complaint(&told.output("net.connect_timeout 1"), "no answer in time");
    assert!(start.elapsed() > Duration::from_secs(1));
}

#[test]
fn a_start_with_files_of_no_use_ends_and_names_the_key() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let told = Told::to_follow(&logs, &fluentd);
    let no_ca = told.clone().output("tls on").output("tls.ca_file /none/ca.crt");
    let no_key = told.output("Shared_Key_File /none/key");
    for (told, part) in [(no_ca, "tls.ca_file: /none/ca.crt: No such file"), (no_key, "/none/key")]
    {
        let agent = told.start();
        agent.wait_for_log(part);
        assert_eq!(agent.status(SOON), 1);
        assert!(told.check().contains(part), "{}", told.check());
    }
}

#[test]
fn no_secret_is_ever_printed() {
    let ca = TestCa::new();
    let (logs, fluentd) = (logs_with_lines(), FakeFluentd::start().speaks_tls(ca.server("x")));
    let fluentd = fluentd.demands_key("t0p-right").demands_user("alice", "t0p-pw");
    ca.write("us", "us.example");
    let http = ReservedPort::new(0);
    let told = |key: &str| {
        with_tls(Told::to_follow(&logs, &fluentd), &ca)
            .service("Log_Level trace")
            .service("HTTP_Server On")
            .service("HTTP_Listen 127.0.0.1")
            .service(&format!("HTTP_Port {}", http.address().port()))
            .output(&format!("tls.crt_file {}", ca.file("us.crt").display()))
            .output(&format!("tls.key_file {}", ca.file("us.key").display()))
            .output("tls.key_passwd t0p-passwd")
            .output("Shared_Key ${KEY}")
            .output("Username alice")
            .output("Password t0p-pw")
            .environment("KEY", key)
    };
    let wrong = complaint(&told("t0p-wrong"), "as Shared_Key");
    let agent = told("t0p-right").start();
    fluentd.wait_for_records(200, SOON);
    let pages = ["/metrics", "/api/v1/metrics", "/api/v2/metrics/prometheus", "/"].map(|path| {
        let mut stream = TcpStream::connect(http.address()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        assert!(page.starts_with("HTTP/1.1 200"), "{page}");
        page
    });
    let (status, right) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert!(right.contains("shook hands") && right.contains("TLS is up"), "at trace: {right}");
    let broken = told("t0p-right").output("Shared_Key_File /x").output("Compress t0p");
    for said in [wrong, right, told("t0p-right").check(), broken.check()].iter().chain(&pages) {
        assert!(!said.contains("t0p-"), "{said}");
        assert!(!said.is_empty());
    }
}

// ---- What frames look like

fn told_options(fluentd: &FakeFluentd, key: &str) -> Vec<Json> {
    fluentd.options().iter().map(|option| option[key].clone()).collect()
}

#[test]
fn each_output_gets_chunks_in_its_own_form() {
    let plain = FakeFluentd::start();
    let [gzip, zstd] = ["gzip", "zstd"].map(|_| FakeFluentd::start());
    let logs = logs_with_lines();
    let output = |fluentd: &FakeFluentd, key: &str| {
        format!(
            "[OUTPUT]\n    Name forward\n    Match *\n    Host 127.0.0.1\n    Port {}\n    {key}\n",
            fluentd.port()
        )
    };
    let agent = Told::to_follow(&logs, &plain)
        .more(&output(&gzip, "Compress gzip"))
        .more(&output(&zstd, "Compress zstd"))
        .start();
    let expected = plain.wait_for_records(200, SOON);
    for (fluentd, name) in [(&gzip, json!("gzip")), (&zstd, json!("zstd")), (&plain, Json::Null)] {
        assert_eq!(fluentd.wait_for_records(200, SOON), expected);
        let compressed = told_options(fluentd, "compressed");
        assert!(!compressed.is_empty() && compressed.iter().all(|found| *found == name), "{name}");
    }
    assert_eq!(plain.chunk_ids(), gzip.chunk_ids(), "one chunk, one id");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn compressed_chunks_pass_a_small_limit_in_order_and_go_again_as_they_were() {
    let fluentd = FakeFluentd::start().keeps_only_sequence("n").hangs_up_instead_of_acks(3);
    let logs = LogDir::new();
    logs.append("app.log", lines(0..50_000));
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 200k");
    let agent = told.output("Compress gzip").start();
    wait_until("the last has arrived", || {
        fluentd.sequences().get("app.logs").is_some_and(|numbers| numbers.contains(&49_999))
    });
    assert_eq!(agent.stop(), 0);
    let mut numbers = fluentd.sequences().remove("app.logs").unwrap();
    assert!(numbers.len() > 50_000, "three chunks came again");
    numbers.sort_unstable();
    numbers.dedup();
    assert!(numbers.into_iter().eq(0..50_000));
}

#[test]
fn whole_seconds_another_tag_and_further_options_are_sent_as_written() {
    let (logs, fluentd) = (logs_with_lines(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd)
        .output("Time_as_Integer on")
        .output("Tag x.$TAG[1].$TAG")
        .output("Add_Option color blue")
        .output("Add_Option note \"two words\"")
        .start();
    let events = fluentd.wait_for_records(200, SOON);
    assert!(events.iter().all(|event| event.tag == "x.logs.app.logs"), "{:?}", events[0]);
    assert!(events.iter().all(|event| event.nanos == 0 && event.seconds == 1_767_323_045));
    assert_eq!(events[199].record["n"], 199);
    assert_eq!(told_options(&fluentd, "color")[0], "blue");
    assert_eq!(told_options(&fluentd, "note")[0], "two words");
    assert_eq!(agent.stop(), 0);
}

// ---- How long connections live

#[test]
fn a_unix_socket_is_as_good_as_a_port() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fluentd.sock");
    let (logs, fluentd) = (logs_with_lines(), FakeFluentd::start());
    let told = Told::to_follow(&logs, &fluentd).output(&format!("Unix_Path {}", path.display()));
    let agent = told.start();
    agent.wait_for_log("fluentd.sock: No such file");
    assert!(!agent.log().contains("127.0.0.1"), "there is no host: {}", agent.log());
    let fluentd = fluentd.demands_key("k3y").listens_at(&path);
    agent.wait_for_log("set Shared_Key in this output");
    agent.kill();
    // Frames came where a PING was due.
    fluentd.faults_of_those_who_left(SOON);
    let agent = told.output("Shared_Key k3y").start();
    fluentd.wait_for_records(200, SOON);
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    let line = log.lines().find(|line| line.contains("] connected")).unwrap();
    assert!(line.contains("fluentd.sock") && !line.contains("24224"), "{line}");
}

#[test]
fn connections_end_after_as_many_frames_and_as_much_idleness_as_is_written() {
    for (output, connections) in [
        ("net.keepalive off", 6),
        ("net.keepalive_max_recycle 3", 2),
        ("net.keepalive_idle_timeout 3600", 1),
    ] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let agent = Told::to_follow(&logs, &fluentd).output(output).start();
        for number in 0..6 {
            logs.append("app.log", lines(number..number + 1));
            fluentd.wait_for_chunks(usize::try_from(number + 1).unwrap(), SOON);
        }
        let (status, log) = agent.stop_and_log();
        assert_eq!((status, fluentd.chunk_ids().len()), (0, 6), "{log}");
        assert_eq!(fluentd.connections(), connections, "{output}\n{log}");
        assert!(!log.contains("retry in"), "{log}");
    }
}

#[test]
fn an_idle_connection_is_closed_and_the_next_chunk_makes_another() {
    let (logs, fluentd) = (logs_with_lines(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).output("net.keepalive_idle_timeout 1").start();
    fluentd.wait_for_records(200, SOON);
    assert_eq!(fluentd.open_connections(), 1);
    wait_until("it is closed", || fluentd.open_connections() == 0);
    assert_eq!(fluentd.connections(), 1, "nothing is sent, so nothing connects");
    logs.append("app.log", lines(200..201));
    fluentd.wait_for_records(201, SOON);
    let (status, log) = agent.stop_and_log();
    assert_eq!((status, fluentd.connections()), (0, 2));
    assert!(!log.contains("retry in"), "{log}");
}

#[test]
fn a_receiver_that_wants_a_connection_a_frame_gets_one_without_any_repeat() {
    let fluentd = FakeFluentd::start().demands_key("k3y").denies_keepalive();
    let logs = LogDir::new();
    logs.append("app.log", lines(0..20_000));
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 500k");
    let agent = told.output("Shared_Key k3y").start();
    fluentd.wait_for_records(20_000, SOON);
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert_eq!(numbers(&fluentd), (0..20_000).collect::<Vec<_>>(), "none came twice");
    assert!(fluentd.connections() >= fluentd.chunk_ids().len());
    assert!(!log.contains("retry in"), "{log}");
}

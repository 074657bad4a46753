//! `receive` over real sockets: events on stdout, acks on the wire.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use log_ambassador::cli::arguments::{self, Arguments};
use log_ambassador::cli::receive::ReceiveError;
use log_ambassador::listen::Limits;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use support::expected::LOGS;
use support::receiver::Printed;
use support::{FakeFluentd, LogDir, TestAgent, TestCa, Told, sequence, wait_until};
use support::{Receiver, ReservedPort};
use support::{peers, vectors};

const SOON: Duration = Duration::from_secs(20);

fn connect(receiver: &Receiver) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", receiver.port())).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Sends pieces, closes, and returns what came back before the other side closed too.
fn exchange(receiver: &Receiver, pieces: &[&[u8]]) -> Vec<u8> {
    let mut stream = connect(receiver);
    for piece in pieces {
        stream.write_all(piece).unwrap();
    }
    stream.shutdown(Shutdown::Write).unwrap();
    read_all(&mut stream)
}

/// What comes until the connection ends, by a reset too: unread bytes make one.
fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => answer,
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => answer,
        Err(error) => panic!("the connection does not end: {error}"),
    }
}

#[test]
fn every_reference_frame_is_printed_and_acknowledged_wherever_it_is_split() {
    let receiver = Receiver::start();
    for (name, entries) in LOGS {
        let vector = vectors::named(name);
        let printed: String =
            entries.iter().map(|entry| format!("{}\n", in_order(&entry.printed()))).collect();
        for cut in 0..vector.bytes.len() {
            let (left, right) = vector.bytes.split_at(cut);
            let answer = exchange(&receiver, &[left, right]);
            let ack = vector.expect_ack.as_ref().map(|id| {
                let header = 0xa0 | u8::try_from(id.len()).unwrap();
                [b"\x81\xa3ack", &[header][..], id.as_bytes()].concat()
            });
            assert_eq!(answer, ack.unwrap_or_default(), "{name} split at {cut}");
            // The connection ends after its frames were printed.
            assert_eq!(receiver.take_printed(), printed, "{name} split at {cut}");
        }
    }
}

/// `{"tag":…,"time":…,"record":…}`, in the order of the line.
fn in_order(event: &serde_json::Value) -> String {
    format!(
        "{{\"tag\":{},\"time\":{},\"record\":{}}}",
        event["tag"], event["time"], event["record"]
    )
}

#[test]
fn frames_sent_at_once_are_acknowledged_in_their_order() {
    let receiver = Receiver::start();
    let answer = exchange(&receiver, &[&vectors::named("two_frames").bytes.repeat(100)]);
    assert_eq!(answer, b"\x81\xa3ack\xa1A\x81\xa3ack\xa1B".repeat(100));
    assert_eq!(receiver.wait_for_lines(200, SOON).len(), 200);
}

#[test]
fn what_is_no_frame_ends_its_connection_and_no_other() {
    let receiver = Receiver::start();
    let mut good = connect(&receiver);
    for name in
        ["http_get", "tls_hello", "json_array", "byte_c1", "packed_trunc", "compr_gzip_badcrc"]
    {
        let mut bad = connect(&receiver);
        bad.write_all(&vectors::named(name).bytes).unwrap();
        assert_eq!(read_all(&mut bad), b"", "{name}: closed without an ack");
    }
    drop(connect(&receiver));
    good.write_all(&vectors::named("packed_bin").bytes).unwrap();
    let mut ack = [0; 30];
    good.read_exact(&mut ack).unwrap();
    assert_eq!(receiver.wait_for_lines(2, SOON).len(), 2);
}

#[test]
fn a_refusal_is_one_line_of_the_log_with_peer_reason_and_place() {
    let receiver = Receiver::start();
    let good = &vectors::named("packed_bin").bytes;
    let bad = &vectors::named("time_nsec_over").bytes;
    let mut sender = connect(&receiver);
    let peer = sender.local_addr().unwrap();
    sender.write_all(&[&good[..], bad].concat()).unwrap();
    read_all(&mut sender);
    let log = receiver.wait_for_log(SOON);
    assert_eq!(log.lines().count(), 1, "{log}");
    for part in [
        "WARN",
        &format!("peer={peer}"),
        &format!("offset={}", good.len() + 9),
        "byte 9 of the frame: a time lies between 1970 and 2106",
    ] {
        assert!(log.contains(part), "{part} is not in {log}");
    }
    // Empty connections are heartbeats; text has hundreds of bytes and makes one line.
    drop(connect(&receiver));
    exchange(&receiver, &[&vectors::named("http_get").bytes.repeat(100)]);
    let log = receiver.wait_for_log(SOON);
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("text instead of a frame"), "{log}");
}

#[test]
fn a_frame_above_the_limit_is_refused_before_it_has_come() {
    let limits = Limits { frame: 1000, ..Limits::default() };
    let receiver = Receiver::start_with(limits, Printed::default());
    let mut sender = connect(&receiver);
    sender.write_all(b"\x93\xa1t\xc6\x7f\xff\xff\xff").unwrap();
    assert_eq!(read_all(&mut sender), b"");
}

#[test]
fn nothing_is_acknowledged_before_it_is_printed_and_a_full_pipe_slows_the_sender() {
    let out = Printed::blocked();
    let receiver = Receiver::start_with(Limits::default(), out.clone());
    let mut sender = connect(&receiver);
    let frame = &vectors::named("packed_bin").bytes;
    sender.write_all(frame).unwrap();
    out.wait_until_full(SOON);
    // More than both kernel buffers hold can only be written once the frames before are printed.
    let many = frame.repeat(200_000);
    let mut rest = sender.try_clone().unwrap();
    sender.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let mut full = 0;
    // Writing that fails a thousand times in turn has filled everything there is.
    while full < 1000 {
        match sender.write(&many[sent..]) {
            Ok(bytes) => (sent, full) = (sent + bytes, 0),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => full += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(sent < many.len(), "all was taken although nothing could be printed");
        thread::yield_now();
    }
    let nothing = sender.peek(&mut [0]).unwrap_err();
    assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock, "nothing is acknowledged");
    sender.set_nonblocking(false).unwrap();
    out.opens();
    let mut ack = [0; 30];
    rest.read_exact(&mut ack).unwrap();
    assert_eq!(ack[..5], *b"\x81\xa3ack");
}

#[test]
fn a_reader_that_goes_ends_it_without_an_error_and_without_an_ack() {
    let out = Printed::default();
    let receiver = Receiver::start_with(Limits::default(), out.clone());
    let mut sender = connect(&receiver);
    out.closes();
    sender.write_all(&vectors::named("packed_bin").bytes).unwrap();
    assert_eq!(read_all(&mut sender), b"");
    receiver.join().unwrap();
}

#[test]
fn a_stop_keeps_whole_lines_and_does_not_wait_for_a_full_pipe() {
    let receiver = Receiver::start();
    let answer = exchange(&receiver, &[&vectors::named("packed_bin").bytes]);
    assert_eq!(answer.len(), 30);
    receiver.stop().unwrap();

    let stuck = Printed::blocked();
    let receiver = Receiver::start_with(Limits::default(), stuck.clone());
    let mut sender = connect(&receiver);
    sender.write_all(&vectors::named("packed_bin").bytes).unwrap();
    stuck.wait_until_full(SOON);
    receiver.stop().unwrap();
    assert_eq!(read_all(&mut sender), b"", "what was not printed is not acknowledged");
    stuck.closes();
}

/// Runs the command as `main` does, in a thread.
fn run(address: SocketAddr) -> thread::JoinHandle<Result<(), ReceiveError>> {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    let words = ["log-ambassador", "receive", "--listen", &host, "--port", &port];
    let arguments = Arguments::read(words.map(OsString::from)).unwrap();
    let Some(arguments::Command::Receive(command)) = arguments.command else {
        panic!("{arguments:?}");
    };
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(command.run())
    })
}

#[test]
fn sigterm_and_sigint_end_it_without_an_error() {
    for signal in [Signal::TERM, Signal::INT] {
        let free = ReservedPort::new(0);
        let address = free.address();
        let running = run(address);
        let deadline = Instant::now() + SOON;
        // It listens for signals before it listens on the port.
        while TcpStream::connect(address).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            thread::yield_now();
        }
        kill_process(getpid(), signal).unwrap();
        running.join().unwrap().unwrap();
    }
}

#[test]
fn a_port_that_is_taken_is_named_with_the_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let error = run(address);
    let message = error.join().unwrap().unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot listen on {address}: ")), "{message}");
    assert!(message.ends_with("choose another with --listen and --port"), "{message}");
}

// ---- The process, with its flags

/// `log-ambassador receive` as its users run it.
struct Process {
    process: TestAgent,
    printed: PathBuf,
}

impl Process {
    fn start(port: u16, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let printed = directory.path().join("printed");
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-ambassador"));
        command.args(["receive", "--listen", "127.0.0.1", "--port", &port.to_string()]).args(flags);
        command.stdout(File::create(&printed).unwrap());
        let process = TestAgent::spawn(command, directory);
        process.wait_for_log("listening");
        Self { process, printed }
    }

    /// The numbers of [`sequence`] that it printed, in this order.
    fn numbers(&self) -> Vec<u64> {
        let text = std::fs::read_to_string(&self.printed).unwrap();
        // A line may be half there.
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        let lines = lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter_map(|line| line["record"]["seq"].as_u64()).collect()
    }

    fn wait_for_numbers(&self, count: u64) {
        wait_until("all numbers are printed", || {
            let numbers = self.numbers();
            (0..count).all(|number| numbers.contains(&number))
        });
    }
}

/// Files with numbers, each in a tag and so in frames of its own.
fn two_logs() -> LogDir {
    let logs = LogDir::new();
    logs.append("one.log", sequence(0..100));
    logs.append("two.log", sequence(100..200));
    logs
}

fn told_to_ship(logs: &LogDir, port: u16) -> Told {
    let told = Told::to_follow(logs, &FakeFluentd::start()).port(port).input("Tag app.*");
    told.service("scheduler.base 1").service("scheduler.cap 1")
}

#[test]
fn what_a_fault_kept_from_being_acknowledged_is_sent_again_to_a_receiver_without_it() {
    for (fault, are_printed, said) in [
        ("no-ack", true, ""),
        ("wrong-id", true, "wrong"),
        ("late-ack:1h", true, ""),
        ("close-after:0", false, "failed to flush chunk"),
        ("refuse-handshake", false, "the server refuses us, saying \"shared_key mismatch\""),
    ] {
        let key: &[&str] = if fault == "refuse-handshake" { &["--shared-key", "k3y"] } else { &[] };
        let (logs, port) = (two_logs(), ReservedPort::new(0));
        let port = port.address().port();
        let wrong = Process::start(port, &[key, &["--fault", fault]].concat());
        let mut told = told_to_ship(&logs, port);
        if !key.is_empty() {
            told = told.output("Shared_Key k3y");
        }
        let agent = told.start();
        if are_printed {
            wrong.wait_for_numbers(100);
        }
        agent.wait_for_log(said);
        assert_eq!(wrong.numbers().is_empty(), !are_printed, "{fault}");
        wrong.process.kill();
        let right = Process::start(port, key);
        right.wait_for_numbers(200);
        assert_eq!(agent.stop(), 0, "{fault}");
    }
}

#[test]
fn with_faults_that_only_hinder_everything_is_acknowledged_at_last() {
    for fault in ["split-ack", "late-ack:200ms", "close-after:1"] {
        let (logs, port) = (two_logs(), ReservedPort::new(0));
        let port = port.address().port();
        let receiver = Process::start(port, &["--fault", fault, "--verbose"]);
        let agent = told_to_ship(&logs, port).start();
        receiver.wait_for_numbers(200);
        assert_eq!(agent.stop(), 0, "{fault}");
        let has_closed = receiver.process.log().contains("it is the fault asked for");
        assert_eq!(has_closed, fault == "close-after:1", "{}", receiver.process.log());
    }
}

#[test]
fn faults_are_what_a_sender_sees_of_them() {
    let frame = &vectors::named("two_frames").bytes;
    let answered = |fault: &str| {
        let port = ReservedPort::new(0);
        let receiver = Process::start(port.address().port(), &["--fault", fault]);
        let mut stream = TcpStream::connect(port.address()).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        let begun = Instant::now();
        stream.write_all(frame).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut first = [0; 512];
        let count = stream.read(&mut first).unwrap();
        let all = [first[..count].to_vec(), read_all(&mut stream)].concat();
        drop(receiver);
        (all, count, begun.elapsed())
    };
    let honest = b"\x81\xa3ack\xa1A\x81\xa3ack\xa1B";
    assert_eq!(answered("no-ack").0, b"");
    assert_eq!(answered("wrong-id").0, b"\x81\xa3ack\xa5wrong".repeat(2));
    assert_eq!(answered("close-after:1").0, honest[..7]);
    let (all, first_piece, _) = answered("split-ack");
    assert_eq!((all.as_slice(), first_piece), (&honest[..], 3), "half an ack comes first");
    let (all, _, after) = answered("late-ack:50ms");
    assert_eq!(all, honest);
    assert!(after >= Duration::from_millis(100), "two acks came in {after:?}");
    let (helo, _, _) = answered("refuse-handshake");
    assert_eq!(helo[..6], *b"\x92\xa4HELO");
    let refusal = b"\x95\xa4PONG\xc2";
    assert!(helo.windows(7).any(|window| window == refusal), "{helo:02x?}");
}

#[test]
fn verbose_says_on_one_line_how_each_frame_came() {
    let port = ReservedPort::new(0);
    let receiver = Process::start(port.address().port(), &["--verbose"]);
    let mut sender = TcpStream::connect(port.address()).unwrap();
    let peer = sender.local_addr().unwrap();
    let options = b"\x83\xa5chunk\xa2A\n\xa4size\x02\xa4mine\xc3";
    let entries = [b"\x92\x01\x80", &b"\x92\x02\x80"[..]].concat();
    let packed = [b"\x93\xa1t\xc4\x06", &entries[..], options].concat();
    sender.write_all(&packed).unwrap();
    let gzip = vectors::named("compressed_gzip");
    sender.write_all(&gzip.bytes).unwrap();
    sender.write_all(b"\x93\xa1t\x01\x80").unwrap();
    receiver.process.wait_for_log("mode=\"Message\"");
    let log = receiver.process.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("a frame")).collect();
    for (line, parts) in lines.iter().zip([
        &[
            &*format!("peer=\"{peer}\""),
            "tag=\"t\"",
            "mode=\"PackedForward\"",
            &format!("bytes={} inflated=6 events=2", packed.len()),
            r#"id="A\n""#,
            r#"options={"chunk":"A\n","size":2,"mine":true}"#,
        ][..],
        &[
            "mode=\"CompressedPackedForward\"",
            &format!("bytes={} ", gzip.bytes.len()),
            r#""compressed":"gzip""#,
        ],
        &["mode=\"Message\"", "bytes=5 inflated=2 events=1"],
    ]) {
        for part in parts {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
    assert_eq!(lines.len(), 3, "{log}");
    assert!(!lines[2].contains("id=") && !lines[2].contains("options="), "{}", lines[2]);
}

#[test]
fn inside_mutual_tls_only_those_are_let_in_who_know_the_key_and_a_user() {
    let ca = TestCa::new();
    ca.write("server", "127.0.0.1");
    ca.write("client", "client.example");
    let [server, server_key, trusted, client, client_key] =
        ["server.crt", "server.key", "ca.crt", "client.crt", "client.key"]
            .map(|name| ca.file(name).display().to_string());
    let [key, users] = ["key", "users"].map(|name| ca.file(name).display().to_string());
    std::fs::write(&key, "k3y\n").unwrap();
    std::fs::write(&users, "bob:b\n\nalice:pa:55\n").unwrap();
    let port = ReservedPort::new(0);
    let port = port.address().port();
    let receiver = Process::start(
        port,
        &[
            &["--tls-cert", &server, "--tls-key", &server_key, "--tls-ca", &trusted][..],
            &["--shared-key-file", &key, "--user-file", &users, "--user", "carol:c"],
        ]
        .concat(),
    );
    let logs = two_logs();
    let secure = told_to_ship(&logs, port)
        .output("tls on")
        .output("tls.verify_hostname on")
        .output(&format!("tls.ca_file {trusted}"))
        .output(&format!("tls.crt_file {client}"))
        .output(&format!("tls.key_file {client_key}"))
        .output("Shared_Key k3y");
    let stranger = secure.clone().output("Username alice").output("Password wrong").start();
    stranger.wait_for_log("as Username and Password");
    drop(stranger);
    assert!(receiver.numbers().is_empty());
    receiver.process.wait_for_log("did not let a sender in");

    let agent = secure.output("Username alice").output("Password pa:55").start();
    receiver.wait_for_numbers(200);
    assert_eq!(agent.stop(), 0);

    let options = json!({
        "security": {
            "clientHostname": "npm", "sharedKey": "k3y", "username": "carol", "password": "c",
        },
        "tlsFiles": {"ca": trusted, "cert": client, "key": client_key},
    });
    peers::succeeds(&mut peers::npm_client(port, "Forward", 10, &options));
}

#[test]
fn flags_that_are_of_no_use_are_named_with_the_remedy() {
    let directory = tempfile::tempdir().unwrap();
    let [missing, users, empty] =
        ["missing", "users", "empty"].map(|name| directory.path().join(name).display().to_string());
    std::fs::write(&users, "alice:pa55\ns3cr3t\n").unwrap();
    std::fs::write(&empty, "\n").unwrap();
    for (flags, parts) in [
        (&["--fault", "no-acks"][..], &["write one of no-ack, late-ack:DURATION"][..]),
        (&["--fault", "late-ack"], &["write late-ack:5s"]),
        (&["--tls-cert", "x"], &["--tls-key <FILE>"]),
        (&["--tls-ca", "x"], &["--tls-cert <FILE>"]),
        (&["--user", "alice:a"], &["--shared-key"]),
        (&["--shared-key", "k", "--user", "alice"], &["write NAME:PASSWORD"]),
        (&["--shared-key", ""], &["it is empty", "--shared-key-file FILE"]),
        (&["--shared-key", "k", "--shared-key-file", "x"], &["cannot be used with"]),
        (
            &["--shared-key-file", &missing],
            &["--shared-key-file: ", &missing, "write the key into"],
        ),
        (&["--shared-key", "k", "--user-file", &missing], &["--user-file: ", &missing]),
        (&["--shared-key", "k", "--user-file", &users], &["line 2: write NAME:PASSWORD"]),
        (&["--shared-key", "k", "--user-file", &empty], &["it names nobody; write NAME:PASSWORD"]),
        (&["--tls-cert", &missing, "--tls-key", &users], &["--tls-cert: ", &missing]),
        (&["--tls-cert", &users, "--tls-key", &users], &["--tls-cert: ", "BEGIN CERTIFICATE"]),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-ambassador"));
        let command = command.args(["receive", "--listen", "127.0.0.1", "--port", "0"]).args(flags);
        let output = command.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{flags:?}: {said}");
        for part in parts {
            assert!(said.contains(part), "{flags:?}: {part} is not in {said}");
        }
        assert!(!said.contains("s3cr3t"), "{said}");
    }
}

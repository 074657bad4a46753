//! `receive` over real sockets: events on stdout, acks on the wire.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use log_ambassador::cli::Receive;
use log_ambassador::cli::receive::ReceiveError;
use log_ambassador::listen::Limits;
use rustix::process::{Signal, getpid, kill_process};
use support::expected::LOGS;
use support::receiver::Printed;
use support::vectors;
use support::{Receiver, ReservedPort};

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
fn run(command: Receive) -> thread::JoinHandle<Result<(), ReceiveError>> {
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
        let running = run(Receive { port: address.port(), listen: address.ip() });
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
    let error = run(Receive { port: address.port(), listen: address.ip() });
    let message = error.join().unwrap().unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot listen on {address}: ")), "{message}");
    assert!(message.ends_with("choose another with --listen and --port"), "{message}");
}

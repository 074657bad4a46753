//! The fake receiver is itself right: it reads the reference frames, and misbehaves as told.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use log_ambassador::model::record::{write_map_header, write_str};
use log_ambassador::model::{EventTime, Tag};
use log_ambassador::protocol::frame::Tail;
use log_ambassador::protocol::{AckDecoder, AckError, ChunkId, frame};
use support::expected::LOGS;
use support::{FakeFluentd, npm_fluent_server, vectors};

const SOON: Duration = Duration::from_secs(20);

fn connect(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    stream
}

/// Our frame of records `{"seq": n, "text": …}`.
fn our_frame(id: u8, numbers: std::ops::Range<u32>) -> Vec<u8> {
    let mut entries = Vec::new();
    for n in numbers.clone() {
        entries.push(0x92);
        entries.extend_from_slice(&EventTime::new(n.into(), n).unwrap().encode());
        write_map_header(&mut entries, 2);
        write_str(&mut entries, "text");
        write_str(&mut entries, &"x".repeat(20 + n as usize % 300));
        write_str(&mut entries, "seq");
        entries.push(0xce);
        entries.extend_from_slice(&n.to_be_bytes());
    }
    let mut out = Vec::new();
    frame::head(&Tag::new("app.log"), entries.len(), &mut out);
    out.extend_from_slice(&entries);
    let events = u32::try_from(numbers.len()).unwrap();
    Tail { events, id: Some(&ChunkId::new([id; 16])), ..Tail::default() }.encode(&mut out);
    out
}

/// The next ack, or how the connection ends.
fn next_ack(stream: &mut TcpStream) -> Result<String, String> {
    let mut decoder = AckDecoder::new();
    let mut byte = [0];
    loop {
        match stream.read(&mut byte) {
            Ok(0) => return Err("closed".to_owned()),
            Ok(_) => decoder.feed(&byte),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                return Err("closed".to_owned());
            }
            Err(error) => return Err(error.to_string()),
        }
        match decoder.next_id() {
            Ok(Some(id)) => return Ok(String::from_utf8_lossy(id).into_owned()),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

fn id(byte: u8) -> String {
    ChunkId::new([byte; 16]).to_string()
}

#[test]
fn it_reads_the_reference_frames_of_all_senders() {
    for (name, entries) in LOGS {
        let fluentd = FakeFluentd::start().accepts_any_sender();
        let vector = vectors::named(name);
        let mut sender = connect(fluentd.port());
        sender.write_all(&vector.bytes).unwrap();
        if let Some(id) = &vector.expect_ack {
            assert_eq!(next_ack(&mut sender).as_ref(), Ok(id), "{name}");
        }
        let events: Vec<_> = entries.iter().map(|entry| entry.event()).collect();
        assert_eq!(fluentd.wait_for_records(events.len() as u64, SOON), events, "{name}");
    }
}

#[test]
fn a_sender_that_breaks_the_protocol_is_found_out() {
    let frame = our_frame(1, 0..2);
    let at = frame.windows(4).position(|window| window == b"size").unwrap() + 4;
    let mut wrong_size = frame.clone();
    wrong_size[at] = 3;
    for (bytes, part) in [
        (wrong_size, "size says 3, and there are 2"),
        (vectors::named("packed_noopt").bytes.clone(), "no size"),
        (vectors::named("forward").bytes.clone(), "not in a bin"),
        (vectors::named("packed_trunc").bytes.clone(), "no size"),
        (vectors::named("http_get").bytes.clone(), "a frame is an array"),
        (b"\xc1".to_vec(), "c1"),
        (
            [&frame[..at + 1], b"\xa5chunk\xa3abc"].concat(),
            "the chunk id 'abc' is not base64 of 16 bytes",
        ),
    ] {
        let fluentd = FakeFluentd::start();
        let mut sender = connect(fluentd.port());
        sender.write_all(&bytes).unwrap();
        assert_eq!(next_ack(&mut sender), Err("closed".to_owned()), "{part}");
        let faults = fluentd.take_faults().join("\n");
        assert!(faults.contains(part), "{faults}, not {part}");
    }
}

#[test]
fn acks_fail_in_each_way_it_can_be_told() {
    let fluentd = FakeFluentd::start().acknowledges_another_chunk();
    let mut sender = connect(fluentd.port());
    sender.write_all(&our_frame(1, 0..1)).unwrap();
    let another = next_ack(&mut sender).unwrap();
    assert_eq!((another.len(), another == id(1)), (24, false));

    fluentd.behaves();
    let fluentd = fluentd.answers_with_an_empty_map();
    sender.write_all(&our_frame(2, 0..1)).unwrap();
    assert_eq!(next_ack(&mut sender), Err(AckError::WithoutAck.to_string()));

    fluentd.behaves();
    let fluentd = fluentd.splits_acks();
    sender.write_all(&our_frame(3, 0..1)).unwrap();
    assert_eq!(next_ack(&mut sender), Ok(id(3)));

    fluentd.behaves();
    let fluentd = fluentd.acks_late(Duration::from_millis(50));
    let sent = Instant::now();
    sender.write_all(&our_frame(4, 0..1)).unwrap();
    assert_eq!(next_ack(&mut sender), Ok(id(4)));
    assert!(sent.elapsed() >= Duration::from_millis(50));

    fluentd.behaves();
    let fluentd = fluentd.never_acknowledges();
    sender.write_all(&our_frame(5, 0..1)).unwrap();
    assert_eq!(fluentd.wait_for_chunks(5, SOON), [id(1), id(2), id(3), id(4), id(5)]);
    fluentd.behaves();
    sender.write_all(&our_frame(6, 0..1)).unwrap();
    assert_eq!(next_ack(&mut sender), Ok(id(6)), "the fifth stays without");
}

#[test]
fn connections_end_in_each_way_it_can_be_told() {
    let fluentd = FakeFluentd::start().hangs_up_after(2);
    let mut sender = connect(fluentd.port());
    sender
        .write_all(&[our_frame(1, 0..1), our_frame(2, 1..2), our_frame(3, 2..3)].concat())
        .unwrap();
    assert_eq!(next_ack(&mut sender), Ok(id(1)));
    assert_eq!(next_ack(&mut sender), Ok(id(2)));
    assert_eq!(next_ack(&mut sender), Err("closed".to_owned()));
    assert_eq!(fluentd.record_count(), 2);

    fluentd.behaves();
    let fluentd = fluentd.hangs_up_instead_of_acks(1);
    for answer in [Err("closed".to_owned()), Ok(id(3))] {
        let mut sender = connect(fluentd.port());
        sender.write_all(&our_frame(3, 2..3)).unwrap();
        assert_eq!(next_ack(&mut sender), answer);
    }
    assert_eq!(fluentd.chunk_ids(), [id(1), id(2), id(3), id(3)], "kept, and sent again");

    let fluentd = fluentd.refuses_chunks_with("xxxxxxxxxxxxxxxxxxxxxxxxx");
    for (numbers, answer) in [(0..6, Err("closed".to_owned())), (0..5, Ok(id(4)))] {
        let mut sender = connect(fluentd.port());
        sender.write_all(&our_frame(4, numbers)).unwrap();
        assert_eq!(next_ack(&mut sender), answer);
    }
    fluentd.wait_for_refused_chunks(1, SOON);
    assert_eq!(fluentd.connections(), 5);
}

#[test]
fn it_greets_like_a_server_with_a_shared_key() {
    let fluentd = FakeFluentd::start().greets_with_helo();
    let mut sender = connect(fluentd.port());
    assert_eq!(next_ack(&mut sender), Err(AckError::SharedKeyRequired.to_string()));
}

#[test]
fn it_stalls_until_it_behaves() {
    let fluentd = FakeFluentd::start().stalls_reading();
    let mut sender = connect(fluentd.port());
    sender.write_all(&our_frame(1, 0..1)).unwrap();
    fluentd.wait_for_connections(1, SOON);
    assert_eq!(fluentd.record_count(), 0);
    fluentd.behaves();
    assert_eq!(next_ack(&mut sender), Ok(id(1)));
}

#[test]
fn it_refuses_while_stopped_and_remembers_after_a_restart() {
    let fluentd = FakeFluentd::start();
    let mut sender = connect(fluentd.port());
    sender.write_all(&our_frame(1, 0..3)).unwrap();
    assert_eq!(next_ack(&mut sender), Ok(id(1)));
    fluentd.stop();
    assert_eq!(next_ack(&mut sender), Err("closed".to_owned()));
    let refused = TcpStream::connect(("127.0.0.1", fluentd.port())).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    fluentd.restart();
    let mut sender = connect(fluentd.port());
    sender.write_all(&our_frame(2, 3..4)).unwrap();
    assert_eq!(next_ack(&mut sender), Ok(id(2)));
    assert_eq!(fluentd.wait_for_records(4, SOON).len(), 4);
}

#[test]
fn it_keeps_a_number_of_each_record_where_that_is_enough() {
    let fluentd = FakeFluentd::start().keeps_only_sequence("seq");
    let mut sender = connect(fluentd.port());
    for chunk in 0..20 {
        let first = u32::from(chunk) * 1000;
        sender.write_all(&our_frame(chunk, first..first + 1000)).unwrap();
        assert_eq!(next_ack(&mut sender), Ok(id(chunk)));
    }
    assert_eq!(fluentd.wait_for_records(20_000, SOON), []);
    let expected: Vec<u64> = (0..20_000).collect();
    assert_eq!(fluentd.sequences()["app.log"], expected);
}

#[test]
fn our_frames_are_taken_by_the_npm_server_as_well() {
    let server = npm_fluent_server();
    let mut sender = connect(server.port());
    sender.write_all(&[our_frame(1, 0..500), our_frame(2, 500..1000)].concat()).unwrap();
    assert_eq!(next_ack(&mut sender), Ok(id(1)));
    assert_eq!(next_ack(&mut sender), Ok(id(2)));
    let events = server.wait_for_records(1000, SOON);
    for (n, event) in (0..1000).zip(&events) {
        assert_eq!((event.seconds, event.nanos), (n, n));
        assert_eq!(event.record["seq"], n);
        assert_eq!(event.tag, "app.log");
    }
}

//! Every reference frame, against the decoder.
//!
//! The frames were sent to real receivers; `fixtures/protocol/forward-vectors.json` says what
//! became of them. Here stands what we do with each, and a frame without an answer fails.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::collections::BTreeMap;

use log_ambassador::model::cursor::{Fault, Scanner};
use log_ambassador::model::record::write_str;
use log_ambassador::model::{EventTime, Secret, Tag};
use log_ambassador::protocol::frame::{self, Mode, Reason, Root, Tail};
use log_ambassador::protocol::handshake::{
    Credentials, Greeting, HELO, HandshakeError, Helo, MessageReader, Refusal, Requirements,
    Session, User,
};
use log_ambassador::protocol::{
    AckDecoder, AckError, ChunkId, Frame, FrameError, Limits, ack, json,
};
use proptest::prelude::*;
use support::Event;
use support::expected::{Entry, LOGS};
use support::vectors::{self, Vector};

/// What became of bytes from a sender.
#[derive(Clone, Debug, Default, PartialEq)]
struct Received {
    events: Vec<Event>,
    acks: Vec<u8>,
    /// Why the connection was closed.
    refused: Option<Reason>,
    /// Bytes of a value that is not yet all there.
    left: usize,
}

/// Reads bytes as a receiver does: value for value, up to the first that is refused.
fn receive(bytes: &[u8], limits: &Limits) -> Received {
    let mut received = Received::default();
    let mut rest = bytes;
    while !rest.is_empty() {
        match receive_value(rest, limits, &mut received) {
            Ok(0) => break,
            Ok(length) => rest = &rest[length..],
            Err(error) => {
                received.refused = Some(error.reason);
                return received;
            }
        }
    }
    received.left = rest.len();
    received
}

fn receive_value(
    bytes: &[u8],
    limits: &Limits,
    received: &mut Received,
) -> Result<usize, FrameError> {
    let root = Root::of(bytes[0])?;
    let Some(length) = Scanner::new().scan(bytes)? else {
        return Ok(0);
    };
    if root == Root::Frame {
        let frame = Frame::decode(&bytes[..length], limits)?;
        received.events.extend(frame.events().map(|event| shown(&frame, &event)));
        if let Some(id) = frame.option.chunk {
            ack::encode(id, &mut received.acks);
        }
    }
    Ok(length)
}

fn shown(frame: &Frame<'_>, event: &frame::Event<'_>) -> Event {
    let mut text = Vec::new();
    json::write_json(event.record, &mut text).expect("records are read before they come out");
    Event {
        tag: frame.tag.to_owned(),
        seconds: event.time.seconds,
        nanos: event.time.nanos,
        record: serde_json::from_slice(&text).expect("JSON"),
    }
}

/// The ack that `id` is due, by the specification: `{"ack": id}`.
fn ack_of(id: &str) -> Vec<u8> {
    let length = u8::try_from(id.len()).unwrap();
    let header = if length < 32 { vec![0xa0 | length] } else { vec![0xd9, length] };
    [b"\x81\xa3ack", header.as_slice(), id.as_bytes()].concat()
}

#[test]
fn the_frames_of_all_senders_give_their_events_and_the_ack_they_ask_for() {
    for (name, entries) in LOGS {
        let vector = vectors::named(name);
        let received = receive(&vector.bytes, &Limits::default());
        let events: Vec<_> = entries.iter().map(|entry| entry.event()).collect();
        let acks = vector.expect_ack.as_deref().map(ack_of).unwrap_or_default();
        assert_eq!(received, Received { events, acks, refused: None, left: 0 }, "{name}");
    }
}

#[test]
fn every_reference_frame_has_an_answer_here() {
    for vector in vectors::well_formed() {
        let is_answered = LOGS.iter().any(|(name, _)| *name == vector.name)
            || OTHERS.iter().any(|(name, _)| *name == vector.name)
            || vector.kind == "server>client"
            || vector.kind == "udp";
        assert!(is_answered, "{}", vector.name);
    }
    for vector in vectors::malformed_and_edge() {
        assert!(POLICY.iter().any(|(name, ..)| *name == vector.name), "{}", vector.name);
    }
}

/// Frames of senders that carry no logs, or none that we take.
const OTHERS: &[(&str, Answer)] = &[
    ("heartbeat_nil", Answer::Taken(0)),
    ("message_metadata_time", Answer::Refused(NOT_AN_ENTRY)),
    // No handshake is on, so nobody asked for a PING: its strs are no entries.
    ("ping_fluentd", Answer::Refused(NOT_AN_OPTION)),
    ("ping_fluentbit", Answer::Refused(NOT_AN_OPTION)),
    ("ping_salt_bin", Answer::RefusedSaying("an option, which is a map or nil, found a bin")),
    ("ping_nouser", Answer::Refused(NOT_AN_OPTION)),
];

#[derive(Clone, Debug)]
enum Answer {
    /// So many events, and the connection stays open.
    Taken(usize),
    /// Nothing at all is taken, and the connection ends.
    Refused(Reason),
    /// The same, for a reason whose text has this in it.
    RefusedSaying(&'static str),
}

const NOT_AN_ENTRY: Reason = unexpected("an entry, which is [time, record]", "an extension");
const NOT_AN_OPTION: Reason = unexpected("an option, which is a map or nil", "a str");

const fn unexpected(expected: &'static str, found: &'static str) -> Reason {
    Reason::Value(Fault::Unexpected { expected, found })
}

const fn bad_record(found: &'static str) -> Reason {
    unexpected("a record, which is a map", found)
}

/// What we do with each frame that is wrong or odd, and the ack that goes out, if any. Nothing is
/// acknowledged and thrown away but metrics and traces, and nothing of a refused frame is taken.
const POLICY: &[(&str, Answer, &str)] = &[
    // Something else than a frame.
    ("root_map", Answer::Refused(Reason::NotAFrame(0x81)), ""),
    ("root_int", Answer::Refused(Reason::NotAFrame(5)), ""),
    ("root_str", Answer::Refused(Reason::NotAFrame(0xa5)), ""),
    ("byte_c1", Answer::Refused(Reason::NotAFrame(0xc1)), ""),
    ("json_array", Answer::Refused(Reason::NotAFrame(b'[')), ""),
    ("json_obj", Answer::Refused(Reason::NotAFrame(b'{')), ""),
    ("http_get", Answer::Refused(Reason::NotAFrame(b'G')), ""),
    ("tls_hello", Answer::Refused(Reason::NotAFrame(0x16)), ""),
    ("array0", Answer::Refused(Reason::Elements(0)), ""),
    ("array1", Answer::Refused(Reason::Elements(1)), ""),
    ("record_missing", Answer::Refused(Reason::Elements(2)), ""),
    ("ping_in_transport", Answer::Refused(NOT_AN_OPTION), ""),
    // Tags: text, in a str or a bin, the empty one too.
    ("tag_int", Answer::Refused(unexpected("a tag, which is a str", "an integer")), ""),
    ("tag_nil", Answer::Refused(unexpected("a tag, which is a str", "nil")), ""),
    ("tag_bin", Answer::Taken(1), ""),
    ("tag_empty", Answer::Taken(1), ""),
    // Times: what `EventTime` can hold.
    ("time_zero", Answer::Taken(1), ""),
    ("time_float", Answer::Refused(unexpected("a time or entries", "a float")), ""),
    ("time_nil", Answer::Refused(unexpected("a time or entries", "nil")), ""),
    ("time_neg", Answer::Refused(Reason::TimeOutOfRange), ""),
    ("time_u64", Answer::Refused(Reason::TimeOutOfRange), ""),
    ("time_nsec_over", Answer::Refused(Reason::TimeOutOfRange), ""),
    ("time_ext4", Answer::Refused(Reason::NotATime { kind: 0, length: 4 }), ""),
    ("time_ext12", Answer::Refused(Reason::NotATime { kind: 0, length: 12 }), ""),
    ("time_ext_t1", Answer::Refused(Reason::NotATime { kind: 1, length: 8 }), ""),
    ("time_ts_ext", Answer::Refused(Reason::NotATime { kind: -1, length: 8 }), ""),
    // Records: any map.
    ("record_nil", Answer::Refused(bad_record("nil")), ""),
    ("record_str", Answer::Refused(bad_record("a str")), ""),
    ("record_array", Answer::Refused(bad_record("an array")), ""),
    ("record_intkey", Answer::Taken(1), ""),
    ("record_nonutf8", Answer::Taken(1), ""),
    ("record_nonutf8_key", Answer::Taken(1), ""),
    ("record_dupkey", Answer::Taken(1), ""),
    ("record_ext", Answer::Taken(1), ""),
    // Options: a map or nil; what we do not know is passed over; a wrong size is nobody's loss.
    ("opt_unknown", Answer::Taken(1), ID),
    ("opt_array", Answer::Refused(unexpected("an option, which is a map or nil", "an array")), ""),
    ("opt_str", Answer::Refused(NOT_AN_OPTION), ""),
    ("opt_size_wrong", Answer::Taken(2), ID),
    ("opt_size_str", Answer::Taken(2), ID),
    ("extra_elem", Answer::Taken(1), ""),
    ("signal_metrics", Answer::Taken(0), ID),
    ("signal_7", Answer::Taken(2), ID),
    // Chunk ids: repeated as they came.
    ("opt_chunk_int", Answer::Refused(unexpected("a chunk id, which is a str", "an integer")), ""),
    ("opt_chunk_bin", Answer::Taken(1), "c410101112131415161718191a1b1c1d1e1f"),
    ("opt_chunk_empty", Answer::Taken(1), "a0"),
    (
        "opt_chunk_hex32",
        Answer::Taken(1),
        "d9203130313131323133313431353136313731383139316131623163316431653166",
    ),
    ("opt_chunk_long", Answer::Refused(Reason::ChunkIdTooLong { length: 600, limit: 256 }), ""),
    // Compression: what the option says, to the last byte of the checksum.
    ("compr_on_forward", Answer::Taken(1), ID),
    ("compr_missing_on_gzip", Answer::Refused(NO_ENTRY_IN_GZIP), ""),
    ("compr_gzip_noopt", Answer::Refused(NO_ENTRY_IN_GZIP), ""),
    ("compr_unknown", Answer::RefusedSaying("compression 'lz4' is unknown"), ""),
    ("compr_none", Answer::RefusedSaying("compression 'none' is unknown"), ""),
    ("compr_gzip_on_plain", Answer::RefusedSaying("gzip data are broken"), ""),
    ("compr_gzip_trunc", Answer::RefusedSaying("gzip data are cut off"), ""),
    ("compr_gzip_badcrc", Answer::RefusedSaying("gzip data are broken"), ""),
    // Four bytes of junk are too few for another member.
    ("compr_gzip_trailing", Answer::RefusedSaying("gzip data are cut off"), ""),
    // Entries: all of them good, or none is taken.
    ("packed_trunc", Answer::Refused(Reason::Value(Fault::Incomplete)), ""),
    ("packed_junk", Answer::Refused(Reason::Value(Fault::NeverUsed)), ""),
    ("packed_mixed_bad", Answer::Refused(unexpected("a time", "a str")), ""),
    ("packed_entry3", Answer::Refused(Reason::EntryElements(3)), ""),
    ("forward_mixed_bad", Answer::Refused(unexpected("a time", "a str")), ""),
    (
        "forward_entry_scalar",
        Answer::Refused(unexpected("an entry, which is [time, record]", "an integer")),
        "",
    ),
    // Several values, one after another.
    ("two_frames", Answer::Taken(2), "a141 a142"),
    ("nil_then_msg", Answer::Taken(1), "a141"),
];

const NO_ENTRY_IN_GZIP: Reason = unexpected("an entry, which is [time, record]", "an integer");

/// The usual id, as encoded in most of these frames.
const ID: &str = "b845424553457851564668635947526f624842306548773d3d";

fn check(vector: &Vector, answer: &Answer, ids: &str) {
    let name = &vector.name;
    let received = receive(&vector.bytes, &Limits::default());
    let acks: Vec<u8> = ids
        .split_whitespace()
        .flat_map(|id| [b"\x81\xa3ack", &*vectors::from_hex(id)].concat())
        .collect();
    assert_eq!(received.acks, acks, "{name}");
    match answer {
        Answer::Taken(events) => {
            assert_eq!((received.events.len(), received.refused), (*events, None), "{name}");
        }
        Answer::Refused(reason) => {
            assert_eq!(received.events, [], "{name}");
            assert_eq!(received.refused.as_ref(), Some(reason), "{name}");
        }
        Answer::RefusedSaying(part) => {
            assert_eq!(received.events, [], "{name}");
            let reason = received.refused.expect("a reason").to_string();
            assert!(reason.contains(part), "{name}: {reason}");
        }
    }
    assert_eq!(received.left, 0, "{name}");
}

#[test]
fn what_is_wrong_or_odd_is_taken_or_refused_as_the_table_says() {
    for (name, answer, ids) in POLICY {
        check(vectors::named(name), answer, ids);
    }
    for (name, answer) in OTHERS {
        check(vectors::named(name), answer, "");
    }
}

#[test]
fn modes_options_and_metadata_are_told_as_they_came() {
    let tell = |name: &str| {
        let vector = vectors::named(name);
        let limits = Limits::default();
        let frame = Frame::decode(&vector.bytes, &limits).unwrap();
        let metadata: Vec<_> =
            frame.events().map(|event| event.metadata.map(<[u8]>::to_vec)).collect();
        (frame.mode, frame.option.size, frame.option.signal, metadata)
    };
    let map = Some(b"\x81\xa3k8s\xa1m".to_vec());
    let empty = Some(vec![0x80]);
    assert_eq!(tell("message_metadata_option"), (Mode::Message, None, None, vec![map.clone()]));
    assert_eq!(tell("forward_metadata").0, Mode::Forward);
    assert_eq!(tell("forward_metadata").3[0], map);
    assert_eq!(tell("forward_groups"), (Mode::Forward, Some(1), None, vec![map]));
    assert_eq!(tell("forward_flb_map32"), (Mode::Forward, Some(1), Some(0), vec![empty]));
    assert_eq!(tell("packed_bin"), (Mode::PackedForward, Some(2), None, vec![None; 2]));
    assert_eq!(tell("compressed_gzip").0, Mode::CompressedPackedForward);
}

#[test]
fn our_frame_is_the_reference_frame_byte_for_byte() {
    let file = vectors::file();
    let constant = |name: &str| vectors::from_hex(file["constants"][name].as_str().unwrap());
    let entries = constant("entry_stream_hex");
    let id = ChunkId::new(constant("chunk_uuid_hex").try_into().unwrap());
    let mut out = Vec::new();
    frame::head(&Tag::new("app.web"), entries.len(), &mut out);
    out.extend_from_slice(&entries);
    Tail { events: 2, id: Some(&id), ..Tail::default() }.encode(&mut out);
    assert_eq!(out, vectors::named("packed_bin").bytes);
    let one = EventTime::new(1_700_000_000, 123_456_789).unwrap().encode();
    assert_eq!(entries[1..11], one, "and so is our time");
}

#[test]
fn answers_of_servers_are_read_as_what_they_are() {
    let id = |text: &str| Ok(Some(text.to_owned()));
    let answers: BTreeMap<_, _> = [
        ("ack", id("EBESExQVFhcYGRobHB0eHw==")),
        ("ack_fluentd_sender", id("EBESExQVFhcYGRobHB0eHw==\n")),
        ("ack_empty_map", Err(AckError::WithoutAck)),
        ("helo_fluentd", Err(AckError::SharedKeyRequired)),
        ("helo_fluentbit", Err(AckError::SharedKeyRequired)),
        ("helo_noauth", Err(AckError::SharedKeyRequired)),
        ("pong_ok", Err(AckError::NotAMap { found: "an array" })),
        ("pong_fail", Err(AckError::NotAMap { found: "an array" })),
    ]
    .into();
    let vectors = vectors::well_formed();
    let from_servers: Vec<_> =
        vectors.iter().filter(|vector| vector.kind == "server>client").collect();
    assert_eq!(from_servers.len(), answers.len());
    for vector in from_servers {
        for cut in 0..vector.bytes.len() {
            let (left, right) = vector.bytes.split_at(cut);
            let mut decoder = AckDecoder::new();
            decoder.feed(left);
            assert_eq!(decoder.next_id(), Ok(None), "{} cut at {cut}", vector.name);
            decoder.feed(right);
            let answer =
                decoder.next_id().map(|id| id.map(|id| String::from_utf8_lossy(id).into_owned()));
            assert_eq!(answer, answers[&*vector.name], "{} cut at {cut}", vector.name);
        }
    }
}

// ---- The handshake

/// The raw bytes of an input of the file's handshake, by name.
fn input(name: &str) -> Vec<u8> {
    let text = vectors::file()["handshake"]["inputs"][name].as_str().unwrap();
    match name {
        "nonce" | "auth_salt" | "client_salt_fluentbit_style_hex" => vectors::from_hex(text),
        _ => text.as_bytes().to_vec(),
    }
}

fn text_input(name: &str) -> String {
    String::from_utf8(input(name)).unwrap()
}

fn random_input(name: &str) -> [u8; 16] {
    input(name).try_into().unwrap()
}

fn reference_user() -> User {
    User { name: text_input("username"), password: Secret::new(input("password")) }
}

fn reference_server(users: Vec<User>) -> Requirements {
    let shared_key = Secret::new(input("shared_key"));
    Requirements { name: text_input("server_hostname"), shared_key, users }
}

fn digest_of(name: &str) -> &'static str {
    vectors::file()["handshake"]["digests"][name]["hexdigest"].as_str().unwrap()
}

/// `[PING, name, salt, digest, user, password digest]` or a PONG, as strs in the shortest form.
fn message(head: &[u8], texts: &[&str]) -> Vec<u8> {
    let mut out = head.to_vec();
    texts.iter().for_each(|text| write_str(&mut out, text));
    out
}

#[test]
fn our_ping_has_the_reference_digests_whatever_the_form_of_the_helo() {
    // 32 hexadecimal characters, hashed as such.
    let salt = vectors::from_hex(&text_input("client_salt_fluentd_style"));
    let digests = &vectors::file()["handshake"]["digests"];
    for (helo, digest, user) in [
        ("helo_fluentd", "ping_shared_key_hex_salt", Some(reference_user())),
        ("helo_fluentbit", "ping_shared_key_hex_salt", Some(reference_user())),
        ("helo_fluentd", "ping_shared_key_hex_salt", None),
        ("helo_noauth", "ping_shared_key_hex_salt", Some(reference_user())),
        ("helo_fluentd", "ping_shared_key_empty_key", None),
        ("helo_fluentd", "ping_shared_key_utf8", None),
    ] {
        let text = |name: &str| digests[digest][name].as_str().unwrap().to_owned();
        let has_user = user.is_some() && helo != "helo_noauth";
        let credentials = Credentials {
            name: text("hostname"),
            shared_key: Secret::new(text("shared_key")),
            user,
        };
        let mut ping = Vec::new();
        let helo = Helo::decode(&vectors::named(helo).bytes).unwrap();
        helo.answer(&credentials, salt.clone().try_into().unwrap(), &mut ping);
        let user = if has_user { ["alice", digest_of("password")] } else { ["", ""] };
        let salt = text_input("client_salt_fluentd_style");
        let expected = message(
            b"\x96",
            &["PING", &text("hostname"), &salt, digest_of(digest), user[0], user[1]],
        );
        assert_eq!(ping, expected, "{digest}");
        assert_ne!(digest_of(digest), digest_of("WRONG_salt_as_decoded_hex"));
        match digest {
            "ping_shared_key_hex_salt" if has_user => {
                assert_eq!(ping, vectors::named("ping_fluentd").bytes)
            }
            "ping_shared_key_hex_salt" => assert_eq!(ping, vectors::named("ping_nouser").bytes),
            _ => {}
        }
    }
}

#[test]
fn the_pings_of_all_clients_are_let_in_and_answered_with_the_reference_digest() {
    for (name, digest, users) in [
        ("ping_fluentd", "pong_shared_key_hex_salt", vec![reference_user()]),
        ("ping_fluentbit", "pong_shared_key_raw_salt", vec![reference_user()]),
        ("ping_salt_bin", "pong_shared_key_raw_salt", vec![reference_user()]),
        ("ping_nouser", "pong_shared_key_hex_salt", vec![]),
        ("ping_fluentd", "pong_shared_key_hex_salt", vec![]),
    ] {
        let server = reference_server(users);
        let (mut helo, mut pong) = (Vec::new(), Vec::new());
        let auth = random_input("auth_salt");
        let greeting = Greeting::encode(&server, random_input("nonce"), auth, &mut helo);
        let peer = greeting.answer(&vectors::named(name).bytes, &mut pong).unwrap();
        assert_eq!(peer.name, "client.example", "{name}");
        assert_eq!(peer.user.is_some(), !server.users.is_empty(), "{name}");
        let expected = message(b"\x95\xa4PONG\xc3", &["", "server.example", digest_of(digest)]);
        assert_eq!(pong, expected, "{name}");
        match server.users.is_empty() {
            // Ours says "no user" with an empty bin, as the vector does with an empty str.
            true => {
                assert_eq!(Helo::decode(&helo), Helo::decode(&vectors::named("helo_noauth").bytes))
            }
            false => assert_eq!(helo, vectors::named("helo_fluentd").bytes, "{name}"),
        }
    }
}

#[test]
fn pings_without_the_right_user_or_key_are_refused_as_fluentd_refuses_them() {
    let other_key = Requirements { shared_key: Secret::new("other"), ..reference_server(vec![]) };
    for (server, ping, refusal) in [
        (reference_server(vec![reference_user()]), "ping_nouser", Refusal::User),
        (other_key, "ping_fluentd", Refusal::SharedKey),
        (reference_server(vec![]), "packed_bin", Refusal::InvalidPing),
        (reference_server(vec![]), "heartbeat_nil", Refusal::InvalidPing),
    ] {
        let mut pong = Vec::new();
        let (nonce, auth) = (random_input("nonce"), random_input("auth_salt"));
        let greeting = Greeting::encode(&server, nonce, auth, &mut Vec::new());
        assert_eq!(greeting.answer(&vectors::named(ping).bytes, &mut pong), Err(refusal), "{ping}");
        if refusal == Refusal::SharedKey {
            assert_eq!(pong, vectors::named("pong_fail").bytes);
        }
    }
}

#[test]
fn the_reference_pongs_are_understood() {
    let shared_key = Secret::new(input("shared_key"));
    let us = Credentials { name: text_input("client_hostname"), shared_key, user: None };
    let salt = vectors::from_hex(&text_input("client_salt_fluentd_style"));
    let answered = |pong: &str| {
        let helo = Helo::decode(&vectors::named("helo_fluentd").bytes).unwrap();
        let awaiting = helo.answer(&us, salt.clone().try_into().unwrap(), &mut Vec::new());
        awaiting.check(&vectors::named(pong).bytes)
    };
    let session = Session { server: "server.example".to_owned(), keepalive: true };
    assert_eq!(answered("pong_ok"), Ok(session));
    let refused = HandshakeError::Refused { reason: "shared_key mismatch".to_owned() };
    assert_eq!(answered("pong_fail"), Err(refused));
    for name in ["helo_fluentd", "ack", "ack_empty_map", "ping_fluentd"] {
        assert!(answered(name).is_err(), "{name}");
    }
}

#[test]
fn no_cut_of_any_reference_frame_is_taken_for_the_whole() {
    for (name, entries) in LOGS {
        let vector = vectors::named(name);
        for cut in 1..vector.bytes.len() {
            let received = receive(&vector.bytes[..cut], &Limits::default());
            let waiting = Received { left: cut, ..Received::default() };
            assert_eq!(
                received,
                waiting,
                "{name}, which has {} entries, cut at {cut}",
                entries.len()
            );
            assert!(
                Frame::decode(&vector.bytes[..cut], &Limits::default()).is_err(),
                "{name} {cut}"
            );
        }
    }
}

/// Small enough that going past one would be seen.
const TIGHT: Limits = Limits { frame: 4096, inflated: 4096, tag: 64, chunk_id: 64 };

/// Takes whatever bytes do not make, and holds what they do make to the limits.
fn is_safe(bytes: &[u8]) {
    let received = receive(bytes, &TIGHT);
    for event in &received.events {
        assert!(event.tag.len() <= TIGHT.tag);
    }
    if let Ok(frame) = Frame::decode(bytes, &TIGHT) {
        let inside: usize = frame.events().map(|event| event.record.len()).sum();
        assert!(inside <= TIGHT.frame.max(TIGHT.inflated));
        assert_eq!(frame.events().count() as u64, frame.event_count());
        assert!(frame.option.chunk.is_none_or(|id| id.bytes.len() <= TIGHT.chunk_id));
    }
    let mut acks = AckDecoder::new();
    acks.feed(bytes);
    while let Ok(Some(_)) = acks.next_id() {}
    let mut messages = MessageReader::default();
    messages.feed(bytes);
    while let Ok(Some(message)) = messages.next(HELO) {
        shake_hands_with(&message);
    }
}

/// Takes any message as each of those that are read, on both sides.
fn shake_hands_with(message: &[u8]) {
    let server = reference_server(vec![reference_user()]);
    let greeting = Greeting::encode(&server, [1; 16], [2; 16], &mut Vec::new());
    assert!(greeting.answer(message, &mut Vec::new()).is_err(), "nobody knows this nonce");
    let us = Credentials { name: "a".to_owned(), shared_key: Secret::new("b"), user: None };
    if let Ok(helo) = Helo::decode(message) {
        assert!(helo.answer(&us, [3; 16], &mut Vec::new()).check(message).is_err());
    }
    let helo = Helo::decode(&vectors::named("helo_fluentd").bytes).unwrap();
    assert!(helo.answer(&us, [3; 16], &mut Vec::new()).check(message).is_err());
}

fn any_vector() -> impl Strategy<Value = Vector> {
    let all: Vec<_> =
        vectors::well_formed().iter().chain(vectors::malformed_and_edge()).cloned().collect();
    prop::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        is_safe(&bytes);
    }

    #[test]
    fn reference_frames_with_altered_bytes_are_read_or_refused(
        vector in any_vector(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = vector.bytes;
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        is_safe(&bytes);
    }

    #[test]
    fn reference_frames_with_bytes_put_in_or_taken_out_are_read_or_refused(
        vector in any_vector(),
        at: prop::sample::Index,
        taken in 0_usize..8,
        put in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let mut bytes = vector.bytes;
        let from = at.index(bytes.len());
        let to = (from + taken).min(bytes.len());
        bytes.splice(from..to, put);
        is_safe(&bytes);
    }

    #[test]
    fn a_stream_of_frames_is_read_the_same_as_each_alone(
        picks in prop::collection::vec(prop::sample::select(LOGS), 0..6),
    ) {
        let bytes: Vec<u8> =
            picks.iter().flat_map(|(name, _)| vectors::named(name).bytes.clone()).collect();
        let events: Vec<Event> =
            picks.iter().flat_map(|(_, entries)| entries.iter().map(|entry: &Entry| entry.event())).collect();
        prop_assert_eq!(receive(&bytes, &Limits::default()).events, events);
    }
}

//! The `forward` input: what applications send is delivered like lines of files, and they are told
//! when it is.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use log_ambassador::model::Secret;
use log_ambassador::protocol::handshake::{Credentials, Helo};
use rustix::process::Signal;
use serde_json::{Value as Json, json};
use socket2::{Domain, Socket, Type};
use support::client::{connect_when_ready, entry, forward, packed, packed_with};
use support::expected::LOGS;
use support::{
    Client, Event, FakeFluentd, LogDir, ReservedPort, SOON, TestAgent, TestCa, Told, peers,
    vectors, wait_until,
};

/// An agent that listens on a port of its own, and how to reach it.
struct Listening {
    agent: TestAgent,
    address: SocketAddr,
    _port: ReservedPort,
}

fn told(fluentd: &FakeFluentd, keys: &[&str]) -> (Told, ReservedPort) {
    let port = ReservedPort::new(0);
    let own = format!("Port {}", port.address().port());
    let keys: Vec<&str> = ["Listen 127.0.0.1", &own].iter().chain(keys).copied().collect();
    (Told::to_listen(fluentd, &keys), port)
}

fn listen_with(fluentd: &FakeFluentd, keys: &[&str]) -> Listening {
    let (told, port) = told(fluentd, keys);
    start(&told, port)
}

fn listen(fluentd: &FakeFluentd) -> Listening {
    listen_with(fluentd, &["Mem_Buf_Limit 5MB"])
}

fn start(told: &Told, port: ReservedPort) -> Listening {
    let agent = told.start();
    agent.wait_for_log("listening on");
    Listening { agent, address: port.address(), _port: port }
}

impl Listening {
    fn connect(&self) -> Client {
        connect_when_ready(self.address)
    }
}

fn seqs(fluentd: &FakeFluentd) -> Vec<u64> {
    let events = fluentd.events();
    events.iter().map(|event| event.record["seq"].as_u64().expect("a number")).collect()
}

fn with_metrics(told: Told, http: &ReservedPort) -> Told {
    told.service("HTTP_Server On")
        .service("HTTP_Listen 127.0.0.1")
        .service(&format!("HTTP_Port {}", http.address().port()))
}

fn wait_for_metric(http: &ReservedPort, line: &str) {
    wait_until(line, || {
        let mut stream = TcpStream::connect(http.address()).expect("it serves");
        let request = "GET /metrics HTTP/1.1\r\nHost: pod\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it reads");
        let mut page = String::new();
        stream.read_to_string(&mut page).expect("it answers");
        page.lines().any(|other| other == line)
    });
}

const A_WHILE: Duration = Duration::from_millis(300);

#[test]
fn what_a_client_sends_goes_through_the_filters_and_is_acknowledged() {
    let fluentd = FakeFluentd::start();
    let listening = listen(&fluentd);
    let mut client = listening.connect();
    client.send(packed("app.web", &entry(1, 3), Some("one")));
    client.expect_ack("one", SOON);
    let events = fluentd.events();
    assert_eq!(events.len(), 1);
    assert_eq!(
        (&*events[0].tag, events[0].seconds, events[0].nanos),
        ("app.web", 1_700_000_001, 7)
    );
    let expected = json!({"seq": 1, "text": "xxx", "hostname": "pod-1", "namespace": "shop"});
    assert_eq!(events[0].record, expected);
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn a_client_is_told_only_when_the_receiver_has_confirmed() {
    let fluentd = FakeFluentd::start().never_acknowledges();
    let listening = listen(&fluentd);
    let mut client = listening.connect();
    client.send(packed("app", &entry(1, 3), Some("one")));
    fluentd.wait_for_records(1, SOON);
    client.expect_silence(A_WHILE);
    fluentd.behaves();
    // The same connection: the acknowledgement that was left out never comes, so the agent must
    // send its chunk again on a new one.
    fluentd.stop();
    client.expect_silence(A_WHILE);
    fluentd.restart();
    client.expect_ack("one", SOON);
}

#[test]
fn an_awaited_frame_does_not_wait_for_flush() {
    let fluentd = FakeFluentd::start();
    let (told, port) = told(&fluentd, &[]);
    let listening = start(&told.service("Flush 3600"), port);
    let mut client = listening.connect();
    client.send(packed("app", &entry(1, 3), Some("one")));
    client.expect_ack("one", SOON);
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn every_mode_compression_and_form_of_time_arrives() {
    let fluentd = FakeFluentd::start();
    let listening = listen(&fluentd);
    let mut seen = 0;
    for (number, (name, entries)) in (0..).zip(LOGS) {
        let vector = vectors::named(name);
        // Most of them hold the same under the same id, and only the first would be taken.
        let own = format!("{number:04}");
        let mut bytes = vector.bytes.clone();
        if let Some(at) = bytes.windows(4).position(|four| four == b"EBES") {
            bytes[at..at + 4].copy_from_slice(own.as_bytes());
        }
        let mut client = listening.connect();
        client.send(&bytes);
        if let Some(id) = &vector.expect_ack {
            client.expect_ack(&id.replace("EBES", &own), SOON);
        }
        let expected: Vec<Event> = entries.iter().map(|entry| with_fields(entry.event())).collect();
        let events = fluentd.wait_for_records((seen + expected.len()) as u64, SOON);
        assert_eq!(events[seen..], expected, "{name}");
        seen += expected.len();
    }
    assert_eq!(listening.agent.stop(), 0);
}

/// With what the filter adds.
fn with_fields(mut event: Event) -> Event {
    event.record["hostname"] = json!("pod-1");
    event.record["namespace"] = json!("shop");
    event
}

#[test]
fn a_tag_is_kept_replaced_or_gets_a_prefix() {
    for (key, tag) in [("Port 1", "app"), ("Tag all", "all"), ("Tag_Prefix pod.", "pod.app")] {
        let fluentd = FakeFluentd::start();
        let keys: &[&str] = if key == "Port 1" { &[] } else { &[key] };
        let listening = listen_with(&fluentd, keys);
        let mut client = listening.connect();
        client.send(packed("app", &entry(1, 3), Some("one")));
        client.expect_ack("one", SOON);
        assert_eq!(fluentd.events()[0].tag, tag);
    }
}

#[test]
fn a_repeated_frame_joins_the_one_on_its_way_and_is_acknowledged_again_later() {
    let fluentd = FakeFluentd::start().acks_late(Duration::from_millis(500));
    let listening = listen(&fluentd);
    let frame = packed("app", &entry(1, 3), Some("one"));
    let (mut first, mut second) = (listening.connect(), listening.connect());
    first.send(&frame);
    fluentd.wait_for_records(1, SOON);
    second.send(&frame);
    first.expect_ack("one", SOON);
    second.expect_ack("one", SOON);
    second.send(&frame);
    second.expect_ack("one", SOON);
    // The same id for something else is something else.
    second.send(packed("app", &entry(2, 3), Some("one")));
    second.expect_ack("one", SOON);
    assert_eq!(seqs(&fluentd), [1, 2]);
    let (status, log) = listening.agent.stop_and_log();
    assert_eq!(status, 0);
    assert!(log.contains("frames: 2 taken, 2 of them delivered; 2 came again"), "{log}");
}

#[test]
fn a_frame_whose_events_are_all_filtered_out_is_acknowledged_at_once() {
    let fluentd = FakeFluentd::start().never_acknowledges();
    let (told, port) = told(&fluentd, &[]);
    let drops = ["Name record_modifier", "Match noise", "Allowlist_key none"];
    let listening = start(&told.filter(&drops), port);
    let mut client = listening.connect();
    client.send(packed("noise", &[entry(1, 3), entry(2, 3)].concat(), Some("one")));
    client.expect_ack("one", SOON);
    client.send(packed("noise", &[], Some("empty")));
    client.expect_ack("empty", SOON);
    assert_eq!(fluentd.record_count(), 0);
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn with_no_receiver_nothing_is_acknowledged_until_there_is_one() {
    let fluentd = FakeFluentd::start();
    fluentd.stop();
    let listening = listen(&fluentd);
    let mut client = listening.connect();
    for number in 0..50 {
        client.send(packed("app", &entry(number, 1000), Some(&format!("id {number}"))));
    }
    client.expect_silence(A_WHILE);
    fluentd.restart();
    for number in 0..50 {
        client.expect_ack(&format!("id {number}"), SOON);
    }
    assert_eq!(seqs(&fluentd), (0..50).collect::<Vec<_>>());
}

#[test]
fn what_was_not_acknowledged_when_the_agent_was_killed_arrives_when_it_is_sent_again() {
    let fluentd = FakeFluentd::start().acks_late(Duration::from_millis(20));
    let (told, port) = told(&fluentd, &[]);
    let mut agent = told.start();
    let (mut sent, mut done) = (0, 0);
    for round in 0..4 {
        agent.wait_for_log("listening on");
        let mut client = connect_when_ready(port.address());
        for number in done..done + 40 {
            client.send(packed("app", &entry(number, 100), Some(&format!("id {number}"))));
        }
        sent = done + 40;
        for number in done..done + 20 {
            client.expect_ack(&format!("id {number}"), SOON);
        }
        done += 20;
        if round < 3 {
            agent.kill();
            agent = told.start();
        }
    }
    fluentd.wait_for_records(u64::from(sent), SOON);
    let mut arrived = seqs(&fluentd);
    arrived.sort_unstable();
    arrived.dedup();
    let first_missing = (0..u64::from(done)).find(|number| !arrived.contains(number));
    assert_eq!(first_missing, None, "acknowledged and not there");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn clients_of_both_third_parties_are_understood() {
    let fluentd = FakeFluentd::start().accepts_any_sender();
    let listening = listen(&fluentd);
    let port = listening.address.port();
    let mut seen = 0;
    for mode in ["Message", "Forward", "PackedForward", "CompressedPackedForward"] {
        // It ends well only if everything is acknowledged.
        peers::npm_client_sends(port, mode, 500);
        let events = fluentd.events();
        let numbers: Vec<_> =
            events[seen..].iter().map(|event| event.record["n"].as_u64()).collect();
        assert_eq!(numbers, (0..500).map(Some).collect::<Vec<_>>(), "{mode}");
        seen = events.len();
    }
    peers::python_logger_sends(port, 500);
    let events = fluentd.wait_for_records(seen as u64 + 500, SOON);
    let mut numbers: Vec<_> =
        events[seen..].iter().map(|event| event.record["n"].as_u64()).collect();
    // It has two connections, one for each form of time.
    numbers.sort_unstable();
    assert_eq!(numbers, (0..500).map(Some).collect::<Vec<_>>());
    let (status, log) = listening.agent.stop_and_log();
    assert_eq!(status, 0);
    assert!(log.contains("500 events came without `chunk`, 0 of them are lost"), "{log}");
}

#[test]
fn frames_far_larger_than_a_chunk_arrive_whole_and_in_order() {
    let fluentd = FakeFluentd::start();
    let listening = listen(&fluentd);
    let mut client = listening.connect();
    let entries: Vec<Vec<u8>> = (0..2000).map(|number| entry(number, 1000)).collect();
    let mut seen = 0;
    let mut check = |client: &mut Client, id: &str, frame: Vec<u8>, count: u64| {
        client.send(frame);
        client.expect_ack(id, SOON);
        let arrived = seqs(&fluentd).split_off(seen);
        assert_eq!(arrived, (0..count).collect::<Vec<_>>(), "{id}");
        seen += arrived.len();
    };
    check(&mut client, "packed", packed("app", &entries.concat(), Some("packed")), 2000);
    check(&mut client, "forward", forward("app", &entries, "forward"), 2000);
    let gzip = [gzip(&entries[..1000].concat()), gzip(&entries[1000..].concat())].concat();
    let frame = packed_with("app", &gzip, Some("gzip"), Some("gzip"));
    check(&mut client, "gzip", frame, 2000);
    let zstd = zstd::encode_all(entries.concat().as_slice(), 0).unwrap();
    check(&mut client, "zstd", packed_with("app", &zstd, Some("zstd"), Some("zstd")), 2000);
    check(&mut client, "one", packed("app", &entry(0, 2_400_000), Some("one")), 1);
    assert_eq!(listening.agent.stop(), 0);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).expect("memory takes anything");
    encoder.finish().expect("memory takes anything")
}

#[test]
fn a_frame_above_half_of_the_limit_raw_or_inflated_is_refused_with_the_key_that_sets_it() {
    let large = entry(1, 600_000);
    let frames = [
        packed("app", &large, Some("raw")),
        packed_with("app", &gzip(&large), Some("gzip"), Some("gzip")),
        packed_with("app", &zstd::encode_all(&*large, 0).unwrap(), Some("zstd"), Some("zstd")),
        // Only claimed.
        b"\x92\xa1t\xc6\xff\xff\xff\xff".to_vec(),
    ];
    for (key, named) in [
        ("Mem_Buf_Limit 1MB", "raise Mem_Buf_Limit (a frame may take half of it)"),
        ("Buffer_Max_Size 400KB", "raise Buffer_Max_Size"),
    ] {
        for frame in &frames {
            let fluentd = FakeFluentd::start();
            let listening = listen_with(&fluentd, &[key]);
            let mut client = listening.connect();
            // It may be closed before all is written.
            client.send_what_is_taken(frame).ok();
            client.expect_close(SOON);
            listening.agent.wait_for_log(named);
            assert_eq!(fluentd.record_count(), 0);
        }
    }
}

#[test]
fn whatever_a_bad_client_sends_it_is_closed_and_others_are_served() {
    let fluentd = FakeFluentd::start();
    let listening = listen(&fluentd);
    let mut good = listening.connect();
    let nested = [&b"\x92\xa1t"[..], &[0x91; 10_000]].concat();
    let bad: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"{\"tag\": \"app\"}",
        &nested,
        b"\x93\xa1t\xdb\xff\xff\xff\xff",
        b"\x92\xc6\xff\xff\xff\xff",
        b"\x93\xa1t\xc4\x03\x92\x01\x05\x80",
        b"\xc1",
    ];
    for (number, bytes) in (0..).zip(bad) {
        let mut client = listening.connect();
        client.send_what_is_taken(bytes).ok();
        client.expect_close(SOON);
        let id = format!("id {number}");
        good.send(packed("app", &entry(number, 10), Some(&id)));
        good.expect_ack(&id, SOON);
    }
    assert_eq!(fluentd.record_count(), 8);
    listening.agent.wait_for_log("text instead of a frame (it begins with 'G')");
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn clients_that_stop_in_the_middle_are_closed_and_keep_no_other_waiting() {
    let fluentd = FakeFluentd::start();
    let listening = listen(&fluentd);
    // As much as may be had: half of the limit each, and then nothing.
    let huge = packed("app", &entry(1, 2_400_000), Some("huge"));
    let mut greedy: Vec<Client> = (0..3).map(|_| listening.connect()).collect();
    greedy.iter_mut().for_each(|client| client.send(&huge[..20_000]));
    // And many that have said only a little.
    let mut slow: Vec<Client> = (0..30).map(|_| listening.connect()).collect();
    slow.iter_mut().for_each(|client| client.send(&huge[..100]));
    let start = Instant::now();
    let mut good = listening.connect();
    good.send(packed("app", &entry(1, 10), Some("small")));
    good.expect_ack("small", SOON);
    good.send(packed("app", &entry(2, 1_000_000), Some("large")));
    good.expect_ack("large", SOON);
    assert!(start.elapsed() < Duration::from_secs(9), "{:?}", start.elapsed());
    greedy.iter_mut().chain(&mut slow).for_each(|client| client.expect_close(SOON));
    listening.agent.wait_for_log("and then no more, or too slowly");
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn memory_stays_within_the_limit_however_many_small_frames_clients_send() {
    let small = |sender: usize, round: usize| {
        let frame = |number| {
            packed("app", &entry(number, 200), Some(&format!("{sender} {round} {number}")))
        };
        (0..2000).flat_map(frame).collect()
    };
    // A sixteenth of the limit, at half a kilobyte a frame, is as many as are remembered.
    memory_stays_within_the_limit(small, |_, fluentd| {
        fluentd.wait_for_records(600, SOON);
    });
}

#[test]
fn memory_stays_within_the_limit_however_much_clients_send_in_large_frames() {
    let entries: Vec<Vec<u8>> = (0..1000).map(|number| entry(number, 1000)).collect();
    let large = move |sender, round| forward("app", &entries, &format!("{sender} {round}"));
    memory_stays_within_the_limit(large, |agent, fluentd| {
        fluentd.wait_for_records(1000, SOON);
        agent.wait_for_log("paused (mem buf overlimit");
    });
}

#[test]
fn small_frames_that_inflate_to_much_cost_their_own_bytes_while_they_wait() {
    let large = entry(1, 100_000);
    let zstd = zstd::encode_all(large.as_slice(), 0).unwrap();
    for (codec, entries) in [("gzip", gzip(&large)), ("zstd", zstd)] {
        let fluentd = FakeFluentd::start().never_acknowledges();
        let listening = listen(&fluentd);
        let idle = listening.agent.peak_memory();
        let mut client = listening.connect();
        // A few of them fill all chunks, and so many are remembered.
        for number in 0..400 {
            client.send(packed_with("app", &entries, Some(&format!("{number}")), Some(codec)));
        }
        // This one waits for nothing: its ack says that those before it were read.
        client.send(packed("app", &[], Some("empty")));
        client.expect_ack("empty", SOON);
        let grown = listening.agent.peak_memory() - idle;
        listening.agent.kill();
        assert!(grown < 9_000_000, "{codec}: {grown} bytes more, with a limit of 5,000,000");
    }
}

/// Sends 30 frames of one event over six connections, and waits for all of them.
fn assert_large_events_are_held_once(entries: &[u8], codec: Option<&str>, most: u64) {
    let fluentd = FakeFluentd::start();
    let listening = listen(&fluentd);
    let idle = listening.agent.peak_memory();
    let mut clients: Vec<Client> = (0..6).map(|_| listening.connect()).collect();
    thread::scope(|scope| {
        for (number, client) in clients.iter_mut().enumerate() {
            scope.spawn(move || {
                for round in 0..5 {
                    let id = format!("{number} {round}");
                    client.send(packed_with("app", entries, Some(&id), codec));
                }
                (0..5).for_each(|round| client.expect_ack(&format!("{number} {round}"), SOON));
            });
        }
    });
    let grown = listening.agent.peak_memory() - idle;
    assert_eq!(fluentd.record_count(), 30);
    assert!(grown < most, "{codec:?}: {grown} bytes more, with a limit of 5,000,000");
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn large_events_of_compressed_frames_are_held_once() {
    let large = entry(1, 2_400_000);
    let zstd = zstd::encode_all(large.as_slice(), 0).expect("memory takes anything");
    assert_large_events_are_held_once(&gzip(&large), Some("gzip"), 9_000_000);
    assert_large_events_are_held_once(&zstd, Some("zstd"), 9_000_000);
}

/// The frame, its event in a chunk, and of zstd the window; half of what the text takes is noise.
#[test]
fn the_bytes_of_a_large_frame_are_gone_before_the_next_is_read() {
    let mut large = entry(1, 2_400_000);
    let mut noise = 1_u64;
    for byte in large.iter_mut().skip(100) {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = b'a' + (noise >> 60) as u8;
    }
    let zstd = zstd::encode_all(large.as_slice(), 0).expect("memory takes anything");
    assert!(zstd.len() > 1_000_000);
    assert_large_events_are_held_once(&large, None, 9_000_000);
    assert_large_events_are_held_once(&zstd, Some("zstd"), 11_000_000);
}

#[test]
fn entries_that_are_no_events_are_left_out_and_counted_where_that_is_wished() {
    let (fluentd, http) = (FakeFluentd::start(), ReservedPort::new(0));
    let (told, port) = told(&fluentd, &["On_Bad_Entry skip"]);
    let listening = start(&with_metrics(told, &http), port);
    let mut client = listening.connect();
    for (name, delivered) in [
        ("packed_mixed_bad", 2),
        ("packed_trunc", 3),
        ("packed_entry3", 3),
        // Its entries are those of `packed_mixed_bad`, so it comes again.
        ("forward_mixed_bad", 3),
        ("forward_entry_scalar", 3),
    ] {
        client.send(&vectors::named(name).bytes);
        client.expect_ack("EBESExQVFhcYGRobHB0eHw==", SOON);
        assert_eq!(fluentd.record_count(), delivered, "{name}");
    }
    for name in ["record_nil", "time_neg"] {
        client.send(&vectors::named(name).bytes);
    }
    client.send(packed("app", &entry(1, 1), Some("last")));
    client.expect_ack("last", SOON);
    assert_eq!(fluentd.record_count(), 4);
    listening.agent.wait_for_log("of a frame's entries (On_Bad_Entry skip)");
    wait_for_metric(&http, "log_ambassador_entries_skipped_total 7");
    // Where its entries end nobody can tell.
    client.send(&vectors::named("packed_junk").bytes);
    client.expect_close(SOON);
    assert_eq!(listening.agent.stop(), 0);
}

/// Twenty clients send without end what `bytes` makes for a client and a round, and nothing is ever
/// acknowledged. `is_full` waits until no more is taken.
fn memory_stays_within_the_limit(
    bytes: impl Fn(usize, usize) -> Vec<u8> + Sync,
    is_full: impl FnOnce(&TestAgent, &FakeFluentd),
) {
    let fluentd = FakeFluentd::start().never_acknowledges();
    thread::scope(|scope| {
        // In here, so that it ends before its clients are waited for, also when this fails.
        let listening = listen(&fluentd);
        let idle = listening.agent.peak_memory();
        for sender in 0..20 {
            let (mut client, bytes) = (listening.connect(), &bytes);
            scope.spawn(move || {
                // Taken until there is no more room; the connection ends with the agent.
                (0..).find(|&round| client.send_what_is_taken(&bytes(sender, round)).is_err())
            });
        }
        is_full(&listening.agent, &fluentd);
        let grown = listening.agent.peak_memory() - idle;
        listening.agent.kill();
        assert!(grown < 9_000_000, "{grown} bytes more than when idle, with a limit of 5,000,000");
    });
}

#[test]
fn ever_new_tags_cost_no_more_memory_than_some() {
    let fluentd = FakeFluentd::start();
    let listening = listen(&fluentd);
    let mut client = listening.connect();
    for number in 0..5000 {
        client.send(packed(&format!("tag.{number}"), &entry(number, 10), None));
    }
    let events = fluentd.wait_for_records(5000, SOON);
    let mut tags: Vec<_> = events.iter().map(|event| event.tag.clone()).collect();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags.len(), 5000);
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn one_client_more_than_memory_allows_waits_and_the_log_says_so() {
    let fluentd = FakeFluentd::start();
    let listening = listen_with(&fluentd, &["Mem_Buf_Limit 50KB"]);
    let mut clients: Vec<Client> = (0..13).map(|_| listening.connect()).collect();
    listening.agent.wait_for_log("12 clients are connected, and more wait until one goes");
    clients[12].send(packed("app", &entry(1, 10), Some("one")));
    clients[12].expect_silence(A_WHILE);
    clients.remove(0);
    clients[11].expect_ack("one", SOON);
}

#[test]
fn what_comes_during_the_drain_is_delivered_and_clients_get_their_last_acknowledgement() {
    let fluentd = FakeFluentd::start().acks_late(Duration::from_millis(300));
    let (told, port) = told(&fluentd, &[]);
    let listening = start(&told.service("Drain_Quiet 1").service("Flush 3600"), port);
    let mut client = listening.connect();
    let mut silent = listening.connect();
    silent.send(packed("app", &entry(1, 10), None));
    client.send(packed("app", &entry(2, 10), Some("before")));
    client.expect_ack("before", SOON);
    listening.agent.signal(Signal::TERM);
    listening.agent.wait_for_log("service will shutdown");
    client.send(packed("app", &entry(3, 10), Some("after")));
    silent.send(packed("app", &entry(4, 10), None));
    client.expect_ack("after", SOON);
    client.expect_close(SOON);
    assert_eq!(listening.agent.status(SOON), 0);
    let mut arrived = seqs(&fluentd);
    arrived.sort_unstable();
    assert_eq!(arrived, [1, 2, 3, 4]);
}

#[test]
fn a_stop_that_cannot_deliver_says_what_clients_send_again_and_what_is_lost() {
    let fluentd = FakeFluentd::start().never_acknowledges();
    let (told, port) = told(&fluentd, &[]);
    let listening = start(&told.service("Grace 2"), port);
    let mut client = listening.connect();
    let frame = packed("app", &entry(1, 10), Some("one"));
    client.send(&frame);
    let unconfirmed = packed("app", &entry(2, 10), None);
    client.send(&unconfirmed);
    fluentd.wait_for_records(2, SOON);
    listening.agent.signal(Signal::TERM);
    for said in [
        format!("{} of forward.0, whose clients send them again", frame.len()),
        format!("{} of forward.0, lost because their clients", unconfirmed.len()),
    ] {
        listening.agent.wait_for_log(&said);
    }
    client.expect_close(SOON);
    assert_eq!(listening.agent.status(SOON), 9);
}

#[test]
fn files_and_clients_are_accounted_for_apart() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let port = ReservedPort::new(0);
    let own = format!("Port {}", port.address().port());
    let told = Told::to_follow(&logs, &fluentd).listening(&["Listen 127.0.0.1", &own]);
    let listening = start(&told, port);
    let mut client = listening.connect();
    for number in 0..200 {
        logs.append_sequence("app.log", [u64::from(number)]);
        client.send(packed("client", &entry(number, 10), Some(&format!("id {number}"))));
        client.expect_ack(&format!("id {number}"), SOON);
    }
    fluentd.wait_for_records(400, SOON);
    let of = |tag: &str| {
        let events = fluentd.events();
        let events = events.iter().filter(|event| event.tag == tag);
        events.map(|event| event.record["seq"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let all: Vec<u64> = (0..200).collect();
    assert_eq!((of("app.logs"), of("client")), (all.clone(), all));
    // `stop` looks for a difference in the bytes of files.
    assert_eq!(listening.agent.stop(), 0);
}

#[test]
fn a_unix_socket_has_its_mode_replaces_a_dead_one_and_goes_with_the_agent() {
    let (directory, fluentd) = (LogDir::new(), FakeFluentd::start());
    let path = directory.file("forward.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let key = format!("Unix_Path {}", path.display());
    let agent = Told::to_listen(&fluentd, &[&key, "Unix_Perm 0660"]).start();
    agent.wait_for_log("listening on");
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    let mut client = Client::connect_unix(&path);
    client.send(packed("app", &entry(1, 3), Some("one")));
    client.expect_ack("one", SOON);
    assert_eq!(agent.stop(), 0);
    assert!(!path.exists());
}

#[test]
fn a_port_that_is_taken_stops_the_start_with_the_keys_to_change() {
    let fluentd = FakeFluentd::start();
    let port = format!("Port {}", fluentd.port());
    let agent = Told::to_listen(&fluentd, &["Listen 127.0.0.1", &port]).start();
    agent.wait_for_log("write another address or port with Listen and Port");
    assert_eq!(agent.status(SOON), 1);
}

/// What a client of the npm package shows.
fn shows(key: &str, user: &str, password: &str) -> Json {
    json!({"security": {
        "clientHostname": "client.example",
        "sharedKey": key,
        "username": user,
        "password": password,
    }})
}

#[test]
fn with_a_shared_key_and_users_only_those_who_know_them_are_let_in() {
    let fluentd = FakeFluentd::start().accepts_any_sender();
    let secrets = LogDir::new();
    secrets.append("key", "s3cr3t-key\n");
    let key = format!("Shared_Key_File {}", secrets.file("key").display());
    let users = ["Security.Users alice pa55", "Security.Users bob 0ther"];
    let listening = listen_with(&fluentd, &[&key, "Self_Hostname server", users[0], users[1]]);
    let port = listening.address.port();
    let sends = |shown: &Json| peers::npm_client(port, "PackedForward", 10, shown);
    peers::succeeds(&mut sends(&shows("s3cr3t-key", "alice", "pa55")));
    peers::succeeds(&mut sends(&shows("s3cr3t-key", "bob", "0ther")));
    assert_eq!(fluentd.record_count(), 20);
    for (shown, said) in [
        (shows("wrong", "alice", "pa55"), "shared_key mismatch: write the same Shared_Key"),
        (shows("s3cr3t-key", "alice", "0ther"), "username/password mismatch"),
        (shows("s3cr3t-key", "carol", "pa55"), "username/password mismatch"),
    ] {
        let mut client = sends(&shown).stderr(Stdio::null()).spawn().unwrap();
        // The log says the same thing once a minute at most, and these are two.
        listening.agent.wait_for_log(said);
        client.kill().unwrap();
        client.wait().unwrap();
    }
    // One without a key sends a frame where a PING is due.
    let mut client = listening.connect();
    client.send(packed("app", &entry(1, 3), Some("one")));
    client.expect_refusal(SOON);
    assert_eq!(fluentd.record_count(), 20);
    // Kubernetes has replaced the Secret: the next connection needs the new one.
    std::fs::write(secrets.file("key"), "n3w-key").unwrap();
    peers::succeeds(&mut sends(&shows("n3w-key", "alice", "pa55")));
    let (status, log) = listening.agent.stop_and_log();
    assert_eq!(status, 0);
    for secret in ["s3cr3t-key", "n3w-key", "pa55", "0ther"] {
        assert!(!log.contains(secret), "{log}");
    }
}

/// Connects from an address of this machine, and shakes hands with a key; false: it was refused.
#[allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]
fn is_let_in(from: &str, to: SocketAddr, key: &str) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(from.parse().unwrap(), 0).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    let read = |stream: &mut TcpStream| {
        let mut message = vec![0; 512];
        let count = stream.read(&mut message).unwrap_or(0);
        message.truncate(count);
        message
    };
    let helo = read(&mut stream);
    if helo.is_empty() {
        return false;
    }
    let shown = Credentials { name: "client".to_owned(), shared_key: Secret::new(key), user: None };
    let mut ping = Vec::new();
    let awaiting = Helo::decode(&helo).unwrap().answer(&shown, [7; 16], &mut ping);
    stream.write_all(&ping).unwrap();
    awaiting.check(&read(&mut stream)).is_ok()
}

#[test]
fn clients_come_from_where_they_may_with_the_key_of_their_network() {
    let (fluentd, secrets) = (FakeFluentd::start(), LogDir::new());
    secrets.append("key", "from-a-file\n");
    let file = format!("Security.Client_Key_File 127.0.0.3 {}", secrets.file("key").display());
    let keys = [
        "Shared_Key general",
        "Self_Hostname server",
        "Security.Allow 127.0.0.0/24",
        "Security.Client 127.0.0.2 its-own",
        &file,
    ];
    let listening = listen_with(&fluentd, &keys);
    for (from, key, is_right) in [
        ("127.0.0.1", "general", true),
        ("127.0.0.2", "its-own", true),
        ("127.0.0.2", "general", false),
        ("127.0.0.3", "from-a-file", true),
        ("127.0.0.3", "its-own", false),
        ("127.0.1.1", "general", false),
    ] {
        assert_eq!(is_let_in(from, listening.address, key), is_right, "{from} with {key}");
    }
    listening.agent.wait_for_log("if it may, write 'Security.Allow 127.0.1.1'");
    let (status, log) = listening.agent.stop_and_log();
    assert_eq!(status, 0);
    for secret in ["general", "its-own", "from-a-file"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn tls_lets_in_whom_it_should_and_mutual_tls_nobody_else() {
    let authority = TestCa::new();
    authority.write("server", "127.0.0.1");
    authority.write("client", "client.example");
    let file = |name: &str| authority.file(name).display().to_string();
    let certificate = format!("tls.crt_file {}", file("server.crt"));
    let key = format!("tls.key_file {}", file("server.key"));
    let ca = format!("tls.ca_file {}", file("ca.crt"));
    let plain_client = json!({"tlsFiles": {"ca": file("ca.crt")}});
    let mut known = shows("s3cr3t-key", "", "");
    known["tlsFiles"] =
        json!({"ca": file("ca.crt"), "cert": file("client.crt"), "key": file("client.key")});
    let fluentd = FakeFluentd::start().accepts_any_sender();
    let keys = ["tls on", &certificate, &key];
    let listening = listen_with(&fluentd, &keys);
    let port = listening.address.port();
    peers::succeeds(&mut peers::npm_client(port, "Forward", 10, &plain_client));
    assert_eq!(fluentd.record_count(), 10);
    // Without TLS nobody is understood, and the log says why.
    let mut client = listening.connect();
    client.send(packed("app", &entry(1, 3), Some("one")));
    client.expect_refusal(SOON);
    listening.agent.wait_for_log("the other side does not speak TLS");
    assert_eq!(listening.agent.stop(), 0);

    let keys = ["tls on", &certificate, &key, &ca, "Shared_Key s3cr3t-key", "Self_Hostname server"];
    let listening = listen_with(&fluentd, &keys);
    let port = listening.address.port();
    peers::succeeds(&mut peers::npm_client(port, "Forward", 10, &known));
    assert_eq!(fluentd.record_count(), 20);
    let mut client = peers::npm_client(port, "Forward", 10, &plain_client);
    let mut client = client.stderr(Stdio::null()).spawn().unwrap();
    listening.agent.wait_for_log("did not let a client in");
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(fluentd.record_count(), 20);
}

/// Fluentd looks every second whether we are there, with a whole handshake if there is a key.
#[test]
fn connections_that_only_look_whether_we_are_there_are_no_matter() {
    let fluentd = FakeFluentd::start();
    let keys = ["Shared_Key s3cr3t-key", "Self_Hostname server", "Mem_Buf_Limit 1MB"];
    let listening = listen_with(&fluentd, &keys);
    let shown = Credentials {
        name: "client".to_owned(),
        shared_key: Secret::new("s3cr3t-key"),
        user: None,
    };
    // More than there is room for at a time: none of them stays.
    for number in 0..200 {
        let mut stream = TcpStream::connect(listening.address).unwrap();
        if number % 2 == 0 {
            continue;
        }
        let mut helo = [0; 512];
        let count = stream.read(&mut helo).unwrap();
        let mut ping = Vec::new();
        let awaiting = Helo::decode(&helo[..count]).unwrap().answer(&shown, [7; 16], &mut ping);
        stream.write_all(&ping).unwrap();
        let mut pong = [0; 512];
        let count = stream.read(&mut pong).unwrap();
        awaiting.check(&pong[..count]).unwrap();
    }
    let (status, log) = listening.agent.stop_and_log();
    assert_eq!(status, 0);
    assert!(!log.contains("[ warn]"), "{log}");
}

#[test]
fn refusals_and_what_is_left_out_are_counted_by_reason() {
    let (fluentd, http) = (FakeFluentd::start(), ReservedPort::new(0));
    let (told, port) = told(&fluentd, &["Mem_Buf_Limit 1MB"]);
    let listening = start(&with_metrics(told, &http), port);
    let too_large = b"\x93\xa1t\xc6\x7f\xff\xff\xff".to_vec();
    for bytes in [too_large, vectors::named("packed_trunc").bytes.clone(), b"GET /".to_vec()] {
        let mut client = listening.connect();
        client.send(&bytes);
        client.expect_refusal(SOON);
    }
    let mut cut_off = listening.connect();
    cut_off.send(b"\x93\xa1t");
    drop(cut_off);
    let mut metrics = listening.connect();
    metrics.send(b"\x93\xa1t\xc4\x01\x80\x82\xadfluent_signal\x01\xa5chunk\xa3one");
    metrics.expect_ack("one", SOON);
    for line in [
        "log_ambassador_refused_total{reason=\"too_large\"} 1",
        "log_ambassador_refused_total{reason=\"malformed\"} 2",
        "log_ambassador_refused_total{reason=\"cut_off\"} 1",
        "log_ambassador_refused_total{reason=\"client\"} 0",
        "log_ambassador_frames_ignored_total 1",
    ] {
        wait_for_metric(&http, line);
    }
    assert_eq!(listening.agent.stop(), 0);
}

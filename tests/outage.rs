//! Whatever happens on the way to the receiver, every line arrives, and memory stays bounded.

mod support;

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::tools::needs_root;
use support::{
    FakeFluentd, LogDir, SOON, Told, arrived, assert_in_order, distinct, sequence, wait_for_all,
    wait_until,
};

/// Lines of about 400 bytes.
fn long_lines(numbers: std::ops::Range<u64>) -> String {
    let filler = "x".repeat(380);
    numbers.map(|n| format!("{{\"seq\":{n},\"filler\":\"{filler}\"}}\n")).collect()
}

#[test]
fn thirty_rotations_without_a_receiver_are_delivered_from_the_files_that_are_held() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 512k").start();
    agent.wait_until_watching();
    fluentd.stop();
    for generation in 0..30 {
        logs.append("app.log", long_lines(generation * 1000..generation * 1000 + 1000));
        let file = logs.file("app.log");
        wait_until("it is open", || agent.open_files().contains(&file));
        logs.remove("app.log");
    }
    fluentd.restart();
    wait_for_all(&fluentd, 30_000);
    assert!(agent.peak_memory() < 24_000_000, "{}", agent.peak_memory());
    assert_eq!(agent.stop(), 0);
}

/// `OUTAGE_SECONDS=3600` makes it the whole hour.
#[test]
#[allow(clippy::disallowed_methods, reason = "a number for whoever runs it by hand")]
fn with_the_receiver_away_for_long_memory_stays_below_32_mib() {
    let seconds = std::env::var("OUTAGE_SECONDS").map_or(5, |text| text.parse().unwrap());
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    fluentd.stop();
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 8MB").input("Tag app.*");
    let agent = told.start();
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        for file in 0..100 {
            logs.append(&format!("{file}.log"), long_lines(written..written + 5));
            written += 5;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    fluentd.restart();
    fluentd.wait_for_records(written, Duration::from_secs(60));
    assert!(agent.peak_memory() < 32 << 20, "{}", agent.peak_memory());
    assert_eq!(agent.stop(), 0);
    let mut numbers: Vec<u64> = fluentd.sequences().into_values().flatten().collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len() as u64, written);
}

/// The network drops every packet of a new connection, as it does to a listener with a full
/// queue.
#[test]
fn a_connection_into_a_black_hole_is_given_up_in_time_and_tried_again() {
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = hole.local_addr().unwrap();
    let mut callers = Vec::new();
    while let Ok(caller) = TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
        callers.push(caller);
    }
    let (logs, elsewhere) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("app.log", 0..10);
    let told = Told::to_follow(&logs, &elsewhere).port(address.port());
    let agent = told.output("net.connect_timeout 1s").start();
    agent.wait_for_log("failed to flush chunk");
    drop((callers, hole));
    let fluentd = FakeFluentd::start_on(address.port());
    wait_for_all(&fluentd, 10);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_connection_reset_in_the_middle_of_a_chunk_loses_nothing() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().stalls_reading());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    logs.append("app.log", long_lines(0..30_000));
    // More is on its way than sockets hold: the agent is in the middle of a frame.
    agent.wait_for_log("paused (mem buf overlimit");
    fluentd.stop();
    fluentd.behaves();
    fluentd.restart();
    wait_until("all have arrived", || distinct(&fluentd).len() == 30_000);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn acks_that_come_late_settle_each_chunk_once() {
    let wait = Duration::from_millis(300);
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().acks_late(wait));
    let agent = Told::to_follow(&logs, &fluentd).service("Flush 0.05").start();
    for round in 0..10 {
        logs.append_sequence("app.log", round * 10..round * 10 + 10);
        std::thread::park_timeout(Duration::from_millis(60));
    }
    wait_for_all(&fluentd, 100);
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 100);
    assert_eq!(fluentd.connections(), 1);
}

#[test]
fn an_empty_map_instead_of_an_ack_is_no_ack() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().answers_with_an_empty_map());
    logs.append_sequence("app.log", 0..10);
    let agent = Told::to_follow(&logs, &fluentd).start();
    fluentd.wait_for_connections(2, SOON);
    fluentd.behaves();
    wait_for_all(&fluentd, 10);
    assert_eq!(agent.stop(), 0);
    let ids = fluentd.chunk_ids();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn after_a_memory_limit_was_reached_reading_goes_on_as_soon_as_some_is_free() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 50k").service("Flush 0.02");
    let agent = told.start();
    agent.wait_until_watching();
    let mut written = 0;
    for _ in 0..15 {
        fluentd.stop();
        logs.append("app.log", long_lines(written..written + 500));
        written += 500;
        fluentd.restart();
        wait_for_all(&fluentd, written);
    }
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_second_sigterm_and_a_receiver_that_comes_back_end_the_drain_well() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    logs.append("app.log", sequence(0..100));
    let agent = Told::to_follow(&logs, &fluentd).service("Grace 20").start();
    agent.wait_for_log("failed to flush chunk");
    agent.signal(Signal::TERM);
    agent.wait_for_log("service will shutdown");
    agent.signal(Signal::TERM);
    fluentd.restart();
    assert_eq!(agent.stop(), 0);
    wait_for_all(&fluentd, 100);
}

/// As a Service that is moved: its name has another address, and nobody answers at the old one.
#[test]
fn a_name_that_changes_its_address_is_followed_within_ten_seconds() {
    needs_root("it has a file of host names of its own");
    let old = FakeFluentd::start();
    let new = FakeFluentd::start_at(Ipv4Addr::new(127, 0, 0, 2), old.port());
    let logs = LogDir::new();
    let hosts = logs.file("hosts");
    fs::write(&hosts, "127.0.0.1 aggregator.test\n").unwrap();
    let script = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let own_names = ["unshare", "--mount", "sh", "-c", script, hosts.to_str().unwrap()];
    let agent = Told::to_follow(&logs, &old).host("aggregator.test").start_inside(&own_names);
    logs.append_sequence("app.log", 0..10);
    wait_for_all(&old, 10);
    fs::write(&hosts, "127.0.0.2 aggregator.test\n").unwrap();
    old.stop();
    let moved = Instant::now();
    logs.append_sequence("app.log", 10..20);
    new.wait_for_records(10, SOON);
    assert!(moved.elapsed() < Duration::from_secs(10), "{:?}", moved.elapsed());
    assert_eq!((arrived(&old), arrived(&new)), ((0..10).collect(), (10..20).collect()));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn an_agent_that_waits_for_a_receiver_takes_under_a_hundredth_of_a_processor() {
    thread::scope(|scope| {
        for (fluentd, said) in [
            (FakeFluentd::start().stalls_reading(), "no acknowledgement within 8s"),
            (FakeFluentd::start().never_acknowledges(), "no acknowledgement within 8s"),
            (FakeFluentd::start(), "Connection refused"),
        ] {
            scope.spawn(move || waits_at_no_cost(&fluentd, said));
        }
    });
}

fn waits_at_no_cost(fluentd: &FakeFluentd, said: &str) {
    let is_away = said == "Connection refused";
    if is_away {
        fluentd.stop();
    }
    let logs = LogDir::new();
    logs.append_sequence("app.log", 0..100);
    let agent = Told::to_follow(&logs, fluentd).output("net.io_timeout 8").start();
    // The start is not waiting.
    match is_away {
        true => agent.wait_for_log("failed to flush chunk"),
        false => fluentd.wait_for_connections(1, SOON),
    }
    wait_until("it has come to rest", || {
        let before = agent.processor_time();
        thread::park_timeout(Duration::from_millis(200));
        agent.processor_time() == before
    });
    let (start, before) = (Instant::now(), agent.processor_time());
    match is_away {
        // It cannot be waited for: what is looked at is that nothing happens.
        true => thread::park_timeout(Duration::from_secs(6)),
        false => agent.wait_for_log(said),
    }
    let spent = agent.processor_time() - before;
    assert!(spent * 100 < start.elapsed(), "{said}: {spent:?} in {:?}", start.elapsed());
    fluentd.behaves();
    if is_away {
        fluentd.restart();
    }
    wait_for_all(fluentd, 100);
    assert_eq!(agent.stop(), 0);
}

//! Whatever the receiver does, every line arrives at least once, in order, within the memory
//! limit.

mod support;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use support::{FakeFluentd, LogDir, SOON, Told, arrived, distinct, wait_until};

/// Lines of about 400 bytes.
fn long_lines(numbers: std::ops::Range<u64>) -> String {
    let filler = "x".repeat(380);
    numbers.map(|n| format!("{{\"seq\":{n},\"filler\":\"{filler}\"}}\n")).collect()
}

#[test]
fn a_receiver_that_is_away_at_the_start_gets_everything_when_it_comes() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    logs.append_sequence("app.log", 0..100);
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_for_log("failed to flush chunk");
    fluentd.restart();
    fluentd.wait_for_records(100, SOON);
    assert_eq!(arrived(&fluentd), (0..100).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_chunk_without_an_ack_is_sent_again_under_the_same_id() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().hangs_up_instead_of_acks(3));
    logs.append_sequence("app.log", 0..10);
    let agent = Told::to_follow(&logs, &fluentd).start();
    fluentd.wait_for_records(40, SOON);
    let ids = fluentd.chunk_ids();
    assert_eq!(ids.len(), 4);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_foreign_ack_destroys_the_connection_and_the_chunk_goes_again() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().acknowledges_another_chunk());
    logs.append_sequence("app.log", 0..10);
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_for_log("which is not on its way");
    fluentd.wait_for_connections(2, SOON);
    fluentd.behaves();
    assert_eq!(agent.stop(), 0);
    assert_eq!(distinct(&fluentd).len(), 10);
}

#[test]
fn an_ack_split_into_single_bytes_is_understood() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().splits_acks());
    logs.append_sequence("app.log", 0..10);
    let agent = Told::to_follow(&logs, &fluentd).start();
    fluentd.wait_for_records(10, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!((arrived(&fluentd).len(), fluentd.connections()), (10, 1));
}

#[test]
fn an_ack_that_comes_just_before_the_connection_closes_counts() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().hangs_up_after(1));
    let agent = Told::to_follow(&logs, &fluentd).start();
    for round in 0..30 {
        logs.append_sequence("app.log", round * 10..round * 10 + 10);
        fluentd.wait_for_records(round * 10 + 10, SOON);
    }
    assert_eq!(agent.stop(), 0);
    assert_eq!(arrived(&fluentd), (0..300).collect::<Vec<_>>(), "none of it twice");
}

#[test]
fn a_server_that_wants_a_shared_key_is_named_as_such() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().greets_with_helo());
    logs.append_sequence("app.log", 0..10);
    let agent = Told::to_follow(&logs, &fluentd).service("Grace 1").start();
    agent.wait_for_log("the server requires a shared key");
    assert_eq!(agent.stop(), 9);
}

/// Without acknowledgements nobody else would ever say that everything is thrown away.
#[test]
fn a_server_that_wants_a_shared_key_is_heard_without_acks_too() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().greets_with_helo());
    let told = Told::to_follow(&logs, &fluentd).output("Require_ack_response Off");
    let agent = told.start();
    agent.wait_for_log("the server requires a shared key");
}

#[test]
fn a_receiver_that_does_nothing_is_left_after_net_io_timeout() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().stalls_reading());
    logs.append("app.log", long_lines(0..50_000));
    let agent = Told::to_follow(&logs, &fluentd).output("net.io_timeout 1").start();
    agent.wait_for_log("no acknowledgement within 1s");
    fluentd.behaves();
    wait_until("everything has arrived", || distinct(&fluentd).len() == 50_000);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn without_acks_a_chunk_is_done_once_it_is_written() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().accepts_any_sender());
    logs.append_sequence("app.log", 0..10);
    let agent = Told::to_follow(&logs, &fluentd).output("Require_ack_response Off").start();
    fluentd.wait_for_records(10, SOON);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_chunk_beyond_its_retry_limit_is_given_up_and_said_to_be() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fluentd.stop();
    logs.append_sequence("app.log", 0..10);
    let told = Told::to_follow(&logs, &fluentd).output("Retry_Limit no_retries");
    let agent = told.start();
    agent.wait_for_log("cannot be retried");
    fluentd.restart();
    logs.append_sequence("app.log", 10..20);
    wait_until("the next lines have arrived", || arrived(&fluentd).contains(&19));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_backlog_far_above_the_limit_passes_in_order_and_its_end_does_not_wait_for_flush() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    logs.append("app.log", long_lines(0..100_000));
    for limit in ["5MB", "512k", "50k"] {
        let told = Told::to_follow(&logs, &fluentd).service("Flush 3600");
        let before = fluentd.record_count();
        let agent = told.input(&format!("Mem_Buf_Limit {limit}")).start();
        fluentd.wait_for_records(before + 100_000, Duration::from_secs(60));
        agent.kill();
    }
    let sequences = fluentd.sequences().remove("app.logs").unwrap();
    for run in sequences.chunks(100_000) {
        assert!(run.iter().copied().eq(0..100_000));
    }
}

#[test]
fn five_hundred_files_with_a_tag_each_pass_through_a_small_limit_without_a_stall() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    for number in 0..500 {
        logs.append(&format!("{number}.log"), long_lines(0..100));
    }
    let told = Told::to_follow(&logs, &fluentd).input("Tag app.*").service("Flush 5");
    let agent = told.input("Mem_Buf_Limit 512k").start();
    fluentd.wait_for_records(50_000, SOON);
    let sequences = fluentd.sequences();
    assert_eq!(sequences.len(), 500);
    assert!(sequences.values().all(|numbers| numbers.iter().copied().eq(0..100)));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn with_memory_full_a_file_is_opened_at_once_and_delivered_although_it_was_deleted() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().never_acknowledges());
    logs.append("app.log", long_lines(0..20_000));
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 512k");
    let agent = told.start();
    agent.wait_for_log("paused (mem buf overlimit");
    let file = logs.file("new.log");
    logs.append("new.log", long_lines(20_000..20_100));
    let start = Instant::now();
    wait_until("the new file is open", || agent.open_files().contains(&file));
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    logs.remove("new.log");
    fluentd.behaves();
    // The connection that never got an ack is given up by hand: its chunks go again.
    fluentd.stop();
    fluentd.restart();
    wait_until("everything has arrived", || distinct(&fluentd).len() == 20_100);
    agent.wait_for_log("resume (mem buf overlimit");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn an_outage_over_rotations_with_deleted_generations_loses_nothing_and_memory_stays_bounded() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_for_log("connected");
    fluentd.stop();
    for generation in 0..20 {
        let file = logs.file("app.log");
        logs.append("app.log", long_lines(generation * 5000..generation * 5000 + 5000));
        wait_until("the file is open", || agent.open_files().contains(&file));
        logs.rename("app.log", &format!("app.log.{generation}"));
        if generation >= 3 {
            logs.remove(&format!("app.log.{}", generation - 3));
        }
    }
    fluentd.restart();
    fluentd.wait_for_records(100_000, Duration::from_secs(60));
    let all: BTreeSet<u64> = fluentd.sequences().into_values().flatten().collect();
    assert_eq!(all.len(), 100_000);
    assert!(agent.peak_memory() < 24_000_000, "{}", agent.peak_memory());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn deleted_files_that_hold_too_much_are_let_go_oldest_first_and_counted() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().never_acknowledges());
    let told = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 50k");
    let agent = told.input("Max_Held_Bytes 1MB").service("Grace 1").start();
    for generation in 0..4 {
        let name = format!("{generation}.log");
        logs.append(&name, long_lines(generation * 1000..generation * 1000 + 1000));
        let file = logs.file(&name);
        wait_until("the file is open", || agent.open_files().contains(&file));
        logs.remove(&name);
    }
    agent.wait_for_log("Max_Held_Bytes is reached");
    let held = || agent.open_files().iter().filter(|f| f.starts_with(logs.path())).count();
    wait_until("only two are held", || held() == 2);
    assert!(agent.log().contains(&format!("file={}", logs.file("0.log").display())));
    assert_eq!(agent.stop(), 9);
}

#[test]
fn a_trickle_is_one_frame_a_flush() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).service("Flush 1").start();
    agent.wait_for_log("connected");
    let start = Instant::now();
    let mut written = 0;
    while start.elapsed() < Duration::from_secs(3) {
        logs.append_sequence("app.log", written..written + 1);
        written += 1;
        std::thread::park_timeout(Duration::from_millis(10));
    }
    fluentd.wait_for_records(written, SOON);
    assert!((3..=5).contains(&fluentd.chunk_ids().len()), "{} frames", fluentd.chunk_ids().len());
    assert_eq!(agent.stop(), 0);
}

/// Fluent Bit makes ids of the contents: of two equal batches a receiver that looks for repeats
/// throws one away.
#[test]
fn equal_lines_sent_one_after_the_other_are_chunks_with_ids_of_their_own() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    let line = "{\"timestamp\":\"2026-01-02T03:04:05.678\",\"seq\":1}\n";
    for count in 1..=3 {
        logs.append("app.log", line);
        fluentd.wait_for_records(count, SOON);
    }
    assert_eq!(agent.stop(), 0);
    assert_eq!(fluentd.chunk_ids().into_iter().collect::<BTreeSet<_>>().len(), 3);
}

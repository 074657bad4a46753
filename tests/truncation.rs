//! A truncation stalls nothing and repeats nothing, and what it took is counted.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;
use std::io::Write;
use std::thread;
use std::time::Duration;

use support::{FakeFluentd, LogDir, SOON, Told, arrived, sequence, wait_until};

/// The number before a word in the line that says where every byte went.
fn account(log: &str, term: &str) -> u64 {
    let line = log.lines().rfind(|line| line.contains(" written + ")).expect("it says so");
    let before = line.split(&format!(" {term}")).next().unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Lines that arrived twice, or not in order. Both show as a number that is no higher than the
/// one before it.
fn steps_back(numbers: &[u64]) -> Vec<(u64, u64)> {
    numbers.windows(2).filter(|two| two[1] <= two[0]).map(|two| (two[0], two[1])).collect()
}

#[test]
fn copied_and_truncated_under_load_it_repeats_nothing_and_counts_no_more_than_is_lost() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    let mut writer = logs.open("app.log");
    let mut written = 0;
    for round in 0..300 {
        writer.write_all(sequence(written..written + 50).as_bytes()).unwrap();
        written += 50;
        if round % 3 == 2 {
            // Mostly before anyone has read it.
            logs.copy_and_truncate("app.log", "app.log.1");
        }
        if round % 50 == 0 {
            fluentd.wait_for_records(1, SOON);
        }
        thread::park_timeout(Duration::from_millis(3));
    }
    writer.write_all(sequence(written..written + 1).as_bytes()).unwrap();
    wait_until("the last line has arrived", || arrived(&fluentd).contains(&written));
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    let numbers = arrived(&fluentd);
    assert_eq!(steps_back(&numbers), []);
    let missing = (0..=written).filter(|number| numbers.binary_search(number).is_err());
    let lost = sequence(missing).len() as u64;
    let counted = account(&log, "lost");
    assert!(counted <= lost, "{counted} counted, {lost} lost");
}

#[test]
fn what_was_unread_when_a_file_was_truncated_is_counted_as_lost() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().stalls_reading());
    let filler = "x".repeat(400);
    let lines = |numbers: std::ops::Range<u64>| -> String {
        numbers.map(|n| format!("{{\"seq\":{n},\"filler\":\"{filler}\"}}\n")).collect()
    };
    let agent = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 512k").start();
    logs.append("app.log", lines(0..20_000));
    agent.wait_for_log("paused (mem buf overlimit");
    let written = fs::metadata(logs.file("app.log")).unwrap().len();
    logs.copy_and_truncate("app.log", "app.log.1");
    logs.append("app.log", lines(20_000..20_010));
    fluentd.behaves();
    wait_until("the last line has arrived", || arrived(&fluentd).contains(&20_009));
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    let numbers = arrived(&fluentd);
    assert_eq!(steps_back(&numbers), []);
    let read: usize = numbers.iter().map(|&n| lines(n..n + 1).len()).sum();
    let lost = written + lines(20_000..20_010).len() as u64 - read as u64;
    // A lower bound: the last look at its size may have been a moment before the last write.
    let counted = account(&log, "lost");
    assert!(counted <= lost && counted > lost * 9 / 10, "{counted} counted of {lost}");
}

#[test]
fn truncated_and_regrown_past_the_position_before_anyone_looked_it_is_read_from_its_start() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    let mut writer = logs.open("app.log");
    for round in 0..10 {
        let first = round * 1000;
        // Each time longer than before, and once of exactly the same length.
        let count = if round == 5 { 140 } else { 100 + round * 10 };
        agent.pause();
        logs.truncate("app.log", 0);
        writer.write_all(sequence(first..first + count).as_bytes()).unwrap();
        agent.resume();
        wait_until("all have arrived", || arrived(&fluentd).contains(&(first + count - 1)));
        let numbers = arrived(&fluentd);
        let of_this_round: Vec<_> = numbers.into_iter().filter(|n| *n >= first).collect();
        assert_eq!(of_this_round, (first..first + count).collect::<Vec<_>>());
    }
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert_eq!(account(&log, "lost"), 0);
    assert_eq!(steps_back(&arrived(&fluentd)), []);
}

#[test]
fn a_loop_that_overwrites_its_file_every_tenth_line_stalls_nothing() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    for number in 0..200 {
        if number % 10 == 0 {
            fs::write(logs.file("app.log"), sequence(number..number + 1)).unwrap();
        } else {
            logs.append_sequence("app.log", number..number + 1);
        }
        thread::park_timeout(Duration::from_millis(5));
    }
    wait_until("the last line has arrived", || arrived(&fluentd).contains(&199));
    assert_eq!(agent.stop(), 0);
    let numbers = arrived(&fluentd);
    assert_eq!(steps_back(&numbers), []);
    assert!((190..200).all(|number| numbers.contains(&number)), "{numbers:?}");
}

#[test]
fn a_partial_line_that_a_truncation_took_is_counted_and_joins_no_other_line() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    logs.append("app.log", sequence(0..10) + "{\"seq\":10,\"half");
    fluentd.wait_for_records(10, SOON);
    logs.truncate("app.log", 0);
    logs.append_sequence("app.log", 11..20);
    let events = fluentd.wait_for_records(19, SOON);
    assert!(events.iter().all(|event| event.record.get("log").is_none()));
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert_eq!(account(&log, "lost"), "{\"seq\":10,\"half".len() as u64);
}

#[test]
fn a_file_cut_to_less_goes_on_with_what_is_appended() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    logs.append_sequence("app.log", 0..100);
    fluentd.wait_for_records(100, SOON);
    logs.truncate("app.log", sequence(0..50).len() as u64);
    logs.append_sequence("app.log", 100..110);
    wait_until("the last line has arrived", || arrived(&fluentd).contains(&109));
    logs.truncate("app.log", 5);
    logs.append("app.log", "\n".to_owned() + &sequence(110..120));
    wait_until("the last line has arrived", || arrived(&fluentd).contains(&119));
    assert_eq!(agent.stop(), 0);
}

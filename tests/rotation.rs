//! Rotation in every shape: every line of every generation arrives, once.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{
    FakeFluentd, LogDir, SOON, TestAgent, Told, arrived, assert_in_order, sequence, sorted,
    wait_for_all, wait_until,
};

fn wait_until_open(agent: &TestAgent, path: &PathBuf) {
    wait_until("the file is open", || agent.open_files().contains(path));
}

/// Moves `app.log.2` to `app.log.3` and so on up the chain, and `app.log` to `app.log.1`.
fn rotate_chain(logs: &LogDir) {
    for number in (1..60).rev() {
        let name = format!("app.log.{number}");
        if logs.file(&name).exists() {
            logs.rename(&name, &format!("app.log.{}", number + 1));
        }
    }
    logs.rename("app.log", "app.log.1");
}

#[test]
fn a_chain_of_renames_is_read_once_whether_or_not_the_pattern_matches_the_older_names() {
    for pattern in ["app.log", "app.log*"] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let path = logs.file(pattern).display().to_string();
        let agent = Told::to_follow(&logs, &fluentd).path(path).start();
        agent.wait_until_watching();
        for generation in 0..30 {
            logs.append_sequence("app.log", generation * 10..generation * 10 + 10);
            if generation % 3 == 0 {
                wait_until_open(&agent, &logs.file("app.log"));
            }
            rotate_chain(&logs);
        }
        wait_for_all(&fluentd, 300);
        assert_eq!(sorted(&fluentd), (0..300).collect::<Vec<_>>(), "{pattern}");
        assert_eq!(agent.stop(), 0);
    }
}

#[test]
fn files_with_dated_names_are_each_read_once() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let path = logs.file("app-*.log").display().to_string();
    let told = Told::to_follow(&logs, &fluentd).path(path).input("Refresh_Interval 1");
    let agent = told.start();
    for hour in 0..24 {
        logs.append_sequence(&format!("app-2026-01-02-{hour:02}.log"), hour * 10..hour * 10 + 5);
        logs.append_sequence(
            &format!("app-2026-01-02-{hour:02}.log"),
            hour * 10 + 5..hour * 10 + 10,
        );
    }
    wait_for_all(&fluentd, 240);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..240).collect::<Vec<_>>());
}

/// `ROTATION_SECONDS=60` makes it the whole minute.
#[test]
#[allow(clippy::disallowed_methods, reason = "a number for whoever runs it by hand")]
fn a_new_generation_every_20_ms_loses_nothing() {
    let seconds = std::env::var("ROTATION_SECONDS").map_or(4, |text| text.parse().unwrap());
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    let start = Instant::now();
    let mut generation = 0;
    while start.elapsed() < Duration::from_secs(seconds) {
        logs.append_sequence("app.log", generation * 50..generation * 50 + 50);
        logs.rename("app.log", &format!("app.log.{generation}"));
        if generation >= 100 {
            logs.remove(&format!("app.log.{}", generation - 100));
        }
        generation += 1;
        thread::park_timeout(Duration::from_millis(20));
    }
    fluentd.wait_for_records(generation * 50, SOON);
    assert_eq!(agent.stop(), 0);
    let mut numbers = fluentd.sequences().remove("app.logs").unwrap();
    numbers.sort_unstable();
    assert!(numbers.iter().copied().eq(0..generation * 50), "not all, or some twice");
}

#[test]
fn an_old_writer_goes_on_after_the_rename_and_no_new_file_comes() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let mut writer = logs.open("app.log");
    let agent = Told::to_follow(&logs, &fluentd).input("Rotate_Wait 1").start();
    agent.wait_until_watching();
    fs::create_dir(logs.file("elsewhere")).unwrap();
    // First to another name, then to where nobody watches.
    for (round, name) in ["app.log.1", "elsewhere/app.log"].iter().enumerate() {
        let before = round as u64 * 20;
        writer.write_all(sequence(before..before + 10).as_bytes()).unwrap();
        let from = if round == 0 { "app.log" } else { "app.log.1" };
        logs.rename(from, name);
        for number in before + 10..before + 20 {
            writer.write_all(sequence(number..number + 1).as_bytes()).unwrap();
            thread::park_timeout(Duration::from_millis(20));
        }
        fluentd.wait_for_records(before + 20, SOON);
    }
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 40);
}

#[test]
fn no_gap_between_rename_and_create_is_too_short_or_too_long() {
    let gaps = [0, 1, 10, 100, 900, 1100, 2000, 5000];
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 1").start();
    agent.wait_until_watching();
    thread::scope(|scope| {
        for (number, gap) in (0_u64..).zip(gaps) {
            let logs = &logs;
            scope.spawn(move || {
                let name = format!("{number}.log");
                logs.append_sequence(&name, number * 20..number * 20 + 10);
                logs.rename(&name, &format!("{name}.1"));
                thread::park_timeout(Duration::from_millis(gap));
                logs.append_sequence(&name, number * 20 + 10..number * 20 + 20);
            });
        }
    });
    wait_for_all(&fluentd, gaps.len() as u64 * 20);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..gaps.len() as u64 * 20).collect::<Vec<_>>());
}

#[test]
fn a_compressed_generation_is_left_out_although_it_was_found_before_its_first_byte() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let path = logs.file("app.log*").display().to_string();
    let agent = Told::to_follow(&logs, &fluentd).path(path).input("Refresh_Interval 1").start();
    agent.wait_until_watching();
    logs.append_sequence("app.log", 0..10);
    fluentd.wait_for_records(10, SOON);
    logs.rename("app.log", "app.log.1");
    let mut compressed = logs.open("app.log.1.gz");
    wait_until_open(&agent, &logs.file("app.log.1.gz"));
    // What gzip writes, with line ends in it.
    compressed.write_all(&[0x1f]).unwrap();
    thread::park_timeout(Duration::from_millis(50));
    compressed.write_all(b"\x8b\x08\x08\n\n\n\xff\xfe\n").unwrap();
    agent.wait_for_log("it is compressed");
    logs.remove("app.log.1");
    compressed.write_all(b"\n\nmore\n\n").unwrap();
    logs.append_sequence("app.log", 10..20);
    wait_for_all(&fluentd, 20);
    let (status, _) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert_eq!(fluentd.record_count(), 20);
}

#[test]
fn a_second_name_of_a_file_is_no_new_file_and_its_going_is_no_deletion() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let mut writer = logs.open("a.log");
    writer.write_all(sequence(0..10).as_bytes()).unwrap();
    let told = Told::to_follow(&logs, &fluentd).input("Rotate_Wait 1").input("Refresh_Interval 4");
    let agent = told.start();
    fluentd.wait_for_records(10, SOON);
    for (name, other) in [("a.log", "b.log"), ("b.log", "c.log")] {
        fs::hard_link(logs.file(name), logs.file(other)).unwrap();
        logs.remove(name);
    }
    // The next listing comes long after Rotate_Wait, and another file says when it has been.
    let start = Instant::now();
    wait_until("it was listed again", || start.elapsed() > Duration::from_secs(5));
    writer.write_all(sequence(10..20).as_bytes()).unwrap();
    fluentd.wait_for_records(20, SOON);
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 20);
}

#[test]
fn a_file_replaced_by_a_rename_onto_it_is_read_to_its_end_and_the_new_one_from_its_start() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    for generation in 0..50 {
        logs.append_sequence("next", generation * 10..generation * 10 + 5);
        let inode = fs::metadata(logs.file("next")).unwrap().ino();
        logs.rename("next", "app.log");
        logs.append_sequence("app.log", generation * 10 + 5..generation * 10 + 10);
        wait_until("it is open", || {
            let descriptors = format!("/proc/{}/fd", agent.pid());
            let mut open = fs::read_dir(descriptors).unwrap().flatten();
            open.any(|entry| fs::metadata(entry.path()).is_ok_and(|file| file.ino() == inode))
        });
    }
    wait_for_all(&fluentd, 500);
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 500);
}

#[test]
fn a_file_moved_away_truncated_and_moved_back_is_read_again_from_its_start() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    for round in 0..5 {
        logs.append_sequence("app.log", round * 10..round * 10 + 10);
        fluentd.wait_for_records(round * 10 + 10, SOON);
        logs.rename("app.log", "app.log.away");
        logs.truncate("app.log.away", 0);
        logs.rename("app.log.away", "app.log");
    }
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 50);
}

#[test]
fn a_name_that_comes_back_to_its_file_repeats_no_line() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("Rotate_Wait 1").start();
    agent.wait_until_watching();
    for round in 0..10 {
        logs.append_sequence("app.log", round * 10..round * 10 + 10);
        logs.rename("app.log", "app.log.1");
        if round % 3 == 0 {
            fluentd.wait_for_records(round * 10 + 10, SOON);
        }
        logs.rename("app.log.1", "app.log");
    }
    wait_for_all(&fluentd, 100);
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 100);
}

#[test]
fn every_generation_between_two_rotations_arrives_although_the_receiver_stalls() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().stalls_reading());
    let filler = "x".repeat(400);
    let lines = |numbers: std::ops::Range<u64>| -> String {
        numbers.map(|n| format!("{{\"seq\":{n},\"filler\":\"{filler}\"}}\n")).collect()
    };
    let agent = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 512k").start();
    logs.append("app.log", lines(0..20_000));
    agent.wait_for_log("paused (mem buf overlimit");
    for generation in 1..6 {
        rotate_chain(&logs);
        logs.append("app.log", lines(20_000 + generation * 10 - 10..20_000 + generation * 10));
    }
    wait_until_open(&agent, &logs.file("app.log"));
    logs.remove("app.log.2");
    logs.remove("app.log.4");
    fluentd.behaves();
    wait_for_all(&fluentd, 20_050);
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 20_050);
}

#[test]
fn files_that_live_under_ten_milliseconds_arrive_or_are_counted_as_vanished() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).service("Log_Level debug").start();
    agent.wait_until_watching();
    for number in 0..100 {
        logs.append_sequence("app.log", number..number + 1);
        thread::park_timeout(Duration::from_millis(number % 10));
        logs.remove("app.log");
    }
    // While it stands still, nobody can open them.
    agent.pause();
    for number in 100..110 {
        logs.append_sequence("app.log", number..number + 1);
        logs.remove("app.log");
    }
    agent.resume();
    logs.append_sequence("app.log", 110..111);
    wait_until("the last has arrived", || arrived(&fluentd).contains(&110));
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    let vanished = log.matches("was gone before it could be opened").count();
    let numbers = sorted(&fluentd);
    assert!(vanished >= 10);
    assert_eq!(numbers.len() + vanished, 111, "{vanished} vanished, {numbers:?} arrived");
}

#[test]
fn generations_renamed_while_the_agent_stood_still_are_read_in_order() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    for round in 0..5 {
        agent.pause();
        for generation in round * 10..round * 10 + 10 {
            logs.append_sequence("app.log", generation * 10..generation * 10 + 10);
            rotate_chain(&logs);
            if generation % 2 == 0 {
                logs.rename("app.log.1", &format!("older.{generation}"));
            }
        }
        agent.resume();
        wait_for_all(&fluentd, round * 100 + 100);
    }
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 500);
}

/// What a limit of 50m CPU does: it may run for 5 of every 100 ms.
#[test]
fn with_a_twentieth_of_a_core_rotations_every_20_ms_lose_nothing() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    let mut generation = 0;
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        agent.signal(if generation % 5 == 0 { Signal::CONT } else { Signal::STOP });
        logs.append_sequence("app.log", generation * 10..generation * 10 + 10);
        logs.rename("app.log", &format!("app.log.{generation}"));
        generation += 1;
        let rest = if generation % 5 == 1 { 5 } else { 20 };
        thread::park_timeout(Duration::from_millis(rest));
    }
    agent.resume();
    wait_for_all(&fluentd, generation * 10);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..generation * 10).collect::<Vec<_>>());
}

#[test]
fn notices_that_overflow_are_made_up_for_by_a_listing() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let mut writer = logs.open("app.log");
    let agent = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 3600").start();
    writer.write_all(sequence(0..10).as_bytes()).unwrap();
    fluentd.wait_for_records(10, SOON);
    agent.pause();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    for number in 0..limit.trim().parse::<u64>().unwrap() {
        fs::File::create(logs.file(&format!("unrelated.{number}"))).unwrap();
    }
    // None of this is told any more.
    writer.write_all(sequence(10..20).as_bytes()).unwrap();
    logs.rename("app.log", "app.log.1");
    logs.append_sequence("app.log", 20..30);
    logs.append_sequence("new.log", 30..40);
    agent.resume();
    wait_for_all(&fluentd, 40);
    logs.append_sequence("new.log", 40..50);
    wait_for_all(&fluentd, 50);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..50).collect::<Vec<_>>());
}

#[test]
fn a_directory_removed_and_made_again_at_once_is_watched_again_though_it_may_have_the_same_inode() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let path = logs.file("sub/*.log").display().to_string();
    fs::create_dir(logs.file("sub")).unwrap();
    logs.append_sequence("sub/a.log", 0..1);
    let told = Told::to_follow(&logs, &fluentd).path(path).input("Refresh_Interval 3600");
    let agent = told.input("Progress_Check_Interval 100ms").start();
    fluentd.wait_for_records(1, SOON);
    for round in 0..40 {
        fs::remove_dir_all(logs.file("sub")).unwrap();
        fs::create_dir(logs.file("sub")).unwrap();
        logs.append_sequence("sub/a.log", round * 2 + 1..round * 2 + 2);
        wait_for_all(&fluentd, round * 2 + 2);
        logs.append_sequence("sub/a.log", round * 2 + 2..round * 2 + 3);
        wait_for_all(&fluentd, round * 2 + 3);
    }
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 81);
}

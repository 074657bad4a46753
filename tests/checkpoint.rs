//! With `DB` a restart goes on after the last acknowledged line; without it nothing is written.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use support::{FakeFluentd, LogDir, SOON, Told, arrived, sequence, sorted, wait_until};

#[test]
fn a_restart_goes_on_after_the_last_acknowledged_line() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db);
    logs.append_sequence("app.log", 0..10);
    let agent = told.start();
    fluentd.wait_for_records(10, SOON);
    assert_eq!(agent.stop(), 0);
    logs.append_sequence("app.log", 10..20);
    let agent = told.start();
    fluentd.wait_for_records(20, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(arrived(&fluentd), (0..20).collect::<Vec<_>>());
}

#[test]
fn what_was_sent_and_not_acknowledged_is_sent_again_after_a_kill() {
    let (logs, state) = (LogDir::new(), LogDir::new());
    let fluentd = FakeFluentd::start().never_acknowledges();
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db);
    logs.append_sequence("app.log", 0..10);
    let agent = told.start();
    fluentd.wait_for_records(10, SOON);
    agent.kill();
    fluentd.behaves();
    let agent = told.start();
    fluentd.wait_for_records(20, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(arrived(&fluentd), (0..10).chain(0..10).collect::<Vec<_>>());
}

#[test]
fn a_partial_line_sent_at_a_stop_is_sent_again_whole_when_it_is_complete() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db);
    logs.append("app.log", "{\"seq\":1}\n{\"seq\":2,\"text\":\"beg");
    let agent = told.start();
    fluentd.wait_for_records(1, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(fluentd.events()[1].record["log"], "{\"seq\":2,\"text\":\"beg");
    logs.append("app.log", "un\"}\n");
    let agent = told.start();
    let events = fluentd.wait_for_records(3, SOON);
    assert_eq!(events[2].record["text"], "begun");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn killed_twenty_times_under_load_with_rotations_nothing_is_lost() {
    let (logs, state) = (LogDir::new(), LogDir::new());
    let fluentd = FakeFluentd::start().keeps_only_sequence("seq");
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db).service("Flush 0.02");
    let mut written = 0;
    for round in 0..20 {
        let agent = told.start();
        let before = fluentd.record_count();
        for _ in 0..20 {
            logs.append_sequence("app.log", written..written + 100);
            written += 100;
        }
        fluentd.wait_for_records(before + 1 + round * 7 % 1500, SOON);
        if round % 2 == 0 {
            // Killed right after positions were saved; in the other rounds, most likely before.
            let saved = || fs::metadata(state.file("positions")).and_then(|m| m.modified()).ok();
            let before = saved();
            wait_until("positions were saved", || saved() != before);
        }
        agent.kill();
        logs.append_sequence("app.log", written..written + 50);
        written += 50;
        if round % 3 == 0 {
            logs.rename("app.log", &format!("app.log.{round}"));
        }
    }
    let agent = told.start();
    // All may have arrived before; a signal that comes before it is caught ends the process.
    agent.wait_until_watching();
    let all = |fluentd: &FakeFluentd| {
        fluentd.sequences().into_values().flatten().collect::<BTreeSet<u64>>().len() as u64
    };
    wait_until("every line has arrived", || all(&fluentd) == written);
    assert_eq!(agent.stop(), 0);
    assert!(fluentd.record_count() < written * 4, "{} of {written}", fluentd.record_count());
}

#[test]
fn a_file_renamed_while_we_were_down_is_finished_and_not_read_again() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db);
    logs.append_sequence("app.log", 0..10);
    let agent = told.start();
    fluentd.wait_for_records(10, SOON);
    assert_eq!(agent.stop(), 0);
    logs.append_sequence("app.log", 10..15);
    logs.rename("app.log", "app.log.2");
    logs.append_sequence("app.log.1", 15..20);
    logs.append_sequence("app.log", 20..25);
    let agent = told.start();
    fluentd.wait_for_records(25, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(arrived(&fluentd), (0..25).collect::<Vec<_>>());
}

#[test]
fn a_file_that_came_while_positions_were_being_written_is_found_after_a_kill_and_a_rename() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db).service("Flush 0.02");
    let inode = || fs::metadata(state.file("positions")).map(|file| file.ino()).ok();
    for round in 0..20_u64 {
        let agent = told.start();
        logs.append_sequence("app.log", round * 10..round * 10 + 5);
        let before = inode();
        // Positions have been taken, and are written beside.
        wait_until("positions are being written", || {
            inode() != before || state.file("positions.new").exists()
        });
        logs.rename("app.log", &format!("app.log.{round}a"));
        logs.append_sequence("app.log", round * 10 + 5..round * 10 + 10);
        wait_until("positions are saved", || inode() != before);
        agent.kill();
        logs.rename("app.log", &format!("app.log.{round}b"));
    }
    let agent = told.start();
    // All may have arrived before; a signal that comes before it is caught ends the process.
    agent.wait_until_watching();
    let all = |fluentd: &FakeFluentd| arrived(fluentd).into_iter().collect::<BTreeSet<_>>();
    wait_until("every line has arrived", || all(&fluentd).len() == 200);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_file_copied_and_truncated_while_we_were_down_is_not_read_again() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db);
    logs.append_sequence("app.log", 0..10);
    let agent = told.start();
    fluentd.wait_for_records(10, SOON);
    assert_eq!(agent.stop(), 0);
    logs.append_sequence("app.log", 10..15);
    logs.copy_and_truncate("app.log", "app.log.1");
    logs.append_sequence("app.log", 15..20);
    let agent = told.start();
    fluentd.wait_for_records(20, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..20).collect::<Vec<_>>());
}

#[test]
fn state_that_is_corrupt_or_cannot_be_written_is_a_warning_and_no_exit() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    logs.append_sequence("app.log", 0..10);
    state.append("positions", "log-ambassador positions 1\nrubbish \u{0} rubbish\n");
    let db = format!("DB {}", state.file("positions").display());
    let agent = Told::to_follow(&logs, &fluentd).input(&db).start();
    fluentd.wait_for_records(10, SOON);
    agent.wait_for_log("some positions are damaged");
    assert_eq!(agent.stop(), 0);

    let agent = Told::to_follow(&logs, &fluentd).input("DB /proc/none/positions").start();
    fluentd.wait_for_records(20, SOON);
    agent.wait_for_log("cannot lock the positions");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_database_of_fluent_bit_is_left_as_it_is() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    logs.append_sequence("app.log", 0..10);
    state.append("flb.db", "SQLite format 3\0 and so on");
    let db = format!("DB {}", state.file("flb.db").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db);
    let agent = told.start();
    fluentd.wait_for_records(10, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(fs::read(state.file("flb.db")).unwrap(), b"SQLite format 3\0 and so on");
    let agent = told.start();
    logs.append_sequence("app.log", 10..11);
    fluentd.wait_for_records(11, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(arrived(&fluentd), (0..11).collect::<Vec<_>>());
}

#[test]
fn bytes_that_went_with_their_file_while_we_were_down_are_counted() {
    let (logs, state) = (LogDir::new(), LogDir::new());
    let fluentd = FakeFluentd::start().never_acknowledges();
    let db = format!("DB {}", state.file("positions").display());
    let told = Told::to_follow(&logs, &fluentd).input(&db).service("Grace 1");
    logs.append_sequence("app.log", 0..10);
    let agent = told.start();
    fluentd.wait_for_records(10, SOON);
    assert_eq!(agent.stop(), 9);
    logs.remove("app.log");
    let agent = told.start();
    agent.wait_for_log("bytes that were not acknowledged are gone with their file");
    assert!(agent.log().contains(&format!("bytes={}", sequence(0..10).len())), "{}", agent.log());
    assert_eq!(agent.status_after_stop(Duration::from_secs(10)), 0);
}

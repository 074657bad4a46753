//! With `DB` a restart loses nothing and repeats nothing that was acknowledged, whatever happened
//! to files, positions or receiver meanwhile.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::tools::{needs_root, output_of};
use support::{
    FakeFluentd, LogDir, SOON, Told, arrived, assert_in_order, distinct, ranges, sequence, sorted,
    wait_for_all, wait_until,
};

fn with_db(logs: &LogDir, state: &LogDir, fluentd: &FakeFluentd) -> Told {
    let db = format!("DB {}", state.file("positions").display());
    Told::to_follow(logs, fluentd).input(&db)
}

fn run_until(told: &Told, fluentd: &FakeFluentd, count: u64) {
    let agent = told.start();
    wait_for_all(fluentd, count);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_chain_of_rotations_over_many_restarts_is_read_once_and_in_order() {
    for pattern in ["app.log", "app.log*"] {
        let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
        let path = logs.file(pattern).display().to_string();
        let told = with_db(&logs, &state, &fluentd).path(path);
        let mut written = 0;
        for round in 0..8 {
            let agent = told.start();
            logs.append_sequence("app.log", written..written + 10);
            wait_for_all(&fluentd, written + 10);
            if round % 2 == 0 {
                assert_eq!(agent.stop(), 0);
            } else {
                let file = fs::metadata(logs.file("app.log")).unwrap();
                let (inode, end) = (file.ino(), file.len());
                wait_until("it is saved", || {
                    let text = fs::read_to_string(state.file("positions")).unwrap_or_default();
                    let mut lines = text.lines();
                    let parts = [format!("\"inode\":{inode},"), format!("\"offset\":{end},")];
                    lines.any(|line| parts.iter().all(|part| line.contains(part)))
                });
                agent.kill();
            }
            logs.append_sequence("app.log", written + 10..written + 15);
            written += 15;
            for _ in 0..round % 3 {
                for number in (1..20).rev() {
                    let name = format!("app.log.{number}");
                    if logs.file(&name).exists() {
                        logs.rename(&name, &format!("app.log.{}", number + 1));
                    }
                }
                logs.rename("app.log", "app.log.1");
                logs.append_sequence("app.log", written..written + 5);
                written += 5;
            }
        }
        run_until(&told, &fluentd, written);
        let mut numbers = arrived(&fluentd);
        if pattern == "app.log*" {
            // After a restart, a generation that the pattern matches is a stream of its own.
            numbers.sort_unstable();
        }
        assert!(numbers.iter().copied().eq(0..written), "{pattern}: {:?}", ranges(&numbers));
    }
}

#[test]
fn a_generation_that_came_and_went_since_the_first_saving_is_found_after_a_kill() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd);
    let agent = told.start();
    wait_until("positions were saved", || state.file("positions").exists());
    agent.pause();
    logs.append_sequence("app.log", 0..10);
    logs.rename("app.log", "app.log.1");
    agent.kill();
    run_until(&told, &fluentd, 10);
}

#[test]
fn a_file_with_the_inode_of_one_that_is_gone_is_read_from_its_start() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd);
    let mut written = 0;
    for round in 0..5 {
        logs.append_sequence("app.log", written..written + 50 + round);
        written += 50 + round;
        run_until(&told, &fluentd, written);
        let inode = fs::metadata(logs.file("app.log")).unwrap().ino();
        logs.remove("app.log");
        // Most file systems give it back at once; those that never do are met with a new one.
        for attempt in 0..200 {
            logs.append("app.log", "");
            if fs::metadata(logs.file("app.log")).unwrap().ino() == inode {
                break;
            }
            logs.rename("app.log", &format!("other.{attempt}"));
        }
    }
    assert_in_order(&fluentd, written);
}

#[test]
fn a_file_copied_truncated_and_regrown_while_we_were_down_is_read_where_it_is_new() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd);
    logs.append_sequence("app.log", 0..100);
    run_until(&told, &fluentd, 100);
    logs.append_sequence("app.log", 100..110);
    logs.copy_and_truncate("app.log", "app.log.1");
    logs.append_sequence("app.log", 110..500);
    run_until(&told, &fluentd, 500);
    assert_eq!(sorted(&fluentd), (0..500).collect::<Vec<_>>());
}

#[test]
fn a_long_line_that_a_restart_came_into_the_middle_of_is_left_out_to_its_end() {
    for key in ["Skip_Long_Lines On", "Skip_Long_Lines Off"] {
        let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
        let told = with_db(&logs, &state, &fluentd).input("Buffer_Max_Size 100k").input(key);
        logs.append("app.log", sequence(0..10) + &"x".repeat(150_000));
        let agent = told.start();
        wait_for_all(&fluentd, 10);
        agent.wait_for_log("a line is longer than the limit");
        assert_eq!(agent.stop(), 0);
        logs.append("app.log", "x".repeat(150_000));
        let agent = told.start();
        agent.wait_for_log("a line is longer than the limit");
        logs.append("app.log", String::from("the end\n") + &sequence(10..20));
        wait_for_all(&fluentd, 20);
        assert_eq!(agent.stop(), 0);
        assert_in_order(&fluentd, 20);
        let texts = fluentd.events();
        assert!(texts.iter().all(|event| event.record["log"] != "the end"), "{key}");
    }
}

#[test]
fn a_stop_without_a_receiver_leaves_everything_to_the_next_start() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd).service("Grace 1");
    logs.append_sequence("app.log", 0..10);
    run_until(&told, &fluentd, 10);
    fluentd.stop();
    let agent = told.start();
    logs.append_sequence("app.log", 10..20);
    agent.wait_for_log("failed to flush chunk");
    assert_eq!(agent.stop(), 9);
    logs.rename("app.log", "app.log.1");
    logs.append_sequence("app.log", 20..30);
    fluentd.restart();
    run_until(&told, &fluentd, 30);
    assert_in_order(&fluentd, 30);
}

#[test]
fn rotations_truncations_an_outage_and_kills_together_lose_nothing_that_could_be_read() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd).service("Flush 0.02").input("Mem_Buf_Limit 50k");
    let mut written = 0;
    for round in 0..12 {
        let agent = told.start();
        agent.wait_until_watching();
        if round % 3 == 1 {
            fluentd.stop();
        }
        for _ in 0..4 {
            logs.append_sequence("app.log", written..written + 500);
            written += 500;
            wait_until("it is open", || agent.open_files().contains(&logs.file("app.log")));
            logs.rename("app.log", &format!("app.log.{written}"));
        }
        logs.append_sequence("app.log", written..written + 100);
        written += 100;
        if round % 3 == 1 {
            fluentd.restart();
        }
        if round % 4 == 3 {
            wait_for_all(&fluentd, written);
            logs.truncate("app.log", 0);
            logs.append_sequence("app.log", written..written + 7);
            written += 7;
        }
        agent.kill();
        logs.append_sequence("app.log", written..written + 10);
        written += 10;
    }
    run_until(&told, &fluentd, written);
    assert_eq!(distinct(&fluentd).len() as u64, written);
}

#[test]
fn an_empty_a_half_written_or_a_missing_file_of_positions_costs_no_line_and_no_start() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd);
    let positions = state.file("positions");
    logs.append_sequence("app.log", 0..10);
    run_until(&told, &fluentd, 10);
    let whole = fs::read(&positions).unwrap();
    for damage in [&b""[..], &whole[..whole.len() / 2], &whole[..10]] {
        let before = fluentd.record_count();
        fs::write(&positions, damage).unwrap();
        let agent = told.start();
        fluentd.wait_for_records(before + 10, SOON);
        assert_eq!(agent.stop(), 0);
        // What it saved is whole again.
        assert_eq!(fs::read(&positions).unwrap().len(), whole.len());
        let agent = told.start();
        agent.wait_for_log("following");
        assert_eq!(agent.stop(), 0);
        assert_eq!(fluentd.record_count(), before + 10);
    }
    fs::remove_file(&positions).unwrap();
    let before = fluentd.record_count();
    let agent = told.start();
    fluentd.wait_for_records(before + 10, SOON);
    assert_eq!(agent.stop(), 0);
}

/// A file system in memory, of this size, until it is dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn at(place: &'a Path, options: &str) -> Self {
        needs_root("it mounts a file system");
        let mut mount = Command::new("mount");
        output_of(mount.args(["-t", "tmpfs", "-o", options, "none"]).arg(place), "mount");
        Self(place)
    }

    fn remount(&self, options: &str) {
        output_of(Command::new("mount").args(["-o", options]).arg(self.0), "mount");
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(self.0).status().ok();
    }
}

#[test]
fn positions_on_a_full_disk_are_a_warning_and_are_saved_once_there_is_room() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let disk = Mounted::at(state.path(), "size=64k");
    let told = with_db(&logs, &state, &fluentd);
    logs.append_sequence("app.log", 0..10);
    run_until(&told, &fluentd, 10);

    while fs::write(state.file(&format!("filler.{}", distinct_name())), [b'x'; 4096]).is_ok() {}
    let agent = told.start();
    logs.append_sequence("app.log", 10..20);
    wait_for_all(&fluentd, 20);
    agent.wait_for_log("cannot save positions");
    disk.remount("remount,size=128k");
    logs.append_sequence("app.log", 20..30);
    wait_for_all(&fluentd, 30);
    assert_eq!(agent.stop(), 0);
    logs.append_sequence("app.log", 30..40);
    run_until(&told, &fluentd, 40);
    assert_in_order(&fluentd, 40);
}

fn distinct_name() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn positions_that_can_be_read_and_not_written_are_obeyed() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let disk = Mounted::at(state.path(), "size=1m");
    let told = with_db(&logs, &state, &fluentd);
    logs.append_sequence("app.log", 0..10);
    run_until(&told, &fluentd, 10);
    disk.remount("remount,ro");
    for _ in 0..2 {
        let before = fluentd.record_count();
        logs.append_sequence("app.log", before..before + 10);
        let agent = told.start();
        agent.wait_for_log("cannot lock the positions");
        wait_for_all(&fluentd, before + 10);
        // What could not be saved comes again with the next start, from where it was saved.
        assert_eq!(agent.stop(), 0);
        let numbers = arrived(&fluentd);
        assert!(!numbers[10..].contains(&0), "{numbers:?}");
    }
}

#[test]
fn the_companions_of_db_are_accepted() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd)
        .input("DB.Sync full")
        .input("DB.Locking true")
        .input("DB.Journal_Mode WAL")
        .input("DB.Compare_Filename true");
    logs.append_sequence("app.log", 0..10);
    run_until(&told, &fluentd, 10);
    logs.append_sequence("app.log", 10..20);
    run_until(&told, &fluentd, 20);
    assert_in_order(&fluentd, 20);
}

#[test]
fn a_second_agent_with_the_same_db_delivers_and_leaves_the_positions_alone() {
    let (logs, state, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
    let told = with_db(&logs, &state, &fluentd);
    logs.append_sequence("app.log", 0..10);
    let first = told.start();
    fluentd.wait_for_records(10, SOON);
    let second = told.start();
    second.wait_for_log("another process saves positions here");
    logs.append_sequence("app.log", 10..20);
    wait_for_all(&fluentd, 20);
    assert_eq!(second.stop(), 0);
    assert_eq!(first.status_after_stop(Duration::from_secs(20)), 0);
    let before = fluentd.record_count();
    logs.append_sequence("app.log", 20..21);
    run_until(&told, &fluentd, 21);
    assert_eq!(fluentd.record_count(), before + 1);
}

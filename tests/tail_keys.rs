//! Every key of the tail input does what `docs/compatibility.md` says. Keys with tests in other
//! files: `Path`, `Exclude_Path`, `Tag`, `Path_Key`, `Offset_Key`, `Rotate_Wait`,
//! `Refresh_Interval`, `Inotify_Watcher`, `Skip_Long_Lines` in `tail.rs`; the encodings in
//! `encodings.rs`; `Follow_Symlinks` in `symlinks.rs`; `DB` in `checkpoint.rs`; `Exit_On_Eof` in
//! `stop.rs`; `Max_Held_Bytes` and `Mem_Buf_Limit` in `delivery.rs`.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use support::{FakeFluentd, LogDir, SOON, Told, sequence, sorted, wait_until};

fn texts(fluentd: &FakeFluentd) -> Vec<Value> {
    fluentd.events().into_iter().map(|event| event.record["log"].clone()).collect()
}

fn make_old(logs: &LogDir, name: &str) {
    let file = File::options().append(true).open(logs.file(name)).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(3600)).unwrap();
}

#[test]
fn tag_regex_puts_parts_of_the_path_into_the_tag_and_leaves_out_paths_that_do_not_fit() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("web-7.log", [1]);
    logs.append_sequence("other.log", [2]);
    let told = Told::to_follow(&logs, &fluentd)
        .input(r"Tag_Regex (?<app>[a-z]+)-(?<n>\d+)\.log$")
        .input("Tag app.<app>.<n>.<none>");
    let agent = told.start();
    fluentd.wait_for_records(1, SOON);
    agent.wait_for_log("its path does not fit `Tag_Regex`");
    assert_eq!(fluentd.events()[0].tag, "app.web.7._");
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), [1]);
}

#[test]
fn key_names_the_text_of_a_line_that_is_not_parsed() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", "plain\n{\"log\":1}\n");
    let agent = Told::to_follow(&logs, &fluentd).input("Key message").start();
    let events = fluentd.wait_for_records(2, SOON);
    assert_eq!(events[0].record["message"], "plain");
    assert_eq!(events[1].record["log"], 1);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn read_from_head_off_sends_what_comes_and_not_what_was_there() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("app.log", [1]);
    let agent = Told::to_follow(&logs, &fluentd).input("Read_from_Head Off").start();
    wait_until("the file is open", || agent.open_files().contains(&logs.file("app.log")));
    logs.append_sequence("app.log", [2]);
    // Found later: from its start.
    logs.append_sequence("new.log", [3]);
    fluentd.wait_for_records(2, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), [2, 3]);
}

#[test]
fn files_found_later_are_read_from_their_end_only_if_both_keys_say_so() {
    for (head, expected) in [("On", vec![1, 2, 3, 4, 5]), ("Off", vec![3, 4, 5])] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        logs.append_sequence("app.log", [1]);
        let told = Told::to_follow(&logs, &fluentd)
            .input(&format!("Read_from_Head {head}"))
            .input("Read_newly_discovered_files_from_head Off");
        let agent = told.start();
        wait_until("the file is open", || agent.open_files().contains(&logs.file("app.log")));
        // A file that comes with what it holds.
        logs.append_sequence("staged", [2]);
        logs.rename("staged", "moved.log");
        wait_until("it is open", || agent.open_files().contains(&logs.file("moved.log")));
        logs.append_sequence("moved.log", [3]);
        // One that takes the place of a followed one is read from its start all the same.
        logs.rename("app.log", "app.log.1");
        logs.append_sequence("staged", [4]);
        logs.rename("staged", "app.log");
        logs.append_sequence("app.log", [5]);
        fluentd.wait_for_records(expected.len() as u64, SOON);
        assert_eq!(agent.stop(), 0);
        assert_eq!(sorted(&fluentd), expected, "{head}");
    }
}

#[test]
fn progress_check_interval_says_how_often_files_without_notices_are_looked_at() {
    for (keys, is_often) in [
        (["Progress_Check_Interval 0", "Progress_Check_Interval_nsec 20000000"], true),
        (["Progress_Check_Interval 3600", "Progress_Check_Interval_nsec 0"], false),
    ] {
        let (logs, elsewhere, fluentd) = (LogDir::new(), LogDir::new(), FakeFluentd::start());
        elsewhere.append_sequence("target", [1]);
        std::os::unix::fs::symlink(elsewhere.file("target"), logs.file("link.log")).unwrap();
        let told = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 3600");
        let agent = told.input(keys[0]).input(keys[1]).start();
        fluentd.wait_for_records(1, SOON);
        elsewhere.append_sequence("target", [2]);
        if is_often {
            fluentd.wait_for_records(2, SOON);
        } else {
            // Long enough for what has notices.
            logs.append_sequence("plain.log", [3]);
            fluentd.wait_for_records(2, SOON);
            assert_eq!(sorted(&fluentd), [1, 3]);
        }
        assert_eq!(agent.stop(), 0);
        assert!(sorted(&fluentd).contains(&2), "a stop looks at every file");
    }
}

#[test]
fn empty_lines_are_events_unless_skip_empty_lines_is_on() {
    let written = "a\n\n\r\n  \nb\r\n";
    for (key, expected) in [("Off", vec!["a", "", "\r", "  ", "b"]), ("On", vec!["a", "  ", "b"])] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        logs.append("app.log", written);
        let agent =
            Told::to_follow(&logs, &fluentd).input(&format!("Skip_Empty_Lines {key}")).start();
        fluentd.wait_for_records(expected.len() as u64, SOON);
        assert_eq!(agent.stop(), 0);
        assert_eq!(texts(&fluentd), expected, "{key}");
    }
}

#[test]
fn nul_bytes_in_a_line_are_part_of_it() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", "\0a\0b\0\n{\"n\":\"\0\"}\n");
    let agent = Told::to_follow(&logs, &fluentd).start();
    let events = fluentd.wait_for_records(2, SOON);
    assert_eq!(events[0].record["log"], "\0a\0b\0");
    assert_eq!(events[1].record["n"], "\0");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn the_longest_whole_line_is_two_bytes_shorter_than_buffer_max_size() {
    for end in ["\n", "\r\n"] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        logs.append("app.log", format!("{}{end}{}{end}", "a".repeat(32_766), "b".repeat(32_767)));
        let told = Told::to_follow(&logs, &fluentd).input("Buffer_Max_Size 32768");
        // Cutting wins over leaving out.
        let agent = told.input("Skip_Long_Lines On").input("Truncate_Long_Lines On").start();
        let events = fluentd.wait_for_records(2, SOON);
        let found = events.iter().map(|event| {
            let length = event.record["log"].as_str().unwrap().len();
            (length, event.record.get("truncated").cloned())
        });
        let expected = [(32_766, None), (32_766, Some(json!(true)))];
        assert_eq!(found.collect::<Vec<_>>(), expected, "{end:?}");
        assert_eq!(agent.stop(), 0);
    }
}

#[test]
fn of_a_file_that_was_too_old_only_what_comes_later_is_sent() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("old.log", 0..1000);
    logs.append_sequence("rewritten.log", 0..1000);
    logs.append_sequence("new.log", [1000]);
    make_old(&logs, "old.log");
    make_old(&logs, "rewritten.log");
    let told =
        Told::to_follow(&logs, &fluentd).input("Ignore_Older 60").input("Refresh_Interval 1");
    let agent = told.start();
    fluentd.wait_for_records(1, SOON);
    let rewritten = logs.file("rewritten.log").display().to_string();
    agent.wait_for_log(&format!("it was last written before `Ignore_Older` file={rewritten}"));
    logs.append_sequence("old.log", [1001]);
    // The same length, and not the same file any more.
    fs::write(logs.file("rewritten.log"), sequence(2000..2999)).unwrap();
    fluentd.wait_for_records(1001, SOON);
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert_eq!(sorted(&fluentd), (1000..1002).chain(2000..2999).collect::<Vec<_>>());
    let said = log.lines().filter(|line| line.contains("`Ignore_Older`")).count();
    assert_eq!(said, 2, "once a file: {log}");
}

#[test]
fn what_was_begun_goes_on_after_a_restart_however_old_it_is() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let database = LogDir::new();
    logs.append_sequence("app.log", [1]);
    let told = Told::to_follow(&logs, &fluentd)
        .input("Ignore_Older 60")
        .input(&format!("DB {}", database.file("positions").display()));
    let agent = told.start();
    fluentd.wait_for_records(1, SOON);
    assert_eq!(agent.stop(), 0);
    logs.append_sequence("app.log", [2]);
    make_old(&logs, "app.log");
    let agent = told.start();
    fluentd.wait_for_records(2, SOON);
    let (status, log) = agent.stop_and_log();
    assert_eq!((status, sorted(&fluentd)), (0, vec![1, 2]));
    assert!(!log.contains("are gone with their file"), "{log}");
}

#[test]
fn keys_that_are_not_needed_are_answered_with_a_note_and_change_nothing_that_arrives() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("app.log", [1]);
    let keys = [
        "Ignore_Active_Older_Files On",
        "Static_Batch_Size 1k",
        "Event_Batch_Size 1k",
        "Watcher_Interval 1h",
    ];
    let told = keys.iter().fold(Told::to_follow(&logs, &fluentd), |told, key| told.input(key));
    let agent = told.input("Ignore_Older 60").start();
    fluentd.wait_for_records(1, SOON);
    make_old(&logs, "app.log");
    logs.append_sequence("app.log", [2]);
    fluentd.wait_for_records(2, SOON);
    let (status, log) = agent.stop_and_log();
    assert_eq!((status, sorted(&fluentd)), (0, vec![1, 2]));
    for key in keys {
        let note = format!("{}: accepted, not obeyed", key.split(' ').next().unwrap());
        assert!(log.contains(&note), "{note}: {log}");
    }
}

//! Every line that could be opened arrives, whatever is done to the files.

mod support;

use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::json;
use support::{FakeFluentd, LogDir, SOON, Told, arrived, sequence, sorted, wait_until};

#[test]
fn lines_written_before_the_start_and_after_it_arrive_in_order_with_what_was_added() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", "{\"timestamp\":\"2026-01-02T03:04:05.678\",\"n\":1}\n");
    let agent = Told::to_follow(&logs, &fluentd).start();
    let first = fluentd.wait_for_records(1, SOON).remove(0);
    assert_eq!(first.tag, "app.logs");
    assert_eq!((first.seconds, first.nanos), (1_767_323_045, 678_000_000));
    assert_eq!(first.record, json!({"n": 1, "hostname": "pod-1", "namespace": "shop"}));
    logs.append("app.log", "{\"n\":2}\n{\"n\":3}\n");
    fluentd.wait_for_records(3, SOON);
    let numbers: Vec<_> = fluentd.events().iter().map(|e| e.record["n"].clone()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_line_that_is_not_json_arrives_as_text() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let text =
        ["not json", "[1,2]", "{\"a\":1} trailing", "{\"a\":1", "", "null", "\u{feff}{\"a\":1}"];
    logs.append("app.log", text.join("\n") + "\n");
    let agent = Told::to_follow(&logs, &fluentd).start();
    let events = fluentd.wait_for_records(text.len() as u64, SOON);
    let logs: Vec<_> = events.iter().map(|event| event.record["log"].clone()).collect();
    assert_eq!(logs, text);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn bytes_that_are_not_utf_8_are_replaced_and_the_rest_of_the_line_is_kept() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", b"{\"city\":\"M\xfcnchen\",\"n\":1}\nplain \xff text\n{\"n\":2}\n");
    let agent = Told::to_follow(&logs, &fluentd).start();
    let events = fluentd.wait_for_records(3, SOON);
    assert_eq!(events[0].record["city"], "M\u{fffd}nchen");
    assert_eq!(events[1].record["log"], "plain \u{fffd} text");
    assert_eq!(events[2].record["n"], 2);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_new_file_is_found_at_once_although_refresh_interval_is_long() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 3600").start();
    agent.wait_for_log("connected");
    logs.append_sequence("new.log", 0..1);
    fluentd.wait_for_records(1, SOON);
    fs::create_dir(logs.file("staging")).unwrap();
    fs::write(logs.file("staging/moved.log"), sequence(1..2)).unwrap();
    logs.rename("staging/moved.log", "moved.log");
    fluentd.wait_for_records(2, SOON);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_directory_that_does_not_exist_yet_is_awaited() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let path = logs.file("later/deeper/*.log").display().to_string();
    let told = Told::to_follow(&logs, &fluentd).path(path).input("Refresh_Interval 3600");
    let agent = told.start();
    agent.wait_for_log("connected");
    fs::create_dir_all(logs.file("later/deeper")).unwrap();
    logs.append_sequence("later/deeper/a.log", 0..1);
    fluentd.wait_for_records(1, SOON);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_directory_that_is_removed_and_made_again_is_watched_again() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fs::create_dir(logs.file("sub")).unwrap();
    logs.append_sequence("sub/a.log", 0..1);
    let path = logs.file("sub/*.log").display().to_string();
    let agent = Told::to_follow(&logs, &fluentd).path(path).input("Refresh_Interval 1").start();
    fluentd.wait_for_records(1, SOON);
    fs::remove_dir_all(logs.file("sub")).unwrap();
    fs::create_dir(logs.file("sub")).unwrap();
    logs.append_sequence("sub/a.log", 1..2);
    fluentd.wait_for_records(2, SOON);
    logs.append_sequence("sub/a.log", 2..3);
    fluentd.wait_for_records(3, SOON);
    assert_eq!(arrived(&fluentd), [0, 1, 2]);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_file_renamed_to_a_name_no_pattern_matches_is_read_to_its_end() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let mut writer = logs.open("app.log");
    let agent = Told::to_follow(&logs, &fluentd).start();
    writer.write_all(sequence(0..10).as_bytes()).unwrap();
    fluentd.wait_for_records(10, SOON);
    logs.rename("app.log", "app.log.1");
    writer.write_all(sequence(10..20).as_bytes()).unwrap();
    logs.append_sequence("app.log", 20..30);
    fluentd.wait_for_records(30, SOON);
    writer.write_all(sequence(30..40).as_bytes()).unwrap();
    fluentd.wait_for_records(40, SOON);
    assert_eq!(sorted(&fluentd), (0..40).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_its_successor_from_its_start() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    for generation in 0..20 {
        logs.append_sequence("app.log", generation * 50..generation * 50 + 50);
        let file = logs.file("app.log");
        wait_until("the file is open", || agent.open_files().contains(&file));
        logs.remove("app.log");
    }
    fluentd.wait_for_records(1000, SOON);
    assert_eq!(arrived(&fluentd), (0..1000).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_truncated_file_is_read_from_its_start_and_no_line_twice() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    for generation in 0..10_u64 {
        // The same number of bytes each time, so that only the content tells them apart.
        logs.append_sequence("app.log", 100 + generation * 20..120 + generation * 20);
        fluentd.wait_for_records((generation + 1) * 20, SOON);
        logs.copy_and_truncate("app.log", "app.log.1");
    }
    assert_eq!(arrived(&fluentd), (100..300).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_file_overwritten_at_the_same_size_is_read_again() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("app.log", 100..120);
    let agent = Told::to_follow(&logs, &fluentd).start();
    fluentd.wait_for_records(20, SOON);
    fs::write(logs.file("app.log"), sequence(200..220)).unwrap();
    fluentd.wait_for_records(40, SOON);
    assert_eq!(arrived(&fluentd), (100..120).chain(200..220).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_file_overwritten_with_lines_of_the_same_length_and_ending_is_read_again() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let lines = |numbers: std::ops::Range<u64>| {
        let ending = "the same in every line, ".repeat(4);
        let line = |number| format!("{{\"seq\":{number},\"ending\":\"{ending}\"}}\n");
        numbers.map(line).collect::<String>()
    };
    logs.append("app.log", lines(100..120));
    let agent = Told::to_follow(&logs, &fluentd).start();
    fluentd.wait_for_records(20, SOON);
    fs::write(logs.file("app.log"), lines(200..221)).unwrap();
    fluentd.wait_for_records(41, SOON);
    assert_eq!(arrived(&fluentd), (100..120).chain(200..221).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_hole_left_by_a_writer_that_does_not_know_of_the_truncation_is_no_line() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let mut writer = fs::File::create(logs.file("app.log")).unwrap();
    let agent = Told::to_follow(&logs, &fluentd).start();
    writer.write_all(sequence(0..500).as_bytes()).unwrap();
    fluentd.wait_for_records(500, SOON);
    logs.truncate("app.log", 0);
    writer.write_all(sequence(500..510).as_bytes()).unwrap();
    let events = fluentd.wait_for_records(510, SOON);
    assert_eq!(arrived(&fluentd), (0..510).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event.record.get("log").is_none()));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_partial_line_waits_in_the_file_until_it_is_complete() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    for piece in ["{\"se", "q\":", "7,\"text\":\"a", " b\"}"] {
        logs.append("app.log", piece);
        logs.append_sequence("other.log", 0..1);
        let before = fluentd.record_count();
        fluentd.wait_for_records(before.max(1), SOON);
    }
    fluentd.wait_for_records(4, SOON);
    assert!(!arrived(&fluentd).contains(&7));
    logs.append("app.log", "\n");
    let events = fluentd.wait_for_records(5, SOON);
    assert_eq!(events[4].record["text"], "a b");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_carriage_return_before_the_newline_is_no_part_of_the_line() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", "{\"seq\":1}\r\nplain\r\n");
    let agent = Told::to_follow(&logs, &fluentd).start();
    let events = fluentd.wait_for_records(2, SOON);
    assert_eq!((&events[0].record["seq"], &events[1].record["log"]), (&json!(1), &json!("plain")));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn lines_above_the_limit_are_left_out_or_cut_and_their_neighbours_arrive() {
    for (key, expects_beginning) in [("Skip_Long_Lines On", false), ("Skip_Long_Lines Off", true)] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let told = Told::to_follow(&logs, &fluentd).input("Buffer_Max_Size 100k").input(key);
        let agent = told.start();
        let long = "ä".repeat(200_000);
        logs.append("app.log", sequence(0..3) + &long + "\n" + &sequence(3..6));
        // One that is seen before its newline comes.
        logs.append("app.log", &long);
        let beginnings = u64::from(expects_beginning);
        fluentd.wait_for_records(6 + 2 * beginnings, SOON);
        logs.append("app.log", String::from("the end\n") + &sequence(6..9));
        let events = fluentd.wait_for_records(9 + 2 * beginnings, SOON);
        assert_eq!(arrived(&fluentd), (0..9).collect::<Vec<_>>(), "{key}");
        let cut: Vec<_> = events.iter().filter(|e| e.record.get("truncated").is_some()).collect();
        assert_eq!(cut.len() as u64, 2 * beginnings);
        for event in cut {
            let text = event.record["log"].as_str().unwrap();
            assert!(text.len() > 99_000 && text.len() <= 100_000 && long.starts_with(text));
        }
        assert_eq!(agent.stop(), 0);
    }
}

#[test]
fn lines_of_32_kb_pass_through_a_limit_of_50k() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let filler = "x".repeat(32_000);
    let lines = (0..200).map(|n| format!("{{\"seq\":{n},\"filler\":\"{filler}\"}}\n"));
    logs.append("app.log", lines.collect::<String>());
    let agent = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 50k").start();
    fluentd.wait_for_records(200, SOON);
    assert_eq!(arrived(&fluentd), (0..200).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn excluded_paths_are_not_followed_and_several_patterns_are() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    for (name, number) in [("a.log", 1), ("b.txt", 2), ("secret.log", 3), ("c.other", 4)] {
        logs.append_sequence(name, number..number + 1);
    }
    let directory = logs.path().display();
    let told = Told::to_follow(&logs, &fluentd)
        .path(format!("{directory}/*.log, {directory}/*.txt"))
        .input("Exclude_Path *secret*");
    let agent = told.start();
    fluentd.wait_for_records(2, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), [1, 2]);
}

#[test]
fn a_tag_with_a_star_becomes_the_path_of_the_file() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append_sequence("a.log", 0..1);
    logs.append_sequence("b.log", 1..2);
    let agent = Told::to_follow(&logs, &fluentd).input("Tag app.*").start();
    let events = fluentd.wait_for_records(2, SOON);
    let dotted = logs.path().display().to_string().replace('/', ".").replace("..", ".");
    let mut tags: Vec<_> = events.into_iter().map(|event| event.tag).collect();
    tags.sort();
    assert_eq!(tags, [format!("app{dotted}.a.log"), format!("app{dotted}.b.log")]);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn path_and_offset_are_added_where_fluent_bit_adds_them() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("a.log", "{\"n\":1}\nplain\n");
    let told = Told::to_follow(&logs, &fluentd).input("Path_Key file").input("Offset_Key at");
    let agent = told.start();
    let events = fluentd.wait_for_records(2, SOON);
    let path = logs.file("a.log").display().to_string();
    let ours = json!({"hostname": "pod-1", "namespace": "shop"});
    let with = |mut record: serde_json::Value| {
        record.as_object_mut().unwrap().extend(ours.as_object().unwrap().clone());
        record
    };
    assert_eq!(events[0].record, with(json!({"n": 1, "file": path, "at": 0})));
    assert_eq!(events[1].record, with(json!({"file": path, "at": 8, "log": "plain"})));
    assert_eq!(agent.stop(), 0);
}

#[test]
fn what_is_no_regular_file_is_named_once_and_blocks_nothing() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let fifo = logs.file("fifo.log");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o644),
        0,
    )
    .unwrap();
    fs::create_dir(logs.file("directory.log")).unwrap();
    logs.append_sequence("a.log", 0..1);
    let agent = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 1").start();
    fluentd.wait_for_records(1, SOON);
    agent.wait_for_log("it is no regular file");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn without_notices_files_are_looked_at_all_the_same() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("Inotify_Watcher off").start();
    agent.wait_for_log("connected");
    logs.append_sequence("a.log", 0..1);
    fluentd.wait_for_records(1, SOON);
    logs.append_sequence("a.log", 1..2);
    fluentd.wait_for_records(2, SOON);
    logs.rename("a.log", "a.log.1");
    logs.append_sequence("a.log", 2..3);
    logs.append_sequence("a.log.1", 3..4);
    fluentd.wait_for_records(4, SOON);
    assert_eq!(sorted(&fluentd), [0, 1, 2, 3]);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn files_rotated_every_few_milliseconds_all_arrive_in_order() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    for generation in 0..200_u64 {
        logs.append_sequence("app.log", generation * 10..generation * 10 + 10);
        let file = logs.file("app.log");
        wait_until("the file is open", || agent.open_files().contains(&file));
        logs.rename("app.log", &format!("app.log.{generation}"));
    }
    fluentd.wait_for_records(2000, SOON);
    assert_eq!(arrived(&fluentd), (0..2000).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_file_rotated_away_before_it_could_be_opened_is_opened_under_its_new_name() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    for generation in 0..100_u64 {
        logs.append_sequence("app.log", generation * 10..generation * 10 + 10);
        logs.rename("app.log", &format!("app.log.{generation}"));
    }
    fluentd.wait_for_records(1000, SOON);
    assert_eq!(arrived(&fluentd), (0..1000).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_file_that_is_done_with_is_closed() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("Rotate_Wait 1").start();
    logs.append("app.log", sequence(0..3) + "{\"seq\":3}");
    fluentd.wait_for_records(3, SOON);
    logs.remove("app.log");
    // The end of its life: the unterminated last line goes out.
    fluentd.wait_for_records(4, SOON);
    agent.wait_for_log("done with a file");
    let is_held = |path: &std::path::PathBuf| path.starts_with(logs.path());
    wait_until("it is closed", || !agent.open_files().iter().any(is_held));
    assert_eq!(agent.stop(), 0);
    assert_eq!(arrived(&fluentd), [0, 1, 2, 3]);
}

#[test]
fn a_symbolic_link_that_is_switched_leads_to_its_new_target() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    for (name, numbers) in [("one", 0..5), ("two", 5..10)] {
        fs::create_dir(logs.file(name)).unwrap();
        logs.append_sequence(&format!("{name}/file"), numbers);
    }
    std::os::unix::fs::symlink(logs.file("one/file"), logs.file("current.log")).unwrap();
    let agent = Told::to_follow(&logs, &fluentd).start();
    fluentd.wait_for_records(5, SOON);
    std::os::unix::fs::symlink(logs.file("two/file"), logs.file("next")).unwrap();
    logs.rename("next", "current.log");
    fluentd.wait_for_records(10, SOON);
    logs.append_sequence("two/file", 10..12);
    fluentd.wait_for_records(12, SOON + Duration::from_secs(5));
    assert_eq!(arrived(&fluentd), (0..12).collect::<Vec<_>>());
    assert_eq!(agent.stop(), 0);
}

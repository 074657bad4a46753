//! Many files: none waits for another, and none is given up for want of anything the system limits.

mod support;

use support::{FakeFluentd, LogDir, SOON, Told, sequence, wait_until};

/// The numbers that have arrived, in the order in which they did.
fn numbers(fluentd: &FakeFluentd) -> Vec<u64> {
    fluentd.sequences().into_values().flatten().collect()
}

#[test]
fn a_file_at_full_speed_does_not_keep_a_thousand_slow_ones_waiting() {
    const FAST: u64 = 200_000;
    const SLOW: u64 = 1_000;
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    logs.append_sequence("fast.log", 0..FAST);
    for file in FAST..FAST + SLOW {
        logs.append_sequence(&format!("slow-{file}.log"), file..file + 1);
    }
    let agent = Told::to_follow(&logs, &fluentd).input("Mem_Buf_Limit 512k").start();
    wait_until("all have arrived", || fluentd.record_count() == FAST + SLOW);
    assert_eq!(agent.stop(), 0);
    let arrived = numbers(&fluentd);
    let last_slow = arrived.iter().rposition(|number| *number >= FAST).expect("they arrived");
    let of_fast = arrived[..last_slow].iter().filter(|number| **number < FAST).count();
    assert!(of_fast < arrived.len() / 2, "the last slow line came behind {of_fast} fast ones");
}

#[test]
fn with_more_files_than_descriptors_every_line_arrives_once_and_in_order() {
    const FILES: u64 = 200;
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().keeps_only_sequence("seq"));
    let write = |round: u64| {
        for file in 0..FILES {
            let first = file * 100 + round * 10;
            logs.append_sequence(&format!("{file}.log"), first..first + 10);
        }
    };
    write(0);
    let agent = Told::to_follow(&logs, &fluentd)
        .input("Tag app.*")
        .start_inside(&["prlimit", "--nofile=64:64"]);
    for round in 1..4 {
        wait_until("the last round has arrived", || fluentd.record_count() == round * FILES * 10);
        write(round);
    }
    wait_until("all have arrived", || fluentd.record_count() == 4 * FILES * 10);
    assert!(agent.open_files().len() <= 64);
    assert_eq!(agent.stop(), 0);
    let tags = fluentd.sequences();
    assert_eq!(tags.len() as u64, FILES);
    for numbers in tags.into_values() {
        assert!(numbers.is_sorted() && numbers.len() == 40, "{numbers:?}");
    }
}

#[test]
fn however_many_directories_and_inputs_there_are_two_inotify_instances_serve_them() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    for directory in 0..50 {
        std::fs::create_dir(logs.file(&directory.to_string())).expect("it is new");
        let file = logs.file(&format!("{directory}/app.log"));
        std::fs::write(file, sequence(directory..directory + 1)).expect("the directory is there");
    }
    let other = format!(
        "[INPUT]\n    Name tail\n    Path {}\n    Tag other\n",
        logs.file("*/app.log").display()
    );
    let told = Told::to_follow(&logs, &fluentd).path(logs.file("*/*.log").display().to_string());
    let agent = told.more(&other).start();
    fluentd.wait_for_records(100, SOON);
    let is_inotify = |path: &std::path::PathBuf| path.to_string_lossy().contains("inotify");
    assert_eq!(agent.open_files().iter().filter(|path| is_inotify(path)).count(), 2);
    assert_eq!(agent.stop(), 0);
}

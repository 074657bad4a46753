//! What lies under a matching name, and where it lies, stalls nothing and hides no line.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use support::tools::{needs_root, output_of};
use support::{
    FakeFluentd, LogDir, SOON, Told, arrived, assert_in_order, sequence, sorted, wait_for_all,
    wait_until,
};

#[test]
fn an_empty_file_and_one_of_two_bytes_are_followed_from_their_first_byte() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("empty.log", "");
    logs.append("two.log", "x\n");
    let agent = Told::to_follow(&logs, &fluentd).start();
    assert_eq!(fluentd.wait_for_records(1, SOON)[0].record["log"], "x");
    logs.append("empty.log", "y\n");
    assert_eq!(fluentd.wait_for_records(2, SOON)[1].record["log"], "y");
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_hundred_files_that_begin_with_the_same_4_kib_are_all_read() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let preamble = format!("{}\n", "=".repeat(4095));
    for number in 0..50 {
        logs.append(&format!("{number}.log"), preamble.clone() + &sequence(number..number + 1));
    }
    let agent = Told::to_follow(&logs, &fluentd).start();
    for number in 50..100 {
        logs.append(&format!("{number}.log"), preamble.clone() + &sequence(number..number + 1));
    }
    fluentd.wait_for_records(200, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..100).collect::<Vec<_>>());
    assert_eq!(fluentd.record_count(), 200);
}

#[test]
fn ten_thousand_idle_files_take_little_memory_and_no_time() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    for number in 0..10_000 {
        logs.append(&format!("{number}.log"), "");
    }
    let agent = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 60").start();
    logs.append_sequence("0.log", 0..1);
    fluentd.wait_for_records(1, Duration::from_secs(60));
    let before = agent.processor_time();
    let start = Instant::now();
    wait_until("some time has passed", || start.elapsed() > Duration::from_secs(5));
    // The kernel counts in steps of 10 ms.
    assert!(agent.processor_time() - before <= Duration::from_millis(20));
    assert!(agent.peak_memory() < 32 << 20, "{}", agent.peak_memory());
    logs.append_sequence("9999.log", 1..2);
    fluentd.wait_for_records(2, SOON);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn lines_written_in_pieces_of_any_size_stay_whole() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    let text: String = (0..2000)
        .map(|n: u64| {
            let filler = "é".repeat(usize::try_from(n * 7919 % 600).unwrap());
            format!("{{\"seq\":{n},\"filler\":\"{filler}\"}}\n")
        })
        .collect();
    let mut writer = logs.open("app.log");
    let mut rest = text.as_bytes();
    let mut step: usize = 1;
    while !rest.is_empty() {
        // Pieces of 1 to 4096 bytes, and some that end where a page ends.
        step = step * 1103 % 4097;
        let written = text.len() - rest.len();
        let to_page = 4096 - written % 4096;
        let length = if step.is_multiple_of(5) { to_page } else { step.max(1) };
        let (piece, more) = rest.split_at(length.min(rest.len()));
        writer.write_all(piece).unwrap();
        rest = more;
        if step.is_multiple_of(3) {
            thread::park_timeout(Duration::from_millis(step as u64 % 30));
        }
    }
    let events = fluentd.wait_for_records(2000, SOON);
    assert!(events.iter().all(|event| event.record.get("log").is_none()));
    assert_in_order(&fluentd, 2000);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn a_line_of_1_gib_without_a_newline_takes_little_memory_and_hides_no_neighbour() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).input("Buffer_Max_Size 64k").start();
    logs.append("app.log", sequence(0..10) + "{\"long\":\"");
    // The rest of it takes no room on the disk.
    logs.truncate("app.log", 1 << 30);
    agent.wait_for_log("a line is longer than the limit");
    logs.append("other.log", sequence(10..20));
    logs.append("app.log", String::from("\"}\n") + &sequence(20..30));
    wait_for_all_but_cut(&fluentd, 30);
    assert!(agent.peak_memory() < 64 << 20, "{}", agent.peak_memory());
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..30).collect::<Vec<_>>());
}

fn wait_for_all_but_cut(fluentd: &FakeFluentd, numbers: u64) {
    fluentd.wait_for_records(numbers + 1, Duration::from_secs(60));
    let events = fluentd.events();
    assert_eq!(events.iter().filter(|e| e.record.get("truncated").is_some()).count(), 1);
}

#[test]
fn nul_bytes_within_a_line_stay_and_the_line_is_one() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", b"before\0after\n\0\0\0\n{\"seq\":1}\n");
    let agent = Told::to_follow(&logs, &fluentd).start();
    let events = fluentd.wait_for_records(3, SOON);
    assert_eq!(events[0].record["log"], "before\0after");
    assert_eq!(events[1].record["log"], "\0\0\0");
    assert_eq!(arrived(&fluentd), [1]);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn devices_loops_of_links_and_links_to_nothing_block_nobody() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    symlink("/dev/zero", logs.file("zero.log")).unwrap();
    symlink("/dev/null", logs.file("null.log")).unwrap();
    symlink("/dev/tty", logs.file("tty.log")).unwrap();
    symlink("/proc/kmsg", logs.file("kmsg.log")).unwrap();
    symlink("/proc/self/maps", logs.file("maps.log")).unwrap();
    symlink(logs.file("nothing"), logs.file("dangling.log")).unwrap();
    symlink(logs.file("two.log"), logs.file("one.log")).unwrap();
    symlink(logs.file("one.log"), logs.file("two.log")).unwrap();
    symlink(logs.path(), logs.file("itself.log")).unwrap();
    logs.append_sequence("a.log", 0..10);
    let agent = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 1").start();
    wait_for_all(&fluentd, 10);
    // A link to nothing leads somewhere later.
    fs::write(logs.file("nothing"), sequence(10..20)).unwrap();
    wait_for_all(&fluentd, 20);
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert_in_order(&fluentd, 20);
    assert!(fluentd.record_count() == 20, "something else was read: {log}");
}

#[test]
fn a_link_that_is_switched_as_a_config_map_does_it_leads_to_the_new_files() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let version = |number: u64| {
        let name = format!("..version_{number}");
        fs::create_dir(logs.file(&name)).unwrap();
        logs.append_sequence(&format!("{name}/app.log"), number * 10..number * 10 + 10);
        symlink(&name, logs.file("..data_tmp")).unwrap();
        logs.rename("..data_tmp", "..data");
    };
    version(0);
    symlink("..data/app.log", logs.file("app.log")).unwrap();
    let told = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 3600");
    let agent = told.start();
    wait_for_all(&fluentd, 10);
    for number in 1..5 {
        version(number);
        wait_for_all(&fluentd, number * 10 + 10);
        fs::remove_dir_all(logs.file(&format!("..version_{}", number - 1))).unwrap();
    }
    assert_eq!(agent.stop(), 0);
    assert_in_order(&fluentd, 50);
}

#[test]
fn a_link_and_its_target_that_both_match_are_one_file() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    symlink("app-0.log", logs.file("a-current.log")).unwrap();
    symlink("app-0.log", logs.file("z-current.log")).unwrap();
    let agent = Told::to_follow(&logs, &fluentd).input("Refresh_Interval 1").start();
    agent.wait_until_watching();
    for number in 0..4 {
        let name = format!("app-{number}.log");
        logs.append_sequence(&name, number * 20..number * 20 + 10);
        for link in ["a-current.log", "z-current.log"] {
            symlink(&name, logs.file("tmp")).unwrap();
            logs.rename("tmp", link);
        }
        logs.append_sequence(&name, number * 20 + 10..number * 20 + 20);
        wait_for_all(&fluentd, number * 20 + 20);
    }
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..80).collect::<Vec<_>>());
}

#[test]
fn a_file_nobody_lets_us_read_is_named_with_the_remedy_and_read_once_it_is_granted() {
    needs_root("the agent runs as another user");
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let set_mode = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    set_mode(logs.path(), 0o755);
    logs.append_sequence("secret.log", 0..10);
    set_mode(&logs.file("secret.log"), 0o600);
    logs.append_sequence("open.log", 10..20);
    let as_nobody = ["setpriv", "--reuid=65532", "--regid=65532", "--clear-groups"];
    let told = Told::to_follow(&logs, &fluentd)
        .input("Refresh_Interval 1")
        .environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    let agent = told.start_readable_inside(&as_nobody);
    wait_until("the other file has arrived", || arrived(&fluentd).contains(&19));
    agent.wait_for_log("no permission to read it as uid 65532: owner 0:0, mode 0600");
    set_mode(&logs.file("secret.log"), 0o644);
    wait_for_all(&fluentd, 20);
    // The same for a whole directory.
    set_mode(logs.path(), 0o311);
    agent.wait_for_log("cannot list a directory");
    logs.append_sequence("late.log", 20..30);
    set_mode(logs.path(), 0o755);
    wait_for_all(&fluentd, 30);
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..30).collect::<Vec<_>>());
}

#[test]
fn directories_that_a_star_stands_for_are_followed_as_they_come_and_go() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let path = logs.file("*/logs/*.log").display().to_string();
    let told = Told::to_follow(&logs, &fluentd).path(path).input("Refresh_Interval 3600");
    let agent = told.start();
    agent.wait_until_watching();
    for number in 0..10 {
        let directory = format!("pod-{}/logs", number % 3);
        fs::create_dir_all(logs.file(&directory)).unwrap();
        logs.append_sequence(&format!("{directory}/a.log"), number * 10..number * 10 + 10);
        wait_for_all(&fluentd, number * 10 + 10);
        if number % 2 == 0 {
            fs::remove_dir_all(logs.file(&format!("pod-{}", number % 3))).unwrap();
        }
    }
    assert_eq!(agent.stop(), 0);
    assert_eq!(sorted(&fluentd), (0..100).collect::<Vec<_>>());
}

#[test]
fn on_a_tmpfs_rotated_and_deleted_files_are_read_to_their_end() {
    needs_root("it mounts a file system");
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let mut mount = Command::new("mount");
    output_of(mount.args(["-t", "tmpfs", "-o", "size=16m", "none"]).arg(logs.path()), "mount");
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_until_watching();
    for number in 0..20 {
        logs.append_sequence("app.log", number * 10..number * 10 + 10);
        let file = logs.file("app.log");
        wait_until("it is open", || agent.open_files().contains(&file));
        if number % 2 == 0 {
            logs.remove("app.log");
        } else {
            logs.rename("app.log", "app.log.1");
        }
    }
    wait_for_all(&fluentd, 200);
    assert_eq!(agent.stop(), 0);
    output_of(Command::new("umount").arg("-l").arg(logs.path()), "umount");
    assert_in_order(&fluentd, 200);
}

/// In a user namespace of its own the limits are its own.
#[test]
fn when_the_limits_of_inotify_are_reached_files_are_looked_at_instead() {
    for (limit, said) in [
        ("max_inotify_instances", "looking at files four times a second instead"),
        ("max_inotify_watches", "no more watches"),
    ] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let script = format!("echo 0 >/proc/sys/user/{limit} && exec \"$@\"");
        let wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", &script, "sh"];
        let told =
            Told::to_follow(&logs, &fluentd).environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let agent = told.start_inside(&wrapper);
        agent.wait_for_log(said);
        let mut writer = logs.open("app.log");
        writer.write_all(sequence(0..10).as_bytes()).unwrap();
        wait_for_all(&fluentd, 10);
        logs.rename("app.log", "app.log.1");
        writer.write_all(sequence(10..20).as_bytes()).unwrap();
        logs.append_sequence("app.log", 20..30);
        wait_for_all(&fluentd, 30);
        assert_eq!(agent.stop(), 0);
        assert_eq!(sorted(&fluentd), (0..30).collect::<Vec<_>>());
    }
}

/// The limit lets it watch the root and one directory of it, each for names and for data.
#[test]
fn an_agent_that_runs_out_of_watches_while_it_is_busy_comes_to_rest_again() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    fs::create_dir(logs.file("a")).unwrap();
    let script = "echo 4 >/proc/sys/user/max_inotify_watches && exec \"$@\"";
    let wrapper = ["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"];
    let agent = Told::to_follow(&logs, &fluentd)
        .path(format!("{}/*/app.log", logs.path().display()))
        .environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .start_inside(&wrapper);
    let mut written = 0;
    let mut write = |name: &str| {
        logs.append_sequence(name, written..written + 1);
        written += 1;
        written
    };
    fluentd.wait_for_records(write("a/app.log"), SOON);
    wait_until("the second directory is too much", || {
        fs::create_dir(logs.file("b")).ok();
        write("a/app.log");
        agent.log().contains("no more watches")
    });
    let mut count = write("b/app.log");
    fluentd.wait_for_records(count, SOON);
    let (start, before) = (Instant::now(), agent.processor_time());
    while start.elapsed() < Duration::from_secs(2) {
        count = write("b/app.log");
        fluentd.wait_for_records(count, SOON);
    }
    let spent = agent.processor_time() - before;
    assert!(spent * 4 < start.elapsed(), "{spent:?} in {:?}", start.elapsed());
    assert_eq!(agent.stop(), 0);
}

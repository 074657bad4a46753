//! The agent needs no writable path: the whole file system is read-only for it, as with
//! `readOnlyRootFilesystem` and a log volume that is mounted read-only.

#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;
use std::path::Path;

use support::tools::needs_root;
use support::{FakeFluentd, LogDir, SOON, TestAgent, Told};

/// A mount namespace in which every mount is read-only but for the kernel's own. What is found to
/// be writable nevertheless is said, and the agent does not start.
const ALL_READ_ONLY: &str = r#"
    while read -r _ _ _ _ place _; do
        mount -o remount,bind,ro "$place" 2>/dev/null
    done </proc/self/mountinfo
    for place in "$LOGS" / /tmp /var/tmp /dev/shm "$HOME" .; do
        if touch "$place/written" 2>/dev/null; then
            echo "$place can be written to" >&2
            exit 99
        fi
    done
    exec "$@"
"#;

fn start_without_a_writable_path(logs: &LogDir, fluentd: &FakeFluentd) -> TestAgent {
    needs_root("it makes the file system read-only for the agent");
    let wrapper =
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", ALL_READ_ONLY, "sh"];
    Told::to_follow(logs, fluentd)
        .environment("LOGS", logs.path().to_str().unwrap())
        .environment("HOME", "/")
        .environment("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .start_inside(&wrapper)
}

#[test]
fn every_line_is_delivered_from_a_file_system_that_nobody_can_write_to() {
    let logs = LogDir::new();
    let fluentd = FakeFluentd::start();
    logs.append_sequence("app.log", 1..=100);
    let agent = start_without_a_writable_path(&logs, &fluentd);
    fluentd.wait_for_records(100, SOON);

    logs.rename("app.log", "app.1.log");
    logs.append_sequence("app.log", 101..=200);
    fluentd.wait_for_records(200, SOON);
    assert_eq!(files_open_for_writing(&agent), Vec::<String>::new());
    logs.append_sequence("app.log", 201..=201);
    assert_eq!(agent.stop(), 0);

    let numbers: Vec<_> =
        fluentd.events().iter().map(|event| event.record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (1..=201).collect::<Vec<_>>());
    let mut names: Vec<_> =
        fs::read_dir(logs.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["app.1.log", "app.log"]);
}

/// Of regular files and directories that it opened itself: its sockets, pipes and devices do not
/// count, and neither do the three streams it was started with.
fn files_open_for_writing(agent: &TestAgent) -> Vec<String> {
    let process = format!("/proc/{}", agent.pid());
    let descriptors = fs::read_dir(format!("{process}/fd")).unwrap().flatten();
    let open = descriptors.filter_map(|descriptor| {
        let target = fs::read_link(descriptor.path()).ok()?;
        let is_stored = target.starts_with("/") && !target.starts_with("/dev");
        let name = descriptor.file_name();
        let is_given = ["0", "1", "2"].iter().any(|given| name == *given);
        let info = fs::read_to_string(Path::new(&process).join("fdinfo").join(name)).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?;
        let access = u32::from_str_radix(flags.trim(), 8).unwrap() & 0o3;
        (is_stored && !is_given && access != 0).then(|| target.display().to_string())
    });
    open.collect()
}

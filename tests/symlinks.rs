//! Where symbolic links may lead, and what is never followed whatever leads there.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

mod support;

use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use support::{FakeFluentd, LogDir, SOON, TestAgent, Told};

/// A directory to follow in, and one beside it.
struct Place {
    root: LogDir,
    fluentd: FakeFluentd,
}

impl Place {
    fn new() -> Self {
        let root = LogDir::new();
        fs::create_dir(root.file("logs")).unwrap();
        fs::create_dir(root.file("outside")).unwrap();
        Self { root, fluentd: FakeFluentd::start() }
    }

    fn link(&self, target: impl AsRef<Path>, name: &str) {
        symlink(target, self.root.file(name)).unwrap();
    }

    /// As `ln -sfn`: at no time is there no link.
    fn switch(&self, target: impl AsRef<Path>, name: &str) {
        self.link(target, "next");
        self.root.rename("next", name);
    }

    /// Without notices, so that a file that arrives shows that there was a listing.
    fn told(&self) -> Told {
        let path = self.root.file("logs/*.log").display().to_string();
        Told::to_follow(&self.root, &self.fluentd).path(path).input("Inotify_Watcher off")
    }

    /// Waits until `count` records are there and two listings were made after that.
    fn wait_for_records_and_listings(&self, count: u64) -> Vec<u64> {
        self.fluentd.wait_for_records(count, SOON);
        for number in 0..2 {
            self.root.append_sequence(&format!("logs/listed-{number}.log"), [1000]);
            self.fluentd.wait_for_records(count + 1 + number, SOON);
        }
        let events = self.fluentd.events();
        let mut numbers: Vec<_> =
            events.iter().filter_map(|event| event.record["seq"].as_u64()).collect();
        numbers.retain(|number| *number != 1000);
        numbers.sort_unstable();
        numbers
    }
}

fn times(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

fn stopped(agent: TestAgent) -> String {
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    log
}

#[test]
fn links_are_followed_wherever_they_lead_as_in_fluent_bit() {
    let place = Place::new();
    place.root.append_sequence("outside/a", [1]);
    place.root.append_sequence("outside/b", [2]);
    place.link(place.root.file("outside/a"), "logs/absolute.log");
    place.link("../outside/b", "outside/chain");
    place.link("../outside/chain", "logs/relative.log");
    let agent = place.told().start();
    assert_eq!(place.wait_for_records_and_listings(2), [1, 2]);
    stopped(agent);
}

#[test]
fn links_that_leave_the_directory_are_refused_and_named_once_and_others_are_followed() {
    let place = Place::new();
    place.root.append_sequence("outside/a", [1]);
    place.root.append_sequence("outside/b", [2]);
    place.root.append_sequence("logs/target", [3]);
    place.root.append_sequence("logs/plain.log", [4]);
    place.link(place.root.file("outside/a"), "logs/absolute.log");
    place.link("../outside/a", "logs/by-dots.log");
    place.link("../outside/b", "logs/chain");
    place.link("chain", "logs/chained.log");
    place.link("target", "logs/inside.log");
    // Out of the directory and back into it.
    place.link("../logs/target", "outside/back");
    place.link("../outside/back", "logs/there-and-back.log");
    let agent = place.told().input("Follow_Symlinks Inside").start();
    assert_eq!(place.wait_for_records_and_listings(2), [3, 4]);
    let log = stopped(agent);
    for name in ["absolute.log", "by-dots.log", "chained.log"] {
        assert_eq!(
            times(&log, &format!("file={}", place.root.file("logs").join(name).display())),
            1,
            "{log}"
        );
    }
    assert_eq!(times(&log, "take `Follow_Symlinks Inside` out"), 3, "{log}");
}

#[test]
fn a_link_that_is_switched_to_the_outside_is_refused_and_back_inside_followed() {
    let place = Place::new();
    for (name, number) in [("logs/one", 1), ("outside/two", 2), ("logs/three", 3)] {
        place.root.append_sequence(name, [number]);
    }
    place.link("one", "logs/current.log");
    let agent = place.told().input("Follow_Symlinks Inside").start();
    place.fluentd.wait_for_records(1, SOON);
    place.switch("../outside/two", "logs/current.log");
    agent.wait_for_log("outside/two, out of");
    place.switch("three", "logs/current.log");
    assert_eq!(place.wait_for_records_and_listings(2), [1, 3]);
    stopped(agent);
}

#[test]
fn a_config_map_that_is_switched_stays_inside() {
    let place = Place::new();
    for (folder, number) in [("..one", 1), ("..two", 2)] {
        fs::create_dir(place.root.file(&format!("logs/{folder}"))).unwrap();
        place.root.append_sequence(&format!("logs/{folder}/app.log"), [number]);
    }
    place.link("..one", "logs/..data");
    place.link("..data/app.log", "logs/app.log");
    let agent = place.told().input("Follow_Symlinks Inside").start();
    place.fluentd.wait_for_records(1, SOON);
    place.switch("..two", "logs/..data");
    assert_eq!(place.wait_for_records_and_listings(2), [1, 2]);
    stopped(agent);
}

#[test]
fn a_directory_in_the_middle_of_the_path_that_is_a_link_counts_from_the_first_wildcard_on() {
    for (key, expected) in [("On", vec![1, 2]), ("Inside", vec![1])] {
        let place = Place::new();
        fs::create_dir(place.root.file("logs/pod")).unwrap();
        place.root.append_sequence("logs/pod/app.log", [1]);
        place.root.append_sequence("outside/app.log", [2]);
        place.link("../outside", "logs/evil");
        // The part that the operator wrote may be a link itself.
        place.link("logs", "by-name");
        let path = place.root.file("by-name/*/app.log").display().to_string();
        let listed = place.root.file("logs/listed-*.log").display().to_string();
        let told = place.told().path(format!("{path}, {listed}"));
        let agent = told.input(&format!("Follow_Symlinks {key}")).start();
        assert_eq!(place.wait_for_records_and_listings(expected.len() as u64), expected, "{key}");
        let log = stopped(agent);
        assert_eq!(times(&log, "out of") > 0, key == "Inside", "{log}");
    }
}

#[test]
fn links_in_a_circle_and_links_to_nothing_hold_nobody_up() {
    let place = Place::new();
    place.link("b.log", "logs/a.log");
    place.link("a.log", "logs/b.log");
    place.link("self.log", "logs/self.log");
    place.link("nothing", "logs/dangling.log");
    place.root.append_sequence("logs/plain.log", [1]);
    let agent = place.told().start();
    assert_eq!(place.wait_for_records_and_listings(1), [1]);
    place.root.append_sequence("logs/nothing", [2]);
    place.fluentd.wait_for_records(4, SOON);
    let log = stopped(agent);
    assert_eq!(times(&log, "its links lead in a circle"), 3, "{log}");
    assert_eq!(times(&log, "ERROR"), 0, "{log}");
}

#[test]
fn devices_fifos_and_proc_are_never_followed_also_behind_links() {
    let place = Place::new();
    let fifo = place.root.file("outside/fifo");
    let kind = rustix::fs::FileType::Fifo;
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, kind, mode, 0).unwrap();
    // A regular file, by a link of the kind that `/proc` has: any process may have that number.
    let held = place.root.open("outside/held");
    place.root.append_sequence("outside/held", [1]);
    let by_number = format!("/proc/{}/fd/{}", std::process::id(), held.as_raw_fd());
    place.link(&fifo, "logs/fifo.log");
    place.link("/dev/zero", "logs/device.log");
    place.link("/proc/version", "logs/proc.log");
    place.link("/proc/self/status", "outside/status");
    place.link("../outside/status", "logs/chain.log");
    place.link(by_number, "logs/by-number.log");
    place.root.append_sequence("logs/plain.log", [2]);
    let agent = place.told().start();
    assert_eq!(place.wait_for_records_and_listings(1), [2]);
    let log = stopped(agent);
    assert_eq!(times(&log, "it is no regular file"), 2, "{log}");
    assert_eq!(times(&log, "it lies in /proc"), 2, "{log}");
    assert_eq!(times(&log, "or through /proc"), 1, "{log}");
}

//! A stop loses nothing that was written, ends in time, and says what is left.

mod support;

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{FakeFluentd, LogDir, SOON, Told, sequence};

#[test]
fn lines_written_just_before_a_sigterm_arrive_although_flush_is_long() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).service("Flush 3600").start();
    agent.wait_for_log("connected");
    logs.append_sequence("app.log", 0..20_000);
    assert_eq!(agent.stop(), 0);
    assert_eq!(fluentd.record_count(), 20_000);
}

#[test]
fn an_unterminated_last_line_arrives_at_a_stop() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    logs.append("app.log", "{\"seq\":1}\n{\"seq\":2}");
    fluentd.wait_for_records(1, SOON);
    assert_eq!(agent.stop(), 0);
    assert_eq!(fluentd.events()[1].record["seq"], 2);
}

#[test]
fn what_the_application_writes_after_sigterm_arrives() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).service("Drain_Quiet 2").start();
    agent.wait_for_log("connected");
    agent.signal(Signal::TERM);
    let start = Instant::now();
    let mut written = 0;
    // Kept open, as an application keeps it: a file that is closed is done sooner.
    let mut writer = logs.open("app.log");
    while start.elapsed() < Duration::from_secs(4) {
        writer.write_all(sequence(written..written + 1).as_bytes()).unwrap();
        written += 1;
        thread::park_timeout(Duration::from_millis(50));
    }
    assert_eq!(agent.status(SOON), 0);
    assert_eq!(fluentd.record_count(), written);
}

#[test]
fn with_a_receiver_that_never_acknowledges_a_stop_ends_at_grace_and_says_what_is_left() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().never_acknowledges());
    logs.append_sequence("app.log", 0..100);
    let agent = Told::to_follow(&logs, &fluentd).service("Grace 3").start();
    fluentd.wait_for_records(100, SOON);
    let start = Instant::now();
    agent.signal(Signal::TERM);
    // preStop and kubelet both send one.
    agent.signal(Signal::TERM);
    agent.wait_for_log("bytes are not acknowledged: ");
    let log = agent.log();
    assert_eq!(agent.status(SOON), 9);
    let took = start.elapsed();
    assert!((2.5..5.0).contains(&took.as_secs_f64()), "{took:?}");
    let left = sequence(0..100).len();
    let last = log.lines().last().unwrap();
    assert!(last.contains(&format!("{left} of {}", logs.file("app.log").display())), "{last}");
}

#[test]
fn a_second_sigint_ends_at_once() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start().never_acknowledges());
    logs.append_sequence("app.log", 0..100);
    let agent = Told::to_follow(&logs, &fluentd).start();
    fluentd.wait_for_records(100, SOON);
    agent.signal(Signal::INT);
    agent.wait_for_log("service will shutdown in max 25 seconds");
    let start = Instant::now();
    agent.signal(Signal::INT);
    assert_eq!(agent.status(SOON), 9);
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_marker_file_asks_for_a_stop() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let marker = format!("Exit_When {}", logs.file("done").display());
    let agent = Told::to_follow(&logs, &fluentd).service(&marker).service("Flush 3600").start();
    agent.wait_for_log("connected");
    logs.append_sequence("app.log", 0..10);
    logs.append("done", "");
    assert_eq!(agent.status(SOON), 0);
    assert_eq!(fluentd.record_count(), 10);
}

#[test]
fn with_exit_on_eof_everything_there_is_delivered_and_the_agent_ends() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", sequence(0..10) + "{\"seq\":10}");
    let told = Told::to_follow(&logs, &fluentd).service("Flush 3600").input("Exit_On_Eof On");
    assert_eq!(told.start().status(SOON), 0);
    assert_eq!(fluentd.record_count(), 11);
}

#[test]
fn sighup_and_sigcont_change_nothing() {
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    let agent = Told::to_follow(&logs, &fluentd).start();
    agent.wait_for_log("connected");
    agent.signal(Signal::HUP);
    agent.signal(Signal::CONT);
    agent.wait_for_log("caught signal (SIGHUP)");
    logs.append_sequence("app.log", 0..3);
    fluentd.wait_for_records(3, SOON);
    assert_eq!(agent.stop(), 0);
}

#[test]
fn sigint_and_sigquit_drain_like_sigterm() {
    for signal in [Signal::INT, Signal::QUIT] {
        let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
        let agent = Told::to_follow(&logs, &fluentd).service("Flush 3600").start();
        agent.wait_for_log("connected");
        logs.append_sequence("app.log", 0..10);
        agent.signal(signal);
        assert_eq!(agent.status(SOON), 0);
        assert_eq!(fluentd.record_count(), 10);
    }
}

//! Killed again and again under load, with a rotation every tenth of a second: nothing is lost, and
//! what comes twice is bounded.
//!
//! `KILLS` says how often; 500 of them take about three minutes.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::{FakeFluentd, LogDir, Told, wait_until};

/// What chunks may hold until they are acknowledged.
const LIMIT: u64 = 512_000;
/// What an event takes of it at least: the line, its tags and what the filter adds.
const EVENT: u64 = 150;
/// Written every [`PAUSE`].
const BURST: u64 = 50;
const PAUSE: Duration = Duration::from_millis(5);
/// Bursts between two rotations.
const BURSTS_A_FILE: u64 = 20;
/// Positions are saved four times a second; the rest is for the disk.
const UNSAVED: Duration = Duration::from_millis(500);

#[test]
#[allow(clippy::disallowed_methods, reason = "a number for whoever runs it by hand")]
fn kills_under_load_with_rotations_lose_nothing_and_repeat_no_more_than_what_was_on_its_way() {
    let kills: u32 = env::var("KILLS").map_or(12, |text| text.parse().expect("a number"));
    let (logs, state) = (LogDir::new(), LogDir::new());
    let fluentd = FakeFluentd::start().keeps_only_sequence("seq");
    let told = Told::to_follow(&logs, &fluentd)
        .input(&format!("DB {}", state.file("positions").display()))
        .input(&format!("Mem_Buf_Limit {LIMIT}"));
    let (written, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut may_repeat = 0;
    thread::scope(|scope| {
        scope.spawn(|| write_and_rotate(&logs, &written, &stop));
        let mut history = History::default();
        for kill in 0..kills {
            let agent = told.start();
            let life = Duration::from_millis(u64::from(kill) * 83 % 400);
            let end = Instant::now() + life;
            // At least one chunk more, or it would be killed before it did anything.
            let before = fluentd.record_count();
            while Instant::now() < end || fluentd.record_count() == before {
                history.note(fluentd.record_count());
                thread::park_timeout(PAUSE);
            }
            agent.kill();
            may_repeat += LIMIT / EVENT + history.since(Instant::now() - UNSAVED);
        }
        stop.store(true, Ordering::Relaxed);
    });
    let agent = told.start();
    let written = written.load(Ordering::Relaxed);
    wait_until("every line has arrived", || {
        fluentd.record_count() >= written && missing(&fluentd, written).is_empty()
    });
    assert_eq!(agent.stop(), 0);
    assert_eq!(missing(&fluentd, written), Vec::<u64>::new(), "of {written} lines");
    let repeated = fluentd.record_count() - written;
    println!("{kills} kills, {written} lines, {repeated} twice, of at most {may_repeat}");
    assert!(repeated <= may_repeat, "{repeated} twice, of at most {may_repeat}");
}

/// How many records had arrived, and when.
#[derive(Default)]
struct History(Vec<(Instant, u64)>);

impl History {
    fn note(&mut self, count: u64) {
        self.0.push((Instant::now(), count));
    }

    fn since(&self, when: Instant) -> u64 {
        let now = self.0.last().map_or(0, |(_, count)| *count);
        let then = self.0.iter().rev().find(|(at, _)| *at <= when).map_or(0, |(_, count)| *count);
        now - then
    }
}

fn write_and_rotate(logs: &LogDir, written: &AtomicU64, stop: &AtomicBool) {
    let mut file: Option<File> = None;
    for burst in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if burst % BURSTS_A_FILE == 0 && file.take().is_some() {
            logs.rename("app.log", &format!("app.log.{burst}"));
        }
        let numbers = burst * BURST..(burst + 1) * BURST;
        let lines: String = numbers
            .map(|seq| format!("{{\"seq\":{seq},\"filler\":\"{}\"}}\n", "x".repeat(80)))
            .collect();
        file.get_or_insert_with(|| logs.open("app.log")).write_all(lines.as_bytes()).unwrap();
        written.fetch_add(BURST, Ordering::Relaxed);
        thread::park_timeout(PAUSE);
    }
}

/// The numbers below `written` that have not arrived, up to ten of them.
fn missing(fluentd: &FakeFluentd, written: u64) -> Vec<u64> {
    let mut arrived = vec![false; usize::try_from(written).unwrap()];
    for number in fluentd.sequences().into_values().flatten() {
        arrived[usize::try_from(number).unwrap()] = true;
    }
    let missing = (0..).zip(&arrived).filter(|(_, arrived)| !**arrived);
    missing.map(|(number, _)| number).take(10).collect()
}

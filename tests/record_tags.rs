//! `Tag` of an output that asks for something of each record.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod support;

use std::collections::HashSet;

use serde_json::Value as Json;
use support::{FakeFluentd, LogDir, SOON, Told, wait_for_all};

const LEVELS: [&str; 4] = ["info", "info", "warn", "error"];

/// Lines of several levels, one of them twice in a row.
fn lines(numbers: std::ops::Range<u64>) -> String {
    let line = |n: u64| {
        let level = LEVELS[usize::try_from(n).unwrap() % LEVELS.len()];
        format!("{{\"seq\":{n},\"meta\":{{\"level\":\"{level}\"}}}}\n")
    };
    numbers.map(line).collect()
}

#[test]
fn each_event_goes_under_its_own_tag_in_order_and_nothing_is_lost_when_the_receiver_is_killed() {
    const COUNT: u64 = 8000;
    let (logs, fluentd) = (LogDir::new(), FakeFluentd::start());
    logs.append("app.log", lines(0..COUNT / 2));
    let told = Told::to_follow(&logs, &fluentd).output("Tag $TAG[0].$meta['level']");
    let agent = told.start();
    fluentd.wait_for_records(100, SOON);
    fluentd.stop();
    logs.append("app.log", lines(COUNT / 2..COUNT));
    fluentd.restart();
    wait_for_all(&fluentd, COUNT);
    assert_eq!(agent.stop(), 0);
    let mut seen = HashSet::new();
    let mut first_times = Vec::new();
    for event in fluentd.events() {
        let number = event.record["seq"].as_u64().unwrap();
        let level = event.record["meta"]["level"].as_str().unwrap();
        assert_eq!(event.tag, format!("app.{level}"), "{number}");
        if seen.insert(number) {
            first_times.push(number);
        }
    }
    assert!(first_times.into_iter().eq(0..COUNT), "in the order of the file");
    // Two of four neighbours share a tag: no more frames than there are changes, and what came twice.
    assert!(fluentd.chunk_ids().len() as u64 >= COUNT * 3 / 4);
}

#[test]
fn outputs_share_a_chunk_although_one_makes_tags_of_records_and_another_compresses() {
    let (logs, fluentd, gzip) = (LogDir::new(), FakeFluentd::start(), FakeFluentd::start());
    logs.append("app.log", lines(0..200));
    logs.append("app.log", "{\"seq\":200}\n");
    let agent = Told::to_follow(&logs, &fluentd)
        .output("Tag $meta['level']")
        .output("Time_as_Integer on")
        .more(&format!(
            "[OUTPUT]\n    Name forward\n    Match *\n    Port {}\n    Compress gzip\n",
            gzip.port()
        ))
        .start();
    let events = fluentd.wait_for_records(201, SOON);
    let whole = gzip.wait_for_records(201, SOON);
    for (event, plain) in events.iter().zip(&whole) {
        assert_eq!(event.record, plain.record);
        assert_eq!((event.nanos, &*plain.tag), (0, "app.logs"));
        let level = event.record.pointer("/meta/level").and_then(Json::as_str);
        assert_eq!(event.tag, level.unwrap_or_default());
    }
    let (status, log) = agent.stop_and_log();
    assert_eq!(status, 0);
    assert_eq!(log.matches("under an empty tag").count(), 1, "{log}");
}

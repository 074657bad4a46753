//! What whole-agent tests stand on.
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "each test binary uses its own part of this"
)]
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

pub mod agent;
pub mod certificates;
pub mod client;
pub mod expected;
pub mod fake_fluentd;
pub mod logs;
pub mod network;
pub mod peers;
pub mod podman;
pub mod ports;
pub mod receiver;
pub mod tools;
pub mod vectors;
pub mod yaml;

pub use agent::{SOON, TestAgent, Told, wait_until};
pub use certificates::TestCa;
pub use client::Client;
pub use fake_fluentd::{Arrival, Event, FakeFluentd};
pub use logs::{LogDir, sequence};
pub use network::Network;
pub use peers::npm_fluent_server;
pub use ports::ReservedPort;
pub use receiver::Receiver;

use std::collections::BTreeSet;
use std::time::Duration;

/// The numbers of [`sequence`] that arrived, in order of arrival.
pub fn arrived(fluentd: &FakeFluentd) -> Vec<u64> {
    let events = fluentd.events();
    events.iter().filter_map(|event| event.record["seq"].as_u64()).collect()
}

/// The same, sorted.
pub fn sorted(fluentd: &FakeFluentd) -> Vec<u64> {
    let mut numbers = arrived(fluentd);
    numbers.sort_unstable();
    numbers
}

/// The same, each once.
pub fn distinct(fluentd: &FakeFluentd) -> BTreeSet<u64> {
    arrived(fluentd).into_iter().collect()
}

/// Waits until every number below `count` has arrived, and says which have not.
pub fn wait_for_all(fluentd: &FakeFluentd, count: u64) {
    let deadline = std::time::Instant::now() + SOON;
    loop {
        let seen = fluentd.record_count();
        let numbers = distinct(fluentd);
        let missing: Vec<u64> = (0..count).filter(|number| !numbers.contains(number)).collect();
        if missing.is_empty() {
            return;
        }
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        assert!(
            !left.is_zero(),
            "{} of {count} are missing: {:?}",
            missing.len(),
            ranges(&missing)
        );
        wait_a_little(|| fluentd.record_count() > seen, left);
    }
}

/// Numbers as ranges, for messages.
pub fn ranges(numbers: &[u64]) -> Vec<std::ops::RangeInclusive<u64>> {
    let mut ranges: Vec<std::ops::RangeInclusive<u64>> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some(last) if *last.end() + 1 == number => *last = *last.start()..=number,
            _ => ranges.push(number..=number),
        }
    }
    ranges
}

fn wait_a_little(holds: impl Fn() -> bool, within: Duration) {
    let deadline = std::time::Instant::now() + within;
    while !holds() && std::time::Instant::now() < deadline {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// That the numbers arrived in this order, each once; the message says where they do not.
#[track_caller]
pub fn assert_in_order(fluentd: &FakeFluentd, count: u64) {
    let numbers = arrived(fluentd);
    assert!(numbers.iter().copied().eq(0..count), "arrived {:?} of {count}", ranges(&numbers));
}

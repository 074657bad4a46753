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
pub use fake_fluentd::{Event, FakeFluentd};
pub use logs::{LogDir, sequence};
pub use peers::npm_fluent_server;
pub use ports::ReservedPort;
pub use receiver::Receiver;

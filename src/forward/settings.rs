//! What the `forward` output can be told. `config` fills it; the keys are Fluent Bit's.

use std::net::IpAddr;
use std::time::Duration;

use crate::model::Pattern;

/// One `[OUTPUT]` section with `Name forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `Alias`, or `forward.<n>`: what logs and metrics call this output.
    pub name: String,
    /// `Match`: which tags it takes. `None`: none (said at the start).
    pub pattern: Option<Pattern>,
    /// `Match_Regex`: tags that begin with a match are taken as well.
    pub pattern_regex: Option<String>,
    /// `Host`: a name or an address. All addresses of a name are tried.
    pub host: String,
    /// `Port`.
    pub port: u16,
    /// `Require_ack_response`: off means a chunk is done once the kernel has its bytes.
    pub require_ack: bool,
    /// `Retry_Limit`.
    pub retry_limit: RetryLimit,
    /// `scheduler.base` and `scheduler.cap` of `[SERVICE]`, when written there.
    pub backoff: Backoff,
    /// `scheduler.base`, for the shortest time in which Fluent Bit gives a chunk up.
    pub scheduler_base: Duration,
    /// `net.connect_timeout`: name look-up excluded.
    pub connect_timeout: Duration,
    /// `net.io_timeout`: how long not one byte of a write may be accepted.
    pub io_timeout: Duration,
    /// How long an acknowledgement may take after the frame was written (`net.io_timeout` sets
    /// this too, as it is Fluent Bit's only limit on it).
    pub ack_timeout: Duration,
    /// `net.source_address`: the local address to connect from.
    pub source_address: Option<IpAddr>,
}

/// How often a chunk that failed is sent again before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryLimit {
    /// `no_limits`, and ours when nothing is written.
    NoLimits,
    /// `N`: N times after the first try. `no_retries` is 0.
    Times(u32),
}

/// The waits between tries: doubling from `first` to `longest`, full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest the first wait can be.
    pub first: Duration,
    /// The longest any wait can be.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(5) }
    }
}

impl Settings {
    /// An output to `host:port` that takes every tag, with every other key unwritten.
    pub fn new(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            pattern: Some(Pattern::new("*")),
            pattern_regex: None,
            host: host.to_owned(),
            port,
            require_ack: true,
            retry_limit: RetryLimit::NoLimits,
            backoff: Backoff::default(),
            scheduler_base: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            io_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(60),
            source_address: None,
        }
    }
}

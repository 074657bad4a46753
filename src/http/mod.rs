//! Answers probes and scrapes over HTTP, under Fluent Bit's paths.
//!
//! In:  GET requests
//! Out: health, metrics, uptime. Whatever else is asked for is not there
//!
//! Counters are read where they are. What only ingest knows (files, what is held) is asked of it,
//! and it answers at the end of its round: all figures are of one moment, a hung ingest is
//! unhealthy, and nothing is done while nobody asks.

mod health;
mod prometheus;
pub mod server;
pub mod site;

use std::time::Duration;

pub use server::Server;
pub use site::{Output, Site};

/// The HTTP keys of `[SERVICE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `HTTP_Server`.
    pub is_on: bool,
    /// `HTTP_Listen`: an address or a name.
    pub listen: String,
    /// `HTTP_Port`.
    pub port: u16,
    /// `Health_Check`: whether `/api/v1/health` is served.
    pub health_check: bool,
    /// `HC_Errors_Count`: told to whoever asks. The outputs there are have no such errors.
    pub errors_limit: u64,
    /// `HC_Retry_Failure_Count`: more given-up chunks than this within the period are unhealthy.
    pub retry_failures_limit: u64,
    /// `HC_Period`.
    pub period: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            is_on: false,
            listen: "0.0.0.0".to_owned(),
            port: 2020,
            health_check: false,
            errors_limit: 5,
            retry_failures_limit: 5,
            period: Duration::from_secs(60),
        }
    }
}

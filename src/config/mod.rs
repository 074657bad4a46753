//! Reads Fluent Bit's configuration.

use std::path::PathBuf;
use std::time::Duration;

use crate::{filter, forward, parse, tail};

/// Everything the agent can be told: what each stage is set to, in the order the data meets them.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[SERVICE]`.
    pub service: Service,
    /// Every parser of every `Parsers_File`, by name.
    pub parsers: Vec<parse::Definition>,
    /// `[INPUT]` sections with `Name tail`, in file order.
    pub inputs: Vec<tail::Settings>,
    /// `[FILTER]` sections, in file order: the order in which they run.
    pub filters: Vec<filter::Settings>,
    /// `[OUTPUT]` sections, in file order.
    pub outputs: Vec<forward::Settings>,
}

/// `[SERVICE]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// `Flush`: how old the oldest event of an open chunk may become.
    pub flush: Duration,
    /// `Grace`: how long a stop may take. `None` is `-1`: as long as it needs.
    pub grace: Option<Duration>,
    /// `Drain_Quiet` (ours): how long files must have been quiet before a stop ends the reading.
    pub drain_quiet: Duration,
    /// `Log_Level`.
    pub log_level: LogLevel,
    /// `Log_File`: where our own log goes instead of stderr.
    pub log_file: Option<PathBuf>,
}

/// `Log_Level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing at all.
    Off,
    /// Lines are lost or somebody must act.
    Error,
    /// Something is off and we recover.
    Warn,
    /// What an operator did has worked.
    Info,
    /// For those who look for a fault.
    Debug,
    /// Everything.
    Trace,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            flush: Duration::from_secs(1),
            grace: Some(Duration::from_secs(25)),
            drain_quiet: Duration::from_secs(2),
            log_level: LogLevel::Info,
            log_file: None,
        }
    }
}

//! `log-ambassador check --connect`: whether every node of every output takes what we send.
//!
//! In:  a configuration
//! Out: a line for each address on stdout

use std::io::{self, Write};

use crate::config::Config;
use crate::forward;

/// Sends one event to each address, and tells of each. False: one of them did not take it.
pub async fn connect(config: &Config) -> bool {
    let mut all_work = true;
    for output in &config.outputs {
        for finding in forward::probe(output).await {
            all_work &= finding.works();
            // A closed stdout is nobody's loss: the exit status says it too.
            writeln!(io::stdout(), "{finding}").ok();
        }
    }
    all_work
}

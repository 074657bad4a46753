//! `log-ambassador -c FILE`: the agent itself.
//!
//! In:  a configuration file, signals
//! Out: an exit status

use std::process;

use tracing::{error, info, warn};

use super::exit::Exit;
use super::signals::Signals;
use crate::agent::{self, AgentError, Options, Outcome};
use crate::config::Config;
use crate::{forward, listen};

/// Runs until a stop, and says how it ended.
pub async fn run(config: Config) -> Result<Exit, AgentError> {
    let signals = Signals::listen()?;
    match agent::run(config, Options::default(), stop_by(signals)).await {
        Ok(outcome) => Ok(report(&outcome)),
        // Not ours to mend: the configuration asks for what this machine does not have.
        Err(AgentError::Listen(refused)) => {
            error!("{refused}");
            Ok(Exit::Refused)
        }
        // Found late, because files had to be read or patterns compiled, it is still a
        // configuration that cannot be used.
        Err(refused @ (AgentError::Setting { .. } | AgentError::Output { .. })) => {
            error!("[config] {refused}");
            Ok(Exit::Refused)
        }
        Err(error) => Err(error),
    }
}

/// Reads the files that inputs and outputs name, as a start would. The error says which is of no use.
pub fn open_files(config: &Config) -> Result<(), String> {
    for listener in &config.listeners {
        listen::open_files(listener).map_err(|error| format!("{}: {error}", listener.name))?;
    }
    for output in &config.outputs {
        forward::try_files(output).map_err(|error| format!("{}: {error}", output.name))?;
    }
    Ok(())
}

/// Resolves at the first signal that asks for a stop. From then on a second SIGINT ends the
/// process at once.
async fn stop_by(mut signals: Signals) {
    signals.stop().await;
    tokio::spawn(async move {
        signals.second_interrupt().await;
        error!("[engine] caught a second signal (SIGINT): ending at once");
        process::exit(i32::from(Exit::BytesLeft.status()));
    });
}

fn report(outcome: &Outcome) -> Exit {
    if outcome.left.is_empty() {
        info!("service has stopped: everything that was read is acknowledged");
        return Exit::Clean;
    }
    let total: u64 = outcome.left.iter().map(|(_, bytes)| bytes).sum();
    let files = outcome.left.iter().map(|(path, bytes)| format!("{bytes} of {}", path.display()));
    let files = files.collect::<Vec<_>>().join(", ");
    warn!("service has stopped: {total} bytes are not acknowledged: {files}");
    Exit::BytesLeft
}

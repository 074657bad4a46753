//! What the process is told from outside.
//!
//! SIGTERM, SIGINT and SIGQUIT ask for a stop. A further SIGTERM changes nothing: the `preStop`
//! hook that people use signals the process, and kubelet signals it again. A second SIGINT is a
//! person at a terminal who does not want to wait. SIGHUP never kills.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

/// The signals a process listens to.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
    hang_up: Signal,
}

impl Signals {
    /// Begins to listen. Wants a tokio runtime with I/O.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Waits until a stop is asked for.
    pub async fn stop(&mut self) {
        let name = loop {
            tokio::select! {
                // Losing is harmless in every arm: a signal is remembered until it is taken.
                _ = self.terminate.recv() => break "SIGTERM",
                _ = self.interrupt.recv() => break "SIGINT",
                _ = self.quit.recv() => break "SIGQUIT",
                _ = self.hang_up.recv() => warn!("caught signal (SIGHUP): there is no reload; a restart loses nothing"),
            }
        };
        info!("[engine] caught signal ({name})");
    }

    /// Waits until a second SIGINT comes. Everything else changes nothing.
    pub async fn second_interrupt(&mut self) {
        loop {
            tokio::select! {
                // Losing is harmless in every arm: a signal is remembered until it is taken.
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => {}
                _ = self.quit.recv() => {}
                _ = self.hang_up.recv() => {}
            }
        }
    }
}

//! Sends chunks to Fluentd and gives back what was acknowledged.
//!
//! In:  deliveries, through the [`Inlet`]
//! Out: frames to one upstream; each delivery ends acknowledged, or lost by `Retry_Limit`
//!
//! No state is without a deadline. Any error destroys the connection; what was on it goes again,
//! the same bytes under the same chunk id in the same order.

mod backoff;
mod connect;
mod connection;
mod inlet;
mod pending;
pub mod settings;
mod upstream;

use std::io;
use std::time::Duration;

pub use self::inlet::Inlet;
pub use self::settings::{Backoff, RetryLimit, Settings};
pub use self::upstream::Upstream;
use crate::protocol::ack::AckError;

/// Why a connection ended, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The name has no address we can learn.
    #[error("cannot resolve '{host}': {reason}; check `Host` and the Pod's DNS")]
    Resolve {
        /// `Host`.
        host: String,
        /// What the resolver said.
        reason: String,
    },
    /// No address took the connection.
    #[error("cannot connect: {answers}")]
    Connect {
        /// Each address with its answer.
        answers: String,
    },
    /// The receiver closed the connection.
    #[error("the receiver closed the connection")]
    Closed,
    /// The system said so.
    #[error("the connection broke: {0}")]
    Broken(#[from] io::Error),
    /// Not one byte was taken for so long.
    #[error("the receiver took no byte for {limit:?}")]
    Stalled {
        /// `net.io_timeout`, or 10 s.
        limit: Duration,
    },
    /// It reads, and confirms nothing.
    #[error(
        "no acknowledgement within {limit:?}; if the receiver never acknowledges, write `Require_ack_response Off`"
    )]
    NoAck {
        /// `net.io_timeout`, or 60 s.
        limit: Duration,
    },
    /// It confirmed something we did not send, or no longer wait for.
    #[error("an acknowledgement came for chunk '{id}', which is not on its way")]
    ForeignAck {
        /// What it confirmed.
        id: String,
    },
    /// What came back was no acknowledgement.
    #[error(transparent)]
    BadAck(#[from] AckError),
    /// Nothing happened for an hour.
    #[error("nothing was sent for an hour")]
    Idle,
}

//! Sends chunks to Fluentd and gives back what was acknowledged.
//!
//! In:  deliveries, through the [`Inlet`]
//! Out: frames to one upstream; each delivery ends acknowledged, or lost for a named reason
//!
//! ```text
//!             ┌─ dispatch (which chunk on which lane: balance, breaker, pending) ─┐
//!  inlet ─▶ upstream ─▶ lane ─▶ connect, connection ─▶ one address                │
//!                    └▶ lane ─▶ connect, connection ─▶ another    ◀───────────────┘
//! ```
//!
//! No state is without a deadline. Any error destroys the connection; what was on it goes again,
//! the same bytes under the same chunk id in the same order.

mod backoff;
mod balance;
mod breaker;
mod connect;
mod connection;
mod dispatch;
mod inlet;
mod lane;
mod node;
mod pending;
pub mod settings;
mod upstream;

use std::io;
use std::time::Duration;

pub use self::inlet::Inlet;
pub use self::settings::{Backoff, IpVersion, Node, RetryLimit, Settings};
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
    /// The address did not take the connection.
    #[error("cannot connect: {answer}")]
    Connect {
        /// The address with its answer.
        answer: String,
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
    #[error("no acknowledgement within {limit:?}")]
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
    /// We closed it: it was drained, or idle for an hour. Nothing is wrong.
    #[error("it has served its time")]
    Served,
}

impl Failure {
    /// Whether the first chunk that was on the way may be the reason: the receiver was there, and
    /// ended the connection or never answered. (Fluentd drops what is above `chunk_size_limit` and
    /// stays open.)
    fn is_refusal(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
        match self {
            Self::Closed | Self::NoAck { .. } | Self::BadAck(AckError::WithoutAck) => true,
            Self::Broken(error) => {
                matches!(error.kind(), ConnectionReset | ConnectionAborted | BrokenPipe)
            }
            _ => false,
        }
    }
}

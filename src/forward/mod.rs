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
mod greet;
mod inlet;
mod lane;
mod node;
mod pending;
mod probe;
mod retag;
pub mod settings;
mod upstream;
mod vitals;
mod wire;

use std::io;
use std::time::Duration;

pub use self::connect::StartError;
pub use self::inlet::Inlet;
pub use self::probe::{Finding, probe};
pub use self::retag::{BadAccessor, TagTemplate};
pub use self::settings::{Backoff, IpVersion, Node, RetryLimit, Settings};
pub use self::upstream::{Upstream, try_files};
use crate::model::Counters;
use crate::protocol::ack::AckError;
use crate::protocol::handshake::HandshakeError;
use crate::secrets::SecretError;
use crate::tls;

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
    /// A secret cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// TLS failed, at its handshake or later.
    #[error("TLS: {reason}")]
    Tls {
        /// Why, and what to do about it.
        reason: String,
    },
    /// Where HELO is due, nothing came.
    #[error(
        "the server said nothing within {limit:?}, where HELO is due: it wants no shared key. \
         Take Shared_Key out, or give it a <security> section"
    )]
    NoHelo {
        /// How long it was waited for.
        limit: Duration,
    },
    /// The answer to our PING did not come.
    #[error("the server did not answer our PING within {limit:?}")]
    NoPong {
        /// How long it was waited for.
        limit: Duration,
    },
    /// How Fluent Bit refuses.
    #[error(
        "the server closed the connection instead of answering our PING: its shared key is most \
         likely another than our Shared_Key"
    )]
    ClosedInsteadOfPong,
    /// The handshake failed.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
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
    /// We closed it: it was drained or idle, or `net.keepalive*` or the server want it so. Nothing
    /// is wrong.
    #[error("it has served its time")]
    Served,
}

impl Failure {
    /// Counts it by its reason.
    fn count(&self, counters: &Counters) {
        let counter = match self {
            Self::Resolve { .. } => &counters.failed_resolve,
            Self::Connect { .. } => &counters.failed_connect,
            Self::Secret(_)
            | Self::NoHelo { .. }
            | Self::NoPong { .. }
            | Self::ClosedInsteadOfPong
            | Self::Handshake(_) => &counters.failed_handshake,
            Self::Tls { .. } => &counters.failed_tls,
            Self::Stalled { .. } => &counters.failed_write,
            Self::NoAck { .. } => &counters.failed_ack,
            Self::ForeignAck { .. } | Self::BadAck(_) => &counters.failed_answer,
            Self::Closed => &counters.failed_closed,
            Self::Broken(_) => &counters.failed_broken,
            Self::Served => return,
        };
        counter.add(1);
    }

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

/// What an error of a connection means.
fn broken(error: io::Error) -> Failure {
    match tls::explain(&error) {
        Some(reason) => Failure::Tls { reason },
        // TLS that ends without its last word: the receiver closed the connection. No ack can be
        // cut off by that, because each is a whole value.
        None if error.kind() == io::ErrorKind::UnexpectedEof => Failure::Closed,
        None => Failure::Broken(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_counted_under_its_reason_and_a_good_end_under_none() {
        let counters = Counters::default();
        let limit = Duration::from_secs(1);
        for (failure, counted) in [
            (Failure::Stalled { limit }, "failed_write"),
            (Failure::NoAck { limit }, "failed_ack"),
            (Failure::NoHelo { limit }, "failed_handshake"),
            (Failure::NoPong { limit }, "failed_handshake"),
            (Failure::Tls { reason: String::new() }, "failed_tls"),
            (Failure::Served, ""),
        ] {
            let before: Vec<_> = counters.each().collect();
            failure.count(&counters);
            let grown = counters.each().zip(before).filter(|(now, before)| now != before);
            let names: Vec<&str> = grown.map(|(now, _)| now.name).collect();
            assert_eq!(names.concat(), counted, "{failure}");
        }
    }
}

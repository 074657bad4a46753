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
mod greet;
mod inlet;
mod pending;
mod retag;
pub mod settings;
mod upstream;
mod wire;

use std::io;
use std::time::Duration;

pub use self::connect::{Connector, StartError};
pub use self::inlet::Inlet;
pub use self::retag::{AsksForRecord, TagTemplate};
pub use self::settings::{Backoff, RetryLimit, Settings};
pub use self::upstream::Upstream;
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
    /// No address took the connection.
    #[error("cannot connect: {answers}")]
    Connect {
        /// Each address with its answer.
        answers: String,
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
    /// We closed it, as `net.keepalive*` or the server wants it. Nothing is wrong.
    #[error("it has served its time")]
    Served,
}

impl Failure {
    /// Whether nothing is wrong: another connection may be made at once.
    fn is_none(&self) -> bool {
        matches!(self, Self::Served)
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

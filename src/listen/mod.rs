//! The receiving end of the forward protocol.
//!
//! In:  connections of senders
//! Out: frames, handed to a sink; an ack for each that the sink took
//!
//! ```text
//! accept ─▶ connection: read ─▶ scan ─▶ decode ─▶ sink ─▶ ack ─▶ read …
//! ```
//!
//! One task a connection, and a connection does one thing at a time: while the sink has not
//! taken a frame, nothing more is read from its sender, and TCP makes it wait.

mod connection;
mod server;

pub use server::{Server, SinkClosed};

pub use crate::protocol::frame::{Event, Frame, Limits, Mode};

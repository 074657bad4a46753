//! The receiving end of the forward protocol: the `forward` input, and the `receive` command.
//!
//! In:  connections of clients
//! Out: frames: for ingest through the [`Handover`], or for the sink of a [`Server`]; an
//!      acknowledgement for each that was delivered
//!
//! ```text
//!                                            ┌─ client ─▶ handover ─▶ ingest … ─▶ outbox ─▶ ack   (the input)
//! socket ─▶ door ─▶ incoming ─▶ whole value ─┤
//!          TLS, key    ▲                     └─ connection ─▶ sink ─▶ ack                      (`receive`)
//!                   intake: room before it is read
//! ```
//!
//! One task a connection. A client of the input may send on while it waits for acknowledgements; a
//! sender to `receive` is read no further until the sink has taken its frame.

mod client;
mod connection;
mod deliveries;
mod door;
mod end;
mod fault;
mod handover;
mod incoming;
mod intake;
mod listener;
mod outbox;
#[cfg(test)]
mod recorder;
mod server;
pub mod settings;
mod socket;

pub use door::DoorError;
pub use fault::Fault;
pub use handover::{Answer, Handover, Outcome, Received};
pub use intake::{Admitted, Portions};
pub use listener::{Listener, open_files};
pub use server::{Server, SinkClosed};
pub use settings::Settings;
pub use socket::ListenError;

pub use crate::protocol::frame::{Event, Frame, Limits, Mode};

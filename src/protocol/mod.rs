//! The forward protocol, version 1.5: bytes in, bytes out.
//!
//! ```text
//! sender:    chunk ── frame::head, frame::Tail ──▶ bytes …   bytes ── ack::AckDecoder ──▶ chunk ids
//!            bytes ── handshake::MessageReader ──▶ Helo ──▶ PING, AwaitingPong ──▶ Session
//! receiver:  bytes ── model::cursor::Scanner ──▶ whole frames ── frame::Frame ──▶ events, ack::encode ──▶ bytes
//! ```
//!
//! No socket, no clock, no dice: whoever waits (`forward`, `listen`) calls what is here.
//! Every decoder takes any bytes at all, answers with a value or an error, and holds no more
//! memory than its limits and the bytes it was given.

pub mod ack;
pub mod entries;
pub mod frame;
pub mod handshake;
pub mod inflate;
pub mod json;
pub mod seconds;

pub use ack::{AckDecoder, AckError};
pub use entries::{Entries, EventReader, OnBadEntry};
pub use frame::{ChunkId, Event, Frame, FrameError, Limits};

//! What holds for every decoder of the forward protocol, whatever bytes it is given.
//!
//! In:  any bytes
//! Out: nothing; a panic says what does not hold
//!
//! `fuzz_targets/` calls this with bytes that libFuzzer makes up, and `tests/fuzz_corpus.rs` of the
//! main package with every file of `corpus/`: there nothing but stable Rust is needed.

pub mod ack;
pub mod entries;
pub mod frame;
pub mod handshake;
pub mod inflate;
pub mod json;
mod memory;
mod pieces;
mod reference;
pub mod scanner;

/// Panics if something does not hold for these bytes.
pub type Check = fn(&[u8]);

/// What is checked, under the name of its target, which is that of its directory in `corpus/`.
pub const CHECKS: [(&str, Check); 7] = [
    ("ack", ack::check),
    ("entries", entries::check),
    ("frame", frame::check),
    ("handshake", handshake::check),
    ("inflate", inflate::check),
    ("json", json::check),
    ("scanner", scanner::check),
];

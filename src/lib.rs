//! Follows log files and hands every line to Fluentd at least once, in bounded memory.
//!
//! ```text
//!                  ingest (one thread, plain blocking code)                    runtime (tokio, one thread)
//!  ┌───────────────────────────────────────────────────────────────┐  ┌──────────────────────────────────────┐
//!  files ─ tail ─▶ line ─ parse ─▶ record ─ filter ─▶ record ─ buffer ─▶ chunk ─ forward ─▶ frame ─▶ Fluentd
//!    ▲                                                                │                          │
//!    └────────────── positions ◀─ checkpoint ◀─ acknowledged spans ◀──┴────────── ack ◀──────────┘
//! ```
//!
//! `agent` joins the stages. A stage knows `model` and at most the one type it receives from the
//! stage before it; `docs/architecture.md` has the table, and a test holds the code to it.

pub mod model;

pub mod config;

pub mod tail;

pub mod parse;

pub mod filter;

pub mod buffer;

pub mod protocol;

pub mod secrets;

pub mod tls;

pub mod forward;

pub mod checkpoint;

pub mod listen;

pub mod ingest;

pub mod agent;

pub mod cli;

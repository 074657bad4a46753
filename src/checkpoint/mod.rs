//! Knows which bytes of which files are settled, and keeps that over restarts.

pub mod ledger;

pub use ledger::{Ledger, Mark};

//! Knows which bytes of which files are settled, and keeps that over restarts.

pub mod ledger;
pub mod mark;
pub mod remembered;
pub mod store;

pub use ledger::Ledger;
pub use mark::Mark;
pub use remembered::{Missed, Position, Remembered};
pub use store::Store;

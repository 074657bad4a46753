//! The words every stage shares, as types: tag, time, record, span, counters, units.
//!
//! Nothing here opens a file, knows a socket or asks a clock. A type that only two
//! neighbouring stages share lives with the stage that makes it; it moves here when a third
//! one needs it.

pub mod codec;
pub mod counters;
pub mod cursor;
pub mod mention;
pub mod record;
pub mod secret;
pub mod selector;
pub mod span;
pub mod tag;
pub mod time;
pub mod units;

pub use codec::Codec;
pub use counters::{Counter, Counters};
pub use mention::Mentions;
pub use secret::Secret;
pub use selector::{NotARegex, Selector};
pub use span::{FileId, Share, SpanId};
pub use tag::{Pattern, Tag};
pub use time::EventTime;

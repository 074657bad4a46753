//! Holds events on their way, inside one memory limit an input.
//!
//! In:  encoded events, each with the span of the file it came from
//! Out: sealed [`Chunk`]s, handed to every output that takes their tag as [`Delivery`]s
//!
//! Nothing here reads a file, knows a socket or asks a clock; time is an argument.

pub mod budget;
pub mod chunk;
pub mod delivery;
pub mod open;
pub mod pack;
pub mod pool;
pub mod router;

pub use budget::{Budget, Reservation};
pub use chunk::{Chunk, OpenChunk};
pub use delivery::{Delivery, Fate, Home};
pub use open::{OpenChunks, Sealing, SlotId};
pub use pack::Packer;
pub use router::Router;

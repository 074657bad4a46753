//! The subcommands, a file each.

pub mod receive;

pub use receive::Receive;

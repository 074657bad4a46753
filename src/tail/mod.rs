//! Follows files: finds them, knows them by inode, generation and content, and reads them.

pub mod settings;

pub use settings::{LongLines, Settings};

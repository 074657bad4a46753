//! The command line, and a file for each subcommand.

pub mod arguments;
pub mod check;
pub mod door;
pub mod exit;
pub mod keys;
pub mod logging;
pub mod receive;
pub mod replay;
pub mod run;
pub mod signals;

pub use exit::Exit;
pub use receive::Receive;
pub use replay::Replay;

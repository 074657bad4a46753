//! How the process ends, by name.

use std::process::ExitCode;

/// The exit statuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was read is acknowledged; or the check found nothing.
    Clean,
    /// The configuration or the command line is wrong; the check found something. 1, as in Fluent
    /// Bit.
    Refused,
    /// Bytes were left unacknowledged. The last log line says how many of which file.
    BytesLeft,
    /// A fault of ours or of the system: a panic, no memory, no descriptor. `EX_SOFTWARE`.
    Fault,
}

impl Exit {
    /// The number.
    pub fn status(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::Refused => 1,
            Self::BytesLeft => 9,
            Self::Fault => 70,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.status())
    }
}

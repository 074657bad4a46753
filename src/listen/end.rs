//! Why a connection ended before its sender closed it.

use std::io;

use super::SinkClosed;
use crate::model::Counters;
use crate::protocol::FrameError;
use crate::protocol::frame::{Place, Reason};
use crate::protocol::inflate::InflateError;

/// See the head of this file.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    /// The sender sent something that is not taken.
    #[error("{error}")]
    Refused {
        /// What is wrong.
        error: FrameError,
        /// Where in all that the sender has sent.
        offset: u64,
    },
    /// The sender went in the middle of a frame.
    #[error("the connection ended {pending} bytes into a frame")]
    CutOff {
        /// Bytes of the unfinished frame.
        pending: usize,
        /// Where in all that the sender has sent.
        offset: u64,
    },
    /// The sender stopped in the middle of a frame, or is very slow.
    #[error("{pending} bytes of a frame came in {seconds} s, and then no more, or too slowly")]
    Late {
        /// Bytes of the unfinished frame.
        pending: usize,
        /// How long they took.
        seconds: u64,
        /// Where in all that the sender has sent.
        offset: u64,
    },
    /// It was not let in.
    #[error("{0}")]
    NotAdmitted(String),
    /// A frame of it was given up by an output.
    #[error("a chunk with events of it was given up")]
    GivenUp,
    /// The socket failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nobody takes events any more.
    #[error(transparent)]
    SinkClosed(#[from] SinkClosed),
}

impl End {
    /// For something wrong in a value that lies at `offset` in all that the sender has sent.
    pub(super) fn refused(offset: u64, error: FrameError) -> Self {
        let inside = match error.place {
            Place::Frame => error.at as u64,
            Place::Inflated => 0,
        };
        Self::Refused { offset: offset + inside, error }
    }

    /// Whether somebody must look at it. A reset is how Fluentd closes every connection, what is
    /// given up was said by the output, and a closed sink is known to whoever closed it.
    pub(super) fn is_worth_a_look(&self) -> bool {
        self.offset().is_some() || matches!(self, Self::NotAdmitted(_))
    }

    /// Where in all that the sender has sent.
    pub(super) fn offset(&self) -> Option<u64> {
        match self {
            Self::Refused { offset, .. }
            | Self::CutOff { offset, .. }
            | Self::Late { offset, .. } => Some(*offset),
            Self::NotAdmitted(_) | Self::GivenUp | Self::Io(_) | Self::SinkClosed(_) => None,
        }
    }

    /// Counts it, if it is a frame that was refused or a client that was not let in.
    pub(super) fn count(&self, counters: &Counters) {
        counters.frames_refused.add(u64::from(self.offset().is_some()));
        let counter = match self {
            Self::Refused { .. } if self.is_too_large() => &counters.refused_too_large,
            Self::Refused { .. } => &counters.refused_malformed,
            Self::CutOff { .. } => &counters.refused_cut_off,
            Self::Late { .. } => &counters.refused_late,
            Self::NotAdmitted(_) => &counters.refused_client,
            Self::GivenUp | Self::Io(_) | Self::SinkClosed(_) => return,
        };
        counter.add(1);
    }

    /// Whether a frame was larger than may be.
    pub(super) fn is_too_large(&self) -> bool {
        let Self::Refused { error, .. } = self else {
            return false;
        };
        matches!(
            error.reason,
            Reason::FrameTooLarge(_) | Reason::Inflate(InflateError::TooLarge { .. })
        )
    }
}

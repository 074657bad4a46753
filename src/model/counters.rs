//! What the agent counts, each number where the thing happens.

use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows. Any thread may add to it.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What was added so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// One of each number. Shared by all stages; the doc of a field is what it counts.
        #[derive(Debug, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: Counter,)+
        }

        impl Counters {
            /// Every counter by name, in the order in which the data meets them.
            pub fn each(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name.get()),)+].into_iter()
            }
        }
    };
}

counters! {
    /// Files that began to be followed.
    files_opened,
    /// Times a matched file could not be opened for want of permission.
    unreadable,
    /// Files a notice named that were gone before anyone could open them.
    vanished,
    /// New generations of a file: truncated, or overwritten.
    truncations,
    /// Bytes read from followed files.
    bytes_read,
    /// Lines cut from them.
    lines,
    /// Lines that were not a JSON object (or did not fit another parser) and went out as text.
    unparsed,
    /// Messages of joined lines that were divided: at `multiline_buffer_limit`, or for want of
    /// memory.
    multiline_truncated,
    /// Those of them that were divided for want of memory.
    multiline_hurried,
    /// Lines with bytes that do not fit what their file is written in, replaced by U+FFFD.
    bad_text,
    /// Lines whose time could not be read with the parser's format.
    bad_time,
    /// Lines whose time lies outside of 1970 to 2106.
    time_out_of_range,
    /// Unterminated last lines, sent at the end of a file's life or at a stop.
    partial,
    /// Lines above the line limit that were cut.
    lines_cut,
    /// Frames of clients that were taken in.
    frames,
    /// Their bytes, as they came.
    frame_bytes,
    /// Their events.
    frame_events,
    /// Frames that are on their way already, or were delivered a moment ago, and came once more.
    frames_repeated,
    /// Frames that were refused, or came only in part.
    frames_refused,
    /// Events of clients that do not ask for an acknowledgement: nobody sends them again.
    unconfirmed,
    /// Frames whose every event was delivered, or taken out by a filter.
    frames_delivered,
    /// Events of clients that were not delivered when the agent ended, and that nobody sends again.
    lost_stop,
    /// Events taken out by filters, on purpose.
    filtered_events,
    /// Events no output takes.
    unmatched_events,
    /// Events put into chunks.
    events,
    /// Chunks handed to the outputs.
    chunks,
    /// Chunks acknowledged by every output they went to.
    chunks_acknowledged,
    /// Events in those chunks.
    events_acknowledged,
    /// Chunks sent again after a failure.
    chunks_resent,
    /// Events given up after `Retry_Limit`.
    lost_retry_limit,
    /// The bytes of files they were.
    lost_retry_limit_bytes,
    /// Bytes of deleted files that were let go for `Max_Held_Bytes`, or could not be opened again.
    lost_held_bytes,
    /// Bytes of files whose events were acknowledged by every output.
    bytes_acknowledged,
    /// Bytes that made no event, on purpose: filtered out, empty lines, no output.
    bytes_filtered,
    /// Bytes of lines above the line limit that `Skip_Long_Lines` (or the cut) left out.
    lost_long_line_bytes,
    /// Bytes that were unread when a file was truncated: a lower bound.
    lost_truncated_bytes,
    /// Bytes that were not acknowledged when the agent ended, and whose file was gone when it
    /// started again: a lower bound.
    lost_while_down_bytes,
    /// Times positions were saved.
    positions_saved,
    /// Times positions could not be saved.
    positions_unsaved,
}

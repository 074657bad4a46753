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

/// What a counter says at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// Its name.
    pub name: &'static str,
    /// What it counts: a sentence.
    pub help: &'static str,
    /// What was added so far.
    pub value: u64,
}

macro_rules! counters {
    ($(#[$doc:meta])* $counters:ident { $($(#[doc = $help:literal])+ $name:ident,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        pub struct $counters {
            $($(#[doc = $help])+ pub $name: Counter,)+
        }

        impl $counters {
            /// Every counter, in the order in which the data meets them. Its help is the doc of
            /// its field.
            pub fn each(&self) -> impl Iterator<Item = Counted> {
                [$(Counted {
                    name: stringify!($name),
                    help: concat!($($help),+).trim_ascii(),
                    value: self.$name.get(),
                },)+]
                .into_iter()
            }
        }
    };
}

counters! {
    /// One of each number. Shared by all stages; the doc of a field is what it counts.
    Counters {
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
        /// Lines cut from followed files.
        lines,
        /// Lines that were not a JSON object (or did not fit another parser) and went out as text.
        unparsed,
        /// Messages of joined lines that were divided: at `multiline_buffer_limit`, or for want of
        /// memory.
        multiline_truncated,
        /// Messages of joined lines that were divided for want of memory.
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
        /// Bytes of the frames of clients, as they came.
        frame_bytes,
        /// Events in the frames of clients.
        frame_events,
        /// Frames that are on their way already, or were delivered a moment ago, and came once more.
        frames_repeated,
        /// Frames that were refused, or came only in part.
        frames_refused,
        /// Frames that were refused for their size, raw or inflated.
        refused_too_large,
        /// Frames that were refused for what was in them.
        refused_malformed,
        /// Frames that came only in part: the connection ended.
        refused_cut_off,
        /// Frames that came only in part, and then no more, or too slowly.
        refused_late,
        /// Clients that were not let in.
        refused_client,
        /// Frames of metrics or traces, which are acknowledged and left out.
        frames_ignored,
        /// Entries of frames that are no events and were passed over (`On_Bad_Entry skip`).
        entries_skipped,
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
        /// Events acknowledged by every output they went to.
        events_acknowledged,
        /// Chunks sent again after a failure.
        chunks_resent,
        /// Names of receivers that could not be looked up.
        failed_resolve,
        /// Connections, and their TLS, that could not be made.
        failed_connect,
        /// Handshakes that failed, or took too long.
        failed_handshake,
        /// Connections whose TLS failed later.
        failed_tls,
        /// Connections left because the receiver took no byte in time.
        failed_write,
        /// Connections left because no acknowledgement came in time.
        failed_ack,
        /// Connections left because something else than an acknowledgement came, or a foreign one.
        failed_answer,
        /// Connections that the receiver closed.
        failed_closed,
        /// Connections that broke: reset, or without an answer from the other side's kernel.
        failed_broken,
        /// Events given up after `Retry_Limit`.
        lost_retry_limit,
        /// Bytes of files whose events were given up after `Retry_Limit`.
        lost_retry_limit_bytes,
        /// Events given up after `Retry_Max_Age`.
        lost_max_age,
        /// Bytes of files whose events were given up after `Retry_Max_Age`.
        lost_max_age_bytes,
        /// Events that the receiver always refused while it took others.
        lost_refused,
        /// Bytes of files whose events were refused, on average: nobody keeps the length of lines.
        lost_refused_bytes,
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
}

counters! {
    /// What became of the chunks of one output, under the names that Fluent Bit has for it.
    OutputCounters {
        /// Events acknowledged by the receiver.
        proc_records,
        /// Bytes of the acknowledged events, as they were sent.
        proc_bytes,
        /// Times a chunk failed: it goes again, unless it is given up.
        retries,
        /// Events in chunks that failed, each time.
        retried_records,
        /// Chunks, or parts of them, given up for whatever reason.
        retries_failed,
        /// Events given up, for whatever reason.
        dropped_records,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_a_sentence_of_help_on_one_line() {
        let counters = Counters::default();
        counters.lines.add(3);
        let lines = counters.each().find(|counted| counted.name == "lines").unwrap();
        assert_eq!((lines.help, lines.value), ("Lines cut from followed files.", 3));
        for counted in counters.each().chain(OutputCounters::default().each()) {
            assert!(counted.help.ends_with('.'), "{counted:?}");
            assert!(!counted.help.contains('\n') && !counted.help.contains("  "), "{counted:?}");
        }
    }
}

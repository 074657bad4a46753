//! What the reference frames mean, written down once for every decoder that is tested with them.

use serde_json::{Value as Json, json};

use super::Event;

/// The reference frames that carry logs, and the events each holds.
pub const LOGS: &[(&str, &[Entry])] = &[
    ("message_int", &[Entry::OneInSeconds]),
    ("message_eventtime", &[Entry::One]),
    ("message_eventtime_ext8", &[Entry::One]),
    ("message_chunk", &[Entry::One]),
    ("message_metadata_option", &[Entry::One]),
    ("message_nilopt", &[Entry::One]),
    ("forward", &[Entry::One, Entry::Two]),
    ("forward_noopt", &[Entry::One, Entry::Two]),
    ("forward_nilopt", &[Entry::One]),
    ("forward_metadata", &[Entry::One]),
    ("forward_metadata_empty", &[Entry::One]),
    ("forward_groups", &[Entry::One]),
    ("forward_flb_map32", &[Entry::One]),
    ("forward_flb_nometa_array32", &[Entry::One]),
    ("packed_bin", &[Entry::One, Entry::Two]),
    ("packed_str32_fluentd", &[Entry::One, Entry::Two]),
    ("packed_noopt", &[Entry::One, Entry::Two]),
    ("compressed_gzip", &[Entry::One, Entry::Two]),
    ("compressed_gzip_multi", &[Entry::One, Entry::Two]),
    ("compressed_gzip_str32_fluentd", &[Entry::One, Entry::Two]),
    ("compressed_gzip_flb", &[Entry::One]),
    ("compressed_zstd", &[Entry::One, Entry::Two]),
    ("compressed_zstd_multi", &[Entry::One, Entry::Two]),
    ("empty_forward", &[]),
    ("empty_packed", &[]),
];

/// The events of the reference frames.
#[derive(Clone, Copy, Debug)]
pub enum Entry {
    One,
    OneInSeconds,
    Two,
}

impl Entry {
    /// As a decoder should give it.
    pub fn event(self) -> Event {
        let (seconds, nanos, record) = match self {
            Self::One => (1_700_000_000, 123_456_789, json!({"message": "one"})),
            Self::OneInSeconds => (1_700_000_000, 0, json!({"message": "one"})),
            Self::Two => (1_700_000_001, 0, json!({"message": "two", "n": 2})),
        };
        Event { tag: "app.web".to_owned(), seconds, nanos, record }
    }

    /// As `receive` should print it.
    pub fn printed(self) -> Json {
        let time = match self {
            Self::One => "2023-11-14T22:13:20.123456789Z",
            Self::OneInSeconds => "2023-11-14T22:13:20.000000000Z",
            Self::Two => "2023-11-14T22:13:21.000000000Z",
        };
        json!({"tag": "app.web", "time": time, "record": self.event().record})
    }
}

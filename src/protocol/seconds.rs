//! `Time_as_Integer`: events whose time is whole seconds.
//!
//! In:  entries as we encode them, with an `EventTime` each
//! Out: the same entries, each with an integer

use crate::model::EventTime;
use crate::model::cursor::{ReadError, Reader};

/// Appends `entries` with every time cut to whole seconds, as Fluentd before 0.14 wants it.
pub fn with_whole_seconds(entries: &[u8], out: &mut Vec<u8>) -> Result<(), ReadError> {
    let mut reader = Reader::new(entries);
    while !reader.is_at_end() {
        let elements = reader.array("an entry")?;
        let time = reader.skip()?;
        let record = reader.skip()?;
        debug_assert!(elements == 2 && time.len() == EventTime::ENCODED, "as we encode it");
        out.extend_from_slice(&[0x92, 0xce]);
        out.extend_from_slice(&time[2..6]);
        out.extend_from_slice(record);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nanoseconds_go_and_the_rest_stays() {
        let entry = |seconds: i64, record: &[u8]| {
            let time = EventTime::new(seconds, 999_999_999).unwrap().encode();
            [&[0x92], &time[..], record].concat()
        };
        let entries = [entry(1_700_000_000, b"\x81\xa1a\x91\xc0"), entry(5, b"\x80")].concat();
        let mut out = Vec::new();
        with_whole_seconds(&entries, &mut out).unwrap();
        assert_eq!(out, b"\x92\xce\x65\x53\xf1\x00\x81\xa1a\x91\xc0\x92\xce\0\0\0\x05\x80");
    }
}

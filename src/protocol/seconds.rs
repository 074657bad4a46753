//! `Time_as_Integer`: events whose time is whole seconds.
//!
//! In:  entries as we encode them, with an `EventTime` each
//! Out: the same entries, each with an integer

use crate::model::cursor::{ReadError, Reader, Token};

/// Appends `entries` with every time cut to whole seconds, as Fluentd before 0.14 wants it.
pub fn with_whole_seconds(entries: &[u8], out: &mut Vec<u8>) -> Result<(), ReadError> {
    let mut reader = Reader::new(entries);
    while !reader.is_at_end() {
        match reader.peek()? {
            Token::Array(2) => reader.token()?,
            other => return Err(reader.unexpected("an entry as we encode it", other)),
        };
        let seconds = match reader.peek()? {
            Token::Ext(0, &[a, b, c, d, _, _, _, _]) => [a, b, c, d],
            other => return Err(reader.unexpected("a time as we encode it", other)),
        };
        reader.token()?;
        out.extend_from_slice(&[0x92, 0xce]);
        out.extend_from_slice(&seconds);
        out.extend_from_slice(reader.skip()?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventTime;

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
    #[test]
    fn entries_that_are_not_as_we_encode_them_are_refused() {
        for entries in [
            &b"\x92\x01\x80"[..],
            b"\x92\xc4\x01x\x80",
            b"\x93\x01\x80\x80",
            b"\x92",
            b"\x01",
            b"\xc1",
        ] {
            assert!(with_whole_seconds(entries, &mut Vec::new()).is_err(), "{entries:02x?}");
        }
    }
}

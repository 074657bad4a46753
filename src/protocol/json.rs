//! Shows a record to people, as JSON text.
//!
//! In:  the bytes of one MessagePack value
//! Out: one line of JSON that holds everything it says
//!
//! JSON knows less than MessagePack. Bytes that are UTF-8 are shown as text, others as base64
//! (in a bin) or with U+FFFD (in a str); an extension is `{"ext":type,"base64":…}`, an
//! `EventTime` inside a record its seconds; NaN and infinities are null; a number, boolean or nil as
//! a key is its own text, an array or a map as a key the base64 of its MessagePack; a key that occurs twice is printed twice.

use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::model::cursor::{Fault, MAX_DEPTH, ReadError, Reader, Token};

/// Appends the JSON of the value that `bytes` are. What was appended before an error stays.
pub fn write_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ReadError> {
    write_value(&mut Reader::new(bytes), 0, out)
}

/// Appends `text` as a JSON string.
pub fn write_text(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes every byte");
}

fn write_value(reader: &mut Reader<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), ReadError> {
    if depth > MAX_DEPTH {
        return Err(ReadError { at: reader.at(), fault: Fault::TooDeep });
    }
    match reader.token()? {
        Token::Nil => out.extend_from_slice(b"null"),
        Token::Bool(value) => append(out, format_args!("{value}")),
        Token::Unsigned(value) => append(out, format_args!("{value}")),
        Token::Negative(value) => append(out, format_args!("{value}")),
        Token::F32(value) if value.is_finite() => append(out, format_args!("{value:?}")),
        Token::F64(value) if value.is_finite() => append(out, format_args!("{value:?}")),
        Token::F32(_) | Token::F64(_) => out.extend_from_slice(b"null"),
        Token::Str(text) => write_text(&String::from_utf8_lossy(text), out),
        Token::Bin(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => write_text(text, out),
            Err(_) => append(out, format_args!("\"{}\"", STANDARD.encode(bytes))),
        },
        Token::Ext(kind, bytes) => write_ext(kind, bytes, out),
        Token::Array(values) => write_array(reader, values, depth, out)?,
        Token::Map(pairs) => write_map(reader, pairs, depth, out)?,
    }
    Ok(())
}

fn write_ext(kind: i8, bytes: &[u8], out: &mut Vec<u8>) {
    if let (0, &[a, b, c, d, e, f, g, h]) = (kind, bytes) {
        let seconds = u32::from_be_bytes([a, b, c, d]);
        let nanos = u32::from_be_bytes([e, f, g, h]);
        if nanos < 1_000_000_000 {
            return append(out, format_args!("{seconds}.{nanos:09}"));
        }
    }
    append(out, format_args!("{{\"ext\":{kind},\"base64\":\"{}\"}}", STANDARD.encode(bytes)));
}

fn write_array(
    reader: &mut Reader<'_>,
    values: u32,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    out.push(b'[');
    for number in 0..values {
        if number > 0 {
            out.push(b',');
        }
        write_value(reader, depth + 1, out)?;
    }
    out.push(b']');
    Ok(())
}

fn write_map(
    reader: &mut Reader<'_>,
    pairs: u32,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), ReadError> {
    out.push(b'{');
    for number in 0..pairs {
        if number > 0 {
            out.push(b',');
        }
        write_key(reader, depth + 1, out)?;
        out.push(b':');
        write_value(reader, depth + 1, out)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_key(reader: &mut Reader<'_>, depth: usize, out: &mut Vec<u8>) -> Result<(), ReadError> {
    match reader.peek()? {
        Token::Str(_) | Token::Bin(_) => write_value(reader, depth, out),
        // JSON inside JSON inside JSON doubles its backslashes at every level: 64 levels of keys
        // would fill any memory.
        Token::Array(_) | Token::Map(_) => {
            let key = reader.skip_inside(depth)?;
            append(out, format_args!("\"msgpack:{}\"", STANDARD.encode(key)));
            Ok(())
        }
        _ => {
            let mut key = Vec::new();
            write_value(reader, depth, &mut key)?;
            write_text(&String::from_utf8_lossy(&key), out);
            Ok(())
        }
    }
}

fn append(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every byte");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = Vec::new();
        write_json(bytes, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_type_has_a_form_that_people_can_read() {
        for (bytes, expected) in [
            (&b"\xc0"[..], "null"),
            (b"\xc3", "true"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xd3\x80\0\0\0\0\0\0\0", "-9223372036854775808"),
            (b"\xcb\x3f\xf0\0\0\0\0\0\0", "1.0"),
            (b"\xcb\x7e\x37\xe4\x3c\x88\0\x75\x9c", "1e300"),
            (b"\xca\x3d\xcc\xcc\xcd", "0.1"),
            (b"\xca\x7f\xc0\0\0", "null"),
            (b"\xcb\x7f\xf0\0\0\0\0\0\0", "null"),
            (b"\xa6\"\\\n\t\x01\x7f", "\"\\\"\\\\\\n\\t\\u0001\x7f\""),
            (b"\xa4\xf0\x9f\x98\x80", "\"😀\""),
            (b"\xa3a\xffb", "\"a\u{fffd}b\""),
            (b"\xc4\x02hi", "\"hi\""),
            (b"\xc4\x02\xff\xfe", "\"//4=\""),
            (b"\xd6\x05abcd", r#"{"ext":5,"base64":"YWJjZA=="}"#),
            (b"\xd7\0\x65\x53\xf1\0\x07\x5b\xcd\x15", "1700000000.123456789"),
            (b"\x93\x01\xff\x90", "[1,-1,[]]"),
            (b"\x82\xa1m\x01\xa1m\x02", r#"{"m":1,"m":2}"#),
            (b"\x83\x01\xa1x\xc0\x01\x91\xa1q\x02", r#"{"1":"x","null":1,"msgpack:kaFx":2}"#),
        ] {
            assert_eq!(json(bytes), expected, "{bytes:02x?}");
            serde_json::from_str::<serde_json::Value>(expected).expect("it is JSON");
        }
    }

    #[test]
    fn a_key_is_as_deep_as_what_is_around_it() {
        let nested = |key: &[u8]| [&[0x91; MAX_DEPTH - 1][..], b"\x81", key, b"\xc0"].concat();
        let mut out = Vec::new();
        for (key, is_read) in [(&b"\x90"[..], true), (b"\x91\xc0", false)] {
            let bytes = nested(key);
            assert_eq!(Reader::new(&bytes).skip().is_ok(), is_read);
            assert_eq!(write_json(&bytes, &mut out).is_ok(), is_read, "{key:02x?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_become_json_or_an_error(bytes: Vec<u8>) {
            let mut out = Vec::new();
            if write_json(&bytes, &mut out).is_ok() {
                serde_json::from_slice::<serde_json::Value>(&out).expect("it is JSON");
            }
        }
    }
}

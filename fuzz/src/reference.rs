//! Reads a frame the slow way: the whole of it as a tree, by another reader of MessagePack.
//!
//! In:  a frame that we took
//! Out: its tag and its events, as the protocol has them; a panic for what is no such frame

use std::io::Read;

use flate2::read::MultiGzDecoder;
use rmpv::{Value, ValueRef, encode};

/// Seconds, nanoseconds and record of an event, the record as bytes in the shortest form: a NaN is
/// not equal to itself.
pub type Event = (u32, u32, Vec<u8>);

/// See the head of this file.
pub fn read_frame(frame: &[u8]) -> (Vec<u8>, Vec<Event>) {
    let value = value(&mut &*frame);
    let elements = value.as_array().expect("a frame is an array");
    let tag = bytes_of(&elements[0]).to_vec();
    let (body, option) = match &elements[1] {
        Value::Integer(_) | Value::Ext(..) => (&elements[..3], elements.get(3)),
        _ => (&elements[..2], elements.get(2)),
    };
    let option = |key: &str| {
        let pairs = option.and_then(Value::as_map).map_or(&[][..], Vec::as_slice);
        let mut found = pairs.iter().filter(|(name, _)| is_text(name, key)).map(|(_, value)| value);
        // What is said twice counts as said last.
        found.next_back()
    };
    let signal = option("fluent_signal").and_then(Value::as_u64);
    if matches!(signal, Some(1 | 2)) {
        return (tag, Vec::new());
    }
    let events = match (&body[1], body.get(2)) {
        (time, Some(record)) => vec![event(time, record).expect("no marker alone")],
        (Value::Array(entries), _) => entries.iter().filter_map(entry).collect(),
        (packed, _) => entries(&inflated(bytes_of(packed), option("compressed"))),
    };
    (tag, events)
}

/// The events of entries that stand one after another.
pub fn entries(mut stream: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    while !stream.is_empty() {
        events.extend(entry(&value(&mut stream)));
    }
    events
}

/// The map that `bytes` are, in the shortest form.
pub fn map(mut bytes: &[u8]) -> Vec<u8> {
    let value = value(&mut bytes);
    assert!(value.is_map() && bytes.is_empty(), "one map and no more");
    shortest(&value)
}

fn shortest(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode::write_value(&mut bytes, value).expect("a Vec takes every byte");
    bytes
}

fn value(bytes: &mut &[u8]) -> Value {
    let value: ValueRef<'_> = rmpv::decode::read_value_ref(bytes).expect("MessagePack");
    value.to_owned()
}

fn entry(entry: &Value) -> Option<Event> {
    let [time, record] = &entry.as_array().expect("an entry is a pair")[..] else {
        panic!("an entry is a pair");
    };
    match time {
        Value::Array(with_metadata) => {
            assert!(with_metadata.len() == 2 && with_metadata[1].is_map());
            event(&with_metadata[0], record)
        }
        time => event(time, record),
    }
}

/// `None` for Fluent Bit's markers of groups.
fn event(time: &Value, record: &Value) -> Option<Event> {
    assert!(record.is_map(), "a record is a map");
    let (seconds, nanos) = match time {
        Value::Integer(seconds) => (seconds.as_u64().expect("not before 1970"), 0),
        Value::Ext(0, bytes) => {
            let bytes = u64::from_be_bytes(bytes[..].try_into().expect("eight bytes"));
            if bytes == 0xffff_ffff << 32 || bytes == 0xffff_fffe << 32 {
                return None;
            }
            (bytes >> 32, bytes & 0xffff_ffff)
        }
        other => panic!("{other} is no time"),
    };
    let [seconds, nanos] = [seconds, nanos].map(|number| u32::try_from(number).expect("32 bits"));
    assert!(seconds < 0xffff_fffe && nanos < 1_000_000_000);
    Some((seconds, nanos, shortest(record)))
}

fn inflated(packed: &[u8], codec: Option<&Value>) -> Vec<u8> {
    match codec {
        Some(name) if is_text(name, "gzip") => {
            let mut inflated = Vec::new();
            MultiGzDecoder::new(packed).read_to_end(&mut inflated).expect("gzip");
            inflated
        }
        Some(name) if is_text(name, "zstd") => zstd::decode_all(packed).expect("zstd"),
        None => packed.to_vec(),
        Some(name) if is_text(name, "text") => packed.to_vec(),
        Some(name) => panic!("compressed by {name}"),
    }
}

fn is_text(value: &Value, text: &str) -> bool {
    matches!(value, Value::String(_) | Value::Binary(_)) && bytes_of(value) == text.as_bytes()
}

fn bytes_of(value: &Value) -> &[u8] {
    match value {
        Value::String(text) => text.as_bytes(),
        Value::Binary(bytes) => bytes,
        other => panic!("{other} is no text"),
    }
}

//! Records of parsers that find texts: regex, logfmt and LTSV.
//!
//! In:  keys and texts, one after the other
//! Out: a MessagePack map, with the types that `Types` asks for and the time taken out

use super::time::{TimeField, TimeFound, TimeValue};
use super::{Parsed, Type, Unparsed};
use crate::model::EventTime;
use crate::model::record::{
    map_header, write_float, write_int, write_map_header, write_str, write_uint,
};

/// `Types`.
#[derive(Debug)]
pub(super) struct Fields {
    types: Vec<(String, Type)>,
}

/// A record that is being written.
pub(super) struct Record<'a> {
    out: &'a mut Vec<u8>,
    types: &'a [(String, Type)],
    time: Option<&'a TimeField>,
    read_at: EventTime,
    found: TimeFound,
    pairs: usize,
}

impl Fields {
    pub(super) fn new(types: &[(String, Type)]) -> Self {
        Self { types: types.to_vec() }
    }

    /// Whether some text becomes a float, which takes nine bytes however short the text is.
    pub(super) fn has_floats(&self) -> bool {
        self.types.iter().any(|(_, wanted)| *wanted == Type::Float)
    }

    /// Writes the record that `read` puts together. On an error `out` is as it was.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        time: Option<&TimeField>,
        read_at: EventTime,
        read: impl FnOnce(&mut Record<'_>) -> Result<(), Unparsed>,
    ) -> Result<Parsed, Unparsed> {
        let start = out.len();
        write_map_header(out, 0);
        let mut record =
            Record { out, types: &self.types, time, read_at, found: TimeFound::None, pairs: 0 };
        let result = read(&mut record);
        let (pairs, found) = (record.pairs, record.found);
        if let Err(reason) = result {
            out.truncate(start);
            return Err(reason);
        }
        let (header, length) = map_header(pairs);
        out.splice(start..=start, header[..length].iter().copied());
        Ok(Parsed { pairs, time: found })
    }
}

impl Record<'_> {
    /// Adds a key and its text, or takes it as the time.
    pub(super) fn add(&mut self, key: &str, text: &str) {
        if self.found == TimeFound::None
            && let Some(field) = self.time.filter(|field| field.is(key.as_bytes()))
        {
            self.found = field.read(TimeValue::Text(text.as_bytes()), self.read_at);
            if !field.keeps(self.found) {
                return;
            }
        }
        self.pairs += 1;
        write_str(self.out, key);
        let wanted = self.types.iter().find(|(name, _)| name == key);
        write_typed(self.out, text, wanted.map_or(Type::String, |(_, wanted)| *wanted));
    }

    /// Adds a key that has no text: `true`, unless `Types` asks for something else.
    pub(super) fn add_bare(&mut self, key: &str) {
        if self.types.iter().any(|(name, _)| name == key) {
            return self.add(key, "");
        }
        self.pairs += 1;
        write_str(self.out, key);
        self.out.push(0xc3);
    }

    /// How many pairs it has.
    pub(super) fn pairs(&self) -> usize {
        self.pairs
    }
}

/// Writes a text as what it is wanted to be, as C's conversions make it.
fn write_typed(out: &mut Vec<u8>, text: &str, wanted: Type) {
    match wanted {
        Type::String => write_str(out, text),
        Type::Integer => write_int(out, leading_integer(text)),
        Type::Hex => write_uint(out, leading_hex(text)),
        Type::Float => write_float(out, leading_float(text)),
        Type::Bool => match leading_bool(text) {
            Some(true) => out.push(0xc3),
            Some(false) => out.push(0xc2),
            None => write_str(out, text),
        },
    }
}

/// As `atoll`: the number a text begins with, 0 if it begins with none.
fn leading_integer(text: &str) -> i64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['+', '-']));
    let digits = text[sign..].bytes().take_while(u8::is_ascii_digit).count();
    let negative = text.starts_with('-');
    let limit = if negative { i64::MIN } else { i64::MAX };
    if digits == 0 { 0 } else { text[..sign + digits].parse().unwrap_or(limit) }
}

/// As `strtoull` with base 16.
fn leading_hex(text: &str) -> u64 {
    let text = text.trim_start();
    let text = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")).unwrap_or(text);
    let digits = text.bytes().take_while(u8::is_ascii_hexdigit).count();
    if digits == 0 { 0 } else { u64::from_str_radix(&text[..digits], 16).unwrap_or(u64::MAX) }
}

/// As `atof`: the longest beginning that is a number, 0 if there is none.
fn leading_float(text: &str) -> f64 {
    let text = text.trim_start();
    let could_be = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    let longest = text.bytes().take_while(|byte| could_be(byte)).count();
    (1..=longest).rev().find_map(|length| text[..length].parse().ok()).unwrap_or(0.0)
}

fn leading_bool(text: &str) -> Option<bool> {
    let starts =
        |word: &str| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if starts("true") {
        return Some(true);
    }
    starts("false").then_some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_become_what_types_asks_for() {
        let typed = |text: &str, wanted| {
            let mut out = Vec::new();
            write_typed(&mut out, text, wanted);
            out
        };
        let float = |value: f64| [&[0xcb][..], &value.to_be_bytes()].concat();
        for (text, wanted, expected) in [
            ("200", Type::Integer, vec![0xcc, 200]),
            ("-3 apples", Type::Integer, vec![0xfd]),
            ("apples", Type::Integer, vec![0]),
            ("1f", Type::Hex, vec![0x1f]),
            ("0x1F", Type::Hex, vec![0x1f]),
            ("1.5s", Type::Float, float(1.5)),
            ("-1e3e", Type::Float, float(-1000.0)),
            (".", Type::Float, float(0.0)),
            ("TRUE!", Type::Bool, vec![0xc3]),
            ("falsely", Type::Bool, vec![0xc2]),
            ("no", Type::Bool, vec![0xa2, b'n', b'o']),
            ("no", Type::String, vec![0xa2, b'n', b'o']),
        ] {
            assert_eq!(typed(text, wanted), expected, "{text} as {wanted:?}");
        }
    }
}

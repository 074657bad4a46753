//! Rewrites one JSON object as MessagePack, in one pass.
//!
//! In:  a line
//! Out: the object as a MessagePack map, in the shortest forms, and the time it carries
//!
//! There is no tree in between and no allocation but the growth of the buffer. The grammar is
//! RFC 8259 with the leniency of Fluent Bit 5.1: control characters may stand in strings as they
//! are, and a lone surrogate becomes U+FFFD. Text behind the object makes the line unparsed,
//! where Fluent Bit drops it: what cannot be kept in the record is kept by sending the line whole.
//!
//! A record never takes more than `3 * line.len() + 16` bytes, not even for a moment: the worst
//! value is a float of three characters and its comma, which becomes nine bytes.

use super::time::{TimeField, TimeFound, TimeValue};
use super::{Parsed, Unparsed};
use crate::model::{EventTime, record};

/// How many objects and arrays may stand in each other, the record itself included.
pub(super) const DEEPEST: usize = 63;

/// As many decimal digits always fit into 64 bits.
const U64_DIGITS: usize = 19;

/// As many decimal digits are always exact in a float.
const EXACT_DIGITS: usize = 15;

const POWERS_OF_TEN: [f64; EXACT_DIGITS] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14];

const BLOCK: usize = 32;

/// The header kept free for a string with escapes, whose length shows only at its end: right for
/// most of those texts (stack traces), while a shorter text is moved.
const ESCAPED_HEADER: usize = 3;

/// Appends the record of `line` to `out`. On an error, `out` is as it was.
pub(super) fn transcode(
    line: &str,
    time: Option<&TimeField>,
    read_at: EventTime,
    out: &mut Vec<u8>,
) -> Result<Parsed, Unparsed> {
    let start = out.len();
    let mut transcoder = Transcoder { line, json: line.as_bytes(), at: 0, out };
    let parsed = transcoder.line(time, read_at);
    if parsed.is_err() {
        out.truncate(start);
    }
    parsed
}

/// Where we are in the line, and what it gave so far.
struct Transcoder<'a> {
    line: &'a str,
    /// The same bytes.
    json: &'a [u8],
    /// The next byte to read.
    at: usize,
    out: &'a mut Vec<u8>,
}

impl Transcoder<'_> {
    fn line(&mut self, time: Option<&TimeField>, read_at: EventTime) -> Result<Parsed, Unparsed> {
        if self.next_token() != Some(b'{') {
            return Err(Unparsed::NotAnObject);
        }
        self.at += 1;
        let parsed = self.record(time, read_at)?;
        match self.next_token() {
            None => Ok(parsed),
            Some(_) => Err(Unparsed::MoreText { at: self.at }),
        }
    }

    /// The outermost object, from behind its brace. Only here does the time key mean something.
    fn record(&mut self, time: Option<&TimeField>, read_at: EventTime) -> Result<Parsed, Unparsed> {
        let mut wanted = time;
        let mut found = TimeFound::None;
        let pairs = self.pairs(|this| {
            let start = this.out.len();
            let key = this.key()?;
            let Some(field) = wanted.filter(|field| field.is(&this.out[key..])) else {
                this.value(1)?;
                return Ok(true);
            };
            wanted = None;
            found = this.time_value(field, read_at)?;
            let keep = field.keeps(found);
            if !keep {
                this.out.truncate(start);
            }
            Ok(keep)
        })?;
        Ok(Parsed { pairs, time: found })
    }

    /// The value of the time key: copied like any other, and read.
    fn time_value(&mut self, field: &TimeField, read_at: EventTime) -> Result<TimeFound, Unparsed> {
        let first = self.next_token();
        let from = self.at;
        if first == Some(b'"') {
            self.at += 1;
            let text = self.string()?;
            return Ok(field.read(TimeValue::Text(&self.out[text..]), read_at));
        }
        self.value(1)?;
        Ok(match first {
            Some(b'-' | b'0'..=b'9') => {
                field.read(TimeValue::Number(&self.json[from..self.at]), read_at)
            }
            _ => field.read(TimeValue::Other, read_at),
        })
    }

    /// An object from behind its opening brace. `pair` transcodes a key, a colon and a value, and
    /// says whether they stay in the map.
    fn pairs(
        &mut self,
        mut pair: impl FnMut(&mut Self) -> Result<bool, Unparsed>,
    ) -> Result<usize, Unparsed> {
        let header = self.out.len();
        self.out.push(0x80);
        let mut pairs = 0;
        if !self.closes_at_once(b'}') {
            loop {
                pairs += usize::from(pair(self)?);
                if self.closes(b'}')? {
                    break;
                }
            }
        }
        self.patch_header(header, record::map_header(pairs));
        Ok(pairs)
    }

    /// An array from behind its opening bracket; `depth` counts it in.
    fn array(&mut self, depth: usize) -> Result<(), Unparsed> {
        let header = self.out.len();
        self.out.push(0x90);
        let mut values = 0;
        if !self.closes_at_once(b']') {
            loop {
                self.value(depth)?;
                values += 1;
                if self.closes(b']')? {
                    break;
                }
            }
        }
        self.patch_header(header, record::array_header(values));
        Ok(())
    }

    /// One byte was kept free for the header; a longer one moves what follows.
    fn patch_header(&mut self, header: usize, (bytes, length): ([u8; 5], usize)) {
        if length == 1 {
            self.out[header] = bytes[0];
        } else {
            self.out.splice(header..=header, bytes[..length].iter().copied());
        }
    }

    /// A key and its colon. Gives the place in `out` where the text of the key begins.
    fn key(&mut self) -> Result<usize, Unparsed> {
        self.expect(b'"')?;
        let text = self.string()?;
        self.expect(b':')?;
        Ok(text)
    }

    /// Any value. `depth` is how many objects and arrays it stands in.
    fn value(&mut self, depth: usize) -> Result<(), Unparsed> {
        let first = self.next_token().ok_or_else(|| self.not_json())?;
        match first {
            b'"' => {
                self.at += 1;
                self.string().map(drop)
            }
            b'-' | b'0'..=b'9' => self.number(),
            b'{' | b'[' if depth == DEEPEST => Err(Unparsed::TooDeep),
            b'{' => {
                self.at += 1;
                self.pairs(|this| {
                    this.key()?;
                    this.value(depth + 1)?;
                    Ok(true)
                })
                .map(drop)
            }
            b'[' => {
                self.at += 1;
                self.array(depth + 1)
            }
            b't' => self.word("true", 0xc3),
            b'f' => self.word("false", 0xc2),
            b'n' => self.word("null", 0xc0),
            _ => Err(self.not_json()),
        }
    }

    fn word(&mut self, word: &str, encoded: u8) -> Result<(), Unparsed> {
        if !self.json[self.at..].starts_with(word.as_bytes()) {
            return Err(self.not_json());
        }
        self.at += word.len();
        self.out.push(encoded);
        Ok(())
    }

    /// A string from behind its opening quote. Gives the place in `out` where its text begins.
    fn string(&mut self) -> Result<usize, Unparsed> {
        let from = self.at;
        let end = self.find_quote_or_escape()?;
        if self.json[end] == b'\\' {
            return self.string_with_escapes(end);
        }
        record::write_str_header(self.out, end - from);
        let text = self.out.len();
        self.copy(from, end);
        self.at = end + 1;
        Ok(text)
    }

    /// Appends a piece of the line. A short one is copied as a block and cut, which spares a call
    /// of `memcpy`.
    fn copy(&mut self, from: usize, end: usize) {
        match self.json[from..].first_chunk::<BLOCK>() {
            Some(block) if end - from <= BLOCK => {
                self.out.extend_from_slice(block);
                self.out.truncate(self.out.len() - (BLOCK - (end - from)));
            }
            _ => self.out.extend_from_slice(&self.json[from..end]),
        }
    }

    /// The place of the next quote or backslash.
    fn find_quote_or_escape(&self) -> Result<usize, Unparsed> {
        let mut rest = &self.json[self.at..];
        while let Some((word, behind)) = rest.split_first_chunk() {
            let hits = quotes_and_escapes(u64::from_le_bytes(*word));
            if hits != 0 {
                return Ok(self.json.len() - rest.len() + hits.trailing_zeros() as usize / 8);
            }
            rest = behind;
        }
        let at = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
        let at = at.ok_or(Unparsed::NotJson { at: self.json.len() })?;
        Ok(self.json.len() - rest.len() + at)
    }

    /// The rest of a string whose first backslash stands at `escape`.
    #[inline(never)]
    fn string_with_escapes(&mut self, escape: usize) -> Result<usize, Unparsed> {
        let header = self.out.len();
        self.out.extend_from_slice(&[0; ESCAPED_HEADER]);
        let mut end = escape;
        loop {
            self.out.extend_from_slice(&self.json[self.at..end]);
            self.at = end + 1;
            if self.json[end] == b'"' {
                break;
            }
            self.escape()?;
            end = self.find_quote_or_escape()?;
        }
        let (bytes, length) = record::str_header(self.out.len() - header - ESCAPED_HEADER);
        if length == ESCAPED_HEADER {
            self.out[header..header + length].copy_from_slice(&bytes[..length]);
        } else {
            self.out.splice(header..header + ESCAPED_HEADER, bytes[..length].iter().copied());
        }
        Ok(header + length)
    }

    /// An escape from behind its backslash.
    fn escape(&mut self) -> Result<(), Unparsed> {
        let code = self.peek().ok_or_else(|| self.not_json())?;
        let byte = match code {
            b'"' | b'\\' | b'/' => code,
            b'n' => b'\n',
            b't' => b'\t',
            b'r' => b'\r',
            b'b' => 0x08,
            b'f' => 0x0c,
            b'u' => return self.unicode_escape(),
            _ => return Err(self.not_json()),
        };
        self.at += 1;
        self.out.push(byte);
        Ok(())
    }

    /// A `\u` escape, from its `u`; two of them when they are the halves of one character.
    fn unicode_escape(&mut self) -> Result<(), Unparsed> {
        let mut code = self.code_unit()?;
        if matches!(code, 0xd800..=0xdbff) && self.json[self.at..].starts_with(b"\\u") {
            let behind_first = self.at;
            self.at += 1;
            match self.code_unit()? {
                low @ 0xdc00..=0xdfff => code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00),
                // A high half without its low half; the escape behind it is read as the next one.
                _ => self.at = behind_first,
            }
        }
        let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
        self.out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        Ok(())
    }

    /// Four hexadecimal digits, from the `u` before them.
    fn code_unit(&mut self) -> Result<u32, Unparsed> {
        self.at += 1;
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code << 4 | digit.ok_or_else(|| self.not_json())?;
            self.at += 1;
        }
        Ok(code)
    }

    /// A number. Integers stay integers as long as 64 bits hold them; every other number becomes
    /// the nearest float.
    fn number(&mut self) -> Result<(), Unparsed> {
        let from = self.at;
        let negative = self.take(b'-');
        let first = self.at;
        let mut digits = self.digits(0)?;
        let count = self.at - first;
        if count > 1 && self.json[first] == b'0' {
            return Err(Unparsed::NotJson { at: first + 1 });
        }
        if !matches!(self.peek(), Some(b'.' | b'e' | b'E')) {
            return self.write_integer(from, negative, (count <= U64_DIGITS).then_some(digits));
        }
        let mut places = 0;
        if self.take(b'.') {
            let from = self.at;
            digits = self.digits(digits)?;
            places = self.at - from;
        }
        if self.take(b'e') || self.take(b'E') {
            let _signed = self.take(b'-') || self.take(b'+');
            self.digits(0)?;
        } else if count + places <= EXACT_DIGITS {
            // Both are exact as floats, so the division rounds once: to the nearest float.
            let value = digits as f64 / POWERS_OF_TEN[places];
            record::write_float(self.out, if negative { -value } else { value });
            return Ok(());
        }
        self.write_float(from)
    }

    /// The integer that was read from `from` on; `digits` is its value, if that was seen to fit.
    fn write_integer(
        &mut self,
        from: usize,
        negative: bool,
        digits: Option<u64>,
    ) -> Result<(), Unparsed> {
        let first = from + usize::from(negative);
        let value = digits.or_else(|| self.line[first..self.at].parse().ok());
        match value {
            Some(value) if !negative => record::write_uint(self.out, value),
            Some(value) if value <= i64::MIN.unsigned_abs() => {
                record::write_int(self.out, 0_i64.wrapping_sub_unsigned(value));
            }
            _ => return self.write_float(from),
        }
        Ok(())
    }

    /// The number that was read from `from` on, as the nearest float. Infinity is none.
    fn write_float(&mut self, from: usize) -> Result<(), Unparsed> {
        match self.line[from..self.at].parse::<f64>() {
            Ok(value) if value.is_finite() => record::write_float(self.out, value),
            _ => return Err(Unparsed::NotJson { at: from }),
        }
        Ok(())
    }

    /// One digit or more, read on from `value`. Wraps around when there are too many.
    fn digits(&mut self, mut value: u64) -> Result<u64, Unparsed> {
        let from = self.at;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            value = value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == from { Err(self.not_json()) } else { Ok(value) }
    }

    /// Whether the object or array ends before it has begun; if so, steps behind the end.
    fn closes_at_once(&mut self, close: u8) -> bool {
        self.next_token();
        self.take(close)
    }

    /// Steps behind the comma (`false`) or the `close` (`true`) that must follow a value.
    fn closes(&mut self, close: u8) -> Result<bool, Unparsed> {
        let token = self.next_token();
        if token == Some(b',') {
            self.at += 1;
            return Ok(false);
        }
        if token == Some(close) {
            self.at += 1;
            return Ok(true);
        }
        Err(self.not_json())
    }

    fn expect(&mut self, token: u8) -> Result<(), Unparsed> {
        if self.next_token() != Some(token) {
            return Err(self.not_json());
        }
        self.at += 1;
        Ok(())
    }

    /// Steps behind `byte` if it comes next.
    fn take(&mut self, byte: u8) -> bool {
        let comes = self.peek() == Some(byte);
        self.at += usize::from(comes);
        comes
    }

    /// Skips blanks. Gives the byte behind them, without stepping over it.
    fn next_token(&mut self) -> Option<u8> {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\n' | b'\r') => self.at += 1,
                token => return token,
            }
        }
    }

    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    fn not_json(&self) -> Unparsed {
        Unparsed::NotJson { at: self.at }
    }
}

/// Marks the bytes of `word` that are a quote or a backslash with their highest bit. Marks above
/// the lowest one may be wrong.
fn quotes_and_escapes(word: u64) -> u64 {
    const LOWEST: u64 = 0x0101_0101_0101_0101;
    // A byte that is zero borrows from its highest bit when one is taken away.
    let zeros = |word: u64| word.wrapping_sub(LOWEST) & !word;
    let quotes = zeros(word ^ (LOWEST * b'"' as u64));
    let escapes = zeros(word ^ (LOWEST * b'\\' as u64));
    (quotes | escapes) & (LOWEST << 7)
}

#[cfg(test)]
mod tests {
    use super::super::oracle::{MessagePack, READ_AT, message_pack};
    use super::*;
    use proptest::prelude::*;

    /// A line of `records.jsonl`: either `record` or `unparsed` is there.
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        line: String,
        record: Option<MessagePack>,
        unparsed: Option<String>,
    }

    fn read(line: &str) -> Result<Vec<u8>, Unparsed> {
        let mut out = Vec::new();
        transcode(line, None, READ_AT, &mut out).map(|_| out)
    }

    fn named(reason: Unparsed) -> String {
        match reason {
            Unparsed::NotAnObject => "not an object".to_owned(),
            Unparsed::NotJson { at } => format!("not JSON at {at}"),
            Unparsed::MoreText { at } => format!("more text at {at}"),
            reason => format!("{reason:?}"),
        }
    }

    #[test]
    fn the_fixture_is_read_as_it_says() {
        let cases = include_str!("../../fixtures/parse/json/records.jsonl");
        for line in cases.lines() {
            let case: Case = serde_json::from_str(line).unwrap();
            let expected = match (case.record, case.unparsed) {
                (Some(record), None) => Ok(record.0),
                (None, Some(reason)) => Err(reason),
                _ => panic!("either a record or a reason: {line}"),
            };
            assert_eq!(read(&case.line).map_err(named), expected, "{}", case.line);
        }
    }

    #[test]
    fn as_many_levels_are_read_as_readers_of_message_pack_allow() {
        for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
            let nested = |levels: usize| {
                let inner = levels - 1;
                format!("{{\"a\":{}1{}}}", open.repeat(inner), close.repeat(inner))
            };
            assert_eq!(read(&nested(63)).unwrap(), message_pack(&nested(63)).unwrap(), "{open}");
            assert_eq!(read(&nested(64)), Err(Unparsed::TooDeep), "{open}");
            assert_eq!(read(&nested(100_000)), Err(Unparsed::TooDeep), "{open}");
        }
    }

    #[test]
    fn texts_of_every_length_are_copied_whole() {
        for length in (0..300).chain([65_535, 65_536, 70_000]) {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            for line in [
                format!(r#"{{"a":"{text}"}}"#),
                format!(r#"{{"{text}":"{text}","z":1}}"#),
                format!(r#"{{"a":"{text}\n","b":"\t{text}"}}"#),
                format!(r#"{{"a":["{text}","{text}"]}}"#),
            ] {
                assert_eq!(read(&line).unwrap(), message_pack(&line).unwrap(), "{length}");
            }
        }
    }

    #[test]
    fn maps_and_arrays_of_every_size_have_the_shortest_header() {
        for size in [0, 1, 15, 16, 17, 65_535, 65_536] {
            let pairs = vec![r#""k":1"#; size].join(",");
            let values = vec!["1"; size].join(",");
            for line in [format!("{{{pairs}}}"), format!(r#"{{"a":[{values}],"b":{{{pairs}}}}}"#)] {
                assert_eq!(read(&line).unwrap(), message_pack(&line).unwrap(), "{size}");
            }
        }
    }

    #[test]
    fn what_stands_before_the_record_is_left_alone_also_on_an_error() {
        let mut out = vec![1, 2, 3];
        let error = transcode(r#"{"a":[1,"b",}"#, None, READ_AT, &mut out);
        assert_eq!(error, Err(Unparsed::NotJson { at: 12 }));
        assert_eq!(out, [1, 2, 3]);
        transcode("{}", None, READ_AT, &mut out).unwrap();
        assert_eq!(out, [1, 2, 3, 0x80]);
    }

    /// JSON as loggers and as nobody writes it: blanks, escapes, long and odd numbers, duplicates.
    fn any_value() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            "-?(0|[1-9][0-9]{0,21})",
            "-?(0|[1-9][0-9]{0,17})[.][0-9]{1,18}",
            "-?(0|[1-9][0-9]{0,3})([.][0-9]{1,3})?[eE][+-]?[0-9]{1,3}",
            any::<f64>()
                .prop_filter("finite", |value| value.is_finite())
                .prop_map(|v| v.to_string()),
            any::<f64>()
                .prop_filter("finite", |value| value.is_finite())
                .prop_map(|v| format!("{v:e}")),
            any::<i64>().prop_map(|value| value.to_string()),
            any::<u64>().prop_map(|value| value.to_string()),
        ];
        let scalar = prop_oneof![
            number,
            any_text(),
            prop::sample::select(vec!["true", "false", "null", "{}", "[]"]).prop_map(str::to_owned),
        ];
        scalar.prop_recursive(3, 12, 4, |inner| {
            let list = prop::collection::vec((inner.clone(), "[ \t\n\r]{0,2}"), 1..4);
            prop_oneof![
                list.prop_map(|values| {
                    let values: Vec<_> = values
                        .iter()
                        .map(|(value, blank)| format!("{blank}{value}{blank}"))
                        .collect();
                    format!("[{}]", values.join(","))
                }),
                prop::collection::vec((any_text(), inner), 1..4).prop_map(object),
            ]
        })
    }

    fn any_text() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            "[a-z ]{0,40}",
            "[^\"\\\\\\x00-\\x1f]{0,8}",
            r#"\\["\\/bfnrt]"#,
            r"\\u[0-9a-cA-Cef][0-7][0-9a-fA-F]{2}",
            r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}",
        ];
        prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
    }

    fn object(pairs: Vec<(String, String)>) -> String {
        let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}:{value}")).collect();
        format!("{{{}}}", pairs.join(","))
    }

    fn any_line() -> impl Strategy<Value = String> {
        prop::collection::vec((any_text(), any_value()), 0..6).prop_map(object)
    }

    /// Lines that are nearly JSON: a character of a good one is taken out, put in or cut off.
    fn damaged_line() -> impl Strategy<Value = String> {
        let tokens = r#"{}[]:,"\\ 0159-+.eEtfnu/\u{1}é"#;
        let put = prop::sample::select(tokens.chars().collect::<Vec<_>>());
        (any_line(), any::<prop::sample::Index>(), prop::option::of(put), 0..3).prop_map(
            |(line, place, put, damage)| {
                let mut characters: Vec<char> = line.chars().collect();
                let place = place.index(characters.len());
                match damage {
                    0 => characters.truncate(place),
                    1 => drop(characters.remove(place)),
                    _ => characters[place] = put.unwrap_or('x'),
                }
                characters.extend(put);
                characters.into_iter().collect()
            },
        )
    }

    /// Whether an escape stands for half a character.
    fn has_lone_surrogate(line: &str) -> bool {
        let mut rest = line;
        while let Some(at) = rest.find('\\') {
            rest = &rest[at + 1..];
            let unit = |text: &str| {
                let digits = text.strip_prefix('u')?.get(..4)?;
                u16::from_str_radix(digits, 16).ok()
            };
            let Some(first) = unit(rest) else {
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            rest = &rest[5..];
            let second = rest.strip_prefix('\\').and_then(unit);
            match (first, second) {
                (0xd800..=0xdbff, Some(0xdc00..=0xdfff)) => rest = &rest[6..],
                (0xd800..=0xdfff, _) => return true,
                _ => {}
            }
        }
        false
    }

    /// Whether both readers give the same, or differ on purpose: serde_json refuses control
    /// characters and lone surrogates, and the integer -0 is a float to it.
    fn assert_alike(line: &str) -> Result<(), TestCaseError> {
        let ours = read(line).ok();
        let theirs = message_pack(line).ok().filter(|_| line.trim_start().starts_with('{'));
        let found = |pattern| fancy_regex::Regex::new(pattern).unwrap().is_match(line).unwrap();
        let is_lenient = || line.bytes().any(|byte| byte < b' ') || has_lone_surrogate(line);
        let differs_on_purpose = (theirs.is_none() && ours.is_some() && is_lenient())
            || (theirs.is_some() && ours.is_some() && found(r"-0(?![0-9.eE])"));
        prop_assert!(
            ours == theirs || differs_on_purpose,
            "{:?}\n{:x?}\n{:x?}",
            line,
            ours,
            theirs
        );
        Ok(())
    }

    fn assert_small(line: &str) -> Result<(), TestCaseError> {
        // A buffer that had to grow, if only for a moment, has another capacity.
        let mut out = Vec::with_capacity(3 * line.len() + 16);
        let capacity = out.capacity();
        let _parsed = transcode(line, None, READ_AT, &mut out);
        prop_assert_eq!(out.capacity(), capacity, "{}", line);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn a_line_is_read_as_serde_json_reads_it(line in any_line()) {
            assert_alike(&line)?;
            assert_small(&line)?;
        }

        #[test]
        fn a_damaged_line_is_refused_where_serde_json_refuses_it(line in damaged_line()) {
            assert_alike(&line)?;
            assert_small(&line)?;
        }

        #[test]
        fn no_text_makes_it_panic_or_grow(text in r#"([{}\[\]:,"\\u0-9e.tfn -]|true|"a":|\PC){0,60}"#) {
            assert_small(&text)?;
            assert_small(&format!("{{{text}"))?;
            assert_small(&format!("{{\"a\":[{text}"))?;
        }
    }

    #[test]
    fn the_worst_lines_stay_below_three_times_their_length() {
        for value in ["0.0", "1e0", "65536", "128", "\"\"", "{}", "\"\\n\"", "\"\\ud800\"", "-1.5"]
        {
            for count in [1, 15, 16, 100, 70_000] {
                let line = format!("{{\"\":[{}", vec![value; count].join(","));
                assert_small(&line).unwrap();
                assert_small(&(line + "]}")).unwrap();
            }
        }
    }
}

//! `Tag` of an output: a tag made of the tag an event has, and of its record.
//!
//! In:  `x.$TAG`, `$TAG[1].y`, `app.$kubernetes['pod']` or any text; a chunk's tag and its events
//! Out: the tag to send the first event under, and how many events share it
//!
//! What Fluent Bit's record accessor reads is read here: a key's name is ASCII, `['key']` and `[n]`
//! go deeper, and what follows is the end or one of `. ,"` and blank.

use std::fmt::Write as _;
use std::sync::Arc;

use crate::model::Tag;
use crate::model::cursor::{Reader, Token};
use crate::protocol::json;

/// A template for tags. Cheap to clone, because what is on the way remembers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagTemplate(Arc<[Piece]>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `$TAG`.
    Whole,
    /// `$TAG[n]`: its part number n between dots, counted from 0; nothing if there is none.
    Part(usize),
    /// `$key['inner'][n]`: what stands there in the record, as text; nothing if nothing does.
    Value(Vec<Step>),
}

/// A step into a record.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    /// To the value of this key of a map; of the last such key, if there are several.
    Key(String),
    /// To the value of this number in an array, counted from 0.
    Index(u32),
}

/// A `$` that begins nothing that can be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{accessor}' names no key of a record: {fault}. Write for example $level or \
     $kubernetes['pod_name'], and behind it nothing, a dot, a comma or a blank"
)]
pub struct BadAccessor {
    accessor: String,
    fault: &'static str,
}

impl TagTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, BadAccessor> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            push_text(&mut pieces, &rest[..at]);
            let (dollar, behind) = rest[at..].split_at(1);
            rest = if let Some(behind) = behind.strip_prefix("TAG") {
                let (piece, behind) = part_of_tag(behind);
                pieces.push(piece);
                behind
            } else if behind.starts_with(ends_accessor) || behind.is_empty() {
                push_text(&mut pieces, dollar);
                behind
            } else {
                let (steps, behind) = path(behind).map_err(|fault| {
                    let length = rest[at..].find([' ', ',']).unwrap_or(rest.len() - at);
                    BadAccessor { accessor: rest[at..at + length].to_owned(), fault }
                })?;
                pieces.push(Piece::Value(steps));
                behind
            };
        }
        push_text(&mut pieces, rest);
        Ok(Self(pieces.into()))
    }

    /// Whether each event has a tag of its own.
    pub fn asks_for_record(&self) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Value(_)))
    }

    /// The tag that the first of `entries` is sent under, when they have `tag`.
    pub fn apply(&self, tag: &Tag, entries: &[u8]) -> Tag {
        let mut made = String::new();
        self.write(tag, entries, &mut made);
        Tag::new(&made)
    }

    /// Where another tag is due than for the first of `entries`: how many events come before it,
    /// and how many bytes. `None`: all of them go under one tag.
    pub fn first_change(&self, tag: &Tag, entries: &[u8]) -> Option<(u32, usize)> {
        if !self.asks_for_record() {
            return None;
        }
        let (mut first, mut made) = (String::new(), String::new());
        self.write(tag, entries, &mut first);
        let mut reader = Reader::new(entries);
        let mut events = 0;
        loop {
            reader.skip().ok()?;
            events += 1;
            if reader.is_at_end() {
                return None;
            }
            made.clear();
            self.write(tag, reader.rest(), &mut made);
            if made != first {
                return Some((events, reader.at()));
            }
        }
    }

    fn write(&self, tag: &Tag, entries: &[u8], out: &mut String) {
        for piece in &*self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Whole => out.push_str(tag.as_str()),
                Piece::Part(number) => {
                    out.push_str(tag.as_str().split('.').nth(*number).unwrap_or_default());
                }
                Piece::Value(steps) => {
                    if let Some(value) = value_of(steps, entries) {
                        write_value(value, out);
                    }
                }
            }
        }
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// What stands behind `$TAG`: `[n]`, or not.
fn part_of_tag(rest: &str) -> (Piece, &str) {
    let number = rest.strip_prefix('[').and_then(|inside| inside.split_once(']'));
    match number.and_then(|(number, after)| Some((number.parse().ok()?, after))) {
        Some((number, after)) => (Piece::Part(number), after),
        None => (Piece::Whole, rest),
    }
}

fn ends_accessor(c: char) -> bool {
    matches!(c, '.' | ' ' | ',' | '"')
}

/// What stands behind a `$`: a key's name, and steps deeper.
fn path(text: &str) -> Result<(Vec<Step>, &str), &'static str> {
    if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        return Err("a name begins with a letter or '_'");
    }
    let length = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let (name, mut rest) = text.split_at(length.unwrap_or(text.len()));
    let mut steps = vec![Step::Key(name.to_owned())];
    while let Some(inside) = rest.strip_prefix('[') {
        let step = match inside.strip_prefix('\'') {
            Some(quoted) => quoted_key(quoted),
            None => number(inside),
        };
        let (step, behind) = step.ok_or("in [ ] stands a key in '…', or a number from 0")?;
        steps.push(step);
        rest = behind;
    }
    match rest.is_empty() || rest.starts_with(ends_accessor) || rest.starts_with('$') {
        true => Ok((steps, rest)),
        false => Err("a name has letters, digits and '_', other keys stand in ['…'] of a map"),
    }
}

/// The rest of `'key']`, where two quotes stand for one.
fn quoted_key(text: &str) -> Option<(Step, &str)> {
    let mut key = String::new();
    let mut rest = text;
    loop {
        let (part, behind) = rest.split_once('\'')?;
        key.push_str(part);
        if let Some(behind) = behind.strip_prefix(']') {
            return Some((Step::Key(key), behind));
        }
        rest = behind.strip_prefix('\'')?;
        key.push('\'');
    }
}

/// The rest of `n]`.
fn number(text: &str) -> Option<(Step, &str)> {
    let (number, behind) = text.split_once(']')?;
    Some((Step::Index(number.parse().ok()?), behind))
}

/// Where the steps lead to in the record of the first of `entries`: bytes that begin with that
/// value.
fn value_of<'a>(steps: &[Step], entries: &'a [u8]) -> Option<&'a [u8]> {
    let mut event = Reader::new(entries);
    event.array("an event").ok()?;
    event.skip().ok()?;
    steps.iter().try_fold(event.rest(), |value, step| step.take(value))
}

impl Step {
    fn take<'a>(&self, value: &'a [u8]) -> Option<&'a [u8]> {
        let mut reader = Reader::new(value);
        match (self, reader.token().ok()?) {
            (Self::Key(name), Token::Map(pairs)) => {
                let mut found = None;
                for _ in 0..pairs {
                    let is_named = reader.peek().ok()? == Token::Str(name.as_bytes());
                    reader.skip().ok()?;
                    let value = reader.skip().ok()?;
                    if is_named {
                        found = Some(value);
                    }
                }
                found
            }
            (Self::Index(number), Token::Array(values)) if *number < values => {
                for _ in 0..*number {
                    reader.skip().ok()?;
                }
                Some(reader.rest())
            }
            _ => None,
        }
    }
}

/// A value as Fluent Bit's record accessor prints it: floats with six decimals, a map as JSON, an
/// array, a bin or an extension not at all.
fn write_value(value: &[u8], out: &mut String) {
    let mut reader = Reader::new(value);
    let Ok(token) = reader.token() else {
        return;
    };
    let text = match token {
        Token::Str(text) => return out.push_str(&String::from_utf8_lossy(text)),
        Token::Nil => write!(out, "null"),
        Token::Bool(value) => write!(out, "{value}"),
        Token::Unsigned(value) => write!(out, "{value}"),
        Token::Negative(value) => write!(out, "{value}"),
        Token::F32(value) => write!(out, "{value:.6}"),
        Token::F64(value) => write!(out, "{value:.6}"),
        Token::Map(_) => {
            let mut text = Vec::new();
            // What was written before an error is as good a tag as any.
            json::write_json(value, &mut text).ok();
            write!(out, "{}", String::from_utf8_lossy(&text))
        }
        Token::Array(_) | Token::Bin(_) | Token::Ext(..) => Ok(()),
    };
    text.expect("a String takes every text");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::EventTime;

    /// An event: its time, and a record of these bytes.
    fn event(record: &[u8]) -> Vec<u8> {
        let time = EventTime::new(1_700_000_000, 5).unwrap();
        [&[0x92], &time.encode()[..], record].concat()
    }

    /// What is made of one event with this record and the tag `app.web.1`.
    fn made(template: &str, record: &[u8]) -> String {
        let template = TagTemplate::parse(template).unwrap();
        template.apply(&Tag::new("app.web.1"), &event(record)).as_str().to_owned()
    }

    #[test]
    fn a_tag_is_made_of_text_and_of_the_tag_and_its_parts() {
        for (template, expected) in [
            ("literal.text", "literal.text"),
            ("x.$TAG", "x.app.web.1"),
            ("pre.$TAG[1].z", "pre.web.z"),
            ("$TAG[0]", "app"),
            ("$TAG[2]$TAG[1]", "1web"),
            ("$TAG[9]", ""),
            ("$TAG[x]", "app.web.1[x]"),
            ("$TAG.z", "app.web.1.z"),
            ("$TAGS", "app.web.1S"),
            ("cost.$", "cost.$"),
            ("$.a", "$.a"),
        ] {
            assert_eq!(made(template, b"\x80"), expected, "{template}");
            assert!(!TagTemplate::parse(template).unwrap().asks_for_record(), "{template}");
        }
    }

    #[test]
    fn a_tag_is_made_of_what_stands_in_the_record() {
        // {"log":"hi","a":{"b":{"c":"deep","it's":7}},"l":["x",{"y":"z"}],"log":"last"}
        let record = b"\x84\xa3log\xa2hi\xa1a\x81\xa1b\x82\xa1c\xa4deep\xa4it's\x07\
                       \xa1l\x92\xa1x\x81\xa1y\xa1z\xa3log\xa4last";
        for (template, expected) in [
            ("$log", "last"),
            ("pre.$log", "pre.last"),
            ("$log.post", "last.post"),
            ("$log$TAG[1],$log", "lastweb,last"),
            ("$a['b']['c']", "deep"),
            ("$a['b']['it''s']", "7"),
            ("$a['b']", "{\"c\":\"deep\",\"it's\":7}"),
            ("$l[0].$l[1]['y']", "x.z"),
            ("$l[2]", ""),
            ("$l", ""),
            ("$missing", ""),
            ("x.$a['missing'].y", "x..y"),
            ("$a['b']['c']['d']", ""),
            ("$log['b']", ""),
            ("$a[0]", ""),
        ] {
            assert_eq!(made(template, record), expected, "{template}");
            assert!(TagTemplate::parse(template).unwrap().asks_for_record(), "{template}");
        }
    }

    #[test]
    fn a_value_is_printed_as_fluent_bit_does() {
        for (value, expected) in [
            (&b"\xa0"[..], ""),
            (b"\xa6a b.c\n", "a b.c\n"),
            (b"\xa2\xffx", "\u{fffd}x"),
            (b"\xc0", "null"),
            (b"\xc3", "true"),
            (b"\xc2", "false"),
            (b"\x07", "7"),
            (b"\xd0\x80", "-128"),
            (b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff", "18446744073709551615"),
            (b"\xcb\x3f\xf8\0\0\0\0\0\0", "1.500000"),
            (b"\xca\x3f\xc0\0\0", "1.500000"),
            (b"\x80", "{}"),
            (b"\x90", ""),
            (b"\xc4\x01x", ""),
            (b"\xd4\x05x", ""),
        ] {
            assert_eq!(made("$v", &[&b"\x81\xa1v"[..], value].concat()), expected, "{value:02x?}");
        }
    }

    #[test]
    fn what_is_no_event_has_no_key() {
        let template = TagTemplate::parse("x.$log").unwrap();
        for entries in [&b""[..], b"\xc0", b"\x92\x01", b"\x92\x01\x81\xa3log", b"\x92\x01\xa3log"]
        {
            assert_eq!(template.apply(&Tag::new("a"), entries).as_str(), "x.", "{entries:02x?}");
            assert_eq!(template.first_change(&Tag::new("a"), entries), None, "{entries:02x?}");
        }
    }

    #[test]
    fn what_names_no_key_is_refused_with_the_place_and_the_remedy() {
        for (template, shown, fault) in [
            ("a.$1.b", "$1.b", "begins with a letter"),
            ("x $['pod'] y", "$['pod']", "begins with a letter"),
            ("$-a", "$-a", "begins with a letter"),
            ("$a-b", "$a-b", "a name has letters"),
            ("x.$a/b", "$a/b", "a name has letters"),
            ("$a['b']c", "$a['b']c", "a name has letters"),
            ("$a['b'", "$a['b'", "in [ ] stands"),
            ("$a['b", "$a['b", "in [ ] stands"),
            ("$a[b]", "$a[b]", "in [ ] stands"),
            ("$a[-1]", "$a[-1]", "in [ ] stands"),
            ("$a[", "$a[", "in [ ] stands"),
        ] {
            let message = TagTemplate::parse(template).unwrap_err().to_string();
            assert!(message.starts_with(&format!("'{shown}' names no key")), "{message}");
            assert!(message.contains(fault) && message.contains("for example $level"), "{message}");
        }
    }

    #[test]
    fn only_a_template_that_asks_for_records_ever_sees_a_change() {
        let entries = [event(b"\x81\xa1v\x01"), event(b"\x81\xa1v\x02")].concat();
        let change =
            |template| TagTemplate::parse(template).unwrap().first_change(&Tag::new("a"), &entries);
        assert_eq!(change("x.$TAG"), None);
        assert_eq!(change("$v"), Some((1, entries.len() / 2)));
        assert_eq!(change("$other"), None);
    }

    proptest! {
        /// Cutting at each change gives what making a tag of each event alone gives.
        #[test]
        fn runs_hold_every_event_once_in_order_and_under_its_own_tag(
            values in prop::collection::vec((0_u8..3, "[a-c]{0,2}"), 1..60),
        ) {
            let template = TagTemplate::parse("t.$n.$s").unwrap();
            let tag = Tag::new("in");
            let events: Vec<Vec<u8>> = values
                .iter()
                .map(|(number, text)| {
                    let mut record = vec![0x82, 0xa1, b'n', *number, 0xa1, b's'];
                    crate::model::record::write_str(&mut record, text);
                    event(&record)
                })
                .collect();
            let all = events.concat();
            let (mut at, mut number) = (0, 0);
            let mut seen: Vec<(Tag, usize)> = Vec::new();
            while at < all.len() {
                let rest = &all[at..];
                let (count, bytes) = match template.first_change(&tag, rest) {
                    Some((count, bytes)) => (count as usize, bytes),
                    None => (events.len() - number, rest.len()),
                };
                prop_assert_eq!(&rest[..bytes], events[number..number + count].concat());
                seen.push((template.apply(&tag, rest), count));
                (at, number) = (at + bytes, number + count);
            }
            let flat = seen.iter().flat_map(|(tag, count)| vec![tag.as_str().to_owned(); *count]);
            let expected = values.iter().map(|(number, text)| format!("t.{number}.{text}"));
            prop_assert!(flat.eq(expected));
            prop_assert!(seen.windows(2).all(|pair| pair[0].0 != pair[1].0), "as few as can be");
        }

        #[test]
        fn no_template_and_no_bytes_make_it_fail(text: String, entries: Vec<u8>) {
            if let Ok(template) = TagTemplate::parse(&text) {
                template.apply(&Tag::new("a"), &entries);
            }
            let template = TagTemplate::parse("$a['b'][1]").unwrap();
            template.apply(&Tag::new("a"), &entries);
            if let Some((events, bytes)) = template.first_change(&Tag::new("a"), &entries) {
                prop_assert!(events > 0 && bytes > 0 && bytes < entries.len());
            }
        }
    }
}

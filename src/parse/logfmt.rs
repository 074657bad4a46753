//! Reads logfmt: `key=value key="quoted value" bare`.
//!
//! In:  a line
//! Out: its pairs; a bare key is `true`

use super::Unparsed;
use super::fields::Record;

/// Adds the pairs of a line. With `no_bare_keys` a key without `=` makes the line unparsed.
pub(super) fn read(
    line: &str,
    no_bare_keys: bool,
    record: &mut Record<'_>,
) -> Result<(), Unparsed> {
    let mut rest = line.split('\n').next().unwrap_or_default();
    loop {
        rest = rest.trim_start_matches(|c: char| !is_key(c));
        let length = rest.find(|c: char| !is_key(c)).unwrap_or(rest.len());
        let (key, behind) = rest.split_at(length);
        if key.is_empty() {
            break;
        }
        let Some(value) = behind.strip_prefix('=') else {
            if no_bare_keys {
                return Err(Unparsed::NoPair);
            }
            record.add_bare(key);
            rest = behind;
            continue;
        };
        rest = read_value(key, value, record);
    }
    if record.pairs() == 0 { Err(Unparsed::NoPair) } else { Ok(()) }
}

fn is_key(character: char) -> bool {
    character > ' ' && character != '=' && character != '"'
}

/// Adds the value of a key, and gives what follows it.
fn read_value<'a>(key: &str, text: &'a str, record: &mut Record<'_>) -> &'a str {
    if let Some(quoted) = text.strip_prefix('"') {
        let (value, rest) = unquote(quoted);
        record.add(key, &value);
        return rest;
    }
    let length = text.find(|c: char| c <= ' ').unwrap_or(text.len());
    let (value, rest) = text.split_at(length);
    if value.is_empty() {
        record.add_bare(key);
    } else {
        record.add(key, value);
    }
    rest
}

/// The text up to the closing quote with its escapes decoded, and what follows.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => match characters.next().map(|(_, escaped)| escaped) {
                Some('n') => value.push('\n'),
                Some('t') => value.push('\t'),
                Some('r') => value.push('\r'),
                Some(other) => value.push(other),
                None => {}
            },
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use crate::model::EventTime;
    use crate::parse::{Definition, Format, Parser};

    #[test]
    fn pairs_are_read_with_their_quotes_and_bare_keys_are_true() {
        let read = |line: &str, no_bare_keys| {
            let definition = Definition::new("test", Format::Logfmt { no_bare_keys });
            let mut out = Vec::new();
            let parser = Parser::compile(&definition).unwrap();
            parser.parse(line, EventTime::default(), &mut out).is_ok().then_some(out)
        };
        for (line, expected) in [
            ("a=1 b=x", Some(&b"\x82\xa1a\xa11\xa1b\xa1x"[..])),
            ("a=\"x \\\"y\\\"\" b", Some(b"\x82\xa1a\xa5x \"y\"\xa1b\xc3")),
            ("a= b=\"\"", Some(b"\x82\xa1a\xc3\xa1b\xa0")),
            ("  a=1  ", Some(b"\x81\xa1a\xa11")),
            ("a=\"open", Some(b"\x81\xa1a\xa4open")),
            ("", None),
            ("   ", None),
            ("\"=", None),
        ] {
            assert_eq!(read(line, false).as_deref(), expected, "{line}");
        }
        assert_eq!(read("a=1 bare", true), None);
        assert!(read("a=1 b=2", true).is_some());
    }
}

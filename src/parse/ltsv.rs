//! Reads LTSV: `label:value`, separated by tabs.
//!
//! In:  a line
//! Out: its pairs
//!
//! A part without a label makes the line unparsed, where Fluent Bit drops the rest in silence.

use super::Unparsed;
use super::fields::Record;

/// Adds the pairs of a line.
pub(super) fn read(line: &str, record: &mut Record<'_>) -> Result<(), Unparsed> {
    for part in line.split('\t').filter(|part| !part.is_empty()) {
        let Some((label, value)) = part.split_once(':').filter(|(label, _)| is_label(label)) else {
            return Err(Unparsed::NoPair);
        };
        record.add(label, value);
    }
    if record.pairs() == 0 { Err(Unparsed::NoPair) } else { Ok(()) }
}

fn is_label(text: &str) -> bool {
    let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    !text.is_empty() && text.bytes().all(is_label)
}

#[cfg(test)]
mod tests {
    use crate::model::EventTime;
    use crate::parse::{Definition, Format, Parser};

    #[test]
    fn labels_and_values_are_read_and_a_part_without_a_label_makes_the_line_unparsed() {
        let parser = Parser::compile(&Definition::new("test", Format::Ltsv)).unwrap();
        for (line, expected) in [
            ("a:1\tb:x y", Some(&b"\x82\xa1a\xa11\xa1b\xa3x y"[..])),
            ("a:1:2\t\t", Some(b"\x81\xa1a\xa31:2")),
            ("a:1:2\tnonsense\tb:2", None),
            ("a:", Some(b"\x81\xa1a\xa0")),
            ("a b:1", None),
            ("", None),
        ] {
            let mut out = Vec::new();
            let parsed = parser.parse(line, EventTime::default(), &mut out).is_ok();
            assert_eq!(parsed.then_some(&out[..]), expected, "{line}");
        }
    }
}

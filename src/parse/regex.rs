//! Reads lines with a regular expression whose named groups become keys.
//!
//! In:  a line; a pattern in Ruby's syntax, `/…/imx` around it or not
//! Out: one pair for each named group that took part, in the order of the groups

use fancy_regex::{Regex, RegexBuilder};

use super::fields::Record;
use super::{DefinitionError, Unparsed};

/// A compiled pattern.
#[derive(Debug)]
pub(super) struct RegexReader {
    regex: Regex,
    /// Number and name of each named group.
    groups: Vec<(usize, String)>,
    skip_empty_values: bool,
}

impl RegexReader {
    pub(super) fn compile(pattern: &str, skip_empty_values: bool) -> Result<Self, DefinitionError> {
        let regex = compile(pattern)?;
        let groups: Vec<(usize, String)> = regex
            .capture_names()
            .enumerate()
            .filter_map(|(number, name)| Some((number, name?.to_owned())))
            .collect();
        if groups.is_empty() {
            return Err(DefinitionError::NoGroup { pattern: pattern.to_owned() });
        }
        Ok(Self { regex, groups, skip_empty_values })
    }

    /// The names of the groups, and two headers or a float for each.
    pub(super) fn added_bytes(&self) -> usize {
        self.groups.iter().map(|(_, name)| name.len() + 16).sum::<usize>() + 16
    }

    pub(super) fn read(&self, line: &str, record: &mut Record<'_>) -> Result<(), Unparsed> {
        let Ok(Some(captures)) = self.regex.captures(line) else {
            return Err(Unparsed::NoMatch);
        };
        for (number, name) in &self.groups {
            let text = captures.get(*number).map_or("", |group| group.as_str());
            if !(text.is_empty() && self.skip_empty_values) {
                record.add(name, text);
            }
        }
        Ok(())
    }
}

/// Compiles a pattern in Ruby's syntax, `/…/imx` around it or not.
pub(super) fn compile(pattern: &str) -> Result<Regex, DefinitionError> {
    let (body, flags) = unwrap(pattern);
    RegexBuilder::new(&ruby_flags(body, flags)).build().map_err(|reason| DefinitionError::Regex {
        pattern: pattern.to_owned(),
        reason: Box::new(reason),
    })
}

/// The pattern without slashes around it, and the letters behind them.
fn unwrap(pattern: &str) -> (&str, &str) {
    let inner = pattern.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
    match inner {
        Some((body, flags)) if flags.bytes().all(|flag| b"imxo".contains(&flag)) => (body, flags),
        _ => (pattern, ""),
    }
}

/// Ruby's flags as ours: there `^` and `$` always mean lines, and `m` lets a dot match a newline.
fn ruby_flags(body: &str, flags: &str) -> String {
    let mut ours = String::from("m");
    for flag in flags.chars() {
        match flag {
            'i' => ours.push('i'),
            'x' => ours.push('x'),
            'm' => ours.push('s'),
            _ => {}
        }
    }
    format!("(?{ours}){body}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EventTime;
    use crate::parse::{Definition, Format, Parser, TimeFound, Type};

    fn parser(pattern: &str) -> Definition {
        Definition::new(
            "test",
            Format::Regex { pattern: pattern.to_owned(), skip_empty_values: true },
        )
    }

    #[test]
    fn named_groups_become_keys_and_the_time_is_taken_out() {
        let mut definition =
            parser(r"/^(?<host>\S+) \[(?<time>[^\]]+)\] (?<code>\d+)(?: (?<rest>.*))?$/");
        definition.time_key = Some("time".to_owned());
        definition.time_format = Some("%d/%b/%Y:%H:%M:%S %z".to_owned());
        definition.types = vec![("code".to_owned(), Type::Integer)];
        let parser = Parser::compile(&definition).unwrap();
        let mut out = Vec::new();
        let line = "a [02/Jan/2026:03:04:05 +0000] 200";
        let parsed = parser.parse(line, EventTime::default(), &mut out).unwrap();
        assert_eq!(parsed.time, TimeFound::At(EventTime { seconds: 1_767_323_045, nanos: 0 }));
        assert_eq!(out, b"\x82\xa4host\xa1a\xa4code\xcc\xc8");
        assert_eq!(
            parser.parse("something else", EventTime::default(), &mut out),
            Err(Unparsed::NoMatch)
        );
        assert_eq!(out.len(), 15, "a line that does not fit leaves no bytes");
    }

    #[test]
    fn flags_behind_the_slashes_are_rubys() {
        for (pattern, line, fits) in [
            ("/(?<a>ABC)/i", "xabcx", true),
            ("/(?<a>ABC)/", "xabcx", false),
            ("/(?<a>a.b)/m", "a\nb", true),
            ("/(?<a>a.b)/", "a\nb", false),
            ("/(?<a>a b)/x", "ab", true),
            ("^(?<a>b)$", "a\nb", true),
            (r"(?<a>\w+)(?!\d)", "abc", true),
            ("/(?<a>x)/y", "/x/y", true),
        ] {
            let reader = Parser::compile(&parser(pattern)).unwrap();
            let fitted = reader.parse(line, EventTime::default(), &mut Vec::new()).is_ok();
            assert_eq!(fitted, fits, "{pattern} on {line:?}");
        }
    }

    #[test]
    fn a_pattern_that_can_give_nothing_is_refused() {
        let message = |pattern| Parser::compile(&parser(pattern)).unwrap_err().to_string();
        assert!(message("(abc)").contains("has no named group"));
        assert!(message("(?<a>abc").contains("is not a regular expression"));
    }
}

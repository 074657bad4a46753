//! `[FILTER]` sections.
//!
//! In:  a section
//! Out: [`filter::Settings`]

use super::env::Variables;
use super::error::{Place, Report};
use super::keys::{FILTER, Group, RECORD_MODIFIER};
use super::tree::Section;
use super::values::{Found, Values, because_unset};
use crate::filter::record_modifier;
use crate::filter::{Kind, Settings};
use crate::model::Pattern;

static GROUPS: &[&Group] = &[&FILTER, &RECORD_MODIFIER];

/// Reads a section with `Name record_modifier`. `number` counts the filters from 0 and makes its
/// name.
pub(super) fn read_record_modifier(
    section: &Section,
    number: usize,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Settings {
    let mut values =
        Values::read(section, "the filter 'record_modifier'", GROUPS, variables, report);
    report.problems.append(&mut values.unsupported);
    let (pattern, pattern_regex) = read_match(&values);
    if pattern.is_none() && pattern_regex.is_none() {
        let message = "a filter needs a Match; write for example 'Match *'";
        report.refuse_plugin(&values.place("Match"), message);
    }
    Settings {
        name: values.text("Alias").unwrap_or_else(|| format!("record_modifier.{number}")),
        pattern,
        pattern_regex,
        kind: Kind::RecordModifier(read_keys(&values, section, report)),
    }
}

/// `Match` and `Match_Regex`, for filters and outputs.
pub(super) fn read_match(values: &Values) -> (Option<Pattern>, Option<String>) {
    (values.text("Match").map(|text| Pattern::new(&text)), values.text("Match_Regex"))
}

fn read_keys(values: &Values, section: &Section, report: &mut Report) -> record_modifier::Settings {
    let texts = |name| values.all(name).map(|found| found.value.clone()).collect::<Vec<_>>();
    let records = values.all("Record").filter_map(|found| read_record(found, report));
    let records: Vec<_> = records.collect();
    let allowlist_keys = [texts("Allowlist_key"), texts("Whitelist_key")].concat();
    let remove_keys = texts("Remove_key");
    if !remove_keys.is_empty() && !allowlist_keys.is_empty() {
        report.refuse_plugin(
            &section.place,
            "Remove_key and Allowlist_key exclude each other; use a filter for each",
        );
    }
    record_modifier::Settings {
        records,
        remove_keys,
        allowlist_keys,
        uuid_key: values.text("Uuid_key"),
    }
}

/// `KEY VALUE`. Three words are skipped and one is refused, as in Fluent Bit.
fn read_record(found: &Found, report: &mut Report) -> Option<(String, String)> {
    let Found { value, place, unset, .. } = found;
    let mut words = split_words(value).into_iter();
    match (words.next(), words.next(), words.next()) {
        (Some(key), Some(value), None) => return Some((key, value)),
        (Some(key), Some(value), Some(_)) => warn_of_many_words(&key, &value, place, report),
        (Some(key), None, _) if unset.is_empty() => {
            let message =
                format!("'{key}' has no value; write 'Record {key} \"\"' if that is meant");
            report.refuse_plugin(place, message);
        }
        _ => {
            let key = value.split_whitespace().next().unwrap_or_default();
            let because = because_unset(unset);
            report.refuse_plugin(place, format!("'{key}' has no value{because}"));
        }
    }
    None
}

fn warn_of_many_words(key: &str, value: &str, place: &Place, report: &mut Report) {
    report.warn(
        place,
        format!(
            "has more than a key and a value and is skipped; \
             write 'Record {key} \"{value} ...\"' to keep blanks"
        ),
    );
}

/// Words between blanks. One that begins with a double quote runs to the next one that has no
/// backslash before it; the quotes go, and `\"` is a quote.
pub(super) fn split_words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => split_at_quote(quoted),
            None => rest.split_once(char::is_whitespace).unwrap_or((rest, "")),
        };
        let is_quoted = rest.starts_with('"');
        words.push(if is_quoted { word.replace("\\\"", "\"") } else { word.to_owned() });
        rest = after.trim_start();
    }
    words
}

/// What stands before and behind the closing quote. Without one, everything stands before it.
fn split_at_quote(text: &str) -> (&str, &str) {
    let is_closing = |at: usize| !text[..at].ends_with('\\');
    match text.match_indices('"').map(|(at, _)| at).find(|at| is_closing(*at)) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_keep_blanks_together_at_the_beginning_of_a_word_only() {
        for (text, expected) in [
            ("host a", vec!["host", "a"]),
            ("  host   a  ", vec!["host", "a"]),
            ("msg \"a b\"", vec!["msg", "a b"]),
            ("\"my key\" v", vec!["my key", "v"]),
            ("k \"\"", vec!["k", ""]),
            ("k \"say \\\"hi\\\"\"", vec!["k", "say \"hi\""]),
            ("k a\"b c\"", vec!["k", "a\"b", "c\""]),
            ("k 'a b'", vec!["k", "'a", "b'"]),
            ("k \"open end", vec!["k", "open end"]),
            ("k", vec!["k"]),
            ("", vec![]),
        ] {
            assert_eq!(split_words(text), expected, "{text}");
        }
    }
}

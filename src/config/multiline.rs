//! `[MULTILINE_PARSER]` sections.
//!
//! In:  a section
//! Out: a [`Definition`], without the parser of its lines, which may be defined later

use std::time::Duration;

use super::env::Variables;
use super::error::{Place, Report};
use super::filters::split_words;
use super::keys::{Group, MULTILINE_PARSER};
use super::tree::Section;
use super::values::Values;
use crate::parse::multiline::{Definition, Kind, Match, Rule};

static GROUPS: &[&Group] = &[&MULTILINE_PARSER];

/// A multiline parser as its section has it.
#[derive(Debug)]
pub(super) struct Defined {
    pub(super) definition: Definition,
    /// `Parser`, which makes a record of each line.
    pub(super) parser: Option<(String, Place)>,
    /// Where its rules are written, in order.
    pub(super) rules: Vec<Place>,
    pub(super) place: Place,
}

/// `None`: the report says why.
pub(super) fn read(
    section: &Section,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Option<Defined> {
    let values = Values::read(section, "[MULTILINE_PARSER]", GROUPS, variables, report);
    let Some(name) = values.text("Name") else {
        report.refuse(&section.place, "a multiline parser needs a Name");
        return None;
    };
    let kind = read_kind(&values, report)?;
    warn_of_other_types(&kind, &values, report);
    let mut definition = Definition::new(&name, kind);
    definition.flush_after = read_flush(&values, report).unwrap_or(definition.flush_after);
    definition.key_content = values.text("Key_Content");
    definition.key_pattern = values.text("Key_Pattern");
    definition.key_group = values.text("Key_Group");
    let parser = values.text("Parser").map(|name| (name, values.place("Parser")));
    if parser.is_none() {
        warn_of(&["Key_Pattern", "Key_Group"], "without a Parser", &values, report);
    }
    let rules = values.all("Rule").filter(|found| read_rule(&found.value).is_some());
    let rules = rules.map(|found| found.place.clone()).collect();
    Some(Defined { definition, parser, rules, place: section.place.clone() })
}

/// As in Fluent Bit, no time-out is the usual one.
fn read_flush(values: &Values, report: &mut Report) -> Option<Duration> {
    let millis = u64::try_from(values.integer("Flush_Timeout")?).unwrap_or(0);
    if millis == 0 {
        let message = "is no time in milliseconds; the default, 4000, holds";
        report.warn(&values.place("Flush_Timeout"), message);
        return None;
    }
    Some(Duration::from_millis(millis))
}

/// Keys that this type has no use for.
fn warn_of_other_types(kind: &Kind, values: &Values, report: &mut Report) {
    let keys: &[&str] = match kind {
        Kind::States(_) => &["Match_String", "Negate"],
        Kind::EndsWith(_) | Kind::Equal(_) => &["Rule"],
    };
    warn_of(keys, "with this Type", values, report);
}

fn warn_of(keys: &[&str], when: &str, values: &Values, report: &mut Report) {
    for key in keys.iter().filter(|key| values.find(key).is_some()) {
        report.warn(&values.place(key), format!("is not obeyed {when}; take it out"));
    }
}

fn read_kind(values: &Values, report: &mut Report) -> Option<Kind> {
    const TYPES: &str = "regex, endswith and equal";
    let Some(written) = values.text("Type") else {
        let message = format!("a multiline parser needs a Type; there are {TYPES}");
        report.refuse(&values.place("Type"), message);
        return None;
    };
    match written.to_ascii_lowercase().as_str() {
        "regex" => Some(Kind::States(read_rules(values, report))),
        "endswith" => read_match(values, report).map(Kind::EndsWith),
        "equal" | "eq" => read_match(values, report).map(Kind::Equal),
        _ => {
            let message = format!("there is no type '{written}'; there are {TYPES}");
            report.refuse(&values.place("Type"), message);
            None
        }
    }
}

fn read_match(values: &Values, report: &mut Report) -> Option<Match> {
    let Some(text) = values.text("Match_String") else {
        let message = "this type needs the text that completes a message";
        report.refuse(&values.place("Match_String"), message);
        return None;
    };
    Some(Match { text, negate: values.boolean("Negate").unwrap_or(false) })
}

fn read_rules(values: &Values, report: &mut Report) -> Vec<Rule> {
    let mut rules = Vec::new();
    for found in values.all("Rule") {
        match read_rule(&found.value) {
            Some(rule) => rules.push(rule),
            None => report.refuse(
                &found.place,
                "is no rule; write 'Rule \"state\" \"/pattern/\" \"next state\"'",
            ),
        }
    }
    rules
}

fn read_rule(text: &str) -> Option<Rule> {
    match split_words(text).as_slice() {
        [from, pattern] => Some(Rule::new(from, pattern, None)),
        [from, pattern, to] => Some(Rule::new(from, pattern, Some(to))),
        _ => None,
    }
}

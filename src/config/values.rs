//! The values of one section: expanded, known and checked.
//!
//! In:  a section of the tree and the groups of keys it may have
//! Out: [`Values`], which every plugin reads its settings from
//!
//! Everything a key's declaration can judge is judged here, once: unknown keys, duplicates, types,
//! keys we do not obey. A getter finds nothing to complain about; a value that was reported as
//! unreadable is to it as if it were not written, so that the default holds.

use std::time::Duration;

use super::env::{Variables, lines_that_set};
use super::error::{Place, Problem, Report, Stage, did_you_mean};
use super::keys::{Group, Key, Kind, Scope, Standing};
use super::tree::{Entry, Section};
use crate::model::units;

/// What a section says.
#[derive(Debug)]
pub(super) struct Values {
    place: Place,
    groups: &'static [&'static Group],
    found: Vec<Found>,
    /// Keys that are empty after expansion, with their unset variables. They count as not written,
    /// but a message about what is missing can say why.
    emptied: Vec<(&'static Key, Place, Vec<String>)>,
    /// Keys whose values we do not obey and that would change the data. A plugin must report
    /// them; a parser only does when it is used.
    pub(super) unsupported: Vec<Problem>,
}

/// One entry with a value.
#[derive(Debug)]
pub(super) struct Found {
    key: &'static Key,
    scope: Scope,
    /// Expanded; never empty.
    pub(super) value: String,
    pub(super) place: Place,
    /// Variables in it that are set nowhere.
    pub(super) unset: Vec<String>,
}

impl Values {
    /// Reads `section`, whose keys are those of `groups`. `owner` is what messages call it.
    pub(super) fn read(
        section: &Section,
        owner: &str,
        groups: &'static [&'static Group],
        variables: &Variables<'_>,
        report: &mut Report,
    ) -> Self {
        let mut values = Self {
            place: section.place.clone(),
            groups,
            found: Vec::new(),
            emptied: Vec::new(),
            unsupported: Vec::new(),
        };
        for entry in &section.entries {
            let Some((group, key)) = find_key(groups, &entry.key) else {
                report_unknown_key(entry, owner, groups, report);
                continue;
            };
            let expanded = expand(&entry.value, &entry.place, variables, report);
            if expanded.text.is_empty() {
                values.emptied.push((key, entry.place.clone(), expanded.unset));
                continue;
            }
            let place = entry.place.clone();
            let (value, unset) = (expanded.text, expanded.unset);
            values.add(Found { key, scope: group.scope, value, place, unset }, report);
        }
        values
    }

    fn add(&mut self, found: Found, report: &mut Report) {
        check_type(&found, report);
        self.check_standing(&found, report);
        if let Some(first) = self.found.iter().find(|first| first.key.name == found.key.name)
            && !first.may_be_followed()
        {
            report_duplicate(first, &found, report);
        }
        self.found.push(found);
    }

    fn check_standing(&mut self, found: &Found, report: &mut Report) {
        match found.key.standing {
            Standing::Obeyed => {}
            // A boolean that cannot be read is off; a warning says so, or the start stops.
            Standing::Note(_) if found.says_the_usual() || found.is_no_boolean() => {}
            Standing::Note(why) => {
                report.note(&found.place, format!("accepted, not obeyed: {why}"));
            }
            Standing::Unsupported { harmless, .. } if found.is_one_of(harmless) => {}
            // A boolean of the engine that cannot be read is off there; that was warned of.
            Standing::Unsupported { .. } if found.scope == Scope::Core && found.is_no_boolean() => {
            }
            Standing::Unsupported { instead, .. } => self.unsupported.push(Problem {
                place: found.place.clone(),
                message: format!("not supported by this version; {instead}"),
                stage: Stage::PluginStart,
            }),
        }
    }

    /// The value that counts: the last one. (More than one of a plugin's own was refused.)
    pub(super) fn find(&self, name: &str) -> Option<&Found> {
        debug_assert!(find_key(self.groups, name).is_some(), "'{name}' is declared nowhere");
        self.found.iter().rfind(|found| found.key.is_called(name))
    }

    /// Every value of a repeatable key, in file order.
    pub(super) fn all(&self, name: &'static str) -> impl Iterator<Item = &Found> {
        self.found.iter().filter(move |found| found.key.is_called(name))
    }

    /// The text of a key.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        self.find(name).map(|found| found.value.clone())
    }

    /// The texts between commas; empty ones are left out.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let value = self.find(name).map_or("", |found| found.value.as_str());
        let parts = value.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.map(str::to_owned).collect()
    }

    pub(super) fn boolean(&self, name: &str) -> Option<bool> {
        units::parse_boolean(&self.find(name)?.value)
    }

    pub(super) fn size(&self, name: &str) -> Option<usize> {
        units::parse_size_plainly(&self.find(name)?.value)
    }

    pub(super) fn binary_size(&self, name: &str) -> Option<usize> {
        units::parse_binary_size(&self.find(name)?.value)
    }

    pub(super) fn time(&self, name: &str) -> Option<Duration> {
        units::parse_time(&self.find(name)?.value)
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        units::leading_integer(&self.find(name)?.value)
    }

    /// A key that was written and is empty after expansion: its place, and why it is empty.
    pub(super) fn emptied(&self, name: &str) -> Option<(&Place, String)> {
        let (_, place, unset) = self.emptied.iter().find(|(key, ..)| key.is_called(name))?;
        Some((place, because_unset(unset)))
    }

    /// Where a key is written; the section when it is not.
    pub(super) fn place(&self, name: &str) -> Place {
        self.find(name).map_or_else(|| self.place.with_key(name), |found| found.place.clone())
    }
}

impl Found {
    /// Whether it stands under this very name, where a key has several.
    pub(super) fn is_written(&self, name: &str) -> bool {
        self.place.key.as_deref().is_some_and(|key| key.eq_ignore_ascii_case(name))
    }

    /// Whether it is a boolean that is off.
    pub(super) fn is_off(&self) -> bool {
        self.key.kind == Kind::Boolean && units::parse_boolean(&self.value) != Some(true)
    }

    /// Whether the value is what holds without it, or asks for nothing.
    pub(super) fn says_the_usual(&self) -> bool {
        let is_off = units::parse_boolean(&self.value) == Some(false);
        let same_boolean = units::parse_boolean(&self.value)
            .is_some_and(|value| units::parse_boolean(self.key.default) == Some(value));
        match self.key.kind {
            Kind::Boolean => is_off || same_boolean,
            _ => self.value.eq_ignore_ascii_case(self.key.default),
        }
    }

    pub(super) fn is_one_of(&self, words: &[&str]) -> bool {
        words.iter().any(|word| self.value.eq_ignore_ascii_case(word))
    }

    fn is_no_boolean(&self) -> bool {
        self.key.kind == Kind::Boolean && units::parse_boolean(&self.value).is_none()
    }

    fn may_be_followed(&self) -> bool {
        self.key.repeatable || self.key.name.ends_with('*')
    }
}

/// Replaces the variables of a value and says which of them are not set.
pub(super) fn expand(
    value: &str,
    place: &Place,
    variables: &Variables<'_>,
    report: &mut Report,
) -> super::env::Expanded {
    let expanded = variables.expand(value);
    for name in &expanded.unset {
        report.warn(
            place,
            format!("${{{name}}} is not set and nothing stands in its place; set it, or write ${{{name}:-default}}"),
        );
    }
    for message in &expanded.assumed {
        report.note(place, message);
    }
    expanded
}

/// `, because ${X} is not set; …` with the lines that set it, or nothing when all are set.
pub(super) fn because_unset(unset: &[String]) -> String {
    let Some(name) = unset.first() else {
        return String::new();
    };
    format!(
        ", because ${{{name}}} is not set; set it for this container in the Pod manifest:\n{}",
        lines_that_set(name)
    )
}

fn find_key(
    groups: &'static [&'static Group],
    name: &str,
) -> Option<(&'static Group, &'static Key)> {
    groups.iter().find_map(|group| Some((*group, group.find(name)?)))
}

fn report_unknown_key(
    entry: &Entry,
    owner: &str,
    groups: &'static [&'static Group],
    report: &mut Report,
) {
    let names = groups.iter().flat_map(|group| group.keys).map(|key| key.name);
    let hint = did_you_mean(&entry.key, names);
    if groups.iter().all(|group| group.scope == Scope::Section) {
        report.warn(&entry.place, format!("{owner} has no such key; it is ignored{hint}"));
    } else {
        report.refuse_plugin(&entry.place, format!("{owner} has no such key{hint}"));
    }
}

fn report_duplicate(first: &Found, second: &Found, report: &mut Report) {
    let line = first.place.line.unwrap_or_default();
    match second.scope {
        Scope::Plugin => report.refuse_plugin(
            &second.place,
            format!("already written in line {line}; keep one of them"),
        ),
        Scope::Core | Scope::Section => report.warn(
            &second.place,
            format!("already written in line {line}; this one counts, keep only one"),
        ),
    }
}

fn check_type(found: &Found, report: &mut Report) {
    let Found { key, scope, value, place, .. } = found;
    match key.kind {
        Kind::Boolean => check_boolean(found, report),
        Kind::Size => check_size(found, report),
        Kind::BinarySize if units::parse_binary_size(value).is_none() => {
            let instead = what_holds_instead(key);
            report
                .warn(place, format!("'{value}' is not a size; write for example '2M'; {instead}"));
        }
        Kind::Time => check_time(found, &[units::time_in_fluent_bit(value)], report),
        Kind::OwnTime => check_time(found, &[], report),
        Kind::SecondsAndNanos => {
            check_time(found, &[units::seconds_and_nanos_in_fluent_bit(value)], report);
        }
        Kind::Integer if units::parse_integer(value).is_none() => {
            let taken = match units::leading_integer(value) {
                Some(number) => format!("{number} is taken"),
                None => what_holds_instead(key),
            };
            report.warn(place, format!("'{value}' is not a whole number; {taken}"));
        }
        Kind::Number if units::parse_number(value).is_none() => {
            report.warn(place, format!("'{value}' is not a number; {}", what_holds_instead(key)));
        }
        Kind::Choice(words) if !found.is_one_of(words) => {
            let hint = did_you_mean(value, words.iter().copied());
            let message = format!("'{value}' is none of {}{hint}", words.join(", "));
            // A plugin's own enumerations are read when it starts.
            match scope {
                Scope::Plugin => report.refuse_plugin(place, message),
                Scope::Core | Scope::Section => report.refuse(place, message),
            }
        }
        Kind::Regex => {
            if let Err(error) = fancy_regex::Regex::new(value) {
                report.refuse_plugin(place, format!("this is no regular expression: {error}"));
            }
        }
        _ => {}
    }
}

fn check_boolean(Found { key, scope, value, place, .. }: &Found, report: &mut Report) {
    if units::parse_boolean(value).is_some() {
        return;
    }
    let message = format!("'{value}' is not a boolean; write On or Off");
    match scope {
        Scope::Plugin => report.refuse_plugin(place, message),
        Scope::Core | Scope::Section => {
            report.warn(place, format!("{message}; {}", what_holds_instead(key)));
        }
    }
}

fn check_size(Found { key, scope, value, place, .. }: &Found, report: &mut Report) {
    if units::parse_size(value).is_some() {
        return;
    }
    match (scope, units::parse_size_plainly(value)) {
        (Scope::Plugin, Some(bytes)) => report.warn(
            place,
            format!("'{value}' is no limit at all in Fluent Bit; it is taken as {bytes} bytes"),
        ),
        (Scope::Plugin, None) => {
            let instead = what_holds_instead(key);
            report.warn(
                place,
                format!("'{value}' is not a size; write for example '5MB'; {instead}"),
            );
        }
        (Scope::Core | Scope::Section, _) => {
            report.refuse(place, format!("'{value}' is not a size; write for example '5MB'"));
        }
    }
}

/// `there` is what Fluent Bit makes of the value, if it knows the key at all.
fn check_time(Found { key, value, place, .. }: &Found, there: &[Duration], report: &mut Report) {
    // The one time that may be negative.
    if key.name == "Grace" && value == "-1" {
        return;
    }
    let Some(plain) = units::parse_time(value) else {
        let instead = what_holds_instead(key);
        return report
            .warn(place, format!("'{value}' is not a time; write for example '10s'; {instead}"));
    };
    if let Some(there) = there.first().filter(|there| **there != plain) {
        report.warn(
            place,
            format!("'{value}' is taken as {plain:?}; Fluent Bit takes it as {there:?}"),
        );
    }
}

fn what_holds_instead(key: &Key) -> String {
    match key.default {
        "" => "it is taken as not written".to_owned(),
        default => format!("the default, {default}, holds"),
    }
}

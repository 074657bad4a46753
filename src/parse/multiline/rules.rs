//! Decides where a line stands in a message.
//!
//! In:  the line, and the rule that the line before it matched
//! Out: whether it begins a message, goes on with one, or ends one; or that it is no part of any

use fancy_regex::Regex;

use super::definition::Match;
use super::{Kind, MultilineError, Rule};
use crate::parse::regex;

/// The state in which no message is pending.
const START: &str = "start_state";

/// The rules of one multiline parser, compiled.
#[derive(Debug)]
pub(super) enum Rules {
    States(Vec<State>),
    Ending { wanted: Match, is_whole: bool },
}

/// One rule: what its pattern is, and what may follow.
#[derive(Debug)]
pub(super) struct State {
    pattern: Regex,
    is_start: bool,
    /// The rules that are tried on the next line, by number.
    next: Vec<usize>,
    /// A line that matches is the message's last.
    is_last: bool,
}

/// What a line is to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// It is the first line of a message.
    pub(super) begins: bool,
    /// It is the last one.
    pub(super) ends: bool,
    /// The rule it matched.
    pub(super) rule: usize,
}

impl Rules {
    pub(super) fn compile(kind: &Kind) -> Result<Self, MultilineError> {
        match kind {
            Kind::States(rules) => compile_states(rules).map(Self::States),
            Kind::EndsWith(wanted) => Ok(Self::Ending { wanted: wanted.clone(), is_whole: false }),
            Kind::Equal(wanted) => Ok(Self::Ending { wanted: wanted.clone(), is_whole: true }),
        }
    }

    /// `before` is the rule that the line before matched. `None`: the line is no part of a message.
    pub(super) fn step(&self, text: &str, before: Option<usize>) -> Option<Step> {
        match self {
            Self::States(states) => step(states, text, before),
            Self::Ending { wanted, is_whole } => {
                let fits = match is_whole {
                    true => text == wanted.text,
                    false => text.ends_with(&wanted.text),
                };
                Some(Step { begins: before.is_none(), ends: fits != wanted.negate, rule: 0 })
            }
        }
    }
}

/// What goes on with the message is tried first, then what begins a new one (Fluent Bit 5.1).
fn step(states: &[State], text: &str, before: Option<usize>) -> Option<Step> {
    // A pattern that takes too many steps does not match.
    let matches = |rule: &usize| states[*rule].pattern.is_match(text).unwrap_or(false);
    let next = before.map_or(&[][..], |rule| &states[rule].next);
    if let Some(&rule) = next.iter().find(|rule| matches(rule)) {
        return Some(Step { begins: false, ends: states[rule].is_last, rule });
    }
    let rule = (0..states.len()).filter(|&rule| states[rule].is_start).find(matches)?;
    Some(Step { begins: true, ends: states[rule].is_last, rule })
}

fn compile_states(rules: &[Rule]) -> Result<Vec<State>, MultilineError> {
    let first = rules.first().ok_or(MultilineError::NoRule)?;
    if !is_start(first) {
        return Err(MultilineError::NoStart(first.from.join(", ")));
    }
    rules.iter().map(|rule| compile_state(rule, rules)).collect()
}

fn compile_state(rule: &Rule, rules: &[Rule]) -> Result<State, MultilineError> {
    let follows =
        |other: &Rule| rule.to.as_ref().is_some_and(|to| other.from.iter().any(|from| from == to));
    let followers: Vec<usize> = (0..rules.len()).filter(|&at| follows(&rules[at])).collect();
    if let (Some(to), true) = (&rule.to, followers.is_empty()) {
        return Err(MultilineError::NoSuchState(to.clone()));
    }
    let (starts, next): (Vec<_>, Vec<_>) = followers.iter().partition(|&&at| is_start(&rules[at]));
    Ok(State {
        pattern: regex::compile(&rule.pattern)?,
        is_start: is_start(rule),
        // As in Fluent Bit 5.1: where a message may begin next, this one ends here.
        is_last: rule.to.is_none() || !starts.is_empty(),
        next,
    })
}

fn is_start(rule: &Rule) -> bool {
    rule.from.iter().any(|from| from == START)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(rules: &[(&str, &str, Option<&str>)]) -> Result<Rules, MultilineError> {
        let rules = rules.iter().map(|(from, pattern, to)| Rule::new(from, pattern, *to)).collect();
        Rules::compile(&Kind::States(rules))
    }

    #[test]
    fn what_continues_is_tried_before_what_begins() {
        let rules = states(&[
            ("start_state", "/^[A-Z]/", Some("body")),
            ("body, tail", "/^B/", Some("tail")),
            ("tail", "/^end$/", None),
        ])
        .unwrap();
        let step = |begins, ends, rule| Some(Step { begins, ends, rule });
        for (line, before, expected) in [
            ("A", None, step(true, false, 0)),
            ("B", None, step(true, false, 0)),
            ("B", Some(0), step(false, false, 1)),
            ("C", Some(1), step(true, false, 0)),
            ("end", Some(1), step(false, true, 2)),
            ("end", Some(0), None),
            ("end", None, None),
        ] {
            assert_eq!(rules.step(line, before), expected, "{line} after {before:?}");
        }
    }

    #[test]
    fn a_line_after_which_a_message_may_begin_is_the_last() {
        let rules = states(&[("start_state, again", "a", Some("b")), ("b", "b", Some("again"))]);
        let expected = Some(Step { begins: false, ends: true, rule: 1 });
        assert_eq!(rules.unwrap().step("b", Some(0)), expected);
    }

    #[test]
    fn the_text_that_ends_a_message_may_be_whole_or_negated() {
        for (is_whole, negate, line, ends) in [
            (false, false, "a;", true),
            (false, false, "a", false),
            (false, true, "a\\", true),
            (true, false, ";", true),
            (true, false, "a;", false),
            (true, true, "a;", true),
        ] {
            let wanted = Match { text: ";".to_owned(), negate };
            let kind = if is_whole { Kind::Equal(wanted) } else { Kind::EndsWith(wanted) };
            let step = Rules::compile(&kind).unwrap().step(line, None).unwrap();
            assert_eq!((step.begins, step.ends), (true, ends), "{kind:?} {line}");
        }
    }

    #[test]
    fn rules_that_lead_nowhere_are_refused() {
        let message = |rules: &[_]| states(rules).unwrap_err().to_string();
        assert!(message(&[]).contains("has no Rule"));
        assert!(message(&[("cont", "a", None)]).contains("begins with \"cont\""));
        assert!(message(&[("start_state", "a", Some("x"))]).contains("begins with \"x\""));
        assert!(message(&[("start_state", "(", None)]).contains("regular expression"));
    }
}

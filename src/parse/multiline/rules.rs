//! Decides where a line stands in a message.
//!
//! In:  the line, and the rule that the line before it matched
//! Out: whether it begins a message, goes on with one, or ends one; or that it is no part of any

use fancy_regex::Regex;

use super::definition::Match;
use super::{Kind, Look, MultilineError, Rule, WrongRule, old};
use crate::parse::regex;

/// The state in which no message is pending.
const START: &str = "start_state";

/// The rules of one multiline parser, compiled.
#[derive(Debug)]
pub(super) enum Rules {
    States(Vec<State>),
    Ending {
        wanted: Match,
        is_whole: bool,
    },
    /// Messages begin with a line that a parser of first lines knows.
    FirstLines,
    /// Lines come in pieces; with a parser of first lines, messages begin with a line it knows.
    Pieces {
        by_first_line: bool,
    },
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
    pub(super) fn step(&self, line: &Look<'_>, before: Option<usize>) -> Option<Step> {
        match self {
            Self::States(states) => step(states, line.pattern, before),
            Self::Ending { wanted, is_whole } => {
                let fits = match is_whole {
                    true => line.pattern == wanted.text,
                    false => line.pattern.ends_with(&wanted.text),
                };
                Some(Step { begins: before.is_none(), ends: fits != wanted.negate, rule: 0 })
            }
            Self::FirstLines if line.is_first || before.is_some() => {
                Some(Step { begins: line.is_first, ends: false, rule: 0 })
            }
            Self::FirstLines => None,
            Self::Pieces { by_first_line } => Some(old::step(*by_first_line, line, before)),
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
        let wrong = WrongRule::NoStart(first.from.join(", "));
        return Err(MultilineError::Rule { number: 0, wrong });
    }
    let compile = |(number, rule)| {
        compile_state(rule, rules).map_err(|wrong| MultilineError::Rule { number, wrong })
    };
    rules.iter().enumerate().map(compile).collect()
}

fn compile_state(rule: &Rule, rules: &[Rule]) -> Result<State, WrongRule> {
    let follows =
        |other: &Rule| rule.to.as_ref().is_some_and(|to| other.from.iter().any(|from| from == to));
    let followers: Vec<usize> = (0..rules.len()).filter(|&at| follows(&rules[at])).collect();
    if let (Some(to), true) = (&rule.to, followers.is_empty()) {
        return Err(WrongRule::NoSuchState(to.clone()));
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
            assert_eq!(
                rules.step(&Look::of_text(line), before),
                expected,
                "{line} after {before:?}"
            );
        }
    }

    #[test]
    fn a_line_after_which_a_message_may_begin_is_the_last() {
        let rules = states(&[("start_state, again", "a", Some("b")), ("b", "b", Some("again"))]);
        let expected = Some(Step { begins: false, ends: true, rule: 1 });
        assert_eq!(rules.unwrap().step(&Look::of_text("b"), Some(0)), expected);
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
            let step = Rules::compile(&kind).unwrap().step(&Look::of_text(line), None).unwrap();
            assert_eq!((step.begins, step.ends), (true, ends), "{kind:?} {line}");
        }
    }

    #[test]
    fn rules_that_lead_nowhere_are_refused() {
        let message = |rules: &[_]| states(rules).unwrap_err().to_string();
        assert!(message(&[]).contains("is missing"));
        assert!(message(&[("cont", "a", None)]).contains("tried in \"cont\""));
        assert!(message(&[("start_state", "a", Some("x"))]).contains("tried in \"x\""));
        assert!(message(&[("start_state", "(", None)]).contains("regular expression"));
    }
}

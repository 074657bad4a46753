//! Changes records in place, between the parser and the chunk.
//!
//! In:  a record at the end of the open chunk's buffer
//! Out: the same bytes edited, or the word that the event is to be dropped
//!
//! Filters run in the order of the configuration, each on what the one before it left; time and
//! tag of an event stay as they are.

pub mod record_modifier;
mod uuid;

use record_modifier::RecordModifier;

use crate::model::{NotARegex, Pattern, Selector, Tag};

/// One `[FILTER]` section: which tags it takes, and what it does to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `Alias`, or `<plugin>.<n>`: what logs and metrics call this filter.
    pub name: String,
    /// `Match`.
    pub pattern: Option<Pattern>,
    /// `Match_Regex`.
    pub pattern_regex: Option<String>,
    /// The plugin and its keys.
    pub kind: Kind,
}

/// The filters there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `Name record_modifier`.
    RecordModifier(record_modifier::Settings),
}

/// Why a filter cannot be compiled.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// Its tags cannot be selected.
    #[error("Match_Regex: {0}")]
    Match(#[from] NotARegex),
    /// Keys to remove and keys to keep, in one filter.
    #[error("Remove_key and Allowlist_key exclude each other; use a filter for each")]
    RemoveAndAllowlist,
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Keep,
    /// It ends here, on purpose. Its bytes may be in any state.
    Drop,
}

/// A filter, ready to work.
#[derive(Debug)]
pub struct Filter {
    selector: Selector,
    work: RecordModifier,
}

impl Filter {
    /// `seed` is where its random numbers begin, if it needs any.
    pub fn compile(settings: &Settings, seed: u128) -> Result<Self, FilterError> {
        let selector =
            Selector::compile(settings.pattern.clone(), settings.pattern_regex.as_deref())?;
        let Kind::RecordModifier(keys) = &settings.kind;
        Ok(Self { selector, work: RecordModifier::compile(keys, seed)? })
    }

    /// Whether it works on events of this tag.
    pub fn takes(&self, tag: &Tag) -> bool {
        self.selector.takes(tag)
    }

    /// The most bytes by which it makes a record longer.
    pub fn added_bytes(&self) -> usize {
        self.work.added_bytes()
    }

    /// Edits the record that begins at `start` and ends where `out` ends.
    ///
    /// # Panics
    ///
    /// If those bytes are not one whole MessagePack map, nested no deeper than
    /// [`MAX_DEPTH`](crate::model::cursor::MAX_DEPTH): whoever calls has made or checked them.
    pub fn apply(&mut self, out: &mut Vec<u8>, start: usize) -> Verdict {
        self.work.apply(out, start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pattern: Option<&str>, regex: Option<&str>) -> Settings {
        Settings {
            name: "record_modifier.0".to_owned(),
            pattern: pattern.map(Pattern::new),
            pattern_regex: regex.map(str::to_owned),
            kind: Kind::RecordModifier(record_modifier::Settings::default()),
        }
    }

    #[test]
    fn a_filter_takes_the_tags_of_its_match_or_its_regex() {
        for (pattern, regex, tag, expected) in [
            (Some("app.*"), None, "app.logs", true),
            (Some("app.*"), None, "sys.logs", false),
            (None, Some("sys"), "sys.logs", true),
            (Some("app.*"), Some("sys"), "sys.logs", true),
        ] {
            let filter = Filter::compile(&settings(pattern, regex), 0).unwrap();
            assert_eq!(filter.takes(&Tag::new(tag)), expected, "{pattern:?} {regex:?} {tag}");
        }
    }

    #[test]
    fn a_bad_regex_names_its_key() {
        let error = Filter::compile(&settings(None, Some("(")), 0).unwrap_err().to_string();
        assert!(error.starts_with("Match_Regex: '(' is not"), "{error}");
    }
}

//! Which tags a filter or an output takes: `Match` and `Match_Regex` together.
//!
//! In:  the two values, as written
//! Out: for a tag, yes or no

use fancy_regex::Regex;

use super::{Pattern, Tag};

/// What one filter or output takes: `Match`, `Match_Regex`, or both (then either will do).
#[derive(Debug)]
pub struct Selector {
    pattern: Option<Pattern>,
    regex: Option<Regex>,
}

/// A `Match_Regex` that is no regular expression.
#[derive(Debug, thiserror::Error)]
#[error("'{text}' is not a regular expression: {reason}")]
pub struct NotARegex {
    /// What is written.
    pub text: String,
    /// What is wrong with it.
    #[source]
    pub reason: Box<fancy_regex::Error>,
}

impl Selector {
    /// With neither, nothing is taken.
    pub fn compile(pattern: Option<Pattern>, regex: Option<&str>) -> Result<Self, NotARegex> {
        let compile = |text: &str| {
            Regex::new(text)
                .map_err(|reason| NotARegex { text: text.to_owned(), reason: Box::new(reason) })
        };
        Ok(Self { pattern, regex: regex.map(compile).transpose()? })
    }

    /// Whether the tag is taken. A regex must match at the first character of the tag, and at
    /// least one (Fluent Bit's rule).
    pub fn takes(&self, tag: &Tag) -> bool {
        let tag = tag.as_str();
        if self.pattern.as_ref().is_some_and(|pattern| pattern.matches(tag)) {
            return true;
        }
        let found = self.regex.as_ref().and_then(|regex| regex.find(tag).ok().flatten());
        found.is_some_and(|found| found.start() == 0 && found.end() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_taken_by_the_pattern_or_by_a_regex_that_matches_at_its_start() {
        for (pattern, regex, tag, expected) in [
            (Some("app.*"), None, "app.logs", true),
            (Some("app.*"), None, "my.app.logs", false),
            (None, Some("app"), "app.logs", true),
            (None, Some("app"), "my.app.logs", false),
            (None, Some("(?!my)[a-z.]+"), "app.logs", true),
            (None, Some("(?!my)[a-z.]+"), "my.app", false),
            (None, Some("x*"), "xx", true),
            (None, Some("x*"), "app", false),
            (Some("none"), Some("a"), "none", true),
            (Some("none"), Some("a"), "app", true),
            (Some("none"), Some("a"), "other", false),
            (None, None, "app", false),
        ] {
            let selector = Selector::compile(pattern.map(Pattern::new), regex).unwrap();
            assert_eq!(selector.takes(&Tag::new(tag)), expected, "{pattern:?} {regex:?} {tag}");
        }
    }

    #[test]
    fn a_regex_that_cannot_be_read_is_named_in_the_error() {
        let error = Selector::compile(None, Some("(app")).unwrap_err().to_string();
        assert!(error.starts_with("'(app' is not a regular expression: "), "{error}");
    }
}

//! What routes an event: a [`Tag`], and the [`Pattern`] by which filters and outputs select tags.

use std::fmt;
use std::sync::Arc;

/// A Fluentd tag: text, usually dot-separated. Cheap to clone, because every chunk carries one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tag(Arc<str>);

impl Tag {
    /// Takes the text as it is: Fluent Bit accepts any non-empty tag, blanks included.
    pub fn new(text: &str) -> Self {
        Self(Arc::from(text))
    }

    /// The tag as it goes on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it has no text, as only a `Tag` of an output can make it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A `Match` value: `*` stands for any run of characters, dots and nothing included; every other
/// character stands for itself; the whole tag must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Takes a `Match` value as written.
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Whether the whole of `tag` fits the pattern.
    pub fn matches(&self, tag: &str) -> bool {
        let mut pieces = self.0.split('*');
        let first = pieces.next().unwrap_or_default();
        let Some(mut rest) = tag.strip_prefix(first) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return rest.is_empty();
        };
        for piece in pieces {
            // The leftmost place is always good enough: a later `*` takes what it leaves over.
            let Some(at) = rest.find(piece) else {
                return false;
            };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(last)
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_characters_and_the_whole_tag_must_match() {
        for (pattern, tag, expected) in [
            ("*", "app.logs", true),
            ("*", "", true),
            ("app.*", "app.var.log.a", true),
            ("app.*", "app", false),
            ("*.logs", "app.logs", true),
            ("a*b*c", "a.b.b.c", true),
            ("a*b*c", "a.c.b", false),
            ("app.logs", "app.logs", true),
            ("app.logs", "app.logs2", false),
            ("App.*", "app.logs", false),
            ("aa*aa", "aaa", false),
            ("", "", true),
            ("", "a", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(tag), expected, "{pattern} against {tag}");
        }
    }
}

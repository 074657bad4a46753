//! Which outputs take a tag.

use fancy_regex::Regex;

use crate::model::{Pattern, Tag};

/// What one output (or filter) takes: `Match`, `Match_Regex`, or both (then either will do).
#[derive(Debug)]
pub struct Selector {
    pattern: Option<Pattern>,
    regex: Option<Regex>,
}

impl Selector {
    /// With neither, nothing is taken. The error says what is wrong with the regex.
    pub fn compile(
        pattern: Option<Pattern>,
        regex: Option<&str>,
    ) -> Result<Self, Box<fancy_regex::Error>> {
        Ok(Self { pattern, regex: regex.map(Regex::new).transpose().map_err(Box::new)? })
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

/// Tag in, numbers of outputs out.
#[derive(Debug)]
pub struct Router {
    outputs: Vec<Selector>,
}

impl Router {
    /// The outputs, in the order of the configuration.
    pub fn new(outputs: Vec<Selector>) -> Self {
        Self { outputs }
    }

    /// The outputs that take `tag`, in order.
    pub fn route(&self, tag: &Tag) -> Vec<usize> {
        (0..self.outputs.len()).filter(|&number| self.outputs[number].takes(tag)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_goes_to_every_output_whose_pattern_or_regex_takes_it() {
        let selector =
            |pattern: Option<&str>, regex| Selector::compile(pattern.map(Pattern::new), regex);
        let router = Router::new(vec![
            selector(Some("app.*"), None).unwrap(),
            selector(None, Some("app")).unwrap(),
            selector(Some("none"), Some("p+")).unwrap(),
            selector(None, None).unwrap(),
            selector(None, Some("x*")).unwrap(),
        ]);
        assert!(selector(None, Some("(")).is_err());
        assert_eq!(router.route(&Tag::new("app.logs")), [0, 1]);
        assert_eq!(router.route(&Tag::new("my.app.logs")), [0_usize; 0]);
        assert_eq!(router.route(&Tag::new("none")), [2]);
        assert_eq!(router.route(&Tag::new("xx")), [4]);
    }
}

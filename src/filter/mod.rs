//! Changes records in place, between the parser and the chunk.

pub mod record_modifier;

use crate::model::Pattern;

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

/// TEMP
#[derive(Debug)]
pub struct Filter {
    settings: Settings,
    bytes: Vec<u8>,
    pairs: usize,
}

/// TEMP
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// TEMP
    Keep,
    /// TEMP
    Drop,
}

impl Filter {
    /// TEMP
    pub fn compile(settings: &Settings, _seed: u128) -> Result<Self, std::fmt::Error> {
        let Kind::RecordModifier(kind) = &settings.kind;
        let mut bytes = Vec::new();
        for (k, v) in &kind.records {
            crate::model::record::write_str(&mut bytes, k);
            crate::model::record::write_str(&mut bytes, v);
        }
        Ok(Self { settings: settings.clone(), bytes, pairs: kind.records.len() })
    }
    /// TEMP
    pub fn takes(&self, tag: &crate::model::Tag) -> bool {
        self.settings.pattern.as_ref().is_some_and(|p| p.matches(tag.as_str()))
    }
    /// TEMP
    pub fn added_bytes(&self) -> usize {
        self.bytes.len() + 4
    }
    /// TEMP
    pub fn apply(&mut self, out: &mut Vec<u8>, start: usize) -> Verdict {
        crate::model::record::append_pairs(out, start, self.pairs, &self.bytes);
        Verdict::Keep
    }
}

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

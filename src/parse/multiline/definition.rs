//! A multiline parser as written in a `[MULTILINE_PARSER]` section: nothing compiled.

use std::time::Duration;

/// The keys of one `[MULTILINE_PARSER]` section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// `Name`: case does not matter.
    pub name: String,
    /// `Type` and what only that type has.
    pub kind: Kind,
    /// `Flush_Timeout`: how long after its last line a message is taken to be complete.
    pub flush_after: Duration,
    /// `Key_Content`: what is joined. `None`: the lines themselves, under `log`.
    pub key_content: Option<String>,
    /// `Key_Pattern`: what `Match_String` is compared with, if not the content.
    pub key_pattern: Option<String>,
    /// `Key_Group`: lines with different values of it are joined apart.
    pub key_group: Option<String>,
    /// `Parser`: makes a record of each line first.
    pub parser: Option<crate::parse::Definition>,
}

/// `Type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `regex`: a state machine, whose first rule holds the start state.
    States(Vec<Rule>),
    /// `endswith`: a line that ends with the text completes the message.
    EndsWith(Match),
    /// `equal` or `eq`: a line that is the text does.
    Equal(Match),
}

/// `Match_String` and `Negate`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// The text.
    pub text: String,
    /// The line that does not match completes the message.
    pub negate: bool,
}

/// `Rule "from, from" "/pattern/" "to"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The states in which it is tried.
    pub from: Vec<String>,
    /// In Ruby's syntax.
    pub pattern: String,
    /// The state after a line that matches. `None`: that line is the message's last.
    pub to: Option<String>,
}

impl Definition {
    /// `Flush_Timeout` when none is written.
    pub const DEFAULT_FLUSH: Duration = Duration::from_secs(4);

    /// The longest message when no `multiline_buffer_limit` is written: 2 MiB.
    pub const DEFAULT_LIMIT: usize = 2 << 20;

    /// A parser of text with every other key unwritten.
    pub fn new(name: &str, kind: Kind) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            flush_after: Self::DEFAULT_FLUSH,
            key_content: None,
            key_pattern: None,
            key_group: None,
            parser: None,
        }
    }
}

impl Rule {
    /// `from` as it is written, with commas between several states.
    pub fn new(from: &str, pattern: &str, to: Option<&str>) -> Self {
        Self {
            from: from.split(',').map(|state| state.trim().to_owned()).collect(),
            pattern: pattern.to_owned(),
            to: to.map(str::to_owned),
        }
    }
}

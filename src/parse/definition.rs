//! A parser as written in a `[PARSER]` section: names and formats, nothing compiled.

/// The keys of one `[PARSER]` section. Compiling it ([`super::Parser::compile`]) can fail; using
/// the result on a line cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// `Name`: unique, case-sensitive.
    pub name: String,
    /// `Format` and what only that format has.
    pub format: Format,
    /// `Time_Key`, if written.
    pub time_key: Option<String>,
    /// `Time_Format`, if written.
    pub time_format: Option<String>,
    /// `Time_Keep`, if written.
    pub time_keep: Option<bool>,
    /// `Time_Offset`, as seconds east of UTC, for texts without a zone.
    pub time_offset: Option<i32>,
    /// `Time_Strict`: off means that a time that cannot be read takes its key out of the record.
    pub time_strict: bool,
    /// `Types`: `key:type` pairs (regex, ltsv and logfmt).
    pub types: Vec<(String, Type)>,
}

/// `Format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// `Regex` with named groups.
    Regex {
        /// The pattern as written, `/…/` wrappers included.
        pattern: String,
        /// `Skip_Empty_Values`: groups that captured nothing make no key.
        skip_empty_values: bool,
    },
    /// `key=value key="quoted value"`.
    Logfmt {
        /// `Logfmt_No_Bare_Keys`: a key without `=` makes the line unparsed.
        no_bare_keys: bool,
    },
    /// `label:value`, separated by tabs.
    Ltsv,
}

/// What a captured text is turned into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Left as it is.
    String,
    /// Decimal, as C's `atoll`.
    Integer,
    /// Hexadecimal.
    Hex,
    /// As C's `atof`.
    Float,
    /// `true…` or `false…`, any case.
    Bool,
}

impl Definition {
    /// A parser of `format` with every other key unwritten.
    pub fn new(name: &str, format: Format) -> Self {
        Self {
            name: name.to_owned(),
            format,
            time_key: None,
            time_format: None,
            time_keep: None,
            time_offset: None,
            time_strict: true,
            types: Vec::new(),
        }
    }
}

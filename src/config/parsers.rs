//! Parsers: finds their files and reads their sections.
//!
//! In:  names of parser files, and sections
//! Out: a [`Definition`] each, and what we cannot do of it

use std::path::{Path, PathBuf};

use super::env::Variables;
use super::error::{Place, Problem, Report, did_you_mean};
use super::keys::{Group, PARSER};
use super::tree::{Kind, Section, Tree, folder_of};
use super::values::Values;
use crate::parse::{Definition, Format, Type};

static GROUPS: &[&Group] = &[&PARSER];

/// Every parser there is.
#[derive(Debug, Default)]
pub(super) struct Parsers {
    defined: Vec<Defined>,
}

/// A parser and what stands against using it.
#[derive(Debug)]
struct Defined {
    definition: Definition,
    /// Keys of it that we do not obey and that would change the data.
    unsupported: Vec<Problem>,
    used: bool,
}

impl Parsers {
    /// Reads one parser file and everything it includes.
    pub(super) fn read_file(
        &mut self,
        path: &Path,
        variables: &Variables<'_>,
        report: &mut Report,
    ) {
        let tree = Tree::read(path, report);
        for variable in &tree.variables {
            report.warn(&variable.place, "is ignored in a parser file; set it in the main file");
        }
        for section in &tree.sections {
            match section.kind {
                Kind::Parser => self.add(section, variables, report),
                Kind::MultilineParser => note_multiline_parser(&section.place, report),
                _ => report.warn(&section.place, "this section is ignored in a parser file"),
            }
        }
    }

    /// Adds what `section` defines. Two parsers of one name are refused, as in Fluent Bit.
    pub(super) fn add(
        &mut self,
        section: &Section,
        variables: &Variables<'_>,
        report: &mut Report,
    ) {
        let Some(defined) = read(section, variables, report) else {
            return;
        };
        let name = &defined.definition.name;
        if self.defined.iter().any(|other| other.definition.name == *name) {
            let message = format!("there is a parser '{name}' already; give this one another name");
            return report.refuse(&section.place, message);
        }
        self.defined.push(defined);
    }

    /// Whether there is a parser `name`. If not, lines go unparsed, as in Fluent Bit, and the
    /// report says so.
    pub(super) fn is_there(&mut self, name: &str, place: &Place, report: &mut Report) -> bool {
        if let Some(defined) = self.defined.iter_mut().find(|parser| parser.definition.name == name)
        {
            defined.used = true;
            return true;
        }
        let names = self.defined.iter().map(|parser| parser.definition.name.as_str());
        let hint = did_you_mean(name, names);
        report.warn(place, format!("there is no parser '{name}'; lines go out as text{hint}"));
        false
    }

    /// The definitions. What cannot be done of a parser stops the start only if an input uses it:
    /// parser files are handed around as wholes.
    pub(super) fn finish(self, report: &mut Report) -> Vec<Definition> {
        let finish = |Defined { definition, mut unsupported, used }| {
            let problems = if used { &mut report.problems } else { &mut report.notes };
            problems.append(&mut unsupported);
            definition
        };
        self.defined.into_iter().map(finish).collect()
    }
}

/// A multiline parser alone changes nothing; an input that uses one is refused.
pub(super) fn note_multiline_parser(place: &Place, report: &mut Report) {
    report.note(place, "accepted, not obeyed: multiline parsers are not supported by this version");
}

/// The file that `Parsers_File name` means: as given, beside the main file, or in one of
/// `folders`, which Fluent Bit does not look in. `None`: there is none, and the report says so.
pub(super) fn find_file(
    name: &Path,
    place: &Place,
    main: &Path,
    folders: &[PathBuf],
    report: &mut Report,
) -> Option<PathBuf> {
    let in_fluent_bit = [name.to_owned(), folder_of(main).join(name)];
    if let Some(path) = in_fluent_bit.into_iter().find(|path| path.is_file()) {
        return Some(path);
    }
    // Joining an absolute name gives that name again, which was not there.
    let found = folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file());
    match &found {
        Some(path) => report.note(place, format!("'{}' is taken", path.display())),
        None => report.refuse(
            place,
            format!("there is no file '{}', neither here nor beside the main file", name.display()),
        ),
    }
    found
}

/// `None`: the report says why.
fn read(section: &Section, variables: &Variables<'_>, report: &mut Report) -> Option<Defined> {
    let mut values = Values::read(section, "[PARSER]", GROUPS, variables, report);
    let Some(name) = values.text("Name") else {
        report.refuse(&section.place, "a parser needs a Name");
        return None;
    };
    let format = read_format(&values, report)?;
    let mut definition = Definition::new(&name, format);
    definition.time_key = values.text("Time_Key");
    definition.time_format = values.text("Time_Format");
    definition.time_keep = values.boolean("Time_Keep");
    definition.time_strict = values.boolean("Time_Strict").unwrap_or(true);
    definition.types = read_types(&values, report);
    if let Some(found) = values.find("Time_Offset") {
        definition.time_offset = read_offset(&found.value);
        if definition.time_offset.is_none() {
            let message = format!("'{}' is no offset; write for example '+0200'", found.value);
            report.refuse(&found.place, message);
        }
    }
    Some(Defined { definition, unsupported: std::mem::take(&mut values.unsupported), used: false })
}

fn read_format(values: &Values, report: &mut Report) -> Option<Format> {
    const FORMATS: &str = "json, regex, logfmt and ltsv";
    let Some(written) = values.text("Format") else {
        report.refuse(
            &values.place("Format"),
            format!("a parser needs a Format; there are {FORMATS}"),
        );
        return None;
    };
    match written.to_ascii_lowercase().as_str() {
        "json" => Some(Format::Json),
        "ltsv" => Some(Format::Ltsv),
        "logfmt" => Some(Format::Logfmt {
            no_bare_keys: values.boolean("Logfmt_No_Bare_Keys").unwrap_or(false),
        }),
        "regex" => match values.text("Regex") {
            Some(pattern) => {
                let skip_empty_values = values.boolean("Skip_Empty_Values").unwrap_or(true);
                Some(Format::Regex { pattern, skip_empty_values })
            }
            None => {
                report.refuse(&values.place("Regex"), "a parser of format regex needs a Regex");
                None
            }
        },
        _ => {
            let message = format!("there is no format '{written}'; there are {FORMATS}");
            report.refuse(&values.place("Format"), message);
            None
        }
    }
}

/// `key:type` pairs. A type that is unknown is a string, as in Fluent Bit.
fn read_types(values: &Values, report: &mut Report) -> Vec<(String, Type)> {
    let Some(found) = values.find("Types") else {
        return Vec::new();
    };
    let mut types = Vec::new();
    for pair in found.value.split_whitespace() {
        let Some((key, name)) = pair.rsplit_once(':') else {
            report.warn(&found.place, format!("'{pair}' is ignored; write 'key:type'"));
            continue;
        };
        let known = match name.to_ascii_lowercase().as_str() {
            "integer" => Type::Integer,
            "hex" => Type::Hex,
            "float" => Type::Float,
            "bool" => Type::Bool,
            "string" => Type::String,
            _ => {
                report.warn(
                    &found.place,
                    format!("there is no type '{name}', '{key}' stays a string; there are integer, hex, float, bool and string"),
                );
                Type::String
            }
        };
        types.push((key.to_owned(), known));
    }
    types
}

/// `+HHMM`, `-HHMM`, `+HH:MM` or `Z`, as seconds east of UTC.
fn read_offset(text: &str) -> Option<i32> {
    if text == "Z" {
        return Some(0);
    }
    let digits = text.strip_prefix(['+', '-'])?.replacen(':', "", 1);
    if digits.len() != 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i32, i32) = (digits[..2].parse().ok()?, digits[2..].parse().ok()?);
    if hours > 23 || minutes > 59 {
        return None;
    }
    let seconds = hours * 3_600 + minutes * 60;
    Some(if text.starts_with('-') { -seconds } else { seconds })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_hours_and_minutes_east_of_utc() {
        for (text, expected) in [
            ("+0200", Some(7_200)),
            ("-0330", Some(-12_600)),
            ("+05:45", Some(20_700)),
            ("Z", Some(0)),
            ("0200", None),
            ("+2", None),
            ("+2460", None),
            ("+9900", None),
            ("+02é", None),
            ("Europe/Berlin", None),
        ] {
            assert_eq!(read_offset(text), expected, "{text}");
        }
    }
}

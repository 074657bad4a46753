//! Reads Fluent Bit's classic format.
//!
//! In:  the text of a file
//! Out: sections, entries and variables, appended to the tree
//!
//! Accepts what Fluent Bit 5.1 accepts. More lenient in one thing: blank lines and comments may be
//! indented as they like.

use std::path::Path;

use super::error::{Place, Report, did_you_mean};
use super::tree::{Entry, Files, Kind, Section, Tree};

/// Reads `text`, which is what `file` holds.
pub(super) fn read(
    file: &Path,
    text: &str,
    files: &mut Files,
    tree: &mut Tree,
    report: &mut Report,
) {
    let mut reader =
        Reader { file, files, tree, report, indent: None, current: Current::None, in_group: false };
    for (number, line) in text.split('\n').enumerate() {
        reader.read_line(line.strip_suffix('\r').unwrap_or(line), number + 1);
    }
}

struct Reader<'a> {
    file: &'a Path,
    files: &'a mut Files,
    tree: &'a mut Tree,
    report: &'a mut Report,
    indent: Option<Indent>,
    current: Current,
    in_group: bool,
}

/// The section that entries go to.
enum Current {
    /// The file has not begun one.
    None,
    /// Its name is unknown; Fluent Bit ignores it and all it holds.
    Ignored,
    /// A known one, by its number in the tree. It was put there when it began, so it comes before
    /// those of an `@INCLUDE` inside it and still goes on after that.
    Section(usize),
}

/// What every entry of a file must begin with: fixed by its first indented line.
struct Indent {
    text: String,
    /// Whether a comment or a blank line fixed it. Then the first key may correct it: Fluent Bit
    /// would refuse that key.
    by_comment: bool,
}

impl Reader<'_> {
    fn read_line(&mut self, line: &str, number: usize) {
        let place = Place::of_line(self.file, number);
        match line.as_bytes() {
            [] | [b'#', ..] => {}
            [b'[', ..] => self.begin_section(line, place),
            [b'@', ..] => self.obey_command(line, &place),
            _ => self.read_entry(line, &place),
        }
    }

    fn begin_section(&mut self, line: &str, place: Place) {
        self.in_group = false;
        let name = line[1..].split(']').next().unwrap_or_default();
        if !line.contains(']') {
            let message = "the section header has no ']'; write for example '[INPUT]'";
            self.report.refuse(&place, message);
        }
        let Some(kind) = Kind::find(name) else {
            let hint = did_you_mean(name, Kind::names());
            self.report.warn(&place, format!("there is no section [{name}]; it is ignored{hint}"));
            self.current = Current::Ignored;
            return;
        };
        self.current = Current::Section(self.tree.sections.len());
        self.tree.sections.push(Section::new(kind, place));
    }

    /// The section that entries go to, if it is a known one.
    fn section(&mut self) -> Option<&mut Section> {
        match self.current {
            Current::Section(number) => self.tree.sections.get_mut(number),
            Current::None | Current::Ignored => None,
        }
    }

    fn obey_command(&mut self, line: &str, place: &Place) {
        let Some((command, value)) = line.split_once(' ') else {
            let message = format!("'{line}' has no value; write for example '@SET name=value'");
            return self.report.refuse(place, message);
        };
        match command.to_ascii_lowercase().as_str() {
            "@include" => self.include(value, place),
            "@set" => self.set(value.trim(), place),
            _ => {
                let hint = did_you_mean(command, ["@INCLUDE", "@SET"].into_iter());
                self.report
                    .warn(place, format!("there is no command {command}; it is ignored{hint}"));
            }
        }
    }

    fn include(&mut self, path: &str, place: &Place) {
        let place = place.with_key("@INCLUDE");
        let found = self.files.find_included(path);
        if found.is_empty() {
            self.report.refuse(&place, format!("there is no file '{path}'"));
        }
        for path in found {
            if let Some(text) = self.files.read(&path, &place, self.report) {
                read(&path, &text, self.files, self.tree, self.report);
            }
        }
    }

    fn set(&mut self, assignment: &str, place: &Place) {
        match assignment.split_once('=') {
            Some((name, value)) => {
                // A name is compared as it is written: unlike keys, variables have a case.
                let entry = Entry { key: name.to_owned(), ..Entry::new(name, value, place) };
                self.tree.variables.push(entry);
            }
            None => {
                let place = place.with_key("@SET");
                self.report.warn(&place, "has no '=' and is ignored; write '@SET name=value'");
            }
        }
    }

    fn read_entry(&mut self, line: &str, place: &Place) {
        let content = line.trim_start_matches([' ', '\t']);
        let blanks = &line[..line.len() - content.len()];
        let says_nothing = content.trim().is_empty() || content.starts_with('#');
        if says_nothing {
            let fixed = || Indent { text: blanks.to_owned(), by_comment: true };
            self.indent.get_or_insert_with(fixed);
            return;
        }
        let depth = self.depth_of(blanks, place);
        if depth == 1 {
            self.in_group = content.starts_with('[');
        }
        if content.starts_with('[') {
            return self.begin_group(content, place);
        }
        if self.in_group {
            // A group's own place was noted; nothing obeys what it holds.
            return;
        }
        self.add_entry(content, place);
    }

    /// 2 at twice the file's indent, otherwise 1. What is neither is reported and taken as 1, so
    /// that the key is not also reported as missing.
    fn depth_of(&mut self, blanks: &str, place: &Place) -> usize {
        if blanks.is_empty() {
            self.report.refuse(place, "a key must be indented; begin the line with blanks");
            return 1;
        }
        if let Some(depth) = self.indent.as_ref().and_then(|indent| indent.depth_of(blanks)) {
            return depth;
        }
        match &self.indent {
            Some(indent) if !indent.by_comment => {
                self.report.refuse(place, indent.message_for(blanks));
            }
            _ => self.indent = Some(Indent { text: blanks.to_owned(), by_comment: false }),
        }
        1
    }

    fn begin_group(&mut self, content: &str, place: &Place) {
        let name = content[1..].split(']').next().unwrap_or_default();
        if matches!(self.current, Current::None) {
            return self.report.refuse(place, "a group belongs into a section");
        }
        if let Some(section) = self.section() {
            section.groups.push(place.with_key(name));
        }
    }

    fn add_entry(&mut self, content: &str, place: &Place) {
        let separator = content.find(' ').or_else(|| {
            let tab = content.find('\t')?;
            let message = "a tab does not separate a key from its value; write a space";
            self.report.refuse(&place.with_key(&content[..tab]), message);
            Some(tab)
        });
        let (key, value) = content.split_at(separator.unwrap_or(content.len()));
        let (key, value) = (key.trim(), value.trim());
        if value.is_empty() {
            let message = "has no value; write one or take the key out";
            return self.report.refuse(&place.with_key(key), message);
        }
        if matches!(self.current, Current::None) {
            let message = "stands before any section; begin one, for example with '[INPUT]'";
            return self.report.refuse(&place.with_key(key), message);
        }
        if let Some(section) = self.section() {
            section.entries.push(Entry::new(key, value, place));
        }
    }
}

impl Indent {
    fn depth_of(&self, blanks: &str) -> Option<usize> {
        let deeper = blanks.strip_prefix(self.text.as_str())?;
        match deeper.len() {
            0 => Some(1),
            more if more == self.text.len() => Some(2),
            _ => None,
        }
    }

    fn message_for(&self, blanks: &str) -> String {
        if self.text.bytes().zip(blanks.bytes()).any(|(expected, found)| expected != found) {
            return "tabs and spaces are mixed; indent every key of a file with the same characters"
                .to_owned();
        }
        format!(
            "indented by {}, while the first key of the file is indented by {}; indent every key alike",
            blanks.len(),
            self.text.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_text(text: &str) -> (Tree, Report) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conf");
        std::fs::write(&path, text).unwrap();
        let mut report = Report::default();
        (Tree::read(&path, &mut report), report)
    }

    /// `KIND: key=value key=value` for every section.
    fn shown(tree: &Tree) -> Vec<String> {
        let show = |section: &Section| {
            let entries =
                section.entries.iter().map(|entry| format!("{}={}", entry.key, entry.value));
            format!("{:?}: {}", section.kind, entries.collect::<Vec<_>>().join(" | "))
        };
        tree.sections.iter().map(show).collect()
    }

    #[test]
    fn what_fluent_bit_accepts_is_accepted() {
        for (text, expected) in [
            ("[INPUT]\n    Name dummy # c\n", "Input: name=dummy # c"),
            ("[input] what ever\r\n    NAME   tail  \r\n", "Input: name=tail"),
            ("[IN]\n Name \ttail", "Input: name=tail"),
            ("# c\n\n[INPUT]\n\tName tail\n#x\n\tTag a b\n", "Input: name=tail | tag=a b"),
            ("[INPUT]\n  Name tail\n    Tag x\n", "Input: name=tail | tag=x"),
            ("  # x\n[INPUT]\n    Name tail\n", "Input: name=tail"),
            ("  # x\n[INPUT]\n    Name tail\n  Tag x\n", "Input: name=tail | tag=x"),
            ("[INPUT]\n    Name a\n    Name b\n", "Input: name=a | name=b"),
            ("[INPUT]\n    Record \"a b\" c\n", "Input: record=\"a b\" c"),
            (
                "[INPUT]\n    Name a\n    [PROCESSORS]\n        x y\n    Tag t\n",
                "Input: name=a | tag=t",
            ),
        ] {
            let (tree, report) = read_text(text);
            assert_eq!(report.problems, [], "{text}");
            assert_eq!(shown(&tree), [expected], "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_problem_of_any_text_has_a_line_of_it(
            lines in proptest::collection::vec(r"[ \t]{0,4}(\[|\]|@SET|@|#|Name|a|é| |=|\t){0,5}", 0..12)
        ) {
            let (_, report) = read_text(&lines.join("\n"));
            for problem in report.problems.iter().chain(&report.warnings) {
                let line = problem.place.line.unwrap_or_default();
                prop_assert!((1..=lines.len()).contains(&line), "{}", problem);
            }
        }
    }

    #[test]
    fn blank_lines_and_comments_may_be_indented_as_they_like() {
        for odd in ["  ", "      ", "  # comment", "\t", "\t# comment"] {
            for text in [
                format!("[INPUT]\n    Name a\n{odd}\n    Tag b\n"),
                format!("[INPUT]\n{odd}\n   Name a\n   Tag b\n"),
            ] {
                let (tree, report) = read_text(&text);
                assert_eq!(report.problems, [], "{text}");
                assert_eq!(shown(&tree), ["Input: name=a | tag=b"], "{text}");
            }
        }
    }

    #[test]
    fn what_fluent_bit_refuses_is_refused_with_its_line() {
        for (text, expected) in [
            ("[INPUT\n", "a.conf:1: the section header has no ']'"),
            ("    Name a\n", "a.conf:1: Name: stands before any section"),
            ("[INPUT]\nName a\n", "a.conf:2: a key must be indented"),
            ("[INPUT]\n    Name\n", "a.conf:2: Name: has no value"),
            ("[INPUT]\n    Name \n", "a.conf:2: Name: has no value"),
            ("[INPUT]\n    Name\ta\n", "a.conf:2: Name: a tab does not separate"),
            ("[INPUT]\n    Name a\n  Tag b\n", "a.conf:3: indented by 2, while"),
            ("[INPUT]\n    Name a\n      Tag b\n", "a.conf:3: indented by 6, while"),
            ("[INPUT]\n    Name a\n\tTag b\n", "a.conf:3: tabs and spaces are mixed"),
            ("@INCLUDE none.conf\n", "a.conf:1: @INCLUDE: there is no file 'none.conf'"),
            ("@INCLUDE *.none\n", "a.conf:1: @INCLUDE: there is no file '*.none'"),
            ("@INCLUDE a.conf\n", "is included twice"),
            ("@SET\n", "a.conf:1: '@SET' has no value"),
        ] {
            let (_, report) = read_text(text);
            let shown: Vec<_> = report.problems.iter().map(ToString::to_string).collect();
            assert_eq!(shown.len(), 1, "{text}: {shown:?}");
            assert!(shown[0].contains(expected), "{text}: {shown:?}");
        }
    }

    #[test]
    fn what_fluent_bit_ignores_is_a_warning() {
        for (text, expected) in [
            ("[INPUTT]\n    Name a\n", "[INPUTT]; it is ignored; did you mean 'inputs'?"),
            ("@SETT a=b\n", "there is no command @SETT; it is ignored; did you mean '@SET'?"),
            ("@SET a\n", "@SET: has no '='"),
        ] {
            let (tree, report) = read_text(text);
            assert_eq!(report.problems, [], "{text}");
            assert!(report.warnings[0].to_string().contains(expected), "{:?}", report.warnings);
            assert!(tree.sections.is_empty() && tree.variables.is_empty());
        }
    }

    #[test]
    fn a_set_splits_at_the_first_equals_sign_and_trims_only_the_outer_ends() {
        let (tree, _) = read_text("@set  a = b=c \n@SET N=\n");
        let shown: Vec<_> =
            tree.variables.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
        assert_eq!(shown, [("a ", " b=c"), ("N", "")]);
    }

    #[test]
    fn a_section_goes_on_after_an_include_inside_it() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("main.conf");
        std::fs::write(folder.path().join("more.conf"), "[OUTPUT]\n\tName forward\n").unwrap();
        std::fs::write(&main, "[INPUT]\n    Name tail\n@include more.conf\n    Tag x\n").unwrap();
        let mut report = Report::default();
        let tree = Tree::read(&main, &mut report);
        assert_eq!(report.problems, []);
        assert_eq!(shown(&tree), ["Input: name=tail | tag=x", "Output: name=forward"]);
    }
}

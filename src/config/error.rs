//! What is wrong with a configuration, and where.
//!
//! In:  a [`Place`] and a sentence
//! Out: `file:line: key: what is wrong; what would be right`
//!
//! Everything that is found goes into one [`Report`], so that a start names all problems at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// Where something is written. Shown as `fluent-bit.conf:9: Mem_Buf_Limit`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line in it, from 1. `None`: the whole file.
    pub line: Option<usize>,
    /// The key, spelt as in the file. `None`: the whole section or line.
    pub key: Option<String>,
}

impl Place {
    /// The whole of `file`.
    pub fn of_file(file: &Path) -> Self {
        Self { file: file.to_owned(), line: None, key: None }
    }

    /// Line `line` of `file`, counted from 1.
    pub fn of_line(file: &Path, line: usize) -> Self {
        Self { file: file.to_owned(), line: Some(line), key: None }
    }

    /// The same line, with the key that is meant.
    #[must_use]
    pub fn with_key(&self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self.clone() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        Ok(())
    }
}

/// One thing to know about a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, and what would be right.
    pub message: String,
    /// Which part of Fluent Bit would have refused it.
    pub stage: Stage,
}

/// When Fluent Bit 5.1 finds a problem; its exit status depends on that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// While it reads the files: status 1.
    Reading,
    /// When a plugin starts: status 255.
    PluginStart,
}

/// Why the agent does not start: every problem that was found, file by file and in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// The exit status Fluent Bit 5.1 would have ended with: 1 or 255.
    pub fn exit_status(&self) -> u8 {
        let reading = self.0.iter().any(|problem| problem.stage == Stage::Reading);
        if reading { 1 } else { 255 }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, problem) in self.0.iter().enumerate() {
            let newline = if number == 0 { "" } else { "\n" };
            write!(f, "{newline}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Everything found so far.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// What stops the start.
    pub(super) problems: Vec<Problem>,
    /// What Fluent Bit ignores or bends.
    pub(super) warnings: Vec<Problem>,
    /// What is accepted and need not be obeyed.
    pub(super) notes: Vec<Problem>,
}

impl Report {
    /// A problem that Fluent Bit finds while it reads the files.
    pub(super) fn refuse(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(problem(place, message, Stage::Reading));
    }

    /// A problem that Fluent Bit finds when the plugin starts.
    pub(super) fn refuse_plugin(&mut self, place: &Place, message: impl Into<String>) {
        self.problems.push(problem(place, message, Stage::PluginStart));
    }

    /// Something that does not stop the start and is probably not what was meant.
    pub(super) fn warn(&mut self, place: &Place, message: impl Into<String>) {
        self.warnings.push(problem(place, message, Stage::Reading));
    }

    /// Puts what was found in the order of the files: main file first, and by line in each.
    pub(super) fn sort(&mut self) {
        for list in [&mut self.problems, &mut self.warnings, &mut self.notes] {
            let mut files = Vec::new();
            for problem in list.iter() {
                if !files.contains(&problem.place.file) {
                    files.push(problem.place.file.clone());
                }
            }
            let number_of = |file: &PathBuf| files.iter().position(|known| known == file);
            list.sort_by_key(|problem| (number_of(&problem.place.file), problem.place.line));
        }
    }

    /// Something that is fine, and good to know.
    pub(super) fn note(&mut self, place: &Place, message: impl Into<String>) {
        self.notes.push(problem(place, message, Stage::Reading));
    }
}

fn problem(place: &Place, message: impl Into<String>, stage: Stage) -> Problem {
    Problem { place: place.clone(), message: message.into(), stage }
}

/// `; did you mean 'X'?` with the candidate that is nearest to `text`, or nothing.
pub(super) fn did_you_mean<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> String {
    let wanted = text.to_ascii_lowercase();
    // A third of the letters wrong, and one more, is still a slip; beyond that it is another word.
    let furthest = 1 + wanted.chars().count() / 3;
    candidates
        .map(|candidate| (edit_distance(&wanted, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= furthest)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, nearest)| format!("; did you mean '{nearest}'?"))
        .unwrap_or_default()
}

/// How many letters must be added, removed or replaced to turn `a` into `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.chars().enumerate() {
            let replaced = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.chars().count()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_begins_with_the_place_to_edit() {
        let file = Place::of_file(Path::new("fluent-bit.conf"));
        let line = Place::of_line(Path::new("fluent-bit.conf"), 9);
        for (place, expected) in [
            (file, "fluent-bit.conf: no"),
            (line.clone(), "fluent-bit.conf:9: no"),
            (line.with_key("Path"), "fluent-bit.conf:9: Path: no"),
        ] {
            assert_eq!(problem(&place, "no", Stage::Reading).to_string(), expected);
        }
    }

    #[test]
    fn a_problem_of_a_plugin_alone_ends_with_255() {
        let place = Place::of_file(Path::new("x"));
        let reading = problem(&place, "no", Stage::Reading);
        let plugin = problem(&place, "no", Stage::PluginStart);
        assert_eq!(Problems(vec![plugin.clone()]).exit_status(), 255);
        assert_eq!(Problems(vec![plugin, reading]).exit_status(), 1);
    }

    #[test]
    fn the_nearest_word_is_offered_and_a_far_one_is_not() {
        let keys = ["Path", "Parser", "Mem_Buf_Limit", "Tag"];
        for (text, expected) in [
            ("Mem_Buff_Limit", "; did you mean 'Mem_Buf_Limit'?"),
            ("membuflimit", "; did you mean 'Mem_Buf_Limit'?"),
            ("paht", "; did you mean 'Path'?"),
            ("kubernetes", ""),
        ] {
            assert_eq!(did_you_mean(text, keys.into_iter()), expected, "{text}");
        }
    }

    #[test]
    fn the_edit_distance_counts_letters() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(edit_distance(a, b), expected, "{a} {b}");
        }
    }
}

//! The tables of `docs/test-cases.md`, held against the tests.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use std::fs;

/// `case` and what covers it, of every row.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches(['|', ' ']).split_once(" | ").unwrap()).collect()
}

/// `file::function` of every test that a text names.
fn tests_in(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let paths = text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::"));
    // Else it is a path of Rust that a text speaks of.
    paths.filter(|(file, _)| file.ends_with(".rs"))
}

/// Whether there is a function of this name, with an attribute above it that makes it a test.
fn is_test(code: &str, function: &str) -> bool {
    let Some((before, _)) = code.split_once(&format!("fn {function}(")) else {
        return false;
    };
    // The first of them is what stands before `fn` on its own line.
    let above = before.rsplit('\n').skip(1).map(str::trim);
    above
        .take_while(|line| line.starts_with("#[") || line.starts_with("//"))
        .any(|line| line == "#[test]" || line == "#[tokio::test]")
}

#[test]
fn every_test_that_the_tables_name_exists() {
    let text = fs::read_to_string("docs/test-cases.md").unwrap();
    let mut wrong = Vec::new();
    // In rows and around them.
    for (file, function) in text.lines().flat_map(tests_in) {
        let code = fs::read_to_string(file).unwrap_or_default();
        if !is_test(&code, function) {
            wrong.push(format!("{file} has no test {function}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_case_of_the_tables_has_a_test() {
    let text = fs::read_to_string("docs/test-cases.md").unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 150, "only {} rows were understood", rows.len());
    for (case, cell) in rows {
        assert!(tests_in(cell).next().is_some(), "{case}: {cell}");
    }
}

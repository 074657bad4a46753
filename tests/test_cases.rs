//! The table of `docs/test-cases.md`, held against the tests.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use std::fs;

/// Rows that have no test yet, word for word.
const WITH_OTHERS: &str = "with TLS / several nodes";

/// `case` and what covers it, of every row.
fn rows(text: &str) -> Vec<(&str, &str)> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| row.trim_matches(['|', ' ']).split_once(" | ").unwrap()).collect()
}

/// `file::function` of every test that a cell names.
fn tests_in(cell: &str) -> impl Iterator<Item = (&str, &str)> {
    cell.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::"))
}

#[test]
fn every_test_that_the_table_names_exists() {
    let text = fs::read_to_string("docs/test-cases.md").unwrap();
    let mut wrong = Vec::new();
    for (case, cell) in rows(&text) {
        for (file, function) in tests_in(cell) {
            let code = fs::read_to_string(file).unwrap_or_default();
            if !code.contains(&format!("fn {function}(")) {
                wrong.push(format!("{case}: {file} has no {function}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_case_of_the_table_has_a_test_or_is_one_of_those_that_others_add() {
    let text = fs::read_to_string("docs/test-cases.md").unwrap();
    let rows = rows(&text);
    assert!(rows.len() > 60, "only {} rows were understood", rows.len());
    for (case, cell) in rows {
        assert!(cell == WITH_OTHERS || tests_in(cell).next().is_some(), "{case}: {cell}");
    }
}

//! Who may import whom: the table of `docs/architecture.md`, held against the code.
#![allow(clippy::unwrap_used, reason = "a helper that fails should fail its test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The table in the document: one row a module, `| module | may import |`.
fn allowed() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string("docs/architecture.md").unwrap();
    let start = text.find("## Who imports whom").expect("the document has the table");
    let rows = text[start..].lines().filter(|line| line.starts_with("| `"));
    let names = |cell: &str| {
        cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<BTreeSet<String>>()
    };
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        (names(cells[1]).pop_first().unwrap(), names(cells[2]))
    })
    .collect()
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The code of a file without its comments and without its tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]").next().unwrap_or_default();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn module_of(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The modules of this crate that a file names: `crate::x`, and `crate::{x, y::z}`.
fn imports(code: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        let is_own =
            code[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric() && c != '_');
        if !is_own {
            continue;
        }
        let group = rest.strip_prefix('{').map(|group| &group[..group.find(';').unwrap()]);
        let names = group.map_or_else(|| vec![rest], |group| top_level_names(group));
        let name = |text: &str| {
            text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
        };
        found.extend(names.into_iter().map(name).filter(|name: &String| !name.is_empty()));
    }
    found
}

fn top_level_names(group: &str) -> Vec<&str> {
    let mut names = vec![group];
    let mut depth = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(&group[at + 1..]),
            _ => {}
        }
    }
    names
}

#[test]
fn a_module_imports_only_what_the_table_allows() {
    let allowed = allowed();
    let mut paths = Vec::new();
    sources(Path::new("src"), &mut paths);
    let mut wrong = Vec::new();
    for path in paths {
        let module = module_of(&path);
        if module == "lib" || module == "main" {
            continue;
        }
        let may = allowed.get(&module).unwrap_or_else(|| panic!("no row for `{module}`"));
        for import in imports(&code(&path)) {
            if import != module && !may.contains(&import) {
                wrong.push(format!("{} imports {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_modules_know_no_runtime_no_socket_no_file_and_no_clock() {
    let pure = ["model", "protocol", "parse", "filter", "buffer"];
    let banned = [
        "tokio",
        "std::net",
        "std::fs",
        "std::env",
        "std::thread",
        "SystemTime::now",
        "Instant::now",
        "Utc::now",
        "Local::now",
    ];
    let mut paths = Vec::new();
    sources(Path::new("src"), &mut paths);
    paths.push(PathBuf::from("src/checkpoint/ledger.rs"));
    paths.push(PathBuf::from("src/tail/lines.rs"));
    let mut wrong = Vec::new();
    for path in paths {
        let is_listed = path.ends_with("checkpoint/ledger.rs") || path.ends_with("tail/lines.rs");
        if !pure.contains(&module_of(&path).as_str()) && !is_listed {
            continue;
        }
        let code = code(&path);
        let names = banned.iter().filter(|name| code.contains(**name));
        wrong.extend(names.map(|name| format!("{} uses {name}", path.display())));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn only_main_and_config_env_read_the_environment() {
    let mut paths = Vec::new();
    sources(Path::new("src"), &mut paths);
    for path in paths {
        if path.ends_with("main.rs") || path.ends_with("config/env.rs") {
            continue;
        }
        let code = code(&path);
        for name in ["env::var", "env::vars", "env::args"] {
            assert!(!code.contains(name), "{} uses {name}", path.display());
        }
    }
}

/// A clock that is set, or that a virtual machine corrects, moves by hours. Waits and deadlines
/// are taken from one that only goes on; the other serves for what is compared with times of files,
/// and for times that are shown: of events, of our own log, of the status page.
#[test]
fn nothing_waits_by_a_clock_that_can_jump() {
    let may = [
        "src/cli/logging.rs",
        "src/forward/probe.rs",
        "src/http/site.rs",
        "src/ingest/encode.rs",
        "src/ingest/find.rs",
        "src/tail/find.rs",
    ];
    let mut paths = Vec::new();
    sources(Path::new("src"), &mut paths);
    let uses = |path: &PathBuf| {
        let code = code(path);
        ["SystemTime::now", "Utc::now", "Local::now"].iter().any(|now| code.contains(now))
    };
    let mut found: Vec<_> = paths.iter().filter(|path| uses(path)).collect();
    found.sort();
    assert_eq!(found, may.map(Path::new));
}

//! The corpus of the fuzz targets, file by file, on stable: what held for every input when it was
//! made must go on to hold.
//!
//! One test alone: memory is counted over all threads.

#[allow(unreachable_pub, reason = "it is a crate of its own when it fuzzes")]
#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::collections::BTreeSet;
use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// What is in a directory.
fn inside(directory: impl AsRef<Path>) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(directory).expect("a directory");
    entries.map(|entry| entry.expect("an entry").path()).collect()
}

fn stems(directory: &str) -> BTreeSet<String> {
    let stem = |path: PathBuf| path.file_stem().expect("a name").to_string_lossy().into_owned();
    inside(directory).into_iter().map(stem).collect()
}

#[test]
fn for_every_file_of_the_corpus_holds_what_its_target_checks() {
    let names: BTreeSet<_> = fuzz::CHECKS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(stems("fuzz/fuzz_targets"), names, "every check is a target");
    assert_eq!(stems("fuzz/corpus"), names, "every check has a corpus");
    let mut failed = Vec::new();
    for (name, check) in fuzz::CHECKS {
        let files = inside(format!("fuzz/corpus/{name}"));
        assert!(files.len() > 10, "only {} files for {name}", files.len());
        for file in files {
            let bytes = fs::read(&file).expect("a file");
            if catch_unwind(|| check(&bytes)).is_err() {
                failed.push(file);
            }
        }
    }
    assert!(failed.is_empty(), "the panics are above; these files made them: {failed:#?}");
}

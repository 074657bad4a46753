//! The keys of `tail` that join lines: `multiline.parser`, `Docker_Mode`, and the old `Multiline`.
//!
//! In:  the values of an `[INPUT]` section, and the parsers
//! Out: [`Joins`], and what the other keys are worth with it

use std::time::Duration;

use super::error::Report;
use super::parsers::Parsers;
use super::values::{Found, Values};
use crate::tail::Joins;

/// `Docker_Mode_Flush` and `Multiline_Flush` when they are not written.
const DEFAULT_FLUSH: Duration = Duration::from_secs(4);

pub(super) fn read(values: &Values, parsers: &mut Parsers, report: &mut Report) -> Joins {
    let by_docker = values.boolean("Docker_Mode").unwrap_or(false);
    let by_first_line = values.boolean("Multiline").unwrap_or(false);
    if by_docker && by_first_line {
        let message = "excludes Multiline; take one of them out";
        report.refuse_plugin(&values.place("Docker_Mode"), message);
    }
    note_unused(values, by_docker, by_first_line, report);
    let names = read_names(values, parsers, report);
    if !names.is_empty() {
        let keys = ["Parser", "Key", "Docker_Mode", "Multiline"];
        warn_of(&keys, "multiline.parser, which decides what a record is", values, report);
        return Joins::Parsers(names);
    }
    if by_docker {
        return read_docker_mode(values, parsers, report);
    }
    if by_first_line {
        warn_of(&["Parser"], "Multiline; Parser_Firstline makes the record", values, report);
        return read_first_lines(values, parsers, report);
    }
    Joins::Nothing
}

/// Names between commas, in one key or in several.
fn read_names(values: &Values, parsers: &Parsers, report: &mut Report) -> Vec<String> {
    let mut all = Vec::new();
    for found in values.all("multiline.parser") {
        let names = found.value.split(',').map(str::trim).filter(|name| !name.is_empty());
        let known = names.filter(|name| parsers.can_join(name, &found.place, report));
        all.extend(known.map(str::to_owned));
    }
    all
}

fn read_docker_mode(values: &Values, parsers: &mut Parsers, report: &mut Report) -> Joins {
    let first = values.find("Docker_Mode_Parser");
    let seconds = values.integer("Docker_Mode_Flush");
    if seconds.is_some_and(|seconds| seconds < 1) {
        report.warn(&values.place("Docker_Mode_Flush"), "is less than a second; 1 holds");
    }
    let seconds = seconds.map(|seconds| seconds.max(1).unsigned_abs());
    Joins::DockerMode {
        first: first.and_then(|found| find_parser(found, parsers, report)),
        flush_after: seconds.map_or(DEFAULT_FLUSH, Duration::from_secs),
    }
}

fn read_first_lines(values: &Values, parsers: &mut Parsers, report: &mut Report) -> Joins {
    let is_first = |found: &&Found| found.is_written("Parser_Firstline");
    let Some(first) = values.all("Parser_*").find(is_first) else {
        let message = "is needed with 'Multiline on': the [PARSER] that reads the first line of a \
                       message; or write 'multiline.parser'";
        report.refuse_plugin(&values.place("Multiline").with_key("Parser_Firstline"), message);
        return Joins::Nothing;
    };
    let others = values.all("Parser_*").filter(|found| !is_first(found));
    let others = others.filter_map(|found| find_parser(found, parsers, report)).collect();
    match find_parser(first, parsers, report) {
        Some(first) => {
            let flush_after = values.time("Multiline_Flush").unwrap_or(DEFAULT_FLUSH);
            Joins::FirstLines { first, others, flush_after }
        }
        None => Joins::Nothing,
    }
}

fn find_parser(found: &Found, parsers: &mut Parsers, report: &mut Report) -> Option<String> {
    let name = &found.value;
    if parsers.take(name).is_none() {
        let hint = parsers.nearest(name);
        let message = format!("there is no parser '{name}'; define it in a Parsers_File{hint}");
        report.refuse_plugin(&found.place, message);
        return None;
    }
    Some(name.clone())
}

/// Keys that only another one gives a meaning.
fn note_unused(values: &Values, by_docker: bool, by_first_line: bool, report: &mut Report) {
    let of_docker = ["Docker_Mode_Flush", "Docker_Mode_Parser"].map(|key| (key, "Docker_Mode"));
    let of_first_lines = ["Multiline_Flush", "Parser_*"].map(|key| (key, "Multiline"));
    let unused = of_docker.iter().filter(|_| !by_docker);
    let unused = unused.chain(of_first_lines.iter().filter(|_| !by_first_line));
    for (key, owner) in unused {
        for found in values.all(key).filter(|found| !found.says_the_usual()) {
            let message = format!("accepted, not obeyed: only '{owner} on' would read it");
            report.note(&found.place, message);
        }
    }
}

fn warn_of(keys: &[&str], with: &str, values: &Values, report: &mut Report) {
    for key in keys {
        if values.find(key).is_some_and(|found| !found.is_off()) {
            report.warn(&values.place(key), format!("is not obeyed with {with}; take it out"));
        }
    }
}

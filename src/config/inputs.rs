//! `[INPUT]` sections.
//!
//! In:  a section and the parsers
//! Out: [`tail::Settings`]

use std::path::PathBuf;
use std::time::Duration;

use super::env::Variables;
use super::error::Report;
use super::joins;
use super::keys::{Group, INPUT, TAIL};
use super::parsers::Parsers;
use super::tree::Section;
use super::values::Values;
use crate::tail::{Encoding, Joins, LongLines, MaxHeld, Settings, Symlinks};

static GROUPS: &[&Group] = &[&INPUT, &TAIL];

/// Reads a section with `Name tail`. `number` counts the inputs from 0 and makes its name.
pub(super) fn read_tail(
    section: &Section,
    number: usize,
    variables: &Variables<'_>,
    parsers: &mut Parsers,
    report: &mut Report,
) -> Settings {
    let mut values = Values::read(section, "the input 'tail'", GROUPS, variables, report);
    report.problems.append(&mut values.unsupported);
    let mut settings = Settings::new(&format!("tail.{number}"), read_paths(&values, report));
    read_identity(&mut settings, &values, report);
    settings.exclude_paths = values.list("Exclude_Path");
    settings.key = values.text("Key").unwrap_or(settings.key);
    settings.path_key = values.text("Path_Key");
    settings.offset_key = values.text("Offset_Key");
    settings.parser = values
        .text("Parser")
        .filter(|name| parsers.is_there(name, &values.place("Parser"), report));
    settings.joins = joins::read(&values, parsers, report);
    if matches!(settings.joins, Joins::Parsers(_) | Joins::FirstLines { .. }) {
        settings.parser = None;
    }
    read_pace(&mut settings, &values, report);
    read_limits(&mut settings, &values, report);
    settings.encoding = read_encoding(&values, report);
    let on = |name, default| values.boolean(name).unwrap_or(default);
    settings.read_from_head = on("Read_from_Head", settings.read_from_head);
    settings.read_new_from_head =
        on("Read_newly_discovered_files_from_head", settings.read_new_from_head);
    let inside = values.text("Follow_Symlinks").is_some_and(|to| to.eq_ignore_ascii_case("inside"));
    settings.symlinks = if inside { Symlinks::Inside } else { Symlinks::All };
    settings.inotify_watcher = on("Inotify_Watcher", settings.inotify_watcher);
    settings.skip_empty_lines = on("Skip_Empty_Lines", settings.skip_empty_lines);
    settings.exit_on_eof = on("Exit_On_Eof", settings.exit_on_eof);
    settings.db = values.text("DB").map(PathBuf::from);
    settings
}

fn read_paths(values: &Values, report: &mut Report) -> Vec<String> {
    let paths = values.list("Path");
    if !paths.is_empty() {
        return paths;
    }
    let message = "names no file; write for example 'Path /var/log/app/*.log'";
    match values.emptied("Path") {
        Some((place, because)) => report.refuse_plugin(place, format!("names no file{because}")),
        None => report.refuse_plugin(&values.place("Path"), message),
    }
    paths
}

fn read_identity(settings: &mut Settings, values: &Values, report: &mut Report) {
    // The tag is made from the number, not from the alias (Fluent Bit 5.1).
    if let Some(tag) = values.text("Tag") {
        settings.tag = tag;
    } else if let Some((place, because)) = values.emptied("Tag") {
        report.refuse_plugin(place, format!("the tag is empty{because}"));
    }
    settings.tag_regex = values.text("Tag_Regex");
    if let Some(alias) = values.text("Alias") {
        settings.name = alias;
    }
}

fn read_pace(settings: &mut Settings, values: &Values, report: &mut Report) {
    let mut positive = |name: &str, default: Duration| {
        let time = values.time(name).unwrap_or(default);
        if time.is_zero() {
            report.refuse_plugin(&values.place(name), "must be more than 0 seconds");
        }
        time
    };
    settings.refresh_interval = positive("Refresh_Interval", settings.refresh_interval);
    settings.rotate_wait = positive("Rotate_Wait", settings.rotate_wait);
    settings.ignore_older = values.time("Ignore_Older").filter(|time| !time.is_zero());

    let nanos = values.integer("Progress_Check_Interval_nsec").unwrap_or(0);
    let nanos = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0));
    let interval =
        values.time("Progress_Check_Interval").unwrap_or(settings.progress_check_interval);
    match interval.saturating_add(nanos) {
        Duration::ZERO => report.warn(
            &values.place("Progress_Check_Interval"),
            "must be more than 0 seconds; the default, 2s, holds",
        ),
        interval => settings.progress_check_interval = interval,
    }
}

fn read_limits(settings: &mut Settings, values: &Values, report: &mut Report) {
    match values.size("Mem_Buf_Limit") {
        None | Some(0) => report.note(
            &values.place("Mem_Buf_Limit"),
            "no limit is written; 16MB holds, so that memory cannot run out",
        ),
        Some(bytes) => settings.mem_buf_limit = bytes,
    }
    if let Some(bytes) = values.size("Buffer_Max_Size") {
        check_buffer_sizes(bytes, values, report);
        // As in Fluent Bit: one byte for the newline and one that stays free.
        settings.line_limit = bytes.saturating_sub(2);
    }
    if let Some(bytes) = values.size("Max_Held_Bytes") {
        settings.max_held_bytes =
            if bytes == 0 { MaxHeld::Off } else { MaxHeld::Bytes(bytes as u64) };
    }
    let on = |name| values.boolean(name).unwrap_or(false);
    settings.long_lines = match (on("Truncate_Long_Lines"), on("Skip_Long_Lines")) {
        (false, true) => LongLines::Skip,
        _ => LongLines::Cut,
    };
}

/// Fluent Bit refuses a buffer that cannot hold one chunk, written or not.
fn check_buffer_sizes(longest: usize, values: &Values, report: &mut Report) {
    const DEFAULT_CHUNK: usize = 32_768;
    let chunk = values.size("Buffer_Chunk_Size").unwrap_or(DEFAULT_CHUNK);
    if longest < chunk {
        let message = format!(
            "is {longest} bytes, below Buffer_Chunk_Size, which is {chunk}; write at least as much, or take it out"
        );
        report.refuse_plugin(&values.place("Buffer_Max_Size"), message);
    }
}

fn read_encoding(values: &Values, report: &mut Report) -> Encoding {
    let unicode = values.text("Unicode.Encoding");
    let generic = values.text("Generic.Encoding");
    if unicode.is_some() && generic.is_some() {
        let message = "contradicts Unicode.Encoding: a file has one encoding; take one of them out";
        report.refuse_plugin(&values.place("Generic.Encoding"), message);
    }
    unicode.or(generic).and_then(|name| Encoding::named(&name)).unwrap_or_default()
}

//! `[INPUT]` sections with `Name forward`.
//!
//! In:  a section
//! Out: [`listen::Settings`](crate::listen::Settings)

use super::env::Variables;
use super::error::Report;
use super::keys::{Group, INPUT, LISTEN};
use super::outputs::read_port;
use super::tree::Section;
use super::values::Values;
use crate::listen::Settings;
use crate::listen::settings::{Address, TagRule};
use crate::model::Tag;

static GROUPS: &[&Group] = &[&INPUT, &LISTEN];

/// Reads a section. `number` counts the `forward` inputs from 0 and makes its name.
pub(super) fn read_forward(
    section: &Section,
    number: usize,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Settings {
    let mut values = Values::read(section, "the input 'forward'", GROUPS, variables, report);
    report.problems.append(&mut values.unsupported);
    let name = values.text("Alias").unwrap_or_else(|| format!("forward.{number}"));
    let mut settings = Settings::new(&name, read_address(&values, report));
    settings.tag = read_tag(&values, report);
    read_limits(&mut settings, &values, report);
    settings
}

fn read_address(values: &Values, report: &mut Report) -> Address {
    if let Some(path) = values.text("Unix_Path") {
        for key in ["Listen", "Port"] {
            if let Some(found) = values.find(key) {
                report.warn(&found.place, "is not used, because Unix_Path is written");
            }
        }
        return Address::Unix { path: path.into(), mode: read_mode(values, report) };
    }
    if let Some(found) = values.find("Unix_Perm") {
        report.warn(&found.place, "is not used without Unix_Path");
    }
    let host = values.text("Listen").unwrap_or_else(|| "0.0.0.0".to_owned());
    if matches!(host.as_str(), "0.0.0.0" | "::") {
        report.note(
            &values.place("Listen"),
            format!(
                "{host} takes connections from everywhere; write 'Listen 127.0.0.1' if only the \
                 applications of this Pod send"
            ),
        );
    }
    Address::Tcp { host, port: read_port(values, report) }
}

fn read_mode(values: &Values, report: &mut Report) -> Option<u32> {
    let text = values.text("Unix_Perm")?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    if mode.is_none() {
        let message = format!("'{text}' is no mode; write for example '0660'");
        report.refuse_plugin(&values.place("Unix_Perm"), message);
    }
    mode
}

/// With both, `Tag` is not used, as in Fluent Bit.
fn read_tag(values: &Values, report: &mut Report) -> TagRule {
    match (values.text("Tag_Prefix"), values.find("Tag")) {
        (Some(prefix), tag) => {
            if let Some(tag) = tag {
                report.warn(&tag.place, "is not used, because Tag_Prefix is written");
            }
            TagRule::Prefix(prefix)
        }
        (None, Some(tag)) => TagRule::Replace(Tag::new(&tag.value)),
        (None, None) => TagRule::Keep,
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
    settings.buffer_max_size = values.size("Buffer_Max_Size").filter(|bytes| *bytes > 0);
    let half = settings.mem_buf_limit / 2;
    if settings.buffer_max_size.is_some_and(|written| written > half) {
        report.warn(
            &values.place("Buffer_Max_Size"),
            format!(
                "a frame may take half of Mem_Buf_Limit, which is {half} bytes; raise Mem_Buf_Limit \
                 to twice this"
            ),
        );
    }
}

//! Metrics as text, in Prometheus' format 0.0.4.
//!
//! In:  figures of one moment
//! Out: text: a family is `# HELP`, `# TYPE`, and its samples
//!
//! Written by hand: metrics libraries keep live registries, and ours are snapshots.

use std::fmt::Write;

use super::Output;
use crate::ingest::{Figures, InputFigures};
use crate::model::Counted;

/// When the process started, and how long ago that was, in seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Since 1970.
    pub(super) started: u64,
    pub(super) uptime: u64,
}

/// Everything there is to say.
pub(super) fn page(figures: &Figures, outputs: &[Output], times: Times) -> String {
    let mut text = Text::default();
    counters(&mut text, &figures.counters);
    gauges(&mut text, figures);
    memory(&mut text, &figures.inputs);
    process(&mut text, times);
    as_fluent_bit_has_it(&mut text, &figures.inputs, outputs);
    text.0
}

/// Counters that are one family with a reason: what their names begin and end with.
struct ByReason {
    before: &'static str,
    after: &'static str,
    family: &'static str,
    help: &'static str,
}

const BY_REASON: [ByReason; 3] = [
    ByReason {
        before: "lost_",
        after: "_bytes",
        family: "log_ambassador_lost_bytes_total",
        help: "Bytes of files that were lost, by reason.",
    },
    ByReason {
        before: "failed_",
        after: "",
        family: "log_ambassador_connection_failures_total",
        help: "Connections to receivers that could not be made or did not end well, by reason.",
    },
    ByReason {
        before: "refused_",
        after: "",
        family: "log_ambassador_refused_total",
        help: "Frames of clients that were refused, and clients that were not let in, by reason.",
    },
];

fn counters(text: &mut Text, counters: &[Counted]) {
    let has_reason = |counted: &Counted| BY_REASON.iter().any(|by| by.reason(counted).is_some());
    for counted in counters.iter().filter(|counted| !has_reason(counted)) {
        let name = format!("log_ambassador_{}_total", counted.name);
        text.family(&name, "counter", counted.help).sample(&[], counted.value);
    }
    for by in BY_REASON {
        let mut family = text.family(by.family, "counter", by.help);
        for counted in counters {
            if let Some(reason) = by.reason(counted) {
                family.sample(&[("reason", reason)], counted.value);
            }
        }
    }
}

impl ByReason {
    /// Why, if that is what it counts.
    fn reason(&self, counted: &Counted) -> Option<&'static str> {
        counted.name.strip_prefix(self.before)?.strip_suffix(self.after)
    }
}

fn gauges(text: &mut Text, figures: &Figures) {
    let Figures { accounts, seen, .. } = figures;
    let mut counter = |name: &str, help: &str, value: u64| {
        text.family(&format!("log_ambassador_{name}_total"), "counter", help).sample(&[], value);
    };
    counter(
        "bytes_written",
        "Bytes that followed files have grown by, as far as seen.",
        seen.written,
    );
    counter(
        "bytes_sent_again",
        "Bytes of partial lines that were completed after they were sent.",
        seen.sent_again,
    );
    counter("bytes_of_holes", "Bytes of holes at the start of truncated files.", seen.holes);
    let mut gauge = |name: &str, help: &str, value: i128| {
        text.family(&format!("log_ambassador_{name}"), "gauge", help).sample(&[], value);
    };
    gauge("followed_files", "Files that are followed.", figures.followed_files as i128);
    gauge("open_files", "Followed files that are open.", figures.open_files as i128);
    gauge(
        "held_unread_bytes",
        "Bytes that are in files and not read yet.",
        accounts.held_unread.into(),
    );
    gauge(
        "held_deleted_bytes",
        "Bytes of the volume that deleted files hold until they are delivered.",
        figures.held_deleted.into(),
    );
    gauge(
        "held_in_memory_bytes",
        "Bytes of files whose events are in memory and not acknowledged yet.",
        accounts.held_in_memory.into(),
    );
    gauge(
        "unaccounted_bytes",
        "Bytes of files that are in no account; anything but 0 is a fault of log-ambassador.",
        accounts.unaccounted(),
    );
}

fn memory(text: &mut Text, inputs: &[InputFigures]) {
    let help = "Bytes of Mem_Buf_Limit that are taken.";
    let mut used = text.family("log_ambassador_memory_bytes", "gauge", help);
    inputs.iter().for_each(|input| used.sample(&[("name", &input.name)], input.memory));
    let mut limit = text.family("log_ambassador_memory_limit_bytes", "gauge", "Mem_Buf_Limit.");
    inputs.iter().for_each(|input| limit.sample(&[("name", &input.name)], input.memory_limit));
}

fn process(text: &mut Text, times: Times) {
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    text.family("log_ambassador_build_info", "gauge", "Which version this is.").sample(&version, 1);
    text.family("log_ambassador_uptime_seconds", "gauge", "How long the agent has been running.")
        .sample(&[], times.uptime);
    let help = "Start time of the process since unix epoch in seconds.";
    text.family("process_start_time_seconds", "gauge", help).sample(&[], times.started);
}

/// The metrics of Fluent Bit that say the same of us.
fn as_fluent_bit_has_it(text: &mut Text, inputs: &[InputFigures], outputs: &[Output]) {
    let mut each = |name: &str, kind, help: &str, value: &dyn Fn(&InputFigures) -> u64| {
        let mut family = text.family(&format!("fluentbit_input_{name}"), kind, help);
        inputs.iter().for_each(|input| family.sample(&[("name", &input.name)], value(input)));
    };
    each("records_total", "counter", "Number of input records.", &|input| input.records);
    each("bytes_total", "counter", "Number of input bytes, as they are in the files.", &|input| {
        input.bytes
    });
    each("ingestion_paused", "gauge", "Is the input paused or not?", &|input| {
        u64::from(input.is_paused)
    });
    let Some(first) = outputs.first() else {
        return;
    };
    for (index, Counted { name, help, .. }) in first.counters.each().enumerate() {
        let mut family = text.family(&format!("fluentbit_output_{name}_total"), "counter", help);
        for output in outputs {
            let value = output.counters.each().nth(index).map_or(0, |counted| counted.value);
            family.sample(&[("name", &output.name)], value);
        }
    }
}

/// What was written so far.
#[derive(Default)]
struct Text(String);

/// A family whose samples are being written.
struct Family<'a> {
    text: &'a mut String,
    name: String,
}

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) -> Family<'_> {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let text = &mut self.0;
        write(text, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        Family { text, name: name.to_owned() }
    }
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.text.push_str(&self.name);
        for (index, (label, of)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            let of = of.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write(self.text, format_args!("{before}{label}=\"{of}\""));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        write(self.text, format_args!("{after} {value}\n"));
    }
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::ingest::Accounts;
    use crate::model::Counters;

    fn example() -> String {
        let counters = Counters::default();
        counters.lines.add(7);
        counters.lost_truncated_bytes.add(5);
        counters.failed_ack.add(2);
        let input = InputFigures { name: "a\"b\\c".to_owned(), records: 7, ..Default::default() };
        let figures = Figures {
            counters: counters.each().collect(),
            accounts: Accounts { held_unread: 9, ..Accounts::default() },
            inputs: vec![input],
            ..Figures::default()
        };
        let outputs = ["one", "two"];
        let outputs =
            outputs.map(|name| Output { name: name.to_owned(), counters: Arc::default() });
        outputs[1].counters.retries_failed.add(2);
        page(&figures, &outputs, Times { started: 1_700_000_000, uptime: 3 })
    }

    #[test]
    fn every_sample_has_its_help_and_its_type_before_it_and_no_family_comes_twice() {
        let text = example();
        let mut families = BTreeSet::new();
        let mut current = String::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(families.insert(name.to_owned()) && !help.is_empty(), "{line}");
                current = name.to_owned();
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                assert_eq!(name, current);
                assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                assert_eq!(name.split('{').next(), Some(current.as_str()));
                value.parse::<i64>().unwrap();
            }
        }
        assert!(families.len() > 40, "{text}");
    }

    #[test]
    fn counters_losses_gauges_and_instances_are_said_as_dashboards_read_them() {
        let text = example();
        for line in [
            "log_ambassador_lines_total 7",
            "log_ambassador_lost_bytes_total{reason=\"truncated\"} 5",
            "log_ambassador_lost_bytes_total{reason=\"held\"} 0",
            "log_ambassador_connection_failures_total{reason=\"ack\"} 2",
            "log_ambassador_refused_total{reason=\"too_large\"} 0",
            "log_ambassador_held_unread_bytes 9",
            // Nothing was written, so these nine are nine too many.
            "log_ambassador_unaccounted_bytes -9",
            "fluentbit_input_records_total{name=\"a\\\"b\\\\c\"} 7",
            "fluentbit_output_retries_failed_total{name=\"one\"} 0",
            "fluentbit_output_retries_failed_total{name=\"two\"} 2",
            "process_start_time_seconds 1700000000",
        ] {
            assert!(text.lines().any(|other| other == line), "no {line} in\n{text}");
        }
        assert!(!text.contains("log_ambassador_lost_truncated_bytes"));
    }
}

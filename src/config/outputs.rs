//! `[OUTPUT]` sections.
//!
//! In:  a section, and the backoff that `[SERVICE]` sets
//! Out: [`forward::Settings`](crate::forward::Settings)

use super::env::Variables;
use super::error::Report;
use super::filters::read_match;
use super::keys::{FORWARD, Group, NETWORK, OUTPUT, TLS};
use super::tree::Section;
use super::values::Values;
use crate::forward::{Backoff, RetryLimit, Settings};
use crate::model::{Pattern, units};

static GROUPS: &[&Group] = &[&OUTPUT, &NETWORK, &TLS, &FORWARD];

/// What an output is told beside its own section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// It is the only output, and there is one input: it may go without a `Match`.
    pub(super) is_alone: bool,
    /// `scheduler.base` and `scheduler.cap`.
    pub(super) backoff: Backoff,
}

/// Reads a section with `Name forward`. `number` counts the outputs from 0 and makes its name.
pub(super) fn read_forward(
    section: &Section,
    number: usize,
    surroundings: Surroundings,
    variables: &Variables<'_>,
    report: &mut Report,
) -> Settings {
    let mut values = Values::read(section, "the output 'forward'", GROUPS, variables, report);
    report.problems.append(&mut values.unsupported);
    let name = values.text("Alias").unwrap_or_else(|| format!("forward.{number}"));
    let host = values.text("Host").unwrap_or_else(|| "127.0.0.1".to_owned());
    let mut settings = Settings::new(&name, &host, read_port(&values, report));
    (settings.pattern, settings.pattern_regex) = read_match(&values);
    if settings.pattern.is_none() && settings.pattern_regex.is_none() {
        settings.pattern = surroundings.is_alone.then(|| Pattern::new("*"));
        warn_of_no_match(&settings, &values, report);
    }
    settings.backoff = surroundings.backoff;
    settings.require_ack = values.boolean("Require_ack_response").unwrap_or(settings.require_ack);
    settings.retry_limit = read_retry_limit(&values, report);
    read_network(&mut settings, &values, report);
    settings
}

fn warn_of_no_match(settings: &Settings, values: &Values, report: &mut Report) {
    if settings.pattern.is_none() {
        let message = "not written, so this output takes nothing; write for example 'Match *'";
        report.warn(&values.place("Match"), message);
    }
}

pub(super) fn read_port(values: &Values, report: &mut Report) -> u16 {
    const DEFAULT: u16 = 24_224;
    let Some(number) = values.integer("Port") else {
        return DEFAULT;
    };
    match u16::try_from(number) {
        Ok(port) if port > 0 => port,
        _ => {
            let message = format!("{number} is no port; write one from 1 to 65535");
            report.refuse_plugin(&values.place("Port"), message);
            DEFAULT
        }
    }
}

/// What cannot be read is taken as no limit, because that loses nothing. Fluent Bit takes it as 1.
fn read_retry_limit(values: &Values, report: &mut Report) -> RetryLimit {
    let Some(text) = values.text("Retry_Limit") else {
        return RetryLimit::NoLimits;
    };
    match text.to_ascii_lowercase().as_str() {
        "no_limits" | "false" | "off" => return RetryLimit::NoLimits,
        "no_retries" => return RetryLimit::Times(0),
        _ => {}
    }
    let times = units::leading_integer(&text).and_then(|times| u32::try_from(times).ok());
    if let Some(times) = times.filter(|times| *times > 0) {
        return RetryLimit::Times(times);
    }
    report.warn(
        &values.place("Retry_Limit"),
        format!(
            "'{text}' is no retry limit and is taken as no_limits (Fluent Bit takes it as 1); \
             write no_limits, no_retries or a count"
        ),
    );
    RetryLimit::NoLimits
}

fn read_network(settings: &mut Settings, values: &Values, report: &mut Report) {
    if let Some(time) = values.time("net.connect_timeout") {
        if time.is_zero() {
            let message = "must be more than 0 seconds; the default, 5s, holds";
            report.warn(&values.place("net.connect_timeout"), message);
        } else {
            settings.connect_timeout = time;
        }
    }
    if let Some(time) = values.time("net.io_timeout").filter(|time| !time.is_zero()) {
        settings.io_timeout = time;
        settings.ack_timeout = time;
    }
    if let Some(text) = values.text("net.source_address") {
        settings.source_address = text.parse().ok();
        if settings.source_address.is_none() {
            let message = format!("'{text}' is not an address; write for example '10.0.0.5'");
            report.refuse_plugin(&values.place("net.source_address"), message);
        }
    }
}

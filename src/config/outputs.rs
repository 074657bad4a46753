//! `[OUTPUT]` sections.
//!
//! In:  a section, and the backoff that `[SERVICE]` sets
//! Out: [`forward::Settings`](crate::forward::Settings)

use std::path::Path;

use super::env::Variables;
use super::error::Report;
use super::filters::read_match;
use super::keys::{FORWARD, Group, NETWORK, OUTPUT, TLS};
use super::service::read_preferred;
use super::tree::{Section, Tree};
use super::upstreams;
use super::values::Values;
use crate::forward::{Backoff, IpVersion, RetryLimit, Settings};
use crate::model::{Pattern, units};

static GROUPS: &[&Group] = &[&OUTPUT, &NETWORK, &TLS, &FORWARD];

/// What an output is told beside its own section.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings<'a> {
    /// It is the only output, and there is one input: it may go without a `Match`.
    pub(super) is_alone: bool,
    /// `scheduler.base` and `scheduler.cap`.
    pub(super) backoff: Backoff,
    /// `dns.prefer_ipv4` and `dns.prefer_ipv6`.
    pub(super) preferred: Option<IpVersion>,
    /// The main file.
    pub(super) main: &'a Path,
    /// What it says: in YAML it may hold the nodes.
    pub(super) tree: &'a Tree,
}

/// Reads a section with `Name forward`. `number` counts the outputs from 0 and makes its name.
pub(super) fn read_forward(
    section: &Section,
    number: usize,
    surroundings: Surroundings<'_>,
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
    settings.retry_limit = read_retry_limit(&values, report);
    settings.retry_max_age = values.time("Retry_Max_Age").filter(|age| !age.is_zero());
    settings.workers = read_workers(&values, report);
    settings.preferred = surroundings.preferred;
    read_network(&mut settings, &values, report);
    read_connection(&mut settings, &values);
    if let Some(found) = values.find("Upstream") {
        for key in ["Host", "Port"] {
            if let Some(unused) = values.find(key) {
                report.note(&unused.place, "not used: the nodes of Upstream are");
            }
        }
        let (main, tree) = (surroundings.main, surroundings.tree);
        let source = upstreams::Source { name: &found.value, place: &found.place, main, tree };
        settings.nodes = upstreams::read(source, &settings, variables, report);
    }
    settings
}

/// What a connection is told; the same keys in a `[NODE]` win over those of the output.
pub(super) fn read_connection(settings: &mut Settings, values: &Values) {
    settings.require_ack = values.boolean("Require_ack_response").unwrap_or(settings.require_ack);
}

/// Beyond a few connections, one thread is what bounds the rate.
fn read_workers(values: &Values, report: &mut Report) -> u32 {
    const MOST: u32 = 16;
    let Some(number) = values.integer("Workers") else {
        return 1;
    };
    // 0 has Fluent Bit send without a thread of its own: over one connection, too.
    let workers = u32::try_from(number).unwrap_or(u32::MAX).max(1);
    if number < 0 || workers > MOST {
        let taken = if number < 0 { 1 } else { MOST };
        let message = format!("{number} is not from 0 to {MOST}; {taken} is taken");
        report.warn(&values.place("Workers"), message);
        return taken;
    }
    workers
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
    settings.preferred =
        read_preferred(values, "net.dns.prefer_ipv4", "net.dns.prefer_ipv6").or(settings.preferred);
    if let Some(age) = values.time("net.max_connection_age") {
        settings.max_connection_age = Some(age).filter(|age| !age.is_zero());
    }
    if let Some(text) = values.text("net.source_address") {
        settings.source_address = text.parse().ok();
        if settings.source_address.is_none() {
            let message = format!("'{text}' is not an address; write for example '10.0.0.5'");
            report.refuse_plugin(&values.place("net.source_address"), message);
        }
    }
}

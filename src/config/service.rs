//! `[SERVICE]`.
//!
//! In:  every `[SERVICE]` section of the tree
//! Out: [`Service`], the backoff of all outputs, and the names of the parser files

use std::path::PathBuf;
use std::time::Duration;

use super::env::{Environment, Variables};
use super::error::{Place, Report};
use super::keys::{Group, SERVICE};
use super::tree::{Kind, Section};
use super::values::Values;
use super::{LogLevel, Service};
use crate::forward::Backoff;

static GROUPS: &[&Group] = &[&SERVICE];

/// What `[SERVICE]` says.
#[derive(Debug, Default)]
pub(super) struct ServiceSettings {
    pub(super) service: Service,
    /// `scheduler.base` and `scheduler.cap`, which hold for every output.
    pub(super) backoff: Backoff,
    /// `Parsers_File`: as written, with its place.
    pub(super) parser_files: Vec<(PathBuf, Place)>,
}

/// Several sections count as one, in which later values win.
pub(super) fn read(
    sections: &[Section],
    environment: &Environment,
    variables: &Variables<'_>,
    report: &mut Report,
) -> ServiceSettings {
    let mut settings = ServiceSettings::default();
    for section in sections.iter().filter(|section| section.kind == Kind::Service) {
        let mut values = Values::read(section, "[SERVICE]", GROUPS, variables, report);
        report.problems.append(&mut values.unsupported);
        settings.take(&values, report);
    }
    settings.obey_log_level_variable(environment, report);
    settings
}

impl ServiceSettings {
    fn take(&mut self, values: &Values, report: &mut Report) {
        let Service { flush, grace, drain_quiet, exit_when, multiline_limit, log_level, log_file } =
            &mut self.service;
        if let Some(found) = values.find("Flush") {
            match read_flush(&found.value) {
                Some(time) => *flush = time,
                None => report.refuse(
                    &found.place,
                    format!("'{}' is no time above 0 seconds; write for example '1'", found.value),
                ),
            }
        }
        if let Some(found) = values.find("Grace") {
            let endless = found.value == "-1";
            *grace = if endless { None } else { values.time("Grace").or(*grace) };
        }
        *drain_quiet = values.time("Drain_Quiet").unwrap_or(*drain_quiet);
        *exit_when = values.text("Exit_When").map(PathBuf::from).or_else(|| exit_when.take());
        *multiline_limit = values.binary_size("multiline_buffer_limit").unwrap_or(*multiline_limit);
        *log_level =
            values.text("Log_Level").and_then(|text| read_level(&text)).unwrap_or(*log_level);
        *log_file = values.text("Log_File").map(PathBuf::from).or_else(|| log_file.take());
        self.take_backoff(values, report);
        let files = values.all("Parsers_File");
        self.parser_files
            .extend(files.map(|found| (PathBuf::from(&found.value), found.place.clone())));
    }

    /// With `scheduler.base` alone, the longest wait is Fluent Bit's cap; with `scheduler.cap`
    /// alone, the first wait is ours. A cap below the base is raised to it.
    fn take_backoff(&mut self, values: &Values, report: &mut Report) {
        const CAP_IN_FLUENT_BIT: Duration = Duration::from_secs(2_000);
        let mut seconds = |name| {
            let seconds = values.integer(name)?;
            let positive = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
            if positive.is_none() {
                report.warn(
                    &values.place(name),
                    "must be more than 0 seconds; it is taken as not written",
                );
            }
            positive.map(Duration::from_secs)
        };
        let (base, cap) = (seconds("scheduler.base"), seconds("scheduler.cap"));
        if let Some(base) = base {
            self.backoff = Backoff { first: base, longest: CAP_IN_FLUENT_BIT };
        }
        if let Some(cap) = cap {
            self.backoff.longest = cap;
        }
        if self.backoff.longest < self.backoff.first {
            report.warn(
                &values.place("scheduler.cap"),
                "is below scheduler.base, which holds for both",
            );
            self.backoff.longest = self.backoff.first;
        }
    }

    /// `FLB_LOG_LEVEL` wins over `Log_Level`. (Fluent Bit 5.1 does not start with both.)
    fn obey_log_level_variable(&mut self, environment: &Environment, report: &mut Report) {
        let Some(text) = environment.get("FLB_LOG_LEVEL") else {
            return;
        };
        match read_level(text) {
            Some(level) => self.service.log_level = level,
            None => {
                let place = Place::of_file("environment".as_ref()).with_key("FLB_LOG_LEVEL");
                report.warn(&place, format!("'{text}' is no log level; write for example 'info'"));
            }
        }
    }
}

/// A number of seconds; a unit is obeyed when there is one, and other text behind the number is
/// not read, as in Fluent Bit.
fn read_flush(text: &str) -> Option<Duration> {
    use crate::model::units::{parse_number, parse_time};
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    parse_time(text)
        .or_else(|| Duration::try_from_secs_f64(parse_number(number)?).ok())
        .filter(|time| !time.is_zero())
}

fn read_level(text: &str) -> Option<LogLevel> {
    Some(match text.to_ascii_lowercase().as_str() {
        "off" => LogLevel::Off,
        "error" => LogLevel::Error,
        "warn" | "warning" => LogLevel::Warn,
        "info" => LogLevel::Info,
        "debug" => LogLevel::Debug,
        "trace" => LogLevel::Trace,
        _ => return None,
    })
}

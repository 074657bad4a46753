//! Our own log: lines on stderr in the form Fluent Bit gives its own.
//!
//! In:  events of the `tracing` library: a fixed sentence with facts beside it
//! Out: `[2026/11/24 08:00:00.123] [ warn] the sentence fact=value`

use std::fmt;
use std::fs::OpenOptions;
use std::io;
use std::path::Path;
use std::sync::Mutex;

use chrono::Utc;
use tracing::{Event, Level, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter, writer::BoxMakeWriter};
use tracing_subscriber::registry::LookupSpan;

use crate::config::LogLevel;

/// Begins to log. `file` is `Log_File`; without it stderr. A file that cannot be opened is the
/// error.
pub fn start(level: LogLevel, file: Option<&Path>) -> io::Result<()> {
    let writer = match file {
        None => BoxMakeWriter::new(io::stderr),
        Some(path) => {
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            BoxMakeWriter::new(Mutex::new(file))
        }
    };
    start_with(level, writer);
    Ok(())
}

fn start_with(level: LogLevel, writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(filter_of(level))
        .event_format(Line)
        .with_writer(writer)
        .finish();
    // A second start in one process (a test) keeps the first.
    tracing::subscriber::set_global_default(subscriber).ok();
}

fn filter_of(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}

struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => " warn",
            Level::INFO => " info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(writer, "[{}] [{level}] ", Utc::now().format("%Y/%m/%d %H:%M:%S%.3f"))?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

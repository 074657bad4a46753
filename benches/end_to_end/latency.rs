//! How long a line is on its way, at a rate that tires nobody.
//!
//! In:  a case, a command
//! Out: percentiles of the time from write to receipt, and what it costs to wait for lines

use std::fs::File;
use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::agent::{Agent, Settings};
use crate::receiver::{Manner, Receiver, nanoseconds_now};
use crate::run::{Case, PATIENCE, explain_loss};

const LINES_A_SECOND: u32 = 1_000;

/// What a writer of 1,000 lines a second sees.
pub(crate) struct Latency {
    /// In the order of length.
    delays: Vec<Duration>,
    /// Of one core.
    pub(crate) cpu_percent: Option<f64>,
    pub(crate) lost: i128,
}

impl Latency {
    /// The time within which so many in a hundred lines came.
    pub(crate) fn percentile(&self, percent: usize) -> Option<Duration> {
        let at = (self.delays.len() * percent).div_ceil(100).saturating_sub(1);
        self.delays.get(at).copied()
    }
}

/// Writes for so many seconds, into each of the files of the case in turn, with `Flush 0.2`.
pub(crate) fn follow_a_writer(command: &str, case: &Case, seconds: u32) -> io::Result<Latency> {
    let receiver = Receiver::listen(&Manner { reads_marks: true, ..Manner::default() }, 1)?;
    let directory = tempfile::tempdir()?;
    // The agent's own log lies in the other.
    let logs = tempfile::tempdir()?;
    let name = |number| logs.path().join(format!("application-{number}.log"));
    let files = (0..case.files).map(|number| File::create(name(number)));
    let mut files = files.collect::<Result<Vec<_>, _>>()?;
    let mut write_line = |number: u32| {
        let mut line = case.shape.line_written_at(nanoseconds_now(), number);
        line.push('\n');
        let turn = number as usize % files.len();
        files[turn].write_all(line.as_bytes())
    };
    let settings = Settings {
        path: logs.path().join("*.log").display().to_string(),
        tag: case.tag,
        limit: case.limit,
        flush: "0.2",
        port: receiver.ports[0],
        output: case.output.clone(),
    };
    let config = settings.write(directory.path())?;
    let mut agent = Agent::start(command, directory.path(), &config, case.place)?;
    // The first line only shows that it is there; its way is not counted.
    write_line(0)?;
    receiver.wait_for(1, PATIENCE, || agent.has_ended());

    let (begun, cpu_before) = (Instant::now(), agent.cpu());
    let lines = LINES_A_SECOND * seconds;
    for number in 1..=lines {
        wait_until(begun + Duration::from_secs(1) * number / LINES_A_SECOND);
        write_line(number)?;
    }
    let received = receiver.wait_for(u64::from(lines) + 1, PATIENCE, || agent.has_ended());
    let cpu_percent = agent.cpu().zip(cpu_before).map(|(after, before)| {
        100.0 * (after.saturating_sub(before)).as_secs_f64() / begun.elapsed().as_secs_f64()
    });
    explain_loss(&format!("{}, latency", case.name), u64::from(lines) + 1, &received, &agent);
    let mut delays = received.delays.get(1..).unwrap_or_default().to_vec();
    delays.sort_unstable();
    Ok(Latency { delays, cpu_percent, lost: i128::from(lines) + 1 - i128::from(received.events) })
}

/// Comes back at that time.
pub(crate) fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        thread::park_timeout(left);
    }
}

//! What an agent takes that has little to do, and how soon it is there.
//!
//! In:  the agent
//! Out: the time from the start of the process to its first event at the receiver; from the
//!      creation of a file to its first line there; CPU and memory while nothing is written

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::agent::{Agent, Settings};
use crate::corpus::ORDINARY;
use crate::latency::wait_until;
use crate::or_dash;
use crate::place::Place;
use crate::receiver::{Manner, Received, Receiver, nanoseconds_now};
use crate::run::{PATIENCE, Spread};

/// How often the short things are done.
const TIMES: u32 = 20;

/// An agent that has sent the only line of each of its files.
struct Watched {
    agent: Agent,
    receiver: Receiver,
    logs: TempDir,
    /// The agent's own.
    _directory: TempDir,
    received: Received,
    files: u32,
}

impl Watched {
    fn start(command: &str, files: u32, flush: &'static str) -> io::Result<Self> {
        let receiver = Receiver::listen(&Manner { reads_marks: true, ..Manner::default() }, 1)?;
        let (directory, logs) = (tempfile::tempdir()?, tempfile::tempdir()?);
        for number in 0..files {
            write_line(logs.path(), number)?;
        }
        let settings = Settings {
            path: logs.path().join("*.log").display().to_string(),
            tag: "app.logs",
            limit: "5MB",
            flush,
            port: receiver.ports[0],
            output: String::new(),
        };
        let config = settings.write(directory.path())?;
        let mut agent = Agent::start(command, directory.path(), &config, Place::Anywhere)?;
        let received = receiver.wait_for(u64::from(files), PATIENCE, || agent.has_ended());
        if received.events < u64::from(files) {
            return Err(io::Error::other(agent.last_words()));
        }
        Ok(Self { agent, receiver, logs, _directory: directory, received, files })
    }

    fn add_file(&mut self) -> io::Result<()> {
        write_line(self.logs.path(), self.files)?;
        self.files += 1;
        let agent = &mut self.agent;
        self.received =
            self.receiver.wait_for(u64::from(self.files), PATIENCE, || agent.has_ended());
        Ok(())
    }
}

/// One line in a file of its own, which says when.
fn write_line(directory: &Path, number: u32) -> io::Result<()> {
    let mut file = File::create(directory.join(format!("application-{number}.log")))?;
    writeln!(file, "{}", ORDINARY.line_written_at(nanoseconds_now(), number))
}

/// Prints all of it; `seconds` is how long nothing is done.
pub(crate) fn print_little(command: &str, seconds: u64) -> io::Result<()> {
    let starts = (0..TIMES).map(|_| {
        let watched = Watched::start(command, 1, "0.005")?;
        let first = watched.received.last.unwrap_or_else(Instant::now);
        Ok(first.duration_since(watched.agent.started).as_secs_f64() * 1e3)
    });
    let starts = starts.collect::<io::Result<Vec<_>>>()?;
    println!("start of the process to its first event, ms: {}", spread(starts));
    let mut watched = Watched::start(command, 100, "0.005")?;
    for _ in 0..TIMES {
        watched.add_file()?;
    }
    let delays = watched.received.delays.iter().skip(100);
    let delays = delays.map(|delay| delay.as_secs_f64() * 1e3).collect();
    println!("a new file to its first line there, Flush 0.005, ms: {}", spread(delays));
    drop(watched);
    for files in [1, 100, 10_000] {
        print_idle(command, files, seconds)?;
    }
    println!();
    Ok(())
}

/// What it takes once it is through with what is there.
fn print_idle(command: &str, files: u32, seconds: u64) -> io::Result<()> {
    let watched = Watched::start(command, files, "5")?;
    // What it does after a burst ends by then: buffers go back to the system.
    wait_until(Instant::now() + Duration::from_secs(seconds.min(8)));
    let (begun, before) = (Instant::now(), watched.agent.cpu());
    wait_until(begun + Duration::from_secs(seconds));
    let percent = watched.agent.cpu().zip(before).map(|(after, before)| {
        100.0 * after.saturating_sub(before).as_secs_f64() / begun.elapsed().as_secs_f64()
    });
    println!(
        "idle, {files} files, {seconds} s: {} of a core, {} resident, {} at most",
        or_dash(percent.map(|percent| format!("{percent:.3} %"))),
        or_dash(watched.agent.memory().map(megabytes)),
        or_dash(watched.agent.peak_memory().map(megabytes)),
    );
    Ok(())
}

fn spread(figures: Vec<f64>) -> String {
    or_dash(Spread::of(figures).map(|spread| spread.to_string()))
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

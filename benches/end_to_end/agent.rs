//! The agent that is measured, from outside.
//!
//! In:  a command, the reference configuration with some values replaced
//! Out: a process, its CPU time and its memory as the kernel counts them

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::place::{Place, Ready};

/// What stands for the path of the configuration in a command.
const CONFIG: &str = "{config}";

/// Values for keys of `config/fluent-bit.conf`.
pub(crate) struct Settings {
    pub(crate) path: String,
    pub(crate) tag: &'static str,
    pub(crate) limit: &'static str,
    pub(crate) flush: &'static str,
    pub(crate) port: u16,
    /// Further lines of the output.
    pub(crate) output: String,
}

impl Settings {
    /// Writes the configuration and the parsers it names into a directory.
    pub(crate) fn write(&self, directory: &Path) -> io::Result<PathBuf> {
        let path = directory.join("fluent-bit.conf");
        // The output is the last section.
        fs::write(&path, self.configuration() + &self.output)?;
        fs::write(directory.join("parsers.conf"), include_str!("../../config/parsers.conf"))?;
        Ok(path)
    }

    fn configuration(&self) -> String {
        let port = self.port.to_string();
        let reference = include_str!("../../config/fluent-bit.conf").lines().map(|line| {
            let key = line.split_whitespace().next().unwrap_or_default();
            let value = match key {
                "Path" => &self.path,
                "Tag" => self.tag,
                // Fluent Bit would begin at the end of a file that is there when it starts.
                "Mem_Buf_Limit" => {
                    return format!("    Mem_Buf_Limit {}\n    Read_from_Head On\n", self.limit);
                }
                "Flush" => self.flush,
                "Host" => "127.0.0.1",
                "Port" => &port,
                _ => return format!("{line}\n"),
            };
            format!("    {key} {value}\n")
        });
        reference.collect()
    }
}

/// What a table calls the agent of a command.
pub(crate) fn name_of(command: &str) -> &str {
    let program = command.split_whitespace().next().unwrap_or_default();
    program.rsplit('/').next().unwrap_or_default()
}

/// A running agent. Killed when dropped: what it does at a stop is measured nowhere here.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
    pub(crate) started: Instant,
    /// Dropped last.
    _place: Ready,
}

impl Agent {
    /// Starts `command`, whose words stand between blanks, with its output in a file of
    /// `directory`.
    pub(crate) fn start(
        command: &str,
        directory: &Path,
        config: &Path,
        place: Place,
    ) -> io::Result<Self> {
        let log = directory.join("agent.log");
        let output = File::create(&log)?;
        let place = place.make_ready()?;
        let config = config.display().to_string();
        let command = command.split_whitespace().map(|word| word.replace(CONFIG, &config));
        let mut words = place.before().iter().cloned().chain(command);
        let program = words.next().ok_or_else(|| io::Error::other("an empty command"))?;
        let started = Instant::now();
        let child = Command::new(&program)
            .args(words)
            .env("HOSTNAME", "myapp-with-logging")
            .env("POD_NAMESPACE", "default")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("{program}: {error}")))?;
        Ok(Self { child, log, started, _place: place })
    }

    /// Whether it ended, which it should not.
    pub(crate) fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// User and system time of all its threads. `None`: this kernel does not say.
    ///
    /// `schedstat` counts nanoseconds, where `stat` (and `getrusage` on many kernels) counts
    /// ticks of 10 ms: too coarse for a run of a third of a second.
    pub(crate) fn cpu(&self) -> Option<Duration> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let times = tasks.flatten().filter_map(|task| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        });
        Some(Duration::from_nanos(times.sum())).filter(|time| !time.is_zero())
    }

    /// The most memory it ever had resident, in bytes. `None`: this kernel does not say.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        self.status("VmHWM:")
    }

    /// The memory it has resident, in bytes. `None`: this kernel does not say.
    pub(crate) fn memory(&self) -> Option<u64> {
        self.status("VmRSS:")
    }

    fn status(&self, field: &str) -> Option<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib * 1024)
    }

    /// The last lines it wrote.
    pub(crate) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

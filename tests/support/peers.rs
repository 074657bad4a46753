//! Third-party speakers of the forward protocol: the npm package `@fluent-org/logger` and the
//! PyPI package `fluent-logger`, as pinned in `tests/peers`.
//!
//! A missing package fails the test and says what to run; no test is left out in silence.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use super::Event;

/// The receiver of `@fluent-org/logger`, in a process of its own, which ends with this.
pub struct NpmFluentServer {
    process: Child,
    port: u16,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    events: Mutex<Vec<Event>>,
    changed: Condvar,
}

/// Starts the receiver of `@fluent-org/logger` on a port that the system chooses.
///
/// It takes every mode and acknowledges *before* it hands out the entries. Numbers above 2^53
/// lose digits, and a str that begins with U+001F or Syriac comes out as bytes.
pub fn npm_fluent_server() -> NpmFluentServer {
    npm_fluent_server_with(&serde_json::json!({}))
}

/// The same with options: what `FluentServer` takes, and `tlsFiles` (names of PEM files).
pub fn npm_fluent_server_with(options: &Json) -> NpmFluentServer {
    let mut command = node("fluent_server.js");
    command.arg(options.to_string()).stdout(Stdio::piped());
    let mut process = command.spawn().expect("node is installed");
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let first = lines.next().expect("node says where it listens").unwrap();
    let port = serde_json::from_str::<Json>(&first).unwrap()["port"].as_u64().unwrap_or(0);
    let seen = Arc::new(Seen::default());
    let keep = Arc::clone(&seen);
    thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            keep.events.lock().unwrap().push(event_of(&line));
            keep.changed.notify_all();
        }
    });
    NpmFluentServer { process, port: u16::try_from(port).unwrap(), seen }
}

impl NpmFluentServer {
    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits until so many records have arrived, and returns all that have.
    pub fn wait_for_records(&self, count: usize, within: Duration) -> Vec<Event> {
        let deadline = Instant::now() + within;
        let mut events = self.seen.events.lock().unwrap();
        while events.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "waited {within:?} for {count}; there are {}", events.len());
            (events, _) = self.seen.changed.wait_timeout(events, left).unwrap();
        }
        events.clone()
    }
}

impl Drop for NpmFluentServer {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn event_of(line: &str) -> Event {
    let json: Json = serde_json::from_str(line).expect("a line of JSON");
    let number = |key: &str| json[key].as_u64().and_then(|number| u32::try_from(number).ok());
    Event {
        tag: json["tag"].as_str().expect("a tag").to_owned(),
        seconds: number("seconds").expect("seconds"),
        nanos: number("nanos").expect("nanos"),
        record: json["record"].clone(),
    }
}

/// Sends entries with the sender of `@fluent-org/logger` in one of its modes, and waits until
/// all are acknowledged.
pub fn npm_client_sends(port: u16, mode: &str, entries: usize) {
    succeeds(&mut npm_client(port, mode, entries, &serde_json::json!({})));
}

/// The same with options: `security`, as `FluentClient` takes it, and `tlsFiles` (names of PEM
/// files).
pub fn npm_client(port: u16, mode: &str, entries: usize, options: &Json) -> Command {
    let mut command = node("client.js");
    command.args([port.to_string(), mode.to_owned(), entries.to_string(), options.to_string()]);
    command
}

/// Sends entries with PyPI's `fluent-logger` in Message mode, without acks.
pub fn python_logger_sends(port: u16, entries: usize) {
    let packages = packages_in(
        "python/fluent",
        "python3 -m pip install --target tests/peers/python -r tests/peers/requirements.txt",
    );
    let mut command = Command::new("python3");
    command.env("PYTHONPATH", packages.parent().unwrap()).env("PYTHONDONTWRITEBYTECODE", "1");
    succeeds(command.arg(peers().join("client.py")).args([port.to_string(), entries.to_string()]));
}

fn node(script: &str) -> Command {
    packages_in("node_modules/@fluent-org/logger", "npm ci --prefix tests/peers");
    let mut command = Command::new("node");
    command.arg(peers().join(script));
    command
}

pub fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{errors}", output.status);
}

fn packages_in(folder: &str, install: &str) -> PathBuf {
    let path = peers().join(folder);
    assert!(path.is_dir(), "{} is missing: run `{install}`", path.display());
    path
}

fn peers() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers"))
}

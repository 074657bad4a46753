//! The agent as its users run it: the binary, a configuration file, signals.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{FakeFluentd, LogDir};

/// How long anything may take that should be quick.
pub const SOON: Duration = Duration::from_secs(20);

/// What an agent is to be told. Keys are lines as they stand in a configuration file.
#[derive(Clone)]
pub struct Told {
    path: String,
    host: String,
    port: u16,
    service: Vec<String>,
    input: Vec<String>,
    listen: Option<Vec<String>>,
    filters: Vec<Vec<String>>,
    output: Vec<String>,
    more: String,
    nodes: Vec<String>,
    environment: Vec<(String, String)>,
    parsers: String,
}

impl Told {
    /// To follow `*.log` in a directory and to ship to a receiver, as in the reference
    /// configuration but for a `Flush` and a `Drain_Quiet` that tests can wait for.
    pub fn to_follow(logs: &LogDir, fluentd: &FakeFluentd) -> Self {
        Self {
            path: logs.path().join("*.log").display().to_string(),
            host: "127.0.0.1".to_owned(),
            port: fluentd.port(),
            service: vec!["Flush 0.1".to_owned(), "Drain_Quiet 100ms".to_owned()],
            input: Vec::new(),
            listen: None,
            filters: Vec::new(),
            output: Vec::new(),
            more: String::new(),
            nodes: Vec::new(),
            environment: vec![
                ("HOSTNAME".to_owned(), "pod-1".to_owned()),
                ("POD_NAMESPACE".to_owned(), "shop".to_owned()),
            ],
            parsers: include_str!("../../config/parsers.conf").to_owned(),
        }
    }

    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Ships to another receiver.
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Ships to whoever has this name.
    pub fn host(mut self, name: &str) -> Self {
        name.clone_into(&mut self.host);
        self
    }

    /// A key of `[SERVICE]`, in place of our own.
    pub fn service(mut self, line: &str) -> Self {
        let key = line.split(' ').next().unwrap_or_default();
        self.service.retain(|other| other.split(' ').next() != Some(key));
        self.service.push(line.to_owned());
        self
    }

    pub fn input(mut self, line: &str) -> Self {
        let key = line.split(' ').next().unwrap_or_default();
        self.input.retain(|other| other.split(' ').next() != Some(key));
        self.input.push(line.to_owned());
        self
    }

    /// To take frames of clients instead of following files: keys of a `forward` input.
    pub fn to_listen(fluentd: &FakeFluentd, keys: &[&str]) -> Self {
        Self { path: String::new(), ..Self::to_follow(&LogDir::new(), fluentd) }.listening(keys)
    }

    /// To take frames of clients as well.
    pub fn listening(mut self, keys: &[&str]) -> Self {
        self.listen = Some(keys.iter().map(|&key| key.to_owned()).collect());
        self
    }

    /// One more filter, behind the one there is.
    pub fn filter(mut self, lines: &[&str]) -> Self {
        self.filters.push(lines.iter().map(|&line| line.to_owned()).collect());
        self
    }

    /// Sections that stand in the parser file too.
    pub fn parsers(mut self, text: &str) -> Self {
        self.parsers.push('\n');
        self.parsers.push_str(text);
        self
    }

    pub fn output(mut self, line: &str) -> Self {
        self.output.push(line.to_owned());
        self
    }

    /// Further sections, as they stand in the file.
    pub fn more(mut self, sections: &str) -> Self {
        self.more.push_str(sections);
        self
    }

    /// Ships to nodes instead: this one, and those of further calls. Keys are lines of its `[NODE]`.
    pub fn node(mut self, port: u16, keys: &[&str]) -> Self {
        let number = self.nodes.len();
        let keys: String = keys.iter().map(|key| format!("    {key}\n")).collect();
        let node =
            format!("[NODE]\n    Name n{number}\n    Host 127.0.0.1\n    Port {port}\n{keys}");
        self.nodes.push(node);
        self
    }

    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn configuration(&self) -> String {
        let own = ["Parser json", "Tag app.logs", "Refresh_Interval 5", "Mem_Buf_Limit 5MB"];
        let key = |line: &str| line.split(' ').next().unwrap_or_default().to_ascii_lowercase();
        let joins = self.input.iter().any(|line| key(line) == "multiline.parser");
        let kept = own.iter().filter(|own| !self.input.iter().any(|line| key(line) == key(own)));
        let kept = kept.filter(|own| !(joins && key(own) == "parser"));
        let input: Vec<&str> = kept.copied().chain(self.input.iter().map(String::as_str)).collect();
        let tail = match &*self.path {
            "" => String::new(),
            path => {
                format!("[INPUT]\n    Name tail\n    Path {path}\n    {}\n", input.join("\n    "))
            }
        };
        let listen = self.listen.as_ref().map_or_else(String::new, |keys| {
            format!("[INPUT]\n    Name forward\n    {}\n", keys.join("\n    "))
        });
        let filters = self.filters.iter().map(|lines| lines.join("\n    "));
        let filters: String = filters.map(|lines| format!("[FILTER]\n    {lines}\n")).collect();
        format!(
            "[SERVICE]\n    {}\n    Parsers_File parsers.conf\n{tail}{listen}\
             [FILTER]\n    Name record_modifier\n    Match *\n    Record hostname ${{HOSTNAME}}\n    \
             Record namespace ${{POD_NAMESPACE}}\n{filters}\
             [OUTPUT]\n    Name forward\n    Match *\n    {}\n{}{}",
            self.service.join("\n    "),
            match self.nodes.is_empty() {
                true => format!("Host {}\n    Port {}", self.host, self.port),
                false => "Upstream upstream.conf".to_owned(),
            },
            self.output.iter().map(|line| format!("    {line}\n")).collect::<String>(),
            self.more,
        )
    }

    /// What `check` says of it.
    pub fn check(&self) -> String {
        let directory = tempfile::tempdir().unwrap();
        let config = self.write_into(directory.path());
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-ambassador"));
        command.env_clear().envs(self.environment.iter().cloned());
        let output = command.arg("check").arg("-c").arg(&config).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8(said).unwrap()
    }

    fn write_into(&self, directory: &Path) -> PathBuf {
        let config = directory.join("fluent-bit.conf");
        std::fs::write(&config, self.configuration()).unwrap();
        std::fs::write(directory.join("parsers.conf"), &self.parsers).unwrap();
        let upstream = format!("[UPSTREAM]\n    Name nodes\n{}", self.nodes.concat());
        std::fs::write(directory.join("upstream.conf"), upstream).unwrap();
        config
    }

    /// Starts the agent.
    pub fn start(&self) -> TestAgent {
        self.start_inside(&[])
    }

    /// Starts it by a program that takes a command line behind its arguments and becomes it,
    /// also as another user: a copy of the agent lies where anyone may read it.
    pub fn start_readable_inside(&self, wrapper: &[&str]) -> TestAgent {
        let directory = tempfile::tempdir().unwrap();
        let anyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory.path(), anyone).unwrap();
        let agent = directory.path().join("log-ambassador");
        std::fs::copy(env!("CARGO_BIN_EXE_log-ambassador"), &agent).unwrap();
        self.start_from(directory, wrapper, agent.to_str().unwrap())
    }

    /// Starts it by a program that takes a command line behind its arguments and becomes it.
    pub fn start_inside(&self, wrapper: &[&str]) -> TestAgent {
        let directory = tempfile::tempdir().unwrap();
        self.start_from(directory, wrapper, env!("CARGO_BIN_EXE_log-ambassador"))
    }

    fn start_from(&self, directory: tempfile::TempDir, wrapper: &[&str], agent: &str) -> TestAgent {
        let config = self.write_into(directory.path());
        let mut words = wrapper.iter().copied().chain([agent]);
        let mut command = Command::new(words.next().expect("at least the agent"));
        command
            .args(words)
            .arg("-c")
            .arg(&config)
            .env_clear()
            .envs(self.environment.iter().cloned());
        TestAgent::spawn(command, directory)
    }
}

/// A running agent. It is killed when the test is over.
pub struct TestAgent {
    child: Child,
    log: Arc<Log>,
    _directory: tempfile::TempDir,
}

#[derive(Default)]
struct Log {
    text: Mutex<String>,
    grew: Condvar,
}

impl TestAgent {
    /// Starts any command; the directory is kept while it runs.
    pub fn spawn(mut command: Command, directory: tempfile::TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Log::default());
        let kept = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut text = kept.text.lock().unwrap();
                text.push_str(&line);
                text.push('\n');
                kept.grew.notify_all();
            }
        });
        Self { child, log, _directory: directory }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Stops it where it is. Whatever it has not done yet it does not do before `resume`.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        // The signal is on its way when `kill` has returned; a thread may do much before it stops.
        wait_until("every thread has stopped", || self.threads_are_all_in_state('T'));
    }

    /// Lets it go on after `pause`.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    fn threads_are_all_in_state(&self, state: char) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let mut stats =
            tasks.map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")));
        // Before the state stands the name in brackets, which may hold anything.
        stats
            .all(|stat| stat.is_ok_and(|stat| stat.rsplit(") ").next().unwrap().starts_with(state)))
    }

    /// Asks for a stop, and gives the exit status. Every byte of every file must be accounted for.
    pub fn stop(self) -> i32 {
        let log = Arc::clone(&self.log);
        self.signal(Signal::TERM);
        let status = self.status(Duration::from_secs(40));
        let text = log.text.lock().unwrap();
        assert!(!text.contains("bytes are unaccounted for"), "{text}");
        status
    }

    /// Asks for a stop, and gives the exit status and the whole log.
    pub fn stop_and_log(self) -> (i32, String) {
        let log = Arc::clone(&self.log);
        let status = self.stop();
        let text = log.text.lock().unwrap().clone();
        (status, text)
    }

    /// The same, with a deadline.
    pub fn status_after_stop(self, within: Duration) -> i32 {
        self.signal(Signal::TERM);
        self.status(within)
    }

    /// The exit status, as soon as it has ended.
    pub fn status(mut self, within: Duration) -> i32 {
        let deadline = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "still running; its log:\n{}", self.log());
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as `kill -9` does.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn log(&self) -> String {
        self.log.text.lock().unwrap().clone()
    }

    /// Waits until its log contains a text.
    pub fn wait_for_log(&self, text: &str) {
        let mut log = self.log.text.lock().unwrap();
        let deadline = Instant::now() + SOON;
        while !log.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {text:?} in its log:\n{log}");
            log = self.log.grew.wait_timeout(log, left).unwrap().0;
        }
    }

    /// The files it has open.
    pub fn open_files(&self) -> Vec<PathBuf> {
        let directory = format!("/proc/{}/fd", self.child.id());
        let entries = std::fs::read_dir(directory).unwrap().flatten();
        entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect()
    }

    /// Waits until it is told about names and data in some directory. What happens to files from
    /// then on does not go unnoticed.
    pub fn wait_until_watching(&self) {
        let directory = format!("/proc/{}/fdinfo", self.child.id());
        let watches = || {
            let entries = std::fs::read_dir(&directory).into_iter().flatten().flatten();
            let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
            texts.filter(|text| text.contains("inotify wd:")).count()
        };
        wait_until("it watches its directories", || watches() == 2);
    }

    /// Time on a processor so far.
    pub fn processor_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
        let ticks: u64 = [fields[11], fields[12]].iter().map(|t| t.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// The most memory it has taken so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }
}

impl Drop for TestAgent {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until a condition holds. For conditions nobody can tell us of.
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "still waiting until {what}");
        thread::park_timeout(Duration::from_millis(2));
    }
}

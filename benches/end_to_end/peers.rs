//! What the agent is compared with, each in a process of its own: this bench under another role.
//!
//! In:  a role, the configuration that the agent would get
//! Out: frames to the receiver that the configuration names
//!
//! `checked` and `unchecked` are our agent from the library, so that the second can leave out what
//! no key leaves out: comparing each file with what it held before, and notices. `floor` is one
//! loop that reads the file, transcodes its lines and writes frames: no filter, no memory limit, no
//! acknowledgements, nothing that can go wrong handled.

use std::fs::{self, File};
use std::io::{self, IoSlice, Read, Write};
use std::net::TcpStream;
use std::path::Path;

use clap::ValueEnum;
use log_ambassador::agent::{self, Options};
use log_ambassador::config::{self, Environment};
use log_ambassador::model::{EventTime, Tag};
use log_ambassador::parse::{Parser, TimeFound};
use log_ambassador::protocol::frame::{self, Tail};
use memchr::{memchr, memrchr};

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Role {
    Checked,
    Unchecked,
    Floor,
}

impl Role {
    /// The command that plays it, as `--agent` would have it.
    pub(crate) fn command(self) -> io::Result<String> {
        let own = std::env::current_exe()?;
        let name = self.to_possible_value().expect("no role is skipped");
        Ok(format!("{} --role {} --config {{config}}", own.display(), name.get_name()))
    }

    /// Plays it, until it is killed.
    pub(crate) fn play(self, config: &Path) -> io::Result<()> {
        match self {
            Self::Checked => run_agent(config, true),
            Self::Unchecked => run_agent(config, false),
            Self::Floor => run_floor(config),
        }
    }
}

fn run_agent(config: &Path, checks: bool) -> io::Result<()> {
    let loaded = config::load(config, &[], &Environment::of_process());
    let mut config = loaded.map_err(|problems| io::Error::other(problems.to_string()))?.config;
    for input in &mut config.inputs {
        input.inotify_watcher = checks;
    }
    let options = Options { trusts_files: !checks, ..Options::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(agent::run(config, options, std::future::pending()));
    Err(io::Error::other(format!("the agent ended: {:?}", ended.err())))
}

/// As much as the agent reads at once.
const SLICE: usize = 128 << 10;
/// As large as the agent's chunks are with the reference `Mem_Buf_Limit`.
const CHUNK: usize = 600_000;

fn run_floor(config: &Path) -> io::Result<()> {
    let config = fs::read_to_string(config)?;
    let value = |key: &str| {
        let words = config.lines().map(|line| line.trim().split_once(' '));
        let found = words.flatten().find(|(name, _)| *name == key);
        found.map(|(_, value)| value.trim()).ok_or_else(|| io::Error::other(key.to_owned()))
    };
    let log = glob::glob(value("Path")?).ok().and_then(|mut found| found.next()?.ok());
    let mut file = File::open(log.ok_or_else(|| io::Error::other("no log file"))?)?;
    let mut stream = TcpStream::connect(format!("127.0.0.1:{}", value("Port")?))?;
    let parser = crate::reference_parser();
    let (mut buffer, mut kept) = (vec![0; SLICE], 0);
    let mut chunk = FloorChunk::default();
    loop {
        let count = file.read(&mut buffer[kept..])?;
        let filled = kept + count;
        let end = memrchr(b'\n', &buffer[..filled]).map_or(0, |at| at + 1);
        chunk.add_lines(&buffer[..end], &parser);
        buffer.copy_within(end..filled, 0);
        kept = filled - end;
        if count == 0 || chunk.entries.len() >= CHUNK {
            chunk.send(&mut stream)?;
        }
        if count == 0 {
            // Until the receiver has what it wants, and we are killed.
            stream.read_exact(&mut [0])?;
        }
    }
}

#[derive(Default)]
struct FloorChunk {
    entries: Vec<u8>,
    events: u32,
}

impl FloorChunk {
    fn add_lines(&mut self, mut lines: &[u8], parser: &Parser) {
        let read_at = EventTime { seconds: 1_790_000_000, nanos: 0 };
        while let Some(end) = memchr(b'\n', lines) {
            let start = self.entries.len();
            self.entries.push(0x92);
            self.entries.extend(read_at.encode());
            let line = std::str::from_utf8(&lines[..end]).expect("the corpus is UTF-8");
            let parsed = parser.parse(line, read_at, &mut self.entries).expect("it is JSON");
            if let TimeFound::At(time) = parsed.time {
                self.entries[start + 1..=start + EventTime::ENCODED]
                    .copy_from_slice(&time.encode());
            }
            self.events += 1;
            lines = &lines[end + 1..];
        }
    }

    fn send(&mut self, stream: &mut TcpStream) -> io::Result<()> {
        if self.events == 0 {
            return Ok(());
        }
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        frame::head(&Tag::new("app.logs"), self.entries.len(), &mut head);
        Tail { events: self.events, ..Tail::default() }.encode(&mut tail);
        let mut parts = [&head, &self.entries, &tail].map(|part| IoSlice::new(part));
        let mut left = &mut parts[..];
        while !left.is_empty() {
            let written = stream.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, written);
        }
        self.entries.clear();
        self.events = 0;
        Ok(())
    }
}

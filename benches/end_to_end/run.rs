//! One run of one agent over one corpus.
//!
//! In:  a case, a corpus, a command
//! Out: what it took, seen from outside

use std::io;
use std::time::{Duration, Instant};

use crate::agent::{Agent, Settings};
use crate::corpus::{Corpus, ORDINARY, SHAPES, Shape};
use crate::place::Place;
use crate::receiver::{Manner, Received, Receiver};

/// So long without an event, and a run is over: longer than the reference `Flush` of 5 s.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// How an agent meets lines.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    pub(crate) files: u64,
    pub(crate) limit: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) place: Place,
    /// Further lines of the output.
    pub(crate) output: String,
}

impl Case {
    /// Lines of a shape in one file, as the reference configuration meets them.
    pub(crate) fn of(shape: Shape) -> Self {
        let name = shape.name;
        let (limit, tag, output) = ("5MB", "app.logs", String::new());
        Self { name, shape, files: 1, limit, tag, place: Place::Anywhere, output }
    }

    /// Whether nothing is special about it.
    pub(crate) fn is_usual(&self) -> bool {
        self.name == self.shape.name
    }
}

/// The cases of the table.
pub(crate) fn cases() -> Vec<Case> {
    let ordinary = Case::of(ORDINARY);
    let mut cases: Vec<_> = SHAPES.into_iter().map(Case::of).collect();
    for (name, place) in
        [("400 bytes, on one core", Place::OneCore), ("400 bytes, 0.1 core", Place::TenthOfACore)]
    {
        if place.can_be_had() {
            cases.push(Case { name, place, ..ordinary.clone() });
        }
    }
    cases.push(Case { name: "400 bytes, limit 512k", limit: "512k", ..ordinary.clone() });
    cases.push(Case { name: "400 bytes, limit 50k", limit: "50k", ..ordinary.clone() });
    cases.push(Case { name: "400 bytes, 500 files", files: 500, tag: "app.*", ..ordinary });
    cases
}

/// What one run, or the median of some, showed.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) lines: u64,
    /// Bytes of log file.
    pub(crate) bytes: u64,
    pub(crate) events: u64,
    /// Bytes of entries that the receiver got, perhaps compressed.
    pub(crate) sent: u64,
    pub(crate) seconds: f64,
    pub(crate) cpu: Option<Duration>,
    pub(crate) peak_memory: Option<u64>,
}

impl Measured {
    /// Millions of bytes of log file a second.
    pub(crate) fn speed(&self) -> f64 {
        self.bytes as f64 / 1e6 / self.seconds
    }

    /// CPU seconds for 10^9 bytes of log file.
    pub(crate) fn cost(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64() * 1e9 / self.bytes as f64)
    }

    pub(crate) fn lost(&self) -> i128 {
        i128::from(self.lines) - i128::from(self.events)
    }
}

/// Runs an agent against a receiver that acknowledges and nothing else.
pub(crate) fn run(command: &str, case: &Case, corpus: &Corpus) -> io::Result<Measured> {
    let receiver = Receiver::listen(&Manner::default(), 1)?;
    Ok(run_against(&receiver, command, case, corpus)?.0)
}

/// The same against this receiver, and what it got.
pub(crate) fn run_against(
    receiver: &Receiver,
    command: &str,
    case: &Case,
    corpus: &Corpus,
) -> io::Result<(Measured, Received)> {
    let directory = tempfile::tempdir()?;
    let settings = Settings {
        path: corpus.path(),
        tag: case.tag,
        limit: case.limit,
        flush: "5",
        port: receiver.ports[0],
        output: case.output.clone(),
    };
    let config = settings.write(directory.path())?;
    let mut agent = Agent::start(command, directory.path(), &config, case.place)?;
    let received = receiver.wait_for(corpus.lines, PATIENCE, || agent.has_ended());
    let end = received.last.unwrap_or_else(Instant::now);
    let measured = Measured {
        lines: corpus.lines,
        bytes: corpus.bytes,
        events: received.events,
        sent: received.bytes,
        seconds: end.duration_since(agent.started).as_secs_f64(),
        cpu: agent.cpu(),
        peak_memory: agent.peak_memory(),
    };
    explain_loss(case.name, corpus.lines, &received, &agent);
    Ok((measured, received))
}

/// Says what is known if not every line became an event.
pub(crate) fn explain_loss(name: &str, lines: u64, received: &Received, agent: &Agent) {
    if received.events == lines {
        return;
    }
    eprintln!("{name}: {} of {lines} events came", received.events);
    if let Some(trouble) = &received.trouble {
        eprintln!("the receiver: {trouble}");
    }
    eprintln!("the agent: {}", agent.last_words());
}

/// The run in the middle by time, with the worst memory and the worst loss of all.
pub(crate) fn median(mut runs: Vec<Measured>) -> Measured {
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let worst = runs.iter().copied().max_by_key(|run| run.lost().abs());
    let peak_memory = runs.iter().filter_map(|run| run.peak_memory).max();
    let middle = runs[runs.len() / 2];
    Measured { events: worst.map_or(middle.events, |run| run.events), peak_memory, ..middle }
}

/// Figures of one thing, in the order of size.
pub(crate) struct Spread(Vec<f64>);

impl Spread {
    /// `None` of none.
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<_> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        (!figures.is_empty()).then_some(Self(figures))
    }

    pub(crate) fn median(&self) -> f64 {
        self.0[self.0.len() / 2]
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (lowest, highest) = (self.0[0], self.0[self.0.len() - 1]);
        write!(f, "{:.2} ({lowest:.2} to {highest:.2})", self.median())
    }
}

//! The whole agent, measured from outside: files in, events counted at the other end.
//!
//! `cargo bench --bench end_to_end` prints one table, draws it, and compares; `-- --help` says what
//! else can be asked for; `docs/performance.md` says how to read it.
//!
//! ```text
//! cases ─┬▶ run: a backlog ───────────────┬▶ the table, plot
//!        └▶ latency: a trickle ───────────┘
//! ratios:  the agent beside the floor (peers), in turn
//! forward: ways to send, in turn, and beside the libraries at work (library)
//! spread:  the same bytes in one file and in many
//! little:  how soon it is there, and what it takes while nothing is written
//! ```
#![allow(missing_docs, reason = "a program, not a library")]

mod agent;
#[path = "../../tests/support/certificates.rs"]
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "the tests use all of it")]
mod certificates;
mod corpus;
mod forward;
mod latency;
mod library;
mod little;
mod peers;
mod place;
mod plot;
mod receiver;
mod run;
mod spread;

use std::fs;
use std::hint::black_box;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use agent::name_of;
use clap::Parser;
use corpus::{Corpora, ORDINARY, SHAPES};
use latency::Latency;
use log_ambassador::model::EventTime;
use log_ambassador::parse::{Definition, Format};
use peers::Role;
use plot::Plot;
use run::{Case, Measured, Spread, cases, median, run};

const OURS: &str = concat!(env!("CARGO_BIN_EXE_log-ambassador"), " -c {config}");

/// Measures the whole agent.
#[derive(Parser)]
#[command(name = "end_to_end")]
struct Arguments {
    /// Megabytes of log lines in each case.
    #[arg(long)]
    mb: Option<u64>,
    /// How often each case is run; the median by time is printed, with the worst of memory and
    /// loss.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Another agent beside ours, in turn with it: a command between blanks, with {config} where
    /// the path of a Fluent Bit configuration belongs. It must be the agent itself, not a shell
    /// around it.
    #[arg(long)]
    agent: Vec<String>,
    /// Only the cases, and the ways to send, whose name has this in it; or one of the parts that
    /// follow the table: ratios, forward, spread, little.
    #[arg(long, default_value = "")]
    only: String,
    /// How many pairs, or rounds, are compared for each ratio.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Where the table is drawn.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/end_to_end.svg"))]
    plot: PathBuf,
    /// What this process is in a comparison.
    #[arg(long, hide = true, requires = "config")]
    role: Option<Role>,
    #[arg(long, hide = true)]
    config: Option<PathBuf>,
    /// Given by `cargo bench`. Without it everything is only tried, with 1 MB.
    #[arg(long, hide = true)]
    bench: bool,
}

impl Arguments {
    fn megabytes(&self) -> u64 {
        self.mb.unwrap_or(if self.bench { 100 } else { 1 })
    }

    /// How often each ratio is measured.
    fn rounds(&self) -> usize {
        if self.bench { self.pairs.max(1) } else { 1 }
    }

    /// How long nothing is written.
    fn seconds_of_rest(&self) -> u64 {
        if self.bench { 30 } else { 1 }
    }

    /// How long a trickle is followed.
    fn seconds_of_trickle(&self) -> u32 {
        if self.bench { 5 } else { 1 }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match (arguments.role, &arguments.config) {
        (Some(role), Some(config)) => role.play(config),
        _ => measure(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot measure: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> io::Result<()> {
    let mut corpora = Corpora::new(arguments.megabytes() * 1_000_000)?;
    let mut cases = cases();
    cases.retain(|case| case.name.contains(&arguments.only));
    if !cases.is_empty() {
        print_table(arguments, &cases, &mut corpora)?;
    }
    if "ratios".contains(&arguments.only) {
        print_ratios(arguments, &mut corpora)?;
    }
    let only = if "forward".contains(&arguments.only) { "" } else { &arguments.only };
    forward::print_ways(OURS, only, arguments.rounds(), &mut corpora)?;
    if "spread".contains(&arguments.only) {
        spread::print_spread(OURS, arguments.rounds(), &mut corpora)?;
    }
    if "little".contains(&arguments.only) {
        little::print_little(OURS, arguments.seconds_of_rest())?;
    }
    println!("{}\n", cost_of_parsing());
    println!("{}", conditions(arguments));
    Ok(())
}

// === The table

fn print_table(arguments: &Arguments, cases: &[Case], corpora: &mut Corpora) -> io::Result<()> {
    // All of them, before anything is measured.
    for case in cases {
        corpora.get(case.shape, case.files)?;
    }
    let mut plot = Plot::default();
    print_row([
        "corpus", "agent", "lines", "MB/s", "CPU s/GB", "peak RSS", "p50", "p99", "1,000/s", "lost",
    ]);
    print_row(["---", "---", "---:", "---:", "---:", "---:", "---:", "---:", "---:", "---:"]);
    for case in cases {
        print_case(arguments, case, corpora, &mut plot)?;
    }
    println!();
    if !plot.is_empty() {
        fs::write(&arguments.plot, plot.to_string())?;
        println!("drawn: {}\n", arguments.plot.display());
    }
    Ok(())
}

/// All agents in turn, as often as is asked for, and a row for each.
fn print_case(
    arguments: &Arguments,
    case: &Case,
    corpora: &mut Corpora,
    plot: &mut Plot,
) -> io::Result<()> {
    let floor = Role::Floor.command()?;
    let agents = [OURS].into_iter().chain(arguments.agent.iter().map(String::as_str));
    let mut commands: Vec<(&str, &str)> = agents.map(|agent| (name_of(agent), agent)).collect();
    // It reads one file, and has no limit.
    if case.is_usual() {
        commands.push(("floor", &floor));
    }
    let mut runs = vec![Vec::new(); commands.len()];
    for _ in 0..arguments.runs.max(1) {
        for ((_, command), runs) in commands.iter().zip(&mut runs) {
            runs.push(run(command, case, corpora.get(case.shape, case.files)?)?);
        }
    }
    for ((name, command), runs) in commands.into_iter().zip(runs) {
        let measured = median(runs);
        let latency = match name {
            "floor" => None,
            _ => {
                let seconds = arguments.seconds_of_trickle();
                Some(latency::follow_a_writer(command, case, seconds)?)
            }
        };
        print_measured(case.name, name, &measured, latency.as_ref());
        // What is special about the others would make the bars of these short.
        if let Some(cost) = measured.cost().filter(|_| case.is_usual()) {
            plot.add(case.name, name, cost);
        }
    }
    Ok(())
}

fn print_measured(case: &str, agent: &str, measured: &Measured, latency: Option<&Latency>) {
    let milliseconds = |percent| {
        let delay = latency.and_then(|latency| latency.percentile(percent));
        or_dash(delay.map(|delay| format!("{} ms", delay.as_millis())))
    };
    let memory = measured.peak_memory.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
    let trickle = latency.and_then(|latency| latency.cpu_percent);
    print_row([
        case,
        agent,
        &measured.lines.to_string(),
        &format!("{:.0}", measured.speed()),
        &or_dash(measured.cost().map(|cost| format!("{cost:.2}"))),
        &or_dash(memory),
        &milliseconds(50),
        &milliseconds(99),
        &or_dash(trickle.map(|percent| format!("{percent:.2} %"))),
        &(measured.lost() + latency.map_or(0, |latency| latency.lost)).to_string(),
    ]);
}

/// What could not be measured is a dash.
fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

fn print_row(cells: [&str; 10]) {
    let [case, agent, lines, speed, cpu, memory, p50, p99, trickle, lost] = cells;
    println!(
        "| {case:<22} | {agent:<14} | {lines:>8} | {speed:>5} | {cpu:>8} | {memory:>8} \
         | {p50:>7} | {p99:>7} | {trickle:>7} | {lost:>4} |"
    );
    io::stdout().flush().ok();
}

// === Ratios of CPU time, from runs that take turns: both sides had the same neighbours

fn print_ratios(arguments: &Arguments, corpora: &mut Corpora) -> io::Result<()> {
    let floor = Role::Floor.command()?;
    for shape in SHAPES {
        let ratio = ratio([OURS, &floor], &Case::of(shape), arguments, corpora)?;
        println!("{:<24} CPU of the agent to that of the floor: {ratio}", shape.name);
    }
    let (with, without) = (Role::Checked.command()?, Role::Unchecked.command()?);
    let ratio = ratio([&with, &without], &Case::of(ORDINARY), arguments, corpora)?;
    println!("{:<24} CPU with comparing and notices to without: {ratio}\n", ORDINARY.name);
    Ok(())
}

/// The median over pairs that run one after the other.
fn ratio(
    commands: [&str; 2],
    case: &Case,
    arguments: &Arguments,
    corpora: &mut Corpora,
) -> io::Result<String> {
    let corpus = corpora.get(case.shape, case.files)?;
    let mut ratios = Vec::new();
    for _ in 0..arguments.rounds() {
        let [one, other] = commands.map(|command| run(command, case, corpus));
        ratios.extend(one?.cost().zip(other?.cost()).map(|(one, other)| one / other));
    }
    Ok(or_dash(Spread::of(ratios).map(|spread| spread.to_string())))
}

// === What parsing alone costs

/// The ordinary lines through the reference parser, in this process: the least that an agent of
/// this kind can need, measured on the same machine at the same time.
fn cost_of_parsing() -> String {
    const LINES: u32 = 2_000;
    const ROUNDS: u64 = 400;
    let parser = reference_parser();
    let lines = ORDINARY.lines(LINES);
    let read_at = EventTime { seconds: 1_790_000_000, nanos: 0 };
    let mut record = Vec::new();
    let begun = own_cpu();
    for line in (0..ROUNDS).flat_map(|_| &lines) {
        record.clear();
        parser.parse(line, read_at, &mut record).expect("the corpus is JSON");
        black_box(&record);
    }
    let cpu = own_cpu().zip(begun).map(|(after, before)| after.saturating_sub(before));
    let gigabytes = (ROUNDS * lines.iter().map(|line| line.len() as u64).sum::<u64>()) as f64 / 1e9;
    let cost = cpu.map(|cpu| format!("{:.2}", cpu.as_secs_f64() / gigabytes));
    format!("parsing alone, {}: {} CPU s/GB", ORDINARY.name, or_dash(cost))
}

/// The `json` of `config/parsers.conf`.
fn reference_parser() -> log_ambassador::parse::Parser {
    let mut definition = Definition::new("json", Format::Json);
    definition.time_key = Some("timestamp".to_owned());
    definition.time_format = Some("%Y-%m-%dT%H:%M:%S.%L".to_owned());
    log_ambassador::parse::Parser::compile(&definition).expect("the definition is right")
}

/// CPU time of this thread. `None`: this kernel does not say.
pub(crate) fn own_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

/// Under what conditions the table came about.
fn conditions(arguments: &Arguments) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |text| text.trim_start_matches([' ', '\t', ':']));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let load = read("/proc/loadavg");
    format!(
        "{cores} cores {model}, {} {}, load average at the end {}; {} MB a case, runs: {}, pairs: {}\n\
         From the start of the process to the receipt of the last event, over loopback, files in \
         the page cache,\nreceiver and agent on the same machine. CPU is user and system time of \
         the agent alone. MB are 10^6 bytes of\nlog file. p50, p99 and 1,000/s: latency and CPU of \
         a core at 1,000 lines a second with Flush 0.2. Lost is\nlines less events.",
        std::env::consts::OS,
        kernel.trim(),
        load.split(' ').next().unwrap_or_default(),
        arguments.megabytes(),
        arguments.runs,
        arguments.rounds(),
    )
}

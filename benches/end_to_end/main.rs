//! The whole agent, measured from outside: files in, events counted at the other end.
//!
//! `cargo bench --bench end_to_end` prints one table. `-- --help` says what else can be asked
//! for; `docs/performance.md` says how to read it.
#![allow(missing_docs, reason = "a program, not a library")]

mod agent;
mod corpus;
mod peers;
mod receiver;

use std::fs::{self, File};
use std::hint::black_box;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use agent::{Agent, Settings};
use clap::Parser;
use corpus::{Corpus, ORDINARY, SHAPES, line_written_at};
use log_ambassador::model::EventTime;
use log_ambassador::parse::{Definition, Format};
use peers::Role;
use receiver::{Received, Receiver, nanoseconds_now};

/// So long without an event, and a case is over: longer than the reference `Flush` of 5 s.
const PATIENCE: Duration = Duration::from_secs(15);

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
    /// Another agent in place of ours: a command between blanks, with {config} where the path of
    /// a Fluent Bit configuration belongs. It must be the agent itself, not a shell around it.
    #[arg(long, default_value = concat!(env!("CARGO_BIN_EXE_log-ambassador"), " -c {config}"))]
    agent: String,
    /// Only the cases whose name has this in it.
    #[arg(long, default_value = "")]
    only: String,
    /// How many pairs are compared for each ratio.
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// What this process is in a comparison.
    #[arg(long, hide = true, requires = "config")]
    role: Option<Role>,
    #[arg(long, hide = true)]
    config: Option<PathBuf>,
    /// Given by `cargo bench`. Without it every case is only tried, with 1 MB.
    #[arg(long, hide = true)]
    bench: bool,
}

/// A corpus, and how the agent meets it.
struct Case {
    name: String,
    corpus: usize,
    limit: &'static str,
    tag: &'static str,
    on_one_core: bool,
}

/// What one run, or the median of some, showed.
#[derive(Clone, Copy)]
struct Measured {
    lines: u64,
    bytes: u64,
    events: u64,
    seconds: f64,
    cpu: Option<Duration>,
    peak_memory: Option<u64>,
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
    let megabytes = arguments.mb.unwrap_or(if arguments.bench { 100 } else { 1 });
    let directory = tempfile::tempdir()?;
    let corpora = write_corpora(directory.path(), megabytes * 1_000_000)?;
    print_row(["corpus", "lines", "MB", "seconds", "MB/s", "CPU s/GB", "peak RSS", "lost"]);
    for case in cases().into_iter().filter(|case| case.name.contains(&arguments.only)) {
        let mut runs = Vec::new();
        for _ in 0..arguments.runs.max(1) {
            runs.push(run(arguments, &case, &corpora[case.corpus])?);
        }
        print_measured(&case.name, &median(runs));
    }
    if "latency".contains(&arguments.only) {
        println!();
        follow_a_writer(arguments)?;
    }
    if "ratios".contains(&arguments.only) {
        println!();
        print_ratios(arguments, &corpora)?;
    }
    println!("\n{}", cost_of_parsing());
    println!("\n{}", conditions(arguments, megabytes));
    Ok(())
}

/// One corpus a shape, and the ordinary one again over 500 files.
fn write_corpora(directory: &Path, bytes: u64) -> io::Result<Vec<Corpus>> {
    let one_file = SHAPES.iter().map(|shape| (*shape, 1));
    let corpora = one_file.chain([(ORDINARY, 500)]).enumerate().map(|(number, (shape, files))| {
        Corpus::write(&directory.join(number.to_string()), shape, bytes, files)
    });
    corpora.collect()
}

fn cases() -> Vec<Case> {
    let case = |name: &str, corpus, limit, on_one_core| Case {
        name: name.to_owned(),
        corpus,
        limit,
        tag: "app.logs",
        on_one_core,
    };
    let shapes = SHAPES.iter().enumerate();
    let mut cases: Vec<_> =
        shapes.map(|(number, shape)| case(shape.name, number, "5MB", false)).collect();
    if cfg!(target_os = "linux") {
        cases.push(case("400 bytes, on one core", 0, "5MB", true));
    }
    cases.push(case("400 bytes, limit 512k", 0, "512k", false));
    cases.push(case("400 bytes, limit 50k", 0, "50k", false));
    let many = case("400 bytes, 500 files", SHAPES.len(), "5MB", false);
    cases.push(Case { tag: "app.*", ..many });
    cases
}

fn run(arguments: &Arguments, case: &Case, corpus: &Corpus) -> io::Result<Measured> {
    run_command(&arguments.agent, case, corpus)
}

fn run_command(command: &str, case: &Case, corpus: &Corpus) -> io::Result<Measured> {
    let receiver = Receiver::listen(false)?;
    let directory = tempfile::tempdir()?;
    let settings = Settings {
        path: corpus.path(),
        tag: case.tag,
        limit: case.limit,
        flush: "5",
        port: receiver.port,
    };
    let config = settings.write(directory.path())?;
    let mut agent = Agent::start(command, directory.path(), &config, case.on_one_core)?;
    let received = receiver.wait_for(corpus.lines, PATIENCE, || agent.has_ended());
    let end = received.last.unwrap_or_else(Instant::now);
    let measured = Measured {
        lines: corpus.lines,
        bytes: corpus.bytes,
        events: received.events,
        seconds: end.duration_since(agent.started).as_secs_f64(),
        cpu: agent.cpu(),
        peak_memory: agent.peak_memory(),
    };
    explain_loss(&case.name, corpus.lines, &received, &agent);
    Ok(measured)
}

fn explain_loss(name: &str, lines: u64, received: &Received, agent: &Agent) {
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
fn median(mut runs: Vec<Measured>) -> Measured {
    runs.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
    let off = |run: &Measured| run.lines.abs_diff(run.events);
    let worst = runs.iter().copied().max_by_key(off);
    let peak_memory = runs.iter().filter_map(|run| run.peak_memory).max();
    let middle = runs[runs.len() / 2];
    Measured { events: worst.map_or(middle.events, |run| run.events), peak_memory, ..middle }
}

// === Ratios of CPU time, from runs that take turns: both sides had the same neighbours

fn print_ratios(arguments: &Arguments, corpora: &[Corpus]) -> io::Result<()> {
    for (number, shape) in SHAPES.iter().enumerate() {
        let ratio = ratio(&arguments.agent, &Role::Floor.command()?, arguments, &corpora[number])?;
        println!("{:<24} CPU of the agent to that of the floor: {}", shape.name, or_dash(ratio));
    }
    let (with, without) = (Role::Checked.command()?, Role::Unchecked.command()?);
    let ratio = ratio(&with, &without, arguments, &corpora[0])?;
    println!("{:<24} CPU with comparing and notices to without: {}", ORDINARY.name, or_dash(ratio));
    Ok(())
}

/// The median over pairs that run one after the other. `None`: this kernel does not say.
fn ratio(
    one: &str,
    other: &str,
    arguments: &Arguments,
    corpus: &Corpus,
) -> io::Result<Option<String>> {
    let case = Case {
        name: "ratios".to_owned(),
        corpus: 0,
        limit: "5MB",
        tag: "app.logs",
        on_one_core: false,
    };
    let mut ratios = Vec::new();
    for _ in 0..arguments.pairs.max(1) {
        let one = run_command(one, &case, corpus)?.cpu;
        let other = run_command(other, &case, corpus)?.cpu;
        ratios.extend(one.zip(other).map(|(one, other)| one.as_secs_f64() / other.as_secs_f64()));
    }
    ratios.sort_by(f64::total_cmp);
    let middle = ratios.get(ratios.len() / 2);
    Ok(middle
        .map(|middle| format!("{middle:.2} ({:.2} to {:.2})", ratios[0], ratios[ratios.len() - 1])))
}

// === Latency: 1,000 lines a second for five seconds

const LINES_A_SECOND: u32 = 1_000;
const SECONDS: u32 = 5;

fn follow_a_writer(arguments: &Arguments) -> io::Result<()> {
    let receiver = Receiver::listen(true)?;
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("application.log");
    let mut file = File::create(&log)?;
    let settings = Settings {
        path: log.display().to_string(),
        tag: "app.logs",
        limit: "5MB",
        flush: "0.2",
        port: receiver.port,
    };
    let config = settings.write(directory.path())?;
    let mut agent = Agent::start(&arguments.agent, directory.path(), &config, false)?;
    // The first line only shows that it is there; its way is not counted.
    write_line(&mut file, 0)?;
    receiver.wait_for(1, PATIENCE, || agent.has_ended());

    let (begun, cpu_before) = (Instant::now(), agent.cpu());
    let lines = LINES_A_SECOND * SECONDS;
    for number in 1..=lines {
        wait_until(begun + Duration::from_secs(1) * number / LINES_A_SECOND);
        write_line(&mut file, number)?;
    }
    let received = receiver.wait_for(u64::from(lines) + 1, PATIENCE, || agent.has_ended());
    let cpu = agent.cpu().zip(cpu_before).map(|(after, before)| {
        100.0 * (after.saturating_sub(before)).as_secs_f64() / begun.elapsed().as_secs_f64()
    });
    explain_loss("latency", u64::from(lines) + 1, &received, &agent);
    let mut delays = received.delays.get(1..).unwrap_or_default().to_vec();
    delays.sort_unstable();
    println!(
        "latency at {LINES_A_SECOND} lines/s, Flush 0.2: p50 {}, p99 {}; CPU {} % of a core; lost {}",
        percentile(&delays, 50),
        percentile(&delays, 99),
        or_dash(cpu.map(|cpu| format!("{cpu:.2}"))),
        i128::from(lines) + 1 - i128::from(received.events),
    );
    Ok(())
}

fn write_line(file: &mut File, number: u32) -> io::Result<()> {
    let mut line = line_written_at(nanoseconds_now(), number);
    line.push('\n');
    file.write_all(line.as_bytes())
}

fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|d| !d.is_zero()) {
        thread::park_timeout(left);
    }
}

fn percentile(sorted: &[Duration], percent: usize) -> String {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    or_dash(sorted.get(at).map(|delay| format!("{} ms", delay.as_millis())))
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
fn own_cpu() -> Option<Duration> {
    let text = fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
}

// === The table

fn print_measured(name: &str, measured: &Measured) {
    let megabytes = measured.bytes as f64 / 1e6;
    let cpu = measured.cpu.map(|cpu| format!("{:.2}", cpu.as_secs_f64() * 1e3 / megabytes));
    let memory = measured.peak_memory.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
    print_row([
        name,
        &measured.lines.to_string(),
        &format!("{megabytes:.0}"),
        &format!("{:.2}", measured.seconds),
        &format!("{:.0}", megabytes / measured.seconds),
        &or_dash(cpu),
        &or_dash(memory),
        &(i128::from(measured.lines) - i128::from(measured.events)).to_string(),
    ]);
}

/// What could not be measured is a dash.
fn or_dash(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

fn print_row(cells: [&str; 8]) {
    let [name, lines, megabytes, seconds, speed, cpu, memory, lost] = cells;
    println!(
        "{name:<24} {lines:>9} {megabytes:>6} {seconds:>8} {speed:>6} {cpu:>9} {memory:>9} {lost:>6}"
    );
    io::stdout().flush().ok();
}

/// Under what conditions the table came about.
fn conditions(arguments: &Arguments, megabytes: u64) -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = read("/proc/sys/kernel/osrelease");
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("", |text| text.trim_start_matches([' ', '\t', ':']));
    let cores = thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{cores} cores {model}, {} {}; {megabytes} MB a case, runs: {}; agent: {}\n\
         From the start of the process to the receipt of the last event, over loopback, files in \
         the page cache,\nreceiver and agent on the same machine. CPU is user and system time of \
         the agent alone. MB are 10^6 bytes of\nlog file. Lost is lines less events.",
        std::env::consts::OS,
        kernel.trim(),
        arguments.runs,
        arguments.agent,
    )
}

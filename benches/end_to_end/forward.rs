//! Ways to send: with acknowledgements and without, compressed, inside TLS, over one connection and
//! over many.
//!
//! In:  the agent, lines of 400 bytes
//! Out: what each way takes, and how that compares with plain frames; what compressing and
//!      encrypting cost beside what the libraries need for the same bytes
//!
//! The ways take turns: each round runs all of them, and a ratio has both of its sides from one
//! round.

use std::fs;
use std::io;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use crate::certificates::TestCa;
use crate::corpus::{Corpora, ORDINARY};
use crate::library::{self, Work};
use crate::or_dash;
use crate::receiver::{Manner, Receiver};
use crate::run::{Case, Measured, Spread, median, run_against};

/// Tags, where more than one connection is to have work: a tag keeps to one.
const TAGS: u64 = 8;

/// A way to send.
struct Way {
    case: Case,
    is_tls: bool,
    /// How many receivers there are.
    nodes: usize,
}

/// What is compared with what, by name.
const PLAIN: &str = "plain";
const ONE_OF_MANY: &str = "8 tags, 1 connection";

const GZIP: &str = "    Compress gzip\n";
const ZSTD: &str = "    Compress zstd\n";
const NO_ACKS: &str = "    Require_ack_response off\n";

fn ways(ca: &TestCa) -> Vec<Way> {
    let tls = format!("    tls on\n    tls.ca_file {}\n", ca.file("ca.crt").display());
    let way = |name, output: &str| Way {
        case: Case { name, output: output.to_owned(), ..Case::of(ORDINARY) },
        is_tls: output.contains("tls on"),
        nodes: 1,
    };
    let many = |name, output: &str| {
        let way = way(name, output);
        Way { case: Case { files: TAGS, tag: "app.*", ..way.case }, ..way }
    };
    vec![
        way(PLAIN, ""),
        way("TLS", &tls),
        way("gzip", GZIP),
        way("zstd", ZSTD),
        way("TLS, gzip", &format!("{tls}{GZIP}")),
        way("plain, no acks", NO_ACKS),
        way("TLS, no acks", &format!("{tls}{NO_ACKS}")),
        way("gzip, no acks", &format!("{GZIP}{NO_ACKS}")),
        many(ONE_OF_MANY, ""),
        many("8 tags, 2 connections", "    Workers 2\n"),
        many("8 tags, 8 connections", "    Workers 8\n"),
        many("8 tags, 8 with TLS", &format!("    Workers 8\n{tls}")),
        Way { nodes: 8, ..many("8 tags, 8 nodes", "") },
    ]
}

/// Runs every way whose name has `only` in it, and what these are compared with, in each of so many
/// rounds. Prints what they and the libraries took; nothing if there is no such way.
pub(crate) fn print_ways(
    agent: &str,
    only: &str,
    rounds: usize,
    corpora: &mut Corpora,
) -> io::Result<()> {
    let ca = TestCa::new();
    let server = ca.server("127.0.0.1");
    let mut ways = ways(&ca);
    let wanted: Vec<_> = ways.iter().filter(|way| way.case.name.contains(only)).collect();
    let bases: Vec<_> = wanted.iter().map(|way| way.base()).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    ways.retain(|way| way.case.name.contains(only) || bases.contains(&way.case.name));
    for way in &ways {
        corpora.get(way.case.shape, way.case.files)?;
    }
    let frames = frames_of(agent, corpora)?;
    let mut runs: Vec<Vec<Measured>> = ways.iter().map(|_| Vec::new()).collect();
    let mut libraries = Vec::new();
    for _ in 0..rounds {
        for (way, runs) in ways.iter().zip(&mut runs) {
            runs.push(way.run(agent, &server, corpora)?);
        }
        libraries.push(Libraries::at_work(only, &frames, &ca, &server)?);
    }
    print_rows(&ways, &runs);
    print_libraries(&libraries, &ways, &runs);
    Ok(())
}

impl Way {
    fn run(
        &self,
        agent: &str,
        server: &Arc<ServerConfig>,
        corpora: &mut Corpora,
    ) -> io::Result<Measured> {
        let tls = self.is_tls.then(|| Arc::clone(server));
        let receiver = Receiver::listen(&Manner { tls, ..Manner::default() }, self.nodes)?;
        let corpus = corpora.get(self.case.shape, self.case.files)?;
        if self.nodes == 1 {
            return Ok(run_against(&receiver, agent, &self.case, corpus)?.0);
        }
        let nodes = tempfile::NamedTempFile::new()?;
        let node =
            |port| format!("[NODE]\n    Name node-{port}\n    Host 127.0.0.1\n    Port {port}\n");
        let list: String = receiver.ports.iter().map(node).collect();
        fs::write(nodes.path(), format!("[UPSTREAM]\n    Name receivers\n{list}"))?;
        let mut case = self.case.clone();
        case.output.push_str(&format!("    Upstream {}\n", nodes.path().display()));
        Ok(run_against(&receiver, agent, &case, corpus)?.0)
    }

    /// The way it is compared with.
    fn base(&self) -> &'static str {
        if self.case.files == 1 { PLAIN } else { ONE_OF_MANY }
    }
}

/// The entries of every frame that the agent makes of the lines.
fn frames_of(agent: &str, corpora: &mut Corpora) -> io::Result<Vec<Vec<u8>>> {
    let receiver = Receiver::listen(&Manner { keeps_entries: true, ..Manner::default() }, 1)?;
    let corpus = corpora.get(ORDINARY, 1)?;
    Ok(run_against(&receiver, agent, &Case::of(ORDINARY), corpus)?.1.entries)
}

fn print_rows(ways: &[Way], runs: &[Vec<Measured>]) {
    print_row(["way", "MB/s", "CPU s/GB", "CPU to plain", "sent, % of log", "peak RSS", "lost"]);
    print_row(["---", "---:", "---:", "---:", "---:", "---:", "---:"]);
    for (way, own) in ways.iter().zip(runs) {
        let base = ways.iter().position(|other| other.case.name == way.base());
        let ratios = base.and_then(|base| Spread::of(ratios(own, &runs[base])));
        let middle = median(own.clone());
        let memory = middle.peak_memory.map(|bytes| format!("{:.1} MB", bytes as f64 / 1e6));
        print_row([
            way.case.name,
            &format!("{:.0}", middle.speed()),
            &or_dash(
                Spread::of(own.iter().filter_map(Measured::cost))
                    .map(|s| format!("{:.2}", s.median())),
            ),
            &or_dash(ratios.map(|ratios| ratios.to_string())),
            &format!("{:.1}", 100.0 * middle.sent as f64 / middle.bytes as f64),
            &or_dash(memory),
            &middle.lost().to_string(),
        ]);
    }
    println!();
}

fn ratios(own: &[Measured], base: &[Measured]) -> Vec<f64> {
    let pairs = own.iter().zip(base);
    pairs.filter_map(|(own, base)| Some(own.cost()? / base.cost()?)).collect()
}

fn print_row(cells: [&str; 7]) {
    let [way, speed, cpu, ratio, sent, memory, lost] = cells;
    println!(
        "| {way:<22} | {speed:>5} | {cpu:>8} | {ratio:>20} | {sent:>14} | {memory:>8} | {lost:>4} |"
    );
}

// === The libraries, at the same bytes

/// What they took in one round.
struct Libraries {
    works: Vec<(&'static str, Work)>,
}

impl Libraries {
    /// Those whose name has `only` in it.
    fn at_work(
        only: &str,
        frames: &[Vec<u8>],
        ca: &TestCa,
        server: &Arc<ServerConfig>,
    ) -> io::Result<Self> {
        type Library<'a> = (&'static str, Box<dyn Fn() -> io::Result<Work> + 'a>);
        let libraries: Vec<Library<'_>> = vec![
            ("TLS", Box::new(|| library::tls(frames, client(ca)?, server))),
            ("gzip", Box::new(|| library::gzip(frames, 1))),
            ("gzip level 2", Box::new(|| library::gzip(frames, 2))),
            ("gzip level 6", Box::new(|| library::gzip(frames, 6))),
            ("gzip level 9", Box::new(|| library::gzip(frames, 9))),
            ("zstd", Box::new(|| library::zstd(frames, 1))),
            ("zstd level 3", Box::new(|| library::zstd(frames, 3))),
        ];
        let wanted = libraries.iter().filter(|(name, _)| name.contains(only));
        let works = wanted.map(|(name, run)| Ok((*name, run()?)));
        Ok(Self { works: works.collect::<io::Result<_>>()? })
    }
}

/// One that trusts the authority, as the agent does.
fn client(ca: &TestCa) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(ca.file("ca.crt")).map_err(io::Error::other)?;
    roots.add(certificate).map_err(io::Error::other)?;
    Ok(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
}

/// For each library its cost, and where the agent sends so, what it costs the agent beside that.
fn print_libraries(rounds: &[Libraries], ways: &[Way], runs: &[Vec<Measured>]) {
    let runs_of = |name| {
        let at = ways.iter().position(|way| way.case.name == name);
        at.map_or(&[][..], |at| &runs[at])
    };
    let plain = runs_of(PLAIN);
    let log = plain.first().map_or(1, |run| run.bytes) as f64;
    let cost = |work: &Work| work.cpu.map(|cpu| cpu.as_secs_f64() * 1e9 / log);
    print_library(["library", "CPU s/GB", "made, % of log", "CPU with less without, to it"]);
    print_library(["---", "---:", "---:", "---:"]);
    let names = rounds.iter().take(1).flat_map(|round| &round.works).map(|(name, _)| *name);
    for (at, name) in names.enumerate() {
        let works = || rounds.iter().map(|round| &round.works[at].1);
        let alone = Spread::of(works().filter_map(cost));
        let made = works().next().map(|work| work.bytes).filter(|bytes| *bytes > 0);
        let added = runs_of(name).iter().zip(plain).zip(works());
        let added = added.filter_map(|((with, without), work)| {
            Some((with.cost()? - without.cost()?) / cost(work)?)
        });
        print_library([
            name,
            &or_dash(alone.map(|alone| format!("{:.2}", alone.median()))),
            &or_dash(made.map(|made| format!("{:.1}", made as f64 * 100.0 / log))),
            &or_dash(Spread::of(added).map(|added| added.to_string())),
        ]);
    }
    println!();
}

fn print_library(cells: [&str; 4]) {
    let [name, cost, made, added] = cells;
    println!("| {name:<22} | {cost:>8} | {made:>14} | {added:>28} |");
}

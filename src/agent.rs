//! The pipeline on one screen: builds the stages, starts them, stops them, finishes in time.
//!
//! In:  the configuration, and when to stop
//! Out: what is left unacknowledged at the end: nothing, if all went well

use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinSet, LocalSet};
use tracing::{info, warn};

use crate::buffer::{Budget, Home, OpenChunks, Packer, Router};
use crate::checkpoint::{Remembered, Store};
use crate::config::Config;
use crate::filter::Filter;
use crate::forward::{Inlet, StartError, Upstream};
use crate::http::{self, Server, Site};
use crate::ingest::{
    Controls, Drain, Encoder, Frames, Ingest, Input, Joining, Outlet, Pace, Parts, Waker, waker,
};
use crate::listen::{Handover, ListenError, Listener, Portions};
use crate::model::{Counters, OutputCounters, Selector};
use crate::parse::Parser;
use crate::parse::multiline::{Group, MultilineError};
use crate::tail::{Joins, ReadBuffer, Tail};
use crate::{forward, tail};

/// How long clients may take to read their last acknowledgements, when everything else is done.
const LAST_ACKS: Duration = Duration::from_secs(1);

/// Why the agent cannot run although its configuration was read.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// A parser, a filter, a pattern, a port: what the configuration says cannot be had.
    #[error("{what}: {reason}")]
    Setting {
        /// Which part of the configuration.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A `forward` input cannot listen.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A file that an output names is of no use.
    #[error("{name}: {reason}")]
    Output {
        /// The output.
        name: String,
        /// Which file, and why.
        reason: StartError,
    },
    /// The system refused something nothing works without.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
    /// The ingest thread ended although nobody had asked for it.
    #[error("ingest ended: {0}")]
    Ingest(io::Error),
}

/// What a caller wants beyond the configuration.
#[derive(Default)]
pub struct Options {
    /// Counted into from the start, so that a caller can watch.
    pub counters: Arc<Counters>,
    /// For replays: lines a second.
    pub pace: Option<u32>,
    /// For replays: every file is complete, so the drain begins at once.
    pub drain_at_once: bool,
    /// For benches: files are not compared with what they held before.
    pub trusts_files: bool,
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// Files with bytes that were not acknowledged, and how many.
    pub left: Vec<(PathBuf, u64)>,
    /// The last word of every counter.
    pub counters: Arc<Counters>,
}

/// Runs the agent until `stop`, then until everything read is acknowledged or `Grace` is over.
///
/// Wants a tokio runtime of one thread; ingest gets a thread of its own.
pub async fn run(
    config: Config,
    options: Options,
    stop: impl Future<Output = ()>,
) -> Result<Outcome, AgentError> {
    let grace = config.service.grace;
    let (waker, sleeper) = waker()?;
    let stopping = Arc::new(Notify::new());
    let controls = Arc::new(Controls::new(waker.clone(), notify(&stopping)));
    let counters = Arc::clone(&options.counters);

    let server = listen_for_http(&config.service.http).await?;
    let (router, outlets, outputs) = start_outputs(&config, &counters)?;
    let filters = compile_filters(&config)?;
    let (inputs, stores) = build_inputs(&config, &filters, &waker, &counters)?;
    let (clients, listeners) = bind_listeners(&config, &filters, &waker, &counters).await?;
    let ingest = Ingest::new(Parts {
        inputs,
        clients,
        filters,
        router,
        outlets,
        packers: config.outputs.iter().map(|output| output.compress.map(Packer::new)).collect(),
        home: Home::new(wake(&waker)),
        stores,
        sleeper,
        controls: Arc::clone(&controls),
        drain: Drain::new(config.service.drain_quiet, grace),
        exit_when: config.service.exit_when.clone(),
        buffer: if options.trusts_files {
            ReadBuffer::trusting_files()
        } else {
            ReadBuffer::default()
        },
        pace: options.pace.map(|per_second| Pace::new(per_second, Instant::now())),
        counters: Arc::clone(&counters),
    });
    let ended = start_ingest(ingest)?;
    // Answers until the end, and is dropped with this function.
    let mut answering = JoinSet::new();
    if let Some(server) = server {
        let site = Site::new(config.service.http.clone(), Arc::clone(&controls), outputs);
        answering.spawn(server.run(site));
    }
    if options.drain_at_once {
        controls.stop();
    }
    // Clients are served for as long as this runs.
    let serving = LocalSet::new();
    let mut listening = JoinSet::new();
    for listener in listeners {
        listening.spawn_local_on(listener.run(), &serving);
    }
    let finishing = async {
        finish(ended, grace, &controls, &stopping, stop).await?;
        within(Some(LAST_ACKS), async { while listening.join_next().await.is_some() {} }).await;
        Ok(Outcome { left: controls.left(), counters })
    };
    serving.run_until(finishing).await
}

/// Waits for a stop, and then for ingest.
async fn finish(
    mut ended: oneshot::Receiver<io::Result<()>>,
    grace: Option<Duration>,
    controls: &Controls,
    stopping: &Notify,
    stop: impl Future<Output = ()>,
) -> Result<(), AgentError> {
    tokio::select! {
        // Losing is harmless: whoever made the signal still has it.
        () = stop => controls.stop(),
        // Losing is harmless: the permit stays until it is taken.
        () = stopping.notified() => {}
        // Losing is harmless: the answer is waited for again below.
        result = &mut ended => return Err(AgentError::Ingest(reason(result))),
    }
    if let Some(grace) = grace {
        info!("service will shutdown in max {} seconds", grace.as_secs());
    }
    match within(grace, ended).await {
        Some(Ok(Ok(()))) => {}
        Some(result) => return Err(AgentError::Ingest(reason(result))),
        None => warn!("the grace is over"),
    }
    Ok(())
}

// === Building the stages, in the order the data meets them, last first

fn start_outputs(
    config: &Config,
    counters: &Arc<Counters>,
) -> Result<(Router, Vec<Outlet>, Vec<http::Output>), AgentError> {
    let mut selectors = Vec::new();
    let mut outlets: Vec<Outlet> = Vec::new();
    let mut outputs = Vec::new();
    for output in &config.outputs {
        selectors.push(selector(output)?);
        let inlet = Inlet::default();
        let upstream =
            Upstream::new(output.clone(), inlet.clone(), Arc::clone(counters), Box::new(dice))
                .map_err(|reason| AgentError::Output { name: output.name.clone(), reason })?;
        tokio::spawn(upstream.run());
        let own: Arc<OutputCounters> = Arc::default();
        outputs.push(http::Output { name: output.name.clone(), counters: Arc::clone(&own) });
        outlets.push(Box::new(move |delivery| inlet.push(delivery.counted_into(&own))));
    }
    Ok((Router::new(selectors), outlets, outputs))
}

/// Before anything else starts, so that a port that is taken is heard of at once.
async fn listen_for_http(settings: &http::Settings) -> Result<Option<Server>, AgentError> {
    if !settings.is_on {
        return Ok(None);
    }
    let http::Settings { listen, port, .. } = settings;
    let server = Server::bind(settings).await.map_err(|error| {
        let message = format!(
            "cannot listen on {listen}:{port}: {error}; write another HTTP_Port (all containers \
             of a Pod share its ports), or 'HTTP_Server Off'"
        );
        setting("[SERVICE]", "HTTP_Port", message)
    })?;
    info!("[http_server] listening on {}", server.address()?);
    Ok(Some(server))
}

fn selector(output: &forward::Settings) -> Result<Selector, AgentError> {
    Selector::compile(output.pattern.clone(), output.pattern_regex.as_deref())
        .map_err(|reason| setting(&output.name, "Match_Regex", reason))
}

fn compile_filters(config: &Config) -> Result<Vec<Filter>, AgentError> {
    let compile = |settings: &crate::filter::Settings| {
        Filter::compile(settings, u128::from_be_bytes(random()))
            .map_err(|reason| setting(&settings.name, "filter", reason))
    };
    config.filters.iter().map(compile).collect()
}

type Stores = Vec<(Store, Vec<usize>)>;

fn build_inputs(
    config: &Config,
    filters: &[Filter],
    waker: &Waker,
    counters: &Arc<Counters>,
) -> Result<(Vec<Input>, Stores), AgentError> {
    tail::open::raise_descriptor_limit();
    let working_directory = std::env::current_dir()?;
    let added = filters.iter().map(Filter::added_bytes).sum();
    let mut inputs = Vec::new();
    let mut stores = OpenStores::default();
    for (number, settings) in config.inputs.iter().enumerate() {
        let remembered = stores.remember(number, settings, counters);
        let tail = Tail::new(
            u16::try_from(number).unwrap_or(u16::MAX),
            settings.clone(),
            working_directory.clone(),
            remembered,
            Arc::clone(counters),
        )
        .map_err(|reason| setting(&settings.name, "tail", reason))?;
        let parser = parser_of(settings, config)?;
        let encoder = Encoder::new(settings, parser, added, Arc::clone(counters));
        let joining = joining_of(settings, config)?;
        let room = settings.mem_buf_limit - joining.as_ref().map_or(0, Joining::most);
        let budget = Budget::new(room, Arc::new(wake(waker)));
        let chunks = OpenChunks::new(budget, config.service.flush, Box::new(random));
        let input = Input::new(tail, chunks, encoder, Arc::clone(counters));
        inputs.push(input.joining(joining));
    }
    Ok((inputs, stores.opened.into_iter().map(|(_, store, inputs, _)| (store, inputs)).collect()))
}

/// From now on clients can connect; their frames wait until ingest runs.
async fn bind_listeners(
    config: &Config,
    filters: &[Filter],
    waker: &Waker,
    counters: &Arc<Counters>,
) -> Result<(Vec<Frames>, Vec<Listener>), AgentError> {
    let added = filters.iter().map(Filter::added_bytes).sum();
    let (mut clients, mut listeners) = (Vec::new(), Vec::new());
    for (number, settings) in config.listeners.iter().enumerate() {
        let number = u16::try_from(config.inputs.len() + number).unwrap_or(u16::MAX);
        let portions = Portions::of(settings.mem_buf_limit);
        let budget = Budget::new(portions.chunks, Arc::new(wake(waker)));
        let chunks = OpenChunks::new(budget, config.service.flush, Box::new(random));
        let handover = Handover::new(wake(waker));
        let counters = Arc::clone(counters);
        listeners.push(
            Listener::bind(settings.clone(), handover.clone(), Arc::clone(&counters), random)
                .await?,
        );
        clients.push(Frames::new(&settings.name, number, handover, chunks, added, counters));
    }
    Ok((clients, listeners))
}

/// One store for each `DB`, shared by all inputs that name it.
#[derive(Default)]
struct OpenStores {
    opened: Vec<(PathBuf, Store, Vec<usize>, Remembered)>,
}

impl OpenStores {
    fn remember(
        &mut self,
        number: usize,
        settings: &tail::Settings,
        counters: &Arc<Counters>,
    ) -> Remembered {
        let Some(db) = &settings.db else {
            return Remembered::default();
        };
        if let Some((_, _, inputs, remembered)) =
            self.opened.iter_mut().find(|(path, ..)| path == db)
        {
            inputs.push(number);
            return remembered.clone();
        }
        let (store, remembered) = Store::open(db, Arc::clone(counters));
        self.opened.push((db.clone(), store, vec![number], remembered.clone()));
        remembered
    }
}

/// A parser that does not exist was warned of; its lines go out as text, as in Fluent Bit.
fn parser_of(settings: &tail::Settings, config: &Config) -> Result<Option<Parser>, AgentError> {
    let Some(definition) = settings.parser.as_ref().and_then(|name| config.parser(name)) else {
        return Ok(None);
    };
    let parser = Parser::compile(definition)
        .map_err(|reason| setting(&definition.name, "parser", reason))?;
    Ok(Some(parser))
}

/// A quarter of the memory limit is for lines that wait to be joined.
fn joining_of(settings: &tail::Settings, config: &Config) -> Result<Option<Joining>, AgentError> {
    let group = group_of(settings, config)
        .map_err(|reason| setting(&settings.name, "multiline", reason))?;
    Ok(group.map(|group| Joining::new(group, settings.mem_buf_limit / 4)))
}

/// The names were looked up when they were read.
fn group_of(settings: &tail::Settings, config: &Config) -> Result<Option<Group>, MultilineError> {
    let limit = config.service.multiline_limit;
    let parser = |name: &String| config.parser(name);
    let group = match &settings.joins {
        Joins::Nothing => return Ok(None),
        Joins::Parsers(names) => {
            let named = names.iter().filter_map(|name| config.multiline_parser(name));
            Group::compile(&named.collect::<Vec<_>>(), limit)?
        }
        Joins::DockerMode { first, flush_after } => {
            Group::docker_mode(first.as_ref().and_then(parser), *flush_after, limit)?
        }
        Joins::FirstLines { first, others, flush_after } => {
            let Some(first) = parser(first) else {
                return Ok(None);
            };
            let others: Vec<_> = others.iter().filter_map(parser).collect();
            Group::first_lines(first, &others, &settings.key, *flush_after, limit)?
        }
    };
    Ok(Some(group))
}

fn start_ingest(ingest: Ingest) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (tell, ended) = oneshot::channel();
    thread::Builder::new().name("ingest".to_owned()).spawn(move || {
        // Nobody listens any more when the grace is over.
        tell.send(ingest.run()).ok();
    })?;
    Ok(ended)
}

// === Small things

fn setting(name: &str, key: &str, reason: impl ToString) -> AgentError {
    AgentError::Setting { what: format!("{name}: {key}"), reason: reason.to_string() }
}

fn reason(result: Result<io::Result<()>, oneshot::error::RecvError>) -> io::Error {
    match result {
        Ok(Ok(())) => io::Error::other("it was done although nobody had asked it to stop"),
        Ok(Err(error)) => error,
        Err(_) => io::Error::other("it panicked"),
    }
}

async fn within<F: Future>(limit: Option<Duration>, future: F) -> Option<F::Output> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await.ok(),
        None => Some(future.await),
    }
}

fn wake(waker: &Waker) -> Box<dyn Fn() + Send + Sync> {
    let waker = waker.clone();
    Box::new(move || waker.wake())
}

fn notify(notify: &Arc<Notify>) -> Box<dyn Fn() + Send + Sync> {
    let notify = Arc::clone(notify);
    Box::new(move || notify.notify_one())
}

/// Sixteen bytes nobody can guess.
pub fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("every system we run on has a source of random bytes");
    bytes
}

/// A number in `0.0..1.0`.
fn dice() -> f64 {
    let [a, b, c, d, ..] = random();
    f64::from(u32::from_be_bytes([a, b, c, d])) / f64::from(u32::MAX)
}

//! `log-ambassador replay FILE…`: ships fixture logs through the very same pipeline.
//!
//! In:  files, and a configuration whose paths and outputs are replaced
//! Out: their events at a receiver, or on stdout, one JSON object a line; a summary on stderr
//!
//! Without `--to` the receiver is our own, on a free loopback port.

use std::fs;
use std::future::Future;
use std::io::{self, IsTerminal};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::exit::Exit;
use super::receive::{ReceiveError, receive};
use crate::agent::{self, AgentError, Options, Outcome};
use crate::config::{Config, Environment};
use crate::forward;
use crate::listen::Server;
use crate::model::Counters;
use crate::tail;

/// Ships log files through the pipeline and shows what arrives.
#[derive(Clone, Debug, clap::Args)]
pub struct Replay {
    /// The files, each read once from its first byte to its last
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// Ship to this forward receiver, HOST:PORT, instead of printing what arrives
    #[arg(long, value_name = "HOST:PORT")]
    pub to: Option<Target>,
    /// At most so many lines a second, written as 1000 or 1000/s
    #[arg(long, value_name = "N/s", value_parser = lines_a_second)]
    pub rate: Option<u32>,
    /// The configuration to use, with its paths and outputs replaced; without it the reference
    /// configuration
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Where to ship to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    host: String,
    port: u16,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is not HOST:PORT; write for example 127.0.0.1:24224");
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self { host: host.to_owned(), port: port.parse().map_err(|_| wrong())? })
    }
}

fn lines_a_second(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    number.parse().ok().filter(|&number| number > 0).ok_or_else(|| {
        format!("'{text}' is not a number of lines a second; write for example 1000/s")
    })
}

/// Why a replay did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// A file to replay cannot be read.
    #[error("{path}: {source}; name files that exist and can be read")]
    File {
        /// As given.
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// The configuration has nothing to replay through.
    #[error("{0}: it has no [INPUT] with `Name tail`; add one, or leave --config out")]
    NoInput(String),
    /// The embedded receiver.
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    /// The agent.
    #[error(transparent)]
    Agent(#[from] AgentError),
    /// No loopback port, no signals.
    #[error("cannot start: {0}")]
    Start(#[from] io::Error),
}

impl Replay {
    /// Replays the files through `config`, until they are delivered or `stop`.
    pub async fn run(
        self,
        config: Config,
        stop: impl Future<Output = ()>,
    ) -> Result<Exit, ReplayError> {
        let size = self.check_files()?;
        let Some(target) = self.to.clone() else {
            return self.run_with_own_receiver(config, size, stop).await;
        };
        let config = self.redirect(config, &target)?;
        self.ship(config, size, stop).await
    }

    async fn run_with_own_receiver(
        self,
        config: Config,
        size: u64,
        stop: impl Future<Output = ()>,
    ) -> Result<Exit, ReplayError> {
        let server = Server::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = server.local_addr()?.port();
        let config = self.redirect(config, &Target { host: "127.0.0.1".to_owned(), port })?;
        let (tell, shipped) = oneshot::channel();
        let receiving = receive(server, io::stdout(), async {
            shipped.await.ok();
        });
        let shipping = async {
            let exit = self.ship(config, size, stop).await;
            // Nobody listens when stdout was closed before the end.
            tell.send(()).ok();
            exit
        };
        tokio::pin!(receiving, shipping);
        tokio::select! {
            // Losing cannot happen: the receiver ends after this one, unless stdout was closed.
            exit = &mut shipping => {
                receiving.await?;
                exit
            }
            // Losing drops the replay: nobody reads what it would print.
            closed = &mut receiving => {
                closed?;
                Ok(Exit::Clean)
            }
        }
    }

    /// The whole size of the files, all of which must be readable.
    fn check_files(&self) -> Result<u64, ReplayError> {
        let size = |path: &PathBuf| {
            let metadata = fs::File::open(path).and_then(|file| file.metadata());
            metadata
                .map(|metadata| metadata.len())
                .map_err(|source| ReplayError::File { path: path.display().to_string(), source })
        };
        self.files.iter().map(size).sum()
    }

    /// The same configuration, over our files and to the target. Its outputs are never used.
    fn redirect(&self, mut config: Config, target: &Target) -> Result<Config, ReplayError> {
        let Some(input) = config.inputs.first_mut() else {
            let path = self.config.as_deref().unwrap_or_else(|| Path::new("the configuration"));
            return Err(ReplayError::NoInput(path.display().to_string()));
        };
        input.paths =
            self.files.iter().map(|path| glob::Pattern::escape(&path.to_string_lossy())).collect();
        input.exclude_paths.clear();
        input.read_from_head = true;
        input.ignore_older = None;
        input.db = None;
        config.inputs.truncate(1);
        config.listeners.clear();
        config.outputs = vec![forward::Settings::new("replay", &target.host, target.port)];
        config.service.grace = None;
        config.service.http.is_on = false;
        config.service.drain_quiet = Duration::ZERO;
        Ok(config)
    }

    async fn ship(
        &self,
        config: Config,
        size: u64,
        stop: impl Future<Output = ()>,
    ) -> Result<Exit, ReplayError> {
        let counters = Arc::new(Counters::default());
        let options = Options {
            counters: Arc::clone(&counters),
            pace: self.rate,
            drain_at_once: true,
            ..Options::default()
        };
        let start = Instant::now();
        let outcome = tokio::select! {
            // Losing drops the agent: the user does not want to wait.
            outcome = agent::run(config, options, std::future::pending()) => outcome?,
            // Losing is harmless: it only draws.
            never = show_progress(&counters, size) => match never {},
            // Losing is harmless: whoever made the signal still has it.
            () = stop => {
                eprintln!("stopped; {}", summary(&counters, start.elapsed()));
                return Ok(Exit::BytesLeft);
            }
        };
        eprintln!("{}", summary(&counters, start.elapsed()));
        Ok(if is_complete(&outcome) { Exit::Clean } else { Exit::BytesLeft })
    }
}

fn is_complete(outcome: &Outcome) -> bool {
    outcome.left.is_empty() && lost(&outcome.counters) == 0
}

/// Events that were made and did not arrive.
fn lost(counters: &Counters) -> u64 {
    counters.events.get().saturating_sub(counters.events_acknowledged.get())
}

/// `4 lines, 412 bytes in 0.002 s: 0.2 MB/s, lost 0`
fn summary(counters: &Counters, time: Duration) -> String {
    let bytes = counters.bytes_read.get();
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let rate = bytes as f64 / 1e6 / time.as_secs_f64();
    let mut text = format!(
        "{} lines, {bytes} bytes in {:.3} s: {rate:.1} MB/s, lost {}",
        counters.lines.get(),
        time.as_secs_f64(),
        lost(counters)
    );
    for (what, count) in [
        ("not JSON, delivered as text", counters.unparsed.get()),
        ("with an unreadable time", counters.bad_time.get()),
        ("with bytes that are not UTF-8", counters.bad_text.get()),
        ("longer than the limit", counters.lines_cut.get()),
    ] {
        if count > 0 {
            text.push_str(&format!("; {count} {what}"));
        }
    }
    text
}

/// Says on stderr how far it has come, if that is a terminal.
async fn show_progress(counters: &Counters, size: u64) -> std::convert::Infallible {
    if !io::stderr().is_terminal() {
        return std::future::pending().await;
    }
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        ticks.tick().await;
        // Whatever is said next begins at the start of the line, and is longer.
        eprint!("{} of {} MB\r", counters.bytes_read.get() / 1_000_000, size / 1_000_000);
    }
}

/// The reference configuration: what a replay uses when no other is named.
pub fn reference(environment: &Environment) -> Config {
    let known = |name| environment.known(name).map_or("", |(value, _)| value);
    let mut parser = crate::parse::Definition::new("json", crate::parse::Format::Json);
    parser.time_key = Some("timestamp".to_owned());
    parser.time_format = Some("%Y-%m-%dT%H:%M:%S.%L".to_owned());
    let mut input = tail::Settings::new("tail.0", vec!["/var/log/app/*.log".to_owned()]);
    input.tag = "app.logs".to_owned();
    input.parser = Some("json".to_owned());
    input.refresh_interval = Duration::from_secs(5);
    input.mem_buf_limit = 5_000_000;
    input.long_lines = tail::LongLines::Skip;
    let added = [("hostname", known("HOSTNAME")), ("namespace", known("POD_NAMESPACE"))];
    let modifier = crate::filter::record_modifier::Settings {
        records: added.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec(),
        ..Default::default()
    };
    Config {
        service: crate::config::Service { flush: Duration::from_secs(5), ..Default::default() },
        parsers: vec![parser],
        multiline_parsers: Vec::new(),
        inputs: vec![input],
        listeners: Vec::new(),
        filters: vec![crate::filter::Settings {
            name: "record_modifier.0".to_owned(),
            pattern: Some(crate::model::Pattern::new("*")),
            pattern_regex: None,
            kind: crate::filter::Kind::RecordModifier(modifier),
        }],
        outputs: vec![forward::Settings::new(
            "forward.0",
            "fluentd-aggregator.logging.svc.cluster.local",
            24224,
        )],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_reference_configuration_is_the_file_of_that_name() {
        let environment = Environment::of([("HOSTNAME", "pod-1"), ("POD_NAMESPACE", "shop")]);
        let loaded = config::load(Path::new("config/fluent-bit.conf"), &[], &environment).unwrap();
        assert_eq!(reference(&environment), loaded.config);
        assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    }

    #[test]
    fn a_target_is_a_host_and_a_port() {
        for (text, expected) in [
            ("127.0.0.1:24224", Some(("127.0.0.1", 24224))),
            ("fluentd.logging:5", Some(("fluentd.logging", 5))),
            ("[::1]:24224", Some(("::1", 24224))),
            ("fluentd", None),
            (":24224", None),
            ("fluentd:70000", None),
        ] {
            let expected = expected.map(|(host, port)| Target { host: host.to_owned(), port });
            assert_eq!(text.parse::<Target>().ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_rate_is_a_number_of_lines_a_second() {
        for (text, expected) in [
            ("1000", Some(1000)),
            ("1000/s", Some(1000)),
            ("0", None),
            ("fast", None),
            ("5/m", None),
        ] {
            assert_eq!(lines_a_second(text).ok(), expected, "{text}");
        }
    }
}

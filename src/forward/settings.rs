//! What the `forward` output can be told. `config` fills it; the keys are Fluent Bit's.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use tracing::field::{DisplayValue, display};

use super::TagTemplate;
use crate::model::{Codec, Pattern};
use crate::secrets::Source;
use crate::tls;

/// One `[OUTPUT]` section with `Name forward`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// `Alias`, or `forward.<n>`: what logs and metrics call this output.
    pub name: String,
    /// `Match`: which tags it takes. `None`: none (said at the start).
    pub pattern: Option<Pattern>,
    /// `Match_Regex`: tags that begin with a match are taken as well.
    pub pattern_regex: Option<String>,
    /// `Host`: a name or an address. All addresses of a name are tried.
    pub host: String,
    /// `Port`.
    pub port: u16,
    /// `Upstream`: the nodes of its file, in place of `host` and `port`. Empty: those two.
    pub nodes: Vec<Node>,
    /// `Workers`: connections to each address. A tag keeps to one of them.
    pub workers: u32,
    /// `Unix_Path`: a Unix socket, instead of `Host` and `Port`.
    pub unix_path: Option<PathBuf>,
    /// `tls on`, and what `tls.*` says.
    pub tls: Option<tls::Settings>,
    /// `Shared_Key` or `Empty_Shared_Key`, and what goes with it.
    pub security: Option<Security>,
    /// `Tag`: what events are sent under instead of their own tag.
    pub tag: Option<TagTemplate>,
    /// `Compress`.
    pub compress: Option<Codec>,
    /// `Time_as_Integer`: times are cut to whole seconds.
    pub whole_seconds: bool,
    /// `Add_Option`: further keys and values of every frame's option.
    pub added_options: Vec<(String, String)>,
    /// `Require_ack_response`: off means a chunk is done once the kernel has its bytes.
    pub require_ack: bool,
    /// `Retry_Limit`.
    pub retry_limit: RetryLimit,
    /// `Retry_Max_Age` (ours): events older than this are given up.
    pub retry_max_age: Option<Duration>,
    /// `scheduler.base` and `scheduler.cap` of `[SERVICE]`, when written there.
    pub backoff: Backoff,
    /// `scheduler.base`, for the shortest time in which Fluent Bit gives a chunk up.
    pub scheduler_base: Duration,
    /// `net.connect_timeout`: how long a connection with its TLS may take, and then each message
    /// of the handshake. Name look-up excluded.
    pub connect_timeout: Duration,
    /// `net.io_timeout`: how long not one byte of a write may be accepted.
    pub io_timeout: Duration,
    /// How long an acknowledgement may take after the frame was written (`net.io_timeout` sets
    /// this too, as it is Fluent Bit's only limit on it).
    pub ack_timeout: Duration,
    /// `net.source_address`: the local address to connect from.
    pub source_address: Option<IpAddr>,
    /// `net.dns.prefer_ipv4` or `net.dns.prefer_ipv6`: the other family stands by. `None`: the
    /// family of the address that the system names first.
    pub preferred: Option<IpVersion>,
    /// `net.max_connection_age` (ours), give or take a fifth: tags choose their nodes again.
    /// `None`: never. Only where there is a choice.
    pub max_connection_age: Option<Duration>,
    /// `net.keepalive*`: when a connection that works is closed.
    pub keepalive: Keepalive,
    /// `net.tcp_keepalive_*`: how the kernel looks after an idle connection.
    pub probes: Probes,
}

/// A `[NODE]` of an `Upstream` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `Name`.
    pub name: String,
    /// `Weight` (ours, as Fluentd has it): its part of the tags. 0: never used.
    pub weight: u32,
    /// `Standby` (ours, as Fluentd has it): serves while others are missing.
    pub standby: bool,
    /// What it is told: the output's settings, with the node's own over them. It has no nodes.
    pub settings: Settings,
}

impl Node {
    /// Fluentd's default.
    pub const DEFAULT_WEIGHT: u32 = 60;
}

/// What we show to a server, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// `Self_Hostname`: what we call ourselves. A server that calls itself the same is refused.
    pub self_hostname: String,
    /// `Shared_Key`, `Shared_Key_File` or `Empty_Shared_Key`.
    pub shared_key: Source,
    /// `Username`, with `Password` or `Password_File`.
    pub user: Option<(String, Option<Source>)>,
}

/// A kind of address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpVersion {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// When a connection that works is closed. By default never.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keepalive {
    /// `net.keepalive_idle_timeout`: after so long without a frame.
    pub idle_timeout: Option<Duration>,
    /// `net.keepalive_max_recycle`: after so many frames; 1 with `net.keepalive off`.
    pub frames: Option<u64>,
}

/// How the kernel looks whether the other side is still there. There is no off: a connection to a
/// machine that has gone would be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probes {
    /// `net.tcp_keepalive_time`: how long nothing must have come.
    pub time: Duration,
    /// `net.tcp_keepalive_interval`: between two of them.
    pub interval: Duration,
    /// `net.tcp_keepalive_probes`: how many may be lost.
    pub count: u32,
}

impl Default for Probes {
    fn default() -> Self {
        Self { time: Duration::from_secs(4), interval: Duration::from_secs(1), count: 4 }
    }
}

/// How often a chunk that failed is sent again before it is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryLimit {
    /// `no_limits`, and ours when nothing is written.
    NoLimits,
    /// `N`: N times after the first try. `no_retries` is 0.
    Times(u32),
}

/// The waits between tries: doubling from `first` to `longest`, full jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest the first wait can be.
    pub first: Duration,
    /// The longest any wait can be.
    pub longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(200), longest: Duration::from_secs(5) }
    }
}

impl Settings {
    /// What a connection to `address` is called: by its path, if it is a Unix socket.
    pub(super) fn peer(&self, address: SocketAddr) -> String {
        match &self.unix_path {
            Some(path) => path.display().to_string(),
            None => address.to_string(),
        }
    }

    /// `Host`, if that is where it connects to.
    pub(super) fn host(&self) -> Option<DisplayValue<&str>> {
        self.unix_path.is_none().then_some(display(&self.host))
    }

    /// `Port`, if that is where it connects to.
    pub(super) fn port(&self) -> Option<u16> {
        self.unix_path.is_none().then_some(self.port)
    }

    /// An output to `host:port` that takes every tag, with every other key unwritten.
    pub fn new(name: &str, host: &str, port: u16) -> Self {
        Self {
            name: name.to_owned(),
            pattern: Some(Pattern::new("*")),
            pattern_regex: None,
            host: host.to_owned(),
            port,
            unix_path: None,
            tls: None,
            security: None,
            tag: None,
            compress: None,
            whole_seconds: false,
            added_options: Vec::new(),
            nodes: Vec::new(),
            workers: 1,
            require_ack: true,
            retry_limit: RetryLimit::NoLimits,
            retry_max_age: None,
            backoff: Backoff::default(),
            scheduler_base: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(5),
            io_timeout: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(60),
            source_address: None,
            preferred: None,
            max_connection_age: Some(Duration::from_secs(300)),
            keepalive: Keepalive::default(),
            probes: Probes::default(),
        }
    }
}

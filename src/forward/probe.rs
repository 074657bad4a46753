//! Tries an output out, for `check --connect`.
//!
//! In:  what an output is told
//! Out: for each address of each of its nodes, how far one small frame came, and what to change
//!
//! Connections are made by the code that makes the agent's, with the same settings. What is sent
//! is one event that says what it is; the waits have a limit of their own, because somebody
//! watches.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustls::ProtocolVersion;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::connect::{Connector, UNIX_STAND_IN, look_up, salt};
use super::settings::Node;
use super::upstream::nodes_of;
use super::wire::Wire;
use super::{Failure, Settings, broken};
use crate::buffer::Packer;
use crate::model::record::{write_map_header, write_str};
use crate::model::{Codec, EventTime, Tag};
use crate::protocol::ack::{AckDecoder, AckError};
use crate::protocol::frame::{self, ChunkId, Tail};
use crate::protocol::seconds::with_whole_seconds;

/// The tag of what is sent, whatever `Tag` says.
const TAG: &str = "log-ambassador.check";
/// The longest a frame and its acknowledgement may take, if the output allows more.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a receiver that need not acknowledge may take to object.
const OBJECTION_LIMIT: Duration = Duration::from_secs(1);
/// What makes an event worth compressing.
const PADDING: usize = 256;

/// What became of one address. Shown as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The output, its node, the address.
    place: String,
    /// What worked, step by step.
    worked: Vec<String>,
    /// What then did not, and what to change.
    failure: Option<String>,
}

impl Finding {
    /// Whether the frame arrived.
    pub fn works(&self) -> bool {
        self.failure.is_none()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let worked = self.worked.join(", ");
        match (&self.failure, &*worked) {
            (None, _) => write!(f, "{}: {worked}", self.place),
            (Some(failure), "") => write!(f, "{}: FAILED: {failure}", self.place),
            (Some(failure), _) => write!(f, "{}: {worked}, then FAILED: {failure}", self.place),
        }
    }
}

/// Sends one event to every address of every node of an output, to all at once: one that is down
/// costs its time-outs.
pub async fn probe(output: &Settings) -> Vec<Finding> {
    let probe = |node: Node| {
        let Node { name, settings, .. } = node;
        let is_named = match output.nodes.is_empty() {
            true => settings.unix_path.is_none() && settings.host.parse::<IpAddr>().is_err(),
            false => true,
        };
        let place = if is_named { format!("{} {name}", output.name) } else { output.name.clone() };
        tokio::spawn(probe_node(place, settings))
    };
    all(nodes_of(output).into_iter().map(probe)).await.concat()
}

async fn probe_node(place: String, settings: Settings) -> Vec<Finding> {
    let connector = match Connector::new(&settings, 1) {
        Ok(connector) => connector,
        Err(error) => return vec![failed(place, error.to_string())],
    };
    let addresses = match settings.unix_path {
        Some(_) => vec![UNIX_STAND_IN],
        None => match look_up(&settings.host, settings.port).await {
            Ok(addresses) => addresses,
            Err(failure) => return vec![failed(place, failure.to_string())],
        },
    };
    let probe = Arc::new(Probe { place, settings, connector });
    all(addresses.into_iter().map(|address| {
        let probe = Arc::clone(&probe);
        tokio::spawn(async move { probe.try_out(address).await })
    }))
    .await
}

fn failed(place: String, failure: String) -> Finding {
    Finding { place, worked: Vec::new(), failure: Some(failure) }
}

/// The results of tasks that have all begun, in their order.
async fn all<T>(tasks: impl Iterator<Item = JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        results.push(task.await.expect("a panic ends the process"));
    }
    results
}

/// Tries the addresses of one node.
struct Probe {
    /// The output and the node.
    place: String,
    settings: Settings,
    connector: Connector,
}

impl Probe {
    async fn try_out(&self, address: SocketAddr) -> Finding {
        let mut worked = Vec::new();
        let failure = match self.deliver(address, self.settings.compress, &mut worked).await {
            Ok(()) => None,
            Err(failure) => Some(format!("{failure}{}", self.advice(address, &failure).await)),
        };
        let place = format!("{} {}", self.place, self.settings.peer(address));
        Finding { place, worked, failure }
    }

    /// Connects, sends one frame, and waits for what is due. `worked` takes what was achieved.
    async fn deliver(
        &self,
        address: SocketAddr,
        codec: Option<Codec>,
        worked: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let mut link = self.connector.open(address).await?;
        worked.push("connected".to_owned());
        worked.extend(link.wire.tls_version().map(|version| self.describe_tls(version)));
        if self.settings.security.is_some() {
            worked.push("key accepted".to_owned());
        }
        let (id, begun) = (ChunkId::new(salt()), Instant::now());
        let frame = self.frame(&id, codec);
        let limit = self.settings.io_timeout.min(LIMIT);
        match timeout(limit, link.wire.write_all(&frame)).await {
            Ok(written) => written.map_err(broken)?,
            Err(_) => return Err(Failure::Stalled { limit }),
        }
        if !self.settings.require_ack {
            if let Ok(answer) = timeout(OBJECTION_LIMIT, read_ack(&mut link.wire, &id)).await {
                answer?;
            }
            worked.push("sent without asking for an acknowledgement".to_owned());
            return Ok(());
        }
        let limit = self.settings.ack_timeout.min(LIMIT);
        match timeout(limit, read_ack(&mut link.wire, &id)).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Failure::NoAck { limit }),
        }
        worked.push(format!("acknowledged in {} ms", begun.elapsed().as_millis()));
        Ok(())
    }

    fn describe_tls(&self, version: ProtocolVersion) -> String {
        let version = match version {
            ProtocolVersion::TLSv1_3 => "TLS 1.3",
            _ => "TLS 1.2",
        };
        let tls = self.settings.tls.as_ref();
        let name = tls.and_then(|tls| tls.vhost.as_ref()).unwrap_or(&self.settings.host);
        match tls.map(|tls| (tls.verify, tls.verify_hostname)) {
            Some((true, true)) => format!("{version} as '{name}'"),
            Some((true, false)) => format!("{version} under any name (tls.verify_hostname is off)"),
            _ => format!("{version} with anybody (tls.verify is off)"),
        }
    }

    /// One event in the form that the output's frames have.
    fn frame(&self, id: &ChunkId, codec: Option<Codec>) -> Vec<u8> {
        let settings = &self.settings;
        let mut entries = self.event(codec);
        if settings.whole_seconds && codec.is_none() {
            let precise = std::mem::take(&mut entries);
            with_whole_seconds(&precise, &mut entries).expect("the entries are our own");
        }
        if let Some(codec) = codec {
            let mut packer = Packer::new(codec);
            entries = packer.pack(&entries).expect("padding gets smaller").to_vec();
        }
        let mut frame = Vec::new();
        frame::head(&Tag::new(TAG), entries.len(), &mut frame);
        frame.extend_from_slice(&entries);
        Tail {
            events: 1,
            id: settings.require_ack.then_some(id),
            compressed: codec.map(Codec::name),
            added: &settings.added_options,
        }
        .encode(&mut frame);
        frame
    }

    fn event(&self, codec: Option<Codec>) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seconds = i64::try_from(now.as_secs()).unwrap_or_default();
        let time = EventTime::new(seconds, now.subsec_nanos()).unwrap_or_default();
        let padding = codec.map(|_| ("padding", ".".repeat(PADDING)));
        let mut event = vec![0x92];
        event.extend_from_slice(&time.encode());
        write_map_header(&mut event, 2 + usize::from(padding.is_some()));
        for (key, value) in
            [("message", "log-ambassador check".to_owned()), ("output", self.settings.name.clone())]
                .into_iter()
                .chain(padding)
        {
            write_str(&mut event, key);
            write_str(&mut event, &value);
        }
        event
    }

    /// What to change, where the failure does not say it itself.
    async fn advice(&self, address: SocketAddr, failure: &Failure) -> String {
        if let Some(codec) = self.settings.compress
            && failure.is_refusal()
            && self.deliver(address, None, &mut Vec::new()).await.is_ok()
        {
            return format!(
                "; it refuses compressed frames, and takes others: take `Compress {}` out",
                codec.name()
            );
        }
        match failure {
            Failure::NoAck { .. } => {
                "; it reads and does not acknowledge: if it never does, write \
                 `Require_ack_response Off`; otherwise look at its log"
            }
            Failure::Closed | Failure::Broken(_) if self.settings.tls.is_none() => {
                "; look at its log: it may want TLS ('tls on'), or this is not the port of a \
                 forward receiver"
            }
            Failure::Closed | Failure::Broken(_) | Failure::BadAck(AckError::WithoutAck) => {
                "; look at its log"
            }
            _ => "",
        }
        .to_owned()
    }
}

/// Waits for the acknowledgement of a chunk.
async fn read_ack(wire: &mut Wire, id: &ChunkId) -> Result<(), Failure> {
    let mut acks = AckDecoder::new();
    loop {
        if let Some(found) = acks.next_id()? {
            let foreign =
                || Failure::ForeignAck { id: String::from_utf8_lossy(found).into_owned() };
            return id.is(found).then_some(()).ok_or_else(foreign);
        }
        let mut bytes = [0; 1024];
        match wire.read(&mut bytes).await.map_err(broken)? {
            0 => return Err(Failure::Closed),
            count => acks.feed(&bytes[..count]),
        }
    }
}

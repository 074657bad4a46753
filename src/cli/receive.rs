//! `log-ambassador receive`: shows what senders of the forward protocol send.
//!
//! In:  connections of senders on a TCP port
//! Out: a line of JSON on stdout for each event; nothing else ever goes there. With `--verbose`, a
//!      line of the log for each frame
//!
//! Printing has a thread of its own, because a full pipe blocks, and a signal must still end the
//! process. A frame is acknowledged when its events have been written and flushed.

use std::future::Future;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot};

use super::door::{self, DoorFlags, FlagError};
use crate::agent;
use crate::listen::{Event, Fault, Frame, Server, SinkClosed};
use crate::protocol::json::{write_json, write_text};

/// How much text is handed to the printer at a time.
const PAGE_SIZE: usize = 64 << 10;

/// How many pages may wait for the printer.
const PAGES_WAITING: usize = 4;

/// How long a stop waits for a reader of stdout that does not read.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Receives events like a Fluentd and prints each as one line of JSON.
#[derive(Clone, Debug, clap::Args)]
pub struct Receive {
    /// The TCP port to listen on; 0 lets the system choose one
    #[arg(long, default_value_t = 24224)]
    pub port: u16,
    /// The address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::UNSPECIFIED))]
    pub listen: IpAddr,
    /// Who is let in.
    #[command(flatten)]
    pub door: DoorFlags,
    /// Say on stderr how each frame came: mode, options, sizes, events, id, peer
    #[arg(short, long)]
    pub verbose: bool,
    /// Do one thing wrong, to test a sender: no-ack, late-ack:DURATION, wrong-id, split-ack,
    /// close-after:N or refuse-handshake
    ///
    /// no-ack never acknowledges. late-ack:5s waits 5 s before each acknowledgement. wrong-id
    /// acknowledges another id. split-ack sends each acknowledgement in two pieces. close-after:3
    /// serves 3 frames of each connection and closes it when a fourth has come.
    /// refuse-handshake wants a shared key that nobody knows.
    #[arg(long, value_name = "NAME[:ARG]")]
    pub fault: Option<Fault>,
}

/// Why `receive` ended other than by a signal.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// The port is taken, or not ours to take.
    #[error("cannot listen on {address}: {source}; choose another with --listen and --port")]
    Listen {
        /// What was asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// What flags name is of no use.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// Signals cannot be heard.
    #[error("cannot wait for signals: {0}")]
    Signals(#[source] io::Error),
    /// stdout is broken, and not because its reader went.
    #[error("cannot write to stdout: {0}")]
    Stdout(#[source] io::Error),
}

impl Receive {
    /// Prints what arrives until SIGINT, SIGTERM, or until nobody reads stdout any more.
    ///
    /// Wants a `current_thread` runtime with I/O and time.
    pub async fn run(self) -> Result<(), ReceiveError> {
        let stop = stop_signal().map_err(ReceiveError::Signals)?;
        let address = SocketAddr::new(self.listen, self.port);
        let listening = |source| ReceiveError::Listen { address, source };
        let server = self.at_its_door(Server::bind(address).await.map_err(listening)?)?;
        tracing::info!(address = %server.local_addr().map_err(listening)?, "listening");
        receive(server, io::stdout(), stop).await
    }

    /// Has a server let in whom the flags say, and do wrong what they say.
    fn at_its_door(&self, server: Server) -> Result<Server, FlagError> {
        let security = match self.fault {
            Some(Fault::RefuseHandshake) => Some(door::locked(agent::random())),
            _ => self.door.security()?,
        };
        let server = server.with_door("receive", self.door.tls(), security, agent::random)?;
        Ok(match self.fault {
            Some(fault) => server.with_fault(fault),
            None => server,
        })
    }
}

/// Prints what `server` receives to `out`, until `stop` is over or `out` is closed.
pub async fn receive(
    server: Server,
    out: impl Write + Send + 'static,
    stop: impl Future<Output = ()>,
) -> Result<(), ReceiveError> {
    let (pages, waiting) = mpsc::channel(PAGES_WAITING);
    let (printed, mut printing) = oneshot::channel();
    thread::spawn(move || {
        // Nobody listens when a stop did not wait for us.
        printed.send(print(waiting, BufWriter::new(out))).ok();
    });
    let serving = server.run(async move |frame: &Frame<'_>| print_frame(frame, &pages).await);
    tokio::select! {
        // Losing drops the connections: what they had not acknowledged is sent again to others.
        () = serving => {}
        // Losing is harmless: whoever made the signal still has it.
        () = stop => {}
        // Losing is harmless: the answer is waited for again below.
        ended = &mut printing => return result_of(ended),
    }
    // Dropping the server dropped the sender of pages, which ends the printer behind the last
    // one; a page half printed would leave half a line.
    match tokio::time::timeout(LAST_LINES, printing).await {
        Ok(ended) => result_of(ended),
        Err(_) => Ok(()),
    }
}

/// Lines for the printer, and whom to tell when they are out.
struct Page {
    lines: Vec<u8>,
    /// Dropped without a word when the page could not be printed.
    printed: Option<oneshot::Sender<()>>,
}

async fn print_frame(frame: &Frame<'_>, pages: &mpsc::Sender<Page>) -> Result<(), SinkClosed> {
    let mut lines = Vec::new();
    for event in frame.events() {
        write_line(frame.tag, &event, &mut lines);
        if lines.len() >= PAGE_SIZE {
            let page = Page { lines: std::mem::take(&mut lines), printed: None };
            pages.send(page).await.map_err(|_| SinkClosed)?;
        }
    }
    let (printed, is_printed) = oneshot::channel();
    pages.send(Page { lines, printed: Some(printed) }).await.map_err(|_| SinkClosed)?;
    is_printed.await.map_err(|_| SinkClosed)
}

/// `{"tag":…,"time":…,"record":{…}}` and a newline.
fn write_line(tag: &str, event: &Event<'_>, out: &mut Vec<u8>) {
    let time = DateTime::from_timestamp(event.time.seconds.into(), event.time.nanos)
        .expect("an event's time lies between 1970 and 2106");
    out.extend_from_slice(b"{\"tag\":");
    write_text(tag, out);
    out.extend_from_slice(b",\"time\":");
    write_text(&time.to_rfc3339_opts(SecondsFormat::Nanos, true), out);
    out.extend_from_slice(b",\"record\":");
    write_json(event.record, out).expect("a frame's records have been read before");
    out.extend_from_slice(b"}\n");
}

/// Prints pages until nobody can send any. Flushes when none is waiting, so that a quiet sender's
/// last line is seen, and a busy one costs no system call a line.
fn print(mut waiting: mpsc::Receiver<Page>, mut out: impl Write) -> io::Result<()> {
    let mut unflushed = Vec::new();
    while let Some(page) = waiting.blocking_recv() {
        out.write_all(&page.lines)?;
        unflushed.extend(page.printed);
        if waiting.is_empty() {
            out.flush()?;
            for printed in unflushed.drain(..) {
                // A connection that went meanwhile wants no ack.
                printed.send(()).ok();
            }
        }
    }
    out.flush()
}

/// `head` and others close stdout when they have seen enough: that is no error.
fn result_of(ended: Result<io::Result<()>, oneshot::error::RecvError>) -> Result<(), ReceiveError> {
    match ended.expect("the printer answers before it ends") {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(ReceiveError::Stdout(error)),
        _ => Ok(()),
    }
}

fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            // Losing is harmless: both end the same wait.
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

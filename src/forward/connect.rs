//! Looks names up, opens connections and makes them ready for frames.
//!
//! ```text
//! look the name up ─▶ connect ─▶ TLS ─▶ HELO, PING, PONG ─▶ frames
//! ```
//!
//! In:  where to, and what to show there
//! Out: all addresses of a name; a [`Link`] to one of them, or what it answered. No step is without
//!      a deadline.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout, timeout_at};

use super::greet::shake_hands;
use super::wire::{Socket, Wire};
use super::{Failure, Settings, vitals};
use crate::tls;

/// How long a look-up of the name may take.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);
/// Stands for the address that a Unix socket has not.
pub(super) const UNIX_STAND_IN: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// Makes the connections of one output.
pub(super) struct Connector {
    settings: Settings,
    tls: Option<tls::Client>,
    /// How many connections its output may have.
    connections: usize,
}

/// Why an output cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A file of `tls.*` is of no use.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
    /// A file of a secret is of no use.
    #[error("{0}")]
    Secret(String),
}

/// A connection that frames may be sent on.
pub(super) struct Link {
    /// What they are written to.
    pub(super) wire: Wire,
    /// Whether the receiver lets it be used for more than one frame.
    pub(super) keepalive: bool,
}

impl Connector {
    /// Reads every file once, so that a start says what is wrong with them. The output has so many
    /// nodes.
    pub(super) fn new(settings: &Settings, nodes: usize) -> Result<Self, StartError> {
        let tls = settings.tls.clone().map(|tls| tls::Client::new(&settings.name, tls));
        if let Some(security) = &settings.security {
            security.read().map_err(|failure| StartError::Secret(failure.to_string()))?;
        }
        let connections = nodes * settings.workers as usize;
        Ok(Self { settings: settings.clone(), tls: tls.transpose()?, connections })
    }

    /// Connects to one address of the host, or to `Unix_Path`. `net.connect_timeout` is for the
    /// connection and its TLS together.
    pub(super) async fn open(&self, address: SocketAddr) -> Result<Link, Failure> {
        let deadline = Instant::now() + self.settings.connect_timeout;
        let peer = self.settings.peer(address);
        let socket = match timeout_at(deadline, self.connect(address)).await {
            Ok(opened) => opened.map_err(|error| name_remedy(&error)),
            Err(_) => Err(format!("no answer in time; {UNREACHABLE}")),
        };
        let socket =
            socket.map_err(|answer| Failure::Connect { answer: format!("{peer}: {answer}") })?;
        let wire = match timeout_at(deadline, self.encrypt(socket)).await {
            Ok(begun) => begun.map_err(explained),
            Err(_) => Err("no answer in time; check that it speaks TLS".to_owned()),
        };
        let mut wire =
            wire.map_err(|reason| Failure::Tls { reason: format!("{peer}: {reason}") })?;
        let keepalive = match &self.settings.security {
            Some(security) => {
                shake_hands(&mut wire, security, salt(), self.settings.connect_timeout).await?
            }
            None => true,
        };
        Ok(Link { wire, keepalive })
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<Socket> {
        Ok(match &self.settings.unix_path {
            Some(path) => Socket::Unix(UnixStream::connect(path).await?),
            None => Socket::Tcp(connect_to(address, &self.settings).await?),
        })
    }

    async fn encrypt(&self, socket: Socket) -> io::Result<Wire> {
        let Some(tls) = &self.tls else {
            return Ok(Wire::Plain(socket));
        };
        let stream = tls.connect(&self.settings.host, socket).await?;
        let session = stream.get_ref().1;
        tracing::debug!(
            version = ?session.protocol_version(),
            cipher = ?session.negotiated_cipher_suite().map(|suite| suite.suite()),
            "[output:forward:{}] TLS is up", self.settings.name
        );
        Ok(Wire::tls(stream, self.connections))
    }
}

/// What to look at when an address does not answer.
const UNREACHABLE: &str = "check the address, that no NetworkPolicy or firewall is between";

/// What the system says, and what to do about it where that is known.
fn name_remedy(error: &io::Error) -> String {
    use io::ErrorKind::{
        ConnectionRefused, HostUnreachable, NetworkUnreachable, NotFound, TimedOut,
    };
    match error.kind() {
        ConnectionRefused => {
            format!("{error}: nobody listens there; check the address, and that the receiver runs")
        }
        NotFound => format!("{error}: there is no such socket; check `Unix_Path`"),
        TimedOut | HostUnreachable | NetworkUnreachable => format!("{error}; {UNREACHABLE}"),
        _ => error.to_string(),
    }
}

/// Why TLS did not begin. An end in the middle of its handshake has no cause that anybody names.
fn explained(error: io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            "it closed the connection instead of speaking TLS; write 'tls off', or switch it on there"
                .to_owned()
        }
        _ => tls::explain(&error).unwrap_or_else(|| error.to_string()),
    }
}

/// Sixteen bytes that no other connection had.
pub(super) fn salt() -> [u8; 16] {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).expect("every system we run on has a source of random bytes");
    salt
}

/// All addresses of a name, as the system gives them.
pub(super) async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let resolve = |reason: String| Failure::Resolve { host: host.to_owned(), reason };
    let addresses = match timeout(LOOKUP_LIMIT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(error)) => return Err(resolve(error.to_string())),
        Err(_) => return Err(resolve("no answer in time".to_owned())),
    };
    if addresses.is_empty() {
        return Err(resolve("it has no address".to_owned()));
    }
    Ok(addresses)
}

async fn connect_to(address: SocketAddr, settings: &Settings) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(source) = settings.source_address {
        socket.bind(SocketAddr::new(source, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    vitals::notice_death(&stream, settings.probes)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn the_kernel_probes_an_idle_connection_as_it_is_told() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let mut settings = Settings::new("forward.0", "127.0.0.1", 1);
        settings.probes.time = Duration::from_secs(77);
        settings.probes.interval = Duration::from_secs(7);
        settings.probes.count = 3;
        settings.source_address = Some("127.0.0.9".parse().unwrap());
        let address = listener.local_addr().unwrap();
        let stream = connect_to(address, &settings).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(77));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(7));
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
        assert_eq!(stream.local_addr().unwrap().ip().to_string(), "127.0.0.9");
    }

    #[tokio::test]
    async fn what_an_address_answered_is_told() {
        let address = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
        let settings = Settings::new("forward.0", "127.0.0.1", address.port());
        let connector = Connector::new(&settings, 1).unwrap();
        let text = connector.open(address).await.err().unwrap().to_string();
        assert!(text.contains(&format!("cannot connect: {address}: ")), "{text}");
    }

    #[tokio::test]
    async fn a_tls_that_does_not_begin_is_told_apart_from_a_connection_that_cannot_be_made() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut settings = Settings::new("forward.0", "127.0.0.1", address.port());
        settings.tls = Some(tls::Settings { verify: false, ..tls::Settings::default() });
        settings.connect_timeout = Duration::from_millis(200);
        let connector = Connector::new(&settings, 1).unwrap();
        let silent = connector.open(address).await.err().unwrap();
        assert!(matches!(silent, Failure::Tls { .. }), "{silent}");
        let expected = format!("TLS: {address}: no answer in time; check that it speaks TLS");
        assert_eq!(silent.to_string(), expected);
        let (closed, _) = tokio::join!(connector.open(address), async {
            for _ in 0..2 {
                drop(listener.accept().await.unwrap());
            }
        });
        let closed = closed.err().unwrap();
        assert!(matches!(closed, Failure::Tls { .. }), "{closed}");
        drop(listener);
        let nobody = connector.open(address).await.err().unwrap();
        assert!(matches!(nobody, Failure::Connect { .. }), "{nobody}");
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_told_with_what_to_look_at() {
        let text = look_up("no-such-host.invalid", 24224).await.unwrap_err().to_string();
        assert!(text.contains("cannot resolve 'no-such-host.invalid'"), "{text}");
        assert!(text.contains("check `Host`"), "{text}");
    }
}

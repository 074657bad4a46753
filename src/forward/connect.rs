//! Looks names up and opens connections.
//!
//! In:  host and port, or an address; deadlines
//! Out: all addresses; a connected socket

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use super::{Failure, Settings};

/// How long bytes may stay unconfirmed by the peer's kernel before the connection counts as dead.
const DEAD_AFTER: Duration = Duration::from_secs(8);
/// How long a look-up of the name may take.
const LOOKUP_LIMIT: Duration = Duration::from_secs(10);

/// Connects to one address of the host.
pub(super) async fn connect(
    address: SocketAddr,
    settings: &Settings,
) -> Result<TcpStream, Failure> {
    connect_to(address, settings)
        .await
        .map_err(|error| Failure::Connect { answer: format!("{address}: {error}") })
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
    let Ok(connected) = timeout(settings.connect_timeout, socket.connect(address)).await else {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time"));
    };
    let stream = connected?;
    stream.set_nodelay(true)?;
    notice_death(&stream)?;
    Ok(stream)
}

/// A dead network and a slow receiver are told apart by the kernel: one that no longer answers is
/// closed, one that answers and takes its time is waited for.
fn notice_death(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(DEAD_AFTER / 2)
        .with_interval(Duration::from_secs(1))
        .with_retries(4);
    socket.set_tcp_keepalive(&probes)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(DEAD_AFTER))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_an_address_answered_is_told() {
        let address = TcpListener::bind(("127.0.0.1", 0)).await.unwrap().local_addr().unwrap();
        let settings = Settings::new("forward.0", "127.0.0.1", address.port());
        let text = connect(address, &settings).await.unwrap_err().to_string();
        assert!(text.contains(&format!("cannot connect: {address}: ")), "{text}");
    }

    #[tokio::test]
    async fn a_name_that_nobody_knows_is_told_with_what_to_look_at() {
        let text = look_up("no-such-host.invalid", 24224).await.unwrap_err().to_string();
        assert!(text.contains("cannot resolve 'no-such-host.invalid'"), "{text}");
        assert!(text.contains("check `Host`"), "{text}");
    }
}

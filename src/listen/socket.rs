//! The sockets that clients connect to.
//!
//! In:  an address
//! Out: connections, whatever kind of socket they came through
//!
//! A Unix socket is a file: one that a killed process left behind is taken away at the start, ours
//! at the end.

use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fmt, fs};

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};

use super::settings::Address;

/// How long a client that says nothing may have been gone before that is noticed.
const PROBE_AFTER: Duration = Duration::from_secs(60);

/// Why an input cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {reason}")]
pub struct ListenError {
    address: String,
    reason: String,
}

impl ListenError {
    pub(super) fn new(address: &Address, reason: impl ToString) -> Self {
        Self { address: address.to_string(), reason: reason.to_string() }
    }
}

/// Bytes from and to a client.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Stream for T {}

/// Listens.
#[derive(Debug)]
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// Who has connected.
pub(super) struct Peer {
    /// What logs call it.
    pub(super) name: String,
    /// `None`: it came over a Unix socket.
    pub(super) address: Option<IpAddr>,
}

impl Socket {
    pub(super) async fn bind(address: &Address) -> Result<Self, ListenError> {
        let refused = |reason: String| ListenError::new(address, reason);
        match address {
            Address::Tcp { host, port } => {
                TcpListener::bind((host.as_str(), *port)).await.map(Self::Tcp).map_err(|error| {
                    refused(format!("{error}; write another address or port with Listen and Port"))
                })
            }
            Address::Unix { path, mode } => {
                let (listener, file) = bind_unix(path, *mode).map_err(refused)?;
                Ok(Self::Unix(listener, file))
            }
        }
    }

    /// The next connection, and who it is. Losing it is harmless: it waits.
    pub(super) async fn accept(&self) -> io::Result<(Box<dyn Stream>, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                // An ack is small and waited for.
                stream.set_nodelay(true).ok();
                probe(&stream);
                let address = peer.ip();
                Ok((Box::new(stream), Peer { name: address.to_string(), address: Some(address) }))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                let name = pid.map_or_else(|| "unix".to_owned(), |pid| format!("process {pid}"));
                Ok((Box::new(stream), Peer { name, address: None }))
            }
        }
    }
}

impl fmt::Display for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => address.fmt(f),
                Err(error) => error.fmt(f),
            },
            Self::Unix(_, file) => file.path.display().fmt(f),
        }
    }
}

/// Has the kernel notice clients that went without a word.
fn probe(stream: &TcpStream) {
    let probes = TcpKeepalive::new().with_time(PROBE_AFTER);
    if let Err(error) = SockRef::from(stream).set_tcp_keepalive(&probes) {
        tracing::debug!(%error, "cannot have a client probed");
    }
}

fn bind_unix(path: &Path, mode: Option<u32>) -> Result<(UnixListener, SocketFile), String> {
    take_stale_away(path)?;
    let listener = UnixListener::bind(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => format!("{error}; is its directory mounted?"),
        _ => format!("{error}; its directory must be writable for us"),
    })?;
    let file = SocketFile::of(path).map_err(|error| error.to_string())?;
    if let Some(mode) = mode {
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .map_err(|error| format!("its mode cannot be set: {error}"))?;
    }
    Ok((listener, file))
}

/// Removes the socket file of a process that has ended: only a socket, and only if nobody answers.
fn take_stale_away(path: &Path) -> Result<(), String> {
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.to_string()),
    };
    if !metadata.file_type().is_socket() {
        return Err("there is a file that is no socket; name another with Unix_Path".to_owned());
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            tracing::info!(socket = %path.display(), "removing the socket of a process that has ended");
            fs::remove_file(path)
                .map_err(|error| format!("the old socket cannot be removed: {error}"))
        }
        Ok(_) => Err("another process answers there; name another with Unix_Path".to_owned()),
        Err(error) => Err(format!("there is a socket, and no telling whose: {error}")),
    }
}

/// A socket file of ours. Removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.to_owned(), identity: identity(path)? })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(socket = %self.path.display(), %error, "cannot remove our socket");
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use super::*;

    fn address(path: &Path, mode: Option<u32>) -> Address {
        Address::Unix { path: path.to_owned(), mode }
    }

    #[tokio::test]
    async fn a_socket_that_nobody_answers_on_is_taken_over_and_ours_is_gone_at_the_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("forward.sock");
        drop(StdListener::bind(&path).unwrap());
        assert!(path.exists(), "a listener that ends leaves its file");
        let socket = Socket::bind(&address(&path, Some(0o620))).await.unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o620);
        drop(socket);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_or_answers_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "precious").unwrap();
        let error = Socket::bind(&address(&file, None)).await.unwrap_err().to_string();
        assert!(error.contains("no socket"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
        let path = directory.path().join("socket");
        let _answers = StdListener::bind(&path).unwrap();
        let error = Socket::bind(&address(&path, None)).await.unwrap_err().to_string();
        assert!(error.contains("another process answers"), "{error}");
        assert!(path.exists());
    }

    #[tokio::test]
    async fn a_socket_that_another_has_put_in_place_of_ours_stays() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let ours = Socket::bind(&address(&path, None)).await.unwrap();
        fs::remove_file(&path).unwrap();
        let _theirs = StdListener::bind(&path).unwrap();
        drop(ours);
        assert!(path.exists());
    }
}

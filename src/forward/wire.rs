//! What a connection is made of: TCP or a Unix socket, with TLS or without.
//!
//! In:  a connected socket, perhaps inside TLS
//! Out: bytes read and written. Without TLS the parts of a frame go to the kernel as they lie in
//!      memory; with it they are copied once, encrypted, a whole frame before any of it is written.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::ClientStream;

/// See the head of this file.
pub(super) enum Wire {
    /// As it is.
    Plain(Socket),
    /// Inside TLS.
    Tls(Box<ClientStream<Socket>>),
}

/// How much TLS encrypts before it writes, over all connections of an output: the largest chunk, and
/// what a frame has besides. In pieces of 64 KB, which is what rustls does by itself, each of them
/// wakes the receiver.
const ENCRYPTED_AT_ONCE: usize = (1 << 20) + (16 << 10);
/// What a connection has of it at least.
const LEAST_AT_ONCE: usize = 64 << 10;

/// A connected socket.
pub(super) enum Socket {
    /// `Host` and `Port`.
    Tcp(TcpStream),
    /// `Unix_Path`.
    Unix(UnixStream),
}

impl Wire {
    /// One of so many connections inside TLS that its output may have.
    pub(super) fn tls(mut stream: ClientStream<Socket>, connections: usize) -> Self {
        let room = (ENCRYPTED_AT_ONCE / connections.max(1)).max(LEAST_AT_ONCE);
        stream.get_mut().1.set_buffer_limit(Some(room));
        Self::Tls(Box::new(stream))
    }

    fn socket(&self) -> &Socket {
        match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// The connection as the kernel knows it, if it can be cut off by a network.
    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match self.socket() {
            Socket::Tcp(stream) => Some(stream),
            Socket::Unix(_) => None,
        }
    }

    /// What was agreed on, inside TLS.
    pub(super) fn tls_version(&self) -> Option<ProtocolVersion> {
        match self {
            Self::Plain(_) => None,
            Self::Tls(stream) => stream.get_ref().1.protocol_version(),
        }
    }

    /// Has our kernel confirm what came without waiting for something to send along. A receiver
    /// that has not switched Nagle's algorithm off sends its next acknowledgement only then: with
    /// a small `Mem_Buf_Limit` each of them would cost the 40 ms that kernels wait. Linux takes
    /// this back by itself, so it is asked for at every read.
    pub(super) fn confirm_at_once(&self) {
        #[cfg(target_os = "linux")]
        if let Some(stream) = self.tcp()
            && let Err(error) = socket2::SockRef::from(stream).set_tcp_quickack(true)
        {
            tracing::debug!(%error, "cannot switch delayed confirmations off");
        }
    }

    /// Writes some of `parts`, and says how much.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(socket) => Pin::new(socket).poll_write_vectored(cx, parts),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, parts),
        }
    }

    /// Waits until the kernel has all that was written.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            // A socket keeps nothing back.
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    /// Reads what is there into `buffer`, and says how much; 0 is the end.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(match self {
            Self::Plain(socket) => Pin::new(socket).poll_read(cx, &mut buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, &mut buffer),
        })?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    /// Waits for bytes, and says how many came; 0 is the end.
    pub(super) async fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Waits until the kernel has all of `bytes`.
    pub(super) async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let written = poll_fn(|cx| self.poll_write(cx, &[IoSlice::new(rest)])).await?;
            rest = &rest[written..];
        }
        poll_fn(|cx| self.poll_flush(cx)).await
    }
}

/// A TLS connection ends with a word, so that the other side knows that nothing was cut off.
/// Nobody waits for it: what the kernel does not take at once is not said.
impl Drop for Wire {
    fn drop(&mut self) {
        if let Self::Tls(stream) = self {
            let (socket, session) = stream.get_mut();
            session.send_close_notify();
            while session.wants_write() && session.write_tls(&mut TryWrite(socket)).is_ok() {}
        }
    }
}

struct TryWrite<'a>(&'a Socket);

impl Write for TryWrite<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0 {
            Socket::Tcp(stream) => stream.try_write(bytes),
            Socket::Unix(stream) => stream.try_write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
            Self::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, parts),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::ServerConfig;
    use rustls::pki_types::PrivatePkcs8KeyDer;
    use tokio_rustls::TlsAcceptor;

    use super::*;
    use crate::tls;

    /// How much of a large frame goes out at once, when an output has so many connections.
    async fn written_at_once(connections: usize) -> usize {
        let own = rcgen::generate_simple_self_signed(["receiver".to_owned()]).unwrap();
        let key = PrivatePkcs8KeyDer::from(own.signing_key.serialize_der());
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key.into())
            .unwrap();
        let settings = tls::Settings { verify: false, ..tls::Settings::default() };
        let client = tls::Client::new("forward.0", settings).unwrap();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let (stream, receiver) =
            tokio::join!(client.connect("receiver", Socket::Unix(ours)), acceptor.accept(theirs));
        let mut wire = Wire::tls(stream.unwrap(), connections);
        let frame = vec![0; 1 << 20];
        let written = poll_fn(|cx| wire.poll_write(cx, &[IoSlice::new(&frame)])).await.unwrap();
        drop(receiver);
        written
    }

    #[tokio::test]
    async fn tls_takes_a_whole_frame_at_once_and_many_connections_share_that_room() {
        assert_eq!(written_at_once(1).await, 1 << 20);
        assert_eq!(written_at_once(4).await, ENCRYPTED_AT_ONCE / 4);
        assert_eq!(written_at_once(100).await, LEAST_AT_ONCE);
    }
}

//! Accepts connections.
//!
//! In:  an address, limits, a sink
//! Out: a task for each connection

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::task::LocalSet;

use super::connection::Connection;
use crate::protocol::{Frame, Limits};

/// How long no connection is accepted after the system had none to give, mostly for want of
/// descriptors: without a wait the loop would turn as fast as it can.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The sink takes nothing any more. The frame stays without an ack, and its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("whoever took the events has gone")]
pub struct SinkClosed;

/// Listens on a TCP port for senders of the forward protocol.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    /// Listens on `address`; port 0 lets the system choose one.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(address).await?, limits: Limits::default() })
    }

    /// Takes larger or only smaller frames than by default.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Where it listens, with the port the system chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is dropped, on the runtime's own thread (`current_thread`).
    ///
    /// `sink` gets each frame once it is known to be good. When it returns `Ok`, the frame is
    /// acknowledged; while it has not returned, nothing more is read from that connection. With
    /// several connections it is called again before it has returned.
    pub async fn run<S>(self, sink: S)
    where
        S: AsyncFn(&Frame<'_>) -> Result<(), SinkClosed> + 'static,
    {
        let connections = LocalSet::new();
        connections.run_until(self.accept(Rc::new(sink))).await;
    }

    async fn accept<S>(self, sink: Rc<S>)
    where
        S: AsyncFn(&Frame<'_>) -> Result<(), SinkClosed> + 'static,
    {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, Rc::clone(&sink)),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve<S>(&self, stream: TcpStream, peer: SocketAddr, sink: Rc<S>)
    where
        S: AsyncFn(&Frame<'_>) -> Result<(), SinkClosed> + 'static,
    {
        let limits = self.limits;
        tokio::task::spawn_local(async move {
            // An ack is small and waited for.
            stream.set_nodelay(true).ok();
            let connection = Connection::new(stream, limits);
            if let Err(end) = connection.serve(sink.as_ref()).await {
                end.log(peer);
            }
        });
    }
}

//! Accepts connections.
//!
//! In:  an address, limits, whom to let in, a sink
//! Out: a task for each connection

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::LocalSet;

use super::connection::serve;
use super::door::{Door, DoorError};
use super::end::End;
use super::fault::Fault;
use super::settings::Security;
use crate::protocol::handshake::Random;
use crate::protocol::{Frame, Limits};
use crate::tls;

/// How long no connection is accepted after the system had none to give, mostly for want of
/// descriptors: without a wait the loop would turn as fast as it can.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How many connections are served at once. Further ones wait to be accepted: each may hold a
/// frame in memory.
const CONNECTIONS: usize = 512;

/// The sink takes nothing any more. The frame stays without an ack, and its connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("whoever took the events has gone")]
pub struct SinkClosed;

/// Listens on a TCP port for senders of the forward protocol.
pub struct Server {
    listener: TcpListener,
    limits: Limits,
    connections: usize,
    door: Rc<Door>,
    fault: Option<Fault>,
}

impl Server {
    /// Listens on `address`; port 0 lets the system choose one.
    pub async fn bind(address: impl ToSocketAddrs) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let limits = Limits::default();
        let door = Rc::new(Door::open());
        Ok(Self { listener, limits, connections: CONNECTIONS, door, fault: None })
    }

    /// Takes larger or only smaller frames than by default.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Serves more or fewer connections at once than by default.
    #[must_use]
    pub fn with_connections(self, connections: usize) -> Self {
        Self { connections, ..self }
    }

    /// Speaks TLS, and lets in only those who know what `security` wants. `name` is what logs call
    /// it; `random` gives bytes that nobody can guess.
    pub fn with_door(
        self,
        name: &str,
        tls: Option<tls::Settings>,
        security: Option<Security>,
        random: fn() -> Random,
    ) -> Result<Self, DoorError> {
        let door = Rc::new(Door::new(name, tls, security, random)?);
        Ok(Self { door, ..self })
    }

    /// Does something wrong.
    #[must_use]
    pub fn with_fault(self, fault: Fault) -> Self {
        Self { fault: Some(fault), ..self }
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
        let places = Arc::new(Semaphore::new(self.connections));
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            let place = place.expect("nobody closes the semaphore");
            match self.listener.accept().await {
                Ok((stream, peer)) => self.serve(stream, peer, Rc::clone(&sink), place),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn serve<S>(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        sink: Rc<S>,
        place: OwnedSemaphorePermit,
    ) where
        S: AsyncFn(&Frame<'_>) -> Result<(), SinkClosed> + 'static,
    {
        let (limits, fault) = (self.limits, self.fault);
        let door = Rc::clone(&self.door);
        tokio::task::spawn_local(async move {
            // An ack is small and waited for.
            stream.set_nodelay(true).ok();
            let (from, peer) = (Some(peer.ip()), peer.to_string());
            let served = async {
                match door.admit(Box::new(stream), from).await? {
                    Some(admitted) => serve(admitted, &peer, limits, fault, sink.as_ref()).await,
                    None => Ok(()),
                }
            };
            if let Err(end) = served.await {
                tell(&end, &peer);
            }
            drop(place);
        });
    }
}

fn tell(end: &End, peer: &str) {
    match end.offset() {
        Some(offset) => {
            tracing::warn!(%peer, offset, reason = %end, "refused what a sender sent and closed its connection");
        }
        None if end.is_worth_a_look() => {
            tracing::warn!(%peer, reason = %end, "did not let a sender in");
        }
        None => tracing::debug!(%peer, reason = %end, "a connection ended"),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[test]
    fn a_connection_too_many_waits_until_another_ends() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = Server::bind("127.0.0.1:0").await.unwrap().with_connections(1);
            let address = server.local_addr().unwrap();
            let tags = Rc::new(RefCell::new(String::new()));
            let taken = Rc::clone(&tags);
            let serving = server.run(async move |frame: &Frame<'_>| {
                taken.borrow_mut().push_str(frame.tag);
                Ok(())
            });
            let talk = async {
                let mut first = TcpStream::connect(address).await.unwrap();
                let mut second = TcpStream::connect(address).await.unwrap();
                let mut ack = [0; 8];
                second.write_all(b"\x94\xa12\x01\x80\x81\xa5chunk\xa2no").await.unwrap();
                first.write_all(b"\x94\xa11\x01\x80\x81\xa5chunk\xa2no").await.unwrap();
                first.read_exact(&mut ack).await.unwrap();
                assert_eq!(*tags.borrow(), "1", "although the second was sent before");
                drop(first);
                second.read_exact(&mut ack).await.unwrap();
                assert_eq!(*tags.borrow(), "12");
            };
            tokio::select! {
                () = serving => unreachable!("a server serves until it is dropped"),
                () = talk => {}
            }
        });
    }
}

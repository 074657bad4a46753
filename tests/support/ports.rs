//! Ports that stay free.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockAddr, Socket, Type};

use super::wait_until;

/// Holds a port of the loopback without listening on it: connections are refused, whoever asks
/// for *this* port may listen, and the system gives it to nobody else, who would otherwise get
/// it for an outgoing connection sooner or later.
pub struct ReservedPort {
    _socket: Socket,
    address: SocketAddr,
}

impl ReservedPort {
    /// Reserves a port; 0 lets the system choose one.
    pub fn new(port: u16) -> Self {
        Self::at(Ipv4Addr::LOCALHOST, port)
    }

    /// Reserves it on another address of the loopback.
    pub fn at(address: Ipv4Addr, port: u16) -> Self {
        let socket = bound((address, port).into());
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { _socket: socket, address }
    }

    /// The address to listen on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on it. One that listened before may linger for a moment: a process that another
    /// thread is starting has a copy of every descriptor until it is the other program.
    pub fn listen(&self) -> TcpListener {
        self.listen_for(128)
    }

    /// The same, with a queue of so many connections (and one more, on Linux).
    pub fn listen_for(&self, backlog: i32) -> TcpListener {
        let mut socket = None;
        wait_until("nobody listens on the port", || {
            socket = try_bound(self.address).ok();
            socket.is_some()
        });
        let socket = socket.expect("it was waited for");
        socket.listen(backlog).unwrap();
        socket.into()
    }

    /// A connection to it, if it is made soon.
    pub fn connect_soon(&self) -> Option<TcpStream> {
        TcpStream::connect_timeout(&self.address, Duration::from_millis(200)).ok()
    }
}

fn bound(address: SocketAddr) -> Socket {
    try_bound(address).unwrap_or_else(|error| panic!("cannot have {address}: {error}"))
}

fn try_bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_cloexec(true)?;
    // Lets two sockets have the port while at most one of them listens.
    socket.set_reuse_address(true)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket)
}

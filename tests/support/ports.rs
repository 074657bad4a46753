//! Ports that stay free.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use socket2::{Domain, SockAddr, Socket, Type};

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
        let socket = bound((Ipv4Addr::LOCALHOST, port).into());
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        Self { _socket: socket, address }
    }

    /// The address to listen on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens on it.
    pub fn listen(&self) -> TcpListener {
        let socket = bound(self.address);
        socket.listen(128).unwrap();
        socket.into()
    }
}

fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_cloexec(true).unwrap();
    // Lets two sockets have the port while at most one of them listens.
    socket.set_reuse_address(true).unwrap();
    socket
        .bind(&SockAddr::from(address))
        .unwrap_or_else(|error| panic!("cannot have {address}: {error}"));
    socket
}

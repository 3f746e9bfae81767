//! Media sockets: never block, marked for expedited forwarding.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Differentiated services: expedited forwarding (RFC 3246, code point 46), in the place where the
/// header has it.
const DSCP_EXPEDITED: u32 = 46 << 2;

/// Binds a socket for RTP or RTCP.
pub fn bind_media(address: IpAddr, port: u16) -> io::Result<UdpSocket> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_tos_v4(DSCP_EXPEDITED)?,
        SocketAddr::V6(_) => {
            socket.set_only_v6(true)?;
            socket.set_tclass_v6(DSCP_EXPEDITED)?;
        }
    }
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

/// Binds the socket for links; its buffers are as large as the system grants.
pub fn bind_link(address: SocketAddr, buffer: usize) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.bind(&SockAddr::from(address))?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: packets leave marked, the socket never blocks, and a port in use is told.
    #[test]
    fn media_sockets_are_marked() {
        let socket = bind_media([127, 0, 0, 1].into(), 0).expect("a free port");
        let marked = socket2::SockRef::from(&socket).tos_v4().expect("readable");
        assert_eq!(marked, 46 << 2);
        let error = socket.recv_from(&mut [0; 1]).expect_err("nothing is there");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let port = socket.local_addr().expect("bound").port();
        let error = bind_media([127, 0, 0, 1].into(), port).expect_err("in use");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}

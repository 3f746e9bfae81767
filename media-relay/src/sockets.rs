//! Media sockets: never block, marked for expedited forwarding. Ports for streams between programs:
//! short segments.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::limits::SEGMENT_BYTES_MAX;

/// Differentiated services: expedited forwarding (RFC 3246, code point 46), in the place where the
/// header has it.
const DSCP_EXPEDITED: u32 = 46 << 2;
/// Connections that wait to be accepted; the kernel may allow fewer.
const CONNECTIONS_WAITING_MAX: i32 = 1_024;

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

/// Listens for connections that cross networks of unknown packet size: both directions of each have
/// segments of at most [`SEGMENT_BYTES_MAX`]. The caller's side learns it in the handshake.
pub fn listen_stream(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // As the standard library does: a restarted program gets its port back.
    socket.set_reuse_address(true)?;
    socket.set_tcp_mss(SEGMENT_BYTES_MAX)?;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(CONNECTIONS_WAITING_MAX)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: both ends of a stream cut what they send into short segments, over IPv4 and IPv6.
    #[test]
    fn segments_are_short() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let no_ipv6 = UdpSocket::bind("[::1]:0").is_err();
            if no_ipv6 && address.starts_with('[') {
                continue;
            }
            let listener = listen_stream(address.parse().expect("an address")).expect("a port");
            listener.set_nonblocking(false).expect("blocks");
            let to = listener.local_addr().expect("bound");
            let caller = std::net::TcpStream::connect(to).expect("listens");
            let (called, _) = listener.accept().expect("connected");
            for end in [&caller, &called] {
                let mss = socket2::SockRef::from(end).tcp_mss().expect("readable");
                assert!((500..=SEGMENT_BYTES_MAX).contains(&mss), "{address}: {mss}");
            }
        }
    }

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

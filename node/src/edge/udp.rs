//! SIP over UDP.

use std::{
    io,
    net::{SocketAddr, UdpSocket as StdSocket},
    sync::Arc,
};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};
use tandem_callcontrol::io::Input;
use tandem_sip::{message::parse_datagram, transaction::Flow};
use tokio::{net::UdpSocket, sync::mpsc::error::TrySendError};

use super::Inbox;
use crate::exit::{Exit, port_error};

/// Bytes that the kernel keeps for us while we are busy; it may grant less.
const BUFFER_BYTES: usize = 4 * 1024 * 1024;
/// Largest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// Our UDP sockets.
#[derive(Debug)]
pub struct UdpEdge {
    sockets: Vec<Arc<Pair>>,
}

/// One socket, twice: receiving waits in the runtime, sending never waits.
#[derive(Debug)]
struct Pair {
    at: SocketAddr,
    receiving: UdpSocket,
    sending: StdSocket,
}

impl UdpEdge {
    /// Opens the sockets.
    ///
    /// # Errors
    /// [`Exit::Port`].
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, Exit> {
        let open = |at: &SocketAddr| {
            open(*at).map(Arc::new).map_err(|error| port_error("[sip] udp", *at, &error))
        };
        Ok(Self { sockets: addresses.iter().map(open).collect::<Result<_, _>>()? })
    }

    /// Begins to receive; what came in before is dropped, because its senders have given up on it.
    pub fn start(&self, inbox: &Inbox) {
        for socket in &self.sockets {
            tokio::spawn(receive(Arc::clone(socket), inbox.clone()));
        }
    }

    /// Sends a datagram. One that the kernel has no room for is lost like any other: the sender's
    /// timers repeat it.
    ///
    /// # Errors
    /// When it cannot be sent that way at all.
    pub fn send(&self, flow: &Flow, bytes: &[u8]) -> io::Result<()> {
        let socket = self
            .sockets
            .iter()
            .find(|socket| socket.at == flow.local)
            .or_else(|| self.sockets.first())
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        match socket.sending.send_to(bytes, flow.remote) {
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn open(at: SocketAddr) -> io::Result<Pair> {
    let socket = Socket::new(Domain::for_address(at), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_recv_buffer_size(BUFFER_BYTES)?;
    socket.set_send_buffer_size(BUFFER_BYTES)?;
    socket.bind(&at.into())?;
    let sending = StdSocket::from(socket);
    let receiving = UdpSocket::from_std(sending.try_clone()?)?;
    Ok(Pair { at: sending.local_addr()?, receiving, sending })
}

async fn receive(socket: Arc<Pair>, inbox: Inbox) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while socket.sending.recv_from(&mut buffer).is_ok() {}
    let mut dropped = 0_u64;
    loop {
        let (len, from) = match socket.receiving.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(error) => {
                // An ICMP error of an earlier datagram; the socket itself goes on.
                tracing::debug!(at = %socket.at, %error, "receiving met an error");
                tokio::task::yield_now().await;
                continue;
            }
        };
        let Some(datagram) = buffer.get(..len) else { continue };
        if is_keep_alive(datagram) {
            continue;
        }
        let source = Flow::udp(socket.at, from);
        let input = match parse_datagram(Bytes::copy_from_slice(datagram)) {
            Ok(message) => Input::Received { source, message },
            Err(failure) => Input::Malformed { source, failure: Box::new(failure) },
        };
        match inbox.try_send(input) {
            Ok(()) => dropped = 0,
            Err(TrySendError::Full(_)) => {
                dropped += 1;
                if dropped.is_power_of_two() {
                    tracing::warn!(dropped, "call control is busy: datagrams are dropped");
                }
            }
            Err(TrySendError::Closed(_)) => return,
        }
    }
}

/// Line breaks and zeros keep NATs open (RFC 5626 section 3.5.1 and what phones send instead).
fn is_keep_alive(datagram: &[u8]) -> bool {
    datagram.len() <= 8 && datagram.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0 | b' '))
}

//! Where messages come from and go to: transport, addresses, and for streams the connection.

use crate::limits::UDP_REQUEST_BYTES_MAX;
use crate::message::{BRANCH_COOKIE, Host, Rport, Via};
use crate::prng::Prng;
use crate::text::SipText;
use std::net::{IpAddr, SocketAddr};

/// How a message travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams: the transaction machines send again.
    Udp,
    /// A stream.
    Tcp,
    /// A stream under TLS.
    Tls,
}

impl Transport {
    /// Streams deliver by themselves, so the machines run without retransmissions (RFC 3261 section
    /// 17.1.1.2).
    pub fn is_reliable(self) -> bool {
        self != Self::Udp
    }

    /// The name in a Via.
    pub fn via_name(self) -> SipText {
        match self {
            Self::Udp => SipText::from_static("UDP"),
            Self::Tcp => SipText::from_static("TCP"),
            Self::Tls => SipText::from_static("TLS"),
        }
    }

    /// The port when none is written (RFC 3261 section 19.1.2).
    pub fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

/// A connection of the shell's, opaque to this crate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One way between two sockets. As a source: where a message came in; as a destination: where it
/// leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// Transport.
    pub transport: Transport,
    /// Our socket.
    pub local: SocketAddr,
    /// The peer's socket.
    pub remote: SocketAddr,
    /// The connection, for streams. `None` in a destination lets the shell use or open one to `remote`.
    pub connection: Option<ConnectionId>,
}

impl Flow {
    /// A way by datagrams.
    pub fn udp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self { transport: Transport::Udp, local, remote, connection: None }
    }
}

/// Where a request goes and what its Via says about us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The way.
    pub flow: Flow,
    /// Host that the peer can answer to; not always the socket's (NAT, floating addresses).
    pub sent_by_host: Host,
    /// Its port.
    pub sent_by_port: Option<u16>,
}

impl Hop {
    /// A hop whose Via names our own socket.
    pub fn from_flow(flow: Flow) -> Self {
        Self {
            flow,
            sent_by_host: Host::from_address(flow.local.ip()),
            sent_by_port: Some(flow.local.port()),
        }
    }

    /// A Via of ours with a fresh branch.
    pub fn via(&self, prng: &mut Prng) -> Via {
        Via::new(
            self.flow.transport.via_name(),
            self.sent_by_host.clone(),
            self.sent_by_port,
            fresh_branch(prng),
        )
    }
}

/// Whether a request of this length may go as a datagram over a path whose MTU is unknown (RFC 3261
/// section 18.1.1); a longer one goes over a stream. Responses go as their request came.
pub fn fits_datagram(request_bytes: usize) -> bool {
    request_bytes <= UDP_REQUEST_BYTES_MAX
}

/// A branch that no other transaction has (RFC 3261 section 8.1.1.7).
pub fn fresh_branch(prng: &mut Prng) -> SipText {
    let mut branch = BRANCH_COOKIE.to_vec();
    branch.extend_from_slice(prng.token().as_bytes());
    SipText::trusted(branch.into())
}

/// Whether responses over UDP go to the source port also when the client did not ask by `rport`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SymmetricResponses {
    /// As RFC 3581 says: only when the Via has `rport`.
    #[default]
    WhenAsked,
    /// Always: for phones behind NAT that do not know RFC 3581.
    Always,
}

/// Where the response to a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyRoute {
    /// The way to use.
    pub flow: Flow,
    /// For streams whose connection is gone: open one to this address (RFC 3261 section 18.2.2).
    pub reconnect: Option<SocketAddr>,
}

/// Fills `received` and `rport` into the top Via of a request (RFC 3261 section 18.2.1, RFC 3581
/// section 4) and says where its response goes (RFC 3261 section 18.2.2).
///
/// `maddr` is not followed, against section 18.2.2: it serves multicast, which we do not speak, and
/// would let anybody point our responses at a third party.
pub(crate) fn mark_source(
    via: &mut Via,
    source: &Flow,
    symmetric: SymmetricResponses,
) -> ReplyRoute {
    let source_ip = unmapped(source.remote.ip());
    let asked = via.rport() != Rport::Absent;
    if asked {
        via.params.set(SipText::from_static("rport"), Some(u32::from(source.remote.port()).into()));
    }
    if asked || via.host.address().map(unmapped) != Some(source_ip) {
        let text = SipText::composed(source_ip.to_string());
        via.params.set(SipText::from_static("received"), Some(text));
    } else {
        // A peer that writes its own "received" must not steer our response.
        via.params.remove("received");
    }
    let sent_by_port = via.port.unwrap_or(source.transport.default_port());
    let sent_by = SocketAddr::new(source.remote.ip(), sent_by_port);
    if source.transport.is_reliable() {
        return ReplyRoute { flow: *source, reconnect: Some(sent_by) };
    }
    let to_source = asked || symmetric == SymmetricResponses::Always;
    let remote = if to_source { source.remote } else { sent_by };
    ReplyRoute { flow: Flow { remote, ..*source }, reconnect: None }
}

/// An IPv4 address that a dual-stack socket shows as IPv6 is still that IPv4 address.
fn unmapped(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, parse_datagram};

    fn via(text: &str) -> Via {
        let message = format!(
            "OPTIONS sip:h SIP/2.0\r\nVia: {text}\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\n\
             Call-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
        );
        match parse_datagram(message.into_bytes()).unwrap() {
            Message::Request(request) => request.vias[0].clone(),
            Message::Response(_) => unreachable!("a request"),
        }
    }

    fn source(transport: Transport) -> Flow {
        Flow {
            transport,
            local: "198.51.100.1:5060".parse().unwrap(),
            remote: "192.0.2.9:40000".parse().unwrap(),
            connection: transport.is_reliable().then_some(ConnectionId(3)),
        }
    }

    // Goal: the table of RFC 3261 section 18.2 and RFC 3581 section 4: what is filled in, where the
    // response goes.
    #[test]
    fn response_routes() {
        use SymmetricResponses::{Always, WhenAsked};
        let rows = [
            (
                "SIP/2.0/UDP 192.0.2.9:5070;branch=z",
                WhenAsked,
                None,
                Rport::Absent,
                "192.0.2.9:5070",
            ),
            ("SIP/2.0/UDP 192.0.2.9;branch=z", WhenAsked, None, Rport::Absent, "192.0.2.9:5060"),
            (
                "SIP/2.0/UDP 10.0.0.1:5070;branch=z",
                WhenAsked,
                Some("192.0.2.9"),
                Rport::Absent,
                "192.0.2.9:5070",
            ),
            (
                "SIP/2.0/UDP phone.example;branch=z",
                WhenAsked,
                Some("192.0.2.9"),
                Rport::Absent,
                "192.0.2.9:5060",
            ),
            (
                "SIP/2.0/UDP 10.0.0.1:5070;rport;branch=z",
                WhenAsked,
                Some("192.0.2.9"),
                Rport::Filled(40000),
                "192.0.2.9:40000",
            ),
            (
                "SIP/2.0/UDP 192.0.2.9:5070;branch=z;rport",
                WhenAsked,
                Some("192.0.2.9"),
                Rport::Filled(40000),
                "192.0.2.9:40000",
            ),
            (
                "SIP/2.0/UDP 192.0.2.9;rport=1;received=203.0.113.1",
                WhenAsked,
                Some("192.0.2.9"),
                Rport::Filled(40000),
                "192.0.2.9:40000",
            ),
            (
                "SIP/2.0/UDP 192.0.2.9;received=203.0.113.1",
                WhenAsked,
                None,
                Rport::Absent,
                "192.0.2.9:5060",
            ),
            (
                "SIP/2.0/UDP 10.0.0.1:5070;branch=z",
                Always,
                Some("192.0.2.9"),
                Rport::Absent,
                "192.0.2.9:40000",
            ),
            (
                "SIP/2.0/UDP 192.0.2.9;maddr=203.0.113.1",
                WhenAsked,
                None,
                Rport::Absent,
                "192.0.2.9:5060",
            ),
        ];
        for (text, symmetric, received, rport, remote) in rows {
            let mut via = via(text);
            let route = mark_source(&mut via, &source(Transport::Udp), symmetric);
            assert_eq!(via.received().map(|a| a.to_string()).as_deref(), received, "{text}");
            assert_eq!(via.rport(), rport, "{text}");
            assert_eq!(route.flow.remote.to_string(), remote, "{text}");
            assert_eq!(route.flow.local, source(Transport::Udp).local);
            assert_eq!(route.reconnect, None);
        }
    }

    // Goal: on a stream the response uses the same connection, and the Via names the place to
    // reconnect to.
    #[test]
    fn streams_reuse_their_connection() {
        let mut via = via("SIP/2.0/TLS 10.0.0.1:5080;branch=z;rport");
        let route = mark_source(&mut via, &source(Transport::Tls), SymmetricResponses::WhenAsked);
        assert_eq!(route.flow, source(Transport::Tls));
        assert_eq!(route.reconnect, Some("192.0.2.9:5080".parse().unwrap()));
        assert_eq!(via.rport(), Rport::Filled(40000));
    }

    // Goal: 1300 bytes go as a datagram, 1301 do not (RFC 3261 section 18.1.1).
    #[test]
    fn datagram_size() {
        assert!(fits_datagram(1_300) && !fits_datagram(1_301));
    }

    // Goal: an IPv4 peer on a dual-stack socket is the address that its Via says.
    #[test]
    fn mapped_addresses() {
        let mut via = via("SIP/2.0/UDP 192.0.2.9:5070;branch=z");
        let remote = "[::ffff:192.0.2.9]:40000".parse().unwrap();
        let source = Flow::udp("[::]:5060".parse().unwrap(), remote);
        let route = mark_source(&mut via, &source, SymmetricResponses::WhenAsked);
        assert_eq!(via.received(), None);
        assert_eq!(route.flow.remote.port(), 5070);
    }
}

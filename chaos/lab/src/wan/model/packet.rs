//! The few header fields of an IP packet that a link looks at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::settings::Protocol;

/// What a link may decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sender.
    pub source: IpAddr,
    /// Receiver.
    pub destination: IpAddr,
    /// Protocol above IP. Extension headers of IPv6 are not followed: the first one counts.
    pub protocol: Protocol,
    /// Source and destination port of UDP and TCP. None in later fragments.
    pub ports: Option<(u16, u16)>,
}

impl Header {
    /// Reads an IPv4 (RFC 791) or IPv6 (RFC 8200) packet. None if it is neither, or cut short.
    #[must_use]
    pub fn parse(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::parse_v4(packet),
            6 => Self::parse_v6(packet),
            _ => None,
        }
    }

    fn parse_v4(packet: &[u8]) -> Option<Self> {
        let header_bytes = usize::from(packet.first()? & 0x0f) * 4;
        if header_bytes < 20 || packet.len() < header_bytes {
            return None;
        }
        let protocol = Protocol(*packet.get(9)?);
        let fragment_offset = u16::from_be_bytes(array(packet, 6)?) & 0x1fff;
        let first = fragment_offset == 0;
        Some(Self {
            source: Ipv4Addr::from(array::<4>(packet, 12)?).into(),
            destination: Ipv4Addr::from(array::<4>(packet, 16)?).into(),
            protocol,
            ports: if first { ports(packet.get(header_bytes..)?, protocol) } else { None },
        })
    }

    fn parse_v6(packet: &[u8]) -> Option<Self> {
        let protocol = Protocol(*packet.get(6)?);
        Some(Self {
            source: Ipv6Addr::from(array::<16>(packet, 8)?).into(),
            destination: Ipv6Addr::from(array::<16>(packet, 24)?).into(),
            protocol,
            ports: ports(packet.get(40..)?, protocol),
        })
    }
}

fn ports(payload: &[u8], protocol: Protocol) -> Option<(u16, u16)> {
    if protocol != Protocol::UDP && protocol != Protocol::TCP {
        return None;
    }
    Some((u16::from_be_bytes(array(payload, 0)?), u16::from_be_bytes(array(payload, 2)?)))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A UDP packet of the given length, for tests of the model.
    pub(crate) fn udp(
        source: [u8; 4],
        destination: [u8; 4],
        ports: (u16, u16),
        len: usize,
    ) -> Vec<u8> {
        let mut packet = vec![0; len.max(28)];
        packet[0] = 0x45;
        packet[9] = 17;
        packet[12..16].copy_from_slice(&source);
        packet[16..20].copy_from_slice(&destination);
        packet[20..22].copy_from_slice(&ports.0.to_be_bytes());
        packet[22..24].copy_from_slice(&ports.1.to_be_bytes());
        packet
    }

    /// Addresses, protocol and ports are read where the RFCs put them.
    #[test]
    fn fields_are_read_from_their_places() {
        let v4 = udp([10, 0, 0, 1], [10, 0, 0, 2], (1000, 5060), 60);
        let header = Header::parse(&v4).unwrap();
        assert_eq!(header.source, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(header.destination, IpAddr::from([10, 0, 0, 2]));
        assert_eq!((header.protocol, header.ports), (Protocol::UDP, Some((1000, 5060))));

        let mut options = v4.clone();
        options[0] = 0x46;
        options[24..28].copy_from_slice(&[0x12, 0x34, 0x56, 0x78]);
        assert_eq!(Header::parse(&options).unwrap().ports, Some((0x1234, 0x5678)));

        let mut later_fragment = v4.clone();
        later_fragment[7] = 1;
        assert_eq!(Header::parse(&later_fragment).unwrap().ports, None);

        let mut icmp = v4;
        icmp[9] = 1;
        assert_eq!(Header::parse(&icmp).unwrap().ports, None);

        let mut v6 = vec![0; 48];
        (v6[0], v6[6], v6[23], v6[39]) = (0x60, 6, 1, 2);
        v6[40..44].copy_from_slice(&[0, 80, 1, 0]);
        let header = Header::parse(&v6).unwrap();
        assert_eq!(header.source, "::1".parse::<IpAddr>().unwrap());
        assert_eq!(header.destination, "::2".parse::<IpAddr>().unwrap());
        assert_eq!((header.protocol, header.ports), (Protocol::TCP, Some((80, 256))));
    }

    proptest! {
        /// Whatever a host sends, reading its header ends without a panic.
        #[test]
        fn any_bytes_are_read_or_refused(packet in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(header) = Header::parse(&packet) {
                prop_assert!(packet.len() >= 20);
                prop_assert_eq!(header.source.is_ipv4(), packet[0] >> 4 == 4);
            }
        }
    }
}

//! What two relays say to each other over their QUIC connection, byte by byte.
//!
//! *Datagrams* carry media as in RTP over QUIC (draft-ietf-avtcore-rtp-over-quic, section on
//! encapsulation in datagrams): a flow id as a QUIC variable-length integer, then one RTP or RTCP
//! packet. The flow id is the destination leg's ordinal and one bit for RTCP.
//!
//! *One bidirectional stream* carries control messages: two bytes of length, one of type, the body.
//! Both sides begin with a [`Hello`]. Unknown types are skipped, so that a later version can add
//! some.
//!
//! What does not live here: QUIC, certificates, reconnecting (`media-relay`).

use thiserror::Error;

use crate::{
    ids::{IdError, LegId, RelayId},
    limits::{CLUSTER_ID_LEN_MAX, LEG_ORDINAL_END, LINK_MESSAGE_MAX},
};

/// Name of this protocol in the TLS handshake (RFC 7301).
pub const ALPN: &[u8] = b"tandem-link/1";
/// Versions of the messages below that this build speaks.
pub const VERSIONS: VersionRange = VersionRange { lowest: 1, highest: 1 };
/// Longest flow id, in bytes.
pub const FLOW_ID_LEN_MAX: usize = 8;

const MAGIC: [u8; 4] = *b"TNDM";
const TYPE_HELLO: u8 = 1;
const TYPE_PING: u8 = 2;
const TYPE_PONG: u8 = 3;
/// Length and type.
const HEAD_LEN: usize = 3;

/// Which kind of packet a flow carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FlowKind {
    /// RTP.
    Rtp,
    /// RTCP. Nothing sends it today: reports end at each relay.
    Rtcp,
}

/// Where a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    ordinal: u64,
    kind: FlowKind,
}

impl FlowId {
    /// The flow towards `leg`. The leg's group is that of the link.
    pub const fn towards(leg: LegId, kind: FlowKind) -> Self {
        Self { ordinal: leg.ordinal(), kind }
    }

    /// Ordinal of the destination leg, below 2^61.
    pub const fn ordinal(self) -> u64 {
        self.ordinal
    }

    /// RTP or RTCP.
    pub const fn kind(self) -> FlowKind {
        self.kind
    }

    const fn value(self) -> u64 {
        let bit = match self.kind {
            FlowKind::Rtp => 0,
            FlowKind::Rtcp => 1,
        };
        (self.ordinal << 1) | bit
    }
}

/// Writes a datagram into `buffer` and returns its length, or `None` when it does not fit.
pub fn write_datagram(flow: FlowId, packet: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let (head, head_len) = encode_varint(flow.value());
    let len = head_len + packet.len();
    let datagram = buffer.get_mut(..len)?;
    let (id, body) = datagram.split_at_mut_checked(head_len)?;
    id.copy_from_slice(head.get(..head_len)?);
    body.copy_from_slice(packet);
    Some(len)
}

/// Reads a datagram: its flow and the packet inside.
pub fn parse_datagram(bytes: &[u8]) -> Result<(FlowId, &[u8]), LinkError> {
    let (value, packet) = decode_varint(bytes).ok_or(LinkError::Truncated)?;
    let kind = if value & 1 == 0 { FlowKind::Rtp } else { FlowKind::Rtcp };
    Ok((FlowId { ordinal: value >> 1, kind }, packet))
}

/// RFC 9000 section 16: the two highest bits give the length. `value` is below 2^62.
fn encode_varint(value: u64) -> ([u8; FLOW_ID_LEN_MAX], usize) {
    let (prefix, len) = match value {
        0..0x40 => (0, 1),
        0x40..0x4000 => (1, 2),
        0x4000..0x4000_0000 => (2, 4),
        _ => (3u64, 8),
    };
    let shifted = (value << (64 - 8 * len)) | (prefix << 62);
    (shifted.to_be_bytes(), len)
}

fn decode_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let first = *bytes.first()?;
    let len = 1usize << (first >> 6);
    let (id, rest) = bytes.split_at_checked(len)?;
    let value = id.iter().fold(0u64, |value, byte| (value << 8) | u64::from(*byte));
    let bits = 8 * len as u32 - 2;
    Some((value & (u64::MAX >> (64 - bits)), rest))
}

/// An inclusive range of protocol versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VersionRange {
    /// Oldest version that is spoken.
    pub lowest: u16,
    /// Newest version that is spoken.
    pub highest: u16,
}

impl VersionRange {
    /// The newest version that both speak.
    pub fn agree(self, other: Self) -> Option<u16> {
        let highest = self.highest.min(other.highest);
        (highest >= self.lowest.max(other.lowest)).then_some(highest)
    }
}

/// Which side of a pair dials, so that two relays that learn of each other at once make one
/// connection: the one with the smaller id.
pub fn dials(own: &RelayId, other: &RelayId) -> bool {
    own < other
}

/// A control message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlMessage {
    /// Who is there; the first message of both sides.
    Hello(Hello),
    /// Asks for a [`Pong`](Self::Pong) with the same number.
    Ping(u64),
    /// Answers a [`Ping`](Self::Ping).
    Pong(u64),
    /// A message of a later version, to be skipped.
    Unknown(u8),
}

/// Who is at the other end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Versions of the messages that the sender speaks.
    pub versions: VersionRange,
    /// The cluster that it belongs to.
    pub cluster: String,
    /// Group of the legs on this link.
    pub group: u32,
    /// Its name; must be the one in its certificate.
    pub relay: RelayId,
    /// Changes with every start of its process.
    pub incarnation: u64,
}

/// Why bytes of a link make no sense.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkError {
    /// Ends in the middle of a field.
    #[error("a message of the link ends in the middle of a field; the peer runs another protocol")]
    Truncated,
    /// Longer than any message of this protocol.
    #[error("a message of the link has {len} bytes, at most {max} are allowed; the link is closed")]
    TooLong {
        /// Announced length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A hello that does not begin as one.
    #[error("the hello of the link is not Tandem's; the peer runs another protocol")]
    NotTandem,
    /// A text that is no UTF-8 or too long.
    #[error("the cluster id in the hello is no text of at most {CLUSTER_ID_LEN_MAX} bytes")]
    Text,
    /// A relay id that is none.
    #[error("the relay id in the hello is unusable: {0}")]
    Relay(#[from] IdError),
}

impl ControlMessage {
    /// Appends the message to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut body = Vec::new();
        let kind = match self {
            Self::Hello(hello) => {
                hello.encode(&mut body);
                TYPE_HELLO
            }
            Self::Ping(number) => {
                body.extend(number.to_be_bytes());
                TYPE_PING
            }
            Self::Pong(number) => {
                body.extend(number.to_be_bytes());
                TYPE_PONG
            }
            Self::Unknown(kind) => *kind,
        };
        out.extend((body.len() as u16).to_be_bytes());
        out.push(kind);
        out.append(&mut body);
    }

    /// Reads the first message of `bytes` and how many bytes it took; `None` when it is not whole
    /// yet. At most [`LINK_MESSAGE_MAX`] bytes and the head are ever needed.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, LinkError> {
        let Some(([high, low, kind], rest)) = bytes.split_first_chunk::<HEAD_LEN>() else {
            return Ok(None);
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        if len > LINK_MESSAGE_MAX {
            return Err(LinkError::TooLong { len, max: LINK_MESSAGE_MAX });
        }
        let Some(body) = rest.get(..len) else { return Ok(None) };
        let message = match *kind {
            TYPE_HELLO => Self::Hello(Hello::decode(body)?),
            TYPE_PING => Self::Ping(take_u64(&mut &*body)?),
            TYPE_PONG => Self::Pong(take_u64(&mut &*body)?),
            other => Self::Unknown(other),
        };
        Ok(Some((message, HEAD_LEN + len)))
    }
}

impl Hello {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(MAGIC);
        out.extend(self.versions.lowest.to_be_bytes());
        out.extend(self.versions.highest.to_be_bytes());
        out.extend(self.group.to_be_bytes());
        out.extend(self.incarnation.to_be_bytes());
        for text in [self.cluster.as_str(), self.relay.as_str()] {
            let text = text.as_bytes();
            let text = text.get(..CLUSTER_ID_LEN_MAX).unwrap_or(text);
            out.push(text.len() as u8);
            out.extend(text);
        }
    }

    /// Fields that a later version may append are skipped.
    fn decode(mut body: &[u8]) -> Result<Self, LinkError> {
        let rest = &mut body;
        if take::<4>(rest)? != MAGIC {
            return Err(LinkError::NotTandem);
        }
        let lowest = u16::from_be_bytes(take(rest)?);
        let highest = u16::from_be_bytes(take(rest)?);
        let group = u32::from_be_bytes(take(rest)?);
        let incarnation = take_u64(rest)?;
        let cluster = take_text(rest)?.to_owned();
        let relay = RelayId::new(take_text(rest)?)?;
        Ok(Self { versions: VersionRange { lowest, highest }, cluster, group, relay, incarnation })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], LinkError> {
    let (field, behind) = rest.split_first_chunk::<N>().ok_or(LinkError::Truncated)?;
    *rest = behind;
    Ok(*field)
}

fn take_u64(rest: &mut &[u8]) -> Result<u64, LinkError> {
    Ok(u64::from_be_bytes(take(rest)?))
}

fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, LinkError> {
    let [len] = take::<1>(rest)?;
    let (text, behind) = rest.split_at_checked(usize::from(len)).ok_or(LinkError::Truncated)?;
    *rest = behind;
    if text.len() > CLUSTER_ID_LEN_MAX {
        return Err(LinkError::Text);
    }
    std::str::from_utf8(text).map_err(|_| LinkError::Text)
}

const _: () = assert!(LEG_ORDINAL_END == 1 << 61, "an ordinal and one bit fit a QUIC varint");

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello() -> Hello {
        Hello {
            versions: VERSIONS,
            cluster: "north".to_owned(),
            group: 0,
            relay: RelayId::new("milan-1").expect("test id"),
            incarnation: 0x0102_0304_0506_0708,
        }
    }

    // Goal: flow ids are QUIC varints of the length that RFC 9000 table 4 gives (its examples from
    // appendix A.1 included).
    #[test]
    fn varint_table() {
        let table: [(u64, &[u8]); 8] = [
            (0, &[0]),
            (37, &[0x25]),
            (63, &[0x3f]),
            (64, &[0x40, 0x40]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
            ((1 << 62) - 1, &[0xff; 8]),
        ];
        for (value, bytes) in table {
            let (encoded, len) = encode_varint(value);
            assert_eq!(&encoded[..len], bytes, "{value}");
            assert_eq!(decode_varint(bytes), Some((value, &[][..])), "{value}");
        }
        // A longer form than needed is allowed (RFC 9000 appendix A.1).
        assert_eq!(decode_varint(&[0x40, 0x25]), Some((37, &[][..])));
        assert_eq!(decode_varint(&[0x40]), None);
        assert_eq!(decode_varint(&[]), None);
    }

    // Goal: both sides come to the same version, or to none.
    #[test]
    fn version_table() {
        let range = |lowest, highest| VersionRange { lowest, highest };
        for (a, b, agreed) in [
            (range(1, 1), range(1, 1), Some(1)),
            (range(1, 3), range(2, 5), Some(3)),
            (range(1, 2), range(2, 2), Some(2)),
            (range(1, 1), range(2, 3), None),
            (range(3, 1), range(1, 3), None),
        ] {
            assert_eq!((a.agree(b), b.agree(a)), (agreed, agreed), "{a:?} {b:?}");
        }
    }

    // Goal: of two relays exactly one dials.
    #[test]
    fn one_side_dials() {
        let (a, b) = (RelayId::new("a").expect("id"), RelayId::new("b").expect("id"));
        assert!(dials(&a, &b) && !dials(&b, &a) && !dials(&a, &a));
    }

    // Goal: every control message survives the way, also in pieces and with fields of a later
    // version.
    #[test]
    fn control_round_trip() {
        for message in [
            ControlMessage::Hello(hello()),
            ControlMessage::Ping(7),
            ControlMessage::Pong(u64::MAX),
            ControlMessage::Unknown(200),
        ] {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            for len in 0..bytes.len() {
                assert_eq!(ControlMessage::decode(&bytes[..len]), Ok(None));
            }
            let len = bytes.len();
            bytes.extend(b"next");
            assert_eq!(ControlMessage::decode(&bytes), Ok(Some((message, len))));
        }
        let mut bytes = Vec::new();
        ControlMessage::Hello(hello()).encode(&mut bytes);
        bytes.extend([9, 9]);
        bytes[1] += 2;
        let len = bytes.len();
        let expected = Some((ControlMessage::Hello(hello()), len));
        assert_eq!(ControlMessage::decode(&bytes), Ok(expected));
    }

    // Goal: a hello that lies is refused with its reason.
    #[test]
    fn bad_hello_table() {
        let good = {
            let mut bytes = Vec::new();
            ControlMessage::Hello(hello()).encode(&mut bytes);
            bytes
        };
        let changed = |at: usize, value: u8| {
            let mut bytes = good.clone();
            bytes[at] = value;
            ControlMessage::decode(&bytes)
        };
        assert_eq!(changed(3, b'X'), Err(LinkError::NotTandem));
        assert_eq!(changed(23, 200), Err(LinkError::Truncated));
        assert_eq!(changed(24, 0xff), Err(LinkError::Text));
        assert!(matches!(changed(30, b'A'), Err(LinkError::Relay(_))));
        assert_eq!(changed(0, 0xff), Err(LinkError::TooLong { len: 0xff22, max: 512 }));
    }

    proptest! {
        // Goal: any packet to any leg arrives under its flow; a full buffer is told.
        #[test]
        fn datagram_round_trip(
            ordinal in 0..LEG_ORDINAL_END,
            rtcp: bool,
            packet in proptest::collection::vec(any::<u8>(), 0..1_100),
        ) {
            let kind = if rtcp { FlowKind::Rtcp } else { FlowKind::Rtp };
            let flow = FlowId::towards(LegId::new(0, ordinal).expect("in range"), kind);
            let mut buffer = [0; 1_200];
            let len = write_datagram(flow, &packet, &mut buffer).expect("fits");
            prop_assert_eq!(parse_datagram(&buffer[..len]), Ok((flow, &packet[..])));
            prop_assert_eq!(write_datagram(flow, &packet, &mut buffer[..len - 1]), None);
        }
    }
}

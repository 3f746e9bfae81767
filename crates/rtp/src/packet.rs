//! The RTP packet (RFC 3550 section 5.1): reading without copying, writing into a given buffer.
//!
//! What does not live here: RTCP ([`crate::rtcp`]), telephone-event payloads ([`crate::dtmf`]).

use thiserror::Error;

use crate::{
    ids::{PayloadType, Ssrc},
    time::RtpTime,
};

/// Length of the fixed header, in bytes.
pub const HEADER_LEN: usize = 12;
const VERSION: u8 = 2;

/// The fields of the fixed header that mean something to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// First packet after a pause or a change of source, for audio (RFC 3551 section 4.1).
    pub marker: bool,
    /// Seven bits; which codec it is was negotiated.
    pub payload_type: u8,
    /// Counts packets, modulo 2^16.
    pub sequence: u16,
    /// Counts samples, modulo 2^32.
    pub timestamp: RtpTime,
    /// Who sends this stream.
    pub ssrc: Ssrc,
}

/// A packet that was read: header, the first contributing source, payload without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpPacket<'a> {
    /// The fixed header.
    pub header: RtpHeader,
    /// The first contributing source, if the packet names one.
    pub contributor: Option<Ssrc>,
    /// What follows the header, contributing sources and extension, up to the padding.
    pub payload: &'a [u8],
}

/// Why bytes are not an RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtpError {
    /// Shorter than its own header says.
    #[error("RTP packet of {len} bytes is shorter than its header; it was dropped")]
    Truncated {
        /// Bytes that arrived.
        len: usize,
    },
    /// Version other than 2 (STUN, DTLS and noise end here as well).
    #[error("RTP version {version} instead of 2; the packet was dropped")]
    Version {
        /// The two version bits.
        version: u8,
    },
    /// Padding count of 0 or beyond the payload.
    #[error("RTP padding of {padding} bytes does not fit the payload; the packet was dropped")]
    Padding {
        /// The last byte of the packet.
        padding: u8,
    },
}

impl<'a> RtpPacket<'a> {
    /// Reads one packet. Extensions are skipped, padding is cut off.
    ///
    /// Never panics; every length comes from the packet and is checked (fuzzed in
    /// `tests/parsers.rs`).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtpError> {
        let truncated = RtpError::Truncated { len: bytes.len() };
        let (fixed, mut rest) = bytes.split_first_chunk::<HEADER_LEN>().ok_or(truncated)?;
        let version = fixed[0] >> 6;
        if version != VERSION {
            return Err(RtpError::Version { version });
        }
        let contributors = usize::from(fixed[0] & 0x0f) * 4;
        let (listed, behind) = rest.split_at_checked(contributors).ok_or(truncated)?;
        let contributor = listed.first_chunk::<4>().map(|word| Ssrc(u32::from_be_bytes(*word)));
        rest = behind;
        if fixed[0] & 0x10 != 0 {
            let (head, behind) = rest.split_first_chunk::<4>().ok_or(truncated)?;
            let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
            rest = behind.get(words * 4..).ok_or(truncated)?;
        }
        if fixed[0] & 0x20 != 0 {
            let padding = rest.last().copied().unwrap_or(0);
            let kept = rest.len().checked_sub(usize::from(padding)).filter(|_| padding > 0);
            rest = kept.and_then(|len| rest.get(..len)).ok_or(RtpError::Padding { padding })?;
        }
        let header = RtpHeader {
            marker: fixed[1] & 0x80 != 0,
            payload_type: fixed[1] & 0x7f,
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: RtpTime::new(u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]])),
            ssrc: Ssrc(u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]])),
        };
        Ok(Self { header, contributor, payload: rest })
    }
}

/// True when a packet on a shared port is RTCP and not RTP (RFC 5761 section 4): its second byte is
/// one of the RTCP packet types 192-223.
pub fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 192..=223, ..] if first >> 6 == VERSION)
}

/// Writes a packet into `buffer` and returns its length, or `None` when it does not fit.
pub fn write(
    header: &RtpHeader,
    contributor: Option<Ssrc>,
    payload: &[u8],
    buffer: &mut [u8],
) -> Option<usize> {
    let listed = if contributor.is_some() { 4 } else { 0 };
    let len = HEADER_LEN + listed + payload.len();
    let packet = buffer.get_mut(..len)?;
    let (fixed, rest) = packet.split_first_chunk_mut::<HEADER_LEN>()?;
    *fixed = encode_header(header);
    if let Some(Ssrc(source)) = contributor {
        fixed[0] |= 1;
        rest.get_mut(..4)?.copy_from_slice(&source.to_be_bytes());
    }
    rest.get_mut(listed..)?.copy_from_slice(payload);
    Some(len)
}

/// The fixed header of a packet without contributing sources, extension or padding.
pub fn encode_header(header: &RtpHeader) -> [u8; HEADER_LEN] {
    let mut fixed = [0; HEADER_LEN];
    fixed[0] = VERSION << 6;
    fixed[1] = (header.payload_type & 0x7f) | if header.marker { 0x80 } else { 0 };
    fixed[2..4].copy_from_slice(&header.sequence.to_be_bytes());
    fixed[4..8].copy_from_slice(&header.timestamp.value().to_be_bytes());
    fixed[8..12].copy_from_slice(&header.ssrc.0.to_be_bytes());
    fixed
}

/// Header of a packet that goes out to a phone, by its negotiated payload type.
pub fn outgoing_header(
    payload_type: PayloadType,
    marker: bool,
    sequence: u16,
    timestamp: RtpTime,
    ssrc: Ssrc,
) -> RtpHeader {
    RtpHeader { marker, payload_type: payload_type.value(), sequence, timestamp, ssrc }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header() -> RtpHeader {
        RtpHeader {
            marker: true,
            payload_type: 101,
            sequence: 0xfffe,
            timestamp: RtpTime::new(0x0102_0304),
            ssrc: Ssrc(0xdead_beef),
        }
    }

    // Goal: the header stands byte for byte where RFC 3550 section 5.1 draws it.
    #[test]
    fn header_layout() {
        let bytes = encode_header(&header());
        assert_eq!(bytes, [0x80, 0x80 | 101, 0xff, 0xfe, 1, 2, 3, 4, 0xde, 0xad, 0xbe, 0xef]);
    }

    // Goal: lists, extensions and padding are stepped over, and every lie about a length is told.
    #[test]
    fn parse_table() {
        let mut fixed = encode_header(&header());
        let with = |flags: u8, rest: &[u8]| {
            fixed[0] = flags;
            [&fixed[..], rest].concat()
        };
        let mut with = with;
        let ok: [(Vec<u8>, &[u8], Option<Ssrc>); 5] = [
            (with(0x80, b"abc"), b"abc", None),
            (with(0x82, b"\0\0\0\x07\0\0\0\x08xy"), b"xy", Some(Ssrc(7))),
            (with(0x90, b"\xbe\xde\0\x01....z"), b"z", None),
            (with(0xa0, b"ab\0\x02"), b"ab", None),
            (with(0x80, b""), b"", None),
        ];
        for (bytes, payload, contributor) in ok {
            let packet = RtpPacket::parse(&bytes).expect("valid");
            assert_eq!((packet.payload, packet.contributor), (payload, contributor));
            assert_eq!(packet.header, header());
        }
        let bad = [
            (with(0x80, b"")[..11].to_vec(), RtpError::Truncated { len: 11 }),
            (with(0x40, b"abc"), RtpError::Version { version: 1 }),
            (with(0x83, b"12345678"), RtpError::Truncated { len: 20 }),
            (with(0x90, b"\xbe\xde\0\x02...."), RtpError::Truncated { len: 20 }),
            (with(0x90, b"\xbe"), RtpError::Truncated { len: 13 }),
            (with(0xa0, b"ab\0\x05"), RtpError::Padding { padding: 5 }),
            (with(0xa0, b"ab\0\0"), RtpError::Padding { padding: 0 }),
            (with(0xa0, b""), RtpError::Padding { padding: 0 }),
        ];
        for (bytes, error) in bad {
            assert_eq!(RtpPacket::parse(&bytes), Err(error));
        }
    }

    // Goal: RTP and RTCP on one port are told apart by the second byte alone.
    #[test]
    fn demultiplexing_table() {
        for (bytes, rtcp) in [
            (&[0x80u8, 200, 0, 0][..], true),
            (&[0x80, 192, 0], true),
            (&[0x80, 223, 0], true),
            (&[0x80, 191, 0], false),
            (&[0x80, 224, 0], false),
            (&[0x80, 0x80, 0], false),
            (&[0x00, 200, 0], false),
            (&[0x80], false),
            (&[], false),
        ] {
            assert_eq!(is_rtcp(bytes), rtcp, "{bytes:?}");
        }
    }

    proptest! {
        // Goal: what is written is read back, and a buffer that is too small is refused.
        #[test]
        fn round_trip(
            marker: bool, payload_type in 0u8..128, sequence: u16, timestamp: u32, ssrc: u32,
            contributor in proptest::option::of(any::<u32>()),
            payload in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            let header = RtpHeader {
                marker, payload_type, sequence,
                timestamp: RtpTime::new(timestamp), ssrc: Ssrc(ssrc),
            };
            let contributor = contributor.map(Ssrc);
            let mut buffer = [0; 500];
            let len = write(&header, contributor, &payload, &mut buffer).expect("fits");
            let packet = RtpPacket::parse(&buffer[..len]).expect("own packet");
            prop_assert_eq!(packet, RtpPacket { header, contributor, payload: &payload });
            prop_assert_eq!(write(&header, contributor, &payload, &mut buffer[..len - 1]), None);
        }
    }
}

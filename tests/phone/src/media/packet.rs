//! RTP packets (RFC 3550 5.1) and telephone events (RFC 4733 2.3): read and write.

/// Bytes of an RTP header without CSRCs and extension.
pub const RTP_HEADER_BYTES: usize = 12;

/// An RTP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RtpHeader {
    /// First packet of a talkspurt.
    pub marker: bool,
    /// Payload type, 0 to 127.
    pub payload_type: u8,
    /// Sequence number.
    pub sequence: u16,
    /// Media time, 8 kHz here.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl RtpHeader {
    /// Reads a packet: its header and its payload without padding. `None` when it is not RTP
    /// version 2 or its lengths contradict each other.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let [first, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3, rest @ ..] = bytes else {
            return None;
        };
        if first >> 6 != 2 {
            return None;
        }
        let mut payload = rest.get(usize::from(first & 15) * 4..)?;
        if first & 0x10 != 0 {
            let [_, _, l0, l1, after @ ..] = payload else { return None };
            payload = after.get(usize::from(u16::from_be_bytes([*l0, *l1])) * 4..)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*payload.last()?);
            let length = payload.len().checked_sub(padding).filter(|_| padding > 0)?;
            payload = &payload[..length];
        }
        let header = Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7f,
            sequence: u16::from_be_bytes([*s0, *s1]),
            timestamp: u32::from_be_bytes([*t0, *t1, *t2, *t3]),
            ssrc: u32::from_be_bytes([*r0, *r1, *r2, *r3]),
        };
        Some((header, payload))
    }

    /// The header as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RTP_HEADER_BYTES] {
        let mut bytes = [0; RTP_HEADER_BYTES];
        bytes[0] = 0x80;
        bytes[1] = (self.payload_type & 0x7f) | if self.marker { 0x80 } else { 0 };
        bytes[2..4].copy_from_slice(&self.sequence.to_be_bytes());
        bytes[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        bytes
    }
}

/// The payload of a telephone event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TelephoneEvent {
    /// Event code, 0 to 15 for DTMF.
    pub code: u8,
    /// Last packets of the event.
    pub end: bool,
    /// Power below 0 dBm0, in dB, 0 to 63.
    pub volume_db: u8,
    /// Duration so far, in samples.
    pub duration_samples: u16,
}

impl TelephoneEvent {
    /// Reads a payload; `None` when it is shorter than four bytes.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [code, flags, d0, d1, ..] = payload else { return None };
        Some(Self {
            code: *code,
            end: flags & 0x80 != 0,
            volume_db: flags & 0x3f,
            duration_samples: u16::from_be_bytes([*d0, *d1]),
        })
    }

    /// The payload as bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let [d0, d1] = self.duration_samples.to_be_bytes();
        [self.code, (self.volume_db & 0x3f) | if self.end { 0x80 } else { 0 }, d0, d1]
    }

    /// The digit of a DTMF event: `0`–`9`, `*`, `#`, `A`–`D`.
    #[must_use]
    pub fn digit(self) -> Option<char> {
        DIGITS.chars().nth(self.code.into())
    }
}

const DIGITS: &str = "0123456789*#ABCD";

/// The event code of a DTMF digit.
#[must_use]
pub fn digit_code(digit: char) -> Option<u8> {
    let at = DIGITS.chars().position(|known| known == digit.to_ascii_uppercase())?;
    u8::try_from(at).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: RtpHeader = RtpHeader {
        marker: true,
        payload_type: 101,
        sequence: 65_535,
        timestamp: 0xdead_beef,
        ssrc: 0x0102_0304,
    };

    // Goal: a written header is read back; CSRCs, extension and padding are stepped over.
    #[test]
    fn headers() {
        let mut packet = HEADER.to_bytes().to_vec();
        packet.extend_from_slice(b"audio");
        assert_eq!(RtpHeader::parse(&packet), Some((HEADER, &b"audio"[..])));

        let mut packet = HEADER.to_bytes().to_vec();
        packet[0] |= 0x20 | 0x10 | 1;
        packet.extend_from_slice(&[9; 4]);
        packet.extend_from_slice(&[0, 0, 0, 1, 8, 8, 8, 8]);
        packet.extend_from_slice(b"audio\0\0\x03");
        assert_eq!(RtpHeader::parse(&packet), Some((HEADER, &b"audio"[..])));
    }

    // Goal: lengths that contradict each other are refused, without a panic.
    #[test]
    fn malformed_headers() {
        let whole = HEADER.to_bytes();
        for cut in 0..whole.len() {
            assert_eq!(RtpHeader::parse(&whole[..cut]), None);
        }
        for (first, tail) in [
            (0x40, &[][..]),
            (0x81, &[1, 2, 3][..]),
            (0x90, &[0, 0, 0][..]),
            (0x90, &[0, 0, 0, 2, 1, 1, 1, 1][..]),
            (0xa0, &[][..]),
            (0xa0, &[0][..]),
            (0xa0, &[5, 9][..]),
        ] {
            let mut packet = whole.to_vec();
            packet[0] = first;
            packet.extend_from_slice(tail);
            assert_eq!(RtpHeader::parse(&packet), None, "{first:#x} {tail:?}");
        }
    }

    // Goal: telephone events go both ways, and digits have their codes.
    #[test]
    fn events_and_digits() {
        let event = TelephoneEvent { code: 11, end: true, volume_db: 10, duration_samples: 1_600 };
        assert_eq!(event.to_bytes(), [11, 0x8a, 0x06, 0x40]);
        assert_eq!(TelephoneEvent::parse(&event.to_bytes()), Some(event));
        assert_eq!((event.digit(), digit_code('#')), (Some('#'), Some(11)));
        assert_eq!((digit_code('d'), digit_code('x')), (Some(15), None));
        assert_eq!(TelephoneEvent::parse(&[1, 2, 3]), None);
    }

    proptest::proptest! {
        // Goal: no datagram makes the readers of the media ports panic.
        #[test]
        fn datagrams_never_panic(bytes in proptest::collection::vec(0u8..=255, 0..80), first in 0x80u8..=0xbf) {
            let mut packet = vec![first];
            packet.extend(bytes);
            if let Some((header, payload)) = RtpHeader::parse(&packet) {
                proptest::prop_assert!(payload.len() + RTP_HEADER_BYTES <= packet.len());
                let again = header.to_bytes();
                proptest::prop_assert_eq!(RtpHeader::parse(&again).map(|(h, _)| h), Some(header));
                let _event = TelephoneEvent::parse(payload);
            }
            let _compound = super::super::rtcp::parse_compound(&packet);
        }
    }
}

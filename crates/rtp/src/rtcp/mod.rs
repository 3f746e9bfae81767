//! RTCP (RFC 3550 section 6): reports, canonical name, goodbye; read in `parse.rs`, written in
//! `build.rs`.
//!
//! Both directions end at the relay: reports of a phone are about the stream that the relay sends
//! to it, and are never forwarded. What does not live here: when a report is due
//! ([`crate::session`]) and the counts in it ([`crate::stats`]).

mod build;
mod parse;

use thiserror::Error;

use crate::{ids::Ssrc, time::RtpTime};

pub use build::CompoundBuilder;
pub use parse::{Compound, RtcpPacket};

/// Sender report, RFC 3550 section 6.4.1.
pub const TYPE_SENDER_REPORT: u8 = 200;
/// Receiver report, RFC 3550 section 6.4.2.
pub const TYPE_RECEIVER_REPORT: u8 = 201;
/// Source description, RFC 3550 section 6.5.
pub const TYPE_SOURCE_DESCRIPTION: u8 = 202;
/// Goodbye, RFC 3550 section 6.6.
pub const TYPE_GOODBYE: u8 = 203;

/// Time in a sender report: 32.32 fixed-point seconds. Tandem counts them from the start of the
/// stream, as RFC 3550 section 6.4.1 allows to a sender without wall time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NtpTime(pub u64);

impl NtpTime {
    /// The time `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        let seconds = micros / 1_000_000;
        let fraction = ((micros % 1_000_000) << 32) / 1_000_000;
        Self((seconds << 32) | fraction)
    }

    /// The middle 32 bits, 16.16 seconds, as reports echo them.
    pub const fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// What a sender says about its own stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderInfo {
    /// When the report was sent.
    pub ntp: NtpTime,
    /// The same moment on the RTP clock.
    pub rtp: RtpTime,
    /// RTP packets sent since the stream began, modulo 2^32.
    pub packets: u32,
    /// Payload bytes sent since the stream began, modulo 2^32.
    pub octets: u32,
}

/// What a receiver says about one stream that it hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReportBlock {
    /// The stream that is reported on.
    pub source: Ssrc,
    /// Share lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the stream began; 24 bits, signed (duplicates can make it negative).
    pub cumulative_lost: i32,
    /// Highest sequence number, with the count of wraps above it.
    pub highest_sequence: u32,
    /// Interarrival jitter, in samples.
    pub jitter: u32,
    /// [`NtpTime::middle`] of the last sender report; 0: none.
    pub last_sender_report: u32,
    /// Delay since that report, in 1/65536 s.
    pub delay_since_last: u32,
}

/// Why bytes are not an RTCP compound packet (checks of RFC 3550 appendix A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RtcpError {
    /// Shorter than a length inside it says.
    #[error("RTCP packet is shorter than its own lengths say; it was dropped")]
    Truncated,
    /// Version other than 2.
    #[error("RTCP version {version} instead of 2; the packet was dropped")]
    Version {
        /// The two version bits.
        version: u8,
    },
    /// A compound packet begins with a report.
    #[error("RTCP packet begins with type {found} instead of a report; it was dropped")]
    NotAReport {
        /// Type of the first packet.
        found: u8,
    },
    /// Padding before the last packet, or more than the packet holds.
    #[error("RTCP padding is misplaced or too long; the packet was dropped")]
    Padding,
    /// More packets in one datagram than any phone sends.
    #[error("RTCP compound packet has more than {max} packets; it was dropped")]
    TooMany {
        /// The limit.
        max: usize,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    // Goal: microseconds become 32.32 seconds, and the echoed middle is 16.16.
    #[test]
    fn ntp_time_is_fixed_point() {
        assert_eq!(NtpTime::from_micros(1_500_000).0, (1 << 32) | (1 << 31));
        assert_eq!(NtpTime::from_micros(1_500_000).middle(), (1 << 16) | (1 << 15));
        assert_eq!(NtpTime::from_micros(999_999).0 >> 32, 0);
    }

    proptest! {
        // Goal: a compound packet that we build reads back as what we put in.
        #[test]
        fn compound_round_trip(
            ssrc: u32, micros in 0u64..1 << 50, rtp: u32, packets: u32, octets: u32,
            block in proptest::option::of((any::<u32>(), any::<u8>(), -0x80_0000i32..0x7f_ffff,
                any::<u32>(), any::<u32>(), any::<u32>(), any::<u32>())),
            cname in "[a-z0-9@.]{0,255}", sender: bool, goodbye: bool,
        ) {
            let block = block.map(|b| ReportBlock {
                source: Ssrc(b.0), fraction_lost: b.1, cumulative_lost: b.2,
                highest_sequence: b.3, jitter: b.4, last_sender_report: b.5,
                delay_since_last: b.6,
            });
            let info = SenderInfo {
                ntp: NtpTime::from_micros(micros), rtp: RtpTime::new(rtp), packets, octets,
            };
            let mut buffer = [0; crate::limits::RTCP_PACKET_MAX];
            let mut builder = CompoundBuilder::new(&mut buffer, Ssrc(ssrc));
            builder.report(sender.then_some(&info), block.as_ref());
            builder.cname(&cname);
            if goodbye {
                builder.goodbye();
            }
            let len = builder.finish().expect("fits");
            let parsed: Vec<_> = Compound::parse(&buffer[..len]).expect("own packet").collect();
            prop_assert_eq!(parsed.len(), 2 + usize::from(goodbye));
            match parsed[0] {
                RtcpPacket::SenderReport { source, info: read, ref blocks } => {
                    prop_assert!(sender);
                    prop_assert_eq!((source, read), (Ssrc(ssrc), info));
                    prop_assert_eq!(blocks.clone().next(), block);
                }
                RtcpPacket::ReceiverReport { source, ref blocks } => {
                    prop_assert!(!sender);
                    prop_assert_eq!(source, Ssrc(ssrc));
                    prop_assert_eq!(blocks.clone().next(), block);
                }
                ref other => prop_assert!(false, "{other:?}"),
            }
            prop_assert_eq!(
                &parsed[1],
                &RtcpPacket::CanonicalName { source: Ssrc(ssrc), name: cname.as_bytes() }
            );
            if goodbye {
                prop_assert_eq!(&parsed[2], &RtcpPacket::Goodbye { source: Ssrc(ssrc) });
            }
        }
    }
}

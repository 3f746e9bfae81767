//! Reading of RTCP compound packets: validated as a whole first, then walked without copying.

use super::{
    NtpTime, ReportBlock, RtcpError, SenderInfo, TYPE_GOODBYE, TYPE_RECEIVER_REPORT,
    TYPE_SENDER_REPORT, TYPE_SOURCE_DESCRIPTION,
};
use crate::{ids::Ssrc, limits::RTCP_COMPOUND_MAX, time::RtpTime};

const BLOCK_LEN: usize = 24;
const ITEM_CNAME: u8 = 1;

/// One packet of a compound packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RtcpPacket<'a> {
    /// A sender report.
    SenderReport {
        /// Who sends.
        source: Ssrc,
        /// About its own stream.
        info: SenderInfo,
        /// About the streams that it hears.
        blocks: ReportBlocks<'a>,
    },
    /// A receiver report.
    ReceiverReport {
        /// Who reports.
        source: Ssrc,
        /// About the streams that it hears.
        blocks: ReportBlocks<'a>,
    },
    /// The canonical name of the first source described.
    CanonicalName {
        /// Whose name it is.
        source: Ssrc,
        /// UTF-8 by the RFC, unchecked here.
        name: &'a [u8],
    },
    /// The first source that leaves.
    Goodbye {
        /// Who leaves.
        source: Ssrc,
    },
    /// Any other packet type, or one of the above without content.
    Other {
        /// The packet type.
        kind: u8,
    },
}

/// A validated compound packet, as an iterator over its packets.
#[derive(Debug, Clone)]
pub struct Compound<'a> {
    rest: &'a [u8],
}

/// The report blocks of one report, as an iterator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportBlocks<'a> {
    rest: &'a [u8],
}

impl<'a> Compound<'a> {
    /// Checks the whole compound packet as RFC 3550 appendix A.2 does, and returns its packets.
    ///
    /// Never panics; every length comes from the packet and is checked (fuzzed in
    /// `tests/parsers.rs`).
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RtcpError> {
        let mut rest = bytes;
        let mut packets = 0;
        while !rest.is_empty() {
            let (head, body, behind) = split_packet(rest)?;
            let [flags, kind] = head;
            if flags >> 6 != 2 {
                return Err(RtcpError::Version { version: flags >> 6 });
            }
            if packets == 0 && !matches!(kind, TYPE_SENDER_REPORT | TYPE_RECEIVER_REPORT) {
                return Err(RtcpError::NotAReport { found: kind });
            }
            check_padding(flags, body, behind)?;
            packets += 1;
            if packets > RTCP_COMPOUND_MAX {
                return Err(RtcpError::TooMany { max: RTCP_COMPOUND_MAX });
            }
            rest = behind;
        }
        if packets == 0 { Err(RtcpError::Truncated) } else { Ok(Self { rest: bytes }) }
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = RtcpPacket<'a>;

    fn next(&mut self) -> Option<RtcpPacket<'a>> {
        let ([flags, kind], body, behind) = split_packet(self.rest).ok()?;
        self.rest = behind;
        Some(read_packet(flags, kind, body).unwrap_or(RtcpPacket::Other { kind }))
    }
}

impl Iterator for ReportBlocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, behind) = self.rest.split_first_chunk::<BLOCK_LEN>()?;
        self.rest = behind;
        let word = |at: usize| {
            u32::from_be_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
        };
        // 24 bits, signed: moved to the top and shifted back, so that the sign spreads.
        let cumulative_lost = (word(4) << 8) as i32 >> 8;
        Some(ReportBlock {
            source: Ssrc(word(0)),
            fraction_lost: block[4],
            cumulative_lost,
            highest_sequence: word(8),
            jitter: word(12),
            last_sender_report: word(16),
            delay_since_last: word(20),
        })
    }
}

/// First two bytes, body and what follows the first packet.
type Split<'a> = ([u8; 2], &'a [u8], &'a [u8]);

fn split_packet(bytes: &[u8]) -> Result<Split<'_>, RtcpError> {
    let (head, rest) = bytes.split_first_chunk::<4>().ok_or(RtcpError::Truncated)?;
    let len = usize::from(u16::from_be_bytes([head[2], head[3]])) * 4;
    let (body, behind) = rest.split_at_checked(len).ok_or(RtcpError::Truncated)?;
    Ok(([head[0], head[1]], body, behind))
}

fn check_padding(flags: u8, body: &[u8], behind: &[u8]) -> Result<(), RtcpError> {
    if flags & 0x20 == 0 {
        return Ok(());
    }
    let padding = body.last().copied().map_or(0, usize::from);
    let fits = behind.is_empty() && padding > 0 && padding <= body.len();
    if fits { Ok(()) } else { Err(RtcpError::Padding) }
}

fn read_packet(flags: u8, kind: u8, body: &[u8]) -> Option<RtcpPacket<'_>> {
    let count = usize::from(flags & 0x1f);
    let (source, rest) = body.split_first_chunk::<4>()?;
    let source = Ssrc(u32::from_be_bytes(*source));
    Some(match kind {
        TYPE_SENDER_REPORT => {
            let (info, rest) = rest.split_first_chunk::<20>()?;
            RtcpPacket::SenderReport { source, info: read_info(info), blocks: blocks(rest, count)? }
        }
        TYPE_RECEIVER_REPORT => RtcpPacket::ReceiverReport { source, blocks: blocks(rest, count)? },
        TYPE_SOURCE_DESCRIPTION if count > 0 => {
            RtcpPacket::CanonicalName { source, name: find_cname(rest)? }
        }
        TYPE_GOODBYE if count > 0 => RtcpPacket::Goodbye { source },
        _ => RtcpPacket::Other { kind },
    })
}

fn read_info(bytes: &[u8; 20]) -> SenderInfo {
    let word =
        |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    SenderInfo {
        ntp: NtpTime((u64::from(word(0)) << 32) | u64::from(word(4))),
        rtp: RtpTime::new(word(8)),
        packets: word(12),
        octets: word(16),
    }
}

fn blocks(bytes: &[u8], count: usize) -> Option<ReportBlocks<'_>> {
    Some(ReportBlocks { rest: bytes.get(..count * BLOCK_LEN)? })
}

fn find_cname(mut items: &[u8]) -> Option<&[u8]> {
    loop {
        let (kind, rest) = items.split_first()?;
        if *kind == 0 {
            return None;
        }
        let (len, rest) = rest.split_first()?;
        let (text, behind) = rest.split_at_checked(usize::from(*len))?;
        if *kind == ITEM_CNAME {
            return Some(text);
        }
        items = behind;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 9];

    // Goal: each check of RFC 3550 appendix A.2 refuses its own violation.
    #[test]
    fn validation_table() {
        let joined = |parts: &[&[u8]]| parts.concat();
        let table: [(Vec<u8>, Result<usize, RtcpError>); 9] = [
            (EMPTY_REPORT.to_vec(), Ok(1)),
            (joined(&[&EMPTY_REPORT, &[0x81, 203, 0, 1, 0, 0, 0, 9]]), Ok(2)),
            (vec![], Err(RtcpError::Truncated)),
            (EMPTY_REPORT[..7].to_vec(), Err(RtcpError::Truncated)),
            (joined(&[&EMPTY_REPORT, &[0x81]]), Err(RtcpError::Truncated)),
            (vec![0x40, 201, 0, 1, 0, 0, 0, 9], Err(RtcpError::Version { version: 1 })),
            (vec![0x81, 203, 0, 1, 0, 0, 0, 9], Err(RtcpError::NotAReport { found: 203 })),
            (joined(&[&[0xa0, 201, 0, 1, 0, 0, 0, 4], &EMPTY_REPORT]), Err(RtcpError::Padding)),
            (EMPTY_REPORT.repeat(RTCP_COMPOUND_MAX + 1), Err(RtcpError::TooMany { max: 32 })),
        ];
        for (bytes, expected) in table {
            assert_eq!(Compound::parse(&bytes).map(Iterator::count), expected, "{bytes:?}");
        }
    }

    // Goal: a report that claims more blocks than it holds is skipped, and the rest is still read.
    #[test]
    fn overclaimed_blocks_are_skipped() {
        let bytes = [&[0x82u8, 201, 0, 1, 0, 0, 0, 9][..], &[0x81, 203, 0, 1, 0, 0, 0, 9]].concat();
        let packets: Vec<_> = Compound::parse(&bytes).expect("valid frame").collect();
        assert_eq!(
            packets,
            [RtcpPacket::Other { kind: 201 }, RtcpPacket::Goodbye { source: Ssrc(9) }]
        );
    }

    // Goal: the 24-bit loss count keeps its sign.
    #[test]
    fn cumulative_loss_is_signed() {
        let mut bytes = vec![0x81, 201, 0, 7, 0, 0, 0, 9];
        bytes.extend([0, 0, 0, 5, 12, 0xff, 0xff, 0xfe]);
        bytes.extend([0; 16]);
        let packets: Vec<_> = Compound::parse(&bytes).expect("valid").collect();
        let [RtcpPacket::ReceiverReport { blocks, .. }] = &packets[..] else {
            panic!("{packets:?}");
        };
        let block = blocks.clone().next().expect("one block");
        assert_eq!((block.fraction_lost, block.cumulative_lost), (12, -2));
    }
}

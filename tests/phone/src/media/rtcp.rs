//! RTCP (RFC 3550 6): sender and receiver reports with CNAME, BYE; read what the other side sends.

/// The report block of one source (RFC 3550 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReportBlock {
    pub(crate) ssrc: u32,
    /// Lost since the last report, in 1/256.
    pub(crate) fraction_lost: u8,
    /// Lost altogether, 24 bits signed.
    pub(crate) lost: i32,
    pub(crate) highest_sequence: u32,
    /// Jitter in samples.
    pub(crate) jitter: u32,
    pub(crate) last_sr: u32,
    /// Since the last SR, in 1/65536 s.
    pub(crate) delay_since_last_sr: u32,
}

/// What a sender report says of its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SenderInfo {
    /// NTP time, 32.32 fixed point.
    pub(crate) ntp: u64,
    pub(crate) rtp_timestamp: u32,
    pub(crate) packets: u32,
    pub(crate) octets: u32,
}

impl SenderInfo {
    /// The middle 32 bits of the NTP time, as report blocks quote them.
    pub(crate) const fn middle_ntp(&self) -> u32 {
        (self.ntp >> 16) as u32
    }
}

/// One RTCP packet of a compound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RtcpPacket {
    SenderReport { ssrc: u32, info: SenderInfo, blocks: Vec<ReportBlock> },
    ReceiverReport { ssrc: u32, blocks: Vec<ReportBlock> },
    Description { cnames: Vec<String> },
    Bye { ssrcs: Vec<u32> },
    Other,
}

/// Whether a datagram on a shared port is RTCP (RFC 5761 4: packet types 192 to 223).
pub(crate) fn is_rtcp(bytes: &[u8]) -> bool {
    matches!(bytes, [first, 192..=223, ..] if first >> 6 == 2)
}

/// Reads a compound packet; `None` when its lengths are wrong.
pub(crate) fn parse_compound(mut bytes: &[u8]) -> Option<Vec<RtcpPacket>> {
    let mut packets = Vec::new();
    while !bytes.is_empty() {
        let [first, kind, l0, l1, ..] = bytes else { return None };
        let length = (usize::from(u16::from_be_bytes([*l0, *l1])) + 1) * 4;
        let packet = bytes.get(..length).filter(|_| first >> 6 == 2)?;
        packets.push(parse_packet(first & 31, *kind, &packet[4..])?);
        bytes = &bytes[length..];
    }
    (!packets.is_empty()).then_some(packets)
}

fn parse_packet(count: u8, kind: u8, body: &[u8]) -> Option<RtcpPacket> {
    let word = |at: usize| Some(u32::from_be_bytes(body.get(at * 4..at * 4 + 4)?.try_into().ok()?));
    let blocks_at = |first: usize| -> Option<Vec<ReportBlock>> {
        (0..usize::from(count)).map(|n| parse_block(body.get((first + n * 6) * 4..)?)).collect()
    };
    Some(match kind {
        200 => RtcpPacket::SenderReport {
            ssrc: word(0)?,
            info: SenderInfo {
                ntp: u64::from(word(1)?) << 32 | u64::from(word(2)?),
                rtp_timestamp: word(3)?,
                packets: word(4)?,
                octets: word(5)?,
            },
            blocks: blocks_at(6)?,
        },
        201 => RtcpPacket::ReceiverReport { ssrc: word(0)?, blocks: blocks_at(1)? },
        202 => RtcpPacket::Description { cnames: parse_cnames(body) },
        203 => RtcpPacket::Bye { ssrcs: (0..usize::from(count)).filter_map(word).collect() },
        _ => RtcpPacket::Other,
    })
}

fn parse_block(bytes: &[u8]) -> Option<ReportBlock> {
    let word =
        |at: usize| Some(u32::from_be_bytes(bytes.get(at * 4..at * 4 + 4)?.try_into().ok()?));
    let losses = word(1)?;
    Some(ReportBlock {
        ssrc: word(0)?,
        fraction_lost: (losses >> 24) as u8,
        // The shift up and down spreads the sign of the 24 bits.
        lost: ((losses << 8) as i32) >> 8,
        highest_sequence: word(2)?,
        jitter: word(3)?,
        last_sr: word(4)?,
        delay_since_last_sr: word(5)?,
    })
}

/// CNAMEs of the chunks; anything malformed ends the walk.
fn parse_cnames(mut chunk: &[u8]) -> Vec<String> {
    let mut cnames = Vec::new();
    while chunk.len() > 4 {
        let mut at = 4;
        while let [kind @ 1..=255, length, rest @ ..] = &chunk[at..] {
            let Some(text) = rest.get(..usize::from(*length)) else { return cnames };
            if *kind == 1 {
                cnames.push(String::from_utf8_lossy(text).into_owned());
            }
            at += 2 + text.len();
        }
        // A zero ends the chunk, padded to the next word.
        chunk = chunk.get((at / 4 + 1) * 4..).unwrap_or_default();
    }
    cnames
}

/// Writes SR (when `info` is given) or RR, and SDES with the CNAME, and BYE when the stream ends.
pub(crate) fn write_compound(
    ssrc: u32,
    info: Option<SenderInfo>,
    blocks: &[ReportBlock],
    cname: &str,
    ending: Ending,
) -> Vec<u8> {
    let blocks = &blocks[..blocks.len().min(31)];
    let mut bytes = Vec::with_capacity(128);
    let words = 1 + if info.is_some() { 5 } else { 0 } + 6 * blocks.len();
    put_header(&mut bytes, blocks.len(), if info.is_some() { 200 } else { 201 }, words);
    put(&mut bytes, ssrc);
    if let Some(info) = info {
        put(&mut bytes, (info.ntp >> 32) as u32);
        put(&mut bytes, info.ntp as u32);
        put(&mut bytes, info.rtp_timestamp);
        put(&mut bytes, info.packets);
        put(&mut bytes, info.octets);
    }
    for block in blocks {
        put(&mut bytes, block.ssrc);
        put(&mut bytes, u32::from(block.fraction_lost) << 24 | (block.lost as u32 & 0x00ff_ffff));
        put(&mut bytes, block.highest_sequence);
        put(&mut bytes, block.jitter);
        put(&mut bytes, block.last_sr);
        put(&mut bytes, block.delay_since_last_sr);
    }
    put_cname(&mut bytes, ssrc, cname);
    if ending == Ending::Bye {
        put_header(&mut bytes, 1, 203, 1);
        put(&mut bytes, ssrc);
    }
    bytes
}

/// Whether a compound says goodbye.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    GoesOn,
    Bye,
}

fn put(bytes: &mut Vec<u8>, word: u32) {
    bytes.extend_from_slice(&word.to_be_bytes());
}

fn put_header(bytes: &mut Vec<u8>, count: usize, kind: u8, words: usize) {
    bytes.extend_from_slice(&[0x80 | count as u8, kind]);
    bytes.extend_from_slice(&(words as u16).to_be_bytes());
}

fn put_cname(bytes: &mut Vec<u8>, ssrc: u32, cname: &str) {
    let text = &cname.as_bytes()[..cname.len().min(255)];
    // Item head, text, and at least one zero, up to the next word.
    let item_words = (2 + text.len() + 1).div_ceil(4);
    put_header(bytes, 1, 202, 1 + item_words);
    put(bytes, ssrc);
    let padded = bytes.len() + item_words * 4;
    bytes.extend_from_slice(&[1, text.len() as u8]);
    bytes.extend_from_slice(text);
    bytes.resize(padded, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: SenderInfo =
        SenderInfo { ntp: 0x0102_0304_0506_0708, rtp_timestamp: 9, packets: 10, octets: 1_600 };
    const BLOCK: ReportBlock = ReportBlock {
        ssrc: 7,
        fraction_lost: 12,
        lost: -3,
        highest_sequence: 70_000,
        jitter: 5,
        last_sr: 0x0304_0506,
        delay_since_last_sr: 65_536,
    };

    // Goal: what is written is read back, for every padding of the CNAME.
    #[test]
    fn compounds_round_trip() {
        for length in 0..9 {
            let cname = "phone@127"[..length].to_owned();
            let bytes = write_compound(1, Some(INFO), &[BLOCK], &cname, Ending::Bye);
            assert_eq!(bytes.len() % 4, 0);
            let wanted = vec![
                RtcpPacket::SenderReport { ssrc: 1, info: INFO, blocks: vec![BLOCK] },
                RtcpPacket::Description { cnames: vec![cname] },
                RtcpPacket::Bye { ssrcs: vec![1] },
            ];
            assert_eq!(parse_compound(&bytes), Some(wanted));
        }
        let bytes = write_compound(1, None, &[], "c", Ending::GoesOn);
        let Some([RtcpPacket::ReceiverReport { ssrc: 1, .. }, RtcpPacket::Description { .. }]) =
            parse_compound(&bytes).as_deref().and_then(|p| <&[RtcpPacket; 2]>::try_from(p).ok())
        else {
            panic!("RR and SDES expected");
        };
        assert_eq!(INFO.middle_ntp(), 0x0304_0506);
    }

    // Goal: a cut or lying compound is refused, and RTCP is told from RTP on a shared port.
    #[test]
    fn malformed_compounds() {
        let bytes = write_compound(1, Some(INFO), &[BLOCK], "c", Ending::GoesOn);
        for cut in 1..bytes.len() {
            // A cut right between two packets leaves a valid, shorter compound.
            assert!(parse_compound(&bytes[..cut]).is_none() || cut == 52, "{cut}");
        }
        assert_eq!(parse_compound(&[]), None);
        assert!(is_rtcp(&bytes));
        assert!(!is_rtcp(&[0x80, 0x00, 1, 2]) && !is_rtcp(&[0x80, 0x88]) && !is_rtcp(&[]));
    }
}

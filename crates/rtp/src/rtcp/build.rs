//! Writing of RTCP compound packets into a given buffer.

use super::{
    ReportBlock, SenderInfo, TYPE_GOODBYE, TYPE_RECEIVER_REPORT, TYPE_SENDER_REPORT,
    TYPE_SOURCE_DESCRIPTION,
};
use crate::{ids::Ssrc, limits::CNAME_LEN_MAX};

const ITEM_CNAME: u8 = 1;

/// Writes one compound packet of one source: first [`report`](Self::report), then
/// [`cname`](Self::cname) (RFC 3550 section 6.1 wants both in each), then perhaps
/// [`goodbye`](Self::goodbye).
pub struct CompoundBuilder<'a> {
    buffer: &'a mut [u8],
    len: usize,
    overflow: Overflow,
    ssrc: Ssrc,
}

enum Overflow {
    No,
    Yes,
}

impl<'a> CompoundBuilder<'a> {
    /// Begins a packet of the source `ssrc` in `buffer`.
    pub fn new(buffer: &'a mut [u8], ssrc: Ssrc) -> Self {
        Self { buffer, len: 0, overflow: Overflow::No, ssrc }
    }

    /// Adds a sender report when something was sent since the last one, else a receiver report.
    pub fn report(&mut self, info: Option<&SenderInfo>, block: Option<&ReportBlock>) {
        let kind = if info.is_some() { TYPE_SENDER_REPORT } else { TYPE_RECEIVER_REPORT };
        let start = self.begin(kind, u8::from(block.is_some()));
        self.put(&self.ssrc.0.to_be_bytes());
        if let Some(info) = info {
            self.put(&info.ntp.0.to_be_bytes());
            self.put(&info.rtp.value().to_be_bytes());
            self.put(&info.packets.to_be_bytes());
            self.put(&info.octets.to_be_bytes());
        }
        if let Some(block) = block {
            self.put(&encode_block(block));
        }
        self.end(start);
    }

    /// Adds the canonical name. What is longer than 255 bytes is cut.
    pub fn cname(&mut self, name: &str) {
        let name = name.as_bytes();
        let name = name.get(..CNAME_LEN_MAX).unwrap_or(name);
        let start = self.begin(TYPE_SOURCE_DESCRIPTION, 1);
        self.put(&self.ssrc.0.to_be_bytes());
        self.put(&[ITEM_CNAME, name.len() as u8]);
        self.put(name);
        // The list of items ends with a zero byte, and the chunk at a word boundary.
        self.put(&[0]);
        while !self.len.is_multiple_of(4) {
            self.put(&[0]);
        }
        self.end(start);
    }

    /// Adds the goodbye of this source.
    pub fn goodbye(&mut self) {
        let start = self.begin(TYPE_GOODBYE, 1);
        self.put(&self.ssrc.0.to_be_bytes());
        self.end(start);
    }

    /// The length of the whole packet; `None` when the buffer was too small.
    pub fn finish(self) -> Option<usize> {
        match self.overflow {
            Overflow::No => Some(self.len),
            Overflow::Yes => None,
        }
    }

    fn begin(&mut self, kind: u8, count: u8) -> usize {
        let start = self.len;
        self.put(&[0x80 | count, kind, 0, 0]);
        start
    }

    fn end(&mut self, start: usize) {
        let words = ((self.len - start) / 4).saturating_sub(1) as u16;
        if let Some(field) = self.buffer.get_mut(start + 2..start + 4) {
            field.copy_from_slice(&words.to_be_bytes());
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        match self.buffer.get_mut(self.len..self.len + bytes.len()) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            None => {
                self.overflow = Overflow::Yes;
                // Keeps the loop in `cname` finite.
                self.len = self.len.next_multiple_of(4);
            }
        }
    }
}

fn encode_block(block: &ReportBlock) -> [u8; 24] {
    let mut bytes = [0; 24];
    let lost = block.cumulative_lost.clamp(-0x80_0000, 0x7f_ffff).to_be_bytes();
    bytes[0..4].copy_from_slice(&block.source.0.to_be_bytes());
    bytes[4] = block.fraction_lost;
    bytes[5..8].copy_from_slice(&lost[1..4]);
    bytes[8..12].copy_from_slice(&block.highest_sequence.to_be_bytes());
    bytes[12..16].copy_from_slice(&block.jitter.to_be_bytes());
    bytes[16..20].copy_from_slice(&block.last_sender_report.to_be_bytes());
    bytes[20..24].copy_from_slice(&block.delay_since_last.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a buffer that is too small yields nothing instead of half a packet, at every size.
    #[test]
    fn too_small_a_buffer_is_told() {
        let mut whole = [0; 64];
        let mut build = |room: usize| {
            let mut builder = CompoundBuilder::new(&mut whole[..room], Ssrc(1));
            builder.report(None, None);
            builder.cname("relay@tandem");
            builder.goodbye();
            builder.finish()
        };
        let len = build(64).expect("fits");
        assert_eq!(len, 8 + 24 + 8);
        assert_eq!(build(len), Some(len));
        for room in 0..len {
            assert_eq!(build(room), None, "{room}");
        }
    }
}

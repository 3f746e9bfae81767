//! Tagged audio: payload bytes that say who sent them.
//!
//! A payload repeats blocks of 20 bytes: magic (3), block number (1), sender tag (8), packet
//! counter (4), check (4). One whole block anywhere in a payload is enough to read it, so that
//! payloads that were cut, joined or shifted by a relay still tell their sender. The bytes survive
//! any path that does not decode the audio; after a transcoder they are noise.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Bytes of one block.
pub const TAG_BLOCK_BYTES: usize = 20;
const MAGIC: [u8; 3] = [0xd2, 0x4a, 0xe7];

/// Names who speaks: one for each leg of a run. Written as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SenderTag(pub u64);

impl fmt::Display for SenderTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SenderTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SenderTag({self})")
    }
}

// As text, because 64 bits do not fit the numbers of every JSON reader.
impl Serialize for SenderTag {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SenderTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map(Self).map_err(D::Error::custom)
    }
}

/// Fills a payload with blocks; a rest shorter than a block gets the beginning of one.
pub fn write_tag(payload: &mut [u8], tag: SenderTag, counter: u32) {
    let mut block = [0; TAG_BLOCK_BYTES];
    block[..3].copy_from_slice(&MAGIC);
    block[4..12].copy_from_slice(&tag.0.to_be_bytes());
    block[12..16].copy_from_slice(&counter.to_be_bytes());
    for (number, chunk) in payload.chunks_mut(TAG_BLOCK_BYTES).enumerate() {
        block[3] = number as u8;
        let check = check_of(&block[..16]);
        block[16..].copy_from_slice(&check.to_be_bytes());
        chunk.copy_from_slice(&block[..chunk.len()]);
    }
}

/// Who sent a payload and its packet counter: from the first whole block, wherever it begins.
#[must_use]
pub fn read_tag(payload: &[u8]) -> Option<(SenderTag, u32)> {
    // The magic makes the search cheap for payloads that are no tags.
    let windows = payload.windows(TAG_BLOCK_BYTES);
    windows.filter(|window| window[..3] == MAGIC).find_map(read_block)
}

fn read_block(block: &[u8]) -> Option<(SenderTag, u32)> {
    let check = u32::from_be_bytes(block.get(16..20)?.try_into().ok()?);
    if check != check_of(&block[..16]) {
        return None;
    }
    let tag = u64::from_be_bytes(block[4..12].try_into().ok()?);
    let counter = u32::from_be_bytes(block[12..16].try_into().ok()?);
    Some((SenderTag(tag), counter))
}

/// FNV-1a, 32 bits.
fn check_of(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::g711;
    use crate::sip::RtpCodec;

    const TAG: SenderTag = SenderTag(0x0123_4567_89ab_cdef);

    fn payload(counter: u32) -> [u8; 160] {
        let mut payload = [0; 160];
        write_tag(&mut payload, TAG, counter);
        payload
    }

    // Goal: what was written is read, at the edges of the counter too.
    #[test]
    fn round_trip() {
        for counter in [0, 1, 0x7fff_ffff, u32::MAX] {
            assert_eq!(read_tag(&payload(counter)), Some((TAG, counter)));
        }
    }

    // Goal: one whole block anywhere is enough, one byte less is not.
    #[test]
    fn partial_payloads() {
        let whole = payload(7);
        for start in 0..=140 {
            assert_eq!(
                read_tag(&whole[start..]),
                Some((TAG, 7)).filter(|_| start <= 140),
                "{start}"
            );
        }
        assert_eq!(read_tag(&whole[1..39]), None, "no whole block");
        assert_eq!(read_tag(&whole[1..40]), Some((TAG, 7)), "just one whole block");
        let mut hurt = whole;
        for block in hurt.chunks_mut(TAG_BLOCK_BYTES).take(7) {
            block[9] ^= 1;
        }
        assert_eq!(read_tag(&hurt), Some((TAG, 7)), "the last block is whole");
        hurt[159] ^= 1;
        assert_eq!(read_tag(&hurt), None, "no block is whole");
    }

    // Goal: transcoded, silent and random payloads are not taken for tags.
    #[test]
    fn other_audio_is_no_tag() {
        let transcoded =
            payload(7).map(|code| g711::encode(RtpCodec::Pcma, g711::decode(RtpCodec::Pcmu, code)));
        assert_eq!(read_tag(&transcoded), None);
        assert_eq!(read_tag(&[0xff; 160]), None);
        assert_eq!(read_tag(&[]), None);
    }

    // Goal: JSON carries a tag as text and gives it back exactly.
    #[test]
    fn json_form() {
        let text = serde_json::to_string(&TAG).expect("writes");
        assert_eq!(text, "\"0123456789abcdef\"");
        assert_eq!(serde_json::from_str::<SenderTag>(&text).expect("reads"), TAG);
    }
}

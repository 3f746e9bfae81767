//! G.711: mu-law and A-law both ways, and straight from one to the other (ITU-T G.711).
//!
//! The tables are computed at compile time from the segments of the recommendation, so there is
//! nothing to mistype; tests compare them with its anchor values.

use crate::ids::PayloadType;

/// The two laws; both 8000 Hz, one byte per sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// mu-law, payload type 0.
    Pcmu,
    /// A-law, payload type 8.
    Pcma,
}

impl Codec {
    /// Both laws.
    pub const ALL: [Self; 2] = [Self::Pcmu, Self::Pcma];

    /// The payload type that this law has on links between relays.
    pub const fn link_payload_type(self) -> PayloadType {
        match self {
            Self::Pcmu => PayloadType::PCMU,
            Self::Pcma => PayloadType::PCMA,
        }
    }

    /// The law of a payload type on a link between relays.
    pub const fn from_link_payload_type(payload_type: u8) -> Option<Self> {
        match payload_type {
            0 => Some(Self::Pcmu),
            8 => Some(Self::Pcma),
            _ => None,
        }
    }

    /// The byte of digital silence.
    pub const fn silence(self) -> u8 {
        match self {
            Self::Pcmu => 0xff,
            Self::Pcma => 0xd5,
        }
    }

    /// One sample, 16 bits linear, to one byte.
    pub const fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Pcmu => encode_mu(sample),
            Self::Pcma => encode_a(sample),
        }
    }

    /// One byte to one sample, 16 bits linear.
    pub const fn decode(self, byte: u8) -> i16 {
        match self {
            Self::Pcmu => MU_TO_LINEAR[byte as usize],
            Self::Pcma => A_TO_LINEAR[byte as usize],
        }
    }

    /// The table that turns bytes of this law into bytes of `target`; `None` when they are the same
    /// law.
    pub const fn table_to(self, target: Self) -> Option<&'static [u8; 256]> {
        match (self, target) {
            (Self::Pcmu, Self::Pcma) => Some(&MU_TO_A),
            (Self::Pcma, Self::Pcmu) => Some(&A_TO_MU),
            _ => None,
        }
    }
}

static MU_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = decode_mu(byte as u8);
        byte += 1;
    }
    table
};

static A_TO_LINEAR: [i16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = decode_a(byte as u8);
        byte += 1;
    }
    table
};

static MU_TO_A: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = encode_a(decode_mu(byte as u8));
        byte += 1;
    }
    table
};

static A_TO_MU: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = encode_mu(decode_a(byte as u8));
        byte += 1;
    }
    table
};

/// Offset that makes every mu-law segment begin at a power of two, in 16-bit scale.
const MU_BIAS: i32 = 33 << 2;
const MU_CLIP: i32 = 8_158 << 2;

const fn encode_mu(sample: i16) -> u8 {
    let sign = if sample < 0 { 0x80u8 } else { 0 };
    let magnitude = (sample as i32).abs();
    let magnitude = if magnitude > MU_CLIP { MU_CLIP } else { magnitude } + MU_BIAS;
    // The segment is the place of the highest bit: bit 7 is segment 0, bit 14 is segment 7.
    let segment = 24 - magnitude.leading_zeros() as i32;
    let step = (magnitude >> (segment + 3)) & 0x0f;
    !(sign | ((segment as u8) << 4) | step as u8)
}

const fn decode_mu(byte: u8) -> i16 {
    let bits = !byte;
    let segment = (bits >> 4) & 7;
    let step = (bits & 0x0f) as i32;
    let magnitude = ((((step << 1) + 33) << segment) - 33) << 2;
    (if bits & 0x80 != 0 { -magnitude } else { magnitude }) as i16
}

const fn encode_a(sample: i16) -> u8 {
    // 13 bits; ones' complement makes the negative half mirror the positive one.
    let sign = if sample < 0 { 0u8 } else { 0x80 };
    let magnitude = if sample < 0 { !(sample as i32) } else { sample as i32 } >> 3;
    let byte = if magnitude < 32 {
        (magnitude >> 1) as u8
    } else {
        let segment = 27 - magnitude.leading_zeros() as i32;
        ((segment as u8) << 4) | ((magnitude >> segment) & 0x0f) as u8
    };
    (sign | byte) ^ 0x55
}

const fn decode_a(byte: u8) -> i16 {
    let bits = byte ^ 0x55;
    let segment = (bits >> 4) & 7;
    let step = (bits & 0x0f) as i32;
    let magnitude =
        if segment == 0 { (step << 1) + 1 } else { ((step << 1) + 33) << (segment - 1) } << 3;
    (if bits & 0x80 != 0 { magnitude } else { -magnitude }) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the anchor values of ITU-T G.711 tables 1 and 2 hold (largest, smallest, silence).
    #[test]
    fn anchor_values() {
        let table = [
            (Codec::Pcmu, 0xffu8, 0i16),
            (Codec::Pcmu, 0x7f, 0),
            (Codec::Pcmu, 0x80, 32_124),
            (Codec::Pcmu, 0x00, -32_124),
            (Codec::Pcmu, 0xfe, 8),
            (Codec::Pcma, 0xd5, 8),
            (Codec::Pcma, 0x55, -8),
            (Codec::Pcma, 0xaa, 32_256),
            (Codec::Pcma, 0x2a, -32_256),
            (Codec::Pcma, 0x85, 33 * 16 * 8),
        ];
        for (codec, byte, sample) in table {
            assert_eq!(codec.decode(byte), sample, "{codec:?} {byte:#x}");
        }
        assert_eq!(Codec::Pcmu.encode(0), Codec::Pcmu.silence());
        assert_eq!(Codec::Pcma.encode(0), Codec::Pcma.silence());
        assert_eq!(Codec::Pcmu.encode(i16::MIN), 0x00);
        assert_eq!(Codec::Pcma.encode(i16::MIN), 0x2a);
    }

    // Goal: every byte survives decoding and encoding (mu-law has two zeros, which become one).
    #[test]
    fn decoding_is_the_inverse() {
        for codec in Codec::ALL {
            for byte in 0..=255 {
                let again = codec.encode(codec.decode(byte));
                let negative_zero = codec == Codec::Pcmu && byte == 0x7f;
                assert_eq!(again, if negative_zero { 0xff } else { byte }, "{codec:?} {byte:#x}");
            }
        }
    }

    // Goal: encoding picks the nearest level, up to half a step of its segment, for all samples.
    #[test]
    fn encoding_error_is_half_a_step() {
        for codec in Codec::ALL {
            for sample in i16::MIN..=i16::MAX {
                let decoded = i32::from(codec.decode(codec.encode(sample)));
                let error = (decoded - i32::from(sample)).abs();
                // Steps double with the segment: at most 1/16 of the magnitude, never below 8.
                let clipped = (i32::from(sample).abs() - 32_256).max(0);
                let bound = 16 + i32::from(sample).abs() / 30 + clipped;
                assert!(error <= bound, "{codec:?} {sample} became {decoded}");
            }
        }
    }

    // Goal: changing the law and back costs at most one step, and silence stays silence.
    #[test]
    fn transcoding_is_nearly_reversible() {
        let there = Codec::Pcmu.table_to(Codec::Pcma).expect("different laws");
        let back = Codec::Pcma.table_to(Codec::Pcmu).expect("different laws");
        assert_eq!(Codec::Pcmu.table_to(Codec::Pcmu), None);
        for byte in 0..=255u8 {
            let linear = i32::from(Codec::Pcmu.decode(byte));
            let returned =
                i32::from(Codec::Pcmu.decode(back[usize::from(there[usize::from(byte)])]));
            assert!((returned - linear).abs() <= 16 + linear.abs() / 15, "{byte:#x}");
        }
        assert_eq!(there[0xff], 0xd5);
    }
}

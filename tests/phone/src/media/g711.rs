//! G.711 mu-law and A-law (ITU-T G.711), 16-bit linear on the other side.

use crate::sip::RtpCodec;

/// Linear value of each code, mu-law.
static MU_LINEAR: [i16; 256] = linear_table(RtpCodec::Pcmu);
/// Linear value of each code, A-law.
static A_LINEAR: [i16; 256] = linear_table(RtpCodec::Pcma);

/// One sample to 16-bit linear.
#[must_use]
pub fn decode(codec: RtpCodec, code: u8) -> i16 {
    table(codec)[code as usize]
}

/// Many samples to 16-bit linear, into `out` (as many as fit).
pub(crate) fn decode_into(codec: RtpCodec, codes: &[u8], out: &mut [i16]) {
    let table = table(codec);
    for (sample, code) in out.iter_mut().zip(codes) {
        *sample = table[*code as usize];
    }
}

fn table(codec: RtpCodec) -> &'static [i16; 256] {
    match codec {
        RtpCodec::Pcmu => &MU_LINEAR,
        RtpCodec::Pcma => &A_LINEAR,
    }
}

/// One 16-bit linear sample to its code.
#[must_use]
pub fn encode(codec: RtpCodec, sample: i16) -> u8 {
    match codec {
        RtpCodec::Pcmu => encode_mu(sample),
        RtpCodec::Pcma => encode_a(sample),
    }
}

/// The code of silence.
#[must_use]
pub const fn silence(codec: RtpCodec) -> u8 {
    match codec {
        RtpCodec::Pcmu => 0xff,
        RtpCodec::Pcma => 0xd5,
    }
}

const fn linear_table(codec: RtpCodec) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0;
    while code < 256 {
        table[code] = match codec {
            RtpCodec::Pcmu => linear_of_mu(code as u8),
            RtpCodec::Pcma => linear_of_a(code as u8),
        };
        code += 1;
    }
    table
}

/// Codes are stored inverted; segment s holds 16 steps of 2^(s+3), shifted by the bias 132.
const fn linear_of_mu(code: u8) -> i16 {
    let bits = !code;
    let segment = (bits >> 4) & 7;
    let magnitude = ((((bits & 15) as i16) << 3) + 132) << segment;
    if bits & 0x80 == 0 { magnitude - 132 } else { 132 - magnitude }
}

/// Even bits are stored inverted; segments 0 and 1 share the step 16, then it doubles.
const fn linear_of_a(code: u8) -> i16 {
    let bits = code ^ 0x55;
    let segment = (bits >> 4) & 7;
    let step = ((bits & 15) as i16) << 4;
    let magnitude = match segment {
        0 => step + 8,
        _ => (step + 264) << (segment - 1),
    };
    if bits & 0x80 == 0 { -magnitude } else { magnitude }
}

fn encode_mu(sample: i16) -> u8 {
    let (sign, magnitude) =
        if sample < 0 { (0x80, -i32::from(sample)) } else { (0, sample.into()) };
    let biased = magnitude.min(32_635) + 132;
    // 132..=32767 has its highest bit at 7..=14: that is the segment.
    let segment = 24 - biased.leading_zeros();
    let step = (biased >> (segment + 3)) & 15;
    !(sign | (segment << 4) as u8 | step as u8)
}

fn encode_a(sample: i16) -> u8 {
    // 13 bits; negative values are mirrored around -1/2, as the law has no zero.
    let (sign, magnitude) =
        if sample < 0 { (0, !i32::from(sample) >> 3) } else { (0x80, i32::from(sample) >> 3) };
    let segment = (27 - (magnitude | 31).leading_zeros()).min(7);
    let step = (magnitude >> segment.max(1)) & 15;
    (sign | (segment << 4) as u8 | step as u8) ^ 0x55
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every code survives decode and encode (mu-law's two zeros count as one), and signs and
    // order are right: louder codes decode to larger values.
    #[test]
    fn codes_survive() {
        for codec in [RtpCodec::Pcmu, RtpCodec::Pcma] {
            for code in 0..=255u8 {
                let again = encode(codec, decode(codec, code));
                let same_zero = codec == RtpCodec::Pcmu && code == 0x7f && again == 0xff;
                assert!(again == code || same_zero, "{codec:?} {code:#x} -> {again:#x}");
            }
        }
    }

    // Goal: known points of both laws (G.711 tables 1 and 2).
    #[test]
    fn known_points() {
        let table = [
            (RtpCodec::Pcmu, 0xff, 0),
            (RtpCodec::Pcmu, 0x80, 32_124),
            (RtpCodec::Pcmu, 0x00, -32_124),
            (RtpCodec::Pcmu, 0xfe, 8),
            (RtpCodec::Pcma, 0xd5, 8),
            (RtpCodec::Pcma, 0x55, -8),
            (RtpCodec::Pcma, 0xaa, 32_256),
            (RtpCodec::Pcma, 0x2a, -32_256),
        ];
        for (codec, code, linear) in table {
            assert_eq!(decode(codec, code), linear, "{codec:?} {code:#x}");
        }
        assert!(decode(RtpCodec::Pcmu, silence(RtpCodec::Pcmu)).abs() <= 8);
        assert!(decode(RtpCodec::Pcma, silence(RtpCodec::Pcma)).abs() <= 8);
    }

    // Goal: the error of a sample stays within half a step of its segment (at most 1/16 of its size,
    // and a few units near zero).
    #[test]
    fn quantisation_error_is_bounded() {
        for codec in [RtpCodec::Pcmu, RtpCodec::Pcma] {
            for sample in (-32_768..=32_767).step_by(7) {
                let sample = i16::try_from(sample).expect("in range");
                let error =
                    (i32::from(decode(codec, encode(codec, sample))) - i32::from(sample)).abs();
                let allowed = i32::from(sample).abs() / 16 + 16;
                assert!(error <= allowed, "{codec:?} {sample}: {error}");
            }
        }
    }
}

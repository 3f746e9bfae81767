//! Tones: making them, and telling by ear what untagged audio is.
//!
//! A payload is *silence* when its peak is small, a *known sound* when most of its energy lies at
//! that sound's frequencies (Goertzel's algorithm), a *tone* when it is one sine, else *other*.
//! The frequency of a single sine comes from its own recurrence, x[n-1] + x[n+1] = 2 cos(w) x[n],
//! solved by least squares, and is confirmed by Goertzel at that frequency.

use std::f32::consts::TAU;

use serde::{Deserialize, Serialize};

use super::g711;
use crate::sip::RtpCodec;

/// Samples a second of everything here.
pub const SAMPLE_RATE_HZ: u32 = 8_000;
/// Loudest sample of silence: comfort noise and the law's smallest steps stay below.
const SILENCE_PEAK_MAX: i16 = 64;
/// Share of the energy that a tone or known sound must hold.
const TONE_SHARE_MIN: f32 = 0.85;
/// Found tones are rounded to this, in Hz: 20 ms of G.711 allow no finer promise.
const TONE_STEP_HZ: f32 = 5.0;

/// A sound to be recognised without tags: the queue's music, a ringback, a prompt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownSound {
    /// Name in reports.
    pub name: String,
    /// Frequencies that together make the sound, Hz, each from 50 to 3,900.
    pub tones_hz: Vec<f32>,
}

/// What one payload of untagged audio is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timbre {
    Silence,
    /// Index into the known sounds.
    Known(usize),
    /// One sine, Hz rounded to 5.
    Tone(u16),
    Other,
}

/// Says what linear samples sound like.
pub(crate) fn timbre(samples: &[i16], known: &[KnownSound]) -> Timbre {
    let peak = samples.iter().map(|sample| sample.saturating_abs()).max().unwrap_or(0);
    if peak < SILENCE_PEAK_MAX {
        return Timbre::Silence;
    }
    let energy: f32 = samples.iter().map(|sample| f32::from(*sample).powi(2)).sum();
    let is_heard = |sound: &KnownSound| {
        let share: f32 = sound.tones_hz.iter().map(|hz| tone_share(samples, *hz, energy)).sum();
        share >= TONE_SHARE_MIN
    };
    if let Some(index) = known.iter().position(is_heard) {
        return Timbre::Known(index);
    }
    match sine_frequency_hz(samples) {
        Some(hz) if tone_share(samples, hz, energy) >= TONE_SHARE_MIN => {
            Timbre::Tone(((hz / TONE_STEP_HZ).round() * TONE_STEP_HZ) as u16)
        }
        _ => Timbre::Other,
    }
}

/// Share of the samples' energy at one frequency, 0 to about 1, by Goertzel's algorithm.
#[must_use]
pub fn goertzel_share(samples: &[i16], hz: f32) -> f32 {
    let energy: f32 = samples.iter().map(|sample| f32::from(*sample).powi(2)).sum();
    tone_share(samples, hz, energy)
}

fn tone_share(samples: &[i16], hz: f32, energy: f32) -> f32 {
    if samples.is_empty() || energy <= 0.0 {
        return 0.0;
    }
    let coefficient = 2.0 * (TAU * hz / SAMPLE_RATE_HZ as f32).cos();
    let (mut newer, mut older) = (0.0_f32, 0.0_f32);
    for sample in samples {
        (newer, older) = (f32::from(*sample) + coefficient * newer - older, newer);
    }
    let power = newer * newer + older * older - coefficient * newer * older;
    // A sine of amplitude A over N samples has the power (A N / 2)^2 and the energy N A^2 / 2.
    2.0 * power / (energy * samples.len() as f32)
}

/// Frequency of the sine that fits best; `None` when no sine does.
fn sine_frequency_hz(samples: &[i16]) -> Option<f32> {
    let (mut product, mut square) = (0.0_f32, 0.0_f32);
    for window in samples.windows(3) {
        let [before, here, after] = window else { continue };
        let here = f32::from(*here);
        product += here * (f32::from(*before) + f32::from(*after));
        square += here * here;
    }
    let cosine = product / (2.0 * square);
    let is_sine = square > 0.0 && cosine.abs() < 1.0;
    is_sine.then(|| cosine.acos() / TAU * SAMPLE_RATE_HZ as f32)
}

/// One second of a sine in G.711, to be sent in a loop: whole hertz close without a click.
pub(crate) fn tone_second(codec: RtpCodec, hz: u16) -> Vec<u8> {
    (0..SAMPLE_RATE_HZ)
        .map(|n| {
            let cycles = (u32::from(hz) * n % SAMPLE_RATE_HZ) as f32 / SAMPLE_RATE_HZ as f32;
            g711::encode(codec, (8_000.0 * (TAU * cycles).sin()) as i16)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn linear(codec: RtpCodec, codes: &[u8]) -> Vec<i16> {
        codes.iter().map(|code| g711::decode(codec, *code)).collect()
    }

    // Goal: every tone of a phone line is named within 5 Hz, in both laws, at any phase.
    #[test]
    fn tones_are_named() {
        for codec in [RtpCodec::Pcmu, RtpCodec::Pcma] {
            for hz in [300_u16, 350, 425, 440, 620, 1_000, 1_400, 2_100, 3_000] {
                let second = linear(codec, &tone_second(codec, hz));
                for frame in second.chunks(160) {
                    let Timbre::Tone(found) = timbre(frame, &[]) else {
                        panic!("{codec:?} {hz} Hz: {:?}", timbre(frame, &[]));
                    };
                    assert!(found.abs_diff(hz) <= 5, "{codec:?} {hz} Hz heard as {found}");
                }
            }
        }
    }

    // Goal: a known chord is recognised, also after transcoding; the same chord unknown is "other".
    #[test]
    fn known_sounds_are_recognised() {
        let chord: Vec<i16> = (0..160)
            .map(|n| {
                let at = n as f32 / SAMPLE_RATE_HZ as f32;
                (4_000.0 * ((TAU * 440.0 * at).sin() + (TAU * 650.0 * at).sin())) as i16
            })
            .map(|s| g711::decode(RtpCodec::Pcma, g711::encode(RtpCodec::Pcma, s)))
            .map(|s| g711::decode(RtpCodec::Pcmu, g711::encode(RtpCodec::Pcmu, s)))
            .collect();
        let music = KnownSound { name: "music".into(), tones_hz: vec![440.0, 650.0] };
        let other = KnownSound { name: "other".into(), tones_hz: vec![1_000.0] };
        assert_eq!(timbre(&chord, &[other, music]), Timbre::Known(1));
        assert_eq!(timbre(&chord, &[]), Timbre::Other);
    }

    // Goal: silence just below the threshold is silence, just above is not; noise is "other".
    #[test]
    fn silence_and_noise() {
        assert_eq!(timbre(&[SILENCE_PEAK_MAX - 1; 160], &[]), Timbre::Silence);
        assert_eq!(timbre(&[0; 0], &[]), Timbre::Silence);
        let mut square = [SILENCE_PEAK_MAX; 160];
        square.iter_mut().step_by(3).for_each(|s| *s = -*s);
        assert_ne!(timbre(&square, &[]), Timbre::Silence);
        let mut dice = crate::dice::Dice::from_seed(1);
        let noise: Vec<i16> = (0..160).map(|_| (dice.u32() >> 18) as i16 - 8_192).collect();
        assert_eq!(timbre(&noise, &[]), Timbre::Other);
    }

    // Goal: Goertzel gives about 1 at the tone, about 0 away from it.
    #[test]
    fn goertzel_separates() {
        let tone = linear(RtpCodec::Pcmu, &tone_second(RtpCodec::Pcmu, 440)[..160]);
        assert!(goertzel_share(&tone, 440.0) > 0.95);
        assert!(goertzel_share(&tone, 900.0) < 0.05);
        assert_eq!(goertzel_share(&[0; 160], 440.0), 0.0);
    }
}

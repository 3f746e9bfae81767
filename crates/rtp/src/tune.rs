//! The music on hold and the beep, synthesised: nothing to license, nothing to ship, the same
//! samples on every machine.
//!
//! Eight bars of two seconds in C major for three voices: a soft pad, a plucked figure and a lead.
//! All pitches and their audible overtones lie in the telephone band (300-3400 Hz). Integer
//! arithmetic only. What does not live here: G.711 ([`crate::g711`]) and playing
//! ([`crate::session`]).

use crate::limits::{FRAME_SAMPLES, SAMPLE_RATE_HZ, SAMPLES_PER_MS};

/// Length of the loop, in milliseconds.
pub const TUNE_MS: u32 = BAR_MS * SCORE.len() as u32;
/// Length of the beep, in milliseconds.
pub const BEEP_MS: u32 = 240;
/// Pitch of the beep.
pub const BEEP_PITCH: Pitch = Pitch::E5;
/// No sample is louder than this (16 bits linear); full scale is 32767.
pub const PEAK_MAX: i16 = 20_000;

const BAR_MS: u32 = 2_000;
const BEEP_LEVEL: i32 = 9_000;

/// Notes of the equal-tempered scale at A4 = 440 Hz.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "a note's name is its documentation")]
pub enum Pitch {
    E4,
    F4,
    G4,
    A4,
    B4,
    C5,
    D5,
    E5,
    F5,
    G5,
    A5,
    B5,
    C6,
}

impl Pitch {
    /// Frequency in thousandths of a hertz.
    pub const fn milli_hertz(self) -> u32 {
        match self {
            Self::E4 => 329_628,
            Self::F4 => 349_228,
            Self::G4 => 391_995,
            Self::A4 => 440_000,
            Self::B4 => 493_883,
            Self::C5 => 523_251,
            Self::D5 => 587_330,
            Self::E5 => 659_255,
            Self::F5 => 698_456,
            Self::G5 => 783_991,
            Self::A5 => 880_000,
            Self::B5 => 987_767,
            Self::C6 => 1_046_502,
        }
    }

    /// What a 32-bit phase gains per sample.
    const fn phase_step(self) -> u32 {
        ((self.milli_hertz() as u64 * (1 << 32)) / (SAMPLE_RATE_HZ as u64 * 1_000)) as u32
    }
}

/// The three voices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Voice {
    /// Chords, slow to begin.
    Pad,
    /// Broken chords, quick to fade.
    Pluck,
    /// The melody.
    Lead,
}

/// One note of the tune.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// When it begins, in milliseconds into the loop.
    pub start_ms: u32,
    /// How long it sounds, in milliseconds; it may reach over the end into the next loop.
    pub length_ms: u32,
    /// How high it is.
    pub pitch: Pitch,
    /// Who plays it.
    pub voice: Voice,
}

struct Bar {
    chord: [Pitch; 3],
    lead: [Option<Pitch>; 4],
}

const SCORE: [Bar; 8] = {
    use Pitch::*;
    [
        Bar { chord: [E4, G4, C5], lead: [Some(E5), None, Some(G5), None] },
        Bar { chord: [E4, A4, C5], lead: [Some(A5), Some(G5), Some(E5), None] },
        Bar { chord: [F4, A4, C5], lead: [Some(F5), None, Some(A5), Some(C6)] },
        Bar { chord: [G4, B4, D5], lead: [Some(B5), None, Some(G5), None] },
        Bar { chord: [E4, G4, C5], lead: [Some(C6), None, Some(G5), Some(E5)] },
        Bar { chord: [E4, G4, B4], lead: [Some(G5), None, Some(B5), None] },
        Bar { chord: [F4, A4, C5], lead: [Some(A5), Some(G5), Some(F5), Some(E5)] },
        Bar { chord: [G4, B4, D5], lead: [Some(D5), None, None, None] },
    ]
};

/// Which tone of the chord the plucked voice takes on each eighth.
const PLUCK_FIGURE: [usize; 8] = [0, 1, 2, 1, 2, 1, 0, 1];

/// All notes, bar by bar.
pub fn notes() -> impl Iterator<Item = Note> {
    (0u32..).zip(&SCORE).flat_map(|(index, bar)| {
        let bar_ms = index * BAR_MS;
        let pad = bar.chord.iter().map(move |&pitch| Note {
            start_ms: bar_ms,
            length_ms: BAR_MS + 100,
            pitch,
            voice: Voice::Pad,
        });
        let pluck = (0u32..).zip(PLUCK_FIGURE).map(move |(eighth, tone)| Note {
            start_ms: bar_ms + eighth * 250,
            length_ms: 600,
            pitch: bar.chord[tone % bar.chord.len()],
            voice: Voice::Pluck,
        });
        let lead = (0u32..).zip(bar.lead).filter_map(move |(quarter, pitch)| {
            Some(Note {
                start_ms: bar_ms + quarter * 500,
                length_ms: 900,
                pitch: pitch?,
                voice: Voice::Lead,
            })
        });
        pad.chain(pluck).chain(lead)
    })
}

/// The whole loop, 16 bits linear at 8000 Hz. Its end joins its beginning without a click.
pub fn render_tune() -> Vec<i16> {
    let len = (TUNE_MS * SAMPLES_PER_MS) as usize;
    let mut mix = vec![0i32; len];
    for note in notes() {
        let start = (note.start_ms * SAMPLES_PER_MS) as usize;
        for (i, sample) in render_note(&note).enumerate() {
            // What reaches over the end sounds at the beginning of the next loop.
            if let Some(cell) = mix.get_mut((start + i) % len) {
                *cell += sample;
            }
        }
    }
    mix.into_iter().map(to_sample).collect()
}

/// The beep, 16 bits linear at 8000 Hz, with soft edges.
pub fn render_beep() -> Vec<i16> {
    let len = BEEP_MS * SAMPLES_PER_MS;
    let ramp = 15 * SAMPLES_PER_MS;
    (0..len)
        .map(|i| {
            let edge = i.min(len - 1 - i).min(ramp);
            let level = BEEP_LEVEL * edge as i32 / ramp as i32;
            to_sample(scaled(sine(BEEP_PITCH.phase_step().wrapping_mul(i)), level))
        })
        .collect()
}

fn render_note(note: &Note) -> impl Iterator<Item = i32> {
    let timbre = note.voice.timbre();
    let len = note.length_ms * SAMPLES_PER_MS;
    let attack = timbre.attack_ms * SAMPLES_PER_MS;
    let release = timbre.release_ms * SAMPLES_PER_MS;
    let step = note.pitch.phase_step();
    // Q30: decays by a constant share per sample.
    let mut decay = 1i64 << 30;
    (0..len).map(move |i| {
        let phase = step.wrapping_mul(i);
        let wave = sine(phase)
            + scaled(sine(phase.wrapping_mul(2)), timbre.second)
            + scaled(sine(phase.wrapping_mul(3)), timbre.third);
        let rise = i.min(attack) as i64 * 32_768 / i64::from(attack);
        let fall = (len - i).min(release) as i64 * 32_768 / i64::from(release);
        decay -= (decay * timbre.decay_ppm) / 1_000_000;
        let level =
            i64::from(timbre.level) * rise / 32_768 * fall / 32_768 * (decay >> 15) / 32_768;
        scaled(wave, level as i32)
    })
}

struct Timbre {
    /// Loudness at the start, 16 bits linear.
    level: i32,
    /// Share of the second and third partial, in 1/32768.
    second: i32,
    third: i32,
    attack_ms: u32,
    release_ms: u32,
    /// Loss of loudness per sample, in millionths.
    decay_ppm: i64,
}

impl Voice {
    const fn timbre(self) -> Timbre {
        match self {
            Self::Pad => Timbre {
                level: 1_500,
                second: 4_096,
                third: 1_024,
                attack_ms: 250,
                release_ms: 350,
                decay_ppm: 20,
            },
            Self::Pluck => Timbre {
                level: 2_600,
                second: 8_192,
                third: 2_048,
                attack_ms: 4,
                release_ms: 60,
                decay_ppm: 650,
            },
            Self::Lead => Timbre {
                level: 4_200,
                second: 6_144,
                third: 2_048,
                attack_ms: 12,
                release_ms: 120,
                decay_ppm: 300,
            },
        }
    }
}

fn to_sample(value: i32) -> i16 {
    value.clamp(i32::from(-PEAK_MAX), i32::from(PEAK_MAX)) as i16
}

/// `value` times a share in 1/32768.
const fn scaled(value: i32, share: i32) -> i32 {
    ((value as i64 * share as i64) >> 15) as i32
}

const SINE_LEN: usize = 1_024;

/// One turn in 1024 steps, in 1/32767; made by rotating a vector in Q30.
static SINE: [i16; SINE_LEN] = {
    const COS_STEP: i64 = 1_073_721_611;
    const SIN_STEP: i64 = 6_588_356;
    let mut table = [0; SINE_LEN];
    let (mut x, mut y) = (1i64 << 30, 0i64);
    let mut i = 0;
    while i < SINE_LEN {
        table[i] = ((y * 32_767) >> 30) as i16;
        (x, y) = ((x * COS_STEP - y * SIN_STEP) >> 30, (x * SIN_STEP + y * COS_STEP) >> 30);
        i += 1;
    }
    table
};

/// Sine of a 32-bit phase in 1/32767, interpolated between steps.
fn sine(phase: u32) -> i32 {
    let index = (phase >> 22) as usize;
    let here = i32::from(SINE[index % SINE_LEN]);
    let next = i32::from(SINE[(index + 1) % SINE_LEN]);
    let between = ((phase >> 7) & 0x7fff) as i32;
    here + scaled(next - here, between)
}

const _: () = assert!(((TUNE_MS * SAMPLES_PER_MS) as usize).is_multiple_of(FRAME_SAMPLES));
const _: () = assert!(((BEEP_MS * SAMPLES_PER_MS) as usize).is_multiple_of(FRAME_SAMPLES));

#[cfg(test)]
mod tests {
    use super::*;

    /// Power of one frequency in `samples` (Goertzel), per sample and squared amplitude.
    fn power(samples: &[i16], milli_hertz: u32) -> f64 {
        let omega = std::f64::consts::TAU * f64::from(milli_hertz) / 8_000_000.0;
        let (mut s1, mut s2) = (0.0, 0.0);
        for &sample in samples {
            let s0 = f64::from(sample) + 2.0 * omega.cos() * s1 - s2;
            (s2, s1) = (s1, s0);
        }
        let n = samples.len() as f64;
        (s1 * s1 + s2 * s2 - 2.0 * omega.cos() * s1 * s2) / (n * n)
    }

    fn at(samples: &[i16], start_ms: u32, length_ms: u32) -> &[i16] {
        &samples[(start_ms * SAMPLES_PER_MS) as usize..][..(length_ms * SAMPLES_PER_MS) as usize]
    }

    // Goal: each lead note stands out against its neighbours of the scale while it sounds.
    #[test]
    fn melody_is_heard() {
        let tune = render_tune();
        for note in notes().filter(|note| note.voice == Voice::Lead) {
            let heard = at(&tune, note.start_ms + 20, 300);
            let wanted = power(heard, note.pitch.milli_hertz());
            for factor in [0.93, 1.07] {
                let beside = (f64::from(note.pitch.milli_hertz()) * factor) as u32;
                let other = power(heard, beside);
                assert!(wanted > 4.0 * other, "{note:?}: {wanted} against {other} at {beside} mHz");
            }
        }
    }

    // Goal: loud enough to be music, never clipped, no offset, and the loop has no click.
    #[test]
    fn level_and_seam() {
        let tune = render_tune();
        assert_eq!(tune.len(), 128_000);
        let peak = tune.iter().map(|s| s.unsigned_abs()).max().expect("samples");
        assert!((8_000..PEAK_MAX as u16).contains(&peak), "peak {peak}");
        let mean = tune.iter().map(|s| i64::from(*s)).sum::<i64>() / tune.len() as i64;
        assert!(mean.abs() <= 4, "offset {mean}");
        for bar in tune.chunks(16_000) {
            let rms = (bar.iter().map(|s| i64::from(*s).pow(2)).sum::<i64>() / 16_000).isqrt();
            assert!((1_000..6_000).contains(&rms), "rms {rms}");
        }
        let step = |a: i16, b: i16| (i32::from(a) - i32::from(b)).abs();
        let inside = tune.windows(2).map(|w| step(w[0], w[1])).max().expect("samples");
        let seam = step(tune[tune.len() - 1], tune[0]);
        assert!(seam <= inside, "seam {seam}, inside {inside}");
    }

    // Goal: a telephone carries it: below 300 Hz and above 3400 Hz is less than 1 % of the energy.
    #[test]
    fn stays_in_the_telephone_band() {
        let tune = render_tune();
        for second in 0..16 {
            let heard = at(&tune, second * 1_000, 1_000);
            let total = heard.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / 8_000.0;
            let outside: f64 =
                (1..300).chain(3_401..4_000).map(|hertz| 2.0 * power(heard, hertz * 1_000)).sum();
            assert!(outside < 0.01 * total, "second {second}: {outside} of {total}");
        }
    }

    // Goal: the beep is one tone with soft edges.
    #[test]
    fn beep_is_one_tone() {
        let beep = render_beep();
        let total = beep.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / beep.len() as f64;
        let tone = 2.0 * power(&beep, BEEP_PITCH.milli_hertz());
        assert!(tone > 0.85 * total, "{tone} of {total}");
        assert_eq!((beep[0], beep[beep.len() - 1]), (0, 0));
    }

    // Goal: the same samples on every machine: a digest that only a wanted change may change.
    #[test]
    fn samples_are_pinned() {
        let digest =
            render_tune().iter().chain(&render_beep()).fold(0xcbf2_9ce4_8422_2325, |h, s| {
                (h ^ u64::from(*s as u16)).wrapping_mul(0x0100_0000_01b3u64)
            });
        assert_eq!(digest, 0x78ff_cd57_723c_cc2e);
    }
}

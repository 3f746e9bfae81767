//! Everything a relay can play by itself, encoded once for both laws and cut into frames.
//!
//! All sessions share one [`Sounds`]; playing costs a look-up. What does not live here: the notes
//! ([`crate::tune`]).

use crate::{
    g711::Codec,
    limits::FRAME_SAMPLES,
    tune::{render_beep, render_tune},
};

/// One outgoing payload: 20 ms of G.711.
pub type Frame = [u8; FRAME_SAMPLES];

/// Music that a session may ask for by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Music {
    /// The tune that Tandem synthesises.
    #[default]
    Default,
}

impl Music {
    /// The music of a name, if there is one.
    pub fn from_name(name: &str) -> Option<Self> {
        (name == Self::Default.name()).then_some(Self::Default)
    }

    /// Its name in the control protocol.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
        }
    }
}

/// The frames of every sound in both laws.
pub struct Sounds {
    music: ByCodec,
    beep: ByCodec,
    silence: [Frame; 2],
}

struct ByCodec {
    pcmu: Box<[Frame]>,
    pcma: Box<[Frame]>,
}

impl Sounds {
    /// Synthesises and encodes everything (some tens of milliseconds; once per process).
    pub fn synthesise() -> Self {
        Self {
            music: ByCodec::encode(&render_tune()),
            beep: ByCodec::encode(&render_beep()),
            silence: Codec::ALL.map(|codec| [codec.silence(); FRAME_SAMPLES]),
        }
    }

    /// The frame of `music` at `position`, counted in frames; it repeats without end.
    pub fn music(&self, music: Music, codec: Codec, position: u64) -> &Frame {
        let Music::Default = music;
        let frames = self.music.of(codec);
        let index = position.checked_rem(frames.len() as u64).unwrap_or(0) as usize;
        frames.get(index).unwrap_or_else(|| self.silence(codec))
    }

    /// The frame of the beep at `position`, counted in frames; `None` after its end.
    pub fn beep(&self, codec: Codec, position: u64) -> Option<&Frame> {
        self.beep.of(codec).get(usize::try_from(position).ok()?)
    }

    /// A frame of digital silence.
    pub fn silence(&self, codec: Codec) -> &Frame {
        let [pcmu, pcma] = &self.silence;
        match codec {
            Codec::Pcmu => pcmu,
            Codec::Pcma => pcma,
        }
    }
}

impl ByCodec {
    fn encode(samples: &[i16]) -> Self {
        let frames = |codec: Codec| {
            let (chunks, _) = samples.as_chunks::<FRAME_SAMPLES>();
            chunks.iter().map(|chunk| chunk.map(|sample| codec.encode(sample))).collect()
        };
        Self { pcmu: frames(Codec::Pcmu), pcma: frames(Codec::Pcma) }
    }

    fn of(&self, codec: Codec) -> &[Frame] {
        match codec {
            Codec::Pcmu => &self.pcmu,
            Codec::Pcma => &self.pcma,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tune::{BEEP_MS, TUNE_MS};

    // Goal: positions go round the loop, the beep ends, both laws carry the same sound.
    #[test]
    fn positions_and_laws() {
        let sounds = Sounds::synthesise();
        let frames = u64::from(TUNE_MS / 20);
        for codec in Codec::ALL {
            for position in [0, 17, frames - 1] {
                let frame = sounds.music(Music::Default, codec, position);
                assert_eq!(frame, sounds.music(Music::Default, codec, position + 3 * frames));
            }
            assert!(sounds.beep(codec, u64::from(BEEP_MS / 20) - 1).is_some());
            assert!(sounds.beep(codec, u64::from(BEEP_MS / 20)).is_none());
            assert_eq!(sounds.silence(codec)[0], codec.silence());
        }
        for position in 0..frames {
            let mu = sounds.music(Music::Default, Codec::Pcmu, position);
            let a = sounds.music(Music::Default, Codec::Pcma, position);
            for (mu, a) in mu.iter().zip(a) {
                let (mu, a) = (Codec::Pcmu.decode(*mu), Codec::Pcma.decode(*a));
                let apart = (i32::from(mu) - i32::from(a)).abs();
                assert!(apart <= 16 + i32::from(mu).abs() / 14, "{mu} and {a}");
            }
        }
    }
}

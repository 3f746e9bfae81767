//! What was heard, as a WAV file: 8 kHz, mono, 16 bit; pauses are silence by RTP timestamp.

use crate::limits::WAV_SAMPLES_MAX;
use crate::time::RunTime;

/// An RTP time this far from the time of arrival starts a new alignment, in samples (2 s).
const DRIFT_SAMPLES_MAX: i64 = 16_000;

/// Collects audio by timestamp. Two sources at once are mixed.
#[derive(Debug)]
pub(crate) struct WavRecorder {
    started: RunTime,
    alignment: Option<Alignment>,
    samples: Vec<i16>,
}

/// Where a source's timestamps lie in the recording.
#[derive(Debug)]
struct Alignment {
    ssrc: u32,
    timestamp: u32,
    position: i64,
}

impl WavRecorder {
    pub(crate) fn new(started: RunTime) -> Self {
        Self { started, alignment: None, samples: Vec::new() }
    }

    /// Adds the samples of one packet.
    pub(crate) fn add(&mut self, now: RunTime, ssrc: u32, timestamp: u32, samples: &[i16]) {
        let arrival = i64::try_from(now.us_since(self.started) / 125).unwrap_or(i64::MAX);
        let by_timestamp =
            self.alignment.as_ref().filter(|known| known.ssrc == ssrc).map(|known| {
                known.position + i64::from(timestamp.wrapping_sub(known.timestamp) as i32)
            });
        let fitting = by_timestamp.filter(|at| (at - arrival).abs() <= DRIFT_SAMPLES_MAX);
        let position = fitting.unwrap_or(arrival).max(0);
        self.alignment = Some(Alignment { ssrc, timestamp, position });

        let start = position as usize;
        let end = (start + samples.len()).min(WAV_SAMPLES_MAX);
        if start >= end {
            return;
        }
        if self.samples.len() < end {
            self.samples.resize(end, 0);
        }
        for (kept, new) in self.samples[start..end].iter_mut().zip(samples) {
            *kept = kept.saturating_add(*new);
        }
    }

    /// The file's bytes (RIFF, PCM).
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let data_bytes = (self.samples.len() * 2) as u32;
        let mut bytes = Vec::with_capacity(44 + self.samples.len() * 2);
        bytes.extend_from_slice(b"RIFF");
        bytes.extend_from_slice(&(36 + data_bytes).to_le_bytes());
        bytes.extend_from_slice(b"WAVEfmt ");
        bytes.extend_from_slice(&16_u32.to_le_bytes());
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&1_u16.to_le_bytes());
        bytes.extend_from_slice(&8_000_u32.to_le_bytes());
        bytes.extend_from_slice(&16_000_u32.to_le_bytes());
        bytes.extend_from_slice(&2_u16.to_le_bytes());
        bytes.extend_from_slice(&16_u16.to_le_bytes());
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&data_bytes.to_le_bytes());
        for sample in &self.samples {
            bytes.extend_from_slice(&sample.to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples_of(recorder: &WavRecorder) -> Vec<i16> {
        recorder.to_bytes()[44..].chunks(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect()
    }

    // Goal: a pause becomes silence of its length by timestamp, reordering is undone, late arrival
    // within bounds changes nothing.
    #[test]
    fn pauses_are_silence_by_timestamp() {
        let mut wav = WavRecorder::new(RunTime::START);
        wav.add(RunTime::START, 1, 1_000, &[1; 160]);
        wav.add(RunTime::from_ms(65), 1, 1_480, &[3; 160]);
        wav.add(RunTime::from_ms(70), 1, 1_320, &[2; 160]);
        let heard = samples_of(&wav);
        assert_eq!(heard.len(), 640);
        assert_eq!(&heard[..160], &[1; 160]);
        assert_eq!(&heard[160..320], &[0; 160]);
        assert_eq!(&heard[320..480], &[2; 160]);
        assert_eq!(&heard[480..], &[3; 160]);
        assert_eq!(&wav.to_bytes()[..4], b"RIFF");
    }

    // Goal: a new source, or a timestamp beyond the drift allowed, is placed by its arrival.
    #[test]
    fn new_sources_are_placed_by_arrival() {
        let mut wav = WavRecorder::new(RunTime::START);
        wav.add(RunTime::START, 1, 0, &[1; 160]);
        wav.add(RunTime::from_ms(100), 2, 777, &[2; 160]);
        assert_eq!(samples_of(&wav)[800..], [2; 160]);
        wav.add(RunTime::from_ms(120), 2, 777 + 160 + 16_001, &[4; 160]);
        assert_eq!(samples_of(&wav)[960..], [4; 160]);
    }
}

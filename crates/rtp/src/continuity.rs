//! The judge of invariant M1, and of order in time: what a strict receiver would notice.
//!
//! Feed it every packet that leaves towards one phone, in the order of leaving, across takeovers.
//! It shares no code with [`crate::stream`]; tests and the laboratory use it.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::{
    ids::{PayloadType, Ssrc},
    limits::{MAX_DROPOUT, REORDER_WINDOW},
    packet::{RtpError, RtpPacket},
    time::RtpTime,
};

/// What broke.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ContinuityBroken {
    /// Not RTP at all.
    #[error(transparent)]
    Malformed(#[from] RtpError),
    /// A number came twice.
    #[error("invariant M1: sequence number {sequence} of {ssrc:?} was used twice")]
    Reused {
        /// Whose.
        ssrc: Ssrc,
        /// Which.
        sequence: u16,
    },
    /// A number came from further back than the reorder window.
    #[error("invariant M1: {ssrc:?} stepped back by {back} to sequence number {sequence}")]
    SteppedBack {
        /// Whose.
        ssrc: Ssrc,
        /// Which.
        sequence: u16,
        /// How far, in packets.
        back: u64,
    },
    /// A step that receivers take for a new source.
    #[error("invariant M1: {ssrc:?} jumped ahead by {ahead} to sequence number {sequence}")]
    JumpedAhead {
        /// Whose.
        ssrc: Ssrc,
        /// Which.
        sequence: u16,
        /// How far, in packets.
        ahead: u64,
    },
    /// A later number with audio that begins before the earlier audio ends.
    #[error("audio of {ssrc:?} overlaps by {samples} samples at sequence number {sequence}")]
    Overlap {
        /// Whose.
        ssrc: Ssrc,
        /// Where.
        sequence: u16,
        /// How much.
        samples: i32,
    },
}

/// The judge of one phone's incoming stream.
#[derive(Debug)]
pub struct ContinuityJudge {
    audio: PayloadType,
    time: TimeCheck,
    sources: BTreeMap<Ssrc, Heard>,
}

/// Whether the order in time is judged as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeCheck {
    /// Sequence numbers only: for takeovers with clocks that differ.
    Off,
    /// Audio with higher numbers never begins before the audio before it ends.
    On,
}

#[derive(Debug)]
struct Heard {
    highest: u64,
    numbers: BTreeSet<u64>,
    audio_end: Option<RtpTime>,
}

impl ContinuityJudge {
    /// A judge that has heard nothing; `audio` is the payload type of this phone's audio.
    pub fn new(audio: PayloadType, time: TimeCheck) -> Self {
        Self { audio, time, sources: BTreeMap::new() }
    }

    /// Hears one packet.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<(), ContinuityBroken> {
        let packet = RtpPacket::parse(bytes)?;
        let (ssrc, sequence) = (packet.header.ssrc, packet.header.sequence);
        let heard = self.sources.entry(ssrc).or_insert_with(|| Heard {
            // Far above zero, so that earlier numbers have a place.
            highest: (1 << 32) + u64::from(sequence) - 1,
            numbers: BTreeSet::new(),
            audio_end: None,
        });
        let step = u64::from(sequence.wrapping_sub(heard.highest as u16));
        let back = (1 << 16) - step;
        if step > 0 && step < MAX_DROPOUT {
            heard.highest += step;
            heard.numbers.insert(heard.highest);
        } else if step == 0 || back <= REORDER_WINDOW {
            if !heard.numbers.insert(heard.highest - back % (1 << 16)) {
                return Err(ContinuityBroken::Reused { ssrc, sequence });
            }
            return Ok(());
        } else if step < 1 << 15 {
            return Err(ContinuityBroken::JumpedAhead { ssrc, sequence, ahead: step });
        } else {
            return Err(ContinuityBroken::SteppedBack { ssrc, sequence, back });
        }
        heard.forget_old();
        if packet.header.payload_type == self.audio.value() && self.time == TimeCheck::On {
            return heard.check_time(ssrc, &packet);
        }
        Ok(())
    }

    /// Sources that were heard.
    pub fn sources(&self) -> impl Iterator<Item = Ssrc> + '_ {
        self.sources.keys().copied()
    }
}

impl Heard {
    fn forget_old(&mut self) {
        while let Some(first) = self.numbers.first().copied() {
            if self.highest - first <= 4 * REORDER_WINDOW {
                return;
            }
            self.numbers.pop_first();
        }
    }

    fn check_time(&mut self, ssrc: Ssrc, packet: &RtpPacket<'_>) -> Result<(), ContinuityBroken> {
        let (start, sequence) = (packet.header.timestamp, packet.header.sequence);
        let early = self.audio_end.map_or(0, |end| end.samples_since(start));
        self.audio_end = Some(start.wrapping_add(packet.payload.len() as i64));
        if early > 0 {
            return Err(ContinuityBroken::Overlap { ssrc, sequence, samples: early });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{ContinuityBroken::*, *};
    use crate::packet::{RtpHeader, write};

    fn packet(ssrc: u32, sequence: u16, timestamp: u32) -> Vec<u8> {
        let header = RtpHeader {
            marker: false,
            payload_type: 0,
            sequence,
            timestamp: RtpTime::new(timestamp),
            ssrc: Ssrc(ssrc),
        };
        let mut buffer = [0; 200];
        let len = write(&header, None, &[0xff; 160], &mut buffer).expect("fits");
        buffer[..len].to_vec()
    }

    fn verdict(packets: &[(u32, u16, u32)]) -> Result<(), ContinuityBroken> {
        let mut judge = ContinuityJudge::new(PayloadType::PCMU, TimeCheck::On);
        packets.iter().try_for_each(|&(ssrc, sequence, at)| judge.hear(&packet(ssrc, sequence, at)))
    }

    // Goal: the judge passes what receivers bear and catches each planted break, at the edge.
    #[test]
    fn planted_breaks_are_caught() {
        let (ssrc, far) = (Ssrc(1), MAX_DROPOUT as u16);
        let window = REORDER_WINDOW as u16;
        assert_eq!(verdict(&[(1, 65_535, 0), (1, 0, 160), (1, 2, 480), (1, 1, 320)]), Ok(()));
        assert_eq!(verdict(&[(1, 5, 0), (2, 5, 0), (1, 6, 160)]), Ok(()));
        assert_eq!(
            verdict(&[(1, 5, 0), (1, 6, 160), (1, 5, 0)]),
            Err(Reused { ssrc, sequence: 5 })
        );
        assert_eq!(verdict(&[(1, 5, 0), (1, 5, 0)]), Err(Reused { ssrc, sequence: 5 }));
        assert_eq!(verdict(&[(1, 500, 0), (1, 500 - window, 0)]), Ok(()));
        let back = REORDER_WINDOW + 1;
        let sequence = 500 - window - 1;
        assert_eq!(
            verdict(&[(1, 500, 0), (1, sequence, 0)]),
            Err(SteppedBack { ssrc, sequence, back })
        );
        assert_eq!(verdict(&[(1, 1, 0), (1, far, 160)]), Ok(()));
        assert_eq!(
            verdict(&[(1, 1, 0), (1, far + 1, 160)]),
            Err(JumpedAhead { ssrc, sequence: far + 1, ahead: MAX_DROPOUT })
        );
        assert_eq!(
            verdict(&[(1, 1, 0), (1, 2, 159)]),
            Err(Overlap { ssrc, sequence: 2, samples: 1 })
        );
    }
}

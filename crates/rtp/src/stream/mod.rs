//! The stream towards one phone: one SSRC that goes on while everything behind it changes
//! (invariant M1: no sequence number reused, no step back beyond the reorder window).
//!
//! Sources come and go: music, beep, silence, a peer whose own SSRC and timestamps begin anew, a
//! peer that moves to another relay. [`OutgoingStream`] keeps one line of numbers and time through
//! all of it:
//!
//! - Every audio packet lasts 20 ms (G.711 can be cut anywhere, so a peer's 10 or 30 ms packets are
//!   re-cut). Numbers then follow time, and a relay that takes over can compute a number that was
//!   never used from [`StreamOrigin`] alone (`numbering.rs`).
//! - Within one run of a peer's packets, loss stays visible as missing numbers, and a late packet
//!   gets its own earlier number (`peer.rs`).
//! - Where the numbers cannot go on (a stream that was silent for minutes, a peer that floods), a
//!   new SSRC begins and is announced ([`OutgoingStream::take_restarted`]).
//!
//! What does not live here: who the source is and when it changes ([`crate::session`]).

mod numbering;
mod peer;

use crate::{
    ids::{PayloadType, Ssrc},
    limits::{FRAME_SAMPLES, TIMESTAMP_SLACK},
    packet::{self, HEADER_LEN},
    sounds::Frame,
    time::{MonotonicTime, RtpTime},
};

use numbering::{Line, NumberRefused, Numbering, Raised};
use peer::PeerRun;

pub use peer::PeerPacket;

/// Largest packet that a stream sends, in bytes.
pub const PACKET_LEN_MAX: usize = HEADER_LEN + FRAME_SAMPLES;

/// Where a stream comes from. All of it is replicated, so that another relay can go on with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamOrigin {
    /// The stream's source.
    pub ssrc: Ssrc,
    /// Sequence number at elapsed time 0.
    pub first_sequence: u16,
    /// Timestamp at elapsed time 0.
    pub first_timestamp: RtpTime,
    /// Time since the stream began, in microseconds, when the description arrives.
    pub elapsed_us: u64,
    /// How many times another relay, or an earlier life of this one, has sent this stream before.
    pub takeovers: u32,
}

/// A new SSRC that the stream began by itself. The owner replicates it as the origin, with elapsed
/// time counted from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamRestarted {
    /// The new source.
    pub ssrc: Ssrc,
    /// Its sequence number at elapsed time 0.
    pub first_sequence: u16,
    /// Its timestamp at elapsed time 0.
    pub first_timestamp: RtpTime,
}

/// Why a peer's packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PushRefused {
    /// It was sent before.
    Duplicate,
    /// It is too late, or belongs to the time before a change of source.
    Late,
    /// Too far ahead of elapsed time: the peer sends faster than time goes.
    Early,
}

/// What was sent under the current SSRC, for sender reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SentCounts {
    /// RTP packets.
    pub packets: u64,
    /// Payload bytes.
    pub octets: u64,
}

/// The stream that a relay sends to one phone.
#[derive(Debug, Clone)]
pub struct OutgoingStream {
    identity: StreamRestarted,
    numbering: Numbering,
    /// End of the latest audio, in samples since the stream began.
    audio_end: i64,
    marker: Marker,
    run: Option<PeerRun>,
    counts: SentCounts,
    unsent_pieces: u64,
    restarted: Option<StreamRestarted>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Clear,
    Set,
}

impl OutgoingStream {
    /// A stream that goes on from `origin`; nothing is sent yet.
    pub fn new(now: MonotonicTime, origin: &StreamOrigin) -> Self {
        Self {
            identity: StreamRestarted {
                ssrc: origin.ssrc,
                first_sequence: origin.first_sequence,
                first_timestamp: origin.first_timestamp,
            },
            numbering: Numbering::new(Line::new(now, origin)),
            audio_end: 0,
            marker: Marker::Set,
            run: None,
            counts: SentCounts::default(),
            unsent_pieces: 0,
            restarted: None,
        }
    }

    /// The source that packets carry now.
    pub fn ssrc(&self) -> Ssrc {
        self.identity.ssrc
    }

    /// Time since the stream began, in microseconds.
    pub fn elapsed_us(&self, now: MonotonicTime) -> u64 {
        self.numbering.line().elapsed_us(now)
    }

    /// The RTP clock of this stream at `now`, for sender reports.
    pub fn timestamp(&self, now: MonotonicTime) -> RtpTime {
        self.identity.first_timestamp.wrapping_add(self.numbering.line().samples(now))
    }

    /// What was sent under the current SSRC.
    pub fn counts(&self) -> SentCounts {
        self.counts
    }

    /// Pieces of a peer's packets, shorter than 20 ms each, that were taken and could not be sent.
    pub fn unsent_pieces(&self) -> u64 {
        self.unsent_pieces
    }

    /// The new SSRC that the stream had to begin, once.
    pub fn take_restarted(&mut self) -> Option<StreamRestarted> {
        self.restarted.take()
    }

    /// Notes that other relays have sent this stream meanwhile; see [`StreamOrigin::takeovers`].
    pub fn raise_takeovers(&mut self, now: MonotonicTime, takeovers: u32) {
        if self.numbering.raise_takeovers(now, takeovers) == Raised::Yes {
            self.run = None;
            self.marker = Marker::Set;
        }
    }

    /// Ends the run of the current source. Its packets that are still on their way are too late
    /// from here on, and the next packet carries the marker.
    pub fn switch_source(&mut self) {
        self.run = None;
        self.numbering.close();
        self.marker = Marker::Set;
    }

    /// The position, in frames, that a generated sound has at `now` when it follows the stream's
    /// own time: a relay that takes over plays on where the lost one stopped.
    pub fn frame_position(&self, now: MonotonicTime) -> u64 {
        let (start, _) = self.generated_start(now);
        start as u64 / FRAME_SAMPLES as u64
    }

    /// Sends one generated frame, now. Interrupts a peer's run without ending it: packets of the
    /// peer that come afterwards go on in their own time.
    pub fn push_frame(
        &mut self,
        now: MonotonicTime,
        payload_type: PayloadType,
        frame: &Frame,
        emit: &mut impl FnMut(&[u8]),
    ) {
        self.keep_to_the_line(now);
        self.interrupt_run(now, payload_type, emit);
        let (start, step) = self.generated_start(now);
        if step == Step::Jump {
            self.marker = Marker::Set;
        }
        let claimed = self.numbering.next(now).and_then(|index| {
            self.numbering.claim(now, index)?;
            Ok(index)
        });
        match claimed {
            Ok(index) => self.send_audio(payload_type, index, start, frame, emit),
            // Only when the piece flushed just now took the last number below the bound; the next
            // frame begins a new SSRC.
            Err(_) => self.unsent_pieces += 1,
        }
    }

    /// Where the next generated frame begins: right behind the last audio when that is near
    /// elapsed time, else at elapsed time, and never before the last audio.
    fn generated_start(&self, now: MonotonicTime) -> (i64, Step) {
        let line = self.numbering.line().samples(now);
        if (self.audio_end - line).abs() <= TIMESTAMP_SLACK && self.counts.packets > 0 {
            (self.audio_end, Step::Follow)
        } else {
            (self.audio_end.max(line), Step::Jump)
        }
    }

    /// Begins a new SSRC where the numbers of the old one cannot go on.
    fn keep_to_the_line(&mut self, now: MonotonicTime) {
        if self.numbering.next(now) == Err(NumberRefused::OffTheLine) {
            self.restart(now);
        }
    }

    /// Begins a new SSRC with numbers of its own. They are derived from the old ones, so that this
    /// crate draws none; nobody who has not seen the stream can guess them.
    fn restart(&mut self, now: MonotonicTime) {
        let identity = self.identity.derived();
        let origin = StreamOrigin {
            ssrc: identity.ssrc,
            first_sequence: identity.first_sequence,
            first_timestamp: identity.first_timestamp,
            elapsed_us: 0,
            takeovers: 0,
        };
        let unsent_pieces = self.unsent_pieces;
        *self = Self { restarted: Some(identity), unsent_pieces, ..Self::new(now, &origin) };
    }

    fn send_audio(
        &mut self,
        payload_type: PayloadType,
        index: u64,
        start: i64,
        payload: &[u8],
        emit: &mut impl FnMut(&[u8]),
    ) {
        let marker = self.marker;
        self.marker = Marker::Clear;
        self.audio_end = self.audio_end.max(start + payload.len() as i64);
        self.send(payload_type, marker, index, start, payload, emit);
    }

    fn send(
        &mut self,
        payload_type: PayloadType,
        marker: Marker,
        index: u64,
        start: i64,
        payload: &[u8],
        emit: &mut impl FnMut(&[u8]),
    ) {
        let header = packet::outgoing_header(
            payload_type,
            marker == Marker::Set,
            self.identity.first_sequence.wrapping_add(index as u16),
            self.identity.first_timestamp.wrapping_add(start),
            self.identity.ssrc,
        );
        let mut buffer = [0; PACKET_LEN_MAX];
        let len = packet::write(&header, None, payload, &mut buffer);
        if let Some(bytes) = len.and_then(|len| buffer.get(..len)) {
            self.counts.packets += 1;
            self.counts.octets += payload.len() as u64;
            emit(bytes);
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Follow,
    Jump,
}

impl StreamRestarted {
    fn derived(self) -> Self {
        let seed = (u64::from(self.ssrc.0) << 32)
            ^ (u64::from(self.first_sequence) << 16)
            ^ u64::from(self.first_timestamp.value());
        let (a, b) = (mix(seed), mix(seed.wrapping_add(1)));
        Self {
            ssrc: Ssrc((a >> 32) as u32),
            first_sequence: a as u16,
            first_timestamp: RtpTime::new(b as u32),
        }
    }
}

/// Stirs 64 bits: the finalizer of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom
/// Number Generators", OOPSLA 2014).
pub(crate) const fn mix(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

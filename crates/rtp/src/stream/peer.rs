//! A peer's packets inside the stream: re-cut to 20 ms, renumbered, placed in the stream's time.
//!
//! A [`PeerRun`] ties the peer's timestamps to the stream. The peer's time is divided into slots of
//! 20 ms, and each slot has one number, so that what the peer's network lost stays missing and what
//! it swapped is sorted back. The tie is made anew when the peer begins anew (another SSRC, a jump
//! of its clock, a step back), and its numbers move on where packets took numbers without taking
//! time (telephone-events, filled-in silence) or time without packets (silence suppression).

use super::{Marker, NumberRefused, OutgoingStream, PushRefused};
use crate::{
    dtmf::EventPayload,
    ids::{PayloadType, Ssrc},
    limits::{FRAME_SAMPLES, TIMESTAMP_AHEAD_MAX, TIMESTAMP_BEHIND_MAX},
    time::{MonotonicTime, RtpTime, TimestampUnwrapper},
};

const SLOT: i64 = FRAME_SAMPLES as i64;
/// Older than this many packets is a number from before the wrap, not a late packet.
const LATE_MAX: i16 = 1_000;

/// The header fields of a peer's packet that matter to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerPacket {
    /// Source, as the peer's phone chose it.
    pub ssrc: Ssrc,
    /// Number, as the peer's phone counts.
    pub sequence: u16,
    /// Time, as the peer's phone counts.
    pub timestamp: RtpTime,
}

/// One unbroken run of one peer source.
#[derive(Debug, Clone)]
pub(super) struct PeerRun {
    ssrc: Ssrc,
    unwrapper: TimestampUnwrapper,
    newest_sequence: u16,
    /// End of the newest packet, in the peer's samples.
    newest_end: i64,
    anchor: Anchor,
    renumber: Renumber,
    /// Audio before this place in the stream's time is too late.
    start_min: i64,
    partial: Option<Partial>,
    event: Option<EventRun>,
}

/// Where a place in the peer's time lies in the stream.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    peer: i64,
    stream: i64,
    index: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renumber {
    No,
    /// The next packet that is newer than all before takes the next number in line.
    AtNext,
}

/// A slot of which only a part has come.
#[derive(Debug, Clone)]
struct Partial {
    slot: i64,
    from: usize,
    to: usize,
    payload: [u8; FRAME_SAMPLES],
}

/// A telephone-event on its way.
#[derive(Debug, Clone, Copy)]
struct EventRun {
    timestamp: i64,
    duration: u16,
    end: bool,
}

impl OutgoingStream {
    /// Sends a peer's audio, already in this leg's law. May send no packet (the first half of a
    /// slot), one, or several (a long packet).
    pub fn push_peer_audio(
        &mut self,
        now: MonotonicTime,
        packet: PeerPacket,
        payload: &[u8],
        payload_type: PayloadType,
        emit: &mut impl FnMut(&[u8]),
    ) -> Result<(), PushRefused> {
        let out = &mut Out { now, payload_type, emit };
        let mut position = self.place(packet, payload.len() as i64, Kind::Audio, out)?;
        let mut rest = payload;
        let mut outcome = Err(PushRefused::Duplicate);
        while let (Some(run), false) = (&self.run, rest.is_empty()) {
            let slot = (position - run.anchor.peer).div_euclid(SLOT);
            let offset = (position - run.anchor.peer).rem_euclid(SLOT);
            let (piece, behind) = rest.split_at(rest.len().min((SLOT - offset) as usize));
            let pushed = self.push_piece(slot, offset as usize, piece, out);
            // The packet counts as sent when any part of it was.
            outcome = if outcome.is_ok() { outcome } else { pushed };
            position += piece.len() as i64;
            rest = behind;
        }
        outcome
    }

    /// Sends a peer's telephone-event packet (RFC 4733). The timestamp stays that of the press over
    /// all its packets; numbers are given in the order of arrival.
    pub fn push_peer_event(
        &mut self,
        now: MonotonicTime,
        packet: PeerPacket,
        event: EventPayload,
        payload_type: PayloadType,
        emit: &mut impl FnMut(&[u8]),
    ) -> Result<(), PushRefused> {
        let out = &mut Out { now, payload_type, emit };
        let position = self.place(packet, i64::from(event.duration), Kind::Event, out)?;
        self.flush_partial(out);
        let Some(run) = &mut self.run else { return Err(PushRefused::Late) };
        let marker = run.admit_event(position, event)?;
        let index = self.numbering.next(now)?;
        self.numbering.claim(now, index)?;
        let start = run.anchor.stream_time(position);
        self.send(payload_type, marker, index, start, &event.encode(), emit);
        Ok(())
    }

    /// Lets a generated frame in: what was collected goes out first, and the run goes on later with
    /// new numbers, in its own time, behind the frame.
    pub(super) fn interrupt_run(
        &mut self,
        now: MonotonicTime,
        payload_type: PayloadType,
        emit: &mut impl FnMut(&[u8]),
    ) {
        self.flush_partial(&mut Out { now, payload_type, emit });
        let frame_end = self.generated_start(now).0 + SLOT;
        if let Some(run) = &mut self.run {
            run.renumber = Renumber::AtNext;
            run.start_min = frame_end;
        }
    }

    /// Finds the packet's place in the peer's time, tying the peer to the stream first where that
    /// is needed.
    fn place<E: FnMut(&[u8])>(
        &mut self,
        packet: PeerPacket,
        length: i64,
        kind: Kind,
        out: &mut Out<'_, E>,
    ) -> Result<i64, PushRefused> {
        self.keep_to_the_line(out.now);
        let audio_end = self.audio_end;
        let line = self.numbering.line().samples(out.now);
        let Some(run) = self.run.as_mut().filter(|run| run.ssrc == packet.ssrc) else {
            return self.tie(packet, length, out);
        };
        let newer = packet.sequence.wrapping_sub(run.newest_sequence) as i16;
        let mut unwrapper = run.unwrapper;
        let position = unwrapper.unwrap(packet.timestamp);
        let start = run.anchor.stream_time(position);
        let end = start + length;
        if end > line + TIMESTAMP_AHEAD_MAX || end < line - TIMESTAMP_BEHIND_MAX {
            let is_late = newer <= 0 && newer > -LATE_MAX;
            return if is_late { Err(PushRefused::Late) } else { self.tie(packet, length, out) };
        }
        if newer > 0 && kind == Kind::Audio && start < audio_end {
            // A higher number with an earlier time: the peer's clock stood still, or the silence
            // that filled in for it ran on.
            return self.tie(packet, length, out);
        }
        run.unwrapper = unwrapper;
        if newer > 0 {
            // Consecutive numbers with time between them: the peer was silent, nothing was lost.
            let resumed = newer == 1 && position > run.newest_end;
            run.newest_sequence = packet.sequence;
            run.newest_end = run.newest_end.max(position + length);
            if resumed {
                self.marker = Marker::Set;
                run.renumber = Renumber::AtNext;
            }
            if run.renumber == Renumber::AtNext && kind == Kind::Audio {
                self.renumber(position, out)?;
            }
        }
        Ok(position)
    }

    /// Begins a run at `packet`: at elapsed time, and never over audio that was sent.
    fn tie<E: FnMut(&[u8])>(
        &mut self,
        packet: PeerPacket,
        length: i64,
        out: &mut Out<'_, E>,
    ) -> Result<i64, PushRefused> {
        self.flush_partial(out);
        let line = self.numbering.line().samples(out.now);
        if self.audio_end > line + TIMESTAMP_AHEAD_MAX {
            return Err(PushRefused::Early);
        }
        let index = self.numbering.next(out.now)?;
        let stream = self.audio_end.max(line);
        self.numbering.open(index);
        self.marker = Marker::Set;
        self.run = Some(PeerRun {
            ssrc: packet.ssrc,
            unwrapper: TimestampUnwrapper::new(packet.timestamp),
            newest_sequence: packet.sequence,
            newest_end: length,
            anchor: Anchor { peer: 0, stream, index },
            renumber: Renumber::No,
            start_min: stream,
            partial: None,
            event: None,
        });
        Ok(0)
    }

    /// Gives the slot that begins at `position` the next number in line.
    fn renumber<E: FnMut(&[u8])>(
        &mut self,
        position: i64,
        out: &mut Out<'_, E>,
    ) -> Result<(), PushRefused> {
        self.flush_partial(out);
        let index = self.numbering.next(out.now)?;
        let Some(run) = &mut self.run else { return Err(PushRefused::Late) };
        let stream = run.anchor.stream_time(position);
        if stream < self.audio_end {
            // What was flushed just now ends later.
            return Err(PushRefused::Late);
        }
        self.numbering.open(index);
        run.anchor = Anchor { peer: position, stream, index };
        run.renumber = Renumber::No;
        Ok(())
    }

    /// Takes a piece of a slot: sends it when the slot is full, else keeps it until the rest comes
    /// or another slot begins.
    fn push_piece<E: FnMut(&[u8])>(
        &mut self,
        slot: i64,
        offset: usize,
        piece: &[u8],
        out: &mut Out<'_, E>,
    ) -> Result<(), PushRefused> {
        let Some(run) = &mut self.run else { return Err(PushRefused::Late) };
        if run.partial.as_ref().is_some_and(|partial| partial.slot < slot) {
            self.flush_partial(out);
            return self.push_piece(slot, offset, piece, out);
        }
        if piece.len() == FRAME_SAMPLES {
            return self.send_slot(slot, 0, piece, out);
        }
        let partial = run.partial.get_or_insert_with(|| Partial::empty(slot, offset));
        partial.add(slot, offset, piece)?;
        if !partial.is_full() {
            return Ok(());
        }
        self.send_partial(out)
    }

    /// Sends what was collected of a slot, even when it is not full.
    fn flush_partial<E: FnMut(&[u8])>(&mut self, out: &mut Out<'_, E>) {
        if self.send_partial(out).is_err() {
            self.unsent_pieces += 1;
        }
    }

    fn send_partial<E: FnMut(&[u8])>(&mut self, out: &mut Out<'_, E>) -> Result<(), PushRefused> {
        let Some(partial) = self.run.as_mut().and_then(|run| run.partial.take()) else {
            return Ok(());
        };
        let payload = partial.payload.get(partial.from..partial.to).unwrap_or(&[]);
        self.send_slot(partial.slot, partial.from, payload, out)
    }

    fn send_slot<E: FnMut(&[u8])>(
        &mut self,
        slot: i64,
        offset: usize,
        payload: &[u8],
        out: &mut Out<'_, E>,
    ) -> Result<(), PushRefused> {
        let Some(run) = &mut self.run else { return Err(PushRefused::Late) };
        let start = run.anchor.stream + slot * SLOT + offset as i64;
        let index = run.anchor.index.checked_add_signed(slot).ok_or(PushRefused::Late)?;
        if start < run.start_min {
            return Err(PushRefused::Late);
        }
        let claimed = self.numbering.claim(out.now, index);
        if claimed == Err(NumberRefused::OffTheLine) {
            run.renumber = Renumber::AtNext;
        }
        claimed?;
        self.send_audio(out.payload_type, index, start, payload, out.emit);
        Ok(())
    }
}

/// What a peer's packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Audio,
    Event,
}

/// What every step of sending needs.
struct Out<'a, E> {
    now: MonotonicTime,
    payload_type: PayloadType,
    emit: &'a mut E,
}

impl PeerRun {
    /// Notes an event packet; refuses what is older than what was sent of it. The first packet of
    /// a press carries the marker (RFC 4733 section 2.5.1.1).
    fn admit_event(&mut self, position: i64, event: EventPayload) -> Result<Marker, PushRefused> {
        let marker = match self.event {
            Some(earlier) if position < earlier.timestamp => return Err(PushRefused::Late),
            Some(earlier) if position == earlier.timestamp => {
                if event.duration < earlier.duration || (earlier.end && !event.end) {
                    return Err(PushRefused::Late);
                }
                Marker::Clear
            }
            _ => Marker::Set,
        };
        self.event =
            Some(EventRun { timestamp: position, duration: event.duration, end: event.end });
        // The packet takes a number of its own and no slot: audio behind it is numbered anew.
        self.renumber = Renumber::AtNext;
        Ok(marker)
    }
}

impl Partial {
    fn empty(slot: i64, offset: usize) -> Self {
        Self { slot, from: offset, to: offset, payload: [0; FRAME_SAMPLES] }
    }

    /// Joins a piece to either end.
    fn add(&mut self, slot: i64, offset: usize, piece: &[u8]) -> Result<(), PushRefused> {
        if slot < self.slot {
            return Err(PushRefused::Late);
        }
        let end = offset + piece.len();
        if offset == self.to {
            self.to = end;
        } else if end == self.from {
            self.from = offset;
        } else {
            return Err(PushRefused::Duplicate);
        }
        if let Some(room) = self.payload.get_mut(offset..end) {
            room.copy_from_slice(piece);
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.from == 0 && self.to == FRAME_SAMPLES
    }
}

impl Anchor {
    fn stream_time(&self, position: i64) -> i64 {
        self.stream + (position - self.peer)
    }
}

impl From<NumberRefused> for PushRefused {
    fn from(refused: NumberRefused) -> Self {
        match refused {
            NumberRefused::Duplicate => Self::Duplicate,
            NumberRefused::Late => Self::Late,
            NumberRefused::OffTheLine => Self::Early,
        }
    }
}

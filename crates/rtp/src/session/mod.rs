//! One leg's media as a value: packets, ticks and descriptions in, outputs out.
//!
//! A [`MediaSession`] stands between one phone and whatever that phone shall hear. The shell hands
//! it what arrives on its sockets ([`MediaSession::handle_packet`]), what its peer leg sent
//! ([`MediaSession::handle_peer_packet`]), a tick every 20 ms ([`MediaSession::handle_tick`]), and
//! the owner's wishes ([`MediaSession::describe`]); each call puts what follows into a [`Sink`].
//!
//! Rules kept here: M1 through [`crate::stream`], M2 through [`crate::latch`], S2 through epochs
//! and revisions (`describe.rs`); a bridge lets a packet through only when both legs name each
//! other. What does not live here: ports, sockets, the table of sessions (`media-relay`).

mod describe;
mod description;
mod playing;
mod reports;

use std::{net::SocketAddr, sync::Arc};

use crate::{
    dtmf::{DtmfEvent, DtmfReceiver, EventPayload},
    g711::Codec,
    ids::{LegEpoch, LegId, NodeId, PayloadType, Revision, Ssrc},
    latch::{PayloadFit, SourceLatch, SourceVerdict},
    limits::{AUDIO_PAYLOAD_MAX, RTP_PACKET_MAX},
    packet::{self, RtpHeader, RtpPacket},
    rate::{Admission, TokenBucket},
    sounds::Sounds,
    stats::ReceiveStatistics,
    stream::{OutgoingStream, PeerPacket, PushRefused, StreamRestarted},
    time::MonotonicTime,
};

pub use describe::DescribeRefused;
pub use description::{
    DescriptionInvalid, Direction, MediaFormat, Peer, RtcpMode, SessionDescription, Source, Via,
};
use playing::Generator;
use reports::Reports;

/// What a session wants done.
pub enum Output<'a> {
    /// Send `packet` to the phone.
    Transmit {
        /// From which of the session's sockets.
        channel: Channel,
        /// To which address.
        to: SocketAddr,
        /// The whole packet.
        packet: &'a [u8],
    },
    /// Hand `packet` to the peer leg.
    ToPeer {
        /// Which leg, on which relay.
        peer: &'a Peer,
        /// RTP with the payload types of links, and this leg's tag as contributing source.
        packet: &'a [u8],
    },
    /// Tell the owner.
    Event(SessionEvent),
}

/// Where outputs go. Called while an input is handled; must not call back into the session.
pub trait Sink {
    /// Takes one output.
    fn put(&mut self, output: Output<'_>);
}

impl<F: FnMut(Output<'_>)> Sink for F {
    fn put(&mut self, output: Output<'_>) {
        self(output);
    }
}

/// What the owner of a leg is told.
#[derive(Clone, PartialEq, Eq)]
pub enum SessionEvent {
    /// Packets arrive from the phone (again).
    Flowing {
        /// From where; it may be learned.
        source: SocketAddr,
    },
    /// No packet came for the configured time.
    Stopped {
        /// Silence so far, in milliseconds.
        silent_ms: u64,
    },
    /// A key was pressed.
    Dtmf(DtmfEvent),
    /// The stream had to begin a new SSRC; replicate it as the origin.
    Restarted(StreamRestarted),
    /// Neither phone nor owner was heard for the configured time: the session ends. Said once; the
    /// shell then calls [`MediaSession::close`] and drops it.
    Gone {
        /// Silence, in milliseconds.
        silent_ms: u64,
    },
}

/// Which of a session's two sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// The even port.
    Rtp,
    /// The port above it.
    Rtcp,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a dropped packet is counted"]
pub enum Verdict {
    /// It was taken.
    Accepted,
    /// It was thrown away.
    Dropped(DropReason),
}

/// Why a packet was thrown away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DropReason {
    /// No valid RTP or RTCP, or too large.
    Malformed,
    /// Not from whom the session talks to (invariant M2).
    Source,
    /// A payload type that was not negotiated.
    PayloadType,
    /// The direction does not allow it, or the remote address is not known yet.
    Direction,
    /// Behind the reorder window, from before a change of source, or too early.
    Late,
    /// Sent before.
    Duplicate,
    /// Over the rate that one phone may send.
    Rate,
    /// The two legs do not name each other.
    NotBridged,
}

/// Times that the shell configures.
#[derive(Debug, Clone, Copy)]
pub struct SessionTimes {
    /// Silence of the phone after which [`SessionEvent::Stopped`] is said, in microseconds.
    pub media_stopped_after_us: u64,
    /// Silence of phone and owner after which the session ends, in microseconds.
    pub idle_us: u64,
}

/// Figures of one leg, for the contact's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LegStatistics {
    /// Packets from the phone that were taken.
    pub received: u64,
    /// Packets from the phone that the network lost.
    pub lost: u64,
    /// Packets sent to the phone.
    pub sent: u64,
    /// Jitter of what the phone sent, in microseconds.
    pub jitter_us: u32,
    /// Round trip to the phone, in microseconds; 0: not measured.
    pub round_trip_us: u32,
    /// Life of the session, in milliseconds.
    pub duration_ms: u64,
    /// Longest silence of the phone between two packets, in milliseconds.
    pub largest_gap_ms: u64,
}

/// One leg's media session.
pub struct MediaSession {
    leg: LegId,
    epoch: LegEpoch,
    revision: Revision,
    owner: NodeId,
    latch: Option<SourceLatch>,
    rtcp_mode: RtcpMode,
    format: MediaFormat,
    direction: Direction,
    source: Source,
    stream: OutgoingStream,
    /// The SSRC that the owner asked for last; the stream may have moved on from it by itself.
    origin_ssrc: Ssrc,
    generator: Generator,
    flow: MediaFlow,
    receive: ReceiveStatistics,
    dtmf: DtmfReceiver,
    reports: Reports,
    rtp_rate: TokenBucket,
    rtcp_rate: TokenBucket,
    times: SessionTimes,
    created_at: MonotonicTime,
    /// When phone or owner was heard last.
    alive_at: MonotonicTime,
    sent: u64,
    sounds: Arc<Sounds>,
}

/// Does media come from the phone?
#[derive(Clone, Copy)]
enum MediaFlow {
    /// It need not: no address yet, or the direction does not ask for it.
    Unasked,
    Waiting {
        since: MonotonicTime,
    },
    Flowing {
        from: SocketAddr,
        last: MonotonicTime,
    },
    Stopped {
        since: MonotonicTime,
    },
}

impl MediaSession {
    /// Handles what arrived on one of the session's sockets.
    pub fn handle_packet(
        &mut self,
        now: MonotonicTime,
        channel: Channel,
        from: SocketAddr,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Verdict {
        let shared = self.rtcp_mode == RtcpMode::Mux && packet::is_rtcp(bytes);
        let handled = if channel == Channel::Rtcp || shared {
            self.handle_rtcp(now, from, bytes)
        } else {
            self.handle_rtp(now, from, bytes, sink)
        };
        handled.map_or_else(Verdict::Dropped, |()| Verdict::Accepted)
    }

    /// Handles a packet that the peer leg's session put out as [`Output::ToPeer`]; `via` says how
    /// it came here.
    pub fn handle_peer_packet(
        &mut self,
        now: MonotonicTime,
        via: Via<'_>,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Verdict {
        let handled = self.forward_to_phone(now, via, bytes, sink);
        self.announce_restart(sink);
        handled.map_or_else(Verdict::Dropped, |()| Verdict::Accepted)
    }

    /// Does what is due: generated frames, reports, lost key presses, silence. To be called every
    /// 20 ms; a late call is made up for within a bound.
    pub fn handle_tick(&mut self, now: MonotonicTime, sink: &mut impl Sink) {
        self.play(now, sink);
        self.announce_restart(sink);
        if let Some(press) = self.dtmf.handle_tick(now) {
            sink.put(Output::Event(SessionEvent::Dtmf(press)));
        }
        self.watch_flow(now, sink);
        self.report_when_due(now, sink);
    }

    /// Ends the session: says goodbye to the phone (RFC 3550 section 6.6).
    pub fn close(&mut self, now: MonotonicTime, sink: &mut impl Sink) {
        self.say_goodbye(now, sink);
    }

    /// Notes that the owner was heard; a session whose owner lives does not end by silence.
    pub fn owner_seen(&mut self, now: MonotonicTime) {
        self.alive_at = self.alive_at.max(now);
    }

    /// What a new listener is told first: does media flow? Nothing of a phone that need not speak,
    /// or whose time to begin is not over: silence is news only after `media_stopped_after_us`.
    pub fn opening_event(&self, now: MonotonicTime) -> Option<SessionEvent> {
        match self.flow {
            MediaFlow::Flowing { from, .. } => Some(SessionEvent::Flowing { source: from }),
            MediaFlow::Stopped { since } => {
                Some(SessionEvent::Stopped { silent_ms: now.micros_since(since) / 1_000 })
            }
            MediaFlow::Unasked | MediaFlow::Waiting { .. } => None,
        }
    }

    /// Figures so far.
    pub fn statistics(&self, now: MonotonicTime) -> LegStatistics {
        let totals = self.receive.totals();
        LegStatistics {
            received: totals.received,
            lost: totals.lost,
            sent: self.sent,
            jitter_us: totals.jitter_us,
            round_trip_us: self.reports.round_trip_us(),
            duration_ms: now.micros_since(self.created_at) / 1_000,
            largest_gap_ms: totals.largest_gap_us / 1_000,
        }
    }

    /// The leg that this session serves.
    pub fn leg(&self) -> LegId {
        self.leg
    }

    /// Ownership epoch of the last accepted description.
    pub fn epoch(&self) -> LegEpoch {
        self.epoch
    }

    /// The node that owns the leg.
    pub fn owner(&self) -> NodeId {
        self.owner
    }

    /// What the phone hears.
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Whether RTCP shares the RTP port.
    pub fn rtcp_mode(&self) -> RtcpMode {
        self.rtcp_mode
    }

    fn handle_rtp(
        &mut self,
        now: MonotonicTime,
        from: SocketAddr,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), DropReason> {
        let packet = RtpPacket::parse(bytes).map_err(|_| DropReason::Malformed)?;
        if packet.payload.len() > AUDIO_PAYLOAD_MAX {
            return Err(DropReason::Malformed);
        }
        let latch = self.latch.as_mut().ok_or(DropReason::Direction)?;
        if !self.direction.receives() {
            return Err(DropReason::Direction);
        }
        let kind = self.format.kind(packet.header.payload_type);
        let fit = if kind.is_some() { PayloadFit::Expected } else { PayloadFit::Unexpected };
        if latch.judge_rtp(from, fit) == SourceVerdict::Refused {
            return Err(DropReason::Source);
        }
        if self.rtp_rate.admit(now) == Admission::Refused {
            return Err(DropReason::Rate);
        }
        let kind = kind.ok_or(DropReason::PayloadType)?;
        let header = packet.header;
        self.receive.record(now, header.ssrc, header.sequence, header.timestamp);
        self.note_flow(now, from, sink);
        if kind == PayloadKind::Event {
            self.note_key(now, &packet, sink)?;
        }
        self.forward_to_peer(kind, &packet, sink);
        Ok(())
    }

    fn note_flow(&mut self, now: MonotonicTime, from: SocketAddr, sink: &mut impl Sink) {
        let was_flowing = matches!(self.flow, MediaFlow::Flowing { from: old, .. } if old == from);
        self.flow = MediaFlow::Flowing { from, last: now };
        self.alive_at = self.alive_at.max(now);
        if !was_flowing {
            sink.put(Output::Event(SessionEvent::Flowing { source: from }));
        }
    }

    fn note_key(
        &mut self,
        now: MonotonicTime,
        packet: &RtpPacket<'_>,
        sink: &mut impl Sink,
    ) -> Result<(), DropReason> {
        let payload = EventPayload::parse(packet.payload).ok_or(DropReason::Malformed)?;
        let header = packet.header;
        if let Some(press) = self.dtmf.handle(now, header.ssrc, header.timestamp, payload) {
            sink.put(Output::Event(SessionEvent::Dtmf(press)));
        }
        Ok(())
    }

    fn forward_to_peer(&mut self, kind: PayloadKind, packet: &RtpPacket<'_>, sink: &mut impl Sink) {
        // An empty packet keeps a NAT open (RFC 6263); it says nothing to the peer.
        let (Source::Peer(peer), false) = (&self.source, packet.payload.is_empty()) else { return };
        let payload_type = match kind {
            PayloadKind::Audio => self.format.codec.link_payload_type(),
            PayloadKind::Event => PayloadType::TELEPHONE_EVENT,
        };
        let header = RtpHeader { payload_type: payload_type.value(), ..packet.header };
        let mut buffer = [0; RTP_PACKET_MAX];
        let tag = Some(Ssrc(self.leg.tag()));
        let len = packet::write(&header, tag, packet.payload, &mut buffer);
        if let Some(packet) = len.and_then(|len| buffer.get(..len)) {
            sink.put(Output::ToPeer { peer, packet });
        }
    }

    fn forward_to_phone(
        &mut self,
        now: MonotonicTime,
        via: Via<'_>,
        bytes: &[u8],
        sink: &mut impl Sink,
    ) -> Result<(), DropReason> {
        let packet = RtpPacket::parse(bytes).map_err(|_| DropReason::Malformed)?;
        let Source::Peer(peer) = &self.source else { return Err(DropReason::NotBridged) };
        if !peer.is_sender(via, packet.contributor) {
            return Err(DropReason::NotBridged);
        }
        self.generator.peer_heard_at = now;
        self.generator.plays_on = None;
        let to = self.target().ok_or(DropReason::Direction)?;
        let header = packet.header;
        let place = PeerPacket {
            ssrc: header.ssrc,
            sequence: header.sequence,
            timestamp: header.timestamp,
        };
        let sent = &mut self.sent;
        let mut emit = |packet: &[u8]| {
            *sent += 1;
            sink.put(Output::Transmit { channel: Channel::Rtp, to, packet });
        };
        if header.payload_type == PayloadType::TELEPHONE_EVENT.value() {
            let format = self.format.dtmf_payload_type.ok_or(DropReason::PayloadType)?;
            let event = EventPayload::parse(packet.payload).ok_or(DropReason::Malformed)?;
            self.stream.push_peer_event(now, place, event, format, &mut emit)?;
            return Ok(());
        }
        let codec =
            Codec::from_link_payload_type(header.payload_type).ok_or(DropReason::PayloadType)?;
        let mut buffer = [0; AUDIO_PAYLOAD_MAX];
        let payload = transcode(packet.payload, codec, self.format.codec, &mut buffer)
            .ok_or(DropReason::Malformed)?;
        self.stream.push_peer_audio(now, place, payload, self.format.payload_type, &mut emit)?;
        Ok(())
    }

    /// Where audio goes now; `None` when none may be sent.
    fn target(&self) -> Option<SocketAddr> {
        let latch = self.latch.as_ref().filter(|_| self.direction.sends())?;
        Some(latch.rtp_target())
    }

    fn announce_restart(&mut self, sink: &mut impl Sink) {
        if let Some(restarted) = self.stream.take_restarted() {
            sink.put(Output::Event(SessionEvent::Restarted(restarted)));
        }
    }

    fn watch_flow(&mut self, now: MonotonicTime, sink: &mut impl Sink) {
        let since = match self.flow {
            MediaFlow::Waiting { since } => Some(since),
            MediaFlow::Flowing { last, .. } => Some(last),
            MediaFlow::Stopped { .. } | MediaFlow::Unasked => None,
        };
        let silent = since.filter(|s| now.micros_since(*s) >= self.times.media_stopped_after_us);
        if let Some(since) = silent {
            self.flow = MediaFlow::Stopped { since };
            let silent_ms = now.micros_since(since) / 1_000;
            sink.put(Output::Event(SessionEvent::Stopped { silent_ms }));
        }
        let idle_us = now.micros_since(self.alive_at);
        if idle_us >= self.times.idle_us {
            // Said once: the clock of idleness begins anew.
            self.alive_at = now;
            sink.put(Output::Event(SessionEvent::Gone { silent_ms: idle_us / 1_000 }));
        }
    }
}

/// What a payload type stands for in one session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PayloadKind {
    Audio,
    Event,
}

impl MediaFormat {
    fn kind(&self, payload_type: u8) -> Option<PayloadKind> {
        if payload_type == self.payload_type.value() {
            Some(PayloadKind::Audio)
        } else if self.dtmf_payload_type.is_some_and(|dtmf| dtmf.value() == payload_type) {
            Some(PayloadKind::Event)
        } else {
            None
        }
    }
}

/// The payload in the target's law; `None` when it is longer than the buffer.
fn transcode<'a>(
    payload: &'a [u8],
    from: Codec,
    to: Codec,
    buffer: &'a mut [u8],
) -> Option<&'a [u8]> {
    let Some(table) = from.table_to(to) else {
        return (payload.len() <= buffer.len()).then_some(payload);
    };
    let out = buffer.get_mut(..payload.len())?;
    for (out, byte) in out.iter_mut().zip(payload) {
        *out = table[usize::from(*byte)];
    }
    Some(out)
}

impl From<PushRefused> for DropReason {
    fn from(refused: PushRefused) -> Self {
        match refused {
            PushRefused::Duplicate => Self::Duplicate,
            PushRefused::Late | PushRefused::Early => Self::Late,
        }
    }
}

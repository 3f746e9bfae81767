//! A session with its sockets, and the sink that carries its outputs away.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::OnceLock,
};

use parking_lot::Mutex;
use tandem_rtp::{
    ids::LegId,
    limits::RTP_PACKET_MAX,
    session::{Channel, MediaSession, Output, SessionEvent, Sink, Verdict, Via},
    time::MonotonicTime,
};

use super::MediaPlane;
use crate::{limits::SLOT_BYTES_MAX, link::LinkFlow, ports::PortPair};

/// One session and what it holds of the system: at most two open files.
pub(super) struct Slot {
    pub(super) leg: LegId,
    /// Names the slot in events of the system; never used twice.
    pub(super) key: u64,
    pub(super) worker: usize,
    pub(super) ports: PortPair,
    pub(super) rtp: UdpSocket,
    /// Absent as long as RTCP shares the RTP port.
    pub(super) rtcp: OnceLock<UdpSocket>,
    pub(super) state: Mutex<SlotState>,
}

/// What changes while a slot lives.
pub(super) struct SlotState {
    pub(super) session: MediaSession,
    /// The link to the peer's relay, when the peer is on another one.
    pub(super) link: Option<LinkFlow>,
    pub(super) life: Life,
}

/// Whether a slot still takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    Alive,
    Ended,
}

/// Room for one packet on its way to a peer on this relay.
pub(super) struct Scratch {
    leg: Option<LegId>,
    len: usize,
    packet: [u8; RTP_PACKET_MAX],
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self { leg: None, len: 0, packet: [0; RTP_PACKET_MAX] }
    }

    /// The packet that was put here, once.
    pub(super) fn take_local(&mut self) -> Option<(LegId, &[u8])> {
        let leg = self.leg.take()?;
        Some((leg, self.packet.get(..self.len)?))
    }

    fn put_local(&mut self, leg: LegId, packet: &[u8]) {
        if let Some(room) = self.packet.get_mut(..packet.len()) {
            room.copy_from_slice(packet);
            self.leg = Some(leg);
            self.len = packet.len();
        }
    }
}

impl Slot {
    pub(super) fn handle_packet(
        &self,
        plane: &MediaPlane,
        now: MonotonicTime,
        channel: Channel,
        from: SocketAddr,
        bytes: &[u8],
        scratch: &mut Scratch,
    ) -> Verdict {
        let mut state = self.state.lock();
        self.with_sink(plane, now, &mut state, Some(scratch), |session, sink| {
            #[cfg(test)]
            planted::bug(session.leg(), "own packet");
            session.handle_packet(now, channel, from, bytes, sink)
        })
    }

    pub(super) fn handle_peer_packet(
        &self,
        plane: &MediaPlane,
        now: MonotonicTime,
        via: Via<'_>,
        bytes: &[u8],
    ) -> Verdict {
        let mut state = self.state.lock();
        self.with_sink(plane, now, &mut state, None, |session, sink| {
            #[cfg(test)]
            planted::bug(session.leg(), "peer's packet");
            session.handle_peer_packet(now, via, bytes, sink)
        })
    }

    /// Runs one tick; says whether the session ended by it.
    pub(super) fn handle_tick(&self, plane: &MediaPlane, now: MonotonicTime) -> Life {
        let mut state = self.state.lock();
        self.with_sink(plane, now, &mut state, None, |session, sink| {
            #[cfg(test)]
            planted::bug(session.leg(), "tick");
            session.handle_tick(now, sink);
        });
        state.life
    }

    /// Says goodbye to the phone; nothing is sent afterwards.
    pub(super) fn close(&self, plane: &MediaPlane, now: MonotonicTime) {
        let mut state = self.state.lock();
        self.with_sink(plane, now, &mut state, None, |session, sink| session.close(now, sink));
        state.life = Life::Ended;
        state.link = None;
    }

    /// The address that stands in the SDP.
    pub(super) fn local_rtp(&self, plane: &MediaPlane) -> SocketAddr {
        SocketAddr::new(plane.address, self.ports.rtp())
    }

    fn with_sink<R>(
        &self,
        plane: &MediaPlane,
        now: MonotonicTime,
        state: &mut SlotState,
        scratch: Option<&mut Scratch>,
        handle: impl FnOnce(&mut MediaSession, &mut SlotSink<'_>) -> R,
    ) -> R {
        let SlotState { session, link, life } = state;
        let (owner, epoch) = (session.owner(), session.epoch());
        let mut sink = SlotSink {
            slot: self,
            plane,
            now,
            link: link.as_ref(),
            scratch,
            events: Vec::new(),
            life: *life,
        };
        let result = handle(session, &mut sink);
        *life = sink.life;
        for event in sink.events {
            plane.events.publish(owner, self.leg, epoch, &event);
        }
        result
    }
}

struct SlotSink<'a> {
    slot: &'a Slot,
    plane: &'a MediaPlane,
    now: MonotonicTime,
    link: Option<&'a LinkFlow>,
    scratch: Option<&'a mut Scratch>,
    /// Rare; an empty vector costs nothing.
    events: Vec<SessionEvent>,
    life: Life,
}

impl Sink for SlotSink<'_> {
    fn put(&mut self, output: Output<'_>) {
        match output {
            Output::Transmit { channel, to, packet } if self.life == Life::Alive => {
                self.transmit(channel, to, packet);
            }
            Output::Transmit { .. } => {}
            Output::ToPeer { peer, packet } => match (&peer.relay, self.link) {
                (None, _) => {
                    if let Some(scratch) = &mut self.scratch {
                        scratch.put_local(peer.leg, packet);
                    }
                }
                (Some(_), Some(link)) => link.send(self.now, peer.leg, packet),
                (Some(_), None) => self.plane.counters.dropped_no_session.increment(),
            },
            Output::Event(event) => {
                if matches!(event, SessionEvent::Gone { .. }) {
                    self.life = Life::Ended;
                }
                self.events.push(event);
            }
        }
    }
}

impl SlotSink<'_> {
    fn transmit(&self, channel: Channel, to: SocketAddr, packet: &[u8]) {
        let socket = match channel {
            Channel::Rtp => &self.slot.rtp,
            Channel::Rtcp => self.slot.rtcp.get().unwrap_or(&self.slot.rtp),
        };
        let counters = &self.plane.counters;
        match socket.send_to(packet, to) {
            Ok(_) => counters.sent.increment(),
            // A full buffer drops the packet, as the network would.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                counters.send_errors.increment();
            }
            Err(error) => {
                counters.send_errors.increment();
                tracing::debug!(leg = %self.slot.leg, %error, "a packet was not sent");
            }
        }
    }
}

const _: () = assert!(
    std::mem::size_of::<Slot>() <= SLOT_BYTES_MAX,
    "a call of two legs takes less than 4 kB beside its sockets"
);

/// A bug for the test of containment.
#[cfg(test)]
pub(super) mod planted {
    use parking_lot::Mutex;
    use tandem_rtp::ids::LegId;

    static PLANTED: Mutex<(u64, &str)> = Mutex::new((0, ""));

    pub(in crate::media) fn set(ordinal: u64, trigger: &'static str) {
        *PLANTED.lock() = (ordinal, trigger);
    }

    pub(super) fn bug(leg: LegId, trigger: &str) {
        assert_ne!(*PLANTED.lock(), (leg.ordinal(), trigger), "a planted bug");
    }
}

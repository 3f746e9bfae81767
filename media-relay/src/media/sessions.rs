//! Making, changing and ending sessions: one change at a time, each judged alone.

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use tandem_rtp::{
    fence::FenceVerdict,
    ids::{LegEpoch, LegId, NodeId, RelayId},
    session::{
        Channel, DescribeRefused, DescriptionInvalid, LegStatistics, MediaSession, RtcpMode,
        SessionDescription, SessionEvent,
    },
    time::MonotonicTime,
};
use thiserror::Error;

use super::{
    GROUP, Intake, Lifecycle, MediaPlane,
    slot::{Life, Slot, SlotState},
    worker::Wait,
};
use crate::{
    limits::PORT_TRIES_MAX,
    link::{LinkFlow, LinkFull},
    ports::PortPair,
    sockets::bind_media,
};

/// A session as its owner wants it.
pub struct WantedSession {
    /// The pure part.
    pub description: SessionDescription,
    /// The even port that it must have, for a new session; `None`: any.
    pub local_port: Option<u16>,
    /// Where the peer's relay takes links, when the peer is on another one.
    pub peer_link: Option<(RelayId, SocketAddr)>,
}

/// Why a session is not as its owner wants it; nothing changed.
#[derive(Debug, Error)]
pub enum PutRefused {
    /// A higher epoch owns the leg, or a later description is in force.
    #[error(transparent)]
    Describe(#[from] DescribeRefused),
    /// A higher epoch ended the leg's session.
    #[error("a higher epoch owns this leg; stop acting for it")]
    Fenced,
    /// The wanted port is in use.
    #[error("port {port} is in use by another session or program; ask for any port (0)")]
    PortTaken {
        /// Which port.
        port: u16,
    },
    /// No port is free.
    #[error("no pair of [relay] media_ports is free; widen the range")]
    NoPortFree,
    /// As many sessions as configured.
    #[error("all {max} sessions of [relay] sessions_max are in use; use another relay")]
    Full {
        /// The limit.
        max: usize,
    },
    /// No room on the link.
    #[error(transparent)]
    LinkFull(#[from] LinkFull),
    /// The description contradicts itself.
    #[error(transparent)]
    Contradiction(#[from] DescriptionInvalid),
    /// Something else does not fit this relay.
    #[error("{0}")]
    Invalid(&'static str),
    /// The system refuses a socket.
    #[error("the system refuses a media socket: {0}; check the limit of open files")]
    Socket(io::Error),
    /// No new sessions.
    #[error("this relay retires and takes no new session; use another one")]
    Retiring,
}

/// What became of an ended session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// It ended; its figures, if there was one.
    Done(Option<LegStatistics>),
    /// A higher epoch owns the leg.
    Fenced,
}

impl MediaPlane {
    /// Makes a session or describes it anew. Returns the address for the SDP.
    pub fn put(&self, wanted: WantedSession) -> Result<SocketAddr, PutRefused> {
        self.check(&wanted)?;
        let mut lifecycle = self.lifecycle.lock();
        let existing = self.table.read().get(&wanted.description.leg).cloned();
        let Some(slot) = existing else { return self.create(&mut lifecycle, wanted) };
        if slot.state.lock().life == Life::Ended {
            // It ended by silence a moment ago, and its thread has not put it away yet.
            self.forget(&slot, Wait::UntilGone);
            drop(slot);
            return self.create(&mut lifecycle, wanted);
        }
        self.redescribe(&mut lifecycle, &slot, wanted)
    }

    /// Ends a session, unless a higher epoch owns it.
    pub fn remove(&self, leg: LegId, epoch: LegEpoch) -> Removed {
        let mut lifecycle = self.lifecycle.lock();
        if lifecycle.fence.admit(leg, epoch) == FenceVerdict::Fenced {
            return Removed::Fenced;
        }
        let Some(slot) = self.table.read().get(&leg).cloned() else { return Removed::Done(None) };
        let now = self.clock.now();
        let statistics = {
            let state = slot.state.lock();
            if epoch < state.session.epoch() {
                return Removed::Fenced;
            }
            state.session.statistics(now)
        };
        slot.close(self, now);
        self.forget(&slot, Wait::UntilGone);
        Removed::Done(Some(statistics))
    }

    /// Takes no new session from now on.
    pub fn retire(&self) {
        self.lifecycle.lock().intake = Intake::Retiring;
    }

    /// True when no new session is taken.
    pub fn is_retiring(&self) -> bool {
        self.lifecycle.lock().intake == Intake::Retiring
    }

    /// Ends every session, for the end of the process.
    pub fn remove_all(&self) {
        self.retire();
        let slots: Vec<_> = self.table.read().values().cloned().collect();
        for slot in slots {
            slot.close(self, self.clock.now());
            self.forget(&slot, Wait::No);
        }
    }

    /// Takes a slot that has ended out of the table. Its ports are free once its thread has let go
    /// of it.
    pub(super) fn forget(&self, slot: &Arc<Slot>, wait: Wait) {
        let mut table = self.table.write();
        if table.get(&slot.leg).is_some_and(|known| Arc::ptr_eq(known, slot)) {
            table.remove(&slot.leg);
        }
        drop(table);
        let mut state = slot.state.lock();
        state.life = Life::Ended;
        state.link = None;
        drop(state);
        if let Some(worker) = self.workers.get(slot.worker) {
            worker.remove(slot, wait);
        }
    }

    /// Ends a session whose handling panicked: a bug, contained to one leg.
    pub(super) fn drop_broken(&self, slot: &Arc<Slot>) {
        tracing::error!(leg = %slot.leg, "a bug ended this session; please report the panic above");
        let (owner, epoch) = {
            let state = slot.state.lock();
            (state.session.owner(), state.session.epoch())
        };
        self.events.publish(owner, slot.leg, epoch, &SessionEvent::Gone { silent_ms: 0 });
        self.forget(slot, Wait::No);
    }

    fn check(&self, wanted: &WantedSession) -> Result<(), PutRefused> {
        let description = &wanted.description;
        description.check()?;
        if description.leg.group() != GROUP {
            return Err(PutRefused::Invalid("this relay serves legs of group 0 only"));
        }
        let remote_fits = description.remote.is_none_or(|remote| {
            remote.rtp.is_ipv4() == self.address.is_ipv4()
                && remote.rtcp.is_ipv4() == self.address.is_ipv4()
        });
        if !remote_fits {
            return Err(PutRefused::Invalid(
                "the remote address is of another IP version than this relay's media_address",
            ));
        }
        Ok(())
    }

    fn redescribe(
        &self,
        lifecycle: &mut Lifecycle,
        slot: &Arc<Slot>,
        wanted: WantedSession,
    ) -> Result<SocketAddr, PutRefused> {
        let description = wanted.description;
        let mut state = slot.state.lock();
        state.session.admit(description.epoch, description.revision)?;
        fence(lifecycle, &description)?;
        self.open_rtcp(slot, description.rtcp_mode)?;
        // From here on only the link can refuse, and then the one at hand is kept.
        match link_for(lifecycle, state.link.take(), wanted.peer_link) {
            Ok(link) => state.link = link,
            Err((kept, refused)) => {
                state.link = kept;
                return Err(refused.into());
            }
        }
        state.session.describe(self.clock.now(), description)?;
        Ok(slot.local_rtp(self))
    }

    fn create(
        &self,
        lifecycle: &mut Lifecycle,
        wanted: WantedSession,
    ) -> Result<SocketAddr, PutRefused> {
        let description = wanted.description;
        fence(lifecycle, &description)?;
        if lifecycle.intake == Intake::Retiring {
            return Err(PutRefused::Retiring);
        }
        if self.session_count() >= self.sessions_max {
            return Err(PutRefused::Full { max: self.sessions_max });
        }
        let link = link_for(lifecycle, None, wanted.peer_link).map_err(|(_, refused)| refused)?;
        let (leg, mode) = (description.leg, description.rtcp_mode);
        let (ports, sockets) = self.open_sockets(wanted.local_port, mode)?;
        lifecycle.next_key += 1;
        let worker = (leg.ordinal() % self.workers.len().max(1) as u64) as usize;
        let handle = self.workers.get(worker).ok_or(PutRefused::Invalid("no media thread"))?;
        let sounds = Arc::clone(&self.sounds);
        let session = MediaSession::new(self.clock.now(), description, self.times, sounds);
        let slot = Arc::new(Slot {
            leg,
            key: lifecycle.next_key,
            worker,
            ports,
            rtp: sockets.rtp,
            rtcp: sockets.rtcp.map_or_else(OnceLock::new, OnceLock::from),
            state: Mutex::new(SlotState { session, link, life: Life::Alive }),
        });
        handle.add(&slot).map_err(PutRefused::Socket)?;
        let address = slot.local_rtp(self);
        self.table.write().insert(leg, slot);
        Ok(address)
    }

    fn open_sockets(
        &self,
        wanted: Option<u16>,
        mode: RtcpMode,
    ) -> Result<(PortPair, Sockets), PutRefused> {
        if let Some(port) = wanted {
            if !self.ports.has_pair_at(port) {
                return Err(PutRefused::Invalid(
                    "local_port is no even port of this relay's media_ports",
                ));
            }
            let pair = self.ports.take_exactly(port).ok_or(PutRefused::PortTaken { port })?;
            let sockets = Sockets::bind(self.address, &pair, mode);
            return Ok((pair, sockets.map_err(|error| port_error(error, port))?));
        }
        // Another program may sit on a port of the range: the next pair is tried, within a bound.
        let mut taken = Vec::new();
        while taken.len() < PORT_TRIES_MAX {
            let pair = self.ports.take().ok_or(PutRefused::NoPortFree)?;
            match Sockets::bind(self.address, &pair, mode) {
                Ok(sockets) => return Ok((pair, sockets)),
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => taken.push(pair),
                Err(error) => return Err(PutRefused::Socket(error)),
            }
        }
        Err(PutRefused::NoPortFree)
    }

    fn open_rtcp(&self, slot: &Arc<Slot>, mode: RtcpMode) -> Result<(), PutRefused> {
        if mode == RtcpMode::Mux || slot.rtcp.get().is_some() {
            return Ok(());
        }
        let port = slot.ports.rtcp();
        let socket = bind_media(self.address, port).map_err(|error| port_error(error, port))?;
        let rtcp = slot.rtcp.get_or_init(|| socket);
        match self.workers.get(slot.worker) {
            Some(worker) => worker.watch(slot, Channel::Rtcp, rtcp).map_err(PutRefused::Socket),
            None => Err(PutRefused::Invalid("no media thread")),
        }
    }
}

impl Slot {
    /// A session whose owner listens does not end by silence.
    pub(super) fn note_owner(&self, now: MonotonicTime, listening: &BTreeSet<NodeId>) {
        let mut state = self.state.lock();
        if listening.contains(&state.session.owner()) {
            state.session.owner_seen(now);
        }
    }
}

/// The sockets of a new session.
struct Sockets {
    rtp: UdpSocket,
    rtcp: Option<UdpSocket>,
}

impl Sockets {
    fn bind(address: IpAddr, pair: &PortPair, mode: RtcpMode) -> io::Result<Self> {
        let rtp = bind_media(address, pair.rtp())?;
        let rtcp = match mode {
            RtcpMode::Separate => Some(bind_media(address, pair.rtcp())?),
            RtcpMode::Mux => None,
        };
        Ok(Self { rtp, rtcp })
    }
}

fn port_error(error: io::Error, port: u16) -> PutRefused {
    match error.kind() {
        io::ErrorKind::AddrInUse => PutRefused::PortTaken { port },
        _ => PutRefused::Socket(error),
    }
}

fn fence(lifecycle: &mut Lifecycle, description: &SessionDescription) -> Result<(), PutRefused> {
    match lifecycle.fence.admit(description.leg, description.epoch) {
        FenceVerdict::Current => Ok(()),
        FenceVerdict::Fenced => Err(PutRefused::Fenced),
    }
}

/// The link that a session needs now: the one it has, another one, or none. On refusal the one it
/// had comes back.
fn link_for(
    lifecycle: &Lifecycle,
    current: Option<LinkFlow>,
    wanted: Option<(RelayId, SocketAddr)>,
) -> Result<Option<LinkFlow>, (Option<LinkFlow>, LinkFull)> {
    let Some((relay, address)) = wanted else { return Ok(None) };
    if let Some(flow) = &current
        && *flow.relay() == relay
    {
        flow.set_address(address);
        return Ok(current);
    }
    let Some(links) = &lifecycle.links else { return Err((current, LinkFull::NoLinks)) };
    links.attach(&relay, address).map(Some).map_err(|refused| (current, refused))
}

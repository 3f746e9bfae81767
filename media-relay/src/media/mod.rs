//! The packet path: sockets towards phones, and the sessions behind them.
//!
//! A few threads (`worker.rs`) wait for packets and ticks. Each session lives in a slot (`slot.rs`)
//! with its sockets and a lock; a bridge on this relay is one hand-over from slot to slot on the
//! same thread, a bridge to another relay goes into that link's queue. No packet is copied more
//! than once, and none costs an allocation or a task. Making and ending sessions is
//! `sessions.rs`. What does not live here: what becomes of a packet (`tandem-rtp`).

mod sessions;
mod slot;
mod worker;

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use parking_lot::{Mutex, RwLock};
use tandem_rtp::{
    fence::EpochFence,
    ids::{LegId, NodeId, RelayId},
    link::{FlowId, FlowKind, parse_datagram},
    session::{Channel, SessionEvent, SessionTimes, Via},
    sounds::Sounds,
    time::MonotonicTime,
};

use crate::{
    clock::RelayClock, control::events::EventHub, counters::Counters, link::Links, ports::PortPool,
};

pub use sessions::{PutRefused, Removed, WantedSession};
use slot::{Scratch, Slot};
use worker::WorkerHandle;
pub use worker::Workers;

/// Group of every leg that this version serves; links carry it in their hello.
pub const GROUP: u32 = 0;

/// Everything that the packet path shares.
pub struct MediaPlane {
    clock: RelayClock,
    address: IpAddr,
    sessions_max: usize,
    times: SessionTimes,
    sounds: Arc<Sounds>,
    counters: Arc<Counters>,
    events: Arc<EventHub>,
    ports: Arc<PortPool>,
    table: RwLock<HashMap<LegId, Arc<Slot>>>,
    lifecycle: Mutex<Lifecycle>,
    workers: Vec<WorkerHandle>,
}

/// What making and ending sessions needs; one change at a time.
struct Lifecycle {
    fence: EpochFence,
    intake: Intake,
    links: Option<Arc<Links>>,
    next_key: u64,
}

/// Whether new sessions are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Intake {
    Open,
    Retiring,
}

/// How a plane is laid out.
pub struct PlaneSetup {
    /// The relay's clock.
    pub clock: RelayClock,
    /// Address for media sockets.
    pub address: IpAddr,
    /// Most sessions.
    pub sessions_max: usize,
    /// Silence that matters.
    pub times: SessionTimes,
    /// Pairs of ports.
    pub ports: Arc<PortPool>,
    /// Counts of packets.
    pub counters: Arc<Counters>,
    /// Who listens to events.
    pub events: Arc<EventHub>,
    /// Threads.
    pub workers: usize,
}

impl MediaPlane {
    /// Makes the plane and starts its threads.
    pub fn start(setup: PlaneSetup) -> std::io::Result<(Arc<Self>, Workers)> {
        let handles: Result<Vec<_>, _> = (0..setup.workers).map(|_| WorkerHandle::new()).collect();
        let handles = handles?;
        let plane = Arc::new(Self {
            clock: setup.clock,
            address: setup.address,
            sessions_max: setup.sessions_max,
            times: setup.times,
            sounds: Arc::new(Sounds::synthesise()),
            counters: setup.counters,
            events: setup.events,
            ports: setup.ports,
            table: RwLock::new(HashMap::new()),
            lifecycle: Mutex::new(Lifecycle {
                fence: EpochFence::default(),
                intake: Intake::Open,
                links: None,
                next_key: 0,
            }),
            workers: handles,
        });
        let workers = Workers::spawn(&plane)?;
        Ok((plane, workers))
    }

    /// Gives the plane its links; until then a session with a remote peer is refused.
    pub fn set_links(&self, links: Arc<Links>) {
        self.lifecycle.lock().links = Some(links);
    }

    /// Sessions alive.
    pub fn session_count(&self) -> usize {
        self.table.read().len()
    }

    /// Handles a datagram that came over the link from `relay`.
    pub fn handle_link_datagram(&self, relay: &RelayId, bytes: &[u8]) {
        let Ok((flow, packet)) = parse_datagram(bytes) else {
            self.counters.dropped_malformed.increment();
            return;
        };
        match leg_of(flow).filter(|_| flow.kind() == FlowKind::Rtp) {
            Some(leg) => self.deliver_to_leg(self.clock.now(), leg, Via::Link(relay), packet),
            None => self.counters.dropped_no_session.increment(),
        }
    }

    /// What the sessions of `node` are doing, for a new listener.
    pub fn opening_events(&self, node: NodeId) -> Vec<(LegId, u64, SessionEvent)> {
        let now = self.clock.now();
        let slots: Vec<_> = self.table.read().values().cloned().collect();
        let mut events = Vec::new();
        for slot in slots {
            let state = slot.state.lock();
            if state.session.owner() == node {
                let event = state.session.opening_event(now);
                events.extend(event.map(|event| (slot.leg, state.session.epoch().0, event)));
            }
        }
        events
    }

    /// Hands a peer's packet to the session of `leg`. A bug in there ends that one session.
    fn deliver_to_leg(&self, now: MonotonicTime, leg: LegId, via: Via<'_>, packet: &[u8]) {
        let table = self.table.read();
        let Some(slot) = table.get(&leg) else {
            self.counters.dropped_no_session.increment();
            return;
        };
        let handled =
            catch_unwind(AssertUnwindSafe(|| slot.handle_peer_packet(self, now, via, packet)));
        match handled {
            Ok(verdict) => self.counters.count_peer(verdict),
            Err(_) => {
                let slot = Arc::clone(slot);
                drop(table);
                self.drop_broken(&slot);
            }
        }
    }

    /// Handles a packet from a phone.
    fn handle_phone_packet(
        &self,
        slot: &Slot,
        channel: Channel,
        from: SocketAddr,
        bytes: &[u8],
        scratch: &mut Scratch,
    ) {
        let now = self.clock.now();
        let verdict = slot.handle_packet(self, now, channel, from, bytes, scratch);
        self.counters.count_phone(verdict);
        if let Some((leg, packet)) = scratch.take_local() {
            self.deliver_to_leg(now, leg, Via::Local, packet);
        }
    }
}

fn leg_of(flow: FlowId) -> Option<LegId> {
    LegId::new(GROUP, flow.ordinal()).ok()
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use tandem_rtp::ids::LegEpoch;

    use super::*;
    use crate::control::convert;

    const BROKEN: u64 = 0xdead;

    fn plane() -> (Arc<MediaPlane>, Workers) {
        let text = "[relay]\nid='r'\ncluster='c'\nmedia_address='127.99.0.1'\n\
                    control='127.0.0.1:1'\nlink='127.0.0.1:1'\ndata_dir='d'\n\
                    [tls]\nca='a'\ncert='b'\nkey='c'\n";
        let config = crate::config::parse(text).expect("good settings").relay;
        let setup = PlaneSetup {
            clock: RelayClock::start(),
            address: config.media_address,
            sessions_max: 10,
            times: SessionTimes { media_stopped_after_us: 1_000_000, idle_us: 60_000_000 },
            ports: PortPool::new(config.ports().expect("a range"), 0),
            counters: Arc::default(),
            events: Arc::default(),
            workers: 2,
        };
        MediaPlane::start(setup).expect("threads")
    }

    fn put(plane: &MediaPlane, ordinal: u64, peer: u64, phone: &UdpSocket) -> SocketAddr {
        use tandem_proto::relay::v1::{
            Codec, Direction, LegRef, Peer, Session, StreamOrigin, session::Source,
        };
        let leg = |ordinal| Some(LegRef { group: 0, ordinal });
        let peer = Peer { leg: leg(peer), relay_id: String::new(), link: None };
        let session = Session {
            leg: leg(ordinal),
            codec: Codec::Pcmu.into(),
            direction: Direction::SendReceive.into(),
            remote_rtp: Some(crate::link::endpoint_proto(phone.local_addr().expect("bound"))),
            origin: Some(StreamOrigin { cname: "c".to_owned(), ..Default::default() }),
            source: Some(Source::Peer(peer)),
            ..Default::default()
        };
        let own = RelayId::new("r").expect("id");
        plane.put(convert::session(&own, session).expect("good")).expect("taken")
    }

    fn phone() -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        socket
    }

    // Goal: a bug in one session ends that session alone, whether its own packet, its peer's or a
    // tick sets it off; the threads and the other sessions go on.
    #[test]
    fn bugs_are_contained() {
        let (plane, workers) = plane();
        let packet = [&[0x80u8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9][..], &[0x55; 160]].concat();
        let (one, two, broken) = (phone(), phone(), phone());
        let to_one = put(&plane, 1, 2, &one);
        put(&plane, 2, 1, &two);
        for trigger in ["tick", "own packet", "peer's packet"] {
            let others = plane.session_count();
            let to_broken = put(&plane, BROKEN, 3, &broken);
            let to_third = put(&plane, 3, BROKEN, &broken);
            slot::planted::set(BROKEN, trigger);
            match trigger {
                "own packet" => drop(broken.send_to(&packet, to_broken).expect("sent")),
                "peer's packet" => drop(broken.send_to(&packet, to_third).expect("sent")),
                _ => {}
            }
            let mut looks = 0;
            while plane.session_count() > others + 1 {
                looks += 1;
                assert!(looks < 3_000, "{trigger}: the broken session is still there");
                std::thread::sleep(Duration::from_millis(10));
            }
            slot::planted::set(0, "");
            assert!(plane.table.read().contains_key(&LegId::new(0, 3).expect("a leg")));
            let third = LegId::new(0, 3).expect("a leg");
            assert!(matches!(plane.remove(third, LegEpoch(0)), Removed::Done(Some(_))));
        }
        one.send_to(&packet, to_one).expect("sent");
        let mut heard = [0; 2_000];
        // The relay's own silence comes as well; the phone's packet is told by its payload.
        while two.recv(&mut heard).expect("heard") != 172 || heard[12] != 0x55 {}
        workers.stop();
    }
}

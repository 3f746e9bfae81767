//! Fake relays: sessions with epochs, revisions and ports; restarts that lose them all; no audio, but
//! it is known whose would flow.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use tandem_callcontrol::io::{MediaEvent, MediaOperation, MediaReply, SessionSpec};
use tandem_cluster::{
    ids::{LegEpoch, LegId},
    leg::Endpoint,
    node::RelayRecord,
};

/// Silence after which `Stopped` is said.
const STOPPED_AFTER: u64 = 2_000;
/// A session of which neither peer nor owner is heard for so long is ended.
const IDLE: u64 = 120_000;

/// One relay process, or what is left of it.
pub struct Relay {
    /// Its name and addresses.
    pub record: RelayRecord,
    /// False while it is dead.
    pub up: bool,
    /// Which start of the process it is.
    pub incarnation: u64,
    /// Its sessions, by leg.
    pub sessions: BTreeMap<LegId, Session>,
    /// Nodes that cannot reach it.
    pub cut_from: BTreeSet<u64>,
    /// Answers this much later.
    pub slow: u64,
    /// Refuses every session.
    pub refuses: bool,
    fences: BTreeMap<LegId, LegEpoch>,
    next_port: u16,
}

/// One leg of media.
#[derive(Debug, Clone)]
pub struct Session {
    /// As its owner described it last.
    pub spec: SessionSpec,
    /// Its own socket.
    pub at: Endpoint,
    /// The node that described it last, and which start of it.
    pub owner: (u64, u64),
    flow: Flow,
    /// When its peer or its owner was heard last.
    heard: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    Waiting { since: u64 },
    Flowing { last: u64 },
    Stopped,
}

/// Who sends a stream under which count: for the judge of invariant M1.
pub type StreamUse = (u32, u32);

impl Relay {
    /// A relay that runs and has no session.
    pub fn new(record: RelayRecord) -> Self {
        Self {
            record,
            up: true,
            incarnation: 1,
            sessions: BTreeMap::new(),
            cut_from: BTreeSet::new(),
            slow: 0,
            refuses: false,
            fences: BTreeMap::new(),
            next_port: 20_000,
        }
    }

    /// The socket that the peer is told.
    pub fn socket(session: &Session) -> SocketAddr {
        format!("{}:{}", session.at.address, session.at.port)
            .parse()
            .expect("an address and a port")
    }

    /// Loses all sessions; comes back as another process.
    pub fn crash(&mut self) {
        self.up = false;
        self.sessions.clear();
        self.fences.clear();
        self.incarnation += 1;
        // Ports are handed out in another order.
        self.next_port = 20_000 + u16::try_from(self.incarnation % 50).unwrap_or(0) * 200;
    }

    /// Carries a request out. The stream that a new session sends, if it made one.
    pub fn carry_out(
        &mut self,
        now: u64,
        node: (u64, u64),
        what: &MediaOperation,
    ) -> (MediaReply, Option<StreamUse>) {
        match what {
            MediaOperation::Put(spec) => self.put(now, node, spec),
            MediaOperation::Remove { leg, epoch } => {
                let higher = self.sessions.get(leg).is_some_and(|s| s.spec.epoch > *epoch);
                self.note(*leg, *epoch);
                if !higher {
                    self.sessions.remove(leg);
                }
                (MediaReply::Removed, None)
            }
        }
    }

    fn put(
        &mut self,
        now: u64,
        node: (u64, u64),
        spec: &SessionSpec,
    ) -> (MediaReply, Option<StreamUse>) {
        if self.fences.get(&spec.leg).is_some_and(|known| spec.epoch < *known) {
            return (MediaReply::Fenced, None);
        }
        self.note(spec.leg, spec.epoch);
        if let Some(session) = self.sessions.get_mut(&spec.leg) {
            if spec.epoch == session.spec.epoch && spec.revision < session.spec.revision {
                return (MediaReply::Stale, None);
            }
            let taken_over = session.spec.epoch != spec.epoch;
            let asked =
                session.spec.remote != spec.remote || session.spec.direction != spec.direction;
            // A new owner is told anew whether media flows.
            if asked || taken_over {
                session.flow = Flow::Waiting { since: now };
            }
            let raised = session.spec.origin != spec.origin;
            session.spec = spec.clone();
            session.owner = node;
            let used = raised.then_some((spec.origin.ssrc, spec.origin.takeovers));
            return (MediaReply::Ready(session.at.clone()), used);
        }
        if self.refuses {
            return (MediaReply::Refused("FULL".into()), None);
        }
        let taken = |port: u16| self.sessions.values().any(|s| s.at.port == port);
        let port = match spec.local_port.filter(|port| !taken(*port)) {
            Some(port) => port,
            // As the shell does: any port is better than none.
            None => {
                while taken(self.next_port) {
                    self.next_port += 2;
                }
                self.next_port += 2;
                self.next_port - 2
            }
        };
        let at = Endpoint { address: self.record.link.address.clone(), port };
        let flow = Flow::Waiting { since: now };
        let session = Session { spec: spec.clone(), at: at.clone(), owner: node, flow, heard: now };
        self.sessions.insert(spec.leg, session);
        (MediaReply::Ready(at), Some((spec.origin.ssrc, spec.origin.takeovers)))
    }

    fn note(&mut self, leg: LegId, epoch: LegEpoch) {
        let known = self.fences.entry(leg).or_insert(epoch);
        *known = (*known).max(epoch);
    }

    /// What happened to sessions: `flows` says whether somebody sends from that remote to that socket,
    /// `listens` whether a start of a node is there.
    pub fn judge_flows(
        &mut self,
        now: u64,
        flows: impl Fn(SocketAddr, SocketAddr) -> bool,
        listens: impl Fn((u64, u64)) -> bool,
    ) -> Vec<(u64, LegId, LegEpoch, MediaEvent)> {
        let mut events = Vec::new();
        self.sessions.retain(|_, session| {
            if listens(session.owner) || matches!(session.flow, Flow::Flowing { .. }) {
                session.heard = now;
            }
            now < session.heard + IDLE
        });
        for (leg, session) in &mut self.sessions {
            let Some(remote) = &session.spec.remote else { continue };
            let remote: SocketAddr = format!("{}:{}", remote.address, remote.port)
                .parse()
                .expect("a socket that parsed before");
            let at = Self::socket(session);
            let (next, event) = match (flows(remote, at), session.flow) {
                (true, Flow::Flowing { .. }) => (Flow::Flowing { last: now }, None),
                (true, _) => (Flow::Flowing { last: now }, Some(MediaEvent::Flowing)),
                (false, Flow::Flowing { last: since } | Flow::Waiting { since })
                    if now >= since + STOPPED_AFTER =>
                {
                    (Flow::Stopped, Some(MediaEvent::Stopped))
                }
                (false, flow) => (flow, None),
            };
            session.flow = next;
            events.extend(event.map(|event| (session.owner.0, *leg, session.spec.epoch, event)));
        }
        events
    }
}

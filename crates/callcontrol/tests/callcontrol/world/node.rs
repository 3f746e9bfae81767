//! A node and its process: call control, and what its shell remembers.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use tandem_callcontrol::{
    CallControl,
    io::{AgentEntry, Input, Note, Now, Ticket},
    settings::{Settings, Trunk},
};
use tandem_cluster::{
    ids::{Epoch, NodeId},
    machine::Machine,
    seal::ClusterKey,
};
use tandem_routing::name::Name;
use tandem_sip::{
    auth::Algorithm, auth::WallSeconds, dialog::session_timer::SessionTimerPolicy, identity::Trust,
    message::parse_datagram, prng::Prng, transaction::Flow,
};

use super::{
    NodeInput,
    log::{Log, TENANT, name, relay_record},
};

/// Wall time when a test begins.
const WALL_S: u64 = 1_700_000_000;
pub const KEY: [u8; 32] = [7; 32];
pub const REALM: &str = "tandem.example";

pub struct Node {
    pub id: u64,
    pub udp: SocketAddr,
    pub settings: Settings,
    pub process: Option<Process>,
    pub notes: Vec<(u64, Note)>,
    /// What the log has for a node that is cut off.
    pub held_feed: VecDeque<Input>,
    pub starts: u64,
}

/// One start of a node.
pub struct Process {
    pub number: u64,
    pub control: CallControl,
    /// Its life in the log.
    pub epoch: Option<Epoch>,
    pub frozen: bool,
    /// What waits at the door of a frozen one.
    pub waiting: VecDeque<NodeInput>,
    /// Tickets of proposals, by sequence.
    pub proposed: BTreeMap<u64, Ticket>,
    /// Which start of each relay it knows.
    pub incarnations: BTreeMap<String, u64>,
    /// When it wants to be woken.
    pub wake: Option<u64>,
}

impl Node {
    pub fn new(id: u64, site: &str) -> Self {
        let udp: SocketAddr = format!("127.0.{id}.1:5060").parse().unwrap();
        let settings = Settings {
            node: NodeId(id),
            site: name(site),
            udp,
            tcp: Some(udp),
            realm: REALM.into(),
            digest: vec![Algorithm::Sha256, Algorithm::Md5],
            cluster_key: ClusterKey::new(KEY),
            relay: relay_record(id),
            trunks: vec![Trunk {
                name: "carrier".into(),
                networks: vec!["198.51.100.0/24".parse().unwrap()],
                calls_max: 10_000,
                trust: Trust::Untrusted,
            }],
            session_timer: None,
            register_s_min: 60,
            register_s_max: 3_600,
        };
        let (process, notes, held_feed, starts) = (None, Vec::new(), VecDeque::new(), 0);
        Self { id, udp, settings, process, notes, held_feed, starts }
    }

    pub fn with_session_timer(&mut self, interval_s: u32) {
        self.settings.session_timer =
            Some(SessionTimerPolicy { interval_s, ..SessionTimerPolicy::default() });
    }
}

impl Process {
    pub fn new(number: u64, settings: Settings, prng: Prng) -> Self {
        Self {
            number,
            control: CallControl::new(settings, prng),
            epoch: None,
            frozen: false,
            waiting: VecDeque::new(),
            proposed: BTreeMap::new(),
            incarnations: BTreeMap::new(),
            wake: None,
        }
    }

    /// What the shell makes of an input: a relay that runs anew is noticed before its answer.
    pub fn translate(&mut self, input: NodeInput) -> Vec<Input> {
        match input {
            NodeInput::Plain(input) | NodeInput::Log(input) => vec![input],
            NodeInput::Timeout => vec![Input::Timeout],
            NodeInput::Media { relay, incarnation, input } => {
                let before = self.incarnations.insert(relay.clone(), incarnation);
                let relay = name(&relay);
                let anew = before.is_some_and(|before| before != incarnation);
                anew.then_some(Input::RelayRestarted { relay }).into_iter().chain([input]).collect()
            }
        }
    }
}

pub fn now(instant: Instant, at: u64) -> Now {
    Now { instant, cluster: Log::now(at), wall: WallSeconds(WALL_S + at / 1_000) }
}

pub fn received(source: Flow, bytes: &[u8]) -> Input {
    match parse_datagram(bytes.to_vec()) {
        Ok(message) => Input::Received { source, message },
        Err(failure) => Input::Malformed { source, failure: Box::new(failure) },
    }
}

pub fn look_up(machine: &Machine, user: &Name) -> Option<Box<AgentEntry>> {
    let agent = machine.queue().agent_named(TENANT, user)?;
    Some(Box::new(AgentEntry {
        agent: agent.id,
        tenant: agent.tenant,
        credential: machine.credentials().get(&agent.id).cloned(),
        bindings: machine.bindings_of(agent.id).into_iter().cloned().collect(),
    }))
}

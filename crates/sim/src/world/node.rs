//! A node and its process: call control, and what its shell remembers.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    time::Instant,
};

use tandem_callcontrol::{
    CallControl,
    io::{AgentEntry, Grant, Input, Note, Now, Ticket},
    settings::{Settings, Trunk},
};
use tandem_cluster::{
    command::{Command, Envelope},
    ids::{Epoch, NodeId},
    machine::Machine,
    seal::ClusterKey,
};
use tandem_routing::{entity::SiteState, name::Name, time::ClusterTime};
use tandem_sip::{
    auth::Algorithm, auth::WallSeconds, dialog::session_timer::SessionTimerPolicy, identity::Trust,
    message::parse_datagram, prng::Prng, transaction::Flow,
};

use super::{
    NodeInput,
    clock::Clock,
    log::{TENANT, name, relay_record},
    replica::{Disk, Replica},
};

/// Wall time when a test begins.
const WALL_S: u64 = 1_700_000_000;
/// The cluster key of this world.
pub const KEY: [u8; 32] = [7; 32];
/// The realm of its registrar.
pub const REALM: &str = "tandem.example";

/// A machine on which a node runs, or does not.
pub struct Node {
    /// Its number.
    pub id: u64,
    /// Where it speaks SIP.
    pub udp: SocketAddr,
    /// What its call control is started with.
    pub settings: Settings,
    /// Absent while it is dead.
    pub process: Option<Process>,
    /// What its call control noted, and when.
    pub notes: Vec<(u64, Note)>,
    /// Its monotonic clock.
    pub clock: Clock,
    /// What outlives its process.
    pub disk: Disk,
    /// How often it was started.
    pub starts: u64,
}

/// One start of a node.
pub struct Process {
    /// Which start of its node.
    pub number: u64,
    /// Its legs.
    pub control: CallControl,
    /// Its life in the log.
    pub epoch: Option<Epoch>,
    /// True while it stands still.
    pub frozen: bool,
    /// What waits at the door of a frozen one.
    pub waiting: VecDeque<NodeInput>,
    /// Its copy of the replicated machine.
    pub replica: Replica,
    /// The life that the log granted, until its own copy has come so far.
    pub granted: Option<(u64, Grant)>,
    /// What it registers with, until that succeeds.
    pub registering: Option<Command>,
    /// Its latest life: lived by this process, or told by the log.
    pub last_life: Epoch,
    /// Proposals without an outcome.
    pub proposed: BTreeMap<(Epoch, u64), Waiting>,
    /// What its site did when it last looked.
    pub site: Option<SiteState>,
    /// How often its machine slept.
    pub sleeps: u64,
    /// Stands still since, with its machine asleep: its clock stands too.
    pub asleep_since: Option<u64>,
    /// Which start of each relay it knows.
    pub incarnations: BTreeMap<String, u64>,
    /// When it wants to be woken.
    pub wake: Option<u64>,
}

/// A proposal without an outcome.
#[derive(Debug)]
pub struct Waiting {
    /// Who asked.
    pub asker: Asker,
    /// To send it again as it was.
    pub envelope: Envelope,
    /// When it was first sent.
    pub since: u64,
    /// When it is sent again, unless an answer comes first.
    pub again: u64,
    /// How often it was sent without hearing that the other does not lead: with none, nothing was done.
    pub outstanding: u32,
}

/// Who made a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Call control.
    Control(Ticket),
    /// An application or operator at the node's API, by the number of their operation.
    Api(usize),
    /// The shell itself: nobody waits for the outcome.
    Shell,
}

impl Node {
    /// A node that has not started yet.
    pub fn new(id: u64, site: &str) -> Self {
        let udp: SocketAddr = format!("127.0.{id}.1:5060").parse().expect("a literal");
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
                networks: vec!["198.51.100.0/24".parse().expect("a literal")],
                calls_max: 10_000,
                trust: Trust::Untrusted,
            }],
            session_timer: None,
            register_s_min: 60,
            register_s_max: 3_600,
        };
        let (clock, disk) = (Clock::default(), Disk::default());
        Self { id, udp, settings, process: None, notes: Vec::new(), clock, disk, starts: 0 }
    }

    /// Gives its next start a session timer, in seconds.
    pub fn with_session_timer(&mut self, interval_s: u32) {
        self.settings.session_timer =
            Some(SessionTimerPolicy { interval_s, ..SessionTimerPolicy::default() });
    }
}

impl Process {
    /// A fresh start.
    pub fn new(number: u64, settings: Settings, prng: Prng, replica: Replica) -> Self {
        Self {
            number,
            control: CallControl::new(settings, prng),
            epoch: None,
            frozen: false,
            waiting: VecDeque::new(),
            replica,
            granted: None,
            registering: None,
            last_life: Epoch(0),
            proposed: BTreeMap::new(),
            site: None,
            sleeps: 0,
            asleep_since: None,
            incarnations: BTreeMap::new(),
            wake: None,
        }
    }

    /// Plants a fault in call control.
    #[cfg(feature = "planted")]
    pub(super) fn with_planted(
        mut self,
        planted: Option<tandem_routing::planted::Planted>,
    ) -> Self {
        self.control = self.control.with_planted(planted);
        self
    }

    /// What the shell makes of an input: a relay that runs anew is noticed before its answer.
    pub fn translate(&mut self, input: NodeInput) -> Vec<Input> {
        match input {
            NodeInput::Plain(input) => vec![input],
            NodeInput::Timeout => vec![Input::Timeout],
            NodeInput::Lease { epoch, until, sleeps } => {
                let counts = sleeps == self.sleeps;
                counts.then_some(Input::Lease { epoch, until }).into_iter().collect()
            }
            NodeInput::Media { relay, incarnation, input } => {
                let before = self.incarnations.insert(relay.clone(), incarnation);
                let relay = name(&relay);
                let anew = before.is_some_and(|before| before != incarnation);
                anew.then_some(Input::RelayRestarted { relay }).into_iter().chain([input]).collect()
            }
        }
    }
}

/// The three clocks of a node.
pub fn now(instant: Instant, cluster: ClusterTime, at: u64) -> Now {
    Now { instant, cluster, wall: WallSeconds(WALL_S + at / 1_000) }
}

/// What a node makes of bytes from the network.
pub fn received(source: Flow, bytes: &[u8]) -> Input {
    match parse_datagram(bytes.to_vec()) {
        Ok(message) => Input::Received { source, message },
        Err(failure) => Input::Malformed { source, failure: Box::new(failure) },
    }
}

/// What a registrar finds about an agent.
pub fn look_up(machine: &Machine, user: &Name) -> Option<Box<AgentEntry>> {
    let agent = machine.queue().agent_named(TENANT, user)?;
    Some(Box::new(AgentEntry {
        agent: agent.id,
        tenant: agent.tenant,
        credential: machine.credentials().get(&agent.id).cloned(),
        bindings: machine.bindings_of(agent.id).into_iter().cloned().collect(),
    }))
}

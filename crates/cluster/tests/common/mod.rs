//! A cluster of lives around one machine: proposes commands with proper envelopes.
#![allow(dead_code, missing_docs, unreachable_pub, reason = "shared by several test files")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::BTreeMap;

use tandem_cluster::{
    binding::PhoneTarget,
    command::{
        AdmitCall, AdmitNode, Answered, Batch, Command, Envelope, LegFact, Outcome, PutBinding,
        RegisterNode, Reply, decode_outcome,
    },
    feed::FeedRow,
    ids::{BootId, ClusterId, DiskId, Epoch, GroupId, LegId, NodeId, OfferNumber, TenantId},
    leg::{
        Codec, DialogRecord, DialogStage, End, Endpoint, Hops, Leg, LegRole, MediaDirection,
        MediaRecord, Owner, SdpOrigin, StreamOrigin, Transport,
    },
    machine::{Applied, MACHINE_VERSION, Machine},
    node::RelayRecord,
};
use tandem_routing::{
    command::{AgentSpec, Command as QueueCommand, NumberSpec, QueueSpec, Readiness},
    digest::Digest,
    name::{CallerNumber, Name},
    table::RowChange,
    time::{ClusterTime, Millis},
};

pub const TENANT: TenantId = TenantId::DEFAULT;
pub const GROUP: GroupId = GroupId(0);

pub fn name(text: &str) -> Name {
    text.parse().unwrap()
}

pub struct Sim {
    pub machine: Machine,
    pub index: u64,
    pub time: u64,
    /// Current life of each node, and its next sequence.
    pub lives: BTreeMap<u64, (Epoch, u64)>,
    pub leg_ids: BTreeMap<u64, u64>,
    pub boots: u128,
    pub disk: BTreeMap<Vec<u8>, Vec<u8>>,
    pub last: Applied,
    /// All entries; the first has index 1.
    pub log: Vec<Vec<u8>>,
    /// The feed's rows of the history.
    pub feed: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Sim {
    /// Nodes 1, 2, 3 at lon, fra, nyc; one queue; agents amy (lon), bob (fra), cy (nyc), whose
    /// phones registered at their site's node; all ready.
    pub fn center() -> Self {
        Self::over(Machine::new(GROUP))
    }

    pub fn over(machine: Machine) -> Self {
        Self::with(machine, MACHINE_VERSION)
    }

    /// The same center, in a cluster that began under this version.
    pub fn of_version(version: u16) -> Self {
        Self::with(Machine::new(GROUP), version)
    }

    fn with(machine: Machine, machine_version: u16) -> Self {
        let mut sim = Self {
            machine,
            index: 0,
            time: 0,
            lives: BTreeMap::new(),
            leg_ids: BTreeMap::new(),
            boots: 0,
            disk: BTreeMap::new(),
            last: Applied::default(),
            log: Vec::new(),
            feed: BTreeMap::new(),
        };
        sim.first(1, Command::Initialise { cluster: ClusterId(9), machine_version }).unwrap();
        for (node, site) in [(1, "lon"), (2, "fra"), (3, "nyc")] {
            sim.first(node, Command::AdmitNode(admission(node, site))).unwrap();
            sim.register(node);
        }
        let queue = QueueSpec { wrap_up: Millis(0), ..QueueSpec::named(name("sales")) };
        sim.queue(QueueCommand::PutQueue { tenant: TENANT, queue }).unwrap();
        let number = NumberSpec {
            number: name("100"),
            queue: name("sales"),
            requirement: "anybody".parse().unwrap(),
            priority: 0,
        };
        sim.queue(QueueCommand::PutNumber { tenant: TENANT, number }).unwrap();
        for (node, agent, site) in [(1, "amy", "lon"), (2, "bob", "fra"), (3, "cy", "nyc")] {
            let spec = AgentSpec {
                name: name(agent),
                site: name(site),
                skills: BTreeMap::new(),
                queues: [name("sales")].into(),
            };
            sim.queue(QueueCommand::PutAgent { tenant: TENANT, agent: spec }).unwrap();
            sim.bind(node, agent, Transport::Udp).unwrap();
            let as_state = Readiness::Ready;
            sim.queue(QueueCommand::LogIn { tenant: TENANT, agent: name(agent), as_state })
                .unwrap();
        }
        sim
    }

    /// Proposes without a life.
    pub fn first(&mut self, node: u64, command: Command) -> Outcome {
        let envelope = Envelope {
            node: NodeId(node),
            epoch: Epoch(0),
            sequence: 0,
            ack_below: 0,
            age: Millis(0),
            idempotency: None,
            command,
        };
        self.apply(vec![envelope]).remove(0)
    }

    /// A boot that follows the node's latest life.
    pub fn next_boot(&mut self, node: u64) -> BootId {
        self.boots += 1;
        let last = self.machine.nodes().get(&NodeId(node)).map_or(Epoch(0), |row| row.epoch);
        BootId::after(last, u64::try_from(self.boots).unwrap())
    }

    pub fn register(&mut self, node: u64) -> Epoch {
        let boot = self.next_boot(node);
        let register = RegisterNode { boot, ..registration(node, 0) };
        let reply = self.first(node, Command::RegisterNode(register));
        let Ok(Reply::Registered { epoch, first_leg }) = reply else { panic!("{reply:?}") };
        self.lives.insert(node, (epoch, 1));
        self.leg_ids.insert(node, first_leg.ordinal.0);
        epoch
    }

    pub fn envelope(&mut self, node: u64, command: Command) -> Envelope {
        let (epoch, sequence) = self.lives[&node];
        self.lives.insert(node, (epoch, sequence + 1));
        Envelope {
            node: NodeId(node),
            epoch,
            sequence,
            ack_below: sequence,
            age: Millis(0),
            idempotency: None,
            command,
        }
    }

    pub fn propose(&mut self, node: u64, command: Command) -> Outcome {
        let envelope = self.envelope(node, command);
        self.apply(vec![envelope]).remove(0)
    }

    pub fn queue(&mut self, command: QueueCommand) -> Outcome {
        self.propose(1, Command::Queue(command))
    }

    pub fn apply(&mut self, envelopes: Vec<Envelope>) -> Vec<Outcome> {
        let (machine_version, group) = (MACHINE_VERSION, GROUP);
        let batch = Batch { machine_version, group, time: ClusterTime(self.time), envelopes };
        self.apply_bytes(&batch.encode().unwrap())
    }

    pub fn apply_bytes(&mut self, entry: &[u8]) -> Vec<Outcome> {
        self.index += 1;
        let applied = self.machine.apply(self.index, entry).unwrap();
        self.log.push(entry.to_vec());
        keep(&mut self.feed, &applied.feed);
        keep(&mut self.disk, &applied.changes);
        let outcomes =
            applied.outcomes.iter().map(|bytes| decode_outcome(bytes).unwrap()).collect();
        self.last = applied;
        outcomes
    }

    /// The feed's rows.
    pub fn feed_rows(&self) -> Vec<FeedRow> {
        self.feed.iter().map(|(key, value)| FeedRow::read(GROUP, key, value).unwrap()).collect()
    }

    /// The machine that the written rows give.
    pub fn reloaded(&self) -> Machine {
        let rows = self.disk.iter().map(|(k, v)| Ok::<_, ()>((k.clone(), v.clone())));
        Machine::load(GROUP, rows).unwrap()
    }

    pub fn digest(&self) -> Digest {
        self.machine.digest()
    }

    pub fn owner(&self, node: u64) -> Owner {
        Owner { node: NodeId(node), epoch: self.lives[&node].0 }
    }

    pub fn bind(&mut self, node: u64, agent: &str, transport: Transport) -> Outcome {
        let agent_id = self.machine.queue().agent_named(TENANT, &name(agent)).unwrap().id;
        let put = PutBinding {
            tenant: TENANT,
            agent: agent_id,
            target: PhoneTarget {
                contact_uri: format!("sip:{agent}@127.0.{node}.9:5060"),
                transport,
                source: format!("127.0.{node}.9:5060"),
                edge: self.owner(node),
            },
            call_id: "reg".into(),
            cseq: 1,
            lifetime: Millis(600_000),
        };
        self.propose(node, Command::PutBinding(put))
    }

    /// A call comes in at a node; its leg.
    pub fn call(&mut self, node: u64) -> LegId {
        let (leg, outcome) = self.try_call(node);
        outcome.unwrap();
        leg
    }

    /// A call comes in at a node; what the log says to it.
    pub fn try_call(&mut self, node: u64) -> (LegId, Outcome) {
        let id = self.leg_ids[&node];
        self.leg_ids.insert(node, id + 1);
        let leg = LegId { group: GROUP, ordinal: tandem_cluster::ids::Ordinal(id) };
        let ingress = ["", "lon", "fra", "nyc"][usize::try_from(node).unwrap()];
        let call = AdmitCall {
            leg,
            called: name("100"),
            caller: CallerNumber::new(&format!("+4420{id:06}")),
            ingress: name(ingress),
            dialog: dialog(&format!("call-{id}")),
            media: media(node, 20_000),
        };
        (leg, self.propose(node, Command::AdmitCall(Box::new(call))))
    }

    pub fn leg(&self, id: LegId) -> &Leg {
        self.machine.legs().get(&id).unwrap_or_else(|| panic!("{id} is gone"))
    }

    pub fn agent_leg(&self, agent: &str) -> Option<&Leg> {
        let id = self.machine.queue().agent_named(TENANT, &name(agent)).unwrap().id;
        self.machine
            .legs()
            .iter()
            .rfind(|leg| matches!(leg.role, LegRole::Agent { agent, .. } if agent == id))
    }

    pub fn fact<T>(&self, leg: LegId, fact: T) -> LegFact<T> {
        LegFact { leg, epoch: self.leg(leg).epoch, fact }
    }

    /// The phone of this agent answers at its owner.
    pub fn answer(&mut self, agent: &str) -> Outcome {
        let leg = self.agent_leg(agent).unwrap().clone();
        let node = leg.owner.node.0;
        let command = Command::LegAnswered(self.fact(leg.id, Box::new(answered(&leg, node))));
        self.propose(node, command)
    }
}

/// Writes changed rows.
pub fn keep(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, changes: &[RowChange]) {
    for change in changes {
        match &change.value {
            Some(value) => rows.insert(change.key.clone(), value.clone()),
            None => rows.remove(&change.key),
        };
    }
}

pub fn answered(leg: &Leg, node: u64) -> Answered {
    let LegRole::Agent { offer, .. } = leg.role else { panic!("not an agent's leg") };
    Answered {
        offer: OfferNumber(offer.0),
        ring: Millis(1_200),
        dialog: dialog(&format!("out-{}", leg.id)),
        media: media(node, 30_000),
    }
}

pub fn admission(node: u64, site: &str) -> AdmitNode {
    AdmitNode {
        node: NodeId(node),
        name: name(&format!("n{node}")),
        site: name(site),
        region: name("eu"),
        disk: DiskId(u128::from(node) + 100),
        cluster_address: endpoint(node, 7100),
    }
}

pub fn registration(node: u64, boot: u128) -> RegisterNode {
    RegisterNode {
        node: NodeId(node),
        disk: DiskId(u128::from(node) + 100),
        boot: BootId(boot),
        supports: MACHINE_VERSION,
        cluster_address: endpoint(node, 7100),
        api_address: endpoint(node, 7200),
        sip: Vec::new(),
        relay: Some(RelayRecord {
            id: name(&format!("r{node}")),
            control: endpoint(node, 7300),
            link: endpoint(node, 7400),
        }),
        leg_ids: 1_000,
    }
}

pub fn endpoint(node: u64, port: u16) -> Endpoint {
    Endpoint { address: format!("127.0.{node}.1"), port }
}

pub fn dialog(call_id: &str) -> DialogRecord {
    DialogRecord {
        initiator: End::Peer,
        stage: DialogStage::Confirmed,
        hops: Hops::Plain,
        call_id: call_id.into(),
        local_uri: "sip:100@tandem".into(),
        local_tag: "ours".into(),
        remote_uri: "sip:caller@carrier".into(),
        remote_tag: "theirs".into(),
        remote_target: "sip:caller@127.9.9.9:5060".into(),
        route_set: Vec::new(),
        transport: Transport::Udp,
        peer_address: "127.9.9.9:5060".into(),
        local_cseq_reserved: 100,
        remote_cseq: Some(1),
        sdp_origin: SdpOrigin { username: "-".into(), session_id: 7, address: "127.0.1.1".into() },
        sdp_version_reserved: 100,
        session_timer: None,
    }
}

pub fn media(node: u64, port: u16) -> MediaRecord {
    MediaRecord {
        relay: name(&format!("r{node}")),
        local: endpoint(node, port),
        remote: Some(Endpoint { address: "127.9.9.9".into(), port: 4000 }),
        codec: Codec::Pcma,
        payload_type: 8,
        dtmf_payload_type: Some(101),
        direction: MediaDirection::SendReceive,
        origin: StreamOrigin {
            ssrc: 5,
            first_sequence: 1,
            first_timestamp: 2,
            takeovers: 0,
            taken_over: ClusterTime(0),
            told_by: tandem_cluster::ids::LegEpoch(1),
            began: ClusterTime(0),
        },
    }
}

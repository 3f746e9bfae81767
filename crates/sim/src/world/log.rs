//! The log as it is committed, and the machine that has applied all of it at once: what is true,
//! whatever a node knows of it. Replicas apply the same entries at their own pace (`replica`).

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use tandem_cluster::{
    binding::PhoneTarget,
    command::{
        AdmitNode, Batch, Command, Envelope, Outcome, PutBinding, RegisterNode, decode_outcome,
    },
    ids::{BootId, ClusterId, DiskId, Epoch, GroupId, NodeId, TenantId},
    leg::{Endpoint, Owner, Transport},
    machine::{Applied, MACHINE_VERSION, Machine},
    node::{RelayRecord, SipEndpoint},
};
use tandem_routing::{
    digest::Digest,
    name::Name,
    time::{ClusterTime, Millis},
};

/// Whose everything is.
pub const TENANT: TenantId = TenantId::DEFAULT;
/// The one Raft group.
pub const GROUP: GroupId = GroupId(0);
/// ClusterTime when a test begins.
pub const CLUSTER_EPOCH_MS: u64 = 1_000_000;

/// A name that is written in the source.
pub fn name(text: &str) -> Name {
    text.parse().expect("a literal name")
}

/// The log and the machine that applies it as it is committed: what is true, whatever a node knows of it.
#[derive(Default)]
pub struct Log {
    /// A fault on purpose.
    #[cfg(feature = "planted")]
    pub planted: Option<tandem_routing::planted::Planted>,
    /// The state after the last committed entry.
    pub machine: Machine,
    /// Index of the last committed entry.
    pub index: u64,
    /// Entries from the first one, and the digest of the machine behind each (R7).
    entries: Vec<(Option<Rc<[u8]>>, Digest)>,
    /// Next sequence of each life.
    sequences: BTreeMap<(u64, Epoch), u64>,
    /// Sequences of each life that have no outcome yet.
    pending: BTreeMap<(u64, Epoch), BTreeSet<u64>>,
    boots: u64,
}

impl Log {
    /// An empty log.
    pub fn new() -> Self {
        Self {
            #[cfg(feature = "planted")]
            planted: None,
            machine: Machine::new(GROUP),
            index: 0,
            entries: Vec::new(),
            sequences: BTreeMap::new(),
            pending: BTreeMap::new(),
            boots: 0,
        }
    }

    /// ClusterTime at this virtual time.
    pub fn now(at: u64) -> ClusterTime {
        ClusterTime(CLUSTER_EPOCH_MS + at)
    }

    /// Commits one command, stamped with true time.
    pub fn apply(&mut self, at: u64, envelope: Envelope) -> (Outcome, Applied) {
        if let Some(pending) = self.pending.get_mut(&(envelope.node.0, envelope.epoch)) {
            pending.remove(&envelope.sequence);
        }
        let mut applied = self.commit(Self::now(at), vec![envelope]);
        let outcome = applied.outcomes.pop().expect("one outcome per command");
        (decode_outcome(&outcome).expect("our own outcome decodes"), applied)
    }

    /// Commits an entry of these commands.
    pub fn commit(&mut self, time: ClusterTime, envelopes: Vec<Envelope>) -> Applied {
        self.index += 1;
        let machine_version = MACHINE_VERSION;
        let batch = Batch { machine_version, group: GROUP, time, envelopes };
        let bytes: Rc<[u8]> = batch.encode().expect("a batch encodes").into();
        let applied = self.machine.apply(self.index, &bytes).expect("our own entry applies");
        self.entries.push((Some(bytes), self.machine.digest()));
        applied
    }

    /// Commits the blank entry of a term.
    pub fn commit_blank(&mut self) {
        self.index += 1;
        self.entries.push((None, self.machine.digest()));
    }

    /// The entry at this index, if it is committed.
    #[must_use]
    pub fn entry(&self, index: u64) -> Option<&(Option<Rc<[u8]>>, Digest)> {
        let at = usize::try_from(index.checked_sub(1)?).ok()?;
        self.entries.get(at)
    }

    fn next_boot(&mut self, last: Epoch) -> BootId {
        self.boots += 1;
        BootId::after(last, self.boots)
    }

    /// An envelope of a node's current life.
    pub fn envelope(&mut self, node: u64, epoch: Epoch, command: Command) -> Envelope {
        let next = self.sequences.entry((node, epoch)).or_insert(1);
        let sequence = *next;
        *next += 1;
        let pending = self.pending.entry((node, epoch)).or_default();
        pending.insert(sequence);
        let ack_below = pending.first().copied().unwrap_or(sequence);
        let ack_below = if planted!(self, AckBelowIsTooHigh) { sequence } else { ack_below };
        let (age, idempotency) = (Millis(0), None);
        Envelope { node: NodeId(node), epoch, sequence, ack_below, age, idempotency, command }
    }

    /// A proposer needs no outcome of this one any more.
    pub(super) fn settled(&mut self, node: u64, (epoch, sequence): (Epoch, u64)) {
        if let Some(pending) = self.pending.get_mut(&(node, epoch)) {
            pending.remove(&sequence);
        }
    }

    /// A command that comes before a life.
    pub fn first(node: u64, command: Command) -> Envelope {
        let (epoch, sequence, ack_below, age) = (Epoch(0), 0, 0, Millis(0));
        let idempotency = None;
        Envelope { node: NodeId(node), epoch, sequence, ack_below, age, idempotency, command }
    }

    /// What a starting node proposes.
    /// Of a life after the last one that the node knows of.
    pub fn registration(&mut self, node: u64, last: Epoch) -> Command {
        let boot = self.next_boot(last);
        Command::RegisterNode(RegisterNode {
            node: NodeId(node),
            disk: DiskId(u128::from(node) + 100),
            boot,
            supports: MACHINE_VERSION,
            cluster_address: endpoint(node, 7100),
            api_address: endpoint(node, 7200),
            sip: vec![
                SipEndpoint { transport: Transport::Udp, at: endpoint(node, 5060) },
                SipEndpoint { transport: Transport::Tcp, at: endpoint(node, 5060) },
            ],
            relay: Some(relay_record(node)),
            leg_ids: 2_000,
        })
    }

    /// Some node's current life, to propose in its name.
    pub fn any_life(&self) -> Option<Owner> {
        let row = self.machine.nodes().iter().find(|row| row.is_up())?;
        Some(Owner { node: row.id, epoch: row.epoch })
    }
}

/// The first command of a cluster.
pub fn initialise() -> Command {
    Command::Initialise { cluster: ClusterId(9), machine_version: MACHINE_VERSION }
}

/// What lets a node in.
pub fn admission(node: u64, site: &str) -> Command {
    Command::AdmitNode(AdmitNode {
        node: NodeId(node),
        name: name(&format!("n{node}")),
        site: name(site),
        region: name("eu"),
        disk: DiskId(u128::from(node) + 100),
        cluster_address: endpoint(node, 7100),
    })
}

/// The relay beside a node.
pub fn relay_record(node: u64) -> RelayRecord {
    let at = |port| Endpoint { address: format!("127.1.{node}.1"), port };
    RelayRecord { id: name(&format!("r{node}")), control: at(7300), link: at(7400) }
}

/// A socket of a node.
pub fn endpoint(node: u64, port: u16) -> Endpoint {
    Endpoint { address: format!("127.0.{node}.1"), port }
}

/// A phone's binding at an edge.
pub fn binding(agent: tandem_cluster::ids::AgentId, target: PhoneTarget) -> Command {
    Command::PutBinding(PutBinding {
        tenant: TENANT,
        agent,
        target,
        call_id: "static".into(),
        cseq: 1,
        lifetime: Millis(100_000_000),
    })
}

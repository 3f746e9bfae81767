//! Replicated commands, what they reply, and why they are refused.
//!
//! A log entry holds a [`Batch`]: whatever commands were waiting, stamped once by the leader. Each
//! command is in an [`Envelope`] that says who proposed it, so that a retry after a leader change
//! applies once (R9); both are in `batch`. Enums here are appended to and never reordered: the position is the encoding;
//! `samples/` keeps encoded examples of every version.

use serde::{Deserialize, Serialize};
use tandem_routing::{
    command::{DeclineCause, Rejection as QueueRejection, Reply as QueueReply},
    digest::Digest,
    name::{CallerNumber, Name},
    time::Millis,
};

pub use crate::batch::{
    BATCH_FORMAT, Batch, BatchError, Envelope, NoRoom, Room, decode_outcome, encode_outcome,
};
use crate::{
    binding::PhoneTarget,
    configuration::ApplyConfiguration,
    ids::{
        AgentId, BootId, ClusterId, ContactId, DiskId, Epoch, LegEpoch, LegId, NodeId, OfferNumber,
        TenantId,
    },
    leg::{DialogRecord, Endpoint, MediaRecord},
    limits::{IDEMPOTENCY_MS, WINDOW_MAX},
    node::{RelayRecord, SipEndpoint},
    seal::Sealed,
};

/// What can be done to the replicated machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives the cluster its identity. The first command of all.
    Initialise {
        /// Drawn at random by the first node.
        cluster: ClusterId,
        /// The machine version to begin with.
        machine_version: u16,
    },
    /// Lets a node in under its number, with the disk that it will live with.
    AdmitNode(AdmitNode),
    /// Begins a node's life: grants an epoch.
    RegisterNode(RegisterNode),
    /// Declares a node's life over. Takeover follows from it.
    NodeLost {
        /// Whose.
        node: NodeId,
        /// Which life.
        epoch: Epoch,
        /// How it is known.
        evidence: Evidence,
    },
    /// A node's life ends in order, by itself.
    StopNode,
    /// Takes a node out of the cluster; its number is never used again.
    RemoveNode {
        /// Which.
        node: NodeId,
    },
    /// Raises the machine version; every member must support it, also those that are down.
    RaiseMachineVersion {
        /// To what.
        to: u16,
    },
    /// The proposer's digest after this log index.
    ReportDigest {
        /// After which index.
        index: u64,
        /// What it was.
        digest: Digest,
    },
    /// Reserves leg ids for the proposer.
    ReserveLegIds {
        /// How many.
        count: u32,
    },
    /// Processes all deadlines that are due. Proposed by the leader.
    ExpireDue,
    /// Goes on with unfinished work. Proposed by the leader.
    ContinueWork,
    /// A command to the queue by an operator or application.
    Queue(tandem_routing::command::Command),
    /// A caller is at the door: contact and leg in one.
    AdmitCall(Box<AdmitCall>),
    /// An agent's phone rings.
    LegRinging(LegFact<Ringing>),
    /// An agent's phone was answered: accept of the offer.
    LegAnswered(LegFact<Box<Answered>>),
    /// An agent's phone did not take the call; the leg is over.
    LegFailed(LegFact<DeclineCause>),
    /// What the owner has to say about an established leg: new reserved blocks, new media.
    LegReport(LegFact<Box<Report>>),
    /// The peer answered the leg's new owner.
    LegConfirmed(LegFact<Box<Report>>),
    /// The leg is over on the wire.
    LegEnded(LegFact<LegEnd>),
    /// An agent's phone registered or refreshed.
    PutBinding(PutBinding),
    /// An agent's phone unregistered, or its registration ran out at its edge.
    RemoveBinding {
        /// Owner.
        tenant: TenantId,
        /// Whose.
        agent: AgentId,
        /// Which; empty: all of them.
        contact_uri: String,
    },
    /// An agent's phone that was in doubt showed a sign of life.
    DeviceAlive {
        /// Whose.
        agent: AgentId,
    },
    /// What an agent's phone proves itself with.
    PutCredential {
        /// Owner.
        tenant: TenantId,
        /// Whose.
        agent: Name,
        /// For which realm.
        realm: String,
        /// The sealed digests.
        sealed: Sealed,
    },
    /// Changes the configuration as a whole: everything that is asked for, or nothing.
    ApplyConfiguration(Box<ApplyConfiguration>),
}

impl Command {
    /// The machine version that knows this command: none may be proposed before every member does.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::Queue(command) => command.since(),
            Self::ApplyConfiguration(_) => 2,
            _ => 1,
        }
    }

    /// Refuses a command that some member may not know.
    ///
    /// # Errors
    /// [`Rejection::VersionMustBeInForce`].
    pub fn check_version(&self, in_force: u16) -> Result<(), Rejection> {
        let needs = self.since();
        // Before there is a cluster there is no version.
        if needs <= in_force.max(1) {
            Ok(())
        } else {
            Err(Rejection::VersionMustBeInForce { needs, in_force })
        }
    }
}

/// See [`Command::AdmitNode`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitNode {
    /// Its number.
    pub node: NodeId,
    /// Its name.
    pub name: Name,
    /// Its site; created if it is new.
    pub site: Name,
    /// The site's region.
    pub region: Name,
    /// Its disk.
    pub disk: DiskId,
    /// Where peers reach it.
    pub cluster_address: Endpoint,
}

/// See [`Command::RegisterNode`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegisterNode {
    /// Which node.
    pub node: NodeId,
    /// On which disk.
    pub disk: DiskId,
    /// Which start of the process; the same one gets the same epoch.
    pub boot: BootId,
    /// Highest machine version that it supports.
    pub supports: u16,
    /// Where peers reach it.
    pub cluster_address: Endpoint,
    /// Where operators and applications reach it.
    pub api_address: Endpoint,
    /// Where it speaks SIP.
    pub sip: Vec<SipEndpoint>,
    /// The relay beside it.
    pub relay: Option<RelayRecord>,
    /// Leg ids to begin with.
    pub leg_ids: u32,
}

/// How a loss is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Evidence {
    /// Nothing was heard for the lease and its margin.
    LeaseExpired,
    /// A witness on the node's host saw its process exit.
    Witness,
}

/// A fact about a leg, from its owner. Refused unless the leg has this owner and epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegFact<T> {
    /// Which leg.
    pub leg: LegId,
    /// Under which ownership.
    pub epoch: LegEpoch,
    /// What.
    pub fact: T,
}

/// See [`Command::AdmitCall`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdmitCall {
    /// From the proposer's reserved block.
    pub leg: LegId,
    /// What was called.
    pub called: Name,
    /// Who calls.
    pub caller: CallerNumber,
    /// Where the call came in.
    pub ingress: Name,
    /// The dialog as it will be when the 200 is sent.
    pub dialog: DialogRecord,
    /// The media as the 200 will state it.
    pub media: MediaRecord,
}

/// See [`Command::LegRinging`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ringing {
    /// The early dialog, with the phone's tag.
    pub dialog: DialogRecord,
}

/// See [`Command::LegAnswered`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Which offer.
    pub offer: OfferNumber,
    /// How long it rang.
    pub ring: Millis,
    /// The established dialog.
    pub dialog: DialogRecord,
    /// Its media.
    pub media: MediaRecord,
}

/// See [`Command::LegReport`]. What is absent stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Report {
    /// The dialog with new blocks, target or remote CSeq.
    pub dialog: Option<DialogRecord>,
    /// New media.
    pub media: Option<MediaRecord>,
}

/// How a leg ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegEnd {
    /// The peer hung up (BYE or CANCEL).
    PeerHungUp,
    /// The peer answered that it does not know the dialog any more (481): it is there, and the call is
    /// over for it.
    PeerGone,
    /// We ended it, as the log wanted.
    Done,
    /// Signalling or media failed.
    Failed,
    /// The peer answered nothing until its session ran out, or could not be asked.
    PeerSilent,
    /// A caller whom the log took in after we had refused them, or after they had left: nothing of
    /// the leg is on the wire.
    TurnedAway,
}

/// See [`Command::PutBinding`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutBinding {
    /// Owner.
    pub tenant: TenantId,
    /// Whose phone.
    pub agent: AgentId,
    /// Where it is.
    pub target: PhoneTarget,
    /// Of the REGISTER.
    pub call_id: String,
    /// Of the REGISTER.
    pub cseq: u32,
    /// The replicated lifetime.
    pub lifetime: Millis,
}

/// What a command came to: stored for retries, sent to the proposer.
pub type Outcome = Result<Reply, Rejection>;

/// What a command replies when it was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to add.
    Done,
    /// A life was granted.
    Registered {
        /// Its number.
        epoch: Epoch,
        /// First of the reserved leg ids.
        first_leg: LegId,
    },
    /// Leg ids were reserved.
    LegIds {
        /// The first; the count is as asked.
        first: LegId,
    },
    /// A caller is in the queue.
    CallAdmitted {
        /// The contact.
        contact: ContactId,
    },
    /// The queue's reply.
    Queue(QueueReply),
    /// The phone was answered after the offer had gone to somebody else: the leg is ended.
    AnsweredTooLate,
    /// The configuration was changed as a whole.
    ConfigurationApplied {
        /// The version that is in force from here on.
        version: u64,
        /// How many changes it took.
        changes: u32,
    },
}

/// Why a command was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// The queue refused it.
    #[error(transparent)]
    Queue(QueueRejection),
    /// A later life of the node exists, or this one was declared over.
    #[error(
        "{node} {epoch} is over (the log knows {current}): this process was taken for dead and its \
         work was taken over; it registers anew"
    )]
    Fenced {
        /// Whose life.
        node: NodeId,
        /// Which one proposed.
        epoch: Epoch,
        /// What the log knows.
        current: Epoch,
    },
    /// The reply to this number is forgotten: whether it applied can no longer be told from it.
    #[error("command {sequence} is older than the remembered window (below {ack_below})")]
    TooOld {
        /// The number.
        sequence: u64,
        /// Where the window begins.
        ack_below: u64,
    },
    /// Too many commands of one node are unacknowledged.
    #[error("command {sequence} is beyond the window of {WINDOW_MAX} from {ack_below}")]
    WindowExceeded {
        /// The number.
        sequence: u64,
        /// Where the window begins.
        ack_below: u64,
    },
    /// The cluster has an identity already.
    #[error("the cluster is initialised already, as {0}")]
    ClusterMustBeNew(ClusterId),
    /// No such node.
    #[error("{0} is not a member of this cluster: admit it with `tandem cluster join`")]
    NodeMustBeMember(NodeId),
    /// The number belongs to another disk.
    #[error(
        "{node} belongs to {expected}, not to {given}: a node that lost its disk must come back \
         under a new number, because the old one has promised things that this disk does not know"
    )]
    DiskMustMatch {
        /// The number.
        node: NodeId,
        /// The disk it was admitted with.
        expected: DiskId,
        /// The disk that was presented.
        given: DiskId,
    },
    /// The name is taken.
    #[error("the node name {0} belongs to another member")]
    NameMustBeFree(Name),
    /// A node that runs cannot be removed.
    #[error("{0} must be stopped before it is removed")]
    NodeMustBeStopped(NodeId),
    /// Some node does not support the version.
    #[error("machine version {to} is not supported by every node yet: {node} supports {supports}")]
    VersionMustBeSupported {
        /// What was asked.
        to: u16,
        /// Who cannot.
        node: NodeId,
        /// What it can.
        supports: u16,
    },
    /// The leg has another owner or epoch: the proposer must stop acting for it.
    #[error("{leg} is not owned by the proposer under epoch {epoch:?}")]
    LegMustBeOwned {
        /// Which.
        leg: LegId,
        /// Under which ownership it proposed.
        epoch: LegEpoch,
    },
    /// The leg is not in the phase that the fact belongs to.
    #[error("{leg} is not in the phase that this fact belongs to")]
    LegPhaseMustFit {
        /// Which.
        leg: LegId,
    },
    /// No such agent.
    #[error("there is no such agent")]
    AgentMustExist,
    /// An older REGISTER came after a newer one.
    #[error("the registration is older than the one in force")]
    BindingMustBeNewer,
    /// A limit of the cluster.
    #[error("there are {limit} {what} already, the most that one cluster holds (docs/limits.md)")]
    LimitReached {
        /// Of what.
        what: String,
        /// How many.
        limit: u64,
    },
    /// A field is out of range.
    #[error("{0}")]
    Malformed(String),
    /// The command met a bug of Tandem; it was undone on every node alike.
    #[error(
        "this command met a bug in Tandem and was undone (incident {incident}): nothing was \
         changed; please report it with the log lines of that incident"
    )]
    Bug {
        /// The ordinal of the command.
        incident: u64,
    },
    /// The node's state differed from the majority's (R7).
    #[error(
        "{node} may not come back: its state differed from the majority's after log entry {index}; \
         keep its data directory for an investigation, remove the node, and let it join anew under a \
         new number with an empty data directory"
    )]
    NodeMustBeTrusted {
        /// Which node.
        node: NodeId,
        /// After which entry.
        index: u64,
    },
    /// The node was removed (D1).
    #[error(
        "{0} was removed from this cluster, for ever: let this machine join anew under a new number \
         with an empty data directory"
    )]
    NodeMustNotBeRemoved(NodeId),
    /// The disk belongs to another number (D1).
    #[error("this disk belongs to {0} already: a node joins with an empty data directory")]
    DiskMustBeNew(NodeId),
    /// The node's program is older than the cluster's rules.
    #[error(
        "{node} supports machine version {supports}, this cluster is at {in_force}: install a newer \
         Tandem on it"
    )]
    NodeMustSupportVersion {
        /// Which node.
        node: NodeId,
        /// What its program can.
        supports: u16,
        /// What is in force.
        in_force: u16,
    },
    /// The relay's name is taken.
    #[error(
        "the relay name {0} belongs to another member's relay: give this one another name, or remove \
         the other node first"
    )]
    RelayNameMustBeFree(Name),
    /// The key was used with another command.
    #[error(
        "this idempotency key was used with a different command less than {} minutes ago: nothing \
         was done; use a new key for each new command",
        IDEMPOTENCY_MS / 60_000
    )]
    IdempotencyKeyMustFit,
    /// A copy of a registration that comes late, or one of a node whose copy of the log is behind: it has
    /// had another life in the meantime.
    #[error(
        "{node} has had its life {epoch} since this registration was made; it registers again with that"
    )]
    LifeMustBeTheLast {
        /// Whose.
        node: NodeId,
        /// Its latest life.
        epoch: Epoch,
    },
    /// Not every member knows the command yet.
    #[error(
        "this command needs machine version {needs}, and {in_force} is in force: it works once every \
         node of the cluster runs a program that knows it"
    )]
    VersionMustBeInForce {
        /// Which version knows the command.
        needs: u16,
        /// Which one is in force.
        in_force: u16,
    },
    /// The changes were made for another version of the configuration.
    #[error(
        "the configuration has changed since it was planned for: version {base} was planned for, version \
         {current} is in force; nothing was changed; plan again"
    )]
    ConfigurationMustBeCurrent {
        /// What it was made for.
        base: u64,
        /// What is in force.
        current: u64,
    },
    /// The queue refused one of the changes, so none was carried out.
    #[error("change {change} of the configuration is refused, so nothing was changed: {rejection}")]
    ConfigurationChangeRefused {
        /// Its place among the changes, from 0.
        change: u32,
        /// Why.
        rejection: QueueRejection,
    },
}

//! The types that openraft carries for us: ids, the record of a node, an entry's data and reply.
//!
//! What does not live here: how these are written to disk or sent (`format`), and what the bytes of
//! an entry mean (the replicated machine's own business).

use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;

use crate::limits::{ENTRY_BYTES, NODE_LABELS, NODE_TEXT_BYTES};
use crate::snapshot::SnapshotFile;

openraft::declare_raft_types!(
    /// openraft's types as this store uses them.
    ///
    /// `LeaderId` is openraft's *advanced* one (term and node id, totally ordered; several leaders
    /// per term) and not the one-leader-per-term of the Raft paper, for three reasons: two
    /// candidates of one term do not block each other, so a split vote costs no second election
    /// timeout; votes are totally ordered, so "this vote is older than the one on record" is one
    /// comparison, which the check at open relies on; and it is the one that upstream's fuzzer and
    /// our own measurements ran on. It costs eight bytes per entry, and a *term* alone does not
    /// name a leader: use the pair.
    ///
    /// The responder is the default one: `client_write_ff` with a responder made by
    /// `ProgressResponder::complete_only` returns when the proposal is queued, so that a proposer
    /// keeps many entries in flight and awaits the replies in order.
    pub TypeConfig:
        D = EntryData,
        R = EntryReply,
        NodeId = u64,
        Node = NodeRecord,
);

/// A node's id. Never given to another disk (invariant D1).
pub type NodeId = u64;
/// Term and node of a leader.
pub type LeaderId = openraft::vote::leader_id_adv::LeaderId<u64, NodeId>;
/// Position of an entry: leader and index.
pub type LogId = openraft::LogId<LeaderId>;
/// A vote: for which leader, and whether a quorum granted it.
pub type Vote = openraft::Vote<LeaderId>;
/// What an entry carries: nothing, commands, or a membership.
pub type Payload = openraft::EntryPayload<EntryData, NodeId, NodeRecord>;
/// A log entry.
pub type Entry = openraft::Entry<LeaderId, Payload>;
/// Voters and learners.
pub type Membership = openraft::Membership<NodeId, NodeRecord>;
/// A membership with the position of the entry that set it.
pub type StoredMembership = openraft::StoredMembership<LeaderId, NodeId, NodeRecord>;
/// Position and membership of a snapshot.
pub type SnapshotMeta = openraft::SnapshotMeta<LeaderId, NodeId, NodeRecord>;
/// A snapshot: its position and the handle to its file.
pub type Snapshot = openraft::Snapshot<LeaderId, NodeId, NodeRecord, SnapshotFile>;
/// openraft's callback that says that an append reached the disk.
pub(crate) type IoFlushed = openraft::storage::IOFlushed<TypeConfig>;

/// Makes a position from its parts.
pub fn log_id(term: u64, leader: NodeId, index: u64) -> LogId {
    LogId { leader_id: LeaderId { term, node_id: leader }, index }
}

/// Id of a cluster: 128 random bits drawn when the cluster is founded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClusterId(pub u128);

/// Id of a disk: 128 random bits drawn when the data directory is created. A node id that comes
/// back with another disk id lost what it had promised and is refused (invariant D1).
#[derive(
    Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct DiskId(pub u128);

/// Which Raft group of a center this is. One today, so 0; keys on disk carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupId(pub u16);

macro_rules! hex_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:032x})"), self.0)
            }
        }
    };
}
hex_text!(ClusterId);
hex_text!(DiskId);

/// What the membership says about one node. Bounded, because it is in every snapshot's header; its
/// fields change only through [`NodeRecord::new`] and [`NodeRecord::with_label`], so that what is in
/// memory is always what fits on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeRecord {
    raft_address: String,
    disk: DiskId,
    name: String,
    labels: BTreeMap<String, String>,
}

impl NodeRecord {
    /// A node that listens at `raft_address` (`host:port`), keeps its promises on `disk`, and is
    /// called `name` by operators.
    ///
    /// # Errors
    /// [`InvalidNodeRecord`] for a text longer than [`NODE_TEXT_BYTES`].
    pub fn new(
        raft_address: impl Into<String>,
        disk: DiskId,
        name: impl Into<String>,
    ) -> Result<Self, InvalidNodeRecord> {
        Self::from_parts(raft_address.into(), disk, name.into(), BTreeMap::new())
    }

    /// Adds anything else that all nodes must agree on, such as site and region.
    ///
    /// # Errors
    /// [`InvalidNodeRecord`] for a text longer than [`NODE_TEXT_BYTES`] or more than
    /// [`NODE_LABELS`] labels.
    pub fn with_label(
        mut self,
        key: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, InvalidNodeRecord> {
        self.labels.insert(key.into(), value.into());
        Self::from_parts(self.raft_address, self.disk, self.name, self.labels)
    }

    pub(crate) fn from_parts(
        raft_address: String,
        disk: DiskId,
        name: String,
        labels: BTreeMap<String, String>,
    ) -> Result<Self, InvalidNodeRecord> {
        let texts = labels.iter().flat_map(|(key, value)| [key, value]);
        let long = texts.chain([&raft_address, &name]).find(|text| text.len() > NODE_TEXT_BYTES);
        if let Some(text) = long {
            return Err(InvalidNodeRecord::TextTooLong { bytes: text.len() });
        }
        if labels.len() > NODE_LABELS {
            return Err(InvalidNodeRecord::TooManyLabels { count: labels.len() });
        }
        Ok(Self { raft_address, disk, name, labels })
    }

    /// Where its Raft service listens: `host:port`.
    pub fn raft_address(&self) -> &str {
        &self.raft_address
    }

    /// The disk that its promises are on.
    pub fn disk(&self) -> DiskId {
        self.disk
    }

    /// The name that operators use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Site, region and whatever else was added.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }
}

/// A node's record does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidNodeRecord {
    /// An address, name or label is too long.
    #[error(
        "a text of {bytes} bytes in a node's record is more than {limit}; the record was not made; \
         use a shorter address, name or label",
        limit = NODE_TEXT_BYTES
    )]
    TextTooLong {
        /// Its length.
        bytes: usize,
    },
    /// There are too many labels.
    #[error(
        "{count} labels in a node's record are more than {limit}; the record was not made; use fewer",
        limit = NODE_LABELS
    )]
    TooManyLabels {
        /// How many.
        count: usize,
    },
}

/// The data of one entry: an opaque batch of commands. Shows only its length, because commands hold
/// callers' numbers.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EntryData(Bytes);

impl EntryData {
    /// Wraps an encoded batch of commands.
    ///
    /// # Errors
    /// [`EntryTooLarge`] above [`ENTRY_BYTES`]: the batch must be split, since one entry has to fit
    /// in the writer's queue and in one message.
    pub fn new(data: impl Into<Bytes>) -> Result<Self, EntryTooLarge> {
        let data = data.into();
        if data.len() > ENTRY_BYTES {
            return Err(EntryTooLarge { bytes: data.len() });
        }
        Ok(Self(data))
    }

    /// The encoded batch.
    pub fn bytes(&self) -> &Bytes {
        &self.0
    }
}

impl fmt::Debug for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryData({} bytes)", self.0.len())
    }
}

impl fmt::Display for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A batch of commands does not fit in one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a batch of {bytes} bytes is more than the {limit} bytes of one log entry; nothing was proposed; \
     split the batch into smaller ones",
    limit = ENTRY_BYTES
)]
pub struct EntryTooLarge {
    /// Length of the refused batch, in bytes.
    pub bytes: usize,
}

/// What applying one entry answers to the node that proposed it.
#[derive(Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct EntryReply {
    /// One encoded reply per command of the batch, in the batch's order.
    pub replies: Vec<Bytes>,
    /// Whatever else the machine hands to the proposing node (empty if nothing). What *every* node
    /// must learn goes through [`crate::ApplyObserver`] instead.
    pub note: Bytes,
}

impl fmt::Debug for EntryReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EntryReply({} replies, note of {} bytes)", self.replies.len(), self.note.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: an entry at the limit is taken and one byte more is refused with a reason.
    #[test]
    fn entry_size_limit_holds_at_the_edge() {
        assert!(EntryData::new(vec![0_u8; ENTRY_BYTES]).is_ok());
        let refused = EntryData::new(vec![0_u8; ENTRY_BYTES + 1]);
        assert_eq!(refused, Err(EntryTooLarge { bytes: ENTRY_BYTES + 1 }));
    }

    // Goal: a node's record takes texts and labels up to their limits and not beyond.
    #[test]
    fn node_record_limits_hold_at_the_edge() {
        let text = |bytes: usize| "x".repeat(bytes);
        let disk = DiskId(1);
        assert!(NodeRecord::new(text(NODE_TEXT_BYTES), disk, text(NODE_TEXT_BYTES)).is_ok());
        let too_long = Err(InvalidNodeRecord::TextTooLong { bytes: NODE_TEXT_BYTES + 1 });
        assert_eq!(NodeRecord::new(text(NODE_TEXT_BYTES + 1), disk, ""), too_long);
        let mut record = NodeRecord::new("a:1", disk, "a").expect("fits");
        for number in 0..NODE_LABELS {
            record = record.with_label(format!("key-{number}"), "value").expect("fits");
        }
        assert!(record.clone().with_label("key-0", text(NODE_TEXT_BYTES + 1)).is_err());
        assert!(record.with_label("one more", "value").is_err());
    }

    // Goal: neither Debug nor Display of an entry or a reply shows what is in it.
    #[test]
    fn personal_data_stays_out_of_debug_output() {
        let data = EntryData::new(&b"+4915112345678"[..]).expect("fits");
        let reply = EntryReply {
            replies: vec![Bytes::from_static(b"+4915112345678")],
            note: Bytes::from_static(b"+4915112345678"),
        };
        for shown in [format!("{data:?}"), format!("{data}"), format!("{reply:?}")] {
            assert!(!shown.contains("4915"), "leaked: {shown}");
        }
    }
}

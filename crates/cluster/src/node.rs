//! Nodes of the cluster, and the rows that belong to no call: header, exactly-once windows,
//! digest checkpoints.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tandem_routing::{
    digest::Digest,
    name::Name,
    table::{Row, TableTag},
    time::ClusterTime,
};

use crate::{
    ids::{BootId, ClusterId, DiskId, Epoch, NodeId, SiteId, TenantId},
    leg::{Endpoint, Transport},
};

/// Facts about the cluster as a whole: one row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Header {
    /// Which cluster; zero before it is initialised.
    pub cluster: ClusterId,
    /// Behaviour that changes results is gated on this; raised by an entry when every node
    /// supports it.
    pub machine_version: u16,
}

/// Where a node listens for SIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipEndpoint {
    /// UDP or TCP.
    pub transport: Transport,
    /// Address and port, as they stand in Via and Contact.
    pub at: Endpoint,
}

/// The media relay beside a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRecord {
    /// Its name, unique in the cluster.
    pub id: Name,
    /// Where it takes control calls.
    pub control: Endpoint,
    /// Where it takes QUIC links.
    pub link: Endpoint,
}

/// What a node's current life is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeLife {
    /// Admitted, has not started yet.
    Admitted,
    /// Running, as far as its lease tells.
    Up,
    /// Declared lost; it must register anew to act again.
    Lost {
        /// When.
        since: ClusterTime,
    },
    /// Said goodbye in order.
    Stopped {
        /// When.
        since: ClusterTime,
    },
    /// Taken out of the cluster for ever. The row stays, so that its number and its disk are never
    /// used again (D1).
    Removed {
        /// When.
        since: ClusterTime,
    },
}

/// Whether a node's state is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Yes.
    Trusted,
    /// Its digest differed from the majority's at this log index: it leaves service (R7).
    Diverged {
        /// Where.
        index: u64,
    },
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its number, never reused.
    pub id: NodeId,
    /// Its name.
    pub name: Name,
    /// Where it stands.
    pub site: SiteId,
    /// The disk that this id lives and dies with (D1).
    pub disk: DiskId,
    /// Number of its current or last life; 0 before the first.
    pub epoch: Epoch,
    /// The boot that this epoch was granted to.
    pub boot: BootId,
    /// Running, lost or stopped.
    pub life: NodeLife,
    /// Trusted or not.
    pub verdict: Verdict,
    /// Highest machine version that it supports.
    pub supports: u16,
    /// Where peers reach it for Raft and forwarding.
    pub cluster_address: Endpoint,
    /// Where operators and applications reach it.
    pub api_address: Endpoint,
    /// Where it speaks SIP.
    pub sip: Vec<SipEndpoint>,
    /// The relay beside it.
    pub relay: Option<RelayRecord>,
}

impl Node {
    /// True when this life may act.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.life == NodeLife::Up && self.verdict == Verdict::Trusted
    }

    /// True unless it was taken out of the cluster.
    #[must_use]
    pub fn is_member(&self) -> bool {
        !matches!(self.life, NodeLife::Removed { .. })
    }
}

/// Exactly-once window of one node: sequences below `ack_below` are forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Whose.
    pub node: NodeId,
    /// In which life.
    pub epoch: Epoch,
    /// The proposer needs no reply below this any more.
    pub ack_below: u64,
}

/// The remembered reply to one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyRow {
    /// Whose command.
    pub node: NodeId,
    /// In which life.
    pub epoch: Epoch,
    /// Which.
    pub sequence: u64,
    /// Encoded [`crate::command::Outcome`].
    pub outcome: Vec<u8>,
}

/// The remembered reply to an API call with an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRow {
    /// The key, as the application chose it.
    pub key: String,
    /// Of the command that it was used with ([`crate::command::Command::fingerprint`]).
    pub fingerprint: u128,
    /// Encoded [`crate::command::Outcome`].
    pub outcome: Vec<u8>,
    /// When it is forgotten.
    pub expires: ClusterTime,
}

/// Digests that the nodes reported for one log index.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// The index after which they were taken.
    pub index: u64,
    /// Who reported what.
    pub reports: BTreeMap<NodeId, Digest>,
}

macro_rules! cluster_row {
    ($row:ident, $table:ident, $key:ty, $make:expr, |$id:ident| $bytes:expr) => {
        impl Row for $row {
            type Key = $key;
            const TABLE: TableTag = TableTag::$table;
            const VERSION: u8 = 1;

            fn key(&self) -> $key {
                let make: fn(&Self) -> $key = $make;
                make(self)
            }
            fn tenant(&self) -> TenantId {
                TenantId::CLUSTER
            }
            fn key_bytes($id: &$key) -> Vec<u8> {
                $bytes
            }
        }
    };
}

cluster_row!(Header, Header, (), |_| (), |_id| Vec::new());
cluster_row!(Node, Node, NodeId, |row| row.id, |id| id.0.to_be_bytes().to_vec());
cluster_row!(Window, Window, NodeId, |row| row.node, |id| id.0.to_be_bytes().to_vec());
cluster_row!(
    ReplyRow,
    Reply,
    (NodeId, Epoch, u64),
    |row| (row.node, row.epoch, row.sequence),
    |id| [id.0.0.to_be_bytes(), id.1.0.to_be_bytes(), id.2.to_be_bytes()].concat()
);
cluster_row!(IdempotencyRow, Idempotency, String, |row| row.key.clone(), |id| id
    .as_bytes()
    .to_vec());
cluster_row!(Checkpoint, Checkpoint, u64, |row| row.index, |id| id.to_be_bytes().to_vec());

//! The running consensus of a member: Raft, store, and what is built on them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use openraft::type_config::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use tandem_cluster::{
    command::{Command, Outcome},
    ids::{DiskId, NodeId},
    node::Node,
};
use tandem_raft_store::{NodeRecord, StateMachine, StoreHandle, TypeConfig};
use tonic::Request;

use super::{
    batcher::Batcher,
    clock::Clock,
    identity::Member,
    lease::LeaseWatch,
    machine::Replica,
    observer::Observed,
    peers::{Peers, Purpose},
    proposer::{ProposeError, Proposer, Then},
    quorum::Quorum,
};
use crate::{config::ClusterConfig, rpc::peer_client::PeerClient};

/// openraft with our types.
pub type Raft = openraft::Raft<TypeConfig, StateMachine<Replica>>;

/// How long a read waits for this node to catch up with the quorum.
const READ_WAIT: Duration = Duration::from_secs(3);

/// Everything a member runs.
#[derive(Debug)]
pub struct Core {
    /// Who this is.
    pub member: Member,
    /// Timings.
    pub config: ClusterConfig,
    /// Raft itself.
    pub raft: Raft,
    /// The store's handle: reads and snapshots.
    pub store: StoreHandle<Replica>,
    /// Connections to the others.
    pub peers: Peers,
    /// ClusterTime here.
    pub clock: Arc<Clock>,
    /// What applied entries left to do.
    pub observed: Arc<Observed>,
    /// The log's door while this node leads.
    pub batcher: Batcher,
    /// This node's own commands.
    pub proposer: Proposer,
    /// Proof of leadership.
    pub quorum: Quorum,
    /// This node's lease.
    pub lease: LeaseWatch,
    /// Whom the leader has heard, while this node leads.
    pub heard: super::leader::Heard,
    /// When this node last heard a leader.
    pub leader_heard: Mutex<Instant>,
}

/// Why a reading cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader proved its quorum in time.
    #[error(
        "no quorum confirmed this reading in time: this site may be cut off; ask for a local \
         reading (--consistency local) to see what this node knows"
    )]
    NoQuorum,
    /// This node lags.
    #[error("this node has not caught up with the cluster yet; try again, or ask another node")]
    Behind,
}

impl Core {
    /// The record of a node in the membership.
    #[must_use]
    pub fn record(&self, node: NodeId) -> Option<NodeRecord> {
        let metrics = self.raft.server_metrics();
        let view = metrics.borrow_watched();
        view.membership_config.membership().get_node(&node.0).cloned()
    }

    /// The leader that this node believes in.
    #[must_use]
    pub fn leader(&self) -> Option<NodeId> {
        self.raft.server_metrics().borrow_watched().current_leader.map(NodeId)
    }

    /// A leader's message has come in.
    pub fn hears_leader(&self) {
        *self.leader_heard.lock() = Instant::now();
    }

    /// For how long no leader was heard; a leader hears itself while its quorum does.
    #[must_use]
    pub fn leader_silent_ms(&self) -> u64 {
        let metrics = self.raft.metrics();
        let quorum = metrics.borrow_watched().last_quorum_acked;
        let silent = match quorum {
            Some(acked) if self.raft.is_leader() => openraft::Instant::elapsed(&*acked),
            _ => self.leader_heard.lock().elapsed(),
        };
        u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)
    }

    /// A client for another node's peer service, and its disk for the request's claim.
    ///
    /// # Errors
    /// UNAVAILABLE when the node is not in the membership or has no usable address.
    pub fn peer(
        &self,
        node: NodeId,
    ) -> Result<(PeerClient<tonic::transport::Channel>, DiskId), tonic::Status> {
        let record = self.record(node).ok_or_else(|| {
            tonic::Status::unavailable(format!("{node} is not in the membership"))
        })?;
        let channel = self
            .peers
            .channel(record.raft_address(), Purpose::Command)
            .map_err(|error| tonic::Status::unavailable(error.to_string()))?;
        Ok((PeerClient::new(channel), DiskId(record.disk().0)))
    }

    /// A signed request to another node.
    #[must_use]
    pub fn signed<T>(&self, to: NodeId, disk: DiskId, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.member.sign(to, disk, request.metadata_mut());
        request
    }

    /// Proposes a command of this node, which is pursued.
    ///
    /// # Errors
    /// [`ProposeError`].
    pub async fn propose(
        &self,
        command: Command,
        within: Duration,
    ) -> Result<Outcome, ProposeError> {
        self.proposer.propose(command, None, within, Then::Pursue).await
    }

    /// Whether a node is up, as far as this one has applied the log.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.store.read(|replica, _| replica.0.nodes().get(&node).is_some_and(Node::is_up))
    }

    /// Waits until this node has applied everything that was committed before this call.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn linearize(&self) -> Result<(), ReadError> {
        let index = tokio::time::timeout(READ_WAIT, self.read_index())
            .await
            .ok()
            .flatten()
            .ok_or(ReadError::NoQuorum)?;
        self.raft
            .wait(Some(READ_WAIT))
            .applied_index_at_least(Some(index), "a linearizable read")
            .await
            .map(|_| ())
            .map_err(|_| ReadError::Behind)
    }

    async fn read_index(&self) -> Option<u64> {
        let leader = self.leader()?;
        if leader == self.member.node {
            return self.quorum.prove().await;
        }
        let (mut client, disk) = self.peer(leader).ok()?;
        let request = self.signed(leader, disk, tandem_proto::cluster::v1::ReadIndexRequest {});
        Some(client.read_index(request).await.ok()?.into_inner().index)
    }
}

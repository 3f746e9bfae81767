//! Three nodes in one process: real openraft, real stores, a transport of values.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::impls::ProgressResponder;
use openraft::{Config, ServerState, SnapshotPolicy};
use tandem_raft_store::faults::Faults;
use tandem_raft_store::{
    DirectoryState, Expected, NoObserver, NodeId, NodeRecord, Start, StoreHandle, survey,
};
use tempfile::TempDir;

use crate::kit::net::{Factory, Member, Net, TestRaft};
use crate::kit::stores::open;
use crate::kit::{CLUSTER, Closing, Command, Rng, Table, identity, wait_until};

struct Node {
    raft: TestRaft,
    handle: StoreHandle<Table>,
    _closing: Closing,
}

pub(crate) struct Cluster {
    root: TempDir,
    net: Arc<Net>,
    nodes: BTreeMap<NodeId, Node>,
    written: u64,
}

fn config() -> Arc<Config> {
    let config = Config {
        // Generous, so that a busy machine causes no elections that a test did not mean.
        heartbeat_interval: 150,
        election_timeout_min: 1_000,
        election_timeout_max: 2_000,
        install_snapshot_timeout: 20_000,
        enable_pre_vote: Some(true),
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 5,
        purge_batch_size: 1,
        replication_lag_threshold: 1_000_000,
        ..Config::default()
    };
    Arc::new(config.validate().expect("a valid configuration"))
}

fn record(node: NodeId) -> NodeRecord {
    NodeRecord::new(format!("node-{node}:7400"), identity(node).disk, format!("node-{node}"))
        .and_then(|record| record.with_label("site", format!("site-{node}")))
        .expect("a short record")
}

impl Cluster {
    /// Starts nodes; the first `voters` of them form the cluster.
    pub(crate) async fn start(count: u64, voters: u64) -> Self {
        let root = tempfile::tempdir().expect("a directory");
        let mut cluster = Self { root, net: Arc::default(), nodes: BTreeMap::new(), written: 0 };
        for node in 1..=count {
            cluster.start_node(node).await;
        }
        let members: BTreeMap<NodeId, NodeRecord> =
            (1..=voters).map(|node| (node, record(node))).collect();
        cluster.nodes[&1].raft.initialize(members).await.expect("a fresh cluster");
        cluster.leader().await;
        cluster
    }

    fn dir(&self, node: NodeId) -> PathBuf {
        self.root.path().join(format!("node-{node}"))
    }

    async fn start_node(&mut self, node: NodeId) {
        let dir = self.dir(node);
        let start = match survey(Path::new(&dir)).expect("readable") {
            DirectoryState::Node(_) => Start::Resume(Expected { cluster: CLUSTER, node }),
            _ => Start::Create(identity(node)),
        };
        let store = open(&dir, start, Faults::new(), NoObserver).expect("a whole directory");
        let factory = Factory { from: node, net: Arc::clone(&self.net) };
        let raft = TestRaft::new(node, config(), factory, store.log, store.machine)
            .await
            .expect("a whole store");
        let handle = store.handle;
        self.net.join(node, Member { raft: raft.clone(), handle: handle.clone() });
        self.nodes.insert(node, Node { raft, handle, _closing: store.closing });
    }

    async fn stop_node(&mut self, node: NodeId) {
        self.net.leave(node);
        let stopped = self.nodes.remove(&node).expect("a running node");
        stopped.raft.shutdown().await.expect("openraft stops");
        stopped.handle.close().await.expect("an orderly stop");
        // Connections to it hold its store; they go when openraft notices.
        drop(stopped);
    }

    /// Stops every node.
    pub(crate) async fn end(mut self) {
        let nodes: Vec<NodeId> = self.nodes.keys().copied().collect();
        for node in nodes {
            self.stop_node(node).await;
        }
    }

    async fn restart_node(&mut self, node: NodeId) {
        self.stop_node(node).await;
        self.start_node(node).await;
    }

    /// The node that leads and knows it.
    pub(crate) async fn leader(&self) -> NodeId {
        let mut leader = None;
        wait_until("there is a leader", async || {
            leader = self.nodes.iter().find_map(|(id, node)| {
                let metrics = node.raft.metrics();
                let metrics = metrics.borrow_watched();
                let leads = metrics.state == ServerState::Leader;
                (leads && metrics.current_leader == Some(*id)).then_some(*id)
            });
            leader.is_some()
        })
        .await;
        leader.expect("found")
    }

    /// Writes one entry through whoever leads; tries again while leadership moves.
    async fn write(&mut self, key: &str, value: &str) {
        let data = Command::batch(&[Command::put(key, value)]);
        wait_until("a write succeeds", async || {
            let leader = self.leader().await;
            let raft = self.nodes[&leader].raft.clone();
            raft.client_write(data.clone()).await.is_ok()
        })
        .await;
        self.written += 1;
    }

    pub(crate) async fn write_many(&mut self, count: u64) {
        for _ in 0..count {
            let (key, value) = (format!("key-{}", self.written % 40), "v".repeat(200));
            let value = format!("{value}-{}", self.written);
            self.write(&key, &value).await;
        }
    }

    /// Waits until these nodes applied the same last entry, and compares their digests.
    pub(crate) async fn agree(&self, nodes: &[NodeId]) {
        wait_until("the nodes applied the same entries", async || {
            let positions: BTreeSet<_> = nodes
                .iter()
                .map(|node| {
                    let metrics = self.nodes[node].raft.metrics();
                    let metrics = metrics.borrow_watched();
                    (metrics.last_applied.map(|id| id.index), metrics.last_log_index)
                })
                .collect();
            let applied: BTreeSet<_> = positions.iter().map(|(applied, _)| *applied).collect();
            let logged = positions.iter().filter_map(|(_, logged)| *logged).max();
            applied.len() == 1 && applied.first().copied().flatten() == logged
        })
        .await;
        let digests: BTreeSet<_> =
            nodes.iter().map(|node| self.nodes[node].handle.digest()).collect();
        assert_eq!(digests.len(), 1, "the nodes' states diverged: {digests:?}");
        for node in nodes {
            assert_eq!(self.nodes[node].handle.fatal(), None, "node {node}");
        }
    }

    /// A node's Raft and store.
    pub(crate) fn parts(&self, node: NodeId) -> (TestRaft, StoreHandle<Table>) {
        let node = &self.nodes[&node];
        (node.raft.clone(), node.handle.clone())
    }

    fn term(&self, node: NodeId) -> u64 {
        self.nodes[&node].raft.metrics().borrow_watched().current_term
    }

    /// Builds a snapshot and cuts the log behind it, on one node.
    async fn snapshot_and_purge(&self, node: NodeId) {
        let raft = &self.nodes[&node].raft;
        let metrics = || raft.metrics().borrow_watched().clone();
        let applied = metrics().last_applied.expect("something is applied").index;
        raft.trigger().snapshot().await.expect("alive");
        wait_until("the snapshot is built", async || {
            metrics().snapshot.is_some_and(|id| id.index >= applied)
        })
        .await;
        raft.trigger().purge_log(applied).await.expect("alive");
        wait_until("the log is purged", async || {
            metrics().purged.is_some_and(|id| id.index >= applied)
        })
        .await;
    }

    async fn change_voters(&self, voters: &[NodeId]) {
        let voters: BTreeSet<NodeId> = voters.iter().copied().collect();
        let leader = self.leader().await;
        let raft = &self.nodes[&leader].raft;
        raft.change_membership(voters, false).await.expect("a committed change");
    }
}

// Goal: writes reach every node; after a planned change of the leader, after the leader is gone, and
// after every node came back from disk, all states are equal and nothing acknowledged is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_agree_through_leader_changes_and_restarts() {
    let mut cluster = Cluster::start(3, 3).await;
    cluster.write_many(60).await;
    cluster.agree(&[1, 2, 3]).await;

    let first = cluster.leader().await;
    let next = if first == 3 { 1 } else { first + 1 };
    cluster.nodes[&first].raft.trigger().transfer_leader(next).await.expect("alive");
    wait_until("leadership moved", async || cluster.leader().await == next).await;
    cluster.write_many(30).await;

    cluster.stop_node(next).await;
    let second = cluster.leader().await;
    assert_ne!(second, next);
    cluster.write_many(30).await;
    cluster.start_node(next).await;
    cluster.agree(&[1, 2, 3]).await;

    for node in 1..=3 {
        let before = cluster.nodes[&node].handle.digest();
        cluster.restart_node(node).await;
        let report = cluster.nodes[&node].handle.recovery().clone();
        assert_eq!(report.applied, before.0, "node {node} came back with an older state");
        cluster.write_many(5).await;
        cluster.agree(&[1, 2, 3]).await;
    }
    let values = cluster.nodes[&1].handle.read(|table, _| table.rows.len());
    assert_eq!(values, 40);
    assert_eq!(cluster.written, 135);
    cluster.end().await;
}

// Goal: many proposals in flight at once are all answered, in one group after the other, and the
// replies belong to their proposals.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn proposals_are_pipelined() {
    let mut cluster = Cluster::start(3, 3).await;
    // A leader takes no proposals before its quorum answered once.
    cluster.write_many(1).await;
    let leader = cluster.leader().await;
    let node = &cluster.nodes[&leader];
    let before = node.handle.counters();
    let mut flying = Vec::new();
    for number in 0..2_000_u64 {
        let data = Command::batch(&[
            Command::put(format!("pipelined-{number}"), "first"),
            Command::put(format!("pipelined-{number}"), number.to_string()),
        ]);
        let (responder, reply) = ProgressResponder::complete_only();
        node.raft.client_write_ff(data, Some(responder)).await.expect("alive");
        flying.push(reply);
    }
    let mut last_index = 0;
    for reply in flying {
        let response = reply.await.expect("an answer").expect("the same leader");
        assert!(response.log_id.index > last_index, "replies are out of order");
        last_index = response.log_id.index;
        assert_eq!(response.data.replies, [&b""[..], b"first"]);
    }
    cluster.agree(&[1, 2, 3]).await;
    let after = node.handle.counters();
    let (entries, syncs) =
        (after.entries_synced - before.entries_synced, after.syncs - before.syncs);
    assert!(entries >= 2_000);
    assert!(syncs * 3 < entries, "{entries} entries took {syncs} syncs: no groups");
    assert_eq!(after.log_reads_disk, before.log_reads_disk, "replication read the disk");
    cluster.end().await;
}

// Goal: a follower that was cut off until the log was purged catches up by a snapshot, whose
// transfer breaks twice and goes on where it stopped; a restart keeps all that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lagging_follower_gets_a_snapshot() {
    let mut cluster = Cluster::start(3, 3).await;
    cluster.write_many(10).await;
    cluster.agree(&[1, 2, 3]).await;
    let leader = cluster.leader().await;
    let lagging = if leader == 3 { 2 } else { 3 };
    cluster.net.isolate(lagging);
    for number in 0..60 {
        // Text that does not pack, so that the snapshot has some length.
        let filler: String =
            Rng::new(number).bytes(800).iter().map(|byte| char::from(b'!' + byte % 90)).collect();
        cluster.write(&format!("large-{number}"), &filler).await;
    }
    let others: Vec<NodeId> = (1..=3).filter(|node| *node != lagging).collect();
    cluster.agree(&others).await;
    for node in &others {
        cluster.snapshot_and_purge(*node).await;
    }
    cluster.net.break_snapshots(&[2, 3]);
    cluster.net.heal();
    cluster.write_many(3).await;
    cluster.agree(&[1, 2, 3]).await;

    let counters = cluster.nodes[&lagging].handle.counters();
    assert_eq!(counters.snapshots_installed, 1);
    let offsets = cluster.net.snapshot_offsets.lock().clone();
    assert!(offsets.len() >= 3, "the transfers did not break: {offsets:?}");
    assert!(offsets[..3].is_sorted_by(|a, b| a < b), "a transfer started over: {offsets:?}");
    let chunks = cluster.net.snapshot_chunks.load(Relaxed);
    assert!(chunks > 5, "too small a snapshot to prove anything: {chunks}");
    for node in 1..=3 {
        cluster.restart_node(node).await;
        cluster.agree(&[1, 2, 3]).await;
    }
    cluster.write_many(3).await;
    cluster.agree(&[1, 2, 3]).await;
    cluster.end().await;
}

// Goal: a learner that joins after the log was purged learns by snapshot, becomes a voter, and the
// old nodes leave one by one, the leader included; the membership survives a restart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_come_and_go() {
    let mut cluster = Cluster::start(1, 1).await;
    cluster.write_many(30).await;
    cluster.snapshot_and_purge(1).await;
    for node in [2, 3, 4] {
        cluster.start_node(node).await;
        let raft = &cluster.nodes[&1].raft;
        raft.add_learner(node, record(node), true).await.expect("a learner that keeps up");
        wait_until("the learner has the snapshot", async || {
            cluster.nodes[&node].handle.counters().snapshots_installed == 1
        })
        .await;
    }
    cluster.change_voters(&[1, 2, 3]).await;
    cluster.write_many(10).await;
    cluster.agree(&[1, 2, 3, 4]).await;

    cluster.change_voters(&[2, 3, 4]).await;
    cluster.stop_node(1).await;
    cluster.write_many(10).await;
    cluster.agree(&[2, 3, 4]).await;

    for node in [2, 3, 4] {
        cluster.restart_node(node).await;
        cluster.agree(&[2, 3, 4]).await;
        let membership = cluster.nodes[&node].raft.metrics().borrow_watched().clone();
        let membership = membership.membership_config;
        assert_eq!(membership.voter_ids().collect::<Vec<_>>(), vec![2, 3, 4]);
        let known = membership.membership().get_node(&4).cloned();
        assert_eq!(known, Some(record(4)), "the record of a node did not survive");
    }
    cluster.write_many(3).await;
    cluster.agree(&[2, 3, 4]).await;
    cluster.end().await;
}

// Goal: a node that was cut off and comes back does not disturb the leader (Pre-Vote), and its
// returning replication does not cost a back-off of seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_returning_node_does_not_disturb() {
    let mut cluster = Cluster::start(3, 3).await;
    cluster.write_many(5).await;
    let leader = cluster.leader().await;
    let term = cluster.term(leader);
    let cut = if leader == 3 { 2 } else { 3 };
    cluster.net.isolate(cut);
    cluster.write_many(5).await;
    wait_until("the cut-off node campaigned twice", async || {
        cluster.net.pre_votes.load(Relaxed) >= 4
    })
    .await;
    cluster.net.heal();
    cluster.write_many(5).await;
    cluster.agree(&[1, 2, 3]).await;
    assert_eq!(cluster.leader().await, leader, "the returning node took the leadership away");
    assert_eq!(cluster.term(leader), term, "the returning node raised the term");
    cluster.end().await;
}

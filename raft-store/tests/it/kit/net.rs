//! A transport between nodes of one process: requests go as values, snapshots in chunks.
//!
//! `stream_append` is what a gRPC transport does: one ordered stream of requests and one of answers.
//! When openraft closes its side (it restarts replication), the answers end without an error: an
//! error there would start openraft's back-off and cost seconds.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, Raft};
use parking_lot::Mutex;
use tandem_raft_store::format::snapshot::{decode_info, encode_info};
use tandem_raft_store::{
    NodeId, NodeRecord, Snapshot, SnapshotFile, StateMachine, StoreHandle, TypeConfig, Vote,
};
use tokio::sync::mpsc;

use super::Table;

pub(crate) type TestRaft = Raft<TypeConfig, StateMachine<Table>>;

/// Bytes of a snapshot per message.
const CHUNK_BYTES: usize = 4_096;

/// A node that can be reached.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) raft: TestRaft,
    pub(crate) handle: StoreHandle<Table>,
}

/// All nodes and the state of the links between them.
#[derive(Default)]
pub(crate) struct Net {
    members: Mutex<BTreeMap<NodeId, Member>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// The next transfers break after this many chunks each.
    snapshot_breaks: Mutex<Vec<u64>>,
    /// Pre-votes that were asked for while the asking node was cut off.
    pub(crate) pre_votes: AtomicU64,
    pub(crate) snapshot_chunks: AtomicU64,
    pub(crate) snapshot_offsets: Mutex<Vec<u64>>,
}

impl Net {
    pub(crate) fn join(&self, node: NodeId, member: Member) {
        self.members.lock().insert(node, member);
    }

    pub(crate) fn leave(&self, node: NodeId) {
        self.members.lock().remove(&node);
    }

    /// Cuts a node off from everybody, both ways.
    pub(crate) fn isolate(&self, node: NodeId) {
        let mut cut = self.cut.lock();
        for other in 1..10 {
            cut.insert((node, other));
            cut.insert((other, node));
        }
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().clear();
    }

    /// The next snapshot transfers break after so many chunks each.
    pub(crate) fn break_snapshots(&self, after_chunks: &[u64]) {
        *self.snapshot_breaks.lock() = after_chunks.iter().rev().copied().collect();
    }

    fn reach(&self, from: NodeId, to: NodeId) -> Result<Member, Unreachable<TypeConfig>> {
        if self.cut.lock().contains(&(from, to)) {
            return Err(Unreachable::from_string("the link is cut"));
        }
        let member = self.members.lock().get(&to).cloned();
        member.ok_or_else(|| Unreachable::from_string("the node is down"))
    }
}

/// Makes the clients of one node.
pub(crate) struct Factory {
    pub(crate) from: NodeId,
    pub(crate) net: Arc<Net>,
}

impl RaftNetworkFactory<TypeConfig> for Factory {
    type Network = Client;

    async fn new_client(&mut self, target: NodeId, _node: &NodeRecord) -> Client {
        Client { from: self.from, to: target, net: Arc::clone(&self.net) }
    }
}

/// The way from one node to another.
#[derive(Clone)]
pub(crate) struct Client {
    from: NodeId,
    to: NodeId,
    net: Arc<Net>,
}

impl Client {
    fn reach(&self) -> Result<Member, Unreachable<TypeConfig>> {
        self.net.reach(self.from, self.to)
    }

    /// A remote error is, for the caller, a node that does not answer.
    fn failed(error: impl std::fmt::Display) -> RPCError<TypeConfig> {
        RPCError::Unreachable(Unreachable::from_string(error))
    }

    /// Asks, and counts an answer only if the link still stands when it comes back.
    async fn ask<T, E: std::fmt::Display>(
        &self,
        question: impl AsyncFnOnce(TestRaft) -> Result<T, E>,
    ) -> Result<T, RPCError<TypeConfig>> {
        let member = self.reach()?;
        let answer = question(member.raft).await;
        self.reach()?;
        answer.map_err(Self::failed)
    }

    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot) -> SendSnapshot {
        let file = snapshot.snapshot;
        let info = decode_info(&encode_info(file.info())).map_err(Self::failed)?;
        let receiver = self.reach()?.handle.receive_snapshot(info).map_err(Self::failed)?;
        let mut receiver = Some(receiver);
        let break_after = self.net.snapshot_breaks.lock().pop();
        self.net.snapshot_offsets.lock().push(receiver.as_ref().map_or(0, |r| r.offset()));
        let mut sent = 0;
        while let Some(current) = receiver.take() {
            if break_after == Some(sent) {
                return Err(Self::failed("the transfer broke").into());
            }
            self.reach()?;
            let file = file.clone();
            let step = tokio::task::spawn_blocking(move || send_chunk(&file, current));
            match step.await.map_err(Self::failed)?.map_err(Self::failed)? {
                Step::More(next) => receiver = Some(*next),
                Step::Whole(received) => {
                    let whole = Snapshot { meta: received.meta(), snapshot: received };
                    let raft = self.reach()?.raft;
                    let answer = raft.install_full_snapshot(vote, whole).await;
                    return answer.map_err(|error| Self::failed(error).into());
                }
            }
            sent += 1;
            self.net.snapshot_chunks.fetch_add(1, Relaxed);
        }
        Err(Self::failed("the transfer ended without an end").into())
    }
}

/// Ends a task of a stream when openraft drops the stream of answers.
///
/// This is not only tidy: while openraft's stream of requests waits for the next entry it holds a
/// lock that openraft takes before it opens the next stream. A transport that keeps polling the old
/// requests after its answers were dropped stops replication to that node for good.
struct EndOnDrop(tokio::task::JoinHandle<()>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

type SendSnapshot = Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>>;
type Receiver = tandem_raft_store::SnapshotReceiver<Table>;

enum Step {
    More(Box<Receiver>),
    Whole(SnapshotFile),
}

fn send_chunk(file: &SnapshotFile, mut receiver: Receiver) -> Result<Step, String> {
    let chunk =
        file.read_chunk(receiver.offset(), CHUNK_BYTES).map_err(|error| error.to_string())?;
    if chunk.is_empty() {
        return receiver.finish().map(Step::Whole).map_err(|error| error.to_string());
    }
    receiver.write(receiver.offset(), &chunk).map_err(|error| error.to_string())?;
    Ok(Step::More(Box::new(receiver)))
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(async move |raft: TestRaft| raft.append_entries(rpc).await).await
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            let member = self.reach()?;
            let (to_remote, mut requests) = mpsc::channel(64);
            let (to_us, mut answers) = mpsc::channel(64);
            let there = self.clone();
            // Our side: requests in order, until openraft closes the stream or the link is cut.
            let here = self.clone();
            let sending = tokio::spawn(async move {
                let mut input = input;
                while let Some(request) = input.next().await {
                    if here.reach().is_err() || to_remote.send(request).await.is_err() {
                        return;
                    }
                }
            });
            // The other side: one ordered stream into Raft, answers in the same order.
            let answering = tokio::spawn(async move {
                let requests = futures_util::stream::poll_fn(move |cx| requests.poll_recv(cx));
                let mut results = Box::pin(member.raft.stream_append(requests));
                while let Some(result) = results.next().await {
                    if there.reach().is_err() {
                        return;
                    }
                    if to_us.send(result.map_err(Client::failed)).await.is_err() {
                        return;
                    }
                }
            });
            let link = self.clone();
            let mut told = false;
            let tasks = [EndOnDrop(sending), EndOnDrop(answering)];
            let answers = futures_util::stream::poll_fn(move |cx| {
                let _tasks = &tasks;
                let next = answers.poll_recv(cx);
                // The end: silent if openraft ended it, an error if the link did.
                match (next, link.reach()) {
                    (std::task::Poll::Ready(None), Err(cut)) if !told => {
                        told = true;
                        std::task::Poll::Ready(Some(Err(RPCError::Unreachable(cut))))
                    }
                    (next, _) => next,
                }
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(async move |raft: TestRaft| raft.vote(rpc).await).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let answer = self.ask(async move |raft: TestRaft| raft.pre_vote(rpc).await).await;
        self.net.pre_votes.fetch_add(u64::from(answer.is_err()), Relaxed);
        answer
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> SendSnapshot {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(async move |raft: TestRaft| raft.handle_transfer_leader(req).await).await
    }

    fn backoff(&self) -> Option<openraft::network::Backoff> {
        Some(openraft::network::Backoff::new(std::iter::repeat(Duration::from_millis(50))))
    }
}

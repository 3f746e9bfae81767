//! Raft towards one other node: the client half of the transport.
//!
//! `stream_append` is pipelined: requests leave without waiting, replies come back in their order
//! on one HTTP/2 stream. When openraft ends its side (it restarts replication) the stream ends
//! silently: an error there would start openraft's back-off and turn a failover of half a second
//! into many seconds (`docs/adr/0001-openraft-version.md`).

use std::{
    future::Future,
    io, iter,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream};
use openraft::{
    base::{BoxFuture, BoxStream},
    errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable},
    network::{Backoff, RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2},
    raft::{
        AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
        TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
    },
};
use tandem_cluster::ids::{DiskId, NodeId};
use tandem_proto::cluster::v1 as wire;
use tandem_raft_store::{
    NodeRecord, Snapshot, SnapshotFile, TypeConfig, Vote, format::snapshot::encode_info,
};
use tonic::{Code, Request, Status, transport::Channel};

use super::{
    acknowledged::{Acknowledged, Sent},
    codec,
    identity::Member,
    peers::{Peers, Purpose},
};
use crate::rpc::raft_client::RaftClient;

/// Bytes of a snapshot that travel in one message.
const CHUNK_BYTES: usize = 256 * 1024;
/// Largest message: an entry of 4 MiB with its frame, or a batch of smaller ones.
pub(crate) const MESSAGE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A reply to replication waits for the peer's disk and a long way: it may take so many times as long as a
/// peer's silence may. A slow disk is no dead node, and neither is a far one.
const SLOWNESS: u32 = 4;
/// After a failure of replication.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// After each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// Makes connections for openraft.
#[derive(Debug, Clone)]
pub struct Network {
    member: Member,
    peers: Peers,
    stall: Duration,
    acknowledged: Acknowledged,
}

impl Network {
    /// `stall`: how long replies may stay away while requests are unanswered before the stream
    /// counts as broken; the longest election timeout is right.
    #[must_use]
    pub fn new(member: Member, peers: Peers, stall: Duration) -> Self {
        Self { member, peers, stall, acknowledged: Acknowledged::default() }
    }

    fn connection(&self, target: u64, node: &NodeRecord, purpose: Purpose) -> Connection {
        Connection {
            member: self.member,
            target: NodeId(target),
            disk: DiskId(node.disk().0),
            channel: self.peers.channel(node.raft_address(), purpose).map_err(|e| e.to_string()),
            stall: self.stall,
            acknowledged: self.acknowledged.clone(),
        }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, node: &NodeRecord) -> Connection {
        self.connection(target, node, Purpose::Replication)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &NodeRecord) -> Connection {
        self.connection(target, node, Purpose::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &NodeRecord) -> Connection {
        self.connection(target, node, Purpose::Snapshot)
    }
}

/// One node, for one purpose.
#[derive(Debug)]
pub struct Connection {
    member: Member,
    target: NodeId,
    disk: DiskId,
    channel: Result<Channel, String>,
    stall: Duration,
    acknowledged: Acknowledged,
}

impl Connection {
    fn client(&self) -> Result<RaftClient<Channel>, Unreachable<TypeConfig>> {
        let channel = self.channel.as_ref().map_err(|error| {
            Unreachable::new(&io::Error::new(io::ErrorKind::InvalidInput, error.clone()))
        })?;
        Ok(RaftClient::new(channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.member.sign(self.target, self.disk, request.metadata_mut());
        request
    }

    /// The same for entries: with what is remembered of this node's log.
    fn append_request<T>(&self, message: T) -> Request<T> {
        let mut request = self.request(message);
        self.acknowledged.tell(self.target, request.metadata_mut());
        request
    }

    /// Runs a call within the time that openraft allows for it.
    async fn call<T>(
        &self,
        action: RPCTypes,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, RPCError<TypeConfig>> {
        match tokio::time::timeout(option.soft_ttl(), call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(failed(&status)),
            Err(_) => Err(RPCError::Timeout(Timeout {
                action,
                id: self.member.node.0,
                target: self.target.0,
                timeout: option.soft_ttl(),
            })),
        }
    }

    /// How a peer voted, or would vote.
    async fn ballot(
        &self,
        option: &RPCOption,
        call: impl Future<Output = Result<tonic::Response<wire::VoteReply>, Status>>,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let reply = self.call(RPCTypes::Vote, option, call).await?;
        codec::vote_reply_from_wire(&reply).map_err(|status| failed(&status))
    }
}

/// What a status means to openraft: out of reach (wait before trying again), or a failure of this
/// one call.
fn failed(status: &Status) -> RPCError<TypeConfig> {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition | Code::PermissionDenied => {
            RPCError::Unreachable(Unreachable::new(status))
        }
        _ => RPCError::Network(NetworkError::new(status)),
    }
}

impl RaftNetworkV2<TypeConfig> for Connection {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let sent = Sent::of(&rpc);
        let request = self.append_request(codec::append_to_wire(&rpc));
        let mut client = self.client()?;
        let call = client.append_once(request);
        let reply = self.call(RPCTypes::AppendEntries, &option, call).await?;
        let reply = codec::append_reply_from_wire(reply).map_err(|status| failed(&status))?;
        self.acknowledged.note_reply(self.target, &sent, &reply);
        Ok(reply)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            // openraft's pause after a failure is in this stream: whoever opens the call before
            // taking from it never pauses, and tries a node that is down again without end.
            let mut input = input;
            let Some(first) = input.next().await else {
                let nothing: BoxStream<'s, _> = Box::pin(stream::empty());
                return Ok(nothing);
            };
            let vote = first.vote;
            let input = stream::iter([first]).chain(input);
            let sent = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&sent);
            let requests = input.map(move |request| {
                counter.fetch_add(1, Ordering::Relaxed);
                codec::append_to_wire(&request)
            });
            let request = self.append_request(requests);
            let mut client = self.client()?;
            let call = client.append(request);
            // The peer answers with its headers before it has seen a request: that takes the way there and
            // back, which may be longer than openraft's limit, the time of a heartbeat's answer.
            let within = RPCOption::new((self.stall * SLOWNESS).max(option.hard_ttl()));
            let replies = self.call(RPCTypes::AppendEntries, &within, call).await?;
            let (target, acknowledged) = (self.target, self.acknowledged.clone());
            let note = move |index| acknowledged.note(target, &vote, index);
            let stall = self.stall * SLOWNESS;
            let state = Replies { replies, sent, received: 0, stall, note: Box::new(note) };
            let output: BoxStream<'s, _> = Box::pin(stream::unfold(Some(state), Replies::next));
            Ok(output)
        })
    }

    /// The pause before each request after a failure, until one succeeds. openraft's own is one pause of
    /// 200 ms and then a second each time, also for a node that is well again: its people wait for that.
    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(iter::once(FIRST_PAUSE).chain(iter::repeat(PAUSE))))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let call = client.vote(self.request(codec::vote_to_wire(&rpc)));
        self.ballot(&option, call).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let mut client = self.client()?;
        let call = client.pre_vote(self.request(codec::vote_to_wire(&rpc)));
        self.ballot(&option, call).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot.snapshot, option) => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        req: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let request = self.request(codec::transfer_to_wire(&req));
        let mut client = self.client()?;
        let call = client.transfer_leader(request);
        let reply = self.call(RPCTypes::TransferLeader, &option, call).await?;
        codec::transfer_reply_from_wire(&reply, &req).map_err(|status| failed(&status))
    }
}

/// Replies of a pipelined append.
struct Replies {
    replies: tonic::Streaming<wire::AppendReply>,
    sent: Arc<AtomicU64>,
    received: u64,
    stall: Duration,
    /// Told how far the peer has everything.
    note: Box<dyn Fn(u64) + Send>,
}

type Reply = Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>;

impl Replies {
    /// The next reply; after an error the stream is over.
    async fn next(state: Option<Self>) -> Option<(Reply, Option<Self>)> {
        let mut state = state?;
        loop {
            let outstanding = state.sent.load(Ordering::Relaxed) > state.received;
            match tokio::time::timeout(state.stall, state.replies.message()).await {
                Ok(Ok(Some(reply))) => {
                    state.received += 1;
                    return match codec::stream_reply_from_wire(reply) {
                        Ok(reply) => {
                            if let Ok(Some(matching)) = &reply {
                                (state.note)(matching.index);
                            }
                            Some((Ok(reply), Some(state)))
                        }
                        Err(status) => Some((Err(failed(&status)), None)),
                    };
                }
                // Our side was closed and the peer has answered everything: silently over.
                Ok(Ok(None)) => return None,
                Ok(Err(status)) => return Some((Err(failed(&status)), None)),
                Err(_) if outstanding => {
                    let silent = Status::deadline_exceeded(format!(
                        "no reply to a replication request for {:?}",
                        state.stall
                    ));
                    return Some((Err(RPCError::Unreachable(Unreachable::new(&silent))), None));
                }
                Err(_) => {}
            }
        }
    }
}

impl Connection {
    /// Sends a snapshot from where an earlier transfer of the same file stopped.
    async fn send_snapshot(
        &self,
        vote: Vote,
        file: SnapshotFile,
        option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let info = bytes::Bytes::from(encode_info(file.info()));
        let mut client = self.client()?;
        let ask = self.request(wire::SnapshotOffsetRequest { info: info.clone() });
        let offset = client.snapshot_offset(ask).await.map_err(|status| broken(&status))?;
        let offset = offset.into_inner().offset;
        let begin = wire::SnapshotBegin { vote: codec::vote_bytes(&vote), info, offset };
        let begin = wire::SnapshotPart { part: Some(wire::snapshot_part::Part::Begin(begin)) };
        let parts = stream::iter([begin]).chain(chunks(file, offset));
        let call = client.install_snapshot(self.request(parts));
        // The peer checks and loads the whole file before it answers; the limit guards only
        // against a peer that hangs.
        let limit = option.hard_ttl().max(Duration::from_secs(600));
        let reply = tokio::time::timeout(limit, call)
            .await
            .map_err(|_| broken(&Status::deadline_exceeded("the snapshot was not installed")))?
            .map_err(|status| broken(&status))?;
        let vote = codec::vote(&reply.into_inner().vote).map_err(|status| broken(&status))?;
        Ok(SnapshotResponse::new(vote))
    }
}

fn broken(status: &Status) -> StreamingError<TypeConfig> {
    match status.code() {
        Code::Unavailable | Code::FailedPrecondition | Code::PermissionDenied => {
            StreamingError::Unreachable(Unreachable::new(status))
        }
        _ => StreamingError::Network(NetworkError::new(status)),
    }
}

/// The file's bytes from `offset` on. A read error ends the stream early, which the peer notices by
/// the length.
fn chunks(file: SnapshotFile, offset: u64) -> impl Stream<Item = wire::SnapshotPart> {
    stream::unfold((file, offset), |(file, offset)| async move {
        let reader = file.clone();
        let read = tokio::task::spawn_blocking(move || reader.read_chunk(offset, CHUNK_BYTES));
        let chunk = match read.await {
            Ok(Ok(chunk)) => chunk,
            Ok(Err(error)) => {
                tracing::error!(%error, "a snapshot cannot be read: the transfer breaks off");
                return None;
            }
            Err(_) => return None,
        };
        if chunk.is_empty() {
            return None;
        }
        let next = offset + chunk.len() as u64;
        let part = wire::SnapshotPart { part: Some(wire::snapshot_part::Part::Chunk(chunk)) };
        Some((part, (file, next)))
    })
}

//! Raft from the other nodes: the server half of the transport.

use std::{pin::Pin, sync::Arc};

use futures_util::{Stream, StreamExt};
use openraft::type_config::async_runtime::watch::WatchReceiver;
use tandem_cluster::ids::{DiskId, NodeId};
use tandem_media_relay::identity::Role;
use tandem_proto::cluster::v1 as wire;
use tandem_raft_store::{SnapshotError, SnapshotFile, format::snapshot::decode_info};
use tonic::{Request, Response, Status, Streaming};

use super::{
    acknowledged, codec,
    identity::{Claim, wrong_disk},
    member::Membership,
};
use crate::{
    exit::Exit,
    rpc::raft_server::Raft,
    tls::{require_name, require_role},
};

/// Answers Raft's calls once this node is a member.
#[derive(Debug, Clone)]
pub struct RaftService {
    membership: Arc<Membership>,
}

type Core = Arc<super::core::Core>;

impl RaftService {
    /// Serves for this node, before and after it becomes a member.
    #[must_use]
    pub fn new(membership: Arc<Membership>) -> Self {
        Self { membership }
    }

    /// The running core, if the call is from the right disk of a node to the right disk of this
    /// one.
    fn core<T>(&self, request: &Request<T>) -> Result<Core, Status> {
        require_role(request, &[Role::Node])?;
        let claim = Claim::read(request.metadata())?;
        let Some(core) = self.membership.core() else {
            return Err(self.membership.refuse_newcomer(&claim));
        };
        core.member.accept(&claim)?;
        check_caller(&core, &claim, request)?;
        Ok(core)
    }

    /// The same for a leader that sends entries: what it remembers of this node's log must be there,
    /// or the process ends before it takes part in anything more.
    async fn follower<T>(&self, request: &Request<T>) -> Result<Core, Status> {
        let core = self.core(request)?;
        if let Err(lost) = acknowledged::compare(&core.raft, request.metadata()).await? {
            self.membership.end(Exit::Identity(lost.to_string()));
            return Err(Status::failed_precondition(lost.to_string()));
        }
        Ok(core)
    }
}

/// The caller's disk must be the one that the membership has for it, and its certificate must carry
/// the name on record. A caller that this node does not know yet may be a leader that knows more.
pub(super) fn check_caller<T>(
    core: &super::core::Core,
    claim: &Claim,
    request: &Request<T>,
) -> Result<(), Status> {
    let metrics = core.raft.server_metrics();
    let view = WatchReceiver::borrow_watched(&metrics);
    let Some(known) = view.membership_config.membership().get_node(&claim.from.0) else {
        return Ok(());
    };
    let disk = DiskId(known.disk().0);
    if disk != claim.from_disk {
        return Err(wrong_disk(NodeId(claim.from.0), disk, claim.from_disk));
    }
    require_name(request, Role::Node, known.name())
}

fn internal(error: impl std::fmt::Display) -> Status {
    Status::unavailable(format!("this node cannot take part in Raft now: {error}"))
}

#[tonic::async_trait]
impl Raft for RaftService {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<wire::AppendReply, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        let core = self.follower(&request).await?;
        // The input ends at the first broken message; openraft then ends the output.
        let heard = Arc::clone(&core);
        let input = request.into_inner().scan((), move |(), message| {
            heard.hears_leader();
            let request = message.and_then(codec::append_from_wire);
            std::future::ready(match request {
                Ok(request) => Some(request),
                Err(status) => {
                    tracing::debug!(%status, "a replication stream ended");
                    None
                }
            })
        });
        let output = core.raft.stream_append(input).map(|reply| match reply {
            Ok(reply) => Ok(codec::stream_reply_to_wire(reply)),
            Err(fatal) => Err(internal(fatal)),
        });
        Ok(Response::new(Box::pin(output)))
    }

    async fn append_once(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendReply>, Status> {
        let core = self.follower(&request).await?;
        core.hears_leader();
        let append = codec::append_from_wire(request.into_inner())?;
        let reply = core.raft.append_entries(append).await.map_err(internal)?;
        Ok(Response::new(codec::append_reply_to_wire(reply)))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteReply>, Status> {
        let core = self.core(&request)?;
        let vote = codec::vote_from_wire(&request.into_inner())?;
        let reply = core.raft.vote(vote).await.map_err(internal)?;
        Ok(Response::new(codec::vote_reply_to_wire(&reply)))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteReply>, Status> {
        let core = self.core(&request)?;
        let vote = codec::vote_from_wire(&request.into_inner())?;
        let reply = core.raft.pre_vote(vote).await.map_err(internal)?;
        Ok(Response::new(codec::vote_reply_to_wire(&reply)))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderReply>, Status> {
        let core = self.core(&request)?;
        let transfer = codec::transfer_from_wire(&request.into_inner())?;
        let reply = core.raft.handle_transfer_leader(transfer).await.map_err(internal)?;
        Ok(Response::new(codec::transfer_reply_to_wire(&reply)))
    }

    async fn snapshot_offset(
        &self,
        request: Request<wire::SnapshotOffsetRequest>,
    ) -> Result<Response<wire::SnapshotOffsetReply>, Status> {
        let core = self.core(&request)?;
        let info = decode_info(&request.into_inner().info).map_err(codec::malformed)?;
        let begin = move || core.store.receive_snapshot(info).map(|receiver| receiver.offset());
        let offset = blocking(begin).await?;
        Ok(Response::new(wire::SnapshotOffsetReply { offset }))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotPart>>,
    ) -> Result<Response<wire::InstallSnapshotReply>, Status> {
        let core = self.core(&request)?;
        let mut parts = request.into_inner();
        let (vote, file) = receive(&core, &mut parts).await?;
        let reply =
            core.raft.install_full_snapshot(vote, file.to_snapshot()).await.map_err(internal)?;
        let vote = codec::vote_bytes(&reply.vote);
        Ok(Response::new(wire::InstallSnapshotReply { vote }))
    }
}

/// Takes a snapshot's bytes and has the whole file checked.
async fn receive(
    core: &Core,
    parts: &mut Streaming<wire::SnapshotPart>,
) -> Result<(tandem_raft_store::Vote, SnapshotFile), Status> {
    use wire::snapshot_part::Part;
    let first = parts.message().await?.and_then(|part| part.part);
    let Some(Part::Begin(begin)) = first else {
        return Err(codec::malformed("a snapshot without its beginning"));
    };
    let vote = codec::vote(&begin.vote)?;
    let info = decode_info(&begin.info).map_err(codec::malformed)?;
    let handle = core.store.clone();
    let mut receiver = blocking(move || handle.receive_snapshot(info)).await?;
    let mut offset = begin.offset;
    while let Some(part) = parts.message().await? {
        let Some(Part::Chunk(chunk)) = part.part else {
            return Err(codec::malformed("a snapshot that begins twice"));
        };
        let at = offset;
        offset += chunk.len() as u64;
        receiver = blocking(move || receiver.write(at, &chunk).map(|()| receiver)).await?;
    }
    let file = blocking(move || receiver.finish()).await?;
    Ok((vote, file))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(internal)?
        .map_err(|error| Status::aborted(format!("the snapshot is refused: {error}")))
}

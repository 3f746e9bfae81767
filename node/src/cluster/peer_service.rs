//! What other nodes and witnesses ask of this one, besides Raft.

use std::{sync::Arc, time::Duration};

use tandem_cluster::{
    command::{Command, Envelope, Evidence},
    ids::{Epoch, NodeId},
};
use tandem_media_relay::identity::Role;
use tandem_proto::cluster::v1 as wire;
use tandem_raft_store::format::records::decode_node;
use tonic::{Request, Response, Status};

use super::{
    batcher::{GROUP_MAX, NotCommitted},
    codec,
    core::Core,
    identity::{Claim, not_leader},
    life,
    member::Membership,
    removal,
    server::check_caller,
    voters,
};
use crate::{
    rpc::{attestation_server::Attestation, peer_server::Peer},
    tls::{require_name, require_role},
};

/// How long a witness's report may take to enter the log.
const ATTEST_WITHIN: Duration = Duration::from_secs(2);

/// Answers peers and witnesses.
#[derive(Debug, Clone)]
pub struct PeerService {
    membership: Arc<Membership>,
}

impl PeerService {
    /// Serves for this node, before and after it becomes a member.
    #[must_use]
    pub fn new(membership: Arc<Membership>) -> Self {
        Self { membership }
    }

    fn core<T>(&self, request: &Request<T>) -> Result<Arc<Core>, Status> {
        require_role(request, &[Role::Node])?;
        let claim = Claim::read(request.metadata())?;
        let core = self.membership.core().ok_or_else(|| self.membership.refuse_newcomer(&claim))?;
        core.member.accept(&claim)?;
        check_caller(&core, &claim, request)?;
        Ok(core)
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn propose(
        &self,
        request: Request<wire::ProposeRequest>,
    ) -> Result<Response<wire::ProposeReply>, Status> {
        let core = self.core(&request)?;
        let from = Claim::read(request.metadata())?.from;
        let encoded = request.into_inner().envelopes;
        if encoded.len() > GROUP_MAX {
            return Err(Status::invalid_argument(format!(
                "{} commands in one message, at most {GROUP_MAX} are taken",
                encoded.len()
            )));
        }
        let envelopes: Vec<Envelope> = encoded
            .iter()
            .map(|bytes| Envelope::decode(bytes))
            .collect::<Result<_, _>>()
            .map_err(codec::malformed)?;
        if let Some(foreign) = envelopes.iter().find(|envelope| envelope.node != from) {
            return Err(Status::permission_denied(format!(
                "{from} proposes in the name of {}",
                foreign.node
            )));
        }
        match core.batcher.commit(envelopes).await {
            Ok(outcomes) => Ok(Response::new(wire::ProposeReply { outcomes })),
            Err(NotCommitted::NotLeader(leader)) => Err(not_leader(leader)),
            Err(error @ (NotCommitted::Overloaded | NotCommitted::NoQuorum)) => {
                Err(Status::resource_exhausted(error.to_string()))
            }
            Err(error) => Err(Status::unknown(error.to_string())),
        }
    }

    async fn lease(
        &self,
        request: Request<wire::LeaseRequest>,
    ) -> Result<Response<wire::LeaseReply>, Status> {
        let core = self.core(&request)?;
        let asked = request.into_inner();
        let granted = life::lease(&core, NodeId(asked.node), Epoch(asked.node_epoch))
            .await
            .ok_or_else(|| not_leader(core.leader().filter(|node| *node != core.member.node)))?;
        Ok(Response::new(wire::LeaseReply { granted, lease_ms: core.config.lease_ms }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexReply>, Status> {
        let core = self.core(&request)?;
        let index = core.quorum.prove().await;
        let index = index
            .ok_or_else(|| not_leader(core.leader().filter(|node| *node != core.member.node)))?;
        Ok(Response::new(wire::ReadIndexReply { index }))
    }

    async fn add_voter(
        &self,
        request: Request<wire::AddVoterRequest>,
    ) -> Result<Response<wire::AddVoterReply>, Status> {
        let core = self.core(&request)?;
        let asked = request.into_inner();
        let record = decode_node(&asked.record).map_err(codec::malformed)?;
        let voters = voters::add_voter(&core, NodeId(asked.node), record).await?;
        Ok(Response::new(wire::AddVoterReply { voters }))
    }

    async fn remove_voter(
        &self,
        request: Request<wire::RemoveVoterRequest>,
    ) -> Result<Response<wire::RemoveVoterReply>, Status> {
        let core = self.core(&request)?;
        let node = NodeId(request.into_inner().node);
        let voters = removal::remove_voter(&core, node).await?;
        Ok(Response::new(wire::RemoveVoterReply { voters }))
    }

    async fn hand_over(
        &self,
        request: Request<wire::HandOverRequest>,
    ) -> Result<Response<wire::HandOverReply>, Status> {
        let core = self.core(&request)?;
        let leader = voters::hand_over(&core, NodeId(request.into_inner().to)).await?;
        Ok(Response::new(wire::HandOverReply { leader: leader.0 }))
    }

    async fn identify(
        &self,
        request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyReply>, Status> {
        require_role(&request, &[Role::Node])?;
        Ok(Response::new(self.membership.identify()))
    }

    async fn adopt(
        &self,
        request: Request<wire::AdoptRequest>,
    ) -> Result<Response<wire::AdoptReply>, Status> {
        require_role(&request, &[Role::Node])?;
        self.membership.adopt(&request.into_inner()).await?;
        Ok(Response::new(wire::AdoptReply {}))
    }
}

#[tonic::async_trait]
impl Attestation for PeerService {
    async fn node_exited(
        &self,
        request: Request<wire::NodeExitedRequest>,
    ) -> Result<Response<wire::NodeExitedReply>, Status> {
        require_role(&request, &[Role::Relay])?;
        let (metadata, extensions, asked) = request.into_parts();
        let certificate = Request::from_parts(metadata, extensions, ());
        let (node, epoch) = (NodeId(asked.node), Epoch(asked.node_epoch));
        let Some(core) = self.membership.core() else {
            return Ok(Response::new(wire::NodeExitedReply { recorded: false }));
        };
        if node == core.member.node {
            return Err(Status::invalid_argument(
                "this node's own process answers: it has not exited",
            ));
        }
        let (over, relay) = core.store.read(|replica, _| {
            let row = replica.0.nodes().get(&node);
            let over = row.is_some_and(|row| row.epoch > epoch || !row.is_up());
            (over, row.and_then(|row| row.relay.as_ref()).map(|relay| relay.id.clone()))
        });
        // Only the relay that stands beside a node can see its process.
        if let Some(relay) = relay {
            require_name(&certificate, Role::Relay, relay.as_str())?;
        }
        tracing::warn!(%node, %epoch, relay = asked.relay_id, "a witness saw a node's process exit");
        let recorded = over || {
            let lost = Command::NodeLost { node, epoch, evidence: Evidence::Witness };
            matches!(core.propose(lost, ATTEST_WITHIN).await, Ok(Ok(_)))
        };
        Ok(Response::new(wire::NodeExitedReply { recorded }))
    }
}

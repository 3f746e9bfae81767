//! A node that does not come back: out of the cluster's books, then out of Raft's membership.

use std::time::Duration;

use openraft::ChangeMembers;
use tandem_cluster::{command::Command, ids::NodeId};
use tandem_proto::cluster::v1 as wire;
use tonic::Status;

use super::{
    core::Core,
    identity::not_leader,
    member::{STEP_WITHIN, settle},
};

/// Removes a node that is lost or stopped. May be repeated: what is done already stays done.
///
/// # Errors
/// FAILED_PRECONDITION when the node is up or unknown, or is the one that would have to decide;
/// others say which step failed.
pub(crate) async fn remove(core: &Core, node: NodeId) -> Result<u64, Status> {
    settle(core.propose(Command::RemoveNode { node }, STEP_WITHIN).await)?;
    let leader = core.leader().ok_or_else(|| Status::unavailable("no leader is known now"))?;
    if leader == core.member.node {
        return remove_voter(core, node).await;
    }
    let (mut client, disk) = core.peer(leader)?;
    let message = wire::RemoveVoterRequest { node: node.0 };
    let reply = client.remove_voter(core.signed(leader, disk, message)).await?;
    Ok(reply.into_inner().voters)
}

/// Takes a node out of Raft's membership; asked of the leader.
pub(super) async fn remove_voter(core: &Core, node: NodeId) -> Result<u64, Status> {
    if !core.raft.is_leader() {
        let leader = core.leader().filter(|leader| *leader != core.member.node);
        return Err(not_leader(leader));
    }
    let up = core.store.read(|replica, _| {
        replica.0.nodes().get(&node).is_some_and(tandem_cluster::node::Node::is_up)
    });
    if up {
        return Err(Status::failed_precondition(format!("{node} is up: stop it first")));
    }
    let voter = core.raft.voter_ids().any(|voter| voter == node.0);
    for change in [
        voter.then(|| ChangeMembers::RemoveVoters([node.0].into())),
        Some(ChangeMembers::RemoveNodes([node.0].into())),
    ]
    .into_iter()
    .flatten()
    {
        let changed = core.raft.change_membership(change, true);
        within(STEP_WITHIN, node, changed).await?;
    }
    Ok(core.raft.voter_ids().count() as u64)
}

async fn within<T, E: std::fmt::Display>(
    limit: Duration,
    node: NodeId,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, Status> {
    tokio::time::timeout(limit, step)
        .await
        .map_err(|_| {
            Status::unavailable(format!(
                "{node} is not out of the membership yet: no quorum confirmed it in time; repeat \
                 the command"
            ))
        })?
        .map_err(|error| Status::unavailable(format!("{node} cannot be removed: {error}")))
}

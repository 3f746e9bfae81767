//! A node that does not come back: out of the cluster's books, then out of Raft's membership.

use std::{sync::Arc, time::Duration};

use openraft::{ChangeMembers, type_config::async_runtime::watch::WatchReceiver};
use tandem_cluster::{command::Command, ids::NodeId, node::NodeLife};
use tandem_proto::cluster::v1 as wire;
use tandem_routing::time::Millis;
use tonic::{Code, Status};

use super::{
    core::Core,
    identity::not_leader,
    member::{STEP_WITHIN, settle},
    proposer::Then,
};

/// Whoever asked for a removal ends it; after so long the leader does.
const FINISH_AFTER: Millis = Millis(15_000);

/// Removes a node that is lost or stopped. May be repeated: what is done already stays done. Once the
/// books have it, the leader ends it, also when whoever asked has gone ([`finish`]).
///
/// # Errors
/// NOT_FOUND when the node is unknown, FAILED_PRECONDITION when it is up or is the one that would have
/// to decide; others say which step failed.
pub(crate) async fn remove(core: &Core, node: NodeId, within: Duration) -> Result<u64, Status> {
    if core.store.read(|replica, _| replica.0.nodes().get(&node).is_none()) {
        return Err(Status::not_found(format!(
            "{node} is not in this cluster's books: `tandem cluster status` lists who is"
        )));
    }
    let command = Command::RemoveNode { node };
    settle(core.proposer.propose(command, None, within, Then::Forget).await)?;
    leave(core, node).await.map_err(|status| match status.code() {
        Code::FailedPrecondition | Code::Unknown => status,
        _ => not_seen(node, status.message()),
    })
}

/// Takes a node that is out of the books out of Raft's membership.
async fn leave(core: &Core, node: NodeId) -> Result<u64, Status> {
    let leader = core.leader().ok_or_else(|| Status::unavailable("no leader is known now"))?;
    if leader == core.member.node {
        return remove_voter(core, node).await;
    }
    let (mut client, disk) = core.peer(leader)?;
    let message = wire::RemoveVoterRequest { node: node.0 };
    let reply = client.remove_voter(core.signed(leader, disk, message)).await?;
    Ok(reply.into_inner().voters)
}

/// Who is out of the books and, a while later, still in Raft's membership: whoever asked for the removal
/// has gone, or the leader has changed meanwhile.
pub(super) fn unfinished(core: &Core) -> Vec<NodeId> {
    let members: Vec<NodeId> = {
        let metrics = core.raft.server_metrics();
        let view = metrics.borrow_watched();
        view.membership_config.membership().nodes().map(|(node, _)| NodeId(*node)).collect()
    };
    let now = core.clock.now();
    core.store.read(|replica, _| {
        let is_due = |node: &NodeId| match replica.0.nodes().get(node).map(|row| row.life) {
            Some(NodeLife::Removed { since }) => now.since(since) > FINISH_AFTER,
            _ => false,
        };
        members.into_iter().filter(is_due).collect()
    })
}

/// The leader's part of a removal that nobody else ends.
pub(super) async fn finish(core: Arc<Core>, removed: Vec<NodeId>) {
    for node in removed {
        match remove_voter(&core, node).await {
            Ok(voters) => tracing::info!(%node, voters, "a removed node is out of the membership"),
            // The leader looks again.
            Err(status) => tracing::info!(%node, %status, "a removed node is a member still"),
        }
    }
}

/// Takes a node out of Raft's membership; asked of the leader.
pub(super) async fn remove_voter(core: &Core, node: NodeId) -> Result<u64, Status> {
    if !core.raft.is_leader() {
        let leader = core.leader().filter(|leader| *leader != core.member.node);
        return Err(not_leader(leader));
    }
    if core.is_up(node) {
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
        .map_err(|_| not_seen(node, "no quorum confirmed it in time"))?
        .map_err(|error| Status::unavailable(format!("{node} cannot be removed: {error}")))
}

fn not_seen(node: NodeId, why: &str) -> Status {
    Status::unknown(format!(
        "{node} is out of the cluster's books, and it is not known whether it is out of the voters \
         ({why}): the leader ends that within half a minute; look with `tandem cluster status`"
    ))
}

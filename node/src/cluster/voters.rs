//! Who votes and who leads: a new voter, and leadership handed over.

use std::{sync::Arc, time::Duration};

use openraft::{ChangeMembers, type_config::async_runtime::watch::WatchReceiver};
use tandem_cluster::ids::NodeId;
use tandem_proto::cluster::v1 as wire;
use tandem_raft_store::{NodeRecord, format::records::encode_node};
use tonic::Status;

use super::{core::Core, member::STEP_WITHIN};

/// How long a new voter may take to catch up.
const CATCH_UP_WITHIN: Duration = Duration::from_secs(300);

/// Makes an admitted node a voter; asked of the leader.
pub(super) async fn add_voter(
    core: &Core,
    node: NodeId,
    record: NodeRecord,
) -> Result<u64, Status> {
    if !core.raft.is_leader() {
        let leader = core.leader().filter(|leader| *leader != core.member.node);
        return Err(super::identity::not_leader(leader));
    }
    let failed = |what: &str, error: String| Status::unavailable(format!("{node} {what}: {error}"));
    let add = core.raft.add_learner(node.0, record, true);
    tokio::time::timeout(CATCH_UP_WITHIN, add)
        .await
        .map_err(|_| failed("did not catch up in time", format!("{CATCH_UP_WITHIN:?}")))?
        .map_err(|error| failed("cannot be added as a learner", error.to_string()))?;
    let change = ChangeMembers::AddVoterIds([node.0].into());
    let changed = core.raft.change_membership(change, true);
    tokio::time::timeout(STEP_WITHIN, changed)
        .await
        .map_err(|_| failed("is not a voter yet", "no quorum confirmed it in time".into()))?
        .map_err(|error| failed("cannot become a voter", error.to_string()))?;
    Ok(core.raft.voter_ids().count() as u64)
}

/// Hands leadership to another voter; asked of the leader. Nothing happens when it leads already.
///
/// # Errors
/// FAILED_PRECONDITION when the node does not vote or is not up: it could not take over, and the cluster
/// would be without a leader meanwhile.
pub(crate) async fn hand_over(core: &Core, to: NodeId) -> Result<NodeId, Status> {
    if !core.raft.is_leader() {
        let leader = core.leader().filter(|leader| *leader != core.member.node);
        return Err(super::identity::not_leader(leader));
    }
    if to == core.member.node {
        return Ok(to);
    }
    if !core.raft.voter_ids().any(|voter| voter == to.0) {
        return Err(Status::failed_precondition(format!("{to} is not a voter")));
    }
    if !core.is_up(to) {
        return Err(Status::failed_precondition(format!(
            "{to} is not up: it cannot lead; nothing was changed"
        )));
    }
    core.raft
        .trigger()
        .transfer_leader(to.0)
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    core.raft.wait(Some(STEP_WITHIN)).current_leader(to.0, "leadership transfer").await.map_err(
        |_| {
            // The leader may have stepped down for it by now.
            Status::unknown(format!(
                "{to} has not taken over leadership in time, and it is not known whether it will: its \
                 log may be behind; look with `tandem cluster status`"
            ))
        },
    )?;
    Ok(to)
}

/// Says in the log who leads, whenever that changes; ends with Raft.
pub(super) async fn tell_leaders(core: Arc<Core>) {
    let mut changes = core.raft.server_metrics();
    let mut told = None;
    loop {
        let leader = changes.borrow_watched().current_leader.map(NodeId);
        if leader != told {
            let term = core.raft.metrics().borrow_watched().current_term;
            match leader {
                Some(leader) => tracing::info!(%leader, term, "a node leads"),
                None => tracing::info!(term, "no node leads"),
            }
            told = leader;
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Asks the leader, which may be this node, to make an admitted node a voter.
pub(super) async fn ask_leader(
    core: &Core,
    node: NodeId,
    record: &NodeRecord,
) -> Result<u64, Status> {
    let leader = core.leader().ok_or_else(|| Status::unavailable("no leader is known now"))?;
    if leader == core.member.node {
        return add_voter(core, node, record.clone()).await;
    }
    let (mut client, disk) = core.peer(leader)?;
    let message = wire::AddVoterRequest { node: node.0, record: encode_node(record).into() };
    let reply = client.add_voter(core.signed(leader, disk, message)).await?;
    Ok(reply.into_inner().voters)
}

//! `Cluster`: founding, joining, who is there, who leads.

use std::collections::BTreeMap;

use openraft::type_config::async_runtime::watch::WatchReceiver;
use tandem_cluster::{
    ids::NodeId,
    leg::{Endpoint, Transport},
    machine::{MACHINE_VERSION, Machine},
    node::{NodeLife, Verdict},
};
use tandem_proto::{
    api::v1::{
        InitReply, InitRequest, JoinReply, JoinRequest, Node, QueueTotals, RemoveNodeReply,
        RemoveNodeRequest, StatusReply, StatusRequest, TransferLeaderReply, TransferLeaderRequest,
    },
    cluster::v1::HandOverRequest,
};
use tandem_routing::entity::LoginState;
use tonic::{Request, Response, Status};

use super::{Api, read::View};
use crate::{
    cluster::{core::Core, removal, voters},
    rpc::cluster_server::Cluster,
};

#[tonic::async_trait]
impl Cluster for Api {
    async fn init(&self, request: Request<InitRequest>) -> Result<Response<InitReply>, Status> {
        Self::admit(request)?;
        let cluster = self.membership.found().await?;
        let node = self.membership.config().node.id;
        Ok(Response::new(InitReply { cluster: cluster.to_string(), node }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let asked = Self::admit(request)?;
        let (node, name, voters) = self.membership.admit(&asked.address).await?;
        Ok(Response::new(JoinReply { node: node.0, name, voters }))
    }

    async fn remove(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<RemoveNodeReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let voters = removal::remove(&*self.core()?, NodeId(asked.node), within).await?;
        Ok(Response::new(RemoveNodeReply { node: asked.node, voters }))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusReply>, Status> {
        let asked = Self::admit(request)?;
        let version = env!("CARGO_PKG_VERSION").to_owned();
        let Ok(core) = self.core() else {
            // A new disk: that is a state, not an error.
            return Ok(Response::new(StatusReply { version, ..StatusReply::default() }));
        };
        let now = core.clock.now();
        let (as_of, mut reply) = self
            .read(asked.consistency, |machine| StatusReply {
                digest: format!("{:032x}", machine.digest().0),
                nodes: nodes(machine),
                totals: Some(totals(View::of_cluster(machine, now))),
                ..StatusReply::default()
            })
            .await?;
        add_raft(&core, &mut reply);
        Ok(Response::new(StatusReply {
            cluster: core.member.cluster.to_string(),
            as_of: Some(as_of),
            version,
            machine_version: u32::from(MACHINE_VERSION),
            ..reply
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderReply>, Status> {
        let asked = Self::admit(request)?;
        let core = self.core()?;
        let leader = core.leader().ok_or_else(|| Status::unavailable("no leader is known now"))?;
        let to = NodeId(asked.to);
        let leader = if leader == core.member.node {
            voters::hand_over(&core, to).await?.0
        } else {
            let (mut client, disk) = core.peer(leader)?;
            let message = HandOverRequest { to: to.0 };
            client.hand_over(core.signed(leader, disk, message)).await?.into_inner().leader
        };
        Ok(Response::new(TransferLeaderReply { leader }))
    }
}

fn nodes(machine: &Machine) -> Vec<Node> {
    let view = View::of_cluster(machine, machine.now());
    let mut legs: BTreeMap<NodeId, u64> = BTreeMap::new();
    for leg in machine.legs().iter() {
        *legs.entry(leg.owner.node).or_default() += 1;
    }
    let node = |row: &tandem_cluster::node::Node| Node {
        id: row.id.0,
        name: row.name.to_string(),
        site: view.site_name(row.site),
        region: machine
            .queue()
            .sites()
            .get(&row.site)
            .map(|site| site.region.to_string())
            .unwrap_or_default(),
        life: match (row.verdict, row.life) {
            (_, NodeLife::Removed { .. }) => "removed",
            (Verdict::Diverged { .. }, _) => "diverged",
            (_, NodeLife::Admitted) => "admitted",
            (_, NodeLife::Up) => "up",
            (_, NodeLife::Lost { .. }) => "lost",
            (_, NodeLife::Stopped { .. }) => "stopped",
        }
        .to_owned(),
        epoch: row.epoch.0,
        cluster_address: address(&row.cluster_address),
        api_address: address(&row.api_address),
        sip: row
            .sip
            .iter()
            .map(|sip| match sip.transport {
                Transport::Udp => format!("udp {}", address(&sip.at)),
                Transport::Tcp => format!("tcp {}", address(&sip.at)),
            })
            .collect(),
        relay: row.relay.as_ref().map(|relay| relay.id.to_string()).unwrap_or_default(),
        legs: legs.get(&row.id).copied().unwrap_or_default(),
        ..Node::default()
    };
    machine.nodes().iter().map(node).collect()
}

fn address(endpoint: &Endpoint) -> String {
    match endpoint.address.parse::<std::net::Ipv6Addr>() {
        Ok(v6) => format!("[{v6}]:{}", endpoint.port),
        Err(_) => format!("{}:{}", endpoint.address, endpoint.port),
    }
}

fn totals(view: View<'_>) -> QueueTotals {
    let queue = view.machine.queue();
    let counts = view.counts();
    let logged_in = |agent: &&tandem_routing::entity::Agent| agent.login != LoginState::LoggedOut;
    QueueTotals {
        waiting: counts.waiting(),
        unconfirmed: counts.unconfirmed,
        offered: counts.offered,
        connected: counts.connected,
        agents_ready: queue.agents().iter().filter(|agent| queue.is_available(agent)).count()
            as u64,
        agents_logged_in: queue.agents().iter().filter(logged_in).count() as u64,
        longest_wait_ms: counts.longest_wait_ms,
    }
}

/// What Raft knows and the state does not: roles, term, how far the followers are.
fn add_raft(core: &Core, reply: &mut StatusReply) {
    let metrics = core.raft.metrics();
    let metrics = metrics.borrow_watched();
    reply.term = metrics.current_term;
    reply.last_log_index = metrics.last_log_index.unwrap_or_default();
    let membership = metrics.membership_config.membership();
    for node in &mut reply.nodes {
        node.role = if metrics.current_leader == Some(node.id) {
            "leader"
        } else if membership.voter_ids().any(|voter| voter == node.id) {
            "voter"
        } else if membership.get_node(&node.id).is_some() {
            "learner"
        } else {
            "none"
        }
        .to_owned();
        let matched = metrics.replication.as_ref().and_then(|all| all.get(&node.id));
        node.matched = matched.and_then(Option::as_ref).map_or(0, |id| id.index);
    }
}

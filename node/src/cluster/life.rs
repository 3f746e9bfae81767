//! The life of this process in the log: registration, renewal of the lease, and beginning anew
//! after it was taken for dead.

use std::{sync::Arc, time::Duration};

use tandem_cluster::{
    command::{Command, RegisterNode, Rejection, Reply},
    ids::{BootId, Epoch, LegId, NodeId},
    leg::{Endpoint, Transport},
    machine::MACHINE_VERSION,
    node::{RelayRecord, SipEndpoint},
};
use tandem_proto::cluster::v1::LeaseRequest;
use tokio::sync::watch;

use super::{awake::Moment, core::Core, leader::Lease};
use crate::{config::Config, exit::Exit};

/// Leg ids that a life begins with.
pub const LEG_IDS: u32 = 4_096;
/// How long one try to register may take.
const REGISTER_WITHIN: Duration = Duration::from_secs(3);
/// How often a newcomer tries to register until its admission is in the log.
const ADMITTED_LOOK: Duration = Duration::from_millis(100);
/// How long a node waits for a last proposal when it stops.
const STOP_WITHIN: Duration = Duration::from_secs(2);
/// How long the store may take to close; a disk that hangs must not hold the process.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A life that the log granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Its number.
    pub epoch: Epoch,
    /// First of [`LEG_IDS`] leg ids.
    pub first_leg: LegId,
}

/// Follows this node's life; `None` while it has none.
pub type LifeWatch = watch::Receiver<Option<Grant>>;

/// Keeps a life going until the process ends.
///
/// # Errors
/// [`Exit`] when this node may not go on: its disk is not the one on record, or its state diverged.
pub async fn run(
    core: Arc<Core>,
    config: Arc<Config>,
    lives: watch::Sender<Option<Grant>>,
) -> Result<(), Exit> {
    loop {
        let grant = register(&core, &config).await?;
        tracing::info!(epoch = %grant.epoch, "registered with the cluster");
        core.proposer.begin_life(grant.epoch);
        lives.send_replace(Some(grant));
        live(&core, grant.epoch).await?;
        tracing::warn!(epoch = %grant.epoch, "this life is over: beginning anew");
        core.lease.ended();
        core.proposer.end_life();
        lives.send_replace(None);
    }
}

/// Says goodbye in order, so that nobody waits for the lease.
pub async fn stop(core: &Core) {
    match core.propose(Command::StopNode, STOP_WITHIN).await {
        Ok(Ok(_)) => tracing::info!("the cluster knows that this node stops"),
        Ok(Err(rejection)) => tracing::warn!(%rejection, "the cluster refused the goodbye"),
        Err(error) => tracing::warn!(%error, "nobody heard the goodbye: the lease will run out"),
    }
}

/// Ends Raft and closes the store, whatever ended the node: what is still running when the process
/// ends would meet RocksDB's static destructors.
pub async fn close(core: &Core) {
    let closing = async {
        if let Err(error) = core.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not end in order");
        }
        if let Err(error) = core.store.close().await {
            tracing::warn!(%error, "the store was not closed in order; the log has everything");
        }
    };
    if tokio::time::timeout(CLOSE_WITHIN, closing).await.is_err() {
        tracing::warn!("the store took too long to close; the log has everything");
    }
}

async fn register(core: &Core, config: &Config) -> Result<Grant, Exit> {
    let known = core.store.read(|replica, _| {
        replica.0.nodes().get(&core.member.node).map_or(Epoch(0), |row| row.epoch)
    });
    let boot = |last| BootId::after(last, crate::entropy::random_u64());
    let mut command = Command::RegisterNode(registration(core, config, boot(known)));
    loop {
        let tried = core.proposer.propose_before_life(command.clone(), REGISTER_WITHIN).await;
        match tried {
            Ok(Ok(Reply::Registered { epoch, first_leg })) => {
                return Ok(Grant { epoch, first_leg });
            }
            Ok(Err(
                rejection @ (Rejection::DiskMustMatch { .. } | Rejection::NodeMustNotBeRemoved(_)),
            )) => return Err(Exit::Identity(rejection.to_string())),
            Ok(Err(Rejection::NodeMustBeTrusted { index, .. })) => {
                return Err(Exit::Diverged { index });
            }
            Ok(Err(rejection @ Rejection::NodeMustSupportVersion { .. })) => {
                return Err(Exit::Config(rejection.to_string()));
            }
            Ok(Err(Rejection::LifeMustBeTheLast { epoch, .. })) => {
                // This node's copy of the log is behind, or an earlier try got through unheard.
                command = Command::RegisterNode(registration(core, config, boot(epoch)));
            }
            Ok(Err(Rejection::NodeMustBeMember(_))) => {
                // A newcomer's admission is on its way.
                tracing::info!("not admitted yet: asking again");
                tokio::time::sleep(ADMITTED_LOOK).await;
            }
            Ok(Err(rejection)) => {
                tracing::error!(%rejection, "the cluster refuses this node's registration");
                tokio::time::sleep(REGISTER_WITHIN).await;
            }
            Ok(Ok(other)) => {
                tracing::error!(?other, "an unexpected reply to the registration");
                tokio::time::sleep(REGISTER_WITHIN).await;
            }
            Err(error) => tracing::info!(%error, "no quorum to register with yet"),
        }
    }
}

fn registration(core: &Core, config: &Config, boot: BootId) -> RegisterNode {
    let endpoint =
        |at: &std::net::SocketAddr| Endpoint { address: at.ip().to_string(), port: at.port() };
    let udp = config.sip.udp.iter().map(|at| (Transport::Udp, at));
    let tcp = config.sip.tcp.iter().map(|at| (Transport::Tcp, at));
    let relay = config.relay.id.parse().ok().map(|id| RelayRecord {
        id,
        control: endpoint(&config.relay.control),
        link: endpoint(&config.relay.link),
    });
    RegisterNode {
        node: core.member.node,
        disk: core.member.disk,
        boot,
        supports: MACHINE_VERSION,
        cluster_address: endpoint(&config.cluster.listen),
        api_address: endpoint(&config.api.listen),
        sip: udp
            .chain(tcp)
            .map(|(transport, at)| SipEndpoint { transport, at: endpoint(at) })
            .collect(),
        relay,
        leg_ids: LEG_IDS,
    }
}

/// Renews the lease until the life is over.
async fn live(core: &Arc<Core>, epoch: Epoch) -> Result<(), Exit> {
    let mut ended = core.observed.life_ended.subscribe();
    let mut diverged = core.observed.diverged.subscribe();
    let mut fenced = core.proposer.fenced();
    let length = Duration::from_millis(core.config.lease_ms);
    let mut renewals = tokio::time::interval(length / 5);
    renewals.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (refused_tx, mut refused) = watch::channel(false);
    let refused_tx = Arc::new(refused_tx);
    loop {
        tokio::select! {
            _ = renewals.tick() => {
                let (core, refused) = (Arc::clone(core), Arc::clone(&refused_tx));
                // Not awaited: a lost answer must not delay the next request.
                tokio::spawn(async move {
                    if renew(&core, epoch, length).await == Renewal::Refused {
                        refused.send_replace(true);
                    }
                });
            }
            _ = ended.wait_for(|last| last.is_some_and(|last| last >= epoch)) => return Ok(()),
            _ = fenced.wait_for(|last| last.is_some_and(|last| last >= epoch)) => return Ok(()),
            _ = refused.wait_for(|refused| *refused) => return Ok(()),
            Ok(index) = until_diverged(&mut diverged) => return Err(Exit::Diverged { index }),
        }
    }
}

async fn until_diverged(
    diverged: &mut watch::Receiver<Option<u64>>,
) -> Result<u64, watch::error::RecvError> {
    Ok(diverged.wait_for(Option::is_some).await?.unwrap_or_default())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewal {
    Granted,
    Refused,
    Unanswered,
}

async fn renew(core: &Core, epoch: Epoch, length: Duration) -> Renewal {
    let sent = Moment::now();
    let asked = tokio::time::timeout(length, ask(core, epoch)).await;
    match asked {
        Ok(Renewal::Granted) => {
            core.lease.renewed(epoch, sent, length);
            Renewal::Granted
        }
        Ok(other) => other,
        Err(_) => Renewal::Unanswered,
    }
}

async fn ask(core: &Core, epoch: Epoch) -> Renewal {
    let Some(leader) = core.leader() else { return Renewal::Unanswered };
    if leader == core.member.node {
        return grant(core, core.member.node, epoch).await;
    }
    let Ok((mut client, disk)) = core.peer(leader) else { return Renewal::Unanswered };
    let message = LeaseRequest { node: core.member.node.0, node_epoch: epoch.0 };
    match client.lease(core.signed(leader, disk, message)).await {
        Ok(reply) if reply.get_ref().granted => Renewal::Granted,
        Ok(_) => Renewal::Refused,
        Err(_) => Renewal::Unanswered,
    }
}

/// The leader's side: grants the lease of a current life, after proving the quorum.
pub(super) async fn lease(core: &Core, node: NodeId, epoch: Epoch) -> Option<bool> {
    match grant(core, node, epoch).await {
        Renewal::Granted => Some(true),
        Renewal::Refused => Some(false),
        Renewal::Unanswered => None,
    }
}

async fn grant(core: &Core, node: NodeId, epoch: Epoch) -> Renewal {
    let Some(index) = core.quorum.prove().await else { return Renewal::Unanswered };
    // Judged by a state that is at least as new as the proof: a life that was ended by a committed
    // entry is never prolonged.
    let current = core.store.read(|replica, applied| {
        let caught_up = applied.is_some_and(|applied| applied.index >= index);
        let row = replica.0.nodes().get(&node).map(|row| (row.epoch, row.is_up()));
        caught_up.then_some(row)
    });
    match current {
        None => Renewal::Unanswered,
        Some(Some((of, true))) if of == epoch => match core.heard.renew(node, epoch) {
            Lease::Given => Renewal::Granted,
            Lease::GivenUp => Renewal::Unanswered,
        },
        Some(Some((of, _))) if of < epoch => Renewal::Unanswered,
        Some(_) => Renewal::Refused,
    }
}

/// Reports this node's digests as they fall due (invariant R7).
pub async fn report_digests(core: Arc<Core>) {
    let mut due = core.observed.digest.subscribe();
    while due.changed().await.is_ok() {
        let Some((index, digest)) = *due.borrow_and_update() else { continue };
        let command = Command::ReportDigest { index, digest };
        match core.propose(command, Duration::from_secs(10)).await {
            Ok(Ok(_)) => {}
            Ok(Err(rejection)) => tracing::debug!(%rejection, "a digest report was refused"),
            Err(error) => tracing::debug!(%error, "a digest was not reported"),
        }
    }
}

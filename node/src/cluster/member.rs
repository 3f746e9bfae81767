//! From a new disk to a member of a cluster: founding, joining, opening what is there.
//!
//! A process starts with an empty data directory (then it waits for `init` or `join` and refuses to
//! take part in Raft) or with a member's (then it goes on). Nothing is repaired or adopted in
//! silence (invariants D1, D3).

use std::{error::Error, path::Path, sync::Arc, time::Duration};

use openraft::SnapshotPolicy;
use tandem_cluster::{
    command::{AdmitNode, Command},
    ids::{ClusterId, DiskId, NodeId},
    leg::Endpoint,
    machine::MACHINE_VERSION,
};
use tandem_proto::cluster::v1 as wire;
use tandem_raft_store::{
    self as store, DirectoryState, Expected, Identity, NodeRecord, Opened, Options, Start, Store,
    survey,
};
use tokio::sync::watch;
use tonic::{Code, Status};

use super::{
    batcher::Batcher,
    clock::Clock,
    core::Core,
    identity::{Claim, Member, wrong_disk},
    leader::{self, Heard, heartbeat_answer_ms},
    lease::LeaseWatch,
    life::{self, Grant},
    machine::Replica,
    network::Network,
    observer::{Observed, Observer},
    peers::{Peers, Purpose},
    proposer::{Proposer, Then},
    quorum::Quorum,
    voters::{ask_leader, tell_leaders},
};
use crate::{config::Config, exit::Exit, rpc::peer_client::PeerClient};

/// How long one step of founding or joining may take.
pub(super) const STEP_WITHIN: Duration = Duration::from_secs(10);

/// This process's place in a cluster, if it has one.
#[derive(Debug)]
pub struct Membership {
    config: Arc<Config>,
    peers: Peers,
    /// The disk that a new directory would get.
    new_disk: DiskId,
    core: watch::Sender<Option<Arc<Core>>>,
    /// One founding or joining at a time.
    changing: tokio::sync::Mutex<()>,
    lives: watch::Sender<Option<Grant>>,
    exit: watch::Sender<Option<Exit>>,
}

impl Membership {
    /// Looks at the data directory and goes on as the member that it belongs to, if any.
    ///
    /// # Errors
    /// [`Exit`] for a directory that must not be used.
    pub async fn begin(config: Arc<Config>, peers: Peers) -> Result<Arc<Self>, Exit> {
        let membership = Arc::new(Self {
            new_disk: DiskId(crate::entropy::random_u128()),
            core: watch::Sender::new(None),
            changing: tokio::sync::Mutex::default(),
            lives: watch::Sender::new(None),
            exit: watch::Sender::new(None),
            config,
            peers,
        });
        let dir = &membership.config.node.data_dir;
        match survey(dir).map_err(|error| Exit::Storage(error.to_string()))? {
            DirectoryState::Empty => {
                tracing::info!(
                    dir = %dir.display(),
                    "the data directory is new: waiting for `tandem cluster init` or `join`"
                );
            }
            DirectoryState::Foreign { example } => {
                return Err(Exit::Storage(foreign(dir, &example)));
            }
            DirectoryState::Node(record) => {
                let node = membership.config.node.id;
                let expected = Expected { cluster: record.identity.cluster, node };
                membership.open(Start::Resume(expected)).await?;
            }
        }
        Ok(membership)
    }

    /// The running core; `None` while the disk is new.
    #[must_use]
    pub fn core(&self) -> Option<Arc<Core>> {
        self.core.borrow().clone()
    }

    /// Waits until this node is a member.
    pub async fn until_member(&self) -> Arc<Core> {
        let mut core = self.core.subscribe();
        loop {
            if let Some(core) = core.borrow_and_update().clone() {
                return core;
            }
            // The sender is `self`: this never fails.
            core.changed().await.ok();
        }
    }

    /// This node's settings.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.config
    }

    /// Follows this node's life.
    #[must_use]
    pub fn lives(&self) -> watch::Receiver<Option<Grant>> {
        self.lives.subscribe()
    }

    /// Tells when the process must end.
    #[must_use]
    pub fn exits(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.subscribe()
    }

    /// Ends the process, unless something else has ended it already.
    pub(super) fn end(&self, reason: Exit) {
        end(&self.exit, reason);
    }

    /// The refusal of a Raft call to a node with a new disk. If the caller believes that this node
    /// is a member with another disk, the process ends: it was emptied, and must not come back
    /// under its old number.
    #[must_use]
    pub fn refuse_newcomer(&self, claim: &Claim) -> Status {
        let node = NodeId(self.config.node.id);
        if claim.to == node && claim.to_disk != self.new_disk && claim.to_disk != DiskId(0) {
            let status = wrong_disk(node, claim.to_disk, self.new_disk);
            self.end(Exit::Identity(status.message().to_owned()));
            return status;
        }
        Status::failed_precondition("this node's disk is new: it is no member of a cluster yet")
    }

    /// Who answers here.
    #[must_use]
    pub fn identify(&self) -> wire::IdentifyReply {
        let node = &self.config.node;
        let core = self.core();
        let disk = core.as_ref().map_or(self.new_disk, |core| core.member.disk);
        wire::IdentifyReply {
            node: node.id,
            name: node.name.clone(),
            site: node.site.clone(),
            region: node.region.clone(),
            disk: disk.to_string(),
            cluster: core.map(|core| core.member.cluster.to_string()).unwrap_or_default(),
            cluster_address: self.config.cluster.listen.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Founds a cluster on this node.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when this node is a member already; others when a step fails.
    pub async fn found(&self) -> Result<ClusterId, Status> {
        let _one = self.changing.lock().await;
        if let Some(core) = self.core() {
            return Err(Status::failed_precondition(format!(
                "this node is a member of {} already: a second cluster is founded on another \
                 node with a new data directory",
                core.member.cluster
            )));
        }
        let cluster = ClusterId(crate::entropy::random_u128());
        let core = self.create(cluster).await?;
        let record = self.own_record(core.member.disk)?;
        core.raft
            .initialize(
                [(core.member.node.0, record)]
                    .into_iter()
                    .collect::<std::collections::BTreeMap<_, _>>(),
            )
            .await
            .map_err(|error| Status::internal(format!("Raft cannot be initialised: {error}")))?;
        for command in [
            Command::Initialise { cluster, machine_version: MACHINE_VERSION },
            Command::AdmitNode(self.own_admission(core.member.disk)?),
        ] {
            settle(core.proposer.propose_before_life(command, STEP_WITHIN).await)?;
        }
        self.until_alive().await?;
        tracing::info!(%cluster, "founded a cluster");
        Ok(cluster)
    }

    /// Waits until this node is registered: what is asked of it next needs its life.
    async fn until_alive(&self) -> Result<(), Status> {
        let mut lives = self.lives.subscribe();
        let alive = lives.wait_for(Option::is_some);
        match tokio::time::timeout(STEP_WITHIN, alive).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Status::unavailable("this node is a member, but did not register in time")),
        }
    }

    /// Admits the node at `address` and makes it a voter.
    ///
    /// # Errors
    /// A status that says which step failed; the call can be repeated.
    pub async fn admit(&self, address: &str) -> Result<(NodeId, String, u64), Status> {
        let core = self.core().ok_or_else(no_member)?;
        let channel = self
            .peers
            .channel(address, Purpose::Command)
            .map_err(|error| Status::invalid_argument(format!("{address}: {error}")))?;
        let mut newcomer = PeerClient::new(channel);
        let who = newcomer.identify(wire::IdentifyRequest {}).await;
        let who = who.map_err(|status| not_identified(address, &status))?.into_inner();
        let node = NodeId(who.node);
        if node == core.member.node {
            return Err(Status::failed_precondition(format!(
                "{address} is {node} itself, which is asked: name the newcomer's [cluster] listen, and \
                 ask a member with --node"
            )));
        }
        let disk: DiskId = who.disk.parse().map_err(codec_error)?;
        let cluster = core.member.cluster;
        if !who.cluster.is_empty() && who.cluster != cluster.to_string() {
            return Err(Status::failed_precondition(format!(
                "{node} at {address} is a member of {}: two clusters do not mix; empty its data \
                 directory only if that cluster is given up",
                who.cluster
            )));
        }
        let at = endpoint(&who.cluster_address)?;
        let name = |text: &str| {
            text.parse().map_err(|error: tandem_routing::name::NameError| {
                Status::invalid_argument(error.to_string())
            })
        };
        let admit = AdmitNode {
            node,
            name: name(&who.name)?,
            site: name(&who.site)?,
            region: name(&who.region)?,
            disk,
            cluster_address: at,
        };
        let admit = Command::AdmitNode(admit);
        settle(core.proposer.propose(admit, None, STEP_WITHIN, Then::Forget).await)?;
        let record = node_record(&who.cluster_address, &who.name, disk)?;
        let adopt = wire::AdoptRequest {
            cluster: cluster.to_string(),
            node: node.0,
            disk: disk.to_string(),
        };
        let joined = async {
            newcomer.adopt(adopt).await?;
            ask_leader(&core, node, &record).await
        };
        let voters = joined.await.map_err(|status| match status.code() {
            Code::FailedPrecondition => status,
            _ => Status::unknown(format!(
                "{node} is admitted, and it is not known whether it votes ({}): repeat the command",
                status.message()
            )),
        })?;
        Ok((node, who.name, voters))
    }

    /// Becomes a member of a cluster that has admitted this node and its new disk.
    ///
    /// # Errors
    /// FAILED_PRECONDITION when another node or disk is meant, or this node is a member elsewhere.
    pub async fn adopt(&self, request: &wire::AdoptRequest) -> Result<(), Status> {
        let _one = self.changing.lock().await;
        let cluster: ClusterId = request.cluster.parse().map_err(codec_error)?;
        let disk: DiskId = request.disk.parse().map_err(codec_error)?;
        if let Some(core) = self.core() {
            // A repeated call after a lost answer.
            if core.member.cluster == cluster && core.member.disk == disk {
                return Ok(());
            }
            return Err(Status::failed_precondition("this node is a member already"));
        }
        let this = NodeId(self.config.node.id);
        if request.node != this.0 {
            return Err(Status::failed_precondition(format!("this is {this}")));
        }
        if disk != self.new_disk {
            return Err(wrong_disk(this, disk, self.new_disk));
        }
        self.create(cluster).await?;
        tracing::info!(%cluster, "adopted by a cluster");
        Ok(())
    }

    async fn create(&self, cluster: ClusterId) -> Result<Arc<Core>, Status> {
        let identity = Identity {
            cluster: store::ClusterId(cluster.0),
            node: self.config.node.id,
            disk: store::DiskId(self.new_disk.0),
            created_by: format!("tandem {}", env!("CARGO_PKG_VERSION")),
        };
        self.open(Start::Create(identity))
            .await
            .map_err(|exit| Status::failed_precondition(exit.to_string()))
    }

    /// Opens the store and starts everything that a member runs.
    async fn open(&self, start: Start) -> Result<Arc<Core>, Exit> {
        let config = Arc::clone(&self.config);
        let exit = self.exit.clone();
        let options = Options::new(&config.node.data_dir, start, move |fatal| {
            end(&exit, Exit::Storage(fatal.to_string()));
        });
        let observed = Arc::new(Observed::new(NodeId(config.node.id)));
        let observer = Observer(Arc::clone(&observed));
        let opened: Opened<Replica> =
            tokio::task::spawn_blocking(move || Store::open::<Replica>(&options, observer))
                .await
                .map_err(|error| Exit::Storage(error.to_string()))?
                .map_err(|error| Exit::from_open(&error))?;
        let core = self.start(opened, observed).await?;
        self.core.send_replace(Some(Arc::clone(&core)));
        self.run(&core);
        Ok(core)
    }

    async fn start(
        &self,
        opened: Opened<Replica>,
        observed: Arc<Observed>,
    ) -> Result<Arc<Core>, Exit> {
        let identity = opened.handle.identity().clone();
        let member = Member {
            cluster: ClusterId(identity.cluster.0),
            node: NodeId(identity.node),
            disk: DiskId(identity.disk.0),
        };
        let timing = self.config.cluster.clone();
        let stall = Duration::from_millis(timing.election_max_ms);
        let network = Network::new(member, self.peers.clone(), stall);
        let raft_config = Arc::new(raft_config(&timing)?);
        let raft =
            super::core::Raft::new(member.node.0, raft_config, network, opened.log, opened.machine)
                .await
                .map_err(|error| Exit::Storage(format!("Raft cannot start: {error}")))?;
        let clock = Arc::new(Clock::default());
        clock.applied(opened.handle.read(|replica, _| replica.0.now()));
        let heard = Heard::default();
        let store = opened.handle.clone();
        // By then a majority that is cut off from this leader has another one.
        let silence_max = 2 * stall;
        let batcher =
            Batcher::start(raft.clone(), Arc::clone(&clock), store, heard.clone(), silence_max);
        let proposer = Proposer::start(member, raft.clone(), batcher.clone(), self.peers.clone());
        Ok(Arc::new(Core {
            member,
            quorum: Quorum::start(raft.clone(), stall),
            config: timing,
            raft,
            store: opened.handle,
            peers: self.peers.clone(),
            clock,
            observed,
            batcher,
            proposer,
            lease: LeaseWatch::default(),
            heard,
            leader_heard: parking_lot::Mutex::new(std::time::Instant::now()),
        }))
    }

    /// The tasks of a member.
    fn run(&self, core: &Arc<Core>) {
        tokio::spawn(keep_clock(Arc::clone(core)));
        tokio::spawn(leader::send_heartbeats(Arc::clone(core)));
        tokio::spawn(leader::run(Arc::clone(core)));
        tokio::spawn(tell_leaders(Arc::clone(core)));
        tokio::spawn(life::report_digests(Arc::clone(core)));
        tokio::spawn(super::retention::keep(Arc::clone(core)));
        let (raft, exit) = (core.raft.clone(), self.exit.clone());
        tokio::spawn(async move {
            if let Some(reason) = super::ended::until_ended(&raft).await {
                end(&exit, reason);
            }
        });
        let (exit, lives) = (self.exit.clone(), self.lives.clone());
        let (core, config) = (Arc::clone(core), Arc::clone(&self.config));
        tokio::spawn(async move {
            if let Err(reason) = life::run(core, config, lives).await {
                end(&exit, reason);
            }
        });
    }

    fn own_record(&self, disk: DiskId) -> Result<NodeRecord, Status> {
        node_record(&self.config.cluster.listen.to_string(), &self.config.node.name, disk)
    }

    fn own_admission(&self, disk: DiskId) -> Result<AdmitNode, Status> {
        let node = &self.config.node;
        let invalid = |error: crate::config::InvalidSetting| Status::internal(error.to_string());
        Ok(AdmitNode {
            node: NodeId(node.id),
            name: node.checked_name().map_err(invalid)?,
            site: node.checked_site().map_err(invalid)?,
            region: node.checked_region().map_err(invalid)?,
            disk,
            cluster_address: endpoint(&self.config.cluster.listen.to_string())?,
        })
    }
}

/// The first reason is the cause: what fails after it does so because of it.
fn end(exit: &watch::Sender<Option<Exit>>, reason: Exit) {
    exit.send_if_modified(|known| {
        let first = known.is_none();
        if first {
            *known = Some(reason);
        }
        first
    });
}

/// Keeps ClusterTime here in step with the log.
async fn keep_clock(core: Arc<Core>) {
    let mut applied = core.observed.applied.subscribe();
    while applied.changed().await.is_ok() {
        core.clock.applied(core.store.read(|replica, _| replica.0.now()));
    }
}

fn raft_config(timing: &crate::config::ClusterConfig) -> Result<openraft::Config, Exit> {
    openraft::Config {
        cluster_name: "tandem".into(),
        heartbeat_interval: heartbeat_answer_ms(timing.election_min_ms),
        election_timeout_min: timing.election_min_ms,
        election_timeout_max: timing.election_max_ms,
        enable_pre_vote: Some(true),
        // A restored leader begins without an election, and what it reads as committed is what it
        // had applied: entries that were acknowledged before would be missing from its answers
        // until the next one commits. An election's first entry commits them.
        enable_leader_restore: Some(false),
        max_payload_entries: 1_024,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(timing.snapshot_every),
        max_in_snapshot_log_to_keep: timing.log_kept,
        // Above the snapshot interval, so that a follower that lags a little is sent entries.
        replication_lag_threshold: timing.snapshot_every + timing.log_kept,
        ..openraft::Config::default()
    }
    .validate()
    .map_err(|error| Exit::Config(format!("[cluster]: {error}")))
}

fn node_record(address: &str, name: &str, disk: DiskId) -> Result<NodeRecord, Status> {
    NodeRecord::new(address, store::DiskId(disk.0), name).map_err(codec_error)
}

pub(super) fn settle(
    result: Result<tandem_cluster::command::Outcome, super::proposer::ProposeError>,
) -> Result<(), Status> {
    match result {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(rejection)) => Err(Status::failed_precondition(rejection.to_string())),
        Err(error) => Err(error.into()),
    }
}

fn endpoint(text: &str) -> Result<Endpoint, Status> {
    let at: std::net::SocketAddr =
        text.parse().map_err(|_| Status::invalid_argument(format!("{text:?} is no address")))?;
    Ok(Endpoint { address: at.ip().to_string(), port: at.port() })
}

fn codec_error(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Why a newcomer did not say who it is.
fn not_identified(address: &str, status: &Status) -> Status {
    match status.code() {
        Code::Unimplemented => Status::invalid_argument(format!(
            "{address} is no cluster address: name the newcomer's [cluster] listen, not its [api]"
        )),
        code => {
            let mut cause: &dyn Error = status;
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            let what = if status.source().is_some() {
                cause.to_string()
            } else {
                status.message().to_owned()
            };
            Status::unavailable(format!("nobody answers at {address} ({code:?}: {what})"))
        }
    }
}

/// The refusal of calls that need a member.
#[must_use]
pub fn no_member() -> Status {
    Status::failed_precondition(
        "this node's disk is new: found a cluster here with `tandem cluster init`, or let a member \
         take it in with `tandem cluster join`",
    )
}

fn foreign(dir: &Path, example: &str) -> String {
    format!(
        "the data directory {} holds {example:?} and is no Tandem node's: nothing was touched; give \
         [node] data_dir an empty directory",
        dir.display()
    )
}

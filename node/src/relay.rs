//! The relay beside this node: a process of its own, started here and outliving this one.
//!
//! A relay that already runs on the same data folder is taken as it is, so that calls go on while
//! a node is started again. It is started anew when it ends, and asked to watch this process, so
//! that the cluster learns of its end at once.

use std::{
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tandem_media_relay::{limits::ATTEST_TO_MAX, process::PidFile};
use tandem_proto::relay::v1 as wire;
use tokio::{process::Child, time::Instant};
use tonic::Code;

use crate::{
    cluster::{
        core::Core,
        life::LifeWatch,
        peers::{Peers, Purpose},
    },
    config::{Config, StartRelay},
    exit::Exit,
    rpc::relay_client::RelayClient,
};

/// The relay's program, beside ours or in the search path.
const PROGRAM: &str = "tandem-relay";
/// How long a relay may take until it answers.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// How often a relay that is not our child is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// First pause before a relay that ended is started again; doubles up to the next one.
const AGAIN: Duration = Duration::from_millis(50);
const AGAIN_MAX: Duration = Duration::from_secs(5);
/// Questions in a row that a relay may leave unanswered, each for [`WITNESS_EVERY`].
const UNANSWERED_MAX: u32 = 3;
/// A relay that ran for so long was started well.
const RAN_WELL: Duration = Duration::from_secs(10);
/// How often the relay is asked whether it still watches this process.
const WITNESS_EVERY: Duration = Duration::from_secs(1);

/// Starts the relay, or finds it running, and waits until it answers.
///
/// # Errors
/// [`Exit::Relay`] when it does not start or does not answer.
pub async fn start(config: Arc<Config>, file: PathBuf, peers: &Peers) -> Result<(), Exit> {
    tokio::spawn(keep_alive(Arc::clone(&config), peers.clone()));
    if config.node.start_relay == StartRelay::Supervisor {
        return Ok(());
    }
    let mut running = Running::find_or_start(&config, &file)?;
    let deadline = Instant::now() + READY_WITHIN;
    while let Err(status) = describe(&config, peers).await {
        if let Some(how) = running.has_ended() {
            return Err(Exit::Relay(format!(
                "the relay did not start ({how}); its own message stands above. Check [relay] and \
                 [tls] with `{PROGRAM} --check --config {}`",
                file.display()
            )));
        }
        if Instant::now() > deadline {
            return Err(Exit::Relay(format!(
                "the relay does not answer at [relay] control {}: {}",
                config.relay.control,
                status.message()
            )));
        }
        tokio::time::sleep(LOOK_EVERY / 2).await;
    }
    tokio::spawn(keep(config, file, peers.clone(), running));
    Ok(())
}

/// Gives the relay signs of life, also before this node is a member: without any it would take
/// itself for an orphan and end.
async fn keep_alive(config: Arc<Config>, peers: Peers) {
    let every = Duration::from_millis(config.relay.orphan_exit_ms / 4);
    let mut signs = tokio::time::interval(every.max(WITNESS_EVERY));
    signs.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        signs.tick().await;
        if let Err(status) = describe(&config, &peers).await {
            tracing::debug!(%status, "the relay did not answer");
        }
    }
}

/// Starts the relay again whenever it ends, and ends one that runs and does not answer: its audio
/// stands still, and nobody else can tell that it will not go on.
async fn keep(config: Arc<Config>, file: PathBuf, peers: Peers, mut running: Running) {
    let mut pause = AGAIN;
    loop {
        let since = Instant::now();
        let ended = tokio::select! {
            how = running.until_ended() => Some(how),
            () = until_silent(&config, &peers) => None,
        };
        let how = match ended {
            Some(how) => how,
            None => {
                tracing::error!("the relay runs and does not answer: it is killed");
                if let Err(error) = running.kill() {
                    tracing::error!(%error, "the relay cannot be killed");
                }
                running.until_ended().await
            }
        };
        tracing::error!(how, "the relay has ended: it is started again");
        pause = if since.elapsed() > RAN_WELL { AGAIN } else { (pause * 2).min(AGAIN_MAX) };
        running = loop {
            tokio::time::sleep(pause).await;
            match Running::find_or_start(&config, &file) {
                Ok(running) => break running,
                Err(error) => tracing::error!(%error, "the relay cannot be started"),
            }
            pause = (pause * 2).min(AGAIN_MAX);
        };
    }
}

/// Waits until the relay has let several questions in a row go unanswered. A refused connection is none
/// of them: a relay that starts refuses too, and one that ended is seen otherwise.
async fn until_silent(config: &Config, peers: &Peers) {
    let mut unanswered = 0;
    while unanswered < UNANSWERED_MAX {
        tokio::time::sleep(WITNESS_EVERY / 2).await;
        unanswered = match describe(config, peers).await {
            Err(status) if status.code() == Code::DeadlineExceeded => unanswered + 1,
            _ => 0,
        };
    }
}

#[derive(Debug)]
enum Running {
    /// Started by this process.
    Child(Child),
    /// Found running.
    Found(PidFile),
}

impl Running {
    fn find_or_start(config: &Config, file: &Path) -> Result<Self, Exit> {
        let found = PidFile::read(&config.relay.data_dir)
            .map_err(|error| Exit::Relay(format!("the relay's pid file: {error}")))?;
        if let Some(found) = found.filter(PidFile::is_alive) {
            tracing::info!(pid = found.pid, "the relay runs already");
            return Ok(Self::Found(found));
        }
        let child = spawn(file).map_err(|error| {
            Exit::Relay(format!(
                "{PROGRAM} cannot be started ({error}); it belongs beside this program or in the \
                 search path"
            ))
        })?;
        tracing::info!(pid = child.id(), "the relay was started");
        Ok(Self::Child(child))
    }

    /// How it ended, if it has.
    fn has_ended(&mut self) -> Option<String> {
        match self {
            Self::Child(child) => match child.try_wait() {
                Ok(None) => None,
                Ok(Some(status)) => Some(status.to_string()),
                Err(error) => Some(error.to_string()),
            },
            Self::Found(found) => (!found.is_alive()).then(|| "its process is gone".to_owned()),
        }
    }

    fn kill(&mut self) -> io::Result<()> {
        match self {
            Self::Child(child) => child.start_kill(),
            // Its number may be somebody else's by now.
            Self::Found(found) if !found.is_alive() => Ok(()),
            Self::Found(found) => {
                let pid = i32::try_from(found.pid).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
                Ok(kill_process(pid, Signal::KILL)?)
            }
        }
    }

    async fn until_ended(&mut self) -> String {
        match self {
            Self::Child(child) => match child.wait().await {
                Ok(status) => status.to_string(),
                Err(error) => error.to_string(),
            },
            Self::Found(_) => loop {
                if let Some(how) = self.has_ended() {
                    return how;
                }
                tokio::time::sleep(LOOK_EVERY).await;
            },
        }
    }
}

fn spawn(file: &Path) -> io::Result<Child> {
    let beside = std::env::current_exe()?.with_file_name(PROGRAM);
    let program = if beside.exists() { beside } else { PathBuf::from(PROGRAM) };
    let mut command = Command::new(program);
    command.arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
    // A group of its own: what a terminal sends to this process must not reach the calls.
    command.process_group(0);
    let mut command = tokio::process::Command::from(command);
    command.kill_on_drop(false).spawn()
}

async fn describe(config: &Config, peers: &Peers) -> Result<wire::DescribeReply, tonic::Status> {
    let mut client = client(config, peers)?;
    let asked = tokio::time::timeout(WITNESS_EVERY, client.describe(wire::DescribeRequest {}));
    let reply =
        asked.await.map_err(|_| tonic::Status::deadline_exceeded("no answer in time"))??;
    Ok(reply.into_inner())
}

fn client(
    config: &Config,
    peers: &Peers,
) -> Result<RelayClient<tonic::transport::Channel>, tonic::Status> {
    let channel = peers
        .channel(&config.relay.control.to_string(), Purpose::Relay)
        .map_err(|error| tonic::Status::internal(error.to_string()))?;
    Ok(RelayClient::new(channel))
}

/// What the relay was last asked to watch, and which process of it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    incarnation: String,
    epoch: u64,
    attest_to: Vec<wire::Endpoint>,
}

/// Keeps the relay watching this process, under its current life.
pub async fn keep_witness(core: Arc<Core>, config: Arc<Config>, mut lives: LifeWatch) {
    let mut watched: Option<Watched> = None;
    let mut looks = tokio::time::interval(WITNESS_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            changed = lives.changed() => if changed.is_err() { return },
        }
        let Some(grant) = *lives.borrow_and_update() else { continue };
        let Ok(relay) = describe(&config, &core.peers).await else { continue };
        let attest_to = attest_to(&core);
        let wanted = Watched { incarnation: relay.incarnation, epoch: grant.epoch.0, attest_to };
        if wanted.attest_to.is_empty() || watched.as_ref() == Some(&wanted) {
            continue;
        }
        let request = wire::WitnessRequest {
            node: core.member.node.0,
            node_epoch: wanted.epoch,
            pid: std::process::id(),
            attest_to: wanted.attest_to.clone(),
        };
        let Ok(mut client) = client(&config, &core.peers) else { continue };
        match client.witness(request).await.map(tonic::Response::into_inner) {
            Ok(reply) if reply.watching => watched = Some(wanted),
            Ok(reply) => {
                // Without a witness the lease tells, a little later.
                tracing::warn!(detail = reply.detail, "the relay does not watch this process");
                watched = Some(wanted);
            }
            Err(status) => tracing::debug!(%status, "the relay was not asked to watch"),
        }
    }
}

/// The other nodes that run, in their order.
fn attest_to(core: &Core) -> Vec<wire::Endpoint> {
    core.store.read(|replica, _| {
        replica
            .0
            .nodes()
            .iter()
            .filter(|node| node.is_up() && node.id != core.member.node)
            .take(ATTEST_TO_MAX)
            .map(|node| wire::Endpoint {
                address: node.cluster_address.address.clone(),
                port: u32::from(node.cluster_address.port),
            })
            .collect()
    })
}

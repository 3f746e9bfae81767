//! Faults as named, typed actions, with the moments at which they were made and seen.
//!
//! A [`Fault`] is a record: plain data that checkers and reports read. [`inject`] is what makes
//! one on a [`LocalCluster`]; the moments are on the phones' clock, so that a fault and what people
//! heard stand on one time line.

use std::{fmt, net::SocketAddr, time::Duration};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tandem_phone::{RunTime, World};
use tokio::time;

use crate::cluster::LocalCluster;

/// A node that does not answer a reading of its own within this time is passed over.
const ANSWERS_WITHIN: Duration = Duration::from_secs(1);

/// What is done to a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The node's process is killed (SIGKILL), or ends because its machine fails; its relay lives on.
    KillNode,
    /// The relay's process is killed (SIGKILL).
    KillRelay,
    /// Node and relay are killed at once: the host is lost.
    KillSite,
    /// The node's process is frozen (SIGSTOP).
    FreezeNode,
    /// A frozen node goes on (SIGCONT).
    ThawNode,
    /// The node's process is started again on its disk; it starts or finds its relay.
    StartNode,
    /// The site takes no new work.
    DrainSite,
    /// The site takes work again.
    OpenSite,
    /// The site is cut off with everybody at it.
    CutSite,
    /// The site's node and relay are cut off from the others'; people reach them.
    CutNode,
    /// One link, or one direction of all, is cut: nobody is out of everybody's reach.
    CutLink,
    /// Cut links are joined again.
    Join,
    /// Something of the site is worse than usual, and its node and relay live: links, disk, clock,
    /// limits.
    Impair,
    /// It is well again.
    Restore,
}

impl FaultKind {
    /// True when the node stops acting: its legs must find another owner.
    #[must_use]
    pub const fn loses_node(self) -> bool {
        matches!(
            self,
            Self::KillNode | Self::KillSite | Self::FreezeNode | Self::CutSite | Self::CutNode
        )
    }

    /// True when the relay's audio stops.
    #[must_use]
    pub const fn loses_relay(self) -> bool {
        matches!(self, Self::KillRelay | Self::KillSite | Self::CutSite | Self::CutNode)
    }

    /// True when it ends a fault.
    #[must_use]
    pub const fn mends(self) -> bool {
        matches!(
            self,
            Self::ThawNode | Self::StartNode | Self::OpenSite | Self::Join | Self::Restore
        )
    }

    /// In a few words, before the name of the site.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::KillNode => "kill the node of",
            Self::KillRelay => "kill the relay of",
            Self::KillSite => "kill the whole site",
            Self::FreezeNode => "freeze the node of",
            Self::ThawNode => "thaw the node of",
            Self::StartNode => "restart",
            Self::DrainSite => "drain",
            Self::OpenSite => "reopen",
            Self::CutSite => "cut off",
            Self::CutNode => "cut off the node of",
            Self::CutLink => "cut a link of",
            Self::Join => "join",
            Self::Impair => "impair",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// Whether the node led the cluster when the fault was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It led.
    Leader,
    /// It did not.
    Follower,
}

/// A fault that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// What.
    pub kind: FaultKind,
    /// At which site.
    pub site: String,
    /// Where that site's node speaks SIP; the site's relay has the same IP address.
    pub sip: SocketAddr,
    /// Whether its node led.
    pub standing: Standing,
    /// When, on the phones' clock.
    pub made_us: RunTime,
    /// When the cluster showed it: the node lost or up, the site's state changed. None while it
    /// does not.
    pub seen_us: Option<RunTime>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.standing) {
            (FaultKind::KillNode, Standing::Leader) => {
                write!(f, "kill the leader's node, {}", self.site)
            }
            (FaultKind::KillSite, Standing::Leader) => {
                write!(f, "kill the leader's site, {}", self.site)
            }
            _ => write!(f, "{} {}", self.kind, self.site),
        }
    }
}

/// Makes a fault at a site (its index in the plan). Returns as soon as it is made; [`seen`] waits
/// for the cluster.
///
/// # Errors
/// When the process does not run, cannot be signalled, or the API refuses.
pub async fn inject(
    cluster: &mut LocalCluster,
    world: &World,
    kind: FaultKind,
    site: usize,
) -> Result<Fault> {
    let name = cluster.plan().sites.get(site).context("no such site")?.name.clone();
    let fault = planned(cluster, world, kind, site).await?;
    match kind {
        FaultKind::KillNode => cluster.kill_node(site)?,
        FaultKind::KillRelay => cluster.kill_relay(site)?,
        FaultKind::KillSite => cluster.kill_site(site)?,
        FaultKind::FreezeNode => cluster.freeze_node(site)?,
        FaultKind::ThawNode => cluster.thaw_node(site)?,
        FaultKind::StartNode => cluster.start_node(site)?,
        FaultKind::DrainSite => set_site(cluster, &name, "draining").await?,
        FaultKind::OpenSite => set_site(cluster, &name, "open").await?,
        FaultKind::CutSite
        | FaultKind::CutNode
        | FaultKind::CutLink
        | FaultKind::Join
        | FaultKind::Impair
        | FaultKind::Restore => bail!("{kind}: this is made by the network, not by the cluster"),
    }
    Ok(fault)
}

/// The record of a fault that is made now, by whoever makes it.
///
/// # Errors
/// When there is no such site.
pub async fn planned(
    cluster: &LocalCluster,
    world: &World,
    kind: FaultKind,
    site: usize,
) -> Result<Fault> {
    let name = cluster.plan().sites.get(site).context("no such site")?.name.clone();
    let standing = match leader_now(cluster).await {
        Some(leader) if leader == site => Standing::Leader,
        _ => Standing::Follower,
    };
    let (sip, made_us) = (cluster.sip(site), world.now());
    Ok(Fault { kind, site: name, sip, standing, made_us, seen_us: None })
}

/// Whether the cluster shows a fault, as a running node sees it; writes the moment down the first
/// time.
///
/// # Errors
/// When no running node can be asked.
pub async fn seen(cluster: &LocalCluster, world: &World, fault: &mut Fault) -> Result<bool> {
    if fault.seen_us.is_none() && shows(cluster, fault).await? {
        fault.seen_us = Some(world.now());
    }
    Ok(fault.seen_us.is_some())
}

async fn shows(cluster: &LocalCluster, fault: &Fault) -> Result<bool> {
    let dead = |index: usize| fault.kind.loses_node() && cluster.sip(index) == fault.sip;
    let index = cluster.running().find(|index| !dead(*index)).context("no node runs")?;
    let api = cluster.api(index)?;
    let life = async || -> Result<String> {
        let nodes = api.status_local().await?.nodes;
        // One that was replaced stays in the list.
        let mut nodes = nodes.into_iter().filter(|node| node.life != "removed");
        let node = nodes.find(|node| node.site == fault.site);
        Ok(node.map(|node| node.life).unwrap_or_default())
    };
    let state = async || -> Result<String> {
        let sites = api.sites().await?;
        let site = sites.into_iter().find(|site| site.name == fault.site);
        Ok(site.map(|site| site.state).unwrap_or_default())
    };
    Ok(match fault.kind {
        FaultKind::KillNode
        | FaultKind::KillSite
        | FaultKind::FreezeNode
        | FaultKind::CutSite
        | FaultKind::CutNode => life().await? != "up",
        FaultKind::StartNode | FaultKind::ThawNode | FaultKind::Join => life().await? == "up",
        FaultKind::DrainSite => matches!(state().await?.as_str(), "draining" | "drained"),
        FaultKind::OpenSite => state().await? == "open",
        // The cluster's view of relays is the node's: what people hear is the measure.
        FaultKind::KillRelay => true,
        // Whoever makes these shows them: counters of the router, the disk, the processor.
        FaultKind::CutLink | FaultKind::Impair | FaultKind::Restore => true,
    })
}

async fn leader_now(cluster: &LocalCluster) -> Option<usize> {
    for index in cluster.running() {
        let Ok(api) = cluster.api(index) else { continue };
        // A frozen one runs and says nothing.
        if let Ok(Ok(status)) = time::timeout(ANSWERS_WITHIN, api.status_local()).await {
            let leader = status.as_of.unwrap_or_default().leader;
            return cluster.index_of(leader);
        }
    }
    None
}

async fn set_site(cluster: &LocalCluster, name: &str, state: &str) -> Result<()> {
    let index = cluster.running().next().context("no node runs")?;
    cluster.api(index)?.set_site(name, state).await.map(drop)
}

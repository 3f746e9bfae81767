//! Looks at the cluster while it runs: samples for the live table and the report's charts.
//!
//! What is shown here is what the cluster says; the result is judged by the phones alone.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use serde::Serialize;
use tandem_phone::{EventKind, GapKind, RunTime, World};
use tokio::{task::JoinHandle, time};

use super::board::Board;
use crate::cluster::Api;

/// Between two looks.
const EVERY: Duration = Duration::from_millis(250);
/// A node that does not answer within this time is asked again later.
const ANSWERS_WITHIN: Duration = Duration::from_millis(700);

/// The cluster at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// When, on the phones' clock.
    pub at_us: RunTime,
    /// Callers in the queue.
    pub waiting: u64,
    /// Of whom no node has confirmed yet that they are there.
    pub unconfirmed: u64,
    /// Callers for whom a phone rings.
    pub offered: u64,
    /// Callers who talk.
    pub talking: u64,
    /// Agents who could take a call.
    pub agents_ready: u64,
    /// Longest wait in the queue, milliseconds.
    pub longest_wait_ms: u64,
    /// Name of the leader's site.
    pub leader: Option<String>,
    /// Sites in the order of the plan.
    pub sites: Vec<SiteSample>,
}

/// One site at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SiteSample {
    /// Name.
    pub name: String,
    /// open, draining, drained, closed.
    pub state: String,
    /// up, lost …, of its node.
    pub node: String,
    /// Agents there who talk.
    pub talking: u64,
    /// Agents logged in there.
    pub agents: u64,
    /// Callers in the queue who prefer this site, those for whom a phone rings included.
    pub waiting: u64,
    /// Legs that its node owns.
    pub legs: u64,
}

/// Watches until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Vec<JoinHandle<()>>);

impl Watch {
    /// Begins to watch through these nodes' APIs; samples and pulses go to the board.
    #[must_use]
    pub(crate) fn start(world: &World, apis: Vec<Api>, board: &Arc<Board>) -> Self {
        let samples = tokio::spawn(sample(world.clone(), apis, Arc::clone(board)));
        let pulse = tokio::spawn(pulse(world.clone(), Arc::clone(board)));
        Self(vec![samples, pulse])
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn sample(world: World, apis: Vec<Api>, board: Arc<Board>) {
    let mut ticks = time::interval(EVERY);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
    let mut asked = 0;
    loop {
        ticks.tick().await;
        for step in 0..apis.len() {
            let index = (asked + step) % apis.len();
            let Some(api) = apis.get(index) else { continue };
            if let Ok(Ok(sample)) = time::timeout(ANSWERS_WITHIN, look(api, &world)).await {
                asked = index;
                board.sample(sample);
                break;
            }
        }
    }
}

async fn look(api: &Api, world: &World) -> Result<Sample> {
    let status = api.status_local().await?;
    let sites = api.sites().await?;
    let totals = status.totals.unwrap_or_default();
    let leader = status.as_of.unwrap_or_default().leader;
    let leader = status.nodes.iter().find(|node| node.id == leader).map(|node| node.site.clone());
    let site = |site: tandem_proto::api::v1::Site| {
        // One that was replaced stays in the list.
        let mut nodes = status.nodes.iter().filter(|node| node.life != "removed");
        let node = nodes.find(|node| node.site == site.name);
        SiteSample {
            node: node.map(|node| node.life.clone()).unwrap_or_default(),
            legs: node.map_or(0, |node| node.legs),
            name: site.name,
            state: site.state,
            talking: site.talking,
            agents: site.agents_logged_in,
            waiting: site.waiting,
        }
    };
    let mut sites: Vec<SiteSample> = sites.into_iter().map(site).collect();
    // In the order of the nodes, which is the plan's.
    let place = |name: &str| status.nodes.iter().position(|node| node.site == name);
    sites.sort_by_key(|site| place(&site.name));
    Ok(Sample {
        at_us: world.now(),
        waiting: totals.waiting,
        unconfirmed: totals.unconfirmed,
        offered: totals.offered,
        talking: totals.connected,
        agents_ready: totals.agents_ready,
        longest_wait_ms: totals.longest_wait_ms,
        leader,
        sites,
    })
}

/// What phones experience, as it happens.
async fn pulse(world: World, board: Arc<Board>) {
    let mut events = world.events();
    while let Some(event) = events.next().await {
        match &event.kind {
            EventKind::Reinvite { modification } if modification.source_changed => {
                board.pulse(|pulse| pulse.takeovers += 1);
            }
            EventKind::Gap { gap } if gap.kind == GapKind::Between => {
                let ms = gap.honest_ms();
                board.pulse(|pulse| pulse.gap_ms_max = pulse.gap_ms_max.max(ms));
            }
            _ => {}
        }
    }
}

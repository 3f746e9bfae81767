//! What only the leader does: watch the other nodes' leases, and propose what is due.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tandem_cluster::{
    command::{Command, Evidence},
    ids::{Epoch, NodeId},
};

use super::core::Core;

/// How often the leader looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long one of its proposals may take.
const PROPOSE_WITHIN: Duration = Duration::from_secs(5);
/// After an election, answers that are on their way get this long before deadlines are enforced.
const GRACE: Duration = Duration::from_millis(500);

/// When each node's life was last heard, while this node leads.
#[derive(Debug, Clone, Default)]
pub struct Heard(Arc<Mutex<BTreeMap<NodeId, (Epoch, Instant)>>>);

impl Heard {
    /// A lease request of this life was granted just now.
    pub fn now(&self, node: NodeId, epoch: Epoch) {
        self.0.lock().insert(node, (epoch, Instant::now()));
    }

    fn last(&self, node: NodeId, epoch: Epoch) -> Option<Instant> {
        let (of, at) = *self.0.lock().get(&node)?;
        (of == epoch).then_some(at)
    }

    fn forget(&self) {
        self.0.lock().clear();
    }
}

/// Does the leader's work whenever this node leads; ends with Raft.
pub async fn run(core: Arc<Core>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut leading_since: Option<Instant> = None;
    let mut last_look = Instant::now();
    loop {
        ticks.tick().await;
        let now = Instant::now();
        if !core.raft.is_leader() {
            leading_since = None;
            continue;
        }
        // A leader that slept was deaf: it hears everybody anew before it judges anybody.
        let slept = now - last_look > Duration::from_millis(core.config.lease_ms) / 2;
        last_look = now;
        if leading_since.is_none() || slept {
            core.heard.forget();
            leading_since = Some(now);
            continue;
        }
        let since = leading_since.unwrap_or(now);
        declare_losses(&core, since, now).await;
        if now - since > GRACE {
            propose_due(&core).await;
        }
    }
}

/// Declares nodes lost that were silent for their lease and its margin. A new leader waits as long
/// from the beginning of its own leadership: until then the old leader may have granted leases.
async fn declare_losses(core: &Arc<Core>, since: Instant, now: Instant) {
    let limit = Duration::from_millis(core.config.lease_ms + core.config.lease_margin_ms);
    let up: Vec<(NodeId, Epoch)> = core.store.read(|replica, _| {
        replica.0.nodes().iter().filter(|n| n.is_up()).map(|n| (n.id, n.epoch)).collect()
    });
    for (node, epoch) in up {
        let heard = core.heard.last(node, epoch).map_or(since, |at| at.max(since));
        if node == core.member.node || now - heard <= limit {
            continue;
        }
        tracing::warn!(%node, %epoch, silent_ms = (now - heard).as_millis(), "a node is lost");
        let evidence = Evidence::LeaseExpired;
        propose(core, Command::NodeLost { node, epoch, evidence }).await;
    }
}

async fn propose_due(core: &Arc<Core>) {
    let now = core.clock.now();
    let (due, work) = core.store.read(|replica, _| {
        (replica.0.next_deadline().is_some_and(|at| at <= now), replica.0.has_work())
    });
    if due {
        propose(core, Command::ExpireDue).await;
    }
    if work {
        propose(core, Command::ContinueWork).await;
    }
}

async fn propose(core: &Arc<Core>, command: Command) {
    match core.propose(command, PROPOSE_WITHIN).await {
        Ok(Ok(_)) => {}
        Ok(Err(rejection)) => tracing::warn!(%rejection, "a proposal of the leader was refused"),
        // Tried again at the next look, here or at the next leader.
        Err(error) => tracing::debug!(%error, "a proposal of the leader did not get through"),
    }
}

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
        self.at(node, epoch, Instant::now());
    }

    fn at(&self, node: NodeId, epoch: Epoch, now: Instant) {
        let mut heard = self.0.lock();
        let last = heard.entry(node).or_insert((epoch, now));
        if (last.0, last.1) < (epoch, now) {
            *last = (epoch, now);
        }
    }

    /// How long a life has been silent. One that was never heard begins its first lease now: its
    /// registration was committed a moment ago, or this node leads since a moment ago and the old
    /// leader may have granted a lease until then.
    fn silence(&self, node: NodeId, epoch: Epoch, now: Instant) -> Duration {
        let known = self.0.lock().get(&node).copied();
        match known {
            Some((of, at)) if of >= epoch => now.saturating_duration_since(at),
            _ => {
                self.at(node, epoch, now);
                Duration::ZERO
            }
        }
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
        declare_losses(&core, now).await;
        if now - since > GRACE {
            propose_due(&core).await;
        }
    }
}

/// Declares nodes lost that were silent for their lease and its margin.
async fn declare_losses(core: &Arc<Core>, now: Instant) {
    let limit = Duration::from_millis(core.config.lease_ms + core.config.lease_margin_ms);
    let up: Vec<(NodeId, Epoch)> = core.store.read(|replica, _| {
        replica.0.nodes().iter().filter(|n| n.is_up()).map(|n| (n.id, n.epoch)).collect()
    });
    for (node, epoch) in up {
        let silence = core.heard.silence(node, epoch, now);
        if node == core.member.node || silence <= limit {
            continue;
        }
        tracing::warn!(%node, %epoch, silent_ms = silence.as_millis(), "a node is lost");
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

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a life that begins late in a leadership has its whole first lease before it counts as
    // silent; a late word of an earlier life changes nothing.
    #[test]
    fn a_new_life_has_its_first_lease() {
        let (heard, start) = (Heard::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let (node, silent) = (NodeId(2), Duration::from_millis);
        assert_eq!(heard.silence(node, Epoch(4), at(100_000)), silent(0));
        assert_eq!(heard.silence(node, Epoch(4), at(100_700)), silent(700));
        heard.at(node, Epoch(4), at(100_800));
        assert_eq!(heard.silence(node, Epoch(4), at(101_000)), silent(200));
        assert_eq!(heard.silence(node, Epoch(5), at(110_000)), silent(0), "a new life");
        heard.at(node, Epoch(4), at(110_500));
        assert_eq!(heard.silence(node, Epoch(5), at(111_000)), silent(1_000));
        heard.forget();
        assert_eq!(heard.silence(node, Epoch(5), at(112_000)), silent(0), "a new leadership");
    }
}

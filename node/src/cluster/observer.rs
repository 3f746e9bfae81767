//! What applied entries leave to do on this node: kept in sets that cannot grow beyond the state
//! they name, so that applying never waits for whoever acts.

use std::{collections::BTreeSet, sync::Arc};

use parking_lot::Mutex;
use tandem_cluster::{
    ids::{Epoch, LegId, NodeId},
    machine::Effect,
};
use tandem_raft_store::{ApplyObserver, LogId};
use tandem_routing::digest::Digest;
use tokio::sync::{Notify, watch};

use super::machine::Heard;

/// Legs that changed since they were last taken.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct ChangedLegs {
    /// Everything may have changed: a snapshot was installed, or nobody has looked yet.
    pub all: bool,
    /// These changed.
    pub legs: BTreeSet<LegId>,
}

/// What was observed, for the tasks that act on it.
#[derive(Debug)]
pub struct Observed {
    node: NodeId,
    changed: Mutex<ChangedLegs>,
    /// Wakes whoever takes the changed legs.
    pub legs: Notify,
    /// The last life of this node that ended.
    pub life_ended: watch::Sender<Option<Epoch>>,
    /// The digest to report next.
    pub digest: watch::Sender<Option<(u64, Digest)>>,
    /// The entry after which this node's digest was found to differ.
    pub diverged: watch::Sender<Option<u64>>,
    /// Entries applied so far; wakes the leader's duties.
    pub applied: watch::Sender<u64>,
}

impl Observed {
    /// Observes for this node.
    #[must_use]
    pub fn new(node: NodeId) -> Self {
        Self {
            node,
            changed: Mutex::new(ChangedLegs { all: true, legs: BTreeSet::new() }),
            legs: Notify::new(),
            life_ended: watch::Sender::new(None),
            digest: watch::Sender::new(None),
            diverged: watch::Sender::new(None),
            applied: watch::Sender::new(0),
        }
    }

    /// Takes the legs that changed.
    #[must_use]
    pub fn take_legs(&self) -> ChangedLegs {
        std::mem::take(&mut self.changed.lock())
    }

    fn see(&self, effect: &Effect) {
        match effect {
            Effect::LegChanged(leg) => {
                self.changed.lock().legs.insert(*leg);
            }
            Effect::LifeEnded { node, epoch } if *node == self.node => {
                self.life_ended.send_replace(Some(*epoch));
            }
            Effect::LifeEnded { node, epoch } => {
                tracing::info!(%node, %epoch, "a node's life is over: its legs are taken over");
            }
            Effect::DigestDue { index, digest } => {
                self.digest.send_replace(Some((*index, *digest)));
            }
            Effect::Diverged { node, index } => {
                tracing::error!(%node, index, "a node's state differs from the majority's");
                if *node == self.node {
                    self.diverged.send_replace(Some(*index));
                }
            }
            Effect::Bug { incident, message } => tracing::error!(
                incident,
                message,
                "a command met a bug and was undone on every node; please report this"
            ),
        }
    }
}

/// The store's observer.
#[derive(Debug)]
pub struct Observer(pub Arc<Observed>);

impl ApplyObserver<Heard> for Observer {
    fn applied(&self, position: LogId, effects: Vec<Heard>) {
        let mut legs = false;
        for heard in &effects {
            match heard {
                Heard::Effect(effect) => {
                    legs |= matches!(effect, Effect::LegChanged(_));
                    self.0.see(effect);
                }
                Heard::Event(event) => tracing::trace!(?event, "queue"),
            }
        }
        if legs {
            self.0.legs.notify_one();
        }
        self.0.applied.send_replace(position.index);
    }

    fn replaced(&self, position: LogId) {
        self.0.changed.lock().all = true;
        self.0.legs.notify_one();
        self.0.applied.send_replace(position.index);
    }
}

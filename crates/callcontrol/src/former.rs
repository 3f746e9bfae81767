//! Legs that this node acted for: which views of them are out of date, and which relay sessions are
//! still there.

use std::collections::BTreeMap;

use tandem_cluster::{
    ids::{LegEpoch, LegId},
    node::RelayRecord,
    view::LegView,
};

use crate::{core::Core, limits::DEPARTED_MAX};

/// What is remembered of them. The log's last word about a leg, that its row is gone, ends each entry.
#[derive(Debug, Default)]
pub(crate) struct Former {
    /// Over for us, as the log has told us: views from before that may still be on their way.
    over: BTreeMap<LegId, LegEpoch>,
    /// Sessions that the next owner goes on with, or moves away from.
    sessions: BTreeMap<LegId, (RelayRecord, LegEpoch)>,
}

impl Former {
    pub(crate) fn len(&self) -> usize {
        self.over.len() + self.sessions.len()
    }

    /// The log has said that our ownership of a leg is over: with the leg, or because another node has it.
    pub(crate) fn is_over(&mut self, leg: LegId, epoch: LegEpoch) {
        if self.over.len() < DEPARTED_MAX {
            self.over.insert(leg, epoch);
        }
    }

    /// Another node goes on with a session of ours.
    pub(crate) fn left(&mut self, leg: LegId, relay: RelayRecord, epoch: LegEpoch) {
        if self.sessions.len() < DEPARTED_MAX {
            self.sessions.insert(leg, (relay, epoch));
        }
    }

    /// True when this view of a leg is older than its end.
    pub(crate) fn is_outdated(&self, view: &LegView) -> bool {
        self.over.get(&view.leg.id).is_some_and(|over| view.leg.epoch <= *over)
    }
}

impl Core {
    /// Takes note of a view of what may be a former leg: a session that its owner does not use any
    /// more is ended. It would stay at its relay for as long as this node listens there.
    pub(crate) fn former_changed(&mut self, leg: LegId, view: Option<&LegView>) {
        if view.is_none_or(|view| !self.former.is_outdated(view)) {
            self.former.over.remove(&leg);
        }
        let row = view.and_then(|view| view.leg.media.as_ref());
        let unused =
            |session: &(RelayRecord, LegEpoch)| row.is_none_or(|media| media.relay != session.0.id);
        if self.former.sessions.get(&leg).is_some_and(unused)
            && let Some((relay, epoch)) = self.former.sessions.remove(&leg)
        {
            self.remove_session(relay, leg, epoch);
        }
    }
}

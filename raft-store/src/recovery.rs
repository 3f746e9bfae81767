//! What opening found, for logs and for the operator.

use std::path::Path;

use crate::db::EngineWarnings;
use crate::inspect::Found;
use crate::mark::MarkFound;
use crate::snapshot::shelf::Shelf;
use crate::types::{LogId, Vote};

/// What opening a directory found. Everything in it was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Entries in the log.
    pub log_entries: u64,
    /// Bytes of those entries as stored.
    pub log_bytes: u64,
    /// How far the log is cut from its front.
    pub purged: Option<LogId>,
    /// The last entry, or the purge position if nothing is behind it.
    pub last: Option<LogId>,
    /// The vote.
    pub vote: Option<Vote>,
    /// How far the log was known to be committed.
    pub committed: Option<LogId>,
    /// How far the rows go; openraft applies the committed entries behind it again.
    pub applied: Option<LogId>,
    /// Live rows.
    pub rows: u64,
    /// The current snapshot's position.
    pub snapshot: Option<LogId>,
    /// RocksDB cut its write-ahead log at a record that was not whole, in its words. Everything
    /// that was synced is there (the mark says so), so this was a write that nobody was told of.
    pub torn_tail: Option<String>,
    /// One slot of the mark was torn or rotten; the other one was used and both are whole again.
    pub mark_slot_lost: bool,
    /// Rows of an interrupted snapshot installation were removed.
    pub stray_rows: bool,
}

impl RecoveryReport {
    pub(crate) fn new<M>(
        found: &Found<M>,
        mark: &MarkFound,
        shelf: &Shelf,
        engine_warnings: &EngineWarnings,
    ) -> Self {
        Self {
            snapshot: shelf.current().and_then(|snapshot| snapshot.info().header.log_id),
            torn_tail: engine_warnings.find("dropping"),
            mark_slot_lost: mark.slot_lost,
            ..Self::of_copy(found)
        }
    }

    /// What a backup holds: it has no mark and no snapshots.
    pub(crate) fn of_copy<M>(found: &Found<M>) -> Self {
        Self {
            log_entries: found.log_entries,
            log_bytes: found.log_bytes,
            purged: found.purged.map(|purged| purged.log_id),
            last: found.tail.map(|tail| tail.log_id),
            vote: found.vote,
            committed: found.committed,
            applied: found.state.applied,
            rows: found.rows,
            snapshot: None,
            torn_tail: None,
            mark_slot_lost: false,
            stray_rows: found.stray_generations,
        }
    }

    /// Says in the log what was found.
    pub(crate) fn log(&self, dir: &Path) {
        let text = |id: Option<LogId>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        tracing::info!(
            dir = %dir.display(),
            log_entries = self.log_entries,
            last = text(self.last),
            purged = text(self.purged),
            applied = text(self.applied),
            rows = self.rows,
            snapshot = text(self.snapshot),
            "store opened"
        );
        if let Some(detail) = &self.torn_tail {
            tracing::info!(
                "the last write before the stop was torn and is cut ({detail}); it was never \
                 acknowledged; nothing to do"
            );
        }
        if self.mark_slot_lost {
            tracing::warn!(
                "one of the two slots of the synced-through mark could not be read; the other one \
                 was used; if this node was not killed or without power, check the disk"
            );
        }
    }
}

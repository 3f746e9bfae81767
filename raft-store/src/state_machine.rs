//! openraft's state machine on this store: apply, and the doors to snapshots.
//!
//! An applied entry changes the machine in memory at once and is answered at once; its rows go to
//! the writer thread in batches, unsynced, each with the position and digest that they belong to.
//! That is safe because the entry is committed and in the log: a crash loses rows, and the next
//! start applies the entries behind the last rows again.

use std::fmt;
use std::io;
use std::sync::Arc;

use futures_util::{Stream, StreamExt};
use openraft::OptionalSend;
use openraft::storage::{EntryResponder, RaftStateMachine};

use crate::error::StoreError;
use crate::limits::ROW_BATCH_BYTES;
use crate::live::Live;
use crate::machine::{Applied, ApplyObserver, Machine};
use crate::queue::{Op, Queue, RowBatch};
use crate::snapshot::build::{BuildParts, SnapshotBuilder};
use crate::snapshot::install::install;
use crate::snapshot::{SnapshotFile, shelf::Shelf};
use crate::types::{Entry, LogId, Payload, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};

/// The state machine of one node. Made by [`crate::Store::open`].
pub struct StateMachine<M: Machine> {
    pub(crate) live: Arc<Live<M>>,
    pub(crate) queue: Queue,
    pub(crate) build: Arc<BuildParts>,
    pub(crate) observer: Box<dyn ApplyObserver<M::Effect>>,
}

impl<M: Machine> RaftStateMachine<TypeConfig> for StateMachine<M> {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        self.build.halt.check()?;
        Ok(self.live.position())
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batch = RowBatch::default();
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let applied = self.apply_entry(&entry, &mut batch)?;
            if let Some(responder) = responder {
                responder.send(applied.reply);
            }
            self.observer.applied(entry.log_id, applied.effects);
            if batch.bytes >= ROW_BATCH_BYTES {
                self.queue_rows(std::mem::take(&mut batch)).await?;
            }
        }
        self.queue_rows(batch).await?;
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder { parts: Arc::clone(&self.build), queue: self.queue.clone() }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotFile,
    ) -> Result<(), io::Error> {
        install(&self.live, &self.queue, &self.build, meta, &snapshot).await?;
        if let Some(position) = meta.last_log_id {
            self.observer.replaced(position);
        }
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.build.halt.check()?;
        Ok(self.shelf().current().map(|snapshot| snapshot.to_snapshot()))
    }
}

impl<M: Machine> StateMachine<M> {
    fn shelf(&self) -> &Shelf {
        &self.build.shelf
    }

    /// Applies one entry to the machine and gathers its rows.
    fn apply_entry(
        &self,
        entry: &Entry,
        batch: &mut RowBatch,
    ) -> Result<Applied<M::Effect>, StoreError> {
        self.build.halt.check()?;
        let mut applied = self.live.apply(entry).map_err(|fatal| self.build.halt.stop(fatal))?;
        batch.extend(std::mem::take(&mut applied.rows), std::mem::take(&mut applied.history));
        if let Payload::Membership(membership) = &entry.payload {
            batch.membership = Some(StoredMembership::new(Some(entry.log_id), membership.clone()));
        }
        batch.entries += 1;
        Ok(applied)
    }

    async fn queue_rows(&self, mut batch: RowBatch) -> Result<(), StoreError> {
        if batch.entries == 0 {
            return Ok(());
        }
        let state = self.live.state();
        let through = state.applied;
        batch.state = Some(state);
        self.queue.push(batch.bytes, Op::Rows(Box::new(batch))).await?;
        self.live.rows_queued(through);
        Ok(())
    }
}

impl<M: Machine> fmt::Debug for StateMachine<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (applied, _) = self.live.position();
        f.debug_struct("StateMachine").field("applied", &applied).finish_non_exhaustive()
    }
}

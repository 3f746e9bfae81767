//! What the node holds of an open store beside openraft.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;

use parking_lot::Mutex;

use crate::backup;
use crate::counters::{CounterCells, Counters};
use crate::db::{Db, EngineMemory, HISTORY, Keys, family, range_options, read_fatal};
use crate::error::{Fatal, OpenError, SnapshotError, StoreError};
use crate::format::identity::Identity;
use crate::format::mark::MarkValue;
use crate::format::snapshot::SnapshotInfo;
use crate::halt::Halt;
use crate::limits::HISTORY_PAGE_ROWS;
use crate::live::Live;
use crate::machine::{Machine, Row};
use crate::mark::Marker;
use crate::queue::{Op, Queue};
use crate::recovery::RecoveryReport;
use crate::scrub::{self, ScrubReport};
use crate::snapshot::shelf::Shelf;
use crate::snapshot::{SnapshotFile, SnapshotReceiver};
use crate::types::LogId;

pub(crate) struct HandleParts<M> {
    pub(crate) db: Arc<Db>,
    pub(crate) keys: Keys,
    pub(crate) identity: Identity,
    pub(crate) live: Arc<Live<M>>,
    pub(crate) queue: Queue,
    pub(crate) marker: Arc<Marker>,
    pub(crate) counters: Arc<CounterCells>,
    pub(crate) halt: Arc<Halt>,
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) report: RecoveryReport,
    pub(crate) closing: Arc<AtomicBool>,
    pub(crate) thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) engine_memory: EngineMemory,
}

/// The node's handle to its store. Cheap to clone.
pub struct StoreHandle<M> {
    parts: Arc<HandleParts<M>>,
}

impl<M> Clone for StoreHandle<M> {
    fn clone(&self) -> Self {
        Self { parts: Arc::clone(&self.parts) }
    }
}

impl<M: Machine> StoreHandle<M> {
    pub(crate) fn new(parts: HandleParts<M>) -> Self {
        Self { parts: Arc::new(parts) }
    }

    /// Looks at the machine as of the last applied entry. Applying waits while `look` runs: keep it
    /// under [`crate::limits::READ_HOLD_MS`] (longer ones are counted), and never wait in it. Long
    /// reports read in pieces.
    pub fn read<R>(&self, look: impl FnOnce(&M, Option<LogId>) -> R) -> R {
        self.parts.live.read(look)
    }

    /// The last applied entry and the digest after it, which belong together (invariant R7).
    pub fn digest(&self) -> (Option<LogId>, [u8; 16]) {
        self.parts.live.read(|machine, applied| (applied, machine.digest()))
    }

    /// Whose store this is.
    pub fn identity(&self) -> &Identity {
        &self.parts.identity
    }

    /// What opening found.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.parts.report
    }

    /// What the last sync made certain. A peer that remembers more of this node than it says here
    /// at start has proof that the disk was set back.
    pub fn synced(&self) -> MarkValue {
        self.parts.marker.synced()
    }

    /// The counters.
    pub fn counters(&self) -> Counters {
        let parts = &self.parts;
        parts.counters.read(parts.queue.bytes_waiting(), parts.marker.writes())
    }

    /// Why the store stopped, if it did.
    pub fn fatal(&self) -> Option<Arc<Fatal>> {
        self.parts.halt.fatal().cloned()
    }

    /// The current snapshot.
    pub fn current_snapshot(&self) -> Option<SnapshotFile> {
        self.parts.shelf.current()
    }

    /// Begins to receive a snapshot, or goes on with one that broke off. Blocks on the disk.
    ///
    /// # Errors
    /// [`SnapshotError`] if it is for another cluster, or the disk refuses.
    pub fn receive_snapshot(
        &self,
        info: SnapshotInfo,
    ) -> Result<SnapshotReceiver<M>, SnapshotError> {
        self.parts.halt.check()?;
        SnapshotReceiver::begin(Arc::clone(&self.parts.shelf), info)
    }

    /// Returns when the rows of everything applied so far are in the database (written, not synced),
    /// so that [`Self::history_page`] sees them.
    ///
    /// # Errors
    /// [`StoreError`] if the store stopped or stops.
    pub async fn settle(&self) -> Result<(), StoreError> {
        self.parts.live.until_queued(&self.parts.halt).await?;
        self.parts.queue.call(0, |done| Op::Fence { done }).await
    }

    /// Up to `rows_max` (at most [`HISTORY_PAGE_ROWS`]) history rows behind the key `after`, in key
    /// order; the first page begins after `None`. Rows of entries applied a moment ago may not be
    /// there yet (see [`Self::settle`]). Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`] if the store stopped, or stops because a row cannot be read.
    pub fn history_page(
        &self,
        after: Option<&[u8]>,
        rows_max: usize,
    ) -> Result<Vec<Row>, StoreError> {
        self.parts.halt.check()?;
        let keys = self.parts.keys;
        // The smallest key behind `after` is `after` with a zero byte.
        let from = match after {
            Some(after) => [&keys.history(after)[..], &[0]].concat(),
            None => keys.history(&[]),
        };
        self.parts.db.with(|db| {
            let options = range_options(from, keys.group_end());
            let mut iterator = db.raw_iterator_cf_opt(family(db, HISTORY), options);
            let mut rows = Vec::new();
            iterator.seek_to_first();
            while rows.len() < rows_max.min(HISTORY_PAGE_ROWS) {
                let Some((key, value)) = iterator.item() else { break };
                rows.push((keys.history_key(key).unwrap_or_default().to_vec(), value.to_vec()));
                iterator.next();
            }
            let status = iterator.status();
            status.map_err(|error| self.parts.halt.stop(read_fatal("history", &error)))?;
            Ok(rows)
        })
    }

    /// Adds history rows that came from a peer (a node that caught up by a snapshot misses those of
    /// the entries between). Rows of the same key are replaced. Returns after a sync.
    ///
    /// # Errors
    /// [`StoreError`] if the store stopped or stops.
    pub async fn history_import(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len() + 32).sum();
        self.parts.queue.call(bytes, |done| Op::HistoryImport { rows, done }).await
    }

    /// Removes the history rows with keys in `from..to`, for retention.
    ///
    /// # Errors
    /// [`StoreError`] if the store stopped or stops.
    pub async fn history_remove(&self, from: Vec<u8>, to: Vec<u8>) -> Result<(), StoreError> {
        self.parts.queue.call(0, |done| Op::HistoryRemove { from, to, done }).await
    }

    /// Reads everything on disk and checks it, to find rot before it is needed. Blocks on the disk.
    ///
    /// # Errors
    /// [`StoreError`]: damage stops the store.
    pub fn scrub(&self) -> Result<ScrubReport, StoreError> {
        let parts = &self.parts;
        parts.halt.check()?;
        parts.db.with(|db| scrub::run(db, parts.keys).map_err(|fatal| parts.halt.stop(fatal)))
    }

    /// Copies the store to a new directory while it runs, and checks the copy. Blocks on the disk;
    /// cheap on the same file system, where table files are linked.
    ///
    /// # Errors
    /// [`OpenError`] if the directory is not empty, the disk refuses, or the copy does not check.
    pub async fn backup(&self, to: &Path) -> Result<RecoveryReport, OpenError> {
        let parts = Arc::clone(&self.parts);
        let to = to.to_path_buf();
        let settled = self.settle().await;
        settled.map_err(|error| OpenError::io("back up to", &to, error.into()))?;
        let copying = tokio::task::spawn_blocking(move || {
            let source = backup::Source {
                db: &parts.db,
                keys: parts.keys,
                identity: &parts.identity,
                memory: parts.engine_memory,
                mark: parts.marker.synced(),
            };
            backup::take::<M>(&source, &to)
        });
        copying.await.unwrap_or_else(|panicked| {
            Err(OpenError::io("back up", Path::new(""), std::io::Error::other(panicked)))
        })
    }

    /// Syncs everything, writes the mark, closes the database and releases the directory. Shut
    /// `Raft` down before. When this returns the directory may be opened again.
    ///
    /// # Errors
    /// [`StoreError`] if the store had stopped, or stops on the way.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.parts.closing.store(true, Relaxed);
        let stopped = self.parts.queue.stop().await;
        let thread = self.parts.thread.lock().take();
        if let Some(thread) = thread {
            // The thread itself turned a panic into a stop of the store.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
        match stopped {
            Err(StoreError::Closed) => Ok(()),
            other => other,
        }
    }
}

impl<M> std::fmt::Debug for StoreHandle<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreHandle")
            .field("identity", &self.parts.identity)
            .finish_non_exhaustive()
    }
}

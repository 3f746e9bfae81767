//! What the store counts about itself, for metrics and tests.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

/// Counters since the store was opened. Read with [`crate::StoreHandle::counters`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Append calls of openraft.
    pub appends: u64,
    /// Entries appended.
    pub entries: u64,
    /// Bytes of those entries as stored.
    pub entry_bytes: u64,
    /// Syncs of the write-ahead log that covered entries or a vote.
    pub syncs: u64,
    /// Entries covered by those syncs: divided by `syncs`, the size of a group.
    pub entries_synced: u64,
    /// Time spent in those syncs, in microseconds.
    pub sync_us: u64,
    /// The longest of those syncs, in microseconds.
    pub sync_us_max: u64,
    /// How long the sync that is under way has taken so far, in microseconds; 0 if none is. Shows a
    /// disk that hangs, which no finished sync can.
    pub sync_us_pending: u64,
    /// Votes saved.
    pub votes: u64,
    /// Writes of the synced-through mark.
    pub mark_writes: u64,
    /// Entries applied to the machine.
    pub applied: u64,
    /// Rows of the machine written (live rows).
    pub rows: u64,
    /// History rows written.
    pub history_rows: u64,
    /// Log entries read from memory.
    pub log_reads_cached: u64,
    /// Log entries read from disk.
    pub log_reads_disk: u64,
    /// Snapshots built.
    pub snapshots_built: u64,
    /// Snapshots installed.
    pub snapshots_installed: u64,
    /// Bytes that wait for the writer thread now.
    pub queue_bytes: u64,
    /// Readers that held the machine longer than [`crate::limits::READ_HOLD_MS`].
    pub slow_reads: u64,
}

/// The live counters.
#[derive(Debug)]
pub(crate) struct CounterCells {
    pub(crate) appends: AtomicU64,
    pub(crate) entries: AtomicU64,
    pub(crate) entry_bytes: AtomicU64,
    pub(crate) syncs: AtomicU64,
    pub(crate) entries_synced: AtomicU64,
    pub(crate) votes: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) rows: AtomicU64,
    pub(crate) history_rows: AtomicU64,
    pub(crate) log_reads_cached: AtomicU64,
    pub(crate) log_reads_disk: AtomicU64,
    pub(crate) snapshots_built: AtomicU64,
    pub(crate) snapshots_installed: AtomicU64,
    pub(crate) slow_reads: AtomicU64,
    sync_us: AtomicU64,
    sync_us_max: AtomicU64,
    /// Microseconds after `opened` at which the sync under way began, plus one; 0 if none is.
    sync_began_us: AtomicU64,
    opened: Instant,
}

impl CounterCells {
    pub(crate) fn new() -> Self {
        let zero = AtomicU64::default;
        Self {
            appends: zero(),
            entries: zero(),
            entry_bytes: zero(),
            syncs: zero(),
            entries_synced: zero(),
            votes: zero(),
            applied: zero(),
            rows: zero(),
            history_rows: zero(),
            log_reads_cached: zero(),
            log_reads_disk: zero(),
            snapshots_built: zero(),
            snapshots_installed: zero(),
            slow_reads: zero(),
            sync_us: zero(),
            sync_us_max: zero(),
            sync_began_us: zero(),
            opened: Instant::now(),
        }
    }

    fn now_us(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Times one sync.
    pub(crate) fn time_sync<R>(&self, sync: impl FnOnce() -> R) -> R {
        let began = self.now_us();
        self.sync_began_us.store(began + 1, Relaxed);
        let result = sync();
        self.sync_began_us.store(0, Relaxed);
        let took = self.now_us().saturating_sub(began);
        self.syncs.fetch_add(1, Relaxed);
        self.sync_us.fetch_add(took, Relaxed);
        self.sync_us_max.fetch_max(took, Relaxed);
        result
    }

    pub(crate) fn read(&self, queue_bytes: u64, mark_writes: u64) -> Counters {
        let began = self.sync_began_us.load(Relaxed);
        let pending = if began == 0 { 0 } else { self.now_us().saturating_sub(began - 1) };
        Counters {
            appends: self.appends.load(Relaxed),
            entries: self.entries.load(Relaxed),
            entry_bytes: self.entry_bytes.load(Relaxed),
            syncs: self.syncs.load(Relaxed),
            entries_synced: self.entries_synced.load(Relaxed),
            sync_us: self.sync_us.load(Relaxed),
            sync_us_max: self.sync_us_max.load(Relaxed),
            sync_us_pending: pending,
            votes: self.votes.load(Relaxed),
            mark_writes,
            applied: self.applied.load(Relaxed),
            rows: self.rows.load(Relaxed),
            history_rows: self.history_rows.load(Relaxed),
            log_reads_cached: self.log_reads_cached.load(Relaxed),
            log_reads_disk: self.log_reads_disk.load(Relaxed),
            snapshots_built: self.snapshots_built.load(Relaxed),
            snapshots_installed: self.snapshots_installed.load(Relaxed),
            queue_bytes,
            slow_reads: self.slow_reads.load(Relaxed),
        }
    }
}

/// Adds to a counter.
pub(crate) fn add(cell: &AtomicU64, by: u64) {
    cell.fetch_add(by, Relaxed);
}

//! The replicated machine as this store sees it: a trait, what applying an entry returns, and who
//! is told about it.
//!
//! What does not live here: any machine. The product's own is composed from the pure crates; the
//! tests of this crate bring a small bank.

use crate::types::{EntryReply, LogId, Membership};

/// One stored row: key and value.
pub type Row = (Vec<u8>, Vec<u8>);

/// A change of one row, as the machine reports it after an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// The row has this value now.
    Put {
        /// At most [`crate::limits::ROW_KEY_BYTES`].
        key: Vec<u8>,
        /// At most [`crate::limits::ROW_VALUE_BYTES`].
        value: Vec<u8>,
    },
    /// The row is gone.
    Delete {
        /// The row's key.
        key: Vec<u8>,
    },
}

/// Everything that one entry did.
#[derive(Debug)]
pub struct Applied<E> {
    /// The answer for the node that proposed the entry.
    pub reply: EntryReply,
    /// Live rows that changed, in any order; the last change of a key wins.
    pub rows: Vec<RowChange>,
    /// Rows for the history (finished contacts, closed intervals). Kept until
    /// [`crate::StoreHandle::history_remove`], never read back into the machine, not in snapshots.
    pub history: Vec<RowChange>,
    /// For [`ApplyObserver`]: what every node must learn, in order.
    pub effects: Vec<E>,
}

impl<E> Default for Applied<E> {
    fn default() -> Self {
        Self {
            reply: EntryReply::default(),
            rows: Vec::new(),
            history: Vec::new(),
            effects: Vec::new(),
        }
    }
}

/// The deterministic state machine behind the log.
///
/// The same entries give the same machine, rows and digest on every node (invariant R7). The store
/// keeps the machine in memory as the truth for readers and its rows on disk for the next start.
pub trait Machine: Send + Sync + Sized + 'static {
    /// What an entry wants done outside, on every node (see [`ApplyObserver`]).
    type Effect: Send + 'static;
    /// Why rows could not be loaded.
    type LoadError: std::error::Error + Send + Sync + 'static;

    /// The machine before the first entry. Must equal [`Machine::load`] of no rows.
    fn empty() -> Self;

    /// Rebuilds the machine from all live rows, in key order.
    ///
    /// # Errors
    /// The machine's own error when a row does not decode or comes from a newer version. An `Err`
    /// of the iterator means that reading stopped; return early, the store reports its own cause.
    fn load(
        rows: &mut dyn Iterator<Item = Result<Row, RowsInterrupted>>,
    ) -> Result<Self, Self::LoadError>;

    /// Applies the commands of one committed entry. Cannot fail: a bad command gets a rejection as
    /// its reply. Must not block, read a clock or draw a number. A panic stops the node for good.
    fn apply(&mut self, position: LogId, data: &[u8]) -> Applied<Self::Effect>;

    /// Applies a committed change of the membership. Most machines ignore it.
    fn apply_membership(
        &mut self,
        _position: LogId,
        _membership: &Membership,
    ) -> Applied<Self::Effect> {
        Applied::default()
    }

    /// Digest of the live rows, equal on every node after the same entry. Asked after every batch,
    /// so it must be kept up to date rather than computed: a few microseconds at most.
    fn digest(&self) -> [u8; 16];
}

/// The rows could not be read to their end; the store knows why and says so itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rows could not be read to their end")]
pub struct RowsInterrupted;

/// Is told, on every node and in log order, what applied entries want done.
///
/// Called from the apply task after the machine's lock is released, so an observer may read the
/// machine; it must only hand things on (into a channel, a wake-up), because the next entry waits
/// for it.
///
/// Effects are hints, not records: after a crash the entries that were applied but whose effects
/// were not acted on are not told again. Whoever acts on effects compares with the machine at start
/// and after [`ApplyObserver::replaced`].
pub trait ApplyObserver<E>: Send + Sync + 'static {
    /// The entry at `position` was applied. Called for every entry, with or without effects.
    fn applied(&self, position: LogId, effects: Vec<E>);

    /// The whole machine was replaced by a snapshot that ends at `position`: effects of the
    /// entries between were never told.
    fn replaced(&self, position: LogId);
}

/// An observer that ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl<E> ApplyObserver<E> for NoObserver {
    fn applied(&self, _position: LogId, _effects: Vec<E>) {}
    fn replaced(&self, _position: LogId) {}
}

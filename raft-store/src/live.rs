//! The machine in memory, shared between apply and readers.
//!
//! One lock holds the machine together with its position, so that a reader always sees a state and
//! the entry that it belongs to. Apply takes the lock once per entry and holds it for that entry
//! only; readers share it and must be short, because a waiting writer blocks everybody behind it.
//! Holds longer than [`READ_HOLD_MS`] are counted and logged. (The alternative, publishing a copy of
//! the state after every batch, would cost a copy of what changed for every reader that never
//! comes; whoever wants that builds it on [`crate::ApplyObserver`].)

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::sync::watch;

use crate::counters::{CounterCells, add};
use crate::error::{Fatal, FatalCause, StoreError};
use crate::format::records::StateRecord;
use crate::halt::Halt;
use crate::limits::READ_HOLD_MS;
use crate::machine::{Applied, Machine};
use crate::types::{Entry, LogId, Payload, StoredMembership};

/// How long rows may be on their way from an applied entry to the queue, in looks at whether the store stopped.
const SETTLE_LOOKS: u32 = 300;
const SETTLE_LOOK: Duration = Duration::from_millis(100);

fn index_of(position: Option<LogId>) -> u64 {
    position.map_or(0, |position| position.index)
}

/// Machine and position.
#[derive(Debug)]
pub(crate) struct Live<M> {
    inner: RwLock<Inner<M>>,
    /// Index of the last entry whose rows are on their way to the disk: an entry is applied before.
    queued: watch::Sender<u64>,
    counters: Arc<CounterCells>,
}

#[derive(Debug)]
struct Inner<M> {
    machine: M,
    applied: Option<LogId>,
    membership: StoredMembership,
    generation: u32,
}

impl<M: Machine> Live<M> {
    pub(crate) fn new(
        machine: M,
        state: &StateRecord,
        membership: StoredMembership,
        counters: Arc<CounterCells>,
    ) -> Self {
        let inner =
            Inner { machine, applied: state.applied, membership, generation: state.generation };
        let queued = watch::Sender::new(index_of(state.applied));
        Self { inner: RwLock::new(inner), queued, counters }
    }

    /// The rows of everything up to here are in the queue to the disk.
    pub(crate) fn rows_queued(&self, through: Option<LogId>) {
        self.queued.send_replace(index_of(through));
    }

    /// Returns when the rows of everything that is applied now are in the queue to the disk.
    pub(crate) async fn until_queued(&self, halt: &Halt) -> Result<(), StoreError> {
        let applied = index_of(self.inner.read().applied);
        let mut queued = self.queued.subscribe();
        for _ in 0..SETTLE_LOOKS {
            let waiting = queued.wait_for(|through| *through >= applied);
            if let Ok(Ok(_)) = tokio::time::timeout(SETTLE_LOOK, waiting).await {
                return Ok(());
            }
            halt.check()?;
        }
        // Applying has ended between an entry and its rows.
        Err(halt.closed())
    }

    /// Runs a short read on the machine and its position.
    pub(crate) fn read<R>(&self, look: impl FnOnce(&M, Option<LogId>) -> R) -> R {
        let inner = self.inner.read();
        let began = Instant::now();
        let result = look(&inner.machine, inner.applied);
        let held = began.elapsed();
        drop(inner);
        if held.as_millis() > u128::from(READ_HOLD_MS) {
            add(&self.counters.slow_reads, 1);
            tracing::warn!(
                held_ms = held.as_millis(),
                "a reader held the machine for longer than {READ_HOLD_MS} ms; applying waited for it"
            );
        }
        result
    }

    /// Applies one entry. A panic of the machine is the machine's end: half of a change may be in
    /// it, so the store stops.
    pub(crate) fn apply(&self, entry: &Entry) -> Result<Applied<M::Effect>, Fatal> {
        let mut inner = self.inner.write();
        let Inner { machine, .. } = &mut *inner;
        let applied = catch_unwind(AssertUnwindSafe(|| match &entry.payload {
            Payload::Blank => Applied::default(),
            Payload::Normal(data) => machine.apply(entry.log_id, data.bytes()),
            Payload::Membership(membership) => machine.apply_membership(entry.log_id, membership),
        }));
        let applied = applied.map_err(|panic| {
            let detail = format!("at entry {}: {}", entry.log_id, panic_text(&*panic));
            Fatal::new(FatalCause::MachinePanic, detail)
        })?;
        if let Payload::Membership(membership) = &entry.payload {
            inner.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
        }
        inner.applied = Some(entry.log_id);
        add(&self.counters.applied, 1);
        Ok(applied)
    }

    /// The position as it is written beside the rows.
    pub(crate) fn state(&self) -> StateRecord {
        let inner = self.inner.read();
        StateRecord {
            generation: inner.generation,
            applied: inner.applied,
            digest: inner.machine.digest(),
        }
    }

    pub(crate) fn position(&self) -> (Option<LogId>, StoredMembership) {
        let inner = self.inner.read();
        (inner.applied, inner.membership.clone())
    }

    pub(crate) fn generation(&self) -> u32 {
        self.inner.read().generation
    }

    /// Replaces everything by what a snapshot holds.
    pub(crate) fn replace(&self, machine: M, state: &StateRecord, membership: StoredMembership) {
        let mut inner = self.inner.write();
        let fresh =
            Inner { machine, applied: state.applied, membership, generation: state.generation };
        let old = std::mem::replace(&mut *inner, fresh);
        drop(inner);
        self.rows_queued(state.applied);
        // Freeing a large machine takes time; nobody should wait for it.
        drop(old);
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message")
}

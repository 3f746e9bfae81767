//! The bounded queue in front of the writer thread.
//!
//! Everything that changes the disk goes through it, so log, votes, rows and purges reach RocksDB's
//! write-ahead log in exactly the order in which they were queued. That order is a promise: a prefix
//! of it is what any crash leaves, so a purge is never on disk without the rows that it relies on,
//! and a row never without the log entry that made it.

use std::sync::Arc;
use std::sync::mpsc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::StoreError;
use crate::format::records::StateRecord;
use crate::halt::Halt;
use crate::limits::{QUEUE_BYTES, QUEUE_OP_BYTES};
use crate::machine::{Row, RowChange};
use crate::types::{Entry, IoFlushed, LogId, StoredMembership, Vote};

/// Is told when an operation is done.
pub(crate) type Done = oneshot::Sender<Result<(), StoreError>>;

/// One change of the disk.
pub(crate) enum Op {
    /// Append entries; `done` after the sync that covers them.
    Append { entries: Vec<Entry>, done: IoFlushed },
    /// Save a vote; `done` after sync and mark.
    Vote { vote: Vote, done: Done },
    /// Note how far the log is committed. Never synced by itself: it is a hint for the next start,
    /// and a quorum knows it anyway.
    Committed { committed: Option<LogId> },
    /// Cut the log behind `after`; `done` when written.
    Truncate { after: Option<LogId>, done: Done },
    /// Cut the log up to `upto`.
    Purge { upto: LogId },
    /// Rows of applied entries.
    Rows(Box<RowBatch>),
    /// Remove every row of a generation.
    ClearGeneration { generation: u32 },
    /// Rows of a snapshot, for a generation that is not the state yet.
    InstallRows { generation: u32, rows: Vec<Row> },
    /// Make the installed generation the state; `done` after the sync.
    InstallFlip { state: StateRecord, membership: Box<StoredMembership>, done: Done },
    /// Rows of history from elsewhere; `done` after the sync.
    HistoryImport { rows: Vec<Row>, done: Done },
    /// Remove history in a range of keys; `done` when written.
    HistoryRemove { from: Vec<u8>, to: Vec<u8>, done: Done },
    /// `done` when everything before is written.
    Fence { done: Done },
    /// Sync, write the mark, end the thread.
    Stop { done: Done },
}

/// What a batch of applied entries changed.
#[derive(Debug, Default)]
pub(crate) struct RowBatch {
    pub(crate) rows: Vec<RowChange>,
    pub(crate) history: Vec<RowChange>,
    pub(crate) membership: Option<StoredMembership>,
    pub(crate) state: Option<StateRecord>,
    pub(crate) entries: u64,
    pub(crate) bytes: usize,
}

impl RowBatch {
    pub(crate) fn extend(&mut self, rows: Vec<RowChange>, history: Vec<RowChange>) {
        self.bytes += rows.iter().chain(&history).map(row_change_bytes).sum::<usize>();
        self.rows.extend(rows);
        self.history.extend(history);
    }
}

fn row_change_bytes(change: &RowChange) -> usize {
    match change {
        RowChange::Put { key, value } => key.len() + value.len() + 32,
        RowChange::Delete { key } => key.len() + 32,
    }
}

/// A share of the queue's room, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Room(Option<OwnedSemaphorePermit>);

impl Room {
    pub(crate) fn bytes(&self) -> usize {
        self.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits)
    }
}

/// An operation with its room.
pub(crate) struct Queued {
    op: Op,
    room: Room,
}

impl Queued {
    pub(crate) fn into_parts(self) -> (Op, Room) {
        (self.op, self.room)
    }
}

/// The sending side.
#[derive(Debug, Clone)]
pub(crate) struct Queue {
    sender: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    halt: Arc<Halt>,
}

impl Queue {
    pub(crate) fn new(room: Arc<Semaphore>, halt: Arc<Halt>) -> (Self, mpsc::Receiver<Queued>) {
        let (sender, receiver) = mpsc::channel();
        (Self { sender, room, halt }, receiver)
    }

    /// Queues an operation of about `bytes`, after waiting for room.
    pub(crate) async fn push(&self, bytes: usize, op: Op) -> Result<(), StoreError> {
        let room = self.reserve(bytes).await?;
        self.send(room, op)
    }

    /// Waits for room. What is sent with it afterwards needs no more waiting, so that a caller can
    /// change memory and queue the change of the disk without a pause between the two.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Room, StoreError> {
        self.halt.check()?;
        let bytes = bytes.clamp(QUEUE_OP_BYTES, QUEUE_BYTES);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(permits).await;
        Ok(Room(Some(room.map_err(|_| self.halt.closed())?)))
    }

    /// Queues an operation in room that was reserved for it.
    pub(crate) fn send(&self, room: Room, op: Op) -> Result<(), StoreError> {
        self.sender.send(Queued { op, room }).map_err(|_| self.halt.closed())
    }

    /// Queues an operation that says when it is done, and waits for that.
    pub(crate) async fn call(
        &self,
        bytes: usize,
        op: impl FnOnce(Done) -> Op,
    ) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.push(bytes, op(done)).await?;
        answer.await.unwrap_or_else(|_| Err(self.halt.closed()))
    }

    /// Queues the end, without waiting for room.
    pub(crate) async fn stop(&self) -> Result<(), StoreError> {
        let (done, answer) = oneshot::channel();
        self.send(Room(None), Op::Stop { done })?;
        answer.await.unwrap_or_else(|_| Err(self.halt.closed()))
    }

    /// Bytes that wait now.
    pub(crate) fn bytes_waiting(&self) -> u64 {
        QUEUE_BYTES.saturating_sub(self.room.available_permits()) as u64
    }
}

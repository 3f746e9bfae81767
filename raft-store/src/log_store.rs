//! openraft's log storage on this store: append, vote, truncate, purge, and readers.
//!
//! Appends return as soon as the entries are in memory and queued; openraft's callback fires after
//! the sync that covers them. `save_vote` returns after sync and mark. Both go through one queue, so
//! they reach the disk in the order of the calls, as openraft demands.

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use openraft::storage::{LogState, RaftLogReader, RaftLogStorage};
use openraft::{OptionalSend, OptionalSync};

use crate::error::{Fatal, FatalCause, StoreError};
use crate::limits::{APPLY_READ_BYTES, APPLY_READ_ENTRIES, REPLICATION_READ_BYTES};
use crate::log_read::{LogAccess, ReadLimit};
use crate::log_view::cost;
use crate::queue::{Op, Queue};
use crate::types::{Entry, IoFlushed, LogId, TypeConfig, Vote};

/// The log of one node. Made by [`crate::Store::open`].
#[derive(Debug)]
pub struct LogStore {
    pub(crate) access: LogAccess,
    pub(crate) queue: Queue,
}

/// Reads the log; one per replication stream, one for apply. Cheap to make.
#[derive(Debug, Clone)]
pub struct LogReader {
    access: LogAccess,
}

const _: fn() = || {
    fn send_and_sync<T: OptionalSend + OptionalSync>() {}
    send_and_sync::<LogStore>();
};

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let (last_purged_log_id, last_log_id) = self.access.view.bounds();
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader { access: self.access.clone() }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        self.queue.call(0, |done| Op::Vote { vote: *vote, done }).await?;
        self.access.view.set_vote(*vote);
        Ok(())
    }

    /// Not synced: the commit position is a hint for the next start. After a power loss it may be
    /// older than what was served before, and a restarted node may for a moment show an older
    /// state locally; linearizable reads wait for a position that a quorum confirms, and decisions
    /// are made by apply.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.queue.push(0, Op::Committed { committed }).await?;
        self.access.view.set_committed(committed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.access.view.committed())
    }

    async fn append<I>(&mut self, entries: I, done: IoFlushed) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        let room = self.queue.reserve(entries.iter().map(cost).sum()).await?;
        if let Err(hole) = self.access.view.append(&entries) {
            let detail = format!("appending {} where {} follows", hole.found, hole.expected);
            return Err(self.broken_contract(detail).into());
        }
        Ok(self.queue.send(room, Op::Append { entries, done })?)
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let after = last_log_id;
        // Memory first: readers stop at the new end from here on, and what is still on disk behind it
        // is asked for by nobody.
        self.access.view.truncate(after);
        self.queue.call(0, |done| Op::Truncate { after, done }).await?;
        self.access.view.truncated();
        Ok(())
    }

    /// Returns when the purge is queued. It cannot overtake the rows of the entries that it cuts:
    /// those were queued when they were applied.
    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let room = self.queue.reserve(0).await?;
        self.access.view.purge(upto);
        Ok(self.queue.send(room, Op::Purge { upto })?)
    }
}

impl LogStore {
    fn broken_contract(&self, detail: String) -> StoreError {
        self.access.halt.stop(Fatal::new(FatalCause::Contract, detail))
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        Ok(self.access.read(half_open(&range), ReadLimit::NONE).await?)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        self.access.halt.check()?;
        Ok(self.access.view.vote())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        let limit = ReadLimit { bytes: REPLICATION_READ_BYTES };
        Ok(self.access.read(start..end, limit).await?)
    }

    /// Reads ahead in bounded pieces, so that applying a long range needs little memory.
    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let access = self.access.clone();
        let range = half_open(&range);
        let pieces = stream::try_unfold((access, range), |(access, range)| async move {
            if range.is_empty() {
                return Ok(None);
            }
            let piece_end = range.end.min(range.start.saturating_add(APPLY_READ_ENTRIES));
            let limit = ReadLimit { bytes: APPLY_READ_BYTES };
            let entries = access.read(range.start..piece_end, limit).await?;
            let Some(last) = entries.last() else { return Ok(None) };
            let next = last.log_id.index + 1;
            Ok::<_, io::Error>(Some((entries, (access, next..range.end))))
        });
        pieces.map_ok(|entries| stream::iter(entries).map(Ok)).try_flatten().boxed()
    }
}

fn half_open(range: &impl RangeBounds<u64>) -> std::ops::Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end.max(start)
}

//! The one thread that changes the disk: takes everything that waits, writes it, syncs once, reports.
//!
//! A round ("group"):
//! 1. take all waiting operations, up to a limit;
//! 2. write them to RocksDB in their order, unsynced (one write-ahead log for all families);
//! 3. if an append or a vote is among them: one `flush_wal(true)` for the whole group;
//! 4. note what is certain now in the mark; a vote is written to the mark at once;
//! 5. tell everybody.
//!
//! Nobody is told anything before step 3 covered it. An error in any step stops the store and is
//! never tried again (see `halt`).
//!
//! What does not live here: who queues what (`queue`), encodings (`format`), reading (`log_read`).

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use rocksdb::{DB, WriteBatch, WriteOptions};

use crate::counters::{CounterCells, add};
use crate::db::{Db, HISTORY, Keys, LOG, META, MetaRecord, STATE, family, read_fatal, write_fatal};
use crate::error::{Fatal, FatalCause, StoreError};
use crate::format::entry::{GENESIS_CHAIN, decode_record, encode_record, seed_chain};
use crate::format::mark::LogPoint;
use crate::format::records::{
    PurgeRecord, StateRecord, encode_committed, encode_purge, encode_state,
    encode_stored_membership, encode_vote,
};
use crate::halt::Halt;
use crate::hooks::{CrashPoint, Hooks};
use crate::limits::{GROUP_BYTES, GROUP_OPS, ROW_KEY_BYTES, ROW_VALUE_BYTES};
use crate::log_view::LogView;
use crate::machine::{Row, RowChange};
use crate::mark::Marker;
use crate::queue::{Done, Op, Queued, Room, RowBatch};
use crate::types::{Entry, IoFlushed, LogId, StoredMembership, Vote};

/// What the writer shares with the rest of the store.
#[derive(Debug)]
pub(crate) struct WriterParts {
    pub(crate) db: Arc<Db>,
    pub(crate) engine_dir: PathBuf,
    pub(crate) keys: Keys,
    pub(crate) view: Arc<LogView>,
    pub(crate) marker: Arc<Marker>,
    pub(crate) counters: Arc<CounterCells>,
    pub(crate) halt: Arc<Halt>,
    pub(crate) hooks: Hooks,
}

/// The writer's own state.
pub(crate) struct Writer {
    parts: WriterParts,
    /// The last entry, or the purge position if nothing is behind it.
    tail: Option<LogPoint>,
    purged: Option<PurgeRecord>,
    /// Staged and not written yet.
    batch: WriteBatch,
    /// Index of the last entry in `batch`.
    staged_through: Option<u64>,
}

/// Who is told after a group.
enum Waiter {
    Append(IoFlushed),
    Done(Done),
}

/// What a group needs beyond being written.
#[derive(Default)]
struct Group {
    waiters: Vec<Waiter>,
    needs_sync: bool,
    entries: u64,
    vote: Option<Vote>,
    stop: bool,
}

impl Writer {
    pub(crate) fn new(
        parts: WriterParts,
        tail: Option<LogPoint>,
        purged: Option<PurgeRecord>,
    ) -> Self {
        Self { parts, tail, purged, batch: WriteBatch::default(), staged_through: None }
    }

    /// Works until a stop is queued or every sender is gone, and then leaves everything synced and
    /// marked.
    pub(crate) fn run(mut self, queue: &Receiver<Queued>) {
        while let Ok(first) = queue.recv() {
            let (ops, room) = take_group(first, queue);
            let stopped = self.do_group(ops);
            drop(room);
            if stopped {
                return;
            }
        }
        // Dropped without a stop: the same end, only nobody waits for it.
        self.finish_unasked();
    }

    /// Does a group; returns whether the thread is to end.
    fn do_group(&mut self, ops: Vec<Op>) -> bool {
        let mut group = Group::default();
        let db = Arc::clone(&self.parts.db);
        let result = match self.parts.halt.check() {
            Ok(()) => db.with(|db| self.try_group(db, ops, &mut group)),
            Err(stopped) => {
                group.refuse(ops);
                Err(stopped)
            }
        };
        let stop = group.stop;
        report(group.waiters, &result);
        stop
    }

    fn try_group(&mut self, db: &DB, ops: Vec<Op>, group: &mut Group) -> Result<(), StoreError> {
        let outcome = self.write_group(db, ops, group);
        outcome.map_err(|fatal| self.parts.halt.stop(fatal))
    }

    fn write_group(&mut self, db: &DB, ops: Vec<Op>, group: &mut Group) -> Result<(), Fatal> {
        self.parts.hooks.reached(CrashPoint::GroupBeforeWrite);
        let mut ops = ops.into_iter();
        while let Some(op) = ops.next() {
            let mut outcome = self.stage(db, op, group);
            if outcome.is_ok() && self.batch.size_in_bytes() >= GROUP_BYTES {
                outcome = self.write(db);
            }
            if let Err(fatal) = outcome {
                group.refuse(ops.collect());
                return Err(fatal);
            }
        }
        self.write(db)?;
        if group.needs_sync || group.stop {
            self.parts.hooks.reached(CrashPoint::GroupBeforeSync);
            self.sync(db, group)?;
        }
        if group.stop {
            self.parts.hooks.reached(CrashPoint::CloseBeforeMark);
            self.parts.marker.write_pending()?;
        }
        self.parts.hooks.reached(CrashPoint::GroupBeforeReport);
        Ok(())
    }

    fn stage(&mut self, db: &DB, op: Op, group: &mut Group) -> Result<(), Fatal> {
        match op {
            Op::Append { entries, done } => {
                group.waiters.push(Waiter::Append(done));
                group.needs_sync = true;
                group.entries += entries.len() as u64;
                self.stage_entries(db, &entries);
            }
            Op::Vote { vote, done } => {
                group.waiters.push(Waiter::Done(done));
                group.needs_sync = true;
                group.vote = Some(vote);
                self.put_meta(db, MetaRecord::Vote, &encode_vote(&vote));
                add(&self.parts.counters.votes, 1);
            }
            Op::Committed { committed } => {
                let record = encode_committed(committed.as_ref());
                self.put_meta(db, MetaRecord::Committed, &record);
            }
            Op::Truncate { after, done } => {
                group.waiters.push(Waiter::Done(done));
                self.stage_truncate(db, after)?;
            }
            Op::Purge { upto } => self.stage_purge(db, upto)?,
            Op::Rows(batch) => self.stage_rows(db, *batch)?,
            Op::ClearGeneration { generation } => self.stage_clear(db, generation),
            Op::InstallRows { generation, rows } => self.stage_install(db, generation, &rows)?,
            Op::InstallFlip { state, membership, done } => {
                group.waiters.push(Waiter::Done(done));
                group.needs_sync = true;
                self.stage_flip(db, &state, &membership)?;
            }
            Op::HistoryImport { rows, done } => {
                group.waiters.push(Waiter::Done(done));
                group.needs_sync = true;
                self.stage_history(db, rows)?;
            }
            Op::HistoryRemove { from, to, done } => {
                group.waiters.push(Waiter::Done(done));
                let keys = self.parts.keys;
                let (from, to) = (keys.history(&from), keys.history(&to));
                self.batch.delete_range_cf(family(db, HISTORY), from, to);
            }
            Op::Fence { done } => group.waiters.push(Waiter::Done(done)),
            Op::Stop { done } => {
                group.waiters.push(Waiter::Done(done));
                group.stop = true;
            }
        }
        Ok(())
    }

    fn stage_entries(&mut self, db: &DB, entries: &[Entry]) {
        let log = family(db, LOG);
        let mut bytes = 0;
        for entry in entries {
            let previous = self.tail.map_or(GENESIS_CHAIN, |tail| tail.chain);
            let (record, chain) = encode_record(previous, entry);
            bytes += record.len() as u64;
            self.batch.put_cf(log, self.parts.keys.log(entry.log_id.index), record);
            self.tail = Some(LogPoint { log_id: entry.log_id, chain });
            self.staged_through = Some(entry.log_id.index);
        }
        let counters = &self.parts.counters;
        add(&counters.appends, 1);
        add(&counters.entries, entries.len() as u64);
        add(&counters.entry_bytes, bytes);
    }

    fn stage_truncate(&mut self, db: &DB, after: Option<LogId>) -> Result<(), Fatal> {
        let Some(tail) = self.tail else { return Ok(()) };
        if after.is_some_and(|after| after.index >= tail.log_id.index) {
            return Ok(());
        }
        self.write(db)?;
        let point = self.point_at(db, after)?;
        self.parts.marker.lower(point)?;
        self.parts.hooks.reached(CrashPoint::TruncateAfterMark);
        let from = self.parts.keys.log(after.map_or(0, |after| after.index + 1));
        let to = self.parts.keys.log(tail.log_id.index.saturating_add(1));
        self.batch.delete_range_cf(family(db, LOG), from, to);
        self.tail = point;
        Ok(())
    }

    /// The entry that the log is to end with, with its chain value.
    fn point_at(&self, db: &DB, after: Option<LogId>) -> Result<Option<LogPoint>, Fatal> {
        let contract = |detail: String| Err(Fatal::new(FatalCause::Contract, detail));
        let Some(log_id) = after else {
            return match self.purged {
                None => Ok(None),
                Some(_) => contract("truncating a log to nothing that was purged before".into()),
            };
        };
        if let Some(purged) = self.purged
            && log_id.index <= purged.log_id.index
        {
            if log_id == purged.log_id {
                return Ok(Some(LogPoint { log_id, chain: purged.chain }));
            }
            return contract(format!("truncating to {log_id}, purged up to {}", purged.log_id));
        }
        match self.chain_at(db, log_id.index)? {
            Some((found, chain)) if found == log_id => Ok(Some(LogPoint { log_id, chain })),
            Some((found, _)) => contract(format!("truncating to {log_id}, the log has {found}")),
            None => contract(format!("truncating to {log_id}, which the log does not have")),
        }
    }

    fn stage_purge(&mut self, db: &DB, upto: LogId) -> Result<(), Fatal> {
        if self.purged.is_some_and(|purged| purged.log_id.index >= upto.index) {
            return Ok(());
        }
        self.write(db)?;
        let base = self.purged.map_or(GENESIS_CHAIN, |purged| purged.chain);
        let chain = match self.tail {
            Some(tail) if tail.log_id == upto => tail.chain,
            // In front of the first entry: that one still follows the old base.
            Some(tail) if tail.log_id.index > upto.index => {
                self.chain_at(db, upto.index)?.map_or(base, |(_, chain)| chain)
            }
            _ => seed_chain(&upto),
        };
        let from = self.parts.keys.log(self.purged.map_or(0, |purged| purged.log_id.index + 1));
        let to = self.parts.keys.log(upto.index.saturating_add(1));
        self.batch.delete_range_cf(family(db, LOG), from, to);
        let record = PurgeRecord { log_id: upto, chain };
        self.put_meta(db, MetaRecord::Purge, &encode_purge(&record));
        self.purged = Some(record);
        if self.tail.is_none_or(|tail| tail.log_id.index <= upto.index) {
            self.tail = Some(LogPoint { log_id: upto, chain });
        }
        Ok(())
    }

    /// Position and chain value of a written entry.
    fn chain_at(&self, db: &DB, index: u64) -> Result<Option<(LogId, u32)>, Fatal> {
        let found = db.get_cf(family(db, LOG), self.parts.keys.log(index));
        let Some(record) = found.map_err(|error| read_fatal("a log entry", &error))? else {
            return Ok(None);
        };
        let stored = decode_record(record.into()).map_err(|error| {
            Fatal::new(FatalCause::Damage, format!("log entry {index}: {error}"))
        })?;
        Ok(Some((stored.entry.log_id, stored.chain)))
    }

    fn stage_rows(&mut self, db: &DB, batch: RowBatch) -> Result<(), Fatal> {
        let Some(state) = batch.state else {
            return Err(Fatal::new(FatalCause::Contract, "rows without their position"));
        };
        let counters = Arc::clone(&self.parts.counters);
        add(&counters.rows, batch.rows.len() as u64);
        add(&counters.history_rows, batch.history.len() as u64);
        let keys = self.parts.keys;
        for change in batch.rows {
            self.stage_change(db, STATE, change, |key| keys.row(state.generation, key))?;
        }
        for change in batch.history {
            self.stage_change(db, HISTORY, change, |key| keys.history(key))?;
        }
        if let Some(membership) = &batch.membership {
            let record = encode_stored_membership(membership);
            self.put_meta(db, MetaRecord::Membership, &record);
        }
        self.put_meta(db, MetaRecord::State, &encode_state(&state));
        Ok(())
    }

    fn stage_change(
        &mut self,
        db: &DB,
        family_name: &str,
        change: RowChange,
        place: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Result<(), Fatal> {
        match change {
            RowChange::Put { key, value } => {
                check_row(&key, &value)?;
                self.batch.put_cf(family(db, family_name), place(&key), value);
            }
            RowChange::Delete { key } => {
                self.batch.delete_cf(family(db, family_name), place(&key));
            }
        }
        Ok(())
    }

    fn stage_history(&mut self, db: &DB, rows: Vec<Row>) -> Result<(), Fatal> {
        let keys = self.parts.keys;
        for (key, value) in rows {
            let change = RowChange::Put { key, value };
            self.stage_change(db, HISTORY, change, |key| keys.history(key))?;
        }
        Ok(())
    }

    fn stage_clear(&mut self, db: &DB, generation: u32) {
        let (from, to) = self.parts.keys.generation(generation);
        self.batch.delete_range_cf(family(db, STATE), from, to);
    }

    fn stage_install(&mut self, db: &DB, generation: u32, rows: &[Row]) -> Result<(), Fatal> {
        for (key, value) in rows {
            check_row(key, value)?;
            self.batch.put_cf(family(db, STATE), self.parts.keys.row(generation, key), value);
        }
        self.write(db)?;
        self.parts.hooks.reached(CrashPoint::InstallHalfway);
        Ok(())
    }

    /// Makes another generation of rows the state, in one write. Its rows stand before it in the
    /// same write-ahead log, so no crash leaves the flip without them.
    fn stage_flip(
        &mut self,
        db: &DB,
        state: &StateRecord,
        membership: &StoredMembership,
    ) -> Result<(), Fatal> {
        self.write(db)?;
        self.parts.hooks.reached(CrashPoint::InstallBeforeFlip);
        self.put_meta(db, MetaRecord::State, &encode_state(state));
        self.put_meta(db, MetaRecord::Membership, &encode_stored_membership(membership));
        Ok(())
    }

    fn put_meta(&mut self, db: &DB, record: MetaRecord, bytes: &[u8]) {
        self.batch.put_cf(family(db, META), self.parts.keys.meta(record), bytes);
    }

    /// Writes what is staged, unsynced.
    fn write(&mut self, db: &DB) -> Result<(), Fatal> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let refused = self.parts.hooks.before_write();
        refused.map_err(|detail: String| Fatal::new(FatalCause::Write, detail))?;
        let batch = std::mem::take(&mut self.batch);
        db.write_opt(batch, &WriteOptions::default()).map_err(|error| write_fatal(&error))?;
        if let Some(through) = self.staged_through.take() {
            self.parts.view.written(through);
        }
        Ok(())
    }

    /// Syncs the write-ahead log and notes what is certain now.
    fn sync(&mut self, db: &DB, group: &Group) -> Result<(), Fatal> {
        let parts = &self.parts;
        let synced = parts.counters.time_sync(|| {
            parts.hooks.around_sync(&parts.engine_dir, || {
                db.flush_wal(true).map_err(|error| error.to_string())
            })
        });
        synced.map_err(|detail| Fatal::new(FatalCause::Sync, detail))?;
        add(&parts.counters.entries_synced, group.entries);
        let (last, purged) = (self.tail, self.purged.map(|purged| purged.log_id));
        parts.marker.publish(|mark| {
            mark.last = last;
            mark.purged = purged;
        });
        if let Some(vote) = group.vote {
            parts.hooks.reached(CrashPoint::VoteBeforeMark);
            parts.marker.write_vote(vote)?;
        }
        Ok(())
    }

    /// The end when nobody asked for one: the last owner of the store is gone.
    fn finish_unasked(&mut self) {
        if self.parts.halt.check().is_err() {
            return;
        }
        let db = Arc::clone(&self.parts.db);
        let finished: Result<(), StoreError> = db.with(|db| {
            let end =
                self.sync(db, &Group::default()).and_then(|()| self.parts.marker.write_pending());
            end.map_err(|fatal| self.parts.halt.stop(fatal))
        });
        if let Err(error) = finished {
            tracing::warn!("the store was dropped and could not be synced to its end: {error}");
        }
    }
}

impl Group {
    /// Adds the waiters of operations that will not be done.
    fn refuse(&mut self, ops: Vec<Op>) {
        for op in ops {
            match op {
                Op::Append { done, .. } => self.waiters.push(Waiter::Append(done)),
                Op::Stop { done } => {
                    self.stop = true;
                    self.waiters.push(Waiter::Done(done));
                }
                Op::Vote { done, .. }
                | Op::Truncate { done, .. }
                | Op::InstallFlip { done, .. }
                | Op::HistoryImport { done, .. }
                | Op::HistoryRemove { done, .. }
                | Op::Fence { done } => self.waiters.push(Waiter::Done(done)),
                Op::Committed { .. }
                | Op::Purge { .. }
                | Op::Rows(_)
                | Op::ClearGeneration { .. }
                | Op::InstallRows { .. } => {}
            }
        }
    }
}

/// Takes what waits, up to the limits of a group. The room in the queue is given back when the
/// second part is dropped, after the group is done.
fn take_group(first: Queued, queue: &Receiver<Queued>) -> (Vec<Op>, Vec<Room>) {
    let mut ops = Vec::new();
    let mut room = Vec::new();
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(queued) = next {
        let (op, permit) = queued.into_parts();
        bytes += permit.bytes();
        ops.push(op);
        room.push(permit);
        let full = ops.len() >= GROUP_OPS || bytes >= GROUP_BYTES;
        next = if full { None } else { queue.try_recv().ok() };
    }
    (ops, room)
}

fn report(waiters: Vec<Waiter>, result: &Result<(), StoreError>) {
    for waiter in waiters {
        match waiter {
            Waiter::Append(done) => done.io_completed(result.clone().map_err(Into::into)),
            // A caller that went away does not need the answer.
            Waiter::Done(done) => drop(done.send(result.clone())),
        }
    }
}

fn check_row(key: &[u8], value: &[u8]) -> Result<(), Fatal> {
    if key.len() <= ROW_KEY_BYTES && value.len() <= ROW_VALUE_BYTES {
        return Ok(());
    }
    let (key, value) = (key.len(), value.len());
    let detail =
        format!("a row of {key} + {value} bytes is more than {ROW_KEY_BYTES} + {ROW_VALUE_BYTES}");
    Err(Fatal::new(FatalCause::Contract, detail))
}

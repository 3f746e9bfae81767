//! Reading log entries: from memory where they are, from disk where not, always without holes.

use std::ops::Range;
use std::sync::Arc;

use rocksdb::DB;

use crate::counters::{CounterCells, add};
use crate::db::{Db, Keys, LOG, family, range_options, read_fatal};
use crate::error::{Fatal, FatalCause, StoreError};
use crate::format::entry::{StoredEntry, decode_record};
use crate::halt::Halt;
use crate::log_view::{LogView, cost};
use crate::types::Entry;

/// How much a read returns at most. The first entry is always returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadLimit {
    pub(crate) bytes: usize,
}

impl ReadLimit {
    pub(crate) const NONE: Self = Self { bytes: usize::MAX };

    fn cut(self, mut entries: Vec<Entry>) -> Vec<Entry> {
        let mut bytes = 0_usize;
        let fits = entries.iter().take_while(|entry| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(cost(entry));
            first || bytes <= self.bytes
        });
        let count = fits.count();
        entries.truncate(count);
        entries
    }
}

/// Everything that reading needs; cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LogAccess {
    pub(crate) db: Arc<Db>,
    pub(crate) keys: Keys,
    pub(crate) view: Arc<LogView>,
    pub(crate) counters: Arc<CounterCells>,
    pub(crate) halt: Arc<Halt>,
}

impl LogAccess {
    /// Reads what the log has of `range`, without holes. Entries that are purged or not appended
    /// yet are left out at the ends.
    pub(crate) async fn read(
        &self,
        range: Range<u64>,
        limit: ReadLimit,
    ) -> Result<Vec<Entry>, StoreError> {
        loop {
            let plan = self.view.plan(range.clone());
            if plan.disk.is_empty() {
                add(&self.counters.log_reads_cached, plan.cached.len() as u64);
                return Ok(limit.cut(plan.cached));
            }
            let mut entries = self.read_behind(plan.disk.clone(), limit).await?;
            let complete = entries.len() as u64 == plan.disk.end - plan.disk.start;
            let limited = entries.iter().map(cost).sum::<usize>() >= limit.bytes;
            if complete && !limited {
                add(&self.counters.log_reads_cached, plan.cached.len() as u64);
                entries.extend(plan.cached);
            }
            if complete || limited {
                return Ok(limit.cut(entries));
            }
            if self.view.cuts() == plan.cuts {
                return Err(self.hole(&plan.disk, &entries));
            }
            // The log was truncated or purged between plan and read: look again.
        }
    }

    /// Reads the part that is no longer in memory.
    async fn read_behind(
        &self,
        range: Range<u64>,
        limit: ReadLimit,
    ) -> Result<Vec<Entry>, StoreError> {
        let this = self.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let entries = this.db.with(|db| {
                read_disk(db, this.keys, range, limit).map_err(|fatal| this.halt.stop(fatal))
            })?;
            add(&this.counters.log_reads_disk, entries.len() as u64);
            Ok(entries)
        });
        reading.await.unwrap_or_else(|_| Err(self.halt.closed()))
    }

    fn hole(&self, range: &Range<u64>, found: &[Entry]) -> StoreError {
        let indexes = |entry: Option<&Entry>| entry.map(|entry| entry.log_id.index);
        let (first, last) = (indexes(found.first()), indexes(found.last()));
        let detail = format!(
            "the log should have entries {}..{} and has {} of them ({first:?} to {last:?})",
            range.start,
            range.end,
            found.len()
        );
        self.halt.stop(Fatal::new(FatalCause::Damage, detail))
    }
}

/// Reads stored entries, checking each against its predecessor (the one before the range included,
/// if it is there).
fn read_disk(
    db: &DB,
    keys: Keys,
    range: Range<u64>,
    limit: ReadLimit,
) -> Result<Vec<Entry>, Fatal> {
    let from = keys.log(range.start.saturating_sub(1));
    let options = range_options(from, keys.log(range.end));
    let mut iterator = db.raw_iterator_cf_opt(family(db, LOG), options);
    let mut entries = Vec::new();
    let mut previous: Option<(u64, u32)> = None;
    let mut bytes = 0_usize;
    iterator.seek_to_first();
    while let Some((key, value)) = iterator.item() {
        let stored = decode(keys, key, value)?;
        let index = stored.entry.log_id.index;
        if let Some((before, chain)) = previous
            && (index != before + 1 || !stored.follows(chain))
        {
            return Err(broken(index));
        }
        previous = Some((index, stored.chain));
        if index >= range.start {
            bytes = bytes.saturating_add(cost(&stored.entry));
            entries.push(stored.entry);
            if bytes >= limit.bytes {
                break;
            }
        }
        iterator.next();
    }
    iterator.status().map_err(|error| read_fatal("log entries", &error))?;
    Ok(entries)
}

fn decode(keys: Keys, key: &[u8], value: &[u8]) -> Result<StoredEntry, Fatal> {
    let index = keys
        .log_index(key)
        .ok_or_else(|| Fatal::new(FatalCause::Damage, "a key in the log is not an index"))?;
    let stored = decode_record(bytes::Bytes::copy_from_slice(value))
        .map_err(|error| Fatal::new(FatalCause::Damage, format!("log entry {index}: {error}")))?;
    if stored.entry.log_id.index != index {
        let detail = format!("at {index} stands entry {}", stored.entry.log_id);
        return Err(Fatal::new(FatalCause::Damage, detail));
    }
    Ok(stored)
}

fn broken(index: u64) -> Fatal {
    Fatal::new(FatalCause::Damage, format!("log entry {index} does not follow the one before it"))
}

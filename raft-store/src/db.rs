//! RocksDB as this store uses it: options, column families, keys, and a handle that can be closed.
//!
//! What does not live here: what is written (`writer`), and what is checked at open (`inspect`).

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBRecoveryMode, ErrorKind,
    InfoLogger, LogLevel, Options, ReadOptions,
};

use crate::error::{Fatal, FatalCause, StoreError};
use crate::limits;
use crate::types::GroupId;

/// Log entries, by index.
pub(crate) const LOG: &str = "log";
/// Vote, purge, committed, state position, membership, identity.
pub(crate) const META: &str = "meta";
/// One row per live entity, by generation and the machine's key.
pub(crate) const STATE: &str = "state";
/// Finished contacts and closed intervals, by the machine's key.
pub(crate) const HISTORY: &str = "history";
/// RocksDB insists on one of this name; nothing is in it.
const DEFAULT: &str = "default";

const FAMILIES: [&str; 5] = [DEFAULT, LOG, META, STATE, HISTORY];

/// Whether RocksDB may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Create the database; it must not exist.
    Create,
    /// Open it for work.
    Work,
    /// Look without changing a byte, so that a damaged directory stays as it was found.
    Look,
}

/// How much memory RocksDB may use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EngineMemory {
    pub(crate) write_buffer_bytes: usize,
    pub(crate) block_cache_bytes: usize,
}

/// RocksDB's own latest warnings and errors, bounded.
#[derive(Debug, Clone, Default)]
pub(crate) struct EngineWarnings(Arc<Mutex<VecDeque<String>>>);

impl EngineWarnings {
    fn note(&self, line: &str) {
        let mut kept = self.0.lock();
        if kept.len() == limits::ENGINE_WARNINGS {
            kept.pop_front();
        }
        kept.push_back(line.to_owned());
    }

    /// The first kept line that contains `text`.
    pub(crate) fn find(&self, text: &str) -> Option<String> {
        self.0.lock().iter().find(|line| line.contains(text)).cloned()
    }

    /// Why a compaction found a table damaged, if one did. RocksDB says so before it counts the error
    /// (`BackgroundCompaction` in `db/db_impl/db_impl_compaction_flush.cc` of RocksDB 11.8.1).
    pub(crate) fn compaction_damage(&self) -> Option<String> {
        self.find("Compaction error: Corruption")
    }

    /// The last kept lines, for an error message.
    pub(crate) fn latest(&self) -> String {
        let kept = self.0.lock();
        let from = kept.len().saturating_sub(limits::ENGINE_WARNINGS_SHOWN);
        kept.iter().skip(from).cloned().collect::<Vec<_>>().join("; ")
    }
}

/// Opens the database.
pub(crate) fn open(
    path: &Path,
    access: Access,
    memory: EngineMemory,
    warnings: &EngineWarnings,
) -> Result<DB, rocksdb::Error> {
    let mut options = database_options(memory, warnings);
    let cache = Cache::new_lru_cache(memory.block_cache_bytes);
    let families = FAMILIES
        .map(|name| ColumnFamilyDescriptor::new(name, family_options(name, memory, &cache)));
    match access {
        Access::Create => {
            options.create_if_missing(true);
            options.create_missing_column_families(true);
            options.set_error_if_exists(true);
            DB::open_cf_descriptors(&options, path, families)
        }
        Access::Work => DB::open_cf_descriptors(&options, path, families),
        Access::Look => DB::open_cf_descriptors_read_only(&options, path, families, false),
    }
}

fn database_options(memory: EngineMemory, warnings: &EngineWarnings) -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    // Point in time: replay the write-ahead log up to the first record that is not whole, and take
    // what comes before as the state. The stricter mode (absolute consistency) would refuse every
    // power loss that tore the last, never acknowledged write; the laxer ones skip holes. What
    // point-in-time alone cannot tell is a torn tail from rot in the middle: our synced-through
    // mark does (`mark`), because everything below it must be there.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    // A write-ahead log that was closed and synced, and is missing or short, is refused by RocksDB.
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_db_write_buffer_size(memory.write_buffer_bytes);
    // Without this bound, a family that is seldom written (`meta`) would hold back old logs, and the
    // time of recovery would grow.
    options.set_max_total_wal_size(limits::WAL_BYTES as u64);
    options.set_max_open_files(limits::OPEN_FILES);
    options.set_max_background_jobs(limits::BACKGROUND_JOBS);
    options.set_info_logger(warning_logger(warnings));
    options
}

fn family_options(name: &str, memory: EngineMemory, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // Index and filter blocks count in the cache, so that memory stays bounded as history grows.
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if name == STATE || name == META {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(memory.write_buffer_bytes / 4);
    options.set_max_write_buffer_number(2);
    options.set_target_file_size_base(8 * 1024 * 1024);
    options.set_max_bytes_for_level_base(32 * 1024 * 1024);
    options
}

/// Sends RocksDB's warnings to our log and keeps the latest ones for reports. RocksDB writes no log
/// file of its own.
fn warning_logger(warnings: &EngineWarnings) -> InfoLogger {
    let warnings = warnings.clone();
    InfoLogger::new_callback_logger(LogLevel::Warn, move |level, message| {
        // The list of all options, at every opening, comes whatever the level, as "info".
        if !matches!(level, LogLevel::Warn | LogLevel::Error | LogLevel::Fatal) {
            return;
        }
        tracing::warn!(target: "tandem_raft_store::rocksdb", "{}", message.trim_end());
        warnings.note(message.trim_end());
    })
}

/// A database that several owners share and one of them can close.
#[derive(Debug)]
pub(crate) struct Db {
    slot: RwLock<Option<DB>>,
}

impl Db {
    pub(crate) fn new(db: DB) -> Self {
        Self { slot: RwLock::new(Some(db)) }
    }

    /// Runs `work` on the open database. Recursive read lock: a caller may already be inside.
    pub(crate) fn with<R, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&DB) -> Result<R, E>,
    ) -> Result<R, E> {
        match self.slot.read_recursive().as_ref() {
            Some(db) => work(db),
            None => Err(StoreError::Closed.into()),
        }
    }

    /// Ends the wait of whoever writes. A writer who is ahead of the flushes waits inside RocksDB, and if a
    /// full disk keeps it from flushing, it waits until there is space: for ever, and deaf to our
    /// own stop. For a store that has stopped: no flush begins after this.
    pub(crate) fn release_writers(&self) {
        if let Some(db) = self.slot.read_recursive().as_ref() {
            db.cancel_all_background_work(false);
        }
    }

    /// Closes the database, after everybody who works on it is done.
    pub(crate) fn close(&self) {
        if let Some(db) = self.slot.write().take() {
            db.cancel_all_background_work(true);
        }
    }
}

/// The handle of a column family, which `open` made sure of.
pub(crate) fn family<'a>(db: &'a DB, name: &str) -> &'a ColumnFamily {
    db.cf_handle(name).expect("every column family is opened with the database")
}

/// Reads of ranges: the bounds keep an iterator from walking over deleted neighbours.
pub(crate) fn range_options(from: Vec<u8>, to: Vec<u8>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    options
}

/// A read error of a running store: whatever could not be read back is damage.
pub(crate) fn read_fatal(what: &str, error: &rocksdb::Error) -> Fatal {
    Fatal::new(FatalCause::Damage, format!("reading {what}: {error}"))
}

/// A write error of a running store. RocksDB refuses writes with the reason for which its background
/// work stopped: if that met damage, the write is not to blame, and starting again does not help.
pub(crate) fn write_fatal(error: &rocksdb::Error) -> Fatal {
    match error.kind() {
        ErrorKind::Corruption => background_damage(error.as_ref()),
        _ => Fatal::new(FatalCause::Write, error.to_string()),
    }
}

/// RocksDB's background work met damage, in RocksDB's words.
pub(crate) fn background_damage(reason: &str) -> Fatal {
    Fatal::new(FatalCause::Damage, format!("background work of RocksDB: {reason}"))
}

/// Keys, all with the group in front so that one database can hold several groups later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keys {
    group: [u8; 2],
}

impl Keys {
    pub(crate) fn new(group: GroupId) -> Self {
        Self { group: group.0.to_be_bytes() }
    }

    fn prefixed(&self, rest: &[u8]) -> Vec<u8> {
        [&self.group[..], rest].concat()
    }

    /// Key of a log entry.
    pub(crate) fn log(&self, index: u64) -> Vec<u8> {
        self.prefixed(&index.to_be_bytes())
    }

    /// Index of a log entry's key.
    pub(crate) fn log_index(&self, key: &[u8]) -> Option<u64> {
        let index = key.strip_prefix(&self.group)?;
        Some(u64::from_be_bytes(index.try_into().ok()?))
    }

    /// The first key behind all log entries of this group.
    pub(crate) fn log_end(&self) -> Vec<u8> {
        [&self.log(u64::MAX)[..], &[0]].concat()
    }

    /// Key of a record in `meta`.
    pub(crate) fn meta(&self, record: MetaRecord) -> Vec<u8> {
        self.prefixed(&[record as u8])
    }

    /// Key of a live row.
    pub(crate) fn row(&self, generation: u32, key: &[u8]) -> Vec<u8> {
        self.prefixed(&[&generation.to_be_bytes()[..], key].concat())
    }

    /// The machine's key of a live row.
    pub(crate) fn row_key<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(&self.group)?.get(size_of::<u32>()..)
    }

    /// All rows of one generation, as a half-open range.
    pub(crate) fn generation(&self, generation: u32) -> (Vec<u8>, Vec<u8>) {
        let end = match generation.checked_add(1) {
            Some(next) => self.row(next, &[]),
            None => self.group_end(),
        };
        (self.row(generation, &[]), end)
    }

    /// Key of a history row.
    pub(crate) fn history(&self, key: &[u8]) -> Vec<u8> {
        self.prefixed(key)
    }

    /// The machine's key of a history row.
    pub(crate) fn history_key<'k>(&self, key: &'k [u8]) -> Option<&'k [u8]> {
        key.strip_prefix(&self.group)
    }

    /// The first key behind everything of this group.
    pub(crate) fn group_end(&self) -> Vec<u8> {
        match u16::from_be_bytes(self.group).checked_add(1) {
            Some(next) => next.to_be_bytes().to_vec(),
            // Behind any key of the last group.
            None => vec![0xff; limits::ROW_KEY_BYTES + 16],
        }
    }
}

/// Records of `meta`. The numbers are on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum MetaRecord {
    Identity = 1,
    Vote = 2,
    Purge = 3,
    Committed = 4,
    State = 5,
    Membership = 6,
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: keys sort by group, then by index or generation, and ranges end before the neighbour.
    #[test]
    fn keys_sort_and_ranges_are_tight() {
        let (zero, one) = (Keys::new(GroupId(0)), Keys::new(GroupId(1)));
        assert!(zero.log(255) < zero.log(256));
        assert!(zero.log(u64::MAX) < zero.log_end() && zero.log_end() < one.log(0));
        let (from, to) = zero.generation(7);
        assert!(from <= zero.row(7, b"") && zero.row(7, &[0xff; 40]) < to);
        assert!(to <= zero.row(8, b""));
        let (_, last) = zero.generation(u32::MAX);
        assert!(zero.row(u32::MAX, b"x") < last && last < one.row(0, b""));
        assert!(zero.history(&[0xff; 9]) < zero.group_end());
        assert_eq!(zero.group_end(), one.history(b""));
    }

    // Goal: a key gives back what it was made of, and one of another group is not taken.
    #[test]
    fn keys_are_read_back() {
        let (zero, one) = (Keys::new(GroupId(0)), Keys::new(GroupId(1)));
        assert_eq!(zero.log_index(&zero.log(77)), Some(77));
        assert_eq!(zero.log_index(&one.log(77)), None);
        assert_eq!(zero.row_key(&zero.row(3, b"agent")), Some(&b"agent"[..]));
        assert_eq!(zero.history_key(&zero.history(b"h")), Some(&b"h"[..]));
    }
}

//! What is checked before a node may run on what it finds: nothing is changed while looking.
//!
//! 1. the copy of the identity in the database fits the marker;
//! 2. every record decodes;
//! 3. the log has no hole, and every entry follows the one before it (chain);
//! 4. log, vote and purge are at least what the synced-through mark says;
//! 5. positions fit each other (purged <= applied, committed <= log);
//! 6. the rows load, and their digest is the one that was written with them.
//!
//! Any misfit is [`crate::Damage`], with its place.

use std::path::Path;

use bytes::Bytes;
use rocksdb::{DB, ErrorKind};

use crate::db::{Keys, LOG, META, MetaRecord, STATE, family, range_options};
use crate::error::{Damage, DamagedPart, OpenError};
use crate::format::FormatError;
use crate::format::entry::{GENESIS_CHAIN, decode_record};
use crate::format::identity::{Identity, decode_identity};
use crate::format::mark::{LogPoint, MarkValue};
use crate::format::records::{
    PurgeRecord, StateRecord, decode_committed, decode_purge, decode_state,
    decode_stored_membership, decode_vote,
};
use crate::log_view::LogView;
use crate::machine::{Machine, Row, RowsInterrupted};
use crate::types::{Entry, LogId, StoredMembership, Vote};

/// Everything that was found, and found in order.
pub(crate) struct Found<M> {
    pub(crate) machine: M,
    pub(crate) state: StateRecord,
    pub(crate) membership: StoredMembership,
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<PurgeRecord>,
    /// The last entry, or the purge position if nothing is behind it.
    pub(crate) tail: Option<LogPoint>,
    pub(crate) log_entries: u64,
    pub(crate) log_bytes: u64,
    pub(crate) rows: u64,
    /// Rows of another generation are there: an installation was interrupted.
    pub(crate) stray_generations: bool,
}

/// Looks at an open database.
pub(crate) struct Inspection<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) db: &'a DB,
    pub(crate) keys: Keys,
    pub(crate) identity: &'a Identity,
    pub(crate) mark: MarkValue,
}

/// What reading the log through found.
struct LogFound {
    tail: Option<LogPoint>,
    entries: u64,
    bytes: u64,
    at_mark: Option<LogPoint>,
    at_applied: Option<LogId>,
}

impl Inspection<'_> {
    /// Does all checks. `view` gets the newest entries on the way.
    pub(crate) fn run<M: Machine>(&self, view: &LogView) -> Result<Found<M>, OpenError> {
        self.check_identity()?;
        let vote = self.record(MetaRecord::Vote, DamagedPart::Vote, "vote", decode_vote)?;
        let purged =
            self.record(MetaRecord::Purge, DamagedPart::Purge, "purge record", decode_purge)?;
        let committed = self
            .record(MetaRecord::Committed, DamagedPart::Log, "committed", decode_committed)?
            .flatten();
        let state = self.needed(MetaRecord::State, "state position", decode_state)?;
        let membership =
            self.needed(MetaRecord::Membership, "membership", decode_stored_membership)?;

        let purged_id = purged.map(|purged| purged.log_id);
        view.start(purged_id, vote, committed);
        let log = self.check_log(purged, state.applied, view)?;
        self.check_mark(vote, purged, &log)?;
        check_positions(purged_id, &state, committed, &log)?;
        let (machine, rows, stray_generations) = self.check_rows::<M>(&state)?;
        Ok(Found {
            machine,
            state,
            membership,
            vote,
            committed,
            purged,
            tail: log.tail,
            log_entries: log.entries,
            log_bytes: log.bytes,
            rows,
            stray_generations,
        })
    }

    fn check_identity(&self) -> Result<(), OpenError> {
        let copy =
            self.record(MetaRecord::Identity, DamagedPart::Identity, "identity", decode_identity)?;
        let wrong = |detail: String| Damage::new(DamagedPart::Identity, "meta/identity", detail);
        match copy {
            None => Err(wrong("the database has no identity".into()).into()),
            Some(copy) if copy.identity != *self.identity => {
                let (node, disk) = (copy.identity.node, copy.identity.disk);
                let detail = format!(
                    "the database belongs to node {node} on disk {disk}, the marker to node {} on \
                     disk {}: they were not written together",
                    self.identity.node, self.identity.disk
                );
                Err(wrong(detail).into())
            }
            Some(_) => Ok(()),
        }
    }

    /// Reads and decodes a record of `meta`.
    fn record<T>(
        &self,
        record: MetaRecord,
        part: DamagedPart,
        what: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, FormatError>,
    ) -> Result<Option<T>, OpenError> {
        let found = self.db.get_cf(family(self.db, META), self.keys.meta(record));
        let Some(bytes) = found.map_err(|error| engine_error(self.dir, &error))? else {
            return Ok(None);
        };
        let place = format!("meta/{what}");
        decode(&bytes)
            .map(Some)
            .map_err(|error| OpenError::from_format(self.dir, part, place, error))
    }

    fn needed<T>(
        &self,
        record: MetaRecord,
        what: &str,
        decode: impl FnOnce(&[u8]) -> Result<T, FormatError>,
    ) -> Result<T, OpenError> {
        self.record(record, DamagedPart::Rows, what, decode)?.ok_or_else(|| {
            Damage::new(DamagedPart::Rows, format!("meta/{what}"), "the record is missing").into()
        })
    }

    /// Reads the log from front to end.
    fn check_log(
        &self,
        purged: Option<PurgeRecord>,
        applied: Option<LogId>,
        view: &LogView,
    ) -> Result<LogFound, OpenError> {
        let mut chain = purged.map_or(GENESIS_CHAIN, |purged| purged.chain);
        let mut expected = purged.map(|purged| purged.log_id.index + 1);
        let mut tail = purged.map(|purged| LogPoint { log_id: purged.log_id, chain });
        let mut found = LogFound { tail, entries: 0, bytes: 0, at_mark: None, at_applied: None };
        let options = range_options(self.keys.log(0), self.keys.log_end());
        let mut iterator = self.db.raw_iterator_cf_opt(family(self.db, LOG), options);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            let (entry, next) = self.check_entry(key, value, expected, chain)?;
            chain = next;
            let point = LogPoint { log_id: entry.log_id, chain };
            let index = entry.log_id.index;
            expected = Some(index.saturating_add(1));
            tail = Some(point);
            found.entries += 1;
            found.bytes += value.len() as u64;
            if self.mark.last.is_some_and(|mark| mark.log_id.index == index) {
                found.at_mark = tail;
            }
            if applied.is_some_and(|applied| applied.index == index) {
                found.at_applied = Some(entry.log_id);
            }
            view.restore(entry);
            iterator.next();
        }
        iterator.status().map_err(|error| engine_error(self.dir, &error))?;
        found.tail = tail;
        Ok(found)
    }

    fn check_entry(
        &self,
        key: &[u8],
        value: &[u8],
        expected: Option<u64>,
        chain: u32,
    ) -> Result<(Entry, u32), OpenError> {
        let damage = |place: String, detail: String| Damage::new(DamagedPart::Log, place, detail);
        let Some(index) = self.keys.log_index(key) else {
            return Err(damage("log".into(), "a key is not an index".into()).into());
        };
        let place = format!("index {index}");
        if let Some(expected) = expected
            && expected != index
        {
            let detail = format!("entry {expected} should be here");
            return Err(damage(place, detail).into());
        }
        let stored = decode_record(Bytes::copy_from_slice(value)).map_err(|error| {
            OpenError::from_format(self.dir, DamagedPart::Log, place.clone(), error)
        })?;
        if stored.entry.log_id.index != index {
            let detail = format!("entry {} stands here", stored.entry.log_id);
            return Err(damage(place, detail).into());
        }
        if !stored.follows(chain) {
            let detail = "the entry does not follow the one before it: bits were changed, or an \
                entry is missing or was put in another's place";
            return Err(damage(place, detail.into()).into());
        }
        Ok((stored.entry, stored.chain))
    }

    /// Compares with what was certainly on disk.
    fn check_mark(
        &self,
        vote: Option<Vote>,
        purged: Option<PurgeRecord>,
        log: &LogFound,
    ) -> Result<(), OpenError> {
        let damage = |part, place: &str, detail| Err(Damage::new(part, place, detail).into());
        if let Some(promised) = self.mark.vote
            && vote.is_none_or(|vote| vote < promised)
        {
            let detail = format!("{} is on record, {promised} was synced", text(vote));
            return damage(DamagedPart::Vote, "meta/vote", detail);
        }
        let purged_index = purged.map(|purged| purged.log_id.index);
        if let Some(promised) = self.mark.purged
            && purged_index.is_none_or(|index| index < promised.index)
        {
            let found = text(purged.map(|purged| purged.log_id));
            let detail =
                format!("the log is cut up to {found}, it was synced as cut up to {promised}");
            return damage(DamagedPart::Purge, "meta/purge record", detail);
        }
        let Some(promised) = self.mark.last else { return Ok(()) };
        let promised_index = promised.log_id.index;
        if purged_index.is_some_and(|index| index > promised_index) {
            return Ok(());
        }
        let found = match purged {
            Some(purged) if purged.log_id.index == promised_index => {
                Some(LogPoint { log_id: purged.log_id, chain: purged.chain })
            }
            _ => log.at_mark,
        };
        match found {
            Some(found) if found == promised => Ok(()),
            Some(found) => {
                let detail = format!(
                    "entry {} (chain {:08x}) stands where {} (chain {:08x}) was synced",
                    found.log_id, found.chain, promised.log_id, promised.chain
                );
                damage(DamagedPart::Log, &format!("index {promised_index}"), detail)
            }
            None => {
                let end = text(log.tail.map(|tail| tail.log_id));
                let detail =
                    format!("the log ends at {end}, it was synced up to {}", promised.log_id);
                damage(DamagedPart::Log, "the end of the log", detail)
            }
        }
    }

    /// Loads the rows and compares the digest.
    fn check_rows<M: Machine>(&self, state: &StateRecord) -> Result<(M, u64, bool), OpenError> {
        let (from, to) = self.keys.generation(state.generation);
        let mut iterator =
            self.db.raw_iterator_cf_opt(family(self.db, STATE), range_options(from, to));
        iterator.seek_to_first();
        let mut rows = RowsOnDisk { iterator, keys: self.keys, count: 0, failure: None };
        let loaded = M::load(&mut rows);
        while rows.next().is_some_and(|row| row.is_ok()) {}
        if let Some(failure) = rows.failure {
            return Err(engine_error(self.dir, &failure));
        }
        let count = rows.count;
        drop(rows);
        let machine = loaded.map_err(|error| OpenError::Rows {
            dir: self.dir.to_path_buf(),
            source: Box::new(error),
        })?;
        if machine.digest() != state.digest {
            let detail = format!(
                "the {count} rows at {} have digest {}, {} was written with them",
                text(state.applied),
                hex(&machine.digest()),
                hex(&state.digest)
            );
            return Err(Damage::new(DamagedPart::Rows, "state", detail).into());
        }
        let strays = self.stray_generations(state.generation)?;
        Ok((machine, count, strays))
    }

    fn stray_generations(&self, generation: u32) -> Result<bool, OpenError> {
        let (from, to) = self.keys.generation(generation);
        let (first, end) = (self.keys.row(0, &[]), self.keys.group_end());
        for (from, to) in [(first, from), (to, end)] {
            let options = range_options(from, to);
            let mut rows = self.db.raw_iterator_cf_opt(family(self.db, STATE), options);
            rows.seek_to_first();
            if rows.valid() {
                return Ok(true);
            }
            rows.status().map_err(|error| engine_error(self.dir, &error))?;
        }
        Ok(false)
    }
}

/// Positions that no order of crashes can produce are damage.
fn check_positions(
    purged: Option<LogId>,
    state: &StateRecord,
    committed: Option<LogId>,
    log: &LogFound,
) -> Result<(), OpenError> {
    let index = |id: Option<LogId>| id.map(|id| id.index);
    let tail = log.tail.map(|tail| tail.log_id);
    if index(purged) > index(state.applied) {
        let detail = format!(
            "the log is cut up to {}, and the rows only go to {}: entries between are lost",
            text(purged),
            text(state.applied)
        );
        return Err(Damage::new(DamagedPart::Purge, "meta/purge record", detail).into());
    }
    if index(committed) > index(tail).max(index(state.applied)) {
        let detail =
            format!("{} was committed here, and the log ends at {}", text(committed), text(tail));
        return Err(Damage::new(DamagedPart::Log, "meta/committed", detail).into());
    }
    if let (Some(applied), Some(in_log)) = (state.applied, log.at_applied)
        && applied != in_log
    {
        let detail = format!("the rows go to {applied}, the log has {in_log} there");
        return Err(Damage::new(DamagedPart::Rows, "meta/state position", detail).into());
    }
    Ok(())
}

struct RowsOnDisk<'a> {
    iterator: rocksdb::DBRawIterator<'a>,
    keys: Keys,
    count: u64,
    failure: Option<rocksdb::Error>,
}

impl Iterator for RowsOnDisk<'_> {
    type Item = Result<Row, RowsInterrupted>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some((key, value)) = self.iterator.item() {
            let row = (self.keys.row_key(key).unwrap_or_default().to_vec(), value.to_vec());
            self.count += 1;
            self.iterator.next();
            return Some(Ok(row));
        }
        match (self.iterator.status(), &self.failure) {
            (Err(error), None) => {
                self.failure = Some(error);
                Some(Err(RowsInterrupted))
            }
            _ => None,
        }
    }
}

/// Tells damage from a lack of resources in RocksDB's errors. A directory that was whole once and
/// cannot be read now is damaged, whatever RocksDB calls it, unless the system is to blame.
pub(crate) fn engine_error(dir: &Path, error: &rocksdb::Error) -> OpenError {
    const SYSTEM: [&str; 8] = [
        "No space left",
        "Permission denied",
        "Too many open files",
        "Read-only file system",
        "Input/output error",
        "Cannot allocate memory",
        "While lock file",
        "lock hold by current process",
    ];
    let message = error.to_string();
    let system = SYSTEM.iter().any(|text| message.contains(text));
    if system && error.kind() != ErrorKind::Corruption {
        return OpenError::Engine { path: dir.to_path_buf(), message };
    }
    Damage::new(DamagedPart::Engine, "db", message).into()
}

fn text<T: std::fmt::Display>(value: Option<T>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| value.to_string())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

//! Reads everything on disk, so that rot is found before a crash makes it matter. RocksDB checks
//! the checksum of every block that it reads; the log's chain is checked on top.

use bytes::Bytes;
use rocksdb::DB;

use crate::db::{HISTORY, Keys, LOG, META, MetaRecord, STATE, family, range_options, read_fatal};
use crate::error::{Fatal, FatalCause};
use crate::format::entry::{GENESIS_CHAIN, decode_record};
use crate::format::records::decode_purge;

/// What a scrub read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScrubReport {
    /// Log entries.
    pub log_entries: u64,
    /// Live rows.
    pub rows: u64,
    /// History rows.
    pub history_rows: u64,
    /// Bytes of all of them.
    pub bytes: u64,
}

/// Looks at a key and its value.
type Each<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), Fatal> + 'a;

/// Reads everything in one consistent view.
pub(crate) fn run(db: &DB, keys: Keys) -> Result<ScrubReport, Fatal> {
    let mut report = ScrubReport::default();
    let view = db.snapshot();
    let damage = |detail: String| Fatal::new(FatalCause::Damage, detail);

    let purge = view.get_cf(family(db, META), keys.meta(MetaRecord::Purge));
    let purge = purge.map_err(|error| read_fatal("the purge record", &error))?;
    let purge = purge.map(|bytes| decode_purge(&bytes)).transpose();
    let purge = purge.map_err(|error| damage(error.to_string()))?;
    let mut chain = purge.map_or(GENESIS_CHAIN, |purge| purge.chain);
    let mut entries = 0;
    let mut walk = |name: &str, each: &mut Each<'_>| {
        let mut count = 0;
        let mut options = range_options(keys.history(&[]), keys.group_end());
        options.fill_cache(false);
        let mut iterator = view.raw_iterator_cf_opt(family(db, name), options);
        iterator.seek_to_first();
        while let Some((key, value)) = iterator.item() {
            each(key, value)?;
            count += 1;
            report.bytes += (key.len() + value.len()) as u64;
            iterator.next();
        }
        iterator.status().map_err(|error| read_fatal(name, &error))?;
        Ok::<u64, Fatal>(count)
    };
    walk(LOG, &mut |key, value| {
        let index = keys.log_index(key).unwrap_or_default();
        let stored = decode_record(Bytes::copy_from_slice(value))
            .map_err(|error| damage(format!("log entry {index}: {error}")))?;
        if stored.entry.log_id.index != index || !stored.follows(chain) {
            return Err(damage(format!("log entry {index} does not follow the one before it")));
        }
        chain = stored.chain;
        entries += 1;
        Ok(())
    })?;
    let rows = walk(STATE, &mut |_, _| Ok(()))?;
    let history_rows = walk(HISTORY, &mut |_, _| Ok(()))?;
    walk(META, &mut |_, _| Ok(()))?;
    Ok(ScrubReport { log_entries: entries, rows, history_rows, ..report })
}

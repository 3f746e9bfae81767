//! Damage everywhere: single bits flipped, files cut, zeroed and removed. Each is refused with a typed
//! error, or harmless: the opened store has the same log, vote, state and history. Never silent
//! divergence, never a panic, and a refused directory is left as it was found.
//!
//! A failure prints file and position; `TANDEM_SEED=n` runs the sweep with that seed.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use tandem_raft_store::{
    Entry, Expected, Fatal, FatalCause, LogId, NoObserver, OpenError, Row, Start, StoreError, Vote,
};

use crate::kit::stores::{open_with, options};
use crate::kit::{
    CLUSTER, Command, Rng, TestStore, append, apply, apply_log, commands, copy_dir, create, resume,
    table_digest, try_resume, vote, wait_until,
};
use crate::opening::contents;

/// Entries of the damaged store.
const ENTRIES: u64 = 240;
/// How far they are applied and purged.
const APPLIED: u64 = 219;
const PURGED: u64 = 79;

/// What an undamaged store has.
struct Baseline {
    dir: PathBuf,
    log: Vec<Entry>,
    vote: Vote,
    digest: [u8; 16],
    history: Vec<Row>,
}

fn entry_at(index: u64) -> Entry {
    let key = format!("contact-{:03}", index % 70);
    let value = format!("waiting since {index}, {}", "z".repeat((index * 37 % 200) as usize));
    let put = Command::put(key.clone(), value);
    let batch = if index % 5 == 4 { vec![put, Command::Finish(key.into())] } else { vec![put] };
    commands(1 + index / 100, index, &batch)
}

/// Several sessions, so that there are tables, manifests and a write-ahead log with content.
async fn baseline(dir: &Path) -> Baseline {
    let all: Vec<Entry> = (0..ENTRIES).map(entry_at).collect();
    let mut store = create(dir);
    let mut next = 0;
    for (session, through) in [60, 120, 180, ENTRIES].into_iter().enumerate() {
        if session > 0 {
            store = resume(dir);
        }
        append(&mut store.log, all[next as usize..through as usize].to_vec())
            .await
            .expect("a healthy disk");
        store.log.save_vote(&vote(session as u64 + 1, 1)).await.expect("a healthy disk");
        let applied = through.min(APPLIED + 1) - 1;
        store.log.save_committed(Some(all[applied as usize].log_id)).await.expect("healthy");
        apply_log(&mut store, applied).await;
        if session == 1 {
            let mut builder = store.machine.get_snapshot_builder().await;
            builder.build_snapshot().await.expect("a healthy disk");
        }
        if session == 2 {
            let upto: LogId = all[PURGED as usize].log_id;
            store.log.purge(upto).await.expect("a healthy disk");
        }
        if through < ENTRIES {
            store.handle.close().await.expect("an orderly stop");
        }
        next = through;
    }
    store.handle.settle().await.expect("a healthy disk");
    let history = store.handle.history_page(None, 10_000).expect("readable");
    assert!(history.len() > 30, "too little history to prove anything");
    let digest = store.handle.digest().1;
    assert_eq!(digest, table_digest(&all[..=APPLIED as usize]));
    store.handle.close().await.expect("an orderly stop");
    let log = all[PURGED as usize + 1..].to_vec();
    Baseline { dir: dir.to_path_buf(), log, vote: vote(4, 1), digest, history }
}

/// What became of a damaged copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// Refused at open, with a typed error.
    Refused,
    /// Opened, and reading the damaged part, by this test or a compaction, failed with a typed error.
    FoundWhenRead,
    /// Opened, and nothing is missing.
    Harmless,
}

/// Opens a damaged copy and judges.
async fn judge(baseline: &Baseline, dir: &Path, what: &str) -> Outcome {
    let before = contents(dir);
    match try_resume(dir) {
        Err(refused) => {
            assert_typed(&refused, what);
            assert!(before == contents(dir), "{what}: the refused directory was changed");
            Outcome::Refused
        }
        Ok(mut store) => {
            let outcome = judge_opened(baseline, &mut store, what).await;
            // Stopped by the damage that was found, or in order.
            drop(store.handle.close().await);
            outcome
        }
    }
}

fn assert_typed(refused: &OpenError, what: &str) {
    let fits = matches!(
        refused,
        OpenError::Damaged(_)
            | OpenError::NewerFormat { .. }
            | OpenError::NoStore { .. }
            | OpenError::Unfinished { .. }
            | OpenError::Backup { .. }
            | OpenError::Rows { .. }
    );
    assert!(fits, "{what}: refused for the wrong reason: {refused:?}");
    assert!(refused.to_string().split("; ").count() >= 3, "{what}: unclear: {refused}");
}

async fn judge_opened(baseline: &Baseline, store: &mut TestStore, what: &str) -> Outcome {
    if let Err(error) = read_checked(baseline, store, what).await {
        // Log, vote and rows were checked at open, so reading them finds nothing. A compaction may meet
        // damage in what nobody reads any more (purged entries, old rows), at any moment.
        let fatal = assert_found(store, what);
        assert!(fatal.detail.starts_with("background work"), "{what}: {error}");
        return Outcome::FoundWhenRead;
    }
    match read_history(baseline, store, what) {
        Ok(()) => Outcome::Harmless,
        Err(_) => {
            assert_found(store, what);
            Outcome::FoundWhenRead
        }
    }
}

/// Reads what was checked at open.
async fn read_checked(
    baseline: &Baseline,
    store: &mut TestStore,
    what: &str,
) -> std::io::Result<()> {
    let mut reader = store.log.get_log_reader().await;
    let log = reader.try_get_log_entries(PURGED + 1..).await?;
    assert!(log == baseline.log, "{what}: the log diverged in silence");
    let found_vote = reader.read_vote().await?;
    assert_eq!(found_vote, Some(baseline.vote), "{what}: the vote diverged in silence");
    let (applied, _) = store.machine.applied_state().await?;
    let from = applied.map_or(0, |applied| applied.index + 1);
    let behind = log.into_iter().filter(|entry| (from..=APPLIED).contains(&entry.log_id.index));
    apply(&mut store.machine, behind.collect()).await?;
    assert_eq!(store.handle.digest().1, baseline.digest, "{what}: the state diverged in silence");
    Ok(store.handle.settle().await?)
}

/// Reads what is not read at open: damage shows here, as an error.
fn read_history(baseline: &Baseline, store: &TestStore, what: &str) -> Result<(), StoreError> {
    let history = store.handle.history_page(None, 10_000)?;
    store.handle.scrub()?;
    assert!(history == baseline.history, "{what}: the history diverged in silence");
    Ok(())
}

/// The store stopped, and says that it is for damage.
fn assert_found(store: &TestStore, what: &str) -> Arc<Fatal> {
    let fatal = store.handle.fatal().unwrap_or_else(|| panic!("{what}: it did not stop"));
    assert_eq!(fatal.cause, FatalCause::Damage, "{what}: {fatal}");
    fatal
}

fn seed() -> u64 {
    let given = std::env::var("TANDEM_SEED").ok().map(|text| text.parse().expect("a number"));
    given.unwrap_or(0xf11b)
}

/// The kind of a file by its name.
fn kind(name: &str) -> &'static str {
    match name {
        "IDENTITY" => "identity",
        "MARK" => "mark",
        "db/CURRENT" => "current",
        "db/IDENTITY" => "engine identity",
        _ if name.ends_with(".log") => "write-ahead log",
        _ if name.ends_with(".sst") => "table",
        _ if name.starts_with("db/MANIFEST") => "manifest",
        _ if name.starts_with("db/OPTIONS") => "options",
        _ if name.starts_with("snapshots/") => "snapshot",
        _ => "other",
    }
}

fn flips(kind: &str) -> u64 {
    match kind {
        "write-ahead log" => 110,
        "manifest" => 70,
        "table" => 12,
        "identity" | "mark" | "current" => 24,
        "snapshot" => 16,
        _ => 3,
    }
}

type Tally = BTreeMap<(&'static str, Outcome), u32>;

fn count(tally: &Tally, kind: &'static str, outcome: Outcome) -> u32 {
    tally.get(&(kind, outcome)).copied().unwrap_or(0)
}

// Goal: any single flipped bit, anywhere in a data directory, is found or harmless.
#[tokio::test]
async fn flipped_bits_are_found_or_harmless() {
    let seed = seed();
    println!("seed {seed}: run again with TANDEM_SEED={seed}");
    let root = tempfile::tempdir().expect("a directory");
    let baseline = baseline(&root.path().join("whole")).await;
    let mut rng = Rng::new(seed);
    let mut tally = Tally::new();
    for (name, bytes) in contents(&baseline.dir) {
        let kind = kind(&name);
        for _ in 0..flips(kind).min(bytes.len() as u64 * 8) {
            let bit = rng.below(bytes.len() as u64 * 8) as usize;
            let what = format!("seed {seed}: bit {} of byte {} of {name}", bit % 8, bit / 8);
            let dir = root.path().join("damaged");
            copy_dir(&baseline.dir, &dir);
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(dir.join(&name), damaged).expect("writable");
            let outcome = judge(&baseline, &dir, &what).await;
            *tally.entry((kind, outcome)).or_default() += 1;
            fs::remove_dir_all(&dir).expect("removable");
        }
    }
    println!("flips by file and outcome: {tally:#?}");
    for kind in ["write-ahead log", "manifest", "table", "identity", "current"] {
        let refused = count(&tally, kind, Outcome::Refused);
        assert!(refused > 0, "no damaged {kind} was ever refused: the sweep proves nothing");
    }
    // Bytes of the marker all count; a mark has a second slot.
    assert_eq!(count(&tally, "identity", Outcome::Harmless), 0);
    assert_eq!(count(&tally, "mark", Outcome::Refused), 0, "one rotten slot is no damage");
}

// Goal: a compaction that meets damage stops the store as damage (whose advice is to replace the node),
// and not as a disk that may be tried again; whether the mark's thread or a write hears of it first.
#[tokio::test]
async fn damage_that_a_compaction_meets_is_called_damage() {
    let root = tempfile::tempdir().expect("a directory");
    let baseline = baseline(&root.path().join("whole")).await;
    for (name, mark_interval) in
        [("mark", Duration::from_millis(1)), ("write", Duration::from_secs(3_600))]
    {
        let dir = root.path().join(name);
        copy_dir(&baseline.dir, &dir);
        flip_in_purged_log(&dir.join("db"));
        let fatals = Arc::default();
        let expected = Expected { cluster: CLUSTER, node: 1 };
        let mut options = options(&dir, Start::Resume(expected), &fatals);
        options.mark_interval = mark_interval;
        let mut store =
            open_with(&options, fatals, NoObserver).expect("purged entries are not read");
        let mut term = 10;
        wait_until("the compaction meets the damage", async || {
            term += 1;
            let wrote = name == "mark" || store.log.save_vote(&vote(term, 1)).await.is_ok();
            !wrote || store.handle.fatal().is_some()
        })
        .await;
        let fatal = store.handle.fatal().expect("it stopped");
        assert_eq!(fatal.cause, FatalCause::Damage, "{name}: {fatal}");
        assert!(fatal.detail.contains("block checksum mismatch"), "{name}: {fatal}");
    }
}

/// Flips a bit amid the oldest table of the log. Its entries are purged, so that only a compaction
/// reads them again.
fn flip_in_purged_log(engine: &Path) {
    let db = open_engine_to_look(engine);
    let tables = db.live_files().expect("readable");
    drop(db);
    let log = tables.into_iter().filter(|table| table.column_family_name == "log");
    let oldest = log.map(|table| table.name).min().expect("a table");
    let path = engine.join(oldest.trim_start_matches('/'));
    let mut bytes = fs::read(&path).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("writable");
}

// Goal: every record's type byte in RocksDB's logs may be damaged in any bit, and the node says so: it
// does not hang (RocksDB would, for some of them).
#[tokio::test]
async fn damaged_record_types_are_found() {
    let root = tempfile::tempdir().expect("a directory");
    let baseline = baseline(&root.path().join("whole")).await;
    let mut refused = 0;
    for (name, bytes) in contents(&baseline.dir) {
        if !["write-ahead log", "manifest"].contains(&kind(&name)) {
            continue;
        }
        // The framing of RocksDB's logs, of which these small files have one block.
        let mut offset = 0;
        let mut records = 0;
        while offset + 7 <= bytes.len() && records < 12 {
            let length = u16::from_le_bytes([bytes[offset + 4], bytes[offset + 5]]) as usize;
            for bit in 0..8 {
                let dir = root.path().join("damaged");
                copy_dir(&baseline.dir, &dir);
                let mut damaged = bytes.clone();
                damaged[offset + 6] ^= 1 << bit;
                fs::write(dir.join(&name), damaged).expect("writable");
                let what = format!("bit {bit} of the type of record {records} of {name}");
                let outcome = judge(&baseline, &dir, &what).await;
                refused += u32::from(outcome == Outcome::Refused);
                fs::remove_dir_all(&dir).expect("removable");
            }
            offset += 7 + length;
            records += 1;
        }
    }
    assert!(refused > 50, "too few were refused to prove anything: {refused}");
}

// Goal: files that are cut, zeroed or gone are found or harmless.
#[tokio::test]
async fn lost_files_are_found_or_harmless() {
    let root = tempfile::tempdir().expect("a directory");
    let baseline = baseline(&root.path().join("whole")).await;
    let mut tally = Tally::new();
    for (name, bytes) in contents(&baseline.dir) {
        for how in ["cut", "zeroed", "removed", "emptied", "beginning zeroed"] {
            let dir = root.path().join("damaged");
            copy_dir(&baseline.dir, &dir);
            let path = dir.join(&name);
            let mut damaged = bytes.clone();
            match how {
                "cut" => damaged.truncate(bytes.len() / 2),
                "zeroed" => damaged.fill(0),
                "emptied" => damaged.clear(),
                _ => {
                    let end = damaged.len().min(64);
                    damaged[..end].fill(0);
                }
            }
            if how == "removed" {
                fs::remove_file(&path).expect("removable");
            } else {
                fs::write(&path, damaged).expect("writable");
            }
            let outcome = judge(&baseline, &dir, &format!("{name} {how}")).await;
            *tally.entry((kind(&name), outcome)).or_default() += 1;
            fs::remove_dir_all(&dir).expect("removable");
        }
    }
    println!("lost files by kind and outcome: {tally:#?}");
    for kind in ["write-ahead log", "manifest", "table", "identity", "current", "mark"] {
        assert!(count(&tally, kind, Outcome::Refused) >= 3, "a lost {kind} was accepted");
    }
}

// Goal: a log entry that was changed together with RocksDB's own checksum (a bug, not rot) is found
// by the chain.
#[tokio::test]
async fn the_chain_finds_what_block_checksums_cannot() {
    let root = tempfile::tempdir().expect("a directory");
    for (name, index, change) in [
        ("changed", 150, Change::Flip),
        ("missing", 150, Change::Remove),
        ("swapped", 150, Change::CopyFrom(149)),
        ("last removed", ENTRIES - 1, Change::Remove),
    ] {
        let dir = root.path().join(name);
        baseline(&dir).await;
        tamper(&dir.join("db"), index, change);
        let refused = try_resume(&dir).err().unwrap_or_else(|| panic!("{name}: accepted"));
        let OpenError::Damaged(damage) = &refused else { panic!("{name}: {refused}") };
        assert_eq!(damage.part, tandem_raft_store::DamagedPart::Log, "{name}: {refused}");
    }
}

// Goal: rows that were changed, lost or added together with RocksDB's own checksum are found by the
// digest that was written with them; so is a position that does not belong to them.
#[tokio::test]
async fn the_digest_finds_changed_rows() {
    let root = tempfile::tempdir().expect("a directory");
    type Tamper = fn(&rocksdb::DB);
    let table: [(&str, Tamper); 4] = [
        ("changed", |db| {
            let (key, mut value) = first_row(db);
            value.push(b'!');
            db.put_cf(db.cf_handle("state").expect("a family"), key, value).expect("writable");
        }),
        ("lost", |db| {
            let (key, _) = first_row(db);
            db.delete_cf(db.cf_handle("state").expect("a family"), key).expect("writable");
        }),
        ("added", |db| {
            let (mut key, value) = first_row(db);
            key.push(b'!');
            db.put_cf(db.cf_handle("state").expect("a family"), key, value).expect("writable");
        }),
        ("position gone", |db| {
            let key = [0, 0, 5];
            db.delete_cf(db.cf_handle("meta").expect("a family"), key).expect("writable");
        }),
    ];
    for (name, tamper) in table {
        let dir = root.path().join(name);
        baseline(&dir).await;
        tamper(&open_engine(&dir.join("db")));
        let refused = try_resume(&dir).err().unwrap_or_else(|| panic!("{name}: accepted"));
        let OpenError::Damaged(damage) = &refused else { panic!("{name}: {refused}") };
        assert_eq!(damage.part, tandem_raft_store::DamagedPart::Rows, "{name}: {refused}");
    }
}

fn first_row(db: &rocksdb::DB) -> (Vec<u8>, Vec<u8>) {
    let state = db.cf_handle("state").expect("a family");
    let mut rows = db.iterator_cf(state, rocksdb::IteratorMode::Start);
    let (key, value) = rows.next().expect("a row").expect("readable");
    (key.into_vec(), value.into_vec())
}

const FAMILIES: [&str; 5] = ["default", "log", "meta", "state", "history"];

fn open_engine(engine: &Path) -> rocksdb::DB {
    rocksdb::DB::open_cf(&rocksdb::Options::default(), engine, FAMILIES).expect("a database")
}

fn open_engine_to_look(engine: &Path) -> rocksdb::DB {
    let options = rocksdb::Options::default();
    rocksdb::DB::open_cf_for_read_only(&options, engine, FAMILIES, false).expect("a database")
}

#[derive(Clone, Copy)]
enum Change {
    Flip,
    Remove,
    CopyFrom(u64),
}

/// Changes a log entry through RocksDB itself.
fn tamper(engine: &Path, index: u64, change: Change) {
    let db = open_engine(engine);
    let log = db.cf_handle("log").expect("a family");
    let key = |index: u64| [&[0_u8, 0][..], &index.to_be_bytes()].concat();
    let read = |index: u64| db.get_cf(log, key(index)).expect("readable").expect("an entry");
    match change {
        Change::Flip => {
            let mut record = read(index);
            let last = record.len() - 1;
            record[last] ^= 1;
            db.put_cf(log, key(index), record).expect("writable");
        }
        Change::Remove => db.delete_cf(log, key(index)).expect("writable"),
        Change::CopyFrom(other) => db.put_cf(log, key(index), read(other)).expect("writable"),
    }
}

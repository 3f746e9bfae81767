//! Bounds: disk space after purges, memory, the queue; and what reopening costs (printed).

use std::fs;
use std::path::Path;
use std::time::Instant;

use futures_util::FutureExt;
use openraft::storage::{IOFlushed, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use tandem_raft_store::faults::Faults;
use tandem_raft_store::limits::{GROUP_BYTES, LOG_CACHE_ENTRIES, QUEUE_BYTES, READ_HOLD_MS};
use tandem_raft_store::{Entry, NoObserver, Options, Start, Store};

use crate::kit::child::{Assignment, say, start};
use crate::kit::{
    Closing, Command, Rng, Table, TestStore, append, apply, apply_log, commands, create, identity,
    resume,
};

fn bytes_below(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("a directory");
    files
        .map(|file| {
            let path = file.expect("a file").path();
            // A file that RocksDB removes meanwhile takes no space.
            match fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => bytes_below(&path),
                Ok(meta) => meta.len(),
                Err(_) => 0,
            }
        })
        .sum()
}

fn incompressible(rng: &mut Rng, index: u64, length: usize) -> Entry {
    commands(1, index, &[Command::put(format!("key-{}", index % 50), rng.bytes(length))])
}

/// Appends, applies and purges `count` entries of `length` bytes, keeping about `keep` of them.
async fn churn(store: &mut TestStore, from: u64, count: u64, length: usize, keep: u64) {
    let mut rng = Rng::new(from + 1);
    for first in (from..from + count).step_by(50) {
        let entries: Vec<Entry> =
            (first..first + 50).map(|index| incompressible(&mut rng, index, length)).collect();
        let last = entries[49].log_id;
        append(&mut store.log, entries.clone()).await.expect("a healthy disk");
        apply(&mut store.machine, entries).await.expect("a healthy disk");
        if last.index > keep {
            let upto = tandem_raft_store::log_id(1, 1, last.index - keep);
            store.log.purge(upto).await.expect("a healthy disk");
        }
    }
}

// Goal: what is purged gives its disk space back: many times the kept log passes through, and the
// directory stays a small multiple of what is kept.
#[tokio::test]
async fn purged_entries_give_their_space_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = create(dir.path());
    let (count, length, keep) = (16_000, 10_000, 200);
    let mut largest = 0;
    for round in 0..8 {
        churn(&mut store, round * count / 8, count / 8, length, keep).await;
        largest = largest.max(bytes_below(dir.path()));
    }
    let written = count * length as u64;
    println!("{} MB passed through, at most {} MB on disk", written >> 20, largest >> 20);
    assert!(largest < written / 2, "space is not given back: {largest} of {written} bytes");
    store.handle.scrub().expect("whole");
    store.handle.close().await.expect("an orderly stop");
    let store = resume(dir.path());
    assert!(store.handle.recovery().log_entries <= keep + 50);
}

/// The child's side: passes much more through a default store than it may keep in memory.
pub(crate) async fn use_memory(assignment: &Assignment) {
    let start = Start::Create(identity(1));
    let options = Options::new(&assignment.dir, start, |fatal| panic!("{fatal}"));
    let opened = Store::open::<Table>(&options, NoObserver).expect("empty");
    say(high_water_kib());
    let (log, machine, handle) = (opened.log, opened.machine, opened.handle);
    let closing = Closing(handle.clone());
    let (faults, fatals) = (Faults::new(), Default::default());
    let mut store = TestStore { log, machine, handle, faults, fatals, closing };
    churn(&mut store, 0, 30_000, 10_000, 4_000).await;
    say(high_water_kib());
    store.handle.close().await.expect("an orderly stop");
}

/// The most memory that this process ever used, in KiB.
fn high_water_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("a high-water mark");
    line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
}

// Goal: a store with default options stays near its 64 MiB however much passes through it.
#[test]
fn memory_stays_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut child = start(&Assignment::new("memory", &dir.path().join("node"), 1));
    let said: Vec<u64> = child.rest().iter().map(|line| line.parse().expect("a number")).collect();
    let (status, stderr) = child.wait();
    assert!(status.success(), "{stderr}");
    let [before, after] = said[..] else { panic!("the child said {said:?}") };
    let used = (after - before) >> 10;
    println!(
        "{used} MiB beyond the {} MiB of an empty store, 286 MiB passed through",
        before >> 10
    );
    // The parts of the budget, and as much again for the allocator and for entries on their way.
    assert!(used < 128, "{used} MiB used");
}

// Goal: a disk that hangs stops the intake: the queue takes its limit and no more, and nothing is
// reported; when the disk goes on, everything is.
#[tokio::test]
async fn the_queue_is_bounded() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = create(dir.path());
    store.faults.hold_syncs();
    let length = 100_000;
    let mut taken = 0_u64;
    loop {
        let put = Command::put("key", vec![1_u8; length]);
        let entry = commands(1, taken, &[put]);
        let appended = store.log.append(vec![entry], IOFlushed::noop()).now_or_never();
        match appended {
            Some(result) => result.expect("a healthy disk"),
            None => break,
        }
        taken += 1;
        assert!(taken < 1_000, "the queue takes everything");
    }
    let bytes = taken * length as u64;
    // One group is on its way, and the queue is full behind it.
    assert!(bytes <= (QUEUE_BYTES + GROUP_BYTES) as u64, "{bytes} bytes were taken");
    assert!(bytes >= QUEUE_BYTES as u64 / 2, "the queue takes too little: {bytes}");
    assert_eq!(store.handle.counters().entries_synced, 0);
    store.faults.release_syncs();
    append(&mut store.log, vec![commands(1, taken, &[])]).await.expect("a healthy disk");
    assert_eq!(store.handle.counters().entries_synced, taken + 1);
}

// Goal: a reader that holds the machine too long is counted, one that does not is not.
#[tokio::test]
async fn long_reads_are_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = create(dir.path());
    for _ in 0..100 {
        store.handle.read(|table, _| table.rows.len());
    }
    // A busy machine may interrupt a few of them, never most.
    let short_ones = store.handle.counters().slow_reads;
    assert!(short_ones < 50, "{short_ones} of 100 short reads count as long");
    let held = std::time::Duration::from_millis(2 * READ_HOLD_MS);
    store.handle.read(|_, _| std::thread::sleep(held));
    assert_eq!(store.handle.counters().slow_reads, short_ones + 1);
}

// Goal: print what a restart and a snapshot cost with many live rows and a full log.
#[tokio::test]
async fn print_the_cost_of_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = create(dir.path());
    let (rows_per_entry, entries) = (100, LOG_CACHE_ENTRIES as u64 / 32);
    for first in (0..entries).step_by(256) {
        let batch: Vec<Entry> = (first..first + 256)
            .map(|index| {
                let puts: Vec<Command> = (0..rows_per_entry)
                    .map(|n| {
                        let number = index * rows_per_entry + n;
                        Command::put(format!("contact-{number:08}"), vec![n as u8; 150])
                    })
                    .collect();
                commands(1, index, &puts)
            })
            .collect();
        append(&mut store.log, batch).await.expect("a healthy disk");
    }
    let began = Instant::now();
    apply_log(&mut store, entries - 1).await;
    let applied = began.elapsed();
    let began = Instant::now();
    let mut builder = store.machine.get_snapshot_builder().await;
    let snapshot = builder.build_snapshot().await.expect("a healthy disk").snapshot;
    let built = began.elapsed();
    store.handle.close().await.expect("an orderly stop");
    let began = Instant::now();
    let store = resume(dir.path());
    let opened = began.elapsed();
    let report = store.handle.recovery();
    assert_eq!(report.rows, entries * rows_per_entry);
    println!(
        "{} rows of 150 bytes, {} log entries of {} MB: apply {applied:.0?}, snapshot {built:.0?} \
         ({} MB), open {opened:.0?}",
        report.rows,
        report.log_entries,
        report.log_bytes >> 20,
        snapshot.len() >> 20
    );
}

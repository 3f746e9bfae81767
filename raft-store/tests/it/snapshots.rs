//! Snapshots: built while entries are applied, transferred in pieces, checked, installed; and
//! history and backups, which go beside them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use openraft::storage::{RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine};
use tandem_raft_store::faults::Faults;
use tandem_raft_store::format::snapshot::{decode_info, encode_info};
use tandem_raft_store::{
    ClusterId, Entry, FatalCause, Identity, OpenError, Row, SnapshotError, SnapshotFile, Start,
    log_id,
};

use crate::kit::stores::open;
use crate::kit::{
    Command, Notes, Rng, TestStore, append, append_from, apply, apply_log, commands, create,
    identity, read_log, resume, table_digest, try_resume,
};

async fn build(store: &mut TestStore) -> SnapshotFile {
    let mut builder = store.machine.get_snapshot_builder().await;
    builder.build_snapshot().await.expect("a healthy disk").snapshot
}

/// Sends a snapshot in chunks, from wherever the receiver is, at most `chunks_max` of them.
fn send(
    snapshot: &SnapshotFile,
    to: &TestStore,
    chunk_bytes: usize,
    chunks_max: usize,
) -> Result<Option<SnapshotFile>, SnapshotError> {
    // What a transport does: the information travels as bytes too.
    let info = decode_info(&encode_info(snapshot.info())).expect("own bytes");
    let mut receiver = to.handle.receive_snapshot(info)?;
    for _ in 0..chunks_max {
        let chunk = snapshot.read_chunk(receiver.offset(), chunk_bytes).expect("readable");
        if chunk.is_empty() {
            return receiver.finish().map(Some);
        }
        receiver.write(receiver.offset(), &chunk)?;
    }
    Ok(None)
}

fn many_rows(term: u64, range: std::ops::Range<u64>) -> Vec<Entry> {
    range
        .map(|index| {
            let puts: Vec<Command> = (0..20)
                .map(|n| {
                    let value = vec![(index % 251) as u8; 50 + (n * 13) as usize];
                    Command::put(format!("row-{:05}", (index * 20 + n) % 4_000), value)
                })
                .collect();
            commands(term, index, &puts)
        })
        .collect()
}

async fn filled(dir: &Path, entries: &[Entry]) -> TestStore {
    let mut store = create(dir);
    append(&mut store.log, entries.to_vec()).await.expect("a healthy disk");
    apply_log(&mut store, entries.len() as u64 - 1).await;
    store
}

fn shelf(dir: &Path) -> Vec<String> {
    let files = fs::read_dir(dir.join("snapshots")).expect("a shelf");
    let mut names: Vec<String> = files
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

// Goal: a snapshot that is built while entries are applied is exactly the state at its own position,
// and apply does not wait for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn building_goes_on_beside_apply() {
    let root = tempfile::tempdir().expect("a directory");
    let entries = many_rows(1, 0..600);
    let mut store = filled(&root.path().join("node"), &entries[..300]).await;
    append(&mut store.log, entries[300..].to_vec()).await.expect("a healthy disk");
    let mut positions = Vec::new();
    let mut next = 300;
    for round in 0..6 {
        let mut builder = store.machine.get_snapshot_builder().await;
        let building = tokio::spawn(async move { builder.build_snapshot().await });
        while !building.is_finished() && next < entries.len() {
            apply(&mut store.machine, vec![entries[next].clone()]).await.expect("a healthy disk");
            next += 1;
        }
        let built = building.await.expect("no panic").expect("a healthy disk").snapshot;
        let header = &built.info().header;
        let position = header.log_id.expect("entries were applied");
        assert_eq!(header.digest, table_digest(&entries[..=position.index as usize]), "{round}");
        positions.push(position.index);
        let other = create(&root.path().join(format!("other-{round}")));
        let received = send(&built, &other, 100_000, usize::MAX).expect("whole");
        assert_eq!(received.expect("all of it").info(), built.info());
    }
    assert!(next > 320, "nothing was applied while a snapshot was built: {next}");
    assert!(positions.is_sorted(), "{positions:?}");
}

// Goal: a transfer that breaks off goes on where it stopped, also after a restart of the receiver;
// the result is installed, and position, membership, state and log bounds are the sender's.
#[tokio::test]
async fn a_broken_transfer_goes_on() {
    let root = tempfile::tempdir().expect("a directory");
    let entries = many_rows(3, 0..200);
    let mut sender = filled(&root.path().join("sender"), &entries).await;
    let snapshot = build(&mut sender).await;
    let dir = root.path().join("receiver");
    let notes = Notes::default();
    let start = Start::Create(identity(1));
    let mut receiver = open(&dir, start, Faults::new(), notes.clone()).expect("empty");
    append_from(&mut receiver.log, 1, 0, 10).await;
    apply_log(&mut receiver, 4).await;

    let chunk = (snapshot.len() / 20) as usize;
    assert!(send(&snapshot, &receiver, chunk, 7).expect("in order").is_none());
    let going_on = receiver.handle.receive_snapshot(snapshot.info().clone()).expect("the same");
    assert_eq!(going_on.offset(), 7 * chunk as u64, "the transfer started over");
    drop(going_on);
    receiver.handle.close().await.expect("an orderly stop");

    let expected = tandem_raft_store::Expected { cluster: crate::kit::CLUSTER, node: 1 };
    let start = Start::Resume(expected);
    let mut receiver = open(&dir, start, Faults::new(), notes.clone()).expect("whole");
    let again = receiver.handle.receive_snapshot(snapshot.info().clone()).expect("the same");
    assert_eq!(again.offset(), 7 * chunk as u64, "the restart lost the transfer");
    drop(again);
    let received = send(&snapshot, &receiver, chunk, usize::MAX).expect("whole").expect("all");
    assert_eq!(receiver.handle.digest().1, table_digest(&read_log(&mut receiver.log, ..=4).await));
    let meta = received.meta();
    receiver.machine.install_snapshot(&meta, received).await.expect("a healthy disk");

    assert_eq!(receiver.handle.digest(), sender.handle.digest());
    assert_eq!(receiver.machine.applied_state().await.expect("readable").0, meta.last_log_id);
    assert_eq!(*notes.replaced.lock(), vec![entries[199].log_id]);
    assert!(notes.was_replaced.load(Relaxed));
    let current = receiver.machine.get_current_snapshot().await.expect("readable").expect("one");
    assert_eq!(current.meta, meta);
    assert_eq!(shelf(&dir).len(), 1, "{:?}", shelf(&dir));
    // What openraft does next: the log is cut beyond its end, and goes on behind the snapshot.
    receiver.log.purge(entries[199].log_id).await.expect("a healthy disk");
    append_from(&mut receiver.log, 3, 200, 5).await;
    apply_log(&mut receiver, 202).await;
    receiver.handle.close().await.expect("an orderly stop");

    let mut reopened = resume(&dir);
    assert_eq!(reopened.handle.recovery().purged, Some(entries[199].log_id));
    assert_eq!(reopened.handle.recovery().snapshot, meta.last_log_id);
    assert_eq!(read_log(&mut reopened.log, ..).await.len(), 5);
    assert_eq!(reopened.handle.digest(), receiver.handle.digest());
}

// Goal: chunks out of order, too many bytes, another cluster's file and an overtaken transfer are
// refused, and the node keeps what it has.
#[tokio::test]
async fn wrong_transfers_are_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let mut sender = filled(&root.path().join("sender"), &many_rows(1, 0..50)).await;
    let snapshot = build(&mut sender).await;
    let receiver = filled(&root.path().join("receiver"), &many_rows(1, 0..3)).await;
    let before = receiver.handle.digest();
    let info = snapshot.info().clone();

    let mut transfer = receiver.handle.receive_snapshot(info.clone()).expect("a transfer");
    transfer.write(0, b"0123456789").expect("in order");
    let skipped = transfer.write(11, b"x");
    assert!(matches!(skipped, Err(SnapshotError::OutOfOrder { expected: 10, found: 11 })));
    let repeated = transfer.write(0, b"x");
    assert!(matches!(repeated, Err(SnapshotError::OutOfOrder { expected: 10, found: 0 })));
    let too_much = transfer.write(10, &vec![0; info.file_bytes as usize]);
    assert!(matches!(too_much, Err(SnapshotError::Damaged(_))), "{too_much:?}");

    let mut newer = receiver.handle.receive_snapshot(info.clone()).expect("a newer transfer");
    assert!(matches!(transfer.write(10, b"x"), Err(SnapshotError::Superseded)));
    newer.write(newer.offset(), b"x").expect("the newer one goes on");
    let early = newer.finish();
    assert!(matches!(early, Err(SnapshotError::OutOfOrder { .. })), "{early:?}");

    let mut foreign = info;
    foreign.header.cluster = ClusterId(1);
    let refused = receiver.handle.receive_snapshot(foreign);
    assert!(matches!(refused, Err(SnapshotError::OtherCluster { .. })), "{refused:?}");
    assert_eq!(receiver.handle.digest(), before);
    assert!(receiver.fatals.lock().is_empty(), "a bad transfer is no reason to stop");
}

// Goal: no changed bit of a snapshot in transit is installed, wherever it is; the next transfer
// starts over and succeeds.
#[tokio::test]
async fn changed_bits_in_transit_are_found() {
    let root = tempfile::tempdir().expect("a directory");
    let mut sender = filled(&root.path().join("sender"), &many_rows(1, 0..40)).await;
    let snapshot = build(&mut sender).await;
    let receiver = filled(&root.path().join("receiver"), &many_rows(1, 0..3)).await;
    let before = receiver.handle.digest();
    let whole = snapshot.read_chunk(0, usize::MAX).expect("readable");
    assert_eq!(whole.len() as u64, snapshot.len(), "one chunk holds it all");
    let mut rng = Rng::new(0x5eed);
    let mut reasons: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..150 {
        let bit = rng.below(snapshot.len() * 8) as usize;
        let mut damaged = whole.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let mut transfer =
            receiver.handle.receive_snapshot(snapshot.info().clone()).expect("a transfer");
        assert_eq!(transfer.offset(), 0, "a refused transfer left bytes behind");
        transfer.write(0, &damaged).expect("in order");
        let refused = transfer.finish().err().unwrap_or_else(|| panic!("bit {bit} unnoticed"));
        let fits = matches!(refused, SnapshotError::Damaged(_) | SnapshotError::NewerFormat { .. });
        assert!(fits, "bit {bit}: {refused}");
        *reasons.entry(refused.to_string()).or_default() += 1;
    }
    println!("{reasons:#?}");
    assert_eq!(receiver.handle.digest(), before);
    assert!(receiver.fatals.lock().is_empty(), "a bad transfer is no reason to stop");
    send(&snapshot, &receiver, 4_096, usize::MAX).expect("whole").expect("all of it");
}

// Goal: a snapshot survives a restart; a newer one takes its place and the old file goes; a damaged
// one is removed at the next start and built again; and who holds an old one can still read it.
#[tokio::test]
async fn one_snapshot_is_kept() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("node");
    let entries = many_rows(1, 0..60);
    let mut store = filled(&dir, &entries[..30]).await;
    let first = build(&mut store).await;
    assert_eq!(
        build(&mut store).await.path(),
        first.path(),
        "the same position is not built twice"
    );
    append(&mut store.log, entries[30..].to_vec()).await.expect("a healthy disk");
    apply_log(&mut store, 59).await;
    let second = build(&mut store).await;
    assert_eq!(shelf(&dir).len(), 1);
    assert_ne!(first.path(), second.path());
    assert_eq!(first.read_chunk(0, 100).expect("still open").len(), 100);
    store.handle.close().await.expect("an orderly stop");

    let store = resume(&dir);
    let kept = store.handle.current_snapshot().expect("kept");
    assert_eq!(kept.info(), second.info());
    store.handle.close().await.expect("an orderly stop");

    let mut bytes = fs::read(second.path()).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(second.path(), bytes).expect("writable");
    let mut store = resume(&dir);
    assert!(store.handle.current_snapshot().is_none(), "a damaged snapshot is offered");
    assert_eq!(build(&mut store).await.info().header.digest, second.info().header.digest);
    assert_eq!(shelf(&dir).len(), 1);
}

// Goal: a snapshot without rows, one with the largest row, and one of exactly a frame pass through.
#[tokio::test]
async fn sizes_at_the_edge_pass() {
    use tandem_raft_store::limits::{FRAME_BYTES, ROW_KEY_BYTES, ROW_VALUE_BYTES};
    let root = tempfile::tempdir().expect("a directory");
    let head = 8;
    let cases: Vec<(&str, Vec<Row>)> = vec![
        ("nothing", vec![]),
        ("one frame", vec![(vec![1; 8], vec![7; FRAME_BYTES - head - 8])]),
        ("one byte less", vec![(vec![1; 8], vec![7; FRAME_BYTES - head - 9])]),
        ("empty value", vec![(vec![1], vec![])]),
        ("largest", vec![(vec![2; ROW_KEY_BYTES], Rng::new(1).bytes(ROW_VALUE_BYTES - 9_000))]),
    ];
    for (name, rows) in cases {
        let puts: Vec<Command> =
            rows.iter().map(|(key, value)| Command::put(key.clone(), value.clone())).collect();
        let entries = vec![commands(1, 0, &puts)];
        let mut sender = filled(&root.path().join(format!("{name}-from")), &entries).await;
        let snapshot = build(&mut sender).await;
        let mut receiver = create(&root.path().join(format!("{name}-to")));
        let received = send(&snapshot, &receiver, 1 << 20, usize::MAX).expect(name).expect(name);
        let meta = received.meta();
        receiver.machine.install_snapshot(&meta, received).await.expect("a healthy disk");
        assert_eq!(receiver.handle.digest(), sender.handle.digest(), "{name}");
        let found: Vec<Row> =
            receiver.handle.read(|table, _| table.rows.clone().into_iter().collect());
        assert_eq!(found, rows, "{name}");
    }
}

// Goal: a full disk (here: a failing write) in the middle of an installation stops the store, and the
// old state is there at the next start.
#[tokio::test]
async fn a_failed_installation_keeps_the_old_state() {
    let root = tempfile::tempdir().expect("a directory");
    let mut sender = filled(&root.path().join("sender"), &many_rows(2, 0..100)).await;
    let snapshot = build(&mut sender).await;
    let dir = root.path().join("receiver");
    let mut receiver = filled(&dir, &many_rows(1, 0..20)).await;
    let before = receiver.handle.digest();
    let received = send(&snapshot, &receiver, 1 << 20, usize::MAX).expect("whole").expect("all");
    receiver.faults.fail_write(2);
    let meta = received.meta();
    assert!(receiver.machine.install_snapshot(&meta, received).await.is_err());
    assert_eq!(receiver.fatals.lock()[0].cause, FatalCause::Write);
    assert!(receiver.handle.close().await.is_err());
    let again = resume(&dir);
    assert_eq!(again.handle.digest(), before);
}

// Goal: history is paged in key order, comes along to a peer, is removed by range, and a repeated
// import changes nothing.
#[tokio::test]
async fn history_moves_beside_snapshots() {
    let root = tempfile::tempdir().expect("a directory");
    let entries: Vec<Entry> = (0..100)
        .map(|index| {
            let key = format!("contact-{index}").into_bytes();
            commands(1, index, &[Command::put(key.clone(), "talked"), Command::Finish(key)])
        })
        .collect();
    let sender = filled(&root.path().join("sender"), &entries).await;
    sender.handle.settle().await.expect("a healthy disk");
    let receiver = create(&root.path().join("receiver"));
    let mut after = None;
    let mut all = Vec::new();
    loop {
        let page = sender.handle.history_page(after.as_deref(), 7).expect("readable");
        let Some((last, _)) = page.last() else { break };
        after = Some(last.clone());
        all.extend(page.clone());
        receiver.handle.history_import(page.clone()).await.expect("a healthy disk");
        receiver.handle.history_import(page).await.expect("a healthy disk");
    }
    assert_eq!(all.len(), 100);
    assert!(all.is_sorted());
    assert_eq!(receiver.handle.history_page(None, 1_000).expect("readable"), all);
    let cut = 40_u64.to_be_bytes().to_vec();
    receiver.handle.history_remove(vec![], cut).await.expect("a healthy disk");
    assert_eq!(receiver.handle.history_page(None, 1_000).expect("readable"), all[40..]);
    assert_eq!(receiver.handle.scrub().expect("whole").history_rows, 60);
}

// Goal: a backup is a checked copy of the running store, and does not start as the node that it was
// taken from.
#[tokio::test]
async fn a_backup_is_whole_and_marked() {
    let root = tempfile::tempdir().expect("a directory");
    let mut store = filled(&root.path().join("node"), &many_rows(1, 0..80)).await;
    let to = root.path().join("backup");
    let report = store.handle.backup(&to).await.expect("a healthy disk");
    assert_eq!(report.applied, Some(log_id(1, 1, 79)));
    assert_eq!(report.log_entries, 80);
    // The store goes on meanwhile and afterwards.
    append_from(&mut store.log, 1, 80, 5).await;
    let refused = try_resume(&to).err().expect("a backup");
    assert!(matches!(refused, OpenError::Backup { node: 1, .. }), "{refused}");
    let twice = store.handle.backup(&to).await.expect_err("not empty");
    assert!(matches!(twice, OpenError::AlreadyCreated { .. }), "{twice}");
    let start = Start::Create(Identity { node: 2, ..identity(2) });
    let over = open(&to, start, Faults::new(), Notes::default()).err().expect("not empty");
    assert!(matches!(over, OpenError::AlreadyCreated { .. }), "{over}");
}

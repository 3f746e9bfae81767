//! Power loss: what was not synced is gone, or torn; and disks that say "synced" and lie.

use std::path::Path;

use openraft::storage::{
    IOFlushed, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine, StorageHelper,
};
use tandem_raft_store::faults::{Faults, Unsynced};
use tandem_raft_store::format::mark::{MarkValue, SLOT_BYTES, decode_mark};
use tandem_raft_store::{DamagedPart, Entry, NoObserver, OpenError, Start};

use crate::kit::stores::open;
use crate::kit::{
    TestStore, append, append_from, apply_log, blank, copy_dir, create, identity, read_log, resume,
    table_digest, try_resume, vote, wait_until,
};

/// A power loss now: opens what is left in another directory.
fn after_power_loss(
    store: &TestStore,
    dir: &Path,
    image: &Path,
    unsynced: Unsynced,
) -> Result<TestStore, OpenError> {
    store.faults.power_loss_image(dir, image, unsynced).expect("an image");
    try_resume(image)
}

/// The newer slot of the mark file.
fn mark_on_disk(dir: &Path) -> MarkValue {
    let bytes = std::fs::read(dir.join("MARK")).expect("a mark");
    let slots = [&bytes[..SLOT_BYTES], &bytes[4096..4096 + SLOT_BYTES]];
    let newest = slots.iter().filter_map(|slot| decode_mark(slot).ok()).max_by_key(|slot| slot.1);
    newest.expect("a whole slot").2
}

/// Waits until the mark speaks of this entry, as it does by itself within its interval.
async fn wait_for_mark(dir: &Path, index: u64) {
    wait_until("the mark is written", async || {
        mark_on_disk(dir).last.is_some_and(|last| last.log_id.index == index)
    })
    .await;
}

// Goal: rows, purges and commit positions that were not synced may be lost, acknowledged entries and
// votes not; and applying the log again gives the same state.
#[tokio::test]
async fn unsynced_rows_are_made_again_from_the_log() {
    let root = tempfile::tempdir().expect("a directory");
    let (dir, image) = (root.path().join("node"), root.path().join("image"));
    let mut store = create(&dir);
    let entries = append_from(&mut store.log, 1, 0, 100).await;
    store.log.save_vote(&vote(2, 3)).await.expect("a healthy disk");
    store.log.save_committed(Some(entries[89].log_id)).await.expect("a healthy disk");
    apply_log(&mut store, 89).await;
    store.log.purge(entries[39].log_id).await.expect("a healthy disk");
    // Everything above is written, and nothing after the vote is synced.
    store.handle.settle().await.expect("a healthy disk");

    let mut left = after_power_loss(&store, &dir, &image, Unsynced::Lost).expect("nothing broken");
    let report = left.handle.recovery().clone();
    assert_eq!(report.applied, None, "the rows were synced after all: the test proves nothing");
    assert_eq!((report.purged, report.committed), (None, None));
    assert_eq!(report.vote, Some(vote(2, 3)));
    assert_eq!(read_log(&mut left.log, ..).await, entries);
    apply_log(&mut left, 89).await;
    assert_eq!(left.handle.digest().1, table_digest(&entries[..90]));
    assert_eq!(left.handle.digest(), store.handle.digest());
}

// Goal: wherever a power loss tears the last, unacknowledged write, what was acknowledged is there
// and the rest is cut; a torn record is reported.
#[tokio::test]
async fn torn_tails_are_cut() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("node");
    let mut store = create(&dir);
    let kept = append_from(&mut store.log, 1, 0, 20).await;
    wait_for_mark(&dir, 19).await;
    // The next group is written and hangs in its sync.
    store.faults.hold_syncs();
    let unsynced: Vec<Entry> = (20..30).map(|index| blank(1, index)).collect();
    store.log.append(unsynced.clone(), IOFlushed::noop()).await.expect("queued");
    wait_until("a group hangs in its sync", async || store.handle.counters().sync_us_pending > 0)
        .await;

    let mut torn_reports = 0;
    let mut whole_entries = 0;
    for bytes in (0..700).step_by(13) {
        let image = root.path().join(format!("torn-{bytes}"));
        let torn = Unsynced::Torn { bytes };
        let mut left = after_power_loss(&store, &dir, &image, torn)
            .unwrap_or_else(|refused| panic!("torn at {bytes}: {refused}"));
        let found = read_log(&mut left.log, ..).await;
        assert_eq!(found[..20], kept[..], "torn at {bytes}: acknowledged entries are lost");
        assert_eq!(found[20..], unsynced[..found.len() - 20], "torn at {bytes}");
        whole_entries = whole_entries.max(found.len() - 20);
        torn_reports += u32::from(left.handle.recovery().torn_tail.is_some());
    }
    let image = root.path().join("zeroed");
    let mut left =
        after_power_loss(&store, &dir, &image, Unsynced::Zeroed).expect("zeroes are no damage");
    assert_eq!(read_log(&mut left.log, ..).await, kept);
    assert!(torn_reports > 3, "torn tails were cut without a word");
    assert!(whole_entries > 0, "no unacknowledged entry ever survived: nothing was torn");
    store.faults.release_syncs();
}

// Goal: a disk that lied about syncs and lost power is found out by the mark: the node is refused,
// it does not vote with amnesia.
#[tokio::test]
async fn a_lying_disk_is_found_out() {
    let root = tempfile::tempdir().expect("a directory");
    for (name, part) in [("entries", DamagedPart::Log), ("vote", DamagedPart::Vote)] {
        let dir = root.path().join(name);
        let mut store = create(&dir);
        append_from(&mut store.log, 1, 0, 20).await;
        store.log.save_vote(&vote(1, 1)).await.expect("a healthy disk");
        wait_for_mark(&dir, 19).await;
        let honest =
            after_power_loss(&store, &dir, &root.path().join(format!("{name}-ok")), Unsynced::Lost);
        honest.expect("an honest disk loses nothing");

        store.faults.lie_on_sync();
        if name == "entries" {
            append_from(&mut store.log, 1, 20, 5).await;
            wait_for_mark(&dir, 24).await;
        } else {
            store.log.save_vote(&vote(2, 3)).await.expect("so it says");
        }
        let image = root.path().join(format!("{name}-image"));
        let refused = after_power_loss(&store, &dir, &image, Unsynced::Lost).err();
        let refused = refused.unwrap_or_else(|| panic!("{name}: opened with amnesia"));
        let OpenError::Damaged(damage) = &refused else { panic!("{name}: {refused}") };
        assert_eq!(damage.part, part, "{refused}");
        assert!(refused.to_string().contains("may not vote"), "{refused}");
        // It stays refused, however often somebody tries.
        assert!(try_resume(&image).is_err(), "{name}: the second attempt was let in");
    }
}

// Goal: a database set back to an older copy, beside its newer mark, is refused; so is a newer
// database whose log was truncated and grew again below what the mark knows.
#[tokio::test]
async fn an_old_copy_of_the_database_is_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let (dir, old) = (root.path().join("node"), root.path().join("old"));
    let mut store = create(&dir);
    append_from(&mut store.log, 1, 0, 20).await;
    store.handle.close().await.expect("an orderly stop");
    copy_dir(&dir, &old);
    let mut store = resume(&dir);
    append(&mut store.log, vec![blank(1, 20)]).await.expect("a healthy disk");
    store.handle.close().await.expect("an orderly stop");

    std::fs::remove_dir_all(dir.join("db")).expect("removable");
    copy_dir(&old.join("db"), &dir.join("db"));
    let refused = try_resume(&dir).err().expect("set back");
    assert!(refused.to_string().contains("the log ends at"), "{refused}");
}

// Goal: truncating lowers the mark first, so that a power loss right after a truncation is no
// damage, whether the truncation survived or not.
#[tokio::test]
async fn a_truncation_may_be_lost_or_kept() {
    let root = tempfile::tempdir().expect("a directory");
    let dir = root.path().join("node");
    let start = Start::Create(identity(1));
    let mut store = open(&dir, start, Faults::new(), NoObserver).expect("empty");
    let entries = append_from(&mut store.log, 1, 0, 20).await;
    wait_for_mark(&dir, 19).await;
    store.log.truncate_after(Some(entries[9].log_id)).await.expect("a healthy disk");
    for (name, unsynced) in
        [("lost", Unsynced::Lost), ("kept", Unsynced::Torn { bytes: 1_000_000 })]
    {
        let image = root.path().join(name);
        let mut left = after_power_loss(&store, &dir, &image, unsynced).expect("no damage");
        let length = read_log(&mut left.log, ..).await.len();
        assert_eq!(length, if name == "lost" { 20 } else { 10 }, "{name}");
    }
}

// Goal: a snapshot file is on disk before its rows are synced; after a power loss openraft's start
// restores the state from it, and the log goes on behind it.
#[tokio::test]
async fn a_snapshot_may_be_newer_than_the_rows() {
    let root = tempfile::tempdir().expect("a directory");
    let (dir, image) = (root.path().join("node"), root.path().join("image"));
    let mut store = create(&dir);
    let entries = append_from(&mut store.log, 1, 0, 100).await;
    apply_log(&mut store, 79).await;
    let mut builder = store.machine.get_snapshot_builder().await;
    builder.build_snapshot().await.expect("a healthy disk");

    let mut left = after_power_loss(&store, &dir, &image, Unsynced::Lost).expect("nothing broken");
    assert_eq!(left.handle.recovery().applied, None, "the rows were synced: this proves nothing");
    assert_eq!(left.handle.recovery().snapshot, Some(entries[79].log_id));
    let mut helper = StorageHelper::new(&mut left.log, &mut left.machine).with_id(1);
    helper.get_initial_state().await.expect("a start");
    assert_eq!(left.handle.digest(), (Some(entries[79].log_id), table_digest(&entries[..80])));
    apply_log(&mut left, 99).await;
    left.handle.close().await.expect("an orderly stop");
    let again = resume(&image);
    assert_eq!(again.handle.digest(), (Some(entries[99].log_id), table_digest(&entries)));
}

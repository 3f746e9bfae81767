//! Who may open which directory, and that a refusal changes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tandem_raft_store::faults::Faults;
use tandem_raft_store::format::identity::{IdentityRecord, IdentityStage, encode_identity};
use tandem_raft_store::{
    ClusterId, DamagedPart, DirectoryState, Expected, NoObserver, OpenError, Start, survey,
};

use crate::kit::stores::open;
use crate::kit::{
    CLUSTER, Notes, TestStore, append, append_from, apply_log, blank, copy_dir, create, identity,
    read_log, resume, table_digest, try_resume, vote,
};
use openraft::storage::{RaftLogReader, RaftLogStorage};

/// Every file below a directory with its bytes, except the lock (which is empty).
pub(crate) fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    collect(dir, "", &mut files);
    files
}

fn collect(dir: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) {
    for file in fs::read_dir(dir).expect("a directory") {
        let file = file.expect("a file");
        let name = format!("{prefix}{}", file.file_name().to_string_lossy());
        if file.file_type().expect("a type").is_dir() {
            collect(&file.path(), &format!("{name}/"), files);
        } else if name != "LOCK" {
            files.insert(name, fs::read(file.path()).expect("readable"));
        }
    }
}

fn resume_as(dir: &Path, expected: Expected) -> Result<TestStore, OpenError> {
    open(dir, Start::Resume(expected), Faults::new(), NoObserver)
}

fn create_as(dir: &Path, node: u64) -> Result<TestStore, OpenError> {
    open(dir, Start::Create(identity(node)), Faults::new(), NoObserver)
}

fn write_identity(dir: &Path, stage: IdentityStage) {
    let record = IdentityRecord { identity: identity(1), stage };
    fs::write(dir.join("IDENTITY"), encode_identity(&record)).expect("writable");
}

// Goal: everything that was saved is there after an orderly stop, and the directory says whose it is.
#[tokio::test]
async fn a_closed_store_opens_with_everything() {
    let dir = tempfile::tempdir().expect("a directory");
    assert_eq!(survey(dir.path()).expect("readable"), DirectoryState::Empty);
    let mut store = create(dir.path());
    let entries = append_from(&mut store.log, 3, 0, 200).await;
    store.log.save_vote(&vote(4, 2)).await.expect("a healthy disk");
    store.log.save_committed(Some(entries[149].log_id)).await.expect("a healthy disk");
    apply_log(&mut store, 149).await;
    store.handle.close().await.expect("an orderly stop");

    let DirectoryState::Node(record) = survey(dir.path()).expect("readable") else {
        panic!("the marker is gone");
    };
    assert_eq!((record.identity, record.stage), (identity(1), IdentityStage::Ready));
    let mut store = resume(dir.path());
    let report = store.handle.recovery().clone();
    assert_eq!((report.log_entries, report.rows), (200, 50));
    assert_eq!(report.applied, Some(entries[149].log_id));
    assert_eq!(report.committed, Some(entries[149].log_id));
    assert_eq!((report.torn_tail, report.mark_slot_lost, report.stray_rows), (None, false, false));
    assert_eq!(read_log(&mut store.log, ..).await, entries);
    let mut reader = store.log.get_log_reader().await;
    assert_eq!(reader.read_vote().await.expect("readable"), Some(vote(4, 2)));
    assert_eq!(store.handle.digest(), (Some(entries[149].log_id), table_digest(&entries[..150])));
}

// Goal: an observer hears of every entry, in order, with what the machine wants done, and after a
// restart only of what is applied then.
#[tokio::test]
async fn an_observer_hears_everything_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let notes = Notes::default();
    let start = Start::Create(identity(1));
    let mut store = open(dir.path(), start, Faults::new(), notes.clone()).expect("empty");
    let mut entries = append_from(&mut store.log, 2, 0, 20).await;
    entries.push(blank(3, 20));
    append(&mut store.log, vec![blank(3, 20)]).await.expect("a healthy disk");
    apply_log(&mut store, 7).await;
    apply_log(&mut store, 20).await;
    let positions: Vec<_> = entries.iter().map(|entry| entry.log_id).collect();
    assert_eq!(*notes.applied.lock(), positions);
    assert_eq!(*notes.effects.lock(), (0..20).collect::<Vec<u64>>(), "a blank entry has none");
    store.handle.close().await.expect("an orderly stop");

    let later = Notes::default();
    let ours = Expected { cluster: CLUSTER, node: 1 };
    let mut store =
        open(dir.path(), Start::Resume(ours), Faults::new(), later.clone()).expect("whole");
    append(&mut store.log, vec![blank(3, 21)]).await.expect("a healthy disk");
    apply_log(&mut store, 21).await;
    assert_eq!(*later.applied.lock(), vec![blank(3, 21).log_id]);
    assert!(later.replaced.lock().is_empty());
}

// Goal: every kind of wrong directory has its own refusal, and a refused directory is unchanged.
#[tokio::test]
async fn wrong_directories_are_refused_and_left_alone() {
    let root = tempfile::tempdir().expect("a directory");
    let good = root.path().join("good");
    let mut store = create(&good);
    append_from(&mut store.log, 1, 0, 30).await;
    store.handle.close().await.expect("an orderly stop");
    let ours = Expected { cluster: CLUSTER, node: 1 };

    type Prepare<'a> = &'a dyn Fn(&Path);
    type Try<'a> = &'a dyn Fn(&Path) -> Result<TestStore, OpenError>;
    type Fits<'a> = &'a dyn Fn(&OpenError) -> bool;
    let copy: Prepare<'_> = &|dir| copy_dir(&good, dir);
    let other_cluster = Expected { cluster: ClusterId(1), node: 1 };
    let other_node = Expected { cluster: CLUSTER, node: 2 };
    let damaged = |part| move |e: &OpenError| matches!(e, OpenError::Damaged(d) if d.part == part);
    let (identity_damage, mark_damage, engine_damage) =
        (damaged(DamagedPart::Identity), damaged(DamagedPart::Mark), damaged(DamagedPart::Engine));
    let newer = |dir: &Path| {
        copy(dir);
        let mut bytes = fs::read(dir.join("IDENTITY")).expect("a marker");
        bytes[8] += 1;
        fs::write(dir.join("IDENTITY"), bytes).expect("writable");
    };
    let foreign = |dir: &Path| {
        fs::create_dir_all(dir).expect("writable");
        fs::write(dir.join("holiday.jpg"), b"sea").expect("writable");
    };
    let stage = |stage| {
        move |dir: &Path| {
            copy(dir);
            write_identity(dir, stage);
        }
    };
    let (backup, unfinished) = (stage(IdentityStage::Backup), stage(IdentityStage::Preparing));
    let without = |name: &'static str| {
        move |dir: &Path| {
            copy(dir);
            let path = dir.join(name);
            let removed =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("removable");
        }
    };
    let (no_mark, no_db, no_marker) = (without("MARK"), without("db"), without("IDENTITY"));
    let resume_ours: Try<'_> = &|dir| resume_as(dir, ours);
    let resume_other_cluster = |dir: &Path| resume_as(dir, other_cluster);
    let resume_other_node = |dir: &Path| resume_as(dir, other_node);

    let table: Vec<(&str, Prepare<'_>, Try<'_>, Fits<'_>)> = vec![
        ("missing", &|_| {}, resume_ours, &|e| matches!(e, OpenError::NoStore { .. })),
        ("empty", &|d| fs::create_dir_all(d).expect("writable"), resume_ours, &|e| {
            matches!(e, OpenError::NoStore { .. })
        }),
        ("create over a node", copy, &|d| create_as(d, 1), &|e| {
            matches!(e, OpenError::AlreadyCreated { node: 1, .. })
        }),
        ("create over strangers", &foreign, &|d| create_as(d, 1), &|e| {
            matches!(e, OpenError::ForeignFiles { .. })
        }),
        ("resume strangers", &foreign, resume_ours, &|e| matches!(e, OpenError::NoStore { .. })),
        ("other cluster", copy, &resume_other_cluster, &|e| {
            matches!(e, OpenError::OtherCluster { .. })
        }),
        ("other node", copy, &resume_other_node, &|e| {
            matches!(e, OpenError::OtherNode { expected: 2, found: 1, .. })
        }),
        ("newer", &newer, resume_ours, &|e| {
            matches!(e, OpenError::NewerFormat { found: 2, known: 1, .. })
        }),
        ("create over newer", &newer, &|d| create_as(d, 1), &|e| {
            matches!(e, OpenError::NewerFormat { .. })
        }),
        ("backup", &backup, resume_ours, &|e| matches!(e, OpenError::Backup { node: 1, .. })),
        ("unfinished", &unfinished, resume_ours, &|e| matches!(e, OpenError::Unfinished { .. })),
        ("no mark", &no_mark, resume_ours, &mark_damage),
        ("no database", &no_db, resume_ours, &engine_damage),
        ("no marker", &no_marker, resume_ours, &identity_damage),
        ("create without marker", &no_marker, &|d| create_as(d, 1), &identity_damage),
    ];
    for (name, prepare, attempt, fits) in table {
        let dir = root.path().join(name);
        prepare(&dir);
        let before = dir.exists().then(|| contents(&dir));
        let refused = attempt(&dir).err().unwrap_or_else(|| panic!("{name}: was opened"));
        assert!(fits(&refused), "{name}: {refused}");
        assert!(refused.to_string().split("; ").count() >= 3, "{name}: unclear: {refused}");
        let after = dir.exists().then(|| contents(&dir));
        assert_eq!(before, after, "{name}: the refused directory was changed");
    }
}

// Goal: two processes (here: two handles) cannot work in one directory; after a close the next can.
#[tokio::test]
async fn a_directory_is_locked_while_it_is_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = create(dir.path());
    let refused = try_resume(dir.path()).err().expect("locked");
    assert!(matches!(refused, OpenError::Locked { .. }), "{refused}");
    store.handle.close().await.expect("an orderly stop");
    resume(dir.path());
}

// Goal: parts of two directories do not pass as one: each knows whose it is.
#[tokio::test]
async fn mixed_directories_are_refused() {
    let root = tempfile::tempdir().expect("a directory");
    let (one, two) = (root.path().join("one"), root.path().join("two"));
    for (dir, node) in [(&one, 1), (&two, 2)] {
        create_as(dir, node).expect("empty").handle.close().await.expect("an orderly stop");
    }
    for (name, part) in [("MARK", DamagedPart::Mark), ("db", DamagedPart::Identity)] {
        let mixed = root.path().join(format!("mixed-{name}"));
        copy_dir(&one, &mixed);
        if name == "db" {
            fs::remove_dir_all(mixed.join("db")).expect("removable");
            copy_dir(&two.join("db"), &mixed.join("db"));
        } else {
            fs::copy(two.join(name), mixed.join(name)).expect("a copy");
        }
        let refused = try_resume(&mixed).err().expect("mixed");
        let OpenError::Damaged(damage) = &refused else { panic!("{name}: {refused}") };
        assert_eq!(damage.part, part, "{name}: {refused}");
    }
}

// Goal: an interrupted creation may be repeated, also with another identity, because nothing was
// promised from it.
#[tokio::test]
async fn an_unfinished_creation_is_repeated() {
    let dir = tempfile::tempdir().expect("a directory");
    let store = create(dir.path());
    store.handle.close().await.expect("an orderly stop");
    write_identity(dir.path(), IdentityStage::Preparing);
    let store = create_as(dir.path(), 9).expect("creation starts over");
    assert_eq!(store.handle.identity().node, 9);
}

// Goal: a store that everybody just drops is left as whole as one that was closed.
#[tokio::test]
async fn a_dropped_store_is_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = create(dir.path());
    let entries = append_from(&mut store.log, 1, 0, 40).await;
    drop(store);
    // The thread that owns the directory ends by itself; the lock says when.
    let mut reopened = None;
    crate::kit::wait_until("the directory is free", async || {
        reopened = try_resume(dir.path()).ok();
        reopened.is_some()
    })
    .await;
    let mut store = reopened.expect("opened");
    assert_eq!(read_log(&mut store.log, ..).await, entries);
}

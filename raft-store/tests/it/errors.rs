//! Disks that fail: an error of one write or sync, a full disk; and callers that break the contract.

use std::process::Command as Process;

use openraft::storage::RaftLogStorage;
use tandem_raft_store::faults::Faults;
use tandem_raft_store::limits::ROW_KEY_BYTES;
use tandem_raft_store::{DirectoryState, Expected, Fatal, FatalCause, NoObserver, Start, survey};

use crate::kit::child::{Assignment, child_arguments, say, start_wrapped};
use crate::kit::stores::open;
use crate::kit::{
    CLUSTER, Command, TestStore, append, append_from, apply, apply_log, blank, commands, create,
    identity, read_log, resume, vote,
};

fn only_fatal(store: &TestStore) -> Fatal {
    let fatals = store.fatals.lock();
    assert_eq!(fatals.len(), 1, "the handler is told once: {fatals:?}");
    fatals[0].clone()
}

/// After a stop nothing works any more, although the disk is healthy again.
async fn assert_stopped(store: &mut TestStore, next_index: u64) {
    assert!(append(&mut store.log, vec![blank(1, next_index)]).await.is_err());
    assert!(store.log.save_vote(&vote(99, 1)).await.is_err());
    assert!(apply(&mut store.machine, vec![blank(1, 0)]).await.is_err());
    assert!(store.handle.history_page(None, 10).is_err());
    assert!(store.handle.fatal().is_some());
    assert_eq!(store.fatals.lock().len(), 1, "the handler was told again");
}

// Goal: the first failing write or sync stops the store for good: the append fails, nothing is
// retried, the handler hears of it once; and what was acknowledged before is there after a restart.
#[tokio::test]
async fn a_failing_disk_stops_the_store() {
    type Plan = fn(&Faults);
    let table: [(&str, Plan, FatalCause); 2] = [
        ("sync", |faults| faults.fail_sync(1), FatalCause::Sync),
        ("write", |faults| faults.fail_write(1), FatalCause::Write),
    ];
    for (name, plan, cause) in table {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = create(dir.path());
        let kept = append_from(&mut store.log, 1, 0, 50).await;
        plan(&store.faults);
        let refused = append(&mut store.log, vec![blank(1, 50)]).await;
        let message = refused.expect_err("the disk failed").to_string();
        assert!(message.contains("Input/output error"), "{name}: {message}");
        assert_eq!(only_fatal(&store).cause, cause, "{name}");
        assert_stopped(&mut store, 51).await;
        assert!(store.handle.close().await.is_err(), "{name}: closing must not hide the failure");
        let mut again = resume(dir.path());
        let found = read_log(&mut again.log, ..).await;
        assert_eq!(found[..50], kept[..], "{name}: acknowledged entries are lost");
        assert!(found.len() <= 51, "{name}: entries appeared that were refused");
    }
}

// Goal: a vote is not reported as saved when its sync or its mark fails.
#[tokio::test]
async fn a_vote_needs_sync_and_mark() {
    for name in ["sync", "mark"] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = create(dir.path());
        store.log.save_vote(&vote(3, 1)).await.expect("a healthy disk");
        if name == "sync" {
            store.faults.fail_sync(1)
        } else {
            store.faults.fail_mark(1)
        }
        assert!(store.log.save_vote(&vote(4, 1)).await.is_err(), "{name}");
        let expected = if name == "sync" { FatalCause::Sync } else { FatalCause::Mark };
        assert_eq!(only_fatal(&store).cause, expected);
        assert_stopped(&mut store, 0).await;
    }
}

// Goal: whoever waits for room in the queue is told when the store stops, instead of waiting for
// ever.
#[tokio::test]
async fn waiting_callers_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = create(dir.path());
    store.faults.delay_sync(std::time::Duration::from_millis(50));
    store.faults.fail_sync(3);
    let value = vec![1_u8; 1024 * 1024];
    let mut index = 0;
    let error = loop {
        let entry = commands(1, index, &[Command::put("key", value.clone())]);
        let callback = openraft::storage::IOFlushed::noop();
        match store.log.append(vec![entry], callback).await {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
        assert!(index < 1_000, "the queue takes everything");
    };
    assert!(error.to_string().contains("sync"), "{error}");
    assert_eq!(only_fatal(&store).cause, FatalCause::Sync);
}

// Goal: a machine that panics stops its node with the panic's words, and answers nobody.
#[tokio::test]
async fn a_panicking_machine_stops_the_store() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = create(dir.path());
    let entry = commands(1, 0, &[Command::Panic]);
    assert!(apply(&mut store.machine, vec![entry]).await.is_err());
    let fatal = only_fatal(&store);
    assert_eq!(fatal.cause, FatalCause::MachinePanic);
    assert!(fatal.detail.contains("planted panic"), "{fatal}");
    assert_stopped(&mut store, 0).await;
}

// Goal: a caller that would tear the log is refused before anything is written.
#[tokio::test]
async fn broken_contracts_are_refused() {
    type Break =
        for<'a> fn(&'a mut TestStore) -> futures_util::future::BoxFuture<'a, std::io::Result<()>>;
    let table: [(&str, Break); 4] = [
        ("a hole", |store| Box::pin(append(&mut store.log, vec![blank(1, 12)]))),
        ("cutting into the purged part", |store| {
            Box::pin(store.log.truncate_after(Some(blank(1, 3).log_id)))
        }),
        ("truncating to an entry of another term", |store| {
            Box::pin(store.log.truncate_after(Some(blank(7, 8).log_id)))
        }),
        ("a row with too long a key", |store| {
            let key = vec![7_u8; ROW_KEY_BYTES + 1];
            let entry = commands(1, 6, &[Command::put(key, "value")]);
            Box::pin(async move {
                apply(&mut store.machine, vec![entry]).await?;
                // The rows are written behind the answer; the fence shows what became of them.
                store.handle.settle().await.map_err(Into::into)
            })
        }),
    ];
    for (name, breaks) in table {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = create(dir.path());
        let entries = append_from(&mut store.log, 1, 0, 10).await;
        apply_log(&mut store, 5).await;
        store.log.purge(entries[4].log_id).await.expect("a healthy disk");
        store.handle.settle().await.expect("everything above is written");
        assert!(breaks(&mut store).await.is_err(), "{name}: accepted");
        assert_eq!(only_fatal(&store).cause, FatalCause::Contract, "{name}");
        assert!(store.handle.close().await.is_err());
        let mut again = resume(dir.path());
        assert_eq!(read_log(&mut again.log, ..).await, entries[5..], "{name}");
    }
}

// ---- a full disk --------------------------------------------------------------------------------

/// Size of the small disk.
const DISK: &str = "16m";

// Goal: a full disk stops the store with the right advice before anything is acknowledged that is
// not there, and when space returns everything acknowledged is there.
#[test]
fn a_full_disk_stops_the_store_and_loses_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = Process::new("unshare");
    let mount = format!(
        "mount -t tmpfs -o size={DISK} tmpfs \"$TANDEM_STORE_TEST_DIR\" && exec \"$0\" \"$@\""
    );
    command.args(["--mount", "--map-root-user", "--user", "sh", "-c", &mount]);
    command.arg(std::env::current_exe().expect("own binary")).args(child_arguments());
    let mut child = start_wrapped(command, &Assignment::new("fill", dir.path(), 5));
    let said = child.rest();
    let (status, stderr) = child.wait();
    assert!(
        status.success() && said.last().map(String::as_str) == Some("all there"),
        "the child needs `unshare` and the right to mount a tmpfs in a namespace of its own, or it \
         found a fault: {status}, it said {said:?}\n{stderr}"
    );
}

/// The child's side: fills its small disk, frees space, looks.
pub(crate) async fn fill_the_disk(assignment: &Assignment) {
    let dir = assignment.dir.join("node");
    let ballast = assignment.dir.join("ballast");
    std::fs::write(&ballast, vec![1_u8; 4 * 1024 * 1024]).expect("room for ballast");
    assert_eq!(survey(&dir).expect("readable"), DirectoryState::Empty);
    let start = Start::Create(identity(1));
    let mut store = open(&dir, start, Faults::new(), NoObserver).expect("room for a store");
    let mut acknowledged = Vec::new();
    let refused = loop {
        let index = acknowledged.len() as u64;
        let entry = commands(1, index, &[Command::put("key", vec![index as u8; 20_000])]);
        match append(&mut store.log, vec![entry.clone()]).await {
            Ok(()) => acknowledged.push(entry),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 10_000, "the disk does not fill");
    };
    say(format!("{} acknowledged, then: {refused}", acknowledged.len()));
    let fatal = only_fatal(&store);
    assert!(fatal.is_disk_full(), "not recognised as a full disk: {fatal}");
    assert!(fatal.to_string().contains("free space"), "{fatal}");
    assert_stopped(&mut store, acknowledged.len() as u64 + 1).await;
    assert!(store.handle.close().await.is_err());
    drop(store);

    std::fs::remove_file(&ballast).expect("space returns");
    let start = Start::Resume(Expected { cluster: CLUSTER, node: 1 });
    let mut store = open(&dir, start, Faults::new(), NoObserver).expect("a whole directory");
    let found = read_log(&mut store.log, ..).await;
    assert_eq!(found[..acknowledged.len()], acknowledged[..], "acknowledged entries are lost");
    assert!(acknowledged.len() > 50, "too few to prove anything");
    let next = found.len() as u64;
    append(&mut store.log, vec![blank(2, next)]).await.expect("room again");
    say("all there");
}

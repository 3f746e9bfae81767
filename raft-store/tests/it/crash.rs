//! Children that are killed at random moments, or abort at planted points, over and over on the same
//! directory. What a child said before it died must be there afterwards.
//!
//! A failing round prints its seed; `TANDEM_SEED=n` runs the test with that seed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use openraft::storage::{
    IOFlushed, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
};
use openraft::type_config::TypeConfigExt;
use tandem_raft_store::faults::{CrashPoint, Faults};
use tandem_raft_store::{
    DirectoryState, Entry, Expected, NoObserver, OpenError, Start, StoreHandle, TypeConfig, Vote,
    log_id, survey,
};

use crate::kit::child::{Assignment, Running, say, start};
use crate::kit::stores::open;
use crate::kit::{
    CLUSTER, Command, Rng, Table, TestStore, append, apply_log, commands, create, identity,
    read_log, resume, table_digest, try_resume, vote,
};

/// Rounds that end with a SIGKILL at a random moment.
const KILLED_ROUNDS: u64 = 40;

/// The entry at a position: the same whoever makes it, so that a parent can check a child's log.
fn entry_at(term: u64, index: u64) -> Entry {
    let key = format!("key-{:02}", index % 50);
    let filler = "x".repeat((index * 7919 % 300) as usize);
    let put = Command::put(key.clone(), format!("value-{term}-{index}-{filler}"));
    let batch = match index % 11 {
        3 => vec![put, Command::Finish(key.into())],
        7 => vec![Command::Delete(key.into())],
        _ => vec![put],
    };
    commands(term, index, &batch)
}

// ---- the child's side ---------------------------------------------------------------------------

// Goal: a child of this binary plays its role; without one, that a child can be started and heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_play_their_role() {
    let Some(assignment) = Assignment::of_this_process() else {
        let mut child = start(&Assignment::new("hello", Path::new("."), 7));
        assert_eq!(child.line().as_deref(), Some("hello 7"));
        assert!(child.wait().0.success());
        return;
    };
    match assignment.role.as_str() {
        "hello" => say(format!("hello {}", assignment.seed)),
        "work" => work(&assignment).await,
        "create" => create_and_report(&assignment),
        "close" => append_and_close(&assignment).await,
        "build" => build_large(&assignment).await,
        "install" => install_from_source(&assignment).await,
        "memory" => crate::bounds::use_memory(&assignment).await,
        "fill" => crate::errors::fill_the_disk(&assignment).await,
        role => panic!("unknown role {role}"),
    }
}

fn open_assigned(assignment: &Assignment) -> TestStore {
    let start = match survey(&assignment.dir).expect("readable") {
        DirectoryState::Node(_) => Start::Resume(Expected { cluster: CLUSTER, node: 1 }),
        _ => Start::Create(identity(1)),
    };
    open(&assignment.dir, start, assignment.faults(), NoObserver).expect("a whole directory")
}

/// Works until killed, and says what is done:
/// `A term first last` appended and acknowledged; `V term` vote saved; `t index` about to truncate
/// behind index; `g index` about to purge; `P index` applied; `S` snapshot built.
async fn work(assignment: &Assignment) {
    let mut store = open_assigned(assignment);
    let mut rng = Rng::new(assignment.seed);
    let mut worker = Worker::of(&mut store).await;
    say("up");
    loop {
        worker.step(&mut store, &mut rng).await;
    }
}

struct Worker {
    term: u64,
    last: Option<u64>,
    applied: Option<u64>,
}

impl Worker {
    async fn of(store: &mut TestStore) -> Self {
        // What was committed is applied first, as openraft does it: it may not be truncated any more.
        if let Some(committed) = store.log.read_committed().await.expect("readable") {
            apply_log(store, committed.index).await;
        }
        let state = store.log.get_log_state().await.expect("readable");
        let mut reader = store.log.get_log_reader().await;
        let vote = reader.read_vote().await.expect("readable");
        let (applied, _) = store.machine.applied_state().await.expect("readable");
        let mut worker = Self {
            term: vote.map_or(0, |vote| vote.leader_id.term),
            last: state.last_log_id.map(|id| id.index),
            applied: applied.map(|id| id.index),
        };
        worker.save_vote(store).await;
        worker
    }

    async fn save_vote(&mut self, store: &mut TestStore) {
        self.term += 1;
        store.log.save_vote(&vote(self.term, 1)).await.expect("a healthy disk");
        say(format!("V {}", self.term));
    }

    async fn step(&mut self, store: &mut TestStore, rng: &mut Rng) {
        match rng.below(100) {
            0..60 => self.append_some(store, rng).await,
            60..66 => self.save_vote(store).await,
            66..82 => self.apply_some(store, rng).await,
            82..88 => self.truncate_some(store, rng).await,
            88..94 => self.purge_some(store, rng).await,
            _ => {
                let mut builder = store.machine.get_snapshot_builder().await;
                builder.build_snapshot().await.expect("a healthy disk");
                say("S");
            }
        }
    }

    /// Several appends in flight at once, as openraft does it.
    async fn append_some(&mut self, store: &mut TestStore, rng: &mut Rng) {
        let mut flying = Vec::new();
        for _ in 0..rng.range(1..5) {
            let first = self.last.map_or(0, |last| last + 1);
            let last = first + rng.below(20);
            let entries: Vec<Entry> =
                (first..=last).map(|index| entry_at(self.term, index)).collect();
            let (sender, done) = TypeConfig::oneshot();
            store.log.append(entries, IOFlushed::signal(sender)).await.expect("a healthy disk");
            flying.push((first, last, done));
            self.last = Some(last);
        }
        for (first, last, done) in flying {
            done.await.expect("an answer").expect("a healthy disk");
            say(format!("A {} {first} {last}", self.term));
        }
    }

    async fn apply_some(&mut self, store: &mut TestStore, rng: &mut Rng) {
        let from = self.applied.map_or(0, |applied| applied + 1);
        let Some(last) = self.last else { return };
        if last < from {
            return;
        }
        let through = rng.range(from..last + 1);
        let id = read_log(&mut store.log, through..=through).await[0].log_id;
        store.log.save_committed(Some(id)).await.expect("a healthy disk");
        apply_log(store, through).await;
        self.applied = Some(through);
        say(format!("P {through}"));
    }

    async fn truncate_some(&mut self, store: &mut TestStore, rng: &mut Rng) {
        let from = self.applied.map_or(0, |applied| applied + 1);
        let Some(last) = self.last else { return };
        if last <= from {
            return;
        }
        let after = rng.range(from..last);
        let id = read_log(&mut store.log, after..=after).await[0].log_id;
        say(format!("t {after}"));
        store.log.truncate_after(Some(id)).await.expect("a healthy disk");
        self.last = Some(after);
        self.save_vote(store).await;
    }

    async fn purge_some(&mut self, store: &mut TestStore, rng: &mut Rng) {
        let state = store.log.get_log_state().await.expect("readable");
        let from = state.last_purged_log_id.map_or(0, |id| id.index + 1);
        let Some(applied) = self.applied else { return };
        if applied <= from + 5 {
            return;
        }
        let upto = rng.range(from..applied - 4);
        let id = read_log(&mut store.log, upto..=upto).await[0].log_id;
        say(format!("g {upto}"));
        store.log.purge(id).await.expect("a healthy disk");
    }
}

fn create_and_report(assignment: &Assignment) {
    open_assigned(assignment);
    say("created");
}

async fn append_and_close(assignment: &Assignment) {
    let mut store = open_assigned(assignment);
    append(&mut store.log, (0..100).map(|index| entry_at(1, index)).collect())
        .await
        .expect("a healthy disk");
    say("A 1 0 99");
    store.handle.close().await.expect("an orderly stop");
}

/// Enough rows for several frames, then a snapshot.
async fn build_large(assignment: &Assignment) {
    let mut store = open_assigned(assignment);
    let entries = large_entries();
    append(&mut store.log, entries.clone()).await.expect("a healthy disk");
    apply_log(&mut store, entries.len() as u64 - 1).await;
    let mut builder = store.machine.get_snapshot_builder().await;
    builder.build_snapshot().await.expect("a healthy disk");
    say("built");
}

fn large_entries() -> Vec<Entry> {
    (0..200)
        .map(|index| {
            let value = vec![index as u8; 5_000];
            commands(1, index, &[Command::put(format!("large-{index:04}"), value)])
        })
        .collect()
}

/// Takes the snapshot of the store in `source/` into the one in `target/` and installs it.
async fn install_from_source(assignment: &Assignment) {
    let mut source = resume(&assignment.dir.join("source"));
    let snapshot = source
        .machine
        .get_snapshot_builder()
        .await
        .build_snapshot()
        .await
        .expect("a healthy disk")
        .snapshot;
    let start = Start::Resume(Expected { cluster: CLUSTER, node: 1 });
    let target_dir = assignment.dir.join("target");
    let mut target =
        open(&target_dir, start, assignment.faults(), NoObserver).expect("a whole directory");
    let mut receiver = target.handle.receive_snapshot(snapshot.info().clone()).expect("a transfer");
    while receiver.offset() < snapshot.len() {
        let chunk = snapshot.read_chunk(receiver.offset(), 64 * 1024).expect("readable");
        receiver.write(receiver.offset(), &chunk).expect("in order");
    }
    let received = receiver.finish().expect("whole");
    let meta = received.meta();
    target.machine.install_snapshot(&meta, received).await.expect("a healthy disk");
    say("installed");
}

// ---- the parent's side --------------------------------------------------------------------------

/// What the children promised so far.
#[derive(Debug, Default)]
struct Promises {
    /// Term of every acknowledged entry that nobody meant to truncate, purged ones included.
    terms: BTreeMap<u64, u64>,
    vote_term: u64,
    /// The highest index that somebody meant to purge.
    purge_meant: Option<u64>,
}

impl Promises {
    fn hear(&mut self, line: &str) {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let numbers: Vec<u64> = words.map(|word| word.parse().expect("a number")).collect();
        match (kind, &numbers[..]) {
            ("A", [term, first, last]) => {
                self.terms.extend((*first..=*last).map(|index| (index, *term)));
            }
            ("V", [term]) => self.vote_term = *term,
            ("t", [after]) => {
                self.terms.split_off(&(after + 1));
            }
            ("g", [upto]) => self.purge_meant = self.purge_meant.max(Some(*upto)),
            ("P", [_]) | ("S" | "up", []) => {}
            _ => panic!("a child said {line:?}"),
        }
    }

    /// Opens the directory and compares; takes over what else the log has.
    async fn check(&mut self, dir: &Path, round: &str) {
        let mut store =
            try_resume(dir).unwrap_or_else(|refused| panic!("{round}: refused: {refused}"));
        let report = store.handle.recovery().clone();
        let purged = report.purged.map(|id| id.index);
        assert!(purged <= self.purge_meant, "{round}: purged {purged:?}, nobody meant that");
        let vote_term = report.vote.map_or(0, |vote: Vote| vote.leader_id.term);
        assert!(vote_term >= self.vote_term, "{round}: vote {vote_term} < {}", self.vote_term);

        let log = read_log(&mut store.log, ..).await;
        let in_log: BTreeMap<u64, &Entry> =
            log.iter().map(|entry| (entry.log_id.index, entry)).collect();
        for (index, term) in &self.terms {
            if Some(*index) <= purged {
                continue;
            }
            let entry = in_log.get(index).unwrap_or_else(|| panic!("{round}: lost entry {index}"));
            assert_eq!(**entry, entry_at(*term, *index), "{round}: another entry at {index}");
        }
        for entry in &log {
            self.terms.insert(entry.log_id.index, entry.log_id.leader_id.term);
        }
        self.check_state(&store.handle, round);
        store.handle.close().await.expect("an orderly stop");
    }

    /// The rows are what the log up to their position makes.
    fn check_state(&self, handle: &StoreHandle<Table>, round: &str) {
        let (applied, digest) = handle.digest();
        let end = applied.map_or(0, |id| id.index + 1);
        let replayed: Vec<Entry> =
            self.terms.range(..end).map(|(index, term)| entry_at(*term, *index)).collect();
        assert_eq!(replayed.len() as u64, end, "{round}: the parent misses entries");
        assert_eq!(digest, table_digest(&replayed), "{round}: the rows are not the log's");
    }
}

fn seed() -> u64 {
    let given = std::env::var("TANDEM_SEED").ok().map(|text| text.parse().expect("a number"));
    given.unwrap_or(0x7a4d_0001)
}

fn hear_all(child: &mut Running, promises: &mut Promises) {
    while let Some(line) = child.line() {
        promises.hear(&line);
    }
}

// Goal: whatever moment a node is killed at, everything that it acknowledged is there again, the
// vote never goes back, and the rows are exactly a prefix of the log.
#[tokio::test]
async fn killed_at_random_moments() {
    let seed = seed();
    println!("seed {seed}: run again with TANDEM_SEED={seed}");
    let dir = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::new(seed);
    let mut promises = Promises::default();
    for round in 0..KILLED_ROUNDS {
        let name = format!("seed {seed} round {round}");
        let mut child = start(&Assignment::new("work", dir.path(), rng.next()));
        if rng.below(8) == 0 && round > 0 {
            // Somewhere in opening.
            tokio::time::sleep(Duration::from_micros(rng.below(60_000))).await;
        } else {
            for _ in 0..rng.range(2..160) {
                let Some(line) = child.line() else {
                    let (status, stderr) = child.wait();
                    panic!("{name}: the child ended by itself: {status}\n{stderr}");
                };
                promises.hear(&line);
            }
        }
        child.kill();
        hear_all(&mut child, &mut promises);
        drop(child.wait());
        promises.check(dir.path(), &name).await;
    }
    assert!(promises.terms.len() > 500, "the children did too little to prove anything");
}

// Goal: the same for a death exactly between two steps that recovery must tell apart.
#[tokio::test]
async fn aborted_at_planted_points() {
    let seed = seed() ^ 0xab;
    println!("seed {seed}");
    let dir = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::new(seed);
    let mut promises = Promises::default();
    let points = [
        CrashPoint::GroupBeforeWrite,
        CrashPoint::GroupBeforeSync,
        CrashPoint::GroupBeforeReport,
        CrashPoint::VoteBeforeMark,
        CrashPoint::MarkHalfWritten,
        CrashPoint::TruncateAfterMark,
        CrashPoint::SnapshotBeforeRename,
    ];
    // The first child makes the directory; a creation that dies has its own test.
    let mut child = start(&Assignment::new("work", dir.path(), rng.next()));
    for _ in 0..20 {
        promises.hear(&child.line().expect("a working child"));
    }
    child.kill();
    hear_all(&mut child, &mut promises);
    drop(child.wait());
    for point in points {
        for nth in [1, 2, 7] {
            let name = format!("seed {seed} {point:?} {nth}");
            let assignment =
                Assignment::new("work", dir.path(), rng.next()).crashing_at(point, nth);
            let mut child = start(&assignment);
            hear_all(&mut child, &mut promises);
            assert_aborted(child, &name);
            promises.check(dir.path(), &name).await;
        }
    }
}

fn assert_aborted(child: Running, name: &str) {
    use std::os::unix::process::ExitStatusExt;
    const SIGABRT: i32 = 6;
    let (status, stderr) = child.wait();
    assert_eq!(status.signal(), Some(SIGABRT), "{name}: {status}\n{stderr}");
}

// Goal: a death in the middle of creation leaves a directory that says so and can be created again;
// one in the middle of an orderly stop loses nothing.
#[tokio::test]
async fn aborted_while_creating_and_closing() {
    for point in [CrashPoint::CreateAfterPreparing, CrashPoint::CreateBeforeReady] {
        let dir = tempfile::tempdir().expect("a directory");
        let child = start(&Assignment::new("create", dir.path(), 0).crashing_at(point, 1));
        assert_aborted(child, "create");
        let refused = try_resume(dir.path()).err().expect("not a node yet");
        assert!(matches!(refused, OpenError::Unfinished { .. }), "{point:?}: {refused}");
        let store = create(dir.path());
        store.handle.close().await.expect("an orderly stop");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let mut child =
        start(&Assignment::new("close", dir.path(), 0).crashing_at(CrashPoint::CloseBeforeMark, 1));
    let mut promises = Promises::default();
    hear_all(&mut child, &mut promises);
    assert_aborted(child, "close");
    promises.check(dir.path(), "close").await;
    assert_eq!(promises.terms.len(), 100);
}

// Goal: a death while a snapshot is built leaves no half file, and the next one is built whole.
#[tokio::test]
async fn aborted_while_building_a_snapshot() {
    for (point, nth) in [
        (CrashPoint::SnapshotHalfBuilt, 1),
        (CrashPoint::SnapshotHalfBuilt, 3),
        (CrashPoint::SnapshotBeforeRename, 1),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let child = start(&Assignment::new("build", dir.path(), 0).crashing_at(point, nth));
        assert_aborted(child, "build");
        let leftovers = std::fs::read_dir(dir.path().join("snapshots")).expect("a shelf").count();
        assert_eq!(leftovers, 1, "{point:?}: the crash should leave a half file");
        let mut store = resume(dir.path());
        assert_eq!(store.handle.recovery().snapshot, None, "{point:?}");
        let left = std::fs::read_dir(dir.path().join("snapshots")).expect("a shelf").count();
        assert_eq!(left, 0, "{point:?}: the half file is still there");
        apply_log(&mut store, 199).await;
        let mut builder = store.machine.get_snapshot_builder().await;
        let built = builder.build_snapshot().await.expect("a healthy disk");
        assert_eq!(built.snapshot.info().header.rows, 200);
        assert_eq!(built.snapshot.info().header.digest, table_digest(&large_entries()));
    }
}

// Goal: a death while a snapshot is installed leaves the old state or the new one, never a mixture.
#[tokio::test]
async fn aborted_while_installing_a_snapshot() {
    let old: Vec<Entry> = (0..60).map(|index| entry_at(1, index)).collect();
    let new = large_entries();
    for (point, nth, is_new) in [
        (CrashPoint::InstallHalfway, 1, false),
        (CrashPoint::InstallHalfway, 3, false),
        (CrashPoint::InstallBeforeFlip, 1, false),
        (CrashPoint::InstallAfterFlip, 1, true),
    ] {
        let name = format!("{point:?} {nth}");
        let root = tempfile::tempdir().expect("a directory");
        for (dir, entries) in [("source", &new), ("target", &old)] {
            let mut store = create(&root.path().join(dir));
            append(&mut store.log, entries.clone()).await.expect("a healthy disk");
            apply_log(&mut store, entries.len() as u64 - 1).await;
            store.handle.close().await.expect("an orderly stop");
        }
        let child = start(&Assignment::new("install", root.path(), 0).crashing_at(point, nth));
        assert_aborted(child, &name);

        let target = root.path().join("target");
        let store = resume(&target);
        let expected = if is_new { &new } else { &old };
        let position = expected.last().map(|entry| entry.log_id);
        assert_eq!(store.handle.digest(), (position, table_digest(expected)), "{name}");
        assert!(store.handle.recovery().stray_rows, "{name}: the crash should leave rows behind");
        store.handle.close().await.expect("an orderly stop");
        let again = resume(&target);
        assert!(!again.handle.recovery().stray_rows, "{name}: the rows are still there");
        assert_eq!(again.handle.digest(), (position, table_digest(expected)), "{name}");
    }
}

// Goal: the crash hooks themselves work: a store without a plan reaches every point and lives.
#[tokio::test]
async fn without_a_plan_nothing_crashes() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store =
        open(dir.path(), Start::Create(identity(1)), Faults::new(), NoObserver).expect("empty");
    append(&mut store.log, vec![entry_at(1, 0), entry_at(1, 1)]).await.expect("a healthy disk");
    store.log.truncate_after(Some(log_id(1, 1, 0))).await.expect("a healthy disk");
    store.handle.close().await.expect("an orderly stop");
    assert!(store.fatals.lock().is_empty());
}

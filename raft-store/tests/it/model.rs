//! Random use of the log against a simple model of it: appends, truncations, purges, reads of any
//! range, restarts; with little memory, so that reads come from disk and from memory.

use openraft::storage::{RaftLogReader, RaftLogStorage};
use tandem_raft_store::{Entry, LogId, log_id};

use crate::kit::{
    Command, Rng, TestStore, append, apply, blank, commands, create, read_log, resume,
};

/// What the log should be.
#[derive(Default)]
struct Model {
    entries: Vec<Entry>,
    purged: Option<LogId>,
}

impl Model {
    fn first(&self) -> u64 {
        self.purged.map_or(0, |purged| purged.index + 1)
    }

    fn end(&self) -> u64 {
        self.first() + self.entries.len() as u64
    }

    fn last(&self) -> Option<LogId> {
        self.entries.last().map(|entry| entry.log_id).or(self.purged)
    }

    fn range(&self, from: u64, to: u64) -> Vec<Entry> {
        let first = self.first();
        let from = from.clamp(first, self.end());
        let to = to.clamp(from, self.end());
        self.entries[(from - first) as usize..(to - first) as usize].to_vec()
    }
}

fn seed() -> u64 {
    let given = std::env::var("TANDEM_SEED").ok().map(|text| text.parse().expect("a number"));
    given.unwrap_or(0x10d)
}

fn some_entry(rng: &mut Rng, term: u64, index: u64) -> Entry {
    if rng.below(10) == 0 {
        return blank(term, index);
    }
    // Large enough that memory holds a part of the log only.
    let length = rng.range(100..60_000) as usize;
    commands(term, index, &[Command::put(format!("key-{}", index % 9), vec![index as u8; length])])
}

// Goal: whatever is done to the log in whatever order, every read returns exactly what the model has.
#[tokio::test]
async fn the_log_is_what_the_model_is() {
    let seed = seed();
    println!("seed {seed}: run again with TANDEM_SEED={seed}");
    let dir = tempfile::tempdir().expect("a directory");
    let mut rng = Rng::new(seed);
    let mut store = create(dir.path());
    let mut model = Model::default();
    let mut term = 1;
    // The state machine follows the purge position, as openraft sees to it.
    let mut applied: Option<LogId> = None;
    let (mut from_memory, mut from_disk) = (0, 0);
    for step in 0..900 {
        let what = format!("seed {seed} step {step}");
        match rng.below(100) {
            0..45 => {
                let first = model.end();
                let count = rng.range(1..8);
                let entries: Vec<Entry> =
                    (first..first + count).map(|i| some_entry(&mut rng, term, i)).collect();
                append(&mut store.log, entries.clone()).await.expect("a healthy disk");
                model.entries.extend(entries);
            }
            45..57 => truncate(&mut store, &mut model, &mut rng, applied).await,
            57..61 => {
                applied = purge(&mut store, &mut model, &mut rng, applied).await;
            }
            61..64 => {
                let counters = store.handle.counters();
                from_memory += counters.log_reads_cached;
                from_disk += counters.log_reads_disk;
                store.handle.close().await.expect("an orderly stop");
                store = resume(dir.path());
            }
            _ => {}
        }
        term += u64::from(rng.below(20) == 0);
        check(&mut store, &model, &mut rng, &what).await;
    }
    println!("entries read: {from_memory} from memory, {from_disk} from disk");
    assert!(from_memory > 500 && from_disk > 500, "one of the two ways was not used");
}

async fn truncate(store: &mut TestStore, model: &mut Model, rng: &mut Rng, applied: Option<LogId>) {
    let lowest = model.first().max(applied.map_or(0, |applied| applied.index + 1));
    if model.end() <= lowest {
        return;
    }
    // Mostly the last few, as after a change of the leader; sometimes everything that may go.
    let few = if rng.below(10) == 0 { u64::MAX } else { 10 };
    let keep_below = rng.range(lowest.max(model.end().saturating_sub(few))..model.end());
    let after = match keep_below.checked_sub(1) {
        Some(index) if index >= model.first() => {
            Some(model.entries[(index - model.first()) as usize].log_id)
        }
        _ => model.purged,
    };
    store.log.truncate_after(after).await.expect("a healthy disk");
    model.entries.truncate((keep_below - model.first()) as usize);
}

async fn purge(
    store: &mut TestStore,
    model: &mut Model,
    rng: &mut Rng,
    applied: Option<LogId>,
) -> Option<LogId> {
    if model.entries.len() < 20 {
        return applied;
    }
    let at = rng.below(model.entries.len() as u64 / 2) as usize;
    let upto = model.entries[at].log_id;
    let from = applied.map_or(0, |applied| applied.index + 1);
    let unapplied = model.range(from, upto.index + 1);
    apply(&mut store.machine, unapplied).await.expect("a healthy disk");
    store.log.purge(upto).await.expect("a healthy disk");
    model.entries.drain(..=at);
    model.purged = Some(upto);
    Some(upto)
}

async fn check(store: &mut TestStore, model: &Model, rng: &mut Rng, what: &str) {
    let state = store.log.get_log_state().await.expect("readable");
    assert_eq!(state.last_purged_log_id, model.purged, "{what}");
    assert_eq!(state.last_log_id, model.last(), "{what}");
    let from = rng.range(model.first().saturating_sub(5)..model.end() + 3);
    let to = from + rng.below(40);
    assert!(
        read_log(&mut store.log, from..to).await == model.range(from, to),
        "{what}: {from}..{to}"
    );
    let mut reader = store.log.get_log_reader().await;
    let limited = reader.limited_get_log_entries(from, to).await.expect("readable");
    let expected = model.range(from, to);
    assert!(limited[..] == expected[..limited.len()], "{what}: limited {from}..{to}");
    assert!(expected.is_empty() || !limited.is_empty(), "{what}: limited to nothing");
    use futures_util::StreamExt;
    let stream: Vec<_> = reader.entries_stream(from..to).await.collect().await;
    let streamed: Vec<Entry> = stream.into_iter().map(|entry| entry.expect("readable")).collect();
    assert!(streamed == expected, "{what}: streamed {from}..{to}");
}

// Goal: a purge far beyond the end (what follows a snapshot) and a new beginning there survive a
// restart, with a state that reaches as far.
#[tokio::test]
async fn a_log_that_jumped_ahead_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut store = create(dir.path());
    append(&mut store.log, vec![blank(1, 0), blank(1, 1)]).await.expect("a healthy disk");
    apply(&mut store.machine, vec![blank(5, 500)]).await.expect("a healthy disk");
    store.log.purge(log_id(5, 1, 500)).await.expect("a healthy disk");
    append(&mut store.log, vec![blank(5, 501), blank(6, 502)]).await.expect("a healthy disk");
    store.log.truncate_after(Some(log_id(5, 1, 500))).await.expect("a healthy disk");
    append(&mut store.log, vec![blank(7, 501)]).await.expect("a healthy disk");
    store.handle.close().await.expect("an orderly stop");
    let mut store = resume(dir.path());
    assert_eq!(read_log(&mut store.log, ..).await, vec![blank(7, 501)]);
}

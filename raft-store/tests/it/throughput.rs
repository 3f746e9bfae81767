//! Figures, printed: entries per second and per sync. Nothing is asserted about speed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use tandem_raft_store::{Options, Start, Store, TypeConfig};
use tokio::sync::{Mutex, mpsc};

use crate::cluster::Cluster;
use crate::kit::{Command, Table, commands, identity};

/// Bytes of an entry's payload, about.
const PAYLOAD_BYTES: usize = 200;

// Goal: print what the log store does with 1, 64 and 256 clients, each waiting for its entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_per_second_and_per_sync() {
    println!("clients | entries/s | entries/sync | syncs/s | mean sync us | mark writes");
    for clients in [1, 64, 256] {
        let dir = tempfile::tempdir().expect("a directory");
        let options = Options::new(dir.path(), Start::Create(identity(1)), |fatal| {
            println!("stopped: {fatal}");
        });
        let opened = Store::open::<Table>(&options, tandem_raft_store::NoObserver).expect("empty");
        let handle = opened.handle.clone();
        let log = Arc::new(Mutex::new((opened.log, 0_u64)));
        let began = Instant::now();
        let deadline = began + Duration::from_millis(1_500);
        let (done, mut finished) = mpsc::channel::<u64>(clients);
        for _ in 0..clients {
            let (log, done) = (Arc::clone(&log), done.clone());
            tokio::spawn(async move {
                let mut mine = 0;
                while Instant::now() < deadline {
                    let (sender, synced) = TypeConfig::oneshot();
                    {
                        let mut guard = log.lock().await;
                        let (log, next) = &mut *guard;
                        let put = Command::put("key", vec![7_u8; PAYLOAD_BYTES]);
                        let entry = commands(1, *next, &[put]);
                        *next += 1;
                        log.append([entry], IOFlushed::signal(sender)).await.expect("healthy");
                    }
                    synced.await.expect("an answer").expect("a healthy disk");
                    mine += 1;
                }
                done.send(mine).await.expect("a listener");
            });
        }
        drop(done);
        let mut entries = 0;
        while let Some(mine) = finished.recv().await {
            entries += mine;
        }
        let seconds = began.elapsed().as_secs_f64();
        let counters = handle.counters();
        assert_eq!(counters.entries_synced, entries, "an entry was answered without its sync");
        println!(
            "{clients:7} | {:9.0} | {:12.1} | {:7.0} | {:12.0} | {}",
            entries as f64 / seconds,
            entries as f64 / counters.syncs as f64,
            counters.syncs as f64 / seconds,
            counters.sync_us as f64 / counters.syncs as f64,
            counters.mark_writes
        );
        handle.close().await.expect("an orderly stop");
    }
}

// Goal: print what three nodes of one process do with 1, 64 and 256 clients, each waiting for its
// reply: consensus, three logs on one disk, apply.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicated_entries_per_second() {
    println!("clients | entries/s | entries/sync at the leader | p50 ms | p99 ms (three nodes)");
    let mut cluster = Cluster::start(3, 3).await;
    cluster.write_many(1).await;
    for clients in [1, 64, 256] {
        let leader = cluster.leader().await;
        let (raft, handle) = cluster.parts(leader);
        let before = handle.counters();
        let began = Instant::now();
        let deadline = began + Duration::from_millis(1_500);
        let mut running = Vec::new();
        for client in 0..clients {
            let raft = raft.clone();
            running.push(tokio::spawn(async move {
                let mut latencies = Vec::new();
                while Instant::now() < deadline {
                    let put = Command::put(format!("client-{client}"), vec![7_u8; PAYLOAD_BYTES]);
                    let sent = Instant::now();
                    raft.client_write(Command::batch(&[put])).await.expect("the same leader");
                    latencies.push(sent.elapsed());
                }
                latencies
            }));
        }
        let mut latencies = Vec::new();
        for client in running {
            latencies.extend(client.await.expect("no panic"));
        }
        let seconds = began.elapsed().as_secs_f64();
        latencies.sort_unstable();
        let after = handle.counters();
        let entries = after.entries_synced - before.entries_synced;
        assert!(entries > 0 && !latencies.is_empty(), "nothing was done");
        let at = |share: usize| latencies[latencies.len() * share / 100].as_secs_f64() * 1e3;
        println!(
            "{clients:7} | {:9.0} | {:26.1} | {:6.2} | {:6.2}",
            latencies.len() as f64 / seconds,
            entries as f64 / (after.syncs - before.syncs) as f64,
            at(50),
            at(99),
        );
    }
    cluster.agree(&[1, 2, 3]).await;
    cluster.end().await;
}

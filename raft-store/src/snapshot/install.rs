//! Replaces the machine and its rows by those of a snapshot.
//!
//! Rows carry a generation in their key, and one small record says which generation is the state.
//! So the new rows are written beside the old ones while the file is read and checked, and one
//! write of that record makes them the state, together with position, digest and membership. A
//! crash before it leaves the old state and some rows that the next start removes; a crash after it
//! leaves the new state. Nothing is replaced before the whole file was checked and a machine with
//! the right digest was loaded from it.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::build::BuildParts;
use super::file::SnapshotFile;
use super::read::load;
use crate::counters::add;
use crate::error::{Fatal, FatalCause, SnapshotError, StoreError};
use crate::format::records::StateRecord;
use crate::format::snapshot::SnapshotInfo;
use crate::hooks::CrashPoint;
use crate::live::Live;
use crate::machine::{Machine, Row};
use crate::queue::{Op, Queue};
use crate::types::SnapshotMeta;

/// Frames on their way from the file to the writer thread.
const FRAMES_AHEAD: usize = 4;

/// Installs a snapshot. An error stops the store: openraft gave the order because this node cannot
/// go on without it, and a file from a peer was checked when it was received.
pub(crate) async fn install<M: Machine>(
    live: &Live<M>,
    queue: &Queue,
    parts: &BuildParts,
    meta: &SnapshotMeta,
    snapshot: &SnapshotFile,
) -> Result<(), StoreError> {
    let stop = |detail: String| parts.halt.stop(Fatal::new(FatalCause::Snapshot, detail));
    if snapshot.meta() != *meta {
        return Err(stop(format!("openraft installs {meta}, the file is {}", snapshot.meta())));
    }
    let old_generation = live.generation();
    let generation = old_generation.wrapping_add(1);
    queue.push(0, Op::ClearGeneration { generation }).await?;
    let (machine, info) = write_rows::<M>(queue, parts, snapshot, generation).await?;

    let state = StateRecord { generation, applied: meta.last_log_id, digest: info.header.digest };
    let membership = Box::new(meta.last_membership.clone());
    queue.call(0, |done| Op::InstallFlip { state, membership, done }).await?;
    parts.hooks.reached(CrashPoint::InstallAfterFlip);

    live.replace(machine, &state, meta.last_membership.clone());
    queue.push(0, Op::ClearGeneration { generation: old_generation }).await?;
    adopt(parts, snapshot).await?;
    add(&parts.counters.snapshots_installed, 1);
    tracing::info!(snapshot = ?snapshot, "snapshot installed");
    Ok(())
}

/// Reads the file once: its rows go to the new generation and into a fresh machine.
async fn write_rows<M: Machine>(
    queue: &Queue,
    parts: &BuildParts,
    snapshot: &SnapshotFile,
    generation: u32,
) -> Result<(M, SnapshotInfo), StoreError> {
    let (sender, mut frames) = mpsc::channel::<Vec<Row>>(FRAMES_AHEAD);
    let file = Arc::clone(snapshot.file());
    let loading = tokio::task::spawn_blocking(move || {
        load::<M>(&file, |rows| {
            let sent = sender.blocking_send(rows.to_vec());
            sent.map_err(|_| SnapshotError::Store(StoreError::Closed))
        })
    });
    let mut written = Ok(());
    while let Some(rows) = frames.recv().await {
        let bytes = rows.iter().map(|(key, value)| key.len() + value.len() + 32).sum();
        written = queue.push(bytes, Op::InstallRows { generation, rows }).await;
        if written.is_err() {
            break;
        }
    }
    drop(frames);
    let loaded = loading.await;
    written?;
    match loaded {
        Ok(Ok((machine, info))) if info == *snapshot.info() => Ok((machine, info)),
        Ok(Ok(_)) => Err(parts.halt.stop(Fatal::new(
            FatalCause::Damage,
            "the snapshot's file changed after it was checked",
        ))),
        Ok(Err(refused)) => {
            Err(parts.halt.stop(Fatal::new(FatalCause::Snapshot, refused.to_string())))
        }
        Err(panicked) => {
            Err(parts.halt.stop(Fatal::new(FatalCause::MachinePanic, panicked.to_string())))
        }
    }
}

/// Makes the installed file the current snapshot.
async fn adopt(parts: &BuildParts, snapshot: &SnapshotFile) -> Result<(), StoreError> {
    let (shelf, snapshot) = (Arc::clone(&parts.shelf), snapshot.clone());
    let adopting = tokio::task::spawn_blocking(move || shelf.adopt(&snapshot));
    match adopting.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(parts.halt.stop(Fatal::new(FatalCause::Snapshot, error.to_string()))),
        Err(_) => Err(parts.halt.closed()),
    }
}

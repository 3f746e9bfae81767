//! The leader's door to the log: whatever commands are waiting travel in one entry, with one reply
//! each. No fixed delay: while few entries are in flight a command leaves at once; while many are,
//! commands gather.

use std::sync::Arc;

use bytes::Bytes;
use openraft::{
    errors::ClientWriteError,
    raft::{ClientWriteResult, responder::ProgressResponder},
};
use tandem_cluster::{
    command::{Batch, Envelope},
    ids::{GroupId, NodeId},
    limits::{BATCH_BYTES_MAX, BATCH_COMMANDS_MAX},
    machine::MACHINE_VERSION,
};
use tandem_raft_store::{EntryData, StateMachine, TypeConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{clock::Clock, machine::Replica};

/// Entries of commands in flight at a time.
const ENTRIES_IN_FLIGHT: usize = 8;
/// Groups of commands that may wait for an entry.
const WAITING_MAX: usize = 4_096;
/// Commands that are handed over together; several groups fit one entry.
pub const GROUP_MAX: usize = 256;
/// An entry is closed once it holds this much, so that one more command always fits.
const BATCH_BYTES_FULL: usize = BATCH_BYTES_MAX / 2;

type Raft = openraft::Raft<TypeConfig, StateMachine<Replica>>;
/// One encoded outcome per command.
pub type Outcomes = Vec<Bytes>;

/// Why commands did not enter the log here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// Another node leads; nothing was done.
    #[error("another node leads")]
    NotLeader(Option<NodeId>),
    /// Whether it was done is not known; the same numbers may be proposed again.
    #[error("the outcome is not known yet")]
    Unknown,
    /// Too much is waiting already; nothing was done.
    #[error("too many commands are waiting")]
    Overloaded,
    /// Raft has stopped on this node.
    #[error("this node has stopped")]
    Stopped,
}

struct Waiting {
    envelopes: Vec<Envelope>,
    reply: oneshot::Sender<Result<Outcomes, NotCommitted>>,
}

/// Hands commands to the log of this node.
#[derive(Debug, Clone)]
pub struct Batcher {
    queue: mpsc::Sender<Waiting>,
}

impl Batcher {
    /// Starts the task that makes entries; it ends with the last handle.
    #[must_use]
    pub fn start(raft: Raft, clock: Arc<Clock>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(raft, clock, waiting));
        Self { queue }
    }

    /// Puts commands (at most [`GROUP_MAX`]) into the log and waits for their outcomes.
    ///
    /// # Errors
    /// [`NotCommitted`].
    pub async fn commit(&self, envelopes: Vec<Envelope>) -> Result<Outcomes, NotCommitted> {
        if envelopes.len() > GROUP_MAX {
            return Err(NotCommitted::Overloaded);
        }
        let (reply, outcomes) = oneshot::channel();
        self.queue.try_send(Waiting { envelopes, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotCommitted::Overloaded,
            mpsc::error::TrySendError::Closed(_) => NotCommitted::Stopped,
        })?;
        outcomes.await.unwrap_or(Err(NotCommitted::Unknown))
    }
}

async fn run(raft: Raft, clock: Arc<Clock>, mut waiting: mpsc::Receiver<Waiting>) {
    let in_flight = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
    while let Ok(permit) = Arc::clone(&in_flight).acquire_owned().await {
        let Some(first) = waiting.recv().await else { return };
        let groups = gather(first, &mut waiting);
        if raft.is_leader() {
            propose(&raft, &clock, groups, permit).await;
        } else {
            let leader = raft.current_leader().await.map(NodeId);
            refuse(groups, NotCommitted::NotLeader(leader));
        }
    }
}

/// Everything that waits now, up to the limits of one entry.
fn gather(first: Waiting, waiting: &mut mpsc::Receiver<Waiting>) -> Vec<Waiting> {
    let bytes = |group: &Waiting| -> usize {
        group.envelopes.iter().map(|envelope| envelope.size_hint()).sum()
    };
    let (mut commands, mut size) = (first.envelopes.len(), bytes(&first));
    let mut groups = vec![first];
    while commands + GROUP_MAX <= BATCH_COMMANDS_MAX && size < BATCH_BYTES_FULL {
        let Ok(group) = waiting.try_recv() else { break };
        commands += group.envelopes.len();
        size += bytes(&group);
        groups.push(group);
    }
    groups
}

async fn propose(raft: &Raft, clock: &Clock, groups: Vec<Waiting>, permit: OwnedSemaphorePermit) {
    let (envelopes, replies): (Vec<_>, Vec<_>) =
        groups.into_iter().map(|group| (group.envelopes, group.reply)).unzip();
    let counts: Vec<usize> = envelopes.iter().map(Vec::len).collect();
    let batch = Batch {
        machine_version: MACHINE_VERSION,
        group: GroupId(0),
        time: clock.now(),
        envelopes: envelopes.into_iter().flatten().collect(),
    };
    let data = match batch.encode().map(EntryData::new) {
        Ok(Ok(data)) => data,
        _ => {
            tracing::error!(commands = batch.envelopes.len(), "a batch is over the limits");
            answer(replies, Err(NotCommitted::Overloaded), &counts);
            return;
        }
    };
    let (responder, done) = ProgressResponder::complete_only();
    if raft.client_write_ff(data, Some(responder)).await.is_err() {
        answer(replies, Err(NotCommitted::Stopped), &counts);
        return;
    }
    tokio::spawn(async move {
        let result = match done.await {
            Ok(result) => outcome(result),
            Err(_) => Err(NotCommitted::Unknown),
        };
        answer(replies, result, &counts);
        drop(permit);
    });
}

fn outcome(result: ClientWriteResult<TypeConfig>) -> Result<Outcomes, NotCommitted> {
    match result {
        Ok(response) => Ok(response.data.replies),
        // The entry may have been written before the leadership was lost: not "not done".
        Err(ClientWriteError::ForwardToLeader(_)) => Err(NotCommitted::Unknown),
        Err(error) => {
            tracing::error!(%error, "an entry of commands was refused");
            Err(NotCommitted::Unknown)
        }
    }
}

fn answer(
    replies: Vec<oneshot::Sender<Result<Outcomes, NotCommitted>>>,
    result: Result<Outcomes, NotCommitted>,
    counts: &[usize],
) {
    let mut outcomes = match result {
        Ok(outcomes) => outcomes.into_iter(),
        Err(error) => {
            for reply in replies {
                // Whoever asked may have given up.
                reply.send(Err(error)).ok();
            }
            return;
        }
    };
    for (reply, count) in replies.into_iter().zip(counts) {
        let share: Outcomes = outcomes.by_ref().take(*count).collect();
        let complete = share.len() == *count;
        reply.send(if complete { Ok(share) } else { Err(NotCommitted::Unknown) }).ok();
    }
}

fn refuse(groups: Vec<Waiting>, error: NotCommitted) {
    for group in groups {
        group.reply.send(Err(error)).ok();
    }
}

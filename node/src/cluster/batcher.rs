//! The leader's door to the log: whatever commands are waiting travel in one entry, with one reply
//! each. No fixed delay: while few entries are in flight a command leaves at once; while many are,
//! commands gather.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use openraft::{
    errors::{ClientWriteError, ForwardReason},
    raft::{ClientWriteResult, responder::ProgressResponder},
    type_config::async_runtime::watch::WatchReceiver,
};
use tandem_cluster::{
    command::{Batch, Command, Envelope, Evidence, Room},
    ids::{Epoch, GroupId, NodeId},
};
use tandem_raft_store::{EntryData, StateMachine, StoreHandle, TypeConfig};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{clock::Clock, leader::Heard, machine::Replica};

/// Entries of commands in flight at a time.
const ENTRIES_IN_FLIGHT: usize = 8;
/// While there is no room in flight: how often it is looked whether this node still leads a quorum.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// Groups of commands that may wait for an entry.
const WAITING_MAX: usize = 4_096;
/// Commands that are handed over together; several groups fit one entry.
pub const GROUP_MAX: usize = 256;

type Raft = openraft::Raft<TypeConfig, StateMachine<Replica>>;
/// One encoded outcome per command.
pub type Outcomes = Vec<Bytes>;

/// Why commands did not enter the log here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// Another node leads; nothing was done.
    #[error("another node leads")]
    NotLeader(Option<NodeId>),
    /// This node leads, and no quorum hears it; nothing was done.
    #[error("no quorum hears this leader")]
    NoQuorum,
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
    /// Starts the task that makes entries; it ends with the last handle. A leader whom no quorum heard
    /// for longer than `silence_max` takes nothing in.
    #[must_use]
    pub fn start(
        raft: Raft,
        clock: Arc<Clock>,
        store: StoreHandle<Replica>,
        heard: Heard,
        silence_max: Duration,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(Door { raft, clock, store, heard, silence_max }.run(waiting));
        Self { queue }
    }

    /// Puts commands (one [`Room::of_group`] of [`GROUP_MAX`]) into the log and waits for their outcomes.
    ///
    /// # Errors
    /// [`NotCommitted`].
    pub async fn commit(&self, envelopes: Vec<Envelope>) -> Result<Outcomes, NotCommitted> {
        if Room::of_group(GROUP_MAX).take_all(&envelopes).is_err() {
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

/// What makes entries.
struct Door {
    raft: Raft,
    clock: Arc<Clock>,
    store: StoreHandle<Replica>,
    heard: Heard,
    silence_max: Duration,
}

impl Door {
    async fn run(self, mut waiting: mpsc::Receiver<Waiting>) {
        let in_flight = Arc::new(Semaphore::new(ENTRIES_IN_FLIGHT));
        let mut left = None;
        loop {
            let first = match left.take() {
                Some(first) => first,
                None => match waiting.recv().await {
                    Some(first) => first,
                    None => return,
                },
            };
            let room = self.room(&in_flight).await;
            let (groups, over) = gather(first, &mut waiting);
            left = over;
            match room {
                Ok(permit) => self.propose(groups, permit).await,
                Err(error) => refuse(groups, error),
            }
        }
    }

    /// Waits for room in flight, as long as this node may take something in: without a quorum, what is
    /// in flight never ends.
    async fn room(&self, in_flight: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, NotCommitted> {
        loop {
            if !self.raft.is_leader() {
                let leader = self.raft.current_leader().await.map(NodeId);
                return Err(NotCommitted::NotLeader(leader));
            }
            if !self.is_heard() {
                return Err(NotCommitted::NoQuorum);
            }
            let permit = Arc::clone(in_flight).acquire_owned();
            match tokio::time::timeout(LOOK_EVERY, permit).await {
                Ok(Ok(permit)) => return Ok(permit),
                // Nobody closes it.
                Ok(Err(_)) => return Err(NotCommitted::Stopped),
                Err(_) => {}
            }
        }
    }

    /// Whether a quorum answered this leader lately. What a leader takes in without one may be carried out
    /// long after everybody was told that it failed, when the others come back.
    fn is_heard(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let others = metrics.membership_config.membership().voter_ids().count() > 1;
        match metrics.last_quorum_acked {
            Some(acked) if others => openraft::Instant::elapsed(&*acked) <= self.silence_max,
            // Alone, or a moment after its election.
            _ => true,
        }
    }

    async fn propose(&self, groups: Vec<Waiting>, permit: OwnedSemaphorePermit) {
        let (envelopes, replies): (Vec<_>, Vec<_>) =
            groups.into_iter().map(|group| (group.envelopes, group.reply)).unzip();
        let counts: Vec<usize> = envelopes.iter().map(Vec::len).collect();
        let mut envelopes: Vec<Envelope> = envelopes.into_iter().flatten().collect();
        envelopes.iter_mut().for_each(|envelope| {
            withdraw(&mut envelope.command, |node, epoch| self.heard.gave_up(node, epoch));
        });
        let batch = Batch {
            // The version in force, not ours: an older follower must not stop over our entries.
            machine_version: self.store.read(|replica, _| replica.0.header().machine_version),
            group: GroupId(0),
            time: self.clock.now(),
            envelopes,
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
        if self.raft.client_write_ff(data, Some(responder)).await.is_err() {
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
}

/// Takes the effect from a verdict that a lease ran out, unless this leader gave it: a predecessor's may
/// come late, and the lease may run again by then. Its number is used up by a life that never was, or
/// it would be tried again and again.
fn withdraw(command: &mut Command, gave_up: impl Fn(NodeId, Epoch) -> bool) {
    if let Command::NodeLost { node, epoch, evidence: Evidence::LeaseExpired } = command
        && !gave_up(*node, *epoch)
    {
        tracing::info!(%node, %epoch, "an earlier leader's verdict on a lease is withdrawn");
        *epoch = Epoch(0);
    }
}

/// Everything that waits now and fits one entry, and the group that did not fit any more.
fn gather(
    first: Waiting,
    waiting: &mut mpsc::Receiver<Waiting>,
) -> (Vec<Waiting>, Option<Waiting>) {
    let mut room = Room::of_entry();
    let mut groups = Vec::new();
    let mut next = Some(first);
    while let Some(group) = next {
        // A group alone always fits an empty entry.
        if room.take_all(&group.envelopes).is_err() && !groups.is_empty() {
            return (groups, Some(group));
        }
        groups.push(group);
        next = waiting.try_recv().ok();
    }
    (groups, None)
}

fn outcome(result: ClientWriteResult<TypeConfig>) -> Result<Outcomes, NotCommitted> {
    match result {
        Ok(response) => Ok(response.data.replies),
        // openraft's own rule: it was refused at the door.
        Err(ClientWriteError::ForwardToLeader(forward))
            if forward.reason == ForwardReason::LeaseExpired =>
        {
            Err(NotCommitted::NoQuorum)
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: only a verdict on a lease that this leader did not give is withdrawn.
    #[test]
    fn whose_verdict_counts() {
        let lost = |epoch, evidence| Command::NodeLost { node: NodeId(2), epoch, evidence };
        for (evidence, gave_up, counts) in [
            (Evidence::LeaseExpired, true, true),
            (Evidence::LeaseExpired, false, false),
            (Evidence::Witness, false, true),
        ] {
            let mut command = lost(Epoch(4), evidence);
            withdraw(&mut command, |node, epoch| {
                assert_eq!((node, epoch), (NodeId(2), Epoch(4)));
                gave_up
            });
            let epoch = if counts { Epoch(4) } else { Epoch(0) };
            assert_eq!(command, lost(epoch, evidence), "{evidence:?} {gave_up}");
        }
    }
}

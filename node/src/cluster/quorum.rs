//! Proof that this node leads and a quorum hears it. Many ask, few proofs are made: each proof
//! serves everybody who asked before it began.

use std::time::Duration;

use openraft::ReadPolicy;
use tandem_raft_store::{StateMachine, TypeConfig};
use tokio::sync::{mpsc, oneshot};

use super::machine::Replica;

type Raft = openraft::Raft<TypeConfig, StateMachine<Replica>>;

/// Callers that may wait for one proof.
const WAITING_MAX: usize = 4_096;

/// Asks for proofs.
#[derive(Debug, Clone)]
pub struct Quorum {
    ask: mpsc::Sender<oneshot::Sender<Option<u64>>>,
}

impl Quorum {
    /// Starts the task that proves; `within` bounds one proof.
    #[must_use]
    pub fn start(raft: Raft, within: Duration) -> Self {
        let (ask, asked) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(raft, within, asked));
        Self { ask }
    }

    /// Proves, with a round trip that begins after this call, that this node leads. Returns the log
    /// index that a linearizable read must have applied; `None` when it is not so.
    pub async fn prove(&self) -> Option<u64> {
        let (answer, answered) = oneshot::channel();
        self.ask.try_send(answer).ok()?;
        answered.await.ok().flatten()
    }
}

async fn run(
    raft: Raft,
    within: Duration,
    mut asked: mpsc::Receiver<oneshot::Sender<Option<u64>>>,
) {
    while let Some(first) = asked.recv().await {
        let mut waiting = vec![first];
        while let Ok(next) = asked.try_recv() {
            waiting.push(next);
        }
        let proof = tokio::time::timeout(within, raft.get_read_log_id(ReadPolicy::ReadIndex)).await;
        let index = match proof {
            Ok(Ok((read, _applied))) => Some(read.log_id().index),
            Ok(Err(_)) | Err(_) => None,
        };
        for answer in waiting {
            // Whoever asked may have given up.
            answer.send(index).ok();
        }
    }
}

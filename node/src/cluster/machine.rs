//! The replicated machine of `crates/cluster` behind the store's trait.

use tandem_cluster::{
    ids::GroupId,
    machine::{Effect, Hooks, LoadError, Machine},
};
use tandem_raft_store as store;
use tandem_routing::command::Event;

/// The machine of this program, as the store applies it.
#[derive(Debug)]
pub struct Replica(pub Machine);

/// What the shell hears of each entry.
#[derive(Debug)]
pub enum Heard {
    /// Something to act on.
    Effect(Effect),
    /// Something that happened in the queue.
    Event(Event),
}

/// An entry that this program cannot read stops the node: going on would diverge (invariant R7).
#[derive(Debug, thiserror::Error)]
#[error("log entry {index} cannot be applied: {reason}")]
pub struct Unreadable {
    index: u64,
    reason: String,
}

impl store::Machine for Replica {
    type Effect = Heard;
    type LoadError = LoadError<store::RowsInterrupted>;

    fn empty() -> Self {
        Self(Machine::new(GroupId(0)))
    }

    fn load(
        rows: &mut dyn Iterator<Item = Result<store::Row, store::RowsInterrupted>>,
    ) -> Result<Self, Self::LoadError> {
        Machine::load(GroupId(0), rows).map(Self)
    }

    fn apply(&mut self, position: store::LogId, data: &[u8]) -> store::Applied<Heard> {
        let index = position.index;
        let applied = match self.0.apply(index, data) {
            Ok(applied) => applied,
            #[expect(clippy::panic, reason = "the store's contract: a panic here stops the node")]
            Err(error) => panic!("{}", Unreadable { index, reason: error.to_string() }),
        };
        let effects = applied
            .events
            .into_iter()
            .map(Heard::Event)
            .chain(applied.effects.into_iter().map(Heard::Effect))
            .collect();
        store::Applied {
            reply: store::EntryReply {
                replies: applied.outcomes.into_iter().map(Into::into).collect(),
                note: bytes::Bytes::new(),
            },
            rows: applied.changes.into_iter().map(row_change).collect(),
            history: applied.history.into_iter().chain(applied.feed).map(row_change).collect(),
            effects,
        }
    }

    fn digest(&self) -> [u8; 16] {
        self.0.digest().0.to_be_bytes()
    }
}

impl Replica {
    /// A machine in which tests plant faults.
    #[must_use]
    pub fn with_hooks(hooks: Hooks) -> Self {
        Self(Machine::new(GroupId(0)).with_hooks(hooks))
    }
}

fn row_change(change: tandem_routing::table::RowChange) -> store::RowChange {
    match change.value {
        Some(value) => store::RowChange::Put { key: change.key, value },
        None => store::RowChange::Delete { key: change.key },
    }
}

//! A log entry that a follower acknowledged must still be there: the leader says with its calls what
//! it remembers, and a follower that has less knows that its disk lost what it had synced.
//!
//! Such a disk (it lied about syncs and lost its power, or an old image of it was restored) has also
//! forgotten votes: Raft's safety rests on neither happening (Ongaro's thesis, section 3.8), and
//! the mark that `raft-store` keeps was set back with the rest. Only a peer's memory tells. What no
//! peer remembers (the leader changed since) stays unseen: `docs/operating/failures.md`.

use std::{collections::BTreeMap, sync::Arc};

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use parking_lot::Mutex;
use tandem_cluster::ids::NodeId;
use tandem_raft_store::{TypeConfig, Vote};
use tonic::{
    Status,
    metadata::{BinaryMetadataValue, MetadataMap},
};

use super::{codec, core::Raft};

/// Ends in `-bin`: gRPC's rule for bytes.
const ACKNOWLEDGED: &str = "tandem-acknowledged-bin";
/// Bytes of the index, before the vote's.
const INDEX_BYTES: usize = 8;

/// A position in the log that a follower acknowledged to the leader of a vote.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    vote: Vote,
    index: u64,
}

/// What the other nodes acknowledged to this one in its latest leadership: one index for each.
#[derive(Debug, Clone, Default)]
pub(super) struct Acknowledged(Arc<Mutex<Option<Leadership>>>);

#[derive(Debug)]
struct Leadership {
    vote: Vote,
    indexes: BTreeMap<NodeId, u64>,
}

impl Acknowledged {
    /// Remembers that `node` has everything up to `index`.
    pub(super) fn note(&self, node: NodeId, vote: &Vote, index: u64) {
        let mut latest = self.0.lock();
        match &mut *latest {
            Some(leadership) if leadership.vote == *vote => {
                let known = leadership.indexes.entry(node).or_default();
                *known = index.max(*known);
            }
            // An answer to an earlier leadership may come late.
            Some(leadership) if *vote < leadership.vote => {}
            _ => *latest = Some(Leadership { vote: *vote, indexes: [(node, index)].into() }),
        }
    }

    /// What the answer to one append says.
    pub(super) fn note_reply(
        &self,
        node: NodeId,
        request: &Sent,
        reply: &AppendEntriesResponse<TypeConfig>,
    ) {
        let index = match reply {
            AppendEntriesResponse::Success => request.last,
            AppendEntriesResponse::PartialSuccess(matching) => matching.map(|id| id.index),
            AppendEntriesResponse::Conflict | AppendEntriesResponse::HigherVote(_) => None,
        };
        if let Some(index) = index {
            self.note(node, &request.vote, index);
        }
    }

    /// Tells `node` with a call what is remembered of it.
    pub(super) fn tell(&self, node: NodeId, metadata: &mut MetadataMap) {
        if let Some(position) = self.position(node) {
            let mut bytes = position.index.to_be_bytes().to_vec();
            bytes.extend_from_slice(&codec::vote_bytes(&position.vote));
            metadata.insert_bin(ACKNOWLEDGED, BinaryMetadataValue::from_bytes(&bytes));
        }
    }

    fn position(&self, node: NodeId) -> Option<Position> {
        let latest = self.0.lock();
        let Leadership { vote, indexes } = latest.as_ref()?;
        indexes.get(&node).map(|&index| Position { vote: *vote, index })
    }
}

/// What of an append tells later what its success means.
#[derive(Debug)]
pub(super) struct Sent {
    vote: Vote,
    last: Option<u64>,
}

impl Sent {
    pub(super) fn of(request: &AppendEntriesRequest<TypeConfig>) -> Self {
        let last = request.entries.last().map(|entry| entry.log_id);
        Self { vote: request.vote, last: last.or(request.prev_log_id).map(|id| id.index) }
    }
}

/// Compares what a caller remembers of this node with its log.
///
/// A node that has seen a higher vote is not judged: a newer leader may have cut its log, as Raft
/// permits. Under the same vote, or one that this disk has forgotten, nothing may be gone.
///
/// # Errors
/// INVALID_ARGUMENT when the call is malformed. [`Lost`] in the inner result when entries are gone.
pub(super) async fn compare(
    raft: &Raft,
    metadata: &MetadataMap,
) -> Result<Result<(), Lost>, Status> {
    let Some(position) = read(metadata)? else { return Ok(Ok(())) };
    let state =
        raft.with_raft_state(|state| (*state.vote_ref(), state.log_ids.last().map(|id| id.index)));
    let (vote, last) = state
        .await
        .map_err(|error| Status::unavailable(format!("this node's Raft has stopped: {error}")))?;
    Ok(judge(&position, &vote, last))
}

fn judge(position: &Position, vote: &Vote, last: Option<u64>) -> Result<(), Lost> {
    let whole = *vote > position.vote || last >= Some(position.index);
    if whole { Ok(()) } else { Err(Lost { acknowledged: position.index, last }) }
}

fn read(metadata: &MetadataMap) -> Result<Option<Position>, Status> {
    let Some(value) = metadata.get_bin(ACKNOWLEDGED) else { return Ok(None) };
    let bytes = value.to_bytes().map_err(codec::malformed)?;
    let Some((index, vote)) = bytes.split_first_chunk::<INDEX_BYTES>() else {
        return Err(codec::malformed("an acknowledged position of a few bytes"));
    };
    Ok(Some(Position { vote: codec::vote(vote)?, index: u64::from_be_bytes(*index) }))
}

/// Entries that this node had acknowledged are not in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "this node had acknowledged log entries up to {acknowledged}, and its log ends at {}: its disk \
     lost what it had reported as synced (a write cache without power protection, or an old image \
     that was restored), and may have lost votes with it; do not start this node again: replace \
     the disk, remove the node (tandem cluster remove) and let it join under a new number",
    .last.map_or_else(|| "its beginning".to_owned(), |last| last.to_string())
)]
pub(super) struct Lost {
    acknowledged: u64,
    last: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(term: u64, index: u64) -> Position {
        Position { vote: Vote::new_committed(term, 1), index }
    }

    // Goal: only a log that is shorter under the same vote, or a forgotten one, is lost.
    #[test]
    fn what_is_lost() {
        let remembered = position(4, 90);
        for (vote, last, whole) in [
            (Vote::new_committed(4, 1), Some(90), true),
            (Vote::new_committed(4, 1), Some(120), true),
            (Vote::new_committed(4, 1), Some(89), false),
            (Vote::new_committed(4, 1), None, false),
            // The vote went with the entries.
            (Vote::new_committed(3, 2), Some(70), false),
            // A newer leader, or a newer candidate's vote: the log may have been cut since.
            (Vote::new_committed(5, 2), Some(89), true),
            (Vote::new(5, 2), Some(89), true),
        ] {
            assert_eq!(judge(&remembered, &vote, last).is_ok(), whole, "{vote} {last:?}");
        }
    }

    // Goal: what is noted is what is told: the highest index of the latest vote; nothing of others.
    #[test]
    fn the_latest_position_is_told() {
        let told = |acknowledged: &Acknowledged, node| {
            let mut metadata = MetadataMap::new();
            acknowledged.tell(NodeId(node), &mut metadata);
            read(&metadata).unwrap()
        };
        let acknowledged = Acknowledged::default();
        assert_eq!(told(&acknowledged, 2), None);
        let note = |p: Position| acknowledged.note(NodeId(2), &p.vote, p.index);
        note(position(4, 90));
        note(position(4, 80));
        assert_eq!(told(&acknowledged, 2), Some(position(4, 90)));
        note(position(5, 60));
        note(position(4, 95));
        assert_eq!(told(&acknowledged, 2), Some(position(5, 60)));
        assert_eq!(told(&acknowledged, 3), None);
    }

    // Goal: a success means the last entry sent, or the one before the first when none was.
    #[test]
    fn what_an_answer_acknowledges() {
        let acknowledged = Acknowledged::default();
        let vote = Vote::new_committed(4, 1);
        let sent = |last| Sent { vote, last };
        let index = || acknowledged.position(NodeId(2)).map(|position| position.index);
        acknowledged.note_reply(NodeId(2), &sent(Some(9)), &AppendEntriesResponse::Conflict);
        acknowledged.note_reply(NodeId(2), &sent(None), &AppendEntriesResponse::Success);
        assert_eq!(index(), None);
        acknowledged.note_reply(NodeId(2), &sent(Some(9)), &AppendEntriesResponse::Success);
        assert_eq!(index(), Some(9));
    }

    // Goal: a malformed position is an error.
    #[test]
    fn malformed_positions() {
        for bytes in [&b"short"[..], b"12345678", b"12345678no vote"] {
            let mut metadata = MetadataMap::new();
            metadata.insert_bin(ACKNOWLEDGED, BinaryMetadataValue::from_bytes(bytes));
            assert!(read(&metadata).is_err(), "{bytes:?}");
        }
    }
}

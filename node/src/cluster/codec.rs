//! Raft messages between openraft's types and the wire.
//!
//! Votes, log ids and entries travel in raft-store's own encoding, so that the bytes on the wire are
//! those on disk and have kept samples.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, StreamAppendError, TransferLeaderError,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use tandem_proto::cluster::v1 as wire;
use tandem_raft_store::{
    LogId, TypeConfig, Vote,
    format::{
        FormatError,
        entry::{decode_entry, encode_entry},
        records::{decode_log_id, decode_vote, encode_log_id, encode_vote},
    },
};
use tonic::Status;

type StreamResult = Result<Option<LogId>, StreamAppendError<TypeConfig>>;

/// A message that does not decode: the peer is broken or newer.
pub(super) fn malformed(error: impl std::fmt::Display) -> Status {
    Status::invalid_argument(format!(
        "a Raft message cannot be decoded ({error}): the peer runs a newer Tandem or is broken"
    ))
}

fn log_id_bytes(id: Option<&LogId>) -> Bytes {
    id.map(|id| Bytes::from(encode_log_id(id))).unwrap_or_default()
}

fn log_id(bytes: &[u8]) -> Result<Option<LogId>, FormatError> {
    if bytes.is_empty() { Ok(None) } else { decode_log_id(bytes).map(Some) }
}

pub(super) fn vote_bytes(vote: &Vote) -> Bytes {
    encode_vote(vote).into()
}

pub(super) fn vote(bytes: &[u8]) -> Result<Vote, Status> {
    decode_vote(bytes).map_err(malformed)
}

pub(super) fn append_to_wire(request: &AppendEntriesRequest<TypeConfig>) -> wire::AppendRequest {
    wire::AppendRequest {
        vote: vote_bytes(&request.vote),
        previous: log_id_bytes(request.prev_log_id.as_ref()),
        committed: log_id_bytes(request.leader_commit.as_ref()),
        entries: request.entries.iter().map(|entry| encode_entry(entry).into()).collect(),
    }
}

pub(super) fn append_from_wire(
    request: wire::AppendRequest,
) -> Result<AppendEntriesRequest<TypeConfig>, Status> {
    let read = || {
        Ok::<_, FormatError>(AppendEntriesRequest {
            vote: decode_vote(&request.vote)?,
            prev_log_id: log_id(&request.previous)?,
            leader_commit: log_id(&request.committed)?,
            entries: request.entries.into_iter().map(decode_entry).collect::<Result<_, _>>()?,
        })
    };
    read().map_err(malformed)
}

pub(super) fn append_reply_to_wire(reply: AppendEntriesResponse<TypeConfig>) -> wire::AppendReply {
    use wire::append_reply::Result as Wire;
    let result = match reply {
        AppendEntriesResponse::Success => Wire::Accepted(wire::Accepted {}),
        AppendEntriesResponse::PartialSuccess(matching) => {
            Wire::Matching(log_id_bytes(matching.as_ref()))
        }
        AppendEntriesResponse::Conflict => {
            Wire::Conflict(wire::Conflict { expected: Bytes::new() })
        }
        AppendEntriesResponse::HigherVote(vote) => Wire::HigherVote(vote_bytes(&vote)),
    };
    wire::AppendReply { result: Some(result) }
}

pub(super) fn append_reply_from_wire(
    reply: wire::AppendReply,
) -> Result<AppendEntriesResponse<TypeConfig>, Status> {
    use wire::append_reply::Result as Wire;
    Ok(match reply.result.ok_or_else(|| malformed("an append reply without a result"))? {
        Wire::Accepted(_) => AppendEntriesResponse::Success,
        Wire::Matching(matching) => {
            AppendEntriesResponse::PartialSuccess(log_id(&matching).map_err(malformed)?)
        }
        Wire::Conflict(_) => AppendEntriesResponse::Conflict,
        Wire::HigherVote(bytes) => AppendEntriesResponse::HigherVote(vote(&bytes)?),
    })
}

pub(super) fn stream_reply_to_wire(reply: StreamResult) -> wire::AppendReply {
    use wire::append_reply::Result as Wire;
    let result = match reply {
        Ok(matching) => Wire::Matching(log_id_bytes(matching.as_ref())),
        Err(StreamAppendError::Conflict(expected)) => {
            Wire::Conflict(wire::Conflict { expected: log_id_bytes(Some(&expected)) })
        }
        Err(StreamAppendError::HigherVote(vote)) => Wire::HigherVote(vote_bytes(&vote)),
    };
    wire::AppendReply { result: Some(result) }
}

pub(super) fn stream_reply_from_wire(reply: wire::AppendReply) -> Result<StreamResult, Status> {
    use wire::append_reply::Result as Wire;
    Ok(match reply.result.ok_or_else(|| malformed("an append reply without a result"))? {
        Wire::Matching(matching) => Ok(log_id(&matching).map_err(malformed)?),
        Wire::Conflict(conflict) => {
            let expected = decode_log_id(&conflict.expected).map_err(malformed)?;
            Err(StreamAppendError::Conflict(expected))
        }
        Wire::HigherVote(bytes) => Err(StreamAppendError::HigherVote(vote(&bytes)?)),
        Wire::Accepted(_) => return Err(malformed("a reply of the other kind of append")),
    })
}

pub(super) fn vote_to_wire(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: vote_bytes(&request.vote),
        last_log: log_id_bytes(request.last_log_id.as_ref()),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_from_wire(
    request: &wire::VoteRequest,
) -> Result<VoteRequest<TypeConfig>, Status> {
    let last_log = log_id(&request.last_log).map_err(malformed)?;
    let mut read = VoteRequest::new(vote(&request.vote)?, last_log);
    read.leadership_transfer = request.leadership_transfer;
    Ok(read)
}

pub(super) fn vote_reply_to_wire(reply: &VoteResponse<TypeConfig>) -> wire::VoteReply {
    wire::VoteReply {
        vote: vote_bytes(&reply.vote),
        granted: reply.vote_granted,
        last_log: log_id_bytes(reply.last_log_id.as_ref()),
    }
}

pub(super) fn vote_reply_from_wire(
    reply: &wire::VoteReply,
) -> Result<VoteResponse<TypeConfig>, Status> {
    let last_log = log_id(&reply.last_log).map_err(malformed)?;
    Ok(VoteResponse::new(vote(&reply.vote)?, last_log, reply.granted))
}

pub(super) fn transfer_to_wire(
    request: &TransferLeaderRequest<TypeConfig>,
) -> wire::TransferLeaderRequest {
    wire::TransferLeaderRequest {
        from: vote_bytes(request.from_leader()),
        to: *request.to_node_id(),
        last_log: log_id_bytes(request.last_log_id()),
    }
}

pub(super) fn transfer_from_wire(
    request: &wire::TransferLeaderRequest,
) -> Result<TransferLeaderRequest<TypeConfig>, Status> {
    let last_log = log_id(&request.last_log).map_err(malformed)?;
    Ok(TransferLeaderRequest::new(vote(&request.from)?, request.to, last_log))
}

pub(super) fn transfer_reply_to_wire(
    reply: &TransferLeaderResponse<TypeConfig>,
) -> wire::TransferLeaderReply {
    use wire::transfer_leader_reply::Result as Wire;
    let result = match reply {
        Ok(()) => Wire::Accepted(wire::Accepted {}),
        Err(TransferLeaderError::VoteChanged { actual, .. }) => Wire::VoteIs(vote_bytes(actual)),
        Err(TransferLeaderError::LogNotFlushed { actual, .. }) => {
            Wire::LastLogIs(log_id_bytes(actual.as_ref()))
        }
    };
    wire::TransferLeaderReply { result: Some(result) }
}

pub(super) fn transfer_reply_from_wire(
    reply: &wire::TransferLeaderReply,
    request: &TransferLeaderRequest<TypeConfig>,
) -> Result<TransferLeaderResponse<TypeConfig>, Status> {
    use wire::transfer_leader_reply::Result as Wire;
    let result = reply.result.as_ref();
    Ok(match result.ok_or_else(|| malformed("a transfer reply without a result"))? {
        Wire::Accepted(_) => Ok(()),
        Wire::VoteIs(bytes) => Err(TransferLeaderError::VoteChanged {
            expected: *request.from_leader(),
            actual: vote(bytes)?,
        }),
        Wire::LastLogIs(bytes) => Err(TransferLeaderError::LogNotFlushed {
            expected: request.last_log_id().copied(),
            actual: log_id(bytes).map_err(malformed)?,
        }),
    })
}

#[cfg(test)]
mod tests {
    use tandem_raft_store::log_id as position;

    use super::*;

    // Goal: every reply of a pipelined append survives the wire; a reply of the other kind, or
    // none, is refused instead of misread.
    #[test]
    fn stream_replies_survive() {
        let (id, vote) = (position(3, 1, 77), Vote::new(4, 2));
        for reply in [
            Ok(None),
            Ok(Some(id)),
            Err(StreamAppendError::Conflict(id)),
            Err(StreamAppendError::HigherVote(vote)),
        ] {
            let read = stream_reply_from_wire(stream_reply_to_wire(reply.clone())).unwrap();
            assert_eq!(read, reply);
        }
        assert!(stream_reply_from_wire(wire::AppendReply { result: None }).is_err());
        let other = append_reply_to_wire(AppendEntriesResponse::Success);
        assert!(stream_reply_from_wire(other).is_err());
    }

    // Goal: requests survive with empty and full fields, and damage is an error, not a panic.
    #[test]
    fn requests_survive() {
        let request = AppendEntriesRequest::<TypeConfig> {
            vote: Vote::new_committed(4, 2),
            prev_log_id: None,
            entries: Vec::new(),
            leader_commit: Some(position(3, 1, 5)),
        };
        let wired = append_to_wire(&request);
        let read = append_from_wire(wired.clone()).unwrap();
        assert_eq!((read.vote, read.prev_log_id), (request.vote, request.prev_log_id));
        assert_eq!(read.leader_commit, request.leader_commit);
        let damaged = wire::AppendRequest { vote: Bytes::from_static(b"x"), ..wired };
        assert!(append_from_wire(damaged).is_err());

        let mut ask = VoteRequest::<TypeConfig>::new(Vote::new(9, 3), Some(position(3, 1, 5)));
        ask.leadership_transfer = true;
        assert_eq!(vote_from_wire(&vote_to_wire(&ask)).unwrap(), ask);
        let answer = VoteResponse::<TypeConfig>::new(Vote::new(9, 3), None, true);
        assert_eq!(vote_reply_from_wire(&vote_reply_to_wire(&answer)).unwrap(), answer);
    }
}

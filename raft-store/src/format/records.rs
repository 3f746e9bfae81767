//! The small records: vote, log id, membership, node, purge, state position, committed position.

use std::collections::{BTreeMap, BTreeSet};

use super::{Decoder, Encoder, FormatError};
use crate::limits::{MEMBERS, MEMBERSHIP_CONFIGS, NODE_LABELS, NODE_TEXT_BYTES};
use crate::types::{
    DiskId, LeaderId, LogId, Membership, NodeId, NodeRecord, StoredMembership, Vote,
};

const VERSION: u8 = 1;

const VOTE: &str = "vote";
const LOG_ID: &str = "log id";
const MEMBERSHIP: &str = "membership";
const NODE: &str = "node record";
const PURGE: &str = "purge record";
const STATE: &str = "state position";
const COMMITTED: &str = "committed position";
const STORED_MEMBERSHIP: &str = "stored membership";

/// Encodes a vote, with its own checksum: a damaged vote must not vote twice.
pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    write_vote(&mut out, vote);
    out.seal()
}

/// Decodes a vote.
///
/// # Errors
/// [`FormatError`] for bytes that are no vote, or one of a newer version.
pub fn decode_vote(bytes: &[u8]) -> Result<Vote, FormatError> {
    let mut decoder = Decoder::sealed(VOTE, bytes, VERSION)?;
    let vote = read_vote(&mut decoder)?;
    decoder.end()?;
    Ok(vote)
}

pub(super) fn write_vote(out: &mut Encoder, vote: &Vote) {
    out.u64(vote.leader_id.term).u64(vote.leader_id.node_id).u8(u8::from(vote.committed));
}

pub(super) fn read_vote(decoder: &mut Decoder<'_>) -> Result<Vote, FormatError> {
    let (term, node_id) = (decoder.u64()?, decoder.u64()?);
    let committed = match decoder.u8()? {
        0 => false,
        1 => true,
        _ => return Err(decoder.invalid("committed flag")),
    };
    Ok(Vote { leader_id: LeaderId { term, node_id }, committed })
}

/// Encodes a log id.
pub fn encode_log_id(id: &LogId) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    out.log_id(id);
    out.finish()
}

/// Decodes a log id.
///
/// # Errors
/// [`FormatError`] for bytes that are no log id, or one of a newer version.
pub fn decode_log_id(bytes: &[u8]) -> Result<LogId, FormatError> {
    let mut decoder = Decoder::versioned(LOG_ID, bytes, VERSION)?;
    let id = decoder.log_id()?;
    decoder.end()?;
    Ok(id)
}

/// Encodes the record of a node.
pub fn encode_node(node: &NodeRecord) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    out.text(node.raft_address(), NODE_TEXT_BYTES)
        .u128(node.disk().0)
        .text(node.name(), NODE_TEXT_BYTES)
        .u32(length(node.labels().len()));
    for (key, value) in node.labels() {
        out.text(key, NODE_TEXT_BYTES).text(value, NODE_TEXT_BYTES);
    }
    out.finish()
}

/// Decodes the record of a node.
///
/// # Errors
/// [`FormatError`] for bytes that are no node record, or one of a newer version.
pub fn decode_node(bytes: &[u8]) -> Result<NodeRecord, FormatError> {
    let mut decoder = Decoder::versioned(NODE, bytes, VERSION)?;
    let raft_address = decoder.text("address", NODE_TEXT_BYTES)?;
    let disk = DiskId(decoder.u128()?);
    let name = decoder.text("name", NODE_TEXT_BYTES)?;
    let mut labels = BTreeMap::new();
    for _ in 0..decoder.count("number of labels", NODE_LABELS)? {
        let key = decoder.text("label", NODE_TEXT_BYTES)?;
        let value = decoder.text("label", NODE_TEXT_BYTES)?;
        // Ascending and without repetition, so that equal records have equal bytes.
        if labels.last_key_value().is_some_and(|(last, _)| *last >= key) {
            return Err(decoder.invalid("order of labels"));
        }
        labels.insert(key, value);
    }
    let invalid = decoder.invalid("length");
    decoder.end()?;
    NodeRecord::from_parts(raft_address, disk, name, labels).map_err(|_| invalid)
}

/// Encodes a membership: voter sets, then the record of every voter and learner.
pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    let configs = membership.get_joint_config();
    out.u32(length(configs.len()));
    for voters in configs {
        out.u32(length(voters.len()));
        for id in voters {
            out.u64(*id);
        }
    }
    let nodes: Vec<(&NodeId, &NodeRecord)> = membership.nodes().collect();
    out.u32(length(nodes.len()));
    for (id, node) in nodes {
        let record = encode_node(node);
        out.u64(*id).u32(length(record.len())).raw(&record);
    }
    out.finish()
}

/// Decodes a membership.
///
/// # Errors
/// [`FormatError`] for bytes that are no membership (also: a voter without a record), or one of a
/// newer version.
pub fn decode_membership(bytes: &[u8]) -> Result<Membership, FormatError> {
    let mut decoder = Decoder::versioned(MEMBERSHIP, bytes, VERSION)?;
    let mut configs = Vec::new();
    for _ in 0..decoder.count("number of voter sets", MEMBERSHIP_CONFIGS)? {
        let mut voters = BTreeSet::new();
        for _ in 0..decoder.count("number of voters", MEMBERS)? {
            let id = decoder.u64()?;
            if voters.last().is_some_and(|last| *last >= id) {
                return Err(decoder.invalid("order of voters"));
            }
            voters.insert(id);
        }
        configs.push(voters);
    }
    let mut nodes = BTreeMap::new();
    for _ in 0..decoder.count("number of nodes", MEMBERS)? {
        let id = decoder.u64()?;
        let record_length = decoder.count("length of a node record", usize::from(u16::MAX))?;
        let record = decode_node(decoder.take(record_length)?)?;
        if nodes.last_key_value().is_some_and(|(last, _)| *last >= id) {
            return Err(decoder.invalid("order of nodes"));
        }
        nodes.insert(id, record);
    }
    let invalid = decoder.invalid("set of voters");
    decoder.end()?;
    Membership::new(configs, nodes).map_err(|_| invalid)
}

/// Encodes a membership with the position of the entry that set it.
pub fn encode_stored_membership(stored: &StoredMembership) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    write_stored_membership(&mut out, stored);
    out.seal()
}

/// Decodes a membership with its position.
///
/// # Errors
/// [`FormatError`] for bytes that are no such record, or one of a newer version.
pub fn decode_stored_membership(bytes: &[u8]) -> Result<StoredMembership, FormatError> {
    let mut decoder = Decoder::sealed(STORED_MEMBERSHIP, bytes, VERSION)?;
    let log_id = decoder.option(Decoder::log_id)?;
    Ok(StoredMembership::new(log_id, decode_membership(decoder.rest())?))
}

fn write_stored_membership(out: &mut Encoder, stored: &StoredMembership) {
    out.option(stored.log_id().as_ref(), |out, id| {
        out.log_id(id);
    });
    out.raw(&encode_membership(stored.membership()));
}

/// Where the log begins: the last entry that was cut from its front, and that entry's chain value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PurgeRecord {
    pub(crate) log_id: LogId,
    pub(crate) chain: u32,
}

pub(crate) fn encode_purge(record: &PurgeRecord) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    out.log_id(&record.log_id).u32(record.chain);
    out.seal()
}

pub(crate) fn decode_purge(bytes: &[u8]) -> Result<PurgeRecord, FormatError> {
    let mut decoder = Decoder::sealed(PURGE, bytes, VERSION)?;
    let record = PurgeRecord { log_id: decoder.log_id()?, chain: decoder.u32()? };
    decoder.end()?;
    Ok(record)
}

/// Which rows are the state, how far they go, and what their digest is. One record, so that a
/// snapshot replaces all of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StateRecord {
    /// Rows carry a generation in their key; only these are the state.
    pub(crate) generation: u32,
    /// The last applied entry.
    pub(crate) applied: Option<LogId>,
    /// The machine's digest after it.
    pub(crate) digest: [u8; 16],
}

pub(crate) fn encode_state(record: &StateRecord) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    out.u32(record.generation)
        .option(record.applied.as_ref(), |out, id| {
            out.log_id(id);
        })
        .raw(&record.digest);
    out.seal()
}

pub(crate) fn decode_state(bytes: &[u8]) -> Result<StateRecord, FormatError> {
    let mut decoder = Decoder::sealed(STATE, bytes, VERSION)?;
    let record = StateRecord {
        generation: decoder.u32()?,
        applied: decoder.option(Decoder::log_id)?,
        digest: decoder.bytes16()?,
    };
    decoder.end()?;
    Ok(record)
}

pub(crate) fn encode_committed(committed: Option<&LogId>) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    out.option(committed, |out, id| {
        out.log_id(id);
    });
    out.seal()
}

pub(crate) fn decode_committed(bytes: &[u8]) -> Result<Option<LogId>, FormatError> {
    let mut decoder = Decoder::sealed(COMMITTED, bytes, VERSION)?;
    let committed = decoder.option(Decoder::log_id)?;
    decoder.end()?;
    Ok(committed)
}

/// Lengths here are bounded far below 2^32 by `limits`; a larger one would be refused on reading.
fn length(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

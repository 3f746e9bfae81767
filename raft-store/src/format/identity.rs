//! The identity of a data directory: whose it is, and how far its creation came.

use super::{Decoder, Encoder, FormatError, STORE_FORMAT};
use crate::limits::PROGRAM_VERSION_BYTES;
use crate::types::{ClusterId, DiskId, NodeId};

const WHAT: &str = "identity";
const MAGIC: [u8; 8] = *b"TNDMNODE";

/// How far a data directory came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityStage {
    /// Being created: nothing was promised from it yet.
    Preparing,
    /// A node's directory.
    Ready,
    /// A copy taken by backup: it may not run as the node that it was copied from.
    Backup,
}

/// Who owns a data directory. Written once, when the directory is created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
    /// The disk: drawn at random when the directory is created.
    pub disk: DiskId,
    /// Version of the program that created it, for people.
    pub created_by: String,
}

/// An identity with its stage, as it stands in the marker file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRecord {
    /// Whose directory it is.
    pub identity: Identity,
    /// How far it came.
    pub stage: IdentityStage,
}

/// Encodes a marker: magic, format version of the whole directory, stage, ids, program, CRC32C.
pub fn encode_identity(record: &IdentityRecord) -> Vec<u8> {
    let stage = match record.stage {
        IdentityStage::Preparing => 1,
        IdentityStage::Ready => 2,
        IdentityStage::Backup => 3,
    };
    let mut out = Encoder::default();
    out.raw(&MAGIC)
        .u16(STORE_FORMAT)
        .u8(stage)
        .u128(record.identity.cluster.0)
        .u64(record.identity.node)
        .u128(record.identity.disk.0)
        .text(&record.identity.created_by, PROGRAM_VERSION_BYTES);
    out.seal()
}

/// Decodes a marker.
///
/// # Errors
/// [`FormatError`] for bytes that are no marker, or one of a newer version.
pub fn decode_identity(bytes: &[u8]) -> Result<IdentityRecord, FormatError> {
    let mut decoder = Decoder::plain(WHAT, bytes);
    if decoder.bytes8()? != MAGIC {
        return Err(decoder.invalid("beginning"));
    }
    let version = decoder.u16()?;
    decoder.check_version(version, STORE_FORMAT)?;
    let body = Decoder::check_seal(WHAT, bytes)?;

    let mut decoder = Decoder::plain(WHAT, body);
    decoder.take(MAGIC.len() + size_of::<u16>())?;
    let stage = match decoder.u8()? {
        1 => IdentityStage::Preparing,
        2 => IdentityStage::Ready,
        3 => IdentityStage::Backup,
        _ => return Err(decoder.invalid("stage")),
    };
    let identity = Identity {
        cluster: ClusterId(decoder.u128()?),
        node: decoder.u64()?,
        disk: DiskId(decoder.u128()?),
        created_by: decoder.text("program version", PROGRAM_VERSION_BYTES)?,
    };
    decoder.end()?;
    Ok(IdentityRecord { identity, stage })
}

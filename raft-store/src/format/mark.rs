//! One slot of the synced-through mark.

use super::records::{read_vote, write_vote};
use super::{Decoder, Encoder, FormatError};
use crate::types::{DiskId, LogId, Vote};

const WHAT: &str = "synced-through mark";
const MAGIC: [u8; 8] = *b"TNDMMARK";
const VERSION: u16 = 1;

/// Bytes of one slot: one sector, so that a write is not torn on most disks; where it is, the CRC
/// says so and the other slot counts.
pub const SLOT_BYTES: usize = 512;

/// An entry's position with the chain value that stands for the log up to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPoint {
    /// The entry.
    pub log_id: LogId,
    /// Its chain value on this disk (not comparable between nodes: a log that was cut by a snapshot
    /// goes on from another seed).
    pub chain: u32,
}

/// What was certainly on disk at some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MarkValue {
    /// The last log entry, or the purge position if the log is empty behind it.
    pub last: Option<LogPoint>,
    /// How far the log was cut from its front.
    pub purged: Option<LogId>,
    /// The vote.
    pub vote: Option<Vote>,
}

/// Encodes a slot, padded to [`SLOT_BYTES`]. `sequence` tells which of the two slots is newer;
/// `disk` ties the mark to its directory.
pub fn encode_mark(disk: DiskId, sequence: u64, value: &MarkValue) -> Vec<u8> {
    let mut out = Encoder::default();
    out.raw(&MAGIC).u16(VERSION).u128(disk.0).u64(sequence);
    out.option(value.last.as_ref(), |out, point| {
        out.log_id(&point.log_id).u32(point.chain);
    });
    out.option(value.purged.as_ref(), |out, id| {
        out.log_id(id);
    });
    out.option(value.vote.as_ref(), write_vote);
    let mut slot = out.seal();
    slot.resize(SLOT_BYTES, 0);
    slot
}

/// Decodes a slot into disk, sequence and value.
///
/// # Errors
/// [`FormatError`] for bytes that are no slot (never written, torn, rotten), or one of a newer
/// version.
pub fn decode_mark(slot: &[u8]) -> Result<(DiskId, u64, MarkValue), FormatError> {
    let mut decoder = Decoder::plain(WHAT, slot);
    if decoder.bytes8()? != MAGIC {
        return Err(decoder.invalid("beginning"));
    }
    let version = decoder.u16()?;
    decoder.check_version(version, VERSION)?;
    let disk = DiskId(decoder.u128()?);
    let sequence = decoder.u64()?;
    let last = decoder
        .option(|decoder| Ok(LogPoint { log_id: decoder.log_id()?, chain: decoder.u32()? }))?;
    let purged = decoder.option(Decoder::log_id)?;
    let vote = decoder.option(read_vote)?;
    let used = slot.len() - decoder.rest().len() + size_of::<u32>();
    let sealed = slot.get(..used).ok_or(FormatError::Short { what: WHAT })?;
    Decoder::check_seal(WHAT, sealed)?;
    if slot.get(used..).is_some_and(|padding| padding.iter().any(|byte| *byte != 0)) {
        return Err(FormatError::Invalid { what: WHAT, field: "padding" });
    }
    Ok((disk, sequence, MarkValue { last, purged, vote }))
}

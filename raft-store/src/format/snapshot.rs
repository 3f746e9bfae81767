//! A snapshot file: information, header, frames, trailer.
//!
//! ```text
//! magic (8)  header length (u32)  header  CRC32C of the header (u32)
//! frame:   1 (u8)  raw bytes (u32)  packed bytes (u32)  rows (u32)  CRC32C (u32)  packed rows
//! ...
//! trailer: 2 (u8)  frames (u64)  rows (u64)  raw bytes (u64)  XXH3-128 (u128)  CRC32C (u32)
//! ```
//!
//! A frame's CRC covers its numbers and its packed rows. Rows are `key length (u32) value length
//! (u32) key value`, ascending by key over the whole file; a frame is packed as one LZ4 block (in
//! pure Rust: no C library in the build, and memory safe on bytes from a network). The trailer's
//! hash covers all frames and then the header, because the header's row count is known last.

use super::records::{decode_stored_membership, encode_stored_membership};
use super::{Decoder, Encoder, FormatError};
use crate::limits::{FRAME_BYTES_ACCEPTED, SNAPSHOT_HEADER_BYTES};
use crate::machine::Row;
use crate::types::{ClusterId, GroupId, LogId, NodeId, StoredMembership};

const INFO: &str = "snapshot information";
const HEADER: &str = "snapshot header";
const FRAME: &str = "snapshot frame";
const TRAILER: &str = "snapshot trailer";
const VERSION: u8 = 1;

pub(crate) const MAGIC: [u8; 8] = *b"TNDMSNAP";
pub(crate) const KIND_FRAME: u8 = 1;
pub(crate) const KIND_TRAILER: u8 = 2;
pub(crate) const FRAME_HEAD_BYTES: usize = 1 + 4 * 4;
pub(crate) const TRAILER_BYTES: usize = 1 + 3 * 8 + 16 + 4;

/// What is at the front of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// The Raft group.
    pub group: GroupId,
    /// The node that built it, for people.
    pub built_by: NodeId,
    /// The last entry that it contains; `None` before the first one was applied.
    pub log_id: Option<LogId>,
    /// The membership at that entry.
    pub membership: StoredMembership,
    /// The machine's digest at that entry.
    pub digest: [u8; 16],
    /// How many rows follow.
    pub rows: u64,
}

/// Encodes a header, with its checksum. Its length does not depend on `rows`.
pub fn encode_header(header: &SnapshotHeader) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    out.u64(header.rows)
        .u128(header.cluster.0)
        .u16(header.group.0)
        .u64(header.built_by)
        .option(header.log_id.as_ref(), |out, id| {
            out.log_id(id);
        })
        .raw(&header.digest)
        .raw(&encode_stored_membership(&header.membership));
    out.seal()
}

/// Decodes a header with its checksum.
///
/// # Errors
/// [`FormatError`] for bytes that are no header, or one of a newer version.
pub fn decode_header(bytes: &[u8]) -> Result<SnapshotHeader, FormatError> {
    let mut decoder = Decoder::sealed(HEADER, bytes, VERSION)?;
    Ok(SnapshotHeader {
        rows: decoder.u64()?,
        cluster: ClusterId(decoder.u128()?),
        group: GroupId(decoder.u16()?),
        built_by: decoder.u64()?,
        log_id: decoder.option(Decoder::log_id)?,
        digest: decoder.bytes16()?,
        membership: decode_stored_membership(decoder.rest())?,
    })
}

/// What a sender tells about a snapshot before its bytes, and what makes two files the same file:
/// the header, the length and the hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The file's header.
    pub header: SnapshotHeader,
    /// Length of the file, in bytes.
    pub file_bytes: u64,
    /// XXH3-128 over frames and header, as in the trailer.
    pub hash: u128,
}

/// Encodes a snapshot's information for a transport.
pub fn encode_info(info: &SnapshotInfo) -> Vec<u8> {
    let mut out = Encoder::with_version(VERSION);
    out.u64(info.file_bytes).u128(info.hash).raw(&encode_header(&info.header));
    out.finish()
}

/// Decodes a snapshot's information.
///
/// # Errors
/// [`FormatError`] for bytes that are no such record, or one of a newer version.
pub fn decode_info(bytes: &[u8]) -> Result<SnapshotInfo, FormatError> {
    let mut decoder = Decoder::versioned(INFO, bytes, VERSION)?;
    Ok(SnapshotInfo {
        file_bytes: decoder.u64()?,
        hash: decoder.u128()?,
        header: decode_header(decoder.rest())?,
    })
}

/// Length of the header that follows the magic.
pub(crate) fn decode_header_length(bytes: &[u8]) -> Result<usize, FormatError> {
    let mut decoder = Decoder::plain(HEADER, bytes);
    if decoder.bytes8()? != MAGIC {
        return Err(decoder.invalid("beginning"));
    }
    decoder.count("length", SNAPSHOT_HEADER_BYTES)
}

/// The numbers in front of a frame's packed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHead {
    pub(crate) raw_bytes: u32,
    pub(crate) packed_bytes: u32,
    pub(crate) rows: u32,
    pub(crate) crc: u32,
}

/// Encodes a frame: head and packed rows.
pub(crate) fn encode_frame(raw_bytes: u32, rows: u32, packed: &[u8]) -> Vec<u8> {
    let mut out = Encoder::default();
    let packed_bytes = u32::try_from(packed.len()).unwrap_or(u32::MAX);
    out.u8(KIND_FRAME).u32(raw_bytes).u32(packed_bytes).u32(rows);
    let mut frame = out.finish();
    let crc = crc32c::crc32c_append(crc32c::crc32c(&frame), packed);
    frame.extend_from_slice(&crc.to_le_bytes());
    frame.extend_from_slice(packed);
    frame
}

pub(crate) fn decode_frame_head(bytes: &[u8]) -> Result<FrameHead, FormatError> {
    let mut decoder = Decoder::plain(FRAME, bytes);
    if decoder.u8()? != KIND_FRAME {
        return Err(decoder.invalid("kind"));
    }
    let head = FrameHead {
        raw_bytes: decoder.u32()?,
        packed_bytes: decoder.u32()?,
        rows: decoder.u32()?,
        crc: decoder.u32()?,
    };
    // LZ4 makes incompressible input longer by at most 1/255 and a few bytes.
    let packed_max = FRAME_BYTES_ACCEPTED + FRAME_BYTES_ACCEPTED / 255 + 32;
    if head.raw_bytes as usize > FRAME_BYTES_ACCEPTED || head.packed_bytes as usize > packed_max {
        return Err(decoder.invalid("length"));
    }
    Ok(head)
}

/// Checks a frame's CRC and unpacks its rows.
pub(crate) fn unpack_frame(
    head_bytes: &[u8],
    head: &FrameHead,
    packed: &[u8],
) -> Result<Vec<u8>, FormatError> {
    let covered = head_bytes.get(..FRAME_HEAD_BYTES - 4).unwrap_or_default();
    let expected = crc32c::crc32c_append(crc32c::crc32c(covered), packed);
    if expected != head.crc {
        return Err(FormatError::Checksum { what: FRAME, expected, found: head.crc });
    }
    let raw = lz4_flex::block::decompress(packed, head.raw_bytes as usize)
        .map_err(|_| FormatError::Invalid { what: FRAME, field: "packing" })?;
    if raw.len() != head.raw_bytes as usize {
        return Err(FormatError::Invalid { what: FRAME, field: "unpacked length" });
    }
    Ok(raw)
}

/// What stands at the end of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trailer {
    pub(crate) frames: u64,
    pub(crate) rows: u64,
    pub(crate) raw_bytes: u64,
    pub(crate) hash: u128,
}

pub(crate) fn encode_trailer(trailer: &Trailer) -> Vec<u8> {
    let mut out = Encoder::default();
    out.u8(KIND_TRAILER)
        .u64(trailer.frames)
        .u64(trailer.rows)
        .u64(trailer.raw_bytes)
        .u128(trailer.hash);
    out.seal()
}

pub(crate) fn decode_trailer(bytes: &[u8]) -> Result<Trailer, FormatError> {
    let body = Decoder::check_seal(TRAILER, bytes)?;
    let mut decoder = Decoder::plain(TRAILER, body);
    if decoder.u8()? != KIND_TRAILER {
        return Err(decoder.invalid("kind"));
    }
    let trailer = Trailer {
        frames: decoder.u64()?,
        rows: decoder.u64()?,
        raw_bytes: decoder.u64()?,
        hash: decoder.u128()?,
    };
    decoder.end()?;
    Ok(trailer)
}

/// Appends a row to a frame's raw bytes.
pub(crate) fn push_row(raw: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        raw.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes());
    }
    raw.extend_from_slice(key);
    raw.extend_from_slice(value);
}

/// Splits a frame's raw bytes into rows.
pub(crate) fn split_rows(raw: &[u8]) -> Result<Vec<Row>, FormatError> {
    let mut rows = Vec::new();
    let mut rest = raw;
    while !rest.is_empty() {
        let mut decoder = Decoder::plain(FRAME, rest);
        let (key_length, value_length) = (decoder.u32()? as usize, decoder.u32()? as usize);
        let key = decoder.take(key_length)?.to_vec();
        let value = decoder.take(value_length)?.to_vec();
        rows.push((key, value));
        rest = decoder.rest();
    }
    Ok(rows)
}

//! Looks at the framing of RocksDB's own log files before RocksDB reads them.
//!
//! RocksDB's write-ahead logs and manifests are 32 KiB blocks of records: CRC (4 bytes), length (2),
//! type (1), payload. Some types belong to recycled log files, which this store never has. When such
//! a type appears behind a file's first record, RocksDB 11.8.1 neither takes the record nor goes on:
//! it reads the same header for ever (facebook/rocksdb#13333, open). One flipped bit in a type byte
//! is enough, so a node would hang at start instead of saying that its disk is damaged. This scan
//! walks the records as RocksDB does and refuses such a file; everything else is RocksDB's to judge.
//!
//! Format: `db/log_format.h` and the wiki page "Write Ahead Log File Format" of RocksDB.

use std::fs;
use std::path::Path;

use crate::error::{Damage, DamagedPart, OpenError};

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 4 + 2 + 1;

/// Checks every write-ahead log and manifest in RocksDB's directory.
pub(crate) fn check(engine: &Path) -> Result<(), OpenError> {
    let entries = match fs::read_dir(engine) {
        Ok(entries) => entries,
        // RocksDB says itself that its directory is missing.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OpenError::io("read", engine, error)),
    };
    for entry in entries {
        let path = entry.map_err(|error| OpenError::io("read", engine, error))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".log") && !name.starts_with("MANIFEST-") {
            continue;
        }
        let bytes = fs::read(&path).map_err(|error| OpenError::io("read", &path, error))?;
        if let Some(offset) = find_recycled_type(&bytes) {
            let place = format!("db/{name}, byte {offset}");
            let detail = "a record has a type that this store never writes";
            return Err(Damage::new(DamagedPart::Engine, place, detail).into());
        }
    }
    Ok(())
}

/// Where a record stands whose type belongs to recycled files. A record that does not fit its block
/// or its CRC ends the walk through its block, as it does for RocksDB.
fn find_recycled_type(file: &[u8]) -> Option<usize> {
    for (number, block) in file.chunks(BLOCK_BYTES).enumerate() {
        let mut rest = block;
        while let Some((header, behind)) = rest.split_first_chunk::<HEADER_BYTES>() {
            let [c0, c1, c2, c3, l0, l1, kind] = *header;
            if is_recycled(kind) {
                return Some(number * BLOCK_BYTES + block.len() - rest.len());
            }
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            let Some((payload, next)) = behind.split_at_checked(length) else { break };
            if mask(record_crc(kind, payload)) != u32::from_le_bytes([c0, c1, c2, c3]) {
                break;
            }
            rest = next;
        }
    }
    None
}

/// Full, first, middle and last record; timestamp sizes; predecessor information.
fn is_recycled(kind: u8) -> bool {
    matches!(kind, 5..=8 | 11 | 131)
}

fn record_crc(kind: u8, payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&[kind]), payload)
}

/// RocksDB stores CRCs masked, because a CRC over bytes that hold CRCs is weak.
fn mask(crc: u32) -> u32 {
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, payload: &[u8]) -> Vec<u8> {
        let mut bytes = mask(record_crc(kind, payload)).to_le_bytes().to_vec();
        bytes.extend((payload.len() as u16).to_le_bytes());
        bytes.push(kind);
        bytes.extend(payload);
        bytes
    }

    // Goal: every recycled type is found behind whole records, and nothing else is refused: not a
    // broken record, not what stands behind one in its block, not zeroes, not a short end.
    #[test]
    fn recycled_types_are_found_where_rocksdb_would_meet_them() {
        let whole = [record(1, b"one"), record(2, b"two"), record(130, b"")].concat();
        assert_eq!(find_recycled_type(&whole), None);
        for kind in [5, 6, 7, 8, 11, 131] {
            let file = [&whole[..], &record(kind, b"x")].concat();
            assert_eq!(find_recycled_type(&file), Some(whole.len()), "type {kind}");
        }
        let mut broken = record(1, b"broken");
        broken[8] ^= 1;
        let hidden = [broken, record(5, b"x")].concat();
        assert_eq!(find_recycled_type(&hidden), None, "RocksDB drops the rest of the block");
        let mut next_block = hidden;
        next_block.resize(BLOCK_BYTES, 0);
        next_block.extend(record(5, b"x"));
        assert_eq!(find_recycled_type(&next_block), Some(BLOCK_BYTES), "and goes on with the next");
        assert_eq!(find_recycled_type(&[&whole[..], &[0; 40]].concat()), None);
        assert_eq!(find_recycled_type(&whole[..whole.len() - 3]), None);
        assert_eq!(find_recycled_type(&[]), None);
    }
}

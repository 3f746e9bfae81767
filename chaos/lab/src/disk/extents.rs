//! Where on the device a file's byte lies.

use std::path::Path;

use super::error::DiskError;
use crate::machine::tool;

/// A run of a file's blocks that lie side by side on the device. Units are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
    /// The bytes are there, as they are: not promised, compressed or kept elsewhere.
    plain: bool,
}

/// The offset on the device of one byte of a file. Syncs the file first, because bytes that were
/// never synced have no place yet.
pub fn device_offset(path: &Path, offset: u64) -> Result<u64, DiskError> {
    let args = ["-v".as_ref(), "-s".as_ref(), path.as_os_str()];
    let listing = tool::run("filefrag", args)?;
    let refuse = |why| DiskError::NotOnMedium { path: path.to_owned(), offset, why };
    if offset >= std::fs::metadata(path).map_err(DiskError::file(path))?.len() {
        return Err(refuse("it is past the end of the file"));
    }
    let extents = parse(&listing).ok_or_else(|| refuse("filefrag's answer was not understood"))?;
    let extent = extents
        .iter()
        .find(|extent| (extent.logical..extent.logical + extent.length).contains(&offset))
        .ok_or_else(|| refuse("it lies in a hole, which reads as zeros"))?;
    if !extent.plain {
        return Err(refuse("its block is reserved but not written, or kept elsewhere"));
    }
    Ok(extent.physical + (offset - extent.logical))
}

/// Forgets what the kernel caches of a file, so that the next read comes from the medium. Pages
/// that are dirty or mapped into a running program stay.
pub fn drop_cached(path: &Path) -> Result<(), DiskError> {
    let mut input = std::ffi::OsString::from("if=");
    input.push(path);
    let args = [input, "iflag=nocache".into(), "count=0".into(), "status=none".into()];
    tool::run("dd", args)?;
    Ok(())
}

/// `filefrag -v`: a header that names the block size, then a row for each extent.
fn parse(listing: &str) -> Option<Vec<Extent>> {
    let (_, after) =
        listing.split_once("blocks of ").or_else(|| listing.split_once("block of "))?;
    let block_bytes: u64 = after.split_whitespace().next()?.parse().ok()?;
    let rows = listing.lines().filter(|line| {
        line.trim_start().split_once(':').is_some_and(|(first, _)| first.parse::<u64>().is_ok())
    });
    rows.map(|row| extent(row, block_bytes)).collect()
}

/// `   0:        0..       1:      33280..     33281:      2:             last,eof`
fn extent(row: &str, block_bytes: u64) -> Option<Extent> {
    let mut columns = row.split(':').skip(1);
    let mut first_block = || columns.next()?.split("..").next()?.trim().parse::<u64>().ok();
    let (logical, physical) = (first_block()?, first_block()?);
    let length: u64 = columns.next()?.trim().parse().ok()?;
    let flags = columns.last().unwrap_or_default().trim();
    let harmless = |flag: &str| matches!(flag, "" | "last" | "eof" | "merged" | "shared");
    Some(Extent {
        logical: logical * block_bytes,
        physical: physical * block_bytes,
        length: length * block_bytes,
        plain: flags.split(',').all(harmless),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "\
Filesystem type is: ef53
File size of data is 24576 (6 blocks of 4096 bytes)
 ext:     logical_offset:        physical_offset: length:   expected: flags:
   0:        0..       1:      33280..     33281:      2:            
   1:        2..       3:      34000..     34001:      2:      33282: unwritten
   2:        5..       5:      33284..     33284:      1:      34002: last,eof
data: 3 extents found
";

    // Goal: rows become bytes, and what was reserved but not written is not taken for data.
    #[test]
    fn a_listing_is_understood() {
        let extents = parse(LISTING).unwrap();
        let expected = [
            (0, 33280 * 4096, 2 * 4096, true),
            (2 * 4096, 34000 * 4096, 2 * 4096, false),
            (5 * 4096, 33284 * 4096, 4096, true),
        ];
        let expected = expected.map(|(logical, physical, length, plain)| Extent {
            logical,
            physical,
            length,
            plain,
        });
        assert_eq!(extents, expected);
    }

    // Goal: an answer of another shape is refused, not guessed at.
    #[test]
    fn another_shape_is_refused() {
        assert_eq!(parse("no such thing"), None);
        assert_eq!(parse("(6 blocks of 4096 bytes)\n   0:  x.. 1: 2.. 3: 4: eof"), None);
        assert_eq!(parse("(6 blocks of 4096 bytes)\n   0:  0.. 1: 2.. 3"), None);
        assert_eq!(parse("(0 blocks of 4096 bytes)\n"), Some(vec![]));
        assert_eq!(parse("(1 block of 1024 bytes)\n"), Some(vec![]));
    }
}

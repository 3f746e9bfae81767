//! Reads a snapshot file from front to end and checks everything in it: each frame's checksum, the
//! order of the rows, the counts, the total hash, and that nothing follows.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::error::SnapshotError;
use crate::format::snapshot::{
    FRAME_HEAD_BYTES, KIND_TRAILER, MAGIC, SnapshotHeader, SnapshotInfo, TRAILER_BYTES,
    decode_frame_head, decode_header, decode_header_length, decode_trailer, split_rows,
    unpack_frame,
};
use crate::machine::{Machine, Row, RowsInterrupted};

/// Bytes before the header: magic and the header's length.
pub(crate) const PREFIX_BYTES: usize = MAGIC.len() + 4;

/// A snapshot being read.
pub(crate) struct SnapshotReader {
    input: BufReader<FileAt>,
    header: SnapshotHeader,
    header_bytes: Vec<u8>,
    hasher: Box<Xxh3>,
    frames: u64,
    rows: u64,
    raw_bytes: u64,
    read_bytes: u64,
    last_key: Option<Vec<u8>>,
    /// Set when the trailer was checked.
    hash: Option<u128>,
}

impl SnapshotReader {
    /// Reads prefix and header.
    pub(crate) fn open(file: &Arc<File>) -> Result<Self, SnapshotError> {
        let mut input = BufReader::new(FileAt { file: Arc::clone(file), offset: 0 });
        let prefix = read_exact(&mut input, PREFIX_BYTES)?;
        let length = decode_header_length(&prefix)?;
        let header_bytes = read_exact(&mut input, length)?;
        let header = decode_header(&header_bytes)?;
        Ok(Self {
            input,
            header,
            header_bytes,
            hasher: Box::new(Xxh3::new()),
            frames: 0,
            rows: 0,
            raw_bytes: 0,
            read_bytes: (PREFIX_BYTES + length) as u64,
            last_key: None,
            hash: None,
        })
    }

    /// The next frame's rows; `None` after the trailer was read and everything fitted.
    pub(crate) fn next_frame(&mut self) -> Result<Option<Vec<Row>>, SnapshotError> {
        if self.hash.is_some() {
            return Ok(None);
        }
        let kind = read_exact(&mut self.input, 1)?;
        if kind == [KIND_TRAILER] {
            self.check_trailer()?;
            return Ok(None);
        }
        let mut head_bytes = kind;
        head_bytes.extend(read_exact(&mut self.input, FRAME_HEAD_BYTES - 1)?);
        let head = decode_frame_head(&head_bytes)?;
        let packed = read_exact(&mut self.input, head.packed_bytes as usize)?;
        let raw = unpack_frame(&head_bytes, &head, &packed)?;
        let rows = split_rows(&raw)?;
        if rows.len() != head.rows as usize {
            return Err(damaged("a frame has another number of rows than it says"));
        }
        self.check_order(&rows)?;
        self.hasher.update(&head_bytes);
        self.hasher.update(&packed);
        self.frames += 1;
        self.rows += rows.len() as u64;
        self.raw_bytes += raw.len() as u64;
        self.read_bytes += (head_bytes.len() + packed.len()) as u64;
        Ok(Some(rows))
    }

    fn check_order(&mut self, rows: &[Row]) -> Result<(), SnapshotError> {
        for (key, _) in rows {
            if self.last_key.as_ref().is_some_and(|last| last >= key) {
                return Err(damaged("rows are not in the order of their keys"));
            }
            self.last_key = Some(key.clone());
        }
        Ok(())
    }

    fn check_trailer(&mut self) -> Result<(), SnapshotError> {
        let mut bytes = vec![KIND_TRAILER];
        bytes.extend(read_exact(&mut self.input, TRAILER_BYTES - 1)?);
        let trailer = decode_trailer(&bytes)?;
        self.hasher.update(&self.header_bytes);
        let hash = self.hasher.digest128();
        let counted = (self.frames, self.rows, self.raw_bytes);
        if counted != (trailer.frames, trailer.rows, trailer.raw_bytes) {
            return Err(damaged("frames or rows are missing"));
        }
        if self.header.rows != self.rows {
            return Err(damaged("the header speaks of another number of rows"));
        }
        if trailer.hash != hash {
            return Err(damaged("the total hash does not fit"));
        }
        let mut beyond = [0_u8; 1];
        let more = self.input.read(&mut beyond).map_err(|e| SnapshotError::io("read", e))?;
        if more > 0 {
            return Err(damaged("bytes follow the trailer"));
        }
        self.read_bytes += TRAILER_BYTES as u64;
        self.hash = Some(hash);
        Ok(())
    }

    /// What the file turned out to be, after the last frame.
    fn info(self) -> Result<SnapshotInfo, SnapshotError> {
        match self.hash {
            Some(hash) => {
                Ok(SnapshotInfo { header: self.header, file_bytes: self.read_bytes, hash })
            }
            None => Err(damaged("it was not read to its end")),
        }
    }
}

/// Reads a whole file and checks it, without a machine.
pub(crate) fn check(file: &Arc<File>) -> Result<SnapshotInfo, SnapshotError> {
    let mut reader = SnapshotReader::open(file)?;
    while reader.next_frame()?.is_some() {}
    reader.info()
}

/// Reads a whole file, checks it, loads a machine from its rows and compares the digest. `each`
/// sees every frame's rows; it may refuse to go on.
pub(crate) fn load<M: Machine>(
    file: &Arc<File>,
    each: impl FnMut(&[Row]) -> Result<(), SnapshotError>,
) -> Result<(M, SnapshotInfo), SnapshotError> {
    let reader = SnapshotReader::open(file)?;
    let mut rows =
        Rows { reader, each, frame: Vec::new().into_iter(), failure: None, ended: false };
    let loaded = M::load(&mut rows);
    // A machine may stop early; the rest must be whole all the same.
    while rows.next().is_some_and(|row| row.is_ok()) {}
    if let Some(failure) = rows.failure {
        return Err(failure);
    }
    let machine = loaded.map_err(|error| SnapshotError::Rows(Box::new(error)))?;
    let info = rows.reader.info()?;
    if machine.digest() != info.header.digest {
        return Err(damaged("the machine loaded from it has another digest"));
    }
    Ok((machine, info))
}

/// The rows of a snapshot as the machine's loader wants them.
struct Rows<F> {
    reader: SnapshotReader,
    each: F,
    frame: std::vec::IntoIter<Row>,
    failure: Option<SnapshotError>,
    ended: bool,
}

impl<F: FnMut(&[Row]) -> Result<(), SnapshotError>> Rows<F> {
    fn next_frame(&mut self) -> Result<Option<Vec<Row>>, SnapshotError> {
        let frame = self.reader.next_frame()?;
        if let Some(rows) = &frame {
            (self.each)(rows)?;
        }
        Ok(frame)
    }
}

impl<F: FnMut(&[Row]) -> Result<(), SnapshotError>> Iterator for Rows<F> {
    type Item = Result<Row, RowsInterrupted>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(row) = self.frame.next() {
                return Some(Ok(row));
            }
            if self.ended {
                return None;
            }
            match self.next_frame() {
                Ok(Some(rows)) => self.frame = rows.into_iter(),
                Ok(None) => self.ended = true,
                Err(failure) => {
                    self.ended = true;
                    self.failure = Some(failure);
                    return Some(Err(RowsInterrupted));
                }
            }
        }
    }
}

pub(crate) fn damaged(what: &str) -> SnapshotError {
    SnapshotError::Damaged(what.to_owned())
}

fn read_exact(input: &mut impl Read, length: usize) -> Result<Vec<u8>, SnapshotError> {
    let mut bytes = vec![0_u8; length];
    match input.read_exact(&mut bytes) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(damaged("it ends too early"))
        }
        Err(error) => Err(SnapshotError::io("read", error)),
    }
}

/// Reads a shared file at its own position.
struct FileAt {
    file: Arc<File>,
    offset: u64,
}

impl Read for FileAt {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

//! The handle to a snapshot file.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::format::snapshot::SnapshotInfo;
use crate::limits::SNAPSHOT_CHUNK_BYTES;
use crate::types::{Snapshot, SnapshotMeta};

/// A whole, checked snapshot file. Cheap to clone. Stays readable after a newer snapshot took its
/// place, because it holds the file open.
#[derive(Clone)]
pub struct SnapshotFile {
    info: Arc<SnapshotInfo>,
    path: Arc<PathBuf>,
    file: Arc<File>,
    /// Present for a received file that nobody installed yet.
    _leftover: Option<Arc<Leftover>>,
}

/// Removes a received file when its last handle goes, unless it was installed (moved) before.
#[derive(Debug)]
struct Leftover(PathBuf);

impl Drop for Leftover {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(file = %self.0.display(), "cannot remove a snapshot: {error}");
            }
            _ => {}
        }
    }
}

impl SnapshotFile {
    pub(crate) fn new(info: SnapshotInfo, path: PathBuf, file: File) -> Self {
        Self { info: Arc::new(info), path: Arc::new(path), file: Arc::new(file), _leftover: None }
    }

    /// A received file: it goes with its last handle if nobody installs it.
    pub(crate) fn received(info: SnapshotInfo, path: PathBuf, file: File) -> Self {
        let leftover = Some(Arc::new(Leftover(path.clone())));
        Self { _leftover: leftover, ..Self::new(info, path, file) }
    }

    /// What a sender tells before the bytes; `format::snapshot::encode_info` makes it a message.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Length of the file, in bytes.
    pub fn len(&self) -> u64 {
        self.info.file_bytes
    }

    /// Whether the file has no bytes (never: a snapshot has at least its header).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads up to `bytes_max` bytes at `offset`, for a transport. Empty at the end of the file;
    /// never more than [`SNAPSHOT_CHUNK_BYTES`]. Blocks on the disk.
    ///
    /// # Errors
    /// The system's error, or `UnexpectedEof` if somebody shortened the file.
    pub fn read_chunk(&self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let left = self.len().saturating_sub(offset);
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let want = bytes_max.min(SNAPSHOT_CHUNK_BYTES).min(left);
        let mut chunk = vec![0_u8; want];
        self.file.read_exact_at(&mut chunk, offset)?;
        Ok(chunk.into())
    }

    /// Position and membership, as openraft wants them.
    pub fn meta(&self) -> SnapshotMeta {
        let header = &self.info.header;
        SnapshotMeta { last_log_id: header.log_id, last_membership: header.membership.clone() }
    }

    /// The pair that openraft passes around.
    pub fn to_snapshot(&self) -> Snapshot {
        Snapshot { meta: self.meta(), snapshot: self.clone() }
    }

    /// Where the file is. It may be gone by name while this handle can still read it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    pub(crate) fn moved_to(&self, path: PathBuf) -> Self {
        Self { path: Arc::new(path), _leftover: None, ..self.clone() }
    }
}

impl fmt::Debug for SnapshotFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotFile")
            .field("log_id", &self.info.header.log_id)
            .field("rows", &self.info.header.rows)
            .field("bytes", &self.info.file_bytes)
            .finish_non_exhaustive()
    }
}

//! Takes a snapshot from a peer in chunks, goes on where a broken transfer stopped, and checks the
//! whole file (down to the digest of a machine loaded from it) before anybody may install it.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::build::open_for_reading;
use super::file::SnapshotFile;
use super::read::{damaged, load};
use super::shelf::Shelf;
use crate::error::SnapshotError;
use crate::format::snapshot::SnapshotInfo;
use crate::identity::sync_dir;
use crate::limits::SNAPSHOT_FILE_BYTES;
use crate::machine::Machine;

/// A transfer under way. All calls block on the disk: use them from a blocking task.
///
/// Dropping it keeps what arrived; [`crate::StoreHandle::receive_snapshot`] with the same
/// information goes on from there, also after a restart.
pub struct SnapshotReceiver<M> {
    shelf: Arc<Shelf>,
    info: SnapshotInfo,
    path: PathBuf,
    file: File,
    offset: u64,
    number: u64,
    machine: PhantomData<fn() -> M>,
}

impl<M: Machine> SnapshotReceiver<M> {
    pub(crate) fn begin(shelf: Arc<Shelf>, info: SnapshotInfo) -> Result<Self, SnapshotError> {
        let (expected, found) = (shelf.cluster(), info.header.cluster);
        if expected != found {
            return Err(SnapshotError::OtherCluster { expected, found });
        }
        if info.file_bytes > SNAPSHOT_FILE_BYTES {
            return Err(damaged("its length is beyond any snapshot's"));
        }
        let path = shelf.receiving_path(&info);
        let open_error = |error| SnapshotError::io("open", error);
        let number = shelf.begin_transfer(&path).map_err(open_error)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(open_error)?;
        let offset = file.metadata().map_err(open_error)?.len();
        if offset > info.file_bytes {
            return Err(damaged("more arrived before than it is long"));
        }
        Ok(Self { shelf, info, path, file, offset, number, machine: PhantomData })
    }

    /// Where the next chunk has to begin.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What the sender said about the file.
    pub fn info(&self) -> &SnapshotInfo {
        &self.info
    }

    /// Writes the next chunk.
    ///
    /// # Errors
    /// [`SnapshotError::OutOfOrder`] for another offset than [`Self::offset`] (nothing is written),
    /// [`SnapshotError::Superseded`], or the disk's error.
    pub fn write(&mut self, offset: u64, chunk: &[u8]) -> Result<(), SnapshotError> {
        self.check_newest()?;
        if offset != self.offset {
            return Err(SnapshotError::OutOfOrder { expected: self.offset, found: offset });
        }
        let end = offset + chunk.len() as u64;
        if end > self.info.file_bytes {
            return Err(damaged("more bytes came than it is long"));
        }
        self.file.write_all_at(chunk, offset).map_err(|e| SnapshotError::io("write", e))?;
        self.offset = end;
        Ok(())
    }

    /// Syncs the file, reads it back, checks everything and loads a machine from it as a trial.
    /// The result may be given to `Raft::install_full_snapshot`.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`], `NewerFormat` or `Rows`: what arrived is thrown away, so that
    /// the next transfer starts over. Other errors keep it.
    pub fn finish(self) -> Result<SnapshotFile, SnapshotError> {
        self.check_newest()?;
        if self.offset != self.info.file_bytes {
            return Err(SnapshotError::OutOfOrder {
                expected: self.info.file_bytes,
                found: self.offset,
            });
        }
        self.file.sync_all().map_err(|error| SnapshotError::io("sync", error))?;
        match self.check() {
            Ok(()) => self.hand_over(),
            Err(refused) => {
                fs::remove_file(&self.path).map_err(|e| SnapshotError::io("remove", e))?;
                Err(refused)
            }
        }
    }

    fn check(&self) -> Result<(), SnapshotError> {
        let file =
            open_for_reading(&self.path).map_err(|error| SnapshotError::io("open", error))?;
        let (_machine, found) = load::<M>(&Arc::new(file), |_| Ok(()))?;
        if found != self.info {
            return Err(damaged("it is another snapshot than its sender announced"));
        }
        Ok(())
    }

    fn hand_over(self) -> Result<SnapshotFile, SnapshotError> {
        let path = self.shelf.received_path(self.number);
        let move_error = |error| SnapshotError::io("move", error);
        fs::rename(&self.path, &path).map_err(move_error)?;
        if let Some(dir) = path.parent() {
            sync_dir(dir).map_err(move_error)?;
        }
        let file = open_for_reading(&path).map_err(move_error)?;
        Ok(SnapshotFile::received(self.info, path, file))
    }

    fn check_newest(&self) -> Result<(), SnapshotError> {
        if self.shelf.is_newest_transfer(self.number) {
            Ok(())
        } else {
            Err(SnapshotError::Superseded)
        }
    }
}

impl<M> fmt::Debug for SnapshotReceiver<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotReceiver")
            .field("log_id", &self.info.header.log_id)
            .field("offset", &self.offset)
            .field("bytes", &self.info.file_bytes)
            .finish_non_exhaustive()
    }
}

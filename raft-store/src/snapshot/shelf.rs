//! The directory of snapshot files. It keeps one: the newest that is whole.
//!
//! A snapshot is derived data: one that turns out damaged at open is reported, removed, and built
//! again when it is needed.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use super::build::open_for_reading;
use super::file::SnapshotFile;
use super::read::check;
use crate::error::OpenError;
use crate::format::snapshot::SnapshotInfo;
use crate::identity::sync_dir;
use crate::types::{ClusterId, NodeId};

const PREFIX: &str = "snapshot-";
const SUFFIX: &str = ".tds";
const BUILDING: &str = "building.partial";
const RECEIVING_PREFIX: &str = "receiving-";
const RECEIVED_PREFIX: &str = "received-";

/// The shelf of one store.
#[derive(Debug)]
pub(crate) struct Shelf {
    dir: PathBuf,
    cluster: ClusterId,
    node: NodeId,
    current: Mutex<Option<SnapshotFile>>,
    /// Counts transfers, so that an older receiver knows that a newer one took its place.
    transfers: AtomicU64,
}

impl Shelf {
    /// Finds the newest whole snapshot, and removes the others and what a crash left half built.
    /// A transfer that broke off stays, to be resumed.
    pub(crate) fn open(dir: PathBuf, cluster: ClusterId, node: NodeId) -> Result<Self, OpenError> {
        let io_error = |error| OpenError::io("read", &dir, error);
        let mut names = Vec::new();
        for file in fs::read_dir(&dir).map_err(io_error)? {
            names.push(file.map_err(io_error)?.file_name().to_string_lossy().into_owned());
        }
        // Names begin with the index in fixed width, so the newest sorts last.
        names.sort_unstable();
        let mut current: Option<SnapshotFile> = None;
        for name in names.into_iter().rev() {
            if name.starts_with(RECEIVING_PREFIX) {
                continue;
            }
            let path = dir.join(&name);
            if current.is_none() && name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
                current = open_checked(&path, cluster);
                if current.is_some() {
                    continue;
                }
            }
            fs::remove_file(&path).map_err(|error| OpenError::io("remove", &path, error))?;
        }
        Ok(Self { dir, cluster, node, current: Mutex::new(current), transfers: AtomicU64::new(0) })
    }

    pub(crate) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// The current snapshot.
    pub(crate) fn current(&self) -> Option<SnapshotFile> {
        self.current.lock().clone()
    }

    /// Where a snapshot is built.
    pub(crate) fn building_path(&self) -> PathBuf {
        self.dir.join(BUILDING)
    }

    /// Where a transfer writes. The name holds what makes two files the same file, so that a
    /// transfer goes on only with the bytes that it began with.
    pub(crate) fn receiving_path(&self, info: &SnapshotInfo) -> PathBuf {
        self.dir.join(format!("{RECEIVING_PREFIX}{:032x}-{}.partial", info.hash, info.file_bytes))
    }

    /// Where a received and checked file waits for its installation.
    pub(crate) fn received_path(&self, transfer: u64) -> PathBuf {
        self.dir.join(format!("{RECEIVED_PREFIX}{transfer}{SUFFIX}"))
    }

    /// Makes a whole, synced file the current snapshot, durably, and removes the one before.
    pub(crate) fn put(&self, from: &Path, info: SnapshotInfo) -> io::Result<SnapshotFile> {
        let path = self.final_path(&info);
        fs::rename(from, &path)?;
        sync_dir(&self.dir)?;
        let snapshot = SnapshotFile::new(info, path.clone(), open_for_reading(&path)?);
        self.replace(snapshot.clone())?;
        Ok(snapshot)
    }

    /// Makes a snapshot that was installed the current one. A file of our own is renamed, one from
    /// elsewhere copied.
    pub(crate) fn adopt(&self, snapshot: &SnapshotFile) -> io::Result<()> {
        let path = self.final_path(snapshot.info());
        if snapshot.path() == path {
            return self.replace(snapshot.clone());
        }
        if snapshot.path().parent() == Some(&self.dir) {
            fs::rename(snapshot.path(), &path)?;
        } else {
            let copy = self.building_path();
            fs::copy(snapshot.path(), &copy)?;
            File::open(&copy)?.sync_all()?;
            fs::rename(&copy, &path)?;
        }
        sync_dir(&self.dir)?;
        self.replace(snapshot.moved_to(path))
    }

    fn replace(&self, snapshot: SnapshotFile) -> io::Result<()> {
        let keep = snapshot.path().to_path_buf();
        let old = self.current.lock().replace(snapshot);
        match old {
            Some(old) if old.path() != keep => remove_if_there(old.path()),
            _ => Ok(()),
        }
    }

    /// Starts a transfer: older ones are told that they are superseded, and their leftovers go.
    pub(crate) fn begin_transfer(&self, path: &Path) -> io::Result<u64> {
        let number = self.transfers.fetch_add(1, Relaxed) + 1;
        for file in fs::read_dir(&self.dir)? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if name.starts_with(RECEIVING_PREFIX) && file.path() != path {
                remove_if_there(&file.path())?;
            }
        }
        Ok(number)
    }

    /// Whether this transfer is still the newest.
    pub(crate) fn is_newest_transfer(&self, number: u64) -> bool {
        self.transfers.load(Relaxed) == number
    }

    fn final_path(&self, info: &SnapshotInfo) -> PathBuf {
        let index = info.header.log_id.map_or(0, |log_id| log_id.index);
        self.dir.join(format!("{PREFIX}{index:020}-{:032x}{SUFFIX}", info.hash))
    }
}

/// Opens a snapshot of this cluster if it is whole; says why if it is not.
fn open_checked(path: &Path, cluster: ClusterId) -> Option<SnapshotFile> {
    let opened = open_for_reading(path).map(Arc::new).map_err(|error| error.to_string());
    let checked = opened.and_then(|file| {
        let info = check(&file).map_err(|error| error.to_string())?;
        if info.header.cluster != cluster {
            return Err("it belongs to another cluster".to_owned());
        }
        Ok(info)
    });
    let found = checked.and_then(|info| {
        let file = open_for_reading(path).map_err(|error| error.to_string())?;
        Ok(SnapshotFile::new(info, path.to_path_buf(), file))
    });
    match found {
        Ok(snapshot) => Some(snapshot),
        Err(reason) => {
            tracing::warn!(
                file = %path.display(),
                "the kept snapshot cannot be used ({reason}); it is removed, and a new one is built \
                 when it is needed"
            );
            None
        }
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

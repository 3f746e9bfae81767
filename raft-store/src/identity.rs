//! The data directory: whose it is, who works in it, and how it comes to be.
//!
//! ```text
//! IDENTITY     the marker: cluster, node, disk, format version, stage
//! LOCK         locked by the process that works here
//! MARK         the synced-through mark
//! db/          RocksDB
//! snapshots/   the current snapshot, and one being built or received
//! ```
//!
//! Creation writes the marker durably before anything else, with the stage `Preparing`, and sets it
//! to `Ready` when database and mark are on disk. So a directory is never half a node: `Preparing`
//! promised nothing and may be created again, `Ready` without its parts is damage.
//!
//! What does not live here: the copy of the identity in the database (`inspect` compares it).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Damage, DamagedPart, OpenError};
use crate::format::identity::{
    Identity, IdentityRecord, IdentityStage, decode_identity, encode_identity,
};
use crate::types::{ClusterId, NodeId};

const MARKER: &str = "IDENTITY";
const MARKER_NEW: &str = "IDENTITY.new";
const LOCK: &str = "LOCK";
const MARK: &str = "MARK";
const ENGINE: &str = "db";
const SNAPSHOTS: &str = "snapshots";
/// What may be there before anything was created: a fresh file system's own folder, and what a
/// creation leaves that died before its marker had its name.
const HARMLESS: [&str; 3] = ["lost+found", LOCK, MARKER_NEW];

/// What stands in a directory, found without changing it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DirectoryState {
    /// Missing or empty: a node can be created here.
    Empty,
    /// Other files, and no node.
    Foreign {
        /// One of them.
        example: String,
    },
    /// A node's directory, a backup, or one whose creation was interrupted.
    Node(IdentityRecord),
}

/// Looks at a directory without changing it. This is how a starting node learns who it is.
///
/// # Errors
/// [`OpenError::Io`], [`OpenError::NewerFormat`], or [`OpenError::Damaged`] for a marker that does
/// not decode.
pub fn survey(dir: &Path) -> Result<DirectoryState, OpenError> {
    let marker = dir.join(MARKER);
    match fs::read(&marker) {
        Ok(bytes) => decode_identity(&bytes)
            .map(DirectoryState::Node)
            .map_err(|error| OpenError::from_format(dir, DamagedPart::Identity, MARKER, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => survey_unmarked(dir),
        Err(error) => Err(OpenError::io("read", &marker, error)),
    }
}

fn survey_unmarked(dir: &Path) -> Result<DirectoryState, OpenError> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(DirectoryState::Empty),
        Err(error) => return Err(OpenError::io("read", dir, error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| OpenError::io("read", dir, error))?;
        names.push(entry.file_name().to_string_lossy().into_owned());
    }
    if let Some(ours) = names.iter().find(|name| [ENGINE, MARK].contains(&name.as_str())) {
        // Ours by its name, and nobody's without the marker.
        let detail = format!("{ours} is there and the marker is missing");
        return Err(Damage::new(DamagedPart::Identity, MARKER, detail).into());
    }
    match names.into_iter().find(|name| !HARMLESS.contains(&name.as_str())) {
        Some(example) => Ok(DirectoryState::Foreign { example }),
        None => Ok(DirectoryState::Empty),
    }
}

/// Which node the caller means to open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The cluster that the configuration names.
    pub cluster: ClusterId,
    /// The node that the configuration names.
    pub node: NodeId,
}

/// A data directory that this process works in. The lock is released when it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    identity: Identity,
    lock: File,
}

impl DataDir {
    /// Opens a directory that was created before.
    pub(crate) fn resume(root: &Path, expected: Expected) -> Result<Self, OpenError> {
        let dir = || root.to_path_buf();
        // Looked at before it is locked, so that nothing is created in a stranger's directory.
        if !matches!(survey(root)?, DirectoryState::Node(_)) {
            return Err(OpenError::NoStore { dir: dir() });
        }
        let lock = lock(root)?;
        let DirectoryState::Node(IdentityRecord { identity, stage }) = survey(root)? else {
            return Err(OpenError::NoStore { dir: dir() });
        };
        match stage {
            IdentityStage::Preparing => return Err(OpenError::Unfinished { dir: dir() }),
            IdentityStage::Backup => {
                return Err(OpenError::Backup { dir: dir(), node: identity.node });
            }
            IdentityStage::Ready => {}
        }
        if identity.cluster != expected.cluster {
            let (expected, found) = (expected.cluster, identity.cluster);
            return Err(OpenError::OtherCluster { dir: dir(), expected, found });
        }
        if identity.node != expected.node {
            let (expected, found) = (expected.node, identity.node);
            return Err(OpenError::OtherNode { dir: dir(), expected, found });
        }
        Ok(Self { root: dir(), identity, lock })
    }

    /// Begins a new node's directory: marker first. What an interrupted creation left is removed.
    pub(crate) fn begin(root: &Path, identity: Identity) -> Result<Self, OpenError> {
        Self::check_free(root)?;
        create_dir_durably(root)?;
        let lock = lock(root)?;
        Self::check_free(root)?;
        let created = Self { root: root.to_path_buf(), identity, lock };
        created.write_marker(IdentityStage::Preparing)?;
        created.remove_leftovers()?;
        create_dir_durably(&created.snapshots())?;
        Ok(created)
    }

    fn check_free(root: &Path) -> Result<(), OpenError> {
        let dir = root.to_path_buf();
        match survey(root)? {
            DirectoryState::Empty => Ok(()),
            DirectoryState::Foreign { example } => Err(OpenError::ForeignFiles { dir, example }),
            DirectoryState::Node(IdentityRecord { stage: IdentityStage::Preparing, .. }) => Ok(()),
            DirectoryState::Node(IdentityRecord { identity, .. }) => {
                let Identity { node, cluster, .. } = identity;
                Err(OpenError::AlreadyCreated { dir, node, cluster })
            }
        }
    }

    fn remove_leftovers(&self) -> Result<(), OpenError> {
        for dir in [self.engine(), self.snapshots()] {
            ignore_missing(fs::remove_dir_all(&dir))
                .map_err(|error| OpenError::io("remove", &dir, error))?;
        }
        ignore_missing(fs::remove_file(self.mark()))
            .map_err(|error| OpenError::io("remove", &self.mark(), error))
    }

    /// Ends creation: from here on the directory is a node.
    pub(crate) fn finish(&self) -> Result<(), OpenError> {
        self.write_marker(IdentityStage::Ready)
    }

    fn write_marker(&self, stage: IdentityStage) -> Result<(), OpenError> {
        write_marker(&self.root, &IdentityRecord { identity: self.identity.clone(), stage })
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn engine(&self) -> PathBuf {
        self.root.join(ENGINE)
    }

    pub(crate) fn mark(&self) -> PathBuf {
        self.root.join(MARK)
    }

    pub(crate) fn snapshots(&self) -> PathBuf {
        self.root.join(SNAPSHOTS)
    }
}

impl Drop for DataDir {
    /// Unlocks by hand: a child process that is just being started shares the open file for a moment,
    /// and closing our side alone would leave the lock with it.
    fn drop(&mut self) {
        if let Err(error) = self.lock.unlock() {
            tracing::warn!(dir = %self.root.display(), "cannot unlock the directory: {error}");
        }
    }
}

/// Where the database of a data directory is; a backup copies to the same place.
pub(crate) fn engine_dir(root: &Path) -> PathBuf {
    root.join(ENGINE)
}

/// Replaces the marker: new file, sync, rename, sync of the directory.
pub(crate) fn write_marker(root: &Path, record: &IdentityRecord) -> Result<(), OpenError> {
    let (temporary, marker) = (root.join(MARKER_NEW), root.join(MARKER));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(&encode_identity(record))?;
        file.sync_all()?;
        fs::rename(&temporary, &marker)?;
        sync_dir(root)
    };
    write().map_err(|error| OpenError::io("write", &marker, error))
}

fn lock(root: &Path) -> Result<File, OpenError> {
    let path = root.join(LOCK);
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|error| OpenError::io("open", &path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: root.to_path_buf() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path, error)),
    }
}

/// Creates a directory and makes its name durable in its parent.
pub(crate) fn create_dir_durably(dir: &Path) -> Result<(), OpenError> {
    fs::create_dir_all(dir).map_err(|error| OpenError::io("create", dir, error))?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    sync_dir(parent).map_err(|error| OpenError::io("sync", parent, error))
}

/// Makes created, renamed and removed names in `dir` durable.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

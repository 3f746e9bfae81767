//! Errors of this crate. Each message has three parts: what happened; what it means; what to do.
//!
//! - [`OpenError`]: a data directory cannot be used.
//! - [`Fatal`]: a running store must stop (the node exits).
//! - [`StoreError`]: what one operation of a running store returns; openraft sees it as `io::Error`.
//! - [`SnapshotError`]: a snapshot that came from elsewhere is refused; the node goes on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::format::FormatError;
use crate::types::{ClusterId, NodeId};

/// What a damaged data directory still leaves its operator to do.
const REJOIN: &str = "Leave the directory as it is for inspection, remove this node at another \
    member (tandem cluster remove NODE), start the machine with an empty data directory and let it \
    join under a new number (tandem cluster join HOST:PORT); its state comes back from its peers";

/// Why a data directory cannot be opened or created.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing was ever created here.
    #[error(
        "there is no node in {dir}; the directory is missing or empty, so this node has no identity \
         and no log; make it a member (tandem cluster init or join), or correct the path"
    )]
    NoStore {
        /// The data directory.
        dir: PathBuf,
    },
    /// Creating was asked for, and a node is there already.
    #[error(
        "{dir} already holds node {node} of cluster {cluster}; creating another one would overwrite \
         its promises; start the node that is there, or give an empty directory"
    )]
    AlreadyCreated {
        /// The data directory.
        dir: PathBuf,
        /// The node that is there.
        node: NodeId,
        /// Its cluster.
        cluster: ClusterId,
    },
    /// Creating began here once and did not come to its end.
    #[error(
        "{dir} was being created when that was interrupted; nothing was promised from it yet; run \
         the same tandem cluster init or join again, it starts over"
    )]
    Unfinished {
        /// The data directory.
        dir: PathBuf,
    },
    /// Creating was asked for in a directory with other people's files.
    #[error(
        "{dir} is not empty: it holds {example:?} and no node of ours; a node there would mix with \
         files that it does not own; give an empty directory"
    )]
    ForeignFiles {
        /// The data directory.
        dir: PathBuf,
        /// One of the files found.
        example: String,
    },
    /// The directory belongs to another cluster.
    #[error(
        "{dir} belongs to cluster {found}, not to {expected}; opening it would mix two logs; correct \
         the path in the configuration"
    )]
    OtherCluster {
        /// The data directory.
        dir: PathBuf,
        /// The cluster that the caller meant.
        expected: ClusterId,
        /// The cluster that it belongs to.
        found: ClusterId,
    },
    /// The directory belongs to another node.
    #[error(
        "{dir} belongs to node {found}, not to node {expected}; two nodes with one log would vote \
         twice; correct the path or the node id in the configuration"
    )]
    OtherNode {
        /// The data directory.
        dir: PathBuf,
        /// The node that the caller meant.
        expected: NodeId,
        /// The node that it belongs to.
        found: NodeId,
    },
    /// The directory is a backup.
    #[error(
        "{dir} is a backup of node {node}; a backup forgot everything promised after it was taken, \
         so it may not run as that node; start a node with an empty data directory and let it join \
         (tandem cluster join HOST:PORT): its state comes from its peers"
    )]
    Backup {
        /// The data directory.
        dir: PathBuf,
        /// The node that was backed up.
        node: NodeId,
    },
    /// Something there was written by a newer program.
    #[error(
        "{dir} holds {what} in format {found}, and this program knows up to {known}; it was written \
         by a newer version, and reading on would misunderstand it; run that version or a newer one"
    )]
    NewerFormat {
        /// The data directory.
        dir: PathBuf,
        /// Which record.
        what: &'static str,
        /// Its format version.
        found: u16,
        /// The newest format version that this program reads.
        known: u16,
    },
    /// Another process works there.
    #[error(
        "{dir} is in use by another process; two processes on one log would destroy it; stop the \
         other one, or give this one its own directory"
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },
    /// The directory is damaged. Nothing in it was changed.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The machine refuses its rows.
    #[error(
        "the rows in {dir} cannot be loaded: {source}; the node cannot know its state; if this \
         program is older than the one that wrote them, run the newer one, else treat it as damage. {REJOIN}"
    )]
    Rows {
        /// The data directory.
        dir: PathBuf,
        /// The machine's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The operating system refused.
    #[error(
        "cannot {action} {path}: {source}; the node did not start and changed nothing that was \
         promised; check that the disk is mounted, has space and may be written by this user"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// RocksDB refused for a reason that is not damage.
    #[error(
        "RocksDB cannot open {path}: {message}; the node did not start; check space, permissions and \
         the limit of open files"
    )]
    Engine {
        /// The RocksDB directory.
        path: PathBuf,
        /// RocksDB's reason.
        message: String,
    },
}

impl OpenError {
    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), source }
    }

    /// Turns a decoding error into "newer version" or "damaged".
    pub(crate) fn from_format(
        dir: &Path,
        part: DamagedPart,
        place: impl Into<String>,
        error: FormatError,
    ) -> Self {
        match error {
            FormatError::Newer { what, found, known } => {
                Self::NewerFormat { dir: dir.to_path_buf(), what, found, known }
            }
            other => Damage::new(part, place, other.to_string()).into(),
        }
    }
}

/// Which part of a data directory is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamagedPart {
    /// Log entries: a hole, a broken chain, or an end below the synced-through mark.
    Log,
    /// The vote.
    Vote,
    /// The purge record, or the place where the log begins.
    Purge,
    /// The synced-through mark.
    Mark,
    /// Rows of the machine, their position or digest.
    Rows,
    /// The identity marker or its copy.
    Identity,
    /// RocksDB's own files.
    Engine,
    /// A snapshot file.
    Snapshot,
}

impl DamagedPart {
    fn meaning(self) -> &'static str {
        match self {
            Self::Log | Self::Vote | Self::Purge | Self::Mark => {
                "this node forgot something that it had promised, so it may not vote"
            }
            Self::Rows => "this node's state is not what its log produced, so it may not decide",
            Self::Identity => "this directory cannot prove whose promises it holds",
            Self::Engine => {
                "what this node promised cannot be read back completely, so it may not vote"
            }
            Self::Snapshot => "this snapshot is not what its sender built",
        }
    }
}

impl fmt::Display for DamagedPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Log => "log",
            Self::Vote => "vote",
            Self::Purge => "purge record",
            Self::Mark => "synced-through mark",
            Self::Rows => "state rows",
            Self::Identity => "identity",
            Self::Engine => "database",
            Self::Snapshot => "snapshot",
        })
    }
}

/// Damage that was found: which part, where, and what is wrong with it. Never repaired in silence
/// (invariant D3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Which part.
    pub part: DamagedPart,
    /// File, record or log index.
    pub place: String,
    /// What was expected and what was found.
    pub detail: String,
}

impl Damage {
    pub(crate) fn new(
        part: DamagedPart,
        place: impl Into<String>,
        detail: impl Into<String>,
    ) -> Self {
        Self { part, place: place.into(), detail: detail.into() }
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, place, detail } = self;
        write!(f, "the {part} is damaged at {place}: {detail}; {}; {REJOIN}", part.meaning())
    }
}

impl std::error::Error for Damage {}

/// What made a running store stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FatalCause {
    /// A write to the log or the rows failed.
    Write,
    /// A sync failed. Never tried again: after a failed fsync the kernel may have dropped the dirty
    /// pages and report success the next time ("fsyncgate"; Rebello et al., USENIX ATC 2020).
    Sync,
    /// The synced-through mark could not be written.
    Mark,
    /// RocksDB reported an error of its background work that is not damage.
    Background,
    /// A snapshot could not be built or installed.
    Snapshot,
    /// Data that was read back, by this store or by RocksDB's background work, is damaged.
    Damage,
    /// The machine panicked while it applied an entry.
    MachinePanic,
    /// The caller broke the contract of the log (a hole, a truncation below the purged part).
    Contract,
    /// The writer thread itself failed.
    Writer,
}

/// The store stopped for good; the process has to end. Given to the [`FatalHandler`] once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fatal {
    /// What failed.
    pub cause: FatalCause,
    /// The underlying message.
    pub detail: String,
}

impl Fatal {
    pub(crate) fn new(cause: FatalCause, detail: impl Into<String>) -> Self {
        Self { cause, detail: detail.into() }
    }

    /// Whether the disk had no space left, by the system's message or by that of RocksDB, whose watch over
    /// the free space can be all that its log tells (`SstFileManagerImpl::ClearError`).
    pub fn is_disk_full(&self) -> bool {
        let text = self.detail.to_ascii_lowercase();
        let tells = |words: &&str| text.contains(words);
        ["no space left", "os error 28", "less than required disk buffer"].iter().any(tells)
    }

    fn advice(&self) -> &'static str {
        if self.is_disk_full() {
            return "free space on this disk and start the node again";
        }
        match self.cause {
            FatalCause::Damage => REJOIN,
            FatalCause::MachinePanic | FatalCause::Contract | FatalCause::Writer => {
                "report this as a bug with the log of this node; the other nodes go on"
            }
            _ => "check the disk (system log, SMART) and start the node again when it is healthy",
        }
    }
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.cause {
            FatalCause::Write => "a write to disk failed",
            FatalCause::Sync => "a sync to disk failed",
            FatalCause::Mark => "the synced-through mark could not be written",
            FatalCause::Background => "RocksDB's background work failed",
            FatalCause::Snapshot => "a snapshot could not be built or installed",
            FatalCause::Damage => "data read back from disk is damaged",
            FatalCause::MachinePanic => "the machine panicked while it applied an entry",
            FatalCause::Contract => "the log was used in a way that would tear it",
            FatalCause::Writer => "the writer thread failed",
        };
        write!(
            f,
            "{what}: {}; nothing that was not on disk was acknowledged, and this node stops; {}",
            self.detail,
            self.advice()
        )
    }
}

impl std::error::Error for Fatal {}

/// Called once, from whichever thread found the error, when the store can no longer keep its
/// promises. The node logs it and exits with its documented code.
pub type FatalHandler = Arc<dyn Fn(&Fatal) + Send + Sync>;

/// What an operation of a running store returns.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The store stopped, now or before.
    #[error(transparent)]
    Stopped(Arc<Fatal>),
    /// The store was closed in order.
    #[error("the store is closed; the operation was not done; open the store again")]
    Closed,
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

/// Why a snapshot from elsewhere is refused. The node keeps the state that it has.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file is not what its sender built.
    #[error(
        "the received snapshot is damaged ({0}); nothing was replaced; the sender will send it again"
    )]
    Damaged(String),
    /// It was built for another cluster.
    #[error(
        "the received snapshot belongs to cluster {found}, not to {expected}; nothing was replaced; \
         check which cluster this address belongs to"
    )]
    OtherCluster {
        /// Our cluster.
        expected: ClusterId,
        /// The cluster in its header.
        found: ClusterId,
    },
    /// A newer program wrote it.
    #[error(
        "the received snapshot has {what} in format {found}, and this program knows up to {known}; \
         nothing was replaced; upgrade this node before it can catch up"
    )]
    NewerFormat {
        /// Which record.
        what: &'static str,
        /// Its format version.
        found: u16,
        /// The newest format version that this program reads.
        known: u16,
    },
    /// The machine refuses its rows.
    #[error(
        "the rows of the received snapshot cannot be loaded: {0}; nothing was replaced; \
         if the sender is newer, upgrade this node"
    )]
    Rows(Box<dyn std::error::Error + Send + Sync>),
    /// A chunk came at another offset than the next one.
    #[error(
        "a chunk of the snapshot came at offset {found} instead of {expected}; it was not written; \
         ask for the offset and go on from there"
    )]
    OutOfOrder {
        /// The next offset.
        expected: u64,
        /// The offset of the chunk.
        found: u64,
    },
    /// A newer transfer took this one's place.
    #[error("a newer snapshot transfer took this one's place; it may be dropped")]
    Superseded,
    /// The disk refused.
    #[error(
        "cannot {action} the received snapshot: {source}; nothing was replaced; check the disk"
    )]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The store stopped.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SnapshotError {
    pub(crate) fn io(action: &'static str, source: io::Error) -> Self {
        Self::Io { action, source }
    }
}

impl From<FormatError> for SnapshotError {
    fn from(error: FormatError) -> Self {
        match error {
            FormatError::Newer { what, found, known } => Self::NewerFormat { what, found, known },
            other => Self::Damaged(other.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: every refusal tells all three parts: what happened, what it means, what to do.
    #[test]
    fn messages_have_three_parts() {
        let dir = PathBuf::from("data");
        let errors: Vec<String> = vec![
            OpenError::NoStore { dir: dir.clone() }.to_string(),
            OpenError::ForeignFiles { dir: dir.clone(), example: "x".into() }.to_string(),
            OpenError::Locked { dir }.to_string(),
            Damage::new(DamagedPart::Log, "index 7", "hole").to_string(),
            Fatal::new(FatalCause::Sync, "EIO").to_string(),
        ];
        for error in errors {
            assert!(error.split("; ").count() >= 3, "fewer than three parts: {error}");
        }
    }

    // Goal: a full disk is told as one in whichever words it was found, and nothing else is.
    #[test]
    fn a_full_disk_is_known_by_each_of_its_messages() {
        let table = [
            (FatalCause::Write, "IO error: No space left on device: While appending to file", true),
            (FatalCause::Sync, "No such device (os error 28)", true),
            (
                FatalCause::Background,
                "1 failed flushes or compactions ([file/sst_file_manager_impl.cc:285] free space \
                 [315392 bytes] is less than required disk buffer [786432 bytes])",
                true,
            ),
            (FatalCause::Sync, "IO error: Input/output error", false),
        ];
        for (cause, detail, full) in table {
            let fatal = Fatal::new(cause, detail);
            assert_eq!(fatal.is_disk_full(), full, "{detail}");
            assert_eq!(fatal.to_string().contains("free space on this disk"), full, "{fatal}");
        }
    }

    // Goal: who reads that data is damaged is given the commands that replace the node.
    #[test]
    fn damage_names_the_commands_that_help() {
        let rows = OpenError::Rows { dir: "data".into(), source: "unknown kind".into() };
        let errors = [
            Damage::new(DamagedPart::Log, "index 7", "hole").to_string(),
            Fatal::new(FatalCause::Damage, "log entry 7").to_string(),
            rows.to_string(),
        ];
        for error in errors {
            for command in ["(tandem cluster remove NODE)", "(tandem cluster join HOST:PORT)"] {
                assert!(error.contains(command), "{command}: {error}");
            }
        }
    }

    // Goal: a full disk is told from a broken one, because the advice differs.
    #[test]
    fn disk_full_has_its_own_advice() {
        let full = Fatal::new(FatalCause::Write, "IO error: No space left on device");
        let broken = Fatal::new(FatalCause::Write, "IO error: Input/output error");
        assert!(full.to_string().contains("free space"));
        assert!(!broken.to_string().contains("free space"));
    }
}

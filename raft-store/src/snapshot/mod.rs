//! Snapshots: a file with all live rows at one position.
//!
//! - [`file`]: the handle that openraft and a transport pass around
//! - `build`: writes one from a consistent view of the database while applying goes on
//! - `read`: reads one and checks everything in it
//! - `receive`: takes one from a peer, in chunks, going on where a broken transfer stopped
//! - `install`: replaces the rows by those of a snapshot: old or new after any crash, never mixed
//! - `shelf`: the directory that keeps the current one
//!
//! History is not in snapshots: it moves as segments of its own
//! ([`crate::StoreHandle::history_page`], [`crate::StoreHandle::history_import`]).
//!
//! What does not live here: the bytes (`format::snapshot`).

pub(crate) mod build;
pub(crate) mod file;
pub(crate) mod install;
pub(crate) mod read;
pub(crate) mod receive;
pub(crate) mod shelf;

pub use build::SnapshotBuilder;
pub use file::SnapshotFile;
pub use receive::SnapshotReceiver;

//! What can go wrong with a disk of the laboratory.

use std::io;
use std::path::PathBuf;

use super::faults::TooManyFailures;
use super::image::PastEnd;
use super::limits::{DISK_BYTES_MAX, DISK_BYTES_MIN};
use crate::machine::tool::ToolError;

/// An order that could not be carried out; the disk is as it was unless the message says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The size is out of bounds.
    #[error("a disk of {0} bytes cannot be made: choose {DISK_BYTES_MIN} to {DISK_BYTES_MAX}")]
    Size(u64),
    /// FUSE could not be set up.
    #[error(
        "the disk's file could not be served by FUSE ({step}: {source}): run as root, with /dev/fuse"
    )]
    Serve {
        /// What was being done.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A system program is missing or refused.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// Something still uses the file system.
    #[error("{dir} is still in use by {holders}: end those programs, then try again")]
    Busy {
        /// Where the disk is mounted.
        dir: PathBuf,
        /// The programs, by name and process id.
        holders: String,
    },
    /// The kernel did not let go of the loop device.
    #[error(
        "{device} is still attached {waited_s} s after {dir} was unmounted: another mount namespace may hold it; end its programs"
    )]
    NotReleased {
        /// The loop device.
        device: PathBuf,
        /// Where it was mounted.
        dir: PathBuf,
        /// How long it was waited for.
        waited_s: u64,
    },
    /// The order needs the file system, and the power is cut.
    #[error("the disk is not mounted: restore its power first")]
    NotMounted,
    /// The byte is not on the device.
    #[error(transparent)]
    PastEnd(#[from] PastEnd),
    /// No room for another failure.
    #[error(transparent)]
    TooManyFailures(#[from] TooManyFailures),
    /// The byte of the file has no place on the medium.
    #[error(
        "byte {offset} of {path} has no place on the medium ({why}): choose a byte that was written and synced"
    )]
    NotOnMedium {
        /// The file.
        path: PathBuf,
        /// The byte.
        offset: u64,
        /// What it is instead.
        why: &'static str,
    },
    /// A flip of no bits.
    #[error("the mask is 0, which flips nothing: choose the bits to flip")]
    EmptyMask,
    /// A file or folder could not be used.
    #[error("{path}: {source}")]
    File {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The other side of the control socket refused or could not be understood.
    #[error("the disk at {socket} answered: {complaint}")]
    Remote {
        /// The control socket.
        socket: PathBuf,
        /// What it said.
        complaint: String,
    },
    /// A line on the control socket that is no order or no answer.
    #[error("not understood on the control socket ({0}): both sides must be of the same version")]
    Line(#[from] serde_json::Error),
}

impl DiskError {
    pub(crate) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

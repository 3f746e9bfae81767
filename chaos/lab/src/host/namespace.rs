//! A network namespace that is held by a file descriptor and named nowhere: it ends with the last
//! process in it, even if its owner is killed.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sched::{CloneFlags, setns, unshare};

/// The calling thread's namespace. Not `/proc/self`: that is the main thread's.
const OF_THIS_THREAD: &str = "/proc/thread-self/ns/net";

/// A network namespace, for as long as this value lives or a process is in it.
#[derive(Debug)]
pub(super) struct Namespace(File);

impl Namespace {
    /// A new namespace, which the calling thread is in from now on.
    pub(super) fn enter_new() -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| {
            let cause = io::Error::from(errno);
            io::Error::new(
                cause.kind(),
                format!("no new network namespace: {cause}; run as root (CAP_SYS_ADMIN)"),
            )
        })?;
        Self::of_this_thread()
    }

    /// The namespace that the calling thread is in.
    pub(super) fn of_this_thread() -> io::Result<Self> {
        Self::open(Path::new(OF_THIS_THREAD))
    }

    /// The namespace behind a path in `/proc`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        File::open(path).map(Self).map_err(|error| {
            io::Error::new(error.kind(), format!("no namespace at {}: {error}", path.display()))
        })
    }

    /// Moves the calling thread into the namespace, for good.
    pub(super) fn enter(&self) -> io::Result<()> {
        setns(self.0.as_fd(), CloneFlags::CLONE_NEWNET).map_err(|errno| {
            let cause = io::Error::from(errno);
            io::Error::new(cause.kind(), format!("the host's namespace cannot be entered: {cause}"))
        })
    }

    /// The number that `/proc/PID/ns/net` shows for processes in it.
    pub(super) fn inode(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.ino())
    }

    /// Where others can open it while this process lives.
    pub(super) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd()))
    }
}

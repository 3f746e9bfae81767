//! The relay as a process: one per data folder, known by a pid file that cannot be mistaken.
//!
//! The pid file holds the process id *and* its start time, so that a node that reads it later can
//! tell this process from another one that got the same id.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use thiserror::Error;

const PID_FILE: &str = "relay.pid";
const LOCK_FILE: &str = "relay.lock";

/// What a pid file says.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct PidFile {
    /// Process id.
    pub pid: u32,
    /// When the process started, in clock ticks since the machine did (field 22 of
    /// `/proc/<pid>/stat`).
    pub start_ticks: u64,
    /// Incarnation of the relay, as in `Describe`.
    pub incarnation: String,
    /// Where nodes call; the real port, also when the setting has port 0.
    pub control: SocketAddr,
    /// Where other relays link; the real port, also when the setting has port 0.
    pub link: SocketAddr,
}

/// Why a data folder cannot be used.
#[derive(Debug, Error)]
pub enum DataDirError {
    /// Another relay runs on it.
    #[error(
        "another relay{pid} runs with the data folder {path}; stop it, or give this one its own \
         [relay] data_dir"
    )]
    InUse {
        /// Which folder.
        path: PathBuf,
        /// " (process 123)" when it is known.
        pid: String,
    },
    /// The system refuses.
    #[error("the data folder {path} cannot be used: {error}; check the path and its permissions")]
    Unusable {
        /// Which folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A data folder in the hand of this process; the pid file goes when it is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Takes a folder for this process, and makes it where it does not exist.
    pub fn acquire(path: &Path) -> Result<Self, DataDirError> {
        let unusable = |error| DataDirError::Unusable { path: path.to_owned(), error };
        fs::create_dir_all(path).map_err(unusable)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join(LOCK_FILE))
            .map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let other = PidFile::read(path).ok().flatten();
                let pid = other.map_or_else(String::new, |file| format!(" (process {})", file.pid));
                Err(DataDirError::InUse { path: path.to_owned(), pid })
            }
            Err(error) => Err(unusable(error.into())),
        }
    }

    /// Writes the pid file of this process, whole or not at all.
    pub fn write_pid_file(
        &self,
        incarnation: &str,
        control: SocketAddr,
        link: SocketAddr,
    ) -> Result<(), DataDirError> {
        let unusable = |error| DataDirError::Unusable { path: self.path.clone(), error };
        let pid = std::process::id();
        let start_ticks = start_ticks(pid).map_err(unusable)?;
        let file = PidFile { pid, start_ticks, incarnation: incarnation.to_owned(), control, link };
        let text = toml::to_string(&file).map_err(|error| unusable(io::Error::other(error)))?;
        let new = self.path.join("relay.pid.new");
        fs::write(&new, text).map_err(unusable)?;
        fs::rename(&new, self.path.join(PID_FILE)).map_err(unusable)
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        let file = self.path.join(PID_FILE);
        let own = PidFile::read(&self.path).ok().flatten();
        if own.is_some_and(|file| file.pid == std::process::id())
            && let Err(error) = fs::remove_file(&file)
        {
            tracing::warn!(%error, file = %file.display(), "the pid file stays behind");
        }
    }
}

impl PidFile {
    /// Reads the pid file of a data folder; `None` when there is none.
    pub fn read(data_dir: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read_to_string(data_dir.join(PID_FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let file = toml::from_str(&text);
        file.map(Some).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// True while exactly this process runs.
    pub fn is_alive(&self) -> bool {
        start_ticks(self.pid).is_ok_and(|ticks| ticks == self.start_ticks)
    }
}

/// When a process started, in clock ticks since the machine did.
pub fn start_ticks(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The second field is the program's name in brackets and may hold anything, brackets included.
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let field = fields.split_ascii_whitespace().nth(19).and_then(|text| text.parse().ok());
    field.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "/proc stat has another form"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: one process per folder, told with its pid; the pid file names this very process and
    // goes with it.
    #[test]
    fn one_process_per_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("new/relay");
        let held = DataDir::acquire(&path).expect("free");
        let address = SocketAddr::from(([127, 0, 0, 1], 7_400));
        held.write_pid_file("abc", address, address).expect("written");
        let file = PidFile::read(&path).expect("readable").expect("written");
        assert_eq!((file.pid, file.incarnation.as_str()), (std::process::id(), "abc"));
        assert!(file.is_alive() && file.control == address);
        assert!(!PidFile { start_ticks: file.start_ticks + 1, ..file }.is_alive());
        let error = DataDir::acquire(&path).expect_err("held").to_string();
        assert!(error.contains(&format!("(process {})", std::process::id())), "{error}");
        drop(held);
        assert_eq!(PidFile::read(&path).expect("readable"), None);
        drop(DataDir::acquire(&path).expect("free again"));
    }
}

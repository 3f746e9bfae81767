//! How many files and sockets a running program may hold.

use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// A lowered limit of a running process; the old one comes back when this is dropped or undone.
/// What the process holds already it keeps; only new descriptors are refused, with `EMFILE`.
#[derive(Debug)]
pub struct DescriptorLimit {
    process: Pid,
    before: Option<Rlimit>,
}

/// The limit of a process could not be changed.
#[derive(Debug, thiserror::Error)]
#[error(
    "the descriptor limit of process {process}: {source}; it has ended, or belongs to another user"
)]
pub struct DescriptorError {
    process: i32,
    source: Errno,
}

impl DescriptorLimit {
    /// From now on the process gets no descriptor numbered `descriptors_max` or higher. Processes
    /// that it starts later inherit that.
    pub fn start(process: Pid, descriptors_max: u64) -> Result<Self, DescriptorError> {
        // Only the soft limit: the hard one could not be raised again without a privilege.
        let maximum = hard_limit(process)?;
        let before = set(process, Rlimit { current: Some(descriptors_max), maximum })?;
        Ok(Self { process, before: Some(before) })
    }

    /// Gives the process its old limit back. One that has ended is no error.
    pub fn undo(&mut self) -> Result<(), DescriptorError> {
        let Some(before) = self.before.take() else { return Ok(()) };
        match set(self.process, before) {
            Err(DescriptorError { source: Errno::SRCH, .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            tracing::warn!(%error, "a lowered descriptor limit stays");
        }
    }
}

/// The kernel changes both limits at a time, so the one that stays is read first. `None`:
/// unlimited.
fn hard_limit(process: Pid) -> Result<Option<u64>, DescriptorError> {
    let id = process.as_raw_nonzero().get();
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits"))
        .map_err(|_| DescriptorError { process: id, source: Errno::SRCH })?;
    let row = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    Ok(row.and_then(|row| row.split_whitespace().nth(1)).and_then(|hard| hard.parse().ok()))
}

fn set(process: Pid, limit: Rlimit) -> Result<Rlimit, DescriptorError> {
    prlimit(Some(process), Resource::Nofile, limit)
        .map_err(|source| DescriptorError { process: process.as_raw_nonzero().get(), source })
}

//! A program that is stopped for a while and does not know it: `SIGSTOP`, then `SIGCONT`.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::tool::ToolError;
use super::warden::Warden;

/// How long a process may take to stop: it finishes what it does in the kernel first.
const STOP_WAIT_MAX: Duration = Duration::from_secs(10);
const STOP_POLL: Duration = Duration::from_millis(1);

/// A stopped process. It goes on when this is dropped, undone, or when this process dies.
#[derive(Debug)]
pub struct Pause {
    process: OwnedFd,
    id: i32,
    warden: Option<Warden>,
}

/// A process that could not be stopped or let go on.
#[derive(Debug, thiserror::Error)]
pub enum PauseError {
    /// The kernel refused.
    #[error("process {process}: {source}; it has ended, or belongs to another user")]
    Signal {
        /// Its id.
        process: i32,
        /// What the system said.
        source: Errno,
    },
    /// It goes on all the same.
    #[error("process {process} did not stop within {} s: it waits for a disk, see its state in /proc", STOP_WAIT_MAX.as_secs())]
    StillRuns {
        /// Its id.
        process: i32,
    },
    /// Its warden did not end as told.
    #[error("the warden of a pause: {0}")]
    Warden(std::io::Error),
    /// No shell.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl Pause {
    /// Stops all threads of the process and waits until they stand still.
    pub fn start(process: Pid) -> Result<Self, PauseError> {
        let id = process.as_raw_nonzero().get();
        let signal = |source| PauseError::Signal { process: id, source };
        let pidfd = pidfd_open(process, PidfdFlags::empty()).map_err(signal)?;
        let warden = Warden::start("kill -CONT \"$1\"", [id.to_string()])?;
        // From here on dropping lets it go on.
        let pause = Self { process: pidfd, id, warden: Some(warden) };
        pidfd_send_signal(&pause.process, Signal::STOP).map_err(signal)?;
        let since = Instant::now();
        while !stands_still(id).ok_or(signal(Errno::SRCH))? {
            if since.elapsed() > STOP_WAIT_MAX {
                return Err(PauseError::StillRuns { process: id });
            }
            std::thread::sleep(STOP_POLL);
        }
        Ok(pause)
    }

    /// Lets it go on. A process that was killed meanwhile is no error.
    pub fn undo(&mut self) -> Result<(), PauseError> {
        let Some(warden) = self.warden.take() else { return Ok(()) };
        match pidfd_send_signal(&self.process, Signal::CONT) {
            Ok(()) | Err(Errno::SRCH) => warden.dismiss().map_err(PauseError::Warden),
            Err(source) => Err(PauseError::Signal { process: self.id, source }),
        }
    }
}

impl Drop for Pause {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            tracing::warn!(%error, "a paused process may still stand still");
        }
    }
}

/// Whether every thread is stopped; `None` when the process is gone.
fn stands_still(process: i32) -> Option<bool> {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).ok()?;
    let mut states = threads
        .filter_map(Result::ok)
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
    // The name before the state is in parentheses and may itself hold some.
    Some(states.all(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))))
}

//! A program that believes another time of day. Its monotonic clock is left alone.
//!
//! By libfaketime (Debian package `faketime`), which the dynamic loader puts before the C library:
//! it works for programs linked against glibc, Rust's included. A rate other than 1 also stretches
//! the program's sleeps (`clock_nanosleep`), but not its waits on sockets and locks.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::Invocation;
use super::tool::ToolError;
use super::warden::Warden;

const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Removes the file of the clock, and what libfaketime keeps in shared memory for each program and
/// leaves there when the program is killed. Tries for a while: they may still be about to end.
const CLEAN_UP: &str = "rm -f \"$1\"
for try in 1 2 3 4 5 6 7 8 9 10; do
  left=
  for kept in /dev/shm/faketime_shm_* /dev/shm/sem.faketime_sem_*; do
    [ -e \"$kept\" ] || continue
    if [ -d \"/proc/${kept##*_}\" ]; then left=1; else rm -f \"$kept\"; fi
  done
  [ -z \"$left\" ] && break
  sleep 0.1
done";

/// Normal speed of a [`Setting`].
pub const RATE_NORMAL_PERMILLE: u32 = 1000;

/// How far from the truth a clock is, and how fast it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Added to the true time; negative is the past.
    pub offset_ms: i64,
    /// Speed, counted from the start of each program; a change while it runs also moves its clock,
    /// as if the new speed had held from its start.
    pub rate_permille: u32,
}

impl Setting {
    /// The true time.
    pub const TRUE: Self = Self { offset_ms: 0, rate_permille: RATE_NORMAL_PERMILLE };

    /// The true time, stepped.
    pub fn step(offset_ms: i64) -> Self {
        Self { offset_ms, ..Self::TRUE }
    }

    /// As libfaketime reads it: `+3600.250 x2.000`.
    fn text(self) -> String {
        let sign = if self.offset_ms < 0 { '-' } else { '+' };
        let ms = self.offset_ms.unsigned_abs();
        let mut text = format!("{sign}{}.{:03}", ms / 1000, ms % 1000);
        if self.rate_permille != RATE_NORMAL_PERMILLE {
            let rate = self.rate_permille;
            // Writing to a String cannot fail.
            write!(text, " x{}.{:03}", rate / 1000, rate % 1000).ok();
        }
        text.push('\n');
        text
    }
}

/// A clock that can be set while programs run by it. When it is dropped they go back to the truth.
#[derive(Debug)]
pub struct Clock {
    file: PathBuf,
    library: PathBuf,
    _warden: Warden,
}

/// A clock that could not be made or set.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// libfaketime is not there.
    #[error("{LIBRARY} was not found under /usr/lib: install the Debian package faketime")]
    NoLibrary,
    /// The file that programs read their time from.
    #[error("the clock's file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A speed of zero.
    #[error(
        "a clock at rate 0 stands still, which libfaketime cannot do: choose at least 1 permille"
    )]
    StandsStill,
    /// No shell.
    #[error(transparent)]
    Tool(#[from] ToolError),
}

impl Clock {
    /// A clock that shows the truth at first. `file` is made, and removed with the clock.
    pub fn start(file: impl Into<PathBuf>) -> Result<Self, ClockError> {
        let file = std::path::absolute(file.into())
            .map_err(|source| ClockError::File { path: PathBuf::new(), source })?;
        let library = find_library().ok_or(ClockError::NoLibrary)?;
        let warden = Warden::start(CLEAN_UP, [&file])?;
        let clock = Self { file, library, _warden: warden };
        clock.set(Setting::TRUE)?;
        Ok(clock)
    }

    /// Sets it; running programs see it at their next look.
    pub fn set(&self, setting: Setting) -> Result<(), ClockError> {
        if setting.rate_permille == 0 {
            return Err(ClockError::StandsStill);
        }
        // By renaming, so that no program reads half of it.
        let new = self.file.with_extension("new");
        let failed = |source| ClockError::File { path: self.file.clone(), source };
        std::fs::write(&new, setting.text()).map_err(failed)?;
        std::fs::rename(&new, &self.file).map_err(failed)
    }

    /// The program, run by this clock, together with those that it starts.
    pub fn wrap(&self, invocation: Invocation) -> Invocation {
        invocation
            .with_env("LD_PRELOAD", &self.library)
            .with_env("FAKETIME_TIMESTAMP_FILE", &self.file)
            // Or a change would be seen up to ten seconds later.
            .with_env("FAKETIME_NO_CACHE", "1")
            .with_env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            // Or times of files, which others wrote by the true clock, would be moved too.
            .with_env("NO_FAKE_STAT", "1")
    }

    /// Back to the truth, for running programs too.
    pub fn undo(&self) -> Result<(), ClockError> {
        self.set(Setting::TRUE)
    }
}

fn find_library() -> Option<PathBuf> {
    let per_architecture = std::fs::read_dir("/usr/lib").ok()?.filter_map(Result::ok);
    std::iter::once(PathBuf::from("/usr/lib"))
        .chain(std::iter::once(PathBuf::from("/usr/lib64")))
        .chain(per_architecture.map(|entry| entry.path()))
        .map(|folder: PathBuf| folder.join(Path::new(LIBRARY)))
        .find(|library| library.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a setting is written as libfaketime reads it, signs and fractions included.
    #[test]
    fn settings_as_text() {
        let rows = [
            (Setting::TRUE, "+0.000\n"),
            (Setting::step(3_600_250), "+3600.250\n"),
            (Setting::step(-50), "-0.050\n"),
            (Setting { offset_ms: -1_500, rate_permille: 2_050 }, "-1.500 x2.050\n"),
            (Setting { offset_ms: 0, rate_permille: 1 }, "+0.000 x0.001\n"),
        ];
        for (setting, text) in rows {
            assert_eq!(setting.text(), text);
        }
    }
}

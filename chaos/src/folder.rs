//! The run folder of a demo or scenario: one run at a time, and what an earlier one left behind.
//!
//! `run/` holds the cluster's settings, certificates, data and logs, and is made anew by each run;
//! `report.html` and `evidence.json` of the last run lie beside it.

use std::{
    env, fs,
    fs::File,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{FlockOperation, flock};

use crate::cluster::Process;

/// How long a run that is ending may hold the lock.
const LEAVES_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Says that a folder is the laboratory's own: nothing in any other one is removed.
const MARK: &str = "lock";

/// A run folder in this process's hand.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    /// The lock goes with it.
    _lock: File,
    cleared: Vec<String>,
}

impl RunFolder {
    /// Takes the folder (made when it does not exist), ends what an earlier run left running, and
    /// empties `run/`.
    ///
    /// # Errors
    /// When another run is under way there, or the folder holds something else.
    pub(crate) fn take(path: &Path) -> Result<Self> {
        let mark = path.join(MARK);
        let is_own = mark.exists();
        let is_empty = fs::read_dir(path).map_or(true, |mut entries| entries.next().is_none());
        ensure!(
            is_own || is_empty,
            "{} holds other files; give a folder of its own with --dir",
            path.display()
        );
        fs::create_dir_all(path)
            .with_context(|| format!("the run folder {} cannot be made", path.display()))?;
        let mut lock =
            File::options().read(true).write(true).create(true).truncate(false).open(&mark)?;
        if !locks(&lock) {
            let mut other = String::new();
            lock.read_to_string(&mut other)?;
            bail!(
                "another run is under way in {} (process {}). End it with Ctrl-C, or choose another \
                 folder and addresses: --dir DIR --block 77",
                path.display(),
                other.trim()
            );
        }
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())?;
        lock.flush()?;
        let cleared = end_leftovers(&path.join("run"))?;
        if path.join("run").exists() {
            fs::remove_dir_all(path.join("run")).context("the last run cannot be removed")?;
        }
        fs::create_dir_all(path.join("run"))?;
        Ok(Self { path: path.to_owned(), _lock: lock, cleared })
    }

    /// Where the folder of this name is when nobody says.
    ///
    /// # Errors
    /// When there is no home folder.
    pub(crate) fn usual(name: &str) -> Result<PathBuf> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let state = set("XDG_STATE_HOME").map(PathBuf::from);
        let home = || set("HOME").map(|home| PathBuf::from(home).join(".local/state"));
        let state = state.or_else(home).context("HOME is not set; give a folder with --dir")?;
        Ok(state.join("tandem").join(name))
    }

    /// The folder of the cluster.
    #[must_use]
    pub(crate) fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    /// A file of the result.
    #[must_use]
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Processes of an earlier run that were ended.
    #[must_use]
    pub(crate) fn cleared(&self) -> &[String] {
        &self.cleared
    }
}

/// Takes the lock; waits a moment for one who is just leaving (or for a child of theirs that is just
/// being started and holds a copy until then).
fn locks(file: &File) -> bool {
    let deadline = Instant::now() + LEAVES_WITHIN;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return true,
            Err(_) if Instant::now() > deadline => return false,
            Err(_) => thread::sleep(LOOK_EVERY),
        }
    }
}

/// Kills what the pid files of an earlier run name and what still runs: exactly these processes, by
/// id and start time. Nodes first: they would start their relays again.
fn end_leftovers(run: &Path) -> Result<Vec<String>> {
    let mut cleared = Vec::new();
    for file in ["node.pid", "relay/relay.pid"] {
        let Ok(sites) = fs::read_dir(run) else { continue };
        for site in sites.flatten() {
            let Ok(process) = Process::of_file(&site.path().join(file)) else { continue };
            if process.is_running() {
                process.kill()?;
                let what = if file == "node.pid" { "node" } else { "relay" };
                let site = site.file_name().to_string_lossy().into_owned();
                cleared.push(format!("the {what} of {site} (process {})", process.pid()));
            }
        }
    }
    Ok(cleared)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a second run in the same folder is refused and told who is first; after its end the
    // folder is free.
    #[test]
    fn one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("demo");
        let first = RunFolder::take(&path).unwrap();
        let message = RunFolder::take(&path).unwrap_err().to_string();
        assert!(message.contains(&std::process::id().to_string()), "{message}");
        drop(first);
        RunFolder::take(&path).unwrap();
    }

    // Goal: a folder with other files is left alone.
    #[test]
    fn foreign_folders_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("run/thesis"), "mine").unwrap();
        assert!(RunFolder::take(dir.path()).is_err());
        assert!(dir.path().join("run/thesis").exists());
    }

    // Goal: a process that an earlier run left is ended; one that only has its number (a later one
    // with the same id) is not.
    #[test]
    fn leftovers_are_ended_and_nobody_else() {
        let dir = tempfile::tempdir().unwrap();
        drop(RunFolder::take(dir.path()).unwrap());
        let site = dir.path().join("run/lon");
        fs::create_dir_all(&site).unwrap();
        let sleeper = Process::start(
            Path::new("/bin/sleep"),
            &["1000".as_ref()],
            &dir.path().join("run/log"),
        )
        .unwrap();
        let stranger = format!("pid = {}\nstart_ticks = 1\n", sleeper.pid());
        fs::write(site.join("node.pid"), stranger).unwrap();
        drop(RunFolder::take(dir.path()).unwrap());
        assert!(sleeper.is_running());

        fs::create_dir_all(&site).unwrap();
        sleeper.write_file(&site.join("node.pid")).unwrap();
        let folder = RunFolder::take(dir.path()).unwrap();
        assert!(!sleeper.is_running());
        assert_eq!(folder.cleared().len(), 1, "{:?}", folder.cleared());
    }
}

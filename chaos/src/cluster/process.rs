//! One process of the cluster, known by its own id and start time, so that no other is ever hit.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, set_child_subreaper, waitpid,
};

/// How long a process may take to end when it is asked to.
const END_WITHIN: Duration = Duration::from_secs(20);
/// How long the last threads of a killed process may take to go.
const BURY_WITHIN: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// From now on processes whose parent dies become children of this one (Linux): a relay outlives the
/// node that started it, and somebody must wait for it in the end.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn adopt_orphans() -> Result<()> {
    Ok(set_child_subreaper(Some(getpid()))?)
}

/// Adopted processes whose command line names this folder: a relay that a dying node had just
/// started may not have written its pid file yet.
pub(super) fn orphans_of(dir: &Path) -> Vec<Process> {
    let own = std::process::id().to_string();
    let dir = dir.as_os_str().as_encoded_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|it| it.file_name().to_str()?.parse::<i32>().ok());
    let is_ours = |pid: &i32| {
        parent(*pid).is_some_and(|parent| parent == own)
            && command_line(*pid).is_some_and(|line| {
                !dir.is_empty() && line.windows(dir.len()).any(|window| window == dir)
            })
    };
    pids.filter(is_ours)
        .filter_map(|pid| Some(Process { pid, started: start_ticks(pid)?, child: None }))
        .collect()
}

/// What a process that runs was started with. In the middle of its `exec` it shows nothing for a moment.
fn command_line(pid: i32) -> Option<Vec<u8>> {
    let deadline = Instant::now() + BURY_WITHIN;
    loop {
        let line = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        if !line.is_empty() {
            return Some(line);
        }
        // A zombie shows nothing for ever.
        start_ticks(pid)?;
        if Instant::now() > deadline {
            return None;
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Field 4 of `/proc/<pid>/stat`.
fn parent(pid: i32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_ascii_whitespace().nth(1).map(str::to_owned)
}

/// See the module.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    started: u64,
    /// For one that is our child: so that it does not stay as a zombie.
    child: Option<Mutex<Child>>,
}

impl Process {
    /// Starts a program; what it says goes to the end of a log file.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(program: &Path, arguments: &[&std::ffi::OsStr], log: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::start_at(command, log, |mut command| command.spawn())
    }

    /// The same for a command that is started in its own way.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start_at(
        mut command: Command,
        log: &Path,
        spawn: impl FnOnce(Command) -> io::Result<Child>,
    ) -> Result<Self> {
        let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
        let program = command.get_program().to_owned();
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C at the terminal is for whoever runs the cluster, not for the cluster.
            .process_group(0);
        let child =
            spawn(command).with_context(|| format!("{} cannot be started", program.display()))?;
        let pid = i32::try_from(child.id())?;
        // Also of one that has ended already: it stays as a zombie until we wait for it.
        let (_, started) = state_and_start(pid).context("its start cannot be read in /proc")?;
        Ok(Self { pid, started, child: Some(Mutex::new(child)) })
    }

    /// The relay whose pid file stands in this data folder.
    ///
    /// # Errors
    /// When none runs.
    pub fn of_relay(data_dir: &Path) -> Result<Self> {
        let process = Self::of_file(&data_dir.join("relay.pid")).context("no relay runs")?;
        ensure!(process.is_running(), "the relay of {} has ended", data_dir.display());
        Ok(process)
    }

    /// The process that a pid file names; it may have ended.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn of_file(file: &Path) -> Result<Self> {
        let file: toml::Table = fs::read_to_string(file)?.parse()?;
        let number = |key: &str| file.get(key).and_then(toml::Value::as_integer);
        let pid = number("pid").context("a pid file without pid")?;
        let started = number("start_ticks").context("a pid file without start_ticks")?;
        Ok(Self { pid: i32::try_from(pid)?, started: u64::try_from(started)?, child: None })
    }

    /// Writes a pid file, so that a later run can find a process that outlived this one.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_file(&self, file: &Path) -> Result<()> {
        let text = format!("pid = {}\nstart_ticks = {}\n", self.pid, self.started);
        Ok(fs::write(file, text)?)
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// True while exactly this process runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.reap();
        start_ticks(self.pid).is_some_and(|started| started == self.started)
    }

    /// Its exit code, once it has ended by itself.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        let child = self.child.as_ref()?;
        let mut child = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        child.try_wait().ok().flatten().and_then(|status| status.code())
    }

    /// Kills it and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.until_gone()
    }

    /// Asks it to end (SIGTERM) and waits; kills it when it does not.
    ///
    /// # Errors
    /// When it had to be killed.
    pub fn stop(&self) -> Result<()> {
        self.signal(Signal::TERM)?;
        if self.until_gone().is_err() {
            self.kill()?;
            bail!("process {} did not end within {END_WITHIN:?} and was killed", self.pid);
        }
        Ok(())
    }

    /// Sends a signal.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        ensure!(self.is_running(), "process {} has ended", self.pid);
        let pid = Pid::from_raw(self.pid).context("a process id")?;
        Ok(kill_process(pid, signal)?)
    }

    pub(super) fn until_gone(&self) -> Result<()> {
        let deadline = Instant::now() + END_WITHIN;
        while self.is_running() {
            ensure!(Instant::now() < deadline, "process {} does not end", self.pid);
            thread::sleep(LOOK_EVERY);
        }
        self.bury();
        Ok(())
    }

    /// Waits for one that has ended: it may have died after the last look at it, and would stay as a
    /// zombie. Returns at once; is not called for one that runs.
    fn bury(&self) {
        if let Some(child) = &self.child {
            let mut child = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Whoever waited for it before has its status.
            child.wait().ok();
        } else if let Some(pid) = Pid::from_raw(self.pid) {
            // An orphan of a dead node is ours (see `adopt_orphans`); any other is somebody else's
            // to wait for. Its last threads may need a moment.
            let deadline = Instant::now() + BURY_WITHIN;
            while matches!(waitpid(Some(pid), WaitOptions::NOHANG), Ok(None))
                && Instant::now() < deadline
            {
                thread::sleep(LOOK_EVERY);
            }
        }
    }

    fn reap(&self) {
        if let Some(child) = &self.child {
            let mut child = child.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            // Only to let go of a zombie.
            child.try_wait().ok();
        }
    }
}

impl Drop for Process {
    /// Leaves no zombie; a process that runs goes on.
    fn drop(&mut self) {
        if self.child.is_some() && !self.is_running() {
            self.bury();
        }
    }
}

/// When a process was started, in clock ticks since the boot; none for one that has ended (a zombie has
/// too).
fn start_ticks(pid: i32) -> Option<u64> {
    let (state, started) = state_and_start(pid)?;
    (!matches!(state, 'Z' | 'X')).then_some(started)
}

/// Fields 3 and 22 of `/proc/<pid>/stat`.
fn state_and_start(pid: i32) -> Option<(char, u64)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    Some((fields.next()?.chars().next()?, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(dir: &Path) -> Process {
        Process::start(Path::new("/bin/sleep"), &["1000".as_ref()], &dir.join("log")).unwrap()
    }

    // Goal: neither a kill, nor an end by itself before the drop, nor an orphan leaves a zombie.
    #[test]
    fn no_zombies() {
        let dir = tempfile::tempdir().unwrap();
        let gone = |pid: i32| !Path::new(&format!("/proc/{pid}")).exists();
        for _ in 0..20 {
            let process = sleeper(dir.path());
            process.kill().unwrap();
            assert!(gone(process.pid()), "killed");
        }
        adopt_orphans().unwrap();
        let shell = "sleep 1000 & echo pid = $! > pid";
        let shell = format!("cd {}; {shell}", dir.path().display());
        let arguments = ["-c".as_ref(), shell.as_ref()];
        let parent = Process::start(Path::new("/bin/sh"), &arguments, &dir.path().join("log"));
        parent.unwrap().until_gone().unwrap();
        let pid: toml::Table = fs::read_to_string(dir.path().join("pid")).unwrap().parse().unwrap();
        let pid = i32::try_from(pid["pid"].as_integer().unwrap()).unwrap();
        assert!(orphans_of("/another/folder".as_ref()).is_empty());
        let mut orphans = orphans_of("1000".as_ref());
        let orphan = orphans.extract_if(.., |orphan| orphan.pid == pid).next().unwrap();
        orphan.kill().unwrap();
        assert!(gone(pid), "orphan");

        let process = sleeper(dir.path());
        let pid = process.pid();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        while start_ticks(pid).is_some() {
            thread::sleep(LOOK_EVERY);
        }
        drop(process);
        assert!(gone(pid), "dropped");
    }
}

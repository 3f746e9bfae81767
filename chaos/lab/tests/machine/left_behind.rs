//! Nothing is left of a process that held clocks, groups and pauses, and was killed.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tandem_lab::machine::Invocation;
use tandem_lab::machine::clock::Clock;
use tandem_lab::machine::crash_point::Injections;
use tandem_lab::machine::group::{Group, Limits};
use tandem_lab::machine::pause::Pause;

use crate::puppet::Puppet;

const FOLDER: &str = "TANDEM_LAB_TEST_HOLD_FAULTS_IN";
const VICTIM: &str = "TANDEM_LAB_TEST_PAUSE";

/// Far more than it takes; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// The side that will be killed; does nothing in an ordinary run of the tests.
#[test]
fn hold_faults_when_told_to() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let victim = std::env::var(VICTIM).unwrap().parse().unwrap();
    let _pause = Pause::start(Pid::from_raw(victim).unwrap()).unwrap();
    let _clock = Clock::start(Path::new(&folder).join("clock")).unwrap();
    let group = Group::start(Limits { cpu_percent_max: Some(50), ..Limits::default() }).unwrap();
    let marked =
        Invocation::new("sh", ["-c".into(), "echo; echo ready; sleep 600; :".into(), folder]);
    let mut inside = group.wrap(marked).command().spawn().unwrap();
    inside.wait().unwrap();
}

struct Holder {
    child: Child,
    folder: tempfile::TempDir,
    _output: BufReader<std::process::ChildStdout>,
}

impl Holder {
    fn start(victim: Pid) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "left_behind::hold_faults_when_told_to", "--nocapture"])
            .env(FOLDER, folder.path())
            .env(VICTIM, victim.as_raw_nonzero().to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.by_ref().lines().any(|line| line.unwrap() == "ready"));
        Self { child, folder, _output: output }
    }

    fn name(&self) -> String {
        format!("tandem-lab-{}-", self.child.id())
    }

    /// Processes that name this holder's folder or groups.
    fn processes(&self) -> Vec<(i32, String)> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        processes(|line| line.contains(&folder) || line.contains(&self.name()))
    }

    fn traces(&self) -> Vec<String> {
        let mut traces: Vec<String> = self.processes().into_iter().map(|(_, line)| line).collect();
        for controller in ["cpu", "memory"] {
            let mut folders = vec![PathBuf::from("/sys/fs/cgroup").join(controller)];
            while let Some(folder) = folders.pop() {
                let entries =
                    std::fs::read_dir(&folder).into_iter().flatten().filter_map(Result::ok);
                folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
                let path = folder.to_string_lossy().into_owned();
                traces.extend(path.contains(&self.name()).then_some(path));
            }
        }
        traces.extend(self.folder.path().join("clock").exists().then(|| "clock".to_owned()));
        traces
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail when it was killed already, as it should have been.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn processes(wanted: impl Fn(&str) -> bool) -> Vec<(i32, String)> {
    let all = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    all.filter_map(|entry| {
        let pid = entry.file_name().to_string_lossy().parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        wanted(&line).then_some((pid, line))
    })
    .collect()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "{what} did not come about");
        std::thread::sleep(Duration::from_millis(20));
    }
}

// Goal: after SIGKILL of their owner the group and its program are gone, the clock too, and the
// paused program runs.
#[test]
fn a_killed_owner_leaves_nothing() {
    let mut puppet = Puppet::start(Puppet::invocation());
    let mut holder = Holder::start(puppet.pid());
    puppet.tell("time");
    let before = holder.traces();
    assert!(before.iter().any(|t| t.contains("/cpu/")), "the search finds a group: {before:?}");
    assert!(before.iter().any(|t| t.contains("sleep 600")), "and its program: {before:?}");
    assert!(before.iter().any(|t| t.contains("warden")), "and a warden: {before:?}");
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    assert!(!puppet.answer().is_empty());
    wait_until("a clean system", || holder.traces().is_empty());
}

// Goal: what is left when the wardens were killed too is removed by the next group that anybody
// makes.
#[test]
fn the_next_group_removes_a_dead_owners() {
    let puppet = Puppet::start(Puppet::invocation());
    let mut holder = Holder::start(puppet.pid());
    for (pid, line) in holder.processes() {
        if line.contains("tandem-lab-warden") {
            kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
        }
    }
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    drop(Group::start(Limits::default()).unwrap());
    let groups = |traces: Vec<String>| traces.into_iter().filter(|t| t != "clock").count();
    wait_until("a clean system", || groups(holder.traces()) == 0);
}

// Goal: a program under strace does not outlive it.
#[test]
fn a_killed_strace_takes_its_program_along() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().to_string_lossy().into_owned();
    let script = "echo ready; read -r _";
    let inner = Invocation::new("sh", ["-c", script, &mark]);
    let mut command =
        Injections::kill_at_write(1, folder.path().join("none")).wrap(inner).command();
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let _never_closed = child.stdin.take();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("the program's end", || processes(|line| line.contains(&mark)).is_empty());
}

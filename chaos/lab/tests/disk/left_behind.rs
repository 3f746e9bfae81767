//! Nothing is left of a disk whose process was killed.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::Pid;
use tandem_lab::disk::command::{DiskCommand, run};
use tandem_lab::disk::image::Crash;
use tandem_lab::disk::{Answer, Client, Disk, DiskError, Order, Settings};

use crate::tool::require_root;

/// Tells this test program, started again, to be the process that holds a disk.
const HOLD: &str = "TANDEM_LAB_TEST_HOLD_A_DISK_IN";

/// What that process does.
const HOLDS: &str = "left_behind::hold_a_disk_when_told_to";
const KEEPS: &str = "left_behind::keep_unsynced_disks_when_told_to";
const WRITES: &str = "left_behind::write_to_ones_own_disk_when_told_to";

/// How many disks the one that keeps several has.
const DISKS: usize = 3;

/// Far more than it takes; only a failure waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the command line's own code in the process that will be killed; nothing when not told to.
#[test]
fn hold_a_disk_when_told_to() {
    let Some(folder) = std::env::var_os(HOLD) else { return };
    let folder = Path::new(&folder);
    run(DiskCommand::Run {
        size: 32 << 20,
        mount: folder.join("mount"),
        control: folder.join("control"),
        commit_interval_s: 5,
    })
    .unwrap();
}

/// The same, and this process itself writes to the disk that it serves until it is killed.
#[test]
fn write_to_ones_own_disk_when_told_to() {
    let Some(folder) = std::env::var_os(HOLD) else { return };
    let dir = Path::new(&folder).join("mount");
    let settings = Settings { bytes: 32 << 20, dir: dir.clone(), commit_interval_s: 5 };
    let _disk = Disk::start(settings).unwrap();
    let mut file = File::create(dir.join("data")).unwrap();
    println!("\nready: {}", dir.display());
    loop {
        file.write_all(b"x").unwrap();
        file.sync_all().unwrap();
    }
}

/// The same with several disks that have much to sync, and the process waits for none of them.
#[test]
fn keep_unsynced_disks_when_told_to() {
    let Some(folder) = std::env::var_os(HOLD) else { return };
    let disks: Vec<Disk> = (0..DISKS)
        .map(|number| {
            let dir = Path::new(&folder).join(number.to_string());
            std::fs::create_dir(&dir).unwrap();
            let settings = Settings { bytes: 32 << 20, dir: dir.clone(), commit_interval_s: 300 };
            let disk = Disk::start(settings).unwrap();
            std::fs::write(dir.join("data"), vec![b'x'; 8 << 20]).unwrap();
            disk
        })
        .collect();
    println!("\nready: {}", disks.len());
    loop {
        std::thread::park();
    }
}

struct Holder {
    child: Child,
    folder: tempfile::TempDir,
}

impl Holder {
    fn start(role: &str) -> Self {
        let mut holder = Self::start_without_waiting(role);
        holder.wait_until_ready();
        holder
    }

    fn wait_until_ready(&mut self) {
        let mut lines = BufReader::new(self.child.stdout.take().unwrap()).lines();
        let ready = lines.any(|line| line.unwrap().contains("ready: "));
        assert!(ready, "the holder ended before its disk was ready");
        // Its further output goes nowhere, and must not hold it up.
        std::thread::spawn(move || lines.for_each(drop));
    }

    fn only_child(&self) -> Pid {
        let outer = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{outer}/task/{outer}/children"));
        children.unwrap().trim().parse().ok().and_then(Pid::from_raw).unwrap()
    }

    /// In namespaces of processes and mounts that end with it.
    fn start_alone() -> Self {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"]);
        unshare.args(["sh", "-c", "\"$@\" & wait", "sh"]);
        unshare.arg(std::env::current_exe().unwrap());
        let mut holder = Self::start_by(unshare, KEEPS);
        holder.wait_until_ready();
        holder
    }

    fn start_without_waiting(role: &str) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), role)
    }

    fn start_by(mut program: Command, role: &str) -> Self {
        require_root();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("mount")).unwrap();
        let child = program
            .args(["--exact", role, "--nocapture"])
            .env(HOLD, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, folder }
    }

    fn client(&self) -> Client {
        Client::new(self.folder.path().join("control"))
    }

    /// Everything in the system that bears the name of this holder or its folder.
    fn traces(&self) -> Vec<String> {
        let folder = self.folder.path().to_string_lossy().into_owned();
        let mut traces = Vec::new();
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        traces.extend(mounts.lines().filter(|m| m.contains(&folder)).map(str::to_owned));
        let named = format!("tandem-lab-{}-", self.child.id());
        for entry in std::fs::read_dir("/sys/block").unwrap() {
            let file = entry.unwrap().path().join("loop/backing_file");
            let backing = std::fs::read_to_string(file).unwrap_or_default();
            traces.extend(backing.contains(&named).then_some(backing));
        }
        for entry in std::fs::read_dir("/proc").unwrap() {
            let line = std::fs::read(entry.unwrap().path().join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            traces.extend(line.contains(&folder).then_some(line));
        }
        traces.extend(self.folder.path().join("control").exists().then(|| "socket".to_owned()));
        traces
    }

    fn wait_for_no_traces(&self) {
        let since = Instant::now();
        while since.elapsed() < PATIENCE && !self.traces().is_empty() {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(self.traces(), [""; 0]);
    }
}

fn wait_for_end(process: Pid) {
    let since = Instant::now();
    while rustix::process::test_kill_process(process).is_ok() {
        assert!(since.elapsed() < PATIENCE, "{process:?} was killed and does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Both fail when it has ended already, as it should have.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

// Goal: after SIGKILL of the process that serves a disk, no mount, loop device, warden or socket is
// left, though a program still writes to it.
#[test]
fn a_killed_process_leaves_nothing() {
    let mut holder = Holder::start(HOLDS);
    let before = holder.traces();
    assert!(before.iter().any(|t| t.contains("ext4")), "the search finds a mount: {before:?}");
    assert!(before.iter().any(|t| t.contains("warden")), "and a warden: {before:?}");
    let named = format!("tandem-lab-{}-", holder.child.id());
    assert!(before.iter().any(|t| t.contains(&named)), "and a loop device: {before:?}");
    let script = "exec 3>\"$1/data\"; while echo x >&3 && sync \"$1/data\"; do :; done";
    let mut user = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(holder.folder.path().join("mount"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Else it would open a file of the folder beneath, and never see an end.
    let since = Instant::now();
    while std::fs::metadata(holder.folder.path().join("mount/data")).is_err() {
        assert!(since.elapsed() < PATIENCE, "the program does not write");
        std::thread::sleep(Duration::from_millis(1));
    }
    holder.child.kill().unwrap();
    holder.child.wait().unwrap();
    user.wait().unwrap();
    holder.wait_for_no_traces();
}

// Goal: a process that waits for the very disk that it serves can be killed, and leaves nothing.
#[test]
fn a_process_that_uses_its_own_disk_can_be_killed() {
    for _ in 0..3 {
        let mut holder = Holder::start(WRITES);
        holder.child.kill().unwrap();
        holder.wait_for_no_traces();
        holder.child.wait().unwrap();
    }
}

// Goal: the last process of a mount namespace can be killed, though the namespace ends with it and
// the kernel syncs the disk then that the same process serves.
#[test]
fn a_process_that_is_alone_with_its_disks_can_be_killed() {
    for _ in 0..4 {
        let mut room = Holder::start_alone();
        let first = room.only_child();
        room.child.kill().unwrap();
        room.child.wait().unwrap();
        wait_for_end(first);
    }
}

// Goal: the threads that serve a disk hold no copy of a pipe: when its owner closes it, it is
// closed.
#[test]
fn a_served_disk_holds_nobody_elses_descriptors() {
    require_root();
    let folder = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    let dir = folder.path().to_owned();
    let disk = Disk::start(Settings { bytes: 32 << 20, dir, commit_interval_s: 5 }).unwrap();
    let hung_up = || {
        let mut poll = [PollFd::new(&reader, PollFlags::IN)];
        rustix::event::poll(&mut poll, Some(&Timespec::default())).unwrap();
        poll[0].revents().contains(PollFlags::HUP)
    };
    assert!(!hung_up());
    drop(writer);
    assert!(hung_up());
    drop(disk);
}

// Goal: killed at any time while it makes its disk, the process leaves nothing either.
#[test]
fn a_process_killed_while_it_starts_leaves_nothing() {
    for killed_after_ms in (0..150).step_by(10) {
        let mut holder = Holder::start_without_waiting(HOLDS);
        std::thread::sleep(Duration::from_millis(killed_after_ms));
        holder.child.kill().unwrap();
        holder.child.wait().unwrap();
        holder.wait_for_no_traces();
    }
}

// Goal: killed at any time during a power loss, the process leaves nothing either.
#[test]
fn a_process_killed_during_a_power_loss_leaves_nothing() {
    for killed_after_ms in (0..70).step_by(10) {
        let mut holder = Holder::start(HOLDS);
        let client = holder.client();
        let cycles = std::thread::spawn(move || {
            let order = Order::PowerLoss { leaves: Crash::Clean };
            while client.apply(&order).is_ok() {}
        });
        std::thread::sleep(Duration::from_millis(killed_after_ms));
        holder.child.kill().unwrap();
        holder.child.wait().unwrap();
        cycles.join().unwrap();
        holder.wait_for_no_traces();
    }
}

// Goal: orders reach a disk in another process, refusals come back, and a stop takes everything
// away.
#[test]
fn a_stopped_process_leaves_nothing() {
    let mut holder = Holder::start(HOLDS);
    let client = holder.client();
    let Answer::Status(status) = client.apply(&Order::Status).unwrap() else {
        panic!("a status was asked for");
    };
    assert!(status.is_mounted && status.bytes == 32 << 20, "{status:?}");
    let refused = client.apply(&Order::FlipDevice { offset: u64::MAX, mask: 1 }).unwrap_err();
    assert!(
        matches!(&refused, DiskError::Remote { complaint, .. } if complaint.contains("not on the device"))
    );
    assert_eq!(client.apply(&Order::Stop).unwrap(), Answer::Done);
    assert!(holder.child.wait().unwrap().success());
    holder.wait_for_no_traces();
}

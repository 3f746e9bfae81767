//! A disk in a folder of its own, and a shell that works on it.

use std::path::Path;
use std::process::{Command, Output};

use tandem_lab::disk::image::{Crash, CrashReport};
use tandem_lab::disk::{Answer, Disk, Order, Settings, Status};

/// Long enough that ext4 never syncs by itself during a test.
const NEVER_S: u32 = 86_400;

/// A disk and the folder that it is mounted on.
pub(crate) struct Bench {
    disk: Disk,
    folder: tempfile::TempDir,
}

impl Bench {
    pub(crate) fn new() -> Self {
        require_root();
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().to_owned();
        let settings = Settings { bytes: 32 << 20, dir, commit_interval_s: NEVER_S };
        Self { disk: Disk::start(settings).unwrap(), folder }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn disk(&mut self) -> &mut Disk {
        &mut self.disk
    }

    pub(crate) fn order(&mut self, order: Order) -> Answer {
        self.disk().apply(order).unwrap()
    }

    pub(crate) fn status(&mut self) -> Status {
        self.disk().status()
    }

    pub(crate) fn power_loss(&mut self, leaves: Crash) -> CrashReport {
        self.disk().power_loss(leaves).unwrap()
    }

    /// Runs a shell script with the disk's folder as `$1`.
    pub(crate) fn sh(&self, script: &str) -> Output {
        Command::new("sh").args(["-c", script, "sh"]).arg(self.dir()).output().unwrap()
    }

    /// The same; it must succeed.
    pub(crate) fn sh_ok(&self, script: &str) -> String {
        let output = self.sh(script);
        assert!(output.status.success(), "{script}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Ends the disk and checks that its folder is an empty one again.
    pub(crate) fn end(mut self) {
        self.disk.undo().unwrap();
        assert_eq!(std::fs::read_dir(self.dir()).unwrap().count(), 0);
    }
}

pub(crate) fn require_root() {
    assert!(rustix::process::getuid().is_root(), "these tests mount disks: run them as root");
}

pub(crate) fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

//! Children that die: this test binary runs itself, with a role in the environment.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use tandem_raft_store::faults::{CrashPoint, Faults};

const ROLE: &str = "TANDEM_STORE_TEST_ROLE";
const DIR: &str = "TANDEM_STORE_TEST_DIR";
const SEED: &str = "TANDEM_STORE_TEST_SEED";
const CRASH: &str = "TANDEM_STORE_TEST_CRASH";
/// Marks the lines that are ours among those of the test harness.
const MARK: &str = "@@ ";

/// What a child is to do.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) role: String,
    pub(crate) dir: PathBuf,
    pub(crate) seed: u64,
    pub(crate) crash: Option<(CrashPoint, u64)>,
}

const POINTS: [CrashPoint; 14] = [
    CrashPoint::GroupBeforeWrite,
    CrashPoint::GroupBeforeSync,
    CrashPoint::GroupBeforeReport,
    CrashPoint::VoteBeforeMark,
    CrashPoint::MarkHalfWritten,
    CrashPoint::TruncateAfterMark,
    CrashPoint::InstallHalfway,
    CrashPoint::InstallBeforeFlip,
    CrashPoint::InstallAfterFlip,
    CrashPoint::SnapshotHalfBuilt,
    CrashPoint::SnapshotBeforeRename,
    CrashPoint::CreateAfterPreparing,
    CrashPoint::CreateBeforeReady,
    CrashPoint::CloseBeforeMark,
];

impl Assignment {
    pub(crate) fn new(role: &str, dir: &Path, seed: u64) -> Self {
        Self { role: role.to_owned(), dir: dir.to_path_buf(), seed, crash: None }
    }

    pub(crate) fn crashing_at(mut self, point: CrashPoint, nth: u64) -> Self {
        self.crash = Some((point, nth));
        self
    }

    /// The assignment of this process, if it is a child.
    pub(crate) fn of_this_process() -> Option<Self> {
        let role = std::env::var(ROLE).ok()?;
        let dir = std::env::var(DIR).expect("a child has a directory").into();
        let seed = std::env::var(SEED).expect("a child has a seed").parse().expect("a number");
        let crash = std::env::var(CRASH).ok().map(|text| {
            let (number, nth) = text.split_once(':').expect("point:nth");
            let number: usize = number.parse().expect("a number");
            (POINTS[number], nth.parse().expect("a number"))
        });
        Some(Self { role, dir, seed, crash })
    }

    /// The faults that the child opens its store with.
    pub(crate) fn faults(&self) -> Faults {
        let faults = Faults::new();
        if let Some((point, nth)) = self.crash {
            faults.crash_at(point, nth);
        }
        faults
    }

    fn put_into(&self, command: &mut Command) {
        command.env(ROLE, &self.role).env(DIR, &self.dir).env(SEED, self.seed.to_string());
        if let Some((point, nth)) = self.crash {
            let number = POINTS.iter().position(|known| *known == point).expect("known");
            command.env(CRASH, format!("{number}:{nth}"));
        }
    }
}

/// The arguments that make this binary run only the test that plays the roles.
pub(crate) fn child_arguments() -> [&'static str; 4] {
    ["--exact", "crash::children_play_their_role", "--nocapture", "--test-threads=1"]
}

/// A running child.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<ChildStdout>,
}

pub(crate) fn start(assignment: &Assignment) -> Running {
    let mut command = Command::new(std::env::current_exe().expect("own binary"));
    command.args(child_arguments());
    assignment.put_into(&mut command);
    start_command(command)
}

/// Starts a command that ends in this binary, such as one that changes the namespace first.
pub(crate) fn start_wrapped(mut command: Command, assignment: &Assignment) -> Running {
    assignment.put_into(&mut command);
    start_command(command)
}

fn start_command(mut command: Command) -> Running {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).stdin(Stdio::null());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let lines = BufReader::new(child.stdout.take().expect("piped"));
    Running { child, lines }
}

impl Running {
    /// The next line that the child said, or `None` when it is gone.
    pub(crate) fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            // A child that dies in the middle of a line said nothing.
            match self.lines.read_line(&mut line) {
                Ok(0) | Err(_) => return None,
                Ok(_) if !line.ends_with('\n') => return None,
                Ok(_) => {}
            }
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.trim_end().to_owned());
            }
        }
    }

    /// Everything that the child said until its end.
    pub(crate) fn rest(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.line()).collect()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().expect("the child can be killed");
    }

    /// Waits for the end; returns how it ended and what it said on standard error.
    pub(crate) fn wait(self) -> (ExitStatus, String) {
        let output = self.child.wait_with_output().expect("the child ends");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Says a line to the parent.
pub(crate) fn say(line: impl std::fmt::Display) {
    println!("{MARK}{line}");
}

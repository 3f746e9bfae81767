//! The laboratory's own promise: whatever happens to it, nothing stays on the machine.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, waitpid};
use tandem_chaos::check::leftovers::{Listing, Scope, Thing};

use crate::support::programs;

/// A run with what could stay behind: processes, cities in namespaces, disks. It would last ten
/// minutes, and needs root.
const ENDLESS: &str = r#"
name = "endless"
title = "A city is far away and its disk slow, for ten minutes"
breaks = "nothing much"
promises = "nothing"
faults = []
[center]
network = "wan"
callers = 6
[[step]]
at_ms = 500
target = "follower"
fault = { kind = "impair", delay_ms = 5 }
lasts_ms = 600000
[[step]]
at_ms = 500
target = "follower"
fault = { kind = "disk_slow", write_ms = 0, sync_ms = 5 }
lasts_ms = 600000
"#;
/// How long the run may take to be in its middle, and the kernel to take it away: bounds a hang.
const PATIENCE: Duration = Duration::from_secs(90);
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Ends the run also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn running(listing: &[Thing], program: &str) -> usize {
    let named =
        |thing: &&Thing| matches!(thing, Thing::Process { command, .. } if command == program);
    listing.iter().filter(named).count()
}

/// Relays of two cities are linked when a conversation between them begins.
fn audio_crosses_cities(dir: &Path) -> bool {
    let Ok(cities) = fs::read_dir(dir.join("endless/run")) else { return false };
    cities.filter_map(Result::ok).any(|city| {
        fs::read_to_string(city.path().join("node.log")).is_ok_and(|log| log.contains("link up"))
    })
}

/// Clusters of other tests make this process the parent of orphans (`adopt_orphans`): whom the killed
/// laboratory leaves as dead is ours to bury. One who lives is not touched.
fn bury(left: &[Thing]) {
    for thing in left {
        let Thing::Process { pid, .. } = thing else { continue };
        if let Some(pid) = i32::try_from(*pid).ok().and_then(Pid::from_raw) {
            // It may be no child of ours, or buried already.
            waitpid(Some(pid), WaitOptions::NOHANG).ok();
        }
    }
}

// Goal: a laboratory that is killed (SIGKILL) in the midst of its calls leaves no process, namespace,
// mount, loop device or control group behind, and no file beside its run's folder.
#[test]
fn a_killed_run_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().display().to_string();
    let marks = vec![base, "tandem-lab-".to_owned()];
    let scope = Scope { marks, ..Scope::default() };
    let before = Listing::take(&scope);
    let file = dir.path().join("endless.toml");
    fs::write(&file, ENDLESS).unwrap();
    let mut run = Command::new(programs().join("tandem-chaos"));
    run.arg("run").arg(&file).arg("--dir").arg(dir.path());
    let mut run = Killed(run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());

    let began = Instant::now();
    let seen = loop {
        let seen = Listing::take(&scope).left_since(&before);
        let runs = running(&seen, "tandem") >= 3 && running(&seen, "tandem-relay") >= 3;
        if runs && audio_crosses_cities(dir.path()) {
            break seen;
        }
        let ended = run.0.try_wait().unwrap();
        assert!(ended.is_none(), "the run ended before its middle; it needs root: {seen:?}");
        assert!(began.elapsed() < PATIENCE, "the run does not come to its middle: {seen:?}");
        std::thread::sleep(LOOK_EVERY);
    };
    assert!(seen.iter().any(|thing| matches!(thing, Thing::Namespace(_))), "{seen:?}");
    assert!(seen.iter().any(|thing| matches!(thing, Thing::LoopDevice { .. })), "{seen:?}");

    run.0.kill().unwrap();
    run.0.wait().unwrap();
    let killed = Instant::now();
    loop {
        let left = Listing::take(&scope).left_since(&before);
        if left.is_empty() {
            break;
        }
        bury(&left);
        assert!(killed.elapsed() < PATIENCE, "left behind: {left:?}");
        std::thread::sleep(LOOK_EVERY);
    }
    let beside: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "endless" && name != "endless.toml")
        .collect();
    assert!(beside.is_empty(), "{beside:?}");
}

//! Processor and memory limits.

use std::time::{Duration, Instant};

use tandem_lab::machine::Invocation;
use tandem_lab::machine::group::{Group, Limits, LimitsError};

const PATIENCE: Duration = Duration::from_secs(30);

// Goal: a program that would use a whole processor is made to wait; the same one without a limit is
// not.
#[test]
fn a_share_of_the_processor_throttles() {
    let spin = "i=0; while [ $i -lt 200000 ]; do i=$((i + 1)); done";
    let free = Group::start(Limits::default()).unwrap();
    let run =
        |group: &Group, script: &str| group.wrap(Invocation::new("sh", ["-c", script])).command();
    assert!(run(&free, spin).status().unwrap().success());
    assert_eq!(free.cpu_use().unwrap().periods_throttled, 0);

    let tight = Limits { cpu_percent_max: Some(5), ..Limits::default() };
    let mut group = Group::start(tight).unwrap();
    let mut child = run(&group, "while :; do :; done").spawn().unwrap();
    let since = Instant::now();
    while group.cpu_use().unwrap().periods_throttled < 5 && since.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = group.cpu_use().unwrap();
    assert!(used.periods_throttled >= 5 && used.throttled_ns > 0, "{used:?}");
    assert!(used.periods >= used.periods_throttled, "{used:?}");

    let error = group.set(Limits { cpu_percent_max: Some(0), ..Limits::default() });
    assert!(matches!(error, Err(LimitsError::NoShare)));
    group.undo().unwrap();
    assert_eq!(child.try_wait().unwrap(), None, "undone, the program lives on");
    child.kill().unwrap();
    child.wait().unwrap();
}

// Goal: a program that takes more memory than its limit is killed and counted; one that takes less
// is not.
#[test]
fn too_much_memory_kills() {
    let limits = Limits { memory_bytes_max: Some(32 << 20), ..Limits::default() };
    let group = Group::start(limits).unwrap();
    // tail holds what it may have to print.
    let hold = |mib: u32| {
        let script = format!("head -c {mib}M /dev/zero | tail -c {mib}M | wc -c");
        let output = group.wrap(Invocation::new("sh", ["-c", &script])).command().output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(hold(4), (4 << 20).to_string());
    assert_eq!(group.memory_use().unwrap().kills, 0);
    assert_ne!(hold(100), (100 << 20).to_string());
    let used = group.memory_use().unwrap();
    assert!(used.kills >= 1, "{used:?}");
    group.set(Limits::default()).unwrap();
    assert_eq!(hold(100), (100 << 20).to_string());
}

//! Clocks that are wrong.

use std::time::Duration;

use tandem_lab::machine::clock::{Clock, ClockError, Setting};

use crate::puppet::Puppet;

const HOUR_MS: i64 = 3_600_000;
const TEN_YEARS_MS: i64 = 10 * 365 * 24 * HOUR_MS;

// Goal: a running Rust program sees its time of day step forth and back, and its monotonic clock go
// on.
#[test]
fn a_step_is_seen_and_the_monotonic_clock_is_not_touched() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::start(folder.path().join("clock")).unwrap();
    let mut puppet = Puppet::start(clock.wrap(Puppet::invocation()));
    let before = puppet.times();
    for step_ms in [TEN_YEARS_MS, -HOUR_MS, -TEN_YEARS_MS, 0] {
        clock.set(Setting::step(step_ms)).unwrap();
        let now = puppet.times();
        let passed_ms = now.wall_ms - before.wall_ms - step_ms;
        assert!((-1..HOUR_MS / 2).contains(&passed_ms), "stepped by {step_ms}, off by {passed_ms}");
        let monotonic_ms = now.monotonic_ms - before.monotonic_ms;
        assert!((0..HOUR_MS / 2).contains(&monotonic_ms), "{monotonic_ms}");
    }
    clock.set(Setting::step(HOUR_MS)).unwrap();
    clock.undo().unwrap();
    assert!(puppet.times().wall_ms - before.wall_ms < HOUR_MS / 2);
}

// Goal: a clock that goes a hundred times too fast does, measured by the program's own monotonic
// clock.
#[test]
fn a_fast_clock_is_fast() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::start(folder.path().join("clock")).unwrap();
    clock.set(Setting { offset_ms: 0, rate_permille: 100_000 }).unwrap();
    let mut puppet = Puppet::start(clock.wrap(Puppet::invocation()));
    let first = puppet.times();
    std::thread::sleep(Duration::from_millis(200));
    let second = puppet.times();
    let rate = (second.wall_ms - first.wall_ms) / (second.monotonic_ms - first.monotonic_ms);
    assert!((80..120).contains(&rate), "{rate}");
    let still = clock.set(Setting { offset_ms: 0, rate_permille: 0 });
    assert!(matches!(still, Err(ClockError::StandsStill)));
}

// Goal: a program that was killed leaves nothing of libfaketime's in shared memory once the clock
// is gone.
#[test]
fn nothing_of_a_killed_program_stays_in_shared_memory() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::start(folder.path().join("clock")).unwrap();
    let mut puppet = Puppet::start(clock.wrap(Puppet::invocation()));
    puppet.times();
    let kept = format!("/dev/shm/faketime_shm_{}", puppet.pid().as_raw_nonzero());
    assert!(std::path::Path::new(&kept).exists(), "libfaketime keeps it elsewhere now");
    drop(puppet);
    drop(clock);
    assert!(!std::path::Path::new(&kept).exists());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

//! Clocks of benchmarks.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// What this thread has had of a core so far. What a shared machine gives to others in between is not in
/// it; what they do to caches and clock rates is.
#[must_use]
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Nanoseconds for each of `count`; zero of none.
#[must_use]
pub fn per(time: Duration, count: usize) -> f64 {
    if count == 0 { 0.0 } else { time.as_secs_f64() * 1e9 / count as f64 }
}

/// How many a second; zero when no time passed.
#[must_use]
pub fn rate(nanoseconds: f64) -> f64 {
    if nanoseconds > 0.0 { 1e9 / nanoseconds } else { 0.0 }
}

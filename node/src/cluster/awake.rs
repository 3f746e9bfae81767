//! Time that also passes while the machine sleeps.
//!
//! `Instant` stands still while a machine is suspended or a virtual machine is paused by its host; the
//! cluster's leases do not. A lease that was granted before such a sleep is worth nothing after it,
//! whatever `Instant` says (DESIGN, invariant S2: the check after waking up). Linux counts the sleep in
//! `CLOCK_BOOTTIME` (clock_gettime(2)).

use std::time::{Duration, Instant};

use rustix::time::{ClockId, Timespec, clock_gettime};

/// A sleep this short is the time between the two readings.
const SLEEP_MIN: Duration = Duration::from_millis(20);

/// A moment: `Instant`, and how long the machine had slept until then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// For comparing and waiting.
    pub instant: Instant,
    /// Since the machine started.
    pub slept: Duration,
}

impl Moment {
    /// This one.
    #[must_use]
    pub fn now() -> Self {
        let running = duration(clock_gettime(ClockId::Monotonic));
        let slept = duration(clock_gettime(ClockId::Boottime)).saturating_sub(running);
        Self { instant: Instant::now(), slept }
    }

    /// True when the machine slept between `earlier` and this moment.
    #[must_use]
    pub fn has_slept_since(self, earlier: Self) -> bool {
        self.slept > earlier.slept + SLEEP_MIN
    }
}

fn duration(time: Timespec) -> Duration {
    // Both clocks count up from zero.
    let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(time.tv_nsec).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a machine that is awake never seems to have slept; one that slept is found out.
    #[test]
    fn sleeps_are_noticed() {
        let first = Moment::now();
        for _ in 0..10_000 {
            assert!(!Moment::now().has_slept_since(first));
        }
        let later = Moment { slept: first.slept + Duration::from_millis(21), ..first };
        assert!(later.has_slept_since(first));
    }
}

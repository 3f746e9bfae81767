//! ClusterTime on this node: an applied time plus our own monotonic time since.
//!
//! An entry's time is the leader's at proposing; it is applied a commit later. Taking every entry's
//! time as "now" would lose that much with each entry, and the clock would run slow under load: only
//! an entry that is ahead of this clock moves it.

use std::time::Instant;

use parking_lot::Mutex;
use tandem_routing::time::{ClusterTime, Millis};

/// Turns the log's time into the time now. Used by the leader to stamp entries, and by everybody to
/// show waits that go on.
#[derive(Debug)]
pub struct Clock {
    applied: Mutex<(ClusterTime, Instant)>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { applied: Mutex::new((ClusterTime(0), Instant::now())) }
    }
}

impl Clock {
    /// An entry with this time was applied just now.
    pub fn applied(&self, time: ClusterTime) {
        self.applied_at(time, Instant::now());
    }

    fn applied_at(&self, time: ClusterTime, now: Instant) {
        let mut anchor = self.applied.lock();
        if time > since(*anchor, now) {
            *anchor = (time, now);
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> ClusterTime {
        since(*self.applied.lock(), Instant::now())
    }
}

fn since((time, at): (ClusterTime, Instant), now: Instant) -> ClusterTime {
    let elapsed = now.saturating_duration_since(at).as_millis();
    time + Millis(u64::try_from(elapsed).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // Goal: a busy log does not slow the clock down: entries that were stamped a commit ago leave it
    // alone, one that is ahead moves it.
    #[test]
    fn entries_never_set_the_clock_back() {
        let (clock, start) = (Clock::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        clock.applied_at(ClusterTime(1_000), start);
        for step in 1..=1_000 {
            let stamped = since(*clock.applied.lock(), at(step * 20));
            clock.applied_at(stamped, at(step * 20 + 8));
        }
        assert_eq!(since(*clock.applied.lock(), at(20_000)), ClusterTime(21_000));
        clock.applied_at(ClusterTime(30_000), at(20_000));
        assert_eq!(since(*clock.applied.lock(), at(20_500)), ClusterTime(30_500));
    }
}

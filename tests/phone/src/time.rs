//! The phone's only clock, and the queue of what is due.
//!
//! Everything below the world's thread takes the time as an argument, so that the tests of timers
//! run in virtual time.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A moment, in microseconds since the run's start, on a clock that never goes back.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RunTime(u64);

impl RunTime {
    /// The run's start.
    pub const START: Self = Self(0);

    /// The moment `us` microseconds after the run's start.
    #[must_use]
    pub const fn from_us(us: u64) -> Self {
        Self(us)
    }

    /// The moment `ms` milliseconds after the run's start.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// Microseconds since the run's start.
    #[must_use]
    pub const fn as_us(self) -> u64 {
        self.0
    }

    /// Milliseconds since the run's start, rounded down.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0 / 1_000
    }

    /// This moment and `ms` milliseconds.
    #[must_use]
    pub const fn plus_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms.saturating_mul(1_000)))
    }

    /// This moment and `us` microseconds.
    #[must_use]
    pub const fn plus_us(self, us: u64) -> Self {
        Self(self.0.saturating_add(us))
    }

    /// Microseconds from `earlier` to this moment; 0 if `earlier` is later.
    #[must_use]
    pub const fn us_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Milliseconds from `earlier` to this moment, rounded down; 0 if `earlier` is later.
    #[must_use]
    pub const fn ms_since(self, earlier: Self) -> u64 {
        self.us_since(earlier) / 1_000
    }
}

/// A place in a [`TimerQueue`], to cancel it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimerId(RunTime, u64);

/// What is due when: ordered by time, then by the order of setting.
#[derive(Debug)]
pub(crate) struct TimerQueue<T> {
    due: BTreeMap<(RunTime, u64), T>,
    serial: u64,
}

impl<T> TimerQueue<T> {
    pub(crate) fn new() -> Self {
        Self { due: BTreeMap::new(), serial: 0 }
    }

    /// Sets `what` for the moment `at`.
    pub(crate) fn set(&mut self, at: RunTime, what: T) -> TimerId {
        self.serial += 1;
        self.due.insert((at, self.serial), what);
        TimerId(at, self.serial)
    }

    /// Forgets a timer; one that fired already is no error.
    pub(crate) fn cancel(&mut self, id: TimerId) {
        self.due.remove(&(id.0, id.1));
    }

    /// Takes the earliest timer if it is due.
    pub(crate) fn pop_due(&mut self, now: RunTime) -> Option<T> {
        let entry = self.due.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// When the earliest timer is due.
    pub(crate) fn next_due(&self) -> Option<RunTime> {
        self.due.keys().next().map(|(at, _)| *at)
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: timers fire in order of time, then of setting; never early; cancelled ones never.
    #[test]
    fn timers_fire_in_order_and_never_early() {
        let mut queue = TimerQueue::new();
        queue.set(RunTime::from_ms(20), "b");
        queue.set(RunTime::from_ms(10), "a");
        let gone = queue.set(RunTime::from_ms(15), "cancelled");
        queue.set(RunTime::from_ms(20), "c");
        queue.cancel(gone);

        assert_eq!(queue.next_due(), Some(RunTime::from_ms(10)));
        assert_eq!(queue.pop_due(RunTime::from_us(9_999)), None);
        assert_eq!(queue.pop_due(RunTime::from_ms(10)), Some("a"));
        assert_eq!(queue.pop_due(RunTime::from_ms(19)), None);
        assert_eq!(queue.pop_due(RunTime::from_ms(30)), Some("b"));
        assert_eq!(queue.pop_due(RunTime::from_ms(30)), Some("c"));
        assert_eq!((queue.pop_due(RunTime::from_ms(99)), queue.len()), (None, 0));
    }
}

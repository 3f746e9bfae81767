//! The timers of RFC 3261 section 17 (table 4), RFC 6026 and our own bounds, and the queue that they
//! wait in.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Durations from which all timers follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerConfig {
    /// Round-trip estimate; 500 ms by default.
    pub t1: Duration,
    /// Longest wait between retransmissions of a non-INVITE request or an INVITE response; 4 s.
    pub t2: Duration,
    /// Longest life of a message in the network; 5 s.
    pub t4: Duration,
    /// After this time without an answer of the core an INVITE gets 100 (Trying); 200 ms (section
    /// 17.2.1). Zero sends it at once.
    pub trying_after: Duration,
    /// Longest ringing of an INVITE of ours after its last provisional response; 181 s. A proxy's timer
    /// C (section 16.6 step 11: more than 3 minutes), here so that nothing rings for ever.
    pub timer_c: Duration,
    /// Longest time that the core may leave an INVITE without a final response; 1 h.
    pub server_invite_max: Duration,
}

impl Default for TimerConfig {
    fn default() -> Self {
        Self {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            trying_after: Duration::from_millis(200),
            timer_c: Duration::from_secs(181),
            server_invite_max: Duration::from_secs(3600),
        }
    }
}

impl TimerConfig {
    /// 64 times T1: how long a transaction tries, 32 s by default.
    pub fn t1x64(&self) -> Duration {
        self.t1 * 64
    }
}

/// The timers, by their letters in RFC 3261 table 4 where they have one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// INVITE request retransmission.
    A,
    /// INVITE transaction timeout.
    B,
    /// Ringing without an end (see [`TimerConfig::timer_c`]).
    C,
    /// Wait for retransmitted failures of an INVITE.
    D,
    /// Non-INVITE request retransmission.
    E,
    /// Non-INVITE transaction timeout.
    F,
    /// INVITE response retransmission.
    G,
    /// Wait for the ACK.
    H,
    /// Wait for retransmitted ACKs.
    I,
    /// Wait for retransmitted non-INVITE requests.
    J,
    /// Wait for retransmitted responses to a non-INVITE.
    K,
    /// RFC 6026: wait for retransmitted INVITEs after a 2xx.
    L,
    /// RFC 6026: wait for further 2xx.
    M,
    /// The core has not answered an INVITE: send 100.
    Trying,
    /// No final response came after our CANCEL (section 9.1: 64 times T1).
    AfterCancel,
    /// The core has not given a final response.
    CoreSilent,
}

/// Names one running timer.
pub(crate) type TimerKey = (Instant, u64);

/// Timers in the order of their deadlines; equal deadlines in the order in which they were set.
#[derive(Debug)]
pub(crate) struct TimerQueue<T> {
    waiting: BTreeMap<TimerKey, T>,
    ordinal: u64,
}

impl<T> TimerQueue<T> {
    pub(crate) fn new() -> Self {
        Self { waiting: BTreeMap::new(), ordinal: 0 }
    }

    /// Sets a timer.
    pub(crate) fn set(&mut self, deadline: Instant, what: T) -> TimerKey {
        let key = (deadline, self.ordinal);
        self.ordinal += 1;
        self.waiting.insert(key, what);
        key
    }

    /// Takes a timer out, if it is still there.
    pub(crate) fn cancel(&mut self, key: TimerKey) {
        self.waiting.remove(&key);
    }

    /// The earliest deadline.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((deadline, _), _)| *deadline)
    }

    /// Takes the earliest timer whose deadline has come.
    pub(crate) fn pop_due(&mut self, now: Instant) -> Option<(TimerKey, T)> {
        let first = self.waiting.first_entry()?;
        if first.key().0 > now { None } else { Some(first.remove_entry()) }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}

/// `now + wait`; an instant too far to be written down is as good as never, and one day is far beyond
/// every timer here.
pub(crate) fn later(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait).or_else(|| now.checked_add(Duration::from_secs(86_400))).unwrap_or(now)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: timers fire in the order of deadlines, ties in the order of setting, and not before.
    #[test]
    fn order() {
        let start = crate::test_clock::start();
        let at = |ms| start + Duration::from_millis(ms);
        let mut queue = TimerQueue::new();
        queue.set(at(20), "b");
        let cancelled = queue.set(at(5), "x");
        queue.set(at(20), "c");
        queue.set(at(10), "a");
        queue.cancel(cancelled);
        assert_eq!(queue.next_deadline(), Some(at(10)));
        assert!(queue.pop_due(at(9)).is_none());
        let mut fired = Vec::new();
        while let Some((_, what)) = queue.pop_due(at(20)) {
            fired.push(what);
        }
        assert_eq!(fired, ["a", "b", "c"]);
        assert_eq!((queue.len(), queue.next_deadline()), (0, None));
    }

    // Goal: the defaults are the RFC's.
    #[test]
    fn defaults() {
        let config = TimerConfig::default();
        assert_eq!(config.t1x64(), Duration::from_secs(32));
        assert!(config.timer_c > Duration::from_secs(180), "section 16.6 step 11");
    }
}

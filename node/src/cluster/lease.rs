//! Leases: for how long a node may act without hearing from a quorum.
//!
//! A node's lease counts from its own sending of a request that the leader answered after proving
//! its quorum. The leader counts from its receiving, so that a lease never ends later at the node
//! than the leader believes. A clock fences nobody for certain (a paused machine wakes up late), so
//! whoever sends SIP asks [`Lease::is_valid`] first, every time, and resources refuse lower epochs
//! besides.

use std::time::Duration;

use tandem_cluster::ids::Epoch;
use tokio::sync::watch;

use super::awake::Moment;

/// What a node knows of its own lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Whose life.
    pub epoch: Epoch,
    /// Valid until then, if the machine does not sleep.
    pub until: Moment,
}

impl Lease {
    /// True while the node may act.
    #[must_use]
    pub fn is_valid(&self, now: Moment) -> bool {
        now.instant < self.until.instant && !now.has_slept_since(self.until)
    }

    /// True for the lease of a later life, for one that was asked for after a sleep, and for one that
    /// runs longer.
    fn replaces(&self, other: &Self) -> bool {
        if self.epoch != other.epoch {
            return self.epoch > other.epoch;
        }
        self.until.has_slept_since(other.until)
            || (!other.until.has_slept_since(self.until)
                && self.until.instant > other.until.instant)
    }
}

/// The lease as it is renewed.
#[derive(Debug, Clone)]
pub struct LeaseWatch {
    lease: watch::Sender<Option<Lease>>,
}

impl Default for LeaseWatch {
    fn default() -> Self {
        Self { lease: watch::Sender::new(None) }
    }
}

impl LeaseWatch {
    /// Follows the lease.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Option<Lease>> {
        self.lease.subscribe()
    }

    /// The lease now.
    #[must_use]
    pub fn current(&self) -> Option<Lease> {
        *self.lease.borrow()
    }

    /// A request sent at `sent` was granted: the lease of this life runs from then.
    pub fn renewed(&self, epoch: Epoch, sent: Moment, length: Duration) {
        let until = Moment { instant: sent.instant + length, slept: sent.slept };
        let renewed = Lease { epoch, until };
        self.lease.send_if_modified(|lease| {
            let newer = lease.is_none_or(|lease| renewed.replaces(&lease));
            if newer {
                *lease = Some(renewed);
            }
            newer
        });
    }

    /// The life is over.
    pub fn ended(&self) {
        self.lease.send_replace(None);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    // Goal: a lease runs from the sending, never goes back by a late answer, and a new life's
    // lease replaces the old one's whatever its time.
    #[test]
    fn leases_run_from_their_sending() {
        let (watch, start, length) =
            (LeaseWatch::default(), Instant::now(), Duration::from_millis(1_000));
        let slept = Duration::from_secs(5);
        let at = |ms| Moment { instant: start + Duration::from_millis(ms), slept };
        assert_eq!(watch.current(), None);
        watch.renewed(Epoch(1), at(500), length);
        watch.renewed(Epoch(1), at(100), length);
        let lease = watch.current().expect("renewed");
        assert!(lease.is_valid(at(1_499)));
        assert!(!lease.is_valid(at(1_500)));
        watch.renewed(Epoch(2), at(300), length);
        assert_eq!(watch.current(), Some(Lease { epoch: Epoch(2), until: at(1_300) }));
        watch.renewed(Epoch(1), at(900), length);
        assert_eq!(watch.current().expect("renewed").epoch, Epoch(2));
        let woken = Moment { slept: slept + Duration::from_secs(60), ..at(400) };
        assert!(!watch.current().expect("renewed").is_valid(woken), "the machine slept");
        watch.renewed(Epoch(2), woken, length);
        assert!(watch.current().expect("renewed").is_valid(woken), "asked again since");
        watch.ended();
        assert_eq!(watch.current(), None);
    }
    // Goal: two readings of how long the machine slept differ a little although it did not; renewals go
    // on all the same.
    #[test]
    fn jitter_is_no_sleep() {
        let (watch, start, length) =
            (LeaseWatch::default(), Instant::now(), Duration::from_millis(1_000));
        for step in 0..100 {
            let slept = Duration::from_secs(5) - Duration::from_micros(step % 7);
            let sent = Moment { instant: start + Duration::from_millis(step * 200), slept };
            watch.renewed(Epoch(1), sent, length);
            let until = watch.current().expect("renewed").until.instant;
            assert_eq!(until, sent.instant + length, "renewal {step}");
        }
    }
}

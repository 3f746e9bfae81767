//! Which operation fails, how late, and what a sync is worth. Pure: delays are only named here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::limits::{DELAY_MAX, FAILURES_MAX};

/// What a device is asked to do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Read bytes.
    Read,
    /// Write bytes; they are pending until a sync.
    Write,
    /// Make everything pending durable (a flush of the device's cache).
    Sync,
}

/// How a device refuses.
///
/// The loop driver turns every refused flush into `EIO`; a program that uses the FUSE file itself
/// sees the error as it is. For `ENOSPC` under a file system see [`super::Order::Fill`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// `EIO`: the medium failed.
    Io,
    /// `ENOSPC`: a thinly provisioned device ran out of room, or the write begins past the end.
    NoSpace,
}

/// Which of the coming operations fail. The next one is number 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Which {
    /// Only this one; the failure is used up by it.
    Nth(u64),
    /// This one and all after it, until healed.
    From(u64),
}

/// One failure to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What fails.
    pub operation: Operation,
    /// Which ones, counted from when the failure is armed.
    pub which: Which,
    /// What the caller is told.
    pub refusal: Refusal,
}

/// What the device's "synced" is worth.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SyncPromise {
    /// Synced blocks survive a power cut.
    #[default]
    Kept,
    /// The sync is acknowledged and does nothing: a disk with a volatile cache that ignores
    /// flushes.
    Lied,
}

/// Whether the device has power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Power {
    /// It answers.
    #[default]
    On,
    /// Every operation is refused with [`Refusal::Io`], and nothing becomes durable any more.
    Cut,
}

/// More than [`FAILURES_MAX`] failures at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{FAILURES_MAX} failures are armed already, the limit: heal the disk first")]
pub struct TooManyFailures;

/// All that is wrong with a device now.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Its power.
    pub power: Power,
    /// What its syncs are worth.
    pub sync_promise: SyncPromise,
    read_delay: Duration,
    write_delay: Duration,
    sync_delay: Duration,
    armed: Vec<Armed>,
}

#[derive(Clone, Copy, Debug)]
struct Armed {
    failure: Failure,
    seen: u64,
}

impl Faults {
    /// How much later than at once the operation is to be done. At most [`DELAY_MAX`].
    pub fn delay(&self, operation: Operation) -> Duration {
        match operation {
            Operation::Read => self.read_delay,
            Operation::Write => self.write_delay,
            Operation::Sync => self.sync_delay,
        }
    }

    /// Sets the delay of one kind of operation, cut to [`DELAY_MAX`].
    pub fn set_delay(&mut self, operation: Operation, delay: Duration) {
        let slot = match operation {
            Operation::Read => &mut self.read_delay,
            Operation::Write => &mut self.write_delay,
            Operation::Sync => &mut self.sync_delay,
        };
        *slot = delay.min(DELAY_MAX);
    }

    /// Adds a failure; its count begins now.
    pub fn arm(&mut self, failure: Failure) -> Result<(), TooManyFailures> {
        if self.armed.len() >= FAILURES_MAX {
            return Err(TooManyFailures);
        }
        self.armed.push(Armed { failure, seen: 0 });
        Ok(())
    }

    /// Failures that are still to come.
    pub fn armed(&self) -> impl Iterator<Item = Failure> {
        self.armed.iter().map(|armed| armed.failure)
    }

    /// No delays, no failures, honest syncs. The power stays as it is.
    pub fn heal(&mut self) {
        *self = Self { power: self.power, ..Self::default() };
    }

    /// Counts one operation and says whether it is refused. Of several failures that fall on it the
    /// one armed first answers; all of them count it.
    pub fn meet(&mut self, operation: Operation) -> Result<(), Refusal> {
        if self.power == Power::Cut {
            return Err(Refusal::Io);
        }
        let mut refusal = None;
        for armed in self.armed.iter_mut().filter(|a| a.failure.operation == operation) {
            armed.seen += 1;
            if armed.hits() {
                refusal.get_or_insert(armed.failure.refusal);
            }
        }
        self.armed.retain(|armed| !armed.used_up());
        refusal.map_or(Ok(()), Err)
    }
}

impl Armed {
    fn hits(&self) -> bool {
        match self.failure.which {
            Which::Nth(n) => self.seen == n,
            Which::From(n) => self.seen >= n,
        }
    }

    fn used_up(&self) -> bool {
        matches!(self.failure.which, Which::Nth(n) if self.seen >= n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(faults: &mut Faults, operation: Operation, times: usize) -> Vec<bool> {
        (0..times).map(|_| faults.meet(operation).is_err()).collect()
    }

    // Goal: a failure falls on exactly the operations that it names, and on no other kind.
    #[test]
    fn failures_fall_where_they_are_set() {
        let rows = [
            (Which::Nth(1), [true, false, false, false]),
            (Which::Nth(3), [false, false, true, false]),
            (Which::From(1), [true, true, true, true]),
            (Which::From(3), [false, false, true, true]),
        ];
        for (which, expected) in rows {
            for operation in [Operation::Read, Operation::Write, Operation::Sync] {
                let mut faults = Faults::default();
                let failure = Failure { operation, which, refusal: Refusal::NoSpace };
                faults.arm(failure).unwrap();
                for other in [Operation::Read, Operation::Write, Operation::Sync] {
                    if other != operation {
                        assert_eq!(refused(&mut faults, other, 4), [false; 4], "{which:?}");
                    }
                }
                assert_eq!(refused(&mut faults, operation, 4), expected, "{which:?} {operation:?}");
            }
        }
    }

    // Goal: a used-up failure frees its room, and the limit holds to the last one.
    #[test]
    fn armed_failures_are_bounded() {
        let mut faults = Faults::default();
        let failure =
            Failure { operation: Operation::Write, which: Which::Nth(1), refusal: Refusal::Io };
        for _ in 0..FAILURES_MAX {
            faults.arm(failure).unwrap();
        }
        assert_eq!(faults.arm(failure), Err(TooManyFailures));
        assert_eq!(faults.meet(Operation::Write), Err(Refusal::Io));
        assert_eq!(faults.armed().count(), 0);
        faults.arm(failure).unwrap();
    }

    // Goal: healing takes away every fault except a power cut, which only power ends.
    #[test]
    fn healing_leaves_the_power_alone() {
        let mut faults = Faults { power: Power::Cut, ..Faults::default() };
        faults.sync_promise = SyncPromise::Lied;
        faults.set_delay(Operation::Sync, DELAY_MAX * 2);
        assert_eq!(faults.delay(Operation::Sync), DELAY_MAX);
        faults.heal();
        assert_eq!(faults.power, Power::Cut);
        assert_eq!(faults.sync_promise, SyncPromise::Kept);
        assert_eq!(faults.delay(Operation::Sync), Duration::ZERO);
        assert_eq!(faults.meet(Operation::Read), Err(Refusal::Io));
    }
}

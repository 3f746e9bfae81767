//! ClusterTime on this node: the last applied time plus our own monotonic time since.

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
        *self.applied.lock() = (time, Instant::now());
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> ClusterTime {
        let (time, at) = *self.applied.lock();
        time + Millis(u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}

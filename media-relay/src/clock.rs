//! The relay's monotonic clock, handed to the pure code with every input.

use std::time::{Duration, Instant};

use tandem_rtp::time::MonotonicTime;

/// Counts from the start of the relay.
#[derive(Debug, Clone, Copy)]
pub struct RelayClock {
    origin: Instant,
}

impl RelayClock {
    /// A clock that begins now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// The present moment.
    pub fn now(&self) -> MonotonicTime {
        let micros = self.origin.elapsed().as_micros();
        MonotonicTime::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.origin.elapsed()
    }
}

//! The two clocks of media: the relay's monotonic clock and the RTP clock.
//!
//! What does not live here: wall time (nothing in media depends on it) and ClusterTime (which
//! belongs to the replicated log).

use std::time::Duration;

use crate::limits::SAMPLES_PER_MS;

/// A moment on a clock that never goes back, in microseconds since an origin that the shell chose
/// (the start of its process). It is handed in with every input; this crate never reads a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonotonicTime(u64);

impl MonotonicTime {
    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Microseconds from `earlier` to this moment; 0 when `earlier` is later.
    pub const fn micros_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// This moment and `micros` more; stays at the end of the clock instead of wrapping.
    pub const fn plus_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// This moment and `duration` more.
    pub fn plus(self, duration: Duration) -> Self {
        self.plus_micros(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
    }
}

/// An RTP timestamp at 8000 Hz (RFC 3550 section 5.1): it begins anywhere and wraps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct RtpTime(u32);

impl RtpTime {
    /// The timestamp as it stands in a packet.
    pub const fn new(value: u32) -> Self {
        Self(value)
    }

    /// The value for a packet.
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The timestamp `samples` later (or earlier, when negative), modulo 2^32.
    pub const fn wrapping_add(self, samples: i64) -> Self {
        Self(self.0.wrapping_add(samples as u32))
    }

    /// Samples from `earlier` to this timestamp, taken the shorter way around.
    pub const fn samples_since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0) as i32
    }
}

/// Samples that fit into `micros` microseconds, rounded down.
pub const fn samples_in_micros(micros: u64) -> i64 {
    (micros / 1_000 * SAMPLES_PER_MS as u64 + micros % 1_000 * SAMPLES_PER_MS as u64 / 1_000) as i64
}

/// Microseconds that `samples` last.
pub const fn micros_of_samples(samples: u64) -> u64 {
    samples * 1_000 / SAMPLES_PER_MS as u64
}

/// Counts wrapping RTP timestamps on without end, so that they can be compared.
#[derive(Debug, Clone, Copy)]
pub struct TimestampUnwrapper {
    newest: RtpTime,
    position: i64,
}

impl TimestampUnwrapper {
    /// Begins to count: `first` is position 0.
    pub const fn new(first: RtpTime) -> Self {
        Self { newest: first, position: 0 }
    }

    /// The position of `timestamp` in samples since the first one, negative when it is earlier.
    /// Correct while steps stay below 2^31 samples (74 hours).
    pub const fn unwrap(&mut self, timestamp: RtpTime) -> i64 {
        let step = timestamp.samples_since(self.newest);
        let position = self.position + step as i64;
        if step > 0 {
            self.newest = timestamp;
            self.position = position;
        }
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: timestamps count on over the wrap, and late ones get their own place.
    #[test]
    fn unwrapping_survives_wrap_and_reordering() {
        let mut unwrapper = TimestampUnwrapper::new(RtpTime::new(u32::MAX - 159));
        let table =
            [(u32::MAX - 159, 0), (0, 160), (320, 480), (160, 320), (u32::MAX, 159), (480, 640)];
        for (timestamp, position) in table {
            assert_eq!(unwrapper.unwrap(RtpTime::new(timestamp)), position, "{timestamp}");
        }
    }

    // Goal: microseconds become samples without overflow and without drift.
    #[test]
    fn samples_follow_microseconds() {
        let table = [(0, 0), (124, 0), (125, 1), (20_000, 160), (1_000_000, 8_000)];
        for (micros, samples) in table {
            assert_eq!(samples_in_micros(micros), samples, "{micros}");
        }
        assert_eq!(samples_in_micros(u64::MAX / 16), (u64::MAX / 16 / 125) as i64);
        assert_eq!(micros_of_samples(160), 20_000);
    }

    // Goal: time never runs backwards, even when it is asked to.
    #[test]
    fn monotonic_time_saturates() {
        let early = MonotonicTime::from_millis(5);
        let late = early.plus(Duration::from_millis(3));
        assert_eq!(late.micros_since(early), 3_000);
        assert_eq!(early.micros_since(late), 0);
        assert_eq!(late.plus(Duration::MAX).as_micros(), u64::MAX);
    }
}

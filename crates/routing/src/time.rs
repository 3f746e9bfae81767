//! ClusterTime, the only clock that rules see.
//!
//! Decided by the log: an entry carries the leader's stamp and apply clamps it
//! ([`ClusterTime::clamp`]). Wall time is a separate thing for people and calendars ([`UtcMillis`]), tied to
//! it by an anchor in the log ([`crate::entity::WallAnchor`]); the monotonic `Instant` of a node is not here.

use std::{
    fmt,
    ops::{Add, AddAssign, Sub},
};

use serde::{Deserialize, Serialize};

use crate::limits::CLUSTER_TIME_JUMP_MS_MAX;

/// Milliseconds since the cluster was initialised. Never decreases along the log (invariant R8).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ClusterTime(pub u64);

/// A duration in milliseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Millis(pub u64);

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct UtcMillis(pub u64);

impl ClusterTime {
    /// The time that an entry stamped `stamp` gets when the last one had `self`: never earlier
    /// (R8), and at most [`CLUSTER_TIME_JUMP_MS_MAX`] later, so that one wild clock cannot expire
    /// everything at once.
    #[must_use]
    pub fn clamp(self, stamp: Self) -> Self {
        Self(stamp.0.clamp(self.0, self.0.saturating_add(CLUSTER_TIME_JUMP_MS_MAX)))
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Millis> for ClusterTime {
    type Output = Self;

    fn add(self, duration: Millis) -> Self {
        Self(self.0.saturating_add(duration.0))
    }
}

impl Sub<Millis> for ClusterTime {
    type Output = Self;

    fn sub(self, duration: Millis) -> Self {
        Self(self.0.saturating_sub(duration.0))
    }
}

impl AddAssign for Millis {
    fn add_assign(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl fmt::Display for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}s", self.0 / 1000, self.0 % 1000)
    }
}

impl fmt::Debug for ClusterTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0)
    }
}

impl fmt::Debug for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: R8 and the bounded jump, at their edges.
    #[test]
    fn a_stamp_is_clamped() {
        let now = ClusterTime(1_000);
        for (stamp, expected) in [
            (0, 1_000),
            (1_000, 1_000),
            (1_001, 1_001),
            (1_000 + CLUSTER_TIME_JUMP_MS_MAX, 1_000 + CLUSTER_TIME_JUMP_MS_MAX),
            (1_001 + CLUSTER_TIME_JUMP_MS_MAX, 1_000 + CLUSTER_TIME_JUMP_MS_MAX),
            (u64::MAX, 1_000 + CLUSTER_TIME_JUMP_MS_MAX),
        ] {
            assert_eq!(now.clamp(ClusterTime(stamp)), ClusterTime(expected), "{stamp}");
        }
    }
}

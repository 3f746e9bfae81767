//! Opening hours, and the anchor that ties ClusterTime to the clocks of people.
//!
//! Hours enter the log as intervals of UTC: whoever proposes a calendar has compiled time zones, weekdays and
//! holidays before, so that no node's time-zone data decides anything.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{CalendarId, TenantId},
    name::Name,
    time::{ClusterTime, Millis, UtcMillis},
};

/// A span of UTC in which a calendar is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenHours {
    /// From then on.
    pub from: UtcMillis,
    /// Until then, exclusive.
    pub to: UtcMillis,
}

/// When queues are open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// Given at creation.
    pub id: CalendarId,
    /// Owner.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: Name,
    /// What the hours were compiled from, for people and for compiling anew; decides nothing.
    pub source: String,
    /// Sorted, apart from each other.
    pub open: Vec<OpenHours>,
    /// The hours say nothing about later times: from then on it is open.
    pub until: UtcMillis,
    /// The next moment at which it closes, of those that nothing was done about yet.
    pub closes: Option<UtcMillis>,
}

impl Calendar {
    /// Whether it is open at a time.
    #[must_use]
    pub fn is_open(&self, at: UtcMillis) -> bool {
        let next = self.open.partition_point(|hours| hours.to <= at);
        at >= self.until || self.open.get(next).is_some_and(|hours| hours.from <= at)
    }

    /// The first moment after `at` at which it closes. Where one span ends as the next begins it stays open.
    #[must_use]
    pub fn closes_after(&self, at: UtcMillis) -> Option<UtcMillis> {
        let from = self.open.partition_point(|hours| hours.to <= at);
        let ends = self.open.get(from..).unwrap_or_default().iter().map(|hours| hours.to);
        ends.into_iter().find(|end| !self.is_open(*end))
    }
}

/// What UTC was at a moment of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WallAnchor {
    /// The moment.
    pub at: ClusterTime,
    /// What people's clocks said.
    pub utc: UtcMillis,
}

impl WallAnchor {
    /// UTC at another moment of the log.
    #[must_use]
    pub fn utc_at(&self, now: ClusterTime) -> UtcMillis {
        UtcMillis(self.utc.0.saturating_add(now.since(self.at).0))
    }

    /// The first moment of the log at which UTC is this late.
    #[must_use]
    pub fn moment_of(&self, utc: UtcMillis) -> ClusterTime {
        self.at + Millis(utc.0.saturating_sub(self.utc.0))
    }

    /// The anchor that follows a clock: at most half of the time since the last one is made up, so that one
    /// wrong clock moves no opening hours by much, and UTC never goes back.
    #[must_use]
    pub fn slewed(self, now: ClusterTime, clock: UtcMillis) -> Self {
        let expected = self.utc_at(now).0;
        let most = now.since(self.at).0 / 2;
        let utc = clock.0.clamp(expected.saturating_sub(most), expected.saturating_add(most));
        Self { at: now, utc: UtcMillis(utc) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(open: &[(u64, u64)], until: u64) -> Calendar {
        let hours =
            |(from, to): &(u64, u64)| OpenHours { from: UtcMillis(*from), to: UtcMillis(*to) };
        Calendar {
            id: CalendarId(1),
            tenant: TenantId::DEFAULT,
            name: "office".parse().unwrap(),
            source: String::new(),
            open: open.iter().map(hours).collect(),
            until: UtcMillis(until),
            closes: None,
        }
    }

    // Goal: open and closed at the edges of every span, open again when the hours say nothing any more; it
    // closes where a span ends and none begins.
    #[test]
    fn hours() {
        let office = calendar(&[(10, 20), (20, 30), (50, 60)], 100);
        for (at, open) in [
            (9, false),
            (10, true),
            (20, true),
            (29, true),
            (30, false),
            (50, true),
            (60, false),
            (99, false),
            (100, true),
        ] {
            assert_eq!(office.is_open(UtcMillis(at)), open, "{at}");
        }
        for (at, closes) in [(0, Some(30)), (29, Some(30)), (30, Some(60)), (60, None)] {
            assert_eq!(office.closes_after(UtcMillis(at)), closes.map(UtcMillis), "{at}");
        }
    }

    // Goal: a wrong clock is followed slowly, both ways, and UTC never goes back.
    #[test]
    fn slewing() {
        let anchor = WallAnchor { at: ClusterTime(1_000), utc: UtcMillis(50_000) };
        assert_eq!(anchor.utc_at(ClusterTime(3_000)), UtcMillis(52_000));
        assert_eq!(anchor.moment_of(UtcMillis(52_000)), ClusterTime(3_000));
        for (clock, utc) in [(52_300, 52_300), (99_000, 53_000), (0, 51_000), (51_900, 51_900)] {
            let next = anchor.slewed(ClusterTime(3_000), UtcMillis(clock));
            assert_eq!(next.utc_at(ClusterTime(3_000)), UtcMillis(utc), "{clock}");
        }
    }
}

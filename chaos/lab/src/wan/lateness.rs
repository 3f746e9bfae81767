//! How late departures were: whether a run on a busy machine had the links that it was set to.

use serde::Serialize;

/// Delays of departures against the model's times, counted in classes that double: below 1, 2, 4
/// microseconds and so on, the last one open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lateness {
    classes: [u64; CLASSES],
    max_us: u64,
}

const CLASSES: usize = 24;

/// The figures that people look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LatenessSummary {
    /// Departures so far.
    pub departures: u64,
    /// Half of them were less late than this.
    pub median_below_us: u64,
    /// 99 % of them were less late than this.
    pub p99_below_us: u64,
    /// The latest.
    pub max_us: u64,
}

impl Lateness {
    /// Counts a departure.
    pub fn count(&mut self, late_us: u64) {
        let class = (u64::BITS - late_us.leading_zeros()) as usize;
        if let Some(count) = self.classes.get_mut(class.min(CLASSES - 1)) {
            *count += 1;
        }
        self.max_us = self.max_us.max(late_us);
    }

    /// The figures that people look at.
    #[must_use]
    pub fn summary(&self) -> LatenessSummary {
        LatenessSummary {
            departures: self.classes.iter().sum(),
            median_below_us: self.below_us(50),
            p99_below_us: self.below_us(99),
            max_us: self.max_us,
        }
    }

    /// The smallest class limit that so many percent of departures are below.
    fn below_us(&self, percent: u64) -> u64 {
        let total: u64 = self.classes.iter().sum();
        let mut below = 0;
        for (class, count) in self.classes.iter().enumerate() {
            below += count;
            if below * 100 >= total * percent && class + 1 < CLASSES {
                return if total == 0 { 0 } else { 1 << class };
            }
        }
        self.max_us + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Classes double, figures are their limits, and the open class is bounded by the latest.
    #[test]
    fn figures_are_limits_of_classes() {
        let summary = |late: &[u64]| {
            let mut lateness = Lateness::default();
            late.iter().for_each(|late_us| lateness.count(*late_us));
            let it = lateness.summary();
            (it.departures, it.median_below_us, it.p99_below_us, it.max_us)
        };
        assert_eq!(summary(&[]), (0, 0, 0, 0));
        assert_eq!(summary(&[0]), (1, 1, 1, 0));
        assert_eq!(summary(&[1]), (1, 2, 2, 1));
        assert_eq!(summary(&[3, 3, 4, 100]), (4, 4, 128, 100));
        assert_eq!(summary(&[u64::MAX >> 1]), (1, 1 << 63, 1 << 63, u64::MAX >> 1));
        let mut hundred = vec![10; 99];
        hundred.push(5_000);
        assert_eq!(summary(&hundred), (100, 16, 16, 5_000));
    }
}

//! When this process itself slept: so that a busy machine is not taken for a broken network.

use std::collections::VecDeque;

use crate::limits::STALLS_KEPT_MAX;
use crate::time::RunTime;

/// Stretches of time in which the media loop should have run and did not.
#[derive(Debug, Default)]
pub(crate) struct Stalls {
    recent: VecDeque<(RunTime, RunTime)>,
    total_us: u64,
}

impl Stalls {
    /// The loop slept from `from` to `to`.
    pub(crate) fn note(&mut self, from: RunTime, to: RunTime) {
        if self.recent.len() == STALLS_KEPT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((from, to));
        self.total_us += to.us_since(from);
    }

    /// How much of the time from `from` to `to` was slept through.
    pub(crate) fn overlap_us(&self, from: RunTime, to: RunTime) -> u64 {
        let newest_first = self.recent.iter().rev().take_while(|(_, end)| *end > from);
        newest_first.map(|(start, end)| (*end).min(to).us_since((*start).max(from))).sum()
    }

    /// Since the run's start.
    pub(crate) const fn total_us(&self) -> u64 {
        self.total_us
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: only the common part counts, over several stalls.
    #[test]
    fn overlaps() {
        let us = RunTime::from_us;
        let mut stalls = Stalls::default();
        stalls.note(us(10), us(20));
        stalls.note(us(30), us(50));
        let table = [
            (0, 5, 0),
            (0, 10, 0),
            (0, 100, 30),
            (15, 35, 10),
            (20, 30, 0),
            (35, 40, 5),
            (50, 60, 0),
        ];
        for (from, to, wanted) in table {
            assert_eq!(stalls.overlap_us(us(from), us(to)), wanted, "{from}..{to}");
        }
        assert_eq!(stalls.total_us(), 30);
    }
}

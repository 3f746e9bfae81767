//! What a day came to: counts for each city and half hour, which add up over cities, hours and days.

use std::ops::AddAssign;

use serde::Serialize;
use tandem_routing::time::Millis;

use super::{CityId, Day, HALF_HOURS, HalfHour, ledger::Ledger, ledger::spread};

/// What became of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Until an agent answered or the caller left; until the end, for who still waits.
    pub wait: Millis,
    /// How it ended.
    pub fate: Fate,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// An agent of this city answered.
    Answered(CityId),
    /// The caller left before.
    Abandoned,
    /// Neither: nobody was there for them to the end.
    Waiting,
}

/// More than a minute is too long, callers say.
pub const TOO_LONG: Millis = Millis(60_000);

/// Counts of calls by the city and half hour in which they came in, and of time by that in which it passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Callers.
    pub offered: u64,
    /// Talked with an agent.
    pub answered: u64,
    /// Of those: within the target's time.
    pub answered_in_time: u64,
    /// Left before.
    pub abandoned: u64,
    /// Of those: within the target's time.
    pub abandoned_in_time: u64,
    /// Still waiting when all was over.
    pub waiting: u64,
    /// Waited for longer than [`TOO_LONG`], however that ended.
    pub waited_too_long: u64,
    /// Answered by an agent of the caller's own city.
    pub own_city: u64,
    /// Waits of all who were answered, added up.
    pub wait_ms: u64,
    /// The longest wait of anybody.
    pub wait_ms_max: u64,
    /// Agents logged in, as time.
    pub staffed_ms: u64,
    /// Of that: ringing, talking, after-contact work.
    pub busy_ms: u64,
    /// Talks between a caller and an agent of different cities, as time.
    pub carried_ms: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.offered += other.offered;
        self.answered += other.answered;
        self.answered_in_time += other.answered_in_time;
        self.abandoned += other.abandoned;
        self.abandoned_in_time += other.abandoned_in_time;
        self.waiting += other.waiting;
        self.waited_too_long += other.waited_too_long;
        self.own_city += other.own_city;
        self.wait_ms += other.wait_ms;
        self.wait_ms_max = self.wait_ms_max.max(other.wait_ms_max);
        self.staffed_ms += other.staffed_ms;
        self.busy_ms += other.busy_ms;
        self.carried_ms += other.carried_ms;
    }
}

impl Counts {
    /// Answered within the time, of those who were answered.
    #[must_use]
    pub fn service_level(&self) -> f64 {
        share(self.answered_in_time, self.answered)
    }

    /// Answered or gone within the time, of all.
    #[must_use]
    pub fn service_level_2(&self) -> f64 {
        share(self.answered_in_time + self.abandoned_in_time, self.offered)
    }

    /// Abandoned, of all.
    #[must_use]
    pub fn abandoned_share(&self) -> f64 {
        share(self.abandoned, self.offered)
    }

    /// Mean wait of those who were answered, in seconds.
    #[must_use]
    pub fn answer_s(&self) -> f64 {
        share(self.wait_ms, self.answered) / 1_000.0
    }

    /// Share of the time at work in which agents were busy.
    #[must_use]
    pub fn occupancy(&self) -> f64 {
        share(self.busy_ms, self.staffed_ms)
    }

    /// Answered in the own city, of those who were answered.
    #[must_use]
    pub fn own_share(&self) -> f64 {
        share(self.own_city, self.answered)
    }

    /// Answered by an agent of another city.
    #[must_use]
    pub fn carried(&self) -> u64 {
        self.answered - self.own_city
    }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// Width of a class of waits.
pub const CLASS: Millis = Millis(100);
/// Longer waits than so many classes (an hour) are counted as of the last one.
const CLASSES_MAX: usize = 36_000;

/// How long people waited, in classes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Waits(Vec<u64>);

impl Waits {
    fn count(&mut self, wait: Millis) {
        let class = usize::try_from(wait.0 / CLASS.0).unwrap_or(usize::MAX).min(CLASSES_MAX);
        if self.0.len() <= class {
            self.0.resize(class + 1, 0);
        }
        if let Some(count) = self.0.get_mut(class) {
            *count += 1;
        }
    }

    fn all(&self) -> u64 {
        self.0.iter().sum()
    }

    /// The wait that this share does not exceed, to the end of its class.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Millis {
        let enough = self.all() as f64 * share;
        let mut sum = 0;
        let class = self.0.iter().position(|count| {
            sum += count;
            sum as f64 >= enough
        });
        class.map_or(Millis(0), |class| Millis((class as u64 + 1) * CLASS.0))
    }

    /// Share of those who waited for longer than this many classes.
    #[must_use]
    pub fn longer_than(&self, classes: usize) -> f64 {
        share(self.0.iter().skip(classes).sum(), self.all())
    }
}

impl AddAssign<&Self> for Waits {
    fn add_assign(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(count, more)| *count += more);
    }
}

/// What one or several days came to under an arrangement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Figures {
    /// For each city and half hour.
    pub cells: Vec<[Counts; HALF_HOURS]>,
    /// Waits of those who were answered.
    pub answered: Waits,
    /// Waits of all, however they ended.
    pub everybody: Waits,
    /// Commands that the queue carried out.
    pub commands: u64,
    /// Rebalance plans that were carried out.
    pub plans: u64,
    /// Changes of an agent's lines by them.
    pub moved: u64,
    /// Of all outcomes: equal for equal days.
    pub digest: u64,
}

impl Figures {
    pub(super) fn of(day: &Day, outcomes: &[Outcome], ledger: Ledger) -> Self {
        let mut figures = Self { cells: ledger.into_cells(), ..Self::default() };
        let target = day.center.target.within;
        for (call, outcome) in day.calls.iter().zip(outcomes) {
            let Some(row) = figures.cells.get_mut(call.city.0) else { continue };
            let arrived = HalfHour::of(call.arrival).and_then(|at| row.get_mut(at.0));
            let Some(cell) = arrived else { continue };
            let in_time = u64::from(outcome.wait <= target);
            cell.offered += 1;
            cell.waited_too_long += u64::from(outcome.wait > TOO_LONG);
            cell.wait_ms_max = cell.wait_ms_max.max(outcome.wait.0);
            match outcome.fate {
                Fate::Answered(by) => {
                    cell.answered += 1;
                    cell.answered_in_time += in_time;
                    cell.wait_ms += outcome.wait.0;
                    cell.own_city += u64::from(by == call.city);
                    figures.answered.count(outcome.wait);
                    if by != call.city {
                        let from = Millis(call.arrival.0 + outcome.wait.0);
                        let to = Millis(from.0 + call.talk.0);
                        spread(from, to, |at, ms| row[at.0].carried_ms += ms);
                    }
                }
                Fate::Abandoned => {
                    cell.abandoned += 1;
                    cell.abandoned_in_time += in_time;
                }
                Fate::Waiting => cell.waiting += 1,
            }
            figures.everybody.count(outcome.wait);
        }
        figures
    }

    /// Over all cities and hours.
    #[must_use]
    pub fn total(&self) -> Counts {
        sum(self.cells.iter().flatten())
    }

    /// Callers and agents of a city.
    #[must_use]
    pub fn city(&self, city: CityId) -> Counts {
        sum(self.cells.get(city.0).into_iter().flatten())
    }

    /// One half hour, over all cities.
    #[must_use]
    pub fn half_hour(&self, at: HalfHour) -> Counts {
        sum(self.cells.iter().filter_map(|row| row.get(at.0)))
    }

    /// Adds another day of the same center.
    pub fn add(&mut self, other: &Self) {
        if self.cells.len() < other.cells.len() {
            self.cells.resize(other.cells.len(), [Counts::default(); HALF_HOURS]);
        }
        let rows = self.cells.iter_mut().zip(&other.cells);
        let cells = rows.flat_map(|(row, more)| row.iter_mut().zip(more));
        cells.for_each(|(cell, more)| *cell += *more);
        self.answered += &other.answered;
        self.everybody += &other.everybody;
        self.commands += other.commands;
        self.plans += other.plans;
        self.moved += other.moved;
        // Whatever the order in which days are added.
        self.digest = self.digest.wrapping_add(other.digest);
    }
}

fn sum<'a>(cells: impl Iterator<Item = &'a Counts>) -> Counts {
    cells.fold(Counts::default(), |mut sum, cell| {
        sum += *cell;
        sum
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: quantiles and tails are those of the classes, at their edges; days add up.
    #[test]
    fn waits_are_told() {
        let mut waits = Waits::default();
        (0..100).for_each(|second| waits.count(Millis(second * 1_000)));
        assert_eq!(waits.quantile(0.5), Millis(49_100));
        assert_eq!(waits.quantile(1.0), Millis(99_100));
        assert!((waits.longer_than(200) - 0.8).abs() < 1e-9);
        assert_eq!((waits.longer_than(0), waits.longer_than(5_000)), (1.0, 0.0));
        let one = waits.clone();
        waits += &one;
        assert_eq!((waits.all(), waits.quantile(0.5)), (200, Millis(49_100)));
        assert_eq!(Waits::default().quantile(0.95), Millis(0));
    }
}

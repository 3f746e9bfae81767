//! What is simulated: which days, under which arrangements, and how the results are found again.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use tandem_sim::day::{
    Center, Day,
    arrangement::{Arrangement, Lines},
    figures::Figures,
};

/// Between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// Shares of the planned agents, per mille, with which one queue is tried.
pub(super) const HIRED: [u32; 5] = [1_000, 975, 950, 925, 900];
/// Ceilings of occupancy that staff may be planned by; 100: none.
pub(super) const CEILINGS: [u32; 3] = [85, USUAL_CEILING, 100];
const USUAL_CEILING: u32 = 90;

/// What comes differently than planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weather {
    /// Nothing.
    AsForecast,
    /// One of the usual surprises, by its place among them.
    Only(usize),
    /// All of them.
    Surprises,
}

/// One question: a kind of day under an arrangement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Case {
    pub(super) weather: Weather,
    /// Its place in [`Arrangement::ALL`], or behind them in [`Arrangement::OTHERS`].
    pub(super) arrangement: usize,
    pub(super) hired_per_mille: u32,
    pub(super) busy_percent_max: u32,
}

impl Case {
    /// Staffed as usual.
    pub(super) const fn usual(weather: Weather, arrangement: usize) -> Self {
        Self { weather, arrangement, hired_per_mille: 1_000, busy_percent_max: USUAL_CEILING }
    }

    pub(super) fn center(&self, seats: u32) -> Center {
        let mut center = Center::of_seats(seats);
        center.hired_per_mille = self.hired_per_mille;
        center.target.busy_percent_max = self.busy_percent_max;
        let mut surprised = center.clone().surprised();
        match self.weather {
            Weather::AsForecast => center,
            Weather::Surprises => surprised,
            Weather::Only(index) => {
                let only = surprised.surprises.get(index).copied();
                surprised.surprises = only.into_iter().collect();
                surprised
            }
        }
    }
}

/// All questions and their answers.
#[derive(Debug)]
pub(super) struct Study {
    /// In each city.
    pub(super) seats: u32,
    /// Days of the two main kinds; the other questions are asked of the first one.
    pub(super) seeds: u64,
    /// Each with the figures of its days.
    pub(super) answers: Vec<(Case, Vec<Figures>)>,
}

impl Study {
    /// Lives all days, on as many threads.
    pub(super) fn run(seats: u32, seeds: u64, threads: usize) -> Result<Self> {
        let cases = cases();
        let days = |case: &Case| if is_main(case) { seeds } else { 1 };
        let jobs: Vec<(Case, u64)> =
            cases.iter().flat_map(|case| (1..=days(case)).map(|seed| (*case, seed))).collect();
        let mut figures = live_all(seats, &jobs, threads)?.into_iter();
        let answer = |case: &Case| {
            let of_case = figures.by_ref().take(usize::try_from(days(case)).unwrap_or(usize::MAX));
            (*case, of_case.collect())
        };
        let answers = cases.iter().map(answer).collect();
        Ok(Self { seats, seeds, answers })
    }

    /// The days of a case.
    pub(super) fn days(&self, case: &Case) -> &[Figures] {
        let found = self.answers.iter().find(|(known, _)| known == case);
        found.map_or(&[], |(_, days)| days.as_slice())
    }

    /// All days of a case, added up.
    pub(super) fn sum(&self, case: &Case) -> Figures {
        self.days(case).iter().fold(Figures::default(), |mut sum, day| {
            sum.add(day);
            sum
        })
    }

    /// Of everything: equal on every machine for the same seats and seeds.
    pub(super) fn digest(&self) -> u64 {
        let days = self.answers.iter().flat_map(|(_, days)| days);
        days.fold(0, |sum: u64, day| sum.rotate_left(1).wrapping_add(day.digest))
    }
}

/// The two kinds of day that are lived several times.
fn is_main(case: &Case) -> bool {
    let usual = Case::usual(case.weather, case.arrangement);
    let compared = case.arrangement < Arrangement::ALL.len();
    *case == usual && compared && !matches!(case.weather, Weather::Only(_))
}

/// The surprises, one at a time.
pub(super) fn surprises() -> impl Iterator<Item = Weather> {
    (0..Center::of_seats(1).surprised().surprises.len()).map(Weather::Only)
}

fn cases() -> Vec<Case> {
    let arrangements = 0..Arrangement::ALL.len();
    let main = [Weather::AsForecast, Weather::Surprises];
    let mut cases = Vec::new();
    let mut add = |case: Case| {
        if !cases.contains(&case) {
            cases.push(case);
        }
    };
    for weather in main.into_iter().chain(surprises()) {
        arrangements.clone().for_each(|it| add(Case::usual(weather, it)));
    }
    for weather in main {
        for busy_percent_max in CEILINGS {
            for arrangement in arrangements.clone() {
                add(Case { busy_percent_max, ..Case::usual(weather, arrangement) });
            }
        }
        for hired_per_mille in HIRED {
            add(Case { hired_per_mille, ..Case::usual(weather, ONE) });
        }
        for lines in [Lines::OfEachCity, Lines::One] {
            others(lines).into_iter().for_each(|other| add(Case::usual(weather, other)));
        }
    }
    cases
}

/// Places of arrangements among those that are compared: five queues, one over any city, five that are rebalanced.
pub(super) const SEPARATE: usize = 0;
pub(super) const ONE: usize = 1;
pub(super) const REBALANCED: usize = 3;

/// The arrangement at this place.
pub(super) fn arrangement(place: usize) -> Option<Arrangement> {
    Arrangement::ALL.into_iter().chain(Arrangement::OTHERS).nth(place)
}

/// Places of those that are not compared with all, by their lines.
pub(super) fn others(lines: Lines) -> Vec<usize> {
    let behind = Arrangement::ALL.len()..Arrangement::ALL.len() + Arrangement::OTHERS.len();
    behind.filter(|place| arrangement(*place).is_some_and(|it| it.lines == lines)).collect()
}

/// Lives each day; results in the order of the jobs, whatever thread they came from.
fn live_all(seats: u32, jobs: &[(Case, u64)], threads: usize) -> Result<Vec<Figures>> {
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let results: Mutex<Vec<(usize, Result<Figures>)>> = Mutex::new(Vec::new());
    let last_line = Mutex::new(started);
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((case, seed)) = jobs.get(index) else { return };
            let result = live(seats, case, *seed);
            let failed = result.is_err();
            let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
            results.push((index, result));
            let done = results.len();
            drop(results);
            if failed {
                next.store(jobs.len(), Ordering::Relaxed);
                return;
            }
            let mut line = last_line.lock().unwrap_or_else(PoisonError::into_inner);
            if line.elapsed() >= PROGRESS_EVERY {
                *line = Instant::now();
                let seconds = started.elapsed().as_secs();
                eprintln!("{done} of {} days lived, {seconds} s", jobs.len());
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn live(seats: u32, case: &Case, seed: u64) -> Result<Figures> {
    let day = Day::new(&case.center(seats), seed);
    let arrangement = arrangement(case.arrangement).context("no such arrangement")?;
    let name = arrangement.name;
    day.run(&arrangement).with_context(|| format!("day {seed}, {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each question is asked once, and what is asked does not depend on the number of threads.
    #[test]
    fn threads_change_nothing() {
        let (one, two) = (Study::run(4, 2, 1).unwrap(), Study::run(4, 2, 2).unwrap());
        assert_eq!(one.digest(), two.digest());
        let main = Case::usual(Weather::Surprises, ONE);
        assert_eq!((one.days(&main).len(), one.sum(&main)), (2, two.sum(&main)));
        let only = Case::usual(Weather::Only(0), ONE);
        assert_eq!(one.days(&only).len(), 1);
        assert_eq!(surprises().count(), 3);
        let cases = cases();
        assert!(cases.iter().all(|case| cases.iter().filter(|it| *it == case).count() == 1));
        for (place, of) in [
            (SEPARATE, Arrangement::SEPARATE),
            (ONE, Arrangement::ONE),
            (REBALANCED, Arrangement::REBALANCED),
        ] {
            assert_eq!(arrangement(place).map(|it| it.name), Some(of.name));
        }
        let more = others(Lines::OfEachCity).len() + others(Lines::One).len();
        assert_eq!(more, Arrangement::OTHERS.len());
        assert!(arrangement(Arrangement::ALL.len() + more).is_none());
    }
}

//! The life of a fault: set up, injected, shown, recovering, recovered, cleaned up; in this order and
//! no other.
//!
//! A fault that was never seen to work proves nothing, and one that is left behind spoils what comes
//! after it. The idea of guarding the order by a state machine is CockroachDB's (roachtest, failure
//! injection).

use std::fmt;

use serde::{Deserialize, Serialize};
use tandem_phone::RunTime;
use thiserror::Error;

/// Where a fault stands in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Nothing was done yet.
    Planned,
    /// What it needs is there; nothing is broken.
    SetUp,
    /// It was made.
    Injected,
    /// The cluster, or those who use it, show it.
    Shown,
    /// What was broken is being mended.
    Recovering,
    /// The cluster shows that it is well again.
    Recovered,
    /// Nothing of it is left on the machine.
    CleanedUp,
}

impl Phase {
    const fn next(self) -> Option<Self> {
        Some(match self {
            Self::Planned => Self::SetUp,
            Self::SetUp => Self::Injected,
            Self::Injected => Self::Shown,
            Self::Shown => Self::Recovering,
            Self::Recovering => Self::Recovered,
            Self::Recovered => Self::CleanedUp,
            Self::CleanedUp => return None,
        })
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Planned => "planned",
            Self::SetUp => "set up",
            Self::Injected => "injected",
            Self::Shown => "shown",
            Self::Recovering => "recovering",
            Self::Recovered => "recovered",
            Self::CleanedUp => "cleaned up",
        })
    }
}

/// A step that is not the next one: a bug of whoever runs the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "a fault that is {from} cannot become {to}: the scenario's runner is wrong, not the cluster"
)]
pub struct WrongOrder {
    from: Phase,
    to: Phase,
}

/// One fault's life with its moments, on the phones' clock.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    moments: Vec<(Phase, RunTime)>,
}

impl Life {
    /// A planned fault.
    #[must_use]
    pub fn planned(at: RunTime) -> Self {
        Self { moments: vec![(Phase::Planned, at)] }
    }

    /// Where it stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.moments.last().map_or(Phase::Planned, |(phase, _)| *phase)
    }

    /// When it entered a phase.
    #[must_use]
    pub fn at(&self, phase: Phase) -> Option<RunTime> {
        self.moments.iter().find(|(entered, _)| *entered == phase).map(|(_, at)| *at)
    }

    /// The next phase. Cleaning up may follow any phase in which something was there to clean up: what
    /// was begun is ended also when it went wrong.
    ///
    /// # Errors
    /// When it is not the next one.
    pub fn enter(&mut self, to: Phase, at: RunTime) -> Result<(), WrongOrder> {
        let from = self.phase();
        let cut_short = to == Phase::CleanedUp && (Phase::SetUp..Phase::CleanedUp).contains(&from);
        if from.next() != Some(to) && !cut_short {
            return Err(WrongOrder { from, to });
        }
        self.moments.push((to, at));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Phase; 7] = [
        Phase::Planned,
        Phase::SetUp,
        Phase::Injected,
        Phase::Shown,
        Phase::Recovering,
        Phase::Recovered,
        Phase::CleanedUp,
    ];

    // Goal: from each phase exactly the next one is allowed, and cleaning up once there is something.
    #[test]
    fn only_the_next_phase() {
        for (index, from) in ALL.into_iter().enumerate() {
            for (other, to) in ALL.into_iter().enumerate() {
                let mut life = Life { moments: vec![(from, RunTime::START)] };
                let begun = (1..6).contains(&index);
                let allowed = other == index + 1 || (other == 6 && begun);
                let entered = life.enter(to, RunTime::from_ms(5));
                assert_eq!(entered.is_ok(), allowed, "{from} -> {to}");
                assert_eq!(life.phase(), if allowed { to } else { from });
            }
        }
    }

    // Goal: a whole life keeps its moments.
    #[test]
    fn a_whole_life() {
        let mut life = Life::planned(RunTime::START);
        for (index, phase) in (1..).zip(&ALL[1..]) {
            life.enter(*phase, RunTime::from_ms(index)).unwrap();
        }
        assert_eq!(life.at(Phase::Shown), Some(RunTime::from_ms(3)));
        assert_eq!(life.at(Phase::CleanedUp), Some(RunTime::from_ms(6)));
    }
}

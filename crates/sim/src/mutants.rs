//! Which judge catches a fault that is planted on purpose, and after how many runs. Only with the
//! feature `planted`.

pub use tandem_routing::planted::{Planted, Room};

use crate::plan::{Plan, Report, run::run_planted};

/// Runs within which a planted fault must show.
pub const RUNS_MAX: u64 = 100;

/// The first run that a planted fault broke.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catch {
    /// Runs until then, this one included. The seeds are those from 0.
    pub runs: u64,
    /// What the judges said of the last one.
    pub report: Report,
}

/// Plays seeds from 0 until a judge objects; `None` when none did within `runs_max` runs.
#[must_use]
pub fn first_catch(planted: Planted, runs_max: u64) -> Option<Catch> {
    (0..runs_max).find_map(|seed| {
        let report = run_planted(&Plan::from_seed(seed), planted);
        (!report.is_clean()).then_some(Catch { runs: seed + 1, report })
    })
}

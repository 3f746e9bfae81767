//! What is on stage in a run: callers who come and talk and leave, agents who answer, and the board on
//! which it is all seen. The demo and the scenarios use the same.

mod board;
mod crowd;
mod dice;
mod lines;
mod watch;

use std::time::Duration;

pub use board::{Board, Note, Phase, Pulse, Snapshot};
pub use watch::{Sample, SiteSample};

pub(crate) use crowd::{CallerPlan, Crowd};
pub(crate) use dice::Dice;
pub(crate) use lines::{LINES, NUMBERS, agents, answer_as, facts, queues};
pub(crate) use watch::Watch;

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

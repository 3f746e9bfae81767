//! Scenarios: what is broken, how, and what must hold; from a short text to a verdict.
//!
//! `plan` is the text, `catalog` the texts that come with the laboratory, `life` the life of a fault,
//! `run` the run, `judges` those who ask the cluster, `verdict` how it ended, `command` the command line.

mod catalog;
mod command;
mod judges;
pub mod life;
mod limits;
mod plan;
mod run;
mod verdict;
mod wan;

pub use catalog::all;
pub use command::{Command, main};
pub use plan::{
    Action, Allow, Center, Impairment, Network, Open, PlanError, Scenario, Set, Step, Target,
};
pub use verdict::{Episode, Outcome, Verdict};

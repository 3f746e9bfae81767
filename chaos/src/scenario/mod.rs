//! Scenarios: what is broken, how, and what must hold; from a short text to a verdict.
//!
//! `plan` is the text, `action` what its steps do, `catalog` the texts that come with the laboratory, `life` the life of a fault,
//! `run` the run, `judges` those who ask the cluster, `verdict` how it ended, `command` the command line.

mod action;
mod api_clients;
mod catalog;
mod command;
mod judges;
pub mod life;
mod machine;
mod people;
mod plan;
mod run;
mod verdict;
mod wan;

pub use action::{Action, Damaged, Impairment, Open};
pub use catalog::all;
pub use command::{Command, main};
pub use plan::{Allow, Center, Network, PlanError, Scenario, Set, Step, Target};
pub use verdict::{Episode, Outcome, Verdict};

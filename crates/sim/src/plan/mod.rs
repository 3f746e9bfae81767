//! A run is a plan: how the world is built, and what happens in it when. A plan follows from one seed,
//! is readable JSON, can be cut shorter, and has the same trace on every run.

pub mod action;
pub mod features;
mod generate;
mod perform;
pub mod run;
mod settle;
pub mod shrink;

use serde::{Deserialize, Serialize};

pub use action::Action;
pub use features::Features;
pub use run::{Report, run};

/// The callers of every plan.
pub const CALLERS: [&str; 6] = ["carol", "dave", "erin", "frank", "grace", "heidi"];
/// The agents of every plan.
pub const AGENTS: [&str; 4] = ["amy", "bob", "cy", "dee"];
/// Nodes of every plan, numbered from 1.
pub const NODES: u64 = 3;

/// A run, written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Decides everything that the plan does not say: delays, losses, who wins an election.
    pub seed: u64,
    /// How the world is built.
    pub features: Features,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// How long after the step before it, in ms.
    pub after: u64,
    /// What.
    #[serde(flatten)]
    pub action: Action,
}

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        generate::plan(seed)
    }

    /// Reads a plan from JSON.
    ///
    /// # Errors
    /// What is wrong with the text, and where.
    pub fn from_json(text: &str) -> Result<Self, PlanError> {
        let plan: Self =
            serde_json::from_str(text).map_err(|error| PlanError::Malformed(error.to_string()))?;
        plan.check()?;
        Ok(plan)
    }

    /// As JSON, one line for each step.
    #[must_use]
    pub fn to_json(&self) -> String {
        let steps: Vec<String> =
            self.steps.iter().map(|step| format!("    {}", line(step))).collect();
        format!(
            "{{\n  \"seed\": {},\n  \"features\": {},\n  \"steps\": [\n{}\n  ]\n}}\n",
            self.seed,
            line(&self.features),
            steps.join(",\n")
        )
    }

    /// Who takes part must exist.
    fn check(&self) -> Result<(), PlanError> {
        for (at, step) in self.steps.iter().enumerate() {
            let nodes = step.action.nodes();
            if nodes.iter().any(|node| !(1..=NODES).contains(node)) {
                return Err(PlanError::NoSuchNode { step: at });
            }
            if step.action.people().iter().any(|name| !is_known(name)) {
                return Err(PlanError::NobodyOfThisName { step: at });
            }
        }
        Ok(())
    }
}

fn is_known(name: &str) -> bool {
    CALLERS.contains(&name) || AGENTS.contains(&name)
}

/// A value as one line of JSON.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("a plan has no map with odd keys")
}

/// Why a plan cannot be played.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No plan in JSON.
    #[error("this is no plan: {0}; `tandem-chaos sim replay SEED` plays a seed without a file")]
    Malformed(String),
    /// A node that the world does not have.
    #[error("step {step} names a node that is not 1, 2 or 3")]
    NoSuchNode {
        /// Which step, from 0.
        step: usize,
    },
    /// A caller or agent that the world does not have.
    #[error("step {step} names somebody who is neither a caller nor an agent of the simulation")]
    NobodyOfThisName {
        /// Which step, from 0.
        step: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a plan survives being written and read; one that names strangers is refused.
    #[test]
    fn plans_are_text() {
        for seed in 0..50 {
            let plan = Plan::from_seed(seed);
            assert_eq!(Plan::from_json(&plan.to_json()).unwrap(), plan, "seed {seed}");
        }
        let mut plan = Plan::from_seed(1);
        plan.steps = vec![Step { after: 0, action: Action::Start { node: 9 } }];
        assert_eq!(Plan::from_json(&plan.to_json()), Err(PlanError::NoSuchNode { step: 0 }));
        plan.steps = vec![Step { after: 0, action: Action::HangUp { who: "eve".into() } }];
        assert_eq!(Plan::from_json(&plan.to_json()), Err(PlanError::NobodyOfThisName { step: 0 }));
        assert!(Plan::from_json("{}").is_err());
    }
}

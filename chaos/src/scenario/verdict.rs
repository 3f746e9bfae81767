//! How a scenario ended: held, violated, or the laboratory itself failed.

use std::fmt;

use serde::Serialize;
use tandem_phone::RunTime;

use super::{
    life::{Life, Phase},
    plan::{Scenario, Step},
};
use crate::{check::Judgement, demo::sentence, limits::PROBLEMS_SHOWN_MAX};

/// How it ended. There is no fourth way, and a run that proves nothing is not *held*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Everything promised held.
    Held,
    /// Something promised did not.
    Violated,
    /// The laboratory could not make or judge the fault: this says nothing about the product.
    HarnessFailed,
}

impl Outcome {
    pub(super) const fn of(held: bool) -> Self {
        if held { Self::Held } else { Self::Violated }
    }

    /// The exit code of a run.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Held => 0,
            Self::HarnessFailed => 1,
            Self::Violated => 3,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Held => "HELD",
            Self::Violated => "VIOLATED",
            Self::HarnessFailed => "HARNESS FAILED",
        })
    }
}

/// One fault of the run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Episode {
    /// The step.
    pub step: String,
    /// Where it was made.
    pub sites: Vec<String>,
    /// Its life.
    pub life: Life,
}

impl Episode {
    pub(super) fn planned(step: &Step, at: RunTime) -> Self {
        Self { step: step.words(), sites: Vec::new(), life: Life::planned(at) }
    }
}

/// The verdict on a run.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    /// The scenario's name.
    pub scenario: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The known cause, when it is known not to hold.
    pub open_violation: Option<String>,
    /// The faults, in order.
    pub episodes: Vec<Episode>,
    /// What phones experienced.
    pub judgement: Option<Judgement>,
    /// Programs that had to be killed in the end.
    pub did_not_end: Vec<String>,
    /// Why the laboratory failed.
    pub error: Option<String>,
}

impl Verdict {
    pub(super) fn of(scenario: &Scenario) -> Self {
        Self {
            scenario: scenario.name.clone(),
            outcome: Outcome::HarnessFailed,
            open_violation: scenario.open_violation.clone(),
            episodes: Vec::new(),
            judgement: None,
            did_not_end: Vec::new(),
            error: None,
        }
    }

    /// For people: faults with their times, figures, problems, and the outcome last.
    #[must_use]
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for episode in &self.episodes {
            let ms = |from: Phase, to: Phase| {
                let (from, to) = (episode.life.at(from), episode.life.at(to));
                from.zip(to)
                    .map_or_else(|| "-".to_owned(), |(from, to)| to.ms_since(from).to_string())
            };
            lines.push(format!(
                "{} ({}): showed after {} ms, recovered after {} ms",
                episode.step,
                episode.sites.join(", "),
                ms(Phase::Injected, Phase::Shown),
                ms(Phase::Recovering, Phase::Recovered),
            ));
        }
        if let Some(judgement) = &self.judgement {
            lines.push(sentence(judgement));
            for problem in judgement.problems.iter().take(PROBLEMS_SHOWN_MAX) {
                lines.push(format!("  {problem}"));
            }
            let more = judgement.problems.len().saturating_sub(PROBLEMS_SHOWN_MAX);
            if more > 0 {
                lines.push(format!("  and {more} more"));
            }
        }
        for program in &self.did_not_end {
            lines.push(format!("  {program} did not end in order and was killed"));
        }
        if let Some(error) = &self.error {
            lines.push(format!("the laboratory failed: {error}"));
        }
        if let Some(cause) = &self.open_violation {
            lines.push(format!("open violation: {cause}"));
        }
        lines.push(format!("{}: {}", self.scenario, self.outcome));
        lines.join("\n")
    }
}

//! How a scenario ended: held, violated, or the laboratory itself failed.

use std::fmt;

use serde::Serialize;
use tandem_phone::RunTime;

use super::{
    life::{Life, Phase},
    plan::{Scenario, Step},
};
use crate::{
    check::{Judgement, leftovers::Thing},
    demo::sentence,
    limits::PROBLEMS_SHOWN_MAX,
};

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
    /// What else must not be: of the cluster's own words, of how its programs ended.
    pub violated: Vec<String>,
    /// What could not be judged.
    pub unproven: Vec<String>,
    /// What was proven beside what phones experienced, and what a fault did.
    pub notes: Vec<String>,
    /// What was left on the machine.
    pub left_behind: Vec<Thing>,
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
            violated: Vec::new(),
            unproven: Vec::new(),
            notes: Vec::new(),
            left_behind: Vec::new(),
            did_not_end: Vec::new(),
            error: None,
        }
    }

    /// The outcome of what stands in it. A violation that was seen is one, whatever else could not be
    /// judged; what could not be judged is never a pass.
    pub(super) fn settle(&mut self) {
        let is_clean = self.judgement.as_ref().is_none_or(Judgement::is_clean)
            && self.violated.is_empty()
            && self.left_behind.is_empty()
            && self.did_not_end.is_empty();
        let is_proven =
            self.judgement.is_some() && self.error.is_none() && self.unproven.is_empty();
        self.outcome = match (is_clean, is_proven) {
            (false, _) if self.error.is_none() || !self.violated.is_empty() => Outcome::Violated,
            (true, true) => Outcome::Held,
            _ => Outcome::HarnessFailed,
        };
    }

    /// What cluster and machine showed, each in a line.
    #[must_use]
    pub fn findings(&self) -> Vec<String> {
        let mut lines = self.notes.clone();
        lines.extend(self.violated.iter().map(|what| format!("violated: {what}")));
        lines.extend(self.unproven.iter().map(|what| format!("not proven: {what}")));
        for thing in &self.left_behind {
            lines.push(format!("left on the machine: {thing:?}"));
        }
        for program in &self.did_not_end {
            lines.push(format!("{program} did not end in order and was killed"));
        }
        if let Some(error) = &self.error {
            lines.push(format!("the laboratory failed: {error}"));
        }
        if let Some(cause) = &self.open_violation {
            lines.push(format!("open violation: {cause}"));
        }
        lines
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
        lines.extend(self.findings().iter().map(|finding| format!("  {finding}")));
        lines.push(format!("{}: {}", self.scenario, self.outcome));
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Allowances, Evidence, judge};

    // Goal: each finding alone decides: what must not be is violated, what cannot be judged never
    // passes, and neither hides a failure of the laboratory.
    #[test]
    fn what_decides() {
        type Change = fn(&mut Verdict);
        let rows: [(Change, Outcome); 8] = [
            (|_| (), Outcome::Held),
            (|it| it.notes.push("n".into()), Outcome::Held),
            (|it| it.violated.push("v".into()), Outcome::Violated),
            (|it| it.did_not_end.push("p".into()), Outcome::Violated),
            (|it| it.left_behind.push(Thing::MoreFiles), Outcome::Violated),
            (|it| it.unproven.push("u".into()), Outcome::HarnessFailed),
            (|it| it.error = Some("e".into()), Outcome::HarnessFailed),
            (|it| it.judgement = None, Outcome::HarnessFailed),
        ];
        for (index, (change, outcome)) in rows.into_iter().enumerate() {
            let mut verdict = Verdict::of(&super::super::all().unwrap()[0]);
            verdict.judgement = Some(judge(&Evidence::default(), &Allowances::default()));
            change(&mut verdict);
            verdict.settle();
            assert_eq!(verdict.outcome, outcome, "row {index}");
        }
    }
}

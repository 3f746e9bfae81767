//! Checkers that believe only histories: what clients asked, what they were told, and when.
//!
//! | question | checker |
//! |---|---|
//! | is there one order of events that explains all answers? | [`linearizable`], with a [`model`] per kind of subject |
//! | do later readings build on later log entries, over all subjects? | [`indexes`] |
//!
//! Linearizability is local (Herlihy, Wing: theorem 1): a history is linearizable when each
//! subject's part is. So [`judge`] looks at one subject after the other.

pub mod explain;
pub mod indexes;
pub mod linearizable;
pub mod model;
pub mod retries;
#[cfg(test)]
mod script;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use crate::history::{FaultSpan, History, Kind, Operation, Outcome, Subject};
use explain::{Explanation, explain};
use indexes::StepBack;
use linearizable::{Bounds, Found, search};
use model::{Attendance, Counter, Model, Register};

/// The verdict on a history.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    /// Operations that got an answer.
    pub answered: usize,
    /// Operations whose outcome nobody knows.
    pub unknown: usize,
    /// Each subject, by its name.
    pub subjects: Vec<SubjectVerdict>,
    /// Readings that are based on less than an earlier one.
    pub steps_back: Vec<StepBack>,
}

/// The verdict on one subject.
#[derive(Debug, Clone, Serialize)]
pub struct SubjectVerdict {
    /// Which.
    pub subject: Subject,
    /// Its operations.
    pub operations: usize,
    /// What was found.
    pub verdict: Verdict,
    /// Steps that the search took.
    pub steps: u64,
}

/// What was found of one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One order of events explains all answers.
    Linearizable,
    /// None does.
    Violation(Box<Explanation>),
    /// The search was given up at its bounds: neither proven nor disproven.
    Undecided,
}

impl Judgement {
    /// True when everything was proven. A history without answers proves nothing.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.answered > 0
            && self.steps_back.is_empty()
            && self.subjects.iter().all(|it| it.verdict == Verdict::Linearizable)
    }

    /// Subjects of which it is not known.
    pub fn undecided(&self) -> impl Iterator<Item = &Subject> {
        let open = self.subjects.iter().filter(|it| it.verdict == Verdict::Undecided);
        open.map(|it| &it.subject)
    }

    /// What must not be.
    pub fn violations(&self) -> impl Iterator<Item = &Explanation> {
        self.subjects.iter().filter_map(|it| match &it.verdict {
            Verdict::Violation(explanation) => Some(&**explanation),
            Verdict::Linearizable | Verdict::Undecided => None,
        })
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answered, unknown, subjects, steps_back } = self;
        let proven = subjects.iter().filter(|it| it.verdict == Verdict::Linearizable).count();
        write!(
            f,
            "{answered} operations answered, {unknown} with unknown outcome: {proven} of {} \
             subjects proven linearizable",
            subjects.len()
        )?;
        for subject in self.undecided() {
            write!(f, "\n{subject}: undecided, the search was given up at its bounds")?;
        }
        for explanation in self.violations() {
            write!(f, "\n{explanation}")?;
        }
        steps_back.iter().try_for_each(|step| write!(f, "\n{step}"))
    }
}

/// Judges a history.
#[must_use]
pub fn judge(history: &History, bounds: &Bounds) -> Judgement {
    let mut by_subject: BTreeMap<&Subject, Vec<&Operation>> = BTreeMap::new();
    for operation in &history.operations {
        by_subject.entry(&operation.subject).or_default().push(operation);
    }
    let subjects = by_subject.into_iter().map(|(subject, asked)| {
        let joined = retries::joined(&asked);
        let operations: Vec<&Operation> = joined.iter().collect();
        let (verdict, steps) = match subject.kind {
            Kind::Register => of(&Register::of(&operations), &operations, &history.faults, bounds),
            Kind::Presence => {
                of(&Attendance::of(&operations), &operations, &history.faults, bounds)
            }
            Kind::Counter => of(&Counter::of(&operations), &operations, &history.faults, bounds),
        };
        SubjectVerdict { subject: subject.clone(), operations: asked.len(), verdict, steps }
    });
    let subjects = subjects.collect();
    let unknown = history.operations.iter().filter(|it| it.outcome == Outcome::Unknown).count();
    Judgement {
        answered: history.operations.len() - unknown,
        unknown,
        subjects,
        steps_back: indexes::steps_back(&history.operations),
    }
}

fn of<M: Model>(
    model: &M,
    operations: &[&Operation],
    faults: &[FaultSpan],
    bounds: &Bounds,
) -> (Verdict, u64) {
    let (found, steps) = search(model, operations, bounds);
    let verdict = match found {
        Found::Linearizable => Verdict::Linearizable,
        Found::Undecided => Verdict::Undecided,
        Found::Violation => {
            Verdict::Violation(Box::new(explain(model, operations, faults, bounds)))
        }
    };
    (verdict, steps)
}

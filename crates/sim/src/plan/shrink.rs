//! Cuts a failing plan down: steps go as long as it fails in the same way (delta debugging, Zeller and
//! Hildebrandt, TSE 2002, without its complements), then pauses, then the adversary.

use super::{Plan, Report};
use crate::world::group::Adversary;

/// A plan that fails like this one and is no longer, and what it came to.
///
/// `run` plays a plan; `runs_max` bounds how often. A plan that does not fail comes back as it is.
pub fn shrink(
    plan: &Plan,
    runs_max: usize,
    mut run: impl FnMut(&Plan) -> Report,
) -> (Plan, Report) {
    let first = run(plan);
    let Some(kind) = first.kind().map(str::to_owned) else { return (plan.clone(), first) };
    let mut best = (plan.clone(), first);
    let mut left = runs_max;
    let mut try_one = |candidate: Plan, best: &mut (Plan, Report)| {
        if left == 0 || candidate == best.0 {
            return false;
        }
        left -= 1;
        let report = run(&candidate);
        let same = report.kind() == Some(&kind);
        if same {
            *best = (candidate, report);
        }
        same
    };
    let mut size = best.0.steps.len().div_ceil(2);
    while size > 0 {
        let mut at = 0;
        while at < best.0.steps.len() {
            let mut candidate = best.0.clone();
            let end = (at + size).min(candidate.steps.len());
            // What is cut takes no time out of the plan: the next step waits for it.
            let waited: u64 = candidate.steps.drain(at..end).map(|step| step.after).sum();
            if let Some(next) = candidate.steps.get_mut(at) {
                next.after += waited;
            }
            if !try_one(candidate, &mut best) {
                at += size;
            }
        }
        size /= 2;
    }
    for at in 0..best.0.steps.len() {
        for after in [0, 100, 1_000] {
            let mut candidate = best.0.clone();
            if candidate.steps[at].after <= after {
                break;
            }
            candidate.steps[at].after = after;
            if try_one(candidate, &mut best) {
                break;
            }
        }
    }
    let mut calm = best.0.clone();
    calm.features.adversary = Adversary::default();
    try_one(calm, &mut best);
    best
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Action, Step};

    fn fake(plan: &Plan) -> Report {
        let crashes = plan.steps.iter().any(|s| matches!(s.action, Action::Crash { node: 2, .. }));
        let deposes = plan.steps.iter().any(|s| s.action == Action::Depose);
        let mut report = Report { seed: plan.seed, ..Report::default() };
        if crashes && deposes {
            report.violations.push("R3: gone".to_owned());
        }
        report
    }

    // Goal: of a long plan the two steps remain that fail together, without their pauses.
    #[test]
    fn what_matters_remains() {
        let mut plan = Plan::from_seed(3);
        plan.steps.retain(|step| step.action != Action::Depose);
        plan.steps.retain(|step| !matches!(step.action, Action::Crash { .. }));
        let third = plan.steps.len() / 3;
        let crash = Action::Crash { node: 2, witness: true };
        plan.steps.insert(third, Step { after: 777, action: crash });
        plan.steps.insert(2 * third, Step { after: 5_000, action: Action::Depose });
        let (short, report) = shrink(&plan, 10_000, fake);
        assert_eq!(report.kind(), Some("R3"));
        assert_eq!(short.steps.len(), 2, "{short:?}");
        assert!(short.steps.iter().all(|step| step.after == 0));
        let (same, clean) = shrink(&Plan { steps: Vec::new(), ..plan }, 10, fake);
        assert!(clean.is_clean() && same.steps.is_empty());
    }
}

//! Runs of the simulation: many seeds, kept plans, the same trace twice, and planted bugs, each of which
//! some judge must catch.

use tandem_sim::plan::{Plan, run, shrink};

/// Seeds that every test run plays.
const SEEDS: u64 = 200;
/// The commit decides the first seed where the build tells it: other seeds each time, the same ones for
/// the same commit.
const COMMIT: Option<&str> = option_env!("TANDEM_SIM_COMMIT");
/// Plans that broke something once, or reach a corner that seeds reach seldom.
const KEPT: &[(&str, &str)] = &[
    ("answered-while-cancelled", include_str!("../plans/answered-while-cancelled.json")),
    ("adopted-twice", include_str!("../plans/adopted-twice.json")),
    ("leg-outlives-its-call", include_str!("../plans/leg-outlives-its-call.json")),
    ("lease-under-a-new-leader", include_str!("../plans/lease-under-a-new-leader.json")),
];

fn first_seed() -> u64 {
    let digits = COMMIT.and_then(|commit| commit.get(..8));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

// Goal: nothing breaks in any of many runs, with all faults; the failing one says how to see it again.
#[test]
fn seeds() {
    let first = first_seed();
    for seed in first..first + SEEDS {
        let report = run(&Plan::from_seed(seed));
        let violations = report.violations.join("\n");
        assert!(
            report.is_clean(),
            "tandem-chaos sim replay {seed}\n{violations}\n{}",
            report.state
        );
    }
}

// Goal: a run is the same run each time, and different seeds are different runs.
#[test]
fn the_same_seed_is_the_same_run() {
    let mut digests = std::collections::BTreeSet::new();
    for seed in 0..20 {
        let plan = Plan::from_seed(seed);
        let (first, again) = (run(&plan), run(&Plan::from_json(&plan.to_json()).unwrap()));
        assert_eq!(first, again, "seed {seed}");
        digests.insert(first.digest);
    }
    assert_eq!(digests.len(), 20);
}

// Goal: runs reach what they are for: faults, elections, contacts, conversations.
#[test]
fn runs_are_not_idle() {
    let reports: Vec<_> = (0..50).map(|seed| run(&Plan::from_seed(seed))).collect();
    let sum = |of: fn(&tandem_sim::plan::Report) -> u64| reports.iter().map(of).sum::<u64>();
    assert!(sum(|r| r.faults) > 500);
    assert!(sum(|r| r.leaders) > 100);
    assert!(sum(|r| r.contacts) > 150);
    assert!(sum(|r| r.conversations) > 100);
}

// Goal: what broke once does not again.
#[test]
fn kept_plans() {
    for (name, text) in KEPT {
        let plan = Plan::from_json(text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let report = run(&plan);
        assert!(report.is_clean(), "{name}: {}\n{}", report.violations.join("\n"), report.state);
    }
}

// Goal: a clean plan is not made smaller.
#[test]
fn nothing_to_shrink() {
    let plan = Plan::from_seed(1);
    let (same, report) = shrink::shrink(&plan, 10, run);
    assert!(report.is_clean());
    assert_eq!(same, plan);
}

#[cfg(feature = "planted")]
mod planted {
    use tandem_sim::{
        mutants::{Planted, RUNS_MAX, first_catch},
        plan::{Plan, run::run_planted, shrink},
    };

    // Goal: every planted bug is caught by some judge, soon. `tandem-chaos mutants` prints by which.
    #[test]
    fn every_planted_bug_is_caught() {
        let missed: Vec<_> =
            Planted::simulated().filter(|bug| first_catch(*bug, RUNS_MAX).is_none()).collect();
        assert!(missed.is_empty(), "not caught within {RUNS_MAX} runs: {missed:?}");
    }

    // Goal: a failing plan is cut down to less than a quarter, and still fails in the same way.
    #[test]
    fn a_failing_plan_is_cut_down() {
        let caught = first_catch(Planted::RequeueLosesPlace, RUNS_MAX).unwrap();
        let plan = Plan::from_seed(caught.runs - 1);
        let again = |plan: &Plan| run_planted(plan, Planted::RequeueLosesPlace);
        let (short, still) = shrink::shrink(&plan, 300, again);
        assert_eq!(still.kind(), caught.report.kind());
        assert!(short.steps.len() * 4 < plan.steps.len(), "{} steps", short.steps.len());
    }
}

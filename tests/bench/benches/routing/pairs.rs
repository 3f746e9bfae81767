//! Assignments and releases a second, and how their cost grows with the agents.

use std::sync::OnceLock;

use tandem_bench::{
    clock::rate,
    plan::{Plan, Size},
    report::{Bound, Report, count, number},
};

use crate::regime::{Cost, Regime, measure};

/// Pairs a second on one core, through the full apply.
const RATE_MIN: f64 = 500_000.0;
/// From 1,000 to 100,000 agents.
const GROWTH_MAX: f64 = 2.0;
const AGENTS: [usize; 5] = [1_000, 3_000, 10_000, 30_000, 100_000];
/// Contacts that wait where callers wait.
pub(crate) const WAITING: usize = 10_000;

/// The cost at a number of agents.
pub(crate) struct At {
    pub(crate) agents: usize,
    pub(crate) idle: Cost,
    pub(crate) saturated: Cost,
}

/// The cost at each number of agents, measured once.
pub(crate) fn all() -> &'static [At] {
    static ALL: OnceLock<Vec<At>> = OnceLock::new();
    let at = |agents| {
        let plan = Plan::draw(Size::of(agents));
        let idle = measure(&plan, Regime::Idle);
        At { agents, idle, saturated: measure(&plan, Regime::Saturated(WAITING)) }
    };
    ALL.get_or_init(|| AGENTS.into_iter().map(at).collect())
}

pub(crate) fn run(report: &mut Report) {
    report.heading("Assign and release, one core");
    report.say(
        "A pair is an Enqueue and an End, in entries of 64: with agents free the Enqueue assigns and the \
         End releases, with everybody talking and 10,000 waiting the End does both. Explanations, statistics, \
         rows and digest included.\n",
    );
    let all = all();
    let row = |agents: usize, regime: &str, cost: &Cost| {
        let each = [cost.enqueue, cost.accept, cost.end, cost.pair()].map(|ns| ns / 1e3);
        let rates = [rate(cost.pair()), rate(cost.contact())].map(number);
        let first = format!("{} agents, {regime}", count(agents));
        [vec![first], each.map(number).to_vec(), rates.to_vec()].concat()
    };
    let rows: Vec<Vec<String>> = all
        .iter()
        .flat_map(|at| {
            [row(at.agents, "free", &at.idle), row(at.agents, "all busy", &at.saturated)]
        })
        .collect();
    let columns =
        ["", "Enqueue µs", "Accept µs", "End µs", "pair µs", "pairs/s", "whole contacts/s"];
    report.table(&columns, &rows);
    for at in all.iter().filter(|at| at.agents == 10_000) {
        for (regime, cost) in [("agents free", at.idle), ("all busy", at.saturated)] {
            let what = format!("assign+release, 10,000 agents, {regime}");
            report.judge(&what, rate(cost.pair()), Bound::AtLeast, RATE_MIN, "/s");
        }
    }
    if let (Some(small), Some(large)) = (all.first(), all.last()) {
        for (regime, from, to) in [
            ("agents free", small.idle, large.idle),
            ("all busy", small.saturated, large.saturated),
        ] {
            let what = format!("growth from 1,000 to 100,000 agents, {regime}");
            let growth = to.pair() / from.pair();
            report.judge(&what, growth, Bound::AtMost, GROWTH_MAX, "times");
        }
    }
}

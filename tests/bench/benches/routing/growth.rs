//! How the cost of a pair grows with the contacts that wait and with the agents; draws the picture.

use tandem_bench::{
    plan::{Plan, Size},
    plot::{Chart, Curve, picture},
    report::{Bound, Report, count, number},
};
use tandem_routing::limits::CONTACTS_MAX;

use crate::{
    pairs,
    peer::{self, Scan},
    regime::{Regime, measure},
};

pub(crate) const AGENTS: usize = 10_000;
/// Contacts that can wait while all agents talk; the cluster's limit counts both.
pub(crate) const WAITING_MAX: usize = CONTACTS_MAX - AGENTS - 1_000;
const WAITING: [usize; 7] = [1_000, 3_000, 10_000, 30_000, 100_000, 300_000, WAITING_MAX];
/// From 1,000 to 1,000,000 waiting contacts.
const GROWTH_MAX: f64 = 2.0;

/// The center of the stated limits in more queues: none may hold a million.
pub(crate) fn plan(agents: usize) -> Plan {
    Plan::draw(Size { queues: 12, requirements: 204, ..Size::of(agents) })
}

struct At {
    waiting: usize,
    pair: f64,
    peer: f64,
}

pub(crate) fn run(report: &mut Report) {
    report.heading("Growth with the contacts that wait");
    let plan = plan(AGENTS);
    let at = |waiting: usize| {
        let pair = measure(&plan, Regime::Saturated(waiting)).pair();
        // Ticks of the peer are as long as the line; a few are enough there.
        let ticks = (100_000 / waiting).clamp(3, 20);
        At { waiting, pair, peer: peer::saturated(&plan, Scan::Indexed, waiting, ticks).0 }
    };
    let all: Vec<At> = WAITING.into_iter().map(at).collect();
    let rows: Vec<Vec<String>> = all
        .iter()
        .map(|at| {
            let numbers = [at.pair / 1e3, at.peer / 1e3, at.peer / at.pair].map(number);
            [vec![count(at.waiting)], numbers.to_vec()].concat()
        })
        .collect();
    let columns =
        ["waiting; 10,000 agents, all busy", "pair µs", "indexed SQL scan: pair µs", "times"];
    report.table(&columns, &rows);
    if let (Some(first), Some(last)) = (all.first(), all.last()) {
        let what = "growth from 1,000 to 1,000,000 waiting";
        report.judge(what, last.pair / first.pair, Bound::AtMost, GROWTH_MAX, "times");
    }
    report.picture("routing-growth.svg", draw(&all, pairs::all()));
}

fn draw(waiting: &[At], agents: &[pairs::At]) -> String {
    let line = |class, label: &str, points: Vec<(f64, f64)>| Curve {
        class,
        label: label.to_owned(),
        points,
    };
    let by_waiting = |value: fn(&At) -> f64| -> Vec<(f64, f64)> {
        waiting.iter().map(|at| (at.waiting as f64, value(at) / 1e3)).collect()
    };
    let by_agents = |value: fn(&pairs::At) -> f64| -> Vec<(f64, f64)> {
        agents.iter().map(|at| (at.agents as f64, value(at) / 1e3)).collect()
    };
    let limit = |points: &[(f64, f64)], times: f64| -> Vec<(f64, f64)> {
        let first = points.first().copied().unwrap_or((1.0, 1.0));
        points.iter().map(|(x, _)| (*x, first.1 * times)).collect()
    };
    let own = by_waiting(|at| at.pair);
    let idle = by_agents(|at| at.idle.pair());
    let busy = by_agents(|at| at.saturated.pair());
    let y_words = |us: f64| match us {
        0.0..1e3 => format!("{} µs", number(us)),
        1e3..1e6 => format!("{} ms", number(us / 1e3)),
        _ => format!("{} s", number(us / 1e6)),
    };
    let charts = [
        Chart {
            y_name: "one assignment and one release".to_owned(),
            x_name: "contacts that wait; 10,000 agents, all busy".to_owned(),
            y_words,
            height: 400.0,
            curves: vec![
                line("limit", "twice the first", limit(&own, GROWTH_MAX)),
                line("b", "SQL scan, indexed", by_waiting(|at| at.peer)),
                line("a", "Tandem", own),
            ],
        },
        Chart {
            y_name: "one assignment and one release".to_owned(),
            x_name: "agents".to_owned(),
            y_words,
            height: 300.0,
            curves: vec![
                line("limit", "twice the first", limit(&idle, GROWTH_MAX)),
                line("c", "agents free", idle),
                line("a", "all busy, 10,000 wait", busy),
            ],
        },
    ];
    picture(
        "What an assignment costs, and how it grows",
        "40 skills, 20 sites; CPU time on one core, with explanations, statistics, rows and digest; both axes by powers of ten",
        &charts,
    )
}

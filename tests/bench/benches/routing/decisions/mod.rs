//! The slowest single decisions, and the steps of entries, in the cases in which they are slow.
//!
//! Each case is lived several times from copies of the same center, command by command. What counts for a
//! command is the least of its times: the same command does the same work every time, and whatever else the
//! machine did only added. The slowest of the commands is then slow by its own doing.

mod crowds;
mod lines;
mod log;
mod losses;

use tandem_bench::{
    center::Center,
    report::{Bound, Report, count, number},
};
use tandem_routing::limits::APPLY_WORK_MAX;

use self::log::{Log, Sample};

/// The longest that a decision may take, in µs.
const DECISION_US_MAX: f64 = 20.0;
/// How often a case is lived.
const LIVES: usize = 5;

/// A case and what it took.
pub(crate) struct Case {
    what: String,
    /// Nanoseconds of each decision; of bulk work, of each step.
    decisions: Vec<f64>,
    /// Nanoseconds of each entry, rows and digest included.
    entries: Vec<f64>,
    steps_max: usize,
}

/// Lives a case several times; the kinds of decisions in it, each a row of the table.
pub(crate) fn live(center: &Center, script: impl Fn(&mut Center, &mut Log)) -> Vec<Case> {
    let mut least: Vec<Sample> = Vec::new();
    for life in 0..LIVES {
        let mut center = center.clone();
        let mut log = Log::default();
        script(&mut center, &mut log);
        if life == 0 {
            least = log.samples;
        } else {
            assert_eq!(least.len(), log.samples.len(), "every life is the same");
            least.iter_mut().zip(&log.samples).for_each(|(least, now)| least.lower(now));
        }
    }
    cases(&least)
}

/// Lives a case once, for centers of which there is only room for one.
pub(crate) fn live_once(center: &mut Center, script: impl Fn(&mut Center, &mut Log)) -> Vec<Case> {
    let mut log = Log::default();
    script(center, &mut log);
    cases(&log.samples)
}

fn cases(samples: &[Sample]) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for sample in samples {
        let at = cases.iter().position(|case| case.what == sample.what).unwrap_or_else(|| {
            let what = sample.what.to_owned();
            cases.push(Case { what, decisions: vec![], entries: vec![], steps_max: 0 });
            cases.len() - 1
        });
        let case = &mut cases[at];
        case.decisions.extend(&sample.decisions);
        case.entries.push(sample.entry);
        case.steps_max = case.steps_max.max(sample.steps);
    }
    cases
}

fn at(sorted: &[f64], share: f64) -> f64 {
    let index = ((sorted.len().saturating_sub(1)) as f64 * share).round();
    sorted.get(index as usize).copied().unwrap_or(0.0) / 1e3
}

/// Sizes of centers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    /// 10,000 agents, up to 1,000,000 contacts.
    Stated,
    /// What `limits.rs` would let in beside it: 100,000 agents, 20,000 lines.
    Limits,
}

pub(crate) fn run(report: &mut Report) {
    report.heading("Single decisions");
    report.say(&format!(
        "The least of {LIVES} identical runs for each command, then the slowest of all commands. A decision is \
         apply and commit; an entry is with rows and digest, of all commands in it. Where an entry does bulk \
         work, each of its steps is a decision. 10,000 agents unless another number stands there.\n"
    ));
    let stated: Vec<Case> = [crowds::stated(), losses::all()].into_iter().flatten().collect();
    let limits = [crowds::at_limits(), lines::all()].into_iter().flatten().collect();
    table(report, Scale::Stated, stated);
    report.say("Larger than stated, up to the limits of the queue:\n");
    table(report, Scale::Limits, limits);
}

fn table(report: &mut Report, scale: Scale, cases: Vec<Case>) {
    let mut rows = Vec::new();
    let (mut slowest, mut most) = (0.0f64, 0);
    for mut case in cases {
        case.decisions.sort_by(f64::total_cmp);
        case.entries.sort_by(f64::total_cmp);
        let worst = at(&case.decisions, 1.0);
        slowest = slowest.max(worst);
        most = most.max(case.steps_max);
        let numbers = [at(&case.decisions, 0.5), at(&case.decisions, 0.99), worst];
        let ratio = number(DECISION_US_MAX / worst);
        let entry = [count(case.steps_max), number(at(&case.entries, 1.0))];
        let first = [case.what, count(case.decisions.len())];
        let numbers = numbers.map(number).to_vec();
        rows.push([first.to_vec(), numbers, vec![ratio], entry.into()].concat());
    }
    let columns = [
        "case",
        "decisions",
        "median µs",
        "p99 µs",
        "slowest µs",
        "20 µs / slowest",
        "steps of an entry",
        "slowest entry µs",
    ];
    report.table(&columns, &rows);
    let what = match scale {
        Scale::Stated => "slowest decision",
        Scale::Limits => "slowest decision at the queue's own limits",
    };
    report.judge(what, slowest, Bound::AtMost, DECISION_US_MAX, "µs");
    if scale == Scale::Stated {
        let limit = APPLY_WORK_MAX as f64;
        report.judge("steps of an entry", most as f64, Bound::AtMost, limit, "");
    }
}

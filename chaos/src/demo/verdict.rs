//! The result, judged by the phones: a small table and one sentence, or one JSON document.

use std::path::Path;

use serde::Serialize;

use super::options::Options;
use crate::{
    check::{
        Judgement,
        losses::{Loss, Share},
    },
    faults::FaultKind,
    limits::PROBLEMS_SHOWN_MAX,
};

/// The result as a JSON document.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    /// `ok` or `failed`.
    pub(super) result: &'static str,
    /// One sentence.
    pub(super) summary: String,
    /// Callers and agents asked for.
    pub(super) callers: u32,
    /// Agents.
    pub(super) agents: u32,
    /// The seed of the day.
    pub(super) seed: u64,
    /// How long the run took, milliseconds.
    pub(super) took_ms: u64,
    /// The report's file.
    pub(super) report: &'a Path,
    /// The evidence's file.
    pub(super) evidence: &'a Path,
    /// Every figure.
    pub(super) judgement: &'a Judgement,
}

impl<'a> Document<'a> {
    /// Of a run.
    #[must_use]
    pub(super) fn new(
        judgement: &'a Judgement,
        options: &Options,
        took_ms: u64,
        report: &'a Path,
        evidence: &'a Path,
    ) -> Self {
        Self {
            result: if judgement.is_clean() { "ok" } else { "failed" },
            summary: sentence(judgement),
            callers: options.callers,
            agents: options.agents,
            seed: options.seed,
            took_ms,
            report,
            evidence,
            judgement,
        }
    }
}

/// One sentence that says it all.
#[must_use]
pub fn sentence(judgement: &Judgement) -> String {
    let Judgement { placed, answered, left, lost, order_inversions, .. } = judgement;
    let talks: usize = talking_hit(judgement).map(|loss| loss.conversations.of).sum();
    let died = |kind| judgement.losses.iter().any(|loss| loss.fault.kind == kind);
    let although = match (died(FaultKind::KillNode), died(FaultKind::KillSite), talks) {
        (true, true, _) => {
            format!(", although a leader and a whole site died ({talks} conversations went on)")
        }
        (.., 0) => String::new(),
        _ => format!(", and {talks} conversations went on"),
    };
    if judgement.is_clean() {
        format!(
            "Nobody was lost: of {placed} callers with a place {answered} reached the right agent in \
             turn and {left} hung up themselves{although}."
        )
    } else {
        format!(
            "FAILED: callers lost {lost}, order inversions {order_inversions}, problems in all {}.",
            judgement.problems.len()
        )
    }
}

fn talking_hit(judgement: &Judgement) -> impl Iterator<Item = &Loss> {
    judgement.losses.iter().filter(|loss| loss.fault.kind.loses_node())
}

/// The table for people, at most 80 wide.
#[must_use]
pub(super) fn table(judgement: &Judgement) -> String {
    let mut lines =
        vec!["RESULT, judged by the callers' and agents' phones".to_owned(), String::new()];
    for (name, value) in figures(judgement) {
        lines.push(format!("  {name:<46} {value}"));
    }
    lines.push(String::new());
    lines.push(format!(
        "  {:<31} {:>9} {:>7} {:>7} {:>6} {:>6} {:>6}",
        "after", "talks", "places", "legs", "re-INV", "gap", "next"
    ));
    lines.push(format!(
        "  {:<31} {:>9} {:>7} {:>7} {:>6} {:>6} {:>6}",
        "", "kept", "kept", "kept", "s", "ms", "s"
    ));
    lines.extend(judgement.losses.iter().map(row));
    lines.push(String::new());
    if !judgement.problems.is_empty() {
        lines.push(format!("  problems: {}", judgement.problems.len()));
        let named = judgement.problems.iter().take(PROBLEMS_SHOWN_MAX);
        lines.extend(named.map(|problem| format!("  - {problem}")));
        lines.push(String::new());
    }
    lines.extend(wrapped(&sentence(judgement)));
    lines.join("\n")
}

/// Lines of at most 78.
fn wrapped(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + word.len() < 78 => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Names and values of the figures, in the order of the table; the report shows the same.
#[must_use]
pub fn figures(judgement: &Judgement) -> Vec<(&'static str, String)> {
    let sum = |of: fn(&Loss) -> Share| {
        let shares = judgement.losses.iter().filter(|loss| loss.fault.kind.loses_node()).map(of);
        shares.fold(Share::default(), |all, one| Share {
            kept: all.kept + one.kept,
            of: all.of + one.of,
        })
    };
    let share = |Share { kept, of }: Share| format!("{kept} of {of}");
    let reserved = sum(|loss| loss.reserved);
    let deliveries: Vec<u64> =
        talking_hit(judgement).filter_map(|loss| loss.next_delivery_ms).collect();
    let slowest = deliveries.iter().max().map_or("-".to_owned(), |ms| seconds(*ms));
    vec![
        ("calls offered", judgement.offered.to_string()),
        ("answered by an agent", judgement.answered.to_string()),
        ("hung up while waiting, by themselves", judgement.left.to_string()),
        ("lost", judgement.lost.to_string()),
        ("legs kept (nodes killed)", share(sum(|loss| loss.legs))),
        ("places kept (nodes killed)", share(sum(|loss| loss.places))),
        ("places reserved (call broke, called again)", share(reserved)),
        ("talking legs re-INVITEd by a survivor", share(sum(|loss| loss.reinvited))),
        ("order inversions", order(judgement)),
        ("delivered twice", twice(judgement)),
        ("agents without the skill", judgement.skill_mismatches.to_string()),
        ("phones that rang for nobody", judgement.ghosts.to_string()),
        ("longest gap, relay alive", format!("{} ms", judgement.gap_ms_max_relay_alive)),
        ("longest gap, relay killed too", relay_gap(judgement)),
        ("next delivery after a loss, at most", format!("{slowest} s")),
    ]
}

fn order(judgement: &Judgement) -> String {
    match judgement.passed_during_takeover {
        0 => judgement.order_inversions.to_string(),
        passed => format!("{} ({passed} during takeover)", judgement.order_inversions),
    }
}

fn twice(judgement: &Judgement) -> String {
    match judgement.served_again {
        0 => judgement.delivered_twice.to_string(),
        again => format!("{} ({again} whose agent had left)", judgement.delivered_twice),
    }
}

fn relay_gap(judgement: &Judgement) -> String {
    let limit = judgement.allowances.gap_ms_max;
    let long = judgement.gaps.iter().filter(|gap| gap.gap_ms_max > limit);
    let longest = long.map(|gap| gap.gap_ms).max();
    let allowed = judgement.allowances.relay_loss_gap_ms_max;
    longest.map_or("-".to_owned(), |ms| format!("{ms} ms (allowed: {allowed})"))
}

fn row(loss: &Loss) -> String {
    let Loss { fault, .. } = loss;
    let share =
        |Share { kept, of }: Share| if of == 0 { "-".to_owned() } else { format!("{kept}/{of}") };
    let is_loss = matches!(fault.kind, FaultKind::KillNode | FaultKind::KillSite);
    let when = |ms: Option<u64>| ms.map_or("-".to_owned(), seconds);
    format!(
        "  {:<31} {:>9} {:>7} {:>7} {:>6} {:>6} {:>6}",
        fault.to_string(),
        share(loss.conversations),
        share(loss.places),
        if is_loss { share(loss.legs) } else { "-".to_owned() },
        when(loss.reinvited_after_ms),
        loss.gap_ms_max,
        when(loss.next_delivery_ms),
    )
}

fn seconds(ms: u64) -> String {
    format!("{:.1}", ms as f64 / 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::{Allowances, fixture::Run, judge};

    fn run() -> Run {
        let mut run = Run::default();
        let (a, b) = (run.caller("sales", 1_000, 9_000), run.caller("sales", 2_000, 9_000));
        let leg = run.talk(a, "ann", 2_000, 3_000, 9_000);
        run.fault(FaultKind::KillSite, 0, 4_000);
        run.reinvite_caller(a, 1, 5_300);
        run.reinvite_agent(leg, 1, 5_350);
        run.reinvite_caller(b, 1, 5_300);
        run.talk(b, "bob", 5_000, 6_000, 9_000);
        run
    }

    // Goal: the table fits 80 columns and holds the figures of the fault.
    #[test]
    fn the_table_fits() {
        let text = table(&judge(&run().evidence, &Allowances::default()));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        for part in ["kill the whole site site0", "2/2", "1.4", "Nobody was lost"] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    // Goal: a lost caller turns the sentence, the JSON's result and the table.
    #[test]
    fn a_loss_is_said() {
        let mut run = run();
        run.breaks(0, 7_000);
        let judgement = judge(&run.evidence, &Allowances::default());
        let text = table(&judgement);
        assert!(text.contains("FAILED: callers lost 1") && text.contains("caller#1"), "{text}");
        let json = serde_json::to_value(&judgement).unwrap();
        assert_eq!(json["lost"], 1);
        assert_eq!(json["problems"][0]["problem"], "caller_lost");
    }
}

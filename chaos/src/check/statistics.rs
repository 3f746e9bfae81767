//! The cluster's figures against the truth, which is what phones experienced (invariant T1).
//!
//! While calls come and go, a figure is right when it was true at some moment near the sample: the
//! news needs time to travel both ways. At the end every call that had a place must be one ended
//! contact, with the end that the caller experienced, and no contact may be there twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tandem_phone::RunTime;
use tandem_proto::api::v1 as api;

use super::{
    CallerLeg, Conversation, Evidence, Problem,
    conversation::first_of,
    kept::{Outcome, outcome},
};

/// What a cluster said of all queues together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was asked, on the phones' clock.
    pub asked_us: RunTime,
    /// When it answered.
    pub answered_us: RunTime,
    /// Callers who wait: queued, unconfirmed or being offered.
    pub waiting: u64,
    /// Callers who talk.
    pub talking: u64,
}

impl Sample {
    /// What a status says.
    #[must_use]
    pub fn of(status: &api::StatusReply, asked_us: RunTime, answered_us: RunTime) -> Option<Self> {
        let totals = status.totals.as_ref()?;
        let waiting = totals.waiting + totals.offered;
        Some(Self { asked_us, answered_us, waiting, talking: totals.connected })
    }
}

/// A try that the log was asked about, and never answered, was given up after so long at least,
/// milliseconds.
const ASKED_MS_MIN: u64 = 500;

/// How far a sample may be from the phones in time, milliseconds.
pub const TRAVELS_MS: u64 = 1_000;

/// Samples that were true at no moment near them. `travels_ms` is how long a change may take to
/// reach the other side; while legs are taken over, that is as long as the takeover.
#[must_use]
pub fn wrong_samples(
    evidence: &Evidence,
    conversations: &[Conversation],
    samples: &[Sample],
    travels_ms: u64,
) -> Vec<Problem> {
    let spans = Spans::of(evidence, conversations);
    // A try that was sent on may become a contact too late, and is one until its owner has ended it.
    let may_be_late: Vec<(RunTime, RunTime)> = tries_sent_on(evidence)
        .filter(|_| !evidence.faults.is_empty())
        .filter_map(|(caller, at)| {
            let tries = &caller.report.attempts;
            let next = tries.iter().map(|attempt| attempt.at_us).find(|next| *next > at);
            // What was refused at once was never asked of the log.
            let left = next.or(caller.report.answered_us)?;
            let asked = left.ms_since(at) >= ASKED_MS_MIN;
            asked.then(|| (at, caller.gone_us().unwrap_or(evidence.ended_us).max(at)))
        })
        .collect();
    let mut problems = Vec::new();
    for sample in samples {
        let from = RunTime::from_us(
            sample.asked_us.as_us().saturating_sub(travels_ms.saturating_mul(1_000)),
        );
        let to = sample.answered_us.plus_ms(travels_ms);
        let figures = [
            ("waiting", sample.waiting, &spans.waiting),
            ("talking", sample.talking, &spans.talking),
        ];
        for (what, said, spans) in figures {
            let (least, most) = bounds(spans, from, to);
            let most = most + bounds(&may_be_late, from, to).1;
            if said < least || said > most {
                problems.push(Problem::WrongFigure {
                    what: what.to_owned(),
                    at_us: sample.answered_us,
                    said,
                    least,
                    most,
                });
            }
        }
    }
    problems
}

/// When each caller waited and talked, as far as phones know.
struct Spans {
    waiting: Vec<(RunTime, RunTime)>,
    talking: Vec<(RunTime, RunTime)>,
}

impl Spans {
    fn of(evidence: &Evidence, conversations: &[Conversation]) -> Self {
        let mut spans = Self { waiting: Vec::new(), talking: Vec::new() };
        for (index, caller) in evidence.callers.iter().enumerate() {
            let Some(placed) = caller.promised_us() else { continue };
            let gone = caller.gone_us().unwrap_or(evidence.ended_us);
            match first_of(conversations, index) {
                Some(first) => {
                    spans.waiting.push((placed, first.from_us.max(placed)));
                    spans.talking.push((first.from_us, gone.max(first.from_us)));
                }
                None => spans.waiting.push((placed, gone.max(placed))),
            }
        }
        spans
    }
}

/// The fewest that were there all the time, and the most that were there at all. Each change can
/// have reached the cluster at another moment of the window, so that any number between is true.
fn bounds(spans: &[(RunTime, RunTime)], from: RunTime, to: RunTime) -> (u64, u64) {
    let least = spans.iter().filter(|(begin, end)| *begin < from && *end > to).count();
    let most = spans.iter().filter(|(begin, end)| *begin <= to && *end >= from).count();
    (least as u64, most as u64)
}

/// Contacts that ended, counted by how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Talked with an agent.
    pub served: u64,
    /// Left without.
    pub abandoned: u64,
    /// Ended by neither.
    pub lost: u64,
    /// Of them: taken in and never answered.
    pub unanswered: u64,
    /// Talked, and their phone did not know the call any more: served or lost.
    pub gone_talking: u64,
    /// The same before an agent answered: abandoned or lost.
    pub gone_waiting: u64,
    /// Taken in after the caller had been refused: nobody's contact, in no sum.
    pub turned_away: u64,
}

impl Ended {
    fn all(&self) -> u64 {
        self.served + self.abandoned + self.lost + self.gone_talking + self.gone_waiting
    }
}

/// The counts that phones give. Calls that were never given a place are no contacts.
#[must_use]
pub fn truth(evidence: &Evidence, conversations: &[Conversation]) -> Ended {
    let mut ended = Ended::default();
    for index in 0..evidence.callers.len() {
        match outcome(evidence, conversations, index) {
            Outcome::Served => ended.served += 1,
            Outcome::Left => ended.abandoned += 1,
            Outcome::Lost => ended.lost += 1,
            Outcome::Talking | Outcome::Waiting | Outcome::Refused => {}
        }
    }
    ended
}

/// The counts that the cluster's history gives: `contacts` are the ended ones, each asked for by its
/// id. An id that comes twice with two endings is a problem by itself.
#[must_use]
pub fn counted(contacts: &[api::Contact]) -> (Ended, Vec<Problem>) {
    let mut by_id: BTreeMap<&str, &api::Contact> = BTreeMap::new();
    let mut problems = Vec::new();
    for contact in contacts.iter().filter(|contact| contact.state == "ended") {
        let before = by_id.insert(&contact.id, contact);
        if before.is_some_and(|before| facts(before) != facts(contact)) {
            problems.push(Problem::ContactEndedTwice { contact: contact.id.clone() });
        }
    }
    let mut ended = Ended::default();
    for contact in by_id.into_values() {
        match (contact.agent.is_empty(), contact.end_reason.as_str()) {
            (false, "caller-hung-up" | "agent-hung-up") => ended.served += 1,
            (true, "abandoned" | "caller-hung-up") => ended.abandoned += 1,
            (false, "caller-gone") => ended.gone_talking += 1,
            (true, "caller-gone") => ended.gone_waiting += 1,
            (_, "turned-away") => ended.turned_away += 1,
            (true, "failed") => {
                ended.lost += 1;
                ended.unanswered += 1;
            }
            _ => ended.lost += 1,
        }
    }
    (ended, problems)
}

fn facts(contact: &api::Contact) -> (&str, &str, u64, u64) {
    (&contact.end_reason, &contact.agent, contact.waited_ms, contact.talked_ms)
}

/// Where the cluster's counts are not the phones'. Every call must be over when it is asked.
///
/// Whose phone did not know the call any more when a taker asked may have hung up while their node
/// was dead, which nobody could hear: such an end is true for either. Without a fault nobody is
/// excused.
#[must_use]
pub fn wrong_counts(
    evidence: &Evidence,
    conversations: &[Conversation],
    contacts: &[api::Contact],
) -> Vec<Problem> {
    let (said, mut problems) = counted(contacts);
    let truth = truth(evidence, conversations);
    let (talking, waiting) = match evidence.faults.is_empty() {
        true => (0, 0),
        false => (said.gone_talking, said.gone_waiting),
    };
    // Who was sent on to the next node may have been taken in by the log all the same, too late to be
    // answered: their first try is a contact that nobody lost.
    let tries = if evidence.faults.is_empty() { 0 } else { tries_sent_on(evidence).count() as u64 };
    let sent_on = said.unanswered.min(tries.saturating_sub(said.turned_away));
    if said.turned_away > tries {
        problems.push(Problem::WrongFigure {
            what: "turned away".to_owned(),
            at_us: evidence.ended_us,
            said: said.turned_away,
            least: 0,
            most: tries,
        });
    }
    let lost_at_most = said.lost + said.gone_talking + said.gone_waiting;
    // (what, surely so, so at most, the phones' count)
    let figures = [
        ("served", said.served, said.served + talking, truth.served),
        ("abandoned", said.abandoned, said.abandoned + waiting, truth.abandoned),
        ("lost", said.lost - sent_on, lost_at_most, truth.lost),
    ];
    for (what, surely, at_most, truth) in figures {
        if truth < surely || truth > at_most {
            problems.push(Problem::WrongFigure {
                what: what.to_owned(),
                at_us: evidence.ended_us,
                said: if truth < surely { surely } else { at_most },
                least: truth,
                most: truth,
            });
        }
    }
    // The node that sent a try on may have lost its life before it told the log: whoever took the leg over
    // found a phone that knows no such call.
    let untold = waiting.min(tries.saturating_sub(said.turned_away + sent_on));
    // What is open one way or the other must still add up.
    let (counted, calls) = (said.all(), truth.all());
    if problems.is_empty() && !(calls..=calls + sent_on + untold).contains(&counted) {
        problems.push(Problem::WrongFigure {
            what: "ended contacts".to_owned(),
            at_us: evidence.ended_us,
            said: counted,
            least: calls,
            most: calls,
        });
    }
    problems
}

/// Tries of callers that a node gave up, so that their carrier went on to the next: whose, and when.
fn tries_sent_on(evidence: &Evidence) -> impl Iterator<Item = (&CallerLeg, RunTime)> {
    let sent_on = |outcome: &str| matches!(outcome, "503" | "timeout" | "transport");
    evidence.callers.iter().flat_map(move |caller| {
        let tries = caller.report.attempts.iter();
        tries
            .filter(move |attempt| attempt.outcome.as_deref().is_some_and(sent_on))
            .map(move |attempt| (caller, attempt.at_us))
    })
}

#[cfg(test)]
mod tests {
    use tandem_phone::Attempt;

    use super::super::{conversations, fixture::Run};
    use super::*;

    /// One who waits from 1.1 s and talks from 3 s to 5 s, one who waits from 2.1 s and leaves at 9 s.
    fn run() -> Run {
        let mut run = Run::default();
        let talker = run.caller("sales", 1_000, 5_000);
        run.caller("sales", 2_000, 9_000);
        run.talk(talker, "ann", 2_000, 3_000, 5_000);
        run
    }

    fn wrong(at_ms: u64, waiting: u64, talking: u64, travels_ms: u64) -> usize {
        let run = run();
        let at = RunTime::from_ms(at_ms);
        let sample = Sample { asked_us: at, answered_us: at, waiting, talking };
        let conversations = conversations(&run.evidence);
        wrong_samples(&run.evidence, &conversations, &[sample], travels_ms).len()
    }

    // Goal: the truth passes, one more or one less of either figure does not.
    #[test]
    fn figures_are_compared() {
        for (waiting, talking, found) in
            [(1, 1, 0), (0, 1, 1), (2, 1, 1), (1, 0, 1), (1, 2, 1), (2, 0, 2)]
        {
            assert_eq!(wrong(4_000, waiting, talking, 100), found, "{waiting} {talking}");
        }
        assert_eq!(wrong(500, 0, 0, 100), 0, "before the first");
        assert_eq!(wrong(500, 1, 0, 100), 1);
    }

    // Goal: near a change both figures are true, further away only one.
    #[test]
    fn news_travels() {
        assert_eq!(wrong(2_900, 2, 0, 100), 0, "not yet");
        assert_eq!(wrong(3_100, 2, 0, 100), 0, "not known yet");
        assert_eq!(wrong(3_101, 2, 0, 100), 2, "should be known");
    }

    // Goal: a try that was sent on may show as one who waits, from then on, and only one.
    #[test]
    fn who_was_sent_on_may_show() {
        let mut run = run();
        let caller = &mut run.evidence.callers[1];
        let node = "127.0.1.1:5060".parse().unwrap();
        let outcome = Some("503".to_owned());
        caller.report.attempts.insert(0, Attempt { at_us: RunTime::from_ms(3_900), node, outcome });
        run.fault(crate::faults::FaultKind::KillNode, 1, 3_000);
        let conversations = conversations(&run.evidence);
        for (left_ms, at_ms, waiting, found) in [
            (4_400, 3_700, 2, 1),
            (4_400, 4_000, 1, 0),
            (4_400, 4_000, 2, 0),
            (4_400, 4_000, 3, 1),
            (4_399, 4_000, 2, 1),
        ] {
            run.evidence.callers[1].report.attempts[1].at_us = RunTime::from_ms(left_ms);
            let at = RunTime::from_ms(at_ms);
            let sample = Sample { asked_us: at, answered_us: at, waiting, talking: 1 };
            let wrong = wrong_samples(&run.evidence, &conversations, &[sample], 100);
            assert_eq!(wrong.len(), found, "{left_ms} {at_ms} {waiting}");
        }
    }

    fn contact(id: &str, agent: &str, end_reason: &str) -> api::Contact {
        api::Contact {
            id: id.to_owned(),
            state: "ended".to_owned(),
            agent: agent.to_owned(),
            end_reason: end_reason.to_owned(),
            ..api::Contact::default()
        }
    }

    fn miscounts(contacts: &[api::Contact]) -> usize {
        miscounts_of(&run(), contacts)
    }

    fn miscounts_of(run: &Run, contacts: &[api::Contact]) -> usize {
        wrong_counts(&run.evidence, &conversations(&run.evidence), contacts).len()
    }

    // Goal: one contact per call with its end passes, also when it was asked for twice; one missing,
    // one too many, one with another end, and one id with two endings are found.
    #[test]
    fn counts_are_compared() {
        let (served, left) = (contact("1", "ann", "agent-hung-up"), contact("2", "", "abandoned"));
        let rows: [(&[api::Contact], usize); 6] = [
            (&[served.clone(), left.clone()], 0),
            (&[served.clone(), left.clone(), left.clone()], 0),
            (std::slice::from_ref(&served), 1),
            (&[served.clone(), left.clone(), contact("3", "", "abandoned")], 1),
            (&[served.clone(), contact("2", "", "caller-leg-lost")], 2),
            (&[served.clone(), left, contact("2", "bob", "agent-hung-up")], 3),
        ];
        for (contacts, found) in rows {
            assert_eq!(miscounts(contacts), found, "{contacts:?}");
        }
    }

    // Goal: after a fault, "gone" is true for one who was served or left; never for two, never for one of
    // the other kind, and not without a fault.
    #[test]
    fn gone_is_either() {
        let (served, left) = (contact("1", "ann", "agent-hung-up"), contact("2", "", "abandoned"));
        let (talked, waited) =
            (contact("1", "ann", "caller-gone"), contact("2", "", "caller-gone"));
        let rows: [(&[api::Contact], usize, usize); 5] = [
            (&[talked.clone(), left.clone()], 0, 1),
            (&[served.clone(), waited.clone()], 0, 1),
            (&[talked, waited], 0, 2),
            (&[served.clone(), left, contact("3", "", "caller-gone")], 1, 1),
            (&[served, contact("2", "ann", "caller-gone")], 1, 1),
        ];
        for (contacts, after_a_fault, without) in rows {
            let mut run = run();
            assert_eq!(miscounts_of(&run, contacts), without, "without: {contacts:?}");
            run.fault(crate::faults::FaultKind::KillNode, 1, 4_000);
            assert_eq!(miscounts_of(&run, contacts), after_a_fault, "{contacts:?}");
        }
    }

    // Goal: after a fault, a contact that was taken in and never answered is excused once for each try
    // that was sent on to another node; any other end is not.
    #[test]
    fn who_was_sent_on_may_be_counted_twice() {
        let (served, left) = (contact("1", "ann", "agent-hung-up"), contact("2", "", "abandoned"));
        let late = |id| contact(id, "", "failed");
        let away = |id, agent| contact(id, agent, "turned-away");
        let gone = |id| contact(id, "", "caller-gone");
        let rows: [(&[api::Contact], u64, usize); 12] = [
            (&[served.clone(), left.clone(), gone("3")], 1, 0),
            (&[served.clone(), left.clone(), gone("3")], 0, 1),
            (&[served.clone(), left.clone(), gone("3"), away("4", "")], 1, 1),
            (&[served.clone(), left.clone(), away("3", "")], 1, 0),
            (&[served.clone(), left.clone(), away("3", "bob")], 1, 0),
            (&[served.clone(), left.clone(), away("3", "")], 0, 1),
            (&[served.clone(), left.clone(), away("3", ""), late("4")], 1, 1),
            (&[served.clone(), left.clone(), late("3")], 1, 0),
            (&[served.clone(), left.clone(), late("3")], 0, 1),
            (&[served.clone(), left.clone(), late("3"), late("4")], 1, 1),
            (&[served.clone(), left, contact("3", "", "caller-leg-lost")], 1, 1),
            (&[served, late("3")], 1, 1),
        ];
        for (contacts, sent_on, found) in rows {
            let mut run = run();
            for _ in 0..sent_on {
                let caller = &mut run.evidence.callers[0];
                let (at_us, node) = (caller.report.started_us, "127.0.1.1:5060".parse().unwrap());
                let outcome = Some("503".to_owned());
                caller.report.attempts.push(Attempt { at_us, node, outcome });
            }
            let without = miscounts_of(&run, contacts);
            assert!(without > 0, "without a fault: {contacts:?}");
            run.fault(crate::faults::FaultKind::KillNode, 1, 4_000);
            assert_eq!(miscounts_of(&run, contacts), found, "{sent_on} {contacts:?}");
        }
    }

    // Goal: contacts that live are not counted as ended, and a status becomes a sample in which who
    // is being offered still waits.
    #[test]
    fn readings() {
        let live = api::Contact { state: "queued".to_owned(), ..contact("9", "", "") };
        assert_eq!(counted(&[live]).0, Ended::default());
        let totals = api::QueueTotals {
            waiting: 3,
            offered: 2,
            connected: 4,
            ..api::QueueTotals::default()
        };
        let status = api::StatusReply { totals: Some(totals), ..api::StatusReply::default() };
        let sample = Sample::of(&status, RunTime::START, RunTime::START).unwrap();
        assert_eq!((sample.waiting, sample.talking), (5, 4));
    }
}

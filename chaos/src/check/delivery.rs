//! Delivered exactly once, beyond what [`super::exclusive`] sees: one offer brings one caller, and
//! a person who was served is not served again.

use std::collections::BTreeMap;

use super::{
    Conversation, Evidence, Problem,
    kept::{Outcome, outcome},
};

/// Agents who met two callers in one call: two conversations were joined, or a leg was given away.
#[must_use]
pub fn legs_with_two_callers(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Problem> {
    let mut by_leg: BTreeMap<usize, Vec<&Conversation>> = BTreeMap::new();
    for conversation in conversations {
        by_leg.entry(conversation.leg).or_default().push(conversation);
    }
    let name = |it: &Conversation| {
        evidence.callers.get(it.caller).map(|it| it.report.phone.clone()).unwrap_or_default()
    };
    let mut problems = Vec::new();
    for (leg, met) in by_leg {
        let agent = evidence.legs.get(leg).map(|leg| leg.agent.clone()).unwrap_or_default();
        for pair in met.windows(2) {
            let [one, other] = pair else { continue };
            problems.push(Problem::LegWithTwoCallers {
                agent: agent.clone(),
                callers: [name(one), name(other)],
                at_us: other.from_us,
            });
        }
    }
    problems
}

/// Persons whose second call was served although the first had been: a place that should have been
/// gone was given again. Calling again after a loss, a refusal or without having waited is no fault.
#[must_use]
pub fn served_twice(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Problem> {
    let mut calls: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, caller) in evidence.callers.iter().enumerate() {
        calls.entry(caller.person.as_str()).or_default().push(index);
    }
    let mut problems = Vec::new();
    for mut own in calls.into_values() {
        own.sort_by_key(|index| evidence.callers.get(*index).map(|it| it.report.started_us));
        let served = own.into_iter().filter(|index| {
            matches!(outcome(evidence, conversations, *index), Outcome::Served | Outcome::Talking)
        });
        let served: Vec<usize> = served.collect();
        for pair in served.windows(2) {
            let [Some(one), Some(other)] = [pair.first(), pair.last()]
                .map(|index| index.and_then(|index| evidence.callers.get(*index)))
            else {
                continue;
            };
            problems.push(Problem::ServedTwice {
                calls: [one.report.phone.clone(), other.report.phone.clone()],
                at_us: other.report.started_us,
            });
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::{conversations, fixture::Run};
    use super::*;

    fn crossed(run: &Run) -> usize {
        legs_with_two_callers(&run.evidence, &conversations(&run.evidence)).len()
    }

    fn twice(run: &Run) -> usize {
        served_twice(&run.evidence, &conversations(&run.evidence)).len()
    }

    // Goal: two callers with one agent, one after the other, are fine in two calls of the agent; the
    // voice of the second in the first call is found.
    #[test]
    fn one_offer_brings_one_caller() {
        let mut run = Run::default();
        let (a, b) = (run.caller("sales", 1_000, 5_000), run.caller("sales", 1_500, 9_000));
        let leg = run.talk(a, "ann", 2_000, 3_000, 5_000);
        let second = run.talk(b, "ann", 5_500, 6_000, 9_000);
        assert_eq!(crossed(&run), 0);
        let voice = run.evidence.legs[second].report.media.senders[0].clone();
        run.evidence.legs[leg].report.media.senders.push(voice);
        assert_eq!(crossed(&run), 1);
    }

    // Goal: a person may call again after a loss; who was served and is served again is found, two
    // persons are not.
    #[test]
    fn a_person_is_served_once() {
        let mut run = Run::default();
        let first = run.caller("sales", 1_000, 5_000);
        run.talk(first, "ann", 2_000, 3_000, 5_000);
        let second = run.caller("sales", 6_000, 9_000);
        run.talk(second, "bob", 7_000, 8_000, 9_000);
        assert_eq!(twice(&run), 0, "two persons");
        run.evidence.callers[second].person = run.evidence.callers[first].person.clone();
        assert_eq!(twice(&run), 1);
        run.breaks(first, 5_000);
        assert_eq!(twice(&run), 0, "the first call broke");
    }
}

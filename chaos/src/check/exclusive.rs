//! One caller, one agent, and the right one.

use serde::Serialize;
use tandem_phone::RunTime;

use super::{AgentLeg, Conversation, Evidence, Problem, evidence::taken_over_us};
use crate::faults::FaultKind;

/// How long a word takes to be carried out, milliseconds.
const TRAVELS_MS: u64 = 200;
/// So long after a fault an answer may find that its node has nobody to tell, milliseconds.
const IN_VAIN_MS: u64 = 10_000;

/// A caller who was given to a second agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Again {
    /// Who, to whom, and how.
    pub problem: Problem,
    /// Why it could happen.
    pub cause: Cause,
}

/// Why a caller was given to a second agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing explains it.
    Unexplained,
    /// The first agent hung up in the moment in which the node of that leg was dead and no other
    /// had taken it over: nobody could hear it, and the caller was still there.
    FirstHungUpUnheard,
}

/// Callers who were given to two agents, one after the other or at once.
#[must_use]
pub fn delivered_again(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Again> {
    let mut found = Vec::new();
    for (index, caller) in evidence.callers.iter().enumerate() {
        let own: Vec<&Conversation> =
            conversations.iter().filter(|conversation| conversation.caller == index).collect();
        for (nth, one) in own.iter().enumerate() {
            for other in own.iter().skip(nth + 1) {
                let name = |it: &Conversation| {
                    evidence.legs.get(it.leg).map(|leg| leg.agent.clone()).unwrap_or_default()
                };
                let caller = caller.report.phone.clone();
                let agents = [name(one), name(other)];
                let at_us = other.from_us;
                found.push(if other.from_us < one.to_us {
                    let problem = Problem::TwoAgentsAtOnce { caller, agents, at_us };
                    Again { problem, cause: Cause::Unexplained }
                } else {
                    let problem = Problem::DeliveredTwice { caller, agents, at_us };
                    let first = evidence.legs.get(one.leg);
                    let unheard = first.is_some_and(|leg| hung_up_unheard(evidence, leg));
                    let cause =
                        if unheard { Cause::FirstHungUpUnheard } else { Cause::Unexplained };
                    Again { problem, cause }
                });
            }
        }
    }
    found
}

/// The agent let go between the loss of the leg's node and its takeover.
fn hung_up_unheard(evidence: &Evidence, leg: &AgentLeg) -> bool {
    let Some(let_go) = leg.let_go_us() else { return false };
    let mut lost = evidence.faults.iter().filter(|fault| fault.kind.loses_node());
    lost.any(|fault| {
        let taken = taken_over_us(&leg.report, fault.sip, fault.made_us);
        leg.owner(fault.made_us) == fault.sip
            // What was sent just before the kill may not have been carried out either.
            && let_go.plus_ms(TRAVELS_MS) >= fault.made_us
            && leg.report.answered_us.is_some_and(|answered| answered <= fault.made_us)
            && taken.is_none()
            && fault.seen_us.is_none_or(|seen| let_go <= seen.plus_ms(TRAVELS_MS))
    })
}

/// Agents who had answered one call and answered another before the first was over.
///
/// An answer that its node could tell nobody, before it lost the leg, is no call: the agent hears nobody
/// there, and whoever has the leg now cannot know of it.
#[must_use]
pub fn agents_with_two_calls(evidence: &Evidence) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (index, one) in evidence.legs.iter().enumerate() {
        for other in evidence.legs.iter().skip(index + 1) {
            if one.agent != other.agent {
                continue;
            }
            let is_first = one.report.answered_us <= other.report.answered_us;
            let first = if is_first { one } else { other };
            if let Some(at_us) = overlap(one, other).filter(|_| !answered_in_vain(evidence, first))
            {
                problems.push(Problem::AgentWithTwoCalls { agent: one.agent.clone(), at_us });
            }
        }
    }
    problems
}

/// Answered while a fault of nodes or links worked, and nobody was ever heard.
fn answered_in_vain(evidence: &Evidence, leg: &AgentLeg) -> bool {
    let Some(answered) = leg.report.answered_us else { return false };
    let mut made = evidence.faults.iter().filter(|fault| {
        let cuts = matches!(fault.kind, FaultKind::CutLink | FaultKind::Impair);
        cuts || fault.kind.loses_node()
    });
    leg.report.media.senders.is_empty()
        && made.any(|fault| {
            let worked_by = fault.made_us <= answered.plus_ms(TRAVELS_MS);
            worked_by && answered <= fault.made_us.plus_ms(IN_VAIN_MS)
        })
}

/// When both were answered and neither was over.
fn overlap(one: &AgentLeg, other: &AgentLeg) -> Option<RunTime> {
    let (one, other) = (&one.report, &other.report);
    let at = one.answered_us?.max(other.answered_us?);
    let open = |ended: Option<RunTime>| ended.is_none_or(|ended| ended > at);
    (open(one.ended_us) && open(other.ended_us)).then_some(at)
}

/// Callers who reached an agent that does not meet the requirement.
#[must_use]
pub fn skill_mismatches(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Problem> {
    let wrong = conversations.iter().filter_map(|conversation| {
        let caller = evidence.callers.get(conversation.caller)?;
        let leg = evidence.legs.get(conversation.leg)?;
        let meets =
            evidence.agent(&leg.agent).is_some_and(|agent| agent.lines.contains(&caller.line));
        (!meets).then(|| Problem::SkillMismatch {
            caller: caller.report.phone.clone(),
            line: caller.line.clone(),
            agent: leg.agent.clone(),
        })
    });
    wrong.collect()
}

#[cfg(test)]
mod tests {
    use super::super::{conversations, fixture::Run};
    use super::*;

    fn twice(run: &Run) -> Vec<Problem> {
        let again = delivered_again(&run.evidence, &conversations(&run.evidence));
        let unexplained = again.into_iter().filter(|it| it.cause == Cause::Unexplained);
        unexplained.map(|it| it.problem).collect()
    }

    // Goal: an agent who hangs up while the node of that leg is dead explains a second delivery;
    // before the loss, after the takeover, or on another node's leg it does not.
    #[test]
    fn hanging_up_unheard_explains() {
        let second = |let_go_ms: u64, site: u8, taken: Option<u64>| {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 19_000);
            let leg = run.talk(caller, "ann", 2_000, 3_000, let_go_ms);
            run.talk(caller, "bob", 8_000, 9_000, 19_000);
            run.fault(crate::faults::FaultKind::KillSite, site, 5_000);
            run.evidence.faults[0].seen_us = Some(RunTime::from_ms(6_100));
            if let Some(at_ms) = taken {
                run.reinvite_agent(leg, 1, at_ms);
            }
            twice(&run).len()
        };
        assert_eq!(second(5_500, 0, None), 0);
        assert_eq!(second(4_799, 0, None), 1, "long before");
        assert_eq!(second(6_301, 0, None), 1, "long after");
        assert_eq!(second(5_500, 1, None), 1, "another node's");
        assert_eq!(second(5_500, 0, Some(5_400)), 1, "taken over");
    }

    // Goal: one agent is fine; a second one after the first, and one while the first still talks,
    // are found and told apart.
    #[test]
    fn a_second_agent_is_found() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        run.talk(caller, "ann", 2_000, 3_000, 5_000);
        assert_eq!(twice(&run), []);
        run.talk(caller, "bob", 5_100, 5_200, 9_000);
        assert!(matches!(twice(&run)[..], [Problem::DeliveredTwice { .. }]), "{:?}", twice(&run));
        run.talk(caller, "cat", 3_900, 4_000, 4_500);
        assert!(twice(&run).iter().any(|it| matches!(it, Problem::TwoAgentsAtOnce { .. })));
    }

    // Goal: calls of one agent one after the other are fine, also when the second rings before the
    // first is over; answered before that, they are found.
    #[test]
    fn two_calls_of_one_agent_are_found() {
        for (answered_ms, found) in [(5_000, 0), (4_999, 1)] {
            let mut run = Run::default();
            let (a, b) = (run.caller("sales", 1_000, 9_000), run.caller("sales", 1_500, 9_000));
            run.talk(a, "ann", 2_000, 3_000, 5_000);
            run.talk(b, "ann", 4_000, answered_ms, 9_000);
            assert_eq!(agents_with_two_calls(&run.evidence).len(), found, "{answered_ms}");
        }
    }

    // Goal: a call that the agent answered near a fault and in which nobody was heard does not count; one
    // in which somebody was, or long after, or before any fault, does.
    #[test]
    fn an_answer_in_vain_is_no_call() {
        for (fault_ms, is_heard, found) in [
            (2_900, false, 0),
            (3_200, false, 0),
            (3_201, false, 1),
            (2_900, true, 1),
            (100, false, 0),
        ] {
            let mut run = Run::default();
            let one = run.caller("sales", 1_000, 9_000);
            let other = run.caller("sales", 1_100, 9_000);
            let first = run.talk(one, "ann", 2_000, 3_000, 8_000);
            run.talk(other, "ann", 4_000, 5_000, 9_000);
            if !is_heard {
                run.evidence.legs[first].report.media.senders.clear();
            }
            run.fault(FaultKind::CutLink, 2, fault_ms);
            assert_eq!(agents_with_two_calls(&run.evidence).len(), found, "{fault_ms} {is_heard}");
            run.fault(FaultKind::DrainSite, 2, 3_000);
            assert_eq!(agents_with_two_calls(&run.evidence).len(), found, "it cuts nobody off");
            run.evidence.faults.clear();
            assert_eq!(agents_with_two_calls(&run.evidence).len(), 1, "without a fault");
        }
    }

    // Goal: an agent without the line's skill, and one whom nobody knows, are found.
    #[test]
    fn wrong_agents_are_found() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        run.talk(caller, "ann", 2_000, 3_000, 5_000);
        let found =
            |run: &Run| skill_mismatches(&run.evidence, &conversations(&run.evidence)).len();
        assert_eq!(found(&run), 0);
        run.evidence.callers[caller].line = "support".to_owned();
        assert_eq!(found(&run), 1);
        run.evidence.callers[caller].line = "sales".to_owned();
        run.evidence.agents.clear();
        assert_eq!(found(&run), 1);
    }
}

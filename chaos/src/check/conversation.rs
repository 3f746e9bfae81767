//! Who talked with whom: joined by the audio that each side heard, not by what the cluster says.

use std::collections::BTreeSet;

use serde::Serialize;
use tandem_phone::{RunTime, SenderTag};

use super::{Evidence, Problem, evidence::earliest};

/// Answered agents and their callers hear each other within this time, milliseconds: an entry of the log,
/// and packets.
const LATE_MS: u64 = 1_000;
/// The same where the entry may wait for another leader, or the audio for another relay.
const LATE_NEAR_FAULT_MS: u64 = 5_000;
/// So long after a fault, milliseconds.
const NEAR_FAULT_MS: u64 = 15_000;

/// One caller and one agent who heard each other (or one of them the other).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Conversation {
    /// Index into [`Evidence::callers`].
    pub caller: usize,
    /// Index into [`Evidence::legs`].
    pub leg: usize,
    /// First moment at which either heard the other.
    pub from_us: RunTime,
    /// Last moment.
    pub to_us: RunTime,
    /// Who heard whom.
    pub heard: HeardBy,
}

/// Who of the two heard the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeardBy {
    /// Each the other.
    Both,
    /// Only the caller heard the agent.
    CallerOnly,
    /// Only the agent heard the caller.
    AgentOnly,
}

/// All conversations, in the order of their beginning.
#[must_use]
pub fn conversations(evidence: &Evidence) -> Vec<Conversation> {
    let mut found: Vec<Conversation> = Vec::new();
    for (caller, one) in evidence.callers.iter().enumerate() {
        for (leg, other) in evidence.legs.iter().enumerate() {
            let by_caller = one.report.media.sender(other.report.sender_tag);
            let by_agent = other.report.media.sender(one.report.sender_tag);
            let heard = match (by_caller, by_agent) {
                (Some(_), Some(_)) => HeardBy::Both,
                (Some(_), None) => HeardBy::CallerOnly,
                (None, Some(_)) => HeardBy::AgentOnly,
                (None, None) => continue,
            };
            let from = earliest(by_caller.map(|s| s.first_us), by_agent.map(|s| s.first_us));
            let to = by_caller.map(|s| s.last_us).max(by_agent.map(|s| s.last_us));
            if let (Some(from_us), Some(to_us)) = (from, to) {
                found.push(Conversation { caller, leg, from_us, to_us, heard });
            }
        }
    }
    found.sort_by_key(|conversation| conversation.from_us);
    found
}

/// The first conversation of a caller's call.
#[must_use]
pub fn first_of(conversations: &[Conversation], caller: usize) -> Option<&Conversation> {
    conversations.iter().find(|conversation| conversation.caller == caller)
}

/// Conversations that one side did not hear at all although they lasted a second or more.
#[must_use]
pub fn one_way(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Problem> {
    const LASTED_MS_MIN: u64 = 1_000;
    let deaf = conversations.iter().filter(|conversation| {
        conversation.heard != HeardBy::Both
            && conversation.to_us.ms_since(conversation.from_us) >= LASTED_MS_MIN
    });
    deaf.filter_map(|conversation| {
        Some(Problem::HeardOneWay {
            caller: evidence.callers.get(conversation.caller)?.report.phone.clone(),
            agent: evidence.legs.get(conversation.leg)?.agent.clone(),
            heard: conversation.heard,
        })
    })
    .collect()
}

/// Conversations whose sides heard each other too late after the agent's answer, or after the last fault or
/// its end: until then music or
/// silence is played, so that no pause shows it.
#[must_use]
pub fn late(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Problem> {
    let late = conversations.iter().filter_map(|conversation| {
        let caller = evidence.callers.get(conversation.caller)?;
        let leg = evidence.legs.get(conversation.leg)?;
        let answered = leg.report.answered_us?;
        let by_caller = caller.report.media.sender(leg.report.sender_tag);
        let by_agent = leg.report.media.sender(caller.report.sender_tag);
        let heard = by_caller.map(|s| s.first_us).max(by_agent.map(|s| s.first_us))?;
        let is_near = |at: RunTime| heard >= at && answered <= at.plus_ms(NEAR_FAULT_MS);
        let near: Vec<RunTime> =
            evidence.faults.iter().map(|fault| fault.made_us).filter(|at| is_near(*at)).collect();
        // Who is cut off hears nobody before the end of that: its end begins the time anew.
        let since = near.iter().copied().fold(answered, RunTime::max);
        let after_ms = heard.ms_since(since);
        let after_ms_max = if near.is_empty() { LATE_MS } else { LATE_NEAR_FAULT_MS };
        (after_ms > after_ms_max).then(|| Problem::LateVoice {
            caller: caller.report.phone.clone(),
            agent: leg.agent.clone(),
            after_ms,
            after_ms_max,
        })
    });
    late.collect()
}

/// Voices that nobody should have heard: callers hear agents only, agents hear callers only.
#[must_use]
pub fn strangers(evidence: &Evidence) -> Vec<Problem> {
    let callers: BTreeSet<SenderTag> =
        evidence.callers.iter().map(|caller| caller.report.sender_tag).collect();
    let agents: BTreeSet<SenderTag> =
        evidence.legs.iter().map(|leg| leg.report.sender_tag).collect();
    let by_callers = evidence.callers.iter().map(|caller| (&caller.report, &agents));
    let by_agents = evidence.legs.iter().map(|leg| (&leg.report, &callers));
    let mut problems = Vec::new();
    for (report, others) in by_callers.chain(by_agents) {
        let strange = report.media.senders.iter().filter(|sender| !others.contains(&sender.tag));
        problems.extend(strange.map(|sender| Problem::Stranger {
            who: report.phone.clone(),
            voice: sender.label.clone(),
            at_us: sender.first_us,
        }));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Run;
    use super::*;
    use crate::faults::FaultKind;

    // Goal: who hears the other side late is found, whichever side it is; near a fault later than else.
    #[test]
    fn late_voices() {
        for (after_ms, fault_ms, found) in [
            (1_000, None, 0),
            (1_001, None, 1),
            (1_001, Some(2_500), 0),
            (5_001, Some(2_500), 1),
            (5_000, Some(2_500), 0),
            (8_000, Some(6_000), 0),
            (8_001, Some(6_000), 1),
        ] {
            for side in 0..2 {
                let mut run = Run::default();
                let caller = run.caller("sales", 1_000, 20_000);
                let leg = run.talk(caller, "ann", 2_000, 3_000, 15_000);
                let report = match side {
                    0 => &mut run.evidence.callers[caller].report,
                    _ => &mut run.evidence.legs[leg].report,
                };
                report.media.senders[0].first_us = RunTime::from_ms(3_000 + after_ms);
                if let Some(at) = fault_ms {
                    run.fault(FaultKind::KillNode, 1, at);
                }
                let late = late(&run.evidence, &conversations(&run.evidence));
                assert_eq!(late.len(), found, "{after_ms} {fault_ms:?} {side}");
            }
        }
    }

    fn deaf(run: &Run) -> Vec<Problem> {
        one_way(&run.evidence, &conversations(&run.evidence))
    }

    // Goal: a caller who hears another caller, an agent who hears another agent, and a voice whose
    // call nobody recorded are found.
    #[test]
    fn strangers_are_found() {
        let mut run = Run::default();
        let (a, b) = (run.caller("sales", 1_000, 9_000), run.caller("sales", 1_500, 9_000));
        run.talk(a, "ann", 2_000, 3_000, 9_000);
        run.talk(b, "bob", 2_000, 3_000, 9_000);
        assert_eq!(strangers(&run.evidence), []);
        let tag = |report: &tandem_phone::CallReport| report.sender_tag;
        let (caller, agent) =
            (tag(&run.evidence.callers[b].report), tag(&run.evidence.legs[1].report));
        run.evidence.callers[a].report.media.senders[0].tag = caller;
        assert_eq!(strangers(&run.evidence).len(), 1, "a caller hears a caller");
        run.evidence.legs[0].report.media.senders[0].tag = agent;
        assert_eq!(strangers(&run.evidence).len(), 2, "an agent hears an agent");
        run.evidence.legs[1].report.media.senders[0].tag = SenderTag(9);
        assert_eq!(strangers(&run.evidence).len(), 3, "nobody's");
    }

    // Goal: who hears nothing of the other for a second is found, on either side; a moment before
    // the other side joins is none; phones that never heard each other do not belong together.
    #[test]
    fn one_way_audio_is_found() {
        for (until_ms, found) in [(3_999, 0), (4_000, 1)] {
            for deaf_side in [HeardBy::CallerOnly, HeardBy::AgentOnly] {
                let mut run = Run::default();
                let caller = run.caller("sales", 1_000, 9_000);
                let leg = run.talk(caller, "ann", 2_000, 3_000, until_ms);
                assert_eq!(deaf(&run), []);
                if deaf_side == HeardBy::CallerOnly {
                    run.evidence.legs[leg].report.media.senders.clear();
                } else {
                    run.evidence.callers[caller].report.media.senders.clear();
                }
                assert_eq!(deaf(&run).len(), found, "{until_ms} {deaf_side:?}");
            }
        }
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        run.ring(caller, "ann", 2_000, 3_000);
        assert_eq!(conversations(&run.evidence), []);
    }
}

//! Who talked with whom: joined by the audio that each side heard, not by what the cluster says.

use std::collections::BTreeSet;

use serde::Serialize;
use tandem_phone::{RunTime, SenderTag};

use super::{Evidence, Problem, evidence::earliest};

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

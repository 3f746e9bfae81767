//! Nobody is lost: every caller who got a place talks with an agent or leaves by themselves.

use serde::Serialize;
use tandem_phone::{CallReport, EndCause, RunTime};

use super::{CallerLeg, Conversation, Evidence, Problem, conversation::first_of, is_open};

/// A side that is told of the other's end within this time was ended by it, milliseconds.
const END_TRAVELS_MS_MAX: u64 = 40_000;

/// How a caller's call went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Talked, and the caller or the agent hung up.
    Served,
    /// Talks still.
    Talking,
    /// Left by themselves without having talked.
    Left,
    /// Waits still.
    Waiting,
    /// No node gave a place: nothing was promised.
    Refused,
    /// Had a place, and the call was ended by neither of the two.
    Lost,
}

/// How a caller's call went, by what both sides experienced.
#[must_use]
pub fn outcome(evidence: &Evidence, conversations: &[Conversation], caller: usize) -> Outcome {
    let Some(leg) = evidence.callers.get(caller) else { return Outcome::Refused };
    let talked = first_of(conversations, caller).is_some();
    if is_open(&leg.report) {
        return match (talked, leg.promised_us()) {
            (true, _) => Outcome::Talking,
            (false, Some(_)) => Outcome::Waiting,
            (false, None) => Outcome::Refused,
        };
    }
    let by_choice = match leg.report.end {
        // Has hung up; the other side has not confirmed it yet.
        None => true,
        Some(EndCause::HungUpHere | EndCause::CancelledHere | EndCause::Vanished) => true,
        Some(EndCause::HungUpThere { .. }) => agent_hung_up(evidence, conversations, caller, leg),
        _ => false,
    };
    match (by_choice, talked, leg.promised_us()) {
        (true, true, _) => Outcome::Served,
        (true, false, _) => Outcome::Left,
        (false, _, Some(_)) => Outcome::Lost,
        (false, _, None) => Outcome::Refused,
    }
}

/// Callers who had a place and lost it, or still wait at the end of the watch.
#[must_use]
pub fn lost(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Problem> {
    let callers = evidence.callers.iter().enumerate();
    let problems = callers.filter_map(|(index, caller)| {
        let name = caller.report.phone.clone();
        match outcome(evidence, conversations, index) {
            Outcome::Lost => Some(Problem::CallerLost {
                caller: name,
                at_us: caller.report.ended_us?,
                end: format!("{:?}", caller.report.end.clone()?),
            }),
            Outcome::Waiting => Some(Problem::NeverServed {
                caller: name,
                waited_ms: evidence.ended_us.ms_since(caller.promised_us()?),
            }),
            _ => None,
        }
    });
    problems.collect()
}

/// Conversations in which the agent was cut off while the caller stayed.
#[must_use]
pub fn cut(evidence: &Evidence, conversations: &[Conversation]) -> Vec<Problem> {
    const MARGIN_MS: u64 = 2_000;
    let problems = conversations.iter().filter_map(|conversation| {
        let caller = evidence.callers.get(conversation.caller)?;
        let leg = evidence.legs.get(conversation.leg)?;
        let ended = leg.report.ended_us?;
        let own_choice = matches!(
            leg.report.end,
            Some(EndCause::HungUpHere | EndCause::Vanished | EndCause::WorldStopped)
        );
        let caller_left = caller.gone_us().is_some_and(|gone| gone <= ended.plus_ms(MARGIN_MS));
        (!own_choice && !caller_left).then(|| Problem::ConversationCut {
            caller: caller.report.phone.clone(),
            agent: leg.agent.clone(),
            at_us: ended,
        })
    });
    problems.collect()
}

/// The other side ended because an agent who talked with this caller hung up.
fn agent_hung_up(
    evidence: &Evidence,
    conversations: &[Conversation],
    caller: usize,
    leg: &CallerLeg,
) -> bool {
    let Some(ended) = leg.report.ended_us else { return false };
    let own = conversations.iter().filter(|conversation| conversation.caller == caller);
    let mut legs = own.filter_map(|conversation| evidence.legs.get(conversation.leg));
    legs.any(|other| hung_up_near(&other.report, ended))
}

fn hung_up_near(report: &CallReport, ended: RunTime) -> bool {
    if report.end != Some(EndCause::HungUpHere) {
        return false;
    }
    // A BYE to a dead node is confirmed late or never: what counts is when the agent let go.
    let let_go = report.media.last_audio_us.or(report.ended_us);
    let_go.is_some_and(|at| at <= ended.plus_ms(1_000) && ended.ms_since(at) <= END_TRAVELS_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::super::{conversations, fixture::Run};
    use super::*;

    fn judged(run: &Run, caller: usize) -> Outcome {
        outcome(&run.evidence, &conversations(&run.evidence), caller)
    }

    // Goal: each way in which a call can end gets its outcome, and only breaks are losses.
    #[test]
    fn outcomes() {
        let refused =
            || EndCause::RejectedThere { code: 503, phrase: String::new(), retry_after_s: None };
        let broken = [
            EndCause::HungUpThere { reason: None },
            EndCause::DialogLost { code: Some(481) },
            EndCause::CancelledThere { reason: None },
            EndCause::NoResponse,
            EndCause::TransportFailed,
            refused(),
        ];
        for end in broken {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 5_000);
            run.evidence.callers[caller].report.end = Some(end.clone());
            assert_eq!(judged(&run, caller), Outcome::Lost, "{end:?}");
            assert_eq!(lost(&run.evidence, &[]).len(), 1, "{end:?}");
        }
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 5_000);
        run.hang_up(caller, 5_000);
        assert_eq!(judged(&run, caller), Outcome::Left);
        run.evidence.callers[caller].report.ringing_us = None;
        run.evidence.callers[caller].report.answered_us = None;
        run.evidence.callers[caller].report.end = Some(refused());
        assert_eq!(judged(&run, caller), Outcome::Refused, "nothing was promised");
        assert_eq!(lost(&run.evidence, &[]), []);
    }

    // Goal: a caller who is hung up on is served when the agent did it, lost when nobody did.
    #[test]
    fn who_hung_up() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 5_000);
        let leg = run.talk(caller, "ann", 2_000, 3_000, 5_000);
        run.evidence.callers[caller].report.end = Some(EndCause::HungUpThere { reason: None });
        run.evidence.legs[leg].report.end = Some(EndCause::HungUpHere);
        assert_eq!(judged(&run, caller), Outcome::Served);
        run.evidence.legs[leg].report.end = Some(EndCause::HungUpThere { reason: None });
        assert_eq!(judged(&run, caller), Outcome::Lost);
    }

    // Goal: who still waits at the end was never served; who still talks was.
    #[test]
    fn the_end_of_the_watch() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 5_000);
        run.stays(caller);
        assert_eq!(judged(&run, caller), Outcome::Waiting);
        assert!(matches!(lost(&run.evidence, &[])[..], [Problem::NeverServed { .. }]));
        run.talk(caller, "ann", 2_000, 3_000, 5_000);
        assert_eq!(judged(&run, caller), Outcome::Talking);
    }

    // Goal: an agent cut off while the caller is there is found; one who is told of the caller's
    // end is not.
    #[test]
    fn cut_conversations() {
        for (caller_until, found) in [(5_000, 0), (7_000, 0), (7_001, 1)] {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            let leg = run.talk(caller, "ann", 2_000, 3_000, 5_000);
            run.evidence.legs[leg].report.end = Some(EndCause::HungUpThere { reason: None });
            run.hang_up(caller, caller_until);
            let cut = cut(&run.evidence, &conversations(&run.evidence));
            assert_eq!(cut.len(), found, "{caller_until}");
        }
    }
}

//! Ghost callers: an agent's phone that rings for somebody who is gone.

use tandem_phone::{EndCause, RunTime};

use super::{Allowances, CallerLeg, Evidence, Problem};

/// Phones that began to ring for a caller who had left (more than the time that news needs), went
/// on ringing for one, or were answered and heard nobody.
#[must_use]
pub fn ghosts(evidence: &Evidence, allowances: &Allowances) -> Vec<Problem> {
    let mut problems = Vec::new();
    for leg in &evidence.legs {
        let caller = leg
            .rings_for
            .and_then(|tag| evidence.callers.iter().find(|caller| caller.report.sender_tag == tag));
        let rang_until =
            leg.report.answered_us.or(leg.report.ended_us).unwrap_or(evidence.ended_us);
        let gone = caller.and_then(CallerLeg::gone_us);
        let late =
            |at: RunTime, grace_ms: u64| gone.is_some_and(|gone| at > gone.plus_ms(grace_ms));
        let is_ghost = late(leg.report.started_us, allowances.ghost_start_ms_max)
            || late(rang_until, allowances.ghost_ring_ms_max);
        if is_ghost {
            problems.push(Problem::GhostRing {
                agent: leg.agent.clone(),
                caller: caller.map(|caller| caller.report.phone.clone()),
                at_us: leg.report.started_us,
            });
        } else if let Some(answered) = leg.report.answered_us
            && leg.report.media.senders.is_empty()
            && stayed_ms(leg.report.ended_us, answered, evidence) > allowances.ghost_silence_ms_max
            && leg.report.end != Some(EndCause::WorldStopped)
        {
            problems.push(Problem::GhostRing {
                agent: leg.agent.clone(),
                caller: None,
                at_us: answered,
            });
        }
    }
    problems
}

fn stayed_ms(ended: Option<RunTime>, answered: RunTime, evidence: &Evidence) -> u64 {
    ended.unwrap_or(evidence.ended_us).ms_since(answered)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Run;
    use super::*;

    fn found(run: &Run) -> usize {
        ghosts(&run.evidence, &Allowances::default()).len()
    }

    // Goal: a phone may ring for a caller who leaves at that moment, but not for one who left long
    // before; and not for long.
    #[test]
    fn ringing_for_the_gone() {
        let allowances = Allowances::default();
        let (start, ring) = (allowances.ghost_start_ms_max, allowances.ghost_ring_ms_max);
        for (begins_ms, ends_ms, count) in [
            (3_500, 4_000 + ring, 0),
            (3_500, 4_001 + ring, 1),
            (4_000 + start, 4_100 + start, 0),
            (4_001 + start, 4_100 + start, 1),
        ] {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            run.hang_up(caller, 4_000);
            run.ring(caller, "ann", begins_ms, ends_ms);
            assert_eq!(found(&run), count, "{begins_ms} {ends_ms}");
        }
    }

    // Goal: an agent who answers and hears nobody met a ghost.
    #[test]
    fn answered_and_silent() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 19_000);
        let leg = run.talk(caller, "ann", 2_000, 3_000, 15_000);
        assert_eq!(found(&run), 0);
        run.evidence.legs[leg].report.media.senders.clear();
        assert_eq!(found(&run), 1);
    }
}

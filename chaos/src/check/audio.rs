//! What people heard: pauses, and packets that break the rules of RTP.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use tandem_phone::{CallReport, EndCause, Gap, GapKind, RunTime};

use super::{AgentLeg, Allowances, CallerLeg, Conversation, Evidence, Problem, evidence::earliest};
use crate::faults::Fault;

/// How long after a packet its source counts as in use.
const SOURCE_IN_USE_MS: u64 = 1_500;
/// The last packet of one who hangs up is so much older than the hanging up, at most: packets are
/// 20 ms apart.
const LAST_WORDS_MS: u64 = 100;
/// Pauses that begin this long after a fault can still be its consequence: takeover, re-INVITEs
/// in turn.
const CONSEQUENCE_MS: u64 = 15_000;

/// A pause that somebody heard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeardGap {
    /// Label of the phone.
    pub who: String,
    /// Begin.
    pub at_us: RunTime,
    /// Length without what the measuring process itself slept through, milliseconds.
    pub gap_ms: u64,
    /// The longest that may be, milliseconds.
    pub gap_ms_max: u64,
    /// Index of the fault that it follows; none for a pause out of the blue.
    pub fault: Option<usize>,
}

/// All pauses of all calls in the order of time, each with what is allowed there.
///
/// Music counts as much as a conversation. The wait for the first packet is none, nor is the
/// silence of one who has hung up, from then until the other side is told.
#[must_use]
pub fn gaps(
    evidence: &Evidence,
    conversations: &[Conversation],
    allowances: &Allowances,
) -> Vec<HeardGap> {
    let mut found = Vec::new();
    for (index, caller) in evidence.callers.iter().enumerate() {
        let others = |it: &Conversation| (it.caller == index).then_some(it.leg);
        let partners: Vec<End<'_>> = conversations
            .iter()
            .filter_map(others)
            .filter_map(|leg| evidence.legs.get(leg))
            .map(End::Agent)
            .collect();
        found.extend(gaps_of(End::Caller(caller), &partners, evidence, allowances));
    }
    for (index, leg) in evidence.legs.iter().enumerate() {
        let others = |it: &Conversation| (it.leg == index).then_some(it.caller);
        let partners: Vec<End<'_>> = conversations
            .iter()
            .filter_map(others)
            .filter_map(|caller| evidence.callers.get(caller))
            .map(End::Caller)
            .collect();
        found.extend(gaps_of(End::Agent(leg), &partners, evidence, allowances));
    }
    found.sort_by_key(|gap| gap.at_us);
    found
}

/// The pauses that are too long.
#[must_use]
pub fn too_long(gaps: &[HeardGap]) -> Vec<Problem> {
    let long = gaps.iter().filter(|gap| gap.gap_ms > gap.gap_ms_max);
    long.map(|gap| Problem::AudioGap {
        who: gap.who.clone(),
        at_us: gap.at_us,
        gap_ms: gap.gap_ms,
        gap_ms_max: gap.gap_ms_max,
    })
    .collect()
}

/// Sequence numbers that were used again or went back (invariant M1).
#[must_use]
pub fn sequence_faults(evidence: &Evidence) -> Vec<Problem> {
    let reports = evidence.callers.iter().map(|caller| &caller.report);
    let reports = reports.chain(evidence.legs.iter().map(|leg| &leg.report));
    reports
        .filter(|report| report.media.sequence_faults() > 0)
        .map(|report| Problem::SequenceFault {
            who: report.phone.clone(),
            packets: report.media.sequence_faults(),
        })
        .collect()
}

/// One side of a conversation.
#[derive(Clone, Copy)]
enum End<'a> {
    Caller(&'a CallerLeg),
    Agent(&'a AgentLeg),
}

impl<'a> End<'a> {
    const fn report(self) -> &'a CallReport {
        match self {
            Self::Caller(leg) => &leg.report,
            Self::Agent(leg) => &leg.report,
        }
    }

    fn owner(self, at: RunTime) -> Option<SocketAddr> {
        match self {
            Self::Caller(leg) => leg.owner(at),
            Self::Agent(leg) => Some(leg.owner(at)),
        }
    }
}

fn gaps_of<'a>(
    end: End<'a>,
    partners: &'a [End<'a>],
    evidence: &'a Evidence,
    allowances: &'a Allowances,
) -> impl Iterator<Item = HeardGap> + 'a {
    let report = end.report();
    let long = report.media.gaps.iter().filter(|gap| gap.honest_ms() > allowances.pause_ms_min);
    let heard = long.filter(move |gap| is_heard(report, partners, gap));
    heard.map(move |gap| {
        let mut faults = evidence.faults.iter().enumerate();
        // The last fault before the pause's end that can have caused it.
        let fault = faults.rfind(|(_, fault)| can_cause(fault, gap));
        let relay_lost = evidence.faults.iter().any(|fault| {
            fault.kind.loses_relay()
                && can_cause(fault, gap)
                && (uses(end, fault) || partners.iter().any(|partner| uses(*partner, fault)))
        });
        let gap_ms_max =
            if relay_lost { allowances.relay_loss_gap_ms_max } else { allowances.gap_ms_max };
        HeardGap {
            who: report.phone.clone(),
            at_us: gap.start_us,
            gap_ms: gap.honest_ms(),
            gap_ms_max,
            fault: fault.map(|(index, _)| index),
        }
    })
}

fn is_heard(report: &CallReport, partners: &[End<'_>], gap: &Gap) -> bool {
    match gap.kind {
        GapKind::AtStart => false,
        // What follows a partner's hanging up is theirs: until the other side is told, which takes
        // a takeover when its node is dead, it hears what its relay puts in the place of speech.
        GapKind::Between => !partners.iter().any(|partner| had_left(partner.report(), gap)),
        // Nothing ever came: an offer that was lost while its agent answered. `ghosts` looks at it.
        GapKind::AtEnd if report.media.first_audio_us.is_none() => false,
        GapKind::AtEnd => {
            let was_left = matches!(
                report.end,
                Some(EndCause::HungUpThere { .. } | EndCause::DialogLost { .. })
            );
            let partner_left =
                partners.iter().any(|partner| partner.report().end == Some(EndCause::HungUpHere));
            // A partner's silence after hanging up is theirs.
            !(was_left && partner_left)
        }
    }
}

/// True when a partner had hung up as the pause began.
fn had_left(partner: &CallReport, gap: &Gap) -> bool {
    let by_choice = matches!(partner.end, Some(EndCause::HungUpHere));
    let left = earliest(partner.media.last_audio_us, partner.ended_us);
    by_choice && left.is_some_and(|left| gap.start_us.plus_ms(LAST_WORDS_MS) >= left)
}

fn can_cause(fault: &Fault, gap: &Gap) -> bool {
    let end = gap.start_us.plus_us(gap.length_us);
    end >= fault.made_us && gap.start_us <= fault.made_us.plus_ms(CONSEQUENCE_MS)
}

/// True when the lost site's relay carried the audio of this side when it was lost.
fn uses(end: End<'_>, fault: &Fault) -> bool {
    let (relay, report): (IpAddr, _) = (fault.sip.ip(), end.report());
    // One who was just answered has not heard that relay yet, but speaks to it.
    let has_heard = report.media.first_audio_us.is_some_and(|first| first <= fault.made_us);
    if report.answered_us.is_some_and(|at| at <= fault.made_us) && !has_heard {
        return end.owner(fault.made_us).is_some_and(|node| node.ip() == relay);
    }
    report.media.sources.iter().any(|source| {
        source.address.ip() == relay
            && source.first_us <= fault.made_us
            && source.last_us.plus_ms(SOURCE_IN_USE_MS) >= fault.made_us
    })
}

#[cfg(test)]
mod tests {
    use super::super::{conversations, fixture::Run};
    use super::*;
    use crate::faults::FaultKind;

    fn judged(run: &Run) -> Vec<HeardGap> {
        gaps(&run.evidence, &conversations(&run.evidence), &Allowances::default())
    }

    // Goal: 60 ms is no pause; 200 ms is allowed, 201 is not; the measuring process's own sleep does not count.
    #[test]
    fn the_limit_and_own_stalls() {
        for (length_ms, listed) in [(60, 0), (61, 1)] {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            run.gap(caller, 4_000, length_ms, 0, GapKind::Between);
            assert_eq!(judged(&run).len(), listed, "{length_ms}");
        }
        for (length_ms, stall_ms, problems) in
            [(200, 0, 0), (201, 0, 1), (400, 200, 0), (400, 199, 1)]
        {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            run.gap(caller, 4_000, length_ms, stall_ms, GapKind::Between);
            assert_eq!(too_long(&judged(&run)).len(), problems, "{length_ms} {stall_ms}");
        }
    }

    // Goal: silence after the agent hung up is no pause; the same silence before that is one.
    #[test]
    fn silence_after_hanging_up() {
        for (at_ms, listed) in [(6_980, 0), (6_899, 1)] {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            run.talk(caller, "ann", 2_000, 3_000, 7_000);
            run.gap(caller, at_ms, 1_000, 0, GapKind::Between);
            assert_eq!(judged(&run).len(), listed, "{at_ms}");
        }
    }

    // Goal: after the loss of a relay only those who heard it may hear a longer pause, and their
    // partners; after the loss of a node nobody.
    #[test]
    fn who_may_hear_a_longer_pause() {
        let long = Allowances::default().relay_loss_gap_ms_max;
        for (kind, site, length_ms, problems) in [
            (FaultKind::KillSite, 0, long, 0),
            (FaultKind::KillSite, 0, long + 1, 1),
            (FaultKind::KillSite, 1, long, 1),
            (FaultKind::KillNode, 0, long, 1),
        ] {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            run.fault(kind, site, 4_100);
            run.gap(caller, 4_090, length_ms, 0, GapKind::Between);
            assert_eq!(too_long(&judged(&run)).len(), problems, "{kind:?} {site} {length_ms}");
        }
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        let leg = run.talk(caller, "ann", 2_000, 3_000, 9_000);
        run.fault(FaultKind::KillSite, 0, 4_100);
        run.agent_gap(leg, 4_090, long, 0, GapKind::Between);
        assert_eq!(too_long(&judged(&run)), [], "the caller's relay was lost");
    }

    // Goal: whose agent had just answered, and had heard nothing yet, lost that agent's relay as well;
    // an agent who was called by another site, or whose call another node had taken over, lost nothing.
    #[test]
    fn a_relay_lost_before_its_first_packet() {
        let long = Allowances::default().relay_loss_gap_ms_max;
        for (invited_by, taken_over, problems) in [(1, false, 0), (2, false, 1), (1, true, 1)] {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            let leg = run.talk(caller, "ann", 2_000, 4_090, 9_000);
            run.invited_by(leg, invited_by);
            run.evidence.legs[leg].report.media.first_audio_us = Some(RunTime::from_ms(5_100));
            run.evidence.legs[leg].report.media.sources.clear();
            if taken_over {
                run.reinvite_agent(leg, 2, 4_095);
            }
            run.fault(FaultKind::KillSite, 1, 4_100);
            run.gap(caller, 4_090, long, 0, GapKind::Between);
            assert_eq!(too_long(&judged(&run)).len(), problems, "{invited_by} {taken_over}");
        }
    }

    // Goal: a pause belongs to the last fault that can have caused it, one long before to none.
    #[test]
    fn faults_of_pauses() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 90_000);
        run.fault(FaultKind::KillNode, 0, 4_000);
        run.fault(FaultKind::StartNode, 0, 8_000);
        for (at_ms, fault) in [(3_000, None), (3_950, Some(0)), (7_990, Some(1)), (40_000, None)] {
            run.evidence.callers[caller].report.media.gaps.clear();
            run.gap(caller, at_ms, 100, 0, GapKind::Between);
            assert_eq!(judged(&run)[0].fault, fault, "{at_ms}");
        }
    }

    // Goal: silence at the end counts unless the partner has hung up.
    #[test]
    fn silence_at_the_end() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        let leg = run.talk(caller, "ann", 2_000, 3_000, 9_000);
        run.gap(caller, 8_000, 1_000, 0, GapKind::AtEnd);
        run.evidence.callers[caller].report.end = Some(EndCause::HungUpThere { reason: None });
        run.evidence.legs[leg].report.end = Some(EndCause::HungUpHere);
        assert_eq!(judged(&run), []);
        run.evidence.legs[leg].report.end = Some(EndCause::HungUpThere { reason: None });
        assert_eq!(too_long(&judged(&run)).len(), 1);
        run.evidence.callers[caller].report.media.first_audio_us = None;
        assert_eq!(judged(&run), [], "never heard anything");
    }

    // Goal: one sequence number used again is found.
    #[test]
    fn reused_numbers_are_found() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        assert_eq!(sequence_faults(&run.evidence), []);
        run.source_fault(caller);
        assert_eq!(sequence_faults(&run.evidence).len(), 1);
    }
}

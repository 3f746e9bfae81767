//! What each fault cost: legs, places, re-INVITEs, silence, and how soon work went on.

use serde::Serialize;
use tandem_phone::{CallReport, RunTime};

use super::{
    Allowances, CallerLeg, Conversation, Evidence, Problem,
    audio::HeardGap,
    conversation::first_of,
    evidence::taken_over_us,
    kept::{Outcome, outcome},
    order::{Cause, Inversion},
};
use crate::faults::Fault;

/// So many of so many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Share {
    /// Those for whom it held.
    pub kept: usize,
    /// All.
    pub of: usize,
}

impl Share {
    fn count(&mut self, held: bool) {
        self.of += 1;
        self.kept += usize::from(held);
    }
}

/// What one fault cost, as the phones experienced it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The fault.
    pub fault: Fault,
    /// Conversations at that moment, anywhere.
    pub talking: usize,
    /// Callers who waited at that moment, anywhere.
    pub waiting: usize,
    /// Legs of callers that the lost node owned: confirmed to another node, or ended by the people
    /// themselves.
    pub legs: Share,
    /// Waiting callers, anywhere: served later or still in line, and overtaken by nobody since.
    pub places: Share,
    /// Callers whose leg broke and who called again: served with their old place.
    pub reserved: Share,
    /// Conversations, anywhere: went on until one of the two hung up.
    pub conversations: Share,
    /// Legs of conversations that the lost node owned: re-INVITEd by another node.
    pub reinvited: Share,
    /// From the fault to the last of these re-INVITEs, milliseconds.
    pub reinvited_after_ms: Option<u64>,
    /// Longest pause in the audio that follows the fault, milliseconds; 0 for none.
    pub gap_ms_max: u64,
    /// From the fault to the next caller who heard an agent, milliseconds.
    pub next_delivery_ms: Option<u64>,
}

/// What each fault cost, in the order of the faults.
#[must_use]
pub fn losses(
    evidence: &Evidence,
    conversations: &[Conversation],
    inversions: &[Inversion],
    gaps: &[HeardGap],
    allowances: &Allowances,
) -> Vec<Loss> {
    let faults = evidence.faults.iter().enumerate();
    faults
        .filter_map(|(index, _)| {
            let mut loss = loss(evidence, conversations, gaps, index)?;
            count_callers(&mut loss, evidence, conversations, inversions, allowances);
            Some(loss)
        })
        .collect()
}

/// Legs whose node was lost and that no other node re-INVITEd, although their people were still there
/// after the allowed time: of conversations both legs, of waiting callers theirs.
#[must_use]
pub fn not_reinvited(
    evidence: &Evidence,
    conversations: &[Conversation],
    allowances: &Allowances,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for fault in evidence.faults.iter().filter(|fault| fault.kind.loses_node()) {
        let talking = legs_of_talkers(evidence, conversations, fault);
        for leg in talking.chain(legs_of_waiters(evidence, conversations, fault)) {
            let at = fault.made_us;
            let deadline = at.plus_ms(allowances.takeover_ms_max);
            let open =
                leg.open_until.is_none_or(|until| until > deadline) && evidence.ended_us > deadline;
            let taken = taken_over_us(leg.report, fault.sip, at);
            if open && taken.is_none_or(|taken| taken > deadline) {
                problems.push(Problem::NotReinvited {
                    who: leg.report.phone.clone(),
                    fault: fault.to_string(),
                    after_ms: taken.map(|taken| taken.ms_since(at)),
                });
            }
        }
    }
    problems
}

fn loss(
    evidence: &Evidence,
    conversations: &[Conversation],
    gaps: &[HeardGap],
    index: usize,
) -> Option<Loss> {
    let fault = evidence.faults.get(index)?;
    let at = fault.made_us;
    let until = evidence.faults.get(index + 1).map_or(evidence.ended_us, |next| next.made_us);
    let mut loss = Loss {
        fault: fault.clone(),
        talking: 0,
        waiting: 0,
        legs: Share::default(),
        places: Share::default(),
        reserved: Share::default(),
        conversations: Share::default(),
        reinvited: Share::default(),
        reinvited_after_ms: None,
        gap_ms_max: 0,
        next_delivery_ms: None,
    };
    if fault.kind.loses_node() {
        count_reinvites(&mut loss, evidence, conversations);
    }
    let own = gaps.iter().filter(|gap| gap.fault == Some(index));
    loss.gap_ms_max = own.map(|gap| gap.gap_ms).max().unwrap_or(0);
    let mut next = conversations.iter().filter(|it| it.from_us > at && it.from_us <= until);
    loss.next_delivery_ms = next.next().map(|it| it.from_us.ms_since(at));
    Some(loss)
}

fn count_callers(
    loss: &mut Loss,
    evidence: &Evidence,
    conversations: &[Conversation],
    inversions: &[Inversion],
    allowances: &Allowances,
) {
    let at = loss.fault.made_us;
    for (index, caller) in evidence.callers.iter().enumerate() {
        if !caller.is_there(at) {
            continue;
        }
        let outcome = outcome(evidence, conversations, index);
        let held = outcome != Outcome::Lost;
        if caller.owner(at) == Some(loss.fault.sip) && loss.fault.kind.loses_node() {
            let moved = taken_over_us(&caller.report, loss.fault.sip, at).is_some();
            // Who leaves before their turn comes needs no re-INVITE.
            let deadline = at.plus_ms(allowances.takeover_ms_max);
            let left = caller.gone_us().is_some_and(|gone| gone <= deadline);
            loss.legs.count(held && (moved || left));
        }
        let served = first_of(conversations, index);
        if served.is_some_and(|served| served.from_us <= at) {
            loss.talking += 1;
            loss.conversations.count(held);
        } else {
            loss.waiting += 1;
            let overtaken = inversions
                .iter()
                .any(|it| it.earlier == index && it.at_us > at && it.cause == Cause::Order);
            loss.places.count(held && !overtaken);
        }
        if outcome == Outcome::Lost && caller.report.ended_us.is_some_and(|ended| ended >= at) {
            count_second_call(loss, evidence, conversations, index);
        }
    }
}

/// Who called again keeps the old place when nobody who came after the first call, and waited on
/// the same line, was served between the second call and its service.
fn count_second_call(
    loss: &mut Loss,
    evidence: &Evidence,
    conversations: &[Conversation],
    first: usize,
) {
    let Some(before) = evidence.callers.get(first) else { return };
    let again = evidence.callers.iter().enumerate().find(|(_, caller)| {
        caller.person == before.person && caller.report.started_us > before.report.started_us
    });
    let Some((index, again)) = again else { return };
    let back = again.promised_us();
    let served = first_of(conversations, index).map(|it| it.from_us);
    let overtaken = conversations.iter().any(|it| {
        evidence.callers.get(it.caller).is_some_and(|other| {
            other.line == again.line
                && other.person != again.person
                && Some(other.report.started_us) > before.promised_us()
                && Some(it.from_us) > back
                && served.is_none_or(|served| it.from_us < served)
        })
    });
    loss.reserved.count(served.is_some() && !overtaken);
}

fn count_reinvites(loss: &mut Loss, evidence: &Evidence, conversations: &[Conversation]) {
    let at = loss.fault.made_us;
    for leg in legs_of_talkers(evidence, conversations, &loss.fault) {
        let taken = taken_over_us(leg.report, loss.fault.sip, at);
        // People who hang up before their turn comes need none.
        if taken.is_some() || leg.open_until.is_none() {
            loss.reinvited.count(taken.is_some());
        }
        let after_ms = taken.map(|taken| taken.ms_since(at));
        loss.reinvited_after_ms = loss.reinvited_after_ms.max(after_ms);
    }
}

/// Legs of callers who waited and that the lost node owned.
fn legs_of_waiters<'a>(
    evidence: &'a Evidence,
    conversations: &'a [Conversation],
    fault: &'a Fault,
) -> impl Iterator<Item = OwnedLeg<'a>> {
    let at = fault.made_us;
    let waits = move |index: usize, caller: &CallerLeg| {
        caller.is_there(at)
            && caller.owner(at) == Some(fault.sip)
            && first_of(conversations, index).is_none_or(|it| it.from_us > at)
    };
    let callers = evidence.callers.iter().enumerate();
    callers
        .filter(move |(index, caller)| waits(*index, caller))
        .map(|(_, caller)| OwnedLeg { report: &caller.report, open_until: caller.gone_us() })
}

/// A leg that the lost node owned.
struct OwnedLeg<'a> {
    report: &'a CallReport,
    /// When the person, or in a conversation either of the two, let go.
    open_until: Option<RunTime>,
}

fn legs_of_talkers<'a>(
    evidence: &'a Evidence,
    conversations: &'a [Conversation],
    fault: &'a Fault,
) -> impl Iterator<Item = OwnedLeg<'a>> {
    let at = fault.made_us;
    conversations.iter().filter(move |it| it.from_us <= at).flat_map(move |it| {
        let caller = evidence.callers.get(it.caller).filter(|caller| caller.is_there(at));
        let leg = evidence.legs.get(it.leg).filter(|leg| leg.is_alive(at));
        let both = caller.zip(leg);
        let until = both.and_then(|(caller, leg)| {
            let let_go = leg
                .report
                .ended_us
                .map(|ended| leg.report.media.last_audio_us.map_or(ended, |last| last.min(ended)));
            super::evidence::earliest(caller.gone_us(), let_go)
        });
        let callers = both
            .filter(|(caller, _)| caller.owner(at) == Some(fault.sip))
            .map(|(caller, _)| OwnedLeg { report: &caller.report, open_until: until });
        let agents = both
            .filter(|(_, leg)| leg.owner(at) == fault.sip)
            .map(|(_, leg)| OwnedLeg { report: &leg.report, open_until: until });
        callers.into_iter().chain(agents)
    })
}

#[cfg(test)]
mod tests {
    use super::super::{conversations, fixture::Run, order};
    use super::*;
    use crate::faults::FaultKind;

    fn judged(run: &Run) -> Vec<Loss> {
        let conversations = conversations(&run.evidence);
        let allowances = Allowances::default();
        let inversions = order::inversions(&run.evidence, &conversations, &allowances);
        losses(&run.evidence, &conversations, &inversions, &[], &allowances)
    }

    fn missing(run: &Run) -> usize {
        let conversations = conversations(&run.evidence);
        not_reinvited(&run.evidence, &conversations, &Allowances::default()).len()
    }

    // Goal: a talking caller of a killed node whose both legs are re-INVITEd is kept; without one
    // of the two re-INVITEs it is found.
    #[test]
    fn every_talking_leg_must_be_reinvited() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 29_000);
        let leg = run.talk(caller, "ann", 2_000, 3_000, 29_000);
        run.fault(FaultKind::KillNode, 0, 5_000);
        assert_eq!(missing(&run), 2);
        run.reinvite_caller(caller, 1, 6_200);
        assert_eq!(missing(&run), 1);
        run.reinvite_agent(leg, 1, 6_300);
        assert_eq!(missing(&run), 0);
        let loss = &judged(&run)[0];
        assert_eq!(loss.reinvited, Share { kept: 2, of: 2 });
        assert_eq!(loss.reinvited_after_ms, Some(1_300));
        assert_eq!((loss.legs, loss.talking), (Share { kept: 1, of: 1 }, 1));
        assert_eq!(loss.conversations, Share { kept: 1, of: 1 });
    }

    // Goal: a re-INVITE in time is fine, one millisecond later is not; who hangs up before needs
    // none; legs of other nodes need none.
    #[test]
    fn who_needs_a_reinvite() {
        let late = Allowances::default().takeover_ms_max + 5_000;
        for (at_ms, found) in [(late, 0), (late + 1, 2)] {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 29_000);
            let leg = run.talk(caller, "ann", 2_000, 3_000, 29_000);
            run.fault(FaultKind::KillNode, 0, 5_000);
            run.reinvite_caller(caller, 1, at_ms);
            run.reinvite_agent(leg, 1, at_ms);
            assert_eq!(missing(&run), found, "{at_ms}");
        }
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 29_000);
        run.talk(caller, "ann", 2_000, 3_000, 29_000);
        run.fault(FaultKind::KillNode, 1, 5_000);
        assert_eq!(missing(&run), 0, "another node");
        run.evidence.faults.clear();
        run.fault(FaultKind::KillNode, 0, 5_000);
        run.hang_up(caller, late);
        assert_eq!(missing(&run), 0, "hung up");
    }

    // Goal: a waiting caller of a killed node whose leg no node confirms is not kept, one who is
    // overtaken has lost the place, and one whose call breaks both.
    #[test]
    fn legs_and_places_of_waiting_callers() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 29_000);
        run.stays(caller);
        run.fault(FaultKind::KillNode, 0, 5_000);
        let kept = |run: &Run| (judged(run)[0].legs.kept, judged(run)[0].places.kept);
        assert_eq!(kept(&run), (0, 1), "nobody confirmed the leg");
        assert_eq!(missing(&run), 1);
        run.hang_up(caller, 5_000 + Allowances::default().takeover_ms_max + 1);
        assert_eq!((kept(&run), missing(&run)), ((0, 1), 1), "left too late to explain it");
        run.hang_up(caller, 5_500);
        assert_eq!((kept(&run), missing(&run)), ((1, 1), 0), "left in time");
        run.stays(caller);
        run.reinvite_caller(caller, 1, 6_000);
        assert_eq!(kept(&run), (1, 1));
        let other = run.caller("sales", 2_000, 29_000);
        run.reinvite_caller(other, 1, 6_000);
        run.talk(other, "bob", 7_000, 8_000, 29_000);
        assert_eq!(kept(&run), (2, 1), "overtaken");
        run.evidence.callers[caller].report.state = tandem_phone::CallState::Ended;
        run.breaks(caller, 9_000);
        assert_eq!(kept(&run), (1, 1), "broken");
    }

    // Goal: who calls again after a break and is served before later comers had a reserved place.
    #[test]
    fn reserved_places() {
        for (served_ms, kept) in [(9_500, 1), (10_500, 0)] {
            let mut run = Run::default();
            let first = run.caller("sales", 1_000, 29_000);
            let later = run.caller("sales", 2_000, 29_000);
            run.fault(FaultKind::KillSite, 0, 5_000);
            run.breaks(first, 6_000);
            let again = run.caller("sales", 8_000, 29_000);
            run.evidence.callers[again].person = run.evidence.callers[first].person.clone();
            run.talk(later, "ann", 9_900, 10_000, 29_000);
            run.talk(again, "bob", 9_000, served_ms, 29_000);
            assert_eq!(judged(&run)[0].reserved, Share { kept, of: 1 }, "{served_ms}");
        }
    }

    // Goal: the time to the next delivery counts from the fault and ends with the next fault.
    #[test]
    fn next_delivery() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 29_000);
        run.talk(caller, "ann", 6_000, 7_000, 29_000);
        run.fault(FaultKind::KillNode, 1, 3_000);
        run.fault(FaultKind::StartNode, 1, 5_000);
        let next: Vec<_> = judged(&run).iter().map(|loss| loss.next_delivery_ms).collect();
        assert_eq!(next, [None, Some(2_000)]);
    }
}

//! First come, first served, among callers of one line.
//!
//! An *order inversion* (docs/glossary): caller `a` had its 18x or 200 before `b` sent its INVITE,
//! same requirement and priority, `a` still there, and `b` was connected first. Agents may ring for
//! different times, so a pair is none when `a`'s own phone rang already while `b` was offered: the
//! queue chose `a` first. One log entry can make many offers, which different nodes then send by
//! themselves: offers within [`AT_ONCE_MS`] and the entry's way count as made at once. A caller whose leg is
//! just being taken over is not offered by design (nobody knows yet whether they are still there); such
//! pairs are counted apart.

use serde::Serialize;
use tandem_phone::RunTime;

use crate::faults::{Fault, FaultKind};

use super::{
    Allowances, CallerLeg, Conversation, Evidence, Problem, conversation::first_of,
    evidence::taken_over_us,
};

/// Offers nearer than this were made in one moment, milliseconds, where nodes hear each other at once.
pub const AT_ONCE_MS: u64 = 100;

/// A node that others take for lost has lost its callers for so long at most before they hear from a
/// taker, milliseconds: lease and margin, an election, and the way there.
const TAKEOVER_MS_MAX: u64 = 5_000;

/// `later` was connected before `earlier`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inversion {
    /// Index of the caller who was overtaken.
    pub earlier: usize,
    /// Index of the caller who was served first.
    pub later: usize,
    /// When.
    pub at_us: RunTime,
    /// Why it could happen.
    pub cause: Cause,
}

/// Why a pair is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The order was not kept.
    Order,
    /// The earlier caller's leg had lost its node and no other had confirmed it yet.
    TakeoverRunning,
    /// An agent had answered the earlier caller, or their phone had rung, and had hung up while a link was
    /// in trouble: the log could not be told, and the caller was that agent's as far as it knew.
    EndUntold,
}

/// What a node could not tell while a link was in trouble has reached the log so long after its end at
/// most, milliseconds: facts are told again after 5 s at the latest.
const UNTOLD_MS_MAX: u64 = 5_000;

/// All inversions. Callers who call again after their call broke are judged from their first call:
/// `persons` calls of one person share the earliest promise (a reserved place).
#[must_use]
pub fn inversions(
    evidence: &Evidence,
    conversations: &[Conversation],
    allowances: &Allowances,
) -> Vec<Inversion> {
    let mut found = Vec::new();
    for conversation in conversations {
        let Some(later) = evidence.callers.get(conversation.caller) else { continue };
        let is_first = first_of(conversations, conversation.caller) == Some(conversation);
        let Some(leg) = evidence.legs.get(conversation.leg).filter(|_| is_first) else { continue };
        let offered_us = leg.report.started_us;
        let at_once_us = offered_us.plus_ms(allowances.at_once_ms_max);
        for (index, earlier) in evidence.callers.iter().enumerate() {
            let overtaken = index != conversation.caller
                && earlier.line == later.line
                && earlier.promised_us().is_some_and(|at| at < later.report.started_us)
                && earlier.is_there(conversation.from_us)
                && first_of(conversations, index)
                    .is_none_or(|own| own.from_us > conversation.from_us)
                && !was_offered(evidence, conversations, index, offered_us, at_once_us);
            if overtaken {
                found.push(Inversion {
                    earlier: index,
                    later: conversation.caller,
                    at_us: conversation.from_us,
                    cause: if has_untold_end(evidence, earlier, offered_us) {
                        Cause::EndUntold
                    } else {
                        cause(evidence, earlier, offered_us, allowances.confirmed_ms_max)
                    },
                });
            }
        }
    }
    found
}

/// The inversions that nothing explains, as problems.
#[must_use]
pub fn problems(evidence: &Evidence, inversions: &[Inversion]) -> Vec<Problem> {
    let counted = inversions.iter().filter(|inversion| inversion.cause == Cause::Order);
    counted
        .filter_map(|inversion| {
            Some(Problem::OrderInversion {
                earlier: evidence.callers.get(inversion.earlier)?.report.phone.clone(),
                later: evidence.callers.get(inversion.later)?.report.phone.clone(),
                at_us: inversion.at_us,
            })
        })
        .collect()
}

/// True when an agent's phone was ringing for this caller already when another one was offered, or at once
/// afterwards.
fn was_offered(
    evidence: &Evidence,
    conversations: &[Conversation],
    caller: usize,
    at: RunTime,
    at_once: RunTime,
) -> bool {
    let tag = evidence.callers.get(caller).map(|caller| caller.report.sender_tag);
    let rings = evidence.legs.iter().filter(|leg| leg.rings_for.is_some() && leg.rings_for == tag);
    let heard = conversations.iter().filter(|conversation| conversation.caller == caller);
    let heard = heard.filter_map(|conversation| evidence.legs.get(conversation.leg));
    let silent = evidence.ignored.iter().filter(|it| it.rings_for.is_some() && it.rings_for == tag);
    let mut silent = silent.map(|it| (it.at_us, it.until_us));
    rings.chain(heard).any(|leg| {
        leg.report.started_us <= at_once && leg.report.ended_us.is_none_or(|ended| ended > at)
    }) || silent.any(|(from, until)| from <= at_once && until > at)
}

fn cause(evidence: &Evidence, caller: &CallerLeg, at: RunTime, confirmed_ms: u64) -> Cause {
    let is_running = evidence.faults.iter().filter(|fault| fault.made_us <= at).any(|fault| {
        let since = caller_since(evidence, caller, fault);
        let Some(owner) = caller.owner(since) else { return false };
        let taken = taken_over_us(&caller.report, owner, since);
        // The phone's word reaches the log, and the log the node that offers, a moment later.
        let is_running = taken.map(|taken| taken.plus_ms(confirmed_ms) > at);
        match fault.kind {
            kind if kind.loses_node() => owner == fault.sip && is_running.unwrap_or(true),
            // A node may be lost too, as far as the others can tell: then one of them took the leg over.
            FaultKind::CutLink | FaultKind::Impair => {
                let begun = |taken: RunTime| at.plus_ms(TAKEOVER_MS_MAX) > taken;
                is_running == Some(true) && taken.is_some_and(begun)
            }
            _ => false,
        }
    });
    if is_running { Cause::TakeoverRunning } else { Cause::Order }
}

/// True when a phone that rang for this caller was done with while a link was in trouble, and the log may
/// not have heard of it at this moment.
fn has_untold_end(evidence: &Evidence, caller: &CallerLeg, at: RunTime) -> bool {
    let tag = Some(caller.report.sender_tag);
    let ends = evidence.legs.iter().filter(|leg| leg.rings_for == tag);
    let ends: Vec<RunTime> =
        ends.filter_map(|leg| leg.report.ended_us).filter(|end| *end <= at).collect();
    let troubles = evidence.faults.iter().filter(|fault| fault.kind == FaultKind::CutLink);
    troubles.into_iter().any(|trouble| {
        let joined = end_of(evidence, trouble);
        let known = joined.map(|joined| joined.plus_ms(UNTOLD_MS_MAX));
        ends.iter().any(|end| {
            let amid = *end >= trouble.made_us && joined.is_none_or(|joined| *end <= joined);
            amid && known.is_none_or(|known| at <= known)
        })
    })
}

/// When the trouble that a fault made with a link was over, if it was.
fn end_of(evidence: &Evidence, fault: &Fault) -> Option<RunTime> {
    let ends = |kind| matches!(kind, FaultKind::Join | FaultKind::Restore);
    let end = evidence.faults.iter().find(|it| ends(it.kind) && it.made_us > fault.made_us);
    end.map(|end| end.made_us)
}

/// From when on a fault concerns a caller: from its beginning, or, where a link's trouble lasts, from the
/// promise to a caller who came in the midst of it.
fn caller_since(evidence: &Evidence, caller: &CallerLeg, fault: &Fault) -> RunTime {
    let made = fault.made_us;
    if !matches!(fault.kind, FaultKind::CutLink | FaultKind::Impair) {
        return made;
    }
    let ended = end_of(evidence, fault);
    let promised = caller.promised_us().filter(|at| *at > made);
    promised.filter(|at| ended.is_none_or(|end| *at < end)).unwrap_or(made)
}

#[cfg(test)]
mod tests {
    use super::super::{IgnoredInvite, conversations, fixture::Run};
    use super::*;

    fn causes(run: &Run) -> Vec<Cause> {
        let conversations = conversations(&run.evidence);
        inversions(&run.evidence, &conversations, &Allowances::default())
            .into_iter()
            .map(|found| found.cause)
            .collect()
    }

    /// Caller 0 has a place at 1.1 s, caller 1 calls at `second_ms`; both are served by one agent
    /// each, offered and then connected at these moments.
    fn two(second_ms: u64, first: (u64, u64), second: (u64, u64)) -> Run {
        let mut run = Run::default();
        let a = run.caller("sales", 1_000, 9_000);
        let b = run.caller("sales", second_ms, 9_000);
        run.talk(a, "ann", first.0, first.1, 9_000);
        run.talk(b, "bob", second.0, second.1, 9_000);
        run
    }

    // Goal: served in turn is none; overtaken is one; called before the other had a place is none.
    #[test]
    fn the_definition_at_its_edges() {
        assert_eq!(causes(&two(2_000, (3_000, 3_500), (3_600, 4_000))), []);
        assert_eq!(causes(&two(2_000, (3_600, 4_000), (3_000, 3_500))), [Cause::Order]);
        // The place is promised at 1100 ms.
        assert_eq!(causes(&two(1_101, (3_600, 4_000), (3_000, 3_500))), [Cause::Order]);
        assert_eq!(causes(&two(1_100, (3_600, 4_000), (3_000, 3_500))), []);
    }

    // Goal: who was offered first and answered later was not overtaken by the queue.
    #[test]
    fn a_slow_phone_is_no_inversion() {
        assert_eq!(causes(&two(2_000, (3_000, 5_000), (3_001, 3_500))), []);
        // Two nodes' INVITEs for one decision.
        assert_eq!(causes(&two(2_000, (3_000 + AT_ONCE_MS, 5_000), (3_000, 3_500))), []);
        assert_eq!(
            causes(&two(2_000, (3_001 + AT_ONCE_MS, 5_000), (3_000, 3_500))),
            [Cause::Order]
        );
    }

    // Goal: nor was one whose phone said nothing at all, while the queue waits for that phone.
    #[test]
    fn a_silent_phone_is_no_inversion() {
        for (from_ms, until_ms, found) in
            [(2_900, 17_900, 0), (2_900, 3_000, 1), (3_000 + AT_ONCE_MS + 1, 19_000, 1)]
        {
            let mut run = two(2_000, (3_600, 4_000), (3_000, 3_500));
            let rings_for = Some(run.evidence.callers[0].report.sender_tag);
            let (at_us, until_us) = (RunTime::from_ms(from_ms), RunTime::from_ms(until_ms));
            let agent = "eve".to_owned();
            run.evidence.ignored.push(IgnoredInvite { agent, rings_for, at_us, until_us });
            assert_eq!(causes(&run).len(), found, "{from_ms} {until_ms}");
        }
    }

    // Goal: other lines do not count; nor does a caller who has left; one who is never served does.
    #[test]
    fn lines_and_leavers() {
        let mut run = Run::default();
        let a = run.caller("sales", 1_000, 9_000);
        let b = run.caller("support", 2_000, 9_000);
        run.talk(b, "bob", 3_000, 3_500, 9_000);
        assert_eq!(causes(&run), []);
        run.evidence.callers[b].line = "sales".to_owned();
        assert_eq!(causes(&run), [Cause::Order], "never served");
        run.hang_up(a, 3_400);
        assert_eq!(causes(&run), [], "gone before");
    }

    // Goal: a caller whose leg is being taken over is counted apart, until another node has it.
    #[test]
    fn takeover_is_counted_apart() {
        for (taken_ms, cause) in [
            (3_000 - AT_ONCE_MS, Cause::Order),
            (3_001 - AT_ONCE_MS, Cause::TakeoverRunning),
            (3_100, Cause::TakeoverRunning),
        ] {
            let mut run = two(2_000, (3_600, 4_000), (3_000, 3_500));
            run.fault(FaultKind::KillNode, 0, 2_500);
            run.reinvite_caller(0, 1, taken_ms);
            assert_eq!(causes(&run), [cause], "{taken_ms}");
        }
    }

    // Goal: what may make a node look lost, at whatever site, excuses only callers whom another one then
    // took over, soon.
    #[test]
    fn a_cut_link_is_no_excuse_by_itself() {
        for kind in [FaultKind::CutLink, FaultKind::Impair] {
            for (site, taken_over, cause) in [
                (0, Some(3_100), Cause::TakeoverRunning),
                (2, Some(3_100), Cause::TakeoverRunning),
                (0, Some(2_800), Cause::Order),
                (0, Some(8_100), Cause::Order),
                (0, None, Cause::Order),
            ] {
                let mut run = two(2_000, (8_600, 8_800), (3_000, 3_500));
                run.fault(kind, site, 2_500);
                if let Some(at_ms) = taken_over {
                    run.reinvite_caller(0, 1, at_ms);
                }
                assert_eq!(causes(&run), [cause], "{kind:?} {site} {taken_over:?}");
            }
        }
    }

    // Goal: an agent who hung up in vain while a link was in trouble excuses their caller until the log can
    // know; one who hung up before, or long before the other was offered, does not.
    #[test]
    fn an_end_that_could_not_be_told() {
        for (trouble, hung_up_ms, offered_ms, cause) in [
            (Some((2_500, 3_600)), 3_500, 5_000, Cause::EndUntold),
            (Some((2_500, 3_600)), 3_500, 8_600, Cause::EndUntold),
            (Some((2_500, 3_600)), 3_500, 8_601, Cause::Order),
            (Some((3_600, 4_500)), 3_500, 5_000, Cause::Order),
            (Some((2_000, 3_400)), 3_500, 5_000, Cause::Order),
            (None, 3_500, 5_000, Cause::Order),
        ] {
            let mut run = two(4_000, (8_800, 8_850), (offered_ms, offered_ms + 50));
            let mut vain = run.evidence.legs[0].clone();
            vain.rings_for = Some(run.evidence.callers[0].report.sender_tag);
            vain.report.started_us = RunTime::from_ms(2_600);
            vain.report.ended_us = Some(RunTime::from_ms(hung_up_ms));
            run.evidence.legs.push(vain);
            if let Some((cut_ms, joined_ms)) = trouble {
                run.fault(FaultKind::CutLink, 0, cut_ms);
                run.fault(FaultKind::Join, 0, joined_ms);
            }
            assert_eq!(causes(&run), [cause], "{trouble:?} {hung_up_ms} {offered_ms}");
        }
    }

    // Goal: who came while a link was in trouble is excused as those before were; who came after it is not.
    #[test]
    fn a_link_in_trouble_concerns_who_comes_meanwhile() {
        for (joined_ms, cause) in [
            (None, Cause::TakeoverRunning),
            (Some(2_900), Cause::TakeoverRunning),
            (Some(800), Cause::Order),
        ] {
            let mut run = two(2_000, (8_600, 8_800), (3_000, 3_500));
            run.fault(FaultKind::CutLink, 0, 500);
            if let Some(at_ms) = joined_ms {
                run.fault(FaultKind::Join, 0, at_ms);
            }
            run.reinvite_caller(0, 1, 3_100);
            assert_eq!(causes(&run), [cause], "{joined_ms:?}");
        }
    }

    // Goal: the problem names both callers.
    #[test]
    fn problems_name_the_callers() {
        let run = two(2_000, (3_600, 4_000), (3_000, 3_500));
        let found =
            inversions(&run.evidence, &conversations(&run.evidence), &Allowances::default());
        let problems = problems(&run.evidence, &found);
        assert!(problems[0].to_string().contains("caller#1"), "{problems:?}");
    }
}

//! Checkers: what callers and agents experienced, judged by pure functions.
//!
//! [`Evidence`] holds the phones' reports and the faults that were made; [`judge`] applies every
//! checker and gives one [`Judgement`]. The checkers ask the cluster nothing: a cluster that is
//! wrong about itself is found out. Each checker can be used alone, and each is tested with
//! planted violations.
//!
//! | question | checker |
//! |---|---|
//! | did anybody lose a call or a place? | [`kept::lost`], [`kept::cut`], [`losses::losses`] |
//! | first come, first served? | [`order::inversions`] |
//! | one caller, one agent, the right one? | [`exclusive`], [`delivery`] |
//! | what did people hear? | [`audio::gaps`], [`audio::sequence_faults`], [`conversation::one_way`], [`conversation::strangers`] |
//! | did a phone ring for somebody who is gone? | [`ghosts::ghosts`] |
//! | was every leg of a lost node taken over? | [`losses::not_reinvited`] |
//! | could every stream be played on? | [`continuity`] |
//!
//! Others believe what the cluster said of itself, and compare:
//!
//! | question | checker |
//! |---|---|
//! | does one order of events explain all answers of the API? | [`history`] |
//! | are all replicas' states equal? | [`digests`] |
//! | are its figures what phones experienced? | [`statistics`] |
//! | is anything left on the machine? | [`leftovers`] |

pub mod audio;
pub mod continuity;
pub mod conversation;
pub mod delivery;
pub mod digests;
mod evidence;
pub mod exclusive;
#[cfg(test)]
pub(crate) mod fixture;
pub mod ghosts;
pub mod history;
pub mod kept;
pub mod leftovers;
pub mod losses;
pub mod order;
mod problem;
pub mod statistics;

use serde::Serialize;

pub use conversation::{Conversation, conversations};
pub use evidence::{
    AgentFacts, AgentLeg, CallerLeg, Evidence, IgnoredInvite, is_open, taken_over_us,
};
pub use problem::Problem;

use audio::HeardGap;
use kept::{Outcome, outcome};
use losses::Loss;
use order::{Cause, Inversion};

/// What is allowed. The defaults fit a cluster on one machine with the laboratory's timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Allowances {
    /// Pauses up to this length are none, milliseconds: three packets.
    pub pause_ms_min: u64,
    /// Longest pause in the audio where the relay lives, milliseconds.
    pub gap_ms_max: u64,
    /// Longest pause for those whose relay was lost: lease, two round trips and one second.
    pub relay_loss_gap_ms_max: u64,
    /// From the loss of a node to the last re-INVITE of a talking leg, milliseconds.
    pub takeover_ms_max: u64,
    /// Offers of one entry begin to ring within this time: it reaches one node later than another.
    pub at_once_ms_max: u64,
    /// From a phone's answer to its taker until every node may know of it, milliseconds: the answer, the
    /// taker's word to the leader, and the entry to the others, each a round trip at most.
    pub confirmed_ms_max: u64,
    /// A phone may begin to ring for so long after the caller left: the news travels.
    pub ghost_start_ms_max: u64,
    /// A phone may go on ringing for so long after the caller left, milliseconds.
    pub ghost_ring_ms_max: u64,
    /// An agent who answered may hear nobody for so long, milliseconds.
    pub ghost_silence_ms_max: u64,
}

impl Default for Allowances {
    fn default() -> Self {
        Self {
            pause_ms_min: 60,
            gap_ms_max: 200,
            relay_loss_gap_ms_max: 2_002,
            takeover_ms_max: 10_000,
            at_once_ms_max: order::AT_ONCE_MS,
            confirmed_ms_max: order::AT_ONCE_MS,
            ghost_start_ms_max: 500,
            ghost_ring_ms_max: 5_000,
            ghost_silence_ms_max: 5_000,
        }
    }
}

impl Allowances {
    /// For a cluster whose nodes wait this long before they act for a silent one; the margin that they
    /// add to the lease comes out of the second.
    #[must_use]
    pub fn for_timing(timing: crate::cluster::Timing, round_trip_ms: u64) -> Self {
        let relay_loss_gap_ms_max = timing.lease_ms + 2 * round_trip_ms + 1_000;
        let at_once_ms_max = order::AT_ONCE_MS + round_trip_ms.saturating_sub(1);
        let confirmed_ms_max = order::AT_ONCE_MS + 3 * round_trip_ms;
        // The first pause of a conversation: an entry says that it begins, and the other relay hears of it.
        // Within a millisecond nothing is added.
        let usual = Self::default();
        let gap_ms_max = usual.gap_ms_max + 2 * round_trip_ms.saturating_sub(1);
        Self { relay_loss_gap_ms_max, at_once_ms_max, confirmed_ms_max, gap_ms_max, ..usual }
    }
}

/// The whole verdict on a run.
#[derive(Debug, Clone, Serialize)]
pub struct Judgement {
    /// Calls placed.
    pub offered: usize,
    /// Calls that got a place.
    pub placed: usize,
    /// Callers who talked with an agent.
    pub answered: usize,
    /// Callers who left the queue by themselves.
    pub left: usize,
    /// Callers whom no node gave a place.
    pub refused: usize,
    /// Callers who had a place and lost it or were never served.
    pub lost: usize,
    /// Pairs out of order that nothing explains.
    pub order_inversions: usize,
    /// Pairs out of order while the earlier caller's leg was being taken over.
    pub passed_during_takeover: usize,
    /// Callers who were given to two agents.
    pub delivered_twice: usize,
    /// Callers who were given to a second agent because the first hung up while the node of that
    /// leg was dead.
    pub served_again: usize,
    /// Callers at an agent without the skill.
    pub skill_mismatches: usize,
    /// Phones that rang for somebody who was gone.
    pub ghosts: usize,
    /// Longest pause in the audio anywhere, milliseconds.
    pub gap_ms_max: u64,
    /// Longest pause where no relay was lost, milliseconds.
    pub gap_ms_max_relay_alive: u64,
    /// What each fault cost.
    pub losses: Vec<Loss>,
    /// Conversations, by their beginning.
    pub conversations: Vec<Conversation>,
    /// Pairs out of order.
    pub inversions: Vec<Inversion>,
    /// Every pause.
    pub gaps: Vec<HeardGap>,
    /// Everything that must not be.
    pub problems: Vec<Problem>,
    /// What was allowed.
    pub allowances: Allowances,
}

impl Judgement {
    /// True when nothing happened that must not.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Applies all checkers.
#[must_use]
pub fn judge(evidence: &Evidence, allowances: &Allowances) -> Judgement {
    let conversations = conversations(evidence);
    let inversions = order::inversions(evidence, &conversations, allowances);
    let gaps = audio::gaps(evidence, &conversations, allowances);
    let losses = losses::losses(evidence, &conversations, &inversions, &gaps, allowances);
    let again = exclusive::delivered_again(evidence, &conversations);
    let unexplained = again.iter().filter(|it| it.cause == exclusive::Cause::Unexplained);
    let outcomes: Vec<Outcome> = (0..evidence.callers.len())
        .map(|caller| outcome(evidence, &conversations, caller))
        .collect();
    let count = |wanted: &[Outcome]| outcomes.iter().filter(|it| wanted.contains(it)).count();
    let groups = [
        kept::lost(evidence, &conversations),
        kept::cut(evidence, &conversations),
        order::problems(evidence, &inversions),
        unexplained.map(|it| it.problem.clone()).collect(),
        exclusive::agents_with_two_calls(evidence),
        exclusive::skill_mismatches(evidence, &conversations),
        delivery::legs_with_two_callers(evidence, &conversations),
        delivery::served_twice(evidence, &conversations),
        ghosts::ghosts(evidence, allowances),
        audio::too_long(&gaps),
        audio::sequence_faults(evidence),
        continuity::breaks(evidence),
        conversation::one_way(evidence, &conversations),
        conversation::late(evidence, &conversations),
        conversation::strangers(evidence),
        losses::not_reinvited(evidence, &conversations, allowances),
    ];
    let problems: Vec<Problem> = groups.into_iter().flatten().collect();
    let of_kind = |is: fn(&Problem) -> bool| problems.iter().filter(|it| is(it)).count();
    let explained = inversions.iter().filter(|it| it.cause != Cause::Order).count();
    let short = gaps.iter().filter(|gap| gap.gap_ms_max <= allowances.gap_ms_max);
    Judgement {
        offered: evidence.callers.len(),
        placed: evidence.callers.iter().filter(|it| it.promised_us().is_some()).count(),
        answered: (0..evidence.callers.len())
            .filter(|caller| conversation::first_of(&conversations, *caller).is_some())
            .count(),
        left: count(&[Outcome::Left]),
        refused: count(&[Outcome::Refused]),
        lost: count(&[Outcome::Lost, Outcome::Waiting]),
        order_inversions: inversions.len() - explained,
        passed_during_takeover: explained,
        delivered_twice: of_kind(|it| {
            matches!(it, Problem::DeliveredTwice { .. } | Problem::TwoAgentsAtOnce { .. })
        }),
        served_again: again.iter().filter(|it| it.cause != exclusive::Cause::Unexplained).count(),
        skill_mismatches: of_kind(|it| matches!(it, Problem::SkillMismatch { .. })),
        ghosts: of_kind(|it| matches!(it, Problem::GhostRing { .. })),
        gap_ms_max: gaps.iter().map(|gap| gap.gap_ms).max().unwrap_or(0),
        gap_ms_max_relay_alive: short.map(|gap| gap.gap_ms).max().unwrap_or(0),
        losses,
        conversations,
        inversions,
        gaps,
        problems,
        allowances: *allowances,
    }
}

#[cfg(test)]
mod tests {
    use super::{fixture::Run, *};
    use crate::faults::FaultKind;

    // Goal: a good run is clean and its figures are right.
    #[test]
    fn a_good_run_is_clean() {
        let mut run = Run::default();
        let (a, b) = (run.caller("sales", 1_000, 5_000), run.caller("sales", 2_000, 9_000));
        run.talk(a, "ann", 2_000, 3_000, 5_000);
        run.talk(b, "bob", 5_100, 5_500, 9_000);
        run.fault(FaultKind::DrainSite, 0, 4_000);
        let judgement = judge(&run.evidence, &Allowances::default());
        assert!(judgement.is_clean(), "{:?}", judgement.problems);
        assert_eq!((judgement.offered, judgement.answered, judgement.lost), (2, 2, 0));
        assert_eq!(judgement.losses.len(), 1);
    }

    // Goal: evidence that was written and read again is judged alike, problems included.
    #[test]
    fn evidence_survives_its_file() {
        let mut run = Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        run.talk(caller, "ann", 2_000, 3_000, 9_000);
        run.fault(FaultKind::KillSite, 0, 4_000);
        run.breaks(caller, 5_000);
        let text = serde_json::to_string(&run.evidence).unwrap();
        let again: Evidence = serde_json::from_str(&text).unwrap();
        let judged =
            |evidence| serde_json::to_value(judge(evidence, &Allowances::default())).unwrap();
        assert_eq!(judged(&again), judged(&run.evidence));
        assert_ne!(judged(&again)["problems"], serde_json::json!([]));
    }

    // Goal: every kind of violation reaches the verdict.
    #[test]
    fn every_violation_reaches_the_verdict() {
        type Violate = fn(&mut Run);
        let plant: [(&str, Violate); 5] = [
            ("lost", |run| run.breaks(0, 4_000)),
            ("twice", |run| {
                run.talk(0, "cat", 4_000, 4_500, 5_000);
            }),
            ("gap", |run| run.gap(0, 3_500, 201, 0, tandem_phone::GapKind::Between)),
            ("sequence", |run| run.source_fault(0)),
            ("reinvite", |run| {
                run.stays(0);
                run.evidence.legs[0].report.ended_us = None;
                run.fault(FaultKind::KillNode, 0, 4_000);
            }),
        ];
        for (name, violate) in plant {
            let mut run = Run::default();
            let caller = run.caller("sales", 1_000, 9_000);
            run.talk(caller, "ann", 2_000, 3_000, 9_000);
            assert!(judge(&run.evidence, &Allowances::default()).is_clean());
            violate(&mut run);
            assert!(!judge(&run.evidence, &Allowances::default()).is_clean(), "{name}");
        }
    }
}

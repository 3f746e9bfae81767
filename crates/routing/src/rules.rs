//! What is configured of a queue beside its requirement, weight, sites and times.
//!
//! Over names as people write them ([`NamedQueueRules`]) or ids as the state keeps them
//! ([`BoundQueueRules`]). What each rule does is in `matching`, `apply` and the row types that it is about.

use serde::{Deserialize, Serialize};

use crate::{
    command::DeclineCause,
    ids::{CalendarId, QueueId},
    limits::{RESERVE_LEVELS_MAX, STEPS_MAX},
    name::Name,
    requirement::{NamedRequirement, SharedRequirement},
    strategy::Strategy,
    time::Millis,
};

/// Rules of a queue. Fields are appended under a new version of the row only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueRules<R, Q, C> {
    /// Who is asked among those who may take a contact.
    pub strategy: Strategy,
    /// What is asked of agents when a contact has waited for a while, in the order of their times.
    pub steps: Vec<Step<R>>,
    /// When agents of each reserve level are asked too, the first level first, rising.
    pub reserve_after: Vec<Millis>,
    /// When and how far a contact is brought forward.
    pub urgency: Option<Urgency>,
    /// What becomes of an agent who did not take an offer.
    pub after_decline: AfterDecline,
    /// After-contact work at most, with all its extensions; 0: it cannot be extended.
    pub wrap_up_max: Millis,
    /// Whether callers reach who they talked with last.
    pub last_agent: Option<LastAgentRule>,
    /// Within which time a contact should be answered: for the service level.
    pub answer_within: Millis,
    /// When contacts leave for another queue or are sent away; the first that applies.
    pub overflow: Vec<Overflow<Q>>,
    /// When it is open; `None`: always.
    pub hours: Option<Hours<C>>,
    /// How load is spread, where sites are balanced.
    pub balance: Balance,
    /// Further queues in which contacts wait as well.
    pub also: Vec<Also<Q>>,
}

/// When a contact is given to another site than the one where it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Balance {
    /// What is to be equal.
    pub by: Load,
    /// By how much its own site's load must exceed that of the other one, in percent of the latter, 0-1,000:
    /// less than that is not worth the way, and would swing.
    pub hysteresis_percent: u16,
    /// So many contacts go elsewhere in a minute at most; 0: no limit.
    pub moves_per_minute_max: u32,
}

/// What is to be equal among sites.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Load {
    /// The queue's waiting for each agent at work who serves it: expected waits.
    #[default]
    ExpectedWait,
    /// Agents who are being rung or talk, of those at work, for any queue.
    Occupancy,
}

impl Default for Balance {
    fn default() -> Self {
        Self { by: Load::default(), hysteresis_percent: 20, moves_per_minute_max: 0 }
    }
}

/// When a queue is open. What becomes of callers who come when it is not says [`Trigger::Closed`]; without
/// such a rule they are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hours<C> {
    /// The hours.
    pub calendar: C,
    /// What becomes of those who wait when it closes.
    pub at_close: AtClose,
}

/// See [`Hours`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum AtClose {
    /// They came in time, and are served.
    #[default]
    Stay,
    /// They leave as those who come later.
    Leave,
}

/// As people write them.
pub type NamedQueueRules = QueueRules<NamedRequirement, Name, Name>;
/// As the state keeps them.
pub type BoundQueueRules = QueueRules<SharedRequirement, QueueId, CalendarId>;

/// Leaving a queue on a rule. A contact keeps its time of arrival and never comes back to a queue that it
/// has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overflow<Q> {
    /// When.
    pub when: Trigger,
    /// Where to.
    pub to: Target<Q>,
}

/// A further queue in which contacts wait as well, from some time on. They keep the place that they have, have
/// the place in the other queue that their arrival gives them there, and go to the first agent of either.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Also<Q> {
    /// From when on, counted from when the contact came into the queue that has the rule.
    pub after: Millis,
    /// In which queue.
    pub queue: Q,
}

/// When a contact overflows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trigger {
    /// It comes, and so many wait already.
    Length(u32),
    /// It comes, and would wait longer than this ([`crate::state::State::expected_wait`]).
    ExpectedWait(Millis),
    /// Nobody who could serve it is at work: when it comes, and when the last one leaves.
    Unstaffed,
    /// It has waited in this queue for so long.
    Waited(Millis),
    /// The queue is closed by its hours when it comes, and when they end if [`AtClose::Leave`] says so.
    Closed,
}

/// Where a contact overflows to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target<Q> {
    /// Another queue.
    Queue(Q),
    /// Nowhere: it is refused, or ended.
    Away,
}

/// A timed change of what is asked of agents, usually a widening. The place in the line stays.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step<R> {
    /// When, counted from the contact's arrival.
    pub after: Millis,
    /// What is asked from then on instead of the queue's requirement.
    pub requirement: R,
    /// What becomes of what the contact asks besides.
    pub own: OwnRequirement,
}

/// What a step does with the requirement that a contact brought along (of the number it called).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum OwnRequirement {
    /// It counts as before.
    #[default]
    Kept,
    /// It counts no more.
    Dropped,
}

/// A contact that has waited for `after` counts as if it had arrived `advance` earlier: before those that
/// other rules put ahead of it, so that a service level is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Urgency {
    /// When, counted from its arrival.
    pub after: Millis,
    /// How far it is brought forward.
    pub advance: Millis,
}

/// For how long an agent is spared who did not take an offer, by its cause. 0: until they say that they
/// are ready again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AfterDecline {
    /// They did not answer (RONA).
    pub not_answered: Millis,
    /// They refused.
    pub refused: Millis,
    /// Their phone was busy.
    pub busy: Millis,
    /// Their phone could not be reached or gave an error.
    pub unreachable: Millis,
}

impl AfterDecline {
    /// For how long an agent is spared after this; 0: until they say otherwise. Not for what no agent is to
    /// blame for.
    #[must_use]
    pub fn pause(&self, cause: DeclineCause) -> Millis {
        match cause {
            DeclineCause::NotAnswered => self.not_answered,
            DeclineCause::Refused => self.refused,
            DeclineCause::Busy => self.busy,
            DeclineCause::DeviceFailed => self.unreachable,
            DeclineCause::NodeFailed => Millis(0),
        }
    }
}

/// A caller who comes back reaches the agent they talked with last, if that one is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAgentRule {
    /// For how long a caller waits for that agent alone.
    pub patience: Millis,
    /// For how long a conversation is remembered after its beginning.
    pub remembered: Millis,
}

/// Where a contact stands in its queue's timed rules. Follows from how long it has waited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Stage {
    /// Steps taken.
    pub step: u8,
    /// Reserve levels that are asked.
    pub reserve: u8,
    /// Whether it is urgent.
    pub urgent: Urgent,
}

/// See [`Stage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Urgent {
    /// Stands where it came.
    #[default]
    No,
    /// Was brought forward by [`Urgency::advance`].
    Yes,
}

impl<R, Q, C> Default for QueueRules<R, Q, C> {
    fn default() -> Self {
        Self {
            strategy: Strategy::default(),
            steps: Vec::new(),
            reserve_after: Vec::new(),
            urgency: None,
            after_decline: AfterDecline::default(),
            wrap_up_max: Millis(0),
            last_agent: None,
            answer_within: Millis(20_000),
            overflow: Vec::new(),
            hours: None,
            balance: Balance::default(),
            also: Vec::new(),
        }
    }
}

impl<R, Q, C> QueueRules<R, Q, C> {
    /// The stage of a contact that has waited for so long, and how long it will have waited at the next.
    #[must_use]
    pub fn stage(&self, waited: Millis) -> (Stage, Option<Millis>) {
        let count = |due: usize, max: usize| u8::try_from(due.min(max)).unwrap_or(u8::MAX);
        let step = self.steps.iter().filter(|step| step.after <= waited).count();
        let reserve = self.reserve_after.iter().filter(|after| **after <= waited).count();
        let urgent = self.urgency.is_some_and(|urgency| urgency.after <= waited);
        let times = self.steps.iter().map(|step| step.after);
        let times = times.chain(self.reserve_after.iter().copied());
        let next = times.chain(self.urgency.map(|urgency| urgency.after)).filter(|at| *at > waited);
        let stage = Stage {
            step: count(step, STEPS_MAX),
            reserve: count(reserve, RESERVE_LEVELS_MAX),
            urgent: if urgent { Urgent::Yes } else { Urgent::No },
        };
        (stage, next.min())
    }

    /// When the next rule about the time in the queue (overflow, or a further queue) is due, for a contact that has been in it for so long.
    #[must_use]
    pub fn next_overflow(&self, waited: Millis) -> Option<Millis> {
        let times = self.overflow.iter().filter_map(|rule| match rule.when {
            Trigger::Waited(after) => Some(after),
            _ => None,
        });
        let also = self.also.iter().map(|also| also.after);
        times.chain(also).filter(|after| *after > waited).min()
    }

    /// The same rules with other words for requirements, queues and calendars.
    ///
    /// # Errors
    /// The first error of a closure.
    pub fn try_map<T, P, D, E>(
        &self,
        mut requirement: impl FnMut(&R) -> Result<T, E>,
        mut queue: impl FnMut(&Q) -> Result<P, E>,
        mut calendar: impl FnMut(&C) -> Result<D, E>,
    ) -> Result<QueueRules<T, P, D>, E> {
        let hours = self.hours.as_ref().map(|hours| {
            let calendar = calendar(&hours.calendar)?;
            Ok(Hours { calendar, at_close: hours.at_close })
        });
        let mut overflow = |rule: &Overflow<Q>| {
            let to = match &rule.to {
                Target::Queue(to) => Target::Queue(queue(to)?),
                Target::Away => Target::Away,
            };
            Ok(Overflow { when: rule.when, to })
        };
        let overflow = self.overflow.iter().map(&mut overflow).collect::<Result<_, E>>()?;
        let mut also = |also: &Also<Q>| Ok(Also { after: also.after, queue: queue(&also.queue)? });
        let also = self.also.iter().map(&mut also).collect::<Result<_, E>>()?;
        let step = |step: &Step<R>| {
            let requirement = requirement(&step.requirement)?;
            Ok(Step { after: step.after, requirement, own: step.own })
        };
        Ok(QueueRules {
            strategy: self.strategy,
            steps: self.steps.iter().map(step).collect::<Result<_, E>>()?,
            reserve_after: self.reserve_after.clone(),
            urgency: self.urgency,
            after_decline: self.after_decline,
            wrap_up_max: self.wrap_up_max,
            last_agent: self.last_agent,
            answer_within: self.answer_within,
            overflow,
            hours: hours.transpose()?,
            balance: self.balance,
            also,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the stage follows from the wait alone, and the next moment of change is the nearest of all
    // rules; both at their edges.
    #[test]
    fn stages() {
        let step = |ms| Step { after: Millis(ms), requirement: (), own: OwnRequirement::Kept };
        let rules: QueueRules<(), (), ()> = QueueRules {
            steps: vec![step(10), step(30)],
            reserve_after: vec![Millis(20), Millis(30)],
            urgency: Some(Urgency { after: Millis(25), advance: Millis(1) }),
            ..QueueRules::default()
        };
        let stage = |step, reserve, urgent| Stage { step, reserve, urgent };
        for (waited, expected, next) in [
            (0, stage(0, 0, Urgent::No), Some(10)),
            (9, stage(0, 0, Urgent::No), Some(10)),
            (10, stage(1, 0, Urgent::No), Some(20)),
            (20, stage(1, 1, Urgent::No), Some(25)),
            (25, stage(1, 1, Urgent::Yes), Some(30)),
            (30, stage(2, 2, Urgent::Yes), None),
            (9_999, stage(2, 2, Urgent::Yes), None),
        ] {
            assert_eq!(rules.stage(Millis(waited)), (expected, next.map(Millis)), "{waited}");
        }
        assert_eq!(QueueRules::<(), (), ()>::default().stage(Millis(7)), (Stage::default(), None));
    }
}

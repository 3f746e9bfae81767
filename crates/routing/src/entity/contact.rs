//! Contacts: one thing waiting for an agent, or talking with one.

use std::{borrow::Cow, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Decision, FailedOffer, Queue};
use crate::{
    ids::{AgentId, ContactId, GroupId, OfferNumber, Ordinal, QueueId, SiteId, TenantId},
    limits::{FAILED_OFFERS_KEPT, PRIORITY_STEP_MS, QUEUE_WEIGHT_STEP_MS},
    name::{CallerNumber, Name},
    requirement::SharedRequirement,
    rules::{Stage, Urgent},
    time::{ClusterTime, Millis},
};

/// Why a contact ended. Recorded for each (invariant R3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndReason {
    /// The caller hung up before an agent answered.
    Abandoned,
    /// The caller hung up after talking.
    CallerHungUp,
    /// The agent hung up.
    AgentHungUp,
    /// Waited longer than the queue allows.
    WaitedTooLong,
    /// An operator ended it.
    Operator,
    /// The caller's leg could not be kept after the loss of a node or relay.
    LegLost,
    /// Signalling or media failed.
    Failed,
    /// The caller's phone says that it knows no such call: they hung up while nobody could hear it, or
    /// their side lost the call. Which of both, nobody can know.
    CallerGone,
    /// The log's word came too late: the caller had been refused, or had left, in the meantime. No place
    /// is kept: they were promised none, and whoever tried again is in the line already.
    TurnedAway,
    /// A rule of the queue sent it away.
    Overflowed,
}

impl EndReason {
    /// True when the caller may have lost a place by no doing of their own.
    #[must_use]
    pub fn may_have_cost_a_place(self) -> bool {
        matches!(self, Self::LegLost | Self::CallerGone)
    }
}

/// Where a contact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContactState {
    /// Waits and may be offered.
    Queued,
    /// Its owner was lost: keeps its place, is not offered until its leg answered or media flows.
    Unconfirmed,
    /// An agent's phone rings for it.
    Offered {
        /// The current offer.
        offer: OfferNumber,
        /// To whom.
        agent: AgentId,
    },
    /// Talks with an agent.
    Connected {
        /// With whom.
        agent: AgentId,
        /// The offer that was accepted.
        offer: OfferNumber,
        /// Since when.
        since: ClusterTime,
    },
}

/// One thing waiting for an agent, or talking with one. Ended contacts are not live rows; their
/// record goes to the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Its name for ever.
    pub id: ContactId,
    /// Owner.
    pub tenant: TenantId,
    /// Where it waits.
    pub queue: QueueId,
    /// What an agent must meet: the queue's requirement and `own`, canonical. Follows a change of
    /// the queue.
    pub requirement: SharedRequirement,
    /// What this contact asks besides its queue.
    pub own_requirement: SharedRequirement,
    /// 0-10, higher first.
    pub priority: u8,
    /// Its importance as time: arrival in ms, earlier by [`PRIORITY_STEP_MS`] per step of priority
    /// and [`QUEUE_WEIGHT_STEP_MS`] per step of queue weight. Changes only by an entry, so that the
    /// order of two contacts never changes by waiting.
    pub effective_arrival_ms: i64,
    /// When it came; kept through transfer, overflow, site move, takeover (invariant R11).
    pub arrival: ClusterTime,
    /// When it was admitted here; differs from `arrival` for a reserved place.
    pub admitted: ClusterTime,
    /// The site whose trunk it came in by.
    pub ingress: SiteId,
    /// The site whose agents are preferred.
    pub serving: SiteId,
    /// Until then only agents of `serving` are asked.
    pub widen_at: Option<ClusterTime>,
    /// When it has waited for too long.
    pub wait_until: Option<ClusterTime>,
    /// Until then agents are held for it: set with [`ContactState::Unconfirmed`], gone with it, and
    /// cleared when that time has come.
    pub hold_until: Option<ClusterTime>,
    /// The agent whose phone dropped the conversation: offered this contact again only if nobody else
    /// is free. Forgotten with the next offer.
    pub left_by: Option<AgentId>,
    /// Who calls; personal data.
    pub caller: CallerNumber,
    /// What was called.
    pub called: Name,
    /// Where it stands.
    pub state: ContactState,
    /// The latest offer that expired or was withdrawn: a late accept of it still connects if the
    /// contact was not offered again.
    pub last_offer: Option<(OfferNumber, AgentId)>,
    /// Offers made so far.
    pub offers: u32,
    /// Where it stands in its queue's timed rules.
    pub stage: Stage,
    /// When it comes to the next stage.
    pub stage_at: Option<ClusterTime>,
    /// Its place as a supervisor set it, in the terms of `effective_arrival_ms`, instead of what follows
    /// from priority and weight.
    pub placed: Option<i64>,
    /// The agent for whom alone it waits.
    pub preferred: Option<Preferred>,
    /// Why the latest offer went to whom it went.
    pub decision: Option<Arc<Decision>>,
    /// Since when it is in this queue: later than `arrival` after an overflow.
    pub entered: ClusterTime,
    /// Queues that it has left.
    pub visited: Vec<QueueId>,
    /// The latest offers that came to nothing, at most [`FAILED_OFFERS_KEPT`].
    pub failed_offers: Vec<FailedOffer>,
    /// Who is rung beside the agent of the current offer, by offers of their own, where a queue rings all.
    pub ringing: Vec<(OfferNumber, AgentId)>,
    /// How many stood in the line of its queue when it came into it, itself included.
    pub came_as: u32,
    /// Further queues in which it waits as well, by the rules of its queue.
    pub also: Vec<Entry>,
    /// The queue through which the current or latest offer was made, if that was a further one.
    pub via: Option<QueueId>,
}

/// A contact's place in a further queue: the first agent of any of its queues takes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Which queue.
    pub queue: QueueId,
    /// What an agent of that queue must meet.
    pub requirement: SharedRequirement,
    /// Where it stands in that queue's timed rules.
    pub stage: Stage,
    /// Its importance there; see [`Contact::effective_arrival_ms`].
    pub effective_arrival_ms: i64,
}

/// An agent for whom alone a contact waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferred {
    /// Who.
    pub agent: AgentId,
    /// Until when.
    pub until: ClusterTime,
}

impl Contact {
    /// True while the contact has a place in the line (also while a phone rings for it).
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !matches!(self.state, ContactState::Connected { .. })
    }

    /// True while agents who could serve it are not given to contacts behind it: its owner was lost a
    /// moment ago, and its leg is being confirmed.
    #[must_use]
    pub fn holds_agents(&self) -> bool {
        self.state == ContactState::Unconfirmed && self.hold_until.is_some()
    }

    /// Its current offers and to whom they are: one, or several where a queue rings all.
    pub fn current_offers(&self) -> impl Iterator<Item = (OfferNumber, AgentId)> {
        let first = match self.state {
            ContactState::Offered { offer, agent } => Some((offer, agent)),
            _ => None,
        };
        first.into_iter().chain(self.ringing.iter().copied())
    }

    /// Takes one of its offers back; it waits again when that was the last one.
    pub(crate) fn withdraw(&mut self, offer: OfferNumber) {
        self.ringing.retain(|(other, _)| *other != offer);
        if matches!(self.state, ContactState::Offered { offer: first, .. } if first == offer) {
            self.state = ContactState::Queued;
            if !self.ringing.is_empty() {
                let (offer, agent) = self.ringing.remove(0);
                self.state = ContactState::Offered { offer, agent };
            }
        }
    }

    /// The contact as its further queues see it, one after the other.
    pub fn elsewhere(&self) -> impl Iterator<Item = Self> {
        self.also.iter().map(|entry| Self {
            queue: entry.queue,
            requirement: entry.requirement.clone(),
            stage: entry.stage,
            effective_arrival_ms: entry.effective_arrival_ms,
            placed: None,
            also: Vec::new(),
            ..self.clone()
        })
    }

    /// The contact as one of its queues sees it; as its first one, where it does not wait in that.
    #[must_use]
    pub fn seen_in(&self, queue: QueueId) -> Cow<'_, Self> {
        let other = self.also.iter().any(|entry| entry.queue == queue);
        let seen = other.then(|| self.elsewhere().find(|row| row.queue == queue)).flatten();
        seen.map_or(Cow::Borrowed(self), Cow::Owned)
    }

    /// The contact as each queue sees it that it may be offered through: while it waits for one agent alone,
    /// its own.
    #[must_use]
    pub fn seen_by_all(&self) -> Vec<Self> {
        let others = self.elsewhere().filter(|_| self.preferred.is_none());
        std::iter::once(self.clone()).chain(others).collect()
    }

    /// True when it has a place in this queue.
    #[must_use]
    pub fn waits_in(&self, queue: QueueId) -> bool {
        self.queue == queue || self.also.iter().any(|entry| entry.queue == queue)
    }

    /// The queue through which the current or latest offer was made.
    #[must_use]
    pub fn offered_in(&self) -> QueueId {
        self.via.filter(|via| self.waits_in(*via)).unwrap_or(self.queue)
    }

    /// Its place in a further queue, after a wait of this length since its arrival; and when that changes.
    pub(crate) fn entry_in(&self, queue: &Queue, waited: Millis) -> (Entry, Option<ClusterTime>) {
        let (stage, next) = queue.rules.stage(waited);
        let entry = Entry {
            queue: queue.id,
            requirement: queue.requirement_at(stage.step, &self.own_requirement),
            stage,
            effective_arrival_ms: self.natural_place(queue, stage),
        };
        (entry, next.map(|after| self.arrival + after))
    }

    /// Its place among the waiting.
    #[must_use]
    pub fn wait_key(&self) -> WaitKey {
        WaitKey {
            effective_arrival_ms: self.effective_arrival_ms,
            arrival: self.arrival,
            ordinal: self.id.ordinal,
            group: self.id.group,
        }
    }

    /// Takes over what follows from the queue's row: at admission and when the row changes.
    pub fn follow(&mut self, queue: &Queue, now: ClusterTime) {
        self.wait_until = (queue.wait_max.0 > 0).then(|| self.arrival + queue.wait_max);
        self.advance(queue, now);
    }

    /// Takes over what follows from how long it has waited.
    pub fn advance(&mut self, queue: &Queue, now: ClusterTime) {
        let (stage, next) = queue.rules.stage(now.since(self.arrival));
        self.stage = stage;
        let leaves = queue.rules.next_overflow(now.since(self.entered));
        let leaves = leaves.map(|after| self.entered + after);
        self.stage_at = next.map(|after| self.arrival + after).into_iter().chain(leaves).min();
        self.requirement = queue.requirement_at(stage.step, &self.own_requirement);
        self.stand(queue);
    }

    /// Takes its place in the order of the queue.
    pub fn stand(&mut self, queue: &Queue) {
        self.effective_arrival_ms =
            self.placed.unwrap_or_else(|| self.natural_place(queue, self.stage));
    }

    /// Notes an offer that came to nothing.
    pub(crate) fn note_failed(&mut self, failed: FailedOffer) {
        if self.failed_offers.len() >= FAILED_OFFERS_KEPT {
            self.failed_offers.remove(0);
        }
        self.failed_offers.push(failed);
    }

    fn natural_place(&self, queue: &Queue, stage: Stage) -> i64 {
        let urgent = queue.rules.urgency.filter(|_| stage.urgent == Urgent::Yes);
        let shift = u64::from(self.priority) * PRIORITY_STEP_MS
            + u64::from(queue.weight) * QUEUE_WEIGHT_STEP_MS
            + urgent.map_or(0, |urgency| urgency.advance.0);
        i64::try_from(self.arrival.0).unwrap_or(i64::MAX).saturating_sub_unsigned(shift)
    }
}

/// Order among waiting contacts: the smallest goes first (invariant R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitKey {
    /// See [`Contact::effective_arrival_ms`].
    pub effective_arrival_ms: i64,
    /// First tie: who came first.
    pub arrival: ClusterTime,
    /// Second tie: who was admitted first.
    pub ordinal: Ordinal,
    /// Makes the key unique across groups.
    pub group: GroupId,
}

impl WaitKey {
    /// Whose key it is.
    #[must_use]
    pub fn contact(&self) -> ContactId {
        ContactId { group: self.group, ordinal: self.ordinal }
    }
}

/// A contact's row as version 1 had it.
#[derive(Deserialize)]
pub struct ContactV1 {
    id: ContactId,
    tenant: TenantId,
    queue: QueueId,
    requirement: SharedRequirement,
    own_requirement: SharedRequirement,
    priority: u8,
    effective_arrival_ms: i64,
    arrival: ClusterTime,
    admitted: ClusterTime,
    ingress: SiteId,
    serving: SiteId,
    widen_at: Option<ClusterTime>,
    wait_until: Option<ClusterTime>,
    hold_until: Option<ClusterTime>,
    left_by: Option<AgentId>,
    caller: CallerNumber,
    called: Name,
    state: ContactState,
    last_offer: Option<(OfferNumber, AgentId)>,
    offers: u32,
}

impl From<ContactV1> for Contact {
    fn from(old: ContactV1) -> Self {
        Self {
            id: old.id,
            tenant: old.tenant,
            queue: old.queue,
            requirement: old.requirement,
            own_requirement: old.own_requirement,
            priority: old.priority,
            effective_arrival_ms: old.effective_arrival_ms,
            arrival: old.arrival,
            admitted: old.admitted,
            ingress: old.ingress,
            serving: old.serving,
            widen_at: old.widen_at,
            wait_until: old.wait_until,
            hold_until: old.hold_until,
            left_by: old.left_by,
            caller: old.caller,
            called: old.called,
            state: old.state,
            last_offer: old.last_offer,
            offers: old.offers,
            stage: Stage::default(),
            stage_at: None,
            placed: None,
            preferred: None,
            decision: None,
            entered: old.admitted,
            visited: Vec::new(),
            failed_offers: Vec::new(),
            ringing: Vec::new(),
            came_as: 0,
            also: Vec::new(),
            via: None,
        }
    }
}

//! Why a contact waits, and why an agent does not get it, from the state as it is.
//!
//! Why an agent *was* chosen is in the contact's row ([`crate::entity::Decision`]). This looks at every
//! agent: for people who ask, never for a decision. [`crate::invariants`] find by their own way who is free
//! for whom, and check this against it.

use crate::{
    entity::{
        Agent, Contact, ContactState, Decision, DeviceState, LoginState, NotReadyReason, WorkState,
    },
    ids::{AgentId, ContactId, SiteId},
    requirement::{Abilities, BoundRequirement},
    state::State,
    time::ClusterTime,
};

/// Why an agent is not offered a waiting contact now. The first that applies, in this order: what they
/// cannot do, then what they are doing, then what others are entitled to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhyNot {
    /// They do not serve its queue.
    ServesOtherQueues,
    /// They do not meet these parts of the requirement.
    Lacks(Vec<BoundRequirement>),
    /// They are of a reserve level that is not asked yet.
    InReserve(u8),
    /// Not at work.
    LoggedOut,
    /// Not ready, for this reason.
    NotReady(NotReadyReason),
    /// Spared for a while.
    Paused {
        /// What came in between.
        why: NotReadyReason,
        /// Until when.
        until: ClusterTime,
    },
    /// Their phone rings, for this contact if it is known.
    Ringing(Option<ContactId>),
    /// They talk with this contact.
    Talking(ContactId),
    /// After-contact work.
    WrapUp(ClusterTime),
    /// Their phone cannot be reached.
    NoPhone(DeviceState),
    /// Their site drains, is closed, or has no weight.
    SiteTakesNone(SiteId),
    /// Agents of their site have as many contacts as its cap allows.
    SiteIsFull(SiteId),
    /// The contact waits for another agent alone, until then.
    WaitsFor(AgentId, ClusterTime),
    /// The contact is kept for agents of this site, until then.
    KeptForSite(SiteId, ClusterTime),
    /// They are held for this contact, which is ahead and being confirmed.
    HeldFor(ContactId),
    /// The contact is being confirmed after the loss of its node.
    BeingConfirmed,
    /// Both are free: work that is under way brings them together, or somebody who goes first.
    UnderWay,
}

/// Why an agent does not have a waiting contact; `None` when the contact does not wait (it rings or talks).
#[must_use]
pub fn why_not(state: &State, contact: &Contact, agent: &Agent) -> Option<WhyNot> {
    if !matches!(contact.state, ContactState::Queued | ContactState::Unconfirmed) {
        return None;
    }
    let seen = contact.seen_by_all();
    // The reason of the queue by which they are nearest to each other.
    seen.iter().map(|seen| why_not_in(state, seen, agent)).max_by_key(nearness)
}

/// How near an agent is to a contact by a reason: what they cannot do keeps them further apart than what they
/// do at the moment.
fn nearness(reason: &WhyNot) -> u8 {
    match reason {
        WhyNot::ServesOtherQueues => 0,
        WhyNot::Lacks(_) => 1,
        WhyNot::InReserve(_) => 2,
        WhyNot::KeptForSite(..) => 4,
        WhyNot::HeldFor(_) => 5,
        WhyNot::UnderWay => 6,
        _ => 3,
    }
}

/// The same for one of the contact's queues.
fn why_not_in(state: &State, contact: &Contact, agent: &Agent) -> WhyNot {
    let takes = |site| state.sites().get(&site).is_some_and(|row| row.takes_contacts());
    if !agent.queues.contains(&contact.queue) {
        WhyNot::ServesOtherQueues
    } else if let lacks @ [_, ..] = &*unmet(&contact.requirement, &agent.abilities()) {
        WhyNot::Lacks(lacks.to_vec())
    } else if let Some(level) = reserve(contact, agent) {
        WhyNot::InReserve(level)
    } else if let Some(busy) = what_they_do(state, agent) {
        busy
    } else if !takes(agent.site) {
        WhyNot::SiteTakesNone(agent.site)
    } else if state.site_is_full(agent.site) {
        WhyNot::SiteIsFull(agent.site)
    } else if let Some(wanted) = contact.preferred.filter(|wanted| wanted.agent != agent.id) {
        WhyNot::WaitsFor(wanted.agent, wanted.until)
    } else if let Some(until) = contact.widen_at.filter(|_| state.is_kept_from(contact, agent.site))
    {
        WhyNot::KeptForSite(contact.serving, until)
    } else if contact.state == ContactState::Unconfirmed {
        WhyNot::BeingConfirmed
    } else if let Some(other) = state.held_for(agent, contact.wait_key()) {
        WhyNot::HeldFor(other)
    } else {
        WhyNot::UnderWay
    }
}

fn reserve(contact: &Contact, agent: &Agent) -> Option<u8> {
    agent.reserves.get(&contact.queue).copied().filter(|level| *level > contact.stage.reserve)
}

fn what_they_do(state: &State, agent: &Agent) -> Option<WhyNot> {
    if agent.login == LoginState::LoggedOut {
        return Some(WhyNot::LoggedOut);
    }
    let doing = match &agent.work {
        WorkState::Ready => None,
        WorkState::NotReady(why) => Some(WhyNot::NotReady(why.clone())),
        WorkState::Paused { why, until } => {
            Some(WhyNot::Paused { why: why.clone(), until: *until })
        }
        WorkState::Offered(offer) => {
            Some(WhyNot::Ringing(state.offers().get(offer).map(|offer| offer.contact)))
        }
        WorkState::Busy(contact) => Some(WhyNot::Talking(*contact)),
        WorkState::WrapUp(until) => Some(WhyNot::WrapUp(*until)),
    };
    let phone = (agent.device != DeviceState::Registered).then_some(WhyNot::NoPhone(agent.device));
    doing.or(phone)
}

/// The parts of a requirement that somebody does not meet: of terms that are all asked for, each one.
#[must_use]
pub fn unmet(requirement: &BoundRequirement, by: &Abilities<'_>) -> Vec<BoundRequirement> {
    match requirement {
        _ if requirement.is_met(by) => Vec::new(),
        BoundRequirement::All(terms) => terms.iter().flat_map(|term| unmet(term, by)).collect(),
        other => vec![other.clone()],
    }
}

/// Contacts that go before a waiting one in its queue, those included whose agent's phone rings.
#[must_use]
pub fn ahead(state: &State, contact: &Contact) -> usize {
    let key = contact.wait_key();
    let before =
        |row: &&Contact| row.queue == contact.queue && row.is_waiting() && row.wait_key() < key;
    state.contacts().iter().filter(before).count()
}

/// What an agent was to a decision, as far as the rows still tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// Was chosen.
    Chosen,
    /// Would have been asked next.
    Next,
    /// Could not have been: the same holds now as then.
    Not(WhyNot),
    /// Was ready, and stood behind.
    StoodBehind,
    /// Has done something else since: was either not ready, or stood behind.
    ChangedSince,
}

/// What an agent was to the decision that a contact's latest offer came from. Abilities are those of now.
#[must_use]
pub fn then(state: &State, contact: &Contact, decision: &Decision, agent: &Agent) -> Then {
    if agent.id == decision.agent {
        return Then::Chosen;
    }
    if decision.next.is_some_and(|next| next.agent == agent.id) {
        return Then::Next;
    }
    let contact = &*contact.seen_in(decision.queue);
    let asked = Contact { stage: decision.stage, ..contact.clone() };
    if !agent.queues.contains(&contact.queue) {
        return Then::Not(WhyNot::ServesOtherQueues);
    }
    if let lacks @ [_, ..] = &*unmet(&contact.requirement, &agent.abilities()) {
        return Then::Not(WhyNot::Lacks(lacks.to_vec()));
    }
    if let Some(level) = reserve(&asked, agent) {
        return Then::Not(WhyNot::InReserve(level));
    }
    if agent.work_since >= decision.at {
        return Then::ChangedSince;
    }
    what_they_do(state, agent).map_or(Then::StoodBehind, Then::Not)
}

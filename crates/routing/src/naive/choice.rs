//! The one rule: who is brought together with whom, and in which order.

use std::collections::BTreeSet;

use super::{Judge, also::seen_by_all};
use crate::{
    entity::{Agent, Contact, ContactState, DeviceState, LoginState, Queue, SiteChoice, WorkState},
    ids::{AgentId, ContactId, OfferNumber, Ordinal, SiteId, SkillId},
    limits::{OFFER_BACKSTOP_MS, RING_ALL_MAX},
    requirement::BoundRequirement,
    rules::{OwnRequirement, Trigger, Urgent},
    strategy::Strategy,
    time::{ClusterTime, Millis},
};

impl Judge {
    pub(super) fn settle(&mut self) {
        self.leave_unstaffed();
        while let Some((view, agent, next)) = self.next_match() {
            let (id, queue) = (view.id, view.queue);
            self.seconds.insert(id, next);
            let was = self.contacts[&id].clone();
            if let Some(row) = self.contacts.get_mut(&id) {
                row.left_by = None;
                row.preferred = None;
                row.via = (queue != row.queue).then_some(queue);
            }
            self.offer(id, agent);
            let strategy = self.queues[&queue].rules.strategy;
            if strategy != Strategy::RingAll || was.preferred.is_some() {
                continue;
            }
            for _ in 1..RING_ALL_MAX {
                let seen = seen_by_all(&self.contacts[&id]);
                let Some(contact) = seen.into_iter().find(|seen| seen.queue == queue) else {
                    break;
                };
                let mut able = self.able(&contact);
                able.retain(|agent| was.left_by != Some(agent.id));
                let Some(agent) = self.best(&contact, &able) else { break };
                self.offer(id, agent);
            }
        }
    }

    /// An agent's phone rings for a contact.
    fn offer(&mut self, id: ContactId, agent: AgentId) {
        let queue = self.contacts[&id].offered_in();
        self.sums(queue).offers += 1;
        self.last_offer += 1;
        let number = OfferNumber(self.last_offer);
        let expires = ClusterTime(self.now.0 + self.queues[&queue].ring.0 + OFFER_BACKSTOP_MS);
        self.offers.insert(number, (id, agent, expires));
        if let Some(row) = self.contacts.get_mut(&id) {
            row.offers += 1;
            if let ContactState::Offered { .. } = row.state {
                row.ringing.push((number, agent));
            } else {
                row.state = ContactState::Offered { offer: number, agent };
            }
        }
        self.enter(agent, WorkState::Offered(number));
        let in_turns = self.queues[&queue].rules.strategy == Strategy::RoundRobin;
        if in_turns && let Some(row) = self.agents.get_mut(&agent) {
            row.asked.insert(queue, self.ordinal);
        }
    }

    /// Puts an agent into a work state, and counts the time in the one before.
    pub(super) fn enter(&mut self, agent: AgentId, work: WorkState) {
        let Some(row) = self.agents.get_mut(&agent) else { return };
        let spent = Millis(self.now.0 - row.work_since.0);
        let logged_in = row.login != LoginState::LoggedOut;
        let (was, site, after) = (row.work.clone(), row.site, row.after);
        let tenant = row.tenant;
        let bucket = match row.work {
            WorkState::Busy(_) => Some(&mut row.tally.talk),
            WorkState::WrapUp(_) => Some(&mut row.tally.wrap_up),
            WorkState::Ready if logged_in => Some(&mut row.tally.available),
            _ => None,
        };
        if let Some(bucket) = bucket {
            bucket.0 += spent.0;
        }
        if let WorkState::Busy(_) = work {
            row.tally.contacts += 1;
        }
        let is = work.clone();
        row.work = work;
        row.work_since = self.now;
        row.turn = self.ordinal;
        row.after = None;
        self.count_agent(agent, tenant, logged_in, (&was, spent, &is));
        if logged_in && spent.0 > 0 {
            let sums = self.site_sums(site);
            match was {
                WorkState::Busy(_) => sums.talk.0 += spent.0,
                WorkState::Offered(_) => sums.ringing.0 += spent.0,
                WorkState::Ready => sums.available.0 += spent.0,
                WorkState::NotReady(_) | WorkState::Paused { .. } => sums.not_ready.0 += spent.0,
                WorkState::WrapUp(_) => {
                    sums.wrap_up.0 += spent.0;
                    // A queue that was removed in the meantime has no sums.
                    let queue = after.map(|after| after.queue);
                    if let Some(queue) = queue.filter(|queue| self.queues.contains_key(queue)) {
                        self.sums(queue).wrap_up.0 += spent.0;
                    }
                }
            }
        }
    }

    /// Who is brought together next, and whom the contact would have gone to otherwise.
    /// The contact is as the queue sees it that they are brought together in.
    pub(super) fn next_match(&self) -> Option<(Contact, AgentId, Option<AgentId>)> {
        let queued = self.contacts.values().filter(|c| c.state == ContactState::Queued);
        let mut waiting: Vec<Contact> = queued.flat_map(seen_by_all).collect();
        waiting.sort_by_key(|c| (order(c), c.queue));
        for contact in waiting {
            let mut able = self.able(&contact);
            if able.len() > 1 {
                able.retain(|agent| contact.left_by != Some(agent.id));
            }
            if let Some(agent) = self.best(&contact, &able) {
                able.retain(|other| other.id != agent);
                let next = self.best(&contact, &able);
                return Some((contact, agent, next));
            }
        }
        None
    }

    /// Who may be asked for a contact, in the order of its queue.
    fn able(&self, contact: &Contact) -> Vec<&Agent> {
        let mut able: Vec<&Agent> = self
            .agents
            .values()
            .filter(|agent| self.may_talk(contact, agent))
            .filter(|agent| !self.is_held(contact, agent))
            .collect();
        able.sort_by_key(|agent| (self.rank(contact, agent), agent.idle_since, agent.id));
        able
    }

    /// The first of those in that order: of the preferred site, if the queue has one.
    fn best(&self, contact: &Contact, able: &[&Agent]) -> Option<AgentId> {
        let prefers_site = self.queues[&contact.queue].site_choice != SiteChoice::Any;
        let preferred = able.iter().find(|agent| agent.site == contact.serving);
        let best = if prefers_site { preferred.or(able.first()) } else { able.first() };
        best.map(|agent| agent.id)
    }

    /// Who is asked first by the queue's strategy: the smallest.
    pub(super) fn rank(&self, contact: &Contact, agent: &Agent) -> (i64, u64) {
        let asked_for = skills_of(&contact.requirement);
        let fit: i64 = asked_for
            .iter()
            .map(|skill| agent.skills.get(skill).copied().map_or(0, i64::from))
            .sum();
        match self.queues[&contact.queue].rules.strategy {
            Strategy::LongestIdle | Strategy::RingAll => (0, 0),
            Strategy::RoundRobin => (0, agent.asked.get(&contact.queue).map_or(0, |at| at.0)),
            Strategy::MostSkilled => (-fit, 0),
            Strategy::LeastSkilled => (fit, 0),
            Strategy::FewestContacts => (i64::from(agent.tally.contacts), 0),
            Strategy::LeastTalkTime => (0, agent.tally.talk.0),
            Strategy::LowestOccupancy => {
                let handled = agent.tally.talk.0 + agent.tally.wrap_up.0;
                let all = handled + agent.tally.available.0;
                (0, (handled * 1_000_000).checked_div(all).unwrap_or(0))
            }
            Strategy::Linear => {
                let tier = agent.tiers.get(&contact.queue);
                tier.map_or((1, 1), |tier| (i64::from(tier.level), u64::from(tier.position)))
            }
            // Chance has no second way to be drawn: what the judge adds is who may be drawn at all.
            Strategy::Random => (0, agent.chance()),
        }
    }

    /// True while somebody ahead of this contact is being confirmed whom the agent could take.
    pub(super) fn is_held(&self, contact: &Contact, agent: &Agent) -> bool {
        let doubted = self
            .contacts
            .values()
            .filter(|other| other.state == ContactState::Unconfirmed && other.hold_until.is_some());
        doubted
            .flat_map(seen_by_all)
            .any(|other| order(&other) < order(contact) && self.may_talk(&other, agent))
    }

    pub(super) fn may_talk(&self, contact: &Contact, agent: &Agent) -> bool {
        let takes = |site: SiteId| self.takes(site);
        let qualified = |agent: &Agent| qualified(contact, agent);
        let kept_for_another = contact.preferred.is_some_and(|wanted| wanted.agent != agent.id);
        let kept_for_another_site = contact.preferred.is_none()
            && contact.widen_at.is_some()
            && agent.site != contact.serving
            && takes(contact.serving)
            && self.agents.values().any(|other| {
                other.site == contact.serving
                    && other.login != LoginState::LoggedOut
                    && qualified(other)
            });
        agent.login != LoginState::LoggedOut
            && agent.work == WorkState::Ready
            && agent.device == DeviceState::Registered
            && takes(agent.site)
            && qualified(agent)
            && !kept_for_another
            && !kept_for_another_site
    }
}

/// Who goes first (R5).
pub(super) fn order(contact: &Contact) -> (i64, ClusterTime, Ordinal) {
    (contact.effective_arrival_ms, contact.arrival, contact.id.ordinal)
}

/// Skills that a requirement asks for somewhere, and excludes nowhere on the way there.
pub(super) fn skills_of(requirement: &BoundRequirement) -> BTreeSet<SkillId> {
    match requirement {
        BoundRequirement::Skill { skill, .. } => BTreeSet::from([*skill]),
        BoundRequirement::Site(_)
        | BoundRequirement::Not(_)
        | BoundRequirement::Attribute { .. }
        | BoundRequirement::Agent(_) => BTreeSet::new(),
        BoundRequirement::All(terms) | BoundRequirement::Any(terms) => {
            terms.iter().flat_map(skills_of).collect()
        }
    }
}

/// True when an agent serves the queue of a contact and can do what it asks.
pub(super) fn qualified(contact: &Contact, agent: &Agent) -> bool {
    let reserve = agent.reserves.get(&contact.queue).copied().unwrap_or(0);
    agent.queues.contains(&contact.queue)
        && reserve <= contact.stage.reserve
        && contact.requirement.is_met(&agent.abilities())
}

pub(super) fn follow_row(contact: &mut Contact, queue: &Queue, now: ClusterTime) {
    let rules = &queue.rules;
    let waited = now.0 - contact.arrival.0;
    contact.wait_until = match queue.wait_max {
        Millis(0) => None,
        Millis(max) => Some(ClusterTime(contact.arrival.0 + max)),
    };
    let taken: Vec<_> = rules.steps.iter().filter(|step| step.after.0 <= waited).collect();
    let open: Vec<_> = rules.reserve_after.iter().filter(|after| after.0 <= waited).collect();
    contact.stage.step = u8::try_from(taken.len()).unwrap_or(0);
    contact.stage.reserve = u8::try_from(open.len()).unwrap_or(0);
    contact.stage.urgent = match rules.urgency {
        Some(urgency) if urgency.after.0 <= waited => Urgent::Yes,
        _ => Urgent::No,
    };
    let mut times: Vec<u64> = rules.steps.iter().map(|step| step.after.0).collect();
    times.extend(rules.reserve_after.iter().map(|after| after.0));
    times.extend(rules.urgency.map(|urgency| urgency.after.0));
    times.retain(|after| *after > waited);
    let mut moments: Vec<u64> = times.iter().map(|after| contact.arrival.0 + after).collect();
    let mut since_entered: Vec<u64> = rules.also.iter().map(|also| also.after.0).collect();
    for rule in &rules.overflow {
        if let Trigger::Waited(after) = rule.when {
            since_entered.push(after.0);
        }
    }
    since_entered.retain(|after| *after > now.0 - contact.entered.0);
    moments.extend(since_entered.iter().map(|after| contact.entered.0 + after));
    contact.stage_at = moments.into_iter().min().map(ClusterTime);
    let base = taken.last().map_or(&queue.requirement, |step| &step.requirement);
    let mut both = vec![(**base).clone()];
    if taken.iter().all(|step| step.own == OwnRequirement::Kept) {
        both.push((*contact.own_requirement).clone());
    }
    contact.requirement = BoundRequirement::All(both).canonical().into();
    set_place(contact, queue);
}

pub(super) fn set_place(contact: &mut Contact, queue: &Queue) {
    let mut importance = i64::from(contact.priority) * 3_600_000 + i64::from(queue.weight) * 10_000;
    if let (Urgent::Yes, Some(urgency)) = (contact.stage.urgent, queue.rules.urgency) {
        importance += i64::try_from(urgency.advance.0).unwrap_or(0);
    }
    let natural = i64::try_from(contact.arrival.0).unwrap_or(0) - importance;
    contact.effective_arrival_ms = contact.placed.unwrap_or(natural);
}

//! What commands do to agents and contacts.

use super::{
    Judge,
    also::seen_by_all,
    choice::{follow_row, order, qualified},
};
use crate::{
    command::{DeclineCause, OfferEnd, Readiness},
    entity::{
        AfterContact, Contact, ContactState, EndReason, FailedOffer, LoginState, LogoutAfter,
        NotReadyReason, Preferred, Tally, WorkState,
    },
    ids::{AgentId, ContactId, OfferNumber, QueueId},
    limits::{FAILED_OFFERS_KEPT, NODE_FAILED_PAUSE_MS, RESERVATION_MS},
    name::Name,
    time::{ClusterTime, Millis},
};

impl Judge {
    /// What an agent does who did not take an offer.
    pub(super) fn after_decline(&self, offer: OfferNumber, cause: DeclineCause) -> WorkState {
        let queue =
            self.offers.get(&offer).map(|(contact, ..)| self.contacts[contact].offered_in());
        let pauses = queue.map(|queue| self.queues[&queue].rules.after_decline).unwrap_or_default();
        let pause = match cause {
            DeclineCause::NotAnswered => pauses.not_answered.0,
            DeclineCause::Refused => pauses.refused.0,
            DeclineCause::Busy => pauses.busy.0,
            DeclineCause::DeviceFailed => pauses.unreachable.0,
            DeclineCause::NodeFailed => NODE_FAILED_PAUSE_MS,
        };
        let why = NotReadyReason::from(cause);
        if pause == 0 {
            WorkState::NotReady(why)
        } else {
            WorkState::Paused { why, until: ClusterTime(self.now.0 + pause) }
        }
    }

    pub(super) fn place(&mut self, id: ContactId, before: Option<ContactId>) {
        let queue = self.contacts[&id].queue;
        let stands = |c: &&Contact| {
            c.state == ContactState::Queued
                || c.state == ContactState::Unconfirmed && c.hold_until.is_some()
        };
        let next = match before {
            Some(other) => Some(self.contacts[&other].clone()),
            None => {
                let seen = self.contacts.values().filter(stands).flat_map(seen_by_all);
                seen.filter(|c| c.queue == queue).min_by_key(order)
            }
        };
        if let Some(next) = next.filter(|next| next.id != id) {
            let place = next.effective_arrival_ms - 1;
            self.change(id, |row, _| {
                row.placed = Some(place);
                row.effective_arrival_ms = place;
            });
        }
    }

    /// Whom a new contact waits for alone.
    pub(super) fn preferred(
        &self,
        contact: &Contact,
        asked_for: Option<(AgentId, Millis)>,
    ) -> Option<Preferred> {
        let rule = self.queues[&contact.queue].rules.last_agent;
        let known = self.last_agents.get(&(contact.queue, contact.caller.clone()));
        let known = known.filter(|_| !contact.caller.is_withheld());
        let came_back = rule.zip(known).map(|(rule, (agent, _))| (*agent, rule.patience));
        for (agent, patience) in [asked_for, came_back].into_iter().flatten() {
            if let Some(row) = self.agents.get(&agent)
                && row.login != LoginState::LoggedOut
                && qualified(contact, row)
            {
                return Some(Preferred { agent, until: ClusterTime(self.now.0 + patience.0) });
            }
        }
        None
    }

    /// An agent has left: nobody waits for them alone.
    pub(super) fn leaves(&mut self, agent: AgentId) {
        for contact in self.contacts.values_mut() {
            if contact.preferred.is_some_and(|preferred| preferred.agent == agent) {
                contact.preferred = None;
            }
        }
        let queues = self.agents.get(&agent).map(|row| row.queues.clone()).unwrap_or_default();
        for queue in queues.iter() {
            if !self.vacated.contains(queue) {
                self.vacated.push(*queue);
            }
        }
    }

    pub(super) fn log_in(&mut self, name: &Name, as_state: &Readiness) {
        let now = self.now;
        let agent = self.agent(name);
        agent.logout_after = LogoutAfter::No;
        if agent.login == LoginState::LoggedOut {
            agent.login = LoginState::LoggedIn(now);
            agent.idle_since = now;
            agent.work_since = now;
            agent.tally = Tally::default();
        }
        self.set_readiness(name, as_state);
    }

    pub(super) fn log_out(&mut self, name: &Name) {
        let agent = self.agent(name);
        let id = agent.id;
        if agent.is_engaged() {
            agent.logout_after = LogoutAfter::Contact;
        } else {
            self.enter(id, WorkState::NotReady(NotReadyReason::Unspecified));
            let agent = self.agent(name);
            agent.login = LoginState::LoggedOut;
            agent.next_not_ready = None;
            self.leaves(id);
        }
    }

    pub(super) fn set_readiness(&mut self, name: &Name, to: &Readiness) {
        let agent = self.agent(name);
        let id = agent.id;
        let reason = match to {
            Readiness::Ready => None,
            Readiness::NotReady(None) => Some(NotReadyReason::Unspecified),
            Readiness::NotReady(Some(code)) => Some(NotReadyReason::Code(code.clone())),
        };
        if agent.is_engaged() {
            agent.next_not_ready = reason;
        } else {
            agent.next_not_ready = None;
            self.enter(id, reason.map_or(WorkState::Ready, WorkState::NotReady));
        }
    }

    pub(super) fn accept(&mut self, number: OfferNumber, id: ContactId) {
        let now = self.now;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let rung = self.offers.get(&number).map(|(_, agent, _)| *agent);
        let agent = match (contact.state, contact.last_offer) {
            (ContactState::Offered { agent, .. }, _) => rung.unwrap_or(agent),
            (_, Some((_, agent))) => agent,
            (_, None) => return,
        };
        contact.state = ContactState::Connected { agent, offer: number, since: now };
        contact.widen_at = None;
        contact.ringing.clear();
        let (from, to) = (contact.queue, contact.offered_in());
        let left = contact.clone();
        contact.also.clear();
        contact.via = None;
        if from != to {
            contact.visited.push(from);
            contact.queue = to;
            contact.entered = now;
            contact.placed = None;
            follow_row(contact, &self.queues[&to], now);
            self.sums(from).overflowed_out += 1;
            self.sums(to).overflowed_in += 1;
        }
        self.forget_left(&left);
        let contact = self.contacts[&id].clone();
        self.offers.remove(&number);
        self.enter(agent, WorkState::Busy(id));
        let waited = Millis(now.0 - contact.arrival.0);
        let target = self.queues[&contact.queue].rules.answer_within;
        let sums = self.sums(contact.queue);
        sums.answered += 1;
        sums.wait_answered.0 += waited.0;
        sums.wait_max = sums.wait_max.max(waited);
        if waited <= target {
            sums.answered_in_time += 1;
        }
        let site = self.agents[&agent].site;
        let sums = self.site_sums(site);
        sums.answered += 1;
        if site != contact.ingress {
            sums.from_elsewhere += 1;
        }
        if let Some(rule) = self.queues[&contact.queue].rules.last_agent
            && !contact.caller.is_withheld()
        {
            let until = ClusterTime(now.0 + rule.remembered.0);
            self.last_agents.insert((contact.queue, contact.caller), (agent, until));
        }
        let others = self.offers.iter().filter(|(_, (of, ..))| *of == id);
        let others: Vec<OfferNumber> = others.map(|(offer, _)| *offer).collect();
        for other in others {
            self.end_offer(other, None, OfferEnd::AnsweredElsewhere);
        }
    }

    /// Nobody's phone rings for a contact any more.
    pub(super) fn end_all_offers(&mut self, id: ContactId) {
        let offers = self.offers.iter().filter(|(_, (of, ..))| *of == id);
        let offers: Vec<OfferNumber> = offers.map(|(offer, _)| *offer).collect();
        for offer in offers {
            self.end_offer(offer, None, OfferEnd::ContactGone);
        }
    }

    pub(super) fn end_offer(
        &mut self,
        number: OfferNumber,
        then: Option<WorkState>,
        how: OfferEnd,
    ) {
        let Some((contact, agent, _)) = self.offers.remove(&number) else { return };
        if let OfferEnd::Declined(_) | OfferEnd::Expired = how {
            let queue = self.contacts[&contact].offered_in();
            self.sums(queue).offers_failed += 1;
        }
        let at = self.now;
        let rung = self.offers.iter().filter(|(_, (of, ..))| *of == contact);
        let mut rung: Vec<_> = rung.map(|(offer, (_, agent, _))| (*offer, *agent)).collect();
        if let Some(row) = self.contacts.get_mut(&contact)
            && row.is_waiting()
        {
            row.state = match rung.first().copied() {
                Some((offer, agent)) => ContactState::Offered { offer, agent },
                None => ContactState::Queued,
            };
            rung.drain(..rung.len().min(1));
            row.ringing = rung;
            row.last_offer = Some((number, agent));
            row.failed_offers.push(FailedOffer { offer: number, agent, at, how });
            if row.failed_offers.len() > FAILED_OFFERS_KEPT {
                row.failed_offers.remove(0);
            }
        }
        self.free(agent, then);
    }

    pub(super) fn free(&mut self, agent: AgentId, then: Option<WorkState>) {
        let Some(row) = self.agents.get_mut(&agent) else { return };
        let leaves = row.logout_after == LogoutAfter::Contact;
        let work = if let Some(WorkState::WrapUp(until)) = then {
            WorkState::WrapUp(until)
        } else if let Some(reason) = row.next_not_ready.take() {
            WorkState::NotReady(reason)
        } else {
            then.unwrap_or(WorkState::Ready)
        };
        self.enter(agent, work);
        if leaves && let Some(row) = self.agents.get_mut(&agent) {
            row.work = WorkState::NotReady(NotReadyReason::Unspecified);
            row.logout_after = LogoutAfter::No;
            row.login = LoginState::LoggedOut;
            row.next_not_ready = None;
            self.leaves(agent);
        }
    }

    /// Says what the wrap-up that just began follows, and until when it may be extended.
    pub(super) fn limit_wrap_up(&mut self, agent: AgentId, queue: QueueId) {
        let most = self.queues[&queue].rules.wrap_up_max.0;
        let ends_by = (most > 0).then_some(ClusterTime(self.now.0 + most));
        if let Some(row) = self.agents.get_mut(&agent)
            && let WorkState::WrapUp(_) = row.work
        {
            row.after = Some(AfterContact { queue, ends_by });
        }
    }

    pub(super) fn end(&mut self, id: ContactId, reason: EndReason) {
        let Some(contact) = self.contacts.get(&id).cloned() else { return };
        match contact.state {
            ContactState::Queued | ContactState::Unconfirmed => {}
            ContactState::Offered { .. } => self.end_all_offers(id),
            ContactState::Connected { agent, .. } => {
                let wrap_up = self.queues[&contact.queue].wrap_up;
                let until = ClusterTime(self.now.0 + wrap_up.0);
                self.free(agent, (wrap_up.0 > 0).then_some(WorkState::WrapUp(until)));
                self.limit_wrap_up(agent, contact.queue);
                if let Some(row) = self.agents.get_mut(&agent) {
                    row.idle_since = self.now;
                }
            }
        }
        let target = self.queues[&contact.queue].rules.answer_within;
        let waited = Millis(self.now.0 - contact.arrival.0);
        let now = self.now;
        let sums = self.sums(contact.queue);
        match (contact.state, reason) {
            (ContactState::Connected { since, .. }, _) => {
                sums.handled += 1;
                sums.talk.0 += now.0 - since.0;
            }
            (_, EndReason::Abandoned | EndReason::CallerGone) => {
                sums.abandoned += 1;
                sums.wait_abandoned.0 += waited.0;
                if waited <= target {
                    sums.abandoned_in_time += 1;
                }
                if waited.0 <= 5_000 {
                    sums.abandoned_short += 1;
                }
            }
            (_, EndReason::TurnedAway) => sums.turned_away += 1,
            (_, EndReason::Overflowed) => sums.overflowed_out += 1,
            _ => sums.ended_waiting += 1,
        }
        self.contacts.remove(&id);
        self.seconds.remove(&id);
        self.forget_left(&contact);
        let lost = matches!(reason, EndReason::LegLost | EndReason::CallerGone);
        if lost && contact.is_waiting() && !contact.caller.is_withheld() {
            let expires = ClusterTime(self.now.0 + RESERVATION_MS);
            let key = (contact.queue, contact.caller.clone());
            self.reservations.insert(key, (contact.arrival, expires));
        }
    }
}

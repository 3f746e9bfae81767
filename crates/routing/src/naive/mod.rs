//! The slow, obvious judge of the queue.
//!
//! The same commands over plain maps, without indexes, work lists or budgets: after each change one
//! rule is applied until it applies no more (*the waiting contact that goes first, among those that
//! some available agent may take, is offered to its best agent*; nobody takes a contact past one that
//! is being confirmed and that they could take). It must agree with
//! [`crate::state::State`] on every history; the property tests here and the simulation in `chaos`
//! compare the two. Configuration is copied from the state under test; every decision is made anew.

mod overflow;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    AgentPhone, CallerLeg,
    command::{Command, DeclineCause, OfferEnd, Readiness},
    entity::{
        AfterContact, Agent, Contact, ContactState, DeviceState, Direction, EndReason, FailedOffer,
        LoginState, LogoutAfter, NotReadyReason, Occasion, Plan, Preferred, Queue, QueueInterval,
        Site, SiteChoice, SiteInterval, SiteState, Tally, WorkState,
    },
    ids::{AgentId, ContactId, GroupId, OfferNumber, Ordinal, QueueId, SiteId, SkillId},
    limits::{
        CONFIRM_HOLD_MS, FAILED_OFFERS_KEPT, INTERVALS_KEPT_MS, NODE_FAILED_PAUSE_MS,
        OFFER_BACKSTOP_MS, RESERVATION_MS,
    },
    name::{CallerNumber, Name},
    requirement::BoundRequirement,
    rules::{OwnRequirement, Stage, Trigger, Urgent},
    state::State,
    strategy::Strategy,
    time::{ClusterTime, Millis},
};

/// What the judge believes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Judge {
    now: ClusterTime,
    ordinal: Ordinal,
    last_offer: u64,
    sites: BTreeMap<SiteId, Site>,
    queues: BTreeMap<QueueId, Queue>,
    agents: BTreeMap<AgentId, Agent>,
    contacts: BTreeMap<ContactId, Contact>,
    /// Offer to its expiry.
    offers: BTreeMap<OfferNumber, (ContactId, AgentId, ClusterTime)>,
    reservations: BTreeMap<(QueueId, CallerNumber), (ClusterTime, ClusterTime)>,
    /// Whom callers talked with last, and until when it is remembered.
    last_agents: BTreeMap<(QueueId, CallerNumber), (AgentId, ClusterTime)>,
    /// Whom each contact would have been offered to, had who was chosen not been there.
    seconds: BTreeMap<ContactId, Option<AgentId>>,
    /// What was counted, by intervals; kept for ever.
    queue_sums: BTreeMap<(u64, QueueId), QueueInterval>,
    site_sums: BTreeMap<(u64, SiteId), SiteInterval>,
    plans: BTreeMap<Ordinal, Plan>,
    /// Queues that an agent has left, in the running command.
    vacated: Vec<QueueId>,
}

impl Judge {
    /// Compares with the state under test; a text that shows the first difference.
    ///
    /// # Errors
    /// What differs, with both views.
    pub fn agree(&self, state: &State) -> Result<(), String> {
        let difference = |what: &str, ours: String, theirs: String| {
            Err(format!("{what}: the judge says\n{ours}\nbut the state says\n{theirs}"))
        };
        for agent in state.agents().iter() {
            let ours = self.agents.get(&agent.id);
            if ours != Some(agent) {
                return difference("agent", format!("{ours:#?}"), format!("{agent:#?}"));
            }
        }
        for contact in state.contacts().iter() {
            // Why somebody was chosen is a remark, checked by itself.
            let plain = Contact { decision: None, ..contact.clone() };
            let ours = self.contacts.get(&contact.id);
            if ours != Some(&plain) {
                return difference("contact", format!("{ours:#?}"), format!("{contact:#?}"));
            }
        }
        for contact in state.contacts().iter() {
            let Some(decision) = &contact.decision else { continue };
            let theirs = decision.next.map(|next| next.agent);
            let ours = self.seconds.get(&contact.id).copied().flatten();
            if decision.occasion != Occasion::AgentReady && ours != theirs {
                return difference("second", format!("{ours:?}"), format!("{decision:#?}"));
            }
        }
        for queue in state.queues().iter() {
            let ours = self.queues.get(&queue.id).map(|row| &row.assigned);
            if ours != Some(&queue.assigned) {
                return difference("shares", format!("{ours:?}"), format!("{:?}", queue.assigned));
            }
        }
        self.agree_on_sums(state)?;
        if !self.plans.values().eq(state.plans().iter()) {
            let theirs: Vec<&Plan> = state.plans().iter().collect();
            return difference("plans", format!("{:#?}", self.plans), format!("{theirs:#?}"));
        }
        for site in state.sites().iter() {
            let ours = self.sites.get(&site.id);
            if ours != Some(site) {
                return difference("site", format!("{ours:?}"), format!("{site:?}"));
            }
        }
        let last = state.last_agents().iter();
        let last: BTreeMap<_, _> =
            last.map(|row| ((row.queue, row.caller.clone()), (row.agent, row.expires))).collect();
        if last != self.last_agents {
            return difference(
                "last agents",
                format!("{:?}", self.last_agents),
                format!("{last:?}"),
            );
        }
        let ours = (self.contacts.len(), self.offers.len(), self.reservations.len());
        let theirs = (state.contacts().len(), state.offers().len(), state.reservations().len());
        if ours != theirs {
            return difference("counts", format!("{ours:?}"), format!("{theirs:?}"));
        }
        Ok(())
    }

    /// T1: what was counted was counted once.
    fn agree_on_sums(&self, state: &State) -> Result<(), String> {
        let kept = |start: u64| start + INTERVALS_KEPT_MS > self.now.0;
        for row in state.queue_intervals().iter() {
            let ours = self.queue_sums.get(&(row.start.0, row.queue));
            if ours != Some(row) {
                return Err(format!("T1: the judge counts\n{ours:#?}\nand the state\n{row:#?}"));
            }
        }
        for row in state.site_intervals().iter() {
            let ours = self.site_sums.get(&(row.start.0, row.site));
            if ours != Some(row) {
                return Err(format!("T1: the judge counts\n{ours:#?}\nand the state\n{row:#?}"));
            }
        }
        let queues = self.queue_sums.values().filter(|row| kept(row.start.0));
        let mut queues =
            queues.map(|row| state.queue_intervals().contains(&(row.start, row.queue)));
        let sites = self.site_sums.values().filter(|row| kept(row.start.0));
        let mut sites = sites.map(|row| state.site_intervals().contains(&(row.start, row.site)));
        if queues.all(|there| there) && sites.all(|there| there) {
            Ok(())
        } else {
            Err("T1: an interval is missing".to_owned())
        }
    }

    fn sums(&mut self, queue: QueueId) -> &mut QueueInterval {
        let start = self.now.0 / 900_000 * 900_000;
        let tenant = self.queues[&queue].tenant;
        self.queue_sums.entry((start, queue)).or_insert_with(|| QueueInterval {
            start: ClusterTime(start),
            queue,
            tenant,
            ..QueueInterval::default()
        })
    }

    fn site_sums(&mut self, site: SiteId) -> &mut SiteInterval {
        let start = self.now.0 / 900_000 * 900_000;
        self.site_sums.entry((start, site)).or_insert_with(|| SiteInterval {
            start: ClusterTime(start),
            site,
            ..SiteInterval::default()
        })
    }

    /// Begins an entry at this time, already clamped.
    pub fn begin_entry(&mut self, now: ClusterTime) {
        self.now = now;
    }

    /// Begins a command under this ordinal.
    pub fn begin_command(&mut self, ordinal: Ordinal) {
        self.ordinal = ordinal;
    }

    /// Follows a command that the state under test carried out (not one that it rejected).
    /// `state` is that state afterwards; only configuration is read from it.
    pub fn follow(&mut self, group: GroupId, command: &Command, state: &State) {
        match command {
            Command::PutSite { .. }
            | Command::PutAgent { .. }
            | Command::RemoveAgent { .. }
            | Command::PutNumber { .. }
            | Command::RemoveNumber { .. }
            | Command::RemoveQueue { .. }
            | Command::ConfigureAgent { .. }
            | Command::ConfigureNumber { .. }
            | Command::ContinueWork => self.copy_configuration(state),
            Command::PutQueue { queue, .. } | Command::ConfigureQueue { queue, .. } => {
                self.copy_configuration(state);
                let changed: Vec<Queue> =
                    self.queues.values().filter(|row| row.name == queue.name).cloned().collect();
                for row in changed {
                    let waiting = self.contacts.values_mut().filter(|c| c.queue == row.id);
                    let now = self.now;
                    waiting.filter(|c| c.is_waiting()).for_each(|c| follow_row(c, &row, now));
                }
            }
            Command::SetSiteState { site, state } => {
                self.site(site).state = *state;
                self.move_waiting(false);
            }
            Command::SetSiteWeight { site, weight } => {
                self.site(site).weight = *weight;
                self.queues.values_mut().for_each(|queue| queue.assigned.clear());
                self.move_waiting(true);
            }
            Command::LogIn { agent, as_state, .. } => self.log_in(agent, as_state),
            Command::LogOut { agent, .. } => self.log_out(agent),
            Command::SetReadiness { agent, to, .. } => self.set_readiness(agent, to),
            Command::Enqueue(enqueue) => {
                if let Some(number) = state.numbers().get(&enqueue.called) {
                    let id = ContactId { group, ordinal: state.counters().ordinal };
                    let ingress = self.site(&enqueue.ingress).id;
                    let arrival = ClusterTime(self.now.0.saturating_sub(enqueue.waited.0));
                    let mut contact = Contact {
                        id,
                        tenant: number.tenant,
                        queue: number.queue,
                        requirement: BoundRequirement::anybody().into(),
                        own_requirement: number.requirement.clone(),
                        priority: number.priority,
                        effective_arrival_ms: 0,
                        arrival,
                        admitted: self.now,
                        ingress,
                        serving: ingress,
                        widen_at: None,
                        wait_until: None,
                        hold_until: None,
                        left_by: None,
                        caller: enqueue.caller.clone(),
                        called: enqueue.called.clone(),
                        state: ContactState::Queued,
                        last_offer: None,
                        offers: 0,
                        stage: Stage::default(),
                        stage_at: None,
                        placed: None,
                        preferred: None,
                        decision: None,
                        entered: self.now,
                        visited: Vec::new(),
                        failed_offers: Vec::new(),
                    };
                    self.come(&mut contact);
                    let queue = self.queues[&contact.queue].clone();
                    let place = (queue.id, enqueue.caller.clone());
                    if let Some((arrival, _)) = self.reservations.remove(&place) {
                        contact.arrival = arrival;
                        follow_row(&mut contact, &queue, self.now);
                    }
                    contact.preferred = self.preferred(&contact, number.prefers);
                    contact.serving = self.assign(&contact);
                    contact.widen_at = overflow::widen(&contact, &queue, self.now);
                    self.sums(number.queue).offered += 1;
                    self.count_path(&contact);
                    self.contacts.insert(id, contact);
                }
            }
            Command::Accept { offer, contact } => self.accept(*offer, *contact),
            Command::Decline { offer, cause, .. } => {
                let then = self.after_decline(*offer, *cause);
                self.end_offer(*offer, Some(then), OfferEnd::Declined(*cause));
            }
            Command::SetPriority { contact, priority } => {
                if let Some(row) = self.contacts.get_mut(contact) {
                    row.priority = *priority;
                    row.placed = None;
                    set_place(row, &self.queues[&row.queue]);
                }
            }
            Command::Place { contact, before } => self.place(*contact, *before),
            Command::ApplyPlan { .. } => {
                if let Some(plan) = state.plans().iter().next_back() {
                    self.plans.insert(plan.id, Plan { taken: 0, ..plan.clone() });
                    self.step_plan(plan.id);
                }
                self.plans.retain(|id, _| state.plans().contains(id));
            }
            Command::UndoPlan { plan, .. } => {
                if let Some(row) = self.plans.get_mut(plan) {
                    row.direction = Direction::Back;
                }
                self.step_plan(*plan);
            }
            Command::ExtendWrapUp { agent, by, .. } => {
                let agent = self.agent(agent);
                let last = agent.after.and_then(|after| after.ends_by);
                if let (WorkState::WrapUp(until), Some(last)) = (&agent.work, last) {
                    agent.work = WorkState::WrapUp(ClusterTime(last.0.min(until.0 + by.0)));
                }
            }
            Command::Release { agent, to, .. } => {
                match self.agent(agent).work {
                    WorkState::Offered(number) => self.end_offer(number, None, OfferEnd::Withdrawn),
                    WorkState::Busy(contact) => self.end(contact, EndReason::Operator),
                    _ => {}
                }
                if self.agent(agent).login != LoginState::LoggedOut {
                    self.set_readiness(agent, to);
                }
            }
            Command::End { contact, reason } => self.end(*contact, *reason),
            Command::ExpireDue => self.expire(),
        }
        self.settle();
    }

    /// Follows [`State::set_device`].
    pub fn set_device(&mut self, agent: AgentId, device: DeviceState) {
        if let Some(row) = self.agents.get_mut(&agent) {
            row.device = device;
        }
        self.settle();
    }

    /// Follows [`State::unconfirm`].
    pub fn unconfirm(&mut self, id: ContactId) {
        if let Some(ContactState::Offered { offer, .. }) = self.contacts.get(&id).map(|c| c.state) {
            self.end_offer(offer, None, OfferEnd::ContactGone);
        }
        if let Some(contact) = self.contacts.get_mut(&id)
            && contact.state == ContactState::Queued
        {
            contact.state = ContactState::Unconfirmed;
            contact.hold_until = Some(ClusterTime(self.now.0 + CONFIRM_HOLD_MS));
        }
        self.settle();
    }

    /// Follows [`State::confirm`].
    pub fn confirm(&mut self, id: ContactId) {
        if let Some(contact) = self.contacts.get_mut(&id)
            && contact.state == ContactState::Unconfirmed
        {
            contact.state = ContactState::Queued;
            contact.hold_until = None;
        }
        self.settle();
    }

    /// Follows [`State::offer_owner_lost`].
    pub fn offer_owner_lost(&mut self, number: OfferNumber) {
        if let Some((_, agent, _)) = self.offers.get(&number).copied() {
            self.end_offer(number, None, OfferEnd::OwnerLost);
            if let Some(row) = self.agents.get_mut(&agent) {
                row.device = DeviceState::Recovering;
            }
        }
        self.settle();
    }

    /// Follows [`State::requeue`].
    pub fn requeue(&mut self, id: ContactId, caller: CallerLeg, phone: AgentPhone) {
        if let Some(contact) = self.contacts.get_mut(&id)
            && let ContactState::Connected { agent, since, .. } = contact.state
        {
            contact.state = ContactState::Queued;
            if caller == CallerLeg::InDoubt {
                contact.state = ContactState::Unconfirmed;
                contact.hold_until = Some(ClusterTime(self.now.0 + CONFIRM_HOLD_MS));
            }
            contact.last_offer = None;
            let queue = &self.queues[&contact.queue];
            let (wait_max, wrap_up) = (queue.wait_max.0, queue.wrap_up.0);
            contact.wait_until = (wait_max > 0).then_some(ClusterTime(self.now.0 + wait_max));
            let then = match phone {
                AgentPhone::Failed => Some(WorkState::NotReady(NotReadyReason::DeviceFailed)),
                AgentPhone::Answers => {
                    contact.left_by = Some(agent);
                    (wrap_up > 0).then_some(WorkState::WrapUp(ClusterTime(self.now.0 + wrap_up)))
                }
            };
            let queue = contact.queue;
            self.free(agent, then);
            self.limit_wrap_up(agent, queue);
            let now = self.now;
            let sums = self.sums(queue);
            sums.requeued += 1;
            sums.talk.0 += now.0 - since.0;
            if let Some(row) = self.agents.get_mut(&agent) {
                row.idle_since = self.now;
            }
        }
        self.settle();
    }

    /// What an agent does who did not take an offer.
    fn after_decline(&self, offer: OfferNumber, cause: DeclineCause) -> WorkState {
        let queue = self.offers.get(&offer).map(|(contact, ..)| self.contacts[contact].queue);
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

    fn place(&mut self, id: ContactId, before: Option<ContactId>) {
        let queue = self.contacts[&id].queue;
        let stands = |c: &&Contact| {
            let in_line = c.state == ContactState::Queued
                || c.state == ContactState::Unconfirmed && c.hold_until.is_some();
            c.queue == queue && in_line
        };
        let next = match before {
            Some(other) => Some(&self.contacts[&other]),
            None => self.contacts.values().filter(stands).min_by_key(|c| order(c)),
        };
        if let Some(next) = next.filter(|next| next.id != id) {
            let place = next.effective_arrival_ms - 1;
            if let Some(row) = self.contacts.get_mut(&id) {
                row.placed = Some(place);
                row.effective_arrival_ms = place;
            }
        }
    }

    /// Whom a new contact waits for alone.
    fn preferred(
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
    fn leaves(&mut self, agent: AgentId) {
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

    // --- the one rule ----------------------------------------------------------------------------

    fn settle(&mut self) {
        for queue in std::mem::take(&mut self.vacated) {
            self.overflow_unstaffed(queue);
        }
        while let Some((contact, agent, next)) = self.next_match() {
            self.seconds.insert(contact, next);
            let queue = self.contacts[&contact].queue;
            self.sums(queue).offers += 1;
            self.last_offer += 1;
            let number = OfferNumber(self.last_offer);
            let ring = self.queues[&self.contacts[&contact].queue].ring;
            let expires = ClusterTime(self.now.0 + ring.0 + OFFER_BACKSTOP_MS);
            self.offers.insert(number, (contact, agent, expires));
            if let Some(row) = self.contacts.get_mut(&contact) {
                row.state = ContactState::Offered { offer: number, agent };
                row.offers += 1;
                row.left_by = None;
                row.preferred = None;
            }
            let queue = self.contacts[&contact].queue;
            self.enter(agent, WorkState::Offered(number));
            let in_turns = self.queues[&queue].rules.strategy == Strategy::RoundRobin;
            if in_turns && let Some(row) = self.agents.get_mut(&agent) {
                row.asked.insert(queue, self.ordinal);
            }
        }
    }

    /// Puts an agent into a work state, and counts the time in the one before.
    fn enter(&mut self, agent: AgentId, work: WorkState) {
        let Some(row) = self.agents.get_mut(&agent) else { return };
        let spent = Millis(self.now.0 - row.work_since.0);
        let logged_in = row.login != LoginState::LoggedOut;
        let (was, site, after) = (row.work.clone(), row.site, row.after);
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
        row.work = work;
        row.work_since = self.now;
        row.turn = self.ordinal;
        row.after = None;
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
    fn next_match(&self) -> Option<(ContactId, AgentId, Option<AgentId>)> {
        let mut waiting: Vec<&Contact> =
            self.contacts.values().filter(|c| c.state == ContactState::Queued).collect();
        waiting.sort_by_key(|c| order(c));
        for contact in waiting {
            let mut able: Vec<&Agent> = self
                .agents
                .values()
                .filter(|agent| self.may_talk(contact, agent))
                .filter(|agent| !self.is_held(contact, agent))
                .collect();
            able.sort_by_key(|agent| (self.rank(contact, agent), agent.idle_since, agent.id));
            if able.len() > 1 {
                able.retain(|agent| contact.left_by != Some(agent.id));
            }
            let prefers_site = self.queues[&contact.queue].site_choice != SiteChoice::Any;
            let best = |able: &[&Agent]| {
                let preferred = able.iter().find(|agent| agent.site == contact.serving);
                let best = if prefers_site { preferred.or(able.first()) } else { able.first() };
                best.map(|agent| agent.id)
            };
            if let Some(agent) = best(&able) {
                able.retain(|other| other.id != agent);
                return Some((contact.id, agent, best(&able)));
            }
        }
        None
    }

    /// Who is asked first by the queue's strategy: the smallest.
    fn rank(&self, contact: &Contact, agent: &Agent) -> (i64, u64) {
        let asked_for = skills_of(&contact.requirement);
        let fit: i64 = asked_for
            .iter()
            .map(|skill| agent.skills.get(skill).copied().map_or(0, i64::from))
            .sum();
        match self.queues[&contact.queue].rules.strategy {
            Strategy::LongestIdle => (0, 0),
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
    fn is_held(&self, contact: &Contact, agent: &Agent) -> bool {
        self.contacts.values().any(|other| {
            other.state == ContactState::Unconfirmed
                && other.hold_until.is_some()
                && order(other) < order(contact)
                && self.may_talk(other, agent)
        })
    }

    fn may_talk(&self, contact: &Contact, agent: &Agent) -> bool {
        let takes = |site: SiteId| {
            self.sites.get(&site).is_some_and(|s| s.state == SiteState::Open && s.weight > 0)
        };
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

    // --- what commands do ------------------------------------------------------------------------

    fn copy_configuration(&mut self, state: &State) {
        self.sites = state.sites().iter().map(|row| (row.id, row.clone())).collect();
        let assigned: BTreeMap<QueueId, _> =
            self.queues.iter().map(|(id, row)| (*id, row.assigned.clone())).collect();
        self.queues = state.queues().iter().map(|row| (row.id, row.clone())).collect();
        for (id, row) in &mut self.queues {
            row.assigned = assigned.get(id).cloned().unwrap_or_default();
        }
        let known = std::mem::take(&mut self.agents);
        for gone in known.keys().filter(|id| state.agents().get(id).is_none()) {
            self.leaves(*gone);
        }
        for row in state.agents().iter() {
            let agent = match known.get(&row.id) {
                None => Agent {
                    login: LoginState::LoggedOut,
                    work: WorkState::NotReady(NotReadyReason::Unspecified),
                    device: DeviceState::Unregistered,
                    idle_since: self.now,
                    work_since: self.now,
                    next_not_ready: None,
                    logout_after: LogoutAfter::No,
                    tally: Tally::default(),
                    turn: self.ordinal,
                    asked: BTreeMap::new(),
                    after: None,
                    ..row.clone()
                },
                Some(agent) => Agent {
                    site: row.site,
                    skills: row.skills.clone(),
                    queues: row.queues.clone(),
                    tiers: row.tiers.clone(),
                    reserves: row.reserves.clone(),
                    attributes: row.attributes.clone(),
                    ..agent.clone()
                },
            };
            self.agents.insert(row.id, agent);
            if let Some(agent) = self.agents.get_mut(&row.id) {
                agent.asked.retain(|queue, _| row.queues.contains(queue));
            }
        }
    }

    fn site(&mut self, name: &Name) -> &mut Site {
        self.sites
            .values_mut()
            .find(|site| site.name == *name)
            .unwrap_or_else(|| unreachable!("the state under test took site {name}"))
    }

    fn agent(&mut self, name: &Name) -> &mut Agent {
        self.agents
            .values_mut()
            .find(|agent| agent.name == *name)
            .unwrap_or_else(|| unreachable!("the state under test took agent {name}"))
    }

    fn assign(&mut self, contact: &Contact) -> SiteId {
        let queue = contact.queue;
        let by_weight = self.queues[&queue].site_choice == SiteChoice::Weighted;
        let ingress = &self.sites[&contact.ingress];
        if !by_weight && ingress.state == SiteState::Open && ingress.weight > 0 {
            return contact.ingress;
        }
        let mut best: Option<(SiteId, f64)> = None;
        for site in self.candidates(contact) {
            let given = self.queues[&queue].assigned.get(&site.id).copied().unwrap_or(0);
            // Shares of a test fit a double exactly enough; ties go to the lower id.
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let load = (given + 1) as f64 / f64::from(site.weight);
            if best.is_none_or(|(_, least)| load < least - 1e-12) {
                best = Some((site.id, load));
            }
        }
        let Some((site, _)) = best else { return contact.ingress };
        if let Some(row) = self.queues.get_mut(&queue) {
            *row.assigned.entry(site).or_default() += 1;
        }
        site
    }

    /// Sites that may be chosen for a contact: where somebody could serve it, or all if nobody could.
    fn candidates(&self, contact: &Contact) -> Vec<Site> {
        let takes = |site: &&Site| site.state == SiteState::Open && site.weight > 0;
        let open: Vec<Site> = self.sites.values().filter(takes).cloned().collect();
        let staffed = |site: &&Site| {
            self.agents.values().any(|agent| {
                agent.site == site.id
                    && agent.login != LoginState::LoggedOut
                    && qualified(contact, agent)
            })
        };
        let some: Vec<Site> = open.iter().filter(staffed).cloned().collect();
        if some.is_empty() { open } else { some }
    }

    /// Where a waiting contact goes when weights have changed: away only from a site that has more than its
    /// share of those who wait, and only to one that has less.
    fn respread(&self, contact: &Contact) -> SiteId {
        let candidates = self.candidates(contact);
        let waiting = |site: SiteId| {
            let there =
                |c: &&Contact| c.queue == contact.queue && c.is_waiting() && c.serving == site;
            self.contacts.values().filter(there).count() as u128
        };
        let in_line = |c: &&Contact| c.queue == contact.queue && c.is_waiting();
        let all = self.contacts.values().filter(in_line).count() as u128;
        let weights: u128 = candidates.iter().map(|site| u128::from(site.weight)).sum();
        let share = |site: &Site| {
            let exact = all * u128::from(site.weight);
            exact / weights + u128::from(!exact.is_multiple_of(weights))
        };
        let own = candidates.iter().find(|site| site.id == contact.serving);
        if own.is_some_and(|site| waiting(site.id) <= share(site)) {
            return contact.serving;
        }
        let mut best: Option<&Site> = None;
        for site in &candidates {
            if site.id == contact.serving || waiting(site.id) >= share(site) {
                continue;
            }
            let lighter = |best: &Site| {
                (waiting(site.id) + 1) * u128::from(best.weight)
                    < (waiting(best.id) + 1) * u128::from(site.weight)
            };
            if best.is_none_or(lighter) {
                best = Some(site);
            }
        }
        best.map_or(contact.serving, |site| site.id)
    }

    /// A plan goes on by one step.
    fn step_plan(&mut self, id: Ordinal) {
        let Some(plan) = self.plans.get_mut(&id) else { return };
        let before = plan.taken;
        let left = match plan.direction {
            Direction::Forward => {
                plan.taken += 1;
                plan.steps - plan.taken
            }
            Direction::Back => {
                plan.taken -= 1;
                plan.taken
            }
        };
        plan.next_at = (left > 0).then_some(ClusterTime(self.now.0 + plan.every.0));
        let plan = plan.clone();
        let (taken, steps) = (i64::from(plan.taken), i64::from(plan.steps));
        for change in &plan.weights {
            let way = i64::from(change.to) - i64::from(change.from);
            let weight = i64::from(change.from) + way * taken / steps;
            if let Some(site) = self.sites.get_mut(&change.site) {
                site.weight = u16::try_from(weight).unwrap_or(0);
            }
        }
        let agents = |taken: u8| plan.agents.len() * usize::from(taken) / usize::from(plan.steps);
        for (at, change) in plan.agents.iter().enumerate() {
            let (was, is) = (at < agents(before), at < agents(plan.taken));
            let (join, leave) = match (was, is) {
                (false, true) => (&change.join, &change.leave),
                (true, false) => (&change.leave, &change.join),
                _ => continue,
            };
            if let Some(row) = self.agents.get_mut(&change.agent) {
                let mut queues = (*row.queues).clone();
                queues.retain(|queue| !leave.contains(queue));
                row.asked.retain(|queue, _| !leave.contains(queue));
                queues.extend(join.iter().filter(|queue| self.queues.contains_key(queue)));
                row.queues = queues.into();
            }
        }
        if !plan.weights.is_empty() {
            self.queues.values_mut().for_each(|queue| queue.assigned.clear());
        }
        self.move_waiting(true);
    }

    fn move_waiting(&mut self, weights_changed: bool) {
        let ids: Vec<ContactId> = self.contacts.keys().copied().collect();
        for id in ids {
            let contact = self.contacts[&id].clone();
            let serving = &self.sites[&contact.serving];
            let stranded = serving.state != SiteState::Open || serving.weight == 0;
            let respread =
                weights_changed && self.queues[&contact.queue].site_choice == SiteChoice::Weighted;
            if contact.is_waiting() && (stranded || respread) {
                let to = if respread { self.respread(&contact) } else { self.assign(&contact) };
                if let Some(row) = self.contacts.get_mut(&id) {
                    row.serving = to;
                }
            }
        }
    }

    fn log_in(&mut self, name: &Name, as_state: &Readiness) {
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

    fn log_out(&mut self, name: &Name) {
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

    fn set_readiness(&mut self, name: &Name, to: &Readiness) {
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

    fn accept(&mut self, number: OfferNumber, id: ContactId) {
        let now = self.now;
        let Some(contact) = self.contacts.get_mut(&id) else { return };
        let agent = match (contact.state, contact.last_offer) {
            (ContactState::Offered { agent, .. }, _) => agent,
            (_, Some((_, agent))) => agent,
            (_, None) => return,
        };
        contact.state = ContactState::Connected { agent, offer: number, since: now };
        contact.widen_at = None;
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
    }

    fn end_offer(&mut self, number: OfferNumber, then: Option<WorkState>, how: OfferEnd) {
        let Some((contact, agent, _)) = self.offers.remove(&number) else { return };
        if let OfferEnd::Declined(_) | OfferEnd::Expired = how {
            let queue = self.contacts[&contact].queue;
            self.sums(queue).offers_failed += 1;
        }
        let at = self.now;
        if let Some(row) = self.contacts.get_mut(&contact) {
            row.state = ContactState::Queued;
            row.last_offer = Some((number, agent));
            row.failed_offers.push(FailedOffer { offer: number, agent, at, how });
            if row.failed_offers.len() > FAILED_OFFERS_KEPT {
                row.failed_offers.remove(0);
            }
        }
        self.free(agent, then);
    }

    fn free(&mut self, agent: AgentId, then: Option<WorkState>) {
        let Some(row) = self.agents.get_mut(&agent) else { return };
        let leaves = row.logout_after == LogoutAfter::Contact;
        let work = if leaves {
            WorkState::NotReady(NotReadyReason::Unspecified)
        } else if let Some(WorkState::WrapUp(until)) = then {
            WorkState::WrapUp(until)
        } else if let Some(reason) = row.next_not_ready.take() {
            WorkState::NotReady(reason)
        } else {
            then.unwrap_or(WorkState::Ready)
        };
        self.enter(agent, work);
        if leaves && let Some(row) = self.agents.get_mut(&agent) {
            row.logout_after = LogoutAfter::No;
            row.login = LoginState::LoggedOut;
            row.next_not_ready = None;
            self.leaves(agent);
        }
    }

    /// Says what the wrap-up that just began follows, and until when it may be extended.
    fn limit_wrap_up(&mut self, agent: AgentId, queue: QueueId) {
        let most = self.queues[&queue].rules.wrap_up_max.0;
        let ends_by = (most > 0).then_some(ClusterTime(self.now.0 + most));
        if let Some(row) = self.agents.get_mut(&agent)
            && let WorkState::WrapUp(_) = row.work
        {
            row.after = Some(AfterContact { queue, ends_by });
        }
    }

    fn end(&mut self, id: ContactId, reason: EndReason) {
        let Some(contact) = self.contacts.get(&id).cloned() else { return };
        match contact.state {
            ContactState::Queued | ContactState::Unconfirmed => {}
            ContactState::Offered { offer, .. } => {
                self.end_offer(offer, None, OfferEnd::ContactGone);
            }
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
        let lost = matches!(reason, EndReason::LegLost | EndReason::CallerGone);
        if lost && contact.is_waiting() && !contact.caller.is_withheld() {
            let expires = ClusterTime(self.now.0 + RESERVATION_MS);
            let key = (contact.queue, contact.caller.clone());
            self.reservations.insert(key, (contact.arrival, expires));
        }
    }

    /// Deadlines one by one in the order of their times; at equal times offers, ends of wrap-up and pause,
    /// widenings, longest waits, holds, reservations, each by id.
    fn expire(&mut self) {
        loop {
            let mut due: Vec<(ClusterTime, u8, u64, Due)> = Vec::new();
            for (number, (_, _, at)) in &self.offers {
                due.push((*at, 0, number.0, Due::Offer(*number)));
            }
            for agent in self.agents.values() {
                if let WorkState::WrapUp(at) | WorkState::Paused { until: at, .. } = agent.work {
                    due.push((at, 1, u64::from(agent.id.0), Due::Work(agent.id)));
                }
            }
            for contact in self.contacts.values().filter(|contact| contact.is_waiting()) {
                let ordinal = contact.id.ordinal.0;
                due.extend(contact.widen_at.map(|at| (at, 2, ordinal, Due::Widen(contact.id))));
                due.extend(contact.wait_until.map(|at| (at, 3, ordinal, Due::Wait(contact.id))));
                due.extend(contact.hold_until.map(|at| (at, 4, ordinal, Due::Hold(contact.id))));
                due.extend(contact.stage_at.map(|at| (at, 5, ordinal, Due::Stage(contact.id))));
                let alone = contact.preferred.map(|wanted| wanted.until);
                due.extend(alone.map(|at| (at, 6, ordinal, Due::Alone(contact.id))));
            }
            for plan in self.plans.values() {
                due.extend(plan.next_at.map(|at| (at, 9, plan.id.0, Due::Plan(plan.id))));
            }
            due.sort_by_key(|(at, kind, id, _)| (*at, *kind, *id));
            let Some((_, _, _, what)) = due.into_iter().find(|(at, ..)| *at <= self.now) else {
                break;
            };
            match what {
                Due::Offer(number) => {
                    let then = self.after_decline(number, DeclineCause::NotAnswered);
                    self.end_offer(number, Some(then), OfferEnd::Expired);
                }
                Due::Stage(contact) => {
                    let now = self.now;
                    if let Some(row) = self.contacts.get_mut(&contact) {
                        let wait_until = row.wait_until;
                        follow_row(row, &self.queues[&row.queue], now);
                        row.wait_until = wait_until;
                    }
                    self.overflow_if_due(contact);
                }
                Due::Plan(plan) => self.step_plan(plan),
                Due::Alone(contact) => {
                    if let Some(row) = self.contacts.get_mut(&contact) {
                        row.preferred = None;
                    }
                }
                Due::Work(agent) => {
                    let asked = self.agents.get_mut(&agent).and_then(|a| a.next_not_ready.take());
                    self.enter(agent, asked.map_or(WorkState::Ready, WorkState::NotReady));
                }
                Due::Widen(contact) => {
                    if let Some(row) = self.contacts.get_mut(&contact) {
                        row.widen_at = None;
                    }
                }
                Due::Wait(contact) => match self.contacts.get_mut(&contact) {
                    Some(row) if matches!(row.state, ContactState::Offered { .. }) => {
                        row.wait_until = Some(ClusterTime(self.now.0 + OFFER_BACKSTOP_MS));
                    }
                    _ => self.end(contact, EndReason::WaitedTooLong),
                },
                Due::Hold(contact) => {
                    if let Some(row) = self.contacts.get_mut(&contact) {
                        row.hold_until = None;
                    }
                }
            }
            self.settle();
        }
        let now = self.now;
        self.reservations.retain(|_, (_, expires)| *expires > now);
        self.last_agents.retain(|_, (_, expires)| *expires > now);
    }
}

enum Due {
    Offer(OfferNumber),
    Work(AgentId),
    Widen(ContactId),
    Wait(ContactId),
    Hold(ContactId),
    Stage(ContactId),
    Alone(ContactId),
    Plan(Ordinal),
}

/// Who goes first (R5).
fn order(contact: &Contact) -> (i64, ClusterTime, Ordinal) {
    (contact.effective_arrival_ms, contact.arrival, contact.id.ordinal)
}

/// Skills that a requirement asks for somewhere, and excludes nowhere on the way there.
fn skills_of(requirement: &BoundRequirement) -> BTreeSet<SkillId> {
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
fn qualified(contact: &Contact, agent: &Agent) -> bool {
    let reserve = agent.reserves.get(&contact.queue).copied().unwrap_or(0);
    agent.queues.contains(&contact.queue)
        && reserve <= contact.stage.reserve
        && contact.requirement.is_met(&agent.abilities())
}

fn follow_row(contact: &mut Contact, queue: &Queue, now: ClusterTime) {
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
    for rule in &rules.overflow {
        if let Trigger::Waited(after) = rule.when
            && after.0 > now.0 - contact.entered.0
        {
            moments.push(contact.entered.0 + after.0);
        }
    }
    contact.stage_at = moments.into_iter().min().map(ClusterTime);
    let base = taken.last().map_or(&queue.requirement, |step| &step.requirement);
    let mut both = vec![(**base).clone()];
    if taken.iter().all(|step| step.own == OwnRequirement::Kept) {
        both.push((*contact.own_requirement).clone());
    }
    contact.requirement = BoundRequirement::All(both).canonical().into();
    set_place(contact, queue);
}

fn set_place(contact: &mut Contact, queue: &Queue) {
    let mut importance = i64::from(contact.priority) * 3_600_000 + i64::from(queue.weight) * 10_000;
    if let (Urgent::Yes, Some(urgency)) = (contact.stage.urgent, queue.rules.urgency) {
        importance += i64::try_from(urgency.advance.0).unwrap_or(0);
    }
    let natural = i64::try_from(contact.arrival.0).unwrap_or(0) - importance;
    contact.effective_arrival_ms = contact.placed.unwrap_or(natural);
}

#[cfg(test)]
#[path = "../naive_tests.rs"]
pub(crate) mod tests;

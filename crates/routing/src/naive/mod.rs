//! The slow, obvious judge of the queue.
//!
//! The same commands over plain maps, without indexes, work lists or budgets: after each change one
//! rule is applied until it applies no more (*the waiting contact that goes first, among those that
//! some available agent may take, is offered to its best agent*; nobody takes a contact past one that
//! is being confirmed and that they could take). It must agree with
//! [`crate::state::State`] on every history; the property tests here and the simulation in `chaos`
//! compare the two. Configuration is copied from the state under test; every decision is made anew.
//!
//! Here is what follows which command; the one rule is in `choice`, what commands do to people in `people`, to
//! sites in `sites`, when time passes in `expire`, leaving a queue in `overflow`, the comparison in `agree`.

mod agree;
mod also;
mod calendar;
mod choice;
mod expire;
mod overflow;
mod people;
mod sites;

use std::collections::BTreeMap;

use self::choice::{follow_row, set_place};
use crate::{
    AgentPhone, CallerLeg,
    command::{Command, OfferEnd},
    entity::{
        Agent, AgentInterval, Contact, ContactState, DeviceState, Direction, EndReason, LoginState,
        LogoutAfter, NotReadyReason, Plan, Queue, QueueInterval, Site, SiteInterval, Tally,
        WorkState,
    },
    ids::{AgentId, CalendarId, ContactId, GroupId, OfferNumber, Ordinal, QueueId, SiteId},
    limits::CONFIRM_HOLD_MS,
    name::{CallerNumber, Name},
    requirement::BoundRequirement,
    rules::Stage,
    state::State,
    time::ClusterTime,
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
    /// What time it was, and at which moment.
    wall: Option<(ClusterTime, u64)>,
    /// Hours of calendars, until when they say anything, and when they close next.
    calendars: BTreeMap<CalendarId, calendar::Hours>,
    agent_sums: BTreeMap<(u64, AgentId), AgentInterval>,
}

impl Judge {
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
            Command::PutAgent { agent, .. } | Command::ConfigureAgent { agent, .. } => {
                // They may have been the last who could serve somebody.
                let before = self.agents.values().find(|row| row.name == agent.name);
                self.vacated.extend(before.into_iter().flat_map(|row| row.queues.iter().copied()));
                self.copy_configuration(state);
            }
            Command::AnchorWall { utc } => self.anchor_wall(*utc),
            Command::PutCalendar { calendar, .. } => {
                self.copy_configuration(state);
                let mut rows = state.calendars().iter();
                let id = rows.find(|row| row.name == calendar.name).map(|row| row.id);
                self.put_calendar(calendar, id);
            }
            Command::PutSite { .. }
            | Command::RemoveCalendar { .. }
            | Command::PutTenant { .. }
            | Command::RemoveTenant { .. }
            | Command::ChangeList { .. }
            | Command::RemoveAgent { .. }
            | Command::PutNumber { .. }
            | Command::RemoveNumber { .. }
            | Command::RemoveQueue { .. }
            | Command::ConfigureNumber { .. }
            | Command::ContinueWork => self.copy_configuration(state),
            Command::RetireQueue { queue, to, .. } => self.retire(queue, to, state),
            Command::PutQueue { queue, .. } | Command::ConfigureQueue { queue, .. } => {
                self.copy_configuration(state);
                let changed: Vec<Queue> =
                    self.queues.values().filter(|row| row.name == queue.name).cloned().collect();
                for row in changed {
                    let waits = |c: &&Contact| c.waits_in(row.id) && c.is_waiting();
                    let waiting = self.contacts.values().filter(waits).map(|c| c.id);
                    let waiting: Vec<ContactId> = waiting.collect();
                    let any = !waiting.is_empty();
                    for id in waiting {
                        self.change(id, |contact, now| {
                            if contact.queue == row.id {
                                follow_row(contact, &row, now);
                            }
                        });
                    }
                    if any {
                        self.overflow_unstaffed(row.id);
                        self.close_if_due(row.id);
                    }
                }
            }
            Command::SetSiteState { site, state } => {
                self.site(site).state = *state;
                self.move_waiting(false);
            }
            Command::SetSiteCap { site, contacts_max } => {
                self.site(site).contacts_max = *contacts_max;
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
                        priority: self.priority(number, &enqueue.caller, state),
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
                        ringing: Vec::new(),
                        came_as: 0,
                        also: Vec::new(),
                        via: None,
                    };
                    self.come(&mut contact);
                    let queue = self.queues[&contact.queue].clone();
                    let place = (queue.id, enqueue.caller.clone());
                    if let Some((arrival, _)) = self.reservations.remove(&place) {
                        contact.arrival = arrival;
                        follow_row(&mut contact, &queue, self.now);
                        self.join(&mut contact);
                    }
                    contact.preferred = self.preferred(&contact, number.prefers);
                    contact.serving = self.assign(&contact);
                    contact.widen_at = overflow::widen(&contact, &queue, self.now);
                    contact.came_as = self.comes_as(contact.queue);
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
                let queue = self.queues[&self.contacts[contact].queue].clone();
                self.change(*contact, |row, _| {
                    row.priority = *priority;
                    row.placed = None;
                    set_place(row, &queue);
                });
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
        self.end_all_offers(id);
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
            self.change(id, |_, _| ());
            let leaves = self.queues[&queue].retiring.is_some();
            self.free(agent, then);
            self.limit_wrap_up(agent, queue);
            let now = self.now;
            let sums = self.sums(queue);
            sums.requeued += 1;
            sums.talk.0 += now.0 - since.0;
            if let Some(row) = self.agents.get_mut(&agent) {
                row.idle_since = self.now;
            }
            if leaves {
                self.overflow_if_due(id);
            }
        }
        self.settle();
    }

    fn copy_configuration(&mut self, state: &State) {
        self.sites = state.sites().iter().map(|row| (row.id, row.clone())).collect();
        let assigned: BTreeMap<QueueId, _> =
            self.queues.iter().map(|(id, row)| (*id, (row.assigned.clone(), row.moves))).collect();
        // One on its way out goes when the last contact has left it here, not when it has there.
        let leaving = |id: QueueId| self.contacts.values().any(|contact| contact.waits_in(id));
        self.queues.retain(|id, row| row.retiring.is_some() && leaving(*id));
        self.queues.extend(state.queues().iter().map(|row| (row.id, row.clone())));
        for (id, row) in &mut self.queues {
            (row.assigned, row.moves) = assigned.get(id).cloned().unwrap_or_default();
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
                    counted: AgentInterval::default(),
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
}

#[cfg(test)]
#[path = "../naive_tests.rs"]
pub(crate) mod tests;

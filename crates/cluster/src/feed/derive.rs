//! Records from what a command did: out of its events, and of rows as they were before it and are after it.

use std::collections::BTreeMap;

use tandem_routing::{
    command::{Command as QueueCommand, Event, OfferEnd},
    entity::{Agent, Contact, ContactState, EndReason, LoginState, Queue, WorkState},
    name::Name,
    rules::Trigger,
    table::{Row, RowChange, Table},
    time::{ClusterTime, Millis},
};

use super::{Draft, OverflowCause, Record, Standing, Thing, What};
use crate::{
    command::{Command, Envelope},
    ids::{AgentId, ContactId, OfferNumber, QueueId, SiteId, TenantId},
    limits::POSITION_COUNTED_MAX,
    machine::Machine,
};

impl Machine {
    /// Notes what the running command did: its events, and what else changed for those who follow the
    /// queue. Before the command is committed, so that the rows still tell what was before.
    pub(crate) fn note(&mut self, envelope: &Envelope, events: &[Event], done: bool) {
        // Aside, so that a panic in here takes nothing of the commands before.
        let mut draft = std::mem::take(&mut self.feed_spare);
        Noting { machine: self, draft: &mut draft, envelope, events }.all(done);
        self.feed.append(&mut draft);
        self.feed_spare = draft;
    }

    /// The rows of what was noted in the entry that ends.
    pub(crate) fn take_feed(&mut self, index: u64) -> Vec<RowChange> {
        let moment = (self.queue.now(), self.queue.utc());
        let taken = self.feed.take(self.group, index, self.feed_head(), moment);
        let Some((head, rows)) = taken else { return Vec::new() };
        self.feed_head.insert(head);
        self.feed_head.commit();
        rows
    }
}

/// One command being looked at.
struct Noting<'a> {
    machine: &'a Machine,
    draft: &'a mut Draft,
    envelope: &'a Envelope,
    /// What the command did.
    events: &'a [Event],
}

/// A contact as it was when something happened to it.
struct Seen<'a> {
    row: &'a Contact,
    queue: Name,
}

impl<'a> Noting<'a> {
    fn all(mut self, done: bool) {
        if done {
            self.configured();
        }
        let mut agents = self.agents_before();
        for (at, event) in self.events.iter().enumerate() {
            if let Event::AgentChanged(id) = event {
                // The first of an agent stands for all that the command did to them.
                if let Some(before) = agents.remove(id) {
                    self.agent(*id, before);
                }
            } else {
                self.event(at, event);
            }
        }
        for (id, before) in agents {
            self.agent(id, before);
        }
    }

    fn now(&self) -> ClusterTime {
        self.machine.queue.now()
    }

    fn push(&mut self, tenant: TenantId, what: What) {
        let named = tenant != TenantId::CLUSTER && tenant != TenantId::DEFAULT;
        let row = self.machine.queue.tenants().get(&tenant).filter(|_| named);
        let tenant_name = row.map(|row| row.name.clone());
        self.draft.push(&Record { tenant, tenant_name, what });
    }

    // --- names ------------------------------------------------------------------------------------

    fn queue_row(&self, id: QueueId) -> Option<&'a Queue> {
        latest(self.machine.queue.queues(), &id)
    }

    fn queue(&self, id: QueueId) -> Name {
        self.queue_row(id).map_or_else(|| number(&id), |row| row.name.clone())
    }

    fn site(&self, id: SiteId) -> Name {
        let row = self.machine.queue.sites().get(&id);
        row.map_or_else(|| number(&id), |row| row.name.clone())
    }

    /// Tenant, name and site of an agent.
    fn agent_name(&self, id: AgentId) -> (Name, Name) {
        match latest(self.machine.queue.agents(), &id) {
            Some(row) => (row.name.clone(), self.site(row.site)),
            None => (number(&id), number(&SiteId::default())),
        }
    }

    fn contact(&self, id: ContactId) -> Option<Seen<'a>> {
        let row = latest(self.machine.queue.contacts(), &id)?;
        Some(Seen { row, queue: self.queue(row.queue) })
    }

    fn position(&self, row: &Contact) -> u32 {
        let before = |most| self.machine.queue.waiting_before(row.queue, row.wait_key(), most);
        u32::try_from(before(POSITION_COUNTED_MAX)).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// How long the agent's phone rang: since the offer was made, as the log saw it.
    fn rang(&self, offer: OfferNumber) -> Millis {
        let rows = self.machine.queue.offers();
        let made = latest(rows, &offer).map(|row| row.made);
        made.map_or(Millis(0), |made| self.now().since(made))
    }

    // --- contacts ---------------------------------------------------------------------------------

    fn event(&mut self, at: usize, event: &Event) {
        let made = match event {
            Event::ContactEnqueued(id) => self.entered(*id),
            Event::ContactOverflowed { contact, from, to } => {
                self.overflowed(at, *contact, *from, *to)
            }
            Event::ContactMoved { contact, from, to } => self.contact(*contact).map(|seen| {
                let (from, to) = (self.site(*from), self.site(*to));
                (
                    seen.row.tenant,
                    What::ContactMoved { contact: *contact, queue: seen.queue, from, to },
                )
            }),
            Event::OfferMade { offer, contact, agent } => self.offered(*contact, *offer, *agent),
            // Told by the connection.
            Event::OfferEnded { how: OfferEnd::Accepted, .. } | Event::AgentChanged(_) => None,
            Event::OfferEnded { offer, contact, agent, how } => {
                self.contact(*contact).map(|seen| {
                    let ((agent, _), ring) = (self.agent_name(*agent), self.rang(*offer));
                    let (contact, offer, how, queue) = (*contact, *offer, *how, seen.queue);
                    (seen.row.tenant, What::OfferEnded { contact, queue, offer, agent, how, ring })
                })
            }
            Event::ContactConnected { contact, agent, offer } => {
                self.connected(*contact, *offer, *agent)
            }
            Event::ContactRequeued { contact, agent } => self.requeued(*contact, *agent),
            Event::ContactUnconfirmed(id) => self.contact(*id).map(|seen| {
                (seen.row.tenant, What::ContactUnconfirmed { contact: *id, queue: seen.queue })
            }),
            Event::ContactConfirmed(id) => self.contact(*id).map(|seen| {
                (seen.row.tenant, What::ContactConfirmed { contact: *id, queue: seen.queue })
            }),
            Event::ContactEnded { contact, reason } => Some(self.ended(contact, *reason)),
            Event::PlanStepped(plan) => {
                let row = self.machine.queue.plans().get(plan);
                row.map(|row| (row.tenant, What::PlanStepped { plan: *plan }))
            }
        };
        if let Some((tenant, what)) = made {
            self.push(tenant, what);
        }
    }

    fn entered(&self, id: ContactId) -> Option<(TenantId, What)> {
        let Seen { row, .. } = self.contact(id)?;
        // By way of these it came to where it is: it entered the first, and left it by a rule.
        let first = row.visited.first().copied().unwrap_or(row.queue);
        let what = What::ContactEntered {
            contact: id,
            queue: self.queue(first),
            caller: row.caller.clone(),
            called: row.called.clone(),
            site: self.site(row.ingress),
            priority: row.priority,
            came_as: self.came_as(row, first),
            waited: self.now().since(row.arrival),
        };
        Some((row.tenant, what))
    }

    fn came_as(&self, row: &Contact, queue: QueueId) -> u32 {
        if queue == row.queue {
            row.came_as
        } else {
            self.machine.queue.queue_len(queue).saturating_add(1)
        }
    }

    fn overflowed(
        &self,
        at: usize,
        id: ContactId,
        from: QueueId,
        to: QueueId,
    ) -> Option<(TenantId, What)> {
        let live = self.contact(id)?.row;
        // As it was in the queue that it left; one that has only just come was never in it.
        let images = self.machine.queue.contacts().changed();
        let mut images = images.filter(|(key, _)| **key == id).filter_map(|(_, before)| before);
        let comes = |event: &Event| *event == Event::ContactEnqueued(id);
        let before = images.find(|row| row.queue == from);
        let before = before.filter(|_| !self.events.iter().take(at).any(comes));
        let (in_queue, position, came_as) = match before {
            Some(row) => (self.now().since(row.entered), self.position(row), row.came_as),
            None => {
                let came_as = self.came_as(live, from);
                (Millis(0), came_as, came_as)
            }
        };
        let why = match before {
            Some(_) => self.why(from, in_queue),
            None => OverflowCause::Arrival,
        };
        let what = What::ContactOverflowed {
            contact: id,
            from: self.queue(from),
            to: self.queue(to),
            caller: live.caller.clone(),
            why,
            waited: self.now().since(live.arrival),
            in_queue,
            position,
            came_as,
            came_as_to: self.came_as(live, to),
        };
        Some((live.tenant, what))
    }

    /// By which rule a contact left a queue in which it had been for so long.
    fn why(&self, queue: QueueId, in_queue: Millis) -> OverflowCause {
        let Some(row) = self.queue_row(queue) else { return OverflowCause::Retired };
        let waited = |when: Trigger| matches!(when, Trigger::Waited(after) if after <= in_queue);
        let rules = &row.rules.overflow;
        if row.retiring.is_some() {
            OverflowCause::Retired
        } else if !self.machine.queue.is_open(row) {
            OverflowCause::Closed
        } else if rules.iter().any(|rule| waited(rule.when)) {
            OverflowCause::Waited
        } else {
            OverflowCause::Unstaffed
        }
    }

    fn offered(
        &self,
        id: ContactId,
        offer: OfferNumber,
        agent: AgentId,
    ) -> Option<(TenantId, What)> {
        let Seen { row, queue } = self.contact(id)?;
        let (agent, site) = self.agent_name(agent);
        let waited = self.now().since(row.arrival);
        Some((row.tenant, What::OfferMade { contact: id, queue, offer, agent, site, waited }))
    }

    fn connected(
        &self,
        id: ContactId,
        offer: OfferNumber,
        agent: AgentId,
    ) -> Option<(TenantId, What)> {
        let Seen { row, queue } = self.contact(id)?;
        let (agent, site) = self.agent_name(agent);
        // Who made the phone ring knows best for how long.
        let ring = match &self.envelope.command {
            Command::LegAnswered(fact) => fact.fact.ring,
            _ => self.rang(offer),
        };
        let what = What::ContactConnected {
            contact: id,
            queue,
            offer,
            agent,
            site,
            waited: self.now().since(row.arrival),
            in_queue: self.now().since(row.entered),
            ring,
        };
        Some((row.tenant, what))
    }

    fn requeued(&self, id: ContactId, agent: AgentId) -> Option<(TenantId, What)> {
        let Seen { row, queue } = self.contact(id)?;
        let images = self.machine.queue.contacts().changed();
        let images = images.filter(|(key, _)| **key == id).filter_map(|(_, before)| before);
        let since = images.filter_map(talks_since).last().unwrap_or(self.now());
        let what = What::ContactRequeued {
            contact: id,
            queue,
            agent: self.agent_name(agent).0,
            caller: row.caller.clone(),
            waited: since.since(row.arrival),
            in_queue: since.since(row.entered),
            talk: self.now().since(since),
            came_as: row.came_as,
            position: self.position(row),
        };
        Some((row.tenant, what))
    }

    fn ended(&self, row: &Contact, reason: EndReason) -> (TenantId, What) {
        let (contact, queue, came_as) = (row.id, self.queue(row.queue), row.came_as);
        let until = talks_since(row).unwrap_or(self.now());
        let waited = until.since(row.arrival);
        let in_queue = until.since(row.entered);
        let what = match row.state {
            ContactState::Connected { agent, since, .. } => {
                let ((agent, _), talk) = (self.agent_name(agent), self.now().since(since));
                What::ContactCompleted {
                    contact,
                    queue,
                    agent,
                    reason,
                    waited,
                    in_queue,
                    talk,
                    came_as,
                }
            }
            _ => {
                let leaves = reason == EndReason::Overflowed;
                let overflow = leaves.then(|| self.why(row.queue, in_queue));
                let position = self.position(row);
                What::ContactLeft {
                    contact,
                    queue,
                    reason,
                    overflow,
                    waited,
                    in_queue,
                    position,
                    came_as,
                }
            }
        };
        (row.tenant, what)
    }

    // --- agents -----------------------------------------------------------------------------------

    /// Agents whom the command changed, as they were before it.
    fn agents_before(&self) -> BTreeMap<AgentId, &'a Agent> {
        let mut agents = BTreeMap::new();
        for (id, before) in self.machine.queue.agents().changed() {
            // One who was not there before has not come to work yet.
            if let Some(before) = before {
                agents.entry(*id).or_insert(before);
            }
        }
        agents
    }

    fn agent(&mut self, id: AgentId, before: &Agent) {
        let Some(after) = self.machine.queue.agents().get(&id) else { return };
        let (tenant, agent, site) = (after.tenant, after.name.clone(), self.site(after.site));
        let queues = |row: &Agent| row.queues.iter().map(|queue| self.queue(*queue)).collect();
        let device = (before.device != after.device).then(|| What::DeviceChanged {
            agent: agent.clone(),
            site: site.clone(),
            to: after.device,
        });
        let login = match (before.login, after.login) {
            (LoginState::LoggedOut, LoginState::LoggedIn(_)) => Some(What::AgentLoggedIn {
                agent,
                site,
                queues: queues(after),
                standing: standing(&after.work),
            }),
            (LoginState::LoggedIn(since), LoginState::LoggedOut) => Some(What::AgentLoggedOut {
                agent,
                site,
                queues: queues(before),
                logged_in: self.now().since(since),
            }),
            (LoginState::LoggedOut, LoginState::LoggedOut) => None,
            (LoginState::LoggedIn(_), LoginState::LoggedIn(_)) => {
                let joined: Vec<Name> =
                    after.queues.difference(&before.queues).map(|id| self.queue(*id)).collect();
                let left: Vec<Name> =
                    before.queues.difference(&after.queues).map(|id| self.queue(*id)).collect();
                let changed = !joined.is_empty() || !left.is_empty();
                let serves =
                    changed.then(|| What::AgentServes { agent: agent.clone(), joined, left });
                let (from, to) = (standing(&before.work), standing(&after.work));
                let lasted = after.work_since.since(before.work_since);
                let stands =
                    (from != to).then_some(What::AgentChanged { agent, site, from, to, lasted });
                if let Some(serves) = serves {
                    self.push(tenant, serves);
                }
                stands
            }
        };
        for what in [device, login].into_iter().flatten() {
            self.push(tenant, what);
        }
    }

    // --- configuration ----------------------------------------------------------------------------

    /// What an operator configured by this command.
    fn configured(&mut self) {
        match &self.envelope.command {
            Command::Queue(command) => self.configured_by(command),
            Command::ApplyConfiguration(all) => {
                all.changes.iter().for_each(|command| self.configured_by(command));
            }
            _ => {}
        }
    }

    fn configured_by(&mut self, command: &QueueCommand) {
        let (tenant, thing, name) = match command {
            QueueCommand::SetSiteState { site, state } => {
                let what = What::SiteChanged { site: site.clone(), to: *state };
                return self.push(TenantId::CLUSTER, what);
            }
            QueueCommand::PutSite { name, .. } => (TenantId::CLUSTER, Thing::Site, name),
            QueueCommand::SetSiteWeight { site, .. } | QueueCommand::SetSiteCap { site, .. } => {
                (TenantId::CLUSTER, Thing::Site, site)
            }
            QueueCommand::PutQueue { tenant, queue }
            | QueueCommand::ConfigureQueue { tenant, queue, .. } => {
                (*tenant, Thing::Queue, &queue.name)
            }
            QueueCommand::RemoveQueue { tenant, queue }
            | QueueCommand::RetireQueue { tenant, queue, .. } => (*tenant, Thing::Queue, queue),
            QueueCommand::PutNumber { tenant, number }
            | QueueCommand::ConfigureNumber { tenant, number, .. } => {
                (*tenant, Thing::Number, &number.number)
            }
            QueueCommand::RemoveNumber { tenant, number } => (*tenant, Thing::Number, number),
            QueueCommand::PutAgent { tenant, agent }
            | QueueCommand::ConfigureAgent { tenant, agent, .. } => {
                (*tenant, Thing::Agent, &agent.name)
            }
            QueueCommand::RemoveAgent { tenant, agent } => (*tenant, Thing::Agent, agent),
            QueueCommand::PutCalendar { tenant, calendar } => {
                (*tenant, Thing::Calendar, &calendar.name)
            }
            QueueCommand::RemoveCalendar { tenant, calendar } => {
                (*tenant, Thing::Calendar, calendar)
            }
            QueueCommand::PutTenant { name, .. } | QueueCommand::RemoveTenant { name } => {
                (TenantId::CLUSTER, Thing::Tenant, name)
            }
            QueueCommand::ChangeList { tenant, change } => (*tenant, Thing::List, &change.list),
            QueueCommand::LogIn { .. }
            | QueueCommand::LogOut { .. }
            | QueueCommand::SetReadiness { .. }
            | QueueCommand::Enqueue(_)
            | QueueCommand::Accept { .. }
            | QueueCommand::Decline { .. }
            | QueueCommand::End { .. }
            | QueueCommand::ExpireDue
            | QueueCommand::ContinueWork
            | QueueCommand::SetPriority { .. }
            | QueueCommand::Place { .. }
            | QueueCommand::ExtendWrapUp { .. }
            | QueueCommand::Release { .. }
            | QueueCommand::ApplyPlan { .. }
            | QueueCommand::UndoPlan { .. }
            | QueueCommand::AnchorWall { .. } => return,
        };
        let name = name.clone();
        self.push(tenant, What::Configured { thing, name });
    }
}

/// A row as it is, or as it was last if the running command has removed it.
fn latest<'a, R: Row>(table: &'a Table<R>, key: &R::Key) -> Option<&'a R> {
    let gone = || table.changed().filter(|(id, _)| *id == key).filter_map(|(_, row)| row).last();
    table.get(key).or_else(gone)
}

fn talks_since(contact: &Contact) -> Option<ClusterTime> {
    match contact.state {
        ContactState::Connected { since, .. } => Some(since),
        _ => None,
    }
}

fn standing(work: &WorkState) -> Standing {
    match work {
        WorkState::Ready | WorkState::Offered(_) | WorkState::Busy(_) => Standing::Serving,
        WorkState::WrapUp(_) => Standing::WrapUp,
        WorkState::NotReady(why) | WorkState::Paused { why, .. } => Standing::NotReady(why.clone()),
    }
}

/// Instead of a name, for what has none any more.
fn number(id: &impl ToString) -> Name {
    match id.to_string().parse() {
        Ok(name) => name,
        Err(error) => unreachable!("an id can be a name: {error}"),
    }
}

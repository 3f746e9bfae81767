//! Agents: login, readiness, device.

use crate::{
    command::{Event, OfferEnd, Readiness, Rejection, Reply},
    entity::{
        Agent, DeviceState, EndReason, LoginState, LogoutAfter, NotReadyReason, Tally, WorkItem,
        WorkState,
    },
    ids::{AgentId, TenantId},
    name::Name,
    state::State,
    time::Millis,
};

impl State {
    pub(super) fn log_in(
        &mut self,
        tenant: TenantId,
        name: &Name,
        as_state: &Readiness,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let agent = self.agent(tenant, name)?;
        let (id, engaged) = (agent.id, agent.is_engaged());
        let now = self.counters.now;
        let already = agent.login != LoginState::LoggedOut;
        if !already {
            self.site_is_staffed();
        }
        let goes_on = planted!(self, TallyGoesOn);
        self.update_agent(id, |row| {
            row.logout_after = LogoutAfter::No;
            if !already {
                row.login = LoginState::LoggedIn(now);
                row.idle_since = now;
                row.work_since = now;
                if !goes_on {
                    row.tally = Tally::default();
                }
            }
        });
        // An agent who logs in again keeps the contact they have.
        if already || engaged {
            return self.set_readiness(tenant, name, as_state, events);
        }
        self.enter(id, as_state, events);
        Ok(Reply::Done)
    }

    pub(super) fn log_out(
        &mut self,
        tenant: TenantId,
        name: &Name,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let agent = self.agent(tenant, name)?;
        let (id, engaged) = (agent.id, agent.is_engaged());
        let now = self.counters.now;
        if engaged {
            self.update_agent(id, |row| row.logout_after = LogoutAfter::Contact);
            events.push(Event::AgentChanged(id));
            return Ok(Reply::AfterContact);
        }
        let turn = self.counters.ordinal;
        self.update_agent(id, |row| {
            row.enter(WorkState::NotReady(NotReadyReason::Unspecified), now, turn);
            row.login = LoginState::LoggedOut;
            row.next_not_ready = None;
        });
        events.push(Event::AgentChanged(id));
        self.agent_leaves(id);
        Ok(Reply::Done)
    }

    pub(super) fn set_readiness(
        &mut self,
        tenant: TenantId,
        name: &Name,
        to: &Readiness,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let agent = self.agent(tenant, name)?;
        if agent.login == LoginState::LoggedOut {
            return Err(Rejection::AgentMustBeLoggedIn(name.clone()));
        }
        let (id, engaged) = (agent.id, agent.is_engaged());
        if engaged {
            let next = match to {
                Readiness::Ready => None,
                Readiness::NotReady(code) => Some(not_ready(code.as_ref())),
            };
            self.update_agent(id, |row| row.next_not_ready = next);
            events.push(Event::AgentChanged(id));
            return Ok(Reply::AfterContact);
        }
        self.enter(id, to, events);
        Ok(Reply::Done)
    }

    pub(super) fn extend_wrap_up(
        &mut self,
        tenant: TenantId,
        name: &Name,
        by: Millis,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let agent = self.agent(tenant, name)?;
        let ends_by = agent.after.and_then(|after| after.ends_by);
        let (WorkState::WrapUp(until), Some(ends_by)) = (&agent.work, ends_by) else {
            return Err(Rejection::WrapUpMustBeExtensible(name.clone()));
        };
        let ends_by = if planted!(self, WrapUpHasNoEnd) { *until + by } else { ends_by };
        let (id, until) = (agent.id, (*until + by).min(ends_by));
        self.update_agent(id, |row| row.work = WorkState::WrapUp(until));
        events.push(Event::AgentChanged(id));
        Ok(Reply::Done)
    }

    pub(super) fn release(
        &mut self,
        tenant: TenantId,
        name: &Name,
        to: &Readiness,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let agent = self.agent(tenant, name)?;
        if agent.login == LoginState::LoggedOut {
            return Err(Rejection::AgentMustBeLoggedIn(name.clone()));
        }
        let (id, work) = (agent.id, agent.work.clone());
        let to = if planted!(self, ReleasedStaysReady) { &Readiness::Ready } else { to };
        // Not ready in between, so that what they are set free from is not given to them again.
        let waiting = match work {
            WorkState::Offered(number) => {
                self.end_offer(number, OfferEnd::Withdrawn, events).map(|offer| offer.contact)
            }
            WorkState::Busy(contact) => {
                self.end_without_match(contact, EndReason::Operator, events)?;
                None
            }
            _ => None,
        };
        if self.agents.get(&id).is_some_and(|row| row.login != LoginState::LoggedOut) {
            self.put_into(id, to, events);
        }
        match waiting {
            // Both may be free: somebody may be ahead of the contact, and others free for it.
            Some(_) => self.add_work(WorkItem::Rematch),
            None => self.match_agent(id, events),
        }
        Ok(Reply::Done)
    }

    fn enter(&mut self, id: AgentId, to: &Readiness, events: &mut Vec<Event>) {
        self.put_into(id, to, events);
        self.match_agent(id, events);
    }

    fn put_into(&mut self, id: AgentId, to: &Readiness, events: &mut Vec<Event>) {
        let now = self.counters.now;
        let turn = self.counters.ordinal;
        let work = match to {
            Readiness::Ready => WorkState::Ready,
            Readiness::NotReady(code) => WorkState::NotReady(not_ready(code.as_ref())),
        };
        self.update_agent(id, |row| {
            row.enter(work, now, turn);
            row.next_not_ready = None;
        });
        events.push(Event::AgentChanged(id));
    }

    /// Takes over what is known of an agent's phone (from bindings and takeovers, in
    /// `crates/cluster`).
    pub fn set_device(&mut self, id: AgentId, device: DeviceState, events: &mut Vec<Event>) {
        if self.agents.get(&id).is_none_or(|agent| agent.device == device) {
            return;
        }
        self.update_agent(id, |row| row.device = device);
        events.push(Event::AgentChanged(id));
        self.match_agent(id, events);
        // An offer that fills a site sets those free who were kept for it.
        self.run_work(events);
    }

    pub(super) fn agent(&self, tenant: TenantId, name: &Name) -> Result<&Agent, Rejection> {
        self.agent_named(tenant, name).ok_or_else(|| Rejection::AgentMustExist(name.clone()))
    }
}

fn not_ready(code: Option<&Name>) -> NotReadyReason {
    code.map_or(NotReadyReason::Unspecified, |code| NotReadyReason::Code(code.clone()))
}

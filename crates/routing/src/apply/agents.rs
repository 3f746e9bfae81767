//! Agents: login, readiness, device.

use crate::{
    command::{Event, Readiness, Rejection, Reply},
    entity::{
        Agent, DeviceState, LoginState, LogoutAfter, NotReadyReason, Tally, WorkItem, WorkState,
    },
    ids::{AgentId, TenantId},
    name::Name,
    state::State,
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
        // Contacts that were kept for this agent's site may go elsewhere now.
        self.add_work(WorkItem::Rematch);
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

    fn enter(&mut self, id: AgentId, to: &Readiness, events: &mut Vec<Event>) {
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
        self.match_agent(id, events);
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
    }

    fn agent(&self, tenant: TenantId, name: &Name) -> Result<&Agent, Rejection> {
        self.agent_named(tenant, name).ok_or_else(|| Rejection::AgentMustExist(name.clone()))
    }
}

fn not_ready(code: Option<&Name>) -> NotReadyReason {
    code.map_or(NotReadyReason::Unspecified, |code| NotReadyReason::Code(code.clone()))
}

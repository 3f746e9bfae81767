//! Bindings and credentials of agents' phones.

use tandem_routing::{command::Event, entity::DeviceState, name::Name};

use crate::{
    binding::{Binding, Credential, PhoneTarget},
    command::{Outcome, PutBinding, Rejection, Reply},
    ids::{AgentId, TenantId},
    leg::Transport,
    limits::{BINDINGS_PER_AGENT_MAX, DIALOG_TEXT_LEN_MAX},
    machine::Machine,
    seal::Sealed,
};

impl Machine {
    pub(crate) fn put_binding(&mut self, put: &PutBinding, events: &mut Vec<Event>) -> Outcome {
        let agent = self.queue.agents().get(&put.agent).ok_or(Rejection::AgentMustExist)?;
        if agent.tenant != put.tenant {
            return Err(Rejection::AgentMustExist);
        }
        let uri = &put.target.contact_uri;
        let texts = [uri, &put.call_id, &put.target.source];
        if texts.into_iter().any(|text| text.len() > DIALOG_TEXT_LEN_MAX) {
            return Err(Rejection::Malformed("the Contact, source or Call-ID is too long".into()));
        }
        let existing = self.bindings.get(&(put.agent, uri.clone()));
        // RFC 3261 10.3 step 7: within one Call-ID the CSeq must rise.
        if existing.is_some_and(|row| row.call_id == put.call_id && row.cseq > put.cseq) {
            return Err(Rejection::BindingMustBeNewer);
        }
        if existing.is_none() {
            self.make_room(put.agent, events);
        }
        let now = self.queue.now();
        let row = Binding {
            tenant: put.tenant,
            agent: put.agent,
            target: put.target.clone(),
            call_id: put.call_id.clone(),
            cseq: put.cseq,
            written: now,
            expires: now + put.lifetime,
        };
        if let Some(before) = self.bindings.get(&(put.agent, uri.clone())) {
            self.index.remove_binding(before);
        }
        self.index.add_binding(&row);
        self.bindings.insert(row);
        self.queue.set_device(put.agent, DeviceState::Registered, events);
        Ok(Reply::Done)
    }

    /// The oldest binding gives way when an agent has as many as they may.
    fn make_room(&mut self, agent: AgentId, events: &mut Vec<Event>) {
        let bindings = self.bindings_of(agent);
        if bindings.len() >= BINDINGS_PER_AGENT_MAX
            && let Some(oldest) = bindings.last().map(|row| row.target.contact_uri.clone())
        {
            self.remove_binding_row(agent, &oldest, events);
        }
    }

    pub(crate) fn unbind(
        &mut self,
        tenant: TenantId,
        agent: AgentId,
        contact_uri: &str,
        events: &mut Vec<Event>,
    ) -> Outcome {
        if self.queue.agents().get(&agent).is_some_and(|row| row.tenant != tenant) {
            return Err(Rejection::AgentMustExist);
        }
        if contact_uri.is_empty() {
            self.remove_bindings(agent, events);
        } else {
            self.remove_binding_row(agent, contact_uri, events);
        }
        Ok(Reply::Done)
    }

    fn remove_bindings(&mut self, agent: AgentId, events: &mut Vec<Event>) {
        let uri = |row: &Binding| row.target.contact_uri.clone();
        let all: Vec<String> = self.bindings_of(agent).into_iter().map(uri).collect();
        all.iter().for_each(|uri| self.remove_binding_row(agent, uri, events));
    }

    /// An agent was removed: neither their phones nor their secret stay behind.
    pub(crate) fn forget_agent(&mut self, agent: AgentId, events: &mut Vec<Event>) {
        self.remove_bindings(agent, events);
        self.credentials.remove(&agent);
    }

    pub(crate) fn remove_binding_row(
        &mut self,
        agent: AgentId,
        uri: &str,
        events: &mut Vec<Event>,
    ) {
        if let Some(row) = self.bindings.remove(&(agent, uri.to_owned())) {
            self.index.remove_binding(row);
        }
        if self.bindings_of(agent).is_empty() {
            self.queue.set_device(agent, DeviceState::Unregistered, events);
        }
    }

    pub(crate) fn device_alive(&mut self, agent: AgentId, events: &mut Vec<Event>) -> Outcome {
        let row = self.queue.agents().get(&agent).ok_or(Rejection::AgentMustExist)?;
        if row.device == DeviceState::Recovering && !self.bindings_of(agent).is_empty() {
            self.queue.set_device(agent, DeviceState::Registered, events);
        }
        Ok(Reply::Done)
    }

    pub(crate) fn put_credential(
        &mut self,
        tenant: TenantId,
        name: &Name,
        realm: &str,
        sealed: &Sealed,
    ) -> Outcome {
        let agent = self.queue.agent_named(tenant, name).ok_or_else(|| {
            Rejection::Queue(tandem_routing::command::Rejection::AgentMustExist(name.clone()))
        })?;
        if realm.len() > DIALOG_TEXT_LEN_MAX || sealed.bytes.len() > DIALOG_TEXT_LEN_MAX {
            return Err(Rejection::Malformed("the realm or secret is too long".into()));
        }
        let (realm, sealed) = (realm.to_owned(), sealed.clone());
        self.credentials.insert(Credential { tenant, agent: agent.id, realm, sealed });
        Ok(Reply::Done)
    }

    /// The phone that is called for an agent: their newest binding that some living node can
    /// reach.
    pub(crate) fn phone_of(&self, agent: AgentId) -> Option<PhoneTarget> {
        self.bindings_of(agent)
            .into_iter()
            .map(|row| &row.target)
            .find(|target| target.transport == Transport::Udp || self.is_current_life(target.edge))
            .cloned()
    }
}

//! Whose things a request is about, and what nobody sees of other tenants' things.

use std::collections::BTreeMap;

use tandem_cluster::{command::Rejection, ids::ContactId, machine::Machine};
use tandem_proto::api::v1::{self as api, AsOf, Consistency};
use tandem_routing::{
    command::Rejection as QueueRejection,
    entity::{Agent, Contact, WorkState},
    ids::{AgentId, QueueId, TenantId},
    name::Name,
};
use tonic::{Code, Status};

use super::{Api, change::refusal, name, read::View};
use crate::phones;

/// Who is shown instead of another tenant's agent.
pub(super) const SOMEBODY: &str = "an agent of another tenant";

/// What the queue's rule says, as a status.
pub(super) fn refused(rejection: QueueRejection) -> Status {
    refusal(&Rejection::Queue(rejection))
}

/// There is no such contact for this tenant, live or ended.
pub(super) fn no_contact(id: ContactId) -> Status {
    Status::not_found(format!("there is no {id}"))
}

/// The tenant that a request names; none: the one that every cluster has.
fn tenant_of(machine: &Machine, asked: &str) -> Result<TenantId, Status> {
    if asked.is_empty() {
        return Ok(TenantId::DEFAULT);
    }
    let name = name("tenant", asked)?;
    let found = machine.queue().tenant_named(&name);
    found.ok_or_else(|| refused(QueueRejection::TenantMustExist(name)))
}

/// The user of an agent's phone.
pub(super) fn phone_user(
    machine: &Machine,
    tenant: TenantId,
    agent: &Name,
) -> Result<Name, Status> {
    phones::user_of(machine.queue(), tenant, agent).map_err(|error| {
        Status::invalid_argument(format!("the user of the agent's phone: {error}"))
    })
}

impl Api {
    /// The tenant that a change names. One that this node has not heard of may be new.
    pub(super) async fn tenant(&self, asked: &str) -> Result<TenantId, Status> {
        let core = self.core()?;
        match core.store.read(|replica, _| tenant_of(&replica.0, asked)) {
            Err(status) if status.code() == Code::NotFound => {
                let consistency = Consistency::Linearizable.into();
                self.read(consistency, |machine| tenant_of(machine, asked)).await?.1
            }
            known => known,
        }
    }

    /// Looks at what a tenant has.
    pub(super) async fn look<R>(
        &self,
        tenant: &str,
        consistency: i32,
        look: impl FnOnce(View<'_>) -> Result<R, Status>,
    ) -> Result<(AsOf, R), Status> {
        let now = self.core()?.clock.now();
        let look = |machine: &Machine| {
            let tenant = tenant_of(machine, tenant)?;
            look(View { machine, now, tenant })
        };
        let (as_of, seen) = self.read(consistency, look).await?;
        Ok((as_of, seen?))
    }

    /// Refuses a change of another tenant's contact as if there was none. One that is unknown also to the
    /// whole log is left to the log, which may remember an earlier try of this change.
    pub(super) async fn must_be_own(&self, tenant: &str, id: ContactId) -> Result<(), Status> {
        let tenant = self.tenant(tenant).await?;
        let owner =
            |machine: &Machine| machine.queue().contacts().get(&id).map(|contact| contact.tenant);
        let mut found = self.core()?.store.read(|replica, _| owner(&replica.0));
        if found.is_none() {
            found = self.read(Consistency::Linearizable.into(), owner).await?.1;
        }
        match found {
            Some(owner) if owner != tenant => Err(refused(QueueRejection::ContactMustBeLive(id))),
            _ => Ok(()),
        }
    }
}

impl View<'_> {
    /// The tenant that a queue belongs to.
    fn owner(&self, queue: QueueId) -> Option<TenantId> {
        self.machine.queue().queues().get(&queue).map(|queue| queue.tenant)
    }

    /// What people call a tenant.
    fn tenant_name(&self, tenant: TenantId) -> String {
        let row = self.machine.queue().tenants().get(&tenant);
        row.map_or_else(|| TenantId::DEFAULT_NAME.to_owned(), |row| row.name.to_string())
    }

    pub(super) fn is_own_queue(&self, queue: QueueId) -> bool {
        self.owner(queue) == Some(self.tenant)
    }

    /// A contact, if it is this tenant's.
    pub(super) fn own_contact<'c>(&self, contact: &'c Contact) -> Result<&'c Contact, Status> {
        if contact.tenant == self.tenant { Ok(contact) } else { Err(no_contact(contact.id)) }
    }

    /// A live contact's id, if it is this tenant's.
    pub(super) fn own_contact_id(&self, id: ContactId) -> Option<ContactId> {
        let contact = self.machine.queue().contacts().get(&id)?;
        (contact.tenant == self.tenant).then_some(id)
    }

    /// An agent's name; another tenant's agent has none here.
    pub(super) fn agent_name(&self, agent: AgentId) -> String {
        match self.machine.queue().agents().get(&agent) {
            Some(row) if row.tenant == self.tenant => row.name.to_string(),
            Some(_) => SOMEBODY.to_owned(),
            None => String::new(),
        }
    }

    /// What an agent does for other tenants: their own tenant has said so.
    pub(super) fn abroad(&self, agent: &Agent) -> BTreeMap<String, api::ServiceAbroad> {
        let mut abroad: BTreeMap<String, api::ServiceAbroad> = BTreeMap::new();
        let queues = agent.queues.iter().filter_map(|queue| Some((*queue, self.owner(*queue)?)));
        for (queue, owner) in queues.filter(|(_, owner)| *owner != agent.tenant) {
            let service = abroad.entry(self.tenant_name(owner)).or_default();
            service.queues.push(self.queue_name(queue));
        }
        for (skill, level) in agent.skills.iter() {
            let row = self.machine.queue().skills().get(skill);
            if let Some(row) = row.filter(|row| row.tenant != agent.tenant) {
                let service = abroad.entry(self.tenant_name(row.tenant)).or_default();
                service.skills.insert(row.name.to_string(), u32::from(*level));
            }
        }
        abroad
    }

    /// The contact that an agent has, if it is this tenant's.
    pub(super) fn contact_of(&self, agent: &Agent) -> Option<ContactId> {
        let contact = match &agent.work {
            WorkState::Offered(offer) => self.machine.queue().offers().get(offer)?.contact,
            WorkState::Busy(contact) => *contact,
            _ => return None,
        };
        self.own_contact_id(contact)
    }
}

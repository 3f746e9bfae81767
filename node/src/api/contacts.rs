//! `Contacts`: who waits and who talks, in the order of their queue, and what became of the others.

use tandem_cluster::{
    history::EndedContact,
    ids::{ContactId, GroupId, Ordinal},
    machine::history_key,
};
use tandem_proto::api::v1::{
    Contact, ContactPlacedReply, EndContactReply, EndContactRequest, ExplainRequest, Explanation,
    ListContactsReply, ListContactsRequest, PlaceContactRequest, SetPriorityRequest,
    ShowContactRequest,
};
use tandem_routing::{
    command::{Command, Rejection as QueueRejection},
    entity::{Contact as Row, EndReason},
    name::Name,
};
use tonic::{Request, Response, Status};

use super::{
    Api, explain, name, narrow,
    read::View,
    tenancy::{no_contact, refused},
};
use crate::{cluster::core::Core, rpc::contacts_server::Contacts};

/// Contacts in one answer, when nothing else is asked for.
const LIMIT: usize = 1_000;
/// Contacts in one answer at most.
const LIMIT_MAX: usize = 10_000;

#[tonic::async_trait]
impl Contacts for Api {
    async fn list(
        &self,
        request: Request<ListContactsRequest>,
    ) -> Result<Response<ListContactsReply>, Status> {
        let asked = Self::admit(request)?;
        let limit = match asked.limit as usize {
            0 => LIMIT,
            limit => limit.min(LIMIT_MAX),
        };
        let queue = if asked.queue.is_empty() { None } else { Some(name("queue", &asked.queue)?) };
        let (as_of, (contacts, more)) = self
            .look(&asked.tenant, asked.consistency, |view| contacts(view, queue, limit))
            .await?;
        Ok(Response::new(ListContactsReply { as_of: Some(as_of), contacts, more }))
    }

    async fn show(
        &self,
        request: Request<ShowContactRequest>,
    ) -> Result<Response<Contact>, Status> {
        let asked = Self::admit(request)?;
        let id = contact_id(&asked.id)?;
        let (_, live) = self
            .look(&asked.tenant, asked.consistency, |view| {
                Ok(live(view, id)?.map(|row| view.contact(row)))
            })
            .await?;
        if let Some(live) = live {
            return Ok(Response::new(live));
        }
        let ended = find_ended(&*self.core()?, id).await?.ok_or_else(|| no_contact(id))?;
        // The history does not change: how fresh the rest is does not matter.
        let (_, contact) = self
            .look(&asked.tenant, 0, |view| {
                view.own_contact(&ended.contact)?;
                Ok(view.ended(&ended))
            })
            .await?;
        Ok(Response::new(contact))
    }

    async fn explain(
        &self,
        request: Request<ExplainRequest>,
    ) -> Result<Response<Explanation>, Status> {
        let asked = Self::admit(request)?;
        let id = contact_id(&asked.id)?;
        let only = if asked.agent.is_empty() { None } else { Some(name("agent", &asked.agent)?) };
        let limit = match asked.limit as usize {
            0 => explain::LIMIT,
            limit => limit.min(explain::LIMIT_MAX),
        };
        let (as_of, live) = self
            .look(&asked.tenant, asked.consistency, |view| {
                let Some(row) = live(view, id)? else { return Ok(None) };
                explain::live(view, row, only.as_ref(), limit).map(Some).map_err(refused)
            })
            .await?;
        let explanation = match live {
            Some(explanation) => explanation,
            None => {
                let ended = find_ended(&*self.core()?, id).await?.ok_or_else(|| no_contact(id))?;
                let look = |view: View<'_>| {
                    view.own_contact(&ended.contact)?;
                    explain::ended(view, &ended, only.as_ref(), limit).map_err(refused)
                };
                self.look(&asked.tenant, 0, look).await?.1
            }
        };
        Ok(Response::new(Explanation { as_of: Some(as_of), ..explanation }))
    }

    async fn end(
        &self,
        request: Request<EndContactRequest>,
    ) -> Result<Response<EndContactReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let contact = contact_id(&asked.id)?;
        self.must_be_own(&asked.tenant, contact).await?;
        let command = Command::End { contact, reason: EndReason::Operator };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(EndContactReply {}))
    }

    async fn set_priority(
        &self,
        request: Request<SetPriorityRequest>,
    ) -> Result<Response<ContactPlacedReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let contact = contact_id(&asked.id)?;
        self.must_be_own(&asked.tenant, contact).await?;
        let command =
            Command::SetPriority { contact, priority: narrow("priority", asked.priority)? };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(ContactPlacedReply {}))
    }

    async fn place(
        &self,
        request: Request<PlaceContactRequest>,
    ) -> Result<Response<ContactPlacedReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let contact = contact_id(&asked.id)?;
        let before = if asked.before.is_empty() { None } else { Some(contact_id(&asked.before)?) };
        for contact in [Some(contact), before].into_iter().flatten() {
            self.must_be_own(&asked.tenant, contact).await?;
        }
        let command = Command::Place { contact, before };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(ContactPlacedReply {}))
    }
}

/// A tenant's live contacts in the order of their queue, and whether there are more.
pub(super) fn contacts(
    view: View<'_>,
    queue: Option<Name>,
    limit: usize,
) -> Result<(Vec<Contact>, bool), Status> {
    let state = view.machine.queue();
    let wanted = match queue {
        None => None,
        Some(name) => match state.queue_named(view.tenant, &name) {
            Some(queue) => Some(queue.id),
            None => return Err(refused(QueueRejection::QueueMustExist(name))),
        },
    };
    let asked =
        |row: &&Row| row.tenant == view.tenant && wanted.is_none_or(|wanted| row.queue == wanted);
    let mut rows: Vec<&Row> = state.contacts().iter().filter(asked).collect();
    rows.sort_by_key(|row| (row.queue, row.wait_key()));
    let more = rows.len() > limit;
    rows.truncate(limit);
    Ok((rows.into_iter().map(|row| view.contact(row)).collect(), more))
}

/// A live contact, if it is this tenant's; one of another is none.
pub(super) fn live(view: View<'_>, id: ContactId) -> Result<Option<&Row>, Status> {
    view.machine.queue().contacts().get(&id).map(|row| view.own_contact(row)).transpose()
}

/// Looks a contact up in the history.
async fn find_ended(core: &Core, id: ContactId) -> Result<Option<EndedContact>, Status> {
    let broken =
        |error: tandem_raft_store::StoreError| Status::unavailable(format!("the history: {error}"));
    core.store.settle().await.map_err(broken)?;
    let key = history_key(id.group, id);
    // Keys are in the order of ordinals: the row is the first behind its predecessor.
    let before = id.ordinal.0.checked_sub(1);
    let before =
        before.map(|before| history_key(id.group, ContactId { ordinal: Ordinal(before), ..id }));
    let store = core.store.clone();
    let page = tokio::task::spawn_blocking(move || store.history_page(before.as_deref(), 1))
        .await
        .map_err(|error| Status::internal(error.to_string()))?
        .map_err(broken)?;
    let row = page.into_iter().find(|(found, _)| *found == key);
    Ok(row.and_then(|(_, value)| EndedContact::read(&value)))
}

/// Reads `contact_<group>_<ordinal>`.
fn contact_id(text: &str) -> Result<ContactId, Status> {
    let read = || {
        let (group, ordinal) = text.strip_prefix("contact_")?.split_once('_')?;
        Some(ContactId {
            group: GroupId(group.parse().ok()?),
            ordinal: Ordinal(ordinal.parse().ok()?),
        })
    };
    read().ok_or_else(|| {
        Status::invalid_argument(format!(
            "{text:?} is no contact's id: they look like contact_0_123 (`tandem contact list`)"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: an id is read back from its own text; anything else is refused.
    #[test]
    fn contact_ids_are_read_back() {
        let id = ContactId { group: GroupId(0), ordinal: Ordinal(123) };
        assert_eq!(contact_id(&id.to_string()).expect("an id"), id);
        for bad in ["", "123", "contact_1", "contact_0_x", "leg_0_1"] {
            assert!(contact_id(bad).is_err(), "{bad}");
        }
    }
}

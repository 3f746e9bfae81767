//! Taking a queue out: what it would do, and how far it is.

use tandem_proto::api::v1::{RetirePreview, RetireQueueRequest};
use tandem_routing::{
    command::Rejection,
    entity::{Agent, ContactState, Queue},
    name::Name,
    rules::Target,
};
use tonic::Status;

use super::{name, read::View, tenancy::refused};

/// The queue that is taken out, and where those who wait go.
pub(super) fn names(asked: &RetireQueueRequest) -> Result<(Name, Target<Name>), Status> {
    let to = match asked.to.as_str() {
        "" => Target::Away,
        to => Target::Queue(name("to", to)?),
    };
    Ok((name("name", &asked.name)?, to))
}

/// What taking a queue out would do; refused as that would be.
pub(super) fn preview(view: View<'_>, asked: &RetireQueueRequest) -> Result<RetirePreview, Status> {
    let (queue, to) = names(asked)?;
    let state = view.machine.queue();
    let find = |name: Name| match state.queue_named(view.tenant, &name) {
        Some(queue) if queue.retiring.is_some() => Err(refused(Rejection::QueueMustStay(name))),
        Some(queue) => Ok(queue.id),
        None => Err(refused(Rejection::QueueMustExist(name))),
    };
    let id = find(queue.clone())?;
    if let Target::Queue(to) = to
        && find(to)? == id
    {
        return Err(refused(Rejection::QueueMustNotLeadToItself(queue)));
    }
    let mut shown = RetirePreview::default();
    for contact in state.contacts().iter().filter(|contact| contact.queue == id) {
        match contact.state {
            ContactState::Connected { .. } => shown.connected += 1,
            ContactState::Queued | ContactState::Unconfirmed | ContactState::Offered { .. } => {
                shown.waiting += 1;
            }
        }
    }
    let numbers = state.numbers().iter().filter(|number| number.queue == id);
    shown.numbers = numbers.map(|number| number.number.to_string()).collect();
    let leads_here = |row: &&Queue| {
        row.rules.overflow.iter().any(|rule| rule.to == Target::Queue(id))
            || row.rules.also.iter().any(|also| also.queue == id)
    };
    let overflows = state.queues().iter().filter(leads_here);
    shown.overflows = overflows.map(|row| row.name.to_string()).collect();
    let serves = |agent: &&Agent| agent.queues.contains(&id);
    for agent in state.agents().iter().filter(serves) {
        shown.agents += 1;
        shown.agents_abroad += u64::from(agent.tenant != view.tenant);
    }
    Ok(shown)
}

/// Whether a queue takes callers, and where those go who wait in one that is on its way out.
pub(super) fn state(view: View<'_>, queue: &Queue) -> (&'static str, String) {
    match &queue.retiring {
        Some(retirement) => {
            let to = match retirement.to {
                Target::Queue(to) => view.queue_name(to),
                Target::Away => String::new(),
            };
            ("removing", to)
        }
        None if view.is_open(queue) => ("open", String::new()),
        None => ("closed", String::new()),
    }
}

//! `Queues`: queues, and the numbers that lead to them.

use tandem_proto::api::v1::{
    Consistency, ListNumbersReply, ListNumbersRequest, ListQueuesReply, ListQueuesRequest, Number,
    PutNumberRequest, PutQueueRequest, PutReply, QueueStatus, RemoveNumberRequest,
    RemoveQueueRequest, RetirePreview, RetireQueueReply, RetireQueueRequest,
};
use tandem_routing::{
    command::{Command, NumberRules, NumberSpec, QueueSpec, Reply},
    entity::{LoginState, SiteChoice},
    requirement::NamedRequirement,
    time::Millis,
};
use tonic::{Request, Response, Status};

use super::{Api, name, narrow, read::View, retire, rules};
use crate::rpc::queues_server::Queues;

#[tonic::async_trait]
impl Queues for Api {
    async fn list(
        &self,
        request: Request<ListQueuesRequest>,
    ) -> Result<Response<ListQueuesReply>, Status> {
        let asked = Self::admit(request)?;
        let (as_of, queues) =
            self.look(&asked.tenant, asked.consistency, |view| Ok(statuses(view))).await?;
        Ok(Response::new(ListQueuesReply { as_of: Some(as_of), queues }))
    }

    async fn put(&self, request: Request<PutQueueRequest>) -> Result<Response<PutReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let queue = asked.queue.ok_or_else(|| Status::invalid_argument("queue is missing"))?;
        let spec = QueueSpec {
            name: name("name", &queue.name)?,
            requirement: requirement(&queue.requirement)?,
            weight: narrow("weight", queue.weight)?,
            site_choice: match queue.site_choice.as_str() {
                "any" | "" => SiteChoice::Any,
                "nearest" => SiteChoice::Nearest,
                "weighted" => SiteChoice::Weighted,
                "balanced" => SiteChoice::Balanced,
                other => {
                    return Err(Status::invalid_argument(format!(
                        "site_choice {other:?} is none of any, nearest, weighted, balanced"
                    )));
                }
            },
            widen_after: Millis(queue.widen_after_ms),
            ring: Millis(queue.ring_ms),
            wrap_up: Millis(queue.wrap_up_ms),
            length_max: queue.length_max,
            wait_max: Millis(queue.wait_max_ms),
        };
        let rules = Box::new(rules::queue(&queue)?);
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::ConfigureQueue { tenant, queue: spec, rules };
        self.change(command, asked.idempotency_key, within).await.map(put)
    }

    async fn remove(
        &self,
        request: Request<RemoveQueueRequest>,
    ) -> Result<Response<PutReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let queue = name("name", &asked.name)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::RemoveQueue { tenant, queue };
        self.change(command, asked.idempotency_key, within).await.map(put)
    }

    async fn preview_retire(
        &self,
        request: Request<RetireQueueRequest>,
    ) -> Result<Response<RetirePreview>, Status> {
        let asked = Self::admit(request)?;
        // What would be done now, as well as this node knows it.
        let consistency = Consistency::Linearizable.into();
        let look = |view: View<'_>| retire::preview(view, &asked);
        let (as_of, preview) = self.look(&asked.tenant, consistency, look).await?;
        Ok(Response::new(RetirePreview { as_of: Some(as_of), ..preview }))
    }

    async fn retire(
        &self,
        request: Request<RetireQueueRequest>,
    ) -> Result<Response<RetireQueueReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let (queue, to) = retire::names(&asked)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::RetireQueue { tenant, queue, to };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(RetireQueueReply {}))
    }

    async fn list_numbers(
        &self,
        request: Request<ListNumbersRequest>,
    ) -> Result<Response<ListNumbersReply>, Status> {
        let asked = Self::admit(request)?;
        let (as_of, numbers) =
            self.look(&asked.tenant, asked.consistency, |view| Ok(numbers(view))).await?;
        Ok(Response::new(ListNumbersReply { as_of: Some(as_of), numbers }))
    }

    async fn put_number(
        &self,
        request: Request<PutNumberRequest>,
    ) -> Result<Response<PutReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let number = asked.number.ok_or_else(|| Status::invalid_argument("number is missing"))?;
        let spec = NumberSpec {
            number: name("number", &number.number)?,
            queue: name("queue", &number.queue)?,
            requirement: requirement(&number.requirement)?,
            priority: narrow("priority", number.priority)?,
        };
        let prefers = match number.prefers_agent.as_str() {
            "" => None,
            agent => Some((name("prefers_agent", agent)?, Millis(number.prefers_patience_ms))),
        };
        let rules = NumberRules {
            prefers,
            lists: number.lists.iter().map(rules::list_rule).collect::<Result<_, _>>()?,
        };
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::ConfigureNumber { tenant, number: spec, rules };
        self.change(command, asked.idempotency_key, within).await.map(put)
    }

    async fn remove_number(
        &self,
        request: Request<RemoveNumberRequest>,
    ) -> Result<Response<PutReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let number = name("number", &asked.number)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::RemoveNumber { tenant, number };
        self.change(command, asked.idempotency_key, within).await.map(put)
    }
}

pub(super) fn numbers(view: View<'_>) -> Vec<Number> {
    let own = view.machine.queue().numbers().iter().filter(|row| row.tenant == view.tenant);
    let number = |row: &tandem_routing::entity::Number| Number {
        number: row.number.to_string(),
        queue: view.queue_name(row.queue),
        requirement: view.requirement(&row.requirement),
        priority: u32::from(row.priority),
        prefers_agent: row.prefers.map(|(agent, _)| view.agent_name(agent)).unwrap_or_default(),
        prefers_patience_ms: row.prefers.map_or(0, |(_, patience)| patience.0),
        lists: row.lists.iter().map(rules::show_list_rule).collect(),
    };
    own.map(number).collect()
}

pub(super) fn statuses(view: View<'_>) -> Vec<QueueStatus> {
    let queue = view.machine.queue();
    let counts = view.counts_by_queue();
    queue
        .queues()
        .iter()
        .filter(|row| row.tenant == view.tenant)
        .map(|row| {
            let (state, retires_to) = retire::state(view, row);
            let counts = counts.get(&row.id).copied().unwrap_or_default();
            let mut status = QueueStatus {
                queue: Some(view.queue(row)),
                waiting: counts.waiting(),
                offered: counts.offered,
                connected: counts.connected,
                longest_wait_ms: counts.longest_wait_ms,
                expected_wait_ms: queue.expected_wait(row).map(|wait| wait.0),
                state: state.to_owned(),
                retires_to,
                ..QueueStatus::default()
            };
            for agent in queue.agents().iter().filter(|agent| agent.queues.contains(&row.id)) {
                status.agents_logged_in += u64::from(agent.login != LoginState::LoggedOut);
                status.agents_ready += u64::from(queue.is_available(agent));
            }
            status
        })
        .collect()
}

/// A requirement as people write it; empty: anybody.
pub(super) fn requirement(text: &str) -> Result<NamedRequirement, Status> {
    if text.trim().is_empty() {
        return Ok(NamedRequirement::anybody());
    }
    text.parse().map_err(|error: tandem_routing::requirement::RequirementError| {
        Status::invalid_argument(error.to_string())
    })
}

/// The reply to changed configuration.
pub(super) fn put(reply: Reply) -> Response<PutReply> {
    let new_skills = match reply {
        Reply::Put { new_skills } => new_skills.iter().map(ToString::to_string).collect(),
        _ => Vec::new(),
    };
    Response::new(PutReply { new_skills })
}

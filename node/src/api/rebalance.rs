//! `Rebalance`: plans that move load between sites, previewed, applied in steps, undone.

use std::collections::BTreeMap;

use tandem_proto::api::v1 as api;
use tandem_routing::{
    command::{Command, MembershipSpec, PlanSpec, Reply},
    entity::{Direction, Plan},
    ids::{GroupId, Ordinal, QueueId, SiteId},
    preview::{Change, Preview},
    time::Millis,
};
use tonic::{Request, Response, Status};

use super::{Api, name, narrow, read::View, tenancy::refused};
use crate::rpc::rebalance_server::Rebalance;

/// Time between two steps, when nothing else is asked for.
const EVERY_MS: u64 = 10_000;

#[tonic::async_trait]
impl Rebalance for Api {
    async fn preview(
        &self,
        request: Request<api::PlanRequest>,
    ) -> Result<Response<api::PlanPreview>, Status> {
        let asked = Self::admit(request)?;
        let plan = plan(&asked)?;
        // What the leader would do now, as well as this node knows it.
        let consistency = api::Consistency::Linearizable.into();
        let (as_of, shown) = self
            .look(&asked.tenant, consistency, |view| {
                let preview = view.machine.queue().preview(GroupId(0), view.tenant, &plan);
                // As a change would be refused.
                preview.map(|preview| show(view, &preview)).map_err(refused)
            })
            .await?;
        Ok(Response::new(api::PlanPreview { as_of: Some(as_of), ..shown }))
    }

    async fn apply(
        &self,
        request: Request<api::PlanRequest>,
    ) -> Result<Response<api::PlanReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let plan = Box::new(plan(&asked)?);
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::ApplyPlan { tenant, plan };
        self.change(command, asked.idempotency_key, within).await.and_then(begun)
    }

    async fn status(
        &self,
        request: Request<api::PlanStatusRequest>,
    ) -> Result<Response<api::PlanStatusReply>, Status> {
        let asked = Self::admit(request)?;
        let (as_of, plans) =
            self.look(&asked.tenant, asked.consistency, |view| Ok(plans(view))).await?;
        Ok(Response::new(api::PlanStatusReply { as_of: Some(as_of), plans }))
    }

    async fn undo(
        &self,
        request: Request<api::UndoPlanRequest>,
    ) -> Result<Response<api::PlanReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let plan = Ordinal(asked.plan);
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::UndoPlan { tenant, plan };
        self.change(command, asked.idempotency_key, within).await.and_then(begun)
    }
}

fn plan(asked: &api::PlanRequest) -> Result<PlanSpec, Status> {
    let mut agents: BTreeMap<_, MembershipSpec> = BTreeMap::new();
    for change in &asked.agents {
        let of_agent = agents.entry(name("agent", &change.agent)?).or_default();
        for queue in &change.join {
            of_agent.join.insert(name("join", queue)?);
        }
        for queue in &change.leave {
            of_agent.leave.insert(name("leave", queue)?);
        }
    }
    let weight = |(site, weight): (&String, &u32)| {
        Ok::<_, Status>((name("weights", site)?, narrow("weight", *weight)?))
    };
    Ok(PlanSpec {
        weights: asked.weights.iter().map(weight).collect::<Result<_, _>>()?,
        agents,
        steps: if asked.steps == 0 { 1 } else { narrow("steps", asked.steps)? },
        every: Millis(if asked.every_ms == 0 { EVERY_MS } else { asked.every_ms }),
    })
}

fn begun(reply: Reply) -> Result<Response<api::PlanReply>, Status> {
    match reply {
        Reply::PlanBegun { plan } => Ok(Response::new(api::PlanReply { plan: plan.0 })),
        other => Err(Status::internal(format!("an unexpected reply of the log: {other:?}"))),
    }
}

pub(super) fn show(view: View<'_>, preview: &Preview) -> api::PlanPreview {
    let own = |((queue, _), _): &(&(QueueId, SiteId), &Change)| view.is_own_queue(*queue);
    let places =
        preview.places.iter().filter(own).map(|((queue, site), change)| api::PlacePreview {
            queue: view.queue_name(*queue),
            site: view.site_name(*site),
            waiting_before: change.before.waiting,
            waiting_after: change.after.waiting,
            agents_before: change.before.agents,
            agents_after: change.after.agents,
            expected_wait_before_ms: change.before.expected_wait.map(|wait| wait.0),
            expected_wait_after_ms: change.after.expected_wait.map(|wait| wait.0),
        });
    api::PlanPreview {
        as_of: None,
        moved: preview.moved,
        stranded: preview.stranded,
        agents: preview.agents,
        places: places.collect(),
    }
}

/// A tenant's plans, the latest first.
pub(super) fn plans(view: View<'_>) -> Vec<api::Plan> {
    let plans = view.machine.queue().plans().iter().rev();
    plans.filter(|plan| plan.tenant == view.tenant).map(|plan| status(view, plan)).collect()
}

fn status(view: View<'_>, plan: &Plan) -> api::Plan {
    let state = match (plan.direction, plan.is_running()) {
        (Direction::Forward, true) => "applying",
        (Direction::Forward, false) => "applied",
        (Direction::Back, true) => "undoing",
        (Direction::Back, false) => "undone",
    };
    let names = |queues: &std::collections::BTreeSet<_>| {
        queues.iter().map(|queue| view.queue_name(*queue)).collect()
    };
    api::Plan {
        id: plan.id.0,
        state: state.to_owned(),
        taken: plan.taken.into(),
        steps: plan.steps.into(),
        every_ms: plan.every.0,
        began_ago_ms: view.now.since(plan.began).0,
        next_in_ms: plan.next_at.map(|at| at.since(view.now).0),
        weights: plan
            .weights
            .iter()
            .map(|change| api::WeightChange {
                site: view.site_name(change.site),
                from: change.from.into(),
                to: change.to.into(),
                now: plan.weight(change).into(),
            })
            .collect(),
        agents: plan
            .agents
            .iter()
            .map(|change| api::MembershipChange {
                agent: view.agent_name(change.agent),
                join: names(&change.join),
                leave: names(&change.leave),
            })
            .collect(),
    }
}

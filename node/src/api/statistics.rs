//! `Statistics`: what was counted, by quarters of an hour.

use tandem_proto::api::v1 as api;
use tandem_routing::{
    command::Rejection,
    entity::{AgentInterval, QueueInterval, SiteInterval, interval_of},
    ids::{AgentId, QueueId, SiteId, TenantId},
    limits::{INTERVAL_MS, INTERVALS_KEPT_MS},
    name::Name,
    time::{ClusterTime, Millis},
};
use tonic::{Request, Response, Status};

use super::{Api, name, read::View, tenancy::refused};
use crate::rpc::statistics_server::Statistics;

/// Intervals in one answer, when nothing else is asked for: an hour.
const LAST: u32 = 4;

#[tonic::async_trait]
impl Statistics for Api {
    async fn intervals(
        &self,
        request: Request<api::IntervalsRequest>,
    ) -> Result<Response<api::IntervalsReply>, Status> {
        let asked = Self::admit(request)?;
        let only = |field: &str, text: &str| {
            if text.is_empty() { Ok(None) } else { name(field, text).map(Some) }
        };
        let (queue, agent) = (only("queue", &asked.queue)?, only("agent", &asked.agent)?);
        let last = if asked.last == 0 { LAST } else { asked.last };
        let (as_of, found) = self
            .look(&asked.tenant, asked.consistency, |view| {
                let agents = asked.agents || agent.is_some();
                let found = if agents {
                    of_agents(view, agent, last)
                } else {
                    intervals(view, queue, last)
                };
                found.map_err(refused)
            })
            .await?;
        let interval_ms = INTERVAL_MS;
        Ok(Response::new(api::IntervalsReply { as_of: Some(as_of), interval_ms, ..found }))
    }
}

/// The beginning of the first of the last intervals.
fn first(view: View<'_>, last: u32) -> ClusterTime {
    let back = u64::from(last).saturating_sub(1).saturating_mul(INTERVAL_MS);
    interval_of(view.now) - Millis(back.min(INTERVALS_KEPT_MS))
}

pub(super) fn intervals(
    view: View<'_>,
    only: Option<Name>,
    last: u32,
) -> Result<api::IntervalsReply, Rejection> {
    let state = view.machine.queue();
    let only = match only {
        None => None,
        Some(name) => {
            let queue = state.queue_named(view.tenant, &name);
            Some(queue.ok_or(Rejection::QueueMustExist(name))?.id)
        }
    };
    let from = first(view, last);
    let (first_queue, first_site) = ((from, QueueId::default()), (from, SiteId::default()));
    let queues = state.queue_intervals().iter_from(&first_queue);
    let queues = queues.filter(|row| row.tenant == view.tenant);
    let queues = queues.filter(|row| only.is_none_or(|queue| queue == row.queue));
    // Sites are the cluster's, and so is what is counted of them.
    let of_cluster = view.tenant == TenantId::DEFAULT && only.is_none();
    let sites = state.site_intervals().iter_from(&first_site).filter(|_| of_cluster);
    Ok(api::IntervalsReply {
        queues: queues.map(|row| of_queue(view, row)).collect(),
        sites: sites.map(|row| of_site(view, row)).collect(),
        ..api::IntervalsReply::default()
    })
}

/// What was counted of a tenant's agents: intervals that are over for them, and the one in their row.
pub(super) fn of_agents(
    view: View<'_>,
    only: Option<Name>,
    last: u32,
) -> Result<api::IntervalsReply, Rejection> {
    let state = view.machine.queue();
    let only = match only {
        None => None,
        Some(name) => {
            let agent = state.agent_named(view.tenant, &name);
            Some(agent.ok_or(Rejection::AgentMustExist(name))?.id)
        }
    };
    let from = first(view, last);
    let wanted = |row: &&AgentInterval| {
        row.tenant == view.tenant && only.is_none_or(|agent| agent == row.agent)
    };
    let first = (from, AgentId::default());
    let over = state.agent_intervals().iter_from(&first).filter(wanted);
    let running = state.agents().iter().map(|agent| &agent.counted);
    let running = running.filter(|row| row.start >= from && !row.is_empty()).filter(wanted);
    let mut rows: Vec<&AgentInterval> = over.chain(running).collect();
    rows.sort_by_key(|row| (row.start, row.agent));
    Ok(api::IntervalsReply {
        agents: rows.into_iter().map(|row| of_agent(view, row)).collect(),
        ..api::IntervalsReply::default()
    })
}

fn of_agent(view: View<'_>, row: &AgentInterval) -> api::AgentInterval {
    let agent = view.machine.queue().agents().get(&row.agent);
    api::AgentInterval {
        start_ms: row.start.0,
        agent: view.agent_name(row.agent),
        site: agent.map(|agent| view.site_name(agent.site)).unwrap_or_default(),
        offers: row.offers.into(),
        answered: row.answered.into(),
        missed: row.missed.into(),
        talk_ms: row.talk.0,
        wrap_up_ms: row.wrap_up.0,
        ringing_ms: row.ringing.0,
        available_ms: row.available.0,
        not_ready_ms: row.not_ready.0,
        occupancy_ppm: row.occupancy_ppm(),
    }
}

fn of_queue(view: View<'_>, row: &QueueInterval) -> api::QueueInterval {
    api::QueueInterval {
        start_ms: row.start.0,
        queue: view.queue_name(row.queue),
        offered: row.offered.into(),
        answered: row.answered.into(),
        answered_in_time: row.answered_in_time.into(),
        abandoned: row.abandoned.into(),
        abandoned_in_time: row.abandoned_in_time.into(),
        abandoned_short: row.abandoned_short.into(),
        ended_waiting: row.ended_waiting.into(),
        turned_away: row.turned_away.into(),
        wait_answered_ms: row.wait_answered.0,
        wait_abandoned_ms: row.wait_abandoned.0,
        wait_max_ms: row.wait_max.0,
        handled: row.handled.into(),
        talk_ms: row.talk.0,
        wrap_up_ms: row.wrap_up.0,
        offers: row.offers.into(),
        offers_failed: row.offers_failed.into(),
        requeued: row.requeued.into(),
        overflowed_in: row.overflowed_in.into(),
        overflowed_out: row.overflowed_out.into(),
        service_level_ppm: row.service_level_ppm(),
        service_level_2_ppm: row.service_level_2_ppm(),
        speed_of_answer_ms: row.speed_of_answer().map(|mean| mean.0),
        handle_time_ms: row.handle_time().map(|mean| mean.0),
    }
}

fn of_site(view: View<'_>, row: &SiteInterval) -> api::SiteInterval {
    api::SiteInterval {
        start_ms: row.start.0,
        site: view.site_name(row.site),
        answered: row.answered.into(),
        from_elsewhere: row.from_elsewhere.into(),
        talk_ms: row.talk.0,
        wrap_up_ms: row.wrap_up.0,
        ringing_ms: row.ringing.0,
        available_ms: row.available.0,
        not_ready_ms: row.not_ready.0,
        occupancy_ppm: row.occupancy_ppm(),
    }
}

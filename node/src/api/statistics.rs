//! `Statistics`: what was counted, by quarters of an hour.

use tandem_proto::api::v1 as api;
use tandem_routing::{
    command::Rejection,
    entity::{QueueInterval, SiteInterval, interval_of},
    ids::{QueueId, SiteId, TenantId},
    limits::{INTERVAL_MS, INTERVALS_KEPT_MS},
    name::Name,
    time::Millis,
};
use tonic::{Request, Response, Status};

use super::{Api, name, read::View};
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
        let only = if asked.queue.is_empty() { None } else { Some(name("queue", &asked.queue)?) };
        let last = if asked.last == 0 { LAST } else { asked.last };
        let now = self.core()?.clock.now();
        let (as_of, found) = self
            .read(asked.consistency, |machine| {
                intervals(View { machine, now }, only.as_ref(), last)
            })
            .await?;
        let (queues, sites) = found.map_err(|error| Status::not_found(error.to_string()))?;
        let interval_ms = INTERVAL_MS;
        Ok(Response::new(api::IntervalsReply { as_of: Some(as_of), interval_ms, queues, sites }))
    }
}

type Found = (Vec<api::QueueInterval>, Vec<api::SiteInterval>);

fn intervals(view: View<'_>, only: Option<&Name>, last: u32) -> Result<Found, Rejection> {
    let state = view.machine.queue();
    let only = match only {
        None => None,
        Some(name) => {
            let queue = state.queue_named(TenantId::DEFAULT, name);
            Some(queue.ok_or_else(|| Rejection::QueueMustExist(name.clone()))?.id)
        }
    };
    let back = Millis((u64::from(last) - 1).saturating_mul(INTERVAL_MS).min(INTERVALS_KEPT_MS));
    let from = interval_of(view.now) - back;
    let (first_queue, first_site) = ((from, QueueId::default()), (from, SiteId::default()));
    let queues = state.queue_intervals().iter_from(&first_queue);
    let queues = queues.filter(|row| only.is_none_or(|queue| queue == row.queue));
    let sites = state.site_intervals().iter_from(&first_site);
    let sites = sites.filter(|_| only.is_none());
    Ok((
        queues.map(|row| of_queue(view, row)).collect(),
        sites.map(|row| of_site(view, row)).collect(),
    ))
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

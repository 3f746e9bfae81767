//! `Calendars`: opening hours, from the text that people write.

use std::time::{SystemTime, UNIX_EPOCH};

use tandem_proto::api::v1 as api;
use tandem_routing::{
    command::{CalendarSpec, Command, Rejection},
    entity::{Calendar, Queue},
    name::Name,
    time::UtcMillis,
};
use tonic::{Request, Response, Status};

use super::{Api, name, read::View, tenancy::refused};
use crate::{
    calendar::{Source, next_closing, next_opening},
    rpc::calendars_server::Calendars,
};

#[tonic::async_trait]
impl Calendars for Api {
    async fn list(
        &self,
        request: Request<api::ListCalendarsRequest>,
    ) -> Result<Response<api::ListCalendarsReply>, Status> {
        let asked = Self::admit(request)?;
        let (as_of, calendars) =
            self.look(&asked.tenant, asked.consistency, |view| Ok(calendars(view))).await?;
        Ok(Response::new(api::ListCalendarsReply { as_of: Some(as_of), calendars }))
    }

    async fn show(
        &self,
        request: Request<api::ShowCalendarRequest>,
    ) -> Result<Response<api::Calendar>, Status> {
        let asked = Self::admit(request)?;
        let name = name("name", &asked.name)?;
        let look = |view: View<'_>| find(view, name).map(|calendar| show(view, calendar));
        let (_, calendar) = self.look(&asked.tenant, asked.consistency, look).await?;
        Ok(Response::new(calendar))
    }

    async fn put(
        &self,
        request: Request<api::PutCalendarRequest>,
    ) -> Result<Response<api::PutCalendarReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let name = name("name", &asked.name)?;
        let source = Source::parse(&asked.source)
            .map_err(|error| Status::invalid_argument(format!("calendar {name}: {error}")))?;
        let tenant = self.tenant(&asked.tenant).await?;
        let compiled = source.compile(self.utc()?);
        let reply = api::PutCalendarReply {
            zone: source.zone_name().to_owned(),
            spans: u32::try_from(compiled.open.len()).unwrap_or(u32::MAX),
            known_until: source.read_out(compiled.until),
        };
        let (open, until) = (compiled.open, compiled.until);
        let calendar = CalendarSpec { name, source: asked.source, open, until };
        let command = Command::PutCalendar { tenant, calendar };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(reply))
    }

    async fn remove(
        &self,
        request: Request<api::RemoveCalendarRequest>,
    ) -> Result<Response<api::RemoveCalendarReply>, Status> {
        let (asked, within) = Self::admit_change(request)?;
        let calendar = name("name", &asked.name)?;
        let tenant = self.tenant(&asked.tenant).await?;
        let command = Command::RemoveCalendar { tenant, calendar };
        self.change(command, asked.idempotency_key, within).await?;
        Ok(Response::new(api::RemoveCalendarReply {}))
    }
}

impl Api {
    /// What time it is for people, by the log, and by this node's clock before the log knows.
    fn utc(&self) -> Result<UtcMillis, Status> {
        let core = self.core()?;
        let now = core.clock.now();
        let wall = core.store.read(|replica, _| replica.0.queue().counters().wall);
        let own = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            UtcMillis(u64::try_from(since.as_millis()).unwrap_or_default())
        };
        Ok(wall.map_or_else(own, |anchor| anchor.utc_at(now)))
    }
}

impl View<'_> {
    /// What time it is for people; `None` before anybody has said so.
    pub(super) fn utc(&self) -> Option<UtcMillis> {
        self.machine.queue().counters().wall.map(|anchor| anchor.utc_at(self.now))
    }

    /// Whether a queue takes callers by its hours, at the moment of looking.
    pub(super) fn is_open(&self, queue: &Queue) -> bool {
        let hours = queue.rules.hours.as_ref();
        let calendars = self.machine.queue().calendars();
        let calendar = hours.and_then(|hours| calendars.get(&hours.calendar));
        let (Some(calendar), Some(utc)) = (calendar, self.utc()) else { return true };
        calendar.is_open(utc)
    }
}

pub(super) fn calendars(view: View<'_>) -> Vec<api::Calendar> {
    let all = view.machine.queue().calendars().iter();
    all.filter(|row| row.tenant == view.tenant).map(|row| show(view, row)).collect()
}

pub(super) fn find(view: View<'_>, name: Name) -> Result<&Calendar, Status> {
    let mut all = view.machine.queue().calendars().iter();
    let found = all.find(|calendar| calendar.tenant == view.tenant && calendar.name == name);
    found.ok_or_else(|| refused(Rejection::CalendarMustExist(name)))
}

fn show(view: View<'_>, calendar: &Calendar) -> api::Calendar {
    // A newer program may have written what this one cannot read.
    let source = Source::parse(&calendar.source).ok();
    let read_out = |at: Option<UtcMillis>| {
        let shown = source.as_ref().zip(at).map(|(source, at)| source.read_out(at));
        shown.unwrap_or_default()
    };
    let utc = view.utc();
    let goes_by = |queue: &&Queue| {
        queue.rules.hours.as_ref().is_some_and(|hours| hours.calendar == calendar.id)
    };
    let queues = view.machine.queue().queues().iter().filter(goes_by);
    api::Calendar {
        name: calendar.name.to_string(),
        source: calendar.source.clone(),
        zone: source.as_ref().map(|source| source.zone_name().to_owned()).unwrap_or_default(),
        open: utc.is_none_or(|utc| calendar.is_open(utc)),
        next_opening: read_out(utc.and_then(|utc| next_opening(calendar, utc))),
        next_closing: read_out(utc.and_then(|utc| next_closing(calendar, utc))),
        known_until: read_out(Some(calendar.until)),
        spans: u32::try_from(calendar.open.len()).unwrap_or(u32::MAX),
        queues: queues.map(|queue| queue.name.to_string()).collect(),
    }
}

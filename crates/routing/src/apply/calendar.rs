//! People's time: the anchor, calendars, and what happens when a queue closes.

use crate::{
    command::{CalendarSpec, Event, Rejection, Reply, check},
    entity::{Calendar, Queue, WallAnchor, WorkItem},
    ids::{CalendarId, ContactId, QueueId, TenantId},
    index::Index,
    limits::CALENDARS_MAX,
    name::Name,
    rules::{AtClose, Trigger},
    state::State,
    time::UtcMillis,
};

impl State {
    /// UTC as the log knows it; `None` before anybody said what time it is.
    #[must_use]
    pub fn utc(&self) -> Option<UtcMillis> {
        self.counters.wall.map(|anchor| anchor.utc_at(self.counters.now))
    }

    /// Whether a queue takes contacts by its opening hours. One without hours always does, and so does each
    /// as long as nobody has said what time it is.
    #[must_use]
    pub fn is_open(&self, queue: &Queue) -> bool {
        let hours = queue.rules.hours.as_ref();
        let calendar = hours.and_then(|hours| self.calendars.get(&hours.calendar));
        let (Some(calendar), Some(utc)) = (calendar, self.utc()) else { return true };
        calendar.is_open(utc) || planted!(self, ClosedTakesCallers)
    }

    /// Follows a clock. Deadlines that speak of UTC move along.
    pub(super) fn anchor_wall(&mut self, clock: UtcMillis) -> Reply {
        let now = self.counters.now;
        let before = self.counters.wall;
        let after =
            before.map_or(WallAnchor { at: now, utc: clock }, |anchor| anchor.slewed(now, clock));
        self.counters.wall = Some(after);
        for calendar in self.calendars.iter() {
            if let Some(deadline) = Index::calendar_deadline(calendar, before) {
                self.index.deadlines.remove(&deadline);
            }
            self.index.deadlines.extend(Index::calendar_deadline(calendar, Some(after)));
        }
        if before.is_none() {
            let ids: Vec<CalendarId> = self.calendars.iter().map(|row| row.id).collect();
            ids.into_iter().for_each(|id| self.begin_hours(id));
        }
        Reply::Done
    }

    pub(super) fn put_calendar_spec(
        &mut self,
        tenant: TenantId,
        spec: &CalendarSpec,
    ) -> Result<Reply, Rejection> {
        check::calendar(spec)?;
        let existing = self.index.calendar_by_name.get(&(tenant, spec.name.clone())).copied();
        if existing.is_none() {
            check::room("calendars", self.calendars.len(), CALENDARS_MAX)?;
        }
        let id = existing.unwrap_or_else(|| {
            self.counters.calendar += 1;
            CalendarId(self.counters.calendar)
        });
        self.put_calendar(Calendar {
            id,
            tenant,
            name: spec.name.clone(),
            source: spec.source.clone(),
            open: spec.open.clone(),
            until: spec.until,
            closes: None,
        });
        self.begin_hours(id);
        Ok(Reply::Done)
    }

    pub(super) fn remove_calendar_named(
        &mut self,
        tenant: TenantId,
        name: &Name,
    ) -> Result<Reply, Rejection> {
        let id = self.calendar_id(tenant, name)?;
        let goes_by =
            |queue: &&Queue| queue.rules.hours.as_ref().is_some_and(|hours| hours.calendar == id);
        if let Some(queue) = self.queues.iter().find(goes_by) {
            return Err(Rejection::CalendarMustBeUnused(name.clone(), queue.name.clone()));
        }
        self.remove_calendar(id);
        Ok(Reply::Done)
    }

    pub(super) fn calendar_id(
        &self,
        tenant: TenantId,
        name: &Name,
    ) -> Result<CalendarId, Rejection> {
        let id = self.index.calendar_by_name.get(&(tenant, name.clone()));
        id.copied().ok_or_else(|| Rejection::CalendarMustExist(name.clone()))
    }

    /// A calendar closes, or its hours count from now on: it may be closed already. Whatever was missed
    /// because time made a step is done at once.
    pub(super) fn begin_hours(&mut self, id: CalendarId) {
        let Some(utc) = self.utc() else { return };
        let Some(mut calendar) = self.calendars.get(&id).cloned() else { return };
        calendar.closes = calendar.closes_after(utc);
        self.put_calendar(calendar);
        self.send_away(id);
    }

    fn send_away(&mut self, id: CalendarId) {
        let goes_by =
            |queue: &&Queue| queue.rules.hours.as_ref().is_some_and(|hours| hours.calendar == id);
        let queues: Vec<QueueId> = self.queues.iter().filter(goes_by).map(|row| row.id).collect();
        queues.into_iter().for_each(|queue| self.close_if_due(queue));
    }

    /// Lets those who wait in a closed queue leave, if that is its rule.
    pub(super) fn close_if_due(&mut self, id: QueueId) {
        let Some(queue) = self.queues.get(&id) else { return };
        let hours = queue.rules.hours.as_ref();
        let leave = hours.is_some_and(|hours| hours.at_close == AtClose::Leave);
        if leave && self.queue_len(id) > 0 && !self.is_open(queue) {
            self.add_work(WorkItem::Close { queue: id, next: ContactId::default() });
            // Nobody is brought together before all have left.
            self.add_work(WorkItem::Rematch);
        }
    }

    /// Lets a contact leave a queue that has closed: by the first rule for it that applies; else it is over.
    pub(super) fn leave_closed(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let Some(contact) = self.contacts.get(&id).cloned() else { return };
        let Some(queue) = self.queues.get(&contact.queue) else { return };
        if self.is_open(queue) {
            return;
        }
        let mut rules = queue.rules.overflow.iter().filter(|rule| rule.when == Trigger::Closed);
        let to = rules.find(|rule| self.may_go(&contact, &rule.to)).map(|rule| rule.to.clone());
        self.overflow(&contact, &to.unwrap_or(crate::rules::Target::Away), events);
    }
}

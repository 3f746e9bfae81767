//! People's time, and lists of callers, as the judge sees them.

use super::Judge;
use crate::{
    command::CalendarSpec,
    entity::{ContactState, ListUse, Matches, Number},
    ids::{CalendarId, ContactId, QueueId},
    name::CallerNumber,
    rules::{AtClose, Target, Trigger},
    state::State,
    time::{ClusterTime, UtcMillis},
};

/// What the judge knows of a calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hours {
    open: Vec<(u64, u64)>,
    until: u64,
    closes: Option<u64>,
}

impl Hours {
    fn is_open(&self, at: u64) -> bool {
        at >= self.until || self.open.iter().any(|(from, to)| (*from..*to).contains(&at))
    }

    fn closes_after(&self, at: u64) -> Option<u64> {
        let ends = self.open.iter().map(|(_, to)| *to);
        ends.filter(|end| *end > at && !self.is_open(*end)).min()
    }
}

impl Judge {
    fn utc(&self) -> Option<u64> {
        self.wall.map(|(at, utc)| utc + self.now.0 - at.0)
    }

    pub(super) fn anchor_wall(&mut self, clock: UtcMillis) {
        let begins = self.wall.is_none();
        let utc = match self.wall.zip(self.utc()) {
            None => clock.0,
            Some(((at, _), expected)) => {
                let most = (self.now.0 - at.0) / 2;
                clock.0.max(expected - most).min(expected + most)
            }
        };
        self.wall = Some((self.now, utc));
        if begins {
            let all: Vec<CalendarId> = self.calendars.keys().copied().collect();
            all.into_iter().for_each(|id| self.begin_hours(id));
        }
    }

    /// The state under test has given it an id already.
    pub(super) fn put_calendar(&mut self, spec: &CalendarSpec, id: Option<CalendarId>) {
        let Some(id) = id else { return };
        let open = spec.open.iter().map(|hours| (hours.from.0, hours.to.0)).collect();
        self.calendars.insert(id, Hours { open, until: spec.until.0, closes: None });
        self.begin_hours(id);
    }

    pub(super) fn begin_hours(&mut self, id: CalendarId) {
        let Some(utc) = self.utc() else { return };
        if let Some(row) = self.calendars.get_mut(&id) {
            row.closes = row.closes_after(utc);
        }
        self.send_away(id);
    }

    /// When each calendar closes next.
    pub(super) fn closings(&self) -> Vec<(ClusterTime, CalendarId)> {
        let Some((at, utc)) = self.wall else { return Vec::new() };
        let moment = |closes: u64| ClusterTime(at.0 + closes.saturating_sub(utc));
        let rows = self.calendars.iter();
        rows.filter_map(|(id, row)| Some((moment(row.closes?), *id))).collect()
    }

    fn send_away(&mut self, id: CalendarId) {
        let queues: Vec<QueueId> = self.queues.keys().copied().collect();
        for queue in queues {
            let hours = self.queues[&queue].rules.hours.as_ref();
            if hours.is_some_and(|hours| hours.calendar == id) {
                self.close_if_due(queue);
            }
        }
    }

    pub(super) fn is_open(&self, queue: QueueId) -> bool {
        let hours = self.queues[&queue].rules.hours.as_ref();
        match (hours.and_then(|hours| self.calendars.get(&hours.calendar)), self.utc()) {
            (Some(calendar), Some(utc)) => calendar.is_open(utc),
            _ => true,
        }
    }

    /// Everybody leaves a closed queue, if that is its rule.
    pub(super) fn close_if_due(&mut self, queue: QueueId) {
        let rules = self.queues[&queue].rules.clone();
        let leave = rules.hours.as_ref().is_some_and(|hours| hours.at_close == AtClose::Leave);
        if !leave || self.is_open(queue) {
            return;
        }
        let there = self.contacts.values().filter(|c| c.waits_in(queue) && c.is_waiting());
        let there: Vec<ContactId> = there.map(|contact| contact.id).collect();
        for id in there {
            let contact = self.contacts[&id].clone();
            if contact.queue != queue {
                self.change(id, |_, _| ());
                continue;
            }
            let to =
                rules.overflow.iter().filter(|rule| rule.when == Trigger::Closed).find(
                    |rule| !matches!(rule.to, Target::Queue(to) if !self.may_go(&contact, to)),
                );
            let away = Target::Away;
            let to = to.map_or(&away, |rule| &rule.to);
            if !matches!(contact.state, ContactState::Connected { .. }) {
                self.overflow(&contact, to);
            }
        }
    }

    /// What the lists of a number make of a caller who was let in.
    pub(super) fn priority(&self, number: &Number, caller: &CallerNumber, state: &State) -> u8 {
        let mut priority = number.priority;
        for (list, rule) in number.lists.iter() {
            let named = caller.expose();
            let listed = state.listed().iter().any(|row| {
                let is = match row.matches {
                    Matches::Exactly => row.caller.expose() == named,
                    Matches::Prefix => named.starts_with(row.caller.expose()),
                };
                row.tenant == number.tenant && row.list == *list && is && !named.is_empty()
            });
            assert!(
                !(listed && *rule == ListUse::Refuse) && (listed || *rule != ListUse::Only),
                "a caller who should have been refused was let in"
            );
            if let (ListUse::Priority(of_list), true) = (rule, listed) {
                priority = *of_list;
            }
        }
        priority
    }
}

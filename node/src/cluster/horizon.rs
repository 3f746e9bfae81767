//! Opening hours know a year: the leader goes on from the text that they were compiled from.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tandem_cluster::command::Command;
use tandem_routing::{
    command::{CalendarSpec, Command as QueueCommand},
    entity::Calendar,
    ids::CalendarId,
    time::UtcMillis,
};

use super::core::Core;
use crate::calendar::{EXTEND_BELOW, Source, SourceError};

/// How often a calendar is looked at: not more than one is compiled anew at a time.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What a new compilation must add to be worth an entry. One with very many spans knows less than the rest,
/// and would be compiled at each look.
const ADDED_MS_MIN: u64 = 86_400_000;

/// Which calendar was looked at last, while this node runs.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    looked: Option<Instant>,
    last: CalendarId,
    /// Whose text this program cannot read, and which was said.
    unreadable: BTreeSet<CalendarId>,
}

impl Horizon {
    /// The command that lets the next calendar know more, if one knows too little.
    pub(super) fn look(&mut self, core: &Core, now: Instant) -> Option<Command> {
        if self.looked.is_some_and(|looked| now - looked < LOOK_EVERY) {
            return None;
        }
        self.looked = Some(now);
        let time = core.clock.now();
        let (calendar, utc) = core.store.read(|replica, _| {
            let state = replica.0.queue();
            let utc = state.counters().wall?.utc_at(time);
            Some((next(state.calendars().iter(), self.last, utc)?.clone(), utc))
        })?;
        self.last = calendar.id;
        match extended(&calendar, utc) {
            Ok(command) => command.map(Command::Queue),
            Err(error) => {
                if self.unreadable.insert(calendar.id) {
                    let name = &calendar.name;
                    tracing::warn!(%name, %error, "a calendar cannot be compiled anew");
                }
                None
            }
        }
    }
}

/// The next calendar behind one, in turn, that knows too little of the future.
fn next<'a>(
    calendars: impl Iterator<Item = &'a Calendar>,
    last: CalendarId,
    utc: UtcMillis,
) -> Option<&'a Calendar> {
    let until = utc.0.saturating_add(EXTEND_BELOW.0);
    let mut first = None;
    for calendar in calendars.filter(|calendar| calendar.until.0 < until) {
        if calendar.id > last {
            return Some(calendar);
        }
        first = first.or(Some(calendar));
    }
    first
}

/// The command that lets a calendar know more; `None` when its text gives no more.
fn extended(calendar: &Calendar, utc: UtcMillis) -> Result<Option<QueueCommand>, SourceError> {
    let compiled = Source::parse(&calendar.source)?.compile(utc);
    if compiled.until.0 < calendar.until.0.saturating_add(ADDED_MS_MIN) {
        return Ok(None);
    }
    let calendar_spec = CalendarSpec {
        name: calendar.name.clone(),
        source: calendar.source.clone(),
        open: compiled.open,
        until: compiled.until,
    };
    Ok(Some(QueueCommand::PutCalendar { tenant: calendar.tenant, calendar: calendar_spec }))
}

#[cfg(test)]
mod tests {
    use tandem_routing::ids::TenantId;

    use super::*;

    const DAY: u64 = 86_400_000;
    /// 2026-11-23, a Monday.
    const MONDAY: u64 = 20_780 * DAY;

    fn calendar(id: u32, source: &str, compiled_at: u64) -> Calendar {
        let compiled = Source::parse(source).map(|source| source.compile(UtcMillis(compiled_at)));
        let (open, until) =
            compiled.map_or((Vec::new(), UtcMillis(0)), |compiled| (compiled.open, compiled.until));
        Calendar {
            id: CalendarId(id),
            tenant: TenantId::DEFAULT,
            name: "office".parse().expect("a name"),
            source: source.to_owned(),
            open,
            until,
            closes: None,
        }
    }

    // Goal: a calendar that knows less than half a year is compiled anew from its text, says the same of the
    // time it knew, and is left alone after it; one whose text gives no more is not proposed over and over.
    #[test]
    fn calendars_go_on() {
        let office = calendar(1, "zone Europe/Berlin; mon-fri 09:00-17:00", MONDAY);
        let all = [&office];
        let (early, late) = (UtcMillis(MONDAY + 190 * DAY), UtcMillis(MONDAY + 210 * DAY));
        let next = |utc| next(all.iter().copied(), CalendarId(0), utc).map(|calendar| calendar.id);
        assert_eq!((next(early), next(late)), (None, Some(CalendarId(1))));
        let command = extended(&office, late).expect("readable").expect("a year more");
        let QueueCommand::PutCalendar { tenant, calendar: spec } = command else {
            unreachable!("a calendar is put")
        };
        assert_eq!((tenant, &spec.source), (office.tenant, &office.source));
        assert!(spec.until.0 > late.0 + 390 * DAY);
        let longer = Calendar { open: spec.open, until: spec.until, ..office.clone() };
        for hour in (late.0..office.until.0).step_by(900_000) {
            assert_eq!(longer.is_open(UtcMillis(hour)), office.is_open(UtcMillis(hour)));
        }
        assert_eq!(extended(&longer, late), Ok(None), "it knows as much as there is");
    }

    // Goal: all calendars have their turn, also behind one that cannot be read.
    #[test]
    fn each_has_its_turn() {
        let source = "zone UTC; mon 09:00-17:00";
        let old = [1, 2, 3].map(|id| calendar(id, if id == 2 { "?" } else { source }, 0));
        let utc = UtcMillis(MONDAY);
        let mut last = CalendarId(0);
        let turns: Vec<u32> = (0..4)
            .filter_map(|_| {
                last = next(old.iter(), last, utc)?.id;
                Some(last.0)
            })
            .collect();
        assert_eq!(turns, [1, 2, 3, 1]);
        assert!(extended(&old[1], utc).is_err());
    }
}

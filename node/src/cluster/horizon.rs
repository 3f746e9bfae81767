//! Opening hours know a year: the leader goes on from the text that they were compiled from.

use std::{
    collections::BTreeSet,
    ops::Bound,
    time::{Duration, Instant},
};

use tandem_cluster::command::Command;
use tandem_routing::{
    command::{CalendarSpec, Command as QueueCommand},
    entity::Calendar,
    ids::CalendarId,
    state::State,
    time::UtcMillis,
};

use super::core::Core;
use crate::calendar::{EXTEND_BELOW, Source};

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
            Some((next(state, self.last, utc)?.clone(), utc))
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
fn next(state: &State, last: CalendarId, utc: UtcMillis) -> Option<&Calendar> {
    let short = |calendar: &&Calendar| calendar.until.0 < utc.0.saturating_add(EXTEND_BELOW.0);
    let behind = (Bound::Excluded(last), Bound::Unbounded);
    let is_behind = |calendar: &&Calendar| {
        std::ops::RangeBounds::contains(&behind, &calendar.id) && short(calendar)
    };
    let mut all = state.calendars().iter();
    all.find(is_behind).or_else(|| state.calendars().iter().find(short))
}

/// The command that lets a calendar know more; `None` when its text gives no more.
fn extended(
    calendar: &Calendar,
    utc: UtcMillis,
) -> Result<Option<QueueCommand>, crate::calendar::SourceError> {
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

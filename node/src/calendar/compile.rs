//! From days and hours of a zone to intervals of UTC.

use jiff::{
    Timestamp, ToSpan,
    civil::{Date, DateTime},
    tz::AmbiguousOffset,
};
use tandem_routing::{
    entity::{Calendar, OpenHours},
    limits::CALENDAR_SPANS_MAX,
    time::{Millis, UtcMillis},
};

use super::source::Source;

/// So many days are compiled, from the day before on.
const HORIZON_DAYS: usize = 400;
/// A calendar that knows less than this of the future is compiled anew: half of the horizon.
pub const EXTEND_BELOW: Millis = Millis(200 * 86_400_000);

/// Opening hours as the log takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Sorted, apart from each other.
    pub open: Vec<OpenHours>,
    /// They say nothing from then on.
    pub until: UtcMillis,
}

impl Source {
    /// The hours from the day before `now` on. Two compilations say the same of the time that both know.
    #[must_use]
    pub fn compile(&self, now: UtcMillis) -> Compiled {
        let now = i64::try_from(now.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let today = self.zone.to_datetime(now.unwrap_or(Timestamp::MAX)).date();
        let mut open: Vec<OpenHours> = Vec::new();
        let mut date = today.yesterday().unwrap_or(today);
        for _ in 0..=HORIZON_DAYS {
            let spans = self.of_day(date).iter().map(|hours| OpenHours {
                from: self.opens(date, hours.from),
                to: self.closes(date, hours.to),
            });
            // A day's sentences may stand in any order, and hours in a gap are none.
            open.extend(spans.filter(|span| span.from < span.to));
            let Ok(next) = date.tomorrow() else { break };
            date = next;
        }
        let until = self.opens(date, 0);
        fit(open, until)
    }

    /// A moment as this calendar's people read it: RFC 3339 with the zone's offset.
    #[must_use]
    pub fn read_out(&self, at: UtcMillis) -> String {
        let at = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let at = at.unwrap_or(Timestamp::MAX).to_zoned(self.zone.clone());
        at.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
    }

    /// When it opens: the first moment at which clocks show this time or a later one.
    fn opens(&self, date: Date, minute: u16) -> UtcMillis {
        self.moment(local(date, minute), Reading::First)
    }

    /// When it closes: behind the last moment at which clocks show an earlier time. Where an hour is read
    /// twice, hours that end in it go on to its second reading, and those that end with it do too.
    fn closes(&self, date: Date, minute: u16) -> UtcMillis {
        let last = local(date, minute).checked_sub(1.millisecond());
        let last = last.unwrap_or(DateTime::MIN);
        UtcMillis(self.moment(last, Reading::Last).0)
    }

    fn moment(&self, at: DateTime, reading: Reading) -> UtcMillis {
        use AmbiguousOffset::{Fold, Gap, Unambiguous};
        // Behind the last moment, not at it.
        let behind = u64::from(reading == Reading::Last);
        let (offset, behind) = match (self.zone.to_ambiguous_timestamp(at).offset(), reading) {
            (Unambiguous { offset }, _) => (offset, behind),
            (Fold { before, .. }, Reading::First) => (before, behind),
            (Fold { after, .. }, Reading::Last) => (after, behind),
            // No clock shows that time: the moment at which it is left out.
            (Gap { before, after }, _) => {
                let early = after.to_timestamp(at).unwrap_or(Timestamp::MIN);
                if let Some(change) = self.zone.following(early).next() {
                    return millis(change.timestamp());
                }
                (before, 0)
            }
        };
        UtcMillis(millis(offset.to_timestamp(at).unwrap_or(Timestamp::MAX)).0 + behind)
    }
}

/// Which of the moments at which clocks show a time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reading {
    First,
    Last,
}

fn local(date: Date, minute: u16) -> DateTime {
    let at = date.to_datetime(jiff::civil::Time::midnight());
    at.checked_add(i64::from(minute).minutes()).unwrap_or(DateTime::MAX)
}

fn millis(at: Timestamp) -> UtcMillis {
    UtcMillis(u64::try_from(at.as_millisecond()).unwrap_or_default())
}

/// Sorts and merges spans, and cuts them at the horizon, which comes nearer when there are too many.
fn fit(mut spans: Vec<OpenHours>, mut until: UtcMillis) -> Compiled {
    spans.sort_by_key(|span| (span.from, span.to));
    let mut open: Vec<OpenHours> = Vec::new();
    for span in spans {
        let span = OpenHours { to: span.to.min(until), ..span };
        if span.from >= span.to {
            continue;
        }
        if let Some(last) = open.last_mut().filter(|last| span.from <= last.to) {
            last.to = last.to.max(span.to);
        } else if open.len() < CALENDAR_SPANS_MAX {
            open.push(span);
        } else {
            // The rest is another compilation's: until this opens the hours are complete.
            until = span.from;
            break;
        }
    }
    Compiled { open, until }
}

/// When it opens next, if that is known: behind its closing where it is open.
#[must_use]
pub fn next_opening(calendar: &Calendar, at: UtcMillis) -> Option<UtcMillis> {
    let from = if calendar.is_open(at) { calendar.closes_after(at)? } else { at };
    calendar.open.iter().map(|hours| hours.from).find(|opens| *opens > from)
}

/// When it closes next, if that is known: behind its opening where it is closed.
#[must_use]
pub fn next_closing(calendar: &Calendar, at: UtcMillis) -> Option<UtcMillis> {
    calendar.closes_after(at)
}

#[cfg(test)]
mod tests {
    use tandem_routing::ids::{CalendarId, TenantId};

    use super::*;

    fn at(text: &str) -> UtcMillis {
        millis(text.parse().unwrap())
    }

    fn calendar(source: &str, now: &str) -> (Source, Calendar) {
        let source = Source::parse(source).unwrap();
        let Compiled { open, until } = source.compile(at(now));
        let (id, tenant, name) = (CalendarId(1), TenantId::DEFAULT, "office".parse().unwrap());
        let calendar =
            Calendar { id, tenant, name, source: String::new(), open, until, closes: None };
        (source, calendar)
    }

    /// Spans that begin in a time, as text.
    fn spans(source: &str, from: &str, to: &str) -> Vec<String> {
        let (_, calendar) = calendar(source, from);
        let text = |at: UtcMillis| {
            let at = Timestamp::from_millisecond(i64::try_from(at.0).unwrap()).unwrap();
            at.strftime("%m-%dT%H:%M").to_string()
        };
        let inside = |hours: &&OpenHours| hours.from >= at(from) && hours.from < at(to);
        let show = |hours: &OpenHours| format!("{} {}", text(hours.from), text(hours.to));
        calendar.open.iter().filter(inside).map(show).collect()
    }

    // Goal: hours become UTC by the zone's rules: around summer time, where an hour is left out or read
    // twice, with odd offsets, and where a whole day is left out.
    #[test]
    fn zones() {
        for (source, from, to, expected) in [
            // Berlin: UTC+1, in summer +2; 2026-03-29 02:00 -> 03:00, 2026-10-25 03:00 -> 02:00.
            (
                "zone Europe/Berlin; mon-sun 09:00-17:30",
                "2026-03-28T00:00Z",
                "2026-03-30T00:00Z",
                vec!["03-28T08:00 03-28T16:30", "03-29T07:00 03-29T15:30"],
            ),
            (
                "zone Europe/Berlin; mon-sun 09:00-17:30",
                "2026-10-24T00:00Z",
                "2026-10-26T00:00Z",
                vec!["10-24T07:00 10-24T15:30", "10-25T08:00 10-25T16:30"],
            ),
            // The hour that is left out: begins with it, in it, ends in it, with it, lies in it.
            (
                "zone Europe/Berlin; sun 02:00-04:00",
                "2026-03-29T00:00Z",
                "2026-03-30T00:00Z",
                vec!["03-29T01:00 03-29T02:00"],
            ),
            (
                "zone Europe/Berlin; sun 02:30-04:00",
                "2026-03-29T00:00Z",
                "2026-03-30T00:00Z",
                vec!["03-29T01:00 03-29T02:00"],
            ),
            (
                "zone Europe/Berlin; sun 01:30-02:30",
                "2026-03-29T00:00Z",
                "2026-03-30T00:00Z",
                vec!["03-29T00:30 03-29T01:00"],
            ),
            (
                "zone Europe/Berlin; sun 01:30-03:00",
                "2026-03-29T00:00Z",
                "2026-03-30T00:00Z",
                vec!["03-29T00:30 03-29T01:00"],
            ),
            (
                "zone Europe/Berlin; sun 02:10-02:50",
                "2026-03-29T00:00Z",
                "2026-03-30T00:00Z",
                vec![],
            ),
            // The hour that is read twice: ends before it, in it, with it; begins in it.
            (
                "zone Europe/Berlin; sun 01:00-02:00",
                "2026-10-24T23:00Z",
                "2026-10-26T00:00Z",
                vec!["10-24T23:00 10-25T00:00"],
            ),
            (
                "zone Europe/Berlin; sun 01:00-02:30",
                "2026-10-24T23:00Z",
                "2026-10-26T00:00Z",
                vec!["10-24T23:00 10-25T01:30"],
            ),
            (
                "zone Europe/Berlin; sun 01:00-03:00",
                "2026-10-24T23:00Z",
                "2026-10-26T00:00Z",
                vec!["10-24T23:00 10-25T02:00"],
            ),
            (
                "zone Europe/Berlin; sun 02:30-04:00",
                "2026-10-24T23:00Z",
                "2026-10-26T00:00Z",
                vec!["10-25T00:30 10-25T03:00"],
            ),
            // New York: UTC-5, in summer -4; 2026-03-08 02:00 -> 03:00, 2026-11-01 02:00 -> 01:00. A night.
            (
                "zone America/New_York; sat 22:00-06:00",
                "2026-03-08T00:00Z",
                "2026-03-09T00:00Z",
                vec!["03-08T03:00 03-08T10:00"],
            ),
            (
                "zone America/New_York; sat 22:00-06:00",
                "2026-11-01T00:00Z",
                "2026-11-02T00:00Z",
                vec!["11-01T02:00 11-01T11:00"],
            ),
            (
                "zone America/New_York; sun 00:30-01:30",
                "2026-11-01T00:00Z",
                "2026-11-02T00:00Z",
                vec!["11-01T04:30 11-01T06:30"],
            ),
            // Kathmandu: UTC+5:45, no summer time.
            (
                "zone Asia/Kathmandu; sun-fri 10:00-17:00",
                "2026-03-28T00:00Z",
                "2026-03-31T00:00Z",
                vec!["03-29T04:15 03-29T11:15", "03-30T04:15 03-30T11:15"],
            ),
            // Apia left 2011-12-30 out: UTC-10 before, +14 after.
            (
                "zone Pacific/Apia; mon-sun 09:00-17:00",
                "2011-12-29T00:00Z",
                "2012-01-01T00:00Z",
                vec![
                    "12-29T19:00 12-30T03:00",
                    "12-30T19:00 12-31T03:00",
                    "12-31T19:00 01-01T03:00",
                ],
            ),
            (
                "zone Pacific/Apia; thu 20:00-06:00; fri 20:00-06:00",
                "2011-12-29T12:00Z",
                "2011-12-31T12:00Z",
                vec!["12-30T06:00 12-30T16:00"],
            ),
        ] {
            assert_eq!(spans(source, from, to), expected, "{source} {from}");
        }
    }

    // Goal: neighbours become one span, also over midnight and where they overlap; who is always open is one
    // span that never closes.
    #[test]
    fn neighbours_are_merged() {
        let day = spans(
            "zone UTC; mon 13:00-17:00, 09:00-13:00; mon 16:00-24:00; tue 00:00-02:00",
            "2026-11-23T00:00Z",
            "2026-11-30T00:00Z",
        );
        assert_eq!(day, ["11-23T09:00 11-24T02:00"]);
        let (_, always) = calendar("zone UTC; mon-sun 00:00-24:00", "2026-11-23T12:00Z");
        assert_eq!(always.open.len(), 1);
        assert_eq!(
            (always.open[0].from, always.open[0].to),
            (at("2026-11-22T00:00Z"), always.until)
        );
        assert_eq!(next_closing(&always, at("2026-11-23T12:00Z")), None);
    }

    // Goal: the horizon is 400 days ahead; with too many spans it comes nearer, to a moment at which it
    // opens, so that nothing that is known is lost.
    #[test]
    fn the_horizon_fits() {
        let now = "2026-11-23T12:00Z";
        let (_, few) = calendar("zone Europe/Berlin; mon 09:00-17:00", now);
        assert_eq!(few.until, at("2027-12-28T00:00+01:00"));
        let hours: Vec<String> =
            (0..12).map(|hour| format!("{:02}:00-{:02}:30", hour * 2, hour * 2)).collect();
        let (_, many) = calendar(&format!("zone UTC; mon-sun {}", hours.join(",")), now);
        assert_eq!(many.open.len(), CALENDAR_SPANS_MAX);
        assert!(many.open.last().unwrap().to < many.until);
        assert_eq!(many.until, at("2027-02-13T08:00Z"), "a thousand times two hours later");
    }

    // Goal: another compilation says the same of all that both know.
    #[test]
    fn compiling_anew_changes_nothing_known() {
        let source = "zone America/New_York; mon-sat 08:00-20:00; sun 22:00-03:00; 12-25 closed";
        let (_, early) = calendar(source, "2026-02-01T12:00Z");
        let (_, late) = calendar(source, "2026-09-10T01:00Z");
        assert!(late.until > early.until);
        let (from, to) = (at("2026-09-10T01:00Z"), early.until);
        let mut seen = 0;
        for minute in (from.0..to.0).step_by(15 * 60_000) {
            let minute = UtcMillis(minute);
            assert_eq!(early.is_open(minute), late.is_open(minute), "{minute:?}");
            seen += 1;
        }
        assert!(seen > 10_000);
    }

    // Goal: what comes next is told in both states, in the zone's words; nothing where nothing is known.
    #[test]
    fn what_comes_next() {
        let (source, office) =
            calendar("zone Europe/Berlin; mon-fri 09:00-17:00", "2026-11-23T12:00Z");
        let read = |at: Option<UtcMillis>| at.map(|at| source.read_out(at)).unwrap_or_default();
        for (now, opening, closing) in [
            ("2026-11-23T10:00Z", "2026-11-24T09:00:00+01:00", "2026-11-23T17:00:00+01:00"),
            ("2026-11-27T20:00Z", "2026-11-30T09:00:00+01:00", "2026-11-30T17:00:00+01:00"),
            ("2030-01-01T00:00Z", "", ""),
        ] {
            let now = at(now);
            assert_eq!(read(next_opening(&office, now)), opening);
            assert_eq!(read(next_closing(&office, now)), closing);
        }
        assert_eq!(source.read_out(at("2026-07-01T10:00Z")), "2026-07-01T12:00:00+02:00");
    }
}

//! The text that people write: a zone, hours of weekdays, and days that are different.
//!
//! One sentence a line, or behind a semicolon; `#` begins a comment:
//!
//! ```text
//! zone Europe/Berlin
//! mon-fri 09:00-12:30, 13:30-17:30
//! sat 22:00-02:00                    # until the next morning
//! 2026-12-24 09:00-12:00
//! 12-25 closed                       # each year
//! 2026-12-27..2026-12-31 closed
//! ```
//!
//! Hours belong to the day on which they begin. A date with a year goes before one of each year, and both
//! before weekdays.

use std::{collections::BTreeMap, sync::OnceLock};

use jiff::{
    civil::Date,
    tz::{TimeZone, TimeZoneDatabase},
};
use tandem_routing::limits::CALENDAR_SOURCE_LEN_MAX;

/// Minutes of a day.
const DAY: u16 = 1_440;
/// Days that one sentence may be about.
const RANGE_DAYS_MAX: i32 = 366;
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A text that is no opening hours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// One sentence of it.
    #[error("{sentence:?}: {why}")]
    Sentence {
        /// Which.
        sentence: String,
        /// What is wrong.
        why: String,
    },
    /// No zone.
    #[error("the time zone is missing: write zone Europe/Berlin (a name of the IANA database)")]
    NoZone,
    /// Never open.
    #[error("no hours are named: write mon-fri 09:00-17:30")]
    NoHours,
    /// Too long.
    #[error("the text has {0} bytes, and at most {CALENDAR_SOURCE_LEN_MAX} are kept")]
    TooLong(usize),
}

/// From one minute of a day to another, which may lie on the next day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Hours {
    /// After midnight, 0-1439.
    pub(super) from: u16,
    /// After the same midnight, up to 2879; exclusive.
    pub(super) to: u16,
}

/// What is said of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Day {
    Closed,
    Open(Vec<Hours>),
}

/// Opening hours as they were written.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) zone: TimeZone,
    zone_name: String,
    weekly: BTreeMap<i8, Day>,
    /// By month and day.
    yearly: BTreeMap<(i8, i8), Day>,
    dates: BTreeMap<Date, Day>,
}

impl Source {
    /// Reads a text.
    ///
    /// # Errors
    /// What is wrong with which sentence.
    pub fn parse(text: &str) -> Result<Self, SourceError> {
        if text.len() > CALENDAR_SOURCE_LEN_MAX {
            return Err(SourceError::TooLong(text.len()));
        }
        let mut zone = None;
        let (mut weekly, mut yearly) = (BTreeMap::new(), BTreeMap::new());
        let mut dates = BTreeMap::new();
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let sentences = lines.flat_map(|line| line.split(';')).map(str::trim);
        for sentence in sentences.filter(|sentence| !sentence.is_empty()) {
            let wrong = |why: String| SourceError::Sentence { sentence: sentence.to_owned(), why };
            let (subject, rest) =
                sentence.split_once(char::is_whitespace).unwrap_or((sentence, ""));
            if subject == "zone" {
                let found = time_zone(rest.trim()).map_err(wrong)?;
                if zone.replace(found).is_some() {
                    return Err(wrong("there is a zone already".to_owned()));
                }
                continue;
            }
            let day = hours(rest).map_err(wrong)?;
            let put = match about(subject).map_err(wrong)? {
                About::Weekdays(days) => put_all(&mut weekly, days, &day),
                About::EachYear(date) => put_all(&mut yearly, [date], &day),
                About::Dates(days) => put_all(&mut dates, days, &day),
            };
            put.map_err(wrong)?;
        }
        let (zone_name, zone) = zone.ok_or(SourceError::NoZone)?;
        let mut days = weekly.values().chain(yearly.values()).chain(dates.values());
        if !days.any(|day| matches!(day, Day::Open(_))) {
            return Err(SourceError::NoHours);
        }
        Ok(Self { zone, zone_name, weekly, yearly, dates })
    }

    /// IANA name of its time zone.
    #[must_use]
    pub fn zone_name(&self) -> &str {
        &self.zone_name
    }

    /// Hours that begin on a day.
    pub(super) fn of_day(&self, date: Date) -> &[Hours] {
        let day = self
            .dates
            .get(&date)
            .or_else(|| self.yearly.get(&(date.month(), date.day())))
            .or_else(|| self.weekly.get(&date.weekday().to_monday_zero_offset()));
        match day {
            Some(Day::Open(hours)) => hours,
            Some(Day::Closed) | None => &[],
        }
    }
}

/// The zone of this name, by the database in the program.
fn time_zone(name: &str) -> Result<(String, TimeZone), String> {
    static DATABASE: OnceLock<TimeZoneDatabase> = OnceLock::new();
    let found = DATABASE.get_or_init(TimeZoneDatabase::bundled).get(name).ok();
    let found = found.filter(|zone| !zone.is_unknown());
    let zone = found.ok_or_else(|| {
        format!("there is no time zone {name:?}: write a name of the IANA database, such as Europe/Berlin")
    })?;
    Ok((zone.iana_name().unwrap_or(name).to_owned(), zone))
}

/// What a sentence is about.
enum About {
    /// From Monday, 0.
    Weekdays(Vec<i8>),
    EachYear((i8, i8)),
    Dates(Vec<Date>),
}

fn about(subject: &str) -> Result<About, String> {
    if !subject.starts_with(|letter: char| letter.is_ascii_digit()) {
        return weekdays(subject).map(About::Weekdays);
    }
    if let Some((first, last)) = subject.split_once("..") {
        let (first, last) = (date(first)?, date(last)?);
        let days = first.until(last).map_or(RANGE_DAYS_MAX, |span| span.get_days());
        if !(0..RANGE_DAYS_MAX).contains(&days) {
            return Err(format!(
                "a range ends behind its beginning and has at most {RANGE_DAYS_MAX} days"
            ));
        }
        return Ok(About::Dates(
            first.series(jiff::Span::new().days(1)).take_while(|day| *day <= last).collect(),
        ));
    }
    if subject.len() == "12-25".len() {
        // A leap year knows each day that there is.
        let day = date(&format!("2024-{subject}"))?;
        return Ok(About::EachYear((day.month(), day.day())));
    }
    date(subject).map(|day| About::Dates(vec![day]))
}

fn date(text: &str) -> Result<Date, String> {
    let form = || format!("{text:?} is no date: write 2026-12-25, or 12-25 for each year");
    let fits = text.len() == "2026-12-25".len() && !text.contains('T');
    text.parse::<Date>().ok().filter(|_| fits).ok_or_else(form)
}

fn weekdays(text: &str) -> Result<Vec<i8>, String> {
    let day = |text: &str| {
        let found = DAYS.iter().position(|day| *day == text.to_ascii_lowercase());
        let found = found.and_then(|at| i8::try_from(at).ok());
        found.ok_or_else(|| {
            format!(
                "{text:?} is no day: write mon, tue, wed, thu, fri, sat, sun, mon-fri or a date"
            )
        })
    };
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        days.push(at);
        while at != last {
            at = (at + 1) % 7;
            days.push(at);
        }
    }
    Ok(days)
}

fn hours(text: &str) -> Result<Day, String> {
    if text.trim() == "closed" {
        return Ok(Day::Closed);
    }
    text.split(',').map(span).collect::<Result<_, _>>().map(Day::Open)
}

fn span(text: &str) -> Result<Hours, String> {
    let text: String = text.split_whitespace().collect();
    let wrong = || format!("{text:?} are no hours: write 09:00-17:30, or closed");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let (from, to) = (minute(from).ok_or_else(wrong)?, minute(to).ok_or_else(wrong)?);
    if from == DAY || from == to {
        return Err(wrong());
    }
    Ok(Hours { from, to: if to < from { to + DAY } else { to } })
}

/// `HH:MM`, up to 24:00.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str, digits: std::ops::RangeInclusive<usize>| {
        let fits = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| text.parse::<u16>().ok())?
    };
    let (hour, minute) = (number(hour, 1..=2)?, number(minute, 2..=2)?);
    let all = hour * 60 + minute;
    (minute < 60 && all <= DAY).then_some(all)
}

/// Says something of days, in addition to what was said of them.
fn put_all<K: Ord>(
    known: &mut BTreeMap<K, Day>,
    days: impl IntoIterator<Item = K>,
    said: &Day,
) -> Result<(), String> {
    for key in days {
        match (known.get_mut(&key), said) {
            (None, said) => {
                known.insert(key, said.clone());
            }
            (Some(Day::Closed), Day::Closed) => {}
            (Some(Day::Open(hours)), Day::Open(more)) => hours.extend(more),
            (Some(_), _) => return Err("the same day is said to be closed and open".to_owned()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: &Source, date: &str) -> Vec<(u16, u16)> {
        let date: Date = date.parse().unwrap();
        source.of_day(date).iter().map(|hours| (hours.from, hours.to)).collect()
    }

    // Goal: each day has the hours of the most special sentence about it; hours past midnight end on the
    // next day; comments, semicolons and spaces mean nothing.
    #[test]
    fn days_have_their_hours() {
        let source = Source::parse(
            "zone europe/berlin   # any case\n\
             mon-fri 09:00-12:30, 13:30 - 17:30; sat 22:00-02:00\n\
             fri 20:00-24:00\n\
             12-25 closed; 2026-12-24 09:00-12:00\n\
             2026-12-25 10:00-11:00 # this year somebody is there\n\
             2026-12-30..2027-01-02 closed",
        )
        .unwrap();
        assert_eq!(source.zone_name(), "Europe/Berlin");
        let day = vec![(540, 750), (810, 1_050)];
        for (date, hours) in [
            ("2026-11-23", day.clone()),
            ("2026-11-27", [day, vec![(1_200, 1_440)]].concat()),
            ("2026-11-28", vec![(1_320, 1_560)]),
            ("2026-11-29", vec![]),
            ("2026-12-24", vec![(540, 720)]),
            ("2026-12-25", vec![(600, 660)]),
            ("2025-12-25", vec![]),
            ("2026-12-31", vec![]),
            ("2027-01-02", vec![]),
        ] {
            assert_eq!(of(&source, date), hours, "{date}");
        }
        let wraps = Source::parse("zone UTC; sat-mon,wed 00:00-24:00").unwrap();
        let open: Vec<String> = (23..30)
            .map(|day| format!("2026-11-{day}"))
            .filter(|date| !of(&wraps, date).is_empty())
            .collect();
        assert_eq!(open, ["2026-11-23", "2026-11-25", "2026-11-28", "2026-11-29"]);
    }

    // Goal: what is no opening hours is refused with what to write instead.
    #[test]
    fn nonsense_is_refused() {
        for (text, part) in [
            ("mon 09:00-17:00", "zone is missing"),
            ("", "zone is missing"),
            ("zone Mars/Olympus; mon 09:00-17:00", "no time zone \"Mars/Olympus\""),
            ("zone; mon 09:00-17:00", "no time zone"),
            ("zone Etc/Unknown; mon 09:00-17:00", "no time zone"),
            ("zone UTC; zone UTC; mon 09:00-17:00", "a zone already"),
            ("zone UTC", "no hours"),
            ("zone UTC; mon closed", "no hours"),
            ("zone UTC; mon", "no hours: write 09:00-17:30"),
            ("zone UTC; mon 09:00", "no hours: write 09:00-17:30"),
            ("zone UTC; mon 9-17", "no hours: write 09:00-17:30"),
            ("zone UTC; mon 09:00-24:01", "no hours: write"),
            ("zone UTC; mon 24:00-25:00", "no hours: write"),
            ("zone UTC; mon 09:60-10:00", "no hours: write"),
            ("zone UTC; mon 09:00-09:00", "no hours: write"),
            ("zone UTC; mon-fry 09:00-10:00", "\"fry\" is no day"),
            ("zone UTC; monday 09:00-10:00", "\"monday\" is no day"),
            ("zone UTC; 2026-13-01 closed", "is no date"),
            ("zone UTC; 2026-02-29 closed", "is no date"),
            ("zone UTC; 02-30 closed", "is no date"),
            ("zone UTC; 2026-12-25..2026-12-24 closed", "ends behind its beginning"),
            ("zone UTC; 2026-01-01..2027-01-02 closed", "at most 366"),
            ("zone UTC; mon 09:00-10:00; mon closed", "closed and open"),
            ("zone UTC; 12-25 closed; 12-25 09:00-10:00", "closed and open"),
        ] {
            let error = Source::parse(text).expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(Source::parse("zone UTC; 02-29 09:00-10:00").is_ok(), "there is such a day");
        let long = format!("zone UTC; mon 09:00-10:00 #{}", "x".repeat(CALENDAR_SOURCE_LEN_MAX));
        assert!(matches!(Source::parse(&long), Err(SourceError::TooLong(_))));
    }
}

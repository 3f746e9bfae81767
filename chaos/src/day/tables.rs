//! What a study found, as Markdown that is also readable as it stands.

use std::fmt::{self, Write as _};

use tandem_sim::day::{
    BEGINS_UTC, CITIES, CityId, HALF_HOUR, HalfHour,
    arrangement::{Arrangement, Lines},
    figures::{Counts, Figures},
    surprise::Surprise,
};

use super::study::{
    CEILINGS, Case, HIRED, ONE, REBALANCED, SEPARATE, Study, Weather, arrangement, others,
    surprises,
};

/// Rows of text; the first column is left-aligned.
struct Table {
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(head: &[&str]) -> Self {
        Self { head: head.iter().map(|cell| (*cell).to_owned()).collect(), rows: Vec::new() }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = |column: usize| {
            let cells = self.rows.iter().chain([&self.head]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.head.len()).map(width).collect();
        let line = |f: &mut fmt::Formatter<'_>, row: &[String]| {
            for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                if column == 0 {
                    write!(f, "| {cell:<width$} ")?;
                } else {
                    write!(f, "| {cell:>width$} ")?;
                }
            }
            writeln!(f, "|")
        };
        line(f, &self.head)?;
        for (column, width) in widths.iter().enumerate() {
            let dashes = "-".repeat(width + 1);
            write!(f, "|{}", if column == 0 { format!("{dashes}-") } else { dashes + ":" })?;
        }
        writeln!(f, "|")?;
        self.rows.iter().try_for_each(|row| line(f, row))
    }
}

/// All tables.
pub(super) fn all(study: &Study) -> String {
    let mut text = String::new();
    let parts = [
        ("A day with surprises", main(study, Weather::Surprises)),
        ("A day as forecast", main(study, Weather::AsForecast)),
        ("While it lasts, days with surprises", while_it_lasts(study)),
        ("Each surprise alone (first day)", each_surprise(study)),
        ("Each day with surprises", each_day(study)),
        ("By the caller's city, days with surprises", by_city(study)),
        ("One queue with fewer agents (first day)", fewer(study)),
        ("How five queues are rebalanced (first day)", rebalancing(study)),
        ("One queue by the sites' weights (first day)", weights(study)),
        ("By the rule that staff is planned by (first day)", ceilings(study)),
        ("Half hour by half hour, days with surprises", by_half_hour(study)),
    ];
    for (title, table) in parts {
        // Writing to a string cannot fail.
        write!(text, "## {title}\n\n{table}\n").ok();
    }
    let center = Case::usual(Weather::Surprises, ONE).center(study.seats);
    let seats = study.seats as usize * center.cities.len();
    let (seeds, digest) = (study.seeds, study.digest());
    let days: u64 = study.answers.iter().map(|(_, days)| days.len() as u64).sum();
    let commands: u64 =
        study.answers.iter().flat_map(|(_, days)| days).map(|day| day.commands).sum();
    writeln!(
        text,
        "{days} days of {seats} seats ({seeds} seeds), {} commands of the queue. Digest \
         `{digest:016x}`.",
        thousands(commands)
    )
    .ok();
    text
}

fn percent(share: f64) -> String {
    format!("{:.1}", share * 100.0)
}

/// A small share with one digit more.
fn fine(share: f64) -> String {
    format!("{:.2}", share * 100.0)
}

fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn of_each(count: u64, days: usize) -> String {
    thousands((count as f64 / days.max(1) as f64).round() as u64)
}

/// Conversations between cities at once, in the busiest half hour.
fn carried_at_once(figures: &Figures, days: usize) -> u64 {
    let of = |at| figures.half_hour(at).carried_ms as f64;
    let most = HalfHour::all().map(of).fold(0.0, f64::max);
    (most / HALF_HOUR.0 as f64 / days.max(1) as f64).round() as u64
}

fn main(study: &Study, weather: Weather) -> Table {
    let mut table = Table::new(&[
        "mean of a day",
        "offered",
        "answered",
        "abandoned",
        "abandoned %",
        "over a minute",
        "SL %",
        "SL2 %",
        "ASA s",
        "p95 s",
        "longest s",
        "occupancy %",
        "own city %",
        "carried",
        "at once",
    ]);
    for (index, arrangement) in Arrangement::ALL.iter().enumerate() {
        let case = Case::usual(weather, index);
        let (figures, days) = (study.sum(&case), study.days(&case).len());
        let total = figures.total();
        table.rows.push(vec![
            format!("{}: {}", arrangement.letter, arrangement.name),
            of_each(total.offered, days),
            of_each(total.answered, days),
            of_each(total.abandoned, days),
            fine(total.abandoned_share()),
            of_each(total.waited_too_long, days),
            percent(total.service_level()),
            percent(total.service_level_2()),
            format!("{:.1}", total.answer_s()),
            format!("{:.1}", figures.answered.quantile(0.95).0 as f64 / 1_000.0),
            thousands(total.wait_ms_max.div_ceil(1_000)),
            percent(total.occupancy()),
            percent(total.own_share()),
            of_each(total.carried(), days),
            thousands(carried_at_once(&figures, days)),
        ]);
    }
    table
}

/// SL2 and abandonment of each arrangement.
fn pairs(of: impl Fn(usize) -> Counts) -> Vec<String> {
    let each = |measure: fn(&Counts) -> String| {
        let totals = (0..Arrangement::ALL.len()).map(&of);
        totals.map(|total| measure(&total)).collect::<Vec<_>>()
    };
    [each(|total| percent(total.service_level_2())), each(|total| fine(total.abandoned_share()))]
        .concat()
}

fn pairs_head(first: &str) -> Table {
    let letters = Arrangement::ALL.map(|it| it.letter);
    let head = letters.map(|it| format!("SL2 % {it}")).into_iter();
    let head = head.chain(letters.map(|it| format!("abandoned % {it}")));
    let head: Vec<String> = std::iter::once(first.to_owned()).chain(head).collect();
    Table { head, rows: Vec::new() }
}

fn weather_name(weather: Weather) -> String {
    let center = Case::usual(weather, ONE).center(1);
    let city = |id: CityId| center.cities.get(id.0).map_or("", |city| city.title);
    let one = |surprise: &Surprise| match surprise {
        Surprise::Busier { city: id, half_hours, percent, .. } => {
            format!("{}: {percent} % more callers for {} h", city(*id), *half_hours as f64 / 2.0)
        }
        Surprise::Drains { city: id, half_hours, .. } => {
            format!("{}: the site drained for {} h", city(*id), *half_hours as f64 / 2.0)
        }
        Surprise::Sick { city: id, percent } => {
            format!("{}: {percent} % of the agents sick", city(*id))
        }
    };
    match (weather, center.surprises.as_slice()) {
        (Weather::Surprises, _) => "all of them".to_owned(),
        (_, [only]) => one(only),
        _ => "none: as forecast".to_owned(),
    }
}

fn each_surprise(study: &Study) -> Table {
    let mut table = pairs_head("surprise");
    let weathers = [Weather::AsForecast].into_iter().chain(surprises());
    for weather in weathers.chain([Weather::Surprises]) {
        let first = |index| {
            let days = study.days(&Case::usual(weather, index));
            days.first().map(Figures::total).unwrap_or_default()
        };
        table.rows.push([vec![weather_name(weather)], pairs(first)].concat());
    }
    table
}

/// What callers of all cities met in the hours of a surprise.
fn while_it_lasts(study: &Study) -> Table {
    let mut table = Table::new(&[
        "calls that came in then, mean of a day",
        "offered",
        "abandoned",
        "abandoned %",
        "over a minute",
        "SL2 %",
        "ASA s",
        "longest s",
    ]);
    for weather in surprises() {
        let center = Case::usual(weather, ONE).center(study.seats);
        let when = center.surprises.first().and_then(Surprise::when);
        let Some((from, to)) = when else { continue };
        for (index, arrangement) in Arrangement::ALL.iter().enumerate() {
            let case = Case::usual(Weather::Surprises, index);
            let (sum, days) = (study.sum(&case), study.days(&case).len());
            let mut then = Counts::default();
            let inside = |at: &HalfHour| (from..to).contains(&at.begins());
            HalfHour::all().filter(inside).for_each(|at| then += sum.half_hour(at));
            table.rows.push(vec![
                format!("{}; {}", weather_name(weather), arrangement.letter),
                of_each(then.offered, days),
                of_each(then.abandoned, days),
                fine(then.abandoned_share()),
                of_each(then.waited_too_long, days),
                percent(then.service_level_2()),
                format!("{:.1}", then.answer_s()),
                thousands(then.wait_ms_max.div_ceil(1_000)),
            ]);
        }
    }
    table
}

fn each_day(study: &Study) -> Table {
    let mut table = pairs_head("seed");
    for seed in 0..usize::try_from(study.seeds).unwrap_or(0) {
        let of = |index| {
            let days = study.days(&Case::usual(Weather::Surprises, index));
            days.get(seed).map(Figures::total).unwrap_or_default()
        };
        table.rows.push([vec![(seed + 1).to_string()], pairs(of)].concat());
    }
    table
}

fn by_city(study: &Study) -> Table {
    let sums: Vec<Figures> = (0..Arrangement::ALL.len())
        .map(|index| study.sum(&Case::usual(Weather::Surprises, index)))
        .collect();
    let mut table = pairs_head("city");
    let letters = Arrangement::ALL.map(|it| it.letter);
    table.head.extend(letters.map(|it| format!("occupancy % {it}")));
    for (index, city) in CITIES.iter().enumerate() {
        let of = |arrangement: usize| {
            sums.get(arrangement).map(|sum| sum.city(CityId(index))).unwrap_or_default()
        };
        let occupancy = (0..letters.len()).map(|index| percent(of(index).occupancy()));
        let row = [vec![city.title.to_owned()], pairs(of), occupancy.collect()].concat();
        table.rows.push(row);
    }
    table
}

fn fewer(study: &Study) -> Table {
    let mut table = Table::new(&[
        "agents, % of the plan",
        "as forecast: SL2 %",
        "abandoned %",
        "ASA s",
        "occupancy %",
        "surprises: SL2 %",
        "abandoned %",
        "ASA s",
        "occupancy %",
    ]);
    let cells = |case: &Case| {
        let total = study.days(case).first().map(Figures::total).unwrap_or_default();
        [
            percent(total.service_level_2()),
            fine(total.abandoned_share()),
            format!("{:.1}", total.answer_s()),
            percent(total.occupancy()),
        ]
    };
    let mut row = |name: String, case: fn(Weather, u32) -> Case, hired: u32| {
        let weathers = [Weather::AsForecast, Weather::Surprises];
        let both = weathers.map(|weather| cells(&case(weather, hired))).concat();
        table.rows.push([vec![name], both].concat());
    };
    row("A with 100".to_owned(), |weather, _| Case::usual(weather, 0), 1_000);
    for hired in HIRED {
        let name = format!("B with {}", f64::from(hired) / 10.0);
        row(
            name,
            |weather, hired_per_mille| Case { hired_per_mille, ..Case::usual(weather, ONE) },
            hired,
        );
    }
    table
}

/// The first day as forecast, and the first with surprises.
fn first_days(study: &Study, place: usize) -> [Figures; 2] {
    [Weather::AsForecast, Weather::Surprises].map(|weather| {
        let days = study.days(&Case::usual(weather, place));
        days.first().cloned().unwrap_or_default()
    })
}

fn titled(place: usize) -> String {
    arrangement(place).map_or_else(String::new, |it| format!("{}: {}", it.letter, it.name))
}

/// What rebalancing brings, by how it is done.
fn rebalancing(study: &Study) -> Table {
    let mut table = Table::new(&[
        "five queues",
        "as forecast: SL2 %",
        "abandoned %",
        "of the way to B %",
        "surprises: SL2 %",
        "abandoned %",
        "of the way to B %",
        "over a minute",
        "longest s",
        "plans",
        "changes of lines",
    ]);
    let lost = |place| first_days(study, place).map(|day| day.total().abandoned as f64);
    let (none, all) = (lost(SEPARATE), lost(ONE));
    // From the rarest look to the most frequent one.
    let mut places = others(Lines::OfEachCity);
    places.insert(1.min(places.len()), REBALANCED);
    places.insert(0, SEPARATE);
    places.push(ONE);
    for place in places {
        let days = first_days(study, place);
        let mut row = vec![match place {
            REBALANCED => "D: rebalanced every quarter of an hour".to_owned(),
            place => titled(place),
        }];
        for ((day, none), all) in days.iter().zip(none).zip(all) {
            let total = day.total();
            let way = (none - total.abandoned as f64) / (none - all).max(1.0) * 100.0;
            row.extend([percent(total.service_level_2()), fine(total.abandoned_share())]);
            row.push(format!("{way:.0}"));
        }
        let [_, surprised] = &days;
        let total = surprised.total();
        row.push(thousands(total.waited_too_long));
        row.push(thousands(total.wait_ms_max.div_ceil(1_000)));
        row.extend([thousands(surprised.plans), thousands(surprised.moved)]);
        table.rows.push(row);
    }
    table
}

/// What plans of weights bring.
fn weights(study: &Study) -> Table {
    let mut table = Table::new(&[
        "one queue",
        "as forecast: SL2 %",
        "abandoned %",
        "ASA s",
        "surprises: SL2 %",
        "abandoned %",
        "ASA s",
        "plans",
    ]);
    for place in [vec![ONE], others(Lines::One)].concat() {
        let mut row = vec![titled(place)];
        let days = first_days(study, place);
        for total in days.iter().map(Figures::total) {
            row.extend([percent(total.service_level_2()), fine(total.abandoned_share())]);
            row.push(format!("{:.1}", total.answer_s()));
        }
        let [_, surprised] = &days;
        row.push(thousands(surprised.plans));
        table.rows.push(row);
    }
    table
}

fn ceilings(study: &Study) -> Table {
    let mut table = pairs_head("80 % within 20 s, and");
    for (weather, name) in [(Weather::AsForecast, "as forecast"), (Weather::Surprises, "surprises")]
    {
        for busy_percent_max in CEILINGS {
            let of = |index| {
                let case = Case { busy_percent_max, ..Case::usual(weather, index) };
                study.days(&case).first().map(Figures::total).unwrap_or_default()
            };
            let rule = match busy_percent_max {
                100 => "nothing else".to_owned(),
                percent => format!("at most {percent} % busy"),
            };
            table.rows.push([vec![format!("{rule}; {name}")], pairs(of)].concat());
        }
    }
    table
}

/// Time of day at which a half hour begins.
pub(super) fn utc(at: HalfHour) -> String {
    let half_hours = at.0 + BEGINS_UTC;
    format!("{:02}:{:02}", half_hours / 2 % 24, half_hours % 2 * 30)
}

fn by_half_hour(study: &Study) -> Table {
    let sums: Vec<(Figures, usize)> = (0..Arrangement::ALL.len())
        .map(|index| {
            let case = Case::usual(Weather::Surprises, index);
            (study.sum(&case), study.days(&case).len())
        })
        .collect();
    let mut table = pairs_head("UTC");
    table.head.insert(1, "offered".to_owned());
    table.head.insert(2, "agents".to_owned());
    let letters = Arrangement::ALL.map(|it| it.letter);
    table.head.extend(letters.map(|it| format!("ASA s {it}")));
    table.head.extend(letters.iter().skip(1).map(|it| format!("own city % {it}")));
    for at in HalfHour::all() {
        let of =
            |index: usize| sums.get(index).map(|(sum, _)| sum.half_hour(at)).unwrap_or_default();
        let days = sums.first().map_or(1, |(_, days)| *days);
        let agents = of(0).staffed_ms as f64 / HALF_HOUR.0 as f64 / days as f64;
        let agents = thousands(agents.round() as u64);
        let mut row = vec![utc(at), of_each(of(0).offered, days), agents];
        row.extend(pairs(of));
        row.extend((0..letters.len()).map(|index| format!("{:.1}", of(index).answer_s())));
        row.extend((1..letters.len()).map(|index| percent(of(index).own_share())));
        table.rows.push(row);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a table is Markdown: as many cells in every line, its columns aligned.
    #[test]
    fn tables_are_markdown() {
        let mut table = Table::new(&["a", "number"]);
        table.rows.push(vec!["longer".to_owned(), "1".to_owned()]);
        let text = table.to_string();
        assert_eq!(text, "| a      | number |\n|--------|-------:|\n| longer |      1 |\n");
        assert_eq!((thousands(1_234_567), thousands(12)), ("1,234,567".into(), "12".into()));
        assert_eq!((utc(HalfHour(0)), utc(HalfHour(47))), ("05:00".into(), "04:30".into()));
    }

    // Goal: every table of a study is filled: no cell is missing and every arrangement has its numbers.
    #[test]
    fn tables_are_filled() {
        let study = Study::run(4, 1, 1).unwrap();
        let text = all(&study);
        assert_eq!(text.matches("\n## ").count() + 1, 11, "{text}");
        let mut cells = 0;
        for line in text.lines() {
            let now = line.matches('|').count();
            assert!(cells == 0 || now == 0 || now == cells, "{line}");
            cells = now;
        }
        assert!(text.contains("New York: 30 % more callers for 2 h"), "{text}");
        assert!(text.contains(&format!("{:016x}", study.digest())));
    }
}

//! What a study found, as pictures: SVG that stands alone and is readable on light and on dark pages.

use std::fmt::Write as _;

use tandem_sim::day::{
    CITIES, CityId, Habits, HalfHour,
    arrangement::Arrangement,
    calls::rates,
    figures::{CLASS, Counts, Figures},
    surprise::Surprise,
};

use super::{
    study::{Case, ONE, Study, Weather},
    tables::utc,
};
use crate::report::plot::{Plot, WIDTH, escape};

const STYLE: &str = include_str!("style.css");
/// Colours of the arrangements, in order.
const CLASSES: [&str; Arrangement::ALL.len()] = ["a", "b", "c", "d"];
/// A little wider than its charts: the last mark of an axis has half of its words beyond it.
const PAPER: f64 = WIDTH + 12.0;
/// Room above the first chart: title, what it is about, legend.
const HEAD: f64 = 84.0;
/// Longest wait that is shown, in seconds.
const WAIT_S_MAX: usize = 180;
/// Smallest share that is shown, as a power of ten.
const TAIL: f64 = -4.0;

/// All pictures with their file names.
pub(super) fn all(study: &Study) -> Vec<(&'static str, String)> {
    vec![
        ("one-queue-service.svg", service(study)),
        ("one-queue-staff.svg", staff(study)),
        ("one-queue-waits.svg", waits(study)),
    ]
}

/// A picture: title, a line about it, its legend, and charts of these heights below each other.
fn picture(
    title: &str,
    about: &str,
    legend: &[(&str, String)],
    charts: Vec<(f64, Plot)>,
) -> String {
    let height = HEAD + charts.iter().map(|(height, _)| height).sum::<f64>();
    let (title, about) = (escape(title), escape(about));
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {PAPER} {height}' role='img' \
         aria-label='{title}'><style>{STYLE}</style>\
         <rect class='paper' width='{PAPER}' height='{height}'/>\
         <text class='title' x='28' y='28'>{title}</text>\
         <text x='28' y='47'>{about}</text>"
    );
    let mut x = 28.0;
    for (class, words) in legend {
        // Writing to a string cannot fail.
        write!(
            svg,
            "<path class='curve {class}' d='M{x},66 h26'/><text class='ink' x='{}' y='70'>{}</text>",
            x + 33.0,
            escape(words)
        )
        .ok();
        x += 62.0 + words.chars().count() as f64 * 6.6;
    }
    let mut top = HEAD;
    for (height, chart) in charts {
        svg.push_str(&chart.part(top));
        top += height;
    }
    svg + "</svg>\n"
}

fn legend() -> Vec<(&'static str, String)> {
    let all = Arrangement::ALL.iter().zip(CLASSES);
    all.map(|(it, class)| (class, format!("{}: {}", it.letter, it.name))).collect()
}

/// Sums of the days of each arrangement.
fn sums(study: &Study, weather: Weather) -> Vec<Figures> {
    let all = 0..Arrangement::ALL.len();
    all.map(|index| study.sum(&Case::usual(weather, index))).collect()
}

// --- over the day --------------------------------------------------------------------------------

const HOURS: (f64, f64) = (0.0, 24.0);

fn hours(at: HalfHour) -> f64 {
    at.0 as f64 / 2.0
}

/// Every second hour of UTC.
fn clock() -> Vec<(f64, String)> {
    (0..=12).map(|n| (f64::from(n) * 2.0, utc(HalfHour(n as usize * 4)))).collect()
}

/// A value for each half hour, as steps.
fn steps(value: impl Fn(HalfHour) -> f64) -> Vec<(f64, f64)> {
    let each = HalfHour::all().flat_map(|at| {
        let value = value(at);
        [(hours(at), value), (hours(at) + 0.5, value)]
    });
    each.collect()
}

/// Bands where something comes differently than planned: in the chart of a city, or in one of all.
fn bands(
    plot: &mut Plot,
    study: &Study,
    city: Option<CityId>,
    top: f64,
) -> Vec<((f64, f64), String)> {
    let center = Case::usual(Weather::Surprises, ONE).center(study.seats);
    let mut words_at = Vec::new();
    for surprise in &center.surprises {
        let (of, words) = match surprise {
            Surprise::Busier { city, percent, .. } => (*city, format!("{percent} % more callers")),
            Surprise::Drains { city, .. } => (*city, "site drained".to_owned()),
            Surprise::Sick { .. } => continue,
        };
        let Some((from, to)) = surprise.when() else { continue };
        if city.is_some_and(|city| city != of) {
            continue;
        }
        let hour = |ms: u64| ms as f64 / 3_600_000.0;
        let x = (hour(from.0), hour(to.0));
        let title = CITIES.get(of.0).map_or("", |city| city.title);
        let full = format!("{title}: {words}");
        plot.block("lost", x, (0.0, top), &full);
        words_at.push((x, if city.is_some() { words } else { full }));
    }
    words_at
}

/// Where the letter of a line stands.
#[derive(Debug, Clone, Copy)]
enum Side {
    Left,
    Right,
}

/// The letter of an arrangement beside its line.
fn letter(plot: &mut Plot, index: usize, at: (f64, f64), side: Side) {
    let (Some(it), Some(class)) = (Arrangement::ALL.get(index), CLASSES.get(index)) else { return };
    let (class, step) = match side {
        Side::Left => (format!("name end {class}"), -0.1),
        Side::Right => (format!("name {class}"), 0.1),
    };
    plot.label(&class, (at.0 + step, at.1), &it.letter.to_string());
}

/// From where to where a line of steps is furthest out.
fn furthest(line: &[(f64, f64)], measure: impl Fn(f64) -> f64) -> (f64, f64, f64) {
    let best = line.iter().map(|point| measure(point.1)).fold(f64::NEG_INFINITY, f64::max);
    let mut there = line.iter().filter(|point| measure(point.1) >= best);
    let first = there.next().copied().unwrap_or_default();
    (first.0, first.0 + 0.5, first.1)
}

fn service(study: &Study) -> String {
    let sums = sums(study, Weather::Surprises);
    let measure = |of: fn(&Counts) -> f64| -> Vec<Vec<(f64, f64)>> {
        let one = |sum: &Figures| steps(|at| of(&sum.half_hour(at)) * 100.0);
        sums.iter().map(one).collect()
    };
    let (levels, lost) = (measure(Counts::service_level_2), measure(Counts::abandoned_share));
    let most = lost.iter().flatten().map(|point| point.1).fold(1.0, f64::max) * 1.1;

    let mut level = Plot::new("level", "Service level", "Per half hour.", 320.0);
    // Room for words above 100 %.
    level = level.scale(HOURS, (0.0, 110.0));
    let words = bands(&mut level, study, None, 100.0);
    let shares = (0..=5).map(|n| f64::from(n) * 20.0).map(|share| (share, format!("{share:.0}")));
    level.y_marks("answered (or gone) within 20 s, % of callers", &shares.collect::<Vec<_>>());
    level.x_marks("time of day, UTC", &clock());
    level.limit(80.0, "");
    level.label("", (0.1, 74.0), "target: 80 %");
    for (row, ((from, to), words)) in words.iter().enumerate() {
        // The first ends where it is meant, the next begins there.
        let (class, x) = if row == 0 { ("end bad", *to - 0.12) } else { ("bad", *from + 0.12) };
        level.label(class, (x, 103.5), words);
    }

    let mut abandoned = Plot::new("abandoned", "Callers who hung up", "Per half hour.", 220.0);
    abandoned = abandoned.scale(HOURS, (0.0, most));
    bands(&mut abandoned, study, None, most);
    abandoned.y_axis("hung up before an agent answered, % of callers", 5);
    abandoned.x_marks("time of day, UTC", &clock());

    let sides = [Side::Left, Side::Left, Side::Right, Side::Right];
    for (index, ((levels, lost), side)) in levels.iter().zip(&lost).zip(sides).enumerate() {
        let class = CLASSES.get(index).copied().unwrap_or_default();
        level.curve(class, levels);
        abandoned.curve(class, lost);
        let beside = |(from, to, value): (f64, f64, f64), higher: f64| match side {
            Side::Left => (from, value + higher),
            Side::Right => (to, value + higher),
        };
        // Below the lowest place of the one, at the highest of the other; the two at the right apart.
        letter(&mut level, index, beside(furthest(levels, |value| -value), -8.0), side);
        let apart = [0.0, 0.0, -0.08, 0.03].get(index).copied().unwrap_or(0.0) * most;
        letter(&mut abandoned, index, beside(furthest(lost, |value| value), apart), side);
    }
    let days = match study.seeds {
        1 => "one day".to_owned(),
        seeds => format!("mean of {seeds} days"),
    };
    picture(
        "One day with surprises: service",
        &format!("{} seats in five cities; {days}, half hour by half hour", total(study)),
        &legend(),
        vec![(320.0, level), (220.0, abandoned)],
    )
}

fn total(study: &Study) -> u32 {
    study.seats * CITIES.len() as u32
}

fn staff(study: &Study) -> String {
    let case = Case::usual(Weather::Surprises, 0);
    let (sum, days) = (study.sum(&case), study.days(&case).len().max(1) as f64);
    let center = case.center(study.seats);
    let handling_ms = Habits::USUAL.handling().0 as f64;
    let most = f64::from(study.seats) * 1.6;
    let mut charts = Vec::new();
    for (index, city) in CITIES.iter().enumerate() {
        let cell = |at: HalfHour| {
            let row = sum.cells.get(index).and_then(|row| row.get(at.0));
            row.copied().unwrap_or_default()
        };
        let half_hour_ms = tandem_sim::day::HALF_HOUR.0 as f64;
        let agents = steps(|at| cell(at).staffed_ms as f64 / half_hour_ms / days);
        let expected = rates(&center, city, CityId(index));
        let load = steps(|at| expected.get(at.0).unwrap_or(&0.0) * handling_ms / half_hour_ms);
        let sign = if city.utc_offset_h < 0 { '−' } else { '+' };
        let name =
            format!("{} (UTC{sign}{}), agents", city.title, city.utc_offset_h.unsigned_abs());
        let last = index + 1 == CITIES.len();
        let height = if last { 166.0 } else { 150.0 };
        let mut plot = Plot::new("staff", &name, "Agents and load.", height);
        plot = plot.scale(HOURS, (0.0, most));
        let words = bands(&mut plot, study, Some(CityId(index)), most);
        plot.y_axis(&name, 4);
        plot.x_marks(if last { "time of day, UTC" } else { "" }, &clock());
        for ((from, _), words) in words {
            plot.label("end bad", (from - 0.1, most * 0.84), &words);
        }
        let missing = center.surprises.iter().find_map(|surprise| match surprise {
            Surprise::Sick { city, percent } if city.0 == index => Some(*percent),
            _ => None,
        });
        if let Some(percent) = missing {
            plot.label(
                "bad",
                (0.3, most * 0.84),
                &format!("{percent} % of the agents sick, all day"),
            );
        }
        plot.area("staff", &agents);
        plot.curve("load", &load);
        charts.push((height, plot));
    }
    let legend = [
        ("staff", "agents at work".to_owned()),
        ("load", "agents whom the calls keep busy".to_owned()),
    ];
    picture(
        "Agents and load in each city",
        "planned by the forecast: 80 % within 20 s, at most 90 % busy, half hour by half hour; surprises are shaded",
        &legend,
        charts,
    )
}

// --- waits ---------------------------------------------------------------------------------------

fn waits(study: &Study) -> String {
    let kinds = [
        (Weather::Surprises, "with surprises: callers who wait longer"),
        (Weather::AsForecast, "as forecast: callers who wait longer"),
    ];
    let charts = kinds.map(|(weather, name)| (270.0, tail(&sums(study, weather), name)));
    picture(
        "How long callers wait, until an agent answers or they hang up",
        "share of all callers who wait longer than so many seconds; each line of the scale is a tenth of the one above",
        &legend(),
        charts.into(),
    )
}

fn tail(sums: &[Figures], name: &str) -> Plot {
    let mut plot = Plot::new("waits", name, "Shares fall from left to right.", 270.0);
    plot = plot.scale((0.0, WAIT_S_MAX as f64), (TAIL, 0.0));
    let marks = [(0.0, "100 %"), (-1.0, "10 %"), (-2.0, "1 %"), (-3.0, "0.1 %"), (TAIL, "0.01 %")];
    plot.y_marks(name, &marks.map(|(value, words)| (value, words.to_owned())));
    let seconds = (0..=WAIT_S_MAX / 20).map(|n| (n * 20) as f64);
    let seconds: Vec<(f64, String)> = seconds.map(|s| (s, format!("{s:.0}"))).collect();
    plot.x_marks("waiting time, seconds", &seconds);
    plot.curve("target", &[(20.0, TAIL), (20.0, 0.0)]);
    plot.label("", (20.7, TAIL + 0.15), "20 s");
    for (index, (sum, class)) in sums.iter().zip(CLASSES).enumerate() {
        let per_second = usize::try_from(1_000 / CLASS.0).unwrap_or(1);
        let share = |class: usize| sum.everybody.longer_than(class);
        let all = (0..=WAIT_S_MAX * per_second).step_by(2);
        let all = all.map(|class| (class as f64 / per_second as f64, share(class)));
        // The first point beyond the scale brings the line down to its edge.
        let mut points: Vec<(f64, f64)> = Vec::new();
        for (second, share) in all {
            let power = if share > 0.0 { share.log10().max(TAIL) } else { TAIL };
            points.push((second, power));
            if power <= TAIL {
                break;
            }
        }
        plot.curve(class, &points);
        let (x, y) = points.last().copied().unwrap_or_default();
        let (side, x) = match index {
            1 | 3 => (Side::Left, x - 1.6),
            _ => (Side::Right, x.min(WAIT_S_MAX as f64 - 4.0) + 0.6),
        };
        letter(&mut plot, index, (x, y + 0.2), side);
    }
    plot
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: pictures are whole SVG files, small enough for a page, with every arrangement and city named.
    #[test]
    fn pictures_are_whole() {
        let study = Study::run(4, 1, 1).unwrap();
        for (name, svg) in all(&study) {
            assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"), "{name}");
            assert!(svg.len() < 200_000, "{name} has {} bytes", svg.len());
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{name}");
            for tag in ["g", "text", "style"] {
                let opened = svg.matches(&format!("<{tag} ")).count()
                    + svg.matches(&format!("<{tag}>")).count();
                assert_eq!(opened, svg.matches(&format!("</{tag}>")).count(), "{name}: {tag}");
            }
        }
        let staff = staff(&study);
        assert!(CITIES.iter().all(|city| staff.contains(city.title)));
        let service = service(&study);
        assert!(Arrangement::ALL.iter().all(|it| service.contains(it.name)));
    }
}

//! Charts of growth, both axes by powers of ten: SVG that stands alone and is readable on light and on dark
//! pages.

use std::fmt::Write as _;

const STYLE: &str = include_str!("plot.css");
const WIDTH: f64 = 960.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = 160.0;
/// Room above the first chart: title, and what it is about.
const HEAD: f64 = 64.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 46.0;
/// From one label to the next below it.
const LINE: f64 = 15.0;

/// A line through points.
#[derive(Debug, Clone)]
pub struct Curve {
    /// Its colour: `a`, `b`, `c`, or `limit`.
    pub class: &'static str,
    /// What stands at its end.
    pub label: String,
    /// Both coordinates above zero.
    pub points: Vec<(f64, f64)>,
}

/// One chart of a picture.
#[derive(Debug, Clone)]
pub struct Chart {
    /// What the y axis shows.
    pub y_name: String,
    /// What the x axis shows.
    pub x_name: String,
    /// How a value of the y axis is said, with its unit.
    pub y_words: fn(f64) -> String,
    /// Height, in the units of the picture.
    pub height: f64,
    /// The lines.
    pub curves: Vec<Curve>,
}

/// A picture of charts below each other.
#[must_use]
pub fn picture(title: &str, about: &str, charts: &[Chart]) -> String {
    let height = HEAD + charts.iter().map(|chart| chart.height).sum::<f64>();
    let (title, about) = (escape(title), escape(about));
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {WIDTH} {height}' role='img' \
         aria-label='{title}'><style>{STYLE}</style>\
         <rect class='paper' width='{WIDTH}' height='{height}'/>\
         <text class='title' x='28' y='28'>{title}</text><text x='28' y='48'>{about}</text>"
    );
    let mut top = HEAD;
    for chart in charts {
        svg += &chart.draw(top);
        top += chart.height;
    }
    svg + "</svg>\n"
}

impl Chart {
    fn draw(&self, top: f64) -> String {
        let points = || self.curves.iter().flat_map(|curve| &curve.points);
        let (x, y) = (powers(points().map(|at| at.0)), powers(points().map(|at| at.1)));
        let (bottom, right) = (self.height - BOTTOM, WIDTH - RIGHT);
        let place = |value: f64, (from, to): (i32, i32), low: f64, high: f64| {
            let share = (value.log10() - f64::from(from)) / f64::from(to - from);
            low + share * (high - low)
        };
        let at = |(a, b): (f64, f64)| (place(a, x, LEFT, right), place(b, y, bottom, TOP));
        let mut body = String::new();
        // Writing to a string cannot fail.
        for power in y.0..=y.1 {
            let value = 10f64.powi(power);
            let at = at((10f64.powi(x.0), value)).1;
            let words = escape(&(self.y_words)(value));
            write!(
                body,
                "<path class='grid' d='M{LEFT},{at:.1} H{right}'/>\
                 <text class='end' x='{}' y='{:.1}'>{words}</text>",
                LEFT - 8.0,
                at + 4.0
            )
            .ok();
        }
        for power in x.0..=x.1 {
            let value = 10f64.powi(power);
            let at = at((value, 10f64.powi(y.0))).0;
            let words = crate::report::number(value);
            write!(
                body,
                "<path class='axis' d='M{at:.1},{bottom} v5'/>\
                 <text class='mid' x='{at:.1}' y='{}'>{words}</text>",
                bottom + 19.0
            )
            .ok();
        }
        write!(
            body,
            "<path class='axis' d='M{LEFT},{bottom} H{right}'/>\
             <text class='ink' x='{LEFT}' y='{}'>{}</text>\
             <text class='ink mid' x='{}' y='{}'>{}</text>",
            TOP - 12.0,
            escape(&self.y_name),
            (LEFT + right) / 2.0,
            bottom + 37.0,
            escape(&self.x_name),
        )
        .ok();
        let mut ends = Vec::new();
        for curve in &self.curves {
            let places: Vec<(f64, f64)> = curve.points.iter().map(|point| at(*point)).collect();
            body += &draw(curve, &places);
            ends.extend(places.last().map(|(x, y)| (*y, *x, curve)));
        }
        body += &labels(ends);
        format!("<g transform='translate(0 {top})'>{body}</g>")
    }
}

fn draw(curve: &Curve, places: &[(f64, f64)]) -> String {
    let class = curve.class;
    let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let mut drawn = format!("<path class='curve {class}' d='M{}'/>", path.join(" L"));
    if class != "limit" {
        for (x, y) in places {
            write!(drawn, "<circle class='{class}' cx='{x:.1}' cy='{y:.1}' r='3.5'/>").ok();
        }
    }
    drawn
}

/// What stands at the ends of curves: each at its own height, but below the one above it.
fn labels(mut ends: Vec<(f64, f64, &Curve)>) -> String {
    ends.sort_by(|(a, ..), (b, ..)| a.total_cmp(b));
    let (mut labels, mut free_from) = (String::new(), f64::NEG_INFINITY);
    for (y, x, curve) in ends {
        let at = y.max(free_from);
        free_from = at + LINE;
        let (class, words) = (curve.class, escape(&curve.label));
        write!(
            labels,
            "<text class='name {class}' x='{:.1}' y='{:.1}'>{words}</text>",
            x + 10.0,
            at + 4.0
        )
        .ok();
    }
    labels
}

/// The powers of ten between which all values are.
fn powers(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (low, high) = values
        .filter(|value| *value > 0.0)
        .map(f64::log10)
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if !low.is_finite() {
        return (0, 1);
    }
    // Whoever is a hair beyond a power needs no tenth more.
    let (low, high) = ((low + 0.02).floor() as i32, (high - 0.02).ceil() as i32);
    (low, high.max(low + 1))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a picture is a whole SVG file with all its words, and no number of it is none.
    #[test]
    fn pictures_are_whole() {
        let curve = |label: &str, points: &[(f64, f64)]| Curve {
            class: "a",
            label: label.to_owned(),
            points: points.to_vec(),
        };
        let chart = Chart {
            y_name: "cost & more".to_owned(),
            x_name: "waiting".to_owned(),
            y_words: |value| format!("{value} ns"),
            height: 300.0,
            curves: vec![curve("one", &[(1e3, 5e3), (1e6, 9e3)]), curve("none", &[])],
        };
        let svg = picture("Growth", "about it", &[chart.clone(), chart]);
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("cost &amp; more") && svg.contains("1,000,000"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        assert_eq!(svg.matches("<g ").count(), svg.matches("</g>").count());
    }

    // Goal: axes begin and end at powers of ten around what they show.
    #[test]
    fn axes_hold_what_they_show() {
        assert_eq!(powers([1_000.0, 990_000.0].into_iter()), (3, 6));
        assert_eq!(powers([2_000.0, 3_000.0].into_iter()), (3, 4));
        assert_eq!(powers([5.0].into_iter()), (0, 1));
        assert_eq!(powers([].into_iter()), (0, 1));
    }
}

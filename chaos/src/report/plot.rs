//! Drawing: scales, axes, lines, as inline SVG, or as parts of a picture of its own. Knows nothing of calls.

use std::fmt::Write as _;

/// Width of every chart; the page scales it.
pub(crate) const WIDTH: f64 = 960.0;
/// Room for the labels of the y axis, and at the right.
const LEFT: f64 = 68.0;
const RIGHT: f64 = 14.0;
/// Room for the names of marks, and for the x axis.
const TOP: f64 = 26.0;
const BOTTOM: f64 = 40.0;
/// Numbered marks nearer than this stand in two rows.
const MARK_ROOM: f64 = 20.0;

/// A vertical line at a moment, with its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// On the x axis.
    pub(crate) at: f64,
    /// What stands above it.
    pub(crate) label: String,
}

/// A chart under construction.
#[derive(Debug)]
pub(crate) struct Plot {
    id: &'static str,
    title: String,
    description: String,
    height: f64,
    x: (f64, f64),
    y: (f64, f64),
    body: String,
}

impl Plot {
    /// An empty chart. `title` and `description` are what a screen reader says.
    pub(crate) fn new(id: &'static str, title: &str, description: &str, height: f64) -> Self {
        Self {
            id,
            title: escape(title),
            description: escape(description),
            height,
            x: (0.0, 1.0),
            y: (0.0, 1.0),
            body: String::new(),
        }
    }

    /// What the axes show.
    pub(crate) fn scale(mut self, x: (f64, f64), y: (f64, f64)) -> Self {
        let wide = |(from, to): (f64, f64)| (from, if to > from { to } else { from + 1.0 });
        (self.x, self.y) = (wide(x), wide(y));
        self
    }

    /// Both axes with round numbers, their names and units.
    pub(crate) fn axes(&mut self, x_name: &str, y_name: &str, y_ticks: usize) {
        self.y_axis(y_name, y_ticks);
        self.x_axis(x_name);
    }

    /// The y axis alone.
    pub(crate) fn y_axis(&mut self, name: &str, ticks_wanted: usize) {
        self.y_marks(name, &numbered(ticks(self.y, ticks_wanted)));
    }

    /// The x axis alone.
    pub(crate) fn x_axis(&mut self, name: &str) {
        self.x_marks(name, &numbered(ticks(self.x, 10)));
    }

    /// The y axis with these marks, for scales that are not even.
    pub(crate) fn y_marks(&mut self, name: &str, marks: &[(f64, String)]) {
        let (left, right) = (LEFT, WIDTH - RIGHT);
        for (value, words) in marks {
            let y = self.y(*value);
            self.add(&format!(
                "<line class='grid' x1='{left}' x2='{right}' y1='{y:.1}' y2='{y:.1}'/>"
            ));
            self.text(left - 8.0, y + 4.0, "end", words);
        }
        self.text(left - 40.0, 14.0, "ink", name);
    }

    /// The x axis with these marks.
    pub(crate) fn x_marks(&mut self, name: &str, marks: &[(f64, String)]) {
        let (base, right) = (self.height - BOTTOM, WIDTH - RIGHT);
        self.add(&format!("<line class='axis' x1='{LEFT}' x2='{right}' y1='{base}' y2='{base}'/>"));
        for (value, words) in marks {
            let x = self.x(*value);
            self.add(&format!(
                "<line class='axis' x1='{x:.1}' x2='{x:.1}' y1='{base}' y2='{:.1}'/>",
                base + 4.0
            ));
            self.text(x, base + 17.0, "mid", words);
        }
        self.text(right, base + 33.0, "end ink", name);
    }

    /// Words at a place of the chart.
    pub(crate) fn label(&mut self, class: &str, at: (f64, f64), words: &str) {
        let (x, y) = (self.x(at.0), self.y(at.1));
        self.text(x, y, class, words);
    }

    /// Dashed lines with numbers above them; near ones in a second row.
    pub(crate) fn marks(&mut self, marks: &[Mark]) {
        let mut last = f64::NEG_INFINITY;
        let mut row = 0.0;
        for mark in marks {
            let x = self.x(mark.at);
            row = if x - last < MARK_ROOM && row == 0.0 { 1.0 } else { 0.0 };
            last = x;
            let (top, base) = (TOP - 6.0, self.height - BOTTOM);
            self.add(&format!(
                "<line class='mark' x1='{x:.1}' x2='{x:.1}' y1='{top}' y2='{base}'/>"
            ));
            self.text(x, top - 4.0 - row * 10.0, "mid marktext", &mark.label);
        }
    }

    /// A line through points in the order of x.
    pub(crate) fn curve(&mut self, class: &str, points: &[(f64, f64)]) {
        let path = self.path(points);
        self.add(&format!("<path class='curve {class}' d='M{path}'/>"));
    }

    /// A line with its area down to 0.
    pub(crate) fn area(&mut self, class: &str, points: &[(f64, f64)]) {
        if let (Some(first), Some(last)) = (points.first(), points.last()) {
            let path = self.path(points);
            let (from, to, base) = (self.x(first.0), self.x(last.0), self.y(self.y.0));
            self.add(&format!(
                "<path class='area {class}' d='M{from:.1},{base:.1} L{path} L{to:.1},{base:.1}Z'/>"
            ));
        }
        self.curve(class, points);
    }

    /// A dot with words that a pointer shows.
    pub(crate) fn dot(&mut self, class: &str, at: (f64, f64), words: &str) {
        let (x, y) = (self.x(at.0), self.y(at.1));
        let words = escape(words);
        self.add(&format!(
            "<circle class='{class}' cx='{x:.1}' cy='{y:.1}' r='3.6'><title>{words}</title></circle>"
        ));
    }

    /// A box from one x to another between two y values.
    pub(crate) fn block(&mut self, class: &str, x: (f64, f64), y: (f64, f64), words: &str) {
        let (left, right) = (self.x(x.0), self.x(x.1));
        let (top, bottom) = (self.y(y.1), self.y(y.0));
        let words = escape(words);
        self.add(&format!(
            "<rect class='{class}' x='{left:.1}' y='{top:.1}' width='{:.1}' height='{:.1}' rx='1.5'>\
             <title>{words}</title></rect>",
            (right - left).max(1.0),
            (bottom - top).max(1.0)
        ));
    }

    /// A limit: a dashed line over the whole width, with its name.
    pub(crate) fn limit(&mut self, value: f64, words: &str) {
        let (y, right) = (self.y(value), WIDTH - RIGHT);
        self.add(&format!(
            "<line class='limit' x1='{LEFT}' x2='{right}' y1='{y:.1}' y2='{y:.1}'/>"
        ));
        self.text(right - 4.0, y - 5.0, "end", words);
    }

    /// A label left of the y axis, at a value.
    pub(crate) fn row_label(&mut self, value: f64, words: &str) {
        let y = self.y(value) + 4.0;
        self.text(LEFT - 8.0, y, "end ink", words);
    }

    /// The whole element.
    pub(crate) fn svg(self) -> String {
        let Self { id, title, description, height, body, .. } = self;
        format!(
            "<svg viewBox='0 0 {WIDTH} {height}' role='img' aria-labelledby='{id}-t {id}-d'>\
             <title id='{id}-t'>{title}</title><desc id='{id}-d'>{description}</desc>{body}</svg>"
        )
    }

    /// As a part of a larger picture, so far from its top.
    pub(crate) fn part(self, top: f64) -> String {
        let Self { title, description, body, .. } = self;
        format!(
            "<g transform='translate(0 {top})' role='img' aria-label='{title}. {description}'>{body}</g>"
        )
    }

    fn path(&self, points: &[(f64, f64)]) -> String {
        let mut path = String::new();
        for (index, (x, y)) in points.iter().enumerate() {
            let space = if index > 0 { " L" } else { "" };
            // Writing to a string cannot fail.
            write!(path, "{space}{:.1},{:.1}", self.x(*x), self.y(*y)).ok();
        }
        path
    }

    fn text(&mut self, x: f64, y: f64, class: &str, words: &str) {
        let words = escape(words);
        self.add(&format!("<text class='{class}' x='{x:.1}' y='{y:.1}'>{words}</text>"));
    }

    fn x(&self, value: f64) -> f64 {
        let share = (value - self.x.0) / (self.x.1 - self.x.0);
        LEFT + share.clamp(0.0, 1.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.y.0) / (self.y.1 - self.y.0);
        self.height - BOTTOM - share.clamp(0.0, 1.0) * (self.height - BOTTOM - TOP)
    }

    fn add(&mut self, element: &str) {
        self.body.push_str(element);
    }
}

/// Text as HTML shows it.
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

/// About `count` round values within a range.
fn ticks((from, to): (f64, f64), count: usize) -> Vec<f64> {
    let rough = (to - from) / count.max(1) as f64;
    let power = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * power);
    let step = steps.into_iter().find(|step| *step >= rough).unwrap_or(power * 10.0);
    let first = (from / step).ceil() as i64;
    let last = (to / step + 1e-9).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

fn numbered(values: Vec<f64>) -> Vec<(f64, String)> {
    values.into_iter().map(|value| (value, number(value))).collect()
}

fn number(value: f64) -> String {
    if value.fract().abs() < 1e-9 { format!("{value:.0}") } else { format!("{value:.1}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: ticks are round, within the range, and about as many as asked for.
    #[test]
    fn ticks_are_round() {
        assert_eq!(
            ticks((0.0, 100.0), 10),
            (0..=10).map(|n| f64::from(n) * 10.0).collect::<Vec<_>>()
        );
        assert_eq!(ticks((0.0, 7.0), 4), [0.0, 2.0, 4.0, 6.0]);
        assert_eq!(ticks((3.0, 47.0), 5), [10.0, 20.0, 30.0, 40.0]);
        assert_eq!(ticks((0.0, 1.0), 2), [0.0, 0.5, 1.0]);
    }

    // Goal: the ends of the scale lie at the chart's edges; what is beyond stays inside.
    #[test]
    fn scales() {
        let plot = Plot::new("p", "t", "d", 200.0).scale((0.0, 10.0), (0.0, 5.0));
        assert_eq!((plot.x(0.0), plot.x(10.0), plot.x(99.0)), (LEFT, WIDTH - RIGHT, WIDTH - RIGHT));
        assert_eq!((plot.y(0.0), plot.y(5.0), plot.y(-1.0)), (200.0 - BOTTOM, TOP, 200.0 - BOTTOM));
        let empty = Plot::new("p", "t", "d", 200.0).scale((3.0, 3.0), (0.0, 0.0));
        assert!(empty.x(3.0).is_finite() && empty.y(0.0).is_finite());
    }

    // Goal: words cannot break out of the page.
    #[test]
    fn words_are_escaped() {
        let mut plot = Plot::new("p", "<b>", "\"", 100.0);
        plot.dot("a", (0.0, 0.0), "</title><script>");
        let svg = plot.svg();
        assert!(!svg.contains("<b>") && !svg.contains("<script>"), "{svg}");
    }
}

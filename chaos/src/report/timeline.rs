//! Who led and what was broken, on one time line: a row for the leader, one for each site.

use super::{
    Run,
    charts::{CLASSES, Clock, SECONDS, marks, sites},
    plot::Plot,
};
use crate::faults::Fault;

/// Seconds that a fault without an end is wide, so that it can be seen.
const MOMENT_S: f64 = 0.4;

/// What was broken for a time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Band {
    /// The site.
    pub(super) site: String,
    /// From when to when, seconds.
    pub(super) x: (f64, f64),
    /// In a few words.
    pub(super) words: String,
}

/// Every fault until what mends it at its site; one that mends itself is a moment.
pub(super) fn bands(run: &Run<'_>, clock: Clock) -> Vec<Band> {
    let faults = &run.evidence.faults;
    let breaking = faults.iter().enumerate().filter(|(_, fault)| !fault.kind.mends());
    let band = |(index, fault): (usize, &Fault)| {
        let from = clock.at(fault.made_us);
        let mut later = faults.iter().skip(index + 1).filter(|next| next.site == fault.site);
        let to = match later.next() {
            Some(next) if next.kind.mends() => clock.at(next.made_us),
            Some(_) => from + MOMENT_S,
            None if fault.kind.loses_node() => clock.end(),
            None => from + MOMENT_S,
        };
        Band { site: fault.site.clone(), x: (from, to), words: fault.to_string() }
    };
    breaking.map(band).collect()
}

/// The chart.
pub(super) fn chart(run: &Run<'_>, clock: Clock) -> String {
    let sites = sites(run);
    let rows = sites.len() as f64 + 1.0;
    let terms = terms(run, clock);
    let bands = bands(run, clock);
    let mut plot = Plot::new(
        "leaders",
        "Who led, and what was broken",
        &format!(
            "{} times a leader began; {} faults, each a band in the row of its site.",
            terms.len(),
            bands.len()
        ),
        90.0 + rows * 24.0,
    )
    .scale(clock.range(), (0.0, rows));
    plot.row_label(rows - 0.5, "leader");
    for (site, x) in &terms {
        let class = sites.iter().position(|it| it == site).and_then(|it| CLASSES.get(it));
        let words = format!("{site} leads");
        plot.block(class.unwrap_or(&"a"), *x, (rows - 0.85, rows - 0.15), &words);
    }
    for (index, site) in sites.iter().enumerate() {
        let bottom = rows - 2.0 - index as f64;
        plot.row_label(bottom + 0.5, site);
        for band in bands.iter().filter(|band| band.site == *site) {
            plot.block("broken", band.x, (bottom + 0.15, bottom + 0.85), &band.words);
        }
    }
    plot.x_axis(SECONDS);
    plot.marks(&marks(run, clock));
    plot.svg()
}

/// Each leadership as the samples show it: the same leader in one sample after the other.
fn terms(run: &Run<'_>, clock: Clock) -> Vec<(String, (f64, f64))> {
    let mut terms: Vec<(String, (f64, f64))> = Vec::new();
    let mut before: Option<&String> = None;
    for sample in run.samples.iter().filter(|sample| clock.covers(sample.at_us)) {
        let at = clock.at(sample.at_us);
        match (&sample.leader, terms.last_mut()) {
            (Some(leader), Some((site, x))) if before == Some(leader) && site == leader => x.1 = at,
            (Some(leader), _) => terms.push((leader.clone(), (at, at))),
            (None, _) => {}
        }
        before = sample.leader.as_ref();
    }
    terms
}

//! The report's charts: what is drawn, in seconds since the watch began.

use tandem_phone::RunTime;

use super::{
    Run,
    plot::{Mark, Plot},
    timeline::bands,
};
use crate::{check::conversation::first_of, faults::Fault, scene::SiteSample};

/// Colours of lines and sites, in order.
pub(super) const CLASSES: [&str; 5] = ["a", "b", "c", "d", "e"];
pub(super) const SECONDS: &str = "seconds since the first caller";

/// Times of a run as the charts show them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    origin: RunTime,
    end: f64,
}

impl Clock {
    pub(super) fn of(run: &Run<'_>) -> Self {
        let firsts = run.evidence.callers.iter().map(|caller| caller.report.started_us);
        let origin = firsts.min().unwrap_or(RunTime::START);
        Self { origin, end: seconds(run.evidence.ended_us.us_since(origin)) }
    }

    pub(super) fn at(&self, at: RunTime) -> f64 {
        seconds(at.us_since(self.origin))
    }

    pub(super) fn range(&self) -> (f64, f64) {
        (0.0, self.end)
    }

    pub(super) const fn end(&self) -> f64 {
        self.end
    }

    /// True from the first caller on.
    pub(super) fn covers(&self, at: RunTime) -> bool {
        at >= self.origin
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// Numbered marks of the faults.
pub(super) fn marks(run: &Run<'_>, clock: Clock) -> Vec<Mark> {
    let faults = run.evidence.faults.iter().enumerate();
    let mark = |(index, fault): (usize, &Fault)| Mark {
        at: clock.at(fault.made_us),
        label: (index + 1).to_string(),
    };
    faults.map(mark).collect()
}

/// Queue and conversations over time.
pub(super) fn queue(run: &Run<'_>, clock: Clock) -> String {
    let points = |value: fn(&crate::scene::Sample) -> u64| -> Vec<(f64, f64)> {
        let inside = run.samples.iter().filter(|sample| sample.at_us >= clock.origin);
        inside.map(|sample| (clock.at(sample.at_us), value(sample) as f64)).collect()
    };
    let (waiting, talking) = (points(|it| it.waiting), points(|it| it.talking));
    let most = top(waiting.iter().chain(&talking).map(|point| point.1), 10.0);
    let mut plot = Plot::new(
        "queue",
        "Callers in the queue and in conversations over time",
        &format!(
            "The queue grows to {} callers and drains to none; up to {} talk at once.",
            peak(&waiting),
            peak(&talking)
        ),
        290.0,
    )
    .scale(clock.range(), (0.0, most));
    plot.axes(SECONDS, "callers", 5);
    for band in bands(run, clock) {
        plot.block("lost", band.x, (0.0, most), &band.words);
    }
    plot.area("a", &waiting);
    plot.curve("c", &talking);
    plot.marks(&marks(run, clock));
    plot.svg()
}

/// Every conversation: a row for each agent, by site.
pub(super) fn conversations(run: &Run<'_>, clock: Clock) -> String {
    let mut agents: Vec<_> = run.evidence.agents.iter().collect();
    let sites = sites(run);
    let site_index = |name: &str| sites.iter().position(|site| site == name).unwrap_or(0);
    agents.sort_by_key(|agent| (site_index(&agent.site), agent.name.clone()));
    // Sites stand apart by a row.
    let place = |row: usize| {
        let site = agents.get(row).map_or(0, |agent| site_index(&agent.site));
        (row + site) as f64
    };
    let rows = agents.len().checked_sub(1).map_or(1.0, |last| place(last) + 1.0);
    let count = run.judgement.conversations.len();
    let mut plot = Plot::new(
        "talks",
        "Every conversation",
        &format!(
            "{count} conversations as bars, one row for each of {} agents, by site.",
            agents.len()
        ),
        66.0 + rows * 11.0,
    )
    .scale(clock.range(), (0.0, rows));
    for site in &sites {
        let own: Vec<usize> = (0..agents.len())
            .filter(|row| agents.get(*row).is_some_and(|agent| &agent.site == site))
            .collect();
        for (from, to) in lost_times(run, clock, site) {
            if let (Some(first), Some(last)) = (own.first(), own.last()) {
                let y = (rows - place(*last) - 1.0, rows - place(*first));
                plot.block("lost", (from, to), y, &format!("the node of {site} is dead"));
            }
        }
        if let Some(middle) = own.get(own.len() / 2) {
            plot.row_label(rows - place(*middle) - 0.5, site);
        }
    }
    for talk in &run.judgement.conversations {
        let (caller, leg) =
            (run.evidence.callers.get(talk.caller), run.evidence.legs.get(talk.leg));
        let (Some(caller), Some(leg)) = (caller, leg) else { continue };
        let Some(row) = agents.iter().position(|agent| agent.name == leg.agent) else { continue };
        let bottom = rows - place(row) - 1.0;
        let class = CLASSES.get(site_index(&caller.site)).copied().unwrap_or("a");
        let words = format!(
            "{} of {}, called in at {}, {:.0} s",
            leg.agent,
            caller.report.phone,
            caller.site,
            seconds(talk.to_us.us_since(talk.from_us))
        );
        let x = (clock.at(talk.from_us), clock.at(talk.to_us));
        plot.block(class, x, (bottom + 0.12, bottom + 0.88), &words);
    }
    plot.x_axis(SECONDS);
    plot.marks(&marks(run, clock));
    plot.svg()
}

/// Agents of each site who talk: one chart for each site, the time without its node shaded.
pub(super) fn load(run: &Run<'_>, clock: Clock) -> String {
    let ids = ["load-1", "load-2", "load-3", "load-4", "load-5"];
    let sites = sites(run);
    let charts = sites.iter().zip(ids).zip(CLASSES);
    charts.map(|((site, id), class)| site_load(run, clock, site, id, class)).collect()
}

fn site_load(run: &Run<'_>, clock: Clock, site: &str, id: &'static str, class: &str) -> String {
    let points = site_talking(run, clock, site);
    let agents = run.evidence.agents.iter().filter(|agent| agent.site == site).count();
    let most = top(points.iter().map(|point| point.1), agents as f64);
    let mut plot = Plot::new(
        id,
        &format!("Agents of {site} who talk, over time"),
        &format!("Up to {} of {agents} agents talk.", peak(&points)),
        150.0,
    )
    .scale(clock.range(), (0.0, most));
    plot.axes(SECONDS, &format!("{site}: agents talking, of {agents}"), 2);
    for (from, to) in lost_times(run, clock, site) {
        plot.block("lost", (from, to), (0.0, most), &format!("the node of {site} is dead"));
    }
    plot.area(class, &points);
    plot.marks(&marks(run, clock));
    plot.svg()
}

fn site_talking(run: &Run<'_>, clock: Clock, site: &str) -> Vec<(f64, f64)> {
    let inside = run.samples.iter().filter(|sample| sample.at_us >= clock.origin);
    let value = |sample: &crate::scene::Sample| {
        let own = |it: &&SiteSample| it.name == site;
        let talking = sample.sites.iter().find(own).map_or(0, |it| it.talking);
        (clock.at(sample.at_us), talking as f64)
    };
    inside.map(value).collect()
}

/// Every pause that a phone heard.
pub(super) fn gaps(run: &Run<'_>, clock: Clock) -> String {
    let allowed = run.judgement.allowances;
    let longest = run.judgement.gaps.iter().map(|gap| gap.gap_ms).max().unwrap_or(0);
    let most = (allowed.relay_loss_gap_ms_max.max(longest) as f64) * 1.08;
    let mut plot = Plot::new(
        "gaps",
        "Pauses in the audio, as heard by callers and agents",
        &format!(
            "{} pauses of more than 60 ms; the longest is {longest} ms.",
            run.judgement.gaps.len()
        ),
        240.0,
    )
    .scale(clock.range(), (0.0, most));
    plot.axes(SECONDS, "pause, milliseconds", 5);
    for band in bands(run, clock) {
        plot.block("lost", band.x, (0.0, most), &band.words);
    }
    plot.limit(allowed.gap_ms_max as f64, &format!("allowed: {} ms", allowed.gap_ms_max));
    plot.limit(
        allowed.relay_loss_gap_ms_max as f64,
        &format!("allowed where the relay was killed too: {} ms", allowed.relay_loss_gap_ms_max),
    );
    plot.marks(&marks(run, clock));
    for gap in &run.judgement.gaps {
        let class = if gap.gap_ms_max > allowed.gap_ms_max { "b" } else { "a" };
        let words = format!("{}: {} ms", gap.who, gap.gap_ms);
        plot.dot(class, (clock.at(gap.at_us), gap.gap_ms as f64), &words);
    }
    plot.svg()
}

/// When callers came and when they were served: first come, first served, rises.
pub(super) fn order(run: &Run<'_>, clock: Clock) -> String {
    let lines = lines(run);
    let mut plot = Plot::new(
        "order",
        "Order of service: when callers came and when an agent was heard",
        &format!(
            "One dot for each caller; each line rises from left to right, with {} inversions.",
            run.judgement.order_inversions
        ),
        300.0,
    );
    let mut dots = Vec::new();
    for (index, caller) in run.evidence.callers.iter().enumerate() {
        let served = first_of(&run.judgement.conversations, index);
        let (Some(came), Some(served)) = (caller.promised_us(), served) else { continue };
        let line = lines.iter().position(|line| line == &caller.line).unwrap_or(0);
        dots.push((line, clock.at(came), clock.at(served.from_us), caller.report.phone.clone()));
    }
    let came = top(dots.iter().map(|dot| dot.1), 10.0);
    let served = top(dots.iter().map(|dot| dot.2), 10.0);
    plot = plot.scale((0.0, came), (0.0, served));
    plot.axes("came, seconds", "served, seconds", 6);
    for (line, came, served, who) in dots {
        let class = CLASSES.get(line).copied().unwrap_or("a");
        plot.dot(class, (came, served), &format!("{who}: waited {:.1} s", served - came));
    }
    plot.svg()
}

/// Names of the sites in the order of the plan.
pub(super) fn sites(run: &Run<'_>) -> Vec<String> {
    let sample = run.samples.last();
    sample.map(|it| it.sites.iter().map(|site| site.name.clone()).collect()).unwrap_or_default()
}

/// Names of the lines.
pub(super) fn lines(run: &Run<'_>) -> Vec<String> {
    let mut lines: Vec<String> =
        run.evidence.callers.iter().map(|caller| caller.line.clone()).collect();
    lines.sort();
    lines.dedup();
    lines
}

/// From each loss of a site's node to its return.
fn lost_times(run: &Run<'_>, clock: Clock, site: &str) -> Vec<(f64, f64)> {
    let own: Vec<&Fault> = run.evidence.faults.iter().filter(|fault| fault.site == site).collect();
    let losses = own.iter().enumerate().filter(|(_, fault)| fault.kind.loses_node());
    losses
        .map(|(index, fault)| {
            let back = own.get(index + 1).map_or(clock.end, |next| clock.at(next.made_us));
            (clock.at(fault.made_us), back)
        })
        .collect()
}

fn peak(points: &[(f64, f64)]) -> u64 {
    points.iter().map(|point| point.1 as u64).max().unwrap_or(0)
}

/// The largest value with a little air, at least `least`.
fn top(values: impl Iterator<Item = f64>, least: f64) -> f64 {
    values.fold(least, f64::max) * 1.08
}

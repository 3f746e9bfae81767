//! A run as an HTML page: one file, inline SVG, no scripts, light and dark.
//!
//! Numbers come from the verdict on the phones' reports; curves of the queue and of sites come from
//! the cluster's own status, and the page says so.

mod charts;
pub(crate) mod plot;
mod timeline;

use crate::{
    check::{
        Evidence, Judgement,
        losses::{Loss, Share},
    },
    demo::{figures, sentence},
    limits::PROBLEMS_REPORTED_MAX,
    scene::Sample,
};
use charts::Clock;
use plot::escape;

const STYLE: &str = include_str!("style.css");

/// What the page shows.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// The verdict.
    pub judgement: &'a Judgement,
    /// The phones' reports.
    pub evidence: &'a Evidence,
    /// The cluster over time.
    pub samples: &'a [Sample],
    /// What run it was.
    pub title: &'a str,
    /// More of it in a sentence or two.
    pub about: &'a str,
    /// How it ended, when more than the phones was asked.
    pub ending: Option<Ending<'a>>,
}

/// How a run ended whose machine and cluster were asked too.
#[derive(Debug, Clone, Copy)]
pub struct Ending<'a> {
    /// In a word or two.
    pub word: &'a str,
    /// Whether that is what was promised.
    pub kept: Kept,
    /// What led to it: what was proven, and what was not as it must be.
    pub findings: &'a [String],
}

/// Whether a promise was kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was.
    Yes,
    /// It was not, or nobody can say.
    No,
}

/// The page.
#[must_use]
pub fn html(run: &Run<'_>) -> String {
    let clock = Clock::of(run);
    let sections = [
        head(run),
        cards(run.judgement),
        section(
            "The queue",
            "One queue over all sites. Curves: the cluster's own status, four times a second. Shaded: \
             something is broken.",
            &charts::queue(run, clock),
            &key(&[("a", "waiting"), ("c", "talking")]),
        ),
        section(
            "Leaders and faults",
            "Who led, as the cluster said four times a second, and what was broken at which site.",
            &timeline::chart(run, clock),
            &site_key(run, "led by "),
        ),
        faults(run),
        section(
            "Every conversation",
            "One row for each agent, one bar for each conversation, as both phones heard it. A bar \
             that crosses a mark went on. Shaded: the node of these agents' site is dead.",
            &charts::conversations(run, clock),
            &site_key(run, "called in at "),
        ),
        section(
            "Load of the sites",
            "Agents who talk, site by site. A drained site runs empty and its load moves to the others; \
             the agents of a dead site (shaded) go on talking, their legs owned by other nodes.",
            &charts::load(run, clock),
            &site_key(run, ""),
        ),
        section(
            "What people heard",
            "Every pause of more than 60 ms in what a caller or an agent heard, music included; without \
             what the measuring process itself slept through on a busy machine.",
            &charts::gaps(run, clock),
            &key(&[("a", "relay alive"), ("b", "relay killed with its site")]),
        ),
        section(
            "First come, first served",
            "One dot for each caller. Lines have their own agents, so each colour rises for itself. A \
             dot clearly lower than one to its left, of the same colour, would be an order inversion; \
             a second or so is the phones' ringing, or a leg that was just being taken over.",
            &charts::order(run, clock),
            &line_key(run),
        ),
        all_figures(run.judgement),
        problems(run.judgement),
        findings(run),
        foot(),
    ];
    format!(
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>\
         <meta name='viewport' content='width=device-width, initial-scale=1'>\
         <title>{}</title><style>{STYLE}</style></head><body>{}</body></html>\n",
        escape(run.title),
        sections.concat()
    )
}

fn head(run: &Run<'_>) -> String {
    let judgement = run.judgement;
    let kept = run.ending.map_or(Kept::Yes, |ending| ending.kept);
    let is_good = judgement.is_clean() && kept == Kept::Yes;
    let class = if is_good { "verdict" } else { "verdict failed" };
    let word = run.ending.map(|ending| format!("<b>{}</b> ", escape(ending.word)));
    format!(
        "<header><h1>{}</h1><p class='soft'>{} {} calls, real SIP and RTP. Judged by the callers' and \
         agents' phones, not by the cluster.</p><p class='{class}'>{}{}</p></header>",
        escape(run.title),
        escape(run.about),
        judgement.offered,
        word.unwrap_or_default(),
        escape(&sentence(judgement))
    )
}

fn cards(judgement: &Judgement) -> String {
    let clean = |count: usize| if count == 0 { "good" } else { "bad" };
    let reinvited = judgement.losses.iter().fold(Share::default(), |sum, loss| Share {
        kept: sum.kept + loss.reinvited.kept,
        of: sum.of + loss.reinvited.of,
    });
    let alive = judgement.gap_ms_max_relay_alive;
    let is_short = alive <= judgement.allowances.gap_ms_max;
    let card = |class: &str, value: &str, words: &str| {
        format!("<div class='card'><b class='{class}'>{value}</b><span>{words}</span></div>")
    };
    let cards = [
        card("", &judgement.answered.to_string(), "callers answered by an agent"),
        card(clean(judgement.lost), &judgement.lost.to_string(), "callers lost"),
        card(
            clean(judgement.order_inversions),
            &judgement.order_inversions.to_string(),
            "order inversions",
        ),
        card(
            clean(judgement.delivered_twice),
            &judgement.delivered_twice.to_string(),
            "delivered twice",
        ),
        card(
            clean(reinvited.of - reinvited.kept),
            &format!("{} / {}", reinvited.kept, reinvited.of),
            "talking legs taken over by a survivor",
        ),
        card(
            clean(usize::from(!is_short)),
            &format!("{alive} ms"),
            "longest pause where the relay lived (gaps over 60 ms count)",
        ),
    ];
    format!("<div class='cards'>{}</div>", cards.concat())
}

/// The table of faults, whose numbers the charts' marks carry.
fn faults(run: &Run<'_>) -> String {
    let rows: String = run
        .judgement
        .losses
        .iter()
        .enumerate()
        .map(|(index, loss)| row(index + 1, loss, Clock::of(run)))
        .collect();
    format!(
        "<h2>What was done, and what it cost</h2>\
         <p class='soft'>Numbers as at the dashed marks in the charts.</p>\
         <div class='wide'><table><thead><tr><th scope='col'>fault</th><th scope='col'>at, s</th>\
         <th scope='col'>seen by the<br>cluster, ms</th><th scope='col'>conversations<br>kept</th>\
         <th scope='col'>places<br>kept</th><th scope='col'>callers' legs<br>moved</th>\
         <th scope='col'>talking legs<br>re-INVITEd</th><th scope='col'>last after,<br>ms</th>\
         <th scope='col'>longest<br>gap, ms</th><th scope='col'>next<br>delivery, s</th></tr></thead>\
         <tbody>{rows}</tbody></table></div>"
    )
}

fn row(number: usize, loss: &Loss, clock: Clock) -> String {
    let share = |Share { kept, of }: Share| match of {
        0 => "–".to_owned(),
        _ => format!("{kept} of {of}"),
    };
    let ms = |ms: Option<u64>| ms.map_or("–".to_owned(), |ms| ms.to_string());
    let seen = loss.fault.seen_us.map(|seen| seen.ms_since(loss.fault.made_us));
    let cells = [
        format!("<b>{number}</b> {}", escape(&loss.fault.to_string())),
        format!("{:.0}", clock.at(loss.fault.made_us)),
        ms(seen),
        share(loss.conversations),
        share(loss.places),
        share(loss.legs),
        share(loss.reinvited),
        ms(loss.reinvited_after_ms),
        loss.gap_ms_max.to_string(),
        loss.next_delivery_ms.map_or("–".to_owned(), |ms| format!("{:.1}", ms as f64 / 1_000.0)),
    ];
    let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
    format!("<tr>{cells}</tr>")
}

fn section(title: &str, words: &str, chart: &str, key: &str) -> String {
    format!("<h2>{title}</h2><p class='soft'>{words}</p><figure>{chart}{key}</figure>")
}

fn key(entries: &[(&str, &str)]) -> String {
    let entry = |(class, words): &(&str, &str)| {
        format!("<span><i class='{class}'></i>{}</span>", escape(words))
    };
    let entries: String = entries.iter().map(entry).collect();
    format!(
        "<div class='key'>{entries}<span><i class='dash markcolour'></i>faults, by their number</span></div>"
    )
}

fn site_key(run: &Run<'_>, before: &str) -> String {
    let words: Vec<String> =
        charts::sites(run).iter().map(|site| format!("{before}{site}")).collect();
    key(&charts::CLASSES.into_iter().zip(words.iter().map(String::as_str)).collect::<Vec<_>>())
}

fn line_key(run: &Run<'_>) -> String {
    let lines = charts::lines(run);
    let entries = ["a", "b", "c"].into_iter().zip(&lines);
    let entries: String = entries
        .map(|(class, line)| format!("<span><i class='{class}'></i>line {}</span>", escape(line)))
        .collect();
    format!("<div class='key'>{entries}</div>")
}

fn all_figures(judgement: &Judgement) -> String {
    let rows: String = figures(judgement)
        .iter()
        .map(|(name, value)| {
            format!("<tr><td>{}</td><td>{}</td></tr>", escape(name), escape(value))
        })
        .collect();
    format!("<h2>All figures</h2><div class='wide'><table><tbody>{rows}</tbody></table></div>")
}

fn problems(judgement: &Judgement) -> String {
    if judgement.is_clean() {
        return String::new();
    }
    let named = judgement.problems.iter().take(PROBLEMS_REPORTED_MAX);
    let rows: String = named.map(|it| format!("<li>{}</li>", escape(&it.to_string()))).collect();
    format!("<h2 class='bad'>Problems: {}</h2><ul>{rows}</ul>", judgement.problems.len())
}

fn findings(run: &Run<'_>) -> String {
    let Some(ending) = run.ending.filter(|ending| !ending.findings.is_empty()) else {
        return String::new();
    };
    let named = ending.findings.iter().take(PROBLEMS_REPORTED_MAX);
    let rows: String = named.map(|it| format!("<li>{}</li>", escape(it))).collect();
    format!("<h2>What cluster and machine showed</h2><ul>{rows}</ul>")
}

fn foot() -> String {
    "<footer>Every figure is computed from the phones' reports, which lie beside this page as \
     evidence.json.</footer>"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use tandem_phone::{GapKind, RunTime};

    use super::*;
    use crate::{
        check::{Allowances, fixture, judge},
        faults::FaultKind,
        scene::SiteSample,
    };

    fn sample(at_ms: u64) -> Sample {
        let site = |name: &str| SiteSample {
            name: name.to_owned(),
            state: "open".to_owned(),
            node: "up".to_owned(),
            talking: 1,
            agents: 1,
            waiting: 2,
            legs: 4,
        };
        Sample {
            at_us: RunTime::from_ms(at_ms),
            waiting: at_ms / 1_000,
            unconfirmed: 0,
            offered: 0,
            talking: 1,
            agents_ready: 0,
            longest_wait_ms: 0,
            leader: (at_ms != 4_000).then(|| if at_ms < 4_000 { "fra" } else { "mil" }.to_owned()),
            sites: vec![site("site1"), site("fra"), site("mil")],
        }
    }

    fn page(violate: impl FnOnce(&mut fixture::Run)) -> String {
        let mut run = fixture::Run::default();
        let caller = run.caller("sales", 1_000, 9_000);
        run.talk(caller, "ann", 2_000, 3_000, 9_000);
        run.fault(FaultKind::KillSite, 1, 4_000);
        run.gap(caller, 4_000, 90, 0, GapKind::Between);
        violate(&mut run);
        let judgement = judge(&run.evidence, &Allowances::default());
        let samples: Vec<Sample> = (1..9).map(|second| sample(second * 1_000)).collect();
        html(&Run {
            judgement: &judgement,
            evidence: &run.evidence,
            samples: &samples,
            title: "Tandem demo",
            about: "Three sites.",
            ending: None,
        })
    }

    // Goal: the page is whole: every chart is named for screen readers, nothing comes from
    // elsewhere, no script runs, tags are balanced.
    #[test]
    fn the_page_is_whole() {
        let page = page(|_| {});
        assert_eq!(page.matches("<svg").count(), 8);
        assert_eq!(page.matches("role='img'").count(), 8);
        assert_eq!(page.matches("<desc").count(), 8);
        for foreign in ["<script", "http://", "https://", "NaN", "inf,"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for tag in ["svg", "table", "tr", "figure", "div", "p", "h2"] {
            let opened = page.matches(&format!("<{tag}>")).count()
                + page.matches(&format!("<{tag} ")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    // Goal: a clean run says so and names no problems; a lost caller is said at the top and listed.
    #[test]
    fn the_verdict_is_said() {
        let clean = page(|_| {});
        assert!(clean.contains("Nobody was lost") && !clean.contains("Problems:"));
        let failed = page(|run| run.breaks(0, 7_000));
        assert!(failed.contains("verdict failed") && failed.contains("caller#1 had a place"));
    }

    // Goal: leaderships and faults are bands: two leaders with nobody between them, one broken site.
    #[test]
    fn leaders_and_faults() {
        let page = page(|_| {});
        assert_eq!(page.matches(" leads</title>").count(), 2);
        assert_eq!(page.matches("class='broken'").count(), 1);
    }

    // Goal: what a run showed beside the phones decides how its page looks, and stands on it.
    #[test]
    fn the_ending_is_said() {
        let judgement = judge(&Evidence::default(), &Allowances::default());
        let findings = ["fra did not start: exit code 5".to_owned()];
        let page = html(&Run {
            judgement: &judgement,
            evidence: &Evidence::default(),
            samples: &[],
            title: "A disk",
            about: "It fails.",
            ending: Some(Ending { word: "VIOLATED", kept: Kept::No, findings: &findings }),
        });
        assert!(page.contains("verdict failed") && page.contains("<b>VIOLATED</b>"));
        assert!(page.contains("exit code 5"));
    }

    // Goal: an empty run makes a page too.
    #[test]
    fn an_empty_run() {
        let judgement = judge(&Evidence::default(), &Allowances::default());
        let page = html(&Run {
            judgement: &judgement,
            evidence: &Evidence::default(),
            samples: &[],
            title: "Tandem demo",
            about: "Three sites.",
            ending: None,
        });
        assert!(!page.contains("NaN"));
    }
}

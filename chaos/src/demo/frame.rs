//! One frame of the live table, as plain lines: pure, so that it can be tested without a terminal.

use std::time::Duration;

use crate::scene::{SiteSample, Snapshot};

/// Marks of a bar and of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marks {
    /// Block characters.
    Blocks,
    /// For terminals that cannot show more.
    Ascii,
}

const CURVE_BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const CURVE_ASCII: [char; 8] = ['_', '.', '.', '-', '-', '=', '=', '#'];
/// Width of the bars of totals and of a site.
const BAR_WIDTH: usize = 30;
const SITE_BAR_WIDTH: usize = 20;
/// Lines that are there whatever happens; the rest is notes.
const FIXED_LINES: usize = 16;

/// The lines of a frame, none wider than `width`, at most `height`.
#[must_use]
pub(super) fn frame(seen: &Snapshot, width: usize, height: usize, marks: Marks) -> Vec<String> {
    let mut lines = head(seen, width);
    lines.push(String::new());
    lines.extend(totals(seen, marks));
    lines.push(String::new());
    lines.extend(sites(seen, marks));
    lines.push(String::new());
    lines.push(curve(seen, width, marks));
    lines.push(phones(seen));
    lines.push(String::new());
    let room = height.saturating_sub(FIXED_LINES);
    let from = seen.notes.len().saturating_sub(room);
    let notes =
        seen.notes.iter().skip(from).map(|note| format!(" {} {}", clock(note.at), note.text));
    lines.extend(notes);
    lines.truncate(height);
    lines.iter().map(|line| fit(line, width)).collect()
}

/// Minutes and seconds.
#[must_use]
pub(super) fn clock(at: Duration) -> String {
    let seconds = at.as_secs();
    format!("{:02}:{:02}", seconds / 60, seconds % 60)
}

/// A bar of a value; a full one is `max` or more.
fn bar(value: u64, max: u64, width: usize, marks: Marks) -> String {
    let full = usize::try_from((value * width as u64).div_ceil(max.max(1))).unwrap_or(width);
    let (on, off) = match marks {
        Marks::Blocks => ('█', '·'),
        Marks::Ascii => ('#', '.'),
    };
    (0..width).map(|place| if place < full { on } else { off }).collect()
}

fn head(seen: &Snapshot, width: usize) -> Vec<String> {
    let title = " TANDEM   three sites, one queue";
    let time = clock(seen.elapsed);
    let space = width.saturating_sub(title.chars().count() + time.len() + 1);
    let phase = &seen.phase;
    vec![
        format!("{title}{:space$}{time}", ""),
        format!(" {}/{}  {}", phase.number, seen.phases, phase.title),
        format!("      {}", phase.watch),
    ]
}

fn totals(seen: &Snapshot, marks: Marks) -> Vec<String> {
    let Some(sample) = &seen.sample else {
        return vec![" starting …".to_owned(), String::new(), String::new()];
    };
    let agents: u64 = sample.sites.iter().map(|site| site.agents).sum();
    let most = seen.queue.iter().copied().max().unwrap_or(0).max(agents).max(10);
    let row = |name: &str, value: u64, rest: String| {
        format!(" {name:<8} {value:>4}  {}  {rest}", bar(value, most, BAR_WIDTH, marks))
    };
    let wait = sample.longest_wait_ms as f64 / 1_000.0;
    vec![
        row("waiting", sample.waiting, format!("longest wait {wait:.1} s")),
        row(
            "talking",
            sample.talking,
            format!("of {agents} agents, {} ready", sample.agents_ready),
        ),
        row("ringing", sample.offered, format!("unconfirmed {}", sample.unconfirmed)),
    ]
}

fn sites(seen: &Snapshot, marks: Marks) -> Vec<String> {
    let mut lines =
        vec![" site  state     node      leader  legs  in line  agents talking".to_owned()];
    let Some(sample) = &seen.sample else { return lines };
    for site in &sample.sites {
        let leads = sample.leader.as_deref() == Some(site.name.as_str()) && site.node == "up";
        lines.push(site_line(site, leads, marks));
    }
    lines
}

fn site_line(site: &SiteSample, leads: bool, marks: Marks) -> String {
    let SiteSample { name, state, node, talking, agents, waiting, legs } = site;
    let leader = if leads { "leader" } else { "" };
    let bar = bar(*talking, *agents, SITE_BAR_WIDTH, marks);
    let node = if node == "up" { node.clone() } else { node.to_uppercase() };
    format!(
        " {name:<5} {state:<9} {node:<9} {leader:<7} {legs:>4} {waiting:>8}  {bar} {talking}/{agents}"
    )
}

/// The queue's length over time.
fn curve(seen: &Snapshot, width: usize, marks: Marks) -> String {
    let shapes = match marks {
        Marks::Blocks => CURVE_BLOCKS,
        Marks::Ascii => CURVE_ASCII,
    };
    let room = width.saturating_sub(22);
    // As many seconds to a place as it takes.
    let step = seen.queue.len().div_ceil(room.max(1)).max(1);
    let points: Vec<u64> =
        seen.queue.chunks(step).map(|chunk| chunk.iter().copied().max().unwrap_or(0)).collect();
    let most = points.iter().copied().max().unwrap_or(0);
    let shape = |value: &u64| {
        let place = (value * 7).div_ceil(most.max(1));
        shapes.get(usize::try_from(place).unwrap_or(0)).copied().unwrap_or(' ')
    };
    let line: String = points.iter().map(shape).collect();
    format!(" queue    {line}  most {most}")
}

fn phones(seen: &Snapshot) -> String {
    let pulse = &seen.pulse;
    format!(
        " phones   called {}/{}, answered {}, over {}, re-INVITEs {}, longest gap {} ms",
        pulse.placed, seen.callers, pulse.answered, pulse.over, pulse.takeovers, pulse.gap_ms_max
    )
}

fn fit(line: &str, width: usize) -> String {
    line.chars().take(width).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
pub(super) mod tests {
    use tandem_phone::RunTime;

    use super::*;
    use crate::scene::{Note, Phase, Pulse, Sample};

    pub(crate) fn busy() -> Snapshot {
        let site = |name: &str, node: &str, talking| SiteSample {
            name: name.to_owned(),
            state: "open".to_owned(),
            node: node.to_owned(),
            talking,
            agents: 10,
            waiting: 9,
            legs: 31,
        };
        Snapshot {
            elapsed: Duration::from_secs(83),
            phase: Phase {
                number: 4,
                title: "The leader's node is killed (SIGKILL): lon".to_owned(),
                watch: "watch: talking stays".to_owned(),
            },
            phases: 7,
            callers: 120,
            sample: Some(Sample {
                at_us: RunTime::from_ms(83_000),
                waiting: 27,
                unconfirmed: 0,
                offered: 3,
                talking: 27,
                agents_ready: 0,
                longest_wait_ms: 18_430,
                leader: Some("fra".to_owned()),
                sites: vec![site("lon", "lost", 9), site("fra", "up", 10), site("mil", "up", 8)],
            }),
            queue: (0..83).map(|second| second / 3).collect(),
            pulse: Pulse { placed: 90, answered: 60, over: 33, takeovers: 41, gap_ms_max: 84 },
            notes: (0..40)
                .map(|serial| Note {
                    serial,
                    at: Duration::from_secs(serial),
                    text: format!("note {serial} {}", "x".repeat(90)),
                })
                .collect(),
        }
    }

    // Goal: a frame of a busy center, and one of an empty board, fit the smallest usual terminal
    // and a larger one.
    #[test]
    fn frames_fit() {
        for seen in [busy(), Snapshot::default()] {
            for (width, height) in [(80, 24), (120, 50), (40, 10)] {
                for marks in [Marks::Blocks, Marks::Ascii] {
                    let lines = frame(&seen, width, height, marks);
                    assert!(lines.len() <= height, "{} lines", lines.len());
                    for line in &lines {
                        assert!(line.chars().count() <= width, "{line}");
                        assert!(marks == Marks::Blocks || line.is_ascii() || line.contains('…'));
                    }
                }
            }
        }
    }

    // Goal: in 80x24 everything that matters is there, and the newest note is the last line.
    #[test]
    fn a_small_terminal_shows_what_matters() {
        let lines = frame(&busy(), 80, 24, Marks::Blocks);
        let text = lines.join("\n");
        let wanted = ["01:23", "4/7", "longest wait 18.4 s", "LOST", "leader", "most 27", "10/10"];
        for part in wanted {
            assert!(text.contains(part), "{part}:\n{text}");
        }
        assert!(lines.last().unwrap().contains("note 39"), "{text}");
        assert!(lines.len() >= 22, "{} lines:\n{text}", lines.len());
    }

    // Goal: only the living leader is called so.
    #[test]
    fn a_dead_leader_does_not_lead() {
        let mut seen = busy();
        let leads = |seen: &Snapshot| {
            frame(seen, 80, 24, Marks::Blocks)
                .iter()
                .filter(|line| line.contains("leader "))
                .count()
        };
        assert_eq!(leads(&seen), 2, "the head of the table and fra");
        seen.sample.as_mut().unwrap().leader = Some("lon".to_owned());
        assert_eq!(leads(&seen), 1);
    }

    // Goal: bars are empty at 0, full at the most and beyond, and never empty above 0.
    #[test]
    fn bars() {
        let full = |value| bar(value, 10, 5, Marks::Ascii).matches('#').count();
        assert_eq!((full(0), full(1), full(10), full(11), full(5)), (0, 1, 5, 5, 3));
        assert_eq!(bar(1, 0, 3, Marks::Ascii), "###", "more than nobody");
    }
}

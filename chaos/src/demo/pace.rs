//! The demo's time table: who calls when, talks for how long, and when the faults come.

use std::time::Duration;

use super::options::Options;
use crate::scene::{CallerPlan, Dice, LINES};

/// The time table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pace {
    /// Callers in the order of their calls.
    pub(super) callers: Vec<CallerPlan>,
    /// From an INVITE to the answer of an agent's phone.
    pub(super) ring: Duration,
    /// Every fourth call of an agent is ended by the agent, after this time.
    pub(super) agent_talk: Duration,
    /// A site is drained.
    pub(super) drain_at: Duration,
    /// It is opened again.
    pub(super) reopen_at: Duration,
    /// The leader's node is killed.
    pub(super) kill_leader_at: Duration,
    /// It is started again.
    pub(super) restart_leader_at: Duration,
    /// A whole site is killed.
    pub(super) kill_site_at: Duration,
    /// It is started again.
    pub(super) restart_site_at: Duration,
    /// Everybody must have been served by then.
    pub(super) end_max: Duration,
}

impl Pace {
    /// The time table of a demo. The same options give the same one.
    #[must_use]
    pub(super) fn new(options: &Options) -> Self {
        let seconds = Duration::from_secs;
        // A caller's talk times callers per agent is the length of the day; faults lie within.
        let (talk_ms, at) = if options.quick {
            (9_000..13_000, [9, 14, 18, 26, 33, 42])
        } else {
            (26_000..36_000, [28, 50, 62, 76, 94, 112])
        };
        let mut dice = Dice(options.seed);
        let count = options.callers as usize;
        // Six in ten come fast, so that a queue builds up; the rest comes slower than it drains.
        let fast = count * 6 / 10;
        let (rush, calm) = if options.quick { (10.0, 30.0) } else { (26.0, 74.0) };
        let callers = (0..count).map(|index| {
            let share = |nth: usize, of: usize| (nth as f64 + 0.5) / of.max(1) as f64;
            let at_s = if index < fast {
                rush * share(index, fast)
            } else {
                rush + calm * share(index - fast, count - fast)
            };
            CallerPlan {
                at: Duration::from_secs_f64(at_s),
                site: index % 3,
                line: dice.below(LINES.len() as u64) as usize,
                talk: Duration::from_millis(
                    talk_ms.start + dice.below(talk_ms.end - talk_ms.start),
                ),
                patience: (index % 30 == 29).then(|| seconds(at[0] * 6 / 10)),
            }
        });
        let callers = callers.collect();
        let [drain, reopen, kill_leader, restart_leader, kill_site, restart_site] = at.map(seconds);
        Self {
            callers,
            ring: Duration::from_millis(1_200),
            agent_talk: Duration::from_millis(talk_ms.start * 8 / 10),
            drain_at: drain,
            reopen_at: reopen,
            kill_leader_at: kill_leader,
            restart_leader_at: restart_leader,
            kill_site_at: kill_site,
            restart_site_at: restart_site,
            end_max: restart_site + seconds(if options.quick { 75 } else { 150 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn pace(words: &[&str]) -> Pace {
        Pace::new(&Cli::parse_from([&["demo"], words].concat()).options)
    }

    // Goal: the same seed gives the same day, another one another; calls come in order, at all
    // sites and on all lines.
    #[test]
    fn a_seed_decides_the_day() {
        assert_eq!(pace(&[]), pace(&[]));
        assert_ne!(pace(&[]), pace(&["--seed", "2"]));
        let day = pace(&[]);
        assert_eq!(day.callers.len(), 120);
        assert!(day.callers.is_sorted_by_key(|caller| caller.at));
        for site in 0..3 {
            assert_eq!(day.callers.iter().filter(|caller| caller.site == site).count(), 40);
        }
        for line in 0..LINES.len() {
            assert!(day.callers.iter().filter(|caller| caller.line == line).count() > 30);
        }
    }

    // Goal: in both versions there is work left when the last site comes back, or the faults would
    // hit an empty center.
    #[test]
    fn faults_hit_a_busy_center() {
        for (words, agents) in
            [(&[][..], 30.0), (&["--quick", "--callers", "24", "--agents", "6"][..], 6.0)]
        {
            let day = pace(words);
            let work: f64 = day.callers.iter().map(|caller| caller.talk.as_secs_f64()).sum();
            assert!(work / agents > day.kill_site_at.as_secs_f64(), "{words:?}");
            assert!(day.callers[0].at < day.drain_at && day.reopen_at < day.kill_leader_at);
            assert!(day.restart_leader_at < day.kill_site_at && day.restart_site_at < day.end_max);
        }
    }
}

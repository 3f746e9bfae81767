//! How many agents a load needs: Erlang C, the rule by which centers are staffed.
//!
//! It takes patience for endless and the load for known and steady; what is different from that is what
//! the day shows.

use serde::Serialize;
use tandem_routing::time::Millis;

use super::{Habits, draw::exp};

/// What the staff is planned for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Target {
    /// Of a hundred callers, so many are to be answered
    pub percent: u32,
    /// within this time, ringing included;
    pub within: Millis,
    /// and of a hundred minutes at work, no agent is to handle calls for more than this.
    pub busy_percent_max: u32,
}

impl Target {
    /// 80 % within 20 s, as is usual, and 90 % occupancy: plans for large groups keep below 85 to 90 %, because
    /// Erlang C alone would have five hundred agents talk for 98 % of their time.
    pub const USUAL: Self = Self { percent: 80, within: Millis(20_000), busy_percent_max: 90 };
}

/// Share of callers who must wait when `agents` serve a load (in erlangs: agents it keeps busy) for ever.
#[must_use]
pub fn must_wait(agents: u32, load: f64) -> f64 {
    let free = f64::from(agents) - load;
    if free <= 0.0 {
        return 1.0;
    }
    // Erlang B by its recursion, then C from it.
    let lost = (1..=agents).fold(1.0, |b, n| load * b / (f64::from(n) + load * b));
    f64::from(agents) * lost / (f64::from(agents) - load * (1.0 - lost))
}

/// Share of callers who wait in line for at most this long.
#[must_use]
pub fn served_within(agents: u32, load: f64, handling: Millis, wait: Millis) -> f64 {
    let free = f64::from(agents) - load;
    if free <= 0.0 {
        return 0.0;
    }
    let rounds = wait.0 as f64 / handling.0 as f64;
    1.0 - must_wait(agents, load) * exp(-free * rounds)
}

/// The fewest agents who meet the target with this load.
#[must_use]
pub fn agents_for(load: f64, habits: &Habits, target: &Target) -> u32 {
    let at_least = load * 100.0 / f64::from(target.busy_percent_max);
    let fewest = at_least.max(1.0) as u32;
    (fewest..).find(|agents| is_enough(*agents, load, habits, target)).unwrap_or(fewest)
}

fn is_enough(agents: u32, load: f64, habits: &Habits, target: &Target) -> bool {
    // The phone rings within the time too.
    let in_line = Millis(target.within.0.saturating_sub(habits.answer().0));
    let served = served_within(agents, load, habits.handling(), in_line);
    let busiest = f64::from(agents) * f64::from(target.busy_percent_max);
    load * 100.0 <= busiest && served * 100.0 >= f64::from(target.percent)
}

/// The largest load for which so many agents are enough.
#[must_use]
pub fn load_of(agents: u32, habits: &Habits, target: &Target) -> f64 {
    let (mut low, mut high) = (0.0, f64::from(agents));
    // Each step halves what is not known.
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if is_enough(agents, middle, habits, target) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: Erlang C as tables have it: one agent waits with the load's probability; two by the closed form;
    // and a published pair (50 agents, 48 erlangs: nearly half of the callers wait).
    #[test]
    fn erlang_c() {
        assert!((must_wait(1, 0.7) - 0.7).abs() < 1e-12);
        let two = 0.5 * 1.5 * 1.5 / (1.0 - 0.75) / (1.0 + 1.5 + 0.5 * 1.5 * 1.5 / 0.25);
        assert!((must_wait(2, 1.5) - two).abs() < 1e-12);
        assert_eq!(must_wait(5, 5.0), 1.0);
        // Mean wait = must_wait / free agents: 20.8 s of a minute's service (Mandelbaum, Zeltyn 2005).
        let wait = must_wait(50, 48.0) / 2.0 * 60.0;
        assert!((wait - 20.8).abs() < 0.05, "{wait}");
    }

    // Goal: the number of agents is the smallest that does, and the load of a number of agents needs just them.
    #[test]
    fn as_many_as_needed() {
        let (habits, target) = (Habits::USUAL, Target::USUAL);
        for agents in [1, 2, 10, 50, 500] {
            let load = load_of(agents, &habits, &target);
            assert_eq!(agents_for(load, &habits, &target), agents);
            assert_eq!(agents_for(load * 1.001, &habits, &target), agents + 1, "of {agents}");
        }
        assert_eq!(agents_for(0.0, &habits, &target), 1, "somebody is always there");
        let ceiling = Target { busy_percent_max: 100, ..target };
        assert!(load_of(500, &habits, &ceiling) > 1.05 * load_of(500, &habits, &target));
    }
}

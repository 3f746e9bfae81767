//! Writes down what decisions take.

use std::time::{Duration, Instant};

use tandem_bench::{
    center::{Center, GROUP},
    clock::cpu_time,
};
use tandem_routing::{
    command::{Command, Event},
    limits::APPLY_WORK_MAX,
    state::State,
    time::ClusterTime,
};

/// One entry of a case.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// The case.
    pub(crate) what: &'static str,
    /// Nanoseconds of each decision, or of each step of bulk work.
    pub(crate) decisions: Vec<f64>,
    /// Nanoseconds of the whole entry.
    pub(crate) entry: f64,
    /// Steps of bulk work that it used.
    pub(crate) steps: usize,
}

impl Sample {
    /// Takes the lower of each time.
    pub(crate) fn lower(&mut self, other: &Self) {
        self.entry = self.entry.min(other.entry);
        let both = self.decisions.iter_mut().zip(&other.decisions);
        both.for_each(|(least, now)| *least = least.min(*now));
    }
}

/// Everything that a case did, in order.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) samples: Vec<Sample>,
    skip: usize,
}

/// What an entry's decisions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Each act is one.
    Acts,
    /// Each step is one.
    Steps,
}

impl Kind {
    /// The clock that this is measured by: a single act with the one that costs least to read; bulk work, which
    /// is not always lived more than once, with the one that runs for this thread alone.
    fn now(self, start: Instant) -> Duration {
        match self {
            Self::Acts => start.elapsed(),
            Self::Steps => cpu_time(),
        }
    }
}

impl Log {
    /// Does not write down the next so many entries: after a copy of a whole center caches are cold, and the
    /// allocator has just taken the last one back.
    pub(crate) fn skip(&mut self, entries: usize) {
        self.skip = entries;
    }

    /// An entry of one command.
    pub(crate) fn one(&mut self, what: &'static str, center: &mut Center, command: &Command) {
        self.acts(what, center, [command], apply);
    }

    /// An entry of one command that does bulk work.
    pub(crate) fn bulk(&mut self, what: &'static str, center: &mut Center, command: &Command) {
        self.entry(what, Kind::Steps, center, [command], apply);
    }

    /// An entry in which each of these things is done, each a decision.
    pub(crate) fn acts<T>(
        &mut self,
        what: &'static str,
        center: &mut Center,
        things: impl IntoIterator<Item = T>,
        act: impl Fn(&mut State, T, &mut Vec<Event>),
    ) {
        self.entry(what, Kind::Acts, center, things, act);
    }

    fn entry<T>(
        &mut self,
        what: &'static str,
        kind: Kind,
        center: &mut Center,
        things: impl IntoIterator<Item = T>,
        act: impl Fn(&mut State, T, &mut Vec<Event>),
    ) {
        center.begin();
        center.state.begin_entry(ClusterTime(center.time));
        let mut decisions = Vec::new();
        let (start, mut entry) = (Instant::now(), 0.0);
        for thing in things {
            let began = kind.now(start);
            center.state.begin_command();
            act(&mut center.state, thing, &mut center.events);
            center.state.commit();
            let took = (kind.now(start) - began).as_secs_f64() * 1e9;
            decisions.push(took);
            entry += took;
        }
        // Whatever the entry has left is what it did not use.
        let left = std::iter::from_fn(|| center.state.take_step().then_some(())).count();
        let steps = APPLY_WORK_MAX - left;
        if kind == Kind::Steps {
            decisions = vec![entry / steps.max(1) as f64];
        }
        let began = kind.now(start);
        center.state.take_changes(GROUP, &mut center.digest, &mut center.changes);
        entry += (kind.now(start) - began).as_secs_f64() * 1e9;
        center.note();
        if self.skip > 0 {
            self.skip -= 1;
            return;
        }
        self.samples.push(Sample { what, decisions, entry, steps });
    }
}

fn apply(state: &mut State, command: &Command, events: &mut Vec<Event>) {
    if let Err(rejection) = state.apply(GROUP, command, events) {
        panic!("{command:?} was refused: {rejection}");
    }
}

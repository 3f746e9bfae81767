//! The two ways in which a center lives: agents wait for callers, or callers for agents.

use std::time::Duration;

use tandem_bench::{
    center::{BATCH, Center},
    clock::per,
    plan::Plan,
};

/// Blocks that are measured; the least counts.
pub(crate) const BLOCKS: usize = 15;
/// Rounds of a block: each an entry of callers, one of answers, one of ends.
const ROUNDS: usize = 50;

/// Who waits for whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Regime {
    /// Half of the agents are free: who calls in is assigned at once.
    Idle,
    /// Everybody talks and so many contacts wait: who ends a conversation takes the next at once.
    Saturated(usize),
}

/// What a command costs, its part of the entry's rows and digest included, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    pub(crate) enqueue: f64,
    pub(crate) accept: f64,
    pub(crate) end: f64,
}

impl Cost {
    /// The one whose pair costs less.
    fn lower(self, other: Self) -> Self {
        if other.pair() < self.pair() { other } else { self }
    }

    /// Assignment and release: a caller comes in, and a conversation ends; one of both assigns.
    pub(crate) fn pair(&self) -> f64 {
        self.enqueue + self.end
    }

    /// Everything that a contact needs: it comes in, an agent answers, it ends.
    pub(crate) fn contact(&self) -> f64 {
        self.pair() + self.accept
    }
}

/// A center that lives in this way.
pub(crate) fn center(plan: &Plan, regime: Regime) -> Center {
    let mut center = Center::new(plan);
    match regime {
        Regime::Idle => center.talk(plan.size.agents / 2),
        Regime::Saturated(waiting) => center.queue_up(waiting),
    }
    center
}

/// The least cost of several blocks in a center that lives in this way. One center at a time: a heap in which
/// others stand too is slower for all.
pub(crate) fn measure(plan: &Plan, regime: Regime) -> Cost {
    let mut center = center(plan, regime);
    let first = block(&mut center);
    (1..BLOCKS).fold(first, |least, _| least.lower(block(&mut center)))
}

fn block(center: &mut Center) -> Cost {
    let [mut enqueue, mut accept, mut end] = [Duration::ZERO; 3];
    for _ in 0..ROUNDS {
        // Ends first: at the limit of contacts there is room for new ones only then.
        end += center.ends(BATCH);
        enqueue += center.calls(BATCH);
        accept += center.accepts();
    }
    let each = |time| per(time, ROUNDS * BATCH);
    Cost { enqueue: each(enqueue), accept: each(accept), end: each(end) }
}

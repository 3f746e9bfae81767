//! Rebalance plans: a change of how load is spread over sites, in steps, that can be undone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AgentId, Ordinal, QueueId, SiteId, TenantId},
    time::{ClusterTime, Millis},
};

/// A plan that is being carried out, or was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The command that began it.
    pub id: Ordinal,
    /// Owner of the agents that it moves.
    pub tenant: TenantId,
    /// When.
    pub began: ClusterTime,
    /// What it makes of sites' weights.
    pub weights: Vec<WeightChange>,
    /// What it makes of agents' queues.
    pub agents: Vec<MembershipChange>,
    /// In how many steps.
    pub steps: u8,
    /// Time between two steps.
    pub every: Millis,
    /// Steps that were taken, and not taken back.
    pub taken: u8,
    /// Forward, or back.
    pub direction: Direction,
    /// When the next step is due; `None`: it is done.
    pub next_at: Option<ClusterTime>,
}

/// What a plan makes of one site's weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct WeightChange {
    /// Which site.
    pub site: SiteId,
    /// Its weight before.
    pub from: u16,
    /// Its weight behind it.
    pub to: u16,
}

/// What a plan makes of one agent's queues.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipChange {
    /// Who.
    pub agent: AgentId,
    /// Queues that they did not serve before.
    pub join: BTreeSet<QueueId>,
    /// Queues that they serve no more.
    pub leave: BTreeSet<QueueId>,
}

/// Which way a plan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    /// Towards what it asks for.
    Forward,
    /// Back to what was before.
    Back,
}

impl Plan {
    /// True while steps are to come.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.next_at.is_some()
    }

    /// Takes the next step that is due; false when there is none.
    pub(crate) fn step(&mut self, now: ClusterTime) -> bool {
        let (taken, left) = match self.direction {
            Direction::Forward if self.taken < self.steps => {
                (self.taken + 1, self.steps - self.taken - 1)
            }
            Direction::Back if self.taken > 0 => (self.taken - 1, self.taken - 1),
            _ => {
                self.next_at = None;
                return false;
            }
        };
        self.taken = taken;
        self.next_at = (left > 0).then(|| now + self.every);
        true
    }

    /// A site's weight after the steps that were taken: on the way from one to the other, rounded towards
    /// where it came from.
    #[must_use]
    pub fn weight(&self, change: &WeightChange) -> u16 {
        let (from, to) = (i32::from(change.from), i32::from(change.to));
        let now = from + (to - from) * i32::from(self.taken) / i32::from(self.steps.max(1));
        u16::try_from(now).unwrap_or(change.from)
    }

    /// How many of its agents have moved after the steps that were taken.
    #[must_use]
    pub fn agents_moved(&self) -> usize {
        self.agents.len() * usize::from(self.taken) / usize::from(self.steps.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a plan goes forward step by step to what it asks for, and back to exactly what was before.
    #[test]
    fn there_and_back() {
        let change = WeightChange { site: SiteId(1), from: 100, to: 33 };
        let agent = |n| MembershipChange {
            agent: AgentId(n),
            join: BTreeSet::new(),
            leave: BTreeSet::new(),
        };
        let mut plan = Plan {
            id: Ordinal(1),
            tenant: TenantId::DEFAULT,
            began: ClusterTime(0),
            weights: vec![change],
            agents: (0..5).map(agent).collect(),
            steps: 3,
            every: Millis(10),
            taken: 0,
            direction: Direction::Forward,
            next_at: Some(ClusterTime(0)),
        };
        let mut seen = Vec::new();
        let mut now = ClusterTime(0);
        while plan.step(now) {
            seen.push((plan.weight(&change), plan.agents_moved()));
            if let Some(next) = plan.next_at {
                now = next;
            } else {
                break;
            }
        }
        assert_eq!(seen, [(78, 1), (56, 3), (33, 5)]);
        assert_eq!((plan.is_running(), now), (false, ClusterTime(20)));
        plan.direction = Direction::Back;
        seen.clear();
        while plan.step(now) {
            seen.push((plan.weight(&change), plan.agents_moved()));
        }
        assert_eq!(seen, [(56, 3), (78, 1), (100, 0)]);
        assert!(!plan.is_running() && !plan.step(now));
    }
}

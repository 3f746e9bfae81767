//! The ready agents of one site in one order.
//!
//! A sorted sequence of leaves of up to 64 agents each, as the leaves of a B-tree, with the agents' levels
//! as [`Planes`]: the first agent who passes a filter is found 64 at a time and in order, whoever stands
//! before them. Taking an agent out leaves an empty slot; its key stays as a mark of the order until the
//! slot is used again.

use super::{
    filter::{Filter, Slots},
    planes::{Column, Planes},
};
use crate::{
    ids::{AgentId, SiteId},
    time::ClusterTime,
};

/// Order among ready agents: the strategy's rank, then the longest idle, then the lower id.
pub(crate) type ReadyKey = (u64, ClusterTime, AgentId);

const SLOTS: usize = 64;
/// Two neighbours that together hold no more agents than this become one leaf.
const MERGED: u32 = 24;

#[derive(Debug, Clone, Default)]
pub(crate) struct Board {
    leaves: Vec<Leaf>,
    len: usize,
}

#[derive(Debug, Clone)]
struct Leaf {
    /// Keys in their order, those of empty slots too.
    keys: Vec<ReadyKey>,
    /// The slots of agents who are there.
    live: u64,
    planes: Planes,
}

/// Which agents count as the better fit, where the skills that are asked for decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Highest,
    Lowest,
}

impl Board {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Who comes first.
    pub(crate) fn first(&self) -> Option<ReadyKey> {
        self.leaves.first()?.first()
    }

    /// All agents in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ReadyKey> {
        self.leaves.iter().flat_map(|leaf| slots(leaf.live).map(|slot| leaf.keys[slot as usize]))
    }

    /// Takes an agent in, with their levels.
    pub(crate) fn insert(&mut self, key: ReadyKey, levels: &[(Column, u8)]) {
        self.len += 1;
        let last = self.leaves.len().saturating_sub(1);
        let at = self.leaf_of(&key).min(last);
        let Some(leaf) = self.leaves.get_mut(at) else {
            self.leaves.push(Leaf::of(key, levels));
            return;
        };
        if leaf.insert(key, levels) {
            return;
        }
        // No slot is free. Who comes last (the rule where the longest idle is asked) begins a leaf.
        if at == last && leaf.keys.last().is_some_and(|last| *last < key) {
            self.leaves.push(Leaf::of(key, levels));
            return;
        }
        let mut upper = leaf.split_off();
        let half =
            if upper.keys.first().is_some_and(|first| *first < key) { &mut upper } else { leaf };
        let taken = half.insert(key, levels);
        debug_assert!(taken, "a half is never full");
        self.leaves.insert(at + 1, upper);
    }

    /// Takes an agent out; `levels` tells those of anybody.
    pub(crate) fn remove<'a>(
        &mut self,
        key: &ReadyKey,
        levels: impl Fn(AgentId) -> &'a [(Column, u8)],
    ) {
        let at = self.leaf_of(key);
        let Some(leaf) = self.leaves.get_mut(at) else { return };
        if !leaf.remove(key, levels(key.2)) {
            return;
        }
        self.len -= 1;
        if leaf.live == 0 {
            self.leaves.remove(at);
            return;
        }
        let agents =
            |at: usize| self.leaves.get(at).map_or(SLOTS as u32, |leaf| leaf.live.count_ones());
        let lower =
            if agents(at) + agents(at + 1) <= MERGED { Some(at) } else { at.checked_sub(1) };
        if let Some(lower) = lower.filter(|lower| agents(*lower) + agents(*lower + 1) <= MERGED) {
            self.merge(lower, levels);
        }
    }

    fn merge<'a>(&mut self, lower: usize, levels: impl Fn(AgentId) -> &'a [(Column, u8)]) {
        let upper = self.leaves.remove(lower + 1);
        let Some(leaf) = self.leaves.get_mut(lower) else { return };
        let keys = |leaf: &Leaf| slots(leaf.live).map(|slot| leaf.keys[slot as usize]).collect();
        let (mut both, rest): (Vec<ReadyKey>, Vec<ReadyKey>) = (keys(leaf), keys(&upper));
        both.extend(rest);
        *leaf = Leaf::empty();
        for key in both {
            leaf.push(key, levels(key.2));
        }
    }

    /// The first agent after `after` who passes a filter, before `before`.
    pub(crate) fn first_to_pass(
        &self,
        filter: &Filter,
        site: SiteId,
        after: Option<ReadyKey>,
        before: Option<ReadyKey>,
    ) -> Option<ReadyKey> {
        let begin = after.map_or(0, |key| self.leaf_of(&key));
        for leaf in self.leaves.get(begin..)? {
            let first = leaf.first()?;
            if before.is_some_and(|before| before <= first) {
                return None;
            }
            let mut mask = leaf.live & leaf.pass(filter, site);
            if let Some(after) = after {
                mask &= !leaf.up_to(&after);
            }
            if mask != 0 {
                let key = leaf.keys[mask.trailing_zeros() as usize];
                return before.is_none_or(|before| key < before).then_some(key);
            }
        }
        None
    }

    /// The best fit among those who pass a filter, and come after `after` in this order: the fit, then the
    /// order of the board. The rank of the key says the fit.
    pub(crate) fn best_fit(
        &self,
        filter: &Filter,
        site: SiteId,
        fit: Fit,
        after: Option<ReadyKey>,
    ) -> Option<ReadyKey> {
        let mut best: Option<ReadyKey> = None;
        for leaf in &self.leaves {
            let mut mask = leaf.live & leaf.pass(filter, site);
            if mask == 0 {
                continue;
            }
            let sums = sums(&leaf.planes, &filter.asked);
            while mask != 0 {
                let (chosen, sum) = extreme(mask, &sums, fit);
                let rank = match fit {
                    Fit::Highest => u64::MAX - sum,
                    Fit::Lowest => sum,
                };
                let fresh = slots(chosen)
                    .map(|slot| {
                        let (_, idle, agent) = leaf.keys[slot as usize];
                        (rank, idle, agent)
                    })
                    .find(|key| after.is_none_or(|after| *key > after));
                if let Some(key) = fresh {
                    best = Some(best.map_or(key, |best| best.min(key)));
                    break;
                }
                mask &= !chosen;
            }
        }
        best
    }

    /// The first leaf whose last key is not below this one.
    fn leaf_of(&self, key: &ReadyKey) -> usize {
        self.leaves.partition_point(|leaf| leaf.keys.last().is_some_and(|last| last < key))
    }
}

impl Leaf {
    fn empty() -> Self {
        Self { keys: Vec::with_capacity(SLOTS), live: 0, planes: Planes::default() }
    }

    fn of(key: ReadyKey, levels: &[(Column, u8)]) -> Self {
        let mut leaf = Self::empty();
        leaf.push(key, levels);
        leaf
    }

    fn pass(&self, filter: &Filter, site: SiteId) -> u64 {
        let find = |agent: AgentId| {
            let slots = self.keys.iter().enumerate();
            slots.fold(0, |mask, (at, (.., other))| mask | u64::from(*other == agent) << at)
        };
        filter.pass(Slots { planes: &self.planes, site, find })
    }

    fn first(&self) -> Option<ReadyKey> {
        self.keys.get(self.live.trailing_zeros() as usize).copied()
    }

    /// The slots of keys that are not after this one.
    fn up_to(&self, key: &ReadyKey) -> u64 {
        match self.keys.partition_point(|other| other <= key) {
            SLOTS => !0,
            count => (1 << count) - 1,
        }
    }

    fn push(&mut self, key: ReadyKey, levels: &[(Column, u8)]) {
        self.keys.push(key);
        self.fill(self.keys.len() - 1, levels);
    }

    fn fill(&mut self, slot: usize, levels: &[(Column, u8)]) {
        let slot = slot as u32;
        self.live |= 1 << slot;
        for (column, level) in levels {
            self.planes.set(*column, slot, *level);
        }
    }

    /// False when no slot is free.
    fn insert(&mut self, key: ReadyKey, levels: &[(Column, u8)]) -> bool {
        let at = self.keys.partition_point(|other| *other < key);
        if at == self.keys.len() && at < SLOTS {
            self.push(key, levels);
            return true;
        }
        let free = !self.live;
        if self.keys.get(at) == Some(&key) && free >> at & 1 == 1 {
            // They are back where they stood.
            self.fill(at, levels);
            return true;
        }
        let above = if at < SLOTS { free >> at << at } else { 0 };
        if above != 0 {
            let hole = above.trailing_zeros() as usize;
            if hole == self.keys.len() {
                self.keys.push(key);
            }
            self.keys.copy_within(at..hole, at + 1);
            self.planes.move_up(at as u32, hole as u32);
            let moved = self.live & bits(at, hole);
            self.live = self.live & !bits(at, hole) | moved << 1;
            self.keys[at] = key;
            self.fill(at, levels);
            return true;
        }
        if free == 0 {
            return false;
        }
        let hole = 63 - free.leading_zeros() as usize;
        self.keys.copy_within(hole + 1..at, hole);
        self.planes.move_down(hole as u32, at as u32 - 1);
        let moved = self.live & bits(hole + 1, at);
        self.live = self.live & !bits(hole + 1, at) | moved >> 1;
        self.keys[at - 1] = key;
        self.fill(at - 1, levels);
        true
    }

    fn remove(&mut self, key: &ReadyKey, levels: &[(Column, u8)]) -> bool {
        let Ok(slot) = self.keys.binary_search(key) else { return false };
        let slot = slot as u32;
        if self.live >> slot & 1 == 0 {
            return false;
        }
        self.live &= !(1 << slot);
        for (column, _) in levels {
            self.planes.clear(*column, slot);
        }
        true
    }

    fn split_off(&mut self) -> Self {
        let keys = self.keys.split_off(SLOTS / 2);
        let upper = Self { keys, live: self.live >> 32, planes: self.planes.split_off() };
        self.live &= u64::from(u32::MAX);
        upper
    }
}

/// Bits `from..to` with `to` at most 64.
fn bits(from: usize, to: usize) -> u64 {
    let below = |at: usize| if at >= SLOTS { !0 } else { (1_u64 << at) - 1 };
    below(to) & !below(from)
}

fn slots(mut mask: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        (mask != 0).then(|| {
            let slot = mask.trailing_zeros();
            mask &= mask - 1;
            slot
        })
    })
}

/// Binary digits of sums: 32 terms of level 10 at most.
type Sums = [u64; 9];

/// The sum of each slot's levels in these columns, added up digit by digit in all slots at once.
fn sums(planes: &Planes, columns: &[Column]) -> Sums {
    let mut sums = [0; 9];
    for column in columns {
        let digits = planes.digits(*column);
        let mut carry = 0;
        for (at, sum) in sums.iter_mut().enumerate() {
            let digit = digits.get(at).copied().unwrap_or(0);
            let both = *sum ^ digit;
            let next = *sum & digit | both & carry;
            *sum = both ^ carry;
            carry = next;
        }
    }
    sums
}

/// The slots of a mask that have the highest or the lowest sum, and that sum.
fn extreme(mask: u64, sums: &Sums, fit: Fit) -> (u64, u64) {
    let (mut chosen, mut sum) = (mask, 0);
    for (at, digit) in sums.iter().enumerate().rev() {
        let one = chosen & digit;
        let zero = chosen & !digit;
        let takes_one = match fit {
            Fit::Highest => one != 0,
            Fit::Lowest => zero == 0,
        };
        chosen = if takes_one { one } else { zero };
        sum |= u64::from(takes_one) << at;
    }
    (chosen, sum)
}

#[cfg(test)]
#[path = "board_tests.rs"]
mod board_tests;

//! The highest ownership epoch of legs that have no session (invariant S2).
//!
//! A session knows its own epoch. When it is removed, or when a higher epoch was seen without a
//! session, the number is kept here, so that a node that was fenced cannot bring the leg back.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    ids::{LegEpoch, LegId},
    limits::FENCES_MAX,
};

/// Bounded memory of epochs. When it is full, the leg that was noted first is forgotten.
#[derive(Debug)]
pub struct EpochFence {
    highest: BTreeMap<LegId, (LegEpoch, u64)>,
    order: VecDeque<(LegId, u64)>,
    notes: u64,
    capacity: usize,
}

/// Answer of the fence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FenceVerdict {
    /// No higher epoch is known.
    Current,
    /// A higher epoch owns the leg.
    Fenced,
}

impl Default for EpochFence {
    fn default() -> Self {
        Self::with_capacity(FENCES_MAX)
    }
}

impl EpochFence {
    /// A memory of at most `capacity` legs.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { highest: BTreeMap::new(), order: VecDeque::new(), notes: 0, capacity }
    }

    /// Judges a call for `leg` and notes its epoch when it is the highest so far.
    pub fn admit(&mut self, leg: LegId, epoch: LegEpoch) -> FenceVerdict {
        let known = self.highest.get(&leg).map(|(epoch, _)| *epoch);
        if known.is_some_and(|known| epoch < known) {
            return FenceVerdict::Fenced;
        }
        self.note(leg, epoch);
        FenceVerdict::Current
    }

    /// Legs that are remembered.
    pub fn len(&self) -> usize {
        self.highest.len()
    }

    /// True when no leg is remembered.
    pub fn is_empty(&self) -> bool {
        self.highest.is_empty()
    }

    fn note(&mut self, leg: LegId, epoch: LegEpoch) {
        self.notes += 1;
        self.highest.insert(leg, (epoch, self.notes));
        self.order.push_back((leg, self.notes));
        self.trim();
    }

    /// Drops what is too much: first outdated places in the order, then the oldest legs.
    fn trim(&mut self) {
        while let Some(&(leg, note)) = self.order.front() {
            let outdated = self.highest.get(&leg).is_none_or(|(_, newest)| *newest != note);
            if !outdated && self.highest.len() <= self.capacity {
                // Outdated places behind a live one are bounded by rebuilding the order.
                if self.order.len() > self.capacity.saturating_mul(2).max(16) {
                    self.rebuild_order();
                }
                return;
            }
            if !outdated {
                self.highest.remove(&leg);
            }
            self.order.pop_front();
        }
    }

    fn rebuild_order(&mut self) {
        let highest = &self.highest;
        self.order.retain(|(leg, note)| highest.get(leg).is_some_and(|(_, newest)| newest == note));
    }
}

#[cfg(test)]
mod tests {
    use super::{FenceVerdict::*, *};

    fn leg(ordinal: u64) -> LegId {
        LegId::new(0, ordinal).expect("test leg")
    }

    // Goal: a lower epoch is refused, the same and a higher one pass, legs do not mix.
    #[test]
    fn lower_epochs_are_fenced() {
        let mut fence = EpochFence::default();
        for (ordinal, epoch, verdict) in [
            (1, 5, Current),
            (1, 4, Fenced),
            (1, 5, Current),
            (2, 1, Current),
            (1, 9, Current),
            (1, 8, Fenced),
        ] {
            assert_eq!(fence.admit(leg(ordinal), LegEpoch(epoch)), verdict, "{ordinal} {epoch}");
        }
    }

    // Goal: memory stays bounded, and the leg that was noted last is forgotten last.
    #[test]
    fn memory_is_bounded() {
        let mut fence = EpochFence::with_capacity(3);
        for round in 0..1_000 {
            assert_eq!(fence.admit(leg(7), LegEpoch(round)), Current);
        }
        assert!(fence.order.len() <= 16, "{}", fence.order.len());
        for ordinal in [1, 2] {
            assert_eq!(fence.admit(leg(ordinal), LegEpoch(5)), Current);
        }
        assert_eq!(fence.admit(leg(7), LegEpoch(998)), Fenced);
        assert_eq!(fence.admit(leg(3), LegEpoch(5)), Current); // forgets leg 7, noted first
        assert_eq!(fence.len(), 3);
        assert_eq!(fence.admit(leg(1), LegEpoch(4)), Fenced);
        assert_eq!(fence.admit(leg(7), LegEpoch(1)), Current);
        assert_eq!(fence.len(), 3);
    }
}

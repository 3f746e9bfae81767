//! [`NonceCounts`]: which nonce counts were used, so that a recorded request cannot be sent again (RFC
//! 7616 section 3.4, `nc`).

use super::nonce::{NonceId, WallSeconds};
use crate::limits::NONCES_REMEMBERED_MAX;
use std::collections::BTreeMap;

/// Bounded memory of used nonce counts, for one node. Counts may arrive out of order within a window of
/// 64, as datagrams do.
#[derive(Debug)]
pub struct NonceCounts {
    used: BTreeMap<NonceId, Window>,
    max: usize,
    /// Nonces made up to here were forgotten, so they count as too old.
    forgotten_until: Option<WallSeconds>,
}

/// What a nonce count is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CountVerdict {
    /// Not used before.
    Fresh,
    /// Used before, or too far behind to tell: challenge again with `stale=true`.
    Replayed,
    /// The nonce was forgotten for lack of room: challenge again with `stale=true`.
    Forgotten,
}

/// The highest count and which of the 64 up to it were used (bit 0 is the highest).
#[derive(Debug, Clone, Copy)]
struct Window {
    highest: u32,
    used: u64,
}

impl NonceCounts {
    /// Remembers at most `max` nonces, cut to [`NONCES_REMEMBERED_MAX`], and at least one.
    pub fn new(max: usize) -> Self {
        let max = max.clamp(1, NONCES_REMEMBERED_MAX);
        Self { used: BTreeMap::new(), max, forgotten_until: None }
    }

    /// Notes the use of a count with a nonce that [`super::DigestServer::verify`] accepted.
    pub fn check(&mut self, nonce: NonceId, count: u32) -> CountVerdict {
        if let Some(window) = self.used.get_mut(&nonce) {
            return if window.note(count) { CountVerdict::Fresh } else { CountVerdict::Replayed };
        }
        if self.forgotten_until.is_some_and(|until| nonce.made <= until) {
            return CountVerdict::Forgotten;
        }
        self.used.insert(nonce, Window { highest: count, used: 1 });
        while self.used.len() > self.max {
            self.forget_oldest();
        }
        CountVerdict::Fresh
    }

    /// Forgets nonces that have expired.
    pub fn expire(&mut self, made_before: WallSeconds) {
        while self.used.first_key_value().is_some_and(|(id, _)| id.made < made_before) {
            self.forget_oldest();
        }
    }

    /// How many nonces are remembered.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// Whether none is remembered.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    fn forget_oldest(&mut self) {
        if let Some((id, _)) = self.used.pop_first() {
            self.forgotten_until = self.forgotten_until.max(Some(id.made));
        }
    }
}

impl Window {
    /// Whether the count is new; notes it.
    fn note(&mut self, count: u32) -> bool {
        if count > self.highest {
            let ahead = count - self.highest;
            self.used = self.used.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = count;
            return true;
        }
        let behind = self.highest - count;
        let bit = 1_u64.checked_shl(behind).unwrap_or(0);
        let fresh = bit != 0 && self.used & bit == 0;
        self.used |= bit;
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn nonce(made: u64) -> NonceId {
        NonceId { made: WallSeconds(made), random: [0; 8] }
    }

    // Goal: within the window every count is fresh once and only once, in any order, as a set says.
    #[test]
    fn window_agrees_with_a_set() {
        let mut random = crate::prng::Prng::from_number(9);
        let mut counts = NonceCounts::new(10);
        let (mut seen, mut highest) = (BTreeSet::new(), 0_u32);
        for _ in 0..10_000 {
            let count = (highest + random.below(5)).saturating_sub(random.below(80)).max(1);
            let first = highest == 0;
            let in_window = first || count > highest || highest - count < 64;
            let expect = if in_window && seen.insert(count) {
                CountVerdict::Fresh
            } else {
                CountVerdict::Replayed
            };
            assert_eq!(counts.check(nonce(1), count), expect, "{count} {highest}");
            highest = highest.max(count);
        }
    }

    // Goal: a forgotten nonce is never fresh again, whether it went for age or for lack of room.
    #[test]
    fn forgotten_nonces_stay_unusable() {
        let mut counts = NonceCounts::new(2);
        for made in 1..=3 {
            assert_eq!(counts.check(nonce(made), 1), CountVerdict::Fresh);
        }
        assert_eq!(counts.len(), 2);
        assert_eq!(counts.check(nonce(1), 2), CountVerdict::Forgotten);
        assert_eq!(counts.check(nonce(2), 1), CountVerdict::Replayed);
        counts.expire(WallSeconds(4));
        assert!(counts.is_empty());
        assert_eq!(counts.check(nonce(3), 2), CountVerdict::Forgotten);
        assert_eq!(counts.check(nonce(4), 1), CountVerdict::Fresh);
    }
}

//! One deadline per leg and purpose, in order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

/// Deadlines of keys of type `K`.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    due: BTreeSet<(Instant, K)>,
    at: BTreeMap<K, Instant>,
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { due: BTreeSet::new(), at: BTreeMap::new() }
    }
}

impl<K: Copy + Ord> Timers<K> {
    /// Sets the deadline of a key, replacing an earlier one.
    pub(crate) fn set(&mut self, key: K, at: Instant) {
        self.clear(key);
        self.at.insert(key, at);
        self.due.insert((at, key));
    }

    /// Removes the deadline of a key.
    pub(crate) fn clear(&mut self, key: K) {
        if let Some(at) = self.at.remove(&key) {
            self.due.remove(&(at, key));
        }
    }

    /// Takes a key whose deadline has passed.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, key) = self.due.first().copied()?;
        if at > now {
            return None;
        }
        self.clear(key);
        Some(key)
    }

    /// How many deadlines there are.
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// The next deadline.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }
}

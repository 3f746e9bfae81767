//! A log as Raft permits it, as a value: terms, one leader at a time, an uncommitted tail, what each
//! member has on its synced disk.
//!
//! It is a model, not an implementation: no messages are here. Whoever drives it decides which member
//! hears what and when, and who stands for election; the model refuses what Raft refuses (Ongaro and
//! Ousterhout, "In Search of an Understandable Consensus Algorithm", sections 5.3, 5.4.1, 5.4.2).
//! `docs/adr/0009-simulation-over-a-log-model.md` says why.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// An entry behind the committed ones.
#[derive(Debug, Clone)]
struct Slot<E> {
    term: u64,
    /// `None`: the blank entry with which a leader begins its term.
    entry: Option<E>,
}

/// The log of one group. Every member's log is a beginning of one chain: the committed entries and
/// the tail; a member that held more of an earlier leader's tail holds it in vain.
#[derive(Debug, Clone)]
pub struct Group<E> {
    term: u64,
    leader: Option<u64>,
    committed: u64,
    /// Index of the blank entry of this term.
    began: u64,
    tail: VecDeque<Slot<E>>,
    /// Last index that each member has on its disk, synced.
    held: BTreeMap<u64, u64>,
}

/// An entry that became committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed<E> {
    /// Its index.
    pub index: u64,
    /// What it carries; `None` for the blank entry of a term.
    pub entry: Option<E>,
}

impl<E> Group<E> {
    /// A group whose members all hold the log up to this index, without a leader.
    pub fn new(members: impl IntoIterator<Item = u64>, committed: u64) -> Self {
        let held = members.into_iter().map(|member| (member, committed)).collect();
        Self { term: 0, leader: None, committed, began: 0, tail: VecDeque::new(), held }
    }

    /// Who leads, if anybody.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        self.leader
    }

    /// The current term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// Last committed index.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Last index of the leader's log.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.committed + self.tail.len() as u64
    }

    /// Up to where this member's disk holds the chain.
    #[must_use]
    pub fn held(&self, member: u64) -> u64 {
        self.held.get(&member).copied().unwrap_or(0)
    }

    /// True when the leader has committed an entry of its own term: before that it does not know what of
    /// the terms before it is committed (section 8).
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.leader.is_some() && self.committed >= self.began
    }

    /// How many members make a quorum.
    #[must_use]
    pub fn quorum(&self) -> usize {
        self.held.len() / 2 + 1
    }

    /// The leader appends an entry; its index, or the entry back when nobody leads.
    ///
    /// # Errors
    /// The entry, when there is no leader.
    pub fn append(&mut self, entry: E) -> Result<u64, E> {
        if self.leader.is_none() {
            return Err(entry);
        }
        self.tail.push_back(Slot { term: self.term, entry: Some(entry) });
        Ok(self.last())
    }

    /// A member has synced the leader's log up to this index. What became committed by that, in order:
    /// an entry commits with a quorum, and an earlier term's only behind one of this term (5.4.2).
    pub fn synced(&mut self, member: u64, term: u64, index: u64) -> Vec<Committed<E>> {
        if term != self.term || self.leader.is_none() {
            return Vec::new();
        }
        let index = index.min(self.last());
        let Some(held) = self.held.get_mut(&member) else { return Vec::new() };
        *held = (*held).max(index);
        let mut all: Vec<u64> = self.held.values().copied().collect();
        all.sort_unstable_by(|a, b| b.cmp(a));
        let reached = all.get(self.quorum() - 1).copied().unwrap_or(0);
        let count = usize::try_from(reached.saturating_sub(self.committed)).unwrap_or(0);
        let own = count.checked_sub(1).and_then(|last| self.tail.get(last));
        if own.is_none_or(|slot| slot.term != self.term) {
            return Vec::new();
        }
        let first = self.committed + 1;
        self.committed = reached;
        self.tail
            .drain(..count)
            .zip(first..)
            .map(|(slot, index)| Committed { index, entry: slot.entry })
            .collect()
    }

    /// Whether this member can win an election among those that it reaches, itself included: a quorum
    /// whose logs are not ahead of its own (5.4.1).
    #[must_use]
    pub fn may_win(&self, candidate: u64, reaches: &BTreeSet<u64>) -> bool {
        let own = self.held(candidate);
        let votes = self
            .held
            .iter()
            .filter(|(member, held)| {
                **member == candidate || (reaches.contains(member) && **held <= own)
            })
            .count();
        self.held.contains_key(&candidate) && votes >= self.quorum()
    }

    /// A member that may win begins a term: what of the tail it does not hold is lost, the rest stays
    /// uncommitted until the blank entry of this term commits.
    ///
    /// Returns what was lost.
    pub fn elect(&mut self, candidate: u64) -> Vec<E> {
        let own = self.held(candidate).max(self.committed);
        let keep = usize::try_from(own - self.committed).unwrap_or(0);
        let lost = self.tail.split_off(keep.min(self.tail.len()));
        for held in self.held.values_mut() {
            *held = (*held).min(own);
        }
        self.term += 1;
        self.leader = Some(candidate);
        self.tail.push_back(Slot { term: self.term, entry: None });
        self.began = self.last();
        lost.into_iter().filter_map(|slot| slot.entry).collect()
    }

    /// Nobody leads any more; the tail stays as it is.
    pub fn depose(&mut self) {
        self.leader = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Group<&'static str> {
        let mut group = Group::new([1, 2, 3], 0);
        assert!(group.may_win(1, &BTreeSet::from([1, 2])));
        assert!(group.elect(1).is_empty());
        group
    }

    fn entries(done: Vec<Committed<&'static str>>) -> Vec<&'static str> {
        done.into_iter().filter_map(|committed| committed.entry).collect()
    }

    // Goal: an entry commits with the second of three disks, and not before.
    #[test]
    fn a_quorum_commits() {
        let mut group = three();
        let at = group.append("a").unwrap();
        assert!(group.synced(1, 1, at).is_empty());
        assert_eq!(entries(group.synced(3, 1, at)), ["a"]);
        assert_eq!(group.committed(), at);
        assert!(group.synced(2, 1, at).is_empty(), "it commits once");
    }

    // Goal: what only the old leader held is lost; what the new one held stays and commits with its term.
    #[test]
    fn an_election_cuts_the_tail_at_the_winner() {
        let mut group = three();
        let a = group.append("a").unwrap();
        let b = group.append("b").unwrap();
        group.synced(1, 1, b);
        assert_eq!(entries(group.synced(2, 1, a - 1)), Vec::<&str>::new(), "the blank commits");
        let mut other = group.clone();
        // Member 2 has the blank only; 3 votes for it.
        group.depose();
        assert!(group.may_win(2, &BTreeSet::from([2, 3])));
        assert_eq!(group.elect(2), ["a", "b"]);
        // In another world the old leader wins again: both survive, and commit behind its blank.
        other.depose();
        assert_eq!(other.elect(1), Vec::<&str>::new());
        assert!(other.synced(2, 2, b).is_empty(), "an earlier term's entry waits (5.4.2)");
        assert!(!other.is_settled());
        let last = other.last();
        assert!(other.synced(1, 2, last).is_empty());
        assert_eq!(entries(other.synced(2, 2, last)), ["a", "b"]);
        assert!(other.is_settled());
    }

    // Goal: a member that lacks a committed entry never leads; nobody leads without a quorum.
    #[test]
    fn who_lacks_a_committed_entry_cannot_win() {
        let mut group = three();
        let at = group.append("a").unwrap();
        group.synced(1, 1, at);
        group.synced(2, 1, at);
        group.depose();
        assert!(!group.may_win(3, &BTreeSet::from([1, 2, 3])));
        assert!(group.may_win(2, &BTreeSet::from([2, 3])));
        assert!(!group.may_win(2, &BTreeSet::from([2])));
    }

    // Goal: what a deposed leader's term acknowledges counts for nothing.
    #[test]
    fn an_old_term_commits_nothing() {
        let mut group = three();
        let at = group.append("a").unwrap();
        group.synced(1, 1, at);
        group.depose();
        assert!(group.append("b").is_err());
        group.elect(2);
        assert!(group.synced(2, 1, at).is_empty());
        assert_eq!(group.committed(), 0);
    }
}

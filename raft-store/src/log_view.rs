//! What the log looks like right now: its bounds, and its newest entries in memory.
//!
//! Appended entries are readable from here at once, before the writer thread has written them; so
//! an entry leaves memory only when it is written. Replication of a healthy follower and apply read
//! from here and touch no disk.

use std::collections::VecDeque;
use std::ops::Range;

use openraft::EntryPayload;
use parking_lot::Mutex;

use crate::limits::ENTRY_OVERHEAD_BYTES;
use crate::types::{Entry, LogId, Vote};

/// How much of the log stays in memory.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CacheLimits {
    pub(crate) bytes: usize,
    pub(crate) entries: usize,
}

#[derive(Debug)]
pub(crate) struct LogView {
    limits: CacheLimits,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    cached: VecDeque<Entry>,
    cached_bytes: usize,
    /// Index of the first entry that is there; meaningless while the log is empty.
    first: u64,
    purged: Option<LogId>,
    last: Option<LogId>,
    /// Entries below are written and may leave memory.
    unwritten_from: u64,
    /// Counts truncations and purges, so that a reader of the disk can tell that its plan is old.
    cuts: u64,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

/// What a reader has to do for a range.
#[derive(Debug)]
pub(crate) struct ReadPlan {
    /// Entries to read from disk first; empty if none.
    pub(crate) disk: Range<u64>,
    /// Entries from memory, behind those.
    pub(crate) cached: Vec<Entry>,
    /// State of the log that the plan was made for.
    pub(crate) cuts: u64,
}

/// Why entries cannot be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) expected: u64,
    pub(crate) found: u64,
}

impl LogView {
    pub(crate) fn new(limits: CacheLimits) -> Self {
        Self { limits, inner: Mutex::new(Inner::default()) }
    }

    /// Sets the bounds that were found at open, before entries are added with [`Self::restore`].
    pub(crate) fn start(
        &self,
        purged: Option<LogId>,
        vote: Option<Vote>,
        committed: Option<LogId>,
    ) {
        let mut inner = self.inner.lock();
        inner.purged = purged;
        inner.last = purged;
        inner.vote = vote;
        inner.committed = committed;
    }

    /// Adds an entry that is on disk already.
    pub(crate) fn restore(&self, entry: Entry) {
        let mut inner = self.inner.lock();
        inner.push(entry);
        inner.unwritten_from = inner.end();
        inner.evict(self.limits);
    }

    /// Adds entries that are not written yet.
    pub(crate) fn append(&self, entries: &[Entry]) -> Result<(), Hole> {
        let mut inner = self.inner.lock();
        let mut expected = inner.last.map(|last| last.index + 1);
        for entry in entries {
            let found = entry.log_id.index;
            if let Some(expected) = expected
                && expected != found
            {
                return Err(Hole { expected, found });
            }
            expected = Some(found + 1);
        }
        if inner.cached.is_empty()
            && let Some(first) = entries.first()
        {
            inner.unwritten_from = first.log_id.index;
        }
        for entry in entries {
            inner.push(entry.clone());
        }
        inner.evict(self.limits);
        Ok(())
    }

    /// Everything up to this index is written.
    pub(crate) fn written(&self, through: u64) {
        let mut inner = self.inner.lock();
        inner.unwritten_from = inner.unwritten_from.max(through + 1);
        inner.evict(self.limits);
    }

    /// Forgets the entries behind `after`.
    pub(crate) fn truncate(&self, after: Option<LogId>) {
        let mut inner = self.inner.lock();
        let keep_below = after.map_or(0, |after| after.index + 1);
        if keep_below >= inner.end() {
            return;
        }
        inner.cuts += 1;
        while inner.cached.back().is_some_and(|last| last.log_id.index >= keep_below) {
            inner.drop_back();
        }
        inner.last = after;
    }

    /// A truncation is written: what is appended next at these indexes is not.
    pub(crate) fn truncated(&self) {
        let mut inner = self.inner.lock();
        inner.unwritten_from = inner.unwritten_from.min(inner.end());
    }

    /// Forgets the entries up to `upto`, which may lie behind the end of the log.
    pub(crate) fn purge(&self, upto: LogId) {
        let mut inner = self.inner.lock();
        if inner.purged.is_some_and(|purged| purged.index >= upto.index) {
            return;
        }
        inner.cuts += 1;
        while inner.cached.front().is_some_and(|first| first.log_id.index <= upto.index) {
            inner.drop_front();
        }
        inner.purged = Some(upto);
        inner.first = inner.first.max(upto.index + 1);
        if inner.last.is_none_or(|last| last.index < upto.index) {
            inner.last = Some(upto);
        }
    }

    pub(crate) fn plan(&self, range: Range<u64>) -> ReadPlan {
        let inner = self.inner.lock();
        let start = range.start.max(inner.start());
        let end = range.end.min(inner.end());
        let cached_from = inner.cached.front().map_or(inner.end(), |first| first.log_id.index);
        let from = start.max(cached_from);
        let skip = usize::try_from(from.saturating_sub(cached_from)).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        let cached = inner.cached.iter().skip(skip).take(count).cloned().collect();
        ReadPlan { disk: start..end.min(cached_from).max(start), cached, cuts: inner.cuts }
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.inner.lock().cuts
    }

    /// Purge position and last position (the purge position if nothing is behind it).
    pub(crate) fn bounds(&self) -> (Option<LogId>, Option<LogId>) {
        let inner = self.inner.lock();
        (inner.purged, inner.last)
    }

    pub(crate) fn vote(&self) -> Option<Vote> {
        self.inner.lock().vote
    }

    pub(crate) fn set_vote(&self, vote: Vote) {
        self.inner.lock().vote = Some(vote);
    }

    pub(crate) fn committed(&self) -> Option<LogId> {
        self.inner.lock().committed
    }

    pub(crate) fn set_committed(&self, committed: Option<LogId>) {
        self.inner.lock().committed = committed;
    }
}

impl Inner {
    fn start(&self) -> u64 {
        self.first.max(self.purged.map_or(0, |purged| purged.index + 1))
    }

    fn end(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    fn push(&mut self, entry: Entry) {
        if self.last == self.purged {
            self.first = entry.log_id.index;
        }
        self.last = Some(entry.log_id);
        self.cached_bytes += cost(&entry);
        self.cached.push_back(entry);
    }

    fn drop_front(&mut self) {
        if let Some(entry) = self.cached.pop_front() {
            self.cached_bytes -= cost(&entry);
        }
    }

    fn drop_back(&mut self) {
        if let Some(entry) = self.cached.pop_back() {
            self.cached_bytes -= cost(&entry);
        }
    }

    fn evict(&mut self, limits: CacheLimits) {
        while (self.cached_bytes > limits.bytes || self.cached.len() > limits.entries)
            && self.cached.front().is_some_and(|first| first.log_id.index < self.unwritten_from)
        {
            self.drop_front();
        }
    }
}

/// Bytes that an entry takes in memory, about.
pub(crate) fn cost(entry: &Entry) -> usize {
    let payload = match &entry.payload {
        EntryPayload::Blank => 0,
        EntryPayload::Normal(data) => data.bytes().len(),
        EntryPayload::Membership(membership) => 256 * membership.nodes().count(),
    };
    ENTRY_OVERHEAD_BYTES + payload
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{EntryData, Payload, log_id};

    const LIMITS: CacheLimits = CacheLimits { bytes: usize::MAX, entries: 4 };

    fn entry(term: u64, index: u64) -> Entry {
        let data = EntryData::new(vec![7_u8; 10]).expect("fits");
        Entry { log_id: log_id(term, 1, index), payload: Payload::Normal(data) }
    }

    fn entries(term: u64, range: Range<u64>) -> Vec<Entry> {
        range.map(|index| entry(term, index)).collect()
    }

    fn cached(view: &LogView, range: Range<u64>) -> (Range<u64>, Vec<u64>) {
        let plan = view.plan(range);
        (plan.disk, plan.cached.iter().map(|entry| entry.log_id.index).collect())
    }

    // Goal: entries that are not written stay in memory beyond the limit, written ones make room.
    #[test]
    fn only_written_entries_leave_memory() {
        let view = LogView::new(LIMITS);
        view.append(&entries(1, 0..10)).expect("no hole");
        assert_eq!(cached(&view, 0..10), (0..0, (0..10).collect()));
        view.written(6);
        assert_eq!(cached(&view, 0..10), (0..6, (6..10).collect()));
        view.written(4);
        assert_eq!(cached(&view, 0..10), (0..6, (6..10).collect()), "written never goes back");
    }

    // Goal: what is appended after a truncation counts as unwritten, although those indexes were
    // written before.
    #[test]
    fn rewritten_indexes_count_as_unwritten() {
        let view = LogView::new(LIMITS);
        view.append(&entries(1, 0..10)).expect("no hole");
        view.written(9);
        view.truncate(Some(log_id(1, 1, 7)));
        view.truncated();
        view.append(&entries(2, 8..20)).expect("no hole");
        let (disk, memory) = cached(&view, 0..20);
        assert!(disk.end <= 8, "an unwritten entry left memory: {disk:?}");
        assert_eq!(memory.last(), Some(&19));
        assert_eq!(
            view.plan(8..9).cached.first().map(|entry| entry.log_id.leader_id.term),
            Some(2)
        );
    }

    // Goal: a hole is refused before anything changes.
    #[test]
    fn a_hole_is_refused() {
        let view = LogView::new(LIMITS);
        view.append(&entries(1, 3..5)).expect("an empty log begins anywhere");
        let before = view.bounds();
        assert_eq!(view.append(&[entry(1, 6)]), Err(Hole { expected: 5, found: 6 }));
        assert_eq!(view.append(&[entry(1, 5), entry(1, 7)]), Err(Hole { expected: 6, found: 7 }));
        assert_eq!(view.bounds(), before);
    }

    // Goal: a purge beyond the end moves the end with it, and the next append goes on from there.
    #[test]
    fn purge_beyond_the_end_moves_the_log() {
        let view = LogView::new(LIMITS);
        view.append(&entries(1, 0..5)).expect("no hole");
        view.purge(log_id(2, 1, 20));
        assert_eq!(view.bounds(), (Some(log_id(2, 1, 20)), Some(log_id(2, 1, 20))));
        assert_eq!(cached(&view, 0..100), (21..21, vec![]));
        assert_eq!(view.append(&[entry(2, 5)]), Err(Hole { expected: 21, found: 5 }));
        view.append(&[entry(2, 21)]).expect("no hole");
        assert_eq!(cached(&view, 0..100), (21..21, vec![21]));
    }
}

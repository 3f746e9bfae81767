//! Reading the feed without a gap or a repetition, whatever part of it a node has.

use super::{FeedHead, FeedRow, feed_key, read_feed_key};
use crate::ids::GroupId;

/// A place in the feed: before the record at `position` of the entry at `index`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct At {
    /// Log index of an entry, with records or without.
    pub index: u64,
    /// Position within the entry, from 0.
    pub position: u32,
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begin {
    /// With whatever is kept here.
    Oldest,
    /// Here; it is an error if something of it is not kept any more.
    At(At),
}

/// Records between the wanted place and what is there are not here: their time was over (retention), or this
/// node was restored from a snapshot and never had them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "lost: events from {wanted} on are not kept here any more; what this node has begins at {begins}: \
     another node may have more; else begin there, or at the oldest (--from oldest), and \
     know that something is missing",
    wanted = .wanted.index,
    begins = .begins.index,
)]
pub struct Torn {
    /// What was asked for.
    pub wanted: At,
    /// What is there begins with this.
    pub begins: At,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Page {
    /// These records follow on what was read before. May be empty: then more may follow at once.
    Rows(Vec<FeedRow>),
    /// Nothing is there beyond what was read, up to the entry that the head was taken after.
    End,
}

/// A consumer's place in the feed.
#[derive(Debug, Clone)]
pub struct Reader {
    group: GroupId,
    /// What it wants next; `None`: the oldest.
    next: Option<At>,
    /// The number of the record that comes next, once it is known.
    number: Option<u64>,
    /// Where the last row begins that it has looked at.
    last: Option<At>,
}

impl Reader {
    /// Reads from there on.
    #[must_use]
    pub fn new(group: GroupId, begin: Begin) -> Self {
        let next = match begin {
            Begin::Oldest => None,
            // The first entry of a log has index 1.
            Begin::At(at) => Some(at.max(At { index: 1, position: 0 })),
        };
        Self { group, next, number: None, last: None }
    }

    /// What it wants next; `None`: the oldest that is there.
    #[must_use]
    pub fn next(&self) -> Option<At> {
        self.next
    }

    /// The key behind which the next row is searched in the history.
    #[must_use]
    pub fn after(&self) -> Vec<u8> {
        if let Some(last) = self.last {
            return feed_key(self.group, last.index, last.position);
        }
        // The row that holds a position begins at it or before, in the same entry. All keys of an entry
        // are larger than what they have in common.
        let mut key = feed_key(self.group, self.next.map_or(0, |at| at.index), 0);
        key.truncate(key.len() - size_of::<u32>());
        key
    }

    /// Takes rows that were found behind [`Reader::after`], in their order, or none. `head` is the state's,
    /// taken after the entry `applied` and *before* the rows were read, when all rows of that entry and
    /// before were written.
    ///
    /// # Errors
    /// [`Torn`]: there is a gap. What came before it was given by earlier pages.
    pub fn take<'a>(
        &mut self,
        rows: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        head: FeedHead,
        applied: u64,
    ) -> Result<Page, Torn> {
        let (mut taken, mut looked) = (Vec::new(), false);
        for (key, value) in rows {
            let Some((index, position)) = read_feed_key(self.group, key) else { break };
            looked = true;
            let begins = At { index, position };
            match FeedRow::read(self.group, key, value).ok_or(At { index: index + 1, position: 0 })
            {
                // Of a newer format, or damaged: a gap, as far as this program can tell.
                Err(behind) if taken.is_empty() => {
                    return Err(Torn { wanted: self.next.unwrap_or(begins), begins: behind });
                }
                Ok(row) if self.follows(&row) => taken.extend(self.wanted(row)),
                Ok(_) if taken.is_empty() => {
                    return Err(Torn { wanted: self.next.unwrap_or(begins), begins });
                }
                // What came before a gap is given first; the gap is met again with the next page.
                Ok(_) | Err(_) => break,
            }
        }
        if looked { Ok(Page::Rows(taken)) } else { self.end(head, applied) }
    }

    /// True when no record is missing between what was read and this row.
    fn follows(&self, row: &FeedRow) -> bool {
        match (self.number, self.next) {
            (Some(number), _) => row.head.first <= number,
            // Where numbers are not known yet, the entries tell.
            (None, Some(wanted)) if row.index == wanted.index => row.position <= wanted.position,
            (None, Some(wanted)) => row.position == 0 && row.head.previous < wanted.index,
            // Retention takes whole entries.
            (None, None) => row.position == 0,
        }
    }

    /// What of a row was not read before; the reader goes on behind it.
    fn wanted(&mut self, mut row: FeedRow) -> Option<FeedRow> {
        self.last = Some(At { index: row.index, position: row.position });
        let end = row.head.first + u64::from(row.head.count);
        let next = self.next.filter(|next| next.index == row.index);
        let read = next.map_or(0, |next| next.position.saturating_sub(row.position));
        let read = read.min(row.head.count);
        row.records.drain(..read as usize);
        row.position += read;
        row.head.first += u64::from(read);
        row.head.count -= read;
        self.number = Some(end);
        let behind = At { index: row.index, position: row.position + row.head.count };
        self.next = self.next.max(Some(behind));
        (row.head.count > 0).then_some(row)
    }

    /// No row is behind what was read: nothing has happened since, or this node does not have it.
    fn end(&mut self, head: FeedHead, applied: u64) -> Result<Page, Torn> {
        let lacks = match (self.number, self.next) {
            (Some(number), _) => number < head.records,
            (None, Some(next)) => head.index > 0 && head.index >= next.index,
            (None, None) => false,
        };
        let through = At { index: applied + 1, position: 0 };
        if lacks {
            return Err(Torn { wanted: self.next.unwrap_or_default(), begins: through });
        }
        // A node that lags behind its consumer has nothing to say about the entries between.
        if self.next.is_none_or(|next| next <= through) {
            self.next = Some(through);
            self.number = Some(head.records);
        }
        Ok(Page::End)
    }
}

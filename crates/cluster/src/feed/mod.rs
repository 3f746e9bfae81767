//! The feed: what happened in the queue, as consumers read it, derived from the log by index (invariant T1).
//!
//! A record says everything by itself: names instead of ids, durations instead of moments, so that nobody
//! needs rows that have changed since. Records are made while an entry is applied (`derive`), on every node
//! alike, encoded once, and stored as rows of the history under (index, position). Each row names the entry
//! with records before it and counts records from the beginning of the cluster, so that whoever reads rows
//! (`reader`) knows for certain that none is missing.
//!
//! What does not live here: the stream to consumers (`node/src/api/events.rs`), retention
//! (`node/src/cluster/retention.rs`), forms for people and programs (`node/src/cli`).

mod derive;
mod reader;

use serde::{Deserialize, Serialize};
use tandem_routing::{
    command::OfferEnd,
    entity::{DeviceState, EndReason, NotReadyReason, SiteState},
    name::{CallerNumber, Name},
    table::{Row, RowChange, TableTag, row_key},
    time::{ClusterTime, Millis, UtcMillis},
};

pub use self::reader::{At, Begin, Page, Reader, Torn};
use crate::{
    ids::{ContactId, GroupId, OfferNumber, Ordinal, TenantId},
    limits::{FEED_ROW_BYTES_MAX, FEED_ROW_RECORDS_MAX},
};

/// The machine version since which there is a feed.
pub const FEED_SINCE: u16 = 2;
/// Format of [`FeedRow`] that this program writes.
const FORMAT: u8 = 1;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Whose it was; [`TenantId::CLUSTER`] for what concerns all.
    pub tenant: TenantId,
    /// The tenant's name, unless it is the cluster or the default tenant.
    pub tenant_name: Option<Name>,
    /// What it was.
    pub what: What,
}

/// What happened. Appended to, never reordered: the position is the encoding. A new field is a new variant.
///
/// `waited` counts from a contact's arrival, `in_queue` from when it came into the queue that is named; both
/// end when it is connected. `position` is its place in that queue's line, from 1; those before it are
/// counted up to [`crate::limits::POSITION_COUNTED_MAX`]. `came_as` is how many stood in the line when it
/// came into the queue, itself included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "fields are named as elsewhere; see above for the others")]
pub enum What {
    /// A contact came into its first queue.
    ContactEntered {
        contact: ContactId,
        queue: Name,
        caller: CallerNumber,
        called: Name,
        site: Name,
        priority: u8,
        came_as: u32,
        waited: Millis,
    },
    /// It left a queue for another by a rule.
    ContactOverflowed {
        contact: ContactId,
        from: Name,
        to: Name,
        caller: CallerNumber,
        why: OverflowCause,
        waited: Millis,
        in_queue: Millis,
        position: u32,
        came_as: u32,
        came_as_to: u32,
    },
    /// It prefers another site now.
    ContactMoved { contact: ContactId, queue: Name, from: Name, to: Name },
    /// It is offered to an agent, whose phone is to ring.
    OfferMade {
        contact: ContactId,
        queue: Name,
        offer: OfferNumber,
        agent: Name,
        site: Name,
        waited: Millis,
    },
    /// An offer came to nothing.
    OfferEnded {
        contact: ContactId,
        queue: Name,
        offer: OfferNumber,
        agent: Name,
        how: OfferEnd,
        ring: Millis,
    },
    /// It talks with an agent.
    ContactConnected {
        contact: ContactId,
        queue: Name,
        offer: OfferNumber,
        agent: Name,
        site: Name,
        waited: Millis,
        in_queue: Millis,
        ring: Millis,
    },
    /// It is back in the line because the agent's leg was lost.
    ContactRequeued {
        contact: ContactId,
        queue: Name,
        agent: Name,
        caller: CallerNumber,
        waited: Millis,
        in_queue: Millis,
        talk: Millis,
        came_as: u32,
        position: u32,
    },
    /// Its owner was lost; it keeps its place.
    ContactUnconfirmed { contact: ContactId, queue: Name },
    /// Its leg answered its new owner.
    ContactConfirmed { contact: ContactId, queue: Name },
    /// It ended without having talked, or back in the line.
    ContactLeft {
        contact: ContactId,
        queue: Name,
        reason: EndReason,
        overflow: Option<OverflowCause>,
        waited: Millis,
        in_queue: Millis,
        position: u32,
        came_as: u32,
    },
    /// It ended while it talked with an agent.
    ContactCompleted {
        contact: ContactId,
        queue: Name,
        agent: Name,
        reason: EndReason,
        waited: Millis,
        in_queue: Millis,
        talk: Millis,
        came_as: u32,
    },
    /// An agent came to work.
    AgentLoggedIn { agent: Name, site: Name, queues: Vec<Name>, standing: Standing },
    /// An agent left work.
    AgentLoggedOut { agent: Name, site: Name, queues: Vec<Name>, logged_in: Millis },
    /// What a logged-in agent does changed; `lasted` is how long they did what they did before.
    AgentChanged { agent: Name, site: Name, from: Standing, to: Standing, lasted: Millis },
    /// A logged-in agent serves other queues.
    AgentServes { agent: Name, joined: Vec<Name>, left: Vec<Name> },
    /// An agent's phone can be reached, or not any more.
    DeviceChanged { agent: Name, site: Name, to: DeviceState },
    /// A rebalance plan went a step forward or back.
    PlanStepped { plan: Ordinal },
    /// A site was opened, drained or closed.
    SiteChanged { site: Name, to: SiteState },
    /// Something was created, changed or removed.
    Configured { thing: Thing, name: Name },
}

/// What an agent does. Whether their phone rings or they talk is told by the contact's records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Ready, or has a contact.
    Serving,
    /// After-contact work.
    WrapUp,
    /// Wants no contact, or is spared for a while.
    NotReady(NotReadyReason),
}

/// By which rule a contact left a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum OverflowCause {
    /// It had waited for so long.
    Waited,
    /// When it came: by the line's length or the expected wait, because nobody was there, or the queue was
    /// closed.
    Arrival,
    /// Nobody was at work who could serve it.
    Unstaffed,
    /// The queue closed.
    Closed,
    /// The queue was taken out.
    Retired,
}

/// What can be configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "each is what its name says")]
pub enum Thing {
    Site,
    Queue,
    Number,
    Agent,
    Calendar,
    Tenant,
    List,
}

/// Up to where the feed goes: one row of the state, so that a node which lacks rows of the history knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FeedHead {
    /// The last entry with records; 0 before the first.
    pub index: u64,
    /// Records from the beginning of the cluster.
    pub records: u64,
}

impl Row for FeedHead {
    type Key = ();
    const TABLE: TableTag = TableTag::FeedHead;
    const VERSION: u8 = 1;

    fn key(&self) {}
    fn tenant(&self) -> TenantId {
        TenantId::CLUSTER
    }
    fn key_bytes((): &()) -> Vec<u8> {
        Vec::new()
    }
}

/// What is common to the records of a stored row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowHead {
    /// Number of the row's first record, counted from 0 at the beginning of the cluster.
    pub first: u64,
    /// The last entry before this one that has records.
    pub previous: u64,
    /// When.
    pub time: ClusterTime,
    /// When, for people; `None` as long as nobody has said what time it is.
    pub utc: Option<UtcMillis>,
    /// How many records follow.
    pub count: u32,
}

/// A stored row: some records of one entry, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRow {
    /// The entry.
    pub index: u64,
    /// Position of the first record within the entry, from 0.
    pub position: u32,
    /// What they have in common.
    pub head: RowHead,
    /// The records.
    pub records: Vec<Record>,
}

/// The key of a row of the feed in the history.
#[must_use]
pub fn feed_key(group: GroupId, index: u64, position: u32) -> Vec<u8> {
    let id = [&index.to_be_bytes()[..], &position.to_be_bytes()].concat();
    row_key(group, TableTag::Feed, TenantId::CLUSTER, &id)
}

/// Index and position of a row; `None` for a row of the history that is not the feed's.
#[must_use]
pub fn read_feed_key(group: GroupId, key: &[u8]) -> Option<(u64, u32)> {
    let prefix = row_key(group, TableTag::Feed, TenantId::CLUSTER, &[]);
    let (index, position) = key.strip_prefix(&prefix[..])?.split_first_chunk::<8>()?;
    Some((u64::from_be_bytes(*index), u32::from_be_bytes(position.try_into().ok()?)))
}

impl RowHead {
    /// Reads the head of a stored row, without its records; `None` for an unknown format or damage.
    #[must_use]
    pub fn read(value: &[u8]) -> Option<Self> {
        Self::split(value).map(|(head, _)| head)
    }

    fn split(value: &[u8]) -> Option<(Self, &[u8])> {
        match value.split_first()? {
            (&FORMAT, body) => postcard::take_from_bytes(body).ok(),
            _ => None,
        }
    }
}

impl FeedRow {
    /// Reads a stored row; `None` if it is not the feed's, of a format that this program does not know, or
    /// damaged.
    #[must_use]
    pub fn read(group: GroupId, key: &[u8], value: &[u8]) -> Option<Self> {
        let (index, position) = read_feed_key(group, key)?;
        let (head, mut rest) = RowHead::split(value)?;
        let mut records = Vec::new();
        for _ in 0..head.count {
            let (record, more) = postcard::take_from_bytes(rest).ok()?;
            records.push(record);
            rest = more;
        }
        rest.is_empty().then_some(Self { index, position, head, records })
    }
}

/// The records of the running entry, encoded.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    /// Where each record ends.
    ends: Vec<usize>,
}

/// How far a draft was at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DraftMark(usize);

impl Draft {
    pub(crate) fn push(&mut self, record: &Record) {
        match postcard::to_extend(record, std::mem::take(&mut self.bytes)) {
            Ok(bytes) => self.bytes = bytes,
            Err(error) => unreachable!("postcard into a Vec cannot fail: {error}"),
        }
        self.ends.push(self.bytes.len());
    }

    pub(crate) fn mark(&self) -> DraftMark {
        DraftMark(self.ends.len())
    }

    /// Takes another draft's records over.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let from = self.bytes.len();
        self.bytes.append(&mut other.bytes);
        self.ends.extend(other.ends.drain(..).map(|end| from + end));
    }

    /// Forgets what came after a mark.
    pub(crate) fn cut(&mut self, mark: DraftMark) {
        self.ends.truncate(mark.0);
        self.bytes.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// The rows of an entry, and where the feed is then; `None` when nothing happened in it.
    pub(crate) fn take(
        &mut self,
        group: GroupId,
        index: u64,
        before: FeedHead,
        moment: (ClusterTime, Option<UtcMillis>),
    ) -> Option<(FeedHead, Vec<RowChange>)> {
        let (time, utc) = moment;
        let (mut rows, mut done, mut from) = (Vec::new(), 0, 0);
        while done < self.ends.len() {
            let fits = |end: &usize| *end <= from + FEED_ROW_BYTES_MAX;
            let left = self.ends.get(done..).unwrap_or_default();
            // One that is too large by itself still goes alone.
            let count = left.iter().take(FEED_ROW_RECORDS_MAX).take_while(|end| fits(end)).count();
            let count = count.max(1);
            let to = left.get(count - 1).copied().unwrap_or(from);
            let head = RowHead {
                first: before.records + done as u64,
                previous: before.index,
                time,
                utc,
                count: u32::try_from(count).unwrap_or(u32::MAX),
            };
            let mut value = match postcard::to_extend(&head, vec![FORMAT]) {
                Ok(bytes) => bytes,
                Err(error) => unreachable!("postcard into a Vec cannot fail: {error}"),
            };
            value.extend_from_slice(self.bytes.get(from..to).unwrap_or_default());
            let position = u32::try_from(done).unwrap_or(u32::MAX);
            rows.push(RowChange { key: feed_key(group, index, position), value: Some(value) });
            (done, from) = (done + count, to);
        }
        self.bytes.clear();
        self.ends.clear();
        let head = FeedHead { index, records: before.records + done as u64 };
        (done > 0).then_some((head, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(plan: u64) -> Record {
        let what = What::PlanStepped { plan: Ordinal(plan) };
        Record { tenant: TenantId::DEFAULT, tenant_name: None, what }
    }

    // Goal: an entry's records come back in order whatever the number of rows they fill, numbered through;
    // what a panicking command left is forgotten; an entry without records leaves no row.
    #[test]
    fn a_draft_becomes_rows() {
        let (group, moment) = (GroupId(0), (ClusterTime(5), Some(UtcMillis(7))));
        let before = FeedHead { index: 3, records: 10 };
        let mut draft = Draft::default();
        assert_eq!(draft.take(group, 8, before, moment), None);
        let count = FEED_ROW_RECORDS_MAX + 2;
        (0..count as u64).for_each(|plan| draft.push(&record(plan)));
        let (mark, mut command) = (draft.mark(), Draft::default());
        command.push(&record(998));
        command.push(&record(999));
        draft.append(&mut command);
        draft.cut(mark);
        assert_eq!(command.mark().0, 0);
        let (head, rows) = draft.take(group, 9, before, moment).unwrap();
        assert_eq!(head, FeedHead { index: 9, records: 10 + count as u64 });
        let read = |row: &RowChange| FeedRow::read(group, &row.key, row.value.as_ref().unwrap());
        let rows: Vec<FeedRow> = rows.iter().map(|row| read(row).unwrap()).collect();
        let heads: Vec<_> = rows.iter().map(|row| (row.index, row.position, row.head)).collect();
        let head = |first, count| RowHead {
            first,
            previous: 3,
            time: ClusterTime(5),
            utc: Some(UtcMillis(7)),
            count,
        };
        let max = u32::try_from(FEED_ROW_RECORDS_MAX).unwrap();
        assert_eq!(heads, [(9, 0, head(10, max)), (9, max, head(10 + u64::from(max), 2))]);
        let records: Vec<Record> = rows.into_iter().flat_map(|row| row.records).collect();
        assert_eq!(records, (0..count as u64).map(record).collect::<Vec<_>>());
        assert_eq!(draft.take(group, 10, before, moment), None, "nothing is left over");
    }

    // Goal: no row is larger than its limit unless a single record is; damage is not read as records.
    #[test]
    fn rows_are_bounded() {
        let name: Name = "q".repeat(64).parse().unwrap();
        let queues = vec![name.clone(); 100];
        let what = What::AgentServes { agent: name, joined: queues.clone(), left: queues };
        let large = Record { tenant: TenantId::DEFAULT, tenant_name: None, what };
        let mut draft = Draft::default();
        (0..FEED_ROW_RECORDS_MAX).for_each(|_| draft.push(&large));
        let moment = (ClusterTime(5), None);
        let (_, rows) = draft.take(GroupId(0), 9, FeedHead::default(), moment).unwrap();
        assert!(rows.len() > 1);
        for row in &rows {
            let value = row.value.as_ref().unwrap();
            assert!(value.len() <= FEED_ROW_BYTES_MAX + 64, "{}", value.len());
            assert!(FeedRow::read(GroupId(0), &row.key, value).is_some());
            let damaged = &value[..value.len() - 1];
            assert_eq!(FeedRow::read(GroupId(0), &row.key, damaged), None);
        }
    }
}

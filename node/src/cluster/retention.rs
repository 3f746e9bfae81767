//! How long the feed's rows of the history are kept on this node.
//!
//! Not decided by the log: a consumer that asks for what is gone is told so (`tandem_cluster::feed`), and
//! asks another node.

use std::{sync::Arc, time::Duration};

use tandem_cluster::{
    feed::{FeedHead, RowHead, feed_key, read_feed_key},
    ids::GroupId,
};
use tandem_raft_store::{StoreError, StoreHandle};
use tandem_routing::time::ClusterTime;

use super::{core::Core, machine::Replica};

/// Events that a node keeps, before it drops the oldest.
const EVENTS_KEPT: u64 = 4_000_000;
/// How long a node keeps an event.
const EVENTS_KEPT_FOR: Duration = Duration::from_secs(30 * 86_400);
/// How often a node looks for events whose time is over.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// The log's only group.
const GROUP: GroupId = GroupId(0);

/// Drops what is too old, for as long as the store works.
pub(super) async fn keep(core: Arc<Core>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if let Err(error) = look(&core).await {
            tracing::debug!(%error, "old events are not dropped now");
            if core.store.fatal().is_some() {
                return;
            }
        }
    }
}

async fn look(core: &Core) -> Result<(), StoreError> {
    let (head, now) = core.store.read(|replica, _| (replica.0.feed_head(), replica.0.now()));
    let store = core.store.clone();
    let searching =
        tokio::task::spawn_blocking(move || search(head, now, |index| first_from(&store, index)));
    // A panic is the store's own end.
    let Ok(found) = searching.await else { return Ok(()) };
    if let Some(cut) = found? {
        tracing::debug!(before = cut, "old events are dropped");
        core.store.history_remove(feed_key(GROUP, 0, 0), feed_key(GROUP, cut, 0)).await?;
    }
    Ok(())
}

/// The first row of the feed at this entry or behind it.
fn first_from(
    store: &StoreHandle<Replica>,
    index: u64,
) -> Result<Option<(u64, RowHead)>, StoreError> {
    let mut before = feed_key(GROUP, index, 0);
    before.truncate(before.len() - size_of::<u32>());
    let page = store.history_page(Some(&before), 1)?;
    Ok(page.into_iter().find_map(|(key, value)| {
        let (index, _) = read_feed_key(GROUP, &key)?;
        Some((index, RowHead::read(&value)?))
    }))
}

/// The entry from which on rows are kept, if there are older ones; found by halving.
fn search<E>(
    head: FeedHead,
    now: ClusterTime,
    first_from: impl Fn(u64) -> Result<Option<(u64, RowHead)>, E>,
) -> Result<Option<u64>, E> {
    let kept_for = u64::try_from(EVENTS_KEPT_FOR.as_millis()).unwrap_or(u64::MAX);
    let is_over = |row: &RowHead| {
        row.first + u64::from(row.count) + EVENTS_KEPT <= head.records
            || now.since(row.time).0 >= kept_for
    };
    match first_from(0)? {
        Some((_, oldest)) if is_over(&oldest) => {}
        _ => return Ok(None),
    }
    let (mut low, mut high) = (0, head.index + 1);
    while low < high {
        let middle = low + (high - low) / 2;
        match first_from(middle)? {
            Some((index, row)) if is_over(&row) => low = index + 1,
            _ => high = middle,
        }
    }
    Ok(Some(low))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, convert::Infallible};

    use super::*;

    /// A feed with one event in every third entry, a second apart.
    fn cut(events: u64, now: u64, looks: &Cell<u32>) -> Option<u64> {
        let head = FeedHead { index: events * 3, records: events };
        let found = search(head, ClusterTime(now), |from| {
            looks.set(looks.get() + 1);
            let index = from.max(1).next_multiple_of(3);
            let number = index / 3 - 1;
            let row = RowHead {
                first: number,
                previous: index - 3,
                time: ClusterTime(number * 1_000),
                utc: None,
                count: 1,
            };
            Ok::<_, Infallible>((number < events).then_some((index, row)))
        });
        found.unwrap_or_default()
    }

    // Goal: what is beyond the count or too old goes, and nothing else, at few looks.
    #[test]
    fn what_goes() {
        let month = 30 * 86_400_000;
        let looks = Cell::new(0);
        for (events, now, expected) in [
            (0, 0, None),
            (100, 100_000, None),
            (EVENTS_KEPT, 0, None),
            (EVENTS_KEPT + 1, 0, Some(4)),
            (EVENTS_KEPT + 1_000, 0, Some(3_001)),
            (100, month - 1, None),
            (100, month, Some(4)),
            (100, month + 50_000, Some(51 * 3 + 1)),
            (100, 2 * month, Some(301)),
        ] {
            looks.set(0);
            assert_eq!(cut(events, now, &looks), expected, "{events} events at {now}");
            assert!(looks.get() <= 30, "{} looks", looks.get());
        }
    }
}

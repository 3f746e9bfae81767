//! `Events`: what happened in the queue, from this node's history and its copy of the state.
//!
//! Each consumer reads the history by itself, page by page, and then waits for the next entry: nothing is
//! kept in memory for those who are behind. What a consumer does not take holds up its own reading, and
//! ends it after a while.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::{Duration, Instant},
};

use futures_util::Stream;
use tandem_cluster::{
    feed::{At, Begin, FeedHead, Page, Reader, Torn},
    ids::GroupId,
};
use tandem_proto::api::v1 as api;
use tandem_raft_store::StoreError;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tonic::{Request, Response, Status};

use super::{Api, records};
use crate::{cluster::core::Core, rpc::events_server::Events};

/// Consumers of one node at a time.
pub(super) const CONSUMERS_MAX: usize = 32;
/// Rows of the history that are read at once.
const PAGE_ROWS: usize = 64;
/// Batches that wait for one consumer.
const BATCHES_WAITING_MAX: usize = 4;
/// Events after which a batch is sent.
const BATCH_EVENTS: usize = 512;
/// How long a consumer may take to make room for the next batch.
const SEND_WITHIN: Duration = Duration::from_secs(10);
/// How often a consumer hears from a node at which nothing happens.
const SIGN_OF_LIFE: Duration = Duration::from_secs(2);
/// How long events gather before they are sent to one who waits for them.
const GATHER: Duration = Duration::from_millis(20);
/// The log's only group.
const GROUP: GroupId = GroupId(0);

type Batches = Pin<Box<dyn Stream<Item = Result<api::EventBatch, Status>> + Send>>;

#[tonic::async_trait]
impl Events for Api {
    type WatchStream = Batches;

    async fn watch(
        &self,
        request: Request<api::WatchEventsRequest>,
    ) -> Result<Response<Batches>, Status> {
        let asked = Self::admit(request)?;
        if !asked.tenant.is_empty() {
            // A name that nobody has would be shown nothing for ever.
            self.tenant(&asked.tenant).await?;
        }
        let core = self.core()?;
        let place = Arc::clone(&self.consumers).try_acquire_owned().map_err(|_| {
            Status::resource_exhausted(format!(
                "{CONSUMERS_MAX} consumers read events from this node already: ask another node, or end \
                 one of them"
            ))
        })?;
        let wanted = Wanted::read(&asked)?;
        let state = Known::of(&core);
        let begin = match asked.start() {
            api::EventStart::Now => Begin::At(At { index: state.applied + 1, position: 0 }),
            api::EventStart::Oldest => Begin::Oldest,
            api::EventStart::At => Begin::At(At { index: asked.index, position: asked.position }),
        };
        let until = (asked.end() == api::EventEnd::Now).then_some(state.applied);
        let (sender, batches) = mpsc::channel(BATCHES_WAITING_MAX);
        let end = Arc::new(OnceLock::new());
        let reader = Reader::new(GROUP, begin);
        let watch = Watch { core, reader, wanted, until, sender: sender.clone(), sent: None };
        let ends = Arc::clone(&end);
        tokio::spawn(async move {
            let status = watch.run(place).await;
            // Nobody else sets it. The consumer hears it behind what waits for it.
            ends.set(status).ok();
            drop(sender);
        });
        Ok(Response::new(Box::pin(Feed { batches, end })))
    }
}

/// What waits for a consumer, and behind it why there is no more.
struct Feed {
    batches: mpsc::Receiver<api::EventBatch>,
    end: Arc<OnceLock<Option<Status>>>,
}

impl Stream for Feed {
    type Item = Result<api::EventBatch, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.batches.poll_recv(context).map(|batch| match batch {
            Some(batch) => Some(Ok(batch)),
            None => {
                let status = self.end.get().cloned().flatten();
                self.end = Arc::new(OnceLock::from(None));
                status.map(Err)
            }
        })
    }
}

/// Which events a consumer asked for.
struct Wanted {
    tenant: String,
    kinds: BTreeSet<String>,
    queue: String,
    agent: String,
    numbers: api::CallerNumbers,
}

impl Wanted {
    fn read(asked: &api::WatchEventsRequest) -> Result<Self, Status> {
        for kind in &asked.kinds {
            if !records::KINDS.contains(&kind.as_str()) {
                return Err(Status::invalid_argument(format!(
                    "{kind:?} is no kind of event: they are {}",
                    records::KINDS.join(", ")
                )));
            }
        }
        Ok(Self {
            tenant: asked.tenant.clone(),
            kinds: asked.kinds.iter().cloned().collect(),
            queue: asked.queue.clone(),
            agent: asked.agent.clone(),
            numbers: asked.caller_numbers(),
        })
    }

    fn takes(&self, event: &api::Event) -> bool {
        let queue = &self.queue;
        let queues = || event.queues.iter().chain(&event.left_queues);
        let named =
            event.queue == *queue || event.to_queue == *queue || queues().any(|q| q == queue);
        // What belongs to no tenant, sites, is everybody's.
        let own = self.tenant.is_empty() || event.tenant.is_empty() || event.tenant == self.tenant;
        own && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && (queue.is_empty() || named)
            && (self.agent.is_empty() || event.agent == self.agent)
    }
}

/// What this node knows at a moment.
struct Known {
    head: FeedHead,
    applied: u64,
    as_of: api::AsOf,
}

impl Known {
    fn of(core: &Core) -> Self {
        let (head, applied, time) = core.store.read(|replica, applied| {
            let index = applied.map_or(0, |applied| applied.index);
            (replica.0.feed_head(), index, replica.0.now().0)
        });
        let as_of = api::AsOf {
            node: core.member.node.0,
            index: applied,
            cluster_time_ms: time,
            leader: core.leader().map_or(0, |leader| leader.0),
            silent_ms: core.leader_silent_ms(),
        };
        Self { head, applied, as_of }
    }
}

/// One consumer.
struct Watch {
    core: Arc<Core>,
    reader: Reader,
    wanted: Wanted,
    /// The last entry that is wanted.
    until: Option<u64>,
    sender: mpsc::Sender<api::EventBatch>,
    /// When the consumer was sent something.
    sent: Option<Instant>,
}

impl Watch {
    /// Sends until the consumer has gone or has what it wanted, or an error.
    async fn run(mut self, _place: OwnedSemaphorePermit) -> Option<Status> {
        let mut applied = self.core.observed.applied.subscribe();
        loop {
            applied.borrow_and_update();
            match self.catch_up().await {
                Err(Ended::Gone) => return None,
                Err(Ended::By(status)) => return Some(*status),
                Ok(through) if self.until.is_some_and(|until| until <= through) => return None,
                Ok(_) => {}
            }
            // Something happens at least as often as the leader renews leases; else a sign of life.
            tokio::select! {
                () = self.sender.closed() => return None,
                _ = tokio::time::timeout(SIGN_OF_LIFE, applied.changed()) => {}
            }
            tokio::time::sleep(GATHER).await;
        }
    }

    /// Sends what there is; returns up to which entry.
    async fn catch_up(&mut self) -> Result<u64, Ended> {
        let mut events = Vec::new();
        loop {
            let known = Known::of(&self.core);
            let page = match self.page(&known).await {
                Ok(page) => page,
                Err(ended) => {
                    // What came before a gap is the consumer's.
                    if !events.is_empty() {
                        self.send(known, std::mem::take(&mut events), false).await?;
                    }
                    return Err(ended);
                }
            };
            match page {
                Page::Rows(rows) => {
                    for row in rows {
                        let made = records::events(row, self.wanted.numbers);
                        events.extend(made.filter(|event| self.wanted.takes(event)));
                    }
                    if events.len() >= BATCH_EVENTS {
                        self.send(known, std::mem::take(&mut events), false).await?;
                    }
                }
                Page::End => {
                    let through = known.applied;
                    let ends = self.until.is_some_and(|until| until <= through);
                    let lately = self.sent.is_some_and(|sent| sent.elapsed() < SIGN_OF_LIFE);
                    if !events.is_empty() || ends || !lately {
                        self.send(known, events, true).await?;
                    }
                    return Ok(through);
                }
            }
        }
    }

    async fn page(&mut self, known: &Known) -> Result<Page, Ended> {
        let broken = |error: StoreError| {
            Ended::by(Status::unavailable(format!(
                "this node's history: {error}; ask another node"
            )))
        };
        self.core.store.settle().await.map_err(broken)?;
        let (store, after) = (self.core.store.clone(), self.reader.after());
        let reading =
            tokio::task::spawn_blocking(move || store.history_page(Some(&after), PAGE_ROWS));
        let rows = reading
            .await
            .map_err(|error| Ended::by(Status::internal(error.to_string())))?
            .map_err(broken)?;
        let rows = rows.iter().map(|(key, value)| (&key[..], &value[..]));
        self.reader.take(rows, known.head, known.applied).map_err(|torn| Ended::by(lost(torn)))
    }

    async fn send(
        &mut self,
        known: Known,
        events: Vec<api::Event>,
        caught_up: bool,
    ) -> Result<(), Ended> {
        let next = self.reader.next().unwrap_or_default();
        let first = events
            .first()
            .map_or(next, |event| At { index: event.index, position: event.position });
        let batch = api::EventBatch {
            as_of: Some(known.as_of),
            events,
            next_index: next.index,
            next_position: next.position,
            caught_up,
        };
        match self.sender.send_timeout(batch, SEND_WITHIN).await {
            Ok(()) => {
                self.sent = Some(Instant::now());
                Ok(())
            }
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Ended::Gone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                Err(Ended::by(Status::resource_exhausted(format!(
                    "this consumer does not keep up: for {} s it took none of the {BATCHES_WAITING_MAX} \
                     batches of events that wait for it; nothing is lost: go on with --from {}:{}",
                    SEND_WITHIN.as_secs(),
                    first.index,
                    first.position
                ))))
            }
        }
    }
}

/// Why a consumer gets no more.
enum Ended {
    /// It has gone.
    Gone,
    /// It is told this.
    By(Box<Status>),
}

impl Ended {
    fn by(status: Status) -> Self {
        Self::By(Box::new(status))
    }
}

fn lost(torn: Torn) -> Status {
    Status::out_of_range(torn.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: a consumer gets what names its queue, agent, tenant and kinds, and a kind that does not exist is
    // refused with those that do.
    #[test]
    fn what_is_wanted() {
        let asked = |asked: api::WatchEventsRequest| Wanted::read(&asked);
        let text = str::to_owned;
        let event = api::Event {
            kind: text("contact-overflowed"),
            tenant: text("default"),
            queue: text("sales"),
            to_queue: text("support"),
            ..api::Event::default()
        };
        let request = api::WatchEventsRequest::default;
        for (request, takes) in [
            (request(), true),
            (api::WatchEventsRequest { queue: text("sales"), ..request() }, true),
            (api::WatchEventsRequest { queue: text("support"), ..request() }, true),
            (api::WatchEventsRequest { queue: text("other"), ..request() }, false),
            (api::WatchEventsRequest { agent: text("amy"), ..request() }, false),
            (api::WatchEventsRequest { tenant: text("default"), ..request() }, true),
            (api::WatchEventsRequest { tenant: text("acme"), ..request() }, false),
            (
                api::WatchEventsRequest { kinds: vec![text("contact-overflowed")], ..request() },
                true,
            ),
            (api::WatchEventsRequest { kinds: vec![text("contact-left")], ..request() }, false),
        ] {
            let wanted = asked(request.clone()).unwrap();
            assert_eq!(wanted.takes(&event), takes, "{request:?}");
        }
        let serves = api::Event { left_queues: vec![text("sales")], ..api::Event::default() };
        let site = api::Event { kind: text("site-changed"), ..api::Event::default() };
        let of_acme = asked(api::WatchEventsRequest { tenant: text("acme"), ..request() }).unwrap();
        assert!(of_acme.takes(&site), "sites are everybody's");
        let of_sales =
            asked(api::WatchEventsRequest { queue: text("sales"), ..request() }).unwrap();
        assert!(of_sales.takes(&serves));
        let wrong = asked(api::WatchEventsRequest { kinds: vec![text("contact")], ..request() });
        let refused = wrong.err().unwrap();
        assert!(refused.message().contains("contact-entered"), "{refused}");
    }

    // Goal: a consumer hears why there is no more behind everything that waits for it, and once.
    #[tokio::test]
    async fn the_last_word_comes_last() {
        use futures_util::StreamExt;
        let (sender, batches) = mpsc::channel(BATCHES_WAITING_MAX);
        let end = Arc::new(OnceLock::new());
        let mut feed = Feed { batches, end: Arc::clone(&end) };
        for next_index in [1, 2] {
            let batch = api::EventBatch { next_index, ..api::EventBatch::default() };
            sender.send(batch).await.unwrap();
        }
        end.set(Some(Status::resource_exhausted("slow"))).unwrap();
        drop(sender);
        for next_index in [1, 2] {
            assert_eq!(feed.next().await.unwrap().unwrap().next_index, next_index);
        }
        assert_eq!(feed.next().await.unwrap().unwrap_err().message(), "slow");
        assert!(feed.next().await.is_none());
    }
}

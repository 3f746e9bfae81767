//! Who listens to which node's events, with a bounded queue each.
//!
//! A listener that does not keep up is cut off and comes back for the opening states; nobody ever
//! waits for one. One stream per node: a new one ends the one before.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
};

use parking_lot::Mutex;
use tandem_proto::relay::v1::{Opened, RelayEvent, relay_event};
use tandem_rtp::{
    ids::{LegEpoch, LegId, NodeId},
    session::SessionEvent,
};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio_stream::Stream;
use tonic::Status;

use super::convert;
use crate::limits::{EVENTS_QUEUED_MAX, LISTENERS_MAX};

/// All listeners.
#[derive(Default)]
pub struct EventHub {
    listeners: Mutex<HashMap<NodeId, Sender>>,
}

struct Sender {
    queue: mpsc::Sender<RelayEvent>,
    end: Arc<OnceLock<End>>,
}

/// Why a stream ended from this side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Slow,
    Replaced,
}

/// A node that listens from now on; it is to be opened with the states of its sessions.
pub struct Listener {
    queue: mpsc::Receiver<RelayEvent>,
    end: Arc<OnceLock<End>>,
}

/// What a node hears: opening states, `opened`, then live events.
pub struct EventStream {
    opening: VecDeque<RelayEvent>,
    live: Listener,
    told_end: ToldEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ToldEnd {
    No,
    Yes,
}

impl EventHub {
    /// Begins to collect events for a node.
    pub fn listen(&self, node: NodeId) -> Result<Listener, &'static str> {
        let (sender, receiver) = mpsc::channel(EVENTS_QUEUED_MAX);
        let end = Arc::new(OnceLock::new());
        let mut listeners = self.listeners.lock();
        listeners.retain(|_, listener| !listener.queue.is_closed());
        if listeners.len() >= LISTENERS_MAX && !listeners.contains_key(&node) {
            return Err("as many nodes listen as a relay serves; end one of their streams");
        }
        let sender = Sender { queue: sender, end: Arc::clone(&end) };
        if let Some(before) = listeners.insert(node, sender) {
            before.end.get_or_init(|| End::Replaced);
        }
        Ok(Listener { queue: receiver, end })
    }

    /// Tells the owner of a leg what happened, if it listens.
    pub fn publish(&self, owner: NodeId, leg: LegId, epoch: LegEpoch, event: &SessionEvent) {
        let mut listeners = self.listeners.lock();
        let Some(listener) = listeners.get(&owner) else { return };
        match listener.queue.try_send(convert::event(leg, epoch.0, event)) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                listener.end.get_or_init(|| End::Slow);
                listeners.remove(&owner);
                tracing::warn!(
                    node = owner.0,
                    "a node was too slow for its events and was cut off"
                );
            }
            Err(TrySendError::Closed(_)) => {
                listeners.remove(&owner);
            }
        }
    }

    /// Nodes whose streams are open.
    pub fn listening_nodes(&self) -> BTreeSet<NodeId> {
        let listeners = self.listeners.lock();
        let open = listeners.iter().filter(|(_, listener)| !listener.queue.is_closed());
        open.map(|(node, _)| *node).collect()
    }
}

impl Listener {
    /// The stream, beginning with the states of the node's sessions.
    pub fn open(self, states: Vec<(LegId, u64, SessionEvent)>, incarnation: String) -> EventStream {
        let mut opening: VecDeque<_> =
            states.iter().map(|(leg, epoch, event)| convert::event(*leg, *epoch, event)).collect();
        let opened = relay_event::Event::Opened(Opened { incarnation });
        opening.push_back(RelayEvent { leg: None, leg_epoch: 0, event: Some(opened) });
        EventStream { opening, live: self, told_end: ToldEnd::No }
    }
}

impl Stream for EventStream {
    type Item = Result<RelayEvent, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let Some(event) = self.opening.pop_front() {
            return Poll::Ready(Some(Ok(event)));
        }
        if self.told_end == ToldEnd::Yes {
            return Poll::Ready(None);
        }
        match self.live.queue.poll_recv(context) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Some(event)) => Poll::Ready(Some(Ok(event))),
            Poll::Ready(None) => {
                self.told_end = ToldEnd::Yes;
                Poll::Ready(self.live.end.get().map(|end| Err(end.status())))
            }
        }
    }
}

impl End {
    fn status(self) -> Status {
        match self {
            Self::Slow => Status::resource_exhausted(
                "events came faster than they were read; listen again for the present states",
            ),
            Self::Replaced => Status::aborted("another stream of the same node took over"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;

    const NODE: NodeId = NodeId(3);

    fn leg() -> LegId {
        LegId::new(0, 5).expect("test leg")
    }

    fn stopped(silent_ms: u64) -> SessionEvent {
        SessionEvent::Stopped { silent_ms }
    }

    async fn all(stream: EventStream) -> (usize, Option<Code>) {
        let mut stream = Box::pin(stream);
        let mut events = 0;
        while let Some(event) = stream.next().await {
            match event {
                Ok(_) => events += 1,
                Err(status) => return (events, Some(status.code())),
            }
        }
        (events, None)
    }

    // Goal: the opening states come first, then `opened`, then what happened since; other nodes'
    // events do not.
    #[tokio::test]
    async fn opening_then_live() {
        let hub = EventHub::default();
        let listener = hub.listen(NODE).expect("room");
        hub.publish(NODE, leg(), LegEpoch(1), &stopped(2));
        hub.publish(NodeId(4), leg(), LegEpoch(1), &stopped(3));
        let states = vec![(leg(), 1, stopped(1))];
        let mut stream = Box::pin(listener.open(states, "life".to_owned()));
        let mut seen = Vec::new();
        for _ in 0..3 {
            seen.push(stream.next().await.expect("open").expect("an event").event.expect("filled"));
        }
        let silent = |silent_ms| {
            relay_event::Event::Stopped(tandem_proto::relay::v1::MediaStopped { silent_ms })
        };
        let opened = relay_event::Event::Opened(Opened { incarnation: "life".to_owned() });
        assert_eq!(seen, [silent(1), opened, silent(2)]);
        assert_eq!(hub.listening_nodes(), BTreeSet::from([NODE]));
        drop(stream);
        assert!(hub.listening_nodes().is_empty());
    }

    // Goal: a slow listener is cut off with a reason after a bounded queue, and may come back.
    #[tokio::test]
    async fn slow_listener_is_cut_off() {
        let hub = EventHub::default();
        let stream = hub.listen(NODE).expect("room").open(Vec::new(), String::new());
        for i in 0..=EVENTS_QUEUED_MAX as u64 {
            hub.publish(NODE, leg(), LegEpoch(1), &stopped(i));
        }
        assert_eq!(all(stream).await, (1 + EVENTS_QUEUED_MAX, Some(Code::ResourceExhausted)));
        assert!(hub.listen(NODE).is_ok());
    }

    // Goal: a second stream of the same node ends the first; the number of nodes has a limit.
    #[tokio::test]
    async fn one_stream_per_node() {
        let hub = EventHub::default();
        let first = hub.listen(NODE).expect("room").open(Vec::new(), String::new());
        let mut kept = vec![hub.listen(NODE).expect("room")];
        assert_eq!(all(first).await, (1, Some(Code::Aborted)));
        for node in 100..100 + LISTENERS_MAX as u64 - 1 {
            kept.push(hub.listen(NodeId(node)).expect("room"));
        }
        assert!(hub.listen(NodeId(1)).is_err(), "full");
        kept.pop();
        assert!(hub.listen(NodeId(1)).is_ok(), "a closed stream makes room");
    }
}

//! Another relay: its address, its flows, and the connection to it that is in use.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;
use tandem_proto::relay::v1::LinkStatus;
use tandem_rtp::{
    ids::{LegId, RelayId},
    link::{FlowId, FlowKind},
    time::MonotonicTime,
};
use tokio::sync::Notify;

use super::{
    connection::{self, Established},
    outbox::Outbox,
};
use crate::clock::RelayClock;

/// Another relay, and what is known of the way to it.
pub(super) struct LinkPeer {
    pub(super) relay: RelayId,
    pub(super) address: Mutex<Option<SocketAddr>>,
    /// Rings when the address changed or the first flow came.
    pub(super) wake: Notify,
    flows: AtomicU32,
    pub(super) outbox: Outbox,
    current: Mutex<Current>,
}

/// The connection in use.
#[derive(Default)]
struct Current {
    connection: Option<quinn::Connection>,
    incarnation: u64,
    lost_before: u64,
    last_down: String,
}

/// A session's share of a link; given back when dropped.
pub struct LinkFlow {
    peer: Arc<LinkPeer>,
}

impl LinkPeer {
    pub(super) fn new(relay: &RelayId, clock: RelayClock, flows_max: u32) -> Arc<Self> {
        Arc::new(Self {
            relay: relay.clone(),
            address: Mutex::new(None),
            wake: Notify::new(),
            flows: AtomicU32::new(0),
            outbox: Outbox::new(clock, flows_max),
            current: Mutex::new(Current::default()),
        })
    }

    /// Takes one of at most `flows_max` shares of the link.
    pub(super) fn take_flow(self: Arc<Self>, flows_max: u32) -> Option<LinkFlow> {
        let taken = self.flows.fetch_update(Ordering::AcqRel, Ordering::Acquire, |flows| {
            (flows < flows_max).then_some(flows + 1)
        });
        taken.is_ok().then_some(LinkFlow { peer: self })
    }

    pub(super) fn flows(&self) -> u32 {
        self.flows.load(Ordering::Acquire)
    }

    pub(super) fn is_up(&self) -> bool {
        self.current.lock().connection.is_some()
    }

    /// Makes a connection the one in use; an older one is closed.
    pub(super) fn adopt(&self, established: &Established) {
        let mut current = self.current.lock();
        if let Some(old) = current.connection.replace(established.connection.clone()) {
            current.lost_before += old.stats().path.lost_packets;
            old.close(connection::CLOSE_REPLACED, b"replaced by a newer link");
        }
        current.incarnation = established.who.incarnation;
    }

    /// Ends the use of a connection, unless a newer one is in use already.
    pub(super) fn release(&self, connection: &quinn::Connection, reason: &quinn::ConnectionError) {
        let mut current = self.current.lock();
        let in_use = current.connection.as_ref();
        if in_use.is_some_and(|known| known.stable_id() == connection.stable_id()) {
            current.lost_before += connection.stats().path.lost_packets;
            current.connection = None;
            current.last_down = reason.to_string();
        }
    }

    /// Ends when the peer is said to be at another address than the one that was dialled.
    pub(super) async fn moved_from(&self, dialled: Option<SocketAddr>) {
        loop {
            self.wake.notified().await;
            if dialled.is_some() && *self.address.lock() != dialled {
                return;
            }
        }
    }

    pub(super) fn status(&self) -> LinkStatus {
        let current = self.current.lock();
        let path = current.connection.as_ref().map(|connection| connection.stats().path);
        let counts = self.outbox.counts();
        LinkStatus {
            relay_id: self.relay.to_string(),
            up: path.is_some(),
            round_trip_us: path.map_or(0, |path| path.rtt.as_micros() as u64),
            sent: counts.sent.get(),
            received: counts.received.get(),
            lost: current.lost_before + path.map_or(0, |path| path.lost_packets),
            dropped: counts.dropped.get(),
            flows: self.flows(),
            last_down: current.last_down.clone(),
        }
    }
}

impl LinkFlow {
    /// To whom the link goes.
    pub fn relay(&self) -> &RelayId {
        &self.peer.relay
    }

    /// Notes where the other relay takes links.
    pub fn set_address(&self, address: SocketAddr) {
        let mut known = self.peer.address.lock();
        if *known != Some(address) {
            *known = Some(address);
        }
        drop(known);
        self.peer.wake.notify_one();
    }

    /// Sends a packet to `leg` on the other relay, or drops it by the rules of the outbox.
    pub fn send(&self, now: MonotonicTime, leg: LegId, packet: &[u8]) {
        self.peer.outbox.push(now, FlowId::towards(leg, FlowKind::Rtp), packet);
    }
}

impl Drop for LinkFlow {
    fn drop(&mut self) {
        self.peer.flows.fetch_sub(1, Ordering::AcqRel);
    }
}

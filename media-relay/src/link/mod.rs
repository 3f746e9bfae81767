//! Links: one QUIC connection for each pair of relays, RTP in its datagrams.
//!
//! - `endpoint.rs`: the UDP port, certificates, transport settings, the fixed window
//!   (`congestion.rs`).
//! - `outbox.rs`: packets that wait for a link: collected for a millisecond, dropped by age.
//! - `peer.rs`: another relay, and the connection to it that is in use.
//! - `connection.rs`: handshake, hello, the tasks of one connection.
//! - this file: which links there are, who dials, and when again.
//!
//! The relay with the smaller id dials, so that two relays that learn of each other at once make
//! one connection. All links live on one thread of their own: a batch of datagrams is then queued
//! before QUIC runs again, and shares its packets.

mod congestion;
mod connection;
mod endpoint;
mod outbox;
mod peer;

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    sync::{Arc, Weak},
    thread,
    time::Instant,
};

use parking_lot::Mutex;
use tandem_proto::relay::v1::{Endpoint as EndpointProto, LinkStatus};
use tandem_rtp::{ids::RelayId, link::dials};
use thiserror::Error;
use tokio::{
    runtime,
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    background::Background,
    clock::RelayClock,
    counters::Counters,
    limits::{
        LINK_BACKOFF_MAX, LINK_BACKOFF_MIN, LINK_HANDSHAKE_TIMEOUT, LINK_HANDSHAKES_MAX,
        LINK_LINGER, LINKS_MAX, REFUSAL_TOLD_EVERY,
    },
    media::MediaPlane,
    tls::{TlsError, TlsMaterial},
};

use connection::{Established, LinkRefused};
use endpoint::LinkEndpoint;
use peer::LinkPeer;

pub use peer::LinkFlow;

/// Who this relay is towards others.
#[derive(Debug, Clone)]
pub struct LinkIdentity {
    /// Its name.
    pub relay: RelayId,
    /// Its cluster.
    pub cluster: String,
    /// This life of its process.
    pub incarnation: u64,
}

/// All links of a relay.
pub struct Links {
    identity: LinkIdentity,
    flows_max: u32,
    clock: RelayClock,
    counters: Arc<Counters>,
    plane: Weak<MediaPlane>,
    endpoint: LinkEndpoint,
    peers: Mutex<Peers>,
    runtime: runtime::Handle,
    stop: watch::Sender<Stop>,
}

type Peers = HashMap<RelayId, Arc<LinkPeer>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    No,
    Yes,
}

/// Why a session gets no link.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum LinkFull {
    /// As many flows as configured.
    #[error("the link to relay {relay} carries all {max} flows of [relay] link_flows_max")]
    Flows {
        /// To whom.
        relay: RelayId,
        /// The limit.
        max: u32,
    },
    /// As many links as a relay may have.
    #[error("this relay is linked with {max} others, which is the most it can")]
    Links {
        /// The limit.
        max: usize,
    },
    /// The relay is starting or ending.
    #[error("this relay has no links now; it is starting or ending")]
    NoLinks,
}

/// Why links cannot start.
#[derive(Debug, Error)]
pub enum LinkStartError {
    /// The port is in use, or may not be used.
    #[error(
        "the link port {address} (UDP) cannot be opened: {error}; another relay or program has it, \
         or [relay] link is no address of this machine"
    )]
    Port {
        /// Which port.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// Certificates or keys.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The thread cannot start.
    #[error("the thread for links cannot start: {0}")]
    Thread(io::Error),
}

/// The thread that all links live on.
pub struct LinkThread {
    links: Arc<Links>,
    thread: Option<thread::JoinHandle<()>>,
}

/// How links are laid out.
pub struct LinkSetup<'a> {
    /// Who this relay is.
    pub identity: LinkIdentity,
    /// The UDP port.
    pub address: SocketAddr,
    /// Flows per link.
    pub flows_max: u32,
    /// The relay's clock.
    pub clock: RelayClock,
    /// Counts of packets.
    pub counters: Arc<Counters>,
    /// Where datagrams go.
    pub plane: &'a Arc<MediaPlane>,
    /// Certificates.
    pub tls: &'a TlsMaterial,
}

impl Links {
    /// Opens the port and begins to take links.
    pub fn start(setup: LinkSetup<'_>) -> Result<(Arc<Self>, LinkThread), LinkStartError> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map(Background::new)
            .map_err(LinkStartError::Thread)?;
        let endpoint = {
            let _inside = runtime.handle().enter();
            LinkEndpoint::open(
                setup.address,
                setup.flows_max,
                setup.tls,
                setup.identity.incarnation,
            )?
        };
        let (stop, mut stopped) = watch::channel(Stop::No);
        let links = Arc::new(Self {
            identity: setup.identity,
            flows_max: setup.flows_max,
            clock: setup.clock,
            counters: setup.counters,
            plane: Arc::downgrade(setup.plane),
            endpoint,
            peers: Mutex::new(HashMap::new()),
            runtime: runtime.handle().clone(),
            stop,
        });
        let accepting = Arc::clone(&links);
        let thread = thread::Builder::new().name("links".to_owned()).spawn(move || {
            let Some(runtime) = runtime.into_inner() else { return };
            runtime.block_on(async {
                runtime.spawn(Arc::clone(&accepting).accept_all());
                // An error means that the sender is gone, which is an end as well.
                if stopped.wait_for(|stop| *stop == Stop::Yes).await.is_ok() {
                    accepting.endpoint.close_all().await;
                }
            });
        });
        let thread = thread.map_err(LinkStartError::Thread)?;
        Ok((Arc::clone(&links), LinkThread { links, thread: Some(thread) }))
    }

    /// Takes a share of the link to `relay`, and makes the link where there is none.
    pub fn attach(
        self: &Arc<Self>,
        relay: &RelayId,
        address: SocketAddr,
    ) -> Result<LinkFlow, LinkFull> {
        // Under the lock, so that `forget` sees either the flow or no entry at all.
        let mut peers = self.peers.lock();
        let peer = self.entry(&mut peers, relay)?;
        let flow = peer.take_flow(self.flows_max);
        drop(peers);
        let flow =
            flow.ok_or_else(|| LinkFull::Flows { relay: relay.clone(), max: self.flows_max })?;
        flow.set_address(address);
        Ok(flow)
    }

    /// Where this relay takes links.
    pub fn address(&self) -> SocketAddr {
        self.endpoint.address()
    }

    /// State of all links, by name.
    pub fn status(&self) -> Vec<LinkStatus> {
        let peers: Vec<_> = self.peers.lock().values().cloned().collect();
        let mut status: Vec<_> = peers.iter().map(|peer| peer.status()).collect();
        status.sort_by(|a, b| a.relay_id.cmp(&b.relay_id));
        status
    }

    fn entry(
        self: &Arc<Self>,
        peers: &mut Peers,
        relay: &RelayId,
    ) -> Result<Arc<LinkPeer>, LinkFull> {
        if let Some(peer) = peers.get(relay) {
            return Ok(Arc::clone(peer));
        }
        if peers.len() >= LINKS_MAX {
            return Err(LinkFull::Links { max: LINKS_MAX });
        }
        let peer = LinkPeer::new(relay, self.clock, self.flows_max);
        peers.insert(relay.clone(), Arc::clone(&peer));
        let keep = Arc::clone(self).keep(Arc::clone(&peer));
        self.runtime.spawn(keep);
        Ok(peer)
    }

    /// Makes an accepted connection the one in use of its relay.
    fn register(self: &Arc<Self>, established: &Established) -> Result<Arc<LinkPeer>, LinkFull> {
        let mut peers = self.peers.lock();
        let peer = self.entry(&mut peers, &established.who.relay)?;
        peer.adopt(established);
        Ok(peer)
    }

    /// The life of one link: dials where that is our part, and forgets a peer that nobody needs.
    async fn keep(self: Arc<Self>, peer: Arc<LinkPeer>) {
        let mut backoff = LINK_BACKOFF_MIN;
        let mut unused_since = None;
        let refusals = RefusalLog::default();
        loop {
            if self.is_unused(&peer, &mut unused_since) && self.forget(&peer) {
                return;
            }
            let address = *peer.address.lock();
            let due = dials(&self.identity.relay, &peer.relay) && peer.flows() > 0;
            let Some(address) = address.filter(|_| due && !peer.is_up()) else {
                // Woken by a flow, a new address, or to look again.
                if timeout(LINK_BACKOFF_MAX, peer.wake.notified()).await.is_ok() {
                    backoff = LINK_BACKOFF_MIN;
                }
                continue;
            };
            match self.dial(&peer, address).await {
                Ok(established) => {
                    backoff = LINK_BACKOFF_MIN;
                    peer.adopt(&established);
                    self.serve(&peer, established, Some(address)).await;
                }
                Err(refused) if refused.is_lasting() => {
                    self.counters.links_refused.increment();
                    refusals.tell(&peer.relay, &refused);
                }
                Err(error) => {
                    tracing::debug!(relay = %peer.relay, %error, "a link was not made; trying again");
                }
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LINK_BACKOFF_MAX);
        }
    }

    async fn dial(&self, peer: &LinkPeer, address: SocketAddr) -> Result<Established, LinkRefused> {
        let connecting = self.endpoint.connect(address)?;
        connection::open(connecting, &self.identity, &peer.relay).await
    }

    /// Takes links that others dial, a bounded number of handshakes at a time.
    async fn accept_all(self: Arc<Self>) {
        let handshakes = Arc::new(Semaphore::new(LINK_HANDSHAKES_MAX));
        let refusals = Arc::new(RefusalLog::default());
        while let Some(incoming) = self.endpoint.accept().await {
            // Many at once may come from forged addresses: those are asked to prove themselves first
            // (RFC 9000 section 8.1.2).
            if handshakes.available_permits() < LINK_HANDSHAKES_MAX / 2 && incoming.may_retry() {
                if let Err(error) = incoming.retry() {
                    tracing::debug!(%error, "a link was not asked to retry");
                }
                continue;
            }
            let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let (links, refusals) = (Arc::clone(&self), Arc::clone(&refusals));
            tokio::spawn(async move {
                let from = incoming.remote_address();
                let taken = connection::take(incoming, &links.identity);
                let taken = timeout(LINK_HANDSHAKE_TIMEOUT, taken).await;
                drop(permit);
                match taken {
                    Ok(Ok(established)) => links.run_accepted(established).await,
                    Ok(Err(refused)) if refused.is_lasting() => {
                        links.counters.links_refused.increment();
                        refusals.tell(&from.ip(), &refused);
                    }
                    Ok(Err(error)) => tracing::debug!(%from, %error, "a link was not made"),
                    Err(_) => tracing::debug!(%from, "a link's handshake took too long"),
                }
            });
        }
    }

    async fn run_accepted(self: &Arc<Self>, established: Established) {
        match self.register(&established) {
            Ok(peer) => self.serve(&peer, established, None).await,
            Err(full) => {
                established.connection.close(connection::CLOSE_FULL, b"too many links");
                tracing::warn!(relay = %established.who.relay, %full, "a link was refused");
            }
        }
    }

    /// Runs a connection until it ends, or until a newer one takes its place, or the relay is said
    /// to be elsewhere.
    async fn serve(
        self: &Arc<Self>,
        peer: &Arc<LinkPeer>,
        established: Established,
        dialled: Option<SocketAddr>,
    ) {
        let Established { connection, who, control } = established;
        tracing::info!(relay = %peer.relay, version = who.version, "link up");
        let plane = self.plane.clone();
        let started = Instant::now();
        tokio::select! {
            () = connection::receive(&connection, peer, plane) => {}
            () = peer.outbox.flush_into(&connection) => {}
            error = connection::converse(control) => {
                tracing::debug!(relay = %peer.relay, %error, "the link's control stream ended");
            }
            () = peer.moved_from(dialled) => {}
            () = self.unused(peer, dialled) => {}
        }
        let reason = match connection.close_reason() {
            Some(reason) => reason,
            None => {
                connection.close(connection::CLOSE_DONE, b"done");
                connection.closed().await
            }
        };
        peer.release(&connection, &reason);
        let up_ms = started.elapsed().as_millis() as u64;
        tracing::info!(relay = %peer.relay, %reason, up_ms, "link down");
        peer.wake.notify_one();
    }

    /// Ends when a dialled link has had no flow for a while; accepted ones are the dialler's to
    /// end.
    async fn unused(&self, peer: &LinkPeer, dialled: Option<SocketAddr>) {
        let mut since = None;
        loop {
            tokio::time::sleep(LINK_BACKOFF_MAX).await;
            if dialled.is_some() && lingered(peer, &mut since) {
                return;
            }
        }
    }

    fn is_unused(&self, peer: &LinkPeer, since: &mut Option<Instant>) -> bool {
        !peer.is_up() && lingered(peer, since)
    }

    /// Forgets a peer without flows; false when a flow came meanwhile.
    fn forget(&self, peer: &LinkPeer) -> bool {
        let mut peers = self.peers.lock();
        if peer.flows() > 0 || peer.is_up() {
            return false;
        }
        peers.remove(&peer.relay);
        true
    }
}

fn lingered(peer: &LinkPeer, since: &mut Option<Instant>) -> bool {
    if peer.flows() > 0 {
        *since = None;
        return false;
    }
    since.get_or_insert_with(Instant::now).elapsed() >= LINK_LINGER
}

/// Tells each refusal once a minute, however often the other side tries.
#[derive(Default)]
struct RefusalLog {
    told: Mutex<Option<(String, Instant)>>,
}

impl RefusalLog {
    fn tell(&self, who: &dyn std::fmt::Display, refused: &LinkRefused) {
        let text = format!("{who}: {refused}");
        let mut told = self.told.lock();
        let repeated = told
            .as_ref()
            .is_some_and(|(last, at)| *last == text && at.elapsed() < REFUSAL_TOLD_EVERY);
        if !repeated {
            tracing::warn!(%who, %refused, "a link was refused");
            *told = Some((text, Instant::now()));
        }
    }
}

impl LinkThread {
    /// Closes all links and waits for the thread.
    pub fn stop(mut self) {
        self.links.stop.send_replace(Stop::Yes);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the links ended by a panic; this is a bug");
        }
    }
}

impl Drop for LinkThread {
    fn drop(&mut self) {
        self.links.stop.send_replace(Stop::Yes);
    }
}

/// An address of the control protocol.
pub fn endpoint_proto(address: SocketAddr) -> EndpointProto {
    EndpointProto { address: address.ip().to_string(), port: u32::from(address.port()) }
}

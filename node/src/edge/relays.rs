//! Control of relays: requests in their order, events, and the news that a relay runs anew.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tandem_callcontrol::io::{
    Input, MediaOperation, MediaReply, MediaRequest, SessionSpec, Ticket,
};
use tandem_cluster::{
    ids::{LegEpoch, LegId, NodeId},
    leg::Endpoint,
};
use tandem_proto::relay::v1 as wire;
use tandem_routing::name::Name;
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::{Status, transport::Channel};

use super::{Inbox, convert};
use crate::{
    cluster::{
        clock::Clock,
        peers::{Peers, Purpose},
    },
    rpc::relay_client::RelayClient,
};

/// Requests that may wait for one relay; beyond that it counts as not answering.
const WAITING_MAX: usize = 16_384;
/// Sessions in one call.
const SESSIONS_PER_CALL: usize = 256;
/// How long one call may take before the relay counts as not answering.
const CALL_WITHIN: Duration = Duration::from_millis(500);
/// First pause before the events are asked for again; doubles up to the next one.
const EVENTS_AGAIN: Duration = Duration::from_millis(50);
const EVENTS_AGAIN_MAX: Duration = Duration::from_secs(2);

/// Clients of all relays that this node has asked for anything.
#[derive(Debug)]
pub(super) struct Relays {
    node: NodeId,
    peers: Peers,
    clock: Arc<Clock>,
    inbox: Inbox,
    clients: BTreeMap<Name, Client>,
}

#[derive(Debug)]
struct Client {
    control: Endpoint,
    requests: mpsc::Sender<MediaRequest>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Client {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Relays {
    pub(super) fn new(node: NodeId, peers: Peers, clock: Arc<Clock>, inbox: Inbox) -> Self {
        Self { node, peers, clock, inbox, clients: BTreeMap::new() }
    }

    /// Passes a request on; its answer comes as an input. `Err` when it cannot even wait.
    pub(super) fn ask(&mut self, request: MediaRequest) -> Result<(), Ticket> {
        let ticket = request.ticket;
        let (id, control) = (request.relay.id.clone(), request.relay.control.clone());
        if self.clients.get(&id).is_none_or(|client| client.control != control) {
            let client = self.client(&id, &control).ok_or(ticket)?;
            self.clients.insert(id.clone(), client);
        }
        let client = self.clients.get(&id).ok_or(ticket)?;
        client.requests.try_send(request).map_err(|_| ticket)
    }

    fn client(&self, id: &Name, control: &Endpoint) -> Option<Client> {
        let address = match control.address.parse::<std::net::Ipv6Addr>() {
            Ok(v6) => format!("[{v6}]:{}", control.port),
            Err(_) => format!("{}:{}", control.address, control.port),
        };
        let channel = match self.peers.channel(&address, Purpose::Relay) {
            Ok(channel) => channel,
            Err(error) => {
                tracing::error!(relay = %id, %error, "the relay's address is not one");
                return None;
            }
        };
        let (requests, waiting) = mpsc::channel(WAITING_MAX);
        let shared = Shared {
            node: self.node,
            relay: id.clone(),
            channel,
            clock: Arc::clone(&self.clock),
            inbox: self.inbox.clone(),
            incarnation: Arc::default(),
        };
        let tasks = [tokio::spawn(serve(shared.clone(), waiting)), tokio::spawn(listen(shared))];
        Some(Client { control: control.clone(), requests, tasks })
    }
}

#[derive(Debug, Clone)]
struct Shared {
    node: NodeId,
    relay: Name,
    channel: Channel,
    clock: Arc<Clock>,
    inbox: Inbox,
    incarnation: Arc<Mutex<Option<String>>>,
}

impl Shared {
    fn client(&self) -> RelayClient<Channel> {
        RelayClient::new(self.channel.clone())
    }

    /// Notes which process answered; a new one has none of our sessions.
    async fn saw(&self, incarnation: String) {
        let before = self.incarnation.lock().replace(incarnation.clone());
        if before.is_some_and(|before| before != incarnation) {
            tracing::warn!(relay = %self.relay, "a relay runs anew: its sessions are made again");
            self.tell(Input::RelayRestarted { relay: self.relay.clone() }).await;
        }
    }

    async fn tell(&self, input: Input) {
        // Call control ends only with the process.
        self.inbox.send(input).await.ok();
    }

    async fn reply(&self, ticket: Ticket, reply: MediaReply) {
        self.tell(Input::Media { ticket, reply }).await;
    }
}

/// Carries requests out in their order, as many per call as wait.
async fn serve(shared: Shared, mut waiting: mpsc::Receiver<MediaRequest>) {
    let mut requests = Vec::with_capacity(SESSIONS_PER_CALL);
    while waiting.recv_many(&mut requests, SESSIONS_PER_CALL).await > 0 {
        let (mut puts, mut removals) = (Vec::new(), Vec::new());
        for request in requests.drain(..) {
            match request.what {
                MediaOperation::Put(spec) => {
                    if !removals.is_empty() {
                        remove(&shared, std::mem::take(&mut removals)).await;
                    }
                    puts.push((request.ticket, spec));
                }
                MediaOperation::Remove { leg, epoch } => {
                    if !puts.is_empty() {
                        put(&shared, std::mem::take(&mut puts)).await;
                    }
                    removals.push((request.ticket, leg, epoch));
                }
            }
        }
        if !puts.is_empty() {
            put(&shared, puts).await;
        }
        if !removals.is_empty() {
            remove(&shared, removals).await;
        }
    }
}

async fn put(shared: &Shared, puts: Vec<(Ticket, SessionSpec)>) {
    let results = match call_put(shared, &puts).await {
        Ok(results) => results,
        Err(status) => {
            tracing::debug!(relay = %shared.relay, %status, "a relay did not answer");
            for (ticket, _) in puts {
                shared.reply(ticket, MediaReply::Unreachable).await;
            }
            return;
        }
    };
    let mut again = Vec::new();
    for ((ticket, spec), result) in puts.into_iter().zip(results) {
        // The old port went to somebody else while the session was away: any port is better than
        // none, and the peer learns it by a re-INVITE.
        if result.outcome() == wire::PutOutcome::PortTaken {
            again.push((ticket, SessionSpec { local_port: None, ..spec }));
        } else {
            shared.reply(ticket, convert::put_reply(result)).await;
        }
    }
    if !again.is_empty() {
        let results = call_put(shared, &again).await;
        let mut results = results.into_iter().flatten();
        for (ticket, _) in again {
            let reply = results.next().map_or(MediaReply::Unreachable, convert::put_reply);
            shared.reply(ticket, reply).await;
        }
    }
}

async fn call_put(
    shared: &Shared,
    puts: &[(Ticket, SessionSpec)],
) -> Result<Vec<wire::PutResult>, Status> {
    let now = shared.clock.now();
    let sessions = puts.iter().map(|(_, spec)| convert::session(spec, shared.node, now)).collect();
    let mut client = shared.client();
    let reply = within(client.put_sessions(wire::PutSessionsRequest { sessions })).await?;
    shared.saw(reply.incarnation).await;
    if reply.results.len() != puts.len() {
        return Err(Status::internal("the relay answered for another number of sessions"));
    }
    Ok(reply.results)
}

async fn remove(shared: &Shared, removals: Vec<(Ticket, LegId, LegEpoch)>) {
    let sessions = removals
        .iter()
        .map(|(_, leg, epoch)| wire::RemoveSession {
            leg: Some(convert::leg_ref(*leg)),
            leg_epoch: epoch.0,
        })
        .collect();
    let mut client = shared.client();
    let result = within(client.remove_sessions(wire::RemoveSessionsRequest { sessions })).await;
    // A session that could not be removed ends by itself when nobody is heard any more.
    let reply = if result.is_ok() { MediaReply::Removed } else { MediaReply::Unreachable };
    for (ticket, ..) in removals {
        shared.reply(ticket, reply.clone()).await;
    }
}

async fn within<T>(
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(CALL_WITHIN, call).await {
        Ok(reply) => reply.map(tonic::Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded("the relay did not answer in time")),
    }
}

/// Follows a relay's events for as long as the client lives.
async fn listen(shared: Shared) {
    let mut pause = EVENTS_AGAIN;
    loop {
        let request = wire::EventsRequest { node: shared.node.0 };
        match within(shared.client().events(request)).await {
            Ok(mut events) => {
                while let Ok(Some(event)) = events.message().await {
                    pause = EVENTS_AGAIN;
                    if let Some(wire::relay_event::Event::Opened(opened)) = &event.event {
                        shared.saw(opened.incarnation.clone()).await;
                    } else if let Some((leg, epoch, event)) = convert::event(event) {
                        shared.tell(Input::MediaEvent { leg, epoch, event }).await;
                    }
                }
            }
            Err(status) => {
                tracing::trace!(relay = %shared.relay, %status, "no events of a relay");
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(EVENTS_AGAIN_MAX);
    }
}

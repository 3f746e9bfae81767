//! Server transactions: INVITE (RFC 3261 17.2.1 with RFC 6026) and the others (17.2.2).

use bytes::Bytes;

use super::{Transactions, TxTimer};
use crate::io::{Flow, Transport};
use crate::sip::{Message, Method, Received};
use crate::time::{RunTime, TimerId};

/// A server transaction is matched by branch, sent-by and method (RFC 3261 17.2.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ServerKey {
    branch: String,
    sent_by: String,
    method: Method,
}

impl ServerKey {
    /// `None` without the magic cookie: the phone does not speak RFC 2543.
    fn of(request: &Received) -> Option<Self> {
        let branch = request.via.branch().filter(|text| text.starts_with("z9hG4bK"))?;
        let method = match request.method()? {
            Method::Ack => Method::Invite,
            other => other.clone(),
        };
        let port = request.via.port.unwrap_or(5060);
        Some(Self {
            branch: branch.to_owned(),
            sent_by: format!("{}:{port}", request.via.host),
            method,
        })
    }

    /// The INVITE that a CANCEL with this key is about (RFC 3261 9.2).
    pub(crate) fn cancelled(&self) -> Self {
        Self { method: Method::Invite, ..self.clone() }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ServerState {
    /// Trying or Proceeding: no final response yet.
    Proceeding,
    /// The test wants this request to stay unanswered.
    Ignored,
    /// A final response was sent (for INVITE: a failure, waiting for its ACK).
    Completed,
    /// The ACK to a failure came.
    Confirmed,
    /// A 2xx to INVITE was sent (RFC 6026): the user agent repeats it.
    Accepted,
}

#[derive(Debug)]
pub(super) struct Server {
    state: ServerState,
    flow: Flow,
    last_response: Option<Bytes>,
    interval_ms: u64,
    retransmit: Option<TimerId>,
    end: Option<TimerId>,
}

/// Where a request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    Unknown,
    Unanswered,
    Ignored,
    Answered,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RequestFate {
    /// New: answer it under this key.
    New(ServerKey),
    /// An ACK that belongs to no failure response: to a 2xx, or stray.
    Ack,
    /// A repetition, or an ACK to a failure; done.
    Absorbed,
    /// No room, or no usable branch: dropped.
    Dropped,
}

impl Transactions {
    /// Sorts a request; the source is noted in its Via already.
    pub(crate) fn on_request(
        &mut self,
        now: RunTime,
        request: &Received,
        flow: Flow,
    ) -> RequestFate {
        let is_ack = request.method() == Some(&Method::Ack);
        let Some(key) = ServerKey::of(request) else {
            return if is_ack { RequestFate::Ack } else { RequestFate::Dropped };
        };
        if let Some(server) = self.servers.get_mut(&key) {
            match (server.state, is_ack) {
                (ServerState::Completed, true) => self.confirm(now, &key),
                (ServerState::Accepted, true) => return RequestFate::Ack,
                (ServerState::Proceeding | ServerState::Completed, false) => {
                    let again = server.last_response.clone().map(|bytes| (server.flow, bytes));
                    self.outbox.extend(again);
                }
                _ => {}
            }
            return RequestFate::Absorbed;
        }
        if is_ack {
            return RequestFate::Ack;
        }
        let Some(flow) = response_flow(request, flow).filter(|_| self.has_room()) else {
            return RequestFate::Dropped;
        };
        let server = Server {
            state: ServerState::Proceeding,
            flow,
            last_response: None,
            interval_ms: self.timing.t1_ms,
            retransmit: None,
            end: None,
        };
        self.servers.insert(key.clone(), server);
        RequestFate::New(key)
    }

    /// Leaves a request without an answer, as a dead phone would.
    pub(crate) fn ignore(&mut self, now: RunTime, key: &ServerKey) {
        let linger_ms = self.timing.give_up_ms();
        if let Some(server) = self.servers.get_mut(key) {
            server.state = ServerState::Ignored;
            self.timers.set(now.plus_ms(linger_ms), TxTimer::ServerEnd(key.clone()));
        }
    }

    /// Where a request stands: what a CANCEL needs to know.
    pub(crate) fn standing(&self, key: &ServerKey) -> Standing {
        match self.servers.get(key).map(|server| server.state) {
            None => Standing::Unknown,
            Some(ServerState::Proceeding) => Standing::Unanswered,
            Some(ServerState::Ignored) => Standing::Ignored,
            Some(_) => Standing::Answered,
        }
    }

    /// Answers a request. A second final response is not sent.
    pub(crate) fn respond(&mut self, now: RunTime, key: &ServerKey, response: &Message) {
        let Some(server) = self.servers.get_mut(key) else { return };
        if server.state != ServerState::Proceeding {
            return;
        }
        let code = response.code().unwrap_or_default();
        let bytes = response.to_bytes();
        server.last_response = Some(bytes.clone());
        let flow = server.flow;
        self.outbox.push((flow, bytes));
        if code < 200 {
            return;
        }
        let is_invite = key.method == Method::Invite;
        let give_up_ms = self.timing.give_up_ms();
        let linger_ms = match (is_invite, code < 300, flow.transport) {
            (true, true, _) => {
                server.state = ServerState::Accepted;
                give_up_ms
            }
            (true, false, transport) => {
                server.state = ServerState::Completed;
                if transport == Transport::Udp {
                    let at = now.plus_ms(server.interval_ms);
                    let timer = TxTimer::ServerRetransmit(key.clone());
                    server.retransmit = Some(self.timers.set(at, timer));
                }
                give_up_ms
            }
            (false, _, transport) => {
                server.state = ServerState::Completed;
                // Timer J is zero on reliable transports.
                if transport == Transport::Udp { give_up_ms } else { 0 }
            }
        };
        let end = self.timers.set(now.plus_ms(linger_ms), TxTimer::ServerEnd(key.clone()));
        if let Some(server) = self.servers.get_mut(key) {
            server.end = Some(end);
        }
    }

    /// Timer G.
    pub(super) fn retransmit_server(&mut self, now: RunTime, key: &ServerKey) {
        let Some(server) = self.servers.get_mut(key) else { return };
        let again = server.last_response.clone().map(|bytes| (server.flow, bytes));
        self.outbox.extend(again);
        server.interval_ms = self.timing.next_interval_ms(server.interval_ms);
        let at = now.plus_ms(server.interval_ms);
        server.retransmit = Some(self.timers.set(at, TxTimer::ServerRetransmit(key.clone())));
    }

    fn confirm(&mut self, now: RunTime, key: &ServerKey) {
        let t4_ms = self.timing.t4_ms;
        let Some(server) = self.servers.get_mut(key) else { return };
        server.state = ServerState::Confirmed;
        for timer in [server.retransmit.take(), server.end.take()].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        // Timer I.
        let linger_ms = if server.flow.transport == Transport::Udp { t4_ms } else { 0 };
        server.end = Some(self.timers.set(now.plus_ms(linger_ms), TxTimer::ServerEnd(key.clone())));
    }

    /// Where the response to this request goes.
    pub(crate) fn flow_of(&self, key: &ServerKey) -> Option<Flow> {
        self.servers.get(key).map(|server| server.flow)
    }
}

/// Over UDP by the Via, over TCP by the connection (RFC 3261 18.2.2).
fn response_flow(request: &Received, flow: Flow) -> Option<Flow> {
    match flow.transport {
        Transport::Tcp => Some(flow),
        Transport::Udp => request.via.response_address().map(|remote| Flow { remote, ..flow }),
    }
}

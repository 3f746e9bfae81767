//! SIP transactions (RFC 3261 section 17, RFC 6026), as values without sockets or clock.
//!
//! Requests and responses that came in are sorted here: retransmissions are answered or absorbed,
//! the rest goes to the user agent. What must leave is collected in an outbox.

mod client;
mod server;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub(crate) use client::ResponseFate;
use client::{Client, ClientKey};
use server::Server;
pub(crate) use server::{RequestFate, ServerKey, Standing};

use crate::io::{Flow, Transport};
use crate::limits::TRANSACTIONS_MAX;
use crate::sip::Message;
use crate::time::{RunTime, TimerQueue};
use crate::ua::TxUser;

/// SIP's timers (RFC 3261 17.1.1.1, table 4). Everything else is a multiple of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SipTimers {
    /// Round trip estimate, ms, at least 1.
    pub t1_ms: u64,
    /// Longest retransmission interval, ms.
    pub t2_ms: u64,
    /// How long a message stays in the network, ms.
    pub t4_ms: u64,
}

impl Default for SipTimers {
    fn default() -> Self {
        Self { t1_ms: 500, t2_ms: 4_000, t4_ms: 5_000 }
    }
}

impl SipTimers {
    /// 64*T1: timers B, F, H, J, L, M.
    #[must_use]
    pub const fn give_up_ms(self) -> u64 {
        64 * self.t1_ms
    }

    /// The interval after this one, for requests that are no INVITE and for responses.
    pub(crate) fn next_interval_ms(self, interval_ms: u64) -> u64 {
        (interval_ms * 2).min(self.t2_ms)
    }
}

/// A client transaction that ended without a final response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TxEvent {
    /// Timer B or F fired.
    Timeout(TxUser),
    /// The transport refused.
    TransportFailed(TxUser),
}

/// No room for another transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableFull;

#[derive(Clone, Debug)]
enum TxTimer {
    ClientRetransmit(ClientKey),
    ClientTimeout(ClientKey),
    ClientEnd(ClientKey),
    ServerRetransmit(ServerKey),
    ServerEnd(ServerKey),
}

/// All transactions of a world.
#[derive(Debug)]
pub(crate) struct Transactions {
    timing: SipTimers,
    clients: BTreeMap<ClientKey, Client>,
    servers: BTreeMap<ServerKey, Server>,
    timers: TimerQueue<TxTimer>,
    outbox: Vec<(Flow, Bytes)>,
}

impl Transactions {
    pub(crate) fn new(timing: SipTimers) -> Self {
        Self {
            timing,
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            timers: TimerQueue::new(),
            outbox: Vec::new(),
        }
    }

    /// When something is due next.
    pub(crate) fn next_due(&self) -> Option<RunTime> {
        self.timers.next_due()
    }

    /// What must be sent now, in order.
    pub(crate) fn drain_outbox(&mut self) -> Vec<(Flow, Bytes)> {
        std::mem::take(&mut self.outbox)
    }

    /// Sends a message outside of any transaction (ACK to a 2xx, a 2xx again).
    pub(crate) fn send(&mut self, flow: Flow, bytes: Bytes) {
        self.outbox.push((flow, bytes));
    }

    /// How many transactions live.
    pub(crate) fn len(&self) -> usize {
        self.clients.len() + self.servers.len()
    }

    /// Does what is due.
    pub(crate) fn on_time(&mut self, now: RunTime) -> Vec<TxEvent> {
        let mut events = Vec::new();
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                TxTimer::ClientRetransmit(key) => self.retransmit_client(now, &key),
                TxTimer::ClientTimeout(key) => {
                    events.extend(self.clients.remove(&key).map(|tx| TxEvent::Timeout(tx.user)));
                }
                TxTimer::ClientEnd(key) => drop(self.clients.remove(&key)),
                TxTimer::ServerRetransmit(key) => self.retransmit_server(now, &key),
                TxTimer::ServerEnd(key) => drop(self.servers.remove(&key)),
            }
        }
        events
    }

    /// A flow is broken: its client transactions without a final response fail (RFC 3261 8.1.3.1).
    pub(crate) fn on_transport_failure(&mut self, flow: Flow) -> Vec<TxEvent> {
        let failed: Vec<ClientKey> = self
            .clients
            .iter()
            .filter(|(_, tx)| tx.flow == flow && tx.is_waiting())
            .map(|(key, _)| key.clone())
            .collect();
        failed
            .iter()
            .filter_map(|key| self.end_client(key))
            .map(|tx| TxEvent::TransportFailed(tx.user))
            .collect()
    }

    fn has_room(&self) -> bool {
        self.len() < TRANSACTIONS_MAX
    }

    /// Retransmission is for unreliable transports only (RFC 3261 17.1.1.2).
    fn retransmits(flow: Flow) -> bool {
        flow.transport == Transport::Udp
    }
}

/// A message and the flow that it takes.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) message: Message,
    pub(crate) flow: Flow,
}

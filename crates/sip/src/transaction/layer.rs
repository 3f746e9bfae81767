//! [`TransactionLayer`]: all transactions of a node, found by their messages and driven by time.
//!
//! Only tables, the output queue and the entry points live here; what happens to requests of ours is
//! in `client_side`, to requests of others in `server_side`, and the rules of each transaction in the
//! four machines.

use super::client_side::ClientTable;
use super::flow::{ConnectionId, Flow, SymmetricResponses};
use super::malformed;
use super::output::{
    ClientTx, Counters, Event, Gate, Output, Owner, ServerTx, TransactionId, Transmit,
};
use super::server_side::ServerTable;
use super::timers::{Timer, TimerConfig, TimerKey, TimerQueue, later};
use crate::limits::{CLIENT_TRANSACTIONS_MAX, SERVER_TRANSACTIONS_MAX, TIMERS_PER_CALL_MAX};
use crate::message::{Message, ParseFailure};
use crate::prng::Prng;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Settings of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerConfig {
    /// Timer durations.
    pub timers: TimerConfig,
    /// Where UDP responses go.
    pub symmetric_responses: SymmetricResponses,
    /// Most client transactions at once.
    pub client_transactions_max: usize,
    /// Most server transactions at once; further requests get 503.
    pub server_transactions_max: usize,
    /// Retry-After of that 503, in seconds.
    pub retry_after_s: u32,
}

impl Default for LayerConfig {
    fn default() -> Self {
        Self {
            timers: TimerConfig::default(),
            symmetric_responses: SymmetricResponses::default(),
            client_transactions_max: CLIENT_TRANSACTIONS_MAX,
            server_transactions_max: SERVER_TRANSACTIONS_MAX,
            retry_after_s: 10,
        }
    }
}

/// All transactions of a node (RFC 3261 section 17).
///
/// Contract: after each `handle_*` or command call, drain [`TransactionLayer::poll_output`] until it
/// returns `None`; call [`TransactionLayer::handle_timeout`] when the instant of
/// [`TransactionLayer::poll_timeout`] has come. Time never goes back between calls.
///
/// ```
/// use std::time::Instant;
/// use tandem_sip::message::{StatusCode, parse_datagram};
/// use tandem_sip::prng::Prng;
/// use tandem_sip::transaction::{Event, Flow, LayerConfig, Output, TransactionLayer};
///
/// # #[allow(clippy::disallowed_methods)]
/// # let now = Instant::now(); // the shell's clock
/// let mut layer = TransactionLayer::new(LayerConfig::default(), Prng::from_number(1));
/// let source = Flow::udp("192.0.2.1:5060".parse().unwrap(), "192.0.2.2:5060".parse().unwrap());
/// let bytes = b"OPTIONS sip:h SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.2;branch=z9hG4bK1\r\n\
///     From: <sip:a@h>;tag=1\r\nTo: <sip:h>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\n\r\n";
/// layer.handle_message(now, &source, parse_datagram(bytes.as_slice()).unwrap());
///
/// let Some(Output::Event(Event::Request { server_tx, .. })) = layer.poll_output() else { panic!() };
/// let response = layer.response_for(server_tx, StatusCode::OK).unwrap();
/// layer.respond(now, server_tx, &response).unwrap();
///
/// let Some(Output::Transmit(transmit)) = layer.poll_output() else { panic!() };
/// assert!(transmit.bytes.starts_with(b"SIP/2.0 200 OK\r\n"));
/// assert_eq!(transmit.flow.remote, source.remote);
/// assert!(layer.poll_output().is_none() && layer.poll_timeout().is_some());
/// ```
///
/// Invariant S1: every transaction ends within its timers; see [`TimerConfig`] for those that RFC 3261
/// leaves open.
pub struct TransactionLayer {
    pub(super) config: LayerConfig,
    pub(super) prng: Prng,
    pub(super) clients: ClientTable,
    pub(super) servers: ServerTable,
    pub(super) timers: TimerQueue<(TransactionId, Timer)>,
    pub(super) gate: Gate,
    pub(super) counters: Counters,
    /// At most a few outputs for each transaction that one call touches; empty between calls.
    outputs: VecDeque<Output>,
    next_id: u64,
}

impl TransactionLayer {
    /// An empty layer with the gate open.
    pub fn new(config: LayerConfig, prng: Prng) -> Self {
        Self {
            config,
            prng,
            clients: ClientTable::default(),
            servers: ServerTable::default(),
            timers: TimerQueue::new(),
            gate: Gate::Open,
            counters: Counters::default(),
            outputs: VecDeque::new(),
            next_id: 1,
        }
    }

    /// Takes a message that came in by `source`.
    pub fn handle_message(&mut self, now: Instant, source: &Flow, message: Message) {
        match message {
            Message::Request(request) => self.handle_request(now, source, *request),
            Message::Response(response) => self.handle_response(now, source, response),
        }
    }

    /// Takes bytes that are no message: answers 400, 414, 505 or 513 where the salvage allows it, and
    /// drops the rest in silence.
    pub fn handle_malformed(&mut self, source: &Flow, failure: &ParseFailure) {
        let Some(salvage) = &failure.salvage else {
            self.counters.malformed_dropped += 1;
            return;
        };
        self.counters.malformed_answered += 1;
        let to_tag = self.prng.token();
        let symmetric = self.config.symmetric_responses;
        let (route, bytes) = malformed::answer(salvage, &failure.error, source, symmetric, &to_tag);
        self.transmit(Transmit::reply(&route, bytes, None));
    }

    /// The shell could not send a [`Transmit`] of this transaction.
    pub fn handle_transmit_failed(&mut self, now: Instant, transaction: TransactionId) {
        match transaction {
            TransactionId::Client(tx) => self.client_transport_error(now, tx),
            TransactionId::Server(tx) => self.server_transport_error(now, tx),
        }
    }

    /// A connection closed: requests on it that nobody has answered yet have failed. Those with a
    /// provisional response wait on, since their peer may answer over a new connection (RFC 3261
    /// section 18.2.2).
    pub fn handle_connection_closed(&mut self, now: Instant, connection: ConnectionId) {
        for tx in self.clients.unanswered_on(connection) {
            self.client_transport_error(now, tx);
        }
    }

    /// Fires the timers whose time has come, at most [`TIMERS_PER_CALL_MAX`] of them; if more are due,
    /// [`TransactionLayer::poll_timeout`] returns an instant that has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        for _ in 0..TIMERS_PER_CALL_MAX {
            let Some((key, (transaction, timer))) = self.timers.pop_due(now) else { return };
            match transaction {
                TransactionId::Client(tx) => self.client_timer(now, tx, timer, key),
                TransactionId::Server(tx) => self.server_timer(now, tx, timer, key),
            }
        }
    }

    /// When to call [`TransactionLayer::handle_timeout`]; `None` while no timer runs.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_deadline()
    }

    /// The next output, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Holds back, or lets go, everything that this layer originates: new requests, retransmissions,
    /// ACK and CANCEL. Responses to requests that come in still leave, and timers go on, so that every
    /// transaction still ends. When the gate opens, what was held back and is still wanted leaves once.
    pub fn originate_gate(&mut self, gate: Gate) {
        self.gate = gate;
        if gate == Gate::Open {
            self.release_withheld();
        }
    }

    /// The gate as it stands.
    pub fn gate(&self) -> Gate {
        self.gate
    }

    /// Number of client transactions.
    pub fn client_transactions(&self) -> usize {
        self.clients.len()
    }

    /// Number of server transactions.
    pub fn server_transactions(&self) -> usize {
        self.servers.len()
    }

    /// Number of running timers.
    pub fn running_timers(&self) -> usize {
        self.timers.len()
    }

    /// Counts since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Drops all transactions of an owner without sending or reporting anything: another node acts for
    /// it now. Returns how many.
    pub fn drop_transactions(&mut self, owner: Owner) -> usize {
        self.drop_client_transactions(owner) + self.drop_server_transactions(owner)
    }

    pub(super) fn next_client_id(&mut self) -> ClientTx {
        self.next_id += 1;
        ClientTx(self.next_id)
    }

    pub(super) fn next_server_id(&mut self) -> ServerTx {
        self.next_id += 1;
        ServerTx(self.next_id)
    }

    pub(super) fn transmit(&mut self, transmit: Transmit) {
        self.outputs.push_back(Output::Transmit(transmit));
    }

    pub(super) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    pub(super) fn set_timer(
        &mut self,
        now: Instant,
        transaction: TransactionId,
        timer: Timer,
        wait: Duration,
    ) -> TimerKey {
        self.timers.set(later(now, wait), (transaction, timer))
    }
}

impl std::fmt::Debug for TransactionLayer {
    /// Counts only: the transactions hold messages, and those numbers and names.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TransactionLayer")
            .field("clients", &self.clients.len())
            .field("servers", &self.servers.len())
            .field("timers", &self.timers.len())
            .field("gate", &self.gate)
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

/// The timers that one transaction runs.
#[derive(Debug, Default)]
pub(super) struct RunningTimers(Vec<(Timer, TimerKey)>);

impl RunningTimers {
    /// Notes a timer; returns the key of the same timer that ran before.
    pub(super) fn started(&mut self, timer: Timer, key: TimerKey) -> Option<TimerKey> {
        let before = self.stopped(timer);
        self.0.push((timer, key));
        debug_assert!(self.0.len() <= crate::limits::TIMERS_PER_TRANSACTION_MAX, "{:?}", self.0);
        before
    }

    /// Forgets a timer; returns its key.
    pub(super) fn stopped(&mut self, timer: Timer) -> Option<TimerKey> {
        let at = self.0.iter().position(|(running, _)| *running == timer)?;
        Some(self.0.swap_remove(at).1)
    }

    /// Forgets a timer that fired; `false` when it is not the one that runs.
    pub(super) fn fired(&mut self, timer: Timer, key: TimerKey) -> bool {
        let before = self.0.len();
        self.0.retain(|running| *running != (timer, key));
        self.0.len() < before
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = TimerKey> {
        self.0.iter().map(|(_, key)| *key)
    }
}

//! Requests of ours: client transactions, ACK, CANCEL, and the gate that holds them back.

use super::build::{ack_for_failure, build_cancel};
use super::client::{self, Client};
use super::flow::{ConnectionId, Flow, Hop};
use super::invite_client::{self, InviteClient};
use super::key::ClientKey;
use super::layer::{RunningTimers, TransactionLayer};
use super::machine::{Action, Actions, Reliability, ResponseClass};
use super::output::{
    CancelError, CancelOutcome, ClientTx, Event, Gate, Owner, SendError, Sent, TransactionId,
    Transmit,
};
use super::timers::{Timer, TimerKey};
use crate::limits::MESSAGE_BYTES_MAX;
use crate::message::{Method, Reason, Request, Response};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// All client transactions.
#[derive(Default)]
pub(super) struct ClientTable {
    entries: BTreeMap<ClientTx, ClientEntry>,
    by_key: BTreeMap<ClientKey, ClientTx>,
    by_owner: BTreeSet<(Owner, ClientTx)>,
    by_connection: BTreeSet<(ConnectionId, ClientTx)>,
    withheld: BTreeSet<ClientTx>,
}

struct ClientEntry {
    machine: Machine,
    key: ClientKey,
    owner: Owner,
    flow: Flow,
    /// What ACK and CANCEL are made from.
    skeleton: Box<Request>,
    bytes: Bytes,
    ack: Option<Bytes>,
    timers: RunningTimers,
    reporting: Reporting,
    cancel: CancelState,
    /// What the gate holds back.
    withheld: Option<Originated>,
    requests_sent: u32,
}

enum Machine {
    Invite(InviteClient),
    Other(Client),
}

/// Whether the core hears of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reporting {
    ToCore,
    /// A CANCEL that the layer made: its outcome shows in the INVITE.
    Quiet,
}

#[derive(PartialEq, Eq)]
enum CancelState {
    NotWanted,
    /// Waits for a provisional response.
    Wanted(Vec<Reason>),
    Sent,
}

/// What a client transaction sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Originated {
    Request,
    Ack,
}

/// The parts of a new entry.
struct NewClient {
    machine: Machine,
    key: ClientKey,
    request: Request,
    bytes: Bytes,
    flow: Flow,
    owner: Owner,
    reporting: Reporting,
}

impl ClientTable {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Transactions on a connection that have no response yet.
    pub(super) fn unanswered_on(&self, connection: ConnectionId) -> Vec<ClientTx> {
        let first = (connection, ClientTx(0));
        let on_connection = self.by_connection.range(first..).take_while(|(c, _)| *c == connection);
        on_connection
            .map(|(_, tx)| *tx)
            .filter(|tx| self.entries.get(tx).is_some_and(|entry| entry.machine.is_unanswered()))
            .collect()
    }

    fn insert(&mut self, tx: ClientTx, entry: ClientEntry) {
        self.by_key.insert(entry.key.clone(), tx);
        self.by_owner.insert((entry.owner, tx));
        if let Some(connection) = entry.flow.connection {
            self.by_connection.insert((connection, tx));
        }
        self.entries.insert(tx, entry);
    }

    fn remove(&mut self, tx: ClientTx) -> Option<ClientEntry> {
        let entry = self.entries.remove(&tx)?;
        self.by_key.remove(&entry.key);
        self.by_owner.remove(&(entry.owner, tx));
        if let Some(connection) = entry.flow.connection {
            self.by_connection.remove(&(connection, tx));
        }
        self.withheld.remove(&tx);
        Some(entry)
    }

    fn of_owner(&self, owner: Owner) -> Vec<ClientTx> {
        let own = self.by_owner.range((owner, ClientTx(0))..).take_while(|(o, _)| *o == owner);
        own.map(|(_, tx)| *tx).collect()
    }
}

impl Machine {
    fn is_unanswered(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.state() == invite_client::State::Calling,
            Self::Other(machine) => machine.state() == client::State::Trying,
        }
    }

    /// Whether the request may still be sent again (RFC 3261 sections 17.1.1.2 and 17.1.2.2).
    fn sends_request(&self) -> bool {
        match self {
            Self::Invite(machine) => machine.state() == invite_client::State::Calling,
            Self::Other(machine) => {
                matches!(machine.state(), client::State::Trying | client::State::Proceeding)
            }
        }
    }
}

impl TransactionLayer {
    /// Sends a request as a new transaction (RFC 3261 section 17.1).
    ///
    /// A request without Via gets one from `hop` with a fresh branch. A request that has a Via keeps it,
    /// so that a branch can be given: by a node that cancels what a dead node sent, for instance. While
    /// the gate is held the request waits inside, with its timers running.
    ///
    /// # Errors
    /// [`SendError`]; nothing is sent then.
    pub fn send_request(
        &mut self,
        now: Instant,
        request: Request,
        hop: &Hop,
        owner: Owner,
    ) -> Result<ClientTx, SendError> {
        self.open_client(now, request, hop, owner, Reporting::ToCore)
    }

    /// Continues the ringing INVITE of another node: `invite` is its replicated skeleton with the top
    /// Via that was sent. Nothing is sent; responses that come here are handled, and
    /// [`TransactionLayer::cancel`] works.
    ///
    /// # Errors
    /// [`SendError`].
    pub fn adopt_client_invite(
        &mut self,
        now: Instant,
        invite: Request,
        hop: &Hop,
        owner: Owner,
    ) -> Result<ClientTx, SendError> {
        let key = self.check_sendable(&invite)?;
        let bytes = invite.to_bytes();
        let (machine, actions) = InviteClient::adopt(reliability(&hop.flow), &self.config.timers);
        let tx = self.insert_client(NewClient {
            machine: Machine::Invite(machine),
            key,
            request: invite,
            bytes,
            flow: hop.flow,
            owner,
            reporting: Reporting::ToCore,
        });
        self.run_client(now, tx, actions, None);
        Ok(tx)
    }

    /// Cancels an INVITE (RFC 3261 section 9.1): at once when a provisional response has come, else with
    /// the first one. The INVITE's own transaction reports how it ended: by its final response, or by a
    /// timeout 64*T1 after the CANCEL.
    ///
    /// # Errors
    /// [`CancelError`].
    pub fn cancel(
        &mut self,
        now: Instant,
        client_tx: ClientTx,
        reasons: &[Reason],
    ) -> Result<CancelOutcome, CancelError> {
        let entry = self.clients.entries.get_mut(&client_tx).ok_or(CancelError::Unknown)?;
        let Machine::Invite(machine) = &entry.machine else { return Err(CancelError::NotInvite) };
        match (machine.state(), &entry.cancel) {
            (_, CancelState::Sent) => Ok(CancelOutcome::AlreadySent),
            (invite_client::State::Calling, _) => {
                entry.cancel = CancelState::Wanted(reasons.to_vec());
                Ok(CancelOutcome::AfterProvisional)
            }
            (invite_client::State::Proceeding, _) => {
                self.send_cancel(now, client_tx, reasons);
                Ok(CancelOutcome::Sent)
            }
            _ => Ok(CancelOutcome::TooLate),
        }
    }

    /// Sends an ACK for a 2xx (RFC 3261 section 13.2.2.4), which has no transaction. An ACK without Via
    /// gets one; keep the request and send it again for each repeated 2xx.
    pub fn send_ack(&mut self, ack: &mut Request, hop: &Hop) -> Sent {
        if ack.vias.is_empty() {
            ack.vias.push(hop.via(&mut self.prng));
        }
        if self.gate == Gate::Held {
            self.counters.withheld += 1;
            return Sent::Withheld;
        }
        let (flow, bytes) = (hop.flow, ack.to_bytes());
        self.transmit(Transmit { flow, reconnect: None, bytes, transaction: None });
        Sent::Yes
    }

    /// Drops all client transactions of an owner without sending or reporting anything. Returns how
    /// many.
    pub fn drop_client_transactions(&mut self, owner: Owner) -> usize {
        let own = self.clients.of_owner(owner);
        for tx in &own {
            self.forget_client(*tx);
        }
        own.len()
    }

    /// Drops all client transactions without sending or reporting anything: the node was fenced. Returns
    /// how many.
    pub fn drop_all_client_transactions(&mut self) -> usize {
        let all: Vec<ClientTx> = self.clients.entries.keys().copied().collect();
        for tx in &all {
            self.forget_client(*tx);
        }
        all.len()
    }

    pub(super) fn handle_response(&mut self, now: Instant, source: &Flow, response: Box<Response>) {
        let found = ClientKey::of_response(&response)
            .and_then(|key| self.clients.by_key.get(&key).copied());
        let Some(tx) = found else {
            self.counters.stray_responses += 1;
            self.event(Event::StrayResponse { response, source: *source });
            return;
        };
        let class = ResponseClass::from(response.status);
        let actions = self.step_client(
            tx,
            invite_client::Input::Response(class),
            client::Input::Response(class),
        );
        self.run_client(now, tx, actions, Some((response, *source)));
        self.send_wanted_cancel(now, tx);
    }

    pub(super) fn client_timer(&mut self, now: Instant, tx: ClientTx, timer: Timer, key: TimerKey) {
        let Some(entry) = self.clients.entries.get_mut(&tx) else { return };
        if !entry.timers.fired(timer, key) {
            return;
        }
        let actions =
            self.step_client(tx, invite_client::Input::Timer(timer), client::Input::Timer(timer));
        self.run_client(now, tx, actions, None);
    }

    pub(super) fn client_transport_error(&mut self, now: Instant, tx: ClientTx) {
        let actions = self.step_client(
            tx,
            invite_client::Input::TransportError,
            client::Input::TransportError,
        );
        self.run_client(now, tx, actions, None);
    }

    /// Sends what the gate held back and is still wanted, once each.
    pub(super) fn release_withheld(&mut self) {
        for tx in std::mem::take(&mut self.clients.withheld) {
            let Some(entry) = self.clients.entries.get_mut(&tx) else { continue };
            match entry.withheld.take() {
                Some(Originated::Request) if !entry.machine.sends_request() => {}
                Some(what) => self.send_client(tx, what),
                None => {}
            }
        }
    }

    fn open_client(
        &mut self,
        now: Instant,
        mut request: Request,
        hop: &Hop,
        owner: Owner,
        reporting: Reporting,
    ) -> Result<ClientTx, SendError> {
        if request.vias.is_empty() {
            request.vias.push(hop.via(&mut self.prng));
        }
        let key = self.check_sendable(&request)?;
        let bytes = request.to_bytes();
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(SendError::TooLarge { len: bytes.len(), max: MESSAGE_BYTES_MAX });
        }
        let reliability = reliability(&hop.flow);
        let (machine, actions) = if request.method == Method::Invite {
            let (machine, actions) = InviteClient::start(reliability, &self.config.timers);
            (Machine::Invite(machine), actions)
        } else {
            let (machine, actions) = Client::start(reliability, &self.config.timers);
            (Machine::Other(machine), actions)
        };
        let flow = hop.flow;
        let tx =
            self.insert_client(NewClient { machine, key, request, bytes, flow, owner, reporting });
        self.run_client(now, tx, actions, None);
        Ok(tx)
    }

    fn check_sendable(&self, request: &Request) -> Result<ClientKey, SendError> {
        if request.method == Method::Ack {
            return Err(SendError::Ack);
        }
        let max = self.config.client_transactions_max;
        if self.clients.len() >= max {
            return Err(SendError::Full { max });
        }
        let branch = request.top_via().and_then(|via| via.rfc3261_branch());
        let key = ClientKey {
            branch: branch.ok_or(SendError::NoBranch)?.clone(),
            method: request.method.clone(),
        };
        if self.clients.by_key.contains_key(&key) {
            return Err(SendError::BranchInUse);
        }
        Ok(key)
    }

    fn insert_client(&mut self, new: NewClient) -> ClientTx {
        let tx = self.next_client_id();
        let entry = ClientEntry {
            machine: new.machine,
            key: new.key,
            owner: new.owner,
            flow: new.flow,
            skeleton: Box::new(new.request.skeleton()),
            bytes: new.bytes,
            ack: None,
            timers: RunningTimers::default(),
            reporting: new.reporting,
            cancel: CancelState::NotWanted,
            withheld: None,
            requests_sent: 0,
        };
        self.clients.insert(tx, entry);
        tx
    }

    fn step_client(
        &mut self,
        tx: ClientTx,
        invite_input: invite_client::Input,
        other_input: client::Input,
    ) -> Actions {
        let config = self.config.timers;
        match self.clients.entries.get_mut(&tx).map(|entry| &mut entry.machine) {
            Some(Machine::Invite(machine)) => machine.step(invite_input, &config),
            Some(Machine::Other(machine)) => machine.step(other_input, &config),
            None => Actions::new(),
        }
    }

    fn run_client(
        &mut self,
        now: Instant,
        tx: ClientTx,
        actions: Actions,
        response: Option<(Box<Response>, Flow)>,
    ) {
        let mut response = response;
        for action in actions {
            match action {
                Action::SendRequest => self.send_client(tx, Originated::Request),
                Action::SendAck => {
                    self.make_ack(tx, response.as_ref().map(|(response, _)| response.as_ref()));
                    self.send_client(tx, Originated::Ack);
                }
                Action::SendCancel => self.send_cancel(now, tx, &[]),
                Action::PassUp => {
                    if let Some((response, source)) = response.take() {
                        self.report_client(tx, |client_tx, owner| Event::Response {
                            client_tx,
                            owner,
                            response,
                            source,
                        });
                    }
                }
                Action::Start(timer, wait) => {
                    let key = self.set_timer(now, TransactionId::Client(tx), timer, wait);
                    let entry = self.clients.entries.get_mut(&tx);
                    if let Some(old) = entry.and_then(|entry| entry.timers.started(timer, key)) {
                        self.timers.cancel(old);
                    }
                }
                Action::Stop(timer) => {
                    let entry = self.clients.entries.get_mut(&tx);
                    if let Some(key) = entry.and_then(|entry| entry.timers.stopped(timer)) {
                        self.timers.cancel(key);
                    }
                }
                Action::ReportTimeout => {
                    self.report_client(tx, |client_tx, owner| Event::Timeout { client_tx, owner });
                }
                Action::ReportTransportFailure => {
                    self.report_client(tx, |client_tx, owner| Event::TransportFailed {
                        client_tx,
                        owner,
                    });
                }
                Action::Terminate => {
                    let transaction = TransactionId::Client(tx);
                    self.report_client(tx, |_, _| Event::Terminated { transaction });
                    self.forget_client(tx);
                }
                Action::SendResponse | Action::SendTrying => {
                    debug_assert!(false, "a client machine sends no responses");
                }
            }
        }
    }

    /// Reports an event of a transaction that the core knows.
    fn report_client(&mut self, tx: ClientTx, event: impl FnOnce(ClientTx, Owner) -> Event) {
        let known = self.clients.entries.get(&tx);
        if let Some(entry) = known.filter(|entry| entry.reporting == Reporting::ToCore) {
            let event = event(tx, entry.owner);
            self.event(event);
        }
    }

    /// Sends a transaction's request or ACK, or notes that the gate holds it back.
    fn send_client(&mut self, tx: ClientTx, what: Originated) {
        let Some(entry) = self.clients.entries.get_mut(&tx) else { return };
        if self.gate == Gate::Held {
            entry.withheld = Some(what);
            self.clients.withheld.insert(tx);
            self.counters.withheld += 1;
            return;
        }
        let bytes = match what {
            Originated::Ack => entry.ack.clone(),
            Originated::Request => {
                entry.requests_sent += 1;
                self.counters.requests_resent += u64::from(entry.requests_sent > 1);
                Some(entry.bytes.clone())
            }
        };
        let (flow, transaction) = (entry.flow, Some(TransactionId::Client(tx)));
        if let Some(bytes) = bytes {
            self.transmit(Transmit { flow, reconnect: None, bytes, transaction });
        }
    }

    /// Makes the ACK from the first failure; repeated ones get the same.
    fn make_ack(&mut self, tx: ClientTx, response: Option<&Response>) {
        let Some(entry) = self.clients.entries.get_mut(&tx) else { return };
        if let (None, Some(response)) = (&entry.ack, response) {
            entry.ack = Some(ack_for_failure(&entry.skeleton, response).to_bytes());
        }
    }

    /// Sends the CANCEL that waited for this provisional response.
    fn send_wanted_cancel(&mut self, now: Instant, tx: ClientTx) {
        let Some(entry) = self.clients.entries.get(&tx) else { return };
        let Machine::Invite(machine) = &entry.machine else { return };
        if machine.state() != invite_client::State::Proceeding {
            return;
        }
        if let CancelState::Wanted(reasons) = &entry.cancel {
            let reasons = reasons.clone();
            self.send_cancel(now, tx, &reasons);
        }
    }

    fn send_cancel(&mut self, now: Instant, tx: ClientTx, reasons: &[Reason]) {
        let Some(entry) = self.clients.entries.get_mut(&tx) else { return };
        let Machine::Invite(machine) = &mut entry.machine else { return };
        if entry.cancel == CancelState::Sent {
            return;
        }
        entry.cancel = CancelState::Sent;
        let cancel = build_cancel(&entry.skeleton, reasons);
        let (hop, owner) = (Hop::from_flow(entry.flow), entry.owner);
        let actions = machine.step(invite_client::Input::CancelSent, &self.config.timers);
        self.run_client(now, tx, actions, None);
        // The table may be full, or the core may have sent a CANCEL with this branch by itself: then the
        // INVITE still ends by the timer that the step above has started.
        if self.open_client(now, cancel, &hop, owner, Reporting::Quiet).is_err() {
            self.counters.cancels_not_sent += 1;
        }
    }

    fn forget_client(&mut self, tx: ClientTx) {
        if let Some(entry) = self.clients.remove(tx) {
            for key in entry.timers.keys() {
                self.timers.cancel(key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn client_invariants_hold(&self) -> bool {
        let table = &self.clients;
        table.by_key.len() == table.entries.len()
            && table.by_owner.len() == table.entries.len()
            && table.withheld.iter().all(|tx| table.entries.contains_key(tx))
            && table.by_connection.iter().all(|(_, tx)| table.entries.contains_key(tx))
    }
}

fn reliability(flow: &Flow) -> Reliability {
    if flow.transport.is_reliable() { Reliability::Reliable } else { Reliability::Unreliable }
}

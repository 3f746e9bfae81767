//! Requests of others: server transactions, retransmissions, ACK, CANCEL, merged requests.

use super::flow::{Flow, ReplyRoute, mark_source};
use super::invite_server::{self, InviteServer};
use super::key::{MergeKey, ServerKey};
use super::layer::{RunningTimers, TransactionLayer};
use super::machine::{Action, Actions, Reliability, ResponseClass};
use super::output::{Event, Owner, RespondError, ServerTx, TransactionId, Transmit};
use super::server::{self, Server};
use super::timers::{Timer, TimerKey};
use crate::message::{HeaderName, Method, Request, Response, StatusCode};
use crate::text::SipText;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

/// All server transactions.
#[derive(Default)]
pub(super) struct ServerTable {
    entries: BTreeMap<ServerTx, ServerEntry>,
    by_key: BTreeMap<ServerKey, ServerTx>,
    by_request: BTreeMap<MergeKey, ServerTx>,
    by_owner: BTreeSet<(Owner, ServerTx)>,
}

struct ServerEntry {
    machine: Machine,
    key: ServerKey,
    merge_key: Option<MergeKey>,
    owner: Option<Owner>,
    route: ReplyRoute,
    /// What responses of the layer are made from.
    skeleton: Box<Request>,
    to_tag: SipText,
    /// The core's last response.
    response: Option<Bytes>,
    timers: RunningTimers,
    reporting: Reporting,
}

enum Machine {
    Invite(InviteServer),
    Other(Server),
}

/// Whether the core hears of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reporting {
    ToCore,
    /// Answered by the layer itself.
    Quiet,
}

impl ServerTable {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn insert(&mut self, tx: ServerTx, entry: ServerEntry) {
        self.by_key.insert(entry.key.clone(), tx);
        if let Some(key) = &entry.merge_key {
            self.by_request.insert(key.clone(), tx);
        }
        self.entries.insert(tx, entry);
    }

    fn remove(&mut self, tx: ServerTx) -> Option<ServerEntry> {
        let entry = self.entries.remove(&tx)?;
        self.by_key.remove(&entry.key);
        if let Some(key) = &entry.merge_key {
            self.by_request.remove(key);
        }
        if let Some(owner) = entry.owner {
            self.by_owner.remove(&(owner, tx));
        }
        Some(entry)
    }

    /// The transaction that a CANCEL aims at (RFC 3261 section 9.2).
    fn cancelled_by(&self, cancel: &ServerKey) -> Option<ServerTx> {
        let branch = self.by_key.range(cancel.first_of_branch()..);
        let mut same = branch.take_while(|(key, _)| cancel.is_same_branch(key));
        same.find(|(key, _)| cancel.cancels(key)).map(|(_, tx)| *tx)
    }
}

impl TransactionLayer {
    /// Sends the core's response to a request (RFC 3261 section 17.2): any number of provisional ones,
    /// then one final one. A 2xx to an INVITE may be given again, until it is acknowledged (RFC 6026).
    ///
    /// # Errors
    /// [`RespondError`].
    pub fn respond(
        &mut self,
        now: Instant,
        server_tx: ServerTx,
        response: &Response,
    ) -> Result<(), RespondError> {
        let class = ResponseClass::from(response.status);
        let config = self.config.timers;
        let entry = self.servers.entries.get_mut(&server_tx).ok_or(RespondError::Unknown)?;
        let actions = match &mut entry.machine {
            Machine::Invite(machine) => {
                machine.step(invite_server::Input::Response(class), &config)
            }
            Machine::Other(machine) => machine.step(server::Input::Response(class), &config),
        };
        if actions.is_empty() {
            return Err(RespondError::AlreadyAnswered);
        }
        entry.response = Some(response.to_bytes());
        self.run_server(now, server_tx, actions);
        Ok(())
    }

    /// A response to a request of the core's, with the layer's tag, ready to be completed.
    ///
    /// # Errors
    /// [`RespondError::Unknown`].
    pub fn response_for(
        &self,
        server_tx: ServerTx,
        status: StatusCode,
    ) -> Result<Response, RespondError> {
        let entry = self.servers.entries.get(&server_tx).ok_or(RespondError::Unknown)?;
        Ok(Response::to_request(&entry.skeleton, status, &entry.to_tag))
    }

    /// Gives a server transaction an owner, so that [`TransactionLayer::drop_transactions`] finds it.
    pub fn own_server_transaction(&mut self, server_tx: ServerTx, owner: Owner) {
        if let Some(entry) = self.servers.entries.get_mut(&server_tx) {
            if let Some(old) = entry.owner.replace(owner) {
                self.servers.by_owner.remove(&(old, server_tx));
            }
            self.servers.by_owner.insert((owner, server_tx));
        }
    }

    /// Continues an INVITE that another node received and answered provisionally: `invite` is its
    /// replicated skeleton (its Via already with `received` and `rport`), `route` where responses go.
    /// Nothing is sent; [`TransactionLayer::respond`] answers it, and retransmissions and a CANCEL that
    /// reach this node are handled.
    ///
    /// # Errors
    /// [`RespondError::Unknown`] when the branch is not one of RFC 3261 or the table is full.
    pub fn adopt_server_invite(
        &mut self,
        now: Instant,
        invite: &Request,
        route: ReplyRoute,
        to_tag: SipText,
        owner: Owner,
    ) -> Result<ServerTx, RespondError> {
        let via = invite.top_via().ok_or(RespondError::Unknown)?;
        let key = ServerKey::of(via, &Method::Invite).ok_or(RespondError::Unknown)?;
        if self.servers.by_key.contains_key(&key)
            || self.servers.len() >= self.config.server_transactions_max
        {
            return Err(RespondError::Unknown);
        }
        let (machine, actions) = InviteServer::adopt(reliability(&route.flow), &self.config.timers);
        let tx = self.insert_server(Machine::Invite(machine), key, invite, route, to_tag);
        self.own_server_transaction(tx, owner);
        self.run_server(now, tx, actions);
        Ok(tx)
    }

    /// Drops all server transactions of an owner without sending or reporting anything. Returns how
    /// many.
    pub fn drop_server_transactions(&mut self, owner: Owner) -> usize {
        let own = self.servers.by_owner.range((owner, ServerTx(0))..);
        let own: Vec<ServerTx> = own.take_while(|(o, _)| *o == owner).map(|(_, tx)| *tx).collect();
        for tx in &own {
            self.forget_server(*tx);
        }
        own.len()
    }

    pub(super) fn handle_request(&mut self, now: Instant, source: &Flow, mut request: Request) {
        let symmetric = self.config.symmetric_responses;
        let Some(via) = request.vias.first_mut() else { return };
        let route = mark_source(via, source, symmetric);
        let key = ServerKey::of(via, &request.method);
        let known = key.as_ref().and_then(|key| self.servers.by_key.get(key).copied());
        match (key, known) {
            (_, Some(tx)) => self.repeated(now, tx, request, source),
            // An ACK that no transaction waits for acknowledges a 2xx (section 13.3.1.4).
            (_, None) if request.method == Method::Ack => {
                self.event(Event::Ack { request: Box::new(request), source: *source });
            }
            // Transactions of RFC 2543 are refused: without a branch no CANCEL, ACK or retransmission
            // can be told apart safely, and no carrier sends them any more.
            (None, None) => {
                self.counters.old_branches += 1;
                self.answer_stateless(&request, &route, StatusCode::BAD_REQUEST);
            }
            (Some(key), None) => self.new_request(now, source, request, key, route),
        }
    }

    /// The request belongs to a transaction that is open.
    fn repeated(&mut self, now: Instant, tx: ServerTx, request: Request, source: &Flow) {
        let config = self.config.timers;
        let Some(entry) = self.servers.entries.get_mut(&tx) else { return };
        let is_ack = request.method == Method::Ack;
        let actions = match &mut entry.machine {
            Machine::Invite(machine) if is_ack => machine.step(invite_server::Input::Ack, &config),
            Machine::Invite(machine) => machine.step(invite_server::Input::Retransmission, &config),
            Machine::Other(machine) => machine.step(server::Input::Retransmission, &config),
        };
        self.counters.request_retransmissions += u64::from(!is_ack);
        // In Accepted, an ACK that wrongly carries the INVITE's branch still is the ACK to the 2xx.
        if is_ack && actions == [Action::PassUp] {
            self.event(Event::Ack { request: Box::new(request), source: *source });
            return;
        }
        self.run_server(now, tx, actions);
    }

    fn new_request(
        &mut self,
        now: Instant,
        source: &Flow,
        request: Request,
        key: ServerKey,
        route: ReplyRoute,
    ) {
        if self.servers.len() >= self.config.server_transactions_max {
            self.counters.refused_full += 1;
            self.answer_stateless(&request, &route, StatusCode::SERVICE_UNAVAILABLE);
            return;
        }
        let merge_key = MergeKey::of(&request);
        let merged = merge_key.as_ref().is_some_and(|k| self.servers.by_request.contains_key(k));
        let target = self.servers.cancelled_by(&key);
        let to_tag = self.tag_for(&request, target);
        let config = self.config.timers;
        let reliability = reliability(&route.flow);
        let (machine, actions) = if request.method == Method::Invite {
            let (machine, actions) = InviteServer::start(reliability, &config);
            (Machine::Invite(machine), actions)
        } else {
            let (machine, actions) = Server::start(reliability, &config);
            (Machine::Other(machine), actions)
        };
        let tx = self.insert_server(machine, key, &request, route, to_tag.clone());
        self.run_server(now, tx, actions);
        if merged {
            // 8.2.2.2: the same request came by another way before.
            self.counters.merged += 1;
            self.answer_quietly(now, tx, StatusCode::LOOP_DETECTED);
        } else if request.method == Method::Cancel {
            self.cancelled(now, tx, target, request);
        } else {
            if let Some(entry) = self.servers.entries.get_mut(&tx)
                && let Some(key) = merge_key
            {
                entry.merge_key = Some(key.clone());
                self.servers.by_request.insert(key, tx);
            }
            let request = Box::new(request);
            self.event(Event::Request { server_tx: tx, request, source: *source, to_tag });
        }
    }

    /// 9.2: the tag in the response to a CANCEL is that of the responses to its target.
    fn tag_for(&mut self, request: &Request, target: Option<ServerTx>) -> SipText {
        let of_target = target
            .filter(|_| request.method == Method::Cancel)
            .and_then(|tx| self.servers.entries.get(&tx))
            .map(|entry| entry.to_tag.clone());
        let own = request.to_tag().cloned();
        own.or(of_target).unwrap_or_else(|| self.prng.token())
    }

    /// 9.2: a CANCEL is answered by the layer; the core hears of it when the INVITE is still open.
    fn cancelled(&mut self, now: Instant, tx: ServerTx, target: Option<ServerTx>, cancel: Request) {
        let Some(target) = target else {
            self.answer_quietly(now, tx, StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST);
            return;
        };
        self.answer_quietly(now, tx, StatusCode::OK);
        let open_invite = self.servers.entries.get(&target).is_some_and(|entry| {
            entry.reporting == Reporting::ToCore
                && matches!(&entry.machine, Machine::Invite(machine)
                    if machine.state() == invite_server::State::Proceeding)
        });
        if open_invite {
            self.event(Event::Cancel { server_tx: target, cancel: Box::new(cancel) });
        }
    }

    /// Answers within the transaction without telling the core.
    fn answer_quietly(&mut self, now: Instant, tx: ServerTx, status: StatusCode) {
        let Some(entry) = self.servers.entries.get_mut(&tx) else { return };
        entry.reporting = Reporting::Quiet;
        let response = Response::to_request(&entry.skeleton, status, &entry.to_tag);
        let answered = self.respond(now, tx, &response);
        debug_assert_eq!(answered, Ok(()), "a new transaction takes its first response");
    }

    /// Answers without a transaction; a retransmission gets the same answer again.
    fn answer_stateless(&mut self, request: &Request, route: &ReplyRoute, status: StatusCode) {
        let to_tag = self.prng.token();
        let mut response = Response::to_request(request, status, &to_tag);
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers.push(HeaderName::RetryAfter, self.config.retry_after_s.into());
        }
        self.transmit(Transmit::reply(route, response.to_bytes(), None));
    }

    pub(super) fn server_timer(&mut self, now: Instant, tx: ServerTx, timer: Timer, key: TimerKey) {
        let config = self.config.timers;
        let Some(entry) = self.servers.entries.get_mut(&tx) else { return };
        if !entry.timers.fired(timer, key) {
            return;
        }
        let actions = match &mut entry.machine {
            Machine::Invite(machine) => machine.step(invite_server::Input::Timer(timer), &config),
            Machine::Other(machine) => machine.step(server::Input::Timer(timer), &config),
        };
        self.run_server(now, tx, actions);
        if timer == Timer::CoreSilent {
            self.answer_for_silent_core(now, tx);
        }
    }

    /// Ends an INVITE that the core has forgotten, so that nothing rings for ever.
    fn answer_for_silent_core(&mut self, now: Instant, tx: ServerTx) {
        if let Ok(response) = self.response_for(tx, StatusCode::SERVER_INTERNAL_ERROR) {
            let answered = self.respond(now, tx, &response);
            debug_assert_eq!(answered, Ok(()), "an open INVITE takes a final response");
        }
    }

    pub(super) fn server_transport_error(&mut self, now: Instant, tx: ServerTx) {
        let config = self.config.timers;
        let Some(entry) = self.servers.entries.get_mut(&tx) else { return };
        let actions = match &mut entry.machine {
            Machine::Invite(machine) => machine.step(invite_server::Input::TransportError, &config),
            Machine::Other(machine) => machine.step(server::Input::TransportError, &config),
        };
        self.run_server(now, tx, actions);
    }

    fn insert_server(
        &mut self,
        machine: Machine,
        key: ServerKey,
        request: &Request,
        route: ReplyRoute,
        to_tag: SipText,
    ) -> ServerTx {
        let tx = self.next_server_id();
        let entry = ServerEntry {
            machine,
            key,
            merge_key: None,
            owner: None,
            route,
            skeleton: Box::new(request.skeleton()),
            to_tag,
            response: None,
            timers: RunningTimers::default(),
            reporting: Reporting::ToCore,
        };
        self.servers.insert(tx, entry);
        tx
    }

    fn run_server(&mut self, now: Instant, tx: ServerTx, actions: Actions) {
        for action in actions {
            match action {
                Action::SendResponse => {
                    let Some(entry) = self.servers.entries.get(&tx) else { return };
                    let Some(bytes) = entry.response.clone() else { continue };
                    let id = Some(TransactionId::Server(tx));
                    let transmit = Transmit::reply(&entry.route, bytes, id);
                    self.transmit(transmit);
                }
                Action::SendTrying => self.send_trying(tx),
                Action::Start(timer, wait) => {
                    let key = self.set_timer(now, TransactionId::Server(tx), timer, wait);
                    let entry = self.servers.entries.get_mut(&tx);
                    if let Some(old) = entry.and_then(|entry| entry.timers.started(timer, key)) {
                        self.timers.cancel(old);
                    }
                }
                Action::Stop(timer) => {
                    let entry = self.servers.entries.get_mut(&tx);
                    if let Some(key) = entry.and_then(|entry| entry.timers.stopped(timer)) {
                        self.timers.cancel(key);
                    }
                }
                Action::ReportTimeout => {
                    self.report_server(tx, Event::ServerTimeout { server_tx: tx })
                }
                Action::ReportTransportFailure => {
                    self.report_server(tx, Event::ServerTransportFailed { server_tx: tx });
                }
                Action::Terminate => {
                    let transaction = TransactionId::Server(tx);
                    self.report_server(tx, Event::Terminated { transaction });
                    self.forget_server(tx);
                }
                // The caller hands new requests up itself, since it owns the message.
                Action::PassUp => {}
                Action::SendRequest | Action::SendAck | Action::SendCancel => {
                    debug_assert!(false, "a server machine sends no requests");
                }
            }
        }
    }

    fn report_server(&mut self, tx: ServerTx, event: Event) {
        let known = self.servers.entries.get(&tx);
        if known.is_some_and(|entry| entry.reporting == Reporting::ToCore) {
            self.event(event);
        }
    }

    fn send_trying(&mut self, tx: ServerTx) {
        let Some(entry) = self.servers.entries.get(&tx) else { return };
        let trying = Response::to_request(&entry.skeleton, StatusCode::TRYING, &entry.to_tag);
        let id = Some(TransactionId::Server(tx));
        let transmit = Transmit::reply(&entry.route, trying.to_bytes(), id);
        self.transmit(transmit);
    }

    fn forget_server(&mut self, tx: ServerTx) {
        if let Some(entry) = self.servers.remove(tx) {
            for key in entry.timers.keys() {
                self.timers.cancel(key);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn server_invariants_hold(&self) -> bool {
        let table = &self.servers;
        table.by_key.len() == table.entries.len()
            && table.by_request.values().all(|tx| table.entries.contains_key(tx))
            && table.by_owner.iter().all(|(_, tx)| table.entries.contains_key(tx))
    }
}

fn reliability(flow: &Flow) -> Reliability {
    if flow.transport.is_reliable() { Reliability::Reliable } else { Reliability::Unreliable }
}

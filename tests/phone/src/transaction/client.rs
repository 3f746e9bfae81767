//! Client transactions: INVITE (RFC 3261 17.1.1 with RFC 6026) and the others (17.1.2).

use bytes::Bytes;

use super::{Outgoing, TableFull, Transactions, TxTimer};
use crate::io::{Flow, Transport};
use crate::sip::{Head, Message, Method, Received, Via};
use crate::time::{RunTime, TimerId};
use crate::ua::TxUser;

/// A client transaction is matched by the top Via's branch and the CSeq method (RFC 3261 17.1.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClientKey {
    branch: String,
    method: Method,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ClientState {
    /// Calling or Trying: nothing came yet.
    Trying,
    /// A provisional response came.
    Proceeding,
    /// A final response came; its retransmissions are absorbed (and acknowledged).
    Completed,
    /// A 2xx to INVITE came; more of them get the ACK again (RFC 6026).
    Accepted,
}

#[derive(Debug)]
pub(super) struct Client {
    request: Message,
    bytes: Bytes,
    pub(super) flow: Flow,
    pub(super) user: TxUser,
    state: ClientState,
    interval_ms: u64,
    retransmit: Option<TimerId>,
    timeout: Option<TimerId>,
    /// What answers a final response that comes again.
    ack: Option<(Flow, Bytes, Option<String>)>,
}

impl Client {
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.state, ClientState::Trying | ClientState::Proceeding)
    }

    fn is_invite(&self) -> bool {
        self.request.method() == Some(&Method::Invite)
    }
}

/// What to do with a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ResponseFate {
    /// It belongs to this user's transaction and is new.
    For(TxUser),
    /// A repetition; what it needed was done. `ok_repeated` names the user of a 2xx that came again.
    Absorbed {
        /// User of an INVITE whose 2xx came again.
        ok_repeated: Option<TxUser>,
    },
    /// It matches nothing.
    Stray,
}

impl Transactions {
    /// Sends a request (its Via on top already) and watches over it. `give_up_ms` is how long to
    /// wait for any response instead of 64*T1. Returns its branch.
    pub(crate) fn start_client(
        &mut self,
        now: RunTime,
        outgoing: Outgoing,
        user: TxUser,
        give_up_ms: Option<u64>,
    ) -> Result<String, TableFull> {
        let Outgoing { message, flow } = outgoing;
        let (Some(method), Some(branch)) = (message.method().cloned(), branch_of(&message)) else {
            return Err(TableFull);
        };
        if !self.has_room() {
            return Err(TableFull);
        }
        let key = ClientKey { branch: branch.clone(), method };
        let bytes = message.to_bytes();
        self.outbox.push((flow, bytes.clone()));
        let interval_ms = self.timing.t1_ms;
        let retransmit = Self::retransmits(flow).then(|| {
            self.timers.set(now.plus_ms(interval_ms), TxTimer::ClientRetransmit(key.clone()))
        });
        let give_up_ms = give_up_ms.unwrap_or(self.timing.give_up_ms());
        let timeout =
            Some(self.timers.set(now.plus_ms(give_up_ms), TxTimer::ClientTimeout(key.clone())));
        let state = ClientState::Trying;
        let client = Client {
            request: message,
            bytes,
            flow,
            user,
            state,
            interval_ms,
            retransmit,
            timeout,
            ack: None,
        };
        self.clients.insert(key, client);
        Ok(branch)
    }

    pub(super) fn retransmit_client(&mut self, now: RunTime, key: &ClientKey) {
        let Some(client) = self.clients.get_mut(key) else { return };
        self.outbox.push((client.flow, client.bytes.clone()));
        client.interval_ms = match (client.is_invite(), client.state) {
            // Timer A doubles without bound; E stops at T2 and stays there while proceeding.
            (true, _) => client.interval_ms * 2,
            (false, ClientState::Proceeding) => self.timing.t2_ms,
            (false, _) => self.timing.next_interval_ms(client.interval_ms),
        };
        let at = now.plus_ms(client.interval_ms);
        client.retransmit = Some(self.timers.set(at, TxTimer::ClientRetransmit(key.clone())));
    }

    /// Sorts a response.
    pub(crate) fn on_response(&mut self, now: RunTime, response: &Received) -> ResponseFate {
        let (Some(code), Some(branch)) = (response.message.code(), response.via.branch()) else {
            return ResponseFate::Stray;
        };
        let key = ClientKey { branch: branch.to_owned(), method: response.cseq.method.clone() };
        let Some(client) = self.clients.get_mut(&key) else { return ResponseFate::Stray };
        let user = client.user.clone();
        match (client.state, code) {
            (ClientState::Trying | ClientState::Proceeding, 100..=199) => {
                self.proceed(&key);
                ResponseFate::For(user)
            }
            (ClientState::Trying | ClientState::Proceeding, _) => {
                self.complete(now, &key, code, response);
                ResponseFate::For(user)
            }
            // RFC 6026 7.2: only a 2xx is looked at here, and one with another tag is another dialog.
            (ClientState::Accepted, 200..=299) => match &client.ack {
                Some((flow, ack, tag)) if tag.as_deref() == response.to.tag() => {
                    self.outbox.push((*flow, ack.clone()));
                    ResponseFate::Absorbed { ok_repeated: Some(user) }
                }
                Some(_) => ResponseFate::Stray,
                None => ResponseFate::Absorbed { ok_repeated: None },
            },
            (ClientState::Completed, 300..=699) => {
                let ack = client.ack.as_ref().map(|(flow, bytes, _)| (*flow, bytes.clone()));
                self.outbox.extend(ack);
                ResponseFate::Absorbed { ok_repeated: None }
            }
            _ => ResponseFate::Absorbed { ok_repeated: None },
        }
    }

    fn proceed(&mut self, key: &ClientKey) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.state = ClientState::Proceeding;
        if client.is_invite() {
            // RFC 3261 17.1.1.2: no retransmission any more, and timer B no longer counts.
            for timer in [client.retransmit.take(), client.timeout.take()].into_iter().flatten() {
                self.timers.cancel(timer);
            }
        }
    }

    fn complete(&mut self, now: RunTime, key: &ClientKey, code: u16, response: &Received) {
        let Some(client) = self.clients.get_mut(key) else { return };
        for timer in [client.retransmit.take(), client.timeout.take()].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        let (is_invite, is_ok) = (client.is_invite(), code < 300);
        client.state =
            if is_invite && is_ok { ClientState::Accepted } else { ClientState::Completed };
        if is_invite && !is_ok {
            let ack = failure_ack(&client.request, response).to_bytes();
            self.outbox.push((client.flow, ack.clone()));
            client.ack = Some((client.flow, ack, None));
        }
        let linger_ms = match (is_invite, is_ok, client.flow.transport) {
            // Timer M.
            (true, true, _) => self.timing.give_up_ms(),
            // Timers D and K are zero on reliable transports.
            (_, _, Transport::Tcp) => 0,
            (true, false, Transport::Udp) => self.timing.give_up_ms().max(32_000),
            (false, _, Transport::Udp) => self.timing.t4_ms,
        };
        self.timers.set(now.plus_ms(linger_ms), TxTimer::ClientEnd(key.clone()));
    }

    /// The ACK of a 2xx, to be sent again whenever that 2xx comes again, whatever became of the call.
    pub(crate) fn acknowledge(&mut self, branch: &str, ack: Outgoing, remote_tag: Option<&str>) {
        let bytes = ack.message.to_bytes();
        self.outbox.push((ack.flow, bytes.clone()));
        let key = ClientKey { branch: branch.to_owned(), method: Method::Invite };
        if let Some(client) = self.clients.get_mut(&key) {
            client.ack = Some((ack.flow, bytes, remote_tag.map(str::to_owned)));
        }
    }

    /// A CANCEL for an INVITE that has a provisional response (RFC 3261 9.1); `None` when it has
    /// none yet, or is over.
    pub(crate) fn cancel_of(&self, branch: &str) -> Option<Outgoing> {
        let key = ClientKey { branch: branch.to_owned(), method: Method::Invite };
        let client = self.clients.get(&key).filter(|tx| tx.state == ClientState::Proceeding)?;
        let message =
            derived_request(&client.request, Method::Cancel, client.request.header("To")?);
        Some(Outgoing { message, flow: client.flow })
    }

    /// Forgets a client transaction: its retransmissions stop, its responses become stray.
    pub(crate) fn forget_client(&mut self, branch: &str, method: Method) {
        let key = ClientKey { branch: branch.to_owned(), method };
        self.end_client(&key);
    }

    pub(super) fn end_client(&mut self, key: &ClientKey) -> Option<Client> {
        let client = self.clients.remove(key)?;
        for timer in [client.retransmit, client.timeout].into_iter().flatten() {
            self.timers.cancel(timer);
        }
        Some(client)
    }
}

fn branch_of(message: &Message) -> Option<String> {
    let via = Via::parse(message.values("Via").first()?).ok()?;
    via.branch().map(str::to_owned)
}

/// The ACK to a failure goes within the transaction (RFC 3261 17.1.1.3).
fn failure_ack(request: &Message, response: &Received) -> Message {
    derived_request(request, Method::Ack, response.message.header("To").unwrap_or_default())
}

/// ACK and CANCEL copy the INVITE's URI, top Via, From, Call-ID, CSeq number and Route.
fn derived_request(request: &Message, method: Method, to: &str) -> Message {
    let uri = match &request.head {
        Head::Request { uri, .. } => uri.clone(),
        Head::Response { .. } => String::new(),
    };
    let header = |name| request.header(name).unwrap_or_default();
    let number = header("CSeq").split_ascii_whitespace().next().unwrap_or_default();
    let mut message = Message::request(method.clone(), uri)
        .with("Via", request.values("Via").first().copied().unwrap_or_default())
        .with("Max-Forwards", "70")
        .with("From", header("From"))
        .with("To", to)
        .with("Call-ID", header("Call-ID"))
        .with("CSeq", format!("{number} {method}"));
    for route in request.lines("Route") {
        message.push("Route", route);
    }
    message
}

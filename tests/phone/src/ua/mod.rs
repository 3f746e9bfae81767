//! The user agents: phones, callers, their registrations, dialogs and sessions.
//!
//! One value, [`Core`], holds a whole world of them. It has no sockets and no clock: datagrams,
//! moments and commands go in, messages leave by [`Io`], events by a bounded channel.

mod config;
mod dialog;
mod dispatch;
mod incoming;
mod leg;
mod modify;
mod outgoing;
mod phones;
mod registration;
mod session;
#[cfg(test)]
mod tests;
mod within;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tokio::sync::broadcast;

pub use config::{
    AfterAnswer, AnswerPolicy, AudioConfig, CallPlan, CallerConfig, FailoverIdentity, HangUp,
    IncomingCall, KeepAlive, Patience, PhoneConfig, RtcpOffer, Server, Vanish,
};
pub(crate) use leg::{Leg, LegView};
pub(crate) use phones::{CallerState, PhoneState, PhoneView};

use crate::dice::Dice;
use crate::error::PhoneError;
use crate::event::{Event, EventKind};
use crate::io::{EndpointId, Flow, Io, Transport};
use crate::limits::{DEAF_DIALOGS_MAX, ENDPOINTS_MAX, TAG_LABELS_MAX};
use crate::media::{
    HearingChange, KnownSound, MediaPlane, ReceiveChange, SenderTag, StreamId, StreamOptions,
};
use crate::report::{Anomaly, CallKey, CallReport, Heard};
use crate::sip::{Message, Method, ParseError, Received, Uri};
use crate::time::{RunTime, TimerQueue};
use crate::transaction::{Outgoing, SipTimers, TableFull, Transactions, TxEvent};
use dialog::Dialog;

/// Names a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LegId(pub(crate) u64);

/// Names a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct PhoneId(pub(crate) u32);

/// Names a caller (a trunk).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CallerId(pub(crate) u32);

/// Who waits for the response to a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TxUser {
    Register(PhoneId),
    KeepAlive(PhoneId),
    Invite(LegId),
    Reinvite(LegId),
    Bye(LegId),
    /// CANCEL, and BYE for dialogs that nobody wanted.
    Nobody,
}

/// What is due for a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LegTimer {
    Ring,
    RefreshRinging,
    Answer,
    GiveUpRinging,
    Reject,
    RetransmitOk,
    HangUp,
    /// The caller's patience until a 200.
    AnswerPatience,
    /// The caller's patience until an agent is heard.
    AgentPatience,
    NoProgress,
    CancelTimeout,
    RetryModify,
}

/// What is due for a phone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PhoneTimer {
    Register,
    KeepAlive,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Timer {
    Leg(LegId, LegTimer),
    Phone(PhoneId, PhoneTimer),
}

/// One SIP socket.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) address: SocketAddr,
}

/// How a core begins.
pub(crate) struct CoreOptions {
    pub(crate) timing: SipTimers,
    pub(crate) gap_ms_min: u64,
    pub(crate) rtcp_interval_ms: u64,
    pub(crate) known_sounds: Vec<KnownSound>,
    pub(crate) hosts: BTreeMap<String, IpAddr>,
    pub(crate) seed: u64,
    pub(crate) ntp_start: u64,
    pub(crate) events: broadcast::Sender<Arc<Event>>,
}

/// A world of phones and callers.
pub(crate) struct Core {
    pub(crate) now: RunTime,
    pub(crate) io: Box<dyn Io>,
    pub(crate) timing: SipTimers,
    gap_ms_min: u64,
    rtcp_interval_ms: u64,
    hosts: BTreeMap<String, IpAddr>,
    ntp_start: u64,
    pub(crate) dice: Dice,
    pub(crate) timers: TimerQueue<Timer>,
    pub(crate) transactions: Transactions,
    pub(crate) media: MediaPlane,
    pub(crate) endpoints: BTreeMap<EndpointId, Endpoint>,
    pub(crate) phones: BTreeMap<PhoneId, PhoneState>,
    pub(crate) callers: BTreeMap<CallerId, CallerState>,
    by_user: BTreeMap<(EndpointId, String), PhoneId>,
    pub(crate) legs: BTreeMap<LegId, Leg>,
    by_local_tag: BTreeMap<String, LegId>,
    tag_labels: BTreeMap<SenderTag, String>,
    tag_order: VecDeque<SenderTag>,
    deaf: VecDeque<String>,
    pub(crate) reports: VecDeque<Arc<CallReport>>,
    pub(crate) reports_dropped: u64,
    events: broadcast::Sender<Arc<Event>>,
    leg_serial: u64,
    endpoint_serial: u32,
    phone_serial: u32,
    /// Users whose request found no room in the table.
    refused: Vec<TxUser>,
}

impl Core {
    pub(crate) fn new(options: CoreOptions, io: Box<dyn Io>) -> Self {
        Self {
            now: RunTime::START,
            io,
            timing: options.timing,
            gap_ms_min: options.gap_ms_min,
            rtcp_interval_ms: options.rtcp_interval_ms,
            hosts: options.hosts,
            ntp_start: options.ntp_start,
            dice: Dice::from_seed(options.seed),
            timers: TimerQueue::new(),
            transactions: Transactions::new(options.timing),
            media: MediaPlane::new(options.known_sounds),
            endpoints: BTreeMap::new(),
            phones: BTreeMap::new(),
            callers: BTreeMap::new(),
            by_user: BTreeMap::new(),
            legs: BTreeMap::new(),
            by_local_tag: BTreeMap::new(),
            tag_labels: BTreeMap::new(),
            tag_order: VecDeque::new(),
            deaf: VecDeque::new(),
            reports: VecDeque::new(),
            reports_dropped: 0,
            events: options.events,
            leg_serial: 0,
            endpoint_serial: 0,
            phone_serial: 0,
            refused: Vec::new(),
        }
    }

    /// A new SIP socket.
    ///
    /// # Errors
    /// `Limit`.
    pub(crate) fn add_endpoint(&mut self, address: SocketAddr) -> Result<EndpointId, PhoneError> {
        if self.endpoints.len() >= ENDPOINTS_MAX {
            return Err(PhoneError::Limit { what: "SIP sockets", limit: ENDPOINTS_MAX });
        }
        self.endpoint_serial += 1;
        let id = EndpointId(self.endpoint_serial);
        self.endpoints.insert(id, Endpoint { address });
        Ok(id)
    }

    /// Something happens at this moment; the clock never goes back.
    pub(crate) fn begin(&mut self, now: RunTime) {
        self.now = self.now.max(now);
    }

    /// Sends what has gathered. Ends every entry into the core.
    pub(crate) fn flush(&mut self) {
        while let Some(user) = self.refused.pop() {
            self.on_tx_event(TxEvent::TransportFailed(user));
        }
        self.tell_media_events();
        for (flow, bytes) in self.transactions.drain_outbox() {
            tracing::trace!(to = %flow.remote, head = %first_word(&bytes), "SIP out");
            self.io.send_sip(flow, bytes);
        }
    }

    /// When the next timer of the signalling is due.
    pub(crate) fn next_due(&self) -> Option<RunTime> {
        let due = [self.timers.next_due(), self.transactions.next_due()];
        due.into_iter().flatten().min()
    }

    /// Time went by: timers, and the audio of every stream.
    pub(crate) fn on_time(&mut self, now: RunTime) {
        self.begin(now);
        for event in self.transactions.on_time(now) {
            self.on_tx_event(event);
        }
        while let Some(timer) = self.timers.pop_due(now) {
            match timer {
                Timer::Leg(leg, timer) => self.on_leg_timer(leg, timer),
                Timer::Phone(phone, timer) => self.on_phone_timer(phone, timer),
            }
        }
        self.media.tick(now, &mut *self.io);
        self.flush();
    }

    /// A datagram came to a SIP socket.
    pub(crate) fn on_datagram(
        &mut self,
        now: RunTime,
        endpoint: EndpointId,
        remote: SocketAddr,
        bytes: &[u8],
    ) {
        // Keep-alives (RFC 5626 3.5.1) are no messages.
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
            return;
        }
        let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
        let flow = Flow { endpoint, transport: Transport::Udp, remote };
        match Message::parse(&bytes[start..]) {
            Ok(message) => self.on_sip(now, flow, message),
            Err(error) => self.on_malformed(now, flow, error),
        }
    }

    /// A SIP message came.
    pub(crate) fn on_sip(&mut self, now: RunTime, flow: Flow, message: Message) {
        self.begin(now);
        match Received::check(message) {
            Ok(received) => {
                tracing::trace!(from = %flow.remote, head = ?received.message.head, "SIP in");
                if received.message.code().is_some() {
                    self.on_response(flow, received);
                } else {
                    self.on_request(flow, received);
                }
                self.flush();
            }
            Err(error) => self.on_malformed(now, flow, error),
        }
    }

    /// Bytes came that are no SIP message: dropped, and told.
    pub(crate) fn on_malformed(&mut self, now: RunTime, flow: Flow, error: ParseError) {
        self.begin(now);
        let why = format!("from {}: {error}", flow.remote);
        let label = match self.endpoints.get(&flow.endpoint) {
            Some(endpoint) => format!("sip {}", endpoint.address),
            None => "sip".to_owned(),
        };
        self.tell(label, None, EventKind::Anomaly { anomaly: Anomaly::Malformed { why } });
    }

    /// A flow is broken.
    pub(crate) fn on_transport_failure(&mut self, now: RunTime, flow: Flow) {
        self.begin(now);
        for event in self.transactions.on_transport_failure(flow) {
            self.on_tx_event(event);
        }
        self.flush();
    }

    /// RTP came.
    pub(crate) fn on_rtp(&mut self, now: RunTime, id: StreamId, source: SocketAddr, bytes: &[u8]) {
        self.begin(now);
        self.media.take_rtp(now, id, source, bytes);
        self.tell_media_events();
    }

    /// RTCP came.
    pub(crate) fn on_rtcp(&mut self, now: RunTime, id: StreamId, bytes: &[u8]) {
        self.begin(now);
        self.media.take_rtcp(now, id, bytes);
    }

    /// A WAV file was written, or not.
    pub(crate) fn on_wav(&mut self, now: RunTime, phone: String, call: CallKey, kind: EventKind) {
        self.begin(now);
        self.tell(phone, Some(call), kind);
    }

    /// A request within a dialog, complete with Via, and the flow that it takes.
    pub(crate) fn request_within(
        &mut self,
        dialog: &mut Dialog,
        method: Method,
        ack_of: Option<u32>,
    ) -> Outgoing {
        let next_hop = dialog.next_hop();
        let flow = self.resolve(&next_hop, dialog.peer.endpoint).unwrap_or(dialog.peer);
        let mut message = dialog.request(method, ack_of);
        message.push_first("Via", self.new_via(flow));
        Outgoing { message, flow }
    }

    /// The flow to a URI: by address, or by the world's host table.
    pub(crate) fn resolve(&self, uri: &str, endpoint: EndpointId) -> Option<Flow> {
        if let Some(flow) = dialog::flow_to(uri, endpoint) {
            return Some(flow);
        }
        let parsed = Uri::parse(uri).ok()?;
        let sip = parsed.as_sip()?;
        let crate::sip::Host::Name(name) = &sip.host else { return None };
        let mut with_address = sip.clone();
        with_address.host = crate::sip::Host::Ip(*self.hosts.get(name)?);
        dialog::flow_to(&with_address.to_string(), endpoint)
    }

    /// A Via with a new branch.
    pub(crate) fn new_via(&mut self, flow: Flow) -> String {
        let branch = self.dice.token();
        let transport = flow.transport.via_name();
        match self.endpoints.get(&flow.endpoint) {
            Some(Endpoint { address }) => {
                format!("SIP/2.0/{transport} {address};branch=z9hG4bK{branch};rport")
            }
            None => format!("SIP/2.0/{transport} invalid.invalid;branch=z9hG4bK{branch}"),
        }
    }

    /// Starts a client transaction; when the table is full it counts as a transport failure.
    pub(crate) fn start(
        &mut self,
        outgoing: Outgoing,
        user: TxUser,
        give_up_ms: Option<u64>,
    ) -> String {
        match self.transactions.start_client(self.now, outgoing, user.clone(), give_up_ms) {
            Ok(branch) => branch,
            Err(TableFull) => {
                tracing::warn!("no room for another SIP transaction; the request is not sent");
                self.refused.push(user);
                String::new()
            }
        }
    }

    /// Draws a tag for the audio of a new leg.
    pub(crate) fn new_sender_tag(&mut self, label: &str) -> SenderTag {
        let tag = SenderTag(self.dice.u64());
        if self.tag_order.len() == TAG_LABELS_MAX
            && let Some(oldest) = self.tag_order.pop_front()
        {
            self.tag_labels.remove(&oldest);
        }
        self.tag_order.push_back(tag);
        self.tag_labels.insert(tag, label.to_owned());
        tag
    }

    pub(crate) fn next_leg_id(&mut self) -> LegId {
        self.leg_serial += 1;
        LegId(self.leg_serial)
    }

    /// Opens sockets and a stream for a leg.
    pub(crate) fn open_stream(
        &mut self,
        leg: LegId,
        ip: IpAddr,
        tag: SenderTag,
        audio: &AudioConfig,
    ) -> Result<(StreamId, u16), PhoneError> {
        let id = self.media.next_id();
        let port = self.io.open_media(id, ip).map_err(PhoneError::Media)?;
        let options = StreamOptions {
            leg,
            gap_ms_min: self.gap_ms_min,
            rtcp_interval_ms: self.rtcp_interval_ms,
            check: audio.source_check,
            cname: format!("{tag}@{ip}"),
            ntp_start: self.ntp_start,
            opened: self.now,
            sender: StreamOptions::sender(&mut self.dice, tag, audio.sent),
        };
        self.media.add(id, options);
        Ok((id, port))
    }

    /// Requests of this dialog are not heard any more.
    pub(crate) fn deafen(&mut self, local_tag: String) {
        if self.deaf.len() == DEAF_DIALOGS_MAX {
            self.deaf.pop_front();
        }
        self.deaf.push_back(local_tag);
    }

    /// Passes on what the audio noticed.
    pub(crate) fn tell_media_events(&mut self) {
        for event in self.media.drain_events() {
            let leg = event.leg;
            let kind = match event.change {
                ReceiveChange::Hearing(HearingChange::First(heard)) => {
                    EventKind::FirstAudio { heard }
                }
                ReceiveChange::Hearing(HearingChange::Hears(heard)) => {
                    self.on_heard(leg, &heard);
                    let label = match &heard {
                        Heard::Sender { tag } => self.tag_labels.get(tag).cloned(),
                        _ => None,
                    };
                    EventKind::Hears { heard, label }
                }
                ReceiveChange::Hearing(HearingChange::Gap(gap)) => EventKind::Gap { gap },
                ReceiveChange::Digit(digit) => EventKind::Digit { digit },
            };
            self.tell_leg(leg, kind);
        }
    }

    /// Writes an event to whoever listens. Never waits.
    pub(crate) fn tell(&self, phone: String, call: Option<CallKey>, kind: EventKind) {
        if self.events.receiver_count() > 0 {
            let event = Event { at_us: self.now, phone, call, kind };
            // The last listener may have gone since the count; nobody misses the event then.
            drop(self.events.send(Arc::new(event)));
        }
    }
}

/// Methods that the phone offers.
pub(crate) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE";

/// The key of a call: 64 bits of a hash of its Call-ID, and the caller's tag.
pub(crate) fn call_key(call_id: &str, from_tag: &str) -> CallKey {
    let hash = Sha256::digest(call_id.as_bytes());
    let short: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    CallKey(format!("{short}.{from_tag}"))
}

/// First word of a message: a method or the version. Nothing personal.
fn first_word(bytes: &[u8]) -> String {
    bytes.iter().take_while(|byte| byte.is_ascii_graphic()).map(|byte| char::from(*byte)).collect()
}

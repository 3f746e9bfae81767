//! Tests of the layer: two layers and a network between them, in virtual time.

mod cancel;
mod client_paths;
mod gate;
mod random;
mod server_paths;

use super::*;
use crate::message::{
    CallId, HeaderName, Message, Method, NameAddr, Request, Response, StatusCode, Uri,
    parse_datagram,
};
use crate::prng::Prng;
use crate::text::SipText;
use std::time::{Duration, Instant};

pub(super) const OWNER: Owner = Owner(7);

/// One layer with its outputs read into lists.
pub(super) struct Side {
    pub(super) layer: TransactionLayer,
    pub(super) now: Instant,
    pub(super) sent: Vec<Transmit>,
    pub(super) events: Vec<Event>,
    pub(super) flow: Flow,
}

impl Side {
    pub(super) fn new(transport: Transport) -> Self {
        Self::with_config(transport, LayerConfig::default())
    }

    pub(super) fn with_config(transport: Transport, config: LayerConfig) -> Self {
        let flow = Flow {
            transport,
            local: "192.0.2.1:5060".parse().unwrap(),
            remote: "192.0.2.2:5060".parse().unwrap(),
            connection: transport.is_reliable().then_some(ConnectionId(1)),
        };
        Self {
            layer: TransactionLayer::new(config, Prng::from_number(1)),
            now: crate::test_clock::start(),
            sent: Vec::new(),
            events: Vec::new(),
            flow,
        }
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.layer.poll_output() {
            match output {
                Output::Transmit(transmit) => self.sent.push(transmit),
                Output::Event(event) => self.events.push(event),
            }
        }
        assert!(self.layer.client_invariants_hold() && self.layer.server_invariants_hold());
    }

    /// Lets `wait` pass, firing each timer at its own instant.
    pub(super) fn pass(&mut self, wait: Duration) {
        let end = self.now + wait;
        while let Some(next) = self.layer.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.layer.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(super) fn send(&mut self, request: Request) -> ClientTx {
        let hop = Hop::from_flow(self.flow);
        let tx = self.layer.send_request(self.now, request, &hop, OWNER).unwrap();
        self.drain();
        tx
    }

    pub(super) fn receive(&mut self, message: impl Into<Message>) {
        let flow = self.flow;
        self.layer.handle_message(self.now, &flow, message.into());
        self.drain();
    }

    pub(super) fn respond(&mut self, tx: ServerTx, status: StatusCode) -> Result<(), RespondError> {
        let response = self.layer.response_for(tx, status)?;
        let result = self.layer.respond(self.now, tx, &response);
        self.drain();
        result
    }

    /// What was sent since the last call: `INVITE`, `200`, …
    pub(super) fn take_sent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sent).iter().map(|t| name(&parse(t))).collect()
    }

    /// What was reported since the last call.
    pub(super) fn take_events(&mut self) -> Vec<String> {
        std::mem::take(&mut self.events).iter().map(event_name).collect()
    }

    pub(super) fn server_tx(&self) -> ServerTx {
        let found = self.events.iter().rev().find_map(|event| match event {
            Event::Request { server_tx, .. } => Some(*server_tx),
            _ => None,
        });
        found.expect("a request was reported")
    }
}

impl From<Request> for Message {
    fn from(request: Request) -> Self {
        Message::Request(Box::new(request))
    }
}

impl From<Response> for Message {
    fn from(response: Response) -> Self {
        Message::Response(Box::new(response))
    }
}

pub(super) fn parse(transmit: &Transmit) -> Message {
    parse_datagram(transmit.bytes.clone()).expect("what we send can be read")
}

pub(super) fn name(message: &Message) -> String {
    match message {
        Message::Request(request) => request.method.to_string(),
        Message::Response(response) => response.status.to_string(),
    }
}

pub(super) fn event_name(event: &Event) -> String {
    match event {
        Event::Request { request, .. } => format!("request {}", request.method),
        Event::Ack { .. } => "ack".to_owned(),
        Event::Cancel { .. } => "cancel".to_owned(),
        Event::Response { response, .. } => format!("response {}", response.status),
        Event::StrayResponse { response, .. } => format!("stray {}", response.status),
        Event::Timeout { .. } => "timeout".to_owned(),
        Event::TransportFailed { .. } => "transport failed".to_owned(),
        Event::ServerTimeout { .. } => "server timeout".to_owned(),
        Event::ServerTransportFailed { .. } => "server transport failed".to_owned(),
        Event::Terminated { .. } => "terminated".to_owned(),
    }
}

pub(super) fn uri(text: &str) -> Uri {
    Uri::parse(text).unwrap()
}

/// A request without Via.
pub(super) fn request(method: Method) -> Request {
    let mut from = NameAddr::from_uri(uri("sip:alice@a.example"));
    from.set_tag(SipText::from_static("from-tag"));
    let to = NameAddr::from_uri(uri("sip:bob@b.example"));
    let call_id = CallId::parse(&SipText::from_static("call-1")).unwrap();
    Request::new(method, uri("sip:bob@b.example"), from, to, call_id, 1)
}

/// A request as it comes in from a peer.
pub(super) fn incoming(method: Method, branch: &str) -> Request {
    let text = format!("SIP/2.0/UDP 192.0.2.2:5060;branch={branch}");
    let mut request = request(method);
    let message = Message::Request(Box::new(request.clone())).to_bytes();
    let with_via = String::from_utf8(message.to_vec()).unwrap().replacen(
        "\r\n",
        &format!("\r\nVia: {text}\r\n"),
        1,
    );
    match parse_datagram(with_via.into_bytes()).unwrap() {
        Message::Request(parsed) => request = *parsed,
        Message::Response(_) => unreachable!("a request"),
    }
    request
}

/// The answer of a peer to the last request that `side` sent.
pub(super) fn answer(side: &Side, method: Method, status: StatusCode) -> Response {
    let found = side.sent.iter().rev().find_map(|transmit| match parse(transmit) {
        Message::Request(request) if request.method == method => Some(request),
        _ => None,
    });
    let request = found.expect("such a request was sent");
    Response::to_request(&request, status, &SipText::from_static("to-tag"))
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

//! Tests of the user agents in virtual time, with a list for a network.

mod calls;
mod registering;
mod takeover;
mod timers;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use bytes::Bytes;
use tokio::sync::{broadcast, oneshot};

use super::{
    CallPlan, CallerConfig, CallerId, Core, CoreOptions, LegId, PhoneConfig, PhoneId, Server,
};
use crate::error::PhoneError;
use crate::io::{EndpointId, Flow, Io, Transport, WavJob};
use crate::media::StreamId;
use crate::report::{CallReport, CallState};
use crate::sip::{Head, Message, Method, Received};
use crate::time::RunTime;
use crate::transaction::SipTimers;

/// Something that left the core.
#[derive(Clone, Debug)]
struct Sent {
    at: RunTime,
    flow: Flow,
    message: Message,
}

#[derive(Default)]
struct Wire {
    sent: Vec<Sent>,
    now: RunTime,
    next_port: u16,
    open: usize,
    /// Datagrams that are no messages: keep-alives.
    keep_alives: usize,
    /// `open_media` fails from now on.
    no_sockets: bool,
}

struct ListIo(Rc<RefCell<Wire>>);

impl Io for ListIo {
    fn send_sip(&mut self, flow: Flow, bytes: Bytes) {
        let mut wire = self.0.borrow_mut();
        if let Ok(message) = Message::parse(&bytes) {
            let at = wire.now;
            wire.sent.push(Sent { at, flow, message });
        } else {
            assert_eq!(&bytes[..], b"\r\n\r\n");
            wire.keep_alives += 1;
        }
    }

    fn open_media(&mut self, _: StreamId, _: IpAddr) -> io::Result<u16> {
        let mut wire = self.0.borrow_mut();
        if wire.no_sockets {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        wire.next_port += 2;
        wire.open += 1;
        Ok(30_000 + wire.next_port)
    }

    fn close_media(&mut self, _: StreamId) {
        self.0.borrow_mut().open -= 1;
    }

    fn send_rtp(&mut self, _: StreamId, _: SocketAddr, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn send_rtcp(&mut self, _: StreamId, _: SocketAddr, _: &[u8]) -> io::Result<()> {
        Ok(())
    }

    fn write_wav(&mut self, _: WavJob) {}
}

/// A core, its wire, and a clock that the test moves.
struct Bench {
    core: Core,
    wire: Rc<RefCell<Wire>>,
    now: RunTime,
    endpoint: EndpointId,
}

const NODE_A: &str = "127.0.0.11:5060";
const NODE_B: &str = "127.0.0.12:5060";
const OWN: &str = "127.0.0.2:5060";

fn address(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

impl Bench {
    fn new() -> Self {
        let wire = Rc::new(RefCell::new(Wire::default()));
        let options = CoreOptions {
            timing: SipTimers::default(),
            gap_ms_min: 60,
            rtcp_interval_ms: 5_000,
            known_sounds: Vec::new(),
            hosts: BTreeMap::from([("node.example".to_owned(), address(NODE_B).ip())]),
            seed: 7,
            ntp_start: 0,
            events: broadcast::channel(16).0,
        };
        let mut core = Core::new(options, Box::new(ListIo(Rc::clone(&wire))));
        let endpoint = core.add_endpoint(address(OWN)).expect("room");
        Self { core, wire, now: RunTime::START, endpoint }
    }

    fn phone(&mut self, config: PhoneConfig) -> PhoneId {
        let id = self.core.add_phone(config, self.endpoint).expect("a phone");
        self.core.flush();
        id
    }

    fn caller(&mut self, nodes: &[&str]) -> CallerConfig {
        let nodes = nodes.iter().map(|node| Server::udp(address(node))).collect();
        CallerConfig::new("trunk", address(OWN), nodes)
    }

    fn call(&mut self, config: CallerConfig, plan: CallPlan) -> LegId {
        let caller: CallerId = self.core.add_caller(config, self.endpoint).expect("a caller");
        let leg = self.core.place_call(caller, plan).expect("a call");
        self.core.flush();
        leg
    }

    /// Lets time pass, timer by timer.
    fn run_ms(&mut self, ms: u64) {
        let end = self.now.plus_ms(ms);
        while let Some(due) = self.core.next_due().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.wire.borrow_mut().now = self.now;
            self.core.on_time(self.now);
        }
        self.now = end;
        self.wire.borrow_mut().now = end;
        self.core.on_time(end);
    }

    /// A message comes from a node.
    fn receive(&mut self, from: &str, message: &Message) {
        self.core.on_datagram(self.now, self.endpoint, address(from), &message.to_bytes());
    }

    /// What left since the last look.
    fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.wire.borrow_mut().sent)
    }

    /// The only message that left since the last look.
    fn sent_one(&self) -> Sent {
        let mut sent = self.sent();
        assert_eq!(sent.len(), 1, "{:?}", heads(&sent));
        sent.remove(0)
    }

    fn state(&self, leg: LegId) -> CallState {
        self.core.legs.get(&leg).map_or(CallState::Ended, |leg| leg.state())
    }

    /// The report of the last call that ended.
    fn last_report(&self) -> CallReport {
        CallReport::clone(self.core.reports.back().expect("a call ended"))
    }

    fn modify(&mut self, leg: LegId) -> oneshot::Receiver<Result<(), PhoneError>> {
        let (done, result) = oneshot::channel();
        self.core.start_modify(leg, crate::sip::Direction::SendOnly, done);
        self.core.flush();
        result
    }

    fn hang_up(&mut self, leg: LegId) {
        self.core.begin(self.now);
        self.core.hang_up(leg);
        self.core.flush();
    }
}

/// `INVITE`, `200 INVITE` … of what left.
fn heads(sent: &[Sent]) -> Vec<String> {
    sent.iter().map(|sent| head(&sent.message)).collect()
}

fn head(message: &Message) -> String {
    match &message.head {
        Head::Request { method, .. } => method.to_string(),
        Head::Response { code, .. } => {
            let cseq = message.header("CSeq").unwrap_or_default();
            format!("{code} {}", cseq.split(' ').nth(1).unwrap_or_default())
        }
    }
}

fn uri_of(message: &Message) -> &str {
    match &message.head {
        Head::Request { uri, .. } => uri,
        Head::Response { .. } => "",
    }
}

fn sdp(version: u64, port: u16, tail: &str) -> String {
    format!(
        "v=0\r\no=node 5 {version} IN IP4 127.0.0.21\r\ns=-\r\nc=IN IP4 127.0.0.21\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n{tail}"
    )
}

/// The far end of one dialog: the system under test, seen from the wire.
struct Far {
    node: String,
    call_id: String,
    tag: String,
    /// The phone's tag, once known.
    phone_tag: Option<String>,
    cseq: u32,
    branches: u32,
}

impl Far {
    fn calling() -> Self {
        Self {
            node: NODE_A.into(),
            call_id: "far-call".into(),
            tag: "far".into(),
            phone_tag: None,
            cseq: 10,
            branches: 0,
        }
    }

    /// The far end of a call that the phone placed.
    fn called(invite: &Message) -> Self {
        let invite = Received::check(invite.clone()).expect("a valid INVITE");
        Self {
            node: NODE_A.into(),
            call_id: invite.call_id.clone(),
            tag: "far".into(),
            phone_tag: invite.from.tag().map(str::to_owned),
            cseq: 100,
            branches: 0,
        }
    }

    /// A request of the far end with the next CSeq.
    fn request(&mut self, method: Method) -> Message {
        self.cseq += 1;
        self.request_with(method, self.cseq)
    }

    fn request_with(&mut self, method: Method, cseq: u32) -> Message {
        self.branches += 1;
        let phone_tag =
            self.phone_tag.as_ref().map(|tag| format!(";tag={tag}")).unwrap_or_default();
        Message::request(method.clone(), format!("sip:1001@{OWN}"))
            .with(
                "Via",
                format!("SIP/2.0/UDP {};branch=z9hG4bK{}-{}", self.node, self.tag, self.branches),
            )
            .with("Max-Forwards", "70")
            .with("From", format!("<sip:queue@{NODE_A}>;tag={}", self.tag))
            .with("To", format!("<sip:1001@{OWN}>{phone_tag}"))
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", format!("<sip:node@{}>", self.node))
    }

    /// Learns the phone's tag from its response.
    fn learn(&mut self, response: &Message) {
        let response = Received::check(response.clone()).expect("a valid response");
        self.phone_tag = response.to.tag().map(str::to_owned);
    }

    fn ack(&mut self, invite_cseq: u32) -> Message {
        self.request_with(Method::Ack, invite_cseq)
    }

    /// A response to a request of the phone.
    fn response(&self, request: &Message, code: u16, body: Option<String>) -> Message {
        let request = Received::check(request.clone()).expect("a valid request");
        let response = Message::response(&request, code, "Phrase", Some(&self.tag))
            .with("Contact", format!("<sip:node@{}>", self.node));
        match body {
            Some(body) => response.with_body("application/sdp", body),
            None => response,
        }
    }
}

/// A phone with a policy, and a call to it that is established.
fn established() -> (Bench, Far, LegId) {
    let mut bench = Bench::new();
    let policy = super::AnswerPolicy::answer_after(0);
    bench.phone(PhoneConfig::new("agent", "1001", address(OWN)).with_policy(policy));
    let mut far = Far::calling();
    let invite = far.request(Method::Invite).with_body("application/sdp", sdp(1, 6_000, ""));
    bench.receive(NODE_A, &invite);
    bench.run_ms(0);
    let sent = bench.sent();
    assert_eq!(heads(&sent), ["100 INVITE", "180 INVITE", "200 INVITE"]);
    far.learn(&sent[2].message);
    let ack = far.ack(far.cseq);
    bench.receive(NODE_A, &ack);
    let leg = *bench.core.legs.keys().next().expect("a leg");
    assert_eq!(bench.state(leg), CallState::Established);
    (bench, far, leg)
}

/// A caller's established call.
fn called() -> (Bench, Far, LegId) {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let leg = bench.call(config, CallPlan::to("8000"));
    let invite = bench.sent_one();
    let far = Far::called(&invite.message);
    bench.receive(NODE_A, &far.response(&invite.message, 200, Some(sdp(1, 6_000, ""))));
    assert_eq!(heads(&bench.sent()), ["ACK"]);
    assert_eq!(bench.state(leg), CallState::Established);
    (bench, far, leg)
}

fn tcp_flow(endpoint: EndpointId) -> Flow {
    Flow { endpoint, transport: Transport::Tcp, remote: address(NODE_A) }
}

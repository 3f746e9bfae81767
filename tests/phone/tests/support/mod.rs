//! A tiny system under test for the phone's own tests: nodes that speak scripted SIP, and a relay
//! that forwards RTP. Everything waits for messages with deadlines, nothing sleeps.

#![allow(dead_code, reason = "each test program uses its own part")]
#![allow(clippy::panic, reason = "a helper of tests says what it waited for")]

pub(crate) mod connected;

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tandem_phone::media::RtpHeader;
use tandem_phone::sip::{Message, Method, NameAddr, Received, RtpCodec, SessionDescription};
use tandem_phone::{CallerConfig, PhoneConfig, Server, World, WorldOptions};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// How long a test waits for what must happen, ms.
pub(crate) const WAIT_MS: u64 = 20_000;

/// A loopback address that no other process of these tests uses now.
pub(crate) fn ip() -> IpAddr {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let pid = std::process::id();
    let (b, c) = (1 + (pid / 254) % 253, 1 + pid % 254);
    let d = NEXT.fetch_add(1, Ordering::Relaxed);
    assert!(d < 255, "a test program has 254 addresses");
    IpAddr::V4(Ipv4Addr::new(127, b as u8, c as u8, d))
}

pub(crate) fn any_port(ip: IpAddr) -> SocketAddr {
    SocketAddr::new(ip, 0)
}

pub(crate) async fn world() -> World {
    World::start(WorldOptions::default()).await.expect("a world")
}

pub(crate) fn phone_config(user: &str) -> PhoneConfig {
    PhoneConfig::new(&format!("agent-{user}"), user, any_port(ip()))
}

pub(crate) fn caller_config(node: SocketAddr) -> CallerConfig {
    CallerConfig::new("trunk", any_port(ip()), vec![Server::udp(node)])
}

/// An address that takes audio and says nothing, as long as the socket lives.
pub(crate) async fn sink() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(any_port(ip())).await.expect("a socket");
    let address = socket.local_addr().expect("bound");
    (socket, address)
}

/// Waits with the tests' deadline.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(Duration::from_millis(WAIT_MS), future).await {
        Ok(value) => value,
        Err(_) => panic!("waited {WAIT_MS} ms in vain for {what}"),
    }
}

/// A node: one SIP socket.
pub(crate) struct Node {
    socket: UdpSocket,
    pub(crate) address: SocketAddr,
    seen: Mutex<BTreeSet<Vec<u8>>>,
}

impl Node {
    pub(crate) async fn new() -> Self {
        let socket = UdpSocket::bind(any_port(ip())).await.expect("a socket");
        let address = socket.local_addr().expect("bound");
        Self { socket, address, seen: Mutex::default() }
    }

    /// The next message, repetitions included.
    pub(crate) async fn receive_any(&self) -> (Received, SocketAddr) {
        let mut buffer = vec![0; 65_535];
        let (length, from) =
            within("a SIP message", self.socket.recv_from(&mut buffer)).await.expect("readable");
        let message = Message::parse(&buffer[..length]).expect("the phone writes valid SIP");
        let mut received = Received::check(message).expect("with all headers");
        received.via.note_source(from);
        self.seen.lock().expect("no panic").insert(buffer[..length].to_vec());
        (received, from)
    }

    /// The next message that is no repetition.
    pub(crate) async fn receive(&self) -> (Received, SocketAddr) {
        loop {
            let before = self.seen.lock().expect("no panic").len();
            let received = self.receive_any().await;
            if self.seen.lock().expect("no panic").len() > before {
                return received;
            }
        }
    }

    /// The next request of this method, passing over provisional responses and repetitions.
    pub(crate) async fn request(&self, method: &Method) -> (Received, SocketAddr) {
        loop {
            let (received, from) = self.receive().await;
            match received.method() {
                Some(found) if found == method => return (received, from),
                Some(other) => panic!("expected {method}, got {other}"),
                None => assert!(
                    received.message.code().is_some_and(|code| code < 200),
                    "expected {method}, got {:?}",
                    received.message.head
                ),
            }
        }
    }

    /// The next response with this code, passing over other provisional ones.
    pub(crate) async fn response(&self, code: u16) -> (Received, SocketAddr) {
        loop {
            let (received, from) = self.receive().await;
            let found = received.message.code().expect("a response");
            if found == code {
                return (received, from);
            }
            assert!(found < 200, "expected {code}, got {found}");
        }
    }

    pub(crate) async fn send(&self, message: &Message, to: SocketAddr) {
        self.socket.send_to(&message.to_bytes(), to).await.expect("sent");
    }

    /// Answers a request where its Via says.
    pub(crate) async fn answer(
        &self,
        request: &Received,
        code: u16,
        tag: &str,
        body: Option<String>,
    ) {
        let to = request.via.response_address().expect("an address");
        self.send(&self.answer_to(request, code, tag, body), to).await;
    }

    pub(crate) fn answer_to(
        &self,
        request: &Received,
        code: u16,
        tag: &str,
        body: Option<String>,
    ) -> Message {
        let response = Message::response(request, code, "Answer", Some(tag))
            .with("Contact", format!("<sip:node@{}>", self.address));
        match body {
            Some(body) => response.with_body("application/sdp", body),
            None => response,
        }
    }

    /// Accepts a REGISTER.
    pub(crate) async fn accept_register(&self, request: &Received, expires_s: u32) {
        let contact = request.message.header("Contact").expect("a Contact");
        let response = Message::response(request, 200, "OK", Some("reg"))
            .with("Contact", format!("{contact};expires={expires_s}"));
        self.send(&response, request.via.response_address().expect("an address")).await;
    }
}

/// One leg as a node has it. Any node can act for it, as after a takeover.
#[derive(Clone, Debug)]
pub(crate) struct FarLeg {
    pub(crate) call_id: String,
    pub(crate) local: String,
    pub(crate) remote: String,
    pub(crate) target: String,
    pub(crate) peer: SocketAddr,
    pub(crate) cseq: u32,
    pub(crate) sdp_version: u64,
    branches: u32,
}

impl FarLeg {
    /// The leg of a caller whose INVITE came.
    pub(crate) fn of_invite(invite: &Received, from: SocketAddr, tag: &str) -> Self {
        Self {
            call_id: invite.call_id.clone(),
            local: format!("{};tag={tag}", invite.message.header("To").expect("To")),
            remote: invite.message.header("From").expect("From").to_owned(),
            target: contact(&invite.message),
            peer: from,
            cseq: 0,
            sdp_version: 1,
            branches: 0,
        }
    }

    /// A leg that will be made by an INVITE to a phone.
    pub(crate) fn to_phone(user: &str, phone: SocketAddr, call_id: &str) -> Self {
        Self {
            call_id: call_id.to_owned(),
            local: format!("<sip:queue@tandem.example>;tag=n-{call_id}"),
            remote: format!("<sip:{user}@{phone}>"),
            target: format!("sip:{user}@{phone}"),
            peer: phone,
            cseq: 0,
            sdp_version: 1,
            branches: 0,
        }
    }

    /// A request of this leg, sent by that node.
    pub(crate) fn request(&mut self, node: &Node, method: &Method) -> Message {
        self.cseq += 1;
        self.request_with(node, method, self.cseq)
    }

    pub(crate) fn request_with(&mut self, node: &Node, method: &Method, cseq: u32) -> Message {
        self.branches += 1;
        let branch = format!("z9hG4bK{}{}{}", self.call_id, node.address.port(), self.branches);
        Message::request(method.clone(), self.target.clone())
            .with("Via", format!("SIP/2.0/UDP {};branch={branch}", node.address))
            .with("Max-Forwards", "70")
            .with("From", self.local.clone())
            .with("To", self.remote.clone())
            .with("Call-ID", self.call_id.clone())
            .with("CSeq", format!("{cseq} {method}"))
            .with("Contact", format!("<sip:node@{}>", node.address))
    }

    /// Takes tag and target from a 200 to the node's INVITE.
    pub(crate) fn confirm(&mut self, ok: &Received) {
        self.remote = ok.message.header("To").expect("To").to_owned();
        self.target = contact(&ok.message);
    }

    /// A session description of a node with audio at that address.
    pub(crate) fn sdp(&mut self, media: SocketAddr, tail: &str) -> String {
        self.sdp_version += 1;
        sdp_of(self.sdp_version, media, tail)
    }

    /// INVITE or re-INVITE by a node, with everything up to the ACK; returns the phone's RTP address.
    pub(crate) async fn invite(
        &mut self,
        node: &Node,
        media: SocketAddr,
        tail: &str,
    ) -> SocketAddr {
        let body = self.sdp(media, tail);
        let invite = self.request(node, &Method::Invite).with_body("application/sdp", body);
        node.send(&invite, self.peer).await;
        let (ok, from) = node.response(200).await;
        self.confirm(&ok);
        self.peer = from;
        let ack = self.request_with(node, &Method::Ack, self.cseq);
        node.send(&ack, self.peer).await;
        rtp_of(&ok.message)
    }

    /// BYE by a node, with its 200.
    pub(crate) async fn bye(&mut self, node: &Node) {
        let bye = self.request(node, &Method::Bye);
        node.send(&bye, self.peer).await;
        node.response(200).await;
    }
}

pub(crate) fn sdp_of(version: u64, media: SocketAddr, tail: &str) -> String {
    format!(
        "v=0\r\no=node 7 {version} IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\n\
         m=audio {port} RTP/AVP 0 101\r\na=rtpmap:101 telephone-event/8000\r\n{tail}",
        ip = media.ip(),
        port = media.port()
    )
}

fn contact(message: &Message) -> String {
    let contacts = message.values("Contact");
    NameAddr::parse(contacts.first().expect("a Contact")).expect("valid").uri.to_string()
}

/// Where a description wants RTP.
pub(crate) fn rtp_of(message: &Message) -> SocketAddr {
    let sdp = SessionDescription::parse(message.sdp().expect("SDP")).expect("valid SDP");
    sdp.audio(&[RtpCodec::Pcmu, RtpCodec::Pcma]).expect("audio").rtp
}

/// Which end of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Caller,
    Agent,
}

/// Forwards RTP between two ends, and remembers the headers that came from each.
pub(crate) struct Relay {
    pub(crate) caller_side: SocketAddr,
    pub(crate) agent_side: SocketAddr,
    peers: Arc<Mutex<[Option<SocketAddr>; 2]>>,
    headers: Arc<Mutex<Vec<(End, RtpHeader)>>>,
    tasks: [JoinHandle<()>; 2],
}

impl Relay {
    pub(crate) async fn new() -> Self {
        let ip = ip();
        let [caller, agent] = [bind(ip).await, bind(ip).await];
        let peers: Arc<Mutex<[Option<SocketAddr>; 2]>> = Arc::default();
        let headers = Arc::default();
        let (caller_side, agent_side) =
            (caller.local_addr().expect("bound"), agent.local_addr().expect("bound"));
        let tasks = [
            tokio::spawn(forward(
                End::Caller,
                Arc::clone(&caller),
                Arc::clone(&agent),
                Arc::clone(&peers),
                Arc::clone(&headers),
            )),
            tokio::spawn(forward(
                End::Agent,
                agent,
                caller,
                Arc::clone(&peers),
                Arc::clone(&headers),
            )),
        ];
        Self { caller_side, agent_side, peers, headers, tasks }
    }

    pub(crate) fn connect(&self, caller: SocketAddr, agent: SocketAddr) {
        *self.peers.lock().expect("no panic") = [Some(caller), Some(agent)];
    }

    /// `kill -9`.
    pub(crate) fn kill(&self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }

    /// Headers that came from one end.
    pub(crate) fn headers(&self, end: End) -> Vec<RtpHeader> {
        let headers = self.headers.lock().expect("no panic");
        headers.iter().filter(|(from, _)| *from == end).map(|(_, header)| *header).collect()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn bind(ip: IpAddr) -> Arc<UdpSocket> {
    Arc::new(UdpSocket::bind(any_port(ip)).await.expect("a socket"))
}

async fn forward(
    end: End,
    from: Arc<UdpSocket>,
    to: Arc<UdpSocket>,
    peers: Arc<Mutex<[Option<SocketAddr>; 2]>>,
    headers: Arc<Mutex<Vec<(End, RtpHeader)>>>,
) {
    let mut buffer = [0; 2_048];
    while let Ok((length, _)) = from.recv_from(&mut buffer).await {
        if let Some((header, _)) = RtpHeader::parse(&buffer[..length]) {
            headers.lock().expect("no panic").push((end, header));
        }
        let [caller, agent] = *peers.lock().expect("no panic");
        let peer = if end == End::Caller { agent } else { caller };
        if let Some(peer) = peer {
            to.send_to(&buffer[..length], peer).await.expect("sent");
        }
    }
}

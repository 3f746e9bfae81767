//! A scripted user agent: a caller behind a trunk, or an agent's phone. Speaks SIP over lossy
//! datagrams or a stream, with its own transactions, and is strict with its peer.

mod answers;
mod asks;
mod time;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use crate::world::text::{Msg, Sdp};

const T1: u64 = 500;
const T2: u64 = 4_000;
const T1X64: u64 = 32_000;

/// What a user agent does by itself.
#[derive(Debug, Clone)]
pub struct Plan {
    /// To an INVITE outside of a dialog.
    pub invited: Reaction,
    /// To an INVITE within a dialog.
    pub reinvited: Respond,
    /// To OPTIONS.
    pub asked: Respond,
    /// To BYE.
    pub bye: Respond,
    /// To UPDATE.
    pub updated: Respond,
    /// To CANCEL while it rings.
    pub cancelled: OnCancel,
    /// ACKs to 2xx that are not sent.
    pub acks_lost: u32,
    /// Whether the peer's ACKs arrive.
    pub deaf_to_ack: bool,
    /// Session-Expires in our 2xx.
    pub expires: Option<String>,
    /// Hangs up so long after the answer.
    pub hang_up_after: Option<u64>,
    /// A second phone of the same user answers the first INVITE so long after the first one.
    pub fork_after: Option<u64>,
    /// Sends audio while in a call.
    pub sends: bool,
    /// Puts a body of this kind into its 2xx.
    pub answer: Answer,
}

/// How an INVITE is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Says nothing.
    Silent,
    /// 100, and nothing else.
    Trying,
    /// 180 after so long, and nothing else.
    Rings(u64),
    /// 180 after so long, 200 so long after that.
    Answers(u64, u64),
    /// A failure after so long.
    Rejects(u64, u16),
}

/// How a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Respond {
    /// 200.
    Ok,
    /// This status.
    Status(u16),
    /// Not at all.
    Silent,
}

/// How a CANCEL is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnCancel {
    /// 487.
    Obeys,
    /// The user answers at the same moment: 200 to the INVITE.
    Answers,
    /// The CANCEL never arrives.
    Deaf,
}

/// What a 2xx of ours describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// A codec that was offered.
    Good,
    /// A codec that was not offered.
    Unusable,
    /// No description.
    Missing,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            invited: Reaction::Answers(200, 2_000),
            reinvited: Respond::Ok,
            asked: Respond::Ok,
            bye: Respond::Ok,
            updated: Respond::Ok,
            cancelled: OnCancel::Obeys,
            acks_lost: 0,
            deaf_to_ack: false,
            expires: None,
            hang_up_after: None,
            fork_after: None,
            sends: true,
            answer: Answer::Good,
        }
    }
}

/// Where a call stands at its user agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Our INVITE is under way.
    Calling,
    /// Theirs rings here.
    Ringing,
    /// Answered.
    Up,
    /// Ended, refused or given up.
    Over,
}

/// One call of a user agent.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its Call-ID.
    pub call_id: String,
    /// Our tag.
    pub local_tag: String,
    /// Theirs.
    pub remote_tag: String,
    /// True when we called.
    pub outgoing: bool,
    /// Where it stands.
    pub state: State,
    /// Final status of our INVITE.
    pub status: Option<u16>,
    /// When it was answered.
    pub answered: Option<u64>,
    /// When it ended.
    pub ended: Option<u64>,
    /// True when the peer ended it.
    pub ended_by_peer: bool,
    /// Finals to our requests in the call: method, status (0: none came).
    pub finals: Vec<(String, u16)>,
    /// Requests of the peer in the call.
    pub requests: Vec<(u64, String, u32)>,
    /// Whether our 2xx was acknowledged.
    pub acked: bool,
    /// What they described last.
    pub peer_sdp: Option<Sdp>,
    /// What we described last.
    pub my_sdp: Sdp,
    /// Their Contact.
    pub peer_target: String,
    /// Number of our last request.
    pub local_cseq: u32,
    remote_cseq: u32,
    /// Branch of the request that used a number.
    used_cseq: BTreeMap<u32, String>,
    local_uri: String,
    remote_uri: String,
    route: Vec<String>,
    invite: Option<(Msg, SocketAddr)>,
    sent_invite: Option<String>,
    origin: Option<(String, String, String)>,
    /// Our direction before a re-INVITE that is under way: a refused one changes nothing.
    before: Option<String>,
    /// A re-INVITE was refused for good: the peer does not know what holds.
    pub refused: bool,
    /// How often a 200 of ours to an INVITE left.
    pub oks_sent: u32,
    /// How often a 2xx to an INVITE of ours came.
    pub oks_seen: u32,
    /// Headers of the 2xx to our INVITE.
    pub ok: Option<Msg>,
}

#[derive(Debug, Clone)]
struct Client {
    call: Option<usize>,
    method: String,
    bytes: Vec<u8>,
    to: SocketAddr,
    wait: u64,
    until: u64,
    provisional: bool,
}

/// A response of ours that is sent until it is acknowledged.
#[derive(Debug, Clone)]
struct Resend {
    call: usize,
    bytes: Vec<u8>,
    to: SocketAddr,
    wait: u64,
    until: u64,
    success: bool,
}

/// Something a user agent does later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// A copy of a request.
    Client(String),
    /// A copy of a final response.
    Resend(String),
    /// 180.
    Ring(usize),
    /// A final answer.
    Answer(usize),
    /// A second phone answers.
    Fork(usize),
    /// BYE.
    HangUp(usize),
    /// No final answer came to a cancelled INVITE (RFC 3261 section 9.1).
    GiveUp(usize),
}

/// One user agent.
pub struct Ua {
    /// Its name in this world.
    pub name: String,
    /// Where it speaks SIP.
    pub addr: SocketAddr,
    /// Where it hears audio.
    pub rtp: SocketAddr,
    /// Where requests outside of dialogs go.
    pub proxy: SocketAddr,
    /// The stream to the node, for a user agent on TCP.
    pub conn: Option<u64>,
    /// Whether it speaks over a stream.
    pub tcp: bool,
    /// One that is not neither hears nor is heard.
    pub alive: bool,
    /// What it does by itself.
    pub plan: Plan,
    /// All calls it ever had.
    pub calls: Vec<Call>,
    /// Statuses of requests outside of dialogs: method, response.
    pub outside: Vec<(String, Msg)>,
    /// What it wants sent.
    pub out: Vec<(SocketAddr, Vec<u8>)>,
    /// What the peer did wrong.
    pub violations: Vec<String>,
    /// Requests with a CSeq below one seen before: late, or from a node that may not speak.
    pub late: Vec<String>,
    /// All messages that came in: when, start line.
    pub heard: Vec<(u64, String)>,
    /// Virtual time, in ms.
    pub now: u64,
    timers: BTreeSet<(u64, Timer)>,
    clients: BTreeMap<String, Client>,
    resends: BTreeMap<String, Resend>,
    answered: BTreeMap<String, Vec<u8>>,
    acks: BTreeMap<String, (Vec<u8>, SocketAddr)>,
    next: u64,
}

impl Ua {
    /// A user agent without calls.
    pub fn new(name: &str, addr: SocketAddr, proxy: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            addr,
            rtp: SocketAddr::new(addr.ip(), addr.port() + 10_000),
            proxy,
            conn: None,
            tcp: false,
            alive: true,
            plan: Plan::default(),
            calls: Vec::new(),
            outside: Vec::new(),
            out: Vec::new(),
            violations: Vec::new(),
            late: Vec::new(),
            heard: Vec::new(),
            now: 0,
            timers: BTreeSet::new(),
            clients: BTreeMap::new(),
            resends: BTreeMap::new(),
            answered: BTreeMap::new(),
            acks: BTreeMap::new(),
            next: 1,
        }
    }

    /// When it wants to be woken.
    pub fn next_timer(&self) -> Option<u64> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The last call.
    pub fn call(&self) -> &Call {
        self.calls.last().expect("a call was made before it is asked for")
    }

    /// True while it is in a conversation.
    pub fn is_up(&self) -> bool {
        self.calls.iter().any(|call| call.state == State::Up)
    }

    /// Calls that are not over.
    pub fn open(&self) -> usize {
        self.calls.iter().filter(|call| call.state != State::Over).count()
    }

    /// Final answers of its own to INVITEs that were not acknowledged, and where they go.
    pub fn unacknowledged(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.resends.values().map(|resend| (resend.to, resend.bytes.as_slice()))
    }

    /// Where audio goes now: `None` while it sends none.
    pub fn sends_to(&self) -> Vec<SocketAddr> {
        if !self.alive || !self.plan.sends {
            return Vec::new();
        }
        self.calls
            .iter()
            .filter(|call| call.state == State::Up)
            .filter(|call| matches!(call.my_sdp.direction.as_str(), "sendrecv" | "sendonly"))
            .filter_map(|call| call.peer_sdp.as_ref())
            .filter(|sdp| matches!(sdp.direction.as_str(), "sendrecv" | "recvonly"))
            .map(Sdp::socket)
            .collect()
    }

    // --- messages -------------------------------------------------------------------------------------

    /// Takes a message from the network.
    pub fn receive(&mut self, from: SocketAddr, bytes: &[u8]) {
        let msg = match Msg::parse(bytes) {
            Ok(msg) => msg,
            Err(why) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                self.violations.push(format!("{}: {why} in {text:?}", self.name));
                return;
            }
        };
        self.heard.push((self.now, msg.start.clone()));
        if msg.is_request() {
            self.requested(from, &msg);
        } else {
            self.responded(from, &msg);
        }
    }

    // --- parts ----------------------------------------------------------------------------------------

    fn new_call(
        &mut self,
        call_id: String,
        outgoing: bool,
        local_uri: String,
        remote_uri: String,
    ) -> usize {
        self.next += 1;
        let session = format!("{}", 7_000 + self.next);
        self.calls.push(Call {
            call_id,
            local_tag: format!("{}t{}", self.name, self.next),
            remote_tag: String::new(),
            outgoing,
            state: if outgoing { State::Calling } else { State::Ringing },
            status: None,
            answered: None,
            ended: None,
            ended_by_peer: false,
            finals: Vec::new(),
            requests: Vec::new(),
            acked: false,
            peer_sdp: None,
            my_sdp: Sdp {
                username: "-".into(),
                session,
                version: 1,
                origin_address: self.addr.ip().to_string(),
                address: self.rtp.ip().to_string(),
                port: self.rtp.port(),
                formats: vec![8, 0, 101],
                direction: "sendrecv".into(),
                streams: 1,
            },
            peer_target: String::new(),
            local_cseq: 0,
            remote_cseq: 0,
            used_cseq: BTreeMap::new(),
            local_uri,
            remote_uri,
            route: Vec::new(),
            invite: None,
            sent_invite: None,
            origin: None,
            before: None,
            refused: false,
            oks_sent: 0,
            oks_seen: 0,
            ok: None,
        });
        self.calls.len() - 1
    }

    fn over(&mut self, index: usize, by_peer: bool) {
        let now = self.now;
        let call = &mut self.calls[index];
        if call.state != State::Over {
            call.state = State::Over;
            call.ended = Some(now);
            call.ended_by_peer = by_peer;
        }
        self.resends.retain(|_, resend| resend.call != index || !resend.success);
    }

    fn take_target(&mut self, index: usize, msg: &Msg) {
        if let Some(contact) = msg.contact() {
            self.calls[index].peer_target = contact;
        }
    }

    /// Takes a description of the peer's over, and judges its `o=` line (RFC 3264 section 8).
    fn take_sdp(&mut self, index: usize, msg: &Msg) {
        let Some(sdp) = msg.sdp() else { return };
        let name = self.name.clone();
        let call = &mut self.calls[index];
        let origin = (sdp.username.clone(), sdp.session.clone(), sdp.origin_address.clone());
        if let Some(known) = &call.origin
            && *known != origin
        {
            self.violations.push(format!("{name}: the o= line changed: {known:?} {origin:?}"));
        }
        let call = &mut self.calls[index];
        call.origin = Some(origin);
        if let Some(last) = &call.peer_sdp {
            let same = last.says() == sdp.says();
            if sdp.version < last.version || (!same && sdp.version == last.version) {
                let text = format!("{name}: SDP version {} after {}", sdp.version, last.version);
                self.violations.push(text);
            }
        }
        let call = &mut self.calls[index];
        // Our side of their hold.
        let mirrored = match (sdp.direction.as_str(), call.my_sdp.direction.as_str()) {
            ("sendonly", "sendrecv") => Some("recvonly"),
            ("sendrecv", "recvonly") => Some("sendrecv"),
            _ => None,
        };
        if let Some(direction) = mirrored.filter(|_| msg.is_request()) {
            call.my_sdp.direction = direction.to_owned();
            call.my_sdp.version += 1;
        }
        call.peer_sdp = Some(sdp);
    }

    /// Its Contact URI.
    pub fn contact(&self) -> String {
        let transport = if self.tcp { ";transport=tcp" } else { "" };
        format!("sip:{}@{}{transport}", self.name, self.addr)
    }

    fn via(&self, branch: &str) -> String {
        let transport = if self.tcp { "TCP" } else { "UDP" };
        format!("SIP/2.0/{transport} {};branch={branch};rport", self.addr)
    }

    fn branch(&mut self) -> String {
        self.next += 1;
        format!("z9hG4bK-{}-{}", self.name, self.next)
    }

    fn set(&mut self, after: u64, timer: Timer) {
        self.timers.insert((self.now + after, timer));
    }
}

/// What an INVITE carries.
#[derive(Debug, Clone)]
pub enum Body {
    /// Our description.
    Sdp,
    /// Nothing.
    None,
    /// This text as a description.
    Other(String),
    /// A body of this type.
    Typed(String, String),
}

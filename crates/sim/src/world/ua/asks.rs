//! Our requests, and the peer's responses to them.

use std::net::SocketAddr;

use super::{Body, Client, State, T1, T1X64, Timer, Ua};
use crate::world::text::{Msg, address, compose, socket_of};

impl Ua {
    // --- what a test makes it do ----------------------------------------------------------------------

    /// Calls a number; returns the index of the call.
    pub fn invite(&mut self, number: &str) -> usize {
        self.invite_with(number, &[], Body::Sdp)
    }

    /// The same with further headers and another body.
    pub fn invite_with(&mut self, number: &str, extra: &[(&str, String)], body: Body) -> usize {
        let index = self.new_call(
            format!("{}-{}@{}", self.name, self.next, self.addr.ip()),
            true,
            format!("sip:+4420{:06}@carrier.example", self.next),
            format!("sip:{number}@tandem.example"),
        );
        let uri = format!("sip:{number}@{}", self.proxy);
        let sdp = self.calls[index].my_sdp.compose();
        let text = match &body {
            Body::Sdp => sdp,
            Body::None => String::new(),
            Body::Other(text) => text.clone(),
            Body::Typed(_, text) => text.clone(),
        };
        let branch = self.branch();
        let call = &self.calls[index];
        let has = |name: &str| extra.iter().any(|(key, _)| *key == name);
        let mut headers = vec![("Via", self.via(&branch))];
        if !has("Max-Forwards") {
            headers.push(("Max-Forwards", "70".into()));
        }
        headers.extend([
            ("From", format!("<{}>;tag={}", call.local_uri, call.local_tag)),
            ("To", format!("<{}>", call.remote_uri)),
            ("Call-ID", call.call_id.clone()),
            ("CSeq", "1 INVITE".into()),
            ("Contact", format!("<{}>", self.contact())),
            ("Supported", "timer".into()),
        ]);
        headers.extend(extra.iter().cloned());
        if let Body::Typed(kind, _) = &body {
            headers.push(("Content-Type", kind.clone()));
        }
        self.calls[index].local_cseq = 1;
        self.calls[index].sent_invite = Some(branch.clone());
        let bytes = compose(&format!("INVITE {uri} SIP/2.0"), &headers, &text);
        self.start_client(Some(index), "INVITE", &branch, bytes, self.proxy);
        index
    }

    /// Cancels the INVITE of a call.
    pub fn cancel(&mut self, index: usize) {
        let call = &self.calls[index];
        let Some(branch) = call.sent_invite.clone() else { return };
        let Some(client) = self.clients.get(&format!("{branch}/INVITE")) else { return };
        let invite = Msg::own(&client.bytes);
        let to = client.to;
        let headers = vec![
            ("Via", invite.get("Via")),
            ("Max-Forwards", "70".into()),
            ("From", invite.get("From")),
            ("To", invite.get("To")),
            ("Call-ID", invite.call_id()),
            ("CSeq", format!("{} CANCEL", invite.cseq().0)),
        ];
        let bytes = compose(&format!("CANCEL {} SIP/2.0", invite.uri()), &headers, "");
        self.start_client(Some(index), "CANCEL", &branch, bytes, to);
        self.set(T1X64, Timer::GiveUp(index));
    }

    /// Hangs up every call.
    pub fn hang_up(&mut self) {
        for index in 0..self.calls.len() {
            match (self.calls[index].state, self.calls[index].outgoing) {
                (State::Up, _) => self.bye(index),
                (State::Calling, true) => self.cancel(index),
                (State::Ringing, false) => self.answer_invite(index, 486),
                _ => {}
            }
        }
    }

    /// Ends a call.
    pub fn bye(&mut self, index: usize) {
        self.request(index, "BYE", &[], "");
        self.over(index, false);
    }

    /// A re-INVITE with this direction.
    pub fn reinvite(&mut self, index: usize, direction: &str) {
        let call = &mut self.calls[index];
        call.before = Some(call.my_sdp.direction.clone());
        if call.my_sdp.direction != direction {
            call.my_sdp.direction = direction.to_owned();
            call.my_sdp.version += 1;
        }
        let body = call.my_sdp.compose();
        self.request(index, "INVITE", &[], &body);
    }

    /// True when no INVITE of either side is under way in the call.
    pub fn is_ready(&self, index: usize) -> bool {
        let asks = self.clients.values().any(|c| c.call == Some(index) && c.method == "INVITE");
        let answers = self.resends.values().any(|resend| resend.call == index);
        self.calls[index].state == State::Up && !asks && !answers
    }

    /// Tells the peer of another socket for audio.
    pub fn move_rtp(&mut self, index: usize, rtp: SocketAddr) {
        self.rtp = rtp;
        let call = &mut self.calls[index];
        call.my_sdp.address = rtp.ip().to_string();
        call.my_sdp.port = rtp.port();
        call.my_sdp.version += 1;
        let body = call.my_sdp.compose();
        self.request(index, "INVITE", &[], &body);
    }

    /// A request within a call; returns its CSeq number.
    pub fn request(
        &mut self,
        index: usize,
        method: &str,
        extra: &[(&str, String)],
        body: &str,
    ) -> u32 {
        self.calls[index].local_cseq += 1;
        let number = self.calls[index].local_cseq;
        let branch = self.branch();
        let (bytes, to) = self.within(index, method, number, &branch, extra, body);
        self.start_client(Some(index), method, &branch, bytes, to);
        number
    }

    /// The same with a CSeq number that is not the next one.
    pub fn request_numbered(&mut self, index: usize, method: &str, number: u32) {
        let branch = self.branch();
        let (bytes, to) = self.within(index, method, number, &branch, &[], "");
        self.start_client(Some(index), method, &branch, bytes, to);
    }

    /// A request outside of dialogs.
    pub fn outside(&mut self, method: &str, uri: &str, extra: &[(&str, String)]) {
        let branch = self.branch();
        let mut headers = vec![
            ("Via", self.via(&branch)),
            ("Max-Forwards", "70".into()),
            ("From", format!("<sip:{}@tandem.example>;tag=out{}", self.name, self.next)),
            ("To", format!("<{uri}>")),
            ("CSeq", format!("1 {method}")),
        ];
        if !extra.iter().any(|(name, _)| *name == "Call-ID") {
            headers.push(("Call-ID", format!("outside-{}-{}", self.name, self.next)));
        }
        for (name, value) in extra {
            headers.retain(|(known, _)| known != name);
            headers.push((name, value.clone()));
        }
        let target = if method == "REGISTER" { "sip:tandem.example" } else { uri };
        let bytes = compose(&format!("{method} {target} SIP/2.0"), &headers, "");
        self.start_client(None, method, &branch, bytes, self.proxy);
    }

    // --- responses ------------------------------------------------------------------------------------

    pub(super) fn responded(&mut self, from: SocketAddr, msg: &Msg) {
        let (key, status) = (format!("{}/{}", msg.branch(), msg.method()), msg.status());
        let Some(client) = self.clients.get_mut(&key) else {
            return self.repeated(msg);
        };
        if status < 200 {
            client.provisional = true;
            return;
        }
        let Some(client) = self.clients.remove(&key) else { return };
        let Some(index) = client.call else {
            self.outside.push((client.method, msg.clone()));
            return;
        };
        self.calls[index].finals.push((client.method.clone(), status));
        if client.method != "INVITE" {
            if (200..300).contains(&status) && client.method == "UPDATE" {
                self.take_target(index, msg);
                self.take_sdp(index, msg);
            }
            return;
        }
        let first = self.calls[index].state == State::Calling;
        if status >= 300 {
            self.ack_failure(&client, msg);
            if first {
                self.calls[index].status = Some(status);
                self.over(index, false);
            } else {
                self.change_refused(index, status);
            }
            return;
        }
        self.calls[index].before = None;
        self.calls[index].oks_seen += 1;
        if first {
            self.up(index, msg);
        }
        self.take_target(index, msg);
        self.take_sdp(index, msg);
        // The answer to a description in the 2xx comes with the ACK.
        let offered = Msg::own(&client.bytes).body.is_empty();
        let body = if offered { self.calls[index].my_sdp.compose() } else { String::new() };
        self.ack(index, msg, from, &body);
    }

    /// A re-INVITE of ours was refused, or got no answer (408): RFC 3261 sections 14.1 and 12.2.1.2.
    pub(super) fn change_refused(&mut self, index: usize, status: u16) {
        let call = &mut self.calls[index];
        if let Some(before) = call.before.take()
            && call.my_sdp.direction != before
        {
            call.my_sdp.direction = before;
            call.my_sdp.version += 1;
        }
        if matches!(status, 408 | 481) && self.calls[index].state == State::Up {
            self.bye(index);
        }
    }

    /// A response that no request waits for: a copy of a 2xx is acknowledged again.
    pub(super) fn repeated(&mut self, msg: &Msg) {
        if msg.method() != "INVITE" || !(200..300).contains(&msg.status()) {
            if msg.method() == "INVITE" && msg.status() >= 300 {
                // A copy of a failure: the ACK got lost.
                let key = format!("{}/{}", msg.branch(), msg.cseq().0);
                if let Some((ack, to)) = self.acks.get(&key) {
                    self.out.push((*to, ack.clone()));
                }
            }
            return;
        }
        let found = self
            .calls
            .iter()
            .position(|call| call.call_id == msg.call_id() && call.local_tag == msg.tag_of_from());
        let Some(index) = found else { return };
        self.calls[index].oks_seen += 1;
        let key = format!("{}/{}", msg.call_id(), msg.cseq().0);
        if self.plan.acks_lost > 0 {
            self.plan.acks_lost -= 1;
        } else if let Some((ack, to)) = self.acks.get(&key) {
            self.out.push((*to, ack.clone()));
        }
    }

    pub(super) fn up(&mut self, index: usize, msg: &Msg) {
        let (now, hang_up) = (self.now, self.plan.hang_up_after);
        let call = &mut self.calls[index];
        call.state = State::Up;
        call.status = Some(msg.status());
        call.answered = Some(now);
        call.remote_tag = msg.tag_of_to().unwrap_or_default();
        call.route = msg.all("Record-Route").map(address).collect();
        call.route.reverse();
        call.ok = Some(msg.clone());
        if let Some(after) = hang_up {
            self.set(after, Timer::HangUp(index));
        }
    }

    // --- parts ----------------------------------------------------------------------------------------

    pub(super) fn ack(&mut self, index: usize, ok: &Msg, _from: SocketAddr, body: &str) {
        let (number, branch) = (ok.cseq().0, self.branch());
        let (bytes, to) = self.within(index, "ACK", number, &branch, &[], body);
        let key = format!("{}/{number}", ok.call_id());
        self.acks.insert(key, (bytes.clone(), to));
        if self.plan.acks_lost > 0 {
            self.plan.acks_lost -= 1;
        } else {
            self.out.push((to, bytes));
        }
    }

    pub(super) fn ack_failure(&mut self, client: &Client, msg: &Msg) {
        let invite = Msg::own(&client.bytes);
        let headers = vec![
            ("Via", invite.get("Via")),
            ("Max-Forwards", "70".into()),
            ("From", invite.get("From")),
            ("To", msg.get("To")),
            ("Call-ID", invite.call_id()),
            ("CSeq", format!("{} ACK", invite.cseq().0)),
        ];
        let bytes = compose(&format!("ACK {} SIP/2.0", invite.uri()), &headers, "");
        let key = format!("{}/{}", invite.branch(), invite.cseq().0);
        self.acks.insert(key, (bytes.clone(), client.to));
        self.out.push((client.to, bytes));
    }

    /// A request within a call, as bytes, and where it goes.
    pub(super) fn within(
        &self,
        index: usize,
        method: &str,
        number: u32,
        branch: &str,
        extra: &[(&str, String)],
        body: &str,
    ) -> (Vec<u8>, SocketAddr) {
        let call = &self.calls[index];
        let mut headers = vec![
            ("Via", self.via(branch)),
            ("Max-Forwards", "70".into()),
            ("From", format!("<{}>;tag={}", call.local_uri, call.local_tag)),
            ("To", format!("<{}>;tag={}", call.remote_uri, call.remote_tag)),
            ("Call-ID", call.call_id.clone()),
            ("CSeq", format!("{number} {method}")),
        ];
        for route in &call.route {
            headers.push(("Route", format!("<{route}>")));
        }
        if matches!(method, "INVITE" | "UPDATE") {
            headers.push(("Contact", format!("<{}>", self.contact())));
            headers.push(("Supported", "timer".into()));
        }
        headers.extend(extra.iter().cloned());
        let bytes = compose(&format!("{method} {} SIP/2.0", call.peer_target), &headers, body);
        let next = call.route.first().unwrap_or(&call.peer_target);
        (bytes, socket_of(next).unwrap_or(self.proxy))
    }

    pub(super) fn start_client(
        &mut self,
        call: Option<usize>,
        method: &str,
        branch: &str,
        bytes: Vec<u8>,
        to: SocketAddr,
    ) {
        let key = format!("{branch}/{method}");
        let client = Client {
            call,
            method: method.to_owned(),
            bytes: bytes.clone(),
            to,
            wait: T1,
            until: self.now + T1X64,
            provisional: false,
        };
        self.clients.insert(key.clone(), client);
        self.out.push((to, bytes));
        self.set(T1, Timer::Client(key));
    }
}

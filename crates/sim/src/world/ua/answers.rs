//! Requests of the peer: INVITE, CANCEL, BYE and the rest, and our responses.

use std::net::SocketAddr;

use super::{Answer, OnCancel, Reaction, Resend, Respond, State, T1, T1X64, Timer, Ua};
use crate::world::text::{Msg, address, compose};

impl Ua {
    pub(super) fn requested(&mut self, from: SocketAddr, msg: &Msg) {
        let method = msg.method();
        if method == "ACK" {
            return self.acknowledged(msg);
        }
        let key = format!("{}/{method}", msg.branch());
        if let Some(bytes) = self.answered.get(&key) {
            let to = msg.reply_to(from);
            self.out.push((to, bytes.clone()));
            return;
        }
        if method == "CANCEL" {
            return self.cancelled(from, msg);
        }
        let Some(to_tag) = msg.tag_of_to() else { return self.requested_outside(from, msg) };
        let found = self.calls.iter().position(|call| {
            call.call_id == msg.call_id()
                && call.local_tag == to_tag
                && call.remote_tag == msg.tag_of_from()
                && call.state != State::Over
        });
        let Some(index) = found else { return self.respond(from, msg, 481, "", None) };
        let (number, name) = (msg.cseq().0, self.name.clone());
        let call = &mut self.calls[index];
        let used = call.used_cseq.entry(number).or_insert_with(|| msg.branch());
        if *used == msg.branch() && call.requests.iter().any(|(_, _, known)| *known == number) {
            // A copy of a request that is not answered yet.
            return;
        }
        let foreign = *used != msg.branch();
        call.requests.push((self.now, method.clone(), number));
        if foreign {
            let text = format!("{name}: CSeq {number} of {method} was used before");
            self.violations.push(text);
        }
        let call = &mut self.calls[index];
        if number < call.remote_cseq {
            self.late.push(format!("{method} {number} after {}", call.remote_cseq));
            return self.respond(from, msg, 500, "", None);
        }
        call.remote_cseq = number;
        match method.as_str() {
            "BYE" => {
                if self.plan.bye == Respond::Ok {
                    self.respond(from, msg, 200, "", None);
                    self.over(index, true);
                }
            }
            "INVITE" => self.reinvited(from, index, msg),
            "UPDATE" => match self.plan.updated {
                Respond::Ok => {
                    self.take_target(index, msg);
                    self.respond(from, msg, 200, "", None);
                }
                Respond::Status(status) => self.respond(from, msg, status, "", None),
                Respond::Silent => {}
            },
            "OPTIONS" => match self.plan.asked {
                Respond::Ok => self.respond(from, msg, 200, "", None),
                Respond::Status(status) => self.respond(from, msg, status, "", None),
                Respond::Silent => {}
            },
            _ => self.respond(from, msg, 405, "", None),
        }
    }

    pub(super) fn requested_outside(&mut self, from: SocketAddr, msg: &Msg) {
        match msg.method().as_str() {
            "INVITE" => self.invited(from, msg),
            "OPTIONS" => match self.plan.asked {
                Respond::Ok => self.respond(from, msg, 200, "out", None),
                Respond::Status(status) => self.respond(from, msg, status, "out", None),
                Respond::Silent => {}
            },
            _ => self.respond(from, msg, 481, "out", None),
        }
    }

    pub(super) fn invited(&mut self, from: SocketAddr, msg: &Msg) {
        let known = self.calls.iter().any(|call| {
            call.call_id == msg.call_id()
                && call.invite.as_ref().is_some_and(|(invite, _)| invite.branch() == msg.branch())
        });
        if known {
            return;
        }
        if self.plan.invited == Reaction::Silent {
            return;
        }
        let (local, remote) = (address(&msg.get("To")), address(&msg.get("From")));
        let index = self.new_call(msg.call_id(), false, local, remote);
        let (number, _) = msg.cseq();
        let call = &mut self.calls[index];
        call.remote_tag = msg.tag_of_from();
        call.remote_cseq = number;
        call.used_cseq.insert(number, msg.branch());
        call.peer_target = msg.contact().unwrap_or_default();
        call.route = msg.all("Record-Route").map(address).collect();
        call.invite = Some((msg.clone(), from));
        self.take_sdp(index, msg);
        match self.plan.invited {
            Reaction::Silent => {}
            Reaction::Trying => self.respond_to_invite(index, 100),
            Reaction::Rings(after) => self.set(after, Timer::Ring(index)),
            Reaction::Answers(ring, after) => {
                self.set(ring, Timer::Ring(index));
                self.set(ring + after, Timer::Answer(index));
            }
            Reaction::Rejects(after, _) => self.set(after, Timer::Answer(index)),
        }
    }

    /// A re-INVITE of the peer.
    pub(super) fn reinvited(&mut self, from: SocketAddr, index: usize, msg: &Msg) {
        // An own re-INVITE that is under way (RFC 3261 section 14.2).
        let glare = self.clients.values().any(|c| c.call == Some(index) && c.method == "INVITE");
        match self.plan.reinvited {
            _ if glare => self.respond(from, msg, 491, "", None),
            Respond::Silent => {}
            Respond::Status(status) => {
                self.calls[index].refused |= !matches!(status, 491 | 500..600);
                self.respond(from, msg, status, "", None);
                self.resend(index, msg, from, false);
            }
            Respond::Ok => {
                self.take_target(index, msg);
                self.take_sdp(index, msg);
                let body = self.calls[index].my_sdp.compose();
                self.respond(from, msg, 200, &body, Some(index));
                self.resend(index, msg, from, true);
            }
        }
    }

    pub(super) fn cancelled(&mut self, from: SocketAddr, msg: &Msg) {
        let found = self.calls.iter().position(|call| {
            call.state == State::Ringing
                && call.invite.as_ref().is_some_and(|(invite, _)| {
                    invite.branch() == msg.branch()
                        && invite.get("Via") == msg.get("Via")
                        && invite.uri() == msg.uri()
                        && invite.call_id() == msg.call_id()
                        && invite.tag_of_from() == msg.tag_of_from()
                        && invite.cseq().0 == msg.cseq().0
                })
        });
        match (found, self.plan.cancelled) {
            (_, OnCancel::Deaf) => {}
            (None, _) => self.respond(from, msg, 481, "", None),
            (Some(index), OnCancel::Obeys) => {
                self.respond(from, msg, 200, "", None);
                self.answer_invite(index, 487);
            }
            (Some(index), OnCancel::Answers) => {
                self.respond(from, msg, 200, "", None);
                self.answer_invite(index, 200);
            }
        }
    }

    pub(super) fn acknowledged(&mut self, msg: &Msg) {
        if self.plan.deaf_to_ack {
            return;
        }
        let key =
            format!("{}/{}/{}", msg.call_id(), msg.tag_of_to().unwrap_or_default(), msg.cseq().0);
        let Some(resend) = self.resends.remove(&key) else { return };
        let call = &mut self.calls[resend.call];
        if resend.success {
            call.acked = true;
        }
        if msg.sdp().is_some() {
            self.take_sdp(resend.call, msg);
        }
    }

    /// A final answer to the INVITE that rings here.
    pub fn answer_invite(&mut self, index: usize, status: u16) {
        self.respond_to_invite(index, status);
        let Some((invite, from)) = self.calls[index].invite.clone() else { return };
        self.resend(index, &invite, from, status < 300);
        if status >= 300 {
            self.calls[index].status = Some(status);
            return self.over(index, false);
        }
        let (now, hang_up, fork) = (self.now, self.plan.hang_up_after, self.plan.fork_after);
        let call = &mut self.calls[index];
        call.state = State::Up;
        call.answered = Some(now);
        call.oks_sent += 1;
        if let Some(after) = hang_up {
            self.set(after, Timer::HangUp(index));
        }
        if let Some(after) = fork {
            self.set(after, Timer::Fork(index));
        }
    }

    /// Another phone of the same user answers the same INVITE: a dialog of its own.
    pub(super) fn fork_answers(&mut self, index: usize) {
        let first = self.calls[index].clone();
        let Some((invite, from)) = first.invite.clone() else { return };
        let (local, remote) = (first.local_uri.clone(), first.remote_uri.clone());
        let fork = self.new_call(first.call_id.clone(), false, local, remote);
        let call = &mut self.calls[fork];
        call.remote_tag = first.remote_tag;
        call.remote_cseq = 1;
        call.used_cseq.insert(1, invite.branch());
        call.peer_target = first.peer_target;
        call.peer_sdp = first.peer_sdp;
        call.origin = first.origin;
        call.invite = Some((invite, from));
        self.plan.fork_after = None;
        self.answer_invite(fork, 200);
    }

    pub(super) fn respond_to_invite(&mut self, index: usize, status: u16) {
        let Some((invite, from)) = self.calls[index].invite.clone() else { return };
        let body = match (status, self.plan.answer) {
            (200..300, Answer::Good) => {
                let call = &mut self.calls[index];
                // One codec of the offer's, in the offerer's order.
                let offered = call.peer_sdp.as_ref().map(|s| s.formats.clone()).unwrap_or_default();
                let codec = offered.iter().find(|f| matches!(f, 0 | 8)).copied().unwrap_or(0);
                call.my_sdp.formats = vec![codec, 101];
                call.my_sdp.compose()
            }
            (200..300, Answer::Unusable) => {
                let mut sdp = self.calls[index].my_sdp.clone();
                sdp.formats = vec![9];
                sdp.compose()
            }
            _ => String::new(),
        };
        self.respond(from, &invite, status, &body, Some(index));
    }

    /// Sends a response and keeps it for copies of its request.
    pub(super) fn respond(
        &mut self,
        from: SocketAddr,
        msg: &Msg,
        status: u16,
        body: &str,
        call: Option<usize>,
    ) {
        let mut headers: Vec<(&str, String)> =
            msg.all("Via").map(|via| ("Via", via.to_owned())).collect();
        let to = msg.get("To");
        let to = match (msg.tag_of_to(), call, body) {
            (Some(_), ..) => to,
            (None, Some(index), _) if status > 100 => {
                format!("{to};tag={}", self.calls[index].local_tag)
            }
            (None, Some(_), _) => to,
            (None, None, _) => format!("{to};tag=none"),
        };
        headers.push(("From", msg.get("From")));
        headers.push(("To", to));
        headers.push(("Call-ID", msg.call_id()));
        headers.push(("CSeq", msg.get("CSeq")));
        if (101..300).contains(&status) && msg.method() == "INVITE" {
            headers.extend(msg.all("Record-Route").map(|route| ("Record-Route", route.to_owned())));
            headers.push(("Contact", format!("<{}>", self.contact())));
        }
        if status == 200
            && matches!(msg.method().as_str(), "INVITE" | "UPDATE")
            && let Some(expires) = &self.plan.expires
        {
            headers.push(("Session-Expires", expires.clone()));
            headers.push(("Require", "timer".into()));
        }
        let body = if body == "out" { "" } else { body };
        let bytes = compose(&format!("SIP/2.0 {status} Whatever"), &headers, body);
        if status >= 200 {
            let key = format!("{}/{}", msg.branch(), msg.method());
            self.answered.insert(key, bytes.clone());
        }
        self.out.push((msg.reply_to(from), bytes));
    }

    /// Sends the final response to an INVITE again until its ACK comes.
    pub(super) fn resend(&mut self, index: usize, msg: &Msg, from: SocketAddr, success: bool) {
        let branch_key = format!("{}/INVITE", msg.branch());
        let Some(bytes) = self.answered.get(&branch_key).cloned() else { return };
        let tag = Msg::own(&bytes).tag_of_to().unwrap_or_default();
        let key = format!("{}/{tag}/{}", msg.call_id(), msg.cseq().0);
        let (to, until) = (msg.reply_to(from), self.now + T1X64);
        self.resends
            .insert(key.clone(), Resend { call: index, bytes, to, wait: T1, until, success });
        self.set(T1, Timer::Resend(key));
    }
}

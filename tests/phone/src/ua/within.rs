//! Requests within a dialog: re-INVITE, UPDATE, BYE, OPTIONS, from whatever address they come.

use super::leg::{ModifyStage, WantsAnswer};
use super::{ALLOW, Core, LegId};
use crate::event::EventKind;
use crate::io::Flow;
use crate::report::{Anomaly, CallState, EndCause, Modification};
use crate::sip::{Message, Method, NameAddr, Received};
use crate::transaction::ServerKey;

/// What a re-INVITE or UPDATE is answered with.
struct Reply {
    code: u16,
    phrase: &'static str,
    body: Option<String>,
    wants_answer: WantsAnswer,
    header: Option<(&'static str, String)>,
}

impl Reply {
    const fn refusal(code: u16, phrase: &'static str) -> Self {
        Self { code, phrase, body: None, wants_answer: WantsAnswer::No, header: None }
    }
}

impl Core {
    /// A request that belongs to this leg's dialog.
    pub(crate) fn on_request_within(
        &mut self,
        id: LegId,
        flow: Flow,
        key: ServerKey,
        request: Received,
    ) {
        if !self.takes_cseq(id, &request) {
            let tag = self.dice.token();
            let response = Message::response(&request, 500, "Server Internal Error", Some(&tag));
            return self.transactions.respond(self.now, &key, &response);
        }
        let method = request.cseq.method.clone();
        let is_over = self.legs.get(&id).is_none_or(|leg| leg.state() == CallState::Ending);
        match method {
            Method::Bye => self.on_bye(id, flow, &key, &request),
            // RFC 3261 15.1.1: after its own BYE a phone knows nothing of the dialog.
            _ if is_over => self.answer(&key, &request, 481, "Call/Transaction Does Not Exist"),
            Method::Invite | Method::Update => self.on_modify(id, flow, &key, &request),
            Method::Options => {
                let response = self.options_response(&request);
                self.transactions.respond(self.now, &key, &response);
            }
            other => self.answer_unsupported(&key, &request, &other),
        }
    }

    fn options_response(&mut self, request: &Received) -> Message {
        Message::response(request, 200, "OK", None)
            .with("Allow", ALLOW)
            .with("Accept", "application/sdp")
    }

    /// RFC 3261 12.2.2: a number lower than one before is refused. An equal one in a new
    /// transaction is refused too: whoever takes a dialog over must count on.
    fn takes_cseq(&mut self, id: LegId, request: &Received) -> bool {
        let Some(dialog) = self.legs.get_mut(&id).and_then(|leg| leg.dialog.as_mut()) else {
            return true;
        };
        match dialog.remote_cseq {
            Some(highest) if request.cseq.number <= highest => {
                let cseq = request.cseq.number;
                self.note_anomaly(id, Anomaly::CSeqNotHigher { cseq, highest });
                false
            }
            _ => {
                dialog.remote_cseq = Some(request.cseq.number);
                true
            }
        }
    }

    fn on_bye(&mut self, id: LegId, flow: Flow, key: &ServerKey, request: &Received) {
        let response = Message::response(request, 200, "OK", None);
        self.transactions.respond(self.now, key, &response);
        let reason = request.message.header("Reason").map(str::to_owned);
        self.tell_leg(id, EventKind::Bye { from: flow.remote, reason: reason.clone() });
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let cause = leg.ending.take().unwrap_or(EndCause::HungUpThere { reason });
        if let Some(incoming) = leg.incoming.take() {
            // A BYE within the early dialog ends the INVITE as a CANCEL would (RFC 3261 15.1.2).
            let local_tag = leg.local_tag.clone();
            let gone =
                Message::response(&incoming.request, 487, "Request Terminated", Some(&local_tag));
            self.transactions.respond(self.now, &incoming.key, &gone);
        }
        self.finish(id, cause);
    }

    fn on_modify(&mut self, id: LegId, flow: Flow, key: &ServerKey, request: &Received) {
        let mut seen = self.modification_of(id, flow, request);
        let (reply, anomalies) = self.reply_to_modify(id, request, &mut seen);
        seen.code = reply.code;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let mut response = Message::response(request, reply.code, reply.phrase, None);
        if let Some((name, value)) = reply.header {
            response.push(name, value);
        }
        if reply.code < 300 {
            response.push("Contact", leg.contact.clone());
            response.push("Allow", ALLOW);
            if let Some(dialog) = &mut leg.dialog {
                dialog.refresh_target(&request.message);
                dialog.peer = flow;
            }
            leg.peer_source = Some(flow.remote);
            leg.report.takeovers += u64::from(seen.source_changed);
        }
        if let Some(body) = reply.body {
            response = response.with_body("application/sdp", body);
        }
        leg.note_modification(seen.clone());
        self.transactions.respond(self.now, key, &response);
        if request.cseq.method == Method::Invite && reply.code < 300 {
            self.await_ack(id, key, request.cseq.number, &response, reply.wants_answer);
        }
        for anomaly in anomalies {
            self.note_anomaly(id, anomaly);
        }
        self.tell_leg(id, EventKind::Reinvite { modification: seen });
    }

    fn modification_of(&self, id: LegId, flow: Flow, request: &Received) -> Modification {
        let before = self.legs.get(&id).and_then(|leg| leg.peer_source);
        let contact = request.message.values("Contact").first().and_then(|value| {
            let uri = NameAddr::parse(value).ok()?.uri;
            Some(super::leg::host_port(&uri.to_string()))
        });
        Modification {
            at_us: self.now,
            method: request.cseq.method.to_string(),
            from: flow.remote,
            source_changed: before.is_some_and(|before| before != flow.remote),
            cseq: request.cseq.number,
            sdp_version: None,
            contact,
            media: None,
            media_changed: false,
            direction: None,
            code: 0,
        }
    }

    /// Decides on a re-INVITE or UPDATE, and applies what its SDP says.
    fn reply_to_modify(
        &mut self,
        id: LegId,
        request: &Received,
        seen: &mut Modification,
    ) -> (Reply, Vec<Anomaly>) {
        if let Some(refusal) = self.modify_refusal(id, request) {
            return (refusal, Vec::new());
        }
        let mut anomalies = Vec::new();
        let Some(leg) = self.legs.get_mut(&id) else {
            return (Reply::refusal(481, "Call/Transaction Does Not Exist"), anomalies);
        };
        if request.cseq.method == Method::Invite
            && let Some(pending) = leg.pending_ack.take()
        {
            // The ACK went to or came from somebody who is gone; whoever sends a new INVITE with a
            // higher CSeq knows that the dialog stands.
            self.timers.cancel(pending.retransmit);
            anomalies.push(Anomaly::InviteBeforeAck);
            if leg.state() == CallState::Answered {
                leg.report.established_us = Some(self.now);
                leg.set_state(CallState::Established);
            }
        }
        let Some(session) = &mut leg.session else {
            return (Reply::refusal(488, "Not Acceptable Here"), anomalies);
        };
        let ok = Reply::refusal(200, "OK");
        let reply = match request.message.sdp() {
            Some(offer) => match session.heed(offer) {
                Ok(heeded) => {
                    seen.sdp_version = Some(heeded.version);
                    seen.media = Some(heeded.media);
                    seen.media_changed = heeded.media_changed;
                    seen.direction = Some(heeded.direction);
                    let (body, negotiated) = session.answer(&heeded);
                    let stream = session.stream;
                    anomalies.extend(heeded.anomalies);
                    self.media.apply(self.now, stream, &negotiated);
                    Reply { body: Some(body), ..ok }
                }
                Err(_) => Reply::refusal(488, "Not Acceptable Here"),
            },
            None if request.cseq.method == Method::Invite => {
                Reply { body: Some(session.offer()), wants_answer: WantsAnswer::Yes, ..ok }
            }
            None => ok,
        };
        (reply, anomalies)
    }

    /// Why a re-INVITE or UPDATE cannot be taken now (RFC 3261 14.2, RFC 3311 5.2).
    fn modify_refusal(&mut self, id: LegId, request: &Received) -> Option<Reply> {
        let required = request.message.values("Require").join(", ");
        if !required.is_empty() {
            let header = Some(("Unsupported", required));
            return Some(Reply { header, ..Reply::refusal(420, "Bad Extension") });
        }
        if !request.message.body.is_empty() && request.message.sdp().is_none() {
            let header = Some(("Accept", "application/sdp".to_owned()));
            return Some(Reply { header, ..Reply::refusal(415, "Unsupported Media Type") });
        }
        let retry_after_s = self.dice.below(11);
        let leg = self.legs.get(&id)?;
        let has_offer = request.message.sdp().is_some();
        let is_invite = request.cseq.method == Method::Invite;
        let is_early = !leg.is_talking();
        let own_offer_open = leg.modify.as_ref().is_some_and(|m| m.stage == ModifyStage::Sent)
            || leg.pending_ack.as_ref().is_some_and(|p| p.wants_answer == WantsAnswer::Yes)
            || (leg.sent.is_some() && is_early && leg.report.early_media_us.is_none());
        if (is_invite && (is_early || own_offer_open)) || (has_offer && own_offer_open) {
            // An INVITE whose own is unanswered, or an offer while another is open.
            if is_invite && leg.incoming.is_some() {
                let header = Some(("Retry-After", retry_after_s.to_string()));
                return Some(Reply { header, ..Reply::refusal(500, "Server Internal Error") });
            }
            return Some(Reply::refusal(491, "Request Pending"));
        }
        if has_offer && leg.incoming.is_some() {
            let header = Some(("Retry-After", retry_after_s.to_string()));
            return Some(Reply { header, ..Reply::refusal(500, "Server Internal Error") });
        }
        None
    }
}

//! Calls that come in: INVITE without a dialog, ringing, answer, refusal, CANCEL, ACK.

use super::config::{AfterAnswer, AnswerPolicy, IncomingCall};
use super::dialog::Dialog;
use super::leg::{IncomingInvite, NewLeg, Owner, PendingAck, WantsAnswer};
use super::session::Session;
use super::{ALLOW, Core, Leg, LegId, LegTimer, PhoneId, call_key};
use crate::event::EventKind;
use crate::io::Flow;
use crate::limits::LEGS_MAX;
use crate::report::{CallState, EndCause, Role};
use crate::sip::{Message, Received};
use crate::transaction::{ServerKey, Standing};

/// A provisional response is sent again after this time (RFC 3261 13.3.1.1: every minute).
const RINGING_REFRESH_MS: u64 = 60_000;

/// Why an INVITE is refused before any policy is asked.
struct Refusal {
    code: u16,
    phrase: &'static str,
    header: Option<(&'static str, String)>,
}

impl Refusal {
    const fn new(code: u16, phrase: &'static str) -> Self {
        Self { code, phrase, header: None }
    }
}

impl Core {
    /// A new INVITE.
    pub(crate) fn on_invite(&mut self, flow: Flow, key: ServerKey, request: Received) {
        let phone = match self.phone_for(&request, flow) {
            Ok(phone) => phone,
            Err(refusal) => return self.refuse(&key, &request, refusal),
        };
        let Some(state) = self.phones.get_mut(&phone) else { return };
        let incoming = IncomingCall {
            calls_before: state.calls_total,
            calls_now: state.legs.len(),
            from: flow.remote,
        };
        state.calls_total += 1;
        let policy = (state.policy)(incoming);
        if policy == AnswerPolicy::NeverRespond {
            state.ignored_invites += 1;
            let label = state.config.label.clone();
            let caller = caller_of(&request);
            self.tell(label, None, EventKind::InviteIgnored { caller });
            return self.transactions.ignore(self.now, &key);
        }
        if state.legs.len() >= state.config.lines {
            return self.refuse(&key, &request, Refusal::new(486, "Busy Here"));
        }
        let Some(id) = self.new_callee_leg(phone, flow, key, request, policy.clone()) else {
            return;
        };
        match policy {
            AnswerPolicy::Answer { ring_after_ms, answer_after_ms, .. } => {
                self.ring_after(id, ring_after_ms);
                self.set_leg_timer(id, answer_after_ms.max(ring_after_ms), LegTimer::Answer);
            }
            AnswerPolicy::Ring { ring_after_ms, give_up_after_ms } => {
                self.ring_after(id, ring_after_ms);
                self.set_leg_timer(id, give_up_after_ms, LegTimer::GiveUpRinging);
            }
            AnswerPolicy::Reject { after_ms, .. } => {
                self.set_leg_timer(id, after_ms, LegTimer::Reject);
            }
            AnswerPolicy::NeverRespond => {}
        }
    }

    fn ring_after(&mut self, id: LegId, after_ms: u64) {
        if after_ms == 0 {
            self.ring(id);
        } else {
            self.set_leg_timer(id, after_ms, LegTimer::Ring);
        }
    }

    /// The phone that an INVITE is for, or why it is refused.
    fn phone_for(&self, request: &Received, flow: Flow) -> Result<PhoneId, Refusal> {
        let required = request.message.values("Require").join(", ");
        if !required.is_empty() {
            let header = Some(("Unsupported", required));
            return Err(Refusal { code: 420, phrase: "Bad Extension", header });
        }
        if request.from.tag().is_none() || request.message.header("Contact").is_none() {
            return Err(Refusal::new(400, "From Tag Or Contact Missing"));
        }
        if self.is_merged(request) {
            return Err(Refusal::new(482, "Loop Detected"));
        }
        if !request.message.body.is_empty() && request.message.sdp().is_none() {
            let header = Some(("Accept", "application/sdp".to_owned()));
            return Err(Refusal { code: 415, phrase: "Unsupported Media Type", header });
        }
        if self.legs.len() >= LEGS_MAX {
            return Err(Refusal::new(503, "Service Unavailable"));
        }
        let phone = self.phone_of(request, flow.endpoint);
        phone.map(|phone| phone.id).ok_or(Refusal::new(404, "Not Found"))
    }

    /// The same request by another way (RFC 3261 8.2.2.2).
    fn is_merged(&self, request: &Received) -> bool {
        self.legs.values().any(|leg| {
            leg.incoming.as_ref().is_some_and(|incoming| {
                incoming.request.call_id == request.call_id
                    && incoming.request.from.tag() == request.from.tag()
                    && incoming.request.cseq == request.cseq
            })
        })
    }

    fn refuse(&mut self, key: &ServerKey, request: &Received, refusal: Refusal) {
        let tag = self.dice.token();
        let mut response = Message::response(request, refusal.code, refusal.phrase, Some(&tag));
        if let Some((name, value)) = refusal.header {
            response.push(name, value);
        }
        self.transactions.respond(self.now, key, &response);
    }

    fn new_callee_leg(
        &mut self,
        phone: PhoneId,
        flow: Flow,
        key: ServerKey,
        request: Received,
        policy: AnswerPolicy,
    ) -> Option<LegId> {
        let address = self.endpoints.get(&flow.endpoint)?.address;
        let state = self.phones.get(&phone)?;
        let (label, contact) = (state.config.label.clone(), state.contact(address));
        let wav_folder = state.config.wav_folder.clone();
        let local_tag = self.dice.token();
        let Some(dialog) = Dialog::of_request(&request, &local_tag, flow) else {
            self.refuse(&key, &request, Refusal::new(400, "Contact Or Record-Route Unusable"));
            return None;
        };
        let caller = caller_of(&request);
        let call = call_key(&request.call_id, request.from.tag().unwrap_or_default());
        let tag = self.new_sender_tag(&label);
        let new = NewLeg {
            owner: Owner::Phone(phone),
            label,
            role: Role::Callee,
            call,
            endpoint: flow.endpoint,
            local_tag: local_tag.clone(),
            contact,
            tag,
        };
        let id = self.next_leg_id();
        let mut leg = Leg::new(id, self.now, new);
        leg.dialog = Some(dialog);
        leg.peer_source = Some(flow.remote);
        leg.wav = wav_folder.map(|folder| folder.join(format!("{}.wav", leg.report.call)));
        leg.first_invite = Some(request.message.clone());
        let trying = Message::response(&request, 100, "Trying", None);
        self.transactions.respond(self.now, &key, &trying);
        leg.incoming = Some(IncomingInvite { key, request, policy });
        self.legs.insert(id, leg);
        self.by_local_tag.insert(local_tag, id);
        if let Some(state) = self.phones.get_mut(&phone) {
            state.legs.push(id);
            state.legs_peak = state.legs_peak.max(state.legs.len());
        }
        self.announce(phone, id);
        self.tell_leg(id, EventKind::InviteReceived { from: flow.remote, sender_tag: tag, caller });
        Some(id)
    }

    /// 180, now and every minute.
    pub(crate) fn ring(&mut self, id: LegId) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(incoming) = &leg.incoming else { return };
        let response = Message::response(&incoming.request, 180, "Ringing", Some(&leg.local_tag))
            .with("Contact", leg.contact.clone())
            .with("Allow", ALLOW);
        self.transactions.respond(now, &incoming.key, &with_routes(response, &incoming.request));
        let is_first = leg.report.ringing_us.is_none();
        leg.report.ringing_us.get_or_insert(now);
        leg.set_state(CallState::Ringing);
        self.set_leg_timer(id, RINGING_REFRESH_MS, LegTimer::RefreshRinging);
        if is_first {
            self.tell_leg(id, EventKind::Ringing { code: 180 });
        }
    }

    /// 200: opens the audio and answers the offer, or makes one.
    pub(crate) fn answer_leg(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(incoming) = leg.incoming.take() else { return };
        let (session, body, wants_answer) = match self.open_callee_session(id, &incoming.request) {
            Ok(opened) => opened,
            Err((code, phrase, cause)) => {
                return self.respond_failure(id, &incoming, code, phrase, cause);
            }
        };
        let now = self.now;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.session = Some(session);
        let response = Message::response(&incoming.request, 200, "OK", Some(&leg.local_tag))
            .with("Contact", leg.contact.clone())
            .with("Allow", ALLOW)
            .with_body("application/sdp", body);
        let response = with_routes(response, &incoming.request);
        leg.report.answered_us = Some(now);
        leg.set_state(CallState::Answered);
        self.transactions.respond(now, &incoming.key, &response);
        self.await_ack(id, &incoming.key, incoming.request.cseq.number, &response, wants_answer);
        if let AnswerPolicy::Answer { then: AfterAnswer::HangUpAfter { talk_ms }, .. } =
            incoming.policy
        {
            self.set_leg_timer(id, talk_ms, LegTimer::HangUp);
        }
        self.tell_leg(id, EventKind::Answered);
    }

    /// Sockets, stream and description of a callee's leg.
    fn open_callee_session(
        &mut self,
        id: LegId,
        request: &Received,
    ) -> Result<(Session, String, WantsAnswer), (u16, &'static str, EndCause)> {
        const NO_MEDIA: (u16, &str, EndCause) = (500, "No Media Sockets", EndCause::NoMedia);
        let leg = self.legs.get(&id).ok_or(NO_MEDIA)?;
        let (tag, endpoint, owner) = (leg.report.sender_tag, leg.endpoint, leg.owner);
        let wav = leg.wav.is_some();
        let audio = self.audio_of(owner).ok_or(NO_MEDIA)?;
        let ip = self.endpoints.get(&endpoint).ok_or(NO_MEDIA)?.address.ip();
        let (stream, port) = self.open_stream(id, ip, tag, &audio).map_err(|error| {
            tracing::warn!(%error, "an incoming call gets no audio");
            NO_MEDIA
        })?;
        let mut session = Session::new(stream, ip, port, &audio, &mut self.dice);
        let now = self.now;
        if let (true, Some(stream)) = (wav, self.media.get(stream)) {
            stream.record(now);
        }
        let Some(offer) = request.message.sdp() else {
            let (codecs, event) = session.offered_formats();
            if let Some(stream) = self.media.get(stream) {
                stream.set_receive_formats(&codecs, event);
            }
            let body = session.offer();
            return Ok((session, body, WantsAnswer::Yes));
        };
        match session.heed(offer) {
            Ok(heeded) => {
                let (body, negotiated) = session.answer(&heeded);
                self.media.apply(now, stream, &negotiated);
                Ok((session, body, WantsAnswer::No))
            }
            Err(error) => {
                tracing::debug!(%error, "an offer is refused with 488");
                drop(self.media.remove(now, stream, &mut *self.io));
                self.io.close_media(stream);
                Err((488, "Not Acceptable Here", EndCause::BadSdp))
            }
        }
    }

    /// The audio settings of whoever owns a leg.
    pub(crate) fn audio_of(&self, owner: Owner) -> Option<super::config::AudioConfig> {
        match owner {
            Owner::Phone(id) => self.phones.get(&id).map(|phone| phone.config.audio.clone()),
            Owner::Caller(id) => self.callers.get(&id).map(|caller| caller.config.audio.clone()),
        }
    }

    /// Repeats a 2xx until its ACK comes (RFC 3261 13.3.1.4), over TCP too.
    pub(crate) fn await_ack(
        &mut self,
        id: LegId,
        key: &ServerKey,
        cseq: u32,
        response: &Message,
        wants_answer: WantsAnswer,
    ) {
        let Some(flow) = self.transactions.flow_of(key) else { return };
        let interval_ms = self.timing.t1_ms;
        let give_up_at = self.now.plus_ms(self.timing.give_up_ms());
        let retransmit = self.set_leg_timer(id, interval_ms, LegTimer::RetransmitOk);
        let bytes = response.to_bytes();
        if let Some(leg) = self.legs.get_mut(&id) {
            let pending =
                PendingAck { cseq, flow, bytes, interval_ms, give_up_at, retransmit, wants_answer };
            if let Some(before) = leg.pending_ack.replace(pending) {
                self.timers.cancel(before.retransmit);
            }
        }
    }

    pub(crate) fn retransmit_ok(&mut self, id: LegId) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(pending) = &mut leg.pending_ack else { return };
        if now >= pending.give_up_at {
            leg.pending_ack = None;
            // The dialog stands, the session does not: BYE.
            return self.send_bye(id, EndCause::NoAck);
        }
        pending.interval_ms = self.timing.next_interval_ms(pending.interval_ms);
        let at = now.plus_ms(pending.interval_ms).min(pending.give_up_at);
        pending.retransmit = self.timers.set(at, super::Timer::Leg(id, LegTimer::RetransmitOk));
        let (flow, bytes) = (pending.flow, pending.bytes.clone());
        leg.report.ok_retransmissions += 1;
        self.transactions.send(flow, bytes);
    }

    /// An ACK to a 2xx.
    pub(crate) fn on_ack(&mut self, request: &Received, flow: Flow) {
        let Some(id) = self.leg_of(request) else { return };
        let now = self.now;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let fits = |pending: &mut PendingAck| pending.cseq == request.cseq.number;
        let Some(pending) = leg.pending_ack.take_if(fits) else { return };
        self.timers.cancel(pending.retransmit);
        leg.peer_source = Some(flow.remote);
        if leg.state() == CallState::Answered {
            leg.report.established_us = Some(now);
            leg.set_state(CallState::Established);
        }
        let bye = leg.bye_after_ack.take();
        self.tell_leg(id, EventKind::AckReceived);
        if let Some(cause) = bye {
            return self.send_bye(id, cause);
        }
        if pending.wants_answer == WantsAnswer::Yes && !self.take_answer(id, request.message.sdp())
        {
            self.send_bye(id, EndCause::BadSdp);
        }
    }

    /// Takes the answer to an offer of this side. False when there is none that can be used.
    pub(crate) fn take_answer(&mut self, id: LegId, body: Option<&[u8]>) -> bool {
        let Some(session) = self.legs.get_mut(&id).and_then(|leg| leg.session.as_mut()) else {
            return false;
        };
        let Some(Ok(heeded)) = body.map(|body| session.heed(body)) else { return false };
        let negotiated = session.conclude(&heeded);
        let stream = session.stream;
        self.media.apply(self.now, stream, &negotiated);
        for anomaly in heeded.anomalies {
            self.note_anomaly(id, anomaly);
        }
        true
    }

    /// Refuses a ringing call.
    pub(crate) fn reject_leg(&mut self, id: LegId, code: u16, phrase: &str) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(incoming) = leg.incoming.take() else { return };
        self.respond_failure(id, &incoming, code, phrase, EndCause::RejectedHere { code });
    }

    pub(crate) fn reject_by_policy(&mut self, id: LegId) {
        let policy =
            self.legs.get(&id).and_then(|leg| leg.incoming.as_ref()).map(|i| i.policy.clone());
        if let Some(AnswerPolicy::Reject { code, phrase, .. }) = policy {
            self.reject_leg(id, code, &phrase);
        }
    }

    fn respond_failure(
        &mut self,
        id: LegId,
        incoming: &IncomingInvite,
        code: u16,
        phrase: &str,
        cause: EndCause,
    ) {
        let Some(leg) = self.legs.get(&id) else { return };
        let response = Message::response(&incoming.request, code, phrase, Some(&leg.local_tag));
        self.transactions.respond(self.now, &incoming.key, &response);
        self.tell_leg(id, EventKind::Rejected { code, phrase: phrase.to_owned() });
        self.finish(id, cause);
    }

    /// CANCEL (RFC 3261 9.2): 200 to it, 487 to the INVITE if that is still unanswered.
    pub(crate) fn on_cancel(&mut self, key: &ServerKey, request: &Received) {
        let invite = key.cancelled();
        match self.transactions.standing(&invite) {
            Standing::Unknown => {
                return self.answer(key, request, 481, "Call/Transaction Does Not Exist");
            }
            Standing::Ignored => return self.transactions.ignore(self.now, key),
            Standing::Answered | Standing::Unanswered => {}
        }
        let is_of = |leg: &&mut Leg| leg.incoming.as_ref().is_some_and(|i| i.key == invite);
        let found = self.legs.values_mut().find(is_of).map(|leg| (leg.id, leg.incoming.take()));
        let tag = match &found {
            Some((id, _)) => self.legs.get(id).map(|leg| leg.local_tag.clone()),
            None => None,
        };
        let tag = tag.unwrap_or_else(|| self.dice.token());
        let response = Message::response(request, 200, "OK", Some(&tag));
        self.transactions.respond(self.now, key, &response);
        if let Some((id, Some(incoming))) = found {
            let reason = request.message.header("Reason").map(str::to_owned);
            let gone = Message::response(&incoming.request, 487, "Request Terminated", Some(&tag));
            self.transactions.respond(self.now, &incoming.key, &gone);
            self.tell_leg(id, EventKind::Cancelled { reason: reason.clone() });
            self.finish(id, EndCause::CancelledThere { reason });
        }
    }
}

/// Responses that make a dialog copy Record-Route (RFC 3261 12.1.1).
fn with_routes(mut response: Message, request: &Received) -> Message {
    for route in request.message.lines("Record-Route") {
        response.push("Record-Route", route);
    }
    response
}

fn caller_of(request: &Received) -> Option<String> {
    request.message.header("From").and_then(user_of).map(str::to_owned)
}

/// The user part of the URI in a From header.
fn user_of(header: &str) -> Option<&str> {
    let (_, rest) = header.split_once("sip:").or_else(|| header.split_once("sips:"))?;
    rest.split_once('@').map(|(user, _)| user)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the number is found with and without a display name, and is none without a user.
    #[test]
    fn numbers_of_from() {
        for (header, user) in [
            ("<sip:+441632960001@tandem>;tag=1", Some("+441632960001")),
            ("\"Ann @ home\" <sip:8000@10.0.0.1:5060>", Some("8000")),
            ("sips:8000@tandem", Some("8000")),
            ("<sip:tandem>", None),
            ("garbage", None),
        ] {
            assert_eq!(user_of(header), user, "{header}");
        }
    }
}

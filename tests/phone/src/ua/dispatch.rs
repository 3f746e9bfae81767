//! Where a message, a failure or a timer belongs: the sorting between wire, legs and phones.

use super::dialog::Dialog;
use super::phones::PhoneState;
use super::{ALLOW, Core, LegId, LegTimer, TxUser};
use crate::io::{EndpointId, Flow};
use crate::report::{Anomaly, EndCause};
use crate::sip::{Message, Method, Received, Uri};
use crate::transaction::{RequestFate, ResponseFate, ServerKey, TxEvent};

impl Core {
    pub(crate) fn on_request(&mut self, flow: Flow, mut request: Received) {
        request.via.note_source(flow.remote);
        if self.is_deaf_to(&request, flow.endpoint) {
            return;
        }
        match self.transactions.on_request(self.now, &request, flow) {
            RequestFate::Ack => self.on_ack(&request, flow),
            RequestFate::New(key) => self.on_new_request(flow, key, request),
            RequestFate::Absorbed | RequestFate::Dropped => {}
        }
    }

    /// A phone that is off, or a line that was cut, says nothing at all.
    fn is_deaf_to(&self, request: &Received, endpoint: EndpointId) -> bool {
        let is_cut = request.to.tag().is_some_and(|tag| self.deaf.iter().any(|deaf| deaf == tag));
        is_cut || self.phone_of(request, endpoint).is_some_and(|phone| !phone.is_on())
    }

    /// The phone that the Request-URI names.
    pub(crate) fn phone_of(&self, request: &Received, endpoint: EndpointId) -> Option<&PhoneState> {
        let crate::sip::Head::Request { uri, .. } = &request.message.head else { return None };
        let uri = Uri::parse(uri).ok()?;
        let user = uri.as_sip()?.user.clone()?;
        self.phones.get(self.by_user.get(&(endpoint, user))?)
    }

    fn on_new_request(&mut self, flow: Flow, key: ServerKey, request: Received) {
        let method = request.method().cloned().unwrap_or(Method::Other(String::new()));
        if method == Method::Cancel {
            return self.on_cancel(&key, &request);
        }
        if request.to.tag().is_some() {
            match self.leg_of(&request) {
                Some(leg) => self.on_request_within(leg, flow, key, request),
                None => self.answer(&key, &request, 481, "Call/Transaction Does Not Exist"),
            }
            return;
        }
        match method {
            Method::Invite => self.on_invite(flow, key, request),
            Method::Options => {
                let response = self.ok_to_options(&request);
                self.transactions.respond(self.now, &key, &response);
            }
            Method::Bye | Method::Update => {
                self.answer(&key, &request, 481, "Call/Transaction Does Not Exist");
            }
            other => self.answer_unsupported(&key, &request, &other),
        }
    }

    /// The leg whose dialog a request names.
    pub(crate) fn leg_of(&self, request: &Received) -> Option<LegId> {
        let id = *self.by_local_tag.get(request.to.tag()?)?;
        let owns = self.legs.get(&id)?.dialog.as_ref().is_some_and(|dialog| dialog.owns(request));
        owns.then_some(id)
    }

    pub(crate) fn on_response(&mut self, flow: Flow, response: Received) {
        let is_cut = response.from.tag().is_some_and(|tag| self.deaf.iter().any(|d| d == tag));
        if is_cut {
            return;
        }
        match self.transactions.on_response(self.now, &response) {
            ResponseFate::For(TxUser::Register(phone)) => {
                self.on_register_response(phone, &response)
            }
            ResponseFate::For(TxUser::KeepAlive(_) | TxUser::Nobody) => {}
            ResponseFate::For(TxUser::Invite(leg)) => self.on_invite_response(leg, flow, &response),
            ResponseFate::For(TxUser::Reinvite(leg)) => self.on_modify_response(leg, &response),
            ResponseFate::For(TxUser::Bye(leg)) => self.on_bye_response(leg, &response),
            ResponseFate::Absorbed {
                ok_repeated: Some(TxUser::Invite(leg) | TxUser::Reinvite(leg)),
            } => {
                if let Some(leg) = self.legs.get_mut(&leg) {
                    leg.report.ok_repeats_received += 1;
                }
            }
            ResponseFate::Absorbed { .. } => {}
            ResponseFate::Stray => self.on_stray_response(flow, &response),
        }
    }

    /// A 2xx that no transaction waits for made a dialog that nobody wants: it is acknowledged and
    /// ended (RFC 3261 13.2.2.4). Everything else is dropped.
    fn on_stray_response(&mut self, flow: Flow, response: &Received) {
        let code = response.message.code().unwrap_or_default();
        let leg = response.from.tag().and_then(|tag| self.by_local_tag.get(tag)).copied();
        if let Some(leg) = leg {
            let is_other_tag = self
                .legs
                .get(&leg)
                .and_then(|leg| leg.dialog.as_ref())
                .is_some_and(|dialog| Some(dialog.id.remote_tag.as_str()) != response.to.tag());
            self.note_anomaly(
                leg,
                if is_other_tag {
                    Anomaly::AnotherTag { code }
                } else {
                    Anomaly::StrayResponse { code }
                },
            );
        }
        if response.cseq.method == Method::Invite
            && (200..300).contains(&code)
            && let Some(dialog) = Dialog::of_response(response, flow)
        {
            self.refuse_dialog(dialog, response.cseq.number);
        }
    }

    /// ACK and BYE for a dialog that nobody wants.
    fn refuse_dialog(&mut self, mut dialog: Dialog, invite_cseq: u32) {
        let ack = self.request_within(&mut dialog, Method::Ack, Some(invite_cseq));
        self.transactions.send(ack.flow, ack.message.to_bytes());
        let bye = self.request_within(&mut dialog, Method::Bye, None);
        self.start(bye, TxUser::Nobody, None);
    }

    pub(crate) fn on_tx_event(&mut self, event: TxEvent) {
        match event {
            TxEvent::Timeout(TxUser::Register(phone)) => self.on_registrar_lost(phone, "timeout"),
            TxEvent::TransportFailed(TxUser::Register(phone)) => {
                self.on_registrar_lost(phone, "transport");
            }
            TxEvent::Timeout(TxUser::KeepAlive(phone))
            | TxEvent::TransportFailed(TxUser::KeepAlive(phone)) => {
                self.on_registrar_lost(phone, "keep-alive");
            }
            TxEvent::Timeout(TxUser::Invite(leg)) => {
                self.try_next_node(leg, "timeout", EndCause::NoResponse);
            }
            TxEvent::TransportFailed(TxUser::Invite(leg)) => {
                self.try_next_node(leg, "transport", EndCause::TransportFailed);
            }
            TxEvent::Timeout(TxUser::Reinvite(leg))
            | TxEvent::TransportFailed(TxUser::Reinvite(leg)) => {
                self.on_modify_lost(leg, None);
            }
            TxEvent::Timeout(TxUser::Bye(leg)) | TxEvent::TransportFailed(TxUser::Bye(leg)) => {
                self.finish_ending(leg);
            }
            TxEvent::Timeout(TxUser::Nobody) | TxEvent::TransportFailed(TxUser::Nobody) => {}
        }
    }

    pub(crate) fn on_leg_timer(&mut self, leg: LegId, timer: LegTimer) {
        match timer {
            LegTimer::Ring | LegTimer::RefreshRinging => self.ring(leg),
            LegTimer::Answer => self.answer_leg(leg),
            LegTimer::GiveUpRinging => self.reject_leg(leg, 480, "Temporarily Unavailable"),
            LegTimer::Reject => self.reject_by_policy(leg),
            LegTimer::RetransmitOk => self.retransmit_ok(leg),
            LegTimer::HangUp => self.hang_up(leg),
            LegTimer::AnswerPatience => self.on_answer_patience(leg),
            LegTimer::AgentPatience => self.on_agent_patience(leg),
            LegTimer::NoProgress => self.on_no_progress(leg),
            LegTimer::CancelTimeout => self.finish_ending(leg),
            LegTimer::RetryModify => self.retry_modify(leg),
        }
    }

    /// Answers a request that makes no dialog.
    pub(crate) fn answer(&mut self, key: &ServerKey, request: &Received, code: u16, phrase: &str) {
        let tag = self.dice.token();
        let response = Message::response(request, code, phrase, Some(&tag));
        self.transactions.respond(self.now, key, &response);
    }

    /// 405 for methods of the field that the phone does not offer, 501 for others (RFC 3261 21.5.2).
    pub(crate) fn answer_unsupported(
        &mut self,
        key: &ServerKey,
        request: &Received,
        method: &Method,
    ) {
        const KNOWN: [&str; 8] =
            ["REGISTER", "INFO", "PRACK", "SUBSCRIBE", "NOTIFY", "PUBLISH", "REFER", "MESSAGE"];
        let tag = self.dice.token();
        let response = if KNOWN.contains(&method.as_str()) {
            Message::response(request, 405, "Method Not Allowed", Some(&tag)).with("Allow", ALLOW)
        } else {
            Message::response(request, 501, "Not Implemented", Some(&tag))
        };
        self.transactions.respond(self.now, key, &response);
    }

    fn ok_to_options(&mut self, request: &Received) -> Message {
        let tag = self.dice.token();
        Message::response(request, 200, "OK", Some(&tag))
            .with("Allow", ALLOW)
            .with("Accept", "application/sdp")
            .with("Accept-Encoding", "identity")
    }
}

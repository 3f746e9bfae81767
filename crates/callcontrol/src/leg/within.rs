//! Requests of the peer inside a dialog: ACK, BYE, re-INVITE, UPDATE, OPTIONS.
//!
//! Facts are always answered, also without a quorum: a BYE ends the leg here and now, and the log is
//! told when it can be.

use tandem_cluster::command::LegEnd;
use tandem_sip::{
    dialog::{GlareVerdict, IncomingOffer, OkStep, session_timer},
    message::{HeaderName, Method, Request, StatusCode},
    sdp::{Negotiated, accept_answer, answer},
    text::SipText,
    transaction::ServerTx,
};

use super::{
    Leg, Stage, TimerKind,
    admission::{local_media, sip_transport},
    facts::Fact,
};
use crate::{
    core::Core,
    io::Now,
    replies::{Described, SDP, described},
};

impl Core {
    /// A request inside the dialog of a leg.
    pub(crate) fn within(
        &mut self,
        now: Now,
        leg: &mut Leg,
        server_tx: ServerTx,
        request: &Request,
        to_tag: &SipText,
    ) {
        self.sip.own_server_transaction(server_tx, leg.owner);
        let in_order = leg.sip.dialog.as_mut().map(|dialog| dialog.receive(request));
        if matches!(in_order, Some(Err(_))) {
            // RFC 3261 section 12.2.2.
            return self.answer(now, server_tx, StatusCode::SERVER_INTERNAL_ERROR);
        }
        match request.method {
            // A fact, whatever it requires.
            Method::Bye => self.peer_hangs_up(now, leg, server_tx),
            _ if !self.understands(now, server_tx, request, to_tag) => {}
            Method::Invite | Method::Update => {
                match leg.stage {
                    Stage::Established => self.peer_changes(now, leg, server_tx, request, to_tag),
                    // After a BYE there is nothing to change.
                    Stage::Ending(_) | Stage::Over => {
                        let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
                        self.answer(now, server_tx, status);
                    }
                    // Before our 2xx it is too early.
                    _ => self.answer(now, server_tx, StatusCode::REQUEST_PENDING),
                }
            }
            Method::Options => self.answer_described(now, server_tx, StatusCode::OK),
            ref method => self.answer_not_allowed(now, server_tx, method),
        }
    }

    fn peer_hangs_up(&mut self, now: Now, leg: &mut Leg, server_tx: ServerTx) {
        self.answer(now, server_tx, StatusCode::OK);
        match leg.stage {
            // Both sides hung up at once, or we were ending it anyway.
            Stage::Ending(_) => self.ended(leg, LegEnd::Done),
            Stage::Over => {}
            Stage::Allocating(_) | Stage::Admitting(_) => self.caller_cancels(now, leg),
            // An agent who heard nobody yet: who waits goes on waiting. The log may have judged the answer
            // already, and this node not have learned of it (its own replica lags behind the reply).
            _ if !leg.is_judged() || leg.is_to_ring() => self.ended(leg, LegEnd::PeerGone),
            _ => self.ended(leg, LegEnd::PeerHungUp),
        }
    }

    /// A re-INVITE or UPDATE: a new address, hold, or a refresh. A refused one leaves everything as it
    /// was (RFC 3261 section 14.2, RFC 6141 section 3.3).
    fn peer_changes(
        &mut self,
        now: Now,
        leg: &mut Leg,
        server_tx: ServerTx,
        request: &Request,
        to_tag: &SipText,
    ) {
        if !self.has_no_glare(now, leg, server_tx, request) {
            return;
        }
        let Some(timer) = self.judge_timer(now, server_tx, request, to_tag) else { return };
        let agreed = match self.read_offer(request) {
            Ok(agreed) => agreed,
            Err((status, _)) => return self.answer(now, server_tx, status),
        };
        let before = leg.sip.timer;
        leg.sip.timer = timer.or(before);
        let done = if request.method == Method::Invite {
            self.accept_reinvite(now, leg, server_tx, request, agreed.as_ref())
        } else {
            self.accept_update(now, leg, server_tx, request, agreed.as_ref())
        };
        if !done {
            // No description can be written now: no socket, or no reserved version.
            leg.sip.timer = before;
            self.reserve_ahead(leg);
            return self.answer(now, server_tx, StatusCode::SERVER_INTERNAL_ERROR);
        }
        if let Some(agreed) = agreed {
            leg.media.agree(now, leg.epoch, &agreed, &mut self.prng);
            leg.sip.agreed = Some(agreed);
        }
        self.take_target(leg, request);
        leg.sip.refreshed = now.instant;
        self.start_session_timer(leg);
        self.sync_media(leg);
        self.tell(leg, Fact::Report);
    }

    /// Answers a request that collides with an exchange that is under way (RFC 3261 section 14.2, RFC
    /// 3311 section 5.2); true when there is none.
    fn has_no_glare(
        &mut self,
        now: Now,
        leg: &Leg,
        server_tx: ServerTx,
        request: &Request,
    ) -> bool {
        let offers = !request.body.is_empty();
        let kind = match request.method {
            Method::Update if offers => IncomingOffer::UpdateWithOffer,
            Method::Update => IncomingOffer::UpdateWithoutOffer,
            _ => IncomingOffer::Reinvite,
        };
        // Our own offer in a 200 waits for its answer in the ACK.
        let offered = leg.sip.ok.as_ref().is_some_and(|ok| ok.offered.is_some());
        match leg.sip.glare.judge(kind, &mut self.prng) {
            GlareVerdict::Proceed => return true,
            GlareVerdict::ServerError { .. } if offered => {
                self.answer(now, server_tx, StatusCode::REQUEST_PENDING);
            }
            GlareVerdict::RequestPending => {
                self.answer(now, server_tx, StatusCode::REQUEST_PENDING);
            }
            GlareVerdict::ServerError { retry_after_s } => {
                let status = StatusCode::SERVER_INTERNAL_ERROR;
                if let Ok(response) = self.sip.response_for(server_tx, status) {
                    let retry_after = (HeaderName::RetryAfter, retry_after_s.into());
                    let response = response.with_header(retry_after.0, retry_after.1);
                    self.respond(now, server_tx, &response);
                }
            }
        }
        false
    }

    fn accept_reinvite(
        &mut self,
        now: Now,
        leg: &mut Leg,
        server_tx: ServerTx,
        request: &Request,
        agreed: Option<&Negotiated>,
    ) -> bool {
        // Without an offer of theirs ours repeats what holds.
        let held = leg.sip.agreed.clone();
        let Some(ok) = self.ok(now, leg, server_tx, request, agreed.or(held.as_ref())) else {
            return false;
        };
        self.send_ok(now, leg, ok);
        true
    }

    fn accept_update(
        &mut self,
        now: Now,
        leg: &mut Leg,
        server_tx: ServerTx,
        request: &Request,
        agreed: Option<&Negotiated>,
    ) -> bool {
        let Ok(response) = self.sip.response_for(server_tx, StatusCode::OK) else { return false };
        let mut response = Self::describe_us(response);
        let contact = self.contact(leg.id, sip_transport(leg.sip.transport));
        response.headers.push_address(HeaderName::Contact, &contact);
        if let Some(timer) = &leg.sip.timer {
            session_timer::accept(&mut response, request, timer);
        }
        if let Some(agreed) = agreed {
            let local = local_media(leg);
            let written =
                local.and_then(|local| answer(agreed, &local, &mut leg.sip.description).ok());
            let Some(body) = written else { return false };
            response = response.with_body(SDP, body);
            leg.sip.stated = leg.media.local.clone();
        }
        self.respond(now, server_tx, &response);
        true
    }

    /// The ACK to a 2xx of ours.
    pub(crate) fn acknowledged(&mut self, now: Now, leg: &mut Leg, ack: &Request) {
        let number = ack.cseq.number;
        let Some(ok) = leg.sip.ok.take_if(|ok| ok.response.cseq.number == number) else { return };
        self.clear_timer(leg.id, TimerKind::Ok);
        leg.sip.glare.theirs_ended();
        if let Some(offered) = &ok.offered {
            let answered = match described(&ack.headers, &ack.body) {
                Described::Session(answer) => {
                    accept_answer(offered, &answer, &self.capabilities).ok()
                }
                _ => None,
            };
            match answered {
                Some(agreed) => {
                    leg.media.agree(now, leg.epoch, &agreed, &mut self.prng);
                    leg.sip.agreed = Some(agreed);
                    self.sync_media(leg);
                    self.tell(leg, Fact::Report);
                }
                // There has never been a session (RFC 3261 section 13.2.1).
                None if leg.media.remote.is_none() => {
                    return self.hang_up(now, leg, LegEnd::Failed);
                }
                // The session stands as it was.
                None => {}
            }
        }
        self.reserve_ahead(leg);
        self.reconcile(now, leg);
        self.go_on(now, leg);
    }

    /// A 2xx of ours is not acknowledged yet.
    pub(crate) fn ok_again(&mut self, now: Now, leg: &mut Leg) {
        let Some(mut ok) = leg.sip.ok.take() else { return };
        match ok.again.handle_timeout(now.instant) {
            OkStep::Wait => {}
            OkStep::SendAgain => self.respond(now, ok.server_tx, &ok.response),
            OkStep::GiveUp => {
                leg.sip.glare.theirs_ended();
                // RFC 3261 section 13.3.1.4: the dialog stands, the session does not.
                self.hang_up(now, leg, LegEnd::Failed);
                return;
            }
        }
        self.set_timer(leg.id, TimerKind::Ok, ok.again.poll_timeout());
        leg.sip.ok = Some(ok);
    }

    /// An exchange of the peer's has ended: ours may begin.
    fn go_on(&mut self, now: Now, leg: &mut Leg) {
        let again = leg.takeover.as_ref().is_some_and(|t| t.step == super::TakeoverStep::Again);
        if again && leg.sip.wanted == Some(super::Why::Takeover) {
            self.ask_peer(now, leg);
        } else {
            self.next_exchange(now, leg);
        }
    }
}

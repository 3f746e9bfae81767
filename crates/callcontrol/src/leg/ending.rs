//! Ending legs: what the log wants ended, and what we end ourselves.

use tandem_cluster::{command::LegEnd, leg::EndCause};
use tandem_sip::{
    dialog::{Dialog, RequestParts, Security},
    message::{CSeq, CallId, HeaderName, Method, Reason, Request, Response},
    transaction::{ClientTx, Hop, build_cancel},
};

use super::{
    CancelledFor, Ending, Leg, Stage, TimerKind,
    facts::Fact,
    ring::{hop_of, invite_cseqs},
};
use crate::{
    core::{Core, NO_OWNER},
    io::{Note, Now},
};

impl Core {
    /// The log wants this leg ended.
    pub(crate) fn end(&mut self, now: Now, leg: &mut Leg, cause: EndCause) {
        match &leg.stage {
            // Nothing was sent yet.
            Stage::Preparing => self.ended(leg, LegEnd::Done),
            Stage::Inviting(_) => {
                let why = match cause {
                    EndCause::NotAnswered => CancelledFor::NotAnswered,
                    EndCause::AnsweredElsewhere => CancelledFor::Elsewhere,
                    _ => CancelledFor::Ended,
                };
                self.cancel_invite(now, leg, why);
            }
            Stage::Established => {
                // RFC 3261 section 15: no BYE before our 2xx is acknowledged. And an answer that the
                // log has not judged yet is judged first: it may still count.
                if leg.sip.ok.is_none() && leg.is_judged() {
                    self.say_bye(now, leg, &[reason(cause)]);
                }
            }
            // Its admission is judged when the log's answer is here.
            Stage::Allocating(_) | Stage::Admitting(_) => {}
            Stage::Ending(_) | Stage::Over => {}
        }
    }

    /// Ends a leg on our own account: the peer is gone, or did not keep to the protocol.
    pub(crate) fn hang_up(&mut self, now: Now, leg: &mut Leg, how: LegEnd) {
        if leg.is_established() {
            // The log is told at once: nobody waits for the answer to this BYE.
            self.send_within(now, leg, Method::Bye, RequestParts::default());
            self.ended(leg, how);
        }
    }

    /// Sends a BYE; the leg is over when it is answered.
    pub(crate) fn say_bye(&mut self, now: Now, leg: &mut Leg, reasons: &[Reason]) {
        let mut parts = RequestParts::default();
        for reason in reasons {
            parts.headers.push(HeaderName::Reason, reason.to_text());
        }
        let bye = if planted!(self, ByeIsNotSent) {
            None
        } else {
            self.send_within(now, leg, Method::Bye, parts)
        };
        match bye {
            Some(client_tx) => {
                leg.stage = Stage::Ending(Ending::Bye(client_tx));
                self.end_takeover(leg);
                self.release_media(leg);
            }
            None => self.ended(leg, LegEnd::Done),
        }
    }

    /// The leg is over on the wire.
    pub(crate) fn ended(&mut self, leg: &mut Leg, how: LegEnd) {
        if matches!(leg.stage, Stage::Over) {
            return;
        }
        let media_ended = matches!(leg.stage, Stage::Ending(Ending::Bye(_)));
        leg.stage = Stage::Over;
        leg.sip.ok = None;
        self.end_takeover(leg);
        for kind in TimerKind::ALL {
            if kind != TimerKind::Fact {
                self.clear_timer(leg.id, kind);
            }
        }
        if !media_ended {
            self.release_media(leg);
        }
        // Nothing else about a leg matters once it is over.
        leg.facts.retain(|fact| matches!(fact, Fact::Answered { .. } | Fact::Alive));
        self.tell(leg, Fact::Ended(how));
    }

    /// A response to what ends the leg, or its timeout (`None`).
    pub(crate) fn ending_answered(
        &mut self,
        leg: &mut Leg,
        client_tx: ClientTx,
        response: Option<&Response>,
    ) {
        let settled = response.is_none_or(|response| response.status.is_final());
        let over = match &mut leg.stage {
            Stage::Ending(Ending::Bye(bye)) => *bye == client_tx && settled,
            Stage::Ending(Ending::Foreign { waiting }) => {
                if settled {
                    waiting.retain(|other| *other != client_tx);
                }
                let over = waiting.is_empty();
                if response.is_some() {
                    // Whatever it answers: the phone is there.
                    self.tell(leg, Fact::Alive);
                }
                over
            }
            _ => false,
        };
        if over {
            self.ended(leg, LegEnd::Done);
        }
    }

    /// Another phone of a fork has answered our INVITE: acknowledged and ended.
    pub(crate) fn end_fork(&mut self, now: Now, leg: &mut Leg, response: &Response) {
        let invitation = leg.view.as_ref().and_then(|view| view.leg.invitation.clone());
        let Some(invitation) = invitation else { return };
        let invite = self.invite_skeleton(leg, &invitation);
        let hop = hop_of(self, leg);
        if let Some(ack) = self.end_stray(now, &invite, &hop, response) {
            leg.sip.acks.keep(response, ack);
        }
    }

    /// A 2xx to an INVITE of ours that nobody waits for: acknowledged and ended. Returns the ACK.
    pub(crate) fn end_stray(
        &mut self,
        now: Now,
        invite: &Request,
        hop: &Hop,
        response: &Response,
    ) -> Option<Request> {
        let mut dialog = Dialog::uac(invite, response, invite_cseqs(), Security::Plain).ok()?;
        let mut ack = dialog.ack(invite.cseq.number, &invite.headers, None);
        self.sip.send_ack(&mut ack, hop);
        let bye = dialog.request(Method::Bye, RequestParts::default()).ok()?;
        if let Err(error) = self.sip.send_request(now.instant, bye, hop, NO_OWNER) {
            self.note(Note::Unexpected { what: format!("a BYE was not sent: {error}") });
        }
        Some(ack)
    }

    /// Cancels what a lost node may have sent for this leg, and asks the phone for a sign of life.
    pub(crate) fn cancel_foreign(&mut self, now: Now, leg: &mut Leg) {
        let invitation = leg.view.as_ref().and_then(|view| view.leg.invitation.clone());
        let mut waiting = Vec::new();
        if let Some(invitation) = invitation {
            let invite = self.invite_skeleton(leg, &invitation);
            let hop = hop_of(self, leg);
            let mut requests = vec![build_cancel(&invite, &[Reason::q850(16)])];
            // It may have been answered before the log heard of it: then only a BYE ends it.
            let dialog = leg.sip.dialog.as_mut();
            requests.extend(dialog.and_then(|d| d.request(Method::Bye, Default::default()).ok()));
            requests.push(self.sign_of_life(invite));
            for request in requests {
                match self.sip.send_request(now.instant, request, &hop, leg.owner) {
                    Ok(client_tx) => waiting.push(client_tx),
                    Err(error) => self.unexpected(leg.id, error),
                }
            }
        }
        leg.stage = Stage::Ending(Ending::Foreign { waiting });
        if matches!(&leg.stage, Stage::Ending(Ending::Foreign { waiting }) if waiting.is_empty()) {
            self.ended(leg, LegEnd::Done);
        }
    }

    /// An OPTIONS outside of any dialog, to the phone that this INVITE was for.
    fn sign_of_life(&mut self, invite: Request) -> Request {
        let mut options = invite;
        options.method = Method::Options;
        options.vias.clear();
        options.cseq = CSeq { number: 1, method: Method::Options };
        options.from.set_tag(self.prng.token());
        options.call_id = CallId::random(&mut self.prng);
        options
    }
}

/// Why a leg ends, for the peer (RFC 3326, Q.850 causes).
fn reason(cause: EndCause) -> Reason {
    match cause {
        EndCause::PeerHungUp => Reason::q850(16),
        EndCause::OfferWithdrawn | EndCause::AnsweredElsewhere => {
            Reason::sip(tandem_sip::message::StatusCode::OK, "Call completed elsewhere")
        }
        EndCause::NotAnswered => Reason::q850(19),
        EndCause::WaitedTooLong => Reason::q850(102),
        EndCause::Operator => Reason::q850(31),
        EndCause::PeerLost | EndCause::Failed => Reason::q850(41),
    }
}

//! An agent's phone: from the offer in the log to an answered dialog.
//!
//! The phone's answer is acknowledged at once and hears a beep while the accept is committed (one to
//! two round trips); the audio is bridged when the log says that this answer counts (invariant R4).

use std::{net::SocketAddr, time::Duration};

use tandem_cluster::{
    command::LegEnd,
    leg::{Invitation, Transport as LegTransport},
    view::{Goal, LegView, Ring},
};
use tandem_routing::command::DeclineCause;
use tandem_sip::{
    dialog::{CseqBlock, Dialog, Security, TwoXx, session_timer},
    message::{
        CallId, DisplayName, HeaderName, Host, Method, NameAddr, Reason, Request, Response,
        StatusCode, Uri, Via,
    },
    sdp::{
        Capabilities, Codec, LocalDescription, OfferedMedia, Origin, SdpVersionBlock,
        accept_answer, offer,
    },
    text::SipText,
    transaction::{CancelOutcome, Hop},
};

use super::{
    CancelledFor, Ending, Heard, Invite, Kind, Leg, MediaSide, Reach, SipSide, Stage, TimerKind,
    admission::{local_media, sip_transport},
    facts::Fact,
    record,
};
use crate::{
    core::{Core, Orphan},
    derive::{self, Purpose},
    io::{Note, Now},
    replies::{Described, SDP, address_of, described, uri_of},
};

/// The number of the INVITE that begins a dialog.
pub(crate) const INVITE_CSEQ: u32 = 1;

impl Core {
    /// A leg that the log has just made for an offer: its phone is to ring.
    pub(crate) fn ring_leg(&mut self, now: Now, view: LegView, ring: &Ring) -> Leg {
        let (peer, transport) = phone_address(&ring.invitation, self.settings.udp);
        let origin = Origin::new(self.settings.udp.ip(), &mut self.prng);
        let description = LocalDescription::new(origin, SdpVersionBlock::first());
        let mut sip = SipSide::new(now, transport, peer, Reach::BySource, description);
        sip.timer_policy = self.settings.session_timer;
        let codec = ring.codec.unwrap_or(tandem_cluster::leg::Codec::Pcmu);
        let (id, epoch) = (view.leg.id, view.leg.epoch);
        let relay = self.settings.relay.clone();
        let mut media = MediaSide::new(relay, codec, now, epoch, &mut self.prng);
        media.learn_from = Some(peer.ip().to_string());
        self.set_timer(id, TimerKind::Ring, now.instant + Duration::from_millis(ring.ring.0));
        let owner = self.owner_of(id);
        let leg = Leg::new(id, epoch, owner, Kind::Agent(ring.offer), sip, media);
        Leg { stage: Stage::Preparing, view: Some(view), ..leg }
    }

    /// The relay has a socket: the phone is invited.
    pub(crate) fn invite(&mut self, now: Now, leg: &mut Leg) {
        let Some(Goal::Ring(ring)) = leg.view.as_ref().map(|view| view.goal.clone()) else {
            // Withdrawn while the relay was asked.
            return self.reconcile(now, leg);
        };
        let capabilities = self.capabilities_for(leg.media.codec);
        let body = local_media(leg)
            .and_then(|local| offer(&capabilities, None, &local, &mut leg.sip.description).ok());
        let Some((body, offered)) = body else { return self.cannot_ring(leg) };
        let mut request = self.invite_skeleton(leg, &ring.invitation).with_body(SDP, body);
        let contact = self.contact(leg.id, sip_transport(leg.sip.transport));
        request.headers.push_address(HeaderName::Contact, &contact);
        request
            .headers
            .push(HeaderName::Allow, tandem_sip::message::allow_value(&crate::replies::METHODS));
        if let Some(policy) = &leg.sip.timer_policy {
            session_timer::offer(&mut request.headers, policy, None);
        }
        let hop = hop_of(self, leg);
        match self.sip.send_request(now.instant, request.clone(), &hop, leg.owner) {
            Ok(client_tx) => {
                leg.sip.stated = leg.media.local.clone();
                leg.stage = Stage::Inviting(Box::new(Invite {
                    client_tx,
                    request,
                    offered,
                    sent: now.instant,
                    rang: None,
                    heard: Heard::Nothing,
                    cancel: None,
                }));
            }
            Err(error) => {
                self.unexpected(leg.id, error);
                self.cannot_ring(leg);
            }
        }
    }

    /// G.711 both ways, this coding first so that nothing is transcoded.
    pub(crate) fn capabilities_for(&self, first: tandem_cluster::leg::Codec) -> Capabilities {
        let mut codecs = self.capabilities.codecs.clone();
        let first = Codec::new(record::codec_name(first), 8_000);
        codecs.sort_by_key(|known| !known.codec.is_same(&first));
        Capabilities { codecs, ..self.capabilities.clone() }
    }

    /// The INVITE without body and Contact: every node makes the same one from the leg's row.
    pub(crate) fn invite_skeleton(&self, leg: &Leg, invitation: &Invitation) -> Request {
        let token = |purpose| derive::token(&self.settings.cluster_key, leg.id, purpose);
        let realm = &self.settings.realm;
        let number = invitation.caller.expose();
        let mut from = if number.is_empty() {
            let mut from = NameAddr::from_uri(uri_of("anonymous", "anonymous.invalid"));
            from.display = Some(DisplayName::new("Anonymous"));
            from
        } else {
            NameAddr::from_uri(uri_of(number, realm))
        };
        from.set_tag(text(&token(Purpose::Tag)));
        let to = NameAddr::from_uri(uri_of(invitation.agent.as_str(), realm));
        let target = Uri::parse(&invitation.target.contact_uri)
            .unwrap_or_else(|_| uri_of(invitation.agent.as_str(), realm));
        let call_id = CallId::parse(&text(&self.call_id_of(leg.id)))
            .unwrap_or_else(|_| unreachable_call_id());
        let mut request = Request::new(Method::Invite, target, from, to, call_id, INVITE_CSEQ);
        let inviter = leg.view.as_ref().and_then(|view| view.inviter.as_ref());
        let at = inviter.and_then(record::socket).unwrap_or(self.settings.udp);
        let branch = format!("z9hG4bK{}", token(Purpose::Branch));
        let mut via = Via::new(
            sip_transport(leg.sip.transport).via_name(),
            Host::from_address(at.ip()),
            Some(at.port()),
            text(&branch),
        );
        // A taker's CANCEL comes from another address than this Via names: answers go to its source.
        via.params.set(SipText::from_static("rport"), None);
        request.vias.push(via);
        request.headers.push(HeaderName::Supported, SipText::from_static("timer"));
        request
    }

    /// A response to our INVITE.
    pub(crate) fn phone_responds(&mut self, now: Now, leg: &mut Leg, response: &Response) {
        let status = response.status;
        if status.is_provisional() {
            self.phone_rings(leg, response);
        } else if status.is_success() {
            self.phone_answers(now, leg, response);
        } else {
            self.phone_declines(leg, Some(status));
        }
    }

    fn phone_rings(&mut self, leg: &mut Leg, response: &Response) {
        let (Stage::Inviting(invite) | Stage::Ending(Ending::Cancelling(invite))) = &mut leg.stage
        else {
            return;
        };
        invite.heard = Heard::Something;
        let first = invite.rang.is_none() && response.to_tag().is_some();
        if !first || response.status == StatusCode::TRYING {
            return;
        }
        if let Ok(early) = Dialog::uac(&invite.request, response, invite_cseqs(), Security::Plain) {
            invite.rang = Some(early);
            if matches!(leg.stage, Stage::Inviting(_)) {
                self.tell(leg, Fact::Ringing);
            }
        }
    }

    /// A 2xx to our first INVITE: acknowledged at once, whatever the log will say.
    pub(crate) fn phone_answers(&mut self, now: Now, leg: &mut Leg, response: &Response) {
        let hop = hop_of(self, leg);
        match leg.sip.acks.on_2xx(response) {
            TwoXx::New => {}
            TwoXx::Repeated(ack) => {
                self.sip.send_ack(ack, &hop);
                return;
            }
            TwoXx::Ignored => return,
        }
        match std::mem::replace(&mut leg.stage, Stage::Over) {
            Stage::Inviting(invite) => self.phone_answered(now, leg, *invite, response),
            Stage::Ending(Ending::Cancelling(invite)) => {
                self.phone_answered(now, leg, *invite, response);
            }
            // Another phone of a fork: ended at once.
            other => {
                leg.stage = other;
                self.end_fork(now, leg, response);
            }
        }
    }

    /// The first phone that answers our INVITE.
    fn phone_answered(&mut self, now: Now, leg: &mut Leg, invite: Invite, response: &Response) {
        self.clear_timer(leg.id, TimerKind::Ring);
        leg.sip.invited = Some(invite.client_tx);
        let made = Dialog::uac(&invite.request, response, invite_cseqs(), Security::Plain);
        let Ok(dialog) = made else {
            // Without a Contact nothing can be sent to it. It ends the call itself when no ACK comes
            // (RFC 3261 section 13.3.1.4).
            return self.phone_failed(leg, Some(response.status));
        };
        let mut ack = dialog.ack(invite.request.cseq.number, &invite.request.headers, None);
        let hop = hop_of(self, leg);
        self.sip.send_ack(&mut ack, &hop);
        leg.sip.acks.keep(response, ack);
        self.dialogs.insert(dialog.id().clone(), leg.id);
        leg.sip.dialog = Some(dialog);
        leg.sip.timer = session_timer::judge_response(response).ok().flatten();
        leg.sip.refreshed = now.instant;
        self.start_session_timer(leg);
        if !self.take_answer(now, leg, &invite.offered, response) {
            self.note(Note::PhoneFailed { leg: leg.id, status: Some(response.status.code()) });
            self.say_bye(now, leg, &[]);
            return self.tell(leg, Fact::Failed(DeclineCause::DeviceFailed));
        }
        if matches!(invite.cancel, Some(CancelledFor::Ended | CancelledFor::Elsewhere)) {
            return self.say_bye(now, leg, &[]);
        }
        // Also one that we cancelled because it had rung too long: late, but answered. The log judges.
        leg.stage = Stage::Established;
        self.sync_media(leg);
        let ring_ms = (now.instant - invite.sent).as_millis();
        let ring_ms = u64::try_from(ring_ms).unwrap_or(u64::MAX);
        self.tell(leg, Fact::Answered { ring_ms });
    }

    /// Reads the phone's answer to our offer; false when it is none that serves.
    fn take_answer(
        &mut self,
        now: Now,
        leg: &mut Leg,
        offered: &OfferedMedia,
        response: &Response,
    ) -> bool {
        let Described::Session(description) = described(&response.headers, &response.body) else {
            return false;
        };
        let Ok(agreed) = accept_answer(offered, &description, &self.capabilities) else {
            return false;
        };
        leg.media.agree(now, leg.epoch, &agreed, &mut self.prng);
        leg.sip.agreed = Some(agreed);
        true
    }

    /// The phone did not take the call, or did not answer at all (`None`).
    pub(crate) fn phone_declines(&mut self, leg: &mut Leg, status: Option<StatusCode>) {
        let (invite, ended) = match std::mem::replace(&mut leg.stage, Stage::Over) {
            Stage::Inviting(invite) => (invite, false),
            Stage::Ending(Ending::Cancelling(invite)) => {
                let ended =
                    matches!(invite.cancel, Some(CancelledFor::Ended | CancelledFor::Elsewhere));
                (invite, ended)
            }
            other => {
                leg.stage = other;
                return;
            }
        };
        self.clear_timer(leg.id, TimerKind::Ring);
        self.release_media(leg);
        if ended {
            return self.tell(leg, Fact::Ended(LegEnd::Done));
        }
        let status = status.map(StatusCode::code);
        let cause = match (invite.cancel, status) {
            (Some(_), _) => DeclineCause::NotAnswered,
            (None, Some(486 | 600)) => DeclineCause::Busy,
            (None, Some(480 | 603)) => DeclineCause::Refused,
            (None, _) => DeclineCause::DeviceFailed,
        };
        self.note(Note::PhoneFailed { leg: leg.id, status });
        self.tell(leg, Fact::Failed(cause));
    }

    /// The phone cannot be used.
    pub(crate) fn phone_failed(&mut self, leg: &mut Leg, status: Option<StatusCode>) {
        self.clear_timer(leg.id, TimerKind::Ring);
        self.note(Note::PhoneFailed { leg: leg.id, status: status.map(StatusCode::code) });
        leg.stage = Stage::Over;
        self.release_media(leg);
        self.tell(leg, Fact::Failed(DeclineCause::DeviceFailed));
    }

    /// This node cannot make the phone ring, which is no fault of the phone or its agent.
    pub(crate) fn cannot_ring(&mut self, leg: &mut Leg) {
        self.clear_timer(leg.id, TimerKind::Ring);
        self.note(Note::PhoneNotRung { leg: leg.id });
        leg.stage = Stage::Over;
        self.release_media(leg);
        self.tell(leg, Fact::Failed(DeclineCause::NodeFailed));
    }

    /// It has rung for as long as the queue says.
    pub(crate) fn rang_long_enough(&mut self, now: Now, leg: &mut Leg) {
        match &leg.stage {
            Stage::Inviting(invite) if invite.heard == Heard::Nothing => {
                // Nobody is there: the caller must not wait for the INVITE's own timer.
                self.orphan_invite(now, leg);
                self.phone_failed(leg, Some(StatusCode::REQUEST_TIMEOUT));
            }
            Stage::Inviting(_) => self.cancel_invite(now, leg, CancelledFor::NotAnswered),
            // Our relay was away all this time.
            Stage::Preparing => self.cannot_ring(leg),
            _ => {}
        }
    }

    /// Cancels the INVITE of a ringing phone; its final response ends it.
    pub(crate) fn cancel_invite(&mut self, now: Now, leg: &mut Leg, why: CancelledFor) {
        let Stage::Inviting(mut invite) = std::mem::replace(&mut leg.stage, Stage::Over) else {
            return;
        };
        let reason = match why {
            CancelledFor::NotAnswered => Reason::q850(19),
            CancelledFor::Ended => Reason::q850(16),
            // RFC 3326: phones show no missed call then.
            CancelledFor::Elsewhere => {
                Reason::sip(tandem_sip::message::StatusCode::OK, "Call completed elsewhere")
            }
        };
        invite.cancel = Some(why);
        let cancelled = self.sip.cancel(now.instant, invite.client_tx, &[reason]);
        let gone = matches!(cancelled, Err(_) | Ok(CancelOutcome::TooLate));
        leg.stage = Stage::Ending(Ending::Cancelling(invite));
        if gone {
            // Its final response has been seen: nothing more will come.
            self.phone_declines(leg, None);
        }
    }

    /// Leaves the INVITE of a phone that never reacted to itself: should the phone ring after all it
    /// is cancelled, should it answer, that is ended.
    fn orphan_invite(&mut self, now: Now, leg: &mut Leg) {
        let Stage::Inviting(invite) = &leg.stage else { return };
        // The leg is told to have failed in any case.
        self.sip.cancel(now.instant, invite.client_tx, &[Reason::q850(19)]).ok();
        let orphan = Orphan { invite: invite.request.clone(), hop: hop_of(self, leg) };
        self.orphans.insert(invite.client_tx, orphan);
    }
}

/// The numbers of a dialog that our INVITE begins: it has used the first of them itself.
pub(crate) fn invite_cseqs() -> CseqBlock {
    let mut cseqs = CseqBlock::first();
    // A whole block is free, so this cannot fail; if it did, the dialog would only begin a number lower.
    cseqs.take().ok();
    cseqs
}

/// Where a phone is reached: at the source of its registration, which is its address also behind NAT.
pub(crate) fn phone_address(
    invitation: &Invitation,
    fallback: SocketAddr,
) -> (SocketAddr, LegTransport) {
    let target = &invitation.target;
    let source = target.source.parse().ok();
    let contact = Uri::parse(&target.contact_uri).ok().and_then(|uri| address_of(&uri));
    (source.or(contact).unwrap_or(fallback), target.transport)
}

fn text(token: &str) -> SipText {
    // Hexadecimal digits, our realm and literals: never a line break.
    SipText::copy_of(token).unwrap_or_default()
}

fn unreachable_call_id() -> CallId {
    match CallId::parse(&SipText::from_static("invalid-realm")) {
        Ok(call_id) => call_id,
        Err(_) => unreachable!("a literal word is a Call-ID"),
    }
}

/// The way to the phone of a leg.
pub(crate) fn hop_of(core: &Core, leg: &Leg) -> Hop {
    core.hop(sip_transport(leg.sip.transport), leg.sip.peer, leg.sip.connection)
}

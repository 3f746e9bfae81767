//! Re-INVITEs of ours (a takeover, a new relay, a session refresh) and questions to silent peers.

use std::time::Duration;

use tandem_cluster::{command::LegEnd, leg::MediaDirection};
use tandem_sip::{
    dialog::{Dialog, DialogRole, RequestParts, glare_retry_wait, session_timer},
    message::{HeaderName, Method, Request, Response, StatusCode},
    sdp::{accept_answer, offer},
    transaction::ClientTx,
};

use super::{
    Audit, Leg, Reach, Reinvite, TakeoverStep, TimerKind, Why,
    admission::{local_media, sip_transport},
    facts::Fact,
    ring::hop_of,
};
use crate::{
    core::Core,
    io::Now,
    limits::{AUDIT_EVERY, REINVITE_AGAIN},
    replies::{Described, SDP, address_of, described},
};

/// How a peer's final response settles a request inside a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Settled {
    /// The dialog lives and took the change.
    Accepted,
    /// The dialog lives and did not take it.
    Kept,
    /// The peer is asking for something itself: later.
    Glare,
    /// The peer does not know the dialog.
    Gone,
    /// Nothing certain: no answer, or a server in trouble.
    Unknown,
}

impl Settled {
    /// RFC 3261 sections 12.2.1.2 and 14.1.
    pub(crate) fn by(status: StatusCode) -> Self {
        match status.code() {
            200..=299 => Self::Accepted,
            491 => Self::Glare,
            481 | 404 | 410 | 416 | 604 => Self::Gone,
            408 | 500 | 502..=504 => Self::Unknown,
            _ => Self::Kept,
        }
    }
}

impl Core {
    /// Offers the session anew (our Contact, our relay's socket), or as soon as that is possible.
    pub(crate) fn reinvite(&mut self, now: Now, leg: &mut Leg, why: Why) {
        if !leg.is_established() {
            return;
        }
        if leg.sip.reinvite.is_some() || !leg.sip.glare.may_offer() {
            // The end of what is under way goes on with it.
            leg.sip.wanted = Some(why);
            return;
        }
        match self.send_reinvite(now, leg, why) {
            Some(sent) => {
                self.clear_timer(leg.id, TimerKind::Reinvite);
                leg.sip.wanted = None;
                leg.sip.not_before = None;
                leg.sip.stated = leg.media.local.clone();
                leg.sip.glare.ours_began();
                leg.sip.reinvite = Some(sent);
            }
            // No socket or no numbers now: what brings them goes on with it, or the timer.
            None => {
                leg.sip.wanted = Some(why);
                self.set_timer(leg.id, TimerKind::Reinvite, now.instant + REINVITE_AGAIN);
            }
        }
    }

    fn reinvite_later(&mut self, now: Now, leg: &mut Leg, why: Why, wait: Duration) {
        let at = now.instant + wait;
        leg.sip.wanted = Some(why);
        leg.sip.not_before = Some(at);
        self.set_timer(leg.id, TimerKind::Reinvite, at);
    }

    fn send_reinvite(&mut self, now: Now, leg: &mut Leg, why: Why) -> Option<Reinvite> {
        let local = local_media(leg)?;
        let capabilities = self.capabilities_for(leg.media.codec);
        let agreed = leg.sip.agreed.as_ref();
        let Ok((body, offered)) = offer(&capabilities, agreed, &local, &mut leg.sip.description)
        else {
            self.reserve_ahead(leg);
            return None;
        };
        let contact = self.contact(leg.id, sip_transport(leg.sip.transport));
        let mut parts =
            RequestParts { contact: Some(contact), body: Some((SDP, body)), ..Default::default() };
        parts
            .headers
            .push(HeaderName::Allow, tandem_sip::message::allow_value(&crate::replies::METHODS));
        if let Some(policy) = &leg.sip.timer_policy {
            session_timer::offer(&mut parts.headers, policy, leg.sip.timer.as_ref());
        }
        let client_tx = self.send_within(now, leg, Method::Invite, parts)?;
        let stated_before = leg.sip.stated.clone();
        Some(Reinvite { client_tx, why, offered, stated_before })
    }

    /// Sends a request inside the dialog; `None` when that is not possible now.
    pub(crate) fn send_within(
        &mut self,
        now: Now,
        leg: &mut Leg,
        method: Method,
        parts: RequestParts,
    ) -> Option<ClientTx> {
        let Ok(request) = leg.sip.dialog.as_mut()?.request(method, parts) else {
            // All numbers that the log has reserved are used.
            self.reserve_ahead(leg);
            return None;
        };
        let sent = self.sip.send_request(now.instant, request, &hop_of(self, leg), leg.owner);
        self.reserve_ahead(leg);
        match sent {
            Ok(client_tx) => Some(client_tx),
            Err(error) => {
                self.unexpected(leg.id, error);
                None
            }
        }
    }

    /// A response to a re-INVITE of ours, perhaps to an earlier one.
    pub(crate) fn reinvite_answered(
        &mut self,
        now: Now,
        leg: &mut Leg,
        client_tx: ClientTx,
        response: &Response,
    ) {
        if response.status.is_provisional() {
            return;
        }
        if response.status.is_success() {
            self.acknowledge(leg, response);
        }
        let ours = leg.sip.reinvite.take_if(|reinvite| reinvite.client_tx == client_tx);
        let Some(reinvite) = ours else { return };
        leg.sip.glare.ours_ended();
        let settled = Settled::by(response.status);
        if settled != Settled::Accepted {
            // It still sends where it sent before.
            leg.sip.stated.clone_from(&reinvite.stated_before);
        }
        if settled == Settled::Accepted {
            self.take_new_session(now, leg, &reinvite, response);
            leg.sip.refreshed = now.instant;
            if let Ok(timer) = session_timer::judge_response(response) {
                leg.sip.timer = timer.or(leg.sip.timer);
            }
            self.start_session_timer(leg);
        } else if response.status == StatusCode::SESSION_INTERVAL_TOO_SMALL
            && let Some(policy) = leg.sip.timer_policy
            && let Some(larger) = session_timer::after_too_small(response, &policy)
        {
            // RFC 4028 section 7.3: at once, with what the peer asks for. It asks for more each time,
            // or this is not reached.
            leg.sip.timer_policy = Some(larger);
            return self.ask_again(now, leg, reinvite.why);
        }
        self.reinvite_settled(now, leg, reinvite.why, settled, Some(response.status));
    }

    fn ask_again(&mut self, now: Now, leg: &mut Leg, why: Why) {
        self.reinvite(now, leg, why);
        if leg.sip.reinvite.is_none() && leg.takeover.is_some() {
            self.reinvite_settled(now, leg, why, Settled::Unknown, None);
        }
    }

    /// Our re-INVITE got no answer.
    pub(crate) fn reinvite_failed(&mut self, now: Now, leg: &mut Leg) {
        let Some(reinvite) = leg.sip.reinvite.take() else { return };
        leg.sip.glare.ours_ended();
        self.reinvite_settled(now, leg, reinvite.why, Settled::Unknown, None);
    }

    fn reinvite_settled(
        &mut self,
        now: Now,
        leg: &mut Leg,
        why: Why,
        settled: Settled,
        status: Option<StatusCode>,
    ) {
        if !leg.is_established() {
            return;
        }
        if leg.takeover.is_some() {
            return self.takeover_settled(now, leg, settled, status);
        }
        match settled {
            Settled::Accepted => {
                self.sync_media(leg);
                self.tell(leg, Fact::Report);
                self.next_exchange(now, leg);
            }
            Settled::Kept => self.refused(now, leg),
            Settled::Gone => self.ended(leg, LegEnd::PeerGone),
            Settled::Glare => {
                let wait = self.glare_wait(leg);
                self.reinvite_later(now, leg, why, wait);
            }
            Settled::Unknown => self.reinvite_later(now, leg, why, REINVITE_AGAIN),
        }
    }

    /// The call stands as it was. A peer whose audio goes nowhere now is asked again.
    fn refused(&mut self, now: Now, leg: &mut Leg) {
        if leg.has_moved() {
            return self.reinvite_later(now, leg, Why::NewMedia, REINVITE_AGAIN);
        }
        self.next_exchange(now, leg);
    }

    /// A peer has refused a takeover. What its former owner told it last is not known for certain: it
    /// is asked again where its audio goes nowhere, or does not come.
    pub(crate) fn takeover_refused(&mut self, now: Now, leg: &mut Leg) {
        if leg.has_moved() {
            self.reinvite_later(now, leg, Why::NewMedia, REINVITE_AGAIN);
        } else {
            leg.sip.stated = None;
        }
    }

    pub(crate) fn glare_wait(&mut self, leg: &Leg) -> Duration {
        let role = leg.sip.dialog.as_ref().map_or(DialogRole::Uas, Dialog::role);
        glare_retry_wait(role, &mut self.prng)
    }

    /// Acknowledges a 2xx to a re-INVITE of ours; a copy gets the same ACK again (RFC 3261 section
    /// 13.2.2.4).
    fn acknowledge(&mut self, leg: &mut Leg, response: &Response) {
        let hop = hop_of(self, leg);
        let number = response.cseq.number;
        if let Some(ack) = leg.sip.last_ack.as_mut().filter(|ack| ack.cseq.number == number) {
            self.sip.send_ack(ack, &hop);
            return;
        }
        let Some(dialog) = leg.sip.dialog.as_ref() else { return };
        let mut ack = dialog.ack(number, &Default::default(), None);
        self.sip.send_ack(&mut ack, &hop);
        leg.sip.last_ack = Some(ack);
    }

    fn take_new_session(
        &mut self,
        now: Now,
        leg: &mut Leg,
        reinvite: &Reinvite,
        response: &Response,
    ) {
        if let Some(dialog) = leg.sip.dialog.as_mut() {
            // A Contact that cannot be used leaves the target as it was.
            dialog.answered(response).ok();
            take_peer(leg);
        }
        // An answer that cannot be used leaves the session as it was.
        if let Described::Session(description) = described(&response.headers, &response.body)
            && let Ok(agreed) = accept_answer(&reinvite.offered, &description, &self.capabilities)
        {
            leg.media.agree(now, leg.epoch, &agreed, &mut self.prng);
            leg.sip.agreed = Some(agreed);
        }
    }

    /// Goes on with what had to wait while an exchange was under way.
    pub(crate) fn next_exchange(&mut self, now: Now, leg: &mut Leg) {
        let waits = leg.sip.not_before.is_some_and(|at| now.instant < at);
        let busy = leg.takeover.is_some() || leg.sip.reinvite.is_some();
        if !leg.is_established() || busy || waits {
            return;
        }
        if leg.has_moved() {
            self.reinvite(now, leg, Why::NewMedia);
        } else if let Some(why) = leg.sip.wanted {
            self.reinvite(now, leg, why);
        }
    }

    /// Time to try a re-INVITE again.
    pub(crate) fn reinvite_due(&mut self, now: Now, leg: &mut Leg) {
        match leg.takeover.as_ref().map(|takeover| takeover.step) {
            Some(TakeoverStep::Again) => self.ask_peer(now, leg),
            Some(_) => {}
            None => self.next_exchange(now, leg),
        }
    }

    // --- silent peers -------------------------------------------------------------------------------

    /// No media comes: is the call still there? A lost BYE must not keep anybody busy for ever.
    pub(crate) fn audit(&mut self, now: Now, leg: &mut Leg) {
        let expects_media = matches!(
            leg.media.direction,
            MediaDirection::SendReceive | MediaDirection::ReceiveOnly
        );
        if !expects_media || !leg.is_established() {
            return;
        }
        // Who may not ask learns nothing from silence; a takeover asks by itself.
        if leg.sip.audit.is_none() && self.may_act(now) && leg.takeover.is_none() {
            if leg.sip.stated.is_none() {
                self.reinvite(now, leg, Why::NewMedia);
            }
            let question = self.send_within(now, leg, Method::Options, RequestParts::default());
            let asked = now.instant;
            leg.sip.audit = question.map(|client_tx| Audit { client_tx, asked });
        }
        self.set_timer(leg.id, TimerKind::Audit, now.instant + AUDIT_EVERY);
    }

    /// The peer answered whether the call still stands, or did not (`None`).
    pub(crate) fn audit_answered(&mut self, now: Now, leg: &mut Leg, status: Option<StatusCode>) {
        let Some(audit) = leg.sip.audit.take() else { return };
        let end = match status.map(Settled::by) {
            Some(Settled::Gone) => Some(LegEnd::PeerGone),
            Some(_) => None,
            // Unless the question, or its copies, were held back here.
            None => {
                let asked = self.acting_since.is_some_and(|since| since <= audit.asked);
                let silent = asked && self.may_act(now) && leg.takeover.is_none();
                silent.then_some(LegEnd::PeerSilent)
            }
        };
        if let Some(how) = end
            && leg.is_established()
        {
            self.ended(leg, how);
        }
        // Any other answer comes from somebody who knows the dialog; the timer asks again.
    }

    /// The peer's new Contact, from a request that we accept.
    pub(crate) fn take_target(&mut self, leg: &mut Leg, request: &Request) {
        if let Some(dialog) = leg.sip.dialog.as_mut() {
            // A Contact that cannot be used leaves the target as it was.
            dialog.refresh_target(request).ok();
            take_peer(leg);
        }
    }
}

fn take_peer(leg: &mut Leg) {
    let next = leg.sip.dialog.as_ref().and_then(|dialog| address_of(dialog.next_hop()));
    if let (Reach::ByContact, Some(peer)) = (leg.sip.reach, next) {
        leg.sip.peer = peer;
    }
}

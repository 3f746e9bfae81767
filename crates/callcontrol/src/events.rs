//! SIP events: which leg a message is about.

use tandem_cluster::ids::LegId;
use tandem_routing::entity::SiteState;
use tandem_sip::{
    dialog::DialogId,
    message::{HeaderName, Method, Request, Response, StatusCode},
    text::SipText,
    transaction::{ClientTx, Event, Flow, Output as SipOutput, Owner, ServerTx, TransactionId},
};

use crate::{
    CallControl,
    core::Core,
    io::{Now, Output},
    leg::{Ending, Leg, Stage},
    limits::RETRY_AFTER_S,
};

impl CallControl {
    pub(crate) fn drain_sip(&mut self, now: Now) {
        while let Some(output) = self.core.sip.poll_output() {
            match output {
                SipOutput::Transmit(transmit) => self.core.output(Output::Transmit(transmit)),
                SipOutput::Event(event) => self.sip_event(now, event),
            }
        }
    }

    fn sip_event(&mut self, now: Now, event: Event) {
        match event {
            Event::Request { server_tx, request, source, to_tag } => {
                self.request(now, server_tx, *request, &source, &to_tag);
            }
            Event::Ack { request, .. } => {
                if let Some(leg) = self.core.leg_of_request(&request) {
                    self.with_leg(leg, |core, leg| core.acknowledged(now, leg, &request));
                }
            }
            Event::Cancel { server_tx, .. } => {
                if let Some(leg) = self.core.pending.get(&server_tx).copied() {
                    self.with_leg(leg, |core, leg| core.caller_cancels(now, leg));
                }
            }
            Event::Response { client_tx, owner, response, .. } => {
                self.responded(now, client_tx, owner, Some(&response));
            }
            Event::Timeout { client_tx, owner } | Event::TransportFailed { client_tx, owner } => {
                self.responded(now, client_tx, owner, None);
            }
            Event::StrayResponse { response, source } => {
                self.stray_response(now, &source, response);
            }
            // The peer gave up, or cannot be reached: both show in the dialog's own timers.
            Event::ServerTimeout { .. } | Event::ServerTransportFailed { .. } => {}
            Event::Terminated { transaction: TransactionId::Client(tx) } => {
                self.core.orphans.remove(&tx);
            }
            Event::Terminated { transaction: TransactionId::Server(_) } => {}
        }
    }

    fn request(
        &mut self,
        now: Now,
        server_tx: ServerTx,
        request: Request,
        source: &Flow,
        to_tag: &SipText,
    ) {
        if request.to_tag().is_some() {
            return match self.core.leg_of_request(&request) {
                Some(leg) => self.with_leg(leg, |core, leg| {
                    core.within(now, leg, server_tx, &request, to_tag);
                }),
                None => self.core.answer_lost(now, server_tx, &request),
            };
        }
        match request.method {
            Method::Invite => self.caller_invites(now, server_tx, request, source, to_tag),
            Method::Register => {
                self.registrar.register(&mut self.core, now, server_tx, request, source, to_tag);
            }
            Method::Options => self.core.options(now, server_tx),
            Method::Bye | Method::Update => {
                let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
                self.core.answer(now, server_tx, status);
            }
            ref method => self.core.answer_not_allowed(now, server_tx, method),
        }
    }

    /// A response to a request of ours, or its timeout (`None`).
    fn responded(
        &mut self,
        now: Now,
        client_tx: ClientTx,
        owner: Owner,
        response: Option<&Response>,
    ) {
        if let Some(orphan) = self.core.orphans.get(&client_tx) {
            if let Some(response) = response.filter(|response| response.status.is_success()) {
                let (invite, hop) = (orphan.invite.clone(), orphan.hop.clone());
                self.core.end_stray(now, &invite, &hop, response);
            }
            return;
        }
        if let Some(leg) = self.core.owners.get(&owner).copied() {
            self.with_leg(leg, |core, leg| core.leg_response(now, leg, client_tx, response));
        }
    }
}

impl Core {
    fn leg_of_request(&self, request: &Request) -> Option<LegId> {
        self.dialogs.get(&DialogId::of_request(request)?).copied()
    }

    /// A request inside a dialog that this node does not act for. 481 ends a call at its peer, so it
    /// is said only where that is true, or where the peer ends it anyway.
    fn answer_lost(&mut self, now: Now, server_tx: ServerTx, request: &Request) {
        let departed = DialogId::of_request(request).is_some_and(|id| self.departed.contains(&id));
        if !departed || request.method == Method::Bye {
            let status = StatusCode::CALL_OR_TRANSACTION_DOES_NOT_EXIST;
            return self.answer(now, server_tx, status);
        }
        // Another node acts for the call and will say so to the peer itself.
        let status = StatusCode::SERVER_INTERNAL_ERROR;
        if let Ok(response) = self.sip.response_for(server_tx, status) {
            let response = response.with_header(HeaderName::RetryAfter, RETRY_AFTER_S.into());
            self.respond(now, server_tx, &response);
        }
    }

    /// A carrier asks whether to send calls here.
    fn options(&mut self, now: Now, server_tx: ServerTx) {
        if !self.may_act(now) || self.site != SiteState::Open {
            return self.answer_unavailable(now, server_tx);
        }
        self.answer_described(now, server_tx, StatusCode::OK);
    }

    /// A response to a request of a leg, or its timeout (`None`).
    fn leg_response(
        &mut self,
        now: Now,
        leg: &mut Leg,
        client_tx: ClientTx,
        response: Option<&Response>,
    ) {
        let inviting = match &leg.stage {
            Stage::Inviting(invite) | Stage::Ending(Ending::Cancelling(invite)) => {
                Some(invite.client_tx)
            }
            _ => None,
        };
        if inviting == Some(client_tx) {
            return match response {
                Some(response) => self.phone_responds(now, leg, response),
                None => self.phone_declines(leg, None),
            };
        }
        if leg.sip.invited == Some(client_tx) {
            // A copy of the 2xx that was acknowledged, or another phone of a fork.
            if let Some(response) = response.filter(|response| response.status.is_success()) {
                self.phone_answers(now, leg, response);
            }
            return;
        }
        if leg.sip.audit.as_ref().is_some_and(|audit| audit.client_tx == client_tx) {
            let status = response.map(|response| response.status);
            if status.is_none_or(StatusCode::is_final) {
                self.audit_answered(now, leg, status);
            }
            return;
        }
        let ours = leg.sip.reinvite.as_ref().map(|reinvite| reinvite.client_tx) == Some(client_tx);
        match response {
            // Also a copy of a 2xx that was acknowledged.
            Some(response) if ours || response.cseq.method == Method::Invite => {
                self.reinvite_answered(now, leg, client_tx, response);
            }
            None if ours => self.reinvite_failed(now, leg),
            _ => self.ending_answered(leg, client_tx, response),
        }
    }
}

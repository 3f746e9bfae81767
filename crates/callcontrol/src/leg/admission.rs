//! A caller at the door: from INVITE to a place in the queue.
//!
//! Nothing is promised before the log has it (invariant D2): the 200 that queues a caller is sent
//! when the admission is committed. Until then the caller hears 100 (Trying).

use tandem_cluster::{
    command::{AdmitCall, Command, LegEnd, Outcome, Rejection, Reply},
    ids::{LegEpoch, LegId},
    leg::{Codec, DialogStage, Transport as LegTransport},
    view::Goal,
};
use tandem_routing::{
    command::Rejection as QueueRejection,
    entity::SiteState,
    name::{CallerNumber, Name},
};
use tandem_sip::{
    dialog::{
        Dialog, Hops, OkRetransmission, Security, next_max_forwards, session_timer,
        session_timer::UasVerdict,
    },
    identity,
    message::{HeaderName, Request, StatusCode},
    sdp::{
        Direction, LocalDescription, LocalMedia, Negotiated, Origin, SdpError, SdpVersionBlock,
        answer, negotiate, offer,
    },
    text::SipText,
    transaction::{Flow, ServerTx, TimerConfig, Transport},
};

use super::{
    Cancelled, Kind, Leg, LegLife, MediaSide, OkSent, Pending, Reach, SipSide, Stage, TimerKind,
    facts::Fact,
    record::{self, Reserved},
};
use crate::{
    CallControl,
    core::{Core, TicketUse},
    io::{NoOutcome, Note, Now, Output},
    limits::{ADMIT_WITHIN, LEGS_MAX},
    replies::{Described, SDP, address_of, described},
    settings::TrunkId,
};

impl CallControl {
    /// A new INVITE outside of any dialog.
    pub(crate) fn caller_invites(
        &mut self,
        now: Now,
        server_tx: ServerTx,
        request: Request,
        source: &Flow,
        to_tag: &SipText,
    ) {
        let Some((trunk, trust, calls_max)) = self
            .core
            .settings
            .trunk_of(source.remote.ip())
            .map(|(id, trunk)| (id, trunk.trust, trunk.calls_max as usize))
        else {
            return self.core.refuse_call(now, server_tx, StatusCode::FORBIDDEN, "not a trunk");
        };
        if self.calls_of(trunk) >= calls_max || self.legs.len() >= LEGS_MAX {
            return self.core.refuse_busy(now, server_tx, "too many calls");
        }
        let core = &mut self.core;
        if !core.may_act(now) || core.site == SiteState::Closed {
            return core.refuse_busy(now, server_tx, "no lease, or the site is closed");
        }
        let Some(checked) = core.check_invite(now, server_tx, &request, to_tag) else { return };
        let Some(called) = called(&request) else {
            return core.refuse_call(now, server_tx, StatusCode::NOT_FOUND, "no number");
        };
        let dialog = match Dialog::uas(&request, to_tag, Security::Plain) {
            Ok(dialog) => dialog,
            Err(error) => {
                let (status, why) = (StatusCode::BAD_REQUEST, error.to_string());
                return core.refuse_call(now, server_tx, status, &why);
            }
        };
        let Some(id) = core.next_leg_id() else {
            return core.refuse_busy(now, server_tx, "no leg ids reserved");
        };
        let caller = caller(&request, trust);
        let cancelled = Cancelled::No;
        let pending = Pending { server_tx, request, called, caller, asking: None, cancelled };
        let leg = core.caller_leg(now, id, trunk, dialog, source, checked);
        core.sip.own_server_transaction(server_tx, leg.owner);
        self.insert(Leg { stage: Stage::Allocating(Box::new(pending)), ..leg });
        self.with_leg(id, |core, leg| core.sync_media(leg));
    }
}

/// What was called, if it can be a number of ours.
fn called(request: &Request) -> Option<Name> {
    let called = identity::called(request);
    let number = called.target.as_ref().map(|number| number.expose().to_owned());
    let user = called.target_user.as_ref().and_then(|user| user.expose_str());
    number.as_deref().or(user)?.parse().ok()
}

/// Who calls, as far as they let it be known.
fn caller(request: &Request, trust: identity::Trust) -> CallerNumber {
    let caller = identity::caller(request, trust);
    match (&caller.presentation, &caller.number) {
        (identity::Presentation::Allowed, Some(number)) => CallerNumber::new(number.expose()),
        _ => CallerNumber::default(),
    }
}

/// What an INVITE asks for, checked.
pub(crate) struct Checked {
    agreed: Option<Negotiated>,
    timer: Option<session_timer::SessionTimer>,
}

impl Core {
    /// Checks an INVITE and answers it where it cannot be taken.
    fn check_invite(
        &mut self,
        now: Now,
        server_tx: ServerTx,
        request: &Request,
        to_tag: &SipText,
    ) -> Option<Checked> {
        if next_max_forwards(request) == Hops::TooMany {
            self.refuse_call(now, server_tx, StatusCode::TOO_MANY_HOPS, "too many hops");
            return None;
        }
        if !self.understands(now, server_tx, request, to_tag) {
            self.note(Note::CallRefused { status: 420, why: "an unknown extension".into() });
            return None;
        }
        let timer = self.judge_timer(now, server_tx, request, to_tag)?;
        match self.read_offer(request) {
            Ok(agreed) => Some(Checked { agreed, timer }),
            Err((status, why)) => {
                self.refuse_call(now, server_tx, status, &why);
                None
            }
        }
    }

    /// What the offer of a request leads to: `None` when it has none, and we offer in the 200.
    pub(crate) fn read_offer(
        &self,
        request: &Request,
    ) -> Result<Option<Negotiated>, (StatusCode, String)> {
        match described(&request.headers, &request.body) {
            Described::Nothing => Ok(None),
            Described::Session(offer) => negotiate(&offer, &self.capabilities, Direction::SendRecv)
                .map(Some)
                .map_err(|error| (StatusCode::NOT_ACCEPTABLE_HERE, error.to_string())),
            Described::Foreign => {
                Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "a body that is no SDP".into()))
            }
            // The text of the error quotes the description.
            Described::Unreadable(error) => {
                let status = match error {
                    SdpError::NoStream => StatusCode::NOT_ACCEPTABLE_HERE,
                    SdpError::TooLong { .. } | SdpError::TooMany { .. } => {
                        StatusCode::REQUEST_ENTITY_TOO_LARGE
                    }
                    SdpError::BadLine { .. } | SdpError::Grammar(_) => StatusCode::BAD_REQUEST,
                };
                Err((status, "the session description cannot be used".into()))
            }
        }
    }

    /// The session timer that a request leads to; `None` when it was answered instead.
    pub(crate) fn judge_timer(
        &mut self,
        now: Now,
        server_tx: ServerTx,
        request: &Request,
        to_tag: &SipText,
    ) -> Option<Option<session_timer::SessionTimer>> {
        let Some(policy) = self.settings.session_timer else { return Some(None) };
        match session_timer::judge_request(request, &policy) {
            Ok(UasVerdict::Accept(timer)) => Some(timer),
            Ok(UasVerdict::TooSmall { min_se_s }) => {
                let response = session_timer::too_small_response(request, to_tag, min_se_s);
                self.respond(now, server_tx, &response);
                None
            }
            Err(_) => {
                self.answer(now, server_tx, StatusCode::BAD_REQUEST);
                None
            }
        }
    }

    fn caller_leg(
        &mut self,
        now: Now,
        id: LegId,
        trunk: TrunkId,
        dialog: Dialog,
        source: &Flow,
        checked: Checked,
    ) -> Leg {
        let origin = Origin::new(self.settings.udp.ip(), &mut self.prng);
        let description = LocalDescription::new(origin, SdpVersionBlock::first());
        let peer = address_of(dialog.next_hop()).unwrap_or(source.remote);
        let transport = leg_transport(source.transport);
        let mut sip = SipSide::new(now, transport, peer, Reach::ByContact, description);
        sip.dialog = Some(dialog);
        sip.connection = source.connection;
        sip.timer = checked.timer;
        sip.timer_policy = self.settings.session_timer;
        let relay = self.settings.relay.clone();
        let epoch = LegEpoch(1);
        let mut media = MediaSide::new(relay, Codec::Pcmu, now, epoch, &mut self.prng);
        if let Some(agreed) = &checked.agreed {
            media.agree(now, epoch, agreed, &mut self.prng);
            // Carriers send from the address that they name, not always from the same port.
            media.learn_from = media.remote.as_ref().map(|remote| remote.address.clone());
        }
        sip.agreed = checked.agreed;
        let owner = self.owner_of(id);
        Leg::new(id, epoch, owner, Kind::Caller(Some(trunk)), sip, media)
    }

    /// The relay has a socket: the log is asked for a place in the queue.
    pub(crate) fn admit(&mut self, now: Now, leg: &mut Leg) {
        let Stage::Allocating(mut pending) = std::mem::replace(&mut leg.stage, Stage::Over) else {
            return;
        };
        if pending.cancelled == Cancelled::Yes {
            self.pending.remove(&pending.server_tx);
            return self.forget_caller(leg);
        }
        let call = leg.sip.dialog.as_ref().and_then(|dialog| {
            let mut dialog = record::dialog(&leg.sip, dialog, Reserved::now(&leg.sip, dialog));
            // As it will be when the 200 is sent.
            dialog.stage = DialogStage::Confirmed;
            Some(AdmitCall {
                leg: leg.id,
                called: pending.called.clone(),
                caller: pending.caller.clone(),
                ingress: self.settings.site.clone(),
                dialog,
                media: record::media(&leg.media)?,
            })
        });
        let Some(call) = call else {
            leg.stage = Stage::Allocating(pending);
            return self.refuse_admission(now, leg, StatusCode::SERVER_INTERNAL_ERROR, "no socket");
        };
        let ticket = self.ticket(TicketUse::Admission(leg.id));
        pending.asking = Some(ticket);
        leg.stage = Stage::Admitting(pending);
        let command = Command::AdmitCall(Box::new(call));
        self.output(Output::Propose { ticket, command, within: ADMIT_WITHIN });
    }

    /// The log has decided about a caller.
    pub(crate) fn admitted(&mut self, now: Now, leg: &mut Leg, result: Result<Outcome, NoOutcome>) {
        let Stage::Admitting(pending) = &leg.stage else { return };
        // The log shows the leg already, so it was taken in, whatever became of the answer.
        let result = match &leg.view {
            Some(view) => Ok(Ok(Reply::CallAdmitted { contact: view.leg.contact })),
            None => result,
        };
        match (result, pending.cancelled) {
            // They left while the log took them in: they abandoned the queue.
            (Ok(Ok(_)), Cancelled::Yes) => self.leave(leg, LegEnd::PeerHungUp),
            (Ok(Err(_)) | Err(_), Cancelled::Yes) => {
                self.pending.remove(&pending.server_tx);
                self.forget_caller(leg);
            }
            // The log has ended the call again before it began.
            (Ok(Ok(_)), Cancelled::No) if is_ended(leg) => {
                let server_tx = pending.server_tx;
                let status = StatusCode::TEMPORARILY_UNAVAILABLE;
                self.refuse_call(now, server_tx, status, "ended before it was answered");
                self.leave(leg, LegEnd::Done);
            }
            (Ok(Ok(Reply::CallAdmitted { .. })), Cancelled::No) => self.welcome(now, leg),
            (Ok(Ok(_)), Cancelled::No) => {
                let status = StatusCode::SERVER_INTERNAL_ERROR;
                self.refuse_admission(now, leg, status, "an unexpected reply of the log");
            }
            (Ok(Err(rejection)), Cancelled::No) => {
                let (status, why) = refusal(&rejection);
                self.refuse_admission(now, leg, status, why);
            }
            // Not done, or not known: the carrier shall move on. Should it have been done after all,
            // the leg appears in the log without us, and is ended then.
            (Err(_), Cancelled::No) => {
                let status = StatusCode::SERVICE_UNAVAILABLE;
                self.refuse_admission(now, leg, status, "no quorum took the call in time");
            }
        }
    }

    /// The caller is in the queue: answered, with music.
    fn welcome(&mut self, now: Now, leg: &mut Leg) {
        let Stage::Admitting(pending) = std::mem::replace(&mut leg.stage, Stage::Established)
        else {
            return;
        };
        self.pending.remove(&pending.server_tx);
        if let Some(dialog) = leg.sip.dialog.as_mut() {
            dialog.confirm();
        }
        let agreed = leg.sip.agreed.clone();
        match self.ok(now, leg, pending.server_tx, &pending.request, agreed.as_ref()) {
            Some(ok) => {
                self.send_ok(now, leg, ok);
                self.note(Note::CallAnswered { leg: leg.id });
                self.sync_media(leg);
            }
            None => {
                self.answer(now, pending.server_tx, StatusCode::SERVER_INTERNAL_ERROR);
                self.leave(leg, LegEnd::Failed);
            }
        }
    }

    /// The 200 to an INVITE of the peer: with our answer when it had an offer, which led to `agreed`,
    /// else with our offer. `None` when no description can be written now.
    pub(crate) fn ok(
        &mut self,
        now: Now,
        leg: &mut Leg,
        server_tx: ServerTx,
        request: &Request,
        agreed: Option<&Negotiated>,
    ) -> Option<OkSent> {
        let local = local_media(leg)?;
        let (body, offered) = match agreed {
            Some(agreed) if !request.body.is_empty() => {
                (answer(agreed, &local, &mut leg.sip.description).ok()?, None)
            }
            agreed => {
                let capabilities = self.capabilities_for(leg.media.codec);
                let (body, offered) =
                    offer(&capabilities, agreed, &local, &mut leg.sip.description).ok()?;
                (body, Some(offered))
            }
        };
        let response = self.sip.response_for(server_tx, StatusCode::OK).ok()?;
        let mut response = Self::describe_us(response).with_body(SDP, body);
        let contact = self.contact(leg.id, sip_transport(leg.sip.transport));
        response.headers.push_address(HeaderName::Contact, &contact);
        if let Some(timer) = &leg.sip.timer {
            session_timer::accept(&mut response, request, timer);
        }
        let again = OkRetransmission::new(now.instant, &TimerConfig::default());
        Some(OkSent { server_tx, response, again, offered })
    }

    /// Sends a 200, again until it is acknowledged.
    pub(crate) fn send_ok(&mut self, now: Now, leg: &mut Leg, ok: OkSent) {
        self.respond(now, ok.server_tx, &ok.response);
        self.set_timer(leg.id, TimerKind::Ok, ok.again.poll_timeout());
        leg.sip.glare.theirs_began();
        leg.sip.stated = leg.media.local.clone();
        leg.sip.ok = Some(ok);
        leg.sip.refreshed = now.instant;
        self.start_session_timer(leg);
    }

    /// Refuses a caller who was on the way into the queue.
    pub(crate) fn refuse_admission(
        &mut self,
        now: Now,
        leg: &mut Leg,
        status: StatusCode,
        why: &str,
    ) {
        let Some(pending) = leg.stage.pending() else { return };
        let (server_tx, cancelled) = (pending.server_tx, pending.cancelled);
        self.pending.remove(&server_tx);
        match (cancelled, status) {
            // Answered with 487 already.
            (Cancelled::Yes, _) => {}
            (Cancelled::No, StatusCode::SERVICE_UNAVAILABLE) => {
                self.refuse_busy(now, server_tx, why);
            }
            (Cancelled::No, status) => self.refuse_call(now, server_tx, status, why),
        }
        self.forget_caller(leg);
    }

    /// A caller who never got into the queue is forgotten.
    fn forget_caller(&mut self, leg: &mut Leg) {
        leg.stage = Stage::Over;
        self.release_media(leg);
        leg.life = LegLife::Over;
    }

    /// A caller whom the log knows, and who was not answered, is over.
    fn leave(&mut self, leg: &mut Leg, how: LegEnd) {
        if let Some(pending) = leg.stage.pending() {
            self.pending.remove(&pending.server_tx);
        }
        leg.stage = Stage::Over;
        self.release_media(leg);
        self.tell(leg, Fact::Ended(how));
    }

    /// The caller gave up before the answer.
    pub(crate) fn caller_cancels(&mut self, now: Now, leg: &mut Leg) {
        let (Stage::Allocating(pending) | Stage::Admitting(pending)) = &mut leg.stage else {
            return;
        };
        if pending.cancelled == Cancelled::No {
            pending.cancelled = Cancelled::Yes;
            let server_tx = pending.server_tx;
            self.answer(now, server_tx, StatusCode::REQUEST_TERMINATED);
        }
    }

    pub(crate) fn refuse_call(
        &mut self,
        now: Now,
        server_tx: ServerTx,
        status: StatusCode,
        why: &str,
    ) {
        self.note(Note::CallRefused { status: status.code(), why: why.to_owned() });
        self.answer(now, server_tx, status);
    }

    pub(crate) fn refuse_busy(&mut self, now: Now, server_tx: ServerTx, why: &str) {
        self.note(Note::CallRefused { status: 503, why: why.to_owned() });
        self.answer_unavailable(now, server_tx);
    }
}

fn is_ended(leg: &Leg) -> bool {
    leg.view.as_ref().is_some_and(|view| matches!(view.goal, Goal::End { .. }))
}

/// Our end of the audio, as our SDP states it.
pub(crate) fn local_media(leg: &Leg) -> Option<LocalMedia> {
    let local = leg.media.local.as_ref()?;
    Some(LocalMedia {
        address: local.address.parse().ok()?,
        port: local.port,
        rtcp_port: None,
        crypto: Vec::new(),
        direction: Direction::SendRecv,
    })
}

pub(crate) fn leg_transport(transport: Transport) -> LegTransport {
    match transport {
        Transport::Udp => LegTransport::Udp,
        Transport::Tcp | Transport::Tls => LegTransport::Tcp,
    }
}

pub(crate) fn sip_transport(transport: LegTransport) -> Transport {
    match transport {
        LegTransport::Udp => Transport::Udp,
        LegTransport::Tcp => Transport::Tcp,
    }
}

/// What a carrier is told when the log refuses a call, and the rule in words: the log's own text
/// names what was dialled.
fn refusal(rejection: &Rejection) -> (StatusCode, &'static str) {
    match rejection {
        Rejection::Queue(QueueRejection::NumberMustExist(_)) => {
            (StatusCode::NOT_FOUND, "the number leads to no queue")
        }
        // Full: no other site would take it either, so not 503.
        Rejection::Queue(QueueRejection::QueueMustHaveRoom(..)) => {
            (StatusCode::BUSY_HERE, "the queue is full")
        }
        Rejection::Queue(QueueRejection::QueueMustTakeCallers(_)) => {
            (StatusCode::TEMPORARILY_UNAVAILABLE, "the queue takes no callers now")
        }
        Rejection::Queue(QueueRejection::QueueMustBeOpen(_)) => {
            (StatusCode::TEMPORARILY_UNAVAILABLE, "the queue is closed by its opening hours")
        }
        // RFC 3261, 21.6.2: the callee does not wish to take it, and no other place would.
        Rejection::Queue(QueueRejection::CallerMustBeWelcome(_)) => {
            (StatusCode::DECLINE, "a list of the number refuses the caller")
        }
        Rejection::Queue(QueueRejection::QuotaMustHaveRoom(..)) => {
            (StatusCode::BUSY_HERE, "the tenant has as many contacts as it may")
        }
        Rejection::Queue(QueueRejection::SiteMustBeOpen(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the site is closed")
        }
        Rejection::Queue(QueueRejection::LimitReached { .. }) | Rejection::LimitReached { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "a limit of the cluster is reached")
        }
        Rejection::Fenced { .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, "the life of this node ended")
        }
        Rejection::Malformed(_) => (StatusCode::BAD_REQUEST, "the dialog is over the limits"),
        _ => (StatusCode::SERVER_INTERNAL_ERROR, "the log refuses the call"),
    }
}

//! One call as one phone or caller has it: its record, and its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};

use super::config::{AnswerPolicy, CallPlan, Server};
use super::dialog::Dialog;
use super::session::Session;
use super::{CallerId, Core, LegId, LegTimer, PhoneId, Timer};
use crate::error::PhoneError;
use crate::event::EventKind;
use crate::io::{EndpointId, Flow, WavJob};
use crate::limits::{
    ANOMALIES_LISTED_MAX, CALLS_KEPT_PER_PHONE_MAX, MODIFICATIONS_LISTED_MAX, REPORTS_KEPT_MAX,
};
use crate::media::{SenderTag, Stream};
use crate::report::{
    Anomaly, AnomalySeen, CallKey, CallReport, CallState, EndCause, MediaReport, Modification, Role,
};
use crate::sip::{DigestUse, Message, Method, Received};
use crate::time::{RunTime, TimerId};
use crate::transaction::ServerKey;

/// Whose leg it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Phone(PhoneId),
    Caller(CallerId),
}

/// What a handle sees of a call without asking the world's thread.
#[derive(Clone, Debug)]
pub(crate) struct LegView {
    pub(crate) state: CallState,
    /// Rises with everything that happens to the call.
    pub(crate) revision: u64,
    /// Once the call is over.
    pub(crate) report: Option<Arc<CallReport>>,
}

/// The INVITE that made a callee's leg.
#[derive(Debug)]
pub(crate) struct IncomingInvite {
    pub(crate) key: ServerKey,
    pub(crate) request: Received,
    pub(crate) policy: AnswerPolicy,
}

/// The INVITE that a caller's leg sent.
#[derive(Debug)]
pub(crate) struct SentInvite {
    pub(crate) plan: CallPlan,
    pub(crate) nodes: Vec<Server>,
    /// Index into `nodes` of the one tried now.
    pub(crate) at: usize,
    pub(crate) call_id: String,
    pub(crate) cseq: u32,
    pub(crate) branch: String,
    pub(crate) auth: Option<DigestUse>,
    pub(crate) challenges: u32,
    pub(crate) stage: InviteStage,
}

/// How far the INVITE of a caller's leg is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InviteStage {
    /// Nothing came yet.
    Sent,
    /// 100 came.
    Trying,
    /// Another 1xx came.
    Progress,
    /// A final response came.
    Final,
}

/// A 2xx to an INVITE that waits for its ACK (RFC 3261 13.3.1.4).
#[derive(Debug)]
pub(crate) struct PendingAck {
    pub(crate) cseq: u32,
    pub(crate) flow: Flow,
    pub(crate) bytes: Bytes,
    pub(crate) interval_ms: u64,
    pub(crate) give_up_at: RunTime,
    pub(crate) retransmit: TimerId,
    /// The 2xx carried an offer: the ACK must bring the answer.
    pub(crate) wants_answer: WantsAnswer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WantsAnswer {
    Yes,
    No,
}

/// A re-INVITE of this side that is under way.
#[derive(Debug)]
pub(crate) struct OwnModify {
    pub(crate) branch: String,
    pub(crate) cseq: u32,
    /// What the session goes back to when it fails.
    pub(crate) before: crate::sip::Direction,
    pub(crate) retries: u32,
    pub(crate) stage: ModifyStage,
    pub(crate) done: Option<oneshot::Sender<Result<(), PhoneError>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModifyStage {
    /// The INVITE is on its way.
    Sent,
    /// 491: waits for its turn.
    Waiting,
}

/// One call of one side.
pub(crate) struct Leg {
    pub(crate) id: LegId,
    pub(crate) owner: Owner,
    pub(crate) endpoint: EndpointId,
    pub(crate) local_tag: String,
    pub(crate) contact: String,
    pub(crate) dialog: Option<Dialog>,
    pub(crate) session: Option<Session>,
    pub(crate) incoming: Option<IncomingInvite>,
    pub(crate) sent: Option<SentInvite>,
    pub(crate) pending_ack: Option<PendingAck>,
    pub(crate) modify: Option<OwnModify>,
    /// What the end will be called once BYE or CANCEL is through.
    pub(crate) ending: Option<EndCause>,
    /// BYE must wait for the ACK (RFC 3261 15).
    pub(crate) bye_after_ack: Option<EndCause>,
    /// Where the other side's signalling came from last.
    pub(crate) peer_source: Option<SocketAddr>,
    pub(crate) hang_up_after_agent_ms: Option<u64>,
    pub(crate) wav: Option<PathBuf>,
    pub(crate) timers: Vec<TimerId>,
    /// First INVITE received or sent, for those who want to look at its headers.
    pub(crate) first_invite: Option<Message>,
    pub(crate) report: CallReport,
    pub(crate) view: watch::Sender<LegView>,
}

/// What a new leg must know.
pub(crate) struct NewLeg {
    pub(crate) owner: Owner,
    pub(crate) label: String,
    pub(crate) role: Role,
    pub(crate) call: CallKey,
    pub(crate) endpoint: EndpointId,
    pub(crate) local_tag: String,
    pub(crate) contact: String,
    pub(crate) tag: SenderTag,
}

impl Leg {
    pub(crate) fn new(id: LegId, now: RunTime, new: NewLeg) -> Self {
        let state = CallState::Started;
        let (view, _) = watch::channel(LegView { state, revision: 0, report: None });
        let report = CallReport {
            phone: new.label,
            role: new.role,
            call: new.call,
            sender_tag: new.tag,
            state,
            started_us: now,
            ringing_us: None,
            early_media_us: None,
            answered_us: None,
            established_us: None,
            ended_us: None,
            end: None,
            attempts: Vec::new(),
            modifications: Vec::new(),
            modifications_count: 0,
            takeovers: 0,
            remote_target: None,
            anomalies: Vec::new(),
            anomalies_count: 0,
            ok_retransmissions: 0,
            ok_repeats_received: 0,
            media: MediaReport::default(),
        };
        Self {
            id,
            owner: new.owner,
            endpoint: new.endpoint,
            local_tag: new.local_tag,
            contact: new.contact,
            dialog: None,
            session: None,
            incoming: None,
            sent: None,
            pending_ack: None,
            modify: None,
            ending: None,
            bye_after_ack: None,
            peer_source: None,
            hang_up_after_agent_ms: None,
            wav: None,
            timers: Vec::new(),
            first_invite: None,
            report,
            view,
        }
    }

    pub(crate) const fn state(&self) -> CallState {
        self.report.state
    }

    pub(crate) fn set_state(&mut self, state: CallState) {
        self.report.state = state;
    }

    /// The dialog is confirmed and no BYE is under way.
    pub(crate) const fn is_talking(&self) -> bool {
        matches!(self.report.state, CallState::Answered | CallState::Established)
    }

    pub(crate) fn note_modification(&mut self, modification: Modification) {
        self.report.modifications_count += 1;
        if self.report.modifications.len() < MODIFICATIONS_LISTED_MAX {
            self.report.modifications.push(modification);
        }
    }

    /// Tells handles that something changed.
    pub(crate) fn touch(&self) {
        self.view.send_modify(|view| {
            view.state = self.report.state;
            view.revision += 1;
        });
    }
}

impl Core {
    /// Sets a timer that dies with the leg.
    pub(crate) fn set_leg_timer(&mut self, leg: LegId, after_ms: u64, timer: LegTimer) -> TimerId {
        let id = self.timers.set(self.now.plus_ms(after_ms), Timer::Leg(leg, timer));
        if let Some(leg) = self.legs.get_mut(&leg) {
            leg.timers.push(id);
        }
        id
    }

    /// Writes an event about a leg and wakes who waits for it.
    pub(crate) fn tell_leg(&mut self, id: LegId, kind: EventKind) {
        let Some(leg) = self.legs.get(&id) else { return };
        leg.touch();
        let (phone, call) = (leg.report.phone.clone(), leg.report.call.clone());
        self.tell(phone, Some(call), kind);
    }

    /// Notes something strange about a leg.
    pub(crate) fn note_anomaly(&mut self, id: LegId, anomaly: Anomaly) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.report.anomalies_count += 1;
        if leg.report.anomalies.len() < ANOMALIES_LISTED_MAX {
            leg.report.anomalies.push(AnomalySeen { at_us: now, anomaly: anomaly.clone() });
        }
        self.tell_leg(id, EventKind::Anomaly { anomaly });
    }

    /// The report as it stands; final when the call is over.
    pub(crate) fn snapshot(&self, id: LegId) -> Option<CallReport> {
        let leg = self.legs.get(&id)?;
        let mut report = leg.report.clone();
        report.remote_target = leg.dialog.as_ref().map(|dialog| host_port(&dialog.remote_target));
        if let Some(session) = &leg.session
            && let Some(media) = self.media.report(self.now, session.stream)
        {
            report.media = media;
        }
        self.name_senders(&mut report.media);
        Some(report)
    }

    fn name_senders(&self, media: &mut MediaReport) {
        for sender in &mut media.senders {
            sender.label = self.tag_labels.get(&sender.tag).cloned();
        }
    }

    /// The leg's audio, while it has one.
    pub(crate) fn stream_of(&mut self, id: LegId) -> Option<&mut Stream> {
        let stream = self.legs.get(&id)?.session.as_ref()?.stream;
        self.media.get(stream)
    }

    /// Keeps what the leg hears from now on, for a file.
    ///
    /// # Errors
    /// `CallEnded`.
    pub(crate) fn record_leg(&mut self, id: LegId, file: PathBuf) -> Result<(), PhoneError> {
        let now = self.now;
        // Before the answer there is no stream yet: the recording begins with it.
        if let Some(stream) = self.stream_of(id) {
            stream.record(now);
        }
        let leg = self.legs.get_mut(&id).ok_or(PhoneError::CallEnded)?;
        leg.wav = Some(file);
        Ok(())
    }

    /// Stops the leg's audio; what was heard stays in its report.
    pub(crate) fn end_media(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(session) = leg.session.take() else { return };
        let removed = self.media.remove(self.now, session.stream, &mut *self.io);
        self.io.close_media(session.stream);
        self.tell_media_events();
        let Some((media, recording)) = removed else { return };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.report.media = media;
        if let (Some(path), Some(bytes)) = (leg.wav.take(), recording) {
            let (phone, call) = (leg.report.phone.clone(), leg.report.call.clone());
            self.io.write_wav(WavJob { phone, call, path, bytes });
        }
    }

    /// Ends a leg for good: no message leaves because of this.
    pub(crate) fn finish(&mut self, id: LegId, cause: EndCause) {
        self.end_media(id);
        let now = self.now;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let mut modify = leg.modify.take();
        if let Some(done) = modify.as_mut().and_then(|modify| modify.done.take()) {
            // Whoever asked may be gone; then nobody misses the answer.
            drop(done.send(Err(PhoneError::CallEnded)));
        }
        leg.report.ended_us = Some(now);
        leg.report.end = Some(cause);
        leg.set_state(CallState::Ended);
        let Some(report) = self.snapshot(id) else { return };
        let Some(leg) = self.legs.remove(&id) else { return };
        for timer in &leg.timers {
            self.timers.cancel(*timer);
        }
        if let Some(pending) = &leg.pending_ack {
            self.timers.cancel(pending.retransmit);
        }
        if let Some(incoming) = &leg.incoming {
            self.transactions.ignore(now, &incoming.key);
        }
        if let Some(modify) = modify {
            self.transactions.forget_client(&modify.branch, Method::Invite);
        }
        if let Some(sent) = leg.sent.as_ref().filter(|sent| sent.stage != InviteStage::Final) {
            // Whatever comes now belongs to nobody.
            self.transactions.forget_client(&sent.branch, Method::Invite);
        }
        self.by_local_tag.remove(&leg.local_tag);
        self.forget_leg_of_owner(&leg);
        self.publish(&leg, report);
    }

    fn forget_leg_of_owner(&mut self, leg: &Leg) {
        if let Owner::Phone(phone) = leg.owner
            && let Some(phone) = self.phones.get_mut(&phone)
        {
            phone.legs.retain(|kept| *kept != leg.id);
        }
    }

    fn publish(&mut self, leg: &Leg, report: CallReport) {
        let report = Arc::new(report);
        leg.view.send_modify(|view| {
            view.state = CallState::Ended;
            view.revision += 1;
            view.report = Some(Arc::clone(&report));
        });
        if self.reports.len() == REPORTS_KEPT_MAX {
            self.reports.pop_front();
            self.reports_dropped += 1;
        }
        self.reports.push_back(Arc::clone(&report));
        let (phone, call) = (report.phone.clone(), report.call.clone());
        let boxed = Box::new(Arc::unwrap_or_clone(report));
        self.tell(phone, Some(call), EventKind::Ended { report: boxed });
    }

    /// Lets [`crate::Phone::wait_call`] find an incoming call.
    pub(crate) fn announce(&mut self, phone: PhoneId, leg: LegId) {
        let Some(view) = self.legs.get(&leg).map(|leg| leg.view.subscribe()) else { return };
        let Some(phone) = self.phones.get_mut(&phone) else { return };
        if phone.calls.len() == CALLS_KEPT_PER_PHONE_MAX {
            phone.calls.pop_front();
            phone.calls_forgotten += 1;
        }
        phone.calls.push_back((leg, view));
        phone.calls_seen.send_modify(|count| *count += 1);
    }
}

/// Host and port of a URI: what may stand in reports.
pub(crate) fn host_port(uri: &str) -> String {
    match crate::sip::Uri::parse(uri) {
        Ok(crate::sip::Uri::Sip(uri)) => match uri.port {
            Some(port) => format!("{}:{port}", uri.host),
            None => uri.host.to_string(),
        },
        _ => String::from("not a SIP URI"),
    }
}

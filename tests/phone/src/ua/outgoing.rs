//! Calls that go out: INVITE, its responses, the carrier's failover, CANCEL.

use std::net::IpAddr;

use super::config::{CallPlan, CallerConfig, FailoverIdentity, HangUp, Patience, Server};
use super::dialog::Dialog;
use super::leg::{InviteStage, NewLeg, Owner, SentInvite};
use super::phones::contact_of;
use super::session::Session;
use super::{ALLOW, CallerId, Core, Leg, LegId, LegTimer, TxUser, call_key};
use crate::error::PhoneError;
use crate::event::EventKind;
use crate::io::{Flow, Transport};
use crate::limits::{CHALLENGES_MAX, LEGS_MAX, NODES_MAX};
use crate::report::{Anomaly, Attempt, CallState, EndCause, Heard, Role};
use crate::sip::{Challenge, DigestUse, Host, Message, Method, Received, SipUri};
use crate::transaction::Outgoing;

impl Core {
    /// Places a call.
    ///
    /// # Errors
    /// No node to call, a limit, or no media sockets.
    pub(crate) fn place_call(
        &mut self,
        caller: CallerId,
        plan: CallPlan,
    ) -> Result<LegId, PhoneError> {
        let state = self.callers.get_mut(&caller).ok_or(PhoneError::Gone)?;
        state.calls_total += 1;
        let label = format!("{}#{}", state.config.label, state.calls_total);
        let endpoint = state.endpoint;
        let config = state.config.clone();
        let nodes = plan.nodes.clone().unwrap_or_else(|| config.nodes.clone());
        check_call(&plan, &nodes)?;
        if self.legs.len() >= LEGS_MAX {
            return Err(PhoneError::Limit { what: "calls", limit: LEGS_MAX });
        }
        let address = self.endpoints.get(&endpoint).ok_or(PhoneError::Gone)?.address;
        let (local_tag, call_id) = (self.dice.token(), self.new_call_id());
        let tag = self.new_sender_tag(&label);
        let id = self.next_leg_id();
        let mut audio = config.audio;
        audio.sent = plan.sent.unwrap_or(audio.sent);
        let (stream, port) = self.open_stream(id, address.ip(), tag, &audio)?;
        let session = Session::new(stream, address.ip(), port, &audio, &mut self.dice);
        let (codecs, event) = session.offered_formats();
        let now = self.now;
        if let Some(stream) = self.media.get(stream) {
            stream.set_receive_formats(&codecs, event);
            if plan.wav.is_some() {
                stream.record(now);
            }
        }
        let new = NewLeg {
            owner: Owner::Caller(caller),
            label,
            role: Role::Caller,
            call: call_key(&call_id, &local_tag),
            endpoint,
            local_tag: local_tag.clone(),
            contact: contact_of(&plan.from_number, address, nodes_transport(&nodes)),
            tag,
        };
        let mut leg = Leg::new(id, self.now, new);
        leg.session = Some(session);
        leg.wav.clone_from(&plan.wav);
        let patience = plan.patience;
        leg.sent = Some(SentInvite {
            plan,
            nodes,
            at: 0,
            call_id,
            cseq: 1,
            branch: String::new(),
            auth: None,
            challenges: 0,
            stage: InviteStage::Sent,
        });
        self.legs.insert(id, leg);
        self.by_local_tag.insert(local_tag, id);
        self.set_patience(id, patience);
        self.send_invite(id);
        Ok(id)
    }

    fn set_patience(&mut self, id: LegId, patience: Patience) {
        match patience {
            Patience::Endless => {}
            Patience::UntilAnswered { ms } => {
                self.set_leg_timer(id, ms, LegTimer::AnswerPatience);
            }
            Patience::UntilAgentHeard { ms } => {
                self.set_leg_timer(id, ms, LegTimer::AgentPatience);
            }
        }
    }

    pub(crate) fn new_call_id(&mut self) -> String {
        format!("{}{}", self.dice.token(), self.dice.token())
    }

    fn config_of(&self, leg: &Leg) -> Option<&CallerConfig> {
        let Owner::Caller(caller) = leg.owner else { return None };
        self.callers.get(&caller).map(|state| &state.config)
    }

    /// Sends the INVITE to the node whose turn it is.
    fn send_invite(&mut self, id: LegId) {
        let Some((node, endpoint)) = self.legs.get(&id).and_then(|leg| {
            let sent = leg.sent.as_ref()?;
            Some((*sent.nodes.get(sent.at)?, leg.endpoint))
        }) else {
            return;
        };
        let flow = Flow { endpoint, transport: node.transport, remote: node.address };
        let via = self.new_via(flow);
        let Some(own) = self.endpoints.get(&endpoint).map(|known| known.address.ip()) else {
            return;
        };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(message) = invite_of(leg, node, via, own) else { return };
        if leg.first_invite.is_none() {
            leg.first_invite = Some(message.clone());
        }
        leg.report.attempts.push(Attempt { at_us: self.now, node: node.address, outcome: None });
        let tag = leg.report.sender_tag;
        let (give_up_ms, progress_ms) = match self.legs.get(&id).and_then(|leg| self.config_of(leg))
        {
            Some(config) => (config.failover_after_ms, config.progress_after_ms),
            None => (None, None),
        };
        let branch = self.start(Outgoing { message, flow }, TxUser::Invite(id), give_up_ms);
        if let Some(sent) = self.legs.get_mut(&id).and_then(|leg| leg.sent.as_mut()) {
            sent.branch = branch;
            sent.stage = InviteStage::Sent;
        }
        if let Some(ms) = progress_ms {
            self.set_leg_timer(id, ms, LegTimer::NoProgress);
        }
        self.tell_leg(id, EventKind::InviteSent { to: node.address, sender_tag: tag });
    }

    /// A response to the INVITE of a caller.
    pub(crate) fn on_invite_response(&mut self, id: LegId, flow: Flow, response: &Received) {
        let code = response.message.code().unwrap_or_default();
        let Some(leg) = self.legs.get_mut(&id) else {
            // The leg is gone (its wire was cut): nobody is there to acknowledge.
            return;
        };
        leg.peer_source = Some(flow.remote);
        let is_cancelled = leg.ending.is_some();
        match code {
            100..=199 => self.on_provisional(id, flow, response, code),
            200..=299 => self.on_accepted(id, flow, response),
            401 | 407 if !is_cancelled && self.answer_challenge(id, response, code) => {}
            _ => self.on_refused(id, response, code),
        }
    }

    fn on_provisional(&mut self, id: LegId, flow: Flow, response: &Received, code: u16) {
        let now = self.now;
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(sent) = &mut leg.sent else { return };
        let is_first = sent.stage == InviteStage::Sent;
        let stage = if code == 100 { InviteStage::Trying } else { InviteStage::Progress };
        if code > 100 || is_first {
            sent.stage = stage;
        }
        if leg.ending.is_some() {
            // CANCEL had to wait for a provisional response (RFC 3261 9.1).
            if is_first {
                self.send_cancel(id);
            }
            return;
        }
        if code == 100 {
            return leg.touch();
        }
        leg.report.ringing_us.get_or_insert(now);
        leg.set_state(CallState::Ringing);
        let other_tag = leg
            .dialog
            .as_ref()
            .is_some_and(|known| Some(known.id.remote_tag.as_str()) != response.to.tag());
        if let Some(dialog) = Dialog::of_response(response, flow) {
            leg.dialog = Some(dialog);
        }
        if other_tag {
            self.note_anomaly(id, Anomaly::AnotherTag { code });
        }
        if let Some(body) = response.message.sdp()
            && self.take_answer(id, Some(body))
            && let Some(leg) = self.legs.get_mut(&id)
        {
            leg.report.early_media_us.get_or_insert(now);
        }
        self.tell_leg(id, EventKind::Ringing { code });
    }

    fn on_accepted(&mut self, id: LegId, flow: Flow, response: &Received) {
        let now = self.now;
        let Some(mut dialog) = Dialog::of_response(response, flow) else {
            return self.finish(id, EndCause::BadSdp);
        };
        let Some(leg) = self.legs.get_mut(&id) else { return };
        // A BYE or re-INVITE may have come within the early dialog; its numbers count on.
        if let Some(early) = leg.dialog.as_ref().filter(|early| early.id == dialog.id) {
            dialog.remote_cseq = early.remote_cseq;
            dialog.local_cseq = dialog.local_cseq.max(early.local_cseq);
        }
        let Some(sent) = &mut leg.sent else { return };
        sent.stage = InviteStage::Final;
        let (branch, hang_up) = (sent.branch.clone(), sent.plan.hang_up);
        set_outcome(leg, "200");
        let tag = dialog.id.remote_tag.clone();
        let ack = self.request_within(&mut dialog, Method::Ack, Some(response.cseq.number));
        self.transactions.acknowledge(&branch, ack, Some(&tag));
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.dialog = Some(dialog);
        leg.report.answered_us = Some(now);
        leg.report.established_us = Some(now);
        leg.set_state(CallState::Established);
        if let Some(cause) = leg.ending.take() {
            // The 200 crossed the CANCEL (RFC 3261 9.1, 15).
            return self.send_bye(id, cause);
        }
        let had_early_answer = leg.report.early_media_us.is_some();
        let body = response.message.sdp();
        let is_answered = match body {
            Some(_) => self.take_answer(id, body),
            None => had_early_answer,
        };
        self.tell_leg(id, EventKind::Answered);
        if !is_answered {
            return self.send_bye(id, EndCause::BadSdp);
        }
        match hang_up {
            HangUp::WhenTold => {}
            HangUp::AfterAnswer { ms } => {
                self.set_leg_timer(id, ms, LegTimer::HangUp);
            }
            HangUp::AfterAgentHeard { ms } => self.hang_up_after_agent(id, ms),
        }
    }

    /// The agent may have been heard before the 200 (early media).
    fn hang_up_after_agent(&mut self, id: LegId, ms: u64) {
        let has_heard = self.has_heard_agent(id);
        if has_heard {
            self.set_leg_timer(id, ms, LegTimer::HangUp);
        } else if let Some(leg) = self.legs.get_mut(&id) {
            leg.hang_up_after_agent_ms = Some(ms);
        }
    }

    fn has_heard_agent(&self, id: LegId) -> bool {
        let session = self.legs.get(&id).and_then(|leg| leg.session.as_ref());
        let report = session.and_then(|session| self.media.report(self.now, session.stream));
        report.is_some_and(|report| !report.senders.is_empty())
    }

    /// Something else is heard: an agent's voice may start the clock of the talk.
    pub(crate) fn on_heard(&mut self, id: LegId, heard: &Heard) {
        if !matches!(heard, Heard::Sender { .. }) {
            return;
        }
        let after = self.legs.get_mut(&id).and_then(|leg| leg.hang_up_after_agent_ms.take());
        if let Some(ms) = after {
            self.set_leg_timer(id, ms, LegTimer::HangUp);
        }
    }

    /// Sends the INVITE again with credentials. False when that cannot help.
    fn answer_challenge(&mut self, id: LegId, response: &Received, code: u16) -> bool {
        let Some(credentials) = self
            .legs
            .get(&id)
            .and_then(|leg| self.config_of(leg))
            .and_then(|c| c.credentials.clone())
        else {
            return false;
        };
        let header = if code == 401 { "WWW-Authenticate" } else { "Proxy-Authenticate" };
        let lines = response.message.lines(header);
        let Ok(challenge) = Challenge::choose(lines, credentials.algorithm) else { return false };
        let cnonce = self.dice.token();
        let Some(sent) = self.legs.get_mut(&id).and_then(|leg| leg.sent.as_mut()) else {
            return false;
        };
        if sent.challenges >= CHALLENGES_MAX {
            return false;
        }
        sent.challenges += 1;
        sent.cseq += 1;
        let mut auth = DigestUse::new(challenge);
        let Some(node) = sent.nodes.get(sent.at) else { return false };
        let uri = node_uri(&sent.plan.number, *node);
        let value = auth.authorize(&credentials, &Method::Invite, &uri, &cnonce);
        let name = if code == 401 { "Authorization" } else { "Proxy-Authorization" };
        sent.plan.headers.retain(|(n, _)| n != name);
        sent.plan.headers.push((name.to_owned(), value));
        sent.auth = Some(auth);
        self.send_invite(id);
        true
    }

    fn on_refused(&mut self, id: LegId, response: &Received, code: u16) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let phrase = match &response.message.head {
            crate::sip::Head::Response { reason, .. } => reason.clone(),
            crate::sip::Head::Request { .. } => String::new(),
        };
        if let Some(sent) = &mut leg.sent {
            sent.stage = InviteStage::Final;
        }
        set_outcome(leg, &code.to_string());
        if leg.ending.is_some() {
            return self.finish_ending(id);
        }
        self.tell_leg(id, EventKind::Rejected { code, phrase: phrase.clone() });
        let retry_after_s = response.message.header("Retry-After").and_then(|value| {
            value.split([' ', ';', '(']).next().and_then(|text| text.parse().ok())
        });
        let cause = EndCause::RejectedThere { code, phrase, retry_after_s };
        let config = self.legs.get(&id).and_then(|leg| self.config_of(leg));
        if config.is_some_and(|config| config.failover_codes.contains(&code)) {
            self.try_next_node(id, &code.to_string(), cause);
        } else {
            self.finish(id, cause);
        }
    }

    /// As a carrier would: the next address, or the end.
    pub(crate) fn try_next_node(&mut self, id: LegId, reason: &str, cause: EndCause) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        set_outcome(leg, reason);
        if leg.ending.is_some() {
            return self.finish_ending(id);
        }
        let Some(sent) = &mut leg.sent else { return };
        let next = sent.at + 1;
        let (Some(from), Some(to)) = (sent.nodes.get(sent.at), sent.nodes.get(next)) else {
            return self.finish(id, cause);
        };
        let (from, to) = (from.address, to.address);
        sent.at = next;
        sent.challenges = 0;
        leg.dialog = None;
        leg.set_state(CallState::Started);
        let stream = leg.session.as_mut().map(|session| {
            session.forget_remote();
            session.stream
        });
        if let Some(stream) = stream {
            self.media.detach(self.now, stream);
        }
        self.renew_identity(id);
        self.tell_leg(id, EventKind::TriesNextNode { from, to, reason: reason.to_owned() });
        self.send_invite(id);
    }

    fn renew_identity(&mut self, id: LegId) {
        let identity =
            self.legs.get(&id).and_then(|leg| self.config_of(leg)).map(|c| c.failover_identity);
        if identity != Some(FailoverIdentity::NewCallId) {
            return;
        }
        let (call_id, tag) = (self.new_call_id(), self.dice.token());
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let before = std::mem::replace(&mut leg.local_tag, tag.clone());
        leg.report.call = call_key(&call_id, &tag);
        if let Some(sent) = &mut leg.sent {
            sent.call_id = call_id;
            sent.cseq = 1;
        }
        self.by_local_tag.remove(&before);
        self.by_local_tag.insert(tag, id);
    }

    /// Only 100 came, and the carrier's timer ran out.
    pub(crate) fn on_no_progress(&mut self, id: LegId) {
        let sent =
            self.legs.get(&id).filter(|leg| leg.ending.is_none()).and_then(|leg| leg.sent.as_ref());
        let Some(sent) = sent.filter(|sent| sent.stage == InviteStage::Trying) else { return };
        let branch = sent.branch.clone();
        if let Some(cancel) = self.transactions.cancel_of(&branch) {
            self.start(cancel, TxUser::Nobody, None);
        }
        // A late answer of that node is then stray: acknowledged and ended.
        self.transactions.forget_client(&branch, Method::Invite);
        self.try_next_node(id, "no progress", EndCause::NoResponse);
    }

    pub(crate) fn on_answer_patience(&mut self, id: LegId) {
        if self.legs.get(&id).is_some_and(|leg| leg.report.answered_us.is_none()) {
            self.hang_up(id);
        }
    }

    pub(crate) fn on_agent_patience(&mut self, id: LegId) {
        if !self.has_heard_agent(id) {
            self.hang_up(id);
        }
    }

    /// Gives up a call that was not answered yet.
    pub(crate) fn cancel_call(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if leg.ending.is_some() {
            return;
        }
        leg.ending = Some(EndCause::CancelledHere);
        leg.set_state(CallState::Ending);
        let stage = leg.sent.as_ref().map(|sent| sent.stage);
        self.tell_leg(id, EventKind::Cancelled { reason: None });
        if matches!(stage, Some(InviteStage::Trying | InviteStage::Progress)) {
            self.send_cancel(id);
        }
    }

    fn send_cancel(&mut self, id: LegId) {
        let Some(sent) = self.legs.get(&id).and_then(|leg| leg.sent.as_ref()) else { return };
        let Some(cancel) = self.transactions.cancel_of(&sent.branch) else { return };
        self.start(cancel, TxUser::Nobody, None);
        let give_up_ms = self.timing.give_up_ms();
        self.set_leg_timer(id, give_up_ms, LegTimer::CancelTimeout);
    }
}

fn check_call(plan: &CallPlan, nodes: &[Server]) -> Result<(), PhoneError> {
    if nodes.is_empty() {
        return Err(PhoneError::Setting { what: "CallPlan::nodes", why: "name at least one node" });
    }
    if nodes.len() > NODES_MAX {
        return Err(PhoneError::Limit { what: "nodes of a call", limit: NODES_MAX });
    }
    let is_header_text = |text: &str| !text.contains(['\r', '\n']);
    let is_user = |text: &str| {
        !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || "<>\"@".contains(c))
    };
    if !is_user(&plan.number) || !is_user(&plan.from_number) {
        return Err(PhoneError::Setting {
            what: "CallPlan::number and from_number",
            why: "must be SIP user parts",
        });
    }
    let name = plan.from_name.iter().map(String::as_str);
    let headers = plan.headers.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
    if !name.chain(headers).all(is_header_text) {
        return Err(PhoneError::Setting {
            what: "CallPlan::headers and from_name",
            why: "must hold no line breaks",
        });
    }
    Ok(())
}

fn nodes_transport(nodes: &[Server]) -> Transport {
    nodes.first().map_or(Transport::Udp, |node| node.transport)
}

fn node_uri(number: &str, node: Server) -> String {
    let uri = SipUri {
        secure: false,
        user: Some(number.to_owned()),
        host: Host::Ip(node.address.ip()),
        port: Some(node.address.port()),
        params: Vec::new(),
        headers: None,
    };
    match node.transport {
        Transport::Udp => uri.to_string(),
        Transport::Tcp => uri.with_param("transport", Some("tcp")).to_string(),
    }
}

/// The INVITE of a leg to a node.
fn invite_of(leg: &mut Leg, node: Server, via: String, own: IpAddr) -> Option<Message> {
    let sent = leg.sent.as_ref()?;
    let plan = &sent.plan;
    let name = match &plan.from_name {
        Some(name) => format!("\"{}\" ", name.replace('\\', "\\\\").replace('"', "\\\"")),
        None => String::new(),
    };
    let own_host = Host::Ip(own);
    let uri = node_uri(&plan.number, node);
    let mut message = Message::request(Method::Invite, uri.clone())
        .with("Via", via)
        .with("Max-Forwards", "70")
        .with("From", format!("{name}<sip:{}@{own_host}>;tag={}", plan.from_number, leg.local_tag))
        .with("To", format!("<{uri}>"))
        .with("Call-ID", sent.call_id.clone())
        .with("CSeq", format!("{} INVITE", sent.cseq))
        .with("Contact", leg.contact.clone())
        .with("Allow", ALLOW);
    for (name, value) in &plan.headers {
        message.push(name, value.clone());
    }
    let body = leg.session.as_mut()?.offer();
    Some(message.with_body("application/sdp", body))
}

fn set_outcome(leg: &mut Leg, outcome: &str) {
    if let Some(attempt) = leg.report.attempts.last_mut() {
        attempt.outcome.get_or_insert_with(|| outcome.to_owned());
    }
}

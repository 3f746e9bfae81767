//! What this side does within a dialog: hold and resume, DTMF, hang up.

use tokio::sync::oneshot;

use super::leg::{ModifyStage, OwnModify};
use super::{ALLOW, Core, LegId, LegTimer, TxUser};
use crate::error::PhoneError;
use crate::limits::GLARE_RETRIES_MAX;
use crate::report::{CallState, EndCause, Role};
use crate::sip::{Direction, Method, Received};
use crate::transaction::Outgoing;

type Done = oneshot::Sender<Result<(), PhoneError>>;

impl Core {
    /// Ends a call in the way that its state asks for (RFC 3261 9, 15).
    pub(crate) fn hang_up(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        match (leg.state(), leg.report.role) {
            (CallState::Established, _) => self.send_bye(id, EndCause::HungUpHere),
            // The callee may not say BYE before its ACK came.
            (CallState::Answered, _) => leg.bye_after_ack = Some(EndCause::HungUpHere),
            (CallState::Started | CallState::Ringing, Role::Callee) => {
                self.reject_leg(id, 603, "Decline");
            }
            (CallState::Started | CallState::Ringing, Role::Caller) => self.cancel_call(id),
            (CallState::Ending | CallState::Ended, _) => {}
        }
    }

    /// BYE: the session is over at once, the leg when the BYE is answered or given up.
    pub(crate) fn send_bye(&mut self, id: LegId, cause: EndCause) {
        self.end_media(id);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        if let Some(pending) = leg.pending_ack.take() {
            self.timers.cancel(pending.retransmit);
        }
        leg.ending = Some(cause);
        leg.set_state(CallState::Ending);
        leg.touch();
        let Some(mut dialog) = leg.dialog.take() else { return self.finish_ending(id) };
        let bye = self.request_within(&mut dialog, Method::Bye, None);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.dialog = Some(dialog);
        }
        self.start(bye, TxUser::Bye(id), None);
    }

    pub(crate) fn on_bye_response(&mut self, id: LegId, response: &Received) {
        if response.message.code().is_some_and(|code| code >= 200) {
            self.finish_ending(id);
        }
    }

    /// The end that was under way is through.
    pub(crate) fn finish_ending(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let cause = leg.ending.take().unwrap_or(EndCause::HungUpHere);
        self.finish(id, cause);
    }

    /// Changes this side's direction by re-INVITE: hold, resume.
    pub(crate) fn start_modify(&mut self, id: LegId, wanted: Direction, done: Done) {
        let state = self.legs.get(&id).map(|leg| (leg.state(), leg.pending_ack.is_some()));
        let is_free = self.legs.get(&id).is_some_and(|leg| leg.modify.is_none());
        if state != Some((CallState::Established, false)) || !is_free {
            let state = state.map_or(CallState::Ended, |(state, _)| state);
            let state = format!("{state:?}, or another change is under way");
            let error = PhoneError::WrongState { command: "hold or resume", state };
            // Whoever asked may be gone; then nobody misses the answer.
            return drop(done.send(Err(error)));
        }
        let Some(session) = self.legs.get_mut(&id).and_then(|leg| leg.session.as_mut()) else {
            return;
        };
        let before = std::mem::replace(&mut session.wanted, wanted);
        self.send_modify(id, before, 0, Some(done));
    }

    fn send_modify(&mut self, id: LegId, before: Direction, retries: u32, done: Option<Done>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (Some(mut dialog), Some(session)) = (leg.dialog.take(), leg.session.as_mut()) else {
            return;
        };
        let body = session.offer();
        let contact = leg.contact.clone();
        let Outgoing { message, flow } = self.request_within(&mut dialog, Method::Invite, None);
        let cseq = dialog.local_cseq;
        let message = message
            .with("Contact", contact)
            .with("Allow", ALLOW)
            .with_body("application/sdp", body);
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.dialog = Some(dialog);
        }
        let branch = self.start(Outgoing { message, flow }, TxUser::Reinvite(id), None);
        if let Some(leg) = self.legs.get_mut(&id) {
            let stage = ModifyStage::Sent;
            leg.modify = Some(OwnModify { branch, cseq, before, retries, stage, done });
        }
    }

    pub(crate) fn on_modify_response(&mut self, id: LegId, response: &Received) {
        let code = response.message.code().unwrap_or_default();
        match code {
            100..=199 => {}
            200..=299 => self.on_modify_accepted(id, response),
            491 => self.on_glare(id),
            408 | 481 => self.on_modify_lost(id, Some(code)),
            _ => self.on_modify_refused(id, code),
        }
    }

    fn on_modify_accepted(&mut self, id: LegId, response: &Received) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let (Some(modify), Some(mut dialog)) = (leg.modify.take(), leg.dialog.take()) else {
            return;
        };
        dialog.refresh_target(&response.message);
        let tag = dialog.id.remote_tag.clone();
        let ack = self.request_within(&mut dialog, Method::Ack, Some(modify.cseq));
        self.transactions.acknowledge(&modify.branch, ack, Some(&tag));
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.dialog = Some(dialog);
            leg.touch();
        }
        let is_answered = self.take_answer(id, response.message.sdp());
        let result = if is_answered { Ok(()) } else { Err(PhoneError::Refused { code: 200 }) };
        reply(modify.done, result);
    }

    /// 491 (RFC 3261 14.1): who owns the Call-ID waits 2.1 to 4 s, the other 0 to 2 s, in steps of
    /// 10 ms.
    fn on_glare(&mut self, id: LegId) {
        let (longer, shorter) = (2_100 + self.dice.below(191) * 10, self.dice.below(201) * 10);
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let wait_ms = if leg.report.role == Role::Caller { longer } else { shorter };
        let Some(modify) = &mut leg.modify else { return };
        if modify.retries >= GLARE_RETRIES_MAX {
            return self.on_modify_refused(id, 491);
        }
        modify.stage = ModifyStage::Waiting;
        self.set_leg_timer(id, wait_ms, LegTimer::RetryModify);
    }

    pub(crate) fn retry_modify(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let is_waiting = |modify: &mut OwnModify| modify.stage == ModifyStage::Waiting;
        let Some(modify) = leg.modify.take_if(is_waiting) else { return };
        self.send_modify(id, modify.before, modify.retries + 1, modify.done);
    }

    fn on_modify_refused(&mut self, id: LegId, code: u16) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(modify) = leg.modify.take() else { return };
        if let Some(session) = &mut leg.session {
            session.wanted = modify.before;
        }
        leg.touch();
        reply(modify.done, Err(PhoneError::Refused { code }));
    }

    /// 481, 408 or no response at all: the dialog is gone, and so is the call (RFC 3261 12.2.1.2).
    pub(crate) fn on_modify_lost(&mut self, id: LegId, code: Option<u16>) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        let Some(modify) = leg.modify.take() else { return };
        reply(modify.done, Err(PhoneError::Refused { code: code.unwrap_or_default() }));
        self.send_bye(id, EndCause::DialogLost { code });
    }

    /// Sends digits as telephone events.
    ///
    /// # Errors
    /// `WrongState` when no audio stands, the other side takes no events, or a character is no digit.
    pub(crate) fn send_digits(&mut self, id: LegId, digits: &str) -> Result<(), PhoneError> {
        let leg = self.legs.get(&id).ok_or(PhoneError::CallEnded)?;
        let state = format!(
            "{:?} (telephone events must be negotiated, and digits be 0-9 * # A-D)",
            leg.state()
        );
        let stream = leg.session.as_ref().and_then(|session| self.media.get(session.stream));
        let is_queued = stream.is_some_and(|stream| stream.queue_digits(digits));
        is_queued.then_some(()).ok_or(PhoneError::WrongState { command: "sending digits", state })
    }
}

fn reply(done: Option<Done>, result: Result<(), PhoneError>) {
    if let Some(done) = done {
        // Whoever asked may be gone; then nobody misses the answer.
        drop(done.send(result));
    }
}

//! Calls of agents' phones that may belong to nobody: the phone answered while this node could not act for
//! the leg, or could not tell the log any more. Only this node knows of them.
//!
//! A phone whose answer found nobody sends its 2xx here until it is acknowledged, for half a minute
//! (RFC 3261 section 13.3.1.4), also when a new process runs here by then. One whose answer was
//! acknowledged, but not replicated, says nothing more; this node remembers it.
//!
//! While the log has the leg without an answer, its owner is ending it. When the log has forgotten it,
//! nobody owns it, and the call is ended here.

use std::collections::BTreeMap;

use tandem_cluster::ids::{GroupId, LegId, Ordinal};
use tandem_sip::{
    dialog::{Dialog, RequestParts},
    message::{Headers, Method, Request, Response},
    transaction::{Flow, Hop},
};

use crate::{
    CallControl,
    core::{Core, NO_OWNER, TicketUse},
    derive::{Purpose, token},
    io::{LegState, Note, Now, Output},
    leg::{
        Leg,
        ring::{INVITE_CSEQ, hop_of},
    },
    limits::UNOWNED_MAX,
    settings::Settings,
};

/// A phone's call, and the way to the phone.
#[derive(Debug)]
pub(crate) struct PhoneCall {
    known_by: KnownBy,
    hop: Hop,
}

#[derive(Debug)]
enum KnownBy {
    /// An answer that nobody acknowledged.
    Answer(Box<Response>),
    /// Its dialog.
    Dialog(Box<Dialog>),
}

/// Calls that may belong to nobody, by the leg that they were for.
pub(crate) type Unowned = BTreeMap<LegId, PhoneCall>;

impl CallControl {
    /// A response that no transaction waits for.
    pub(crate) fn stray_response(&mut self, now: Now, source: &Flow, response: Box<Response>) {
        let Some(leg) = self.core.invited_by_us(&response) else { return };
        // What belongs to a leg of ours is not unowned.
        if self.legs.contains_key(&leg) || self.core.unowned.contains_key(&leg) {
            return;
        }
        let hop = Hop::from_flow(*source);
        self.core.remember_unowned(leg, PhoneCall { known_by: KnownBy::Answer(response), hop });
        if self.core.may_act(now) {
            self.core.look_up_unowned(leg);
        }
    }
}

impl Core {
    /// A leg leaves this node: if the log does not know that its phone has answered, whoever has the leg
    /// now cannot end that phone's call.
    pub(crate) fn leave_unowned(&mut self, leg: &mut Leg) {
        if leg.is_judged() {
            return;
        }
        let hop = hop_of(self, leg);
        if let Some(dialog) = leg.sip.dialog.clone() {
            let known_by = KnownBy::Dialog(Box::new(dialog));
            self.remember_unowned(leg.id, PhoneCall { known_by, hop });
        }
    }

    fn remember_unowned(&mut self, leg: LegId, call: PhoneCall) {
        if self.unowned.len() < UNOWNED_MAX {
            self.unowned.insert(leg, call);
        }
    }

    /// Asks for all of them: this node may act, and knows more of the log than before.
    pub(crate) fn look_up_all_unowned(&mut self) {
        let legs: Vec<LegId> = self.unowned.keys().copied().collect();
        for leg in legs {
            self.look_up_unowned(leg);
        }
    }

    fn look_up_unowned(&mut self, leg: LegId) {
        let ticket = self.ticket(TicketUse::Unowned(leg));
        self.output(Output::LookUpLeg { ticket, leg });
    }

    /// The leg of a call that may belong to nobody was looked up.
    pub(crate) fn unowned_found(&mut self, now: Now, leg: LegId, state: LegState) {
        match state {
            // Its owner has the phone's dialog.
            LegState::Answered => {
                self.unowned.remove(&leg);
            }
            // A state from before this life may lack what the life before it told the log.
            LegState::Gone { epoch } if self.epoch() == Some(epoch) && self.may_act(now) => {
                if let Some(call) = self.unowned.remove(&leg) {
                    self.end_unowned(now, leg, call);
                }
            }
            LegState::Unanswered | LegState::Gone { .. } => {}
        }
    }

    fn end_unowned(&mut self, now: Now, leg: LegId, PhoneCall { known_by, hop }: PhoneCall) {
        match known_by {
            KnownBy::Answer(response) => {
                // What a dialog takes from the INVITE stands in its answer as well.
                let invite = Request::new(
                    Method::Invite,
                    response.to.uri.clone(),
                    response.from.clone(),
                    response.to.clone(),
                    response.call_id.clone(),
                    INVITE_CSEQ,
                );
                self.end_stray(now, &invite, &hop, &response);
            }
            KnownBy::Dialog(mut dialog) => {
                // It may have been withheld: the lease was running out.
                let mut ack = dialog.ack(INVITE_CSEQ, &Headers::new(), None);
                self.sip.send_ack(&mut ack, &hop);
                let bye = dialog.request(Method::Bye, RequestParts::default()).ok();
                let sent = bye.map(|bye| self.sip.send_request(now.instant, bye, &hop, NO_OWNER));
                if let Some(Err(error)) = sent {
                    self.unexpected(leg, error);
                }
            }
        }
        self.note(Note::UnownedEnded { leg });
    }

    /// The leg whose phone this 2xx answers for, if a node with our cluster key has invited it: what
    /// anybody can make up must not make us send.
    fn invited_by_us(&self, response: &Response) -> Option<LegId> {
        let cseq = &response.cseq;
        let is_first = cseq.method == Method::Invite && cseq.number == INVITE_CSEQ;
        if !response.status.is_success() || !is_first {
            return None;
        }
        let call_id = response.call_id.text().to_str()?;
        let leg = leg_in(call_id)?;
        let tag = response.from.tag()?.to_str()?;
        let is_ours = call_id == self.call_id_of(leg)
            && tag == token(&self.settings.cluster_key, leg, Purpose::Tag);
        is_ours.then_some(leg)
    }

    /// The Call-ID of the INVITE for a leg. The leg can be read from it, the rest not be guessed.
    pub(crate) fn call_id_of(&self, leg: LegId) -> String {
        let Settings { cluster_key, realm, .. } = &self.settings;
        let token = token(cluster_key, leg, Purpose::CallId);
        format!("{:x}.{:x}.{token}@{realm}", leg.group.0, leg.ordinal.0)
    }
}

fn leg_in(call_id: &str) -> Option<LegId> {
    let mut parts = call_id.splitn(3, '.');
    let group = u16::from_str_radix(parts.next()?, 16).ok()?;
    let ordinal = u64::from_str_radix(parts.next()?, 16).ok()?;
    Some(LegId { group: GroupId(group), ordinal: Ordinal(ordinal) })
}

//! Legs: admission of a call, facts from their owners, and what follows in legs from what happened
//! in the queue.

use tandem_routing::{
    AgentPhone, CallerLeg,
    command::{Command as QueueCommand, DeclineCause, Enqueue, Event, OfferEnd},
    entity::{Contact, ContactState, DeviceState, EndReason},
    time::Millis,
};

use crate::{
    command::{AdmitCall, Answered, LegEnd, LegFact, Outcome, Rejection, Reply, Report, Ringing},
    history::EndedContact,
    ids::{AgentId, ContactId, LegEpoch, LegId, OfferNumber},
    leg::{Control, DialogRecord, EndCause, EndingFrom, Invitation, Leg, LegPhase, LegRole, Owner},
    limits::{DIALOG_TEXT_LEN_MAX, LEGS_MAX, ROUTE_SET_MAX},
    machine::Machine,
};

impl Machine {
    pub(crate) fn admit_call(
        &mut self,
        proposer: Owner,
        call: &AdmitCall,
        age: Millis,
        events: &mut Vec<Event>,
    ) -> Outcome {
        check_dialog(&call.dialog)?;
        if call.leg.group != self.group || call.leg.ordinal > self.queue.counters().ordinal {
            return Err(Rejection::Malformed("the leg's id was never reserved".into()));
        }
        if self.legs.contains(&call.leg) {
            return Err(Rejection::LegPhaseMustFit { leg: call.leg });
        }
        if self.legs.len() >= LEGS_MAX {
            return Err(Rejection::LimitReached { what: "legs".into(), limit: LEGS_MAX as u64 });
        }
        let enqueue = QueueCommand::Enqueue(Enqueue {
            called: call.called.clone(),
            caller: call.caller.clone(),
            ingress: call.ingress.clone(),
            waited: age,
        });
        let reply = self.queue.apply(self.group, &enqueue, events).map_err(Rejection::Queue)?;
        let tandem_routing::command::Reply::Enqueued { contact, .. } = reply else {
            return Err(Rejection::Malformed("the queue's reply".into()));
        };
        let tenant = self.queue.contacts().get(&contact).map(|row| row.tenant).unwrap_or_default();
        self.insert_leg(Leg {
            id: call.leg,
            tenant,
            contact,
            role: LegRole::Caller,
            owner: proposer,
            epoch: LegEpoch(1),
            control: Control::Held,
            phase: LegPhase::Active,
            invitation: None,
            dialog: Some(call.dialog.clone()),
            media: Some(call.media.clone()),
        });
        Ok(Reply::CallAdmitted { contact })
    }

    pub(crate) fn leg_ringing(&mut self, proposer: Owner, fact: &LegFact<Ringing>) -> Outcome {
        check_dialog(&fact.fact.dialog)?;
        // A late one must not make an answered dialog an early one again.
        match self.owned(proposer, fact)?.phase {
            LegPhase::Inviting | LegPhase::Ending { from: EndingFrom::Inviting, .. } => {}
            LegPhase::Active | LegPhase::Ending { .. } => {
                return Err(Rejection::LegPhaseMustFit { leg: fact.leg });
            }
        }
        self.update_leg(fact.leg, |leg| renew(&mut leg.dialog, &fact.fact.dialog));
        Ok(Reply::Done)
    }

    /// The agent's phone was answered. Only a committed accept of the current offer connects (R4);
    /// the dialog is kept in any case, so that it can be ended.
    pub(crate) fn leg_answered(
        &mut self,
        proposer: Owner,
        fact: &LegFact<Box<Answered>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let answered = &fact.fact;
        check_dialog(&answered.dialog)?;
        let leg = self.owned(proposer, fact)?;
        let (id, contact, phase) = (leg.id, leg.contact, leg.phase.clone());
        // R4: a phone takes only the offer that it rang for.
        if !matches!(leg.role, LegRole::Agent { offer, .. } if offer == answered.offer) {
            return Err(Rejection::LegPhaseMustFit { leg: id });
        }
        let inviting = match phase {
            LegPhase::Inviting => true,
            LegPhase::Ending { from: EndingFrom::Inviting, .. } => false,
            LegPhase::Active | LegPhase::Ending { .. } => {
                return Err(Rejection::LegPhaseMustFit { leg: id });
            }
        };
        self.update_leg(id, |leg| {
            renew(&mut leg.dialog, &answered.dialog);
            leg.media = Some(answered.media.clone());
            leg.phase = match leg.phase {
                LegPhase::Ending { cause, .. } => {
                    LegPhase::Ending { from: EndingFrom::Active, cause }
                }
                _ => LegPhase::Active,
            };
        });
        let accept = QueueCommand::Accept { offer: answered.offer, contact };
        match self.queue.apply(self.group, &accept, events) {
            Ok(reply) => {
                self.update_leg(id, |leg| leg.phase = LegPhase::Active);
                Ok(Reply::Queue(reply))
            }
            Err(_) => {
                let cause = EndCause::OfferWithdrawn;
                if inviting {
                    self.end_leg(id, cause);
                }
                Ok(Reply::AnsweredTooLate)
            }
        }
    }

    pub(crate) fn leg_failed(
        &mut self,
        proposer: Owner,
        fact: &LegFact<DeclineCause>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let leg = self.owned(proposer, fact)?;
        let unanswered = matches!(
            leg.phase,
            LegPhase::Inviting | LegPhase::Ending { from: EndingFrom::Inviting, .. }
        );
        let LegRole::Agent { offer, .. } = leg.role else {
            return Err(Rejection::LegPhaseMustFit { leg: fact.leg });
        };
        if !unanswered {
            return Err(Rejection::LegPhaseMustFit { leg: fact.leg });
        }
        let contact = leg.contact;
        self.remove_leg(fact.leg);
        self.decline(offer, contact, fact.fact, events);
        Ok(Reply::Done)
    }

    /// Declines an offer if it still stands.
    fn decline(
        &mut self,
        offer: OfferNumber,
        contact: ContactId,
        cause: DeclineCause,
        events: &mut Vec<Event>,
    ) {
        if self.queue.offers().contains(&offer) {
            let decline = QueueCommand::Decline { offer, contact, cause };
            if let Err(rejection) = self.queue.apply(self.group, &decline, events) {
                debug_assert!(false, "a standing offer is declined: {rejection}");
            }
        }
    }

    pub(crate) fn leg_report(&mut self, proposer: Owner, fact: &LegFact<Box<Report>>) -> Outcome {
        self.take_report(proposer, fact)?;
        Ok(Reply::Done)
    }

    pub(crate) fn leg_confirmed(
        &mut self,
        proposer: Owner,
        fact: &LegFact<Box<Report>>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        self.take_report(proposer, fact)?;
        self.update_leg(fact.leg, |leg| leg.control = Control::Held);
        let caller_of = self.legs.get(&fact.leg).and_then(|leg| match leg.role {
            LegRole::Caller => Some(leg.contact),
            LegRole::Agent { .. } => None,
        });
        if let Some(contact) = caller_of {
            self.queue.confirm(contact, events);
        }
        Ok(Reply::Done)
    }

    fn take_report(
        &mut self,
        proposer: Owner,
        fact: &LegFact<Box<Report>>,
    ) -> Result<(), Rejection> {
        if let Some(dialog) = &fact.fact.dialog {
            check_dialog(dialog)?;
        }
        self.owned(proposer, fact)?;
        let report = &fact.fact;
        self.update_leg(fact.leg, |leg| {
            if let Some(dialog) = &report.dialog {
                renew(&mut leg.dialog, dialog);
            }
            if let Some(media) = &report.media {
                leg.media = Some(media.clone());
            }
        });
        Ok(())
    }

    /// A leg is over on the wire: what that means depends on whose it was and who ended it.
    pub(crate) fn leg_ended(
        &mut self,
        proposer: Owner,
        fact: &LegFact<LegEnd>,
        events: &mut Vec<Event>,
    ) -> Outcome {
        let leg = self.owned(proposer, fact)?.clone();
        self.remove_leg(leg.id);
        if matches!(leg.phase, LegPhase::Ending { .. }) {
            return Ok(Reply::Done);
        }
        match leg.role {
            LegRole::Caller => self.caller_gone(leg.contact, fact.fact, events),
            LegRole::Agent { offer, .. } if leg.phase == LegPhase::Inviting => {
                self.decline(offer, leg.contact, DeclineCause::DeviceFailed, events);
            }
            LegRole::Agent { offer, .. } => {
                self.agent_gone(leg.contact, offer, fact.fact, events);
            }
        }
        Ok(Reply::Done)
    }

    fn caller_gone(&mut self, contact: ContactId, how: LegEnd, events: &mut Vec<Event>) {
        let Some(row) = self.queue.contacts().get(&contact) else { return };
        if planted!(self.queue, AbandonedStays) && row.is_waiting() {
            return;
        }
        let reason = match (how, row.is_waiting()) {
            (LegEnd::PeerHungUp, true) => EndReason::Abandoned,
            (LegEnd::PeerHungUp, false) => EndReason::CallerHungUp,
            (LegEnd::PeerGone, _) => EndReason::CallerGone,
            (LegEnd::PeerSilent, _) => EndReason::LegLost,
            (LegEnd::TurnedAway, _) => EndReason::TurnedAway,
            (LegEnd::Done | LegEnd::Failed, _) => EndReason::Failed,
        };
        self.end_contact(contact, reason, events);
    }

    /// An agent who hangs up ends the contact; an agent whose leg was lost gives the caller back
    /// to the queue. One who hung up while nobody heard it (the phone knows no such call) is not to
    /// blame, and neither is their phone.
    fn agent_gone(
        &mut self,
        contact: ContactId,
        offer: OfferNumber,
        how: LegEnd,
        events: &mut Vec<Event>,
    ) {
        let talks = self.queue.contacts().get(&contact).is_some_and(
            |row| matches!(row.state, ContactState::Connected { offer: with, .. } if with == offer),
        );
        if !talks {
            return;
        }
        match how {
            LegEnd::PeerHungUp | LegEnd::Done => {
                self.end_contact(contact, EndReason::AgentHungUp, events);
            }
            LegEnd::PeerGone => self.requeue(contact, AgentPhone::Answers, events),
            // Only a caller can be turned away.
            LegEnd::PeerSilent | LegEnd::Failed | LegEnd::TurnedAway => {
                self.requeue(contact, AgentPhone::Failed, events);
            }
        }
    }

    fn requeue(&mut self, contact: ContactId, phone: AgentPhone, events: &mut Vec<Event>) {
        let caller = self.caller_leg(contact);
        self.queue.requeue(contact, caller, phone, events);
    }

    fn caller_leg(&self, contact: ContactId) -> CallerLeg {
        let held = self.legs_of(contact).any(|leg| {
            leg.role == LegRole::Caller
                && leg.control == Control::Held
                && self.is_current_life(leg.owner)
        });
        if held { CallerLeg::Held } else { CallerLeg::InDoubt }
    }

    fn end_contact(&mut self, contact: ContactId, reason: EndReason, events: &mut Vec<Event>) {
        let end = QueueCommand::End { contact, reason };
        if let Err(rejection) = self.queue.apply(self.group, &end, events) {
            debug_assert!(false, "a live contact can be ended: {rejection}");
        }
    }

    // --- what follows from the queue's events ------------------------------------------------------

    /// Makes the legs follow what happened in the queue from event `from` on. Runs inside the same
    /// command, so that an offer and its leg come in one entry. Each event is composed once: its
    /// effect on legs is repeatable.
    pub(crate) fn compose(&mut self, from: usize, events: &mut Vec<Event>) {
        let mut next = from;
        while let Some(event) = events.get(next).cloned() {
            next += 1;
            match event {
                Event::OfferMade { offer, contact, agent } => {
                    self.open_agent_leg(offer, contact, agent, events);
                }
                Event::OfferEnded { offer, how, .. } => self.close_offer(offer, how),
                Event::ContactEnded { contact, reason } => self.close_contact(&contact, reason),
                Event::ContactRequeued { contact, .. } => {
                    self.end_agent_legs(contact, EndCause::PeerLost);
                }
                Event::ContactEnqueued(_)
                | Event::ContactMoved { .. }
                | Event::ContactConnected { .. }
                | Event::ContactUnconfirmed(_)
                | Event::ContactConfirmed(_)
                | Event::ContactOverflowed { .. }
                | Event::PlanStepped(_)
                | Event::AgentChanged(_) => {}
            }
        }
    }

    fn open_agent_leg(
        &mut self,
        offer: OfferNumber,
        contact: ContactId,
        agent: AgentId,
        events: &mut Vec<Event>,
    ) {
        if self.index.leg_by_offer.contains_key(&offer) || !self.queue.offers().contains(&offer) {
            return;
        }
        let (Some(row), Some(call)) =
            (self.queue.agents().get(&agent), self.queue.contacts().get(&contact))
        else {
            return;
        };
        let (tenant, site, name) = (row.tenant, row.site, row.name.clone());
        let (caller, called) = (call.caller.clone(), call.called.clone());
        let target = self.phone_of(agent);
        let owner = target.as_ref().and_then(|target| {
            if self.is_current_life(target.edge) { Some(target.edge) } else { self.pick_node(site) }
        });
        let (Some(target), Some(owner)) = (target, owner) else {
            self.withdraw(offer, contact, agent, events);
            return;
        };
        let ordinal = self.queue.reserve_ordinals(1);
        let invitation = Invitation { target, agent: name, caller, called, by: owner };
        self.insert_leg(Leg {
            id: LegId { group: self.group, ordinal },
            tenant,
            contact,
            role: LegRole::Agent { agent, offer },
            owner,
            epoch: LegEpoch(1),
            control: Control::Held,
            phase: LegPhase::Inviting,
            invitation: Some(invitation),
            dialog: None,
            media: None,
        });
    }

    /// No node can ring the agent's phone. If that is because its connection died with a node, the
    /// agent is not to blame: they stay ready, and are asked again when the phone registers.
    fn withdraw(
        &mut self,
        offer: OfferNumber,
        contact: ContactId,
        agent: AgentId,
        events: &mut Vec<Event>,
    ) {
        let device = self.queue.agents().get(&agent).map(|row| row.device);
        if device == Some(DeviceState::Recovering) || !self.bindings_of(agent).is_empty() {
            self.queue.offer_owner_lost(offer, events);
        } else {
            self.decline(offer, contact, DeclineCause::DeviceFailed, events);
        }
    }

    fn close_offer(&mut self, offer: OfferNumber, how: OfferEnd) {
        let Some(&leg) = self.index.leg_by_offer.get(&offer) else { return };
        if self.legs.get(&leg).is_some_and(|leg| leg.phase == LegPhase::Inviting) {
            match how {
                OfferEnd::Accepted => {}
                OfferEnd::Expired | OfferEnd::Declined(_) => {
                    self.end_leg(leg, EndCause::NotAnswered);
                }
                OfferEnd::AnsweredElsewhere => self.end_leg(leg, EndCause::AnsweredElsewhere),
                OfferEnd::ContactGone | OfferEnd::OwnerLost | OfferEnd::Withdrawn => {
                    self.end_leg(leg, EndCause::OfferWithdrawn);
                }
            }
        }
    }

    fn close_contact(&mut self, contact: &Contact, reason: EndReason) {
        let cause = match reason {
            EndReason::Abandoned | EndReason::CallerHungUp | EndReason::AgentHungUp => {
                EndCause::PeerHungUp
            }
            EndReason::WaitedTooLong | EndReason::Overflowed => EndCause::WaitedTooLong,
            EndReason::Operator => EndCause::Operator,
            EndReason::LegLost | EndReason::CallerGone => EndCause::PeerLost,
            EndReason::Failed | EndReason::TurnedAway => EndCause::Failed,
        };
        let legs: Vec<LegId> = self.legs_of(contact.id).map(|leg| leg.id).collect();
        legs.into_iter().for_each(|leg| self.end_leg(leg, cause));
        let ended = self.queue.now();
        if !self.history.iter().any(|row| row.contact.id == contact.id) {
            self.history.push(EndedContact { contact: contact.clone(), reason, ended });
        }
    }

    fn end_agent_legs(&mut self, contact: ContactId, cause: EndCause) {
        let legs: Vec<LegId> = self
            .legs_of(contact)
            .filter(|leg| leg.role != LegRole::Caller)
            .map(|leg| leg.id)
            .collect();
        legs.into_iter().for_each(|leg| self.end_leg(leg, cause));
    }

    /// Tells the owner to end a leg, if it does not do so already.
    fn end_leg(&mut self, id: LegId, cause: EndCause) {
        self.update_leg(id, |leg| {
            let from = match leg.phase {
                LegPhase::Inviting => EndingFrom::Inviting,
                LegPhase::Active => EndingFrom::Active,
                LegPhase::Ending { .. } => return,
            };
            leg.phase = LegPhase::Ending { from, cause };
        });
    }

    // --- rows with their indexes ---------------------------------------------------------------------

    fn owned<T>(&self, proposer: Owner, fact: &LegFact<T>) -> Result<&Leg, Rejection> {
        self.legs
            .get(&fact.leg)
            .filter(|leg| leg.owner == proposer && leg.epoch == fact.epoch)
            .ok_or(Rejection::LegMustBeOwned { leg: fact.leg, epoch: fact.epoch })
    }

    fn insert_leg(&mut self, leg: Leg) {
        self.index.add_leg(&leg);
        self.legs.insert(leg);
    }

    pub(crate) fn update_leg(&mut self, id: LegId, change: impl FnOnce(&mut Leg)) {
        if let Some(before) = self.legs.get(&id) {
            self.index.remove_leg(before);
        }
        self.legs.update(&id, change);
        if let Some(after) = self.legs.get(&id) {
            self.index.add_leg(after);
        }
    }

    fn remove_leg(&mut self, id: LegId) {
        if let Some(leg) = self.legs.remove(&id) {
            self.index.remove_leg(leg);
        }
    }
}

/// Takes over what was told of a dialog. What is reserved stays reserved, in whatever order reports
/// come: one that got lost for a while may come after a later one.
fn renew(known: &mut Option<DialogRecord>, told: &DialogRecord) {
    let before = known.replace(told.clone());
    if let (Some(before), Some(now)) = (before, known.as_mut()) {
        now.local_cseq_reserved = now.local_cseq_reserved.max(before.local_cseq_reserved);
        now.sdp_version_reserved = now.sdp_version_reserved.max(before.sdp_version_reserved);
        // RFC 3261 section 12.2.2: within one dialog the peer's numbers only rise.
        if (&now.call_id, &now.remote_tag) == (&before.call_id, &before.remote_tag) {
            now.remote_cseq = now.remote_cseq.max(before.remote_cseq);
        }
    }
}

fn check_dialog(dialog: &DialogRecord) -> Result<(), Rejection> {
    let texts = [
        &dialog.call_id,
        &dialog.local_uri,
        &dialog.local_tag,
        &dialog.remote_uri,
        &dialog.remote_tag,
        &dialog.remote_target,
        &dialog.peer_address,
        &dialog.sdp_origin.username,
        &dialog.sdp_origin.address,
    ];
    let long = texts.into_iter().chain(&dialog.route_set).any(|t| t.len() > DIALOG_TEXT_LEN_MAX);
    if long || dialog.route_set.len() > ROUTE_SET_MAX {
        let what = "the dialog's URIs, tags or routes are over the limits (docs/limits.md)";
        return Err(Rejection::Malformed(what.into()));
    }
    Ok(())
}

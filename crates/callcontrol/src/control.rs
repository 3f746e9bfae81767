//! Call control as one value: inputs in, outputs out.
//!
//! [`CallControl`] holds the legs and finds the one that an input is about; [`Core`] holds everything
//! that they share. Life and lease are in `life`, SIP messages in `events`, what happens in a leg's
//! life in `leg/`, registrations in `registrar`.

use std::{collections::BTreeMap, time::Instant};

use tandem_cluster::{
    command::{LegEnd, Outcome},
    ids::LegId,
    leg::{Control, LegPhase, LegRole},
    view::{Goal, LegView},
};
use tandem_sip::{
    prng::Prng,
    transaction::{ConnectionId, Gate, LayerConfig, SymmetricResponses, TransactionLayer},
};

use crate::{
    core::{Core, TicketUse},
    io::{Input, Load, MediaReply, NoOutcome, Note, Now, Output, Ticket},
    leg::{Kind, Leg, LegLife, TakeoverStep, TimerKind, facts::Fact, record},
    registrar::Registrar,
    settings::{Settings, TrunkId},
};

/// What a node does with its legs and its phones.
#[derive(Debug)]
pub struct CallControl {
    pub(crate) core: Core,
    pub(crate) legs: BTreeMap<LegId, Leg>,
    /// Callers' legs by trunk.
    calls: BTreeMap<TrunkId, usize>,
    pub(crate) registrar: Registrar,
}

impl CallControl {
    /// Call control of a node that has no life in the log yet. `prng` is the only source of
    /// randomness.
    #[must_use]
    pub fn new(settings: Settings, mut prng: Prng) -> Self {
        let config = LayerConfig {
            symmetric_responses: SymmetricResponses::WhenAsked,
            ..LayerConfig::default()
        };
        let registrar = Registrar::new(&settings);
        let sip = TransactionLayer::new(config, prng.fork());
        Self {
            core: Core::new(settings, sip, prng),
            legs: BTreeMap::new(),
            calls: BTreeMap::new(),
            registrar,
        }
    }

    /// Plants a fault.
    #[cfg(feature = "planted")]
    #[must_use]
    pub fn with_planted(mut self, planted: Option<tandem_routing::planted::Planted>) -> Self {
        self.core.planted = planted;
        self
    }

    /// Takes one input. Drain [`CallControl::poll_output`] before the next one.
    pub fn handle(&mut self, now: Now, input: Input) {
        self.core.judge_lease(now);
        self.take(now, input);
        self.drain_sip(now);
        while let Some(id) = self.core.turns.next() {
            self.with_leg(id, |core, leg| {
                if leg.takeover.as_ref().is_some_and(|t| t.step == TakeoverStep::Waiting) {
                    core.ask_peer(now, leg);
                }
            });
        }
        self.drain_sip(now);
    }

    fn take(&mut self, now: Now, input: Input) {
        match input {
            Input::Received { source, message } => {
                self.core.sip.handle_message(now.instant, &source, message);
            }
            Input::Malformed { source, failure } => {
                self.core.sip.handle_malformed(&source, &failure);
            }
            Input::TransmitFailed(transaction) => {
                self.core.sip.handle_transmit_failed(now.instant, transaction);
            }
            Input::ConnectionClosed(connection) => self.connection_closed(now, connection),
            Input::LegChanged { leg, view } => self.leg_changed(now, leg, view.map(|view| *view)),
            Input::Proposed { ticket, result } => self.proposed(now, ticket, result),
            Input::Media { ticket, reply } => self.media_replied(now, ticket, reply),
            Input::MediaEvent { leg, epoch, event } => {
                self.with_leg(leg, |core, leg| {
                    if leg.epoch == epoch {
                        core.media_event(now, leg, &event);
                    }
                });
            }
            Input::RelayRestarted { relay } => {
                let there: Vec<LegId> = self
                    .legs
                    .values()
                    .filter(|leg| leg.media.relay.id == relay)
                    .map(|leg| leg.id)
                    .collect();
                for leg in there {
                    self.with_leg(leg, |core, leg| core.session_lost(now, leg));
                }
            }
            Input::AgentFound { ticket, agent } => match self.core.tickets.remove(&ticket) {
                Some(TicketUse::Register(number)) => {
                    self.registrar.agent_found(&mut self.core, now, number, agent);
                }
                Some(TicketUse::Unwatch) => {
                    self.registrar.unwatched_found(&mut self.core, ticket, agent.as_deref());
                }
                _ => {}
            },
            Input::LegFound { ticket, state } => {
                if let Some(TicketUse::Unowned(leg)) = self.core.tickets.remove(&ticket) {
                    self.core.unowned_found(now, leg, state);
                }
            }
            Input::Life(grant) => self.new_life(now, grant),
            Input::Lease { epoch, until } => self.core.renewed(now, epoch, until),
            Input::Slept => self.core.slept(now),
            Input::Site(state) => self.core.site = state,
            Input::Timeout => self.time_passed(now),
        }
    }

    /// The next output, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.poll_output()
    }

    /// When to come back with [`Input::Timeout`], if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let due = [
            self.core.sip.poll_timeout(),
            self.core.timers.next(),
            self.core.removals.next_due(),
            self.registrar.next_due(),
        ];
        // While the node may act, its lease running out is an event of its own.
        let lease = self.core.lease.filter(|_| self.core.sip.gate() == Gate::Open);
        due.into_iter().flatten().chain(lease).min()
    }

    /// Legs that this node acts for.
    #[must_use]
    pub fn leg_count(&self) -> usize {
        self.legs.len()
    }

    /// How much is open.
    #[must_use]
    pub fn load(&self) -> Load {
        let core = &self.core;
        Load {
            legs: self.legs.len(),
            dialogs: core.dialogs.len(),
            pending: core.pending.len(),
            client_transactions: core.sip.client_transactions(),
            server_transactions: core.sip.server_transactions(),
            timers: core.timers.len(),
            tickets: core.tickets.len(),
            orphans: core.orphans.len(),
            unowned: core.unowned.len(),
            takeovers_asking: core.turns.asking(),
            takeovers_waiting: core.turns.waiting(),
            removals: core.removals.len(),
            former: core.former.len(),
            registers_open: self.registrar.open(),
            registrations: self.registrar.watched(),
        }
    }

    // --- legs ---------------------------------------------------------------------------------------

    pub(crate) fn insert(&mut self, leg: Leg) {
        if let Some(dialog) = &leg.sip.dialog {
            self.core.dialogs.insert(dialog.id().clone(), leg.id);
        }
        if let Some(pending) = leg.stage.pending() {
            self.core.pending.insert(pending.server_tx, leg.id);
        }
        if let Kind::Caller(Some(trunk)) = leg.kind {
            *self.calls.entry(trunk).or_default() += 1;
        }
        self.legs.insert(leg.id, leg);
    }

    /// Callers' legs of this trunk.
    pub(crate) fn calls_of(&self, trunk: TrunkId) -> usize {
        self.calls.get(&trunk).copied().unwrap_or_default()
    }

    /// Works on a leg, and forgets it if that was its end.
    pub(crate) fn with_leg(&mut self, id: LegId, work: impl FnOnce(&mut Core, &mut Leg)) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        work(&mut self.core, leg);
        match leg.life {
            LegLife::Ours => {}
            LegLife::Over => self.close_told(id),
            LegLife::Lost => {
                // The log said so before our copy of it did: views from before are on their way.
                self.core.former.is_over(id, leg.epoch);
                self.abandon(id);
            }
        }
    }

    /// Forgets a leg that is over. What is still on the wire for it (a BYE) ends in its own time.
    fn close(&mut self, id: LegId) {
        if let Some(leg) = self.forget(id) {
            self.core.note(Note::LegOver { leg: leg.id });
        }
    }

    /// Forgets a leg that the log has forgotten too, or never had.
    fn close_told(&mut self, id: LegId) {
        let known = self.legs.get(&id).filter(|leg| leg.view.is_some()).map(|leg| leg.epoch);
        if let Some(epoch) = known {
            self.core.former.is_over(id, epoch);
        }
        self.close(id);
    }

    /// Forgets a leg that belongs to another node: nothing is sent for it any more. Its audio goes on
    /// until that node says otherwise; but a session of which that node cannot know is ended here.
    pub(crate) fn abandon(&mut self, id: LegId) {
        let Some(mut leg) = self.forget(id) else { return };
        self.core.sip.drop_transactions(leg.owner);
        self.core.leave_unowned(&mut leg);
        if leg.has_unknown_session() {
            self.core.release_media(&mut leg);
        } else if leg.has_session() {
            self.core.former.left(id, leg.media.relay.clone(), leg.epoch);
        }
        if let Some(dialog) = &leg.sip.dialog {
            self.core.departed.add(dialog.id().clone());
        }
        self.core.note(Note::LegDropped { leg: id });
    }

    fn forget(&mut self, id: LegId) -> Option<Leg> {
        let mut leg = self.legs.remove(&id)?;
        self.core.release(&mut leg);
        if let Kind::Caller(Some(trunk)) = leg.kind
            && let Some(calls) = self.calls.get_mut(&trunk)
        {
            *calls = calls.saturating_sub(1);
        }
        Some(leg)
    }

    /// What the log says about a leg now.
    fn leg_changed(&mut self, now: Now, id: LegId, view: Option<LegView>) {
        let outdated = view.as_ref().is_some_and(|view| self.core.former.is_outdated(view));
        self.core.former_changed(id, view.as_ref());
        let Some(life) = self.core.life.filter(|_| !outdated) else { return };
        match view {
            Some(view) if view.leg.owner == life.owner => self.own_leg_changed(now, view),
            Some(view) => {
                self.abandon(id);
                self.core.former_changed(id, Some(&view));
            }
            // The log has forgotten it, which it does only when its owner says that it is over. A
            // caller's leg that the log does not have yet is not forgotten.
            None => {
                if self.legs.get(&id).is_some_and(|leg| leg.view.is_some()) {
                    self.close(id);
                }
            }
        }
    }

    fn own_leg_changed(&mut self, now: Now, view: LegView) {
        let id = view.leg.id;
        let known = self.legs.get(&id).map(|leg| leg.epoch);
        if known == Some(view.leg.epoch) {
            return self.with_leg(id, |core, leg| {
                leg.view = Some(view);
                core.reconcile(now, leg);
                core.correct_the_log(leg);
            });
        }
        // It left us and came back: what we knew of it is out of date.
        self.abandon(id);
        let held = view.leg.control == Control::Held;
        match (&view.leg.phase, view.goal.clone()) {
            (LegPhase::Inviting, Goal::Ring(ring)) if held => {
                let leg = self.core.ring_leg(now, view, &ring);
                self.insert(leg);
                self.with_leg(id, |core, leg| core.sync_media(leg));
            }
            _ if held => {
                // The log took in a caller whom we had refused in the meantime, or the leg was
                // ended before it began: nothing of it is on the wire.
                let ended = match view.leg.role {
                    LegRole::Caller => LegEnd::TurnedAway,
                    LegRole::Agent { .. } => LegEnd::Done,
                };
                let leg = self.core.adopted_leg(now, view);
                self.insert(leg);
                self.with_leg(id, |core, leg| core.tell(leg, Fact::Ended(ended)));
            }
            _ => {
                let leg = self.core.adopted_leg(now, view);
                self.insert(leg);
                self.with_leg(id, |core, leg| core.adopt(now, leg));
            }
        }
    }

    // --- answers of the shell -------------------------------------------------------------------------

    fn proposed(&mut self, now: Now, ticket: Ticket, result: Result<Outcome, NoOutcome>) {
        match self.core.tickets.remove(&ticket) {
            Some(TicketUse::Admission(leg)) => self.with_leg(leg, |core, leg| {
                core.admitted(now, leg, result);
            }),
            Some(TicketUse::Fact(leg)) => self.with_leg(leg, |core, leg| {
                if leg.telling.as_ref().is_some_and(|telling| telling.ticket == ticket) {
                    core.told(now, leg, result);
                }
            }),
            Some(TicketUse::LegIds) => self.core.leg_ids(&result),
            Some(TicketUse::Register(number)) => {
                self.registrar.replicated(&mut self.core, now, number, result);
            }
            _ => {}
        }
    }

    fn media_replied(&mut self, now: Now, ticket: Ticket, reply: MediaReply) {
        match self.core.tickets.remove(&ticket) {
            Some(TicketUse::Media(leg)) => self.with_leg(leg, |core, leg| {
                if leg.media.asking == Some(ticket) {
                    core.media_answered(now, leg, reply);
                }
            }),
            Some(TicketUse::Removal) => self.core.removal_answered(now, ticket, &reply),
            _ => {}
        }
    }

    /// Requests to peers of this connection look for another one from here on.
    fn connection_closed(&mut self, now: Now, connection: ConnectionId) {
        for leg in self.legs.values_mut().filter(|leg| leg.sip.connection == Some(connection)) {
            leg.sip.connection = None;
        }
        self.core.sip.handle_connection_closed(now.instant, connection);
        self.registrar.connection_closed(&mut self.core, connection);
    }

    // --- time -----------------------------------------------------------------------------------------

    fn time_passed(&mut self, now: Now) {
        self.core.sip.handle_timeout(now.instant);
        self.drain_sip(now);
        while let Some((leg, kind)) = self.core.timers.pop(now.instant) {
            self.with_leg(leg, |core, leg| core.timer(now, leg, kind));
        }
        self.core.removals_due(now);
        self.registrar.time_passed(&mut self.core, now);
    }
}

impl Core {
    fn timer(&mut self, now: Now, leg: &mut Leg, kind: TimerKind) {
        let standing = leg.is_established();
        match kind {
            // A leg that is ending changes nothing any more.
            TimerKind::Reinvite | TimerKind::Session | TimerKind::Audit if !standing => {}
            TimerKind::Ok => self.ok_again(now, leg),
            TimerKind::Ring => self.rang_long_enough(now, leg),
            TimerKind::Fact => self.tell_next(leg),
            TimerKind::Media => self.sync_media(leg),
            TimerKind::Reinvite => self.reinvite_due(now, leg),
            TimerKind::Session => self.session_due(now, leg),
            TimerKind::Audit => self.audit(now, leg),
        }
    }

    /// Makes the wire follow what the log wants of a leg.
    pub(crate) fn reconcile(&mut self, now: Now, leg: &mut Leg) {
        match leg.view.as_ref().map(|view| &view.goal) {
            Some(Goal::End { cause, .. }) => {
                let cause = *cause;
                self.end(now, leg, cause);
            }
            Some(Goal::Treat | Goal::Talk(_) | Goal::Ring(_)) | None => self.sync_media(leg),
        }
    }

    /// A report that got lost on its way into the log may come there after a later one: what the log
    /// has then is told anew.
    fn correct_the_log(&mut self, leg: &mut Leg) {
        let wanted = leg.view.as_ref().is_some_and(|view| view.leg.phase == LegPhase::Active);
        if wanted
            && leg.is_established()
            && leg.unheard().next().is_none()
            && !record::is_current(leg)
        {
            self.tell(leg, Fact::Report);
        }
    }
}

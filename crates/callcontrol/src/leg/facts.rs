//! Telling the log: facts of one leg, in order, again until the log has them.
//!
//! A fact (it rings, it was answered, it is over) is never dropped because nobody took it: without a
//! quorum it waits here. It is dropped only with the leg, when another node owns that.

use tandem_cluster::{
    command::{Answered, Command, LegEnd, LegFact, Outcome, Rejection, Reply, Report, Ringing},
    leg::LegRole,
};
use tandem_routing::command::DeclineCause;

use super::{
    Kind, Leg, LegLife, Stage, TakeoverStep, TimerKind,
    record::{self, Reserved},
};
use crate::{
    core::{Core, TicketUse},
    io::{NoOutcome, Note, Now, Output, Ticket},
    limits::{FACT_AGAIN, FACT_AGAIN_MAX, FACT_WITHIN, FACTS_PER_LEG_MAX},
};

/// Something the log has to know about a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fact {
    /// The phone rings.
    Ringing,
    /// The phone was answered, after so many milliseconds.
    Answered { ring_ms: u64 },
    /// The phone did not take the call.
    Failed(DeclineCause),
    /// Dialog or media changed, or more numbers are needed.
    Report,
    /// The peer confirmed its new owner.
    Confirmed,
    /// The leg is over on the wire.
    Ended(LegEnd),
    /// An agent's phone showed a sign of life.
    Alive,
}

/// A fact on its way into the log.
#[derive(Debug)]
pub(crate) struct Telling {
    pub(crate) ticket: Ticket,
    pub(crate) fact: Fact,
    /// The numbers that the log reserves with it. They may be used once the log has them, and only
    /// these: what is needed by then may be more.
    reserved: Option<Reserved>,
}

impl Core {
    /// Adds a fact and tells it when its turn comes.
    pub(crate) fn tell(&mut self, leg: &mut Leg, fact: Fact) {
        // A report says everything as it is when it is sent: one that waits already will do.
        if leg.facts.contains(&fact) {
            return;
        }
        if leg.facts.len() >= FACTS_PER_LEG_MAX {
            self.note(Note::Unexpected { what: format!("{}: too many facts wait", leg.id) });
            return;
        }
        leg.facts.push_back(fact);
        self.tell_next(leg);
    }

    /// Sends the oldest fact, unless one is on its way.
    pub(crate) fn tell_next(&mut self, leg: &mut Leg) {
        if leg.telling.is_some() || self.life.is_none() {
            return;
        }
        while let Some(fact) = leg.facts.pop_front() {
            let ahead = leg.sip.dialog.as_ref().map(|dialog| Reserved::ahead(&leg.sip, dialog));
            let Some(command) = self.command_of(leg, fact, ahead) else {
                // It rang, and stopped before its turn came.
                continue;
            };
            let reserved = ahead.filter(|_| matches!(fact, Fact::Report | Fact::Confirmed));
            let ticket = self.ticket(TicketUse::Fact(leg.id));
            leg.telling = Some(Telling { ticket, fact, reserved });
            return self.output(Output::Propose { ticket, command, within: FACT_WITHIN });
        }
    }

    fn command_of(&self, leg: &Leg, fact: Fact, ahead: Option<Reserved>) -> Option<Command> {
        let (id, epoch) = (leg.id, leg.epoch);
        Some(match fact {
            Fact::Ringing => {
                let Stage::Inviting(invite) = &leg.stage else { return None };
                let early = invite.rang.as_ref()?;
                let dialog = record::dialog(&leg.sip, early, Reserved::now(&leg.sip, early));
                Command::LegRinging(LegFact { leg: id, epoch, fact: Ringing { dialog } })
            }
            Fact::Answered { ring_ms } => {
                let Kind::Agent(offer) = leg.kind else { return None };
                let fact = Box::new(Answered {
                    offer,
                    ring: tandem_routing::time::Millis(ring_ms),
                    dialog: record::current_dialog(leg)?,
                    media: record::media(&leg.media)?,
                });
                Command::LegAnswered(LegFact { leg: id, epoch, fact })
            }
            Fact::Failed(cause) => Command::LegFailed(LegFact { leg: id, epoch, fact: cause }),
            Fact::Report => {
                let fact = Box::new(report(leg, ahead));
                Command::LegReport(LegFact { leg: id, epoch, fact })
            }
            Fact::Confirmed => {
                let fact = Box::new(report(leg, ahead));
                Command::LegConfirmed(LegFact { leg: id, epoch, fact })
            }
            Fact::Ended(how) => Command::LegEnded(LegFact { leg: id, epoch, fact: how }),
            Fact::Alive => {
                let LegRole::Agent { agent, .. } = leg.view.as_ref()?.leg.role else {
                    return None;
                };
                Command::DeviceAlive { agent }
            }
        })
    }

    /// A fact came to an end.
    pub(crate) fn told(&mut self, now: Now, leg: &mut Leg, result: Result<Outcome, NoOutcome>) {
        let Some(told) = leg.telling.take() else { return };
        match result {
            Ok(Ok(reply)) => self.taken(now, leg, &told, &reply),
            // Its row is gone: an earlier try got through after all. Or somebody else acts for it:
            // then its row says so, and nothing is left for us to do.
            Ok(Err(Rejection::LegMustBeOwned { .. })) if is_last(told.fact) => {
                leg.life = LegLife::Over;
            }
            Ok(Err(Rejection::LegMustBeOwned { .. } | Rejection::Fenced { .. })) => {
                leg.life = LegLife::Lost;
            }
            Ok(Err(rejection @ (Rejection::LegPhaseMustFit { .. } | Rejection::Malformed(_)))) => {
                self.note(Note::ProposalRefused { leg: Some(leg.id), why: rejection.to_string() });
                self.never_taken(leg, told.fact);
                self.reconcile(now, leg);
            }
            // Nothing that will stay so.
            Ok(Err(rejection)) => {
                self.note(Note::ProposalRefused { leg: Some(leg.id), why: rejection.to_string() });
                self.tell_later(now, leg, told.fact);
            }
            Err(NoOutcome::Unknown) if planted!(self, UnknownOutcomeIsForgotten) => {}
            Err(NoOutcome::NotDone | NoOutcome::Unknown) => self.tell_later(now, leg, told.fact),
        }
    }

    fn tell_later(&mut self, now: Now, leg: &mut Leg, fact: Fact) {
        leg.facts.push_front(fact);
        self.set_timer(leg.id, TimerKind::Fact, now.instant + leg.tell_again);
        leg.tell_again = (leg.tell_again * 2).min(FACT_AGAIN_MAX);
    }

    /// A fact that can never be taken must not leave the leg hanging.
    fn never_taken(&mut self, leg: &mut Leg, fact: Fact) {
        match fact {
            // The log takes it for answered: what it says about the end is true all the same.
            Fact::Failed(_) => self.tell(leg, Fact::Ended(LegEnd::Failed)),
            Fact::Ended(_) => leg.life = LegLife::Over,
            _ => self.tell_next(leg),
        }
    }

    fn taken(&mut self, now: Now, leg: &mut Leg, told: &Telling, reply: &Reply) {
        leg.tell_again = FACT_AGAIN;
        if let Some(reserved) = told.reserved {
            if let Some(dialog) = leg.sip.dialog.as_mut() {
                dialog.reserve(reserved.cseq);
            }
            leg.sip.description.reserve(reserved.sdp_version);
        }
        match told.fact {
            Fact::Ended(_) | Fact::Failed(_) => leg.life = LegLife::Over,
            // While media flowed before SIP was settled, that goes on.
            Fact::Confirmed if is_settled(leg) => self.end_takeover(leg),
            Fact::Answered { .. } if *reply == Reply::AnsweredTooLate => {
                let why = "answered too late: the call had gone to somebody else".into();
                self.note(Note::ProposalRefused { leg: Some(leg.id), why });
            }
            _ => {}
        }
        self.tell_next(leg);
        // An end that came meanwhile may have waited for this; a re-INVITE for its numbers.
        self.reconcile(now, leg);
        self.next_exchange(now, leg);
    }

    /// Asks for more numbers while enough are left.
    pub(crate) fn reserve_ahead(&mut self, leg: &mut Leg) {
        let Some(dialog) = leg.sip.dialog.as_ref() else { return };
        if Reserved::ahead(&leg.sip, dialog) != Reserved::now(&leg.sip, dialog) {
            self.tell(leg, Fact::Report);
        }
    }
}

/// Dialog and media as they are, with these ends of the reserved blocks.
fn report(leg: &Leg, ahead: Option<Reserved>) -> Report {
    let dialog = leg.sip.dialog.as_ref().zip(ahead);
    let dialog = dialog.map(|(standing, ahead)| record::dialog(&leg.sip, standing, ahead));
    Report { dialog, media: record::media(&leg.media) }
}

/// True for facts after which the log forgets the leg.
fn is_last(fact: Fact) -> bool {
    matches!(fact, Fact::Ended(_) | Fact::Failed(_))
}

fn is_settled(leg: &Leg) -> bool {
    leg.takeover.as_ref().is_some_and(|takeover| takeover.step == TakeoverStep::Confirming)
}

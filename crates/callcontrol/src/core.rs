//! [`Core`]: what all legs share, so that one leg can be worked on while the rest is at hand.
//!
//! Transactions, tickets, timers, the lease and small tables. What happens in a leg's life is in
//! `leg/`; the legs themselves are in [`crate::CallControl`].

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Instant,
};

use tandem_cluster::ids::LegId;
use tandem_routing::entity::SiteState;
use tandem_sip::{
    dialog::DialogId,
    message::Request,
    prng::Prng,
    sdp::{Capabilities, Support},
    transaction::{ClientTx, Hop, Owner, ServerTx, TransactionLayer},
};

use crate::{
    former::Former,
    io::{Note, Output, Ticket},
    leg::{Leg, TimerKind},
    life::Life,
    limits::DEPARTED_MAX,
    removals::Removals,
    settings::Settings,
    timers::Timers,
    turns::Turns,
    unowned::Unowned,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Core {
    #[cfg(feature = "planted")]
    pub(crate) planted: Option<tandem_routing::planted::Planted>,
    pub(crate) settings: Settings,
    pub(crate) capabilities: Capabilities,
    pub(crate) sip: TransactionLayer,
    pub(crate) prng: Prng,
    pub(crate) life: Option<Life>,
    pub(crate) lease: Option<Instant>,
    /// Since when this node may originate without a break.
    pub(crate) acting_since: Option<Instant>,
    pub(crate) site: SiteState,
    pub(crate) dialogs: BTreeMap<DialogId, LegId>,
    /// Dialogs of legs that another node took over.
    pub(crate) departed: Departed,
    /// Whose transactions are whose: each time that a leg is acted for has an owner of its own.
    pub(crate) owners: BTreeMap<Owner, LegId>,
    /// INVITEs of callers that have no final answer yet.
    pub(crate) pending: BTreeMap<ServerTx, LegId>,
    /// INVITEs of ours whose leg is forgotten: an answer is ended.
    pub(crate) orphans: BTreeMap<ClientTx, Orphan>,
    pub(crate) unowned: Unowned,
    pub(crate) former: Former,
    pub(crate) turns: Turns,
    pub(crate) removals: Removals,
    pub(crate) timers: Timers<(LegId, TimerKind)>,
    pub(crate) tickets: BTreeMap<Ticket, TicketUse>,
    next_ticket: u64,
    next_owner: u64,
    outputs: VecDeque<Output>,
}

/// What a ticket was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TicketUse {
    /// Admission of a caller.
    Admission(LegId),
    /// A fact about a leg.
    Fact(LegId),
    /// A relay session.
    Media(LegId),
    /// The end of a relay session.
    Removal,
    /// More leg ids.
    LegIds,
    /// The registrar.
    Register(u64),
    /// The registrar: a phone whose registration is over.
    Unwatch,
    /// A phone's call that may belong to nobody.
    Unowned(LegId),
    /// Nobody waits for the answer.
    Nothing,
}

/// An INVITE of ours and the way that it went.
#[derive(Debug)]
pub(crate) struct Orphan {
    pub(crate) invite: Request,
    pub(crate) hop: Hop,
}

/// The tag of transactions that belong to no leg.
pub(crate) const NO_OWNER: Owner = Owner(0);

impl Core {
    pub(crate) fn new(settings: Settings, sip: TransactionLayer, prng: Prng) -> Self {
        Self {
            #[cfg(feature = "planted")]
            planted: None,
            settings,
            // RTCP has its own port at our relays' sessions.
            capabilities: Capabilities { rtcp_mux: Support::No, ..Capabilities::default() },
            sip,
            prng,
            life: None,
            lease: None,
            acting_since: None,
            site: SiteState::Open,
            dialogs: BTreeMap::new(),
            departed: Departed::default(),
            owners: BTreeMap::new(),
            pending: BTreeMap::new(),
            orphans: BTreeMap::new(),
            unowned: Unowned::new(),
            former: Former::default(),
            turns: Turns::default(),
            removals: Removals::default(),
            timers: Timers::default(),
            tickets: BTreeMap::new(),
            next_ticket: 1,
            next_owner: 1,
            outputs: VecDeque::new(),
        }
    }

    pub(crate) fn note(&mut self, note: Note) {
        self.output(Output::Note(note));
    }

    /// Notes what should not happen. `what` must hold nothing of a caller's.
    pub(crate) fn unexpected(&mut self, leg: LegId, what: impl std::fmt::Display) {
        self.note(Note::Unexpected { what: format!("{leg}: {what}") });
    }

    pub(crate) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(crate) fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    pub(crate) fn ticket(&mut self, purpose: TicketUse) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        if purpose != TicketUse::Nothing {
            self.tickets.insert(ticket, purpose);
        }
        ticket
    }

    /// A tag for the transactions of a leg, never used before: what a former time with the same leg
    /// left behind is not taken for this one's.
    pub(crate) fn owner_of(&mut self, leg: LegId) -> Owner {
        let owner = Owner(self.next_owner);
        self.next_owner += 1;
        self.owners.insert(owner, leg);
        owner
    }

    pub(crate) fn set_timer(&mut self, leg: LegId, kind: TimerKind, at: Instant) {
        self.timers.set((leg, kind), at);
    }

    pub(crate) fn clear_timer(&mut self, leg: LegId, kind: TimerKind) {
        self.timers.clear((leg, kind));
    }

    /// Frees everything that is filed under a leg.
    pub(crate) fn release(&mut self, leg: &mut Leg) {
        for kind in TimerKind::ALL {
            self.clear_timer(leg.id, kind);
        }
        if let Some(dialog) = &leg.sip.dialog {
            self.dialogs.remove(dialog.id());
        }
        self.owners.remove(&leg.owner);
        if let Some(pending) = leg.stage.pending() {
            self.pending.remove(&pending.server_tx);
            pending.asking.map(|ticket| self.tickets.remove(&ticket));
        }
        if let Some(relay) = leg.media.unanswered.take() {
            self.remove_session(relay, leg.id, leg.epoch);
        }
        let telling = leg.telling.as_ref().map(|telling| telling.ticket);
        for ticket in telling.into_iter().chain(leg.media.asking) {
            self.tickets.remove(&ticket);
        }
        self.end_takeover(leg);
    }
}

/// Dialogs of legs that left this node, in the order in which they left; bounded.
#[derive(Debug, Default)]
pub(crate) struct Departed {
    known: BTreeSet<DialogId>,
    order: VecDeque<DialogId>,
}

impl Departed {
    pub(crate) fn add(&mut self, dialog: DialogId) {
        if self.known.insert(dialog.clone()) {
            self.order.push_back(dialog);
        }
        while self.order.len() > DEPARTED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    pub(crate) fn contains(&self, dialog: &DialogId) -> bool {
        self.known.contains(dialog)
    }
}

#[cfg(test)]
mod tests {
    use tandem_sip::{message::CallId, text::SipText};

    use super::*;

    // Goal: the memory of departed dialogs is bounded, and the newest ones are in it.
    #[test]
    fn departed_dialogs_are_bounded() {
        let dialog = |n: usize| DialogId {
            call_id: CallId::parse(&SipText::copy_of(&format!("call-{n}")).unwrap()).unwrap(),
            local_tag: SipText::from_static("ours"),
            remote_tag: SipText::from_static("theirs"),
        };
        let mut departed = Departed::default();
        for n in 0..=DEPARTED_MAX {
            departed.add(dialog(n));
            departed.add(dialog(n));
        }
        assert!(!departed.contains(&dialog(0)));
        assert!(departed.contains(&dialog(1)) && departed.contains(&dialog(DEPARTED_MAX)));
        assert_eq!(departed.order.len(), DEPARTED_MAX);
    }
}

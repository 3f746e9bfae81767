//! This node's life in the log: its lease, the gate over what it originates, and its leg ids.

use std::time::Instant;

use tandem_cluster::{
    command::{Command, Outcome, Reply},
    ids::{Epoch, LegId, Ordinal},
    leg::Owner,
};
use tandem_sip::transaction::Gate;

use crate::{
    CallControl,
    core::{Core, TicketUse},
    io::{Grant, NoOutcome, Note, Now, Output},
    leg::Cancelled,
    limits::{FACT_WITHIN, LEG_IDS_BLOCK, LEG_IDS_LOW},
};

/// This node's life in the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) owner: Owner,
    next_leg: LegId,
    /// The ordinal behind the last reserved one.
    end: u64,
    asking: Asking,
}

/// Whether more leg ids are being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    No,
    Yes,
}

impl CallControl {
    /// A life began or ended. Whatever belonged to the one before is another's now: it is dropped
    /// without a word. Only who waits for a promise of ours hears that there will be none.
    pub(crate) fn new_life(&mut self, now: Now, grant: Option<Grant>) {
        for leg in self.legs.values() {
            if let Some(pending) = leg.stage.pending()
                && pending.cancelled == Cancelled::No
            {
                self.core.refuse_busy(now, pending.server_tx, "the life of this node ended");
            }
        }
        let legs: Vec<LegId> = self.legs.keys().copied().collect();
        for id in legs {
            self.abandon(id);
        }
        self.registrar.forget_all(&mut self.core, now);
        self.core.sip.drop_all_client_transactions();
        self.core.orphans.clear();
        self.core.lease = None;
        self.core.life = grant.map(|grant| Life {
            owner: Owner { node: self.core.settings.node, epoch: grant.epoch },
            next_leg: grant.first_leg,
            end: grant.first_leg.ordinal.0 + u64::from(grant.leg_ids),
            asking: Asking::No,
        });
        self.core.judge_lease(now);
    }
}

impl Core {
    /// The lease of this life was renewed.
    pub(crate) fn renewed(&mut self, now: Now, epoch: Epoch, until: Instant) {
        if self.epoch() == Some(epoch) {
            self.lease = self.lease.max(Some(until));
            self.judge_lease(now);
            self.look_up_all_unowned();
        }
    }

    /// The machine slept: what was granted before counts for nothing now.
    pub(crate) fn slept(&mut self, now: Now) {
        self.lease = None;
        self.judge_lease(now);
    }

    /// Opens or holds the gate: a node whose lease has run out originates nothing.
    pub(crate) fn judge_lease(&mut self, now: Now) {
        let wanted = if self.may_act(now) { Gate::Open } else { Gate::Held };
        if self.sip.gate() == wanted {
            return;
        }
        self.sip.originate_gate(wanted);
        self.acting_since = (wanted == Gate::Open).then_some(now.instant);
        self.note(match wanted {
            Gate::Open => Note::Released,
            Gate::Held => Note::Held,
        });
    }

    /// True while this node may originate requests and make decisions.
    pub(crate) fn may_act(&self, now: Now) -> bool {
        if planted!(self, LeaseIsIgnored) {
            return self.life.is_some();
        }
        self.life.is_some() && self.lease.is_some_and(|until| now.instant < until)
    }

    /// The epoch of this node's life.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.life.map(|life| life.owner.epoch)
    }

    /// The next reserved leg id; asks for more while enough are left.
    pub(crate) fn next_leg_id(&mut self) -> Option<LegId> {
        let life = self.life.as_mut()?;
        let id = (life.next_leg.ordinal.0 < life.end).then_some(life.next_leg);
        if id.is_some() {
            life.next_leg.ordinal = Ordinal(life.next_leg.ordinal.0 + 1);
        }
        let left = life.end - life.next_leg.ordinal.0;
        if left < LEG_IDS_LOW && life.asking == Asking::No {
            life.asking = Asking::Yes;
            let ticket = self.ticket(TicketUse::LegIds);
            let command = Command::ReserveLegIds { count: LEG_IDS_BLOCK };
            self.output(Output::Propose { ticket, command, within: FACT_WITHIN });
        }
        id
    }

    /// More leg ids came, or did not: the next call asks again.
    pub(crate) fn leg_ids(&mut self, result: &Result<Outcome, NoOutcome>) {
        let Some(life) = self.life.as_mut() else { return };
        life.asking = Asking::No;
        if let Ok(Ok(Reply::LegIds { first })) = result {
            // What is left of the old block is given up: ids are plenty, gaps harm nobody.
            life.next_leg = *first;
            life.end = first.ordinal.0 + u64::from(LEG_IDS_BLOCK);
        }
    }
}

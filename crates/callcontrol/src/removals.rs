//! Relay sessions that are to end: asked for again until the relay confirms it.
//!
//! A relay keeps a session for as long as its owner listens, so a removal that was lost would leave
//! it there for good. An epoch says whose session is meant, so a removal outlives the life that began
//! it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use tandem_cluster::{
    ids::{LegEpoch, LegId},
    node::RelayRecord,
};

use crate::{
    core::{Core, TicketUse},
    io::{MediaOperation, MediaReply, MediaRequest, Now, Output, Ticket},
    limits::{REMOVAL_AGAIN, REMOVAL_TRIES, REMOVALS_MAX},
};

/// Removals that are not confirmed.
#[derive(Debug, Default)]
pub(crate) struct Removals {
    open: BTreeMap<Ticket, Removal>,
    again: BTreeSet<(Instant, Ticket)>,
}

#[derive(Debug)]
struct Removal {
    relay: RelayRecord,
    leg: LegId,
    epoch: LegEpoch,
    tries: u32,
}

impl Removals {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// When the next one is tried again.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.again.first().map(|(at, _)| *at)
    }

    fn take_due(&mut self, now: Instant) -> Option<Removal> {
        let (at, ticket) = self.again.first().copied()?;
        if at > now {
            return None;
        }
        self.again.pop_first();
        self.open.remove(&ticket)
    }
}

impl Core {
    /// Ends a session at a relay.
    pub(crate) fn remove_session(&mut self, relay: RelayRecord, leg: LegId, epoch: LegEpoch) {
        if planted!(self, SessionIsNotEnded) {
            return;
        }
        self.try_removal(Removal { relay, leg, epoch, tries: 0 });
    }

    fn try_removal(&mut self, removal: Removal) {
        let bounded = self.removals.len() < REMOVALS_MAX;
        let purpose = if bounded { TicketUse::Removal } else { TicketUse::Nothing };
        let ticket = self.ticket(purpose);
        let what = MediaOperation::Remove { leg: removal.leg, epoch: removal.epoch };
        let relay = removal.relay.clone();
        if bounded {
            let tries = removal.tries + 1;
            self.removals.open.insert(ticket, Removal { tries, ..removal });
        }
        self.output(Output::Media(Box::new(MediaRequest { ticket, relay, what })));
    }

    /// A relay has ended a session, or has not.
    pub(crate) fn removal_answered(&mut self, now: Now, ticket: Ticket, reply: &MediaReply) {
        let tries = self.removals.open.get(&ticket).map(|removal| removal.tries);
        match (reply, tries) {
            (MediaReply::Unreachable | MediaReply::Refused(_), Some(tries))
                if tries < REMOVAL_TRIES =>
            {
                let wait = REMOVAL_AGAIN * 2_u32.saturating_pow(tries - 1);
                self.removals.again.insert((now.instant + wait, ticket));
            }
            // Gone, or a higher epoch's: not ours to end.
            _ => {
                self.removals.open.remove(&ticket);
            }
        }
    }

    /// Tries again what is due.
    pub(crate) fn removals_due(&mut self, now: Now) {
        while let Some(removal) = self.removals.take_due(now.instant) {
            self.try_removal(removal);
        }
    }
}

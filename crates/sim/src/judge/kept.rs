//! R3 and T1: a contact that was enqueued is there until it ends; it ends once, with a reason, and enters
//! the history once. The counts are the ground truth for every statistic.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{command::Event, entity::EndReason, ids::ContactId};

use super::Entry;

/// What was counted.
#[derive(Debug, Default)]
pub struct Kept {
    open: BTreeSet<ContactId>,
    /// Contacts that were ever enqueued.
    pub enqueued: u64,
    /// Conversations that began.
    pub connected: u64,
    /// Offers that were made.
    pub offers: u64,
    /// Ended contacts, by reason.
    pub ended: BTreeMap<EndReason, u64>,
}

impl Kept {
    /// Counts an entry and compares it with the rows.
    pub fn check(&mut self, entry: &Entry, found: &mut Vec<String>) {
        let mut ended = 0;
        for event in &entry.events {
            match event {
                Event::ContactEnqueued(contact) => {
                    self.enqueued += 1;
                    if !self.open.insert(*contact) {
                        found.push(format!("T1: {contact} is enqueued twice"));
                    }
                }
                Event::ContactEnded { contact, reason } => {
                    ended += 1;
                    *self.ended.entry(*reason).or_default() += 1;
                    if !self.open.remove(&contact.id) {
                        found.push(format!("T1: {} ends twice, now by {reason:?}", contact.id));
                    }
                }
                Event::ContactConnected { .. } => self.connected += 1,
                Event::OfferMade { .. } => self.offers += 1,
                _ => {}
            }
        }
        if !self.open.iter().eq(entry.after.contacts.keys()) {
            let there: BTreeSet<ContactId> = entry.after.contacts.keys().copied().collect();
            let odd: Vec<_> = self.open.symmetric_difference(&there).collect();
            found.push(format!("R3: {odd:?} vanished without a reason, or came from nowhere"));
            self.open = there;
        }
        if entry.history != ended {
            let rows = entry.history;
            found.push(format!("T1: {ended} contacts ended, {rows} entered the history"));
        }
    }
}

#[cfg(test)]
mod tests {
    use tandem_routing::command::Command;

    use super::*;
    use crate::judge::samples::Small;

    fn judged(kept: &mut Kept, entry: &Entry) -> String {
        let mut found = Vec::new();
        kept.check(entry, &mut found);
        found.join("; ")
    }

    // Goal: a life from arrival to end passes; one that vanishes, ends twice or is not recorded is seen.
    #[test]
    fn a_lost_contact_is_seen() {
        let mut small = Small::new();
        let mut kept = Kept::default();
        let call = small.call();
        assert_eq!(judged(&mut kept, &call), "");
        let contact = *call.after.contacts.keys().next().unwrap();

        let mut vanished = call.clone();
        vanished.events.clear();
        vanished.after.contacts.clear();
        assert!(judged(&mut kept, &vanished).starts_with("R3"));
        judged(&mut kept, &Entry { events: Vec::new(), ..call.clone() });

        let reason = EndReason::Abandoned;
        let mut end = small.run(Command::End { contact, reason });
        assert!(judged(&mut kept, &end).contains("entered the history"), "its row is missing");
        end.history = 1;
        assert!(judged(&mut kept, &end).contains("ends twice"));
        assert!(judged(&mut kept, &call).is_empty());
        assert!(judged(&mut kept, &call).contains("enqueued twice"));
    }
}

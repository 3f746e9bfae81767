//! Waiting in several queues at once: a contact keeps its place in its own queue and has one in others, by the
//! rules of its own ([`crate::rules::Also`]). The first agent of any of them takes it.
//!
//! What a further queue makes of a contact is what it would make of one of its own that came at the same time:
//! its requirement, its timed rules, its weight. Ringing, what becomes of an agent who does not answer, and the
//! strategy are those of the queue that the offer is made through; whoever answers takes the contact over into
//! that queue, as an overflow does, so that wrap-up and figures are its own. Overflow, the longest wait and
//! opening hours go by the contact's own queue.

use crate::{
    command::Event,
    entity::{Contact, Entry, Queue, WorkItem},
    ids::{ContactId, QueueId},
    rules::AtClose,
    state::State,
};

impl State {
    /// Changes a contact of this queue, and what follows for its places in others.
    pub(super) fn change_waiting(
        &mut self,
        id: ContactId,
        queue: QueueId,
        change: impl FnOnce(&mut Contact, &Queue),
    ) {
        let Some(queue) = self.queues.get(&queue).cloned() else { return };
        let alone = self.contacts.get(&id).is_none_or(|row| row.also.is_empty());
        if alone && queue.rules.also.is_empty() {
            self.update_contact(id, |row| change(row, &queue));
            return;
        }
        let Some(before) = self.contacts.get(&id).cloned() else { return };
        let mut after = before.clone();
        change(&mut after, &queue);
        self.follow_also(&mut after, &queue);
        let joins = after.also.iter().any(|entry| !before.waits_in(entry.queue));
        self.update_contact(id, |row| *row = after);
        if joins {
            // Somebody there may be free.
            self.add_work(WorkItem::Rematch);
        }
        self.remove_when_left(&before);
    }

    /// Follows a change of what a contact's further queues are, or of one of them.
    pub(super) fn follow_also_of(&mut self, id: ContactId) {
        let Some(queue) = self.contacts.get(&id).map(|row| row.queue) else { return };
        self.change_waiting(id, queue, |_, _| ());
    }

    /// Gives a contact its places in further queues: those it has, where it may stay, and new ones whose time has
    /// come and where there is room.
    pub(super) fn follow_also(&self, contact: &mut Contact, queue: &Queue) {
        if queue.rules.also.is_empty() && contact.also.is_empty() || !contact.is_waiting() {
            return;
        }
        let now = self.counters.now;
        let had = std::mem::take(&mut contact.also);
        if planted!(self, OneQueueIsEnough) {
            return;
        }
        let since = now.since(contact.entered);
        for rule in queue.rules.also.iter().filter(|rule| rule.after <= since) {
            let Some(other) = self.queues.get(&rule.queue) else { continue };
            let stays = had.iter().any(|entry| entry.queue == other.id);
            if !self.may_wait_in(contact, other, stays) {
                continue;
            }
            let (entry, next) = contact.entry_in(other, now.since(contact.arrival));
            if !stays && !self.has_room_for_class(contact, &entry) {
                continue;
            }
            contact.also.push(entry);
            contact.stage_at = contact.stage_at.into_iter().chain(next).min();
        }
    }

    fn may_wait_in(&self, contact: &Contact, queue: &Queue, stays: bool) -> bool {
        let closes =
            queue.rules.hours.as_ref().is_some_and(|hours| hours.at_close == AtClose::Leave);
        let open = self.is_open(queue) || stays && !closes;
        let room = stays || self.queue_len(queue.id) < queue.length_max;
        let new = queue.id != contact.queue && !contact.visited.contains(&queue.id);
        queue.retiring.is_none() && open && room && new && !contact.waits_in(queue.id)
    }

    fn has_room_for_class(&self, contact: &Contact, entry: &Entry) -> bool {
        let mut with_it = contact.clone();
        with_it.also = vec![entry.clone()];
        with_it.elsewhere().all(|seen| self.check_class(&seen).is_ok())
    }

    /// An agent of a further queue has answered: the contact is that queue's from now on.
    pub(super) fn answer_elsewhere(
        &mut self,
        id: ContactId,
        from: QueueId,
        to: QueueId,
        events: &mut Vec<Event>,
    ) {
        let Some(queue) = self.queues.get(&to).cloned() else { return };
        let now = self.counters.now;
        self.update_contact(id, |row| {
            row.visited.push(from);
            row.queue = to;
            row.entered = now;
            row.placed = None;
            row.follow(&queue, now);
        });
        self.count_overflow(id, from, to, events);
        self.remove_when_empty(from);
    }

    /// To be called when a contact may have left further queues: one that is on its way out may be empty now.
    pub(super) fn remove_when_left(&mut self, before: &Contact) {
        for entry in &before.also {
            self.remove_when_empty(entry.queue);
        }
    }
}

//! Leaving a queue on a rule: for another queue, with the time of arrival, or away.

use super::contacts::widen_at;
use crate::{
    command::{Event, Rejection},
    entity::{Contact, ContactState, EndReason, Queue},
    ids::{ContactId, QueueId},
    limits::{OFFER_BACKSTOP_MS, VISITED_MAX},
    name::Name,
    rules::{Target, Trigger},
    state::State,
    time::Millis,
};

impl State {
    /// The queue that takes a contact that comes, by the rules of the one that its number leads to; the
    /// contact follows it.
    pub(super) fn queue_for(
        &mut self,
        contact: &mut Contact,
        called: &Name,
    ) -> Result<Queue, Rejection> {
        let now = self.counters.now;
        let first = self.queues.get(&contact.queue);
        let mut queue = first.ok_or_else(|| Rejection::NumberMustExist(called.clone()))?.clone();
        loop {
            contact.follow(&queue, now);
            contact.also.clear();
            self.follow_also(contact, &queue);
            let gone = queue.retiring.as_ref().map(|retirement| &retirement.to);
            let next = gone.or_else(|| {
                queue.rules.overflow.iter().find_map(|rule| {
                    let applies = self.applies_on_arrival(rule.when, contact, &queue);
                    (applies && self.may_go(contact, &rule.to)).then_some(&rule.to)
                })
            });
            match next {
                Some(Target::Queue(to)) => {
                    contact.visited.push(queue.id);
                    contact.queue = *to;
                    // May go there: it is there.
                    let Some(row) = self.queues.get(to) else { break };
                    queue = row.clone();
                }
                Some(Target::Away) => {
                    return Err(Rejection::QueueMustTakeCallers(queue.name.clone()));
                }
                None => break,
            }
        }
        if !self.is_open(&queue) {
            return Err(Rejection::QueueMustBeOpen(queue.name.clone()));
        }
        let waiting = self.queue_len(queue.id);
        if waiting >= queue.length_max && !planted!(self, FullQueueTakesMore) {
            return Err(Rejection::QueueMustHaveRoom(queue.name.clone(), waiting));
        }
        Ok(queue)
    }

    fn applies_on_arrival(&mut self, when: Trigger, contact: &Contact, queue: &Queue) -> bool {
        match when {
            Trigger::Length(length) => self.queue_len(queue.id) >= length,
            Trigger::ExpectedWait(most) => {
                self.expected_wait(queue).is_none_or(|expected| expected > most)
            }
            Trigger::Unstaffed => {
                self.index.prepare_class(contact);
                !self.index.is_anybody_there_for(contact)
            }
            Trigger::Closed => !self.is_open(queue),
            Trigger::Waited(_) => false,
        }
    }

    /// True unless the contact has been there, or the queue has no room or is gone.
    pub(super) fn may_go(&self, contact: &Contact, to: &Target<QueueId>) -> bool {
        let Target::Queue(to) = to else { return true };
        let knows = *to == contact.queue
            || contact.visited.contains(to) && !planted!(self, OverflowComesBack)
            || contact.visited.len() >= VISITED_MAX;
        let room = |queue: &Queue| {
            queue.retiring.is_none()
                && self.is_open(queue)
                && self.queue_len(queue.id) < queue.length_max
        };
        !knows && self.queues.get(to).is_some_and(room)
    }

    /// Counts the queues that a contact has passed on its way in.
    pub(super) fn count_overflows(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let path: Vec<QueueId> = contact.visited.iter().copied().chain([contact.queue]).collect();
        for pair in path.windows(2) {
            if let [from, to] = pair {
                self.count_overflow(id, *from, *to, events);
            }
        }
    }

    pub(super) fn count_overflow(
        &mut self,
        contact: ContactId,
        from: QueueId,
        to: QueueId,
        events: &mut Vec<Event>,
    ) {
        self.count(from, |row, _| row.overflowed_out += 1);
        self.count(to, |row, _| row.overflowed_in += 1);
        events.push(Event::ContactOverflowed { contact, from, to });
    }

    /// Lets a contact go whose time in the queue is over, by its first rule that applies. True when it went.
    pub(super) fn overflow_if_due(&mut self, id: ContactId, events: &mut Vec<Event>) -> bool {
        let Some(contact) = self.contacts.get(&id).cloned() else { return false };
        let Some(queue) = self.queues.get(&contact.queue) else { return false };
        if let Some(retirement) = queue.retiring.clone() {
            return self.overflow(&contact, &retirement.to, events);
        }
        let waited = self.counters.now.since(contact.entered);
        let due = queue.rules.overflow.iter().find(|rule| {
            let is_due = matches!(rule.when, Trigger::Waited(after) if after <= waited);
            is_due && self.may_go(&contact, &rule.to)
        });
        let Some(to) = due.map(|rule| rule.to.clone()) else { return false };
        self.overflow(&contact, &to, events)
    }

    /// Lets a contact go for which nobody is at work.
    pub(super) fn overflow_unstaffed(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let Some(contact) = self.contacts.get(&id).cloned() else { return };
        let Some(queue) = self.queues.get(&contact.queue) else { return };
        if self.index.is_anybody_there_for(&contact) {
            return;
        }
        let rules = queue.rules.overflow.iter();
        let mut rules = rules.filter(|rule| rule.when == Trigger::Unstaffed);
        let to = rules.find(|rule| self.may_go(&contact, &rule.to)).map(|rule| rule.to.clone());
        if let Some(to) = to {
            self.overflow(&contact, &to, events);
        }
    }

    /// True when the contact is gone from its queue: not while a phone rings for it; it is asked again then.
    pub(super) fn overflow(
        &mut self,
        contact: &Contact,
        to: &Target<QueueId>,
        events: &mut Vec<Event>,
    ) -> bool {
        let (id, now) = (contact.id, self.counters.now);
        match contact.state {
            ContactState::Connected { .. } => return false,
            ContactState::Offered { .. } => return self.overflow_later(id),
            ContactState::Queued | ContactState::Unconfirmed => {}
        }
        let queue = match to {
            Target::Queue(to) => self.queues.get(to).cloned(),
            Target::Away => None,
        };
        let Some(queue) = queue else {
            // The contact is live, so this cannot be refused.
            if let Err(rejection) = self.end(id, EndReason::Overflowed, events) {
                debug_assert!(false, "{rejection}");
            }
            return true;
        };
        let mut moved = contact.clone();
        moved.visited.push(contact.queue);
        moved.queue = queue.id;
        moved.entered = now;
        moved.placed = None;
        moved.preferred = None;
        moved.also.clear();
        moved.via = None;
        if planted!(self, OverflowLosesPlace) {
            moved.arrival = now;
        }
        moved.follow(&queue, now);
        if self.check_class(&moved).is_err() {
            return self.overflow_later(id);
        }
        moved.serving = self.assign_site(&moved, &queue);
        moved.widen_at = widen_at(&moved, &queue, now);
        self.follow_also(&mut moved, &queue);
        moved.came_as = self.queue_len(queue.id).saturating_add(1);
        self.update_contact(id, |row| *row = moved);
        self.count_overflow(id, contact.queue, queue.id, events);
        self.remove_when_empty(contact.queue);
        self.remove_when_left(contact);
        self.let_go(contact);
        self.match_contact(id, events);
        true
    }

    /// Asks again in a while whether the contact may go; it is not gone now.
    fn overflow_later(&mut self, id: ContactId) -> bool {
        let again = self.counters.now + Millis(OFFER_BACKSTOP_MS);
        self.update_contact(id, |row| {
            row.stage_at = Some(row.stage_at.map_or(again, |at| at.min(again)));
        });
        false
    }
}

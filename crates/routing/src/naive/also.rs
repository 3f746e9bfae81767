//! Waiting in several queues, as the judge sees it.

use super::{Judge, choice::follow_row};
use crate::{
    entity::{Contact, Entry},
    ids::{ContactId, QueueId},
    rules::AtClose,
    time::ClusterTime,
};

/// A contact as those queues see it through which it can be offered now: its own alone, while it waits for one
/// agent.
pub(super) fn seen_by_all(contact: &Contact) -> Vec<Contact> {
    let mut seen = in_every_queue(contact);
    if contact.preferred.is_some() {
        seen.truncate(1);
    }
    seen
}

/// A contact as each of its queues sees it, its own first.
pub(super) fn in_every_queue(contact: &Contact) -> Vec<Contact> {
    let mut seen = vec![contact.clone()];
    for entry in &contact.also {
        let mut other = contact.clone();
        other.queue = entry.queue;
        other.requirement = entry.requirement.clone();
        other.stage = entry.stage;
        other.effective_arrival_ms = entry.effective_arrival_ms;
        seen.push(other);
    }
    seen
}

impl Judge {
    /// Changes a contact, and then what it has in other queues.
    pub(super) fn change(&mut self, id: ContactId, change: impl FnOnce(&mut Contact, ClusterTime)) {
        let Some(mut contact) = self.contacts.get(&id).cloned() else { return };
        let before = contact.clone();
        change(&mut contact, self.now);
        self.join(&mut contact);
        self.contacts.insert(id, contact);
        self.forget_left(&before);
    }

    /// The queues in which a contact waits beside its own, as things stand now.
    pub(super) fn join(&self, contact: &mut Contact) {
        if !contact.is_waiting() {
            return;
        }
        let before: Vec<QueueId> = contact.also.drain(..).map(|entry| entry.queue).collect();
        for rule in &self.queues[&contact.queue].rules.also {
            let Some(queue) = self.queues.get(&rule.queue) else { continue };
            let is_due = contact.entered.0 + rule.after.0 <= self.now.0;
            let was_there = before.contains(&queue.id);
            let leaves =
                queue.rules.hours.as_ref().is_some_and(|hours| hours.at_close == AtClose::Leave);
            let open = self.is_open(queue.id) || was_there && !leaves;
            let room = was_there || self.line(queue.id) < u64::from(queue.length_max);
            let known = contact.waits_in(queue.id) || contact.visited.contains(&queue.id);
            if !is_due || !open || !room || known || queue.retiring.is_some() {
                continue;
            }
            let mut other = contact.clone();
            other.queue = queue.id;
            other.placed = None;
            follow_row(&mut other, queue, self.now);
            let rules = &queue.rules;
            let mut times: Vec<u64> = rules.steps.iter().map(|step| step.after.0).collect();
            times.extend(rules.reserve_after.iter().map(|after| after.0));
            times.extend(rules.urgency.map(|urgency| urgency.after.0));
            let moments = times.iter().map(|after| ClusterTime(contact.arrival.0 + after));
            let moments = moments.filter(|moment| moment.0 > self.now.0);
            contact.stage_at = contact.stage_at.into_iter().chain(moments).min();
            contact.also.push(Entry {
                queue: queue.id,
                requirement: other.requirement,
                stage: other.stage,
                effective_arrival_ms: other.effective_arrival_ms,
            });
        }
    }

    /// Queues that are on their way out, once the last contact has left them.
    pub(super) fn forget_left(&mut self, before: &Contact) {
        self.forget_if_empty(before.queue);
        for entry in &before.also {
            self.forget_if_empty(entry.queue);
        }
    }
}

//! Overflow, as the judge sees it.

use super::{
    Judge,
    also::in_every_queue,
    choice::{follow_row, qualified},
};
use crate::{
    entity::{
        Contact, ContactState, EndReason, LoginState, Progress, Queue, Retirement, SiteChoice,
    },
    ids::{ContactId, QueueId},
    limits::{OFFER_BACKSTOP_MS, VISITED_MAX},
    name::Name,
    rules::{Target, Trigger},
    state::State,
    time::ClusterTime,
};

impl Judge {
    /// Lets a contact that comes go through the rules of queues until one takes it.
    pub(super) fn come(&self, contact: &mut Contact) {
        loop {
            let queue = self.queues[&contact.queue].clone();
            follow_row(contact, &queue, self.now);
            contact.also.clear();
            self.join(contact);
            if let Some(retirement) = &queue.retiring
                && let Target::Queue(to) = retirement.to
            {
                contact.visited.push(contact.queue);
                contact.queue = to;
                continue;
            }
            let mut left = false;
            for rule in &queue.rules.overflow {
                let applies = match rule.when {
                    Trigger::Length(length) => self.line(queue.id) >= u64::from(length),
                    Trigger::ExpectedWait(most) => {
                        self.expected(&queue).is_none_or(|wait| wait > most.0)
                    }
                    Trigger::Unstaffed => !self.is_staffed(contact),
                    Trigger::Closed => !self.is_open(queue.id),
                    Trigger::Waited(_) => false,
                };
                if applies
                    && let Target::Queue(to) = rule.to
                    && self.may_go(contact, to)
                {
                    contact.visited.push(contact.queue);
                    contact.queue = to;
                    left = true;
                    break;
                }
            }
            if !left {
                break;
            }
        }
    }

    /// A contact passed these queues on its way in.
    pub(super) fn count_path(&mut self, contact: &Contact) {
        let mut from = None;
        for queue in contact.visited.iter().chain([&contact.queue]) {
            if let Some(from) = from {
                self.sums(from).overflowed_out += 1;
                self.sums(*queue).overflowed_in += 1;
            }
            from = Some(*queue);
        }
    }

    /// As how many-th a contact comes into a queue's line.
    pub(super) fn comes_as(&self, queue: QueueId) -> u32 {
        u32::try_from(self.line(queue) + 1).unwrap_or(u32::MAX)
    }

    pub(super) fn line(&self, queue: QueueId) -> u64 {
        self.contacts.values().filter(|c| c.waits_in(queue) && c.is_waiting()).count() as u64
    }

    fn is_staffed(&self, contact: &Contact) -> bool {
        let mut there = self.agents.values().filter(|a| a.login != LoginState::LoggedOut);
        let seen = in_every_queue(contact);
        there.any(|agent| seen.iter().any(|contact| qualified(contact, agent)))
    }

    pub(super) fn may_go(&self, contact: &Contact, to: QueueId) -> bool {
        let Some(queue) = self.queues.get(&to) else { return false };
        to != contact.queue
            && !contact.visited.contains(&to)
            && contact.visited.len() < VISITED_MAX
            && self.line(to) < u64::from(queue.length_max)
            && queue.retiring.is_none()
            && self.is_open(to)
    }

    fn expected(&self, queue: &Queue) -> Option<u64> {
        let at_work = |a: &&crate::entity::Agent| {
            a.login != LoginState::LoggedOut && a.queues.contains(&queue.id)
        };
        let agents = self.agents.values().filter(at_work).count() as u64;
        let this = self.now.0 / 900_000 * 900_000;
        let last_hour = |start: u64| start <= this && start + 3_600_000 >= this;
        let (mut handled, mut time) = (0, 0);
        for ((start, id), row) in &self.queue_sums {
            if *id == queue.id && last_hour(*start) {
                handled += u64::from(row.handled);
                time += row.talk.0 + row.wrap_up.0;
            }
        }
        let handle = time.checked_div(handled).unwrap_or(180_000);
        ((self.line(queue.id) + 1) * handle).checked_div(agents)
    }

    /// A contact's stage came: it may have been in its queue for long enough.
    pub(super) fn overflow_if_due(&mut self, id: ContactId) {
        let Some(contact) = self.contacts.get(&id).cloned() else { return };
        if let Some(retirement) = self.queues[&contact.queue].retiring.clone() {
            return self.overflow(&contact, &retirement.to);
        }
        let waited = self.now.0 - contact.entered.0;
        for rule in &self.queues[&contact.queue].rules.overflow.clone() {
            let Trigger::Waited(after) = rule.when else { continue };
            if after.0 > waited {
                continue;
            }
            match rule.to {
                Target::Queue(to) if !self.may_go(&contact, to) => continue,
                _ => return self.overflow(&contact, &rule.to),
            }
        }
    }

    /// Queues have lost agents.
    pub(super) fn leave_unstaffed(&mut self) {
        for queue in std::mem::take(&mut self.vacated) {
            self.overflow_unstaffed(queue);
        }
    }

    /// An agent of these queues has left: contacts that nobody can serve any more go.
    pub(super) fn overflow_unstaffed(&mut self, queue: QueueId) {
        let ids: Vec<ContactId> = self.contacts.keys().copied().collect();
        for id in ids {
            let contact = self.contacts[&id].clone();
            if !contact.waits_in(queue) || self.is_staffed(&contact) {
                continue;
            }
            let rules = self.queues[&contact.queue].rules.overflow.clone();
            let to = rules
                .iter()
                .filter(|rule| rule.when == Trigger::Unstaffed)
                .find(|rule| !matches!(rule.to, Target::Queue(to) if !self.may_go(&contact, to)));
            if let Some(rule) = to {
                self.overflow(&contact, &rule.to);
            }
        }
    }

    pub(super) fn overflow(&mut self, contact: &Contact, to: &Target<QueueId>) {
        let now = self.now;
        match contact.state {
            ContactState::Connected { .. } => return,
            ContactState::Offered { .. } => {
                let again = ClusterTime(now.0 + OFFER_BACKSTOP_MS);
                if let Some(row) = self.contacts.get_mut(&contact.id) {
                    row.stage_at = Some(row.stage_at.map_or(again, |at| at.min(again)));
                }
                return;
            }
            ContactState::Queued | ContactState::Unconfirmed => {}
        }
        let Target::Queue(to) = to else { return self.end(contact.id, EndReason::Overflowed) };
        let queue = self.queues[to].clone();
        let mut moved = contact.clone();
        moved.visited.push(contact.queue);
        moved.queue = *to;
        moved.entered = now;
        moved.placed = None;
        moved.preferred = None;
        moved.also.clear();
        moved.via = None;
        follow_row(&mut moved, &queue, now);
        moved.serving = self.assign(&moved);
        moved.widen_at = widen(&moved, &queue, now);
        self.join(&mut moved);
        moved.came_as = self.comes_as(*to);
        self.contacts.insert(moved.id, moved);
        self.sums(contact.queue).overflowed_out += 1;
        self.sums(*to).overflowed_in += 1;
        self.forget_left(contact);
    }

    /// A queue is taken out: who waits there goes.
    pub(super) fn retire(&mut self, name: &Name, to: &Target<Name>, state: &State) {
        let named = |name: &Name| self.queues.values().find(|row| row.name == *name).map(|q| q.id);
        let Some(id) = named(name) else { return };
        let to = match to {
            Target::Queue(name) => named(name).map_or(Target::Away, Target::Queue),
            Target::Away => Target::Away,
        };
        if let Some(row) = self.queues.get_mut(&id) {
            row.retiring = Some(Retirement { to: to.clone(), progress: Progress::Cleared });
        }
        let waiting = self.contacts.values().filter(|c| c.waits_in(id) && c.is_waiting());
        let waiting: Vec<ContactId> = waiting.map(|c| c.id).collect();
        for contact in waiting {
            let contact = self.contacts[&contact].clone();
            if contact.queue == id {
                self.overflow(&contact, &to);
            } else {
                self.change(contact.id, |_, _| ());
            }
        }
        self.copy_configuration(state);
    }

    /// The last contact of a queue that was taken out is gone.
    pub(super) fn forget_if_empty(&mut self, queue: QueueId) {
        let retired = self.queues.get(&queue).is_some_and(|row| row.retiring.is_some());
        if retired && self.contacts.values().all(|contact| !contact.waits_in(queue)) {
            self.queues.remove(&queue);
        }
    }
}

/// Until when a contact is kept for its site.
pub(super) fn widen(contact: &Contact, queue: &Queue, now: ClusterTime) -> Option<ClusterTime> {
    let at = ClusterTime(contact.arrival.0 + queue.widen_after.0);
    let keeps = queue.site_choice != SiteChoice::Any && queue.widen_after.0 > 0;
    (keeps && at > now).then_some(at)
}

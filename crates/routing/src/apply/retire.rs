//! Taking a queue out: who waits goes where it was said, numbers follow, agents forget it; then it is gone.
//!
//! Done by the work list, in phases ([`Retiring`]), so that no entry does too much. From the first moment on
//! nothing new comes in ([`State::queue_to_use`]), and callers go straight on to the destination.

use std::sync::Arc;

use super::config::drop_queue;
use crate::{
    command::{Event, Rejection, Reply},
    entity::{Number, Progress, Queue, Retirement, Retiring, Work, WorkItem},
    ids::{AgentId, ContactId, QueueId, TenantId},
    limits::APPLY_WORK_MAX,
    name::Name,
    rules::Target,
    state::State,
};

impl State {
    /// The queue of this name, if something may be made to lead to it.
    pub(super) fn queue_to_use(&self, tenant: TenantId, name: &Name) -> Result<&Queue, Rejection> {
        let queue = self.queue_named(tenant, name);
        let queue = queue.ok_or_else(|| Rejection::QueueMustExist(name.clone()))?;
        match queue.retiring {
            None => Ok(queue),
            Some(_) => Err(Rejection::QueueMustStay(name.clone())),
        }
    }

    /// Removes a queue that nobody waits in and nothing leads to.
    pub(super) fn remove_queue_named(
        &mut self,
        tenant: TenantId,
        name: &Name,
    ) -> Result<Reply, Rejection> {
        let queue = self.queue_to_use(tenant, name)?.id;
        let contacts = self.contacts.iter().filter(|contact| contact.queue == queue).count();
        if contacts > 0 {
            let contacts = u32::try_from(contacts).unwrap_or(u32::MAX);
            return Err(Rejection::QueueMustBeEmpty(name.clone(), contacts));
        }
        if let Some(number) = self.numbers.iter().find(|number| number.queue == queue) {
            return Err(Rejection::QueueMustBeUnused(name.clone(), number.number.clone()));
        }
        let leads_here = |row: &&Queue| {
            row.rules.overflow.iter().any(|rule| rule.to == Target::Queue(queue))
                || row.rules.also.iter().any(|also| also.queue == queue)
        };
        if let Some(other) = self.queues.iter().find(leads_here) {
            return Err(Rejection::QueueMustNotBeTarget(name.clone(), other.name.clone()));
        }
        self.begin_retiring(queue, Target::Away);
        Ok(Reply::Done)
    }

    /// Removes a queue with whatever is in it or leads to it; who waits goes to `to`, with their times of
    /// arrival. Conversations go on to their end; the queue's row stays for so long.
    pub(super) fn retire_queue(
        &mut self,
        tenant: TenantId,
        name: &Name,
        to: &Target<Name>,
    ) -> Result<Reply, Rejection> {
        let queue = self.queue_to_use(tenant, name)?.id;
        let to = match to {
            Target::Away => Target::Away,
            Target::Queue(other) => {
                let other = self.queue_to_use(tenant, other)?;
                if other.id == queue {
                    return Err(Rejection::QueueMustNotLeadToItself(name.clone()));
                }
                Target::Queue(other.id)
            }
        };
        self.begin_retiring(queue, to);
        Ok(Reply::Done)
    }

    fn begin_retiring(&mut self, queue: QueueId, to: Target<QueueId>) {
        let progress = Progress::Clearing;
        self.queues.update(&queue, |row| row.retiring = Some(Retirement { to, progress }));
        self.add_work(WorkItem::Retire { queue, phase: Retiring::Numbers(None) });
        self.add_work(WorkItem::Rematch);
    }

    /// Takes queues out at once that are on their way, however many steps that takes.
    pub(super) fn finish_retiring(&mut self, events: &mut Vec<Event>) {
        let retires = |work: &&Work| matches!(work.item, WorkItem::Retire { .. });
        loop {
            let next = self.work.iter().find(retires).cloned();
            let Some(work) = next else { return };
            let WorkItem::Retire { queue, phase } = work.item else { return };
            let number = work.number;
            match self.go_on_retiring(queue, phase, APPLY_WORK_MAX, events).1 {
                Some(item) => {
                    self.work.update(&number, |row| row.item = item);
                }
                None => {
                    self.work.remove(&number);
                }
            }
        }
    }

    /// Up to `budget` steps of a phase; how many were done, and what is left.
    pub(super) fn go_on_retiring(
        &mut self,
        id: QueueId,
        phase: Retiring,
        budget: usize,
        events: &mut Vec<Event>,
    ) -> (usize, Option<WorkItem>) {
        let retirement = self.queues.get(&id).and_then(|row| row.retiring.clone());
        let Some(Retirement { to, .. }) = retirement else { return (1, None) };
        let (done, next) = match phase {
            Retiring::Numbers(from) => {
                let from = from.map_or_else(
                    || self.numbers.iter().take(budget + 1).cloned().collect::<Vec<Number>>(),
                    |from| self.numbers.iter_from(&from).take(budget + 1).cloned().collect(),
                );
                let (these, more) = split(from, budget);
                for number in these.iter().filter(|number| number.queue == id) {
                    self.lead_elsewhere(number, &to);
                }
                let rest = more.map(|number| Retiring::Numbers(Some(number.number)));
                (these.len(), rest.unwrap_or(Retiring::Contacts(ContactId::default())))
            }
            Retiring::Contacts(from) => {
                let rows: Vec<(ContactId, QueueId, bool)> = self
                    .contacts
                    .iter_from(&from)
                    .take(budget + 1)
                    .map(|row| (row.id, row.queue, row.waits_in(id)))
                    .collect();
                let (these, more) = split(rows, budget);
                for (contact, queue, _) in these.iter().filter(|(.., waits)| *waits) {
                    if *queue != id {
                        self.follow_also_of(*contact);
                    } else if !planted!(self, RetiredKeepTheirWaiting) {
                        self.overflow_if_due(*contact, events);
                    }
                }
                let rest = more.map(|(contact, ..)| Retiring::Contacts(contact));
                (these.len(), rest.unwrap_or(Retiring::Rules(QueueId::default())))
            }
            Retiring::Rules(from) => {
                let rows: Vec<QueueId> =
                    self.queues.iter_from(&from).take(budget + 1).map(|row| row.id).collect();
                let (these, more) = split(rows, budget);
                for queue in &these {
                    self.forget_target(*queue, id, &to);
                }
                let rest = more.map(Retiring::Rules);
                (these.len(), rest.unwrap_or(Retiring::Agents(AgentId::default())))
            }
            Retiring::Agents(from) => {
                let rows: Vec<AgentId> =
                    self.agents.iter_from(&from).take(budget + 1).map(|row| row.id).collect();
                let (these, more) = split(rows, budget);
                for agent in &these {
                    self.forget_queue(*agent, id, events);
                }
                let Some(more) = more else {
                    let progress = Progress::Cleared;
                    self.queues.update(&id, |row| row.retiring = Some(Retirement { to, progress }));
                    self.remove_when_empty(id);
                    return (these.len().max(1), None);
                };
                (these.len(), Retiring::Agents(more))
            }
        };
        (done.max(1), Some(WorkItem::Retire { queue: id, phase: next }))
    }

    /// Lets a number lead to where those who wait go; without such a place nothing answers there any more.
    fn lead_elsewhere(&mut self, number: &Number, to: &Target<QueueId>) {
        match to {
            Target::Queue(to) => {
                self.numbers.update(&number.number, |row| row.queue = *to);
            }
            Target::Away => {
                self.remove_number(&number.number);
            }
        }
    }

    /// Takes the rules out of a queue by which its contacts go to one that is on its way out. Another one
    /// on its way there goes where that one goes.
    fn forget_target(&mut self, queue: QueueId, target: QueueId, instead: &Target<QueueId>) {
        let leads = |to: &Target<QueueId>| *to == Target::Queue(target);
        let Some(row) = self.queues.get(&queue) else { return };
        let goes_there = row.retiring.as_ref().is_some_and(|row| leads(&row.to));
        let goes_there = goes_there || row.rules.also.iter().any(|also| also.queue == target);
        if goes_there || row.rules.overflow.iter().any(|rule| leads(&rule.to)) {
            self.queues.update(&queue, |row| {
                let rules = Arc::make_mut(&mut row.rules);
                rules.overflow.retain(|rule| !leads(&rule.to));
                rules.also.retain(|also| also.queue != target);
                if let Some(row) = row.retiring.as_mut().filter(|row| leads(&row.to)) {
                    row.to = instead.clone();
                }
            });
        }
    }

    fn forget_queue(&mut self, agent: AgentId, queue: QueueId, events: &mut Vec<Event>) {
        if self.agents.get(&agent).is_some_and(|row| row.queues.contains(&queue)) {
            self.update_agent(agent, |row| {
                Arc::make_mut(&mut row.queues).remove(&queue);
                row.asked.remove(&queue);
                drop_queue(&mut row.tiers, queue);
                drop_queue(&mut row.reserves, queue);
            });
            events.push(Event::AgentChanged(agent));
        }
    }

    /// Removes a queue that is on its way out, once nobody is in it.
    pub(crate) fn remove_when_empty(&mut self, id: QueueId) {
        let retirement = self.queues.get(&id).and_then(|row| row.retiring.as_ref());
        let cleared = retirement.is_some_and(|row| row.progress == Progress::Cleared);
        if cleared && self.index.class_count_of(id) == 0 {
            self.remove_queue(id);
        }
    }
}

/// The first `budget` of them, and the one behind.
fn split<T>(mut rows: Vec<T>, budget: usize) -> (Vec<T>, Option<T>) {
    let more = if rows.len() > budget { rows.pop() } else { None };
    (rows, more)
}

//! Time and bulk work: deadlines that are due, and the replicated work list. Together they do at most
//! as many steps as the running entry has left; the rest stays due or on the list.
//!
//! Who was freed by all that is brought together at the end, in one sweep: else each of a thousand callers
//! whose hold ends at the same moment would cost one.

use super::rebalance::spreads;
use crate::{
    command::{Event, OfferEnd, Rejection, Reply},
    entity::{Agent, Contact, ContactState, EndReason, Respread, WorkItem, WorkState},
    ids::{AgentId, ContactId, QueueId},
    index::Deadline,
    limits::OFFER_BACKSTOP_MS,
    state::State,
    time::Millis,
};

impl State {
    pub(super) fn expire_due(&mut self, events: &mut Vec<Event>) -> Result<Reply, Rejection> {
        while let Some((at, deadline)) = self.index.deadlines.first().cloned() {
            if at > self.counters.now || !self.take_step() {
                break;
            }
            // Nobody is brought together before all that is due is done.
            if !matches!(deadline, Deadline::Reservation(..) | Deadline::LastAgent(..)) {
                self.add_work(WorkItem::Rematch);
            }
            self.expire(&deadline, events);
            // Each kind removes its deadline by changing its row; should one not, the loop must
            // still end.
            self.index.deadlines.remove(&(at, deadline));
            self.prepare(events);
        }
        Ok(Reply::Done)
    }

    fn expire(&mut self, deadline: &Deadline, events: &mut Vec<Event>) {
        match deadline {
            Deadline::Offer(number) => {
                if let Some(offer) = self.end_offer(*number, OfferEnd::Expired, events) {
                    self.match_contact(offer.contact, events);
                }
            }
            Deadline::Work(agent) => self.end_work_state(*agent, events),
            Deadline::Widen(contact) => {
                if !planted!(self, SiteIsKeptForEver) {
                    self.update_contact(*contact, |row| row.widen_at = None);
                }
                self.match_contact(*contact, events);
            }
            Deadline::WaitMax(contact) => self.waited_too_long(*contact, events),
            Deadline::Hold(contact) => self.end_hold(*contact),
            Deadline::Stage(contact) => self.next_stage(*contact, events),
            Deadline::Preferred(_) if planted!(self, PreferredIsWaitedForEver) => {}
            Deadline::Preferred(contact) => {
                self.update_contact(*contact, |row| row.preferred = None);
                self.match_contact(*contact, events);
            }
            Deadline::LastAgent(queue, caller) => {
                self.remove_last_agent(&(*queue, caller.clone()));
            }
            Deadline::Plan(plan) => self.step_plan(*plan, events),
            Deadline::Calendar(calendar) => self.begin_hours(*calendar),
            Deadline::Reservation(queue, caller) => {
                self.remove_reservation(&(*queue, caller.clone()));
            }
        }
    }

    /// A timed rule of the queue takes effect for a contact.
    fn next_stage(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let now = self.counters.now;
        if planted!(self, StepsNeverCome) {
            return;
        }
        let Some(queue) = self.contacts.get(&id).map(|row| row.queue) else { return };
        self.change_waiting(id, queue, |row, queue| row.advance(queue, now));
        if self.contacts.get(&id).is_some_and(Contact::holds_agents) {
            // Others may be held for it now, and some no longer.
            self.add_work(WorkItem::Rematch);
        }
        if !self.overflow_if_due(id, events) {
            self.match_contact(id, events);
        }
    }

    /// Wrap-up or a pause is over.
    fn end_work_state(&mut self, id: AgentId, events: &mut Vec<Event>) {
        let paused = |row: &Agent| matches!(row.work, WorkState::Paused { .. });
        let is_paused = self.agents.get(&id).is_some_and(paused);
        if planted!(self, WrapUpTimerIsLost) {
            return;
        }
        if is_paused && planted!(self, PauseNeverEnds) {
            return;
        }
        let now = self.counters.now;
        let turn = self.counters.ordinal;
        self.update_agent(id, |row| {
            let next = row.next_not_ready.take();
            row.enter(next.map_or(WorkState::Ready, WorkState::NotReady), now, turn);
        });
        events.push(Event::AgentChanged(id));
        self.match_agent(id, events);
    }

    /// It took too long to confirm this contact: it keeps its place, and nobody else waits for it.
    fn end_hold(&mut self, id: ContactId) {
        let Some(held_for) = self.contacts.get(&id).cloned() else { return };
        self.update_contact(id, |row| row.hold_until = None);
        self.let_go(&held_for);
    }

    fn waited_too_long(&mut self, id: ContactId, events: &mut Vec<Event>) {
        let Some(contact) = self.contacts.get(&id) else { return };
        let rings = matches!(contact.state, ContactState::Offered { .. });
        if rings && !planted!(self, RingingEndsByWaiting) {
            // A phone rings for it: it ends only if that comes to nothing.
            let again = self.counters.now + Millis(OFFER_BACKSTOP_MS);
            self.update_contact(id, |row| row.wait_until = Some(again));
            return;
        }
        // The contact is live, so this cannot be refused.
        if let Err(rejection) = self.end(id, EndReason::WaitedTooLong, events) {
            debug_assert!(false, "{rejection}");
        }
    }

    /// Does as many steps of the work list as the entry has left. Bringing together comes last.
    pub(super) fn run_work(&mut self, events: &mut Vec<Event>) {
        self.prepare(events);
        // A site that becomes full ends the sweep and asks for another one: who was kept for it may go
        // elsewhere now.
        while self.rematch_is_due() && self.steps_left() > 0 {
            let item = self.work.iter().find(|work| work.item == WorkItem::Rematch);
            let Some(number) = item.map(|work| work.number) else { return };
            self.work.remove(&number);
            let left = self.steps_left();
            let made = self.rematch(left, events);
            self.take_steps(made);
            if made == left {
                self.add_work(WorkItem::Rematch);
            }
        }
    }

    /// Does the work that comes before bringing together.
    fn prepare(&mut self, events: &mut Vec<Event>) {
        while self.steps_left() > 0 {
            let left = self.steps_left();
            let next = self.work.iter().find(|work| work.item != WorkItem::Rematch).cloned();
            let Some(work) = next else { return };
            let (used, rest) = match work.item {
                WorkItem::Rematch => return,
                WorkItem::MoveWaiting { next, respread } => self
                    .sweep(next, left, |state, contact| {
                        state.move_contact(contact, respread, events);
                    })
                    .map_next(|next| WorkItem::MoveWaiting { next, respread }),
                WorkItem::Follow { queue, next } => self
                    .sweep(next, left, |state, contact| state.follow_queue(contact, queue))
                    .map_next(|next| WorkItem::Follow { queue, next }),
                WorkItem::SetFree { agent } => self.set_free(agent, left),
                WorkItem::Close { queue, next } => self
                    .sweep(next, left, |state, contact| {
                        if contact.queue == queue {
                            state.leave_closed(contact.id, events);
                        } else if contact.waits_in(queue) {
                            state.follow_also_of(contact.id);
                        }
                    })
                    .map_next(|next| WorkItem::Close { queue, next }),
                WorkItem::Retire { queue, phase } => {
                    self.go_on_retiring(queue, phase, left, events)
                }
                WorkItem::Unstaffed { queue, next } => self
                    .sweep(next, left, |state, contact| {
                        if contact.waits_in(queue) {
                            state.overflow_unstaffed(contact.id, events);
                        }
                    })
                    .map_next(|next| WorkItem::Unstaffed { queue, next }),
            };
            self.take_steps(used);
            match rest {
                Some(item) => {
                    self.work.update(&work.number, |row| row.item = item);
                }
                None => {
                    self.work.remove(&work.number);
                }
            }
        }
    }

    /// Lets up to `budget` contacts that wait for an agent alone wait for anybody.
    fn set_free(&mut self, agent: AgentId, budget: usize) -> (usize, Option<WorkItem>) {
        let some: Vec<ContactId> = self.index.waiting_for(agent).take(budget).collect();
        for contact in &some {
            self.update_contact(*contact, |row| row.preferred = None);
        }
        let more = self.index.waiting_for(agent).next().is_some();
        let rest = more.then_some(WorkItem::SetFree { agent });
        (some.len().max(1), rest)
    }

    /// Visits up to `budget` contacts from `next` on.
    fn sweep(
        &mut self,
        next: ContactId,
        budget: usize,
        mut visit: impl FnMut(&mut Self, Contact),
    ) -> Sweep {
        let batch: Vec<Contact> =
            self.contacts.iter_from(&next).take(budget + 1).cloned().collect();
        let more = batch.get(budget).map(|contact| contact.id);
        let visited = batch.len().min(budget);
        for contact in batch.into_iter().take(budget) {
            visit(self, contact);
        }
        Sweep { visited, more }
    }

    fn move_contact(&mut self, contact: Contact, respread: Respread, events: &mut Vec<Event>) {
        let Some(queue) = self.queues.get(&contact.queue).cloned() else { return };
        let stranded = !self.site_is_in_service(contact.serving);
        let spread = spreads(&queue, respread);
        if planted!(self, WaitingDoNotMove) && !stranded {
            return;
        }
        if !contact.is_waiting() || !(stranded || spread) {
            return;
        }
        let to = if spread {
            self.respread(&contact, &queue)
        } else {
            self.assign_site(&contact, &queue)
        };
        if to == contact.serving {
            return;
        }
        self.update_contact(contact.id, |row| row.serving = to);
        let (contact, from) = (contact.id, contact.serving);
        events.push(Event::ContactMoved { contact, from, to });
    }

    fn follow_queue(&mut self, contact: Contact, queue: QueueId) {
        if !contact.waits_in(queue) || !contact.is_waiting() {
            return;
        }
        if contact.queue != queue {
            return self.follow_also_of(contact.id);
        }
        let now = self.counters.now;
        self.change_waiting(contact.id, queue, |contact, queue| contact.follow(queue, now));
    }
}

struct Sweep {
    visited: usize,
    more: Option<ContactId>,
}

impl Sweep {
    fn map_next(self, item: impl Fn(ContactId) -> WorkItem) -> (usize, Option<WorkItem>) {
        (self.visited.max(1), self.more.map(item))
    }
}

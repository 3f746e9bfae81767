//! Deadlines, one by one.

use super::{Judge, choice::follow_row};
use crate::{
    command::{DeclineCause, OfferEnd},
    entity::{ContactState, EndReason, WorkState},
    ids::{AgentId, CalendarId, ContactId, OfferNumber, Ordinal},
    limits::OFFER_BACKSTOP_MS,
    time::ClusterTime,
};

impl Judge {
    /// Deadlines one by one in the order of their times; at equal times offers, ends of wrap-up and pause,
    /// widenings, longest waits, holds, reservations, each by id. Who was freed is brought together when all
    /// that is due is done.
    pub(super) fn expire(&mut self) {
        loop {
            let mut due: Vec<(ClusterTime, u8, u64, Due)> = Vec::new();
            for (number, (_, _, at)) in &self.offers {
                due.push((*at, 0, number.0, Due::Offer(*number)));
            }
            for agent in self.agents.values() {
                if let WorkState::WrapUp(at) | WorkState::Paused { until: at, .. } = agent.work {
                    due.push((at, 1, u64::from(agent.id.0), Due::Work(agent.id)));
                }
            }
            for contact in self.contacts.values().filter(|contact| contact.is_waiting()) {
                let ordinal = contact.id.ordinal.0;
                due.extend(contact.widen_at.map(|at| (at, 2, ordinal, Due::Widen(contact.id))));
                due.extend(contact.wait_until.map(|at| (at, 3, ordinal, Due::Wait(contact.id))));
                due.extend(contact.hold_until.map(|at| (at, 4, ordinal, Due::Hold(contact.id))));
                due.extend(contact.stage_at.map(|at| (at, 5, ordinal, Due::Stage(contact.id))));
                let alone = contact.preferred.map(|wanted| wanted.until);
                due.extend(alone.map(|at| (at, 6, ordinal, Due::Alone(contact.id))));
            }
            for plan in self.plans.values() {
                due.extend(plan.next_at.map(|at| (at, 9, plan.id.0, Due::Plan(plan.id))));
            }
            for (at, calendar) in self.closings() {
                due.push((at, 10, u64::from(calendar.0), Due::Close(calendar)));
            }
            due.sort_by_key(|(at, kind, id, _)| (*at, *kind, *id));
            let Some((_, _, _, what)) = due.into_iter().find(|(at, ..)| *at <= self.now) else {
                break;
            };
            match what {
                Due::Offer(number) => {
                    let then = self.after_decline(number, DeclineCause::NotAnswered);
                    self.end_offer(number, Some(then), OfferEnd::Expired);
                }
                Due::Stage(contact) => {
                    let queue = self.queues[&self.contacts[&contact].queue].clone();
                    self.change(contact, |row, now| {
                        let wait_until = row.wait_until;
                        follow_row(row, &queue, now);
                        row.wait_until = wait_until;
                    });
                    self.overflow_if_due(contact);
                }
                Due::Plan(plan) => self.step_plan(plan),
                Due::Close(calendar) => self.begin_hours(calendar),
                Due::Alone(contact) => {
                    if let Some(row) = self.contacts.get_mut(&contact) {
                        row.preferred = None;
                    }
                }
                Due::Work(agent) => {
                    let asked = self.agents.get_mut(&agent).and_then(|a| a.next_not_ready.take());
                    self.enter(agent, asked.map_or(WorkState::Ready, WorkState::NotReady));
                }
                Due::Widen(contact) => {
                    if let Some(row) = self.contacts.get_mut(&contact) {
                        row.widen_at = None;
                    }
                }
                Due::Wait(contact) => match self.contacts.get_mut(&contact) {
                    Some(row) if matches!(row.state, ContactState::Offered { .. }) => {
                        row.wait_until = Some(ClusterTime(self.now.0 + OFFER_BACKSTOP_MS));
                    }
                    _ => self.end(contact, EndReason::WaitedTooLong),
                },
                Due::Hold(contact) => {
                    if let Some(row) = self.contacts.get_mut(&contact) {
                        row.hold_until = None;
                    }
                }
            }
            self.leave_unstaffed();
        }
        let now = self.now;
        self.reservations.retain(|_, (_, expires)| *expires > now);
        self.last_agents.retain(|_, (_, expires)| *expires > now);
    }
}

enum Due {
    Offer(OfferNumber),
    Work(AgentId),
    Widen(ContactId),
    Wait(ContactId),
    Hold(ContactId),
    Stage(ContactId),
    Alone(ContactId),
    Plan(Ordinal),
    Close(CalendarId),
}

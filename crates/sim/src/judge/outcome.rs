//! What an ended offer or conversation leaves its agent in: RONA and its kin are reported, wrap-up
//! follows a conversation, who is done is released.

use tandem_routing::{
    command::{DeclineCause, Event, OfferEnd},
    entity::{Agent, ContactState, LoginState, LogoutAfter, NotReadyReason, WorkState},
    ids::AgentId,
};

use super::Entry;

/// Ended offers and conversations of the entry.
pub fn check(entry: &Entry, found: &mut Vec<String>) {
    for event in &entry.events {
        match event {
            Event::OfferEnded { offer, agent, how, .. } => {
                found
                    .extend(not_answered(entry, *agent, *how).map(|text| format!("{offer}{text}")));
            }
            Event::ContactEnded { contact, .. } => {
                if let ContactState::Connected { agent, .. } = contact.state {
                    found.extend(released(entry, agent, contact.queue));
                }
            }
            _ => {}
        }
    }
}

/// An offer that came to nothing by the agent's doing takes them out of the queue, with the reason.
fn not_answered(entry: &Entry, agent: AgentId, how: OfferEnd) -> Option<String> {
    let reason = match how {
        // Neither agent nor phone is to blame.
        OfferEnd::Declined(DeclineCause::NodeFailed) => return None,
        OfferEnd::Declined(cause) => NotReadyReason::from(cause),
        OfferEnd::Expired => NotReadyReason::Rona,
        OfferEnd::Accepted
        | OfferEnd::ContactGone
        | OfferEnd::OwnerLost
        | OfferEnd::Withdrawn
        | OfferEnd::AnsweredElsewhere => return None,
    };
    let row = settled(entry, agent)?;
    let before = entry.before.agents.get(&agent);
    // What they asked for while it rang goes before.
    let asked = before.and_then(|row| row.next_not_ready.clone());
    let wanted = WorkState::NotReady(asked.unwrap_or(reason));
    (row.work != wanted).then(|| format!(" RONA: ended by {how:?}, and {agent} is {:?}", row.work))
}

fn released(entry: &Entry, agent: AgentId, queue: tandem_routing::ids::QueueId) -> Option<String> {
    let row = settled(entry, agent)?;
    let wrap_up = entry.after.queues.get(&queue).map(|queue| queue.wrap_up.0)?;
    match &row.work {
        WorkState::Busy(_) => Some(format!("R2: {agent} is not released: {:?}", row.work)),
        WorkState::WrapUp(_) => None,
        other if wrap_up > 0 => Some(format!("wrap-up: {agent} is {other:?} after a contact")),
        _ => None,
    }
}

/// The agent's row behind the entry, unless they left or something else happened to them within it.
fn settled(entry: &Entry, agent: AgentId) -> Option<&Agent> {
    let leaves = entry.before.agents.get(&agent)?.logout_after == LogoutAfter::Contact;
    let row = entry.after.agents.get(&agent)?;
    let changes = entry.events.iter().filter(|e| **e == Event::AgentChanged(agent)).count();
    let gone = leaves || row.login == LoginState::LoggedOut;
    (changes <= 1 && !gone).then_some(row)
}

#[cfg(test)]
mod tests {
    use tandem_routing::{
        command::{Command, Readiness},
        entity::EndReason,
        ids::TenantId,
    };

    use super::*;
    use crate::judge::samples::{Small, found};

    fn spoiled(good: &Entry, work: WorkState) -> String {
        assert_eq!(found(check, good), Vec::<String>::new());
        let mut bad = good.clone();
        bad.after.agents.values_mut().next().unwrap().work = work;
        found(check, &bad).join("; ")
    }

    // Goal: an agent who asks for their next state in the very entry that ends their offer is in that state,
    // and no judge minds (seed 1232).
    #[test]
    fn what_they_ask_for_in_the_same_entry() {
        let mut small = Small::new();
        small.ready("amy");
        small.call();
        let offer = small.state.offers().iter().next().unwrap().clone();
        let (number, contact) = (offer.number, offer.contact);
        let asked = small.run(Command::SetReadiness {
            tenant: TenantId::DEFAULT,
            agent: "amy".parse().unwrap(),
            to: Readiness::NotReady(None),
        });
        let cause = DeclineCause::DeviceFailed;
        let ended = small.run(Command::Decline { offer: number, contact, cause });
        let events = asked.events.into_iter().chain(ended.events).collect();
        let both = Entry { before: asked.before, after: ended.after, events, history: 0 };
        assert_eq!(found(check, &both), Vec::<String>::new());
    }

    // Goal: an agent who did not answer and stays ready is seen; so is a skipped wrap-up, and one who is
    // never released.
    #[test]
    fn what_an_end_leaves_behind_is_seen() {
        let mut small = Small::new();
        small.ready("amy");
        small.call();
        let offer = small.state.offers().iter().next().unwrap().clone();
        let (number, contact) = (offer.number, offer.contact);
        let cause = DeclineCause::NotAnswered;
        let declined = small.run(Command::Decline { offer: number, contact, cause });
        assert!(spoiled(&declined, WorkState::Ready).contains("RONA"));

        small.ready("amy");
        let offer = small.state.offers().iter().next().unwrap().clone();
        let (number, contact) = (offer.number, offer.contact);
        small.run(Command::Accept { offer: number, contact });
        let ended = small.run(Command::End { contact, reason: EndReason::CallerHungUp });
        assert!(spoiled(&ended, WorkState::Ready).starts_with("wrap-up"));
        assert!(spoiled(&ended, WorkState::Busy(contact)).starts_with("R2"));
    }
}

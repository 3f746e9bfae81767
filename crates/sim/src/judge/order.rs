//! R5, and who is asked: an offer goes to the first of the contacts that its agent may serve, and to the
//! longest idle of the agents who may serve it.

use tandem_routing::{
    command::Event,
    entity::{Agent, Contact, ContactState, SiteChoice},
    ids::{AgentId, ContactId, Ordinal},
    limits::{PRIORITY_STEP_MS, QUEUE_WEIGHT_STEP_MS},
    time::ClusterTime,
};

use super::{Entry, Picture};

/// Every offer of the entry that still stands behind it.
pub fn check(entry: &Entry, found: &mut Vec<String>) {
    for event in &entry.events {
        let Event::OfferMade { offer, contact, agent } = event else { continue };
        let after = &entry.after;
        let (Some(contact), Some(agent)) = (after.contacts.get(contact), after.agents.get(agent))
        else {
            continue;
        };
        let stands = ContactState::Offered { offer: *offer, agent: agent.id };
        if contact.state != stands || !is_free_choice(entry, contact) {
            continue;
        }
        found.extend(overtaken(entry, contact, agent));
        found.extend(idle_longer(entry, contact, agent));
    }
}

/// Left to the whole-state check: offers while agents wait for callers who are being confirmed, or while
/// a sweep goes on, and queues that prefer a site.
fn is_free_choice(entry: &Entry, contact: &Contact) -> bool {
    let unsettled = |picture: &Picture| picture.is_confirming() || picture.unfinished;
    let any = entry.after.queues.get(&contact.queue).map(|queue| queue.site_choice);
    !unsettled(&entry.before) && !unsettled(&entry.after) && any == Some(SiteChoice::Any)
}

fn overtaken(entry: &Entry, contact: &Contact, agent: &Agent) -> Option<String> {
    let key = rank(&entry.after, contact);
    let ahead = entry.after.contacts.values().find(|other| {
        let waited = entry.before.contacts.get(&other.id).map(|row| row.state);
        other.state == ContactState::Queued
            && waited == Some(ContactState::Queued)
            && !entry.touches(other.id)
            && other.left_by != Some(agent.id)
            && other.widen_at.is_none()
            && entry.after.fits(other, agent)
            && rank(&entry.after, other) < key
    })?;
    let (first, offered, to) = (ahead.id, contact.id, agent.id);
    Some(format!("R5: {offered} is offered to {to}, and {first} goes before it"))
}

fn idle_longer(entry: &Entry, contact: &Contact, agent: &Agent) -> Option<String> {
    let key = (agent.idle_since, agent.id);
    let longer = entry.after.agents.values().find(|other| {
        other.is_waiting()
            && entry.before.agents.get(&other.id).is_some_and(Agent::is_waiting)
            && !entry.touches_agent(other.id)
            && !has_left(entry, contact.id, other.id)
            && entry.after.fits(contact, other)
            && (other.idle_since, other.id) < key
    })?;
    let (idle, asked, what): (AgentId, AgentId, ContactId) = (longer.id, agent.id, contact.id);
    let (since, its) = (longer.idle_since, agent.idle_since);
    Some(format!(
        "longest idle: {what} is offered to {asked}, idle since {its}, and {idle} is since {since}"
    ))
}

/// True when this agent had the contact last and is asked again only for want of others.
fn has_left(entry: &Entry, contact: ContactId, agent: AgentId) -> bool {
    let known = entry.before.contacts.get(&contact).and_then(|row| row.left_by);
    known == Some(agent) || entry.events.contains(&Event::ContactRequeued { contact, agent })
}

/// The place of a contact, from what it is worth and when it came: smaller goes first.
fn rank(picture: &Picture, contact: &Contact) -> (i128, ClusterTime, Ordinal) {
    let weight = picture.queues.get(&contact.queue).map_or(0, |queue| queue.weight);
    let worth =
        u64::from(contact.priority) * PRIORITY_STEP_MS + u64::from(weight) * QUEUE_WEIGHT_STEP_MS;
    let key = i128::from(contact.arrival.0) - i128::from(worth);
    (key, contact.arrival, contact.id.ordinal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::samples::{Small, found};

    // Goal: the offer that a correct machine makes passes; with somebody ahead, or an agent who is idle
    // longer, it does not.
    #[test]
    fn an_offer_out_of_order_is_seen() {
        let mut small = Small::new();
        small.call();
        small.call();
        let good = small.ready("amy");
        assert_eq!(found(check, &good), Vec::<String>::new());
        assert!(good.events.iter().any(|event| matches!(event, Event::OfferMade { .. })));

        let mut bad = good.clone();
        for picture in [&mut bad.before, &mut bad.after] {
            let second = picture.contacts.values_mut().next_back().unwrap();
            second.arrival = ClusterTime(1);
        }
        assert!(found(check, &bad)[0].starts_with("R5"));

        // Another agent is free and has waited longer.
        let mut bad = good;
        let amy = bad.after.agents.values().next().unwrap().clone();
        for picture in [&mut bad.before, &mut bad.after] {
            let bob = picture.agents.values_mut().next_back().unwrap();
            bob.work = tandem_routing::entity::WorkState::Ready;
            bob.idle_since = ClusterTime(amy.idle_since.0 - 1);
        }
        assert!(found(check, &bad)[0].starts_with("longest idle"));
    }
}

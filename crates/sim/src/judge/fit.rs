//! R6 and ghosts: whom an offer may bring together.

use tandem_routing::{
    command::Event,
    entity::{Agent, Contact, ContactState},
};

use super::{Entry, Picture};

/// Every offer of the entry.
pub fn check(entry: &Entry, found: &mut Vec<String>) {
    for (at, event) in entry.events.iter().enumerate() {
        let Event::OfferMade { contact, agent, .. } = event else { continue };
        let rows = (entry.after.contacts.get(contact), entry.after.agents.get(agent));
        let (Some(contact), Some(agent)) = rows else { continue };
        let so_far = entry.events.get(..at).unwrap_or_default();
        found.extend(misfit(entry, contact, agent));
        found.extend(in_doubt(entry, contact, so_far));
        found.extend(away(entry, agent, so_far));
    }
}

fn misfit(entry: &Entry, contact: &Contact, agent: &Agent) -> Option<String> {
    let (what, to) = (contact.id, agent.id);
    // An entry may carry several commands: what one allowed, the next may have closed.
    let takes = |picture: &Picture| picture.takes_contacts(agent.site);
    if !takes(&entry.before) && !takes(&entry.after) {
        return Some(format!("drain: {what} is offered to {to}, whose site takes no contacts"));
    }
    let fits = entry.after.fits(contact, agent) || !takes(&entry.after);
    (!fits).then(|| format!("R6: {what} is offered to {to}, who does not meet its requirement"))
}

/// A caller whose leg nobody has confirmed rings at no agent.
fn in_doubt(entry: &Entry, contact: &Contact, so_far: &[Event]) -> Option<String> {
    let was = entry.before.contacts.get(&contact.id).map(|row| row.state);
    let confirmed = so_far.contains(&Event::ContactConfirmed(contact.id));
    let doubted = was == Some(ContactState::Unconfirmed)
        || so_far.contains(&Event::ContactUnconfirmed(contact.id));
    (doubted && !confirmed).then(|| format!("ghost: {} is offered unconfirmed", contact.id))
}

/// Who is not ready, and did not become so in this entry, is offered nothing.
fn away(entry: &Entry, agent: &Agent, so_far: &[Event]) -> Option<String> {
    let before = entry.before.agents.get(&agent.id)?;
    let changed = so_far.contains(&Event::AgentChanged(agent.id));
    (!before.is_waiting() && !changed)
        .then(|| format!("R2: {} is offered a contact while {:?}", agent.id, before.work))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tandem_routing::entity::{SiteState, WorkState};

    use super::*;
    use crate::judge::samples::{Small, found};

    fn offer() -> Entry {
        let mut small = Small::new();
        small.ready("amy");
        small.call()
    }

    // Goal: a good offer passes; each way to offer to the wrong ones is seen.
    #[test]
    fn who_may_not_meet_is_seen() {
        let good = offer();
        assert_eq!(found(check, &good), Vec::<String>::new());
        let spoiled = |spoil: &dyn Fn(&mut Entry)| {
            let mut bad = good.clone();
            spoil(&mut bad);
            found(check, &bad).join("; ")
        };
        let closed = spoiled(&|bad| {
            for picture in [&mut bad.before, &mut bad.after] {
                picture.sites.values_mut().next().unwrap().state = SiteState::Draining;
            }
        });
        assert!(closed.starts_with("drain"), "{closed}");
        let foreign = spoiled(&|bad| {
            bad.after.agents.values_mut().next().unwrap().queues = Arc::default();
        });
        assert!(foreign.starts_with("R6"), "{foreign}");
        let doubted = spoiled(&|bad| {
            let mut row = bad.after.contacts.values().next().unwrap().clone();
            row.state = ContactState::Unconfirmed;
            bad.before.contacts.insert(row.id, row);
        });
        assert!(doubted.starts_with("ghost"), "{doubted}");
        let resting = spoiled(&|bad| {
            let amy = bad.before.agents.values_mut().next().unwrap();
            amy.work = WorkState::WrapUp(bad.before.now);
        });
        assert!(resting.starts_with("R2"), "{resting}");
    }
}

//! The queue's invariants, checked over a whole state.
//!
//! Used by property tests, by the simulation and by `tandem` when an operator asks; far too slow
//! for every entry. `docs/invariants.md` has the sentences. Invariants over histories (R3, R4, R5,
//! R9) are judged by [`crate::naive`] and by the checkers in `chaos`.

use std::fmt;

use crate::{
    entity::{Agent, Contact, ContactState, WorkState},
    explain::{WhyNot, why_not},
    ids::SiteId,
    limits::HELD_AGENTS_SKIPPED_MAX,
    state::State,
};

/// One broken invariant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Its id in `docs/invariants.md`.
    pub id: &'static str,
    /// Which rows break it, and how.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.detail)
    }
}

/// Every broken invariant of this state, and every index that disagrees with the rows.
#[must_use]
pub fn check(state: &State) -> Vec<Violation> {
    let mut found = Vec::new();
    contacts_and_agents(state, &mut found);
    offers(state, &mut found);
    nobody_waits_beside_an_agent(state, &mut found);
    explanations(state, &mut found);
    indexes(state, &mut found);
    found
}

/// R1 and R2: contact, offer and agent name each other, one to one.
fn contacts_and_agents(state: &State, found: &mut Vec<Violation>) {
    for contact in state.contacts().iter() {
        let detail = match contact.state {
            ContactState::Queued | ContactState::Unconfirmed => None,
            ContactState::Offered { .. } => {
                let wrong = contact.current_offers().find(|(offer, agent)| {
                    let row = state.offers().get(offer);
                    row.is_none_or(|row| row.contact != contact.id || row.agent != *agent)
                });
                wrong.map(|(offer, _)| format!("{} is in {offer}, which is another's", contact.id))
            }
            ContactState::Connected { agent, .. } => {
                let work = state.agents().get(&agent).map(|row| &row.work);
                (work != Some(&WorkState::Busy(contact.id)))
                    .then(|| format!("{} talks with {agent}, who is {work:?}", contact.id))
            }
        };
        push(found, "R1", detail);
        let rings = matches!(contact.state, ContactState::Offered { .. });
        let detail = (!rings && !contact.ringing.is_empty())
            .then(|| format!("{} rings beside {:?}", contact.id, contact.state));
        push(found, "R1", detail);
    }
    for agent in state.agents().iter() {
        let detail = match agent.work {
            WorkState::Offered(number) => {
                let row = state.offers().get(&number);
                (row.map(|row| row.agent) != Some(agent.id))
                    .then(|| format!("{} holds {number}, which is another's", agent.id))
            }
            WorkState::Busy(contact) => {
                let other = state.contacts().get(&contact).map(|row| row.state);
                let talks = matches!(
                    other,
                    Some(ContactState::Connected { agent: with, .. }) if with == agent.id
                );
                (!talks).then(|| format!("{} is busy with {contact}: {other:?}", agent.id))
            }
            _ => None,
        };
        push(found, "R2", detail);
    }
}

fn offers(state: &State, found: &mut Vec<Violation>) {
    for offer in state.offers().iter() {
        let contact = state.contacts().get(&offer.contact);
        let knows = contact.is_some_and(|row| {
            row.current_offers().any(|current| current == (offer.number, offer.agent))
        });
        let contact = contact.map(|row| row.state);
        let detail = (!knows)
            .then(|| format!("{} is for {}, which is {contact:?}", offer.number, offer.contact));
        push(found, "R1", detail);
        let agent = state.agents().get(&offer.agent).map(|row| &row.work);
        let detail = (agent != Some(&WorkState::Offered(offer.number)))
            .then(|| format!("{} is to {}, who is {agent:?}", offer.number, offer.agent));
        push(found, "R2", detail);
    }
}

/// R10, by asking every pair. While the work list is not empty matches may be outstanding. An agent
/// who is held for an earlier contact is not free.
fn nobody_waits_beside_an_agent(state: &State, found: &mut Vec<Violation>) {
    if state.has_work() {
        return;
    }
    for contact in state.contacts().iter().filter(|row| row.state == ContactState::Queued) {
        let (held, free): (Vec<&Agent>, Vec<&Agent>) = state
            .agents()
            .iter()
            .filter(|agent| may_talk(state, contact, agent))
            .partition(|agent| is_held(state, contact, agent));
        // Behind so many who are held nobody is looked for.
        let free = free.first().filter(|_| held.len() < HELD_AGENTS_SKIPPED_MAX);
        let detail = free.map(|agent| format!("{} waits while {} is ready", contact.id, agent.id));
        push(found, "R10", detail);
    }
}

/// True when this agent may be offered this waiting contact now, by the rows alone.
pub(crate) fn may_talk(state: &State, contact: &Contact, agent: &Agent) -> bool {
    let takes = |site: SiteId| {
        let row = state.sites().get(&site);
        let engaged = state.agents().iter().filter(|row| row.site == site && row.is_engaged());
        row.is_some_and(|row| {
            row.takes_contacts()
                && row.contacts_max.is_none_or(|most| (engaged.count() as u64) < u64::from(most))
        })
    };
    let meets = |agent: &Agent| agent.serves(contact);
    let staffed = |site| {
        state.agents().iter().any(|other| {
            other.site == site
                && other.login != crate::entity::LoginState::LoggedOut
                && meets(other)
        })
    };
    agent.is_waiting()
        && takes(agent.site)
        && meets(agent)
        && contact.preferred.is_none_or(|preferred| preferred.agent == agent.id)
        && (contact.preferred.is_some()
            || contact.widen_at.is_none()
            || contact.serving == agent.site
            || !takes(contact.serving)
            || !staffed(contact.serving))
}

/// True while a contact ahead of this one is being confirmed that this agent could be offered, by the
/// rows alone.
pub(crate) fn is_held(state: &State, contact: &Contact, agent: &Agent) -> bool {
    let doubted = state.contacts().iter().filter(|other| other.holds_agents());
    doubted
        .flat_map(Contact::seen_by_all)
        .any(|other| other.wait_key() < contact.wait_key() && may_talk(state, &other, agent))
}

/// What is said to people about a pair says the same as the rules.
fn explanations(state: &State, found: &mut Vec<Violation>) {
    for contact in state.contacts().iter().filter(|row| row.state == ContactState::Queued) {
        for agent in state.agents().iter() {
            let said = why_not(state, contact, agent);
            let free = contact
                .seen_by_all()
                .iter()
                .any(|seen| may_talk(state, seen, agent) && !is_held(state, seen, agent));
            let detail = ((said == Some(WhyNot::UnderWay)) != free)
                .then(|| format!("{} and {}: {said:?}, and free is {free}", contact.id, agent.id));
            push(found, "explain", detail);
        }
    }
}

fn indexes(state: &State, found: &mut Vec<Violation>) {
    let mut rebuilt = state.clone();
    rebuilt.rebuild();
    let (kept, fresh) = (state.index.comparable(), rebuilt.index.comparable());
    let detail = (kept != fresh).then(|| format!("kept {kept:#?}\nfrom the rows {fresh:#?}"));
    push(found, "index", detail);
}

fn push(found: &mut Vec<Violation>, id: &'static str, detail: Option<String>) {
    found.extend(detail.map(|detail| Violation { id, detail }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::{AgentId, OfferNumber},
        naive::tests::Center,
    };

    fn ids(state: &State) -> Vec<&'static str> {
        let mut ids: Vec<_> = check(state).into_iter().map(|violation| violation.id).collect();
        ids.dedup();
        ids
    }

    // Goal: each check can fail: every planted inconsistency is found under its own name.
    #[test]
    fn planted_faults_are_found() {
        let mut center = Center::small();
        center.run("login amy ready; device amy registered; call a; call b");
        let good = center.state;
        assert_eq!(check(&good), vec![]);
        let (contact, agent, offer) = (
            good.contacts().iter().next().unwrap().id,
            AgentId(1),
            good.offers().iter().next().unwrap().number,
        );

        let mut bad = good.clone();
        bad.agents.update(&agent, |row| row.work = WorkState::Offered(OfferNumber(99)));
        assert_eq!(ids(&bad), ["R2"]);

        let mut bad = good.clone();
        bad.remove_offer(offer);
        assert_eq!(ids(&bad), ["R1", "R2"]);

        let mut bad = good.clone();
        bad.update_contact(contact, |row| row.state = ContactState::Unconfirmed);
        assert!(ids(&bad).contains(&"R1"));

        let mut bad = good.clone();
        bad.update_agent(agent, |row| row.work = WorkState::Ready);
        assert!(ids(&bad).contains(&"R10"));

        let mut bad = good;
        bad.agents.update(&agent, |row| row.idle_since = row.idle_since + crate::time::Millis(1));
        assert_eq!(ids(&bad), Vec::<&str>::new(), "the agent is not in a ready set");
        bad.agents.update(&AgentId(2), |row| row.skills = Default::default());
        assert_eq!(ids(&bad), ["index"]);
    }
}

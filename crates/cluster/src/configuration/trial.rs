//! Changes of the configuration tried on a copy of the state: what they would do to those who wait.

use std::collections::{BTreeMap, BTreeSet};

use tandem_routing::{
    command::{
        Command as QueueCommand, Event, Rejection as QueueRejection, Reply as QueueReply,
        Unfinished,
    },
    entity::{Agent, Contact, LoginState, Queue, Site},
    name::Name,
    requirement::SharedRequirement,
    state::State,
    time::Millis,
};

use crate::{
    ids::{ContactId, GroupId, QueueId, TenantId},
    limits::TRIAL_ENTRIES_MAX,
};

/// The state behind changes that were tried.
#[derive(Debug)]
pub struct Trial {
    /// The state, with everything that follows from the changes at once.
    pub after: State,
    /// What they do to those who wait.
    pub impact: Impact,
    /// Skills that are named for the first time.
    pub new_skills: BTreeSet<Name>,
}

/// What changes do to those who wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impact {
    /// Waiting contacts that are offered to an agent at once.
    pub offered: u32,
    /// Waiting contacts that somebody logged in could serve, and nobody can behind it.
    pub stranded: u32,
    /// Waiting contacts that prefer another site behind it.
    pub moved: u32,
    /// Waiting contacts that leave for another queue by a rule.
    pub overflowed: u32,
    /// Waiting contacts that are sent away by a rule.
    pub ended: u32,
    /// Queues in which something is another behind it, or in which somebody is stranded, by their names.
    pub queues: Vec<QueueImpact>,
    /// Whether more follows than was tried.
    pub unfinished: Unfinished,
}

/// What changes do to one queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueImpact {
    /// Its name.
    pub name: Name,
    /// As it is.
    pub before: Standing,
    /// As it would be.
    pub after: Standing,
    /// Contacts of it that are stranded.
    pub stranded: u32,
    /// Contacts that it holds more than it may, if that is a doing of the changes.
    pub over_length: u32,
}

/// One queue at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Contacts in its line.
    pub waiting: u32,
    /// Agents at work who serve it.
    pub agents: u32,
    /// How long a contact would wait that came now; `None` when nobody is at work.
    pub expected_wait: Option<Millis>,
}

/// Tries changes on a copy of a state, all at once; tells what they do to those who wait for a tenant.
///
/// # Errors
/// Every change that is refused, by its place in `changes`; what is refused only because an earlier one was
/// may be among them.
pub fn trial(
    state: &State,
    group: GroupId,
    tenant: TenantId,
    changes: &[QueueCommand],
) -> Result<Trial, Vec<(usize, QueueRejection)>> {
    let mut after = state.clone();
    let mut events = Vec::new();
    after.begin_entry(state.now());
    after.begin_command();
    let replies = match after.apply_all(group, changes, &mut events) {
        Ok(replies) => replies,
        Err(first) => {
            let mut all = refusals(state, group, changes);
            if all.first().is_none_or(|(at, _)| *at != first.0) {
                all.insert(0, first);
            }
            return Err(all);
        }
    };
    after.commit();
    let mut entries = 0;
    while after.has_work() && entries < TRIAL_ENTRIES_MAX {
        entries += 1;
        after.begin_entry(state.now());
        after.begin_command();
        // Going on with the work list is never refused.
        after.apply(group, &QueueCommand::ContinueWork, &mut events).ok();
        after.commit();
    }
    let new_skills = replies.into_iter().flat_map(|reply| match reply {
        QueueReply::Put { new_skills } => new_skills,
        _ => Vec::new(),
    });
    let impact = impact(state, &after, tenant, &events);
    Ok(Trial { impact, new_skills: new_skills.collect(), after })
}

/// Each change by itself, so that all refusals are found and not only the first.
fn refusals(
    state: &State,
    group: GroupId,
    changes: &[QueueCommand],
) -> Vec<(usize, QueueRejection)> {
    let mut copy = state.clone();
    let mut found = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        copy.begin_entry(state.now());
        copy.begin_command();
        // A refused one leaves no trace.
        if let Err(rejection) = copy.apply(group, change, &mut Vec::new()) {
            found.push((at, rejection));
        }
        copy.commit();
    }
    found
}

fn impact(before: &State, after: &State, tenant: TenantId, events: &[Event]) -> Impact {
    let own = |id: &ContactId| before.contacts().get(id).filter(|row| row.tenant == tenant);
    let waited = |id: &ContactId| own(id).is_some_and(Contact::is_waiting);
    let mut offered = BTreeSet::new();
    let mut moved = BTreeSet::new();
    let mut overflowed = BTreeSet::new();
    let mut ended = BTreeSet::new();
    for event in events {
        match event {
            Event::OfferMade { contact, .. } => offered.insert(*contact),
            Event::ContactMoved { contact, .. } => moved.insert(*contact),
            Event::ContactOverflowed { contact, .. } => overflowed.insert(*contact),
            Event::ContactEnded { contact, .. } => ended.insert(contact.id),
            _ => false,
        };
    }
    let count = |set: &BTreeSet<ContactId>| small(set.iter().filter(|id| waited(id)).count());
    let mut stranded = stranded(before, after);
    stranded.retain(|id| own(id).is_some());
    Impact {
        offered: count(&offered),
        stranded: small(stranded.len()),
        moved: count(&moved),
        overflowed: count(&overflowed),
        ended: count(&ended),
        queues: queues(before, after, tenant, &stranded),
        unfinished: if after.has_work() { Unfinished::Yes } else { Unfinished::No },
    }
}

fn queues(
    before: &State,
    after: &State,
    tenant: TenantId,
    stranded: &[ContactId],
) -> Vec<QueueImpact> {
    let mut stranded_in: BTreeMap<QueueId, u32> = BTreeMap::new();
    for contact in stranded.iter().filter_map(|id| before.contacts().get(id)) {
        *stranded_in.entry(contact.queue).or_default() += 1;
    }
    let (old, new) = (standings(before), standings(after));
    let standing = |all: &BTreeMap<QueueId, Standing>, id| all.get(id).copied().unwrap_or_default();
    let over = |state: &State, id, waiting: u32| {
        state.queues().get(id).map_or(0, |queue| waiting.saturating_sub(queue.length_max))
    };
    let ids: BTreeSet<&QueueId> = old.keys().chain(new.keys()).collect();
    let mut rows = Vec::new();
    for id in ids {
        let queue = after.queues().get(id).or_else(|| before.queues().get(id));
        let queue = queue.filter(|queue| queue.tenant == tenant);
        let Some(name) = queue.map(|queue| queue.name.clone()) else { continue };
        let (before_it, after_it) = (standing(&old, id), standing(&new, id));
        let over_before = over(before, id, before_it.waiting);
        let over_after = over(after, id, after_it.waiting);
        let row = QueueImpact {
            name,
            before: before_it,
            after: after_it,
            stranded: stranded_in.get(id).copied().unwrap_or(0),
            // What was too long before is no doing of the changes.
            over_length: if over_after > over_before { over_after } else { 0 },
        };
        if row.before != row.after || row.stranded > 0 || row.over_length > 0 {
            rows.push(row);
        }
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    rows
}

fn standings(state: &State) -> BTreeMap<QueueId, Standing> {
    let mut agents: BTreeMap<QueueId, u32> = BTreeMap::new();
    for agent in state.agents().iter().filter(|agent| is_at_work(agent)) {
        for queue in agent.queues.iter() {
            *agents.entry(*queue).or_default() += 1;
        }
    }
    let standing = |queue: &Queue| Standing {
        waiting: state.queue_len(queue.id),
        agents: agents.get(&queue.id).copied().unwrap_or(0),
        expected_wait: state.expected_wait(queue),
    };
    state.queues().iter().map(|queue| (queue.id, standing(queue))).collect()
}

/// Waiting contacts that somebody at work could serve before, and nobody can behind it.
fn stranded(before: &State, after: &State) -> Vec<ContactId> {
    let (mut could, mut can) = (Served::of(before), Served::of(after));
    let is_stranded = |now: &&Contact| {
        let then = after.contacts().get(&now.id).filter(|then| then.is_waiting());
        now.is_waiting() && then.is_some_and(|then| could.is(now) && !can.is(then))
    };
    before.contacts().iter().filter(is_stranded).map(|contact| contact.id).collect()
}

fn is_at_work(agent: &Agent) -> bool {
    agent.login != LoginState::LoggedOut
}

/// Whether somebody at work could serve a contact; looked at once for all that ask the same.
struct Served<'a> {
    state: &'a State,
    by_queue: BTreeMap<QueueId, Vec<&'a Agent>>,
    known: BTreeMap<(QueueId, SharedRequirement, u8), bool>,
}

impl<'a> Served<'a> {
    fn of(state: &'a State) -> Self {
        let mut by_queue: BTreeMap<QueueId, Vec<&Agent>> = BTreeMap::new();
        for agent in state.agents().iter().filter(|agent| is_at_work(agent)) {
            for queue in agent.queues.iter() {
                by_queue.entry(*queue).or_default().push(agent);
            }
        }
        Self { state, by_queue, known: BTreeMap::new() }
    }

    fn is(&mut self, contact: &Contact) -> bool {
        let asked = (contact.queue, contact.requirement.clone(), contact.stage.reserve);
        let takes = |agent: &Agent| {
            let site = self.state.sites().get(&agent.site);
            site.is_some_and(Site::takes_contacts)
        };
        let agents = self.by_queue.get(&contact.queue);
        *self.known.entry(asked).or_insert_with(|| {
            agents.into_iter().flatten().any(|agent| agent.serves(contact) && takes(agent))
        })
    }
}

fn small(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

//! Indexes over the rows: derived, never stored, rebuilt from the rows at any time.
//!
//! They make the cost of a decision grow with the number of sites and the logarithm of the
//! candidates, never with the number of agents or contacts. Contacts of one queue with equal
//! requirements form one *class*; ready agents stand in one ordered set per class and site, waiting
//! contacts in one per class and restriction. What is decided with them is in `matching`.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    entity::{Agent, Contact, ContactState, LoginState, Offer, Queue, Reservation, WaitKey},
    ids::{AgentId, ContactId, OfferNumber, QueueId, SiteId, SkillId, TenantId},
    name::{CallerNumber, Name},
    requirement::BoundRequirement,
    strategy::Strategy,
    time::ClusterTime,
};

/// Order among the ready agents of a class: the queue's strategy, then the longest idle, then the lower id.
pub(crate) type ReadyKey = (u64, ClusterTime, AgentId);

/// Number of a class within this process; never leaves it and never breaks a tie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ClassId(u32);

/// What a deadline is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Deadline {
    Offer(OfferNumber),
    /// The end of a work state that ends by itself.
    Work(AgentId),
    Widen(ContactId),
    WaitMax(ContactId),
    Hold(ContactId),
    Reservation(QueueId, CallerNumber),
}

/// Contacts of one queue with equal requirements, and the agents who meet them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) queue: QueueId,
    pub(crate) requirement: BoundRequirement,
    /// Its queue's.
    strategy: Strategy,
    /// Contacts that may be offered.
    pub(crate) waiting: Line,
    /// Contacts that are being confirmed, for which agents are held.
    pub(crate) confirming: Line,
    /// Agents who wait for a contact; whether their site takes contacts is asked when they are
    /// chosen. No empty sets are kept.
    pub(crate) ready: BTreeMap<SiteId, BTreeSet<ReadyKey>>,
    /// How many agents who meet the requirement are logged in. No zeros are kept.
    pub(crate) staffed: BTreeMap<SiteId, u32>,
    /// Live contacts, plus one while it is its queue's own class.
    uses: u32,
}

/// Contacts of one class in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Those that any site may serve.
    any: BTreeSet<WaitKey>,
    /// Those that only this site may serve for now. No empty sets are kept.
    site: BTreeMap<SiteId, BTreeSet<WaitKey>>,
}

/// All indexes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Index {
    pub(crate) site_by_name: BTreeMap<Name, SiteId>,
    pub(crate) skill_by_name: BTreeMap<(TenantId, Name), SkillId>,
    pub(crate) queue_by_name: BTreeMap<(TenantId, Name), QueueId>,
    pub(crate) agent_by_name: BTreeMap<(TenantId, Name), AgentId>,
    /// Contacts with a place in the line of each queue. No zeros are kept.
    pub(crate) queue_len: BTreeMap<QueueId, u32>,
    pub(crate) deadlines: BTreeSet<(ClusterTime, Deadline)>,
    /// Classes with contacts for which agents are held.
    confirming: BTreeSet<ClassId>,
    classes: BTreeMap<ClassId, Class>,
    class_ids: BTreeMap<(QueueId, BoundRequirement), ClassId>,
    /// Agents who serve each queue.
    queue_agents: BTreeMap<QueueId, BTreeSet<AgentId>>,
    /// Classes that each agent meets.
    agent_classes: BTreeMap<AgentId, BTreeSet<ClassId>>,
    /// How each queue chooses.
    strategies: BTreeMap<QueueId, Strategy>,
    next_class: u32,
}

impl Index {
    pub(crate) fn class_of(&self, contact: &Contact) -> Option<&Class> {
        let key = (contact.queue, contact.requirement.clone());
        self.class_ids.get(&key).and_then(|id| self.classes.get(id))
    }

    pub(crate) fn classes(&self) -> impl Iterator<Item = &Class> {
        self.class_ids.values().filter_map(|id| self.classes.get(id))
    }

    pub(crate) fn class_count(&self) -> usize {
        self.classes.len()
    }

    pub(crate) fn has_class(&self, queue: QueueId, requirement: &BoundRequirement) -> bool {
        self.class_ids.contains_key(&(queue, requirement.clone()))
    }

    pub(crate) fn classes_of_agent(&self, agent: AgentId) -> impl Iterator<Item = &Class> {
        let ids = self.agent_classes.get(&agent).into_iter().flatten();
        ids.filter_map(|id| self.classes.get(id))
    }

    /// Those classes that an agent meets in which agents are held for somebody.
    pub(crate) fn confirming_classes_of(&self, agent: AgentId) -> impl Iterator<Item = &Class> {
        let met = self.agent_classes.get(&agent).into_iter();
        let ids = met.flat_map(|met| met.intersection(&self.confirming));
        ids.filter_map(|id| self.classes.get(id))
    }

    pub(crate) fn agents_of_queue(&self, queue: QueueId) -> impl Iterator<Item = AgentId> {
        self.queue_agents.get(&queue).into_iter().flatten().copied()
    }

    pub(crate) fn class_count_of_agent(&self, agent: AgentId) -> usize {
        self.agent_classes.get(&agent).map_or(0, BTreeSet::len)
    }

    // --- queues ---------------------------------------------------------------------------------

    pub(crate) fn add_queue<'a>(
        &mut self,
        queue: &Queue,
        agent: impl Fn(AgentId) -> Option<&'a Agent>,
    ) {
        self.queue_by_name.insert((queue.tenant, queue.name.clone()), queue.id);
        self.set_strategy(queue.id, queue.rules.strategy, &agent);
        self.use_class(queue.id, &queue.requirement, agent);
    }

    pub(crate) fn remove_queue(&mut self, queue: &Queue) {
        self.queue_by_name.remove(&(queue.tenant, queue.name.clone()));
        self.strategies.remove(&queue.id);
        self.release_class(queue.id, &queue.requirement);
    }

    /// Sets a queue's strategy; where it changed, the ready agents of its classes stand in another order.
    fn set_strategy<'a>(
        &mut self,
        queue: QueueId,
        strategy: Strategy,
        agent: &impl Fn(AgentId) -> Option<&'a Agent>,
    ) {
        self.strategies.insert(queue, strategy);
        let classes: Vec<ClassId> = self.classes_of_queue(queue).map(|(_, id)| id).collect();
        for id in classes {
            let Some(class) = self.classes.get_mut(&id) else { continue };
            if class.strategy == strategy {
                continue;
            }
            class.strategy = strategy;
            let ready = std::mem::take(&mut class.ready);
            for row in ready.into_values().flatten().filter_map(|(.., id)| agent(id)) {
                let key = class.ready_key(row);
                class.ready.entry(row.site).or_default().insert(key);
            }
        }
    }

    // --- classes --------------------------------------------------------------------------------

    /// Counts one more user of a class, creating it if it is new.
    pub(crate) fn use_class<'a>(
        &mut self,
        queue: QueueId,
        requirement: &BoundRequirement,
        agent: impl Fn(AgentId) -> Option<&'a Agent>,
    ) {
        let key = (queue, requirement.clone());
        if let Some(class) = self.class_ids.get(&key).and_then(|id| self.classes.get_mut(id)) {
            class.uses += 1;
            return;
        }
        self.next_class += 1;
        let id = ClassId(self.next_class);
        let mut class = Class {
            queue,
            requirement: requirement.clone(),
            strategy: self.strategies.get(&queue).copied().unwrap_or_default(),
            waiting: Line::default(),
            confirming: Line::default(),
            ready: BTreeMap::new(),
            staffed: BTreeMap::new(),
            uses: 1,
        };
        for member in self.queue_agents.get(&queue).into_iter().flatten() {
            let Some(agent) = agent(*member) else { continue };
            if class.requirement.is_met(&agent.skills, agent.site) {
                class.add_agent(agent);
                self.agent_classes.entry(agent.id).or_default().insert(id);
            }
        }
        self.classes.insert(id, class);
        self.class_ids.insert(key, id);
    }

    pub(crate) fn release_class(&mut self, queue: QueueId, requirement: &BoundRequirement) {
        let key = (queue, requirement.clone());
        let Some(&id) = self.class_ids.get(&key) else { return };
        let Some(class) = self.classes.get_mut(&id) else { return };
        class.uses -= 1;
        if class.uses > 0 {
            return;
        }
        self.classes.remove(&id);
        self.class_ids.remove(&key);
        for member in self.queue_agents.get(&queue).into_iter().flatten() {
            if let Some(ids) = self.agent_classes.get_mut(member) {
                ids.remove(&id);
            }
        }
    }

    // --- contacts -------------------------------------------------------------------------------

    /// Takes a contact in; its class must be in use already.
    pub(crate) fn add_contact(&mut self, contact: &Contact) {
        if contact.is_waiting() {
            *self.queue_len.entry(contact.queue).or_default() += 1;
            self.deadlines.extend(contact_deadlines(contact));
        }
        if let Some(line) = self.line_mut(contact) {
            line.insert(contact);
        }
        self.note_confirming(contact);
    }

    pub(crate) fn remove_contact(&mut self, contact: &Contact) {
        if contact.is_waiting() {
            if let Some(len) = self.queue_len.get_mut(&contact.queue) {
                *len -= 1;
                if *len == 0 {
                    self.queue_len.remove(&contact.queue);
                }
            }
            for deadline in contact_deadlines(contact) {
                self.deadlines.remove(&deadline);
            }
        }
        if let Some(line) = self.line_mut(contact) {
            line.remove(contact);
        }
        self.note_confirming(contact);
    }

    /// The line that a contact stands in, if it stands in one.
    fn line_mut(&mut self, contact: &Contact) -> Option<&mut Line> {
        let class = self.classes.get_mut(&self.class_id_of(contact)?)?;
        match contact.state {
            ContactState::Queued => Some(&mut class.waiting),
            ContactState::Unconfirmed if contact.holds_agents() => Some(&mut class.confirming),
            _ => None,
        }
    }

    /// Keeps [`Index::confirming`] true after a contact of a class came or went.
    fn note_confirming(&mut self, contact: &Contact) {
        if !contact.holds_agents() {
            return;
        }
        let Some(id) = self.class_id_of(contact) else { return };
        if self.classes.get(&id).is_some_and(|class| !class.confirming.is_empty()) {
            self.confirming.insert(id);
        } else {
            self.confirming.remove(&id);
        }
    }

    fn class_id_of(&self, contact: &Contact) -> Option<ClassId> {
        self.class_ids.get(&(contact.queue, contact.requirement.clone())).copied()
    }

    /// True while agents are held for some contact.
    pub(crate) fn is_confirming(&self) -> bool {
        !self.confirming.is_empty()
    }

    // --- agents ---------------------------------------------------------------------------------

    /// Takes an agent in.
    pub(crate) fn add_agent(&mut self, agent: &Agent) {
        self.agent_by_name.insert((agent.tenant, agent.name.clone()), agent.id);
        let met = self.classes_met(&agent.queues, &agent.skills, agent.site).collect();
        for queue in &agent.queues {
            self.queue_agents.entry(*queue).or_default().insert(agent.id);
        }
        self.agent_classes.insert(agent.id, met);
        self.show_agent(agent);
    }

    /// Classes that an agent with these queues and skills at this site meets.
    pub(crate) fn classes_met(
        &self,
        queues: &BTreeSet<QueueId>,
        skills: &BTreeMap<SkillId, u8>,
        site: SiteId,
    ) -> impl Iterator<Item = ClassId> {
        queues
            .iter()
            .flat_map(|queue| self.classes_of_queue(*queue))
            .filter(move |(requirement, _)| requirement.is_met(skills, site))
            .map(|(_, id)| id)
    }

    pub(crate) fn classes_of_queue(
        &self,
        queue: QueueId,
    ) -> impl Iterator<Item = (&BoundRequirement, ClassId)> {
        self.class_ids
            .range((queue, Self::FIRST_REQUIREMENT)..)
            .take_while(move |((other, _), _)| *other == queue)
            .map(|((_, requirement), id)| (requirement, *id))
    }

    /// The least requirement in the derived order, to begin a range with.
    const FIRST_REQUIREMENT: BoundRequirement =
        BoundRequirement::Skill { skill: SkillId(0), level_min: 0 };

    pub(crate) fn remove_agent(&mut self, agent: &Agent) {
        self.hide_agent(agent);
        self.agent_by_name.remove(&(agent.tenant, agent.name.clone()));
        self.agent_classes.remove(&agent.id);
        for queue in &agent.queues {
            if let Some(agents) = self.queue_agents.get_mut(queue) {
                agents.remove(&agent.id);
                if agents.is_empty() {
                    self.queue_agents.remove(queue);
                }
            }
        }
    }

    /// Follows a change of an agent's states. Who neither waited nor waits stands in no class's ready set,
    /// and most changes (a phone that rings is answered, wrap-up begins) are such.
    pub(crate) fn change_agent(&mut self, before: &Agent, after: &Agent) {
        let logged_in = |agent: &Agent| agent.login != LoginState::LoggedOut;
        if before.is_waiting() || after.is_waiting() || logged_in(before) != logged_in(after) {
            self.hide_agent(before);
            self.show_agent(after);
            return;
        }
        let (was, is) = (before.work.ends_at(), after.work.ends_at());
        if was != is {
            was.map(|until| self.deadlines.remove(&(until, Deadline::Work(before.id))));
            is.map(|until| self.deadlines.insert((until, Deadline::Work(after.id))));
        }
    }

    /// Enters what changes with the agent's states into the classes that they meet.
    pub(crate) fn show_agent(&mut self, agent: &Agent) {
        for id in self.agent_classes.get(&agent.id).into_iter().flatten() {
            if let Some(class) = self.classes.get_mut(id) {
                class.add_agent(agent);
            }
        }
        if let Some(until) = agent.work.ends_at() {
            self.deadlines.insert((until, Deadline::Work(agent.id)));
        }
    }

    /// Reverses [`Index::show_agent`]; takes the agent as it was then.
    pub(crate) fn hide_agent(&mut self, agent: &Agent) {
        for id in self.agent_classes.get(&agent.id).into_iter().flatten() {
            if let Some(class) = self.classes.get_mut(id) {
                class.remove_agent(agent);
            }
        }
        if let Some(until) = agent.work.ends_at() {
            self.deadlines.remove(&(until, Deadline::Work(agent.id)));
        }
    }

    // --- others ---------------------------------------------------------------------------------

    pub(crate) fn offer_deadline(offer: &Offer) -> (ClusterTime, Deadline) {
        (offer.expires, Deadline::Offer(offer.number))
    }

    pub(crate) fn reservation_deadline(row: &Reservation) -> (ClusterTime, Deadline) {
        (row.expires, Deadline::Reservation(row.queue, row.caller.clone()))
    }
}

impl Line {
    fn insert(&mut self, contact: &Contact) {
        let key = contact.wait_key();
        match contact.widen_at {
            None => self.any.insert(key),
            Some(_) => self.site.entry(contact.serving).or_default().insert(key),
        };
    }

    fn remove(&mut self, contact: &Contact) {
        let key = contact.wait_key();
        self.any.remove(&key);
        remove_from(&mut self.site, contact.serving, &key);
    }

    fn is_empty(&self) -> bool {
        self.any.is_empty() && self.site.is_empty()
    }

    /// The first contact of this line that any site may serve, or only a site that `may` names.
    pub(crate) fn first(&self, may: impl Fn(SiteId) -> bool) -> Option<WaitKey> {
        let restricted =
            self.site.iter().filter(|(site, _)| may(**site)).filter_map(|(_, set)| set.first());
        self.any.first().into_iter().chain(restricted).min().copied()
    }
}

impl Class {
    fn ready_key(&self, agent: &Agent) -> ReadyKey {
        let rank = self.strategy.rank(agent, self.queue, &self.requirement);
        (rank, agent.idle_since, agent.id)
    }

    fn add_agent(&mut self, agent: &Agent) {
        if matches!(agent.login, LoginState::LoggedIn(_)) {
            *self.staffed.entry(agent.site).or_default() += 1;
        }
        if agent.is_waiting() {
            let key = self.ready_key(agent);
            self.ready.entry(agent.site).or_default().insert(key);
        }
    }

    fn remove_agent(&mut self, agent: &Agent) {
        if matches!(agent.login, LoginState::LoggedIn(_))
            && let Some(count) = self.staffed.get_mut(&agent.site)
        {
            *count -= 1;
            if *count == 0 {
                self.staffed.remove(&agent.site);
            }
        }
        if agent.is_waiting() {
            let key = self.ready_key(agent);
            remove_from(&mut self.ready, agent.site, &key);
        }
    }

    /// True when agents at `site` may be offered contacts that are restricted to `restricted` for
    /// now: their own site's, and those of a site that nobody serves or that takes no contacts (a
    /// contact never waits for agents who are not there).
    pub(crate) fn may_serve(
        &self,
        site: SiteId,
        restricted: SiteId,
        takes_contacts: impl Fn(SiteId) -> bool,
    ) -> bool {
        site == restricted || !self.staffed.contains_key(&restricted) || !takes_contacts(restricted)
    }
}

fn contact_deadlines(contact: &Contact) -> impl Iterator<Item = (ClusterTime, Deadline)> {
    let widen = contact.widen_at.map(|at| (at, Deadline::Widen(contact.id)));
    let wait_max = contact.wait_until.map(|at| (at, Deadline::WaitMax(contact.id)));
    let hold = contact.hold_until.map(|at| (at, Deadline::Hold(contact.id)));
    widen.into_iter().chain(wait_max).chain(hold)
}

fn remove_from<T: Ord>(sets: &mut BTreeMap<SiteId, BTreeSet<T>>, site: SiteId, item: &T) {
    if let Some(set) = sets.get_mut(&site) {
        set.remove(item);
        if set.is_empty() {
            sets.remove(&site);
        }
    }
}

/// What two indexes of the same rows must agree on, whatever history they have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Comparable<'a> {
    sites: &'a BTreeMap<Name, SiteId>,
    skills: &'a BTreeMap<(TenantId, Name), SkillId>,
    queues: &'a BTreeMap<(TenantId, Name), QueueId>,
    agents: &'a BTreeMap<(TenantId, Name), AgentId>,
    queue_len: &'a BTreeMap<QueueId, u32>,
    deadlines: &'a BTreeSet<(ClusterTime, Deadline)>,
    confirming: BTreeSet<(QueueId, BoundRequirement)>,
    classes: BTreeMap<(QueueId, BoundRequirement), &'a Class>,
    agent_classes: BTreeMap<AgentId, BTreeSet<(QueueId, BoundRequirement)>>,
    queue_agents: &'a BTreeMap<QueueId, BTreeSet<AgentId>>,
}

impl Index {
    pub(crate) fn comparable(&self) -> Comparable<'_> {
        let key = |class: &Class| (class.queue, class.requirement.clone());
        Comparable {
            sites: &self.site_by_name,
            skills: &self.skill_by_name,
            queues: &self.queue_by_name,
            agents: &self.agent_by_name,
            queue_len: &self.queue_len,
            deadlines: &self.deadlines,
            confirming: self
                .confirming
                .iter()
                .filter_map(|id| self.classes.get(id).map(key))
                .collect(),
            classes: self.classes().map(|class| (key(class), class)).collect(),
            agent_classes: self
                .agent_classes
                .keys()
                .map(|agent| (*agent, self.classes_of_agent(*agent).map(key).collect()))
                .collect(),
            queue_agents: &self.queue_agents,
        }
    }
}

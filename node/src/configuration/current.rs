//! What is configured now, in the words of documents.

use std::collections::BTreeMap;

use tandem_routing::{
    command::{AgentRules, AgentSpec, NumberRules, NumberSpec, QueueSpec, ServiceAbroad},
    entity::{Agent, Number, Queue},
    ids::{AgentId, QueueId, SiteId, SkillId, TenantId},
    name::Name,
    requirement::{BoundRequirement, NamedRequirement, Requirement, Translate},
    state::State,
};

use super::{
    entries::{AgentEntry, NumberEntry, QueueEntry, SiteEntry},
    reader::Kind,
};

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Whole {
    pub(super) sites: BTreeMap<Name, SiteEntry>,
    pub(super) queues: BTreeMap<Name, QueueEntry>,
    pub(super) numbers: BTreeMap<Name, NumberEntry>,
    pub(super) agents: BTreeMap<Name, AgentEntry>,
}

impl Whole {
    /// What a state has for a tenant.
    pub(super) fn of(state: &State, tenant: TenantId) -> Self {
        let site = |site: &tandem_routing::entity::Site| SiteEntry {
            name: site.name.clone(),
            region: Some(site.region.clone()),
            weight: Some(site.weight),
        };
        let own_queues = state.queues().iter().filter(|row| row.tenant == tenant);
        let own_numbers = state.numbers().iter().filter(|row| row.tenant == tenant);
        let own_agents = state.agents().iter().filter(|row| row.tenant == tenant);
        Self {
            sites: state.sites().iter().map(|row| (row.name.clone(), site(row))).collect(),
            queues: own_queues.map(|row| (row.name.clone(), queue(state, row))).collect(),
            numbers: own_numbers.map(|row| (row.number.clone(), number(state, row))).collect(),
            agents: own_agents.map(|row| (row.name.clone(), agent(state, row))).collect(),
        }
    }

    /// True when there is such a thing.
    pub(super) fn has(&self, kind: Kind, name: &Name) -> bool {
        match kind {
            Kind::Site => self.sites.contains_key(name),
            Kind::Queue => self.queues.contains_key(name),
            Kind::Number => self.numbers.contains_key(name),
            Kind::Agent => self.agents.contains_key(name),
        }
    }
}

fn queue(state: &State, row: &Queue) -> QueueEntry {
    let spec = QueueSpec {
        name: row.name.clone(),
        requirement: requirement(state, &row.requirement),
        weight: row.weight,
        site_choice: row.site_choice,
        widen_after: row.widen_after,
        ring: row.ring,
        wrap_up: row.wrap_up,
        length_max: row.length_max,
        wait_max: row.wait_max,
    };
    let rules = row.rules.try_map(
        |bound| Ok::<_, std::convert::Infallible>(requirement(state, bound)),
        |to| Ok(queue_name(state, *to)),
        |calendar| {
            let row = state.calendars().get(calendar);
            Ok(row.map_or_else(|| shown(*calendar), |row| row.name.clone()))
        },
    );
    match rules {
        Ok(rules) => QueueEntry { spec, rules },
    }
}

fn number(state: &State, row: &Number) -> NumberEntry {
    let spec = NumberSpec {
        number: row.number.clone(),
        queue: queue_name(state, row.queue),
        requirement: requirement(state, &row.requirement),
        priority: row.priority,
    };
    let prefers = row.prefers.map(|(agent, patience)| (agent_name(state, agent), patience));
    NumberEntry { spec, rules: NumberRules { prefers, lists: row.lists.to_vec() } }
}

fn agent(state: &State, row: &Agent) -> AgentEntry {
    let owner = |queue: &QueueId| state.queues().get(queue).map(|queue| queue.tenant);
    let own = |queue: &&QueueId| owner(queue).is_none_or(|owner| owner == row.tenant);
    let mut abroad: BTreeMap<Name, ServiceAbroad> = BTreeMap::new();
    for queue in row.queues.iter().filter(|queue| !own(queue)) {
        if let Some(tenant) = owner(queue).and_then(|owner| tenant_name(state, owner)) {
            abroad.entry(tenant).or_default().queues.insert(queue_name(state, *queue));
        }
    }
    let mut skills = BTreeMap::new();
    for (skill, level) in row.skills.iter() {
        let Some(skill) = state.skills().get(skill) else { continue };
        if skill.tenant == row.tenant {
            skills.insert(skill.name.clone(), *level);
        } else if let Some(tenant) = tenant_name(state, skill.tenant) {
            abroad.entry(tenant).or_default().skills.insert(skill.name.clone(), *level);
        }
    }
    let site = state.sites().get(&row.site).map(|site| site.name.clone());
    let spec = AgentSpec {
        name: row.name.clone(),
        site: site.unwrap_or_else(|| shown(row.site)),
        skills,
        queues: row.queues.iter().filter(own).map(|queue| queue_name(state, *queue)).collect(),
    };
    let rules = AgentRules {
        tiers: row.tiers.iter().map(|(queue, tier)| (queue_name(state, *queue), *tier)).collect(),
        reserves: row
            .reserves
            .iter()
            .map(|(queue, level)| (queue_name(state, *queue), *level))
            .collect(),
        attributes: (*row.attributes).clone(),
        abroad,
    };
    AgentEntry { spec, rules }
}

fn tenant_name(state: &State, id: TenantId) -> Option<Name> {
    match state.tenants().get(&id) {
        Some(row) => Some(row.name.clone()),
        None => TenantId::DEFAULT_NAME.parse().ok(),
    }
}

fn queue_name(state: &State, id: QueueId) -> Name {
    state.queues().get(&id).map_or_else(|| shown(id), |row| row.name.clone())
}

fn agent_name(state: &State, id: AgentId) -> Name {
    state.agents().get(&id).map_or_else(|| shown(id), |row| row.name.clone())
}

/// An id as a name, for what was removed: `agent_7`.
fn shown(id: impl std::fmt::Display) -> Name {
    id.to_string().parse().expect("ids are letters, digits and underscores")
}

fn requirement(state: &State, bound: &BoundRequirement) -> NamedRequirement {
    match bound.translate(&mut Spelling(state)) {
        Ok(named) => named.canonical(),
        // Skills and sites are never removed.
        Err(()) => Requirement::Any(Vec::new()),
    }
}

/// Names for the ids in a requirement; fails for what is not there.
pub(crate) struct Spelling<'a>(pub(crate) &'a State);

impl Translate<SkillId, SiteId, AgentId> for Spelling<'_> {
    type Skill = Name;
    type Site = Name;
    type Agent = Name;
    type Error = ();

    fn skill(&mut self, skill: &SkillId) -> Result<Name, ()> {
        self.0.skills().get(skill).map(|row| row.name.clone()).ok_or(())
    }

    fn site(&mut self, site: &SiteId) -> Result<Name, ()> {
        self.0.sites().get(site).map(|row| row.name.clone()).ok_or(())
    }

    /// An agent who was removed is shown by the number, so that the rest can be read.
    fn agent(&mut self, agent: &AgentId) -> Result<Name, ()> {
        Ok(agent_name(self.0, *agent))
    }
}

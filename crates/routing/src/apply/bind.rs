//! Names to ids: requirements and rules as people write them, bound to what there is.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    command::{AgentSpec, Rejection, check},
    entity::Skill,
    ids::{AgentId, QueueId, SiteId, SkillId, TenantId},
    limits::SKILLS_MAX,
    name::Name,
    requirement::{BoundRequirement, NamedRequirement, SharedRequirement, Translate},
    rules::{BoundQueueRules, NamedQueueRules, Target},
    state::State,
};

impl State {
    pub(super) fn site_id(&self, name: &Name) -> Result<SiteId, Rejection> {
        let site = self.site_named(name).ok_or_else(|| Rejection::SiteMustExist(name.clone()))?;
        Ok(site.id)
    }

    /// Checks that all that these requirements speak of is there, and that there is room for new skills.
    /// Binding them cannot fail afterwards.
    pub(super) fn check_words<'a>(
        &self,
        tenant: TenantId,
        requirements: impl IntoIterator<Item = &'a NamedRequirement>,
        skills: impl IntoIterator<Item = &'a Name>,
    ) -> Result<(), Rejection> {
        let mut words =
            Words { skills: skills.into_iter().cloned().collect(), tenant, state: self };
        for requirement in requirements {
            requirement.translate(&mut words)?;
        }
        let known = |name: &Name| self.index.skill_by_name.contains_key(&(tenant, name.clone()));
        let new = words.skills.iter().filter(|name| !known(name)).count();
        match new.checked_sub(1) {
            None => Ok(()),
            Some(others) => check::room("skills", self.skills.len() + others, SKILLS_MAX),
        }
    }

    /// The requirement with ids; skills that are named for the first time are created, and noted in `new`.
    /// Its words must have been checked.
    pub(super) fn bind(
        &mut self,
        tenant: TenantId,
        requirement: &NamedRequirement,
        new: &mut Vec<Name>,
    ) -> SharedRequirement {
        let bound = requirement.translate(&mut Binding { state: self, tenant, new });
        // Every name was checked or created; a requirement that nobody meets is the safe reading of the
        // impossible case.
        let nobody = |_| BoundRequirement::Any(Vec::new());
        bound.unwrap_or_else(nobody).canonical().into()
    }

    /// The requirement with ids, if all that it speaks of is there; changes nothing.
    pub(super) fn find(
        &self,
        tenant: TenantId,
        requirement: &NamedRequirement,
    ) -> Option<BoundRequirement> {
        let found = requirement.translate(&mut Finding { state: self, tenant }).ok()?;
        Some(found.canonical())
    }

    /// Rules with ids. Their words must have been checked.
    pub(super) fn bind_rules(
        &mut self,
        tenant: TenantId,
        rules: &NamedQueueRules,
        new: &mut Vec<Name>,
    ) -> BoundQueueRules {
        let queues = self.overflow_queues(tenant, rules).unwrap_or_default();
        // Every calendar was checked, too.
        let calendars = self.index.calendar_by_name.clone();
        let bound = rules.try_map(
            |requirement| Ok::<_, std::convert::Infallible>(self.bind(tenant, requirement, new)),
            // Every queue was checked.
            |queue| Ok(queues.get(queue).copied().unwrap_or_default()),
            |calendar| Ok(calendars.get(&(tenant, calendar.clone())).copied().unwrap_or_default()),
        );
        match bound {
            Ok(bound) => bound,
        }
    }

    /// The queues that rules send contacts to, or let them wait in as well; all must be there.
    pub(super) fn overflow_queues(
        &self,
        tenant: TenantId,
        rules: &NamedQueueRules,
    ) -> Result<BTreeMap<Name, QueueId>, Rejection> {
        let mut queues = BTreeMap::new();
        for also in &rules.also {
            queues.insert(also.queue.clone(), self.queue_to_use(tenant, &also.queue)?.id);
        }
        for rule in &rules.overflow {
            let Target::Queue(name) = &rule.to else { continue };
            queues.insert(name.clone(), self.queue_to_use(tenant, name)?.id);
        }
        Ok(queues)
    }

    /// What is configured per queue, by ids; each queue must be one that the agent serves.
    pub(super) fn bind_per_queue<T: Clone>(
        &self,
        tenant: TenantId,
        spec: &AgentSpec,
        values: &BTreeMap<Name, T>,
    ) -> Result<BTreeMap<QueueId, T>, Rejection> {
        let mut bound = BTreeMap::new();
        for (name, value) in values {
            let queue = self.queue_named(tenant, name).filter(|_| spec.queues.contains(name));
            let queue = queue.ok_or_else(|| Rejection::QueueMustBeServed {
                agent: spec.name.clone(),
                queue: name.clone(),
            })?;
            bound.insert(queue.id, value.clone());
        }
        Ok(bound)
    }

    pub(super) fn skill_id(
        &mut self,
        tenant: TenantId,
        name: &Name,
        new: &mut Vec<Name>,
    ) -> SkillId {
        if let Some(id) = self.index.skill_by_name.get(&(tenant, name.clone())) {
            return *id;
        }
        self.counters.skill += 1;
        let id = SkillId(self.counters.skill);
        self.insert_skill(Skill { id, tenant, name: name.clone() });
        new.push(name.clone());
        id
    }
}

/// Looks every word up and changes nothing; skills may be new.
struct Words<'a> {
    state: &'a State,
    tenant: TenantId,
    skills: BTreeSet<Name>,
}

impl Translate<Name, Name, Name> for Words<'_> {
    type Skill = ();
    type Site = SiteId;
    type Agent = AgentId;
    type Error = Rejection;

    fn skill(&mut self, skill: &Name) -> Result<(), Rejection> {
        self.skills.insert(skill.clone());
        Ok(())
    }

    fn site(&mut self, site: &Name) -> Result<SiteId, Rejection> {
        self.state.site_id(site)
    }

    fn agent(&mut self, agent: &Name) -> Result<AgentId, Rejection> {
        let row = self.state.agent_named(self.tenant, agent);
        row.map(|row| row.id).ok_or_else(|| Rejection::AgentMustExist(agent.clone()))
    }
}

/// Creates skills that are new.
struct Binding<'a> {
    state: &'a mut State,
    tenant: TenantId,
    new: &'a mut Vec<Name>,
}

impl Translate<Name, Name, Name> for Binding<'_> {
    type Skill = SkillId;
    type Site = SiteId;
    type Agent = AgentId;
    type Error = Rejection;

    fn skill(&mut self, skill: &Name) -> Result<SkillId, Rejection> {
        Ok(self.state.skill_id(self.tenant, skill, self.new))
    }

    fn site(&mut self, site: &Name) -> Result<SiteId, Rejection> {
        self.state.site_id(site)
    }

    fn agent(&mut self, agent: &Name) -> Result<AgentId, Rejection> {
        let row = self.state.agent_named(self.tenant, agent);
        row.map(|row| row.id).ok_or_else(|| Rejection::AgentMustExist(agent.clone()))
    }
}

/// Looks every word up; all must be there.
struct Finding<'a> {
    state: &'a State,
    tenant: TenantId,
}

impl Translate<Name, Name, Name> for Finding<'_> {
    type Skill = SkillId;
    type Site = SiteId;
    type Agent = AgentId;
    type Error = ();

    fn skill(&mut self, skill: &Name) -> Result<SkillId, ()> {
        let key = (self.tenant, skill.clone());
        self.state.index.skill_by_name.get(&key).copied().ok_or(())
    }

    fn site(&mut self, site: &Name) -> Result<SiteId, ()> {
        self.state.site_named(site).map(|row| row.id).ok_or(())
    }

    fn agent(&mut self, agent: &Name) -> Result<AgentId, ()> {
        self.state.agent_named(self.tenant, agent).map(|row| row.id).ok_or(())
    }
}

//! Configuration: sites, queues, numbers, agents' rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    command::{AgentSpec, NumberSpec, QueueSpec, Rejection, Reply, Unfinished, check},
    entity::{
        Agent, DeviceState, LoginState, LogoutAfter, NotReadyReason, Number, Queue, Respread, Site,
        SiteState, Skill, Tally, Tier, WorkItem, WorkState,
    },
    ids::{AgentId, ContactId, QueueId, SiteId, SkillId, TenantId},
    limits::{
        AGENTS_MAX, CLASSES_MAX, CLASSES_PER_QUEUE_MAX, NUMBERS_MAX, QUEUES_MAX, SITE_WEIGHT_MAX,
        SITES_MAX, SKILLS_MAX,
    },
    name::Name,
    requirement::{BoundRequirement, NamedRequirement, SharedRequirement},
    rules::QueueRules,
    state::State,
};

impl State {
    pub(super) fn put_site(&mut self, name: &Name, region: &Name) -> Result<Reply, Rejection> {
        if let Some(id) = self.index.site_by_name.get(name).copied() {
            self.sites.update(&id, |site| site.region = region.clone());
            return Ok(Reply::Done);
        }
        check::room("sites", self.sites.len(), SITES_MAX)?;
        self.counters.site += 1;
        self.insert_site(Site {
            id: SiteId(self.counters.site),
            name: name.clone(),
            region: region.clone(),
            state: SiteState::Open,
            weight: SITE_WEIGHT_MAX,
        });
        Ok(Reply::Done)
    }

    pub(super) fn set_site_state(
        &mut self,
        name: &Name,
        state: SiteState,
    ) -> Result<Reply, Rejection> {
        let id = self.site_id(name)?;
        self.sites.update(&id, |site| site.state = state);
        self.spread_again(Respread::OnlyStranded);
        Ok(Reply::SiteChanged { moved: 0, unfinished: Unfinished::No })
    }

    pub(super) fn set_site_weight(&mut self, name: &Name, weight: u16) -> Result<Reply, Rejection> {
        check::site_weight(weight)?;
        let id = self.site_id(name)?;
        self.sites.update(&id, |site| site.weight = weight);
        let queues: Vec<QueueId> = self.queues.iter().map(|queue| queue.id).collect();
        for queue in queues {
            // Shares are counted from the moment the weights changed.
            self.queues.update(&queue, |queue| queue.assigned.clear());
        }
        self.spread_again(Respread::ByWeight);
        Ok(Reply::SiteChanged { moved: 0, unfinished: Unfinished::No })
    }

    fn spread_again(&mut self, respread: Respread) {
        self.add_work(WorkItem::MoveWaiting { next: ContactId::default(), respread });
        self.add_work(WorkItem::Rematch);
    }

    pub(super) fn put_queue_spec(
        &mut self,
        tenant: TenantId,
        spec: &QueueSpec,
        rules: Option<&QueueRules>,
    ) -> Result<Reply, Rejection> {
        check::queue(spec)?;
        let existing = self.queue_named(tenant, &spec.name).cloned();
        if existing.is_none() {
            check::room("queues", self.queues.len(), QUEUES_MAX)?;
        }
        self.check_new_skills(tenant, skills_of(&spec.requirement))?;
        self.check_sites(&spec.requirement)?;
        if let Some(queue) = &existing
            && !self.is_bound(tenant, &spec.requirement, &queue.requirement)
        {
            self.check_new_requirement(queue.id)?;
        }
        let (requirement, new_skills) = self.bind(tenant, &spec.requirement);
        let id = existing.as_ref().map_or_else(
            || {
                self.counters.queue += 1;
                QueueId(self.counters.queue)
            },
            |queue| queue.id,
        );
        self.put_queue(Queue {
            id,
            tenant,
            name: spec.name.clone(),
            requirement,
            weight: spec.weight,
            site_choice: spec.site_choice,
            widen_after: spec.widen_after,
            ring: spec.ring,
            wrap_up: spec.wrap_up,
            length_max: spec.length_max,
            wait_max: spec.wait_max,
            rules: rules
                .filter(|_| existing.is_none() || !planted!(self, StrategyStays))
                .or(existing.as_ref().map(|queue| &queue.rules))
                .cloned()
                .unwrap_or_default(),
            assigned: existing.map(|queue| queue.assigned).unwrap_or_default(),
        });
        if self.queue_len(id) > 0 && !planted!(self, EditsDoNotReachTheWaiting) {
            self.add_work(WorkItem::Follow { queue: id, next: ContactId::default() });
            self.add_work(WorkItem::Rematch);
        }
        Ok(Reply::Put { new_skills })
    }

    /// A queue whose requirement changes may get another class for each one that its contacts are in,
    /// beside the old ones until all contacts have followed.
    fn check_new_requirement(&self, queue: QueueId) -> Result<(), Rejection> {
        let new = self.index.class_count_of(queue);
        if new == 0 {
            return Ok(());
        }
        check::room("requirement classes", self.index.class_count() + new - 1, CLASSES_MAX)?;
        check::room("requirement classes of one queue", new + new - 1, CLASSES_PER_QUEUE_MAX)
    }

    pub(super) fn remove_queue_named(
        &mut self,
        tenant: TenantId,
        name: &Name,
    ) -> Result<Reply, Rejection> {
        let queue = self
            .queue_named(tenant, name)
            .ok_or_else(|| Rejection::QueueMustExist(name.clone()))?
            .id;
        let contacts = self.contacts.iter().filter(|contact| contact.queue == queue).count();
        if contacts > 0 {
            let contacts = u32::try_from(contacts).unwrap_or(u32::MAX);
            return Err(Rejection::QueueMustBeEmpty(name.clone(), contacts));
        }
        if let Some(number) = self.numbers.iter().find(|number| number.queue == queue) {
            return Err(Rejection::QueueMustBeUnused(name.clone(), number.number.clone()));
        }
        let agents: Vec<AgentId> = self.index.agents_of_queue(queue).collect();
        for agent in agents {
            self.update_agent(agent, |row| {
                Arc::make_mut(&mut row.queues).remove(&queue);
                row.asked.remove(&queue);
                if row.tiers.contains_key(&queue) {
                    Arc::make_mut(&mut row.tiers).remove(&queue);
                }
            });
        }
        self.remove_queue(queue);
        Ok(Reply::Done)
    }

    pub(super) fn put_number(
        &mut self,
        tenant: TenantId,
        spec: &NumberSpec,
    ) -> Result<Reply, Rejection> {
        check::number(spec)?;
        match self.numbers.get(&spec.number) {
            Some(number) if number.tenant != tenant => {
                return Err(Rejection::NumberMustBeOwn(spec.number.clone()));
            }
            Some(_) => {}
            None => check::room("numbers", self.numbers.len(), NUMBERS_MAX)?,
        }
        let queue = self
            .queue_named(tenant, &spec.queue)
            .ok_or_else(|| Rejection::QueueMustExist(spec.queue.clone()))?
            .id;
        self.check_new_skills(tenant, skills_of(&spec.requirement))?;
        self.check_sites(&spec.requirement)?;
        let (requirement, new_skills) = self.bind(tenant, &spec.requirement);
        let number = spec.number.clone();
        self.numbers.insert(Number { tenant, number, queue, requirement, priority: spec.priority });
        Ok(Reply::Put { new_skills })
    }

    pub(super) fn remove_number(
        &mut self,
        tenant: TenantId,
        number: &Name,
    ) -> Result<Reply, Rejection> {
        match self.numbers.get(number) {
            Some(row) if row.tenant == tenant => {
                self.numbers.remove(number);
                Ok(Reply::Done)
            }
            _ => Err(Rejection::NumberMustExist(number.clone())),
        }
    }

    pub(super) fn put_agent_spec(
        &mut self,
        tenant: TenantId,
        spec: &AgentSpec,
        tiers: Option<&BTreeMap<Name, Tier>>,
    ) -> Result<Reply, Rejection> {
        check::agent(spec)?;
        let site = self.site_id(&spec.site)?;
        let mut queues = BTreeSet::new();
        for name in &spec.queues {
            let queue = self
                .queue_named(tenant, name)
                .ok_or_else(|| Rejection::QueueMustExist(name.clone()))?;
            queues.insert(queue.id);
        }
        let tiers = tiers.filter(|_| !planted!(self, TiersAreForgotten));
        let tiers = tiers.map(|tiers| self.bind_tiers(tenant, spec, tiers)).transpose()?;
        let existing = self.agent_named(tenant, &spec.name).map(|agent| agent.id);
        if existing.is_none() {
            check::room("agents", self.agents.len(), AGENTS_MAX)?;
        }
        self.check_new_skills(tenant, spec.skills.keys().cloned().collect())?;
        let mut new_skills = Vec::new();
        let skills: BTreeMap<SkillId, u8> = spec
            .skills
            .iter()
            .map(|(name, level)| (self.skill_id(tenant, name, &mut new_skills), *level))
            .collect();
        let (skills, queues) = (Arc::new(skills), Arc::new(queues));
        match existing {
            Some(id) => {
                self.update_agent(id, |row| {
                    row.site = site;
                    row.skills = skills;
                    if let Some(tiers) = tiers {
                        row.tiers = Arc::new(tiers);
                    }
                    row.asked.retain(|queue, _| queues.contains(queue));
                    if row.tiers.keys().any(|queue| !queues.contains(queue)) {
                        Arc::make_mut(&mut row.tiers).retain(|queue, _| queues.contains(queue));
                    }
                    row.queues = queues;
                });
                self.add_work(WorkItem::Rematch);
            }
            None => {
                self.counters.agent += 1;
                self.insert_agent(Agent {
                    id: AgentId(self.counters.agent),
                    tenant,
                    name: spec.name.clone(),
                    site,
                    skills,
                    queues,
                    login: LoginState::LoggedOut,
                    work: WorkState::NotReady(NotReadyReason::Unspecified),
                    device: DeviceState::Unregistered,
                    idle_since: self.counters.now,
                    work_since: self.counters.now,
                    next_not_ready: None,
                    logout_after: LogoutAfter::No,
                    tally: Tally::default(),
                    turn: self.counters.ordinal,
                    asked: BTreeMap::new(),
                    tiers: Arc::new(tiers.unwrap_or_default()),
                });
            }
        }
        Ok(Reply::Put { new_skills })
    }

    /// Tiers by ids; each must be of a queue that the agent serves.
    fn bind_tiers(
        &self,
        tenant: TenantId,
        spec: &AgentSpec,
        tiers: &BTreeMap<Name, Tier>,
    ) -> Result<BTreeMap<QueueId, Tier>, Rejection> {
        let mut bound = BTreeMap::new();
        for (name, tier) in tiers {
            check::tier(*tier)?;
            let queue = self.queue_named(tenant, name).filter(|_| spec.queues.contains(name));
            let queue = queue.ok_or_else(|| Rejection::QueueMustBeServed {
                agent: spec.name.clone(),
                queue: name.clone(),
            })?;
            bound.insert(queue.id, *tier);
        }
        Ok(bound)
    }

    pub(super) fn remove_agent_named(
        &mut self,
        tenant: TenantId,
        name: &Name,
    ) -> Result<Reply, Rejection> {
        let agent = self
            .agent_named(tenant, name)
            .ok_or_else(|| Rejection::AgentMustExist(name.clone()))?;
        if agent.login != LoginState::LoggedOut || agent.is_engaged() {
            return Err(Rejection::AgentMustBeLoggedOut(name.clone()));
        }
        let id = agent.id;
        self.remove_agent(id);
        Ok(Reply::Done)
    }

    /// True when the named requirement is this one with ids already; changes nothing.
    fn is_bound(
        &self,
        tenant: TenantId,
        named: &NamedRequirement,
        bound: &BoundRequirement,
    ) -> bool {
        self.try_bind(tenant, named).is_ok_and(|requirement| requirement == *bound)
    }

    // --- names to ids ---------------------------------------------------------------------------

    pub(super) fn site_id(&self, name: &Name) -> Result<SiteId, Rejection> {
        let site = self.site_named(name).ok_or_else(|| Rejection::SiteMustExist(name.clone()))?;
        Ok(site.id)
    }

    fn check_new_skills(&self, tenant: TenantId, names: BTreeSet<Name>) -> Result<(), Rejection> {
        let new = names
            .into_iter()
            .filter(|name| !self.index.skill_by_name.contains_key(&(tenant, name.clone())))
            .count();
        if new == 0 {
            return Ok(());
        }
        check::room("skills", self.skills.len() + new - 1, SKILLS_MAX)
    }

    fn check_sites(&self, requirement: &NamedRequirement) -> Result<(), Rejection> {
        requirement
            .try_map(&mut |skill: &Name| Ok(skill.clone()), &mut |site| self.site_id(site))
            .map(|_| ())
    }

    /// The requirement with ids; skills that are named for the first time are created. Sites must
    /// have been checked.
    fn bind(
        &mut self,
        tenant: TenantId,
        requirement: &NamedRequirement,
    ) -> (SharedRequirement, Vec<Name>) {
        let mut new_skills = Vec::new();
        for name in skills_of(requirement) {
            self.skill_id(tenant, &name, &mut new_skills);
        }
        // Every name was checked or created above; a requirement that nobody meets is the safe
        // reading of the impossible case.
        let nobody = BoundRequirement::Any(Vec::new());
        (self.try_bind(tenant, requirement).unwrap_or(nobody).into(), new_skills)
    }

    fn try_bind(
        &self,
        tenant: TenantId,
        requirement: &NamedRequirement,
    ) -> Result<BoundRequirement, ()> {
        let bound = requirement.try_map(
            &mut |name: &Name| {
                self.index.skill_by_name.get(&(tenant, name.clone())).copied().ok_or(())
            },
            &mut |name| self.index.site_by_name.get(name).copied().ok_or(()),
        )?;
        Ok(bound.canonical())
    }

    fn skill_id(&mut self, tenant: TenantId, name: &Name, new: &mut Vec<Name>) -> SkillId {
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

fn skills_of(requirement: &NamedRequirement) -> BTreeSet<Name> {
    let mut names = BTreeSet::new();
    let walked = requirement.try_map(
        &mut |name: &Name| {
            names.insert(name.clone());
            Ok::<_, std::convert::Infallible>(())
        },
        &mut |_| Ok(()),
    );
    match walked {
        Ok(_) => names,
    }
}

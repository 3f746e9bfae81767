//! Configuration: sites, queues, numbers, agents' rows.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::{
    command::{
        AgentRules, AgentSpec, NumberRules, NumberSpec, QueueSpec, Rejection, Reply, Unfinished,
        check,
    },
    entity::{
        Agent, AgentInterval, DeviceState, LoginState, LogoutAfter, NotReadyReason, Number, Plan,
        Queue, Respread, Site, SiteState, Tally, WorkItem, WorkState,
    },
    ids::{AgentId, ContactId, QueueId, SiteId, SkillId, TenantId},
    limits::{
        AGENTS_MAX, CLASSES_MAX, CLASSES_PER_QUEUE_MAX, NUMBERS_MAX, QUEUES_MAX, SITE_WEIGHT_MAX,
        SITES_MAX,
    },
    name::Name,
    requirement::{NamedRequirement, SharedRequirement},
    rules::{NamedQueueRules, Step},
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
            contacts_max: None,
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

    pub(super) fn set_site_cap(
        &mut self,
        name: &Name,
        contacts_max: Option<u32>,
    ) -> Result<Reply, Rejection> {
        let id = self.site_id(name)?;
        self.sites.update(&id, |site| site.contacts_max = contacts_max);
        self.add_work(WorkItem::Rematch);
        Ok(Reply::Done)
    }

    pub(super) fn set_site_weight(&mut self, name: &Name, weight: u16) -> Result<Reply, Rejection> {
        check::site_weight(weight)?;
        let id = self.site_id(name)?;
        let changes =
            |plan: &&Plan| plan.is_running() && plan.weights.iter().any(|change| change.site == id);
        if let Some(plan) = self.plans.iter().find(changes) {
            return Err(Rejection::PlanMustBeFinished(plan.id));
        }
        self.sites.update(&id, |site| site.weight = weight);
        self.forget_shares();
        self.spread_again(Respread::ByWeight);
        Ok(Reply::SiteChanged { moved: 0, unfinished: Unfinished::No })
    }

    pub(super) fn spread_again(&mut self, respread: Respread) {
        self.add_work(WorkItem::MoveWaiting { next: ContactId::default(), respread });
        self.add_work(WorkItem::Rematch);
    }

    pub(super) fn put_queue_spec(
        &mut self,
        tenant: TenantId,
        spec: &QueueSpec,
        rules: Option<&NamedQueueRules>,
    ) -> Result<Reply, Rejection> {
        check::queue(spec)?;
        rules.map_or(Ok(()), check::queue_rules)?;
        let existing = match self.queue_named(tenant, &spec.name) {
            None => {
                check::room("queues", self.queues.len(), QUEUES_MAX)?;
                self.quota(tenant, "queues", |usage| usage.queues, |quotas| quotas.queues)?;
                None
            }
            Some(_) => Some(self.queue_to_use(tenant, &spec.name)?.clone()),
        };
        let steps = rules.into_iter().flat_map(|rules| &rules.steps);
        let requirements = steps.map(|step| &step.requirement).chain([&spec.requirement]);
        self.check_words(tenant, requirements, [])?;
        if let Some(rules) = rules {
            self.overflow_queues(tenant, rules)?;
            if let Some(hours) = &rules.hours {
                self.calendar_id(tenant, &hours.calendar)?;
            }
        }
        if let Some(queue) = &existing
            && self.asks_anything_new(tenant, queue, spec, rules)
        {
            self.check_new_classes(queue.id)?;
        }
        let mut new_skills = Vec::new();
        let requirement = self.bind(tenant, &spec.requirement, &mut new_skills);
        let rules = rules.map(|rules| self.bind_rules(tenant, rules, &mut new_skills));
        #[cfg(feature = "planted")]
        let rules = rules.map(|rules| {
            let urgency = rules.urgency.filter(|_| !planted!(self, UrgencyIsIgnored));
            crate::rules::BoundQueueRules { urgency, ..rules }
        });
        let rules = rules.map(Arc::new);
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
                .or(existing.as_ref().map(|queue| queue.rules.clone()))
                .unwrap_or_default(),
            moves: existing.as_ref().map(|queue| queue.moves).unwrap_or_default(),
            assigned: existing.map(|queue| queue.assigned).unwrap_or_default(),
            retiring: None,
        });
        if self.queue_len(id) > 0 && !planted!(self, EditsDoNotReachTheWaiting) {
            self.add_work(WorkItem::Follow { queue: id, next: ContactId::default() });
            self.check_staff_of([id]);
            self.close_if_due(id);
            self.add_work(WorkItem::Rematch);
        }
        Ok(Reply::Put { new_skills })
    }

    /// A queue that changes may get another class for each one that its contacts are in, beside the old ones
    /// until all contacts have followed.
    fn check_new_classes(&self, queue: QueueId) -> Result<(), Rejection> {
        let new = self.index.class_count_of(queue);
        if new == 0 {
            return Ok(());
        }
        check::room("requirement classes", self.index.class_count() + new - 1, CLASSES_MAX)?;
        check::room("requirement classes of one queue", new + new - 1, CLASSES_PER_QUEUE_MAX)
    }

    pub(super) fn put_number_spec(
        &mut self,
        tenant: TenantId,
        spec: &NumberSpec,
        rules: Option<&NumberRules>,
    ) -> Result<Reply, Rejection> {
        check::number(spec)?;
        rules.map_or(Ok(()), check::number_rules)?;
        let existing = self.numbers.get(&spec.number);
        match existing {
            Some(number) if number.tenant != tenant => {
                return Err(Rejection::NumberMustBeOwn(spec.number.clone()));
            }
            Some(_) => {}
            None => {
                check::room("numbers", self.numbers.len(), NUMBERS_MAX)?;
                self.quota(tenant, "numbers", |usage| usage.numbers, |quotas| quotas.numbers)?;
            }
        }
        let queue = self.queue_to_use(tenant, &spec.queue)?.id;
        let prefers = match rules {
            None => existing.and_then(|number| number.prefers),
            Some(rules) => match &rules.prefers {
                None => None,
                Some((agent, patience)) => Some((self.agent(tenant, agent)?.id, *patience)),
            },
        };
        let lists = match rules {
            None => existing.map(|number| number.lists.clone()).unwrap_or_default(),
            Some(rules) => {
                rules.lists.iter().try_for_each(|(list, _)| self.check_list(tenant, list))?;
                rules.lists.clone().into()
            }
        };
        self.check_words(tenant, [&spec.requirement], [])?;
        let mut new_skills = Vec::new();
        let requirement = self.bind(tenant, &spec.requirement, &mut new_skills);
        let (number, priority) = (spec.number.clone(), spec.priority);
        self.put_number(Number { tenant, number, queue, requirement, priority, prefers, lists });
        Ok(Reply::Put { new_skills })
    }

    pub(super) fn remove_number_named(
        &mut self,
        tenant: TenantId,
        number: &Name,
    ) -> Result<Reply, Rejection> {
        match self.numbers.get(number) {
            Some(row) if row.tenant == tenant => {
                State::remove_number(self, number);
                Ok(Reply::Done)
            }
            _ => Err(Rejection::NumberMustExist(number.clone())),
        }
    }

    pub(super) fn put_agent_spec(
        &mut self,
        tenant: TenantId,
        spec: &AgentSpec,
        rules: Option<&AgentRules>,
    ) -> Result<Reply, Rejection> {
        check::agent(spec)?;
        rules.map_or(Ok(()), check::agent_rules)?;
        let site = self.site_id(&spec.site)?;
        let mut queues = BTreeSet::new();
        for name in &spec.queues {
            queues.insert(self.queue_to_use(tenant, name)?.id);
        }
        let existing = self.agent_named(tenant, &spec.name);
        if existing.is_none() {
            check::room("agents", self.agents.len(), AGENTS_MAX)?;
            self.quota(tenant, "agents", |usage| usage.agents, |quotas| quotas.agents)?;
        }
        let abroad = self.abroad(tenant, existing, rules)?;
        queues.extend(abroad.queues);
        check::queues_of_agent(queues.len())?;
        check::skills_of_agent(spec.skills.len() + abroad.skills.len())?;
        for (owner, skills) in &abroad.new_skills {
            self.check_words(*owner, [], skills.keys())?;
        }
        let (mut tiers, mut reserves, mut attributes) = existing
            .map_or_else(Default::default, |row| {
                (row.tiers.clone(), row.reserves.clone(), row.attributes.clone())
            });
        let existing = existing.map(|row| row.id);
        match rules.filter(|_| !planted!(self, TiersAreForgotten)) {
            Some(rules) => {
                tiers = Arc::new(self.bind_per_queue(tenant, spec, &rules.tiers)?);
                reserves = Arc::new(self.bind_per_queue(tenant, spec, &rules.reserves)?);
                if planted!(self, ReserveIsAskedAtOnce) {
                    reserves = Arc::default();
                }
                attributes = Arc::new(rules.attributes.clone());
            }
            None => {
                keep_only(&mut tiers, &queues);
                keep_only(&mut reserves, &queues);
            }
        }
        self.check_words(tenant, [], spec.skills.keys())?;
        let mut new_skills = Vec::new();
        let mut skills: BTreeMap<SkillId, u8> = spec
            .skills
            .iter()
            .map(|(name, level)| (self.skill_id(tenant, name, &mut new_skills), *level))
            .collect();
        skills.extend(abroad.skills);
        for (owner, named) in abroad.new_skills {
            for (name, level) in named {
                skills.insert(self.skill_id(owner, &name, &mut new_skills), level);
            }
        }
        let (skills, queues) = (Arc::new(skills), Arc::new(queues));
        match existing {
            Some(id) => {
                let served = self.agents.get(&id).map(|row| row.queues.clone()).unwrap_or_default();
                self.update_agent(id, |row| {
                    row.site = site;
                    row.skills = skills;
                    row.tiers = tiers;
                    row.reserves = reserves;
                    row.attributes = attributes;
                    row.asked.retain(|queue, _| queues.contains(queue));
                    row.queues = queues;
                });
                // They may have been the last who could serve somebody.
                if !planted!(self, StrandedByAnEdit) {
                    self.check_staff_of(served.iter().copied());
                }
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
                    tiers,
                    reserves,
                    attributes,
                    after: None,
                    counted: AgentInterval::default(),
                });
            }
        }
        Ok(Reply::Put { new_skills })
    }

    /// What an agent does for other tenants: as the rules say, or as before when there are none.
    fn abroad(
        &self,
        tenant: TenantId,
        existing: Option<&Agent>,
        rules: Option<&AgentRules>,
    ) -> Result<Abroad, Rejection> {
        let mut abroad = Abroad::default();
        let Some(rules) = rules else {
            let Some(agent) = existing else { return Ok(abroad) };
            let foreign =
                |queue: &QueueId| self.queues.get(queue).is_some_and(|row| row.tenant != tenant);
            abroad.queues = agent.queues.iter().copied().filter(foreign).collect();
            let foreign =
                |skill: &SkillId| self.skills.get(skill).is_some_and(|row| row.tenant != tenant);
            let skills = agent.skills.iter().filter(|(skill, _)| foreign(skill));
            abroad.skills = skills.map(|(skill, level)| (*skill, *level)).collect();
            return Ok(abroad);
        };
        for (name, service) in &rules.abroad {
            let other = self.tenant_id(name)?;
            for queue in &service.queues {
                abroad.queues.insert(self.queue_to_use(other, queue)?.id);
            }
            for (skill, level) in &service.skills {
                match self.index.skill_by_name.get(&(other, skill.clone())) {
                    Some(id) => {
                        abroad.skills.insert(*id, *level);
                    }
                    None => {
                        let new = abroad.new_skills.entry(other).or_default();
                        new.insert(skill.clone(), *level);
                    }
                }
            }
        }
        Ok(abroad)
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

    /// True unless a queue's requirement and steps are these already; changes nothing.
    fn asks_anything_new(
        &self,
        tenant: TenantId,
        queue: &Queue,
        spec: &QueueSpec,
        rules: Option<&NamedQueueRules>,
    ) -> bool {
        let is = |named: &NamedRequirement, bound: &SharedRequirement| {
            self.find(tenant, named).as_ref() == Some(&**bound)
        };
        let same_steps = rules.is_none_or(|rules| {
            let (old, new) = (&queue.rules.steps, &rules.steps);
            let same = |(new, old): (&Step<NamedRequirement>, &Step<SharedRequirement>)| {
                (new.after, new.own) == (old.after, old.own)
                    && is(&new.requirement, &old.requirement)
            };
            old.len() == new.len()
                && new.iter().zip(old).all(same)
                && rules.reserve_after == queue.rules.reserve_after
        });
        !(same_steps && is(&spec.requirement, &queue.requirement))
    }
}

/// What an agent does for other tenants.
#[derive(Default)]
struct Abroad {
    queues: BTreeSet<QueueId>,
    skills: BTreeMap<SkillId, u8>,
    /// Words that those tenants do not have yet.
    new_skills: BTreeMap<TenantId, BTreeMap<Name, u8>>,
}

/// Drops what is configured for queues that an agent does not serve.
fn keep_only<T: Clone>(values: &mut Arc<BTreeMap<QueueId, T>>, queues: &BTreeSet<QueueId>) {
    if values.keys().any(|queue| !queues.contains(queue)) {
        Arc::make_mut(values).retain(|queue, _| queues.contains(queue));
    }
}

pub(super) fn drop_queue<T: Clone>(values: &mut Arc<BTreeMap<QueueId, T>>, queue: QueueId) {
    if values.contains_key(&queue) {
        Arc::make_mut(values).remove(&queue);
    }
}

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
        Agent, DeviceState, LoginState, LogoutAfter, NotReadyReason, Number, Plan, Queue, Respread,
        Site, SiteState, Tally, WorkItem, WorkState,
    },
    ids::{AgentId, ContactId, QueueId, SiteId, SkillId, TenantId},
    limits::{
        AGENTS_MAX, CLASSES_MAX, CLASSES_PER_QUEUE_MAX, NUMBERS_MAX, QUEUES_MAX, SITE_WEIGHT_MAX,
        SITES_MAX,
    },
    name::Name,
    requirement::{NamedRequirement, SharedRequirement},
    rules::{NamedQueueRules, Step, Target},
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
        let existing = self.queue_named(tenant, &spec.name).cloned();
        if existing.is_none() {
            check::room("queues", self.queues.len(), QUEUES_MAX)?;
        }
        let steps = rules.into_iter().flat_map(|rules| &rules.steps);
        let requirements = steps.map(|step| &step.requirement).chain([&spec.requirement]);
        self.check_words(tenant, requirements, [])?;
        if let Some(rules) = rules {
            self.overflow_queues(tenant, rules)?;
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
            assigned: existing.map(|queue| queue.assigned).unwrap_or_default(),
        });
        if self.queue_len(id) > 0 && !planted!(self, EditsDoNotReachTheWaiting) {
            self.add_work(WorkItem::Follow { queue: id, next: ContactId::default() });
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
        let leads_here =
            |row: &&Queue| row.rules.overflow.iter().any(|rule| rule.to == Target::Queue(queue));
        if let Some(other) = self.queues.iter().find(leads_here) {
            return Err(Rejection::QueueMustNotBeTarget(name.clone(), other.name.clone()));
        }
        let agents: Vec<AgentId> = self.index.agents_of_queue(queue).collect();
        for agent in agents {
            self.update_agent(agent, |row| {
                Arc::make_mut(&mut row.queues).remove(&queue);
                row.asked.remove(&queue);
                drop_queue(&mut row.tiers, queue);
                drop_queue(&mut row.reserves, queue);
            });
        }
        self.remove_queue(queue);
        Ok(Reply::Done)
    }

    pub(super) fn put_number(
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
            None => check::room("numbers", self.numbers.len(), NUMBERS_MAX)?,
        }
        let queue = self
            .queue_named(tenant, &spec.queue)
            .ok_or_else(|| Rejection::QueueMustExist(spec.queue.clone()))?
            .id;
        let prefers = match rules {
            None => existing.and_then(|number| number.prefers),
            Some(rules) => match &rules.prefers {
                None => None,
                Some((agent, patience)) => Some((self.agent(tenant, agent)?.id, *patience)),
            },
        };
        self.check_words(tenant, [&spec.requirement], [])?;
        let mut new_skills = Vec::new();
        let requirement = self.bind(tenant, &spec.requirement, &mut new_skills);
        let (number, priority) = (spec.number.clone(), spec.priority);
        self.numbers.insert(Number { tenant, number, queue, requirement, priority, prefers });
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
        rules: Option<&AgentRules>,
    ) -> Result<Reply, Rejection> {
        check::agent(spec)?;
        rules.map_or(Ok(()), check::agent_rules)?;
        let site = self.site_id(&spec.site)?;
        let mut queues = BTreeSet::new();
        for name in &spec.queues {
            let queue = self
                .queue_named(tenant, name)
                .ok_or_else(|| Rejection::QueueMustExist(name.clone()))?;
            queues.insert(queue.id);
        }
        let existing = self.agent_named(tenant, &spec.name);
        if existing.is_none() {
            check::room("agents", self.agents.len(), AGENTS_MAX)?;
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
                    row.tiers = tiers;
                    row.reserves = reserves;
                    row.attributes = attributes;
                    row.asked.retain(|queue, _| queues.contains(queue));
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
                    tiers,
                    reserves,
                    attributes,
                    after: None,
                });
            }
        }
        Ok(Reply::Put { new_skills })
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

/// Drops what is configured for queues that an agent does not serve.
fn keep_only<T: Clone>(values: &mut Arc<BTreeMap<QueueId, T>>, queues: &BTreeSet<QueueId>) {
    if values.keys().any(|queue| !queues.contains(queue)) {
        Arc::make_mut(values).retain(|queue, _| queues.contains(queue));
    }
}

fn drop_queue<T: Clone>(values: &mut Arc<BTreeMap<QueueId, T>>, queue: QueueId) {
    if values.contains_key(&queue) {
        Arc::make_mut(values).remove(&queue);
    }
}

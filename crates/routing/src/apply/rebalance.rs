//! Rebalance plans: weights of sites and queues of agents change together, step by step, and waiting
//! contacts move along; everything can be undone.

use std::{collections::BTreeSet, sync::Arc};

use crate::{
    command::{Event, PlanSpec, Rejection, Reply, check},
    entity::{
        Contact, Direction, MembershipChange, Plan, Queue, Respread, SiteChoice, WeightChange,
    },
    ids::{Ordinal, QueueId, SiteId, TenantId},
    limits::PLANS_KEPT,
    name::Name,
    state::State,
};

impl State {
    pub(super) fn apply_plan(
        &mut self,
        tenant: TenantId,
        spec: &PlanSpec,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        check::plan(spec)?;
        if let Some(running) = self.plans.iter().find(|plan| plan.is_running()) {
            return Err(Rejection::PlanMustBeFinished(running.id));
        }
        let mut weights = Vec::new();
        for (name, to) in &spec.weights {
            let site =
                self.site_named(name).ok_or_else(|| Rejection::SiteMustExist(name.clone()))?;
            if site.weight != *to {
                weights.push(WeightChange { site: site.id, from: site.weight, to: *to });
            }
        }
        let weight_of = |site: SiteId, weight: u16| {
            weights.iter().find(|change| change.site == site).map_or(weight, |change| change.to)
        };
        let left = |site: &crate::entity::Site| {
            site.takes_contacts() && weight_of(site.id, site.weight) > 0
        };
        if !weights.is_empty() && !self.sites.iter().any(left) {
            return Err(Rejection::PlanMustLeaveASite);
        }
        let mut agents = Vec::new();
        for (name, change) in &spec.agents {
            let agent = self.agent(tenant, name)?;
            let id = agent.id;
            let join = self.queue_ids(tenant, &change.join)?;
            let leave = self.queue_ids(tenant, &change.leave)?;
            let agent = self.agents.get(&id).map(|row| row.queues.clone()).unwrap_or_default();
            let join: BTreeSet<QueueId> = join.difference(&agent).copied().collect();
            let leave: BTreeSet<QueueId> = leave.intersection(&agent).copied().collect();
            let count = agent.len() + join.len() - leave.len();
            check::queues_of_agent(count)?;
            if !(join.is_empty() && leave.is_empty()) {
                agents.push(MembershipChange { agent: id, join, leave });
            }
        }
        if weights.is_empty() && agents.is_empty() {
            return Err(Rejection::PlanMustChangeSomething);
        }
        let (id, now) = (self.counters.ordinal, self.counters.now);
        while self.plans.len() >= PLANS_KEPT {
            let Some(oldest) = self.plans.iter().next().map(|plan| plan.id) else { break };
            self.plans.remove(&oldest);
        }
        let (steps, every) = (spec.steps, spec.every);
        self.put_plan(Plan {
            id,
            tenant,
            began: now,
            weights,
            agents,
            steps,
            every,
            taken: 0,
            direction: Direction::Forward,
            next_at: Some(now),
        });
        self.step_plan(id, events);
        Ok(Reply::PlanBegun { plan: id })
    }

    pub(super) fn undo_plan(
        &mut self,
        tenant: TenantId,
        id: Ordinal,
        events: &mut Vec<Event>,
    ) -> Result<Reply, Rejection> {
        let plan = self.plans.get(&id).filter(|plan| plan.tenant == tenant);
        let plan = plan.ok_or(Rejection::PlanMustExist(id))?.clone();
        if plan.taken == 0 {
            return Err(Rejection::PlanMustHaveTakenSteps(id));
        }
        if let Some(other) = self.plans.iter().find(|other| other.is_running() && other.id != id) {
            return Err(Rejection::PlanMustBeFinished(other.id));
        }
        let now = self.counters.now;
        self.put_plan(Plan { direction: Direction::Back, next_at: Some(now), ..plan });
        self.step_plan(id, events);
        Ok(Reply::PlanBegun { plan: id })
    }

    /// Takes the next step of a plan.
    pub(super) fn step_plan(&mut self, id: Ordinal, events: &mut Vec<Event>) {
        let Some(mut plan) = self.plans.get(&id).cloned() else { return };
        let moved_before = plan.agents_moved();
        if planted!(self, UndoIsForgotten) && plan.direction == Direction::Back && plan.taken == 1 {
            return self.put_plan(Plan { next_at: None, ..plan });
        }
        let stepped = plan.step(self.counters.now);
        let moved = plan.agents_moved();
        self.put_plan(plan.clone());
        if !stepped {
            return;
        }
        for change in &plan.weights {
            let weight = plan.weight(change);
            self.sites.update(&change.site, |site| site.weight = weight);
        }
        let (from, to) = (moved_before.min(moved), moved_before.max(moved));
        for change in plan.agents.get(from..to).unwrap_or_default() {
            let (join, leave) = match plan.direction {
                Direction::Forward => (&change.join, &change.leave),
                Direction::Back => (&change.leave, &change.join),
            };
            // A queue may have gone in the meantime.
            let stays =
                |queue: &&QueueId| self.queues.get(queue).is_some_and(|row| row.retiring.is_none());
            let join = join.iter().filter(stays).copied();
            let join: Vec<QueueId> = join.collect();
            self.update_agent(change.agent, |row| {
                let queues = Arc::make_mut(&mut row.queues);
                queues.retain(|queue| !leave.contains(queue));
                row.asked.retain(|queue, _| !leave.contains(queue));
                queues.extend(join);
            });
            events.push(Event::AgentChanged(change.agent));
            self.check_staff_of(leave.iter().copied());
        }
        if !plan.weights.is_empty() {
            self.forget_shares();
        }
        self.spread_again(Respread::ByWeight);
        events.push(Event::PlanStepped(id));
    }

    fn queue_ids(
        &self,
        tenant: TenantId,
        names: &BTreeSet<Name>,
    ) -> Result<BTreeSet<QueueId>, Rejection> {
        let id = |name: &Name| self.queue_to_use(tenant, name).map(|row| row.id);
        names.iter().map(id).collect()
    }

    /// Shares are counted from the moment the weights changed.
    pub(super) fn forget_shares(&mut self) {
        let shared: Vec<QueueId> =
            self.queues.iter().filter(|row| !row.assigned.is_empty()).map(|row| row.id).collect();
        for queue in shared {
            self.queues.update(&queue, |queue| queue.assigned.clear());
        }
    }

    /// Where a waiting contact of a queue that spreads by weight should be served: another site if its own
    /// has more of the queue's waiting than its share, and the other one less.
    pub(super) fn respread(&self, contact: &Contact, queue: &Queue) -> SiteId {
        let sites = self.sites_for(contact);
        let here = contact.serving;
        let sum: u64 = sites.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let waiting = |site: SiteId| u64::from(self.index.waiting_at(queue.id, site));
        let all = u64::from(self.queue_len(queue.id));
        let share = |weight: u16| (all * u64::from(weight)).div_ceil(sum.max(1));
        let own = sites.iter().find(|(site, _)| *site == here);
        if own.is_some_and(|(_, weight)| waiting(here) <= share(*weight)) {
            return here;
        }
        sites
            .iter()
            .filter(|(site, weight)| *site != here && waiting(*site) < share(*weight))
            .min_by(|(a, by_a), (b, by_b)| {
                let left = u128::from(waiting(*a) + 1) * u128::from(*by_b);
                let right = u128::from(waiting(*b) + 1) * u128::from(*by_a);
                left.cmp(&right).then(a.cmp(b))
            })
            .map_or(here, |(site, _)| *site)
    }

    /// Sites that may be chosen for a contact, with their weights: those that take contacts and where
    /// somebody who may serve it is logged in; if there is no such site, those that take contacts.
    pub(super) fn sites_for(&self, contact: &Contact) -> Vec<(SiteId, u16)> {
        let open = self.sites.iter().filter(|site| site.takes_contacts());
        let open: Vec<(SiteId, u16)> = open.map(|site| (site.id, site.weight)).collect();
        let staffed = |site: SiteId| self.index.is_staffed_for(contact, site);
        let with_staff: Vec<(SiteId, u16)> =
            open.iter().copied().filter(|(site, _)| staffed(*site)).collect();
        if with_staff.is_empty() { open } else { with_staff }
    }
}

/// True when a move is about the contacts of this queue.
pub(super) fn spreads(queue: &Queue, respread: Respread) -> bool {
    respread == Respread::ByWeight && queue.site_choice == SiteChoice::Weighted
}

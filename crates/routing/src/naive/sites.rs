//! Sites: where contacts are served, and plans that change it.

use super::{Judge, choice::qualified};
use crate::{
    entity::{Contact, Direction, LoginState, Moves, Site, SiteChoice, SiteState},
    ids::{ContactId, Ordinal, QueueId, SiteId},
    rules::Load,
    time::ClusterTime,
};

impl Judge {
    pub(super) fn assign(&mut self, contact: &Contact) -> SiteId {
        let queue = contact.queue;
        let choice = self.queues[&queue].site_choice;
        let ingress = &self.sites[&contact.ingress];
        let in_service = ingress.state == SiteState::Open && ingress.weight > 0;
        if choice == SiteChoice::Balanced && in_service {
            return self.balance(contact);
        }
        if choice != SiteChoice::Weighted && in_service {
            return contact.ingress;
        }
        let mut best: Option<(SiteId, f64)> = None;
        for site in self.candidates(contact) {
            let given = self.queues[&queue].assigned.get(&site.id).copied().unwrap_or(0);
            // Shares of a test fit a double exactly enough; ties go to the lower id.
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            let load = (given + 1) as f64 / f64::from(site.weight);
            if best.is_none_or(|(_, least)| load < least - 1e-12) {
                best = Some((site.id, load));
            }
        }
        let Some((site, _)) = best else { return contact.ingress };
        if let Some(row) = self.queues.get_mut(&queue) {
            *row.assigned.entry(site).or_default() += 1;
        }
        site
    }

    /// The site with the least load, if that is less by enough than at home, and not too many have gone.
    fn balance(&mut self, contact: &Contact) -> SiteId {
        let (queue, home) = (self.queues[&contact.queue].clone(), contact.ingress);
        let rule = queue.rules.balance;
        let load = |site: SiteId| {
            let there = self.agents.values().filter(|agent| agent.site == site);
            let at_work = there.filter(|agent| agent.login != LoginState::LoggedOut);
            let waiting = self.contacts.values().filter(|other| {
                other.waits_in(queue.id) && other.is_waiting() && other.serving == site
            });
            let agents: Vec<_> = at_work.collect();
            // Shares of a test fit a double exactly enough.
            #[expect(clippy::cast_precision_loss, reason = "small counts")]
            match rule.by {
                Load::ExpectedWait => {
                    let serve = agents.iter().filter(|agent| agent.queues.contains(&queue.id));
                    (waiting.count() + 1) as f64 / serve.count() as f64
                }
                Load::Occupancy => {
                    let engaged = agents.iter().filter(|agent| agent.is_engaged()).count();
                    (engaged + 1) as f64 / agents.len() as f64
                }
            }
        };
        let sites: Vec<SiteId> = self.candidates(contact).iter().map(|site| site.id).collect();
        let mut best = None;
        for site in sites.into_iter().filter(|site| load(*site).is_finite()) {
            if best.is_none_or(|best| load(site) < load(best) - 1e-12) {
                best = Some(site);
            }
        }
        let Some(best) = best.filter(|best| *best != home) else { return home };
        let margin = f64::from(rule.hysteresis_percent) / 100.0 + 1.0;
        let staffed = load(home).is_finite();
        if staffed && load(home) <= load(best) * margin + 1e-12 {
            return home;
        }
        let minute = self.now.0 / 60_000;
        let gone = if queue.moves.minute == minute { queue.moves.count } else { 0 };
        let most = rule.moves_per_minute_max;
        if staffed && most > 0 && gone >= most {
            return home;
        }
        if let Some(row) = self.queues.get_mut(&queue.id) {
            row.moves = Moves { minute, count: gone + 1 };
        }
        best
    }

    /// True when a site's agents may be offered contacts: it is open, and they have fewer than it may.
    pub(super) fn takes(&self, site: SiteId) -> bool {
        let row = &self.sites[&site];
        let engaged = self.agents.values().filter(|a| a.site == site && a.is_engaged()).count();
        let room = row.contacts_max.is_none_or(|most| (engaged as u64) < u64::from(most));
        row.state == SiteState::Open && row.weight > 0 && room
    }

    /// Sites that may be chosen for a contact: where somebody could serve it, or all if nobody could.
    pub(super) fn candidates(&self, contact: &Contact) -> Vec<Site> {
        let takes = |site: &&Site| site.state == SiteState::Open && site.weight > 0;
        let open: Vec<Site> = self.sites.values().filter(takes).cloned().collect();
        let staffed = |site: &&Site| {
            self.agents.values().any(|agent| {
                agent.site == site.id
                    && agent.login != LoginState::LoggedOut
                    && qualified(contact, agent)
            })
        };
        let some: Vec<Site> = open.iter().filter(staffed).cloned().collect();
        if some.is_empty() { open } else { some }
    }

    /// Where a waiting contact goes when weights have changed: away only from a site that has more than its
    /// share of those who wait, and only to one that has less.
    pub(super) fn respread(&self, contact: &Contact) -> SiteId {
        let candidates = self.candidates(contact);
        let waiting = |site: SiteId| {
            let there =
                |c: &&Contact| c.waits_in(contact.queue) && c.is_waiting() && c.serving == site;
            self.contacts.values().filter(there).count() as u128
        };
        let in_line = |c: &&Contact| c.waits_in(contact.queue) && c.is_waiting();
        let all = self.contacts.values().filter(in_line).count() as u128;
        let weights: u128 = candidates.iter().map(|site| u128::from(site.weight)).sum();
        let share = |site: &Site| {
            let exact = all * u128::from(site.weight);
            exact / weights + u128::from(!exact.is_multiple_of(weights))
        };
        let own = candidates.iter().find(|site| site.id == contact.serving);
        if own.is_some_and(|site| waiting(site.id) <= share(site)) {
            return contact.serving;
        }
        let mut best: Option<&Site> = None;
        for site in &candidates {
            if site.id == contact.serving || waiting(site.id) >= share(site) {
                continue;
            }
            let lighter = |best: &Site| {
                (waiting(site.id) + 1) * u128::from(best.weight)
                    < (waiting(best.id) + 1) * u128::from(site.weight)
            };
            if best.is_none_or(lighter) {
                best = Some(site);
            }
        }
        best.map_or(contact.serving, |site| site.id)
    }

    /// A plan goes on by one step.
    pub(super) fn step_plan(&mut self, id: Ordinal) {
        let Some(plan) = self.plans.get_mut(&id) else { return };
        let before = plan.taken;
        let left = match plan.direction {
            Direction::Forward => {
                plan.taken += 1;
                plan.steps - plan.taken
            }
            Direction::Back => {
                plan.taken -= 1;
                plan.taken
            }
        };
        plan.next_at = (left > 0).then_some(ClusterTime(self.now.0 + plan.every.0));
        let plan = plan.clone();
        let (taken, steps) = (i64::from(plan.taken), i64::from(plan.steps));
        for change in &plan.weights {
            let way = i64::from(change.to) - i64::from(change.from);
            let weight = i64::from(change.from) + way * taken / steps;
            if let Some(site) = self.sites.get_mut(&change.site) {
                site.weight = u16::try_from(weight).unwrap_or(0);
            }
        }
        let agents = |taken: u8| plan.agents.len() * usize::from(taken) / usize::from(plan.steps);
        for (at, change) in plan.agents.iter().enumerate() {
            let (was, is) = (at < agents(before), at < agents(plan.taken));
            let (join, leave) = match (was, is) {
                (false, true) => (&change.join, &change.leave),
                (true, false) => (&change.leave, &change.join),
                _ => continue,
            };
            if let Some(row) = self.agents.get_mut(&change.agent) {
                let mut queues = (*row.queues).clone();
                queues.retain(|queue| !leave.contains(queue));
                row.asked.retain(|queue, _| !leave.contains(queue));
                let stays = |queue: &QueueId| {
                    self.queues.get(queue).is_some_and(|row| row.retiring.is_none())
                };
                queues.extend(join.iter().filter(|queue| stays(queue)));
                row.queues = queues.into();
            }
            self.vacated.extend(leave.iter().copied());
        }
        if !plan.weights.is_empty() {
            self.queues.values_mut().for_each(|queue| queue.assigned.clear());
        }
        self.leave_unstaffed();
        self.move_waiting(true);
    }

    pub(super) fn move_waiting(&mut self, weights_changed: bool) {
        let ids: Vec<ContactId> = self.contacts.keys().copied().collect();
        for id in ids {
            let contact = self.contacts[&id].clone();
            let serving = &self.sites[&contact.serving];
            let stranded = serving.state != SiteState::Open || serving.weight == 0;
            let respread =
                weights_changed && self.queues[&contact.queue].site_choice == SiteChoice::Weighted;
            if contact.is_waiting() && (stranded || respread) {
                let to = if respread { self.respread(&contact) } else { self.assign(&contact) };
                if let Some(row) = self.contacts.get_mut(&id) {
                    row.serving = to;
                }
            }
        }
    }
}

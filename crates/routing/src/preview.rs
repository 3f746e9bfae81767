//! What a rebalance plan would do, found by carrying it out on a copy.

use std::collections::BTreeMap;

use crate::{
    command::{Command, Event, PlanSpec, Rejection},
    entity::{LoginState, Queue, QueueInterval, interval_of},
    ids::{GroupId, QueueId, SiteId, TenantId},
    limits::{EXPECTED_FROM_MS, EXPECTED_HANDLE_MS, INTERVAL_MS},
    state::State,
    time::{ClusterTime, Millis},
};

/// What a plan would change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// Waiting contacts that would prefer another site, counted once.
    pub moved: u32,
    /// Waiting contacts for which nobody would be at work anywhere, who could serve them now.
    pub stranded: u32,
    /// Agents who would serve other queues.
    pub agents: u32,
    /// Each queue at each site where somebody waits or works for it, before or after.
    pub places: BTreeMap<(QueueId, SiteId), Change>,
}

/// One queue at one site, before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Change {
    /// As it is.
    pub before: Place,
    /// As it would be.
    pub after: Place,
}

/// One queue at one site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Waiting contacts that prefer the site.
    pub waiting: u32,
    /// Agents of the site at work who serve the queue.
    pub agents: u32,
    /// How long a contact would wait there that came now; `None` when nobody works there.
    pub expected_wait: Option<Millis>,
}

impl State {
    /// What a plan would do to this state, all its steps at once.
    ///
    /// # Errors
    /// The rejection that the plan would get.
    pub fn preview(
        &self,
        group: GroupId,
        tenant: TenantId,
        plan: &PlanSpec,
    ) -> Result<Preview, Rejection> {
        let mut copy = self.clone();
        let mut events = Vec::new();
        let plan = Box::new(PlanSpec { steps: 1, ..plan.clone() });
        let agents = u32::try_from(plan.agents.len()).unwrap_or(u32::MAX);
        copy.begin_entry(self.now());
        copy.begin_command();
        copy.apply(group, &Command::ApplyPlan { tenant, plan }, &mut events)?;
        copy.commit();
        while copy.has_work() {
            copy.begin_entry(self.now());
            copy.begin_command();
            copy.apply(group, &Command::ContinueWork, &mut events)?;
            copy.commit();
        }
        let mut moved: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::ContactMoved { contact, .. } => Some(*contact),
                _ => None,
            })
            .collect();
        moved.sort_unstable();
        moved.dedup();
        let stranded = |row: &&crate::entity::Contact| {
            let served = |state: &Self| {
                state.sites.iter().any(|site| state.index.is_staffed_for(row, site.id))
            };
            row.is_waiting() && served(self) && !served(&copy)
        };
        let mut places: BTreeMap<(QueueId, SiteId), Change> = BTreeMap::new();
        for (key, place) in self.places() {
            places.entry(key).or_default().before = place;
        }
        for (key, place) in copy.places() {
            places.entry(key).or_default().after = place;
        }
        Ok(Preview {
            moved: u32::try_from(moved.len()).unwrap_or(u32::MAX),
            stranded: u32::try_from(self.contacts.iter().filter(stranded).count())
                .unwrap_or(u32::MAX),
            agents,
            places,
        })
    }

    fn places(&self) -> BTreeMap<(QueueId, SiteId), Place> {
        let mut places: BTreeMap<(QueueId, SiteId), Place> = BTreeMap::new();
        for contact in self.contacts.iter().filter(|row| row.is_waiting()) {
            places.entry((contact.queue, contact.serving)).or_default().waiting += 1;
        }
        for agent in self.agents.iter().filter(|row| row.login != LoginState::LoggedOut) {
            for queue in agent.queues.iter() {
                places.entry((*queue, agent.site)).or_default().agents += 1;
            }
        }
        for ((queue, _), place) in &mut places {
            let handle = self.handle_time(*queue);
            place.expected_wait = expected_wait(place.waiting, place.agents, handle);
        }
        places
    }

    /// Mean time that an agent takes for a contact of a queue, by what was counted in the last hour; before
    /// anything was, three minutes.
    #[must_use]
    pub fn handle_time(&self, queue: QueueId) -> Millis {
        let mut sum = QueueInterval::default();
        let now = interval_of(self.now());
        for back in 0..=EXPECTED_FROM_MS / INTERVAL_MS {
            let Some(start) = now.0.checked_sub(back * INTERVAL_MS) else { break };
            if let Some(row) = self.queue_intervals.get(&(ClusterTime(start), queue)) {
                sum.add(row);
            }
        }
        sum.handle_time().unwrap_or(Millis(EXPECTED_HANDLE_MS))
    }

    /// How long a contact that came now would wait in a queue; `None` when nobody who serves it is at work.
    ///
    /// The queue-length estimator, (waiting + 1) / (agents x rate): W. Whitt, "Predicting queueing delays",
    /// Management Science 45 (1999). Whoever is ready is not looked for: with a ready agent nobody waits.
    #[must_use]
    pub fn expected_wait(&self, queue: &Queue) -> Option<Millis> {
        let agents = self.index.staff_of(queue.id);
        expected_wait(self.queue_len(queue.id), agents, self.handle_time(queue.id))
    }
}

fn expected_wait(waiting: u32, agents: u32, handle: Millis) -> Option<Millis> {
    let work = (u64::from(waiting) + 1).saturating_mul(handle.0);
    work.checked_div(u64::from(agents)).map(Millis)
}

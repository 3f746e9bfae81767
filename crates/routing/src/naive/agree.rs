//! Comparing with the state under test, and the sums that are compared.

use std::collections::BTreeMap;

use super::Judge;
use crate::{
    entity::{
        Agent, AgentInterval, Contact, NotReadyReason, Occasion, Plan, QueueInterval, SiteInterval,
        WorkState,
    },
    ids::{AgentId, QueueId, SiteId, TenantId},
    limits::INTERVALS_KEPT_MS,
    state::State,
    time::{ClusterTime, Millis},
};

impl Judge {
    /// Compares with the state under test; a text that shows the first difference.
    ///
    /// # Errors
    /// What differs, with both views.
    pub fn agree(&self, state: &State) -> Result<(), String> {
        let difference = |what: &str, ours: String, theirs: String| {
            Err(format!("{what}: the judge says\n{ours}\nbut the state says\n{theirs}"))
        };
        for agent in state.agents().iter() {
            // What was counted is compared below.
            let counted = AgentInterval::default();
            let plain = Agent { counted, ..agent.clone() };
            let ours = self.agents.get(&agent.id);
            if ours != Some(&plain) {
                return difference("agent", format!("{ours:#?}"), format!("{agent:#?}"));
            }
        }
        for contact in state.contacts().iter() {
            // Why somebody was chosen is a remark, checked by itself.
            let plain = Contact { decision: None, ..contact.clone() };
            let ours = self.contacts.get(&contact.id);
            if ours != Some(&plain) {
                return difference("contact", format!("{ours:#?}"), format!("{contact:#?}"));
            }
        }
        for contact in state.contacts().iter() {
            let Some(decision) = &contact.decision else { continue };
            let theirs = decision.next.map(|next| next.agent);
            let ours = self.seconds.get(&contact.id).copied().flatten();
            if decision.occasion != Occasion::AgentReady && ours != theirs {
                return difference("second", format!("{ours:?}"), format!("{decision:#?}"));
            }
        }
        for queue in state.queues().iter() {
            let ours = self.queues.get(&queue.id).map(|row| (&row.assigned, row.moves));
            if ours != Some((&queue.assigned, queue.moves)) {
                return difference("shares", format!("{ours:?}"), format!("{:?}", queue.assigned));
            }
        }
        self.agree_on_sums(state)?;
        if !self.plans.values().eq(state.plans().iter()) {
            let theirs: Vec<&Plan> = state.plans().iter().collect();
            return difference("plans", format!("{:#?}", self.plans), format!("{theirs:#?}"));
        }
        for site in state.sites().iter() {
            let ours = self.sites.get(&site.id);
            if ours != Some(site) {
                return difference("site", format!("{ours:?}"), format!("{site:?}"));
            }
        }
        let last = state.last_agents().iter();
        let last: BTreeMap<_, _> =
            last.map(|row| ((row.queue, row.caller.clone()), (row.agent, row.expires))).collect();
        if last != self.last_agents {
            return difference(
                "last agents",
                format!("{:?}", self.last_agents),
                format!("{last:?}"),
            );
        }
        let ours = (self.contacts.len(), self.offers.len(), self.reservations.len());
        let theirs = (state.contacts().len(), state.offers().len(), state.reservations().len());
        if ours != theirs {
            return difference("counts", format!("{ours:?}"), format!("{theirs:?}"));
        }
        Ok(())
    }

    /// Counts what an agent did until now, and what they begin.
    pub(super) fn count_agent(
        &mut self,
        agent: AgentId,
        tenant: TenantId,
        logged_in: bool,
        (was, spent, is): (&WorkState, Millis, &WorkState),
    ) {
        if !logged_in {
            return;
        }
        let start = self.now.0 / 900_000 * 900_000;
        let row = self.agent_sums.entry((start, agent)).or_insert(AgentInterval {
            start: ClusterTime(start),
            agent,
            tenant,
            ..AgentInterval::default()
        });
        match was {
            WorkState::Ready => row.available.0 += spent.0,
            WorkState::Busy(_) => row.talk.0 += spent.0,
            WorkState::WrapUp(_) => row.wrap_up.0 += spent.0,
            WorkState::NotReady(_) | WorkState::Paused { .. } => row.not_ready.0 += spent.0,
            WorkState::Offered(_) => {
                row.ringing.0 += spent.0;
                use NotReadyReason::{Declined, DeviceBusy, DeviceFailed, Rona};
                if let WorkState::NotReady(why) | WorkState::Paused { why, .. } = is
                    && [Rona, Declined, DeviceBusy, DeviceFailed].contains(why)
                {
                    row.missed += 1;
                }
            }
        }
        match is {
            WorkState::Offered(_) => row.offers += 1,
            WorkState::Busy(_) => row.answered += 1,
            _ => {}
        }
    }

    /// T1: what was counted was counted once.
    pub(super) fn agree_on_sums(&self, state: &State) -> Result<(), String> {
        let kept = |start: u64| start + INTERVALS_KEPT_MS > self.now.0;
        for row in state.queue_intervals().iter() {
            let ours = self.queue_sums.get(&(row.start.0, row.queue));
            if ours != Some(row) {
                return Err(format!("T1: the judge counts\n{ours:#?}\nand the state\n{row:#?}"));
            }
        }
        for row in state.site_intervals().iter() {
            let ours = self.site_sums.get(&(row.start.0, row.site));
            if ours != Some(row) {
                return Err(format!("T1: the judge counts\n{ours:#?}\nand the state\n{row:#?}"));
            }
        }
        let mut open = BTreeMap::new();
        for agent in state.agents().iter().filter(|agent| !agent.counted.is_empty()) {
            open.insert((agent.counted.start.0, agent.id), agent.counted);
        }
        for row in state.agent_intervals().iter() {
            open.insert((row.start.0, row.agent), *row);
        }
        open.retain(|(start, _), _| kept(*start));
        let mut ours = self.agent_sums.clone();
        ours.retain(|(start, _), row| kept(*start) && !row.is_empty());
        if ours != open {
            return Err(format!("T1: the judge counts\n{ours:#?}\nand the state\n{open:#?}"));
        }
        let queues = self.queue_sums.values().filter(|row| kept(row.start.0));
        let mut queues =
            queues.map(|row| state.queue_intervals().contains(&(row.start, row.queue)));
        let sites = self.site_sums.values().filter(|row| kept(row.start.0));
        let mut sites = sites.map(|row| state.site_intervals().contains(&(row.start, row.site)));
        if queues.all(|there| there) && sites.all(|there| there) {
            Ok(())
        } else {
            Err("T1: an interval is missing".to_owned())
        }
    }

    pub(super) fn sums(&mut self, queue: QueueId) -> &mut QueueInterval {
        let start = self.now.0 / 900_000 * 900_000;
        let tenant = self.queues[&queue].tenant;
        self.queue_sums.entry((start, queue)).or_insert_with(|| QueueInterval {
            start: ClusterTime(start),
            queue,
            tenant,
            ..QueueInterval::default()
        })
    }

    pub(super) fn site_sums(&mut self, site: SiteId) -> &mut SiteInterval {
        let start = self.now.0 / 900_000 * 900_000;
        self.site_sums.entry((start, site)).or_insert_with(|| SiteInterval {
            start: ClusterTime(start),
            site,
            ..SiteInterval::default()
        })
    }
}

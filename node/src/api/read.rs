//! The state in the API's words. Callers' numbers are shown redacted.

use std::collections::BTreeMap;

use tandem_cluster::{
    history::EndedContact,
    ids::ContactId,
    leg::{Codec, Control, LegPhase, LegRole},
    machine::Machine,
};
use tandem_proto::api::v1 as api;
use tandem_routing::{
    entity::{
        Agent, Contact, ContactState, DeviceState, EndReason, LoginState, NotReadyReason, Queue,
        SiteChoice, SiteState, WorkState,
    },
    ids::{CalendarId, QueueId, SiteId, SkillId, TenantId},
    rules::Urgent,
    time::ClusterTime,
};

use super::rules;
use crate::configuration::Spelling;

/// The state with the time at which it is looked at.
#[derive(Debug, Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) machine: &'a Machine,
    pub(super) now: ClusterTime,
    /// Whose things are shown; what is others' has no name here.
    pub(super) tenant: TenantId,
}

/// Contacts by what they are doing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) queued: u64,
    pub(super) unconfirmed: u64,
    pub(super) offered: u64,
    pub(super) connected: u64,
    pub(super) longest_wait_ms: u64,
}

impl Counts {
    fn add(&mut self, contact: &Contact, now: ClusterTime) {
        match contact.state {
            ContactState::Queued => self.queued += 1,
            ContactState::Unconfirmed => self.unconfirmed += 1,
            ContactState::Offered { .. } => self.offered += 1,
            ContactState::Connected { .. } => self.connected += 1,
        }
        if contact.is_waiting() {
            self.longest_wait_ms = self.longest_wait_ms.max(now.since(contact.arrival).0);
        }
    }

    pub(super) fn waiting(&self) -> u64 {
        self.queued + self.unconfirmed
    }
}

impl<'a> View<'a> {
    /// For what belongs to the cluster.
    pub(super) fn of_cluster(machine: &'a Machine, now: ClusterTime) -> Self {
        Self { machine, now, tenant: TenantId::DEFAULT }
    }
}

impl View<'_> {
    pub(super) fn site_name(&self, site: SiteId) -> String {
        self.machine
            .queue()
            .sites()
            .get(&site)
            .map(|site| site.name.to_string())
            .unwrap_or_default()
    }

    pub(super) fn queue_name(&self, queue: QueueId) -> String {
        let queue = self.machine.queue().queues().get(&queue);
        queue.map(|queue| queue.name.to_string()).unwrap_or_default()
    }

    pub(super) fn calendar_name(&self, calendar: CalendarId) -> String {
        let calendar = self.machine.queue().calendars().get(&calendar);
        calendar.map(|calendar| calendar.name.to_string()).unwrap_or_default()
    }

    fn skill_name(&self, skill: SkillId) -> String {
        let skill = self.machine.queue().skills().get(&skill);
        skill.map(|skill| skill.name.to_string()).unwrap_or_default()
    }

    /// A requirement as people write it.
    pub(super) fn requirement(
        &self,
        bound: &tandem_routing::requirement::BoundRequirement,
    ) -> String {
        let queue = self.machine.queue();
        let named = bound.translate(&mut Spelling(queue));
        named.map(|named| named.to_string()).unwrap_or_default()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for contact in self.machine.queue().contacts().iter() {
            counts.add(contact, self.now);
        }
        counts
    }

    pub(super) fn counts_by_queue(&self) -> BTreeMap<QueueId, Counts> {
        let mut counts: BTreeMap<QueueId, Counts> = BTreeMap::new();
        for contact in self.machine.queue().contacts().iter() {
            counts.entry(contact.queue).or_default().add(contact, self.now);
        }
        counts
    }

    pub(super) fn queue(&self, queue: &Queue) -> api::Queue {
        let mut row = api::Queue {
            name: queue.name.to_string(),
            requirement: self.requirement(&queue.requirement),
            weight: u32::from(queue.weight),
            site_choice: match queue.site_choice {
                SiteChoice::Any => "any",
                SiteChoice::Nearest => "nearest",
                SiteChoice::Weighted => "weighted",
                SiteChoice::Balanced => "balanced",
            }
            .to_owned(),
            widen_after_ms: queue.widen_after.0,
            ring_ms: queue.ring.0,
            wrap_up_ms: queue.wrap_up.0,
            length_max: queue.length_max,
            wait_max_ms: queue.wait_max.0,
            ..api::Queue::default()
        };
        rules::show(self, &queue.rules, &mut row);
        row
    }

    pub(super) fn sites(&self) -> Vec<api::Site> {
        let queue = self.machine.queue();
        let mut sites: BTreeMap<SiteId, api::Site> = BTreeMap::new();
        for site in queue.sites().iter() {
            let row = api::Site {
                name: site.name.to_string(),
                region: site.region.to_string(),
                weight: u32::from(site.weight),
                contacts_max: site.contacts_max,
                ..api::Site::default()
            };
            sites.insert(site.id, row);
        }
        for agent in queue.agents().iter() {
            let Some(row) = sites.get_mut(&agent.site) else { continue };
            row.agents_logged_in += u64::from(agent.login != LoginState::LoggedOut);
            row.agents_ready += u64::from(agent.is_waiting());
            match agent.work {
                WorkState::Offered(_) => row.ringing += 1,
                WorkState::Busy(_) => row.talking += 1,
                _ => {}
            }
        }
        for contact in queue.contacts().iter() {
            if let Some(row) = sites.get_mut(&contact.ingress) {
                row.callers += 1;
            }
            if contact.is_waiting()
                && let Some(row) = sites.get_mut(&contact.serving)
            {
                row.waiting += 1;
            }
        }
        for node in self.machine.nodes().iter().filter(|node| node.is_up()) {
            if let Some(row) = sites.get_mut(&node.site) {
                row.nodes.push(node.name.to_string());
            }
        }
        for site in queue.sites().iter() {
            if let Some(row) = sites.get_mut(&site.id) {
                let busy = row.talking + row.ringing > 0;
                row.state = match site.state {
                    SiteState::Open => "open",
                    SiteState::Draining if busy => "draining",
                    SiteState::Draining => "drained",
                    SiteState::Closed => "closed",
                }
                .to_owned();
            }
        }
        sites.into_values().collect()
    }

    pub(super) fn agent(&self, agent: &Agent) -> api::Agent {
        let (work, reason) = match &agent.work {
            WorkState::NotReady(reason) => ("not-ready", reason_name(reason)),
            WorkState::Ready => ("ready", String::new()),
            WorkState::Offered(_) => ("offered", String::new()),
            WorkState::Busy(_) => ("busy", String::new()),
            WorkState::WrapUp(_) => ("wrap-up", String::new()),
            WorkState::Paused { why, .. } => ("paused", reason_name(why)),
        };
        let contact = self.contact_of(agent);
        let own = |skill: &SkillId| {
            let row = self.machine.queue().skills().get(skill);
            row.is_some_and(|row| row.tenant == agent.tenant)
        };
        let skills = agent.skills.iter().filter(|(skill, _)| own(skill));
        api::Agent {
            name: agent.name.to_string(),
            site: self.site_name(agent.site),
            skills: skills
                .map(|(skill, level)| (self.skill_name(*skill), u32::from(*level)))
                .collect(),
            queues: agent
                .queues
                .iter()
                .filter(|queue| self.is_own_queue(**queue))
                .map(|queue| self.queue_name(*queue))
                .collect(),
            abroad: self.abroad(agent),
            login: match agent.login {
                LoginState::LoggedIn(_) => "logged-in",
                LoginState::LoggedOut => "logged-out",
            }
            .to_owned(),
            work: work.to_owned(),
            reason,
            device: match agent.device {
                DeviceState::Registered => "registered",
                DeviceState::Unregistered => "unregistered",
                DeviceState::Recovering => "recovering",
            }
            .to_owned(),
            contact: contact.map(|contact| contact.to_string()).unwrap_or_default(),
            in_state_ms: self.now.since(agent.work_since).0,
            idle_ms: self.now.since(agent.idle_since).0,
            phones: self
                .machine
                .bindings_of(agent.id)
                .into_iter()
                .map(|binding| binding.target.source.clone())
                .collect(),
            tiers: agent
                .tiers
                .iter()
                .map(|(queue, tier)| {
                    let (level, position) = (u32::from(tier.level), u32::from(tier.position));
                    (self.queue_name(*queue), api::Tier { level, position })
                })
                .collect(),
            reserve: agent
                .reserves
                .iter()
                .map(|(queue, level)| (self.queue_name(*queue), u32::from(*level)))
                .collect(),
            attributes: agent
                .attributes
                .iter()
                .map(|(key, value)| (key.to_string(), value.to_string()))
                .collect(),
            tally: Some(api::Tally {
                contacts: u64::from(agent.tally.contacts),
                talk_ms: agent.tally.talk.0,
                wrap_up_ms: agent.tally.wrap_up.0,
                available_ms: agent.tally.available.0,
                occupancy_ppm: u32::try_from(agent.tally.occupancy_ppm()).unwrap_or(u32::MAX),
            }),
        }
    }

    pub(super) fn contact(&self, contact: &Contact) -> api::Contact {
        let (state, agent) = match contact.state {
            ContactState::Queued => ("queued", None),
            ContactState::Unconfirmed => ("unconfirmed", None),
            ContactState::Offered { agent, .. } => ("offered", Some(agent)),
            ContactState::Connected { agent, .. } => ("connected", Some(agent)),
        };
        let (waited, talked) = match contact.state {
            ContactState::Connected { since, .. } => {
                (since.since(contact.arrival), self.now.since(since))
            }
            _ => (self.now.since(contact.arrival), tandem_routing::time::Millis(0)),
        };
        api::Contact {
            state: state.to_owned(),
            agent: agent.map(|agent| self.agent_name(agent)).unwrap_or_default(),
            waited_ms: waited.0,
            talked_ms: talked.0,
            legs: self.legs(contact.id),
            ..self.contact_base(contact)
        }
    }

    /// A contact of the history.
    pub(super) fn ended(&self, ended: &EndedContact) -> api::Contact {
        let contact = &ended.contact;
        let (agent, waited, talked) = match contact.state {
            ContactState::Connected { agent, since, .. } => {
                (self.agent_name(agent), since.since(contact.arrival), ended.ended.since(since))
            }
            _ => {
                let waited = ended.ended.since(contact.arrival);
                (String::new(), waited, tandem_routing::time::Millis(0))
            }
        };
        api::Contact {
            state: "ended".to_owned(),
            agent,
            waited_ms: waited.0,
            talked_ms: talked.0,
            end_reason: end_reason(ended.reason).to_owned(),
            ..self.contact_base(contact)
        }
    }

    fn contact_base(&self, contact: &Contact) -> api::Contact {
        api::Contact {
            id: contact.id.to_string(),
            queue: self.queue_name(contact.queue),
            caller: contact.caller.to_string(),
            called: contact.called.to_string(),
            priority: u32::from(contact.priority),
            requirement: self.requirement(&contact.requirement),
            ingress_site: self.site_name(contact.ingress),
            serving_site: self.site_name(contact.serving),
            offers: contact.offers,
            step: u32::from(contact.stage.step),
            reserve_levels: u32::from(contact.stage.reserve),
            urgent: contact.stage.urgent == Urgent::Yes,
            waits_for: contact
                .preferred
                .map(|preferred| self.agent_name(preferred.agent))
                .unwrap_or_default(),
            placed: contact.placed.is_some(),
            visited: contact.visited.iter().map(|queue| self.queue_name(*queue)).collect(),
            also: contact.also.iter().map(|entry| self.queue_name(entry.queue)).collect(),
            ..api::Contact::default()
        }
    }

    fn legs(&self, contact: ContactId) -> Vec<api::Leg> {
        let leg = |leg: &tandem_cluster::leg::Leg| api::Leg {
            id: leg.id.to_string(),
            role: match leg.role {
                LegRole::Caller => "caller",
                LegRole::Agent { .. } => "agent",
            }
            .to_owned(),
            owner: leg.owner.node.0,
            epoch: leg.epoch.0,
            phase: match leg.phase {
                LegPhase::Inviting => "inviting",
                LegPhase::Active => "active",
                LegPhase::Ending { .. } => "ending",
            }
            .to_owned(),
            control: match leg.control {
                Control::Held => "held",
                Control::Recovering { .. } => "recovering",
            }
            .to_owned(),
            relay: leg.media.as_ref().map(|media| media.relay.to_string()).unwrap_or_default(),
            codec: leg
                .media
                .as_ref()
                .map(|media| match media.codec {
                    Codec::Pcmu => "PCMU",
                    Codec::Pcma => "PCMA",
                })
                .unwrap_or_default()
                .to_owned(),
        };
        self.machine.legs_of(contact).map(leg).collect()
    }
}

pub(super) fn reason_name(reason: &NotReadyReason) -> String {
    match reason {
        NotReadyReason::Unspecified => String::new(),
        NotReadyReason::Code(code) => code.to_string(),
        NotReadyReason::Rona => "did-not-answer".to_owned(),
        NotReadyReason::Declined => "declined".to_owned(),
        NotReadyReason::DeviceBusy => "phone-busy".to_owned(),
        NotReadyReason::DeviceFailed => "phone-failed".to_owned(),
        NotReadyReason::NodeFailed => "node-failed".to_owned(),
    }
}

pub(super) fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Abandoned => "abandoned",
        EndReason::CallerHungUp => "caller-hung-up",
        EndReason::AgentHungUp => "agent-hung-up",
        EndReason::WaitedTooLong => "waited-too-long",
        EndReason::Operator => "operator",
        EndReason::LegLost => "caller-leg-lost",
        EndReason::CallerGone => "caller-gone",
        EndReason::TurnedAway => "turned-away",
        EndReason::Overflowed => "overflowed",
        EndReason::Failed => "failed",
    }
}

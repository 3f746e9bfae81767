//! Judges of the log: each looks at one entry, with the rows before and behind it, and says what must
//! not be. None of them shares a rule with the machine: orders and states are worked out anew from the
//! rows.
//!
//! | judge | what it says |
//! |---|---|
//! | [`order`] | R5: the first of those an agent may serve is offered; the longest idle agent is asked |
//! | [`fit`] | R6: an offer meets requirement, site and readiness; nobody in doubt is offered (no ghosts) |
//! | [`outcome`] | what an ended offer or conversation leaves its agent in: RONA, wrap-up, release |
//! | [`kept`] | R3, T1: no contact vanishes; each ends once, with a reason, and is counted once |
//! | [`clocks`] | R8, R11: ClusterTime and arrival times |
//! | [`tandem_routing::invariants`] | R1, R2, R10 over the whole state, every few entries |
//!
//! Elsewhere: what nodes send (S2, reserved numbers) and what phones see in `world::checks` and
//! `world::ua`; digests (R7) where a replica applies; exactly once (R9) where outcomes are made.

pub mod clocks;
pub mod fit;
pub mod kept;
pub mod order;
pub mod outcome;

use std::collections::BTreeMap;

use tandem_cluster::machine::{Applied, Machine};
use tandem_routing::{
    command::Event,
    entity::{Agent, Contact, Queue, Site},
    ids::{AgentId, ContactId, QueueId, SiteId},
    invariants,
    state::State,
    time::ClusterTime,
};

/// The whole state is checked behind every so many entries: it costs more than all judges together.
const WHOLE_EVERY: u64 = 4;

/// The rows that judges look at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Picture {
    /// ClusterTime.
    pub now: ClusterTime,
    /// Live contacts.
    pub contacts: BTreeMap<ContactId, Contact>,
    /// Agents.
    pub agents: BTreeMap<AgentId, Agent>,
    /// Queues.
    pub queues: BTreeMap<QueueId, Queue>,
    /// Sites.
    pub sites: BTreeMap<SiteId, Site>,
    /// True while work is left from an entry: matches may be outstanding.
    pub unfinished: bool,
}

impl Picture {
    /// The rows of a queue's state.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Self {
            now: state.now(),
            contacts: state.contacts().iter().map(|row| (row.id, row.clone())).collect(),
            agents: state.agents().iter().map(|row| (row.id, row.clone())).collect(),
            queues: state.queues().iter().map(|row| (row.id, row.clone())).collect(),
            sites: state.sites().iter().map(|row| (row.id, row.clone())).collect(),
            unfinished: state.has_work(),
        }
    }

    fn takes_contacts(&self, site: SiteId) -> bool {
        self.sites.get(&site).is_some_and(Site::takes_contacts)
    }

    /// Whether this agent may ever be offered this contact: skills, queue, site.
    fn fits(&self, contact: &Contact, agent: &Agent) -> bool {
        agent.serves(contact) && self.takes_contacts(agent.site)
    }

    fn is_confirming(&self) -> bool {
        self.contacts.values().any(Contact::holds_agents)
    }
}

/// One entry of the log, as judges see it.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The rows before it.
    pub before: Picture,
    /// The rows behind it.
    pub after: Picture,
    /// What happened in the queue.
    pub events: Vec<Event>,
    /// Rows that it appended to the history.
    pub history: usize,
}

impl Entry {
    /// Contacts that an event of this entry names.
    fn touches(&self, id: ContactId) -> bool {
        self.events.iter().any(|event| match event {
            Event::ContactEnqueued(contact)
            | Event::ContactUnconfirmed(contact)
            | Event::ContactConfirmed(contact)
            | Event::ContactMoved { contact, .. }
            | Event::ContactOverflowed { contact, .. }
            | Event::OfferMade { contact, .. }
            | Event::OfferEnded { contact, .. }
            | Event::ContactConnected { contact, .. }
            | Event::ContactRequeued { contact, .. } => *contact == id,
            Event::ContactEnded { contact, .. } => contact.id == id,
            Event::AgentChanged(_) | Event::PlanStepped(_) => false,
        })
    }

    fn touches_agent(&self, id: AgentId) -> bool {
        self.events.iter().any(|event| matches!(event, Event::AgentChanged(agent) if *agent == id))
    }
}

/// All judges, and what they remember.
#[derive(Debug, Default)]
pub struct Judge {
    before: Picture,
    kept: kept::Kept,
}

impl Judge {
    /// Judges an entry; what is wrong, in words.
    pub fn after_entry(&mut self, machine: &Machine, applied: &Applied, index: u64) -> Vec<String> {
        let after = Picture::of(machine.queue());
        let before = std::mem::take(&mut self.before);
        let (events, history) = (applied.events.clone(), applied.history.len());
        let entry = Entry { before, after, events, history };
        let mut found = Vec::new();
        order::check(&entry, &mut found);
        fit::check(&entry, &mut found);
        outcome::check(&entry, &mut found);
        clocks::check(&entry, &mut found);
        self.kept.check(&entry, &mut found);
        if index.is_multiple_of(WHOLE_EVERY) {
            found.extend(invariants::check(machine.queue()).iter().map(ToString::to_string));
        }
        self.before = entry.after;
        found
    }

    /// What was counted so far.
    #[must_use]
    pub fn counts(&self) -> &kept::Kept {
        &self.kept
    }
}

#[cfg(test)]
mod samples {
    //! A small center, to take entries from and spoil them.

    use std::collections::BTreeMap;

    use tandem_routing::{
        command::{AgentSpec, Command, Enqueue, NumberSpec, QueueSpec, Readiness},
        entity::DeviceState,
        ids::{GroupId, TenantId},
        name::{CallerNumber, Name},
        requirement::NamedRequirement,
        state::State,
        time::{ClusterTime, Millis},
    };

    use super::{Entry, Picture};

    pub(super) const TENANT: TenantId = TenantId::DEFAULT;

    pub(super) fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    pub(super) struct Small {
        pub(super) state: State,
        now: u64,
    }

    impl Small {
        /// One queue; amy and bob, logged in and registered, not ready.
        pub(super) fn new() -> Self {
            let mut small = Self { state: State::default(), now: 1_000 };
            small.run(Command::PutSite { name: name("lon"), region: name("eu") });
            small.run(Command::PutQueue {
                tenant: TENANT,
                queue: QueueSpec { wrap_up: Millis(5_000), ..QueueSpec::named(name("sales")) },
            });
            small.run(Command::PutNumber {
                tenant: TENANT,
                number: NumberSpec {
                    number: name("100"),
                    queue: name("sales"),
                    requirement: NamedRequirement::anybody(),
                    priority: 0,
                },
            });
            for agent in ["amy", "bob"] {
                let spec = AgentSpec {
                    name: name(agent),
                    site: name("lon"),
                    skills: BTreeMap::new(),
                    queues: [name("sales")].into(),
                };
                small.run(Command::PutAgent { tenant: TENANT, agent: spec });
                let as_state = Readiness::NotReady(None);
                small.run(Command::LogIn { tenant: TENANT, agent: name(agent), as_state });
                let id = small.state.agent_named(TENANT, &name(agent)).unwrap().id;
                small.state.set_device(id, DeviceState::Registered, &mut Vec::new());
            }
            small
        }

        pub(super) fn run(&mut self, command: Command) -> Entry {
            let before = Picture::of(&self.state);
            self.now += 1_000;
            self.state.begin_entry(ClusterTime(self.now));
            self.state.begin_command();
            let mut events = Vec::new();
            self.state.apply(GroupId(0), &command, &mut events).unwrap();
            self.state.commit();
            Entry { before, after: Picture::of(&self.state), events, history: 0 }
        }

        pub(super) fn call(&mut self) -> Entry {
            self.run(Command::Enqueue(Enqueue {
                called: name("100"),
                caller: CallerNumber::new("+44"),
                ingress: name("lon"),
                waited: Millis(0),
            }))
        }

        pub(super) fn ready(&mut self, agent: &str) -> Entry {
            let to = Readiness::Ready;
            self.run(Command::SetReadiness { tenant: TENANT, agent: name(agent), to })
        }
    }

    pub(super) fn found(check: impl Fn(&Entry, &mut Vec<String>), entry: &Entry) -> Vec<String> {
        let mut found = Vec::new();
        check(entry, &mut found);
        found
    }
}

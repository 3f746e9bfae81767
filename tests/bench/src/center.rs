//! A contact center to measure, driven by the commands that a cluster's log carries.
//!
//! Every entry is applied in full, as in production: events are made, why each agent was chosen is kept,
//! statistics are counted, rows are encoded, and the digest follows. Commands are made before the clock
//! starts.

use std::{collections::VecDeque, time::Duration};

use tandem_routing::{
    command::{AgentSpec, Command, Enqueue, Event, NumberRules, NumberSpec, QueueSpec, Readiness},
    digest::Digest,
    entity::{DeviceState, EndReason},
    ids::{AgentId, ContactId, GroupId, OfferNumber, TenantId},
    limits::QUEUE_LENGTH_MAX,
    name::{CallerNumber, Name},
    requirement::NamedRequirement,
    state::State,
    table::RowChange,
    time::{ClusterTime, Millis},
};

use crate::{
    clock::cpu_time,
    plan::{Dice, Plan},
};

/// Owner of everything.
pub const TENANT: TenantId = TenantId::DEFAULT;
/// Where contacts are born.
pub const GROUP: GroupId = GroupId(0);
/// Commands that one entry carries: what waits while the last one is synced.
pub const BATCH: usize = 64;

/// A name that is known to be one.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn name(text: &str) -> Name {
    text.parse().expect("names of benchmarks are short words")
}

fn requirement(text: &str) -> NamedRequirement {
    text.parse().expect("requirements of benchmarks are right")
}

/// A center and what its people are doing.
#[derive(Debug, Clone)]
pub struct Center {
    /// The queue.
    pub state: State,
    /// Kept as in production.
    pub digest: Digest,
    /// Of the latest entry.
    pub events: Vec<Event>,
    /// Rows of the latest entry.
    pub changes: Vec<RowChange>,
    /// Time of the latest entry, in ms.
    pub time: u64,
    /// Draws callers.
    pub dice: Dice,
    /// Called numbers that callers are drawn from.
    pub numbers: Vec<Name>,
    sites: Vec<Name>,
    /// Offers that were made and not yet taken, the oldest first.
    pub ringing: VecDeque<(OfferNumber, ContactId)>,
    /// Conversations, the oldest first.
    pub talking: VecDeque<ContactId>,
}

impl Center {
    /// A center in which everybody is ready.
    #[must_use]
    pub fn new(plan: &Plan) -> Self {
        let mut center = Self {
            state: State::default(),
            digest: Digest::default(),
            events: Vec::new(),
            changes: Vec::new(),
            time: 0,
            dice: Dice::new(7),
            numbers: (0..plan.asked.len()).map(|row| name(&row.to_string())).collect(),
            sites: (0..plan.size.sites).map(|site| name(&format!("s{site}"))).collect(),
            ringing: VecDeque::new(),
            talking: VecDeque::new(),
        };
        let region = name("r");
        let sites = center.sites.iter().cloned();
        let mut setup: Vec<Command> =
            sites.map(|name| Command::PutSite { name, region: region.clone() }).collect();
        setup.extend((0..plan.size.queues).map(|queue| put_queue(&queue_spec(queue))));
        for (row, asked) in plan.asked.iter().enumerate() {
            setup.push(put_number(&row.to_string(), asked.queue, &asked.words()));
        }
        center.apply_all(&setup);
        for (agent, person) in plan.people.iter().enumerate() {
            let skills = person.skills.iter().map(|(skill, level)| (skill_name(*skill), *level));
            center.hire(agent, person.site, skills.collect(), plan.size.queues);
        }
        center
    }

    /// Adds an agent, who serves the first so many queues and is ready.
    pub fn hire(
        &mut self,
        agent: usize,
        site: usize,
        skills: std::collections::BTreeMap<Name, u8>,
        queues: usize,
    ) {
        let tenant = TENANT;
        let queues = (0..queues).map(queue_name).collect();
        let agent = agent_name(agent);
        let site = name(&format!("s{site}"));
        let spec = AgentSpec { name: agent.clone(), site, skills, queues };
        let as_state = Readiness::Ready;
        self.entry(&[
            Command::PutAgent { tenant, agent: spec },
            Command::LogIn { tenant, agent: agent.clone(), as_state },
        ]);
        // A registered phone is the cluster's to report.
        let id = self.agent(&agent);
        self.begin();
        self.state.begin_entry(ClusterTime(self.time));
        self.state.begin_command();
        self.state.set_device(id, DeviceState::Registered, &mut self.events);
        self.state.commit();
        self.state.take_changes(GROUP, &mut self.digest, &mut self.changes);
        self.note();
    }

    /// The id of an agent.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    pub fn agent(&self, agent: &Name) -> AgentId {
        self.state.agent_named(TENANT, agent).expect("benchmarks name agents that are there").id
    }

    /// Applies commands, [`BATCH`] an entry.
    pub fn apply_all(&mut self, commands: &[Command]) -> Duration {
        commands.chunks(BATCH).map(|entry| self.entry(entry)).sum()
    }

    /// Applies an entry one millisecond after the last, and notes what came of it. What it took of a core.
    ///
    /// # Panics
    /// When a command is refused: a benchmark measures no refusals.
    pub fn entry(&mut self, commands: &[Command]) -> Duration {
        self.begin();
        let began = cpu_time();
        self.state.begin_entry(ClusterTime(self.time));
        for command in commands {
            self.command(command);
        }
        self.state.take_changes(GROUP, &mut self.digest, &mut self.changes);
        let took = cpu_time() - began;
        self.note();
        took
    }

    /// Makes ready for the next entry.
    pub fn begin(&mut self) {
        self.events.clear();
        self.changes.clear();
        self.time += 1;
    }

    /// Applies one command of the entry that has begun.
    ///
    /// # Panics
    /// When it is refused.
    pub fn command(&mut self, command: &Command) {
        self.state.begin_command();
        let reply = self.state.apply(GROUP, command, &mut self.events);
        assert!(reply.is_ok(), "{command:?}: {reply:?}");
        self.state.commit();
    }

    /// Notes whose phone rings now.
    pub fn note(&mut self) {
        self.ringing.extend(self.events.iter().filter_map(|event| match event {
            Event::OfferMade { offer, contact, .. } => Some((*offer, *contact)),
            _ => None,
        }));
    }

    /// A caller of this number.
    pub fn call(&mut self, called: Name) -> Command {
        let site = self.dice.below(self.sites.len());
        Command::Enqueue(Enqueue {
            called,
            caller: CallerNumber::new("+442071838750"),
            ingress: self.sites.get(site).cloned().unwrap_or_else(|| name("s0")),
            waited: Millis(0),
        })
    }

    /// A caller of a number that is drawn.
    pub fn any_call(&mut self) -> Command {
        let row = self.dice.below(self.numbers.len());
        let called = self.numbers.get(row).cloned().unwrap_or_else(|| name("0"));
        self.call(called)
    }

    /// An entry of so many callers.
    pub fn calls(&mut self, count: usize) -> Duration {
        let calls: Vec<Command> = (0..count).map(|_| self.any_call()).collect();
        self.entry(&calls)
    }

    /// An entry in which all phones that ring are answered.
    pub fn accepts(&mut self) -> Duration {
        let ringing: Vec<_> = self.ringing.drain(..).collect();
        self.talking.extend(ringing.iter().map(|(_, contact)| *contact));
        let accept = |&(offer, contact): &_| Command::Accept { offer, contact };
        self.entry(&ringing.iter().map(accept).collect::<Vec<_>>())
    }

    /// An entry in which the oldest conversations end.
    pub fn ends(&mut self, count: usize) -> Duration {
        let count = count.min(self.talking.len());
        let ended: Vec<Command> = self.talking.drain(..count).map(end).collect();
        self.entry(&ended)
    }

    /// An entry in which all callers hang up whose agents' phones ring.
    pub fn ends_of_ringing(&mut self) -> Duration {
        let ended: Vec<Command> = self.ringing.drain(..).map(|(_, contact)| end(contact)).collect();
        self.entry(&ended)
    }

    /// Contacts that wait, those whose agent's phone rings included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.state.contacts().len() - self.talking.len()
    }

    /// Fills conversations up to so many.
    pub fn talk(&mut self, conversations: usize) {
        while self.talking.len() < conversations {
            self.calls(BATCH.min(conversations - self.talking.len()));
            self.accepts();
        }
    }

    /// Fills lines until so many contacts wait; who can be served is served first.
    pub fn queue_up(&mut self, waiting: usize) {
        while self.waiting() < waiting {
            self.calls(BATCH.min(waiting - self.waiting()));
            self.accepts();
        }
    }
}

/// The end of a contact.
#[must_use]
pub fn end(contact: ContactId) -> Command {
    Command::End { contact, reason: EndReason::CallerHungUp }
}

/// The name of an agent.
#[must_use]
pub fn agent_name(agent: usize) -> Name {
    name(&format!("a{agent}"))
}

/// The name of a skill.
#[must_use]
pub fn skill_name(skill: usize) -> Name {
    name(&format!("k{skill}"))
}

/// The name of a queue.
#[must_use]
pub fn queue_name(queue: usize) -> Name {
    name(&format!("q{queue}"))
}

/// A queue as benchmarks have it: as long as one may be, without after-contact work, so that a conversation's
/// end frees its agent.
#[must_use]
pub fn queue_spec(queue: usize) -> QueueSpec {
    let (length_max, wrap_up) = (QUEUE_LENGTH_MAX, Millis(0));
    QueueSpec { length_max, wrap_up, ..QueueSpec::named(queue_name(queue)) }
}

/// Makes or changes a queue.
#[must_use]
pub fn put_queue(queue: &QueueSpec) -> Command {
    Command::PutQueue { tenant: TENANT, queue: queue.clone() }
}

/// Points a number at a queue.
#[must_use]
pub fn put_number(number: &str, queue: usize, wanted: &str) -> Command {
    Command::PutNumber { tenant: TENANT, number: number_spec(number, queue, wanted) }
}

/// The same, for an agent who is asked for by name.
#[must_use]
pub fn put_number_of(number: &str, queue: usize, wanted: &str, agent: Name) -> Command {
    let rules = NumberRules { prefers: Some((agent, Millis(60_000))), ..NumberRules::default() };
    Command::ConfigureNumber { tenant: TENANT, number: number_spec(number, queue, wanted), rules }
}

fn number_spec(number: &str, queue: usize, wanted: &str) -> NumberSpec {
    let (number, queue) = (name(number), queue_name(queue));
    NumberSpec { number, queue, requirement: requirement(wanted), priority: 0 }
}

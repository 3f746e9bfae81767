//! A day as events in the order of time, against the real queue.
//!
//! Each moment at which something happens is one log entry: deadlines that are due come first, then what
//! people do; work that the entry leaves over goes on in further entries of the same moment, as a leader
//! would propose them.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use tandem_routing::{
    command::{AgentSpec, Command, Enqueue, Event, NumberSpec, QueueSpec, Readiness},
    digest::Digest,
    entity::{DeviceState, EndReason, SiteState},
    ids::{ContactId, GroupId, OfferNumber, TenantId},
    limits::QUEUE_LENGTH_MAX,
    name::{CallerNumber, Name},
    requirement::NamedRequirement,
    state::State,
    table::RowChange,
    time::{ClusterTime, Millis},
};
use xxhash_rust::xxh3::xxh3_64;

use super::{
    City, DAY, Day, DayError,
    arrangement::{Administrator, Arrangement},
    figures::{Fate, Figures, Outcome},
    ledger::Ledger,
    surprise::Surprise,
};

const TENANT: TenantId = TenantId::DEFAULT;
const GROUP: GroupId = GroupId(0);
/// Entries of one moment: far more than its work can need.
const ENTRIES_AT_ONCE_MAX: u32 = 100_000;

/// Lives a day.
pub(super) fn run(day: &Day, arrangement: &Arrangement) -> Result<Figures, DayError> {
    let (outcomes, floor) = live(day, arrangement)?;
    let digest = digest(&outcomes);
    let commands = floor.state.counters().ordinal.0;
    let (plans, moved) = (floor.plans, floor.moved);
    Ok(Figures { commands, plans, moved, digest, ..Figures::of(day, &outcomes, floor.ledger) })
}

/// Lives a day; what became of each call.
pub(super) fn live<'a>(
    day: &'a Day,
    arrangement: &Arrangement,
) -> Result<(Vec<Outcome>, Floor<'a>), DayError> {
    let mut floor = Floor::open(day, arrangement)?;
    floor.go_on()?;
    floor.ledger.close();
    let outcomes = day.calls.iter().zip(&floor.calls).map(|(call, life)| match life {
        Life::Over(outcome) => *outcome,
        Life::Ahead | Life::Waiting { .. } => {
            let wait = floor.now.since(ClusterTime(call.arrival.0));
            Outcome { wait, fate: Fate::Waiting }
        }
        Life::Talking { outcome, .. } => *outcome,
    });
    Ok((outcomes.collect(), floor))
}

/// What callers met, and not how rows are written: those may get another version.
fn digest(outcomes: &[Outcome]) -> u64 {
    let mut bytes = Vec::with_capacity(outcomes.len() * 16);
    for outcome in outcomes {
        let fate = match outcome.fate {
            Fate::Answered(city) => city.0 as u64,
            Fate::Abandoned => u64::MAX,
            Fate::Waiting => u64::MAX - 1,
        };
        bytes.extend(outcome.wait.0.to_le_bytes());
        bytes.extend(fate.to_le_bytes());
    }
    xxh3_64(&bytes)
}

/// Where a call stands.
#[derive(Debug, Clone, Copy)]
enum Life {
    /// Has not come in yet.
    Ahead,
    /// Waits, with the offer that rings for it.
    Waiting { contact: ContactId, offer: Option<OfferNumber> },
    /// Talks.
    Talking { contact: ContactId, outcome: Outcome },
    /// Has ended.
    Over(Outcome),
}

/// Something that happens at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    /// A site drains or opens again, by the number of the surprise.
    Drain(usize),
    Open(usize),
    /// A shift ends or begins, by its number.
    Leave(usize),
    Come(usize),
    /// The administrator looks.
    Round,
    /// A talk ends, an agent answers, a caller loses patience; by the number of the call.
    HangUp(usize),
    Answer(usize, OfferNumber),
    GiveUp(usize),
}

/// The center at work.
pub(super) struct Floor<'a> {
    day: &'a Day,
    pub(super) state: State,
    /// Of the queue's rows.
    pub(super) digest: Digest,
    events: Vec<Event>,
    changes: Vec<RowChange>,
    now: ClusterTime,
    agenda: BinaryHeap<Reverse<(Millis, u64, Task)>>,
    /// Tasks so far: those of one moment are done in the order in which they were planned.
    planned: u64,
    /// The next call to come in.
    next_call: usize,
    calls: Vec<Life>,
    live: usize,
    of_contact: BTreeMap<ContactId, usize>,
    ledger: Ledger,
    administrator: Option<Box<dyn Administrator>>,
    /// Rebalance plans of the administrator, and agents whose lines they changed.
    plans: u64,
    moved: u64,
    names: Names,
}

/// Names that commands repeat.
struct Names {
    sites: Vec<Name>,
    agents: Vec<Name>,
}

fn name(text: &str) -> Result<Name, DayError> {
    text.parse().map_err(|_| DayError::BadName(text.to_owned()))
}

impl Names {
    fn of(day: &Day) -> Result<Self, DayError> {
        let sites = day.center.cities.iter().map(|city| name(city.site));
        let agents = (0..day.shifts.len()).map(|index| name(&format!("agent-{index}")));
        Ok(Self {
            sites: sites.collect::<Result<_, _>>()?,
            agents: agents.collect::<Result<_, _>>()?,
        })
    }
}

// --- before the day ------------------------------------------------------------------------------

impl<'a> Floor<'a> {
    fn open(day: &'a Day, arrangement: &Arrangement) -> Result<Self, DayError> {
        let mut floor = Self {
            day,
            state: State::default(),
            digest: Digest::default(),
            events: Vec::new(),
            changes: Vec::new(),
            now: ClusterTime(0),
            agenda: BinaryHeap::new(),
            planned: 0,
            next_call: 0,
            calls: vec![Life::Ahead; day.calls.len()],
            live: 0,
            of_contact: BTreeMap::new(),
            ledger: Ledger::new(day.center.cities.len()),
            administrator: arrangement.administrator.map(|employ| employ(&day.center)),
            plans: 0,
            moved: 0,
            names: Names::of(day)?,
        };
        for city in &day.center.cities {
            floor.configure_city(city, arrangement)?;
        }
        for index in 0..day.shifts.len() {
            floor.configure_agent(index, arrangement)?;
        }
        floor.plan_day();
        Ok(floor)
    }

    fn configure_city(&mut self, city: &City, arrangement: &Arrangement) -> Result<(), DayError> {
        let (site, line) = (name(city.site)?, name(arrangement.line(city))?);
        self.entry(&Command::PutSite { name: site.clone(), region: site.clone() })?;
        let queue = QueueSpec {
            site_choice: arrangement.site_choice,
            widen_after: arrangement.widen_after,
            wrap_up: self.day.center.habits.wrap_up,
            length_max: QUEUE_LENGTH_MAX,
            ..QueueSpec::named(line.clone())
        };
        self.entry(&Command::PutQueue { tenant: TENANT, queue })?;
        // Each city has a number of its own; its name is the site's.
        let number = NumberSpec {
            number: site,
            queue: line,
            requirement: NamedRequirement::anybody(),
            priority: 0,
        };
        self.entry(&Command::PutNumber { tenant: TENANT, number })
    }

    fn configure_agent(&mut self, index: usize, arrangement: &Arrangement) -> Result<(), DayError> {
        let Some((shift, agent)) = self.day.shifts.get(index).zip(self.names.agents.get(index))
        else {
            return Ok(());
        };
        let Some(city) = self.day.center.cities.get(shift.city.0) else { return Ok(()) };
        let (agent, city_id) = (agent.clone(), shift.city);
        let spec = AgentSpec {
            name: agent.clone(),
            site: name(city.site)?,
            skills: BTreeMap::new(),
            queues: [name(arrangement.line(city))?].into(),
        };
        self.entry(&Command::PutAgent { tenant: TENANT, agent: spec })?;
        if let Some(id) = self.state.agent_named(TENANT, &agent).map(|row| row.id) {
            self.ledger.enter(id, city_id);
            self.state.begin_entry(self.now);
            self.state.begin_command();
            self.state.set_device(id, DeviceState::Registered, &mut self.events);
            self.state.commit();
            self.end_entry();
        }
        Ok(())
    }

    fn plan_day(&mut self) {
        let day = self.day;
        for (index, surprise) in day.center.surprises.iter().enumerate() {
            if let (Surprise::Drains { .. }, Some((from, to))) = (surprise, surprise.when()) {
                self.plan(from, Task::Drain(index));
                self.plan(to, Task::Open(index));
            }
        }
        // Who comes is there before others leave.
        for (index, shift) in day.shifts.iter().enumerate() {
            self.plan(shift.from, Task::Come(index));
        }
        for (index, shift) in day.shifts.iter().enumerate() {
            if let Some(to) = shift.to {
                self.plan(to, Task::Leave(index));
            }
        }
        if let Some(first) = self.administrator.as_ref().map(|it| it.first()) {
            self.plan(first, Task::Round);
        }
    }

    fn plan(&mut self, at: Millis, task: Task) {
        self.planned += 1;
        self.agenda.push(Reverse((at, self.planned, task)));
    }
}

// --- the day -------------------------------------------------------------------------------------

impl Floor<'_> {
    fn go_on(&mut self) -> Result<(), DayError> {
        while let Some(at) = self.next_moment() {
            self.now = ClusterTime(at.0);
            self.state.begin_entry(self.now);
            if self.deadline_is_due() {
                self.command(&Command::ExpireDue)?;
            }
            while let Some(task) = self.due_task(at) {
                self.perform(task)?;
            }
            while self.day.calls.get(self.next_call).is_some_and(|call| call.arrival <= at) {
                self.call_in(self.next_call)?;
                self.next_call += 1;
            }
            self.end_entry();
            self.finish_moment()?;
        }
        Ok(())
    }

    /// When something happens next; `None` when all is over.
    fn next_moment(&self) -> Option<Millis> {
        let call = self.day.calls.get(self.next_call).map(|call| call.arrival);
        let task = self.agenda.peek().map(|Reverse((at, ..))| *at);
        if call.is_none() && task.is_none() && self.live == 0 {
            return None;
        }
        let deadline = self.state.next_deadline().map(|at| Millis(at.0));
        [call, task, deadline].into_iter().flatten().min()
    }

    fn due_task(&mut self, at: Millis) -> Option<Task> {
        let Reverse((due, _, task)) = *self.agenda.peek()?;
        (due <= at).then(|| {
            self.agenda.pop();
            task
        })
    }

    fn deadline_is_due(&self) -> bool {
        self.state.next_deadline().is_some_and(|at| at <= self.now)
    }

    /// What an entry leaves over goes on in the next.
    fn finish_moment(&mut self) -> Result<(), DayError> {
        let mut entries = 0;
        while self.state.has_work() || self.deadline_is_due() {
            let due = self.deadline_is_due();
            self.entry(if due { &Command::ExpireDue } else { &Command::ContinueWork })?;
            entries += 1;
            if entries > ENTRIES_AT_ONCE_MAX {
                return Err(DayError::Restless(Millis(self.now.0)));
            }
        }
        Ok(())
    }

    fn perform(&mut self, task: Task) -> Result<(), DayError> {
        match task {
            Task::Drain(index) => self.set_site(index, SiteState::Draining),
            Task::Open(index) => self.set_site(index, SiteState::Open),
            Task::Come(index) => {
                let Some(agent) = self.names.agents.get(index).cloned() else { return Ok(()) };
                self.command(&Command::LogIn { tenant: TENANT, agent, as_state: Readiness::Ready })
            }
            Task::Leave(index) => {
                let Some(agent) = self.names.agents.get(index).cloned() else { return Ok(()) };
                self.command(&Command::LogOut { tenant: TENANT, agent })
            }
            Task::Round => self.round(),
            Task::Answer(index, number) => match self.calls.get(index) {
                Some(Life::Waiting { contact, offer: Some(offer) }) if *offer == number => {
                    self.command(&Command::Accept { offer: number, contact: *contact })
                }
                _ => Ok(()),
            },
            Task::HangUp(index) => match self.calls.get(index) {
                Some(Life::Talking { contact, .. }) => self
                    .command(&Command::End { contact: *contact, reason: EndReason::CallerHungUp }),
                _ => Ok(()),
            },
            Task::GiveUp(index) => match self.calls.get(index) {
                Some(Life::Waiting { contact, .. }) => {
                    self.command(&Command::End { contact: *contact, reason: EndReason::Abandoned })
                }
                _ => Ok(()),
            },
        }
    }

    fn set_site(&mut self, surprise: usize, state: SiteState) -> Result<(), DayError> {
        let surprise = self.day.center.surprises.get(surprise);
        let Some(Surprise::Drains { city, .. }) = surprise else { return Ok(()) };
        let Some(site) = self.names.sites.get(city.0).cloned() else { return Ok(()) };
        self.command(&Command::SetSiteState { site, state })
    }

    fn round(&mut self) -> Result<(), DayError> {
        let Some(mut administrator) = self.administrator.take() else { return Ok(()) };
        for command in administrator.round(self.now, &self.state) {
            self.command(&command)?;
            if let Command::ApplyPlan { plan, .. } = &command {
                self.plans += 1;
                self.moved += plan.agents.len() as u64;
            }
        }
        let next = Millis(self.now.0 + administrator.every().0.max(1));
        if next < DAY {
            self.plan(next, Task::Round);
        }
        self.administrator = Some(administrator);
        Ok(())
    }

    fn call_in(&mut self, index: usize) -> Result<(), DayError> {
        let Some(call) = self.day.calls.get(index) else { return Ok(()) };
        let Some(site) = self.names.sites.get(call.city.0).cloned() else { return Ok(()) };
        let ordinal = self.state.counters().ordinal.next();
        let contact = ContactId { group: GROUP, ordinal };
        self.of_contact.insert(contact, index);
        if let Some(life) = self.calls.get_mut(index) {
            *life = Life::Waiting { contact, offer: None };
        }
        self.live += 1;
        if let Some(patience) = call.patience {
            self.plan(Millis(call.arrival.0 + patience.0), Task::GiveUp(index));
        }
        self.command(&Command::Enqueue(Enqueue {
            called: site.clone(),
            caller: CallerNumber::new(""),
            ingress: site,
            waited: Millis(0),
        }))
    }
}

// --- the queue -----------------------------------------------------------------------------------

impl Floor<'_> {
    /// A command that is an entry of its own.
    fn entry(&mut self, command: &Command) -> Result<(), DayError> {
        self.state.begin_entry(self.now);
        self.command(command)?;
        self.end_entry();
        Ok(())
    }

    fn end_entry(&mut self) {
        self.changes.clear();
        self.state.take_changes(GROUP, &mut self.digest, &mut self.changes);
    }

    fn command(&mut self, command: &Command) -> Result<(), DayError> {
        self.state.begin_command();
        let applied = self.state.apply(GROUP, command, &mut self.events);
        applied.map_err(|rejection| DayError::Refused {
            command: format!("{command:?}"),
            rejection,
        })?;
        self.state.commit();
        let mut events = std::mem::take(&mut self.events);
        events.drain(..).for_each(|event| self.happened(event));
        self.events = events;
        Ok(())
    }

    fn happened(&mut self, event: Event) {
        let now = Millis(self.now.0);
        match event {
            Event::OfferMade { offer, contact, .. } => {
                let Some(index) = self.of_contact.get(&contact).copied() else { return };
                if let Some(Life::Waiting { offer: current, .. }) = self.calls.get_mut(index) {
                    *current = Some(offer);
                }
                let answer = self.day.calls.get(index).map_or(Millis(0), |call| call.answer);
                self.plan(Millis(now.0 + answer.0), Task::Answer(index, offer));
            }
            Event::ContactConnected { contact, agent, .. } => {
                let Some(index) = self.of_contact.get(&contact).copied() else { return };
                let Some(call) = self.day.calls.get(index) else { return };
                let wait = self.now.since(ClusterTime(call.arrival.0));
                let outcome = Outcome { wait, fate: Fate::Answered(self.ledger.city(agent)) };
                if let Some(life) = self.calls.get_mut(index) {
                    *life = Life::Talking { contact, outcome };
                }
                self.plan(Millis(now.0 + call.talk.0), Task::HangUp(index));
            }
            Event::ContactEnded { contact, .. } => {
                let Some(index) = self.of_contact.remove(&contact.id) else { return };
                let Some(life) = self.calls.get_mut(index) else { return };
                let outcome = match life {
                    Life::Talking { outcome, .. } => *outcome,
                    _ => Outcome { wait: self.now.since(contact.arrival), fate: Fate::Abandoned },
                };
                *life = Life::Over(outcome);
                self.live -= 1;
            }
            Event::AgentChanged(id) => {
                if let Some(agent) = self.state.agents().get(&id) {
                    self.ledger.see(agent, now);
                }
            }
            _ => {}
        }
    }
}

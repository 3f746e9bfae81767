//! A small center for the tests of this crate's inside, the state and its judge driven together. Random
//! histories are in `tests/scenarios/histories.rs`.

use std::collections::BTreeMap;

use super::Judge;
use crate::{
    AgentPhone, CallerLeg,
    command::{
        AgentSpec, Command, Enqueue, Event, NumberSpec, QueueSpec, Readiness, Rejection, Reply,
    },
    digest::Digest,
    entity::{Agent, Contact, ContactState, DeviceState, EndReason, SiteChoice},
    ids::{ContactId, GroupId, OfferNumber, TenantId},
    invariants,
    name::{CallerNumber, Name},
    state::State,
    time::Millis,
};

const TENANT: TenantId = TenantId::DEFAULT;
const GROUP: GroupId = GroupId(0);

/// A state and its judge, driven together.
pub(crate) struct Center {
    pub(crate) state: State,
    judge: Judge,
    digest: Digest,
    /// What scripts call the contacts.
    named: BTreeMap<String, ContactId>,
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

impl Center {
    /// Three sites, two queues, six agents (two a site).
    pub(crate) fn small() -> Self {
        let mut center = Self {
            state: State::default(),
            judge: Judge::default(),
            digest: Digest::default(),
            named: BTreeMap::new(),
        };
        for site in ["lon", "fra", "nyc"] {
            center.ok(Command::PutSite { name: name(site), region: name("eu") });
        }
        center.put_queue("sales", "anybody", SiteChoice::Any, 0);
        center.put_queue("support", "spanish>=3", SiteChoice::Nearest, 4_000);
        center.put_queue("spread", "anybody", SiteChoice::Weighted, 2_000);
        for (number, queue, requirement, priority) in [
            ("100", "sales", "anybody", 0),
            ("101", "sales", "spanish", 0),
            ("109", "sales", "anybody", 1),
            ("200", "support", "anybody", 0),
            ("300", "spread", "not site:nyc", 0),
            ("301", "spread", "anybody", 0),
        ] {
            center.ok(Command::PutNumber {
                tenant: TENANT,
                number: NumberSpec {
                    number: name(number),
                    queue: name(queue),
                    requirement: requirement.parse().unwrap(),
                    priority,
                },
            });
        }
        for (agent, site, spanish) in [
            ("amy", "lon", 0),
            ("bob", "lon", 5),
            ("cy", "fra", 2),
            ("dee", "fra", 9),
            ("eve", "nyc", 0),
            ("fay", "nyc", 3),
        ] {
            center.put_agent(agent, site, spanish, &["sales", "support", "spread"]);
        }
        center
    }

    fn put_queue(&mut self, queue: &str, requirement: &str, choice: SiteChoice, widen: u64) {
        let queue = Self::queue_spec(queue, requirement, choice, widen);
        self.ok(Command::PutQueue { tenant: TENANT, queue });
    }

    fn queue_spec(queue: &str, requirement: &str, choice: SiteChoice, widen: u64) -> QueueSpec {
        QueueSpec {
            requirement: requirement.parse().unwrap(),
            site_choice: choice,
            widen_after: Millis(widen),
            ring: Millis(1_000),
            wrap_up: Millis(if queue == "sales" { 0 } else { 3_000 }),
            length_max: 12,
            wait_max: Millis(if queue == "support" { 60_000 } else { 0 }),
            ..QueueSpec::named(name(queue))
        }
    }

    fn put_agent(&mut self, agent: &str, site: &str, spanish: u8, queues: &[&str]) {
        let agent = Self::agent_spec(agent, site, spanish, queues);
        self.ok(Command::PutAgent { tenant: TENANT, agent });
    }

    fn agent_spec(agent: &str, site: &str, spanish: u8, queues: &[&str]) -> AgentSpec {
        let skills = (spanish > 0).then(|| (name("spanish"), spanish)).into_iter().collect();
        AgentSpec {
            name: name(agent),
            site: name(site),
            skills,
            queues: queues.iter().map(|queue| name(queue)).collect(),
        }
    }

    fn ok(&mut self, command: Command) -> Reply {
        self.apply(&command).unwrap_or_else(|rejection| panic!("{command:?}: {rejection}"))
    }

    /// One command in an entry of its own, on both; afterwards all agree.
    pub(crate) fn apply(&mut self, command: &Command) -> Result<Reply, Rejection> {
        self.state.begin_entry(self.state.now());
        self.state.begin_command();
        self.judge.begin_command(self.state.counters().ordinal);
        let mut events = Vec::new();
        let result = self.state.apply(GROUP, command, &mut events);
        let changes = self.end_entry();
        match &result {
            Ok(_) => self.judge.follow(GROUP, command, &self.state),
            Err(_) => {
                assert_eq!(changes, 1, "a rejection changes nothing but the ordinal");
                assert_eq!(events, vec![]);
            }
        }
        self.check_offers(&events);
        self.check();
        result
    }

    fn direct(
        &mut self,
        act: impl FnOnce(&mut State, &mut Vec<Event>),
        judge: impl FnOnce(&mut Judge),
    ) {
        self.state.begin_entry(self.state.now());
        self.state.begin_command();
        self.judge.begin_command(self.state.counters().ordinal);
        let mut events = Vec::new();
        act(&mut self.state, &mut events);
        self.end_entry();
        judge(&mut self.judge);
        self.check_offers(&events);
        self.check();
    }

    /// Ends the entry; how many rows it changed.
    fn end_entry(&mut self) -> usize {
        self.state.commit();
        let mut changes = Vec::new();
        self.state.take_changes(GROUP, &mut self.digest, &mut changes);
        changes.len()
    }

    /// R6: whoever is offered a contact meets its requirement now.
    fn check_offers(&self, events: &[Event]) {
        for event in events {
            if let Event::OfferMade { contact, agent, .. } = event
                && let Some(contact) = self.state.contacts().get(contact)
            {
                let agent = self.state.agents().get(agent).unwrap();
                let seen = contact.seen_in(contact.offered_in());
                assert!(agent.serves(&seen), "R6: {event:?}");
            }
        }
    }

    fn check(&self) {
        if let Err(difference) = self.judge.agree(&self.state) {
            panic!("{difference}");
        }
        let violations = invariants::check(&self.state);
        assert!(violations.is_empty(), "{}", violations[0]);
    }

    fn advance(&mut self, ms: u64) {
        self.state.begin_entry(self.state.now() + Millis(ms));
        self.judge.begin_entry(self.state.now());
        self.ok(Command::ExpireDue);
    }

    /// `ready amy; call u 101; lose u; wait 500; confirm u` …: commands for tests that are read. A
    /// call has a name and a number (100 if none is given), and comes in at lon.
    pub(crate) fn run(&mut self, script: &str) {
        for line in script.split(';').map(str::trim).filter(|line| !line.is_empty()) {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["login", agent, "ready"] => {
                    self.ok(Command::LogIn {
                        tenant: TENANT,
                        agent: name(agent),
                        as_state: Readiness::Ready,
                    });
                }
                ["device", agent, "registered"] => {
                    let id = self.state.agent_named(TENANT, &name(agent)).unwrap().id;
                    self.direct(
                        |state, events| state.set_device(id, DeviceState::Registered, events),
                        |judge| judge.set_device(id, DeviceState::Registered),
                    );
                }
                ["ready", agent] => {
                    self.run(&format!("login {agent} ready; device {agent} registered"))
                }
                ["login", agent] => {
                    self.ok(Command::LogIn {
                        tenant: TENANT,
                        agent: name(agent),
                        as_state: Readiness::NotReady(None),
                    });
                }
                ["call", contact] => self.run(&format!("call {contact} 100")),
                ["call", contact, number] => {
                    let reply = self.ok(call(number, "lon", ""));
                    let Reply::Enqueued { contact: id, .. } = reply else { panic!("{reply:?}") };
                    self.named.insert((*contact).to_owned(), id);
                }
                ["accept", contact] => {
                    let (offer, contact) = self.offer_of(contact);
                    self.ok(Command::Accept { offer, contact });
                }
                ["decline", contact] => {
                    let (offer, contact) = self.offer_of(contact);
                    let cause = crate::command::DeclineCause::Refused;
                    self.ok(Command::Decline { offer, contact, cause });
                }
                ["end", contact] => {
                    let (contact, reason) = (self.named[*contact], EndReason::LegLost);
                    self.ok(Command::End { contact, reason });
                }
                ["lose", contact] => {
                    let id = self.named[*contact];
                    self.direct(
                        |state, events| state.unconfirm(id, events),
                        |judge| judge.unconfirm(id),
                    );
                }
                ["confirm", contact] => {
                    let id = self.named[*contact];
                    self.direct(
                        |state, events| state.confirm(id, events),
                        |judge| judge.confirm(id),
                    );
                }
                ["lose-leg", contact, phone, caller] => {
                    let id = self.named[*contact];
                    let phone = match *phone {
                        "hung-up" => AgentPhone::Answers,
                        _ => AgentPhone::Failed,
                    };
                    let leg = if *caller == "held" { CallerLeg::Held } else { CallerLeg::InDoubt };
                    self.direct(
                        |state, events| state.requeue(id, leg, phone, events),
                        |judge| judge.requeue(id, leg, phone),
                    );
                }
                ["wait", ms] => self.advance(ms.parse().unwrap()),
                _ => panic!("unknown: {line}"),
            }
        }
    }

    pub(crate) fn contact_named(&self, contact: &str) -> &Contact {
        self.state.contacts().get(&self.named[contact]).unwrap()
    }

    pub(crate) fn agent_named(&self, agent: &str) -> &Agent {
        self.state.agent_named(TENANT, &name(agent)).unwrap()
    }

    fn offer_of(&self, contact: &str) -> (OfferNumber, ContactId) {
        let row = self.contact_named(contact);
        let ContactState::Offered { offer, .. } = row.state else { panic!("{row:?}") };
        (offer, row.id)
    }

    /// Who is offered to whom or talks with whom: `u>amy v>bob`, in the order of the names.
    pub(crate) fn together(&self) -> String {
        let pair = |(contact, id): (&String, &ContactId)| {
            let agent = match self.state.contacts().get(id)?.state {
                ContactState::Offered { agent, .. } | ContactState::Connected { agent, .. } => {
                    agent
                }
                ContactState::Queued | ContactState::Unconfirmed => return None,
            };
            Some(format!("{contact}>{}", self.state.agents().get(&agent)?.name))
        };
        self.named.iter().filter_map(pair).collect::<Vec<_>>().join(" ")
    }
}

fn call(number: &str, site: &str, caller: &str) -> Command {
    Command::Enqueue(Enqueue {
        called: name(number),
        caller: CallerNumber::new(caller),
        ingress: name(site),
        waited: Millis(0),
    })
}

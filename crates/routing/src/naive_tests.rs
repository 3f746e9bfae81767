//! The state under test against the judge, on random histories.

use proptest::{prelude::*, strategy::Strategy};

use super::*;
use crate::{
    command::{AgentRules, AgentSpec, Enqueue, Event, NumberSpec, QueueSpec, Rejection, Reply},
    digest::Digest,
    entity::Tier,
    ids::TenantId,
    invariants,
    rules::NamedQueueRules,
};

const TENANT: TenantId = TenantId::DEFAULT;
const GROUP: GroupId = GroupId(0);

/// A state and its judge, driven together.
pub(crate) struct Center {
    pub(crate) state: State,
    judge: Judge,
    digest: Digest,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
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
            disk: BTreeMap::new(),
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

    /// Writes the changed rows to "disk", as raft-store does.
    fn end_entry(&mut self) -> usize {
        self.state.commit();
        let mut changes = Vec::new();
        self.state.take_changes(GROUP, &mut self.digest, &mut changes);
        let count = changes.len();
        for change in changes {
            match change.value {
                Some(value) => self.disk.insert(change.key, value),
                None => self.disk.remove(&change.key),
            };
        }
        count
    }

    /// R6: whoever is offered a contact meets its requirement now.
    fn check_offers(&self, events: &[Event]) {
        for event in events {
            if let Event::OfferMade { contact, agent, .. } = event
                && let Some(contact) = self.state.contacts().get(contact)
            {
                let agent = self.state.agents().get(agent).unwrap();
                assert!(agent.serves(contact), "R6: {event:?}");
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

    /// R7: a state loaded from the rows is the same state, with the same digest.
    fn restart(&mut self) {
        let (mut loaded, mut digest) = (State::default(), Digest::default());
        for (key, value) in &self.disk {
            let tag = crate::table::table_byte(key).unwrap();
            loaded.load_row(tag, key, value, &mut digest).unwrap().unwrap();
        }
        loaded.finish_load();
        assert_eq!(digest, self.digest);
        assert_eq!(loaded.stored_rows(GROUP).collect::<BTreeMap<_, _>>(), self.disk);
        self.state = loaded;
        self.check();
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

    /// Nothing is held for longer than it may be: once that time is over, whoever can be brought
    /// together has been.
    fn settle_holds(&mut self) {
        self.advance(CONFIRM_HOLD_MS);
        assert!(self.state.contacts().iter().all(|row| row.hold_until.is_none()));
        assert!(!self.state.has_work());
        for contact in self.state.contacts().iter() {
            let free = |agent: &&Agent| invariants::may_talk(&self.state, contact, agent);
            if contact.state == ContactState::Queued
                && let Some(agent) = self.state.agents().iter().find(free)
            {
                panic!("{} waits while {} is ready", contact.id, agent.id);
            }
        }
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

#[derive(Debug, Clone)]
enum Op {
    Call(usize, usize, u8, u64),
    Accept(usize),
    AcceptOld(u64, usize),
    Decline(usize, u8),
    End(usize, u8),
    LogIn(usize, bool),
    LogOut(usize),
    Ready(usize, bool),
    Device(usize, u8),
    Unconfirm(usize),
    Confirm(usize),
    OwnerLost(usize),
    Requeue(usize, bool, bool),
    Site(usize, u8),
    Weight(usize, u16),
    Agent(usize, usize, u8, u8),
    Queue(usize, u8),
    Strategy(usize, usize),
    Advance(u64),
    Restart,
}

const NUMBERS: [&str; 7] = ["100", "101", "109", "200", "300", "301", "999"];
const QUEUES: [(&str, SiteChoice); 3] = [
    ("sales", SiteChoice::Any),
    ("support", SiteChoice::Nearest),
    ("spread", SiteChoice::Weighted),
];
const SITES: [&str; 3] = ["lon", "fra", "nyc"];
const AGENTS: [&str; 6] = ["amy", "bob", "cy", "dee", "eve", "fay"];

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0..7usize, 0..3usize, 0..4u8, 0..3_000u64).prop_map(|(n, s, c, w)| Op::Call(n, s, c, w)),
        6 => (0..8usize).prop_map(Op::Accept),
        1 => (1..40u64, 0..8usize).prop_map(|(o, c)| Op::AcceptOld(o, c)),
        2 => (0..8usize, 0..5u8).prop_map(|(o, c)| Op::Decline(o, c)),
        4 => (0..12usize, 0..4u8).prop_map(|(c, r)| Op::End(c, r)),
        3 => (0..6usize, any::<bool>()).prop_map(|(a, r)| Op::LogIn(a, r)),
        1 => (0..6usize).prop_map(Op::LogOut),
        3 => (0..6usize, any::<bool>()).prop_map(|(a, r)| Op::Ready(a, r)),
        3 => (0..6usize, 0..6u8).prop_map(|(a, d)| Op::Device(a, d)),
        3 => (0..12usize).prop_map(Op::Unconfirm),
        3 => (0..12usize).prop_map(Op::Confirm),
        1 => (0..8usize).prop_map(Op::OwnerLost),
        1 => (0..12usize, any::<bool>(), any::<bool>())
            .prop_map(|(c, h, p)| Op::Requeue(c, h, p)),
        2 => (0..3usize, 0..4u8).prop_map(|(s, x)| Op::Site(s, x)),
        1 => (0..3usize, 0..5u16).prop_map(|(s, w)| Op::Weight(s, w * 25)),
        1 => (0..6usize, 0..3usize, 0..10u8, 0..8u8).prop_map(|(a, s, l, q)| Op::Agent(a, s, l, q)),
        1 => (0..3usize, 0..3u8).prop_map(|(q, r)| Op::Queue(q, r)),
        1 => (0..3usize, 0..9usize).prop_map(|(q, s)| Op::Strategy(q, s)),
        2 => (0..1_200u64).prop_map(Op::Advance),
        4 => (0..6_000u64).prop_map(Op::Advance),
        1 => Just(Op::Restart),
    ]
}

impl Center {
    fn contact(&self, n: usize) -> Option<ContactId> {
        self.state.contacts().iter().nth(n).map(|row| row.id)
    }

    fn offer(&self, n: usize) -> Option<(OfferNumber, ContactId)> {
        self.state.offers().iter().nth(n).map(|row| (row.number, row.contact))
    }

    fn step(&mut self, op: &Op) {
        match *op {
            Op::Call(number, site, caller, waited) => {
                let caller = ["", "+441", "+442", "+443"][usize::from(caller)];
                let Command::Enqueue(mut enqueue) = call(NUMBERS[number], SITES[site], caller)
                else {
                    unreachable!()
                };
                enqueue.waited = Millis(waited);
                self.apply(&Command::Enqueue(enqueue)).ok();
            }
            Op::Accept(n) => {
                if let Some((offer, contact)) = self.offer(n) {
                    self.ok(Command::Accept { offer, contact });
                }
            }
            Op::AcceptOld(offer, n) => {
                if let Some(contact) = self.contact(n) {
                    self.apply(&Command::Accept { offer: OfferNumber(offer), contact }).ok();
                }
            }
            Op::Decline(n, cause) => {
                use crate::command::DeclineCause as Cause;
                let cause = [
                    Cause::NotAnswered,
                    Cause::Refused,
                    Cause::Busy,
                    Cause::DeviceFailed,
                    Cause::NodeFailed,
                ][usize::from(cause)];
                if let Some((offer, contact)) = self.offer(n) {
                    self.ok(Command::Decline { offer, contact, cause });
                }
            }
            Op::End(n, reason) => {
                let reason = [
                    EndReason::Abandoned,
                    EndReason::AgentHungUp,
                    EndReason::LegLost,
                    EndReason::CallerHungUp,
                ][usize::from(reason)];
                if let Some(contact) = self.contact(n) {
                    self.ok(Command::End { contact, reason });
                }
            }
            Op::LogIn(n, ready) => {
                let as_state = if ready { Readiness::Ready } else { Readiness::NotReady(None) };
                let agent = name(AGENTS[n]);
                self.ok(Command::LogIn { tenant: TENANT, agent, as_state });
            }
            Op::LogOut(n) => {
                self.ok(Command::LogOut { tenant: TENANT, agent: name(AGENTS[n]) });
            }
            Op::Ready(n, ready) => {
                let to =
                    if ready { Readiness::Ready } else { Readiness::NotReady(Some(name("break"))) };
                let agent = name(AGENTS[n]);
                self.apply(&Command::SetReadiness { tenant: TENANT, agent, to }).ok();
            }
            Op::Device(n, state) => {
                let device = match state {
                    0 => DeviceState::Unregistered,
                    1 => DeviceState::Recovering,
                    _ => DeviceState::Registered,
                };
                let id = self.state.agent_named(TENANT, &name(AGENTS[n])).unwrap().id;
                self.direct(
                    |state, events| state.set_device(id, device, events),
                    |judge| judge.set_device(id, device),
                );
            }
            Op::Unconfirm(n) => self.on_contact(n, State::unconfirm, Judge::unconfirm),
            Op::Confirm(n) => self.on_contact(n, State::confirm, Judge::confirm),
            Op::Requeue(n, held, answers) => {
                let leg = if held { CallerLeg::Held } else { CallerLeg::InDoubt };
                let phone = if answers { AgentPhone::Answers } else { AgentPhone::Failed };
                self.on_contact(
                    n,
                    |state, id, events| state.requeue(id, leg, phone, events),
                    |judge, id| judge.requeue(id, leg, phone),
                );
            }
            Op::OwnerLost(n) => {
                if let Some((offer, _)) = self.offer(n) {
                    self.direct(
                        |state, events| state.offer_owner_lost(offer, events),
                        |judge| judge.offer_owner_lost(offer),
                    );
                }
            }
            Op::Site(n, state) => {
                let state =
                    [SiteState::Open, SiteState::Open, SiteState::Draining, SiteState::Closed]
                        [usize::from(state)];
                self.ok(Command::SetSiteState { site: name(SITES[n]), state });
            }
            Op::Weight(n, weight) => {
                self.ok(Command::SetSiteWeight { site: name(SITES[n]), weight });
            }
            Op::Agent(n, site, spanish, queues) => {
                let queues: Vec<&str> = ["sales", "support", "spread"]
                    .into_iter()
                    .enumerate()
                    .filter(|(bit, _)| queues & (1 << bit) != 0)
                    .map(|(_, queue)| queue)
                    .collect();
                // Every other one with a tier in each of their queues.
                let tier = Tier { level: 1 + spanish % 3, position: 1 + u16::from(spanish / 3) };
                if spanish % 2 == 0 {
                    return self.put_agent(AGENTS[n], SITES[site], spanish, &queues);
                }
                let agent = Self::agent_spec(AGENTS[n], SITES[site], spanish, &queues);
                let tiers = queues.iter().map(|queue| (name(queue), tier)).collect();
                let rules = AgentRules { tiers, ..AgentRules::default() };
                self.ok(Command::ConfigureAgent { tenant: TENANT, agent, rules });
            }
            Op::Queue(n, requirement) => {
                let (queue, choice) = QUEUES[n];
                let requirement =
                    ["anybody", "spanish>=3", "site:lon or spanish"][usize::from(requirement)];
                self.put_queue(queue, requirement, choice, 4_000);
            }
            Op::Strategy(n, strategy) => {
                let (queue, choice) = QUEUES[n];
                let (strategy, _) = crate::strategy::Strategy::ALL[strategy];
                self.ok(Command::ConfigureQueue {
                    tenant: TENANT,
                    queue: Self::queue_spec(queue, "anybody", choice, 4_000),
                    rules: Box::new(NamedQueueRules { strategy, ..NamedQueueRules::default() }),
                });
            }
            Op::Advance(ms) => self.advance(ms),
            Op::Restart => self.restart(),
        }
    }

    fn on_contact(
        &mut self,
        n: usize,
        act: impl FnOnce(&mut State, ContactId, &mut Vec<Event>),
        judge: impl FnOnce(&mut Judge, ContactId),
    ) {
        if let Some(contact) = self.contact(n) {
            self.direct(|state, events| act(state, contact, events), |naive| judge(naive, contact));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    // Goal: on every random history the state agrees with the judge after each command (R4, R5,
    // R6, R10, R11), keeps its invariants and its indexes, survives restarts from its rows with the
    // same digest (R7), and a rejection changes nothing. Nobody is held for ever.
    #[test]
    fn the_judge_agrees(ops in prop::collection::vec(op(), 1..90)) {
        let mut center = Center::small();
        for agent in AGENTS {
            center.run(&format!("login {agent} ready; device {agent} registered"));
        }
        for op in &ops {
            center.step(op);
        }
        center.settle_holds();
    }

    // Goal: a command that is undone (it panicked) leaves rows, indexes and behaviour as before.
    #[test]
    fn undo_leaves_no_trace(ops in prop::collection::vec(op(), 1..40), last in op()) {
        let mut center = Center::small();
        for agent in AGENTS {
            center.run(&format!("login {agent} ready; device {agent} registered"));
        }
        for op in &ops {
            center.step(op);
        }
        let mut twin = center.state.clone();
        twin.begin_command();
        let mut events = Vec::new();
        if let Some(contact) = center.contact(0) {
            twin.requeue(contact, CallerLeg::Held, AgentPhone::Answers, &mut events);
            twin.unconfirm(contact, &mut events);
        }
        twin.apply(GROUP, &call("100", "fra", "+449"), &mut events).ok();
        twin.undo();
        twin.begin_command();
        twin.commit();
        let (mut changes, mut digest) = (Vec::new(), center.digest);
        twin.take_changes(GROUP, &mut digest, &mut changes);
        // Only the counters' row, for the used ordinals.
        prop_assert_eq!(changes.len(), 1);
        prop_assert!(invariants::check(&twin).is_empty());
        center.step(&last);
    }
}

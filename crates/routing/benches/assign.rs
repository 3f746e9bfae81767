//! What the queue costs: contacts that are taken in, offered, answered and ended, with rows encoded and the
//! digest kept as in production.
//!
//! `cargo bench -p tandem-routing` prints contacts a second on one core, for sizes of the center, and what
//! the choice alone costs. Ratios decide (growth, share), never a time.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "a benchmark")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a benchmark reads a clock and prints"
)]

use std::time::{Duration, Instant};

use tandem_routing::{
    command::{AgentSpec, Command, Enqueue, Event, NumberSpec, QueueSpec, Readiness},
    digest::Digest,
    entity::{DeviceState, EndReason},
    ids::{ContactId, GroupId, OfferNumber, TenantId},
    name::{CallerNumber, Name},
    state::State,
    time::{ClusterTime, Millis},
};

const TENANT: TenantId = TenantId::DEFAULT;
const GROUP: GroupId = GroupId(0);
const SKILLS: usize = 40;
const SITES: usize = 20;
const NUMBERS: usize = 200;
/// Commands that one entry carries: what waits while the last one is synced.
const BATCH: usize = 64;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// A generator that needs no more than to be the same every time (Marsaglia's xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

struct Center {
    state: State,
    digest: Digest,
    events: Vec<Event>,
    time: u64,
    in_entry: usize,
    written: usize,
}

impl Center {
    fn new(agents: usize) -> Self {
        let state = State::default();
        let mut center = Self {
            state,
            digest: Digest::default(),
            events: Vec::new(),
            time: 0,
            in_entry: 0,
            written: 0,
        };
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
        for site in 0..SITES {
            center.run(&Command::PutSite { name: name(&format!("s{site}")), region: name("r") });
        }
        for queue in 0..4 {
            let queue = QueueSpec {
                length_max: 100_000,
                wrap_up: Millis(0),
                ..QueueSpec::named(name(&format!("q{queue}")))
            };
            center.run(&Command::PutQueue { tenant: TENANT, queue });
        }
        for number in 0..NUMBERS {
            let skills = (dice.below(SKILLS), dice.below(SKILLS));
            let number = NumberSpec {
                number: name(&number.to_string()),
                queue: name(&format!("q{}", number % 4)),
                requirement: format!("k{}>=3 or k{}>=5", skills.0, skills.1).parse().unwrap(),
                priority: 0,
            };
            center.run(&Command::PutNumber { tenant: TENANT, number });
        }
        for agent in 0..agents {
            let spec = AgentSpec {
                name: name(&format!("a{agent}")),
                site: name(&format!("s{}", agent % SITES)),
                skills: (0..6)
                    .map(|_| (name(&format!("k{}", dice.below(SKILLS))), 1 + dice.below(10) as u8))
                    .collect(),
                queues: [name("q0"), name("q1"), name("q2"), name("q3")].into(),
            };
            center.run(&Command::PutAgent { tenant: TENANT, agent: spec });
            let agent = name(&format!("a{agent}"));
            let id = center.state.agent_named(TENANT, &agent).unwrap().id;
            let mut events = Vec::new();
            center.state.set_device(id, DeviceState::Registered, &mut events);
            let as_state = Readiness::Ready;
            center.run(&Command::LogIn { tenant: TENANT, agent, as_state });
        }
        center.end_entry();
        center
    }

    fn run(&mut self, command: &Command) {
        if self.in_entry == 0 {
            self.time += 1;
            self.state.begin_entry(ClusterTime(self.time));
        }
        self.state.begin_command();
        self.state.apply(GROUP, command, &mut self.events).unwrap();
        self.state.commit();
        self.in_entry += 1;
        if self.in_entry == BATCH {
            self.end_entry();
        }
    }

    fn end_entry(&mut self) {
        let mut changes = Vec::new();
        self.state.take_changes(GROUP, &mut self.digest, &mut changes);
        self.written += changes.len();
        self.in_entry = 0;
    }

    fn call(&mut self, number: usize, site: usize) {
        let enqueue = Enqueue {
            called: name(&number.to_string()),
            caller: CallerNumber::new("+442071838750"),
            ingress: name(&format!("s{site}")),
            waited: Millis(0),
        };
        self.run(&Command::Enqueue(enqueue));
    }
}

/// Contacts a second, each taken in, offered, answered and ended, while `talking` conversations are open.
fn assign_and_release(agents: usize, contacts: usize, talking: usize) -> f64 {
    let mut center = Center::new(agents);
    let mut dice = Dice(7);
    let mut open: std::collections::VecDeque<ContactId> = std::collections::VecDeque::new();
    let began = Instant::now();
    for _ in 0..contacts {
        center.events.clear();
        center.call(dice.below(NUMBERS), dice.below(SITES));
        let offers: Vec<(OfferNumber, ContactId)> = center
            .events
            .iter()
            .filter_map(|event| match event {
                Event::OfferMade { offer, contact, .. } => Some((*offer, *contact)),
                _ => None,
            })
            .collect();
        for (offer, contact) in offers {
            center.run(&Command::Accept { offer, contact });
            open.push_back(contact);
        }
        if open.len() > talking {
            let contact = open.pop_front().unwrap();
            center.run(&Command::End { contact, reason: EndReason::CallerHungUp });
        }
    }
    contacts as f64 / began.elapsed().as_secs_f64()
}

fn main() {
    println!("{:>9} {:>14} {:>12}", "agents", "contacts/s", "per contact");
    let mut rates = Vec::new();
    for agents in [1_000, 10_000, 100_000] {
        let rate = assign_and_release(agents, 200_000, agents / 2);
        println!("{agents:>9} {rate:>14.0} {:>12?}", Duration::from_secs_f64(1.0 / rate));
        rates.push(rate);
    }
    println!(
        "from 1,000 to 100,000 agents the cost of a contact grows {:.2} times",
        rates[0] / rates[2]
    );
}

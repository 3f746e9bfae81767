//! What the choice alone costs. No public function chooses without assigning, so it is found by differences
//! of whole commands that do the same otherwise.

use tandem_bench::{
    center::{BATCH, Center, TENANT, agent_name, end, name, put_number, put_number_of},
    clock::{per, rate},
    plan::{Plan, Size},
    report::{Bound, Report, number},
};
use tandem_routing::{
    command::{Command, Event, Readiness},
    name::Name,
};

use crate::{
    pairs::WAITING,
    regime::{self, BLOCKS, Regime},
};

/// Choices a second.
const RATE_MIN: f64 = 1_000_000.0;
const AGENTS: usize = 10_000;
/// Numbers that ask for an agent by name, each for another one: as many as are needed for their rows to be
/// as far away as those of agents who are found.
const NAMED: usize = 5_000;
const ROUNDS: usize = 50;

/// What somebody who calls is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// The best of all.
    Anybody,
    /// The agent whom the number names.
    ByName,
}

struct Bench {
    center: Center,
    plain: Vec<Name>,
    named: Vec<Name>,
    next: usize,
}

impl Bench {
    fn new(plan: &Plan) -> Self {
        let mut center = Center::new(plan);
        let (mut plain, mut named) = (Vec::new(), Vec::new());
        let mut setup = Vec::new();
        for (agent, person) in plan.people.iter().enumerate().take(NAMED) {
            let rows = (0..plan.asked.len()).map(|row| (row + agent) % plan.asked.len());
            let met = rows.map(|row| &plan.asked[row]).find(|asked| person.meets(asked));
            let Some(asked) = met else { continue };
            let (anybody, by_name) = (format!("n{agent}"), format!("p{agent}"));
            setup.push(put_number(&anybody, asked.queue, &asked.words()));
            setup.push(put_number_of(&by_name, asked.queue, &asked.words(), agent_name(agent)));
            plain.push(name(&anybody));
            named.push(name(&by_name));
        }
        center.apply_all(&setup);
        Self { center, plain, named, next: 0 }
    }

    /// Nanoseconds of an Enqueue and of an End.
    fn block(&mut self, asks: Asks) -> [f64; 2] {
        let mut spent = [std::time::Duration::ZERO; 2];
        for _ in 0..ROUNDS {
            let numbers = match asks {
                Asks::Anybody => &self.plain,
                Asks::ByName => &self.named,
            };
            let called: Vec<Name> =
                (0..BATCH).map(|row| numbers[(self.next + row) % numbers.len()].clone()).collect();
            self.next += BATCH;
            let calls: Vec<Command> =
                called.into_iter().map(|number| self.center.call(number)).collect();
            spent[0] += self.center.entry(&calls);
            let came = self.center.events.iter().filter_map(|event| match event {
                Event::ContactEnqueued(contact) => Some(*contact),
                _ => None,
            });
            let ends: Vec<Command> = came.map(end).collect();
            self.center.accepts();
            self.center.talking.clear();
            spent[1] += self.center.entry(&ends);
        }
        spent.map(|time| per(time, ROUNDS * BATCH))
    }

    /// The least of several blocks, of either kind in turns.
    fn measure(&mut self) -> [[f64; 2]; 2] {
        let mut least = [[f64::INFINITY; 2]; 2];
        for _ in 0..BLOCKS {
            for (kind, asks) in [Asks::Anybody, Asks::ByName].into_iter().enumerate() {
                let block = self.block(asks);
                let rows = least[kind].iter_mut().zip(block);
                rows.for_each(|(least, now)| *least = least.min(now));
            }
        }
        least
    }

    fn nobody_is_ready(&mut self) {
        let tenant = TENANT;
        let not_ready = |agent| {
            let (agent, to) = (agent_name(agent), Readiness::NotReady(None));
            Command::SetReadiness { tenant, agent, to }
        };
        self.center.apply_all(&(0..AGENTS).map(not_ready).collect::<Vec<_>>());
    }
}

pub(crate) fn run(report: &mut Report) {
    report.heading("The choice alone, by differences");
    let plan = Plan::draw(Size::of(AGENTS));
    let mut bench = Bench::new(&plan);
    let [found, named] = bench.measure();
    bench.nobody_is_ready();
    let [waits, waits_for] = bench.measure();
    drop(bench);
    let busy = regime::measure(&plan, Regime::Saturated(WAITING)).end;

    let offer = named[0] - waits_for[0];
    let choice = (found[0] - named[0]) + (waits_for[0] - waits[0]);
    let next = (busy - found[1]) - offer;
    let bare = (found[0] - waits[0]) + (found[1] - waits[1]);
    let row = |what: &str, ns: f64| vec![what.to_owned(), number(ns / 1e3), number(rate(ns))];
    let rows = [
        row("a: Enqueue, the best of all is found and offered", found[0]),
        row("b: Enqueue, the agent whom the number names is offered", named[0]),
        row("c: Enqueue, nobody is ready: waits", waits[0]),
        row("d: Enqueue, the named agent is not ready: waits for them", waits_for[0]),
        row("e: End of a conversation, nobody waits", found[1]),
        row("f: End of a contact that waits", waits[1]),
        row("g: End of a conversation, 10,000 wait: the next is offered", busy),
        row("making an offer: b - d", offer),
        row("choosing the agent: (a - b) + (d - c)", choice),
        row("choosing the next contact: (g - e) - (b - d)", next),
        row("assigning and releasing, rows included: (a - c) + (e - f)", bare),
    ];
    report.table(&["10,000 agents", "µs", "/s"], &rows);
    report.judge("choice of an agent alone", rate(choice), Bound::AtLeast, RATE_MIN, "/s");
    report.judge("choice of the next contact", rate(next), Bound::AtLeast, RATE_MIN, "/s");
}

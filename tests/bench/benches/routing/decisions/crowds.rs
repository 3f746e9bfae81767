//! Many agents, of whom few or none may take a contact.

use tandem_bench::{
    center::{Center, end, name, put_number, skill_name},
    plan::{Plan, Size},
};
use tandem_routing::{entity::ContactState, limits::SITES_MAX};

use super::{Case, live};
use crate::regime::{self, Regime};

/// Decisions of each case.
const COUNT: usize = 500;
/// Nobody has all of these at 10, unless somebody is hired for it.
const RARE: &str = "k0>=10 and k1>=10 and k2>=10 and k3>=10";
/// A skill beyond those that are drawn, for everybody.
const SHARED: usize = 40;

/// Rounds before those that count.
const WARM_UP: usize = 50;

fn of(agents: usize, sites: usize) -> Plan {
    Plan::draw(Size { sites, ..Size::of(agents) })
}

pub(crate) fn stated() -> Vec<Case> {
    let (usual, sites) = (of(10_000, 20), of(10_000, SITES_MAX));
    [
        assigned(&usual, "Enqueue: half of the agents free"),
        taken(&usual, "End: all busy, 10,000 wait"),
        nobody(&usual, "Enqueue: all ready, nobody meets it"),
        rare(&usual, "Enqueue: all ready, only the last in order meets it"),
        shared(&usual),
        assigned(&sites, "Enqueue: 64 sites, half of the agents free"),
        taken(&sites, "End: 64 sites, all busy, 10,000 wait"),
        nobody(&sites, "Enqueue: 64 sites, all ready, nobody meets it"),
        rare(&sites, "Enqueue: 64 sites, all ready, only the last meets it"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

pub(crate) fn at_limits() -> Vec<Case> {
    let large = of(100_000, 20);
    [
        assigned(&large, "Enqueue: 100,000 agents, half of them free"),
        nobody(&large, "Enqueue: 100,000 ready, nobody meets it"),
        rare(&large, "Enqueue: 100,000 ready, only the last in order meets it"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn assigned(plan: &Plan, what: &'static str) -> Vec<Case> {
    live(&regime::center(plan, Regime::Idle), |center, log| {
        log.skip(WARM_UP);
        for _ in 0..WARM_UP + COUNT {
            let call = center.any_call();
            log.one(what, center, &call);
            center.accepts();
            center.ends(1);
        }
    })
}

fn taken(plan: &Plan, what: &'static str) -> Vec<Case> {
    live(&regime::center(plan, Regime::Saturated(10_000)), |center, log| {
        log.skip(WARM_UP);
        for _ in 0..WARM_UP + COUNT {
            let ended = end(center.talking.pop_front().unwrap());
            log.one(what, center, &ended);
            center.accepts();
            center.calls(1);
        }
    })
}

/// What comes of a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Waits,
    Rings,
}

/// Callers of one number, who leave at once.
fn callers(center: &Center, what: &'static str, expected: Outcome) -> Vec<Case> {
    live(center, |center, log| {
        log.skip(WARM_UP);
        for _ in 0..WARM_UP + COUNT {
            let call = center.call(name("rare"));
            log.one(what, center, &call);
            let contact = center.state.contacts().iter().next_back().unwrap();
            let outcome = match contact.state {
                ContactState::Offered { .. } => Outcome::Rings,
                _ => Outcome::Waits,
            };
            assert_eq!(outcome, expected, "{what}");
            let id = contact.id;
            center.ringing.clear();
            center.entry(&[end(id)]);
        }
    })
}

fn nobody(plan: &Plan, what: &'static str) -> Vec<Case> {
    let mut center = Center::new(plan);
    center.entry(&[put_number("rare", 0, RARE)]);
    callers(&center, what, Outcome::Waits)
}

fn rare(plan: &Plan, what: &'static str) -> Vec<Case> {
    let mut center = Center::new(plan);
    let skills = (0..4).map(|skill| (skill_name(skill), 10)).collect();
    center.hire(plan.size.agents, plan.size.sites - 1, skills, plan.size.queues);
    center.entry(&[put_number("rare", 0, RARE)]);
    callers(&center, what, Outcome::Rings)
}

fn shared(plan: &Plan) -> Vec<Case> {
    let mut plan = plan.clone();
    for person in &mut plan.people {
        person.skills.insert(SHARED, 5);
    }
    let mut center = Center::new(&plan);
    center.entry(&[put_number("all", 0, &format!("k{SHARED}>=1"))]);
    center.numbers = vec![name("all")];
    let mut busy = center.clone();
    center.talk(plan.size.agents / 2);
    busy.queue_up(10_000);
    let free = live(&center, |center, log| {
        log.skip(WARM_UP);
        for _ in 0..WARM_UP + COUNT {
            let call = center.any_call();
            log.one("Enqueue: one skill shared by all, half of the agents free", center, &call);
            center.accepts();
            center.ends(1);
        }
    });
    let taken = live(&busy, |center, log| {
        log.skip(WARM_UP);
        for _ in 0..WARM_UP + COUNT {
            let ended = end(center.talking.pop_front().unwrap());
            log.one("End: one skill shared by all, 10,000 wait", center, &ended);
            center.accepts();
            center.calls(1);
        }
    });
    [free, taken].into_iter().flatten().collect()
}

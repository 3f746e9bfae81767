//! Many lines: an agent who becomes ready looks at the first of each.

use tandem_bench::{
    center::{Center, TENANT, agent_name, name, put_number, skill_name},
    plan::{Plan, Size},
};
use tandem_routing::{
    command::{Command, Readiness},
    limits::{CLASSES_PER_QUEUE_MAX, QUEUES_PER_AGENT_MAX},
};

use super::{Case, live};

const COUNT: usize = 200;
/// Rounds before those that count.
const WARM_UP: usize = 20;
/// Lines in each of as many queues as an agent may serve: `CLASSES_MAX` together.
const LINES_OF_EACH: usize = 200;

pub(crate) fn all() -> Vec<Case> {
    let one = (1, CLASSES_PER_QUEUE_MAX);
    let many = (QUEUES_PER_AGENT_MAX, LINES_OF_EACH);
    [
        becomes_ready(one, Meets::Nobody, "ready: 1,000 lines, none may be served"),
        becomes_ready(one, Meets::Last, "ready: 1,000 lines, only the last may be served"),
        becomes_ready(many, Meets::Nobody, "ready: 100 queues, 20,000 lines, none may be served"),
        logs_out(one, "log out: 1,000 lines, 1,000 ready, none may be served"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whom the agent may serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meets {
    Nobody,
    Last,
}

/// One caller in each line, each asking for a skill that nobody has, and so many agents who are ready.
fn center((queues, lines): (usize, usize), agents: usize) -> Center {
    let size = Size { queues, requirements: 0, ..Size::of(agents) };
    let mut center = Center::new(&Plan::draw(size));
    let mut setup = Vec::new();
    for line in 0..queues * lines {
        let number = format!("l{line}");
        // There may be fewer skills than lines.
        let (skill, level) = (line % 5_000, 1 + line / 5_000);
        setup.push(put_number(&number, line % queues, &format!("line{skill}>={level}")));
    }
    center.apply_all(&setup);
    let calls: Vec<Command> =
        (0..queues * lines).map(|line| center.call(name(&format!("l{line}")))).collect();
    center.apply_all(&calls);
    assert_eq!(center.state.contacts().len(), queues * lines);
    assert!(center.ringing.is_empty());
    center
}

fn readiness(to: Readiness) -> Command {
    Command::SetReadiness { tenant: TENANT, agent: agent_name(1), to }
}

fn becomes_ready(size: (usize, usize), meets: Meets, what: &'static str) -> Vec<Case> {
    let mut center = center(size, 1);
    let last = size.0 * size.1 - 1;
    let skills = match meets {
        Meets::Nobody => [(skill_name(0), 1)],
        Meets::Last => [(name(&format!("line{last}")), 1)],
    };
    // They get the last one at once, who hangs up.
    center.hire(1, 0, skills.into(), size.0);
    center.ends_of_ringing();
    live(&center, |center, log| {
        log.skip(WARM_UP);
        for _ in 0..WARM_UP + COUNT {
            center.entry(&[readiness(Readiness::NotReady(None))]);
            if meets == Meets::Last {
                let call = center.call(name(&format!("l{last}")));
                center.entry(&[call]);
            }
            log.one(what, center, &readiness(Readiness::Ready));
            assert_eq!(center.ringing.len(), usize::from(meets == Meets::Last));
            center.ends_of_ringing();
        }
    })
}

/// Whoever leaves may have kept contacts from others: all lines are looked at.
fn logs_out(size: (usize, usize), what: &'static str) -> Vec<Case> {
    let center = center(size, 1_000);
    live(&center, |center, log| {
        log.skip(WARM_UP);
        for agent in 0..WARM_UP + COUNT {
            log.bulk(what, center, &Command::LogOut { tenant: TENANT, agent: agent_name(agent) });
        }
    })
}

//! The bounds of the queue's work: steps of one entry, classes of one agent.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

use std::collections::BTreeMap;

use tandem_routing::{
    command::{
        AgentSpec, Command, Enqueue, Event, NumberSpec, QueueSpec, Readiness, Rejection, Reply,
    },
    entity::{DeviceState, EndReason, SiteState},
    ids::{GroupId, TenantId},
    invariants,
    limits::{APPLY_WORK_MAX, CLASSES_PER_QUEUE_MAX, CONFIRM_HOLD_MS, HELD_AGENTS_SKIPPED_MAX},
    name::{CallerNumber, Name},
    state::State,
    time::{ClusterTime, Millis},
};

const TENANT: TenantId = TenantId::DEFAULT;
const GROUP: GroupId = GroupId(0);

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Applies commands in one entry; the events of all.
fn entry(state: &mut State, time: u64, commands: &[Command]) -> Vec<Event> {
    let mut events = Vec::new();
    state.begin_entry(ClusterTime(time));
    for command in commands {
        state.begin_command();
        state.apply(GROUP, command, &mut events).unwrap();
        state.commit();
    }
    events
}

fn one(state: &mut State, command: &Command) -> Result<Reply, Rejection> {
    state.begin_entry(state.now());
    state.begin_command();
    let reply = state.apply(GROUP, command, &mut Vec::new());
    state.commit();
    reply
}

fn queue(requirement: &str, weight: u8) -> Command {
    let queue = QueueSpec {
        requirement: requirement.parse().unwrap(),
        weight,
        length_max: 10_000,
        wait_max: Millis(1_000),
        ..QueueSpec::named(name("sales"))
    };
    Command::PutQueue { tenant: TENANT, queue }
}

fn number(number: &str, requirement: &str) -> Command {
    let number = NumberSpec {
        number: name(number),
        queue: name("sales"),
        requirement: requirement.parse().unwrap(),
        priority: 0,
    };
    Command::PutNumber { tenant: TENANT, number }
}

fn agent(agent: &str, skills: &[&str]) -> Command {
    let agent = AgentSpec {
        name: name(agent),
        site: name("lon"),
        skills: skills.iter().map(|skill| (name(skill), 1)).collect::<BTreeMap<_, _>>(),
        queues: [name("sales")].into(),
    };
    Command::PutAgent { tenant: TENANT, agent }
}

fn call(called: &str) -> Command {
    Command::Enqueue(Enqueue {
        called: name(called),
        caller: CallerNumber::new("+442079460000"),
        ingress: name("lon"),
        waited: Millis(0),
    })
}

fn center() -> State {
    let mut state = State::default();
    for command in [
        Command::PutSite { name: name("lon"), region: name("eu") },
        Command::PutSite { name: name("fra"), region: name("eu") },
        queue("anybody", 0),
        number("100", "anybody"),
    ] {
        one(&mut state, &command).unwrap();
    }
    state
}

fn ended(events: &[Event]) -> usize {
    let by_time = |event: &&Event| {
        matches!(event, Event::ContactEnded { reason: EndReason::WaitedTooLong, .. })
    };
    events.iter().filter(by_time).count()
}

// Goal: one entry expires APPLY_WORK_MAX deadlines and no more, however many commands it has; what is
// left stays due and is done by the next entry (pair at the edge).
#[test]
fn an_entry_has_so_many_steps() {
    for extra in [0, 1] {
        let mut state = center();
        for _ in 0..APPLY_WORK_MAX + extra {
            one(&mut state, &call("100")).unwrap();
        }
        let events = entry(&mut state, 1_000, &[Command::ExpireDue, Command::ExpireDue]);
        assert_eq!(ended(&events), APPLY_WORK_MAX);
        assert_eq!(state.next_deadline().is_some(), extra == 1, "the rest is still due");
        assert_eq!(ended(&entry(&mut state, 1_000, &[Command::ExpireDue])), extra);
        assert!(state.contacts().is_empty());
        assert_eq!(invariants::check(&state), vec![]);
    }
}

// Goal: deadlines and the work list share one entry's steps; the work list goes on in the next.
#[test]
fn deadlines_and_work_share_the_steps() {
    let mut state = center();
    for _ in 0..10 {
        one(&mut state, &call("100")).unwrap();
    }
    state.begin_entry(ClusterTime(600));
    // Ten expire at 1000; these wait on, and have to move when their site drains.
    let waiting = APPLY_WORK_MAX;
    for _ in 0..waiting {
        one(&mut state, &call("100")).unwrap();
    }
    let drain = Command::SetSiteState { site: name("lon"), state: SiteState::Draining };
    let events = entry(&mut state, 1_000, &[Command::ExpireDue, drain]);
    let moved = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::ContactMoved { .. })).count()
    };
    assert_eq!((ended(&events), moved(&events)), (10, APPLY_WORK_MAX - 10));
    assert!(state.has_work());
    assert_eq!(moved(&entry(&mut state, 1_000, &[Command::ContinueWork])), 10);
    assert!(!state.has_work());
    assert_eq!(invariants::check(&state), vec![]);
}

fn ready(state: &mut State, agent: &str) {
    let (tenant, agent) = (TENANT, name(agent));
    let id = state.agent_named(tenant, &agent).unwrap().id;
    state.set_device(id, DeviceState::Registered, &mut Vec::new());
    one(state, &Command::LogIn { tenant, agent, as_state: Readiness::Ready }).unwrap();
}

// Goal: a contact finds the agent who is not held past so many who are, and no further (pair at the
// edge); the end of the hold brings everybody together.
#[test]
fn so_many_held_agents_are_skipped() {
    for (held, found) in [(HELD_AGENTS_SKIPPED_MAX - 1, true), (HELD_AGENTS_SKIPPED_MAX, false)] {
        let mut state = center();
        one(&mut state, &number("wanted", "x")).unwrap();
        let reply = one(&mut state, &call("wanted")).unwrap();
        let Reply::Enqueued { contact, .. } = reply else { panic!("{reply:?}") };
        state.unconfirm(contact, &mut Vec::new());
        for n in 0..held {
            one(&mut state, &agent(&format!("x{n}"), &["x"])).unwrap();
            ready(&mut state, &format!("x{n}"));
        }
        state.begin_entry(ClusterTime(1));
        one(&mut state, &agent("amy", &[])).unwrap();
        ready(&mut state, "amy");
        one(&mut state, &call("100")).unwrap();
        assert_eq!(state.offers().len(), usize::from(found), "{held}");
        assert_eq!(invariants::check(&state), vec![]);
        entry(&mut state, CONFIRM_HOLD_MS, &[Command::ExpireDue]);
        assert_eq!(state.offers().len(), 1, "{held}");
        assert_eq!(invariants::check(&state), vec![]);
    }
}

// Goal: the holds of a large loss end in as many entries as their number needs, and whoever waited
// behind them is matched then.
#[test]
fn many_holds_end_in_steps() {
    let waiting = APPLY_WORK_MAX + 2;
    let mut state = center();
    let mut lost = Vec::new();
    for _ in 0..waiting {
        let reply = one(&mut state, &call("100")).unwrap();
        let Reply::Enqueued { contact, .. } = reply else { panic!("{reply:?}") };
        lost.push(contact);
    }
    lost.into_iter().for_each(|contact| state.unconfirm(contact, &mut Vec::new()));
    state.begin_entry(ClusterTime(10));
    one(&mut state, &agent("amy", &[])).unwrap();
    ready(&mut state, "amy");
    one(&mut state, &call("100")).unwrap();
    // No longest wait: it would end at the same moment as the holds.
    let long = QueueSpec { length_max: 10_000, ..QueueSpec::named(name("sales")) };
    one(&mut state, &Command::PutQueue { tenant: TENANT, queue: long }).unwrap();
    while state.has_work() {
        entry(&mut state, 10, &[Command::ContinueWork]);
    }
    let holding = |state: &State| state.contacts().iter().filter(|row| row.holds_agents()).count();
    entry(&mut state, CONFIRM_HOLD_MS, &[Command::ExpireDue]);
    assert!((1..waiting).contains(&holding(&state)), "{}", holding(&state));
    assert!(state.offers().is_empty(), "somebody ahead is still being confirmed");
    let mut entries = 1;
    while holding(&state) > 0 || state.has_work() {
        assert!(state.has_work() || state.next_deadline() <= Some(state.now()), "it is announced");
        entry(&mut state, CONFIRM_HOLD_MS, &[Command::ExpireDue, Command::ContinueWork]);
        entries += 1;
        assert!(entries <= 4, "each entry does its share");
    }
    assert_eq!(state.offers().len(), 1);
    assert_eq!(invariants::check(&state), vec![]);
}

/// A center with this many classes: callers of numbers that want somebody without a skill.
fn with_classes(count: usize) -> State {
    let mut state = center();
    for n in 0..count {
        one(&mut state, &number(&format!("n{n}"), &format!("not s{n}"))).unwrap();
        one(&mut state, &call(&format!("n{n}"))).unwrap();
    }
    state
}

fn too_many(reply: &Result<Reply, Rejection>) -> bool {
    let limit = CLASSES_PER_QUEUE_MAX as u64;
    matches!(reply, Err(Rejection::LimitReached { limit: of, .. }) if *of == limit)
}

// Goal: callers with as many different requirements as a queue may hold are taken, one more is refused;
// those with a requirement that is there already are always taken, and a class whose last caller left makes
// room.
#[test]
fn a_queues_classes_are_limited() {
    let mut state = with_classes(CLASSES_PER_QUEUE_MAX - 1);
    one(&mut state, &call("100")).unwrap();
    one(&mut state, &number("one-more", "not x")).unwrap();
    assert!(too_many(&one(&mut state, &call("one-more"))));
    one(&mut state, &call("n0")).unwrap();
    let contact = state.contacts().iter().find(|row| row.called == name("n1")).unwrap().id;
    one(&mut state, &Command::End { contact, reason: EndReason::Abandoned }).unwrap();
    one(&mut state, &call("one-more")).unwrap();
    assert_eq!(invariants::check(&state), vec![]);
}

// Goal: a queue's new requirement may double its classes for a while, and is refused when that is too
// much (pair at the edge); what leaves the requirement alone is never refused.
#[test]
fn a_queues_requirement_counts_for_those_who_wait() {
    let half = CLASSES_PER_QUEUE_MAX / 2;
    for (classes, fits) in [(half, true), (half + 1, false)] {
        let mut state = with_classes(classes);
        one(&mut state, &queue("anybody", 7)).unwrap();
        let reply = one(&mut state, &queue("not x", 7));
        assert_eq!(reply.is_ok(), fits, "{classes}");
        assert_eq!(too_many(&reply), !fits, "{classes}");
    }
}

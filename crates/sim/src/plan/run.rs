//! Plays a plan: safety phase with its faults, then `settle`'s liveness phase, then the books
//! are compared.

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::Serialize;
use tandem_callcontrol::io::NoOutcome;
use tandem_routing::{
    command::{NumberSpec, QueueSpec},
    entity::{EndReason, SiteChoice},
    time::Millis,
};

use super::{AGENTS, CALLERS, Features, NODES, Plan, features::Network, perform, settle};
use crate::world::{
    OnViolation, World,
    log::{TENANT, name},
    net::Net,
    ua::Call,
};

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// Messages delivered, timers fired, entries applied by a node, actions.
    pub events: u64,
    /// Faults of the plan that took effect.
    pub faults: u64,
    /// Entries committed.
    pub entries: u64,
    /// Leaders elected.
    pub leaders: u64,
    /// Contacts that were enqueued.
    pub contacts: u64,
    /// Conversations that began.
    pub conversations: u64,
    /// Virtual time, in ms.
    pub virtual_ms: u64,
    /// Of everything that happened, in order.
    pub digest: u64,
    /// What broke first; empty: nothing.
    pub violations: Vec<String>,
    /// The state when it broke, for a reader.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub state: String,
}

impl Report {
    /// True when nothing broke.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }

    /// The first violation up to its first colon: what kind it is.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.violations.first().map(|text| text.split(':').next().unwrap_or(text))
    }
}

/// Plays a plan with a fault on purpose.
#[cfg(feature = "planted")]
#[must_use]
pub fn run_planted(plan: &Plan, planted: tandem_routing::planted::Planted) -> Report {
    run_in(plan, |world| world.plant(Some(planted)))
}

/// Plays a plan. A panic in the code under test is a violation like any other.
#[must_use]
pub fn run(plan: &Plan) -> Report {
    run_in(plan, |_| {})
}

fn run_in(plan: &Plan, prepare: impl FnOnce(&mut World)) -> Report {
    let played = catch_unwind(AssertUnwindSafe(|| {
        let mut world = build(plan.seed, &plan.features);
        prepare(&mut world);
        play(&mut world, plan);
        report(plan.seed, &world)
    }));
    played.unwrap_or_else(|panic| Report {
        seed: plan.seed,
        violations: vec![format!("panic: {}", said(&*panic))],
        ..Report::default()
    })
}

fn said(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "no words".to_owned())
}

fn play(world: &mut World, plan: &Plan) {
    for step in &plan.steps {
        world.run(step.after);
        if !world.checks.violations.is_empty() {
            return;
        }
        let done = perform::perform(world, &step.action);
        world.trace.acted(done, step.action.is_fault());
    }
    if settle::settle(world, &plan.features) {
        close_books(world, plan);
    }
}

fn report(seed: u64, world: &World) -> Report {
    let (trace, counts) = (&world.trace, world.checks.judge.counts());
    let violations = world.checks.violations.clone();
    let at = world.now;
    Report {
        seed,
        events: trace.events,
        faults: trace.faults,
        entries: trace.entries,
        leaders: trace.leaders,
        contacts: counts.enqueued,
        conversations: counts.connected,
        virtual_ms: at,
        digest: trace.digest(),
        state: if violations.is_empty() { String::new() } else { world.describe() },
        violations: violations.into_iter().map(|text| format!("{text} (at {at} ms)")).collect(),
    }
}

/// The world of a plan: built while nothing fails.
fn build(seed: u64, features: &Features) -> World {
    let mut world = World::center(seed, Net::clean());
    world.on_violation = OnViolation::Record;
    world.put_queue(QueueSpec {
        wrap_up: Millis(features.wrap_up_ms),
        ring: Millis(features.ring_ms),
        wait_max: Millis(features.wait_ms_max),
        site_choice: if features.nearest { SiteChoice::Nearest } else { SiteChoice::Any },
        widen_after: Millis(if features.nearest { 5_000 } else { 0 }),
        ..QueueSpec::named(name("sales"))
    });
    let number = NumberSpec {
        number: name("200"),
        queue: name("sales"),
        requirement: "anybody".parse().expect("a literal requirement"),
        priority: 2,
    };
    let put = tandem_routing::command::Command::PutNumber { tenant: TENANT, number };
    world.queue(put).expect("the machine takes it");
    if let Some(interval_s) = features.session_timer_s {
        world.with_session_timers(interval_s);
    }
    for (at, agent) in AGENTS.iter().enumerate().take(features.agents) {
        world.add_agent(agent, 1 + at as u64 % NODES);
    }
    for (at, caller) in CALLERS.iter().enumerate().take(features.callers) {
        world.add_caller(caller, 1 + at as u64 % NODES);
    }
    world.run(200);
    world.net = features.network.net();
    world.begin_consensus(features.adversary);
    world
}

/// What people saw, what they were told, and what the log has must agree.
fn close_books(world: &mut World, plan: &Plan) {
    let answered: u64 = CALLERS[..plan.features.callers]
        .iter()
        .map(|caller| world.see(caller).calls.iter().filter(|c| was_answered(c)).count() as u64)
        .sum();
    let enqueued = world.checks.judge.counts().enqueued;
    let ended: u64 = world.checks.judge.counts().ended.values().sum();
    if answered > enqueued {
        world.wrong(format!("T1: {answered} callers were answered, {enqueued} were enqueued"));
    }
    let undisturbed = plan.features.network == Network::Clean
        && plan.features.adversary == Default::default()
        && world.trace.faults == 0;
    // Who hung up while the log took them in abandoned the queue unanswered.
    let left = world.checks.judge.counts().ended.get(&EndReason::Abandoned).copied().unwrap_or(0);
    if undisturbed && answered + left < enqueued {
        let text =
            format!("T1: nothing failed; {enqueued} enqueued, {answered} answered, {left} left");
        world.wrong(text);
    }
    if ended != enqueued {
        world.wrong(format!("R3: {enqueued} enqueued, {ended} ended"));
    }
    let broken: Vec<String> = world
        .operations
        .iter()
        .filter(|operation| matches!(operation.outcome, Some(Ok(Ok(_)))))
        .filter_map(|operation| Some((operation, operation.key?)))
        .filter(|(_, key)| !world.checks.was_done(*key))
        .map(|(operation, _)| format!("D2: told done, and never done: {:?}", operation.command))
        .collect();
    let promised: Vec<String> = world
        .operations
        .iter()
        .filter(|operation| matches!(operation.outcome, Some(Err(NoOutcome::NotDone))))
        .filter_map(|operation| Some((operation, operation.key?)))
        .filter(|(_, key)| world.checks.was_done(*key))
        .map(|(operation, _)| format!("R9: told not done, and done: {:?}", operation.command))
        .collect();
    world.checks.violations.extend(broken);
    world.checks.violations.extend(promised);
}

fn was_answered(call: &Call) -> bool {
    call.outgoing && call.answered.is_some()
}

//! The liveness phase: the faults stop, and everything must settle within a bound. Everybody who calls
//! is served or gone, who talks is heard, and when all have hung up nothing is left over.

use tandem_cluster::{
    binding::PhoneTarget,
    command::{Command, PutBinding, Rejection},
    leg::{Control, Leg, LegPhase, LegRole, Owner, Transport},
};
use tandem_routing::{
    command::{Command as QueueCommand, Readiness},
    entity::{ContactState, SiteState},
    time::Millis,
};

use super::{AGENTS, CALLERS, Features, NODES};
use crate::world::{
    World, checks,
    log::{TENANT, name},
    net::Net,
    ua::{Plan as PhonePlan, State},
};

/// Between two looks, in ms.
const LOOK_EVERY: u64 = 500;
/// A cluster has a leader, and all nodes are in service, within this, in ms.
const SERVICE_WITHIN: u64 = 30_000;
/// A command is taken within this, retries included, in ms.
const COMMAND_WITHIN: u64 = 20_000;
/// All that stands is confirmed and heard within this, in ms: takeovers of silent peers take their time.
const STANDS_WITHIN: u64 = 300_000;
/// Everybody is served or gone within this, in ms.
const SERVED_WITHIN: u64 = 600_000;
/// All that hung up is told within this, in ms.
const TOLD_WITHIN: u64 = 60_000;
/// Nothing is left over within this, in ms.
const REST_WITHIN: u64 = 900_000;

/// The end of a run: false when something did not come about, which is recorded.
pub(super) fn settle(world: &mut World, features: &Features) -> bool {
    stop_faults(world, features);
    await_all(world, SERVICE_WITHIN, "the cluster is in service", out_of_service)
        && reopen(world, features)
        && await_all(world, STANDS_WITHIN, "what stands is confirmed and heard", unsettled)
        && serve(world, features)
        && end_all(world, features)
}

fn stop_faults(world: &mut World, features: &Features) {
    world.heal();
    world.log_slow = 0;
    world.net = Net::clean();
    for node in 1..=NODES {
        world.drift(node, 0);
        if world.nodes[&node].process.is_none() {
            world.start_node(node);
        }
        world.uncut_relay(node);
        world.relay(node).refuses = false;
    }
    for who in people(features) {
        let ua = world.ua(who);
        ua.alive = true;
        ua.plan = PhonePlan::default();
    }
}

fn people(features: &Features) -> impl Iterator<Item = &'static str> + use<> {
    let (agents, callers) = (&AGENTS[..features.agents], &CALLERS[..features.callers]);
    agents.iter().chain(callers).copied()
}

/// Runs until nothing is in the way, or says what is.
fn await_all(
    world: &mut World,
    within: u64,
    what: &str,
    in_the_way: impl Fn(&World) -> Vec<String>,
) -> bool {
    let until = world.now + within;
    loop {
        if !world.checks.violations.is_empty() {
            return false;
        }
        let wrong = in_the_way(world);
        if wrong.is_empty() {
            return true;
        }
        if world.now >= until {
            let wrong = wrong.join("; ");
            world.wrong(format!("liveness: not within {within} ms: {what}: {wrong}"));
            return false;
        }
        world.run(LOOK_EVERY);
    }
}

fn out_of_service(world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    if world.leader().is_none() {
        wrong.push("nobody leads".to_owned());
    }
    for (id, node) in &world.nodes {
        let Some(process) = node.process.as_ref() else {
            wrong.push(format!("node {id} does not run"));
            continue;
        };
        let epoch = process.epoch.filter(|_| !process.frozen);
        if !epoch.is_some_and(|epoch| world.is_current(*id, epoch)) {
            wrong.push(format!("node {id} is not in service"));
        }
        if process.replica.applied + 20 < world.log.index {
            wrong.push(format!("node {id} is at entry {}", process.replica.applied));
        }
    }
    wrong
}

// --- agents and sites come back -----------------------------------------------------------------

fn reopen(world: &mut World, features: &Features) -> bool {
    // What operators asked for before may still be on its way: a site must not close behind our back.
    world.run(COMMAND_WITHIN);
    let sites: Vec<_> = world.nodes.values().map(|node| node.settings.site.clone()).collect();
    let open = |site| QueueCommand::SetSiteState { site, state: SiteState::Open };
    sites.into_iter().all(|site| insist(world, &Command::Queue(open(site))))
        && AGENTS[..features.agents].iter().all(|agent| come_back(world, agent))
}

/// An agent's phone registers, and the agent is ready.
fn come_back(world: &mut World, agent: &str) -> bool {
    let as_state = Readiness::Ready;
    register(world, agent)
        && insist(
            world,
            &Command::Queue(QueueCommand::LogIn { tenant: TENANT, agent: name(agent), as_state }),
        )
}

fn register(world: &mut World, agent: &str) -> bool {
    let phone = world.see(agent);
    let (contact_uri, source, now) = (phone.contact(), phone.addr.to_string(), world.now);
    let edge = world.nodes.values().find(|node| node.udp == phone.proxy);
    let edge = edge.and_then(|node| Some((node.id, node.process.as_ref()?.epoch?)));
    let Some((node, epoch)) = edge else { return false };
    let edge = Owner { node: tandem_cluster::ids::NodeId(node), epoch };
    let target = PhoneTarget { contact_uri, transport: Transport::Udp, source, edge };
    let put = Command::PutBinding(PutBinding {
        tenant: TENANT,
        agent: world.agent_id(agent),
        target,
        call_id: format!("again-{now}"),
        cseq: 1,
        lifetime: Millis(100_000_000),
    });
    insist(world, &put)
}

/// Asks until somebody takes the command; each of them can be repeated.
fn insist(world: &mut World, command: &Command) -> bool {
    let until = world.now + COMMAND_WITHIN;
    while world.now < until {
        let node = world.leader().unwrap_or(1);
        let asked = world.ask(node, command.clone(), 2_000);
        let heard = |world: &World| {
            asked.and_then(|operation| world.operations.get(operation)?.outcome.clone())
        };
        world.run_until(3_000, |world| heard(world).is_some());
        match heard(world) {
            Some(Ok(Ok(_))) => return true,
            // The life that asked is over: the next one asks.
            Some(Ok(Err(Rejection::Fenced { .. }))) => world.run(200),
            Some(Ok(Err(why))) => {
                world.wrong(format!("liveness: {command:?} is refused: {why}"));
                return false;
            }
            Some(Err(_)) | None => world.run(200),
        }
        if !world.checks.violations.is_empty() {
            return false;
        }
    }
    world.wrong(format!("liveness: nobody takes {command:?}"));
    false
}

// --- what stands --------------------------------------------------------------------------------

fn unsettled(world: &World) -> Vec<String> {
    let mut wrong = checks::talks(world);
    let legs = world.log.machine.legs().iter();
    let doubted = legs.filter(|leg| leg.control != Control::Held);
    wrong.extend(doubted.map(|leg| format!("{} is not confirmed by its peer", leg.id)));
    wrong
}

/// Everybody who waits is answered by somebody, talks, and is done.
fn serve(world: &mut World, features: &Features) -> bool {
    for who in &AGENTS[..features.agents] {
        // Who does not answer for once is ready again: a phone may still be busy with a dead call.
        world.ua(who).plan.hang_up_after = Some(2_000);
    }
    let agents = &AGENTS[..features.agents];
    let until = world.now + SERVED_WITHIN;
    loop {
        let waiting = |world: &World| {
            let contacts = world.log.machine.queue().contacts().iter();
            let waits = contacts.filter(|row| !matches!(row.state, ContactState::Connected { .. }));
            waits.map(|row| format!("{} waits: {:?}", row.id, row.state)).collect::<Vec<_>>()
        };
        if !world.checks.violations.is_empty() {
            return false;
        }
        let left = waiting(world);
        if left.is_empty() {
            return true;
        }
        if world.now > until {
            let left = left.join("; ");
            world.wrong(format!("liveness: not served within {SERVED_WITHIN} ms: {left}"));
            return false;
        }
        world.run(10_000);
        for agent in agents {
            // A conversation from before the heal ends by itself.
            if world.log.machine.queue().contacts().iter().any(is_old(world.now)) {
                world.ua(agent).hang_up();
            }
            if !is_ready_or_busy(world, agent) && !come_back(world, agent) {
                return false;
            }
        }
    }
}

fn is_old(now: u64) -> impl Fn(&tandem_routing::entity::Contact) -> bool {
    let now = crate::world::log::Log::now(now);
    move |row| matches!(row.state, ContactState::Connected { since, .. } if now.0 > since.0 + 20_000)
}

fn is_ready_or_busy(world: &World, agent: &str) -> bool {
    let row = world.log.machine.queue().agent_named(TENANT, &name(agent));
    row.is_some_and(|row| row.is_waiting() || row.is_engaged() || row.work.ends_at().is_some())
}

// --- the end ------------------------------------------------------------------------------------

fn end_all(world: &mut World, features: &Features) -> bool {
    let talking = phones_in_conversation(world, features);
    for caller in &CALLERS[..features.callers] {
        world.ua(caller).hang_up();
    }
    if !await_all(world, TOLD_WITHIN, "phones hear that their caller hung up", |world| {
        let open = talking.iter().filter(|(agent, call)| {
            world.see(agent).calls.get(*call).is_some_and(|call| call.state == State::Up)
        });
        open.map(|(agent, _)| format!("{agent} was not told")).collect()
    }) {
        return false;
    }
    // A call that was answered while it was being cancelled is ended like any other.
    for _ in 0..3 {
        world.run(20_000);
        for caller in &CALLERS[..features.callers] {
            world.ua(caller).hang_up();
        }
    }
    // A phone whose answer died with its node knows of no end.
    for agent in &AGENTS[..features.agents] {
        world.ua(agent).hang_up();
    }
    await_all(world, REST_WITHIN, "nothing is left over", checks::at_rest)
}

/// Calls at agents' phones that the log knows as conversations.
fn phones_in_conversation(world: &World, features: &Features) -> Vec<(&'static str, usize)> {
    let active =
        |leg: &&Leg| leg.phase == LegPhase::Active && matches!(leg.role, LegRole::Agent { .. });
    let dialogs: Vec<_> = world
        .log
        .machine
        .legs()
        .iter()
        .filter(active)
        .filter_map(|leg| leg.dialog.as_ref())
        .collect();
    let mut found = Vec::new();
    for agent in &AGENTS[..features.agents] {
        for (at, call) in world.see(agent).calls.iter().enumerate() {
            let known = dialogs.iter().any(|dialog| {
                dialog.call_id == call.call_id && dialog.remote_tag == call.local_tag
            });
            if known && call.state == State::Up {
                found.push((*agent, at));
            }
        }
    }
    found
}

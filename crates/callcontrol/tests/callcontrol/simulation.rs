//! Everything by chance: calls, answers, hang-ups, holds, lost datagrams, deaths of nodes and relays,
//! freezes, a slow or missing quorum. After each step the invariants of `world::checks` hold; when
//! the faults stop all that stands is confirmed and heard, and when everybody has hung up nothing is
//! left over.
//!
//! `PROPTEST_CASES` sets the number of runs. A failing run prints its seed: put it into [`ONCE_WRONG`]
//! to play it again.

use proptest::prelude::{ProptestConfig, any, proptest};
use tandem_cluster::{ids::NodeId, leg::Control};

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, talks, unexpected},
    net::Net,
    ua::{OnCancel, Plan, Reaction, Respond},
};

/// Seeds of runs that have failed before.
const ONCE_WRONG: &[u64] = &[
    6_982_301_885_213_159_300,
    14_675_680_992_355_103_136,
    4_056_238_316_502_491_413,
    14_959_638_658_286_742_286,
    12_600_853_376_306_975_698,
    8_976_703_424_115_429_736,
    1_125_561_504_766_567_146,
    2_283_357_488_932_063_569,
];

const AGENTS: [&str; 4] = ["amy", "bob", "cy", "dee"];
const CALLERS: [&str; 5] = ["carol", "dave", "erin", "frank", "grace"];
const NODES: u64 = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faults {
    None,
    All,
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        max_shrink_iters: 0,
        ..cases(ProptestConfig::default())
    })]

    // Goal: without faults nothing unexpected happens, however calls cross.
    #[test]
    fn without_faults(seed in any::<u64>()) {
        run(seed, Faults::None);
    }

    // Goal: no fault breaks an invariant, and all recovers from all of them.
    #[test]
    fn with_all_faults(seed in any::<u64>()) {
        run(seed, Faults::All);
    }
}

// Goal: what went wrong once does not again.
#[test]
fn what_was_wrong_once() {
    for seed in ONCE_WRONG {
        run(*seed, Faults::All);
    }
}

/// A few seconds' worth, unless another number than proptest's own was asked for.
fn cases(config: ProptestConfig) -> ProptestConfig {
    let cases = if config.cases == 256 { 80 } else { config.cases };
    ProptestConfig { cases, ..config }
}

fn run(seed: u64, faults: Faults) {
    let mut world = build(seed, faults);
    for _ in 0..world.chance.between(10, 60) {
        act(&mut world, faults);
        let pause = match world.chance.below(4) {
            0 => 0,
            1 => world.chance.below(100),
            2 => world.chance.below(1_000),
            _ => world.chance.below(6_000),
        };
        world.run(pause);
    }
    recover(&mut world);
    world.run(150_000);
    stands(&world);
    if faults == Faults::None {
        assert_eq!(unexpected(&world), Vec::<String>::new(), "seed {seed}");
        nobody_is_forgotten(&world);
    }
    for caller in CALLERS {
        world.ua(caller).hang_up();
    }
    world.run(60_000);
    // A phone whose answer died with its node knows of no end.
    for agent in AGENTS {
        world.ua(agent).hang_up();
    }
    world.run(400_000);
    assert_at_rest(&world);
}

fn build(seed: u64, faults: Faults) -> World {
    let mut world = World::center(seed, Net::clean());
    let net = match (faults, world.chance.below(3)) {
        (Faults::All, 0) => Net::lossy(),
        (_, 1) => Net::jittery(),
        _ => Net::clean(),
    };
    world.net = net;
    if world.chance.per_mille(300) {
        world.with_session_timers(90);
    }
    for agent in AGENTS {
        let node = 1 + world.chance.below(NODES);
        world.add_agent(agent, node);
    }
    for caller in CALLERS {
        let node = 1 + world.chance.below(NODES);
        world.add_caller(caller, node);
    }
    world
}

// --- what may happen ----------------------------------------------------------------------------------

fn act(world: &mut World, faults: Faults) {
    let kinds = if faults == Faults::None { 7 } else { 18 };
    let node = 1 + world.chance.below(NODES);
    let agent = pick(world, &AGENTS);
    let caller = pick(world, &CALLERS);
    match world.chance.below(kinds) {
        0..=2 => {
            if world.see(caller).open() == 0 {
                world.ua(caller).proxy = world.nodes[&node].udp;
                world.ua(caller).invite(NUMBER);
            }
        }
        3 => world.ua(caller).hang_up(),
        4 => world.ua(agent).hang_up(),
        5 => {
            let plan = phone_plan(world);
            world.ua(agent).plan = plan;
        }
        6 => hold(world, caller, agent),
        7 => {
            let witness = world.chance.per_mille(500);
            world.crash_node(node, witness);
        }
        8 => start(world, node),
        9 => {
            let back_after = world.chance.between(10, 8_000);
            if world.relays[index(node)].up {
                world.crash_relay(node, back_after);
            }
        }
        10 => {
            let ms = world.chance.between(100, 8_000);
            world.freeze_node(node, ms);
        }
        11 => world.quorum = false,
        12 => world.heal(),
        13 => {
            world.isolated.insert(node);
        }
        14 => world.log_slow = if world.chance.per_mille(300) { 1_500 } else { 0 },
        15 => {
            let respond = respond(world);
            let who = if world.chance.per_mille(500) { agent } else { caller };
            world.ua(who).plan.reinvited = respond;
        }
        16 => {
            let relay = world.chance.below(NODES) + 1;
            if world.chance.per_mille(500) {
                world.relay(relay).cut_from.insert(node);
            } else {
                world.uncut_relay(relay);
            }
        }
        _ => {
            let who = if world.chance.per_mille(500) { agent } else { caller };
            world.ua(who).alive = !world.see(who).alive;
        }
    }
}

fn index(node: u64) -> usize {
    usize::try_from(node - 1).unwrap()
}

fn pick(world: &mut World, names: &[&'static str]) -> &'static str {
    let at = world.chance.below(names.len() as u64);
    names[usize::try_from(at).unwrap()]
}

fn start(world: &mut World, node: u64) {
    if world.nodes[&node].process.is_none() {
        world.start_node(node);
    }
}

fn respond(world: &mut World) -> Respond {
    match world.chance.below(7) {
        0 => Respond::Silent,
        1 => Respond::Status(491),
        2 => Respond::Status(500),
        3 => Respond::Status(488),
        _ => Respond::Ok,
    }
}

fn phone_plan(world: &mut World) -> Plan {
    let chance = &mut world.chance;
    let invited = match chance.below(8) {
        0 => Reaction::Silent,
        1 => Reaction::Rings(chance.below(500)),
        2 => Reaction::Rejects(chance.below(2_000), 486),
        3 => Reaction::Rejects(chance.below(2_000), 603),
        _ => Reaction::Answers(chance.below(300), chance.below(5_000)),
    };
    let cancelled = if chance.per_mille(300) { OnCancel::Answers } else { OnCancel::Obeys };
    let fork_after = chance.per_mille(150).then(|| chance.below(1_000));
    Plan { invited, cancelled, fork_after, ..Plan::default() }
}

/// Somebody holds or resumes, perhaps both sides of a call at once.
fn hold(world: &mut World, caller: &str, agent: &str) {
    for who in [caller, agent] {
        let held = world.chance.per_mille(500);
        let takes_part = world.chance.per_mille(600);
        let ua = world.ua(who);
        let up = (0..ua.calls.len()).find(|index| ua.is_ready(*index));
        if let Some(index) = up.filter(|_| takes_part) {
            ua.reinvite(index, if held { "sendonly" } else { "sendrecv" });
        }
    }
}

// --- afterwards ---------------------------------------------------------------------------------------

/// The faults stop.
fn recover(world: &mut World) {
    world.heal();
    world.log_slow = 0;
    world.net = Net::clean();
    for node in 1..=NODES {
        start(world, node);
        world.uncut_relay(node);
    }
    for name in AGENTS.iter().chain(&CALLERS) {
        let ua = world.ua(name);
        ua.alive = true;
        ua.plan = Plan::default();
    }
}

/// What stands is confirmed and heard.
fn stands(world: &World) {
    let mut wrong = talks(world);
    for leg in world.log.machine.legs().iter() {
        if leg.control != Control::Held {
            wrong.push(format!("{} is not confirmed by its peer", leg.id));
        }
    }
    for node in world.log.machine.nodes().iter() {
        if !node.is_up() {
            wrong.push(format!("{:?} is not in service", NodeId(node.id.0)));
        }
    }
    assert!(wrong.is_empty(), "seed {}:\n{}\n{}", world.seed, wrong.join("\n"), world.describe());
}

/// Who is in a call at their end is in the log.
fn nobody_is_forgotten(world: &World) {
    for name in CALLERS {
        if world.see(name).is_up() {
            assert!(world.caller_leg(name).is_some(), "seed {}: {name}", world.seed);
        }
    }
}

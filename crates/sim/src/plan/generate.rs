//! A plan from a seed.

use super::{
    AGENTS, Action, CALLERS, Features, NODES, Plan, Step,
    action::{Manner, SiteIs},
    features::Network,
};
use crate::world::{center::NUMBER, group::Adversary, net::Chance};

/// Kinds of faults; each is in a plan or it is not.
const KINDS: [Kind; 12] = [
    Kind::Crash,
    Kind::Power,
    Kind::Freeze,
    Kind::Suspend,
    Kind::Isolate,
    Kind::Cut,
    Kind::Quorum,
    Kind::Depose,
    Kind::Slow,
    Kind::Clock,
    Kind::Relay,
    Kind::Phone,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Crash,
    Power,
    Freeze,
    Suspend,
    Isolate,
    Cut,
    Quorum,
    Depose,
    Slow,
    Clock,
    Relay,
    Phone,
}

pub(super) fn plan(seed: u64) -> Plan {
    let mut chance = Chance::new(seed);
    let features = features(&mut chance);
    let kinds: Vec<Kind> = if chance.per_mille(100) {
        Vec::new()
    } else {
        KINDS.into_iter().filter(|_| chance.per_mille(500)).collect()
    };
    let fault_share = u32::try_from(chance.between(200, 600)).unwrap_or(400);
    let count = chance.between(20, 120);
    let mut steps = Vec::new();
    for _ in 0..count {
        let fault = !kinds.is_empty() && chance.per_mille(fault_share);
        let action = if fault {
            let kind = pick(&mut chance, &kinds);
            fault_of(&mut chance, kind, &features)
        } else {
            use_of(&mut chance, &features)
        };
        steps.push(Step { after: pause(&mut chance), action });
        if let Some(undo) = undo(&mut chance, &steps) {
            steps.push(undo);
        }
    }
    Plan { seed, features, steps }
}

/// Bursts, and now and then a quiet window: some faults need silence to show.
fn pause(chance: &mut Chance) -> u64 {
    match chance.below(8) {
        0..=2 => chance.below(100),
        3..=5 => chance.below(1_000),
        6 => chance.below(4_000),
        _ => chance.below(10_000),
    }
}

fn features(chance: &mut Chance) -> Features {
    let network = match chance.below(5) {
        0 => Network::Lossy,
        1 | 2 => Network::Jittery,
        _ => Network::Clean,
    };
    let mut rate = |most: u64| if chance.per_mille(500) { chance.below(most) as u32 } else { 0 };
    let (proposals_lost, proposals_doubled, answers_lost, misdirected) =
        (rate(60), rate(80), rate(100), rate(150));
    let sync_ms_max = if chance.per_mille(300) { chance.below(150) } else { 0 };
    Features {
        network,
        adversary: Adversary {
            proposals_lost,
            proposals_doubled,
            answers_lost,
            misdirected,
            sync_ms_max,
        },
        session_timer_s: chance.per_mille(200).then_some(90),
        wrap_up_ms: if chance.per_mille(500) { chance.between(1, 8) * 1_000 } else { 0 },
        ring_ms: chance.between(4, 15) * 1_000,
        wait_ms_max: if chance.per_mille(200) { chance.between(20, 60) * 1_000 } else { 0 },
        nearest: chance.per_mille(300),
        agents: index(chance.between(1, AGENTS.len() as u64)),
        callers: index(chance.between(2, CALLERS.len() as u64)),
    }
}

// --- what people do -----------------------------------------------------------------------------

fn use_of(chance: &mut Chance, features: &Features) -> Action {
    let (agent, caller) = (agent(chance, features), caller(chance, features));
    let node = node(chance);
    match chance.below(20) {
        0..=8 => {
            let number = if chance.per_mille(250) { "200" } else { NUMBER }.to_owned();
            Action::Call { who: caller, number, node }
        }
        9 | 10 => Action::HangUp { who: caller },
        11 => Action::HangUp { who: agent },
        12 | 13 => {
            let who = if chance.per_mille(500) { agent } else { caller };
            Action::Hold { who, held: chance.per_mille(500) }
        }
        14 | 15 => Action::Phone { who: agent, manner: manner(chance) },
        16 | 17 => Action::Ready { who: agent, ready: chance.per_mille(700), node },
        18 => Action::Login { who: agent, login: chance.per_mille(700), node },
        _ => {
            let state = match chance.below(4) {
                0 => SiteIs::Draining,
                1 => SiteIs::Closed,
                _ => SiteIs::Open,
            };
            Action::Site { site: 1 + chance.below(NODES), state, node }
        }
    }
}

fn manner(chance: &mut Chance) -> Manner {
    match chance.below(9) {
        0 => Manner::Silent,
        1 => Manner::Rings { after: chance.below(500) },
        2 => Manner::Rejects { after: chance.below(2_000), status: 486 },
        3 => Manner::Rejects { after: chance.below(2_000), status: 603 },
        _ => Manner::Answers {
            rings_after: chance.below(300),
            answers_after: chance.below(4_000),
            on_cancel: chance.per_mille(300),
            fork_after: chance.per_mille(120).then(|| chance.below(1_000)),
        },
    }
}

// --- what fails ---------------------------------------------------------------------------------

fn fault_of(chance: &mut Chance, kind: Kind, features: &Features) -> Action {
    let node = node(chance);
    let other = 1 + (node + chance.below(NODES - 1)) % NODES;
    match kind {
        Kind::Crash => Action::Crash { node, witness: chance.per_mille(500) },
        Kind::Power => Action::PowerLoss { node },
        Kind::Freeze => Action::Freeze { node, ms: chance.between(100, 6_000) },
        Kind::Suspend => Action::Suspend { node, ms: chance.between(100, 6_000) },
        Kind::Isolate => Action::Isolate { node },
        Kind::Cut => Action::Cut { from: node, to: other },
        Kind::Quorum => Action::NoQuorum,
        Kind::Depose => Action::Depose,
        Kind::Slow => Action::LogSlow { ms: chance.between(50, 1_500) },
        Kind::Clock if chance.per_mille(700) => {
            let ppm = i64::try_from(chance.below(40_000)).unwrap_or(0) - 20_000;
            Action::Drift { node, ppm }
        }
        Kind::Clock => Action::Jump { node, ms: chance.between(100, 5_000) },
        Kind::Relay if chance.per_mille(600) => {
            Action::RelayCrash { relay: other, back_after: chance.between(10, 6_000) }
        }
        Kind::Relay if chance.per_mille(400) => Action::RelayFull { relay: other },
        Kind::Relay => Action::RelayCut { relay: other, node },
        Kind::Phone => {
            let who = if chance.per_mille(500) {
                agent(chance, features)
            } else {
                caller(chance, features)
            };
            if chance.per_mille(400) {
                return Action::Vanish { who };
            }
            let status = match chance.below(6) {
                0 => 0,
                1 => 491,
                2 => 500,
                3 => 488,
                _ => 200,
            };
            Action::Reinvited { who, status }
        }
    }
}

/// What ends a fault, a while later: otherwise every world would soon be a ruin.
fn undo(chance: &mut Chance, steps: &[Step]) -> Option<Step> {
    let action = match &steps.last()?.action {
        Action::Crash { node, .. } | Action::PowerLoss { node } => {
            let (node, of) = (*node, 1 + *node % NODES);
            if chance.per_mille(250) {
                Action::StartFromSnapshot { node, of }
            } else {
                Action::Start { node }
            }
        }
        Action::Isolate { .. } | Action::Cut { .. } | Action::NoQuorum => Action::Heal,
        Action::LogSlow { ms } if *ms > 0 => Action::LogSlow { ms: 0 },
        Action::RelayCut { relay, .. } => Action::RelayUncut { relay: *relay },
        Action::RelayFull { relay } => Action::RelayRoomy { relay: *relay },
        Action::Vanish { who } => Action::Return { who: who.clone() },
        _ => return None,
    };
    let after = chance.between(50, 6_000);
    chance.per_mille(700).then_some(Step { after, action })
}

// --- parts --------------------------------------------------------------------------------------

fn node(chance: &mut Chance) -> u64 {
    1 + chance.below(NODES)
}

fn agent(chance: &mut Chance, features: &Features) -> String {
    pick(chance, &AGENTS[..features.agents]).to_owned()
}

fn caller(chance: &mut Chance, features: &Features) -> String {
    pick(chance, &CALLERS[..features.callers]).to_owned()
}

fn pick<T: Copy>(chance: &mut Chance, of: &[T]) -> T {
    of[index(chance.below(of.len() as u64))]
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(0)
}

//! The feed: what its records say, and what a consumer is told when something of it is missing.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::BTreeMap;

use common::{GROUP, Sim, TENANT, name};
use tandem_cluster::{
    command::{Command, LegEnd},
    feed::{At, Begin, FeedHead, Page, Reader, Record, Standing, Thing, Torn, What, feed_key},
    ids::ContactId,
};
use tandem_routing::{
    command::{AgentSpec, Command as QueueCommand, DeclineCause, OfferEnd, QueueSpec, Readiness},
    entity::{EndReason, NotReadyReason},
    rules::{NamedQueueRules, Overflow, Target, Trigger},
    time::{ClusterTime, Millis, UtcMillis},
};

/// What was recorded since there were so many records.
fn since(sim: &Sim, records: usize) -> Vec<What> {
    let all = sim.feed_rows().into_iter().flat_map(|row| row.records);
    all.skip(records).map(|Record { what, .. }| what).collect()
}

fn count(sim: &Sim) -> usize {
    usize::try_from(sim.machine.feed_head().records).unwrap()
}

fn only_contact(sim: &Sim) -> ContactId {
    sim.machine.queue().contacts().iter().next().unwrap().id
}

fn offer_of(what: &What) -> tandem_cluster::ids::OfferNumber {
    let What::OfferMade { offer, .. } = what else { panic!("{what:?}") };
    *offer
}

// Goal: the life of a call as a consumer reads it: who, where, how long it waited, rang and talked; the
// owner's measure of the ringing counts, and UTC is that of the log.
#[test]
fn the_life_of_a_call() {
    let mut sim = Sim::center();
    let anchor = QueueCommand::AnchorWall { utc: UtcMillis(1_800_000_000_000) };
    sim.queue(anchor).unwrap();
    let before = count(&sim);
    let leg = sim.call(1);
    let contact = only_contact(&sim);
    sim.time += 4_000;
    sim.answer("amy").unwrap();
    sim.time += 60_000;
    let ended = Command::LegEnded(sim.fact(leg, LegEnd::PeerHungUp));
    sim.propose(1, ended).unwrap();
    let what = since(&sim, before);
    let offer = offer_of(&what[1]);
    let (queue, agent, site) = (name("sales"), name("amy"), name("lon"));
    let caller = tandem_routing::name::CallerNumber::new(&format!("+4420{:06}", leg.ordinal.0));
    let expected = [
        What::ContactEntered {
            contact,
            queue: queue.clone(),
            caller,
            called: name("100"),
            site: site.clone(),
            priority: 0,
            came_as: 1,
            waited: Millis(0),
        },
        What::OfferMade {
            contact,
            queue: queue.clone(),
            offer,
            agent: agent.clone(),
            site: site.clone(),
            waited: Millis(0),
        },
        What::ContactConnected {
            contact,
            queue: queue.clone(),
            offer,
            agent: agent.clone(),
            site,
            waited: Millis(4_000),
            in_queue: Millis(4_000),
            ring: Millis(1_200),
        },
        What::ContactCompleted {
            contact,
            queue,
            agent,
            reason: EndReason::CallerHungUp,
            waited: Millis(4_000),
            in_queue: Millis(4_000),
            talk: Millis(60_000),
            came_as: 1,
        },
    ];
    assert_eq!(what, expected);
    let last = sim.feed_rows().pop().unwrap();
    assert_eq!(last.head.time, ClusterTime(64_000));
    assert_eq!(last.head.utc, Some(UtcMillis(1_800_000_064_000)));
}

// Goal: an offer that comes to nothing, the agent's state that follows from it, and a caller who gives up
// with others in front of and behind them.
#[test]
fn unanswered_and_abandoned() {
    let mut sim = Sim::center();
    for agent in ["bob", "cy"] {
        let to = Readiness::NotReady(Some(name("break")));
        sim.queue(QueueCommand::SetReadiness { tenant: TENANT, agent: name(agent), to }).unwrap();
    }
    let before = count(&sim);
    let legs: Vec<_> = (0..3).map(|_| sim.call(1)).collect();
    sim.time += 15_000;
    let ringing = sim.agent_leg("amy").unwrap().id;
    let failed = Command::LegFailed(sim.fact(ringing, DeclineCause::NotAnswered));
    sim.propose(1, failed).unwrap();
    sim.time += 5_000;
    let ended = Command::LegEnded(sim.fact(legs[1], LegEnd::PeerHungUp));
    sim.propose(1, ended).unwrap();
    let what = since(&sim, before);
    let entered = |what: &What| match what {
        What::ContactEntered { came_as, .. } => Some(*came_as),
        _ => None,
    };
    assert_eq!(what.iter().filter_map(entered).collect::<Vec<_>>(), [1, 2, 3]);
    let [.., offer, agent, left] = &what[..] else { panic!("{what:?}") };
    assert!(
        matches!(offer, What::OfferEnded { how, ring, .. }
            if *how == OfferEnd::Declined(DeclineCause::NotAnswered) && *ring == Millis(15_000)),
        "{offer:?}"
    );
    assert_eq!(
        *agent,
        What::AgentChanged {
            agent: name("amy"),
            site: name("lon"),
            from: Standing::Serving,
            to: Standing::NotReady(NotReadyReason::Rona),
            lasted: Millis(15_000),
        }
    );
    assert!(
        matches!(left, What::ContactLeft { reason: EndReason::Abandoned, waited, position: 2, came_as: 2, .. }
            if *waited == Millis(20_000)),
        "{left:?}"
    );
}

// Goal: agents come and go with the queues that they serve, and what they do in between; an agent at work
// who serves other queues is told once, one who is not there not at all.
#[test]
fn agents() {
    let mut sim = Sim::center();
    let queue = QueueSpec::named(name("support"));
    sim.queue(QueueCommand::PutQueue { tenant: TENANT, queue }).unwrap();
    let before = count(&sim);
    let (tenant, amy) = (TENANT, name("amy"));
    let spec = |queues: &[&str]| AgentSpec {
        name: name("amy"),
        site: name("lon"),
        skills: BTreeMap::new(),
        queues: queues.iter().map(|queue| name(queue)).collect(),
    };
    sim.queue(QueueCommand::PutAgent { tenant, agent: spec(&["support"]) }).unwrap();
    sim.time += 9_000;
    let to = Readiness::NotReady(Some(name("lunch")));
    sim.queue(QueueCommand::SetReadiness { tenant, agent: amy.clone(), to }).unwrap();
    sim.queue(QueueCommand::LogOut { tenant, agent: amy.clone() }).unwrap();
    sim.queue(QueueCommand::PutAgent { tenant, agent: spec(&["sales", "support"]) }).unwrap();
    let as_state = Readiness::NotReady(None);
    sim.queue(QueueCommand::LogIn { tenant, agent: amy.clone(), as_state }).unwrap();
    let configured = What::Configured { thing: Thing::Agent, name: amy.clone() };
    let (site, agent) = (name("lon"), amy);
    let expected = [
        configured.clone(),
        What::AgentServes {
            agent: agent.clone(),
            joined: vec![name("support")],
            left: vec![name("sales")],
        },
        What::AgentChanged {
            agent: agent.clone(),
            site: site.clone(),
            from: Standing::Serving,
            to: Standing::NotReady(NotReadyReason::Code(name("lunch"))),
            lasted: Millis(9_000),
        },
        What::AgentLoggedOut {
            agent: agent.clone(),
            site: site.clone(),
            queues: vec![name("support")],
            logged_in: Millis(9_000),
        },
        configured,
        What::AgentLoggedIn {
            agent,
            site,
            queues: vec![name("sales"), name("support")],
            standing: Standing::NotReady(NotReadyReason::Unspecified),
        },
    ];
    assert_eq!(since(&sim, before), expected);
}

// Goal: who leaves a queue by a rule is told with the rule: on arrival, and after a time.
#[test]
fn overflows() {
    let mut sim = Sim::center();
    let put = |sim: &mut Sim, queue: &str, overflow: Vec<Overflow<_>>| {
        let rules = Box::new(NamedQueueRules { overflow, ..NamedQueueRules::default() });
        let queue = QueueSpec::named(name(queue));
        sim.queue(QueueCommand::ConfigureQueue { tenant: TENANT, queue, rules }).unwrap();
    };
    put(&mut sim, "second", vec![]);
    let to = || Target::Queue(name("second"));
    put(
        &mut sim,
        "sales",
        vec![
            Overflow { when: Trigger::Length(1), to: to() },
            Overflow { when: Trigger::Waited(Millis(30_000)), to: to() },
        ],
    );
    for agent in ["amy", "bob", "cy"] {
        let to = Readiness::NotReady(None);
        sim.queue(QueueCommand::SetReadiness { tenant: TENANT, agent: name(agent), to }).unwrap();
    }
    let before = count(&sim);
    sim.call(1);
    sim.call(2);
    sim.time += 30_000;
    sim.propose(1, Command::ExpireDue).unwrap();
    let path = |what: &What| match what {
        What::ContactEntered { queue, came_as, .. } => format!("into {queue} as {came_as}"),
        What::ContactOverflowed { from, to, why, in_queue, came_as_to, .. } => {
            format!("{from} to {to} as {came_as_to}: {why:?} after {in_queue}")
        }
        other => panic!("{other:?}"),
    };
    let told: Vec<String> = since(&sim, before).iter().map(path).collect();
    assert_eq!(
        told,
        [
            "into sales as 1",
            "into sales as 2",
            "sales to second as 1: Arrival after 0ms",
            "sales to second as 2: Waited after 30000ms",
        ]
    );
}

// Goal: a cluster that began under version 1 has no feed until its version is raised; the digest of old
// entries is not touched by it.
#[test]
fn no_feed_before_its_version() {
    let mut sim = Sim::of_version(1);
    sim.call(1);
    assert!(sim.feed.is_empty());
    assert_eq!(sim.machine.feed_head(), FeedHead::default());
    sim.propose(1, Command::RaiseMachineVersion { to: 2 }).unwrap();
    sim.call(1);
    assert_eq!(sim.machine.feed_head().index, sim.index);
    assert_eq!(sim.feed_rows()[0].head.previous, 0);
}

/// A page of at most so many rows, as a node would give it.
fn page(
    reader: &mut Reader,
    rows: &BTreeMap<Vec<u8>, Vec<u8>>,
    sim: &Sim,
    most: usize,
) -> Result<Page, Torn> {
    let after = reader.after();
    let found: Vec<_> = rows.range(after.clone()..).filter(|(key, _)| **key != after).collect();
    let found = found.into_iter().take(most).map(|(key, value)| (&key[..], &value[..]));
    reader.take(found, sim.machine.feed_head(), sim.index)
}

// Goal: what is missing is never passed over in silence: not what retention took, not a hole that a snapshot
// left, not the end of the feed on a node that has nothing of it; a node that lags behind its consumer has
// nothing to say.
#[test]
fn gaps_are_told() {
    let mut sim = Sim::center();
    for _ in 0..4 {
        sim.call(1);
    }
    let whole = sim.feed.clone();
    let indexes: Vec<u64> = sim.feed_rows().iter().map(|row| row.index).collect();
    let (second, third, last) = (indexes[1], indexes[2], *indexes.last().unwrap());
    let at = |index| At { index, position: 0 };
    let begin = |index| Reader::new(GROUP, Begin::At(at(index)));

    for index in [0, 1] {
        let Ok(Page::Rows(rows)) = page(&mut begin(index), &whole, &sim, 1) else { panic!() };
        assert_eq!(rows[0].index, indexes[0]);
    }

    let mut kept = whole.clone();
    kept.retain(|key, _| *key >= feed_key(GROUP, third, 0));
    let torn = Torn { wanted: at(second), begins: at(third) };
    assert_eq!(page(&mut begin(second), &kept, &sim, 9), Err(torn));
    assert!(torn.to_string().starts_with("lost: events from"), "{torn}");
    // From there, from between, and from the oldest, all is well.
    for mut reader in [begin(third), begin(second + 1), Reader::new(GROUP, Begin::Oldest)] {
        let Ok(Page::Rows(rows)) = page(&mut reader, &kept, &sim, 1) else { panic!() };
        assert_eq!(rows[0].index, third);
    }

    let mut holed = whole.clone();
    holed.remove(&feed_key(GROUP, third, 0));
    let mut reader = begin(1);
    let Ok(Page::Rows(rows)) = page(&mut reader, &holed, &sim, 99) else { panic!() };
    assert_eq!(rows.last().map(|row| row.index), Some(second), "what is before the hole is given");
    let torn = page(&mut reader, &holed, &sim, 99).unwrap_err();
    assert_eq!(torn.begins, at(indexes[3]));

    let nothing = BTreeMap::new();
    let torn = page(&mut begin(second), &nothing, &sim, 9).unwrap_err();
    assert_eq!(torn.begins, at(sim.index + 1));
    assert_eq!(page(&mut begin(last + 1), &nothing, &sim, 9), Ok(Page::End));
    assert_eq!(page(&mut Reader::new(GROUP, Begin::Oldest), &nothing, &sim, 9), Ok(Page::End));

    let mut ahead = begin(sim.index + 7);
    assert_eq!(page(&mut ahead, &whole, &sim, 9), Ok(Page::End));
    assert_eq!(ahead.next(), Some(at(sim.index + 7)));

    let mut damaged = whole;
    *damaged.get_mut(&feed_key(GROUP, second, 0)).unwrap() = vec![9, 9];
    let mut reader = begin(1);
    assert!(matches!(page(&mut reader, &damaged, &sim, 99), Ok(Page::Rows(_))));
    assert_eq!(page(&mut reader, &damaged, &sim, 99).unwrap_err().begins, at(second + 1));
}

//! Random histories of calls, answers, losses and registrations: what must hold after each entry.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{GROUP, Sim, TENANT, name};
use proptest::prelude::*;
use tandem_cluster::{
    command::{Batch, Command, Evidence, LegEnd, Report},
    feed::{At, Begin, FeedRow, Page, Reader, Record, What},
    ids::{LegId, NodeId},
    leg::{Control, LegPhase, LegRole, Transport},
    machine::{Effect, Machine},
};
use tandem_routing::{
    command::{Command as QueueCommand, DeclineCause, Readiness},
    entity::{ContactState, EndReason},
    invariants,
};

#[derive(Debug, Clone)]
enum Op {
    Call(u64),
    Answer(usize),
    Ringing(usize),
    Fail(usize, u8),
    End(usize, u8),
    Confirm(usize),
    Lost(u64, u64),
    Register(u64),
    Stop(u64),
    Bind(u64, usize, bool),
    Alive(usize),
    Ready(usize, bool),
    Operator(usize),
    Advance(u64),
    Continue,
    Stale(usize, u64),
    Reload,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..4u64).prop_map(Op::Call),
        5 => (0..8usize).prop_map(Op::Answer),
        2 => (0..8usize).prop_map(Op::Ringing),
        2 => (0..8usize, 0..5u8).prop_map(|(l, c)| Op::Fail(l, c)),
        5 => (0..10usize, 0..6u8).prop_map(|(l, h)| Op::End(l, h)),
        4 => (0..10usize).prop_map(Op::Confirm),
        2 => (1..4u64, 1..4u64).prop_map(|(n, by)| Op::Lost(n, by)),
        3 => (1..4u64).prop_map(Op::Register),
        1 => (1..4u64).prop_map(Op::Stop),
        3 => (1..4u64, 0..3usize, any::<bool>()).prop_map(|(n, a, t)| Op::Bind(n, a, t)),
        2 => (0..3usize).prop_map(Op::Alive),
        3 => (0..3usize, any::<bool>()).prop_map(|(a, r)| Op::Ready(a, r)),
        1 => (0..6usize).prop_map(Op::Operator),
        2 => (0..30_000u64).prop_map(Op::Advance),
        1 => Just(Op::Continue),
        2 => (0..10usize, 1..4u64).prop_map(|(l, n)| Op::Stale(l, n)),
        1 => Just(Op::Reload),
    ]
}

const AGENTS: [&str; 3] = ["amy", "bob", "cy"];

fn nth(sim: &Sim, n: usize) -> Option<LegId> {
    sim.machine.legs().iter().nth(n).map(|leg| leg.id)
}

/// The node that owns a leg, if its current life may act.
fn owner(sim: &Sim, leg: LegId) -> Option<u64> {
    let owner = sim.leg(leg).owner;
    (sim.machine.is_current_life(owner) && sim.owner(owner.node.0) == owner).then_some(owner.node.0)
}

fn living(sim: &Sim) -> Option<u64> {
    sim.machine.nodes().iter().find(|node| node.is_up()).map(|node| node.id.0)
}

fn step(sim: &mut Sim, op: &Op) {
    match *op {
        Op::Call(node) => {
            if sim.machine.is_current_life(sim.owner(node)) {
                sim.call(node);
            }
        }
        Op::Answer(n) => {
            let Some(leg) = nth(sim, n) else { return };
            let Some(node) = owner(sim, leg) else { return };
            let row = sim.leg(leg).clone();
            if matches!(row.role, LegRole::Agent { .. }) {
                let answered = Box::new(common::answered(&row, node));
                sim.propose(node, Command::LegAnswered(sim.fact(leg, answered))).ok();
            }
        }
        Op::Ringing(n) => {
            let Some(leg) = nth(sim, n) else { return };
            let Some(node) = owner(sim, leg) else { return };
            let ringing = tandem_cluster::command::Ringing { dialog: common::dialog("ring") };
            if sim.leg(leg).phase == LegPhase::Inviting {
                sim.propose(node, Command::LegRinging(sim.fact(leg, ringing))).unwrap();
            }
        }
        Op::Fail(n, cause) => {
            let Some(leg) = nth(sim, n) else { return };
            let Some(node) = owner(sim, leg) else { return };
            let causes = [
                DeclineCause::NotAnswered,
                DeclineCause::Refused,
                DeclineCause::Busy,
                DeclineCause::DeviceFailed,
                DeclineCause::NodeFailed,
            ];
            let fact = sim.fact(leg, causes[usize::from(cause)]);
            sim.propose(node, Command::LegFailed(fact)).ok();
        }
        Op::End(n, how) => {
            let Some(leg) = nth(sim, n) else { return };
            let Some(node) = owner(sim, leg) else { return };
            let how = [
                LegEnd::PeerHungUp,
                LegEnd::PeerGone,
                LegEnd::Done,
                LegEnd::Failed,
                LegEnd::PeerSilent,
                LegEnd::TurnedAway,
            ][usize::from(how)];
            sim.propose(node, Command::LegEnded(sim.fact(leg, how))).unwrap();
        }
        Op::Confirm(n) => {
            let Some(leg) = nth(sim, n) else { return };
            let Some(node) = owner(sim, leg) else { return };
            let fact = sim.fact(leg, Box::<Report>::default());
            sim.propose(node, Command::LegConfirmed(fact)).unwrap();
        }
        Op::Lost(node, by) => {
            if sim.machine.is_current_life(sim.owner(by)) {
                let epoch = sim.lives[&node].0;
                let node = NodeId(node);
                let lost = Command::NodeLost { node, epoch, evidence: Evidence::Witness };
                sim.propose(by, lost).unwrap();
            }
        }
        Op::Register(node) => {
            sim.register(node);
        }
        Op::Stop(node) => {
            sim.propose(node, Command::StopNode).ok();
        }
        Op::Bind(node, agent, tcp) => {
            let transport = if tcp { Transport::Tcp } else { Transport::Udp };
            sim.bind(node, AGENTS[agent], transport).ok();
        }
        Op::Alive(agent) => {
            let agent = sim.machine.queue().agent_named(TENANT, &name(AGENTS[agent])).unwrap().id;
            if let Some(by) = living(sim) {
                sim.propose(by, Command::DeviceAlive { agent }).unwrap();
            }
        }
        Op::Ready(agent, ready) => {
            let to = if ready { Readiness::Ready } else { Readiness::NotReady(None) };
            let agent = name(AGENTS[agent]);
            if let Some(by) = living(sim) {
                let set = QueueCommand::SetReadiness { tenant: TENANT, agent, to };
                sim.propose(by, Command::Queue(set)).unwrap();
            }
        }
        Op::Operator(n) => {
            let contact = sim.machine.queue().contacts().iter().nth(n).map(|row| row.id);
            if let (Some(contact), Some(by)) = (contact, living(sim)) {
                let end = QueueCommand::End { contact, reason: EndReason::Operator };
                sim.propose(by, Command::Queue(end)).unwrap();
            }
        }
        Op::Advance(ms) => {
            sim.time += ms;
            if let Some(by) = living(sim) {
                sim.propose(by, Command::ExpireDue).unwrap();
            }
        }
        Op::Continue => {
            if let Some(by) = living(sim) {
                sim.propose(by, Command::ContinueWork).unwrap();
            }
        }
        Op::Stale(n, node) => {
            // A node that no longer owns the leg speaks up: refused, nothing changes.
            let Some(leg) = nth(sim, n) else { return };
            if owner(sim, leg) == Some(node) || !sim.machine.is_current_life(sim.owner(node)) {
                return;
            }
            let before = sim.machine.legs().get(&leg).cloned();
            let fact = sim.fact(leg, LegEnd::PeerHungUp);
            assert!(sim.propose(node, Command::LegEnded(fact)).is_err());
            assert_eq!(sim.machine.legs().get(&leg).cloned(), before);
        }
        Op::Reload => sim.machine = sim.reloaded(),
    }
}

fn check(sim: &mut Sim) {
    let bugs: Vec<_> =
        sim.last.effects.iter().filter(|effect| matches!(effect, Effect::Bug { .. })).collect();
    assert!(bugs.is_empty(), "{bugs:?}");
    let violations = invariants::check(sim.machine.queue());
    assert!(violations.is_empty(), "{}", violations[0]);
    assert!(sim.machine.indexes_are_true());
    assert_eq!(sim.machine, sim.reloaded(), "the written rows are the state");
    let queue = sim.machine.queue();
    for leg in sim.machine.legs().iter() {
        let contact = queue.contacts().get(&leg.contact);
        assert!(
            contact.is_some() || matches!(leg.phase, LegPhase::Ending { .. }),
            "a leg without a contact is being ended: {leg:?}"
        );
        assert!(sim.machine.view(leg.id).is_some());
    }
    for contact in queue.contacts().iter() {
        let legs: Vec<_> = sim.machine.legs_of(contact.id).collect();
        let callers: Vec<_> = legs.iter().filter(|leg| leg.role == LegRole::Caller).collect();
        assert_eq!(callers.len(), 1, "each live contact has its caller's leg");
        assert_eq!(callers[0].phase, LegPhase::Active);
        let held = callers[0].control == Control::Held;
        let orphaned = !sim.machine.is_current_life(callers[0].owner);
        assert!(
            contact.state != ContactState::Unconfirmed || !held,
            "unconfirmed means that the leg has not answered its owner"
        );
        if !orphaned && !held {
            let waits =
                matches!(contact.state, ContactState::Queued | ContactState::Offered { .. });
            assert!(!waits, "no ghost caller is offered: {contact:?}");
        }
        let current = match contact.state {
            ContactState::Offered { offer, .. } => Some((offer, LegPhase::Inviting)),
            ContactState::Connected { offer, .. } => Some((offer, LegPhase::Active)),
            _ => None,
        };
        if let Some((offer, phase)) = current {
            let own: Vec<_> = legs
                .iter()
                .filter(|leg| matches!(leg.role, LegRole::Agent { offer: of, .. } if of == offer))
                .collect();
            assert_eq!(own.len(), 1, "the offer has its leg");
            assert_eq!(own[0].phase, phase);
        }
    }
    if !sim.machine.has_work() && living(sim).is_some() {
        for leg in sim.machine.legs().iter() {
            assert!(sim.machine.is_current_life(leg.owner), "no leg is left without an owner");
        }
    }
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// The feed of a node that applies these entries and crashes behind some of them, each time losing what the
/// last few wrote.
fn with_crashes(log: &[Vec<u8>], crashes: &[(usize, usize)]) -> Rows {
    let mut machine = Machine::new(common::GROUP);
    // Disk and history behind each entry.
    let mut written = vec![(Rows::new(), Rows::new())];
    let mut crashes: Vec<_> = crashes.to_vec();
    let mut next = 0;
    while let Some(entry) = log.get(next) {
        let (mut disk, mut feed) = written[next].clone();
        next += 1;
        let applied = machine.apply(next as u64, entry).unwrap();
        common::keep(&mut disk, &applied.changes);
        common::keep(&mut feed, &applied.feed);
        written.truncate(next);
        written.push((disk, feed));
        if let Some(crash) = crashes.iter().position(|(at, _)| *at == next) {
            let (_, lost) = crashes.remove(crash);
            next = next.saturating_sub(lost);
            written.truncate(next + 1);
            let rows = written[next].0.iter().map(|(k, v)| Ok::<_, ()>((k.clone(), v.clone())));
            machine = Machine::load(common::GROUP, rows).unwrap();
        }
    }
    written.pop().unwrap().1
}

/// The same commands in fewer entries: neighbours of one moment travel together.
fn merged(log: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut merged: Vec<Batch> = Vec::new();
    for entry in log {
        let batch = Batch::decode(entry).unwrap();
        match merged.last_mut() {
            Some(last) if last.time == batch.time && last.envelopes.len() < 5 => {
                last.envelopes.extend(batch.envelopes);
            }
            _ => merged.push(batch),
        }
    }
    merged.iter().map(|batch| batch.encode().unwrap()).collect()
}

/// Records with their numbers.
fn records(feed: &Rows) -> Vec<(u64, Record)> {
    let rows = feed.iter().map(|(key, value)| FeedRow::read(common::GROUP, key, value).unwrap());
    rows.flat_map(|row| (row.head.first..).zip(row.records)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    // Goal: whatever happens to calls and nodes, queue and legs agree, every leg has a living owner
    // once the work is done, no ghost caller is offered, the rows are the state, and a second
    // replica that applies the same entries is equal (R1, R7, R9).
    #[test]
    fn histories_keep_their_promises(ops in prop::collection::vec(op(), 1..80)) {
        let mut sim = Sim::center();
        for op in &ops {
            step(&mut sim, op);
            check(&mut sim);
        }
    }

    // Goal (T1): whatever happens to calls and nodes, every node has the same feed, byte by byte and by index,
    // also one that crashed, lost rows that were not synced, and applied entries again; other entries
    // around the same commands change no record; and each contact comes once and goes once.
    #[test]
    fn feeds_are_equal(
        ops in prop::collection::vec(op(), 1..60),
        crashes in prop::collection::vec((0..200usize, 0..10usize), 0..4),
    ) {
        let mut sim = Sim::center();
        ops.iter().for_each(|op| step(&mut sim, op));
        prop_assert!(!sim.feed.is_empty());
        let crashed = with_crashes(&sim.log, &crashes);
        prop_assert!(crashed == sim.feed, "a restart makes no difference");
        let merged = with_crashes(&merged(&sim.log), &[]);
        prop_assert_eq!(records(&merged), records(&sim.feed));

        let (mut come, mut gone) = (BTreeSet::new(), BTreeSet::new());
        for (number, (at, record)) in records(&sim.feed).into_iter().enumerate() {
            prop_assert_eq!(at, number as u64, "records are numbered through");
            match record.what {
                What::ContactEntered { contact, .. } => prop_assert!(come.insert(contact)),
                What::ContactLeft { contact, .. } | What::ContactCompleted { contact, .. } => {
                    prop_assert!(come.contains(&contact) && gone.insert(contact));
                }
                _ => {}
            }
        }
        let live = sim.machine.queue().contacts().iter().map(|row| row.id);
        let open: BTreeSet<_> = come.difference(&gone).copied().collect();
        prop_assert_eq!(open, live.collect::<BTreeSet<_>>());
        let head = sim.machine.feed_head();
        prop_assert_eq!(head.records, records(&sim.feed).len() as u64);
    }

    // Goal: a consumer that reads in pages of any size, and goes on at other nodes from where it was, reads
    // everything once.
    #[test]
    fn consumers_miss_nothing(
        ops in prop::collection::vec(op(), 1..40),
        pages in prop::collection::vec((1..6usize, any::<bool>()), 1..60),
    ) {
        let mut sim = Sim::center();
        ops.iter().for_each(|op| step(&mut sim, op));
        let head = sim.machine.feed_head();
        let mut reader = Reader::new(GROUP, Begin::At(At { index: 1, position: 0 }));
        let mut read = Vec::new();
        for (rows, elsewhere) in pages.iter().copied().chain(std::iter::repeat((3, false))) {
            if elsewhere {
                reader = Reader::new(GROUP, Begin::At(reader.next().unwrap()));
            }
            let found: Vec<_> = sim.feed.range(reader.after()..).filter(|(key, _)| **key != reader.after()).take(rows).collect();
            let found = found.iter().map(|(key, value)| (&key[..], &value[..]));
            match reader.take(found, head, sim.index).unwrap() {
                Page::Rows(rows) => read.extend(rows.into_iter().flat_map(|row| row.records)),
                Page::End => break,
            }
        }
        let all: Vec<_> = records(&sim.feed).into_iter().map(|(_, record)| record).collect();
        prop_assert_eq!(read, all);
    }

    // Goal: no entry, however damaged, panics the machine.
    #[test]
    fn damaged_entries_never_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut machine = Machine::new(common::GROUP);
        machine.apply(1, &noise).ok();
        let mut framed = vec![1];
        framed.extend(noise);
        machine.apply(2, &framed).ok();
    }
}

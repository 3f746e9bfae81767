//! Nodes: who may come back, who never, and with which program.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::{Sim, admission, name, registration};
use tandem_cluster::{
    command::{BatchError, Command, Evidence, Outcome, RegisterNode, Rejection},
    ids::{ClusterId, DiskId, Epoch, NodeId},
    machine::{Effect, LoadError, MACHINE_VERSION, Machine},
    node::NodeLife,
};
use tandem_routing::digest::Digest;

fn lost(sim: &mut Sim, node: u64, by: u64) {
    let epoch = sim.lives[&node].0;
    let command = Command::NodeLost { node: NodeId(node), epoch, evidence: Evidence::LeaseExpired };
    sim.propose(by, command).unwrap();
}

fn remove(sim: &mut Sim, node: u64, by: u64) -> Outcome {
    sim.propose(by, Command::RemoveNode { node: NodeId(node) })
}

fn come_back(sim: &mut Sim, node: u64) -> Outcome {
    sim.first(node, Command::RegisterNode(registration(node, 4_711)))
}

fn epoch(sim: &Sim, node: u64) -> Epoch {
    sim.machine.nodes().get(&NodeId(node)).unwrap().epoch
}

// Goal: R7. A node whose state diverged gets no new life on that disk, however often it asks, and
// leaves no trace in the log's state by asking.
#[test]
fn a_diverged_node_does_not_come_back() {
    let mut sim = Sim::center();
    let report = |digest| Command::ReportDigest { index: 512, digest: Digest(digest) };
    for (node, digest) in [(1, 7), (3, 8), (2, 7)] {
        sim.propose(node, report(digest)).unwrap();
    }
    assert!(sim.last.effects.contains(&Effect::Diverged { node: NodeId(3), index: 512 }));
    let node = NodeId(3);
    let refused = Err(Rejection::NodeMustBeTrusted { node, index: 512 });
    let before = epoch(&sim, 3);
    assert_eq!(come_back(&mut sim, 3), refused);
    assert_eq!(come_back(&mut sim, 3), refused);
    assert_eq!(sim.first(3, Command::AdmitNode(admission(3, "nyc"))), refused);
    assert_eq!(epoch(&sim, 3), before);
    // It is removed, and that is the end of its number and disk.
    remove(&mut sim, 3, 1).unwrap();
    assert_eq!(come_back(&mut sim, 3), Err(Rejection::NodeMustNotBeRemoved(node)));
}

// Goal: D1. A removed node's number and disk stay refused for ever, also after a restart from the
// rows; a node that runs cannot be removed.
#[test]
fn a_removed_node_stays_out() {
    let mut sim = Sim::center();
    assert_eq!(remove(&mut sim, 3, 1), Err(Rejection::NodeMustBeStopped(NodeId(3))));
    lost(&mut sim, 3, 1);
    remove(&mut sim, 3, 1).unwrap();
    sim.time += 1_000;
    let row = sim.machine.nodes().get(&NodeId(3)).unwrap().clone();
    remove(&mut sim, 3, 1).unwrap();
    assert_eq!(sim.machine.nodes().get(&NodeId(3)), Some(&row), "twice is once");
    assert!(matches!(row.life, NodeLife::Removed { .. }));

    sim.machine = sim.reloaded();
    let out = Err(Rejection::NodeMustNotBeRemoved(NodeId(3)));
    assert_eq!(come_back(&mut sim, 3), out);
    assert_eq!(sim.first(3, Command::AdmitNode(admission(3, "nyc"))), out);
    let mut emptied = admission(3, "nyc");
    emptied.disk = DiskId(999);
    assert_eq!(sim.first(3, Command::AdmitNode(emptied)), out);
    let refused = sim.propose(3, Command::ReserveLegIds { count: 1 });
    assert!(matches!(refused, Err(Rejection::Fenced { .. })), "{refused:?}");

    // Its disk does not come back under another number; its name may.
    let mut again = admission(4, "nyc");
    again.name = name("n3");
    again.disk = DiskId(103);
    let refused = sim.first(4, Command::AdmitNode(again.clone()));
    assert_eq!(refused, Err(Rejection::DiskMustBeNew(NodeId(3))));
    again.disk = DiskId(104);
    sim.first(4, Command::AdmitNode(again)).unwrap();
    assert!(sim.machine.indexes_are_true());
    assert_eq!(sim.machine, sim.reloaded());
}

// Goal: a node may be removed while its legs are still being taken over: they get living owners as
// after its loss, in the same way and to the last one.
#[test]
fn removal_changes_nothing_for_the_legs() {
    let run = |removed: bool| {
        let mut sim = Sim::center();
        let legs: Vec<_> = (0..300).map(|_| sim.call(1)).collect();
        lost(&mut sim, 1, 2);
        assert!(sim.machine.has_work());
        if removed {
            remove(&mut sim, 1, 2).unwrap();
        }
        while sim.machine.has_work() {
            sim.propose(2, Command::ContinueWork).unwrap();
        }
        assert!(sim.machine.indexes_are_true());
        let owner = |id| (sim.leg(id).owner, sim.leg(id).epoch);
        let goals: Vec<_> = legs.iter().map(|id| sim.machine.view(*id).unwrap().relay).collect();
        (legs.iter().map(|id| owner(*id)).collect::<Vec<_>>(), goals)
    };
    let (removed, kept) = (run(true), run(false));
    assert_eq!(removed, kept);
    assert!(removed.0.iter().all(|(owner, _)| owner.node != NodeId(1)));
    assert!(removed.1.iter().all(Option::is_some), "their relay may still have their audio");
}

// Goal: a relay's name stands for one relay: it is refused to a second member, and goes over from a
// removed node to the next who uses it.
#[test]
fn relay_names_are_unique() {
    let mut sim = Sim::center();
    sim.first(4, Command::AdmitNode(admission(4, "nyc"))).unwrap();
    let mut same = registration(4, 1);
    same.relay = registration(3, 1).relay;
    let refused = sim.first(4, Command::RegisterNode(same.clone()));
    assert_eq!(refused, Err(Rejection::RelayNameMustBeFree(name("r3"))));
    lost(&mut sim, 3, 1);
    remove(&mut sim, 3, 1).unwrap();
    let holder = |sim: &Sim| sim.machine.node_of_relay(&name("r3")).map(|node| node.id);
    assert_eq!(holder(&sim), Some(NodeId(3)));
    sim.first(4, Command::RegisterNode(same)).unwrap();
    assert_eq!(holder(&sim), Some(NodeId(4)));
    assert!(sim.machine.indexes_are_true());
}

// Goal: the majority that judges digests is one of members: removed nodes neither vote nor count.
#[test]
fn removed_nodes_do_not_vote() {
    let mut sim = Sim::center();
    for node in [4, 5] {
        sim.first(node, Command::AdmitNode(admission(node, "nyc"))).unwrap();
        sim.register(node);
    }
    for node in [4, 5] {
        lost(&mut sim, node, 1);
        remove(&mut sim, node, 1).unwrap();
    }
    let report = |digest| Command::ReportDigest { index: 512, digest: Digest(digest) };
    for (node, digest) in [(3, 8), (1, 7), (2, 7)] {
        sim.propose(node, report(digest)).unwrap();
    }
    let diverged = Effect::Diverged { node: NodeId(3), index: 512 };
    assert!(sim.last.effects.contains(&diverged), "two of three members are a majority");
}

// Goal: the version in force is supported by every member: it is raised only when all support it,
// also those that are down, and nobody comes back with less.
#[test]
fn the_machine_version_needs_every_member() {
    let (now, next) = (MACHINE_VERSION, MACHINE_VERSION + 1);
    let mut sim = Sim::over(Machine::new(common::GROUP));
    let supports = |sim: &mut Sim, node, supports| {
        let boot = sim.next_boot(node);
        let register = RegisterNode { boot, supports, ..registration(node, 0) };
        let reply = sim.first(node, Command::RegisterNode(register));
        if let Ok(tandem_cluster::command::Reply::Registered { epoch, .. }) = reply {
            sim.lives.insert(node, (epoch, 1));
        }
        reply
    };
    let raise = |sim: &mut Sim| sim.propose(1, Command::RaiseMachineVersion { to: next });
    let behind = |node, supports| {
        Err(Rejection::VersionMustBeSupported { to: next, node: NodeId(node), supports })
    };
    supports(&mut sim, 1, next).unwrap();
    supports(&mut sim, 2, next).unwrap();
    assert_eq!(raise(&mut sim), behind(3, now));
    lost(&mut sim, 3, 1);
    assert_eq!(raise(&mut sim), behind(3, now), "it would come back with its old program");
    sim.first(4, Command::AdmitNode(admission(4, "nyc"))).unwrap();
    supports(&mut sim, 3, next).unwrap();
    assert_eq!(raise(&mut sim), behind(4, now), "a newcomer has not said what it supports");
    remove(&mut sim, 4, 1).unwrap();
    raise(&mut sim).unwrap();
    assert_eq!(sim.machine.header().machine_version, next);
    let rows: Vec<_> = sim.machine.stored_rows().collect();
    let loaded = Machine::load(common::GROUP, rows.into_iter().map(Ok::<_, ()>));
    assert!(
        matches!(loaded, Err(LoadError::NewerMachine { version }) if version == next),
        "this program does not know that version"
    );

    let mut sim = Sim::center();
    let refused = supports(&mut sim, 2, 0);
    let (node, in_force) = (NodeId(2), now);
    let wanted = Rejection::NodeMustSupportVersion { node, supports: 0, in_force };
    assert_eq!(refused, Err(wanted));
    supports(&mut sim, 2, now).unwrap();
}

// Goal: a command that a member may not know is refused until the version that knows it is in force; nothing
// changes before.
#[test]
fn new_commands_wait_for_their_version() {
    let anchor = |sim: &mut Sim| {
        let utc = tandem_routing::time::UtcMillis(1);
        sim.propose(1, Command::Queue(tandem_routing::command::Command::AnchorWall { utc }))
    };
    let mut sim = Sim::of_version(1);
    assert_eq!(anchor(&mut sim), Err(Rejection::VersionMustBeInForce { needs: 2, in_force: 1 }));
    assert_eq!(sim.machine.queue().counters().wall, None);
    sim.propose(1, Command::RaiseMachineVersion { to: 2 }).unwrap();
    anchor(&mut sim).unwrap();
    assert!(sim.machine.queue().counters().wall.is_some());
}

// Goal: R7. A program stops at an entry under rules that it does not know, before it applies any
// command under them.
#[test]
fn a_newer_machine_version_stops_an_old_program() {
    use tandem_cluster::command::{Batch, Envelope};
    use tandem_routing::time::{ClusterTime, Millis};
    let newer = MACHINE_VERSION + 1;
    let initialise = |machine_version| Envelope {
        node: NodeId(1),
        epoch: Epoch(0),
        sequence: 0,
        ack_below: 0,
        age: Millis(0),
        idempotency: None,
        command: Command::Initialise { cluster: ClusterId(9), machine_version },
    };
    let apply = |stamped, in_force| {
        let envelopes = vec![initialise(in_force), initialise(in_force)];
        let (group, time) = (common::GROUP, ClusterTime(0));
        let batch = Batch { machine_version: stamped, group, time, envelopes };
        Machine::new(group).apply(1, &batch.encode().unwrap()).map(|applied| applied.outcomes.len())
    };
    let stops = Err(BatchError::NewerMachine { version: newer });
    assert_eq!(apply(MACHINE_VERSION, MACHINE_VERSION), Ok(2));
    assert_eq!(apply(newer, MACHINE_VERSION), stops);
    assert_eq!(apply(MACHINE_VERSION, newer), stops);
}

// Goal: R7. What a node supports before it first registers does not depend on the program that
// applies its admission.
#[test]
fn an_admitted_node_supports_what_is_in_force() {
    let mut sim = Sim::center();
    sim.first(4, Command::AdmitNode(admission(4, "nyc"))).unwrap();
    let row = sim.machine.nodes().get(&NodeId(4)).unwrap();
    assert_eq!(row.supports, sim.machine.header().machine_version);
}

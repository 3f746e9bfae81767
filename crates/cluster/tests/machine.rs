//! The replicated machine from outside: exactly once, lives, takeover, containment, digests.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs, reason = "tests")]

mod common;

use common::{GROUP, Sim, TENANT, admission, name, registration};
use tandem_cluster::{
    command::{Command, Evidence, LegEnd, RegisterNode, Rejection, Reply, Report},
    history::EndedContact,
    ids::{DiskId, Epoch, LegEpoch, NodeId},
    leg::{Control, EndCause, EndingFrom, LegPhase, Transport},
    limits::{DIGEST_EVERY, TAKEOVER_WORK_MAX, WINDOW_MAX},
    machine::{Effect, Hooks, Machine},
    view::Goal,
};
use tandem_routing::{
    command::{Command as QueueCommand, DeclineCause, Readiness, Rejection as QueueRejection},
    entity::{ContactState, DeviceState, EndReason, NotReadyReason, SiteState, WorkState},
    invariants,
    limits::CONFIRM_HOLD_MS,
    time::ClusterTime,
};

fn lost(sim: &mut Sim, node: u64, by: u64) {
    let epoch = sim.lives[&node].0;
    let command = Command::NodeLost { node: NodeId(node), epoch, evidence: Evidence::LeaseExpired };
    sim.propose(by, command).unwrap();
}

fn device(sim: &Sim, agent: &str) -> DeviceState {
    sim.machine.queue().agent_named(TENANT, &name(agent)).unwrap().device
}

fn work(sim: &Sim, agent: &str) -> WorkState {
    sim.machine.queue().agent_named(TENANT, &name(agent)).unwrap().work.clone()
}

// Goal: one call from the door to the end: legs and queue move together, each in one entry.
#[test]
fn a_call_is_queued_offered_connected_and_ended() {
    let mut sim = Sim::center();
    let caller = sim.call(2);
    let ring = sim.machine.view(sim.agent_leg("amy").unwrap().id).unwrap();
    let Goal::Ring(ring) = ring.goal else { panic!("{ring:?}") };
    assert_eq!((ring.invitation.agent, ring.invitation.called), (name("amy"), name("100")));
    assert_eq!(sim.machine.view(caller).unwrap().goal, Goal::Treat);

    sim.answer("amy").unwrap();
    let amys = sim.agent_leg("amy").unwrap().id;
    for (leg, other) in [(caller, amys), (amys, caller)] {
        let Goal::Talk(bridge) = sim.machine.view(leg).unwrap().goal else { panic!("{leg}") };
        assert_eq!(bridge.leg, other);
        assert!(bridge.relay.is_some());
    }
    let changed: Vec<_> = sim.last.effects.clone();
    assert!(changed.contains(&Effect::LegChanged(caller)), "the other side is told: {changed:?}");

    let end = Command::LegEnded(sim.fact(caller, LegEnd::PeerHungUp));
    sim.propose(2, end).unwrap();
    assert_eq!(sim.last.history.len(), 1);
    assert!(sim.machine.view(caller).is_none());
    let goal = sim.machine.view(amys).unwrap().goal;
    assert_eq!(goal, Goal::End { from: EndingFrom::Active, cause: EndCause::PeerHungUp });
    let done = Command::LegEnded(sim.fact(amys, LegEnd::Done));
    sim.propose(1, done).unwrap();
    assert!(sim.machine.legs().is_empty());
    assert_eq!(work(&sim, "amy"), WorkState::Ready);
}

// Goal: R9. The same number applies once and gets the same reply; numbers below the window are
// refused, numbers beyond it too; an idempotency key holds across numbers.
#[test]
fn commands_apply_exactly_once() {
    let mut sim = Sim::center();
    let mut envelope = sim.envelope(1, Command::ReserveLegIds { count: 10 });
    let first = sim.apply(vec![envelope.clone()]);
    let digest = sim.digest();
    assert_eq!(sim.apply(vec![envelope.clone()]), first);
    assert_eq!(sim.digest(), digest, "a retry changes nothing");
    assert_eq!(sim.machine, sim.reloaded(), "also after a restart from the rows");

    let ack_below = envelope.sequence + 1;
    let next = sim.envelope(1, Command::ReserveLegIds { count: 10 });
    assert_eq!(next.ack_below, ack_below);
    sim.apply(vec![next]);
    let old = sim.apply(vec![envelope.clone()]).remove(0);
    assert_eq!(old, Err(Rejection::TooOld { sequence: envelope.sequence, ack_below }));

    envelope.sequence = ack_below + WINDOW_MAX;
    envelope.ack_below = ack_below;
    let beyond = sim.apply(vec![envelope.clone()]).remove(0);
    assert!(matches!(beyond, Err(Rejection::WindowExceeded { .. })), "{beyond:?}");
    envelope.sequence -= 1;
    assert!(sim.apply(vec![envelope]).remove(0).is_ok(), "the last number of the window");

    let mut keyed = sim.envelope(2, Command::ReserveLegIds { count: 1 });
    keyed.idempotency = Some("order-7".into());
    let first = sim.apply(vec![keyed.clone()]);
    keyed.sequence += 1;
    assert_eq!(sim.apply(vec![keyed.clone()]), first, "the key decides");
    sim.time += 600_000;
    sim.propose(1, Command::ExpireDue).unwrap();
    keyed.sequence += 1;
    assert_ne!(sim.apply(vec![keyed]), first, "the key is forgotten after its time");
}

// Goal: a later life ends the earlier one: its commands are refused, its legs are taken over.
#[test]
fn a_new_life_fences_the_old_one() {
    let mut sim = Sim::center();
    let caller = sim.call(1);
    let old = sim.envelope(1, Command::ReserveLegIds { count: 1 });
    let epoch = sim.register(1);
    assert!(sim.last.effects.contains(&Effect::LifeEnded { node: NodeId(1), epoch: old.epoch }));
    assert_eq!(
        sim.apply(vec![old.clone()]).remove(0),
        Err(Rejection::Fenced { node: NodeId(1), epoch: old.epoch, current: epoch })
    );
    let leg = sim.leg(caller);
    assert_eq!((leg.owner, leg.epoch), (sim.owner(1), LegEpoch(2)), "same site first");
    assert!(matches!(leg.control, Control::Recovering { .. }));
    // The same boot asks again: the same life.
    let boot = sim.machine.nodes().get(&NodeId(1)).unwrap().boot;
    let same = RegisterNode { boot, ..registration(1, 0) };
    let again = sim.first(1, Command::RegisterNode(same.clone()));
    assert!(matches!(again, Ok(Reply::Registered { epoch: same, .. }) if same == epoch));
    // The next life; then a copy of the registration of the one before arrives: it ends nothing.
    let next = sim.register(1);
    assert_eq!(
        sim.first(1, Command::RegisterNode(same)),
        Err(Rejection::LifeMustBeTheLast { node: NodeId(1), epoch: next })
    );
    assert!(sim.machine.nodes().get(&NodeId(1)).unwrap().is_up());
    assert_eq!(sim.machine.nodes().get(&NodeId(1)).unwrap().epoch, next);
}

// Goal: D1. A node id lives and dies with its disk; names are not taken twice.
#[test]
fn an_emptied_disk_under_an_old_id_is_refused() {
    let mut sim = Sim::center();
    let mut empty = registration(2, 77);
    empty.disk = DiskId(999);
    let refused = sim.first(2, Command::RegisterNode(empty));
    let (expected, given) = (DiskId(102), DiskId(999));
    assert_eq!(refused, Err(Rejection::DiskMustMatch { node: NodeId(2), expected, given }));
    let mut again = admission(2, "fra");
    again.disk = DiskId(999);
    let refused = sim.first(2, Command::AdmitNode(again));
    assert!(matches!(refused, Err(Rejection::DiskMustMatch { .. })));
    let mut other = admission(4, "fra");
    other.name = name("n2");
    let refused = sim.first(4, Command::AdmitNode(other));
    assert_eq!(refused, Err(Rejection::NameMustBeFree(name("n2"))));
    let stranger = sim.first(9, Command::RegisterNode(registration(9, 1)));
    assert_eq!(stranger, Err(Rejection::NodeMustBeMember(NodeId(9))));
}

// Goal: a waiting caller whose node is lost keeps the place, is offered to nobody until the leg
// answers its new owner, and then goes first.
#[test]
fn ghost_callers_are_not_offered() {
    let mut sim = Sim::center();
    for agent in ["amy", "bob", "cy"] {
        let to = tandem_routing::command::Readiness::NotReady(None);
        sim.queue(QueueCommand::SetReadiness { tenant: TENANT, agent: name(agent), to }).unwrap();
    }
    let (ghost, other) = (sim.call(1), sim.call(2));
    lost(&mut sim, 1, 2);
    let contact = |sim: &Sim, leg| {
        let id = sim.leg(leg).contact;
        sim.machine.queue().contacts().get(&id).unwrap().state
    };
    assert_eq!(contact(&sim, ghost), ContactState::Unconfirmed);
    let to = tandem_routing::command::Readiness::Ready;
    let ready = QueueCommand::SetReadiness { tenant: TENANT, agent: name("bob"), to };
    sim.propose(2, Command::Queue(ready)).unwrap();
    assert_eq!(contact(&sim, other), ContactState::Queued, "bob is held for the first one");
    sim.time += CONFIRM_HOLD_MS - 1;
    sim.propose(2, Command::ExpireDue).unwrap();
    assert_eq!(contact(&sim, other), ContactState::Queued, "still");
    assert_eq!(sim.machine.next_deadline(), Some(ClusterTime(CONFIRM_HOLD_MS)));
    sim.time += 1;
    sim.propose(2, Command::ExpireDue).unwrap();
    assert!(matches!(contact(&sim, other), ContactState::Offered { .. }), "the next one is asked");
    assert_eq!(contact(&sim, ghost), ContactState::Unconfirmed);

    let to = tandem_routing::command::Readiness::Ready;
    let ready = QueueCommand::SetReadiness { tenant: TENANT, agent: name("cy"), to };
    sim.propose(2, Command::Queue(ready)).unwrap();
    let taker = sim.leg(ghost).owner.node.0;
    let confirm = Command::LegConfirmed(sim.fact(ghost, Box::<Report>::default()));
    sim.propose(taker, confirm).unwrap();
    assert!(matches!(contact(&sim, ghost), ContactState::Offered { .. }));
    assert_eq!(sim.leg(ghost).control, Control::Held);
    assert_eq!(invariants::check(sim.machine.queue()), vec![]);
}

// Goal: callers who are taken over reach the agents in their old order: an agent who is free before
// they have answered is held for them, whoever answers first, and whoever comes in meanwhile.
#[test]
fn the_order_survives_a_takeover() {
    let mut sim = Sim::center();
    let ready = |sim: &mut Sim, agent, to| {
        let set = QueueCommand::SetReadiness { tenant: TENANT, agent: name(agent), to };
        sim.propose(2, Command::Queue(set)).unwrap();
    };
    for agent in ["amy", "bob", "cy"] {
        ready(&mut sim, agent, Readiness::NotReady(None));
    }
    let (first, second, third) = (sim.call(1), sim.call(1), sim.call(2));
    lost(&mut sim, 1, 2);
    for agent in ["bob", "cy"] {
        ready(&mut sim, agent, Readiness::Ready);
    }
    sim.call(3);
    assert!(sim.machine.queue().offers().is_empty(), "both are held");
    for leg in [second, first] {
        assert!(sim.machine.queue().offers().is_empty(), "the first one has not answered");
        let taker = sim.leg(leg).owner.node.0;
        let confirm = Command::LegConfirmed(sim.fact(leg, Box::<Report>::default()));
        sim.propose(taker, confirm).unwrap();
    }
    let made: Vec<_> = sim.machine.queue().offers().iter().map(|row| row.contact).collect();
    assert_eq!(made, [sim.leg(first).contact, sim.leg(second).contact]);
    ready(&mut sim, "amy", Readiness::Ready);
    let made: Vec<_> = sim.machine.queue().offers().iter().map(|row| row.contact).collect();
    assert_eq!(made[2..], [sim.leg(third).contact]);
    assert_eq!(invariants::check(sim.machine.queue()), vec![]);
}

// Goal: a caller who hung up while their node was dead ends with a reason, offered to nobody, and
// has a reserved place (the end may have been ours).
#[test]
fn a_caller_who_left_in_the_meantime_is_ended() {
    let mut sim = Sim::center();
    let ghost = sim.call(1);
    assert!(sim.agent_leg("amy").is_some());
    lost(&mut sim, 1, 3);
    let leg = sim.leg(ghost).clone();
    // The phone of amy, which rang for the lost node, is not asked again; nobody else is either.
    assert_eq!(device(&sim, "amy"), DeviceState::Recovering);
    assert!(sim.agent_leg("bob").is_none());
    assert!(sim.agent_leg("cy").is_none());
    let ended = Command::LegEnded(sim.fact(ghost, LegEnd::PeerGone));
    sim.propose(leg.owner.node.0, ended).unwrap();
    assert!(sim.machine.queue().contacts().is_empty());
    assert_eq!(sim.machine.queue().reservations().len(), 1);
    assert!(sim.agent_leg("bob").is_none());
}

// Goal: a caller whom the log took in after they had been refused ends as turned away, and leaves no
// place behind: the next try is in the line already, and must not be overtaken by a third.
#[test]
fn a_caller_who_was_refused_in_the_meantime_is_turned_away() {
    let mut sim = Sim::center();
    let caller = sim.call(1);
    let ended = Command::LegEnded(sim.fact(caller, LegEnd::TurnedAway));
    sim.propose(1, ended).unwrap();
    let value = sim.last.history[0].value.as_ref().unwrap();
    assert_eq!(EndedContact::read(value).unwrap().reason, EndReason::TurnedAway);
    assert!(sim.machine.queue().contacts().is_empty());
    assert!(sim.machine.queue().reservations().is_empty());
}

// Goal: conversations go on when either side's node is lost, with a new owner and a higher epoch;
// the lost node's facts are refused.
#[test]
fn a_conversation_survives_its_owners() {
    for (node, by) in [(1, 2), (2, 3)] {
        let mut sim = Sim::center();
        let caller = sim.call(2);
        sim.answer("amy").unwrap();
        let amys = sim.agent_leg("amy").unwrap().id;
        let mine = if node == 1 { amys } else { caller };
        let old = sim.leg(mine).clone();
        let late = Command::LegEnded(sim.fact(mine, LegEnd::PeerHungUp));
        lost(&mut sim, node, by);
        let leg = sim.leg(mine).clone();
        assert_ne!(leg.owner, old.owner);
        assert_eq!(leg.epoch, LegEpoch(2));
        let reserved = |leg: &tandem_cluster::leg::Leg| {
            let dialog = leg.dialog.as_ref().unwrap();
            (dialog.local_cseq_reserved, dialog.sdp_version_reserved)
        };
        let (cseq, version) = reserved(&old);
        assert_eq!(reserved(&leg), (cseq + 64, version + 64), "the taker has numbers of its own");
        let contact = sim.machine.queue().contacts().get(&leg.contact).unwrap().state;
        assert!(matches!(contact, ContactState::Connected { .. }));
        assert!(matches!(sim.machine.view(mine).unwrap().goal, Goal::Talk(_)));
        assert_eq!(device(&sim, "amy"), DeviceState::Registered, "a UDP phone stays in reach");
        let refused = sim.propose(node, late);
        assert!(matches!(refused, Err(Rejection::Fenced { .. })), "{refused:?}");
    }
}

// Goal: a ringing offer of a lost node goes to another agent in the same entry, without blame; the
// taker has the old leg to cancel; the phone comes back by a sign of life.
#[test]
fn a_ringing_offer_goes_elsewhere() {
    let mut sim = Sim::center();
    let caller = sim.call(2);
    let ringing = sim.agent_leg("amy").unwrap().id;
    lost(&mut sim, 1, 2);
    let old = sim.leg(ringing);
    assert_eq!(
        old.phase,
        LegPhase::Ending { from: EndingFrom::Inviting, cause: EndCause::OfferWithdrawn }
    );
    assert_ne!(old.owner.node, NodeId(1));
    assert_eq!(
        (work(&sim, "amy"), device(&sim, "amy")),
        (WorkState::Ready, DeviceState::Recovering)
    );
    assert!(sim.agent_leg("bob").is_some(), "another agent at once");
    assert_eq!(sim.leg(caller).epoch, LegEpoch(1), "the caller's node lives");
    let amy = sim.machine.queue().agent_named(TENANT, &name("amy")).unwrap().id;
    sim.propose(2, Command::DeviceAlive { agent: amy }).unwrap();
    assert_eq!(device(&sim, "amy"), DeviceState::Registered);
}

// Goal: a phone on a connection is out of reach when its node is lost, its agent stays logged in,
// and a new registration brings it back.
#[test]
fn a_phone_on_a_lost_connection_recovers_by_registering() {
    let mut sim = Sim::center();
    let amy = sim.machine.queue().agent_named(TENANT, &name("amy")).unwrap().id;
    let (tenant, contact_uri) = (TENANT, String::new());
    sim.propose(1, Command::RemoveBinding { tenant, agent: amy, contact_uri }).unwrap();
    assert_eq!(device(&sim, "amy"), DeviceState::Unregistered);
    sim.bind(1, "amy", Transport::Tcp).unwrap();
    assert_eq!(device(&sim, "amy"), DeviceState::Registered);
    lost(&mut sim, 1, 2);
    assert_eq!(
        (work(&sim, "amy"), device(&sim, "amy")),
        (WorkState::Ready, DeviceState::Recovering)
    );
    sim.bind(2, "amy", Transport::Tcp).unwrap();
    assert_eq!(device(&sim, "amy"), DeviceState::Registered);
}

// Goal: an agent whose leg is lost for good gives the caller back to the queue, at the old place. One
// whose phone answered that it knows no such call is ready again; a phone that is silent or fails is
// not used again until somebody looks at it.
#[test]
fn a_caller_whose_agent_vanished_is_queued_again() {
    let failed = WorkState::NotReady(NotReadyReason::DeviceFailed);
    for (how, after) in [
        (LegEnd::PeerGone, WorkState::Ready),
        (LegEnd::PeerSilent, failed.clone()),
        (LegEnd::Failed, failed),
    ] {
        let mut sim = Sim::center();
        let caller = sim.call(2);
        sim.answer("amy").unwrap();
        let amys = sim.agent_leg("amy").unwrap().id;
        let arrival = sim.machine.queue().contacts().iter().next().unwrap().arrival;
        sim.time += 5_000;
        let gone = Command::LegEnded(sim.fact(amys, how));
        sim.propose(1, gone).unwrap();
        let contact = sim.machine.queue().contacts().iter().next().unwrap();
        assert_eq!(contact.arrival, arrival);
        let amy = sim.machine.queue().agent_named(TENANT, &name("amy")).unwrap();
        let ContactState::Offered { agent, .. } = contact.state else { panic!("{contact:?}") };
        assert_ne!(agent, amy.id, "offered to another agent");
        assert_eq!(sim.machine.view(caller).unwrap().goal, Goal::Treat);
        assert_eq!((&amy.work, amy.device), (&after, DeviceState::Registered), "{how:?}");
    }
}

// Goal: an agent who hung up while node and caller were in doubt, and who is the only one, gets the
// caller again by a new leg once the caller has answered; the lost leg's end does not touch that one.
#[test]
fn the_only_agent_gets_the_same_caller_again() {
    let mut sim = Sim::center();
    for agent in ["bob", "cy"] {
        let agent = name(agent);
        sim.queue(QueueCommand::LogOut { tenant: TENANT, agent }).unwrap();
    }
    let caller = sim.call(1);
    sim.answer("amy").unwrap();
    let amys = sim.agent_leg("amy").unwrap().id;
    lost(&mut sim, 1, 2);
    let taker = sim.leg(amys).owner.node.0;
    sim.propose(taker, Command::LegEnded(sim.fact(amys, LegEnd::PeerGone))).unwrap();
    assert_eq!(work(&sim, "amy"), WorkState::Ready);
    assert!(sim.machine.queue().offers().is_empty(), "no ghost caller is offered");
    let taker = sim.leg(caller).owner.node.0;
    let confirm = Command::LegConfirmed(sim.fact(caller, Box::<Report>::default()));
    sim.propose(taker, confirm).unwrap();
    let again = sim.agent_leg("amy").unwrap();
    assert_eq!((again.contact, &again.phase), (sim.leg(caller).contact, &LegPhase::Inviting));
    assert_ne!(again.id, amys);
}

// Goal: an answer that lost the race is refused, and its dialog is kept to be ended.
#[test]
fn a_late_answer_is_ended_not_connected() {
    let mut sim = Sim::center();
    let caller = sim.call(2);
    let ringing = sim.agent_leg("amy").unwrap().clone();
    let end = Command::LegEnded(sim.fact(caller, LegEnd::PeerHungUp));
    sim.propose(2, end).unwrap();
    let fact = Box::new(common::answered(&ringing, 1));
    let late = sim.propose(1, Command::LegAnswered(sim.fact(ringing.id, fact)));
    assert_eq!(late, Ok(Reply::AnsweredTooLate));
    let leg = sim.leg(ringing.id);
    assert_eq!(
        leg.phase,
        LegPhase::Ending { from: EndingFrom::Active, cause: EndCause::OfferWithdrawn }
    );
    assert!(leg.dialog.is_some(), "so that a BYE can be sent, also by a taker");
    assert_eq!(work(&sim, "amy"), WorkState::Ready);
}

// Goal: an answer that comes just after the log's backstop still connects, if nobody else was
// asked in between.
#[test]
fn an_answer_just_after_the_backstop_connects() {
    let mut sim = Sim::center();
    for agent in ["bob", "cy"] {
        sim.queue(QueueCommand::LogOut { tenant: TENANT, agent: name(agent) }).unwrap();
    }
    sim.call(2);
    sim.time += 20_000;
    sim.propose(1, Command::ExpireDue).unwrap();
    let leg = sim.agent_leg("amy").unwrap();
    assert!(matches!(leg.phase, LegPhase::Ending { from: EndingFrom::Inviting, .. }));
    let reply = sim.answer("amy");
    assert!(matches!(reply, Ok(Reply::Queue(_))), "{reply:?}");
    let leg = sim.agent_leg("amy").unwrap();
    assert_eq!(leg.phase, LegPhase::Active);
    assert!(matches!(work(&sim, "amy"), WorkState::Busy(_)));
}

// Goal: a busy phone makes its agent not ready and the call goes on to the next agent.
#[test]
fn a_busy_phone_passes_the_call_on() {
    let mut sim = Sim::center();
    sim.call(2);
    let leg = sim.agent_leg("amy").unwrap().id;
    let failed = Command::LegFailed(sim.fact(leg, DeclineCause::Busy));
    sim.propose(1, failed).unwrap();
    assert!(matches!(work(&sim, "amy"), WorkState::NotReady(_)));
    assert!(sim.machine.legs().get(&leg).is_none());
    assert!(sim.agent_leg("bob").is_some());
}

// Goal: taking over more legs than one command may do is finished by the following ones, and the
// machine says that work is left.
#[test]
fn a_large_takeover_is_done_in_steps() {
    let mut sim = Sim::center();
    let queue = tandem_routing::command::QueueSpec {
        length_max: 2_000,
        ..tandem_routing::command::QueueSpec::named(name("sales"))
    };
    sim.queue(QueueCommand::PutQueue { tenant: TENANT, queue }).unwrap();
    let count = TAKEOVER_WORK_MAX + 10;
    let legs: Vec<_> = (0..count).map(|_| sim.call(1)).collect();
    lost(&mut sim, 1, 2);
    assert!(sim.machine.has_work());
    let left = |sim: &Sim| legs.iter().filter(|leg| sim.leg(**leg).owner.node.0 == 1).count();
    assert!(left(&sim) > 0);
    let mut steps = 0;
    while sim.machine.has_work() {
        sim.propose(2, Command::ContinueWork).unwrap();
        steps += 1;
        assert!(steps < 5);
    }
    assert_eq!(left(&sim), 0);
    let by_two = legs.iter().filter(|leg| sim.leg(**leg).owner.node.0 == 2).count();
    assert!((count / 2 - 3..=count / 2 + 3).contains(&by_two), "spread evenly: {by_two}");
}

// Goal: a panic inside one command is undone and recorded on every replica alike; the commands
// around it in the same entry apply; the queue works on.
#[test]
fn a_planted_panic_is_contained_alike() {
    let planted = || {
        let before_command = |command: &Command| {
            if matches!(command, Command::ReserveLegIds { count: 13 }) {
                panic!("planted");
            }
        };
        let hooks = Hooks { before_command: Some(Box::new(before_command)), tamper: None };
        Sim::over(Machine::new(GROUP).with_hooks(hooks))
    };
    let mut replicas = [planted(), planted(), planted()];
    let mut digests = Vec::new();
    for sim in &mut replicas {
        let batch = vec![
            sim.envelope(1, Command::ReserveLegIds { count: 1 }),
            sim.envelope(1, Command::ReserveLegIds { count: 13 }),
            sim.envelope(1, Command::ReserveLegIds { count: 2 }),
        ];
        let outcomes = sim.apply(batch.clone());
        assert!(outcomes[0].is_ok() && outcomes[2].is_ok());
        assert!(matches!(outcomes[1], Err(Rejection::Bug { .. })));
        assert!(sim.last.effects.iter().any(|effect| matches!(effect, Effect::Bug { .. })));
        let retried = sim.apply(vec![batch[1].clone()]);
        assert!(matches!(retried[0], Err(Rejection::TooOld { .. })), "the window moved on");
        sim.call(3);
        assert!(sim.agent_leg("amy").is_some(), "the queue works on");
        assert!(sim.machine.indexes_are_true());
        digests.push(sim.digest());
        assert_eq!(sim.machine, sim.reloaded());
    }
    assert_eq!(digests[0], digests[1]);
    assert_eq!(digests[1], digests[2]);
}

// Goal: a replica that diverged is found by the digests in the log and condemned; the majority
// goes on and takes its legs.
#[test]
fn a_planted_divergence_is_found() {
    let tamper = |index: u64, queue: &mut tandem_routing::state::State| {
        if index == 40 {
            let amy = queue.agents().iter().next().unwrap().id;
            queue.set_device(amy, DeviceState::Recovering, &mut Vec::new());
        }
    };
    let hooks = Hooks { before_command: None, tamper: Some(Box::new(tamper)) };
    let mut honest = Sim::center();
    let mut wrong = Sim::over(Machine::new(GROUP).with_hooks(hooks));
    let due = |sim: &Sim| {
        sim.last.effects.iter().find_map(|effect| match effect {
            Effect::DigestDue { index, digest } => Some((*index, *digest)),
            _ => None,
        })
    };
    while due(&honest).is_none() {
        for sim in [&mut honest, &mut wrong] {
            sim.propose(1, Command::ReserveLegIds { count: 1 }).unwrap();
        }
    }
    let ((index, right), (same, different)) = (due(&honest).unwrap(), due(&wrong).unwrap());
    assert_eq!((index, index % DIGEST_EVERY), (same, 0));
    assert_ne!(right, different);
    let report = |digest| Command::ReportDigest { index, digest };
    honest.propose(1, report(right)).unwrap();
    honest.propose(3, report(different)).unwrap();
    assert!(honest.last.effects.is_empty(), "one against one decides nothing");
    honest.propose(2, report(right)).unwrap();
    assert!(honest.last.effects.contains(&Effect::Diverged { node: NodeId(3), index }));
    let refused = honest.propose(3, Command::ReserveLegIds { count: 1 });
    assert!(matches!(refused, Err(Rejection::Fenced { .. })));
}

// Goal: an unreadable entry changes nothing and says why: damage and newer formats apart.
#[test]
fn unreadable_entries_are_refused() {
    use tandem_cluster::command::BatchError;
    let mut sim = Sim::center();
    let digest = sim.digest();
    for (entry, newer) in
        [(&[][..], false), (&[1], false), (&[1, 255, 255], false), (&[2, 0], true)]
    {
        let error = sim.machine.apply(999, entry).unwrap_err();
        assert_eq!(matches!(error, BatchError::NewerFormat { format: 2 }), newer, "{entry:?}");
    }
    assert_eq!(sim.digest(), digest);
}

// Goal: refusals of the queue reach the proposer with the rule that was broken.
#[test]
fn refusals_are_passed_on() {
    let mut sim = Sim::center();
    let (site, state) = (name("paris"), SiteState::Draining);
    let refused = sim.queue(QueueCommand::SetSiteState { site: site.clone(), state });
    assert_eq!(refused, Err(Rejection::Queue(QueueRejection::SiteMustExist(site))));
    assert_eq!(sim.machine.header().cluster.0, 9);
    assert_eq!(sim.lives[&1].0, Epoch(1));
}

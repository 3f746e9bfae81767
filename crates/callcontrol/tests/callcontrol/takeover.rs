//! Nodes, relays and both together are lost in the middle of calls; nodes freeze and wake up.

use tandem_callcontrol::{io::Note, limits::TAKEOVERS_PER_PEER_MAX};
use tandem_cluster::{ids::NodeId, leg::Control};
use tandem_routing::entity::{NotReadyReason, WorkState};

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks},
    net::Net,
    ua::{Call, OnCancel, Reaction, Respond, State},
};

/// Carol calls in at node 1 and talks with amy, whose phone is at node 2.
fn talking(seed: u64) -> World {
    let mut world = World::center(seed, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world.ua("carol").invite(NUMBER);
    world.expect(10_000, "they talk", |w| w.connected() == 1 && w.see("carol").is_up());
    world.run(3_000);
    assert_talks(&world);
    world
}

/// Carol waits at node 1; nobody is there to answer.
fn waiting(seed: u64) -> World {
    let mut world = World::center(seed, Net::clean());
    world.add_caller("carol", 1);
    world.ua("carol").invite(NUMBER);
    world.expect(2_000, "the caller is answered", |w| w.see("carol").is_up());
    world.run(1_000);
    world
}

fn owner_of(world: &World, caller: &str) -> u64 {
    world.caller_leg(caller).unwrap().owner.node.0
}

fn held(world: &World, caller: &str) -> bool {
    world.caller_leg(caller).is_some_and(|leg| leg.control == Control::Held)
}

fn reinvites(call: &Call) -> usize {
    call.requests.iter().filter(|(_, method, _)| method == "INVITE").count()
}

fn all_over(world: &mut World) {
    world.run(400_000);
    assert_at_rest(world);
}

fn began(world: &World) -> usize {
    let of = |node: &u64| world.noted(*node, |note| matches!(note, Note::TakeoverBegan { .. }));
    world.nodes.keys().map(of).sum()
}

// Goal: a conversation goes on when the node of either leg dies: one re-INVITE with a higher CSeq, a
// higher SDP version and the taker's Contact; then whoever hangs up reaches the taker.
#[test]
fn a_conversation_outlives_either_node() {
    for (dies, ua) in [(1, "carol"), (2, "amy")] {
        for (witness, ends) in [(true, "carol"), (true, "amy"), (false, "carol")] {
            let mut world = talking(dies);
            let (sdp, target) = {
                let call = world.see(ua).call();
                (call.peer_sdp.clone().unwrap(), call.peer_target.clone())
            };
            world.crash_node(dies, witness);
            world.expect(4_000, "the leg is confirmed", |w| {
                let legs = w.log.machine.legs();
                began(w) == 1
                    && legs
                        .iter()
                        .all(|leg| leg.owner.node != NodeId(dies) && leg.control == Control::Held)
            });
            world.run(1_000);
            let call = world.see(ua).call();
            assert_eq!(reinvites(call), 1);
            let now = call.peer_sdp.clone().unwrap();
            assert!(now.version > sdp.version, "{} after {}", now.version, sdp.version);
            assert_eq!((now.socket(), &now.session), (sdp.socket(), &sdp.session));
            assert_ne!(call.peer_target, target, "the Contact is the taker's");
            assert_talks(&world);
            world.ua(ends).hang_up();
            world.expect(3_000, "the call is over", |w| w.legs() == 0);
            all_over(&mut world);
        }
    }
}

// Goal: a waiting caller keeps leg and place when their node dies, is not offered before they
// confirmed, and is answered by an agent then.
#[test]
fn a_waiting_caller_keeps_the_place() {
    let mut world = waiting(1);
    world.ua("carol").plan.reinvited = Respond::Silent;
    world.crash_node(1, true);
    world.run(200);
    world.add_agent("amy", 2);
    world.run(5_000);
    // Audio of the caller's is a sign of life as well: without it nothing may ring.
    assert!(held(&world, "carol"), "the caller's audio confirms the leg");
    assert!(owner_of(&world, "carol") != 1);
    world.ua("carol").plan.reinvited = Respond::Ok;
    world.expect(40_000, "they talk", |w| w.connected() == 1 && w.see("amy").is_up());
    world.run(10_000);
    assert_talks(&world);
    world.ua("amy").hang_up();
    all_over(&mut world);
}

// Goal: a caller who vanished with the node is never put through to an agent, and is given up in
// the end; the edge: with a sign of life they are.
#[test]
fn a_ghost_caller_rings_nobody() {
    let mut world = waiting(1);
    world.ua("carol").alive = false;
    world.crash_node(1, true);
    world.run(200);
    world.add_agent("amy", 2);
    world.run(1_700_000);
    assert!(world.see("amy").calls.is_empty(), "nobody is put through to silence");
    assert_eq!(world.legs(), 1, "tried until a call without session timer is given up");
    world.run(300_000);
    assert_eq!(world.legs(), 0);
    all_over(&mut world);
}

// Goal: what a peer answers to the takeover settles it as the design says; a call is never ended
// because a takeover failed.
#[test]
fn what_the_peer_answers() {
    // Status, the call stands after 10 s, re-INVITEs by then.
    let rows = [
        (Respond::Ok, true, 1..=1),
        (Respond::Status(481), false, 1..=1),
        (Respond::Status(404), false, 1..=1),
        (Respond::Status(491), true, 2..=14),
        (Respond::Status(403), true, 1..=1),
        (Respond::Status(488), true, 1..=1),
        (Respond::Status(500), true, 2..=5),
        (Respond::Status(503), true, 2..=5),
        (Respond::Silent, true, 1..=1),
    ];
    for (answer, stands, asked) in rows {
        let mut world = talking(3);
        world.ua("carol").plan.reinvited = answer;
        world.crash_node(1, true);
        world.run(10_000);
        let call = world.see("carol").call();
        assert!(asked.contains(&reinvites(call)), "{answer:?}: {}", reinvites(call));
        assert_eq!(world.connected() == 1, stands, "{answer:?}\n{}", world.describe());
        if stands {
            assert_talks(&world);
            // The carrier does not follow the new Contact when it refused it.
            world.ua("amy").hang_up();
            world.expect(40_000, "the call is over", |w| w.legs() == 0);
        } else {
            world.expect(40_000, "the agent is free", |w| w.legs() == 0);
        }
        world.ua("carol").hang_up();
        all_over(&mut world);
    }
}

// Goal: a peer that does not answer for a while is asked again until it does.
#[test]
fn a_silent_peer_is_asked_again() {
    let mut world = talking(4);
    world.ua("carol").plan.reinvited = Respond::Silent;
    world.crash_node(1, true);
    world.run(45_000);
    assert_eq!(world.connected(), 1);
    world.ua("carol").plan.reinvited = Respond::Ok;
    world.expect(40_000, "the takeover is kept", |w| {
        [2, 3].iter().any(|n| w.noted(*n, |note| matches!(note, Note::TakeoverKept { .. })) > 0)
    });
    world.run(1_000);
    assert_talks(&world);
    world.ua("carol").hang_up();
    all_over(&mut world);
}

// Goal: the taker dies too, at every moment of its takeover; the third node ends up with the leg.
#[test]
fn a_second_death_during_the_takeover() {
    for after in [0, 5, 10, 15, 20, 30, 50, 100, 1_000] {
        let mut world = talking(5);
        world.crash_node(1, true);
        world.expect(2_000, "somebody takes over", |w| owner_of(w, "carol") != 1);
        let taker = owner_of(&world, "carol");
        world.run(after);
        world.crash_node(taker, true);
        world.expect(10_000, "the last node has both legs", |w| {
            let legs = w.log.machine.legs();
            legs.iter().all(|leg| leg.owner.node.0 == 5 - taker && leg.control == Control::Held)
        });
        world.run(2_000);
        assert_talks(&world);
        world.ua("carol").hang_up();
        world.expect(3_000, "the call is over", |w| w.legs() == 0);
        all_over(&mut world);
    }
}

// Goal: a phone that rings for a dead node is cancelled by the taker as if by the dead one, and the
// caller is offered to another agent at once.
#[test]
fn a_ringing_phone_of_a_dead_node() {
    let mut world = World::center(6, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world.ua("amy").plan.invited = Reaction::Rings(100);
    world.ua("carol").invite(NUMBER);
    world.expect(5_000, "amy rings", |w| {
        w.see("amy").heard.iter().any(|(_, l)| l.starts_with("INVITE"))
    });
    world.run(500);
    world.add_agent("bob", 3);
    world.crash_node(2, true);
    world.expect(5_000, "bob talks", |w| w.connected() == 1 && w.see("bob").is_up());
    world.run(1_000);
    assert_talks(&world);
    let call = &world.see("amy").calls[0];
    assert_eq!(call.status, Some(487), "the very INVITE was cancelled");
    // Amy showed a sign of life: she is called again when there is somebody.
    world.ua("amy").plan.invited = Reaction::Answers(100, 500);
    world.add_caller("dave", 1);
    world.ua("dave").invite(NUMBER);
    world.expect(15_000, "amy talks", |w| w.connected() == 2 && w.see("amy").is_up());
    world.ua("carol").hang_up();
    world.ua("dave").hang_up();
    all_over(&mut world);
}

// Goal: a phone whose answer the log never heard of is not left in a call with nobody: it is ended,
// and the caller is offered again. Also when the phone's tag had not reached the log.
#[test]
fn an_answer_that_died_with_its_node() {
    for slow in [0, 3_000] {
        let mut world = World::center(7, Net::clean());
        world.add_caller("carol", 1);
        world.add_agent("amy", 2);
        // Answers one second after ringing.
        world.ua("amy").plan.invited = Reaction::Answers(100, 1_000);
        world.ua("carol").invite(NUMBER);
        world.expect(5_000, "amy rings", |w| w.see("amy").calls.len() == 1);
        world.log_slow = slow;
        world.run(600);
        world.log_slow = 3_000;
        world.expect(5_000, "amy answers", |w| w.see("amy").is_up());
        world.run(20);
        world.crash_node(2, true);
        world.log_slow = 0;
        world.add_agent("bob", 3);
        world.expect(10_000, "bob talks", |w| w.connected() == 1 && w.see("bob").is_up());
        world.ua("carol").hang_up();
        world.run(40_000);
        if slow == 0 {
            assert!(world.see("amy").calls[0].ended_by_peer, "{}", world.describe());
        }
        world.ua("amy").hang_up();
        all_over(&mut world);
    }
}

// Goal: many takeovers towards one carrier are paced, and nobody is forgotten, whatever some answer.
#[test]
fn takeovers_in_bulk() {
    let mut world = World::center(8, Net::clean());
    world.add_caller("carrier", 1);
    let calls = TAKEOVERS_PER_PEER_MAX * 2 + 30;
    for _ in 0..calls {
        world.ua("carrier").invite(NUMBER);
        world.run(5);
    }
    world.run(3_000);
    assert_eq!(world.legs(), calls);
    world.crash_node(1, true);
    let mut most = 0;
    for _ in 0..5_000 {
        world.run(1);
        let asking = |n: &u64| {
            let process = world.nodes[n].process.as_ref();
            process.map_or(0, |process| process.control.load().takeovers_asking)
        };
        most = world.nodes.keys().map(asking).max().unwrap_or(0).max(most);
    }
    assert_eq!(most, TAKEOVERS_PER_PEER_MAX, "as many as allowed, no more");
    assert_eq!(world.legs(), calls);
    assert!(world.log.machine.legs().iter().all(|leg| leg.control == Control::Held));
    assert!(world.see("carrier").calls.iter().all(|call| reinvites(call) == 1));
    world.ua("carrier").hang_up();
    all_over(&mut world);
}

// Goal: a node that stood still past its lease says nothing for legs that were taken over, answers
// requests of peers that do not know yet without ending their calls, and serves again afterwards.
#[test]
fn a_frozen_node_wakes_up() {
    for frozen in [1_500, 5_000, 40_000] {
        let mut world = talking(9);
        let silent = world.see("carol").call().requests.len();
        world.freeze_node(1, frozen);
        world.expect(3_000, "another node takes the leg", |w| owner_of(w, "carol") != 1);
        world.run(frozen + 2_000);
        let from_others = world.see("carol").call().requests.len() - silent;
        assert_eq!(from_others, 1, "the taker's re-INVITE and nothing else");
        assert!(world.see("carol").late.is_empty(), "{:?}", world.see("carol").late);
        assert_eq!(world.connected(), 1);
        assert_talks(&world);
        // It is back in service: a new caller gets in there.
        world.add_caller("dave", 1);
        world.ua("dave").invite(NUMBER);
        world.expect(5_000, "dave is in", |w| w.see("dave").is_up());
        assert_eq!(owner_of(&world, "dave"), 1);
        world.ua("carol").hang_up();
        world.ua("dave").hang_up();
        all_over(&mut world);
    }
}

// Goal: a short stop, within the lease, changes nothing.
#[test]
fn a_node_that_stops_within_its_lease() {
    let mut world = talking(10);
    let before = world.see("carol").call().requests.len();
    world.freeze_node(1, 700);
    world.run(5_000);
    assert_eq!(owner_of(&world, "carol"), 1);
    assert_eq!(world.see("carol").call().requests.len(), before);
    world.ua("carol").hang_up();
    all_over(&mut world);
}

// Goal: in-dialog requests of a peer that still speaks to the node that lost the leg: a BYE is
// answered, anything else is not told that its call is over.
#[test]
fn requests_to_the_node_that_lost_the_leg() {
    let mut world = talking(11);
    // The carrier refuses the taker's re-INVITE, and goes on speaking to node 1.
    world.ua("carol").plan.reinvited = Respond::Status(488);
    world.freeze_node(1, 2_500);
    world.run(5_000);
    assert_ne!(owner_of(&world, "carol"), 1);
    let index = world.see("carol").calls.len() - 1;
    world.ua("carol").reinvite(index, "sendonly");
    world.run(3_000);
    let finals = &world.see("carol").call().finals;
    assert_eq!(finals.last().unwrap(), &("INVITE".to_owned(), 500), "not 481");
    world.ua("carol").hang_up();
    world.run(3_000);
    // Its BYE reached a node that cannot tell the log. The silence does.
    world.run(120_000);
    assert_eq!(world.connected(), 0, "{}", world.describe());
    all_over(&mut world);
}

// Goal: a relay that restarts gets its sessions again on the same ports: nothing is signalled.
#[test]
fn a_relay_dies_alone() {
    for relay in [1, 2] {
        let mut world = talking(12);
        let before: Vec<usize> =
            ["carol", "amy"].map(|ua| world.see(ua).call().requests.len()).to_vec();
        world.crash_relay(relay, 800);
        world.run(6_000);
        assert_talks(&world);
        let after: Vec<usize> =
            ["carol", "amy"].map(|ua| world.see(ua).call().requests.len()).to_vec();
        assert_eq!(before, after, "nothing is signalled");
        world.ua("carol").hang_up();
        all_over(&mut world);
    }
}

// Goal: a relay of another node that does not answer is given up at the first try of a takeover: the
// media moves to the relay of the leg's new owner as another stream (the old relay may be out of reach
// for the owner alone, and still send), the peer is told, the other side follows.
#[test]
fn node_and_relay_die_together() {
    for dies in [1, 2] {
        let mut world = talking(13);
        let streams = |world: &World| -> Vec<_> {
            let media = world.log.machine.legs().iter().filter_map(|leg| leg.media.clone());
            media.map(|media| (media.relay, media.origin.ssrc)).collect()
        };
        let before = streams(&world);
        world.kill_relay(dies);
        world.crash_node(dies, true);
        // The loss is declared after 30 ms, a connection refused after 20 more.
        world.expect(150, "all is moved", |w| crate::world::checks::talks(w).is_empty());
        world.run(5_000);
        assert_talks(&world);
        assert!(world.relays[usize::try_from(dies - 1).unwrap()].sessions.is_empty());
        for (before, after) in before.iter().zip(streams(&world)) {
            assert_eq!(before.0 != after.0, before.1 != after.1, "{before:?} {after:?}");
        }
        world.ua("amy").hang_up();
        world.expect(5_000, "the call is over", |w| w.legs() == 0);
        all_over(&mut world);
    }
}

// Goal: a peer that refuses the re-INVITE which would tell it where its audio goes now is asked again,
// also by the next taker, who finds that no audio comes.
#[test]
fn a_refused_move_is_asked_again() {
    for second_death in [false, true] {
        let mut world = talking(18);
        world.ua("carol").plan.reinvited = Respond::Status(488);
        world.kill_relay(1);
        world.crash_node(1, true);
        world.run(20_000);
        assert_eq!(world.connected(), 1);
        if second_death {
            let taker = owner_of(&world, "carol");
            world.crash_node(taker, true);
            world.run(20_000);
            assert_eq!(world.connected(), 1, "{}", world.describe());
        }
        world.ua("carol").plan.reinvited = Respond::Ok;
        world.run(40_000);
        assert_talks(&world);
        world.ua("carol").hang_up();
        all_over(&mut world);
    }
}

// Goal: the relay dies some time after its node: the taker, which used it, moves the media.
#[test]
fn the_relay_follows_its_node() {
    let mut world = talking(14);
    world.crash_node(1, true);
    world.run(5_000);
    assert_talks(&world);
    world.kill_relay(1);
    // Nobody has anything to say to it: the caller's silence shows, and the other side's.
    world.run(30_000);
    assert_eq!(world.connected(), 1);
    world.ua("carol").hang_up();
    world.expect(40_000, "the call is over", |w| w.legs() == 0);
    all_over(&mut world);
}

// Goal: a node that comes back at once (another life) finds its legs with others and disturbs
// nothing.
#[test]
fn a_node_restarts_at_once() {
    let mut world = talking(15);
    world.crash_node(1, false);
    world.start_node(1);
    world.expect(4_000, "the leg is confirmed", |w| began(w) == 1 && held(w, "carol"));
    world.run(3_000);
    assert_talks(&world);
    world.ua("carol").hang_up();
    world.expect(3_000, "the call is over", |w| w.legs() == 0);
    all_over(&mut world);
}

// Goal: the caller hangs up while their node is dead: the taker hears of it by the peer's 481, or by
// the repeated BYE.
#[test]
fn a_hang_up_while_the_node_is_dead() {
    let mut world = talking(16);
    world.crash_node(1, false);
    world.ua("carol").hang_up();
    world.expect(5_000, "the call is over", |w| w.legs() == 0);
    assert!(world.see("amy").call().ended_by_peer);
    all_over(&mut world);
}

// Goal: an agent whose phone answers that it knows no such call keeps working, and being the only one
// gets the caller again; one whose phone is silent does not, although the caller stays in the queue.
#[test]
fn an_agent_who_hung_up_unheard() {
    let mut world = talking(18);
    world.crash_node(2, true);
    world.ua("amy").hang_up();
    world.expect(10_000, "amy has the caller again", |w| w.see("amy").calls.len() == 2);
    world.expect(5_000, "they talk again", |w| w.connected() == 1 && w.see("amy").is_up());
    world.ua("carol").hang_up();
    all_over(&mut world);

    let mut world = talking(19);
    world.ua("amy").alive = false;
    world.crash_node(2, true);
    world.expect(2_000_000, "the leg is given up", |w| w.connected() == 0);
    let amy = world.agent_id("amy");
    let work = world.log.machine.queue().agents().get(&amy).unwrap().work.clone();
    assert_eq!(work, WorkState::NotReady(NotReadyReason::DeviceFailed));
    assert_eq!(world.legs(), 1, "the caller waits");
    world.ua("carol").hang_up();
    all_over(&mut world);
}

// Goal: a phone that never hears the CANCEL and is answered in the end is not left in a call.
#[test]
fn a_deaf_phone_of_a_dead_node() {
    let mut world = World::center(17, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world.ua("amy").plan.invited = Reaction::Answers(100, 8_000);
    world.ua("amy").plan.cancelled = OnCancel::Deaf;
    world.ua("amy").plan.bye = Respond::Silent;
    world.ua("carol").invite(NUMBER);
    world.expect(5_000, "amy rings", |w| w.see("amy").calls.len() == 1);
    world.run(500);
    world.crash_node(2, true);
    world.run(60_000);
    // Without an ACK the phone ends its call by itself (RFC 3261 section 13.3.1.4).
    assert_eq!(world.see("amy").calls[0].state, State::Over, "{}", world.describe());
    world.ua("amy").plan.bye = Respond::Ok;
    world.ua("carol").hang_up();
    all_over(&mut world);
}

/// Node 2 invites amy's phone and cannot act any more after that; the phone, which has not said that it
/// rings, is answered, the leg ends elsewhere, and amy takes no other call.
fn answered_in_vain(seed: u64, stop: impl FnOnce(&mut World)) -> World {
    let mut world = World::center(seed, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world.ua("amy").plan.invited = Reaction::Answers(400, 1);
    world.ua("carol").invite(NUMBER);
    world.expect(5_000, "amy is invited", |w| w.see("amy").calls.len() == 1);
    stop(&mut world);
    world.expect(1_000, "amy has answered", |w| w.see("amy").is_up());
    world.ua("amy").plan.invited = Reaction::Rejects(100, 486);
    world.expect(5_000, "the leg was taken over", |w| began(w) == 1);
    world.expect(5_000, "the caller waits", |w| w.legs() == 1);
    world
}

// Goal: a phone that answers a node whose process is dead, that sleeps, or that cannot tell anybody, is
// not left in a call that nobody has: once the node lives again, it is acknowledged and ended.
#[test]
fn an_answer_in_vain() {
    let fails: [fn(&mut World); 3] = [
        |world| world.crash_node(2, false),
        |world| world.freeze_node(2, 6_000),
        |world| {
            world.isolated.insert(2);
        },
    ];
    for (what, fails) in fails.into_iter().enumerate() {
        let mut world = answered_in_vain(20, fails);
        match what {
            0 => world.start_node(2),
            1 => {}
            _ => world.heal(),
        }
        world.expect(12_000, "amy is free", |w| !w.see("amy").is_up());
        let call = &world.see("amy").calls[0];
        assert!(call.ended_by_peer && call.acked, "{}", world.describe());
        world.ua("carol").hang_up();
        all_over(&mut world);
    }
}

// Goal: an answer that nobody waits for moves a node only if it is to an INVITE of its cluster's: what was
// made up does not.
#[test]
fn an_answer_that_was_made_up() {
    let mut world = answered_in_vain(21, |world| world.crash_node(2, false));
    let (to, true_answer) = world.see("amy").unacknowledged().next().unwrap();
    let true_answer = String::from_utf8(true_answer.to_vec()).unwrap();
    world.ua("amy").alive = false;
    world.add_caller("mallory", 2);
    world.start_node(2);
    world.run(2_000);
    let call_id = world.see("amy").calls[0].call_id.clone();
    let tag = world.see("amy").calls[0].remote_tag.clone();
    let other = |text: &str| {
        let last = if text.ends_with('0') { "1" } else { "0" };
        format!("{}{last}", &text[..text.len() - 1])
    };
    let (leg, rest) = call_id.rsplit_once('.').unwrap();
    let answers = [
        (true_answer.replace(&tag, &other(&tag)), false),
        (true_answer.replace(&call_id, &format!("{}.{rest}", other(leg))), false),
        (true_answer.replace(&call_id, &other(&call_id)), false),
        (true_answer.replace(&call_id, "0.1.0"), false),
        (true_answer.replace("1 INVITE", "2 INVITE"), false),
        (true_answer.replace("SIP/2.0 200", "SIP/2.0 486"), false),
        (true_answer.clone(), true),
    ];
    for (answer, is_ended) in answers {
        assert_eq!(is_ended, answer == true_answer);
        world.ua("mallory").out.push((to, answer.into_bytes()));
        world.run(1_000);
        assert_eq!(!world.see("mallory").heard.is_empty(), is_ended, "{}", world.describe());
    }
    world.ua("carol").hang_up();
    world.run(100_000);
}

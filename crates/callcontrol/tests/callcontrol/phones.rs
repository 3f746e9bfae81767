//! Agents' phones that do not do what one hopes.

use tandem_callcontrol::io::Note;
use tandem_routing::entity::WorkState;

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks, unexpected},
    net::Net,
    ua::{Answer, OnCancel, Reaction, State},
};

/// Carol waits at node 1; amy's phone is at node 2, bob is called when she does not answer.
fn world(seed: u64) -> World {
    let mut world = World::center(seed, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world
}

fn over(world: &mut World) {
    world.ua("carol").hang_up();
    world.run(200_000);
    assert_at_rest(world);
}

fn work_state(world: &World, agent: &str) -> WorkState {
    let id = world.agent_id(agent);
    world.log.machine.queue().agents().get(&id).unwrap().work.clone()
}

// Goal: a phone that is busy, declines, breaks, does not answer or is not there: the caller goes to
// the next agent, the phone hears no more of it, and its agent is not called again and again.
#[test]
fn a_phone_that_does_not_take_the_call() {
    let rows = [
        ("busy", Reaction::Rejects(100, 486), 3_000),
        ("declines", Reaction::Rejects(100, 603), 3_000),
        ("breaks", Reaction::Rejects(100, 500), 3_000),
        ("does not answer", Reaction::Rings(100), 18_000),
        ("says 100 and no more", Reaction::Trying, 18_000),
        ("is not there", Reaction::Silent, 18_000),
    ];
    for (what, reaction, within) in rows {
        let mut world = world(1);
        world.ua("amy").plan.invited = reaction;
        world.ua("carol").invite(NUMBER);
        world.run(700);
        world.add_agent("bob", 3);
        world.expect(within, what, |w| !w.see("bob").calls.is_empty());
        world.expect(4_000, what, |w| w.connected() == 1);
        world.run(2_000);
        assert_talks(&world);
        assert_eq!(world.see("amy").open(), 0, "{what}");
        assert_ne!(work_state(&world, "amy"), WorkState::Ready, "{what}");
        let invites = |w: &World| {
            let heard = w.see("amy").heard.iter();
            heard.filter(|(_, line)| line.starts_with("INVITE")).count()
        };
        let before = invites(&world);
        world.run(60_000);
        // A silent phone's INVITE may come again within its transaction; no new one is made.
        assert!(invites(&world) - before <= 1, "{what}");
        over(&mut world);
    }
}

// Goal: a phone that answers while it is cancelled: the log decides. Nobody else has the caller yet:
// it counts. The caller has left: it is ended with a BYE.
#[test]
fn an_answer_that_crosses_the_cancel() {
    for caller_left in [false, true] {
        let mut world = world(2);
        world.ua("amy").plan.invited = Reaction::Rings(100);
        world.ua("amy").plan.cancelled = OnCancel::Answers;
        world.ua("carol").invite(NUMBER);
        world.expect(2_000, "amy rings", |w| w.see("amy").calls.len() == 1);
        if caller_left {
            world.run(2_000);
            world.ua("carol").hang_up();
        }
        world.run(20_000);
        let amy = world.see("amy").call();
        if caller_left {
            assert!(amy.ended_by_peer && amy.answered.is_some(), "{}", world.describe());
        } else if amy.state == State::Up {
            assert_eq!(world.connected(), 1);
            assert_talks(&world);
        } else {
            assert!(amy.ended_by_peer, "refused: ended by a BYE");
        }
        over(&mut world);
    }
}

// Goal: two phones of a fork answer: the first has the caller, the other is acknowledged and ended.
#[test]
fn two_phones_answer() {
    let mut world = world(3);
    world.ua("amy").plan.fork_after = Some(300);
    world.ua("carol").invite(NUMBER);
    world.expect(10_000, "both have answered", |w| w.see("amy").calls.len() == 2);
    world.run(3_000);
    let calls = &world.see("amy").calls;
    assert_eq!((calls[0].state, calls[1].state), (State::Up, State::Over));
    assert!(calls[1].ended_by_peer && calls[1].acked);
    assert_talks(&world);
    over(&mut world);
}

// Goal: our ACK gets lost: the phone repeats its 200, each copy is acknowledged, nothing else happens.
#[test]
fn a_lost_ack_to_the_phone() {
    let mut world = world(4);
    world.ua("amy").plan.deaf_to_ack = true;
    world.ua("carol").invite(NUMBER);
    world.expect(5_000, "amy answers", |w| w.see("amy").is_up());
    world.run(4_000);
    assert!(world.see("amy").call().oks_sent > 2);
    let acks = world.see("amy").heard.iter().filter(|(_, line)| line.starts_with("ACK")).count();
    assert!(acks > 2, "each copy is acknowledged: {acks}");
    world.ua("amy").plan.deaf_to_ack = false;
    world.run(8_000);
    assert_eq!(world.connected(), 1);
    assert_talks(&world);
    over(&mut world);
}

// Goal: an answer that cannot be used is acknowledged and ended; the caller goes on waiting.
#[test]
fn an_answer_without_a_session() {
    for answer in [Answer::Unusable, Answer::Missing] {
        let mut world = world(5);
        world.ua("amy").plan.answer = answer;
        world.ua("carol").invite(NUMBER);
        world.expect(5_000, "amy answers", |w| w.see("amy").calls.len() == 1);
        world.run(5_000);
        let amy = world.see("amy").call();
        assert!(amy.acked && amy.ended_by_peer, "{answer:?}\n{}", world.describe());
        assert_eq!((world.connected(), world.legs()), (0, 1));
        over(&mut world);
    }
}

// Goal: the caller leaves while the phone rings: it is cancelled and gets no call.
#[test]
fn the_caller_leaves_while_it_rings() {
    let mut world = world(6);
    world.ua("amy").plan.invited = Reaction::Rings(100);
    world.ua("carol").invite(NUMBER);
    world.expect(2_000, "amy rings", |w| w.see("amy").calls.len() == 1);
    world.run(1_000);
    world.ua("carol").hang_up();
    world.expect(1_000, "amy's phone is cancelled", |w| w.see("amy").call().status == Some(487));
    over(&mut world);
}

// Goal: views of a leg that come after its end are out of date: the phone is not called again by them.
#[test]
fn a_view_that_comes_too_late() {
    let mut world = world(8);
    world.ua("amy").plan.invited = Reaction::Rings(50);
    world.ua("carol").invite(NUMBER);
    world.expect(2_000, "amy rings", |w| w.see("amy").calls.len() == 1);
    world.feed_slow = 400;
    world.run(100);
    world.ua("amy").answer_invite(0, 486);
    world.run(3_000);
    let heard = world.see("amy").heard.iter();
    assert_eq!(heard.filter(|(_, line)| line.starts_with("INVITE")).count(), 1);
    assert!(world.relays[1].sessions.is_empty());
    assert_eq!(unexpected(&world), Vec::<String>::new());
    assert_eq!(world.noted(2, |note| matches!(note, Note::LegOver { .. })), 1);
    over(&mut world);
}

// Goal: our own relay is away, or has no socket left, when a phone is to ring: the caller's relay, which
// has one for the caller, takes the agent's side too.
#[test]
fn the_callers_relay_takes_the_phone() {
    for dead in [true, false] {
        let mut world = world(7);
        if dead {
            world.kill_relay(2);
        }
        world.relays[1].refuses = !dead;
        world.ua("carol").invite(NUMBER);
        world.expect(5_000, "amy talks", |w| w.connected() == 1);
        assert_eq!(world.relays[0].sessions.len(), 2, "both sides at carol's relay");
        if dead {
            // As if ours had made the session, and its answer been lost: it does not stay there for good.
            world.crash_relay(2, 10);
            world.run(100);
            let sessions = world.relays[0].sessions.clone();
            let made = sessions
                .into_iter()
                .filter(|(leg, _)| *leg != world.caller_leg("carol").unwrap().id);
            world.relays[1].sessions = made.collect();
        }
        world.run(3_000);
        assert_talks(&world);
        world.relays[1].refuses = false;
        over(&mut world);
        assert!(world.relays[1].sessions.is_empty(), "{}", world.describe());
    }
}

// Goal: no relay has a socket for the phone. That is neither the agent's doing nor the phone's: the agent
// is spared for a moment at a time, and talks with the caller as soon as there is a socket, without having
// to say that they are ready.
#[test]
fn no_relay_at_all_for_the_phone() {
    for dead in [true, false] {
        let mut world = world(9);
        world.add_caller("dora", 2);
        world.ua("dora").invite(NUMBER);
        world.expect(3_000, "amy talks with dora", |w| w.connected() == 1);
        world.ua("carol").proxy = world.nodes[&2].udp;
        world.ua("carol").invite(NUMBER);
        world.run(1_000);
        if dead {
            world.kill_relay(2);
        }
        world.relays[1].refuses = !dead;
        world.ua("dora").hang_up();
        world.run(20_000);
        assert_eq!(world.see("amy").calls.len(), 1, "her phone does not ring");
        assert_eq!(world.connected(), 0);
        let tried = world.noted(2, |note| matches!(note, Note::PhoneNotRung { .. }));
        let most = if dead { 2 } else { 11 };
        assert!((1..=most).contains(&tried), "again and again, but not at once: {tried}");
        world.relays[1].refuses = false;
        if dead {
            world.crash_relay(2, 10);
        }
        world.expect(5_000, "amy talks with carol", |w| w.connected() == 1);
        over(&mut world);
    }
}

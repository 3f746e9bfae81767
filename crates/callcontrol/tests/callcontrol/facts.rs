//! Without a quorum: facts are answered at once and told later, each once; decisions wait.

use tandem_callcontrol::io::Note;

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks},
    net::Net,
    ua::{Reaction, State},
};

fn talking(seed: u64) -> World {
    let mut world = World::center(seed, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world.ua("carol").invite(NUMBER);
    world.expect(10_000, "they talk", |w| w.connected() == 1 && w.see("carol").is_up());
    world.run(2_000);
    world
}

fn over(world: &mut World) {
    world.ua("carol").hang_up();
    world.ua("amy").hang_up();
    world.run(200_000);
    assert_at_rest(world);
}

// Goal: a node whose machine slept holds everything back, although its lease seems to run on, until the
// quorum is heard again.
#[test]
fn a_lease_from_before_a_sleep_is_worth_nothing() {
    let mut world = talking(7);
    let gate = |w: &World, wanted: fn(&Note) -> bool| w.noted(2, wanted);
    let (held, released) = (
        gate(&world, |note| matches!(note, Note::Held)),
        gate(&world, |note| matches!(note, Note::Released)),
    );
    world.sleep_node(2);
    world.expect(50, "everything is held back", |w| {
        w.noted(2, |note| matches!(note, Note::Held)) == held + 1
    });
    world.expect(2_000, "the lease is renewed", |w| {
        w.noted(2, |note| matches!(note, Note::Released)) == released + 1
    });
    assert_talks(&world);
    over(&mut world);
}

// Goal: a hang-up without a quorum is answered at once; the other side hears of it when commits go
// on, and not before (it is a decision to end their call).
#[test]
fn a_hang_up_is_not_lost() {
    for without in [500, 5_000, 120_000] {
        let mut world = talking(without);
        world.quorum = false;
        world.run(200);
        world.ua("carol").hang_up();
        world.run(without);
        assert_eq!(world.see("carol").call().finals.last().unwrap(), &("BYE".into(), 200));
        assert!(world.see("amy").is_up(), "the conversation's other side is not cut by a guess");
        world.heal();
        world.expect(12_000, "the other side hears it", |w| w.legs() == 0);
        over(&mut world);
    }
}

// Goal: a phone that is answered without a quorum is not lost: its repeated 200 is acknowledged when
// commits go on (a node that may be fenced says nothing by itself), and the answer counts then. One that
// has lost patience by then is not put through; its caller goes on waiting, and it rings again.
#[test]
fn an_answer_is_not_lost() {
    for (without, counts) in [(1_000, true), (8_000, true), (60_000, false)] {
        let mut world = World::center(without, Net::clean());
        world.add_caller("carol", 1);
        world.add_agent("amy", 2);
        world.ua("carol").invite(NUMBER);
        world.expect(3_000, "amy rings", |w| w.see("amy").calls.len() == 1);
        world.quorum = false;
        world.expect(4_000, "amy answers", |w| w.see("amy").is_up());
        world.run(without);
        assert_eq!(world.connected(), 0, "only a committed accept connects");
        world.heal();
        world.run(10_000);
        let amy = &world.see("amy").calls[0];
        assert_eq!((amy.acked, amy.state == State::Up), (counts, counts), "{without}");
        // Who was not put through is no worse off for our silence: their phone rings again.
        assert_eq!(world.see("amy").calls.len() == 1, counts, "{without}");
        world.expect(4_000, "they talk", |w| w.connected() == 1);
        assert!(world.see("carol").is_up());
        assert_talks(&world);
        over(&mut world);
    }
}

// Goal: an agent answers and hangs up in the silence, before their node has learned that the answer counts
// (the leader's reply was faster than its own replica, or nothing came at all): the caller was promised an
// agent and heard none, and goes on waiting in the same place.
#[test]
fn a_hang_up_before_anybody_was_heard() {
    for judged in [true, false] {
        let mut world = World::center(11, Net::clean());
        world.add_caller("carol", 1);
        world.add_agent("amy", 2);
        world.ua("carol").invite(NUMBER);
        world.expect(3_000, "amy rings", |w| w.see("amy").calls.len() == 1);
        if judged {
            world.feed_slow = 5_000;
        } else {
            world.log_slow = 2_500;
        }
        world.expect(4_000, "amy answers", |w| w.see("amy").is_up());
        world.run(2_000);
        assert_eq!(world.connected() == 1, judged, "{}", world.describe());
        world.ua("amy").hang_up();
        (world.feed_slow, world.log_slow) = (0, 0);
        world.run(8_000);
        assert!(world.see("carol").is_up(), "carol is still there: {}", world.describe());
        world.add_agent("bob", 3);
        world.expect(20_000, "somebody talks with carol", |w| w.connected() == 1);
        world.run(3_000);
        assert_talks(&world);
        over(&mut world);
    }
}

// Goal: a phone that declines without a quorum is heard of later; its caller goes to somebody else.
#[test]
fn a_refusal_is_not_lost() {
    let mut world = World::center(3, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world.ua("amy").plan.invited = Reaction::Rejects(1_500, 486);
    world.ua("carol").invite(NUMBER);
    world.expect(3_000, "amy rings", |w| w.see("amy").calls.len() == 1);
    world.quorum = false;
    world.run(20_000);
    assert_eq!(world.see("amy").open(), 0);
    world.heal();
    world.run(500);
    world.add_agent("bob", 3);
    world.expect(20_000, "bob talks", |w| w.connected() == 1 && w.see("bob").is_up());
    over(&mut world);
}

// Goal: a conversation goes on without a quorum for as long as it takes, holds and resumes included;
// nothing of ours is originated, and all is told afterwards.
#[test]
fn a_conversation_without_a_quorum() {
    let mut world = talking(4);
    world.quorum = false;
    world.run(600_000);
    world.ua("carol").reinvite(0, "sendonly");
    world.run(1_000);
    assert_eq!(world.see("carol").call().finals.last().unwrap(), &("INVITE".into(), 200));
    assert_talks(&world);
    world.heal();
    world.run(15_000);
    assert_eq!(world.connected(), 1);
    assert_talks(&world);
    let direction = world.caller_leg("carol").unwrap().media.as_ref().unwrap().direction;
    assert_eq!(direction, tandem_cluster::leg::MediaDirection::ReceiveOnly, "it was told");
    over(&mut world);
}

// Goal: a node hears that its caller was taken in, and loses its life before its own replica shows the call:
// its audio goes on (M1: the next owner goes on with the session, it does not begin the stream a second
// time).
#[test]
fn a_life_ends_between_the_reply_and_the_row() {
    let mut world = World::center(12, Net::clean());
    world.add_caller("carol", 1);
    world.feed_slow = 9_000;
    world.ua("carol").invite(NUMBER);
    world.expect(3_000, "carol is answered", |w| w.see("carol").is_up());
    world.isolated.insert(1);
    world.feed_slow = 0;
    world.run(4_000);
    world.heal();
    world.expect(4_000, "node 1 hears that its life is over", |w| {
        w.noted(1, |note| matches!(note, Note::LegDropped { .. })) == 1
    });
    world.run(200);
    assert_eq!(world.relays[0].sessions.len(), 1, "her music goes on");
    world.run(30_000);
    assert!(world.see("carol").is_up(), "{}", world.describe());
    let owner = world.caller_leg("carol").unwrap().owner;
    assert_ne!((owner.node.0, owner.epoch.0), (1, 1), "another life has her");
    world.add_agent("amy", 2);
    world.expect(5_000, "they talk", |w| w.connected() == 1);
    world.run(2_000);
    assert_talks(&world);
    over(&mut world);
}

// Goal: a node that is cut off from the others: its callers' hang-ups are answered; the others take
// its legs over; healed, it knows its place.
#[test]
fn an_isolated_node() {
    for hangs_up in [false, true] {
        let mut world = talking(5);
        world.isolated.insert(1);
        world.run(500);
        if hangs_up {
            world.ua("carol").hang_up();
        }
        world.run(20_000);
        assert_eq!(world.see("carol").is_up(), !hangs_up);
        world.heal();
        world.run(60_000);
        assert_eq!(world.connected(), usize::from(!hangs_up), "{}", world.describe());
        assert_talks(&world);
        over(&mut world);
    }
}

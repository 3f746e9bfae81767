//! Calls without faults: from the door to the hang-up.

use tandem_callcontrol::io::Source;

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks, unexpected},
    net::Net,
};

/// One caller at node 1, one agent at node 2.
fn pair(seed: u64, net: Net) -> World {
    let mut world = World::center(seed, net);
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world
}

fn talking(seed: u64, net: Net) -> World {
    let mut world = pair(seed, net);
    world.ua("carol").invite(NUMBER);
    world.expect(10_000, "they talk", |w| w.connected() == 1 && w.see("carol").is_up());
    world.run(1_000);
    world
}

// Goal: a call is answered at the queue, offered, answered, bridged both ways, and leaves nothing
// behind, whichever side hangs up.
#[test]
fn a_happy_call() {
    for side in ["carol", "amy"] {
        let mut world = talking(1, Net::clean());
        assert_talks(&world);
        world.ua(side).hang_up();
        world.expect(5_000, "the call is over", |w| w.legs() == 0);
        let other = if side == "carol" { "amy" } else { "carol" };
        assert!(world.see(other).call().ended_by_peer);
        world.run(60_000);
        assert_at_rest(&world);
        assert_eq!(unexpected(&world), Vec::<String>::new());
    }
}

// Goal: the caller hears music while waiting, the phone a beep until the accept is committed, and
// both each other afterwards.
#[test]
fn what_is_heard_when() {
    let mut world = pair(2, Net::clean());
    world.ua("carol").invite(NUMBER);
    world.expect(2_000, "the caller is answered", |w| w.see("carol").is_up());
    world.expect(200, "music plays", |w| sources(w).contains(&Source::Music));
    world.log_slow = 400;
    world.expect(5_000, "the phone is answered", |w| w.see("amy").is_up());
    world.expect(300, "a beep sounds", |w| sources(w).contains(&Source::Beep));
    assert_eq!(world.connected(), 0, "the accept is not committed yet");
    world.expect(3_000, "they talk", |w| {
        sources(w).iter().filter(|s| matches!(s, Source::Peer { .. })).count() == 2
    });
    assert_talks(&world);
}

fn sources(world: &World) -> Vec<Source> {
    let sessions = world.relays.iter().flat_map(|relay| relay.sessions.values());
    sessions.map(|session| session.spec.source.clone()).collect()
}

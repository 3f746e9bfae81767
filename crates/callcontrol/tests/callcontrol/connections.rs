//! Phones on streams: they can be reached only by the node that holds their connection.

use tandem_cluster::leg::Control;

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks},
    net::Net,
};

/// Carol at node 1 talks with amy, whose phone is connected to node 2.
fn talking(seed: u64) -> (World, usize, u64) {
    let mut world = World::center(seed, Net::clean());
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    let phone = world.uas.iter().position(|ua| ua.name == "amy").unwrap();
    let conn = world.connect(phone, 2);
    world.unbind_phone("amy");
    world.bind_phone("amy", 2);
    world.ua("carol").invite(NUMBER);
    world.expect(10_000, "they talk", |w| w.connected() == 1 && w.see("carol").is_up());
    world.run(2_000);
    assert_talks(&world);
    (world, phone, conn)
}

fn over(world: &mut World) {
    world.ua("carol").hang_up();
    world.run(1_000);
    world.ua("amy").hang_up();
    world.run(400_000);
    assert_at_rest(world);
}

// Goal: the connection of a phone breaks in a call: the call goes on, and ends when either side ends
// it, whether or not the phone has connected again.
#[test]
fn a_connection_breaks_in_a_call() {
    for again in [false, true] {
        let (mut world, phone, conn) = talking(1);
        world.disconnect(conn);
        world.run(5_000);
        assert_eq!(world.connected(), 1);
        assert_talks(&world);
        if again {
            world.connect(phone, 2);
        }
        world.run(30_000);
        assert_eq!(world.connected(), 1, "{}", world.describe());
        world.ua("carol").hang_up();
        world.run(40_000);
        assert_eq!(world.legs(), 0, "{}", world.describe());
        assert_eq!(world.see("amy").call().ended_by_peer, again);
        over(&mut world);
    }
}

// Goal: the node of a connected phone dies in a call: the phone's audio keeps the call; once the
// phone has connected to the taker it is asked there.
#[test]
fn the_node_of_a_connected_phone_dies() {
    for again in [false, true] {
        let (mut world, phone, _) = talking(2);
        world.crash_node(2, true);
        world.run(3_000);
        assert_eq!(world.connected(), 1);
        assert_talks(&world);
        let held = |w: &World| w.log.machine.legs().iter().all(|leg| leg.control == Control::Held);
        assert!(held(&world), "its audio is a sign of life");
        let taker = world.log.machine.legs().iter().last().unwrap().owner.node.0;
        if again {
            world.connect(phone, taker);
            world.expect(40_000, "the phone is asked", |w| {
                w.see("amy").call().requests.iter().any(|(_, method, _)| method == "INVITE")
            });
        }
        world.run(60_000);
        assert_eq!(world.connected(), 1, "{}", world.describe());
        assert_talks(&world);
        over(&mut world);
    }
}

//! Callers at the door: what is admitted, how, and what is refused with which status.

use tandem_routing::{
    command::{Command as QueueCommand, QueueSpec},
    entity::{EndReason, SiteState},
    time::Millis,
};

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks, unexpected},
    log::name,
    net::Net,
    ua::{Body, State},
};

fn world(seed: u64) -> World {
    let mut world = World::center(seed, Net::clean());
    world.add_caller("carol", 1);
    world
}

fn rest(world: &mut World) {
    world.run(200_000);
    assert_at_rest(world);
    assert_eq!(unexpected(world), Vec::<String>::new());
}

// Goal: an INVITE without SDP gets our offer in the 200, its answer comes with the ACK, and the call
// is bridged like any other.
#[test]
fn an_offer_in_the_200() {
    let mut world = world(1);
    world.add_agent("amy", 2);
    world.ua("carol").invite_with(NUMBER, &[], Body::None);
    world.expect(10_000, "they talk", |w| w.connected() == 1 && w.see("carol").is_up());
    world.run(2_000);
    assert!(world.see("carol").call().peer_sdp.as_ref().unwrap().formats.len() >= 2, "an offer");
    assert_talks(&world);
    world.ua("carol").hang_up();
    rest(&mut world);
}

// Goal: each reason to refuse a call has its one status, and nothing is left of the call.
#[test]
fn one_status_for_each_reason() {
    type Prepare = fn(&mut World);
    let plain: Prepare = |_| {};
    let sdp = |formats: &str| {
        let text = format!(
            "v=0\r\no=- 1 1 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
             m=audio 4000 RTP/AVP {formats}\r\n"
        );
        Body::Other(text)
    };
    let no_lease: Prepare = |w| {
        w.quorum = false;
        w.run(3_000);
    };
    let full: Prepare = |w| {
        let queue = QueueSpec { length_max: 1, ..QueueSpec::named(name("sales")) };
        w.put_queue(queue);
        w.add_caller("first", 2);
        w.ua("first").invite(NUMBER);
        w.run(500);
    };
    let closed: Prepare = |w| {
        w.set_site("lon", SiteState::Closed);
        w.run(100);
    };
    let draining: Prepare = |w| {
        w.set_site("lon", SiteState::Draining);
        w.run(100);
    };
    let stranger: Prepare = |w| {
        let addr = "203.0.113.9:5060".parse().unwrap();
        let ua = w.ua("carol");
        ua.addr = addr;
        ua.rtp = "203.0.113.9:15060".parse().unwrap();
    };
    let crowded: Prepare = |w| {
        w.nodes.get_mut(&1).unwrap().settings.trunks[0].calls_max = 1;
        w.crash_node(1, true);
        w.start_node(1);
        w.add_caller("first", 1);
        w.run(1_000);
        w.ua("first").invite(NUMBER);
        w.run(500);
    };
    let no_relay: Prepare = |w| w.kill_relay(1);
    let head = |name: &'static str, value: &str| vec![(name, value.to_owned())];
    type Row = (&'static str, Prepare, &'static str, Vec<(&'static str, String)>, Body, u16);
    let rows: Vec<Row> = vec![
        ("fine", plain, NUMBER, vec![], Body::Sdp, 200),
        ("unknown number", plain, "999", vec![], Body::Sdp, 404),
        ("full queue", full, NUMBER, vec![], Body::Sdp, 486),
        ("closed site", closed, NUMBER, vec![], Body::Sdp, 503),
        ("draining site", draining, NUMBER, vec![], Body::Sdp, 200),
        ("no lease", no_lease, NUMBER, vec![], Body::Sdp, 503),
        ("no trunk", stranger, NUMBER, vec![], Body::Sdp, 403),
        ("too many calls", crowded, NUMBER, vec![], Body::Sdp, 503),
        ("no relay", no_relay, NUMBER, vec![], Body::Sdp, 503),
        ("extension", plain, NUMBER, head("Require", "100rel"), Body::Sdp, 420),
        ("known extension", plain, NUMBER, head("Require", "timer"), Body::Sdp, 200),
        ("no hops left", plain, NUMBER, head("Max-Forwards", "0"), Body::Sdp, 483),
        ("one hop left", plain, NUMBER, head("Max-Forwards", "1"), Body::Sdp, 200),
        ("no codec of ours", plain, NUMBER, vec![], sdp("9"), 488),
        ("one codec of ours", plain, NUMBER, vec![], sdp("9 0"), 200),
        ("broken SDP", plain, NUMBER, vec![], Body::Other("v=0\r\nm=what\r\n".into()), 400),
    ];
    for (what, prepare, number, extra, body, status) in rows {
        let mut world = world(2);
        prepare(&mut world);
        let legs = world.legs();
        world.ua("carol").invite_with(number, &extra, body);
        world.run(8_000);
        let call = world.see("carol").call();
        assert_eq!(call.status, Some(status), "{what}\n{}", world.describe());
        assert_eq!(world.legs() > legs, status == 200, "{what}");
        if status == 200 {
            world.ua("carol").hang_up();
        }
        if world.quorum && world.relays[0].up {
            for ua in ["first", "carol"] {
                if world.uas.iter().any(|known| known.name == ua) {
                    world.ua(ua).hang_up();
                }
            }
            world.run(200_000);
            assert_at_rest(&world);
        }
    }
}

// Goal: a body that is no SDP is refused with 415.
#[test]
fn a_body_of_another_kind() {
    let mut world = world(3);
    let body = Body::Typed("text/plain".into(), "hello".into());
    world.ua("carol").invite_with(NUMBER, &[], body);
    world.run(2_000);
    assert_eq!(world.see("carol").call().status, Some(415));
    rest(&mut world);
}

// Goal: a CANCEL at any moment ends the call everywhere: 487 when it came in time, else the 200 is
// followed by the caller's BYE. The log never keeps anybody who has gone.
#[test]
fn a_cancel_at_every_moment() {
    let (mut in_time, mut late) = (0, 0);
    for log_slow in [0, 100, 1_000] {
        for after in (0..60).chain((60..2_400).step_by(97)) {
            let mut world = world(after + log_slow);
            world.log_slow = log_slow;
            let index = world.ua("carol").invite(NUMBER);
            world.run(after);
            world.ua("carol").hang_up();
            world.run(5_000);
            match world.see("carol").calls[index].state {
                // The 200 crossed the CANCEL.
                State::Up => {
                    late += 1;
                    world.ua("carol").hang_up();
                }
                _ if world.see("carol").calls[index].status == Some(487) => in_time += 1,
                _ => late += 1,
            }
            world.expect(5_000, "the call is over", |w| w.legs() == 0);
            assert_at_rest_soon(&mut world);
        }
    }
    assert!(in_time > 20 && late > 20, "both happen: {in_time} in time, {late} late");
}

fn assert_at_rest_soon(world: &mut World) {
    world.run(80_000);
    assert_at_rest(world);
}

// Goal: no quorum in time: 503, and should the log have taken the call after all, it is ended there.
#[test]
fn an_admission_that_nobody_hears_of() {
    for heal_after in [100, 4_500, 20_000] {
        let mut world = world(heal_after);
        // The lease still runs when the caller comes.
        world.quorum = false;
        world.ua("carol").invite(NUMBER);
        world.run(heal_after);
        world.heal();
        world.run(10_000);
        let status = world.see("carol").call().status;
        assert_eq!(status, Some(if heal_after < 4_000 { 200 } else { 503 }), "{heal_after}");
        world.ua("carol").hang_up();
        world.expect(5_000, "the log has nobody", |w| w.legs() == 0);
        world.run(80_000);
        assert_at_rest(&world);
    }
}

// Goal: whom the log takes in after they were answered 503 is ended as turned away, and nobody's phone
// rings for them; the next try is a call like any other.
#[test]
fn an_admission_that_comes_too_late() {
    let mut world = world(6);
    // Only this one entry travels so slowly: the lease goes on.
    world.log_slow = 4_500;
    world.ua("carol").invite(NUMBER);
    world.run(50);
    world.log_slow = 0;
    world.run(4_200);
    assert_eq!(world.see("carol").call().status, Some(503));
    assert_eq!(world.legs(), 0, "not yet");
    world.run(1_000);
    assert_eq!(world.legs(), 0, "no longer");
    let ended: Vec<_> = world.checks.judge.counts().ended.clone().into_iter().collect();
    assert_eq!(ended, [(EndReason::TurnedAway, 1)]);
    world.ua("carol").invite(NUMBER);
    world.run(1_000);
    assert_eq!(world.see("carol").call().status, Some(200));
    assert!(world.log.machine.queue().reservations().is_empty());
    world.ua("carol").hang_up();
    rest(&mut world);
}

// Goal: an operator ends a call that waits; the caller is told by a BYE.
#[test]
fn an_operator_ends_a_waiting_call() {
    let mut world = world(5);
    world.ua("carol").invite(NUMBER);
    world.run(1_000);
    let contact = world.caller_leg("carol").unwrap().contact;
    let reason = EndReason::Operator;
    world.queue(QueueCommand::End { contact, reason }).unwrap();
    world.expect(1_000, "the caller hears it", |w| w.see("carol").call().ended_by_peer);
    rest(&mut world);
}

// Goal: who waits longer than the queue allows is told so.
#[test]
fn a_wait_that_is_too_long() {
    let mut world = world(6);
    let queue = QueueSpec { wait_max: Millis(5_000), ..QueueSpec::named(name("sales")) };
    world.put_queue(queue);
    world.ua("carol").invite(NUMBER);
    world.run(4_500);
    assert!(world.see("carol").is_up());
    world.expect(2_000, "the caller is sent away", |w| w.see("carol").call().ended_by_peer);
    rest(&mut world);
}

// Goal: requests outside of calls: OPTIONS says whether calls are taken here, a BYE or UPDATE of no
// call 481, what we do not do 405, what we do not know 501.
#[test]
fn requests_outside_of_calls() {
    let rows = [("OPTIONS", 200), ("BYE", 481), ("UPDATE", 481), ("REFER", 405), ("FROB", 501)];
    for (method, status) in rows {
        let mut world = world(7);
        world.ua("carol").outside(method, "sip:100@tandem.example", &[]);
        world.run(2_000);
        let outside = &world.see("carol").outside;
        assert_eq!(outside.last().map(|(_, msg)| msg.status()), Some(status), "{method}");
        rest(&mut world);
    }
    let mut world = world(8);
    world.quorum = false;
    world.run(3_000);
    world.ua("carol").outside("OPTIONS", "sip:100@tandem.example", &[]);
    world.run(1_000);
    let (_, answer) = world.see("carol").outside.last().unwrap();
    assert_eq!(answer.status(), 503, "carriers move on");
    assert!(answer.header("Retry-After").is_some());
}

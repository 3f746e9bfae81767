//! Requests within calls: hold, refresh, glare, lost and late messages, ends from both sides at once.

use std::collections::BTreeSet;

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks, unexpected},
    net::Net,
    ua::{Respond, State},
};

/// A header of a request.
type Header = (&'static str, String);

fn talking_in(mut world: World) -> World {
    world.add_caller("carol", 1);
    world.add_agent("amy", 2);
    world.ua("carol").invite(NUMBER);
    world.expect(60_000, "they talk", |w| w.connected() == 1 && w.see("carol").is_up());
    world.run(2_000);
    world
}

fn talking(seed: u64) -> World {
    let world = talking_in(World::center(seed, Net::clean()));
    assert_talks(&world);
    world
}

/// Talking, at nodes that ask for a session timer.
fn timed(seed: u64, interval_s: u32) -> World {
    let mut world = World::center(seed, Net::clean());
    world.with_session_timers(interval_s);
    talking_in(world)
}

fn over(world: &mut World) {
    world.ua("carol").hang_up();
    world.ua("amy").hang_up();
    world.run(200_000);
    assert_at_rest(world);
}

fn last_final(world: &World, who: &str) -> (String, u16) {
    world.see(who).call().finals.last().cloned().unwrap()
}

// Goal: either side holds and resumes; the relay follows each time, and the other side's leg is not
// touched.
#[test]
fn hold_and_resume() {
    for (who, other) in [("carol", "amy"), ("amy", "carol")] {
        let mut world = talking(1);
        let before = world.see(other).call().requests.len();
        for direction in ["sendonly", "sendrecv", "inactive", "sendrecv"] {
            world.ua(who).reinvite(0, direction);
            world.run(1_000);
            assert_eq!(last_final(&world, who), ("INVITE".into(), 200));
            assert_talks(&world);
        }
        assert_eq!(world.see(other).call().requests.len(), before);
        assert_eq!(unexpected(&world), Vec::<String>::new());
        over(&mut world);
    }
}

// Goal: the peer moves its audio to another socket, by INVITE and by UPDATE; a re-INVITE without SDP
// gets our offer again; an UPDATE without SDP only refreshes.
#[test]
fn other_changes() {
    let mut world = talking(2);
    world.ua("carol").move_rtp(0, "198.51.100.200:4444".parse().unwrap());
    world.run(1_000);
    assert_talks(&world);
    let sdp = {
        let call = &mut world.ua("carol").calls[0];
        call.my_sdp.port = 4_446;
        call.my_sdp.version += 1;
        call.my_sdp.compose()
    };
    world.ua("carol").request(0, "UPDATE", &[], &sdp);
    world.run(1_000);
    assert_eq!(last_final(&world, "carol"), ("UPDATE".into(), 200));
    assert_talks(&world);
    world.ua("carol").request(0, "UPDATE", &[], "");
    world.run(1_000);
    assert_eq!(last_final(&world, "carol"), ("UPDATE".into(), 200));
    world.ua("carol").request(0, "INVITE", &[], "");
    world.run(1_000);
    assert_eq!(last_final(&world, "carol"), ("INVITE".into(), 200));
    assert_talks(&world);
    over(&mut world);
}

// Goal: what a request within a call is answered with; none of them ends the call or changes it.
#[test]
fn one_status_for_each_request() {
    let unusable = "v=0\r\no=- 1 9 IN IP4 198.51.100.1\r\ns=-\r\nc=IN IP4 198.51.100.1\r\nt=0 0\r\n\
                    m=audio 4000 RTP/AVP 9\r\n";
    let require = ("Require", "100rel".to_owned());
    let rows: [(&str, &[Header], &str, u16); 7] = [
        ("OPTIONS", &[], "", 200),
        ("INVITE", &[], unusable, 488),
        ("UPDATE", &[], unusable, 488),
        ("INVITE", std::slice::from_ref(&require), "", 420),
        ("INFO", &[], "", 405),
        ("REFER", &[], "", 405),
        ("FROB", &[], "", 501),
    ];
    let mut world = talking(3);
    for (method, extra, body, status) in rows {
        world.ua("carol").request(0, method, extra, body);
        world.run(1_000);
        assert_eq!(last_final(&world, "carol"), (method.into(), status));
        assert_talks(&world);
    }
    over(&mut world);
}

// Goal: a request that is older than one seen before gets 500; the same number again too; the next
// one is fine.
#[test]
fn numbers_out_of_order() {
    let mut world = talking(4);
    world.ua("carol").request(0, "OPTIONS", &[], "");
    world.run(500);
    let last = world.see("carol").call().local_cseq;
    for (number, status) in [(last - 1, 500), (last + 5, 200), (last + 4, 500), (last + 6, 200)] {
        world.ua("carol").request_numbered(0, "OPTIONS", number);
        world.run(500);
        assert_eq!(last_final(&world, "carol"), ("OPTIONS".into(), status), "{number}");
    }
    world.ua("carol").calls[0].local_cseq = last + 6;
    over(&mut world);
}

// Goal: the caller's ACK gets lost: the 200 is repeated; once it comes all is well; if it never does
// the call is ended after 64*T1 (RFC 3261 section 13.3.1.4).
#[test]
fn a_lost_ack_of_the_caller() {
    for (lost, stands) in [(3, true), (1_000, false)] {
        let mut world = World::center(5, Net::clean());
        world.add_caller("carol", 1);
        world.ua("carol").plan.acks_lost = lost;
        world.ua("carol").invite(NUMBER);
        world.run(31_000);
        assert!(world.see("carol").call().oks_seen > 3);
        assert!(world.see("carol").is_up(), "not before the time is over");
        world.run(5_000);
        assert_eq!(world.see("carol").is_up(), stands);
        assert_eq!(world.legs(), usize::from(stands));
        world.ua("carol").hang_up();
        world.run(200_000);
        assert_at_rest(&world);
    }
}

// Goal: both sides hang up in the same moment, or one after the other with everything in between:
// nothing is left, no BYE is refused.
#[test]
fn both_sides_hang_up() {
    for after in 0..60 {
        let mut world = talking(6);
        world.ua("carol").hang_up();
        world.run(after);
        world.ua("amy").hang_up();
        world.run(100_000);
        assert_at_rest(&world);
        let finals = |who| world.see(who).call().finals.iter().filter(|(m, _)| m == "BYE").count();
        assert_eq!(finals("carol"), 1);
        for who in ["carol", "amy"] {
            assert!(world.see(who).call().finals.iter().all(|(_, status)| *status != 0));
        }
    }
}

// Goal: a peer that is gone without a word frees the other side: silence is noticed, it is asked, and
// does not answer. The edge: silent, but it answers.
#[test]
fn a_peer_that_is_gone() {
    for (who, gone) in [("carol", true), ("amy", true), ("carol", false)] {
        let mut world = talking(7);
        if gone {
            world.ua(who).alive = false;
        } else {
            world.ua(who).plan.sends = false;
        }
        world.run(100_000);
        assert_eq!(world.connected(), usize::from(!gone), "{who} {gone}\n{}", world.describe());
        world.ua(who).alive = true;
        over(&mut world);
    }
}

// Goal: silence is judged by who may ask: a peer that is silent while there is no quorum keeps its call,
// and loses it afterwards when it is gone for good. At every moment between question and judgement.
#[test]
fn silence_without_a_quorum() {
    for (gone, lost_after) in
        [(true, 0), (true, 3_000), (true, 10_000), (false, 3_000), (false, 10_000)]
    {
        let mut world = talking(lost_after);
        world.ua("carol").alive = false;
        world.run(lost_after);
        world.quorum = false;
        world.run(35_000 - lost_after);
        world.ua("carol").alive = !gone;
        world.heal();
        world.run(5_000);
        assert_eq!(world.connected(), 1, "not judged yet: {gone} {lost_after}");
        world.run(75_000);
        assert_eq!(world.connected(), usize::from(!gone), "{}", world.describe());
        world.ua("carol").alive = true;
        over(&mut world);
    }
}

// Goal: a peer that was asked and knows nothing of the call frees the other side at once.
#[test]
fn a_peer_that_forgot() {
    let mut world = talking(8);
    world.ua("carol").plan.sends = false;
    world.ua("carol").plan.asked = Respond::Status(481);
    world.expect(8_000, "the call is over", |w| w.connected() == 0);
    world.expect(200, "the agent hears it", |w| w.see("amy").call().ended_by_peer);
    over(&mut world);
}

// Goal: our BYE is not answered: its transaction ends, and so does the leg.
#[test]
fn a_bye_that_is_not_answered() {
    let mut world = talking(9);
    world.ua("amy").plan.bye = Respond::Silent;
    world.ua("carol").hang_up();
    world.run(31_000);
    assert_eq!(world.legs(), 1);
    world.run(3_000);
    assert_eq!(world.legs(), 0);
    world.ua("amy").plan.bye = Respond::Ok;
    over(&mut world);
}

// --- session timers (RFC 4028) ----------------------------------------------------------------------

// Goal: we refresh in time, again and again, and the call stands; without answers it ends when the
// session runs out, and not before.
#[test]
fn we_refresh_the_session() {
    let mut world = timed(10, 90);
    let ok = world.see("carol").call().ok.clone().unwrap();
    assert_eq!(ok.get("Session-Expires"), "90;refresher=uas");
    world.run(1_000_000);
    assert_talks(&world);
    assert!(world.see("carol").call().requests.len() >= 20);
    world.ua("carol").plan.reinvited = Respond::Silent;
    world.ua("carol").plan.asked = Respond::Silent;
    world.run(40_000);
    assert_eq!(world.connected(), 1);
    world.run(60_000);
    assert_eq!(world.connected(), 0, "{}", world.describe());
    over(&mut world);
}

// Goal: a peer that has promised to refresh and does not is hung up on, some time before the session
// runs out (section 10); one that does refresh is not.
#[test]
fn the_peer_refreshes_the_session() {
    for refreshes in [false, true] {
        let mut world = World::center(11, Net::clean());
        world.with_session_timers(90);
        world.add_caller("carol", 1);
        world.add_agent("amy", 2);
        world.ua("amy").plan.expires = Some("90;refresher=uas".into());
        world.ua("carol").invite(NUMBER);
        world.expect(10_000, "they talk", |w| w.connected() == 1);
        for _ in 0..10 {
            world.run(30_000);
            if refreshes && world.see("amy").is_up() {
                world.ua("amy").reinvite(0, "sendrecv");
            }
        }
        assert_eq!(world.see("amy").is_up(), refreshes, "{}", world.describe());
        over(&mut world);
    }
}

// Goal: an interval that is too small is refused with what is the least (section 9).
#[test]
fn an_interval_that_is_too_small() {
    let mut world = timed(12, 1_800);
    for (expires, status) in [("89", 422), ("90", 200)] {
        world.ua("carol").hang_up();
        world.run(2_000);
        let extra = [("Session-Expires", expires.to_owned())];
        world.ua("carol").invite_with(NUMBER, &extra, crate::world::ua::Body::Sdp);
        world.run(1_000);
        assert_eq!(world.see("carol").call().status, Some(status), "{expires}");
    }
    over(&mut world);
}

// Goal: both sides change the session at the same time, at every distance: each is refused or taken
// (RFC 3261 sections 14.1 and 14.2), nobody hangs up, and both refresh in the end.
#[test]
fn glare() {
    let mut seen = BTreeSet::new();
    for before in (0..60).step_by(2) {
        let mut world = timed(13, 90);
        // We refresh half-way, counted from the 200.
        let answered = world.see("carol").call().answered.unwrap();
        let due = answered + 45_000 - 5;
        let wait = due + 30 - before - world.now;
        world.run(wait);
        world.ua("carol").reinvite(0, "sendonly");
        world.run(20_000);
        let call = world.see("carol").call();
        assert_eq!(call.state, State::Up, "{}", world.describe());
        let (_, status) = call.finals.last().unwrap().clone();
        let refused_ours = call.requests.iter().filter(|(_, m, _)| m == "INVITE").count() > 1;
        seen.insert((status, refused_ours));
        assert_talks(&world);
        world.run(100_000);
        assert_talks(&world);
        over(&mut world);
    }
    assert!(seen.contains(&(491, false)) || seen.contains(&(491, true)), "{seen:?}");
    assert!(seen.contains(&(200, false)), "{seen:?}");
}

// --- numbers ----------------------------------------------------------------------------------------

// Goal: numbers are used only when the log has reserved them: without a quorum a peer that changes
// the session more often than numbers are left is refused for the time being, not hung up on, and
// all goes on when commits do.
#[test]
fn numbers_are_reserved_before_use() {
    let mut world = talking(14);
    let leg = world.caller_leg("carol").unwrap().clone();
    world.quorum = false;
    let mut statuses = BTreeSet::new();
    for n in 0..2 * tandem_cluster::limits::SDP_VERSION_BLOCK {
        let direction = if n % 2 == 0 { "sendonly" } else { "sendrecv" };
        world.ua("carol").reinvite(0, direction);
        // Longer in all than one try to tell the log takes.
        world.run(150);
        statuses.insert(last_final(&world, "carol").1);
    }
    assert_eq!(statuses, [200, 500].into(), "some are taken, then none");
    let (_, version) = world.checks.used[&leg.id];
    assert_eq!(version, leg.dialog.unwrap().sdp_version_reserved, "all that was there was used");
    world.heal();
    world.run(5_000);
    world.ua("carol").reinvite(0, "inactive");
    world.run(1_000);
    assert_eq!(last_final(&world, "carol").1, 200);
    assert_talks(&world);
    over(&mut world);
}

// Goal: a thousand changes need a thousand numbers; enough are reserved in time.
#[test]
fn a_thousand_changes() {
    let mut world = talking(15);
    for n in 0..1_000 {
        let direction = if n % 2 == 0 { "sendonly" } else { "sendrecv" };
        world.ua("carol").reinvite(0, direction);
        world.run(60);
        assert_eq!(last_final(&world, "carol").1, 200, "change {n}");
    }
    assert_talks(&world);
    over(&mut world);
}

// Goal: a bad network delays calls, and breaks none that stays within SIP's patience.
#[test]
fn a_bad_network() {
    for seed in 0..40 {
        let mut world = talking_in(World::center(seed, Net::lossy()));
        world.run(5_000);
        assert_eq!(world.connected(), 1, "seed {seed}");
        for direction in ["sendonly", "sendrecv"] {
            world.ua("carol").reinvite(0, direction);
            world.run(20_000);
        }
        assert_talks(&world);
        world.ua("amy").hang_up();
        world.run(40_000);
        assert_eq!(world.legs(), 0, "seed {seed}");
        over(&mut world);
    }
}

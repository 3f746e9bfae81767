//! Agents who are held while callers of a lost node are confirmed: rows that are scripts and who is
//! offered to whom afterwards. The judge and the invariants watch every step of them.

use crate::{
    entity::{ContactState, DeviceState, NotReadyReason, WorkState},
    limits::CONFIRM_HOLD_MS,
    naive::tests::Center,
    time::{ClusterTime, Millis},
};

/// Runs each script in a center of its own and compares `contact>agent` of what is offered or talks.
fn check(rows: &[(&str, &str, &str)]) {
    for (why, script, expected) in rows {
        let mut center = Center::small();
        center.run(script);
        assert_eq!(center.together(), *expected, "{why}: {script}");
    }
}

// Goal: an agent who becomes free is kept for the earlier caller who is being confirmed, for exactly
// as long as the hold lasts (pair at the edge); the plain order follows.
#[test]
fn an_agent_waits_for_the_earlier_caller() {
    let until = CONFIRM_HOLD_MS - 1;
    check(&[
        ("held", "call u; call b; lose u; ready amy", ""),
        ("in time", "call u; call b; lose u; ready amy; confirm u", "u>amy"),
        (
            "just in time",
            &format!("call u; call b; lose u; ready amy; wait {until}; confirm u"),
            "u>amy",
        ),
        ("still held", &format!("call u; call b; lose u; ready amy; wait {until}"), ""),
        ("too late", &format!("call u; call b; lose u; ready amy; wait {until}; wait 1"), "b>amy"),
        ("a ghost", "call u; call b; lose u; ready amy; end u", "b>amy"),
        (
            "confirmed too late: the place was kept",
            "call u; call b; call c; lose u; wait 1000; ready amy; confirm u; ready bob",
            "b>amy u>bob",
        ),
        ("nobody is behind", "call u; lose u; ready amy; wait 1000", ""),
        ("the loss was long ago", "call u; call b; lose u; wait 1000; ready amy", "b>amy"),
        ("while the phone rang", "ready amy; call u; call b; lose u", ""),
        (
            "while the phone rang, confirmed",
            "ready amy; call u; call b; lose u; confirm u",
            "u>amy",
        ),
        ("the later one is lost", "call b; call u; lose u; ready amy", "b>amy"),
    ]);
}

// Goal: who comes in meanwhile does not pass the callers who are being confirmed.
#[test]
fn newcomers_do_not_pass() {
    check(&[
        ("a newcomer", "call u; lose u; ready amy; call b", ""),
        (
            "then the order",
            "call u; lose u; ready amy; call b; confirm u; ready bob",
            "b>bob u>amy",
        ),
        ("no ghost", "call u; lose u; ready amy; call b; end u", "b>amy"),
        ("in the end", "call u; lose u; ready amy; call b; wait 1000", "b>amy"),
        (
            "another agent too: the earlier caller would be connected second",
            "call u; lose u; ready amy; ready bob; call b",
            "",
        ),
        (
            "one who was given back",
            "ready amy; call b; call u; lose u; decline b; ready bob",
            "b>bob",
        ),
    ]);
}

// Goal: several callers and several agents come out as if nothing had happened, in whatever order the
// callers are confirmed; what plain order means is the first row.
#[test]
fn several_come_out_in_the_plain_order() {
    let lost = "call u; call v; call b; lose u; lose v; ready amy; wait 1; ready bob";
    let orders = [
        ("call u; call v; call b; ready amy; wait 1; ready bob".to_owned(), "u>amy v>bob"),
        (lost.to_owned(), ""),
        (format!("{lost}; confirm u"), "u>amy"),
        (format!("{lost}; confirm v"), ""),
        (format!("{lost}; confirm u; confirm v"), "u>amy v>bob"),
        (format!("{lost}; confirm v; confirm u"), "u>amy v>bob"),
        (format!("{lost}; end u"), ""),
        (format!("{lost}; end u; confirm v"), "b>bob v>amy"),
        (format!("{lost}; confirm v; end u"), "b>bob v>amy"),
        (format!("{lost}; end v; confirm u"), "b>bob u>amy"),
        (format!("{lost}; confirm v; wait 999"), "b>bob v>amy"),
        (format!("{lost}; wait 999"), "b>amy"),
    ];
    for (script, expected) in &orders {
        check(&[("", script, expected)]);
    }
}

// Goal: an agent is held only for callers whom they could serve and who are ahead: by skills, by
// priority, by site.
#[test]
fn only_who_could_serve_is_held() {
    check(&[
        ("amy has no spanish", "call u 101; call b; lose u; ready amy", "b>amy"),
        ("bob has", "call u 101; call b; lose u; ready bob", ""),
        ("one of each", "call u 101; call b; lose u; ready bob; ready amy", "b>amy"),
        ("another queue counts as well", "call u 200; call b; lose u; ready bob", ""),
        ("more important, behind", "call u; lose u; ready amy; call b 109", "b>amy"),
        ("more important, ahead", "call b; call u 109; lose u; ready amy", ""),
        (
            "kept for the staff of lon",
            "login amy; login bob; call u 200; call b; lose u; ready dee",
            "b>dee",
        ),
        ("nobody is there who could", "login amy; call u 200; call b; lose u; ready dee", ""),
        (
            "then somebody is",
            "login amy; call u 200; call b; lose u; ready dee; login bob",
            "b>dee",
        ),
        (
            "widened meanwhile",
            "login bob; call u 200; wait 3500; call b; lose u; wait 500; ready dee",
            "",
        ),
    ]);
}

// Goal: a second loss holds anew only for those who were lost anew.
#[test]
fn a_second_loss_holds_anew_only_for_whom_it_hit() {
    let script = "call u; call v; call b; lose u; ready amy; wait 600; lose u; lose v; wait 400";
    let mut center = Center::small();
    center.run(script);
    let hold = |center: &Center, contact| center.contact_named(contact).hold_until;
    assert_eq!((center.together(), hold(&center, "u")), (String::new(), None));
    assert_eq!(hold(&center, "v"), Some(center.state.now() + Millis(600)));
    assert_eq!(center.state.next_deadline(), hold(&center, "v"), "the leader is told when");
    center.run("lose u; wait 600");
    assert_eq!(center.together(), "b>amy", "held for v alone, and not for longer");
    assert_eq!(center.state.next_deadline().map(|at| at > center.state.now()), Some(true));

    let mut again = Center::small();
    again.run("call u; call b; lose u; wait 900; confirm u; lose u; ready amy; wait 999");
    assert_eq!(again.together(), "", "confirmed and lost again is lost anew");
    again.run("wait 1");
    assert_eq!(again.together(), "b>amy");
}

// Goal: an agent whose phone knows no such call any more has after-contact work and keeps the phone;
// one whose phone does not answer is not ready.
#[test]
fn after_a_lost_conversation() {
    for (number, script, work) in [
        ("100", "hung-up", WorkState::Ready),
        ("200", "hung-up", WorkState::WrapUp(ClusterTime(3_000))),
        ("100", "phone-dead", WorkState::NotReady(NotReadyReason::DeviceFailed)),
        ("200", "phone-dead", WorkState::NotReady(NotReadyReason::DeviceFailed)),
    ] {
        let mut center = Center::small();
        center.run(&format!("ready bob; call c {number}; accept c; lose-leg c {script} in-doubt"));
        let bob = center.agent_named("bob");
        assert_eq!((&bob.work, bob.device), (&work, DeviceState::Registered), "{number} {script}");
        assert_eq!(bob.idle_since, center.state.now());
        assert_eq!(center.contact_named("c").state, ContactState::Unconfirmed);
    }
}

// Goal: who hung up gets the same caller again only if nobody else is free, whether the caller's leg
// was known to live or had to be confirmed; and not before a caller who is ahead.
#[test]
fn the_same_caller_only_if_nobody_else_is_free() {
    check(&[
        ("alone", "ready amy; call c; accept c; lose-leg c hung-up held", "c>amy"),
        (
            "not alone",
            "ready amy; call c; accept c; wait 1; ready bob; lose-leg c hung-up held",
            "c>bob",
        ),
        (
            "not alone, at the same time and with the lower id",
            "ready amy; call c; accept c; ready bob; lose-leg c hung-up held",
            "c>bob",
        ),
        (
            "another site before the same agent",
            "ready bob; ready dee; call c 300; accept c; lose-leg c hung-up held; wait 3000",
            "c>dee",
        ),
        (
            "in doubt, then confirmed: again the other one",
            "ready amy; call c; accept c; lose-leg c hung-up in-doubt; ready bob; confirm c",
            "c>bob",
        ),
        (
            "in doubt, then confirmed, alone",
            "ready amy; call c; accept c; lose-leg c hung-up in-doubt; confirm c",
            "c>amy",
        ),
        (
            "somebody more important waited meanwhile",
            "ready amy; call c; accept c; call d 109; lose-leg c hung-up held",
            "d>amy",
        ),
        (
            "the dead phone is not asked",
            "ready amy; call c; accept c; lose-leg c phone-dead held",
            "",
        ),
    ]);
}

//! CANCEL on both sides (RFC 3261 section 9).

use super::*;
use crate::message::Reason;

const BRANCH: &str = "z9hG4bKcancel";

// Goal: before a provisional response a CANCEL waits for it; it then has the INVITE's branch and the
// given reason.
#[test]
fn cancel_waits_for_a_provisional_response() {
    let mut side = Side::new(Transport::Udp);
    let tx = side.send(request(Method::Invite));
    let reason = Reason::sip(StatusCode::OK, "Call completed elsewhere");
    let outcome = side.layer.cancel(side.now, tx, std::slice::from_ref(&reason));
    assert_eq!(outcome, Ok(CancelOutcome::AfterProvisional));
    side.pass(SECOND);
    let sent = side.sent.iter().filter(|t| name(&parse(t)) == "CANCEL").count();
    assert_eq!(sent, 0);
    side.receive(answer(&side, Method::Invite, StatusCode::TRYING));
    let Message::Request(cancel) = parse(side.sent.last().unwrap()) else { unreachable!("CANCEL") };
    assert_eq!(cancel.method, Method::Cancel);
    assert_eq!(cancel.headers.reasons().unwrap(), [reason]);
    let Message::Request(invite) = parse(&side.sent[0]) else { unreachable!("INVITE") };
    assert_eq!(cancel.vias, invite.vias);
    assert_eq!(cancel.cseq.number, invite.cseq.number);
    assert_eq!(side.layer.cancel(side.now, tx, &[]), Ok(CancelOutcome::AlreadySent));

    side.receive(answer(&side, Method::Cancel, StatusCode::OK));
    side.receive(answer(&side, Method::Invite, StatusCode::REQUEST_TERMINATED));
    side.pass(32 * SECOND);
    assert_eq!(side.take_events(), ["response 100", "response 487", "terminated"]);
    assert_eq!(side.layer.client_transactions(), 0);
}

// Goal: when nothing follows a CANCEL, the INVITE ends after 64*T1 (section 9.1), not before.
#[test]
fn cancelled_invites_end_without_answer() {
    let mut side = Side::new(Transport::Tcp);
    let tx = side.send(request(Method::Invite));
    side.receive(answer(&side, Method::Invite, StatusCode::RINGING));
    assert_eq!(side.layer.cancel(side.now, tx, &[]), Ok(CancelOutcome::Sent));
    side.drain();
    side.pass(32 * SECOND - Duration::from_millis(1));
    assert_eq!(side.take_events(), ["response 180"]);
    side.pass(Duration::from_millis(1));
    assert_eq!(side.take_events(), ["timeout", "terminated"]);
    assert_eq!(side.layer.client_transactions(), 0);
}

// Goal: an INVITE that rings for ever is cancelled by the layer and ends (S1).
#[test]
fn endless_ringing_is_cancelled() {
    let mut side = Side::new(Transport::Tcp);
    side.send(request(Method::Invite));
    side.receive(answer(&side, Method::Invite, StatusCode::RINGING));
    let ring = TimerConfig::default().timer_c;
    side.pass(ring - Duration::from_millis(1));
    assert_eq!(side.take_sent(), ["INVITE"]);
    side.pass(Duration::from_millis(1));
    assert_eq!(side.take_sent(), ["CANCEL"]);
    side.pass(32 * SECOND);
    assert_eq!(side.take_events(), ["response 180", "timeout", "terminated"]);
}

// Goal: what cannot be cancelled says so.
#[test]
fn nothing_to_cancel() {
    let mut side = Side::new(Transport::Udp);
    let options = side.send(request(Method::Options));
    assert_eq!(side.layer.cancel(side.now, options, &[]), Err(CancelError::NotInvite));
    let invite = side.send(request(Method::Invite));
    side.receive(answer(&side, Method::Invite, StatusCode::OK));
    assert_eq!(side.layer.cancel(side.now, invite, &[]), Ok(CancelOutcome::TooLate));
    side.pass(40 * SECOND);
    assert_eq!(side.layer.cancel(side.now, invite, &[]), Err(CancelError::Unknown));
}

// Goal: a CANCEL that comes in is answered with the tag of the INVITE's responses, reported once while
// the INVITE is open, and repeated ones are absorbed.
#[test]
fn incoming_cancel() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Invite, BRANCH));
    let tx = side.server_tx();
    side.receive(incoming(Method::Cancel, BRANCH));
    side.receive(incoming(Method::Cancel, BRANCH));
    assert_eq!(side.take_events(), ["request INVITE", "cancel"]);
    side.respond(tx, StatusCode::REQUEST_TERMINATED).unwrap();
    let tags: Vec<_> = side
        .sent
        .iter()
        .map(|t| match parse(t) {
            Message::Response(response) => response.to_tag().cloned(),
            Message::Request(_) => unreachable!("responses"),
        })
        .collect();
    assert_eq!(side.take_sent(), ["200", "200", "487"]);
    assert!(tags[0].is_some() && tags.iter().all(|tag| *tag == tags[0]));
}

// Goal: a CANCEL after the final response, for another method, or for nothing does not reach the core.
#[test]
fn cancel_without_effect() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Cancel, BRANCH));
    assert_eq!((side.take_sent(), side.take_events()), (vec!["481".to_owned()], vec![]));

    side.receive(incoming(Method::Invite, "z9hG4bKlate"));
    let tx = side.server_tx();
    side.respond(tx, StatusCode::OK).unwrap();
    side.receive(incoming(Method::Cancel, "z9hG4bKlate"));
    assert_eq!(side.take_sent(), ["200", "200"]);
    assert_eq!(side.take_events(), ["request INVITE"]);

    side.receive(incoming(Method::Options, "z9hG4bKopt"));
    side.receive(incoming(Method::Cancel, "z9hG4bKopt"));
    assert_eq!(side.take_sent(), ["200"]);
    assert_eq!(side.take_events(), ["request OPTIONS"]);
}

// Goal: a node that took a ringing leg over cancels the dead node's INVITE from its replicated skeleton,
// and the phone finds the INVITE by it.
#[test]
fn cancel_for_a_dead_node() {
    let mut dead = Side::new(Transport::Udp);
    dead.send(request(Method::Invite));
    let Message::Request(invite) = parse(&dead.sent[0]) else { unreachable!("INVITE") };
    let replicated = invite.skeleton().to_bytes();

    let mut phone = Side::new(Transport::Udp);
    phone.receive(*invite);

    let mut taker = Side::new(Transport::Udp);
    let Ok(Message::Request(skeleton)) = parse_datagram(replicated) else {
        unreachable!("readable")
    };
    taker.send(build_cancel(&skeleton, &[]));
    let cancel = parse(&taker.sent[0]);
    phone.receive(cancel);
    assert_eq!(phone.take_events(), ["request INVITE", "cancel"]);
    assert_eq!(phone.take_sent(), ["200"]);
    taker.receive(answer(&taker, Method::Cancel, StatusCode::OK));
    assert_eq!(taker.take_events(), ["response 200"]);
}

// Goal: a taker that adopts the ringing INVITE itself gets its responses, can cancel it, and sends
// nothing by adopting.
#[test]
fn adopted_ringing_invite() {
    let mut dead = Side::new(Transport::Udp);
    dead.send(request(Method::Invite));
    let Message::Request(invite) = parse(&dead.sent[0]) else { unreachable!("INVITE") };
    let busy = answer(&dead, Method::Invite, StatusCode::BUSY_HERE);

    let mut taker = Side::new(Transport::Udp);
    let hop = Hop::from_flow(taker.flow);
    let skeleton = invite.skeleton();
    let tx = taker.layer.adopt_client_invite(taker.now, skeleton, &hop, OWNER).unwrap();
    taker.drain();
    assert!(taker.take_sent().is_empty());
    assert_eq!(taker.layer.cancel(taker.now, tx, &[]), Ok(CancelOutcome::Sent));
    taker.drain();
    taker.receive(busy);
    assert_eq!(taker.take_sent(), ["CANCEL", "ACK"]);
    assert_eq!(taker.take_events(), ["response 486"]);
}

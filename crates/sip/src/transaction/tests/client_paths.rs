//! Requests of ours: retransmissions, answers, timeouts, failures.

use super::*;

// Goal: an INVITE without answer is sent 7 times over UDP and once over TCP, then times out after 32 s.
#[test]
fn unanswered_invites_time_out() {
    for (transport, sendings) in [(Transport::Udp, 7), (Transport::Tcp, 1)] {
        let mut side = Side::new(transport);
        side.send(request(Method::Invite));
        side.pass(32 * SECOND - Duration::from_millis(1));
        assert!(side.take_events().is_empty());
        side.pass(Duration::from_millis(1));
        assert_eq!(side.take_events(), ["timeout", "terminated"]);
        assert_eq!(side.take_sent().len(), sendings, "{transport:?}");
        assert_eq!((side.layer.client_transactions(), side.layer.running_timers()), (0, 0));
        assert_eq!(side.layer.counters().requests_resent, sendings as u64 - 1);
    }
}

// Goal: a failure is acknowledged with the INVITE's branch, and again for each repetition, while the
// core hears of it once.
#[test]
fn failures_are_acknowledged() {
    let mut side = Side::new(Transport::Udp);
    side.send(request(Method::Invite));
    let invite = match parse(&side.sent[0]) {
        Message::Request(request) => request,
        Message::Response(_) => unreachable!("a request"),
    };
    let busy = answer(&side, Method::Invite, StatusCode::BUSY_HERE);
    side.receive(busy.clone());
    side.receive(busy.clone());
    assert_eq!(side.take_events(), ["response 486"]);
    let acks: Vec<_> = side.sent.iter().skip(1).map(parse).collect();
    assert_eq!(acks.len(), 2);
    for ack in acks {
        let Message::Request(ack) = ack else { unreachable!("a request") };
        assert_eq!(ack.method, Method::Ack);
        assert_eq!(ack.cseq.number, invite.cseq.number);
        assert_eq!(ack.vias, invite.vias);
        assert_eq!(ack.to_tag(), busy.to_tag());
        assert_eq!(
            (&ack.uri, &ack.call_id, &ack.from),
            (&invite.uri, &invite.call_id, &invite.from)
        );
    }
    side.pass(32 * SECOND);
    assert_eq!(side.take_events(), ["terminated"]);
    side.receive(busy);
    assert_eq!(side.take_events(), ["stray 486"]);
    assert_eq!(side.layer.running_timers(), 0);
}

// Goal: routes of the INVITE are in its ACK (section 17.1.1.3).
#[test]
fn acks_follow_the_route() {
    let mut side = Side::new(Transport::Udp);
    let mut invite = request(Method::Invite);
    invite.headers.push(HeaderName::Route, SipText::from_static("<sip:p1;lr>, <sip:p2;lr>"));
    invite.headers.push(HeaderName::Subject, SipText::from_static("not in the ACK"));
    side.send(invite);
    side.receive(answer(&side, Method::Invite, StatusCode::DECLINE));
    let Message::Request(ack) = parse(side.sent.last().unwrap()) else { unreachable!("ACK") };
    assert_eq!(ack.headers.routes(&HeaderName::Route).unwrap().len(), 2);
    assert!(!ack.headers.has(&HeaderName::Subject));
}

// Goal: each 2xx goes up, also from a second fork, until timer M; the layer sends no ACK for them.
#[test]
fn every_2xx_goes_up() {
    let mut side = Side::new(Transport::Tcp);
    side.send(request(Method::Invite));
    let ok = answer(&side, Method::Invite, StatusCode::OK);
    let mut fork = ok.clone();
    fork.to.set_tag(SipText::from_static("other-fork"));
    for response in [&ok, &ok, &fork] {
        side.receive(response.clone());
    }
    side.pass(32 * SECOND);
    assert_eq!(side.take_events(), ["response 200", "response 200", "response 200", "terminated"]);
    assert_eq!(side.take_sent(), ["INVITE"]);
}

// Goal: a non-INVITE is sent 11 times within 32 s, its final response ends the sending, and later
// copies of it are absorbed for T4.
#[test]
fn non_invite_requests() {
    let mut side = Side::new(Transport::Udp);
    side.send(request(Method::Options));
    side.pass(33 * SECOND);
    assert_eq!(side.take_sent().len(), 11);
    assert_eq!(side.take_events(), ["timeout", "terminated"]);

    side.send(request(Method::Options));
    let ok = answer(&side, Method::Options, StatusCode::OK);
    side.receive(ok.clone());
    side.receive(ok.clone());
    side.pass(5 * SECOND);
    assert_eq!(side.take_events(), ["response 200", "terminated"]);
    assert_eq!(side.take_sent(), ["OPTIONS"]);
    side.receive(ok);
    assert_eq!(side.take_events(), ["stray 200"]);
}

// Goal: a response finds its transaction by branch and method only if both fit (section 17.1.3).
#[test]
fn responses_match_by_branch_and_method() {
    let mut side = Side::new(Transport::Udp);
    side.send(request(Method::Options));
    let mut other_branch = answer(&side, Method::Options, StatusCode::OK);
    other_branch.vias[0]
        .params
        .set(SipText::from_static("branch"), Some(SipText::from_static("z9hG4bKother")));
    side.receive(other_branch);
    let mut other_method = answer(&side, Method::Options, StatusCode::OK);
    other_method.cseq.method = Method::Info;
    side.receive(other_method);
    assert_eq!(side.take_events(), ["stray 200", "stray 200"]);
    assert_eq!(side.layer.counters().stray_responses, 2);
}

// Goal: a failed sending ends a transaction; a closed connection ends those without any answer only.
#[test]
fn transport_failures() {
    let mut side = Side::new(Transport::Tls);
    let tx = side.send(request(Method::Bye));
    side.layer.handle_transmit_failed(side.now, TransactionId::Client(tx));
    side.drain();
    assert_eq!(side.take_events(), ["transport failed", "terminated"]);

    side.send(request(Method::Invite));
    side.receive(answer(&side, Method::Invite, StatusCode::RINGING));
    side.send(request(Method::Bye));
    side.layer.handle_connection_closed(side.now, ConnectionId(2));
    side.layer.handle_connection_closed(side.now, ConnectionId(1));
    side.drain();
    assert_eq!(side.take_events(), ["response 180", "transport failed", "terminated"]);
    assert_eq!(side.layer.client_transactions(), 1, "the ringing INVITE waits on");
}

// Goal: what cannot be sent is refused with its own reason, and nothing leaves.
#[test]
fn refused_requests() {
    let config = LayerConfig { client_transactions_max: 1, ..LayerConfig::default() };
    let mut side = Side::with_config(Transport::Udp, config);
    let hop = Hop::from_flow(side.flow);
    let mut send = |request| {
        let result = side.layer.send_request(side.now, request, &hop, OWNER);
        side.drain();
        result.err()
    };
    assert_eq!(send(request(Method::Ack)), Some(SendError::Ack));
    assert_eq!(send(incoming(Method::Bye, "old-branch")), Some(SendError::NoBranch));
    let body = bytes::Bytes::from(vec![b'x'; crate::limits::MESSAGE_BYTES_MAX]);
    let large = request(Method::Info).with_body(SipText::from_static("a/b"), body);
    assert!(matches!(send(large), Some(SendError::TooLarge { .. })));
    assert_eq!(send(incoming(Method::Bye, "z9hG4bKx")), None);
    assert_eq!(send(incoming(Method::Bye, "z9hG4bKy")), Some(SendError::Full { max: 1 }));
    assert_eq!(side.take_sent(), ["BYE"]);
}

// Goal: a branch that is given is used, and only once at a time.
#[test]
fn given_branches() {
    let mut side = Side::new(Transport::Udp);
    let given = incoming(Method::Cancel, "z9hG4bKgiven");
    side.send(given.clone());
    assert!(String::from_utf8_lossy(&side.sent[0].bytes).contains("branch=z9hG4bKgiven"));
    let hop = Hop::from_flow(side.flow);
    let again = side.layer.send_request(side.now, given, &hop, OWNER);
    assert_eq!(again, Err(SendError::BranchInUse));
}

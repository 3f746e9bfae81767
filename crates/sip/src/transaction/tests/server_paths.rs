//! Requests of others: absorption, ACK, merged and broken requests, limits.

use super::*;

const BRANCH: &str = "z9hG4bKserver";

// Goal: an INVITE that the core leaves unanswered gets 100 after 200 ms and not before; a repetition
// gets the last provisional response.
#[test]
fn trying_and_retransmissions() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Invite, BRANCH));
    side.pass(Duration::from_millis(199));
    assert!(side.take_sent().is_empty());
    side.pass(Duration::from_millis(1));
    assert_eq!(side.take_sent(), ["100"]);
    side.receive(incoming(Method::Invite, BRANCH));
    assert_eq!(side.take_sent(), ["100"]);
    let tx = side.server_tx();
    side.respond(tx, StatusCode::RINGING).unwrap();
    side.receive(incoming(Method::Invite, BRANCH));
    assert_eq!(side.take_sent(), ["180", "180"]);
    assert_eq!(side.take_events(), ["request INVITE"]);
    assert_eq!(side.layer.counters().request_retransmissions, 2);
}

// Goal: a quick answer of the core makes the 100 unnecessary.
#[test]
fn no_trying_after_a_quick_answer() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Invite, BRANCH));
    let tx = side.server_tx();
    side.respond(tx, StatusCode::RINGING).unwrap();
    side.pass(SECOND);
    assert_eq!(side.take_sent(), ["180"]);
}

// Goal: a failure is sent again until its ACK, which the core never sees.
#[test]
fn failures_are_repeated_until_acknowledged() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Invite, BRANCH));
    let tx = side.server_tx();
    side.respond(tx, StatusCode::BUSY_HERE).unwrap();
    assert_eq!(side.respond(tx, StatusCode::OK), Err(RespondError::AlreadyAnswered));
    side.pass(2 * SECOND);
    assert_eq!(side.take_sent(), ["486", "486", "486"], "at 0, 0.5 and 1.5 s");
    side.receive(incoming(Method::Ack, BRANCH));
    side.pass(5 * SECOND);
    assert!(side.take_sent().is_empty());
    assert_eq!(side.take_events(), ["request INVITE", "terminated"]);
    assert_eq!(side.layer.running_timers(), 0);
    assert_eq!(side.respond(tx, StatusCode::OK), Err(RespondError::Unknown));
}

// Goal: without ACK the core is told after 32 s, on every transport.
#[test]
fn missing_acks_are_reported() {
    for transport in [Transport::Udp, Transport::Tls] {
        let mut side = Side::new(transport);
        side.receive(incoming(Method::Invite, BRANCH));
        let tx = side.server_tx();
        side.respond(tx, StatusCode::BUSY_HERE).unwrap();
        side.pass(32 * SECOND);
        assert_eq!(side.take_events(), ["request INVITE", "server timeout", "terminated"]);
        let copies = if transport == Transport::Udp { 11 } else { 1 };
        assert_eq!(side.take_sent().len(), copies, "{transport:?}");
    }
}

// Goal: after a 2xx the INVITE's copies are absorbed, the core may repeat the 2xx, and the ACK goes up
// whichever branch it has (RFC 6026 section 7.1).
#[test]
fn accepted_invites() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Invite, BRANCH));
    let tx = side.server_tx();
    side.respond(tx, StatusCode::OK).unwrap();
    side.receive(incoming(Method::Invite, BRANCH));
    side.respond(tx, StatusCode::OK).unwrap();
    assert_eq!(side.respond(tx, StatusCode::BUSY_HERE), Err(RespondError::AlreadyAnswered));
    side.receive(incoming(Method::Ack, BRANCH));
    side.receive(incoming(Method::Ack, "z9hG4bKack"));
    assert_eq!(side.take_sent(), ["200", "200"]);
    assert_eq!(side.take_events(), ["request INVITE", "ack", "ack"]);
    side.pass(32 * SECOND);
    assert_eq!(side.take_events(), ["terminated"]);
}

// Goal: a non-INVITE is absorbed while unanswered, answered again afterwards, and forgotten when the
// core is silent for 32 s (RFC 4320).
#[test]
fn non_invite_requests() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Options, BRANCH));
    side.receive(incoming(Method::Options, BRANCH));
    assert!(side.take_sent().is_empty());
    let tx = side.server_tx();
    side.respond(tx, StatusCode::OK).unwrap();
    side.receive(incoming(Method::Options, BRANCH));
    assert_eq!(side.take_sent(), ["200", "200"]);
    side.pass(32 * SECOND);
    assert_eq!(side.take_events(), ["request OPTIONS", "terminated"]);

    side.receive(incoming(Method::Options, "z9hG4bKsilent"));
    side.pass(32 * SECOND);
    assert_eq!(side.take_events(), ["request OPTIONS", "server timeout", "terminated"]);
    assert!(side.take_sent().is_empty(), "no 408 to a non-INVITE");
}

// Goal: an INVITE that the core forgets ends with 500, so that nothing waits for ever (S1).
#[test]
fn forgotten_invites_end() {
    let mut side = Side::new(Transport::Tcp);
    side.receive(incoming(Method::Invite, BRANCH));
    side.pass(3_600 * SECOND);
    assert_eq!(side.take_sent(), ["100", "500"]);
    side.pass(32 * SECOND);
    let events = side.take_events();
    assert_eq!(events, ["request INVITE", "server timeout", "server timeout", "terminated"]);
    assert_eq!(side.layer.server_transactions(), 0);
}

// Goal: the same request by two ways is one request and one 482 (section 8.2.2.2); inside a dialog, and
// after the first is over, the rule does not apply.
#[test]
fn merged_requests() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Invite, "z9hG4bK1"));
    side.receive(incoming(Method::Invite, "z9hG4bK2"));
    assert_eq!(side.take_sent(), ["482"]);
    side.receive(incoming(Method::Ack, "z9hG4bK2"));
    let mut in_dialog = incoming(Method::Invite, "z9hG4bK3");
    in_dialog.to.set_tag(SipText::from_static("x"));
    side.receive(in_dialog);
    assert_eq!(side.take_events(), ["request INVITE", "request INVITE"]);
    assert_eq!(side.layer.counters().merged, 1);

    let mut side = Side::new(Transport::Tcp);
    side.receive(incoming(Method::Options, "z9hG4bK1"));
    let tx = side.server_tx();
    side.respond(tx, StatusCode::OK).unwrap();
    side.receive(incoming(Method::Options, "z9hG4bK2"));
    let events = side.take_events();
    assert_eq!(events, ["request OPTIONS", "terminated", "request OPTIONS"]);
}

// Goal: sent-by is part of the key: two clients may choose the same branch (section 17.2.3).
#[test]
fn sent_by_tells_clients_apart() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Options, BRANCH));
    let mut other = incoming(Method::Options, BRANCH);
    other.vias[0].port = Some(5070);
    other.from.set_tag(SipText::from_static("someone-else"));
    side.receive(other);
    assert_eq!(side.take_events(), ["request OPTIONS", "request OPTIONS"]);
}

// Goal: a request without a branch of RFC 3261 gets 400, an ACK without one goes up.
#[test]
fn old_branches() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Options, "1"));
    side.receive(incoming(Method::Options, "z9hG4bK"));
    side.receive(incoming(Method::Ack, "1"));
    assert_eq!(side.take_sent(), ["400", "400"]);
    assert_eq!(side.take_events(), ["ack"]);
    assert_eq!(side.layer.server_transactions(), 0);
}

// Goal: over the limit a request gets 503 with Retry-After and no transaction; an ACK gets nothing.
#[test]
fn full_table() {
    let config = LayerConfig { server_transactions_max: 1, ..LayerConfig::default() };
    let mut side = Side::with_config(Transport::Udp, config);
    side.receive(incoming(Method::Invite, "z9hG4bK1"));
    side.receive(incoming(Method::Options, "z9hG4bK2"));
    let Message::Response(refusal) = parse(side.sent.last().unwrap()) else {
        unreachable!("a response")
    };
    assert_eq!(refusal.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refusal.headers.retry_after().unwrap().unwrap().delay_s, 10);
    side.receive(incoming(Method::Ack, "z9hG4bK3"));
    assert_eq!(side.take_events(), ["request INVITE", "ack"]);
    assert_eq!(side.layer.counters().refused_full, 1);
}

// Goal: broken requests are answered from what could be read, with a readable response; broken
// responses and ACKs are dropped.
#[test]
fn malformed_messages() {
    let mut side = Side::new(Transport::Udp);
    let good = String::from_utf8(incoming(Method::Invite, BRANCH).to_bytes().to_vec()).unwrap();
    let broken = [
        (good.replace("SIP/2.0\r\nVia", "SIP/7.0\r\nVia"), Some("505")),
        (good.replace("CSeq: 1 INVITE", "CSeq: 1 BYE"), Some("400")),
        (good.replace("Content-Length: 0", "Content-Length: 9"), Some("400")),
        (good.replace("<sip:bob@b.example>", "<sip:bob@b.example"), Some("400")),
        (good.replace("Call-ID: call-1\r\n", ""), None),
        (good.replace("INVITE", "ACK").replace("Max-Forwards: 70", "Max-Forwards: x"), None),
        (good.replace("INVITE sip:bob@b.example SIP/2.0", "SIP/2.0 999 x"), None),
    ];
    for (text, expect) in broken {
        let failure = parse_datagram(text.clone().into_bytes()).unwrap_err();
        let flow = side.flow;
        side.layer.handle_malformed(&flow, &failure);
        side.drain();
        let sent = std::mem::take(&mut side.sent);
        let statuses: Vec<String> =
            sent.iter().map(|t| String::from_utf8_lossy(&t.bytes[8..11]).into_owned()).collect();
        assert_eq!(statuses.first().map(String::as_str), expect, "{text}");
        for transmit in &sent {
            assert_eq!(transmit.flow.remote, side.flow.remote);
            let text = String::from_utf8_lossy(&transmit.bytes).into_owned();
            assert!(text.contains(&format!("branch={BRANCH}")) && text.contains("Call-ID: call-1"));
        }
    }
    let counters = side.layer.counters();
    assert_eq!((counters.malformed_answered, counters.malformed_dropped), (4, 3));
}

// Goal: a response that could not be sent is reported; the INVITE stays open for its repetition (RFC
// 6026), a non-INVITE is over.
#[test]
fn transport_failures() {
    let mut side = Side::new(Transport::Udp);
    side.receive(incoming(Method::Invite, BRANCH));
    let invite = side.server_tx();
    side.respond(invite, StatusCode::OK).unwrap();
    side.layer.handle_transmit_failed(side.now, TransactionId::Server(invite));
    side.drain();
    assert_eq!(side.take_events(), ["request INVITE", "server transport failed"]);
    side.receive(incoming(Method::Options, BRANCH));
    let options = side.server_tx();
    side.respond(options, StatusCode::OK).unwrap();
    side.layer.handle_transmit_failed(side.now, TransactionId::Server(options));
    side.drain();
    let events = side.take_events();
    assert_eq!(events, ["request OPTIONS", "server transport failed", "terminated"]);
    assert_eq!(side.layer.server_transactions(), 1);
}

// Goal: a node that takes a ringing caller over answers the INVITE that the dead node received, and
// handles the caller's repetition and CANCEL.
#[test]
fn adopted_invites() {
    let mut dead = Side::new(Transport::Udp);
    dead.receive(incoming(Method::Invite, BRANCH));
    let Some(Event::Request { request, to_tag, .. }) = dead.events.pop() else {
        unreachable!("a request")
    };
    let replicated = request.skeleton().to_bytes();

    let mut taker = Side::new(Transport::Udp);
    let Ok(Message::Request(invite)) = parse_datagram(replicated) else { unreachable!("readable") };
    let route = ReplyRoute { flow: taker.flow, reconnect: None };
    let adopt = |taker: &mut Side| {
        taker.layer.adopt_server_invite(taker.now, &invite, route, to_tag.clone(), OWNER)
    };
    let tx = adopt(&mut taker).unwrap();
    assert_eq!(adopt(&mut taker), Err(RespondError::Unknown), "only once");
    taker.drain();
    assert!(taker.take_sent().is_empty());
    taker.receive(incoming(Method::Invite, BRANCH));
    assert_eq!(taker.take_sent(), ["100"]);
    taker.receive(incoming(Method::Cancel, BRANCH));
    assert_eq!(
        (taker.take_sent(), taker.take_events()),
        (vec!["200".into()], vec!["cancel".into()])
    );
    taker.respond(tx, StatusCode::REQUEST_TERMINATED).unwrap();
    let Message::Response(response) = parse(&taker.sent[0]) else { unreachable!("a response") };
    assert_eq!(response.to_tag(), Some(&to_tag), "the dead node's tag");
    assert_eq!(response.vias, request.vias);
}

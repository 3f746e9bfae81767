//! A node that may be fenced: nothing is originated (S2), and what another node owns is dropped.

use super::*;

// Goal: with the gate held no request, retransmission, ACK or CANCEL leaves, and responses still do.
#[test]
fn held_gate_originates_nothing() {
    let mut side = Side::new(Transport::Udp);
    let invite = side.send(request(Method::Invite));
    let busy = answer(&side, Method::Invite, StatusCode::BUSY_HERE);
    side.take_sent();
    side.layer.originate_gate(Gate::Held);
    side.pass(SECOND);
    side.send(request(Method::Bye));
    side.layer.cancel(side.now, invite, &[]).unwrap();
    side.receive(busy);
    let mut ack = request(Method::Ack);
    assert_eq!(side.layer.send_ack(&mut ack, &Hop::from_flow(side.flow)), Sent::Withheld);
    side.drain();
    assert!(side.take_sent().is_empty());
    assert!(side.layer.counters().withheld >= 4);

    side.receive(incoming(Method::Options, "z9hG4bKin"));
    let tx = side.server_tx();
    side.respond(tx, StatusCode::SERVICE_UNAVAILABLE).unwrap();
    assert_eq!(side.take_sent(), ["503"]);

    side.layer.originate_gate(Gate::Open);
    side.drain();
    let mut sent = side.take_sent();
    sent.sort();
    assert_eq!(sent, ["ACK", "BYE"], "once each, and no INVITE that is answered already");
}

// Goal: a request that was answered, or timed out, while the gate was held is not sent afterwards.
#[test]
fn nothing_stale_leaves_when_the_gate_opens() {
    let mut side = Side::new(Transport::Udp);
    side.send(request(Method::Invite));
    let ringing = answer(&side, Method::Invite, StatusCode::RINGING);
    side.layer.originate_gate(Gate::Held);
    side.pass(SECOND);
    side.receive(ringing);
    side.send(request(Method::Bye));
    side.pass(32 * SECOND);
    side.take_sent();
    side.layer.originate_gate(Gate::Open);
    side.drain();
    assert!(side.take_sent().is_empty());
    assert_eq!(side.take_events(), ["response 180", "timeout", "terminated"]);
}

// Goal: retransmissions go on after the gate opens.
#[test]
fn retransmissions_resume() {
    let mut side = Side::new(Transport::Udp);
    side.layer.originate_gate(Gate::Held);
    side.send(request(Method::Bye));
    side.pass(2 * SECOND);
    side.layer.originate_gate(Gate::Open);
    side.drain();
    assert_eq!(side.take_sent(), ["BYE"]);
    side.pass(4 * SECOND);
    assert_eq!(side.take_sent(), ["BYE"], "the next interval of timer E");
}

// Goal: the transactions of one owner vanish without a message or an event, those of others stay.
#[test]
fn dropped_owners_are_silent() {
    let mut side = Side::new(Transport::Udp);
    let hop = Hop::from_flow(side.flow);
    for (owner, method) in [(1, Method::Invite), (1, Method::Bye), (2, Method::Options)] {
        side.layer.send_request(side.now, request(method), &hop, Owner(owner)).unwrap();
    }
    side.receive(incoming(Method::Invite, "z9hG4bKin"));
    let tx = side.server_tx();
    side.layer.own_server_transaction(tx, Owner(1));
    side.drain();
    side.take_sent();
    side.take_events();
    assert_eq!(side.layer.drop_transactions(Owner(1)), 3);
    side.drain();
    assert_eq!((side.layer.client_transactions(), side.layer.server_transactions()), (1, 0));
    side.pass(40 * SECOND);
    assert_eq!(side.take_events(), ["timeout", "terminated"], "of the other owner");
    assert!(side.take_sent().iter().all(|name| name == "OPTIONS"));
    assert_eq!(side.layer.drop_transactions(Owner(1)), 0);
    assert_eq!(side.layer.running_timers(), 0);
}

// Goal: debug output of a layer with open transactions shows no message.
#[test]
fn debug_is_private() {
    let mut side = Side::new(Transport::Udp);
    side.send(request(Method::Invite));
    side.receive(incoming(Method::Options, "z9hG4bKin"));
    let shown = format!("{:?} {:?} {:?}", side.layer, side.sent, side.events);
    assert!(!shown.contains("alice") && !shown.contains("bob"), "{shown}");
}

// Goal: a fenced node drops all requests of its own in silence.
#[test]
fn fenced_nodes_drop_everything() {
    let mut side = Side::new(Transport::Udp);
    side.layer.originate_gate(Gate::Held);
    side.send(request(Method::Invite));
    side.send(request(Method::Bye));
    assert_eq!(side.layer.drop_all_client_transactions(), 2);
    side.layer.originate_gate(Gate::Open);
    side.pass(40 * SECOND);
    assert!(side.take_sent().is_empty() && side.take_events().is_empty());
    assert_eq!(side.layer.running_timers(), 0);
}

//! Retransmission and giving up, by RFC 3261's tables of timers.

use super::{Bench, Far, NODE_A, OWN, Sent, address, established, heads, sdp, tcp_flow};
use crate::report::{CallState, EndCause};
use crate::sip::{Message, Method, Received};
use crate::transaction::Outgoing;
use crate::ua::{AnswerPolicy, CallPlan, PhoneConfig, Server, TxUser};

fn times_ms(sent: &[Sent]) -> Vec<u64> {
    sent.iter().map(|sent| sent.at.as_ms()).collect()
}

// Goal: an unanswered INVITE over UDP is repeated by timer A and given up by timer B at 64*T1.
#[test]
fn invite_timers_a_and_b() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let leg = bench.call(config, CallPlan::to("8000"));
    bench.run_ms(31_999);
    assert_eq!(times_ms(&bench.sent()), [0, 500, 1_500, 3_500, 7_500, 15_500, 31_500]);
    assert_eq!(bench.state(leg), CallState::Started);
    bench.run_ms(1);
    assert_eq!(bench.last_report().end, Some(EndCause::NoResponse));
    bench.run_ms(60_000);
    assert_eq!(heads(&bench.sent()), [""; 0]);
}

// Goal: other requests are repeated by timer E up to T2 and given up by timer F.
#[test]
fn request_timers_e_and_f() {
    let mut bench = Bench::new();
    let mut config = PhoneConfig::new("agent", "1001", address(OWN));
    config = config.registering("secret", vec![Server::udp(address(NODE_A))]);
    config.retry_after_ms = 100_000;
    bench.phone(config);
    bench.run_ms(32_000);
    let wanted = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
    assert_eq!(times_ms(&bench.sent()), wanted);
}

// Goal: over TCP nothing is repeated, and a broken connection fails the request at once.
#[test]
fn nothing_is_repeated_over_tcp() {
    let mut bench = Bench::new();
    let mut config = bench.caller(&[]);
    config.nodes = vec![Server::tcp(address(NODE_A))];
    let leg = bench.call(config, CallPlan::to("8000"));
    bench.run_ms(31_000);
    assert_eq!(times_ms(&bench.sent()), [0]);
    bench.core.on_transport_failure(bench.now, tcp_flow(bench.endpoint));
    assert_eq!(bench.state(leg), CallState::Ended);
    assert_eq!(bench.last_report().end, Some(EndCause::TransportFailed));
}

// Goal: a provisional response stops timers A and B; the call waits as long as it takes.
#[test]
fn provisional_stops_the_timers() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let leg = bench.call(config, CallPlan::to("8000"));
    let invite = bench.sent_one().message;
    let far = Far::called(&invite);
    bench.receive(NODE_A, &far.response(&invite, 100, None));
    bench.run_ms(120_000);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    assert_eq!(bench.state(leg), CallState::Started);
}

// Goal: a failure is acknowledged at once and again whenever it comes again, for 32 s (timer D).
#[test]
fn failures_are_acknowledged_again() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    bench.call(config, CallPlan::to("8000"));
    let invite = bench.sent_one().message;
    let busy = Far::called(&invite).response(&invite, 486, None);
    bench.receive(NODE_A, &busy);
    let ack = bench.sent_one().message;
    assert_eq!(ack.header("CSeq"), Some("1 ACK"));
    assert_eq!(ack.values("Via"), invite.values("Via"), "the ACK to a failure keeps the branch");
    bench.run_ms(31_999);
    bench.receive(NODE_A, &busy);
    assert_eq!(heads(&bench.sent()), ["ACK"]);
    bench.run_ms(1);
    bench.receive(NODE_A, &busy);
    assert_eq!(heads(&bench.sent()), [""; 0]);
}

// Goal: a refusal of the phone is repeated by timer G until its ACK, or given up by timer H.
#[test]
fn refusals_are_repeated_until_the_ack() {
    for acknowledged in [true, false] {
        let mut bench = Bench::new();
        let config = PhoneConfig::new("agent", "1001", address(OWN));
        bench.phone(config.with_policy(AnswerPolicy::busy()));
        let mut far = Far::calling();
        let invite = far.request(Method::Invite);
        bench.receive(NODE_A, &invite);
        bench.run_ms(1_600);
        assert_eq!(heads(&bench.sent()), ["100 INVITE", "486 INVITE", "486 INVITE", "486 INVITE"]);
        if acknowledged {
            let ack = Message::request(Method::Ack, format!("sip:1001@{OWN}"))
                .with("Via", invite.header("Via").expect("a Via"))
                .with("From", invite.header("From").expect("From"))
                .with("To", invite.header("To").expect("To"))
                .with("Call-ID", far.call_id.clone())
                .with("CSeq", format!("{} ACK", far.cseq));
            bench.receive(NODE_A, &ack);
        }
        bench.run_ms(60_000);
        // 1.5 s and then every T2 until 32 s, when nothing stops it.
        assert_eq!(bench.sent().len(), if acknowledged { 0 } else { 8 }, "{acknowledged}");
    }
}

// Goal: a 200 without ACK is repeated up to T2 apart and answered with BYE after 64*T1; an ACK just
// before that saves the call.
#[test]
fn missing_ack_ends_the_call_at_64_t1() {
    for saved in [true, false] {
        let mut bench = Bench::new();
        let config = PhoneConfig::new("agent", "1001", address(OWN));
        bench.phone(config.with_policy(AnswerPolicy::answer_after(0)));
        let mut far = Far::calling();
        let invite = far.request(Method::Invite).with_body("application/sdp", sdp(1, 6_000, ""));
        bench.receive(NODE_A, &invite);
        bench.run_ms(31_999);
        let sent = bench.sent();
        let oks: Vec<Sent> = sent.into_iter().filter(|s| s.message.code() == Some(200)).collect();
        let wanted = [0, 500, 1_500, 3_500, 7_500, 11_500, 15_500, 19_500, 23_500, 27_500, 31_500];
        assert_eq!(times_ms(&oks), wanted);
        far.learn(&oks[0].message);
        if saved {
            let ack = far.ack(far.cseq);
            bench.receive(NODE_A, &ack);
        }
        bench.run_ms(1_000);
        let leg = *bench.core.legs.keys().next().expect("a leg");
        if saved {
            assert_eq!(bench.state(leg), CallState::Established);
            assert_eq!(heads(&bench.sent()), [""; 0]);
        } else {
            assert_eq!(bench.state(leg), CallState::Ending);
            let bye = bench.sent();
            assert_eq!(heads(&bye)[0], "BYE");
            bench.receive(NODE_A, &far.response(&bye[0].message, 200, None));
            assert_eq!(bench.last_report().end, Some(EndCause::NoAck));
            assert_eq!(bench.last_report().ok_retransmissions, 10);
        }
    }
}

// Goal: a 200 that comes again gets its ACK again, while the call stands and after its end.
#[test]
fn repeated_200_gets_the_ack_again() {
    let (mut bench, far, leg) = super::called();
    let config = bench.caller(&[NODE_A]);
    bench.call(config, CallPlan::to("8001"));
    let invite = bench.sent_one().message;
    let far_two = Far::called(&invite);
    let ok = far_two.response(&invite, 200, Some(sdp(1, 6_100, "")));
    bench.receive(NODE_A, &ok);
    let ack = bench.sent_one().message;
    bench.receive(NODE_A, &ok);
    assert_eq!(bench.sent_one().message, ack);
    let second = *bench.core.legs.keys().next_back().expect("a leg");
    assert_ne!(second, leg);
    let repeats = bench.core.snapshot(second).expect("alive").ok_repeats_received;
    assert_eq!(repeats, 1);

    bench.hang_up(second);
    let bye = bench.sent_one().message;
    bench.receive(NODE_A, &far.response(&bye, 200, None));
    bench.receive(NODE_A, &ok);
    assert_eq!(bench.sent_one().message, ack);
}

// Goal: a repeated request is answered from the transaction, not executed again.
#[test]
fn repeated_requests_are_absorbed() {
    let (mut bench, mut far, _) = established();
    let bye = far.request(Method::Bye);
    bench.receive(NODE_A, &bye);
    bench.receive(NODE_A, &bye);
    assert_eq!(heads(&bench.sent()), ["200 BYE", "200 BYE"]);
    assert_eq!(bench.core.reports.len(), 1);
    bench.run_ms(33_000);
    bench.receive(NODE_A, &bye);
    assert_eq!(heads(&bench.sent()), ["481 BYE"], "timer J has forgotten it");
}

// Goal: a BYE that nobody answers ends the call after 64*T1, and all transactions go in the end.
#[test]
fn unanswered_bye() {
    let (mut bench, _, leg) = established();
    bench.hang_up(leg);
    assert_eq!(bench.state(leg), CallState::Ending);
    bench.run_ms(31_999);
    assert_eq!(bench.state(leg), CallState::Ending);
    bench.run_ms(1);
    assert_eq!(bench.last_report().end, Some(EndCause::HungUpHere));
    bench.run_ms(64_000);
    assert_eq!(bench.core.transactions.len(), 0);
    assert_eq!(bench.core.timers.len(), 0);
    assert_eq!(bench.wire.borrow().open, 0, "media sockets are closed");
}

// Goal: the provisional response is repeated every minute, and the phone gives up ringing in time.
#[test]
fn ringing_is_refreshed_and_ends() {
    let mut bench = Bench::new();
    let config = PhoneConfig::new("agent", "1001", address(OWN));
    bench.phone(config.with_policy(AnswerPolicy::ring()));
    let mut far = Far::calling();
    bench.receive(NODE_A, &far.request(Method::Invite));
    bench.run_ms(179_999);
    assert_eq!(heads(&bench.sent()), ["100 INVITE", "180 INVITE", "180 INVITE", "180 INVITE"]);
    bench.run_ms(1);
    assert_eq!(bench.last_report().end, Some(EndCause::RejectedHere { code: 480 }));
}

// Goal: a full transaction table counts as a transport failure, not as a request that hangs.
#[test]
fn full_table_fails_the_request() {
    let mut bench = Bench::new();
    for n in 0..crate::limits::TRANSACTIONS_MAX {
        let message = Message::request(Method::Options, "sip:h")
            .with("Via", format!("SIP/2.0/UDP h;branch=z9hG4bK{n}"));
        let flow = tcp_flow(bench.endpoint);
        bench.core.start(Outgoing { message, flow }, TxUser::Nobody, None);
    }
    let config = bench.caller(&[NODE_A]);
    let leg = bench.call(config, CallPlan::to("8000"));
    assert_eq!(bench.state(leg), CallState::Ended);
    assert_eq!(bench.last_report().end, Some(EndCause::TransportFailed));
}

// Goal: the Via of a request names the own address and asks for rport, and its branch is unique.
#[test]
fn vias_are_unique() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let mut branches = std::collections::BTreeSet::new();
    for _ in 0..50 {
        bench.call(config.clone(), CallPlan::to("8000"));
        let invite = Received::check(bench.sent_one().message).expect("valid");
        assert_eq!(invite.via.response_address(), Some(address(OWN)));
        assert!(invite.via.param("rport").is_some());
        branches.insert(invite.via.branch().expect("a branch").to_owned());
    }
    assert_eq!(branches.len(), 50);
}

//! Calls from beginning to end, in every way that they can end.

use super::{
    Bench, Far, NODE_A, NODE_B, OWN, Wire, address, called, established, head, heads, sdp,
};
use crate::report::{CallState, EndCause};
use crate::sip::{Message, Method};
use crate::time::RunTime;
use crate::ua::{
    AnswerPolicy, CallPlan, CallerConfig, FailoverIdentity, HangUp, IncomingCall, LegId, Patience,
    PhoneConfig,
};

fn bench_with(policy: AnswerPolicy) -> Bench {
    let mut bench = Bench::new();
    bench.phone(PhoneConfig::new("agent", "1001", address(OWN)).with_policy(policy));
    bench
}

fn invite(far: &mut Far) -> Message {
    far.request(Method::Invite).with_body("application/sdp", sdp(1, 6_000, ""))
}

// Goal: ringing and answer come when the policy says, to the millisecond; a hang-up after the talk.
#[test]
fn policy_times() {
    let policy = AnswerPolicy::Answer {
        ring_after_ms: 200,
        answer_after_ms: 1_000,
        then: crate::ua::AfterAnswer::HangUpAfter { talk_ms: 5_000 },
    };
    let mut bench = bench_with(policy);
    let mut far = Far::calling();
    bench.receive(NODE_A, &invite(&mut far));
    bench.run_ms(1_000);
    let sent = bench.sent();
    let line: Vec<_> = sent.iter().map(|s| (head(&s.message), s.at)).collect();
    let at = RunTime::from_ms;
    let wanted = [
        ("100 INVITE".into(), at(0)),
        ("180 INVITE".into(), at(200)),
        ("200 INVITE".into(), at(1_000)),
    ];
    assert_eq!(line, wanted);
    far.learn(&sent[2].message);
    bench.receive(NODE_A, &far.ack(far.cseq));
    bench.run_ms(4_999);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    bench.run_ms(1);
    assert_eq!(heads(&bench.sent()), ["BYE"]);
}

// Goal: each refusing policy sends its code; a dead phone says nothing, not even to a CANCEL.
#[test]
fn refusing_policies() {
    for (policy, code) in [(AnswerPolicy::busy(), 486), (AnswerPolicy::decline(), 603)] {
        let mut bench = bench_with(policy);
        bench.receive(NODE_A, &invite(&mut Far::calling()));
        bench.run_ms(0);
        assert_eq!(heads(&bench.sent()), ["100 INVITE".to_owned(), format!("{code} INVITE")]);
        assert_eq!(bench.last_report().end, Some(EndCause::RejectedHere { code }));
    }
    let mut bench = bench_with(AnswerPolicy::NeverRespond);
    let request = invite(&mut Far::calling());
    bench.receive(NODE_A, &request);
    bench.receive(NODE_A, &request);
    bench.receive(NODE_A, &cancel_of(&request));
    bench.run_ms(40_000);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    let phone = bench.core.phones.values().next().expect("the phone");
    assert_eq!((phone.ignored_invites, bench.core.legs.len()), (1, 0));
}

fn cancel_of(invite: &Message) -> Message {
    let header = |name| invite.header(name).unwrap_or_default().to_owned();
    Message::request(Method::Cancel, format!("sip:1001@{OWN}"))
        .with("Via", header("Via"))
        .with("From", header("From"))
        .with("To", header("To"))
        .with("Call-ID", header("Call-ID"))
        .with("CSeq", header("CSeq").replace("INVITE", "CANCEL"))
        .with("Reason", "SIP;cause=200;text=\"Call completed elsewhere\"")
}

// Goal: CANCEL gets 200 and the INVITE 487, with the Reason in the report; after the answer it
// changes nothing; for no INVITE it gets 481.
#[test]
fn cancel() {
    let mut bench = bench_with(AnswerPolicy::ring());
    let request = invite(&mut Far::calling());
    bench.receive(NODE_A, &request);
    bench.sent();
    bench.receive(NODE_A, &cancel_of(&request));
    assert_eq!(heads(&bench.sent()), ["200 CANCEL", "487 INVITE"]);
    let reason = Some("SIP;cause=200;text=\"Call completed elsewhere\"".to_owned());
    assert_eq!(bench.last_report().end, Some(EndCause::CancelledThere { reason }));

    let (mut bench, mut far, leg) = established();
    let cseq = far.cseq;
    let mut original = far.request_with(Method::Invite, cseq);
    far.branches = 0;
    original.push_first("Via", format!("SIP/2.0/UDP {NODE_A};branch=z9hG4bKfar-1"));
    bench.receive(NODE_A, &cancel_of(&original));
    assert_eq!(heads(&bench.sent()), ["200 CANCEL"]);
    assert_eq!(bench.state(leg), CallState::Established);

    let mut bench = bench_with(AnswerPolicy::ring());
    bench.receive(NODE_A, &cancel_of(&request));
    assert_eq!(heads(&bench.sent()), ["481 CANCEL"]);
}

// Goal: what the phone does not offer is refused by the right code; OPTIONS is answered.
#[test]
fn methods_outside_of_dialogs() {
    let mut bench = bench_with(AnswerPolicy::ring());
    let mut far = Far::calling();
    let table = [
        (Method::Options, 200),
        (Method::Register, 405),
        (Method::Other("MESSAGE".into()), 405),
        (Method::Other("FROBNICATE".into()), 501),
        (Method::Bye, 481),
        (Method::Update, 481),
    ];
    for (method, code) in table {
        bench.receive(NODE_A, &far.request(method.clone()));
        let response = bench.sent_one().message;
        assert_eq!(response.code(), Some(code), "{method}");
        if matches!(code, 200 | 405) {
            assert!(response.header("Allow").is_some_and(|allow| allow.contains("UPDATE")));
        }
    }
    bench.receive(NODE_A, &far.request(Method::Ack));
    assert_eq!(heads(&bench.sent()), [""; 0], "nobody answers an ACK");
}

// Goal: INVITEs that cannot be taken are refused by RFC 3261's codes, and leave nothing behind.
#[test]
fn refused_invites() {
    let mut bench = bench_with(AnswerPolicy::answer_after(0));
    let mut far = Far::calling();
    let plain = |far: &mut Far| far.request(Method::Invite);
    let renamed = |message: Message, from: &str, to: &str| {
        let text =
            String::from_utf8(message.to_bytes().to_vec()).expect("text").replacen(from, to, 1);
        Message::parse(text.as_bytes()).expect("parses")
    };
    let table = [
        (plain(&mut far).with("Require", "replaces"), 420),
        (renamed(plain(&mut far), "INVITE sip:1001@", "INVITE sip:9999@"), 404),
        (renamed(plain(&mut far), ";tag=far", ""), 400),
        (renamed(plain(&mut far), "Contact", "X-Contact"), 400),
        (plain(&mut far).with_body("text/plain", "x"), 415),
        (plain(&mut far).with_body("application/sdp", "v=0\r\n"), 488),
    ];
    for (request, code) in table {
        bench.receive(NODE_A, &request);
        bench.run_ms(0);
        let last = bench.sent().pop().expect("a response").message;
        assert_eq!(last.code(), Some(code));
    }
    assert_eq!((bench.core.legs.len(), bench.wire.borrow().open), (0, 0));
    let mut wire: std::cell::RefMut<'_, Wire> = bench.wire.borrow_mut();
    wire.no_sockets = true;
    drop(wire);
    bench.receive(NODE_A, &invite(&mut far));
    bench.run_ms(0);
    assert_eq!(bench.sent().pop().expect("a response").message.code(), Some(500));
    assert_eq!(bench.last_report().end, Some(EndCause::NoMedia));
}

// Goal: the same INVITE by two ways rings once: the second gets 482.
#[test]
fn merged_requests() {
    let mut bench = bench_with(AnswerPolicy::ring());
    let mut far = Far::calling();
    let first = invite(&mut far);
    let second = far.request_with(Method::Invite, far.cseq);
    bench.receive(NODE_A, &first);
    bench.sent();
    bench.receive(NODE_B, &second);
    assert_eq!(heads(&bench.sent()), ["482 INVITE"]);
    assert_eq!(bench.core.legs.len(), 1);
}

// Goal: a phone takes as many calls as it has lines, the next one gets 486; a policy function sees
// how many there are.
#[test]
fn lines_and_policy_function() {
    let mut bench = Bench::new();
    let mut config = PhoneConfig::new("agent", "1001", address(OWN));
    config.lines = 2;
    let id = bench.phone(config);
    let seen: std::sync::Arc<std::sync::Mutex<Vec<IncomingCall>>> = std::sync::Arc::default();
    let sink = std::sync::Arc::clone(&seen);
    bench.core.phones.get_mut(&id).expect("the phone").policy = std::sync::Arc::new(move |call| {
        sink.lock().expect("no panic").push(call);
        AnswerPolicy::ring()
    });
    for n in 0..3 {
        let mut far = Far::calling();
        far.call_id = format!("call-{n}");
        far.tag = format!("far{n}");
        bench.receive(NODE_A, &invite(&mut far));
    }
    let codes: Vec<_> = heads(&bench.sent());
    assert_eq!(codes.last().map(String::as_str), Some("486 INVITE"));
    let calls: Vec<_> =
        seen.lock().expect("no panic").iter().map(|c| (c.calls_before, c.calls_now)).collect();
    assert_eq!(calls, [(0, 0), (1, 1), (2, 2)]);
    assert_eq!(bench.core.phones[&id].legs_peak, 2);
}

// Goal: BYE from the other side is answered, its Reason kept, the sockets closed.
#[test]
fn bye_from_there() {
    let (mut bench, mut far, leg) = established();
    let reason = "Q.850;cause=16;text=\"Normal\"";
    bench.receive(NODE_B, &far.request(Method::Bye).with("Reason", reason));
    let answer = bench.sent_one();
    // The Via still names node A, so `received` decides where the answer goes.
    assert_eq!((answer.message.code(), answer.flow.remote), (Some(200), address(NODE_B)));
    assert_eq!(bench.state(leg), CallState::Ended);
    let cause = EndCause::HungUpThere { reason: Some(reason.into()) };
    assert_eq!(bench.last_report().end, Some(cause));
    assert_eq!(bench.wire.borrow().open, 0);
}

// Goal: two BYEs that cross end the call for both, as this side's hang-up.
#[test]
fn crossing_byes() {
    let (mut bench, mut far, leg) = established();
    bench.hang_up(leg);
    let own = bench.sent_one().message;
    bench.receive(NODE_A, &far.request(Method::Bye));
    assert_eq!(heads(&bench.sent()), ["200 BYE"]);
    assert_eq!(bench.last_report().end, Some(EndCause::HungUpHere));
    bench.receive(NODE_A, &far.response(&own, 481, None));
    assert_eq!(bench.core.reports.len(), 1);
}

// Goal: the callee that hangs up before the ACK waits for it (RFC 3261 15).
#[test]
fn hang_up_before_the_ack() {
    let mut bench = bench_with(AnswerPolicy::answer_after(0));
    let mut far = Far::calling();
    bench.receive(NODE_A, &invite(&mut far));
    bench.run_ms(0);
    far.learn(&bench.sent()[2].message);
    let leg = *bench.core.legs.keys().next().expect("a leg");
    bench.hang_up(leg);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    bench.receive(NODE_A, &far.ack(far.cseq));
    assert_eq!(heads(&bench.sent()), ["BYE"]);
}

// Goal: the caller's CANCEL waits for a provisional response, then goes with the INVITE's branch;
// 487 ends the call.
#[test]
fn abandoning_before_and_after_a_provisional() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let plan = CallPlan::to("8000").with_patience(Patience::UntilAnswered { ms: 100 });
    let leg = bench.call(config, plan);
    let request = bench.sent_one().message;
    bench.run_ms(100);
    assert_eq!(heads(&bench.sent()), [""; 0], "no provisional yet");
    assert_eq!(bench.state(leg), CallState::Ending);
    let far = Far::called(&request);
    bench.receive(NODE_A, &far.response(&request, 180, None));
    let cancel = bench.sent_one().message;
    assert_eq!(head(&cancel), "CANCEL");
    assert_eq!(cancel.values("Via"), request.values("Via"));
    bench.receive(NODE_A, &far.response(&cancel, 200, None));
    bench.receive(NODE_A, &far.response(&request, 487, None));
    assert_eq!(heads(&bench.sent()), ["ACK"]);
    assert_eq!(bench.last_report().end, Some(EndCause::CancelledHere));
}

// Goal: a 200 that crosses the CANCEL is acknowledged and ended with BYE; a node that never answers
// the CANCEL'd INVITE is given up after 64*T1.
#[test]
fn cancel_crossed_or_unanswered() {
    for crossed in [true, false] {
        let mut bench = Bench::new();
        let config = bench.caller(&[NODE_A]);
        let leg = bench.call(config, CallPlan::to("8000"));
        let request = bench.sent_one().message;
        let far = Far::called(&request);
        bench.receive(NODE_A, &far.response(&request, 100, None));
        bench.hang_up(leg);
        assert_eq!(heads(&bench.sent()), ["CANCEL"]);
        if crossed {
            bench.receive(NODE_A, &far.response(&request, 200, Some(sdp(1, 6_000, ""))));
            let sent = bench.sent();
            assert_eq!(heads(&sent), ["ACK", "BYE"]);
            bench.receive(NODE_A, &far.response(&sent[1].message, 200, None));
        } else {
            bench.run_ms(31_999);
            assert_eq!(bench.state(leg), CallState::Ending);
            bench.run_ms(1);
        }
        assert_eq!(bench.last_report().end, Some(EndCause::CancelledHere), "{crossed}");
        assert_eq!(bench.wire.borrow().open, 0);
    }
}

// Goal: patience until an answer ends with the answer: no CANCEL, no BYE afterwards.
#[test]
fn patience_ends_with_the_answer() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let plan = CallPlan::to("8000")
        .with_patience(Patience::UntilAnswered { ms: 1_000 })
        .hanging_up(HangUp::AfterAnswer { ms: 3_000 });
    let leg = bench.call(config, plan);
    let request = bench.sent_one().message;
    bench.run_ms(999);
    let far = Far::called(&request);
    bench.receive(NODE_A, &far.response(&request, 200, Some(sdp(1, 6_000, ""))));
    bench.run_ms(2_999);
    assert_eq!(bench.state(leg), CallState::Established);
    bench.sent();
    bench.run_ms(1);
    assert_eq!(heads(&bench.sent()), ["BYE"]);
}

// Goal: patience until an agent is heard ends an answered call of music with BYE.
#[test]
fn patience_until_an_agent() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let plan = CallPlan::to("8000").with_patience(Patience::UntilAgentHeard { ms: 2_000 });
    bench.call(config, plan);
    let request = bench.sent_one().message;
    let far = Far::called(&request);
    bench.receive(NODE_A, &far.response(&request, 200, Some(sdp(1, 6_000, ""))));
    bench.sent();
    bench.run_ms(1_999);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    bench.run_ms(1);
    assert_eq!(heads(&bench.sent()), ["BYE"]);
}

/// Tries node A, which answers with `code`; returns what left then.
fn refused_by_first(config: CallerConfig, code: u16) -> (Bench, LegId, Vec<super::Sent>) {
    let mut bench = Bench::new();
    let leg = bench.call(config, CallPlan::to("8000"));
    let request = bench.sent_one().message;
    let far = Far::called(&request);
    bench.receive(NODE_A, &far.response(&request, code, None).with("Retry-After", "7 (busy)"));
    let sent = bench.sent();
    (bench, leg, sent)
}

// Goal: a carrier tries its next node after 503 and 408, not after 486; the end tells Retry-After.
#[test]
fn carrier_failover_codes() {
    let config = Bench::new().caller(&[NODE_A, NODE_B]);
    for (code, moves_on) in [(503, true), (408, true), (486, false), (603, false)] {
        let (bench, leg, sent) = refused_by_first(config.clone(), code);
        assert_eq!(heads(&sent)[0], "ACK");
        let second = sent.get(1).map(|sent| sent.flow.remote);
        assert_eq!(second, moves_on.then(|| address(NODE_B)), "{code}");
        assert_eq!(bench.state(leg) == CallState::Ended, !moves_on);
    }
    let (bench, _, _) = refused_by_first(Bench::new().caller(&[NODE_A]), 503);
    let end = bench.last_report().end;
    let wanted =
        EndCause::RejectedThere { code: 503, phrase: "Phrase".into(), retry_after_s: Some(7) };
    assert_eq!(end, Some(wanted));
}

// Goal: the identity of the second INVITE follows the setting.
#[test]
fn carrier_identity() {
    for (identity, same) in
        [(FailoverIdentity::SameCallId, true), (FailoverIdentity::NewCallId, false)]
    {
        let mut bench = Bench::new();
        let mut config = bench.caller(&[NODE_A, NODE_B]);
        config.failover_identity = identity;
        bench.call(config, CallPlan::to("8000"));
        let first = bench.sent_one().message;
        bench.receive(NODE_A, &Far::called(&first).response(&first, 503, None));
        let second = bench.sent().pop().expect("the second INVITE").message;
        assert_eq!(first.header("Call-ID") == second.header("Call-ID"), same);
        assert_eq!(first.header("From") == second.header("From"), same);
        assert_ne!(first.header("Via"), second.header("Via"));
    }
}

// Goal: a node that says only 100 is given up after the carrier's own timer, with a CANCEL.
#[test]
fn no_progress() {
    let mut bench = Bench::new();
    let mut config = bench.caller(&[NODE_A, NODE_B]);
    config.progress_after_ms = Some(4_000);
    bench.call(config, CallPlan::to("8000"));
    let request = bench.sent_one().message;
    let far = Far::called(&request);
    bench.receive(NODE_A, &far.response(&request, 100, None));
    bench.run_ms(3_999);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    bench.run_ms(1);
    let sent = bench.sent();
    assert_eq!(heads(&sent), ["CANCEL", "INVITE"]);
    assert_eq!((sent[0].flow.remote, sent[1].flow.remote), (address(NODE_A), address(NODE_B)));
}

// Goal: a trunk that is asked for credentials gives them, once for each challenge, and stops.
#[test]
fn trunk_credentials() {
    let mut bench = Bench::new();
    let mut config = bench.caller(&[NODE_A]);
    config.credentials = Some(crate::sip::Credentials::new("trunk", "secret"));
    let leg = bench.call(config, CallPlan::to("8000"));
    let mut request = bench.sent_one().message;
    for n in 0..3 {
        let challenge = format!("Digest realm=\"r\", nonce=\"n{n}\", qop=\"auth\"");
        let far = Far::called(&request);
        bench.receive(
            NODE_A,
            &far.response(&request, 407, None).with("Proxy-Authenticate", challenge),
        );
        let sent = bench.sent();
        assert_eq!(heads(&sent), ["ACK", "INVITE"], "{n}");
        request = sent[1].message.clone();
        let given = request.header("Proxy-Authorization").expect("credentials");
        assert!(given.contains(&format!("nonce=\"n{n}\"")), "{given}");
        assert_eq!(request.header("CSeq"), Some(format!("{} INVITE", n + 2).as_str()));
    }
    let far = Far::called(&request);
    let challenge = "Digest realm=\"r\", nonce=\"n9\", qop=\"auth\"";
    bench.receive(NODE_A, &far.response(&request, 407, None).with("Proxy-Authenticate", challenge));
    assert_eq!(bench.state(leg), CallState::Ended);
}

// Goal: early media is applied, a 200 without SDP then stands, and without early media it does not.
#[test]
fn early_media_and_200_without_sdp() {
    for early in [true, false] {
        let mut bench = Bench::new();
        let config = bench.caller(&[NODE_A]);
        let leg = bench.call(config, CallPlan::to("8000"));
        let request = bench.sent_one().message;
        let far = Far::called(&request);
        let body = early.then(|| sdp(1, 6_000, ""));
        bench.receive(NODE_A, &far.response(&request, 183, body));
        let snapshot = bench.core.snapshot(leg).expect("alive");
        assert_eq!(snapshot.early_media_us.is_some(), early);
        bench.receive(NODE_A, &far.response(&request, 200, None));
        let wanted: &[&str] = if early { &["ACK"] } else { &["ACK", "BYE"] };
        assert_eq!(heads(&bench.sent()), wanted);
    }
}

// Goal: a second 200 with another tag (a fork) is acknowledged and ended, the first call goes on.
#[test]
fn forked_answers() {
    let mut bench = Bench::new();
    let config = bench.caller(&[NODE_A]);
    let leg = bench.call(config, CallPlan::to("8000"));
    let request = bench.sent_one().message;
    let mut far = Far::called(&request);
    bench.receive(NODE_A, &far.response(&request, 200, Some(sdp(1, 6_000, ""))));
    bench.sent();
    far.tag = "fork".into();
    bench.receive(NODE_B, &far.response(&request, 200, Some(sdp(1, 6_000, ""))));
    assert_eq!(heads(&bench.sent()), ["ACK", "BYE"]);
    assert_eq!(bench.state(leg), CallState::Established);
}

// Goal: who vanishes silently answers nothing about that call; who hung up unheard answers 481.
#[test]
fn vanishing() {
    for silently in [true, false] {
        let (mut bench, mut far, leg) = called();
        bench.sent();
        if silently {
            bench.core.cut_line(leg);
        } else {
            bench.core.finish(leg, EndCause::Vanished);
        }
        bench.core.flush();
        far.node = NODE_B.into();
        bench.receive(
            NODE_B,
            &far.request(Method::Invite).with_body("application/sdp", sdp(2, 7_000, "")),
        );
        bench.receive(NODE_B, &far.request(Method::Bye));
        let wanted: &[&str] = if silently { &[] } else { &["481 INVITE", "481 BYE"] };
        assert_eq!(heads(&bench.sent()), wanted);
        assert_eq!(bench.last_report().end, Some(EndCause::Vanished));
        assert_eq!(bench.wire.borrow().open, 0);
    }
}

// Goal: a phone without power answers nothing; with power again it answers, and knows no old call.
#[test]
fn power() {
    let (mut bench, mut far, leg) = established();
    let phone = *bench.core.phones.keys().next().expect("the phone");
    bench.core.power_off(phone);
    bench.core.flush();
    let mut other = Far::calling();
    other.call_id = "other".into();
    for request in [far.request(Method::Options), invite(&mut other)] {
        bench.receive(NODE_A, &request);
    }
    assert_eq!(heads(&bench.sent()), [""; 0]);
    assert_eq!(bench.state(leg), CallState::Ended);
    bench.core.power_on(phone);
    bench.receive(NODE_A, &other.request(Method::Options));
    assert_eq!(heads(&bench.sent()), ["200 OPTIONS"]);
}

// Goal: nonsense on the wire is dropped and told; keep-alives are neither.
#[test]
fn nonsense_is_dropped() {
    let mut bench = bench_with(AnswerPolicy::ring());
    for bytes in [&b"\r\n\r\n"[..], b"\0\0\0\0", b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", b"\xff\xfe"]
    {
        bench.core.on_datagram(bench.now, bench.endpoint, address(NODE_A), bytes);
    }
    assert_eq!(heads(&bench.sent()), [""; 0]);
}

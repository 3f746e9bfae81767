//! What a phone does when its peer changes hands: re-INVITE from elsewhere, glare, lost dialogs.

use super::{
    Bench, Far, NODE_A, NODE_B, OWN, Sent, address, called, established, head, heads, sdp, uri_of,
};
use crate::error::PhoneError;
use crate::report::{Anomaly, CallState, EndCause};
use crate::sip::{Method, SessionDescription};
use crate::ua::{AnswerPolicy, CallPlan, PhoneConfig};

fn version_of(body: &[u8]) -> u64 {
    SessionDescription::parse(body).expect("SDP").origin.version
}

/// Requests that left since the last look (the repeated 491 aside).
fn requests(bench: &Bench) -> Vec<Sent> {
    bench.sent().into_iter().filter(|sent| sent.message.method().is_some()).collect()
}

// Goal: a taker's re-INVITE (other source, new Contact, higher CSeq, other media address) is
// answered to its source with an unchanged description, counted as a takeover, and followed.
#[test]
fn the_taker_is_followed() {
    for (mut bench, mut far, leg) in [established(), called()] {
        bench.sent();
        far.node = NODE_B.into();
        far.cseq += 1_000;
        let reinvite = far.request(Method::Invite).with_body("application/sdp", sdp(50, 7_000, ""));
        bench.receive(NODE_B, &reinvite);
        let ok = bench.sent_one();
        assert_eq!((ok.message.code(), ok.flow.remote), (Some(200), address(NODE_B)));
        let first = version_of(&ok.message.body);
        bench.receive(NODE_B, &far.ack(far.cseq));

        let again = far.request(Method::Invite).with_body("application/sdp", sdp(51, 7_000, ""));
        bench.receive(NODE_B, &again);
        assert_eq!(version_of(&bench.sent_one().message.body), first, "same SDP, same version");
        bench.receive(NODE_B, &far.ack(far.cseq));

        let report = bench.core.snapshot(leg).expect("alive");
        assert_eq!((report.takeovers, report.modifications_count), (1, 2));
        let seen = &report.modifications[0];
        assert!(seen.source_changed && seen.media_changed);
        assert_eq!((seen.sdp_version, seen.code), (Some(50), 200));
        assert_eq!(seen.contact.as_deref(), Some(NODE_B));
        assert_eq!(report.remote_target.as_deref(), Some(NODE_B));
        assert_eq!(report.anomalies, [], "everything was in order");

        bench.hang_up(leg);
        let bye = bench.sent_one();
        assert_eq!(bye.flow.remote, address(NODE_B));
        assert_eq!(uri_of(&bye.message), format!("sip:node@{NODE_B}"));
    }
}

// Goal: CSeq must rise: one more is taken, the same and a lower number get 500 and are told.
#[test]
fn cseq_must_rise() {
    for (step, code) in [(1_i64, 200), (0, 500), (-1, 500)] {
        let (mut bench, mut far, leg) = established();
        let cseq = u32::try_from(i64::from(far.cseq) + step).expect("positive");
        far.node = NODE_B.into();
        let reinvite =
            far.request_with(Method::Invite, cseq).with_body("application/sdp", sdp(2, 7_000, ""));
        bench.receive(NODE_B, &reinvite);
        assert_eq!(bench.sent_one().message.code(), Some(code), "{step}");
        let report = bench.core.snapshot(leg).expect("alive");
        let anomaly = report.anomalies.first().map(|seen| seen.anomaly.clone());
        let wanted = (code == 500).then_some(Anomaly::CSeqNotHigher { cseq, highest: far.cseq });
        assert_eq!(anomaly, wanted);
        assert_eq!(
            report.remote_target.as_deref(),
            Some(if code == 200 { NODE_B } else { NODE_A })
        );
    }
}

// Goal: a changed description with an old version is taken, and told.
#[test]
fn sdp_version_must_rise() {
    let (mut bench, mut far, leg) = established();
    let reinvite = far.request(Method::Invite).with_body("application/sdp", sdp(1, 7_000, ""));
    bench.receive(NODE_A, &reinvite);
    assert_eq!(bench.sent_one().message.code(), Some(200));
    let report = bench.core.snapshot(leg).expect("alive");
    let wanted = Anomaly::SdpVersionNotHigher { version: 1, before: 1 };
    assert_eq!(report.anomalies[0].anomaly, wanted);
}

// Goal: the node died with the ACK: the taker's re-INVITE proves that the dialog stands, and the
// call is not ended for the ACK that never came.
#[test]
fn taker_instead_of_the_ack() {
    let mut bench = Bench::new();
    let config = PhoneConfig::new("agent", "1001", address(OWN));
    bench.phone(config.with_policy(AnswerPolicy::answer_after(0)));
    let mut far = Far::calling();
    let invite = far.request(Method::Invite).with_body("application/sdp", sdp(1, 6_000, ""));
    bench.receive(NODE_A, &invite);
    bench.run_ms(0);
    far.learn(&bench.sent()[2].message);
    let leg = *bench.core.legs.keys().next().expect("a leg");

    far.node = NODE_B.into();
    let reinvite = far.request(Method::Invite).with_body("application/sdp", sdp(2, 7_000, ""));
    bench.receive(NODE_B, &reinvite);
    assert_eq!(heads(&bench.sent()), ["200 INVITE"]);
    assert_eq!(bench.state(leg), CallState::Established);
    bench.receive(NODE_B, &far.ack(far.cseq));
    bench.run_ms(60_000);
    assert_eq!(bench.state(leg), CallState::Established);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    let report = bench.core.snapshot(leg).expect("alive");
    assert_eq!(report.anomalies[0].anomaly, Anomaly::InviteBeforeAck);
}

// Goal: a re-INVITE without SDP gets an offer, whose answer in the ACK is applied; an ACK without
// one ends the call.
#[test]
fn offers_in_the_200() {
    for answered in [true, false] {
        let (mut bench, mut far, leg) = established();
        bench.receive(NODE_A, &far.request(Method::Invite));
        let ok = bench.sent_one().message;
        assert!(String::from_utf8_lossy(&ok.body).contains("m=audio"), "an offer");
        let mut ack = far.ack(far.cseq);
        if answered {
            ack = ack.with_body("application/sdp", sdp(2, 7_000, ""));
        }
        bench.receive(NODE_A, &ack);
        if answered {
            assert_eq!(bench.state(leg), CallState::Established);
            assert_eq!(heads(&bench.sent()), [""; 0]);
        } else {
            let bye = bench.sent_one().message;
            bench.receive(NODE_A, &far.response(&bye, 200, None));
            assert_eq!(bench.last_report().end, Some(EndCause::BadSdp));
        }
    }
}

// Goal: an offer that cannot be used is refused with 488 and changes nothing; other bodies and
// required extensions are refused by their codes.
#[test]
fn unusable_modifications() {
    let (mut bench, mut far, leg) = established();
    let no_codec = sdp(2, 7_000, "").replace("RTP/AVP 0 101", "RTP/AVP 18 101");
    let table = [
        (far.request(Method::Invite).with_body("application/sdp", no_codec), 488),
        (far.request(Method::Invite).with_body("application/sdp", "nonsense"), 488),
        (far.request(Method::Invite).with_body("text/plain", "hello"), 415),
        (far.request(Method::Invite).with("Require", "100rel, timer"), 420),
        (far.request(Method::Update).with_body("application/sdp", sdp(2, 7_000, "")), 200),
        (far.request(Method::Update), 200),
    ];
    for (request, code) in table {
        bench.receive(NODE_A, &request);
        let response = bench.sent_one().message;
        assert_eq!(response.code(), Some(code));
        if code == 420 {
            assert_eq!(response.header("Unsupported"), Some("100rel, timer"));
        }
        assert_eq!(bench.state(leg), CallState::Established);
    }
}

// Goal: glare: while the own re-INVITE is open, theirs gets 491; a 491 to the own one is tried again
// after 2.1 to 4 s by the owner of the Call-ID and after 0 to 2 s by the other.
#[test]
fn glare() {
    for (is_caller, (mut bench, mut far, leg)) in [(false, established()), (true, called())] {
        bench.sent();
        let mut result = bench.modify(leg);
        let own = bench.sent_one().message;
        assert!(String::from_utf8_lossy(&own.body).contains("a=sendonly"));
        bench.receive(
            NODE_A,
            &far.request(Method::Invite).with_body("application/sdp", sdp(2, 7_000, "")),
        );
        assert_eq!(bench.sent_one().message.code(), Some(491));

        bench.receive(NODE_A, &far.response(&own, 491, None));
        assert_eq!(heads(&bench.sent()), ["ACK"]);
        let (not_before, at_last) = if is_caller { (2_099, 4_000) } else { (0, 2_000) };
        if is_caller {
            bench.run_ms(not_before);
            assert!(requests(&bench).is_empty(), "too early");
        }
        bench.run_ms(at_last - not_before);
        let retried = requests(&bench);
        assert_eq!(head(&retried[0].message), "INVITE");
        assert_ne!(retried[0].message.header("CSeq"), own.header("CSeq"));
        assert!(result.try_recv().is_err(), "not done yet");
        bench.receive(
            NODE_A,
            &far.response(&retried[0].message, 200, Some(sdp(3, 7_000, "a=recvonly\r\n"))),
        );
        assert!(matches!(result.try_recv(), Ok(Ok(()))));
        assert_eq!(heads(&bench.sent()), ["ACK"]);
    }
}

// Goal: their re-INVITE is taken while the own one waits for its turn after 491.
#[test]
fn taken_while_waiting() {
    let (mut bench, mut far, leg) = called();
    bench.sent();
    let _result = bench.modify(leg);
    let own = bench.sent_one().message;
    bench.receive(NODE_A, &far.response(&own, 491, None));
    bench.sent();
    bench.receive(
        NODE_A,
        &far.request(Method::Invite).with_body("application/sdp", sdp(2, 7_000, "")),
    );
    assert_eq!(bench.sent_one().message.code(), Some(200));
}

// Goal: a refused hold changes nothing; 481 and 408 and silence end the call with BYE.
#[test]
fn refused_and_lost_modifications() {
    for (code, lost) in [(488, false), (481, true), (408, true), (0, true)] {
        let (mut bench, far, leg) = established();
        let mut result = bench.modify(leg);
        let own = bench.sent_one().message;
        if code == 0 {
            bench.run_ms(32_000);
        } else {
            bench.receive(NODE_A, &far.response(&own, code, None));
        }
        let refused =
            matches!(result.try_recv(), Ok(Err(PhoneError::Refused { code: c })) if c == code);
        assert!(refused, "{code}");
        let state = if lost { CallState::Ending } else { CallState::Established };
        assert_eq!(bench.state(leg), state, "{code}");
        assert_eq!(heads(&bench.sent()).last().map(String::as_str) == Some("BYE"), lost, "{code}");
    }
}

// Goal: after its own BYE to a dead node, the phone answers the taker with 481.
#[test]
fn taker_after_the_own_bye() {
    let (mut bench, mut far, leg) = called();
    bench.sent();
    bench.hang_up(leg);
    assert_eq!(heads(&bench.sent()), ["BYE"]);
    far.node = NODE_B.into();
    bench.receive(
        NODE_B,
        &far.request(Method::Invite).with_body("application/sdp", sdp(2, 7_000, "")),
    );
    let answer = bench.sent_one();
    assert_eq!((answer.message.code(), answer.flow.remote), (Some(481), address(NODE_B)));
}

// Goal: requests for a dialog that never was, or with another tag, get 481; so does OPTIONS.
#[test]
fn unknown_dialogs() {
    let (mut bench, mut far, leg) = established();
    far.tag = "another".into();
    for method in [Method::Bye, Method::Options, Method::Invite, Method::Update] {
        bench.receive(NODE_A, &far.request(method));
        assert_eq!(bench.sent_one().message.code(), Some(481));
    }
    assert_eq!(bench.state(leg), CallState::Established);
}

// Goal: a Contact that is a name is followed by the host table; an unknown name falls back to where
// the request came from.
#[test]
fn named_contacts() {
    for (name, wanted) in [("node.example", NODE_B), ("other.example", NODE_A)] {
        let (mut bench, mut far, leg) = established();
        far.node = format!("{name}:5060");
        let reinvite = far.request(Method::Invite).with_body("application/sdp", sdp(2, 7_000, ""));
        bench.receive(NODE_A, &reinvite);
        bench.receive(NODE_A, &far.ack(far.cseq));
        bench.sent();
        bench.hang_up(leg);
        let bye = bench.sent_one();
        assert_eq!(bye.flow.remote, address(wanted), "{name}");
        assert_eq!(uri_of(&bye.message), format!("sip:node@{name}:5060"));
    }
}

// Goal: a late 200 of a node that the carrier gave up is acknowledged and ended, while the call at
// the next node goes on.
#[test]
fn late_answer_of_a_given_up_node() {
    let mut bench = Bench::new();
    let mut config = bench.caller(&[NODE_A, NODE_B]);
    config.failover_after_ms = Some(1_000);
    let leg = bench.call(config, CallPlan::to("8000"));
    let first = bench.sent_one().message;
    bench.run_ms(1_000);
    let second = bench.sent().pop().expect("the second INVITE");
    assert_eq!(second.flow.remote, address(NODE_B));
    assert_eq!(second.message.header("Call-ID"), first.header("Call-ID"));

    let mut slow = Far::called(&first);
    slow.tag = "slow".into();
    bench.receive(NODE_A, &slow.response(&first, 200, Some(sdp(1, 6_000, ""))));
    let sent = bench.sent();
    assert_eq!(heads(&sent), ["ACK", "BYE"]);
    assert!(sent.iter().all(|sent| sent.flow.remote == address(NODE_A)));

    let mut far = Far::called(&second.message);
    far.node = NODE_B.into();
    bench.receive(NODE_B, &far.response(&second.message, 200, Some(sdp(1, 6_000, ""))));
    assert_eq!(bench.state(leg), CallState::Established);
    let attempts = bench.core.snapshot(leg).expect("alive").attempts;
    let outcomes: Vec<_> = attempts.iter().filter_map(|a| a.outcome.as_deref()).collect();
    assert_eq!(outcomes, ["timeout", "200"]);
}

//! Tests of dialogs over whole messages.

use super::session_timer::{
    SessionTimer, SessionTimerPolicy, Side, TimerDue, UasVerdict, accept, after_too_small,
    judge_request, judge_response, offer, too_small_response,
};
use super::*;
use crate::limits::CSEQ_BLOCK;
use crate::message::{
    HeaderName, Headers, Message, Method, NameAddr, Request, Response, StatusCode, Uri,
    parse_datagram,
};
use crate::text::SipText;
use std::time::Duration;

fn text(s: &str) -> SipText {
    SipText::copy_of(s).unwrap()
}

/// A request of alice to bob with more header lines.
fn request(method: &str, cseq: u32, to_tag: &str, more: &str) -> Request {
    let text = format!(
        "{method} sip:bob@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK{cseq}\r\n\
         From: \"Alice\" <sip:+442079460001@a.example>;tag=alice\r\nTo: <sip:bob@b.example>{to_tag}\r\n\
         Call-ID: call\r\nCSeq: {cseq} {method}\r\n{more}\r\n"
    );
    match parse_datagram(text.into_bytes()).unwrap() {
        Message::Request(request) => *request,
        Message::Response(_) => unreachable!("a request"),
    }
}

fn response(request: &Request, status: u16, more: &[(HeaderName, &str)]) -> Response {
    let status = StatusCode::new(status).unwrap();
    let mut response = Response::to_request(request, status, &text("bob"));
    for (name, value) in more {
        response.headers.push(name.clone(), text(value));
    }
    response
}

const CONTACT: &str = "Contact: <sip:alice@192.0.2.1:5070>\r\n";
const ROUTED: &str = "Contact: <sip:alice@192.0.2.1:5070>\r\n\
                      Record-Route: <sip:p2;lr>, <sip:p1;lr>\r\n";

fn uas() -> Dialog {
    let mut dialog =
        Dialog::uas(&request("INVITE", 10, "", ROUTED), &text("bob"), Security::Plain).unwrap();
    dialog.confirm();
    dialog
}

fn routes(request: &Request) -> Vec<String> {
    request.headers.routes(&HeaderName::Route).unwrap().iter().map(|r| r.uri.expose()).collect()
}

// Goal: a callee's dialog sends to the caller's Contact through the recorded route, with the sides
// turned around (section 12.1.1).
#[test]
fn callee_side() {
    let mut dialog = uas();
    assert_eq!((dialog.role(), dialog.stage()), (DialogRole::Uas, DialogStage::Confirmed));
    let bye = dialog.request(Method::Bye, RequestParts::default()).unwrap();
    assert_eq!(bye.uri.expose(), "sip:alice@192.0.2.1:5070");
    assert_eq!(routes(&bye), ["sip:p2;lr", "sip:p1;lr"]);
    assert_eq!(bye.from.uri.expose(), "sip:bob@b.example");
    assert_eq!(bye.from_tag().unwrap(), &"bob");
    assert_eq!(bye.to_tag().unwrap(), &"alice");
    assert_eq!(bye.to.uri.expose(), "sip:+442079460001@a.example");
    assert_eq!((bye.cseq.number, &bye.call_id), (1, &dialog.id().call_id));
    assert_eq!(dialog.next_hop().expose(), "sip:p2;lr");
    assert!(bye.vias.is_empty(), "the transaction layer adds it");
}

// Goal: a caller's dialog turns the recorded route around (section 12.1.2) and learns route and target
// again from the 2xx (section 13.2.2.4).
#[test]
fn caller_side() {
    let invite = request("INVITE", 1, "", CONTACT);
    let mut block = CseqBlock::first();
    block.take().unwrap();
    let ringing = response(&invite, 180, &[(HeaderName::RecordRoute, "<sip:p1;lr>")]);
    let mut dialog = Dialog::uac(&invite, &ringing, block, Security::Plain).unwrap();
    assert_eq!(dialog.stage(), DialogStage::Early);
    assert_eq!(dialog.remote_target().expose(), "sip:bob@b.example", "no Contact yet");
    let ok = response(
        &invite,
        200,
        &[
            (HeaderName::RecordRoute, "<sip:p1;lr>,<sip:p2;lr>"),
            (HeaderName::Contact, "<sip:bob@192.0.2.9>"),
        ],
    );
    dialog.answered(&ok).unwrap();
    assert_eq!(dialog.stage(), DialogStage::Confirmed);
    let ack = dialog.ack(invite.cseq.number, &invite.headers, None);
    assert_eq!((ack.uri.expose().as_str(), ack.cseq.number), ("sip:bob@192.0.2.9", 1));
    assert_eq!(routes(&ack), ["sip:p2;lr", "sip:p1;lr"]);
    let bye = dialog.request(Method::Bye, RequestParts::default()).unwrap();
    assert_eq!(bye.cseq.number, 2);
}

// Goal: a 2xx to an UPDATE inside an early dialog moves the target, and neither confirms the dialog nor
// touches its route set.
#[test]
fn updates_in_early_dialogs() {
    let invite = request("INVITE", 1, "", CONTACT);
    let mut block = CseqBlock::first();
    block.take().unwrap();
    let ringing = response(
        &invite,
        180,
        &[(HeaderName::RecordRoute, "<sip:p1;lr>"), (HeaderName::Contact, "<sip:bob@192.0.2.9>")],
    );
    let mut dialog = Dialog::uac(&invite, &ringing, block, Security::Plain).unwrap();
    let update = dialog.request(Method::Update, RequestParts::default()).unwrap();
    let ok = response(&update, 200, &[(HeaderName::Contact, "<sip:bob@192.0.2.10>")]);
    dialog.answered(&ok).unwrap();
    assert_eq!(
        (dialog.stage(), dialog.next_hop().expose().as_str()),
        (DialogStage::Early, "sip:p1;lr")
    );
    assert_eq!(dialog.remote_target().expose(), "sip:bob@192.0.2.10");
}

// Goal: an ACK repeats the INVITE's credentials (section 13.2.2.4) and may carry the answer.
#[test]
fn acks_carry_credentials() {
    let invite =
        request("INVITE", 1, "", "Contact: <sip:a@h>\r\nProxy-Authorization: Digest x=1\r\n");
    let ok = response(&invite, 200, &[(HeaderName::Contact, "<sip:bob@192.0.2.9>")]);
    let dialog = Dialog::uac(&invite, &ok, CseqBlock::first(), Security::Plain).unwrap();
    let ack = dialog.ack(1, &invite.headers, Some((text("application/sdp"), "v=0".into())));
    assert_eq!(ack.headers.first(&HeaderName::ProxyAuthorization).unwrap(), &"Digest x=1");
    assert!(!ack.headers.has(&HeaderName::Contact));
    assert_eq!(ack.body, "v=0");
}

// Goal: what makes no dialog says why.
#[test]
fn no_dialog() {
    let invite = request("INVITE", 1, "", CONTACT);
    let uac = |status, more: &[(HeaderName, &str)]| {
        Dialog::uac(&invite, &response(&invite, status, more), CseqBlock::first(), Security::Plain)
    };
    assert!(matches!(uac(100, &[]), Err(DialogError::Status(_))));
    assert!(matches!(uac(302, &[]), Err(DialogError::Status(_))));
    assert!(matches!(uac(200, &[]), Err(DialogError::Header(_))), "a 2xx has a Contact");
    let tel = [(HeaderName::Contact, "<tel:+44>")];
    assert_eq!(uac(200, &tel), Err(DialogError::ContactScheme));
    let mut no_tag = response(&invite, 180, &[]);
    no_tag.to.params.remove("tag");
    let made = Dialog::uac(&invite, &no_tag, CseqBlock::first(), Security::Plain);
    assert_eq!(made, Err(DialogError::NoTag { side: "To" }));
    let uas = |more| Dialog::uas(&request("INVITE", 1, "", more), &text("t"), Security::Plain);
    assert!(uas("").is_err(), "an INVITE needs a Contact");
    assert!(uas("Contact: <sip:a@h>, <sip:b@h>\r\n").is_err());
    assert!(uas("Contact: <sip:a@h>\r\nRecord-Route: <sip:p\r\n").is_err());
}

// Goal: requests out of order are refused, the same number and higher ones taken, gaps allowed, ACK and
// CANCEL not counted (section 12.2.2).
#[test]
fn order_of_requests() {
    let mut dialog = uas();
    let mut receive = |method: &str, cseq| dialog.receive(&request(method, cseq, ";tag=bob", ""));
    assert_eq!(receive("BYE", 9), Err(OutOfOrder { got: 9, seen: 10 }));
    assert_eq!(receive("INFO", 10), Ok(()));
    assert_eq!(receive("INFO", 15), Ok(()));
    assert_eq!(receive("ACK", 10), Ok(()));
    assert_eq!(receive("INFO", 14), Err(OutOfOrder { got: 14, seen: 15 }));
    assert_eq!(dialog.remote_cseq(), Some(15));
}

// Goal: the peer's address moves with an accepted target refresh and with nothing else.
#[test]
fn target_refresh() {
    let moved = "Contact: <sip:alice@198.51.100.7>\r\n";
    let mut dialog = uas();
    dialog.refresh_target(&request("INFO", 11, ";tag=bob", moved)).unwrap();
    assert_eq!(dialog.remote_target().expose(), "sip:alice@192.0.2.1:5070");
    dialog.refresh_target(&request("UPDATE", 12, ";tag=bob", moved)).unwrap();
    assert_eq!(dialog.remote_target().expose(), "sip:alice@198.51.100.7");
    let bad = request("INVITE", 13, ";tag=bob", "Contact: *\r\n");
    assert!(dialog.refresh_target(&bad).is_err());
    assert_eq!(dialog.remote_target().expose(), "sip:alice@198.51.100.7");
    let reinvite = dialog.request(Method::Invite, RequestParts::default()).unwrap();
    let ok = response(
        &reinvite,
        200,
        &[
            (HeaderName::Contact, "<sip:alice@203.0.113.3>"),
            (HeaderName::RecordRoute, "<sip:other;lr>"),
        ],
    );
    dialog.answered(&ok).unwrap();
    assert_eq!(dialog.remote_target().expose(), "sip:alice@203.0.113.3");
    assert_eq!(dialog.next_hop().expose(), "sip:p2;lr", "the route set never changes again");
}

// Goal: ids from both sides of the wire meet.
#[test]
fn ids() {
    let in_dialog = request("BYE", 11, ";tag=bob", "");
    assert_eq!(DialogId::of_request(&in_dialog).as_ref(), Some(uas().id()));
    assert_eq!(DialogId::of_request(&request("BYE", 11, "", "")), None);
    let ours = uas().request(Method::Bye, RequestParts::default()).unwrap();
    let answer = Response::to_request(&ours, StatusCode::OK, &text("unused"));
    assert_eq!(DialogId::of_response(&answer).as_ref(), Some(uas().id()));
}

// Goal: a taker's dialog is the owner's but for its CSeq numbers, which are above all that the owner can
// have used, committed or not yet seen by anyone.
#[test]
fn takeover() {
    let mut owner = uas();
    for _ in 0..10 {
        owner.request(Method::Info, RequestParts::default()).unwrap();
    }
    let record = owner.to_record();
    let mut last_of_owner = 0;
    while let Ok(request) = owner.request(Method::Info, RequestParts::default()) {
        last_of_owner = request.cseq.number;
    }
    assert_eq!(last_of_owner, CSEQ_BLOCK);

    let mut taker = Dialog::adopt(&record).unwrap();
    assert!(taker.request(Method::Invite, RequestParts::default()).is_err(), "reserve first");
    let end = taker.needs_reservation().unwrap();
    taker.reserve(end);
    let reinvite = taker.request(Method::Invite, RequestParts::default()).unwrap();
    assert_eq!(reinvite.cseq.number, last_of_owner + 1);
    assert_eq!(reinvite.uri.expose(), "sip:alice@192.0.2.1:5070");
    assert_eq!(routes(&reinvite), ["sip:p2;lr", "sip:p1;lr"]);
    assert_eq!(taker.id(), owner.id());
    let mut expect = record;
    expect.cseq_reserved_until = end;
    assert_eq!(taker.to_record(), expect);
}

// Goal: a damaged record is refused with the field's name.
#[test]
fn damaged_records() {
    let good = uas().to_record();
    assert!(Dialog::adopt(&good).is_ok());
    type Spoil = fn(&mut DialogRecord);
    let damage: [(&str, Spoil); 8] = [
        ("Call-ID", |r| r.call_id.clear()),
        ("local tag", |r| r.local_tag = "a\r\nb".into()),
        ("remote tag", |r| r.remote_tag = String::new()),
        ("local URI", |r| r.local_uri = "bob".into()),
        ("remote target", |r| r.remote_target = "sip:".into()),
        ("route set", |r| r.route_set.push("<sip:p>".into())),
        ("route set", |r| r.route_set = vec!["sip:p;lr".into(); 100]),
        ("CSeq", |r| r.cseq_reserved_until = u32::MAX),
    ];
    for (field, spoil) in damage {
        let mut record = good.clone();
        spoil(&mut record);
        let error = Dialog::adopt(&record).unwrap_err().to_string();
        assert!(error.contains(field), "{field}: {error}");
    }
}

// Goal: debug output of dialogs and records shows no number.
#[test]
fn debug_is_private() {
    let shown = format!("{:?} {:?}", uas(), uas().to_record());
    assert!(!shown.contains("2079460001"), "{shown}");
}

// Goal: Require is honoured, except where a request cannot be refused (section 8.2.2.3).
#[test]
fn required_extensions() {
    let invite = request("INVITE", 1, "", "Require: 100rel, TIMER\r\nRequire: foo\r\n");
    let unsupported = unsupported_options(&invite, &["timer"]).unwrap();
    assert_eq!(unsupported, ["100rel", "foo"]);
    let refusal = bad_extension_response(&invite, &text("t"), &unsupported);
    assert_eq!(refusal.status, StatusCode::BAD_EXTENSION);
    assert_eq!(refusal.headers.tokens(&HeaderName::Unsupported).unwrap(), unsupported);
    assert!(unsupported_options(&invite, &["timer", "100rel", "foo"]).unwrap().is_empty());
    let ack = request("ACK", 1, "", "Require: foo\r\n");
    assert!(unsupported_options(&ack, &[]).unwrap().is_empty());
}

// Goal: hops count down, zero is the end, and a fresh or boastful value is cut to 70.
#[test]
fn hops() {
    let rows = [
        ("", Hops::Left(70)),
        ("Max-Forwards: 70\r\n", Hops::Left(69)),
        ("Max-Forwards: 255\r\n", Hops::Left(69)),
        ("Max-Forwards: 1\r\n", Hops::Left(0)),
        ("Max-Forwards: 0\r\n", Hops::TooMany),
    ];
    for (header, expect) in rows {
        assert_eq!(next_max_forwards(&request("INVITE", 1, "", header)), expect, "{header}");
    }
}

// Goal: ACKs are kept per dialog and given back for repeated 2xx.
#[test]
fn repeated_2xx_get_the_same_ack() {
    let invite = request("INVITE", 1, "", CONTACT);
    let ok = response(&invite, 200, &[(HeaderName::Contact, "<sip:bob@192.0.2.9>")]);
    let mut fork = ok.clone();
    fork.to.set_tag(text("fork"));
    let dialog = Dialog::uac(&invite, &ok, CseqBlock::first(), Security::Plain).unwrap();
    let mut keeper = AckKeeper::new();
    assert!(matches!(keeper.on_2xx(&ok), TwoXx::New));
    let ack = dialog.ack(1, &Headers::new(), None);
    keeper.keep(&ok, ack.clone());
    assert!(matches!(keeper.on_2xx(&ok), TwoXx::Repeated(kept) if *kept == ack));
    assert!(matches!(keeper.on_2xx(&fork), TwoXx::New));
}

fn judge(more: &str, policy: &SessionTimerPolicy) -> UasVerdict {
    judge_request(&request("INVITE", 1, "", more), policy).unwrap()
}

// Goal: table 2 and the interval rules of RFC 4028 section 9, one row each.
#[test]
fn session_timer_as_uas() {
    let policy = SessionTimerPolicy { interval_s: 1_800, min_se_s: 120, prefer: Side::Remote };
    let accept =
        |interval_s, refresher| UasVerdict::Accept(Some(SessionTimer { interval_s, refresher }));
    let rows = [
        ("", accept(1_800, Side::Local)),
        ("Supported: timer\r\n", accept(1_800, Side::Remote)),
        ("Supported: timer\r\nx: 600\r\n", accept(600, Side::Remote)),
        ("Supported: timer\r\nx: 600;refresher=uac\r\n", accept(600, Side::Remote)),
        ("Supported: timer\r\nx: 600;refresher=uas\r\n", accept(600, Side::Local)),
        ("x: 600\r\n", accept(600, Side::Local)),
        ("x: 600;refresher=uac\r\n", accept(600, Side::Local)),
        ("Supported: timer\r\nx: 7200\r\n", accept(1_800, Side::Remote)),
        ("Supported: timer\r\nx: 7200\r\nMin-SE: 3600\r\n", accept(3_600, Side::Remote)),
        ("Supported: timer\r\nMin-SE: 3600\r\n", accept(3_600, Side::Remote)),
        ("Supported: timer\r\nx: 120\r\n", accept(120, Side::Remote)),
        ("Supported: timer\r\nx: 119\r\n", UasVerdict::TooSmall { min_se_s: 120 }),
        ("x: 119\r\n", accept(119, Side::Local)),
        ("x: 30\r\n", accept(90, Side::Local)),
    ];
    for (headers, expect) in rows {
        assert_eq!(judge(headers, &policy), expect, "{headers}");
    }
    assert!(judge_request(&request("INVITE", 1, "", "x: soon\r\n"), &policy).is_err());
}

// Goal: what the callee writes into its 2xx is what the caller reads from it.
#[test]
fn session_timer_both_sides_agree() {
    for (prefer, callee, caller) in
        [(Side::Local, Side::Local, Side::Remote), (Side::Remote, Side::Remote, Side::Local)]
    {
        let policy = SessionTimerPolicy { prefer, ..SessionTimerPolicy::default() };
        let mut invite = request("INVITE", 1, "", CONTACT);
        offer(&mut invite.headers, &policy, None);
        let UasVerdict::Accept(Some(timer)) = judge_request(&invite, &policy).unwrap() else {
            unreachable!("the interval is fine")
        };
        let mut ok = response(&invite, 200, &[]);
        accept(&mut ok, &invite, &timer);
        assert!(ok.headers.lists(&HeaderName::Require, "timer"));
        assert_eq!((timer.refresher, timer.interval_s), (callee, 1_800));
        let read = judge_response(&ok).unwrap().unwrap();
        assert_eq!((read.refresher, read.interval_s), (caller, 1_800));
    }
    let invite = request("INVITE", 1, "", CONTACT);
    assert_eq!(judge_response(&response(&invite, 200, &[])), Ok(None));
}

// Goal: a 422 raises the offer once and never twice for the same value.
#[test]
fn session_timer_too_small() {
    let policy = SessionTimerPolicy { interval_s: 90, min_se_s: 90, prefer: Side::Local };
    let invite = request("INVITE", 1, "", CONTACT);
    let refusal = too_small_response(&invite, &text("t"), 600);
    let raised = after_too_small(&refusal, &policy).unwrap();
    assert_eq!((raised.interval_s, raised.min_se_s), (600, 600));
    assert_eq!(after_too_small(&refusal, &raised), None);
}

// Goal: the refresher acts at half time, the other side ends the call 32 s or a third before the end.
#[test]
fn session_timer_deadlines() {
    let start = crate::test_clock::start();
    let at = |s| start + Duration::from_secs(s);
    let timer = |interval_s, refresher| SessionTimer { interval_s, refresher };
    assert_eq!(timer(1_800, Side::Local).due(start), TimerDue::Refresh(at(900)));
    assert_eq!(timer(1_800, Side::Remote).due(start), TimerDue::EndCall(at(1_768)));
    assert_eq!(timer(90, Side::Remote).due(start), TimerDue::EndCall(at(60)));
    assert_eq!(timer(96, Side::Remote).due(start), TimerDue::EndCall(at(64)));
    assert_eq!(timer(99, Side::Remote).due(start), TimerDue::EndCall(at(67)));
}

// Goal: our Contact, headers and body come out in the request.
#[test]
fn request_parts() {
    let mut headers = Headers::new();
    headers.push(HeaderName::Reason, text("SIP;cause=200"));
    let contact = NameAddr::from_uri(Uri::parse("sip:node@192.0.2.5").unwrap());
    let body = Some((text("application/sdp"), "v=0".into()));
    let parts = RequestParts { contact: Some(contact.clone()), headers, body };
    let request = uas().request(Method::Invite, parts).unwrap();
    assert_eq!(request.headers.dialog_contact().unwrap(), contact);
    assert_eq!(request.headers.reasons().unwrap()[0].cause, Some(200));
    assert!(request.headers.content_type().unwrap().unwrap().is_sdp());
    assert_eq!(request.body, "v=0");
}

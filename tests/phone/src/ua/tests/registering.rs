//! Registration: credentials, lifetimes, and the way to the next registrar.

use super::{Bench, NODE_A, NODE_B, OWN, Sent, address, heads};
use crate::sip::{Message, Received};
use crate::ua::{KeepAlive, PhoneConfig, PhoneId, Server};

fn config() -> PhoneConfig {
    let registrars = vec![Server::udp(address(NODE_A)), Server::udp(address(NODE_B))];
    let mut config =
        PhoneConfig::new("agent", "1001", address(OWN)).registering("secret", registrars);
    config.failover_after_ms = Some(2_000);
    config
}

fn reply(request: &Sent, code: u16) -> Message {
    let request = Received::check(request.message.clone()).expect("a valid request");
    Message::response(&request, code, "Phrase", Some("reg"))
}

fn ok(request: &Sent, expires_s: u32) -> Message {
    let contact = request.message.header("Contact").expect("a Contact");
    reply(request, 200).with("Contact", format!("{contact};expires={expires_s}"))
}

fn challenge(request: &Sent, nonce: &str, more: &str) -> Message {
    let value = format!("Digest realm=\"tandem\", nonce=\"{nonce}\", qop=\"auth\"{more}");
    reply(request, 401).with("WWW-Authenticate", value)
}

fn registered_at(bench: &Bench, id: PhoneId) -> Option<String> {
    bench.core.phones[&id].view.borrow().registered_at.map(|at| at.to_string())
}

// Goal: a challenge is answered with the same Call-ID and the next CSeq; the refresh comes at its
// share of the granted lifetime, with the nonce counted up.
#[test]
fn digest_and_refresh() {
    let mut bench = Bench::new();
    let id = bench.phone(config());
    let first = bench.sent_one();
    assert_eq!(first.message.header("Authorization"), None);
    bench.receive(NODE_A, &challenge(&first, "n1", ""));
    let second = bench.sent_one();
    assert_eq!(second.message.header("Call-ID"), first.message.header("Call-ID"));
    assert_eq!(second.message.header("CSeq"), Some("2 REGISTER"));
    let given = second.message.header("Authorization").expect("credentials");
    assert!(given.contains("nc=00000001") && given.contains("uri=\"sip:127.0.0.11\""), "{given}");
    bench.receive(NODE_A, &ok(&second, 100));
    assert_eq!(registered_at(&bench, id).as_deref(), Some(NODE_A));

    bench.run_ms(69_999);
    assert_eq!(heads(&bench.sent()), [""; 0]);
    bench.run_ms(1);
    let refresh = bench.sent_one();
    let given = refresh.message.header("Authorization").expect("credentials").to_owned();
    assert!(given.contains("nonce=\"n1\"") && given.contains("nc=00000002"), "{given}");

    // The nonce is too old by now: that is no wrong password.
    bench.receive(NODE_A, &challenge(&refresh, "n2", ", stale=true"));
    let third = bench.sent_one();
    assert!(third.message.header("Authorization").is_some_and(|v| v.contains("nonce=\"n2\"")));
    bench.receive(NODE_A, &ok(&third, 100));
    assert_eq!(bench.core.phones[&id].view.borrow().registrations, 2);
}

// Goal: wrong credentials are not tried for ever: the next registrar gets its turn.
#[test]
fn wrong_credentials() {
    let mut bench = Bench::new();
    bench.phone(config());
    let mut request = bench.sent_one();
    for n in 0..2 {
        bench.receive(NODE_A, &challenge(&request, &format!("n{n}"), ""));
        request = bench.sent_one();
        assert_eq!(request.flow.remote, address(NODE_A));
    }
    bench.receive(NODE_A, &challenge(&request, "n9", ""));
    let next = bench.sent_one();
    assert_eq!(next.flow.remote, address(NODE_B));
    assert_eq!(next.message.header("Authorization"), None);

    // A registrar that repeats its nonce says the same.
    bench.receive(NODE_B, &challenge(&next, "same", ""));
    let tried = bench.sent_one();
    bench.receive(NODE_B, &challenge(&tried, "same", ""));
    assert_eq!(heads(&bench.sent()), [""; 0], "the whole list failed: a pause");
    bench.run_ms(2_000);
    assert_eq!(bench.sent_one().flow.remote, address(NODE_A));
}

// Goal: silence for the time set, 503, and a refused transport each lead to the next registrar.
#[test]
fn failover() {
    for way in ["silence", "503", "403"] {
        let mut bench = Bench::new();
        let id = bench.phone(config());
        let first = bench.sent_one();
        if way == "silence" {
            bench.run_ms(1_999);
            assert!(bench.sent().iter().all(|sent| sent.flow.remote == address(NODE_A)));
            bench.run_ms(1);
        } else {
            bench.receive(NODE_A, &reply(&first, way.parse().expect("a code")));
        }
        let second = bench.sent_one();
        assert_eq!(second.flow.remote, address(NODE_B), "{way}");
        bench.receive(NODE_B, &ok(&second, 100));
        assert_eq!(registered_at(&bench, id).as_deref(), Some(NODE_B));
        assert_eq!(bench.core.phones[&id].view.borrow().failures, 1);
        // A late answer of the first one changes nothing.
        bench.receive(NODE_A, &ok(&first, 100));
        assert_eq!(registered_at(&bench, id).as_deref(), Some(NODE_B));
    }
}

// Goal: a refresh without an answer leads to the next registrar, and around the list again.
#[test]
fn failover_of_a_refresh() {
    let mut bench = Bench::new();
    let id = bench.phone(config());
    let first = bench.sent_one();
    bench.receive(NODE_A, &ok(&first, 10));
    bench.run_ms(7_000);
    bench.sent();
    bench.run_ms(2_000);
    let at_b = bench.sent().pop().expect("a REGISTER");
    assert_eq!(at_b.flow.remote, address(NODE_B));
    assert_eq!(registered_at(&bench, id), None);
    bench.receive(NODE_B, &ok(&at_b, 10));
    bench.run_ms(7_000);
    bench.sent();
    bench.run_ms(2_000);
    assert_eq!(bench.sent().pop().expect("a REGISTER").flow.remote, address(NODE_A));
}

// Goal: 423 is followed by the lifetime that it asks for; one that asks for no more is a failure.
#[test]
fn interval_too_brief() {
    for (wanted, follows) in [("600", true), ("300", false), ("x", false)] {
        let mut bench = Bench::new();
        bench.phone(config());
        let first = bench.sent_one();
        assert_eq!(first.message.header("Expires"), Some("300"));
        bench.receive(NODE_A, &reply(&first, 423).with("Min-Expires", wanted));
        let next = bench.sent_one();
        let same = next.flow.remote == address(NODE_A);
        assert_eq!(
            (same, next.message.header("Expires") == Some("600")),
            (follows, follows),
            "{wanted}"
        );
    }
}

// Goal: un-REGISTER asks for lifetime 0 and ends the matter, whether answered or not.
#[test]
fn unregister() {
    for (answered, refreshing) in [(true, false), (false, false), (true, true)] {
        let mut bench = Bench::new();
        let id = bench.phone(config());
        let first = bench.sent_one();
        bench.receive(NODE_A, &ok(&first, 100));
        if refreshing {
            bench.run_ms(70_000);
            assert_eq!(bench.sent_one().message.header("Expires"), Some("300"));
        }
        let (left, mut leaving) = tokio::sync::oneshot::channel();
        bench.core.unregister(id, left);
        bench.core.flush();
        let last = bench.sent_one();
        assert_eq!(last.message.header("Expires"), Some("0"));
        if answered {
            bench.receive(NODE_A, &reply(&last, 200));
        } else {
            bench.run_ms(2_000);
        }
        let closed =
            matches!(leaving.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
        assert!(closed, "{answered}");
        assert_eq!(registered_at(&bench, id), None);
        bench.sent();
        bench.run_ms(200_000);
        assert_eq!(heads(&bench.sent()), [""; 0]);
    }
}

// Goal: keep-alive by OPTIONS notices a dead registrar without waiting for the refresh.
#[test]
fn keep_alive_options() {
    let mut bench = Bench::new();
    let mut config = config();
    config.keep_alive = KeepAlive::Options { every_ms: 5_000 };
    bench.phone(config);
    let first = bench.sent_one();
    bench.receive(NODE_A, &ok(&first, 1_000));
    bench.run_ms(5_000);
    let options = bench.sent_one();
    bench.receive(NODE_A, &reply(&options, 200));
    bench.run_ms(5_000);
    assert_eq!(heads(&bench.sent()), ["OPTIONS"]);
    bench.run_ms(2_000);
    let sent = bench.sent();
    assert_eq!(sent.last().map(|sent| sent.flow.remote), Some(address(NODE_B)));
}

// Goal: keep-alive by CRLF sends one at each interval while registered, and none before.
#[test]
fn keep_alive_crlf() {
    let mut bench = Bench::new();
    let mut config = config();
    config.keep_alive = KeepAlive::Crlf { every_ms: 5_000 };
    bench.phone(config);
    let first = bench.sent_one();
    assert_eq!(bench.wire.borrow().keep_alives, 0);
    bench.receive(NODE_A, &ok(&first, 1_000));
    bench.run_ms(14_999);
    assert_eq!(bench.wire.borrow().keep_alives, 2);
    bench.run_ms(1);
    assert_eq!(bench.wire.borrow().keep_alives, 3);
}

//! Tests of both sides of digest authentication.

use super::algorithm::{ResponseParts, auth_response};
use super::*;
use crate::message::{
    CallId, HeaderName, Headers, Method, NameAddr, Request, Response, StatusCode, Uri,
};
use crate::prng::Prng;
use crate::text::SipText;
use std::time::Duration;

const REALM: &str = "tandem.example";
const NOW: WallSeconds = WallSeconds(1_700_000_000);
const LIFE: Duration = Duration::from_secs(300);

fn text(s: &str) -> SipText {
    SipText::copy_of(s).unwrap()
}

fn server_with(kind: ChallengeKind, algorithms: &[Algorithm], key: u8) -> DigestServer {
    let keys = NonceKeys::new(ClusterKey::new([key; 32]));
    DigestServer::new(text(REALM), kind, algorithms, keys, LIFE)
}

fn server() -> DigestServer {
    server_with(ChallengeKind::Www, &[Algorithm::Md5, Algorithm::Sha256], 1)
}

fn register() -> Request {
    let uri = || Uri::parse("sip:tandem.example").unwrap();
    let user = NameAddr::from_uri(Uri::parse("sip:amy@tandem.example").unwrap());
    let call_id = CallId::parse(&text("c")).unwrap();
    Request::new(Method::Register, uri(), user.clone(), user, call_id, 1)
}

fn challenged(server: &DigestServer, request: &Request, staleness: Staleness) -> Response {
    let mut response = Response::to_request(request, StatusCode::UNAUTHORIZED, &text("t"));
    server.challenge(&mut response.headers, NOW, staleness, &mut Prng::from_number(5));
    response
}

fn ha1(algorithm: Algorithm) -> Ha1 {
    Ha1::compute(algorithm, b"amy", REALM.as_bytes(), b"secret")
}

/// A request with the client's answer to the server's challenge.
fn answered(server: &DigestServer, client: &mut DigestClient) -> Request {
    let mut request = register();
    let response = challenged(server, &request, Staleness::NotStale);
    client.take_challenge(&response, &request).unwrap();
    client.authorize(&mut request, &mut Prng::from_number(6));
    request
}

fn verify(server: &DigestServer, request: &Request, now: WallSeconds) -> Verdict {
    let credentials = server.credentials(request).unwrap();
    let ha1 = ha1(credentials.algorithm.unwrap_or(Algorithm::Md5));
    server.verify(request, &credentials, Some(&ha1), now)
}

/// Rewrites the Authorization header.
fn tampered(request: &Request, change: impl Fn(&mut Credentials)) -> Request {
    let value = request.headers.first(&HeaderName::Authorization).unwrap();
    let mut credentials = Credentials::parse(value).unwrap().unwrap();
    change(&mut credentials);
    let mut changed = request.clone();
    changed.headers.set(HeaderName::Authorization, credentials.to_text());
    changed
}

// Goal: the figures of RFC 7616 section 3.9.1 and RFC 2617 section 3.5 come out.
#[test]
fn published_vectors() {
    let rfc7616 = |algorithm| {
        let realm = b"http-auth@example.org";
        auth_response(
            &Ha1::compute(algorithm, b"Mufasa", realm, b"Circle of Life"),
            &ResponseParts {
                method: b"GET",
                uri: b"/dir/index.html",
                nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                count: b"00000001",
                cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
            },
        )
    };
    assert_eq!(rfc7616(Algorithm::Md5), "8ca523f5e9506fed4657c9700eebdbec");
    assert_eq!(
        rfc7616(Algorithm::Sha256),
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"
    );
    let rfc2617 = auth_response(
        &Ha1::compute(Algorithm::Md5, b"Mufasa", b"testrealm@host.com", b"Circle Of Life"),
        &ResponseParts {
            method: b"GET",
            uri: b"/dir/index.html",
            nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
            count: b"00000001",
            cnonce: b"0a4f113b",
        },
    );
    assert_eq!(rfc2617, "6629fae49393a05397450978507c4ef1");
}

// Goal: one challenge per algorithm, strongest first, and the client takes the topmost that it can.
#[test]
fn strongest_first() {
    let response = challenged(&server(), &register(), Staleness::NotStale);
    let offered: Vec<_> = response
        .headers
        .all(&HeaderName::WwwAuthenticate)
        .map(|v| Challenge::parse(v).unwrap().unwrap())
        .collect();
    let algorithms: Vec<_> = offered.iter().map(|c| c.algorithm.unwrap()).collect();
    assert_eq!(algorithms, [Algorithm::Sha256, Algorithm::Md5]);
    assert_ne!(offered[0].nonce, offered[1].nonce);

    let algorithm_of = |client: &mut DigestClient| {
        let request = answered(&server(), client);
        server().credentials(&request).unwrap().algorithm
    };
    let mut strong = DigestClient::with_password("amy", "secret");
    assert_eq!(algorithm_of(&mut strong), Some(Algorithm::Sha256));
    let mut old = DigestClient::with_ha1("amy", vec![ha1(Algorithm::Md5)]);
    assert_eq!(algorithm_of(&mut old), Some(Algorithm::Md5));
}

// Goal: right credentials are accepted by every node with the key, for each algorithm and both kinds.
#[test]
fn right_credentials() {
    for kind in [ChallengeKind::Www, ChallengeKind::Proxy] {
        for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
            let server = server_with(kind, &[algorithm], 1);
            let mut request = register();
            let status = match kind {
                ChallengeKind::Www => StatusCode::UNAUTHORIZED,
                ChallengeKind::Proxy => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            };
            let mut response = Response::to_request(&request, status, &text("t"));
            let prng = &mut Prng::from_number(5);
            server.challenge(&mut response.headers, NOW, Staleness::NotStale, prng);
            let mut client = DigestClient::with_password("amy", "secret");
            client.take_challenge(&response, &request).unwrap();
            for count in 1..=3 {
                client.authorize(&mut request, prng);
                let other_node = server_with(kind, &[algorithm], 1);
                match verify(&other_node, &request, NOW) {
                    Verdict::Accepted { count: got, .. } => assert_eq!(got, count),
                    other => unreachable!("{kind:?} {algorithm:?} {other:?}"),
                }
            }
        }
    }
}

// Goal: each wrong thing is rejected for its own reason, but user and password for the same.
#[test]
fn wrong_credentials() {
    let server = server();
    let good = answered(&server, &mut DigestClient::with_password("amy", "secret"));
    assert!(matches!(verify(&server, &good, NOW), Verdict::Accepted { .. }));

    let wrong_password = answered(&server, &mut DigestClient::with_password("amy", "Secret"));
    assert_eq!(verify(&server, &wrong_password, NOW), Verdict::Rejected(Rejection::WrongResponse));
    let credentials = server.credentials(&good).unwrap();
    let nobody = server.verify(&good, &credentials, None, NOW);
    assert_eq!(nobody, Verdict::Rejected(Rejection::WrongResponse));
    let other_algorithm = server.verify(&good, &credentials, Some(&ha1(Algorithm::Md5)), NOW);
    assert_eq!(other_algorithm, Verdict::Rejected(Rejection::WrongResponse));

    let reject = |request: &Request| match verify(&server, request, NOW) {
        Verdict::Rejected(reason) => reason,
        other => unreachable!("{other:?}"),
    };
    let mut bye = good.clone();
    bye.method = Method::Bye;
    assert_eq!(reject(&bye), Rejection::WrongResponse);
    let forged = tampered(&good, |c| c.nonce[3] ^= 1);
    assert_eq!(reject(&forged), Rejection::ForeignNonce);
    assert_eq!(reject(&tampered(&good, |c| c.nonce = b"abc".to_vec())), Rejection::ForeignNonce);
    assert_eq!(reject(&tampered(&good, |c| c.uri = b"sip:other.example".to_vec())), Rejection::Uri);
    assert_eq!(reject(&tampered(&good, |c| c.uri = b"\xff".to_vec())), Rejection::Uri);
    assert_eq!(reject(&tampered(&good, |c| c.qop = None)), Rejection::Qop);
    assert_eq!(reject(&tampered(&good, |c| c.count = b"1".to_vec())), Rejection::Qop);
    assert_eq!(reject(&tampered(&good, |c| c.response = b"00".to_vec())), Rejection::WrongResponse);
    assert_eq!(reject(&tampered(&good, |c| c.response.clear())), Rejection::WrongResponse);
    let sha_only = server_with(ChallengeKind::Www, &[Algorithm::Sha256], 1);
    let md5 = tampered(&good, |c| c.algorithm = Some(Algorithm::Md5));
    assert_eq!(verify(&sha_only, &md5, NOW), Verdict::Rejected(Rejection::Algorithm));
    let other_cluster = server_with(ChallengeKind::Www, &[Algorithm::Sha256], 2);
    assert_eq!(verify(&other_cluster, &good, NOW), Verdict::Rejected(Rejection::ForeignNonce));
}

// Goal: a nonce lives exactly its time; later it is stale for right and rejected for wrong credentials;
// one from too far in the future is not taken (pairs at the edge).
#[test]
fn nonce_life() {
    let server = server();
    let good = answered(&server, &mut DigestClient::with_password("amy", "secret"));
    let at = |offset: i64| {
        verify(&server, &good, WallSeconds(NOW.0.checked_add_signed(offset).unwrap()))
    };
    assert!(matches!(at(300), Verdict::Accepted { .. }));
    assert_eq!(at(301), Verdict::Stale);
    assert!(matches!(at(-60), Verdict::Accepted { .. }));
    assert_eq!(at(-61), Verdict::Stale);
    let wrong = answered(&server, &mut DigestClient::with_password("amy", "x"));
    let late = verify(&server, &wrong, WallSeconds(NOW.0 + 301));
    assert_eq!(late, Verdict::Rejected(Rejection::WrongResponse));
}

// Goal: nonces survive two rotations of the key and not three.
#[test]
fn key_rotation() {
    let mut server = server();
    let good = answered(&server, &mut DigestClient::with_password("amy", "secret"));
    for key in 10..12 {
        server.keys_mut().rotate(ClusterKey::new([key; 32]));
        assert!(matches!(verify(&server, &good, NOW), Verdict::Accepted { .. }));
    }
    server.keys_mut().rotate(ClusterKey::new([12; 32]));
    assert_eq!(verify(&server, &good, NOW), Verdict::Rejected(Rejection::ForeignNonce));
}

// Goal: a client tries again after a stale nonce and gives up when its credentials are refused.
#[test]
fn client_gives_up() {
    let server = server();
    let mut client = DigestClient::with_password("amy", "secret");
    let request = answered(&server, &mut client);
    let stale = challenged(&server, &request, Staleness::Stale);
    assert_eq!(client.take_challenge(&stale, &request), Ok(()));
    let refused = challenged(&server, &request, Staleness::NotStale);
    assert_eq!(client.take_challenge(&refused, &request), Err(ChallengeError::Refused));
    let mut plain = register();
    client.authorize(&mut plain, &mut Prng::from_number(1));
    assert!(!plain.headers.has(&HeaderName::Authorization), "no open challenge");

    let mut unknown = Response::to_request(&register(), StatusCode::UNAUTHORIZED, &text("t"));
    for value in [
        "Digest realm=\"r\", nonce=\"n\", algorithm=FOO, qop=\"auth\"",
        "Basic realm=\"r\"",
        "Digest realm=\"r\", nonce=\"n\"",
        "Digest x",
    ] {
        unknown.headers.push(HeaderName::WwwAuthenticate, text(value));
    }
    let none = client.take_challenge(&unknown, &register());
    assert_eq!(none, Err(ChallengeError::NoneUsable));
}

// Goal: credentials are found by realm, and what is unreadable or doubled says so.
#[test]
fn finding_credentials() {
    let find = |values: &[&str]| {
        let mut request = register();
        for value in values {
            request.headers.push(HeaderName::Authorization, text(value));
        }
        server().credentials(&request).map(|c| c.username)
    };
    let ours = "digest username=\"a\\\"b\", realm=\"tandem.example\", nonce=\"n\", uri=\"sip:h\",\
                response=\"00\" , qop = auth,nc=00000001,cnonce=\"x\", x=\"1,2\"";
    let theirs =
        "Digest username=\"x\", realm=\"other\", nonce=\"n\", uri=\"sip:h\", response=\"0\"";
    assert_eq!(find(&[theirs, ours]), Ok(b"a\"b".to_vec()));
    assert_eq!(find(&[theirs, "Basic abc"]), Err(NoCredentials::Absent));
    assert_eq!(find(&[ours, ours]), Err(NoCredentials::Several));
    for broken in [
        "Digest",
        "Digest username",
        "Digest username=\"a",
        "Digest a=1,a=2",
        "Digest a=1,",
        "Digest realm=\"x\"",
    ] {
        assert!(matches!(find(&[broken]), Err(NoCredentials::Unreadable(_))), "{broken}");
    }
}

// Goal: no secret shows in debug output.
#[test]
fn secrets_do_not_show() {
    let client = DigestClient::with_password("amy", "secret");
    let hash = ha1(Algorithm::Sha256);
    let credentials = server()
        .credentials(&answered(&server(), &mut DigestClient::with_password("amy", "secret")))
        .unwrap();
    let shown = format!("{client:?} {hash:?} {:?} {credentials:?}", server());
    let response = String::from_utf8(credentials.response).unwrap();
    for secret in ["secret", "amy", &hash.expose_hex(), &response, "[1, 1"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
    assert_eq!(Ha1::from_hex(Algorithm::Sha256, &hash.expose_hex()), Ok(hash));
    assert!(Ha1::from_hex(Algorithm::Md5, "00").is_err());
    assert!(Ha1::from_hex(Algorithm::Md5, &"zz".repeat(16)).is_err());
}

// Goal: an unknown user costs the same work as a known one: the same hashes are computed.
#[test]
fn unknown_users_take_the_same_path() {
    let server = server();
    let request = answered(&server, &mut DigestClient::with_password("amy", "wrong"));
    let credentials = server.credentials(&request).unwrap();
    let known = server.verify(&request, &credentials, Some(&ha1(Algorithm::Sha256)), NOW);
    let unknown = server.verify(&request, &credentials, None, NOW);
    assert_eq!(known, unknown);
    let mut headers = [Headers::new(), Headers::new()];
    for challenge in &mut headers {
        server.challenge(challenge, NOW, Staleness::NotStale, &mut Prng::from_number(1));
    }
    assert_eq!(headers[0], headers[1], "nothing in the answer depends on the user");
}

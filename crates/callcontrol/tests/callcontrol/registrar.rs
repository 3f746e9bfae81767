//! Phones that register: digest, contacts, lifetimes, order, edges that die.

use tandem_callcontrol::{credential_context, credential_secret};
use tandem_cluster::{
    command::Command,
    seal::{ClusterKey, seal},
};
use tandem_sip::auth::{Algorithm, Ha1};

use crate::world::{
    World,
    center::NUMBER,
    checks::{assert_at_rest, assert_talks},
    log::{TENANT, name},
    net::Net,
    node::{KEY, REALM},
    text::Msg,
};

const PASSWORD: &str = "correct horse";

/// Amy has a password; her phone is not bound yet.
fn world(seed: u64) -> World {
    let mut world = World::center(seed, Net::clean());
    world.add_agent("amy", 2);
    world.unbind_phone("amy");
    let secret = credential_secret("amy", REALM, PASSWORD);
    let context = credential_context("amy", REALM);
    let sealed = seal(&ClusterKey::new(KEY), [1; 24], &context, &secret).unwrap();
    let put =
        Command::PutCredential { tenant: TENANT, agent: name("amy"), realm: REALM.into(), sealed };
    world.command(put).unwrap();
    // Every node's own copy has it.
    world.run(20);
    world
}

/// What a phone says in a REGISTER.
#[derive(Debug, Clone)]
struct Register {
    call_id: String,
    cseq: u32,
    contacts: Vec<String>,
    expires: Option<u32>,
    user: &'static str,
    password: &'static str,
    algorithm: Algorithm,
}

impl Register {
    fn amy(cseq: u32) -> Self {
        Self {
            call_id: "registration".into(),
            cseq,
            contacts: vec!["<sip:amy@192.0.2.1:5060>".into()],
            expires: Some(3_600),
            user: "amy",
            password: PASSWORD,
            algorithm: Algorithm::Sha256,
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers =
            vec![("Call-ID", self.call_id.clone()), ("CSeq", format!("{} REGISTER", self.cseq))];
        if !self.contacts.is_empty() {
            headers.push(("Contact", self.contacts.join(", ")));
        }
        headers.extend(self.expires.map(|expires| ("Expires", expires.to_string())));
        headers
    }

    /// The Authorization for a challenge (RFC 7616 section 3.4), for the n-th use of its nonce.
    fn authorization(&self, challenge: &Msg, count: u32) -> String {
        let nonce = nonce_of(challenge, self.algorithm);
        let hash = |a: &str, b: &str, c: &str| {
            Ha1::compute(self.algorithm, a.as_bytes(), b.as_bytes(), c.as_bytes()).expose_hex()
        };
        let (ha1, uri) = (hash(self.user, REALM, self.password), "sip:tandem.example");
        // Three parts joined by colons, as HA1 has.
        let ha2 = hash("REGISTER", "sip", "tandem.example");
        let response = hash(&ha1, &nonce, &format!("{count:08x}:0a4f113b:auth:{ha2}"));
        format!(
            "Digest username=\"{}\", realm=\"{REALM}\", nonce=\"{nonce}\", uri=\"{uri}\", \
             response=\"{response}\", algorithm={}, cnonce=\"0a4f113b\", qop=auth, nc={count:08x}",
            self.user,
            self.algorithm.token(),
        )
    }
}

fn nonce_of(challenge: &Msg, algorithm: Algorithm) -> String {
    let token = format!("algorithm={}", algorithm.token());
    let header = challenge.all("WWW-Authenticate").find(|header| {
        header.split(',').any(|part| part.trim().trim_start_matches("Digest ") == token)
    });
    let header = header.unwrap_or_else(|| panic!("no {token} in {challenge:?}"));
    let from = header.split_once("nonce=\"").unwrap().1;
    from.split('"').next().unwrap().to_owned()
}

/// Sends a REGISTER as it is; the answer.
fn send(world: &mut World, register: &Register, authorization: Option<String>) -> Msg {
    let mut headers = register.headers();
    headers.extend(authorization.map(|value| ("Authorization", value)));
    let uri = format!("sip:{}@{REALM}", register.user);
    let before = world.see("amy").outside.len();
    world.ua("amy").outside("REGISTER", &uri, &headers);
    world.expect(40_000, "an answer", |w| w.see("amy").outside.len() > before);
    world.see("amy").outside.last().unwrap().1.clone()
}

/// Sends a REGISTER, and again with credentials.
fn register(world: &mut World, register: &Register) -> Msg {
    let challenge = send(world, register, None);
    assert_eq!(challenge.status(), 401);
    let register = Register { cseq: register.cseq + 1, ..register.clone() };
    send(world, &register, Some(register.authorization(&challenge, 1)))
}

fn bindings(world: &World) -> Vec<String> {
    let agent = world.agent_id("amy");
    let rows = world.log.machine.bindings_of(agent);
    rows.into_iter().map(|row| row.target.contact_uri.clone()).collect()
}

fn contacts(answer: &Msg) -> Vec<(String, u32)> {
    let of = |value: &str| {
        let expires = crate::world::text::param(value, "expires").unwrap().parse().unwrap();
        (crate::world::text::address(value), expires)
    };
    answer.all("Contact").flat_map(|value| value.split(", ").map(of).collect::<Vec<_>>()).collect()
}

// Goal: a phone with the right password is bound, by either algorithm, and is called then.
#[test]
fn a_phone_registers() {
    for algorithm in [Algorithm::Md5, Algorithm::Sha256] {
        let mut world = world(1);
        let answer = register(&mut world, &Register { algorithm, ..Register::amy(1) });
        assert_eq!(answer.status(), 200, "{algorithm:?}");
        assert_eq!(contacts(&answer), [("sip:amy@192.0.2.1:5060".to_owned(), 3_600)]);
        assert_eq!(bindings(&world), ["sip:amy@192.0.2.1:5060"]);
        world.add_caller("carol", 1);
        world.ua("carol").invite(NUMBER);
        world.expect(6_000, "they talk", |w| w.connected() == 1);
        world.run(1_000);
        assert_talks(&world);
        world.ua("carol").hang_up();
        world.run(100_000);
        assert_at_rest(&world);
    }
}

// Goal: who cannot prove who they are is not bound, and learns nothing about who exists.
#[test]
fn wrong_credentials() {
    let mut world = world(2);
    let wrong = Register { password: "wrong", ..Register::amy(1) };
    assert_eq!(register(&mut world, &wrong).status(), 403);
    let nobody = Register { user: "nobody", ..Register::amy(11) };
    assert_eq!(register(&mut world, &nobody).status(), 403);
    assert_eq!(bindings(&world), Vec::<String>::new());
    // A nonce that nobody here made.
    let right = Register::amy(21);
    let challenge = send(&mut world, &right, None);
    let forged = right.authorization(&challenge, 1).replace("nonce=\"", "nonce=\"00");
    assert_eq!(send(&mut world, &Register::amy(22), Some(forged)).status(), 401);
    assert_eq!(bindings(&world), Vec::<String>::new());
}

// Goal: a nonce is good for a while and each count once: a replay and an old one are challenged anew
// as stale, at any node.
#[test]
fn nonces_age_and_count() {
    let mut world = world(3);
    let challenge = send(&mut world, &Register::amy(1), None);
    let again = |n: u32| Register::amy(10 + n);
    let proof = again(1).authorization(&challenge, 1);
    // The challenge came from node 2; any node takes the answer.
    world.ua("amy").proxy = world.nodes[&3].udp;
    assert_eq!(send(&mut world, &again(1), Some(proof.clone())).status(), 200);
    let replay = send(&mut world, &again(2), Some(proof));
    assert_eq!(replay.status(), 401);
    assert!(replay.get("WWW-Authenticate").contains("stale=true"), "{replay:?}");
    let next = again(3).authorization(&challenge, 2);
    assert_eq!(send(&mut world, &again(3), Some(next)).status(), 200);
    world.run(301_000);
    let old = again(4).authorization(&challenge, 3);
    let stale = send(&mut world, &again(4), Some(old));
    assert_eq!(stale.status(), 401);
    assert!(stale.get("WWW-Authenticate").contains("stale=true"));
}

// Goal: several contacts, what is listed, `*`, and what is refused (RFC 3261 section 10.3).
#[test]
fn contacts_and_lifetimes() {
    let mut world = world(4);
    let two =
        vec!["<sip:amy@192.0.2.1:5060>;expires=600".into(), "<sip:desk@192.0.2.1:5062>".into()];
    let answer = register(&mut world, &Register { contacts: two, ..Register::amy(1) });
    assert_eq!(answer.status(), 200);
    let granted = contacts(&answer);
    assert_eq!(granted.len(), 2);
    assert!(granted.contains(&("sip:amy@192.0.2.1:5060".into(), 600)));
    // A query lists both and changes nothing.
    let query = Register { contacts: vec![], expires: None, ..Register::amy(11) };
    assert_eq!(contacts(&register(&mut world, &query)).len(), 2);
    // One is taken back.
    let less = vec!["<sip:desk@192.0.2.1:5062>;expires=0".into()];
    let answer = register(&mut world, &Register { contacts: less, ..Register::amy(21) });
    assert_eq!(contacts(&answer).len(), 1);
    assert_eq!(bindings(&world), ["sip:amy@192.0.2.1:5060"]);
    // Too brief, too many.
    let brief = Register { expires: Some(59), ..Register::amy(31) };
    let answer = register(&mut world, &brief);
    assert_eq!((answer.status(), answer.get("Min-Expires")), (423, "60".into()));
    let just = Register { expires: Some(60), ..Register::amy(41) };
    assert_eq!(register(&mut world, &just).status(), 200);
    let many = (0..5).map(|n| format!("<sip:amy@192.0.2.1:{}>", 6_000 + n)).collect();
    let answer = register(&mut world, &Register { contacts: many, ..Register::amy(51) });
    assert_eq!(answer.status(), 403);
    // All are taken back; `*` with another lifetime is nonsense.
    let star = Register { contacts: vec!["*".into()], expires: Some(60), ..Register::amy(61) };
    assert_eq!(register(&mut world, &star).status(), 400);
    let star = Register { expires: Some(0), ..Register { cseq: 71, ..star } };
    assert_eq!(register(&mut world, &star).status(), 200);
    assert_eq!(bindings(&world), Vec::<String>::new());
}

// Goal: a registration that is not refreshed ends some seconds after its lifetime; one that is
// refreshed does not, and refreshes cost the log nothing.
#[test]
fn refreshes() {
    let mut world = world(5);
    assert_eq!(
        register(&mut world, &Register { expires: Some(60), ..Register::amy(1) }).status(),
        200
    );
    let index = world.log.index;
    for n in 1..=4 {
        world.run(50_000);
        let again = Register { expires: Some(60), ..Register::amy(10 * n) };
        assert_eq!(register(&mut world, &again).status(), 200);
    }
    let entries = world.log.index - index;
    assert!(entries <= 1, "{entries} entries for four refreshes");
    world.run(58_000);
    assert_eq!(bindings(&world).len(), 1);
    world.run(10_000);
    assert_eq!(bindings(&world), Vec::<String>::new());
}

// Goal: a REGISTER that is older than the one in force does not undo it.
#[test]
fn an_older_register() {
    let mut world = world(6);
    assert_eq!(register(&mut world, &Register::amy(100)).status(), 200);
    let older = Register { expires: Some(0), ..Register::amy(50) };
    assert_eq!(register(&mut world, &older).status(), 500);
    assert_eq!(bindings(&world).len(), 1);
}

// Goal: without a quorum a new binding gets 503, a known phone's refresh 200.
#[test]
fn without_a_quorum() {
    let mut world = world(7);
    assert_eq!(register(&mut world, &Register::amy(1)).status(), 200);
    world.quorum = false;
    assert_eq!(register(&mut world, &Register::amy(11)).status(), 200);
    let other = vec!["<sip:desk@192.0.2.1:5062>".into()];
    let answer = register(&mut world, &Register { contacts: other, ..Register::amy(21) });
    assert_eq!(answer.status(), 503);
    assert!(answer.header("Retry-After").is_some());
    world.heal();
    world.run(5_000);
}

// Goal: a phone on a connection is bound as long as the connection stands.
#[test]
fn a_connection_closes() {
    let mut world = world(8);
    let index = world.uas.iter().position(|ua| ua.name == "amy").unwrap();
    let conn = world.connect(index, 2);
    let contacts = vec!["<sip:amy@192.0.2.1:5060;transport=tcp>".into()];
    let tcp = Register { contacts, ..Register::amy(1) };
    assert_eq!(register(&mut world, &tcp).status(), 200);
    assert_eq!(bindings(&world).len(), 1);
    world.add_caller("carol", 1);
    world.ua("carol").invite(NUMBER);
    world.expect(6_000, "they talk by it", |w| w.connected() == 1);
    world.run(1_000);
    assert_talks(&world);
    world.ua("carol").hang_up();
    world.run(1_000);
    world.disconnect(conn);
    world.run(1_000);
    assert_eq!(bindings(&world), Vec::<String>::new());
}

// Goal: the edge of a phone dies: one on UDP is called through another node; one on a connection only
// after it has registered anew there.
#[test]
fn the_edge_of_a_phone_dies() {
    for tcp in [false, true] {
        let mut world = world(9);
        let index = world.uas.iter().position(|ua| ua.name == "amy").unwrap();
        let mut phone = Register::amy(1);
        if tcp {
            world.connect(index, 2);
            phone.contacts = vec!["<sip:amy@192.0.2.1:5060;transport=tcp>".into()];
        }
        assert_eq!(register(&mut world, &phone).status(), 200);
        world.crash_node(2, true);
        world.run(1_000);
        world.add_caller("carol", 1);
        world.ua("carol").invite(NUMBER);
        world.run(6_000);
        assert_eq!(world.connected(), usize::from(!tcp), "{}", world.describe());
        if tcp {
            world.connect(index, 3);
            world.ua("amy").proxy = world.nodes[&3].udp;
            assert_eq!(register(&mut world, &Register { cseq: 11, ..phone }).status(), 200);
            world.expect(6_000, "they talk", |w| w.connected() == 1);
        }
        world.run(1_000);
        assert_talks(&world);
        world.ua("carol").hang_up();
        world.run(3_000);
        world.ua("amy").hang_up();
        world.run(100_000);
        assert_at_rest(&world);
    }
}

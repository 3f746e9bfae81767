//! Links between relays: made, refused, lost, found again.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tandem_media_relay::{Relay, Settings, identity::Role};
use tandem_rtp::{
    continuity::TimeCheck,
    ids::RelayId,
    link::{ALPN, ControlMessage, Hello, VERSIONS, VersionRange},
};

use crate::support::{
    certificates::Authority,
    lossy::{Faults, LossyProxy},
    phone::Phone,
    relays::{Lab, Node, remote_peer},
    until_now,
};

fn is_up(relay: &Relay) -> bool {
    relay.vitals().links.status().iter().any(|link| link.up)
}

fn refused(relay: &Relay) -> u64 {
    relay.vitals().counters.links_refused.get()
}

/// Makes `node`'s relay want a link to relay `name` at `link`.
async fn want(node: &mut Node, phone: &Phone, leg: u64, name: &str, link: SocketAddr) {
    let wanted = node.session(leg, phone, remote_peer(leg + 100, name, link));
    node.put_done(wanted).await;
}

/// What the relay is that should be refused.
type Change = fn(&mut Settings, &Lab);

// Goal: a relay of another authority, cluster, role or name is refused, counted, and told why; the
// link never comes up.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_relays_are_refused() {
    let changes: [(&str, Change); 3] = [
        ("cluster", |settings, _| settings.relay.cluster = "other".to_owned()),
        ("authority", |settings, lab| {
            let folder = lab.folder.path().join("foreign");
            std::fs::create_dir(&folder).expect("made");
            settings.tls = Authority::new().write(&folder, Role::Relay, "b");
        }),
        // Not the relay that was wanted: it has a name of its own, and a certificate for it.
        ("name", |settings, lab| {
            settings.relay.id = "c".to_owned();
            settings.tls = lab.authority.write(lab.folder.path(), Role::Relay, "c");
        }),
    ];
    for (what, change) in changes {
        let lab = Lab::new();
        let dialler = lab.start("a");
        let mut settings = lab.settings("b");
        change(&mut settings, &lab);
        let other = Relay::start(&settings).expect("a relay");
        let mut node = lab.node(dialler.control_address()).await;
        want(&mut node, &Phone::new(), 1, "b", other.link_address()).await;
        until_now("the refusal is counted where it is seen", || {
            refused(&dialler) > 0 || refused(&other) > 0
        })
        .await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        let linked = dialler.vitals().links.status().iter().any(|link| link.up);
        assert!(!linked, "{what}: the link is up");
    }
}

/// Dials a relay's link port with any certificate and any first words; returns how the relay closed.
async fn dial_raw(lab: &Lab, link: SocketAddr, role: Role, words: &[u8]) -> (u64, String) {
    let certificate = lab.authority.issue(role, "a");
    let chain = vec![CertificateDer::from_pem_slice(certificate.cert.as_bytes()).expect("PEM")];
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).expect("PEM");
    let mut roots = rustls::RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(lab.authority.pem().as_bytes()).expect("PEM");
    roots.add(ca).expect("an authority");
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("a key");
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).expect("TLS 1.3");
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let endpoint = quinn::Endpoint::client(([127, 0, 0, 1], 0).into()).expect("a port");
    let connecting = endpoint.connect_with(config, link, Role::Relay.dns_name());
    let connection = connecting.expect("an address").await.expect("of this cluster");
    let (mut send, _receive) = connection.open_bi().await.expect("a stream");
    send.write_all(words).await.expect("sent");
    match connection.closed().await {
        quinn::ConnectionError::ApplicationClosed(closed) => {
            (closed.error_code.into_inner(), String::from_utf8_lossy(&closed.reason).into_owned())
        }
        other => (u64::MAX, other.to_string()),
    }
}

fn hello(relay: &str, versions: VersionRange) -> Vec<u8> {
    let mut bytes = Vec::new();
    ControlMessage::Hello(Hello {
        versions,
        cluster: "test".to_owned(),
        group: 0,
        relay: RelayId::new(relay).expect("id"),
        incarnation: 1,
    })
    .encode(&mut bytes);
    bytes
}

// Goal: whoever has a certificate of the cluster without the relay role or with another name,
// speaks another version, or talks nonsense, is refused with the reason.
#[tokio::test(flavor = "multi_thread")]
async fn strange_callers_are_refused() {
    let lab = Lab::new();
    let relay = lab.start("b");
    let future = VersionRange { lowest: 900, highest: 901 };
    let table = [
        (Role::Node, hello("a", VERSIONS), "not relay.tandem.internal"),
        (Role::Operator, hello("a", VERSIONS), "not relay.tandem.internal"),
        (Role::Relay, hello("aa", VERSIONS), "not aa.relay.tandem.internal"),
        (Role::Relay, hello("a", future), "900 to 901"),
        (Role::Relay, b"\x00\x04\x01GET ".to_vec(), "not Tandem's"),
        (Role::Relay, b"\xff\xff\x01".to_vec(), "at most"),
        (Role::Relay, b"\x00\x08\x02........".to_vec(), "did not begin with a hello"),
    ];
    for (i, (role, words, reason)) in table.into_iter().enumerate() {
        let (code, told) = dial_raw(&lab, relay.link_address(), role, &words).await;
        assert_eq!(code, 2, "row {i}: {told}");
        assert!(told.contains(reason), "row {i}: {told}");
        until_now("it is counted", || refused(&relay) == i as u64 + 1).await;
    }
    assert!(relay.vitals().links.status().is_empty(), "no link stands");
}

// Goal: a relay does not start with a certificate that is not its own, and says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_certificates_do_not_start() {
    let lab = Lab::new();
    for (role, name) in [(Role::Node, "a"), (Role::Relay, "z")] {
        let mut settings = lab.settings("a");
        settings.tls = lab.authority.write(lab.folder.path(), role, name);
        let error = Relay::start(&settings).err().expect("refused").to_string();
        assert!(error.contains("relay.tandem.internal"), "{error}");
    }
    // A node's certificate is fine for the node's half of a shared file.
    let mut settings = lab.settings("a");
    let own = settings.tls.clone();
    settings.tls = lab.authority.write(lab.folder.path(), Role::Node, "n");
    settings.tls.relay_cert = Some(own.cert);
    settings.tls.relay_key = Some(own.key);
    drop(Relay::start(&settings).expect("a relay"));
}

// Goal: a relay that cannot have its ports does not start, inside an async program as well, and
// leaves nothing behind: the other one and the folder are free for the next try.
#[tokio::test(flavor = "multi_thread")]
async fn occupied_ports_do_not_start() {
    let lab = Lab::new();
    let first = lab.start("a");
    let wanted = lab.settings("b");
    for port in ["control", "link"] {
        let mut settings = wanted.clone();
        match port {
            "control" => settings.relay.control = first.control_address(),
            _ => settings.relay.link = first.link_address(),
        }
        let error = Relay::start(&settings).err().expect("refused").to_string();
        assert!(error.contains(&format!("the {port} port")), "{error}");
    }
    drop(Relay::start(&wanted).expect("a relay"));
}

// Goal: two relays that want each other at once make one link; when it is cut it comes back by
// itself, and the call goes on in the same stream with silence in between.
#[tokio::test(flavor = "multi_thread")]
async fn cut_links_come_back() {
    let lab = Lab::new();
    let (a, b) = (lab.start("a"), lab.start("b"));
    let faults = Faults { loss_permille: 0, delay: Duration::ZERO, seed: 1 };
    let proxy = LossyProxy::start(b.link_address(), faults);
    let mut nodes = [lab.node(a.control_address()).await, lab.node(b.control_address()).await];
    let phones = [Phone::new(), Phone::new()];
    let wanted = nodes[0].session(1, &phones[0], remote_peer(2, "b", proxy.address));
    let to_a = nodes[0].put_done(wanted).await;
    let wanted = nodes[1].session(2, &phones[1], remote_peer(1, "a", a.link_address()));
    nodes[1].put_done(wanted).await;
    let both_up = || is_up(&a) && is_up(&b);
    until_now("the link is up", both_up).await;
    phones[0].speak(to_a, 1, 0, 50);
    proxy.cut.store(true, Ordering::Release);
    until_now("the cut is noticed", || !is_up(&a) && !is_up(&b)).await;
    phones[0].speak(to_a, 1, 50, 20);
    proxy.cut.store(false, Ordering::Release);
    until_now("the link is up again", both_up).await;
    phones[0].speak(to_a, 1, 200, 50);
    let links = nodes[1].describe().await.links;
    assert_eq!(links.len(), 1, "{links:?}");
    assert!(links[0].received > 0 && links[0].flows == 1, "{links:?}");
    let [_, listener] = phones;
    let heard = listener.hang_up();
    assert_eq!(heard.judge(TimeCheck::On), Ok(1));
    let numbers = heard.numbers();
    let (before, after): (Vec<u32>, Vec<u32>) = numbers.iter().partition(|n| **n < 50);
    assert!(before.len() >= 35 && after.len() >= 35, "{} and {}", before.len(), after.len());
    assert!(heard.rtp().count() > numbers.len() + 20, "silence was sent meanwhile");
}

// Goal: when one relay is started anew, its old link is reset and a new one made; whichever side
// dials.
#[tokio::test(flavor = "multi_thread")]
async fn restarted_relays_link_again() {
    for restarted in ["a", "b"] {
        let lab = Lab::new();
        let mut relays = std::collections::BTreeMap::new();
        let mut settings = std::collections::BTreeMap::new();
        for name in ["a", "b"] {
            let mut wanted = lab.settings(name);
            // A port of its own, so that the next life has the same one.
            wanted.relay.link.set_port(7_401);
            relays.insert(name, Relay::start(&wanted).expect("a relay"));
            settings.insert(name, wanted);
        }
        let phone = Phone::new();
        let links = ["a", "b"].map(|name| settings[name].relay.link);
        for (name, leg, other, link) in [("a", 1, "b", links[1]), ("b", 2, "a", links[0])] {
            let mut node = lab.node(relays[name].control_address()).await;
            want(&mut node, &phone, leg, other, link).await;
        }
        until_now("the link is up", || relays.values().all(is_up)).await;
        let before = relays.remove(restarted).expect("there");
        let staying = relays.values().next().expect("the other one");
        tokio::task::spawn_blocking(move || before.stop()).await.expect("stopped");
        until_now("the end is noticed", || !is_up(staying)).await;
        let again = Relay::start(&settings[restarted]).expect("a relay");
        let mut node = lab.node(again.control_address()).await;
        node.epoch = 2;
        let (leg, other, link) =
            if restarted == "a" { (1, "b", links[1]) } else { (2, "a", links[0]) };
        want(&mut node, &phone, leg, other, link).await;
        until_now("the link is up again", || is_up(staying) && is_up(&again)).await;
    }
}

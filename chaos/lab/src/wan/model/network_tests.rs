use super::packet::tests::udp;
use super::*;

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];
const PHONE_OF_A: [u8; 4] = [10, 1, 0, 9];
const PHONE_OF_B: [u8; 4] = [10, 1, 128, 9];

/// Two nodes, and a third host with the phones of both sites.
fn network(seed: u64) -> Network {
    let endpoint = |name: &str, site: &str, addresses: &str, host| Endpoint {
        name: name.to_owned(),
        site: site.to_owned(),
        addresses: addresses.parse().unwrap(),
        host: HostIndex(host),
    };
    Network::new(
        vec![
            endpoint("a", "left", "10.0.0.1", 0),
            endpoint("b", "right", "10.0.0.2", 1),
            endpoint("phones-a", "left", "10.1.0.0/16", 2),
            endpoint("phones-b", "right", "10.1.128.0/17", 2),
        ],
        seed,
    )
    .unwrap()
}

fn party(text: &str) -> Party {
    text.parse().unwrap()
}

fn send(network: &mut Network, from: (usize, [u8; 4]), to: [u8; 4]) -> Option<Passage> {
    network.offer(1_000, HostIndex(from.0), &udp(from.1, to, (1, 2), 100))
}

/// An address belongs to the longest prefix, and a packet goes to the host behind it.
#[test]
fn packets_find_their_host() {
    let mut network = network(1);
    let wan = LinkSettings::delayed_us(20_000);
    network.set(&party("site:left"), &party("site:right"), &wan).unwrap();
    let cases = [
        ((0, A), B, 1, 21_000),
        ((1, B), A, 0, 1_000),
        ((0, A), PHONE_OF_A, 2, 1_000),
        ((0, A), PHONE_OF_B, 2, 21_000),
        ((2, PHONE_OF_A), B, 1, 21_000),
        ((2, PHONE_OF_B), B, 1, 1_000),
    ];
    for (from, to, host, at_us) in cases {
        let passage = send(&mut network, from, to).unwrap();
        assert_eq!((passage.host, passage.at_us), (HostIndex(host), at_us), "{from:?} {to:?}");
    }
}

/// What belongs to no link is dropped and counted by its reason, not by any link.
#[test]
fn strays_are_counted() {
    let mut network = network(1);
    assert_eq!(send(&mut network, (0, A), [10, 9, 9, 9]), None);
    assert_eq!(send(&mut network, (0, [10, 9, 9, 9]), B), None);
    assert_eq!(send(&mut network, (1, A), B), None, "an address of another host");
    assert_eq!(network.offer(0, HostIndex(0), &[0x45, 0]), None);
    assert_eq!(network.offer(0, HostIndex(0), &[]), None);
    let expected = StrayCounters { malformed: 2, unknown_source: 2, unknown_destination: 1 };
    assert_eq!(network.stray(), expected);
    assert!(network.links().all(|(_, _, link)| link.counters().offered == 0));
}

/// A cut works one way, takes what is under way with it, and leaves no other link out.
#[test]
fn a_cut_is_one_way_and_at_once() {
    let mut network = network(1);
    let there = send(&mut network, (0, A), B).unwrap();
    let back = send(&mut network, (1, B), A).unwrap();
    let down = LinkSettings { state: LinkState::Down, ..LinkSettings::default() };
    network.set(&party("a"), &party("b"), &down).unwrap();
    assert_eq!(send(&mut network, (0, A), B), None);
    assert!(send(&mut network, (1, B), A).is_some());
    assert!(!network.still_carries(&there));
    assert!(network.still_carries(&back));

    network.heal();
    assert!(send(&mut network, (0, A), B).is_some());
    assert!(!network.still_carries(&there), "what a cut lost stays lost");
    let links = network.links_between(&party("a"), &party("b")).unwrap();
    let counters = links[0].2.counters();
    assert_eq!((counters.offered, counters.dropped.down, counters.dropped.cut), (3, 1, 2));
}

/// Isolation cuts a site's border and nothing else; rejoining brings the old settings back.
#[test]
fn isolation_cuts_the_border() {
    let mut network = network(1);
    let wan = LinkSettings::delayed_us(5);
    network.set(&Party::All, &Party::All, &wan).unwrap();
    network.isolate(&party("site:left")).unwrap();
    for (from, to, link) in network.links() {
        let expected = if from.site == to.site { LinkState::Up } else { LinkState::Down };
        assert_eq!(link.settings().state, expected, "{} {}", from.name, to.name);
    }
    network.rejoin(&party("site:left")).unwrap();
    assert!(network.links().all(|(_, _, link)| *link.settings() == wan));
}

/// A refused change leaves every link as it was, also those it could have changed.
#[test]
fn refused_changes_change_nothing() {
    let mut network = network(1);
    let wan = LinkSettings::delayed_us(5);
    network.set(&Party::All, &Party::All, &wan).unwrap();
    let too_long = LinkSettings::delayed_us(u64::MAX);
    assert!(network.set(&Party::All, &Party::All, &too_long).is_err());
    assert!(network.set(&party("nobody"), &Party::All, &LinkSettings::default()).is_err());
    assert!(network.isolate(&party("site:nowhere")).is_err());
    assert!(network.links().all(|(_, _, link)| *link.settings() == wan));
    let error = network.isolate(&party("site:nowhere")).unwrap_err().to_string();
    assert!(error.contains("site:left") && error.contains("site:right"), "{error}");
}

/// Endpoints that cannot be told apart, or not be named, are refused.
#[test]
fn endpoints_must_be_distinct() {
    let endpoint = |name: &str, addresses: &str| Endpoint {
        name: name.to_owned(),
        site: "s".to_owned(),
        addresses: addresses.parse().unwrap(),
        host: HostIndex(0),
    };
    let refused = |endpoints| Network::new(endpoints, 0).is_err();
    assert!(refused(vec![endpoint("a", "10.0.0.1"), endpoint("a", "10.0.0.2")]));
    assert!(refused(vec![endpoint("a", "10.0.0.1"), endpoint("b", "10.0.0.1")]));
    assert!(refused(vec![endpoint("all", "10.0.0.1")]));
    assert!(refused(vec![endpoint("", "10.0.0.1")]));
    assert!(refused(vec![endpoint("site:a", "10.0.0.1")]));
    let many = |count: usize| {
        (0..count).map(|it| endpoint(&format!("e{it}"), &format!("10.0.0.{it}"))).collect()
    };
    assert!(!refused(many(ENDPOINTS_MAX)));
    assert!(refused(many(ENDPOINTS_MAX + 1)));
}

/// A seed decides everything, and traffic on one link does not move the draws of another.
#[test]
fn a_seed_decides_and_links_are_independent() {
    let losses = |seed, noise: bool| {
        let mut network = network(seed);
        let lossy = LinkSettings {
            loss: Loss::Random { share: Share::new(0.5).unwrap() },
            ..Default::default()
        };
        network.set(&Party::All, &Party::All, &lossy).unwrap();
        let mut seen = Vec::new();
        for _ in 0..200 {
            if noise {
                send(&mut network, (1, B), A);
            }
            seen.push(send(&mut network, (0, A), B).is_some());
        }
        seen
    };
    assert_eq!(losses(7, false), losses(7, true));
    assert_ne!(losses(7, false), losses(8, false));
}

//! What links do to packets, seen by programs.

use std::collections::BTreeMap;
use std::io::ErrorKind;

use tandem_lab::wan::{Filter, LinkSettings, LinkState, Loss, Party, Share};

use crate::support::{Echo, answered, counters, eventually, lab_of, party, ping, socket};

/// A cut of one direction stops exactly that direction, and healing brings it back.
#[test]
fn a_link_is_cut_one_way_and_healed() {
    let lab = lab_of(&["a", "b", "c"]);
    let from_a = socket(lab.host("a").unwrap());
    let b = Echo::start(lab.host("b").unwrap());
    let c = Echo::start(lab.host("c").unwrap());
    assert_eq!(answered(&ping(&from_a, b.address, 5, 100)), 5);

    let down = LinkSettings { state: LinkState::Down, ..LinkSettings::default() };
    lab.router().set(&party("b"), &party("a"), &down).unwrap();
    assert_eq!(answered(&ping(&from_a, b.address, 3, 100)), 0);
    assert_eq!(answered(&ping(&from_a, c.address, 3, 100)), 3);
    assert_eq!(counters(&lab, "a", "b").delivered, 8, "the other direction went on");
    assert_eq!(counters(&lab, "b", "a").dropped.down, 3);

    lab.router().heal();
    assert_eq!(answered(&ping(&from_a, b.address, 5, 100)), 5);
}

/// An isolated host reaches nobody and nobody reaches it; the others talk on.
#[test]
fn a_host_is_isolated() {
    let lab = lab_of(&["a", "b", "c"]);
    let (from_a, from_b) = (socket(lab.host("a").unwrap()), socket(lab.host("b").unwrap()));
    let a = Echo::start(lab.host("a").unwrap());
    let b = Echo::start(lab.host("b").unwrap());
    let c = Echo::start(lab.host("c").unwrap());
    lab.router().isolate(&party("a")).unwrap();
    assert_eq!(answered(&ping(&from_a, b.address, 2, 100)), 0);
    assert_eq!(answered(&ping(&from_b, a.address, 2, 100)), 0);
    assert_eq!(answered(&ping(&from_b, c.address, 5, 100)), 5);
    lab.router().rejoin(&party("a")).unwrap();
    assert_eq!(answered(&ping(&from_a, b.address, 5, 100)), 5);
}

/// Of 2,000 packets at 20 % loss, the counted share is lost (five deviations: 18), and the
/// receiver gets exactly the others, each once.
#[test]
fn loss_takes_its_share() {
    let lab = lab_of(&["a", "b"]);
    let loss = Loss::Random { share: Share::new(0.2).unwrap() };
    lab.router()
        .set(&party("a"), &party("b"), &LinkSettings { loss, ..Default::default() })
        .unwrap();
    let got = received_of(&lab, 2_000);
    let lost = counters(&lab, "a", "b").dropped.lost;
    assert!((310..=490).contains(&lost), "{lost}");
    assert_eq!(got.len() as u64, 2_000 - lost);
    assert!(got.values().all(|times| *times == 1));
}

/// Of 1,000 packets at 30 % copies, all arrive, and as many twice as were copied.
#[test]
fn copies_arrive() {
    let lab = lab_of(&["a", "b"]);
    let duplicate = Share::new(0.3).unwrap();
    let settings = LinkSettings { duplicate, ..Default::default() };
    lab.router().set(&party("a"), &party("b"), &settings).unwrap();
    let got = received_of(&lab, 1_000);
    let copies = counters(&lab, "a", "b").duplicated;
    assert!((230..=370).contains(&copies), "{copies}");
    assert_eq!(got.len(), 1_000);
    assert_eq!(got.values().filter(|times| **times == 2).count() as u64, copies);
}

/// An MTU black hole lets a packet of the limit pass and swallows the next longer one silently.
#[test]
fn an_mtu_hole_swallows_long_packets() {
    let lab = lab_of(&["a", "b"]);
    let hole = Filter { longer_than: Some(1_300), ..Filter::default() };
    let settings = LinkSettings { filters: vec![hole], ..LinkSettings::default() };
    lab.router().set(&Party::All, &Party::All, &settings).unwrap();
    let from_a = socket(lab.host("a").unwrap());
    let b = Echo::start(lab.host("b").unwrap());
    let ip_and_udp = 28;
    assert_eq!(answered(&ping(&from_a, b.address, 5, 1_300 - ip_and_udp)), 5);
    assert_eq!(answered(&ping(&from_a, b.address, 3, 1_301 - ip_and_udp)), 0);
    assert_eq!(counters(&lab, "a", "b").dropped.filtered, 3);
}

/// A port that a firewall blocks is silent; its neighbour is not.
#[test]
fn a_blocked_port_is_silent() {
    let lab = lab_of(&["a", "b"]);
    let from_a = socket(lab.host("a").unwrap());
    let blocked = Echo::start(lab.host("b").unwrap());
    let open = Echo::start(lab.host("b").unwrap());
    let filter = Filter { port: Some(blocked.address.port()), ..Filter::default() };
    let settings = LinkSettings { filters: vec![filter], ..LinkSettings::default() };
    lab.router().set(&party("a"), &party("b"), &settings).unwrap();
    assert_eq!(answered(&ping(&from_a, blocked.address, 2, 100)), 0);
    assert_eq!(answered(&ping(&from_a, open.address, 5, 100)), 5);
}

/// Sends so many numbered packets from `a` to `b`; which ones arrived, and how often each.
fn received_of(lab: &tandem_lab::host::Lab, count: u32) -> BTreeMap<u32, u32> {
    let (sender, receiver) = (socket(lab.host("a").unwrap()), socket(lab.host("b").unwrap()));
    let to = receiver.local_addr().unwrap();
    let mut got = BTreeMap::new();
    let mut buffer = [0; 100];
    // In small steps, so that no socket's buffer overflows: that would be a loss of its own.
    for step in 0..count.div_ceil(50) {
        let numbers = step * 50..((step + 1) * 50).min(count);
        let sent = u64::from(numbers.end);
        for number in numbers {
            sender.send_to(&number.to_be_bytes(), to).unwrap();
        }
        eventually("the router saw every packet", || {
            let counters = counters(lab, "a", "b");
            let done = counters.delivered + counters.dropped.total();
            counters.offered == sent && done == sent + counters.duplicated
        });
        receiver.set_nonblocking(true).unwrap();
        loop {
            match receiver.recv(&mut buffer) {
                Ok(4) => {
                    let number = u32::from_be_bytes(buffer[..4].try_into().unwrap());
                    *got.entry(number).or_insert(0) += 1;
                }
                Ok(other) => panic!("a packet of {other} bytes"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
    }
    got
}

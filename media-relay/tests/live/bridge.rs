//! Two phones that talk: over one relay, over two, through loss, through changes of source.

use std::{net::SocketAddr, sync::atomic::Ordering, time::Duration};

use tandem_media_relay::Relay;
use tandem_proto::relay::v1::{Beep, session::Source};
use tandem_rtp::continuity::TimeCheck;

use crate::support::{
    lossy::{Faults, LossyProxy},
    phone::{Phone, Recording, power},
    relays::{Lab, Node, local_peer, music, remote_peer},
    until,
};

/// Two relays with a link between them and a session of one phone on each, bridged.
struct Pair {
    _lab: Lab,
    relays: [Relay; 2],
    nodes: [Node; 2],
    phones: [Phone; 2],
    addresses: [SocketAddr; 2],
    /// Where relay `a` dials relay `b`; a proxy, if there is one.
    link_to_b: SocketAddr,
}

const NAMES: [&str; 2] = ["a", "b"];

impl Pair {
    /// Bridges leg 1 on relay `a` with leg 2 on relay `b`; `a` dials, through `proxy` if any.
    async fn bridged(proxied: impl FnOnce(&Relay) -> Option<SocketAddr>) -> Self {
        let lab = Lab::new();
        let relays = NAMES.map(|name| lab.start(name));
        let [a, b] = &relays;
        let to_b = proxied(b).unwrap_or(b.link_address());
        let mut nodes = [lab.node(a.control_address()).await, lab.node(b.control_address()).await];
        let phones = [Phone::new(), Phone::new()];
        let first = nodes[0].session(1, &phones[0], remote_peer(2, "b", to_b));
        let second = nodes[1].session(2, &phones[1], remote_peer(1, "a", a.link_address()));
        let addresses = [nodes[0].put_done(first).await, nodes[1].put_done(second).await];
        let mut pair = Self { _lab: lab, relays, nodes, phones, addresses, link_to_b: to_b };
        pair.wait_for_link().await;
        pair
    }

    async fn wait_for_link(&mut self) {
        let [a, b] = &self.relays;
        until("both ends of the link are up", async || {
            [a, b].iter().all(|r| r.vitals().links.status().iter().any(|link| link.up))
        })
        .await;
    }

    /// One more call over the same link.
    async fn add_call(&mut self, ordinal: u64) -> ([Phone; 2], [SocketAddr; 2]) {
        let phones = [Phone::new(), Phone::new()];
        let to_b = remote_peer(ordinal + 1, "b", self.link_to_b);
        let first = self.nodes[0].session(ordinal, &phones[0], to_b);
        let back = remote_peer(ordinal, "a", self.relays[0].link_address());
        let second = self.nodes[1].session(ordinal + 1, &phones[1], back);
        let addresses = [self.nodes[0].put_done(first).await, self.nodes[1].put_done(second).await];
        (phones, addresses)
    }

    /// Both phones speak `count` packets at the same time.
    async fn speak(&self, first: u32, count: u32) {
        std::thread::scope(|scope| {
            for (phone, to) in self.phones.iter().zip(self.addresses) {
                scope.spawn(move || phone.speak(to, 0x77, first, count));
            }
        });
    }

    /// Packets that either relay or the link between them dropped, by their own counts.
    async fn dropped(&mut self) -> u64 {
        let mut dropped = 0;
        for node in &mut self.nodes {
            let described = node.describe().await;
            let counts = described.counters.expect("counted");
            dropped += counts.dropped_late
                + counts.dropped_duplicate
                + counts.dropped_rate
                + counts.dropped_no_session
                + counts.dropped_unbridged
                + counts.send_errors;
            dropped += described.links.iter().map(|link| link.dropped).sum::<u64>();
        }
        dropped
    }
}

fn is_in_order(numbers: &[u32]) -> bool {
    numbers.windows(2).all(|pair| pair[0] < pair[1])
}

// Goal: two phones on one relay hear each other: every packet once, in order, one stream.
#[tokio::test(flavor = "multi_thread")]
async fn local_bridge_is_whole() {
    let lab = Lab::new();
    let relay = lab.start("solo");
    let mut node = lab.node(relay.control_address()).await;
    let phones = [Phone::new(), Phone::new()];
    let sessions = vec![
        node.session(1, &phones[0], local_peer(2)),
        node.session(2, &phones[1], local_peer(1)),
    ];
    let mut addresses = Vec::new();
    for session in sessions {
        addresses.push(node.put_done(session).await);
    }
    std::thread::scope(|scope| {
        for (phone, to) in phones.iter().zip(&addresses) {
            scope.spawn(move || phone.speak(*to, 9, 0, 150));
        }
    });
    for recording in phones.map(Phone::hang_up) {
        assert_eq!(recording.judge(TimeCheck::On), Ok(1));
        assert_eq!(recording.numbers(), (0..150).collect::<Vec<_>>());
    }
}

// Goal: two phones on two relays hear each other over QUIC: every packet once, in order, one
// stream; what is missing is in the relays' own counts.
#[tokio::test(flavor = "multi_thread")]
async fn linked_bridge_is_whole() {
    let mut pair = Pair::bridged(|_| None).await;
    pair.speak(0, 250).await;
    let dropped = pair.dropped().await;
    let recordings = pair.phones.map(Phone::hang_up);
    let heard: Vec<_> = recordings.iter().map(Recording::numbers).collect();
    for (recording, numbers) in recordings.iter().zip(&heard) {
        assert_eq!(recording.judge(TimeCheck::On), Ok(1));
        assert!(is_in_order(numbers), "{numbers:?}");
    }
    let total: u64 = heard.iter().map(|numbers| numbers.len() as u64).sum();
    assert_eq!(total + dropped, 500, "every packet arrives or is counted as dropped");
    // A machine so busy that a thread waits for more than 60 ms makes packets too old to send.
    assert!(total >= 400, "{total} of 500");
}

// Goal: at 1 % datagram loss and 40 ms round trip the fixed window does not starve: at least 98 %
// arrive (QUIC's usual controller delivered 19 % here), and M1 holds.
#[tokio::test(flavor = "multi_thread")]
async fn loss_does_not_starve_the_link() {
    let mut proxy = None;
    let mut pair = Pair::bridged(|b| {
        let faults =
            Faults { loss_permille: 10, delay: Duration::from_millis(20), seed: 20_261_122 };
        let started = proxy.insert(LossyProxy::start(b.link_address(), faults));
        Some(started.address)
    })
    .await;
    let mut extra = Vec::new();
    for ordinal in (100..160).step_by(2) {
        extra.push(pair.add_call(ordinal).await);
    }
    std::thread::scope(|scope| {
        for (phones, addresses) in &extra {
            for (phone, to) in phones.iter().zip(addresses) {
                scope.spawn(move || phone.speak(*to, 5, 0, 400));
            }
        }
    });
    let mut heard = 0;
    let calls = extra.len() as u64;
    for (phones, _) in extra {
        for recording in phones.map(Phone::hang_up) {
            assert_eq!(recording.judge(TimeCheck::Off), Ok(1));
            heard += recording.numbers().len() as u64;
        }
    }
    let proxy = proxy.expect("started");
    let lost = proxy.lost.load(Ordering::Relaxed);
    let sent = calls * 2 * 400;
    println!("{heard} of {sent} packets arrived, {lost} QUIC packets were lost on purpose");
    assert!(lost > 20, "the proxy lost only {lost}: nothing was tested");
    assert!(heard * 100 >= sent * 98, "{heard} of {sent}");
}

// Goal: what a caller hears changes from music to a beep to an agent and back, without a break in
// the stream; the agent's phone may begin anew meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn sources_change_without_a_break() {
    let lab = Lab::new();
    let relay = lab.start("solo");
    let mut node = lab.node(relay.control_address()).await;
    let (caller, agent) = (Phone::new(), Phone::new());
    let wanted = node.session(1, &caller, music());
    let caller_leg = node.put_done(wanted).await;
    let wanted = node.session(2, &agent, local_peer(1));
    let agent_leg = node.put_done(wanted).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    for source in [Source::Beep(Beep {}), local_peer(2)] {
        let wanted = node.session(1, &caller, source);
        assert_eq!(node.put_done(wanted).await, caller_leg, "the port stays");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    agent.speak(agent_leg, 1, 0, 30);
    agent.speak(agent_leg, 2, 7_000_000, 30);
    let wanted = node.session(1, &caller, music());
    assert_eq!(node.put_done(wanted).await, caller_leg);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let heard = caller.hang_up();
    assert_eq!(heard.judge(TimeCheck::On), Ok(1));
    let numbers = heard.numbers();
    let expected: Vec<_> = (0..30).chain(7_000_000..7_000_030).collect();
    assert_eq!(numbers, expected, "each of the agent's packets once, in order");
    assert!(heard.rtp().count() > 100, "{}", heard.rtp().count());
}

// Goal: a caller in the queue hears the tune: each lead note of its first seconds is there.
#[tokio::test(flavor = "multi_thread")]
async fn music_is_heard() {
    let lab = Lab::new();
    let relay = lab.start("solo");
    let mut node = lab.node(relay.control_address()).await;
    let caller = Phone::new();
    let wanted = node.session(1, &caller, music());
    node.put_done(wanted).await;
    tokio::time::sleep(Duration::from_millis(4_500)).await;
    let samples = caller.hang_up().samples();
    let leads = tandem_rtp::tune::notes()
        .filter(|note| note.voice == tandem_rtp::tune::Voice::Lead && note.start_ms < 3_500);
    let mut notes = 0;
    for note in leads {
        // The stream begins at elapsed time 0, which is the beginning of the tune.
        let start = ((note.start_ms + 20) * 8) as usize;
        let heard = &samples[start..start + 2_400];
        let hertz = f64::from(note.pitch.milli_hertz()) / 1_000.0;
        let (wanted, beside) = (power(heard, hertz), power(heard, hertz * 1.07));
        assert!(wanted > 4.0 * beside, "{note:?}: {wanted} against {beside}");
        notes += 1;
    }
    assert!(notes >= 4, "{notes}");
}

//! The control port: who may call, what is refused, what the owner hears.

use std::time::Duration;

use tandem_media_relay::identity::Role;
use tandem_proto::relay::v1::{
    Direction, Latching, LegRef, PutOutcome, PutSessionsRequest, RelayEvent, RetireRequest,
    relay_event::Event,
};
use tandem_rtp::continuity::TimeCheck;
use tokio_stream::StreamExt;
use tonic::{
    Code, Streaming,
    transport::{Certificate, ClientTlsConfig, Identity},
};

use crate::support::{
    certificates::Authority,
    phone::{Phone, audio, rtp},
    relays::{Lab, connect, endpoint, local_peer, music},
    until,
};

// Goal: only a node of this cluster may call; each other caller is refused with its reason.
#[tokio::test(flavor = "multi_thread")]
async fn only_nodes_may_call() {
    let lab = Lab::new();
    let relay = lab.start("guarded");
    let control = relay.control_address();
    assert_eq!(lab.node(control).await.describe().await.relay_id, "guarded");
    for role in [Role::Relay, Role::Operator] {
        let mut caller = lab.caller(control, role).await.expect("of this cluster");
        let status = caller.client.retire(RetireRequest {}).await.expect_err("refused");
        assert_eq!(status.code(), Code::PermissionDenied);
        assert!(status.message().contains("node.tandem.internal"), "{status}");
    }
    let foreign = Authority::new();
    let certificate = foreign.issue(Role::Node, "caller");
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(lab.authority.pem()))
        .domain_name(Role::Relay.dns_name());
    let identity = Identity::from_pem(certificate.cert, certificate.key);
    for tls in [tls.clone(), tls.identity(identity)] {
        let described = match connect(control, tls).await {
            // The handshake may fail only at the first call (TLS 1.3).
            Ok(mut node) => node.client.retire(RetireRequest {}).await.err().map(|_| ()),
            Err(_) => Some(()),
        };
        assert_eq!(described, Some(()), "a stranger was let in");
    }
    assert!(!lab.node(control).await.describe().await.retiring);
}

// Goal: an old owner is refused and the audio goes on untouched; a new owner's epoch wins, seen
// through any call; a removed leg stays fenced.
#[tokio::test(flavor = "multi_thread")]
async fn epochs_fence_old_owners() {
    let lab = Lab::new();
    let relay = lab.start("fenced");
    let mut old = lab.node(relay.control_address()).await;
    let mut new = lab.node(relay.control_address()).await;
    (new.epoch, new.number) = (2, 2);
    let phone = Phone::new();
    let mut wanted = old.session(1, &phone, music());
    wanted.rtcp_mux = true;
    let address = old.put_done(wanted).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut wanted = new.session(1, &phone, music());
    wanted.rtcp_mux = true;
    assert_eq!(new.put_done(wanted).await, address, "the same ports");
    for _ in 0..3 {
        let mut late = old.session(1, &phone, local_peer(9));
        late.direction = Direction::Inactive.into();
        assert_eq!(old.put(late).await.outcome(), PutOutcome::RefusedEpoch);
        assert_eq!(old.remove(1).await, (false, None));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut stale = new.session(1, &phone, music());
    stale.revision = 0;
    assert_eq!(new.put(stale).await.outcome(), PutOutcome::StaleRevision);
    let (removed, statistics) = new.remove(1).await;
    let sent = statistics.expect("there was a session").sent;
    assert!(removed && sent > 20, "{sent}");
    let back = old.session(1, &phone, music());
    assert_eq!(old.put(back).await.outcome(), PutOutcome::RefusedEpoch, "fenced after removal");
    assert_eq!(new.remove(1).await, (true, None), "removing again is fine");
    let heard = phone.hang_up();
    assert_eq!(heard.judge(TimeCheck::On), Ok(1));
    // Without a gap: the numbers of the whole time are one run.
    let audio: Vec<_> = heard.rtp().map(|p| u16::from_be_bytes([p[2], p[3]])).collect();
    assert!(audio.windows(2).all(|w| w[1] == w[0].wrapping_add(1)), "{audio:?}");
    assert!(heard.rtcp().count() >= 1, "goodbye at removal");
}

// Goal: invariant M2 on the wire: a sprayer over all ports is neither heard nor answered, and the
// phone behind NAT that fits is.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_not_heard() {
    let lab = Lab::new();
    let relay = lab.start("latched");
    let mut node = lab.node(relay.control_address()).await;
    let (fixed, nat, agent, stranger) = (Phone::new(), Phone::new(), Phone::new(), Phone::new());
    let wanted = node.session(1, &fixed, local_peer(3));
    let to_fixed = node.put_done(wanted).await;
    let mut wanted = node.session(2, &fixed, music());
    wanted.remote_rtp = Some(endpoint("127.0.0.1:9".parse().expect("an address")));
    wanted.latching = Some(Latching { learn: true, allowed_address: "127.0.0.1".to_owned() });
    let to_nat = node.put_done(wanted).await;
    let wanted = node.session(3, &agent, local_peer(1));
    node.put_done(wanted).await;
    nat.send(to_nat, &audio(1, 1));
    until("the phone behind NAT is learned", async || relay.vitals().counters.received.get() == 1)
        .await;
    for number in 0..50 {
        stranger.send(to_fixed, &audio(66, 1_000 + number));
        stranger.send(to_nat, &audio(66, 1_000 + number));
        fixed.send(to_fixed, &audio(1, number));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let counts = node.describe().await.counters.expect("counted");
    assert_eq!((counts.dropped_source, counts.received), (100, 51));
    assert_eq!(stranger.hang_up().packets.len(), 0, "nothing leaks to a stranger");
    assert_eq!(agent.hang_up().numbers(), (0..50).collect::<Vec<_>>(), "nothing is injected");
    let music = nat.hang_up().rtp().count();
    assert!(music >= 40, "the learned phone hears {music} packets of music");
}

async fn next(events: &mut Streaming<RelayEvent>) -> (u64, Event) {
    let event = events.next().await.expect("open").expect("an event");
    (event.leg.map_or(0, |leg| leg.ordinal), event.event.expect("filled"))
}

// Goal: the owner hears the opening states, `opened`, then that media flows, keys, and that it
// stopped; a second stream of the node ends the first.
#[tokio::test(flavor = "multi_thread")]
async fn owners_hear_events() {
    let lab = Lab::new();
    let relay = lab.start("heard");
    let mut node = lab.node(relay.control_address()).await;
    let phone = Phone::new();
    let wanted = node.session(1, &phone, music());
    let to = node.put_done(wanted).await;
    let mut other = node.session(2, &phone, music());
    other.owner_node = 99;
    node.put_done(other).await;
    let mut events = node.events().await.expect("a stream");
    // The phone may still begin when the stream opens, or may not, as quick as this machine is.
    let first = [next(&mut events).await, next(&mut events).await];
    assert!(first.iter().any(|event| matches!(event, (0, Event::Opened(_)))), "{first:?}");
    assert!(first.iter().any(|event| matches!(event, (1, Event::Stopped(_)))), "{first:?}");
    phone.send(to, &audio(1, 1));
    phone.send(to, &rtp(101, 1, 2, 320, &[7, 0x8a, 1, 0x40]));
    let (_, flowing) = next(&mut events).await;
    let Event::Flowing(flowing) = flowing else { panic!("{flowing:?}") };
    assert_eq!(flowing.source, Some(endpoint(phone.address())));
    let (_, key) = next(&mut events).await;
    let Event::Dtmf(key) = key else { panic!("{key:?}") };
    assert_eq!((key.digit.as_str(), key.duration_ms), ("7", 40));
    let (_, stopped) = next(&mut events).await;
    let Event::Stopped(stopped) = stopped else { panic!("{stopped:?}") };
    assert!(stopped.silent_ms >= 600, "{stopped:?}");
    let mut second = node.events().await.expect("a stream");
    let ended = events.next().await.expect("told").expect_err("ended");
    assert_eq!(ended.code(), Code::Aborted);
    assert!(matches!(next(&mut second).await, (1, Event::Stopped(_))));
}

// Goal: a session that neither phone nor owner keeps alive ends and says so; one whose owner
// listens stays.
#[tokio::test(flavor = "multi_thread")]
async fn abandoned_sessions_end() {
    let lab = Lab::new();
    let mut settings = lab.settings("idle");
    settings.relay.session_idle_ms = 1_500;
    let relay = tandem_media_relay::Relay::start(&settings).expect("a relay");
    let mut node = lab.node(relay.control_address()).await;
    let phone = Phone::new();
    let mut events = node.events().await.expect("a stream");
    let wanted = node.session(1, &phone, music());
    node.put_done(wanted).await;
    let mut lost = node.session(2, &phone, music());
    lost.owner_node = 99;
    node.put_done(lost).await;
    until("the session without an owner ends", async || node.describe().await.sessions == 1).await;
    assert!(matches!(next(&mut events).await, (0, Event::Opened(_))));
    drop(events);
    until("the other one ends as well", async || node.describe().await.sessions == 0).await;
}

// Goal: each way a session can be refused has its outcome, each is judged alone, and nothing is
// left behind.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_have_outcomes() {
    let lab = Lab::new();
    let mut settings = lab.settings("small");
    settings.relay.media_ports = "30000-30007".to_owned();
    settings.relay.sessions_max = 3;
    settings.relay.link_flows_max = 1;
    let relay = tandem_media_relay::Relay::start(&settings).expect("a relay");
    let mut node = lab.node(relay.control_address()).await;
    let phone = Phone::new();
    // Another program on one port of a pair.
    let intruder = std::net::UdpSocket::bind((settings.relay.media_address, 30_003));
    let intruder = intruder.expect("free");
    let mut wanted: Vec<_> = (1..=6).map(|leg| node.session(leg, &phone, music())).collect();
    wanted[0].local_port = 30_000;
    wanted[1].local_port = 30_000; // taken by the first
    wanted[2].local_port = 30_002; // its RTCP port is the intruder's
    wanted[3].local_port = 30_001; // odd
    wanted[4].codec = 0;
    wanted[5].leg = Some(LegRef { group: 1, ordinal: 6 });
    let outcomes: Vec<_> = node.put_all(wanted).await.iter().map(|r| r.outcome()).collect();
    use PutOutcome::*;
    assert_eq!(outcomes, [Done, PortTaken, PortTaken, Invalid, Invalid, Invalid]);
    let peer = |leg| crate::support::relays::remote_peer(leg, "z", ([127, 0, 0, 1], 1).into());
    let wanted = vec![node.session(2, &phone, peer(20)), node.session(3, &phone, peer(30))];
    let outcomes: Vec<_> = node.put_all(wanted).await.iter().map(|r| r.outcome()).collect();
    assert_eq!(outcomes, [Done, Full], "link_flows_max");
    let wanted = (3..=4).map(|leg| node.session(leg, &phone, music())).collect();
    let outcomes: Vec<_> = node.put_all(wanted).await.iter().map(|r| r.outcome()).collect();
    assert_eq!(outcomes, [Done, Full], "sessions_max");
    drop(intruder);
    // The wanted port is free as soon as the removal is answered.
    for _ in 0..20 {
        assert!(node.remove(1).await.0);
        node.epoch += 1;
        let mut again = node.session(1, &phone, music());
        again.local_port = 30_000;
        assert_eq!(node.put_done(again).await.port(), 30_000);
    }
    let too_many = vec![node.session(1, &phone, music()); 257];
    let request = PutSessionsRequest { sessions: too_many };
    let status = node.client.put_sessions(request).await.expect_err("too many");
    assert_eq!(status.code(), Code::InvalidArgument);
}

// Goal: a retired relay takes no new session, serves the others, and ends with the last one.
#[tokio::test(flavor = "multi_thread")]
async fn retired_relay_ends_with_its_last_session() {
    let lab = Lab::new();
    let relay = lab.start("old");
    let mut node = lab.node(relay.control_address()).await;
    let phone = Phone::new();
    let wanted = node.session(1, &phone, music());
    node.put_done(wanted).await;
    let left = node.client.retire(RetireRequest {}).await.expect("an answer").into_inner();
    assert_eq!(left.sessions_left, 1);
    let wanted = node.session(2, &phone, music());
    assert_eq!(node.put(wanted).await.outcome(), PutOutcome::Retiring);
    let wanted = node.session(1, &phone, local_peer(5));
    node.put_done(wanted).await;
    assert!(node.describe().await.retiring);
    assert!(node.remove(1).await.0);
    assert_eq!(relay.ended().await, tandem_media_relay::EndReason::Retired);
}

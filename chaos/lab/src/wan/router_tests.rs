use std::os::unix::net::UnixDatagram;

use super::*;
use crate::wan::model::tests_support::{A, B, network_of_two, udp};

/// A router between two hosts whose devices are sockets, so that no test here needs root.
fn router() -> (Router, UnixDatagram, UnixDatagram) {
    let ((a, a_inside), (b, b_inside)) =
        (UnixDatagram::pair().unwrap(), UnixDatagram::pair().unwrap());
    for device in [&a_inside, &b_inside] {
        device.set_nonblocking(true).unwrap();
    }
    let router = Router::start(network_of_two(), vec![a_inside, b_inside]).unwrap();
    (router, a, b)
}

fn receive(host: &UnixDatagram) -> Vec<u8> {
    let mut buffer = [0; 2_000];
    let len = host.recv(&mut buffer).unwrap();
    buffer[..len].to_vec()
}

fn has_nothing(host: &UnixDatagram) -> bool {
    host.set_nonblocking(true).unwrap();
    host.recv(&mut [0; 10]).is_err()
}

/// Packets arrive whole, in order, never before their delay.
#[test]
fn packets_arrive_in_order_and_not_early() {
    let (router, a, b) = router();
    let delay = Duration::from_millis(30);
    router.set(&Party::All, &Party::All, &LinkSettings::delayed_us(30_000)).unwrap();
    let sent: Vec<Vec<u8>> = (0..100).map(|it| udp(A, B, (it, 9), 30 + usize::from(it))).collect();
    let began = Instant::now();
    for packet in &sent {
        a.send(packet).unwrap();
    }
    for packet in &sent {
        assert_eq!(&receive(&b), packet);
        assert!(began.elapsed() >= delay);
    }
    let counters = router.counters(&Party::All, &Party::All).unwrap();
    assert_eq!(counters.iter().map(|it| it.counters.delivered).sum::<u64>(), 100);
}

/// What is under way at a cut does not arrive; what is sent after healing does.
#[test]
fn a_cut_takes_what_is_under_way() {
    let (router, a, b) = router();
    let all = Party::All;
    router.set(&all, &all, &LinkSettings::delayed_us(200_000)).unwrap();
    let lost = udp(A, B, (1, 1), 50);
    let kept = udp(A, B, (2, 2), 50);
    a.send(&lost).unwrap();
    let offered = |router: &Router| -> u64 {
        let counters = router.counters(&all, &all).unwrap();
        counters.iter().map(|it| it.counters.offered).sum()
    };
    while offered(&router) == 0 {
        std::thread::yield_now();
    }
    router.isolate(&"a".parse().unwrap()).unwrap();
    router.heal();
    router.set(&all, &all, &LinkSettings::default()).unwrap();
    a.send(&kept).unwrap();
    assert_eq!(receive(&b), kept);
    let cut = |router: &Router| -> u64 {
        let counters = router.counters(&all, &all).unwrap();
        counters.iter().map(|it| it.counters.dropped.cut).sum()
    };
    while cut(&router) == 0 {
        std::thread::yield_now();
    }
    assert!(has_nothing(&b));
}

/// A host whose device ends is left out; the others go on.
#[test]
fn a_lost_device_is_left_out() {
    let (router, a, b) = router();
    drop(b);
    a.send(&udp(A, B, (1, 1), 50)).unwrap();
    a.send(&udp(A, A, (1, 1), 50)).unwrap();
    assert_eq!(receive(&a).len(), 50);
    let counters = router.counters(&"a".parse().unwrap(), &"b".parse().unwrap()).unwrap();
    assert_eq!(counters[0].counters.dropped.refused, 1);
}

/// The thread and its devices end with the last handle.
#[test]
fn a_router_stops_with_its_last_handle() {
    let (router, a, _b) = router();
    let clone = router.clone();
    drop(router);
    a.send(&udp(A, A, (1, 1), 50)).unwrap();
    assert_eq!(receive(&a).len(), 50);
    drop(clone);
    assert!(a.send(&[0]).is_err(), "the other end is closed");
}

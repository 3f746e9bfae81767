use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::wan::model::settings::{Protocol, Reorder};

const HEADER: Header = Header {
    source: std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
    destination: std::net::IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)),
    protocol: Protocol::UDP,
    ports: Some((40_000, 5060)),
};

fn link(settings: LinkSettings) -> Link {
    link_of_seed(settings, 42)
}

fn link_of_seed(settings: LinkSettings, seed: u64) -> Link {
    settings.check().unwrap();
    let mut link = Link::new(seed);
    link.set(settings);
    link
}

fn share(share: f64) -> Share {
    Share::new(share).unwrap()
}

/// When the packet arrives; none if it does not.
fn arrival(link: &mut Link, now_us: u64, len: usize) -> Option<u64> {
    match link.accept(now_us, len, &HEADER) {
        Verdict::Deliver { at_us, .. } => Some(at_us),
        Verdict::Drop(_) => None,
    }
}

/// Which of so many packets, one each millisecond, got lost.
fn losses(loss: Loss, count: u64) -> Vec<bool> {
    let mut link = link(LinkSettings { loss, ..LinkSettings::default() });
    (0..count).map(|it| arrival(&mut link, it * 1_000, 100).is_none()).collect()
}

fn share_of(losses: &[bool]) -> f64 {
    losses.iter().filter(|lost| **lost).count() as f64 / losses.len() as f64
}

/// Lengths of the runs of lost packets.
fn bursts(losses: &[bool]) -> Vec<usize> {
    losses.split(|lost| !lost).map(<[bool]>::len).filter(|len| *len > 0).collect()
}

/// A delay is exact for every packet.
#[test]
fn delay_is_exact() {
    let mut link = link(LinkSettings::delayed_us(20_000));
    for now_us in [0, 1, 1, 500, 1_000_000] {
        assert_eq!(arrival(&mut link, now_us, 1500), Some(now_us + 20_000));
    }
}

/// Random loss takes its share: 100,000 packets at 10 % stray less than five deviations of 95.
#[test]
fn random_loss_takes_its_share() {
    let seen = losses(Loss::Random { share: share(0.1) }, 100_000);
    assert!((share_of(&seen) - 0.1).abs() < 5.0 * 95.0 / 100_000.0, "{}", share_of(&seen));
    let mean = bursts(&seen).iter().sum::<usize>() as f64 / bursts(&seen).len() as f64;
    assert!((1.05..1.20).contains(&mean), "1 / 0.9 packets in the mean, not {mean}");
    assert_eq!(share_of(&losses(Loss::Random { share: Share::ALL }, 1_000)), 1.0);
    assert_eq!(share_of(&losses(Loss::Random { share: Share::NONE }, 1_000)), 0.0);
}

/// Bursty loss has the chain's share (p / (p + r)) and the chain's burst length (1 / r).
#[test]
fn bursty_loss_has_share_and_length_of_its_chain() {
    for (good_to_bad, bad_to_good) in [(0.01, 0.2), (0.002, 0.1), (0.05, 0.5)] {
        let seen = losses(
            Loss::GilbertElliott {
                good_to_bad: share(good_to_bad),
                bad_to_good: share(bad_to_good),
                loss_good: Share::NONE,
                loss_bad: Share::ALL,
            },
            400_000,
        );
        let expected_share = good_to_bad / (good_to_bad + bad_to_good);
        let expected_length = 1.0 / bad_to_good;
        let lengths = bursts(&seen);
        let length = lengths.iter().sum::<usize>() as f64 / lengths.len() as f64;
        assert!((share_of(&seen) / expected_share - 1.0).abs() < 0.15, "{}", share_of(&seen));
        assert!((length / expected_length - 1.0).abs() < 0.15, "{length}");
    }
}

/// The loss shares within the two states are kept apart.
#[test]
fn bursty_loss_may_be_partial() {
    let chain = |loss_good, loss_bad| Loss::GilbertElliott {
        good_to_bad: share(0.1),
        bad_to_good: share(0.1),
        loss_good: share(loss_good),
        loss_bad: share(loss_bad),
    };
    let seen = share_of(&losses(chain(0.0, 0.5), 200_000));
    assert!((seen - 0.25).abs() < 0.02, "{seen}");
    let seen = share_of(&losses(chain(0.2, 0.6), 200_000));
    assert!((seen - 0.40).abs() < 0.02, "{seen}");
}

/// A line sends bit after bit: departures are exact, also at rates that divide nothing evenly.
#[test]
fn a_line_sends_bit_after_bit() {
    let rate = Some(Rate { bits_per_s: 1_000_000, queue_bytes: 10_000 });
    let mut link = link(LinkSettings { rate, ..LinkSettings::delayed_us(10) });
    assert_eq!(arrival(&mut link, 0, 125), Some(1_010));
    assert_eq!(arrival(&mut link, 0, 125), Some(2_010));
    assert_eq!(arrival(&mut link, 1_500, 125), Some(3_010));
    assert_eq!(arrival(&mut link, 10_000, 125), Some(11_010), "an idle line saves nothing up");

    let rate = Some(Rate { bits_per_s: 7_000_000, queue_bytes: 1_000_000 });
    let mut link = link_of_seed(LinkSettings { rate, ..LinkSettings::default() }, 1);
    for packet in 1..=1_000_u64 {
        let exact = (packet * 1_000 * 8).div_ceil(7);
        assert_eq!(arrival(&mut link, 0, 1_000), Some(exact), "packet {packet}");
    }
}

/// A queue holds exactly its bytes, and room comes back as the line drains.
#[test]
fn a_full_queue_drops() {
    let rate = Some(Rate { bits_per_s: 8_000_000, queue_bytes: 3_000 });
    let mut link = link(LinkSettings { rate, ..LinkSettings::default() });
    assert_eq!(arrival(&mut link, 0, 1_500), Some(1_500));
    assert_eq!(arrival(&mut link, 0, 1_500), Some(3_000));
    assert_eq!(link.accept(0, 1, &HEADER), Verdict::Drop(DropReason::QueueFull));
    assert_eq!(link.accept(99, 100, &HEADER), Verdict::Drop(DropReason::QueueFull));
    assert_eq!(arrival(&mut link, 100, 100), Some(3_100));
    assert_eq!(link.counters().dropped.queue_full, 2);
    assert_eq!(link.counters().offered, 5);
}

/// A new rate drains the old backlog; only the order of packets keeps the next one waiting.
#[test]
fn a_rate_changes_under_its_backlog() {
    let settings = |bits_per_s| LinkSettings {
        order: Order::Free,
        rate: Some(Rate { bits_per_s, queue_bytes: 10_000 }),
        ..LinkSettings::default()
    };
    let mut link = link(settings(8_000_000));
    assert_eq!(arrival(&mut link, 0, 1_000), Some(1_000));
    link.set(settings(80_000_000));
    assert_eq!(arrival(&mut link, 0, 1_000), Some(200));
}

/// Copies are made by their share, and each is a packet under way of its own.
#[test]
fn copies_are_made() {
    let settings = |duplicate, jitter_us| LinkSettings {
        duplicate,
        jitter_us,
        order: Order::Free,
        ..LinkSettings::delayed_us(10)
    };
    let mut all = link(settings(Share::ALL, 0));
    assert_eq!(all.accept(5, 100, &HEADER), Verdict::Deliver { at_us: 15, copy_at_us: Some(15) });
    let mut some = link(settings(share(0.2), 1_000));
    let mut apart = 0;
    for _ in 0..10_000 {
        if let Verdict::Deliver { at_us, copy_at_us: Some(copy_at_us) } =
            some.accept(0, 100, &HEADER)
        {
            apart += u64::from(copy_at_us != at_us);
        }
    }
    let copies = some.counters().duplicated;
    assert!((1_800..2_200).contains(&copies), "{copies}");
    assert!(apart * 10 > copies * 9, "{apart} of {copies} copies drew another jitter");
}

/// Packets that are held back are overtaken by exactly those that come within the hold.
#[test]
fn held_packets_are_overtaken() {
    let reorder = Reorder { share: share(0.1), hold_us: 2_500 };
    let mut link = link(LinkSettings { reorder, ..LinkSettings::delayed_us(1_000) });
    let arrivals: Vec<u64> =
        (0..10_000).map(|it| arrival(&mut link, it * 1_000, 100).unwrap()).collect();
    let mut held = 0;
    for (index, at_us) in arrivals.iter().enumerate() {
        let extra = at_us - index as u64 * 1_000 - 1_000;
        assert!(extra == 0 || extra == 2_500, "{extra}");
        held += u64::from(extra > 0);
    }
    assert_eq!(held, link.counters().held_back);
    assert!((850..1_150).contains(&held), "{held}");
    assert!(arrivals.windows(2).any(|pair| pair[0] > pair[1]));
}

/// Each filter drops what all its conditions match, and nothing else.
#[test]
fn filters_drop_what_they_match() {
    let udp = Filter { protocol: Some(Protocol::UDP), ..Filter::default() };
    let port = |port| Filter { port: Some(port), ..Filter::default() };
    let hole = Filter { longer_than: Some(1_300), ..Filter::default() };
    let no_ports = Header { ports: None, ..HEADER };
    let tcp = Header { protocol: Protocol::TCP, ..HEADER };
    let cases = [
        (udp, 100, HEADER, true),
        (udp, 100, tcp, false),
        (port(5060), 100, HEADER, true),
        (port(40_000), 100, HEADER, true),
        (port(5061), 100, HEADER, false),
        (port(5060), 100, no_ports, false),
        (hole, 1_300, HEADER, false),
        (hole, 1_301, HEADER, true),
        (Filter { protocol: Some(Protocol::TCP), ..hole }, 1_301, HEADER, false),
        (Filter { protocol: Some(Protocol::TCP), ..hole }, 1_301, tcp, true),
    ];
    for (filter, len, header, dropped) in cases {
        let mut link = link(LinkSettings { filters: vec![filter], ..LinkSettings::default() });
        let verdict = link.accept(0, len, &header);
        assert_eq!(verdict == Verdict::Drop(DropReason::Filtered), dropped, "{filter:?} {len}");
    }
}

/// A shorter path may overtake; on one path the order holds.
#[test]
fn a_changed_path_starts_its_own_order() {
    let mut link = link(LinkSettings::delayed_us(100_000));
    assert_eq!(arrival(&mut link, 0, 100), Some(100_000));
    link.set(LinkSettings::delayed_us(1_000));
    assert_eq!(arrival(&mut link, 10, 100), Some(1_010));
}

fn any_settings() -> impl Strategy<Value = LinkSettings> {
    let share = || (0_u32..=100).prop_map(|percent| share(f64::from(percent) / 100.0));
    let loss = prop_oneof![
        Just(Loss::None),
        share().prop_map(|share| Loss::Random { share }),
        (share(), share(), share(), share()).prop_map(|(good_to_bad, bad_to_good, good, bad)| {
            Loss::GilbertElliott { good_to_bad, bad_to_good, loss_good: good, loss_bad: bad }
        }),
    ];
    let rate = proptest::option::of((1_000_u64..1_000_000_000, 1_u64..100_000))
        .prop_map(|rate| rate.map(|(bits_per_s, queue_bytes)| Rate { bits_per_s, queue_bytes }));
    let order = prop_oneof![Just(Order::Kept), Just(Order::Free)];
    (0_u64..200_000, 0_u64..50_000, order, loss, share(), rate).prop_map(
        |(delay_us, jitter_us, order, loss, duplicate, rate)| LinkSettings {
            delay_us,
            jitter_us,
            order,
            loss,
            duplicate,
            rate,
            ..LinkSettings::default()
        },
    )
}

proptest! {
    /// Whatever the settings and the traffic: nothing arrives early or beyond delay, jitter and
    /// queue; order holds where it is kept; every packet is accounted for; a seed decides it all.
    #[test]
    fn links_keep_their_promises(
        settings in any_settings(),
        seed in any::<u64>(),
        packets in proptest::collection::vec((0_u64..5_000, 20_usize..1_500), 1..200),
    ) {
        let (mut one, mut two) =
            (link_of_seed(settings.clone(), seed), link_of_seed(settings.clone(), seed));
        let queue_us = settings
            .rate
            .map_or(0, |rate| (rate.queue_bytes * 8_000_000).div_ceil(rate.bits_per_s));
        let (mut now_us, mut last_us, mut arrived, mut copies) = (0, 0, 0, 0);
        for (gap_us, len) in &packets {
            now_us += gap_us;
            let verdict = one.accept(now_us, *len, &HEADER);
            prop_assert_eq!(verdict, two.accept(now_us, *len, &HEADER));
            let Verdict::Deliver { at_us, copy_at_us } = verdict else { continue };
            arrived += 1;
            copies += u64::from(copy_at_us.is_some());
            for at_us in [Some(at_us), copy_at_us].into_iter().flatten() {
                prop_assert!(at_us >= now_us + settings.delay_us);
                prop_assert!(at_us <= now_us + queue_us + settings.delay_us + settings.jitter_us);
                if settings.order == Order::Kept {
                    prop_assert!(at_us >= last_us);
                    last_us = at_us;
                }
            }
        }
        let counters = one.counters();
        prop_assert_eq!(counters.offered, packets.len() as u64);
        prop_assert_eq!(counters.offered, arrived + counters.dropped.total());
        prop_assert_eq!(counters.duplicated, copies);
    }
}

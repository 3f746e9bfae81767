//! Invariant M1 as a property: whatever happens behind the stream, a receiver sees one line of
//! numbers per SSRC, and audio never overlaps in time.
//!
//! A scenario is a list of segments (a source, its faults, what happens at its end); it runs through
//! whole sessions with virtual time, and [`ContinuityJudge`] hears every packet that leaves.

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use support::{Dice, Record, description, ms, peer, peer_packet, session};
use tandem_rtp::{
    continuity::{ContinuityBroken, ContinuityJudge, TimeCheck},
    ids::{PayloadType, Revision, Ssrc},
    limits::{TAKEOVER_SILENCE_MAX, TAKEOVERS_MAX, TAKEOVERS_WINDOW_MS},
    session::{Direction, MediaSession, SessionDescription, SessionEvent, Source, Via},
    sounds::Music,
    stream::StreamOrigin,
    time::RtpTime,
};

const OWN: u64 = 1;
/// The owner's rules (relay.proto, StreamOrigin): it begins a new stream when sending begins again
/// after a longer silence than this, and at the third takeover within the window of takeovers.
const BOUND_MS: u64 = 20 * TAKEOVER_SILENCE_MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    ByTheRules,
    Careless,
}

#[derive(Debug, Clone)]
struct Segment {
    source: Heard,
    length_ms: u64,
    ptime_ms: u64,
    loss_percent: u64,
    duplicate_percent: u64,
    /// Largest delay of a packet on its way; beyond the packet time it swaps packets.
    delay_ms: u64,
    pauses: bool,
    keys: bool,
    reset: Reset,
    end: End,
    seed: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Music,
    Beep,
    Silence,
    /// The direction forbids sending.
    Held,
    Peer(u64),
}

/// What the peer's phone does when the segment begins.
#[derive(Debug, Clone, Copy)]
enum Reset {
    None,
    Ssrc,
    Timestamp,
    Sequence,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Continue,
    /// The relay is lost; another one continues after a while, with a clock that is off.
    Takeover {
        outage_ms: u64,
        clock_error_ms: i64,
    },
}

fn segment(clock_error_max: i64, outage_min: u64) -> impl Strategy<Value = Segment> {
    let heard = prop_oneof![
        2 => Just(Heard::Music),
        1 => Just(Heard::Beep),
        1 => Just(Heard::Silence),
        1 => Just(Heard::Held),
        5 => (2u64..4).prop_map(Heard::Peer),
    ];
    let reset = prop_oneof![
        3 => Just(Reset::None),
        1 => Just(Reset::Ssrc),
        1 => Just(Reset::Timestamp),
        1 => Just(Reset::Sequence),
    ];
    let end = prop_oneof![
        3 => Just(End::Continue),
        1 => (outage_min..BOUND_MS, -clock_error_max..=clock_error_max).prop_map(
            |(outage_ms, clock_error_ms)| End::Takeover { outage_ms, clock_error_ms }
        ),
    ];
    let length = prop_oneof![8 => 20u64..3_000, 1 => 3_000u64..90_000];
    let faults = (0u64..30, 0u64..20, 0u64..120);
    let ptime = prop_oneof![Just(10u64), Just(20), Just(30)];
    (heard, length, ptime, faults, any::<(bool, bool, u64)>(), reset, end).prop_map(
        |(
            source,
            length_ms,
            ptime_ms,
            (loss, duplicate, delay),
            (pauses, keys, seed),
            reset,
            end,
        )| {
            Segment {
                source,
                length_ms,
                ptime_ms,
                loss_percent: loss,
                duplicate_percent: duplicate,
                delay_ms: delay,
                pauses,
                keys,
                reset,
                end,
                seed,
            }
        },
    )
}

/// A peer's phone: it keeps its numbers over segments, as phones do.
struct Phone {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
}

struct World {
    now_ms: u64,
    /// When the stream began, by the owner's clock.
    began_ms: i64,
    held_since_ms: Option<u64>,
    takeovers_ms: Vec<u64>,
    owner: Owner,
    wanted: SessionDescription,
    session: MediaSession,
    phones: BTreeMap<u64, Phone>,
    judge: ContinuityJudge,
    sent: u64,
}

impl World {
    fn new(time: TimeCheck) -> Self {
        let wanted = description(OWN, Source::Silence);
        let phone = |n: u32| Phone { ssrc: n, sequence: 65_500, timestamp: u32::MAX - 5_000 * n };
        Self {
            now_ms: 0,
            began_ms: 0,
            held_since_ms: None,
            takeovers_ms: Vec::new(),
            owner: Owner::ByTheRules,
            session: session(ms(0), wanted.clone()),
            wanted,
            phones: BTreeMap::from([(2, phone(2)), (3, phone(3))]),
            judge: ContinuityJudge::new(PayloadType::PCMU, time),
            sent: 0,
        }
    }

    fn run(&mut self, segment: &Segment) -> Result<(), ContinuityBroken> {
        self.begin(segment);
        let end_ms = self.now_ms + segment.length_ms;
        let mut arrivals = self.arrivals(segment, end_ms);
        while self.now_ms < end_ms {
            let mut record = Record::default();
            while let Some(entry) = arrivals.first_entry().filter(|e| e.key().0 <= self.now_ms) {
                let packet = entry.remove();
                // What becomes of a single packet is not judged here, only what leaves.
                let _verdict = self.session.handle_peer_packet(
                    ms(self.now_ms),
                    Via::Local,
                    &packet,
                    &mut record.sink(),
                );
            }
            if self.now_ms.is_multiple_of(20) {
                self.session.handle_tick(ms(self.now_ms), &mut record.sink());
            }
            self.listen(&record)?;
            self.now_ms += 1;
        }
        self.finish(segment);
        Ok(())
    }

    fn begin(&mut self, segment: &Segment) {
        self.wanted.revision = Revision(self.wanted.revision.0 + 1);
        self.wanted.direction = match segment.source {
            Heard::Held => Direction::ReceiveOnly,
            _ => Direction::SendReceive,
        };
        self.wanted.source = match segment.source {
            Heard::Music => Source::Music(Music::Default),
            Heard::Beep => Source::Beep,
            Heard::Silence | Heard::Held => Source::Silence,
            Heard::Peer(ordinal) => peer(ordinal),
        };
        let held = segment.source == Heard::Held;
        let held_ms = self.held_since_ms.map_or(0, |since| self.now_ms - since);
        if !held && held_ms > BOUND_MS && self.owner == Owner::ByTheRules {
            self.renew();
        }
        self.held_since_ms = self.held_since_ms.or(Some(self.now_ms)).filter(|_| held);
        self.describe();
        if let Heard::Peer(ordinal) = segment.source
            && let Some(phone) = self.phones.get_mut(&ordinal)
        {
            match segment.reset {
                Reset::None => {}
                Reset::Ssrc => *phone = Phone { ssrc: phone.ssrc + 10, sequence: 9, timestamp: 77 },
                Reset::Timestamp => phone.timestamp = phone.timestamp.wrapping_add(1_000_000_000),
                Reset::Sequence => phone.sequence = phone.sequence.wrapping_add(20_000),
            }
        }
    }

    fn describe(&mut self) {
        let wanted = self.wanted.clone();
        self.session.describe(ms(self.now_ms), wanted).expect("own revision");
    }

    /// Everything that the peer's phone sends in this segment, by time of arrival.
    fn arrivals(&mut self, segment: &Segment, end_ms: u64) -> BTreeMap<(u64, u64), Vec<u8>> {
        let mut arrivals = BTreeMap::new();
        let Heard::Peer(ordinal) = segment.source else { return arrivals };
        let Some(phone) = self.phones.get_mut(&ordinal) else { return arrivals };
        let mut dice = Dice(segment.seed);
        let mut at_ms = self.now_ms;
        let mut key: Option<(u32, u16)> = None;
        while at_ms < end_ms {
            if segment.pauses && dice.hits(3) {
                let pause_ms = dice.below(600);
                at_ms += pause_ms;
                phone.timestamp = phone.timestamp.wrapping_add(8 * pause_ms as u32);
            }
            if segment.keys && key.is_none() && dice.hits(3) {
                key = Some((phone.timestamp, 0));
            }
            let samples = 8 * segment.ptime_ms as u16;
            let mut copies = 1;
            let packet = match &mut key {
                Some((start, duration)) => {
                    *duration += samples;
                    let end = *duration > 1_200;
                    let flags = if end { 0x8a } else { 0x0a };
                    let [high, low] = duration.to_be_bytes();
                    let payload = [5, flags, high, low];
                    let packet =
                        peer_packet(ordinal, 101, phone.ssrc, phone.sequence, *start, &payload);
                    if end {
                        copies = 3; // RFC 4733 section 2.5.1.4, here with equal numbers
                        key = None;
                    }
                    packet
                }
                None => {
                    let payload = vec![0x55; usize::from(samples)];
                    let (ssrc, at) = (phone.ssrc, phone.timestamp);
                    peer_packet(ordinal, 0, ssrc, phone.sequence, at, &payload)
                }
            };
            phone.sequence = phone.sequence.wrapping_add(1);
            phone.timestamp = phone.timestamp.wrapping_add(u32::from(samples));
            copies += u64::from(dice.hits(segment.duplicate_percent));
            for _ in 0..copies {
                if !dice.hits(segment.loss_percent) {
                    let delay = dice.below(segment.delay_ms + 1);
                    arrivals.insert((at_ms + delay, dice.next()), packet.clone());
                }
            }
            at_ms += segment.ptime_ms;
        }
        arrivals
    }

    fn finish(&mut self, segment: &Segment) {
        let End::Takeover { outage_ms, clock_error_ms } = segment.end else { return };
        self.now_ms += outage_ms;
        self.takeovers_ms.retain(|at| self.now_ms - at <= TAKEOVERS_WINDOW_MS);
        self.takeovers_ms.push(self.now_ms);
        if self.takeovers_ms.len() as u64 > TAKEOVERS_MAX {
            self.renew();
        } else {
            self.wanted.origin.takeovers += 1;
        }
        let elapsed_ms = (self.now_ms as i64 - self.began_ms + clock_error_ms).max(0);
        self.wanted.origin.elapsed_us = elapsed_ms as u64 * 1_000;
        self.session = session(ms(self.now_ms), self.wanted.clone());
    }

    /// The owner begins a new stream.
    fn renew(&mut self) {
        let fresh = Ssrc(self.wanted.origin.ssrc.0.wrapping_add(0x0100_0000));
        self.adopt(fresh, 1, RtpTime::new(5));
    }

    /// The owner's part: a stream that began anew is replicated.
    fn adopt(&mut self, ssrc: Ssrc, first_sequence: u16, first_timestamp: RtpTime) {
        self.began_ms = self.now_ms as i64;
        self.wanted.origin =
            StreamOrigin { ssrc, first_sequence, first_timestamp, elapsed_us: 0, takeovers: 0 };
    }

    fn listen(&mut self, record: &Record) -> Result<(), ContinuityBroken> {
        for event in &record.events {
            if let SessionEvent::Restarted(stream) = event {
                self.adopt(stream.ssrc, stream.first_sequence, stream.first_timestamp);
            }
        }
        self.sent += record.rtp.len() as u64;
        record.rtp.iter().try_for_each(|(_, packet)| self.judge.hear(packet))
    }
}

fn config() -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    // Goal: M1 and order in time hold over any change of source, loss, reordering, duplicates and
    // packet time, and over takeovers with exact clocks.
    #[test]
    fn one_line_per_source(segments in proptest::collection::vec(segment(0, 600), 1..12)) {
        let mut world = World::new(TimeCheck::On);
        for segment in &segments {
            let heard = world.run(segment);
            prop_assert!(heard.is_ok(), "{:?} at {} ms", heard, world.now_ms);
        }
        let heard = segments.iter().filter(|s| s.source != Heard::Held);
        let heard_ms: u64 = heard.map(|s| s.length_ms).sum();
        prop_assert!(heard_ms < 1_000 || world.sent > 0, "nothing was sent, so nothing was tested");
    }

    // Goal: M1 holds over takeovers at any time, also when the owner's clock was off by seconds.
    #[test]
    fn one_line_over_takeovers(segments in proptest::collection::vec(segment(3_000, 0), 1..12)) {
        let mut world = World::new(TimeCheck::Off);
        for segment in &segments {
            let heard = world.run(segment);
            prop_assert!(heard.is_ok(), "{:?} at {} ms", heard, world.now_ms);
        }
    }
}

fn plain(source: Heard, length_ms: u64) -> Segment {
    Segment {
        source,
        length_ms,
        ptime_ms: 20,
        loss_percent: 0,
        duplicate_percent: 0,
        delay_ms: 0,
        pauses: false,
        keys: false,
        reset: Reset::None,
        end: End::Continue,
        seed: 1,
    }
}

// Goal: the judge catches a relay that forgets to jump at a takeover (a planted bug).
#[test]
fn takeover_without_jump_is_caught() {
    let mut world = World::new(TimeCheck::Off);
    world.run(&plain(Heard::Music, 5_000)).expect("no fault yet");
    world.session = session(ms(world.now_ms), world.wanted.clone());
    let broken = world.run(&plain(Heard::Music, 5_000));
    assert!(
        matches!(
            broken,
            Err(ContinuityBroken::Reused { .. } | ContinuityBroken::SteppedBack { .. })
        ),
        "{broken:?}"
    );
}

// Goal: without faults nothing is lost or added: one packet leaves every 20 ms of every source.
#[test]
fn undisturbed_sources_are_whole() {
    for ptime_ms in [10, 20, 30] {
        let mut world = World::new(TimeCheck::On);
        for source in [Heard::Music, Heard::Peer(2), Heard::Beep, Heard::Peer(3), Heard::Music] {
            let before = world.sent;
            world.run(&Segment { ptime_ms, ..plain(source, 3_000) }).expect("M1");
            assert_eq!(world.sent - before, 150, "{source:?} at {ptime_ms} ms");
        }
        assert_eq!(world.judge.sources().count(), 1, "no reason for a second SSRC");
    }
}

// Goal: a stream that may not send for minutes begins a new SSRC instead of stepping back, and says
// so.
#[test]
fn long_hold_begins_a_new_source() {
    for (held_ms, sources) in [(62_000, 1), (64_000, 2), (1_400_000, 2)] {
        let mut world = World::new(TimeCheck::On);
        world.owner = Owner::Careless;
        let first = world.wanted.origin.ssrc;
        world.run(&plain(Heard::Music, 1_000)).expect("M1");
        world.run(&plain(Heard::Held, held_ms)).expect("M1");
        world.run(&plain(Heard::Music, 1_000)).expect("M1");
        assert_eq!(world.judge.sources().count(), sources, "held for {held_ms} ms");
        assert_eq!(world.wanted.origin.ssrc == first, sources == 1, "the owner is told");
    }
}

/// Feeds one session with packets of peer 2, `(ms, packet)`, and lets the judge hear what leaves.
fn feed(world: &mut World, packets: impl Iterator<Item = (u64, Vec<u8>)>) {
    world.wanted.source = peer(2);
    world.describe();
    for (at_ms, packet) in packets {
        world.now_ms = at_ms;
        let mut record = Record::default();
        // What becomes of a single packet is not judged here, only what leaves.
        let _verdict =
            world.session.handle_peer_packet(ms(at_ms), Via::Local, &packet, &mut record.sink());
        world.listen(&record).expect("M1");
    }
}

// Goal: a peer that sends ten times too fast is held to real time.
#[test]
fn hasty_peer_is_held_to_time() {
    let mut world = World::new(TimeCheck::On);
    let packets = (0..5_000u32)
        .map(|i| (u64::from(i) * 2, peer_packet(2, 0, 9, i as u16, i * 160, &[0x55; 160])));
    feed(&mut world, packets);
    // 10 s of time: 500 packets, and what may run ahead (300 ms).
    assert!((490..=516).contains(&world.sent), "{}", world.sent);
    assert_eq!(world.judge.sources().count(), 1);
}

// Goal: a peer that sends a key and audio side by side uses two numbers every 20 ms: its stream
// stays within the bound by a new source, and M1 holds.
#[test]
fn key_held_beside_audio_stays_within_the_bound() {
    for (seconds, sources) in [(5, 1), (10, 2)] {
        let mut world = World::new(TimeCheck::On);
        let packets = (0..50 * seconds).flat_map(|i: u32| {
            let (at, sequence) = (u64::from(i) * 20, 2 * i as u16);
            let [high, low] = (i as u16 + 1).wrapping_mul(8).to_be_bytes();
            let key = peer_packet(2, 101, 9, sequence, 77, &[5, 10, high, low]);
            [(at, key), (at, peer_packet(2, 0, 9, sequence + 1, 77 + i * 160, &[0x55; 160]))]
        });
        feed(&mut world, packets);
        assert_eq!(world.judge.sources().count(), sources, "{seconds} s");
        assert!(world.sent >= u64::from(2 * 50 * seconds) - 4, "{} in {seconds} s", world.sent);
    }
}

// Goal: keys that come in twos between audio all arrive, and each press keeps its timestamp.
#[test]
fn keys_between_audio_all_arrive() {
    let mut world = World::new(TimeCheck::On);
    let packets = (0..40u32).flat_map(|i| {
        let (at, sequence) = (u64::from(i) * 20, 3 * i as u16);
        let key = |n: u16| {
            let [high, low] = (i as u16 * 160 + n * 80).to_be_bytes();
            peer_packet(2, 101, 9, sequence + n, 77, &[5, 10, high, low])
        };
        let audio = peer_packet(2, 0, 9, sequence + 2, 77 + i * 160, &[0x55; 160]);
        [(at, key(0)), (at + 5, key(1)), (at + 10, audio)]
    });
    feed(&mut world, packets);
    assert_eq!(world.sent, 120);
}

// Goal: a phone whose clock stands still while it is muted is heard again at once.
#[test]
fn stopped_clocks_cost_no_audio() {
    for muted_ms in [500, 1_500, 5_000] {
        let mut world = World::new(TimeCheck::On);
        let speech = |from_ms: u64, first: u32| {
            (0..50u32).map(move |i| {
                let n = first + i;
                let packet = peer_packet(2, 0, 9, n as u16, n * 160, &[0x55; 160]);
                (from_ms + u64::from(i) * 20, packet)
            })
        };
        feed(&mut world, speech(0, 0));
        let mut record = Record::default();
        for at in (1_000..1_000 + muted_ms).step_by(20) {
            world.session.handle_tick(ms(at), &mut record.sink());
        }
        let filled = record.rtp.len() as u64;
        world.listen(&record).expect("M1");
        feed(&mut world, speech(1_000 + muted_ms, 50));
        assert_eq!(world.sent, 100 + filled, "muted for {muted_ms} ms");
    }
}

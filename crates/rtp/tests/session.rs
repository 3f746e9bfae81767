//! A leg's media session from outside: bridges, directions, epochs, events, reports. Each table's
//! rows are the rules of the control protocol (relay.proto).

mod support;

use std::net::SocketAddr;

use support::{
    PHONE, Record, TIMES, address, description, leg, ms, peer, peer_packet, phone_packet, session,
};
use tandem_rtp::{
    dtmf::EventPayload,
    g711::Codec,
    ids::{LegEpoch, NodeId, PayloadType, RelayId, Revision, Ssrc},
    latch::{Learning, Remote},
    limits::{PACKETS_BURST_MAX, PACKETS_PER_SECOND_MAX},
    packet::RtpPacket,
    rtcp::{Compound, CompoundBuilder, NtpTime, ReportBlock, RtcpPacket, SenderInfo},
    session::{
        Channel, DescribeRefused, DescriptionInvalid, Direction, DropReason, MediaSession, Peer,
        RtcpMode, SessionEvent, Source, Verdict, Via,
    },
    sounds::{Music, Sounds},
    time::{MonotonicTime, RtpTime},
};

const MUSIC: Source = Source::Music(Music::Default);

fn ticks(session: &mut MediaSession, from_ms: u64, until_ms: u64) -> Record {
    let mut record = Record::default();
    for at in (from_ms..until_ms).step_by(20) {
        session.handle_tick(ms(at), &mut record.sink());
    }
    record
}

fn hear(session: &mut MediaSession, at_ms: u64, from: &str, packet: &[u8]) -> (Verdict, Record) {
    let mut record = Record::default();
    let (now, from) = (ms(at_ms), address(from));
    let verdict = session.handle_packet(now, Channel::Rtp, from, packet, &mut record.sink());
    (verdict, record)
}

fn audio(sequence: u16) -> Vec<u8> {
    phone_packet(0, 7, sequence, u32::from(sequence) * 160, &[0x10; 160])
}

// Goal: what one phone says reaches the other phone once, with that phone's payload types, law and
// stream, and telephone-events keep their form.
#[test]
fn bridge_carries_audio_and_keys() {
    let mut one = session(ms(0), description(1, peer(2)));
    let mut other = description(2, peer(1));
    other.format.codec = Codec::Pcma;
    other.format.payload_type = PayloadType::PCMA;
    let stream = other.origin;
    let mut two = session(ms(0), other);
    let cross = |one: &mut MediaSession, two: &mut MediaSession, at_ms, packet: &[u8]| {
        let (verdict, record) = hear(one, at_ms, PHONE, packet);
        assert_eq!(verdict, Verdict::Accepted);
        let mut out = Record::default();
        for packet in &record.to_peer {
            let verdict = two.handle_peer_packet(ms(at_ms), Via::Local, packet, &mut out.sink());
            assert_eq!(verdict, Verdict::Accepted);
        }
        out.rtp
    };
    let sent = cross(&mut one, &mut two, 0, &audio(1));
    let [(to, bytes)] = &sent[..] else { panic!("{} packets", sent.len()) };
    let packet = RtpPacket::parse(bytes).expect("own packet");
    assert_eq!(*to, address(PHONE));
    assert_eq!((packet.header.payload_type, packet.header.ssrc), (8, stream.ssrc));
    assert!(packet.header.marker, "the first packet of a source carries the marker");
    assert_eq!(packet.contributor, None, "inner tags stay inside");
    assert_eq!(packet.payload[0], Codec::Pcmu.table_to(Codec::Pcma).expect("laws")[0x10]);
    let key = EventPayload { event: 5, end: false, volume: 10, duration: 160 }.encode();
    let sent = cross(&mut one, &mut two, 20, &phone_packet(96, 7, 2, 320, &key));
    let [(_, bytes)] = &sent[..] else { panic!("{} packets", sent.len()) };
    let event = RtpPacket::parse(bytes).expect("own packet");
    assert_eq!((event.header.payload_type, event.payload), (96, &key[..]));
    assert_eq!(event.header.sequence, packet.header.sequence.wrapping_add(1));
    assert_eq!(event.header.timestamp, packet.header.timestamp.wrapping_add(160));
}

// Goal: a bridge lets a packet through only when both legs name each other, leg and relay.
#[test]
fn bridge_needs_both_sides() {
    let far = RelayId::new("far").expect("id");
    let near = RelayId::new("near").expect("id");
    let remote_peer = Source::Peer(Peer { leg: leg(2), relay: Some(far.clone()) });
    let passed = Verdict::Accepted;
    let refused = Verdict::Dropped(DropReason::NotBridged);
    let table = [
        (peer(2), Via::Local, 2, passed),
        (peer(2), Via::Local, 3, refused),
        (peer(2), Via::Link(&far), 2, refused),
        (remote_peer.clone(), Via::Link(&far), 2, passed),
        (remote_peer.clone(), Via::Link(&near), 2, refused),
        (remote_peer.clone(), Via::Link(&far), 3, refused),
        (remote_peer, Via::Local, 2, refused),
        (MUSIC, Via::Local, 2, refused),
    ];
    for (i, (source, via, from, verdict)) in table.into_iter().enumerate() {
        let mut one = session(ms(0), description(1, source));
        let packet = peer_packet(from, 0, 7, 1, 160, &[0x10; 160]);
        let mut record = Record::default();
        let got = one.handle_peer_packet(ms(0), via, &packet, &mut record.sink());
        assert_eq!((got, record.rtp.len()), (verdict, usize::from(got == passed)), "row {i}");
    }
    let mut one = session(ms(0), description(1, peer(2)));
    let untagged = phone_packet(0, 7, 1, 160, &[0x10; 160]);
    let got = one.handle_peer_packet(ms(0), Via::Local, &untagged, &mut Record::default().sink());
    assert_eq!(got, refused);
}

// Goal: direction and missing address decide who is heard and who is sent to.
#[test]
fn direction_table() {
    let table = [
        (Direction::SendReceive, true, true, true),
        (Direction::SendOnly, true, true, false),
        (Direction::ReceiveOnly, true, false, true),
        (Direction::Inactive, true, false, false),
        (Direction::SendReceive, false, false, false),
    ];
    for (direction, known, sends, receives) in table {
        let mut wanted = description(1, peer(2));
        wanted.direction = direction;
        wanted.remote = wanted.remote.filter(|_| known);
        let mut one = session(ms(0), wanted);
        let expected =
            |yes| if yes { Verdict::Accepted } else { Verdict::Dropped(DropReason::Direction) };
        let (verdict, record) = hear(&mut one, 0, PHONE, &audio(1));
        assert_eq!(verdict, expected(receives), "{direction:?}");
        assert_eq!(record.to_peer.len(), usize::from(receives), "{direction:?}");
        let packet = peer_packet(2, 0, 7, 1, 160, &[0x10; 160]);
        let mut record = Record::default();
        let verdict = one.handle_peer_packet(ms(0), Via::Local, &packet, &mut record.sink());
        assert_eq!(verdict, expected(sends), "{direction:?}");
        assert_eq!(ticks(&mut one, 2_000, 2_100).rtp.len(), if sends { 5 } else { 0 });
    }
}

// Goal: each reason to drop a phone's packet is told apart.
#[test]
fn drop_reasons() {
    let mut one = session(ms(0), description(1, peer(2)));
    let table: [(&str, Vec<u8>, DropReason); 5] = [
        (PHONE, vec![0x80; 5], DropReason::Malformed),
        (PHONE, phone_packet(0, 7, 1, 1, &[0; 961]), DropReason::Malformed),
        (PHONE, phone_packet(96, 7, 1, 1, &[1, 2]), DropReason::Malformed),
        (PHONE, phone_packet(8, 7, 1, 1, &[0; 160]), DropReason::PayloadType),
        ("192.0.2.10:4002", audio(1), DropReason::Source),
    ];
    for (from, packet, reason) in table {
        assert_eq!(hear(&mut one, 0, from, &packet).0, Verdict::Dropped(reason));
    }
    assert_eq!(hear(&mut one, 0, PHONE, &phone_packet(0, 7, 1, 1, &[0; 960])).0, Verdict::Accepted);
    let (verdict, record) = hear(&mut one, 0, PHONE, &phone_packet(0, 7, 2, 1, &[]));
    assert_eq!((verdict, record.to_peer.len()), (Verdict::Accepted, 0), "a NAT keep-alive");
}

// Goal: a flood from elsewhere costs the true phone nothing (fault F47), and a flood from the
// phone itself is held to its rate.
#[test]
fn floods_are_held() {
    let mut one = session(ms(0), description(1, peer(2)));
    for i in 0..5_000u16 {
        let now = u64::from(i);
        let (forged, _) = hear(&mut one, now, "203.0.113.5:4000", &audio(i));
        assert_eq!(forged, Verdict::Dropped(DropReason::Source));
        if i % 20 == 0 {
            assert_eq!(hear(&mut one, now, PHONE, &audio(i / 20)).0, Verdict::Accepted, "{i}");
        }
    }
    let mut passed = 0;
    for i in 0..10_000u64 {
        passed +=
            u64::from(hear(&mut one, 100_000 + i, PHONE, &audio(i as u16)).0 == Verdict::Accepted);
    }
    let allowed = PACKETS_BURST_MAX + 10 * PACKETS_PER_SECOND_MAX;
    assert!((allowed - 2..=allowed).contains(&passed), "{passed} of {allowed}");
}

// Goal: a higher epoch takes over without touching the stream; lower epochs and older revisions
// change nothing; the same again is fine.
#[test]
fn epoch_and_revision_table() {
    let mut wanted = description(1, MUSIC);
    (wanted.epoch, wanted.revision) = (LegEpoch(5), Revision(10));
    let mut one = session(ms(0), wanted.clone());
    let before = ticks(&mut one, 0, 200).rtp;
    let epoch = |offered| Err(DescribeRefused::Epoch { offered, known: 6 });
    let stale = |offered, known| Err(DescribeRefused::StaleRevision { offered, known });
    let table = [
        (5, 9, 1, stale(9, 10)),
        (5, 10, 1, Ok(())),
        (5, 11, 1, Ok(())),
        (6, 1, 2, Ok(())),
        (5, 99, 3, epoch(5)),
        (6, 0, 3, stale(0, 1)),
        (6, 2, 2, Ok(())),
    ];
    for (epoch, revision, owner, expected) in table {
        let mut next = wanted.clone();
        (next.epoch, next.revision, next.owner) =
            (LegEpoch(epoch), Revision(revision), NodeId(owner));
        assert_eq!(one.describe(ms(200), next), expected, "{epoch} {revision}");
    }
    assert_eq!((one.owner(), one.epoch()), (NodeId(2), LegEpoch(6)));
    let after = ticks(&mut one, 200, 400).rtp;
    let header = |packet: &(_, Vec<u8>)| RtpPacket::parse(&packet.1).expect("own packet").header;
    let (last, first) = (header(&before[9]), header(&after[0]));
    assert_eq!(first.sequence, last.sequence.wrapping_add(1));
    assert_eq!(first.timestamp, last.timestamp.wrapping_add(160));
    assert_eq!((first.ssrc, first.marker), (last.ssrc, false));
}

// Goal: a description that contradicts itself is refused with its reason.
#[test]
fn description_checks() {
    let good = description(1, peer(2));
    assert_eq!(good.check(), Ok(()));
    let mut same_types = good.clone();
    same_types.format.dtmf_payload_type = Some(same_types.format.payload_type);
    assert_eq!(same_types.check(), Err(DescriptionInvalid::PayloadTypesEqual));
    for unusable in ["0.0.0.0:4000", "192.0.2.1:0", "224.0.0.1:4000"] {
        let mut nowhere = good.clone();
        nowhere.remote = Some(Remote { rtp: address(unusable), rtcp: address(PHONE) });
        assert_eq!(nowhere.check(), Err(DescriptionInvalid::RemoteUnusable), "{unusable}");
    }
    let mut unnamed = good;
    unnamed.cname = "x".repeat(256);
    assert_eq!(unnamed.check(), Err(DescriptionInvalid::CanonicalName));
    assert_eq!(description(1, peer(1)).check(), Err(DescriptionInvalid::PeerIsSelf));
}

fn names(events: &[SessionEvent]) -> Vec<String> {
    let name = |event: &SessionEvent| match event {
        SessionEvent::Flowing { source } => format!("flowing {source}"),
        SessionEvent::Stopped { silent_ms } => format!("stopped {silent_ms}"),
        SessionEvent::Dtmf(press) => format!("key {} {}", press.digit.as_char(), press.duration_ms),
        SessionEvent::Restarted(_) => "restarted".to_owned(),
        SessionEvent::Gone { silent_ms } => format!("gone {silent_ms}"),
    };
    events.iter().map(name).collect()
}

// Goal: the owner hears once that media flows, stops and flows again, each key once, and at last
// that the session ended; while the owner lives, it does not end.
#[test]
fn events_tell_the_story() {
    let mut one = session(ms(0), description(1, MUSIC));
    assert!(one.opening_event(ms(100)).is_none(), "it may still begin");
    let mut story = Vec::new();
    for at in 0..50 {
        story.extend(hear(&mut one, at * 20, PHONE, &audio(at as u16)).1.events);
    }
    let opening = |one: &MediaSession, at| names(one.opening_event(ms(at)).as_slice());
    assert_eq!(opening(&one, 990), [format!("flowing {PHONE}")]);
    for (at, end) in [(1_000, false), (1_020, true), (1_021, true), (1_022, true)] {
        let key = EventPayload { event: 11, end, volume: 0, duration: 400 }.encode();
        story.extend(hear(&mut one, at, PHONE, &phone_packet(96, 7, 50, 8_000, &key)).1.events);
    }
    story.extend(ticks(&mut one, 1_022, 5_000).events);
    assert_eq!(opening(&one, 5_000), ["stopped 3978"]);
    story.extend(hear(&mut one, 5_000, PHONE, &audio(60)).1.events);
    story.extend(ticks(&mut one, 5_000, 50_000).events);
    one.owner_seen(ms(50_000));
    story.extend(ticks(&mut one, 50_000, 112_000).events);
    assert_eq!(
        names(&story),
        [
            &format!("flowing {PHONE}"),
            "key # 50",
            "stopped 2000",
            &format!("flowing {PHONE}"),
            "stopped 2000",
            "gone 60000",
        ]
    );
    assert_eq!(TIMES.idle_us, 60_000_000, "the row above depends on it");
}

// Goal: a new owner is told anew whether media flows: at the next packet, or after the silence; the same
// owner is not.
#[test]
fn a_new_owner_is_told_anew() {
    for (epoch, silent, told) in [
        (2, false, vec![format!("flowing {PHONE}")]),
        (2, true, vec!["stopped 2000".to_owned()]),
        (1, false, vec![]),
        (1, true, vec![]),
    ] {
        let mut one = session(ms(0), description(1, MUSIC));
        let first = hear(&mut one, 0, PHONE, &audio(0)).1.events;
        assert_eq!(names(&first), [format!("flowing {PHONE}")]);
        let since = if silent { 3_000 } else { 20 };
        ticks(&mut one, 0, since);
        let mut wanted = description(1, MUSIC);
        (wanted.epoch, wanted.revision) = (LegEpoch(epoch), Revision(2));
        one.describe(ms(since), wanted).expect("a newer description");
        let mut events = Vec::new();
        if !silent {
            events.extend(hear(&mut one, since, PHONE, &audio(1)).1.events);
        }
        events.extend(ticks(&mut one, since, since + 2_020).events);
        events.retain(|event| silent || !matches!(event, SessionEvent::Stopped { .. }));
        assert_eq!(names(&events), told, "{epoch} {silent}");
    }
}

// Goal: with learning, audio goes where the fitting source was, and the owner is told from where.
#[test]
fn learned_address_is_used_and_told() {
    let mut wanted = description(1, MUSIC);
    wanted.learning = Learning::Once { allowed: None };
    let mut one = session(ms(0), wanted.clone());
    let nat = "198.51.100.3:9999";
    assert_eq!(names(&hear(&mut one, 0, nat, &audio(1)).1.events), [format!("flowing {nat}")]);
    assert_eq!(ticks(&mut one, 0, 20).rtp[0].0, address(nat));
    wanted.revision = Revision(2);
    wanted.remote =
        Some(Remote { rtp: address("192.0.2.99:4000"), rtcp: address("192.0.2.99:4001") });
    one.describe(ms(20), wanted).expect("own revision");
    assert_eq!(ticks(&mut one, 20, 40).rtp[0].0, address("192.0.2.99:4000"), "M2: a re-INVITE");
    assert!(one.opening_event(ms(40)).is_none(), "the new phone's time to begin runs");
}

// Goal: a beep sounds once per change to it, with silence behind; a repeated description is silent.
#[test]
fn beep_sounds_once() {
    let sounds = Sounds::synthesise();
    let silence = sounds.silence(Codec::Pcmu);
    let loud = |record: &Record| {
        let payloads = record.rtp.iter().map(|(_, bytes)| bytes[12..].to_vec());
        payloads.filter(|payload| payload != silence).count()
    };
    let mut wanted = description(1, Source::Beep);
    let mut one = session(ms(0), wanted.clone());
    assert_eq!(loud(&ticks(&mut one, 0, 1_000)), 12);
    wanted.revision = Revision(2);
    one.describe(ms(1_000), wanted.clone()).expect("own revision");
    assert_eq!(loud(&ticks(&mut one, 1_000, 2_000)), 0);
    for source in [Source::Silence, Source::Beep] {
        wanted.source = source;
        one.describe(ms(2_000), wanted.clone()).expect("own revision");
    }
    assert_eq!(loud(&ticks(&mut one, 2_000, 3_000)), 12);
}

// Goal: music goes on at its place when another relay takes the stream over, and within one relay
// it does not step at a late tick.
#[test]
fn music_keeps_its_place() {
    let sounds = Sounds::synthesise();
    let frame = |position| sounds.music(Music::Default, Codec::Pcmu, position).to_vec();
    let payload = |packet: &(_, Vec<u8>)| packet.1[12..].to_vec();
    let mut one = session(ms(0), description(1, MUSIC));
    let heard = ticks(&mut one, 0, 4_000).rtp;
    for (position, packet) in (0..).zip(&heard) {
        assert_eq!(payload(packet), frame(position), "{position}");
    }
    let mut wanted = description(1, MUSIC);
    wanted.origin.elapsed_us = 5_000_000;
    wanted.origin.takeovers = 1;
    let mut two = session(ms(77_000), wanted);
    assert_eq!(payload(&ticks(&mut two, 77_000, 77_020).rtp[0]), frame(250));
}

// Goal: ticks that swing lose nothing, a late tick is made up for within the bound, and what is
// older is skipped with a marker.
#[test]
fn late_ticks_are_bounded() {
    let mut one = session(ms(0), description(1, MUSIC));
    let mut record = Record::default();
    for (tick, at_us) in (0..500u64).map(|i| (i, i * 20_000 + [0, 9_000, 3_000][i as usize % 3])) {
        one.handle_tick(MonotonicTime::from_micros(at_us), &mut record.sink());
        assert_eq!(record.rtp.len() as u64, tick + 1, "one frame per tick");
    }
    let mut late = Record::default();
    one.handle_tick(ms(10_000 + 60), &mut late.sink());
    assert_eq!(late.rtp.len(), 4, "three missed and its own");
    assert!(late.rtp.iter().all(|(_, bytes)| bytes[1] & 0x80 == 0));
    let mut very_late = Record::default();
    one.handle_tick(ms(20_000), &mut very_late.sink());
    assert_eq!(very_late.rtp.len(), 5);
    assert!(very_late.rtp[0].1[1] & 0x80 != 0, "time was skipped: the marker says so");
    assert_eq!(ticks(&mut one, 20_020, 20_100).rtp.len(), 4);
}

// Goal: while a bridged peer is silent the phone still gets packets, and the peer's next packet
// goes on at once.
#[test]
fn silence_fills_in_for_a_lost_peer() {
    let mut one = session(ms(0), description(1, peer(2)));
    let say = |one: &mut MediaSession, at_ms: u64| {
        let n = (at_ms / 20) as u32;
        let packet = peer_packet(2, 0, 7, n as u16, n * 160, &[0x10; 160]);
        let mut record = Record::default();
        let verdict = one.handle_peer_packet(ms(at_ms), Via::Local, &packet, &mut record.sink());
        (verdict, record.rtp.len())
    };
    assert_eq!(say(&mut one, 20), (Verdict::Accepted, 1));
    assert_eq!(ticks(&mut one, 40, 1_020).rtp.len(), 0);
    assert_eq!(ticks(&mut one, 1_020, 2_020).rtp.len(), 50);
    assert_eq!(say(&mut one, 2_020), (Verdict::Accepted, 1));
    assert_eq!(ticks(&mut one, 2_020, 3_020).rtp.len(), 0);
}

/// The audio of a packet that was sent.
fn said((_, packet): &(SocketAddr, Vec<u8>)) -> Vec<u8> {
    RtpPacket::parse(packet).expect("own packet").payload.to_vec()
}

// Goal: a phone that is given a peer goes on hearing what it heard until the peer's first packet, and
// no longer than the limit (the agent's node can learn of the bridge a change of leader later than
// the caller's); then the stream goes on under its numbers.
#[test]
fn what_was_played_goes_on_until_the_peer_is_heard() {
    let sounds = Sounds::synthesise();
    let mut one = session(ms(0), description(1, MUSIC));
    let before = ticks(&mut one, 0, 1_000);
    let mut wanted = description(1, peer(2));
    wanted.revision = Revision(2);
    one.describe(ms(1_000), wanted.clone()).expect("taken");
    let on = ticks(&mut one, 1_000, 2_700);
    assert_eq!(on.rtp.len(), 85, "no frame is missing");
    let tune = sounds.music(Music::Default, Codec::Pcmu, 50);
    assert_eq!(said(&on.rtp[0]), *tune, "the music goes on where it was");
    let number =
        |(_, bytes): &(_, Vec<u8>)| RtpPacket::parse(bytes).expect("own packet").header.sequence;
    let all: Vec<u16> = before.rtp.iter().chain(&on.rtp).map(number).collect();
    assert!(all.windows(2).all(|pair| pair[1] == pair[0].wrapping_add(1)));
    let mut heard = Record::default();
    for n in 0..50u32 {
        let packet = peer_packet(2, 0, 7, n as u16, n * 160, &[0x10; 160]);
        let at = ms(2_700 + u64::from(n) * 20);
        let got = one.handle_peer_packet(at, Via::Local, &packet, &mut heard.sink());
        assert_eq!(got, Verdict::Accepted);
        one.handle_tick(at, &mut heard.sink());
    }
    assert_eq!(heard.rtp.len(), 50, "the peer alone");
    assert_eq!(number(&heard.rtp[0]), all[all.len() - 1].wrapping_add(1));
    assert_eq!(said(&heard.rtp[0])[0], 0x10);

    let mut mute = session(ms(0), description(1, MUSIC));
    mute.describe(ms(1_000), wanted).expect("taken");
    let record = ticks(&mut mute, 1_000, 6_000);
    assert_eq!(record.rtp.len(), 250, "no pause at the limit either");
    let silent = record.rtp.iter().filter(|sent| said(sent)[..] == [0xff; 160]);
    assert_eq!(silent.count(), 150, "silence after two seconds");
}

// Goal: a peer who is not heard and gives way to another one, who is not heard either, brings no music
// back, and gives it no more time.
#[test]
fn one_mute_peer_after_another() {
    for (change_ms, frames) in [(1_500, [75, 25]), (5_000, [100, 0])] {
        let mut one = session(ms(0), description(1, MUSIC));
        let mut played = Vec::new();
        for (from_ms, until_ms, other) in [(0, change_ms, 2), (change_ms, change_ms + 5_000, 3)] {
            let mut wanted = description(1, peer(other));
            wanted.revision = Revision(other);
            one.describe(ms(from_ms), wanted).expect("taken");
            let heard = ticks(&mut one, from_ms, until_ms).rtp;
            assert_eq!(heard.len() as u64, (until_ms - from_ms) / 20, "no pause");
            played.push(heard.iter().filter(|sent| said(sent)[..] != [0xff; 160]).count());
        }
        assert_eq!(played, frames, "{change_ms}");
    }
}

// Goal: an agent who hears a beep before the caller hears it once.
#[test]
fn a_beep_that_plays_on_beeps_once() {
    let mut one = session(ms(0), description(1, Source::Beep));
    let loud =
        |record: &Record| record.rtp.iter().filter(|sent| said(sent)[..] != [0xff; 160]).count();
    let first = loud(&ticks(&mut one, 0, 1_000));
    assert!(first > 0);
    for (revision, source, beeps) in [(2, peer(2), 0), (3, Source::Beep, first)] {
        let mut wanted = description(1, source);
        wanted.revision = Revision(revision);
        one.describe(ms(revision * 1_000), wanted).expect("taken");
        let from = revision * 1_000;
        assert_eq!(loud(&ticks(&mut one, from, from + 900)), beeps, "{revision}");
    }
}

fn last_rtcp(record: &Record) -> Vec<RtcpPacket<'_>> {
    let (_, bytes) = record.rtcp.last().expect("a report");
    Compound::parse(bytes).expect("own packet").collect()
}

// Goal: reports come every 2.5 to 7.5 s with sender info, the phone's loss and the name; the end
// says goodbye; they go to the RTCP address, or to RTP's when both share a port.
#[test]
fn reports_are_sent() {
    for (mode, rtcp) in [(RtcpMode::Separate, "192.0.2.10:4001"), (RtcpMode::Mux, PHONE)] {
        let mut wanted = description(1, MUSIC);
        wanted.rtcp_mode = mode;
        wanted.remote = Some(Remote { rtp: address(PHONE), rtcp: address(rtcp) });
        let mut one = session(ms(0), wanted.clone());
        for i in [1u16, 2, 3, 5] {
            assert_eq!(hear(&mut one, u64::from(i) * 20, PHONE, &audio(i)).0, Verdict::Accepted);
        }
        let mut record = ticks(&mut one, 100, 60_000);
        assert!((8..=24).contains(&record.rtcp.len()), "{}", record.rtcp.len());
        assert!(record.rtcp.iter().all(|(to, _)| *to == address(rtcp)));
        one.close(ms(60_000), &mut record.sink());
        let packets = last_rtcp(&record);
        let RtcpPacket::SenderReport { source, info, blocks } = &packets[0] else {
            panic!("{packets:?}")
        };
        assert_eq!(*source, wanted.origin.ssrc);
        assert_eq!(info.ntp, NtpTime::from_micros(60_000_000));
        assert_eq!(info.packets as usize, record.rtp.len());
        assert_eq!(info.octets, info.packets * 160);
        let block = blocks.clone().next().expect("about the phone");
        assert_eq!((block.source, block.cumulative_lost), (Ssrc(7), 1));
        let name = RtcpPacket::CanonicalName { source: *source, name: b"relay@tandem" };
        assert_eq!(packets[1..], [name, RtcpPacket::Goodbye { source: *source }]);
    }
}

// Goal: a phone's report yields the round trip; a forged goodbye ends nothing (fault F47); RTCP
// from elsewhere is refused.
#[test]
fn reports_are_heard() {
    let mut one = session(ms(0), description(1, MUSIC));
    let sent = ticks(&mut one, 0, 10_000);
    let block = ReportBlock {
        source: description(1, MUSIC).origin.ssrc,
        fraction_lost: 0,
        cumulative_lost: 0,
        highest_sequence: 0,
        jitter: 0,
        last_sender_report: NtpTime::from_micros(9_000_000).middle(),
        delay_since_last: 1 << 15,
    };
    let info = SenderInfo { ntp: NtpTime(5), rtp: RtpTime::new(0), packets: 1, octets: 1 };
    let mut buffer = [0; 300];
    let mut builder = CompoundBuilder::new(&mut buffer, Ssrc(7));
    builder.report(Some(&info), Some(&block));
    builder.cname("phone");
    builder.goodbye();
    let len = builder.finish().expect("fits");
    let mut heard = |from: &str| {
        let sink = &mut Record::default();
        one.handle_packet(
            ms(10_000),
            Channel::Rtcp,
            address(from),
            &buffer[..len],
            &mut sink.sink(),
        )
    };
    assert_eq!(heard("203.0.113.1:4001"), Verdict::Dropped(DropReason::Source));
    assert_eq!(heard("192.0.2.10:4001"), Verdict::Accepted);
    let round_trip_us = one.statistics(ms(10_000)).round_trip_us;
    assert!((499_000..=501_000).contains(&round_trip_us), "{round_trip_us}");
    assert_eq!(ticks(&mut one, 10_000, 20_000).rtp.len(), sent.rtp.len(), "still playing");
}

// Goal: the figures of a leg are those of its packets.
#[test]
fn statistics_count() {
    let mut one = session(ms(500), description(1, MUSIC));
    for i in [1u16, 2, 3, 6, 7] {
        assert_eq!(hear(&mut one, 500 + u64::from(i) * 20, PHONE, &audio(i)).0, Verdict::Accepted);
    }
    let sent = ticks(&mut one, 520, 1_500).rtp.len() as u64;
    let figures = one.statistics(ms(1_500));
    assert_eq!((figures.received, figures.lost, figures.sent), (5, 2, sent));
    assert_eq!((figures.duration_ms, figures.largest_gap_ms, figures.jitter_us), (1_000, 60, 0));
}

//! Seeded mutations of valid input against everything that reads bytes from a network: nothing
//! panics, and a session that is fed with rubbish stays within its invariants.

mod support;

use support::{
    Dice, PHONE, Record, address, description, ms, peer, peer_packet, phone_packet, session,
};
use tandem_rtp::{
    continuity::{ContinuityJudge, TimeCheck},
    dtmf::EventPayload,
    ids::{PayloadType, Ssrc},
    link::{ControlMessage, FlowId, FlowKind, Hello, VERSIONS, parse_datagram, write_datagram},
    packet::RtpPacket,
    rtcp::{Compound, CompoundBuilder, NtpTime, ReportBlock, SenderInfo},
    session::{Channel, Via},
    time::RtpTime,
};

const ROUNDS: u64 = 60_000;

fn corpus() -> Vec<Vec<u8>> {
    let mut corpus = vec![
        phone_packet(0, 7, 1, 160, &[0xff; 160]),
        phone_packet(96, 7, 2, 320, &[5, 0x8a, 3, 0x20]),
        phone_packet(0, 7, 3, 320, &[]),
        peer_packet(2, 0, 7, 1, 160, &[0xff; 160]),
        peer_packet(2, 8, 7, 2, 320, &[0xd5; 240]),
        peer_packet(2, 101, 7, 3, 480, &[5, 10, 0, 160]),
    ];
    // With an extension and padding.
    let mut extended = phone_packet(0, 7, 4, 480, b"\xbe\xde\0\x01abcdaudio\0\0\x03");
    extended[0] |= 0x30;
    corpus.push(extended);
    let block = ReportBlock {
        source: Ssrc(7),
        fraction_lost: 1,
        cumulative_lost: -1,
        highest_sequence: 5,
        jitter: 6,
        last_sender_report: 7,
        delay_since_last: 8,
    };
    let info =
        SenderInfo { ntp: NtpTime::from_micros(9), rtp: RtpTime::new(1), packets: 2, octets: 3 };
    for sender in [Some(&info), None] {
        let mut buffer = [0; 512];
        let mut builder = CompoundBuilder::new(&mut buffer, Ssrc(7));
        builder.report(sender, Some(&block));
        builder.cname("phone@example");
        builder.goodbye();
        let len = builder.finish().expect("fits");
        corpus.push(buffer[..len].to_vec());
    }
    let mut datagram = [0; 400];
    let flow = FlowId::towards(support::leg(77_000), FlowKind::Rtp);
    let len = write_datagram(flow, &corpus[3], &mut datagram).expect("fits");
    corpus.push(datagram[..len].to_vec());
    let hello = ControlMessage::Hello(Hello {
        versions: VERSIONS,
        cluster: "c".to_owned(),
        group: 0,
        relay: tandem_rtp::ids::RelayId::new("r").expect("id"),
        incarnation: 1,
    });
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    ControlMessage::Ping(3).encode(&mut bytes);
    corpus.push(bytes);
    corpus
}

fn mutate(dice: &mut Dice, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() as u64) as usize;
        match dice.below(6) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 if !bytes.is_empty() => bytes[at] = [0, 1, 0x7f, 0x80, 0xff][dice.below(5) as usize],
            2 => bytes.truncate(at),
            3 if !bytes.is_empty() => {
                bytes.remove(at);
            }
            4 => bytes.insert(at, dice.next() as u8),
            _ => {
                let room = 2_048usize.saturating_sub(bytes.len());
                let len = (dice.below(64) as usize).min(room);
                let value = dice.next() as u8;
                bytes.extend(std::iter::repeat_n(value, len));
            }
        }
    }
    bytes
}

fn parse_everything(bytes: &[u8]) -> usize {
    let mut read = 0;
    if let Ok(packet) = RtpPacket::parse(bytes) {
        assert!(packet.payload.len() + 12 <= bytes.len());
        read += 1;
        read += usize::from(EventPayload::parse(packet.payload).is_some());
    }
    if let Ok(compound) = Compound::parse(bytes) {
        for packet in compound {
            if let tandem_rtp::rtcp::RtcpPacket::ReceiverReport { blocks, .. } = packet {
                assert!(blocks.count() <= 31);
            }
            read += 1;
        }
    }
    if let Ok((_, packet)) = parse_datagram(bytes) {
        assert!(packet.len() < bytes.len());
        read += 1;
    }
    let mut rest = bytes;
    while let Ok(Some((_, len))) = ControlMessage::decode(rest) {
        assert!(len >= 3 && len <= rest.len());
        rest = &rest[len..];
        read += 1;
    }
    read
}

// Goal: no parser panics on mutated packets, and most mutations still reach the inner fields.
#[test]
fn parsers_survive_mutations() {
    let corpus = corpus();
    for bytes in &corpus {
        assert!(parse_everything(bytes) > 0, "the corpus itself is valid");
    }
    let mut read = 0;
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed);
        let bytes = mutate(&mut dice, corpus[(seed % corpus.len() as u64) as usize].clone());
        read += usize::from(parse_everything(&bytes) > 0);
    }
    assert!(read as u64 > ROUNDS / 2, "only {read} of {ROUNDS} mutations were read at all");
}

// Goal: a session fed with mutated packets from both sides neither panics nor breaks M1, and what
// it hands to the peer is always well formed.
#[test]
fn sessions_survive_mutations() {
    let corpus = corpus();
    let mut one = session(ms(0), description(1, peer(2)));
    let mut judge = ContinuityJudge::new(PayloadType::PCMU, TimeCheck::On);
    let mut accepted = 0u64;
    for seed in 0..ROUNDS {
        let mut dice = Dice(seed ^ 0xabcd_0000);
        // Threads may hand in their moments a little out of order.
        let now = ms(seed + dice.below(4));
        let bytes = mutate(&mut dice, corpus[(seed % corpus.len() as u64) as usize].clone());
        let mut record = Record::default();
        let channel = if dice.hits(20) { Channel::Rtcp } else { Channel::Rtp };
        let from = if dice.hits(90) { PHONE } else { "192.0.2.10:4001" };
        let first = one.handle_packet(now, channel, address(from), &bytes, &mut record.sink());
        let second = one.handle_peer_packet(now, Via::Local, &bytes, &mut record.sink());
        accepted += u64::from(first == tandem_rtp::session::Verdict::Accepted)
            + u64::from(second == tandem_rtp::session::Verdict::Accepted);
        if seed % 20 == 0 {
            one.handle_tick(now, &mut record.sink());
        }
        if seed % 500 == 0 {
            let mut again = description(1, peer(2));
            again.revision.0 += seed;
            again.origin.takeovers = (seed / 20_000) as u32;
            one.describe(ms(seed + 3), again).expect("the next revision");
        }
        for (_, packet) in &record.rtp {
            judge.hear(packet).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        }
        for packet in &record.to_peer {
            let parsed = RtpPacket::parse(packet).expect("own packet");
            assert_eq!(parsed.contributor, Some(Ssrc(1)), "seed {seed}");
        }
    }
    assert!(accepted > ROUNDS / 20, "only {accepted} were accepted: the test tests nothing");
}

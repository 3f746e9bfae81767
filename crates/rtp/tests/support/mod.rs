//! Shared by this crate's integration tests: descriptions, a recording sink, a small generator.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::{net::SocketAddr, sync::Arc};

use tandem_rtp::{
    g711::Codec,
    ids::{LegEpoch, LegId, NodeId, PayloadType, Revision, Ssrc},
    latch::{Learning, Remote},
    packet::{RtpHeader, write},
    session::{
        Channel, Direction, MediaFormat, MediaSession, Output, Peer, RtcpMode, SessionDescription,
        SessionEvent, SessionTimes, Source,
    },
    sounds::Sounds,
    stream::StreamOrigin,
    time::{MonotonicTime, RtpTime},
};

pub(crate) const PHONE: &str = "192.0.2.10:4000";
pub(crate) const TIMES: SessionTimes =
    SessionTimes { media_stopped_after_us: 2_000_000, idle_us: 60_000_000 };

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().expect("test address")
}

pub(crate) fn ms(millis: u64) -> MonotonicTime {
    MonotonicTime::from_millis(millis)
}

pub(crate) fn leg(ordinal: u64) -> LegId {
    LegId::new(0, ordinal).expect("test leg")
}

pub(crate) fn peer(ordinal: u64) -> Source {
    Source::Peer(Peer { leg: leg(ordinal), relay: None })
}

pub(crate) fn description(ordinal: u64, source: Source) -> SessionDescription {
    SessionDescription {
        leg: leg(ordinal),
        epoch: LegEpoch(1),
        revision: Revision(1),
        owner: NodeId(1),
        remote: Some(Remote { rtp: address(PHONE), rtcp: address("192.0.2.10:4001") }),
        rtcp_mode: RtcpMode::Separate,
        format: MediaFormat {
            codec: Codec::Pcmu,
            payload_type: PayloadType::PCMU,
            dtmf_payload_type: Some(PayloadType::new(96).expect("valid")),
        },
        direction: Direction::SendReceive,
        learning: Learning::Never,
        origin: StreamOrigin {
            ssrc: Ssrc(0x5500_0000 + ordinal as u32),
            first_sequence: 65_000,
            first_timestamp: RtpTime::new(u32::MAX - 1_000),
            elapsed_us: 0,
            takeovers: 0,
        },
        cname: "relay@tandem".to_owned(),
        source,
    }
}

pub(crate) fn session(now: MonotonicTime, description: SessionDescription) -> MediaSession {
    thread_local! {
        static SOUNDS: Arc<Sounds> = Arc::new(Sounds::synthesise());
    }
    description.check().expect("valid description");
    MediaSession::new(now, description, TIMES, SOUNDS.with(Arc::clone))
}

/// Everything that came out of a session.
#[derive(Default)]
pub(crate) struct Record {
    pub(crate) rtp: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) rtcp: Vec<(SocketAddr, Vec<u8>)>,
    pub(crate) to_peer: Vec<Vec<u8>>,
    pub(crate) events: Vec<SessionEvent>,
}

impl Record {
    pub(crate) fn sink(&mut self) -> impl FnMut(Output<'_>) + '_ {
        |output| match output {
            Output::Transmit { to, packet, .. } if tandem_rtp::packet::is_rtcp(packet) => {
                self.rtcp.push((to, packet.to_vec()));
            }
            Output::Transmit { channel, to, packet } => {
                assert_eq!(channel, Channel::Rtp, "audio leaves from the RTP port");
                self.rtp.push((to, packet.to_vec()));
            }
            Output::ToPeer { packet, .. } => self.to_peer.push(packet.to_vec()),
            Output::Event(event) => self.events.push(event),
        }
    }
}

/// A packet as a phone sends it.
pub(crate) fn phone_packet(
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload: &[u8],
) -> Vec<u8> {
    encode(payload_type, ssrc, sequence, timestamp, None, payload)
}

/// A packet as the peer leg `from` hands it over.
pub(crate) fn peer_packet(
    from: u64,
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    payload: &[u8],
) -> Vec<u8> {
    encode(payload_type, ssrc, sequence, timestamp, Some(Ssrc(leg(from).tag())), payload)
}

fn encode(
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    contributor: Option<Ssrc>,
    payload: &[u8],
) -> Vec<u8> {
    let header = RtpHeader {
        marker: false,
        payload_type,
        sequence,
        timestamp: RtpTime::new(timestamp),
        ssrc: Ssrc(ssrc),
    };
    let mut buffer = [0; 2_000];
    let len = write(&header, contributor, payload, &mut buffer).expect("fits");
    buffer[..len].to_vec()
}

/// SplitMix64: repeats itself from its seed.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn hits(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

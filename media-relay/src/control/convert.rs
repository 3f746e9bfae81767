//! Between the control protocol's messages and the pure types: everything that comes in is checked
//! here, and refused with a text that names the field.

use std::net::{IpAddr, SocketAddr};

use tandem_proto::relay::v1::{
    Codec as CodecProto, Direction as DirectionProto, Endpoint, Latching, LegRef,
    LegStatistics as StatisticsProto, MediaFlowing, MediaStopped, Peer as PeerProto, RelayEvent,
    Session, SessionGone, StreamOrigin as OriginProto, StreamRestarted, relay_event, session,
};
use tandem_rtp::{
    g711::Codec,
    ids::{LegEpoch, LegId, NodeId, PayloadType, RelayId, Revision, Ssrc},
    latch::{Learning, Remote},
    session::{
        Direction, LegStatistics, MediaFormat, Peer, RtcpMode, SessionDescription, SessionEvent,
        Source,
    },
    sounds::Music,
    stream::StreamOrigin,
    time::RtpTime,
};

use crate::{link::endpoint_proto, media::WantedSession};

/// Longest stream that is believed, in milliseconds (a year).
const ELAPSED_MS_MAX: u64 = 366 * 86_400_000;

/// A session as the owner wants it; `own` is this relay's name.
pub fn session(own: &RelayId, session: Session) -> Result<WantedSession, String> {
    let mode = if session.rtcp_mux { RtcpMode::Mux } else { RtcpMode::Separate };
    let codec = match session.codec() {
        CodecProto::Pcmu => Codec::Pcmu,
        CodecProto::Pcma => Codec::Pcma,
        CodecProto::Unspecified => return Err("codec is missing".to_owned()),
    };
    let direction = match session.direction() {
        DirectionProto::SendReceive => Direction::SendReceive,
        DirectionProto::SendOnly => Direction::SendOnly,
        DirectionProto::ReceiveOnly => Direction::ReceiveOnly,
        DirectionProto::Inactive => Direction::Inactive,
        DirectionProto::Unspecified => return Err("direction is missing".to_owned()),
    };
    let dtmf = Some(session.dtmf_payload_type).filter(|value| *value != 0);
    let local_port = match session.local_port {
        0 => None,
        port => Some(u16::try_from(port).map_err(|_| format!("local_port {port} is no port"))?),
    };
    let (cname, origin) = origin(session.origin.ok_or("origin is missing")?)?;
    let (source, peer_link) = source(own, session.source.ok_or("source is missing")?)?;
    let description = SessionDescription {
        leg: leg_from(session.leg)?,
        epoch: epoch(session.leg_epoch),
        revision: Revision(session.revision),
        owner: NodeId(session.owner_node),
        remote: remote(session.remote_rtp, session.remote_rtcp, mode)?,
        rtcp_mode: mode,
        format: MediaFormat {
            codec,
            payload_type: payload_type("payload_type", session.payload_type)?,
            dtmf_payload_type: dtmf
                .map(|value| payload_type("dtmf_payload_type", value))
                .transpose()?,
        },
        direction,
        learning: learning(session.latching)?,
        origin,
        cname,
        source,
    };
    Ok(WantedSession { description, local_port, peer_link })
}

/// A leg's id.
pub fn leg_from(leg: Option<LegRef>) -> Result<LegId, String> {
    let leg = leg.ok_or("leg is missing")?;
    LegId::new(leg.group, leg.ordinal).map_err(|error| error.to_string())
}

/// A leg's id, for a reply.
pub fn leg_to(leg: LegId) -> LegRef {
    LegRef { group: leg.group(), ordinal: leg.ordinal() }
}

/// An ownership epoch.
pub fn epoch(epoch: u64) -> LegEpoch {
    LegEpoch(epoch)
}

/// A leg's figures.
pub fn statistics(figures: LegStatistics) -> StatisticsProto {
    StatisticsProto {
        received: figures.received,
        lost: figures.lost,
        sent: figures.sent,
        jitter_us: figures.jitter_us,
        round_trip_us: figures.round_trip_us,
        duration_ms: figures.duration_ms,
        largest_gap_ms: figures.largest_gap_ms,
    }
}

/// An event for the owner.
pub fn event(leg: LegId, epoch: u64, event: &SessionEvent) -> RelayEvent {
    use relay_event::Event;
    let event = match event {
        SessionEvent::Flowing { source } => {
            Event::Flowing(MediaFlowing { source: Some(endpoint_proto(*source)) })
        }
        SessionEvent::Stopped { silent_ms } => {
            Event::Stopped(MediaStopped { silent_ms: *silent_ms })
        }
        SessionEvent::Dtmf(press) => Event::Dtmf(tandem_proto::relay::v1::Dtmf {
            digit: press.digit.as_char().to_string(),
            duration_ms: press.duration_ms,
        }),
        SessionEvent::Restarted(stream) => Event::Restarted(StreamRestarted {
            ssrc: stream.ssrc.0,
            first_sequence: u32::from(stream.first_sequence),
            first_timestamp: stream.first_timestamp.value(),
        }),
        SessionEvent::Gone { silent_ms } => Event::Gone(SessionGone {
            reason: match silent_ms {
                0 => "a bug in the relay ended the session".to_owned(),
                ms => format!("neither phone nor owner was heard for {ms} ms"),
            },
        }),
    };
    RelayEvent { leg: Some(leg_to(leg)), leg_epoch: epoch, event: Some(event) }
}

/// An address.
pub fn endpoint_from(field: &str, endpoint: &Endpoint) -> Result<SocketAddr, String> {
    // The address may be a caller's: it is not repeated in the message.
    let ip: IpAddr = endpoint
        .address
        .parse()
        .map_err(|_| format!("{field}.address is no IP address without brackets"))?;
    let port = u16::try_from(endpoint.port).ok().filter(|port| *port != 0);
    let port = port.ok_or_else(|| format!("{field}.port is not within 1-65535"))?;
    Ok(SocketAddr::new(ip, port))
}

fn remote(
    rtp: Option<Endpoint>,
    rtcp: Option<Endpoint>,
    mode: RtcpMode,
) -> Result<Option<Remote>, String> {
    let Some(rtp) = rtp else {
        return match rtcp {
            None => Ok(None),
            Some(_) => Err("remote_rtcp is given without remote_rtp".to_owned()),
        };
    };
    let rtp = endpoint_from("remote_rtp", &rtp)?;
    let rtcp = match (mode, rtcp) {
        (RtcpMode::Mux, _) => rtp,
        (RtcpMode::Separate, Some(rtcp)) => endpoint_from("remote_rtcp", &rtcp)?,
        (RtcpMode::Separate, None) => {
            let port =
                rtp.port().checked_add(1).ok_or("remote_rtp.port leaves no port for RTCP")?;
            SocketAddr::new(rtp.ip(), port)
        }
    };
    Ok(Some(Remote { rtp, rtcp }))
}

fn payload_type(field: &str, value: u32) -> Result<PayloadType, String> {
    let byte = u8::try_from(value).map_err(|_| format!("{field} {value} is above 127"))?;
    PayloadType::new(byte).map_err(|error| format!("{field}: {error}"))
}

fn learning(latching: Option<Latching>) -> Result<Learning, String> {
    let Some(latching) = latching.filter(|latching| latching.learn) else {
        return Ok(Learning::Never);
    };
    if latching.allowed_address.is_empty() {
        return Ok(Learning::Once { allowed: None });
    }
    let allowed = latching
        .allowed_address
        .parse()
        .map_err(|_| "latching.allowed_address is no IP address without brackets")?;
    Ok(Learning::Once { allowed: Some(allowed) })
}

fn origin(origin: OriginProto) -> Result<(String, StreamOrigin), String> {
    let first_sequence = u16::try_from(origin.first_sequence)
        .map_err(|_| "origin.first_sequence is above 65535".to_owned())?;
    if origin.elapsed_ms > ELAPSED_MS_MAX {
        return Err("origin.elapsed_ms is more than a year; it counts milliseconds".to_owned());
    }
    let stream = StreamOrigin {
        ssrc: Ssrc(origin.ssrc),
        first_sequence,
        first_timestamp: RtpTime::new(origin.first_timestamp),
        elapsed_us: origin.elapsed_ms * 1_000,
        takeovers: origin.takeovers,
    };
    Ok((origin.cname, stream))
}

type PeerLink = Option<(RelayId, SocketAddr)>;

fn source(own: &RelayId, source: session::Source) -> Result<(Source, PeerLink), String> {
    Ok(match source {
        session::Source::Music(music) => {
            let known = Music::from_name(&music.name)
                .ok_or_else(|| format!("music has no tune {:?}; use \"default\"", music.name))?;
            (Source::Music(known), None)
        }
        session::Source::Silence(_) => (Source::Silence, None),
        session::Source::Beep(_) => (Source::Beep, None),
        session::Source::Peer(named) => peer(own, named)?,
    })
}

fn peer(own: &RelayId, peer: PeerProto) -> Result<(Source, PeerLink), String> {
    let leg = leg_from(peer.leg).map_err(|error| format!("peer.{error}"))?;
    if peer.relay_id.is_empty() || peer.relay_id == own.as_str() {
        return Ok((Source::Peer(Peer { leg, relay: None }), None));
    }
    let relay = RelayId::new(&peer.relay_id).map_err(|error| format!("peer.relay_id: {error}"))?;
    let link = peer.link.ok_or("peer.link is missing: say where the other relay takes links")?;
    let link = endpoint_from("peer.link", &link)?;
    Ok((Source::Peer(Peer { leg, relay: Some(relay.clone()) }), Some((relay, link))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, port: u32) -> Option<Endpoint> {
        Some(Endpoint { address: address.to_owned(), port })
    }

    fn good() -> Session {
        Session {
            leg: Some(LegRef { group: 0, ordinal: 7 }),
            leg_epoch: 1,
            revision: 1,
            owner_node: 1,
            local_port: 0,
            remote_rtp: endpoint("192.0.2.1", 4_000),
            remote_rtcp: None,
            rtcp_mux: false,
            codec: CodecProto::Pcmu.into(),
            payload_type: 0,
            dtmf_payload_type: 101,
            direction: DirectionProto::SendReceive.into(),
            latching: None,
            origin: Some(OriginProto {
                ssrc: 1,
                first_sequence: 2,
                first_timestamp: 3,
                elapsed_ms: 4,
                takeovers: 5,
                cname: "c".to_owned(),
            }),
            source: Some(session::Source::Silence(Default::default())),
        }
    }

    fn own() -> RelayId {
        RelayId::new("own").expect("id")
    }

    fn refusal(change: impl FnOnce(&mut Session)) -> String {
        let mut wanted = good();
        change(&mut wanted);
        session(&own(), wanted).err().expect("refused")
    }

    // Goal: each missing or wrong field is refused by its name.
    #[test]
    fn refusals_name_the_field() {
        type Change = (&'static str, fn(&mut Session));
        let table: [Change; 17] = [
            ("leg", |s| s.leg = None),
            ("2^61", |s| s.leg = Some(LegRef { group: 0, ordinal: 1 << 61 })),
            ("codec", |s| s.codec = 0),
            ("direction", |s| s.direction = 9),
            ("origin", |s| s.origin = None),
            ("source", |s| s.source = None),
            ("payload_type", |s| s.payload_type = 200),
            ("dtmf_payload_type", |s| s.dtmf_payload_type = 70),
            ("local_port", |s| s.local_port = 70_000),
            ("remote_rtp.address", |s| s.remote_rtp = endpoint("phone", 4_000)),
            ("remote_rtp.port", |s| s.remote_rtp = endpoint("192.0.2.1", 0)),
            ("remote_rtp.port", |s| s.remote_rtp = endpoint("192.0.2.1", 65_535)),
            ("remote_rtcp", |s| {
                s.remote_rtp = None;
                s.remote_rtcp = endpoint("192.0.2.1", 1);
            }),
            ("latching", |s| {
                s.latching = Some(Latching { learn: true, allowed_address: "x".to_owned() });
            }),
            ("first_sequence", |s| {
                s.origin.get_or_insert_default().first_sequence = 65_536;
            }),
            ("music", |s| {
                let music = tandem_proto::relay::v1::Music { name: "jazz".to_owned() };
                s.source = Some(session::Source::Music(music));
            }),
            ("peer.link", |s| {
                s.source = Some(session::Source::Peer(PeerProto {
                    leg: Some(LegRef { group: 0, ordinal: 8 }),
                    relay_id: "other".to_owned(),
                    link: None,
                }));
            }),
        ];
        for (i, (field, change)) in table.into_iter().enumerate() {
            let error = refusal(change);
            assert!(error.contains(field), "row {i}: {error}");
        }
    }

    // Goal: a refused address never shows up in a message.
    #[test]
    fn refusals_hide_addresses() {
        let error = refusal(|s| s.remote_rtp = endpoint("+390212345", 4_000));
        assert!(!error.contains("390212345"), "{error}");
    }

    // Goal: fields land where they belong; defaults follow the protocol's comments.
    #[test]
    fn fields_land() {
        let wanted = session(&own(), good()).expect("good");
        let description = wanted.description;
        assert_eq!((wanted.local_port, wanted.peer_link), (None, None));
        let remote = description.remote.expect("given");
        assert_eq!((remote.rtp.port(), remote.rtcp.port()), (4_000, 4_001));
        assert_eq!(description.origin.elapsed_us, 4_000);
        assert_eq!(description.origin.takeovers, 5);
        let mut shared = good();
        shared.rtcp_mux = true;
        let remote = session(&own(), shared).expect("good").description.remote.expect("given");
        assert!(remote.rtp == remote.rtcp);
    }

    // Goal: a peer on this relay is local, whether it is named or not.
    #[test]
    fn own_name_is_local() {
        for (name, remote) in [("", false), ("own", false), ("other", true)] {
            let mut wanted = good();
            wanted.source = Some(session::Source::Peer(PeerProto {
                leg: Some(LegRef { group: 0, ordinal: 8 }),
                relay_id: name.to_owned(),
                link: endpoint("192.0.2.2", 7_401),
            }));
            let wanted = session(&own(), wanted).expect("good");
            assert_eq!(wanted.peer_link.is_some(), remote, "{name}");
            let Source::Peer(peer) = wanted.description.source else { panic!("no peer") };
            assert_eq!(peer.relay.is_some(), remote, "{name}");
        }
    }
}

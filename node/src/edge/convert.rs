//! Between call control's media requests and the relay's protocol.

use tandem_callcontrol::io::{MediaEvent, MediaReply, SessionSpec, Source};
use tandem_cluster::{
    ids::{GroupId, LegEpoch, LegId, NodeId, Ordinal},
    leg::{Codec, Endpoint, MediaDirection},
};
use tandem_proto::relay::v1 as wire;
use tandem_routing::time::ClusterTime;

/// The CNAME of every stream (RFC 3550 section 6.5.1): one for the whole cluster, so that it stays
/// when a stream moves to another relay. It says nothing about anybody.
const CNAME: &str = "tandem";

pub(super) fn session(spec: &SessionSpec, owner: NodeId, now: ClusterTime) -> wire::Session {
    wire::Session {
        leg: Some(leg_ref(spec.leg)),
        leg_epoch: spec.epoch.0,
        revision: spec.revision,
        owner_node: owner.0,
        local_port: spec.local_port.map_or(0, u32::from),
        remote_rtp: spec.remote.as_ref().map(endpoint),
        remote_rtcp: None,
        rtcp_mux: false,
        codec: match spec.codec {
            Codec::Pcmu => wire::Codec::Pcmu,
            Codec::Pcma => wire::Codec::Pcma,
        }
        .into(),
        payload_type: u32::from(spec.payload_type),
        dtmf_payload_type: spec.dtmf_payload_type.map_or(0, u32::from),
        direction: match spec.direction {
            MediaDirection::SendReceive => wire::Direction::SendReceive,
            MediaDirection::SendOnly => wire::Direction::SendOnly,
            MediaDirection::ReceiveOnly => wire::Direction::ReceiveOnly,
            MediaDirection::Inactive => wire::Direction::Inactive,
        }
        .into(),
        latching: Some(wire::Latching {
            learn: spec.learn_from.is_some(),
            allowed_address: spec.learn_from.clone().unwrap_or_default(),
        }),
        origin: Some(wire::StreamOrigin {
            ssrc: spec.origin.ssrc,
            first_sequence: u32::from(spec.origin.first_sequence),
            first_timestamp: spec.origin.first_timestamp,
            elapsed_ms: now.since(spec.origin.began).0,
            takeovers: spec.origin.takeovers,
            cname: CNAME.to_owned(),
        }),
        source: Some(source(&spec.source)),
    }
}

fn source(source: &Source) -> wire::session::Source {
    use wire::session::Source as To;
    match source {
        Source::Silence => To::Silence(wire::Silence {}),
        Source::Music => To::Music(wire::Music { name: "default".to_owned() }),
        Source::Beep => To::Beep(wire::Beep {}),
        Source::Peer { leg, relay, link } => To::Peer(wire::Peer {
            leg: Some(leg_ref(*leg)),
            relay_id: link.as_ref().map_or_else(String::new, |_| relay.to_string()),
            link: link.as_ref().map(endpoint),
        }),
    }
}

pub(super) fn leg_ref(leg: LegId) -> wire::LegRef {
    wire::LegRef { group: u32::from(leg.group.0), ordinal: leg.ordinal.0 }
}

fn leg_id(leg: Option<wire::LegRef>) -> Option<LegId> {
    let leg = leg?;
    let group = GroupId(leg.group.try_into().ok()?);
    Some(LegId { group, ordinal: Ordinal(leg.ordinal) })
}

fn endpoint(endpoint: &Endpoint) -> wire::Endpoint {
    wire::Endpoint { address: endpoint.address.clone(), port: u32::from(endpoint.port) }
}

fn endpoint_from(endpoint: wire::Endpoint) -> Option<Endpoint> {
    Some(Endpoint { port: endpoint.port.try_into().ok()?, address: endpoint.address })
}

/// What a relay's result means.
pub(super) fn put_reply(result: wire::PutResult) -> MediaReply {
    use wire::PutOutcome;
    let outcome = result.outcome();
    match outcome {
        PutOutcome::Done => match result.local_rtp.and_then(endpoint_from) {
            Some(local) => MediaReply::Ready(local),
            None => MediaReply::Refused("the relay named no socket".to_owned()),
        },
        PutOutcome::RefusedEpoch => MediaReply::Fenced,
        PutOutcome::StaleRevision => MediaReply::Stale,
        PutOutcome::PortTaken
        | PutOutcome::NoPortFree
        | PutOutcome::Full
        | PutOutcome::Invalid
        | PutOutcome::Retiring
        | PutOutcome::Unspecified => {
            MediaReply::Refused(format!("{} {}", outcome.as_str_name(), result.detail))
        }
    }
}

/// An event of a session; `None` for what concerns no session, or is not known here.
pub(super) fn event(event: wire::RelayEvent) -> Option<(LegId, LegEpoch, MediaEvent)> {
    use wire::relay_event::Event;
    let leg = leg_id(event.leg)?;
    let what = match event.event? {
        Event::Flowing(_) => MediaEvent::Flowing,
        Event::Stopped(_) => MediaEvent::Stopped,
        Event::Dtmf(dtmf) => MediaEvent::Dtmf(dtmf.digit.chars().next()?),
        Event::Gone(_) => MediaEvent::Gone,
        Event::Restarted(stream) => MediaEvent::Restarted {
            ssrc: stream.ssrc,
            first_sequence: stream.first_sequence.try_into().ok()?,
            first_timestamp: stream.first_timestamp,
        },
        Event::Opened(_) => return None,
    };
    Some((leg, LegEpoch(event.leg_epoch), what))
}

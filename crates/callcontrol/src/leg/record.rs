//! Between a leg here and its rows in the log.

use std::net::{IpAddr, SocketAddr};

use tandem_cluster::{
    leg::{
        Codec, DialogRecord, DialogStage, End, Endpoint, Hops, MediaDirection, MediaRecord,
        SdpOrigin, SessionTimer,
    },
    limits::{CSEQ_BLOCK, SDP_VERSION_BLOCK},
};
use tandem_sip::{
    dialog::{
        AdoptError, Dialog, DialogRecord as SipRecord, DialogRole, DialogStage as SipStage,
        session_timer::{SessionTimer as SipTimer, Side},
    },
    sdp::{Direction, LocalDescription, Origin, SdpVersionBlock},
};

use super::{Leg, MediaSide, SipSide};

/// What the log keeps of the dialog, with these ends of the reserved blocks.
pub(crate) fn dialog(sip: &SipSide, dialog: &Dialog, reserved: Reserved) -> DialogRecord {
    let record = dialog.to_record();
    let origin = sip.description.origin();
    DialogRecord {
        initiator: match record.role {
            DialogRole::Uac => End::Us,
            DialogRole::Uas => End::Peer,
        },
        stage: match record.stage {
            SipStage::Early => DialogStage::Early,
            SipStage::Confirmed => DialogStage::Confirmed,
        },
        hops: if record.secure { Hops::Secured } else { Hops::Plain },
        call_id: record.call_id,
        local_uri: record.local_uri,
        local_tag: record.local_tag,
        remote_uri: record.remote_uri,
        remote_tag: record.remote_tag,
        remote_target: record.remote_target,
        route_set: record.route_set,
        transport: sip.transport,
        peer_address: sip.peer.to_string(),
        local_cseq_reserved: reserved.cseq,
        remote_cseq: record.remote_cseq,
        sdp_origin: SdpOrigin {
            username: origin.username.clone(),
            session_id: origin.session_id,
            address: origin.address.to_string(),
        },
        sdp_version_reserved: reserved.sdp_version,
        session_timer: sip.timer.map(|timer| SessionTimer {
            interval_s: timer.interval_s,
            refresher: match timer.refresher {
                Side::Local => End::Us,
                Side::Remote => End::Peer,
            },
        }),
    }
}

/// Ends of the blocks that a record reserves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) cseq: u32,
    pub(crate) sdp_version: u64,
}

impl Reserved {
    /// What is reserved already.
    pub(crate) fn now(sip: &SipSide, dialog: &Dialog) -> Self {
        Self {
            cseq: dialog.cseq_reserved_until(),
            sdp_version: sip.description.versions().reserved_until(),
        }
    }

    /// What is reserved, or the next blocks where few numbers are left.
    pub(crate) fn ahead(sip: &SipSide, dialog: &Dialog) -> Self {
        let now = Self::now(sip, dialog);
        Self {
            cseq: dialog.needs_reservation().unwrap_or(now.cseq),
            sdp_version: sip.description.versions().needs_reservation().unwrap_or(now.sdp_version),
        }
    }
}

/// A dialog of another node's, ready to be used: the entry that changed its owner has reserved the
/// last block of each counter for us.
pub(crate) fn adopt(record: &DialogRecord) -> Result<(Dialog, LocalDescription), AdoptError> {
    let mut dialog = Dialog::adopt(&SipRecord {
        call_id: record.call_id.clone(),
        local_tag: record.local_tag.clone(),
        remote_tag: record.remote_tag.clone(),
        local_uri: record.local_uri.clone(),
        remote_uri: record.remote_uri.clone(),
        remote_target: record.remote_target.clone(),
        route_set: record.route_set.clone(),
        cseq_reserved_until: record.local_cseq_reserved.saturating_sub(CSEQ_BLOCK),
        remote_cseq: record.remote_cseq,
        role: match record.initiator {
            End::Us => DialogRole::Uac,
            End::Peer => DialogRole::Uas,
        },
        stage: match record.stage {
            DialogStage::Early => SipStage::Early,
            DialogStage::Confirmed => SipStage::Confirmed,
        },
        secure: record.hops == Hops::Secured,
    })?;
    dialog.reserve(record.local_cseq_reserved);
    let origin = Origin {
        username: record.sdp_origin.username.clone(),
        session_id: record.sdp_origin.session_id,
        address: record
            .sdp_origin
            .address
            .parse()
            .unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
    };
    let used = record.sdp_version_reserved.saturating_sub(SDP_VERSION_BLOCK);
    let mut versions = SdpVersionBlock::after(used);
    versions.reserve(record.sdp_version_reserved);
    Ok((dialog, LocalDescription::new(origin, versions)))
}

/// The negotiated session timer of a record.
pub(crate) fn session_timer(record: &DialogRecord) -> Option<SipTimer> {
    record.session_timer.map(|timer| SipTimer {
        interval_s: timer.interval_s,
        refresher: match timer.refresher {
            End::Us => Side::Local,
            End::Peer => Side::Remote,
        },
    })
}

/// What the log keeps of the media; `None` before the relay has given a socket.
pub(crate) fn media(media: &MediaSide) -> Option<MediaRecord> {
    Some(MediaRecord {
        relay: media.relay.id.clone(),
        local: media.local.clone()?,
        remote: media.remote.clone(),
        codec: media.codec,
        payload_type: media.payload_type,
        dtmf_payload_type: media.dtmf_payload_type,
        direction: media.direction,
        origin: media.origin,
    })
}

/// The record of a leg's dialog with what is reserved now, if it has a dialog.
pub(crate) fn current_dialog(leg: &Leg) -> Option<DialogRecord> {
    let standing = leg.sip.dialog.as_ref()?;
    Some(dialog(&leg.sip, standing, Reserved::now(&leg.sip, standing)))
}

/// True when the log has dialog and media as they are. What it reserves, and the last number of the
/// peer, may differ: they only grow.
pub(crate) fn is_current(leg: &Leg) -> bool {
    let Some(row) = leg.view.as_ref().map(|view| &view.leg) else { return false };
    let dialog = match (&row.dialog, current_dialog(leg)) {
        (Some(row), Some(now)) => {
            let local_cseq_reserved = row.local_cseq_reserved;
            let sdp_version_reserved = row.sdp_version_reserved;
            let remote_cseq = row.remote_cseq;
            *row == DialogRecord { local_cseq_reserved, sdp_version_reserved, remote_cseq, ..now }
        }
        (row, now) => row.is_none() == now.is_none(),
    };
    let media = media(&leg.media);
    // Without a socket there is nothing to say.
    dialog && (media.is_none() || row.media == media)
}

/// The codec by its name in SDP.
pub(crate) fn codec(name: &str) -> Option<Codec> {
    match name.to_ascii_uppercase().as_str() {
        "PCMU" => Some(Codec::Pcmu),
        "PCMA" => Some(Codec::Pcma),
        _ => None,
    }
}

/// The name of a codec in SDP.
pub(crate) fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Pcmu => "PCMU",
        Codec::Pcma => "PCMA",
    }
}

/// SDP's direction, seen from us, as the log has it.
pub(crate) fn direction(direction: Direction) -> MediaDirection {
    match direction {
        Direction::SendRecv => MediaDirection::SendReceive,
        Direction::SendOnly => MediaDirection::SendOnly,
        Direction::RecvOnly => MediaDirection::ReceiveOnly,
        Direction::Inactive => MediaDirection::Inactive,
    }
}

/// A socket address as the log has it.
pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint { address: address.ip().to_string(), port: address.port() }
}

/// A socket address from the log.
pub(crate) fn socket(endpoint: &Endpoint) -> Option<SocketAddr> {
    Some(SocketAddr::new(endpoint.address.parse().ok()?, endpoint.port))
}

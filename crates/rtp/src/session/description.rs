//! What an owner says about a session: the control protocol's `Session`, with its rules in types.

use std::net::IpAddr;

use thiserror::Error;

use crate::{
    g711::Codec,
    ids::{LegEpoch, LegId, NodeId, PayloadType, RelayId, Revision, Ssrc},
    latch::{Learning, Remote},
    limits::CNAME_LEN_MAX,
    sounds::Music,
    stream::StreamOrigin,
};

/// The owner's wishes for one leg.
#[derive(Clone)]
pub struct SessionDescription {
    /// Which leg.
    pub leg: LegId,
    /// Ownership epoch of the caller.
    pub epoch: LegEpoch,
    /// Counter of the caller within its epoch.
    pub revision: Revision,
    /// The node that gets the events.
    pub owner: NodeId,
    /// Where the phone is; `None`: nothing is sent and nothing accepted yet.
    pub remote: Option<Remote>,
    /// Whether RTCP shares the RTP port.
    pub rtcp_mode: RtcpMode,
    /// What was negotiated with this phone.
    pub format: MediaFormat,
    /// Who may send.
    pub direction: Direction,
    /// Whether the phone's address may be learned.
    pub learning: Learning,
    /// The stream towards the phone.
    pub origin: StreamOrigin,
    /// Canonical name in reports; the same on every relay that continues the stream.
    pub cname: String,
    /// What the phone hears.
    pub source: Source,
}

/// Codec and payload types towards one phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MediaFormat {
    /// The law.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: PayloadType,
    /// The payload type of telephone-event, if it was negotiated.
    pub dtmf_payload_type: Option<PayloadType>,
}

/// Who may send, seen from the relay towards the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// Both.
    SendReceive,
    /// Only the relay.
    SendOnly,
    /// Only the phone.
    ReceiveOnly,
    /// Neither.
    Inactive,
}

/// Where RTCP goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RtcpMode {
    /// On the port above RTP's.
    Separate,
    /// On RTP's port (RFC 5761).
    Mux,
}

/// What the phone hears.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Music, from its place in the stream's own time.
    Music(Music),
    /// Digital silence at the packet rate: NAT bindings and media timers of carriers stay alive.
    Silence,
    /// One beep, then silence. Beeps again only after another source stood here.
    Beep,
    /// Another leg.
    Peer(Peer),
}

/// The other leg of a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Which leg.
    pub leg: LegId,
    /// The relay that has its session; `None`: this one.
    pub relay: Option<RelayId>,
}

/// How a peer's packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via<'a> {
    /// From a session on this relay.
    Local,
    /// Over the link from another relay, whose certificate was checked.
    Link(&'a RelayId),
}

/// Why a description contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DescriptionInvalid {
    /// Two meanings for one payload type.
    #[error("audio and telephone-event share one payload type; describe them with two")]
    PayloadTypesEqual,
    /// Nobody listens there.
    #[error("the remote address or port is unspecified or a multicast group; give the phone's own")]
    RemoteUnusable,
    /// RFC 3550 section 6.5 has one byte for the length.
    #[error("the canonical name is empty or longer than 255 bytes; shorten it")]
    CanonicalName,
    /// A leg that is bridged to itself would hear its own echo.
    #[error("the peer of the leg is the leg itself; name the other leg")]
    PeerIsSelf,
}

impl SessionDescription {
    /// Checks what the types cannot.
    pub fn check(&self) -> Result<(), DescriptionInvalid> {
        if self.format.dtmf_payload_type == Some(self.format.payload_type) {
            return Err(DescriptionInvalid::PayloadTypesEqual);
        }
        let usable =
            |ip: IpAddr, port: u16| !ip.is_unspecified() && !ip.is_multicast() && port != 0;
        if let Some(Remote { rtp, rtcp }) = self.remote
            && !(usable(rtp.ip(), rtp.port()) && usable(rtcp.ip(), rtcp.port()))
        {
            return Err(DescriptionInvalid::RemoteUnusable);
        }
        if self.cname.is_empty() || self.cname.len() > CNAME_LEN_MAX {
            return Err(DescriptionInvalid::CanonicalName);
        }
        match &self.source {
            Source::Peer(peer) if peer.leg == self.leg => Err(DescriptionInvalid::PeerIsSelf),
            _ => Ok(()),
        }
    }
}

impl Direction {
    /// True when the relay may send.
    pub const fn sends(self) -> bool {
        matches!(self, Self::SendReceive | Self::SendOnly)
    }

    /// True when the phone may send.
    pub const fn receives(self) -> bool {
        matches!(self, Self::SendReceive | Self::ReceiveOnly)
    }
}

impl Peer {
    /// True when a packet with this tag, which came this way, is the peer's.
    pub(super) fn is_sender(&self, via: Via<'_>, contributor: Option<Ssrc>) -> bool {
        let relay_fits = match (via, &self.relay) {
            (Via::Local, None) => true,
            (Via::Link(from), Some(relay)) => from == relay,
            _ => false,
        };
        relay_fits && contributor == Some(Ssrc(self.leg.tag()))
    }
}

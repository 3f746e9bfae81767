//! Legs: what of a SIP dialog is replicated, so that another node can take it over.
//!
//! The record holds what a survivor needs to speak in the dialog: identity, route, counters reserved
//! in blocks before use, and where the media goes. It holds no SIP transaction (those die with their
//! node and are repaired) and no media key. See `docs/adr/0003-what-of-a-leg-is-replicated.md`.

use serde::{Deserialize, Serialize};
use tandem_routing::{
    entity::contact_bytes,
    name::{CallerNumber, Name},
    table::{Row, TableTag},
    time::ClusterTime,
};

use crate::ids::{AgentId, ContactId, Epoch, LegEpoch, LegId, NodeId, OfferNumber, TenantId};

/// The node that acts for a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Owner {
    /// Which node.
    pub node: NodeId,
    /// In which of its lives.
    pub epoch: Epoch,
}

/// Whose leg it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegRole {
    /// The caller's: they invited us.
    Caller,
    /// An agent's: we invite their phone.
    Agent {
        /// Whose phone.
        agent: AgentId,
        /// For which offer.
        offer: OfferNumber,
    },
}

/// How far a leg has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum LegPhase {
    /// The owner invites the agent's phone.
    Inviting,
    /// The dialog is established.
    Active,
    /// The owner ends the leg (CANCEL or BYE); the row goes when it reports that done.
    Ending {
        /// What there is to end.
        from: EndingFrom,
        /// Why; becomes the Reason header.
        cause: EndCause,
    },
}

/// See [`LegPhase::Ending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndingFrom {
    /// An INVITE that has no final answer as far as the log knows.
    Inviting,
    /// A dialog.
    Active,
}

/// Why a leg is ended by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EndCause {
    /// The other side hung up.
    PeerHungUp,
    /// The offer was taken back: the caller left, or it went to another agent.
    OfferWithdrawn,
    /// It rang for as long as the queue says.
    NotAnswered,
    /// The contact waited longer than its queue allows.
    WaitedTooLong,
    /// An operator ended the contact.
    Operator,
    /// The other side's leg could not be kept.
    PeerLost,
    /// Signalling or media failed.
    Failed,
    /// Another agent, whose phone rang for the same contact, took it.
    AnsweredElsewhere,
}

/// Whether the owner has the peer's word that the dialog lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Yes.
    Held,
    /// It was taken over and has not answered its new owner yet.
    Recovering {
        /// Since when.
        since: ClusterTime,
    },
}

/// SIP transport of a leg or binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    /// Datagrams: any node can speak to the peer.
    Udp,
    /// A connection that one node holds.
    Tcp,
}

/// One of the two ends of a dialog.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// Tandem, whatever node speaks for it.
    Us,
    /// The phone or trunk.
    Peer,
}

/// How far a dialog is (RFC 3261 section 12).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DialogStage {
    /// It rings.
    Early,
    /// It was answered.
    Confirmed,
}

/// Whether requests of a dialog need secured hops (RFC 3261 section 12.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Hops {
    /// No.
    Plain,
    /// Yes: the first request came by TLS to a sips: URI.
    Secured,
}

/// Our o= line without its version: it stays the same whatever node speaks (RFC 3264 section 8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SdpOrigin {
    /// User name; `-` for none.
    pub username: String,
    /// Session id.
    pub session_id: u64,
    /// Address of the node that began the session.
    pub address: String,
}

/// A negotiated session timer (RFC 4028).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionTimer {
    /// Seconds between two refreshes at most.
    pub interval_s: u32,
    /// Who refreshes.
    pub refresher: End,
}

/// What of a dialog is replicated (RFC 3261 section 12).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DialogRecord {
    /// Who sent the first INVITE.
    pub initiator: End,
    /// How far it is.
    pub stage: DialogStage,
    /// Plain or secured.
    pub hops: Hops,
    /// Call-ID.
    pub call_id: String,
    /// Our URI: To of an incoming call, From of an outgoing one.
    pub local_uri: String,
    /// Our tag.
    pub local_tag: String,
    /// The peer's URI.
    pub remote_uri: String,
    /// The peer's tag; empty until it answered.
    pub remote_tag: String,
    /// The peer's Contact: where in-dialog requests are addressed.
    pub remote_target: String,
    /// Route set, first hop first.
    pub route_set: Vec<String>,
    /// How the peer was reached.
    pub transport: Transport,
    /// The peer's socket address as last seen; requests go there when the target is behind NAT.
    pub peer_address: String,
    /// Every CSeq number that the owner may have used is at most this.
    pub local_cseq_reserved: u32,
    /// The highest CSeq number that the peer used.
    pub remote_cseq: Option<u32>,
    /// Our o= line.
    pub sdp_origin: SdpOrigin,
    /// Every o= version that the owner may have used is at most this.
    pub sdp_version_reserved: u64,
    /// Negotiated session timer; `None`: there is none.
    pub session_timer: Option<SessionTimer>,
}

impl std::fmt::Debug for DialogRecord {
    /// Without URIs: they hold callers' numbers.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DialogRecord")
            .field("call_id", &self.call_id)
            .field("local_tag", &self.local_tag)
            .field("remote_tag", &self.remote_tag)
            .field("transport", &self.transport)
            .field("local_cseq_reserved", &self.local_cseq_reserved)
            .field("sdp_version_reserved", &self.sdp_version_reserved)
            .finish_non_exhaustive()
    }
}

/// Audio coding of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Codec {
    /// G.711 mu-law.
    Pcmu,
    /// G.711 A-law.
    Pcma,
}

/// Direction of a leg's media, seen from us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaDirection {
    /// Both ways.
    SendReceive,
    /// The peer only listens.
    SendOnly,
    /// The peer only speaks (it put us on hold with music of its own).
    ReceiveOnly,
    /// Nothing.
    Inactive,
}

/// An IP address and a port, as text and number: never resolved, never a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// IPv4 or IPv6 literal without brackets.
    pub address: String,
    /// 1-65535.
    pub port: u16,
}

/// One half of the media plan: where a leg's audio is handled and what was negotiated with its
/// peer. The halves meet here; SDP is never passed through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaRecord {
    /// The relay that holds the session.
    pub relay: Name,
    /// The relay's socket, as it stands in our SDP.
    pub local: Endpoint,
    /// The peer's socket, from its SDP; absent before it answered.
    pub remote: Option<Endpoint>,
    /// Negotiated coding.
    pub codec: Codec,
    /// Its payload type.
    pub payload_type: u8,
    /// Payload type of telephone-event, if negotiated.
    pub dtmf_payload_type: Option<u8>,
    /// Which way audio flows.
    pub direction: MediaDirection,
    /// The stream that we send.
    pub origin: StreamOrigin,
}

/// The stream that the relay sends to the leg's peer: enough to go on with it elsewhere, with
/// numbers that nobody has used (invariant M1).
///
/// Each time another relay process is asked to send the stream, the owner raises `takeovers`, at
/// once, and reports it: by 1 for a relay of its own that runs anew, by 2 for a stream that it took
/// over from another owner (who may have raised it by 1 without being able to report that). It
/// begins a new stream instead (another SSRC, takeovers 0)
/// - when the stream was taken over less than 40 s ago,
/// - when `told_by` is not the ownership right before its own,
/// - when the relay was lost, or the direction forbade sending, for more than 6 s.
///
/// The figures are those of `tandem-rtp`'s limits: jumps that receivers take for loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOrigin {
    /// SSRC.
    pub ssrc: u32,
    /// Sequence number of the first packet.
    pub first_sequence: u16,
    /// Timestamp of the first packet.
    pub first_timestamp: u32,
    /// When that was.
    pub began: ClusterTime,
    /// How often another relay process was asked to go on with it (see above).
    pub takeovers: u32,
    /// When that happened last; `began` if it has not.
    pub taken_over: ClusterTime,
    /// The ownership that reported this.
    pub told_by: LegEpoch,
}

/// The invitation of an agent's phone. With the cluster key and the leg's id it determines the whole
/// INVITE: Call-ID, tag, branch and addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// The phone.
    pub target: crate::binding::PhoneTarget,
    /// The agent's name: the user that is invited.
    pub agent: Name,
    /// Who calls, for the phone's display.
    pub caller: CallerNumber,
    /// What they called.
    pub called: Name,
    /// The life that invites first; its address stands in the INVITE's Via.
    pub by: Owner,
}

/// One SIP dialog of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// Its name for ever.
    pub id: LegId,
    /// Owner of the contact.
    pub tenant: TenantId,
    /// The call.
    pub contact: ContactId,
    /// Caller or agent.
    pub role: LegRole,
    /// Who acts for it.
    pub owner: Owner,
    /// Number of this ownership.
    pub epoch: LegEpoch,
    /// Whether the peer has answered the owner.
    pub control: Control,
    /// How far it has come.
    pub phase: LegPhase,
    /// For an agent's leg: what the INVITE says, so that any node can make the same one again (to
    /// cancel it).
    pub invitation: Option<Invitation>,
    /// The dialog; of an inviting leg once it rings.
    pub dialog: Option<DialogRecord>,
    /// The media.
    pub media: Option<MediaRecord>,
}

impl Row for Leg {
    type Key = LegId;
    const TABLE: TableTag = TableTag::Leg;
    const VERSION: u8 = 1;

    fn key(&self) -> LegId {
        self.id
    }
    fn tenant(&self) -> TenantId {
        self.tenant
    }
    fn key_bytes(id: &LegId) -> Vec<u8> {
        contact_bytes(ContactId { group: id.group, ordinal: id.ordinal })
    }
}

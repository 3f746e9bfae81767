//! A call's signalling, and the whole record of a call.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::media::MediaReport;
use crate::media::SenderTag;
use crate::sip::Direction;
use crate::time::RunTime;

/// Names a call on one side: a hash of its Call-ID and the From tag of who called. The two legs of
/// a back-to-back user agent have different keys; what joins them is who hears whom.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallKey(pub String);

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which end of a call this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sent the first INVITE.
    Caller,
    /// Received it.
    Callee,
}

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// INVITE sent or received, nothing more.
    Started,
    /// 180/183 sent or received.
    Ringing,
    /// 200 sent; the ACK is missing (callee only).
    Answered,
    /// 200 and ACK are through: the call stands.
    Established,
    /// BYE or CANCEL sent, its end not confirmed.
    Ending,
    /// Over; the report is final.
    Ended,
}

/// Who or what ended a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "by")]
pub enum EndCause {
    /// This side hung up.
    HungUpHere,
    /// The other side sent BYE.
    HungUpThere {
        /// Its Reason header, verbatim.
        reason: Option<String>,
    },
    /// This side cancelled before an answer.
    CancelledHere,
    /// The other side cancelled before an answer.
    CancelledThere {
        /// The CANCEL's Reason header, verbatim.
        reason: Option<String>,
    },
    /// This side refused.
    RejectedHere {
        /// Status code.
        code: u16,
    },
    /// The other side refused.
    RejectedThere {
        /// Status code.
        code: u16,
        /// Reason phrase.
        phrase: String,
        /// Retry-After, seconds.
        retry_after_s: Option<u32>,
    },
    /// No answer within the transaction's timer, from no address tried.
    NoResponse,
    /// The transport refused (connection refused, reset).
    TransportFailed,
    /// The 200 was never acknowledged (RFC 3261 13.3.1.4).
    NoAck,
    /// The session description could not be used.
    BadSdp,
    /// A request inside the dialog was answered 481 or 408, or not at all (RFC 3261 12.2.1.2).
    DialogLost {
        /// The status code; none when nothing was answered.
        code: Option<u16>,
    },
    /// This side vanished without a word (a test asked for it, or the phone was switched off).
    Vanished,
    /// The phone could not open its media sockets.
    NoMedia,
    /// The world stopped while the call stood.
    WorldStopped,
}

/// One address that a caller tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When the INVITE left.
    pub at_us: RunTime,
    /// Where to.
    pub node: SocketAddr,
    /// Why the next address was tried (`503`, `timeout`, `transport`), or the final status.
    pub outcome: Option<String>,
}

/// A re-INVITE or UPDATE that came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Modification {
    /// When.
    pub at_us: RunTime,
    /// `INVITE` or `UPDATE`.
    pub method: String,
    /// The address it really came from.
    pub from: SocketAddr,
    /// The source differs from that of the request or response before.
    pub source_changed: bool,
    /// Its CSeq number.
    pub cseq: u32,
    /// Version of the SDP's `o=` line; none without SDP.
    pub sdp_version: Option<u64>,
    /// Host and port of its Contact.
    pub contact: Option<String>,
    /// Where it wants RTP.
    pub media: Option<SocketAddr>,
    /// That address differs from the one before.
    pub media_changed: bool,
    /// The direction it offered.
    pub direction: Option<Direction>,
    /// What the phone answered.
    pub code: u16,
}

/// Something that a strict phone would not expect from its peer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Anomaly {
    /// A request's CSeq was lower than, or equal to, one before; answered 500.
    CSeqNotHigher {
        /// The number that came.
        cseq: u32,
        /// The highest before.
        highest: u32,
    },
    /// The SDP changed while its `o=` version did not rise (RFC 3264 8).
    SdpVersionNotHigher {
        /// The version that came.
        version: u64,
        /// The version before.
        before: u64,
    },
    /// User name or session id of the `o=` line changed within a session (RFC 3264 8).
    SdpOriginChanged,
    /// A new INVITE came while the 200 of the one before had no ACK.
    InviteBeforeAck,
    /// A response carried another To tag than the dialog's: a fork or a second answer.
    AnotherTag {
        /// Its status code.
        code: u16,
    },
    /// A request or response could not be parsed.
    Malformed {
        /// Why.
        why: String,
    },
    /// A response to something that this phone did not ask, or asked too long ago.
    StrayResponse {
        /// Its status code.
        code: u16,
    },
}

/// An anomaly and its time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnomalySeen {
    /// When.
    pub at_us: RunTime,
    /// What.
    #[serde(flatten)]
    pub anomaly: Anomaly,
}

/// One call as one side experienced it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallReport {
    /// Label of the phone or caller.
    pub phone: String,
    /// Which end.
    pub role: Role,
    /// The call on this side.
    pub call: CallKey,
    /// The tag in the audio that this side sends.
    pub sender_tag: SenderTag,
    /// Where the call stands.
    pub state: CallState,
    /// First INVITE.
    pub started_us: RunTime,
    /// First 18x.
    pub ringing_us: Option<RunTime>,
    /// First provisional response with SDP.
    pub early_media_us: Option<RunTime>,
    /// 200.
    pub answered_us: Option<RunTime>,
    /// ACK (received by the callee, sent by the caller).
    pub established_us: Option<RunTime>,
    /// End.
    pub ended_us: Option<RunTime>,
    /// Why it ended.
    pub end: Option<EndCause>,
    /// Addresses that the caller tried.
    pub attempts: Vec<Attempt>,
    /// Re-INVITEs and UPDATEs received; the first ones.
    pub modifications: Vec<Modification>,
    /// How many there were.
    pub modifications_count: u64,
    /// Modifications accepted from another address than the signalling before: takeovers.
    pub takeovers: u64,
    /// Where this side would send its next request.
    pub remote_target: Option<String>,
    /// What was strange; the first ones.
    pub anomalies: Vec<AnomalySeen>,
    /// How many there were.
    pub anomalies_count: u64,
    /// 200s to INVITE that this side sent again for want of an ACK.
    pub ok_retransmissions: u64,
    /// 200s to INVITE that came again (the ACK was lost or late).
    pub ok_repeats_received: u64,
    /// The audio.
    pub media: MediaReport,
}

impl CallReport {
    /// Time from the first INVITE to the 200, milliseconds.
    #[must_use]
    pub fn answer_delay_ms(&self) -> Option<u64> {
        self.answered_us.map(|at| at.ms_since(self.started_us))
    }

    /// Whether tagged audio of that sender was heard.
    #[must_use]
    pub fn hears(&self, tag: SenderTag) -> bool {
        self.media.sender(tag).is_some()
    }
}

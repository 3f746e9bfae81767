//! What happens while it happens: one record for each event, a JSON line by serde.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::media::SenderTag;
use crate::report::{Anomaly, CallKey, CallReport, Gap, Heard, Modification};
use crate::time::RunTime;

/// One event.
///
/// ```
/// use tandem_phone::{Event, EventKind, RunTime};
/// let event = Event {
///     at_us: RunTime::from_ms(1_500),
///     phone: "agent-1".into(),
///     call: None,
///     kind: EventKind::Unregistered { at: "127.0.0.1:5060".parse()? },
/// };
/// assert_eq!(
///     serde_json::to_string(&event)?,
///     r#"{"at_us":1500000,"phone":"agent-1","call":null,"event":"unregistered","at":"127.0.0.1:5060"}"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, on the world's monotonic clock.
    pub at_us: RunTime,
    /// Label of the phone or caller.
    pub phone: String,
    /// Which call, when it belongs to one.
    pub call: Option<CallKey>,
    /// What.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum EventKind {
    /// A registrar accepted (first time, refresh, or after a failover).
    Registered {
        /// The registrar.
        at: SocketAddr,
        /// Granted lifetime, seconds.
        expires_s: u32,
    },
    /// A registrar did not accept or did not answer; the next one is tried.
    RegisterFailed {
        /// The registrar.
        at: SocketAddr,
        /// `timeout`, `transport`, `credentials`, or the status.
        reason: String,
    },
    /// The binding was removed.
    Unregistered {
        /// The registrar.
        at: SocketAddr,
    },
    /// A phone got an INVITE for a new call.
    InviteReceived {
        /// Its source.
        from: SocketAddr,
        /// The tag that this side will send.
        sender_tag: SenderTag,
        /// The user part of its From: who calls.
        caller: Option<String>,
    },
    /// A phone got an INVITE and will never answer it.
    InviteIgnored {
        /// The user part of its From: who calls.
        caller: Option<String>,
    },
    /// A caller sent its INVITE.
    InviteSent {
        /// Where to.
        to: SocketAddr,
        /// The tag that this side will send.
        sender_tag: SenderTag,
    },
    /// A caller goes on to the next address.
    TriesNextNode {
        /// The address given up.
        from: SocketAddr,
        /// The next one.
        to: SocketAddr,
        /// `503`, `timeout`, `transport`.
        reason: String,
    },
    /// A provisional response was sent or came.
    Ringing {
        /// Its code.
        code: u16,
    },
    /// 200 sent or received.
    Answered,
    /// The ACK came.
    AckReceived,
    /// A re-INVITE or UPDATE came and was answered.
    Reinvite {
        /// What it said, and the answer.
        modification: Modification,
    },
    /// CANCEL sent or received.
    Cancelled {
        /// Its Reason header, verbatim.
        reason: Option<String>,
    },
    /// BYE received.
    Bye {
        /// Its source.
        from: SocketAddr,
        /// Its Reason header, verbatim.
        reason: Option<String>,
    },
    /// This side refused an INVITE, or was refused.
    Rejected {
        /// The code.
        code: u16,
        /// The phrase.
        phrase: String,
    },
    /// The first audio of the call.
    FirstAudio {
        /// What it was.
        heard: Heard,
    },
    /// From here on something else is heard.
    Hears {
        /// What.
        heard: Heard,
        /// The label of the sender, when it lives in this world.
        label: Option<String>,
    },
    /// A pause ended (or the call ended within one).
    Gap {
        /// The pause.
        gap: Gap,
    },
    /// A DTMF digit came.
    Digit {
        /// The digit.
        digit: char,
    },
    /// Something that a strict phone does not expect.
    Anomaly {
        /// What.
        anomaly: Anomaly,
    },
    /// The audio that was heard lies in a file now.
    WavWritten {
        /// Its path.
        path: String,
    },
    /// The file could not be written.
    WavFailed {
        /// Its path.
        path: String,
        /// Why.
        why: String,
    },
    /// The call is over: its final summary.
    Ended {
        /// The summary.
        report: Box<CallReport>,
    },
}

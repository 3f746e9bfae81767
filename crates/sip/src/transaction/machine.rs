//! What the four machines share: their inputs' classes and the actions that they ask for.

use super::timers::Timer;
use crate::message::StatusCode;
use std::time::Duration;

/// What a machine wants done, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Client: send the request (again).
    SendRequest,
    /// Client: send the ACK to the failure just received (section 17.1.1.3).
    SendAck,
    /// Client: cancel our own INVITE, which rings without end.
    SendCancel,
    /// Server: send the core's last response (again).
    SendResponse,
    /// Server: send 100 (Trying).
    SendTrying,
    /// Hand the message to the core.
    PassUp,
    /// Start (or start again) a timer.
    Start(Timer, Duration),
    /// Stop a timer.
    Stop(Timer),
    /// Tell the core that the other side was silent for too long.
    ReportTimeout,
    /// Tell the core that the transport failed.
    ReportTransportFailure,
    /// The transaction is over: destroy it.
    Terminate,
}

/// What one step asks for.
pub type Actions = Vec<Action>;

/// Whether the transport delivers by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reliability {
    /// Datagrams.
    Unreliable,
    /// Streams.
    Reliable,
}

/// A response, as the machines see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseClass {
    /// 1xx.
    Provisional,
    /// 2xx.
    Success,
    /// 300 to 699.
    Failure,
}

impl From<StatusCode> for ResponseClass {
    fn from(status: StatusCode) -> Self {
        if status.is_provisional() {
            Self::Provisional
        } else if status.is_success() {
            Self::Success
        } else {
            Self::Failure
        }
    }
}

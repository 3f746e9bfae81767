//! Why an offer is not taken, and what that makes of the agent.

use serde::{Deserialize, Serialize};

use crate::{
    entity::{NotReadyReason, WorkState},
    limits::NODE_FAILED_PAUSE_MS,
    rules::AfterDecline,
    time::{ClusterTime, Millis},
};

/// Why an agent did not take an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeclineCause {
    /// Rang unanswered for as long as the queue says.
    NotAnswered,
    /// The agent pressed "no".
    Refused,
    /// Busy with something else.
    Busy,
    /// The phone could not be reached or gave an error.
    DeviceFailed,
    /// The node that was to make the phone ring could not: no relay had a socket for it. Neither agent
    /// nor phone is to blame.
    NodeFailed,
}

impl DeclineCause {
    /// What an agent does next whose offer was declined for this cause at `now`. Who is to blame is spared
    /// for as long as the queue says, or stays not ready until they say otherwise; who is not is spared for
    /// [`NODE_FAILED_PAUSE_MS`], so that the same offer is not made over and over within an instant.
    #[must_use]
    pub fn leaves_agent(self, now: ClusterTime, rule: AfterDecline) -> WorkState {
        let why = NotReadyReason::from(self);
        let pause = match self {
            Self::NotAnswered | Self::Refused | Self::Busy | Self::DeviceFailed => rule.pause(self),
            Self::NodeFailed => Millis(NODE_FAILED_PAUSE_MS),
        };
        match pause {
            Millis(0) => WorkState::NotReady(why),
            pause => WorkState::Paused { why, until: now + pause },
        }
    }
}

impl From<DeclineCause> for NotReadyReason {
    fn from(cause: DeclineCause) -> Self {
        match cause {
            DeclineCause::NotAnswered => Self::Rona,
            DeclineCause::Refused => Self::Declined,
            DeclineCause::Busy => Self::DeviceBusy,
            DeclineCause::DeviceFailed => Self::DeviceFailed,
            DeclineCause::NodeFailed => Self::NodeFailed,
        }
    }
}

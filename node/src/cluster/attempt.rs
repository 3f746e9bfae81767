//! What is known of a command of this node between its tries: whether a log may have it.

use tandem_cluster::command::{Outcome, Rejection};

use super::proposer::ProposeError;

/// Where a command is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Never left this node.
    New,
    /// On its way for the first time.
    Sent,
    /// A try ended without an outcome.
    Again,
    /// On its way once more.
    Resent,
}

impl Stage {
    /// On its way, if it is to be sent now.
    pub(super) const fn sent(self) -> Option<Self> {
        match self {
            Self::New => Some(Self::Sent),
            Self::Again => Some(Self::Resent),
            Self::Sent | Self::Resent => None,
        }
    }

    /// After a try that ended without an outcome.
    pub(super) const fn lost(self, lost: Lost) -> Self {
        match (self, lost) {
            (Self::New, _) | (Self::Sent, Lost::NotDone) => Self::New,
            (Self::Sent, Lost::Unknown) | (Self::Again | Self::Resent, _) => Self::Again,
        }
    }

    /// What an outcome of the log says of the command. That a life is over, or a number too old, says it
    /// of this try alone: an earlier one, whose answer was lost, may have been carried out.
    pub(super) fn heard(self, outcome: Outcome) -> Result<Outcome, ProposeError> {
        let of_this_try =
            matches!(outcome, Err(Rejection::Fenced { .. } | Rejection::TooOld { .. }));
        if self == Self::Resent && of_this_try {
            return Err(ProposeError::Unknown);
        }
        Ok(outcome)
    }
}

/// A try that ended without outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lost {
    /// It reached no log.
    NotDone,
    /// It may have been carried out.
    Unknown,
}

#[cfg(test)]
mod tests {
    use tandem_cluster::ids::{Epoch, NodeId};

    use super::*;

    // Goal: after a try whose answer was lost, "your life is over" and "too old" prove nothing about the
    // command; every other outcome does, and at the first try all of them do.
    #[test]
    fn what_a_refusal_proves() {
        let (node, epoch, current) = (NodeId(1), Epoch(2), Epoch(3));
        let fenced = || Err(Rejection::Fenced { node, epoch, current });
        let too_old = || Err(Rejection::TooOld { sequence: 4, ack_below: 5 });
        let refused = || Err(Rejection::AgentMustExist);
        let rows: [(&dyn Fn() -> Outcome, bool); 3] =
            [(&fenced, false), (&too_old, false), (&refused, true)];
        for (outcome, proves) in rows {
            let first = Stage::New.sent().expect("to be sent");
            assert_eq!(first.heard(outcome()), Ok(outcome()));
            let again = Stage::Again.sent().expect("to be sent");
            let heard = if proves { Ok(outcome()) } else { Err(ProposeError::Unknown) };
            assert_eq!(again.heard(outcome()), heard);
        }
        assert_eq!((Stage::Sent.sent(), Stage::Resent.sent()), (None, None));
    }

    // Goal: a command that no log took in is new again, so that its caller may be told that nothing was
    // done; once a try may have got through, no later one takes that back.
    #[test]
    fn what_a_lost_try_leaves() {
        for (stage, lost, then) in [
            (Stage::Sent, Lost::NotDone, Stage::New),
            (Stage::Sent, Lost::Unknown, Stage::Again),
            (Stage::Resent, Lost::NotDone, Stage::Again),
            (Stage::Resent, Lost::Unknown, Stage::Again),
        ] {
            assert_eq!(stage.lost(lost), then, "{stage:?} {lost:?}");
        }
    }
}

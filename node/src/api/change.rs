//! Changes: a command to the log, and what comes of it as a gRPC status.

use std::time::Duration;

use tandem_cluster::{
    command::{Command, Outcome, Rejection, Reply},
    limits::IDEMPOTENCY_KEY_LEN_MAX,
};
use tandem_routing::command::{
    Command as QueueCommand, Rejection as QueueRejection, Reply as QueueReply,
};
use tonic::Status;

use super::Api;
use crate::cluster::proposer::{ProposeError, Then};

impl Api {
    /// Proposes a command to the queue.
    pub(super) async fn change(
        &self,
        command: QueueCommand,
        idempotency_key: String,
        within: Duration,
    ) -> Result<QueueReply, Status> {
        match self.propose(Command::Queue(command), idempotency_key, within).await? {
            Reply::Queue(reply) => Ok(reply),
            Reply::Done => Ok(QueueReply::Done),
            other => Err(Status::internal(format!("an unexpected reply of the log: {other:?}"))),
        }
    }

    /// Proposes a command; an empty key means none.
    pub(super) async fn propose(
        &self,
        command: Command,
        idempotency_key: String,
        within: Duration,
    ) -> Result<Reply, Status> {
        outcome(self.send(command, idempotency_key, within).await?)
    }

    /// Proposes a command, and leaves it to the caller what its outcome means.
    pub(super) async fn send(
        &self,
        command: Command,
        idempotency_key: String,
        within: Duration,
    ) -> Result<Result<Outcome, ProposeError>, Status> {
        if idempotency_key.len() > IDEMPOTENCY_KEY_LEN_MAX {
            return Err(Status::invalid_argument(format!(
                "the idempotency key is longer than {IDEMPOTENCY_KEY_LEN_MAX} bytes"
            )));
        }
        let core = self.core()?;
        // A node that does not know the command yet could not even read it.
        let in_force = core.store.read(|replica, _| replica.0.header().machine_version);
        command.check_version(in_force).map_err(|rejection| refusal(&rejection))?;
        let key = (!idempotency_key.is_empty()).then_some(idempotency_key);
        Ok(core.proposer.propose(command, key, within, Then::Forget).await)
    }
}

fn outcome(result: Result<Outcome, ProposeError>) -> Result<Reply, Status> {
    match result {
        Ok(Ok(reply)) => Ok(reply),
        Ok(Err(rejection)) => Err(refusal(&rejection)),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn refusal(rejection: &Rejection) -> Status {
    let text = rejection.to_string();
    match rejection {
        Rejection::Queue(
            QueueRejection::SiteMustExist(_)
            | QueueRejection::QueueMustExist(_)
            | QueueRejection::AgentMustExist(_)
            | QueueRejection::NumberMustExist(_)
            | QueueRejection::ContactMustBeLive(_)
            | QueueRejection::PlanMustExist(_)
            | QueueRejection::CalendarMustExist(_)
            | QueueRejection::TenantMustExist(_)
            | QueueRejection::ListMustExist(_),
        )
        | Rejection::NodeMustBeMember(_)
        | Rejection::AgentMustExist => Status::not_found(text),
        Rejection::Queue(QueueRejection::OutOfRange { .. } | QueueRejection::BadRequirement(_))
        | Rejection::Malformed(_) => Status::invalid_argument(text),
        Rejection::Queue(
            QueueRejection::LimitReached { .. }
            | QueueRejection::QueueMustHaveRoom(..)
            | QueueRejection::QuotaMustHaveRoom(..),
        )
        | Rejection::LimitReached { .. } => Status::resource_exhausted(text),
        // The command was undone on every node: nothing was changed.
        Rejection::Bug { .. } => Status::internal(text),
        Rejection::Fenced { .. } => Status::unavailable(text),
        _ => Status::failed_precondition(text),
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    // Goal: each way a change can fail has the status that the API promises, and a text.
    #[test]
    fn failures_have_their_status() {
        let name = |text: &str| text.parse().expect("a name");
        let rejected = |rejection| Ok(Err(rejection));
        for (result, code) in [
            (Err(ProposeError::NotDone), Code::Unavailable),
            (Err(ProposeError::Unknown), Code::Unknown),
            (Err(ProposeError::Overloaded), Code::ResourceExhausted),
            (Err(ProposeError::TooLarge), Code::InvalidArgument),
            (rejected(Rejection::Queue(QueueRejection::QueueMustExist(name("x")))), Code::NotFound),
            (
                rejected(Rejection::Queue(QueueRejection::AgentMustBeLoggedIn(name("x")))),
                Code::FailedPrecondition,
            ),
            (
                rejected(Rejection::Queue(QueueRejection::BadRequirement("x".into()))),
                Code::InvalidArgument,
            ),
            (
                rejected(Rejection::LimitReached { what: "legs".into(), limit: 1 }),
                Code::ResourceExhausted,
            ),
        ] {
            let status = outcome(result).expect_err("refused");
            assert_eq!(status.code(), code, "{status}");
            assert!(!status.message().is_empty());
        }
        assert_eq!(outcome(Ok(Ok(Reply::Done))).expect("done"), Reply::Done);
    }
}

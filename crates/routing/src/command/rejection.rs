//! Why a command was not carried out.

use serde::{Deserialize, Serialize};

use crate::{
    ids::{ContactId, OfferNumber, Ordinal},
    name::Name,
};

/// Why a command was not carried out. Each names the rule that it broke; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// No such site.
    #[error("there is no site {0}; `tandem site list` shows them")]
    SiteMustExist(Name),
    /// No such queue.
    #[error("there is no queue {0}; `tandem queue list` shows them")]
    QueueMustExist(Name),
    /// No such agent.
    #[error("there is no agent {0}; `tandem agent list` shows them")]
    AgentMustExist(Name),
    /// No such number.
    #[error("the number {0} leads to no queue; `tandem queue numbers` shows those that do")]
    NumberMustExist(Name),
    /// No such contact, or it has ended.
    #[error("there is no live contact {0}: it has ended or never was")]
    ContactMustBeLive(ContactId),
    /// The offer was withdrawn, expired, or made again.
    #[error("{0} is not the current offer of its contact: it expired, was withdrawn, or taken")]
    OfferMustBeCurrent(OfferNumber),
    /// The agent must log in first.
    #[error("agent {0} must be logged in first: `tandem agent login {0}`")]
    AgentMustBeLoggedIn(Name),
    /// The agent must log out first.
    #[error("agent {0} must be logged out first: `tandem agent logout {0}`")]
    AgentMustBeLoggedOut(Name),
    /// The queue must be empty first.
    #[error("queue {0} must be empty first: {1} contacts are in it")]
    QueueMustBeEmpty(Name, u32),
    /// A queue is still reached by numbers or served by agents.
    #[error("queue {0} must not be in use: number {1} leads to it; point that elsewhere first")]
    QueueMustBeUnused(Name, Name),
    /// The queue holds as many as it may.
    #[error("queue {0} is full: {1} contacts wait, its limit; raise it with `tandem queue put`")]
    QueueMustHaveRoom(Name, u32),
    /// The site takes no callers.
    #[error("site {0} is closed for new callers; `tandem site open {0}` opens it")]
    SiteMustBeOpen(Name),
    /// The number belongs to another tenant.
    #[error("the number {0} belongs to another tenant")]
    NumberMustBeOwn(Name),
    /// A value is out of range.
    #[error("{field} must be {allowed}, not {given}")]
    OutOfRange {
        /// Which value.
        field: String,
        /// What is allowed.
        allowed: String,
        /// What was given.
        given: u64,
    },
    /// The requirement is too large or has a wrong level.
    #[error("{0}")]
    BadRequirement(String),
    /// A limit of the cluster.
    #[error("there are {limit} {what} already, the most that one cluster holds (docs/limits.md)")]
    LimitReached {
        /// Of what.
        what: String,
        /// How many.
        limit: u64,
    },
    /// A tier or reserve level names a queue that the agent does not serve.
    #[error("agent {agent} must serve queue {queue} to have a tier or reserve level in it")]
    QueueMustBeServed {
        /// Who.
        agent: Name,
        /// Which queue.
        queue: Name,
    },
    /// The contact talks already, or is somewhere else.
    #[error("contact {0} must be waiting: it talks with an agent already")]
    ContactMustBeWaiting(ContactId),
    /// Two contacts of different queues have no order.
    #[error("contacts {0} and {1} must be in the same queue to be put in an order")]
    ContactsMustBeInOneQueue(ContactId, ContactId),
    /// The agent is in no after-contact work, or it cannot be extended.
    #[error(
        "agent {0} must be in after-contact work that may be extended; a queue allows it with \
         --wrap-up-max"
    )]
    WrapUpMustBeExtensible(Name),
    /// A rule of the queue sends callers away.
    #[error("queue {0} must take callers: a rule of it sends them away now (tandem queue list)")]
    QueueMustTakeCallers(Name),
    /// A rule of another queue leads to it.
    #[error(
        "queue {0} must not be a target: contacts of queue {1} overflow to it; change that first"
    )]
    QueueMustNotBeTarget(Name, Name),
    /// Another plan is under way.
    #[error(
        "rebalance plan {0} must be finished first: `tandem rebalance status` shows how far it is"
    )]
    PlanMustBeFinished(Ordinal),
    /// No such plan.
    #[error("there is no rebalance plan {0}; `tandem rebalance status` shows those that are kept")]
    PlanMustExist(Ordinal),
    /// Nothing to undo.
    #[error("rebalance plan {0} must have taken a step to be undone: it is undone already")]
    PlanMustHaveTakenSteps(Ordinal),
    /// Everything is so already.
    #[error("a rebalance plan must change something: all weights and queues are so already")]
    PlanMustChangeSomething,
    /// No site would be left.
    #[error("a rebalance plan must leave a site that takes contacts: give an open site a weight")]
    PlanMustLeaveASite,
    /// A queue that is taken out takes nothing new.
    #[error("queue {0} is being removed: use another one, or this name when it is gone")]
    QueueMustStay(Name),
    /// Who waits cannot go to where they are.
    #[error("queue {0} cannot be its own destination: name another queue, or none")]
    QueueMustNotLeadToItself(Name),
    /// The queue is closed, and nothing else is said for that time.
    #[error("queue {0} must be open to take callers: its opening hours say that it is closed")]
    QueueMustBeOpen(Name),
    /// No such calendar.
    #[error("there is no calendar {0}; `tandem calendar list` shows them")]
    CalendarMustExist(Name),
    /// A queue goes by it.
    #[error("calendar {0} must not be in use: queue {1} goes by it; change that first")]
    CalendarMustBeUnused(Name, Name),
    /// No such tenant.
    #[error("there is no tenant {0}; `tandem tenant list` shows them")]
    TenantMustExist(Name),
    /// It owns something.
    #[error("tenant {0} must own nothing to be removed: it has {1} {2}")]
    TenantMustOwnNothing(Name, u32, String),
    /// A tenant has as many as it may.
    #[error("tenant {0} must have room: its quota of {1} is {2}; `tandem tenant put` raises it")]
    QuotaMustHaveRoom(Name, String, u32),
    /// A list without callers is probably a spelling mistake.
    #[error("there is nobody in list {0}; `tandem callers add` makes a list, `show` shows it")]
    ListMustExist(Name),
    /// A list of the number says so.
    #[error("the caller must be welcome at number {0}: a list of it refuses them")]
    CallerMustBeWelcome(Name),
}

impl Rejection {
    pub(crate) fn range(field: &str, allowed: impl ToString, given: impl Into<u64>) -> Self {
        Self::OutOfRange {
            field: field.to_owned(),
            allowed: allowed.to_string(),
            given: given.into(),
        }
    }

    pub(crate) fn limit(what: &str, limit: usize) -> Self {
        Self::LimitReached { what: what.to_owned(), limit: limit as u64 }
    }
}

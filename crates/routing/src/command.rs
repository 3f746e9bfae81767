//! Commands to the queue, what they reply, why they are refused, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    entity::{Contact, EndReason, NotReadyReason, SiteChoice, SiteState, Tier, WorkState},
    ids::{AgentId, ContactId, OfferNumber, SiteId, TenantId},
    limits::{
        LEVEL_MAX, NODE_FAILED_PAUSE_MS, PRIORITY_MAX, QUEUE_LENGTH_MAX, QUEUE_WEIGHT_MAX,
        QUEUES_PER_AGENT_MAX, SITE_WEIGHT_MAX, SKILLS_PER_AGENT_MAX, TIER_LEVEL_MAX,
        TIER_POSITION_MAX,
    },
    name::{CallerNumber, Name},
    requirement::NamedRequirement,
    rules::QueueRules,
    time::{ClusterTime, Millis},
};

/// What can be asked of the queue. Appended to, never reordered: the position is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Creates a site or changes its region.
    PutSite {
        /// Which.
        name: Name,
        /// Failure domain.
        region: Name,
    },
    /// Opens, drains or closes a site. Waiting contacts that preferred it move at once.
    SetSiteState {
        /// Which.
        site: Name,
        /// To what.
        state: SiteState,
    },
    /// Sets the share of a site. Waiting contacts in queues that spread by weight move too.
    SetSiteWeight {
        /// Which.
        site: Name,
        /// 0-100; 0 takes no contact.
        weight: u16,
    },
    /// Creates or changes a queue.
    PutQueue {
        /// Owner.
        tenant: TenantId,
        /// Everything that is configured.
        queue: QueueSpec,
    },
    /// Removes a queue that is empty.
    RemoveQueue {
        /// Owner.
        tenant: TenantId,
        /// Which.
        queue: Name,
    },
    /// Points a called number at a queue.
    PutNumber {
        /// Owner.
        tenant: TenantId,
        /// Everything that is configured.
        number: NumberSpec,
    },
    /// Takes a called number out of service.
    RemoveNumber {
        /// Owner.
        tenant: TenantId,
        /// Which.
        number: Name,
    },
    /// Creates or changes an agent; states are kept.
    PutAgent {
        /// Owner.
        tenant: TenantId,
        /// Everything that is configured.
        agent: AgentSpec,
    },
    /// Removes an agent who is logged out.
    RemoveAgent {
        /// Owner.
        tenant: TenantId,
        /// Which.
        agent: Name,
    },
    /// Logs an agent in, in the given state: no moment between in which the phone could ring.
    LogIn {
        /// Owner.
        tenant: TenantId,
        /// Who.
        agent: Name,
        /// Ready, or not ready with a reason.
        as_state: Readiness,
    },
    /// Logs an agent out: at once, or after the contact they have.
    LogOut {
        /// Owner.
        tenant: TenantId,
        /// Who.
        agent: Name,
    },
    /// Makes an agent ready or not ready: at once, or after the contact they have. Ends wrap-up.
    SetReadiness {
        /// Owner.
        tenant: TenantId,
        /// Who.
        agent: Name,
        /// Ready, or not ready with a reason.
        to: Readiness,
    },
    /// Puts a contact in a queue by the number it called.
    Enqueue(Enqueue),
    /// The agent of this offer took it.
    Accept {
        /// Its number.
        offer: OfferNumber,
        /// The contact that it was for.
        contact: ContactId,
    },
    /// The agent of this offer did not take it.
    Decline {
        /// Its number.
        offer: OfferNumber,
        /// The contact that it was for.
        contact: ContactId,
        /// Why; becomes the agent's not-ready reason.
        cause: DeclineCause,
    },
    /// Ends a contact, whatever state it is in.
    End {
        /// Which.
        contact: ContactId,
        /// Why.
        reason: EndReason,
    },
    /// Processes deadlines that are due at the entry's time. Proposed by the leader.
    ExpireDue,
    /// Goes on with the work list. Proposed by the leader.
    ContinueWork,
    /// Creates or changes a queue with all its rules. [`Command::PutQueue`] leaves the rules as they are.
    ConfigureQueue {
        /// Owner.
        tenant: TenantId,
        /// As in [`Command::PutQueue`].
        queue: QueueSpec,
        /// How it chooses.
        rules: QueueRules,
    },
    /// Creates or changes an agent with their tiers. [`Command::PutAgent`] leaves the tiers as they are.
    ConfigureAgent {
        /// Owner.
        tenant: TenantId,
        /// As in [`Command::PutAgent`].
        agent: AgentSpec,
        /// Where they stand in those of their queues that go by tiers; [`Tier::default`] elsewhere.
        tiers: BTreeMap<Name, Tier>,
    },
}

/// Admission of one contact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enqueue {
    /// What was called.
    pub called: Name,
    /// Who calls.
    pub caller: CallerNumber,
    /// Where it came in.
    pub ingress: Name,
    /// How long before this command the contact arrived, measured by the node that admits it.
    pub waited: Millis,
}

/// Ready or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// Wants contacts.
    Ready,
    /// Wants none, with the center's reason code.
    NotReady(Option<Name>),
}

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
    /// What an agent does next whose offer was declined for this cause at `now`. Who is to blame stays
    /// not ready until they say otherwise; who is not is spared for [`NODE_FAILED_PAUSE_MS`], so that the
    /// same offer is not made over and over within an instant.
    #[must_use]
    pub fn leaves_agent(self, now: ClusterTime) -> WorkState {
        let why = NotReadyReason::from(self);
        match self {
            Self::NotAnswered | Self::Refused | Self::Busy | Self::DeviceFailed => {
                WorkState::NotReady(why)
            }
            Self::NodeFailed => {
                WorkState::Paused { why, until: now + Millis(NODE_FAILED_PAUSE_MS) }
            }
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

/// What is configured of a queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSpec {
    /// Unique in the tenant.
    pub name: Name,
    /// What an agent must meet.
    pub requirement: NamedRequirement,
    /// 0-100.
    pub weight: u8,
    /// Which site's agents are preferred.
    pub site_choice: SiteChoice,
    /// For how long only they are asked.
    pub widen_after: Millis,
    /// How long a phone rings.
    pub ring: Millis,
    /// After-contact work.
    pub wrap_up: Millis,
    /// Waiting contacts at most.
    pub length_max: u32,
    /// Longest wait; 0: no limit.
    pub wait_max: Millis,
}

impl QueueSpec {
    /// A queue with the defaults: anybody may serve it, 15 s of ringing, 10 s of wrap-up, 1000
    /// waiting, no limit on the wait.
    #[must_use]
    pub fn named(name: Name) -> Self {
        Self {
            name,
            requirement: NamedRequirement::anybody(),
            weight: 0,
            site_choice: SiteChoice::Any,
            widen_after: Millis(0),
            ring: Millis(15_000),
            wrap_up: Millis(10_000),
            length_max: 1_000,
            wait_max: Millis(0),
        }
    }
}

/// What is configured of a called number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NumberSpec {
    /// Unique in the cluster.
    pub number: Name,
    /// Where its callers wait.
    pub queue: Name,
    /// What an agent must meet besides the queue's requirement.
    pub requirement: NamedRequirement,
    /// 0-10, higher first.
    pub priority: u8,
}

/// What is configured of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Unique in the tenant.
    pub name: Name,
    /// Where they sit.
    pub site: Name,
    /// Level (1-10) of each skill.
    pub skills: BTreeMap<Name, u8>,
    /// Queues they serve.
    pub queues: BTreeSet<Name>,
}

/// What a command replies when it was carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Nothing to add.
    Done,
    /// The configuration was taken; these skills did not exist before.
    Put {
        /// New names: perhaps a spelling mistake.
        new_skills: Vec<Name>,
    },
    /// The contact is in the queue.
    Enqueued {
        /// Its id.
        contact: ContactId,
        /// Contacts in the line of its queue at this moment, itself included.
        queue_len: u32,
    },
    /// The contact talks with this agent.
    Connected {
        /// With whom.
        agent: AgentId,
    },
    /// The site changed.
    SiteChanged {
        /// Waiting contacts that prefer another site now.
        moved: u32,
        /// More follow with the next entries.
        unfinished: Unfinished,
    },
    /// It takes effect when the agent's contact has ended.
    AfterContact,
}

/// Whether work is left on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfinished {
    /// All was done in this entry.
    No,
    /// The rest follows.
    Yes,
}

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
    /// A tier names a queue that the agent does not serve.
    #[error("agent {agent} must serve queue {queue} to have a tier in it")]
    QueueMustBeServed {
        /// Who.
        agent: Name,
        /// Which queue.
        queue: Name,
    },
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

/// What happened, in order: for the composition in `crates/cluster`, the history and the event
/// feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A contact is in the queue.
    ContactEnqueued(ContactId),
    /// A contact prefers another site now.
    ContactMoved {
        /// Which.
        contact: ContactId,
        /// From where.
        from: SiteId,
        /// To where.
        to: SiteId,
    },
    /// A contact is offered to an agent.
    OfferMade {
        /// The new offer.
        offer: OfferNumber,
        /// Of what.
        contact: ContactId,
        /// To whom.
        agent: AgentId,
    },
    /// An offer is over.
    OfferEnded {
        /// Which.
        offer: OfferNumber,
        /// Of what.
        contact: ContactId,
        /// To whom.
        agent: AgentId,
        /// How.
        how: OfferEnd,
    },
    /// A contact talks with an agent.
    ContactConnected {
        /// Which.
        contact: ContactId,
        /// With whom.
        agent: AgentId,
        /// By which offer.
        offer: OfferNumber,
    },
    /// A caller is back in the line because the agent's leg was lost.
    ContactRequeued {
        /// Which.
        contact: ContactId,
        /// Who talked with it.
        agent: AgentId,
    },
    /// The owner of a waiting contact was lost.
    ContactUnconfirmed(ContactId),
    /// Its leg answered: it may be offered again.
    ContactConfirmed(ContactId),
    /// A contact is over; its row is gone, here is what it was.
    ContactEnded {
        /// The last state of the row.
        contact: Box<Contact>,
        /// Why.
        reason: EndReason,
    },
    /// An agent's row changed in a way that others may want to know.
    AgentChanged(AgentId),
}

/// How an offer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OfferEnd {
    /// The agent took it.
    Accepted,
    /// The agent did not take it.
    Declined(DeclineCause),
    /// The log's backstop.
    Expired,
    /// The contact ended, or lost its owner.
    ContactGone,
    /// The node that made the agent's phone ring was lost.
    OwnerLost,
}

/// Checks of plain values, the same for all commands.
pub(crate) mod check {
    use super::{
        AgentSpec, LEVEL_MAX, NumberSpec, PRIORITY_MAX, QUEUE_LENGTH_MAX, QUEUE_WEIGHT_MAX,
        QUEUES_PER_AGENT_MAX, QueueSpec, Rejection, SITE_WEIGHT_MAX, SKILLS_PER_AGENT_MAX,
        TIER_LEVEL_MAX, TIER_POSITION_MAX, Tier,
    };

    pub(crate) fn queue(spec: &QueueSpec) -> Result<(), Rejection> {
        spec.requirement.check().map_err(|e| Rejection::BadRequirement(e.to_string()))?;
        within("weight", spec.weight, 0, QUEUE_WEIGHT_MAX)?;
        within("length_max", spec.length_max, 1, QUEUE_LENGTH_MAX)?;
        within("ring_ms", spec.ring.0, 1_000, 300_000)?;
        within("wrap_up_ms", spec.wrap_up.0, 0, 3_600_000)?;
        within("widen_after_ms", spec.widen_after.0, 0, 3_600_000)?;
        within("wait_max_ms", spec.wait_max.0, 0, 86_400_000)
    }

    pub(crate) fn number(spec: &NumberSpec) -> Result<(), Rejection> {
        spec.requirement.check().map_err(|e| Rejection::BadRequirement(e.to_string()))?;
        within("priority", spec.priority, 0, PRIORITY_MAX)
    }

    pub(crate) fn agent(spec: &AgentSpec) -> Result<(), Rejection> {
        for level in spec.skills.values() {
            within("level", *level, 1, LEVEL_MAX)?;
        }
        within("skills", spec.skills.len() as u64, 0, SKILLS_PER_AGENT_MAX as u64)?;
        within("queues", spec.queues.len() as u64, 0, QUEUES_PER_AGENT_MAX as u64)
    }

    pub(crate) fn tier(tier: Tier) -> Result<(), Rejection> {
        within("level of a tier", tier.level, 1, TIER_LEVEL_MAX)?;
        within("position in a tier", tier.position, 1, TIER_POSITION_MAX)
    }

    pub(crate) fn site_weight(weight: u16) -> Result<(), Rejection> {
        within("weight", weight, 0, SITE_WEIGHT_MAX)
    }

    /// Room for one more of `what`.
    pub(crate) fn room(what: &str, len: usize, limit: usize) -> Result<(), Rejection> {
        if len < limit { Ok(()) } else { Err(Rejection::limit(what, limit)) }
    }

    fn within<T: Into<u64>>(field: &str, given: T, min: T, max: T) -> Result<(), Rejection> {
        let (given, min, max) = (given.into(), min.into(), max.into());
        if (min..=max).contains(&given) {
            Ok(())
        } else {
            Err(Rejection::range(field, format_args!("{min} to {max}"), given))
        }
    }
}

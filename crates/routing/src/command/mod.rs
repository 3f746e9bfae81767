//! Commands to the queue, what they reply, why they are refused, and what follows from them.

mod decline;
mod event;
mod rejection;
mod spec;

pub(crate) mod check;

use serde::{Deserialize, Serialize};

pub use self::{
    decline::DeclineCause,
    event::{Event, OfferEnd},
    rejection::Rejection,
    spec::{
        AgentRules, AgentSpec, CalendarSpec, ListSpec, MembershipSpec, NumberRules, NumberSpec,
        PlanSpec, QueueSpec, ServiceAbroad,
    },
};
use crate::{
    entity::{EndReason, Quotas, SiteState},
    ids::{AgentId, ContactId, OfferNumber, Ordinal, TenantId},
    name::{CallerNumber, Name},
    rules::{NamedQueueRules, Target},
    time::{Millis, UtcMillis},
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
        /// Whatever else it goes by.
        rules: Box<NamedQueueRules>,
    },
    /// Creates or changes an agent with all that is configured. [`Command::PutAgent`] leaves the rules as
    /// they are.
    ConfigureAgent {
        /// Owner.
        tenant: TenantId,
        /// As in [`Command::PutAgent`].
        agent: AgentSpec,
        /// Whatever else is configured of them.
        rules: AgentRules,
    },
    /// Points a called number at a queue, with all that is configured. [`Command::PutNumber`] leaves the
    /// rules as they are.
    ConfigureNumber {
        /// Owner.
        tenant: TenantId,
        /// As in [`Command::PutNumber`].
        number: NumberSpec,
        /// Whatever else is configured of it.
        rules: NumberRules,
    },
    /// Changes the priority of a waiting contact; a place that a supervisor gave it is given up.
    SetPriority {
        /// Which.
        contact: ContactId,
        /// 0-10, higher first.
        priority: u8,
    },
    /// Puts a waiting contact before another one, or to the front of its queue.
    Place {
        /// Which.
        contact: ContactId,
        /// Before this one of the same queue; `None`: before everybody in it.
        before: Option<ContactId>,
    },
    /// Gives an agent more time for after-contact work, up to what the queue allows.
    ExtendWrapUp {
        /// Owner.
        tenant: TenantId,
        /// Who.
        agent: Name,
        /// How much more.
        by: Millis,
    },
    /// Sets an agent free from whatever they are in: an offer is withdrawn, a conversation ends, wrap-up is
    /// over. The last resort when a phone or a person does not answer any more.
    Release {
        /// Owner.
        tenant: TenantId,
        /// Who.
        agent: Name,
        /// What they are then.
        to: Readiness,
    },
    /// Begins a rebalance plan: its first step at once, the others by and by.
    ApplyPlan {
        /// Owner of the agents that it moves.
        tenant: TenantId,
        /// What it changes.
        plan: Box<PlanSpec>,
    },
    /// Takes a rebalance plan back, step by step.
    UndoPlan {
        /// Owner.
        tenant: TenantId,
        /// Which.
        plan: Ordinal,
    },
    /// Removes a queue with all that leads to it; who waits goes elsewhere.
    RetireQueue {
        /// Owner.
        tenant: TenantId,
        /// Which.
        queue: Name,
        /// Where those who wait go, and numbers lead from then on; away: they are ended with a reason, and
        /// the numbers are out of service.
        to: Target<Name>,
    },
    /// Says what time it is for people. Proposed by the leader.
    AnchorWall {
        /// What its clock says.
        utc: UtcMillis,
    },
    /// Creates or changes opening hours.
    PutCalendar {
        /// Owner.
        tenant: TenantId,
        /// The hours.
        calendar: CalendarSpec,
    },
    /// Removes opening hours that no queue goes by.
    RemoveCalendar {
        /// Owner.
        tenant: TenantId,
        /// Which.
        calendar: Name,
    },
    /// Creates a tenant or changes its quotas.
    PutTenant {
        /// Which.
        name: Name,
        /// What it may have at most.
        quotas: Quotas,
    },
    /// Removes a tenant that owns nothing.
    RemoveTenant {
        /// Which.
        name: Name,
    },
    /// Puts callers into a list and takes others out.
    ChangeList {
        /// Owner.
        tenant: TenantId,
        /// What changes.
        change: ListSpec,
    },
    /// Limits how many contacts a site's agents have at once.
    SetSiteCap {
        /// Which.
        site: Name,
        /// How many; `None`: one each.
        contacts_max: Option<u32>,
    },
}

impl Command {
    /// The machine version that knows this command: none may be proposed before every member does.
    #[must_use]
    pub fn since(&self) -> u16 {
        match self {
            Self::PutSite { .. }
            | Self::SetSiteState { .. }
            | Self::SetSiteWeight { .. }
            | Self::PutQueue { .. }
            | Self::RemoveQueue { .. }
            | Self::PutNumber { .. }
            | Self::RemoveNumber { .. }
            | Self::PutAgent { .. }
            | Self::RemoveAgent { .. }
            | Self::LogIn { .. }
            | Self::LogOut { .. }
            | Self::SetReadiness { .. }
            | Self::Enqueue(_)
            | Self::Accept { .. }
            | Self::Decline { .. }
            | Self::End { .. }
            | Self::ExpireDue
            | Self::ContinueWork => 1,
            Self::ConfigureQueue { .. }
            | Self::ConfigureAgent { .. }
            | Self::ConfigureNumber { .. }
            | Self::SetPriority { .. }
            | Self::Place { .. }
            | Self::ExtendWrapUp { .. }
            | Self::Release { .. }
            | Self::ApplyPlan { .. }
            | Self::UndoPlan { .. }
            | Self::RetireQueue { .. }
            | Self::AnchorWall { .. }
            | Self::PutCalendar { .. }
            | Self::RemoveCalendar { .. }
            | Self::PutTenant { .. }
            | Self::RemoveTenant { .. }
            | Self::ChangeList { .. }
            | Self::SetSiteCap { .. } => 2,
        }
    }
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
    /// A rebalance plan goes forward or back.
    PlanBegun {
        /// Which.
        plan: Ordinal,
    },
}

/// Whether work is left on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Unfinished {
    /// All was done in this entry.
    No,
    /// The rest follows.
    Yes,
}

//! The entities of the queue, one replicated row each, with their states.
//!
//! Only data and what follows from one row alone; what relates rows to each other is in `state`,
//! `index` and `apply`.

mod agent;
mod calendar;
mod contact;
mod decision;
mod interval;
mod plan;
mod queue;
mod tenant;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{
        AgentId, CalendarId, ContactId, OfferNumber, Ordinal, QueueId, SiteId, SkillId, TenantId,
    },
    name::{CallerNumber, Name},
    requirement::SharedRequirement,
    table::{Row, TableTag},
    time::{ClusterTime, Millis},
};

pub use agent::{
    AfterContact, Agent, DeviceState, LoginState, LogoutAfter, NotReadyReason, Tally, Tier,
    WorkState,
};
pub use calendar::{Calendar, OpenHours, WallAnchor};
pub use contact::{Contact, ContactState, ContactV1, EndReason, Entry, Preferred, WaitKey};
pub use decision::{Choice, Decision, FailedOffer, Occasion, Rival};
pub use interval::{AgentInterval, QueueInterval, SiteInterval, interval_of};
pub use plan::{Direction, MembershipChange, Plan, WeightChange};
pub use queue::{Moves, Progress, Queue, Retirement, SiteChoice};
pub use tenant::{ListUse, ListedCaller, Matches, Quotas, Tenant, Usage};

/// Counters and the clock: one row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counters {
    /// Time of the last applied entry.
    pub now: ClusterTime,
    /// Ordinal of the last applied command.
    pub ordinal: Ordinal,
    /// Number of the last offer.
    pub offer: OfferNumber,
    /// Last ids given out.
    pub site: u32,
    /// See `site`.
    pub skill: u32,
    /// See `site`.
    pub queue: u32,
    /// See `site`.
    pub agent: u32,
    /// See `site`.
    pub work: u64,
    /// What time it is for people; `None`: nobody has said so yet.
    pub wall: Option<WallAnchor>,
    /// See `site`.
    pub calendar: u32,
    /// See `site`.
    pub tenant: u32,
}

/// The counters' row as version 1 had it.
#[derive(Deserialize)]
struct CountersV1 {
    now: ClusterTime,
    ordinal: Ordinal,
    offer: OfferNumber,
    site: u32,
    skill: u32,
    queue: u32,
    agent: u32,
    work: u64,
}

impl From<CountersV1> for Counters {
    fn from(old: CountersV1) -> Self {
        let CountersV1 { now, ordinal, offer, site, skill, queue, agent, work } = old;
        let new = Self::default();
        Self { now, ordinal, offer, site, skill, queue, agent, work, ..new }
    }
}

/// What a site does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SiteState {
    /// Takes callers at its trunks, and its agents get contacts.
    Open,
    /// Its agents finish what they have and get nothing new; callers who still arrive there wait
    /// in the common queue and are served elsewhere.
    Draining,
    /// As draining, and its trunks refuse new callers.
    Closed,
}

/// A city.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Given at creation.
    pub id: SiteId,
    /// Unique.
    pub name: Name,
    /// Failure domain for replication.
    pub region: Name,
    /// Open, draining or closed.
    pub state: SiteState,
    /// Share of contacts for queues that spread by weight, 0-100; 0 takes none.
    pub weight: u16,
    /// Contacts that its agents may have at once, being rung or talking; `None`: one each.
    pub contacts_max: Option<u32>,
}

/// A site's row as version 1 had it.
#[derive(Deserialize)]
struct SiteV1 {
    id: SiteId,
    name: Name,
    region: Name,
    state: SiteState,
    weight: u16,
}

impl From<SiteV1> for Site {
    fn from(old: SiteV1) -> Self {
        let SiteV1 { id, name, region, state, weight } = old;
        Self { id, name, region, state, weight, contacts_max: None }
    }
}

impl Site {
    /// True when contacts may be offered to agents here, as long as its cap is not reached.
    #[must_use]
    pub fn takes_contacts(&self) -> bool {
        self.state == SiteState::Open && self.weight > 0
    }
}

/// A named ability.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skill {
    /// Given at creation.
    pub id: SkillId,
    /// Owner.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: Name,
}

/// A called number: which queue it leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Number {
    /// Owner.
    pub tenant: TenantId,
    /// As it stands in the request URI, normalised. Unique in the cluster.
    pub number: Name,
    /// Where its callers wait.
    pub queue: QueueId,
    /// What an agent must meet besides the queue's requirement.
    pub requirement: SharedRequirement,
    /// Importance of its callers, 0-10, higher first.
    pub priority: u8,
    /// Whom its callers ask for, and for how long they wait for that agent alone.
    pub prefers: Option<(AgentId, Millis)>,
    /// What becomes of callers who are in a list, in this order.
    pub lists: Arc<[(Name, ListUse)]>,
}

/// A number's row as version 1 had it.
#[derive(Deserialize)]
struct NumberV1 {
    tenant: TenantId,
    number: Name,
    queue: QueueId,
    requirement: SharedRequirement,
    priority: u8,
}

impl From<NumberV1> for Number {
    fn from(old: NumberV1) -> Self {
        let NumberV1 { tenant, number, queue, requirement, priority } = old;
        let lists = Arc::default();
        Self { tenant, number, queue, requirement, priority, prefers: None, lists }
    }
}

/// The exclusive proposal of one contact to one agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// Its number; only the accept of a current number connects (invariant R4).
    pub number: OfferNumber,
    /// Whose tenant.
    pub tenant: TenantId,
    /// What is offered.
    pub contact: ContactId,
    /// To whom.
    pub agent: AgentId,
    /// When.
    pub made: ClusterTime,
    /// The log's backstop; the owner of the agent's leg times the ringing.
    pub expires: ClusterTime,
}

/// A caller whose leg was lost by us: who calls again in time gets the old arrival.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Owner.
    pub tenant: TenantId,
    /// Where they waited.
    pub queue: QueueId,
    /// Who.
    pub caller: CallerNumber,
    /// Since when they had waited.
    pub arrival: ClusterTime,
    /// Until when the place is kept.
    pub expires: ClusterTime,
}

/// Whom a caller talked with last in a queue that remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastAgent {
    /// Owner.
    pub tenant: TenantId,
    /// Where they waited.
    pub queue: QueueId,
    /// Who called.
    pub caller: CallerNumber,
    /// With whom they talked.
    pub agent: AgentId,
    /// Until when it is remembered.
    pub expires: ClusterTime,
}

/// Bulk work that one entry could not finish: the replicated work list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Order of the list.
    pub number: u64,
    /// What remains.
    pub item: WorkItem,
}

/// See [`Work`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkItem {
    /// Bring waiting contacts and ready agents together.
    Rematch,
    /// Give waiting contacts with this id or a later one a serving site that takes contacts.
    MoveWaiting {
        /// The next contact to look at.
        next: ContactId,
        /// Also those whose serving site still takes contacts, in queues that spread by weight.
        respread: Respread,
    },
    /// Let contacts of this queue, from this id on, follow its changed row.
    Follow {
        /// Whose row changed.
        queue: QueueId,
        /// The next contact to look at.
        next: ContactId,
    },
    /// Let contacts of this queue, from this id on, go where its rule says when nobody is at work for them.
    Unstaffed {
        /// Which queue.
        queue: QueueId,
        /// The next contact to look at.
        next: ContactId,
    },
    /// Let contacts that wait for this agent alone wait for anybody: the agent has left.
    SetFree {
        /// Who has left.
        agent: AgentId,
    },
    /// Let contacts of this queue, from this id on, leave: it has closed.
    Close {
        /// Which queue.
        queue: QueueId,
        /// The next contact to look at.
        next: ContactId,
    },
    /// Take a queue out, phase by phase.
    Retire {
        /// Which queue.
        queue: QueueId,
        /// What comes next.
        phase: Retiring,
    },
}

/// How far a queue is on its way out, with the first row of the phase that was not looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Retiring {
    /// Numbers lead elsewhere.
    Numbers(Option<Name>),
    /// Who waits goes.
    Contacts(ContactId),
    /// Rules of other queues do not lead here any more.
    Rules(QueueId),
    /// Agents do not serve it any more.
    Agents(AgentId),
}

/// Whether a move touches contacts that could stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Respread {
    /// Only those that must move.
    OnlyStranded,
    /// All in queues that spread by weight: the weights changed.
    ByWeight,
}

macro_rules! row {
    ($row:ident, $table:ident, $key:ty, $make:expr, $tenant:expr, |$id:ident| $bytes:expr) => {
        row!($row, $table, 1, |_, _| None, $key, $make, $tenant, |$id| $bytes);
    };
    (
        $row:ident, $table:ident, $version:literal, $older:expr,
        $key:ty, $make:expr, $tenant:expr, |$id:ident| $bytes:expr
    ) => {
        impl Row for $row {
            type Key = $key;
            const TABLE: TableTag = TableTag::$table;
            const VERSION: u8 = $version;

            fn key(&self) -> $key {
                let make: fn(&Self) -> $key = $make;
                make(self)
            }
            fn tenant(&self) -> TenantId {
                let tenant: fn(&Self) -> TenantId = $tenant;
                tenant(self)
            }
            fn key_bytes($id: &$key) -> Vec<u8> {
                $bytes
            }
            fn decode_older(version: u8, body: &[u8]) -> Option<Self> {
                let older: fn(u8, &[u8]) -> Option<Self> = $older;
                older(version, body)
            }
        }
    };
}

/// Reads a row whose version 1 was an `Old`.
fn from_version_1<Old, New>(version: u8, body: &[u8]) -> Option<New>
where
    Old: for<'a> Deserialize<'a> + Into<New>,
{
    (version == 1).then_some(())?;
    let (old, []) = postcard::take_from_bytes::<Old>(body).ok()? else { return None };
    Some(old.into())
}

row!(
    Counters,
    Counters,
    2,
    from_version_1::<CountersV1, _>,
    (),
    |_| (),
    |_| TenantId::CLUSTER,
    |_id| Vec::new()
);
row!(Site, Site, 2, from_version_1::<SiteV1, _>, SiteId, |r| r.id, |_| TenantId::CLUSTER, |id| id
    .0
    .to_be_bytes()
    .to_vec());
row!(Skill, Skill, SkillId, |r| r.id, |r| r.tenant, |id| id.0.to_be_bytes().to_vec());
row!(Queue, Queue, 2, from_version_1::<queue::QueueV1, _>, QueueId, |r| r.id, |r| r.tenant, |id| {
    id.0.to_be_bytes().to_vec()
});
row!(
    Number,
    Number,
    2,
    from_version_1::<NumberV1, _>,
    Name,
    |r| r.number.clone(),
    |r| r.tenant,
    |id| id.as_str().into()
);
row!(Agent, Agent, 2, from_version_1::<agent::AgentV1, _>, AgentId, |r| r.id, |r| r.tenant, |id| {
    id.0.to_be_bytes().to_vec()
});
row!(
    Contact,
    Contact,
    2,
    from_version_1::<ContactV1, _>,
    ContactId,
    |r| r.id,
    |r| r.tenant,
    |id| contact_bytes(*id)
);
row!(
    LastAgent,
    LastAgent,
    (QueueId, CallerNumber),
    |r| (r.queue, r.caller.clone()),
    |r| r.tenant,
    |id| [&id.0.0.to_be_bytes()[..], id.1.expose().as_bytes()].concat()
);
row!(Offer, Offer, OfferNumber, |r| r.number, |r| r.tenant, |id| id.0.to_be_bytes().into());
row!(
    Reservation,
    Reservation,
    (QueueId, CallerNumber),
    |r| (r.queue, r.caller.clone()),
    |r| r.tenant,
    |id| [&id.0.0.to_be_bytes()[..], id.1.expose().as_bytes()].concat()
);
row!(
    QueueInterval,
    QueueInterval,
    (ClusterTime, QueueId),
    |r| (r.start, r.queue),
    |r| r.tenant,
    |id| [&id.0.0.to_be_bytes()[..], &id.1.0.to_be_bytes()].concat()
);
row!(
    SiteInterval,
    SiteInterval,
    (ClusterTime, SiteId),
    |r| (r.start, r.site),
    |_| TenantId::CLUSTER,
    |id| [&id.0.0.to_be_bytes()[..], &id.1.0.to_be_bytes()].concat()
);
row!(
    AgentInterval,
    AgentInterval,
    (ClusterTime, AgentId),
    |r| (r.start, r.agent),
    |r| r.tenant,
    |id| [&id.0.0.to_be_bytes()[..], &id.1.0.to_be_bytes()].concat()
);
row!(Calendar, Calendar, CalendarId, |r| r.id, |r| r.tenant, |id| id.0.to_be_bytes().to_vec());
row!(Tenant, Tenant, TenantId, |r| r.id, |_| TenantId::CLUSTER, |id| id.0.to_be_bytes().to_vec());
row!(
    ListedCaller,
    ListedCaller,
    (TenantId, Name, CallerNumber),
    |r| (r.tenant, r.list.clone(), r.caller.clone()),
    |r| r.tenant,
    |id| [id.1.as_str().as_bytes(), b"\0", id.2.expose().as_bytes()].concat()
);
row!(Plan, Plan, Ordinal, |r| r.id, |r| r.tenant, |id| id.0.to_be_bytes().to_vec());
row!(Work, Work, u64, |r| r.number, |_| TenantId::CLUSTER, |id| id.to_be_bytes().to_vec());

/// The id part of a contact's row key.
#[must_use]
pub fn contact_bytes(id: ContactId) -> Vec<u8> {
    [&id.group.0.to_be_bytes()[..], &id.ordinal.0.to_be_bytes()].concat()
}

//! The entities of the queue, one replicated row each, with their states.
//!
//! Only data and what follows from one row alone; what relates rows to each other is in `state`,
//! `index` and `apply`.

mod agent;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AgentId, ContactId, GroupId, OfferNumber, Ordinal, QueueId, SiteId, SkillId, TenantId},
    limits::{PRIORITY_STEP_MS, QUEUE_WEIGHT_STEP_MS},
    name::{CallerNumber, Name},
    requirement::{BoundRequirement, SharedRequirement},
    rules::QueueRules,
    table::{Row, TableTag},
    time::{ClusterTime, Millis},
};

pub use agent::{
    Agent, DeviceState, LoginState, LogoutAfter, NotReadyReason, Tally, Tier, WorkState,
};

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
}

impl Site {
    /// True when contacts may be offered to agents here.
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

/// How a queue chooses the site of the agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum SiteChoice {
    /// The agent who has been idle longest, wherever they sit.
    #[default]
    Any,
    /// An agent of the site where the caller came in, if one is ready; else as `Any`.
    Nearest,
    /// An agent of a site chosen in proportion to the sites' weights, if one is ready; else as
    /// `Any`.
    Weighted,
}

/// A named waiting line with rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Given at creation.
    pub id: QueueId,
    /// Owner.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: Name,
    /// What an agent must meet.
    pub requirement: SharedRequirement,
    /// Importance against other queues that share agents, 0-100: one step counts as ten seconds of
    /// earlier arrival.
    pub weight: u8,
    /// Which site's agents are preferred.
    pub site_choice: SiteChoice,
    /// For how long after arrival *only* agents of the preferred site are asked. 0: not at all.
    pub widen_after: Millis,
    /// How long an agent's phone rings.
    pub ring: Millis,
    /// After-contact work.
    pub wrap_up: Millis,
    /// Waiting contacts (with those that ring); more are refused.
    pub length_max: u32,
    /// Longest wait; the contact then ends. 0: no limit.
    pub wait_max: Millis,
    /// Contacts given to each site since the weights last changed (for `SiteChoice::Weighted`).
    pub assigned: BTreeMap<SiteId, u64>,
    /// Whatever else is configured.
    pub rules: QueueRules,
}

impl Queue {
    /// What an agent must meet for a contact that asks for this besides.
    #[must_use]
    pub fn requirement_with(&self, own: &SharedRequirement) -> SharedRequirement {
        // Most queues or most numbers ask for nothing more, and there is nothing to put together.
        if own.is_anybody() {
            return self.requirement.clone();
        }
        if self.requirement.is_anybody() {
            return own.clone();
        }
        let both = vec![(*self.requirement).clone(), (**own).clone()];
        BoundRequirement::All(both).canonical().into()
    }
}

/// A queue's row as version 1 had it: every queue asked the longest idle.
#[derive(Deserialize)]
struct QueueV1 {
    id: QueueId,
    tenant: TenantId,
    name: Name,
    requirement: SharedRequirement,
    weight: u8,
    site_choice: SiteChoice,
    widen_after: Millis,
    ring: Millis,
    wrap_up: Millis,
    length_max: u32,
    wait_max: Millis,
    assigned: BTreeMap<SiteId, u64>,
}

impl From<QueueV1> for Queue {
    fn from(old: QueueV1) -> Self {
        Self {
            id: old.id,
            tenant: old.tenant,
            name: old.name,
            requirement: old.requirement,
            weight: old.weight,
            site_choice: old.site_choice,
            widen_after: old.widen_after,
            ring: old.ring,
            wrap_up: old.wrap_up,
            length_max: old.length_max,
            wait_max: old.wait_max,
            assigned: old.assigned,
            rules: QueueRules::default(),
        }
    }
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
}

/// Why a contact ended. Recorded for each (invariant R3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EndReason {
    /// The caller hung up before an agent answered.
    Abandoned,
    /// The caller hung up after talking.
    CallerHungUp,
    /// The agent hung up.
    AgentHungUp,
    /// Waited longer than the queue allows.
    WaitedTooLong,
    /// An operator ended it.
    Operator,
    /// The caller's leg could not be kept after the loss of a node or relay.
    LegLost,
    /// Signalling or media failed.
    Failed,
    /// The caller's phone says that it knows no such call: they hung up while nobody could hear it, or
    /// their side lost the call. Which of both, nobody can know.
    CallerGone,
    /// The log's word came too late: the caller had been refused, or had left, in the meantime. No place
    /// is kept: they were promised none, and whoever tried again is in the line already.
    TurnedAway,
}

impl EndReason {
    /// True when the caller may have lost a place by no doing of their own.
    #[must_use]
    pub fn may_have_cost_a_place(self) -> bool {
        matches!(self, Self::LegLost | Self::CallerGone)
    }
}

/// Where a contact stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ContactState {
    /// Waits and may be offered.
    Queued,
    /// Its owner was lost: keeps its place, is not offered until its leg answered or media flows.
    Unconfirmed,
    /// An agent's phone rings for it.
    Offered {
        /// The current offer.
        offer: OfferNumber,
        /// To whom.
        agent: AgentId,
    },
    /// Talks with an agent.
    Connected {
        /// With whom.
        agent: AgentId,
        /// The offer that was accepted.
        offer: OfferNumber,
        /// Since when.
        since: ClusterTime,
    },
}

/// One thing waiting for an agent, or talking with one. Ended contacts are not live rows; their
/// record goes to the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// Its name for ever.
    pub id: ContactId,
    /// Owner.
    pub tenant: TenantId,
    /// Where it waits.
    pub queue: QueueId,
    /// What an agent must meet: the queue's requirement and `own`, canonical. Follows a change of
    /// the queue.
    pub requirement: SharedRequirement,
    /// What this contact asks besides its queue.
    pub own_requirement: SharedRequirement,
    /// 0-10, higher first.
    pub priority: u8,
    /// Its importance as time: arrival in ms, earlier by [`PRIORITY_STEP_MS`] per step of priority
    /// and [`QUEUE_WEIGHT_STEP_MS`] per step of queue weight. Changes only by an entry, so that the
    /// order of two contacts never changes by waiting.
    pub effective_arrival_ms: i64,
    /// When it came; kept through transfer, overflow, site move, takeover (invariant R11).
    pub arrival: ClusterTime,
    /// When it was admitted here; differs from `arrival` for a reserved place.
    pub admitted: ClusterTime,
    /// The site whose trunk it came in by.
    pub ingress: SiteId,
    /// The site whose agents are preferred.
    pub serving: SiteId,
    /// Until then only agents of `serving` are asked.
    pub widen_at: Option<ClusterTime>,
    /// When it has waited for too long.
    pub wait_until: Option<ClusterTime>,
    /// Until then agents are held for it: set with [`ContactState::Unconfirmed`], gone with it, and
    /// cleared when that time has come.
    pub hold_until: Option<ClusterTime>,
    /// The agent whose phone dropped the conversation: offered this contact again only if nobody else
    /// is free. Forgotten with the next offer.
    pub left_by: Option<AgentId>,
    /// Who calls; personal data.
    pub caller: CallerNumber,
    /// What was called.
    pub called: Name,
    /// Where it stands.
    pub state: ContactState,
    /// The latest offer that expired or was withdrawn: a late accept of it still connects if the
    /// contact was not offered again.
    pub last_offer: Option<(OfferNumber, AgentId)>,
    /// Offers made so far.
    pub offers: u32,
}

impl Contact {
    /// True while the contact has a place in the line (also while a phone rings for it).
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        !matches!(self.state, ContactState::Connected { .. })
    }

    /// True while agents who could serve it are not given to contacts behind it: its owner was lost a
    /// moment ago, and its leg is being confirmed.
    #[must_use]
    pub fn holds_agents(&self) -> bool {
        self.state == ContactState::Unconfirmed && self.hold_until.is_some()
    }

    /// Its place among the waiting.
    #[must_use]
    pub fn wait_key(&self) -> WaitKey {
        WaitKey {
            effective_arrival_ms: self.effective_arrival_ms,
            arrival: self.arrival,
            ordinal: self.id.ordinal,
            group: self.id.group,
        }
    }

    /// Takes over what follows from the queue's row, at admission and when the row changes.
    pub fn follow(&mut self, queue: &Queue) {
        let shift = u64::from(self.priority) * PRIORITY_STEP_MS
            + u64::from(queue.weight) * QUEUE_WEIGHT_STEP_MS;
        let arrival = i64::try_from(self.arrival.0).unwrap_or(i64::MAX);
        self.effective_arrival_ms = arrival.saturating_sub_unsigned(shift);
        self.wait_until = (queue.wait_max.0 > 0).then(|| self.arrival + queue.wait_max);
        self.requirement = queue.requirement_with(&self.own_requirement);
    }
}

/// Order among waiting contacts: the smallest goes first (invariant R5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct WaitKey {
    /// See [`Contact::effective_arrival_ms`].
    pub effective_arrival_ms: i64,
    /// First tie: who came first.
    pub arrival: ClusterTime,
    /// Second tie: who was admitted first.
    pub ordinal: Ordinal,
    /// Makes the key unique across groups.
    pub group: GroupId,
}

impl WaitKey {
    /// Whose key it is.
    #[must_use]
    pub fn contact(&self) -> ContactId {
        ContactId { group: self.group, ordinal: self.ordinal }
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

row!(Counters, Counters, (), |_| (), |_| TenantId::CLUSTER, |_id| Vec::new());
row!(Site, Site, SiteId, |r| r.id, |_| TenantId::CLUSTER, |id| id.0.to_be_bytes().to_vec());
row!(Skill, Skill, SkillId, |r| r.id, |r| r.tenant, |id| id.0.to_be_bytes().to_vec());
row!(Queue, Queue, 2, from_version_1::<QueueV1, _>, QueueId, |r| r.id, |r| r.tenant, |id| id
    .0
    .to_be_bytes()
    .to_vec());
row!(Number, Number, Name, |r| r.number.clone(), |r| r.tenant, |id| id.as_str().into());
row!(Agent, Agent, 2, from_version_1::<agent::AgentV1, _>, AgentId, |r| r.id, |r| r.tenant, |id| {
    id.0.to_be_bytes().to_vec()
});
row!(Contact, Contact, ContactId, |r| r.id, |r| r.tenant, |id| contact_bytes(*id));
row!(Offer, Offer, OfferNumber, |r| r.number, |r| r.tenant, |id| id.0.to_be_bytes().into());
row!(
    Reservation,
    Reservation,
    (QueueId, CallerNumber),
    |r| (r.queue, r.caller.clone()),
    |r| r.tenant,
    |id| [&id.0.0.to_be_bytes()[..], id.1.expose().as_bytes()].concat()
);
row!(Work, Work, u64, |r| r.number, |_| TenantId::CLUSTER, |id| id.to_be_bytes().to_vec());

/// The id part of a contact's row key.
#[must_use]
pub fn contact_bytes(id: ContactId) -> Vec<u8> {
    [&id.group.0.to_be_bytes()[..], &id.ordinal.0.to_be_bytes()].concat()
}

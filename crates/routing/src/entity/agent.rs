//! Agents: login, work and device state, and what they have done since they logged in.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::{AgentInterval, Contact, interval_of};
use crate::{
    ids::{AgentId, ContactId, OfferNumber, Ordinal, QueueId, SiteId, SkillId, TenantId},
    name::Name,
    requirement::Abilities,
    time::{ClusterTime, Millis},
};

/// Whether an agent is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum LoginState {
    /// Gets nothing.
    LoggedOut,
    /// At work since then.
    LoggedIn(ClusterTime),
}

/// Why an agent is not ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NotReadyReason {
    /// Has just logged in, or gave no reason.
    Unspecified,
    /// A reason code of the center: `break`, `training`.
    Code(Name),
    /// Did not answer an offer in time.
    Rona,
    /// Refused an offer.
    Declined,
    /// The phone was busy with something else.
    DeviceBusy,
    /// The phone could not be reached or gave an error.
    DeviceFailed,
    /// The node could not make the phone ring.
    NodeFailed,
}

impl NotReadyReason {
    /// True when they are not ready because they or their phone did not take an offer.
    #[must_use]
    pub fn is_of_an_offer(&self) -> bool {
        matches!(self, Self::Rona | Self::Declined | Self::DeviceBusy | Self::DeviceFailed)
    }
}

/// What an agent is doing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum WorkState {
    /// Wants no contact.
    NotReady(NotReadyReason),
    /// Waits for a contact.
    Ready,
    /// Their phone rings.
    Offered(OfferNumber),
    /// Talks.
    Busy(ContactId),
    /// After-contact work, until then.
    WrapUp(ClusterTime),
    /// Spared for a while; then ready, without anybody's doing.
    Paused {
        /// What came in between.
        why: NotReadyReason,
        /// Until when.
        until: ClusterTime,
    },
}

impl WorkState {
    /// When it ends by itself, if it does.
    #[must_use]
    pub fn ends_at(&self) -> Option<ClusterTime> {
        match self {
            Self::WrapUp(until) | Self::Paused { until, .. } => Some(*until),
            Self::NotReady(_) | Self::Ready | Self::Offered(_) | Self::Busy(_) => None,
        }
    }
}

/// Whether the agent's phone can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeviceState {
    /// Not registered.
    Unregistered,
    /// Registered and reachable.
    Registered,
    /// The node that could reach it was lost: no offers until it shows a sign of life.
    Recovering,
}

/// A person who takes contacts. Login, work and device state are three separate fields.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Given at creation.
    pub id: AgentId,
    /// Owner.
    pub tenant: TenantId,
    /// Unique in the tenant; also the user name of their phone.
    pub name: Name,
    /// Where they sit.
    pub site: SiteId,
    /// Level (1-10) of each skill they have.
    pub skills: Arc<BTreeMap<SkillId, u8>>,
    /// Queues they serve.
    pub queues: Arc<BTreeSet<QueueId>>,
    /// At work or not.
    pub login: LoginState,
    /// What they are doing.
    pub work: WorkState,
    /// Their phone.
    pub device: DeviceState,
    /// Since when they have had no contact: the longest idle goes first.
    pub idle_since: ClusterTime,
    /// Since when `work` is as it is.
    pub work_since: ClusterTime,
    /// Asked for while they had a contact; takes effect after it (and instead of being ready
    /// after wrap-up).
    pub next_not_ready: Option<NotReadyReason>,
    /// Asked to log out while they had a contact.
    pub logout_after: LogoutAfter,
    /// What they have done since they logged in.
    pub tally: Tally,
    /// The command with which `work` became what it is; decides where chance is asked for.
    pub turn: Ordinal,
    /// The last command with which a contact of each queue was offered to them.
    pub asked: BTreeMap<QueueId, Ordinal>,
    /// Where they stand in queues that go by tiers; [`Tier::default`] in those that are not named.
    pub tiers: Arc<BTreeMap<QueueId, Tier>>,
    /// Their reserve level (1-5) in queues that ask them only when a contact has waited for a while.
    pub reserves: Arc<BTreeMap<QueueId, u8>>,
    /// What else requirements may ask of them.
    pub attributes: Arc<BTreeMap<Name, Name>>,
    /// What their after-contact work is for, while they are in it.
    pub after: Option<AfterContact>,
    /// What was counted of them in the interval in which their work state last changed.
    pub counted: AgentInterval,
}

/// What after-contact work follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AfterContact {
    /// A contact of this queue.
    pub queue: QueueId,
    /// Until when it may be extended, if the queue allows it.
    pub ends_by: Option<ClusterTime>,
}

/// An agent's row as version 1 had it.
#[derive(Deserialize)]
pub(super) struct AgentV1 {
    id: AgentId,
    tenant: TenantId,
    name: Name,
    site: SiteId,
    skills: Arc<BTreeMap<SkillId, u8>>,
    queues: Arc<BTreeSet<QueueId>>,
    login: LoginState,
    work: WorkState,
    device: DeviceState,
    idle_since: ClusterTime,
    work_since: ClusterTime,
    next_not_ready: Option<NotReadyReason>,
    logout_after: LogoutAfter,
}

impl From<AgentV1> for Agent {
    fn from(old: AgentV1) -> Self {
        Self {
            id: old.id,
            tenant: old.tenant,
            name: old.name,
            site: old.site,
            skills: old.skills,
            queues: old.queues,
            login: old.login,
            work: old.work,
            device: old.device,
            idle_since: old.idle_since,
            work_since: old.work_since,
            next_not_ready: old.next_not_ready,
            logout_after: old.logout_after,
            tally: Tally::default(),
            turn: Ordinal::default(),
            asked: BTreeMap::new(),
            tiers: Arc::default(),
            reserves: Arc::default(),
            attributes: Arc::default(),
            after: None,
            counted: AgentInterval::default(),
        }
    }
}

/// What an agent has done since they logged in. Ringing counts as neither handling nor waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Contacts that they talked with.
    pub contacts: u32,
    /// Time in conversation.
    pub talk: Millis,
    /// After-contact work.
    pub wrap_up: Millis,
    /// Ready, and waiting for a contact.
    pub available: Millis,
}

impl Tally {
    /// Share of handling (talk and after-contact work) in the time that was handled or waited, per
    /// million; 0 before there was any.
    #[must_use]
    pub fn occupancy_ppm(&self) -> u64 {
        let handled = u128::from(self.talk.0) + u128::from(self.wrap_up.0);
        let all = handled + u128::from(self.available.0);
        let share = (handled * 1_000_000).checked_div(all).unwrap_or(0);
        u64::try_from(share).unwrap_or(1_000_000)
    }
}

/// Where an agent stands in a queue that goes by tiers: lower levels first, within one the lower position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Tier {
    /// 1-100.
    pub level: u8,
    /// 1-10,000.
    pub position: u16,
}

impl Tier {
    /// Its place among the tiers of a queue: lower is asked first.
    #[must_use]
    pub fn rank(self) -> u64 {
        (u64::from(self.level) << 16) | u64::from(self.position)
    }
}

impl Default for Tier {
    fn default() -> Self {
        Self { level: 1, position: 1 }
    }
}

/// Whether an agent leaves work once their contact has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum LogoutAfter {
    /// Stays.
    #[default]
    No,
    /// Is logged out when the contact ends.
    Contact,
}

impl Agent {
    /// What requirements ask of them.
    #[must_use]
    pub fn abilities(&self) -> Abilities<'_> {
        Abilities {
            agent: self.id,
            site: self.site,
            skills: &self.skills,
            attributes: &self.attributes,
        }
    }

    /// True when they serve the contact's queue, at its stage, and meet its requirement.
    #[must_use]
    pub fn serves(&self, contact: &Contact) -> bool {
        let reserve = self.reserves.get(&contact.queue).copied().unwrap_or(0);
        self.queues.contains(&contact.queue)
            && reserve <= contact.stage.reserve
            && contact.requirement.is_met(&self.abilities())
    }

    /// True when the agent can be offered a contact, as far as this row tells (their site must
    /// take contacts too).
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self.login, LoginState::LoggedIn(_))
            && self.work == WorkState::Ready
            && self.device == DeviceState::Registered
    }

    /// Puts them into a work state: the time in the one before is counted.
    pub(crate) fn enter(&mut self, work: WorkState, now: ClusterTime, turn: Ordinal) {
        let spent = now.since(self.work_since);
        let start = interval_of(now);
        if self.counted.start != start || self.counted.agent != self.id {
            let (agent, tenant) = (self.id, self.tenant);
            self.counted = AgentInterval { start, agent, tenant, ..AgentInterval::default() };
        }
        if self.login != LoginState::LoggedOut {
            self.counted.count(&self.work, spent, &work);
        }
        match self.work {
            WorkState::Busy(_) => self.tally.talk += spent,
            WorkState::WrapUp(_) => self.tally.wrap_up += spent,
            WorkState::Ready if self.login != LoginState::LoggedOut => {
                self.tally.available += spent;
            }
            _ => {}
        }
        if matches!(work, WorkState::Busy(_)) {
            self.tally.contacts = self.tally.contacts.saturating_add(1);
        }
        self.work = work;
        self.work_since = now;
        self.turn = turn;
        self.after = None;
    }

    /// True when they have a contact or an offer of one.
    #[must_use]
    pub fn is_engaged(&self) -> bool {
        matches!(self.work, WorkState::Offered(_) | WorkState::Busy(_))
    }

    /// Where the agent stands by chance, as they are now: drawn from the log, so that every node draws the
    /// same.
    #[must_use]
    pub fn chance(&self) -> u64 {
        mix(self.turn.0 ^ u64::from(self.id.0).rotate_left(32))
    }
}

/// A bijection that scatters neighbours (the finaliser of SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

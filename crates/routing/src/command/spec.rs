//! What is configured, with names as people write them.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::{
    entity::{ListUse, Matches, OpenHours, SiteChoice, Tier},
    name::{CallerNumber, Name},
    requirement::NamedRequirement,
    time::{Millis, UtcMillis},
};

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

/// A rebalance plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanSpec {
    /// Weights that sites are to have, 0-100.
    pub weights: BTreeMap<Name, u16>,
    /// Agents who are to serve other queues.
    pub agents: BTreeMap<Name, MembershipSpec>,
    /// In how many steps, 1-20.
    pub steps: u8,
    /// Time between two steps.
    pub every: Millis,
}

/// A change of the queues that an agent serves.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MembershipSpec {
    /// Queues to serve from then on.
    pub join: BTreeSet<Name>,
    /// Queues to serve no more.
    pub leave: BTreeSet<Name>,
}

/// What else is configured of a called number.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NumberRules {
    /// The agent that its callers ask for, and for how long they wait for that one alone.
    pub prefers: Option<(Name, Millis)>,
    /// What becomes of callers who are in a list, in this order.
    pub lists: Vec<(Name, ListUse)>,
}

/// What else is configured of an agent. Queues that are named must be served.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AgentRules {
    /// Where they stand in those of their queues that go by tiers; [`Tier::default`] elsewhere.
    pub tiers: BTreeMap<Name, Tier>,
    /// Their reserve level (1-5) in queues that ask them only when a contact has waited for a while.
    pub reserves: BTreeMap<Name, u8>,
    /// What else requirements may ask of them.
    pub attributes: BTreeMap<Name, Name>,
    /// What they do for other tenants, by their names.
    pub abroad: BTreeMap<Name, ServiceAbroad>,
}

/// What an agent does for a tenant that is not theirs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ServiceAbroad {
    /// Queues of that tenant that they serve.
    pub queues: BTreeSet<Name>,
    /// Level (1-10) of each skill in that tenant's words.
    pub skills: BTreeMap<Name, u8>,
}

/// Opening hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalendarSpec {
    /// Unique in the tenant.
    pub name: Name,
    /// What the hours were compiled from; kept for people and for compiling anew.
    pub source: String,
    /// Sorted, apart from each other.
    pub open: Vec<OpenHours>,
    /// From then on the hours say nothing, and it is open.
    pub until: UtcMillis,
}

/// A change of a list of callers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListSpec {
    /// Which list.
    pub list: Name,
    /// Who comes in, or is in it another way.
    pub add: BTreeMap<CallerNumber, Matches>,
    /// Who is taken out.
    pub remove: BTreeSet<CallerNumber>,
}

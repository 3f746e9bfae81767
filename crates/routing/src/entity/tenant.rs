//! Tenants: customers of an outsourcing center, and the lists of callers that each of them keeps.

use serde::{Deserialize, Serialize};

use crate::{
    ids::TenantId,
    name::{CallerNumber, Name},
};

/// A customer of an outsourcing center; owns queues, numbers, agents, calendars and lists. The one that every
/// cluster has ([`TenantId::DEFAULT`]) has a row only when it has quotas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// Given at creation.
    pub id: TenantId,
    /// Unique in the cluster.
    pub name: Name,
    /// What it may have at most.
    pub quotas: Quotas,
}

/// What a tenant may have at most; `None`: as much as the cluster holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Quotas {
    /// Queues.
    pub queues: Option<u32>,
    /// Called numbers.
    pub numbers: Option<u32>,
    /// Agents of its own.
    pub agents: Option<u32>,
    /// Live contacts, waiting or talking.
    pub contacts: Option<u32>,
}

/// What a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Queues.
    pub queues: u32,
    /// Called numbers.
    pub numbers: u32,
    /// Agents of its own.
    pub agents: u32,
    /// Live contacts.
    pub contacts: u32,
}

/// A caller, or all whose numbers begin alike, in a tenant's list: refused callers, known customers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedCaller {
    /// Owner.
    pub tenant: TenantId,
    /// Which list.
    pub list: Name,
    /// The number, or how it begins.
    pub caller: CallerNumber,
    /// Which of both.
    pub matches: Matches,
}

/// Which numbers an entry of a list is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Matches {
    /// This one.
    Exactly,
    /// All that begin so.
    Prefix,
}

/// What a called number does with a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ListUse {
    /// Whoever is in it is refused.
    Refuse,
    /// Whoever is not in it is refused, also who withholds the number.
    Only,
    /// Whoever is in it has this priority, 0-10.
    Priority(u8),
}

//! Identifiers of everything that the replicated state names.
//!
//! All are newtypes over integers, so that rows and keys stay small and an agent can never be
//! passed where a queue is meant. People see names; [`crate::name::Name`] holds those. Where an id
//! is shown to people it carries a prefix (`contact_0_42`).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }
    };
}

id!(
    /// A Raft group. One center is one group today (0); wire format, keys and contact ids carry it
    /// so that a center can later be one group of many.
    GroupId(u16), "group_");
id!(
    /// A customer of an outsourcing center. See [`TenantId::CLUSTER`] and [`TenantId::DEFAULT`].
    TenantId(u32), "tenant_");
id!(
    /// A `tandem node` process's place in the cluster. Given by the operator, never reused after
    /// its disk is lost or it is removed (invariant D1).
    NodeId(u64), "node_");
id!(
    /// A place with its own trunks, agents, nodes and relays.
    SiteId(u32), "site_");
id!(
    /// A named ability.
    SkillId(u32), "skill_");
id!(
    /// A named waiting line.
    QueueId(u32), "queue_");
id!(
    /// Opening hours.
    CalendarId(u32), "calendar_");
id!(
    /// A person who takes contacts.
    AgentId(u32), "agent_");
id!(
    /// Replicated counter: one per applied command. Ids and ties come from it.
    Ordinal(u64), "ord_");
id!(
    /// Number of an offer; only a committed accept of a contact's current number connects it.
    OfferNumber(u64), "offer_");
id!(
    /// Number of a node's life, granted by the log at boot. The larger one wins everywhere.
    Epoch(u64), "epoch_");

impl TenantId {
    /// Rows that belong to the cluster as a whole: sites, nodes, relays.
    pub const CLUSTER: Self = Self(0);
    /// The tenant of a center that serves one firm.
    pub const DEFAULT: Self = Self(1);
    /// What people call it.
    pub const DEFAULT_NAME: &str = "default";
}

impl Ordinal {
    /// The ordinal after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Epoch {
    /// The epoch after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// One thing waiting for an agent: the group it was born in, and the ordinal of the command that
/// admitted it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ContactId {
    /// Where the contact was born; it keeps this id when it moves.
    pub group: GroupId,
    /// Breaks ties: the lower one came first.
    pub ordinal: Ordinal,
}

impl fmt::Display for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "contact_{}_{}", self.group.0, self.ordinal.0)
    }
}

impl fmt::Debug for ContactId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not a contact id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a contact id; one looks like contact_0_42 (see `tandem contact list`)")]
pub struct ContactIdError(pub String);

impl FromStr for ContactId {
    type Err = ContactIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parse = || {
            let (group, ordinal) = text.strip_prefix("contact_")?.split_once('_')?;
            Some(Self {
                group: GroupId(group.parse().ok()?),
                ordinal: Ordinal(ordinal.parse().ok()?),
            })
        };
        parse().ok_or_else(|| ContactIdError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: an id that a person copies from one command works in the next one; others are refused.
    #[test]
    fn contact_ids_survive_text() {
        let id = ContactId { group: GroupId(3), ordinal: Ordinal(77) };
        assert_eq!(id.to_string(), "contact_3_77");
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "contact_", "contact_1", "contact_1_", "contact_70000_1", "call_0_1"] {
            assert_eq!(bad.parse::<ContactId>(), Err(ContactIdError(bad.to_owned())), "{bad}");
        }
    }
}

//! Identifiers that the cluster adds to the queue's.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
pub use tandem_routing::ids::{
    AgentId, ContactId, Epoch, GroupId, NodeId, OfferNumber, Ordinal, QueueId, SiteId, SkillId,
    TenantId,
};

macro_rules! random_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
        )]
        pub struct $name(pub u128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{:032x}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = RandomIdError;

            fn from_str(text: &str) -> Result<Self, RandomIdError> {
                text.strip_prefix($prefix)
                    .filter(|hex| hex.len() == 32)
                    .and_then(|hex| u128::from_str_radix(hex, 16).ok())
                    .map(Self)
                    .ok_or_else(|| RandomIdError { text: text.to_owned(), prefix: $prefix })
            }
        }
    };
}

/// A text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an id: expected {prefix}, then 32 hexadecimal digits")]
pub struct RandomIdError {
    /// What was given.
    pub text: String,
    /// How it should begin.
    pub prefix: &'static str,
}

random_id!(
    /// Drawn when a cluster is initialised. Two clusters never merge by mistake.
    ClusterId, "cluster_");
random_id!(
    /// Drawn when a data directory is created. A node id lives and dies with its disk (D1).
    DiskId, "disk_");
random_id!(
    /// Made for every registration of a node's life, so that its repetition is recognised: a node
    /// whose life was ended registers anew in the same process. See [`BootId::after`].
    BootId, "boot_");

impl BootId {
    /// For the life that follows the one with this number, as far as the node knows; `drawn` at random
    /// tells it from other tries. A registration that arrives late, when the node has had another life
    /// already, is known by its lower number.
    #[must_use]
    pub const fn after(epoch: Epoch, drawn: u64) -> Self {
        Self(((epoch.0 as u128) << 64) | drawn as u128)
    }

    /// The life that it was to follow.
    #[must_use]
    pub const fn follows(self) -> Epoch {
        Epoch((self.0 >> 64) as u64)
    }
}

/// One SIP dialog of a call. The ordinal is reserved in the log before it is used; it stays below
/// 2^61, because it travels in the flow ids of media links.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LegId {
    /// Where the leg was born.
    pub group: GroupId,
    /// Unique in the group, and never used again.
    pub ordinal: Ordinal,
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leg_{}_{}", self.group.0, self.ordinal.0)
    }
}

impl fmt::Debug for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Number of a leg's ownership: one more with every takeover. Relays, peers and the log refuse the
/// lower one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct LegEpoch(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: ids that stand in files and commands are read back as they were written.
    #[test]
    fn random_ids_survive_text() {
        let id = ClusterId(0xabc);
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "cluster_", "cluster_12", "disk_00000000000000000000000000000abc"] {
            assert!(bad.parse::<ClusterId>().is_err(), "{bad}");
        }
    }
}

//! Identifiers of an agent's INVITE, derived from the leg and the cluster key.
//!
//! Whoever knows the leg's row and the key can write the very same INVITE again: a survivor cancels
//! a phone that rings for a lost node without anything more having been replicated. To everybody else
//! the values are as hard to guess as the key (RFC 3261 sections 8.1.1.7 and 19.3 ask for
//! unpredictable tags and branches).

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tandem_cluster::{ids::LegId, seal::ClusterKey};

/// What a value is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    CallId,
    Tag,
    Branch,
}

impl Purpose {
    fn label(self) -> &'static [u8] {
        match self {
            Self::CallId => b"call-id",
            Self::Tag => b"tag",
            Self::Branch => b"branch",
        }
    }
}

/// 128 bits as 32 hexadecimal digits.
pub(crate) fn token(key: &ClusterKey, leg: LegId, purpose: Purpose) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        // HMAC takes keys of any length.
        return String::new();
    };
    mac.update(b"tandem/leg/1/");
    mac.update(purpose.label());
    mac.update(&leg.group.0.to_be_bytes());
    mac.update(&leg.ordinal.0.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use tandem_cluster::ids::{GroupId, Ordinal};

    use super::*;

    // Goal: every node derives the same values; they differ by leg, purpose and key.
    #[test]
    fn values_are_repeatable_and_apart() {
        let (key, other) = (ClusterKey::new([1; 32]), ClusterKey::new([2; 32]));
        let leg = |n| LegId { group: GroupId(0), ordinal: Ordinal(n) };
        let value = token(&key, leg(1), Purpose::Tag);
        assert_eq!(value, token(&key, leg(1), Purpose::Tag));
        assert_eq!(value.len(), 32);
        for different in [
            token(&key, leg(2), Purpose::Tag),
            token(&key, leg(1), Purpose::Branch),
            token(&key, leg(1), Purpose::CallId),
            token(&other, leg(1), Purpose::Tag),
        ] {
            assert_ne!(value, different);
        }
    }
}

//! Names that media shares with the rest of Tandem, and their limits.
//!
//! What does not live here: addresses (`std::net`) and phone numbers (media never sees one).

use std::{fmt, sync::Arc};

use thiserror::Error;

use crate::limits::{LEG_ORDINAL_END, RELAY_ID_LEN_MAX};

/// A leg as the replicated state names it: the group it was born in and its ordinal there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId {
    group: u32,
    ordinal: u64,
}

impl LegId {
    /// A leg's id; refused when `ordinal` is not below 2^61, because it travels in a QUIC flow id.
    pub const fn new(group: u32, ordinal: u64) -> Result<Self, IdError> {
        if ordinal >= LEG_ORDINAL_END {
            return Err(IdError::OrdinalTooLarge { ordinal });
        }
        Ok(Self { group, ordinal })
    }

    /// The group that the leg was born in.
    pub const fn group(self) -> u32 {
        self.group
    }

    /// The leg's number within its group, below 2^61.
    pub const fn ordinal(self) -> u64 {
        self.ordinal
    }

    /// The tag that marks this leg's packets on their way to its peer: the low half of the ordinal.
    pub const fn tag(self) -> u32 {
        self.ordinal as u32
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "leg_{}_{}", self.group, self.ordinal)
    }
}

/// Ownership epoch of a leg, granted by the log; the larger one wins everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegEpoch(pub u64);

/// Counter of a leg's owner within one epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// The node that owns a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// Synchronization source (RFC 3550 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ssrc(pub u32);

/// RTP payload type, 0-127 (RFC 3551).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PayloadType(u8);

impl PayloadType {
    /// PCMU on every link between relays (RFC 3551 table 4).
    pub const PCMU: Self = Self(0);
    /// PCMA on every link between relays (RFC 3551 table 4).
    pub const PCMA: Self = Self(8);
    /// telephone-event on every link between relays.
    pub const TELEPHONE_EVENT: Self = Self(101);

    /// A payload type; refused above 127, and for 64-95, which are not told from RTCP when both
    /// share a port (RFC 5761 section 4).
    pub const fn new(value: u8) -> Result<Self, IdError> {
        if value > 127 || (value >= 64 && value <= 95) {
            return Err(IdError::PayloadType { value });
        }
        Ok(Self(value))
    }

    /// The number as it stands in a packet.
    pub const fn value(self) -> u8 {
        self.0
    }
}

/// Name of a relay: one DNS label in lower case, because its certificate carries it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(Arc<str>);

impl RelayId {
    /// A relay's name: 1-63 characters of `a-z`, `0-9` and `-`, no `-` at either end.
    pub fn new(name: &str) -> Result<Self, IdError> {
        let fits = !name.is_empty()
            && name.len() <= RELAY_ID_LEN_MAX
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !name.starts_with('-')
            && !name.ends_with('-');
        if !fits {
            return Err(IdError::RelayId { name: name.chars().take(80).collect() });
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a name or number is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdError {
    /// The ordinal does not fit a flow id.
    #[error(
        "leg ordinal {ordinal} is not below 2^61, so no link can carry it; the caller is wrong"
    )]
    OrdinalTooLarge {
        /// The refused ordinal.
        ordinal: u64,
    },
    /// Not a payload type that can be told from RTCP.
    #[error("{value} is no usable RTP payload type; use 0-63 or 96-127")]
    PayloadType {
        /// The refused number.
        value: u8,
    },
    /// Not a DNS label.
    #[error(
        "{name:?} is no relay id; use 1-63 characters of a-z, 0-9 and -, without - at either end"
    )]
    RelayId {
        /// The refused text, at most 80 characters of it.
        name: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the edge of each range holds and the step beyond it breaks.
    #[test]
    fn ids_refuse_what_lies_outside() {
        assert!(LegId::new(0, LEG_ORDINAL_END - 1).is_ok());
        assert!(LegId::new(0, LEG_ORDINAL_END).is_err());
        for (value, fits) in
            [(0, true), (63, true), (64, false), (95, false), (96, true), (127, true), (128, false)]
        {
            assert_eq!(PayloadType::new(value).is_ok(), fits, "{value}");
        }
        let longest = "a".repeat(RELAY_ID_LEN_MAX);
        let table = [
            ("relay-1", true),
            (longest.as_str(), true),
            ("", false),
            ("-a", false),
            ("a-", false),
            ("A", false),
            ("a.b", false),
            (&format!("{longest}a"), false),
        ];
        for (name, fits) in table {
            assert_eq!(RelayId::new(name).is_ok(), fits, "{name}");
        }
    }
}

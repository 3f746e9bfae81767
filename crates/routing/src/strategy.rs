//! How a queue chooses among the agents who may take a contact.
//!
//! Every strategy is a number for each agent that follows from rows alone and changes only by an entry:
//! the smallest goes first, then the longest idle, then the lower id. The number is made in `index::floor`,
//! where ready agents stand in that order; the fit, which depends on what is asked, in `index::board`. What a
//! site's preference does comes before it (`matching`). Ringing all is the longest idle with others beside them.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::{ids::SkillId, requirement::BoundRequirement};

/// Who is asked first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub enum Strategy {
    /// Who has had no contact for the longest time, of any queue: one idle clock for all.
    #[default]
    LongestIdle,
    /// One after the other: whose last offer of this queue is the oldest. Remembers across restarts, and
    /// agents who come and go lose no turn (Asterisk: rrmemory).
    RoundRobin,
    /// Who has the highest levels of the skills that the contact asks for, added up.
    MostSkilled,
    /// Who has the lowest such sum and still fits: keeps the best free for who needs them.
    LeastSkilled,
    /// Who has talked with the fewest contacts since they logged in.
    FewestContacts,
    /// Who has talked for the shortest time since they logged in.
    LeastTalkTime,
    /// Whose share of handling in their time at work was the lowest when they became ready.
    LowestOccupancy,
    /// By tiers: the lowest level first, within one the lowest position.
    Linear,
    /// By chance, drawn from the log: every node draws the same.
    Random,
    /// All at once, up to [`crate::limits::RING_ALL_MAX`], the longest idle first: who answers first has the
    /// contact, and the others are told so.
    RingAll,
}

impl Strategy {
    /// All of them, with the names that people write.
    pub const ALL: &[(Self, &'static str)] = &[
        (Self::LongestIdle, "longest-idle"),
        (Self::RoundRobin, "round-robin"),
        (Self::MostSkilled, "most-skilled"),
        (Self::LeastSkilled, "least-skilled"),
        (Self::FewestContacts, "fewest-contacts"),
        (Self::LeastTalkTime, "least-talk-time"),
        (Self::LowestOccupancy, "lowest-occupancy"),
        (Self::Linear, "linear"),
        (Self::Random, "random"),
        (Self::RingAll, "ring-all"),
    ];

    /// As people write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(strategy, _)| *strategy == self).map_or("", |(_, name)| name)
    }

    /// The strategy of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == name).map(|(strategy, _)| *strategy)
    }
}

/// The skills that a requirement asks for: fit is an agent's levels of them, added up. Skills that it
/// excludes count for nothing, and each one counts once.
pub(crate) fn collect(requirement: &BoundRequirement, asked: &mut BTreeSet<SkillId>) {
    match requirement {
        BoundRequirement::Skill { skill, .. } => {
            asked.insert(*skill);
        }
        BoundRequirement::All(terms) | BoundRequirement::Any(terms) => {
            terms.iter().for_each(|term| collect(term, asked));
        }
        BoundRequirement::Site(_)
        | BoundRequirement::Not(_)
        | BoundRequirement::Attribute { .. }
        | BoundRequirement::Agent(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: each strategy has one name, and is found by it.
    #[test]
    fn names() {
        for (strategy, name) in Strategy::ALL {
            assert_eq!(strategy.as_str(), *name);
            assert_eq!(Strategy::named(name), Some(*strategy));
        }
        let names: std::collections::BTreeSet<_> = Strategy::ALL.iter().map(|(_, n)| n).collect();
        assert_eq!(names.len(), Strategy::ALL.len());
        assert_eq!(Strategy::named("fastest"), None);
    }
}

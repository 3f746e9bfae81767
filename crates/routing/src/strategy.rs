//! How a queue chooses among the agents who may take a contact.
//!
//! Every strategy is a number for each agent that follows from rows alone and changes only by an entry,
//! so that ready agents stand in ordered sets: the smallest goes first, then the longest idle, then the
//! lower id. What a site's preference does comes before it (`matching`). Ringing all at once is no such
//! number and is not here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    entity::Agent,
    ids::{QueueId, SkillId},
    requirement::BoundRequirement,
};

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

    /// Where an agent stands among the ready for contacts of this queue and requirement: lower is asked
    /// first.
    #[must_use]
    pub fn rank(self, agent: &Agent, queue: QueueId, requirement: &BoundRequirement) -> u64 {
        match self {
            Self::LongestIdle => 0,
            Self::RoundRobin => agent.asked.get(&queue).map_or(0, |ordinal| ordinal.0),
            Self::MostSkilled => u64::MAX - fit(requirement, &agent.skills),
            Self::LeastSkilled => fit(requirement, &agent.skills),
            Self::FewestContacts => u64::from(agent.tally.contacts),
            Self::LeastTalkTime => agent.tally.talk.0,
            Self::LowestOccupancy => agent.tally.occupancy_ppm(),
            Self::Linear => {
                let tier = agent.tiers.get(&queue).copied().unwrap_or_default();
                (u64::from(tier.level) << 16) | u64::from(tier.position)
            }
            Self::Random => mix(agent.turn.0 ^ u64::from(agent.id.0).rotate_left(32)),
        }
    }
}

/// How well an agent fits: their levels of the skills that the requirement asks for, added up. Skills
/// that it excludes count for nothing, and each one counts once.
#[must_use]
pub fn fit(requirement: &BoundRequirement, skills: &BTreeMap<SkillId, u8>) -> u64 {
    let mut asked = std::collections::BTreeSet::new();
    collect(requirement, &mut asked);
    asked.iter().filter_map(|skill| skills.get(skill)).map(|level| u64::from(*level)).sum()
}

fn collect(requirement: &BoundRequirement, asked: &mut std::collections::BTreeSet<SkillId>) {
    match requirement {
        BoundRequirement::Skill { skill, .. } => {
            asked.insert(*skill);
        }
        BoundRequirement::All(terms) | BoundRequirement::Any(terms) => {
            terms.iter().for_each(|term| collect(term, asked));
        }
        BoundRequirement::Site(_) | BoundRequirement::Not(_) => {}
    }
}

/// A bijection that scatters neighbours (the finaliser of SplitMix64: Steele, Lea, Flood, OOPSLA 2014).
fn mix(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
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

    // Goal: what counts as fit: skills that are asked for, each once, none that is excluded, none that
    // nobody asked for.
    #[test]
    fn fitness() {
        let skill = |n: u32, level_min| BoundRequirement::Skill { skill: SkillId(n), level_min };
        let agent = BTreeMap::from([(SkillId(1), 7), (SkillId(2), 3), (SkillId(3), 9)]);
        let rows = [
            (BoundRequirement::anybody(), 0),
            (skill(1, 5), 7),
            (BoundRequirement::All(vec![skill(1, 5), skill(2, 1)]), 10),
            (BoundRequirement::Any(vec![skill(1, 5), skill(4, 1)]), 7),
            (BoundRequirement::All(vec![skill(1, 5), skill(1, 6)]), 7),
            (
                BoundRequirement::All(vec![
                    skill(1, 1),
                    BoundRequirement::Not(Box::new(skill(3, 10))),
                ]),
                7,
            ),
        ];
        for (requirement, expected) in rows {
            assert_eq!(fit(&requirement, &agent), expected, "{requirement:?}");
        }
    }
}

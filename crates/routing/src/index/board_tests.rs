//! Boards against a sorted set, and what they find against looking at everybody.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::{
    ids::{QueueId, SkillId},
    index::filter::{Attribute, Columns, MEMBER},
    requirement::{Abilities, BoundRequirement},
};

const SITE: SiteId = SiteId(3);
const QUEUE: QueueId = QueueId(5);
const SKILLS: u32 = 12;

#[derive(Debug, Clone)]
enum Op {
    Insert(u32, u64),
    Remove(usize),
}

/// The levels of agent `n`: the same every time they come.
fn levels(n: u32) -> BTreeMap<u32, u8> {
    let has = |skill: &u32| (n * 7 + skill * 13) % 5 < 2;
    let level = |skill: u32| u8::try_from((n * 3 + skill) % 10 + 1).unwrap();
    (0..SKILLS).filter(has).map(|skill| (skill, level(skill))).collect()
}

fn skill(n: u32, level_min: u8) -> BoundRequirement {
    BoundRequirement::Skill { skill: SkillId(n), level_min }
}

fn meets(requirement: &BoundRequirement, agent: AgentId) -> bool {
    let skills = levels(agent.0).into_iter().map(|(n, level)| (SkillId(n), level)).collect();
    let by = Abilities { agent, site: SITE, skills: &skills, attributes: &BTreeMap::new() };
    !agent.0.is_multiple_of(4) && requirement.is_met(&by)
}

fn fit_of(asked: &[u32], agent: AgentId) -> u64 {
    let levels = levels(agent.0);
    asked.iter().map(|skill| levels.get(skill).copied().map_or(0, u64::from)).sum()
}

proptest! {
    // Goal: agents stand in the order of their keys whatever came and went; the first who passes, after and
    // before others, is who a look at everybody finds; so is the best fit, with the order as a tie-break.
    #[test]
    fn boards_hold_their_order(
        ops in prop::collection::vec(
            prop_oneof![
                3 => (0..400_u32, 0..40_u64).prop_map(|(n, rank)| Op::Insert(n, rank)),
                2 => (0..400_usize).prop_map(Op::Remove),
            ],
            0..900,
        ),
        in_order in any::<bool>(),
        asked in prop::collection::btree_set(0..SKILLS, 1..4),
        level_min in 1..10_u8,
    ) {
        let mut columns = Columns::default();
        let all: BTreeMap<AgentId, Vec<(Column, u8)>> = (0..400)
            .map(|n| {
                let mut row: Vec<(Column, u8)> = levels(n)
                    .into_iter()
                    .map(|(n, level)| (columns.of(Attribute::Skill(SkillId(n))), level))
                    .collect();
                if !n.is_multiple_of(4) {
                    row.push((columns.of(Attribute::Queue(QUEUE)), MEMBER));
                }
                (AgentId(n), row)
            })
            .collect();
        let (mut board, mut set) = (Board::default(), BTreeSet::<ReadyKey>::new());
        for (at, op) in ops.into_iter().enumerate() {
            match op {
                Op::Insert(n, rank) if !set.iter().any(|(.., agent)| *agent == AgentId(n)) => {
                    let rank = if in_order { at as u64 } else { rank };
                    let key = (rank, ClusterTime(u64::from(n % 3)), AgentId(n));
                    board.insert(key, &all[&AgentId(n)]);
                    set.insert(key);
                }
                Op::Remove(n) if !set.is_empty() => {
                    let key = *set.iter().nth(n % set.len()).unwrap();
                    board.remove(&key, |agent| &all[&agent]);
                    set.remove(&key);
                }
                _ => {}
            }
        }
        prop_assert!(board.iter().eq(set.iter().copied()));
        prop_assert_eq!(board.is_empty(), set.is_empty());
        let leaves = board.leaves.len();
        prop_assert!(leaves <= set.len() / (MERGED as usize / 2) + 1, "{leaves} for {}", set.len());

        // Where the fit decides, the board is that of the longest idle.
        let mut idle = Board::default();
        for (_, since, agent) in &set {
            idle.insert((0, *since, *agent), &all[agent]);
        }
        let asked: Vec<u32> = asked.into_iter().collect();
        let terms: Vec<_> = asked.iter().map(|n| skill(*n, level_min)).collect();
        let requirements = [
            BoundRequirement::anybody(),
            BoundRequirement::Any(terms.clone()),
            BoundRequirement::All(terms.clone()),
            BoundRequirement::All(vec![
                BoundRequirement::Any(terms),
                BoundRequirement::Not(Box::new(skill(7, 2))),
                BoundRequirement::Site(SITE),
            ]),
            BoundRequirement::Not(Box::new(BoundRequirement::Site(SITE))),
            BoundRequirement::Any(vec![
                BoundRequirement::Agent(AgentId(77)),
                BoundRequirement::Agent(AgentId(301)),
            ]),
        ];
        let edges = [set.iter().nth(set.len() / 3).copied(), set.iter().nth(set.len() / 2).copied()];
        for requirement in &requirements {
            let filter = Filter::new(QUEUE, 0, requirement, &mut columns);
            let passing: Vec<ReadyKey> =
                set.iter().copied().filter(|(.., agent)| meets(requirement, *agent)).collect();
            for after in [None, edges[0]] {
                for before in [None, edges[1]] {
                    let expected = passing.iter().copied().find(|key| {
                        after.is_none_or(|after| *key > after)
                            && before.is_none_or(|before| *key < before)
                    });
                    let found = board.first_to_pass(&filter, SITE, after, before);
                    prop_assert_eq!(found, expected, "{:?} {:?} {:?}", requirement, after, before);
                }
            }
            for fit in [Fit::Highest, Fit::Lowest] {
                let asked_here: Vec<u32> = match requirement {
                    BoundRequirement::All(terms) if terms.is_empty() => Vec::new(),
                    BoundRequirement::Not(_) => Vec::new(),
                    BoundRequirement::Any(terms) if matches!(terms[0], BoundRequirement::Agent(_)) => {
                        Vec::new()
                    }
                    _ => asked.clone(),
                };
                let mut keys: Vec<ReadyKey> = passing
                    .iter()
                    .map(|(_, idle, agent)| {
                        let sum = fit_of(&asked_here, *agent);
                        (if fit == Fit::Highest { u64::MAX - sum } else { sum }, *idle, *agent)
                    })
                    .collect();
                keys.sort();
                // One after the other they come out in their order.
                let mut after = None;
                for expected in keys.iter().take(70).map(Some).chain([None]).take(keys.len() + 1) {
                    if expected.is_none() && keys.len() > 70 {
                        break;
                    }
                    let found = idle.best_fit(&filter, SITE, fit, after);
                    prop_assert_eq!(found.as_ref(), expected, "{:?} {:?}", requirement, fit);
                    after = found;
                }
            }
        }
    }
}

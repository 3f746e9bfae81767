//! Who works in the center that is measured, and what its callers ask for: drawn once, for the queue and for
//! the peer alike.

use std::collections::BTreeMap;

/// How large a center is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Agents, evenly over the sites.
    pub agents: usize,
    /// Sites.
    pub sites: usize,
    /// Skills that there are; an agent has six of them.
    pub skills: usize,
    /// Queues; every agent serves all of them.
    pub queues: usize,
    /// Requirements in use, evenly over the queues.
    pub requirements: usize,
}

impl Size {
    /// The center of the stated limits: 40 skills, 20 sites, 4 queues, 200 requirements.
    #[must_use]
    pub fn of(agents: usize) -> Self {
        Self { agents, sites: 20, skills: 40, queues: 4, requirements: 200 }
    }
}

/// A generator that needs no more than to be the same every time (Marsaglia's xorshift).
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// With this seed; zero is taken for one.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed.max(1))
    }

    /// From 0 to `limit - 1`; 0 when the limit is 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0.checked_rem(limit as u64).unwrap_or(0)).unwrap_or(0)
    }
}

/// A skill at this level or better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Number of the skill.
    pub skill: usize,
    /// 1-10.
    pub level: u8,
}

/// What the callers of a number ask for: one of two skills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// Number of the queue.
    pub queue: usize,
    /// Either of them is enough.
    pub either: [Wanted; 2],
}

impl Asked {
    /// As people write it.
    #[must_use]
    pub fn words(&self) -> String {
        let [one, other] = self.either.map(|it| format!("k{}>={}", it.skill, it.level));
        format!("{one} or {other}")
    }
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Number of the site.
    pub site: usize,
    /// Level of each skill.
    pub skills: BTreeMap<usize, u8>,
}

impl Person {
    /// True when this agent may take such a contact.
    #[must_use]
    pub fn meets(&self, asked: &Asked) -> bool {
        let has = |wanted: &Wanted| self.skills.get(&wanted.skill) >= Some(&wanted.level);
        asked.either.iter().any(has)
    }
}

/// A whole center.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How large.
    pub size: Size,
    /// Its agents.
    pub people: Vec<Person>,
    /// What callers ask for; each is a requirement of its own.
    pub asked: Vec<Asked>,
}

impl Plan {
    /// The center of this size; always the same.
    #[must_use]
    pub fn draw(size: Size) -> Self {
        let mut dice = Dice::new(0x9e37_79b9_7f4a_7c15);
        let mut wanted = |level| Wanted { skill: dice.below(size.skills), level };
        let asked = |queue: usize| Asked { queue, either: [wanted(3), wanted(5)] };
        let asked = (0..size.requirements).map(|row| row % size.queues.max(1)).map(asked).collect();
        let mut person = |agent: usize| Person {
            site: agent % size.sites.max(1),
            skills: (0..6).map(|_| (dice.below(size.skills), level(&mut dice))).collect(),
        };
        let people = (0..size.agents).map(&mut person).collect();
        Self { size, people, asked }
    }
}

fn level(dice: &mut Dice) -> u8 {
    u8::try_from(1 + dice.below(10)).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Goal: the same center every time, of the size that was asked for, in which somebody meets every
    // requirement and nobody all of them.
    #[test]
    fn plans_are_drawn_alike() {
        let (one, other) = (Plan::draw(Size::of(1_000)), Plan::draw(Size::of(1_000)));
        assert_eq!((&one.people, &one.asked), (&other.people, &other.asked));
        assert_eq!((one.people.len(), one.asked.len()), (1_000, 200));
        for asked in &one.asked {
            let served = one.people.iter().filter(|person| person.meets(asked)).count();
            assert!((1..1_000).contains(&served), "{asked:?}: {served}");
        }
    }
}

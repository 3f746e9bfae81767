//! Requirements prepared for testing 64 agents at once.

use std::collections::{BTreeMap, BTreeSet};

use super::planes::{Column, Planes};
use crate::{
    ids::{AgentId, QueueId, SiteId, SkillId},
    name::Name,
    requirement::BoundRequirement,
};

/// The level in a queue's column of who is asked at once; of each reserve level it is one less.
pub(crate) const MEMBER: u8 = 15;

/// What agents have at a level.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    /// They serve this queue, at [`MEMBER`] less their reserve level.
    Queue(QueueId),
    Skill(SkillId),
    /// They have an attribute with this value.
    Pair(Name, Name),
}

/// Which column stands for what. Columns are given out as they are asked for and kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Columns {
    of: BTreeMap<Attribute, Column>,
}

impl Columns {
    pub(crate) fn of(&mut self, attribute: Attribute) -> Column {
        let next = Column(u32::try_from(self.of.len()).unwrap_or(u32::MAX));
        *self.of.entry(attribute).or_insert(next)
    }

    /// The column of an attribute that somebody was given or asked for.
    pub(crate) fn find(&self, attribute: Attribute) -> Option<Column> {
        self.of.get(&attribute).copied()
    }

    /// What a column stands for; looks at all of them.
    pub(crate) fn what(&self, column: Column) -> Option<Attribute> {
        self.of.iter().find(|(_, other)| **other == column).map(|(attribute, _)| attribute.clone())
    }
}

/// Serving a queue and meeting a requirement.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    queue: Column,
    member_min: u8,
    test: Test,
    /// Columns of the skills that are asked for, for what counts as fit.
    pub(crate) asked: Vec<Column>,
}

#[derive(Debug, Clone)]
enum Test {
    Level(Column, u8),
    Site(SiteId),
    All(Vec<Test>),
    Any(Vec<Test>),
    Not(Box<Test>),
    Agent(AgentId),
}

/// 64 slots of agents at one site.
#[derive(Clone, Copy)]
pub(crate) struct Slots<'a, F> {
    pub(crate) planes: &'a Planes,
    pub(crate) site: SiteId,
    /// The slots that an agent has.
    pub(crate) find: F,
}

impl Filter {
    /// For contacts of a queue that ask this, at a stage where so many reserve levels are asked.
    pub(crate) fn new(
        queue: QueueId,
        reserve: u8,
        requirement: &BoundRequirement,
        columns: &mut Columns,
    ) -> Self {
        let mut asked = BTreeSet::new();
        crate::strategy::collect(requirement, &mut asked);
        Self {
            queue: columns.of(Attribute::Queue(queue)),
            member_min: MEMBER.saturating_sub(reserve).max(1),
            test: Test::new(requirement, columns),
            asked: asked.into_iter().map(|skill| columns.of(Attribute::Skill(skill))).collect(),
        }
    }

    /// The slots that pass; a slot of nobody passes never.
    pub(crate) fn pass<F: Fn(AgentId) -> u64 + Copy>(&self, slots: Slots<'_, F>) -> u64 {
        match slots.planes.at_least(self.queue, self.member_min) {
            0 => 0,
            members => members & self.test.pass(slots),
        }
    }
}

impl Test {
    fn new(requirement: &BoundRequirement, columns: &mut Columns) -> Self {
        match requirement {
            BoundRequirement::Skill { skill, level_min } => {
                Self::Level(columns.of(Attribute::Skill(*skill)), *level_min)
            }
            BoundRequirement::Site(site) => Self::Site(*site),
            BoundRequirement::All(terms) => {
                Self::All(terms.iter().map(|term| Self::new(term, columns)).collect())
            }
            BoundRequirement::Any(terms) => {
                Self::Any(terms.iter().map(|term| Self::new(term, columns)).collect())
            }
            BoundRequirement::Not(term) => Self::Not(Box::new(Self::new(term, columns))),
            BoundRequirement::Attribute { key, value } => {
                Self::Level(columns.of(Attribute::Pair(key.clone(), value.clone())), 1)
            }
            BoundRequirement::Agent(agent) => Self::Agent(*agent),
        }
    }

    fn pass<F: Fn(AgentId) -> u64 + Copy>(&self, slots: Slots<'_, F>) -> u64 {
        match self {
            Self::Level(column, level_min) => slots.planes.at_least(*column, *level_min),
            Self::Site(wanted) if *wanted == slots.site => !0,
            Self::Site(_) => 0,
            Self::All(terms) => {
                let mut mask = !0;
                for term in terms {
                    mask &= term.pass(slots);
                    if mask == 0 {
                        break;
                    }
                }
                mask
            }
            Self::Any(terms) => terms.iter().fold(0, |mask, term| mask | term.pass(slots)),
            Self::Not(term) => !term.pass(slots),
            Self::Agent(agent) => (slots.find)(*agent),
        }
    }
}

//! Requirements prepared for testing 64 agents at once.

use std::collections::{BTreeMap, BTreeSet};

use super::planes::{Column, Planes};
use crate::{
    ids::{QueueId, SiteId, SkillId},
    requirement::BoundRequirement,
};

/// What agents have at a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Attribute {
    /// They serve this queue.
    Queue(QueueId),
    Skill(SkillId),
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
        self.of.iter().find(|(_, other)| **other == column).map(|(attribute, _)| *attribute)
    }
}

/// Serving a queue and meeting a requirement.
#[derive(Debug, Clone)]
pub(crate) struct Filter {
    queue: Column,
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
}

impl Filter {
    pub(crate) fn new(
        queue: QueueId,
        requirement: &BoundRequirement,
        columns: &mut Columns,
    ) -> Self {
        let mut asked = BTreeSet::new();
        crate::strategy::collect(requirement, &mut asked);
        Self {
            queue: columns.of(Attribute::Queue(queue)),
            test: Test::new(requirement, columns),
            asked: asked.into_iter().map(|skill| columns.of(Attribute::Skill(skill))).collect(),
        }
    }

    /// The slots of `planes`, all of agents at `site`, that pass; a slot of nobody passes as well.
    pub(crate) fn pass(&self, planes: &Planes, site: SiteId) -> u64 {
        match planes.at_least(self.queue, 1) {
            0 => 0,
            members => members & self.test.pass(planes, site),
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
        }
    }

    fn pass(&self, planes: &Planes, site: SiteId) -> u64 {
        match self {
            Self::Level(column, level_min) => planes.at_least(*column, *level_min),
            Self::Site(wanted) => {
                if *wanted == site {
                    !0
                } else {
                    0
                }
            }
            Self::All(terms) => {
                let mut mask = !0;
                for term in terms {
                    mask &= term.pass(planes, site);
                    if mask == 0 {
                        break;
                    }
                }
                mask
            }
            Self::Any(terms) => terms.iter().fold(0, |mask, term| mask | term.pass(planes, site)),
            Self::Not(term) => !term.pass(planes, site),
        }
    }
}

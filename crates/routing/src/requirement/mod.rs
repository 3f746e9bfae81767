//! Requirements: what an agent must meet to be offered a contact.
//!
//! A boolean expression over skills with levels, attributes, sites and named agents. People write it as
//! text (`spanish >= 7 and (billing or team = red) and not site:lon`, read in `parse`); in the state it stands
//! with ids and in one canonical form, so that equal requirements form one class. Evaluation against an
//! agent is here; which agent is chosen among those that meet it is in `matching`.

mod parse;

use std::{cmp::Ordering, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{AgentId, SiteId, SkillId},
    limits::{LEVEL_MAX, REQUIREMENT_DEPTH_MAX, REQUIREMENT_TERMS_MAX},
    name::Name,
};

/// A requirement over names ([`NamedRequirement`], as people write it) or ids ([`BoundRequirement`], as the
/// state keeps it). Appended to, never reordered: the position is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Requirement<S, P, A> {
    /// The agent has the skill at this level (1-10) or a higher one.
    Skill {
        /// Which skill.
        skill: S,
        /// Lowest level that meets it.
        level_min: u8,
    },
    /// The agent sits at this site.
    Site(P),
    /// All of them; empty: everybody meets it.
    All(Vec<Requirement<S, P, A>>),
    /// At least one of them; empty: nobody meets it.
    Any(Vec<Requirement<S, P, A>>),
    /// Not that.
    Not(Box<Requirement<S, P, A>>),
    /// The agent has this attribute with this value.
    Attribute {
        /// Which attribute.
        key: Name,
        /// The only value that meets it.
        value: Name,
    },
    /// It is this agent.
    Agent(A),
}

/// As people write it.
pub type NamedRequirement = Requirement<Name, Name, Name>;
/// As the state keeps it.
pub type BoundRequirement = Requirement<SkillId, SiteId, AgentId>;

/// A requirement that many rows hold in common: copied by counting, and compared at a glance where two rows
/// hold the same one. Stored as the requirement itself.
#[derive(Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SharedRequirement(Arc<BoundRequirement>);

impl std::ops::Deref for SharedRequirement {
    type Target = BoundRequirement;

    fn deref(&self) -> &BoundRequirement {
        &self.0
    }
}

impl SharedRequirement {
    /// True when both hold the very same requirement, not only an equal one.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<BoundRequirement> for SharedRequirement {
    fn from(requirement: BoundRequirement) -> Self {
        Self(Arc::new(requirement))
    }
}

impl PartialEq for SharedRequirement {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for SharedRequirement {}

impl PartialOrd for SharedRequirement {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for SharedRequirement {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

impl fmt::Debug for SharedRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A requirement that cannot be read or used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementError {
    /// The text does not follow the grammar.
    #[error(
        "the requirement cannot be read at character {at}: expected {expected}\n  {text}\n  {}^\nwrite for \
         example 'spanish >= 5 and (billing or team = red) and not site:lon'",
        " ".repeat(at.saturating_sub(1))
    )]
    Syntax {
        /// The whole text.
        text: String,
        /// Where, counted in characters from 1; one past the last at the end.
        at: usize,
        /// What could have stood there.
        expected: &'static str,
    },
    /// Too many terms or too deep.
    #[error(
        "the requirement is too large: at most {REQUIREMENT_TERMS_MAX} terms, nested at most \
         {REQUIREMENT_DEPTH_MAX} deep; use several queues or a skill that sums them up"
    )]
    TooLarge,
    /// A level outside 1-10.
    #[error("level {0} is out of range: proficiency goes from 1 to {LEVEL_MAX}")]
    LevelRange(u64),
}

impl<S, P, A> Requirement<S, P, A> {
    /// The requirement that everybody meets.
    #[must_use]
    pub fn anybody() -> Self {
        Self::All(Vec::new())
    }

    /// True when everybody meets it.
    #[must_use]
    pub fn is_anybody(&self) -> bool {
        matches!(self, Self::All(terms) if terms.is_empty())
    }

    /// Replaces names by ids or the other way round.
    ///
    /// # Errors
    /// The first error of the translator.
    pub fn translate<S2, P2, A2, E>(
        &self,
        to: &mut impl Translate<S, P, A, Skill = S2, Site = P2, Agent = A2, Error = E>,
    ) -> Result<Requirement<S2, P2, A2>, E> {
        let mut all = |terms: &[Self]| {
            terms.iter().map(|term| term.translate(to)).collect::<Result<Vec<_>, E>>()
        };
        Ok(match self {
            Self::All(terms) => Requirement::All(all(terms)?),
            Self::Any(terms) => Requirement::Any(all(terms)?),
            Self::Not(term) => Requirement::Not(Box::new(term.translate(to)?)),
            Self::Skill { skill, level_min } => {
                Requirement::Skill { skill: to.skill(skill)?, level_min: *level_min }
            }
            Self::Site(site) => Requirement::Site(to.site(site)?),
            Self::Attribute { key, value } => {
                Requirement::Attribute { key: key.clone(), value: value.clone() }
            }
            Self::Agent(agent) => Requirement::Agent(to.agent(agent)?),
        })
    }

    /// Checks size and levels.
    ///
    /// # Errors
    /// [`RequirementError::TooLarge`] or [`RequirementError::LevelRange`].
    pub fn check(&self) -> Result<(), RequirementError> {
        fn walk<S, P, A>(
            term: &Requirement<S, P, A>,
            depth: usize,
            terms: &mut usize,
        ) -> Result<(), RequirementError> {
            *terms += 1;
            if depth > REQUIREMENT_DEPTH_MAX || *terms > REQUIREMENT_TERMS_MAX {
                return Err(RequirementError::TooLarge);
            }
            match term {
                Requirement::Skill { level_min, .. } if !(1..=LEVEL_MAX).contains(level_min) => {
                    Err(RequirementError::LevelRange(u64::from(*level_min)))
                }
                Requirement::Skill { .. }
                | Requirement::Site(_)
                | Requirement::Attribute { .. }
                | Requirement::Agent(_) => Ok(()),
                Requirement::All(inner) | Requirement::Any(inner) => {
                    inner.iter().try_for_each(|term| walk(term, depth + 1, terms))
                }
                Requirement::Not(inner) => walk(inner, depth + 1, terms),
            }
        }
        walk(self, 1, &mut 0)
    }
}

impl<S: Clone + Ord, P: Clone + Ord, A: Clone + Ord> Requirement<S, P, A> {
    /// The one form of all requirements that are equal by order, repetition and nesting of
    /// and/or: terms sorted, doubles dropped, single and nested groups flattened. (Not minimal:
    /// `a or (a and b)` stays.)
    #[must_use]
    pub fn canonical(&self) -> Self {
        match self {
            Self::Skill { .. } | Self::Site(_) | Self::Attribute { .. } | Self::Agent(_) => {
                self.clone()
            }
            Self::All(terms) => Self::group(terms, Self::All, |term| match term {
                Self::All(inner) => Ok(inner),
                other => Err(other),
            }),
            Self::Any(terms) => Self::group(terms, Self::Any, |term| match term {
                Self::Any(inner) => Ok(inner),
                other => Err(other),
            }),
            Self::Not(term) => match term.canonical() {
                Self::Not(inner) => *inner,
                Self::All(terms) if terms.is_empty() => Self::Any(terms),
                Self::Any(terms) if terms.is_empty() => Self::All(terms),
                other => Self::Not(Box::new(other)),
            },
        }
    }

    fn group(
        terms: &[Self],
        wrap: impl Fn(Vec<Self>) -> Self,
        open: impl Fn(Self) -> Result<Vec<Self>, Self>,
    ) -> Self {
        let mut flat = Vec::with_capacity(terms.len());
        for term in terms {
            match open(term.canonical()) {
                Ok(inner) => flat.extend(inner),
                Err(term) => flat.push(term),
            }
        }
        flat.sort();
        flat.dedup();
        if flat.len() == 1 { flat.swap_remove(0) } else { wrap(flat) }
    }
}

/// Names for ids, or ids for names, of what a requirement speaks of.
pub trait Translate<S, P, A> {
    /// Of skills.
    type Skill;
    /// Of sites.
    type Site;
    /// Of agents.
    type Agent;
    /// That something is not known.
    type Error;

    /// The other word for a skill.
    ///
    /// # Errors
    /// That it is not known.
    fn skill(&mut self, skill: &S) -> Result<Self::Skill, Self::Error>;
    /// The other word for a site.
    ///
    /// # Errors
    /// That it is not known.
    fn site(&mut self, site: &P) -> Result<Self::Site, Self::Error>;
    /// The other word for an agent.
    ///
    /// # Errors
    /// That it is not known.
    fn agent(&mut self, agent: &A) -> Result<Self::Agent, Self::Error>;
}

/// What a requirement asks of a person.
#[derive(Debug, Clone, Copy)]
pub struct Abilities<'a> {
    /// Who.
    pub agent: AgentId,
    /// Where they sit.
    pub site: SiteId,
    /// Level (1-10) of each skill they have.
    pub skills: &'a BTreeMap<SkillId, u8>,
    /// Their attributes.
    pub attributes: &'a BTreeMap<Name, Name>,
}

impl BoundRequirement {
    /// True when a person with these abilities meets the requirement.
    #[must_use]
    pub fn is_met(&self, by: &Abilities<'_>) -> bool {
        match self {
            Self::Skill { skill, level_min } => {
                by.skills.get(skill).is_some_and(|level| level >= level_min)
            }
            Self::Site(wanted) => *wanted == by.site,
            Self::All(terms) => terms.iter().all(|term| term.is_met(by)),
            Self::Any(terms) => terms.iter().any(|term| term.is_met(by)),
            Self::Not(term) => !term.is_met(by),
            Self::Attribute { key, value } => by.attributes.get(key) == Some(value),
            Self::Agent(wanted) => *wanted == by.agent,
        }
    }
}

impl<S: fmt::Display, P: fmt::Display, A: fmt::Display> fmt::Display for Requirement<S, P, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, terms: &[Self], word: &str| {
            f.write_str("(")?;
            for (i, term) in terms.iter().enumerate() {
                if i > 0 {
                    write!(f, " {word} ")?;
                }
                term.fmt(f)?;
            }
            f.write_str(")")
        };
        match self {
            Self::Skill { skill, level_min: 1 } => skill.fmt(f),
            Self::Skill { skill, level_min } => write!(f, "{skill}>={level_min}"),
            Self::Site(site) => write!(f, "site:{site}"),
            Self::All(terms) if terms.is_empty() => f.write_str("anybody"),
            Self::Any(terms) if terms.is_empty() => f.write_str("not anybody"),
            Self::All(terms) => list(f, terms, "and"),
            Self::Any(terms) => list(f, terms, "or"),
            Self::Not(term) => write!(f, "not {term}"),
            Self::Attribute { key, value } => write!(f, "{key}={value}"),
            Self::Agent(agent) => write!(f, "agent:{agent}"),
        }
    }
}

#[cfg(test)]
mod tests;

//! Requirements: what an agent must meet to be offered a contact.
//!
//! A boolean expression over skills with levels and over sites. People write it as text
//! (`spanish>=5 and (billing or sales) and not site:lon`); in the state it stands with ids and in
//! one canonical form, so that equal requirements form one class. Evaluation against an agent is
//! here; which agent is chosen among those that meet it is in `matching`.

use std::{cmp::Ordering, collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    ids::{SiteId, SkillId},
    limits::{LEVEL_MAX, REQUIREMENT_DEPTH_MAX, REQUIREMENT_TERMS_MAX},
    name::Name,
};

/// A requirement over names (`Requirement<Name, Name>`, as people write it) or ids
/// (`Requirement<SkillId, SiteId>`, as the state keeps it).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Requirement<S, P> {
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
    All(Vec<Requirement<S, P>>),
    /// At least one of them; empty: nobody meets it.
    Any(Vec<Requirement<S, P>>),
    /// Not that.
    Not(Box<Requirement<S, P>>),
}

/// As people write it.
pub type NamedRequirement = Requirement<Name, Name>;
/// As the state keeps it.
pub type BoundRequirement = Requirement<SkillId, SiteId>;

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
        "the requirement {text:?} cannot be read {}: expected {expected}; write for example \
         'spanish>=5 and (billing or sales)'",
        if at.is_empty() { "at its end".to_owned() } else { format!("at {at:?}") }
    )]
    Syntax {
        /// The whole text.
        text: String,
        /// What stood there.
        at: String,
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

impl<S, P> Requirement<S, P> {
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
    /// The first error of either closure.
    pub fn try_map<T, Q, E>(
        &self,
        skill: &mut impl FnMut(&S) -> Result<T, E>,
        site: &mut impl FnMut(&P) -> Result<Q, E>,
    ) -> Result<Requirement<T, Q>, E> {
        Ok(match self {
            Self::Skill { skill: id, level_min } => {
                Requirement::Skill { skill: skill(id)?, level_min: *level_min }
            }
            Self::Site(id) => Requirement::Site(site(id)?),
            Self::All(terms) => Requirement::All(
                terms.iter().map(|term| term.try_map(skill, site)).collect::<Result<_, E>>()?,
            ),
            Self::Any(terms) => Requirement::Any(
                terms.iter().map(|term| term.try_map(skill, site)).collect::<Result<_, E>>()?,
            ),
            Self::Not(term) => Requirement::Not(Box::new(term.try_map(skill, site)?)),
        })
    }

    /// Checks size and levels.
    ///
    /// # Errors
    /// [`RequirementError::TooLarge`] or [`RequirementError::LevelRange`].
    pub fn check(&self) -> Result<(), RequirementError> {
        fn walk<S, P>(
            term: &Requirement<S, P>,
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
                Requirement::Skill { .. } | Requirement::Site(_) => Ok(()),
                Requirement::All(inner) | Requirement::Any(inner) => {
                    inner.iter().try_for_each(|term| walk(term, depth + 1, terms))
                }
                Requirement::Not(inner) => walk(inner, depth + 1, terms),
            }
        }
        walk(self, 1, &mut 0)
    }
}

impl<S: Clone + Ord, P: Clone + Ord> Requirement<S, P> {
    /// The one form of all requirements that are equal by order, repetition and nesting of
    /// and/or: terms sorted, doubles dropped, single and nested groups flattened. (Not minimal:
    /// `a or (a and b)` stays.)
    #[must_use]
    pub fn canonical(&self) -> Self {
        match self {
            Self::Skill { .. } | Self::Site(_) => self.clone(),
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

impl BoundRequirement {
    /// True when an agent with these skills at this site meets the requirement.
    #[must_use]
    pub fn is_met(&self, skills: &BTreeMap<SkillId, u8>, site: SiteId) -> bool {
        match self {
            Self::Skill { skill, level_min } => {
                skills.get(skill).is_some_and(|level| level >= level_min)
            }
            Self::Site(wanted) => *wanted == site,
            Self::All(terms) => terms.iter().all(|term| term.is_met(skills, site)),
            Self::Any(terms) => terms.iter().any(|term| term.is_met(skills, site)),
            Self::Not(term) => !term.is_met(skills, site),
        }
    }
}

impl std::str::FromStr for NamedRequirement {
    type Err = RequirementError;

    /// Reads `skill`, `skill>=N`, `site:NAME`, `not`, `and`, `or`, parentheses; `and` binds
    /// stronger than `or`. An empty text or `anybody` is met by everybody.
    fn from_str(text: &str) -> Result<Self, RequirementError> {
        let mut parser = Parser { text, rest: text, depth: 0 };
        if parser.peek().is_empty() {
            return Ok(Self::anybody());
        }
        let requirement = parser.any_of()?;
        if !parser.peek().is_empty() {
            return Err(parser.error("'and', 'or' or the end"));
        }
        let requirement = requirement.canonical();
        requirement.check()?;
        Ok(requirement)
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl<'a> Parser<'a> {
    /// The next token without taking it; empty at the end.
    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        let first = rest.chars().next();
        let len = match first {
            None => 0,
            Some('(' | ')') => 1,
            Some('>') => rest.chars().take_while(|c| *c == '>' || *c == '=').count(),
            Some(c) if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            Some(c) => c.len_utf8(),
        };
        rest.get(..len).unwrap_or("")
    }

    fn take(&mut self) -> &'a str {
        let token = self.peek();
        self.rest = self.rest.trim_start().get(token.len()..).unwrap_or("");
        token
    }

    fn take_if(&mut self, token: &str) -> bool {
        let found = self.peek() == token;
        if found {
            self.take();
        }
        found
    }

    fn error(&self, expected: &'static str) -> RequirementError {
        let at = self.rest.trim().chars().take(20).collect();
        RequirementError::Syntax { text: self.text.chars().take(200).collect(), at, expected }
    }

    fn any_of(&mut self) -> Result<NamedRequirement, RequirementError> {
        let mut terms = vec![self.all_of()?];
        while self.take_if("or") {
            terms.push(self.all_of()?);
        }
        Ok(Requirement::Any(terms))
    }

    fn all_of(&mut self) -> Result<NamedRequirement, RequirementError> {
        let mut terms = vec![self.term()?];
        while self.take_if("and") {
            terms.push(self.term()?);
        }
        Ok(Requirement::All(terms))
    }

    fn term(&mut self) -> Result<NamedRequirement, RequirementError> {
        self.depth += 1;
        if self.depth > REQUIREMENT_DEPTH_MAX {
            return Err(RequirementError::TooLarge);
        }
        let term = match self.peek() {
            "(" => {
                self.take();
                let inner = self.any_of()?;
                if !self.take_if(")") {
                    return Err(self.error("')'"));
                }
                inner
            }
            "not" => {
                self.take();
                Requirement::Not(Box::new(self.term()?))
            }
            "and" | "or" | ")" | "" => return Err(self.error("a skill, 'site:NAME' or '('")),
            "anybody" => {
                self.take();
                Requirement::anybody()
            }
            _ => self.skill_or_site()?,
        };
        self.depth -= 1;
        Ok(term)
    }

    fn skill_or_site(&mut self) -> Result<NamedRequirement, RequirementError> {
        let before = self.rest;
        let word = self.take();
        if let Some(site) = word.strip_prefix("site:") {
            return match site.parse() {
                Ok(site) => Ok(Requirement::Site(site)),
                Err(_) => {
                    self.rest = before;
                    Err(self.error("a site's name after 'site:'"))
                }
            };
        }
        let Ok(skill) = word.parse() else {
            self.rest = before;
            return Err(self.error("a skill's name"));
        };
        let mut level_min = 1;
        if self.take_if(">=") {
            let Ok(level) = self.peek().parse::<u64>() else {
                return Err(self.error("a level from 1 to 10"));
            };
            self.take();
            level_min = u8::try_from(level)
                .ok()
                .filter(|level| (1..=LEVEL_MAX).contains(level))
                .ok_or(RequirementError::LevelRange(level))?;
        }
        Ok(Requirement::Skill { skill, level_min })
    }
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-+:".contains(c)
}

impl<S: fmt::Display, P: fmt::Display> fmt::Display for Requirement<S, P> {
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
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<NamedRequirement, RequirementError> {
        text.parse()
    }

    // Goal: what people write is read as they mean it, and prints in one form.
    #[test]
    fn requirements_are_read() {
        for (text, printed) in [
            ("", "anybody"),
            ("anybody", "anybody"),
            ("spanish", "spanish"),
            (" spanish >= 5 ", "spanish>=5"),
            ("spanish>=1", "spanish"),
            ("b and a", "(a and b)"),
            ("a or b and c", "(a or (b and c))"),
            ("(a or b) and c", "(c and (a or b))"),
            ("a and (b and (c))", "(a and b and c)"),
            ("not not a", "a"),
            ("not anybody", "not anybody"),
            ("not not anybody", "anybody"),
            ("not (a or b)", "not (a or b)"),
            ("site:lon and not site:fra", "(site:lon and not site:fra)"),
            ("a and a", "a"),
        ] {
            assert_eq!(parse(text).map(|r| r.to_string()), Ok(printed.to_owned()), "{text}");
        }
    }

    // Goal: every broken text names the place and what was expected; levels are checked.
    #[test]
    fn broken_requirements_are_refused() {
        for (text, part) in [
            ("and", "expected a skill"),
            ("a and", "expected a skill"),
            ("a b", "expected 'and'"),
            ("(a", "expected ')'"),
            ("a)", "expected 'and'"),
            ("a >=", "expected a level"),
            ("a > 3", "expected 'and'"),
            ("a >= 0", "out of range"),
            ("a >= 11", "out of range"),
            ("a >= 99999999999", "out of range"),
            ("site:", "a site's name"),
            ("é", "a skill's name"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        let deep = format!("{}a{}", "(".repeat(9), ")".repeat(9));
        assert_eq!(parse(&deep), Err(RequirementError::TooLarge));
        let long = (0..REQUIREMENT_TERMS_MAX).map(|i| format!("s{i}")).collect::<Vec<_>>();
        assert_eq!(parse(&long.join(" and ")), Err(RequirementError::TooLarge));
        assert!(parse(&long[1..].join(" and ")).is_ok());
    }

    fn arbitrary() -> impl Strategy<Value = BoundRequirement> {
        let leaf = prop_oneof![
            (0u32..4, 1u8..=10)
                .prop_map(|(s, l)| Requirement::Skill { skill: SkillId(s), level_min: l }),
            (0u32..3).prop_map(|s| Requirement::Site(SiteId(s))),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Requirement::All),
                prop::collection::vec(inner.clone(), 0..4).prop_map(Requirement::Any),
                inner.prop_map(|r| Requirement::Not(Box::new(r))),
            ]
        })
    }

    proptest! {
        // Goal: the canonical form means the same as the original, for every agent, and is stable.
        #[test]
        fn canonical_means_the_same(
            requirement in arbitrary(),
            skills in prop::collection::btree_map((0u32..4).prop_map(SkillId), 1u8..=10, 0..4),
            site in (0u32..3).prop_map(SiteId),
        ) {
            let canonical = requirement.canonical();
            prop_assert_eq!(canonical.is_met(&skills, site), requirement.is_met(&skills, site));
            prop_assert_eq!(canonical.canonical(), canonical);
        }

        // Goal: printing and reading back gives the same requirement; reading never panics.
        #[test]
        fn text_round_trip(requirement in arbitrary(), noise in "\\PC{0,40}") {
            let named = requirement
                .canonical()
                .try_map(
                    &mut |s| Ok::<_, ()>(format!("skill{}", s.0).parse::<Name>().unwrap()),
                    &mut |s| Ok(format!("place{}", s.0).parse::<Name>().unwrap()),
                )
                .unwrap()
                // Ids and names sort differently.
                .canonical();
            if let Ok(read) = parse(&named.to_string()) {
                prop_assert_eq!(read, named);
            } else {
                prop_assert_eq!(named.check(), Err(RequirementError::TooLarge));
            }
            prop_assert!(parse(&noise).is_ok() || parse(&noise).is_err());
        }
    }
}
